/* SPDX-License-Identifier: MIT */
/* sleep.h - timers inside other futures. */
#ifndef WF_TASK_SLEEP_H
#define WF_TASK_SLEEP_H

#include "time/wheel.h"

/* A future with an armed timer is polled again, maybe by another waker. True: still pending. */
bool wf_timer_repoll(struct wf_timer *t, const weft_context *cx);

/*
 * Another deadline, by the timer's owner, from any thread. An armed timer stays so or, where the thread has
 * no business with its wheel, its target is woken, to poll again; one that was never armed or has fired is as if it
 * had never been armed.
 */
void wf_timer_reset(struct wf_timer *t, uint64_t at);

#endif
