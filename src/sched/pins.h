/* SPDX-License-Identifier: MIT */
/*
 * pins.h - the tasks of a seat that its worker alone polls.
 *
 * IDEA     A pinned task carries the index of its seat in the upper half of its flags. Ready, it is in none of the
 *          queues that others take from, but in one of two lists here: `first`, the worker's own, which needs neither
 *          lock nor guard, as no other thread ever touches it; and `remote`, where all others put it.
 *          Where a worker sleeps stands in a word of its seat, so who puts a task there can end that very sleep. A
 *          worker that has had pinned tasks sleeps on a set of its own, which holds the hub and a bell (io/epoll.c).
 *          One that has not yet, for its first pinned task comes from elsewhere, or that can have no bell, sleeps on
 *          the hub with the others: then all of them are roused, until it is up. A single worker sleeps alone, and
 *          the signal is for it.
 * WHO      here: the seat's worker, at any time, also in a poll that was relieved. The rest says it.
 * INVARIANTS
 *     P5   No wake of a pinned task is lost: who pushes from elsewhere passes a full fence and looks where the worker
 *          sleeps; who goes to sleep says where, passes a full fence (that of wf_idle_sleep_begin) and looks at its
 *          lists. One of the two sees the other. Whoever takes the word from the worker ends its sleep, once.
 *     I1   Only its own worker polls a pinned task: no other thread takes from these lists before the runtime's end.
 *     I2   Of two takes in a row, one is from here if anything is, and one from the seat's other queues if
 *          anything is.
 * ORDER    sleeps: release when it is said, acquire by who takes it: the bell is there. remote: see inject.h.
 *          used: set by who pushes, and by the worker when it sees the task: it only saves looking.
 * REJECTED A set of its own for every worker: an event then wakes all that sleep, inside of the kernel, and each sleep
 *          ends with a system call more. Only seats with pinned tasks pay that.
 * TESTS    tests/api/test_local_set.c, tests/stress/test_local_set.c, tests/model/test_pins.c,
 *          tests/promela/park.pml, tests/fault/test_group.c
 */
#ifndef WF_SCHED_PINS_H
#define WF_SCHED_PINS_H

#include "io/poller.h"
#include "sched/inject.h"
#include "task/task.h"

struct wf_worker;
struct wf_seat;

enum wf_bed {
    WF_BED_NONE, /* awake; or somebody ends its sleep */
    WF_BED_OWN,  /* on its own poller: single */
    WF_BED_HUB,  /* on the hub, with others */
    WF_BED_BELL  /* on its bell's set */
};

struct wf_pins {
    struct wf_atomic_u32 used;   /* a task was pinned here, ever */
    struct wf_atomic_u32 sleeps; /* enum wf_bed: said by the worker, taken by anyone */
    /* the worker only; the counts can be read by anyone */
    struct weft_task *first, *last;
    struct wf_atomic_u64 queued, taken; /* of its own list, ever */
    bool turn;
    struct wf_bell bell; /* written by the worker while it is awake */
    /* anyone */
    struct wf_inject remote;
};

WF_INLINE void wf_pins_init(struct wf_pins *p)
{
    wf_inject_init(&p->remote);
    p->bell = WF_BELL_NONE;
}

WF_INLINE void wf_pins_release(struct wf_pins *p)
{
    wf_assert(!p->first && wf_inject_len(&p->remote) == 0);
    wf_bell_close(&p->bell);
}

/* The first of the worker's own, or NULL. */
WF_INLINE struct weft_task *wf_pins_pop(struct wf_pins *p)
{
    struct weft_task *t = p->first;

    if (t) {
        p->first = t->next;
        t->next = NULL;
    }
    return t;
}

/* The runtime has stopped: any that is left, or NULL. */
WF_INLINE struct weft_task *wf_pins_left(struct wf_pins *p)
{
    struct weft_task *t = wf_pins_pop(p);

    return t || wf_inject_take(&p->remote, &t, 1) ? t : NULL;
}

/* A glance: may there be anything to take? Always, once there was anything. */
WF_INLINE bool wf_pins_used(const struct wf_pins *p)
{
    /* relaxed: see ORDER */
    return wf_unlikely(wf_load_u32(&p->used, WF_RELAXED) != 0);
}

/* How many wait, by a glance. */
WF_INLINE uint64_t wf_pins_len(const struct wf_pins *p)
{
    /* relaxed: numbers that move; taken first, for it follows queued */
    uint64_t taken = wf_load_u64(&p->taken, WF_RELAXED);

    return wf_load_u64(&p->queued, WF_RELAXED) - taken + wf_inject_len(&p->remote);
}

/* By the worker: is any of them ready? */
WF_INLINE bool wf_pins_wait(const struct wf_pins *p)
{
    return p->first || wf_inject_len(&p->remote) != 0;
}

/* The flags of a task that is pinned to that seat, and back. */
WF_INLINE uint32_t wf_pins_flags(unsigned seat)
{
    return WF_TASK_F_PINNED | (seat + 1) << WF_TASK_SEAT_SHIFT;
}

WF_INLINE unsigned wf_pins_seat_of(const struct weft_task *t)
{
    /* relaxed: set before publish */
    return (wf_load_u32(&t->flags, WF_RELAXED) >> WF_TASK_SEAT_SHIFT) - 1;
}

/* What a task is to be pinned to that th spawns: see wf_scheduler_ops. */
uint32_t wf_pins_choose(struct wf_scheduler *sched, struct wf_thread *th);

/* It is ready. From any thread; th: the calling one's, or NULL. */
void wf_pins_push(struct weft_runtime *rt, struct wf_thread *th, struct weft_task *t);

/* The same by its own worker. */
void wf_pins_push_here(struct wf_pins *p, struct weft_task *t);

/* By the worker: the one that is ready for longest; NULL: none. And the same at every second call, I2. */
struct weft_task *wf_pins_take(struct wf_worker *w);
struct weft_task *wf_pins_take_in_turn(struct wf_worker *w);

/* It is about to say that it sleeps, or is awake. Where it will sleep: its bell, or NULL. */
const struct wf_bell *wf_pins_sleep_begin(struct wf_worker *w);
void wf_pins_sleep_end(struct wf_worker *w);

#endif
