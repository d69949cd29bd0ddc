/* SPDX-License-Identifier: MIT */
/*
 * deque.c - ready tasks in a growing ring of slots with two free-running counters.
 *
 * IDEA     The owner adds at tail. Everyone takes the oldest at head by one compare-and-swap. The owner
 *          may also take the newest, as in the deque of Chase and Lev, with one fence. A full
 *          ring is replaced by one of twice the size, so there is no overflow and no
 *          second place to look: the order of readiness holds at any number of tasks.
 * OWNS     A task in [head, tail) belongs to the deque. The compare-and-swap that moves head, or
 *          the owner's take of the newest, hands it over. While there are thieves, old rings are
 *          kept until the deque is released: all together they are no larger than the newest.
 * WHO      push, take_*: the seat's holder. steal_*: any worker. len: anyone, a hint.
 * INVARIANTS
 *     D1   tail - head <= mask + 1. Only the owner writes tail and ring.
 *     D2   head only grows, so a compare-and-swap that succeeds proves that no slot it claims was reused
 *          since head was read: nobody sleeps through 2^64 takes. Counters may pass zero, as only
 *          their differences are compared.
 *     D3   A slot index means the same task in every ring that held it while it was in [head, tail).
 *     D4   A deque has either takers of the newest or thieves that claim several at once, never both:
 *          the owner's take of the newest is synchronised with head only for the last task.
 * ORDER
 *     (a)  tail: store-release in push, load-acquire in steal: carries slot, ring and task.
 *     (b)  head: a thief's compare-and-swap releases, push acquires: a thief has read a slot before
 *          the owner fills it anew. The owner's own takes need neither, and pass on what thieves released.
 *          seq_cst where the owner takes the newest: of its swap of tail and then load of head, and
 *          a thief's exchange of head and the next one's load of tail, one pair is first, and the
 *          other sees it (after Le, Pop, Cohen, Zappa Nardelli, 2013, without their fences).
 *          Slots are relaxed atomics: a thief may read one while it is refilled, and then loses
 *          the compare-and-swap and drops what it read (D2).
 * REJECTED A bounded ring of 256 that spills half into the injection queue: tasks past the limit
 *          wait for the next look there, which is Tokio's cliff in p99. Blocks (BWoS): see
 *          docs/design/001-run-queue.md for the figures. A spinlock: a preempted holder stalls the owner.
 * TESTS    tests/unit/test_deque.c, tests/model/test_deque.c
 */
#include "sched/deque.h"

#include "base/sys.h"

#include <errno.h>

#ifndef WF_DEQUE_FIRST
# define WF_DEQUE_FIRST 256 /* a test build shrinks it, so that growth and wraps happen */
#endif

static struct wf_deque_ring *deque_ring_new(uint64_t slots)
{
    struct wf_deque_ring *r = wf_sys_malloc(sizeof(*r) + slots * sizeof(r->slots[0]));

    if (r) {
        r->mask = slots - 1;
        r->retired = NULL;
    }
    return r;
}

int wf_deque_init(struct wf_deque *d, bool shared)
{
    struct wf_deque_ring *r = deque_ring_new(WF_DEQUE_FIRST);

    if (!r)
        return -ENOMEM;
    *d = (struct wf_deque){.shared = shared, .ring = {r}};
    return 0;
}

void wf_deque_release(struct wf_deque *d)
{
    /* relaxed: no other thread knows the deque any more */
    struct wf_deque_ring *r = wf_load_ptr(&d->ring, WF_RELAXED);

    wf_assert(wf_deque_len(d) == 0);
    while (r) {
        struct wf_deque_ring *older = r->retired;

        wf_sys_free(r);
        r = older;
    }
    wf_store_ptr(&d->ring, NULL, WF_RELAXED);
}

static struct weft_task *deque_get(struct wf_deque_ring *r, uint64_t index)
{
    /* relaxed: ORDER (a) or (b) covers it */
    return wf_load_ptr(&r->slots[index & r->mask], WF_RELAXED);
}

static void deque_put(struct wf_deque_ring *r, uint64_t index, struct weft_task *t)
{
    wf_store_ptr(&r->slots[index & r->mask], t, WF_RELAXED);
}

WF_COLD static struct wf_deque_ring *deque_grow(struct wf_deque *d, uint64_t head, uint64_t tail)
{
    /* relaxed: only the owner writes it */
    struct wf_deque_ring *old = wf_load_ptr(&d->ring, WF_RELAXED);
    struct wf_deque_ring *r = deque_ring_new((old->mask + 1) * 2);

    if (!r)
        return NULL;
    for (uint64_t i = head; i != tail; i++)
        deque_put(r, i, deque_get(old, i));
    /* Of when there were thieves, the older rings wait for the release. */
    r->retired = d->shared ? old : old->retired;
    if (!d->shared)
        wf_sys_free(old);
    /* release: pairs with the acquire in steal; carries the slots (D3) */
    wf_store_ptr(&d->ring, r, WF_RELEASE);
    return r;
}

