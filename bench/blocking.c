/* SPDX-License-Identifier: MIT */
/*
 * blocking.c - what a call costs that may block, when it does not.
 *
 * spawn_blocking_seq   isolates the call: an empty function, one after the other, by weft_blocking.
 * spawn_blocking_64    the same by 64 tasks at once.
 * pool_seq, pool_64    the same by weft_spawn_blocking and weft_join: through another thread, as Tokio always
 *                      does it.
 */
#include "bench.h"

#include <stdlib.h>

#define BLOCKING_TASKS 64

static int blocking_nothing(void *arg)
{
    _Atomic uint64_t *calls = arg;

    atomic_fetch_add_explicit(calls, 1, memory_order_relaxed);
    return 7;
}

struct blocking_args {
    struct bench_countdown *all;
    _Atomic uint64_t *calls;
    uint64_t count;
    bool pool;
};

static void blocking_calls(const struct blocking_args *a)
{
    for (uint64_t i = 0; i < a->count; i++) {
        int result = 0;

        if (a->pool)
            bench_check(weft_join(weft_spawn_blocking(blocking_nothing, a->calls), &result),
                        "join");
        else
            result = weft_blocking(blocking_nothing, a->calls);
        if (result != 7)
            bench_fail("a blocking call was not made");
    }
}

static int blocking_task(void *arg)
{
    struct blocking_args *a = arg;

    blocking_calls(a);
    bench_countdown_hit(a->all);
    return 0;
}

static void blocking_run(const struct bench_job *job, unsigned tasks, bool pool)
{
    _Atomic uint64_t calls = 0;
    struct bench_countdown all;
    struct blocking_args args = {.all = &all, .calls = &calls, .count = job->count, .pool = pool};
    weft_instant start = weft_now();

    if (tasks == 1) {
        blocking_calls(&args);
    } else {
        bench_countdown_init(&all, tasks);
        for (unsigned i = 0; i < tasks; i++) {
            args.count = bench_share(job->count, tasks, i);
            bench_check(weft_go_copy(blocking_task, &args, sizeof(args)), "spawn");
        }
        bench_countdown_wait(&all);
    }
    if (atomic_load(&calls) != job->count)
        bench_fail("not as many calls as there should be");
    bench_report_per_item(job, start, job->count);
}

static void seq_run(const struct bench_job *job)
{
    blocking_run(job, 1, false);
}

static void parallel_run(const struct bench_job *job)
{
    blocking_run(job, BLOCKING_TASKS, false);
}

static void pool_seq_run(const struct bench_job *job)
{
    blocking_run(job, 1, true);
}

static void pool_parallel_run(const struct bench_job *job)
{
    blocking_run(job, BLOCKING_TASKS, true);
}

const struct bench_workload bench_blocking_workloads[] = {
    {"spawn_blocking_seq", "an empty blocking call after the other", 200000, 0, seq_run},
    {"spawn_blocking_64", "the same by 64 tasks", 200000, 0, parallel_run},
    {"pool_seq", "an empty call on the blocking pool after the other", 200000, 0, pool_seq_run},
    {"pool_64", "the same by 64 tasks", 200000, 0, pool_parallel_run},
    {0},
};
