/* SPDX-License-Identifier: MIT */
/*
 * test_join_set_end.c - cancelling, giving up and freeing sets, their deadlines, and what they say of themselves.
 */
#include "children.h"

static int waits_for_next(void *arg)
{
    weft_join_done done;
    int rc = weft_join_set_next(arg, &done);

    return rc == 1 ? done.result : rc;
}

/* --- cancelling, giving up ------------------------------------------------------- */

static int cancels(void *arg)
{
    weft_join_set *set = weft_join_set_new();
    atomic_int began = 0;
    weft_join_done done;
    ssize_t id;

    (void)arg;
    for (int i = 0; i < 300; i++)
        CHECK(weft_join_set_spawn(set, waits, &began) > 0);
    id = weft_join_set_spawn(set, waits, &began);
    CHECK_EQ(-ENOENT, weft_join_set_cancel_one(set, UINT64_MAX));
    CHECK_EQ(0, weft_join_set_cancel_one(set, (uint64_t)id));
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK(done.id == (uint64_t)id && done.result == -ECANCELED);
    CHECK_EQ(-ENOENT, weft_join_set_cancel_one(set, (uint64_t)id));
    weft_join_set_cancel(set);
    /* Not those that come later. */
    CHECK(weft_join_set_spawn(set, returns_it, as_arg(3)) > 0);
    for (int i = 0; i < 301; i++) {
        CHECK_EQ(1, weft_join_set_next(set, &done));
        CHECK_EQ(done.tag == 3 ? 3 : -ECANCELED, done.result);
    }
    CHECK_EQ(0, weft_join_set_next(set, &done));
    for (int i = 0; i < 10; i++)
        CHECK(weft_join_set_spawn(set, waits, &began) > 0);
    CHECK_EQ(0, weft_join_set_shutdown(set));
    CHECK(weft_join_set_is_empty(set));
    CHECK(weft_join_set_spawn(set, returns_it, NULL) > 0);
    weft_join_set_free(set);
    return 0;
}

TEST(cancelling_reaches_those_that_are_there)
{
    test_run(cancels, NULL);
}

END_TEST

static int frees(void *arg)
{
    const weft_join_set_options options = {.ordered = arg != NULL};
    atomic_int alive = 0;
    weft_join_set *set;

    for (int i = 0; i < 50; i++) {
        CHECK_EQ(0, weft_join_set_new_with(&set, &options));
        for (int k = 0; k < i; k++)
            CHECK(weft_join_set_spawn(set, counted, &alive) > 0);
        if (i % 3 == 0)
            CHECK_EQ(0, weft_yield());
        weft_join_set_free(set);
        CHECK_EQ(0, atomic_load(&alive));
    }
    return 0;
}

TEST(no_task_outlives_its_set)
{
    test_run(frees, NULL);
    test_run(frees, as_arg(1));
}

END_TEST

static int frees_cancelled(void *arg)
{
    atomic_int *alive = arg;
    weft_join_set *set = weft_join_set_new();

    for (int k = 0; k < 10; k++)
        CHECK(weft_join_set_spawn(set, counted, alive) > 0);
    YIELD_UNTIL(atomic_load(alive) == 10);
    weft_cancel(weft_task_self());
    CHECK_EQ(-ECANCELED, weft_yield());
    WEFT_DEADLINE(0)
    weft_join_set_free(set);
    CHECK_EQ(0, atomic_load(alive));
    return 5;
}

static int free_is_shielded(void *arg)
{
    atomic_int alive = 0;
    int result;

    (void)arg;
    CHECK_EQ(0, weft_join(weft_spawn(frees_cancelled, &alive), &result));
    CHECK_EQ(5, result);
    return 0;
}

TEST(freeing_waits_even_in_a_task_that_was_cancelled)
{
    test_run(free_is_shielded, NULL);
}

END_TEST

