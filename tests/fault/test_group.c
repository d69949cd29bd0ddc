/* SPDX-License-Identifier: MIT */
/* Groups of tasks while something fails: what could not be spawned is said so, the rest is accounted for. */
#include "sweep.h"

#include <stdatomic.h>

static atomic_int running;

static int child(void *arg)
{
    int rc;

    atomic_fetch_add(&running, 1);
    rc = arg ? weft_sleep(WEFT_SECS(100)) : weft_yield();
    atomic_fetch_sub(&running, 1);
    return rc == 0 ? 7 : rc;
}

static int yields(void *arg)
{
    (void)arg;
    return child(NULL);
}

static int blocks(void *arg)
{
    (void)arg;
    return 7;
}

static weft_poll step_poll(void *self, weft_context *cx)
{
    (void)cx;
    return weft_async_return(self, 7);
}

static const weft_async_type step_type = {.poll = step_poll,
                                          .size = sizeof(weft_async),
                                          .name = "step"};

#define TASKS 24

static ssize_t spawn_some_way(weft_join_set *set, int way)
{
    static const weft_task_options named = {.name = "named"};
    const weft_async state = {0};
    char copy[800] = "";

    switch (way % 8) {
    case 0:
        return weft_join_set_spawn_copy(set, child, copy, sizeof(copy));
    case 1:
        return weft_join_set_spawn_with(set, &named, child, NULL);
    case 2:
        return weft_join_set_spawn_async(set, &step_type, &state);
    case 3:
        return weft_join_set_spawn_blocking(set, NULL, blocks, NULL);
    case 4:
        return weft_join_set_spawn(set, child, copy); /* sleeps until it is cancelled */
    case 5:
        return weft_join_set_spawn_on(set, weft_runtime_current(), NULL, child, NULL);
    default:
        return weft_join_set_spawn(set, child, NULL);
    }
}

/* Each that was spawned is given once, with a result that there may be. */
static int set_root(void *arg)
{
    const weft_join_set_options options = {.ordered = arg != NULL,
                                           .deadline = arg ? weft_now() + WEFT_SECS(1000) : 0};
    weft_join_set *set = NULL;
    weft_join_done done;
    int spawned = 0, taken = 0;

    if (MAY(weft_join_set_new_with(&set, &options), ENOMEM) < 0)
        return 0;
    for (int i = 0; i < TASKS; i++)
        spawned += MAY(spawn_some_way(set, i), ENOMEM) > 0;
    CHECK_EQ(spawned, weft_join_set_len(set));
    for (; taken < spawned / 2; taken++) {
        weft_join_set_cancel(set);
        CHECK_EQ(1, weft_join_set_next(set, &done));
        if (done.result != 7 && done.result != -ECANCELED)
            MAY(done.result, ENOMEM, EAGAIN);
    }
    MAY(weft_join_set_set_deadline(set, weft_now() + WEFT_SECS(2000)), ENOMEM);
    if (MAY(spawn_some_way(set, 5), ENOMEM) > 0)
        weft_join_set_detach_all(set);
    for (int i = 0; i < TASKS; i++)
        MAY(spawn_some_way(set, i), ENOMEM);
    weft_join_set_free(set);
    CHECK_EQ(0, weft_join_set_free_after(NULL, 0));
    return 0;
}

static void sets(const struct test_flavour *flavour)
{
    atomic_store(&running, 0);
    fault_run_root(flavour, set_root, NULL);
    fault_run_root(flavour, set_root, &running);
    CHECK_EQ(0, atomic_load(&running));
}

TEST(sets_account_for_all_that_was_spawned)
{
    fault_sweep(sets);
}

/* The same of tasks that stay on a thread: where no bell can be had their worker is woken all the same. */
static atomic_int pinned_runs;

static int pinned(void *arg)
{
    int rc = 0;

    for (int i = 0; i < 3 && rc == 0; i++)
        rc = weft_sleep(arg ? WEFT_SECS(100) : WEFT_US(20));
    atomic_fetch_add(&pinned_runs, 1);
    return rc == 0 ? 7 : rc;
}

static int local_root(void *arg)
{
    weft_local_set *set = NULL;
    int spawned = 0, result = 7;

    if (MAY(weft_local_set_new_with(&set, NULL), ENOMEM) < 0)
        return 0;
    for (int i = 0; i < 4; i++)
        spawned += MAY(weft_join_set_spawn(set, pinned, NULL), ENOMEM) > 0;
    if (MAY(weft_local_set_run(set, pinned, NULL, &result), ENOMEM) == 0 && result != 7)
        MAY(result, ENOMEM, EAGAIN);
    for (int i = 0; i < spawned; i++) {
        weft_join_done done;

        CHECK_EQ(1, weft_join_set_next(set, &done));
        if (done.result != 7)
            MAY(done.result, ENOMEM, EAGAIN);
    }
    MAY(weft_join_set_spawn(set, pinned, arg), ENOMEM);
    weft_join_set_free(set);
    return 0;
}

