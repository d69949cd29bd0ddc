/* SPDX-License-Identifier: MIT */
/* lock.c - the slow half of the mutex, and the rank check of debug builds. */
#include "base/lock.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/sys.h"

#define LOCK_SPINS 40

void wf_lock_wait(struct wf_lock *l)
{
    for (int i = 0; i < LOCK_SPINS; i++) {
        uint32_t old = 0;

        /* acquire: pairs with the release in wf_unlock. The load first keeps the line shared. */
        if (wf_load_u32(&l->word, WF_RELAXED) == 0 &&
            wf_cas_u32(&l->word, &old, 1, WF_ACQUIRE, WF_RELAXED))
            return;
        wf_spin_pause();
    }
    /* acquire: pairs with the release in wf_unlock. 2 says that an unlock must wake. */
    while (wf_swap_u32(&l->word, 2, WF_ACQUIRE) != 0)
        wf_sys_futex_wait(&l->word, 2, WF_NO_TIMEOUT);
}

void wf_lock_wake(struct wf_lock *l)
{
    wf_sys_futex_wake(&l->word, 1);
}

/*
 * The ranks that this thread holds, as a bit set: a lock may be taken only when no bit at or
 * above its own is set (leaf locks may nest with nothing).
 */
static __thread uint32_t lock_ranks_held __attribute__((tls_model("initial-exec")));

WF_OPAQUE static uint32_t *lock_ranks(void)
{
    return &lock_ranks_held;
}

void wf_lock_rank_push(const struct wf_lock *l)
{
    uint32_t *held = lock_ranks();

    if (*held >> l->rank) {
        wf_log("lock order: rank %u taken while ranks 0x%x are held", l->rank, *held);
        wf_assert(!"lock order");
    }
    *held |= 1u << l->rank;
}

void wf_lock_rank_pop(const struct wf_lock *l)
{
    uint32_t *held = lock_ranks();

    wf_assert(*held & (1u << l->rank));
    *held &= ~(1u << l->rank);
}
