/* SPDX-License-Identifier: MIT */
/*
 * gate.h - work that blocks its thread, for the tests of stalls and of the blocking pool.
 *
 * Nothing is timed. What is to last waits at a gate, which is opened when what was to happen meanwhile has
 * happened; else the test does not end.
 */
#ifndef TEST_GATE_H
#define TEST_GATE_H

#include "support.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

struct gate {
    atomic_bool open;
    atomic_uint inside; /* have come to it, ever */
    atomic_uint now, most;
};

static inline int wait_at(void *arg)
{
    struct gate *g = arg;
    unsigned now = atomic_fetch_add(&g->now, 1) + 1, most = atomic_load(&g->most);

    while (now > most && !atomic_compare_exchange_weak(&g->most, &most, now))
        continue;
    atomic_fetch_add(&g->inside, 1);
    while (!atomic_load(&g->open))
        usleep(100);
    atomic_fetch_sub(&g->now, 1);
    return 7;
}

static inline void wait_for(atomic_uint *n, unsigned want)
{
    while (atomic_load(n) < want)
        usleep(100);
}

static inline int count_up(void *arg)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
    return 0;
}

static inline weft_runtime *runtime_of(weft_config c)
{
    weft_runtime *rt;

    c.ignore_env = WEFT_ON;
    test_watchdog(40);
    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    return rt;
}

static inline weft_runtime *pool_of(unsigned threads, unsigned queue)
{
    return runtime_of((weft_config){
        .worker_threads = 2, .max_blocking_threads = threads, .max_blocking_queue = queue});
}

static inline void end(weft_runtime *rt)
{
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    weft_runtime_free(rt);
}

static inline weft_task *job(weft_runtime *rt, weft_fn *fn, void *arg)
{
    weft_task *t;

    CHECK_EQ(0, weft_spawn_blocking_on(rt, &t, NULL, fn, arg));
    return t;
}

static inline int joined(weft_task *t)
{
    int result = 1;

    CHECK_EQ(0, weft_join_blocking(t, &result));
    return result;
}

/* Run fn as a task to its end. */
static inline int run(weft_runtime *rt, weft_fn *fn, void *arg)
{
    int result = 1;

    CHECK_EQ(0, weft_block_on(rt, fn, arg, &result));
    return result;
}

/* Threads of this process. */
static inline unsigned threads(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    unsigned n = 0;

    CHECK(f);
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "Threads: %u", &n) == 1)
            break;
    (void)fclose(f);
    return n;
}

static inline void wait_threads(unsigned most)
{
    while (threads() > most)
        usleep(500);
}

#endif
