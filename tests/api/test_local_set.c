/* SPDX-License-Identifier: MIT */
/*
 * test_local_set.c - sets of tasks that share one thread: filled, waited for and freed from anywhere.
 */
#include "pinned.h"

#include <pthread.h>

/* --- a set ----------------------------------------------------------------------------------- */

#define MEMBERS 24
#define STEPS   50

struct shared {
    weft_local_set *set;
    long thread;      /* of the set; plain, as the rest: by its tasks, in turn */
    uint64_t counter; /* no lock, no atomic */
    int inside;
};

static int member(void *arg)
{
    struct shared *s = arg;

    CHECK(weft_local_set_is_here(s->set));
    if (!s->thread)
        s->thread = thread_here();
    for (int i = 0; i < STEPS; i++) {
        CHECK_EQ(s->thread, thread_here());
        CHECK_EQ(0, s->inside++);
        s->counter++;
        s->inside--;
        CHECK_EQ(0, i % 16 ? weft_yield() : weft_sleep(WEFT_US(10)));
    }
    return 0;
}

static int spawns_members(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < 4; i++) {
        CHECK_EQ(0, weft_yield());
        CHECK(weft_join_set_spawn(s->set, member, s) > 0);
    }
    return 0;
}

static void *thread_spawns(void *arg)
{
    CHECK(!weft_local_set_is_here(((struct shared *)arg)->set));
    for (int i = 0; i < 4; i++)
        CHECK(weft_join_set_spawn(((struct shared *)arg)->set, member, arg) > 0);
    return NULL;
}

static int one_thread(void *arg)
{
    struct shared s = {.set = weft_local_set_new()};
    weft_join_set *spawners = weft_join_set_new();
    uint64_t taken = 0;
    pthread_t thread;

    (void)arg;
    CHECK(s.set != NULL);
    for (int i = 0; i < MEMBERS / 4 - 1; i++)
        CHECK(weft_join_set_spawn(spawners, spawns_members, &s) > 0);
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_spawns, &s));
    CHECK_EQ(0, weft_join_set_join_all(spawners, NULL, NULL));
    CHECK_EQ(0, pthread_join(thread, NULL));
    while (taken < MEMBERS) {
        weft_join_done done;

        CHECK_EQ(1, weft_join_set_next(s.set, &done));
        CHECK_EQ(0, done.result);
        taken++;
    }
    CHECK_EQ(MEMBERS * STEPS, s.counter);
    CHECK_EQ(0, weft_join_set_next(s.set, NULL));
    weft_join_set_free(s.set);
    weft_join_set_free(spawners);
    return 0;
}

TEST(whoever_spawns_them_all_tasks_of_a_set_are_on_one_thread_and_share_without_locks)
{
    for (int i = 0; i < 20; i++)
        test_run(one_thread, NULL);
}

END_TEST

/* --- run ------------------------------------------------------------------------------------- */

static int tells_thread(void *arg)
{
    struct shared *s = arg;

    CHECK(weft_local_set_is_here(s->set));
    CHECK(!s->thread || s->thread == thread_here());
    s->thread = thread_here();
    CHECK_EQ(0, weft_sleep(WEFT_US(20)));
    CHECK_EQ(s->thread, thread_here());
    return 5;
}

static int run_often(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < 20; i++) {
        int result = 0;

        CHECK_EQ(0, weft_local_set_run(s->set, tells_thread, s, &result));
        CHECK_EQ(5, result);
    }
    return 0;
}

static int run_waits(void *arg)
{
    weft_local_set *set = arg;
    int result = 0;

    CHECK_EQ(-ECANCELED, weft_local_set_run(set, waits, NULL, &result));
    CHECK_EQ(-ECANCELED, result);
    return 0;
}

static int run_in_sets(void *arg)
{
    struct shared s = {.set = weft_local_set_new()};
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, weft_join(weft_spawn(run_often, &s), NULL));
    CHECK(weft_join_set_is_empty(s.set));
    t = weft_spawn(run_waits, s.set);
    while (!is_waiting(t))
        CHECK_EQ(0, weft_yield());
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, NULL));
    weft_join_set_free(s.set);
    return 0;
}

TEST(run_calls_a_function_on_the_thread_of_the_set_and_waits)
{
    test_run(run_in_sets, NULL);
}

END_TEST

/* A runtime whose workers have never had a pinned task, and sleep: all are roused, and the one answers. */
TEST(a_set_made_outside_is_on_one_worker_of_its_runtime)
{
    for (uint64_t i = 0; i < test_scaled(40); i++) {
        weft_runtime *rt = runtime_with(1 + (unsigned)(i % 5));
        const weft_join_set_options o = {.runtime = rt, .name = "outside"};
        struct shared s = {.set = NULL};
        int result = 0;

        CHECK_EQ(0, weft_local_set_new_with(&s.set, &o));
        for (int k = 0; k < 3; k++) {
            CHECK_EQ(0, weft_local_set_run(s.set, tells_thread, &s, &result));
            CHECK_EQ(5, result);
            if (i % 2)
                usleep(100);
        }
        CHECK(weft_join_set_spawn(s.set, tells_thread, &s) > 0);
        CHECK_EQ(1, weft_join_set_next_blocking(s.set, NULL));
        weft_join_set_free(s.set);
        runtime_end(rt);
    }
}

