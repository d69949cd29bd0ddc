/* SPDX-License-Identifier: MIT */
/* Building, using and ending runtimes while something fails: one, several, from inside, with reports. */
#include "sweep.h"

#include "sched/runtime.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

static void lifecycle(const struct test_flavour *flavour)
{
    fault_run_root(flavour, nothing, NULL);
}

TEST(a_runtime_is_built_whole_or_not_at_all)
{
    fault_sweep(lifecycle);
}

static void default_size(const struct test_flavour *flavour)
{
    const struct test_flavour by_processors = {flavour->name, flavour->flavor, 0};

    fault_run_root(&by_processors, nothing, NULL);
}

TEST(the_default_number_of_workers_needs_no_file)
{
    fault_sweep_kind(default_size, &test_flavours[2], WF_FAULT_OPEN);
}

/* ---- Overflow reports ---- */

static int deep(void *arg)
{
    volatile char page[4096];

    (void)arg;
    page[0] = 1;
    return page[0] - 1;
}

static void with_reports(const struct test_flavour *flavour)
{
    weft_runtime *rt = fault_runtime_new(flavour, WEFT_ON);
    int result = 0;

    if (rt && MAY(weft_block_on(rt, deep, NULL, &result), ENOMEM) == 0)
        MAY(result, ENOMEM);
    fault_runtime_free(rt);
}

/* The kernel refuses to unmap the alternate stacks: the next threads have them. */
TEST(alternate_stacks_that_stay_mapped_are_used_again)
{
    const struct fault_plan refused = {WF_FAULT_MUNMAP, -ENOMEM, 1, FAULT_LASTING};
    int64_t before;

    fault_prepare();
    with_reports(&test_flavours[2]);
    before = fault_left_mapped();
    fault_arm(&refused);
    for (int i = 0; i < 20; i++)
        with_reports(&test_flavours[2]);
    CHECK(fault_disarm() > 0);
    CHECK(fault_left_mapped() <= before + 2 * 65536);
}

static int refuse_alternate_stacks(void *refused)
{
    fault_arm(refused);
    return 0;
}

/* The thread's handlers would still run there: nobody else may have it, and it may not be unmapped. */
TEST(an_alternate_stack_that_stays_on_stays_the_threads)
{
    struct fault_plan refused = {WF_FAULT_SIGALTSTACK, -EPERM, 1, FAULT_LASTING};
    unsigned char in_memory;
    stack_t before, now;
    weft_runtime *rt;

    CHECK_EQ(0, sigaltstack(NULL, &before));
    fault_prepare();
    rt = fault_runtime_new(&test_flavours[0], WEFT_ON);
    CHECK(rt != NULL);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(0, weft_block_on(rt, refuse_alternate_stacks, &refused, NULL));
        CHECK(fault_disarm() > 0);
        CHECK_EQ(0, sigaltstack(NULL, &now));
        CHECK(now.ss_sp != before.ss_sp);
        CHECK_EQ(0, mincore(now.ss_sp, 4096, &in_memory));
        with_reports(&test_flavours[2]); /* its threads have others, and leave this one alone */
        CHECK_EQ(0, mincore(now.ss_sp, 4096, &in_memory));
    }
    CHECK_EQ(0, weft_block_on(rt, nothing, NULL, NULL));
    CHECK_EQ(0, sigaltstack(NULL, &now));
    CHECK(now.ss_sp == before.ss_sp && now.ss_flags == before.ss_flags);
    fault_runtime_free(rt);
}

TEST(overflow_reports_are_done_without_when_they_cannot_be_had)
{
    fault_sweep(with_reports);
}

static void with_reports_unused(const struct test_flavour *flavour)
{
    weft_runtime *rt = fault_runtime_new(flavour, WEFT_ON);

    if (rt)
        MAY(weft_spawn_on(rt, NULL, NULL, nothing, NULL), ENOMEM);
    fault_runtime_free(rt);
}

