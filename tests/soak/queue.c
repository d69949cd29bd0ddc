/* SPDX-License-Identifier: MIT */
/*
 * queue.c - bounded hand-overs: a queue whose pushes and pops are futures, and acts around it.
 *
 * IDEA     Whoever finds no room, or no item, leaves its waker in a line. A push wakes the first in the
 *          line of the poppers, a pop the first of the pushers, and takes it out of the line: it is
 *          called then. Who is called and dropped before it polled again passes the call on, or the
 *          one behind it would sleep beside an item.
 * OWNS     The queue is counted. The lines link the futures themselves.
 * LOCKS    A queue's lock guards everything in it and the futures in its lines. Wakers are used outside
 *          of it.
 */
#include "soak.h"

#include <errno.h>
#include <stdlib.h>

#define QUEUE_ROOM 8

struct waiter {
    struct waiter *next, *prev; /* a ring through the queue's head; NULL: in no line */
    weft_waker waker;
    bool called;
};

struct queue {
    pthread_mutex_t lock;
    struct waiter lines[2]; /* heads: who waits for an item, who waits for room */
    uint64_t items[QUEUE_ROOM];
    unsigned head, count, room;
    unsigned refs; /* atomic */
};

/* A future's words: which queue, its waiter (on the heap: a future is not the queue's to write), and
 * the item. */
enum { WORD_QUEUE, WORD_WAITER, WORD_ITEM };

enum line { FOR_ITEM, FOR_ROOM };

static struct queue *queue_new(unsigned room)
{
    struct queue *q = calloc(1, sizeof(*q));

    CHECK(q);
    CHECK_EQ(0, pthread_mutex_init(&q->lock, NULL));
    for (int i = 0; i < 2; i++)
        q->lines[i].next = q->lines[i].prev = &q->lines[i];
    q->room = room;
    q->refs = 1;
    return q;
}

