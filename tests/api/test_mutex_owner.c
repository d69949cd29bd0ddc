/* SPDX-License-Identifier: MIT */
/*
 * test_mutex_owner.c - a mutex knows who holds it: who may unlock, and what happens when the owner ends.
 */
#include "lock.h"

#include <pthread.h>

/* --- who holds it ------------------------------------------------------------------ */

static void *unlock_from_thread(void *arg)
{
    CHECK_EQ(-EPERM, weft_mutex_unlock(arg));
    CHECK(!weft_mutex_is_held(arg));
    return NULL;
}

static int unlock_from_task(void *arg)
{
    return weft_mutex_unlock(arg);
}

static int owner_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_future f;
    pthread_t thread;

    (void)arg;
    CHECK_EQ(-EPERM, weft_mutex_unlock(&m));
    CHECK_EQ(0, weft_mutex_lock(&m));
    CHECK_EQ(-EDEADLK, weft_mutex_lock(&m));
    CHECK_EQ(-EDEADLK, weft_mutex_lock_blocking(&m));
    CHECK_EQ(-EAGAIN, weft_mutex_try_lock(&m));
    f = weft_mutex_lock_future(&m);
    CHECK_EQ(-EDEADLK, weft_await(&f));
    CHECK_EQ(-EPERM, result_of(weft_spawn(unlock_from_task, &m)));
    CHECK_EQ(0, pthread_create(&thread, NULL, unlock_from_thread, &m));
    CHECK_EQ(0, pthread_join(thread, NULL));
    CHECK(weft_mutex_is_held(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(-EPERM, weft_mutex_unlock(&m));
    return 0;
}

TEST(only_its_owner_unlocks_and_nobody_locks_twice)
{
    hush();
    test_run(owner_root, NULL);
}

static int many_root(void *arg)
{
    enum { MANY = 50 };

    weft_mutex m[MANY] = {WEFT_MUTEX_INIT};

    (void)arg;
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(0, weft_mutex_lock(&m[i]));
    CHECK_EQ(0, weft_yield());
    for (int i = 0; i < MANY; i += 2)
        CHECK_EQ(0, weft_mutex_unlock(&m[i]));
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(i % 2 != 0, weft_mutex_is_held(&m[i]));
    for (int i = MANY - 1; i > 0; i -= 2)
        CHECK_EQ(0, weft_mutex_unlock(&m[i]));
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(0, weft_mutex_try_lock(&m[i]));
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(0, weft_mutex_unlock(&m[i]));
    return 0;
}

TEST(many_are_held_and_unlocked_in_any_order)
{
    test_run(many_root, NULL);
}

/* --- an owner that ends ------------------------------------------------------------ */

enum way { RETURNS, PANICS, CANCELLED, WAYS };

struct death {
    weft_mutex *mutex;
    enum way way;
};

static int dies_holding(void *arg)
{
    const struct death *d = arg;

    CHECK_EQ(0, weft_mutex_lock(d->mutex));
    if (d->way == PANICS)
        weft_panic("as it should");
    if (d->way == CANCELLED)
        return weft_sleep(WEFT_SECS(1000));
    return 0;
}

static int death_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_NAMED("data");

    (void)arg;
    for (enum way way = RETURNS; way < WAYS; way++) {
        struct death d = {&m, way};
        weft_task *t = weft_spawn_copy(dies_holding, &d, sizeof(d));

        if (way == CANCELLED) {
            until_waiting(t);
            weft_cancel(t);
        }
        CHECK_EQ(way == RETURNS ? 0 : way == PANICS ? -EOWNERDEAD : -ECANCELED, result_of(t));
        CHECK_EQ(-EOWNERDEAD, weft_mutex_lock(&m));
        CHECK(weft_mutex_is_held(&m));
        CHECK_EQ(-EDEADLK, weft_mutex_lock(&m));
        CHECK_EQ(0, weft_mutex_unlock(&m));
        CHECK_EQ(0, weft_mutex_lock(&m)); /* told once */
        CHECK_EQ(0, weft_mutex_unlock(&m));
    }
    return 0;
}

TEST(the_next_one_is_told_and_holds_it)
{
    hush();
    test_run(death_root, NULL);
}

static int death_waited_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    struct holder h;
    weft_task *t = holder_start(&h, &m, true), *first, *second;

    (void)arg;
    first = weft_spawn(lock_and_unlock, &m);
    until_waiting(first);
    second = weft_spawn(lock_and_unlock, &m);
    until_waiting(second);
    holder_end(&h, t);
    CHECK_EQ(-EOWNERDEAD, result_of(first));
    CHECK_EQ(0, result_of(second));
    return 0;
}

TEST(the_first_of_those_that_wait_is_told)
{
    hush();
    test_run(death_waited_root, NULL);
}

static void unlock_deferred(void *arg)
{
    CHECK_EQ(0, weft_mutex_unlock(arg));
}

static int defers_unlock(void *arg)
{
    CHECK_EQ(0, weft_defer(unlock_deferred, arg));
    CHECK_EQ(0, weft_mutex_lock(arg));
    weft_panic("as it should");
}

static int defer_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_INIT;

    (void)arg;
    CHECK_EQ(-EOWNERDEAD, result_of(weft_spawn(defers_unlock, &m)));
    CHECK_EQ(0, weft_mutex_lock(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    return 0;
}

TEST(a_deferred_unlock_comes_first)
{
    hush();
    test_run(defer_root, NULL);
}

/* The mutex lies in a frame that is gone when the task has ended: the library must not miss it. */
static int dies_with_own(void *arg)
{
    weft_mutex m[3] = {WEFT_MUTEX_INIT};

    (void)arg;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(0, weft_mutex_lock(&m[i]));
    CHECK_EQ(0, weft_mutex_unlock(&m[1]));
    return 0;
}

static int own_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++)
        CHECK_EQ(0, result_of(weft_spawn(dies_with_own, NULL)));
    return 0;
}

