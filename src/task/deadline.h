/* SPDX-License-Identifier: MIT */
/*
 * deadline.h - time limits around code: one timer per scope, armed when something first waits.
 */
#ifndef WF_TASK_DEADLINE_H
#define WF_TASK_DEADLINE_H

#include "task/fiber_task.h"
#include "time/wheel.h"

#include <weft/time.h>

/* A weft_deadline, from inside. nearest is the scope with the earliest end among this one and those
 * around it: the one whose timer wakes the fiber. */
struct wf_deadline {
    struct wf_timer timer;
    struct wf_fiber *fiber; /* NULL: entered outside a fiber; does nothing */
    struct wf_deadline *outer;
    struct wf_deadline *nearest;
    uint64_t at; /* WEFT_FOREVER: none; lazy: the limit, counted from the first wait */
    bool lazy;
    bool passed; /* known to have passed: stays so */
};

_Static_assert(sizeof(struct wf_deadline) <= sizeof(weft_deadline), "weft_deadline is too small");

void wf_deadline_push(struct wf_deadline *d, struct wf_fiber *f, uint64_t limit, bool lazy);
void wf_deadline_pop(struct wf_deadline *d);

/* Is a deadline of the fiber already known to have passed? No clock is read. */
WF_INLINE bool wf_deadline_known(struct wf_fiber *f)
{
    struct wf_deadline *d = f->deadline;

    return wf_unlikely(d != NULL) && (d->nearest->passed || wf_timer_fired(&d->nearest->timer));
}

/* The fiber is about to wait: read the clock, arm what must wake it. True: a deadline has passed, do not
 * wait. Call only with f->deadline set. */
bool wf_deadline_arm(struct wf_fiber *f);

/* Leave the innermost shield, so that the scopes that it masked are back. False: there is none. */
bool wf_shield_unwind(struct wf_fiber *f);

/* Read the clock: has it passed? Call only with f->deadline set. */
bool wf_deadline_check(struct wf_fiber *f);

#endif
