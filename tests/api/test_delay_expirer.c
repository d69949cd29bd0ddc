/* SPDX-License-Identifier: MIT */
/*
 * test_delay_expirer.c - a task that lets the entries of a delay queue expire, on runtimes of every flavour, while
 * other tasks and threads use the queue.
 */
#include "delay.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

/* --- on every flavour -------------------------------------------------------------------------- */

#define MANY 2000

static int takes_all(void *arg)
{
    struct waiter *w = arg;
    weft_delay_expired expired;
    weft_instant last = 0;
    int n = 0, rc;

    while ((rc = weft_delay_queue_next(w->q, &w->got, &expired)) == 1) {
        CHECK(weft_now() >= expired.deadline); /* never early */
        CHECK(expired.deadline >= last);
        last = expired.deadline;
        n++;
    }
    CHECK_EQ(0, rc);
    return n;
}

static int in_real_time(void *arg)
{
    struct waiter w = {.q = queue_of_ints()};
    uint64_t rand = test_seed();

    (void)arg;
    for (int i = 0; i < MANY; i++)
        (void)insert(w.q, i, test_rand(&rand) % WEFT_MS(20));
    CHECK_EQ(MANY, ends(weft_spawn(takes_all, &w)));
    weft_delay_queue_free(w.q);
    return 0;
}

TEST(nothing_comes_early_or_out_of_order)
{
    test_run(in_real_time, NULL);
}

/* An expirer, and tasks and a thread that use what it is to let expire. One entry never does, so that it goes on while
 * the queue is empty otherwise. */
struct cache {
    weft_delay_queue *q;
    weft_delay_key last;
    atomic_uint inserted, expired, removed;
    uint64_t seed;
};

static int cache_expires(void *arg)
{
    struct cache *c = arg;
    weft_delay_expired e;
    int value = 0, rc;

    while ((rc = weft_delay_queue_next(c->q, &value, &e)) == 1) {
        CHECK(weft_now() >= e.deadline);
        atomic_fetch_add(&c->expired, 1);
    }
    return rc;
}

static void cache_use(struct cache *c, uint64_t seed)
{
    enum { KEYS = 16 };

    weft_delay_key key[KEYS] = {{0}};
    uint64_t rand = seed | 1;

    for (uint64_t i = test_scaled(4000); i > 0; i--) {
        weft_delay_key *k = &key[test_rand(&rand) % KEYS];
        weft_duration ttl = test_rand(&rand) % WEFT_US(500);
        int value = 1;

        switch (test_rand(&rand) % 4) {
        case 0:
            if (weft_delay_queue_remove(c->q, *k, &value) == 0)
                atomic_fetch_add(&c->removed, 1);
            break;
        case 1:
            (void)weft_delay_queue_reset(c->q, *k, ttl);
            break;
        default:
            CHECK_EQ(0, weft_delay_queue_insert(c->q, &value, ttl, k));
            atomic_fetch_add(&c->inserted, 1);
            break;
        }
    }
}

static int cache_user(void *arg)
{
    struct cache *c = arg;

    for (int i = 0; i < 4; i++) {
        cache_use(c, c->seed + weft_task_id(weft_task_self()) + (uint64_t)i);
        CHECK_EQ(0, weft_yield());
    }
    return 0;
}

static void *cache_user_as_a_thread(void *arg)
{
    struct cache *c = arg;

    cache_use(c, c->seed);
    return NULL;
}

static int cache_root(void *arg)
{
    struct cache c = {.q = queue_of_ints(), .seed = test_seed()};
    weft_task *expirer, *user[3];
    pthread_t thread;

    (void)arg;
    c.last = insert(c.q, 0, WEFT_FOREVER);
    expirer = weft_spawn(cache_expires, &c);
    CHECK_EQ(0, pthread_create(&thread, NULL, cache_user_as_a_thread, &c));
    for (int i = 0; i < 3; i++)
        user[i] = weft_spawn(cache_user, &c);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(0, ends(user[i]));
    CHECK_EQ(0, pthread_join(thread, NULL));
    CHECK(!weft_is_finished(expirer));
    /* What is left expires; then the last one goes, and with it the expirer. */
    while (weft_delay_queue_len(c.q) > 1)
        CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    CHECK_EQ(0, weft_delay_queue_remove(c.q, c.last, NULL));
    CHECK_EQ(0, ends(expirer));
    CHECK_EQ(atomic_load(&c.inserted), atomic_load(&c.expired) + atomic_load(&c.removed));
    weft_delay_queue_free(c.q);
    return 0;
}

