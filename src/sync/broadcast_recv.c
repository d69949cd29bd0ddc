/* SPDX-License-Identifier: MIT */
/*
 * broadcast_recv.c - receiving from a broadcast channel.
 *
 * IDEA     Three steps, each only if the one before has not answered. Read the slot without the lock: that is all,
 *          while there are values. Look under the lock: is there one after all, was something missed, is
 *          the channel closed? Wait: stand in line, from the moment of that look.
 * ORDER    words.h for the value. Who waits is told by the lock.
 */
#include "base/log.h"
#include "base/sys.h"
#include "sync/broadcast.h"
#include "task/await.h"
#include "task/thread_wait.h"

#include <errno.h>

/* A receiver that never waits looks so often how far it is behind. */
#define RECV_LOOKS 64

/* --- the next value --------------------------------------------------------- */

/* Value number `next` is received. */
static void recv_advance(struct weft_broadcast_receiver *rx, uint64_t next)
{
    size_t index = rx->index + 1;

    /* relaxed: see wf_broadcast_next */
    wf_store_u64(&rx->next, next + 1, WF_RELAXED);
    rx->index = index < rx->capacity ? index : 0;
}

/* So many are before it, with the one that it has just read. relaxed: statistics */
static void recv_note(struct weft_broadcast_receiver *rx, uint64_t before)
{
    if (wf_load_u64(&rx->most, WF_RELAXED) < before)
        wf_store_u64(&rx->most, before, WF_RELAXED);
}

static void recv_note_now(struct weft_broadcast_receiver *rx)
{
    recv_note(rx, weft_broadcast_receiver_len(rx) + 1);
}

/* Without the lock. False: it is not there, or not any more; or values own something. */
static bool recv_read(struct weft_broadcast_receiver *rx, void *value)
{
    const struct wf_slot *s;
    uint64_t next, whole;

    if (rx->owns)
        return false;
    s = wf_broadcast_slot(rx->ring, rx->stride, rx->index);
    next = wf_broadcast_next(rx);
    whole = wf_words_whole(next + 1);
    if (wf_words_look(&s->sequence) != whole)
        return false;
    wf_words_load(value, s->word, rx->item_size);
    if (wf_unlikely(!wf_words_still(&s->sequence, whole)))
        return false;
    recv_advance(rx, next);
    if (wf_unlikely(next % RECV_LOOKS == 0))
        recv_note_now(rx);
    return true;
}

/* Under the lock: it has been overtaken. */
static int recv_skip(struct weft_broadcast_receiver *rx)
{
    uint64_t oldest = wf_broadcast_oldest(rx->b), missed = oldest - wf_broadcast_next(rx);

    /* relaxed: statistics, and its user's own */
    wf_store_u64(&rx->missed, missed, WF_RELAXED);
    wf_count_u64(&rx->missed_ever, missed);
    wf_store_u64(&rx->next, oldest, WF_RELAXED);
    rx->index = rx->b->index; /* the oldest is where the next one will be */
    return -EOVERFLOW;
}

/* Under the lock. 1, 0, -EOVERFLOW, -EBUSY, -ESHUTDOWN; -EAGAIN: nothing. With 1 and a cell the value is still to be
 * copied, see recv_copy. */
static int recv_find(struct weft_broadcast_receiver *rx, void *value, struct wf_cell **cell)
{
    struct weft_broadcast_sender *b = rx->b;
    uint64_t next = wf_broadcast_next(rx), before = wf_broadcast_tail(b) - next;

    if (wf_unlikely(rx->shut))
        return -ESHUTDOWN;
    if (wf_unlikely(rx->copying))
        return -EBUSY;
    if (before == 0)
        return b->fan.senders ? -EAGAIN : 0;
    recv_note(rx, before);
    if (before > b->capacity)
        return recv_skip(rx);
    if (rx->owns) {
        *cell = *wf_broadcast_cell(b, rx->index);
        wf_debug_assert(*cell != NULL); /* B1, B2 */
        (*cell)->users++;
        rx->copying = true;
        return 1;
    }
    /* Once more: if two have received at a time, which is a mistake, it may be another one's. */
    rx->index = (size_t)(next % rx->capacity);
    wf_words_load(value, wf_broadcast_slot(rx->ring, rx->stride, rx->index)->word, rx->item_size);
    recv_advance(rx, next);
    return 1;
}

