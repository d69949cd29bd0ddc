/* SPDX-License-Identifier: MIT */
/* Workers that are stuck, while what it takes to work in their place cannot be had, at first or for ever. */
#include "sweep.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

/* --- whatever fails, all ends --------------------------------------------------------- */

#define SLEEPERS 5

static int blocks(void *arg)
{
    (void)arg;
    /* Longer than from one look of the monitor to the next. */
    (void)usleep(14000);
    return weft_yield();
}

static int sleeps(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        int rc = weft_sleep(WEFT_US(200));

        if (rc < 0)
            return rc;
    }
    return 0;
}

static int stalls_root(void *arg)
{
    weft_task *t[1 + SLEEPERS];

    (void)arg;
    for (size_t i = 0; i < 1 + SLEEPERS; i++)
        t[i] = MAY_NULL(weft_spawn(i == 0 ? blocks : sleeps, NULL));
    for (size_t i = 0; i < 1 + SLEEPERS; i++) {
        int result = 0;

        if (!t[i])
            continue;
        CHECK_EQ(0, weft_join(t[i], &result));
        MAY(result, NO_MEMORY);
    }
    return 0;
}

static void stalls(const struct test_flavour *flavour)
{
    fault_run_root(flavour, stalls_root, NULL);
}

TEST(tasks_behind_stuck_ones_end_whatever_fails)
{
    for (size_t i = 0; i < test_flavour_count; i++)
        if (test_flavours[i].flavor == WEFT_MULTI_THREAD && test_flavours[i].workers <= 2)
            fault_sweep_kind(stalls, &test_flavours[i], WF_FAULT_KINDS);
}

TEST(stalls_bear_any_mixture_of_failures)
{
    fault_chaos(stalls, fault_full() ? 2000 : test_scaled(100));
}

/* --- what failed at first is tried again ---------------------------------------------- */

struct behind {
    weft_runtime *rt;
    atomic_uint stuck, done;
};

/* It keeps its thread until another task has run. */
static int stuck_until_done(void *arg)
{
    struct behind *b = arg;

    atomic_fetch_add(&b->stuck, 1);
    while (atomic_load(&b->done) == 0)
        (void)usleep(200);
    return 0;
}

static int done(void *arg)
{
    atomic_fetch_add(&((struct behind *)arg)->done, 1);
    return 0;
}

/* All workers are stuck by fn, in tasks, and another one comes. */
static void run_behind(weft_config c, weft_fn *fn, const struct fault_plan *plan)
{
    unsigned workers = c.worker_threads;
    struct behind b = {0};
    weft_task *t[4];

    c.ignore_env = WEFT_ON;
    CHECK_EQ(0, weft_runtime_new(&b.rt, &c));
    test_watchdog(60);
    fault_arm(plan);
    for (unsigned i = 0; i < workers; i++)
        CHECK_EQ(0, weft_spawn_on(b.rt, &t[i], NULL, fn, &b));
    while (atomic_load(&b.stuck) < workers)
        (void)usleep(100);
    CHECK_EQ(0, weft_spawn_on(b.rt, &t[workers], NULL, done, &b));
    for (unsigned i = 0; i <= workers; i++)
        CHECK_EQ(0, weft_join_blocking(t[i], NULL));
    CHECK(fault_disarm() > 0);
    CHECK_EQ(0, weft_runtime_shutdown(b.rt, WEFT_FOREVER));
    weft_runtime_free(b.rt);
}

TEST(a_thread_that_cannot_be_made_at_first_stands_in_later)
{
    const struct fault_plan no_thread = {WF_FAULT_THREAD, -EAGAIN, 1, 3};

    for (unsigned workers = 1; workers <= 2; workers++)
        run_behind((weft_config){.worker_threads = workers}, stuck_until_done, &no_thread);
}

/* A single worker's descriptors must be made known to others first. */
TEST(a_single_worker_that_cannot_share_at_first_shares_later)
{
    const struct fault_plan no_add = {WF_FAULT_EPOLL_ADD, -ENOMEM, 1, 3};

    run_behind((weft_config){.worker_threads = 1}, stuck_until_done, &no_add);
}

static int in_place(void *arg)
{
    return weft_block_in_place(stuck_until_done, arg);
}

/* Nobody is left who could try again, but who is about to block. */
TEST(without_a_monitor_who_blocks_in_place_tries_again)
{
    const struct fault_plan no_thread = {WF_FAULT_THREAD, -EAGAIN, 1, 3};

    run_behind((weft_config){.worker_threads = 2, .monitor = WEFT_OFF}, in_place, &no_thread);
}

static int yields_until_done(void *arg)
{
    struct behind *b = arg;

    while (atomic_load(&b->done) == 0)
        CHECK_EQ(0, weft_yield());
    return 0;
}

/* The other worker is busy, and comes by now and then. */
TEST(without_a_monitor_the_workers_try_again)
{
    const struct fault_plan no_thread = {WF_FAULT_THREAD, -EAGAIN, 1, 5};
    weft_config c = {.worker_threads = 2, .monitor = WEFT_OFF, .ignore_env = WEFT_ON};
    struct behind b = {0};
    weft_task *t[4];
    weft_metrics m;

    CHECK_EQ(0, weft_runtime_new(&b.rt, &c));
    test_watchdog(60);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(0, weft_spawn_on(b.rt, &t[i], NULL, yields_until_done, &b));
    fault_arm(&no_thread);
    CHECK_EQ(0, weft_spawn_on(b.rt, &t[3], NULL, in_place, &b));
    do
        CHECK_EQ(0, weft_metrics_snapshot(b.rt, &m));
    while (m.standins == 0);
    CHECK_EQ(5, fault_disarm());
    atomic_store(&b.done, 1);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(0, weft_join_blocking(t[i], NULL));
    CHECK_EQ(0, weft_runtime_shutdown(b.rt, WEFT_FOREVER));
    weft_runtime_free(b.rt);
}

/* --- a clock that cannot be read ------------------------------------------------------- */

static atomic_uint told;

static void tell(void *user, const weft_stall *s)
{
    (void)user, (void)s;
    atomic_fetch_add(&told, 1);
}

static int computes_until_told(void *arg)
{
    (void)arg;
    while (atomic_load(&told) == 0)
        continue;
    return 0;
}

TEST(where_the_clock_of_a_thread_cannot_be_read_stalls_are_told_all_the_same)
{
    const struct fault_plan no_clock = {WF_FAULT_THREAD_CPU, -EINVAL, 1, FAULT_LASTING};
    weft_config c = {.worker_threads = 1, .on_stall = tell, .ignore_env = WEFT_ON};
    weft_runtime *rt;

    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    test_watchdog(60);
    fault_arm(&no_clock);
    CHECK_EQ(0, weft_block_on(rt, computes_until_told, NULL, NULL));
    CHECK(fault_disarm() > 0);
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    weft_runtime_free(rt);
}

TEST(every_kind_of_a_stall_was_met)
{
    MET(WF_FAULT_THREAD, WF_FAULT_EPOLL_ADD, WF_FAULT_THREAD_CPU, WF_FAULT_MEMBARRIER);
}

TEST_MAIN("fault.stall", tasks_behind_stuck_ones_end_whatever_fails,
          stalls_bear_any_mixture_of_failures,
          a_thread_that_cannot_be_made_at_first_stands_in_later,
          a_single_worker_that_cannot_share_at_first_shares_later,
          without_a_monitor_who_blocks_in_place_tries_again,
          without_a_monitor_the_workers_try_again,
          where_the_clock_of_a_thread_cannot_be_read_stalls_are_told_all_the_same,
          every_kind_of_a_stall_was_met)
