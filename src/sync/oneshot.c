/* SPDX-License-Identifier: MIT */
/*
 * oneshot.c - a channel for one value.
 *
 * IDEA     All is in one word, which holds the receiver's waker too, so that a send is one compare-and-swap: it
 *          publishes the value and takes out whom to wake. The receiver that finds the sender through needs
 *          no atomic operation at all. Memory comes from the slab of task headers, which is a pointer pop.
 * OWNS     The two ends own the memory together. Who is through first says so in the word and touches nothing any
 *          more; who finds the other through frees. Once a sender has waited for the receiver's end
 *          (WF_ONESHOT_WATCHED), who is through still has something to do after it has said so: then the
 *          last of `refs` frees. A receive future that is pending stands on the receiver's handle; if
 *          that is closed although, the end is the future's (WF_ONESHOT_ORPHANED).
 * WHO      The sending end by one at a time, but weft_oneshot_sender_closed, which may be pending when it is
 *          consumed. The receiving end by one call or future at a time; shutdown by anyone.
 *
 *     from            by                    to                     and then
 *     0, waker        send                  DONE|SENT              wake
 *     0, waker        sender_close          DONE                   wake
 *     SHUT            send (-EPIPE), close  DONE|SHUT              -
 *     SHUT|GONE       send (-EPIPE), close  DONE|SHUT|GONE         free
 *     0, waker        receiver_shutdown     SHUT                   wake
 *     0, SHUT         receiver_close        SHUT|GONE              -
 *     DONE, ...       receiver_close        (not written)          destroy what was not taken, free
 *     0, waker        recv_poll             waker
 *     waker           recv_drop             0
 *     any but DONE, SHUT   closed_poll      the same|WATCHED
 *
 * ORDER    (a)  send releases the value, the receiver's load acquires it.
 *          (b)  recv_register releases the waker, who takes it out of the word acquires it.
 *          (c)  who says that it is through releases all that it did, who frees has acquired it.
 *          (d)  WATCHED: the receiver sets SHUT before it takes the lock to look for a watcher, the sender looks for
 *               SHUT under the lock before it becomes one. One of the two finds the other.
 *          (e)  SHUT: whoever sets it releases what the receiver did before, who finds it on the sender's side acquires
 *               that.
 * LOCKS    WF_RANK_SYNC, for the watcher alone.
 * TESTS    tests/api/test_oneshot.c, tests/model/test_oneshot.c, tests/fault/test_channels.c,
 *          tests/stress/test_channels.c
 */
#include "sync/oneshot.h"

#include "base/log.h"
#include "base/sys.h"
#include "sync/value.h"
#include "task/await.h"
#include "task/current.h"
#include "task/thread_wait.h"

#include <errno.h>

/* --- making and freeing ---------------------------------------------------------- */

#define ONESHOT_SLAB_MAX 9216 /* the slab's largest slot */

static struct wf_oneshot *oneshot_alloc(size_t size)
{
    struct wf_thread *th;
    struct wf_oneshot *o;

    if (wf_unlikely(size > ONESHOT_SLAB_MAX)) {
        o = wf_sys_malloc(size);
        if (o)
            o->heap = true;
        return o;
    }
    th = wf_thread_self();
    o = wf_slab_alloc(th ? th->slab : NULL, size);
    if (o)
        o->heap = false;
    return o;
}

static void oneshot_free(struct wf_oneshot *o)
{
    struct wf_thread *th;

    if (wf_unlikely(o->heap)) {
        wf_sys_free(o);
        return;
    }
    th = wf_thread_self();
    wf_slab_free(th ? th->slab : NULL, o);
}

static char *oneshot_name(struct wf_oneshot *o)
{
    return (char *)(o + 1) + wf_oneshot_tail(o->size);
}

WF_INLINE int oneshot_open(weft_oneshot_sender **tx, weft_oneshot_receiver **rx, size_t item_size,
                           const weft_channel_options *options)
{
    bool named = options && options->name;
    struct wf_oneshot *o = oneshot_alloc(sizeof(*o) + wf_oneshot_tail(item_size) +
                                         (named ? WF_ONESHOT_NAME : 0));

    if (wf_unlikely(!o))
        return -ENOMEM;
    o->destroy = options ? options->destroy : NULL;
    o->size = (uint32_t)item_size;
    o->named = named;
    o->taken = false;
    o->watcher = NULL;
    wf_lock_init(&o->lock, WF_RANK_SYNC);
    /* relaxed, all of them: nobody else knows it yet; whoever hands an end to another thread carries it */
    wf_store_u64(&o->free, 0, WF_RELAXED);
    wf_store_u64(&o->word, 0, WF_RELAXED);
    wf_store_u32(&o->owner, WF_ONESHOT_FREE, WF_RELAXED);
    wf_store_u32(&o->refs, 2, WF_RELAXED);
    if (wf_unlikely(named)) {
        memset(oneshot_name(o), 0, WF_ONESHOT_NAME);
        memcpy(oneshot_name(o), options->name, strnlen(options->name, WF_ONESHOT_NAME - 1));
    }
    *tx = (weft_oneshot_sender *)(void *)o;
    *rx = (weft_oneshot_receiver *)(void *)o;
    return 0;
}

