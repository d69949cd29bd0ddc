/* SPDX-License-Identifier: MIT */
/*
 * wheel.h - a seat's timers: armed and cancelled in constant time, fired in order of their ticks.
 *
 * A timer is a few words inside what waits for it (a sleep, a deadline scope), so arming
 * allocates nothing and cannot fail. It wakes one target, once, never early. All of this may be
 * called from any thread, also while the wheel goes: a timer may outlive it (wf_wheel_leave).
 */
#ifndef WF_TIME_WHEEL_H
#define WF_TIME_WHEEL_H

#include "base/list.h"
#include "time/gate.h"

#include <weft/future.h>

struct wf_wheel;

enum wf_timer_state { WF_TIMER_IDLE = 0, WF_TIMER_ARMED = 1, WF_TIMER_FIRED = 2 };

/* All zero is an idle timer. It must stay where it is while armed. */
struct wf_timer {
    /* under the wheel's lock while armed, else its owner's */
    struct wf_list link;
    uint32_t slot; /* the number of the slot that it was linked in */

    /* atomic: see ORDER in wheel.c */
    struct wf_atomic_u32 state; /* enum wf_timer_state */

    /* written by its owner's calls only, who may read them freely; others: under the lock */
    uint64_t deadline;     /* nanoseconds on the monotonic clock; WEFT_FOREVER: never fires */
    struct wf_gate *gate;  /* of the wheel where it was last armed; NULL: never armed */
    weft_wakeable *target; /* while armed: what to wake, one reference that the wheel owns */
};

_Static_assert(sizeof(struct wf_timer) <= sizeof(uintptr_t) * WEFT_FUTURE_WORDS ||
                   sizeof(uintptr_t) < 8,
               "a timer lives inside a future");

/* now_ns is where the wheel begins: any moment that is not in the future. 0, or -ENOMEM. */
int wf_wheel_init(struct wf_wheel *w, uint64_t now_ns);

/* No timer may be armed. Who has just seen one armed may come for the lock afterwards, but not to the wheel. */
void wf_wheel_release(struct wf_wheel *w);

/*
 * Nobody will advance the wheel any more: take all timers out, and wake their targets. Each is idle then: its owner is
 * to arm it elsewhere.
 */
void wf_wheel_leave(struct wf_wheel *w);

/*
 * Wake target once the monotonic clock reaches deadline_ns. The timer is not armed; target is a
 * reference that the wheel now owns. A deadline that has passed fires at the next advance;
 * WEFT_FOREVER never does, but counts as armed.
 */
void wf_timer_arm(struct wf_timer *t, struct wf_wheel *w, uint64_t deadline_ns,
                  weft_wakeable *target);

/*
 * Once it returns nobody but the caller touches t. True: it was armed, is idle now, and the target
 * was released unwoken. False: it had fired (its wake may still be under way), or was idle.
 */
bool wf_timer_cancel(struct wf_timer *t);

/* The same, but the reference to the target is the caller's now, instead of being released. NULL: it was not armed. */
weft_wakeable *wf_timer_take(struct wf_timer *t);

/*
 * Another deadline for a timer that may be armed; the target stays. For its owner, on the thread that looks after the
 * wheel. False: it is not armed, it has fired meanwhile.
 */
bool wf_timer_rearm(struct wf_timer *t, uint64_t deadline_ns);

/*
 * Wake another target than the one given before. For the owner of t. True: the wheel owns the new
 * reference and has released the old. False: the timer is not armed, it has fired meanwhile; the
 * reference is still the caller's.
 */
bool wf_timer_retarget(struct wf_timer *t, weft_wakeable *target);

/*
 * Would the timer, as last armed, wake this target? For the owner of t, who then need not
 * retarget. No lock: only the owner's calls write the word.
 */
WF_INLINE bool wf_timer_wakes(const struct wf_timer *t, const weft_wakeable *target)
{
    return t->target == target;
}

/* Unless it is armed nobody but the owner touches t. Idle, where the owner has armed it: its wheel went. */
WF_INLINE enum wf_timer_state wf_timer_look(const struct wf_timer *t)
{
    /* acquire: pairs with the releases in wheel_fire and wf_wheel_leave; the last touch of t by another thread */
    return (enum wf_timer_state)wf_load_u32(&t->state, WF_ACQUIRE);
}

