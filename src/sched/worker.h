/* SPDX-License-Identifier: MIT */
/*
 * worker.h - the thread that holds a seat and polls tasks.
 */
#ifndef WF_SCHED_WORKER_H
#define WF_SCHED_WORKER_H

#include "sched/runtime.h"
#include "sched/stall.h"

struct wf_worker {
    /* first: what wf_thread_self returns. Aligned, since workers stand in an array. */
    struct wf_thread thread WF_ALIGNED(WF_CACHE_LINE);
    struct weft_runtime *rt;
    struct wf_seat *seat;
    struct wf_seat
        *home; /* whose timers and descriptors it looks after: the seat, but of a stand-in */
    pthread_t handle;
    struct wf_atomic_u32 left;    /* futex: 1 when its thread is about to return */
    struct wf_atomic_u32 entered; /* between wf_worker_enter and _leave */
    struct wf_atomic_u32 tid;     /* its thread, by the kernel's number */
    struct wf_atomic_u32 reports; /* it has a stack for signal handlers: see fiber/overflow.h */
    struct wf_stall stall;        /* the monitor's */

    /* this worker only */
    int32_t until_look;     /* polls until the next look at driver, timers and injection queue */
    uint32_t lifo_runs;     /* in a row */
    uint32_t turn;          /* counts takes, to give the backlog its slots */
    uint32_t inject_wait;   /* polls until the injection queue is due */
    uint32_t backlog_first; /* takes from the backlog that go before the ready queue */
    uint32_t group_left;    /* polls until the clock is read; see account.h */
    uint32_t group_size;
    uint32_t short_polls; /* in a row, since the last sleep or long poll */
    uint64_t poll_mean;   /* ticks, a moving average */
    uint64_t looked_at;   /* ticks */
    uint64_t round_end;   /* tail of the ready queue when this round of it began */
    uint64_t alarmed;     /* wf_wheel_lowered when the alarm was last told */
    uint64_t last_sleep;  /* ns: how long the last sleep was, for the adaptive spin */
    bool searching;
    bool standin; /* set once: see relieve.c */
    bool retired; /* a stand-in that is to leave */
};

/* All seats: those of the workers, and bare ones. They only become more. */
unsigned wf_runtime_seats(const struct weft_runtime *rt);
struct wf_seat *wf_runtime_seat(const struct weft_runtime *rt, unsigned i);

/* A thread's way in and out: sets up and tears down what the thread needs to poll tasks. rt, seat and
 * home are set. */
void wf_worker_enter(struct wf_worker *w);
void wf_worker_leave(struct wf_worker *w);

/* Poll tasks until the runtime has stopped, or root (may be NULL) has ended, or the clock has reached until. */
void wf_worker_run(struct wf_worker *w, const struct weft_task *root, uint64_t until_ns);

/* The scheduler's up-calls, see task.h. */
extern const struct wf_scheduler_ops wf_worker_ops;

/* park.c */
struct weft_task *wf_worker_steal(struct wf_worker *w);
void wf_worker_park(struct wf_worker *w, uint64_t until_ns);
void wf_worker_notify(struct wf_worker *w);
void wf_worker_alarm(struct wf_worker *w);
/* A1 for all seats, in place of workers that are stuck. After a fence of the caller's. */
void wf_worker_alarm_all(struct weft_runtime *rt);
/* Does a task wait in any queue? own: not for whoever has that seat (migrate.h); may be NULL. After a fence of the
 * caller's. */
bool wf_worker_work_waits(const struct weft_runtime *rt, const struct wf_seat *own);
unsigned wf_worker_fire_timers(struct wf_worker *w, struct wf_seat *seat, uint64_t now);
unsigned wf_worker_harvest(struct wf_worker *w, struct wf_poller *p);

/* Wake one that waits for several tasks to end, by the first of them; its reference is given up. From any thread. New
 * tasks of this worker go before it, a few at most. */
void wf_worker_wake_patient(weft_wakeable *target);

/* Queue on the held seat; falls back to the injection queue. */
void wf_worker_push_ready(struct wf_worker *w, struct weft_task *t);

WF_INLINE struct wf_worker *wf_worker_of(struct wf_thread *th)
{
    return wf_container_of(th, struct wf_worker, thread);
}

#endif
