/* SPDX-License-Identifier: MIT */
/*
 * gate.h - the lock of a wheel, apart from it, for a timer may outlive the wheel.
 *
 * IDEA     A timer knows the gate of the wheel that it was armed on, and whether it is armed still is asked behind
 *          that gate. Only then is the wheel known to be there, and touched. So who has seen the timer armed may
 *          come as late as he likes: what was locked is never unmapped.
 * OWNS     A gate belongs to one wheel at a time, and to the free ones in between. Gates are never freed: as many are
 *          kept as there ever were wheels at a time.
 * LOCKS    wf_gate.lock: WF_RANK_WHEEL. The free ones: WF_RANK_LEAF.
 * REJECTED Keeping the memory of a runtime that had timers armed when it ended, for good: one may also have fired a
 *          moment before. A count of the runtime for each armed timer: two operations on a shared word for each
 *          sleep. The number of one of a fixed table of locks in the timer, beside the pointer to the wheel: wheels
 *          would share locks, and each arming and cancel costs more.
 * TESTS    tests/unit/test_gate.c, tests/model/test_wheel.c, tests/fault/test_time.c
 */
#ifndef WF_TIME_GATE_H
#define WF_TIME_GATE_H

#include "base/lock.h"

struct wf_wheel;

struct wf_gate {
    struct wf_lock lock;
    /* set before the first timer is armed on it; read under the lock, when one is: then it is there */
    struct wf_wheel *wheel;
    struct wf_gate *next; /* while free */
} WF_ALIGNED(WF_CACHE_LINE);

/* For a wheel; NULL: there is no memory. */
struct wf_gate *wf_gate_get(struct wf_wheel *w);

/* Nothing is armed on its wheel any more. Who comes late may lock it still. */
void wf_gate_put(struct wf_gate *g);

#endif
