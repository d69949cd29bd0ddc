/* SPDX-License-Identifier: MIT */
/* wait.c - opening the gate: everyone who stood in line at one moment goes on. */
#include "sync/wait.h"

/* Turns go round; a waiter is never half a round behind. */
static bool wait_came_before(const struct wf_waiter *w, uint32_t turn)
{
    return w && (int32_t)(w->need - turn) < 0;
}

void wf_waitq_open(struct wf_lock *l, struct wf_waitq *q, uint32_t turn)
{
    struct wf_wakes wakes;
    bool more;

    wakes.count = 0;
    do {
        while (wait_came_before(q->first, turn) && !wf_wakes_full(&wakes))
            wf_wakes_add(&wakes, wf_waitq_take(q, q->first, WF_WAITER_RELEASED));
        /* Asked before the lock is given up: with the last of them the object may go. */
        more = wait_came_before(q->first, turn);
        wf_unlock(l);
        wf_wakes_all(&wakes);
        if (more)
            wf_lock(l);
    } while (more);
}
