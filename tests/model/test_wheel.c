/* SPDX-License-Identifier: MIT */
/*
 * test_wheel.c - timers under all interleavings of arming, cancelling, firing and the end of their wheel: each wakes
 * its target once or is cancelled once, and belongs to its owner again afterwards.
 *
 * A timer is freed by its owner as soon as that is allowed, and the wheel has the only reference to the
 * target: whoever touches either too late uses memory after its end. A wake is plain memory: two are a
 * race. Two timers fill a batch, and two are cascaded at a time.
 */
#include "base/sys.h"
#include "model/model.h"
#include "time/wheel.h"

#define TIMERS 4
#define TICK   ((uint64_t)1 << WF_WHEEL_TICK_SHIFT)

enum { CANCELLED, FIRED, IN_CASCADE, RETARGETED, SHARED, LATE, LEFT };

struct sleeper {
    weft_wakeable wakeable;
    struct wf_atomic_u32 refs;
    unsigned index; /* of its timer, and TIMERS more for each that the timer had before */
    uint64_t deadline;
};

static struct wf_wheel wheel, other;
static struct wf_timer *timers[TIMERS];
static unsigned armed[TIMERS], cancelled[TIMERS]; /* how often, by the owner */
static unsigned woken[3 * TIMERS];                /* by who fires */
static unsigned fired[4];                         /* what advance returned, by thread */
static uint64_t clock_of[4];                      /* by thread: where it advances to */
static struct wf_atomic_u32 told;                 /* somebody was woken; orders nothing */

/* Its memory goes as soon as nothing is armed on it. */
static struct wf_wheel *doomed;
static unsigned left; /* woken by its end */
static bool leaving[4];

static void sleeper_retain(weft_wakeable *w)
{
    struct sleeper *s = wf_container_of(w, struct sleeper, wakeable);

    (void)wf_add_u32(&s->refs, 1, WF_RELAXED);
}

static void sleeper_wake(weft_wakeable *w)
{
    struct sleeper *s = wf_container_of(w, struct sleeper, wakeable);

    if (leaving[model_thread_self()])
        left++;
    else
        CHECK(s->deadline <= clock_of[model_thread_self()]); /* never early */
    woken[s->index]++;
    wf_store_u32(&told, 1, WF_RELAXED);
}

static void sleeper_release(weft_wakeable *w)
{
    struct sleeper *s = wf_container_of(w, struct sleeper, wakeable);

    if (wf_sub_u32(&s->refs, 1, WF_ACQ_REL) == 1)
        wf_sys_free(s);
}

static const weft_wakeable_type sleeper_type = {sleeper_retain, sleeper_wake, sleeper_release};

static weft_wakeable *sleeper_new(unsigned index, uint64_t deadline)
{
    struct sleeper *s = wf_sys_malloc(sizeof(*s));

    *s = (struct sleeper){{&sleeper_type}, {1}, index, deadline};
    return &s->wakeable;
}

static void arm(unsigned i, struct wf_wheel *w, uint64_t deadline)
{
    if (!timers[i])
        timers[i] = wf_sys_calloc(1, sizeof(*timers[i]));
    wf_timer_arm(timers[i], w, deadline, sleeper_new(armed[i] * TIMERS + i, deadline));
    armed[i]++;
}

/* From here on nobody else touches it. */
static void forget(unsigned i)
{
    wf_sys_free(timers[i]);
    timers[i] = NULL;
}

static void advance_to(struct wf_wheel *w, uint64_t now)
{
    unsigned self = model_thread_self(), n;

    clock_of[self] = now;
    n = wf_wheel_advance(w, now);
    fired[self] += n;
    if (n)
        model_reached(FIRED);
}

static bool cancel(unsigned i)
{
    bool was = wf_timer_cancel(timers[i]);

    cancelled[i] += was;
    if (was)
        model_reached(CANCELLED);
    return was;
}

static void begin(void)
{
    wf_wheel_init(&wheel, 0);
    wf_wheel_init(&other, 0);
}

static void begin_one(void)
{
    begin();
    arm(0, &wheel, TICK);
}

/* Due at ticks 1, 2, 2: more than a batch. */
static void begin_three(void)
{
    begin_one();
    arm(1, &wheel, 2 * TICK);
    arm(2, &wheel, 2 * TICK - 5);
}

/* In one slot of the second level: to be cascaded before they fire. */
static void begin_cascade(void)
{
    begin();
    for (unsigned i = 0; i < 3; i++)
        arm(i, &wheel, (WF_WHEEL_SLOTS + i) * TICK);
}

static void begin_doomed(void)
{
    begin();
    doomed = wf_sys_calloc(1, sizeof(*doomed));
    wf_wheel_init(doomed, 0);
    arm(0, doomed, TICK);
}

