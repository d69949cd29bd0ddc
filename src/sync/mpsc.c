/* SPDX-License-Identifier: MIT */
/*
 * mpsc.c - a channel as a whole: making it, its ends and their counts, who waits for what, and what it says of itself.
 *
 * IDEA     A handle is a pointer into the one struct: a sender's to the producers' part, the receiver's to its own, a
 *          weak one's to a count. So cloning and closing are counting under the lock, and cannot fail.
 * OWNS     See mpsc.h.
 */
#include "sync/mpsc.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "task/await.h"
#include "task/thread_wait.h"

#include <errno.h>
#include <string.h>

#define MPSC_NEVER (UINT64_MAX / 4) /* added to a position it does not overflow */

/* --- making and freeing ---------------------------------------------------------- */

/* Memory for the channel, on a cache line, and for size bytes behind it. */
static struct wf_mpsc *mpsc_alloc(size_t size)
{
    struct wf_mpsc *c;
    char *memory;

    if (__builtin_add_overflow(size, sizeof(*c) + WF_CACHE_LINE, &size))
        return NULL;
    memory = wf_sys_malloc(size);
    if (!memory)
        return NULL;
    c = (struct wf_mpsc *)(void *)(memory + (-(uintptr_t)memory & (WF_CACHE_LINE - 1)));
    *c = (struct wf_mpsc){.memory = memory};
    return c;
}

/* Of `capacity` slots; or, if that is 0, without a limit. */
static struct wf_mpsc *mpsc_new(size_t item_size, size_t capacity)
{
    uint64_t first = wf_mpsc_block_fit(WF_MPSC_BLOCK_FIRST, item_size);
    struct wf_mpsc_block *b;
    struct wf_mpsc *c;
    size_t size = 0;

    if (capacity && (__builtin_mul_overflow(capacity, item_size, &size) ||
                     __builtin_add_overflow(size, sizeof(*b), &size)))
        return NULL;
    c = mpsc_alloc(size);
    if (!c)
        return NULL;
    if (capacity) {
        b = (struct wf_mpsc_block *)(void *)(c + 1);
        *b = (struct wf_mpsc_block){.next = b, .count = capacity};
    } else {
        b = wf_mpsc_block_new(first, item_size);
        if (!b) {
            wf_sys_free(c->memory);
            return NULL;
        }
    }
    c->in_block = c->last = c->rx.block = b;
    c->tx.in = c->rx.out = wf_mpsc_slots(b);
    c->in_end = c->rx.out_end = c->stored = b->count;
    c->tx.item_size = c->rx.item_size = (uint32_t)item_size;
    c->tx.bounded = c->rx.bounded = capacity != 0;
    c->capacity = capacity ? capacity : UINT64_MAX;
    c->block_count = first;
    return c;
}

static void mpsc_set_options(struct wf_mpsc *c, const weft_channel_options *o)
{
    uint64_t size = c->tx.item_size ? c->tx.item_size : 1;

    c->max_items = c->warn_at = MPSC_NEVER;
    c->warned = true;
    if (!o)
        return;
    c->destroy = o->destroy;
    if (o->name)
        memcpy(c->name, o->name, strnlen(o->name, sizeof(c->name) - 1));
    if (o->max_items && o->max_items < c->max_items)
        c->max_items = o->max_items;
    if (o->max_bytes && o->max_bytes / size < c->max_items)
        c->max_items = o->max_bytes / size;
    if (o->warn_at && o->warn_at < MPSC_NEVER) {
        c->warn_at = o->warn_at;
        c->warned = false;
    }
}

static int mpsc_open(weft_sender **tx, weft_receiver **rx, size_t item_size, size_t capacity,
                     const weft_channel_options *options)
{
    struct wf_mpsc *c = mpsc_new(item_size, capacity);

    if (!c)
        return -ENOMEM;
    mpsc_set_options(c, options);
    c->senders = 1;
    c->refs = 2;
    wf_mpsc_set_look(c, 0);
    *tx = &c->tx;
    *rx = &c->rx;
    return 0;
}

static int mpsc_check(weft_sender **tx, weft_receiver **rx, size_t item_size, const char *call)
{
    if (!tx || !rx)
        return wf_misuse(-EINVAL, "%s: no place for the ends", call);
    if (item_size > UINT32_MAX)
        return wf_misuse(-EINVAL, "%s: values of %zu bytes", call, item_size);
    return 0;
}

