/* SPDX-License-Identifier: MIT */
/*
 * Locks while something fails. They take no memory and make no system call but for a thread that sleeps, so whatever
 * fails around them they are held by one at a time, and free in the end.
 */
#include "sweep.h"

#include <pthread.h>
#include <stdatomic.h>

#define TASKS  6
#define ROUNDS 12

static struct {
    weft_mutex mutex;
    weft_rwlock table;
    weft_semaphore permits;
    unsigned value; /* under the mutex */
    unsigned rows;  /* under the table's lock */
} shared;

static atomic_uint rounds; /* that were begun */

static int uses_all(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        atomic_fetch_add(&rounds, 1);
        CHECK_EQ(0, weft_mutex_lock(&shared.mutex));
        shared.value++;
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_mutex_unlock(&shared.mutex));
        CHECK_EQ(0, weft_semaphore_acquire_many(&shared.permits, 1 + (uint64_t)i % 3));
        CHECK_EQ(0, weft_rwlock_read_lock(&shared.table));
        CHECK(shared.rows <= 1000);
        CHECK_EQ(0, weft_rwlock_read_unlock(&shared.table));
        CHECK_EQ(0, weft_rwlock_write_lock(&shared.table));
        shared.rows++;
        CHECK_EQ(0, weft_rwlock_downgrade(&shared.table));
        CHECK_EQ(0, weft_rwlock_read_unlock(&shared.table));
        CHECK_EQ(0, weft_semaphore_release(&shared.permits, 1 + (uint64_t)i % 3));
    }
    return 7;
}

static void *uses_all_blocking(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        atomic_fetch_add(&rounds, 1);
        CHECK_EQ(0, weft_mutex_lock_blocking(&shared.mutex));
        shared.value++;
        CHECK_EQ(0, weft_mutex_unlock(&shared.mutex));
        CHECK_EQ(0, weft_semaphore_acquire_many_blocking(&shared.permits, 2));
        CHECK_EQ(0, weft_rwlock_write_lock_blocking(&shared.table));
        shared.rows++;
        CHECK_EQ(0, weft_rwlock_write_unlock(&shared.table));
        CHECK_EQ(0, weft_semaphore_release(&shared.permits, 2));
    }
    return NULL;
}

/* Waits for a moment only. */
static int gives_up(void *arg)
{
    weft_future lock = weft_mutex_lock_future(&shared.mutex), nap = weft_sleep_future(WEFT_US(30));

    (void)arg;
    if (weft_select(&lock, &nap) == 0)
        CHECK_EQ(0, weft_mutex_unlock(&shared.mutex));
    return 7;
}

static int root(void *arg)
{
    weft_task *t[2 * TASKS];
    pthread_t thread;
    int result = 0;

    (void)arg;
    CHECK_EQ(0, pthread_create(&thread, NULL, uses_all_blocking, NULL));
    for (int i = 0; i < 2 * TASKS; i++)
        t[i] = MAY_NULL(weft_spawn(i % 2 ? gives_up : uses_all, NULL));
    for (int i = 0; i < 2 * TASKS; i++) {
        if (!t[i])
            continue;
        CHECK_EQ(0, weft_join(t[i], &result));
        if (result != 7)
            MAY(result, ENOMEM);
    }
    CHECK_EQ(0, pthread_join(thread, NULL));
    return 0;
}

static void locks(const struct test_flavour *flavour)
{
    atomic_store(&rounds, 0);
    CHECK_EQ(0, weft_mutex_init(&shared.mutex, "shared"));
    CHECK_EQ(0, weft_rwlock_init(&shared.table, "table", 4));
    CHECK_EQ(0, weft_semaphore_init(&shared.permits, 3));
    shared.value = shared.rows = 0;
    fault_run_root(flavour, root, NULL);
    CHECK_EQ(atomic_load(&rounds), shared.value);
    CHECK_EQ(atomic_load(&rounds), shared.rows);
    CHECK_EQ(0, weft_mutex_try_lock(&shared.mutex));
    CHECK_EQ(0, weft_mutex_unlock(&shared.mutex));
    CHECK_EQ(0, weft_rwlock_try_write_lock(&shared.table));
    CHECK_EQ(0, weft_rwlock_write_unlock(&shared.table));
    CHECK_EQ(3, weft_semaphore_available(&shared.permits));
}

TEST(locks_need_nothing_that_could_fail)
{
    fault_sweep(locks);
}

TEST(they_bear_any_mixture_of_failures)
{
    fault_chaos(locks, fault_full() ? 1000 : test_scaled(60));
}

TEST(every_kind_of_a_lock_was_met)
{
    MET(WF_FAULT_FUTEX_WAIT, WF_FAULT_ALLOC);
}

TEST_MAIN("fault.locks", locks_need_nothing_that_could_fail, they_bear_any_mixture_of_failures,
          every_kind_of_a_lock_was_met)
