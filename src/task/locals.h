/* SPDX-License-Identifier: MIT */
/* locals.h - task-local values. */
#ifndef WF_TASK_LOCALS_H
#define WF_TASK_LOCALS_H

struct weft_task;

/* Destroy and free all values of a task that ends. On its stack if it is a fiber. */
void wf_locals_free(struct weft_task *t);

/* Give a new task what its parent passes on. 0 or -ENOMEM. */
int wf_locals_inherit(struct weft_task *child, struct weft_task *parent);

#endif
