/* SPDX-License-Identifier: MIT */
/*
 * single.c - a worker that is the only one keeps to itself while no other has to come in.
 *
 * IDEA     A single worker takes from its queues by plain loads and stores, calls nobody, and sleeps on its own poller
 *          until its own next timer. That is a third of the cost of a short poll. But where there is a monitor, others
 *          may have to stand in for it. So it is single only as long as it is not stuck: whoever relieves it makes it
 *          share first, and it is single again once nobody stands in any more.
 * INVARIANTS
 *     N1   rt->single, the hub's, and the deques' `shared` are changed under the lock of the reliefs, by who has taken
 *          the worker's seat (the end), or by the worker inside its guard (the begin). So inside its guard the worker
 *          reads them as plain fields, and who stands in reads them from when it was called until it has retired.
 *     N2   While it is single nobody stands in: none is called (relief_call looks under the lock), and it
 *          begins only when none is at work. Nobody else steals.
 *     N3   At either change nobody sleeps, so that nobody sleeps on the wrong set: at the end the worker is in a poll,
 *          at the begin it is awake, and there is nobody else.
 *     P2   of idle.c and A1 of park.c hold across both. What a single worker queued or armed, it told nobody of; who
 *          is called to stand in looks at all queues and wheels before it sleeps. What others did before
 *          they retired the worker sees, by the lock, and looks before it sleeps. The signal ends its sleep wherever
 *          it sleeps.
 * ORDER    The guard (seat.h) orders the worker's reads before the end behind its leave, and those after it behind
 *          its enter, which finds the seat taken. The lock orders the others.
 * LOCKS    WF_RANK_RELIEF.
 * TESTS    tests/api/test_stall.c, tests/model/test_relief.c, tests/fault/test_runtime.c
 */
#include "sched/single.h"

#include "base/log.h"

static void single_share(struct weft_runtime *rt, bool shared)
{
    rt->single = !shared;
    rt->seats[0].ready.shared = shared;
    rt->seats[0].backlog.shared = shared;
}

bool wf_single_end(struct weft_runtime *rt)
{
    struct wf_relief *r = &rt->relief;
    int rc = 0;
    bool first;

    if (rt->workers > 1)
        return true;
    wf_lock(&r->lock);
    if (rt->single) {
        rc = wf_hub_share(&rt->hub, &rt->seats[0].poller);
        if (rc == 0)
            single_share(rt, true);
    }
    first = rc < 0 && !r->cannot_share;
    r->cannot_share = rc < 0;
    wf_unlock(&r->lock);
    if (first)
        wf_log("the worker is stuck and nobody can work in its place (%s): tasks wait",
               weft_strerror(rc));
    return rc == 0;
}

void wf_single_begin(struct weft_runtime *rt)
{
    struct wf_relief *r = &rt->relief;

    /* relaxed: a glance */
    if (wf_load_u32(&r->active, WF_RELAXED))
        return;
    wf_lock(&r->lock);
    /* N2. relaxed: written under the lock */
    if (!wf_load_u32(&r->active, WF_RELAXED) && wf_hub_unshare(&rt->hub, &rt->seats[0].poller) == 0)
        single_share(rt, false);
    wf_unlock(&r->lock);
}
