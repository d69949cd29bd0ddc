/* SPDX-License-Identifier: MIT */
/* Spawning, joining, cancelling, waiting and cleaning up while something fails. */
#include "sweep.h"

#include "fiber/stack.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* What tasks owe: deferred calls that were taken on, values of locals that were made. */
static atomic_int owed;

static void pay(void *arg)
{
    (void)arg;
    atomic_fetch_sub(&owed, 1);
}

/* ---- All ways to spawn ---- */

#define SPAWNS 40

static weft_local_key *inherited, *plain;

static void *value_new(void)
{
    void *p = malloc(1);

    CHECK(p != NULL);
    atomic_fetch_add(&owed, 1);
    return p;
}

static void value_free(void *value)
{
    free(value);
    atomic_fetch_sub(&owed, 1);
}

static void *value_inherit(void *value)
{
    (void)value;
    return value_new();
}

static int set_local(const weft_local_key *key)
{
    void *value = value_new();
    int rc = weft_task_local_set(key, value);

    if (rc < 0)
        value_free(value);
    return rc;
}

static int child(void *arg)
{
    int rc;

    (void)arg;
    for (int i = 0; i < 3; i++)
        if (MAY(weft_defer(pay, NULL), ENOMEM) == 0)
            atomic_fetch_add(&owed, 1);
    MAY(set_local(plain), ENOMEM);
    rc = weft_yield();
    return rc == -ECANCELED ? rc : 7;
}

static int panics(void *arg)
{
    if (MAY(weft_defer(pay, NULL), ENOMEM) == 0)
        atomic_fetch_add(&owed, 1);
    weft_panic("as it should: %p", arg);
}

struct state {
    weft_async async;
    weft_future nap;
};

static weft_poll nap_poll(void *self, weft_context *cx)
{
    struct state *s = self;

    WEFT_ASYNC_BEGIN(s);
    s->nap = weft_sleep_future(WEFT_US(50));
    WEFT_AWAIT(s, cx, &s->nap);
    WEFT_RETURN(s, 7);
    WEFT_ASYNC_END(s);
}

static const weft_async_type nap_type = {.poll = nap_poll,
                                         .size = sizeof(struct state),
                                         .name = "nap"};

static weft_task *spawn_some_way(int way)
{
    static const weft_task_options named = {.name = "named"};
    static const weft_task_options small = {.stack_size = 16384};
    static const weft_task_options large = {.stack_size = 2 << 20};
    const struct state nap = {{0}, {0}};
    char copy[4096] = "";

    switch (way % 10) {
    case 0:
        return weft_spawn(child, NULL);
    case 1:
        return weft_spawn_copy(child, copy, 500);
    case 2:
        return weft_spawn_with(&named, child, NULL);
    case 3:
        return weft_spawn_with(&small, child, NULL);
    case 4:
        return weft_spawn_with(&large, child, NULL);
    case 5:
        return weft_spawn_copy_with(&named, child, copy, 8);
    case 6:
        return weft_spawn_async(&nap_type, &nap);
    case 7:
        return weft_spawn(panics, NULL);
    case 8:
        return weft_spawn_async(&nap_type, &nap);
    default:
        return weft_spawn_copy(child, copy, 4096 / (size_t)(1 + way / 10));
    }
}

static void reap(weft_task *t, int way)
{
    int result = 0;

    if (way % 7 == 3) {
        weft_detach(t);
        return;
    }
    if (way % 7 == 5)
        weft_cancel(t);
    if (!t) {
        CHECK_EQ(-ENOMEM, weft_join(t, &result));
        return;
    }
    CHECK_EQ(0, weft_join(t, &result));
    if (result == -ECANCELED && way % 7 == 5)
        return;
    if (result != 7 && !(result == -EOWNERDEAD && way % 10 == 7)) {
        CHECK(result < 0);
        MAY(result, ENOMEM);
    }
}

static int spawn_root(void *arg)
{
    weft_task *t[SPAWNS];

    (void)arg;
    MAY(set_local(inherited), ENOMEM);
    for (int i = 0; i < SPAWNS; i++)
        t[i] = MAY_NULL(spawn_some_way(i));
    MAY(weft_go(child, NULL), ENOMEM);
    MAY(weft_go_copy(child, "", 1), ENOMEM);
    MAY(weft_go_async(&nap_type, &(struct state){{0}, {0}}), ENOMEM);
    for (int i = 0; i < SPAWNS; i++)
        reap(t[i], i);
    return 0;
}

static void spawns(const struct test_flavour *flavour)
{
    atomic_store(&owed, 0);
    inherited = plain = NULL;
    if (MAY(weft_local_key_new(&inherited, value_free, WEFT_LOCAL_INHERIT, value_inherit),
            ENOMEM) == 0 &&
        MAY(weft_local_key_new(&plain, value_free, 0, NULL), ENOMEM) == 0)
        fault_run_root(flavour, spawn_root, NULL);
    /* Values are destroyed with their tasks; the keys came first and go last. */
    CHECK_EQ(0, atomic_load(&owed));
    weft_local_key_free(inherited);
    weft_local_key_free(plain);
}

TEST(spawned_tasks_end_and_pay_what_they_owe)
{
    fault_sweep(spawns);
}

/* ---- Queues and stacks that grow ---- */

#define MANY 700 /* the queues of a seat begin with 256 places */

static int waits_once(void *arg)
{
    (void)arg;
    return weft_yield();
}

static int many_root(void *arg)
{
    weft_task **t = arg;
    int result = 0;

    for (int i = 0; i < MANY; i++)
        t[i] = MAY_NULL(weft_spawn(waits_once, NULL));
    for (int i = 0; i < MANY; i++) {
        if (!t[i])
            continue;
        CHECK_EQ(0, weft_join(t[i], &result));
        MAY(result, ENOMEM);
    }
    return 0;
}

