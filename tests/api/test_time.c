/* SPDX-License-Identifier: MIT */
/*
 * test_time.c - the clock and sleeping: never early, in order, and not late because a neighbour
 * computes.
 *
 * Time itself is the subject here. Lower limits are exact; upper ones are wide, for the machine may
 * be busy with other things: the figures are printed.
 */
#include "support.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Constant expressions, as promised. */
_Static_assert(WEFT_US(1) == 1000 && WEFT_MS(1) == 1000000 && WEFT_SECS(1) == 1000000000, "units");
_Static_assert(WEFT_NS(7) == 7 && WEFT_MS(0) == 0, "units");
_Static_assert(WEFT_SECS(UINT64_MAX) == WEFT_FOREVER, "saturates");
_Static_assert(WEFT_MS(UINT64_MAX / 1000000) < WEFT_FOREVER, "fits");
_Static_assert(WEFT_MS(UINT64_MAX / 1000000 + 1) == WEFT_FOREVER, "saturates");

static void until_waiting(const weft_task *t)
{
    weft_task_info info;

    do {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_task_get_info(t, &info));
    } while (info.state != WEFT_TASK_IDLE);
}

TEST(time_is_monotonic_and_its_arithmetic_saturates)
{
    weft_instant last = weft_now();

    for (int i = 0; i < 100000; i++) {
        weft_instant now = weft_now();

        CHECK(now >= last);
        last = now;
    }
    CHECK_EQ(30, weft_instant_add(10, 20));
    CHECK(weft_instant_add(10, WEFT_FOREVER) == WEFT_FOREVER);
    CHECK(weft_instant_add(WEFT_FOREVER, 1) == WEFT_FOREVER);
    CHECK(weft_instant_add(WEFT_FOREVER - 5, 5) == WEFT_FOREVER);
    CHECK_EQ(0, weft_until(0));
    CHECK_EQ(0, weft_until(last));
    CHECK(weft_until(WEFT_FOREVER) == WEFT_FOREVER);
    CHECK(weft_until(weft_instant_add(weft_now(), WEFT_SECS(100))) <= WEFT_SECS(100));
    CHECK(weft_until(weft_instant_add(weft_now(), WEFT_SECS(100))) > 0);
}

static int sleeps(void *arg)
{
    static const weft_duration lengths[] = {1,           WEFT_NS(999),  WEFT_US(1),   WEFT_US(50),
                                            WEFT_US(65), WEFT_US(66),   WEFT_US(100), WEFT_US(333),
                                            WEFT_MS(1),  WEFT_US(1500), WEFT_MS(5)};

    (void)arg;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        weft_instant began = weft_now(), at;
        weft_future f;

        CHECK_EQ(0, weft_sleep(lengths[i]));
        CHECK(weft_now() - began >= lengths[i]);
        at = weft_instant_add(weft_now(), lengths[i]);
        CHECK_EQ(0, weft_sleep_until(at));
        CHECK(weft_now() >= at);
        f = weft_sleep_future(lengths[i]);
        began = weft_now();
        CHECK_EQ(0, weft_await(&f));
        CHECK(weft_now() - began >= lengths[i]);
    }
    return 0;
}

TEST(a_sleep_is_never_early)
{
    CHECK_EQ(-EPERM, weft_sleep(0));
    CHECK_EQ(-EPERM, weft_sleep_until(0));
    test_run(sleeps, NULL);
}

/* It returns within this poll: another task, ready all the time, does not run (with one worker). */
static int count_turns(void *arg)
{
    atomic_int *turns = arg;

    while (atomic_load(turns) >= 0) {
        atomic_fetch_add(turns, 1);
        (void)weft_yield();
        if (weft_is_cancelled())
            break;
    }
    return 0;
}

static int no_sleep(void *arg)
{
    atomic_int turns = 0;
    weft_task *other = weft_spawn(count_turns, &turns);
    weft_metrics m;
    int before;

    (void)arg;
    while (atomic_load(&turns) == 0)
        CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, weft_yield()); /* with a fresh budget */
    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    before = atomic_load(&turns);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(0, weft_sleep(0));
        CHECK_EQ(0, weft_sleep_until(0));
        CHECK_EQ(0, weft_sleep_until(weft_now()));
    }
    if (m.workers == 1)
        CHECK_EQ(before, atomic_load(&turns));
    weft_cancel(other);
    CHECK_EQ(0, weft_join(other, NULL));
    return 0;
}

