/* SPDX-License-Identifier: MIT */
/*
 * runtime.h - a runtime from inside: seats, workers, what they share.
 */
#ifndef WF_SCHED_RUNTIME_H
#define WF_SCHED_RUNTIME_H

#include "base/list.h"
#include "base/lock.h"
#include "sched/idle.h"
#include "sched/inject.h"
#include "sched/seat.h"
#include "task/task.h"
#include "time/virtual.h"

#include <pthread.h>
#include <weft/runtime.h>

struct wf_worker;
struct wf_standin;
struct wf_report;
struct wf_debug_table;

/* monitor.c */
struct wf_monitor {
    pthread_t handle;
    bool started;
    struct wf_report *report;
    struct wf_atomic_u32 word; /* futex, enum wf_monitor_word */
};

struct wf_pool_thread;

/* pool.c */
struct wf_pool {
    struct wf_lock lock;
    /* under the lock */
    struct weft_task *first, *last; /* waiting to be run; each with a reference */
    struct wf_pool_thread *idle;    /* the last to fall idle first */
    struct wf_pool_thread *ended;   /* to be joined */
    struct wf_list all;             /* its threads */
    struct wf_list room;            /* who waits for room in the queue */
    bool detached;                  /* nobody will join its threads */
    bool stopped;
    bool coming;       /* a thread was called or is being made, and has taken nothing yet */
    unsigned reserved; /* if the queue has an end: places in it for tasks that are being made */
    /* under the lock, read by anyone */
    struct wf_atomic_u32 queued, sleeping;
    struct wf_atomic_u32 threads;  /* that take tasks, or are being made */
    struct wf_atomic_u32 alive;    /* and those about to end; a futex */
    struct wf_atomic_u64 spawned;  /* tasks; under the lock */
    struct wf_atomic_u64 finished; /* tasks; by its threads and by who cancels */
};

/* relieve.c */
struct wf_relief {
    struct wf_lock lock;
    bool detached;               /* under the lock: nobody will join its threads */
    bool cannot_share;           /* under the lock: said already */
    unsigned max;                /* set once */
    struct wf_standin **standin; /* the first `made` of them; set once each */
    struct wf_atomic_u32 made;
    struct wf_atomic_u32 stuck;  /* relieved workers */
    struct wf_atomic_u32 active; /* stand-ins at work */
    /* clock: when a worker is to see whether one can be had; WEFT_FOREVER: none is missing, or the monitor does */
    struct wf_atomic_u64 again_at;
    struct wf_atomic_u64 stalls; /* ever */
};

/* A weft_config after defaults and environment: every field has its final value. */
struct wf_settings {
    weft_config config;
    bool lifo;
    bool monitor;
    bool signal_reports;
    char thread_name[16];
};

/* 0, or -EINVAL, -ENOTSUP with a message that names the field. */
int wf_config_resolve(struct wf_settings *out, const weft_config *config, size_t size,
                      bool from_weft_run);

/* Some runtime of the process has, or had, a lock_held_limit. */
extern struct wf_atomic_u32 wf_lock_limits;

enum wf_phase {
    WF_PHASE_OPEN,
    WF_PHASE_CLOSING, /* tasks are cancelled; workers go on until none is left */
    WF_PHASE_STOPPED  /* workers leave */
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): what all workers write stands apart */
struct weft_runtime {
    struct wf_scheduler sched; /* first: tasks point at it */

    /* set once */
    struct wf_settings set;
    unsigned workers;
    bool sole; /* one seat, and nobody ever stands in for its worker */
    uint64_t tick_half_ms, tick_20us, tick_exact; /* lengths in ticks */
    struct wf_seat *seats;
    struct wf_worker *worker;
    struct wf_hub hub;
    uint32_t fork_generation;
    uint64_t started_at;                      /* clock */
    const struct wf_debug_table *debug_table; /* so that no linker leaves it out */

    struct wf_virtual clock; /* current-thread: of its driver; see clock.c */
    /* One thread works: nobody steals, or is to be called, and it sleeps on its own poller. See single.c for who may
     * read it, and change it. */
    bool single;

    /* shared by all workers */
    struct wf_idle idle WF_ALIGNED(WF_CACHE_LINE);
    struct wf_inject inject WF_ALIGNED(WF_CACHE_LINE);
    struct wf_atomic_u64 remote_schedules;
    struct wf_atomic_u64 spawned_outside;          /* from plain threads and other runtimes */
    struct wf_atomic_u64 deadlocks, locks_overdue; /* counted in src/sync */
    struct wf_atomic_u32 pin_turn;                 /* of wf_pins_choose */
    struct wf_monitor monitor WF_ALIGNED(WF_CACHE_LINE);
    struct wf_pool pool WF_ALIGNED(WF_CACHE_LINE);
    struct wf_relief relief WF_ALIGNED(WF_CACHE_LINE);

    /* life cycle; see runtime.c */
    struct wf_atomic_u32 phase; /* enum wf_phase; also a futex */
    struct wf_atomic_u32
        users; /* the handle, the threads inside, calls from outside; and flags: shutdown.c */
    struct wf_atomic_u32 ended;    /* futex: moves when a task ends while closing */
    struct wf_atomic_u32 spawning; /* spawns from outside that are under way */
    struct wf_atomic_u32
        orphan; /* the handle was given up inside: the last task to end stops all */
    struct wf_atomic_u32 joined; /* who joins the threads, and whether that is done; a futex */
    bool kept;                   /* linked among the abandoned; by the last user */
    struct wf_atomic_u32 driver; /* current-thread: 1 while a thread drives, futex */
    void *next_abandoned;        /* set once, at the end */
};

WF_INLINE struct weft_runtime *wf_runtime_of(struct wf_scheduler *s)
{
    return wf_container_of(s, struct weft_runtime, sched);
}

WF_INLINE bool wf_runtime_stopped(const struct weft_runtime *rt)
{
    /* acquire: pairs with the store in runtime_stop */
    return wf_load_u32(&rt->phase, WF_ACQUIRE) == WF_PHASE_STOPPED;
}

/* Push from outside and see that somebody looks. */
void wf_runtime_inject(struct weft_runtime *rt, struct weft_task *t);

/* Tasks that have not ended. */
uint64_t wf_runtime_alive(const struct weft_runtime *rt);

/* A walk over the live tasks of a runtime, to the end; all but rt zero at first. Needs no memory. */
struct wf_task_walk {
    struct weft_runtime *rt;
    struct wf_slab_cursor at;
    bool over; /* the slab was walked to its end */
    unsigned count;
    struct weft_task *tasks[128]; /* the lot at hand */
};

/* The next one, with a reference for the caller; NULL: there is no more. */
struct weft_task *wf_task_walk_next(struct wf_task_walk *w);

/* Cancel what is alive and not yet cancelled. */
void wf_runtime_cancel_all(struct weft_runtime *rt);

/* A task ended while closing, the last one perhaps. In worker_finish, after it was counted. */
void wf_runtime_task_ended(struct weft_runtime *rt);

/* One user less; the last one frees the memory. */
void wf_runtime_put(struct weft_runtime *rt);

#endif