/* Three to be cascaded, two at a time: one may be left on its way. */
static void begin_doomed_cascade(void)
{
    begin_doomed();
    for (unsigned i = 1; i < TIMERS; i++)
        arm(i, doomed, (WF_WHEEL_SLOTS + i) * TICK);
}

static void end(void)
{
    unsigned fires = 0, by_return = 0;

    advance_to(&wheel, 1000 * TICK);
    advance_to(&other, 1000 * TICK);
    for (unsigned i = 0; i < TIMERS; i++) {
        unsigned wakes = woken[i] + woken[TIMERS + i] + woken[2 * TIMERS + i];

        CHECK_EQ(armed[i], wakes + cancelled[i]);
        fires += wakes;
        if (timers[i])
            forget(i);
    }
    for (unsigned i = 0; i < 4; i++) {
        by_return += fired[i];
        if (i > 1 && fired[1] && fired[i])
            model_reached(SHARED);
    }
    CHECK_EQ(fires, by_return + left);
    CHECK(wf_wheel_next(&wheel) == WEFT_FOREVER && wf_wheel_next(&other) == WEFT_FOREVER);
    CHECK_EQ(0, wf_wheel_count(&wheel) + wf_wheel_count(&other));
    wf_wheel_release(&wheel);
    wf_wheel_release(&other);
}

static void advance_1(void)
{
    advance_to(&wheel, TICK);
}

static void advance_2(void)
{
    advance_to(&wheel, 2 * TICK);
}

static void advance_1_2(void)
{
    advance_to(&wheel, TICK);
    advance_to(&wheel, 2 * TICK);
}

static void advance_other(void)
{
    advance_to(&other, 3 * TICK);
}

static void advance_far(void)
{
    advance_to(&wheel, 70 * TICK);
}

/* Nobody looks at it from here on. */
static void leave(void)
{
    unsigned self = model_thread_self();

    leaving[self] = true;
    wf_wheel_leave(doomed);
    CHECK_EQ(0, wf_wheel_count(doomed));
    leaving[self] = false;
    if (left)
        model_reached(LEFT);
}

static void end_doomed(void)
{
    CHECK_EQ(0, wf_wheel_count(doomed));
    wf_wheel_release(doomed);
    wf_sys_free(doomed);
}

static void leave_and_free(void)
{
    leave();
    end_doomed();
}

static void advance_leave_and_free(void)
{
    advance_to(doomed, TICK);
    leave_and_free();
}

static void advance_doomed(void)
{
    advance_to(doomed, (WF_WHEEL_SLOTS + 1) * TICK);
}

static void free_doomed(void)
{
    end_doomed();
    end();
}

static void cancel_0(void)
{
    (void)cancel(0);
    forget(0);
}

static void cancel_1(void)
{
    (void)cancel(1);
    forget(1);
}

static void wait_fired(unsigned i)
{
    while (!wf_timer_fired(timers[i]))
        wf_spin_pause();
}

static void free_when_fired(void)
{
    wait_fired(0);
    forget(0);
}

static void arm_elsewhere_when_fired(void)
{
    wait_fired(0);
    arm(0, &other, 3 * TICK);
}

/* It knows that it was woken, and has not looked at the timer. */
static void arm_elsewhere_when_told(void)
{
    while (!wf_load_u32(&told, WF_RELAXED))
        wf_spin_pause();
    arm(0, &other, 3 * TICK);
}

/* A task of another runtime sees that the wheel has gone, and goes on with the timer there. */
static void arm_elsewhere_when_left(void)
{
    while (wf_timer_look(timers[0]) == WF_TIMER_ARMED)
        wf_spin_pause();
    arm(0, &other, 3 * TICK);
}

static void take_and_arm_elsewhere(void)
{
    weft_wakeable *target = wf_timer_take(timers[0]);

    if (target) {
        cancelled[0]++;
        model_reached(CANCELLED);
        target->type->release(target);
    }
    arm(0, &other, 3 * TICK);
}

/* As a task that was stolen: it goes on with the timer on another seat. */
static void cancel_and_arm_elsewhere(void)
{
    if (!cancel(0))
        model_reached(LATE);
    arm(0, &other, 3 * TICK);
    (void)cancel(0);
    forget(0);
}

static void retarget(void)
{
    weft_wakeable *target = sleeper_new(2 * TIMERS, TICK);

    if (wf_timer_retarget(timers[0], target)) {
        model_reached(RETARGETED);
        CHECK(wf_timer_wakes(timers[0], target));
    } else {
        model_reached(LATE);
        target->type->release(target);
    }
}

static void retarget_and_cancel(void)
{
    retarget();
    cancel_0();
}

/* What is armed is published, at the tick that the wheel has come to if its own has passed: who cannot see it
 * in `next` any more finds it fired. */
static void arm_earlier(void)
{
    arm(3, &wheel, TICK);
    if (wf_wheel_next(&wheel) > 2 * TICK) {
        model_reached(LATE);
        CHECK(!cancel(3));
    }
    (void)cancel(3);
    forget(3);
}

