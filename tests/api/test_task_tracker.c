/* SPDX-License-Identifier: MIT */
/*
 * test_task_tracker.c - counting tasks of every kind until the last one has ended, whichever way it ends.
 */
#include "giveup.h"
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static weft_task_tracker *new_tracker(void)
{
    weft_task_tracker *tr = weft_task_tracker_new();

    CHECK(tr);
    CHECK(weft_task_tracker_is_empty(tr) && !weft_task_tracker_is_closed(tr));
    return tr;
}

/* What the tasks of a test do. */
struct work {
    weft_notify go;
    atomic_uint done;
};

static int works(void *arg)
{
    struct work *w = arg;
    int rc = weft_notify_wait(&w->go);

    atomic_fetch_add(&w->done, 1);
    return rc;
}

static int works_copy(void *arg)
{
    return works(*(struct work **)arg);
}

static int panics(void *arg)
{
    (void)works(arg);
    weft_panic("on purpose");
}

static int blocks(void *arg)
{
    struct work *w = arg;

    CHECK_EQ(0, weft_notify_wait_blocking(&w->go));
    atomic_fetch_add(&w->done, 1);
    return 7;
}

struct stackless {
    weft_async async;
    struct work *work;
    weft_future go;
};

static weft_poll stackless_poll(void *self, weft_context *cx)
{
    struct stackless *s = self;

    WEFT_ASYNC_BEGIN(s);
    s->go = weft_notify_wait_future(&s->work->go);
    WEFT_AWAIT(s, cx, &s->go);
    atomic_fetch_add(&s->work->done, 1);
    WEFT_RETURN(s, 7);
    WEFT_ASYNC_END(s);
}

static const weft_async_type stackless_type = {.poll = stackless_poll,
                                               .size = sizeof(struct stackless),
                                               .name = "counted"};

static int counts(void *arg)
{
    weft_task_tracker *tr = new_tracker(), *same = weft_task_tracker_clone(tr);
    struct work w = {.go = WEFT_NOTIFY_INIT}, *copy = &w;
    struct stackless s = {.work = &w};
    weft_task_options named = {.name = "named"};
    weft_task *t[8];

    (void)arg;
    CHECK(same == tr);
    t[0] = weft_task_tracker_spawn(tr, works, &w);
    t[1] = weft_task_tracker_spawn_copy(tr, works_copy, &copy, sizeof(copy));
    t[2] = weft_task_tracker_spawn_with(tr, &named, panics, &w);
    t[3] = weft_task_tracker_spawn_async(tr, &stackless_type, &s);
    t[4] = weft_task_tracker_spawn_blocking(tr, NULL, blocks, &w);
    CHECK_EQ(0, weft_task_tracker_spawn_on(tr, weft_runtime_current(), &t[5], NULL, works, &w));
    t[6] = weft_task_tracker_spawn_copy_with(tr, &named, works_copy, &copy, sizeof(copy));
    CHECK_EQ(0, weft_task_tracker_spawn_async_on(tr, weft_runtime_current(), &t[7], &named,
                                                 &stackless_type, &s));
    CHECK_EQ(0, weft_task_tracker_go_with(tr, &named, works, &w));
    CHECK_EQ(0, weft_task_tracker_go_async(tr, &stackless_type, &s));
    CHECK_EQ(0, weft_task_tracker_go(tr, works, &w));
    CHECK_EQ(0, weft_task_tracker_go_copy(tr, works_copy, &copy, sizeof(copy)));
    CHECK_STR("named", weft_task_name(t[2]));
    CHECK_STR("named", weft_task_name(t[6]));
    CHECK_STR("named", weft_task_name(t[7]));
    CHECK_EQ(12, weft_task_tracker_len(tr));
    CHECK(!weft_task_tracker_is_empty(tr));
    weft_cancel(t[0]);
    /* It has ended, and then the tracker is told. */
    while (weft_task_tracker_len(tr) == 12)
        CHECK_EQ(0, weft_yield());
    CHECK_EQ(11, weft_task_tracker_len(tr));
    CHECK(weft_is_finished(t[0]));
    CHECK(weft_task_tracker_close(tr));
    CHECK(!weft_task_tracker_close(tr));
    CHECK(weft_task_tracker_is_closed(tr));
    while (weft_task_tracker_len(tr) > 0) {
        weft_notify_one(&w.go);
        CHECK_EQ(0, weft_yield());
    }
    CHECK_EQ(0, weft_task_tracker_wait(tr));
    /* Each has ended, and can be joined. */
    for (int i = 0; i < 8; i++) {
        static const int results[8] = {-ECANCELED, 0, -EOWNERDEAD, 7, 7, 0, 0, 7};
        int result = 1;

        CHECK(weft_is_finished(t[i]));
        CHECK_EQ(0, weft_join(t[i], &result));
        CHECK_EQ(results[i], result);
    }
    CHECK(atomic_load(&w.done) >= 11);
    weft_task_tracker_free(tr);
    weft_task_tracker_free(same);
    weft_task_tracker_free(NULL);
    return 0;
}

