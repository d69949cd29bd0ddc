/* SPDX-License-Identifier: MIT */
/* lock.c - the slow half of the mutex, and the rank check of debug builds. */
#include "base/lock.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/sys.h"

/* Tests of all interleavings have a lower one, so that they come to sleep. */
#ifndef WF_LOCK_SPINS
# define WF_LOCK_SPINS 100
#endif
#define LOCK_SLICE_NS 20000

void wf_lock_wait(struct wf_lock *l)
{
    for (unsigned i = 1;; i++) {
        uint32_t old = 0;

        /* The load first keeps the line shared. acquire: pairs with the release in wf_unlock. */
        if (wf_load_u32(&l->word, WF_RELAXED) == 0 &&
            wf_cas_u32(&l->word, &old, 1, WF_ACQUIRE, WF_RELAXED))
            return;
        if (i % WF_LOCK_SPINS)
            wf_spin_pause();
        else
            /* Returns at once if the lock is free by now; nobody wakes it otherwise. */
            (void)wf_sys_futex_wait(&l->word, 1, LOCK_SLICE_NS);
    }
}

/*
 * The ranks that this thread holds, as a bit set: a lock may be taken only when no bit at or
 * above its own is set (leaf locks may nest with nothing).
 */
static __thread uint32_t lock_ranks_held __attribute__((tls_model("initial-exec")));

WF_OPAQUE static uint32_t *lock_ranks(void)
{
    uint32_t *held = &lock_ranks_held;

    wf_launder(held);
    return held;
}

void wf_lock_rank_push(const struct wf_lock *l)
{
    uint32_t *held = lock_ranks();

    if (*held >> l->rank) {
        wf_log("lock order: rank %u taken while ranks 0x%x are held", l->rank, *held);
        wf_unreachable("locks are taken in the order of their ranks");
    }
    *held |= 1u << l->rank;
}

void wf_lock_rank_pop(const struct wf_lock *l)
{
    uint32_t *held = lock_ranks();

    wf_assert(*held & (1u << l->rank));
    *held &= ~(1u << l->rank);
}
