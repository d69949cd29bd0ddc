/* SPDX-License-Identifier: MIT */
/*
 * test_rwlock.c - many readers or one writer, first come first served; and a writer is known.
 */
#include "lock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static int reads(void *arg)
{
    int rc = weft_rwlock_read_lock(arg);

    if (rc == 0 || rc == -EOWNERDEAD)
        CHECK_EQ(0, weft_rwlock_read_unlock(arg));
    return rc;
}

static int writes(void *arg)
{
    int rc = weft_rwlock_write_lock(arg);

    if (rc == 0 || rc == -EOWNERDEAD)
        CHECK_EQ(0, weft_rwlock_write_unlock(arg));
    return rc;
}

static weft_task *waits(weft_fn *fn, weft_rwlock *l)
{
    weft_task *t = weft_spawn(fn, l);

    until_waiting(t);
    return t;
}

static void let_others_run(void)
{
    for (int i = 0; i < 5; i++)
        CHECK_EQ(0, weft_yield());
}

/* --- who is inside ---------------------------------------------------------------------- */

#define CROWD 20

struct crowd {
    weft_rwlock lock;
    atomic_uint readers, writers;
    uint64_t rounds;
    uint64_t value; /* under the lock */
};

static void crowd_read(struct crowd *c)
{
    atomic_fetch_add(&c->readers, 1);
    CHECK_EQ(0, atomic_load(&c->writers));
}

static void crowd_write(struct crowd *c)
{
    CHECK_EQ(0, atomic_fetch_add(&c->writers, 1));
    CHECK_EQ(0, atomic_load(&c->readers));
    c->value++;
}

static int crowd_member(void *arg)
{
    struct crowd *c = arg;

    for (uint64_t i = 0; i < c->rounds; i++) {
        if (i % 4) {
            CHECK_EQ(0, weft_rwlock_read_lock(&c->lock));
            crowd_read(c);
            if (i % 3 == 0)
                CHECK_EQ(0, weft_yield());
            atomic_fetch_sub(&c->readers, 1);
            CHECK_EQ(0, weft_rwlock_read_unlock(&c->lock));
            continue;
        }
        CHECK_EQ(0, weft_rwlock_write_lock(&c->lock));
        crowd_write(c);
        if (i % 8 == 0)
            CHECK_EQ(0, weft_yield());
        atomic_fetch_sub(&c->writers, 1);
        if (i % 12 == 0) {
            CHECK_EQ(0, weft_rwlock_downgrade(&c->lock));
            crowd_read(c);
            atomic_fetch_sub(&c->readers, 1);
            CHECK_EQ(0, weft_rwlock_read_unlock(&c->lock));
        } else {
            CHECK_EQ(0, weft_rwlock_write_unlock(&c->lock));
        }
    }
    return 0;
}

static int crowd_root(void *arg)
{
    struct crowd *c = arg;
    weft_task *t[CROWD];

    for (unsigned i = 0; i < CROWD; i++)
        t[i] = weft_spawn(crowd_member, c);
    for (unsigned i = 0; i < CROWD; i++)
        CHECK_EQ(0, result_of(t[i]));
    return 0;
}

static int together_root(void *arg)
{
    weft_rwlock l = WEFT_RWLOCK_INIT;

    (void)arg;
    CHECK_EQ(0, weft_rwlock_read_lock(&l));
    CHECK_EQ(0, result_of(weft_spawn(reads, &l)));
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    return 0;
}

TEST(many_readers_or_one_writer_are_inside)
{
    test_run(together_root, NULL);
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct crowd c = {.lock = WEFT_RWLOCK_INIT, .rounds = test_scaled(400) / 4 * 4};

        test_run_on(&test_flavours[i], crowd_root, &c);
        CHECK_EQ(CROWD * c.rounds / 4, c.value);
    }
}

