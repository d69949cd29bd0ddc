/* SPDX-License-Identifier: MIT */
/*
 * watch_wait.c - waiting for a watch channel's next version, or for one of which something holds.
 *
 * IDEA     Compare versions without the lock; then under it, and stand in line from that look on, with the
 *          version that one has looked at as the stamp.
 * ORDER    watch.h, ORDER (b). Who waits is told by the lock.
 */
#include "base/log.h"
#include "sync/watch.h"
#include "task/await.h"
#include "task/leave.h"
#include "task/thread_wait.h"

#include <errno.h>

enum {
    WAIT_CONDITION,
    WAIT_VERSION
}; /* words: and the last version that the condition was asked of */

_Static_assert(sizeof(uintptr_t) == sizeof(uint64_t), "a version must fit");

void wf_watch_shut(struct weft_watch_receiver *rx)
{
    struct wf_waitq *q = &rx->w->fan.waiting;
    weft_wakeable *target;
    struct wf_waiter *w;

    do {
        target = NULL;
        wf_lock(&rx->w->fan.lock);
        for (w = q->first; w && wf_container_of(w, struct wf_wait, waiter)->object != rx;)
            w = w->next;
        if (w)
            target = wf_waitq_take(q, w, WF_WAITER_RELEASED);
        wf_unlock(&rx->w->fan.lock);
        wf_wakeable_wake(target);
    } while (target);
}

/* Under the lock, where there is no other version than this one: is that final? Else it is to wait. */
static bool wait_is_over(struct wf_wait *w, uint64_t version, ssize_t *result)
{
    struct weft_watch_receiver *rx = w->object;

    *result = rx->shut ? -ESHUTDOWN : 0;
    if (rx->shut || rx->w->fan.senders == 0)
        return true;
    if (w->waiter.state == WF_WAITER_QUEUED)
        return false;
    w->waiter.need = (uint32_t)version;            /* F1 */
    rx->refs += w->waiter.state == WF_WAITER_IDLE; /* until wait_end */
    return false;
}

enum { WAIT_HOLDS = 1 }; /* aux_: it gave way before it stood in line, and holds the receiver */

/* It comes back to the receiver, whether the handle is open then or not. */
WF_COLD static weft_poll wait_give_way(weft_future *f)
{
    struct weft_watch_receiver *rx = wf_wait_of(f)->object;

    if (wf_wait_is_placed(f) || f->aux_ & WAIT_HOLDS)
        return WEFT_PENDING;
    f->aux_ |= WAIT_HOLDS;
    wf_lock(&rx->w->fan.lock);
    rx->refs++;
    wf_unlock(&rx->w->fan.lock);
    return WEFT_PENDING;
}

/* It does so: the handle may be closed, which only a look under the lock tells. */
static bool wait_holds(const weft_future *f)
{
    return wf_unlikely((f->aux_ & WAIT_HOLDS) != 0);
}

/* It has waited or given way, and is not in line any more. */
static void wait_end(weft_future *f)
{
    if (!wf_wait_is_placed(f) && !wait_holds(f))
        return;
    f->aux_ = 0;
    wf_watch_receiver_put(wf_wait_of(f)->object);
}

/* Without having been told. */
static void wait_leave(weft_future *f)
{
    struct wf_wait *w = wf_wait_of(f);
    struct weft_watch_receiver *rx = w->object;

    if (wf_wait_is_placed(f)) /* else it has not even looked */
        wf_wait_leave(w, &rx->w->fan.lock, &rx->w->fan.waiting);
    wait_end(f);
}

/* Ready with -EAGAIN, it comes back at once: it holds the receiver still, if it did. */
static weft_poll wait_poll(weft_future *f, const weft_context *cx, wf_wait_look *look)
{
    struct weft_watch_receiver *rx = wf_wait_of(f)->object;

    if (wf_wait_poll(f, cx, &rx->w->fan.lock, &rx->w->fan.waiting, look) == WEFT_PENDING) {
        if (wait_holds(f)) {
            /* In line it holds another one. */
            f->aux_ &= ~(uint32_t)WAIT_HOLDS;
            wf_watch_receiver_put(rx);
        }
        wf_coop_restore();
        return WEFT_PENDING;
    }
    if (f->result != -EAGAIN)
        wait_end(f);
    else if (wf_wait_is_placed(f))
        f->aux_ = WAIT_HOLDS;
    return WEFT_READY;
}