static int with_grace(void *arg)
{
    weft_join_set *set = weft_join_set_new();
    atomic_int alive = 0, flag = 1;

    (void)arg;
    CHECK(weft_join_set_spawn(set, until_set, &flag) > 0);
    CHECK(weft_join_set_spawn(set, returns_it, NULL) > 0);
    CHECK_EQ(0, weft_join_set_free_after(set, WEFT_SECS(100)));
    set = weft_join_set_new();
    CHECK_EQ(0, weft_join_set_free_after(set, 0));
    set = weft_join_set_new();
    CHECK(weft_join_set_spawn(set, counted, &alive) > 0);
    CHECK(weft_join_set_spawn(set, returns_it, NULL) > 0);
    YIELD_UNTIL(atomic_load(&alive) == 1);
    CHECK_EQ(-ETIMEDOUT, weft_join_set_free_after(set, WEFT_MS(2)));
    CHECK_EQ(0, atomic_load(&alive));
    return 0;
}

TEST(grace_lets_tasks_end_by_themselves)
{
    test_run(with_grace, NULL);
}

END_TEST

static int freed_while_waiting(void *arg)
{
    weft_join_set *set = weft_join_set_new();
    weft_task *t;
    int result;

    (void)arg;
    CHECK(weft_join_set_spawn(set, waits, NULL) > 0);
    t = weft_spawn(waits_for_next, set);
    YIELD_UNTIL(is_waiting(t));
    weft_join_set_free(set);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ESHUTDOWN, result);
    return 0;
}

TEST(who_waits_for_a_set_that_is_freed_is_told)
{
    test_run(freed_while_waiting, NULL);
}

END_TEST

/* A stackless task cannot wait. */
struct freer {
    weft_async async;
    weft_join_set *set;
};

static weft_poll freer_poll(void *self, weft_context *cx)
{
    struct freer *f = self;

    (void)cx;
    weft_join_set_free(f->set);
    return weft_async_return(&f->async, 0);
}

static const weft_async_type freer_type = {.poll = freer_poll,
                                           .size = sizeof(struct freer),
                                           .name = "freer"};

static int frees_own_set(void *arg)
{
    weft_join_set_free(arg);
    CHECK_EQ(-ECANCELED, weft_yield());
    return 0;
}

static int cannot_wait(void *arg)
{
    atomic_int alive = 0;
    weft_join_set *set;

    (void)arg;
    for (int ordered = 0; ordered < 2; ordered++) {
        for (int with_deadline = 0; with_deadline < 2; with_deadline++) {
            const weft_join_set_options options = {
                .ordered = ordered, .deadline = with_deadline ? weft_now() + WEFT_SECS(100) : 0};

            CHECK_EQ(0, weft_join_set_new_with(&set, &options));
            for (int i = 0; i < 20; i++)
                CHECK(weft_join_set_spawn(set, counted, &alive) > 0);
            CHECK(weft_join_set_spawn(set, returns_it, NULL) > 0);
            YIELD_UNTIL(atomic_load(&alive) == 20);
            CHECK_EQ(0,
                     weft_join(weft_spawn_async(&freer_type, &(struct freer){.set = set}), NULL));
            YIELD_UNTIL(atomic_load(&alive) == 0);

            CHECK_EQ(0, weft_join_set_new_with(&set, &options));
            for (int i = 0; i < 20; i++)
                CHECK(weft_join_set_spawn(set, counted, &alive) > 0);
            YIELD_UNTIL(atomic_load(&alive) == 20);
            CHECK(weft_join_set_spawn(set, frees_own_set, set) > 0);
            YIELD_UNTIL(atomic_load(&alive) == 0);
        }
    }
    return 0;
}

TEST(who_cannot_wait_leaves_tasks_that_end_soon)
{
    test_run(cannot_wait, NULL);
}

END_TEST

static int detaches(void *arg)
{
    const weft_join_set_options options = {.ordered = arg != NULL};
    static atomic_int flag; /* they look at it when this has returned */
    weft_join_set *set;
    weft_join_done done;

    atomic_store(&flag, 0);
    CHECK_EQ(0, weft_join_set_new_with(&set, &options));
    for (int i = 0; i < 200; i++)
        CHECK(weft_join_set_spawn(set, i % 2 ? returns_it : until_set, i % 2 ? NULL : &flag) > 0);
    weft_join_set_detach_all(set);
    CHECK(weft_join_set_is_empty(set));
    CHECK_EQ(0, weft_join_set_next(set, &done));
    /* The set goes on. */
    CHECK(weft_join_set_spawn(set, returns_it, as_arg(4)) > 0);
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK_EQ(4, done.result);
    weft_join_set_detach_all(set);
    weft_join_set_free(set);
    atomic_store(&flag, 1);
    return 0;
}

