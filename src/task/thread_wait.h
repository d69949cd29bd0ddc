/* SPDX-License-Identifier: MIT */
/*
 * thread_wait.h - how a plain thread waits: a wakeable on its stack, which lasts until nobody knows it any more.
 */
#ifndef WF_TASK_THREAD_WAIT_H
#define WF_TASK_THREAD_WAIT_H

#include "base/atomic.h"

#include <weft/future.h>

/*
 * Block the calling thread until the future is ready, or for limit_ns (WEFT_FOREVER: for ever). The future is finished
 * or dropped on return. Its result, or -ETIMEDOUT. A result that is there always wins.
 */
ssize_t wf_thread_await(weft_future *f, uint64_t limit_ns);

/* May the calling thread be blocked? 0, or -EDEADLK with a message: it polls tasks. */
int wf_thread_check_plain(const char *call);

#endif