static void queue_put(struct queue *q)
{
    if (__atomic_sub_fetch(&q->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    for (int i = 0; i < 2; i++)
        CHECK(q->lines[i].next == &q->lines[i]);
    for (; q->count; q->count--, q->head++)
        soak_end_id(SOAK_ITEM, q->items[q->head % QUEUE_ROOM]);
    CHECK_EQ(0, pthread_mutex_destroy(&q->lock));
    free(q);
}

static struct queue *queue_get(struct queue *q)
{
    __atomic_fetch_add(&q->refs, 1, __ATOMIC_RELAXED);
    return q;
}

static struct queue *queue_of(const weft_future *f)
{
    return (struct queue *)f->words[WORD_QUEUE]; /* NOLINT(performance-no-int-to-ptr) */
}

static struct waiter *waiter_of(const weft_future *f)
{
    return (struct waiter *)f->words[WORD_WAITER]; /* NOLINT(performance-no-int-to-ptr) */
}

static void waiter_unlink(struct waiter *w)
{
    w->next->prev = w->prev;
    w->prev->next = w->next;
    w->next = w->prev = NULL;
}

/* Take the first out of a line. To be woken by the caller, outside of the lock. */
static weft_waker queue_call_locked(struct queue *q, enum line line)
{
    struct waiter *w = q->lines[line].next;
    weft_waker waker;

    if (w == &q->lines[line])
        return (weft_waker){0};
    waiter_unlink(w);
    w->called = true;
    waker = w->waker;
    w->waker = (weft_waker){0};
    return waker;
}

/* Stand in line with this waker, which is consumed; returns the one before. */
static weft_waker queue_stand_locked(struct queue *q, enum line line, struct waiter *w,
                                     weft_waker waker)
{
    struct waiter *head = &q->lines[line];
    weft_waker old = w->waker;

    w->waker = waker;
    w->called = false;
    if (!w->next) {
        w->next = head;
        w->prev = head->prev;
        head->prev->next = w;
        head->prev = w;
    }
    return old;
}

static bool queue_can_locked(const struct queue *q, enum line line)
{
    return line == FOR_ITEM ? q->count > 0 : q->count < q->room;
}

static void queue_move_locked(struct queue *q, enum line line, weft_future *f)
{
    if (line == FOR_ITEM) {
        f->words[WORD_ITEM] = q->items[q->head++ % QUEUE_ROOM];
        q->count--;
    } else {
        q->items[(q->head + q->count++) % QUEUE_ROOM] = f->words[WORD_ITEM];
    }
}

static weft_poll queue_poll(weft_future *f, weft_context *cx, enum line line)
{
    struct queue *q = queue_of(f);
    struct waiter *w = waiter_of(f);
    weft_waker new = weft_context_waker(cx), old, next = {0};
    bool can;

    if (!w) {
        w = calloc(1, sizeof(*w));
        CHECK(w);
        f->words[WORD_WAITER] = (uintptr_t)w;
    }
    (void)pthread_mutex_lock(&q->lock);
    can = queue_can_locked(q, line);
    if (can) {
        queue_move_locked(q, line, f);
        if (w->next)
            waiter_unlink(w);
        old = w->waker;
        next = queue_call_locked(q, line == FOR_ITEM ? FOR_ROOM : FOR_ITEM);
    } else {
        old = queue_stand_locked(q, line, w, new);
    }
    (void)pthread_mutex_unlock(&q->lock);
    weft_waker_drop(&old);
    weft_waker_wake(&next);
    if (!can)
        return WEFT_PENDING;
    weft_waker_drop(&new);
    free(w);
    f->words[WORD_WAITER] = 0;
    f->result = 0;
    return WEFT_READY;
}

static void queue_drop(weft_future *f, enum line line)
{
    struct queue *q = queue_of(f);
    struct waiter *w = waiter_of(f);
    weft_waker old, next = {0};

    (void)pthread_mutex_lock(&q->lock);
    if (w->next)
        waiter_unlink(w);
    else if (w->called && queue_can_locked(q, line))
        next = queue_call_locked(q, line);
    old = w->waker;
    (void)pthread_mutex_unlock(&q->lock);
    weft_waker_drop(&old);
    weft_waker_wake(&next);
    free(w);
    f->words[WORD_WAITER] = 0;
}

static weft_poll pop_poll(weft_future *f, weft_context *cx)
{
    return queue_poll(f, cx, FOR_ITEM);
}

static void pop_drop(weft_future *f)
{
    queue_drop(f, FOR_ITEM);
}

static weft_poll push_poll(weft_future *f, weft_context *cx)
{
    return queue_poll(f, cx, FOR_ROOM);
}

static void push_drop(weft_future *f)
{
    queue_drop(f, FOR_ROOM);
}

static const weft_future_type pop_type = {pop_poll, pop_drop, "pop"};
static const weft_future_type push_type = {push_poll, push_drop, "push"};

static weft_future queue_future(const weft_future_type *type, struct queue *q, uint64_t item)
{
    weft_future f = weft_future_of(type);

    f.words[WORD_QUEUE] = (uintptr_t)q;
    f.words[WORD_ITEM] = item;
    return f;
}

/* --- the act ----------------------------------------------------------------------------- */

/* One side of a transfer: so many items. */
struct porter {
    struct queue *queue; /* a reference */
    uint64_t rand;
    unsigned items, moved;
    uint64_t sum;
    bool pushes;
};

/* Also one that was given up for a while, or lost a race, moves its items. */
static ssize_t porter_move(struct porter *p, uint64_t *item)
{
    weft_future f = queue_future(p->pushes ? &push_type : &pop_type, p->queue, *item);
    weft_future turn = weft_yield_future();
    ssize_t rc;

    if (!soak_one_in(&p->rand, 4)) {
        rc = weft_await(&f);
    } else {
        rc = weft_select(&f, &turn);
        rc = rc == 1 ? -EAGAIN : rc;
    }
    *item = f.words[WORD_ITEM];
    return rc;
}

static int porter_run(void *arg)
{
    struct porter *p = arg;

    while (p->moved < p->items) {
        uint64_t item = p->pushes ? test_rand(&p->rand) : 0;
        ssize_t rc;

        if (p->pushes)
            soak_begin_id(SOAK_ITEM, item);
        do
            rc = porter_move(p, &item);
        while (rc == -EAGAIN);
        if (rc < 0) {
            if (p->pushes)
                soak_end_id(SOAK_ITEM, item);
            CHECK(soak_is_soft(rc));
            return (int)rc;
        }
        if (!p->pushes)
            soak_end_id(SOAK_ITEM, item);
        p->sum += item;
        p->moved++;
        soak_moved();
    }
    return 0;
}

void soak_act_queue(struct soak_actor *a)
{
    struct queue *q = queue_new(1 + (unsigned)roll(a, QUEUE_ROOM));
    unsigned pairs = 1 + (unsigned)roll(a, 3), items = 1 + (unsigned)roll(a, 40);
    struct porter p[6];
    weft_task *t[6];
    uint64_t in = 0, out = 0;
    bool whole = true;

    for (unsigned i = 0; i < 2 * pairs; i++) {
        p[i] = (struct porter){.queue = queue_get(q),
                               .rand = test_rand(&a->rand) | 1,
                               .items = items,
                               .pushes = i % 2};
        t[i] = weft_spawn(porter_run, &p[i]);
        CHECK(t[i]);
    }
    /* The others of a cancelled one would wait for ever. */
    if (one_in(a, 5)) {
        whole = false;
        for (unsigned i = 0; i < 2 * pairs; i++)
            weft_cancel(t[i]);
    }
    for (unsigned i = 0; i < 2 * pairs; i++) {
        int rc = soak_join(t[i]);

        if (rc < 0) {
            CHECK_EQ(-ECANCELED, rc);
            CHECK(!whole || weft_is_cancelled() || weft_deadline_passed() || soak_is_cut());
            whole = false;
            for (unsigned k = i + 1; k < 2 * pairs; k++)
                weft_cancel(t[k]);
        }
        *(p[i].pushes ? &in : &out) += p[i].sum;
        queue_put(q);
    }
    CHECK(!whole || in == out);
    queue_put(q);
}