/* The user's copy of a value that owns something. It is received when that has worked. */
static int recv_copy(struct weft_broadcast_receiver *rx, void *value, struct wf_cell *cell)
{
    struct weft_broadcast_sender *b = rx->b;
    struct wf_cell *ended = NULL;
    int rc = wf_cell_copy(&b->fan, value, cell);

    wf_lock(&b->fan.lock);
    rx->copying = false;
    if (rc >= 0 && !rx->shut) {
        if (*wf_broadcast_cell(b, rx->index) == cell) /* it may have been overwritten meanwhile */
            wf_broadcast_seen(b, rx->index, &ended);
        recv_advance(rx, wf_broadcast_next(rx));
    }
    wf_cell_put(&b->fan, cell, &ended);
    wf_unlock(&b->fan.lock);
    wf_cells_end(&b->fan, ended);
    return rc < 0 ? rc : 1;
}

/* Debug builds: one at a time. */
static bool recv_begin(struct weft_broadcast_receiver *rx)
{
#if WF_DEBUG
    /* acquire: pairs with the release in recv_end; two that take turns are in order */
    return !wf_swap_u32(&rx->inside, 1, WF_ACQUIRE);
#else
    (void)rx;
    return true;
#endif
}

static int recv_end(struct weft_broadcast_receiver *rx, int rc)
{
#if WF_DEBUG
    /* release: pairs with the acquire in recv_begin */
    wf_store_u32(&rx->inside, 0, WF_RELEASE);
#else
    (void)rx;
#endif
    return rc;
}

WF_COLD static int recv_crowded(void)
{
    return wf_misuse(-EBUSY, "weft_broadcast_recv: two at a time with one receiver");
}

/* --- waiting ---------------------------------------------------------------- */

enum {
    RECV_VALUE,
    RECV_CELL
}; /* words: where it goes to; the cell that it is still to be copied from */

/* Under the lock. */
static bool recv_look(struct wf_wait *w, ssize_t *result)
{
    struct weft_broadcast_receiver *rx = w->object;
    struct wf_cell *cell = NULL;

    *result = recv_find(rx, (void *)w->words[RECV_VALUE], &cell); /* NOLINT */
    w->words[RECV_CELL] = (uintptr_t)cell;
    if (*result == -EAGAIN && rx->waiter && rx->waiter != &w->waiter)
        *result = -EBUSY; /* B3 */
    if (*result != -EAGAIN) {
        if (rx->waiter == &w->waiter)
            rx->waiter = NULL;
        return true;
    }
    if (w->waiter.state == WF_WAITER_QUEUED)
        return false;
    w->waiter.need = (uint32_t)wf_broadcast_tail(rx->b); /* F1 */
    if (!rx->waiter) {
        rx->waiter = &w->waiter;
        rx->refs++;
    }
    return false;
}

enum { RECV_HOLDS = 1 }; /* aux_: it gave way before it stood in line, and holds the receiver */

/* It gave way before, and has come back. */
static void recv_release(weft_future *f)
{
    if (wf_likely(!(f->aux_ & RECV_HOLDS)))
        return;
    f->aux_ &= ~(uint32_t)RECV_HOLDS;
    wf_broadcast_receiver_put(wf_wait_of(f)->object);
}

/* It comes back to the receiver, whether the handle is open then or not. */
WF_COLD static weft_poll recv_give_way(weft_future *f)
{
    struct weft_broadcast_receiver *rx = wf_wait_of(f)->object;

    if (wf_wait_is_placed(f) || f->aux_ & RECV_HOLDS)
        return WEFT_PENDING;
    f->aux_ |= RECV_HOLDS;
    wf_lock(&rx->b->fan.lock);
    rx->refs++;
    wf_unlock(&rx->b->fan.lock);
    return WEFT_PENDING;
}

/* It does not wait any more, nor hold the receiver. */
static void recv_leave(weft_future *f)
{
    struct wf_wait *w = wf_wait_of(f);
    struct weft_broadcast_receiver *rx = w->object;
    weft_wakeable *target = NULL;

    if (!wf_wait_is_placed(f)) {
        recv_release(f);
        return;
    }
    wf_lock(&rx->b->fan.lock);
    rx->waiter = NULL;
    if (w->waiter.state == WF_WAITER_QUEUED)
        target = wf_waitq_take(&rx->b->fan.waiting, &w->waiter, WF_WAITER_IDLE);
    wf_unlock(&rx->b->fan.lock);
    wf_wakeable_release(target);
    wf_broadcast_receiver_put(rx);
}

