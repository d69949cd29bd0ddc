/* SPDX-License-Identifier: MIT */
/*
 * worker.h - a worker without a runtime, for models of what waits for timers: a thread with a wheel, on which one
 * future is polled by hand.
 *
 * The thread is the future's task and its seat's worker at once: it polls, sleeps until it is woken or a timer is
 * due, fires what is due, and polls again. Its wakeable is counted; one that is called after its end is in a race.
 */
#ifndef MODEL_WORKER_H
#define MODEL_WORKER_H

#include "model/model.h"
#include "task/current.h"
#include "task/waker.h"
#include "time/wheel.h"

#include <errno.h>
#include <weft.h>

#define TICK ((uint64_t)1 << WF_WHEEL_TICK_SHIFT)

static struct wf_wheel wheel;

struct worker_waker {
    weft_wakeable wakeable;
    struct wf_atomic_u32 refs, woken;
};

static struct worker_waker worker_waker;
static unsigned worker_polls; /* by worker_await */

static inline struct worker_waker *worker_waker_of(weft_wakeable *w)
{
    return wf_container_of(w, struct worker_waker, wakeable);
}

static inline void worker_waker_retain(weft_wakeable *w)
{
    (void)wf_add_u32(&worker_waker_of(w)->refs, 1, WF_RELAXED);
}

static inline void worker_waker_wake(weft_wakeable *w)
{
    wf_store_u32(&worker_waker_of(w)->woken, 1, WF_RELEASE);
}

static inline void worker_waker_release(weft_wakeable *w)
{
    CHECK(wf_sub_u32(&worker_waker_of(w)->refs, 1, WF_ACQ_REL) > 0);
}

static const weft_wakeable_type worker_waker_type = {worker_waker_retain, worker_waker_wake,
                                                     worker_waker_release};

/* The explorer's own look, while the thread waits. */
__attribute__((no_sanitize("thread"))) static inline bool worker_is_woken(void *arg)
{
    (void)arg;
    return worker_waker.woken.raw != 0;
}

static inline void worker_begin(void)
{
    worker_waker = (struct worker_waker){.wakeable = {&worker_waker_type}};
    wf_wheel_init(&wheel, model_clock());
}

static inline void worker_end(void)
{
    CHECK_EQ(0, wf_wheel_count(&wheel));
    CHECK_EQ(0, worker_waker.refs.raw);
    wf_wheel_release(&wheel);
}

/* The calling thread is the worker. */
static inline void worker_enter(struct wf_thread *th)
{
    *th = (struct wf_thread){.wheel = &wheel};
    wf_thread_set_self(th);
}

static inline weft_poll worker_poll_once(weft_future *f)
{
    weft_context cx = {{&worker_waker.wakeable}};

    return weft_future_poll(f, &cx);
}

/* Sleep until somebody wakes the task, or a timer is due. */
static inline void worker_sleep(void)
{
    do {
        if (model_block(worker_is_woken, NULL, wf_wheel_next(&wheel)))
            continue;
        (void)wf_wheel_advance(&wheel, model_clock());
    } while (!wf_load_u32(&worker_waker.woken, WF_ACQUIRE));
    wf_store_u32(&worker_waker.woken, 0, WF_RELAXED);
}

/* Until it is ready. */
static inline ssize_t worker_await(weft_future *f)
{
    for (worker_polls = 1; worker_poll_once(f) == WEFT_PENDING; worker_polls++)
        worker_sleep();
    return f->result;
}

#endif