TEST(detached_tasks_go_on_without_the_set)
{
    test_run(detaches, NULL);
    test_run(detaches, as_arg(1));
}

END_TEST

/* --- the rest --------------------------------------------------------------------- */

static int deadline(void *arg)
{
    const weft_join_set_options options = {.deadline = weft_now() + WEFT_MS(5)};
    weft_instant at = options.deadline;
    weft_join_set_info info;
    weft_join_set *set;
    weft_join_done done;

    (void)arg;
    CHECK_EQ(0, weft_join_set_new_with(&set, &options));
    for (int i = 0; i < 10; i++)
        CHECK(weft_join_set_spawn(set, waits, NULL) > 0);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(1, weft_join_set_next(set, &done));
        CHECK_EQ(-ECANCELED, done.result);
        CHECK(weft_now() >= at);
    }
    CHECK(weft_join_set_spawn(set, returns_it, NULL) > 0);
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK_EQ(-ECANCELED, done.result);
    CHECK_EQ(0, weft_join_set_get_info(set, &info));
    CHECK(info.expired && info.len == 0 && info.spawned == 11 && info.taken == 11);
    weft_join_set_free(set);

    /* Moved forward, taken back, and set again. */
    set = weft_join_set_new();
    CHECK_EQ(0, weft_join_set_set_deadline(set, WEFT_FOREVER));
    CHECK_EQ(0, weft_join_set_set_deadline(set, weft_now() + WEFT_SECS(1000)));
    CHECK(weft_join_set_spawn(set, waits, NULL) > 0);
    CHECK_EQ(0, weft_join_set_set_deadline(set, WEFT_FOREVER));
    CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
    CHECK_EQ(-EAGAIN, weft_join_set_try_next(set, &done));
    CHECK_EQ(0, weft_join_set_set_deadline(set, 1));
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK_EQ(-ECANCELED, done.result);
    weft_join_set_free(set);
    return 0;
}

TEST(a_deadline_cancels_all)
{
    test_run(deadline, NULL);
}

END_TEST

struct sum {
    weft_join_set *set;
    int total, until, more;
};

static int adds(void *arg, const weft_join_done *done)
{
    struct sum *s = arg;

    s->total += done->result;
    if (s->more-- > 0)
        CHECK(weft_join_set_spawn(s->set, returns_it, as_arg(1)) > 0);
    return s->total >= s->until ? -ENOSPC : 0;
}

static int join_all(void *arg)
{
    struct sum s = {.set = weft_join_set_new(), .until = 1000, .more = 50};

    (void)arg;
    CHECK_EQ(0, weft_join_set_join_all(s.set, adds, &s));
    for (int i = 0; i < 100; i++)
        CHECK(weft_join_set_spawn(s.set, returns_it, as_arg(1)) > 0);
    CHECK_EQ(0, weft_join_set_join_all(s.set, adds, &s));
    CHECK_EQ(150, s.total);
    s.until = 160;
    for (int i = 0; i < 100; i++)
        CHECK(weft_join_set_spawn(s.set, returns_it, as_arg(1)) > 0);
    CHECK_EQ(-ENOSPC, weft_join_set_join_all(s.set, adds, &s));
    CHECK_EQ(160, s.total);
    CHECK_EQ(90, weft_join_set_len(s.set));
    CHECK_EQ(0, weft_join_set_join_all(s.set, NULL, NULL));
    weft_join_set_free(s.set);
    return 0;
}

TEST(join_all_takes_all_unless_it_is_stopped)
{
    test_run(join_all, NULL);
}

END_TEST

