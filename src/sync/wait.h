/* SPDX-License-Identifier: MIT */
/*
 * wait.h - how a future waits in the queue of an object: the one poll that all of them share.
 *
 * IDEA     What differs between a notify, a barrier and a once is a question, asked under the object's lock: is
 *          what this waiter waits for there? Around it the steps are always the same: bring a reference of the
 *          waker, for none may be taken under a lock; ask; take a place in line, or stay in it by a new waker;
 *          unlock; give up what is left over.
 * OWNS     The words of the future hold a struct wf_wait. The object must be there until the future is ready or
 *          dropped: objects by value are the user's, those on the heap are counted by who waits.
 * WHO      The future's owner, from any thread. The waiter's state is written by others only while it is queued, under
 *          the lock.
 * TESTS    tests/model/test_notify.c and those of each object
 */
#ifndef WF_SYNC_WAIT_H
#define WF_SYNC_WAIT_H

#include "sync/waitq.h"

/* The words of a future that waits in a queue. */
struct wf_wait {
    void *object;
    struct wf_waiter waiter;
    uintptr_t words[2]; /* the object's own */
};

_Static_assert(sizeof(struct wf_wait) <= sizeof(((weft_future *)0)->words), "a wait must fit");

WF_INLINE struct wf_wait *wf_wait_of(weft_future *f)
{
    return (struct wf_wait *)(void *)f->words;
}

/* In aux_, which only the owner of the future reads. It has been in line, so that others may have changed its state;
 * and it has brought a waker there. */
#define WF_WAIT_PLACED 0x80000000u
#define WF_WAIT_WAKER  0x40000000u

WF_INLINE bool wf_wait_is_placed(const weft_future *f)
{
    return (f->aux_ & WF_WAIT_PLACED) != 0;
}

/*
 * The question. Under the lock: true, and *result is set, when it is over; what w waited for is its own then. A
 * waiter that is still queued may be told so, too: it is taken out afterwards. One that is idle and is told false is in
 * line before the lock is given up; it is asked no second time before that.
 */
typedef bool wf_wait_look(struct wf_wait *w, ssize_t *result);

/*
 * The poll of a future that waits in q, under l. cx NULL: take a place without a waker, or keep the one that is there.
 * Inline, with a `look` that is known, so that each object has one function with everything in it.
 */
WF_INLINE weft_poll wf_wait_poll(weft_future *f, const weft_context *cx, struct wf_lock *l,
                                 struct wf_waitq *q, wf_wait_look *look)
{
    weft_wakeable *mine = cx ? cx->waker_.target_ : NULL, *spare = NULL, *old = NULL;
    bool brought = !cx || !(f->aux_ & WF_WAIT_WAKER), ready;
    struct wf_wait *w = wf_wait_of(f);

    if (brought)
        spare = wf_wakeable_retain(mine);
    for (;;) {
        wf_lock(l);
        ready = look(w, &f->result);
        if (ready || brought)
            break;
        if (w->waiter.state == WF_WAITER_QUEUED && wf_waiter_wakes(&w->waiter, mine))
            break;
        wf_unlock(l);
        spare = wf_wakeable_retain(mine);
        brought = true;
    }
    if (w->waiter.state == WF_WAITER_QUEUED) {
        if (ready)
            old = wf_waitq_take(q, &w->waiter, WF_WAITER_IDLE);
        else if (spare)
            spare = wf_waiter_retarget(&w->waiter, spare);
    } else if (ready) {
        w->waiter.state = WF_WAITER_IDLE;
    } else {
        wf_waitq_push(q, &w->waiter, spare);
        spare = NULL;
    }
    wf_unlock(l);
    if (!ready)
        f->aux_ |= cx ? WF_WAIT_PLACED | WF_WAIT_WAKER : WF_WAIT_PLACED;
    wf_wakeable_release(old);
    wf_wakeable_release(spare);
    return ready ? WEFT_READY : WEFT_PENDING;
}

/* It waits no more: out of q, under l, if it stands there. Whatever it was given is the caller's to hand on. */
WF_INLINE void wf_wait_leave(struct wf_wait *w, struct wf_lock *l, struct wf_waitq *q)
{
    weft_wakeable *target = NULL;

    wf_lock(l);
    if (w->waiter.state == WF_WAITER_QUEUED)
        target = wf_waitq_take(q, &w->waiter, WF_WAITER_IDLE);
    wf_unlock(l);
    wf_wakeable_release(target);
}

/*
 * Wake all those at the head of the line that came before `turn` (their `need` says when), in their order. Called with
 * the lock held, returns without it. More than a batch are woken in several goes; who comes meanwhile stays.
 */
void wf_waitq_open(struct wf_lock *l, struct wf_waitq *q, uint32_t turn);

#endif
