/* SPDX-License-Identifier: MIT */
/*
 * parcel.h - something to wait for that comes from elsewhere: parcels, and the office that delivers
 * them from plain threads or from tasks of other runtimes.
 *
 * OWNS     A parcel is counted: its receiver holds one reference, the office the other. Delivering
 *          wakes the waker that the last poll left, if any, outside the parcel's lock.
 */
#ifndef TEST_STRESS_PARCEL_H
#define TEST_STRESS_PARCEL_H

#include "support.h"

#include <pthread.h>
#include <stdlib.h>

struct parcel {
    pthread_mutex_t lock;
    bool delivered;   /* under lock */
    weft_waker waker; /* under lock */
    unsigned refs;    /* atomic */
};

static unsigned parcels_alive; /* atomic */

static inline struct parcel *parcel_new(unsigned refs)
{
    struct parcel *p = calloc(1, sizeof(*p));

    CHECK(p);
    CHECK_EQ(0, pthread_mutex_init(&p->lock, NULL));
    p->refs = refs;
    __atomic_fetch_add(&parcels_alive, 1, __ATOMIC_RELAXED);
    return p;
}

static inline void parcel_put(struct parcel *p)
{
    if (__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    CHECK_EQ(0, pthread_mutex_destroy(&p->lock));
    __atomic_fetch_sub(&parcels_alive, 1, __ATOMIC_RELAXED);
    free(p);
}

/* Wake whoever waits, and give the office's reference up. */
static inline void parcel_deliver(struct parcel *p)
{
    weft_waker waker;

    (void)pthread_mutex_lock(&p->lock);
    CHECK(!p->delivered);
    p->delivered = true;
    waker = p->waker;
    p->waker = (weft_waker){0};
    (void)pthread_mutex_unlock(&p->lock);
    weft_waker_wake(&waker);
    parcel_put(p);
}

static struct parcel *parcel_of(const weft_future *f)
{
    return (struct parcel *)f->words[0]; /* NOLINT(performance-no-int-to-ptr) */
}

static weft_poll parcel_poll(weft_future *f, weft_context *cx)
{
    struct parcel *p = parcel_of(f);
    weft_waker new = weft_context_waker(cx), old;
    bool delivered;

    (void)pthread_mutex_lock(&p->lock);
    delivered = p->delivered;
    old = p->waker;
    p->waker = delivered ? (weft_waker){0} : new;
    (void)pthread_mutex_unlock(&p->lock);
    weft_waker_drop(&old);
    f->result = 0;
    if (!delivered)
        return WEFT_PENDING;
    weft_waker_drop(&new);
    return WEFT_READY;
}

static void parcel_drop(weft_future *f)
{
    struct parcel *p = parcel_of(f);
    weft_waker old;

    (void)pthread_mutex_lock(&p->lock);
    old = p->waker;
    p->waker = (weft_waker){0};
    (void)pthread_mutex_unlock(&p->lock);
    weft_waker_drop(&old);
}

static const weft_future_type parcel_type = {parcel_poll, parcel_drop, "parcel"};

static inline weft_future parcel_future(struct parcel *p)
{
    weft_future f = weft_future_of(&parcel_type);

    f.words[0] = (uintptr_t)p;
    return f;
}

/* --- the office ---------------------------------------------------------------------- */

#define OFFICE_ROOM 512

struct office {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct parcel *box[OFFICE_ROOM]; /* under lock */
    unsigned count;                  /* under lock */
    bool closed;                     /* under lock */
    uint64_t rand;                   /* under lock */
};

static inline void office_open(struct office *o, uint64_t seed)
{
    *o = (struct office){.rand = seed | 1};
    CHECK_EQ(0, pthread_mutex_init(&o->lock, NULL));
    CHECK_EQ(0, pthread_cond_init(&o->filled, NULL));
}

/* Have it delivered some time by somebody; at once when there is no room. */
static inline void office_post(struct office *o, struct parcel *p)
{
    bool room;

    (void)pthread_mutex_lock(&o->lock);
    room = o->count < OFFICE_ROOM && !o->closed;
    if (room)
        o->box[o->count++] = p;
    (void)pthread_mutex_unlock(&o->lock);
    if (room)
        (void)pthread_cond_signal(&o->filled);
    else
        parcel_deliver(p);
}

/* Any of the parcels. With wait, NULL means that the office has closed and is empty. */
static inline struct parcel *office_take(struct office *o, bool wait)
{
    struct parcel *p = NULL;

    (void)pthread_mutex_lock(&o->lock);
    while (wait && !o->count && !o->closed)
        (void)pthread_cond_wait(&o->filled, &o->lock);
    if (o->count) {
        unsigned i = (unsigned)(test_rand(&o->rand) % o->count);

        p = o->box[i];
        o->box[i] = o->box[--o->count];
    }
    (void)pthread_mutex_unlock(&o->lock);
    return p;
}

static inline void office_close(struct office *o)
{
    (void)pthread_mutex_lock(&o->lock);
    o->closed = true;
    (void)pthread_mutex_unlock(&o->lock);
    (void)pthread_cond_broadcast(&o->filled);
}

/* A plain thread that delivers until the office closes. */
static inline void *office_clerk(void *arg)
{
    struct office *o = arg;
    struct parcel *p;

    while ((p = office_take(o, true)))
        parcel_deliver(p);
    return NULL;
}

#endif
