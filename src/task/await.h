/* SPDX-License-Identifier: MIT */
/*
 * await.h - how a straight-line call waits: entry checks, the loop around a pending future,
 * the coop budget.
 */
#ifndef WF_TASK_AWAIT_H
#define WF_TASK_AWAIT_H

#include "task/deadline.h"
#include "task/fiber_task.h"

#include <errno.h>

/*
 * On entry to a straight-line call. Returns 0 and the fiber, or -EPERM outside fibers, or -ECANCELED,
 * -ETIMEDOUT by the precedence of the API. Also spends one unit of the budget, so it may
 * suspend first.
 */
WF_SUSPENDS int wf_await_enter(struct wf_fiber **out, const char *call);

/* The same with its usual way laid into the caller, for calls that are a few nanoseconds themselves. */
WF_INLINE int wf_await_enter_quick(struct wf_fiber **out, const char *call)
{
    struct wf_thread *th = wf_thread_self();
    struct wf_fiber *f = wf_likely(th != NULL) ? th->fiber : NULL;

    if (wf_unlikely(!f || f->deadline || th->budget <= 0 || wf_task_is_cancelled(f->task)))
        return wf_await_enter(out, call);
    th->budget--;
    *out = f;
    return 0;
}

/* Wait for a future in a fiber that has passed wf_await_enter. Finished or dropped on return. */
WF_SUSPENDS ssize_t wf_await_future(struct wf_fiber *f, weft_future *future);

/* After a wake that found the operation still pending: 0, or -ECANCELED or -ETIMEDOUT. May suspend. */
WF_SUSPENDS int wf_await_verdict(struct wf_fiber *f);

/*
 * As wf_await_future, for one whose poll and drop the caller knows: the future is not asked for them, nor the budget
 * once more. For tasks that hand things to each other. attempt is the poll without wf_coop_proceed.
 */
WF_INLINE ssize_t wf_await_attempts(struct wf_fiber *f, weft_future *future,
                                    weft_poll (*attempt)(weft_future *future, weft_context *cx),
                                    void (*drop)(weft_future *future))
{
    ssize_t rc;

    if (attempt(future, &f->cx) == WEFT_READY)
        return future->result;
    do {
        if (f->deadline && wf_deadline_arm(f)) {
            rc = -ETIMEDOUT;
            break;
        }
        (void)wf_fiber_suspend(f, WF_POLL_PENDING);
        if (attempt(future, &f->cx) == WEFT_READY)
            return future->result;
        rc = wf_await_verdict(f);
    } while (rc == 0);
    drop(future);
    return rc;
}

/* Spend one unit inside the poll of a leaf future. False: the budget is gone, the waker was called and the
 * future must answer pending. */
bool wf_coop_proceed(const weft_context *cx);

/* The same without spending it: before others are polled that may. */
bool wf_coop_has_budget(const weft_context *cx);

/* The unit of wf_coop_proceed given back, because the operation did not finish. */
void wf_coop_restore(void);

/* Spend one unit, if there is one, for what has finished and cannot be put off. */
void wf_coop_spend(void);

/* The poll of a future of which attempt is all but the budget: the twin of wf_await_attempts. give_way is what it does
 * when that is spent: it holds what it will come back to, for it is pending. */
WF_INLINE weft_poll wf_poll_attempt(weft_future *future, weft_context *cx,
                                    weft_poll (*attempt)(weft_future *future, weft_context *cx),
                                    weft_poll (*give_way)(weft_future *future))
{
    if (wf_unlikely(!wf_coop_proceed(cx)))
        return give_way(future);
    if (attempt(future, cx) == WEFT_READY)
        return WEFT_READY;
    wf_coop_restore();
    return WEFT_PENDING;
}

#endif
