/* SPDX-License-Identifier: MIT */
/*
 * await.c - how a fiber waits, and how often it may go on without waiting.
 *
 * Precedence: on entry cancelled, then a deadline known to have passed, then try. On resume poll
 * first, so that a result that is there is never lost; then cancelled, then the deadline. The clock is
 * read when something is first pending and when the budget is spent, never on a ready path.
 */
#include "task/await.h"

#include "base/log.h"
#include "task/deadline.h"
#include "task/waker.h"

#include <errno.h>

/* A fiber that ignores so many cancelled answers in a row is made to yield at each further one. */
#define IGNORED_MAX 1000

WF_COLD static int await_refuse(const char *call)
{
    return wf_misuse(-EPERM, "%s: called outside a fiber (a plain thread or a stackless task)",
                     call);
}

WF_COLD static int await_cancelled(struct wf_fiber *f)
{
    if (++f->ignored < IGNORED_MAX)
        return -ECANCELED;
    if (f->ignored == IGNORED_MAX)
        wf_log(
            "task %llu \"%s\" (spawned at %s) was cancelled and goes on in spite of %d answers of "
            "-ECANCELED",
            (unsigned long long)f->task->id, wf_task_name(f->task),
            f->task->site ? f->task->site : "?", IGNORED_MAX);
    if (!f->ending)
        wf_fiber_suspend(f, WF_POLL_YIELD);
    return -ECANCELED;
}

/* The budget is spent: let others run. */
WF_COLD static void await_yield(struct wf_fiber *f, struct wf_thread *th)
{
    /* relaxed: see wf_count_u64 */
    wf_count_u64(&th->counters->budget_yields, 1);
    if (f->unconstrained) {
        th->budget = INT32_MAX;
        return;
    }
    /* The operation that did not fit is the first of the new budget. */
    wf_fiber_suspend(f, WF_POLL_YIELD)->budget--;
    if (f->deadline)
        wf_deadline_check(f);
}

int wf_await_enter(struct wf_fiber **out, const char *call)
{
    struct wf_thread *th = wf_thread_self();
    struct wf_fiber *f;

    if (wf_unlikely(!th || !th->fiber))
        return await_refuse(call);
    f = th->fiber;
    *out = f;
    if (wf_fiber_cancelled(f))
        return await_cancelled(f);
    if (wf_deadline_known(f))
        return -ETIMEDOUT;
    if (wf_unlikely(--th->budget < 0)) {
        await_yield(f, th);
        if (wf_fiber_cancelled(f))
            return await_cancelled(f);
        if (wf_deadline_known(f))
            return -ETIMEDOUT;
    }
    return 0;
}

int wf_await_verdict(struct wf_fiber *f)
{
    if (wf_fiber_cancelled(f))
        return await_cancelled(f);
    return wf_deadline_known(f) ? -ETIMEDOUT : 0;
}

ssize_t wf_await_future(struct wf_fiber *f, weft_future *future)
{
    ssize_t rc;

    if (weft_future_poll(future, &f->cx) == WEFT_READY)
        return future->result;
    for (;;) {
        if (f->deadline && wf_deadline_arm(f)) {
            rc = -ETIMEDOUT;
            break;
        }
        wf_fiber_suspend(f, WF_POLL_PENDING);
        if (weft_future_poll(future, &f->cx) == WEFT_READY)
            return future->result;
        rc = wf_await_verdict(f);
        if (rc < 0)
            break;
    }
    weft_future_drop(future);
    return rc;
}

/* As wf_await_enter, but the operation behind the future spends the budget itself. Refused: the future is
 * dropped. */
static int await_enter_future(struct wf_fiber *f, weft_future *future)
{
    int rc = wf_await_verdict(f);

    if (wf_unlikely(rc < 0))
        weft_future_drop(future);
    return rc;
}

ssize_t weft_await(weft_future *future)
{
    struct wf_fiber *f = wf_fiber_self();
    int rc;

    if (wf_unlikely(!future || !future->type))
        return wf_misuse(-EINVAL, "weft_await: the future is NULL or has no type");
    if (wf_unlikely(!f))
        return await_refuse("weft_await");
    rc = await_enter_future(f, future);
    return wf_unlikely(rc < 0) ? rc : wf_await_future(f, future);
}

/* lazy: limit is a length, from the first time that the future is pending; else a moment. */
WF_INLINE ssize_t await_limited(uint64_t limit, bool lazy, weft_future *future, const char *call)
{
    struct wf_fiber *f = wf_fiber_self();
    struct wf_deadline d;
    ssize_t rc;

    if (wf_unlikely(!future || !future->type))
        return wf_misuse(-EINVAL, "%s: the future is NULL or has no type", call);
    if (wf_unlikely(!f))
        return await_refuse(call);
    rc = await_enter_future(f, future);
    if (wf_unlikely(rc < 0))
        return rc;
    if (weft_future_poll(future, &f->cx) == WEFT_READY)
        return future->result;
    wf_deadline_push(&d, f, limit, lazy);
    rc = wf_await_future(f, future);
    wf_deadline_pop(&d);
    return rc;
}

ssize_t weft_timeout(weft_duration limit, weft_future *future)
{
    return await_limited(limit, true, future, "weft_timeout");
}

ssize_t weft_timeout_at(weft_instant at, weft_future *future)
{
    return await_limited(at, false, future, "weft_timeout_at");
}

/* Nothing is left: let others run first. False, for who answers pending then. */
static bool coop_refuse(struct wf_thread *th, const weft_context *cx)
{
    th->budget = 0;
    /* relaxed: see wf_count_u64 */
    wf_count_u64(&th->counters->budget_yields, 1);
    weft_waker_wake_by_ref(&cx->waker_);
    return false;
}

bool wf_coop_has_budget(const weft_context *cx)
{
    struct wf_thread *th = wf_thread_self();

    return wf_likely(!th || !th->task || th->budget > 0) || coop_refuse(th, cx);
}

bool wf_coop_proceed(const weft_context *cx)
{
    struct wf_thread *th = wf_thread_self();

    if (wf_unlikely(!th || !th->task)) /* polled by hand on a plain thread: no budget */
        return true;
    return wf_likely(--th->budget >= 0) || coop_refuse(th, cx);
}

void wf_coop_restore(void)
{
    struct wf_thread *th = wf_thread_self();

    if (th && th->task && th->budget < WF_COOP_BUDGET)
        th->budget++;
}

void wf_coop_spend(void)
{
    struct wf_thread *th = wf_thread_self();

    if (th && th->task && th->budget > 0)
        th->budget--;
}
