/* SPDX-License-Identifier: MIT */
/*
 * attic.c - wakers that are kept, and used long after their tasks and their runtimes have gone; and
 * futures that are dropped on another thread than the one that polled them.
 */
#include "soak.h"

#include <time.h>

#define ATTIC_WAKERS 128
#define ATTIC_DROPS  64

static struct {
    pthread_mutex_t lock;
    weft_waker wakers[ATTIC_WAKERS]; /* under lock, as all below */

    struct {
        weft_future *f;
        struct soak_slot *done;
    } drops[ATTIC_DROPS];

    unsigned drop_count;
    uint64_t rand;
    bool closed;
} attic = {.lock = PTHREAD_MUTEX_INITIALIZER};

void soak_attic_open(uint64_t rand)
{
    attic.rand = rand | 1;
    attic.closed = false;
}

/* Another takes its place, by wake or by drop. */
static void attic_use(weft_waker *waker, uint64_t chance)
{
    switch (chance) {
    case 0:
        weft_waker_drop(waker);
        break;
    case 1: {
        weft_waker other = weft_waker_clone(waker);

        weft_waker_wake_by_ref(waker);
        weft_waker_drop(waker);
        weft_waker_wake(&other);
        break;
    }
    default:
        weft_waker_wake(waker);
        break;
    }
}

void soak_attic_put(weft_waker waker)
{
    uint64_t at, chance;
    weft_waker old;

    (void)pthread_mutex_lock(&attic.lock);
    at = soak_roll(&attic.rand, ATTIC_WAKERS);
    chance = soak_roll(&attic.rand, 8);
    old = attic.wakers[at];
    attic.wakers[at] = waker;
    (void)pthread_mutex_unlock(&attic.lock);
    /* Not when it may be the last: whoever left it waits for it. */
    attic_use(&old, chance ? chance : 1);
}

void soak_attic_drop(weft_future *f, struct soak_slot *done)
{
    bool room;

    (void)pthread_mutex_lock(&attic.lock);
    room = attic.drop_count < ATTIC_DROPS && !attic.closed;
    if (room) {
        attic.drops[attic.drop_count].f = f;
        attic.drops[attic.drop_count++].done = done;
    }
    (void)pthread_mutex_unlock(&attic.lock);
    if (!room) {
        weft_future_drop(f);
        soak_slot_deliver(done);
    }
}

/* One of those that are to be dropped. False: none. */
static bool attic_drop_one(void)
{
    weft_future *f = NULL;
    struct soak_slot *done = NULL;

    (void)pthread_mutex_lock(&attic.lock);
    if (attic.drop_count) {
        f = attic.drops[--attic.drop_count].f;
        done = attic.drops[attic.drop_count].done;
    }
    (void)pthread_mutex_unlock(&attic.lock);
    if (!f)
        return false;
    weft_future_drop(f);
    soak_slot_deliver(done);
    return true;
}

/* A plain thread that rummages. */
void *soak_ghost(void *unused)
{
    (void)unused;
    for (unsigned i = 0;; i++) {
        struct timespec t = {.tv_nsec = 20000};
        bool closed;

        while (attic_drop_one())
            continue;
        soak_attic_put((weft_waker){0});
        (void)pthread_mutex_lock(&attic.lock);
        closed = attic.closed;
        (void)pthread_mutex_unlock(&attic.lock);
        if (closed)
            break;
        (void)nanosleep(&t, NULL);
    }
    while (attic_drop_one())
        continue;
    return NULL;
}

void soak_attic_close(void)
{
    (void)pthread_mutex_lock(&attic.lock);
    attic.closed = true;
    (void)pthread_mutex_unlock(&attic.lock);
}

void soak_attic_clear(void)
{
    for (int i = 0; i < ATTIC_WAKERS; i++)
        attic_use(&attic.wakers[i], (unsigned)i % 3);
    CHECK_EQ(0, attic.drop_count);
}
