/* SPDX-License-Identifier: MIT */
/*
 * state.c - the transitions of a task's state word.
 *
 * IDEA     One word, changed by read-modify-write only, so that all changes have one order. Each
 *          function is one transition and says what its caller must do next.
 * OWNS     The life reference is held from spawn to completion, so a task in a queue or
 *          idle cannot go away. Handles, wakers and joiners hold one reference each. With a record that is told
 *          of the end (on_end.h) the life reference outlives the task, and is the record's then.
 *
 *     from                  event       to                         who must push
 *     idle                  notify      NOTIFIED                   the notifier
 *     RUNNING               notify      RUNNING|NOTIFIED           its runner, when the poll ends
 *     NOTIFIED, COMPLETE    notify      unchanged                  nobody
 *     any                   notify_put  as notify, one ref less    as notify
 *     NOTIFIED              start       RUNNING                    -
 *     NOTIFIED              claim       RUNNING                    -
 *     RUNNING               park        idle                       nobody
 *     RUNNING|NOTIFIED      park        NOTIFIED                   the runner
 *     RUNNING(|NOTIFIED)    yield       unchanged, queued          the runner
 *     RUNNING(|NOTIFIED)    resume      RUNNING                    -
 *     RUNNING(|NOTIFIED)    complete    COMPLETE, life ref gone    nobody
 *                                       or, with ON_END, handed on
 *     any but COMPLETE      cancel      as notify, and CANCELLED   as notify
 *     any but COMPLETE      interrupt   as notify, INTERRUPTED     as notify
 *     RUNNING(|NOTIFIED)    uninterrupt without INTERRUPTED        -
 *
 * ORDER    (a) notify releases, start and resume acquire: what the waker wrote is seen by the poll.
 *          (b) park releases, notify acquires (it takes over the link), start acquires: a task moves
 *              between workers with all that its last poll wrote.
 *          (c) complete releases, join's acquire load sees the result. complete acquires the
 *              joiner slot that wf_task_join_arm released. A record of on_end.h is there before the task is published.
 *          (d) release of references: each releases, the last acquires, then frees.
 */
#include "task/state.h"

#include "base/assert.h"
#include "task/on_end.h"
#include "task/waker.h"

bool wf_task_state_claim(struct weft_task *t)
{
    /* relaxed: only seeds the exchange */
    uint64_t old = wf_load_u64(&t->state, WF_RELAXED);

    do {
        if (!(old & WF_TASK_NOTIFIED) || (old & (WF_TASK_RUNNING | WF_TASK_COMPLETE)))
            return false;
        /* acquire: as wf_task_state_start */
    } while (!wf_cas_weak_u64(&t->state, &old, old + WF_TASK_RUNNING - WF_TASK_NOTIFIED, WF_ACQUIRE,
                              WF_RELAXED));
    return true;
}

bool wf_task_notify(struct weft_task *t)
{
    /* relaxed: only seeds the exchange */
    uint64_t old = wf_load_u64(&t->state, WF_RELAXED), new;

    do {
        wf_debug_assert(wf_task_refs(old) > 0);
        if (old & WF_TASK_COMPLETE)
            return false;
        new = old | WF_TASK_NOTIFIED;
        /* acq_rel even where new == old, for ORDER (a); acquire for (b) */
    } while (!wf_cas_weak_u64(&t->state, &old, new, WF_ACQ_REL, WF_RELAXED));
    return !(old & (WF_TASK_RUNNING | WF_TASK_NOTIFIED));
}

bool wf_task_notify_put(struct weft_task *t)
{
    /* relaxed: only seeds the exchange */
    uint64_t old = wf_load_u64(&t->state, WF_RELAXED), new;

    do {
        wf_debug_assert(wf_task_refs(old) > 0);
        new = old - WF_TASK_REF;
        if (!(old & WF_TASK_COMPLETE))
            new |= WF_TASK_NOTIFIED;
        /* acq_rel: as in wf_task_notify, and ORDER (d) for the reference */
    } while (!wf_cas_weak_u64(&t->state, &old, new, WF_ACQ_REL, WF_RELAXED));
    if (wf_unlikely(wf_task_refs(new) == 0))
        wf_task_destroy(t);
    return !(old & (WF_TASK_RUNNING | WF_TASK_NOTIFIED | WF_TASK_COMPLETE));
}

