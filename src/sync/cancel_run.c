/* SPDX-License-Identifier: MIT */
/*
 * cancel_run.c - awaiting a future until a token is cancelled.
 *
 * IDEA     One future that holds a wait for the token and points at the other, which is asked first. Whichever is over
 *          takes the other back.
 * OWNS     The inner future is the caller's, and outlives this one.
 * TESTS    tests/api/test_cancel_token.c
 */
#include "base/log.h"
#include "sync/cancel.h"
#include "task/await.h"
#include "task/future.h"
#include "task/thread_wait.h"

#include <errno.h>

enum { RUN_INNER }; /* words */

static weft_future *run_inner(weft_future *f)
{
    return (weft_future *)wf_wait_of(f)->words[RUN_INNER]; /* NOLINT(performance-no-int-to-ptr) */
}

static weft_poll run_over(weft_future *f, ssize_t result)
{
    f->result = result;
    return WEFT_READY;
}

/* The inner future spends the budget. */
static weft_poll run_poll(weft_future *f, weft_context *cx)
{
    weft_future *inner = run_inner(f);

    if (!wf_future_pending(f) && weft_cancel_token_is_cancelled(wf_wait_of(f)->object)) {
        weft_future_drop(inner);
        return run_over(f, -ECANCELED);
    }
    if (weft_future_poll(inner, cx) == WEFT_READY) {
        wf_cancelled_leave(f);
        return run_over(f, inner->result);
    }
    if (wf_cancelled_ask(f, cx) == WEFT_PENDING)
        return WEFT_PENDING;
    weft_future_drop(inner);
    return run_over(f, f->result == 0 ? -ECANCELED : f->result);
}

static void run_drop(weft_future *f)
{
    wf_cancelled_leave(f);
    weft_future_drop(run_inner(f));
}

static const weft_future_type run_type = {run_poll, run_drop, "run until cancelled"};

weft_future weft_cancel_token_run_future(weft_cancel_token *t, weft_future *inner)
{
    weft_future f = {.type = &run_type};

    if (!t || !inner)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_cancel_token_run_future: NULL"));
    wf_wait_of(&f)->object = t;
    wf_wait_of(&f)->words[RUN_INNER] = (uintptr_t)inner;
    return f;
}

static int run_check(const char *call, const weft_cancel_token *t, const weft_future *inner)
{
    if (!t || !inner || !inner->type)
        return wf_misuse(-EINVAL, "%s: the token or the future is NULL, or has no type", call);
    return 0;
}

ssize_t weft_cancel_token_run(weft_cancel_token *t, weft_future *inner)
{
    struct wf_fiber *f = wf_fiber_self();
    weft_future future;
    int rc = run_check("weft_cancel_token_run", t, inner);

    if (wf_unlikely(rc < 0))
        return rc;
    if (wf_unlikely(!f))
        return wf_misuse(-EPERM, "weft_cancel_token_run: called outside a fiber");
    rc = wf_await_verdict(f);
    if (wf_unlikely(rc < 0)) {
        weft_future_drop(inner);
        return rc;
    }
    future = weft_cancel_token_run_future(t, inner);
    return wf_await_future(f, &future);
}

ssize_t weft_cancel_token_run_blocking(weft_cancel_token *t, weft_future *inner)
{
    weft_future future;
    int rc = run_check("weft_cancel_token_run_blocking", t, inner);

    if (rc == 0)
        rc = wf_thread_check_plain("weft_cancel_token_run_blocking");
    if (rc < 0)
        return rc;
    future = weft_cancel_token_run_future(t, inner);
    return wf_thread_await(&future, WEFT_FOREVER);
}