TEST(a_sleep_of_nothing_or_until_the_past_does_not_wait)
{
    test_run(no_sleep, NULL);
}

static int first_poll(void *arg)
{
    weft_future f = weft_sleep_future(WEFT_MS(2));
    weft_instant began;

    (void)arg;
    CHECK_EQ(0, weft_sleep(WEFT_MS(3)));
    began = weft_now();
    CHECK_EQ(0, weft_await(&f));
    CHECK(weft_now() - began >= WEFT_MS(2));
    return 0;
}

TEST(a_sleep_future_counts_from_its_first_poll)
{
    test_run(first_poll, NULL);
}

static int sleep_forever(void *arg)
{
    return arg ? weft_sleep_until(WEFT_FOREVER) : weft_sleep(WEFT_FOREVER);
}

static int forever(void *arg)
{
    (void)arg;
    for (intptr_t i = 0; i < 2; i++) {
        weft_task *t = weft_spawn(sleep_forever, (void *)i);
        int result;

        until_waiting(t);
        CHECK_EQ(0, weft_sleep(WEFT_US(200)));
        CHECK(!weft_is_finished(t));
        weft_cancel(t);
        CHECK_EQ(0, weft_join(t, &result));
        CHECK_EQ(-ECANCELED, result);
    }
    WEFT_DEADLINE(WEFT_US(200))
    {
        CHECK_EQ(-ETIMEDOUT, weft_sleep(WEFT_FOREVER));
    }
    return 0;
}

TEST(a_sleep_forever_ends_by_cancel_or_deadline_only)
{
    test_run(forever, NULL);
}

/* --- order -------------------------------------------------------------------------- */

#define ORDERED 200
#define GAP     WEFT_US(200) /* some ticks of the timer */

static struct {
    weft_instant base;
    int woken[ORDERED];
    int count;
} ordered;

static int sleep_in_order(void *arg)
{
    int i = (int)(intptr_t)arg;
    weft_instant at = weft_instant_add(ordered.base, (weft_duration)i * GAP);

    CHECK_EQ(0, weft_sleep_until(at));
    CHECK(weft_now() >= at);
    ordered.woken[ordered.count++] = i;
    return 0;
}

/* False: the machine is so busy that the first was due before the last was armed. */
static bool in_order_once(weft_duration room)
{
    weft_task *t[ORDERED];
    bool in_time;

    ordered.count = 0;
    ordered.base = weft_instant_add(weft_now(), room);
    for (int i = 0; i < ORDERED; i++)
        t[i] = weft_spawn(sleep_in_order, (void *)(intptr_t)(i * 73 % ORDERED));
    for (int i = 0; i < ORDERED; i++) {
        weft_task_info info;

        do {
            CHECK_EQ(0, weft_yield());
            CHECK_EQ(0, weft_task_get_info(t[i], &info));
        } while (info.state != WEFT_TASK_IDLE && info.state != WEFT_TASK_FINISHED);
    }
    in_time = weft_now() < ordered.base;
    for (int i = 0; i < ORDERED; i++)
        CHECK_EQ(0, weft_join(t[i], NULL));
    CHECK_EQ(ORDERED, ordered.count);
    return in_time;
}

static int in_order(void *arg)
{
    weft_duration room = WEFT_MS(2);

    (void)arg;
    while (!in_order_once(room))
        room *= 2;
    for (int i = 0; i < ORDERED; i++)
        CHECK_EQ(i, ordered.woken[i]);
    return 0;
}

TEST(timers_fire_in_the_order_of_their_time)
{
    test_run_alone(in_order, NULL);
}

/* --- many ---------------------------------------------------------------------------- */

#define MANY 10000

struct nap {
    weft_duration length;
    atomic_int *early;
};

static int nap(void *arg)
{
    const struct nap *n = arg;
    weft_instant began = weft_now();

    CHECK_EQ(0, weft_sleep(n->length));
    if (weft_now() - began < n->length)
        atomic_fetch_add(n->early, 1);
    return 0;
}

static int many(void *arg)
{
    int count = (int)test_scaled(MANY);
    weft_task **t = malloc((size_t)count * sizeof(*t));
    uint64_t seed = test_seed();
    atomic_int early = 0;
    weft_metrics m;

    (void)arg;
    CHECK(t);
    for (int i = 0; i < count; i++) {
        struct nap n = {.length = test_rand(&seed) % WEFT_MS(20), .early = &early};

        t[i] = weft_spawn_copy(nap, &n, sizeof(n));
        CHECK(t[i]);
    }
    for (int i = 0; i < count; i++)
        CHECK_EQ(0, weft_join(t[i], NULL));
    free(t);
    CHECK_EQ(0, atomic_load(&early));
    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    CHECK_EQ(0, m.timers_armed);
    return 0;
}

