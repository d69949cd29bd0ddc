/* SPDX-License-Identifier: MIT */
/*
 * oneshot_closed.c - the sender of a oneshot waits for the receiver's end; and what the two ends say of themselves.
 *
 * IDEA     Few senders ever wait so. The first that does says WF_ONESHOT_WATCHED in the word, for good, and from there
 *          on both ends pay for the lock and the counting.
 * OWNS     The future holds one of `refs`, so that it may be pending when the sender is consumed.
 */
#include "base/log.h"
#include "sync/oneshot.h"
#include "task/await.h"
#include "task/thread_wait.h"

#include <errno.h>
#include <string.h>

/* --- waiting ------------------------------------------------------------------------ */

enum { CLOSED_CHANNEL };

enum { CLOSED_HOLDS = 1 }; /* aux_: it holds a reference, and a place as the watcher */

void wf_oneshot_wake_watcher(struct wf_oneshot *o)
{
    weft_wakeable *watcher;

    wf_lock(&o->lock);
    watcher = o->watcher;
    o->watcher = NULL;
    wf_unlock(&o->lock);
    wf_wakeable_wake(watcher);
}

/* From here on both ends go by refs. False: there is nothing to wait for. */
static bool closed_watch(struct wf_oneshot *o)
{
    uint64_t word;

    do {
        /* acquire: ORDER (e), pairs with oneshot_shut and oneshot_receiver_end */
        word = wf_load_u64(&o->word, WF_ACQUIRE);
        if (word & WF_ONESHOT_SHUT)
            return false;
        if (word & WF_ONESHOT_WATCHED)
            return true;
        /* relaxed: it carries nothing */
    } while (!wf_cas_weak_u64(&o->word, &word, word | WF_ONESHOT_WATCHED, WF_RELAXED, WF_RELAXED));
    return true;
}

static weft_poll closed_ready(weft_future *f, int result)
{
    bool holds = (f->aux_ & CLOSED_HOLDS) != 0;

    f->aux_ = 0;
    f->result = result;
    if (holds)
        wf_oneshot_put(wf_oneshot_of(f));
    return WEFT_READY;
}

/* 0: it is the watcher now; 1: there is nothing to watch; -EBUSY. *target: a reference; then what is to be released. */
static int closed_register(struct wf_oneshot *o, bool holds, weft_wakeable **target)
{
    weft_wakeable *before;
    int rc = 0;

    wf_lock(&o->lock);
    before = o->watcher;
    /* acquire: ORDER (e), as in closed_watch; that the newest value is seen is the lock's, ORDER (d) */
    if (wf_load_u64(&o->word, WF_ACQUIRE) & WF_ONESHOT_SHUT) {
        rc = 1;
    } else if (before && !holds) {
        rc = -EBUSY;
    } else {
        o->watcher = *target;
        *target = before;
    }
    wf_unlock(&o->lock);
    return rc;
}

static weft_poll closed_ask(weft_future *f, const weft_context *cx)
{
    struct wf_oneshot *o = wf_oneshot_of(f);
    weft_wakeable *target;
    int rc;

    if (!closed_watch(o))
        return closed_ready(f, 0);
    target = wf_wakeable_retain(cx->waker_.target_);
    rc = closed_register(o, (f->aux_ & CLOSED_HOLDS) != 0, &target);
    wf_wakeable_release(target);
    if (rc)
        return closed_ready(f, rc < 0 ? rc : 0);
    if (!(f->aux_ & CLOSED_HOLDS))
        /* relaxed: the sender, which the caller has, holds one */
        (void)wf_add_u32(&o->refs, 1, WF_RELAXED);
    f->aux_ |= CLOSED_HOLDS;
    return WEFT_PENDING;
}

/* Whatever the budget is: from the first poll on the sender may be consumed. */
static weft_poll closed_poll(weft_future *f, weft_context *cx)
{
    if (closed_ask(f, cx) == WEFT_PENDING)
        return WEFT_PENDING;
    wf_coop_spend();
    return WEFT_READY;
}

static void closed_drop(weft_future *f)
{
    struct wf_oneshot *o = wf_oneshot_of(f);
    weft_wakeable *watcher;

    if (!(f->aux_ & CLOSED_HOLDS))
        return;
    wf_lock(&o->lock);
    watcher = o->watcher;
    o->watcher = NULL;
    wf_unlock(&o->lock);
    wf_wakeable_release(watcher);
    (void)closed_ready(f, -ECANCELED);
}

static const weft_future_type closed_type = {closed_poll, closed_drop, "oneshot_sender_closed"};

