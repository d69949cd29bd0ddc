/* SPDX-License-Identifier: MIT */
/*
 * test_clock.c - a clock that stands still under the explorer: a whole current-thread runtime whose thread would
 * sleep while blocking jobs end and others spawn; and the clock by itself, which a job reads while it is moved.
 *
 * What a job wrote is read, with plain accesses, by a task that the clock has woken since. A thread that waits for a
 * job that has ended sleeps for ever: then nobody can go on.
 */
#include "model/live.h"
#include "time/virtual.h"

enum { HELD, JUMPED, BEFORE, AFTER };

static unsigned jobs;

static void open_paused(void)
{
    weft_config config = {.flavor = WEFT_CURRENT_THREAD,
                          .event_interval = 4,
                          .stack_size = 16384,
                          .monitor = WEFT_OFF,
                          .start_paused = WEFT_ON,
                          .rng_seed = 1};

    CHECK_EQ(0, weft_runtime_new(&rt, &config));
}

static void close_paused(void)
{
    weft_runtime_free(rt);
    CHECK(!wf_virtual_any());
}

static int job(void *arg)
{
    (void)arg;
    jobs++;
    return 0;
}

static void drive(weft_fn *fn)
{
    int result = -1;

    CHECK_EQ(0, weft_block_on(rt, fn, NULL, &result));
    CHECK_EQ(0, result);
}

/* --- jobs hold it --- */

static int sleeps_beside_a_job(void *arg)
{
    weft_instant from = weft_now();
    weft_task *t = weft_spawn_blocking(job, NULL);

    (void)arg;
    CHECK(t != NULL);
    weft_detach(t);
    CHECK_EQ(0, weft_sleep(1000 * MS));
    CHECK_EQ(1, jobs);
    CHECK_EQ(from + 1000 * MS, weft_now());
    return 0;
}

static void driver_with_a_job(void)
{
    drive(sleeps_beside_a_job);
}

/* No real time has passed. */
static void closed_at_once(void)
{
    CHECK_EQ(1, jobs);
    close_paused();
}

static void open_running(void)
{
    runtime_open(WEFT_CURRENT_THREAD, 1);
}

/* Stopped while the job may be ending: it must see that, or be seen. */
static int stops_beside_a_job(void *arg)
{
    weft_detach(weft_spawn_blocking(job, NULL));
    CHECK_EQ(0, weft_clock_pause());
    CHECK_EQ(0, weft_sleep(1000 * MS));
    CHECK_EQ(1, jobs);
    return arg ? 1 : 0;
}

static void stopping_driver(void)
{
    drive(stops_beside_a_job);
}

static int sleeps_beside_two_jobs(void *arg)
{
    (void)arg;
    for (unsigned i = 1; i <= 2; i++) {
        weft_detach(weft_spawn_blocking(job, NULL));
        CHECK_EQ(0, weft_sleep(MS));
        CHECK_EQ(i, jobs);
    }
    return 0;
}

static void driver_with_two_jobs(void)
{
    drive(sleeps_beside_two_jobs);
}

/* --- what comes from outside --- */

static int sleeps_twice(void *arg)
{
    (void)arg;
    CHECK_EQ(0, weft_sleep(MS));
    if (wf_load_u32(&ran, WF_RELAXED))
        model_reached(BEFORE);
    CHECK_EQ(0, weft_sleep(MS));
    return 0;
}

static void driver(void)
{
    drive(sleeps_twice);
}

static void spawner_from_outside(void)
{
    weft_async state = {0};
    weft_task *t = NULL;

    CHECK_EQ(0, weft_spawn_async_on(rt, &t, NULL, &runner_type, &state));
    weft_detach(t);
}

static int waits_to_be_told(void *arg)
{
    weft_task *t = arg ? NULL : weft_spawn_async(&waiter_type, &(weft_async){0});

    CHECK_EQ(0, weft_join(t, NULL));
    return 0;
}

static void waiting_driver(void)
{
    drive(waits_to_be_told);
}

static void teller(void)
{
    wait_for_waker();
    tell();
}

static void all_ran(void)
{
    /* Cancelled, it was dropped. */
    weft_runtime_free(rt);
    CHECK_EQ(1, wf_load_u32(&drops, WF_RELAXED));
}

/* --- the clock by itself --- */

static struct wf_virtual clock_;

static void begin_clock(void)
{
    wf_virtual_init(&clock_);
}

static void end_clock(void)
{
    wf_virtual_release(&clock_);
    CHECK(!wf_virtual_any());
}

static void moves(void)
{
    CHECK(wf_virtual_stop(&clock_));
    CHECK(wf_virtual_jump(&clock_, wf_virtual_now(&clock_) + 100 * MS));
    CHECK(wf_virtual_start(&clock_));
    CHECK(wf_virtual_stop(&clock_));
}

static void reads(void)
{
    uint64_t last = 0;

    for (int i = 0; i < 3; i++) {
        uint64_t now = wf_virtual_now(&clock_);

        CHECK(now >= last);
        last = now;
    }
    model_reached(last >= 100 * MS ? JUMPED : HELD);
}

const struct model_test model_tests[] = {
    {.name = "a job that nobody waits for holds the clock, and lets it go",
     .begin = open_paused,
     .thread = {driver_with_a_job},
     .end = closed_at_once,
     .leaks = true, /* stacks are kept */
     .preemptions = 2,
     .stale = 1},
    {.name = "a job ends while the clock is being stopped",
     .begin = open_running,
     .thread = {stopping_driver},
     .end = closed_at_once,
     .leaks = true,
     .preemptions = 2,
     .stale = 1},
    {.name = "it waits for one job after the other",
     .begin = open_paused,
     .thread = {driver_with_two_jobs},
     .end = close_paused,
     .leaks = true, /* stacks are kept */
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "what is spawned from outside is run, whether the clock jumps or not",
     .begin = open_paused,
     .thread = {driver, spawner_from_outside},
     .end = all_ran,
     .leaks = true, /* stacks are kept */
     .preemptions = 2,
     .stale = MODEL_NONE,
     .must_reach = 1u << BEFORE},
    {.name = "without a timer it waits to be told",
     .begin = open_paused,
     .thread = {waiting_driver, teller},
     .end = close_paused,
     .leaks = true, /* stacks are kept */
     .preemptions = 1,
     .stale = 1},
    {.name = "it never goes backwards for who reads it",
     .begin = begin_clock,
     .thread = {moves, reads},
     .end = end_clock,
     .preemptions = 4,
     .must_reach = 1u << HELD | 1u << JUMPED},
    {0},
};