static int limit_root(void *arg)
{
    weft_rwlock l, zero;
    weft_future f;
    weft_task *t;

    (void)arg;
    memset(&zero, 0, sizeof(zero));
    CHECK_EQ(-EINVAL, weft_rwlock_init(&l, NULL, 0));
    CHECK_EQ(-EINVAL, weft_rwlock_init(&l, NULL, WEFT_RWLOCK_READERS_MAX + 1));
    CHECK_EQ(-EINVAL, weft_rwlock_read_lock(&zero));
    CHECK_EQ(-EINVAL, weft_rwlock_try_write_lock(&zero));
    CHECK_EQ(-EINVAL, weft_rwlock_read_unlock(&zero));
    f = weft_rwlock_read_lock_future(&zero);
    CHECK_EQ(-EINVAL, weft_await(&f));
    CHECK_EQ(0, weft_rwlock_init(&l, "two", 2));
    CHECK_EQ(0, weft_rwlock_read_lock(&l));
    CHECK_EQ(0, weft_rwlock_try_read_lock(&l));
    CHECK_EQ(-EAGAIN, weft_rwlock_try_read_lock(&l));
    t = waits(reads, &l);
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    CHECK_EQ(0, result_of(t));
    CHECK_EQ(-EAGAIN, weft_rwlock_try_write_lock(&l));
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    CHECK_EQ(0, weft_rwlock_try_write_lock(&l));
    CHECK_EQ(-EAGAIN, weft_rwlock_try_read_lock(&l));
    CHECK_EQ(0, weft_rwlock_write_unlock(&l));
    return 0;
}

TEST(no_more_readers_than_were_asked_for)
{
    hush();
    test_run(limit_root, NULL);
}

/* --- who is served ---------------------------------------------------------------------- */

static int order_root(void *arg)
{
    weft_rwlock l = WEFT_RWLOCK_INIT;
    weft_task *writer, *reader;

    (void)arg;
    CHECK_EQ(0, weft_rwlock_read_lock(&l));
    writer = waits(writes, &l);
    /* It keeps out readers that come later, though there are readers inside. */
    CHECK_EQ(-EAGAIN, weft_rwlock_try_read_lock(&l));
    reader = waits(reads, &l);
    CHECK(!weft_is_finished(writer));
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    CHECK_EQ(0, result_of(writer));
    CHECK_EQ(0, result_of(reader));
    return 0;
}

TEST(a_writer_that_waits_keeps_later_readers_out)
{
    test_run(order_root, NULL);
}

static int cancel_root(void *arg)
{
    weft_rwlock l = WEFT_RWLOCK_INIT;
    weft_task *writer, *reader[3];

    (void)arg;
    CHECK_EQ(0, weft_rwlock_read_lock(&l));
    writer = waits(writes, &l);
    for (int i = 0; i < 3; i++)
        reader[i] = waits(reads, &l);
    weft_cancel(writer);
    CHECK_EQ(-ECANCELED, result_of(writer));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(0, result_of(reader[i]));
    CHECK_EQ(0, weft_rwlock_try_read_lock(&l));
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    CHECK_EQ(0, weft_rwlock_try_write_lock(&l));
    CHECK_EQ(0, weft_rwlock_write_unlock(&l));
    return 0;
}

TEST(a_cancelled_writer_lets_them_in)
{
    test_run(cancel_root, NULL);
}

static int times_out(void *arg)
{
    int rc = 0;

    WEFT_DEADLINE(WEFT_MS(2))
    {
        rc = weft_rwlock_write_lock(arg);
    }
    return rc;
}

static int loses_select(void *arg)
{
    weft_future f = weft_rwlock_write_lock_future(arg), nap = weft_sleep_future(WEFT_MS(2));

    return (int)weft_select(&f, &nap);
}

static int timeout_root(void *arg)
{
    weft_rwlock l = WEFT_RWLOCK_INIT;

    (void)arg;
    CHECK_EQ(0, weft_rwlock_read_lock(&l));
    CHECK_EQ(-ETIMEDOUT, result_of(weft_spawn(times_out, &l)));
    CHECK_EQ(0, weft_rwlock_try_read_lock(&l));
    CHECK_EQ(1, result_of(weft_spawn(loses_select, &l)));
    CHECK_EQ(0, weft_rwlock_try_read_lock(&l));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    CHECK_EQ(0, weft_rwlock_try_write_lock(&l));
    CHECK_EQ(0, weft_rwlock_write_unlock(&l));
    return 0;
}

TEST(deadlines_and_selects_give_up_the_place)
{
    test_run(timeout_root, NULL);
}

