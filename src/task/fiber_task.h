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
struct wf_leave;

/* When a fiber that ends is led out of what it is inside of: leave.h. */
enum wf_leave_when {
    WF_LEAVE_FIRST, /* before deferred calls: others may use what those free */
    WF_LEAVE_LAST,  /* after them and all else: they may have been meant to give it back */
    WF_LEAVE_TIMES
};

/* A call on the thread's own stack. */
struct wf_call {
    weft_fn *fn;
    void *arg;
    int result;
};

struct wf_fiber {
    struct wf_coro coro;
    struct wf_stack *stack;
    struct weft_task *task;
    weft_fn *fn;
    void *arg;
    weft_context cx;                         /* given to every future it polls */
    struct wf_deadline *deadline;            /* innermost scope; NULL: none */
    weft_future *kept;                       /* futures left pending by weft_select_keep */
    struct wf_defer *defers;                 /* newest first */
    struct wf_leave *leaves[WF_LEAVE_TIMES]; /* the same */
    weft_shield *shields;                    /* innermost one; NULL: none */
    uint32_t shield;                         /* depth of shields; one more while it ends */
    uint32_t unconstrained;                  /* depth of weft_unconstrained */
    uint32_t ignored;                        /* -ECANCELED answers in a row */
    bool ending;                             /* in its clean-up: no way back to fn */
    bool returned;                           /* fn has, with something left open */
    struct wf_call *call;                    /* for WF_POLL_CALL */
    const void *passed; /* the lock that it handed to a waiter last: see wf_lock_give_way */
};

/* The first poll: give it a stack. False: the task has ended without running. */
bool wf_fiber_begin(struct weft_task *t, struct wf_thread *th, bool cancelled);

/* Call a function that blocks, outside of all that a task may do. */
int wf_thread_call(struct wf_thread *th, weft_fn *fn, void *arg);

/* Call what a fiber asks for, on the thread's own stack. */
void wf_fiber_call(struct wf_fiber *f, struct wf_thread *th);

/* It has ended: take its stack back. */
void wf_fiber_finish(struct weft_task *t, struct wf_thread *th);

/* Debug builds: no kept future lies in a frame that was left. */
void wf_fiber_check_kept(const struct wf_fiber *f);

/*
 * Poll a fiber: switch to its stack until it gives the thread back. Inline, so that a worker's
 * loop holds the switch itself and returns are predicted (switch.h).
 */
WF_INLINE enum wf_poll_result wf_fiber_poll(struct weft_task *t, struct wf_thread *th,
                                            bool cancelled)
{
    enum wf_poll_result why;
    struct wf_fiber *f;

    if (wf_unlikely(!wf_task_flag(t, WF_TASK_F_BEGUN)) && !wf_fiber_begin(t, th, cancelled))
        return WF_POLL_DONE;
    f = t->fiber;
    th->fiber = f;
    if (wf_unlikely(f->unconstrained))
        th->budget = INT32_MAX;
    for (;;) {
        why = (enum wf_poll_result)(uintptr_t)wf_coro_switch(&th->native, &f->coro, th);
        if (wf_likely(why != WF_POLL_CALL))
            break;
        wf_fiber_call(f, th);
    }
    th->fiber = NULL;
    t->hint = f->coro.sp;
    if (why == WF_POLL_DONE)
        wf_fiber_finish(t, th);
#if WF_DEBUG
    else
        wf_fiber_check_kept(f);
#endif
    return why;
}

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
    return wf_unlikely(wf_task_is_cancelled(f->task)) && f->shield == 0;
}

/* End the running fiber here, as deep as it stands: drop, defer, free, switch away. */
__attribute__((noreturn)) void wf_fiber_end(struct wf_fiber *f, int result);

#endif
