/* SPDX-License-Identifier: MIT */
/*
 * pool.h - the blocking pool of a runtime.
 */
#ifndef WF_SCHED_POOL_H
#define WF_SCHED_POOL_H

#include "sched/runtime.h"

void wf_pool_init(struct weft_runtime *rt);

/*
 * A place in the queue, for one task that is then published (K2), or given up. try: false, the queue is full. The
 * future is ready when the caller has its place, first come, first served; dropped, it gives up what it has got.
 */
bool wf_pool_try_reserve(struct weft_runtime *rt);
weft_future wf_pool_reserve_future(struct weft_runtime *rt);
void wf_pool_unreserve(struct weft_runtime *rt);

/* The scheduler's up-calls, see task.h. Of a task for which there is a place. */
void wf_pool_spawned(struct wf_scheduler *s, struct wf_thread *th, struct weft_task *t);
void wf_pool_cancelled(struct wf_scheduler *s, struct weft_task *t);

/* The runtime has stopped: all threads leave. Then they are joined; false: not all by until_ns, and those are left
 * behind. */
void wf_pool_stop(struct weft_runtime *rt);
bool wf_pool_join(struct weft_runtime *rt, uint64_t until_ns);
/* Nobody will join them. */
void wf_pool_detach(struct weft_runtime *rt);

#endif
