/* SPDX-License-Identifier: MIT */
/*
 * test_locks.c - tasks of two runtimes and plain threads lock, wait, give up, are cancelled and die with what they
 * hold, at random.
 *
 * What each lock protects is checked by who has it, and what was told of deaths is counted: nobody is inside with
 * another, no permit is lost or made, each death is told, and in the end all is free.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define LOCKS   4
#define PERMITS 5
#define TASKS   24
#define THREADS 2

/* One lock of each kind; they are taken in the order of their numbers, so that nobody waits for ever. */
static struct guarded {
    weft_mutex mutex;
    unsigned inside, value; /* under the mutex */
    weft_rwlock table;
    atomic_uint readers, writers;
    unsigned rows; /* under the table's lock */
    weft_semaphore permits;
    atomic_uint out;
} guarded[LOCKS];

static atomic_uint mutex_deaths, table_deaths, mutex_told;
static weft_instant storm_end;

static uint64_t roll(uint64_t *rand, uint64_t n)
{
    return (test_rand(rand) >> 11) % n;
}

/* What an owner's death may have left is repaired. */
static bool is_held(int rc, atomic_uint *told)
{
    if (rc == -EOWNERDEAD)
        atomic_fetch_add(told, 1);
    return rc == 0 || rc == -EOWNERDEAD;
}

static bool gave_up(ssize_t rc)
{
    return rc == -ECANCELED || rc == -ETIMEDOUT;
}

static void have_mutex(struct guarded *g, int rc)
{
    if (rc == -EOWNERDEAD)
        g->inside = 0;
    CHECK_EQ(0, g->inside++);
    g->value++;
    CHECK(weft_mutex_is_held(&g->mutex));
}

static void leave_mutex(struct guarded *g)
{
    CHECK_EQ(1, g->inside--);
    CHECK_EQ(0, weft_mutex_unlock(&g->mutex));
}

static void pause_inside(uint64_t *rand)
{
    if (roll(rand, 3) == 0)
        (void)weft_yield();
    else if (roll(rand, 20) == 0)
        (void)weft_sleep(WEFT_US(roll(rand, 100)));
}

/* --- acts of tasks ------------------------------------------------------------------------------ */

static int lock_some_way(uint64_t *rand, weft_mutex *m)
{
    weft_future lock = weft_mutex_lock_future(m), nap = weft_sleep_future(WEFT_US(roll(rand, 200)));
    weft_future yield = weft_yield_future();
    ssize_t rc;

    switch (roll(rand, 6)) {
    case 0:
        return (int)weft_timeout(WEFT_US(roll(rand, 200)), &lock);
    case 1:
        rc = weft_select(&lock, &nap);
        return rc == 0 ? (int)lock.result : rc == 1 ? -ETIMEDOUT : (int)rc;
    case 2:
        rc = weft_select_keep(&lock, &yield);
        weft_future_drop(&yield);
        if (rc == 0)
            return (int)lock.result;
        (void)weft_yield(); /* perhaps it is handed it meanwhile */
        if (rc > 0 && roll(rand, 2))
            return (int)weft_await(&lock);
        weft_future_drop(&lock);
        return -ECANCELED;
    case 3:
        rc = weft_mutex_try_lock(m);
        return rc == -EAGAIN ? -ECANCELED : (int)rc;
    default:
        return weft_mutex_lock(m);
    }
}

static void act_mutex(uint64_t *rand, struct guarded *g)
{
    int rc = lock_some_way(rand, &g->mutex);

    if (!is_held(rc, &mutex_told)) {
        CHECK(gave_up(rc));
        return;
    }
    have_mutex(g, rc);
    pause_inside(rand);
    if (roll(rand, 200) == 0) {
        atomic_fetch_add(&mutex_deaths, 1);
        weft_panic("as it should");
    }
    leave_mutex(g);
}

static void act_two(uint64_t *rand)
{
    unsigned low = (unsigned)roll(rand, LOCKS - 1), high = low + 1;
    int rc = weft_mutex_lock(&guarded[low].mutex);

    if (!is_held(rc, &mutex_told))
        return;
    have_mutex(&guarded[low], rc);
    rc = weft_mutex_lock(&guarded[high].mutex);
    if (is_held(rc, &mutex_told)) {
        have_mutex(&guarded[high], rc);
        pause_inside(rand);
        if (roll(rand, 2)) {
            leave_mutex(&guarded[low]);
            leave_mutex(&guarded[high]);
            return;
        }
        leave_mutex(&guarded[high]);
    }
    leave_mutex(&guarded[low]);
}