int weft_mpsc_new_with(weft_sender **tx, weft_receiver **rx, size_t item_size, size_t capacity,
                       const weft_channel_options *options)
{
    int rc = mpsc_check(tx, rx, item_size, "weft_mpsc_new");

    if (rc < 0)
        return rc;
    if (capacity == 0 || capacity > WEFT_MPSC_CAPACITY_MAX)
        return wf_misuse(-EINVAL, "weft_mpsc_new: a capacity of %zu", capacity);
    if (options && (options->max_items || options->max_bytes))
        return wf_misuse(-EINVAL, "weft_mpsc_new: max_items and max_bytes are for unbounded ones");
    return mpsc_open(tx, rx, item_size, capacity, options);
}

int weft_mpsc_unbounded_with(weft_sender **tx, weft_receiver **rx, size_t item_size,
                             const weft_channel_options *options)
{
    int rc = mpsc_check(tx, rx, item_size, "weft_mpsc_unbounded");

    return rc < 0 ? rc : mpsc_open(tx, rx, item_size, 0, options);
}

int weft_mpsc_new(weft_sender **tx, weft_receiver **rx, size_t item_size, size_t capacity)
{
    return weft_mpsc_new_with(tx, rx, item_size, capacity, NULL);
}

int weft_mpsc_unbounded(weft_sender **tx, weft_receiver **rx, size_t item_size)
{
    return weft_mpsc_unbounded_with(tx, rx, item_size, NULL);
}

void wf_mpsc_free(struct wf_mpsc *c)
{
    wf_debug_assert(c->refs == 0 && c->reserved == 0);
    wf_debug_assert(wf_waitq_empty(&c->room) && wf_waitq_empty(&c->closed));
    wf_mpsc_block_free_all(c);
    wf_sys_free(c->memory);
}

/* --- who waits -------------------------------------------------------------------- */

/* Under the lock. */
static void mpsc_clear_waiting(struct wf_mpsc *c)
{
    /* relaxed: M3, under the lock; who finds the bit looks again there */
    if (wf_waitq_empty(&c->room) && wf_load_u64(&c->rx.head, WF_RELAXED) & WF_MPSC_WAITING)
        wf_and_u64(&c->rx.head, ~(uint64_t)WF_MPSC_WAITING, WF_RELAXED);
}

/* Under the lock, with some taken out of the line: what others find is right again. False: that was all. True: the
 * batch is full; it was woken, without the lock, and there may be more. */
static bool mpsc_batch_is_full(struct wf_mpsc *c, struct wf_wakes *wakes, uint64_t head)
{
    mpsc_clear_waiting(c);
    wf_mpsc_set_look(c, head);
    if (wf_likely(!wf_wakes_full(wakes)))
        return false;
    wf_unlock(&c->tx.lock);
    wf_wakes_all(wakes);
    wf_lock(&c->tx.lock);
    return true;
}

/* The last batch. put and what is returned: as below. Only now, for until here the channel was needed. */
static bool mpsc_batch_end(struct wf_mpsc *c, struct wf_wakes *wakes, bool put)
{
    bool last = put && wf_mpsc_put_locked(c);

    wf_unlock(&c->tx.lock);
    wf_wakes_all(wakes);
    return last;
}

bool wf_mpsc_grant_and_unlock(struct wf_mpsc *c, weft_wakeable *also_wake, bool put)
{
    struct wf_wakes wakes;
    struct wf_waiter *w;
    uint64_t head;

    wakes.count = 0;
    wf_wakes_add(&wakes, also_wake);
    do {
        head = wf_mpsc_head(c);
        while (!wf_wakes_full(&wakes) && (w = c->room.first) &&
               wf_mpsc_tail(c) - head + c->reserved + w->need <= c->capacity) {
            c->reserved += w->need;
            wf_wakes_add(&wakes, wf_waitq_take(&c->room, w, WF_WAITER_GRANTED));
        }
    } while (mpsc_batch_is_full(c, &wakes, head));
    return mpsc_batch_end(c, &wakes, put);
}

/* There is nothing to wait for any more, for room nor for the receiver's end: all who do are told; they look
 * why. Under the lock, which it gives back; put, and what is returned, as above. */
static bool mpsc_end_waits_and_unlock(struct wf_mpsc *c, weft_wakeable *also_wake, bool put)
{
    struct wf_wakes wakes;
    struct wf_waitq *q;

    wakes.count = 0;
    wf_wakes_add(&wakes, also_wake);
    do {
        q = &c->room;
        while (!wf_wakes_full(&wakes)) {
            if (wf_waitq_empty(q))
                q = &c->closed;
            if (wf_waitq_empty(q))
                break;
            wf_wakes_add(&wakes, wf_waitq_take(q, q->first, WF_WAITER_IDLE));
        }
    } while (mpsc_batch_is_full(c, &wakes, wf_mpsc_head(c)));
    return mpsc_batch_end(c, &wakes, put);
}

