/* SPDX-License-Identifier: MIT */
/*
 * test_clock.c - a clock that stands still: who sees it, what moves it, and what holds it.
 *
 * Nothing here waits for real time, but to see that it does not pass: hours go by in a test of milliseconds, and every
 * moment is exact.
 */
#include "net.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* The monotonic clock, whatever weft says. */
static weft_instant real_now(void)
{
    struct timespec ts;

    CHECK_EQ(0, clock_gettime(CLOCK_MONOTONIC, &ts));
    return (weft_instant)ts.tv_sec * 1000000000u + (weft_instant)ts.tv_nsec;
}

static void until_waiting(const weft_task *t)
{
    weft_task_info info;

    do {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_task_get_info(t, &info));
    } while (info.state != WEFT_TASK_IDLE);
}

/* --- stopping and starting ----------------------------------------------------------- */

static int stands(void *arg)
{
    weft_instant from = weft_now();

    (void)arg;
    (void)usleep(2000);
    CHECK_EQ(from, weft_now());
    CHECK_EQ(WEFT_SECS(5), weft_until(from + WEFT_SECS(5)));
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(0, weft_yield());
    CHECK_EQ(from, weft_now());
    return 0;
}

TEST(a_clock_that_stands_shows_one_moment)
{
    test_run_paused(stands, NULL);
}

static int stops_and_starts(void *arg)
{
    weft_instant before = weft_now(), stopped, started;

    (void)arg;
    CHECK_EQ(-EALREADY, weft_clock_resume());
    CHECK_EQ(0, weft_clock_pause());
    stopped = weft_now();
    CHECK(stopped >= before && stopped <= real_now());
    CHECK_EQ(-EALREADY, weft_clock_pause());
    CHECK_EQ(0, weft_clock_advance(WEFT_SECS(3600)));
    CHECK_EQ(stopped + WEFT_SECS(3600), weft_now());
    (void)usleep(1000);
    CHECK_EQ(0, weft_clock_resume());
    started = weft_now();
    /* On from where it was: an hour ahead, and the millisecond behind. */
    CHECK(started >= stopped + WEFT_SECS(3600));
    CHECK(started < real_now() + WEFT_SECS(3600) - WEFT_MS(1));
    CHECK_EQ(-EALREADY, weft_clock_resume());
    while (weft_now() == started)
        continue;
    CHECK(weft_now() > started);
    CHECK_EQ(-EINVAL, weft_clock_advance(1));
    CHECK_EQ(0, weft_clock_pause());
    CHECK(weft_now() >= started);
    return 0;
}

TEST(it_runs_on_from_where_it_was)
{
    test_run_on(&test_flavours[0], stops_and_starts, NULL);
}

static int sleeps_on_a_shifted_clock(void *arg)
{
    weft_instant at, real;

    (void)arg;
    CHECK_EQ(0, weft_clock_pause());
    CHECK_EQ(0, weft_clock_advance(WEFT_SECS(1000)));
    CHECK_EQ(0, weft_clock_resume());
    for (int i = 0; i < 5; i++) {
        real = real_now();
        at = weft_now() + WEFT_MS(2);
        CHECK_EQ(0, weft_sleep_until(at));
        CHECK(weft_now() >= at);
        CHECK(real_now() - real >= WEFT_MS(2));
        /* By what runs: not at once, and not in a thousand seconds. */
        CHECK(weft_now() - at < WEFT_SECS(10));
    }
    return 0;
}

TEST(timers_go_by_a_clock_that_was_moved_and_runs)
{
    test_run_on(&test_flavours[0], sleeps_on_a_shifted_clock, NULL);
}

static int refused(void *arg)
{
    weft_future f = weft_clock_advance_future(1);

    (void)arg;
    CHECK_EQ(-EPERM, weft_clock_pause());
    CHECK_EQ(-EPERM, weft_clock_resume());
    CHECK_EQ(-EPERM, weft_clock_advance(1));
    CHECK_EQ(-EPERM, weft_await(&f));
    return 0;
}

TEST(a_runtime_with_worker_threads_has_no_clock_to_stop)
{
    for (size_t i = 1; i < test_flavour_count; i++) {
        weft_config c = {.flavor = test_flavours[i].flavor,
                         .worker_threads = test_flavours[i].workers,
                         .start_paused = WEFT_ON,
                         .ignore_env = WEFT_ON};
        weft_runtime *rt = NULL;

        test_run_on(&test_flavours[i], refused, NULL);
        CHECK_EQ(-EINVAL, weft_runtime_new(&rt, &c));
        CHECK(rt == NULL);
    }
    CHECK_EQ(-EPERM, weft_clock_pause());
    CHECK_EQ(-EPERM, weft_clock_resume());
    CHECK_EQ(-EPERM, weft_clock_advance(1));
}

