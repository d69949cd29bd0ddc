/* SPDX-License-Identifier: MIT */
/*
 * test_safety_blocking.c - whoever gives up a wait for the blocking pool has not called anything, and leaves its place
 * to the next: safety.h has the ways. And two calls that wait for nobody: a unit of the budget, and a clock that is
 * moved.
 */
#include "support.h"

#include <stdatomic.h>

struct safety_bed {
    weft_set_once go;
    atomic_bool hogging;
    weft_task *hog, *filler;
    atomic_uint calls;
};

#include "safety.h"

/* --- a pool with one thread, and a queue with one place ------------------------------------------- */

static int hog_run(void *bed)
{
    struct bed *b = bed;

    atomic_store(&b->on.hogging, true);
    CHECK_EQ(0, weft_set_once_wait_blocking(&b->on.go, NULL));
    return 0;
}

static int do_nothing(void *arg)
{
    (void)arg;
    return 0;
}

static int count_call(void *bed)
{
    atomic_fetch_add(&((struct bed *)bed)->on.calls, 1);
    return 7;
}

static void a_busy_thread(struct bed *b)
{
    b->on.hog = weft_spawn_blocking(hog_run, b);
    CHECK(b->on.hog);
    while (!atomic_load(&b->on.hogging))
        CHECK_EQ(0, weft_yield());
}

static void a_full_queue(struct bed *b)
{
    a_busy_thread(b);
    b->on.filler = weft_spawn_blocking(do_nothing, NULL);
    CHECK(b->on.filler);
}

static void give_go(struct bed *b)
{
    CHECK_EQ(0, weft_set_once_set(&b->on.go, b));
}

/* Who succeeded has called it, and nobody else. */
static void each_was_called_once(struct bed *b)
{
    CHECK_EQ(0, joined(b->on.hog));
    if (b->on.filler)
        CHECK_EQ(0, joined(b->on.filler));
    CHECK_EQ(atomic_load(&b->taken), atomic_load(&b->on.calls));
}

static int blocking_wait(void *bed)
{
    return weft_blocking(count_call, bed);
}

static int spawn_blocking_wait(void *bed)
{
    weft_task *t = weft_spawn_blocking(count_call, bed);

    if (!t)
        return weft_is_cancelled() ? -ECANCELED : weft_deadline_passed() ? -ETIMEDOUT : -ENOMEM;
    WEFT_SHIELD
    {
        CHECK_EQ(7, joined(t));
    }
    return 1;
}

static const struct row blocking_row = {.set_up = a_busy_thread,
                                        .wait = blocking_wait,
                                        .give = give_go,
                                        .tear_down = each_was_called_once,
                                        .good = 7,
                                        .traits = LINE};
static const struct row spawn_blocking_row = {.set_up = a_full_queue,
                                              .wait = spawn_blocking_wait,
                                              .give = give_go,
                                              .tear_down = each_was_called_once,
                                              .good = 1,
                                              .traits = LINE};

/* Without a monitor weft_blocking goes to the pool, too. */
static void run_with_a_small_pool(const struct row *row)
{
    static const weft_flavor flavours[2] = {WEFT_CURRENT_THREAD, WEFT_MULTI_THREAD};

    for (unsigned i = 0; i < 2; i++) {
        const weft_config config = {.flavor = flavours[i],
                                    .worker_threads = i ? 2 : 0,
                                    .monitor = WEFT_OFF,
                                    .max_blocking_threads = 1,
                                    .max_blocking_queue = 1,
                                    .ignore_env = WEFT_ON};
        struct safety_run run = {row, false};
        weft_runtime *rt;
        int result = -1;

        CHECK_EQ(0, weft_runtime_new(&rt, &config));
        CHECK_EQ(0, weft_block_on(rt, safety_try_all, &run, &result));
        CHECK_EQ(0, result);
        CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_SECS(10)));
        weft_runtime_free(rt);
    }
}

TEST(a_call_that_is_given_up_before_it_blocks_is_not_made)
{
    run_with_a_small_pool(&blocking_row);
}

