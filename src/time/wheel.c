/* SPDX-License-Identifier: MIT */
/*
 * wheel.c - a hierarchical timing wheel under one lock, one per seat.
 *
 * IDEA     Time is counted in ticks of 2^16 ns, and a tick is a number of six digits to the
 *          base 256. A timer whose tick first differs from the wheel's in digit k, from the top,
 *          hangs on level k in the slot of that digit. So all of a level's timers are due
 *          before those of the next higher one, and the earliest slot is a few find-first-set
 *          operations away. When the wheel's tick reaches a slot of a level above 0, its
 *          timers are spread over the levels below (a cascade); a slot of level 0 is one tick,
 *          and its timers fire. A cascade is one cache miss per timer, so the base is large
 *          (a timer of up to 4 s is met once on its way) and a list is walked from both ends.
 * OWNS     A timer belongs to what it is embedded in. While armed, its link belongs to the wheel,
 *          and the wheel owns one reference to its target: whoever unlinks the timer (cancel or
 *          advance) takes the reference out, and gives it back or wakes it outside the lock.
 *          A wheel may go while timers are armed (wf_wheel_leave), and while others come to cancel them: its lock is
 *          not in it (gate.h).
 * WHO      Any thread. An idle worker advances a busy worker's wheel; a task that was stolen
 *          cancels its timers where they were armed.
 * INVARIANTS
 *     W1   A timer of deadline d has the tick ceil(d / 2^16), or the wheel's tick if that is
 *          later, and fires in an advance to that tick or a later one: never early. An exact
 *          advance, for clocks that stand still, fires it at any moment from d on.
 *     W2   Slots in use: on level 0 none before the digit of w->tick; on level k > 0 none at or
 *          before its digit k. So no slot is met twice in a turn and none holds two turns.
 *     W3   used[level] has the bit of a slot, and levels the bit of a level, exactly when it
 *          is not empty.
 *     W4   slot.first is not after the tick of any timer in the slot, nor outside the slot.
 *     W5   tick moves forward only, and not while cascade holds timers: all of these are due
 *          before any slot of their level or above, and may be due before slots below.
 *     W6   next is the first of the earliest slot; the tick itself while cascade holds timers.
 *     W7   A tick that does not fit 48 bits is a moment that the clock cannot show: such timers,
 *          WEFT_FOREVER among them, hang in a slot of their own that never comes.
 * ORDER
 *     (a)  state: wheel_fire stores FIRED, and wf_wheel_leave IDLE, with release, as the last touch of the timer;
 *          wf_timer_look, wf_timer_arm and the fast path of wf_timer_cancel load with acquire. Who sees one of them
 *          may free or arm the timer again without the lock.
 *     (b)  All else is ordered by the lock.
 * LOCKS    WF_RANK_WHEEL. Held for at most WF_WHEEL_BATCH timers fired and WF_WHEEL_SPREAD cascaded: a
 *          slot of a high level may hold a million, and a cancel must not wait for them.
 * REJECTED A heap: O(log n), and arming may have to allocate. One wheel for all workers: its lock
 *          is the most contended one of Tokio's. A lock-free queue of arms and cancels to the
 *          owner (Tokio's alternative timers): a cancelled timer's memory would not be free
 *          until the owner looks. Walking a slot for its earliest timer: costs more than the
 *          one early wake-up that a stale first may cost after a cancel.
 *          The slot relative to the distance (tick - now) rather than to the digits: a
 *          level then holds two turns, and the earliest slot depends on where it begins.
 * TESTS    tests/unit/test_wheel.c, tests/unit/test_wheel_exact.c, tests/unit/test_gate.c, tests/model/test_wheel.c,
 *          tests/model/test_sleep.c
 */
#include "time/wheel.h"

#include <errno.h>
#include <string.h>

/* Tests of all interleavings have smaller ones, so that the lock is given up on the way. */
#ifndef WF_WHEEL_BATCH
# define WF_WHEEL_BATCH  32u  /* timers fired under one hold of the lock */
# define WF_WHEEL_SPREAD 128u /* timers cascaded under one hold */
#endif
#define WHEEL_SLOT_MASK ((uint64_t)WF_WHEEL_SLOTS - 1)
#define WHEEL_TICK_MAX  (UINT64_MAX >> WF_WHEEL_TICK_SHIFT)
#define WHEEL_TICK_NS   ((uint64_t)1 << WF_WHEEL_TICK_SHIFT)