static int to_the_end(void *arg)
{
    weft_instant end = UINT64_C(1) << 63;

    (void)arg;
    CHECK_EQ(-EINVAL, weft_clock_advance(WEFT_FOREVER));
    CHECK_EQ(-EINVAL, weft_clock_advance(end - weft_now() + 1));
    CHECK_EQ(0, weft_clock_advance(end - weft_now()));
    CHECK_EQ(end, weft_now());
    CHECK_EQ(0, weft_clock_advance(0));
    CHECK_EQ(-EINVAL, weft_clock_advance(1));
    return 0;
}

TEST(it_goes_no_further_than_sums_of_times_do)
{
    test_run_paused(to_the_end, NULL);
}

/* --- who sees it --------------------------------------------------------------------- */

static int sees_real_time(void *arg)
{
    weft_instant before = real_now(), now = weft_now();

    (void)arg;
    CHECK(now >= before && now <= real_now());
    CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    CHECK(weft_now() >= now + WEFT_US(100));
    return 0;
}

static void *sees_real_time_as_a_thread(void *arg)
{
    weft_instant before = real_now(), now = weft_now();

    CHECK(now >= before && now <= real_now());
    return arg;
}

static int shows_it_to_nobody_else(void *arg)
{
    weft_runtime *const *other = arg;
    weft_instant from = weft_now();
    pthread_t thread;

    CHECK_EQ(0, weft_clock_advance(WEFT_SECS(100000)));
    CHECK_EQ(0, pthread_create(&thread, NULL, sees_real_time_as_a_thread, NULL));
    CHECK_EQ(0, pthread_join(thread, NULL));
    for (size_t i = 0; i < 2; i++) {
        weft_task *t;
        int result = -1;

        CHECK_EQ(0, weft_spawn_on(other[i], &t, NULL, sees_real_time, NULL));
        CHECK_EQ(0, weft_join(t, &result));
        CHECK_EQ(0, result);
    }
    CHECK_EQ(from + WEFT_SECS(100000), weft_now());
    return 0;
}

/* The joiner waits for a task of another runtime over real time, and the clock stays where it is: it has no timer to go
 * to. */
TEST(other_runtimes_and_plain_threads_do_not_see_it)
{
    weft_runtime *other[] = {test_runtime_new(&test_flavours[1]),
                             test_runtime_new(&test_flavours[2])};

    test_run_paused(shows_it_to_nobody_else, other);
    test_runtime_free(other[0]);
    test_runtime_free(other[1]);
}

static int two_of_them(void *arg)
{
    weft_instant *at = arg;

    CHECK_EQ(0, weft_clock_advance(*at));
    *at = weft_now();
    return 0;
}

TEST(each_runtime_has_its_own)
{
    weft_config c = {.flavor = WEFT_CURRENT_THREAD, .start_paused = WEFT_ON, .ignore_env = WEFT_ON};
    weft_instant a = WEFT_SECS(100), b = WEFT_SECS(5000);
    weft_runtime *x, *y;

    CHECK_EQ(0, weft_runtime_new(&x, &c));
    CHECK_EQ(0, weft_runtime_new(&y, &c));
    CHECK_EQ(0, weft_block_on(x, two_of_them, &a, NULL));
    CHECK_EQ(0, weft_block_on(y, two_of_them, &b, NULL));
    CHECK(b - a > WEFT_SECS(4899) && b - a < WEFT_SECS(4990));
    CHECK(weft_now() < a);
    weft_runtime_free(x);
    CHECK_EQ(0, weft_block_on(y, stands, NULL, NULL));
    weft_runtime_free(y);
    test_run_on(&test_flavours[0], sees_real_time, NULL);
}

/* --- it jumps when there is nothing to do -------------------------------------------- */

static int sleeps_exactly(void *arg)
{
    static const weft_duration lengths[] = {1,
                                            WEFT_NS(65535),
                                            WEFT_NS(65536),
                                            WEFT_NS(65537),
                                            WEFT_US(999),
                                            WEFT_MS(10),
                                            WEFT_SECS(1),
                                            WEFT_SECS(86400),
                                            WEFT_SECS(UINT64_C(86400) * 400)};

    (void)arg;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        weft_instant from = weft_now();
        weft_future never = weft_pending_future(), f;

        CHECK_EQ(0, weft_sleep(lengths[i]));
        CHECK_EQ(from + lengths[i], weft_now());
        from = weft_now();
        CHECK_EQ(-ETIMEDOUT, weft_timeout(lengths[i], &never));
        CHECK_EQ(from + lengths[i], weft_now());
        from = weft_now();
        WEFT_DEADLINE(lengths[i])
        {
            CHECK_EQ(-ETIMEDOUT, weft_sleep(WEFT_FOREVER));
        }
        CHECK_EQ(from + lengths[i], weft_now());
        from = weft_now();
        never = weft_pending_future();
        f = weft_timeout_future(lengths[i], &never);
        CHECK_EQ(-ETIMEDOUT, weft_await(&f));
        CHECK_EQ(from + lengths[i], weft_now());
    }
    return 0;
}

