/* SPDX-License-Identifier: MIT */
/*
 * slot.c - one-shot hand-overs: a value that a task waits for, and the office that has it delivered
 * by plain threads and by tasks of any runtime.
 *
 * OWNS     A slot is counted. Delivering takes the waker that the last poll left out of the slot, and
 *          wakes it outside of the slot's lock.
 */
#include "soak.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define SLOT_MAGIC UINT64_C(0x736c6f74736c6f74)

struct soak_slot {
    uint64_t magic;
    pthread_mutex_t lock;
    pthread_cond_t delivered_cond;
    bool delivered;   /* under lock */
    weft_waker waker; /* under lock */
    unsigned refs;    /* atomic */
    int value;        /* set once */
};

struct soak_slot *soak_slot_new(uint64_t *rand)
{
    struct soak_slot *s = calloc(1, sizeof(*s));

    CHECK(s);
    CHECK_EQ(0, pthread_mutex_init(&s->lock, NULL));
    CHECK_EQ(0, pthread_cond_init(&s->delivered_cond, NULL));
    s->magic = SLOT_MAGIC;
    s->refs = 2;
    s->value = soak_value(test_rand(rand));
    soak_begin_id(SOAK_SLOT, (uintptr_t)s);
    return s;
}

void soak_slot_put(struct soak_slot *s)
{
    CHECK(s->magic == SLOT_MAGIC);
    if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    CHECK_EQ(0, pthread_mutex_destroy(&s->lock));
    CHECK_EQ(0, pthread_cond_destroy(&s->delivered_cond));
    s->magic = 0;
    soak_end_id(SOAK_SLOT, (uintptr_t)s);
    free(s);
}

int soak_slot_value(const struct soak_slot *s)
{
    return s->value;
}

void soak_slot_deliver(struct soak_slot *s)
{
    weft_waker waker;

    (void)pthread_mutex_lock(&s->lock);
    CHECK(!s->delivered);
    s->delivered = true;
    waker = s->waker;
    s->waker = (weft_waker){0};
    (void)pthread_cond_broadcast(&s->delivered_cond);
    (void)pthread_mutex_unlock(&s->lock);
    weft_waker_wake(&waker);
    soak_slot_put(s);
}

void soak_slot_wait_blocking(struct soak_slot *s)
{
    (void)pthread_mutex_lock(&s->lock);
    while (!s->delivered)
        (void)pthread_cond_wait(&s->delivered_cond, &s->lock);
    (void)pthread_mutex_unlock(&s->lock);
}

static struct soak_slot *slot_of(const weft_future *f)
{
    struct soak_slot *s = (struct soak_slot *)f->words[0]; /* NOLINT(performance-no-int-to-ptr) */

    CHECK(s->magic == SLOT_MAGIC);
    return s;
}

static weft_poll slot_poll(weft_future *f, weft_context *cx)
{
    struct soak_slot *s = slot_of(f);
    weft_waker new = weft_context_waker(cx), old;
    bool delivered;

    (void)pthread_mutex_lock(&s->lock);
    delivered = s->delivered;
    old = s->waker;
    s->waker = delivered ? (weft_waker){0} : new;
    (void)pthread_mutex_unlock(&s->lock);
    weft_waker_drop(&old);
    if (!delivered)
        return WEFT_PENDING;
    weft_waker_drop(&new);
    f->result = s->value;
    return WEFT_READY;
}

static void slot_drop(weft_future *f)
{
    struct soak_slot *s = slot_of(f);
    weft_waker old;

    (void)pthread_mutex_lock(&s->lock);
    old = s->waker;
    s->waker = (weft_waker){0};
    (void)pthread_mutex_unlock(&s->lock);
    weft_waker_drop(&old);
}

static const weft_future_type slot_type = {slot_poll, slot_drop, "slot"};

weft_future soak_slot_future(struct soak_slot *s)
{
    weft_future f = weft_future_of(&slot_type);

    f.words[0] = (uintptr_t)s;
    return f;
}

/* --- the office -------------------------------------------------------------------------- */

#define OFFICE_ROOM 512

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct soak_slot *box[OFFICE_ROOM]; /* under lock, as all below */
    unsigned count;
    bool closed;
    uint64_t rand;
} office = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER};

void soak_office_open(uint64_t rand)
{
    (void)pthread_mutex_lock(&office.lock);
    office.closed = false;
    office.rand = rand | 1;
    (void)pthread_mutex_unlock(&office.lock);
}

void soak_office_post(struct soak_slot *s)
{
    bool room;

    (void)pthread_mutex_lock(&office.lock);
    room = office.count < OFFICE_ROOM && !office.closed;
    if (room)
        office.box[office.count++] = s;
    (void)pthread_mutex_unlock(&office.lock);
    if (room)
        (void)pthread_cond_signal(&office.filled);
    else
        soak_slot_deliver(s);
}

void soak_office_close(void)
{
    (void)pthread_mutex_lock(&office.lock);
    office.closed = true;
    (void)pthread_mutex_unlock(&office.lock);
    (void)pthread_cond_broadcast(&office.filled);
}

/* Any of them; NULL: none there, or with wait, closed and empty. *pause: dawdle so long. */
static struct soak_slot *office_take(bool wait, uint64_t *pause)
{
    struct soak_slot *s = NULL;

    (void)pthread_mutex_lock(&office.lock);
    while (wait && !office.count && !office.closed)
        (void)pthread_cond_wait(&office.filled, &office.lock);
    if (office.count) {
        unsigned i = (unsigned)soak_roll(&office.rand, office.count);

        s = office.box[i];
        office.box[i] = office.box[--office.count];
    }
    *pause = soak_one_in(&office.rand, 8) ? soak_roll(&office.rand, 300000) : 0;
    (void)pthread_mutex_unlock(&office.lock);
    return s;
}

void *soak_clerk(void *unused)
{
    struct soak_slot *s;
    uint64_t pause;

    (void)unused;
    while ((s = office_take(true, &pause))) {
        struct timespec t = {.tv_nsec = (long)pause};

        /* Long enough for a worker to fall asleep. */
        if (pause)
            (void)nanosleep(&t, NULL);
        soak_slot_deliver(s);
    }
    return NULL;
}

/* Tasks deliver too: whoever orders carries another one away. */
static void office_carry(void)
{
    uint64_t pause;
    struct soak_slot *s = office_take(false, &pause);

    if (s)
        soak_slot_deliver(s);
}

struct soak_slot *soak_order(struct soak_actor *a)
{
    struct soak_slot *s = soak_slot_new(&a->rand);

    soak_office_post(s);
    if (one_in(a, 3))
        office_carry();
    return s;
}
