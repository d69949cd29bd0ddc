/* SPDX-License-Identifier: MIT */
/*
 * test_join_set.c - spawning into sets, and taking from them.
 */
#include "children.h"

#include <pthread.h>
#include <string.h>

/* --- taking ------------------------------------------------------------------- */

static int take_some(void *arg)
{
    weft_join_set *set = weft_join_set_new();
    weft_join_done done = {0};
    ssize_t ids[3];
    int sum = 0;

    (void)arg;
    CHECK(set != NULL && weft_join_set_is_empty(set));
    CHECK_EQ(0, weft_join_set_next(set, &done));
    CHECK_EQ(0, weft_join_set_try_next(set, &done));
    for (int i = 0; i < 3; i++) {
        ids[i] = weft_join_set_spawn(set, returns_it, as_arg(10 + i));
        CHECK(ids[i] > 0);
    }
    CHECK_EQ(3, weft_join_set_len(set));
    for (int i = 0; i < 3; i++) {
        int which = 0;

        CHECK_EQ(1, weft_join_set_next(set, &done));
        while (which < 3 && (uint64_t)ids[which] != done.id)
            which++;
        CHECK(which < 3);
        CHECK_EQ(10 + which, done.result);
        CHECK_EQ(10 + which, done.tag);
        sum += done.result;
    }
    CHECK_EQ(33, sum);
    CHECK_EQ(0, weft_join_set_next(set, NULL));
    CHECK(weft_join_set_is_empty(set));
    weft_join_set_free(set);
    weft_join_set_free(NULL);
    return 0;
}

TEST(each_task_is_given_once_and_then_the_set_is_empty)
{
    test_run(take_some, NULL);
}

END_TEST

static int in_order_of_ending(void *arg)
{
    weft_join_set *set = weft_join_set_new();
    atomic_int flags[4] = {0};
    weft_join_done done;

    (void)arg;
    for (int i = 0; i < 4; i++)
        CHECK(weft_join_set_spawn(set, until_set, &flags[i]) > 0);
    CHECK_EQ(-EAGAIN, weft_join_set_try_next(set, &done));
    for (int i = 3; i >= 0; i--) {
        atomic_store(&flags[i], i + 1);
        CHECK_EQ(1, weft_join_set_next(set, &done));
        CHECK_EQ(i, done.result);
        CHECK_EQ((uintptr_t)&flags[i], done.tag);
    }
    CHECK_EQ(0, weft_join_set_try_next(set, &done));
    weft_join_set_free(set);
    return 0;
}

struct known {
    atomic_int flag;
    _Atomic(weft_task *) self;
};

static int until_known_set(void *arg)
{
    struct known *k = arg;

    atomic_store(&k->self, weft_task_ref(weft_task_self()));
    return until_set(&k->flag);
}

/* Several that have ended before anybody asks. */
static int in_order_of_ending_before(void *arg)
{
    weft_join_set *set = weft_join_set_new();
    struct known known[6] = {0};
    weft_join_done done;
    unsigned seen = 0;

    (void)arg;
    for (int i = 0; i < 6; i++)
        CHECK(weft_join_set_spawn(set, until_known_set, &known[i]) > 0);
    for (int i = 5; i >= 0; i--) {
        YIELD_UNTIL(atomic_load(&known[i].self));
        atomic_store(&known[i].flag, i + 1);
        YIELD_UNTIL(weft_is_finished(atomic_load(&known[i].self)));
        weft_detach(atomic_load(&known[i].self));
        if (i == 4)
            CHECK_EQ(1, weft_join_set_next(set, &done));
    }
    for (int i = 4; i >= 0; i--) {
        CHECK_EQ(1, weft_join_set_next(set, &done));
        /* On several threads two may pass each other at the very end. */
        if (weft_runtime_flavor(weft_runtime_current()) == WEFT_CURRENT_THREAD)
            CHECK_EQ(i, done.result);
        seen |= 1u << done.result;
    }
    CHECK(seen == 0x1f || seen == 0x2f);
    weft_join_set_free(set);
    return 0;
}

