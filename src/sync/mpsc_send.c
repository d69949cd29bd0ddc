/* SPDX-License-Identifier: MIT */
/*
 * mpsc_send.c - putting values into a channel, and waiting for room.
 *
 * IDEA     Below `look` a send is a copy under the lock (mpsc.h). Else it looks at everything once and sets look
 *          anew. A sender that waits is given room, not relieved of its value: what it reserved is used when it is
 *          polled, and handed on when it is dropped instead.
 * WHO      Any thread.
 */
#include "sync/mpsc_room.h"

#include "base/clock.h"
#include "base/log.h"
#include "task/thread_wait.h"

#include <errno.h>

static uint64_t send_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Under the lock: how far from here may a send go? */
WF_INLINE void send_look_on(struct weft_sender *tx, uint64_t head)
{
    tx->look = send_min(head + tx->span, tx->in_max);
}

/* Under the lock, when a call is about to give it back. */
static void send_check_invariants(const struct wf_mpsc *c)
{
#if WF_DEBUG
    /* relaxed: the bit is set and cleared under the lock */
    uint64_t head = wf_load_u64(&c->rx.head, WF_RELAXED);

    /* M1 */
    if (c->rx.bounded)
        wf_assert(wf_mpsc_tail(c) + c->reserved <= wf_mpsc_head(c) + c->capacity);
    else
        wf_assert(wf_mpsc_tail(c) + c->reserved <= c->stored);
    wf_assert(((head & WF_MPSC_WAITING) != 0) == !wf_waitq_empty(&c->room)); /* M3 */
#else
    (void)c;
#endif
}

void wf_mpsc_set_look(struct wf_mpsc *c, uint64_t head)
{
    /* depth_max: each step up is looked at, or one in 64 */
    uint64_t span = c->depth_max + c->depth_max / 64;

    span = send_min(span, (c->rx.bounded ? c->capacity : c->max_items) - c->reserved);
    if (!c->warned)
        span = send_min(span, c->warn_at - 1);
    if (c->shut || !wf_waitq_empty(&c->room))
        span = 0;
    c->tx.span = span;
    c->tx.in_max = c->rx.bounded ? c->in_end : send_min(c->in_end, c->stored - c->reserved);
    send_look_on(&c->tx, head);
    send_check_invariants(c);
}

/* Fill the slot of tail, which is below in_max. Returns whom to wake. */
WF_INLINE weft_wakeable *send_fill(struct wf_mpsc *c, const void *msg, uint64_t tail)
{
    size_t size = c->tx.item_size;
    char *in = c->tx.in;

    wf_value_copy(in, msg, size);
    c->tx.in = in + size;
    /* release: pairs with recv_refill, ORDER (a) */
    wf_store_u64(&c->tx.tail, tail + 1, WF_RELEASE);
    return wf_mpsc_take_receiver(c);
}

/* Under the lock: tail is where its block ends. */
WF_INLINE void send_next_block(struct wf_mpsc *c)
{
    c->in_block = c->in_block->next;
    c->tx.in = wf_mpsc_slots(c->in_block);
    c->in_end += c->in_block->count;
}

void wf_mpsc_append(struct wf_mpsc *c, const void *msg, uint64_t head, struct wf_mpsc_after *after)
{
    uint64_t tail = wf_mpsc_tail(c), depth = tail + 1 - head;

    if (tail == c->in_end)
        send_next_block(c);
    after->wake = send_fill(c, msg, tail);
    if (depth > c->depth_max)
        c->depth_max = depth;
    if (wf_unlikely(depth >= c->warn_at) && !c->warned) {
        c->warned = true;
        after->warn = depth;
    }
    wf_mpsc_set_look(c, head);
}

void wf_mpsc_after(const struct wf_mpsc *c, struct wf_mpsc_after *after)
{
    if (wf_unlikely(after->warn))
        wf_log("channel \"%s\": %llu values are queued", c->name, (unsigned long long)after->warn);
    wf_wakeable_wake(after->wake);
}

int wf_mpsc_room(struct wf_mpsc *c, uint64_t n, uint64_t head)
{
    uint64_t wanted = wf_mpsc_tail(c) + c->reserved + n;

    if (c->shut)
        return -EPIPE;
    if (wf_unlikely(c->senders == 0))
        return -ESHUTDOWN;
    if (!wf_waitq_empty(&c->room))
        return -EAGAIN;
    if (c->rx.bounded)
        return wanted - head <= c->capacity ? 0 : -EAGAIN;
    if (wanted - head > c->max_items)
        return -ENOBUFS;
    return wanted <= c->stored ? 0 : WF_MPSC_GROW;
}