TEST(one_on_the_stack_that_ends_is_no_harm)
{
    if (ON_VALGRIND)
        TEST_SKIP("a frame that was left is lost to valgrind");
    hush();
    test_run(own_root, NULL);
}

static void *locks_and_ends(void *arg)
{
    CHECK_EQ(0, weft_mutex_lock_blocking(arg));
    return NULL;
}

TEST(a_plain_thread_that_ends_leaves_it_locked)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    pthread_t thread;

    CHECK_EQ(0, pthread_create(&thread, NULL, locks_and_ends, &m));
    CHECK_EQ(0, pthread_join(thread, NULL));
    CHECK_EQ(-EAGAIN, weft_mutex_try_lock(&m));
}

/* --- stackless tasks --------------------------------------------------------------- */

struct stackless {
    weft_async async;
    weft_mutex *mutex;
    bool forgets, unlocks_in_drop;
    weft_future wait;
};

static weft_poll stackless_poll(void *self, weft_context *cx)
{
    struct stackless *s = self;

    WEFT_ASYNC_BEGIN(s);
    CHECK(!weft_mutex_is_held(s->mutex));
    s->wait = weft_mutex_lock_future(s->mutex);
    WEFT_AWAIT(s, cx, &s->wait);
    if (s->wait.result < 0 && s->wait.result != -EOWNERDEAD)
        WEFT_RETURN(s, (int)s->wait.result);
    CHECK(weft_mutex_is_held(s->mutex));
    CHECK_EQ(-EAGAIN, weft_mutex_try_lock(s->mutex));
    s->wait = weft_yield_future();
    WEFT_AWAIT(s, cx, &s->wait);
    if (!s->forgets && !s->unlocks_in_drop)
        CHECK_EQ(0, weft_mutex_unlock(s->mutex));
    WEFT_RETURN(s, 7);
    WEFT_ASYNC_END(s);
}

static void stackless_drop(void *self)
{
    struct stackless *s = self;

    if (s->unlocks_in_drop)
        CHECK_EQ(0, weft_mutex_unlock(s->mutex));
}

static const weft_async_type stackless_type = {.poll = stackless_poll,
                                               .drop = stackless_drop,
                                               .size = sizeof(struct stackless),
                                               .name = "stackless"};

static int stackless_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    struct holder h;
    weft_task *t[4], *holder = holder_start(&h, &m, false);

    (void)arg;
    for (unsigned i = 0; i < 4; i++) {
        struct stackless s = {.mutex = &m, .forgets = i == 1, .unlocks_in_drop = i == 2};

        t[i] = weft_spawn_async(&stackless_type, &s);
        until_waiting(t[i]);
    }
    weft_cancel(t[3]);
    holder_end(&h, holder);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(i == 3 ? -ECANCELED : 7, result_of(t[i]));
    /* t[1] has forgotten it, and t[2] was told. */
    CHECK_EQ(0, weft_mutex_lock(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    t[0] = weft_spawn_async(&stackless_type, &(struct stackless){.mutex = &m, .forgets = true});
    CHECK_EQ(7, result_of(t[0]));
    CHECK_EQ(-EOWNERDEAD, weft_mutex_lock(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    return 0;
}

TEST(stackless_tasks_lock_too_and_may_forget_it)
{
    hush();
    test_run(stackless_root, NULL);
}

/* --- blocks ------------------------------------------------------------------------ */

static int scope_ways(weft_mutex *m, int way)
{
    int rc = 99;

    for (int i = 0; i < 2; i++) {
        WEFT_LOCK_SCOPE(m, &rc)
        {
            CHECK_EQ(0, rc);
            CHECK(weft_mutex_is_held(m));
            if (way == 0)
                break;
            if (way == 1)
                continue;
            if (way == 2)
                return 7;
            if (way == 3)
                goto out;
        }
        CHECK(!weft_mutex_is_held(m));
    }
    return 8;
out:
    return 9;
}

static int scope_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    int rc = 99, inside = 0;

    (void)arg;
    for (int way = 0; way < 5; way++) {
        CHECK_EQ(way == 2 ? 7 : way == 3 ? 9 : 8, scope_ways(&m, way));
        CHECK(!weft_mutex_is_held(&m));
    }
    CHECK_EQ(0, weft_mutex_lock(&m));
    WEFT_LOCK_SCOPE(&m, &rc)
    {
        inside++;
    }
    CHECK_EQ(-EDEADLK, rc);
    CHECK_EQ(0, inside);
    CHECK(weft_mutex_is_held(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(0, result_of(weft_spawn_copy(dies_holding, &(struct death){&m, RETURNS},
                                          sizeof(struct death))));
    WEFT_LOCK_SCOPE(&m, &rc)
    {
        inside++;
    }
    CHECK_EQ(-EOWNERDEAD, rc);
    CHECK_EQ(1, inside);
    WEFT_LOCK_SCOPE(&m, NULL)
    {
        inside++;
    }
    CHECK_EQ(2, inside);
    return 0;
}

TEST(a_block_unlocks_however_it_is_left)
{
    hush();
    test_run(scope_root, NULL);
}

TEST_MAIN("mutex_owner", a_plain_thread_that_ends_leaves_it_locked,
          only_its_owner_unlocks_and_nobody_locks_twice, many_are_held_and_unlocked_in_any_order,
          the_next_one_is_told_and_holds_it, the_first_of_those_that_wait_is_told,
          a_deferred_unlock_comes_first, one_on_the_stack_that_ends_is_no_harm,
          stackless_tasks_lock_too_and_may_forget_it, a_block_unlocks_however_it_is_left)
