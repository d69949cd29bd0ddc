/* SPDX-License-Identifier: MIT */
/*
 * lock.c - acts: mutexes, read-write locks and permits that all actors share, of whatever runtime.
 *
 * Who has a lock waits for nothing but its turn to run, and takes a second one only of a higher number; so nobody waits
 * for ever. Some die with what they hold.
 *
 * CLAIMS   Nobody is inside with another; no permit is lost or made; each death is told once by a mutex, and by a
 *          read-write lock until a writer has had it. In the end all are free.
 */
#include "soak.h"

#include <errno.h>

#define LOCKS   3
#define PERMITS 4

static struct guarded {
    weft_mutex mutex;
    unsigned inside; /* under the mutex */
    weft_rwlock table;
    unsigned readers, writers; /* atomic */
    weft_semaphore permits;
    unsigned out; /* atomic */
} guarded[LOCKS];

static unsigned deaths, told; /* atomic: of mutexes */

void soak_locks_open(void)
{
    for (unsigned i = 0; i < LOCKS; i++)
        guarded[i] = (struct guarded){.mutex = WEFT_MUTEX_NAMED("soak"),
                                      .table = WEFT_RWLOCK_NAMED("soak"),
                                      .permits = WEFT_SEMAPHORE_INIT(PERMITS)};
    deaths = told = 0;
}

static void count(unsigned *n)
{
    __atomic_fetch_add(n, 1, __ATOMIC_RELAXED);
}

static bool is_held(int rc)
{
    if (rc == -EOWNERDEAD)
        count(&told);
    return rc == 0 || rc == -EOWNERDEAD;
}

/* From a plain thread, when all actors have ended. */
void soak_locks_close(void)
{
    for (unsigned i = 0; i < LOCKS; i++) {
        struct guarded *g = &guarded[i];
        int rc = weft_mutex_try_lock(&g->mutex);

        CHECK(is_held(rc));
        CHECK(rc || g->inside == 0);
        CHECK_EQ(0, weft_mutex_unlock(&g->mutex));
        rc = weft_rwlock_try_write_lock(&g->table);
        CHECK(rc == 0 || rc == -EOWNERDEAD);
        CHECK_EQ(0, weft_rwlock_write_unlock(&g->table));
        CHECK_EQ(0, g->readers);
        CHECK_EQ(PERMITS, weft_semaphore_available(&g->permits));
        CHECK_EQ(0, g->out);
    }
    CHECK_EQ(deaths, told);
}

static void pause_inside(struct soak_actor *a)
{
    if (one_in(a, 3))
        (void)soak_expect(0, weft_yield(), "yield");
    else if (one_in(a, 10))
        soak_nap(a, 50);
}

/* --- mutexes ------------------------------------------------------------------------------- */

static void enter(struct guarded *g, int rc)
{
    if (rc == -EOWNERDEAD)
        g->inside = 0;
    CHECK_EQ(0, g->inside++);
    CHECK(weft_mutex_is_held(&g->mutex));
}

static void leave(struct guarded *g)
{
    CHECK_EQ(1, g->inside--);
    CHECK_EQ(0, weft_mutex_unlock(&g->mutex));
}

static int lock_by_select(struct guarded *g)
{
    weft_future lock = weft_mutex_lock_future(&g->mutex), turn = weft_yield_future();
    ssize_t rc = weft_select(&lock, &turn);

    if (rc == 1)
        return -EAGAIN;
    CHECK(rc == 0 || soak_is_soft(rc));
    return rc == 0 ? (int)lock.result : (int)rc;
}

/* Left pending for a while: it may be handed the mutex meanwhile. */
static int lock_kept(struct guarded *g)
{
    weft_future lock = weft_mutex_lock_future(&g->mutex), turn = weft_yield_future();
    ssize_t rc = weft_select_keep(&lock, &turn);

    weft_future_drop(&turn);
    if (rc == 0)
        return (int)lock.result;
    (void)weft_yield();
    weft_future_drop(&lock);
    return -EAGAIN;
}

static int lock_some_way(struct soak_actor *a, struct guarded *g)
{
    switch (roll(a, 5)) {
    case 0:
        return weft_mutex_try_lock(&g->mutex);
    case 1:
        return lock_by_select(g);
    case 2:
        return lock_kept(g);
    default:
        return weft_mutex_lock(&g->mutex);
    }
}

