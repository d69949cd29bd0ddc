/* SPDX-License-Identifier: MIT */
/*
 * hand.h - threads that poll futures by hand: each has a bell, which whoever wakes it rings.
 */
#ifndef MODEL_HAND_H
#define MODEL_HAND_H

#include "model/model.h"
#include "task/future.h"
#include "task/waker.h"

/* The explorer's own looks, while a thread waits. */
#define HAND_UNWATCHED __attribute__((no_sanitize("thread"))) static inline

struct hand {
    weft_wakeable bell;
    struct wf_atomic_u32 refs;
    struct wf_atomic_u32 rung; /* ever */
    uint32_t heard;            /* of those: its own */
    weft_future future;
};

static inline void hand_retain(weft_wakeable *w)
{
    wf_add_u32(&wf_container_of(w, struct hand, bell)->refs, 1, WF_RELAXED);
}

static inline void hand_ring(weft_wakeable *w)
{
    wf_add_u32(&wf_container_of(w, struct hand, bell)->rung, 1, WF_RELAXED);
}

static inline void hand_release(weft_wakeable *w)
{
    CHECK(wf_sub_u32(&wf_container_of(w, struct hand, bell)->refs, 1, WF_RELAXED) > 0);
}

static const weft_wakeable_type hand_type = {hand_retain, hand_ring, hand_release};

static inline weft_poll hand_poll(struct hand *h, weft_future *f)
{
    weft_context cx = {{&h->bell}};

    if (!h->bell.type)
        h->bell.type = &hand_type;
    return weft_future_poll(f, &cx);
}

HAND_UNWATCHED bool hand_hears(void *arg)
{
    struct hand *h = arg;

    return h->rung.raw != h->heard;
}

/* Until it is rung once more. What the bell does not carry the poll has to find. */
static inline void hand_wait(struct hand *h)
{
    uint32_t rung;

    do
        model_block(hand_hears, h, UINT64_MAX);
    while ((rung = wf_load_u32(&h->rung, WF_RELAXED)) == h->heard);
    h->heard = rung;
}

/* To the end. True: it had to wait. */
static inline bool hand_await(struct hand *h, weft_future *f)
{
    bool waited = false;

    while (hand_poll(h, f) == WEFT_PENDING) {
        hand_wait(h);
        waited = true;
    }
    return waited;
}

#endif
