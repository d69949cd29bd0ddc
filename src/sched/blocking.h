/* SPDX-License-Identifier: MIT */
/*
 * blocking.h - the blocking pool of a runtime.
 */
#ifndef WF_SCHED_BLOCKING_H
#define WF_SCHED_BLOCKING_H

#include "sched/runtime.h"

void wf_pool_init(struct weft_runtime *rt);

/* Before a task for the pool is made: room in its queue. A fiber waits for it; -EAGAIN for others, with a message. Then
 * the task is published, or the room given up. */
WF_SUSPENDS int wf_blocking_reserve(struct weft_runtime *rt, const char *call);
void wf_blocking_unreserve(struct weft_runtime *rt);

/* The scheduler's up-calls, see task.h. */
void wf_pool_spawned(struct wf_scheduler *s, struct wf_thread *th, struct weft_task *t);
void wf_pool_cancelled(struct wf_scheduler *s, struct weft_task *t);

/* The runtime has stopped: all threads leave. Then they are joined; false: not all by until_ns, and those are left
 * behind. */
void wf_pool_stop(struct weft_runtime *rt);
bool wf_pool_join(struct weft_runtime *rt, uint64_t until_ns);
/* Nobody will join them. */
void wf_pool_detach(struct weft_runtime *rt);

#endif