TEST(one_task_lets_expire_what_all_others_use)
{
    test_run(cache_root, NULL);
}

/* Dropped by a thread that is not its task's. */
static void *drops(void *future)
{
    weft_future_drop(future);
    return NULL;
}

static int dropped_elsewhere(void *arg)
{
    weft_delay_queue *q = queue_of_ints();
    weft_future next;
    pthread_t thread;
    int got = -1;

    (void)arg;
    (void)insert(q, 1, WEFT_SECS(1000));
    for (int i = 0; i < 20; i++) {
        next = weft_delay_queue_next_future(q, &got, NULL);
        begin(&next);
        CHECK_EQ(0, pthread_create(&thread, NULL, drops, &next));
        CHECK_EQ(0, pthread_join(thread, NULL));
        CHECK_EQ(-ECANCELED, next.result);
    }
    weft_delay_queue_free(q);
    return 0;
}

TEST(a_wait_can_be_dropped_by_any_thread)
{
    test_run(dropped_elsewhere, NULL);
}

struct stackless {
    weft_async async;
    weft_delay_queue *q;
    weft_future f;
    int got, n;
};

static weft_poll stackless_poll(void *self, weft_context *cx)
{
    struct stackless *s = self;

    WEFT_ASYNC_BEGIN(s);
    CHECK_EQ(-EPERM, weft_delay_queue_next(s->q, &s->got, NULL));
    for (;;) {
        s->f = weft_delay_queue_next_future(s->q, &s->got, NULL);
        WEFT_AWAIT(s, cx, &s->f);
        if (s->f.result != 1)
            break;
        CHECK_EQ(s->n, s->got);
        s->n++;
    }
    CHECK_EQ(0, s->f.result);
    WEFT_RETURN(s, s->n);
    WEFT_ASYNC_END(s);
}

static const weft_async_type stackless_type = {.poll = stackless_poll,
                                               .size = sizeof(struct stackless)};

static int spawns_stackless(void *arg)
{
    struct stackless state = {.q = queue_of_ints()};

    (void)arg;
    for (int i = 0; i < 300; i++)
        (void)insert(state.q, i, (weft_duration)i * WEFT_US(10));
    CHECK_EQ(300, ends(weft_spawn_async(&stackless_type, &state)));
    weft_delay_queue_free(state.q);
    return 0;
}

TEST(a_stackless_task_can_wait_for_the_next)
{
    test_run(spawns_stackless, NULL);
}

/* Others run while very many are due: taking them spends the budget. */
static int counts(void *arg)
{
    ++*(unsigned *)arg;
    return 0;
}

static int takes_fairly(void *arg)
{
    weft_delay_queue *q = queue_of_ints();
    unsigned others = 0;
    weft_task *t;
    int got;

    (void)arg;
    for (int i = 0; i < 1000; i++)
        (void)insert(q, i, 0);
    t = weft_spawn(counts, &others);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(1, weft_delay_queue_next(q, &got, NULL));
    CHECK_EQ(1, others);
    CHECK_EQ(0, weft_join(t, NULL));
    weft_delay_queue_free(q);
    return 0;
}

TEST(taking_what_is_due_spends_the_budget)
{
    test_run_on(&test_flavours[0], takes_fairly, NULL);
}

TEST_MAIN("delay_expirer", nothing_comes_early_or_out_of_order,
          one_task_lets_expire_what_all_others_use, a_wait_can_be_dropped_by_any_thread,
          a_stackless_task_can_wait_for_the_next, taking_what_is_due_spends_the_budget)