static void act_write(uint64_t *rand, struct guarded *g)
{
    int rc = 0;

    WEFT_DEADLINE(roll(rand, 2) ? WEFT_FOREVER : WEFT_US(roll(rand, 200)))
    {
        rc = weft_rwlock_write_lock(&g->table);
    }
    if (!(rc == 0 || rc == -EOWNERDEAD)) {
        CHECK(gave_up(rc));
        return;
    }
    if (rc == -EOWNERDEAD)
        atomic_store(&g->writers, 0);
    CHECK_EQ(0, atomic_fetch_add(&g->writers, 1));
    CHECK_EQ(0, atomic_load(&g->readers));
    g->rows++;
    pause_inside(rand);
    if (roll(rand, 200) == 0) {
        atomic_fetch_add(&table_deaths, 1);
        weft_panic("as it should");
    }
    CHECK_EQ(1, atomic_fetch_sub(&g->writers, 1));
    if (roll(rand, 2)) {
        CHECK_EQ(0, weft_rwlock_write_unlock(&g->table));
        return;
    }
    CHECK_EQ(0, weft_rwlock_downgrade(&g->table));
    atomic_fetch_add(&g->readers, 1);
    pause_inside(rand);
    atomic_fetch_sub(&g->readers, 1);
    CHECK_EQ(0, weft_rwlock_read_unlock(&g->table));
}

static void act_read(uint64_t *rand, struct guarded *g)
{
    weft_future read = weft_rwlock_read_lock_future(&g->table);
    int rc = roll(rand, 2) ? weft_rwlock_read_lock(&g->table)
                           : (int)weft_timeout(WEFT_US(roll(rand, 200)), &read);
    bool whole = rc == 0;

    if (rc != 0 && rc != -EOWNERDEAD) {
        CHECK(gave_up(rc));
        return;
    }
    atomic_fetch_add(&g->readers, 1);
    CHECK(!whole || atomic_load(&g->writers) == 0);
    pause_inside(rand);
    atomic_fetch_sub(&g->readers, 1);
    CHECK_EQ(0, weft_rwlock_read_unlock(&g->table));
}

static void act_permits(uint64_t *rand, struct guarded *g)
{
    unsigned n = 1 + (unsigned)roll(rand, PERMITS);
    weft_future some = weft_semaphore_acquire_many_future(&g->permits, n);
    int rc = roll(rand, 2) ? weft_semaphore_acquire_many(&g->permits, n)
                           : (int)weft_timeout(WEFT_US(roll(rand, 200)), &some);

    if (rc < 0) {
        CHECK(gave_up(rc));
        return;
    }
    CHECK(atomic_fetch_add(&g->out, n) + n <= PERMITS);
    pause_inside(rand);
    atomic_fetch_sub(&g->out, n);
    CHECK_EQ(0, weft_semaphore_release(&g->permits, n));
}

static int actor(void *arg)
{
    uint64_t *rand = arg;

    for (int i = 0; i < 20; i++) {
        struct guarded *g = &guarded[roll(rand, LOCKS)];

        switch (roll(rand, 6)) {
        case 0:
        case 1:
            act_mutex(rand, g);
            break;
        case 2:
            act_two(rand);
            break;
        case 3:
            act_write(rand, g);
            break;
        case 4:
            act_read(rand, g);
            break;
        default:
            act_permits(rand, g);
        }
    }
    return 0;
}

/* Actors begin, and some are cancelled, until it is time. */
static int director(void *arg)
{
    uint64_t rand = *(uint64_t *)arg;
    weft_task *t[TASKS];

    while (weft_now() < storm_end) {
        for (unsigned i = 0; i < TASKS; i++) {
            uint64_t seed = test_rand(&rand) | 1;

            t[i] = weft_spawn_copy(actor, &seed, sizeof(seed));
        }
        for (unsigned i = 0; i < TASKS; i++) {
            int result = 1;

            if (roll(&rand, 4) == 0)
                weft_cancel(t[i]);
            CHECK_EQ(0, weft_join(t[i], &result));
            CHECK(result == 0 || result == -ECANCELED || result == -EOWNERDEAD);
        }
    }
    return 0;
}