TEST(tasks_of_every_kind_are_counted_until_they_have_ended)
{
    test_run(counts, NULL);
}

END_TEST

static int joins(void *arg)
{
    int result = 1;

    CHECK_EQ(0, weft_join(arg, &result));
    CHECK_EQ(0, result);
    return 0;
}

static int join_waits(void *arg)
{
    weft_task_tracker *tr = new_tracker();
    struct work w = {.go = WEFT_NOTIFY_INIT};
    weft_task *t = weft_task_tracker_spawn(tr, works, &w), *joiner = weft_spawn(joins, t);
    weft_future twice = weft_join_future(t);

    (void)arg;
    until_idle(joiner);
    CHECK_EQ(-EBUSY, weft_await(&twice));
    weft_notify_one(&w.go);
    CHECK_EQ(0, weft_join(joiner, NULL));
    CHECK(weft_task_tracker_is_empty(tr));
    weft_task_tracker_free(tr);
    return 0;
}

TEST(who_joins_a_counted_task_finds_it_counted_no_more)
{
    test_run(join_waits, NULL);
}

END_TEST

/* --- waiting ------------------------------------------------------------------------------------ */

static int waits(void *tr)
{
    return weft_task_tracker_wait(tr);
}

static weft_future waits_future(void *tr)
{
    return weft_task_tracker_wait_future(tr);
}

static void *thread_waits(void *tr)
{
    CHECK_EQ(0, weft_task_tracker_wait_blocking(tr));
    return NULL;
}

static bool ready(weft_future f)
{
    weft_context cx = weft_context_of(NULL);
    bool is = weft_future_poll(&f, &cx) == WEFT_READY;

    CHECK(!is || f.result == 0);
    weft_future_drop(&f);
    return is;
}

