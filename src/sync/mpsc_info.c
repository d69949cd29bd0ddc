/* SPDX-License-Identifier: MIT */
/* mpsc_info.c - what a channel says of itself: each answer is of one moment, under its lock. */
#include "base/clock.h"
#include "base/log.h"
#include "sync/mpsc.h"

#include <errno.h>
#include <string.h>

static struct wf_mpsc *info_lock_tx(const weft_sender *tx)
{
    struct wf_mpsc *c = tx ? wf_mpsc_of_tx(tx) : NULL;

    if (c)
        wf_lock(&c->tx.lock);
    return c;
}

static struct wf_mpsc *info_lock_rx(const weft_receiver *rx)
{
    return rx ? info_lock_tx(&wf_mpsc_of_rx(rx)->tx) : NULL;
}

static struct wf_mpsc *info_lock_weak(const weft_weak_sender *weak)
{
    return weak ? info_lock_tx(&wf_mpsc_of_weak(weak)->tx) : NULL;
}

/* Under the lock. */
static uint64_t info_len(const struct wf_mpsc *c)
{
    return wf_mpsc_tail(c) - wf_mpsc_head(c);
}

bool weft_sender_is_closed(const weft_sender *tx)
{
    struct wf_mpsc *c = info_lock_tx(tx);
    bool closed;

    if (!c)
        return true;
    closed = c->shut;
    wf_unlock(&c->tx.lock);
    return closed;
}

bool weft_receiver_is_closed(const weft_receiver *rx)
{
    struct wf_mpsc *c = info_lock_rx(rx);
    bool closed;

    if (!c)
        return true;
    closed = c->shut || c->senders == 0;
    wf_unlock(&c->tx.lock);
    return closed;
}

size_t weft_receiver_len(const weft_receiver *rx)
{
    struct wf_mpsc *c = info_lock_rx(rx);
    uint64_t len;

    if (!c)
        return 0;
    len = info_len(c);
    wf_unlock(&c->tx.lock);
    return len;
}

bool weft_receiver_is_empty(const weft_receiver *rx)
{
    return weft_receiver_len(rx) == 0;
}

/* Gives the lock back. */
static size_t info_capacity(struct wf_mpsc *c)
{
    uint64_t room = SIZE_MAX;

    if (!c)
        return 0;
    if (!wf_waitq_empty(&c->room))
        room = 0;
    else if (c->rx.bounded)
        room = c->capacity - info_len(c) - c->reserved;
    wf_unlock(&c->tx.lock);
    return room;
}

size_t weft_sender_capacity(const weft_sender *tx)
{
    return info_capacity(info_lock_tx(tx));
}

size_t weft_receiver_capacity(const weft_receiver *rx)
{
    return info_capacity(info_lock_rx(rx));
}

size_t weft_sender_max_capacity(const weft_sender *tx)
{
    return tx ? wf_mpsc_of_tx(tx)->capacity : 0;
}

size_t weft_receiver_max_capacity(const weft_receiver *rx)
{
    return rx ? wf_mpsc_of_rx(rx)->capacity : 0;
}

bool weft_sender_same_channel(const weft_sender *a, const weft_sender *b)
{
    return a == b;
}

/* These give the lock back. */
static size_t info_strong(struct wf_mpsc *c)
{
    size_t n;

    if (!c)
        return 0;
    n = c->senders;
    wf_unlock(&c->tx.lock);
    return n;
}

static size_t info_weak(struct wf_mpsc *c)
{
    size_t n;

    if (!c)
        return 0;
    n = c->weak.count;
    wf_unlock(&c->tx.lock);
    return n;
}

size_t weft_sender_strong_count(const weft_sender *tx)
{
    return info_strong(info_lock_tx(tx));
}

size_t weft_sender_weak_count(const weft_sender *tx)
{
    return info_weak(info_lock_tx(tx));
}

size_t weft_weak_sender_strong_count(const weft_weak_sender *weak)
{
    return info_strong(info_lock_weak(weak));
}

size_t weft_weak_sender_weak_count(const weft_weak_sender *weak)
{
    return info_weak(info_lock_weak(weak));
}

size_t weft_receiver_strong_count(const weft_receiver *rx)
{
    return info_strong(info_lock_rx(rx));
}

size_t weft_receiver_weak_count(const weft_receiver *rx)
{
    return info_weak(info_lock_rx(rx));
}

/* Under the lock; times in ticks. */
static void info_fill(const struct wf_mpsc *c, weft_channel_info *info)
{
    uint64_t tail = wf_mpsc_tail(c), head = wf_mpsc_head(c);

    *info = (weft_channel_info){
        .item_size = c->tx.item_size,
        .capacity = c->capacity,
        .depth = tail - head,
        .depth_max = c->depth_max,
        .sent = tail + c->handed + c->swallowed,
        .received = head + c->handed - (c->dropped - c->swallowed),
        .dropped = c->dropped,
        .send_waits = c->waits,
        .send_wait_time = c->wait_ticks,
        .send_wait_time_max = c->wait_ticks_max,
        .senders = c->senders,
        .weak_senders = (unsigned)c->weak.count,
        .receivers = !c->gone,
        .closed = c->shut || c->senders == 0,
    };
    if (info->depth > info->depth_max)
        info->depth_max = info->depth;
    memcpy(info->name, c->name, sizeof(info->name));
}

static int info_get(struct wf_mpsc *c, weft_channel_info *info, size_t size)
{
    weft_channel_info all;

    info_fill(c, &all);
    wf_unlock(&c->tx.lock);
    wf_ticks_calibrate();
    all.send_wait_time = wf_ticks_to_ns(all.send_wait_time);
    all.send_wait_time_max = wf_ticks_to_ns(all.send_wait_time_max);
    memcpy(info, &all, size < sizeof(all) ? size : sizeof(all));
    return 0;
}

int weft_sender_get_info_sized(const weft_sender *tx, weft_channel_info *info, size_t size)
{
    if (!tx || !info)
        return wf_misuse(-EINVAL, "weft_sender_get_info: NULL");
    return info_get(info_lock_tx(tx), info, size);
}

int(weft_sender_get_info)(const weft_sender *tx, weft_channel_info *info)
{
    return weft_sender_get_info_sized(tx, info, sizeof(*info));
}

int weft_receiver_get_info_sized(const weft_receiver *rx, weft_channel_info *info, size_t size)
{
    if (!rx || !info)
        return wf_misuse(-EINVAL, "weft_receiver_get_info: NULL");
    return info_get(info_lock_rx(rx), info, size);
}

int(weft_receiver_get_info)(const weft_receiver *rx, weft_channel_info *info)
{
    return weft_receiver_get_info_sized(rx, info, sizeof(*info));
}
