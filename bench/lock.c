/* SPDX-License-Identifier: MIT */
/*
 * lock.c - what locks cost when several tasks want them, again and again.
 *
 * mutex       isolates the lock itself: 8 tasks, each of which locks, adds one and unlocks. With one worker it is free
 *             whenever a task comes to it, so that is the price of a lock that nobody wants; with two, both
 *             processors want it all the time, which no good program does.
 * rwlock      the same with a read-write lock, of whose uses seven in eight are for reading: two processors that
 *             read at the same time still write to one word.
 * semaphore   the same with 4 permits: nobody has to wait but when holders are interrupted.
 * map_mutex   isolates a use that one meets: 64 tasks and one table of 4,096 numbers behind a mutex, of whose uses
 *             nine in ten only look. The critical section is a cache miss or two.
 */
#include "bench.h"
#include "map.h"

#include <stdlib.h>

#define LOCK_TASKS   8
#define LOCK_PERMITS 4

struct lock_shared {
    weft_mutex mutex;
    weft_rwlock rwlock;
    weft_semaphore semaphore;
    uint64_t value;
    struct map map; /* under the mutex */
};

struct lock_args {
    struct lock_shared *shared;
    uint64_t count;
    uint64_t rand;
};

/* Run so many tasks to their ends. */
static void lock_run(const struct bench_job *job, unsigned tasks, weft_fn *fn,
                     struct lock_shared *shared)
{
    struct lock_args args = {.shared = shared, .count = job->count};
    weft_instant start = weft_now();
    weft_task *t[MAP_TASKS];

    for (unsigned i = 0; i < tasks; i++) {
        args.rand = i + 1;
        t[i] = weft_spawn_copy(fn, &args, sizeof(args));
    }
    for (unsigned i = 0; i < tasks; i++)
        bench_join(t[i]);
    bench_report_per_item(job, start, job->count * tasks);
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

    lock_run(job, LOCK_TASKS, mutex_task, &shared);
    if (shared.value != job->count * LOCK_TASKS)
        bench_fail("the mutex has not kept others out");
}

static int rwlock_task(void *arg)
{
    const struct lock_args *a = arg;
    uint64_t seen = 0;

    for (uint64_t i = 0; i < a->count; i++) {
        if (i % 8 == 0) {
            bench_check(weft_rwlock_write_lock(&a->shared->rwlock), "lock");
            a->shared->value++;
            bench_check(weft_rwlock_write_unlock(&a->shared->rwlock), "unlock");
            continue;
        }
        bench_check(weft_rwlock_read_lock(&a->shared->rwlock), "lock");
        if (a->shared->value < seen)
            bench_fail("a reader has seen an old value");
        seen = a->shared->value;
        bench_check(weft_rwlock_read_unlock(&a->shared->rwlock), "unlock");
    }
    return 0;
}

static void rwlock_run(const struct bench_job *job)
{
    struct lock_shared shared = {.rwlock = WEFT_RWLOCK_INIT};

    lock_run(job, LOCK_TASKS, rwlock_task, &shared);
    if (shared.value != (job->count + 7) / 8 * LOCK_TASKS)
        bench_fail("the lock has not kept other writers out");
}

static int semaphore_task(void *arg)
{
    const struct lock_args *a = arg;

    for (uint64_t i = 0; i < a->count; i++) {
        bench_check(weft_semaphore_acquire(&a->shared->semaphore), "acquire");
        bench_check(weft_semaphore_release(&a->shared->semaphore, 1), "release");
    }
    return 0;
}

static void semaphore_run(const struct bench_job *job)
{
    struct lock_shared shared = {.semaphore = WEFT_SEMAPHORE_INIT(LOCK_PERMITS)};

    lock_run(job, LOCK_TASKS, semaphore_task, &shared);
    if (weft_semaphore_available(&shared.semaphore) != LOCK_PERMITS)
        bench_fail("permits were lost or made");
}

/* --- a table --- */

static int map_task(void *arg)
{
    struct lock_args *a = arg;
    struct map_uses uses = map_uses(a->rand);

    for (uint64_t i = 0; i < a->count; i++) {
        struct map_use use = map_next_use(&uses);
        uint64_t value;

        bench_check(weft_mutex_lock(&a->shared->mutex), "lock");
        value = map_do(&a->shared->map, use);
        bench_check(weft_mutex_unlock(&a->shared->mutex), "unlock");
        map_check(&uses, use, value);
    }
    map_done(&uses, a->count);
    return 0;
}

static void map_run(const struct bench_job *job)
{
    struct lock_shared shared = {.mutex = WEFT_MUTEX_INIT, .map = map_new()};

    lock_run(job, MAP_TASKS, map_task, &shared);
    free(shared.map.slots);
}

const struct bench_workload bench_lock_workloads[] = {
    {"mutex", "8 tasks lock, add one and unlock --n times each; per lock", 1000000, 0, mutex_run},
    {"rwlock", "the same, 7 of 8 to read; per lock", 1000000, 0, rwlock_run},
    {"semaphore", "8 tasks take one of 4 permits and give it back --n times each; per permit",
     1000000, 0, semaphore_run},
    {"map_mutex", "64 tasks and a table behind a mutex, 90 % look; --n uses each; per use", 50000,
     0, map_run},
    {0},
};
