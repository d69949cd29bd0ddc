/* SPDX-License-Identifier: MIT */
/*
 * delay_queue.c - delays under a lock, and one task that waits for the first of them.
 *
 * IDEA     The queue has a wheel of its own (delays.h) and one timer of the runtime's, armed by the task that awaits
 *          the next entry, for the moment of the earliest. Who sets an earlier one, or takes the last one out, takes
 *          the timer and wakes that task, which looks again and arms it anew: so nobody arms a timer
 *          on a wheel that is not his, and each runtime keeps its own time.
 * OWNS     The queue owns the values. One that is to be destroyed is taken out first, so that its key is of nothing,
 *          and given back when the user's function has returned.
 * WHO      Any thread; the waiter is one future at a time, pending.
 * INVARIANTS
 *     Q1   While there is a waiter that was not woken, the timer is armed, for a moment not after that of the
 *          earliest entry, and there is an entry.
 * LOCKS    WF_RANK_SYNC; under it that of the wheel where the timer is armed. Memory is found, values are destroyed,
 *          and wakers called and released outside.
 * REJECTED Arming the earlier timer in place, by who inserts: right only for a thread of the same runtime, on the
 *          wheel of its own seat, and an insertion that becomes the earliest is rare where there are many.
 *          A waiter for each of several tasks: whoever takes the values can hand them on.
 * TESTS    tests/api/test_delay_queue.c, test_delay_expirer.c, tests/model/test_delay_queue.c, tests/fault/test_time.c
 */
#include "base/assert.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/sys.h"
#include "sync/delays.h"
#include "task/await.h"
#include "task/now.h"
#include "task/waker.h"
#include "time/wheel.h"

#include <errno.h>
#include <string.h>
#include <weft/delay_queue.h>
#include <weft/time.h>

#define CLEAR_BATCH 128u /* entries looked at under one hold of the lock */

struct weft_delay_queue {
    struct wf_lock lock;
    void (*destroy)(void *item); /* set once; NULL: none */
    /* under the lock */
    const weft_future *waiter;
    struct wf_timer timer;
    /* under the lock, read by anyone */
    struct wf_atomic_u64 len;
    uint32_t item_size;      /* set once */
    struct wf_delays delays; /* under the lock */
};

static bool queue_check(const weft_delay_queue *q, const char *call)
{
    if (wf_likely(q != NULL))
        return true;
    (void)wf_misuse(-EINVAL, "%s: the queue is NULL", call);
    return false;
}

/* --- under the lock ------------------------------------------------------------------------ */

/* relaxed, all: written under the lock, and a hint to others */
static uint64_t queue_len(const weft_delay_queue *q)
{
    return wf_load_u64(&q->len, WF_RELAXED);
}

static void queue_count(weft_delay_queue *q, int change)
{
    wf_store_u64(&q->len, queue_len(q) + (uint64_t)(int64_t)change, WF_RELAXED);
}

/* Something is due at that moment: who is to be told, with the reference? Q1. */
static weft_wakeable *queue_earlier(weft_delay_queue *q, uint64_t at)
{
    return q->waiter && at < q->timer.deadline ? wf_timer_take(&q->timer) : NULL;
}

/* An entry that hangs leaves it, and is the caller's: who is to be told? Q1. */
static weft_wakeable *queue_take(weft_delay_queue *q, uint32_t i)
{
    wf_delays_take(&q->delays, i);
    queue_count(q, -1);
    return q->waiter && queue_len(q) == 0 ? wf_timer_take(&q->timer) : NULL;
}

/* The value of an entry that is due goes to the caller. */
static weft_wakeable *queue_deliver(weft_delay_queue *q, uint32_t i, void *item,
                                    weft_delay_expired *expired)
{
    weft_wakeable *told;

    if (expired) {
        expired->key.value_ = wf_delays_key(&q->delays, i);
        expired->deadline = wf_delays_entry(&q->delays, i)->deadline;
    }
    if (q->item_size)
        memcpy(item, wf_delays_item(&q->delays, i), q->item_size);
    told = queue_take(q, i);
    wf_delays_put(&q->delays, i);
    return told;
}

/* --- room ---------------------------------------------------------------------------------- */

/* One chunk more than `chunks`, unless somebody else has added it. */
static int queue_grow(weft_delay_queue *q, unsigned chunks, size_t size)
{
    void *chunk = size ? wf_sys_aligned_alloc(WF_CACHE_LINE, size) : NULL;

    if (!chunk)
        return -ENOMEM;
    wf_lock(&q->lock);
    if (q->delays.chunks == chunks) {
        wf_delays_add_chunk(&q->delays, chunk);
        chunk = NULL;
    }
    wf_unlock(&q->lock);
    wf_sys_free(chunk);
    return 0;
}