bool wf_task_state_cancel(struct weft_task *t)
{
    /* relaxed: only seeds the exchange */
    uint64_t old = wf_load_u64(&t->state, WF_RELAXED), new;

    do {
        if (old & (WF_TASK_COMPLETE | WF_TASK_CANCELLED))
            return false;
        new = old | WF_TASK_CANCELLED | WF_TASK_NOTIFIED;
        /* acq_rel: as in wf_task_notify */
    } while (!wf_cas_weak_u64(&t->state, &old, new, WF_ACQ_REL, WF_RELAXED));
    return !(old & (WF_TASK_RUNNING | WF_TASK_NOTIFIED));
}

bool wf_task_state_interrupt(struct weft_task *t)
{
    /* relaxed: only seeds the exchange */
    uint64_t old = wf_load_u64(&t->state, WF_RELAXED), new;

    do {
        if (old & WF_TASK_COMPLETE)
            return false;
        new = old | WF_TASK_INTERRUPTED | WF_TASK_NOTIFIED;
        /* acq_rel even where new == old, as in wf_task_notify: who takes it back sees what it was for, pairs with
         * wf_task_state_uninterrupt */
    } while (!wf_cas_weak_u64(&t->state, &old, new, WF_ACQ_REL, WF_RELAXED));
    return !(old & (WF_TASK_RUNNING | WF_TASK_NOTIFIED));
}

void wf_task_state_uninterrupt(struct weft_task *t)
{
    /* acquire: pairs with wf_task_state_interrupt; what it was interrupted for */
    (void)wf_and_u64(&t->state, ~WF_TASK_INTERRUPTED, WF_ACQUIRE);
}

uint64_t wf_task_state_start(struct weft_task *t)
{
    /* One add does it: NOTIFIED is set and RUNNING is not. acquire: pairs with wf_task_notify and
     * wf_task_state_park, ORDER (a) and (b). */
    uint64_t old = wf_add_u64(&t->state, WF_TASK_RUNNING - WF_TASK_NOTIFIED, WF_ACQUIRE);

    wf_assert((old & (WF_TASK_RUNNING | WF_TASK_NOTIFIED | WF_TASK_COMPLETE)) == WF_TASK_NOTIFIED);
    return old;
}

bool wf_task_state_park(struct weft_task *t)
{
    /* release: pairs with the acquires in wf_task_notify and wf_task_state_start, ORDER (b).
     * With NOTIFIED set this leaves NOTIFIED alone, which is the state of a queued task. */
    uint64_t old = wf_sub_u64(&t->state, WF_TASK_RUNNING, WF_ACQ_REL);

    wf_debug_assert(old & WF_TASK_RUNNING);
    return (old & WF_TASK_NOTIFIED) != 0;
}

void wf_task_state_resume(struct weft_task *t)
{
    /* relaxed: a wake that is missed here is met by one more poll */
    if (wf_load_u64(&t->state, WF_RELAXED) & WF_TASK_NOTIFIED)
        /* acquire: pairs with wf_task_notify, ORDER (a) */
        (void)wf_and_u64(&t->state, ~WF_TASK_NOTIFIED, WF_ACQUIRE);
}

