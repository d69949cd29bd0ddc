/* SPDX-License-Identifier: MIT */
/*
 * test_in_place.c - calls that block the task that makes them, and nobody else: weft_blocking and weft_block_in_place.
 */
#include "gate.h"

#include <errno.h>

/* --- weft_blocking ------------------------------------------------------------------- */

static int no_task(void *arg)
{
    weft_runtime *rt = arg;
    weft_task *t;

    CHECK(!weft_task_self());
    CHECK(!weft_runtime_current());
    CHECK_EQ(-EPERM, weft_sleep(1));
    CHECK_EQ(-EPERM, weft_yield());
    CHECK_EQ(-EPERM, weft_go(count_up, NULL));
    CHECK(!weft_spawn_blocking(count_up, NULL));
    if (rt) {
        atomic_uint n = 0;

        CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, count_up, &n));
        if (weft_runtime_flavor(rt) == WEFT_MULTI_THREAD)
            CHECK_EQ(0, joined(t));
        else
            weft_detach(t);
        while (weft_runtime_flavor(rt) == WEFT_MULTI_THREAD && atomic_load(&n) == 0)
            continue;
    }
    return -ECANCELED; /* its own, and no verdict */
}

static int calls_again(void *arg)
{
    CHECK_EQ(-ECANCELED, weft_blocking(no_task, NULL));
    CHECK_EQ(-ECANCELED, weft_block_in_place(no_task, NULL));
    *(pid_t *)arg = gettid();
    return 5;
}

static int is_not_there(void *arg)
{
    (void)arg;
    return 0;
}

static int calls(void *arg)
{
    bool in_place = *(bool *)arg;
    pid_t before = gettid(), there;

    errno = E2BIG;
    CHECK_EQ(5, weft_blocking(calls_again, &there));
    if (in_place) {
        CHECK_EQ(before, there);
        CHECK_EQ(E2BIG, errno);
    } else {
        CHECK(before != there);
    }
    CHECK_EQ(0, weft_blocking(is_not_there, NULL));
    CHECK_EQ(-EINVAL, weft_blocking(NULL, NULL));
    CHECK(weft_task_self());
    CHECK_EQ(0, weft_yield());
    return 0;
}

static int calls_with_runtime(void *arg)
{
    (void)arg;
    /* What it spawns there runs while it waits for it, in place or not. */
    if (weft_runtime_flavor(weft_runtime_current()) == WEFT_MULTI_THREAD)
        CHECK_EQ(-ECANCELED, weft_blocking(no_task, weft_runtime_current()));
    return 0;
}

TEST(a_call_is_made_in_place_or_on_the_pool_and_never_in_a_task)
{
    weft_runtime *rt;
    bool in_place;

    for (size_t i = 0; i < test_flavour_count; i++) {
        in_place = test_flavours[i].flavor == WEFT_MULTI_THREAD;
        test_run_on(&test_flavours[i], calls, &in_place);
        test_run_on(&test_flavours[i], calls_with_runtime, NULL);
    }
    in_place = false;
    for (unsigned workers = 1; workers <= 2; workers++) {
        rt = runtime_of((weft_config){.worker_threads = workers, .monitor = WEFT_OFF});
        CHECK_EQ(0, run(rt, calls, &in_place));
        end(rt);
    }
}

TEST(on_a_plain_thread_it_is_a_call)
{
    pid_t there;

    CHECK_EQ(5, weft_blocking(calls_again, &there));
    CHECK_EQ(gettid(), there);
    CHECK_EQ(5, weft_block_in_place(calls_again, &there));
}

struct stackless {
    weft_async async;
    atomic_uint *done;
};

static weft_poll stackless_poll(void *self, weft_context *cx)
{
    struct stackless *s = self;
    pid_t there;

    (void)cx;
    CHECK_EQ(5, weft_blocking(calls_again, &there));
    CHECK_EQ(gettid(), there);
    CHECK(weft_task_self());
    atomic_fetch_add(s->done, 1);
    return WEFT_READY;
}