END_TEST

/* --- ends ------------------------------------------------------------------------------------ */

static int free_cancels(void *arg)
{
    atomic_int alive = 0;
    weft_local_set *set = weft_local_set_new();

    (void)arg;
    for (int i = 0; i < 10; i++)
        CHECK(weft_join_set_spawn(set, counted, &alive) > 0);
    YIELD_UNTIL(atomic_load(&alive) == 10);
    CHECK_EQ(10, weft_join_set_len(set));
    weft_join_set_free(set);
    CHECK_EQ(0, atomic_load(&alive));
    return 0;
}

TEST(freeing_a_set_cancels_its_tasks_and_waits_for_them)
{
    test_run(free_cancels, NULL);
}

END_TEST

static int cancel_them(void *arg)
{
    weft_local_set *set = weft_local_set_new();
    atomic_int begun = 0;
    weft_join_done done;
    ssize_t id = 0;

    (void)arg;
    for (int i = 0; i < 5; i++)
        id = weft_join_set_spawn(set, waits, &begun);
    YIELD_UNTIL(atomic_load(&begun) == 5);
    CHECK_EQ(0, weft_join_set_cancel_one(set, (uint64_t)id));
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK_EQ(id, done.id);
    CHECK_EQ(-ECANCELED, done.result);
    weft_join_set_cancel(set);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(1, weft_join_set_next(set, &done));
        CHECK_EQ(-ECANCELED, done.result);
    }
    CHECK_EQ(0, weft_join_set_try_next(set, &done));
    CHECK(weft_join_set_spawn(set, waits, &begun) > 0);
    CHECK_EQ(0, weft_join_set_set_deadline(set, weft_now() + WEFT_US(100)));
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK_EQ(-ECANCELED, done.result);
    weft_join_set_free(set);
    return 0;
}

TEST(tasks_of_a_set_are_cancelled_from_any_worker_and_in_time)
{
    test_run(cancel_them, NULL);
}

END_TEST

struct own {
    weft_local_set *set;
    atomic_bool freed;
};

static int frees_its_own(void *arg)
{
    struct own *o = arg;

    weft_join_set_free(o->set);
    atomic_store(&o->freed, true);
    return 0;
}

static int freed_inside(void *arg)
{
    int null = open("/dev/null", O_WRONLY);
    struct own o = {.set = weft_local_set_new()};

    (void)arg;
    CHECK(null >= 0 && dup2(null, STDERR_FILENO) >= 0);
    (void)close(null);
    CHECK(weft_join_set_spawn(o.set, frees_its_own, &o) > 0);
    YIELD_UNTIL(atomic_load(&o.freed));
    return 0;
}

TEST(a_set_that_one_of_its_tasks_frees_is_gone_all_the_same)
{
    test_run(freed_inside, NULL);
}

END_TEST

static int leaves_some(void *arg)
{
    for (int i = 0; i < 10; i++) {
        weft_detach(weft_spawn_local(counted, arg));
        weft_detach(weft_spawn_local(keeps_its_thread, NULL));
    }
    YIELD_UNTIL(atomic_load((atomic_int *)arg) > 0);
    return 0;
}

TEST(a_shutdown_ends_pinned_tasks_like_others)
{
    for (int round = 0; round < 20; round++)
        for (size_t i = 0; i < test_flavour_count; i++) {
            weft_runtime *rt = test_runtime_new(&test_flavours[i]);
            atomic_int alive = 0;
            int result = -1;

            CHECK_EQ(0, weft_block_on(rt, leaves_some, &alive, &result));
            CHECK_EQ(0, result);
            test_runtime_free(rt);
            CHECK_EQ(0, atomic_load(&alive));
        }
}

END_TEST

static int never_ends(void *arg)
{
    weft_future never = weft_pending_future();

    atomic_fetch_add((atomic_int *)arg, 1);
    for (;;) {
        int rc = 0;

        WEFT_SHIELD
        rc = (int)weft_timeout(WEFT_US(100), &never);
        CHECK(rc == -ETIMEDOUT || rc == 0);
        never = weft_pending_future();
    }
}