TEST(a_runtime_with_reports_ends_whatever_fails)
{
    fault_sweep(with_reports_unused);
}

static void by_weft_run(const struct test_flavour *flavour)
{
    int status = weft_run(nothing, NULL);

    (void)flavour;
    if (status != 0)
        MAY(-ENOMEM, ENOMEM);
    CHECK(status == 0 || status == 1);
}

TEST(weft_run_runs_or_says_that_it_cannot)
{
    fault_sweep_kind(by_weft_run, &test_flavours[2], WF_FAULT_KINDS);
}

/* ---- From outside ---- */

#define OUTSIDE 24

static int sleeper(void *arg)
{
    (void)arg;
    return weft_sleep(WEFT_FOREVER);
}

static void outside(const struct test_flavour *flavour)
{
    weft_task_options named = {.name = "outside", .stack_size = 65536};
    weft_runtime *rt = fault_runtime_new(flavour, WEFT_OFF);
    weft_task *t[OUTSIDE] = {NULL};
    int result = 0;

    for (int i = 0; rt && i < OUTSIDE; i++)
        MAY(weft_spawn_on(rt, &t[i], i % 2 ? &named : NULL, i % 3 ? nothing : sleeper, NULL),
            ENOMEM);
    for (int i = 0; rt && i < OUTSIDE; i++) {
        if (!t[i])
            continue;
        weft_cancel(t[i]);
        /* Nobody drives a current-thread runtime now. */
        if (flavour->flavor == WEFT_CURRENT_THREAD || i % 4 == 3) {
            weft_detach(t[i]);
            continue;
        }
        CHECK_EQ(0, weft_join_blocking(t[i], &result));
        if (result != -ECANCELED)
            MAY(result, ENOMEM);
    }
    fault_runtime_free(rt);
}

TEST(tasks_from_outside_end)
{
    fault_sweep(outside);
}

/* ---- Shutdown ---- */

#define STUCK 12

static atomic_int unwound;

static void count_unwound(void *arg)
{
    (void)arg;
    atomic_fetch_sub(&unwound, 1);
}

static int sleeper_with_clean_up(void *arg)
{
    (void)arg;
    if (MAY(weft_defer(count_unwound, NULL), ENOMEM) == 0)
        atomic_fetch_add(&unwound, 1);
    return weft_sleep(WEFT_FOREVER);
}

static int leave_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < STUCK; i++)
        MAY(weft_go(sleeper_with_clean_up, NULL), ENOMEM);
    for (int i = 0; i < 4; i++)
        (void)weft_yield();
    return 0;
}

static void ends_what_waits(const struct test_flavour *flavour)
{
    atomic_store(&unwound, 0);
    fault_run_root(flavour, leave_many, NULL);
    CHECK_EQ(0, atomic_load(&unwound));
}

TEST(shutdown_ends_what_waits_for_ever)
{
    fault_sweep(ends_what_waits);
}

static int shut_down_inside(void *arg)
{
    (void)arg;
    MAY(weft_go(sleeper_with_clean_up, NULL), ENOMEM);
    (void)weft_yield();
    CHECK_EQ(0, weft_runtime_shutdown(weft_runtime_current(), 0));
    return weft_sleep(WEFT_FOREVER);
}

static void ends_from_inside(const struct test_flavour *flavour)
{
    weft_runtime *rt = fault_runtime_new(flavour, WEFT_OFF);
    int result = 0, rc;

    atomic_store(&unwound, 0);
    rc = rt ? weft_block_on(rt, shut_down_inside, NULL, &result) : -ESHUTDOWN;
    /* Whether the root is told first, or that all is over. */
    if (rc != -ESHUTDOWN && MAY(rc, ENOMEM) == 0 && result != -ECANCELED)
        MAY(result, ENOMEM);
    fault_runtime_free(rt);
    CHECK_EQ(0, atomic_load(&unwound));
}

