/* SPDX-License-Identifier: MIT */
/*
 * monitor.h - the thread that looks for stuck workers.
 */
#ifndef WF_SCHED_MONITOR_H
#define WF_SCHED_MONITOR_H

#include "sched/runtime.h"

enum wf_monitor_word {
    WF_MONITOR_NONE, /* there is none */
    WF_MONITOR_AWAKE,
    WF_MONITOR_ASLEEP, /* until a worker stirs */
    WF_MONITOR_STOPPED
};

/* If it is wanted. 0 or a negative errno. */
int wf_monitor_start(struct weft_runtime *rt);

WF_COLD void wf_monitor_wake(struct weft_runtime *rt);

/* By a worker that begins, or has left its sleep, said so, and is about to work. */
WF_INLINE void wf_monitor_touch(struct weft_runtime *rt)
{
    /* relaxed: the monitor's membarrier comes between its store and its look at the workers */
    wf_compiler_fence();
    if (wf_unlikely(wf_load_u32(&rt->monitor.word, WF_RELAXED) == WF_MONITOR_ASLEEP))
        wf_monitor_wake(rt);
}

/* Until a worker stirs, unless one has, or the runtime has stopped. The monitor's; and for its model. */
void wf_monitor_sleep(struct weft_runtime *rt);

/* The runtime has stopped. */
void wf_monitor_stop(struct weft_runtime *rt);
void wf_monitor_join(struct weft_runtime *rt);
/* Nobody is left. */
void wf_monitor_release(struct weft_runtime *rt);
void wf_monitor_detach(struct weft_runtime *rt);

#endif
