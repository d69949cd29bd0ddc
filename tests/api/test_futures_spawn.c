/* SPDX-License-Identifier: MIT */
/*
 * test_futures_spawn.c - tasks that a set spawns: their results, and that those are cancelled which the set drops.
 */
#include "support.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

static atomic_int begun, ended;

static void count_end(void *arg)
{
    (void)arg;
    atomic_fetch_add(&ended, 1);
}

static int sleeps_for_ever(void *arg)
{
    (void)arg;
    atomic_fetch_add(&begun, 1);
    CHECK_EQ(0, weft_defer(count_end, NULL));
    return weft_sleep(WEFT_SECS(1000));
}

static void until_ended(int n)
{
    while (atomic_load(&ended) != n)
        CHECK_EQ(0, weft_yield());
}

struct square {
    int of;
    weft_duration nap;
};

static int squares(void *arg)
{
    struct square *s = arg;
    int rc = weft_sleep(s->nap);

    return rc < 0 ? rc : s->of * s->of;
}

static int fans_out(void *arg)
{
    weft_futures *set = weft_futures_new_with(arg ? WEFT_FUTURES_ORDERED : 0);
    struct square all[50];
    uint64_t tag, sum = 0, next = 0;
    ssize_t result;

    for (int i = 0; i < 100; i++) {
        struct square s = {i, WEFT_US(100 * (i % 7))};

        if (i >= 50) {
            all[i - 50] = s;
            CHECK_EQ(0, weft_futures_spawn(set, squares, &all[i - 50], (uint64_t)i));
        } else {
            CHECK_EQ(0, weft_futures_spawn_copy(set, squares, &s, sizeof(s), (uint64_t)i));
        }
    }
    CHECK_EQ(100, weft_futures_len(set));
    while (weft_futures_next(set, &tag, &result) == 1) {
        CHECK_EQ(tag * tag, result);
        if (arg)
            CHECK_EQ(next, tag);
        next++;
        sum += (uint64_t)result;
    }
    CHECK_EQ(100, next);
    CHECK_EQ(328350, sum);
    weft_futures_free(set);
    return 0;
}

TEST(a_set_spawns_tasks_and_gives_their_results)
{
    bool ordered = true;

    test_run(fans_out, NULL);
    test_run(fans_out, &ordered);
}

static int spawned_and_dropped(void *arg)
{
    weft_futures *set = weft_futures_new();

    (void)arg;
    atomic_store(&begun, 0);
    atomic_store(&ended, 0);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(0, weft_futures_spawn(set, sleeps_for_ever, NULL, 0));
    while (atomic_load(&begun) < 10)
        CHECK_EQ(0, weft_yield());
    if (arg) /* polled, or new */
        CHECK_EQ(-EAGAIN, weft_futures_try_next(set, NULL, NULL));
    CHECK_EQ(0, weft_futures_clear(set));
    until_ended(10);
    CHECK_EQ(0, weft_futures_spawn(set, sleeps_for_ever, NULL, 0));
    weft_futures_free(set); /* may never have begun */
    return 0;
}

TEST(tasks_of_a_set_that_is_cleared_or_freed_are_cancelled)
{
    bool polled = true;

    test_run(spawned_and_dropped, NULL);
    test_run(spawned_and_dropped, &polled);
}

static int refused(void *arg)
{
    weft_futures *set = weft_futures_new();
    static const char bytes[WEFT_COPY_MAX + 1];

    (void)arg;
    CHECK_EQ(-EINVAL, weft_futures_spawn(NULL, sleeps_for_ever, NULL, 0));
    CHECK_EQ(-EINVAL, weft_futures_spawn(set, NULL, NULL, 0));
    CHECK_EQ(-EINVAL, weft_futures_spawn_copy(set, squares, bytes, sizeof(bytes), 0));
    CHECK_EQ(-EINVAL, weft_futures_spawn_copy(set, squares, NULL, 1, 0));
    CHECK_EQ(0, weft_futures_len(set));
    weft_futures_free(set);
    return 0;
}

TEST(a_spawn_that_is_refused_leaves_the_set_as_it_was)
{
    weft_futures *set = weft_futures_new();

    test_run(refused, NULL);
    CHECK_EQ(-EPERM, weft_futures_spawn(set, sleeps_for_ever, NULL, 0));
    CHECK_EQ(0, weft_futures_len(set));
    weft_futures_free(set);
}

static int site(void *arg)
{
    weft_task_info info;

    (void)arg;
    CHECK_EQ(0, weft_task_get_info(weft_task_self(), &info));
    return info.site && strstr(info.site, "test_futures_spawn.c:") ? 1 : 0;
}

static int sites(void *arg)
{
    weft_futures *set = weft_futures_new();
    ssize_t result = 0;

    (void)arg;
    CHECK_EQ(0, weft_futures_spawn(set, site, NULL, 0));
    CHECK_EQ(0, weft_futures_spawn_copy(set, site, "", 1, 0));
    CHECK_EQ(1, weft_futures_next(set, NULL, &result));
    CHECK_EQ(1, result);
    CHECK_EQ(1, weft_futures_next(set, NULL, &result));
    CHECK_EQ(1, result);
    CHECK_EQ(0, (weft_futures_spawn)(set, site, NULL,
                                     0)); /* the functions behind the macros know no place */
    CHECK_EQ(0, (weft_futures_spawn_copy)(set, site, "", 1, 0));
    CHECK_EQ(1, weft_futures_next(set, NULL, &result));
    CHECK_EQ(0, result);
    CHECK_EQ(1, weft_futures_next(set, NULL, &result));
    CHECK_EQ(0, result);
    weft_futures_free(set);
    return 0;
}

TEST(a_task_of_a_set_knows_where_it_was_spawned)
{
    test_run(sites, NULL);
}

TEST_MAIN("futures_spawn", a_set_spawns_tasks_and_gives_their_results,
          tasks_of_a_set_that_is_cleared_or_freed_are_cancelled,
          a_spawn_that_is_refused_leaves_the_set_as_it_was,
          a_task_of_a_set_knows_where_it_was_spawned)