static void many(const struct test_flavour *flavour)
{
    static weft_task *tasks[MANY];

    fault_run_root(flavour, many_root, tasks);
}

static void sweep_growth(fault_scenario *run, enum wf_fault_kind kind)
{
    fault_sweep_kind(run, &test_flavours[0], kind);
    fault_sweep_kind(run, &test_flavours[2], kind);
}

TEST(queues_that_cannot_grow_lose_no_task)
{
    sweep_growth(many, WF_FAULT_ALLOC);
}

TEST(slabs_of_stacks_that_cannot_be_mapped_fail_tasks_one_by_one)
{
    sweep_growth(many, WF_FAULT_MMAP);
}

static void sizes_of(const struct test_flavour *flavour, weft_fn *fn)
{
    static const size_t sizes[] = {16384, 32768, 131072, 262144, 1 << 20, 8 << 20};
    weft_runtime *rt = fault_runtime_new(flavour, WEFT_OFF);

    for (size_t i = 0; rt && i < 3 * sizeof(sizes) / sizeof(sizes[0]); i++) {
        weft_task_options o = {.stack_size = sizes[i % (sizeof(sizes) / sizeof(sizes[0]))]};

        MAY(weft_spawn_on(rt, NULL, &o, fn, NULL), ENOMEM);
    }
    if (rt)
        MAY(weft_block_on(rt, fn, NULL, NULL), ENOMEM);
    fault_runtime_free(rt);
}

static int deep(void *arg)
{
    volatile char pages[9000];

    (void)arg;
    pages[0] = 1;
    return weft_sleep(WEFT_US(100 * pages[0]));
}

static void sizes(const struct test_flavour *flavour)
{
    sizes_of(flavour, deep);
    wf_stack_pool_trim(); /* as a busy process does */
}

TEST(stacks_of_all_sizes_are_had_or_not)
{
    const enum wf_fault_kind kinds[] = {WF_FAULT_MMAP, WF_FAULT_MADVISE, WF_FAULT_MPROTECT,
                                        WF_FAULT_MUNMAP, WF_FAULT_ALLOC};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        sweep_growth(sizes, kinds[i]);
}

/* ---- Futures and time ---- */

static int sleeps_a_little(void *arg)
{
    (void)arg;
    return weft_sleep(WEFT_US(200));
}

static void wait_in_groups(void)
{
    weft_future a = weft_sleep_future(WEFT_US(100)), b = weft_sleep_future(WEFT_SECS(100));
    weft_future c = weft_sleep_future(WEFT_US(50)), d = weft_sleep_future(WEFT_US(150));

    CHECK_EQ(0, weft_select(&a, &b));
    CHECK_EQ(0, weft_join_all(&c, &d));
    a = weft_sleep_future(WEFT_US(50));
    b = weft_sleep_future(WEFT_SECS(100));
    CHECK_EQ(1, weft_select_keep(&b, &a));
    CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_US(50), &b));
    c = weft_ready_future(-EIO);
    d = weft_pending_future();
    CHECK_EQ(-EIO, weft_try_join_all(&c, &d));
}

static int keeps_a_future(void *arg)
{
    weft_future a = weft_sleep_future(WEFT_US(10)), b = weft_sleep_future(WEFT_SECS(100));

    (void)arg;
    CHECK_EQ(0, weft_select_keep(&a, &b));
    if (ON_VALGRIND) /* to which a frame that was left is lost */
        weft_future_drop(&b);
    return 0; /* b is dropped as it lies */
}

static int time_root(void *arg)
{
    weft_task *t[4] = {NULL};
    weft_future ends[2];
    int result = 0;

    (void)arg;
    wait_in_groups();
    WEFT_DEADLINE(WEFT_US(300))
    {
        CHECK_EQ(-ETIMEDOUT, weft_sleep(WEFT_SECS(100)));
        WEFT_SHIELD
        {
            CHECK_EQ(0, weft_sleep(WEFT_US(50)));
        }
    }
    for (int i = 0; i < 4; i++)
        t[i] = MAY_NULL(weft_spawn(i % 2 ? sleeps_a_little : keeps_a_future, NULL));
    ends[0] = weft_join_future(t[0]);
    ends[1] = weft_join_future(t[1]);
    CHECK_EQ(0, weft_join_all(&ends[0], &ends[1]));
    for (int i = 0; i < 4; i++) {
        if (!t[i])
            continue;
        CHECK_EQ(0, weft_join(t[i], &result));
        MAY(result, ENOMEM);
    }
    return 0;
}

static void waits(const struct test_flavour *flavour)
{
    fault_run_root(flavour, time_root, NULL);
}

TEST(timers_fire_whatever_fails)
{
    fault_sweep(waits);
}

/* ---- All at once ---- */

TEST(tasks_bear_any_mixture_of_failures)
{
    fault_scenario *const runs[] = {spawns, waits, many};

    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
        fault_chaos(runs[i], fault_full() ? 3000 : test_scaled(200));
}

TEST(every_kind_of_a_task_was_met)
{
    MET(WF_FAULT_ALLOC, WF_FAULT_MMAP, WF_FAULT_MUNMAP, WF_FAULT_MADVISE, WF_FAULT_MPROTECT,
        WF_FAULT_TIMERFD_SET);
}

TEST_MAIN("fault.tasks", spawned_tasks_end_and_pay_what_they_owe,
          queues_that_cannot_grow_lose_no_task,
          slabs_of_stacks_that_cannot_be_mapped_fail_tasks_one_by_one,
          stacks_of_all_sizes_are_had_or_not, timers_fire_whatever_fails,
          tasks_bear_any_mixture_of_failures, every_kind_of_a_task_was_met)
