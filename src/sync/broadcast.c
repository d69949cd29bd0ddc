/* SPDX-License-Identifier: MIT */
/* broadcast.c - the broadcast channel: making it, sending, its ends and what it says of itself. See broadcast.h. */
#include "sync/broadcast.h"

#include "base/log.h"
#include "base/sys.h"

#include <errno.h>

/* A receiver that is closed counts so many values down at a time. */
#ifndef WF_BROADCAST_STEP /* a test build takes smaller steps */
# define WF_BROADCAST_STEP 64
#endif

static struct weft_broadcast_sender *broadcast_of(struct wf_fanout *f)
{
    return wf_container_of(f, struct weft_broadcast_sender, fan);
}

static struct weft_broadcast_receiver *receiver_of(struct wf_list *node)
{
    return wf_container_of(node, struct weft_broadcast_receiver, link);
}

/* relaxed: a statistic */
static uint64_t receiver_most(const struct weft_broadcast_receiver *rx)
{
    return wf_load_u64(&rx->most, WF_RELAXED);
}

/* --- making it ---------------------------------------------------------------- */

static void broadcast_release(struct wf_fanout *f)
{
    struct weft_broadcast_sender *b = broadcast_of(f);

    wf_cells_release(f);
    wf_sys_free(b->ring);
    wf_sys_free(b);
}

/* A receiver that nobody knows yet. */
static struct weft_broadcast_receiver *receiver_new(struct weft_broadcast_sender *b)
{
    struct weft_broadcast_receiver *rx = wf_sys_calloc(1, sizeof(*rx));

    if (!rx)
        return NULL;
    rx->b = b;
    rx->ring = b->ring;
    rx->stride = b->stride;
    rx->capacity = b->capacity;
    rx->item_size = b->fan.item_size;
    rx->owns = wf_fanout_owns(&b->fan);
    rx->refs = 1;
    return rx;
}

static void receiver_open(struct weft_broadcast_receiver *rx)
{
    struct weft_broadcast_sender *b = rx->b;

    wf_lock(&b->fan.lock);
    rx->first = wf_broadcast_tail(b);
    rx->index = b->index;
    /* relaxed: see wf_broadcast_next */
    wf_store_u64(&rx->next, rx->first, WF_RELAXED);
    wf_list_push_back(&b->receivers, &rx->link);
    wf_fanout_add_receiver(&b->fan);
    wf_unlock(&b->fan.lock);
}

static int broadcast_alloc(struct weft_broadcast_sender **out, size_t item_size, size_t capacity,
                           const weft_channel_options *options)
{
    struct weft_broadcast_sender *b = wf_sys_calloc(1, sizeof(*b));
    size_t size;
    int rc;

    if (!b)
        return -ENOMEM;
    rc = wf_fanout_init(&b->fan, item_size, options, "weft_broadcast_new");
    if (rc < 0)
        goto free_channel;
    b->fan.release = broadcast_release;
    b->capacity = capacity;
    b->stride = wf_fanout_owns(&b->fan)
                    ? sizeof(struct wf_cell *)
                    : sizeof(struct wf_slot) + wf_words_of(item_size) * sizeof(struct wf_word);
    rc = -ENOMEM;
    if (__builtin_mul_overflow(capacity, b->stride, &size) || size > PTRDIFF_MAX)
        goto free_channel;
    b->ring = wf_sys_calloc(capacity, b->stride);
    if (!b->ring)
        goto free_channel;
    wf_list_init(&b->receivers);
    *out = b;
    return 0;

free_channel:
    wf_sys_free(b);
    return rc;
}

