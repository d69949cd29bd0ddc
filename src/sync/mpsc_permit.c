/* SPDX-License-Identifier: MIT */
/*
 * mpsc_permit.c - room in a channel that was reserved, and sending by it.
 *
 * IDEA     A permit is a number in the channel (`reserved`) and the same number in the user's hands. No slot is set
 *          aside: M1 says that there is one for each.
 * OWNS     Each permit that is not empty holds a reference to the channel, so that it may outlive the sender that it
 *          came from. An owned one counts as a sender besides.
 * WHO      Any thread; one permit by one at a time.
 */
#include "base/log.h"
#include "sync/mpsc_room.h"
#include "task/thread_wait.h"

#include <errno.h>

/* --- reserving ------------------------------------------------------------------ */

static int permit_check(const weft_sender *tx, size_t n, const weft_permit *p, const char *call)
{
    const struct wf_mpsc *c;

    if (wf_unlikely(!tx || !p))
        return wf_misuse(-EINVAL, "%s: %s is NULL", call, tx ? "the permit" : "tx");
    c = wf_mpsc_of_tx(tx);
    if (wf_unlikely(n > WEFT_MPSC_CAPACITY_MAX || (c->rx.bounded && n > c->capacity)))
        return wf_misuse(-EINVAL, "%s: %zu are more than the capacity", call, n);
    return 0;
}

weft_permit wf_mpsc_permit(struct wf_mpsc *c, size_t n, bool owned)
{
    c->refs++;
    if (owned)
        c->senders++;
    return (weft_permit){.channel_ = c, .count_ = n, .owned_ = owned};
}

/* 0, -EAGAIN, -EPIPE, -ENOMEM, -ENOBUFS */
static int permit_now(weft_sender *tx, size_t n, bool owned, weft_permit *p)
{
    struct wf_mpsc *c = wf_mpsc_of_tx(tx);
    uint64_t head;
    int rc;

    wf_lock(&tx->lock);
    rc = wf_mpsc_find_room(c, n, &head);
    if (rc == 0) {
        c->reserved += n;
        *p = wf_mpsc_permit(c, n, owned);
        wf_mpsc_set_look(c, head);
    }
    wf_unlock(&tx->lock);
    return rc;
}

static int permit_none(weft_permit *p)
{
    *p = (weft_permit){0};
    return 0;
}

static uint32_t permit_aux(bool owned)
{
    return owned ? ROOM_PERMIT | ROOM_OWNED : ROOM_PERMIT;
}

static int permit_await(weft_sender *tx, size_t n, bool owned, weft_permit *p, const char *call)
{
    struct wf_fiber *f;
    weft_future room;
    int rc = permit_check(tx, n, p, call);

    if (rc < 0)
        return rc;
    rc = wf_await_enter(&f, call);
    if (wf_unlikely(rc < 0))
        return rc;
    if (n == 0)
        return permit_none(p);
    rc = permit_now(tx, n, owned, p);
    if (rc != -EAGAIN)
        return rc;
    room = wf_mpsc_room_future(tx, (uint32_t)n, permit_aux(owned) | ROOM_TRIED, p);
    return (int)wf_await_future(f, &room);
}

static int permit_block(weft_sender *tx, size_t n, bool owned, weft_permit *p, const char *call)
{
    weft_future room;
    int rc = permit_check(tx, n, p, call);

    if (rc < 0)
        return rc;
    rc = wf_thread_check_plain(call);
    if (rc < 0)
        return rc;
    if (n == 0)
        return permit_none(p);
    rc = permit_now(tx, n, owned, p);
    if (rc != -EAGAIN)
        return rc;
    room = wf_mpsc_room_future(tx, (uint32_t)n, permit_aux(owned) | ROOM_TRIED, p);
    return (int)wf_thread_await(&room, WEFT_FOREVER);
}

static int permit_try(weft_sender *tx, size_t n, bool owned, weft_permit *p, const char *call)
{
    int rc = permit_check(tx, n, p, call);

    if (rc < 0)
        return rc;
    return n == 0 ? permit_none(p) : permit_now(tx, n, owned, p);
}

static weft_future permit_future(weft_sender *tx, size_t n, bool owned, weft_permit *p,
                                 const char *call)
{
    int rc = permit_check(tx, n, p, call);

    if (rc < 0)
        return weft_ready_future(rc);
    if (n == 0)
        return weft_ready_future(permit_none(p));
    return wf_mpsc_room_future(tx, (uint32_t)n, permit_aux(owned), p);
}

