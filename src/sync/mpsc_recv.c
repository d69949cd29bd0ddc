/* SPDX-License-Identifier: MIT */
/*
 * mpsc_recv.c - taking values out of a channel, and waiting for them.
 *
 * IDEA     The receiver knows of a window of values that are there. It copies them out without looking at anything
 *          that senders write, and looks at tail again when the window is used up. Only when there is nothing it
 *          takes the lock, to leave its waker; a fiber in its own call leaves the place of its value (mpsc_hand.h).
 * OWNS     The fields of struct weft_receiver belong to who has entered (recv_enter), or to the future that is
 *          pending. A future keeps nothing that a sender would touch: the waker lies in the channel.
 * WHO      One call or future at a time; the others get -EBUSY.
 */
#include "base/log.h"
#include "base/sys.h"
#include "sync/mpsc.h"
#include "sync/value.h"
#include "task/await.h"
#include "task/thread_wait.h"

#include <errno.h>

/* --- taking --------------------------------------------------------------------- */

/* False: it is somebody else's. An exchange in debug builds alone: two calls in the same instant are a mistake that
 * should be found there, and are not worth 10 ns of each receive. All of it relaxed: whoever was here before has
 * handed the receiver to the caller, which carries what is in it. */
WF_INLINE bool recv_enter(struct weft_receiver *rx, uint32_t from)
{
#if WF_DEBUG
    return wf_cas_u32(&rx->owner, &from, WF_MPSC_INSIDE, WF_RELAXED, WF_RELAXED);
#else
    if (wf_unlikely(wf_load_u32(&rx->owner, WF_RELAXED) != from))
        return false;
    wf_store_u32(&rx->owner, WF_MPSC_INSIDE, WF_RELAXED);
    return true;
#endif
}

WF_INLINE void recv_leave(struct weft_receiver *rx, uint32_t to)
{
    /* relaxed: see recv_enter */
    wf_store_u32(&rx->owner, to, WF_RELAXED);
}

/* The block is used up, and there is another. */
WF_NOINLINE static void recv_next_block(struct weft_receiver *rx)
{
    struct wf_mpsc_block *old = rx->block;

    rx->block = old->next;
    rx->out = wf_mpsc_slots(rx->block);
    rx->out_end += rx->block->count;
    if (rx->block != old)
        wf_mpsc_block_recycle(wf_mpsc_of_rx(rx), old);
}

/* The window is used up. False: there is nothing. */
WF_INLINE bool recv_refill(struct weft_receiver *rx)
{
    /* acquire: pairs with send_fill, ORDER (a) */
    uint64_t tail = wf_load_u64(&wf_mpsc_of_rx(rx)->tx.tail, WF_ACQUIRE);

    if (tail == rx->pos)
        return false;
    if (rx->pos == rx->out_end)
        recv_next_block(rx);
    rx->window = tail < rx->out_end ? tail : rx->out_end;
    return true;
}

WF_INLINE size_t recv_min(uint64_t a, size_t b)
{
    return a < b ? a : b;
}

/* Up to n values. Nothing is given back to the senders yet. */
WF_INLINE size_t recv_copy(struct weft_receiver *rx, void *to, size_t n)
{
    size_t size = rx->item_size, got = 0, run;
    uint64_t pos = rx->pos;
    char *out;

    for (; got < n && (wf_likely(pos != rx->window) || recv_refill(rx)); got += run) {
        run = n == 1 ? 1 : recv_min(rx->window - pos, n - got);
        out = rx->out;
        wf_value_copy((char *)to + got * size, out, run * size);
        rx->out = out + run * size;
        rx->pos = pos += run;
    }
    return got;
}

WF_NOINLINE static void recv_grant(struct wf_mpsc *c)
{
    wf_lock(&c->tx.lock);
    (void)wf_mpsc_grant_and_unlock(c, NULL, false);
}

/* n slots may be filled again. The last access to the channel, unless senders wait. */
WF_INLINE void recv_publish(struct weft_receiver *rx, uint64_t n)
{
    if (rx->bounded) {
        /* release: pairs with wf_mpsc_head and room_queue, ORDER (b). The bit needs no order: who finds it takes the
         * lock. */
        uint64_t old = wf_add_u64(&rx->head, n * WF_MPSC_ONE, WF_RELEASE);

        if (wf_unlikely(old & WF_MPSC_WAITING))
            recv_grant(wf_mpsc_of_rx(rx));
        return;
    }
    /* relaxed: the receiver alone writes it, for nobody waits for room; slots come back with their block, under the
     * lock */
    wf_store_u64(&rx->head, wf_load_u64(&rx->head, WF_RELAXED) + n * WF_MPSC_ONE, WF_RELAXED);
}

