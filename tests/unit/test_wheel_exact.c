/* SPDX-License-Identifier: MIT */
/*
 * test_wheel_exact.c - what clocks that stand still and timers that are set anew ask of the wheel: exact moments,
 * another deadline, a timer taken out with its target; against a list of all timers.
 *
 * Time is a number here.
 */
#include "support.h"
#include "time/wheel.h"

#include <stdlib.h>

#define TICK  ((uint64_t)1 << WF_WHEEL_TICK_SHIFT)
#define COUNT 64

/* A timer with a target of its own. */
struct node {
    weft_wakeable base;
    int references, wakes;
    struct wf_timer timer;
    bool armed; /* what the list says */
};

static struct node *node_of(weft_wakeable *w)
{
    return wf_container_of(w, struct node, base);
}

static void node_retain(weft_wakeable *w)
{
    node_of(w)->references++;
}

static void node_wake(weft_wakeable *w)
{
    node_of(w)->wakes++;
}

static void node_release(weft_wakeable *w)
{
    node_of(w)->references--;
}

static const weft_wakeable_type node_type = {node_retain, node_wake, node_release};

static struct wf_wheel wheel;
static struct node nodes[COUNT];

static void begin(uint64_t now)
{
    wf_wheel_init(&wheel, now);
    for (size_t i = 0; i < COUNT; i++)
        nodes[i] = (struct node){.base = {&node_type}};
}

static void arm(struct node *n, uint64_t deadline)
{
    n->armed = true;
    node_retain(&n->base);
    wf_timer_arm(&n->timer, &wheel, deadline, &n->base);
}

static uint64_t earliest(void)
{
    uint64_t first = WEFT_FOREVER;

    for (size_t i = 0; i < COUNT; i++)
        if (nodes[i].armed && nodes[i].timer.deadline < first)
            first = nodes[i].timer.deadline;
    return first;
}

/* Exactly those whose deadline has come fire. */
static void advance(uint64_t now)
{
    unsigned expected = 0;

    for (size_t i = 0; i < COUNT; i++) {
        nodes[i].wakes = 0;
        expected += nodes[i].armed && nodes[i].timer.deadline <= now;
    }
    CHECK_EQ(expected, wf_wheel_advance_exactly(&wheel, now));
    for (size_t i = 0; i < COUNT; i++) {
        struct node *n = &nodes[i];
        bool due = n->armed && n->timer.deadline <= now;

        CHECK_EQ(due, n->wakes);
        if (due) {
            CHECK(wf_timer_fired(&n->timer));
            n->armed = false;
        }
        CHECK_EQ(n->armed, n->references);
    }
}

/* Any number, in any magnitude. */
static uint64_t rand_length(uint64_t *rand, unsigned bits_max)
{
    uint64_t bits = test_rand(rand) % bits_max;

    return test_rand(rand) >> (63 - bits);
}

static void run(uint64_t seed, uint64_t steps, unsigned bits)
{
    uint64_t now = rand_length(&seed, 50);

    begin(now);
    for (uint64_t step = 0; step < steps; step++) {
        struct node *n = &nodes[test_rand(&seed) % COUNT];
        uint64_t deadline = now + rand_length(&seed, bits);

        CHECK_EQ(earliest(), wf_wheel_first(&wheel));
        switch (test_rand(&seed) % 6) {
        case 0:
            now += rand_length(&seed, bits);
            advance(now);
            break;
        case 1:
            if (earliest() != WEFT_FOREVER) {
                now = earliest() > now ? earliest() : now;
                advance(now);
            }
            break;
        case 2:
            if (n->armed) {
                CHECK(wf_timer_take(&n->timer) == &n->base);
                node_release(&n->base);
            }
            CHECK(wf_timer_take(&n->timer) == NULL);
            n->armed = false;
            break;
        case 3:
            CHECK_EQ(n->armed, wf_timer_rearm(&n->timer, deadline));
            break;
        default:
            if (!n->armed)
                arm(n, test_rand(&seed) % 16 ? deadline : now / 2);
            break;
        }
        if (step % 32 == 0)
            wf_wheel_check(&wheel);
    }
    for (size_t i = 0; i < COUNT; i++)
        if (nodes[i].armed)
            CHECK(wf_timer_cancel(&nodes[i].timer));
    wf_wheel_release(&wheel);
}

