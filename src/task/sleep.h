/* SPDX-License-Identifier: MIT */
/* sleep.h - timers inside other futures. */
#ifndef WF_TASK_SLEEP_H
#define WF_TASK_SLEEP_H

#include "time/wheel.h"

/* A future with an armed timer is polled again, maybe by another waker. True: still pending. */
bool wf_timer_repoll(struct wf_timer *t, const weft_context *cx);

#endif