static void arm_at_2(void)
{
    arm(3, &wheel, 2 * TICK);
}

__attribute__((no_sanitize("thread"))) static bool in_cascade(const struct wf_timer *t)
{
    WF_LIST_FOREACH(link, &wheel.cascade)
        if (link == &t->link)
            return true;
    return false;
}

/* The lock is given up while the cascade is spread. */
static void cancel_in_cascade(void)
{
    bool there = in_cascade(timers[2]);

    if (cancel(2) && there)
        model_reached(IN_CASCADE);
    forget(2);
}

const struct model_test model_tests[] = {
    {.name = "a timer fires or is cancelled",
     .begin = begin_one,
     .thread = {advance_1, cancel_0},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << CANCELLED | 1u << FIRED},
    {.name = "who sees that it fired may free it",
     .begin = begin_one,
     .thread = {advance_1, free_when_fired},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << FIRED},
    {.name = "two fire, one cancels",
     .begin = begin_three,
     .thread = {advance_2, advance_1_2, cancel_1},
     .end = end,
     .stale = 1,
     .must_reach = 1u << CANCELLED | 1u << FIRED | 1u << SHARED},
    {.name = "who sees that it fired may arm it elsewhere",
     .begin = begin_one,
     .thread = {advance_1, arm_elsewhere_when_fired, advance_other},
     .end = end,
     .must_reach = 1u << FIRED},
    {.name = "who was woken may arm it elsewhere",
     .begin = begin_one,
     .thread = {advance_1, arm_elsewhere_when_told, advance_other},
     .end = end,
     .stale = MODEL_NONE, /* what it is told of is so, but for the order */
     .must_reach = 1u << FIRED},
    {.name = "a timer moves to another wheel",
     .begin = begin_one,
     .thread = {advance_1, cancel_and_arm_elsewhere, advance_other},
     .end = end,
     .stale = 1,
     .must_reach = 1u << CANCELLED | 1u << FIRED | 1u << LATE},
    {.name = "another target than before is woken, or the old one was",
     .begin = begin_one,
     .thread = {advance_1, retarget_and_cancel},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << CANCELLED | 1u << FIRED | 1u << RETARGETED | 1u << LATE},
    {.name = "armed and cancelled while others fire",
     .begin = begin_one,
     .thread = {advance_2, arm_earlier, cancel_0},
     .end = end,
     .stale = 1,
     .must_reach = 1u << CANCELLED | 1u << FIRED | 1u << LATE},
    {.name = "armed from two threads",
     .begin = begin_one,
     .thread = {arm_at_2, retarget_and_cancel, advance_1_2},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = 1u << CANCELLED | 1u << FIRED},
    {.name = "cancelled in the middle of a cascade",
     .begin = begin_cascade,
     .thread = {advance_far, cancel_in_cascade},
     .end = end,
     .preemptions = 3,
     .must_reach = 1u << CANCELLED | 1u << FIRED | 1u << IN_CASCADE},
    {.name = "a wheel goes, and a timer was cancelled or left",
     .begin = begin_doomed,
     .thread = {leave_and_free, cancel_0},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << CANCELLED | 1u << LEFT},
    {.name = "a wheel goes when its timer has fired, and who cancels comes late",
     .begin = begin_doomed,
     .thread = {advance_leave_and_free, cancel_0},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << CANCELLED | 1u << FIRED},
    {.name = "a wheel goes, and another target than before is woken, or the old one was",
     .begin = begin_doomed,
     .thread = {advance_leave_and_free, retarget_and_cancel},
     .end = end,
     .preemptions = 3,
     .must_reach = 1u << CANCELLED | 1u << FIRED | 1u << RETARGETED | 1u << LATE},
    {.name = "who sees that the wheel has gone may arm it elsewhere",
     .begin = begin_doomed,
     .thread = {leave_and_free, arm_elsewhere_when_left, advance_other},
     .end = end,
     .must_reach = 1u << LEFT},
    {.name = "a wheel goes, and a timer was taken or left, and moves",
     .begin = begin_doomed,
     .thread = {leave_and_free, take_and_arm_elsewhere, advance_other},
     .end = end,
     .stale = 1,
     .must_reach = 1u << CANCELLED | 1u << LEFT},
    {.name = "one leaves while another fires",
     .begin = begin_doomed_cascade,
     .thread = {leave, advance_doomed, cancel_0},
     .end = free_doomed,
     .stale = 1,
     .must_reach = 1u << CANCELLED | 1u << FIRED | 1u << LEFT},
    {.name = "two cascade, two cancel",
     .begin = begin_cascade,
     .thread = {advance_far, advance_far, cancel_in_cascade, cancel_0},
     .end = end,
     .stale = 1,
     .deep = true,
     .must_reach = 1u << CANCELLED | 1u << FIRED | 1u << SHARED},
    {0},
};
