/* SPDX-License-Identifier: MIT */
/*
 * live.h - a whole runtime for models: the library's own code from weft_runtime_new to weft_runtime_free, of which only
 * the system calls are modelled, and a few stackless tasks for it.
 */
#ifndef MODEL_LIVE_H
#define MODEL_LIVE_H

#include "model/model.h"

#include <errno.h>
#include <weft.h>

#define MS 1000000u

static weft_runtime *rt;
static struct wf_atomic_u32 ran, drops;

static inline void runtime_open(weft_flavor flavor, unsigned workers)
{
    weft_config config = {.flavor = flavor,
                          .worker_threads = workers,
                          .event_interval = 4,
                          .stack_size = 16384,
                          .monitor = WEFT_OFF,
                          .rng_seed = 1};

    CHECK_EQ(0, weft_runtime_new(&rt, &config));
}

static inline weft_task *spawn(const weft_async_type *type)
{
    weft_async state = {0};
    weft_task *t;

    CHECK_EQ(0, weft_spawn_async_on(rt, &t, NULL, type, &state));
    return t;
}

static inline void join(weft_task *t)
{
    int result = 1;

    CHECK_EQ(0, weft_join_blocking(t, &result));
    CHECK_EQ(0, result);
}

static inline void dropped(void *self)
{
    (void)self;
    wf_add_u32(&drops, 1, WF_RELAXED);
}

/* --- a task that ends at once --- */

static inline weft_poll runner_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    wf_add_u32(&ran, 1, WF_RELAXED);
    return WEFT_READY;
}

static const weft_async_type runner_type = {runner_poll, dropped, sizeof(weft_async), "runner"};

/* --- a task that waits until it is told --- */

static weft_waker waker;
static struct wf_atomic_u32 waker_is_there;
static struct wf_atomic_u32 told;
static unsigned message; /* plain: the wake carries it */

static inline weft_poll waiter_poll(void *self, weft_context *cx)
{
    (void)self;
    /* relaxed: the wake carries it */
    if (wf_load_u32(&told, WF_RELAXED)) {
        CHECK_EQ(42, message);
        return WEFT_READY;
    }
    if (!wf_load_u32(&waker_is_there, WF_RELAXED)) {
        waker = weft_context_waker(cx);
        wf_store_u32(&waker_is_there, 1, WF_RELEASE);
    }
    return WEFT_PENDING;
}

static const weft_async_type waiter_type = {waiter_poll, dropped, sizeof(weft_async), "waiter"};

static inline void wait_for_waker(void)
{
    while (!wf_load_u32(&waker_is_there, WF_ACQUIRE))
        wf_spin_pause();
}

static inline void tell(void)
{
    message = 42;
    wf_store_u32(&told, 1, WF_RELEASE);
    weft_waker_wake(&waker);
}

/* --- a task that keeps its thread until then --- */

static inline void wait_until_told(void)
{
    while (!wf_load_u32(&told, WF_ACQUIRE))
        wf_spin_pause();
}

static inline weft_poll hog_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    wait_until_told();
    return WEFT_READY;
}

static const weft_async_type hog_type = {hog_poll, NULL, sizeof(weft_async), "hog"};

/* --- a task that arms a timer, makes a hog, and tells it when the timer has fired --- */

struct timed {
    weft_async async;
    weft_future nap;
    bool begun;
};

static inline weft_poll timed_poll(void *self, weft_context *cx)
{
    struct timed *t = self;
    weft_async state = {0};

    if (!t->begun) {
        t->begun = true;
        t->nap = weft_sleep_future(2 * MS);
        CHECK_EQ(0, weft_go_async(&hog_type, &state));
    }
    if (weft_future_poll(&t->nap, cx) == WEFT_PENDING)
        return WEFT_PENDING;
    wf_store_u32(&told, 1, WF_RELEASE);
    return WEFT_READY;
}

static const weft_async_type timed_type = {timed_poll, NULL, sizeof(struct timed), "timed"};

static inline weft_task *spawn_timed(void)
{
    struct timed state = {.begun = false};
    weft_task *t;

    CHECK_EQ(0, weft_spawn_async_on(rt, &t, NULL, &timed_type, &state));
    return t;
}

#endif
