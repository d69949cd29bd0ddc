/* SPDX-License-Identifier: MIT */
/* Sets of futures while something fails: what could not be pushed is still its owner's, and all else ends. */
#include "sweep.h"

#include <stdlib.h>

static int child(void *arg)
{
    int rc = weft_yield();

    return rc < 0 ? rc : *(int *)arg;
}

static int seven = 7;

static uint64_t push_some(weft_futures *set, uint64_t n)
{
    uint64_t pushed = 0;

    for (uint64_t i = 0; i < n; i++) {
        weft_future f = weft_sleep_future(WEFT_US(50 + i % 5 * 20));

        if (MAY(weft_futures_push(set, f, 0), ENOMEM) == 0)
            pushed++;
        if (MAY(weft_futures_spawn(set, child, &seven, 1), ENOMEM) == 0)
            pushed++;
    }
    return pushed;
}

static void take_all(weft_futures *set, uint64_t pushed)
{
    uint64_t tag, got = 0;
    ssize_t result;
    int rc;

    while ((rc = weft_futures_next(set, &tag, &result)) == 1) {
        got++;
        if (tag == 0)
            CHECK_EQ(0, result);
        else if (result != 7)
            MAY(result, ENOMEM);
    }
    CHECK_EQ(0, rc);
    CHECK_EQ(pushed, got);
}

static int sets_root(void *arg)
{
    (void)arg;
    for (unsigned flags = 0; flags < 2; flags++) {
        weft_futures *set = weft_futures_new_with(flags);
        uint64_t pushed;

        if (!set) {
            MAY(-ENOMEM, ENOMEM);
            continue;
        }
        pushed = push_some(set, 20);
        take_all(set, pushed);
        (void)push_some(set, 5);
        CHECK_EQ(0, weft_futures_clear(set));
        CHECK(weft_futures_is_empty(set));
        (void)push_some(set, 5);
        weft_futures_free(set);
    }
    return 0;
}

static void sets(const struct test_flavour *flavour)
{
    fault_run_root(flavour, sets_root, NULL);
}

TEST(sets_give_the_results_of_all_that_were_pushed)
{
    fault_sweep(sets);
}

static int source(void *arg, weft_future *out, uint64_t *tag)
{
    int *left = arg;

    (void)tag;
    *out = *left % 2 ? weft_task_future(weft_spawn(child, &seven)) : weft_yield_future();
    return (*left)-- > 0;
}

static int sink(void *arg, uint64_t tag, ssize_t result)
{
    (void)arg, (void)tag;
    if (result < 0)
        MAY(result, ENOMEM);
    return 0;
}

static int for_each_root(void *arg)
{
    int left = 20;
    weft_future f = weft_for_each_concurrent_future(3, WEFT_FUTURES_ORDERED, source, sink, &left);

    (void)arg;
    MAY(weft_await(&f), ENOMEM);
    left = 20;
    MAY(weft_for_each_concurrent(4, 0, source, sink, &left), ENOMEM);
    return 0;
}

static void for_each(const struct test_flavour *flavour)
{
    fault_run_root(flavour, for_each_root, NULL);
}

TEST(concurrent_loops_end_or_say_why)
{
    fault_sweep(for_each);
}

TEST(sets_bear_any_mixture_of_failures)
{
    fault_chaos(sets, fault_full() ? 2000 : test_scaled(150));
    fault_chaos(for_each, fault_full() ? 2000 : test_scaled(150));
}

/* --- when there is no room for one more node -------------------------------------------------------- */

#define ROOM_MAX 200000 /* more than the slab maps at a time */

static const struct fault_plan no_more = {WF_FAULT_MMAP, -ENOMEM, 1, FAULT_LASTING};

/* Until no more can be had; how many could. */
static uint64_t fill(weft_futures *set)
{
    uint64_t n = 0;
    int rc;

    while ((rc = weft_futures_push(set, weft_ready_future(1), n)) == 0)
        CHECK(++n < ROOM_MAX);
    CHECK_EQ(-ENOMEM, rc);
    return n;
}

static int full_root(void *arg)
{
    weft_futures *set = weft_futures_new();
    uint64_t n, tag;
    ssize_t result;
    weft_future owner;

    (void)arg;
    CHECK(set != NULL);
    fault_arm(&no_more);
    n = fill(set);
    CHECK_EQ(n, weft_futures_len(set));
    CHECK_EQ(-ENOMEM, weft_futures_spawn(set, child, NULL, 0)); /* no node */
    owner = weft_task_future(weft_spawn(child, NULL));          /* and no task */
    CHECK_EQ(-ENOMEM, weft_await(&owner));
    CHECK_EQ(1, weft_futures_next(set, &tag, &result));
    CHECK_EQ(0, tag);
    CHECK_EQ(-ENOMEM, weft_futures_spawn(set, child, NULL, 0));   /* a node, and no task for it */
    CHECK_EQ(0, weft_futures_push(set, weft_ready_future(1), n)); /* so the node came back */
    CHECK_EQ(-ENOMEM, weft_futures_push(set, weft_ready_future(1), 0));
    (void)fault_disarm();
    CHECK_EQ(0, weft_futures_push(set, weft_ready_future(1), n + 1));
    for (uint64_t want = 1; want <= n + 1; want++) {
        CHECK_EQ(1, weft_futures_next(set, &tag, &result));
        CHECK_EQ(want, tag);
        CHECK_EQ(1, result);
    }
    CHECK_EQ(0, weft_futures_next(set, NULL, NULL));
    weft_futures_free(set);
    return 0;
}

TEST(a_push_that_finds_no_room_takes_nothing_and_loses_nothing)
{
    fault_prepare();
    test_run_on(&test_flavours[0], full_root, NULL);
    test_run_on(&test_flavours[1], full_root, NULL);
}

TEST(every_kind_of_a_set_was_met)
{
    MET(WF_FAULT_ALLOC, WF_FAULT_MMAP);
}

TEST_MAIN("fault.futures", sets_give_the_results_of_all_that_were_pushed,
          concurrent_loops_end_or_say_why, sets_bear_any_mixture_of_failures,
          a_push_that_finds_no_room_takes_nothing_and_loses_nothing, every_kind_of_a_set_was_met)