static int dies_inside(void *seed)
{
    struct soak_actor a = {.rand = (uintptr_t)seed | 1};
    struct guarded *g = &guarded[roll(&a, LOCKS)];
    int rc = weft_mutex_lock(&g->mutex);

    if (!is_held(rc))
        return rc;
    enter(g, rc);
    count(&deaths);
    if (one_in(&a, 2))
        weft_panic("meant: the soak tries panics with a mutex");
    return -EOWNERDEAD;
}

void soak_act_mutex(struct soak_actor *a)
{
    unsigned i = (unsigned)roll(a, LOCKS), j = i + 1;
    int rc;

    if (one_in(a, 20)) {
        weft_task *t = weft_spawn(dies_inside, soak_seed_pointer(test_rand(&a->rand)));
        bool cancel = one_in(a, 4);

        if (cancel)
            weft_cancel(t);
        soak_join_value(t, -EOWNERDEAD, cancel);
        return;
    }
    rc = lock_some_way(a, &guarded[i]);
    if (!is_held(rc)) {
        CHECK(rc == -EAGAIN || soak_is_soft(rc));
        return;
    }
    enter(&guarded[i], rc);
    pause_inside(a);
    if (j < LOCKS && one_in(a, 4)) {
        rc = weft_mutex_lock(&guarded[j].mutex);
        if (is_held(rc)) {
            enter(&guarded[j], rc);
            pause_inside(a);
            leave(&guarded[j]);
        } else {
            CHECK(soak_is_soft(rc));
        }
    }
    leave(&guarded[i]);
}

/* --- read-write locks ------------------------------------------------------------------------- */

static void read_inside(struct soak_actor *a, struct guarded *g)
{
    __atomic_fetch_add(&g->readers, 1, __ATOMIC_RELAXED);
    CHECK_EQ(0, __atomic_load_n(&g->writers, __ATOMIC_RELAXED));
    pause_inside(a);
    __atomic_fetch_sub(&g->readers, 1, __ATOMIC_RELAXED);
    CHECK_EQ(0, weft_rwlock_read_unlock(&g->table));
}

void soak_act_rwlock(struct soak_actor *a)
{
    struct guarded *g = &guarded[roll(a, LOCKS)];
    bool write = one_in(a, 3);
    int rc = write ? weft_rwlock_write_lock(&g->table) : weft_rwlock_read_lock(&g->table);

    if (rc < 0) {
        CHECK(soak_is_soft(rc));
        return;
    }
    if (!write) {
        read_inside(a, g);
        return;
    }
    CHECK_EQ(0, __atomic_fetch_add(&g->writers, 1, __ATOMIC_RELAXED));
    CHECK_EQ(0, __atomic_load_n(&g->readers, __ATOMIC_RELAXED));
    pause_inside(a);
    CHECK_EQ(1, __atomic_fetch_sub(&g->writers, 1, __ATOMIC_RELAXED));
    if (one_in(a, 2)) {
        CHECK_EQ(0, weft_rwlock_write_unlock(&g->table));
        return;
    }
    CHECK_EQ(0, weft_rwlock_downgrade(&g->table));
    read_inside(a, g);
}

/* --- permits ------------------------------------------------------------------------------------ */

void soak_act_permits(struct soak_actor *a)
{
    struct guarded *g = &guarded[roll(a, LOCKS)];
    unsigned n = 1 + (unsigned)roll(a, PERMITS);
    weft_future some = weft_semaphore_acquire_many_future(&g->permits, n),
                turn = weft_yield_future();
    ssize_t rc = one_in(a, 3) ? weft_select(&some, &turn)
                              : weft_semaphore_acquire_many(&g->permits, n);

    if (rc != 0) {
        CHECK(rc == 1 || soak_is_soft(rc));
        return;
    }
    CHECK(__atomic_add_fetch(&g->out, n, __ATOMIC_RELAXED) <= PERMITS);
    pause_inside(a);
    __atomic_fetch_sub(&g->out, n, __ATOMIC_RELAXED);
    CHECK_EQ(0, weft_semaphore_release(&g->permits, n));
}
