/* SPDX-License-Identifier: MIT */
/*
 * interval.c - ticks at a period: a timer in the interval, and the moment of the next tick.
 *
 * IDEA     A tick that is taken sets the moment of the next one, by the policy; so a wait that is cancelled
 *          changes nothing, and no tick depends on when the one before was taken, unless it was missed.
 *          The timer is the interval's, not the future's: then a reset finds it.
 * WHO      One task at a time, which owns the interval and its tick. The timer is the wheel's, see wheel.h.
 * TESTS    tests/api/test_interval.c, tests/model/test_sleep.c
 */
#include "base/log.h"
#include "task/await.h"
#include "task/now.h"
#include "task/sleep.h"
#include "task/waker.h"

#include <errno.h>
#include <weft/time.h>

/* A tick is missed when it is late by so much, or by a whole period. */
#define INTERVAL_LATE_NS 1000000u

/* A weft_interval, from inside. */
struct interval {
    struct wf_timer timer; /* for the tick that is awaited */
    const weft_future *ticker;
    uint64_t next;   /* the moment of the next tick */
    uint64_t period; /* 0: not initialised */
    uint32_t missed; /* weft_tick_policy */
};

_Static_assert(sizeof(struct interval) <= sizeof(weft_interval), "weft_interval is too small");

enum { TICK_INTERVAL, TICK_SCHEDULED };

enum { TICK_DUE = 1 }; /* aux_: armed for a tick that was due, for want of budget */

static struct interval *interval_of(weft_interval *iv)
{
    return (struct interval *)(void *)iv->words_;
}

static const struct interval *interval_check(const weft_interval *iv, const char *call)
{
    const struct interval *i = iv ? (const struct interval *)(const void *)iv->words_ : NULL;

    if (wf_likely(i && i->period))
        return i;
    (void)wf_misuse(-EINVAL, "%s: the interval is NULL or was not initialised", call);
    return NULL;
}

/* The tick of this moment was taken. */
static void interval_step(struct interval *i)
{
    uint64_t late, now;

    if (i->missed == WEFT_TICK_BURST) {
        i->next = weft_instant_add(i->next, i->period);
        return;
    }
    now = wf_now();
    late = now > i->next ? now - i->next : 0;
    if (i->missed == WEFT_TICK_SKIP)
        i->next = weft_instant_add(i->next, late - late % i->period);
    else if (late >= INTERVAL_LATE_NS || late >= i->period)
        i->next = now;
    i->next = weft_instant_add(i->next, i->period);
}

static struct interval *tick_interval(const weft_future *f)
{
    return (struct interval *)f->words[TICK_INTERVAL]; /* NOLINT(performance-no-int-to-ptr) */
}

static void tick_tell(const weft_future *f, weft_instant scheduled)
{
    weft_instant *at = (weft_instant *)f->words[TICK_SCHEDULED]; /* NOLINT */

    if (at)
        *at = scheduled;
}

static weft_poll tick_end(weft_future *f, ssize_t result)
{
    struct interval *i = tick_interval(f);

    if (i->ticker == f)
        i->ticker = NULL;
    f->result = result;
    if (result < 0)
        return WEFT_READY;
    i->timer = (struct wf_timer){0};
    tick_tell(f, i->next);
    interval_step(i);
    return WEFT_READY;
}

static weft_poll tick_poll(weft_future *f, weft_context *cx)
{
    struct interval *i = tick_interval(f);
    enum wf_timer_state state = WF_TIMER_IDLE;
    uint64_t now;

    if (i->ticker && i->ticker != f)
        return tick_end(f, -EBUSY);
    if (i->ticker)
        state = wf_timer_repoll(&i->timer, cx);
    if (state == WF_TIMER_ARMED)
        return WEFT_PENDING;
    if (state == WF_TIMER_FIRED) {
        if (wf_unlikely(f->aux_ == TICK_DUE))
            wf_coop_spend();
        return tick_end(f, 0);
    }
    if (!wf_thread_self())
        return tick_end(f, -EPERM);
    now = wf_now();
    if (i->next <= now && wf_coop_proceed(cx))
        return tick_end(f, 0);
    /* Whatever the budget is, and also for a tick that is due, as a sleep. */
    f->aux_ = i->next <= now ? TICK_DUE : 0;
    i->ticker = f;
    i->timer = (struct wf_timer){0};
    wf_timer_arm(&i->timer, wf_thread_self()->wheel, i->next,
                 wf_wakeable_retain(cx->waker_.target_));
    return WEFT_PENDING;
}

static void tick_drop(weft_future *f)
{
    struct interval *i = tick_interval(f);

    if (i->ticker != f)
        return;
    wf_timer_cancel(&i->timer);
    i->ticker = NULL;
}

static const weft_future_type tick_type = {tick_poll, tick_drop, "tick"};

int weft_interval_init_at(weft_interval *iv, weft_instant start, weft_duration period)
{
    if (!iv || period == 0)
        return wf_misuse(-EINVAL, "weft_interval_init: the interval is NULL or its period is 0");
    *interval_of(iv) = (struct interval){.next = start, .period = period};
    return 0;
}

int weft_interval_init(weft_interval *iv, weft_duration period)
{
    return weft_interval_init_at(iv, wf_now(), period);
}

weft_future weft_interval_tick_future(weft_interval *iv, weft_instant *scheduled)
{
    if (!interval_check(iv, "weft_interval_tick"))
        return weft_ready_future(-EINVAL);
    return (weft_future){.type = &tick_type, .words = {(uintptr_t)iv, (uintptr_t)scheduled}};
}

int weft_interval_tick(weft_interval *iv, weft_instant *scheduled)
{
    weft_future tick;

    if (!interval_check(iv, "weft_interval_tick"))
        return -EINVAL;
    if (!wf_fiber_self())
        return wf_misuse(-EPERM, "weft_interval_tick: called outside a fiber");
    tick = weft_interval_tick_future(iv, scheduled);
    return (int)weft_await(&tick);
}

int weft_interval_set_missed(weft_interval *iv, weft_tick_policy policy)
{
    if (!interval_check(iv, "weft_interval_set_missed"))
        return -EINVAL;
    if ((unsigned)policy > WEFT_TICK_SKIP)
        return wf_misuse(-EINVAL, "weft_interval_set_missed: there is no policy %u",
                         (unsigned)policy);
    interval_of(iv)->missed = policy;
    return 0;
}

weft_tick_policy weft_interval_missed(const weft_interval *iv)
{
    const struct interval *i = interval_check(iv, "weft_interval_missed");

    return i ? (weft_tick_policy)i->missed : WEFT_TICK_BURST;
}

weft_duration weft_interval_period(const weft_interval *iv)
{
    const struct interval *i = interval_check(iv, "weft_interval_period");

    return i ? i->period : 0;
}

int weft_interval_reset_at(weft_interval *iv, weft_instant at)
{
    if (!interval_check(iv, "weft_interval_reset"))
        return -EINVAL;
    interval_of(iv)->next = at;
    if (interval_of(iv)->ticker)
        wf_timer_reset(&interval_of(iv)->timer, at);
    return 0;
}

int weft_interval_reset_after(weft_interval *iv, weft_duration d)
{
    return weft_interval_reset_at(iv, weft_instant_add(wf_now(), d));
}

int weft_interval_reset_immediately(weft_interval *iv)
{
    return weft_interval_reset_after(iv, 0);
}

int weft_interval_reset(weft_interval *iv)
{
    const struct interval *i = interval_check(iv, "weft_interval_reset");

    return i ? weft_interval_reset_after(iv, i->period) : -EINVAL;
}