/* --- plain threads ---------------------------------------------------------------------------------- */

static void *thread_main(void *arg)
{
    uint64_t rand = *(uint64_t *)arg;

    while (weft_now() < storm_end) {
        struct guarded *g = &guarded[roll(&rand, LOCKS)];
        weft_future lock = weft_mutex_lock_future(&g->mutex);
        int rc = roll(&rand, 2) ? weft_mutex_lock_blocking(&g->mutex)
                                : (int)weft_timeout_blocking(WEFT_US(roll(&rand, 200)), &lock);

        if (is_held(rc, &mutex_told)) {
            have_mutex(g, rc);
            leave_mutex(g);
        } else {
            CHECK(gave_up(rc));
        }
        rc = weft_semaphore_acquire_many_blocking(&g->permits, 2);
        CHECK_EQ(0, rc);
        CHECK(atomic_fetch_add(&g->out, 2) + 2 <= PERMITS);
        atomic_fetch_sub(&g->out, 2);
        CHECK_EQ(0, weft_semaphore_release(&g->permits, 2));
        rc = weft_rwlock_read_lock_blocking(&g->table);
        CHECK(rc == 0 || rc == -EOWNERDEAD);
        CHECK_EQ(0, weft_rwlock_read_unlock(&g->table));
    }
    return NULL;
}

/* --- the storm ----------------------------------------------------------------------------------------- */

static void claim_free(void)
{
    for (unsigned i = 0; i < LOCKS; i++) {
        struct guarded *g = &guarded[i];
        int rc = weft_mutex_try_lock(&g->mutex);

        CHECK(is_held(rc, &mutex_told));
        CHECK_EQ(0, weft_mutex_unlock(&g->mutex));
        rc = weft_rwlock_try_write_lock(&g->table);
        CHECK(rc == 0 || rc == -EOWNERDEAD);
        CHECK_EQ(0, weft_rwlock_write_unlock(&g->table));
        CHECK_EQ(PERMITS, weft_semaphore_available(&g->permits));
        CHECK_EQ(0, atomic_load(&g->out));
        CHECK_EQ(0, atomic_load(&g->readers));
    }
    CHECK_EQ(atomic_load(&mutex_deaths), atomic_load(&mutex_told));
}

static void storm(const struct test_flavour *flavour, weft_duration length, uint64_t seed)
{
    weft_runtime *rt = test_runtime_new(flavour), *other = test_runtime_new(&test_flavours[2]);
    uint64_t seeds[THREADS + 2], rand = seed;
    pthread_t thread[THREADS];
    weft_task *t;

    for (unsigned i = 0; i < LOCKS; i++)
        guarded[i] = (struct guarded){.mutex = WEFT_MUTEX_INIT,
                                      .table = WEFT_RWLOCK_INIT,
                                      .permits = WEFT_SEMAPHORE_INIT(PERMITS)};
    storm_end = weft_now() + length;
    for (unsigned i = 0; i < THREADS + 2; i++)
        seeds[i] = test_rand(&rand) | 1;
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(0, pthread_create(&thread[i], NULL, thread_main, &seeds[i]));
    CHECK_EQ(0, weft_spawn_on(other, &t, NULL, director, &seeds[THREADS]));
    CHECK_EQ(0, weft_block_on(rt, director, &seeds[THREADS + 1], NULL));
    CHECK_EQ(0, weft_join_blocking(t, NULL));
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(0, pthread_join(thread[i], NULL));
    claim_free();
    test_runtime_free(rt);
    test_runtime_free(other);
}

TEST(in_the_end_all_is_free_and_each_death_was_told)
{
    weft_duration each = test_stress_time(WEFT_SECS(6)) / test_flavour_count;
    uint64_t seed = test_seed();
    int null = open("/dev/null", O_WRONLY);

    /* Each panic is told on stderr. */
    CHECK(null >= 0);
    CHECK(dup2(null, STDERR_FILENO) >= 0);
    for (size_t i = 0; i < test_flavour_count; i++)
        storm(&test_flavours[i], each, seed + i);
}

TEST_MAIN("locks", in_the_end_all_is_free_and_each_death_was_told)
