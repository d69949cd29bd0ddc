/* SPDX-License-Identifier: MIT */
/*
 * current.h - what the running thread works on.
 *
 * IDEA     Each worker thread has one struct wf_thread; plain threads have none. It is reached by
 *          wf_thread_self() alone, an opaque function, because a compiler may keep the address of a
 *          thread-local across a switch after which the fiber runs elsewhere. Whoever calls
 *          something that may suspend fetches it again.
 * WHO      All fields: the thread itself.
 */
#ifndef WF_TASK_CURRENT_H
#define WF_TASK_CURRENT_H

#include "base/rand.h"
#include "fiber/fiber.h"
#include "fiber/stack.h"
#include "task/slab.h"

struct weft_task;
struct wf_fiber;
struct wf_scheduler;
struct wf_poller;
struct wf_wheel;

#define WF_COOP_BUDGET 128

#ifndef WF_GRAVES /* a test build has fewer */
# define WF_GRAVES 256
#endif

/* How often things happened on a seat; one writer, read by anyone. */
struct wf_task_counters {
    struct wf_atomic_u64 spawned;
    struct wf_atomic_u64 finished;
    struct wf_atomic_u64 budget_yields;
};

struct wf_thread {
    union { /* being polled; NULL between polls */
        struct weft_task *task;
        struct wf_atomic_ptr task_to_read; /* the monitor */
    };

    struct wf_fiber *fiber;        /* its fiber, when it is one */
    struct wf_coro native;         /* this thread's own stack, while a fiber runs */
    int32_t budget;                /* operations left in this poll */
    struct wf_atomic_u32 blocking; /* in weft_blocking; the monitor reads it */
    /* ticks, when the running poll (or group of polls) began; the monitor reads it */
    struct wf_atomic_u64 poll_from;
    bool exact_clock; /* polls are long: read the clock at each wake */
    struct wf_scheduler *sched;
    struct wf_wheel *wheel;   /* where this thread arms timers */
    struct wf_poller *poller; /* where it registers descriptors */
    struct wf_slab_cache *slab;
    struct wf_stack_cache *stacks;
    struct wf_task_counters *counters;
    struct wf_rand *rand;
    uint64_t next_id, end_id; /* task ids set aside for this thread */
#if WF_DEBUG
    /* Headers of tasks that ended: their memory is reused late, so that a stale handle is noticed. */
    struct weft_task *graves[WF_GRAVES];
    uint32_t grave;
#endif
};

/* relaxed: a statistic with one writer */
WF_INLINE uint64_t wf_thread_poll_from(const struct wf_thread *th)
{
    return wf_load_u64(&th->poll_from, WF_RELAXED);
}

/* The calling thread's; NULL on a plain thread. */
struct wf_thread *wf_thread_self(void);
void wf_thread_set_self(struct wf_thread *th);

/* While a runtime's thread is lent to a function that blocks, and is a plain one to it: the runtime's. NULL otherwise,
 * and in the child of a fork. lend returns what it was. */
const struct wf_scheduler *wf_thread_owner(void);
const struct wf_scheduler *wf_thread_lend(const struct wf_scheduler *s);

/* A number for the calling thread that no other live thread of the process has; never 0. A child of fork keeps that of
 * the thread that forked. */
uint32_t wf_thread_number(void);

/* How many forks lie between the first process and this one: it moves in the child. */
extern struct wf_atomic_u32 wf_fork_generation;

/* A child that was forked inside a task has returned from it: end, with a message. There is no worker to go on to. */
WF_COLD __attribute__((noreturn)) void wf_forked_child_returned(void);

/* An id never given before in this process. th may be NULL. */
uint64_t wf_task_id_next(struct wf_thread *th);

/* A moment for "ready since": exact when polls are long, else the last moment this thread knows. */
uint64_t wf_thread_stamp(const struct wf_thread *th);

#endif
