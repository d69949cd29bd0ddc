/* SPDX-License-Identifier: MIT */
/*
 * deadlock.h - noticing tasks that wait for each other's locks in a circle.
 */
#ifndef WF_SYNC_DEADLOCK_H
#define WF_SYNC_DEADLOCK_H

#include "sync/owned.h"

/* Under the lock of a lock with an owner, before w lines up for it: could it be part of a circle? That of a task that
 * holds nothing could not; nor one of several that a task waits for. Then w becomes an edge, which
 * wf_deadlock_enter makes known. */
WF_INLINE void wf_deadlock_begin(struct wf_lock_wait *w, const struct wf_self *self)
{
    bool holds = self->fiber ? self->fiber->leaves[WF_LEAVE_LAST] != NULL
                             : !self->task || wf_task_flag(self->task, WF_TASK_F_HELD);

    if ((w->self & WF_WAIT_SOLE) && holds)
        w->self |= WF_WAIT_EDGE;
}

/* It has lined up. Only an edge; no lock is held. */
void wf_deadlock_enter(struct wf_lock_wait *w);

/* It does not wait any more: before anything of it goes. Only an edge. */
void wf_deadlock_leave(struct wf_lock_wait *w);

#endif
