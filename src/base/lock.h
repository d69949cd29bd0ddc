/* SPDX-License-Identifier: MIT */
/*
 * lock.h - the library's mutex: one word, taken by one atomic operation, given back by a plain store.
 *
 * IDEA     All critical sections are short. A waiter spins for a few microseconds, then sleeps in slices
 *          and looks again, so a preempted holder stalls nobody's processor. Nobody is woken: the unlock
 *          need not know whether anyone waits, and that saves an atomic operation (6 ns) on every
 *          unlock, for some 20 us in the rare case that a holder was preempted.
 * LOCKS    Every lock has a rank; a thread takes locks in growing rank only. Debug builds check
 *          it. No user code, no wake and no blocking system call under a lock.
 * ORDER    lock acquires what the last unlock released.
 */
#ifndef WF_BASE_LOCK_H
#define WF_BASE_LOCK_H

#include "base/atomic.h"

/* All locks of the library, outermost first. */
enum wf_lock_rank {
    WF_RANK_SYNC,     /* a channel, a lock, a set: zero, for what users initialise with zeros */
    WF_RANK_RELIEF,   /* a runtime's stand-ins */
    WF_RANK_POOL,     /* a runtime's blocking pool */
    WF_RANK_LISTENER, /* a listener's waiting accepts */
    WF_RANK_IO_TABLE, /* free registrations, and who is at home where */
    WF_RANK_WHEEL,    /* a seat's timer wheel */
    WF_RANK_ALARM,    /* the runtime's alarm */
    WF_RANK_INJECT,   /* a runtime's injection queue */
    WF_RANK_STACKS,   /* the shared stack pool */
    WF_RANK_SLAB,     /* the shared part of the header slab */
    WF_RANK_LEAF      /* anything that takes no other lock */
};

struct wf_lock {
    struct wf_atomic_u32 word;
    uint32_t rank; /* enum wf_lock_rank; set once */
};

#define WF_LOCK_INIT(r)    \
 {                         \
  .word = {0}, .rank = (r) \
 }

void wf_lock_wait(struct wf_lock *l);
void wf_lock_rank_push(const struct wf_lock *l);
void wf_lock_rank_pop(const struct wf_lock *l);

WF_INLINE void wf_lock_init(struct wf_lock *l, enum wf_lock_rank rank)
{
    *l = (struct wf_lock)WF_LOCK_INIT((uint32_t)rank);
}

WF_INLINE void wf_lock(struct wf_lock *l)
{
    uint32_t old = 0;

#if WF_DEBUG
    wf_lock_rank_push(l);
#endif
    /* acquire: pairs with the release in wf_unlock */
    if (wf_unlikely(!wf_cas_u32(&l->word, &old, 1, WF_ACQUIRE, WF_RELAXED)))
        wf_lock_wait(l);
}

WF_INLINE bool wf_try_lock(struct wf_lock *l)
{
    uint32_t old = 0;

    /* acquire: pairs with the release in wf_unlock */
    if (!wf_cas_u32(&l->word, &old, 1, WF_ACQUIRE, WF_RELAXED))
        return false;
#if WF_DEBUG
    wf_lock_rank_push(l);
#endif
    return true;
}

WF_INLINE void wf_unlock(struct wf_lock *l)
{
#if WF_DEBUG
    wf_lock_rank_pop(l);
#endif
    /* release: pairs with the acquires in wf_lock, wf_try_lock and wf_lock_wait */
    wf_store_u32(&l->word, 0, WF_RELEASE);
}

#endif