int wf_mpsc_find_room(struct wf_mpsc *c, uint64_t n, uint64_t *head)
{
    int rc;

    while ((rc = wf_mpsc_room(c, n, *head = wf_mpsc_head(c))) == WF_MPSC_GROW) {
        rc = wf_mpsc_grow(c, n);
        if (rc < 0)
            break;
    }
    return rc;
}

/* Under the lock, which it gives back. */
WF_NOINLINE static int send_look_and_unlock(struct wf_mpsc *c, const void *msg)
{
    struct wf_mpsc_after after = {0};
    uint64_t head;
    int rc = wf_mpsc_find_room(c, 1, &head);

    if (rc == 0)
        wf_mpsc_append(c, msg, head, &after);
    wf_unlock(&c->tx.lock);
    wf_mpsc_after(c, &after);
    return rc;
}

/* Under the lock, tail being at look: is that only because head has not been looked at for a while? */
WF_INLINE bool send_look_again(struct wf_mpsc *c, uint64_t tail)
{
    if (c->tx.bounded && tail == c->tx.in_max) {
        send_next_block(c);
        c->tx.in_max = c->in_end;
    }
    send_look_on(&c->tx, wf_mpsc_head(c));
    return tail < c->tx.look;
}

WF_NOINLINE static int send_wake(weft_wakeable *target)
{
    wf_wakeable_wake(target);
    return 0;
}

/* 0, -EAGAIN, -EPIPE, -ENOMEM, -ENOBUFS */
WF_INLINE int send_now(weft_sender *tx, const void *msg)
{
    struct wf_mpsc *c = wf_mpsc_of_tx(tx);
    weft_wakeable *target;
    uint64_t tail;

    wf_lock(&tx->lock);
    tail = wf_mpsc_tail(c);
    if (wf_unlikely(tail >= tx->look) && !send_look_again(c, tail))
        return send_look_and_unlock(c, msg);
    /* relaxed: under the lock */
    if (wf_unlikely(wf_mpsc_is_hand(wf_load_ptr(&tx->receiver, WF_RELAXED)))) {
        wf_mpsc_hand_fill_and_unlock(c, msg);
        return 0;
    }
    target = send_fill(c, msg, tail);
    wf_unlock(&tx->lock);
    return target ? send_wake(target) : 0;
}

static int send_check(const weft_sender *tx, const void *msg, const char *call)
{
    if (wf_unlikely(!tx || (!msg && tx->item_size)))
        return wf_misuse(-EINVAL, "%s: %s is NULL", call, tx ? "msg" : "tx");
    return 0;
}

int weft_try_send(weft_sender *tx, const void *msg)
{
    int rc = send_check(tx, msg, "weft_try_send");

    return wf_unlikely(rc < 0) ? rc : send_now(tx, msg);
}

/* --- waiting for room ---------------------------------------------------------- */

/* What a poll has to do without the lock. */
struct room_todo {
    struct wf_mpsc_after after;
    weft_wakeable *old; /* to be released */
    bool last;          /* the memory is to be freed */
};

static struct wf_waiter *room_waiter(weft_future *f)
{
    return (struct wf_waiter *)(void *)&f->words[ROOM_WAITER];
}

_Static_assert(sizeof(struct wf_waiter) <= (ROOM_OUT - ROOM_WAITER) * sizeof(uintptr_t),
               "a waiter must fit");

static struct wf_mpsc *room_channel(const weft_future *f)
{
    return (struct wf_mpsc *)f->words[ROOM_CHANNEL]; /* NOLINT(performance-no-int-to-ptr) */
}

/* Under the lock: room for w->need is reserved, and this is what it was reserved for. */
static void room_use(struct wf_mpsc *c, weft_future *f, uint64_t head, struct room_todo *todo)
{
    void *out = (void *)f->words[ROOM_OUT]; /* NOLINT(performance-no-int-to-ptr) */
    struct wf_waiter *w = room_waiter(f);

    if (!(f->aux_ & ROOM_PERMIT)) {
        c->reserved--;
        wf_mpsc_append(c, out, head, &todo->after);
        return;
    }
    *(weft_permit *)out = wf_mpsc_permit(c, w->need, (f->aux_ & ROOM_OWNED) != 0);
}

