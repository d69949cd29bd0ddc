/* SPDX-License-Identifier: MIT */
/*
 * test_gate.c - wheels that go before their timers do, and the gates that they leave behind.
 */
#include "support.h"
#include "time/wheel.h"

#include <stdlib.h>
#include <sys/mman.h>

#define TICK   ((uint64_t)1 << WF_WHEEL_TICK_SHIFT)
#define TIMERS 100u
#define WHEELS 150u /* at a time: more than there are gates without memory */

struct sleeper {
    weft_wakeable wakeable;
    struct wf_timer timer;
    unsigned references, wakes;
};

static struct sleeper *sleeper_of(weft_wakeable *w)
{
    return wf_container_of(w, struct sleeper, wakeable);
}

static void sleeper_retain(weft_wakeable *w)
{
    sleeper_of(w)->references++;
}

static void sleeper_wake(weft_wakeable *w)
{
    sleeper_of(w)->wakes++;
}

static void sleeper_release(weft_wakeable *w)
{
    CHECK(sleeper_of(w)->references-- > 0);
}

static const weft_wakeable_type sleeper_type = {sleeper_retain, sleeper_wake, sleeper_release};

static void arm(struct sleeper *s, struct wf_wheel *w, uint64_t deadline)
{
    s->wakeable.type = &sleeper_type;
    s->references++;
    wf_timer_arm(&s->timer, w, deadline, &s->wakeable);
}

/* A wheel whose memory faults when it is gone. */
static struct wf_wheel *wheel_new(uint64_t now)
{
    void *p = mmap(NULL, sizeof(struct wf_wheel), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    CHECK_EQ(0, wf_wheel_init(p, now));
    return p;
}

static void wheel_free(struct wf_wheel *w)
{
    wf_wheel_release(w);
    CHECK_EQ(0, munmap(w, sizeof(*w)));
}

/* On all levels, some of them to be cascaded, one never due; more than a batch. */
static void arm_all(struct sleeper *s, struct wf_wheel *w)
{
    for (unsigned i = 0; i < TIMERS - 1; i++)
        arm(&s[i], w, (1 + ((uint64_t)1 << i % 44) + i) * TICK);
    arm(&s[TIMERS - 1], w, WEFT_FOREVER);
}

TEST(who_leaves_wakes_all_that_are_armed_once)
{
    struct sleeper *s = calloc(TIMERS, sizeof(*s));
    struct wf_wheel *w = wheel_new(0), *other;
    unsigned fired, woken = 0;

    CHECK(s);
    arm_all(s, w);
    CHECK(wf_timer_cancel(&s[3].timer));
    fired = wf_wheel_advance(w, 300 * TICK);
    CHECK(fired > 0);
    wf_wheel_leave(w);
    CHECK_EQ(0, wf_wheel_count(w));
    CHECK(wf_wheel_next(w) == WEFT_FOREVER);
    wf_wheel_check(w);
    for (unsigned i = 0; i < TIMERS; i++) {
        CHECK_EQ(i != 3, s[i].wakes);
        CHECK_EQ(0, s[i].references);
        woken += wf_timer_look(&s[i].timer) == WF_TIMER_IDLE && i != 3;
    }
    CHECK_EQ(TIMERS - 1, fired + woken);
    wf_wheel_leave(w); /* again: nobody is there */
    wheel_free(w);

    /* They are their owners', who may go on with them. */
    other = wheel_new(0);
    arm_all(s, other);
    wf_wheel_leave(other);
    for (unsigned i = 0; i < TIMERS; i++)
        CHECK_EQ(2 - (i == 3), s[i].wakes);
    wheel_free(other);
    free(s);
}

TEST(calls_on_a_timer_touch_no_wheel_that_is_gone)
{
    struct wf_wheel *w = wheel_new(0);
    struct sleeper fired = {0}, left = {0}, stranger = {.wakeable = {&sleeper_type}};
    struct sleeper *both[] = {&fired, &left};

    arm(&fired, w, TICK);
    arm(&left, w, 5 * TICK);
    CHECK_EQ(1, wf_wheel_advance(w, TICK));
    wf_wheel_leave(w);
    wheel_free(w);
    CHECK(wf_timer_fired(&fired.timer));
    CHECK(!wf_timer_fired(&left.timer));
    for (unsigned i = 0; i < 2; i++) {
        CHECK(!wf_timer_cancel(&both[i]->timer));
        CHECK(!wf_timer_take(&both[i]->timer));
        CHECK(!wf_timer_rearm(&both[i]->timer, 3 * TICK));
        CHECK(!wf_timer_retarget(&both[i]->timer, &stranger.wakeable));
        CHECK_EQ(1, both[i]->wakes);
    }
    CHECK_EQ(0, stranger.references + stranger.wakes);
}

TEST(a_wheel_has_a_gate_of_its_own_and_the_next_one_has_it_then)
{
    struct wf_wheel *w = calloc(WHEELS, sizeof(*w));
    struct wf_gate *gates[WHEELS];

    CHECK(w);
    for (unsigned i = 0; i < WHEELS; i++) {
        CHECK_EQ(0, wf_wheel_init(&w[i], i));
        gates[i] = w[i].gate;
        CHECK_EQ(0, (uintptr_t)gates[i] % WF_CACHE_LINE);
        for (unsigned k = 0; k < i; k++)
            CHECK(gates[k] != gates[i]);
    }
    for (unsigned i = 0; i < WHEELS; i++)
        wf_wheel_release(&w[i]);
    for (unsigned i = 0; i < WHEELS; i++) {
        unsigned k = 0;

        CHECK_EQ(0, wf_wheel_init(&w[i], i));
        CHECK(w[i].gate->wheel == &w[i]);
        while (k < WHEELS && gates[k] != w[i].gate)
            k++;
        CHECK(k < WHEELS);
        gates[k] = NULL; /* once */
    }
    for (unsigned i = 0; i < WHEELS; i++)
        wf_wheel_release(&w[i]);
    free(w);
}

TEST_MAIN("gate", who_leaves_wakes_all_that_are_armed_once,
          calls_on_a_timer_touch_no_wheel_that_is_gone,
          a_wheel_has_a_gate_of_its_own_and_the_next_one_has_it_then)