TEST(a_task_ends_its_runtime)
{
    fault_sweep(ends_from_inside);
}

/* ---- Several ---- */

struct crossing {
    weft_runtime *other;
};

static int cross(void *arg)
{
    const struct crossing *c = arg;
    weft_task *t[6] = {NULL};
    int result = 0;

    for (int i = 0; i < 6; i++)
        MAY(weft_spawn_on(c->other, &t[i], NULL, nothing, NULL), ENOMEM);
    for (int i = 0; i < 6; i++) {
        if (!t[i])
            continue;
        CHECK_EQ(0, weft_join(t[i], &result));
        MAY(result, ENOMEM);
    }
    return 0;
}

/* Nothing is to be had, and a task does not end: it is named all the same, and its joiner is told. */
static int deaf(void *shielded)
{
    WEFT_SHIELD
    {
        atomic_store((atomic_bool *)shielded, true);
        (void)weft_sleep(WEFT_FOREVER);
    }
    return 0;
}

static int until_set(void *flag)
{
    while (!atomic_load((atomic_bool *)flag))
        (void)weft_yield();
    return 0;
}

TEST(a_shutdown_without_memory_names_who_does_not_end)
{
    const struct fault_plan nothing_left = {WF_FAULT_ALLOC, -ENOMEM, 1, FAULT_LASTING};
    char text[4096] = "";
    int pipe_fds[2], stderr_before, result = 0;
    atomic_bool shielded = false;
    weft_runtime *rt;
    weft_task *t;

    CHECK_EQ(0, pipe(pipe_fds));
    rt = test_runtime_new(&test_flavours[2]);
    CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, deaf, &shielded));
    CHECK_EQ(0, weft_block_on(rt, until_set, &shielded, NULL));
    stderr_before = dup(STDERR_FILENO);
    CHECK_EQ(STDERR_FILENO, dup2(pipe_fds[1], STDERR_FILENO));
    fault_arm(&nothing_left);
    CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, WEFT_MS(20)));
    weft_runtime_free(rt);
    fault_disarm();
    CHECK_EQ(STDERR_FILENO, dup2(stderr_before, STDERR_FILENO));
    CHECK(read(pipe_fds[0], text, sizeof(text) - 1) > 0);
    CHECK(strstr(text, "test_runtime.c") && strstr(text, "is still"));
    CHECK_EQ(0, weft_join_blocking(t, &result));
    CHECK_EQ(-ECANCELED, result);
}

static void two_runtimes(const struct test_flavour *flavour)
{
    weft_runtime *here = fault_runtime_new(flavour, WEFT_OFF);
    weft_runtime *there = fault_runtime_new(&test_flavours[2], WEFT_OFF);
    struct crossing c = {there};
    int result = 0;

    if (here && there && MAY(weft_block_on(here, cross, &c, &result), ENOMEM) == 0)
        MAY(result, ENOMEM);
    fault_runtime_free(here);
    fault_runtime_free(there);
}

TEST(two_runtimes_share_a_shortage)
{
    fault_sweep(two_runtimes);
}

static int reporting(void *arg)
{
    weft_metrics m;

    (void)arg;
    for (int i = 0; i < 3; i++)
        MAY(weft_go(sleeper, NULL), ENOMEM);
    (void)weft_yield();
    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    CHECK(weft_runtime_dump(weft_runtime_current(), 2) >= 1);
    return 0;
}

static void reports(const struct test_flavour *flavour)
{
    fault_run_root(flavour, reporting, NULL);
}

TEST(a_dump_needs_no_memory)
{
    fault_sweep(reports);
}

/* ---- The guard of seats ---- */

