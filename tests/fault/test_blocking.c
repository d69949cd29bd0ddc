/* SPDX-License-Identifier: MIT */
/* Calls that block, and jobs, while threads and memory are short. */
#include "sweep.h"

#include <stdatomic.h>
#include <unistd.h>

#define JOBS 12

static int works(void *arg)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
    (void)usleep(50);
    return 7;
}

/* It ran, or ended with why it could not: never both, nor neither. */
static void reap(weft_task *t, unsigned *ran)
{
    int result = 0;

    if (!t)
        return;
    CHECK_EQ(0, weft_join(t, &result));
    if (result == 7)
        ++*ran;
    else
        MAY(result, ENOMEM, EAGAIN);
}

static int jobs_root(void *arg)
{
    weft_task_options named = {.name = "named"};
    atomic_uint begun = 0;
    weft_task *t[JOBS];
    unsigned ran = 0;

    (void)arg;
    for (int i = 0; i < JOBS; i++) {
        t[i] = MAY_NULL(i % 3 ? weft_spawn_blocking(works, &begun)
                              : weft_spawn_blocking_with(&named, works, &begun));
        if (i % 4 == 3)
            reap(t[i], &ran), t[i] = NULL;
    }
    for (int i = 0; i < JOBS; i++)
        reap(t[i], &ran);
    CHECK_EQ(ran, atomic_load(&begun));
    return 0;
}

static void jobs(const struct test_flavour *flavour)
{
    fault_run_root(flavour, jobs_root, NULL);
}

TEST(jobs_run_or_say_why_not)
{
    fault_sweep(jobs);
}

static int calls_root(void *arg)
{
    atomic_uint begun = 0;
    unsigned ran = 0;

    (void)arg;
    for (int i = 0; i < 6; i++) {
        int rc = weft_blocking(works, &begun);

        if (rc == 7)
            ran++;
        else
            MAY(rc, ENOMEM, EAGAIN);
        CHECK_EQ(0, weft_yield());
        if (weft_runtime_flavor(weft_runtime_current()) == WEFT_MULTI_THREAD) {
            rc = weft_block_in_place(works, &begun);
            /* Without membarrier there is no monitor, and a single worker has nobody to hand over to. */
            if (rc == 7)
                ran++;
            else
                CHECK_EQ(-EINVAL, rc);
        }
    }
    CHECK_EQ(ran, atomic_load(&begun));
    return 0;
}

static void calls(const struct test_flavour *flavour)
{
    fault_run_root(flavour, calls_root, NULL);
}

TEST(calls_are_made_or_say_why_not)
{
    fault_sweep(calls);
}

static int waits(void *arg)
{
    atomic_bool *open = arg;

    while (!atomic_load(open))
        (void)usleep(50);
    return 7;
}

/* From outside, by a queue with an end and few threads: those that were pushed while no thread could be made. */
static void outside(const struct test_flavour *flavour)
{
    weft_config c = {.flavor = flavour->flavor,
                     .worker_threads = flavour->workers,
                     .max_blocking_threads = 2,
                     .max_blocking_queue = 4,
                     .thread_keep_alive = WEFT_US(100),
                     .ignore_env = WEFT_ON};
    weft_task *t[JOBS] = {NULL};
    atomic_bool open = false;
    weft_runtime *rt = NULL;

    if (MAY(weft_runtime_new(&rt, &c), NO_FILES, EAGAIN, ENOSPC) < 0)
        return;
    for (int i = 0; i < JOBS; i++) {
        int rc = weft_spawn_blocking_on(rt, &t[i], NULL, waits, &open);

        if (rc < 0)
            CHECK(rc == -EAGAIN || rc == -ENOMEM);
        if (i == JOBS / 2)
            atomic_store(&open, true);
    }
    for (int i = 0; i < JOBS; i++) {
        int result = 0;

        if (!t[i])
            continue;
        CHECK_EQ(0, weft_join_blocking(t[i], &result));
        if (result != 7)
            MAY(result, ENOMEM, EAGAIN);
    }
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    weft_runtime_free(rt);
}

TEST(jobs_from_outside_run_or_say_why_not)
{
    fault_sweep(outside);
}

TEST(jobs_bear_any_mixture_of_failures)
{
    fault_scenario *const runs[] = {jobs, calls, outside};

    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
        fault_chaos(runs[i], fault_full() ? 2000 : test_scaled(150));
}

TEST(every_kind_of_a_job_was_met)
{
    MET(WF_FAULT_ALLOC, WF_FAULT_THREAD);
}

TEST_MAIN("fault.blocking", jobs_run_or_say_why_not, calls_are_made_or_say_why_not,
          jobs_from_outside_run_or_say_why_not, jobs_bear_any_mixture_of_failures,
          every_kind_of_a_job_was_met)
