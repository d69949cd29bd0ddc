/* SPDX-License-Identifier: MIT */
/* clock.h - what a worker does differently while its runtime's clock was stopped once: see clock.c. */
#ifndef WF_SCHED_CLOCK_H
#define WF_SCHED_CLOCK_H

#include "base/clock.h"
#include "sched/worker.h"
#include "time/virtual.h"

/* Now, on the runtime's clock. */
WF_COLD uint64_t wf_runtime_now(struct weft_runtime *rt);

WF_INLINE uint64_t wf_worker_now(const struct wf_worker *w)
{
    return wf_virtual_any() ? wf_runtime_now(w->rt) : wf_clock_now();
}

/* Does this runtime's clock stand still? By its own thread. */
WF_INLINE bool wf_clock_stands(const struct weft_runtime *rt)
{
    return wf_virtual_any() && wf_virtual_is_stopped(&rt->clock);
}

/* By a worker that is about to sleep until its next timer, which is at `next` on the runtime's clock: how long on the
 * monotonic one. *jump: it is only to look whether anything has come, and then to call wf_clock_jump. */
WF_COLD uint64_t wf_clock_sleep(const struct wf_worker *w, uint64_t next, bool *jump);

/* Nothing has come: the clock jumps to the next timer, which fires. Returns how many have. */
WF_COLD unsigned wf_clock_jump(struct wf_worker *w);

/* A blocking job has ended, and was counted. A clock may have waited for that. */
void wf_clock_job_ended(struct weft_runtime *rt);

#endif