_Static_assert(WF_WHEEL_LEVELS *WF_WHEEL_SLOT_BITS + WF_WHEEL_TICK_SHIFT == 64,
               "the digits of a tick cover the clock (W7)");
_Static_assert(WF_WHEEL_SLOTS % 64 == 0, "whole words hold the bits of a level");

/* References taken out of timers that fired, to be woken outside the lock. */
struct wheel_batch {
    unsigned count;
    weft_wakeable *targets[WF_WHEEL_BATCH];
};

/* The first tick that is not before the deadline; may be WHEEL_TICK_MAX + 1. */
static uint64_t wheel_tick_of(uint64_t deadline_ns)
{
    return (deadline_ns >> WF_WHEEL_TICK_SHIFT) + ((deadline_ns & (WHEEL_TICK_NS - 1)) != 0);
}

/* The highest digit in which two ticks differ; 0 when they are the same. */
static unsigned wheel_level_of(uint64_t tick, uint64_t now)
{
    return (63u - (unsigned)__builtin_clzll((tick ^ now) | 1)) / WF_WHEEL_SLOT_BITS;
}

static bool wheel_level_used(const struct wf_wheel *w, unsigned level)
{
    uint64_t any = 0;

    for (unsigned i = 0; i < WF_WHEEL_WORDS; i++)
        any |= w->used[level][i];
    return any != 0;
}

/* The earliest slot in use; WF_WHEEL_NEVER when none is, or only that one. */
static unsigned wheel_slot_earliest(const struct wf_wheel *w)
{
    unsigned level = (unsigned)__builtin_ctz(w->levels | (1u << WF_WHEEL_LEVELS)), i = 0;

    if (level == WF_WHEEL_LEVELS)
        return WF_WHEEL_NEVER;
    while (!w->used[level][i]) /* W3: one is not 0 */
        i++;
    return level * WF_WHEEL_SLOTS + i * 64 + (unsigned)__builtin_ctzll(w->used[level][i]);
}

/* The tick at which the wheel reaches a slot in use. */
static uint64_t wheel_slot_tick(const struct wf_wheel *w, unsigned slot)
{
    unsigned shift = slot / WF_WHEEL_SLOTS * WF_WHEEL_SLOT_BITS;
    uint64_t above = w->tick >> shift & ~WHEEL_SLOT_MASK;

    return (above | (slot & WHEEL_SLOT_MASK)) << shift;
}

/* When advance has something to do: W6. */
static uint64_t wheel_due(const struct wf_wheel *w)
{
    if (wf_unlikely(!wf_list_empty(&w->cascade)))
        return w->tick << WF_WHEEL_TICK_SHIFT;
    return w->slots[wheel_slot_earliest(w)].first;
}

/* Restore W6 after anything but an arming. */
static void wheel_publish(struct wf_wheel *w)
{
    uint64_t at = wheel_due(w);

    /* relaxed: see wf_wheel_next. Not stored when unchanged: sleepers elsewhere read the line. */
    if (wf_load_u64(&w->next, WF_RELAXED) != at)
        wf_store_u64(&w->next, at, WF_RELAXED);
}

/* The same after an arming for that moment. */
WF_INLINE void wheel_publish_armed(struct wf_wheel *w, uint64_t at)
{
    /* W6: nothing else was added. relaxed: see wf_wheel_next. */
    if (at < wf_load_u64(&w->next, WF_RELAXED)) {
        wf_store_u64(&w->next, at, WF_RELAXED);
        /* A1.k of sched/park.c: whoever sleeps may have to be told */
        wf_count_u64(&w->lowered, 1);
    }
}

/* Put t where its deadline belongs, by W1, W2 and W7. Returns when it is due. */
static uint64_t wheel_link(struct wf_wheel *w, struct wf_timer *t)
{
    uint64_t tick = wheel_tick_of(t->deadline);
    uint64_t at = WEFT_FOREVER;
    unsigned level = WF_WHEEL_LEVELS;
    uint64_t digit = 0;

    if (wf_likely(tick <= WHEEL_TICK_MAX)) {
        if (tick < w->tick)
            tick = w->tick;
        level = wheel_level_of(tick, w->tick);
        digit = tick >> (level * WF_WHEEL_SLOT_BITS) & WHEEL_SLOT_MASK;
        at = tick << WF_WHEEL_TICK_SHIFT;
    }
    t->slot = level * WF_WHEEL_SLOTS + (unsigned)digit;
    wf_list_push_back(&w->slots[t->slot].timers, &t->link);
    if (at < w->slots[t->slot].first)
        w->slots[t->slot].first = at;
    w->used[level][digit / 64] |= (uint64_t)1 << digit % 64;
    w->levels |= 1u << level;
    return at;
}