static const weft_async_type stackless_type = {stackless_poll, NULL, sizeof(struct stackless), "s"};

static int stackless_root(void *arg)
{
    atomic_uint done = 0;
    weft_task *t = weft_spawn_async(&stackless_type, &(struct stackless){.done = &done});

    (void)arg;
    CHECK_EQ(0, weft_join(t, NULL));
    CHECK_EQ(1, atomic_load(&done));
    return 0;
}

TEST(a_stackless_task_calls_in_place)
{
    test_run(stackless_root, NULL);
}

#define DEEP ((size_t)1 << 20)

static int deep(void *arg)
{
    volatile char room[DEEP];

    (void)arg;
    for (size_t i = 0; i < DEEP; i += 1024)
        room[i] = 1;
    return room[0];
}

static int calls_deep(void *arg)
{
    (void)arg;
    return weft_blocking(deep, NULL) == 1 ? 0 : -EIO;
}

static int deep_root(void *arg)
{
    weft_task_options o = {.stack_size = 16384};
    weft_task *t = weft_spawn_with(&o, calls_deep, NULL);
    int result;

    (void)arg;
    CHECK_EQ(0, weft_join(t, &result));
    return result;
}

TEST(a_fiber_with_a_small_stack_calls_what_needs_much)
{
    test_run(deep_root, NULL);
}

static int blocks_at(void *arg)
{
    return weft_blocking(wait_at, arg);
}

TEST(calls_that_last_hold_up_nobody)
{
    struct gate g = {0};
    weft_runtime *rt = runtime_of((weft_config){.worker_threads = 1});
    weft_task *t[5];
    atomic_uint n = 0;

    for (int i = 0; i < 5; i++)
        CHECK_EQ(0, weft_spawn_on(rt, &t[i], NULL, blocks_at, &g));
    wait_for(&g.inside, 5);
    CHECK_EQ(0, run(rt, count_up, &n));
    atomic_store(&g.open, true);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(7, joined(t[i]));
    end(rt);
}

static int calls_late(void *arg)
{
    atomic_uint *n = arg;

    WEFT_DEADLINE(WEFT_US(100))
    CHECK_EQ(-ETIMEDOUT, weft_blocking(count_up, n));
    return 0;
}

/* The reason is told, and what did not begin never does. */
TEST(a_call_that_could_not_begin_says_why)
{
    weft_runtime *rt = runtime_of(
        (weft_config){.flavor = WEFT_CURRENT_THREAD, .max_blocking_threads = 1});
    struct gate g = {0};
    weft_task *busy = job(rt, wait_at, &g);
    atomic_uint n = 0;

    wait_for(&g.inside, 1);
    CHECK_EQ(0, run(rt, calls_late, &n));
    atomic_store(&g.open, true);
    CHECK_EQ(7, joined(busy));
    end(rt);
    CHECK_EQ(0, atomic_load(&n));
}

static int cancelled_in_it(void *arg)
{
    CHECK_EQ(7, weft_blocking(wait_at, arg));
    CHECK(weft_is_cancelled());
    return weft_yield();
}

static int cancels_it(void *arg)
{
    struct gate *g = arg;
    weft_task *t = weft_spawn(cancelled_in_it, g);
    int result;

    while (atomic_load(&g->inside) == 0)
        CHECK_EQ(0, weft_yield());
    weft_cancel(t);
    CHECK_EQ(0, weft_yield());
    atomic_store(&g->open, true);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
    return 0;
}

TEST(a_cancel_does_not_interrupt_a_call)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct gate g = {0};

        test_run_on(&test_flavours[i], cancels_it, &g);
    }
}

/* --- weft_block_in_place ------------------------------------------------------------- */

static int sleeps_in_place(void *arg)
{
    CHECK_EQ(0, weft_sleep(WEFT_US(200)));
    CHECK(weft_task_self());
    return *(int *)arg;
}

