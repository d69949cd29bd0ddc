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

#include <stdlib.h>

#define LOCK_TASKS     8
#define LOCK_PERMITS   4
#define LOCK_MAP_TASKS 64
#define LOCK_MAP_SLOTS 8192 /* twice the keys, a power of two */
#define LOCK_MAP_KEYS  4096

struct lock_slot {
    uint64_t key; /* 0: free */
    uint64_t value;
};

struct lock_shared {
    weft_mutex mutex;
    weft_rwlock rwlock;
    weft_semaphore semaphore;
    uint64_t value;
    struct lock_slot *slots; /* under the mutex */
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
    weft_task *t[LOCK_MAP_TASKS];

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

static uint64_t map_rand(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Where the key is, or belongs. */
static struct lock_slot *map_find(struct lock_slot *slots, uint64_t key)
{
    uint64_t at = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 51;

    while (slots[at].key != 0 && slots[at].key != key)
        at = (at + 1) % LOCK_MAP_SLOTS;
    return &slots[at];
}

static int map_task(void *arg)
{
    struct lock_args *a = arg;
    uint64_t rand = a->rand * UINT64_C(0x9e3779b97f4a7c15), found = 0;

    for (uint64_t i = 0; i < a->count; i++) {
        uint64_t r = map_rand(&rand), key = 1 + r % LOCK_MAP_KEYS;
        struct lock_slot *slot;

        bench_check(weft_mutex_lock(&a->shared->mutex), "lock");
        slot = map_find(a->shared->slots, key);
        if ((r >> 32) % 10 == 0) {
            slot->key = key;
            slot->value = key * 2;
        } else if (slot->key == key) {
            found += slot->value == key * 2;
        }
        bench_check(weft_mutex_unlock(&a->shared->mutex), "unlock");
    }
    if (found == 0 && a->count > 10000)
        bench_fail("nothing was found");
    return 0;
}

static void map_run(const struct bench_job *job)
{
    struct lock_shared shared = {.mutex = WEFT_MUTEX_INIT,
                                 .slots = bench_alloc(LOCK_MAP_SLOTS, sizeof(struct lock_slot))};

    lock_run(job, LOCK_MAP_TASKS, map_task, &shared);
    free(shared.slots);
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