static int downgrade_root(void *arg)
{
    weft_rwlock l = WEFT_RWLOCK_INIT;
    weft_task *reader, *writer, *behind;

    (void)arg;
    CHECK_EQ(0, weft_rwlock_write_lock(&l));
    reader = waits(reads, &l);
    writer = waits(writes, &l);
    behind = waits(reads, &l);
    CHECK_EQ(0, weft_rwlock_downgrade(&l));
    CHECK_EQ(0, result_of(reader));
    let_others_run();
    CHECK(!weft_is_finished(writer)); /* this task reads */
    CHECK(!weft_is_finished(behind)); /* and that one comes first */
    CHECK_EQ(-EPERM, weft_rwlock_write_unlock(&l));
    CHECK_EQ(-EPERM, weft_rwlock_downgrade(&l));
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    CHECK_EQ(0, result_of(writer));
    CHECK_EQ(0, result_of(behind));
    return 0;
}

TEST(downgrading_lets_readers_in_and_no_writer_between)
{
    hush();
    test_run(downgrade_root, NULL);
}

static int handed_root(void *arg)
{
    weft_rwlock l = WEFT_RWLOCK_INIT;
    weft_future kept = weft_rwlock_write_lock_future(&l), yield = weft_yield_future();
    weft_task *reader;

    (void)arg;
    CHECK_EQ(0, weft_rwlock_read_lock(&l));
    CHECK_EQ(1, weft_select_keep(&kept, &yield));
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    CHECK_EQ(-EAGAIN, weft_rwlock_try_read_lock(&l)); /* it was handed to the future */
    reader = waits(reads, &l);
    weft_future_drop(&kept);
    CHECK_EQ(0, result_of(reader));
    /* And polled. */
    CHECK_EQ(0, weft_rwlock_read_lock(&l));
    kept = weft_rwlock_write_lock_future(&l);
    yield = weft_yield_future();
    CHECK_EQ(1, weft_select_keep(&kept, &yield));
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    CHECK_EQ(0, weft_await(&kept));
    CHECK_EQ(0, weft_rwlock_write_unlock(&l));
    return 0;
}

TEST(a_future_that_is_dropped_passes_on_what_it_was_handed)
{
    test_run(handed_root, NULL);
}

/* --- who holds it ------------------------------------------------------------------------- */

static int unlocks_writer(void *arg)
{
    return weft_rwlock_write_unlock(arg);
}

static int unlocks_reader(void *arg)
{
    return weft_rwlock_read_unlock(arg);
}

static int owner_root(void *arg)
{
    weft_rwlock l = WEFT_RWLOCK_INIT;
    weft_future f;

    (void)arg;
    CHECK_EQ(-EPERM, weft_rwlock_read_unlock(&l));
    CHECK_EQ(-EPERM, weft_rwlock_write_unlock(&l));
    CHECK_EQ(-EPERM, weft_rwlock_downgrade(&l));
    CHECK_EQ(0, weft_rwlock_write_lock(&l));
    CHECK_EQ(-EDEADLK, weft_rwlock_write_lock(&l));
    CHECK_EQ(-EDEADLK, weft_rwlock_read_lock(&l));
    CHECK_EQ(-EDEADLK, weft_rwlock_read_lock_blocking(&l));
    f = weft_rwlock_read_lock_future(&l);
    CHECK_EQ(-EDEADLK, weft_await(&f));
    CHECK_EQ(-EPERM, weft_rwlock_read_unlock(&l));
    CHECK_EQ(-EPERM, result_of(weft_spawn(unlocks_writer, &l)));
    CHECK_EQ(-EPERM, result_of(weft_spawn(unlocks_reader, &l)));
    CHECK_EQ(0, weft_rwlock_write_unlock(&l));
    /* A reader's may be given back by anybody. */
    CHECK_EQ(0, weft_rwlock_read_lock(&l));
    CHECK_EQ(-EPERM, weft_rwlock_write_unlock(&l));
    CHECK_EQ(0, result_of(weft_spawn(unlocks_reader, &l)));
    CHECK_EQ(-EPERM, weft_rwlock_read_unlock(&l));
    return 0;
}

TEST(only_its_writer_unlocks_for_writing)
{
    hush();
    test_run(owner_root, NULL);
}

