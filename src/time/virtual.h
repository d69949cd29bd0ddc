/* SPDX-License-Identifier: MIT */
/*
 * virtual.h - a clock that can be stopped and moved: the one of a current-thread runtime, for tests.
 *
 * IDEA     While it runs it is the monotonic clock and an offset; stopped, it is a moment that only a jump moves.
 *          A process in which none was ever stopped reads one word and then the monotonic clock.
 * WHO      The thread that drives the runtime stops, starts and moves it; reads it, as do the runtime's blocking
 *          jobs on their own threads.
 * INVARIANTS
 *     V1   It never goes backwards: stopping, starting and jumping begin where it is.
 *     V2   It stays below WF_VIRTUAL_MAX when it is moved, so that a sum of a moment and a length that a program
 *          uses does not saturate.
 * LOCKS    WF_RANK_LEAF, around a few words.
 */
#ifndef WF_TIME_VIRTUAL_H
#define WF_TIME_VIRTUAL_H

#include "base/lock.h"

#define WF_VIRTUAL_MAX ((uint64_t)1 << 63) /* 292 years after the system's start */

struct wf_virtual {
    struct wf_lock lock;
    /* under the lock */
    uint64_t shift;      /* while it runs: added to the monotonic clock, modulo 2^64 */
    uint64_t stopped_at; /* while it is stopped */
    /* under the lock, read by anyone */
    struct wf_atomic_u32 stopped;
    bool used; /* its runtime's thread: it was stopped once, and is counted */
};

/* How many clocks there are in the process that were stopped once. */
extern struct wf_atomic_u32 wf_virtual_clocks;

/* Is there any? Else all clocks are the monotonic one. */
WF_INLINE bool wf_virtual_any(void)
{
    /* relaxed: who stopped the clock of a runtime is its own thread, or has handed it a job since */
    return wf_unlikely(wf_load_u32(&wf_virtual_clocks, WF_RELAXED) != 0);
}

void wf_virtual_init(struct wf_virtual *v);

/* With its runtime. */
void wf_virtual_release(struct wf_virtual *v);

uint64_t wf_virtual_now(struct wf_virtual *v);

WF_INLINE bool wf_virtual_is_stopped(const struct wf_virtual *v)
{
    /* relaxed: its runtime's own thread, which alone stops and starts it; others: after a fence of theirs */
    return wf_load_u32(&v->stopped, WF_RELAXED) != 0;
}

/* False: it was stopped already; it ran already. */
bool wf_virtual_stop(struct wf_virtual *v);
bool wf_virtual_start(struct wf_virtual *v);

/* Move one that is stopped. An earlier moment changes nothing; false: the moment is beyond WF_VIRTUAL_MAX. */
bool wf_virtual_jump(struct wf_virtual *v, uint64_t at);

/* The moment on the monotonic clock at which one that runs shows this; WEFT_FOREVER stays as it is. */
uint64_t wf_virtual_to_real(struct wf_virtual *v, uint64_t at);

#endif