weft_future weft_oneshot_sender_closed_future(weft_oneshot_sender *tx)
{
    weft_future f = {.type = &closed_type};

    if (!tx)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_oneshot_sender_closed: tx is NULL"));
    f.words[CLOSED_CHANNEL] = (uintptr_t)wf_oneshot_of_tx(tx);
    return f;
}

int weft_oneshot_sender_closed(weft_oneshot_sender *tx)
{
    weft_future closed;
    struct wf_fiber *f;
    int rc;

    if (!tx)
        return wf_misuse(-EINVAL, "weft_oneshot_sender_closed: tx is NULL");
    rc = wf_await_enter(&f, "weft_oneshot_sender_closed");
    if (wf_unlikely(rc < 0))
        return rc;
    closed = weft_oneshot_sender_closed_future(tx);
    return (int)wf_await_future(f, &closed);
}

int weft_oneshot_sender_closed_blocking(weft_oneshot_sender *tx)
{
    weft_future closed;
    int rc;

    if (!tx)
        return wf_misuse(-EINVAL, "weft_oneshot_sender_closed_blocking: tx is NULL");
    rc = wf_thread_check_plain("weft_oneshot_sender_closed_blocking");
    if (wf_unlikely(rc < 0))
        return rc;
    closed = weft_oneshot_sender_closed_future(tx);
    return (int)wf_thread_await(&closed, WEFT_FOREVER);
}

/* --- what is so at this moment --------------------------------------------------------- */

/* acquire: ORDER (a) and (e); what the other end did before is seen by who asks */
static uint64_t info_word(const struct wf_oneshot *o)
{
    return wf_load_u64(&o->word, WF_ACQUIRE);
}

bool weft_oneshot_sender_is_closed(const weft_oneshot_sender *tx)
{
    return !tx || (info_word(wf_oneshot_of_tx(tx)) & WF_ONESHOT_SHUT) != 0;
}

static bool info_has_value(const struct wf_oneshot *o, uint64_t word)
{
    return word & WF_ONESHOT_DONE && word & WF_ONESHOT_SENT && !o->taken;
}

bool weft_oneshot_receiver_is_empty(const weft_oneshot_receiver *rx)
{
    const struct wf_oneshot *o = wf_oneshot_of_rx(rx);

    return !o || !info_has_value(o, info_word(o));
}

bool weft_oneshot_receiver_is_terminated(const weft_oneshot_receiver *rx)
{
    const struct wf_oneshot *o = wf_oneshot_of_rx(rx);

    return !o || o->taken || wf_oneshot_is_void(info_word(o));
}

static int info_get(struct wf_oneshot *o, weft_channel_info *info, size_t size)
{
    uint64_t word = info_word(o);
    bool done = (word & WF_ONESHOT_DONE) != 0;
    bool sent = done && word & WF_ONESHOT_SENT, shut = (word & WF_ONESHOT_SHUT) != 0;
    weft_channel_info all = {
        .item_size = o->size,
        .capacity = 1,
        .depth = info_has_value(o, word),
        .depth_max = sent,
        .sent = sent,
        .received = o->taken,
        .senders = !done,
        .receivers = !(shut && word & WF_ONESHOT_GONE),
        .closed = done || shut,
    };

    if (o->named)
        memcpy(all.name, (char *)(o + 1) + wf_oneshot_tail(o->size), WF_ONESHOT_NAME);
    memcpy(info, &all, size < sizeof(all) ? size : sizeof(all));
    return 0;
}

int weft_oneshot_sender_get_info_sized(const weft_oneshot_sender *tx, weft_channel_info *info,
                                       size_t size)
{
    if (!tx || !info)
        return wf_misuse(-EINVAL, "weft_oneshot_sender_get_info: NULL");
    return info_get(wf_oneshot_of_tx(tx), info, size);
}

int(weft_oneshot_sender_get_info)(const weft_oneshot_sender *tx, weft_channel_info *info)
{
    return weft_oneshot_sender_get_info_sized(tx, info, sizeof(*info));
}

int weft_oneshot_receiver_get_info_sized(const weft_oneshot_receiver *rx, weft_channel_info *info,
                                         size_t size)
{
    if (!rx || !info)
        return wf_misuse(-EINVAL, "weft_oneshot_receiver_get_info: NULL");
    return info_get(wf_oneshot_of_rx(rx), info, size);
}

int(weft_oneshot_receiver_get_info)(const weft_oneshot_receiver *rx, weft_channel_info *info)
{
    return weft_oneshot_receiver_get_info_sized(rx, info, sizeof(*info));
}