TEST(ten_thousand_tasks_sleep_at_once)
{
    test_run(many, NULL);
}

/* --- who serves a timer whose worker computes -------------------------------------------- */

#define SAMPLES 41
#define TRIES   400

static struct {
    pid_t sleeper, computer; /* threads; not by pthread_self, which is constant to the compiler */
    weft_duration length;
} busy;

static int computes(void *arg)
{
    weft_instant end = weft_instant_add(weft_now(), busy.length);

    (void)arg;
    busy.computer = gettid();
    while (weft_now() < end)
        continue;
    return 0;
}

static int by_length(const void *a, const void *b)
{
    weft_duration x = *(const weft_duration *)a, y = *(const weft_duration *)b;

    return x < y ? -1 : x > y;
}

static int served(void *arg)
{
    weft_duration late[SAMPLES];
    int n = 0, tries = 0;

    (void)arg;
    busy.length = WEFT_MS(3) * test_slow();
    for (; n < SAMPLES && tries < TRIES; tries++) {
        weft_instant at = weft_instant_add(weft_now(), busy.length / 3), woken;
        weft_task *t = weft_spawn(computes, NULL);

        busy.sleeper = gettid();
        CHECK_EQ(0, weft_sleep_until(at));
        woken = weft_now();
        CHECK(woken >= at);
        CHECK_EQ(0, weft_join(t, NULL));
        /* Only where the computing task took the worker on which the timer was armed. */
        if (busy.sleeper == busy.computer)
            late[n++] = woken - at;
    }
    if (n == 0) {
        test_say("no computation took the worker of the timer");
        return 0;
    }
    qsort(late, (size_t)n, sizeof(late[0]), by_length);
    (void)fprintf(stderr, "late by %.3f ms in the median, %.3f at most, of %d (%d tries)\n",
                  (double)late[n / 2] / 1e6, (double)late[n - 1] / 1e6, n, tries);
    /* Were it left to the worker that computes, all would be late by two thirds of the computation.
     * A quarter must do, for the machine may be busy. */
    CHECK(late[n / 4] < busy.length / 2);
    return 0;
}

TEST(a_timer_on_a_worker_that_computes_is_served_by_an_idle_one)
{
    test_run_on(&test_flavours[2], served, NULL);
}

/* --- workers that spin --------------------------------------------------------- */

static int sleeps_for(void *d)
{
    return weft_sleep(*(weft_duration *)d);
}

/* Shorter than the workers look for work before they sleep, so that they meet each timer awake. */
static int sleeps_shortly(void *arg)
{
    weft_task *t[8];

    (void)arg;
    for (int round = 0; round < 20; round++) {
        for (uintptr_t i = 0; i < 8; i++) {
            weft_duration d = WEFT_US(100 + 50 * i);

            t[i] = weft_spawn_copy(sleeps_for, &d, sizeof(d));
            CHECK(t[i] != NULL);
        }
        for (int i = 0; i < 8; i++) {
            int result = -1;

            CHECK_EQ(0, weft_join(t[i], &result));
            CHECK_EQ(0, result);
        }
    }
    return 0;
}

TEST(a_worker_that_spins_fires_timers)
{
    test_watchdog(20);
    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_config config = {.flavor = test_flavours[i].flavor,
                              .worker_threads = test_flavours[i].workers,
                              .spin = WEFT_MS(20),
                              .ignore_env = WEFT_ON};
        weft_runtime *rt;
        int result = -1;

        CHECK_EQ(0, weft_runtime_new(&rt, &config));
        CHECK_EQ(0, weft_block_on(rt, sleeps_shortly, NULL, &result));
        CHECK_EQ(0, result);
        weft_runtime_free(rt);
    }
}

END_TEST

TEST_MAIN("time", time_is_monotonic_and_its_arithmetic_saturates, a_sleep_is_never_early,
          a_sleep_of_nothing_or_until_the_past_does_not_wait,
          a_sleep_future_counts_from_its_first_poll,
          a_sleep_forever_ends_by_cancel_or_deadline_only, timers_fire_in_the_order_of_their_time,
          ten_thousand_tasks_sleep_at_once,
          a_timer_on_a_worker_that_computes_is_served_by_an_idle_one,
          a_worker_that_spins_fires_timers)
