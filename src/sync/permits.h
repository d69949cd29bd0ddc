/* SPDX-License-Identifier: MIT */
/*
 * permits.h - a number of permits, taken and given back, and a line of those who wait for some.
 *
 * IDEA     What semaphores and read-write locks are made of. A word counts the permits that are free; taking and giving
 *          back are one compare-and-swap each while nobody waits. Who finds too few takes what there is and lines up
 *          for the rest: then none are free, and all that is given back goes to the first in line until that has
 *          all it wants. So a large wish is not starved by small ones, and nobody overtakes.
 * WHO      Any thread, any task. Who waits has struct wf_lock_wait in its future; how many it wants is in aux_.
 * TESTS    tests/api/test_semaphore.c, test_rwlock.c, tests/model/test_permits.c
 */
#ifndef WF_SYNC_PERMITS_H
#define WF_SYNC_PERMITS_H

#include "sync/overdue.h"

#define WF_PERMITS_QUEUED UINT64_C(1) /* somebody waits */
#define WF_PERMITS_CLOSED UINT64_C(2) /* nobody gets any */
#define WF_PERMITS_MARKED UINT64_C(4) /* the user's own: told to each that gets some */
#define WF_PERMITS_SHIFT  3

struct wf_permits {
    struct wf_atomic_u64 word; /* free permits, and bits */
    struct wf_lock lock;
    /* under the lock */
    struct wf_waitq queue;  /* of the first, `need` may be less than it wanted */
    struct wf_waitq handed; /* have got all, and were not polled since */
    uint64_t since;         /* when somebody got something, or the first one lined up: overdue.h */
};

/* Without waiting. 0, 1: got, and the word is marked; -EAGAIN, -ESHUTDOWN. */
WF_INLINE int wf_permits_try(struct wf_permits *p, uint64_t n);

/* Give n back, or make more. 0, -EOVERFLOW: there would be more than max. *passed becomes true if some
 * went to who waits. */
int wf_permits_add(struct wf_permits *p, uint64_t n, uint64_t max, bool *passed);

/* Take up to n of those that are free out of the world. Returns how many. */
uint64_t wf_permits_remove(struct wf_permits *p, uint64_t n);

/* Nobody gets any more; who waits is woken, and answered -ESHUTDOWN. */
void wf_permits_close(struct wf_permits *p, uint64_t max);

WF_INLINE uint64_t wf_permits_free(const struct wf_permits *p)
{
    /* relaxed: as it is just now */
    return wf_load_u64(&p->word, WF_RELAXED) >> WF_PERMITS_SHIFT;
}

/* The poll of a future that waits for some; ready: its result is 0, 1 or -ESHUTDOWN as above. owned: the object is a
 * lock that has an owner. */
weft_poll wf_permits_poll(weft_future *f, weft_context *cx, struct wf_permits *p,
                          const struct wf_self *self, bool owned);
void wf_permits_drop(weft_future *f, struct wf_permits *p, uint64_t max);

#include <errno.h>

WF_INLINE int wf_permits_try(struct wf_permits *p, uint64_t n)
{
    /* relaxed: what it shows is tried */
    uint64_t old = wf_load_u64(&p->word, WF_RELAXED);

    do {
        if (wf_unlikely(old & WF_PERMITS_CLOSED))
            return -ESHUTDOWN;
        /* P1: while somebody waits there are none */
        if (old >> WF_PERMITS_SHIFT < n)
            return -EAGAIN;
        /* acquire: pairs with wf_permits_add; carries what was done under them */
    } while (
        !wf_cas_weak_u64(&p->word, &old, old - (n << WF_PERMITS_SHIFT), WF_ACQUIRE, WF_RELAXED));
    return (old & WF_PERMITS_MARKED) != 0;
}

#endif