/* The slot has become empty. Harmless when it was already. */
static void wheel_slot_clear(struct wf_wheel *w, unsigned slot)
{
    unsigned level = slot / WF_WHEEL_SLOTS, digit = slot % WF_WHEEL_SLOTS;

    wf_debug_assert(wf_list_empty(&w->slots[slot].timers));
    w->slots[slot].first = WEFT_FOREVER;
    w->used[level][digit / 64] &= ~((uint64_t)1 << digit % 64);
    if (!wheel_level_used(w, level))
        w->levels &= ~(1u << level);
}

/* Also for a timer in w->cascade: then its slot is empty and stays so (W2). */
static void wheel_unlink(struct wf_wheel *w, struct wf_timer *t)
{
    wf_list_remove(&t->link);
    if (wf_list_empty(&w->slots[t->slot].timers))
        wheel_slot_clear(w, t->slot);
}

static void wheel_count(struct wf_wheel *w, int64_t change)
{
    /* relaxed: a statistic, and its writers hold the lock */
    wf_store_u64(&w->count, wf_load_u64(&w->count, WF_RELAXED) + (uint64_t)change, WF_RELAXED);
}

static struct wf_timer *wheel_timer_of(struct wf_list *link)
{
    return wf_container_of(link, struct wf_timer, link);
}

/* A timer is due: take it and its target out. */
static void wheel_fire(struct wf_wheel *w, struct wf_timer *t, struct wheel_batch *batch)
{
    wf_debug_assert(wf_load_u32(&t->state, WF_RELAXED) == WF_TIMER_ARMED);
    __builtin_prefetch(t->link.next);
    wheel_unlink(w, t);
    wheel_count(w, -1);
    __builtin_prefetch(t->target); /* woken when the batch is complete */
    batch->targets[batch->count++] = t->target;
    /* release: pairs with the acquire in wf_timer_look. Nothing touches t from here on: its owner may see this, without
     * the lock, and free it. */
    wf_store_u32(&t->state, WF_TIMER_FIRED, WF_RELEASE);
}

static void wheel_relink(struct wf_wheel *w, struct wf_list *link)
{
    link->next = link->prev = NULL;
    wheel_link(w, wheel_timer_of(link));
}

/*
 * Spread up to max timers of the cascade over the levels below; returns how many. Each is a cache
 * miss, and the next one's address is in it: from both ends, two are under way at a time.
 */
static unsigned wheel_spread(struct wf_wheel *w, unsigned max)
{
    struct wf_list *front = w->cascade.next, *back = w->cascade.prev;
    unsigned n = 0;

    while (front != back && front->next != back && n + 2 < max) {
        struct wf_list *next = front->next, *prev = back->prev;

        __builtin_prefetch(next);
        __builtin_prefetch(prev);
        wheel_relink(w, front);
        wheel_relink(w, back);
        front = next;
        back = prev;
        n += 2;
    }
    /* What is left is a list again. */
    w->cascade.next = front;
    w->cascade.prev = back;
    front->prev = back->next = &w->cascade;
    if (n == 0)
        for (struct wf_list *link; n < 2 && (link = wf_list_pop_front(&w->cascade)); n++)
            wheel_link(w, wheel_timer_of(link));
    return n;
}

/*
 * Go towards the tick `until`, firing into the batch what is due on the way. True: there may be
 * more; the batch is full or the lock was held long enough. False: the wheel is there.
 */