/* Look, and wait if there is nothing. */
static weft_poll recv_wait(weft_future *f, const weft_context *cx)
{
    struct wf_wait *w = wf_wait_of(f);
    struct weft_broadcast_receiver *rx = w->object;
    void *value = (void *)w->words[RECV_VALUE]; /* NOLINT(performance-no-int-to-ptr) */
    struct wf_fanout *o = &rx->b->fan;

    if (wf_wait_poll(f, cx, &o->lock, &o->waiting, recv_look) == WEFT_PENDING) {
        (void)recv_end(rx, 0);
        recv_release(f); /* in line it holds another one */
        wf_coop_restore();
        return WEFT_PENDING;
    }
    if (w->words[RECV_CELL])
        f->result = recv_copy(rx, value, (struct wf_cell *)w->words[RECV_CELL]); /* NOLINT */
    (void)recv_end(rx, 0);
    if (wf_wait_is_placed(f))
        wf_broadcast_receiver_put(rx);
    else
        recv_release(f);
    return WEFT_READY;
}

static weft_poll recv_poll(weft_future *f, weft_context *cx)
{
    struct wf_wait *w = wf_wait_of(f);
    struct weft_broadcast_receiver *rx = w->object;

    if (wf_unlikely(!wf_coop_proceed(cx)))
        return recv_give_way(f);
    if (!recv_begin(rx)) {
        f->result = recv_crowded();
    } else if (wf_unlikely(f->aux_ & RECV_HOLDS) ||            /* the handle may be closed */
               !recv_read(rx, (void *)w->words[RECV_VALUE])) { /* NOLINT */
        return recv_wait(f, cx);
    } else {
        if (wf_wait_is_placed(f))
            recv_note_now(rx);
        f->result = recv_end(rx, 1);
    }
    recv_leave(f);
    return WEFT_READY;
}

static const weft_future_type recv_type = {recv_poll, recv_leave, "broadcast"};

static weft_future recv_future(weft_broadcast_receiver *rx, void *value)
{
    weft_future f = {.type = &recv_type};
    struct wf_wait *w = wf_wait_of(&f);

    w->object = rx;
    w->words[RECV_VALUE] = (uintptr_t)value;
    return f;
}

/* --- calls ------------------------------------------------------------------ */

static bool recv_is_sound(const weft_broadcast_receiver *rx, const void *value)
{
    return wf_likely(rx && (value || rx->item_size == 0));
}

WF_COLD static int recv_unsound(const char *call)
{
    return wf_misuse(-EINVAL, "%s: NULL", call);
}

/* Without waiting, and without the lock. 1, or -EAGAIN: perhaps. */
static int recv_at_once(weft_broadcast_receiver *rx, void *value)
{
    if (!recv_begin(rx))
        return recv_crowded();
    return recv_end(rx, recv_read(rx, value) ? 1 : -EAGAIN);
}

int weft_broadcast_recv(weft_broadcast_receiver *rx, void *value)
{
    struct wf_fiber *fiber;
    weft_future f;
    int rc;

    if (!recv_is_sound(rx, value))
        return recv_unsound("weft_broadcast_recv");
    rc = wf_await_enter(&fiber, "weft_broadcast_recv");
    if (wf_unlikely(rc < 0))
        return rc;
    rc = recv_at_once(rx, value);
    if (wf_likely(rc != -EAGAIN))
        return rc;
    f = recv_future(rx, value);
    return (int)wf_await_future(fiber, &f);
}

int weft_broadcast_try_recv(weft_broadcast_receiver *rx, void *value)
{
    struct wf_cell *cell = NULL;
    int rc;

    if (!recv_is_sound(rx, value))
        return recv_unsound("weft_broadcast_try_recv");
    if (!recv_begin(rx))
        return recv_crowded();
    if (recv_read(rx, value))
        return recv_end(rx, 1);
    wf_lock(&rx->b->fan.lock);
    rc = recv_find(rx, value, &cell);
    wf_unlock(&rx->b->fan.lock);
    return recv_end(rx, cell ? recv_copy(rx, value, cell) : rc);
}

int weft_broadcast_recv_blocking(weft_broadcast_receiver *rx, void *value)
{
    weft_future f;
    int rc;

    if (!recv_is_sound(rx, value))
        return recv_unsound("weft_broadcast_recv_blocking");
    rc = wf_thread_check_plain("weft_broadcast_recv_blocking");
    if (rc < 0)
        return rc;
    f = recv_future(rx, value);
    return (int)wf_thread_await(&f, WEFT_FOREVER);
}

weft_future weft_broadcast_recv_future(weft_broadcast_receiver *rx, void *value)
{
    if (!recv_is_sound(rx, value))
        return weft_ready_future(recv_unsound("weft_broadcast_recv_future"));
    return recv_future(rx, value);
}

uint64_t weft_broadcast_missed(const weft_broadcast_receiver *rx)
{
    /* relaxed: its user's own */
    return rx ? wf_load_u64(&rx->missed, WF_RELAXED) : 0;
}