static int blocks_in_place(void *arg)
{
    return weft_block_in_place(wait_at, arg);
}

static int in_place_root(void *arg)
{
    struct gate g = {0};
    weft_task *t[3];
    int answer = 9, result;

    (void)arg;
    if (weft_runtime_flavor(weft_runtime_current()) == WEFT_CURRENT_THREAD) {
        CHECK_EQ(-EINVAL, weft_block_in_place(sleeps_in_place, &answer));
        return 0;
    }
    CHECK_EQ(9, weft_block_in_place(sleeps_in_place, &answer));
    CHECK_EQ(-EINVAL, weft_block_in_place(NULL, NULL));
    for (int i = 0; i < 3; i++)
        t[i] = weft_spawn(blocks_in_place, &g);
    while (atomic_load(&g.inside) < 3)
        CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    atomic_store(&g.open, true);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(0, weft_join(t[i], &result));
        CHECK_EQ(7, result);
    }
    return 0;
}

TEST(others_take_over_what_a_worker_has_that_blocks_in_place)
{
    weft_runtime *rt;

    test_run(in_place_root, NULL);
    rt = runtime_of((weft_config){.worker_threads = 2, .monitor = WEFT_OFF});
    CHECK_EQ(0, run(rt, in_place_root, NULL));
    end(rt);
    rt = runtime_of((weft_config){.worker_threads = 1, .monitor = WEFT_OFF});
    CHECK_EQ(-EINVAL, run(rt, blocks_in_place, NULL));
    end(rt);
}

struct woken {
    weft_async async;
    weft_waker *waker;
    atomic_uint *registered, *ran;
};

static weft_poll woken_poll(void *self, weft_context *cx)
{
    struct woken *w = self;

    if (atomic_load(w->registered)) {
        atomic_fetch_add(w->ran, 1);
        return WEFT_READY;
    }
    *w->waker = weft_context_waker(cx);
    atomic_fetch_add(w->registered, 1);
    return WEFT_PENDING;
}

static const weft_async_type woken_type = {woken_poll, NULL, sizeof(struct woken), "woken"};

struct nest {
    weft_waker waker;
    atomic_uint registered, ran;
};

static int outer(void *arg)
{
    struct nest *n = arg;

    CHECK_EQ(0, weft_block_in_place(is_not_there, NULL));
    /* The slot of this worker is not to be used: nobody else reaches it. */
    weft_waker_wake(&n->waker);
    while (atomic_load(&n->ran) == 0)
        usleep(100);
    return 0;
}

static int nested_root(void *arg)
{
    return weft_block_in_place(outer, arg);
}

TEST(the_end_of_an_inner_block_is_not_that_of_the_outer_one)
{
    weft_runtime *rt;
    struct nest n = {0};
    struct woken w = {.waker = &n.waker, .registered = &n.registered, .ran = &n.ran};
    weft_task *t;

    if (MIGRATING)
        TEST_SKIP("the other worker may be the one that must not poll it");
    /* Without a monitor, which would mend it. */
    rt = runtime_of((weft_config){.worker_threads = 2, .monitor = WEFT_OFF});
    CHECK_EQ(0, weft_spawn_async_on(rt, &t, NULL, &woken_type, &w));
    wait_for(&n.registered, 1);
    CHECK_EQ(0, run(rt, nested_root, &n));
    CHECK_EQ(0, joined(t));
    end(rt);
}

TEST_MAIN("in_place", a_call_is_made_in_place_or_on_the_pool_and_never_in_a_task,
          on_a_plain_thread_it_is_a_call, a_stackless_task_calls_in_place,
          a_fiber_with_a_small_stack_calls_what_needs_much, calls_that_last_hold_up_nobody,
          a_call_that_could_not_begin_says_why, a_cancel_does_not_interrupt_a_call,
          others_take_over_what_a_worker_has_that_blocks_in_place,
          the_end_of_an_inner_block_is_not_that_of_the_outer_one)
