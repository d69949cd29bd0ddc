/* SPDX-License-Identifier: MIT */
/*
 * test_task.c - the life of a task, seen from outside and from within: spawn, join, detach, cancel,
 * names, references, panics, deferred calls, locals, hooks.
 *
 * Each test runs on every flavour. Nothing sleeps to be right: a task is known to wait when its
 * state is WEFT_TASK_IDLE, and until then the others are let run.
 */
#include "support.h"

#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHILDREN 100

static void until_waiting(const weft_task *t)
{
    weft_task_info info;

    do {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_task_get_info(t, &info));
    } while (info.state != WEFT_TASK_IDLE);
}

static void until_set(atomic_int *flag)
{
    while (!atomic_load(flag))
        CHECK_EQ(0, weft_yield());
}

static unsigned workers_here(void)
{
    weft_metrics m;

    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    return m.workers;
}

static int return_arg(void *arg)
{
    return (int)(intptr_t)arg;
}

static int set_flag(void *arg)
{
    atomic_store((atomic_int *)arg, 1);
    return 0;
}

static int count_up(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
    return 0;
}

static int wait_until_cancelled(void *arg)
{
    weft_future f = weft_pending_future();

    (void)arg;
    return (int)weft_await(&f);
}

static void *number(int n)
{
    return (void *)(intptr_t)n;
}

/* --- join ------------------------------------------------------------------- */

static int join_values(void *arg)
{
    static const int values[] = {0, 1, 42, -1, -EAGAIN, INT32_MAX, INT32_MIN};

    (void)arg;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        int result = 7;

        CHECK_EQ(0, weft_join(weft_spawn(return_arg, number(values[i])), &result));
        CHECK_EQ(values[i], result);
    }
    CHECK_EQ(0, weft_join(weft_spawn(return_arg, NULL), NULL));
    return 0;
}

TEST(join_gives_the_value_of_the_function)
{
    test_run(join_values, NULL);
}

static int join_many(void *arg)
{
    weft_task *t[CHILDREN];
    atomic_int count = 0;

    (void)arg;
    for (int i = 0; i < CHILDREN; i++)
        t[i] = weft_spawn(count_up, &count);
    for (int i = CHILDREN; i-- > 0;)
        CHECK_EQ(0, weft_join(t[i], NULL));
    CHECK_EQ(CHILDREN, atomic_load(&count));
    return 0;
}

TEST(each_spawned_task_runs_once)
{
    test_run(join_many, NULL);
}

struct before {
    int plain; /* not atomic: the spawn carries it there, the join carries it back */
};

static int see_before(void *arg)
{
    struct before *b = arg;
    int seen = b->plain;

    b->plain = seen + 1;
    return seen;
}

static int spawn_order(void *arg)
{
    struct before b = {0};

    (void)arg;
    for (int i = 0; i < 200; i += 2) {
        int result;

        b.plain = i;
        CHECK_EQ(0, weft_join(weft_spawn(see_before, &b), &result));
        CHECK_EQ(i, result);
        CHECK_EQ(i + 1, b.plain);
    }
    return 0;
}

TEST(what_was_written_before_a_spawn_is_seen_by_the_task_and_back_by_the_join)
{
    test_run(spawn_order, NULL);
}

static int join_null(void *arg)
{
    int result = 7;

    (void)arg;
    CHECK_EQ(-ENOMEM, weft_join(NULL, &result));
    CHECK_EQ(-ENOMEM, weft_join(weft_spawn(NULL, NULL), NULL));
    CHECK_EQ(7, result);
    return 0;
}

TEST(join_of_null_is_enomem)
{
    CHECK_EQ(-EPERM, weft_join(NULL, NULL)); /* as all straight-line calls outside a fiber */
    CHECK_EQ(-ENOMEM, weft_join_blocking(NULL, NULL));
    test_run(join_null, NULL);
}

static int join_self(void *arg)
{
    (void)arg;
    CHECK_EQ(-EDEADLK, weft_join(weft_task_self(), NULL));
    return 0;
}

TEST(join_of_oneself_is_edeadlk)
{
    test_run(join_self, NULL);
}

static int join_it(void *arg)
{
    int result = 7, rc = weft_join(arg, &result);

    return rc < 0 ? rc : result;
}

