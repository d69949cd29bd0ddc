/* SPDX-License-Identifier: MIT */
/*
 * test_advance.c - a clock that stands still is moved by hand: what runs meanwhile, and when; and how its runtime ends.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

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

/* --- advancing ----------------------------------------------------------------------- */

struct tick_log {
    weft_duration each;
    weft_instant base;
    unsigned polls;
    weft_instant seen[32];
};

static int logs_ticks(void *arg)
{
    struct tick_log *log = arg;

    for (;;) {
        int rc = weft_sleep(log->each);

        if (rc < 0)
            return rc;
        log->seen[log->polls++ % 32] = weft_now() - log->base;
    }
}

/* It jumps all the way: what sleeps again sleeps from there. */
static int advances(void *arg)
{
    struct tick_log log = {.each = WEFT_MS(10), .base = weft_now()};
    weft_task *t = weft_spawn(logs_ticks, &log);

    (void)arg;
    until_waiting(t);
    CHECK_EQ(0, log.polls);
    CHECK_EQ(0, weft_clock_advance(WEFT_MS(10) - 1));
    CHECK_EQ(0, log.polls);
    CHECK_EQ(0, weft_clock_advance(1));
    CHECK_EQ(1, log.polls);
    CHECK_EQ(WEFT_MS(10), log.seen[0]);
    CHECK_EQ(0, weft_clock_advance(WEFT_MS(100)));
    CHECK_EQ(2, log.polls);
    CHECK_EQ(WEFT_MS(110), log.seen[1]);
    /* Sleeping lets it pass in order. */
    CHECK_EQ(0, weft_sleep(WEFT_MS(35)));
    CHECK_EQ(5, log.polls);
    CHECK_EQ(WEFT_MS(120), log.seen[2]);
    CHECK_EQ(WEFT_MS(140), log.seen[4]);
    CHECK_EQ(log.base + WEFT_MS(145), weft_now());
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, NULL));
    return 0;
}

TEST(advancing_jumps_and_runs_what_came_due)
{
    test_run_paused(advances, NULL);
}

static int counts_down(void *arg)
{
    CHECK_EQ(0, weft_sleep(WEFT_SECS(1)));
    --*(unsigned *)arg;
    return 0;
}

/* All of them are polled before it returns, however the queues lie. */
static int advances_many(void *arg)
{
    enum { MANY = 700 };

    unsigned left = MANY, other = 1;
    weft_task *t[MANY + 1];

    (void)arg;
    for (int i = 0; i < MANY; i++)
        t[i] = weft_spawn(counts_down, &left);
    for (int i = 0; i < MANY; i++)
        until_waiting(t[i]);
    t[MANY] = weft_spawn(counts_down, &other); /* the clock moves before it sleeps */
    CHECK_EQ(0, weft_clock_advance(WEFT_SECS(1)));
    CHECK_EQ(0, left);
    CHECK_EQ(1, other);
    for (int i = 0; i <= MANY; i++)
        CHECK_EQ(0, weft_join(t[i], NULL));
    return 0;
}

TEST(advancing_runs_each_task_that_came_due)
{
    test_run_paused(advances_many, NULL);
}

static int advance_in_a_select(void *arg)
{
    weft_instant from = weft_now();
    weft_future advance = weft_clock_advance_future(WEFT_SECS(1)), sleep;

    (void)arg;
    sleep = weft_sleep_future(WEFT_MS(1));
    CHECK_EQ(0, weft_join_all(&advance, &sleep));
    CHECK(weft_now() >= from + WEFT_SECS(1));
    advance = weft_clock_advance_future(WEFT_SECS(1));
    weft_future_drop(&advance); /* never polled: nothing has moved */
    CHECK(weft_now() < from + WEFT_SECS(2));
    return 0;
}

TEST(advancing_is_a_future_too)
{
    test_run_paused(advance_in_a_select, NULL);
}

struct stackless {
    weft_async async;
    weft_instant from;
    weft_future f;
};