/* What is there now: at least one, 0: nothing, -EBUSY. */
WF_INLINE ssize_t recv_now(struct weft_receiver *rx, void *to, size_t n)
{
    size_t got;

    if (wf_unlikely(!recv_enter(rx, WF_MPSC_FREE)))
        return -EBUSY;
    got = recv_copy(rx, to, n);
    recv_leave(rx, WF_MPSC_FREE);
    if (got)
        recv_publish(rx, got);
    return (ssize_t)got;
}

/* The same, and nothing is told from never again: 0 and -EAGAIN. */
static ssize_t recv_try(struct weft_receiver *rx, void *to, size_t n)
{
    struct wf_mpsc *c = wf_mpsc_of_rx(rx);
    bool ended = false, more;
    size_t got;

    if (!recv_enter(rx, WF_MPSC_FREE))
        return -EBUSY;
    do {
        got = recv_copy(rx, to, n);
        if (wf_likely(got))
            break;
        wf_lock(&c->tx.lock);
        ended = wf_mpsc_ended(c);
        more = wf_mpsc_tail(c) != rx->pos;
        wf_unlock(&c->tx.lock);
    } while (more);
    recv_leave(rx, WF_MPSC_FREE);
    if (wf_unlikely(!got))
        return ended ? 0 : -EAGAIN;
    recv_publish(rx, got);
    return (ssize_t)got;
}

/* --- waiting -------------------------------------------------------------------- */

/* Words of a future; its aux_. */
enum { RECV_RX, RECV_TARGET, RECV_OUT, RECV_COUNT };

enum {
    RECV_TRIED = 1, /* there was nothing a moment ago */
    RECV_WAITED = 2 /* it was pending: the receiver is its own */
};

static struct weft_receiver *recv_rx(const weft_future *f)
{
    return (struct weft_receiver *)f->words[RECV_RX]; /* NOLINT(performance-no-int-to-ptr) */
}

/* The handle was closed meanwhile, and left the rest to the future. */
WF_COLD static void recv_end_orphan(weft_future *f)
{
    f->aux_ = 0;
    f->result = -ESHUTDOWN;
    wf_mpsc_receiver_end(wf_mpsc_of_rx(recv_rx(f)));
}

/* It is ready; the receiver is free again. Its waker is not in the channel any more, or is about to be taken: who
 * puts a value, or ends the channel, takes it out under the same lock. */
static weft_poll recv_ready(weft_future *f, ssize_t result)
{
    f->result = result;
    f->words[RECV_TARGET] = 0;
    f->aux_ = 0;
    recv_leave(recv_rx(f), WF_MPSC_FREE);
    return WEFT_READY;
}

enum recv_step { RECV_STEP_AGAIN, RECV_STEP_PENDING, RECV_STEP_ENDED, RECV_STEP_BRING };

/* Under the lock, having entered: leave a waker, ORDER (d). *bring: a reference to it, or NULL; then what is to be
 * released. */
static enum recv_step recv_register(struct wf_mpsc *c, weft_future *f, weft_wakeable *target,
                                    weft_wakeable **bring)
{
    /* relaxed, here and below: under the lock */
    weft_wakeable *before = wf_load_ptr(&c->tx.receiver, WF_RELAXED);

    if (wf_mpsc_tail(c) != c->rx.pos)
        return RECV_STEP_AGAIN;
    if (wf_mpsc_ended(c)) {
        wf_debug_assert(!before);
        return RECV_STEP_ENDED;
    }
    if (before == target) /* woken in vain */
        return RECV_STEP_PENDING;
    if (!*bring)
        return RECV_STEP_BRING;
    wf_store_ptr(&c->tx.receiver, *bring, WF_RELAXED);
    f->words[RECV_TARGET] = (uintptr_t)target;
    *bring = before;
    return RECV_STEP_PENDING;
}

/* Having entered, and found nothing. */
static enum recv_step recv_wait(weft_future *f, weft_context *cx)
{
    struct wf_mpsc *c = wf_mpsc_of_rx(recv_rx(f));
    weft_wakeable *target = cx->waker_.target_, *bring = NULL;
    enum recv_step step;