static int join_twice(void *arg)
{
    weft_task *t = weft_spawn(wait_until_cancelled, NULL), *other = weft_task_ref(t), *joiner;
    weft_future again;
    int result = 7;

    (void)arg;
    joiner = weft_spawn(join_it, t);
    until_waiting(joiner);
    CHECK_EQ(-EBUSY, weft_join(other, &result));
    again = weft_join_future(other);
    CHECK_EQ(-EBUSY, weft_await(&again));
    CHECK_EQ(7, result);
    weft_cancel(other); /* the handle is still ours */
    CHECK_EQ(0, weft_join(joiner, &result));
    CHECK_EQ(-ECANCELED, result);
    CHECK_EQ(0, weft_join(other, &result));
    CHECK_EQ(-ECANCELED, result);
    return 0;
}

TEST(the_second_joiner_gets_ebusy_and_keeps_its_handle)
{
    test_run(join_twice, NULL);
}

static int join_cancelled(void *arg)
{
    weft_task *t = weft_spawn(wait_until_cancelled, NULL), *joiner = weft_spawn(join_it, t);
    int result = 7;

    (void)arg;
    until_waiting(joiner);
    weft_cancel(joiner);
    CHECK_EQ(0, weft_join(joiner, &result));
    CHECK_EQ(-ECANCELED, result);
    until_waiting(t); /* it goes on */
    CHECK(!weft_is_finished(t));
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result)); /* the place of the joiner is free again */
    CHECK_EQ(-ECANCELED, result);
    return 0;
}

TEST(a_cancelled_join_leaves_the_task_and_its_handle)
{
    test_run(join_cancelled, NULL);
}

static int join_by_future(void *arg)
{
    weft_task *t = weft_spawn(return_arg, number(5));
    weft_future f = weft_join_future(t), early = weft_join_future(t);
    int result;

    (void)arg;
    CHECK_EQ(0, weft_await(&f));
    CHECK(weft_is_finished(t));
    CHECK_EQ(0, weft_await(&early)); /* an end can be seen any number of times */
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(5, result);

    f = weft_join_future(NULL);
    CHECK_EQ(-ENOMEM, weft_await(&f));
    return 0;
}

TEST(a_join_future_tells_the_end_and_leaves_the_handle)
{
    test_run(join_by_future, NULL);
}

struct thread_join {
    weft_task *task;
    int rc, result;
    atomic_int done;
};

static void *thread_joins(void *arg)
{
    struct thread_join *j = arg;

    j->rc = weft_join_blocking(j->task, &j->result);
    atomic_store(&j->done, 1);
    return NULL;
}

static int join_from_thread(void *arg)
{
    struct thread_join j = {.result = 7};
    pthread_t thread;

    (void)arg;
    for (int late = 0; late < 2; late++) {
        j.task = weft_spawn(late ? return_arg : wait_until_cancelled, number(9));
        weft_task *other = weft_task_ref(j.task);

        CHECK_EQ(-EDEADLK, weft_join_blocking(other, NULL));
        while (late && !weft_is_finished(other))
            CHECK_EQ(0, weft_yield());
        atomic_store(&j.done, 0);
        CHECK_EQ(0, pthread_create(&thread, NULL, thread_joins, &j));
        weft_cancel(other);
        weft_detach(other);
        until_set(&j.done);
        CHECK_EQ(0, pthread_join(thread, NULL));
        CHECK_EQ(0, j.rc);
        CHECK_EQ(late ? 9 : -ECANCELED, j.result);
    }
    return 0;
}

TEST(a_plain_thread_joins_by_blocking)
{
    test_run(join_from_thread, NULL);
}

/* --- detach, references, names ---------------------------------------------- */

static int detached(void *arg)
{
    atomic_int count = 0;
    int n = 7;

    (void)arg;
    weft_detach(NULL);
    weft_detach(weft_spawn(count_up, &count));
    CHECK_EQ(0, weft_go(count_up, &count));
    CHECK_EQ(0, (weft_go)(count_up, &count));
    CHECK_EQ(0, weft_go_with(&(weft_task_options){.name = "gone"}, count_up, &count));
    CHECK_EQ(0, weft_go_with(NULL, count_up, &count));
    CHECK_EQ(0, weft_go_copy(return_arg, &n, sizeof(n)));
    CHECK_EQ(0, (weft_go_copy)(return_arg, &n, sizeof(n)));
    while (atomic_load(&count) < 5)
        CHECK_EQ(0, weft_yield());
    return 0;
}

TEST(detached_tasks_run_to_their_end)
{
    test_run(detached, NULL);
}