int weft_reserve(weft_sender *tx, weft_permit *p)
{
    return permit_await(tx, 1, false, p, "weft_reserve");
}

int weft_reserve_many(weft_sender *tx, size_t n, weft_permit *p)
{
    return permit_await(tx, n, false, p, "weft_reserve_many");
}

int weft_reserve_owned(weft_sender *tx, weft_permit *p)
{
    return permit_await(tx, 1, true, p, "weft_reserve_owned");
}

int weft_try_reserve(weft_sender *tx, weft_permit *p)
{
    return permit_try(tx, 1, false, p, "weft_try_reserve");
}

int weft_try_reserve_many(weft_sender *tx, size_t n, weft_permit *p)
{
    return permit_try(tx, n, false, p, "weft_try_reserve_many");
}

int weft_try_reserve_owned(weft_sender *tx, weft_permit *p)
{
    return permit_try(tx, 1, true, p, "weft_try_reserve_owned");
}

int weft_reserve_blocking(weft_sender *tx, weft_permit *p)
{
    return permit_block(tx, 1, false, p, "weft_reserve_blocking");
}

int weft_reserve_many_blocking(weft_sender *tx, size_t n, weft_permit *p)
{
    return permit_block(tx, n, false, p, "weft_reserve_many_blocking");
}

int weft_reserve_owned_blocking(weft_sender *tx, weft_permit *p)
{
    return permit_block(tx, 1, true, p, "weft_reserve_owned_blocking");
}

weft_future weft_reserve_future(weft_sender *tx, weft_permit *p)
{
    return permit_future(tx, 1, false, p, "weft_reserve_future");
}

weft_future weft_reserve_many_future(weft_sender *tx, size_t n, weft_permit *p)
{
    return permit_future(tx, n, false, p, "weft_reserve_many_future");
}

weft_future weft_reserve_owned_future(weft_sender *tx, weft_permit *p)
{
    return permit_future(tx, 1, true, p, "weft_reserve_owned_future");
}

/* --- using ---------------------------------------------------------------------- */

static struct wf_mpsc *permit_channel(const weft_permit *p)
{
    return p ? p->channel_ : NULL;
}

int weft_permit_send(weft_permit *p, const void *msg)
{
    struct wf_mpsc *c = permit_channel(p);
    struct wf_mpsc_after after = {0};
    bool gone;

    if (wf_unlikely(!c || p->count_ == 0))
        return wf_misuse(-EINVAL, "weft_permit_send: nothing is left of the permit");
    if (wf_unlikely(!msg && c->tx.item_size))
        return wf_misuse(-EINVAL, "weft_permit_send: msg is NULL");
    p->count_--;
    wf_lock(&c->tx.lock);
    c->reserved--;
    gone = c->gone;
    if (wf_likely(!gone)) {
        wf_mpsc_append(c, msg, wf_mpsc_head(c), &after);
    } else {
        c->dropped++;
        c->swallowed++;
    }
    wf_unlock(&c->tx.lock);
    wf_mpsc_after(c, &after);
    if (wf_unlikely(gone) && c->destroy)
        c->destroy(wf_unconst(msg));
    return 0;
}

size_t weft_permit_count(const weft_permit *p)
{
    return p && p->channel_ ? p->count_ : 0;
}

void weft_permit_release(weft_permit *p)
{
    struct wf_mpsc *c = permit_channel(p);
    bool last;

    if (!c)
        return;
    wf_lock(&c->tx.lock);
    c->reserved -= p->count_;
    last = wf_mpsc_leave_and_unlock(c, p->owned_);
    *p = (weft_permit){0};
    if (wf_unlikely(last))
        wf_mpsc_free(c);
}

bool weft_permit_same_channel(const weft_permit *p, const weft_sender *tx)
{
    return p && tx && p->channel_ == wf_mpsc_of_tx(tx);
}

bool weft_permit_same_channel_as_receiver(const weft_permit *p, const weft_receiver *rx)
{
    return p && rx && p->channel_ == wf_mpsc_of_rx(rx);
}

bool weft_permit_same_channel_as_weak_sender(const weft_permit *p, const weft_weak_sender *weak)
{
    return p && weak && p->channel_ == wf_mpsc_of_weak(weak);
}
