/* SPDX-License-Identifier: MIT */
/* seat.c - making, releasing and taking seats. */
#include "sched/seat.h"

#include "base/clock.h"
#include "base/sys.h"
#include "sched/migrate.h"
#include "sched/runtime.h"

int wf_seat_init_bare(struct wf_seat *s, struct weft_runtime *rt, unsigned index, bool shared,
                      uint64_t seed)
{
    int rc;

    s->rt = rt;
    s->index = index;
    rc = wf_deque_init(&s->ready, shared);
    if (rc < 0)
        return rc;
    rc = wf_deque_init(&s->backlog, shared);
    if (rc < 0) {
        wf_deque_release(&s->ready);
        return rc;
    }
    wf_store_u32(&s->inside, 1, WF_RELAXED);
    wf_rand_init(&s->rand, seed + index);
    wf_slab_cache_init(&s->slab);
    wf_stack_cache_init(&s->stacks);
    wf_pins_init(&s->pins);
    wf_migrate_init(s);
    return 0;
}

int wf_seat_init(struct wf_seat *s, struct weft_runtime *rt, unsigned index, bool shared,
                 uint64_t seed)
{
    int rc = wf_seat_init_bare(s, rt, index, shared, seed);

    if (rc < 0)
        return rc;
    rc = wf_wheel_init(&s->wheel, wf_clock_now());
    if (rc < 0)
        goto release_bare;
    rc = wf_poller_open(&s->poller, &rt->hub);
    if (rc < 0)
        goto release_wheel;
    return 0;

release_wheel:
    wf_wheel_release(&s->wheel);
release_bare:
    wf_seat_release_bare(s);
    return rc;
}

void wf_seat_release_bare(struct wf_seat *s)
{
    wf_assert(!wf_seat_lifo(s));
    wf_pins_release(&s->pins);
    wf_stack_cache_release(&s->stacks);
    wf_slab_cache_release(&s->slab);
    wf_deque_release(&s->backlog);
    wf_deque_release(&s->ready);
}

void wf_seat_release(struct wf_seat *s)
{
    wf_wheel_release(&s->wheel);
    wf_poller_close(&s->poller);
    wf_seat_release_bare(s);
}

struct weft_task *wf_seat_drain(struct wf_seat *s)
{
    struct weft_task *t = wf_seat_lifo(s);

    wf_seat_set_lifo(s, NULL);
    if (!t)
        t = wf_deque_take_oldest(&s->ready);
    if (!t)
        t = wf_deque_take_newest(&s->backlog);
    if (!t)
        t = wf_pins_left(&s->pins);
    return t ? t : wf_migrate_left(s);
}

bool wf_seat_take(struct wf_seat *s)
{
    uint32_t none = WF_SEAT_FREE;

    /* acq_rel: one taker at a time, each sees what the one before did */
    if (!wf_cas_u32(&s->taken, &none, WF_SEAT_TAKEN, WF_ACQ_REL, WF_RELAXED))
        return false;
    /* The holder's store of inside and its load of taken are ordered by this, whichever way. Without
     * membarrier nothing is taken: the guard only holds with it. */
    if (wf_sys_membarrier() < 0)
        goto refuse;
    /* acquire: pairs with wf_seat_leave */
    if (wf_load_u32(&s->inside, WF_ACQUIRE) == 0)
        return true;
refuse:
    /* release: pairs with the exchange above in the next taker */
    wf_store_u32(&s->taken, WF_SEAT_FREE, WF_RELEASE);
    return false;
}

void wf_seat_give_back(struct wf_seat *s)
{
    /* release: pairs with the acquire in wf_seat_enter, and with the next wf_seat_take */
    wf_store_u32(&s->taken, WF_SEAT_FREE, WF_RELEASE);
}

void wf_seat_relieve(struct wf_seat *s)
{
    struct weft_task *t = wf_seat_lifo(s);

    wf_seat_set_lifo(s, NULL);
    /* release: pairs with wf_seat_resume, and with worker_enter_taken */
    wf_store_u32(&s->taken, WF_SEAT_RELIEVED, WF_RELEASE);
    if (t)
        wf_runtime_inject(s->rt, t);
}

bool wf_seat_resume(struct wf_seat *s)
{
    uint32_t relieved = WF_SEAT_RELIEVED;

    /* acquire: what the slot held is gone */
    return wf_cas_u32(&s->taken, &relieved, WF_SEAT_FREE, WF_ACQUIRE, WF_RELAXED);
}
