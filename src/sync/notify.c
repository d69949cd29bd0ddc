/* SPDX-License-Identifier: MIT */
/*
 * notify.c - notifications: one permit, a line of waiters, and the turn.
 *
 * IDEA     notify_one gives something: the first in line is taken out and holds it, or the permit does. notify_waiters
 *          gives nothing; it begins a new turn. A future knows the turn in which it was made, so that it is over
 *          for it as soon as the turn is another, wherever it stands: not polled yet, in line, or taken out.
 * OWNS     A waiter that is GRANTED holds a notification and passes it on when it is dropped. One that is RELEASED, or
 *          whose turn is over, holds none.
 * WHO      Any thread.
 * INVARIANTS
 *     N1   While the permit is stored nobody is in line whose turn is not over.
 *     N2   The line is sorted by turn: who comes later has seen the lock, and with it the turn, later.
 * ORDER    The turn is written under the lock and also read without, when a future is made. If that sees the new turn,
 *          the future is too late for it, and must see what was written before: release in notify_turn,
 *          acquire in notify_now. Everything else is carried by the lock.
 * TESTS    tests/model/test_notify.c, tests/api/test_notify.c, tests/stress/test_notify.c
 */
#include "sync/notify.h"

#include "base/log.h"
#include "sync/wait.h"
#include "task/await.h"
#include "task/thread_wait.h"

#include <errno.h>

/* A weft_notify, from inside. */
struct notify {
    struct wf_lock lock;
    struct wf_waitq line;      /* under the lock */
    struct wf_atomic_u64 turn; /* changed under the lock */
    /* Changed under the lock, and glanced at without. */
    struct wf_atomic_u32 permit;
};

_Static_assert(sizeof(struct notify) <= sizeof(weft_notify), "weft_notify is too small");

enum { NOTIFY_FROM }; /* words: the turn in which the future was made */

/* In aux_: this poll takes a place, whatever the budget is; and with the second one it brings no waker. */
#define NOTIFY_PLACING 1u
#define NOTIFY_SILENT  2u

static struct notify *notify_of(weft_notify *n)
{
    return (struct notify *)(void *)n->words_;
}

static uint64_t notify_now(const struct notify *n)
{
    /* acquire: pairs with notify_turn; carries what the notifier did before, to who is too late for it */
    return wf_load_u64(&n->turn, WF_ACQUIRE);
}

/* Under the lock: begin a new turn. */
static uint64_t notify_turn(struct notify *n)
{
    /* relaxed: changed under the lock only */
    uint64_t turn = wf_load_u64(&n->turn, WF_RELAXED) + 1;

    /* release: pairs with notify_now */
    wf_store_u64(&n->turn, turn, WF_RELEASE);
    return turn;
}

/* Under the lock: is w's turn over? */
static bool notify_is_over(const struct notify *n, const struct wf_wait *w)
{
    /* relaxed: changed under the lock only */
    return wf_load_u64(&n->turn, WF_RELAXED) != w->words[NOTIFY_FROM];
}

/* Under the lock: who is to have a notification; NULL: nobody waits for one. */
static struct wf_waiter *notify_choose(const struct notify *n, uint32_t flags)
{
    struct wf_waiter *w = flags & WF_NOTIFY_LAST ? n->line.last : n->line.first;

    /* Those whose turn is over stand in front, N2, until a notify_waiters that is on its way has come to them. */
    while (w && notify_is_over(n, wf_container_of(w, struct wf_wait, waiter)))
        w = w->next;
    return w;
}

/* Give one notification, under the lock. Returns whom to wake. */
static weft_wakeable *notify_give(struct notify *n, uint32_t flags)
{
    struct wf_waiter *w = notify_choose(n, flags);

    if (w) {
        w->need = flags;
        return wf_waitq_take(&n->line, w, WF_WAITER_GRANTED);
    }
    if (!(flags & WF_NOTIFY_FORGET))
        /* relaxed: under the lock */
        wf_store_u32(&n->permit, 1, WF_RELAXED);
    return NULL;
}

void wf_notify_signal(weft_notify *notify, uint32_t flags)
{
    struct notify *n = notify_of(notify);
    weft_wakeable *target;

    wf_lock(&n->lock);
    target = notify_give(n, flags);
    wf_unlock(&n->lock);
    wf_wakeable_wake(target);
}

void weft_notify_one(weft_notify *n)
{
    if (n)
        wf_notify_signal(n, 0);
    else
        (void)wf_misuse(-EINVAL, "weft_notify_one: NULL");
}

void weft_notify_last(weft_notify *n)
{
    if (n)
        wf_notify_signal(n, WF_NOTIFY_LAST);
    else
        (void)wf_misuse(-EINVAL, "weft_notify_last: NULL");
}

void weft_notify_waiters(weft_notify *notify)
{
    struct notify *n;

    if (!notify) {
        (void)wf_misuse(-EINVAL, "weft_notify_waiters: NULL");
        return;
    }
    n = notify_of(notify);
    wf_lock(&n->lock);
    wf_waitq_open(&n->lock, &n->line, (uint32_t)notify_turn(n));
}

