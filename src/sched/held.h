/* SPDX-License-Identifier: MIT */
/*
 * held.h - debug builds: a task that gives its thread back while that holds a mutex is told of.
 *
 * IDEA     A mutex belongs to the thread that locked it. A task that awaits with one locked may go on on another
 *          thread, which must not unlock it; and who locks it meanwhile blocks a worker, perhaps the
 *          one that was to go on. Which mutexes a thread holds is known by libweft-locks.so, if the program was
 *          started with it (tools/locks); weft finds it by weak symbols, and asks after each poll.
 * WHO      The worker, outside its seat's guard.
 */
#ifndef WF_SCHED_HELD_H
#define WF_SCHED_HELD_H

#include "task/task.h"

#if WF_DEBUG

/* A poll begins: what was locked before is not the task's. */
uint64_t wf_held_begin(void);

/* It has ended. done: the task has, too. */
void wf_held_end(const struct weft_task *t, bool done, uint64_t begin);

#else

WF_INLINE uint64_t wf_held_begin(void)
{
    return 0;
}

WF_INLINE void wf_held_end(const struct weft_task *t, bool done, uint64_t begin)
{
    (void)t, (void)done, (void)begin;
}

#endif

#endif