int weft_broadcast_new_with(weft_broadcast_sender **tx, weft_broadcast_receiver **rx,
                            size_t item_size, size_t capacity, const weft_channel_options *options)
{
    struct weft_broadcast_receiver *first = NULL;
    struct weft_broadcast_sender *b;
    int rc;

    if (!tx || capacity == 0)
        return wf_misuse(-EINVAL, "weft_broadcast_new: tx is NULL, or the capacity 0");
    rc = broadcast_alloc(&b, item_size, capacity, options);
    if (rc < 0)
        return rc;
    if (rx) {
        first = receiver_new(b);
        if (!first) {
            broadcast_release(&b->fan);
            return -ENOMEM;
        }
        receiver_open(first);
        *rx = first;
    }
    *tx = b;
    return 0;
}

int weft_broadcast_new(weft_broadcast_sender **tx, weft_broadcast_receiver **rx, size_t item_size,
                       size_t capacity)
{
    return weft_broadcast_new_with(tx, rx, item_size, capacity, NULL);
}

static int broadcast_subscribe(struct weft_broadcast_sender *b, weft_broadcast_receiver **out)
{
    struct weft_broadcast_receiver *rx = receiver_new(b);

    if (!rx)
        return -ENOMEM;
    receiver_open(rx);
    *out = rx;
    return 0;
}

int weft_broadcast_subscribe(weft_broadcast_sender *tx, weft_broadcast_receiver **rx)
{
    if (!tx || !rx)
        return wf_misuse(-EINVAL, "weft_broadcast_subscribe: NULL");
    return broadcast_subscribe(tx, rx);
}

int weft_broadcast_resubscribe(const weft_broadcast_receiver *rx, weft_broadcast_receiver **another)
{
    if (!rx || !another)
        return wf_misuse(-EINVAL, "weft_broadcast_resubscribe: NULL");
    return broadcast_subscribe(rx->b, another);
}

/* --- sending -------------------------------------------------------------------- */

void wf_broadcast_seen(struct weft_broadcast_sender *b, size_t index, struct wf_cell **ended)
{
    struct wf_cell **place = wf_broadcast_cell(b, index), *c = *place;

    wf_debug_assert(c->unseen > 0);
    if (--c->unseen > 0)
        return;
    *place = NULL; /* B2 */
    wf_cell_put(&b->fan, c, ended);
}

/* Under the lock: one value more. */
static void broadcast_advance(struct weft_broadcast_sender *b)
{
    /* relaxed: who acts on it has the lock. Before the end of the words: who has read the value finds that it was
     * sent, B1 */
    wf_store_u64(&b->tail, wf_broadcast_tail(b) + 1, WF_RELAXED);
    if (++b->index == b->capacity)
        b->index = 0;
}

/* Under the lock, which is given back: wake who has waited for it. */
static void broadcast_tell(struct weft_broadcast_sender *b)
{
    if (wf_waitq_empty(&b->fan.waiting))
        wf_unlock(&b->fan.lock);
    else
        wf_waitq_open(&b->fan.lock, &b->fan.waiting, (uint32_t)wf_broadcast_tail(b));
}

static unsigned broadcast_send_plain(struct weft_broadcast_sender *b, const void *value)
{
    unsigned receivers;
    struct wf_slot *s;
    uint64_t number;

    wf_lock(&b->fan.lock);
    receivers = b->fan.receivers;
    if (receivers == 0) {
        wf_unlock(&b->fan.lock);
        return 0;
    }
    s = wf_broadcast_slot(b->ring, b->stride, b->index);
    number = wf_broadcast_tail(b) + 1;
    wf_words_begin(&s->sequence, number);
    wf_words_store(s->word, value, b->fan.item_size);
    broadcast_advance(b);
    wf_words_end(&s->sequence, number);
    broadcast_tell(b);
    return receivers;
}

static int broadcast_send_owned(struct weft_broadcast_sender *b, const void *value)
{
    struct wf_cell *c, **place, *ended = NULL;
    int rc = wf_cell_lock(&b->fan, &c);
    unsigned receivers;

    if (rc < 0)
        return rc;
    receivers = b->fan.receivers;
    if (receivers == 0) {
        wf_cell_unused(&b->fan, c);
        wf_unlock(&b->fan.lock);
        return 0;
    }
    if (b->fan.item_size)
        memcpy(c->word, value, b->fan.item_size);
    c->unseen = receivers;
    place = wf_broadcast_cell(b, b->index);
    if (*place)
        wf_cell_put(&b->fan, *place, &ended);
    *place = c;
    broadcast_advance(b);
    broadcast_tell(b);
    wf_cells_end(&b->fan, ended);
    return (int)receivers;
}

