/* SPDX-License-Identifier: MIT */
/*
 * bell.h - a future of a user's own: pending until somebody rings it, from wherever. It counts what is done to it.
 */
#ifndef TEST_BELL_H
#define TEST_BELL_H

#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

struct bell {
    pthread_mutex_t lock;
    weft_waker waker; /* under lock; set: somebody waits */
    bool waits;
    bool rung;
    ssize_t result;
    atomic_int polls, drops;
};

#define BELL_INIT                   \
 {                                  \
  .lock = PTHREAD_MUTEX_INITIALIZER \
 }

static inline weft_poll bell_poll(weft_future *f, weft_context *cx)
{
    struct bell *b = (struct bell *)f->words[0];
    weft_waker old = {0}, new = weft_context_waker(cx);
    bool waited, rung;

    atomic_fetch_add(&b->polls, 1);
    (void)pthread_mutex_lock(&b->lock);
    waited = b->waits;
    rung = b->rung;
    if (waited)
        old = b->waker;
    if (!rung)
        b->waker = new;
    b->waits = !rung;
    f->result = b->result;
    (void)pthread_mutex_unlock(&b->lock);
    if (waited)
        weft_waker_drop(&old);
    if (rung)
        weft_waker_drop(&new);
    return rung ? WEFT_READY : WEFT_PENDING;
}

static inline void bell_drop(weft_future *f)
{
    struct bell *b = (struct bell *)f->words[0];
    weft_waker old = {0};
    bool waits;

    atomic_fetch_add(&b->drops, 1);
    (void)pthread_mutex_lock(&b->lock);
    waits = b->waits;
    if (waits)
        old = b->waker;
    b->waits = false;
    (void)pthread_mutex_unlock(&b->lock);
    if (waits)
        weft_waker_drop(&old);
}

static const weft_future_type bell_type = {bell_poll, bell_drop, "bell"};

static inline weft_future bell_future(struct bell *b)
{
    weft_future f = weft_future_of(&bell_type);

    for (size_t i = 0; i < WEFT_FUTURE_WORDS; i++)
        CHECK_EQ(0, f.words[i]);
    f.words[0] = (uintptr_t)b;
    return f;
}

/* From any thread. */
static inline void bell_ring(struct bell *b, ssize_t result)
{
    weft_waker waker = {0};
    bool waits;

    (void)pthread_mutex_lock(&b->lock);
    b->rung = true;
    b->result = result;
    waits = b->waits;
    if (waits)
        waker = b->waker;
    b->waits = false;
    (void)pthread_mutex_unlock(&b->lock);
    if (waits)
        weft_waker_wake(&waker);
}

/* A waker of whoever waits at the bell. */
static inline weft_waker bell_waker(struct bell *b)
{
    weft_waker w;

    (void)pthread_mutex_lock(&b->lock);
    CHECK(b->waits);
    w = weft_waker_clone(&b->waker);
    (void)pthread_mutex_unlock(&b->lock);
    return w;
}

/* Until the task waits for something. From a fiber. */
static inline void until_waiting(const weft_task *t)
{
    weft_task_info info;

    do {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_task_get_info(t, &info));
    } while (info.state != WEFT_TASK_IDLE);
}

#endif