    if (f->words[RECV_TARGET] != (uintptr_t)target)
        bring = wf_wakeable_retain(target);
    for (;;) {
        wf_lock(&c->tx.lock);
        step = recv_register(c, f, target, &bring);
        wf_unlock(&c->tx.lock);
        if (wf_likely(step != RECV_STEP_BRING))
            break;
        bring = wf_wakeable_retain(target);
    }
    wf_wakeable_release(bring);
    return step;
}

/* A poll, whatever the budget. */
static weft_poll recv_attempt(weft_future *f, weft_context *cx)
{
    struct weft_receiver *rx = recv_rx(f);
    enum recv_step step = RECV_STEP_AGAIN;
    size_t got = 0;

    if (!recv_enter(rx, f->aux_ & RECV_WAITED ? WF_MPSC_PENDING : WF_MPSC_FREE)) {
        f->result = -EBUSY;
        if (wf_unlikely(f->aux_ & RECV_WAITED))
            recv_end_orphan(f);
        return WEFT_READY;
    }
    while (step == RECV_STEP_AGAIN) {
        if (!(f->aux_ & RECV_TRIED))
            got = recv_copy(rx, (void *)f->words[RECV_OUT], f->words[RECV_COUNT]); /* NOLINT */
        f->aux_ &= ~(uint32_t)RECV_TRIED;
        if (got) {
            (void)recv_ready(f, (ssize_t)got);
            recv_publish(rx, got);
            return WEFT_READY;
        }
        step = recv_wait(f, cx);
    }
    if (step == RECV_STEP_ENDED)
        return recv_ready(f, 0);
    f->aux_ |= RECV_WAITED;
    recv_leave(rx, WF_MPSC_PENDING);
    return WEFT_PENDING;
}

/* The receiver is its own from here on, so that closing the handle leaves the rest to it. */
WF_COLD static weft_poll recv_give_way(weft_future *f)
{
    struct weft_receiver *rx = recv_rx(f);

    if (f->aux_ & RECV_WAITED)
        return WEFT_PENDING;
    if (!recv_enter(rx, WF_MPSC_FREE)) {
        f->result = -EBUSY;
        return WEFT_READY;
    }
    f->aux_ |= RECV_WAITED;
    recv_leave(rx, WF_MPSC_PENDING);
    return WEFT_PENDING;
}

static weft_poll recv_poll(weft_future *f, weft_context *cx)
{
    return wf_poll_attempt(f, cx, recv_attempt, recv_give_way);
}

static void recv_drop(weft_future *f)
{
    struct weft_receiver *rx = recv_rx(f);
    struct wf_mpsc *c = wf_mpsc_of_rx(rx);
    weft_wakeable *target;
    bool orphan;

    if (!(f->aux_ & RECV_WAITED))
        return;
    wf_lock(&c->tx.lock);
    target = wf_mpsc_take_receiver(c); /* NULL: somebody has taken it, and wakes it */
    orphan = wf_load_u32(&rx->owner, WF_RELAXED) == WF_MPSC_ORPHANED;
    if (!orphan)
        recv_leave(rx, WF_MPSC_FREE);
    wf_unlock(&c->tx.lock);
    wf_wakeable_release(target);
    if (wf_unlikely(orphan))
        recv_end_orphan(f);
    f->aux_ = 0;
}

static const weft_future_type recv_type = {recv_poll, recv_drop, "recv"};

static weft_future recv_future(weft_receiver *rx, void *to, size_t n, uint32_t aux)
{
    weft_future f = {.type = &recv_type, .aux_ = aux};

    f.words[RECV_RX] = (uintptr_t)rx;
    f.words[RECV_OUT] = (uintptr_t)to;
    f.words[RECV_COUNT] = n;
    return f;
}

/* In a fiber's own call: its value is laid into its hand. The receiver is its own until it has taken what else there
 * is, so that nobody takes that before. */
WF_NOINLINE static ssize_t recv_suspend(struct wf_fiber *f, weft_receiver *rx, char *to, size_t n)
{
    struct wf_mpsc *c = wf_mpsc_of_rx(rx);
    size_t got, more = 0;
    int rc;

    if (wf_unlikely(!recv_enter(rx, WF_MPSC_FREE)))
        return -EBUSY;
    rc = wf_mpsc_hand_await(f, c, to);
    /* relaxed: see recv_enter */
    if (wf_unlikely(wf_load_u32(&rx->owner, WF_RELAXED) == WF_MPSC_ORPHANED)) {
        wf_mpsc_receiver_end(c);
        return rc == 1 ? 1 : -ESHUTDOWN;
    }
    got = rc == 1;
    if (rc == -EAGAIN || (got && n > 1))
        more = recv_copy(rx, to + got * rx->item_size, n - got);
    recv_leave(rx, WF_MPSC_FREE);
    if (!more)
        return rc;
    recv_publish(rx, more);
    return (ssize_t)(got + more);
}