TEST(a_seat_is_not_taken_without_its_barrier)
{
    const struct fault_plan refused = {WF_FAULT_MEMBARRIER, -EPERM, 1, FAULT_LASTING};
    weft_runtime *rt = test_runtime_new(&test_flavours[2]);

    fault_arm(&refused);
    for (unsigned i = 0; i < rt->workers; i++)
        CHECK(!wf_seat_take(&rt->seats[i]));
    CHECK_EQ(rt->workers, fault_disarm());
    CHECK_EQ(0, weft_block_on(rt, nothing, NULL, NULL));
    test_runtime_free(rt);
}

/* ---- The barrier of a shutdown ---- */

#define BARRIER_ROUNDS 10
#define BARRIER_MS \
 1 /* what stands in for it: longer than any store stays in a processor's buffer */

static int spawn_until_cancelled(void *arg)
{
    (void)arg;
    while (weft_yield() == 0)
        CHECK_EQ(0, weft_go(nothing, NULL));
    return 0;
}

/* Each shutdown tells of its closing by a barrier, and waits instead where there is none. */
TEST(a_shutdown_without_its_barrier_waits_and_misses_no_task)
{
    const struct fault_plan refused = {WF_FAULT_MEMBARRIER, -EPERM, 1, FAULT_LASTING};

    for (size_t i = 0; i < test_flavour_count; i++) {
        for (int round = 0; round < BARRIER_ROUNDS; round++) {
            weft_runtime *rt = test_runtime_new(&test_flavours[i]);
            weft_instant begun;

            for (int spawners = 0; spawners < 3; spawners++)
                CHECK_EQ(0, weft_spawn_on(rt, NULL, NULL, spawn_until_cancelled, NULL));
            CHECK_EQ(0, weft_block_on(rt, nothing, NULL, NULL));
            fault_arm(&refused);
            begun = weft_now();
            CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_SECS(10ull * test_slow())));
            CHECK(weft_now() - begun >= WEFT_MS(BARRIER_MS));
            CHECK(fault_disarm() > 0);
            test_runtime_free(rt);
        }
    }
}

/* ---- All at once ---- */

TEST(runtimes_bear_any_mixture_of_failures)
{
    fault_scenario *const runs[] = {with_reports, outside, ends_what_waits, two_runtimes};

    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
        fault_chaos(runs[i], fault_full() ? 3000 : test_scaled(200));
}

TEST(every_kind_of_a_runtime_was_met)
{
    MET(WF_FAULT_ALLOC, WF_FAULT_MMAP, WF_FAULT_MUNMAP, WF_FAULT_MADVISE, WF_FAULT_EPOLL_CREATE,
        WF_FAULT_EPOLL_ADD, WF_FAULT_EPOLL_WAIT, WF_FAULT_EVENTFD, WF_FAULT_EVENTFD_SIGNAL,
        WF_FAULT_TIMERFD, WF_FAULT_SIGACTION, WF_FAULT_SIGALTSTACK, WF_FAULT_THREAD, WF_FAULT_OPEN,
        WF_FAULT_MEMBARRIER_REGISTER, WF_FAULT_MEMBARRIER, WF_FAULT_FUTEX_WAIT, WF_FAULT_RANDOM,
        WF_FAULT_TIMER_SLACK);
}

TEST_MAIN("fault.runtime", a_runtime_is_built_whole_or_not_at_all,
          the_default_number_of_workers_needs_no_file,
          alternate_stacks_that_stay_mapped_are_used_again,
          an_alternate_stack_that_stays_on_stays_the_threads,
          overflow_reports_are_done_without_when_they_cannot_be_had,
          a_runtime_with_reports_ends_whatever_fails, tasks_from_outside_end,
          shutdown_ends_what_waits_for_ever, a_task_ends_its_runtime, two_runtimes_share_a_shortage,
          a_dump_needs_no_memory, runtimes_bear_any_mixture_of_failures,
          weft_run_runs_or_says_that_it_cannot, a_shutdown_without_memory_names_who_does_not_end,
          a_seat_is_not_taken_without_its_barrier,
          a_shutdown_without_its_barrier_waits_and_misses_no_task, every_kind_of_a_runtime_was_met)