TEST(tasks_are_given_in_the_order_of_ending)
{
    test_run(in_order_of_ending, NULL);
    test_run(in_order_of_ending_before, NULL);
}

END_TEST

static int ordered(void *arg)
{
    const weft_join_set_options options = {.ordered = true, .name = "in order"};
    atomic_int flags[8] = {0};
    weft_join_done done;
    weft_join_set *set;

    (void)arg;
    CHECK_EQ(0, weft_join_set_new_with(&set, &options));
    for (int i = 0; i < 8; i++)
        CHECK(weft_join_set_spawn(set, until_set, &flags[i]) > 0);
    for (int i = 7; i >= 1; i--)
        atomic_store(&flags[i], i + 1);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(-EAGAIN, weft_join_set_try_next(set, &done));
    }
    atomic_store(&flags[0], 1);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(1, weft_join_set_next(set, &done));
        CHECK_EQ(i, done.result);
    }
    CHECK_EQ(0, weft_join_set_next(set, &done));
    weft_join_set_free(set);
    return 0;
}

TEST(an_ordered_set_gives_tasks_in_the_order_of_spawning)
{
    test_run(ordered, NULL);
}

END_TEST

/* --- spawning ------------------------------------------------------------------- */

static int sum_of_copy(void *arg)
{
    const int *v = arg;

    return v[0] + v[1] + v[2];
}

static int stack_size_of_self(void *arg)
{
    weft_task_info info;

    (void)arg;
    CHECK_EQ(0, weft_task_get_info(weft_task_self(), &info));
    CHECK(strstr(info.site, "test_join_set.c:") != NULL);
    return (int)(info.stack_size >> 10);
}

static int blocks(void *arg)
{
    CHECK(weft_task_self() == NULL);
    return (int)(intptr_t)arg;
}

static int all_ways(void *arg)
{
    const weft_task_options small = {.stack_size = 64 << 10}, tagged = {.tag = 99, .name = "t"};
    const weft_join_set_options with_defaults = {.defaults = &small};
    const struct echo_state echo = {.value = 5};
    const int v[3] = {1, 2, 3};
    weft_join_set *set = weft_join_set_new();
    weft_join_done done;

    (void)arg;
    CHECK(weft_join_set_spawn_copy(set, sum_of_copy, v, sizeof(v)) > 0);
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK(done.result == 6 && done.tag == 0);
    CHECK(weft_join_set_spawn_with(set, &small, stack_size_of_self, NULL) > 0);
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK(done.result == 64 && done.tag == 0);
    CHECK(weft_join_set_spawn_copy_with(set, &tagged, sum_of_copy, v, sizeof(v)) > 0);
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK(done.result == 6 && done.tag == 99);
    CHECK(weft_join_set_spawn_async(set, &echo_type, &echo) > 0);
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK(done.result == 5 && done.tag == 0);
    CHECK(weft_join_set_spawn_blocking(set, NULL, blocks, as_arg(3)) > 0);
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK(done.result == 3 && done.tag == 3);
    CHECK(weft_join_set_spawn_blocking(set, &tagged, blocks, as_arg(4)) > 0);
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK(done.result == 4 && done.tag == 99);
    CHECK((weft_join_set_spawn)(set, panics, NULL) > 0);
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK_EQ(-EOWNERDEAD, done.result);
    weft_join_set_free(set);

    CHECK_EQ(0, weft_join_set_new_with(&set, &with_defaults));
    CHECK(weft_join_set_spawn(set, stack_size_of_self, NULL) > 0);
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK_EQ(64, done.result);
    weft_join_set_free(set);
    return 0;
}

TEST(all_ways_to_spawn_lead_into_the_set)
{
    test_run(all_ways, NULL);
}

END_TEST

static int runs_there(void *arg)
{
    return weft_runtime_current() == arg ? 1 : 0;
}