static bool wheel_turn(struct wf_wheel *w, uint64_t until, struct wheel_batch *batch)
{
    unsigned spread = 0;

    while (batch->count < WF_WHEEL_BATCH && spread < WF_WHEEL_SPREAD) {
        unsigned slot;

        if (until < w->tick)
            return false; /* another thread went further (W5) */
        if (!wf_list_empty(&w->cascade)) {
            spread += wheel_spread(w, WF_WHEEL_SPREAD);
            continue;
        }
        slot = wheel_slot_earliest(w);
        if (slot == WF_WHEEL_NEVER || wheel_slot_tick(w, slot) > until) {
            w->tick = until; /* no slot lies between, so W2 still holds */
            return false;
        }
        w->tick = wheel_slot_tick(w, slot);
        if (slot < WF_WHEEL_SLOTS) {
            struct wf_timer *t = wheel_timer_of(w->slots[slot].timers.next);

            wf_debug_assert(wheel_tick_of(t->deadline) <= w->tick); /* W1 */
            wheel_fire(w, t, batch);
        } else {
            wf_list_move_all(&w->cascade, &w->slots[slot].timers);
            wheel_slot_clear(w, slot);
        }
    }
    return true;
}

/* Invariants that cost a few loads: at entry and exit of each operation of a debug build. */
static void wheel_check_bits(const struct wf_wheel *w)
{
#if WF_DEBUG
    for (unsigned level = 0; level < WF_WHEEL_LEVELS; level++) {
        uint64_t digit = w->tick >> (level * WF_WHEEL_SLOT_BITS) & WHEEL_SLOT_MASK;
        uint64_t before = ((uint64_t)1 << digit % 64) - 1;

        if (level > 0)
            before |= (uint64_t)1 << digit % 64;
        for (unsigned i = 0; i < digit / 64; i++)
            wf_assert(!w->used[level][i]);                                      /* W2 */
        wf_assert(!(w->used[level][digit / 64] & before));                      /* W2 */
        wf_assert(wheel_level_used(w, level) == !!(w->levels & (1u << level))); /* W3 */
    }
    wf_assert(w->tick <= WHEEL_TICK_MAX);
    wf_assert(wf_load_u64(&w->next, WF_RELAXED) == wheel_due(w)); /* W6 */
#else
    (void)w;
#endif
}

static void wheel_lock(struct wf_wheel *w)
{
    wf_lock(&w->gate->lock);
    wheel_check_bits(w);
}

static void wheel_unlock(struct wf_wheel *w)
{
    wheel_check_bits(w);
    wf_unlock(&w->gate->lock);
}

/* Check one list of timers against its slot; returns how many there are. */
static uint64_t wheel_check_list(const struct wf_wheel *w, const struct wf_list *head,
                                 unsigned slot)
{
    uint64_t count = 0;

    WF_LIST_FOREACH(link, head) {
        const struct wf_timer *t = wheel_timer_of(link);
        uint64_t tick = wheel_tick_of(t->deadline);

        wf_assert(wf_timer_is_of(t, w));
        wf_assert(t->target);
        wf_assert(wf_load_u32(&t->state, WF_RELAXED) == WF_TIMER_ARMED);
        wf_assert(head == &w->cascade || t->slot == slot);
        if (head != &w->cascade && slot != WF_WHEEL_NEVER) {
            uint64_t first = w->slots[slot].first >> WF_WHEEL_TICK_SHIFT;

            tick = tick < w->tick ? w->tick : tick;
            wf_assert(first <= tick && first >= wheel_slot_tick(w, slot));     /* W4 */
            wf_assert(wheel_level_of(tick, w->tick) == slot / WF_WHEEL_SLOTS); /* W2 */
        }
        count++;
    }
    return count;
}

void wf_wheel_check(struct wf_wheel *w)
{
    uint64_t count;

    wheel_lock(w);
    count = wheel_check_list(w, &w->cascade, 0);
    for (unsigned slot = 0; slot <= WF_WHEEL_NEVER; slot++) {
        uint64_t here = wheel_check_list(w, &w->slots[slot].timers, slot);
        uint64_t word = w->used[slot / WF_WHEEL_SLOTS][slot % WF_WHEEL_SLOTS / 64];

        wf_assert(!!here == !!(word & (uint64_t)1 << slot % 64)); /* W3 */
        count += here;
    }
    wf_assert(count == wf_wheel_count(w));
    wheel_unlock(w);
}

