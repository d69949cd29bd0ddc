/* SPDX-License-Identifier: MIT */
/*
 * test_alarm.c - the alarm under all interleavings: the timers of a worker that is busy are fired by one that sleeps.
 *
 * Workers without tasks, with real seats, hub and wheels. One arms timers, tells the alarm as it would between
 * polls (A1 of park.c), and is then stuck until they have fired. The others do nothing but park. Were they to
 * sleep beyond a timer, nobody could go on, which the explorer reports.
 */
#include "base/clock.h"
#include "base/sys.h"
#include "model/model.h"
#include "sched/worker.h"

#include <weft/base.h>

#define TIMERS 2
#define SEATS  3
#define TICK   ((uint64_t)1 << WF_WHEEL_TICK_SHIFT)

enum { ALARM_SET, TWO_SLEEPS, CANCELLED };

static struct weft_runtime runtime;
static struct wf_worker workers[SEATS];
static struct wf_timer timers[TIMERS];
static weft_wakeable target;
static struct wf_atomic_u32 fired;
static unsigned wanted;

static void target_wake(weft_wakeable *w)
{
    CHECK(w == &target);
    /* With the last one all may go, also those who sleep on. */
    if (wf_add_u32(&fired, 1, WF_ACQ_REL) + 1 == wanted)
        wf_hub_signal(&runtime.hub);
}

static void target_count(weft_wakeable *w)
{
    CHECK(w == &target);
}

static const weft_wakeable_type target_type = {target_count, target_wake, target_count};

static void begin(unsigned seats, unsigned count)
{
    size_t size = seats * sizeof(struct wf_seat);

    target.type = &target_type;
    wanted = count;
    runtime.workers = seats;
    wf_idle_init(&runtime.idle, seats);
    wf_inject_init(&runtime.inject);
    CHECK_EQ(0, wf_hub_open(&runtime.hub, WF_HUB_MANY));
    runtime.seats = wf_sys_aligned_alloc(WF_CACHE_LINE, size);
    for (unsigned i = 0; i < seats; i++)
        CHECK_EQ(0, wf_seat_init(&runtime.seats[i], &runtime, i, true, 1));
}

static void begin_one(void)
{
    begin(2, 1);
}

static void begin_two(void)
{
    begin(2, 2);
}

/* The second worker has a timer, too. */
static void begin_third(void)
{
    begin(3, 2);
    wf_timer_arm(&timers[0], &runtime.seats[1].wheel, (wf_clock_now() / TICK + 2) * TICK, &target);
}

static void end(void)
{
    CHECK_EQ(wanted, fired.raw);
    CHECK_EQ(0, runtime.idle.word.raw);
    for (unsigned i = 0; i < runtime.workers; i++)
        wf_seat_release(&runtime.seats[i]);
    wf_sys_free(runtime.seats);
    wf_hub_close(&runtime.hub);
}

__attribute__((no_sanitize("thread"))) static bool all_fired(void *arg)
{
    (void)arg;
    return fired.raw == wanted;
}

static void arm(unsigned i, unsigned ticks)
{
    struct wf_worker *w = &workers[0];

    uint64_t lowered;

    wf_timer_arm(&timers[i], &w->seat->wheel, (wf_clock_now() / TICK + ticks) * TICK, &target);
    /* As worker_check_alarm. */
    lowered = wf_wheel_lowered(&w->seat->wheel);
    if (lowered != w->alarmed) {
        w->alarmed = lowered;
        wf_worker_alarm(w);
    }
    if (wf_hub_alarm(&runtime.hub) != WEFT_FOREVER)
        model_reached(ALARM_SET);
}

static void enter(unsigned self)
{
    struct wf_worker *w = &workers[self];

    w->rt = &runtime;
    w->seat = w->home = &runtime.seats[self];
    wf_worker_enter(w);
}

static void busy_begin(void)
{
    enter(0);
}

static void busy_end(void)
{
    (void)model_block(all_fired, NULL, UINT64_MAX);
    wf_worker_leave(&workers[0]);
}

static void busy_arms(void)
{
    busy_begin();
    arm(0, 3);
    busy_end();
}

static void busy_arms_earlier(void)
{
    busy_begin();
    arm(0, 5);
    arm(1, 2);
    busy_end();
}

/* While the other one fires the first, perhaps. */
static void busy_arms_later(void)
{
    busy_begin();
    arm(0, 1);
    arm(1, 4);
    busy_end();
}

/* At the same moment as one that was there before: who went to sleep in between has seen neither. */
static void busy_arms_again(void)
{
    busy_begin();
    arm(0, 3);
    if (wf_timer_cancel(&timers[0])) {
        model_reached(CANCELLED);
        arm(0, 3);
    }
    busy_end();
}

static void busy_arms_second(void)
{
    busy_begin();
    arm(1, 4);
    busy_end();
}

static void park_until(unsigned self, unsigned count)
{
    struct wf_worker *w = &workers[self];
    unsigned sleeps = 0;

    enter(self);
    for (; wf_load_u32(&fired, WF_ACQUIRE) < count; sleeps++)
        wf_worker_park(w, WEFT_FOREVER);
    if (sleeps > 1)
        model_reached(TWO_SLEEPS);
}

static void idle(void)
{
    park_until(1, wanted);
    wf_worker_leave(&workers[1]);
}

static void idle_until_first(void)
{
    park_until(1, 1);
    (void)model_block(all_fired, NULL, UINT64_MAX);
    wf_worker_leave(&workers[1]);
}

static void idle_third(void)
{
    park_until(2, wanted);
    wf_hub_signal(&runtime.hub);
    wf_worker_leave(&workers[2]);
}

const struct model_test model_tests[] = {
    {.name = "a timer armed by a busy worker is fired by one that sleeps",
     .begin = begin_one,
     .thread = {busy_arms, idle},
     .end = end,
     .late_clock = true,
     .must_reach = 1u << ALARM_SET},
    {.name = "an earlier one lowers the alarm",
     .begin = begin_two,
     .thread = {busy_arms_earlier, idle},
     .end = end,
     .late_clock = true,
     .stale = 1,
     .must_reach = 1u << ALARM_SET | 1u << TWO_SLEEPS},
    {.name = "one is armed where one was cancelled",
     .begin = begin_one,
     .thread = {busy_arms_again, idle},
     .end = end,
     .late_clock = true,
     .must_reach = 1u << ALARM_SET | 1u << CANCELLED},
    {.name = "a later one is armed while the alarm goes off",
     .begin = begin_two,
     .thread = {busy_arms_later, idle},
     .end = end,
     .stale = 1,
     .must_reach = 1u << ALARM_SET | 1u << TWO_SLEEPS},
    /* A look at all wheels that misses a timer everywhere is three old values. */
    {.name = "one sleeps on while the alarm goes off, and both others are busy then",
     .begin = begin_third,
     .thread = {busy_arms_second, idle_until_first, idle_third},
     .end = end,
     .late_clock = true,
     .preemptions = MODEL_NONE,
     .stale = 3,
     .must_reach = 1u << ALARM_SET},
    {.name = "one sleeps on, in more depth",
     .begin = begin_third,
     .thread = {busy_arms_second, idle_until_first, idle_third},
     .end = end,
     .late_clock = true,
     .stale = 1,
     .deep = true},
    {0},
};
