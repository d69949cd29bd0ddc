/* SPDX-License-Identifier: MIT */
/*
 * test_task_future.c - tasks as futures that own their handle: results, and that who drops one cancels the task.
 */
#include "bell.h"

#include <errno.h>

static atomic_int ended;

static void count_end(void *arg)
{
    (void)arg;
    atomic_fetch_add(&ended, 1);
}

static int returns_its_argument(void *arg)
{
    return *(int *)arg;
}

static int sleeps_for_ever(void *arg)
{
    (void)arg;
    CHECK_EQ(0, weft_defer(count_end, NULL));
    return weft_sleep(WEFT_SECS(1000));
}

static int panics(void *arg)
{
    weft_panic("as it should: %p", arg);
}

/* A task that has begun, and waits. */
static weft_task *sleeper(void)
{
    weft_task *t = weft_spawn(sleeps_for_ever, NULL);

    until_waiting(t);
    return t;
}

static void until_ended(int n)
{
    while (atomic_load(&ended) != n)
        CHECK_EQ(0, weft_yield());
}

/* --- a task as a future ------------------------------------------------------------------------ */

static int results(void *arg)
{
    int seven = 7, bad = -EIO;
    weft_future a = weft_task_future(weft_spawn(returns_its_argument, &seven));
    weft_future b = weft_task_future(weft_spawn(returns_its_argument, &bad));
    weft_future c = weft_task_future(weft_spawn(panics, NULL)), d, e;
    weft_task *t = sleeper();

    (void)arg;
    CHECK_EQ(7, weft_await(&a));
    CHECK_EQ(7, weft_await(&a)); /* finished: the same again */
    CHECK_EQ(0, weft_join_all(&b, &c));
    CHECK_EQ(-EIO, b.result);
    CHECK_EQ(-EOWNERDEAD, c.result);
    weft_cancel(t);
    d = weft_task_future(t);
    CHECK_EQ(-ECANCELED, weft_await(&d));
    e = weft_task_future(NULL);
    CHECK_EQ(-ENOMEM, weft_await(&e));
    weft_future_drop(&a);
    return 0;
}

TEST(a_task_as_a_future_has_the_result_of_a_join)
{
    test_run(results, NULL);
}

static int awaits_a_task(void *arg)
{
    weft_future f = weft_task_future(arg);

    return (int)weft_await(&f);
}

static int awaits_when_cancelled(void *arg)
{
    weft_future f = weft_task_future(arg), *list[] = {&f};

    weft_cancel(weft_task_self());
    return weft_join_all_n(list, 1); /* refused at the door: dropped without a poll */
}

static int drops(void *arg)
{
    weft_future never = weft_task_future(sleeper()), tick = weft_ready_future(0);
    weft_future late = weft_task_future(sleeper()), loser = weft_task_future(sleeper());
    weft_future *list[] = {&loser, &tick};
    weft_task *outer;
    int result = 0;

    (void)arg;
    atomic_store(&ended, 0);
    weft_future_drop(&never); /* was never polled */
    until_ended(1);
    weft_future_drop(&never);
    CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_US(200), &late));
    until_ended(2);
    CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_BIASED));
    until_ended(3);

    outer = weft_spawn(awaits_a_task, sleeper());
    until_waiting(outer);
    weft_cancel(outer); /* and what it waits for with it */
    CHECK_EQ(0, weft_join(outer, &result));
    CHECK_EQ(-ECANCELED, result);
    until_ended(4);

    outer = weft_spawn(awaits_when_cancelled, sleeper());
    CHECK_EQ(0, weft_join(outer, &result));
    CHECK_EQ(-ECANCELED, result);
    until_ended(5);
    return 0;
}

TEST(dropping_a_task_as_a_future_cancels_the_task)
{
    test_run(drops, NULL);
}

static int is_busy(void *arg)
{
    weft_task *t = sleeper(), *again = weft_task_ref(t);
    weft_future mine = weft_task_future(t), other = weft_task_future(again);
    weft_future tick = weft_ready_future(0), *list[] = {&mine, &tick};

    (void)arg;
    atomic_store(&ended, 0);
    CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP));
    CHECK_EQ(-EBUSY, weft_await(&other)); /* gives up its own handle, and does not cancel */
    CHECK(!weft_future_is_ready(&mine));
    CHECK_EQ(0, atomic_load(&ended));
    weft_future_drop(&mine);
    until_ended(1);
    return 0;
}

TEST(two_cannot_wait_for_one_task)
{
    test_run(is_busy, NULL);
}

static int waits_for_itself(void *arg)
{
    weft_future f = weft_task_future(weft_task_ref(weft_task_self()));

    (void)arg;
    return (int)weft_await(&f) == -EDEADLK ? 0 : 1;
}

TEST(a_task_does_not_wait_for_itself)
{
    test_run(waits_for_itself, NULL);
}

struct awaiter {
    weft_async async;
    weft_future task;
};

static weft_poll awaiter_poll(void *self, weft_context *cx)
{
    struct awaiter *a = self;

    WEFT_ASYNC_BEGIN(a);
    WEFT_AWAIT(a, cx, &a->task);
    WEFT_RETURN(a, (int)a->task.result);
    WEFT_ASYNC_END(a);
}

static const weft_async_type awaiter_type = {.poll = awaiter_poll,
                                             .size = sizeof(struct awaiter),
                                             .name = "awaiter"};

static int stackless(void *arg)
{
    int nine = 9, result = 0;
    struct awaiter a = {.task = weft_task_future(weft_spawn(returns_its_argument, &nine))};
    weft_task *t = weft_spawn_async(&awaiter_type, &a);

    (void)arg;
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(9, result);
    a.task = weft_task_future(sleeper());
    atomic_store(&ended, 0);
    t = weft_spawn_async(&awaiter_type, &a);
    until_waiting(t);
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
    until_ended(1);
    return 0;
}

TEST(a_stackless_task_awaits_another_task)
{
    test_run(stackless, NULL);
}

static void *drops_elsewhere(void *arg)
{
    weft_future_drop(arg);
    return NULL;
}

static int dropped_elsewhere(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        weft_future f = weft_task_future(sleeper()), tick = weft_ready_future(0);
        weft_future *list[] = {&f, &tick};
        pthread_t thread;

        atomic_store(&ended, 0);
        if (i % 2) /* registered, or new */
            CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP));
        CHECK_EQ(0, pthread_create(&thread, NULL, drops_elsewhere, &f));
        CHECK_EQ(0, pthread_join(thread, NULL));
        until_ended(1);
    }
    return 0;
}

TEST(a_task_as_a_future_is_dropped_from_any_thread)
{
    test_run(dropped_elsewhere, NULL);
}

TEST_MAIN("task_future", a_task_as_a_future_has_the_result_of_a_join,
          dropping_a_task_as_a_future_cancels_the_task, two_cannot_wait_for_one_task,
          a_task_does_not_wait_for_itself, a_stackless_task_awaits_another_task,
          a_task_as_a_future_is_dropped_from_any_thread)