bool wf_deque_push(struct wf_deque *d, struct weft_task *t)
{
    /* relaxed: only the owner writes tail and ring */
    uint64_t tail = wf_load_u64(&d->tail, WF_RELAXED);
    struct wf_deque_ring *r = wf_load_ptr(&d->ring, WF_RELAXED);
    /* acquire: pairs with the takers' compare-and-swap, ORDER (b) */
    uint64_t head = wf_load_u64(&d->head, WF_ACQUIRE);

    if (wf_unlikely(tail - head > r->mask)) {
        r = deque_grow(d, head, tail);
        if (!r)
            return false;
    }
    deque_put(r, tail, t);
    /* release: pairs with the acquire in steal, ORDER (a) */
    wf_store_u64(&d->tail, tail + 1, WF_RELEASE);
    return true;
}

struct weft_task *wf_deque_take_oldest(struct wf_deque *d)
{
    /* relaxed: only the owner writes tail and ring, and the exchange checks head */
    uint64_t tail = wf_load_u64(&d->tail, WF_RELAXED);
    uint64_t head = wf_load_u64(&d->head, WF_RELAXED);
    struct wf_deque_ring *r = wf_load_ptr(&d->ring, WF_RELAXED);

    while (head != tail) {
        struct weft_task *t = deque_get(r, head);

        if (!d->shared) {
            /* relaxed: nobody else takes */
            wf_store_u64(&d->head, head + 1, WF_RELAXED);
            return t;
        }
        /* relaxed: what is taken is what the owner pushed. On failure head is the new value. */
        if (wf_cas_weak_u64(&d->head, &head, head + 1, WF_RELAXED, WF_RELAXED))
            return t;
    }
    return NULL;
}

struct weft_task *wf_deque_take_newest(struct wf_deque *d)
{
    /* relaxed: only the owner writes tail and ring */
    uint64_t tail = wf_load_u64(&d->tail, WF_RELAXED);
    struct wf_deque_ring *r = wf_load_ptr(&d->ring, WF_RELAXED);
    struct weft_task *t;
    uint64_t head = wf_load_u64(&d->head, WF_RELAXED);

    if (head == tail)
        return NULL;
    if (!d->shared) {
        wf_store_u64(&d->tail, tail - 1, WF_RELAXED);
        return deque_get(r, tail - 1);
    }
    /* Claim by lowering tail, then look at head. seq_cst: ORDER (b), pairs with
     * wf_deque_steal_one. A swap is a store and a fence in one. */
    (void)wf_swap_u64(&d->tail, tail - 1, WF_SEQ_CST);
    head = wf_load_u64(&d->head, WF_SEQ_CST);
    if ((int64_t)(tail - 1 - head) > 0)
        return deque_get(r, tail - 1);
    t = NULL;
    if (head == tail - 1) {
        /* The last one: race the thieves for it. */
        t = deque_get(r, head);
        /* relaxed: it is decided by who moves head, and the task is the owner's own */
        if (!wf_cas_u64(&d->head, &head, head + 1, WF_RELAXED, WF_RELAXED))
            t = NULL;
    }
    /* relaxed: empty again; a thief that still sees the lower tail takes nothing */
    wf_store_u64(&d->tail, tail, WF_RELAXED);
    return t;
}

struct weft_task *wf_deque_steal_one(struct wf_deque *d, bool *again)
{
    /* acquire: what the thief before did, tail is read after. seq_cst: ORDER (b), pairs with
     * wf_deque_take_newest; and acquires, ORDER (a). */
    uint64_t head = wf_load_u64(&d->head, WF_ACQUIRE);
    uint64_t tail = wf_load_u64(&d->tail, WF_SEQ_CST);
    struct weft_task *t;

    if ((int64_t)(tail - head) <= 0)
        return NULL;
    /* acquire: pairs with deque_grow */
    t = deque_get(wf_load_ptr(&d->ring, WF_ACQUIRE), head);
    /* seq_cst: ORDER (b); the owner's load of head behind it in their order sees it */
    if (wf_cas_u64(&d->head, &head, head + 1, WF_SEQ_CST, WF_RELAXED))
        return t;
    *again = true;
    return NULL;
}

unsigned wf_deque_steal_half(struct wf_deque *d, struct weft_task **out, unsigned max)
{
    /* relaxed: the exchange checks it, and a tail from before it only finds less */
    uint64_t head = wf_load_u64(&d->head, WF_RELAXED);

    for (;;) {
        /* acquire: pairs with push, ORDER (a) */
        uint64_t tail = wf_load_u64(&d->tail, WF_ACQUIRE);
        /* acquire: pairs with deque_grow */
        struct wf_deque_ring *r = wf_load_ptr(&d->ring, WF_ACQUIRE);
        uint64_t n = tail - head;

        if ((int64_t)n <= 0)
            return 0;
        n -= n / 2;
        if (n > max)
            n = max;
        for (uint64_t i = 0; i < n; i++)
            out[i] = deque_get(r, head + i);
        /* release: our reads of the slots end before the owner fills them anew, ORDER (b) */
        if (wf_cas_weak_u64(&d->head, &head, head + n, WF_RELEASE, WF_RELAXED))
            return (unsigned)n;
    }
}