int weft_broadcast_send(weft_broadcast_sender *tx, const void *value)
{
    int rc;

    if (wf_unlikely(!tx || !wf_fanout_is_value(&tx->fan, value)))
        return wf_misuse(-EINVAL, "weft_broadcast_send: NULL");
    rc = wf_fanout_owns(&tx->fan) ? broadcast_send_owned(tx, value)
                                  : (int)broadcast_send_plain(tx, value);
    return rc == 0 ? -EPIPE : rc;
}

/* --- the ends ------------------------------------------------------------------- */

weft_broadcast_sender *weft_broadcast_sender_clone(weft_broadcast_sender *tx)
{
    if (!tx)
        (void)wf_misuse(-EINVAL, "weft_broadcast_sender_clone: NULL");
    else
        wf_fanout_add_sender(&tx->fan);
    return tx;
}

void weft_broadcast_sender_close(weft_broadcast_sender *tx)
{
    if (tx)
        wf_fanout_sender_close(&tx->fan, "weft_broadcast_sender_close");
}

static struct weft_broadcast_sender *weak_channel(const weft_broadcast_weak_sender *weak)
{
    return wf_container_of((weft_broadcast_weak_sender *)wf_unconst(weak),
                           struct weft_broadcast_sender, weak);
}

weft_broadcast_weak_sender *weft_broadcast_sender_downgrade(weft_broadcast_sender *tx)
{
    if (!tx) {
        (void)wf_misuse(-EINVAL, "weft_broadcast_sender_downgrade: NULL");
        return NULL;
    }
    wf_fanout_add_weak(&tx->fan);
    return &tx->weak;
}

weft_broadcast_weak_sender *weft_broadcast_weak_sender_clone(weft_broadcast_weak_sender *weak)
{
    if (!weak)
        (void)wf_misuse(-EINVAL, "weft_broadcast_weak_sender_clone: NULL");
    else
        wf_fanout_add_weak(&weak_channel(weak)->fan);
    return weak;
}

weft_broadcast_sender *weft_broadcast_weak_sender_upgrade(weft_broadcast_weak_sender *weak)
{
    if (!weak) {
        (void)wf_misuse(-EINVAL, "weft_broadcast_weak_sender_upgrade: NULL");
        return NULL;
    }
    return wf_fanout_upgrade(&weak_channel(weak)->fan) ? weak_channel(weak) : NULL;
}

void weft_broadcast_weak_sender_close(weft_broadcast_weak_sender *weak)
{
    if (weak)
        wf_fanout_weak_close(&weak_channel(weak)->fan);
}

void wf_broadcast_receiver_put(struct weft_broadcast_receiver *rx)
{
    struct weft_broadcast_sender *b = rx->b;
    bool last;

    wf_lock(&b->fan.lock);
    last = --rx->refs == 0;
    wf_unlock(&b->fan.lock);
    if (!last)
        return;
    wf_sys_free(rx);
    wf_fanout_put(&b->fan);
}

/*
 * Count down what a receiver has not seen and will not see, of the values before `end`: those that were sent while it
 * was counted. A part at a time: senders may come in between, and take some away.
 */
static void receiver_forget(struct weft_broadcast_sender *b, uint64_t at, uint64_t end)
{
    struct wf_cell *ended;

    while (at < end) {
        ended = NULL;
        wf_lock(&b->fan.lock);
        if (at < wf_broadcast_oldest(b))
            at = wf_broadcast_oldest(b);
        for (unsigned i = 0; i < WF_BROADCAST_STEP && at < end; i++, at++)
            wf_broadcast_seen(b, (size_t)(at % b->capacity), &ended);
        wf_unlock(&b->fan.lock);
        wf_cells_end(&b->fan, ended);
    }
}