/* From outside, into a runtime that sleeps. */
static void local_outside(const struct test_flavour *flavour)
{
    weft_runtime *rt = fault_runtime_new(flavour, WEFT_OFF);
    const weft_join_set_options o = {.runtime = rt};
    weft_local_set *set = NULL;

    if (!rt)
        return;
    if (flavour->flavor == WEFT_MULTI_THREAD &&
        MAY(weft_local_set_new_with(&set, &o), ENOMEM) == 0) {
        weft_join_done done;

        for (int i = 0; i < 3; i++)
            if (MAY(weft_join_set_spawn(set, pinned, NULL), ENOMEM) > 0)
                CHECK_EQ(1, weft_join_set_next_blocking(set, &done));
        weft_join_set_free(set);
    }
    fault_runtime_free(rt);
}

static void locals(const struct test_flavour *flavour)
{
    fault_run_root(flavour, local_root, &pinned_runs);
    local_outside(flavour);
}

TEST(local_sets_account_for_all_that_was_spawned_with_or_without_bells)
{
    fault_sweep(locals);
}

/* A key whose task could not be replaced keeps the one that it has. */
static int map_root(void *arg)
{
    weft_join_map *map = NULL;
    weft_join_map_done done;
    char bytes[300] = "";
    size_t len = 0;

    (void)arg;
    if (MAY(weft_join_map_new_with(&map, NULL), ENOMEM) < 0)
        return 0;
    for (uint64_t i = 0; i < 3 * (uint64_t)TASKS; i++) {
        weft_key key = i % 2 ? weft_key_number(i / 2) : weft_key_bytes(bytes, i * 4);

        len += MAY(weft_join_map_spawn(map, key, child, NULL), ENOMEM) > 0;
        CHECK_EQ(len, weft_join_map_len(map));
    }
    for (uint64_t i = 0; i < 3 * (uint64_t)TASKS; i++) {
        bool there = weft_join_map_contains(map, weft_key_number(i / 2));

        if (MAY(weft_join_map_spawn(map, weft_key_number(i / 2), child, NULL), ENOMEM) > 0)
            len += !there;
        CHECK_EQ(len, weft_join_map_len(map));
    }
    for (; len > 10; len--) {
        CHECK_EQ(1, weft_join_map_next(map, &done));
        if (done.result != 7)
            MAY(done.result, ENOMEM);
    }
    weft_join_map_free(map);
    return 0;
}

static void maps(const struct test_flavour *flavour)
{
    atomic_store(&running, 0);
    fault_run_root(flavour, map_root, NULL);
    CHECK_EQ(0, atomic_load(&running));
}

TEST(maps_account_for_all_that_was_spawned)
{
    fault_sweep(maps);
}

/* A task that could not be had is told, and one that got no stack fails the scope. */
static int scope_root(void *arg)
{
    const weft_async state = {0};
    char copy[800] = "";
    int rc = 0;

    (void)arg;
    WEFT_SCOPE(s, &rc)
    {
        MAY(weft_scope_set_deadline(s, weft_now() + WEFT_SECS(1000)), ENOMEM);
        for (int i = 0; i < TASKS; i++) {
            MAY(weft_scope_spawn(s, child, NULL), ENOMEM);
            MAY(weft_scope_spawn_copy(s, yields, copy, sizeof(copy)), ENOMEM);
            MAY(weft_scope_spawn_async(s, &step_type, &state), ENOMEM);
        }
        /* -ECANCELED: one has failed. */
        MAY(weft_scope_spawn_blocking(s, NULL, blocks, NULL), ENOMEM, ECANCELED);
        WEFT_SCOPE(inner, NULL)
        {
            MAY(weft_scope_set_grace(inner, WEFT_US(100)), ENOMEM);
            MAY(weft_scope_spawn(inner, child, copy), ENOMEM);
            weft_scope_cancel(inner);
        }
    }
    MAY(rc, ENOMEM, EAGAIN);
    return 0;
}

static void scopes(const struct test_flavour *flavour)
{
    atomic_store(&running, 0);
    fault_run_root(flavour, scope_root, NULL);
    CHECK_EQ(0, atomic_load(&running));
}

TEST(scopes_wait_for_all_that_was_spawned)
{
    fault_sweep(scopes);
}

TEST(groups_bear_any_mixture_of_failures)
{
    fault_scenario *const runs[] = {sets, maps, scopes};

    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
        fault_chaos(runs[i], fault_full() ? 3000 : test_scaled(100));
}

TEST(every_kind_of_a_group_was_met)
{
    MET(WF_FAULT_ALLOC, WF_FAULT_MMAP, WF_FAULT_THREAD);
}

TEST_MAIN("fault.group", sets_account_for_all_that_was_spawned,
          local_sets_account_for_all_that_was_spawned_with_or_without_bells,
          maps_account_for_all_that_was_spawned, scopes_wait_for_all_that_was_spawned,
          groups_bear_any_mixture_of_failures, every_kind_of_a_group_was_met)