static int references(void *arg)
{
    weft_task *t = weft_spawn_with(&(weft_task_options){.name = "shared"}, return_arg, number(3));
    weft_task *a = weft_task_ref(t), *b = weft_task_ref(a);
    uint64_t id = weft_task_id(t);
    int result;

    (void)arg;
    CHECK(a == t && b == t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(3, result);
    CHECK(weft_is_finished(a));
    CHECK_EQ(id, weft_task_id(a));
    CHECK_STR("shared", weft_task_name(a));
    weft_cancel(a); /* has ended: no effect */
    result = 7;
    CHECK_EQ(0, weft_join(a, &result)); /* each handle is joined on its own */
    CHECK_EQ(3, result);
    weft_detach(b);
    CHECK(weft_task_ref(NULL) == NULL);
    return 0;
}

TEST(each_reference_is_a_handle_of_its_own)
{
    test_run(references, NULL);
}

static int return_own_id(void *arg)
{
    *(uint64_t *)arg = weft_task_id(weft_task_self());
    CHECK(weft_runtime_current() != NULL);
    return 0;
}

static int names_and_ids(void *arg)
{
    char longer[100];
    uint64_t own = 0, last = 0;
    weft_task *t;

    (void)arg;
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    t = weft_spawn_with(&(weft_task_options){.name = longer}, return_arg, NULL);
    longer[0] = 'y'; /* it was copied */
    CHECK_EQ(63, strlen(weft_task_name(t)));
    CHECK_EQ('x', weft_task_name(t)[0]);
    CHECK_EQ(0, weft_join(t, NULL));

    for (int i = 0; i < 10; i++) {
        uint64_t id;

        t = weft_spawn(return_own_id, &own);
        id = weft_task_id(t);
        CHECK_STR("", weft_task_name(t));
        CHECK(id != 0 && id != last);
        last = id;
        CHECK_EQ(0, weft_join(t, NULL));
        CHECK_EQ(id, own);
    }
    return 0;
}

TEST(tasks_have_names_and_ids)
{
    CHECK(weft_task_self() == NULL);
    CHECK(weft_runtime_current() == NULL);
    CHECK_EQ(0, weft_task_id(NULL));
    CHECK_STR("", weft_task_name(NULL));
    test_run(names_and_ids, NULL);
}

static int see_info(void *arg)
{
    weft_task *t = weft_spawn(wait_until_cancelled, NULL);
    char site[64];
    weft_task_info info;

    (void)arg;
    (void)snprintf(site, sizeof(site), "test_task.c:%d", __LINE__ - 5);
    until_waiting(t);
    CHECK_EQ(0, weft_task_get_info(t, &info));
    CHECK_EQ(weft_task_id(t), info.id);
    CHECK(info.site && strstr(info.site, site));
    CHECK_STR("", info.name);
    CHECK(!info.stackless && !info.cancelled);
    CHECK(info.stack_size >= 16384);
    weft_cancel(t);
    CHECK_EQ(0, weft_task_get_info(t, &info));
    CHECK(info.cancelled);
    while (!weft_is_finished(t))
        CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, weft_task_get_info(t, &info));
    CHECK_EQ(WEFT_TASK_FINISHED, info.state);
    CHECK_EQ(2, info.polls); /* to its await, and to its end */
    CHECK(info.wakes >= 1);
    CHECK_EQ(0, weft_join(t, NULL));

    /* The commas of a compound literal do not disturb the macro. */
    t = weft_spawn_with(&(weft_task_options){.site = "elsewhere:1", .stack_size = 16384},
                        return_arg, NULL);
    CHECK_EQ(0, weft_task_get_info(t, &info));
    CHECK_STR("elsewhere:1", info.site);
    if (info.state == WEFT_TASK_READY)
        CHECK_EQ(0, info.stack_size); /* not yet started */
    CHECK_EQ(0, weft_join(t, NULL));
    t = (weft_spawn)(return_arg, NULL);
    CHECK_EQ(0, weft_task_get_info(t, &info));
    CHECK(info.site == NULL);
    CHECK_EQ(0, weft_join(t, NULL));
    CHECK_EQ(0, weft_task_get_info(weft_task_self(), &info));
    CHECK_EQ(WEFT_TASK_RUNNING, info.state);
    return 0;
}

TEST(a_task_tells_where_it_was_spawned_and_how_it_is)
{
    test_run(see_info, NULL);
}

/* --- spawn_copy ------------------------------------------------------------- */

struct copied {
    size_t size;
    unsigned char bytes[WEFT_COPY_MAX - sizeof(size_t)];
};

static int see_copy(void *arg)
{
    const struct copied *c = arg;
    size_t size;

    CHECK_EQ(0, (uintptr_t)arg % alignof(max_align_t));
    for (int round = 0; round < 3; round++) {
        memcpy(&size, &c->size, sizeof(size));
        for (size_t i = sizeof(size_t); i < size; i++)
            CHECK_EQ((unsigned char)i, ((const unsigned char *)arg)[i]);
        CHECK_EQ(0, weft_yield()); /* valid until the end */
    }
    return 0;
}