static weft_poll stackless_poll(void *self, weft_context *cx)
{
    struct stackless *s = self;

    WEFT_ASYNC_BEGIN(s);
    CHECK_EQ(-EALREADY, weft_clock_pause());
    s->from = weft_now();
    s->f = weft_clock_advance_future(WEFT_SECS(2));
    WEFT_AWAIT(s, cx, &s->f);
    CHECK_EQ(0, s->f.result);
    s->f = weft_sleep_future(WEFT_SECS(3));
    WEFT_AWAIT(s, cx, &s->f);
    CHECK_EQ(s->from + WEFT_SECS(5), weft_now());
    WEFT_RETURN(s, 7);
    WEFT_ASYNC_END(s);
}

static const weft_async_type stackless_type = {.poll = stackless_poll,
                                               .size = sizeof(struct stackless)};

static int spawns_stackless(void *arg)
{
    struct stackless state = {.from = 0};
    int result = -1;

    (void)arg;
    CHECK_EQ(0, weft_join(weft_spawn_async(&stackless_type, &state), &result));
    CHECK_EQ(7, result);
    return 0;
}

TEST(stackless_tasks_move_it_too)
{
    test_run_paused(spawns_stackless, NULL);
}

/* --- the end --------------------------------------------------------------------------- */

static int sleeps_shielded(void *arg)
{
    (void)arg;
    CHECK_EQ(-ECANCELED, weft_sleep(WEFT_FOREVER));
    WEFT_SHIELD
    {
        CHECK_EQ(0, weft_sleep(WEFT_SECS(3600)));
    }
    return 0;
}

static int leaves_one_behind(void *arg)
{
    until_waiting(*(weft_task **)arg = weft_spawn(sleeps_shielded, NULL));
    return 0;
}

/* What cleans up by the clock takes no time either, and the limit is one of real time. */
TEST(a_shutdown_runs_on_while_it_stands)
{
    weft_config c = {.flavor = WEFT_CURRENT_THREAD, .start_paused = WEFT_ON, .ignore_env = WEFT_ON};
    weft_task *t = NULL;
    weft_runtime *rt;
    int result = -1;

    test_watchdog(20);
    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    CHECK_EQ(0, weft_block_on(rt, leaves_one_behind, &t, NULL));
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_SECS(10)));
    CHECK_EQ(0, weft_join_blocking(t, &result));
    CHECK_EQ(0, result);
    weft_runtime_free(rt);
}

static atomic_bool inside;

static int waits_for_ever(void *arg)
{
    weft_future never = weft_pending_future();
    int rc = 0;

    (void)arg;
    WEFT_SHIELD
    {
        atomic_store(&inside, true);
        rc = (int)weft_await(&never);
    }
    return rc;
}

static void *drives(void *arg)
{
    CHECK_EQ(-ESHUTDOWN, weft_block_on(arg, waits_for_ever, NULL, NULL));
    return arg;
}

TEST(the_limit_of_a_shutdown_is_one_of_real_time)
{
    weft_config c = {.flavor = WEFT_CURRENT_THREAD, .start_paused = WEFT_ON, .ignore_env = WEFT_ON};
    weft_instant from = real_now();
    weft_runtime *rt;
    pthread_t thread;

    test_watchdog(20);
    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    CHECK_EQ(0, pthread_create(&thread, NULL, drives, rt));
    while (!atomic_load(&inside))
        (void)sched_yield();
    CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, WEFT_MS(5)));
    CHECK(real_now() - from >= WEFT_MS(5));
    CHECK_EQ(0, pthread_join(thread, NULL));
    weft_runtime_free(rt);
}

TEST_MAIN("advance", advancing_jumps_and_runs_what_came_due, advancing_runs_each_task_that_came_due,
          advancing_is_a_future_too, stackless_tasks_move_it_too,
          a_shutdown_runs_on_while_it_stands, the_limit_of_a_shutdown_is_one_of_real_time)
