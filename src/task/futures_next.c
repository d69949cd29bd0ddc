/* SPDX-License-Identifier: MIT */
/*
 * futures_next.c - waiting for the next result of a set.
 *
 * IDEA     Who asks becomes the driver for the length of a poll. One that is left pending claims the set, so that no
 *          other drives it meanwhile; only clearing and freeing may come between.
 * OWNS     A pending wait holds a part of the set's memory once the set is freed: who frees it finds the claim, and
 *          leaves that part to it. The claim changes by exchanges outside of the driver, so that each sees
 *          whether it came first.
 * ORDER    next_drop releases, set_close acquires: the wait does not touch the set any more. The other way round
 *          the parts of the set carry it (wf_futures_release).
 */
#include "task/futures.h"

#include "base/log.h"
#include "task/await.h"
#include "task/waker.h"

#include <errno.h>

enum { NEXT_SET, NEXT_TAG, NEXT_RESULT }; /* words; aux_: it is pending, and has claimed the set */

static struct weft_futures *next_set(const weft_future *f)
{
    return (struct weft_futures *)f->words[NEXT_SET]; /* NOLINT(performance-no-int-to-ptr) */
}

static weft_poll next_ready(weft_future *f, ssize_t result)
{
    f->result = result;
    return WEFT_READY;
}

/* A pending one: was the set freed? */
static bool next_gone(struct weft_futures *set)
{
    /* relaxed: wf_futures_release acquires; what is left of the set is this one's part */
    if (wf_likely(wf_load_u32(&set->claimed, WF_RELAXED) != WF_CLAIM_CLOSED))
        return false;
    wf_futures_release(set, 1);
    return true;
}

static weft_poll next_poll(weft_future *f, weft_context *cx)
{
    struct weft_futures *set = next_set(f);
    uint64_t *tag = (uint64_t *)f->words[NEXT_TAG];     /* NOLINT(performance-no-int-to-ptr) */
    ssize_t *result = (ssize_t *)f->words[NEXT_RESULT]; /* NOLINT(performance-no-int-to-ptr) */
    int rc;

    if (f->aux_ && next_gone(set))
        return next_ready(f, -ESHUTDOWN);
    if (!wf_futures_enter(set)) {
        if (!f->aux_)
            return next_ready(f, -EBUSY);
        wf_spin_pause(); /* who is in clears or frees, and is soon out */
        weft_waker_wake_by_ref(&cx->waker_);
        return WEFT_PENDING;
    }
    /* relaxed: the wait before touched the set when it was entered */
    if (!f->aux_ && wf_load_u32(&set->claimed, WF_RELAXED) != WF_CLAIM_NONE) {
        wf_futures_leave(set);
        return next_ready(f, -EBUSY);
    }
    rc = wf_futures_look(set, cx, tag, result);
    /* relaxed: wf_futures_leave publishes it to who drives next */
    wf_store_u32(&set->claimed, rc == -EAGAIN ? WF_CLAIM_WAITS : WF_CLAIM_NONE, WF_RELAXED);
    wf_futures_leave(set);
    f->aux_ = rc == -EAGAIN;
    return rc == -EAGAIN ? WEFT_PENDING : next_ready(f, rc);
}

static void next_drop(weft_future *f)
{
    struct weft_futures *set = next_set(f);

    wf_wakeable_release(wf_futures_disarm(set));
    /* release: pairs with set_close. If that came first, what is left of the set is this one's part */
    if (wf_swap_u32(&set->claimed, WF_CLAIM_NONE, WF_RELEASE) == WF_CLAIM_CLOSED)
        wf_futures_release(set, 1);
}

static const weft_future_type next_type = {next_poll, next_drop, "futures_next"};

/* Written through when it is ready. NOLINTNEXTLINE(readability-non-const-parameter) */
weft_future weft_futures_next_future(weft_futures *set, uint64_t *tag, ssize_t *result)
{
    weft_future f = {.type = &next_type};

    if (!set)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_futures_next_future: set is NULL"));
    f.words[NEXT_SET] = (uintptr_t)set;
    f.words[NEXT_TAG] = (uintptr_t)tag;
    f.words[NEXT_RESULT] = (uintptr_t)result;
    return f;
}

int weft_futures_try_next(weft_futures *set, uint64_t *tag, ssize_t *result)
{
    int rc = -EBUSY;

    if (wf_unlikely(!set))
        return wf_misuse(-EINVAL, "weft_futures_try_next: set is NULL");
    if (wf_unlikely(!wf_futures_enter(set)))
        return rc;
    /* relaxed: as in next_poll */
    if (wf_likely(wf_load_u32(&set->claimed, WF_RELAXED) == WF_CLAIM_NONE))
        rc = wf_futures_look(set, NULL, tag, result);
    wf_futures_leave(set);
    return rc;
}

int weft_futures_next(weft_futures *set, uint64_t *tag, ssize_t *result)
{
    struct wf_fiber *f = wf_fiber_self();
    weft_future next;
    int rc;

    if (wf_unlikely(!set))
        return wf_misuse(-EINVAL, "weft_futures_next: set is NULL");
    if (wf_unlikely(!f))
        return wf_misuse(-EPERM, "weft_futures_next: called outside a fiber");
    rc = wf_await_verdict(f);
    if (wf_unlikely(rc < 0))
        return rc;
    rc = weft_futures_try_next(set, tag, result);
    if (wf_likely(rc != -EAGAIN))
        return rc;
    next = weft_futures_next_future(set, tag, result);
    return (int)wf_await_future(f, &next);
}