struct death {
    weft_rwlock lock;
    atomic_bool holds, go_on;
};

static int dies_holding(void *arg)
{
    struct death *d = arg;

    CHECK_EQ(0, weft_rwlock_write_lock(&d->lock));
    atomic_store(&d->holds, true);
    while (!atomic_load(&d->go_on))
        CHECK_EQ(0, weft_yield());
    weft_panic("as it should");
}

static int death_root(void *arg)
{
    struct death d = {.lock = WEFT_RWLOCK_NAMED("data")};
    weft_task *t = weft_spawn(dies_holding, &d), *first, *second, *third, *fourth;

    (void)arg;
    while (!atomic_load(&d.holds))
        CHECK_EQ(0, weft_yield());
    first = waits(reads, &d.lock);
    second = waits(reads, &d.lock);
    third = waits(writes, &d.lock);
    fourth = waits(reads, &d.lock);
    atomic_store(&d.go_on, true);
    CHECK_EQ(-EOWNERDEAD, result_of(t));
    CHECK_EQ(-EOWNERDEAD, result_of(first));
    CHECK_EQ(-EOWNERDEAD, result_of(second));
    CHECK_EQ(-EOWNERDEAD, result_of(third)); /* who has it in his hand to repair it */
    CHECK_EQ(0, result_of(fourth));
    return 0;
}

TEST(all_are_told_that_a_writer_has_died_until_one_has_written)
{
    hush();
    test_run(death_root, NULL);
}

static int dies_alone(void *arg)
{
    CHECK_EQ(0, weft_rwlock_write_lock(arg));
    return 0;
}

static int death_free_root(void *arg)
{
    weft_rwlock l = WEFT_RWLOCK_INIT;

    (void)arg;
    CHECK_EQ(0, result_of(weft_spawn(dies_alone, &l)));
    CHECK_EQ(-EOWNERDEAD, weft_rwlock_try_read_lock(&l));
    CHECK_EQ(-EOWNERDEAD, weft_rwlock_read_lock(&l));
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    CHECK_EQ(-EOWNERDEAD, weft_rwlock_try_write_lock(&l));
    CHECK_EQ(0, weft_rwlock_write_unlock(&l));
    CHECK_EQ(0, weft_rwlock_read_lock(&l));
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    return 0;
}

TEST(so_are_those_that_need_not_wait)
{
    hush();
    test_run(death_free_root, NULL);
}

static int reads_and_ends(void *arg)
{
    return weft_rwlock_read_lock(arg);
}

static int reader_root(void *arg)
{
    weft_rwlock l = WEFT_RWLOCK_INIT;

    (void)arg;
    CHECK_EQ(0, result_of(weft_spawn(reads_and_ends, &l)));
    CHECK_EQ(-EAGAIN, weft_rwlock_try_write_lock(&l));
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    CHECK_EQ(0, weft_rwlock_try_write_lock(&l));
    return weft_rwlock_write_unlock(&l);
}

TEST(a_reader_that_ends_leaves_it_locked)
{
    test_run(reader_root, NULL);
}

/* --- threads and stackless tasks ------------------------------------------------------------ */

static void *crowd_thread(void *arg)
{
    struct crowd *c = arg;

    for (uint64_t i = 0; i < c->rounds; i++) {
        if (i % 4) {
            CHECK_EQ(0, weft_rwlock_read_lock_blocking(&c->lock));
            crowd_read(c);
            atomic_fetch_sub(&c->readers, 1);
            CHECK_EQ(0, weft_rwlock_read_unlock(&c->lock));
        } else {
            CHECK_EQ(0, weft_rwlock_write_lock_blocking(&c->lock));
            crowd_write(c);
            atomic_fetch_sub(&c->writers, 1);
            CHECK_EQ(0, weft_rwlock_write_unlock(&c->lock));
        }
    }
    return NULL;
}

TEST(tasks_and_plain_threads_share_one)
{
    struct crowd c = {.lock = WEFT_RWLOCK_INIT, .rounds = test_scaled(200) / 4 * 4};
    pthread_t thread[4];

    for (unsigned n = 0; n < 4; n++)
        CHECK_EQ(0, pthread_create(&thread[n], NULL, crowd_thread, &c));
    test_run(crowd_root, &c);
    for (unsigned n = 0; n < 4; n++)
        CHECK_EQ(0, pthread_join(thread[n], NULL));
    CHECK_EQ((4 + CROWD * test_flavour_count) * c.rounds / 4, c.value);
}

