/* SPDX-License-Identifier: MIT */
/*
 * hand.c - futures polled by hand: with a wakeable of one's own, which counts its references, and dropped
 * here or on a plain thread.
 *
 * OWNS     The object holds the future that it polls, and a slot that its first wake delivers. It is
 *          counted by its wakers and by the act; freed with the last. So a waker that the library
 *          forgets is an object too many in the ledger, and one released twice is a crash.
 */
#include "soak.h"

#include <errno.h>
#include <stdlib.h>

#define HAND_MAGIC UINT64_C(0x68616e6468616e64)

struct hand {
    weft_wakeable wakeable; /* first */
    uint64_t magic;
    unsigned refs;           /* atomic */
    struct soak_slot *bell;  /* atomic: taken by who wakes first, or by the act */
    weft_future f;           /* who polls or drops it */
    struct soak_slot *inner; /* what f waits for; may be NULL */
    weft_waker waker;
};

static struct hand *hand_of(weft_wakeable *w)
{
    struct hand *h = (struct hand *)(void *)w;

    CHECK(h->magic == HAND_MAGIC);
    return h;
}

static void hand_put(struct hand *h)
{
    if (__atomic_sub_fetch(&h->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    h->magic = 0;
    soak_end_id(SOAK_HAND, (uintptr_t)h);
    free(h);
}

/* Ring once for each bell that was hung up. */
static void hand_ring(struct hand *h)
{
    struct soak_slot *bell = __atomic_exchange_n(&h->bell, NULL, __ATOMIC_ACQ_REL);

    if (bell)
        soak_slot_deliver(bell);
}

static void hand_retain(weft_wakeable *w)
{
    __atomic_fetch_add(&hand_of(w)->refs, 1, __ATOMIC_RELAXED);
}

static void hand_wake(weft_wakeable *w)
{
    hand_ring(hand_of(w));
}

static void hand_release(weft_wakeable *w)
{
    hand_put(hand_of(w));
}

static const weft_wakeable_type hand_type = {hand_retain, hand_wake, hand_release};

static struct hand *hand_new(struct soak_actor *a)
{
    struct hand *h = calloc(1, sizeof(*h));

    CHECK(h);
    h->wakeable.type = &hand_type;
    h->magic = HAND_MAGIC;
    h->refs = 1;
    soak_begin_id(SOAK_HAND, (uintptr_t)h);
    h->waker = weft_waker_of(&h->wakeable);
    if (soak_stage.plan.quiet || one_in(a, 2)) {
        h->inner = soak_order(a);
        h->f = soak_slot_future(h->inner);
    } else {
        h->f = weft_sleep_future(WEFT_US(roll(a, 400)));
    }
    return h;
}

/* Poll until it is ready, waiting for the bell in between. False: this task was told to stop. */
static bool hand_drive(struct soak_actor *a, struct hand *h, unsigned polls)
{
    bool go_on = true;

    while (polls-- && go_on) {
        struct soak_slot *bell = soak_slot_new(&a->rand);
        weft_future rung = soak_slot_future(bell);
        weft_context cx = weft_context_of(&h->waker);

        /* Before the poll, which may be followed by the wake at once. */
        __atomic_store_n(&h->bell, bell, __ATOMIC_RELEASE);
        if (weft_future_poll(&h->f, &cx) == WEFT_READY)
            go_on = false;
        else if (polls)
            go_on = soak_expect(soak_slot_value(bell), weft_await(&rung), "a bell");
        hand_ring(h);
        soak_slot_put(bell);
    }
    return weft_future_is_ready(&h->f);
}

void soak_act_hand(struct soak_actor *a)
{
    struct hand *h = hand_new(a);

    if (hand_drive(a, h, one_in(a, 3) ? 1 : 1000)) {
        CHECK_EQ(h->inner ? soak_slot_value(h->inner) : 0, h->f.result);
    } else if (one_in(a, 2)) {
        weft_future_drop(&h->f);
    } else {
        /* A timer belongs to this runtime, which must outlive the drop. */
        struct soak_slot *done = soak_slot_new(&a->rand);
        weft_future dropped = soak_slot_future(done);

        soak_attic_drop(&h->f, done);
        WEFT_SHIELD
        {
            CHECK_EQ(soak_slot_value(done), weft_await(&dropped));
        }
        soak_slot_put(done);
    }
    if (h->inner)
        soak_slot_put(h->inner);
    /* The attic rings long afterwards. */
    if (one_in(a, 3))
        soak_attic_put(weft_waker_clone(&h->waker));
    weft_waker_drop(&h->waker);
    hand_put(h);
}
