/* SPDX-License-Identifier: MIT */
/*
 * blocking.h - spawning onto the blocking pool, for what has tasks of its own there.
 */
#ifndef WF_SCHED_BLOCKING_H
#define WF_SCHED_BLOCKING_H

#include "sched/pool.h"

/* Before a task for the pool is made: a place in its queue. A fiber waits for it; -EAGAIN for others, with a message.
 * Then the task is published, or the place given up by wf_pool_unreserve. */
WF_SUSPENDS int wf_blocking_reserve(struct weft_runtime *rt, const char *call);

#endif