/* Under the lock: what it has counted, for the channel's sums. */
static void receiver_account(struct weft_broadcast_receiver *rx)
{
    struct weft_broadcast_sender *b = rx->b;

    b->past_received += wf_broadcast_received(rx);
    b->past_missed += wf_broadcast_missed_ever(rx);
    if (b->past_most < receiver_most(rx))
        b->past_most = receiver_most(rx);
}

void weft_broadcast_receiver_close(weft_broadcast_receiver *rx)
{
    struct weft_broadcast_sender *b;
    weft_wakeable *target = NULL;
    uint64_t next, end;
    bool busy;

    if (!rx)
        return;
    b = rx->b;
    wf_lock(&b->fan.lock);
    wf_assert(!rx->shut);
    rx->shut = true;
    busy = rx->waiter || rx->copying;
    if (rx->waiter && rx->waiter->state == WF_WAITER_QUEUED)
        target = wf_waitq_take(&b->fan.waiting, rx->waiter, WF_WAITER_GRANTED);
    wf_list_remove(&rx->link);
    receiver_account(rx);
    next = wf_broadcast_next(rx);
    end = wf_broadcast_tail(b);
    wf_fanout_sub_receiver(&b->fan);
    wf_wakeable_wake(target);
    if (busy)
        (void)wf_misuse(0, "weft_broadcast_receiver_close: somebody is receiving with it");
    if (rx->owns)
        receiver_forget(b, next, end);
    wf_broadcast_receiver_put(rx);
}

/* --- what it says of itself ------------------------------------------------------- */

/* Under the lock. */
static uint64_t broadcast_len(const struct weft_broadcast_sender *b)
{
    uint64_t tail = wf_broadcast_tail(b), first = tail, oldest = wf_broadcast_oldest(b);

    WF_LIST_FOREACH(node, &b->receivers) {
        uint64_t next = wf_broadcast_next(receiver_of(node));

        first = next < first ? next : first;
    }
    return tail - (first > oldest ? first : oldest);
}

size_t weft_broadcast_sender_len(weft_broadcast_sender *tx)
{
    uint64_t n;

    if (!tx)
        return 0;
    wf_lock(&tx->fan.lock);
    n = broadcast_len(tx);
    wf_unlock(&tx->fan.lock);
    return (size_t)n;
}

bool weft_broadcast_sender_is_empty(weft_broadcast_sender *tx)
{
    return weft_broadcast_sender_len(tx) == 0;
}

uint64_t weft_broadcast_receiver_len(const weft_broadcast_receiver *rx)
{
    uint64_t next, tail;

    if (!rx)
        return 0;
    next = wf_broadcast_next(rx);
    tail = wf_broadcast_tail(rx->b);
    /* Another thread than the receiver's may see one of the two before the other. */
    return tail > next ? tail - next : 0;
}

bool weft_broadcast_receiver_is_empty(const weft_broadcast_receiver *rx)
{
    return weft_broadcast_receiver_len(rx) == 0;
}

bool weft_broadcast_receiver_is_closed(const weft_broadcast_receiver *rx)
{
    return weft_broadcast_receiver_strong_count(rx) == 0;
}

size_t weft_broadcast_receiver_count(const weft_broadcast_sender *tx)
{
    return tx ? wf_fanout_read(&tx->fan, &tx->fan.receivers) : 0;
}

size_t weft_broadcast_sender_strong_count(const weft_broadcast_sender *tx)
{
    return tx ? wf_fanout_read(&tx->fan, &tx->fan.senders) : 0;
}

size_t weft_broadcast_sender_weak_count(const weft_broadcast_sender *tx)
{
    return tx ? wf_fanout_read(&tx->fan, &tx->fan.weak_senders) : 0;
}

size_t weft_broadcast_receiver_strong_count(const weft_broadcast_receiver *rx)
{
    return rx ? wf_fanout_read(&rx->b->fan, &rx->b->fan.senders) : 0;
}