int weft_delay_queue_reserve(weft_delay_queue *q, size_t more)
{
    int rc = 0;

    if (!queue_check(q, "weft_delay_queue_reserve"))
        return -EINVAL;
    while (rc == 0) {
        unsigned chunks;
        uint64_t len, capacity;
        size_t size;

        wf_lock(&q->lock);
        len = queue_len(q);
        capacity = q->delays.capacity;
        chunks = q->delays.chunks;
        size = wf_delays_chunk_size(&q->delays);
        wf_unlock(&q->lock);
        if (more <= capacity - len)
            break;
        /* Not before so much that it can never be enough. */
        rc = more > WF_DELAYS_MAX - len ? -ENOMEM : queue_grow(q, chunks, size);
    }
    return rc;
}

/* --- setting ------------------------------------------------------------------------------- */

int weft_delay_queue_insert_at(weft_delay_queue *q, const void *item, weft_instant at,
                               weft_delay_key *key)
{
    weft_wakeable *told;
    uint32_t i;

    if (!queue_check(q, "weft_delay_queue_insert"))
        return -EINVAL;
    if (!item && q->item_size)
        return wf_misuse(-EINVAL, "weft_delay_queue_insert: item is NULL");
    for (;;) {
        unsigned chunks;
        size_t size;
        int rc;

        wf_lock(&q->lock);
        i = wf_delays_get(&q->delays);
        if (wf_likely(i != WF_DELAYS_NONE))
            break;
        chunks = q->delays.chunks;
        size = wf_delays_chunk_size(&q->delays);
        wf_unlock(&q->lock);
        rc = queue_grow(q, chunks, size);
        if (rc < 0)
            return rc;
    }
    if (item && q->item_size)
        memcpy(wf_delays_item(&q->delays, i), item, q->item_size);
    if (key)
        key->value_ = wf_delays_key(&q->delays, i);
    wf_delays_set(&q->delays, i, at);
    queue_count(q, 1);
    told = queue_earlier(q, at);
    wf_unlock(&q->lock);
    wf_wakeable_wake(told);
    return 0;
}

int weft_delay_queue_insert(weft_delay_queue *q, const void *item, weft_duration after,
                            weft_delay_key *key)
{
    return weft_delay_queue_insert_at(q, item, weft_instant_add(wf_now(), after), key);
}

int weft_delay_queue_reset_at(weft_delay_queue *q, weft_delay_key key, weft_instant at)
{
    weft_wakeable *told = NULL;
    uint32_t i;

    if (!queue_check(q, "weft_delay_queue_reset"))
        return -EINVAL;
    wf_lock(&q->lock);
    i = wf_delays_find(&q->delays, key.value_);
    if (i != WF_DELAYS_NONE) {
        wf_delays_reset(&q->delays, i, at);
        told = queue_earlier(q, at);
    }
    wf_unlock(&q->lock);
    wf_wakeable_wake(told);
    return i != WF_DELAYS_NONE ? 0 : -ENOENT;
}

int weft_delay_queue_reset(weft_delay_queue *q, weft_delay_key key, weft_duration after)
{
    return weft_delay_queue_reset_at(q, key, weft_instant_add(wf_now(), after));
}

/* --- taking out ---------------------------------------------------------------------------- */

/* Entries that were taken out: their values are destroyed, and they are given back. Values do not move. */
static void queue_dispose(weft_delay_queue *q, const uint32_t *taken, unsigned count)
{
    if (q->destroy)
        for (unsigned n = 0; n < count; n++)
            q->destroy(wf_delays_item(&q->delays, taken[n]));
    wf_lock(&q->lock);
    while (count)
        wf_delays_put(&q->delays, taken[--count]);
    wf_unlock(&q->lock);
}

int weft_delay_queue_remove(weft_delay_queue *q, weft_delay_key key, void *item)
{
    weft_wakeable *told = NULL;
    uint32_t i;

    if (!queue_check(q, "weft_delay_queue_remove"))
        return -EINVAL;
    wf_lock(&q->lock);
    i = wf_delays_find(&q->delays, key.value_);
    if (i != WF_DELAYS_NONE) {
        told = item ? queue_deliver(q, i, item, NULL) : queue_take(q, i);
    }
    wf_unlock(&q->lock);
    wf_wakeable_wake(told);
    if (i == WF_DELAYS_NONE)
        return -ENOENT;
    if (!item)
        queue_dispose(q, &i, 1);
    return 0;
}