static weft_future wait_future(const weft_future_type *type, weft_watch_receiver *rx,
                               const weft_watch_condition *condition)
{
    weft_future f = {.type = type};
    struct wf_wait *w = wf_wait_of(&f);

    w->object = rx;
    w->words[WAIT_CONDITION] = (uintptr_t)condition;
    return f;
}

/* --- another version ---------------------------------------------------------- */

/* A version that it has not seen; thereby it has. */
static bool changed_mark(struct weft_watch_receiver *rx)
{
    uint64_t version = wf_watch_version(rx->w);

    if (!wf_watch_is_news(rx, version))
        return false;
    wf_watch_mark(rx, version);
    return true;
}

/* Under the lock. */
static bool changed_look(struct wf_wait *w, ssize_t *result)
{
    struct weft_watch_receiver *rx = w->object;

    if (rx->shut || !changed_mark(rx))
        return wait_is_over(w, wf_watch_version(rx->w), result);
    *result = 1;
    return true;
}

static weft_poll changed_poll(weft_future *f, weft_context *cx)
{
    if (wf_unlikely(!wf_coop_proceed(cx)))
        return wait_give_way(f);
    if (wait_holds(f) || !changed_mark(wf_wait_of(f)->object))
        return wait_poll(f, cx, changed_look);
    f->result = 1;
    wait_leave(f);
    return WEFT_READY;
}

static const weft_future_type changed_type = {changed_poll, wait_leave, "watch"};

int weft_watch_changed(weft_watch_receiver *rx)
{
    struct wf_fiber *fiber;
    weft_future f;
    int rc;

    if (wf_unlikely(!rx))
        return wf_misuse(-EINVAL, "weft_watch_changed: NULL");
    rc = wf_await_enter(&fiber, "weft_watch_changed");
    if (wf_unlikely(rc < 0))
        return rc;
    if (changed_mark(rx))
        return 1;
    f = weft_watch_changed_future(rx);
    return (int)wf_await_future(fiber, &f);
}

int weft_watch_changed_blocking(weft_watch_receiver *rx)
{
    weft_future f;
    int rc;

    if (!rx)
        return wf_misuse(-EINVAL, "weft_watch_changed_blocking: NULL");
    rc = wf_thread_check_plain("weft_watch_changed_blocking");
    if (rc < 0)
        return rc;
    f = weft_watch_changed_future(rx);
    return (int)wf_thread_await(&f, WEFT_FOREVER);
}

weft_future weft_watch_changed_future(weft_watch_receiver *rx)
{
    if (!rx)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_watch_changed_future: NULL"));
    return wait_future(&changed_type, rx, NULL);
}

int weft_watch_has_changed(const weft_watch_receiver *rx)
{
    if (!rx)
        return wf_misuse(-EINVAL, "weft_watch_has_changed: NULL");
    if (wf_fanout_read(&rx->w->fan, &rx->w->fan.senders) == 0)
        return -EPIPE;
    return wf_watch_is_news(rx, wf_watch_version(rx->w));
}

void weft_watch_mark_changed(weft_watch_receiver *rx)
{
    if (rx)
        wf_watch_mark(rx, 0);
}

void weft_watch_mark_unchanged(weft_watch_receiver *rx)
{
    if (rx)
        wf_watch_mark(rx, wf_watch_version(rx->w));
}

/* --- a value of which something holds --------------------------------------------- */

static const weft_watch_condition *condition_of(const struct wf_wait *w)
{
    return (const weft_watch_condition *)w->words[WAIT_CONDITION]; /* NOLINT */
}

/* A fiber while it asks. */
struct condition_visit {
    struct wf_leave leave; /* first: see leave.h */
    weft_future *future;
    struct wf_cell *c;
};

static void condition_panicked(struct wf_leave *l)
{
    const struct condition_visit *v = wf_container_of(l, struct condition_visit, leave);

    wf_leave_remove(l);
    wf_watch_take_back(v->c);
    wait_leave(v->future);
}

