/* SPDX-License-Identifier: MIT */
/*
 * test_account.c - what the counters say about the time that polls took and tasks waited.
 *
 * A poll's length is made by looking at the clock until it has passed, so a busy machine makes
 * polls longer, never shorter: lower limits are sharp, upper ones come from the clock around it.
 */
#include "support.h"

#include <weft/metrics.h>

/* Ticks and the clock agree to one part in a hundred. */
#define ABOUT(ns) ((ns) - (ns) / 100)

static void compute(weft_duration d)
{
    weft_instant until = weft_now() + d;

    while (weft_now() < until)
        continue;
}

static int long_polls(void *arg)
{
    (void)arg;
    for (int i = 0; i < 4; i++) {
        compute(WEFT_MS(5));
        CHECK_EQ(0, weft_yield());
    }
    return 0;
}

static int watch_long_polls(void *arg)
{
    weft_instant from = weft_now();
    weft_task *t = weft_spawn(long_polls, NULL);
    weft_task_info info;

    (void)arg;
    while (!weft_is_finished(t))
        CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
    CHECK_EQ(0, weft_task_get_info(t, &info));
    CHECK_EQ(5, info.polls);
    CHECK(info.poll_time >= ABOUT(WEFT_MS(20)));
    CHECK(ABOUT(info.poll_time) <= weft_now() - from);
    CHECK(info.poll_time_max >= ABOUT(WEFT_MS(5)));
    CHECK(info.poll_time_max <= info.poll_time);
    return weft_join(t, NULL);
}

TEST(long_polls_are_timed_exactly)
{
    test_run(watch_long_polls, NULL);
}

END_TEST

static int idle_child(void *arg)
{
    (void)arg;
    return 0;
}

/* The child is ready from its spawn on, and runs when its parent's poll has ended. */
static int watch_delay(void *arg)
{
    weft_task *t;
    weft_task_info info;
    weft_instant from;

    (void)arg;
    compute(WEFT_MS(1)); /* polls are long here: the clock is read at each wake */
    CHECK_EQ(0, weft_yield());
    from = weft_now();
    t = weft_spawn(idle_child, NULL);
    compute(WEFT_MS(5));
    while (!weft_is_finished(t))
        CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, weft_task_get_info(t, &info));
    CHECK(info.scheduled_delay >= ABOUT(WEFT_MS(5)));
    CHECK(ABOUT(info.scheduled_delay) <= weft_now() - from);
    CHECK(info.scheduled_delay_max >= ABOUT(WEFT_MS(5)));
    return weft_join(t, NULL);
}

TEST(the_wait_behind_a_long_poll_is_seen)
{
    test_run_alone(watch_delay, NULL);
}

END_TEST

static int short_polls(void *arg)
{
    for (uint64_t n = *(uint64_t *)arg; n; n--)
        CHECK_EQ(0, weft_yield());
    return 0;
}

/* Two tasks in turn, on one worker: all the time between is theirs. */
static int watch_short_polls(void *arg)
{
    weft_task *t[2];
    weft_task_info info[2];
    weft_instant from = weft_now();
    uint64_t n = *(uint64_t *)arg;
    weft_duration took, sum;

    for (int i = 0; i < 2; i++)
        t[i] = weft_spawn(short_polls, arg);
    while (!weft_is_finished(t[0]) || !weft_is_finished(t[1]))
        CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
    took = weft_now() - from;
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(0, weft_task_get_info(t[i], &info[i]));
        CHECK_EQ(n + 1, info[i].polls);
        CHECK_EQ(0, weft_join(t[i], NULL));
    }
    sum = info[0].poll_time + info[1].poll_time;
    CHECK(ABOUT(sum) <= took);
    /* Less what the test itself took of it, which sleeps a millisecond at a time. */
    CHECK(sum >= took / 4);
    return 0;
}

TEST(the_sum_of_short_polls_is_near_the_truth)
{
    uint64_t n = test_scaled(200000);

    /* Nobody stands in here for a thread that was preempted for long. */
    test_run_on(&test_flavours[0], watch_short_polls, &n);
}

END_TEST

TEST_MAIN("account", long_polls_are_timed_exactly, the_wait_behind_a_long_poll_is_seen,
          the_sum_of_short_polls_is_near_the_truth)