/* --- the calls ------------------------------------------------------------------- */

static int recv_check(const weft_receiver *rx, const void *to, size_t n, const char *call)
{
    if (wf_unlikely(!rx || (!to && n && rx->item_size)))
        return wf_misuse(-EINVAL, "%s: %s is NULL", call, rx ? "the place of the value" : "rx");
    return 0;
}

WF_INLINE ssize_t recv_await(weft_receiver *rx, void *to, size_t n, const char *call)
{
    struct wf_fiber *f;
    ssize_t rc = recv_check(rx, to, n, call);

    if (wf_unlikely(rc < 0))
        return rc;
    rc = wf_await_enter_quick(&f, call);
    if (wf_unlikely(rc < 0 || n == 0))
        return rc;
    rc = recv_now(rx, to, n);
    if (wf_likely(rc != 0))
        return rc;
    return recv_suspend(f, rx, to, n);
}

WF_INLINE ssize_t recv_block(weft_receiver *rx, void *to, size_t n, const char *call)
{
    weft_future value;
    ssize_t rc = recv_check(rx, to, n, call);

    if (wf_unlikely(rc < 0))
        return rc;
    rc = wf_thread_check_plain(call);
    if (wf_unlikely(rc < 0 || n == 0))
        return rc;
    rc = recv_now(rx, to, n);
    if (rc != 0)
        return rc;
    value = recv_future(rx, to, n, RECV_TRIED);
    return wf_thread_await(&value, WEFT_FOREVER);
}

int weft_recv(weft_receiver *rx, void *msg)
{
    return (int)recv_await(rx, msg, 1, "weft_recv");
}

ssize_t weft_recv_many(weft_receiver *rx, void *msgs, size_t n)
{
    return recv_await(rx, msgs, n, "weft_recv_many");
}

int weft_recv_blocking(weft_receiver *rx, void *msg)
{
    return (int)recv_block(rx, msg, 1, "weft_recv_blocking");
}

ssize_t weft_recv_many_blocking(weft_receiver *rx, void *msgs, size_t n)
{
    return recv_block(rx, msgs, n, "weft_recv_many_blocking");
}

int weft_try_recv(weft_receiver *rx, void *msg)
{
    int rc = recv_check(rx, msg, 1, "weft_try_recv");

    return wf_unlikely(rc < 0) ? rc : (int)recv_try(rx, msg, 1);
}

ssize_t weft_try_recv_many(weft_receiver *rx, void *msgs, size_t n)
{
    ssize_t rc = recv_check(rx, msgs, n, "weft_try_recv_many");

    return wf_unlikely(rc < 0 || n == 0) ? rc : recv_try(rx, msgs, n);
}

weft_future weft_recv_future(weft_receiver *rx, void *msg)
{
    int rc = recv_check(rx, msg, 1, "weft_recv_future");

    return rc < 0 ? weft_ready_future(rc) : recv_future(rx, msg, 1, 0);
}

weft_future weft_recv_many_future(weft_receiver *rx, void *msgs, size_t n)
{
    int rc = recv_check(rx, msgs, n, "weft_recv_many_future");

    return rc < 0 || n == 0 ? weft_ready_future(rc) : recv_future(rx, msgs, n, 0);
}

/* --- the end --------------------------------------------------------------------- */

/* Whether a destroyer is there or not, the values leave the queue. */
static uint64_t recv_destroy_all(struct wf_mpsc *c)
{
    struct weft_receiver *rx = &c->rx;
    uint64_t n = 0;

    for (; rx->pos != rx->window || recv_refill(rx); n++) {
        if (c->destroy)
            c->destroy(rx->out);
        rx->out += rx->item_size;
        rx->pos++;
    }
    return n;
}

void wf_mpsc_receiver_end(struct wf_mpsc *c)
{
    uint64_t n = recv_destroy_all(c);
    bool last;

    wf_lock(&c->tx.lock);
    /* relaxed: nobody will fill the slots again, nor is anybody waiting */
    wf_add_u64(&c->rx.head, n * WF_MPSC_ONE, WF_RELAXED);
    c->dropped += n;
    last = wf_mpsc_put_locked(c);
    wf_unlock(&c->tx.lock);
    if (last)
        wf_mpsc_free(c);
}
