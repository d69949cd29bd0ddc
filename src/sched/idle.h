/* SPDX-License-Identifier: MIT */
/*
 * idle.h - who sleeps, who searches, and whom to wake.
 */
#ifndef WF_SCHED_IDLE_H
#define WF_SCHED_IDLE_H

#include "base/atomic.h"

struct wf_idle {
    struct wf_atomic_u64 word; /* searching, sleeping, tokens: 16 bits each; see idle.c */
    unsigned workers;          /* set once */
};

void wf_idle_init(struct wf_idle *i, unsigned workers);

/* May this worker search? At most half of the workers do at a time. */
bool wf_idle_search_begin(struct wf_idle *i);

/* It found something, or gives up without sleeping. True: it was the last searcher, and must wake
 * another if it found something. */
bool wf_idle_search_end(struct wf_idle *i);

/* It is about to sleep. Afterwards it must look at every queue once more, and then sleep or call
 * wf_idle_sleep_cancel. */
void wf_idle_sleep_begin(struct wf_idle *i, bool searching);

/* It has seen work and does not sleep. searching: it was a searcher, for whose sake nobody else was woken, and
 * is one again. True: it searches. */
bool wf_idle_sleep_cancel(struct wf_idle *i, bool searching);

/* It is awake. True: somebody had called for a searcher, and this worker is it now. */
bool wf_idle_sleep_end(struct wf_idle *i);

/* There is new work that others could do. True: the caller must signal one sleeper. */
__attribute__((warn_unused_result)) bool wf_idle_notify(struct wf_idle *i);

/* A glance: would wf_idle_notify wake somebody? */
WF_INLINE bool wf_idle_would_wake(const struct wf_idle *i)
{
    /* relaxed: a glance, repeated at each poll */
    uint64_t word = wf_load_u64(&i->word, WF_RELAXED);

    return wf_unlikely((word & 0xffff) == 0 && (word >> 16 & 0xffff) != (word >> 32 & 0xffff));
}

/* Is anyone asleep? After a fence of the caller's. */
bool wf_idle_any_asleep(const struct wf_idle *i);

#endif
