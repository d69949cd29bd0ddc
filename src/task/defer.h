/* SPDX-License-Identifier: MIT */
/* defer.h - calls that run when a fiber ends. */
#ifndef WF_TASK_DEFER_H
#define WF_TASK_DEFER_H

struct wf_fiber;

/* Run and free all of them, newest first; they may defer more. On the fiber's stack. */
void wf_defer_run(struct wf_fiber *f);

#endif
