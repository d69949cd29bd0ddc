/* SPDX-License-Identifier: MIT */
/*
 * test_barrier.c - barriers: nobody goes on before all have come, and one leads.
 */
#include "giveup.h"
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

#define TASKS  6
#define CROWD  70 /* more than are woken at a time */
#define ROUNDS 20

static int comes(void *b)
{
    return weft_barrier_wait(b);
}

static weft_future comes_future(void *b)
{
    return weft_barrier_wait_future(b);
}

struct meeting {
    weft_barrier b;
    unsigned count, rounds;
    atomic_uint arrived, leaders;
};

static void meet(struct meeting *m, int (*wait)(weft_barrier *b))
{
    for (unsigned r = 1; r <= m->rounds; r++) {
        int rc;

        atomic_fetch_add(&m->arrived, 1);
        rc = wait(&m->b);
        CHECK(rc == 0 || rc == 1);
        atomic_fetch_add(&m->leaders, (unsigned)rc);
        /* All of this round have come, and nobody twice more. */
        CHECK(atomic_load(&m->arrived) >= r * m->count);
        CHECK(atomic_load(&m->arrived) < (r + 1) * m->count);
        /* A second time, so that the counts are stable above. */
        rc = wait(&m->b);
        CHECK(rc == 0 || rc == 1);
        atomic_fetch_add(&m->leaders, (unsigned)rc);
    }
}

static int member(void *arg)
{
    meet(arg, weft_barrier_wait);
    return 0;
}

static void *thread_member(void *arg)
{
    meet(arg, weft_barrier_wait_blocking);
    return NULL;
}

static int members(void *arg)
{
    struct meeting m = {.b = WEFT_BARRIER_INIT(CROWD), .count = CROWD, .rounds = ROUNDS};
    weft_task *t[CROWD];

    (void)arg;
    for (int i = 0; i < CROWD; i++)
        t[i] = weft_spawn(member, &m);
    for (int i = 0; i < CROWD; i++)
        CHECK_EQ(0, weft_join(t[i], NULL));
    CHECK_EQ(2 * ROUNDS, atomic_load(&m.leaders));
    return 0;
}

TEST(all_go_on_together_and_one_leads)
{
    test_run(members, NULL);
}

END_TEST

static int mixed(void *arg)
{
    struct meeting m = {.count = 4, .rounds = (unsigned)test_scaled(50)};
    pthread_t thread[2];
    weft_task *t[2];

    (void)arg;
    weft_barrier_init(&m.b, 4);
    CHECK_EQ(-EDEADLK, weft_barrier_wait_blocking(&m.b));
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(0, pthread_create(&thread[i], NULL, thread_member, &m));
        t[i] = weft_spawn(member, &m);
    }
    for (int i = 0; i < 2; i++)
        CHECK_EQ(0, weft_join(t[i], NULL));
    for (int i = 0; i < 2; i++)
        CHECK_EQ(0, pthread_join(thread[i], NULL));
    CHECK_EQ(2 * m.rounds, atomic_load(&m.leaders));
    return 0;
}

TEST(tasks_and_threads_meet)
{
    test_run(mixed, NULL);
}

END_TEST

static int last_leads(void *arg)
{
    weft_barrier b = WEFT_BARRIER_INIT(TASKS);
    weft_task *t[TASKS];
    int result;

    (void)arg;
    for (int i = 0; i < TASKS - 1; i++) {
        t[i] = weft_spawn(comes, &b);
        until_idle(t[i]);
    }
    CHECK_EQ(1, weft_barrier_wait(&b));
    for (int i = 0; i < TASKS - 1; i++) {
        CHECK_EQ(0, weft_join(t[i], &result));
        CHECK_EQ(0, result);
    }
    return 0;
}

TEST(the_last_one_leads)
{
    test_run(last_leads, NULL);
}

END_TEST

static int alone(void *arg)
{
    weft_barrier zero = WEFT_BARRIER_INIT(0), one = WEFT_BARRIER_INIT(1), nothing = {0};

    (void)arg;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(1, weft_barrier_wait(&zero));
        CHECK_EQ(1, weft_barrier_wait(&one));
        CHECK_EQ(1, weft_barrier_wait(&nothing));
    }
    return 0;
}

TEST(a_barrier_for_nobody_is_one_for_one)
{
    test_run(alone, NULL);
}

END_TEST

static int gives_up(void *arg)
{
    weft_barrier b = WEFT_BARRIER_INIT(3);
    struct giveup g = {comes, comes_future, &b};
    weft_task *t[2];

    (void)arg;
    give_up(&g);
    /* None of them counts: three more are needed. */
    for (int i = 0; i < 2; i++) {
        t[i] = weft_spawn(comes, &b);
        until_idle(t[i]);
    }
    CHECK(!weft_is_finished(t[0]));
    CHECK_EQ(1, weft_barrier_wait(&b));
    for (int i = 0; i < 2; i++)
        CHECK_EQ(0, weft_join(t[i], NULL));
    return 0;
}

TEST(who_gives_up_has_not_come)
{
    test_run(gives_up, NULL);
}

END_TEST

static int comes_when_polled(void *arg)
{
    weft_barrier b = WEFT_BARRIER_INIT(2);
    weft_future early = weft_barrier_wait_future(&b), late = weft_barrier_wait_future(&b);
    weft_context cx = weft_context_of(NULL);

    (void)arg;
    CHECK(weft_future_poll(&late, &cx) == WEFT_PENDING);
    CHECK(weft_future_poll(&late, &cx) == WEFT_PENDING); /* has come once */
    CHECK_EQ(1, weft_await(&early));
    CHECK_EQ(0, weft_await(&late));
    return 0;
}

TEST(a_future_comes_when_it_is_polled)
{
    test_run(comes_when_polled, NULL);
}

END_TEST

TEST_MAIN("barrier", all_go_on_together_and_one_leads, tasks_and_threads_meet, the_last_one_leads,
          a_barrier_for_nobody_is_one_for_one, who_gives_up_has_not_come,
          a_future_comes_when_it_is_polled)
