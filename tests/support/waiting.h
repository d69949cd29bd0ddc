/* SPDX-License-Identifier: MIT */
/*
 * waiting.h - who polls by hand, and what is waited for: a wakeable that counts, beside giveup.h.
 */
#ifndef TEST_WAITING_H
#define TEST_WAITING_H

#include "giveup.h"

#include <stdatomic.h>

static inline int joined(weft_task *t)
{
    int result = -1;

    CHECK(t);
    CHECK_EQ(0, weft_join(t, &result));
    return result;
}

/* A wakeable that counts, and may do something when it is woken. */
struct poller {
    weft_wakeable wakeable; /* first */
    atomic_int refs, wakes;
    void (*on_wake)(struct poller *p);
};

static inline void poller_retain(weft_wakeable *w)
{
    atomic_fetch_add(&((struct poller *)w)->refs, 1);
}

static inline void poller_wake(weft_wakeable *w)
{
    struct poller *p = (struct poller *)w;

    atomic_fetch_add(&p->wakes, 1);
    if (p->on_wake)
        p->on_wake(p);
}

static inline void poller_release(weft_wakeable *w)
{
    CHECK(atomic_fetch_sub(&((struct poller *)w)->refs, 1) > 0);
}

static inline void poller_init(struct poller *p)
{
    static const weft_wakeable_type type = {poller_retain, poller_wake, poller_release};

    p->wakeable.type = &type;
}

static inline weft_poll poller_poll(struct poller *p, weft_future *f)
{
    weft_waker waker = weft_waker_of(&p->wakeable);
    weft_context cx = weft_context_of(&waker);
    weft_poll poll = weft_future_poll(f, &cx);

    weft_waker_drop(&waker);
    return poll;
}

#endif
