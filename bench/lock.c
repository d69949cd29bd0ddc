/* SPDX-License-Identifier: MIT */
/*
 * lock.c - what locks cost when several tasks want them, again and again.
 *
 * mutex       isolates the lock itself: 8 tasks, each of which locks, adds one and unlocks. With one worker it is free
 *             whenever a task comes to it, so that is the price of a lock that nobody wants; with two, both
 *             processors want it all the time, which no good program does.
 */
#include "bench.h"

#define LOCK_TASKS 8

struct lock_shared {
    weft_mutex mutex;
    uint64_t value;
};

struct lock_args {
    struct lock_shared *shared;
    uint64_t count;
};

static void lock_run(const struct bench_job *job, weft_fn *fn, struct lock_shared *shared)
{
    struct lock_args args = {.shared = shared, .count = job->count};
    weft_instant start = weft_now();
    weft_task *t[LOCK_TASKS];

    for (unsigned i = 0; i < LOCK_TASKS; i++)
        t[i] = weft_spawn_copy(fn, &args, sizeof(args));
    for (unsigned i = 0; i < LOCK_TASKS; i++)
        bench_join(t[i]);
    bench_report_per_item(job, start, job->count * LOCK_TASKS);
}

static int mutex_task(void *arg)
{
    const struct lock_args *a = arg;

    for (uint64_t i = 0; i < a->count; i++) {
        bench_check(weft_mutex_lock(&a->shared->mutex), "lock");
        a->shared->value++;
        bench_check(weft_mutex_unlock(&a->shared->mutex), "unlock");
    }
    return 0;
}

static void mutex_run(const struct bench_job *job)
{
    struct lock_shared shared = {.mutex = WEFT_MUTEX_INIT};

    lock_run(job, mutex_task, &shared);
    if (shared.value != job->count * LOCK_TASKS)
        bench_fail("the mutex has not kept others out");
}

const struct bench_workload bench_lock_workloads[] = {
    {"mutex", "8 tasks lock, add one and unlock --n times each; per lock", 1000000, 0, mutex_run},
    {0},
};