static int wait_for_all(void *arg)
{
    weft_task_tracker *tr = new_tracker();
    struct giveup g = {waits, waits_future, tr};
    struct work w = {.go = WEFT_NOTIFY_INIT};
    weft_task *t[50];
    pthread_t thread;
    weft_future f;
    int result = 1;

    (void)arg;
    give_up(&g); /* empty, but open */
    CHECK(weft_task_tracker_close(tr));
    CHECK_EQ(0, weft_task_tracker_wait(tr));
    CHECK_EQ(0, weft_task_tracker_go(tr, works, &w)); /* closed, but not empty */
    give_up(&g);
    CHECK_EQ(-EDEADLK, weft_task_tracker_wait_blocking(tr));
    for (int i = 0; i < 50; i++) {
        t[i] = weft_spawn(waits, tr);
        until_idle(t[i]);
    }
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_waits, tr));
    f = weft_task_tracker_wait_future(tr);
    weft_notify_one(&w.go);
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(0, weft_join(t[i], &result));
        CHECK_EQ(0, result);
    }
    CHECK_EQ(0, pthread_join(thread, NULL));
    /* What was true when it began, or since, counts, whatever it is now. */
    CHECK(weft_task_tracker_reopen(tr));
    CHECK(!weft_task_tracker_reopen(tr));
    CHECK_EQ(0, weft_task_tracker_enter(tr));
    CHECK(ready(f));
    CHECK(!ready(weft_task_tracker_wait_future(tr)));
    CHECK(weft_task_tracker_close(tr));
    CHECK(!ready(weft_task_tracker_wait_future(tr)));
    f = weft_task_tracker_wait_future(tr);
    CHECK_EQ(0, weft_task_tracker_leave(tr));
    CHECK_EQ(-EINVAL, weft_task_tracker_leave(tr));
    CHECK(ready(f));
    f = weft_task_tracker_wait_future(tr); /* it is so now */
    CHECK(weft_task_tracker_reopen(tr));
    CHECK(ready(f));
    weft_task_tracker_free(tr);
    return 0;
}

TEST(a_wait_ends_when_it_is_closed_and_empty)
{
    test_run(wait_for_all, NULL);
}

END_TEST

static int free_early(void *arg)
{
    weft_task_tracker *tr = new_tracker();
    struct work w = {.go = WEFT_NOTIFY_INIT};
    weft_task *t[40];
    int result = 1;

    (void)arg;
    CHECK_EQ(0, weft_task_tracker_go(tr, works, &w));
    for (int i = 0; i < 40; i++) {
        t[i] = weft_spawn(waits, tr);
        until_idle(t[i]);
    }
    weft_task_tracker_free(tr);
    for (int i = 0; i < 40; i++) {
        CHECK_EQ(0, weft_join(t[i], &result));
        CHECK_EQ(-ESHUTDOWN, result);
    }
    /* The task goes on, and takes the tracker along. */
    while (atomic_load(&w.done) == 0) {
        weft_notify_one(&w.go);
        CHECK_EQ(0, weft_yield());
    }
    return 0;
}

TEST(waits_for_a_tracker_that_is_freed_end_and_tasks_go_on)
{
    test_run(free_early, NULL);
}

END_TEST

static int free_after_first_poll(void *arg)
{
    weft_task_tracker *tr = new_tracker();
    weft_future f = weft_task_tracker_wait_future(tr);
    weft_context cx = weft_context_of(NULL);

    (void)arg;
    spend_the_budget();
    CHECK(weft_future_poll(&f, &cx) == WEFT_PENDING);
    weft_task_tracker_free(tr);
    CHECK_EQ(-ESHUTDOWN, weft_await(&f));
    return 0;
}

TEST(a_wait_is_known_to_the_tracker_from_its_first_poll_whatever_the_budget)
{
    test_run(free_after_first_poll, NULL);
}

END_TEST

/* --- from outside, and to the end of a runtime ------------------------------------------------------ */

TEST(a_plain_thread_counts_tasks_of_a_runtime)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_runtime *rt = test_runtime_new(&test_flavours[i]);
        weft_task_tracker *tr = new_tracker();
        struct work w = {.go = WEFT_NOTIFY_INIT};
        weft_task *t = NULL;
        int result = 1;

        CHECK(weft_task_tracker_spawn(tr, works, &w) == NULL); /* not in a task */
        CHECK_EQ(-EPERM, weft_task_tracker_go(tr, works, &w));
        CHECK(weft_task_tracker_spawn_blocking(tr, NULL, blocks, &w) == NULL);
        CHECK_EQ(0, weft_task_tracker_spawn_on(tr, rt, NULL, NULL, works, &w));
        CHECK_EQ(0, weft_task_tracker_spawn_on(tr, rt, &t, NULL, works, &w));
        CHECK_EQ(2, weft_task_tracker_len(tr));
        /* Both are cancelled by the shutdown. */
        CHECK(weft_task_tracker_close(tr));
        CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_SECS(10)));
        CHECK_EQ(0, weft_task_tracker_wait_blocking(tr));
        CHECK_EQ(0, weft_join_blocking(t, &result));
        CHECK_EQ(-ECANCELED, result);
        CHECK_EQ(-ESHUTDOWN, weft_task_tracker_spawn_on(tr, rt, &t, NULL, works, &w));
        CHECK(weft_task_tracker_is_empty(tr));
        test_runtime_free(rt);
        weft_task_tracker_free(tr);
    }
}

