/* SPDX-License-Identifier: MIT */
/*
 * stall.h - what repeated looks at a poll that lasts say of it.
 *
 * IDEA     One look tells little: whether the thread waits in the kernel at this moment, how much it has computed ever,
 *          how many tasks lay on its seat ever. Two looks tell what it did between them: did it wait, compute, make
 *          tasks, or did it only wait for a processor?
 * WHO      The monitor. It keeps one of these for each worker.
 */
#ifndef WF_SCHED_STALL_H
#define WF_SCHED_STALL_H

#include "base/sys.h"

struct weft_task;

/* What is seen at one look. */
struct wf_look {
    uint64_t poll;          /* ticks: when the poll began, which tells it from others */
    uint64_t at_ns;         /* the moment of the look, on any clock */
    bool clocked;           /* cpu_ns is known */
    uint64_t cpu_ns;        /* what its thread has computed, ever */
    uint64_t queued;        /* tasks put in its seat's queues, ever */
    uint64_t injected;      /* tasks for which its seat had no place, ever */
    struct weft_task *slot; /* in the LIFO slot; never followed */
    bool waits;             /* its thread waits in the kernel */
};

struct wf_stall {
    struct wf_look last; /* if its poll is 0, there was none */
    /* of that poll */
    uint64_t computed_ns; /* since the first look; UINT64_MAX: not known, as much as you like */
    uint64_t injected;    /* since the first look */
    bool blocked;         /* it waits in the kernel, and mostly did since the look before */
    bool produces; /* it makes tasks or wakes them, all the time, and strands none in the slot */
    /* the monitor's */
    struct wf_sys_call in; /* what it waits in */
    bool untold;           /* relieved, and not yet told of */
    uint64_t limit_ns;     /* to be told of when it has computed for so long */
};

/* One more look. False: it is the first at that poll; nothing is known of what it does, but that it waits. */
bool wf_stall_look(struct wf_stall *s, const struct wf_look *now);

#endif
