/* SPDX-License-Identifier: MIT */
/* Tokens and trackers while memory is short: what cannot be made is NULL, and what was made can be waited for,
 * cancelled and freed; what could not be spawned is not counted. */
#include "sweep.h"

#include <stdatomic.h>

#define TOKENS 8

static weft_cancel_token *may_token(weft_cancel_token *parent)
{
    weft_cancel_token *t = weft_cancel_token_new(parent);

    if (!t)
        MAY(-ENOMEM, ENOMEM);
    return t;
}

static int waits(void *t)
{
    return weft_cancel_token_cancelled(t);
}

static int tokens_root(void *arg)
{
    weft_cancel_token *t[TOKENS] = {NULL};
    weft_task *task[TOKENS] = {NULL};

    (void)arg;
    for (int i = 0; i < TOKENS; i++) {
        t[i] = may_token(i ? t[i / 2] : NULL);
        if (t[i])
            task[i] = MAY_NULL(weft_spawn(waits, t[i]));
    }
    for (int i = 0; i < TOKENS; i++) {
        int result = 1;

        weft_cancel_token_cancel(t[i]);
        if (!task[i])
            continue;
        CHECK_EQ(0, weft_join(task[i], &result));
        MAY(result, ENOMEM);
    }
    for (int i = 0; i < TOKENS; i++)
        weft_cancel_token_free(t[i]);
    return 0;
}

static void tokens(const struct test_flavour *flavour)
{
    fault_run_root(flavour, tokens_root, NULL);
}

TEST(tokens_are_made_or_are_not)
{
    fault_sweep(tokens);
}

END_TEST

/* Freed in any order, cancelled or not, nothing is left of the tree: that is counted. */
static void freed(const struct test_flavour *flavour)
{
    (void)flavour;
    for (int order = 0; order < TOKENS; order++) {
        weft_cancel_token *t[TOKENS] = {NULL};

        for (int i = 0; i < TOKENS; i++)
            t[i] = may_token(i ? t[(i - 1) / 2] : NULL);
        if (order % 3 == 0 && t[order % 4])
            weft_cancel_token_cancel(t[order % 4]);
        for (int i = 0; i < TOKENS; i++)
            weft_cancel_token_free(t[(i * 3 + order) % TOKENS]);
    }
}

TEST(nothing_is_left_of_a_tree)
{
    fault_sweep(freed);
}

END_TEST

/* --- trackers --- */

static int works(void *done)
{
    int rc = weft_yield();

    atomic_fetch_add((atomic_uint *)done, 1);
    return rc;
}

static int blocks(void *done)
{
    atomic_fetch_add((atomic_uint *)done, 1);
    return 0;
}

static int tracked_root(void *arg)
{
    weft_task_tracker *tr = weft_task_tracker_new();
    weft_task_options named = {.name = "named"};
    atomic_uint done = 0;
    weft_task *t[5];
    size_t spawned = 0;

    (void)arg;
    if (!tr) {
        MAY(-ENOMEM, ENOMEM);
        return 0;
    }
    t[0] = MAY_NULL(weft_task_tracker_spawn(tr, works, &done));
    t[1] = MAY_NULL(weft_task_tracker_spawn_with(tr, &named, works, &done));
    t[2] = MAY_NULL(weft_task_tracker_spawn_blocking(tr, &named, blocks, &done));
    t[3] = t[4] = NULL;
    MAY(weft_task_tracker_spawn_on(tr, weft_runtime_current(), &t[3], NULL, works, &done), ENOMEM);
    MAY(weft_task_tracker_spawn_blocking_on(tr, weft_runtime_current(), &t[4], NULL, blocks, &done),
        ENOMEM);
    if (MAY(weft_task_tracker_go(tr, works, &done), ENOMEM) == 0)
        spawned++;
    for (int i = 0; i < 5; i++)
        spawned += t[i] != NULL;
    CHECK(weft_task_tracker_len(tr) <= spawned);
    CHECK(weft_task_tracker_close(tr));
    CHECK_EQ(0, weft_task_tracker_wait(tr));
    for (int i = 0; i < 5; i++) {
        int result = 1;

        if (!t[i])
            continue;
        CHECK(weft_is_finished(t[i]));
        CHECK_EQ(0, weft_join(t[i], &result));
        MAY(result, ENOMEM, EAGAIN);
    }
    weft_task_tracker_free(tr);
    return 0;
}

static void tracked(const struct test_flavour *flavour)
{
    fault_run_root(flavour, tracked_root, NULL);
}

TEST(what_was_not_spawned_is_not_counted)
{
    fault_sweep(tracked);
}

END_TEST

TEST(they_bear_any_mixture_of_failures)
{
    fault_chaos(tokens, fault_full() ? 2000 : test_scaled(150));
    fault_chaos(freed, fault_full() ? 2000 : test_scaled(150));
    fault_chaos(tracked, fault_full() ? 2000 : test_scaled(150));
}

END_TEST

TEST(every_kind_was_met)
{
    MET(WF_FAULT_ALLOC, WF_FAULT_THREAD);
}

END_TEST

TEST_MAIN("fault.sync", tokens_are_made_or_are_not, nothing_is_left_of_a_tree,
          what_was_not_spawned_is_not_counted, they_bear_any_mixture_of_failures,
          every_kind_was_met)
