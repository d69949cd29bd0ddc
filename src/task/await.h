/* SPDX-License-Identifier: MIT */
/*
 * await.h - how a straight-line call waits: entry checks, the loop around a pending future,
 * the coop budget.
 */
#ifndef WF_TASK_AWAIT_H
#define WF_TASK_AWAIT_H

#include "task/fiber_task.h"

/*
 * On entry to a straight-line call. Returns 0 and the fiber, or -EPERM outside fibers, or -ECANCELED,
 * -ETIMEDOUT by the precedence of the API. Also spends one unit of the budget, so it may
 * suspend first.
 */
WF_SUSPENDS int wf_await_enter(struct wf_fiber **out, const char *call);

/* Wait for a future in a fiber that has passed wf_await_enter. Finished or dropped on return. */
WF_SUSPENDS ssize_t wf_await_future(struct wf_fiber *f, weft_future *future);

/* After a wake that found the operation still pending: 0, or -ECANCELED or -ETIMEDOUT. May suspend. */
WF_SUSPENDS int wf_await_verdict(struct wf_fiber *f);

/* Spend one unit inside the poll of a leaf future. False: the budget is gone, the waker was called and the
 * future must answer pending. */
bool wf_coop_proceed(const weft_context *cx);

/* The same without spending it: before others are polled that may. */
bool wf_coop_has_budget(const weft_context *cx);

/* The unit of wf_coop_proceed given back, because the operation did not finish. */
void wf_coop_restore(void);

#endif