/* Of the entries from *at on, some: those that hang are taken out. False: there are no more. */
static bool queue_clear_some(weft_delay_queue *q, uint32_t *at)
{
    uint32_t taken[CLEAR_BATCH];
    weft_wakeable *told = NULL;
    unsigned count = 0;
    bool more;

    wf_lock(&q->lock);
    for (unsigned n = 0; n < CLEAR_BATCH && *at < q->delays.made; n++, ++*at) {
        weft_wakeable *waiter;

        if (!wf_delays_hangs(&q->delays, *at))
            continue;
        waiter = queue_take(q, *at);
        told = waiter ? waiter : told;
        taken[count++] = *at;
    }
    more = *at < q->delays.made;
    wf_unlock(&q->lock);
    wf_wakeable_wake(told);
    queue_dispose(q, taken, count);
    return more;
}

void weft_delay_queue_clear(weft_delay_queue *q)
{
    uint32_t at = 0;

    if (queue_check(q, "weft_delay_queue_clear"))
        while (queue_clear_some(q, &at))
            continue;
}

/* --- the next ------------------------------------------------------------------------------ */

enum { NEXT_QUEUE, NEXT_ITEM, NEXT_EXPIRED }; /* words; aux_: it is the waiter */

static weft_delay_queue *next_queue(const weft_future *f)
{
    return (weft_delay_queue *)f->words[NEXT_QUEUE]; /* NOLINT(performance-no-int-to-ptr) */
}

/* Under the lock: the timer is for the earliest entry, and wakes who polls. Returns the reference that it had. */
static weft_wakeable *next_arm(weft_delay_queue *q, const weft_context *cx)
{
    struct wf_wheel *wheel = wf_thread_self()->wheel;
    uint64_t at = wf_delays_next(&q->delays);
    weft_wakeable *before = wf_timer_take(&q->timer);

    wf_timer_arm(&q->timer, wheel, at, wf_wakeable_retain(cx->waker_.target_));
    return before;
}

/* Under the lock: 1, 0 or -EAGAIN; -EINPROGRESS: ask again, after a moment for others. */
static int next_take(weft_delay_queue *q, uint64_t now, void *item, weft_delay_expired *expired,
                     weft_wakeable **told)
{
    uint32_t i;

    switch (wf_delays_due(&q->delays, now, &i)) {
    case WF_DELAYS_DUE:
        *told = queue_deliver(q, i, item, expired);
        return 1;
    case WF_DELAYS_MORE:
        return -EINPROGRESS;
    case WF_DELAYS_LATER:
        break;
    }
    return queue_len(q) ? -EAGAIN : 0;
}

static int next_step(weft_future *f, const weft_context *cx, uint64_t now)
{
    weft_delay_queue *q = next_queue(f);
    weft_wakeable *before = NULL, *told = NULL;
    int rc = -EBUSY;

    wf_lock(&q->lock);
    if (!q->waiter || q->waiter == f) {
        /* Nobody is told of what this takes: it is the waiter itself. */
        q->waiter = NULL;
        rc = next_take(q, now, (void *)f->words[NEXT_ITEM], /* NOLINT(performance-no-int-to-ptr) */
                       (weft_delay_expired *)f->words[NEXT_EXPIRED], /* NOLINT */
                       &told);
        if (rc < 0)
            q->waiter = f;
        f->aux_ = rc < 0;
        before = rc == -EAGAIN ? next_arm(q, cx) : rc >= 0 ? wf_timer_take(&q->timer) : NULL;
    }
    wf_unlock(&q->lock);
    wf_wakeable_release(before);
    return rc;
}

static void next_drop(weft_future *f)
{
    weft_delay_queue *q = next_queue(f);
    weft_wakeable *before;

    if (!f->aux_) /* it gave way before it looked, and the queue may be gone */
        return;
    f->aux_ = 0;
    wf_lock(&q->lock);
    wf_debug_assert(q->waiter == f);
    q->waiter = NULL;
    before = wf_timer_take(&q->timer);
    wf_unlock(&q->lock);
    wf_wakeable_release(before);
}

static weft_poll next_poll(weft_future *f, weft_context *cx)
{
    int rc = -EINPROGRESS;

    if (!wf_thread_self()) {
        next_drop(f);
        f->result = -EPERM;
        return WEFT_READY;
    }
    while (rc == -EINPROGRESS) {
        if (!wf_coop_proceed(cx))
            return WEFT_PENDING;
        rc = next_step(f, cx, wf_now());
    }
    f->result = rc;
    return rc == -EAGAIN ? WEFT_PENDING : WEFT_READY;
}

static const weft_future_type next_type = {next_poll, next_drop, "delay_queue_next"};

static bool next_check(const weft_delay_queue *q, const void *item, const char *call)
{
    if (!queue_check(q, call))
        return false;
    if (wf_likely(item || q->item_size == 0))
        return true;
    (void)wf_misuse(-EINVAL, "%s: item is NULL", call);
    return false;
}

