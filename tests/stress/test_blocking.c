/* SPDX-License-Identifier: MIT */
/*
 * test_blocking.c - tasks that block and compute in every way beside tasks that do not, on runtimes of all shapes
 * that end in every way: each task ends once, no thread stays, and nobody waits for what has happened already.
 */
#include "gate.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define TASKS 24
#define STEPS 20

struct round {
    weft_runtime *rt;
    uint64_t seed;
    atomic_uint begun, ended, jobs;
    atomic_bool freed;
    bool current;
    bool alone;       /* nobody to hand over to */
    unsigned threads; /* before */
};

static int sleeps(void *arg)
{
    (void)usleep((useconds_t)(uintptr_t)arg);
    return 3;
}

static int naps(void *arg)
{
    return weft_sleep((uintptr_t)arg * 1000);
}

static int does_job(void *arg)
{
    struct round *r = arg;

    atomic_fetch_add(&r->jobs, 1);
    (void)usleep(20);
    return 3;
}

static int child(void *arg)
{
    struct round *r = arg;

    atomic_fetch_add(&r->begun, 1);
    (void)weft_yield();
    atomic_fetch_add(&r->ended, 1);
    return 0;
}

/* What a task of a closing runtime may be told. */
static bool told(int rc)
{
    return rc == -ECANCELED || rc == 0 || rc == 3;
}

static void step(struct round *r, uint64_t *seed)
{
    uintptr_t us = test_rand(seed) % 400;
    weft_instant until;
    weft_task *t;
    int result;

    switch (test_rand(seed) % 10) {
    case 0:
        (void)usleep((useconds_t)us);
        break;
    case 1:
        until = weft_now() + us * 1000;
        while (weft_now() < until)
            continue;
        break;
    case 2:
        CHECK(told(weft_blocking(sleeps, (void *)us))); /* NOLINT(performance-no-int-to-ptr) */
        break;
    case 3:
        if (!r->alone)
            CHECK_EQ(
                3, weft_block_in_place(sleeps, (void *)us)); /* NOLINT(performance-no-int-to-ptr) */
        break;
    case 4:
        if (!r->alone)
            CHECK(told(
                weft_block_in_place(naps, (void *)us))); /* NOLINT(performance-no-int-to-ptr) */
        break;
    case 5:
        t = weft_spawn_blocking(does_job, r);
        CHECK(t || weft_is_cancelled());
        if (t && us % 2)
            weft_cancel(t);
        if (t && weft_join(t, &result) < 0)
            weft_detach(t);
        else if (t)
            CHECK(told(result));
        break;
    case 6:
        /* A lone task, which this worker reaches itself if it does not get stuck. */
        CHECK_EQ(0, weft_go(child, r));
        (void)usleep((useconds_t)us);
        break;
    case 7:
        t = weft_spawn(child, r);
        if (weft_join(t, NULL) < 0)
            weft_detach(t);
        break;
    default:
        (void)weft_sleep(us * 1000);
        break;
    }
}

static int stepper(void *arg)
{
    struct round *r = arg;
    uint64_t seed = r->seed + atomic_fetch_add(&r->begun, 1) + 1;

    for (int i = 0; i < STEPS; i++)
        step(r, &seed);
    atomic_fetch_add(&r->ended, 1);
    return 0;
}

static int freer(void *arg)
{
    struct round *r = arg;

    (void)weft_sleep(r->seed % 3000000);
    weft_runtime_free(r->rt);
    atomic_store(&r->freed, true);
    return 0;
}

static weft_duration any_time(uint64_t *seed, weft_duration most)
{
    return 1 + test_rand(seed) % most;
}

static void open_round(struct round *r, uint64_t *seed)
{
    weft_config c = {.worker_threads = 1 + (unsigned)(test_rand(seed) % 8),
                     .ignore_env = WEFT_ON,
                     .max_blocking_threads = 1 + (unsigned)(test_rand(seed) % 4),
                     .max_blocking_queue = (unsigned)(test_rand(seed) % 6),
                     .max_standins = test_rand(seed) % 2 ? 1 + (unsigned)(test_rand(seed) % 8) : 0,
                     .thread_keep_alive = any_time(seed, WEFT_MS(2)),
                     .stall_blocked = any_time(seed, WEFT_US(200)),
                     .stall_computing = any_time(seed, WEFT_US(400))};

    *r = (struct round){.seed = test_rand(seed), .threads = threads()};
    /* Long times, too: a lost wake-up is not to be mended by one that runs out. */
    if (test_rand(seed) % 2)
        c.thread_keep_alive = 0;
    if (test_rand(seed) % 8 == 0)
        c.monitor = WEFT_OFF;
    if (test_rand(seed) % 8 == 0)
        c.flavor = WEFT_CURRENT_THREAD, c.worker_threads = 0, r->current = true;
    r->alone = r->current || (c.monitor == WEFT_OFF && c.worker_threads == 1);
    CHECK_EQ(0, weft_runtime_new(&r->rt, &c));
}

static int root(void *arg)
{
    weft_task *t[TASKS];

    for (int i = 0; i < TASKS; i++)
        t[i] = weft_spawn(stepper, arg);
    for (int i = 0; i < TASKS; i++)
        CHECK_EQ(0, weft_join(t[i], NULL));
    return 0;
}

static void play(uint64_t *seed)
{
    weft_task *t[TASKS], *last;
    struct round r;
    int result;

    open_round(&r, seed);
    if (r.current || r.seed % 3 == 0) {
        CHECK_EQ(0, weft_block_on(r.rt, root, &r, &result));
        CHECK_EQ(0, result);
        CHECK_EQ(0, weft_runtime_shutdown(r.rt, WEFT_FOREVER));
        weft_runtime_free(r.rt);
        CHECK(atomic_load(&r.ended) >= TASKS);
        return;
    }
    for (int i = 0; i < TASKS; i++)
        CHECK_EQ(0, weft_spawn_on(r.rt, &t[i], NULL, stepper, &r));
    if (r.seed % 3 == 1) {
        (void)usleep((useconds_t)(r.seed % 5000));
        weft_runtime_free(r.rt);
    } else {
        CHECK_EQ(0, weft_spawn_on(r.rt, &last, NULL, freer, &r));
        CHECK_EQ(0, weft_join_blocking(last, &result));
    }
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(0, weft_join_blocking(t[i], &result));
        CHECK(told(result));
    }
    /* Those that it spawned, and its threads, may be about to go. */
    while (threads() > r.threads)
        (void)usleep(200);
    CHECK_EQ(atomic_load(&r.begun), atomic_load(&r.ended));
}

TEST(whatever_blocks_ends_and_leaves_no_thread)
{
    weft_instant until = weft_now() + test_stress_time(WEFT_SECS(4));
    uint64_t seed = test_seed(), rounds = 0;
    char text[64];

    test_watchdog(60);
    while (weft_now() < until) {
        play(&seed);
        rounds++;
    }
    (void)snprintf(text, sizeof(text), "%llu rounds", (unsigned long long)rounds);
    test_say(text);
}

TEST_MAIN("stress.blocking", whatever_blocks_ends_and_leaves_no_thread)