/* --- the ends --------------------------------------------------------------------- */

weft_sender *weft_sender_clone(weft_sender *tx)
{
    struct wf_mpsc *c;

    if (!tx)
        return NULL;
    c = wf_mpsc_of_tx(tx);
    wf_lock(&tx->lock);
    c->senders++;
    c->refs++;
    wf_unlock(&tx->lock);
    return tx;
}

bool wf_mpsc_leave_and_unlock(struct wf_mpsc *c, bool sender)
{
    weft_wakeable *receiver = NULL;

    if (sender)
        c->senders--;
    if (wf_mpsc_ended(c))
        receiver = wf_mpsc_take_receiver(c);
    return c->senders == 0 ? mpsc_end_waits_and_unlock(c, receiver, true)
                           : wf_mpsc_grant_and_unlock(c, receiver, true);
}

void weft_sender_close(weft_sender *tx)
{
    struct wf_mpsc *c;
    bool waited, last;

    if (!tx)
        return;
    c = wf_mpsc_of_tx(tx);
    wf_lock(&tx->lock);
    if (wf_unlikely(c->senders == 0)) {
        wf_unlock(&tx->lock);
        (void)wf_misuse(0, "weft_sender_close: the sender was closed before");
        return;
    }
    waited = c->senders == 1 && (!wf_waitq_empty(&c->room) || !wf_waitq_empty(&c->closed));
    last = wf_mpsc_leave_and_unlock(c, true);
    if (wf_unlikely(waited))
        (void)wf_misuse(0,
                        "weft_sender_close: the last sender was closed while a task waited by it");
    if (last)
        wf_mpsc_free(c);
}

weft_weak_sender *weft_sender_downgrade(weft_sender *tx)
{
    struct wf_mpsc *c;

    if (!tx)
        return NULL;
    c = wf_mpsc_of_tx(tx);
    wf_lock(&tx->lock);
    c->weak.count++;
    c->refs++;
    wf_unlock(&tx->lock);
    return &c->weak;
}

weft_weak_sender *weft_weak_sender_clone(weft_weak_sender *weak)
{
    return weak ? weft_sender_downgrade(&wf_mpsc_of_weak(weak)->tx) : NULL;
}

weft_sender *weft_weak_sender_upgrade(weft_weak_sender *weak)
{
    weft_sender *tx = NULL;
    struct wf_mpsc *c;

    if (!weak)
        return NULL;
    c = wf_mpsc_of_weak(weak);
    wf_lock(&c->tx.lock);
    if (c->senders) {
        tx = &c->tx;
        c->senders++;
        c->refs++;
    }
    wf_unlock(&c->tx.lock);
    return tx;
}

void weft_weak_sender_close(weft_weak_sender *weak)
{
    struct wf_mpsc *c;
    bool last;

    if (!weak)
        return;
    c = wf_mpsc_of_weak(weak);
    wf_lock(&c->tx.lock);
    weak->count--;
    last = wf_mpsc_put_locked(c);
    wf_unlock(&c->tx.lock);
    if (last)
        wf_mpsc_free(c);
}

void weft_receiver_shutdown(weft_receiver *rx)
{
    struct wf_mpsc *c;

    if (!rx) {
        (void)wf_misuse(0, "weft_receiver_shutdown: rx is NULL");
        return;
    }
    c = wf_mpsc_of_rx(rx);
    wf_lock(&c->tx.lock);
    c->shut = true;
    (void)mpsc_end_waits_and_unlock(c, wf_mpsc_ended(c) ? wf_mpsc_take_receiver(c) : NULL, false);
}

void weft_receiver_close(weft_receiver *rx)
{
    struct wf_mpsc *c;
    uint32_t owner;
    bool last;

    if (!rx)
        return;
    c = wf_mpsc_of_rx(rx);
    wf_lock(&c->tx.lock);
    c->shut = c->gone = true;
    /* relaxed: a future that is pending was left so under the lock */
    owner = wf_load_u32(&rx->owner, WF_RELAXED);
    if (wf_unlikely(owner == WF_MPSC_PENDING)) {
        wf_store_u32(&rx->owner, WF_MPSC_ORPHANED, WF_RELAXED);
        /* The receiver's reference is the future's now, which may use it up before this returns. */
        c->refs++;
    }
    last = mpsc_end_waits_and_unlock(c, wf_mpsc_take_receiver(c), owner == WF_MPSC_PENDING);
    if (wf_unlikely(owner != WF_MPSC_FREE))
        (void)wf_misuse(0, "weft_receiver_close: the receiver was closed while a task receives");
    if (wf_unlikely(last))
        wf_mpsc_free(c);
    if (wf_likely(owner != WF_MPSC_PENDING))
        wf_mpsc_receiver_end(c);
}

