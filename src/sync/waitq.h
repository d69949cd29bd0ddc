/* SPDX-License-Identifier: MIT */
/*
 * waitq.h - who waits for a channel, a lock or a set, first come, first served.
 *
 * IDEA     A waiter is a few words inside the future that waits, linked into the queue of the object under the object's
 *          lock. Whoever has something for it takes it out of the queue, says so in its state, and carries
 *          the wakeable away to be woken after unlocking. So waiting allocates nothing, and waking cannot fail.
 * OWNS     The queue owns one reference of the target of each waiter in it. A waiter that was taken out is the
 *          future's own again, and has no target.
 * WHO      Everything here under the lock of the object, but wf_wakes_all, which is called without it. Once the
 *          future's poll or drop has seen, under the lock, that it is not queued, nobody touches it any more.
 * INVARIANTS
 *     Q1   A waiter is in the queue exactly while its state is WF_WAITER_QUEUED. Zero is not queued.
 *     Q2   A zeroed queue is empty, so objects can be initialised with zeros.
 */
#ifndef WF_SYNC_WAITQ_H
#define WF_SYNC_WAITQ_H

#include "base/assert.h"
#include "base/lock.h"
#include "task/waker.h"

enum wf_waiter_state {
    WF_WAITER_IDLE,   /* not waiting */
    WF_WAITER_QUEUED, /* in the queue */
    WF_WAITER_GRANTED, /* taken out: it has been given what it waited for, and hands it on if it does not want it */
    WF_WAITER_RELEASED /* taken out together with all others: there is nothing to hand on */
};

struct wf_waiter {
    struct wf_waiter *next, *prev;
    weft_wakeable *target; /* while queued */
    uint32_t state;        /* enum wf_waiter_state */
    uint32_t need;         /* the object's own: how many it waits for, say */
};

struct wf_waitq {
    struct wf_waiter *first, *last;
};

WF_INLINE bool wf_waitq_empty(const struct wf_waitq *q)
{
    return q->first == NULL;
}

/* The links alone, for lists of waiters that are not in line any more. */
WF_INLINE void wf_waitq_append(struct wf_waitq *q, struct wf_waiter *w)
{
    w->next = NULL;
    w->prev = q->last;
    if (q->last)
        q->last->next = w;
    else
        q->first = w;
    q->last = w;
}

WF_INLINE void wf_waitq_unlink(struct wf_waitq *q, struct wf_waiter *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        q->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    else
        q->last = w->prev;
    w->next = w->prev = NULL;
}

/* At the end of the line; the reference of target goes to the queue. */
WF_INLINE void wf_waitq_push(struct wf_waitq *q, struct wf_waiter *w, weft_wakeable *target)
{
    wf_debug_assert(w->state != WF_WAITER_QUEUED);
    w->target = target;
    w->state = WF_WAITER_QUEUED;
    wf_waitq_append(q, w);
}

/* Out of the line, into the given state. The reference of its target goes to the caller. */
WF_INLINE weft_wakeable *wf_waitq_take(struct wf_waitq *q, struct wf_waiter *w,
                                       enum wf_waiter_state state)
{
    weft_wakeable *target = w->target;

    wf_debug_assert(w->state == WF_WAITER_QUEUED);
    wf_waitq_unlink(q, w);
    w->target = NULL;
    w->state = state;
    return target;
}

/*
 * A future that is queued is polled again, perhaps by another waker. Returns what the caller releases after
 * unlocking: the target from before; or the new one, of which it brings a reference, if nothing changes.
 */
WF_INLINE weft_wakeable *wf_waiter_retarget(struct wf_waiter *w, weft_wakeable *target)
{
    weft_wakeable *old = w->target;

    wf_debug_assert(w->state == WF_WAITER_QUEUED);
    w->target = target;
    return old;
}

/* Would a wake reach this target? Then no reference need be brought. */
WF_INLINE bool wf_waiter_wakes(const struct wf_waiter *w, const weft_wakeable *target)
{
    return w->target == target;
}

/* What is to be woken when the lock has been given back. A batch that is full is woken before more are taken. */
#ifndef WF_WAKES_MAX /* a test build has a smaller one */
# define WF_WAKES_MAX 32
#endif

struct wf_wakes {
    unsigned count;
    weft_wakeable *target[WF_WAKES_MAX]; /* the first `count`; one reference each */
};

WF_INLINE bool wf_wakes_full(const struct wf_wakes *k)
{
    return k->count == WF_WAKES_MAX;
}

WF_INLINE void wf_wakes_add(struct wf_wakes *k, weft_wakeable *target)
{
    wf_debug_assert(!wf_wakes_full(k));
    if (target)
        k->target[k->count++] = target;
}

/* Wake them in the order in which they were added, and give up the references. Not under a lock. */
WF_INLINE void wf_wakes_all(struct wf_wakes *k)
{
    for (unsigned i = 0; i < k->count; i++)
        wf_wakeable_wake(k->target[i]);
    k->count = 0;
}

#endif