struct stackless {
    weft_async async;
    weft_rwlock *lock;
    bool write;
    weft_future wait;
};

static weft_poll stackless_poll(void *self, weft_context *cx)
{
    struct stackless *s = self;

    WEFT_ASYNC_BEGIN(s);
    s->wait = s->write ? weft_rwlock_write_lock_future(s->lock)
                       : weft_rwlock_read_lock_future(s->lock);
    WEFT_AWAIT(s, cx, &s->wait);
    CHECK(s->wait.result == 0 || s->wait.result == -EOWNERDEAD);
    if (!s->write)
        CHECK_EQ(0, weft_rwlock_read_unlock(s->lock));
    /* A writer forgets it. */
    WEFT_RETURN(s, (int)s->wait.result);
    WEFT_ASYNC_END(s);
}

static const weft_async_type stackless_type = {.poll = stackless_poll,
                                               .size = sizeof(struct stackless),
                                               .name = "stackless"};

static int stackless_root(void *arg)
{
    weft_rwlock l = WEFT_RWLOCK_INIT;
    weft_task *t[4];

    (void)arg;
    CHECK_EQ(0, weft_rwlock_write_lock(&l));
    for (unsigned i = 0; i < 4; i++) {
        t[i] = weft_spawn_async(&stackless_type,
                                &(struct stackless){.lock = &l, .write = i == 1 || i == 2});
        until_waiting(t[i]);
    }
    weft_cancel(t[2]);
    CHECK_EQ(-ECANCELED, result_of(t[2]));
    CHECK_EQ(0, weft_rwlock_write_unlock(&l));
    CHECK_EQ(0, result_of(t[0]));
    CHECK_EQ(0, result_of(t[1]));
    CHECK_EQ(-EOWNERDEAD, result_of(t[3]));
    return 0;
}

TEST(stackless_tasks_lock_too)
{
    hush();
    test_run(stackless_root, NULL);
}

/* --- lives ---------------------------------------------------------------------------------- */

struct counted {
    weft_rwlock lock;
    unsigned left; /* written under the lock */
};

static int counted_user(void *arg)
{
    struct counted *c = *(struct counted **)arg;
    bool last;

    CHECK_EQ(0, weft_rwlock_write_lock(&c->lock));
    last = --c->left == 0;
    CHECK_EQ(0, weft_rwlock_write_unlock(&c->lock));
    if (last) {
        memset(c, 0x5a, sizeof(*c));
        free(c);
    }
    return 0;
}

static int counted_root(void *arg)
{
    weft_task *t[6];

    (void)arg;
    for (uint64_t round = test_scaled(500); round > 0; round--) {
        struct counted *c = malloc(sizeof(*c));

        CHECK(c);
        *c = (struct counted){.lock = WEFT_RWLOCK_INIT, .left = 6};
        for (unsigned i = 0; i < 6; i++)
            t[i] = weft_spawn_copy(counted_user, &c, sizeof(struct counted *));
        for (unsigned i = 0; i < 6; i++)
            CHECK_EQ(0, result_of(t[i]));
    }
    return 0;
}

TEST(the_next_writer_may_free_it)
{
    test_run(counted_root, NULL);
}

TEST_MAIN("rwlock", many_readers_or_one_writer_are_inside, no_more_readers_than_were_asked_for,
          a_writer_that_waits_keeps_later_readers_out, a_cancelled_writer_lets_them_in,
          deadlines_and_selects_give_up_the_place,
          downgrading_lets_readers_in_and_no_writer_between,
          a_future_that_is_dropped_passes_on_what_it_was_handed,
          only_its_writer_unlocks_for_writing,
          all_are_told_that_a_writer_has_died_until_one_has_written,
          so_are_those_that_need_not_wait, a_reader_that_ends_leaves_it_locked,
          tasks_and_plain_threads_share_one, stackless_tasks_lock_too, the_next_writer_may_free_it)