void wf_task_state_complete(struct weft_task *t)
{
    /* relaxed: only seeds the exchange */
    uint64_t old = wf_load_u64(&t->state, WF_RELAXED), new;
    weft_wakeable *joiner;

    do {
        wf_debug_assert(old & WF_TASK_RUNNING);
        new = (old & ~(WF_TASK_RUNNING | WF_TASK_NOTIFIED)) | WF_TASK_COMPLETE;
        /* With a joiner the reference must last until its slot is read. */
        if (!(old & (WF_TASK_JOIN_WAKER | WF_TASK_ON_END)))
            new -= WF_TASK_REF;
        /* release: the result, for wf_task_is_complete's acquire. acquire: the joiner slot, from
         * wf_task_join_arm. ORDER (c), and (d) for the reference. */
    } while (!wf_cas_weak_u64(&t->state, &old, new, WF_ACQ_REL, WF_RELAXED));

    if (!(old & (WF_TASK_JOIN_WAKER | WF_TASK_ON_END))) {
        if (wf_task_refs(new) == 0)
            wf_task_destroy(t);
        return;
    }
    joiner = old & WF_TASK_JOIN_WAKER ? *wf_task_joiner(t) : NULL;
    if (old & WF_TASK_ON_END)
        t->on_end->ended(t->on_end);
    wf_wakeable_wake(joiner);
    if (!(old & WF_TASK_ON_END))
        wf_task_release(t);
}

void wf_task_retain(struct weft_task *t)
{
    /* relaxed: the caller holds a reference already */
    uint64_t old = wf_add_u64(&t->state, WF_TASK_REF, WF_RELAXED);

    wf_debug_assert(wf_task_refs(old) > 0);
    (void)old;
}

void wf_task_release(struct weft_task *t)
{
    /* acq_rel: ORDER (d), pairs with itself in other threads */
    uint64_t old = wf_sub_u64(&t->state, WF_TASK_REF, WF_ACQ_REL);

    wf_debug_assert(wf_task_refs(old) > 0);
    if (wf_task_refs(old) == 1)
        wf_task_destroy(t);
}

bool wf_task_try_retain(struct weft_task *t)
{
    /* relaxed: only seeds the exchange */
    uint64_t old = wf_load_u64(&t->state, WF_RELAXED);

    do {
        if (wf_task_refs(old) == 0)
            return false;
        /* acquire: pairs with the release store that publishes a new header in wf_task_publish */
    } while (!wf_cas_weak_u64(&t->state, &old, old + WF_TASK_REF, WF_ACQUIRE, WF_RELAXED));
    return true;
}

bool wf_task_join_claim(struct weft_task *t)
{
    /* acquire: pairs with the release in wf_task_join_disarm of an earlier claimant, for the slot */
    return !(wf_or_u64(&t->state, WF_TASK_JOIN_CLAIM, WF_ACQUIRE) & WF_TASK_JOIN_CLAIM);
}

bool wf_task_join_arm(struct weft_task *t)
{
    /* acquire, here and where the exchange fails: the result, when it is COMPLETE, ORDER (c) */
    uint64_t old = wf_load_u64(&t->state, WF_ACQUIRE);

    do {
        if (old & WF_TASK_COMPLETE)
            return false;
        /* release: the slot, for wf_task_state_complete, ORDER (c) */
    } while (!wf_cas_weak_u64(&t->state, &old, old | WF_TASK_JOIN_WAKER, WF_RELEASE, WF_ACQUIRE));
    return true;
}

bool wf_task_join_disarm(struct weft_task *t)
{
    /* acquire: as in wf_task_join_arm */
    uint64_t old = wf_load_u64(&t->state, WF_ACQUIRE), new;

    do {
        if (old & WF_TASK_COMPLETE)
            return false;
        new = old & ~(WF_TASK_JOIN_WAKER | WF_TASK_JOIN_CLAIM);
        /* release: pairs with the acquire in wf_task_join_claim of the next one */
    } while (!wf_cas_weak_u64(&t->state, &old, new, WF_RELEASE, WF_ACQUIRE));
    return true;
}

bool wf_task_state_unwatch(struct weft_task *t)
{
    /* relaxed: only seeds the exchange */
    uint64_t old = wf_load_u64(&t->state, WF_RELAXED), new;

    wf_debug_assert(old & WF_TASK_ON_END);
    do {
        if (old & WF_TASK_COMPLETE)
            return false;
        new = old & ~(WF_TASK_ON_END | WF_TASK_JOIN_CLAIM);
        /* release: the record, which is in memory of the task's; pairs with wf_task_state_complete, which gives that
         * up, and with the acquire in wf_task_join_claim */
    } while (!wf_cas_weak_u64(&t->state, &old, new, WF_RELEASE, WF_RELAXED));
    return true;
}