/* At the limit of a shutdown some are queued, and are given up as others are. */
TEST(a_shutdown_that_gives_up_tells_who_joins_a_pinned_task)
{
    weft_runtime *rt = runtime_with(2);
    atomic_int begun = 0;
    const weft_join_set_options o = {.runtime = rt};
    weft_local_set *set;
    int null = open("/dev/null", O_WRONLY);

    CHECK(null >= 0 && dup2(null, STDERR_FILENO) >= 0);
    CHECK_EQ(0, weft_local_set_new_with(&set, &o));
    for (int i = 0; i < 3; i++)
        CHECK(weft_join_set_spawn(set, never_ends, &begun) > 0);
    while (atomic_load(&begun) != 3)
        usleep(50);
    CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, WEFT_MS(20)));
    weft_runtime_free(rt);
    for (int i = 0; i < 3; i++) {
        weft_join_done done;

        CHECK_EQ(1, weft_join_set_next_blocking(set, &done));
        CHECK_EQ(-ECANCELED, done.result);
    }
    weft_join_set_free(set);
}

END_TEST

/* --- mistakes -------------------------------------------------------------------------------- */

static int refuse_inside(void *arg)
{
    const weft_task_options pinned = {.pinned = true};
    weft_join_set *ordinary = weft_join_set_new();
    weft_local_set *set = weft_local_set_new();
    weft_task_tracker *tracker = weft_task_tracker_new();
    int result = 0;

    CHECK(weft_spawn_local(NULL, NULL) == NULL);
    CHECK(weft_spawn_blocking_with(&pinned, returns_it, NULL) == NULL);
    CHECK_EQ(-EINVAL, weft_join_set_spawn_blocking(ordinary, &pinned, returns_it, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_spawn_blocking(set, NULL, returns_it, NULL));
    CHECK_EQ(-EINVAL, weft_local_set_new_with(NULL, NULL));
    CHECK_EQ(-EINVAL, weft_local_set_run(NULL, returns_it, NULL, &result));
    CHECK_EQ(-EINVAL, weft_local_set_run(ordinary, returns_it, NULL, &result));
    CHECK_EQ(-EINVAL, weft_local_set_run(set, NULL, NULL, &result));
    CHECK(!weft_local_set_is_here(NULL));
    CHECK(!weft_local_set_is_here(ordinary));
    /* Into another runtime. */
    if (arg) {
        weft_task *t = NULL;

        CHECK_EQ(-EINVAL, weft_spawn_on(arg, &t, &pinned, returns_it, NULL));
    }
    weft_join_set_free(ordinary);
    weft_join_set_free(set);
    CHECK(weft_task_tracker_close(tracker));
    CHECK_EQ(0, weft_task_tracker_wait(tracker));
    weft_task_tracker_free(tracker);
    return 0;
}

TEST(what_cannot_be_pinned_is_refused)
{
    const weft_task_options pinned = {.pinned = true};
    weft_runtime *rt = runtime_with(2);
    const weft_join_set_options o = {.runtime = rt};
    const struct lasting state = {.left = 0};
    weft_join_set *ordinary = NULL;
    weft_local_set *set = NULL;
    weft_task *t = NULL;

    hush();
    CHECK_EQ(-EINVAL, weft_spawn_on(rt, &t, &pinned, returns_it, NULL));
    CHECK_EQ(-EINVAL, weft_spawn_async_on(rt, &t, &pinned, &lasting_type, &state));
    CHECK_EQ(-EINVAL, weft_spawn_blocking_on(rt, &t, &pinned, returns_it, NULL));
    CHECK(t == NULL);
    CHECK(weft_spawn_local(returns_it, NULL) == NULL);
    CHECK(weft_local_set_new() == NULL);
    CHECK_EQ(-EPERM, weft_local_set_new_with(&set, NULL));
    CHECK_EQ(0, weft_join_set_new_with(&ordinary, &o));
    CHECK_EQ(-EINVAL, weft_join_set_spawn_with(ordinary, &pinned, returns_it, NULL));
    CHECK(weft_join_set_is_empty(ordinary));
    weft_join_set_free(ordinary);
    test_run(refuse_inside, rt);
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    CHECK_EQ(0, weft_local_set_new_with(&set, &o));
    CHECK_EQ(-ESHUTDOWN, weft_local_set_run(set, returns_it, NULL, NULL));
    CHECK_EQ(-ESHUTDOWN, weft_join_set_spawn(set, returns_it, NULL));
    weft_join_set_free(set);
    weft_runtime_free(rt);
}

END_TEST

TEST_MAIN("local_set",
          whoever_spawns_them_all_tasks_of_a_set_are_on_one_thread_and_share_without_locks,
          run_calls_a_function_on_the_thread_of_the_set_and_waits,
          a_set_made_outside_is_on_one_worker_of_its_runtime,
          freeing_a_set_cancels_its_tasks_and_waits_for_them,
          tasks_of_a_set_are_cancelled_from_any_worker_and_in_time,
          a_set_that_one_of_its_tasks_frees_is_gone_all_the_same,
          a_shutdown_ends_pinned_tasks_like_others,
          a_shutdown_that_gives_up_tells_who_joins_a_pinned_task, what_cannot_be_pinned_is_refused)