/* Under the lock, when a future is ready or dropped: its waiting is over. True: its reference is to be put. */
static bool room_leave(struct wf_mpsc *c, weft_future *f)
{
    uint64_t ticks;

    if (!(f->aux_ & ROOM_HOLDS))
        return false;
    f->aux_ &= ~(uint32_t)ROOM_HOLDS;
    if (!f->words[ROOM_SINCE]) /* it gave way, and did not wait */
        return true;
    ticks = wf_ticks() - f->words[ROOM_SINCE];
    c->wait_ticks += ticks;
    if (ticks > c->wait_ticks_max)
        c->wait_ticks_max = ticks;
    return true;
}

/* Under the lock, with a reference to its waker: into the line, unless the receiver has made room at this very moment.
 * ORDER (c). */
static bool room_queue(struct wf_mpsc *c, weft_future *f, weft_wakeable *target, uint64_t *head)
{
    struct wf_waiter *w = room_waiter(f);

    if (wf_waitq_empty(&c->room)) {
        /* acquire: pairs with recv_publish, ORDER (b) */
        *head = wf_or_u64(&c->rx.head, WF_MPSC_WAITING, WF_ACQUIRE) / WF_MPSC_ONE;
        if (wf_mpsc_room(c, w->need, *head) == 0) {
            /* relaxed: M3, under the lock */
            wf_and_u64(&c->rx.head, ~(uint64_t)WF_MPSC_WAITING, WF_RELAXED);
            return false;
        }
    }
    wf_waitq_push(&c->room, w, target);
    c->tx.look = c->tx.span = 0;
    c->waits++;
    if (!(f->aux_ & ROOM_HOLDS)) {
        f->aux_ |= ROOM_HOLDS;
        c->refs++;
    }
    f->words[ROOM_SINCE] = wf_ticks();
    return true;
}

enum room_step { ROOM_STEP_READY, ROOM_STEP_PENDING, ROOM_STEP_BRING };

/* Under the lock, for one that is in the line. *bring: a reference to the waker, or NULL; NULL if it was taken. */
static enum room_step room_step_queued(struct wf_waiter *w, weft_wakeable *target,
                                       weft_wakeable **bring, struct room_todo *todo)
{
    if (wf_waiter_wakes(w, target))
        return ROOM_STEP_PENDING;
    if (!*bring)
        return ROOM_STEP_BRING;
    todo->old = wf_waiter_retarget(w, *bring);
    *bring = NULL;
    return ROOM_STEP_PENDING;
}

/* Under the lock, for one that has been given room. */
static void room_step_granted(struct wf_mpsc *c, weft_future *f, struct room_todo *todo)
{
    struct wf_waiter *w = room_waiter(f);

    w->state = WF_WAITER_IDLE;
    f->result = 0;
    if (c->gone && !(f->aux_ & ROOM_PERMIT)) {
        c->reserved -= w->need;
        f->result = -EPIPE;
    } else {
        room_use(c, f, wf_mpsc_head(c), todo);
    }
}

/* Under the lock. */
static enum room_step room_step(weft_future *f, weft_wakeable *target, weft_wakeable **bring,
                                struct room_todo *todo)
{
    struct wf_mpsc *c = room_channel(f);
    struct wf_waiter *w = room_waiter(f);
    uint64_t head;

    if (w->state == WF_WAITER_QUEUED)
        return room_step_queued(w, target, bring, todo);
    if (w->state == WF_WAITER_GRANTED) {
        room_step_granted(c, f, todo);
        todo->last = room_leave(c, f) && wf_mpsc_put_locked(c);
        return ROOM_STEP_READY;
    }
    f->result = wf_mpsc_find_room(c, w->need, &head);
    if (f->result == -EAGAIN) {
        if (!*bring)
            return ROOM_STEP_BRING;
        if (room_queue(c, f, *bring, &head)) {
            *bring = NULL;
            return ROOM_STEP_PENDING;
        }
        f->result = 0;
    }
    if (f->result == 0) {
        c->reserved += w->need;
        room_use(c, f, head, todo);
        wf_mpsc_set_look(c, head);
    }
    todo->last = room_leave(c, f) && wf_mpsc_put_locked(c);
    return ROOM_STEP_READY;
}

/* It comes back to the channel, whether a sender is left then or not. */
WF_COLD static weft_poll room_give_way(weft_future *f)
{
    struct wf_mpsc *c = room_channel(f);

    if (f->aux_ & ROOM_HOLDS)
        return WEFT_PENDING;
    f->aux_ |= ROOM_HOLDS;
    wf_lock(&c->tx.lock);
    c->refs++;
    wf_unlock(&c->tx.lock);
    return WEFT_PENDING;
}