TEST(what_is_due_fires_exactly_and_nothing_else)
{
    uint64_t seed = test_seed();

    for (unsigned bits = 8; bits <= 56; bits += 4)
        run(test_rand(&seed) | 1, test_scaled(4000), bits);
}

/* The next tick may hang on any level. */
TEST(a_tick_that_is_under_way_is_found_at_every_turn)
{
    for (unsigned level = 0; level < WF_WHEEL_LEVELS - 1; level++) {
        uint64_t tick = (uint64_t)1 << (level * WF_WHEEL_SLOT_BITS);
        uint64_t now = (tick << WF_WHEEL_TICK_SHIFT) - TICK;

        begin(0);
        arm(&nodes[0], now + 1);
        arm(&nodes[1], now + 2);
        arm(&nodes[2], now + TICK);
        arm(&nodes[3], now + TICK + 1);
        for (uint64_t i = 1; i <= 2; i++) {
            CHECK_EQ(now + i, wf_wheel_first(&wheel));
            advance(now + i);
        }
        advance(now + TICK - 1);
        advance(now + TICK);
        CHECK_EQ(now + TICK + 1, wf_wheel_first(&wheel));
        advance(now + TICK + 1);
        wf_wheel_release(&wheel);
    }
}

TEST(more_than_a_batch_fires_within_a_tick)
{
    begin(0);
    for (size_t i = 0; i < COUNT; i++)
        arm(&nodes[i], 1000 + i % 3);
    advance(999);
    advance(1001);
    advance(1002);
    CHECK(wf_wheel_first(&wheel) == WEFT_FOREVER);
    wf_wheel_release(&wheel);
}

TEST(what_never_fires_is_not_first)
{
    begin(0);
    CHECK(wf_wheel_first(&wheel) == WEFT_FOREVER);
    arm(&nodes[0], WEFT_FOREVER);
    CHECK(wf_wheel_first(&wheel) == WEFT_FOREVER);
    CHECK(wf_timer_rearm(&nodes[0].timer, 5));
    CHECK_EQ(5, wf_wheel_first(&wheel));
    CHECK(wf_timer_rearm(&nodes[0].timer, WEFT_FOREVER));
    advance(UINT64_C(1) << 63);
    CHECK_EQ(1, wf_wheel_count(&wheel));
    CHECK(wf_timer_cancel(&nodes[0].timer));
    wf_wheel_release(&wheel);
}

/* A1 of the park protocol counts these. */
TEST(an_earlier_deadline_is_told_and_a_later_one_is_not)
{
    uint64_t lowered;

    begin(0);
    arm(&nodes[0], 100 * TICK);
    lowered = wf_wheel_lowered(&wheel);
    CHECK(wf_timer_rearm(&nodes[0].timer, 50 * TICK));
    CHECK_EQ(50 * TICK, wf_wheel_next(&wheel));
    CHECK_EQ(lowered + 1, wf_wheel_lowered(&wheel));
    arm(&nodes[1], 40 * TICK);
    lowered = wf_wheel_lowered(&wheel);
    CHECK(wf_timer_rearm(&nodes[0].timer, 60 * TICK));
    CHECK_EQ(40 * TICK, wf_wheel_next(&wheel));
    CHECK_EQ(lowered, wf_wheel_lowered(&wheel));
    CHECK(wf_timer_cancel(&nodes[0].timer) && wf_timer_cancel(&nodes[1].timer));
    CHECK(!wf_timer_rearm(&nodes[0].timer, 5));
    wf_wheel_release(&wheel);
}

TEST_MAIN("wheel_exact", what_is_due_fires_exactly_and_nothing_else,
          a_tick_that_is_under_way_is_found_at_every_turn, more_than_a_batch_fires_within_a_tick,
          what_never_fires_is_not_first, an_earlier_deadline_is_told_and_a_later_one_is_not)
