/* SPDX-License-Identifier: MIT */
/*
 * hold.h - what a task holds and must give back before it ends: locks, and what others write to while it waits.
 *
 * IDEA     A lock that a task has taken is linked to the task by a record that lies in the lock. What is still
 *          linked when the task has ended is given to its record's own function, so that the layer above can
 *          see to the lock. A fiber's records are among what it is inside of (leave.h); a stackless task has no
 *          memory for a list, so theirs share some, which are searched only when a task that ever held something
 *          ends. By the same way a place is taken back that a fiber has left with others while it waits, if it is
 *          abandoned there (sync/mpsc_hand.h).
 * WHO      A record is linked and unlinked by its task alone, while that runs.
 * TESTS    tests/api/test_mutex.c, tests/model/test_mutex.c
 */
#ifndef WF_TASK_HOLD_H
#define WF_TASK_HOLD_H

#include "task/leave.h"

struct wf_hold;

/* t ends; the record is unlinked. Called by the task itself, after its clean-up, under no lock, or by who abandons a
 * fiber that will not end. It may not await. */
typedef void wf_hold_fn(struct wf_hold *h, const struct weft_task *t);

struct wf_hold {
    struct wf_leave leave; /* a stackless task's: linked in one of the shared lists */
    struct weft_task *task;
    wf_hold_fn *abandon;
};

/* The `leave` of a fiber's records. */
void wf_hold_left(struct wf_leave *l);

WF_INLINE void wf_hold_link(struct wf_fiber *f, struct wf_hold *h, wf_hold_fn *abandon)
{
    h->task = f->task;
    h->abandon = abandon;
    wf_leave_push(f, WF_LEAVE_LAST, &h->leave, wf_hold_left);
}

WF_INLINE void wf_hold_unlink(struct wf_hold *h)
{
    wf_leave_remove(&h->leave);
}

/* The same for the running task when it is a stackless one. */
void wf_hold_link_stackless(struct weft_task *t, struct wf_hold *h, wf_hold_fn *abandon);
void wf_hold_unlink_stackless(struct wf_hold *h);

/* The task ends in a way of its own: a fiber that is abandoned, a stackless task. */
void wf_holds_abandon(struct wf_fiber *f);
void wf_holds_abandon_stackless(struct weft_task *t);

#endif