static weft_poll room_poll(weft_future *f, weft_context *cx)
{
    struct wf_mpsc *c = room_channel(f);
    weft_wakeable *target = cx->waker_.target_, *bring = NULL;
    struct room_todo todo = {0};
    enum room_step step;

    if (wf_unlikely(!wf_coop_proceed(cx)))
        return room_give_way(f);
    if (f->aux_ & ROOM_TRIED)
        bring = wf_wakeable_retain(target);
    f->aux_ &= ~(uint32_t)ROOM_TRIED;
    for (;;) {
        wf_lock(&c->tx.lock);
        step = room_step(f, target, &bring, &todo);
        wf_unlock(&c->tx.lock);
        if (step != ROOM_STEP_BRING)
            break;
        bring = wf_wakeable_retain(target);
    }
    wf_mpsc_after(c, &todo.after);
    if (wf_unlikely(todo.last))
        wf_mpsc_free(c);
    wf_wakeable_release(bring);
    wf_wakeable_release(todo.old);
    if (step == ROOM_STEP_READY)
        return WEFT_READY;
    wf_coop_restore();
    return WEFT_PENDING;
}

static void room_drop(weft_future *f)
{
    struct wf_mpsc *c = room_channel(f);
    struct wf_waiter *w = room_waiter(f);
    weft_wakeable *old = NULL, *receiver = NULL;
    bool last;

    wf_debug_assert(f->aux_ & ROOM_HOLDS);
    wf_lock(&c->tx.lock);
    if (w->state == WF_WAITER_QUEUED)
        old = wf_waitq_take(&c->room, w, WF_WAITER_IDLE);
    if (w->state == WF_WAITER_GRANTED) {
        w->state = WF_WAITER_IDLE;
        c->reserved -= w->need;
        if (wf_mpsc_ended(c))
            receiver = wf_mpsc_take_receiver(c);
    }
    last = wf_mpsc_grant_and_unlock(c, receiver, room_leave(c, f));
    wf_wakeable_release(old);
    if (wf_unlikely(last))
        wf_mpsc_free(c);
}

static const weft_future_type room_send_type = {room_poll, room_drop, "send"};
static const weft_future_type room_reserve_type = {room_poll, room_drop, "reserve"};

weft_future wf_mpsc_room_future(weft_sender *tx, uint32_t n, uint32_t aux, void *out)
{
    weft_future f = {.type = aux & ROOM_PERMIT ? &room_reserve_type : &room_send_type, .aux_ = aux};

    f.words[ROOM_CHANNEL] = (uintptr_t)wf_mpsc_of_tx(tx);
    f.words[ROOM_OUT] = (uintptr_t)out;
    room_waiter(&f)->need = n;
    return f;
}

/* --- sending -------------------------------------------------------------------- */

weft_future weft_send_future(weft_sender *tx, const void *msg)
{
    int rc = send_check(tx, msg, "weft_send_future");

    return rc < 0 ? weft_ready_future(rc) : wf_mpsc_room_future(tx, 1, 0, wf_unconst(msg));
}

WF_NOINLINE static int send_wait(struct wf_fiber *f, weft_sender *tx, const void *msg)
{
    weft_future room = wf_mpsc_room_future(tx, 1, ROOM_TRIED, wf_unconst(msg));

    return (int)wf_await_future(f, &room);
}

int weft_send(weft_sender *tx, const void *msg)
{
    struct wf_fiber *f;
    int rc = send_check(tx, msg, "weft_send");

    if (wf_unlikely(rc < 0))
        return rc;
    rc = wf_await_enter_quick(&f, "weft_send");
    if (wf_unlikely(rc < 0))
        return rc;
    rc = send_now(tx, msg);
    return wf_likely(rc != -EAGAIN) ? rc : send_wait(f, tx, msg);
}

int weft_send_blocking(weft_sender *tx, const void *msg)
{
    weft_future room;
    int rc = send_check(tx, msg, "weft_send_blocking");

    if (wf_unlikely(rc < 0))
        return rc;
    rc = wf_thread_check_plain("weft_send_blocking");
    if (wf_unlikely(rc < 0))
        return rc;
    rc = send_now(tx, msg);
    if (rc != -EAGAIN)
        return rc;
    room = wf_mpsc_room_future(tx, 1, ROOM_TRIED, wf_unconst(msg));
    return (int)wf_thread_await(&room, WEFT_FOREVER);
}