static int oneshot_check(weft_oneshot_sender **tx, weft_oneshot_receiver **rx, size_t item_size)
{
    if (wf_unlikely(!tx || !rx))
        return wf_misuse(-EINVAL, "weft_oneshot_new: no place for the ends");
    if (wf_unlikely(item_size > UINT32_MAX))
        return wf_misuse(-EINVAL, "weft_oneshot_new: a value of %zu bytes", item_size);
    return 0;
}

int weft_oneshot_new_with(weft_oneshot_sender **tx, weft_oneshot_receiver **rx, size_t item_size,
                          const weft_channel_options *options)
{
    int rc = oneshot_check(tx, rx, item_size);

    if (rc < 0)
        return rc;
    if (options && (options->max_items || options->max_bytes || options->warn_at))
        return wf_misuse(-EINVAL, "weft_oneshot_new: options of a queue");
    return oneshot_open(tx, rx, item_size, options);
}

int weft_oneshot_new(weft_oneshot_sender **tx, weft_oneshot_receiver **rx, size_t item_size)
{
    int rc = oneshot_check(tx, rx, item_size);

    return wf_unlikely(rc < 0) ? rc : oneshot_open(tx, rx, item_size, NULL);
}

/* --- the word ---------------------------------------------------------------------- */

/* The receiver's waker, which is in it or not. */
static weft_wakeable *word_waker(uint64_t word)
{
    uint64_t above = word & ~(uint64_t)WF_ONESHOT_FLAGS;

    if (word & WF_ONESHOT_DONE || above == WF_ONESHOT_GONE)
        return NULL;
    return (weft_wakeable *)(uintptr_t)above; /* NOLINT(performance-no-int-to-ptr) */
}

static uint64_t word_flags(uint64_t word)
{
    return word & WF_ONESHOT_FLAGS;
}

void wf_oneshot_put(struct wf_oneshot *o)
{
    /* release, and acquire for the last one: ORDER (c), pairs with itself in other threads */
    if (wf_sub_u32(&o->refs, 1, WF_ACQ_REL) == 1)
        oneshot_free(o);
}

/* --- sending ------------------------------------------------------------------------ */

/* The sender is through without a value. word is as it was seen last. */
static void oneshot_sender_end(struct wf_oneshot *o, uint64_t word)
{
    uint64_t kept;

    do {
        kept = word & (WF_ONESHOT_SHUT | WF_ONESHOT_WATCHED);
        if (word & WF_ONESHOT_SHUT)
            kept |= word & WF_ONESHOT_GONE;
        /* release: ORDER (c), pairs with oneshot_receiver_end and the receiver's load. acquire: the waker, ORDER (b),
         * or that the receiver is gone, ORDER (c) and (e) */
    } while (!wf_cas_weak_u64(&o->word, &word, kept | WF_ONESHOT_DONE, WF_ACQ_REL, WF_RELAXED));
    /* Without WATCHED nothing here is touched any more, unless the receiver is gone. */
    if (kept & WF_ONESHOT_WATCHED)
        wf_oneshot_put(o);
    else if (kept & WF_ONESHOT_GONE)
        oneshot_free(o);
    wf_wakeable_wake(word_waker(word));
}

int weft_oneshot_send(weft_oneshot_sender *tx, const void *value)
{
    struct wf_oneshot *o = wf_oneshot_of_tx(tx);
    weft_wakeable *target;
    uint64_t word;

    if (wf_unlikely(!o || (!value && o->size)))
        return wf_misuse(-EINVAL, "weft_oneshot_send: %s is NULL", o ? "value" : "tx");
    wf_value_copy(wf_oneshot_value(o), value, o->size);
    /* relaxed: only seeds the exchange */
    word = wf_load_u64(&o->word, WF_RELAXED);
    do {
        if (wf_unlikely(word & WF_ONESHOT_SHUT)) {
            oneshot_sender_end(o, word);
            return -EPIPE;
        }
        /* release: the value, ORDER (a). acquire: the waker, ORDER (b) */
    } while (!wf_cas_weak_u64(&o->word, &word,
                              (word & WF_ONESHOT_WATCHED) | WF_ONESHOT_DONE | WF_ONESHOT_SENT,
                              WF_ACQ_REL, WF_RELAXED));
    target = word_waker(word);
    if (wf_unlikely(word & WF_ONESHOT_WATCHED))
        wf_oneshot_put(o);
    if (target)
        wf_wakeable_wake(target);
    return 0;
}