/* --- waiting for the receiver's end ------------------------------------------------ */

enum { CLOSED_CHANNEL, CLOSED_WAITER };

enum { CLOSED_HOLDS = 1 }; /* aux_: it has a reference to the channel */

static struct wf_mpsc *closed_channel(const weft_future *f)
{
    return (struct wf_mpsc *)f->words[CLOSED_CHANNEL]; /* NOLINT(performance-no-int-to-ptr) */
}

static struct wf_waiter *closed_waiter(weft_future *f)
{
    return (struct wf_waiter *)(void *)&f->words[CLOSED_WAITER];
}

/* Under the lock. */
static bool closed_put(struct wf_mpsc *c, weft_future *f)
{
    bool holds = (f->aux_ & CLOSED_HOLDS) != 0;

    f->aux_ = 0;
    return holds && wf_mpsc_put_locked(c);
}

static weft_poll closed_poll(weft_future *f, weft_context *cx)
{
    struct wf_mpsc *c = closed_channel(f);
    struct wf_waiter *w = closed_waiter(f);
    weft_wakeable *bring;
    bool over, last = false;

    /* Whatever the budget is: the channel is held from the first poll on. */
    bring = wf_wakeable_retain(cx->waker_.target_);
    wf_lock(&c->tx.lock);
    over = c->shut || c->senders == 0;
    if (over) {
        f->result = c->shut ? 0 : -ESHUTDOWN;
        last = closed_put(c, f);
    } else if (w->state == WF_WAITER_QUEUED) {
        bring = wf_waiter_retarget(w, bring);
    } else {
        wf_waitq_push(&c->closed, w, bring);
        bring = NULL;
        c->refs += !(f->aux_ & CLOSED_HOLDS);
        f->aux_ = CLOSED_HOLDS;
    }
    wf_unlock(&c->tx.lock);
    wf_wakeable_release(bring);
    if (wf_unlikely(last))
        wf_mpsc_free(c);
    if (!over)
        return WEFT_PENDING;
    wf_coop_spend();
    return WEFT_READY;
}

static void closed_drop(weft_future *f)
{
    struct wf_mpsc *c = closed_channel(f);
    struct wf_waiter *w = closed_waiter(f);
    weft_wakeable *target = NULL;
    bool last;

    if (!(f->aux_ & CLOSED_HOLDS)) /* it gave way before it looked, and the channel may be gone */
        return;
    wf_lock(&c->tx.lock);
    if (w->state == WF_WAITER_QUEUED)
        target = wf_waitq_take(&c->closed, w, WF_WAITER_IDLE);
    last = closed_put(c, f);
    wf_unlock(&c->tx.lock);
    wf_wakeable_release(target);
    if (wf_unlikely(last))
        wf_mpsc_free(c);
}

static const weft_future_type closed_type = {closed_poll, closed_drop, "sender_closed"};

weft_future weft_sender_closed_future(weft_sender *tx)
{
    weft_future f = {.type = &closed_type};

    if (!tx)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_sender_closed_future: tx is NULL"));
    f.words[CLOSED_CHANNEL] = (uintptr_t)wf_mpsc_of_tx(tx);
    return f;
}

int weft_sender_closed(weft_sender *tx)
{
    weft_future closed;
    struct wf_fiber *f;
    int rc;

    if (!tx)
        return wf_misuse(-EINVAL, "weft_sender_closed: tx is NULL");
    rc = wf_await_enter(&f, "weft_sender_closed");
    if (wf_unlikely(rc < 0))
        return rc;
    closed = weft_sender_closed_future(tx);
    return (int)wf_await_future(f, &closed);
}

int weft_sender_closed_blocking(weft_sender *tx)
{
    weft_future closed;
    int rc;

    if (!tx)
        return wf_misuse(-EINVAL, "weft_sender_closed_blocking: tx is NULL");
    rc = wf_thread_check_plain("weft_sender_closed_blocking");
    if (wf_unlikely(rc < 0))
        return rc;
    closed = weft_sender_closed_future(tx);
    return (int)wf_thread_await(&closed, WEFT_FOREVER);
}
