/* SPDX-License-Identifier: MIT */
/*
 * seat.h - what a worker works with: queues, timers, descriptors, counters.
 *
 * IDEA     Seats are fixed in number and live as long as the runtime; a thread holds one while it works.
 *          Every registration belongs to a seat, never to a thread, and everything in a seat can
 *          be reached by others: the queues by stealing, the wheel by advancing it, the descriptors by
 *          harvesting, the LIFO slot by taking the seat when its holder is stuck. Stand-ins (relieve.c)
 *          have a bare seat, without wheel and poller: they use those of the seat they stand in for.
 * WHO      Each group of fields says it. "holder" is the thread that holds the seat, inside the guard.
 */
#ifndef WF_SCHED_SEAT_H
#define WF_SCHED_SEAT_H

#include "base/rand.h"
#include "io/poller.h"
#include "sched/deque.h"
#include "sched/inject.h"
#include "sched/pins.h"
#include "task/current.h"
#include "time/wheel.h"

struct wf_runtime;

/* Counters with one writer, the holder; read by anyone. */
struct wf_seat_counters {
    struct wf_task_counters task; /* first */
    struct wf_atomic_u64 polls;
    struct wf_atomic_u64 steals;
    struct wf_atomic_u64 steal_operations;
    struct wf_atomic_u64 overflows;
    struct wf_atomic_u64 parks;
    struct wf_atomic_u64 wakeups_idle;
    struct wf_atomic_u64 lifo_runs;
    struct wf_atomic_u64 injected;
    struct wf_atomic_u64 timers_fired;
    struct wf_atomic_u64 io_events;
    struct wf_atomic_u64 parked_ns; /* in all, finished sleeps */
    struct wf_atomic_u64 parked_at; /* clock, while asleep; else 0 */
};

enum wf_seat_taken {
    WF_SEAT_FREE,
    WF_SEAT_TAKEN,   /* for a moment: wait */
    WF_SEAT_RELIEVED /* its holder is stuck in a poll, and others do its work: relieve.c */
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): the counters stand apart */
struct wf_seat {
    /* set once */
    struct weft_runtime *rt;
    unsigned index;

    /* see guard.h */
    struct wf_atomic_u32
        inside; /* the holder is touching what only the holder may; or there is none */
    struct wf_atomic_u32 taken; /* enum wf_seat_taken: the holder must keep out unless free */

    /* holder only */
    struct wf_atomic_ptr lifo; /* woken last: runs next. Others may glance at it */
    struct wf_rand rand;
    struct wf_slab_cache slab;
    struct wf_stack_cache stacks;

    /* holder adds, anyone takes */
    struct wf_deque ready;   /* woken tasks, in the order of readiness */
    struct wf_deque backlog; /* tasks never polled */
    struct wf_pins pins;     /* tasks that its worker alone polls */
#if WF_MIGRATE
    struct wf_inject away; /* migrate.h: polled here last, for others only */
    bool away_turn;        /* holder only */
#endif

    /* anyone; not of a bare seat */
    struct wf_wheel wheel;
    struct wf_poller poller;
    struct wf_atomic_u64 looked; /* ticks, when somebody last saw to wheel and poller; a glance */
    struct wf_seat_counters counters WF_ALIGNED(WF_CACHE_LINE);
};

/* 0 or a negative errno; then nothing is left behind. Bare: without wheel and poller. */
int wf_seat_init(struct wf_seat *s, struct weft_runtime *rt, unsigned index, bool shared,
                 uint64_t seed);
int wf_seat_init_bare(struct wf_seat *s, struct weft_runtime *rt, unsigned index, bool shared,
                      uint64_t seed);
void wf_seat_release(struct wf_seat *s);
void wf_seat_release_bare(struct wf_seat *s);

WF_INLINE struct weft_task *wf_seat_lifo(const struct wf_seat *s)
{
    /* relaxed: the holder's own, or who has taken the seat */
    return wf_load_ptr(&s->lifo, WF_RELAXED);
}

WF_INLINE void wf_seat_set_lifo(struct wf_seat *s, struct weft_task *t)
{
    /* relaxed: as above; a glance learns nothing of the task */
    wf_store_ptr(&s->lifo, t, WF_RELAXED);
}

/* Any task that is queued on a seat which nobody works with, or that its holder leaves; NULL: none is left. */
struct weft_task *wf_seat_drain(struct wf_seat *s);

/*
 * The guard: how a thread whose seat was taken is kept out of it.
 *
 * IDEA     The holder says "inside" by a plain store before it touches holder-only fields, then
 *          looks whether the seat was taken. Who takes it says "taken", makes every running thread pass a
 *          barrier (membarrier, 0.1 to 13 us, paid by the rare side alone), and looks whether the holder
 *          is inside. One of the two sees the other. The hot side has no fence and no
 *          read-modify-write. A holder that sees its seat taken keeps out; it may stay where it is until it sees
 *          the seat free again, and is inside then, for the next one to take it finds it there.
 * REJECTED An atomic exchange at each poll: 6 ns on every poll for an event that hardly ever
 *          comes. Reaching into the queue in place: works for the shared queues, which need no guard, but not for
 *          the LIFO slot and the push side.
 */
WF_INLINE bool wf_seat_enter(struct wf_seat *s)
{
    /* relaxed and a compiler fence: the taker's membarrier makes the two a full barrier. acquire: pairs
     * with wf_seat_give_back; what comes next sees what a taker did. */
    wf_store_u32(&s->inside, 1, WF_RELAXED);
    wf_compiler_fence();
    return wf_likely(wf_load_u32(&s->taken, WF_ACQUIRE) == 0);
}

WF_INLINE void wf_seat_leave(struct wf_seat *s)
{
    /* release: what the holder did is seen by who takes the seat next */
    wf_store_u32(&s->inside, 0, WF_RELEASE);
}

/*
 * Take a seat whose holder is stuck in a poll. False: the holder is inside right now (it is not
 * stuck), or somebody else has taken it. On success the caller holds the seat until
 * wf_seat_give_back.
 */
bool wf_seat_take(struct wf_seat *s);
void wf_seat_give_back(struct wf_seat *s);

/*
 * By who has taken it: the holder is relieved, which is stuck in a poll. The task in its LIFO slot goes to where others
 * find it; what the poll wakes or spawns from here on it queues on the seat, where others take it.
 */
void wf_seat_relieve(struct wf_seat *s);

/* By the holder, when its poll has ended. False: it was not relieved. */
bool wf_seat_resume(struct wf_seat *s);

#endif