void weft_oneshot_sender_close(weft_oneshot_sender *tx)
{
    struct wf_oneshot *o = wf_oneshot_of_tx(tx);

    if (o)
        /* relaxed: only seeds the exchange */
        oneshot_sender_end(o, wf_load_u64(&o->word, WF_RELAXED));
}

/* --- receiving ----------------------------------------------------------------------- */

/* Once nothing can change any more: 1 with the value, or 0. */
WF_INLINE int oneshot_take(struct wf_oneshot *o, uint64_t word, void *to)
{
    if (!(word & WF_ONESHOT_DONE) || !(word & WF_ONESHOT_SENT) || o->taken)
        return 0;
    o->taken = true;
    wf_value_copy(to, wf_oneshot_value(o), o->size);
    return 1;
}

/* The receiver is through. */
static void oneshot_receiver_end(struct wf_oneshot *o)
{
    /* acquire: the value, ORDER (a), and that the sender is through, ORDER (c) */
    uint64_t word = wf_load_u64(&o->word, WF_ACQUIRE), sent;

    do {
        if (word & WF_ONESHOT_DONE && !(word & WF_ONESHOT_WATCHED))
            break;
        sent = word & WF_ONESHOT_DONE ? word & WF_ONESHOT_SENT : 0;
        /* release: ORDER (c), pairs with oneshot_sender_end; and what the receiver did, ORDER (e). acquire when it
         * fails: as above */
    } while (!wf_cas_weak_u64(&o->word, &word,
                              word_flags(word) | sent | WF_ONESHOT_SHUT | WF_ONESHOT_GONE,
                              WF_RELEASE, WF_ACQUIRE));
    if (word & WF_ONESHOT_DONE && word & WF_ONESHOT_SENT && !o->taken && o->destroy)
        o->destroy(wf_oneshot_value(o));
    if (wf_unlikely(word & WF_ONESHOT_WATCHED)) {
        wf_oneshot_wake_watcher(o);
        wf_oneshot_put(o);
    } else if (word & WF_ONESHOT_DONE) {
        oneshot_free(o);
    }
}

/* Words of a future; its aux_. */
enum { RECV_CHANNEL, RECV_TARGET, RECV_OUT };

enum { RECV_WAITED = 1 }; /* it was pending: the receiving end is its own */

static weft_wakeable *recv_target(const weft_future *f)
{
    return (weft_wakeable *)f->words[RECV_TARGET]; /* NOLINT(performance-no-int-to-ptr) */
}

/* The receiver's waker out of the word, if it is still there: then it is to be released. */
static weft_wakeable *recv_unregister(weft_future *f)
{
    struct wf_oneshot *o = wf_oneshot_of(f);
    weft_wakeable *target = recv_target(f);
    /* relaxed: only seeds the exchange */
    uint64_t word = wf_load_u64(&o->word, WF_RELAXED);

    f->words[RECV_TARGET] = 0;
    do {
        if (!target || word_waker(word) != target)
            return NULL;
        /* relaxed: what is taken back is the caller's own */
    } while (!wf_cas_weak_u64(&o->word, &word, word_flags(word), WF_RELAXED, WF_RELAXED));
    return target;
}

static weft_poll recv_ready(weft_future *f, int result)
{
    /* Released by who took it out of the word. */
    f->words[RECV_TARGET] = 0;
    f->aux_ = 0;
    f->result = result;
    /* relaxed: the receiving end is handed on by its users */
    wf_store_u32(&wf_oneshot_of(f)->owner, WF_ONESHOT_FREE, WF_RELAXED);
    return WEFT_READY;
}

/* Put a waker into the word, if that has not changed. */
static bool recv_register(weft_future *f, uint64_t word, weft_wakeable *target)
{
    struct wf_oneshot *o = wf_oneshot_of(f);
    weft_wakeable *before = word_waker(word);

    if (before == target)
        return true;
    wf_wakeable_retain(target);
    /* release: the waker, ORDER (b), pairs with who takes it out */
    if (!wf_cas_u64(&o->word, &word, word_flags(word) | (uintptr_t)target, WF_RELEASE,
                    WF_RELAXED)) {
        wf_wakeable_release(target);
        return false;
    }
    f->words[RECV_TARGET] = (uintptr_t)target;
    wf_wakeable_release(before);
    return true;
}

