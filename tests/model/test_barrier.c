/* SPDX-License-Identifier: MIT */
/*
 * test_barrier.c - a barrier of two: rounds that follow each other, and one who comes and goes.
 */
#include "model/bell.h"

#include <errno.h>
#include <weft/barrier.h>

enum { GONE_IN_TIME, GONE_TOO_LATE };

#define BIT(event) (1u << (event))

static weft_barrier barrier = WEFT_BARRIER_INIT(2);
static struct bell bell[3] = {BELL, BELL, BELL};

/* --- two rounds ------------------------------------------------------------------------------------ */

static unsigned written[2]; /* plain: the barrier carries it */
static struct wf_atomic_u32 leaders;

static void rounds(unsigned me)
{
    for (unsigned r = 1; r <= 2; r++) {
        weft_future f = weft_barrier_wait_future(&barrier);

        written[me] = r;
        wf_add_u32(&leaders, (uint32_t)bell_await(&bell[me], &f), WF_RELAXED);
        CHECK_EQ(r, written[1 - me]);
        /* So that nobody writes while the other reads. */
        f = weft_barrier_wait_future(&barrier);
        wf_add_u32(&leaders, (uint32_t)bell_await(&bell[me], &f), WF_RELAXED);
    }
}

static void first(void)
{
    rounds(0);
}

static void second(void)
{
    rounds(1);
}

static void end_rounds(void)
{
    CHECK_EQ(4, leaders.raw);
    CHECK_EQ(0, bell[0].refs.raw + bell[1].refs.raw);
}

/* --- one who comes and goes ------------------------------------------------------------------------- */

static weft_future future[3];

static void begin_futures(void)
{
    for (int i = 0; i < 3; i++)
        future[i] = weft_barrier_wait_future(&barrier);
}

static void comes_first(void)
{
    (void)bell_poll(&bell[0], &future[0]);
}

static void comes_second(void)
{
    (void)bell_poll(&bell[1], &future[1]);
}

static void comes_and_goes(void)
{
    if (bell_poll(&bell[2], &future[2]) == WEFT_PENDING)
        weft_future_drop(&future[2]);
}

/* Two who stay: either they have met, and nobody is left; or one has met who goes, and the other waits. */
static void end_futures(void)
{
    bool a = bell_poll(&bell[0], &future[0]) == WEFT_READY;
    bool b = bell_poll(&bell[1], &future[1]) == WEFT_READY;
    weft_future more = weft_barrier_wait_future(&barrier);

    CHECK(a || b);
    if (a && b) {
        model_reached(GONE_IN_TIME);
        CHECK_EQ(1, future[0].result + future[1].result);
        CHECK_EQ(-ECANCELED, future[2].result);
        CHECK(bell_poll(&bell[0], &more) == WEFT_PENDING);
        weft_future_drop(&more);
    } else {
        model_reached(GONE_TOO_LATE);
        CHECK(bell_poll(&bell[a], &more) == WEFT_READY);
        CHECK_EQ(1, more.result);
        CHECK(bell_has_rung(&bell[a]));
        CHECK(bell_poll(&bell[a], &future[a]) == WEFT_READY);
        CHECK_EQ(0, future[a].result);
    }
    for (int i = 0; i < 3; i++)
        CHECK_EQ(0, bell[i].refs.raw);
}

const struct model_test model_tests[] = {
    {.name = "each round has one leader, and carries what was written before it",
     .thread = {first, second},
     .end = end_rounds},
    {.name = "who goes in time has not come",
     .begin = begin_futures,
     .thread = {comes_first, comes_second, comes_and_goes},
     .end = end_futures,
     .must_reach = BIT(GONE_IN_TIME) | BIT(GONE_TOO_LATE)},
    {0},
};
