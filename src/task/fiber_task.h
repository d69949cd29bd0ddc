/* SPDX-License-Identifier: MIT */
/*
 * fiber_task.h - a fiber while it has a stack: what its awaits need.
 *
 * Lives at the top of the fiber's own stack, in the page that the fiber touches anyway.
 */
#ifndef WF_TASK_FIBER_TASK_H
#define WF_TASK_FIBER_TASK_H

#include "task/current.h"
#include "task/task.h"

struct wf_deadline;
struct wf_defer;

struct wf_fiber {
    struct wf_coro coro;
    struct wf_stack *stack;
    struct wf_fiber_task *task;
    weft_context cx;             /* given to every future it polls */
    struct wf_deadline *deadline; /* innermost scope; NULL: none */
    weft_future *kept;           /* futures left pending by weft_select_keep */
    struct wf_defer *defers;     /* newest first */
    uint32_t shield;             /* depth of shields */
    uint32_t unconstrained;      /* depth of weft_unconstrained */
    uint32_t ignored;            /* -ECANCELED answers in a row */
    bool ending;                 /* in its clean-up: no way back to fn */
};

/* Give the thread back until the task is polled again (WF_POLL_PENDING) or at once
 * (WF_POLL_YIELD). Returns the thread that it goes on on. */
WF_SUSPENDS struct wf_thread *wf_fiber_suspend(struct wf_fiber *f, enum wf_poll_result why);

/* The running fiber, or NULL. */
WF_INLINE struct wf_fiber *wf_fiber_self(void)
{
    struct wf_thread *th = wf_thread_self();

    return th ? th->fiber : NULL;
}

/* Asked to stop, and not shielded. */
WF_INLINE bool wf_fiber_cancelled(const struct wf_fiber *f)
{
    return wf_unlikely(wf_task_is_cancelled(&f->task->task)) && f->shield == 0;
}

/* End the running fiber here, as deep as it stands: drop, defer, free, switch away. */
__attribute__((noreturn)) void wf_fiber_end(struct wf_fiber *f, int result);

#endif