/* Ask of the latest value. 1; 0: it does not hold; negative: it does, and the value could not be copied. */
static int condition_ask(weft_future *f)
{
    struct wf_wait *w = wf_wait_of(f);
    const weft_watch_condition *condition = condition_of(w);
    struct weft_watch_receiver *rx = w->object;
    struct wf_cell *c = wf_watch_lend(rx->w);
    struct condition_visit visit = {.future = f, .c = c};
    struct wf_fiber *fiber = wf_fiber_self();
    int rc;

    if (fiber)
        wf_leave_push(fiber, WF_LEAVE_FIRST, &visit.leave, condition_panicked);

    w->words[WAIT_VERSION] = wf_watch_cell_version(c);
    wf_watch_mark(rx, w->words[WAIT_VERSION]);
    rc = condition->holds(c->word, condition->arg);
    if (rc && condition->value) {
        int copied = wf_cell_copy(&rx->w->fan, condition->value, c);

        rc = copied < 0 ? copied : rc;
    }
    if (fiber)
        wf_leave_remove(&visit.leave);
    wf_watch_take_back(c);
    return rc;
}

/* Under the lock. -EAGAIN: there is another version to be asked of. */
static bool condition_look(struct wf_wait *w, ssize_t *result)
{
    const struct weft_watch_receiver *rx = w->object;

    if (rx->shut || wf_watch_version(rx->w) == w->words[WAIT_VERSION])
        return wait_is_over(w, w->words[WAIT_VERSION], result);
    *result = -EAGAIN;
    return true;
}

static weft_poll condition_poll(weft_future *f, weft_context *cx)
{
    struct wf_wait *w = wf_wait_of(f);
    const struct weft_watch_receiver *rx = w->object;
    bool shut = wait_holds(f); /* perhaps */

    do {
        if (wf_unlikely(!wf_coop_proceed(cx)))
            return wait_give_way(f);
        if (!shut && wf_watch_version(rx->w) != w->words[WAIT_VERSION]) {
            f->result = condition_ask(f);
            if (f->result != 0) {
                wait_leave(f);
                return WEFT_READY;
            }
        }
        shut = false; /* looked at */
        if (wait_poll(f, cx, condition_look) == WEFT_PENDING)
            return WEFT_PENDING;
    } while (f->result == -EAGAIN);
    return WEFT_READY;
}

static const weft_future_type condition_type = {condition_poll, wait_leave, "watch condition"};

weft_future weft_watch_wait_for_future(weft_watch_receiver *rx,
                                       const weft_watch_condition *condition)
{
    if (!rx || !condition || !condition->holds)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_watch_wait_for_future: NULL"));
    return wait_future(&condition_type, rx, condition);
}

int weft_watch_wait_for(weft_watch_receiver *rx, bool (*holds)(const void *value, void *arg),
                        void *arg, void *value)
{
    const weft_watch_condition condition = {.holds = holds, .arg = arg, .value = value};
    struct wf_fiber *fiber;
    weft_future f;
    int rc;

    if (!rx || !holds)
        return wf_misuse(-EINVAL, "weft_watch_wait_for: NULL");
    rc = wf_await_enter(&fiber, "weft_watch_wait_for");
    if (rc < 0)
        return rc;
    f = weft_watch_wait_for_future(rx, &condition);
    return (int)wf_await_future(fiber, &f);
}

int weft_watch_wait_for_blocking(weft_watch_receiver *rx,
                                 bool (*holds)(const void *value, void *arg), void *arg,
                                 void *value)
{
    const weft_watch_condition condition = {.holds = holds, .arg = arg, .value = value};
    weft_future f;
    int rc;

    if (!rx || !holds)
        return wf_misuse(-EINVAL, "weft_watch_wait_for_blocking: NULL");
    rc = wf_thread_check_plain("weft_watch_wait_for_blocking");
    if (rc < 0)
        return rc;
    f = weft_watch_wait_for_future(rx, &condition);
    return (int)wf_thread_await(&f, WEFT_FOREVER);
}