TEST(time_passes_exactly_and_at_once)
{
    weft_instant from = real_now();

    test_run_paused(sleeps_exactly, NULL);
    CHECK(real_now() - from < WEFT_SECS(10)); /* for more than a year */
}

#define SLEEPERS 500

static struct {
    weft_instant base;
    weft_duration last;
    unsigned woken;
} order;

static int sleeps_in_turn(void *arg)
{
    weft_duration d = *(weft_duration *)arg;

    CHECK_EQ(0, weft_sleep(d));
    CHECK_EQ(order.base + d, weft_now());
    CHECK(d >= order.last);
    order.last = d;
    order.woken++;
    return 0;
}

static int all_in_order(void *arg)
{
    weft_task *t[SLEEPERS];
    uint64_t rand = test_seed();

    (void)arg;
    order.base = weft_now();
    for (int i = 0; i < SLEEPERS; i++) {
        /* Most of them in the same few ticks of the timers. */
        weft_duration d = test_rand(&rand) % (i % 4 ? 200000 : WEFT_SECS(4000));

        t[i] = weft_spawn_copy(sleeps_in_turn, &d, sizeof(d));
    }
    for (int i = 0; i < SLEEPERS; i++)
        CHECK_EQ(0, weft_join(t[i], NULL));
    CHECK_EQ(SLEEPERS, order.woken);
    CHECK_EQ(order.base + order.last, weft_now());
    return 0;
}

TEST(each_task_runs_at_its_moment_and_in_order)
{
    test_run_paused(all_in_order, NULL);
}

static int spins(void *arg)
{
    atomic_uint *left = arg;

    while (atomic_fetch_sub(left, 1) > 1)
        CHECK_EQ(0, weft_yield());
    return 0;
}

/* A task that is ready all the time keeps the clock where it is. */
static int ready_tasks_hold_it(void *arg)
{
    atomic_uint left = 5000;
    weft_instant from = weft_now();
    weft_task *t = weft_spawn(spins, &left);

    (void)arg;
    CHECK_EQ(0, weft_sleep(1));
    CHECK_EQ(0, atomic_load(&left));
    CHECK_EQ(from + 1, weft_now());
    CHECK_EQ(0, weft_join(t, NULL));
    return 0;
}

TEST(it_does_not_jump_while_a_task_is_ready)
{
    test_run_paused(ready_tasks_hold_it, NULL);
}

static int limits_of_nothing(void *arg)
{
    weft_instant from = weft_now();
    weft_future never = weft_pending_future(), f = weft_timeout_future(0, &never);
    atomic_uint left = 2000000;
    weft_task *t = weft_spawn(spins, &left);

    (void)arg;
    /* Due when they are set: also beside a task that is always ready. */
    CHECK_EQ(-ETIMEDOUT, weft_await(&f));
    CHECK(atomic_load(&left) > 1);
    never = weft_pending_future();
    CHECK_EQ(-ETIMEDOUT, weft_timeout(0, &never));
    CHECK(atomic_load(&left) > 1);
    CHECK_EQ(0, weft_sleep_until(from));
    CHECK_EQ(from, weft_now());
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, NULL));
    return 0;
}

TEST(what_is_due_at_once_needs_no_jump)
{
    test_run_paused(limits_of_nothing, NULL);
}

/* In a runtime that reports locks held too long, which it does by a timer, and by real time. */
static weft_mutex contended = WEFT_MUTEX_INIT;

static int holds_for_hours(void *arg)
{
    (void)arg;
    CHECK_EQ(0, weft_mutex_lock(&contended));
    CHECK_EQ(0, weft_sleep(WEFT_SECS(7200)));
    CHECK_EQ(0, weft_mutex_unlock(&contended));
    return 0;
}

static int waits_for_hours(void *arg)
{
    weft_instant from = weft_now();
    weft_task *t = weft_spawn(holds_for_hours, NULL);

    (void)arg;
    until_waiting(t);
    CHECK_EQ(0, weft_mutex_lock(&contended));
    CHECK_EQ(from + WEFT_SECS(7200), weft_now());
    CHECK_EQ(0, weft_mutex_unlock(&contended));
    CHECK_EQ(0, weft_join(t, NULL));
    return 0;
}

TEST(a_lock_can_be_waited_for_while_hours_pass)
{
    weft_config c = {.flavor = WEFT_CURRENT_THREAD,
                     .start_paused = WEFT_ON,
                     .lock_held_limit = WEFT_SECS(1),
                     .ignore_env = WEFT_ON};
    weft_runtime *rt;

    test_watchdog(20);
    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    CHECK_EQ(0, weft_block_on(rt, waits_for_hours, NULL, NULL));
    weft_runtime_free(rt);
}

