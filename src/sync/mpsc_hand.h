/* SPDX-License-Identifier: MIT */
/*
 * mpsc_hand.h - a fiber that waits in weft_recv holds out its hand, and the next value is laid into it.
 *
 * IDEA     To a fiber that waits, a slot is a detour: the value would go in and out again, and the slot back to the
 *          senders by a read-modify-write. So the fiber leaves in the channel, where a future leaves its waker, the
 *          place that its value is for. A send that finds one there copies the value to it, and neither tail
 *          nor head moves. Nor is a reference of the task taken: who takes the hand out notifies the task
 *          before the lock is given back.
 *          Only a fiber in its own call has one. A future may be dropped after it was given something, and could not
 *          put that back in front of what came later; a fiber looks into its hand before it goes away.
 * OWNS     The hand is on the stack of its fiber, but `out` need not be: whoever is told that the task has ended may
 *          free that. So if the task is abandoned (hold.h) the hand is taken back before, and what is in it is
 *          destroyed.
 * WHO      `out` and `given`: whoever finds the hand in tx.receiver, under the lock; then the fiber.
 * INVARIANTS
 *     H1   A hand is in tx.receiver only while its fiber is in wf_mpsc_hand_await. So its task lives, and so it does
 *          until who takes the hand out has unlocked: the fiber takes the lock, or has seen `given`. Who abandons the
 *          task takes the lock, too.
 *     H2   There is nothing to receive then (M5), so a value that is given overtakes none.
 * ORDER    The value is carried to the fiber by the wake (state.h). If that was another's, by `given`, which is the
 *          last that is touched of hand and task while the fiber may run: release, acquire in wf_mpsc_hand_await; or by
 *          the lock.
 * LOCKS    WF_RANK_SYNC, the channel's
 * TESTS    tests/model/test_mpsc_hand.c, tests/api/test_mpsc.c, tests/api/test_mpsc_left.c
 */
#ifndef WF_SYNC_MPSC_HAND_H
#define WF_SYNC_MPSC_HAND_H

#include "base/atomic.h"
#include "task/hold.h"

#include <weft/future.h>

struct wf_mpsc;

struct wf_mpsc_hand {
    struct wf_hold hold; /* first: see leave.h; it names the task, set once */
    /* set once */
    struct wf_mpsc *channel;
    void *out; /* of the size of a value */
    struct wf_atomic_u32 given;
};

/* What is in tx.receiver: a pointer to a hand is an odd number, one to a waker is even. */
WF_INLINE bool wf_mpsc_is_hand(const void *receiver)
{
    return ((uintptr_t)receiver & 1) != 0;
}

WF_INLINE void *wf_mpsc_hand_mark(struct wf_mpsc_hand *h)
{
    return (char *)h + 1;
}

WF_INLINE struct wf_mpsc_hand *wf_mpsc_hand_of(void *receiver)
{
    return (struct wf_mpsc_hand *)(void *)((char *)receiver - 1);
}

/* The receiver has been entered, and there was nothing a moment ago: wait for a value. 1: it is in out. 0: there will
 * be none. -EAGAIN: there is one in the queue. -ESHUTDOWN: the handle was closed meanwhile. -ECANCELED, -ETIMEDOUT. */
WF_SUSPENDS int wf_mpsc_hand_await(struct wf_fiber *f, struct wf_mpsc *c, void *out);

/* Under the lock, which it gives back: lay a value into the hand in tx.receiver, and wake its fiber. */
void wf_mpsc_hand_fill_and_unlock(struct wf_mpsc *c, const void *msg);

/* Under the lock: the hand is taken out, and gets nothing. Whom to wake, a reference. */
weft_wakeable *wf_mpsc_hand_waker(struct wf_mpsc_hand *h);

#endif