size_t weft_broadcast_receiver_weak_count(const weft_broadcast_receiver *rx)
{
    return rx ? wf_fanout_read(&rx->b->fan, &rx->b->fan.weak_senders) : 0;
}

size_t weft_broadcast_weak_sender_strong_count(const weft_broadcast_weak_sender *weak)
{
    return weft_broadcast_sender_strong_count(weak ? weak_channel(weak) : NULL);
}

size_t weft_broadcast_weak_sender_weak_count(const weft_broadcast_weak_sender *weak)
{
    return weft_broadcast_sender_weak_count(weak ? weak_channel(weak) : NULL);
}

bool weft_broadcast_sender_same_channel(const weft_broadcast_sender *a,
                                        const weft_broadcast_sender *b)
{
    return a && a == b;
}

bool weft_broadcast_receiver_same_channel(const weft_broadcast_receiver *a,
                                          const weft_broadcast_receiver *b)
{
    return a && b && a->b == b->b;
}

static void broadcast_fill_info(struct weft_broadcast_sender *b, weft_channel_info *info)
{
    uint64_t most;

    wf_lock(&b->fan.lock);
    wf_fanout_fill_info(&b->fan, info);
    most = b->past_most;
    info->capacity = b->capacity;
    info->depth = broadcast_len(b);
    info->sent = wf_broadcast_tail(b);
    info->received = b->past_received;
    info->dropped = b->past_missed;
    WF_LIST_FOREACH(node, &b->receivers) {
        const struct weft_broadcast_receiver *rx = receiver_of(node);
        uint64_t before = receiver_most(rx);

        info->received += wf_broadcast_received(rx);
        info->dropped += wf_broadcast_missed_ever(rx);
        most = most > before ? most : before;
    }
    wf_unlock(&b->fan.lock);
    info->depth_max = most < b->capacity ? most : b->capacity;
}

static int broadcast_get_info(struct weft_broadcast_sender *b, weft_channel_info *info, size_t size)
{
    weft_channel_info all;

    if (!b || !info)
        return wf_misuse(-EINVAL, "weft_broadcast_..._get_info: NULL");
    broadcast_fill_info(b, &all);
    memcpy(info, &all, size < sizeof(all) ? size : sizeof(all));
    return 0;
}

int weft_broadcast_sender_get_info_sized(weft_broadcast_sender *tx, weft_channel_info *info,
                                         size_t size)
{
    return broadcast_get_info(tx, info, size);
}

int weft_broadcast_receiver_get_info_sized(const weft_broadcast_receiver *rx,
                                           weft_channel_info *info, size_t size)
{
    return broadcast_get_info(rx ? rx->b : NULL, info, size);
}

int(weft_broadcast_sender_get_info)(weft_broadcast_sender *tx, weft_channel_info *info)
{
    return broadcast_get_info(tx, info, sizeof(*info));
}

int(weft_broadcast_receiver_get_info)(const weft_broadcast_receiver *rx, weft_channel_info *info)
{
    return broadcast_get_info(rx ? rx->b : NULL, info, sizeof(*info));
}

/* --- waiting for the receivers to go ------------------------------------------------ */

int weft_broadcast_closed(weft_broadcast_sender *tx)
{
    if (!tx)
        return wf_misuse(-EINVAL, "weft_broadcast_closed: NULL");
    return wf_fanout_closed(&tx->fan, "weft_broadcast_closed");
}

int weft_broadcast_closed_blocking(weft_broadcast_sender *tx)
{
    if (!tx)
        return wf_misuse(-EINVAL, "weft_broadcast_closed_blocking: NULL");
    return wf_fanout_closed_blocking(&tx->fan, "weft_broadcast_closed_blocking");
}

weft_future weft_broadcast_closed_future(weft_broadcast_sender *tx)
{
    if (!tx)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_broadcast_closed_future: NULL"));
    return wf_fanout_closed_future(&tx->fan);
}