/* --- waiting --- */

/* Under the lock. */
static bool notified_look(struct wf_wait *w, ssize_t *result)
{
    struct notify *n = w->object;

    *result = 0;
    if (w->waiter.state == WF_WAITER_GRANTED || notify_is_over(n, w))
        return true;
    /* relaxed: under the lock. Who is in line need not ask, N1. */
    if (w->waiter.state == WF_WAITER_QUEUED || !wf_load_u32(&n->permit, WF_RELAXED))
        return false;
    wf_store_u32(&n->permit, 0, WF_RELAXED);
    return true;
}

static weft_poll notified_poll(weft_future *f, weft_context *cx)
{
    struct wf_wait *w = wf_wait_of(f);
    struct notify *n = w->object;
    weft_poll poll;

    if (f->aux_ & NOTIFY_PLACING)
        return wf_wait_poll(f, f->aux_ & NOTIFY_SILENT ? NULL : cx, &n->lock, &n->line,
                            notified_look);
    if (!wf_coop_proceed(cx))
        return WEFT_PENDING;
    poll = wf_wait_poll(f, cx, &n->lock, &n->line, notified_look);
    if (poll == WEFT_PENDING)
        wf_coop_restore();
    return poll;
}

static void notified_drop(weft_future *f)
{
    struct wf_wait *w = wf_wait_of(f);
    weft_wakeable *old = NULL, *next = NULL;
    struct notify *n = w->object;

    wf_lock(&n->lock);
    if (w->waiter.state == WF_WAITER_QUEUED)
        old = wf_waitq_take(&n->line, &w->waiter, WF_WAITER_IDLE);
    else if (w->waiter.state == WF_WAITER_GRANTED)
        next = notify_give(n, w->waiter.need);
    w->waiter.state = WF_WAITER_IDLE;
    wf_unlock(&n->lock);
    wf_wakeable_release(old);
    wf_wakeable_wake(next);
}

static const weft_future_type notified_type = {notified_poll, notified_drop, "notified"};

static weft_future notify_future(struct notify *n, uint64_t from)
{
    weft_future f = {.type = &notified_type};
    struct wf_wait *w = wf_wait_of(&f);

    w->object = n;
    w->words[NOTIFY_FROM] = from;
    w->waiter.need = (uint32_t)from;
    return f;
}

weft_future wf_notify_future(weft_notify *n)
{
    return notify_future(notify_of(n), notify_now(notify_of(n)));
}

weft_future weft_notify_wait_future(weft_notify *n)
{
    if (!n)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_notify_wait_future: NULL"));
    return wf_notify_future(n);
}

static weft_poll notified_place(weft_future *f, weft_context *cx, uint32_t how)
{
    weft_poll poll;

    f->aux_ |= how;
    poll = weft_future_poll(f, cx);
    f->aux_ &= ~how;
    return poll;
}

void wf_notify_place(weft_future *f, weft_context *cx)
{
    (void)notified_place(f, cx, NOTIFY_PLACING);
}

bool weft_notify_enable(weft_future *f)
{
    weft_context nobody = weft_context_of(NULL);

    if (!f || f->type != &notified_type) {
        (void)wf_misuse(-EINVAL, "weft_notify_enable: not a future of weft_notify_wait_future");
        return true;
    }
    return notified_place(f, &nobody, NOTIFY_PLACING | NOTIFY_SILENT) == WEFT_READY;
}

/* Is it there already? Only a glance, unless it looks so: the future's poll asks in earnest. */
static bool notify_try(struct notify *n, uint64_t from)
{
    struct wf_wait w = {.object = n, .words = {[NOTIFY_FROM] = from}};
    ssize_t result;
    bool ready;

    /* relaxed: what it finds is looked at again under the lock */
    if (!wf_load_u32(&n->permit, WF_RELAXED) && wf_load_u64(&n->turn, WF_RELAXED) == from)
        return false;
    wf_lock(&n->lock);
    ready = notified_look(&w, &result);
    wf_unlock(&n->lock);
    return ready;
}

int weft_notify_wait(weft_notify *notify)
{
    struct notify *n;
    weft_future future;
    struct wf_fiber *f;
    uint64_t from;
    int rc;

    if (wf_unlikely(!notify))
        return wf_misuse(-EINVAL, "weft_notify_wait: NULL");
    n = notify_of(notify);
    /* Asked first: the entry may let others run, and the wait has begun. */
    from = notify_now(n);
    rc = wf_await_enter(&f, "weft_notify_wait");
    if (wf_unlikely(rc < 0) || notify_try(n, from))
        return rc;
    future = notify_future(n, from);
    return (int)wf_await_future(f, &future);
}

int weft_notify_wait_blocking(weft_notify *n)
{
    weft_future future;
    int rc;

    if (!n)
        return wf_misuse(-EINVAL, "weft_notify_wait_blocking: NULL");
    future = wf_notify_future(n);
    rc = wf_thread_check_plain("weft_notify_wait_blocking");
    return rc < 0 ? rc : (int)wf_thread_await(&future, WEFT_FOREVER);
}