static int copies(void *arg)
{
    static const size_t sizes[] = {8, 9, 15, 16, 17, 31, 32, 33, 64, 100, 1000, 4095, 4096};
    weft_task *t[3 * sizeof(sizes) / sizeof(sizes[0])];
    struct copied *c = malloc(sizeof(*c));
    size_t n = 0;

    (void)arg;
    CHECK(c);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        c->size = sizes[s];
        for (size_t i = sizeof(size_t); i < c->size; i++)
            ((unsigned char *)c)[i] = (unsigned char)i;
        t[n++] = weft_spawn_copy(see_copy, c, sizes[s]);
        t[n++] = (weft_spawn_copy)(see_copy, c, sizes[s]);
        t[n++] = weft_spawn_copy_with(&(weft_task_options){.name = "c"}, see_copy, c, sizes[s]);
        memset(c, 0xee, sizeof(*c)); /* the tasks have their own */
    }
    while (n-- > 0)
        CHECK_EQ(0, weft_join(t[n], NULL));
    CHECK(weft_spawn_copy(see_copy, c, WEFT_COPY_MAX + 1) == NULL);
    CHECK(weft_spawn_copy(see_copy, NULL, 1) == NULL);
    CHECK_EQ(-EINVAL, weft_go_copy(see_copy, c, WEFT_COPY_MAX + 1));
    CHECK_EQ(0, weft_join(weft_spawn_copy(return_arg, NULL, 0), NULL));
    free(c);
    return 0;
}

TEST(copied_arguments_are_aligned_and_last_until_the_end)
{
    test_run(copies, NULL);
}

/* --- cancel ----------------------------------------------------------------- */

static int cancel_new(void *arg)
{
    atomic_int ran = 0;
    unsigned never = 0;
    int result;

    (void)arg;
    for (int i = 0; i < CHILDREN; i++) {
        weft_task *t = weft_spawn(count_up, &ran);

        weft_cancel(t);
        weft_cancel(t); /* twice is once */
        CHECK_EQ(0, weft_join(t, &result));
        CHECK(result == 0 || result == -ECANCELED);
        never += result != 0;
    }
    CHECK_EQ(CHILDREN, (int)never + atomic_load(&ran));
    if (workers_here() == 1)
        CHECK_EQ(CHILDREN, never); /* nobody could have run them meanwhile */
    return 0;
}

TEST(a_task_cancelled_before_its_first_poll_never_runs)
{
    test_run(cancel_new, NULL);
}

/* Every kind of await says so, each time. */
static int every_await_cancelled(void *arg)
{
    weft_task *t = arg;

    CHECK_EQ(-ECANCELED, wait_until_cancelled(NULL));
    CHECK(weft_is_cancelled());
    for (int i = 0; i < 3; i++) {
        weft_future f = weft_ready_future(1);

        CHECK_EQ(-ECANCELED, weft_await(&f));
        CHECK_EQ(-ECANCELED, weft_sleep(0));
        CHECK_EQ(-ECANCELED, weft_sleep(WEFT_SECS(100)));
        CHECK_EQ(-ECANCELED, weft_yield());
        CHECK_EQ(-ECANCELED, weft_consume_budget());
        CHECK_EQ(-ECANCELED, weft_join(t, NULL));
        f = weft_pending_future();
        CHECK_EQ(-ECANCELED, weft_timeout(WEFT_SECS(100), &f));
    }
    return 17; /* unwinding may end in any value */
}

static int cancel_waiting(void *arg)
{
    weft_task *forever = weft_spawn(wait_until_cancelled, NULL);
    weft_task *t = weft_spawn(every_await_cancelled, forever);
    int result;

    (void)arg;
    CHECK(!weft_is_cancelled());
    until_waiting(t);
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(17, result);
    weft_cancel(forever);
    CHECK_EQ(0, weft_join(forever, NULL));
    return 0;
}

TEST(a_cancelled_task_gets_ecanceled_from_its_await_and_each_later_one)
{
    CHECK(!weft_is_cancelled());
    test_run(cancel_waiting, NULL);
}

struct spinner {
    weft_task *task;
    atomic_int started, go;
};

static int spin_then_await(void *arg)
{
    struct spinner *s = arg;

    CHECK(!weft_is_cancelled());
    atomic_store(&s->started, 1);
    while (!atomic_load(&s->go))
        continue;
    CHECK(weft_is_cancelled());
    return wait_until_cancelled(NULL);
}

