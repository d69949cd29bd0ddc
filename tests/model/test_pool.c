/* SPDX-License-Identifier: MIT */
/*
 * test_pool.c - places in the queue of the blocking pool, under all interleavings: no more are given than there are,
 * none is lost, and who waits first has the next one.
 *
 * Nobody spawns anything: who has a place gives it up again. Who waits for one goes on when its waker was called; one
 * that is never called can go on no more, which the explorer reports.
 */
#include "model/bell.h"
#include "sched/pool.h"

#define PLACES  1
#define WAITERS 2

enum { GOT_AT_ONCE, REFUSED, WAITED, GIVEN_UP_WAITING, GIVEN_UP_GIVEN };

static struct weft_runtime runtime;
static unsigned held; /* plain: by who has the only place */

static struct bell bells[WAITERS] = {BELL, BELL};

static void begin(void)
{
    runtime.set.config.max_blocking_queue = PLACES;
    wf_pool_init(&runtime);
}

/* Somebody has the place from before. */
static void begin_full(void)
{
    begin();
    CHECK(wf_pool_try_reserve(&runtime));
}

static void end(void)
{
    CHECK_EQ(0, held);
    CHECK_EQ(0, runtime.pool.reserved);
    CHECK(wf_list_empty(&runtime.pool.room));
    for (unsigned i = 0; i < WAITERS; i++)
        CHECK_EQ(0, bells[i].refs.raw);
    for (unsigned i = 0; i < PLACES; i++)
        CHECK(wf_pool_try_reserve(&runtime));
    CHECK(!wf_pool_try_reserve(&runtime));
}

/* It has the place, and gives it up. K2: were there two, they would be in a race. */
static void use(void)
{
    held++;
    CHECK_EQ(1, held);
    held--;
    wf_pool_unreserve(&runtime);
}

static void tries(void)
{
    if (wf_pool_try_reserve(&runtime)) {
        model_reached(GOT_AT_ONCE);
        use();
    } else {
        model_reached(REFUSED);
    }
}

static void gives_up(void)
{
    wf_pool_unreserve(&runtime);
}

/* patient: until it has its place; else it drops the future, having one by then or not. */
static void waits(unsigned i, bool patient)
{
    weft_future room = wf_pool_reserve_future(&runtime);

    if (bell_poll(&bells[i], &room) == WEFT_READY) {
        use();
        return;
    }
    if (!patient) {
        bool given = wf_load_u32(&bells[i].rung, WF_RELAXED) != 0;

        weft_future_drop(&room);
        model_reached(given ? GIVEN_UP_GIVEN : GIVEN_UP_WAITING);
        return;
    }
    CHECK_EQ(0, bell_await(&bells[i], &room));
    model_reached(WAITED);
    use();
}

static void first_waits(void)
{
    waits(0, true);
}

static void second_waits(void)
{
    waits(1, true);
}

static void second_gives_up(void)
{
    waits(1, false);
}

/* K3: nobody who comes later has the place before it. */
static weft_future first_in_line;

static void begin_line(void)
{
    begin_full();
    first_in_line = wf_pool_reserve_future(&runtime);
    CHECK_EQ(WEFT_PENDING, bell_poll(&bells[0], &first_in_line));
}

static void end_line(void)
{
    CHECK_EQ(1, bells[0].rung.raw);
    CHECK_EQ(WEFT_READY, bell_poll(&bells[0], &first_in_line));
    wf_pool_unreserve(&runtime);
    end();
}

static void never_gets(void)
{
    CHECK(!wf_pool_try_reserve(&runtime));
}

const struct model_test model_tests[] = {
    {.name = "two try for the last place, and one has it",
     .begin = begin,
     .thread = {tries, tries},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << GOT_AT_ONCE | 1u << REFUSED},
    {.name = "who waits for a place gets the one that is given up",
     .begin = begin_full,
     .thread = {gives_up, first_waits},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << WAITED},
    {.name = "two wait, and one place goes from hand to hand",
     .begin = begin_full,
     .thread = {gives_up, first_waits, second_waits},
     .end = end,
     .preemptions = 1,
     .stale = 1,
     .must_reach = 1u << WAITED},
    {.name = "a place given to who does not want it any more goes to the next",
     .begin = begin_full,
     .thread = {gives_up, first_waits, second_gives_up},
     .end = end,
     .stale = 1,
     .must_reach = 1u << WAITED | 1u << GIVEN_UP_WAITING | 1u << GIVEN_UP_GIVEN},
    {.name = "nobody has a place before who waits for it",
     .begin = begin_line,
     .thread = {gives_up, never_gets, never_gets},
     .end = end_line,
     .preemptions = 3},
    {0},
};