/* --- what else holds it -------------------------------------------------------------- */

static int job(void *arg)
{
    weft_instant from = weft_now();

    (void)usleep(3000);
    CHECK_EQ(from, weft_now());
    if (arg)
        atomic_store((atomic_bool *)arg, true);
    return 7;
}

static int jobs_hold_it(void *arg)
{
    atomic_bool done = false;
    weft_instant from = weft_now();
    weft_task *t = weft_spawn_blocking(job, &done);
    int result = -1;

    (void)arg;
    CHECK_EQ(0, weft_sleep(WEFT_SECS(100)));
    CHECK(atomic_load(&done));
    CHECK_EQ(from + WEFT_SECS(100), weft_now());
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(7, result);
    CHECK_EQ(7, weft_blocking(job, NULL));
    CHECK_EQ(from + WEFT_SECS(100), weft_now());
    return 0;
}

TEST(blocking_jobs_see_it_and_hold_it)
{
    test_run_paused(jobs_hold_it, NULL);
}

static int detached_jobs_hold_it(void *arg)
{
    atomic_bool done[4] = {false, false, false, false};

    (void)arg;
    for (int i = 0; i < 4; i++)
        weft_detach(weft_spawn_blocking(job, &done[i]));
    /* Nobody is woken by their end but the clock. */
    CHECK_EQ(0, weft_sleep(1));
    for (int i = 0; i < 4; i++)
        CHECK(atomic_load(&done[i]));
    return 0;
}

TEST(it_goes_on_when_a_job_ends_that_nobody_waits_for)
{
    for (uint64_t i = test_scaled(30); i > 0; i--)
        test_run_paused(detached_jobs_hold_it, NULL);
}

static int job_reads_the_clock(void *arg)
{
    weft_instant last = 0;

    while (!atomic_load((atomic_bool *)arg)) {
        weft_instant now = weft_now();

        CHECK(now >= last);
        last = now;
    }
    return 0;
}

static int moved_under_a_job(void *arg)
{
    atomic_bool over = false;
    weft_task *t = weft_spawn_blocking(job_reads_the_clock, &over);

    (void)arg;
    for (uint64_t i = test_scaled(20000); i > 0; i--) {
        CHECK_EQ(0, weft_clock_advance(i % 3 * WEFT_US(10)));
        if (i % 2) {
            CHECK_EQ(0, weft_clock_resume());
            CHECK_EQ(0, weft_clock_pause());
        }
    }
    atomic_store(&over, true);
    CHECK_EQ(0, weft_join(t, NULL));
    return 0;
}

TEST(it_never_goes_backwards_for_a_job)
{
    test_run_paused(moved_under_a_job, NULL);
}

/* --- descriptors ---------------------------------------------------------------------- */

static int echoes(void *arg)
{
    char byte = 0;

    while (weft_read(arg, &byte, 1) == 1)
        CHECK_EQ(1, weft_write(arg, &byte, 1));
    return 0;
}

static int data_wins(void *arg)
{
    weft_instant from = weft_now();
    struct pair p = pair_local();
    weft_task *t = weft_spawn(echoes, p.b);

    (void)arg;
    for (int i = 0; i < 200; i++) {
        char byte = (char)i;

        CHECK_EQ(1, weft_write(p.a, &byte, 1));
        WEFT_DEADLINE(1)
        {
            CHECK_EQ(1, weft_read(p.a, &byte, 1));
        }
        CHECK_EQ((char)i, byte);
    }
    CHECK_EQ(0, weft_shutdown(p.a, SHUT_WR));
    CHECK_EQ(0, weft_join(t, NULL));
    pair_close(p);
    CHECK_EQ(from, weft_now());
    return 0;
}

TEST(what_has_arrived_comes_before_the_next_timer)
{
    test_run_paused(data_wins, NULL);
}

TEST_MAIN("clock", a_clock_that_stands_shows_one_moment, it_runs_on_from_where_it_was,
          timers_go_by_a_clock_that_was_moved_and_runs,
          a_runtime_with_worker_threads_has_no_clock_to_stop,
          it_goes_no_further_than_sums_of_times_do, other_runtimes_and_plain_threads_do_not_see_it,
          each_runtime_has_its_own, time_passes_exactly_and_at_once,
          each_task_runs_at_its_moment_and_in_order, it_does_not_jump_while_a_task_is_ready,
          what_is_due_at_once_needs_no_jump, a_lock_can_be_waited_for_while_hours_pass,
          blocking_jobs_see_it_and_hold_it, it_goes_on_when_a_job_ends_that_nobody_waits_for,
          it_never_goes_backwards_for_a_job, what_has_arrived_comes_before_the_next_timer)