TEST(a_place_in_the_queue_of_the_pool_that_is_given_up_goes_to_the_next)
{
    run_with_a_small_pool(&spawn_blocking_row);
}

/* --- what waits for nobody ---------------------------------------------------------------------------- */

struct spender {
    atomic_bool spent;
    weft_duration limit; /* 0: none */
};

static int spend_one_too_many(void *arg)
{
    struct spender *s = arg;
    int rc = 0;

    spend_the_budget();
    atomic_store(&s->spent, true);
    if (!s->limit)
        return weft_consume_budget();
    WEFT_DEADLINE(s->limit)
    {
        while (weft_now() < weft_deadline_current())
            continue;
        rc = weft_consume_budget();
    }
    return rc;
}

static int units_are_given_up(void *arg)
{
    struct spender cancelled = {.limit = 0}, late = {.limit = WEFT_US(100)};
    weft_task *t = weft_spawn(spend_one_too_many, &cancelled);
    weft_future unit, ready;
    int rc;

    (void)arg;
    while (!atomic_load(&cancelled.spent))
        CHECK_EQ(0, weft_yield());
    weft_cancel(t);
    rc = joined(t);
    CHECK(rc == -ECANCELED || rc == 0);
    CHECK_EQ(-ETIMEDOUT, joined(weft_spawn(spend_one_too_many, &late)));
    /* One that gave way, and lost. */
    unit = weft_consume_budget_future();
    spend_the_budget();
    CHECK_EQ(WEFT_PENDING, weft_future_poll(&unit, &(weft_context){{NULL}}));
    ready = weft_ready_future(0);
    CHECK_EQ(0, weft_select_biased(&ready, &unit));
    CHECK_EQ(-ECANCELED, unit.result);
    return weft_consume_budget();
}

TEST(a_unit_of_the_budget_can_be_given_up)
{
    test_run(units_are_given_up, NULL);
}

static int move_the_clock(void *arg)
{
    (void)arg;
    return weft_clock_advance(WEFT_MS(10));
}

static int sleep_a_little(void *arg)
{
    (void)arg;
    return weft_sleep(WEFT_MS(5));
}

/* However it ends, the clock has moved, once, and who was due has run or does so soon. */
static int moves_are_given_up(void *arg)
{
    weft_instant from = weft_now();
    weft_future move, ready = weft_ready_future(0);
    weft_task *t, *sleeper = weft_spawn(sleep_a_little, NULL);
    int rc = 0;

    (void)arg;
    until_idle(sleeper);
    t = weft_spawn(move_the_clock, NULL);
    while (weft_now() == from)
        CHECK_EQ(0, weft_yield());
    weft_cancel(t);
    CHECK_EQ(-ECANCELED, joined(t));
    CHECK_EQ(WEFT_MS(10), weft_now() - from);
    CHECK_EQ(0, joined(sleeper));
    CHECK_EQ(WEFT_MS(10), weft_now() - from);

    from = weft_now();
    move = weft_clock_advance_future(WEFT_MS(10));
    CHECK_EQ(1, weft_select_biased(&move, &ready));
    CHECK_EQ(-ECANCELED, move.result);
    CHECK_EQ(WEFT_MS(10), weft_now() - from);

    from = weft_now();
    WEFT_DEADLINE(WEFT_MS(5))
    {
        rc = weft_clock_advance(WEFT_MS(10));
        CHECK_EQ(-ETIMEDOUT, weft_clock_advance(WEFT_MS(10))); /* on entry: it does not move */
    }
    CHECK_EQ(-ETIMEDOUT, rc);
    CHECK_EQ(WEFT_MS(10), weft_now() - from);
    return weft_clock_advance(0);
}

TEST(a_clock_that_was_moved_stays_moved_when_the_wait_is_given_up)
{
    test_run_paused(moves_are_given_up, NULL);
}

TEST_MAIN("safety_blocking", a_call_that_is_given_up_before_it_blocks_is_not_made,
          a_place_in_the_queue_of_the_pool_that_is_given_up_goes_to_the_next,
          a_unit_of_the_budget_can_be_given_up,
          a_clock_that_was_moved_stays_moved_when_the_wait_is_given_up)