weft_future weft_delay_queue_next_future(weft_delay_queue *q, void *item,
                                         weft_delay_expired *expired)
{
    if (!next_check(q, item, "weft_delay_queue_next"))
        return weft_ready_future(-EINVAL);
    return (weft_future){.type = &next_type,
                         .words = {(uintptr_t)q, (uintptr_t)item, (uintptr_t)expired}};
}

int weft_delay_queue_next(weft_delay_queue *q, void *item, weft_delay_expired *expired)
{
    weft_future next;

    if (!next_check(q, item, "weft_delay_queue_next"))
        return -EINVAL;
    if (!wf_fiber_self())
        return wf_misuse(-EPERM, "weft_delay_queue_next: called outside a fiber");
    next = weft_delay_queue_next_future(q, item, expired);
    return (int)weft_await(&next);
}

int weft_delay_queue_try_next(weft_delay_queue *q, void *item, weft_delay_expired *expired)
{
    uint64_t now = wf_now();
    int rc;

    if (!next_check(q, item, "weft_delay_queue_try_next"))
        return -EINVAL;
    do {
        weft_wakeable *told = NULL;

        wf_lock(&q->lock);
        rc = next_take(q, now, item, expired, &told);
        wf_unlock(&q->lock);
        wf_wakeable_wake(told);
    } while (rc == -EINPROGRESS);
    return rc;
}

/* --- looking ------------------------------------------------------------------------------- */

int weft_delay_queue_deadline(weft_delay_queue *q, weft_delay_key key, weft_instant *at)
{
    uint64_t deadline = 0;
    uint32_t i;

    if (!queue_check(q, "weft_delay_queue_deadline"))
        return -EINVAL;
    wf_lock(&q->lock);
    i = wf_delays_find(&q->delays, key.value_);
    if (i != WF_DELAYS_NONE)
        deadline = wf_delays_entry(&q->delays, i)->deadline;
    wf_unlock(&q->lock);
    if (i == WF_DELAYS_NONE)
        return -ENOENT;
    if (at)
        *at = deadline;
    return 0;
}

int weft_delay_queue_peek(weft_delay_queue *q, weft_delay_key *key)
{
    enum wf_delays_found found;
    uint64_t value = 0;
    uint32_t i;

    if (!queue_check(q, "weft_delay_queue_peek"))
        return -EINVAL;
    do {
        wf_lock(&q->lock);
        found = wf_delays_peek(&q->delays, &i);
        if (found == WF_DELAYS_DUE)
            value = wf_delays_key(&q->delays, i);
        wf_unlock(&q->lock);
    } while (found == WF_DELAYS_MORE);
    if (found != WF_DELAYS_DUE)
        return 0;
    if (key)
        key->value_ = value;
    return 1;
}

size_t weft_delay_queue_len(const weft_delay_queue *q)
{
    return q ? (size_t)queue_len(q) : 0;
}

bool weft_delay_queue_is_empty(const weft_delay_queue *q)
{
    return weft_delay_queue_len(q) == 0;
}

size_t weft_delay_queue_capacity(weft_delay_queue *q)
{
    size_t capacity;

    if (!q)
        return 0;
    wf_lock(&q->lock);
    capacity = q->delays.capacity;
    wf_unlock(&q->lock);
    return capacity;
}

/* --- the queue ----------------------------------------------------------------------------- */

int weft_delay_queue_new(weft_delay_queue **out, size_t item_size, void (*destroy)(void *item))
{
    weft_delay_queue *q;

    if (!out || item_size > WEFT_DELAY_ITEM_MAX)
        return wf_misuse(-EINVAL, "weft_delay_queue_new: q is NULL, or values are too large");
    q = wf_sys_malloc(sizeof(*q));
    if (!q)
        return -ENOMEM;
    wf_lock_init(&q->lock, WF_RANK_SYNC);
    q->destroy = destroy;
    q->waiter = NULL;
    q->timer = (struct wf_timer){0};
    q->len = (struct wf_atomic_u64){0};
    q->item_size = (uint32_t)item_size;
    wf_delays_init(&q->delays, q->item_size);
    *out = q;
    return 0;
}

void weft_delay_queue_free(weft_delay_queue *q)
{
    bool awaited;

    if (!q)
        return;
    wf_lock(&q->lock);
    awaited = q->waiter != NULL;
    wf_unlock(&q->lock);
    if (awaited) {
        (void)wf_misuse(-EBUSY, "weft_delay_queue_free: a task awaits its next; nothing is freed");
        return;
    }
    for (uint32_t i = 0; q->destroy && i < q->delays.made; i++)
        if (wf_delays_hangs(&q->delays, i))
            q->destroy(wf_delays_item(&q->delays, i));
    wf_delays_release(&q->delays);
    wf_sys_free(q);
}
