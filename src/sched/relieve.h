/* SPDX-License-Identifier: MIT */
/*
 * relieve.h - workers that are stuck in a poll, and the threads that stand in for them.
 */
#ifndef WF_SCHED_RELIEVE_H
#define WF_SCHED_RELIEVE_H

#include "base/lock.h"
#include "sched/worker.h"

/* A thread beside the workers, with a bare seat of its own. Made when first needed, and never unmade before
 * the runtime ends. */
struct wf_standin {
    struct wf_worker worker; /* first: see wf_standin_of */
    struct wf_seat seat;
    struct wf_atomic_u32
        called; /* futex: 1 when it is to work. By who holds the lock, and the thread */
    /* under the lock */
    bool in_use;   /* called, and has not yet retired for good */
    bool started;  /* there is a thread that can be called */
    bool joinable; /* there was one, and nobody has joined it */
};

int wf_relief_init(struct weft_runtime *rt);
void wf_relief_release(struct weft_runtime *rt);

/* Take the work from a worker that is stuck in the poll that began then, by its poll_from. False: it is not, or was
 * relieved before. */
bool wf_relieve(struct wf_worker *w, uint64_t poll);

/* By a worker whose poll is over, and whose seat is taken. False: only for a moment. */
bool wf_relieve_end(struct wf_worker *w);

/* The same around a part of a poll that blocks: weft_block_in_place. False: it was relieved before, and whoever did
 * that sees to its end. */
bool wf_relieve_here(struct wf_thread *th);
void wf_relieve_over(struct wf_thread *th);

/* See that as many threads work as there are workers, if there is work for them. Returns what is missing: stand-ins
 * beyond the limit, or that cannot be started. The monitor asks at each look. */
unsigned wf_relief_balance(struct weft_runtime *rt);

/* Where there is no monitor, the workers do at their looks, while stand-ins are missing. */
WF_COLD void wf_relief_again(struct weft_runtime *rt, uint64_t now_ns);

WF_INLINE void wf_relief_look(struct weft_runtime *rt, uint64_t now_ns)
{
    /* relaxed: a glance */
    if (wf_unlikely(wf_load_u64(&rt->relief.again_at, WF_RELAXED) <= now_ns))
        wf_relief_again(rt, now_ns);
}

/* How many stand-ins have a thread. */
unsigned wf_relief_threads(struct weft_runtime *rt);

/* By a stand-in between polls: are there enough without it? Then it counts as gone, and only hands on what it has. */
bool wf_standin_retire(struct wf_worker *w);

/* The runtime has stopped: all threads leave. Then they are joined; false: not all by until_ns. */
void wf_relief_stop(struct weft_runtime *rt);
bool wf_relief_join(struct weft_runtime *rt, uint64_t until_ns);
/* Nobody will join them. */
void wf_relief_detach(struct weft_runtime *rt);

#endif