int wf_wheel_init(struct wf_wheel *w, uint64_t now_ns)
{
    /* Not assigned whole: unoptimised that would be 36 KiB on the caller's stack. */
    memset(w, 0, sizeof(*w));
    w->gate = wf_gate_get(w);
    if (!w->gate)
        return -ENOMEM;
    w->tick = now_ns >> WF_WHEEL_TICK_SHIFT;
    w->next = (struct wf_atomic_u64){WEFT_FOREVER};
    wf_list_init(&w->cascade);
    for (unsigned slot = 0; slot <= WF_WHEEL_NEVER; slot++) {
        wf_list_init(&w->slots[slot].timers);
        w->slots[slot].first = WEFT_FOREVER;
    }
    return 0;
}

void wf_wheel_release(struct wf_wheel *w)
{
    wf_wheel_check(w);
    wf_assert(wf_wheel_count(w) == 0);
    wf_gate_put(w->gate);
}

void wf_timer_arm(struct wf_timer *t, struct wf_wheel *w, uint64_t deadline_ns,
                  weft_wakeable *target)
{
    uint64_t at;

    /* acquire, in it: who fired it, or left, has read t before our writes */
    wf_assert(wf_timer_look(t) != WF_TIMER_ARMED);
    wf_debug_assert(target != NULL);
    t->deadline = deadline_ns;
    t->target = target;
    wheel_lock(w);
    t->gate = w->gate;
    /* relaxed: who fires t has the lock from us; a cancel elsewhere has t from our caller */
    wf_store_u32(&t->state, WF_TIMER_ARMED, WF_RELAXED);
    at = wheel_link(w, t);
    wheel_count(w, 1);
    wheel_publish_armed(w, at);
    wheel_unlock(w);
}

/*
 * The wheel of an armed timer, locked; NULL when it is not armed.
 *
 * That is seen without the lock: only the owner, who is our caller, turns anything else into ARMED, and who stores
 * FIRED or IDLE elsewhere has done so as the last touch of t (a). ARMED may turn into one of them until we have the
 * lock, and then the wheel may be gone.
 */
static struct wf_wheel *wheel_lock_armed(struct wf_timer *t)
{
    struct wf_gate *g = t->gate;

    if (wf_timer_look(t) != WF_TIMER_ARMED)
        return NULL;
    wf_lock(&g->lock);
    /* relaxed: stored under the lock. Only if it is armed the wheel is there. */
    if (wf_likely(wf_load_u32(&t->state, WF_RELAXED) == WF_TIMER_ARMED)) {
        wheel_check_bits(g->wheel);
        return g->wheel;
    }
    wf_unlock(&g->lock);
    return NULL;
}

/* Out of the wheel: its target, with the reference; NULL: it was not armed. */
WF_INLINE weft_wakeable *wheel_take(struct wf_timer *t)
{
    struct wf_wheel *w = wheel_lock_armed(t);
    weft_wakeable *target;

    if (!w)
        return NULL;
    wheel_unlink(w, t);
    wheel_count(w, -1);
    wheel_publish(w);
    target = t->target;
    /* relaxed: the lock is the order, and IDLE means something to the owner only */
    wf_store_u32(&t->state, WF_TIMER_IDLE, WF_RELAXED);
    wheel_unlock(w);
    return target;
}

weft_wakeable *wf_timer_take(struct wf_timer *t)
{
    return wheel_take(t);
}

bool wf_timer_cancel(struct wf_timer *t)
{
    weft_wakeable *target = wheel_take(t);

    if (!target)
        return false;
    target->type->release(target);
    return true;
}

bool wf_timer_rearm(struct wf_timer *t, uint64_t deadline_ns)
{
    struct wf_wheel *w = wheel_lock_armed(t);
    uint64_t at;

    if (!w)
        return false;
    wheel_unlink(w, t);
    wheel_publish(w);
    t->deadline = deadline_ns;
    at = wheel_link(w, t);
    wheel_publish_armed(w, at);
    wheel_unlock(w);
    return true;
}

bool wf_timer_retarget(struct wf_timer *t, weft_wakeable *target)
{
    weft_wakeable *old;
    struct wf_wheel *w;

    wf_debug_assert(target != NULL);
    w = wheel_lock_armed(t);
    if (!w)
        return false;
    old = t->target;
    t->target = target;
    wheel_unlock(w);
    old->type->release(old);
    return true;
}

/* Wake what has fired, outside the lock. Returns how many. */
static unsigned wheel_wake(const struct wheel_batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++) {
        weft_wakeable *target = batch->targets[i];

        target->type->wake(target);
        target->type->release(target);
    }
    return batch->count;
}