static void *cancel_spinner(void *arg)
{
    struct spinner *s = arg;

    while (!atomic_load(&s->started))
        (void)sched_yield();
    weft_cancel(s->task);
    CHECK(!weft_is_finished(s->task));
    weft_detach(s->task);
    atomic_store(&s->go, 1);
    return NULL;
}

static int cancel_running(void *arg)
{
    struct spinner s = {0};
    weft_task *t = weft_spawn(spin_then_await, &s);
    pthread_t thread;
    int result;

    (void)arg;
    s.task = weft_task_ref(t);
    CHECK_EQ(0, pthread_create(&thread, NULL, cancel_spinner, &s));
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
    CHECK_EQ(0, pthread_join(thread, NULL));
    return 0;
}

TEST(a_task_cancelled_while_it_runs_learns_it_at_its_next_await)
{
    test_run(cancel_running, NULL);
}

static int cancel_self(void *arg)
{
    (void)arg;
    weft_cancel(weft_task_self());
    CHECK(weft_is_cancelled());
    return weft_yield();
}

static int cancel_ended(void *arg)
{
    weft_task *t = weft_spawn(return_arg, number(4));
    int result;

    (void)arg;
    while (!weft_is_finished(t))
        CHECK_EQ(0, weft_yield());
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(4, result);
    CHECK_EQ(0, weft_join(weft_spawn(cancel_self, NULL), &result));
    CHECK_EQ(-ECANCELED, result);
    return 0;
}

TEST(cancel_after_the_end_has_no_effect)
{
    CHECK(!weft_is_finished(NULL));
    weft_cancel(NULL);
    test_run(cancel_ended, NULL);
}

/* What is spawned by a task that shutdown has cancelled is born cancelled. */
static int spawn_late(void *arg)
{
    int result = 7;

    CHECK_EQ(-ECANCELED, wait_until_cancelled(NULL));
    WEFT_SHIELD
    {
        CHECK_EQ(0, weft_join(weft_spawn(set_flag, arg), &result));
    }
    CHECK_EQ(-ECANCELED, result);
    return 0;
}

static int begin_spawn_late(void *arg)
{
    weft_task *t = weft_spawn(spawn_late, arg);

    until_waiting(t);
    weft_detach(t);
    return 0;
}

TEST(a_task_spawned_during_shutdown_never_runs)
{
    atomic_int ran = 0;

    test_run(begin_spawn_late, &ran);
    CHECK_EQ(0, atomic_load(&ran));
}

TEST(spawning_outside_a_task_gives_null)
{
    atomic_int ran = 0;
    int n = 0;

    CHECK(weft_spawn(set_flag, &ran) == NULL);
    CHECK(weft_spawn_copy(set_flag, &n, sizeof(n)) == NULL);
    CHECK(weft_spawn_with(NULL, set_flag, &ran) == NULL);
    CHECK(weft_spawn_copy_with(NULL, set_flag, &n, sizeof(n)) == NULL);
    CHECK_EQ(-EPERM, weft_go(set_flag, &ran));
    CHECK_EQ(-EPERM, weft_go_copy(set_flag, &n, sizeof(n)));
    CHECK_EQ(-EPERM, weft_go_with(NULL, set_flag, &ran));
    CHECK_EQ(-EPERM, weft_join(weft_spawn(set_flag, &ran), NULL));
    CHECK_EQ(0, atomic_load(&ran));
}

TEST_MAIN("task", join_gives_the_value_of_the_function, each_spawned_task_runs_once,
          what_was_written_before_a_spawn_is_seen_by_the_task_and_back_by_the_join,
          join_of_null_is_enomem, join_of_oneself_is_edeadlk,
          the_second_joiner_gets_ebusy_and_keeps_its_handle,
          a_cancelled_join_leaves_the_task_and_its_handle,
          a_join_future_tells_the_end_and_leaves_the_handle, a_plain_thread_joins_by_blocking,
          detached_tasks_run_to_their_end, each_reference_is_a_handle_of_its_own,
          tasks_have_names_and_ids, a_task_tells_where_it_was_spawned_and_how_it_is,
          copied_arguments_are_aligned_and_last_until_the_end,
          a_task_cancelled_before_its_first_poll_never_runs,
          a_cancelled_task_gets_ecanceled_from_its_await_and_each_later_one,
          a_task_cancelled_while_it_runs_learns_it_at_its_next_await,
          cancel_after_the_end_has_no_effect, a_task_spawned_during_shutdown_never_runs,
          spawning_outside_a_task_gives_null)
