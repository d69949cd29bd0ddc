/* SPDX-License-Identifier: MIT */
/*
 * now.h - what time it is for the calling thread: on the clock of its runtime.
 *
 * All that timers and deadlines are made from is read here. What the library does for itself (how long a thread is
 * kept, how long a shutdown waits, what a poll cost) goes by base/clock.h, which nobody stops.
 */
#ifndef WF_TASK_NOW_H
#define WF_TASK_NOW_H

#include "base/clock.h"
#include "time/virtual.h"

/* Where some clock of the process was stopped once: that of the calling thread's runtime, if it has one. */
WF_COLD uint64_t wf_now_virtual(void);

WF_INLINE uint64_t wf_now(void)
{
    return wf_virtual_any() ? wf_now_virtual() : wf_clock_now();
}

#endif
