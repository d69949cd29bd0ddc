/* SPDX-License-Identifier: MIT */
/*
 * overdue.h - locks that are held for too long while others wait, and what was handed to somebody who does not come.
 *
 * IDEA     Whoever waits in a straight line looks again each time that lock_held_limit of its runtime has passed; who
 *          unlocks looks, too. The time is that of the holder who holds it now, from when the first one waited; so a
 *          long line of short holders is no offence.
 *          What was handed to a waiter is out of everybody's reach until that is polled. A future that is kept pending
 *          while its task waits for something else never is, and all others wait for it (a "futurelock").
 * WHO      `since` is under the lock's lock. Without a limit in any runtime no clock is read.
 * TESTS    tests/api/test_lock_reports.c
 */
#ifndef WF_SYNC_OVERDUE_H
#define WF_SYNC_OVERDUE_H

#include "base/clock.h"
#include "sync/lock_report.h"

/* Now; 0 when no runtime wants to know. */
WF_INLINE uint64_t wf_overdue_now(void)
{
    /* relaxed: a setting */
    return wf_unlikely(wf_load_u32(&wf_lock_limits, WF_RELAXED)) ? wf_clock_now() : 0;
}

/* The limit of the runtime that it is a task of; WEFT_FOREVER: none. */
uint64_t wf_overdue_limit(const struct weft_task *t);

/* A holder's time begins. */
WF_INLINE void wf_overdue_begin(uint64_t *since)
{
    *since = wf_overdue_now() & ~UINT64_C(1);
}

/* Is it longer than the limit, and has nobody told of this holder? Then the caller does. */
WF_INLINE bool wf_overdue_is(uint64_t *since, uint64_t now, uint64_t limit)
{
    if (*since == 0 || (*since & 1) || now - *since < limit)
        return false;
    *since |= 1;
    return true;
}

/* What is told. All that is looked up under the lock is copied; tasks are retained. */
struct wf_overdue {
    const void *lock;
    const char *kind, *name;
    uint64_t age_ns;
    struct wf_someone holder; /* owner 0: nobody that is known, but readers */
    const char *held_at;      /* NULL: not known */
    const char *handed_at;    /* where somebody waits to whom it was handed; NULL: nobody */
    uint64_t handed_id;       /* the id of that task; 0: not known */
    struct wf_someone waiter; /* one of those */
    const char *waits_at;
    unsigned others; /* besides */
};

/* Under the lock: who waits, with the one given or the first one in the queue in front. */
void wf_overdue_note_waiters(struct wf_overdue *o, const struct wf_waitq *q,
                             struct wf_lock_wait *w);

/* Under the lock: w was handed it and has not come. */
void wf_overdue_note_handed(struct wf_overdue *o, struct wf_lock_wait *w);

/* Print, count, and give the references back. No lock is held. */
void wf_overdue_tell(const struct wf_overdue *o);

/* What a wait for this kind of lock does when the limit has passed: looks, and tells. */
typedef void wf_overdue_look(weft_future *f, uint64_t limit_ns);

/* Wait for the future, as wf_await_future, and look whenever the limit has passed. */
WF_SUSPENDS ssize_t wf_lock_await(struct wf_fiber *f, weft_future *future, wf_overdue_look *look);

#endif