static weft_poll there_poll(void *self, weft_context *cx)
{
    struct echo_state *s = self;

    (void)cx;
    return weft_async_return(&s->async, weft_runtime_current() ? s->value : 0);
}

static int never_called(void *arg)
{
    (void)arg;
    test_failed(__FILE__, __LINE__, "it was not to be started");
}

static const weft_async_type there_type = {.poll = there_poll, .size = sizeof(struct echo_state)};

/* One set, tasks on two runtimes. */
static int on_another(void *arg)
{
    const weft_task_options tagged = {.tag = 9}, pinned = {.pinned = true};
    const struct echo_state echo = {.value = 1};
    weft_runtime *here = weft_runtime_current(), *there = arg;
    weft_join_set *set = weft_join_set_new(), *local = weft_local_set_new();
    weft_join_done done;
    uint64_t tags = 0;
    int ended = 0;

    CHECK(weft_join_set_spawn_on(set, there, NULL, runs_there, there) > 0);
    CHECK(weft_join_set_spawn_on(set, here, &tagged, runs_there, here) > 0);
    CHECK(weft_join_set_spawn_async_on(set, there, &tagged, &there_type, &echo) > 0);
    CHECK(weft_join_set_spawn_blocking_on(set, there, NULL, blocks, as_arg(1)) > 0);
    CHECK(weft_join_set_spawn(set, runs_there, here) > 0);
    CHECK((weft_join_set_spawn_on)(set, there, NULL, runs_there, there) > 0);
    for (; weft_join_set_next(set, &done) > 0; ended++) {
        CHECK_EQ(1, done.result);
        tags += done.tag == 9;
    }
    CHECK_EQ(6, ended);
    CHECK_EQ(2, tags);
    CHECK_EQ(-EINVAL, weft_join_set_spawn_on(set, NULL, NULL, never_called, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_spawn_on(NULL, there, NULL, never_called, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_spawn_on(set, there, &pinned, never_called, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_spawn_async_on(set, there, NULL, NULL, NULL));
    /* A local set's are on one thread. */
    CHECK_EQ(-EINVAL, weft_join_set_spawn_on(local, there, NULL, never_called, NULL));
    CHECK(weft_join_set_spawn_on(local, here, NULL, runs_there, here) > 0);
    CHECK_EQ(1, weft_join_set_next(local, &done));
    CHECK_EQ(1, done.result);
    /* They are cancelled with the set. */
    for (int i = 0; i < 10; i++)
        CHECK(weft_join_set_spawn_on(set, there, NULL, waits, NULL) > 0);
    weft_join_set_free(set);
    weft_join_set_free(local);
    return 0;
}

TEST(a_set_has_tasks_on_more_than_one_runtime)
{
    weft_runtime *there = test_runtime_new(&test_flavours[2]);
    weft_join_set *set = weft_join_set_new();
    weft_join_done done;

    test_run(on_another, there);
    /* From a plain thread, into a set that has no runtime of its own. */
    CHECK(weft_join_set_spawn_on(set, there, NULL, runs_there, there) > 0);
    CHECK_EQ(1, weft_join_set_next_blocking(set, &done));
    CHECK_EQ(1, done.result);
    CHECK_EQ(0, weft_runtime_shutdown(there, WEFT_SECS(10)));
    CHECK_EQ(-ESHUTDOWN, weft_join_set_spawn_on(set, there, NULL, never_called, NULL));
    weft_join_set_free(set);
    weft_runtime_free(there);
}

END_TEST

struct tree {
    weft_join_set *set;
    atomic_int count;
};

static int grows(void *arg)
{
    struct tree *t = arg;

    if (atomic_fetch_add(&t->count, 1) < 500) {
        CHECK(weft_join_set_spawn(t->set, grows, t) > 0);
        CHECK(weft_join_set_spawn(t->set, grows, t) > 0);
    }
    return 0;
}

static int spawn_by_children(void *arg)
{
    struct tree t = {.set = weft_join_set_new()};
    int taken = 0;

    (void)arg;
    CHECK(weft_join_set_spawn(t.set, grows, &t) > 0);
    while (weft_join_set_next(t.set, NULL) == 1)
        taken++;
    CHECK_EQ(atomic_load(&t.count), taken);
    CHECK(taken > 500);
    weft_join_set_free(t.set);
    return 0;
}

TEST(tasks_spawn_into_their_own_set)
{
    test_run(spawn_by_children, NULL);
}

END_TEST

static void *inherit(void *value)
{
    return (char *)value + 1;
}

static int reads_local(void *arg)
{
    return (int)(intptr_t)weft_task_local_get(arg);
}

static int inherited(void *arg)
{
    weft_join_set *set = weft_join_set_new();
    weft_local_key *key;
    weft_join_done done;

    (void)arg;
    CHECK_EQ(0, weft_local_key_new(&key, NULL, WEFT_LOCAL_INHERIT, inherit));
    CHECK_EQ(0, weft_task_local_set(key, as_arg(7)));
    CHECK(weft_join_set_spawn(set, reads_local, key) > 0);
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK_EQ(8, done.result);
    weft_join_set_free(set);
    weft_local_key_free(key);
    return 0;
}

TEST(children_inherit_task_locals)
{
    test_run(inherited, NULL);
}

END_TEST

/* --- waiting ------------------------------------------------------------------- */

static int waits_for_next(void *arg)
{
    weft_join_done done;
    int rc = weft_join_set_next(arg, &done);

    return rc == 1 ? done.result : rc;
}

static int one_waits(void *arg)
{
    weft_join_set *set = weft_join_set_new();
    atomic_int flag = 0;
    weft_join_done done;
    weft_task *t;
    int result;

    (void)arg;
    CHECK(weft_join_set_spawn(set, until_set, &flag) > 0);
    t = weft_spawn(waits_for_next, set);
    YIELD_UNTIL(is_waiting(t));
    CHECK_EQ(-EBUSY, weft_join_set_next(set, &done));
    CHECK_EQ(-EAGAIN, weft_join_set_try_next(set, &done));
    /* It gives up its place by being cancelled, and somebody else has it. */
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
    t = weft_spawn(waits_for_next, set);
    YIELD_UNTIL(is_waiting(t));
    atomic_store(&flag, 43);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(42, result);
    CHECK_EQ(0, weft_join_set_next(set, &done));
    weft_join_set_free(set);
    return 0;
}

TEST(one_task_at_a_time_waits)
{
    test_run(one_waits, NULL);
}

END_TEST

static int emptied_by_another(void *arg)
{
    weft_join_set *set = weft_join_set_new();
    weft_join_done done;
    weft_task *t;
    int result;

    (void)arg;
    CHECK(weft_join_set_spawn(set, waits, NULL) > 0);
    t = weft_spawn(waits_for_next, set);
    YIELD_UNTIL(is_waiting(t));
    weft_join_set_detach_all(set);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(0, result);
    CHECK_EQ(0, weft_join_set_try_next(set, &done));
    weft_join_set_free(set);
    return 0;
}

TEST(who_waits_is_told_that_the_set_is_empty)
{
    /* What was detached waits for the end of the runtime. */
    test_run(emptied_by_another, NULL);
}

END_TEST

/* Give up at the await, in each way; then take what it waited for. */
static int gives_up(void *arg)
{
    const weft_join_set_options options = {.ordered = arg != NULL};
    atomic_int flag = 0;
    weft_join_done done = {0};
    weft_future f, nap;
    weft_join_set *set;
    weft_task *t;
    int result;

    CHECK_EQ(0, weft_join_set_new_with(&set, &options));
    CHECK(weft_join_set_spawn(set, until_set, &flag) > 0);
    /* by a deadline */
    WEFT_DEADLINE(WEFT_MS(1))
    CHECK_EQ(-ETIMEDOUT, weft_join_set_next(set, &done));
    /* by losing a select */
    f = weft_join_set_next_future(set, &done);
    nap = weft_sleep_future(WEFT_MS(1));
    CHECK_EQ(1, weft_select(&f, &nap));
    /* a future that was not polled, and one that was, dropped */
    f = weft_join_set_next_future(set, &done);
    weft_future_drop(&f);
    /* by being cancelled */
    t = weft_spawn(waits_for_next, set);
    YIELD_UNTIL(is_waiting(t));
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
    /* and kept, to be selected again */
    f = weft_join_set_next_future(set, &done);
    nap = weft_sleep_future(WEFT_MS(1));
    CHECK_EQ(1, weft_select_keep(&f, &nap));
    atomic_store(&flag, 5);
    nap = weft_sleep_future(WEFT_SECS(100));
    CHECK_EQ(0, weft_select(&f, &nap));
    CHECK_EQ(1, f.result);
    CHECK_EQ(4, done.result);
    CHECK_EQ(0, weft_join_set_next(set, &done));
    /* What is ready wins over a deadline that passes; on one thread it surely is. */
    if (weft_runtime_flavor(weft_runtime_current()) == WEFT_CURRENT_THREAD) {
        struct known known = {.flag = 1};

        CHECK(weft_join_set_spawn(set, until_known_set, &known) > 0);
        YIELD_UNTIL(atomic_load(&known.self) && weft_is_finished(atomic_load(&known.self)));
        weft_detach(atomic_load(&known.self));
        f = weft_join_set_next_future(set, &done);
        CHECK_EQ(1, weft_timeout(0, &f));
    }
    weft_join_set_free(set);
    return 0;
}

TEST(who_gives_up_loses_no_task)
{
    test_run(gives_up, NULL);
    test_run(gives_up, as_arg(1));
}

END_TEST

struct thread_job {
    weft_runtime *rt;
    weft_join_set *set;
    atomic_int flag;
};

static void *thread_waits(void *arg)
{
    struct thread_job *j = arg;
    weft_join_done done;
    int sum = 0;

    for (int i = 0; i < 100; i++)
        CHECK(weft_join_set_spawn(j->set, returns_it, as_arg(i)) > 0);
    CHECK(weft_join_set_spawn(j->set, until_set, &j->flag) > 0);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(1, weft_join_set_next_blocking(j->set, &done));
        sum += done.result;
    }
    CHECK_EQ(4950, sum);
    atomic_store(&j->flag, 9);
    CHECK_EQ(1, weft_join_set_next_blocking(j->set, &done));
    CHECK_EQ(8, done.result);
    CHECK_EQ(0, weft_join_set_next_blocking(j->set, &done));
    /* Freed from here while tasks run. */
    atomic_store(&j->flag, 0);
    for (int i = 0; i < 10; i++)
        CHECK(weft_join_set_spawn(j->set, counted, &j->flag) > 0);
    CHECK(weft_join_set_spawn_blocking(j->set, NULL, blocks, as_arg(10)) > 0);
    weft_join_set_free(j->set);
    CHECK_EQ(0, atomic_load(&j->flag));
    return NULL;
}

TEST(a_plain_thread_uses_a_set_that_has_a_runtime)
{
    for (size_t i = 1; i < test_flavour_count; i++) {
        struct thread_job j = {.rt = test_runtime_new(&test_flavours[i])};
        const weft_join_set_options options = {.runtime = j.rt};

        CHECK_EQ(0, weft_join_set_new_with(&j.set, &options));
        thread_waits(&j);
        test_runtime_free(j.rt);
    }
}

END_TEST

TEST_MAIN("join_set", each_task_is_given_once_and_then_the_set_is_empty,
          tasks_are_given_in_the_order_of_ending,
          an_ordered_set_gives_tasks_in_the_order_of_spawning, all_ways_to_spawn_lead_into_the_set,
          a_set_has_tasks_on_more_than_one_runtime, tasks_spawn_into_their_own_set,
          children_inherit_task_locals, one_task_at_a_time_waits,
          who_waits_is_told_that_the_set_is_empty, who_gives_up_loses_no_task,
          a_plain_thread_uses_a_set_that_has_a_runtime)