/* Three more tasks, and a failure of fn at the second. */
static int join_all_as_a_future(void *arg)
{
    struct sum s = {.set = weft_join_set_new(), .until = 1000, .more = 50};
    atomic_int flag = 0;
    weft_future all, tick;

    (void)arg;
    all = weft_join_set_join_all_future(s.set, adds, &s);
    CHECK_EQ(0, weft_await(&all)); /* empty */
    for (int i = 0; i < 100; i++)
        CHECK(weft_join_set_spawn(s.set, returns_it, as_arg(1)) > 0);
    CHECK(weft_join_set_spawn(s.set, until_set, &flag) > 0);
    all = weft_join_set_join_all_future(s.set, adds, &s);
    do
        tick = weft_yield_future();
    while (s.total < 150 && weft_select_keep(&all, &tick) == 1);
    CHECK_EQ(150, s.total);
    CHECK_EQ(1, weft_join_set_len(s.set));
    /* What it has given to fn is not lost with it. */
    weft_future_drop(&all);
    atomic_store(&flag, 11);
    s.until = 160;
    all = weft_join_set_join_all_future(s.set, adds, &s);
    CHECK_EQ(-ENOSPC, weft_await(&all));
    CHECK_EQ(160, s.total);
    CHECK(weft_join_set_is_empty(s.set));
    weft_join_set_free(s.set);
    return 0;
}

TEST(join_all_is_a_future_too)
{
    test_run(join_all_as_a_future, NULL);
}

END_TEST

/* A set of one task, which is freed while it is told of that one. */
struct freed {
    weft_join_set *set;
    atomic_int flag; /* the task ends */
    atomic_bool told, gone;
    bool panics;
};

static int lets_it_be_freed(void *arg, const weft_join_done *done)
{
    struct freed *s = arg;

    CHECK_EQ(10, done->result);
    atomic_store(&s->told, true);
    YIELD_UNTIL(atomic_load(&s->gone));
    if (s->panics)
        weft_panic("as it was told to");
    return 0;
}

static int awaits_all(void *arg)
{
    struct freed *s = arg;
    weft_future all = weft_join_set_join_all_future(s->set, lets_it_be_freed, s);

    return (int)weft_await(&all);
}

static int frees_while_it_tells(void *arg)
{
    (void)arg;
    for (int panics = 0; panics < 2; panics++) {
        struct freed s = {.set = weft_join_set_new(), .panics = panics};
        weft_task_info info = {.polls = 0};
        int result = 0;
        weft_task *t;

        CHECK(weft_join_set_spawn(s.set, until_set, &s.flag) > 0);
        t = weft_spawn(awaits_all, &s);
        YIELD_UNTIL(weft_task_get_info(t, &info) == 0 && info.polls &&
                    info.state == WEFT_TASK_IDLE);
        atomic_store(&s.flag, 11);
        YIELD_UNTIL(atomic_load(&s.told));
        weft_join_set_free(s.set);
        atomic_store(&s.gone, true);
        CHECK_EQ(0, weft_join(t, &result));
        CHECK_EQ(panics ? -EOWNERDEAD : -ESHUTDOWN, result);
    }
    return 0;
}

TEST(a_join_all_that_was_pending_outlasts_a_set_that_is_freed_while_it_tells)
{
    test_run(frees_while_it_tells, NULL);
}

END_TEST

static int shutdown_as_a_future(void *arg)
{
    weft_join_set *set = weft_join_set_new();
    atomic_int alive = 0;
    weft_future down = weft_join_set_shutdown_future(set), tick;

    (void)arg;
    for (int i = 0; i < 200; i++)
        CHECK(weft_join_set_spawn(set, counted, &alive) > 0);
    YIELD_UNTIL(atomic_load(&alive) == 200);
    weft_future_drop(&down); /* never polled: nothing has happened */
    CHECK_EQ(0, weft_yield());
    CHECK_EQ(200, atomic_load(&alive));
    down = weft_join_set_shutdown_future(set);
    tick = weft_ready_future(0);
    CHECK_EQ(1,
             weft_select_biased(&down, &tick)); /* given up: they are cancelled, and still there */
    YIELD_UNTIL(atomic_load(&alive) == 0);
    CHECK(weft_join_set_spawn(set, counted, &alive) > 0);
    down = weft_join_set_shutdown_future(set);
    CHECK_EQ(0, weft_await(&down));
    CHECK(weft_join_set_is_empty(set) && atomic_load(&alive) == 0);
    weft_join_set_free(set);
    return 0;
}