/* The handle was closed meanwhile, and left the end to the future. */
WF_COLD static weft_poll recv_end_orphan(weft_future *f)
{
    f->aux_ = 0;
    f->result = -ESHUTDOWN;
    oneshot_receiver_end(wf_oneshot_of(f));
    return WEFT_READY;
}

/* A poll, whatever the budget. */
static weft_poll recv_attempt(weft_future *f, weft_context *cx)
{
    struct wf_oneshot *o = wf_oneshot_of(f);
    bool waited = (f->aux_ & RECV_WAITED) != 0;
    /* relaxed: changed by the receiving end only; a close that came in between has waked this future */
    uint32_t owner = wf_load_u32(&o->owner, WF_RELAXED);
    uint64_t word;

    if (wf_unlikely(owner != (waited ? WF_ONESHOT_PENDING : WF_ONESHOT_FREE))) {
        f->result = -EBUSY;
        return waited ? recv_end_orphan(f) : WEFT_READY;
    }
    do {
        /* acquire: the value, ORDER (a), pairs with weft_oneshot_send */
        word = wf_load_u64(&o->word, WF_ACQUIRE);
        if (word & (WF_ONESHOT_DONE | WF_ONESHOT_SHUT))
            return recv_ready(f, oneshot_take(o, word, (void *)f->words[RECV_OUT])); /* NOLINT */
    } while (!recv_register(f, word, cx->waker_.target_));
    f->aux_ |= RECV_WAITED;
    /* relaxed: as above */
    wf_store_u32(&o->owner, WF_ONESHOT_PENDING, WF_RELAXED);
    return WEFT_PENDING;
}

/* The receiving end is its own from here on, so that closing the handle leaves the end to it. */
WF_COLD static weft_poll recv_give_way(weft_future *f)
{
    struct wf_oneshot *o = wf_oneshot_of(f);

    if (f->aux_ & RECV_WAITED)
        return WEFT_PENDING;
    /* relaxed, both: as in recv_attempt */
    if (wf_load_u32(&o->owner, WF_RELAXED) != WF_ONESHOT_FREE) {
        f->result = -EBUSY;
        return WEFT_READY;
    }
    f->aux_ |= RECV_WAITED;
    wf_store_u32(&o->owner, WF_ONESHOT_PENDING, WF_RELAXED);
    return WEFT_PENDING;
}

static weft_poll recv_poll(weft_future *f, weft_context *cx)
{
    return wf_poll_attempt(f, cx, recv_attempt, recv_give_way);
}

static void recv_drop(weft_future *f)
{
    struct wf_oneshot *o = wf_oneshot_of(f);
    bool orphan;

    if (!(f->aux_ & RECV_WAITED))
        return;
    wf_wakeable_release(recv_unregister(f));
    /* relaxed: as in recv_attempt */
    orphan = wf_load_u32(&o->owner, WF_RELAXED) == WF_ONESHOT_ORPHANED;
    if (wf_unlikely(orphan))
        (void)recv_end_orphan(f);
    else
        wf_store_u32(&o->owner, WF_ONESHOT_FREE, WF_RELAXED);
    f->aux_ = 0;
}

static const weft_future_type recv_type = {recv_poll, recv_drop, "oneshot_recv"};

static weft_future recv_future(weft_oneshot_receiver *rx, void *value)
{
    weft_future f = {.type = &recv_type};

    f.words[RECV_CHANNEL] = (uintptr_t)wf_oneshot_of_rx(rx);
    f.words[RECV_OUT] = (uintptr_t)value;
    return f;
}

WF_INLINE int recv_check(const weft_oneshot_receiver *rx, const void *value, const char *call)
{
    if (wf_unlikely(!rx || (!value && wf_oneshot_of_rx(rx)->size)))
        return wf_misuse(-EINVAL, "%s: %s is NULL", call, rx ? "the place of the value" : "rx");
    return 0;
}

