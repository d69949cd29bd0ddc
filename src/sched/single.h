/* SPDX-License-Identifier: MIT */
/*
 * single.h - a worker that is the only one keeps to itself while no other has to come in.
 */
#ifndef WF_SCHED_SINGLE_H
#define WF_SCHED_SINGLE_H

#include "sched/worker.h"

/* By who has taken a seat that is to be relieved: from here on others may work with what is on it. False: they may
 * not, for want of memory. */
bool wf_single_end(struct weft_runtime *rt);

/* If nobody stands in any more, the only worker is single again. By that worker, inside its guard. */
WF_COLD void wf_single_begin(struct weft_runtime *rt);

/* The same, and now and then. */
WF_INLINE void wf_single_look(struct wf_worker *w)
{
    if (wf_unlikely(w->rt->workers == 1) && !w->rt->single && !w->standin)
        wf_single_begin(w->rt);
}

#endif
