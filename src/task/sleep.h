/* SPDX-License-Identifier: MIT */
/* sleep.h - timers inside other futures. */
#ifndef WF_TASK_SLEEP_H
#define WF_TASK_SLEEP_H

#include "time/wheel.h"

enum wf_timer_state wf_timer_repoll_begun(struct wf_timer *t, const weft_context *cx);

/* A future with a timer is polled, maybe by another waker. Armed: it is pending, and will be told. Fired: it is over.
 * Idle: it is to be armed, for that was never done, or the runtime that would have fired it has ended meanwhile. */
WF_INLINE enum wf_timer_state wf_timer_repoll(struct wf_timer *t, const weft_context *cx)
{
    /* First polls find it so, and most sleeps have one poll before they end or are given up. */
    return wf_timer_look(t) == WF_TIMER_IDLE ? WF_TIMER_IDLE : wf_timer_repoll_begun(t, cx);
}

/*
 * Another deadline, by the timer's owner, from any thread. An armed timer stays so or, where the thread has
 * no business with its wheel, its target is woken, to poll again; one that was never armed or has fired is as if it
 * had never been armed.
 */
void wf_timer_reset(struct wf_timer *t, uint64_t at);

#endif