/* 1, 0, -EBUSY, -EAGAIN */
WF_INLINE int recv_now(weft_oneshot_receiver *rx, void *value)
{
    struct wf_oneshot *o = wf_oneshot_of_rx(rx);
    uint64_t word;

    /* relaxed: as in recv_attempt */
    if (wf_unlikely(wf_load_u32(&o->owner, WF_RELAXED) != WF_ONESHOT_FREE))
        return -EBUSY;
    /* acquire: the value, ORDER (a), pairs with weft_oneshot_send */
    word = wf_load_u64(&o->word, WF_ACQUIRE);
    if (word & (WF_ONESHOT_DONE | WF_ONESHOT_SHUT))
        return oneshot_take(o, word, value);
    return -EAGAIN;
}

WF_NOINLINE static int recv_wait(struct wf_fiber *f, weft_oneshot_receiver *rx, void *value)
{
    weft_future future = recv_future(rx, value);

    return (int)wf_await_attempts(f, &future, recv_attempt, recv_drop);
}

int weft_oneshot_recv(weft_oneshot_receiver *rx, void *value)
{
    struct wf_fiber *f;
    int rc = recv_check(rx, value, "weft_oneshot_recv");

    if (wf_unlikely(rc < 0))
        return rc;
    rc = wf_await_enter_quick(&f, "weft_oneshot_recv");
    if (wf_unlikely(rc < 0))
        return rc;
    rc = recv_now(rx, value);
    return wf_likely(rc != -EAGAIN) ? rc : recv_wait(f, rx, value);
}

int weft_oneshot_try_recv(weft_oneshot_receiver *rx, void *value)
{
    int rc = recv_check(rx, value, "weft_oneshot_try_recv");

    return wf_unlikely(rc < 0) ? rc : recv_now(rx, value);
}

int weft_oneshot_recv_blocking(weft_oneshot_receiver *rx, void *value)
{
    weft_future future;
    int rc = recv_check(rx, value, "weft_oneshot_recv_blocking");

    if (wf_unlikely(rc < 0))
        return rc;
    rc = wf_thread_check_plain("weft_oneshot_recv_blocking");
    if (wf_unlikely(rc < 0))
        return rc;
    future = recv_future(rx, value);
    return (int)wf_thread_await(&future, WEFT_FOREVER);
}

weft_future weft_oneshot_recv_future(weft_oneshot_receiver *rx, void *value)
{
    int rc = recv_check(rx, value, "weft_oneshot_recv_future");

    return rc < 0 ? weft_ready_future(rc) : recv_future(rx, value);
}

/* --- the receiver's end ---------------------------------------------------------------- */

/* What was not sent by now is not wanted. Returns whom to wake, who waited for it. */
static weft_wakeable *oneshot_shut(struct wf_oneshot *o)
{
    /* relaxed: only seeds the exchange */
    uint64_t word = wf_load_u64(&o->word, WF_RELAXED);

    do {
        if (word & (WF_ONESHOT_DONE | WF_ONESHOT_SHUT))
            return NULL;
        /* acquire: the waker, ORDER (b). release: what the receiver did, ORDER (e) */
    } while (!wf_cas_weak_u64(&o->word, &word, word_flags(word) | WF_ONESHOT_SHUT, WF_ACQ_REL,
                              WF_RELAXED));
    if (word & WF_ONESHOT_WATCHED)
        wf_oneshot_wake_watcher(o);
    return word_waker(word);
}

void weft_oneshot_receiver_shutdown(weft_oneshot_receiver *rx)
{
    if (rx)
        wf_wakeable_wake(oneshot_shut(wf_oneshot_of_rx(rx)));
    else
        (void)wf_misuse(0, "weft_oneshot_receiver_shutdown: rx is NULL");
}

/* The handle goes while a future is pending, which then has the end. It may be about to be polled, so leaving it the
 * end is the last that is done here. */
WF_COLD static void oneshot_orphan(struct wf_oneshot *o)
{
    weft_wakeable *target = oneshot_shut(o);

    (void)wf_misuse(0,
                    "weft_oneshot_receiver_close: the receiver was closed while a task receives");
    /* relaxed: the wake carries it, or the word if the sender is through already */
    if (wf_load_u32(&o->owner, WF_RELAXED) == WF_ONESHOT_PENDING)
        wf_store_u32(&o->owner, WF_ONESHOT_ORPHANED, WF_RELAXED);
    else
        oneshot_receiver_end(o);
    wf_wakeable_wake(target);
}

void weft_oneshot_receiver_close(weft_oneshot_receiver *rx)
{
    struct wf_oneshot *o = wf_oneshot_of_rx(rx);

    if (!o)
        return;
    /* relaxed: as in recv_attempt */
    if (wf_likely(wf_load_u32(&o->owner, WF_RELAXED) == WF_ONESHOT_FREE))
        oneshot_receiver_end(o);
    else
        oneshot_orphan(o);
}