/* One of those that are armed; NULL: there is none. */
static struct wf_timer *wheel_any(const struct wf_wheel *w)
{
    const struct wf_list *head = &w->cascade;

    if (wf_list_empty(head))
        head = &w->slots[wheel_slot_earliest(w)].timers;
    return wf_list_empty(head) ? NULL : wheel_timer_of(head->next);
}

void wf_wheel_leave(struct wf_wheel *w)
{
    struct wheel_batch batch;

    do {
        struct wf_timer *t;

        batch.count = 0;
        wheel_lock(w);
        while (batch.count < WF_WHEEL_BATCH && (t = wheel_any(w))) {
            wheel_unlink(w, t);
            wheel_count(w, -1);
            batch.targets[batch.count++] = t->target;
            /* release: pairs with the acquire in wf_timer_look; nothing touches t from here on, as in wheel_fire */
            wf_store_u32(&t->state, WF_TIMER_IDLE, WF_RELEASE);
        }
        wheel_publish(w);
        wheel_unlock(w);
    } while (wheel_wake(&batch));
}

unsigned wf_wheel_advance(struct wf_wheel *w, uint64_t now_ns)
{
    struct wheel_batch batch;
    unsigned fired = 0;
    bool more;

    /* Nothing is due: the common answer, without the lock. The wheel's tick then stays behind,
     * which costs a later timer some cascades, never its time. */
    if (now_ns < wf_wheel_next(w))
        return 0;
    do {
        batch.count = 0;
        wheel_lock(w);
        more = wheel_turn(w, now_ns >> WF_WHEEL_TICK_SHIFT, &batch);
        wheel_publish(w);
        wheel_unlock(w);
        fired += wheel_wake(&batch);
    } while (more);
    return fired;
}

/*
 * The wheel has come to the tick that has ended last: of the next one, which is under way, those timers whose deadline
 * has come. They are all in one slot (W2). True: the batch is full.
 */
static bool wheel_turn_within(struct wf_wheel *w, uint64_t now_ns, struct wheel_batch *batch)
{
    uint64_t tick = w->tick + 1;
    unsigned level = wheel_level_of(tick, w->tick);
    struct wf_list *head, *next;

    if (w->tick != now_ns >> WF_WHEEL_TICK_SHIFT || tick > WHEEL_TICK_MAX)
        return false;
    head = &w->slots[level * WF_WHEEL_SLOTS +
                     (unsigned)(tick >> (level * WF_WHEEL_SLOT_BITS) & WHEEL_SLOT_MASK)]
                .timers;
    for (struct wf_list *link = head->next; link != head; link = next) {
        next = link->next;
        if (wheel_timer_of(link)->deadline > now_ns)
            continue;
        if (batch->count == WF_WHEEL_BATCH)
            return true;
        wheel_fire(w, wheel_timer_of(link), batch);
    }
    return false;
}

unsigned wf_wheel_advance_exactly(struct wf_wheel *w, uint64_t now_ns)
{
    struct wheel_batch batch;
    unsigned fired = 0;
    bool more;

    do {
        batch.count = 0;
        wheel_lock(w);
        more = wheel_turn(w, now_ns >> WF_WHEEL_TICK_SHIFT, &batch) ||
               wheel_turn_within(w, now_ns, &batch);
        wheel_publish(w);
        wheel_unlock(w);
        fired += wheel_wake(&batch);
    } while (more);
    return fired;
}

static uint64_t wheel_list_first(const struct wf_list *head)
{
    uint64_t first = WEFT_FOREVER;

    WF_LIST_FOREACH(link, head) {
        uint64_t deadline = wheel_timer_of(link)->deadline;

        if (deadline < first)
            first = deadline;
    }
    return first;
}

uint64_t wf_wheel_first(struct wf_wheel *w)
{
    uint64_t first, cascade;
    unsigned slot;

    wheel_lock(w);
    slot = wheel_slot_earliest(w);
    first = slot == WF_WHEEL_NEVER ? WEFT_FOREVER : wheel_list_first(&w->slots[slot].timers);
    cascade = wheel_list_first(&w->cascade);
    wheel_unlock(w);
    return first < cascade ? first : cascade;
}