TEST(a_shutdown_is_a_future_too)
{
    test_run(shutdown_as_a_future, NULL);
}

END_TEST

static int leaves_tasks_in(void *arg)
{
    for (int i = 0; i < 10; i++)
        CHECK(weft_join_set_spawn(arg, i % 2 ? waits : returns_it, NULL) > 0);
    CHECK_EQ(0, weft_yield());
    return 0;
}

TEST(a_set_outlives_its_runtime)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_join_set *set = weft_join_set_new();
        weft_join_done done;

        CHECK_EQ(0, weft_join_set_set_deadline(set, WEFT_FOREVER));
        test_run_on(&test_flavours[i], leaves_tasks_in, set);
        for (int k = 0; k < 10; k++) {
            CHECK_EQ(1, weft_join_set_next_blocking(set, &done));
            CHECK(done.result == 0 || done.result == -ECANCELED);
        }
        CHECK_EQ(0, weft_join_set_next_blocking(set, &done));
        weft_join_set_free(set);
    }
}

END_TEST

static int within_a_task(void *arg)
{
    CHECK_EQ(-EDEADLK, weft_join_set_next_blocking(arg, NULL));
    return 0;
}

TEST(bad_use_gets_an_answer)
{
    const weft_join_set_options timed = {.deadline = 1};
    weft_join_set_info info;
    weft_join_set *set = weft_join_set_new();
    weft_future f = weft_join_set_next_future(NULL, NULL);

    CHECK_EQ(-EINVAL, weft_await_blocking(&f));
    CHECK_EQ(-EINVAL, weft_join_set_new_with(NULL, NULL));
    CHECK_EQ(-EPERM, weft_join_set_new_with(&set, &timed));
    CHECK_EQ(-EPERM, weft_join_set_spawn(set, returns_it, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_spawn(NULL, returns_it, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_spawn(set, NULL, NULL));
    CHECK_EQ(-EPERM, weft_join_set_spawn_blocking(set, NULL, returns_it, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_spawn_async(set, NULL, NULL));
    CHECK_EQ(-EPERM, weft_join_set_set_deadline(set, 1));
    CHECK_EQ(-EINVAL, weft_join_set_set_deadline(NULL, 1));
    CHECK_EQ(-EPERM, weft_join_set_next(set, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_next(NULL, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_try_next(NULL, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_next_blocking(NULL, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_join_all(NULL, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_shutdown(NULL));
    CHECK_EQ(-EINVAL, weft_join_set_cancel_one(NULL, 1));
    CHECK_EQ(-EINVAL, weft_join_set_get_info(NULL, &info));
    CHECK_EQ(-EINVAL, weft_join_set_get_info(set, NULL));
    CHECK_EQ(0, weft_join_set_len(NULL));
    weft_join_set_cancel(NULL);
    weft_join_set_detach_all(NULL);
    CHECK_EQ(0, weft_join_set_free_after(NULL, 1));
    test_run(within_a_task, set);
    weft_join_set_free(set);
}

END_TEST

TEST_MAIN("join_set_end", cancelling_reaches_those_that_are_there, no_task_outlives_its_set,
          freeing_waits_even_in_a_task_that_was_cancelled, grace_lets_tasks_end_by_themselves,
          who_waits_for_a_set_that_is_freed_is_told, who_cannot_wait_leaves_tasks_that_end_soon,
          detached_tasks_go_on_without_the_set, a_deadline_cancels_all,
          join_all_takes_all_unless_it_is_stopped, join_all_is_a_future_too,
          a_join_all_that_was_pending_outlasts_a_set_that_is_freed_while_it_tells,
          a_shutdown_is_a_future_too, a_set_outlives_its_runtime, bad_use_gets_an_answer)