END_TEST

static int returns_nine(void *arg)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
    return 9;
}

TEST(a_plain_thread_counts_blocking_calls_of_a_runtime)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_runtime *rt = test_runtime_new(&test_flavours[i]);
        weft_task_options pinned = {.pinned = true};
        weft_task_tracker *tr = new_tracker();
        weft_task *t = NULL;
        atomic_uint done = 0;
        weft_metrics m;
        int result = 1;

        CHECK_EQ(-EINVAL,
                 weft_task_tracker_spawn_blocking_on(tr, rt, &t, &pinned, returns_nine, 0));
        CHECK(weft_task_tracker_is_empty(tr) && !t);
        CHECK_EQ(0, weft_task_tracker_spawn_blocking_on(tr, rt, NULL, NULL, returns_nine, &done));
        CHECK_EQ(0, weft_task_tracker_spawn_blocking_on(tr, rt, &t, NULL, returns_nine, &done));
        CHECK(weft_task_tracker_close(tr));
        CHECK_EQ(0, weft_task_tracker_wait_blocking(tr));
        CHECK_EQ(2, atomic_load(&done));
        CHECK_EQ(0, weft_join_blocking(t, &result));
        CHECK_EQ(9, result);
        CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_SECS(10)));
        CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
        CHECK(m.spawned == 2 && m.alive == 0);
        CHECK_EQ(-ESHUTDOWN,
                 weft_task_tracker_spawn_blocking_on(tr, rt, &t, NULL, returns_nine, &done));
        CHECK(weft_task_tracker_is_empty(tr));
        test_runtime_free(rt);
        weft_task_tracker_free(tr);
    }
}

END_TEST

#define MANY 5000

static int ends_at_once(void *arg)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
    return 0;
}

static int many_tasks(void *arg)
{
    weft_task_tracker *tr = new_tracker();
    unsigned n = (unsigned)test_scaled(MANY);
    atomic_uint done = 0;

    (void)arg;
    CHECK(weft_task_tracker_close(tr));
    CHECK_EQ(0, weft_task_tracker_enter(tr)); /* so that it is not empty in between */
    for (unsigned i = 0; i < n; i++)
        CHECK_EQ(0, weft_task_tracker_go(tr, ends_at_once, &done));
    CHECK_EQ(0, weft_task_tracker_leave(tr));
    CHECK_EQ(0, weft_task_tracker_wait(tr));
    CHECK_EQ(n, atomic_load(&done));
    weft_task_tracker_free(tr);
    return 0;
}

TEST(the_wait_ends_after_the_last_of_many)
{
    test_run(many_tasks, NULL);
}

END_TEST

TEST_MAIN("task_tracker", tasks_of_every_kind_are_counted_until_they_have_ended,
          who_joins_a_counted_task_finds_it_counted_no_more,
          a_wait_ends_when_it_is_closed_and_empty,
          waits_for_a_tracker_that_is_freed_end_and_tasks_go_on,
          a_wait_is_known_to_the_tracker_from_its_first_poll_whatever_the_budget,
          a_plain_thread_counts_tasks_of_a_runtime,
          a_plain_thread_counts_blocking_calls_of_a_runtime, the_wait_ends_after_the_last_of_many)