/* Has it fired since it was armed? */
WF_INLINE bool wf_timer_fired(const struct wf_timer *t)
{
    return wf_timer_look(t) == WF_TIMER_FIRED;
}

/*
 * Fire all timers that are due at now_ns and wake their targets, outside the lock. Any number of
 * threads may do it at once and share the work. A now_ns older than an earlier call's fires
 * nothing. Returns the number of timers that this call fired.
 */
unsigned wf_wheel_advance(struct wf_wheel *w, uint64_t now_ns);

/*
 * For a clock that stands still at now_ns: the same, and what is due within the tick that is under way. It looks at
 * each timer of one slot.
 */
unsigned wf_wheel_advance_exactly(struct wf_wheel *w, uint64_t now_ns);

/* The earliest deadline of any timer; WEFT_FOREVER: none. It looks at each timer of one slot. */
uint64_t wf_wheel_first(struct wf_wheel *w);

/*
 * The rest is for the implementation and its tests.
 */

#define WF_WHEEL_TICK_SHIFT 16 /* a tick is 2^16 ns, 65.536 us */
#ifndef WF_WHEEL_LEVELS        /* a test build has smaller ones */
# define WF_WHEEL_LEVELS    6  /* 6 levels of 8 bits and 16 bits of tick: all 64 bits of a time */
# define WF_WHEEL_SLOT_BITS 8
#endif
#define WF_WHEEL_SLOTS (1u << WF_WHEEL_SLOT_BITS)
#define WF_WHEEL_NEVER (WF_WHEEL_LEVELS * WF_WHEEL_SLOTS) /* the slot of what never fires */

struct wf_wheel_slot {
    struct wf_list timers; /* in the order of arming */
    uint64_t first;        /* no timer here is due before, in ns; WEFT_FOREVER when empty */
};

#define WF_WHEEL_WORDS (WF_WHEEL_SLOTS / 64)

struct wf_wheel {
    /* atomic: written under the lock, read by anyone */
    struct wf_atomic_u64 next;    /* nothing is due before, in ns */
    struct wf_atomic_u64 count;   /* timers armed */
    struct wf_atomic_u64 lowered; /* how often an arming has made next earlier */

    struct wf_gate *gate; /* set once */

    /* under its lock */
    uint32_t levels;                                    /* bit per level: it has a slot in use */
    uint64_t tick;                                      /* all earlier ticks are done */
    uint64_t used[WF_WHEEL_LEVELS + 1][WF_WHEEL_WORDS]; /* bit per slot: it has a timer */
    struct wf_list cascade; /* of the slot that tick has reached: to be spread */
    struct wf_wheel_slot slots[WF_WHEEL_NEVER + 1];
};

/* If it is armed: on this wheel? For the owner of t. */
WF_INLINE bool wf_timer_is_of(const struct wf_timer *t, const struct wf_wheel *w)
{
    return t->gate == w->gate;
}

/*
 * The moment at which advance has something to do; WEFT_FOREVER: never. It is the tick of the
 * earliest timer, or, where that timer was cancelled, at most once per level a moment before.
 */
WF_INLINE uint64_t wf_wheel_next(const struct wf_wheel *w)
{
    /* relaxed: a hint for when to look; who arms an earlier timer tells the sleeper itself */
    return wf_load_u64(&w->next, WF_RELAXED);
}

/*
 * How often an arming has made next earlier. For those who must tell others of it: next itself may be what
 * it was, and yet others have looked in between, when it was later.
 */
WF_INLINE uint64_t wf_wheel_lowered(const struct wf_wheel *w)
{
    /* relaxed: for the thread that arms */
    return wf_load_u64(&w->lowered, WF_RELAXED);
}

/* Timers armed now. */
WF_INLINE uint64_t wf_wheel_count(const struct wf_wheel *w)
{
    /* relaxed: a statistic */
    return wf_load_u64(&w->count, WF_RELAXED);
}

/* Verify all invariants that can be seen; the lock is not held. For tests. */
void wf_wheel_check(struct wf_wheel *w);

#endif
