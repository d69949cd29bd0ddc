/* SPDX-License-Identifier: MIT */
/*
 * test_misuse_waits.c - notifications, barriers, once cells, tokens, condition variables, task trackers: NULL, and
 * calls from where they do not belong. From a plain thread, a fiber, a stackless task, as in test_misuse.c.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* A debug library explains each misuse on stderr: not here. */
static void hush(void)
{
    int fd = open("/dev/null", O_WRONLY);

    CHECK(fd >= 0);
    CHECK(dup2(fd, STDERR_FILENO) >= 0);
    (void)close(fd);
}

static int return_zero(void *arg)
{
    (void)arg;
    return 0;
}

/* --- the same everywhere ---------------------------------------------------------------------- */

static void refuse_future(weft_future f)
{
    weft_context cx = weft_context_of(NULL);

    CHECK(weft_future_poll(&f, &cx) == WEFT_READY);
    CHECK_EQ(-EINVAL, f.result);
}

static void refuse_null(void)
{
    weft_future ready = weft_ready_future(0), typeless = {0};
    weft_cancel_token *t = weft_cancel_token_new(NULL);
    weft_set_once set = WEFT_SET_ONCE_INIT;
    weft_once once = WEFT_ONCE_INIT;
    weft_cancel_scope scope;

    CHECK(t);
    weft_notify_one(NULL);
    weft_notify_last(NULL);
    weft_notify_waiters(NULL);
    CHECK_EQ(-EINVAL, weft_notify_wait(NULL));
    CHECK_EQ(-EINVAL, weft_notify_wait_blocking(NULL));
    refuse_future(weft_notify_wait_future(NULL));
    CHECK(weft_notify_enable(NULL));
    CHECK(weft_notify_enable(&ready));
    CHECK(!weft_future_is_ready(&ready)); /* untouched */

    weft_barrier_init(NULL, 1);
    CHECK_EQ(-EINVAL, weft_barrier_wait(NULL));
    CHECK_EQ(-EINVAL, weft_barrier_wait_blocking(NULL));
    refuse_future(weft_barrier_wait_future(NULL));

    CHECK_EQ(-EINVAL, weft_once_run(NULL, return_zero, NULL));
    CHECK_EQ(-EINVAL, weft_once_run(&once, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_once_run_blocking(NULL, return_zero, NULL));
    CHECK_EQ(-EINVAL, weft_once_run_blocking(&once, NULL, NULL));
    CHECK(!weft_once_is_done(NULL));
    CHECK_EQ(-EINVAL, weft_once_begin(NULL));
    CHECK_EQ(-EINVAL, weft_once_begin_blocking(NULL));
    CHECK_EQ(-EINVAL, weft_once_try_begin(NULL));
    CHECK_EQ(-EINVAL, weft_once_end(NULL, true));
    CHECK_EQ(-EINVAL, weft_once_end(&once, true)); /* nobody has begun */
    CHECK(!weft_once_is_done(&once));
    refuse_future(weft_once_begin_future(NULL));
    refuse_future(weft_once_run_future(NULL, &ready));
    refuse_future(weft_once_run_future(&once, NULL));
    refuse_future(weft_once_run_future(&once, &typeless));

    CHECK_EQ(-EINVAL, weft_set_once_set(NULL, &set));
    CHECK_EQ(-EINVAL, weft_set_once_set(&set, NULL));
    CHECK(weft_set_once_get(NULL) == NULL);
    CHECK(!weft_set_once_is_set(NULL));
    CHECK_EQ(-EINVAL, weft_set_once_wait(NULL, NULL));
    CHECK_EQ(-EINVAL, weft_set_once_wait_blocking(NULL, NULL));
    refuse_future(weft_set_once_wait_future(NULL));

    CHECK(weft_cancel_token_clone(NULL) == NULL);
    weft_cancel_token_free(NULL);
    weft_cancel_token_cancel(NULL);
    CHECK(!weft_cancel_token_is_cancelled(NULL));
    CHECK_EQ(-EINVAL, weft_cancel_token_cancelled(NULL));
    CHECK_EQ(-EINVAL, weft_cancel_token_cancelled_blocking(NULL));
    refuse_future(weft_cancel_token_cancelled_future(NULL));
    CHECK_EQ(-EINVAL, weft_cancel_token_run(NULL, &ready));
    CHECK_EQ(-EINVAL, weft_cancel_token_run(t, NULL));
    CHECK_EQ(-EINVAL, weft_cancel_token_run(t, &typeless));
    CHECK_EQ(-EINVAL, weft_cancel_token_run_blocking(NULL, &ready));
    CHECK_EQ(-EINVAL, weft_cancel_token_run_blocking(t, NULL));
    CHECK_EQ(-EINVAL, weft_cancel_token_run_blocking(t, &typeless));
    refuse_future(weft_cancel_token_run_future(NULL, &ready));
    refuse_future(weft_cancel_token_run_future(t, NULL));
    CHECK(!weft_future_is_ready(&ready));
    CHECK(weft_cancel_scope_enter(NULL, t) == NULL);
    CHECK(weft_cancel_scope_enter(&scope, NULL) == &scope); /* guards nothing */
    weft_cancel_scope_disarm(&scope);
    weft_cancel_scope_leave(&scope);
    weft_cancel_scope_leave(NULL);
    weft_cancel_scope_disarm(NULL);
    CHECK(!weft_cancel_token_is_cancelled(t));
    weft_cancel_token_free(t);
}

static bool holds(void *arg)
{
    (void)arg;
    return false;
}

static void refuse_null_condvars(void)
{
    weft_condvar cv = WEFT_CONDVAR_INIT;
    weft_mutex m = WEFT_MUTEX_INIT;

    weft_condvar_signal(NULL);
    weft_condvar_broadcast(NULL);
    CHECK_EQ(-EINVAL, weft_condvar_wait(NULL, &m));
    CHECK_EQ(-EINVAL, weft_condvar_wait(&cv, NULL));
    CHECK_EQ(-EINVAL, weft_condvar_wait_blocking(NULL, &m));
    CHECK_EQ(-EINVAL, weft_condvar_wait_blocking(&cv, NULL));
    CHECK_EQ(-EINVAL, weft_condvar_wait_while(NULL, &m, holds, NULL));
    CHECK_EQ(-EINVAL, weft_condvar_wait_while(&cv, NULL, holds, NULL));
    CHECK_EQ(-EINVAL, weft_condvar_wait_while(&cv, &m, NULL, NULL));
    refuse_future(weft_condvar_wait_future(NULL));
}

static void refuse_null_trackers(void)
{
    static const char bytes[WEFT_COPY_MAX + 1];
    const weft_async_type empty = {.size = sizeof(weft_async)};
    const weft_task_options small = {.stack_size = 1};
    weft_task_tracker *tr = weft_task_tracker_new();
    weft_async state = {0};
    weft_task *t = NULL;

    CHECK(tr);
    CHECK(weft_task_tracker_clone(NULL) == NULL);
    weft_task_tracker_free(NULL);
    CHECK(weft_task_tracker_spawn(NULL, return_zero, NULL) == NULL);
    CHECK(weft_task_tracker_spawn(tr, NULL, NULL) == NULL);
    CHECK(weft_task_tracker_spawn_copy(tr, return_zero, NULL, 1) == NULL);
    CHECK(weft_task_tracker_spawn_copy(tr, return_zero, bytes, sizeof(bytes)) == NULL);
    CHECK(weft_task_tracker_spawn_with(tr, &small, return_zero, NULL) == NULL);
    CHECK(weft_task_tracker_spawn_copy_with(tr, &small, return_zero, NULL, 0) == NULL);
    CHECK(weft_task_tracker_spawn_copy_with(NULL, NULL, return_zero, NULL, 0) == NULL);
    CHECK_EQ(-EINVAL, weft_task_tracker_go_with(tr, &small, return_zero, NULL));
    CHECK_EQ(-EINVAL, weft_task_tracker_go_async(tr, NULL, &state));
    CHECK_EQ(-EINVAL, weft_task_tracker_spawn_async_on(tr, NULL, &t, NULL, &empty, &state));
    CHECK(weft_task_tracker_spawn_async(tr, NULL, &state) == NULL);
    CHECK(weft_task_tracker_spawn_async(tr, &empty, NULL) == NULL);
    CHECK(weft_task_tracker_spawn_blocking(NULL, NULL, return_zero, NULL) == NULL);
    CHECK(weft_task_tracker_spawn_blocking(tr, NULL, NULL, NULL) == NULL);
    CHECK_EQ(-EINVAL, weft_task_tracker_go(NULL, return_zero, NULL));
    CHECK_EQ(-EINVAL, weft_task_tracker_go(tr, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_task_tracker_go_copy(tr, return_zero, NULL, 1));
    CHECK_EQ(-EINVAL, weft_task_tracker_spawn_on(tr, NULL, &t, NULL, return_zero, NULL));
    CHECK_EQ(-EINVAL, weft_task_tracker_spawn_blocking_on(tr, NULL, &t, NULL, return_zero, NULL));
    CHECK_EQ(-EINVAL, weft_task_tracker_enter(NULL));
    CHECK_EQ(-EINVAL, weft_task_tracker_leave(NULL));
    CHECK_EQ(-EINVAL, weft_task_tracker_leave(tr)); /* nothing was entered */
    CHECK(!weft_task_tracker_close(NULL));
    CHECK(!weft_task_tracker_reopen(NULL));
    CHECK_EQ(-EINVAL, weft_task_tracker_wait(NULL));
    CHECK_EQ(-EINVAL, weft_task_tracker_wait_blocking(NULL));
    refuse_future(weft_task_tracker_wait_future(NULL));
    CHECK_EQ(0, weft_task_tracker_len(NULL));
    CHECK(weft_task_tracker_is_empty(NULL) && !weft_task_tracker_is_closed(NULL));
    CHECK(weft_task_tracker_is_empty(tr)); /* nothing of all that is counted */
    CHECK(!t);
    weft_task_tracker_free(tr);
}

/* --- what only fibers may do, also where it would not wait -------------------------------------------- */

static void refuse_awaits(void)
{
    weft_notify notify = WEFT_NOTIFY_INIT;
    weft_barrier barrier = WEFT_BARRIER_INIT(1);
    weft_once once = WEFT_ONCE_INIT;
    weft_set_once set = WEFT_SET_ONCE_INIT;
    weft_cancel_token *t = weft_cancel_token_new(NULL);
    weft_task_tracker *tr = weft_task_tracker_new();
    weft_condvar cv = WEFT_CONDVAR_INIT;
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_future ready = weft_ready_future(0);

    weft_notify_one(&notify);
    CHECK_EQ(0, weft_set_once_set(&set, &set));
    weft_cancel_token_cancel(t);
    CHECK(weft_task_tracker_close(tr));
    CHECK_EQ(-EPERM, weft_task_tracker_wait(tr));
    weft_task_tracker_free(tr);
    CHECK_EQ(0, weft_mutex_try_lock(&m));
    CHECK_EQ(-EPERM, weft_condvar_wait(&cv, &m));
    CHECK_EQ(-EPERM, weft_condvar_wait_while(&cv, &m, holds, NULL));
    CHECK(weft_mutex_is_held(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(-EPERM, weft_notify_wait(&notify));
    CHECK_EQ(-EPERM, weft_barrier_wait(&barrier));
    CHECK_EQ(-EPERM, weft_once_run(&once, return_zero, NULL));
    CHECK_EQ(-EPERM, weft_once_begin(&once));
    CHECK_EQ(-EPERM, weft_set_once_wait(&set, NULL));
    CHECK_EQ(-EPERM, weft_cancel_token_cancelled(t));
    CHECK_EQ(-EPERM, weft_cancel_token_run(t, &ready));
    CHECK(!weft_future_is_ready(&ready)); /* untouched */
    CHECK(!weft_once_is_done(&once));
    weft_cancel_token_free(t);
}

/* --- what would block a thread that polls tasks ------------------------------------------------------- */

static void refuse_blocking(void)
{
    weft_notify notify = WEFT_NOTIFY_INIT;
    weft_barrier barrier = WEFT_BARRIER_INIT(1);
    weft_once once = WEFT_ONCE_INIT;
    weft_set_once set = WEFT_SET_ONCE_INIT;
    weft_cancel_token *t = weft_cancel_token_new(NULL);
    weft_task_tracker *tr = weft_task_tracker_new();
    weft_condvar cv = WEFT_CONDVAR_INIT;
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_future ready = weft_ready_future(0);

    weft_notify_one(&notify);
    CHECK_EQ(0, weft_set_once_set(&set, &set));
    CHECK(weft_task_tracker_close(tr));
    CHECK_EQ(-EDEADLK, weft_task_tracker_wait_blocking(tr));
    weft_task_tracker_free(tr);
    CHECK_EQ(0, weft_mutex_try_lock(&m));
    CHECK_EQ(-EDEADLK, weft_condvar_wait_blocking(&cv, &m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(-EDEADLK, weft_notify_wait_blocking(&notify));
    CHECK_EQ(-EDEADLK, weft_barrier_wait_blocking(&barrier));
    CHECK_EQ(-EDEADLK, weft_once_run_blocking(&once, return_zero, NULL));
    CHECK_EQ(-EDEADLK, weft_once_begin_blocking(&once));
    CHECK_EQ(-EDEADLK, weft_set_once_wait_blocking(&set, NULL));
    CHECK_EQ(-EDEADLK, weft_cancel_token_cancelled_blocking(t));
    CHECK_EQ(-EDEADLK, weft_cancel_token_run_blocking(t, &ready));
    CHECK(!weft_future_is_ready(&ready)); /* untouched */
    weft_cancel_token_free(t);
}

static int in_fiber(void *arg)
{
    (void)arg;
    refuse_null();
    refuse_null_condvars();
    refuse_null_trackers();
    refuse_blocking();
    return 0;
}

static weft_poll in_stackless(void *self, weft_context *cx)
{
    (void)self;
    (void)cx;
    refuse_null();
    refuse_null_condvars();
    refuse_null_trackers();
    refuse_awaits();
    refuse_blocking();
    return WEFT_READY;
}

static const weft_async_type stackless_type = {.poll = in_stackless, .size = sizeof(weft_async)};

static int spawn_stackless(void *arg)
{
    weft_async state = {0};

    (void)arg;
    return weft_join(weft_spawn_async(&stackless_type, &state), NULL);
}

TEST(a_plain_thread_gets_codes_not_crashes)
{
    hush();
    refuse_null();
    refuse_null_condvars();
    refuse_null_trackers();
    refuse_awaits();
}

END_TEST

TEST(a_fiber_gets_codes_not_crashes)
{
    hush();
    test_run(in_fiber, NULL);
}

END_TEST

TEST(a_stackless_task_gets_codes_not_crashes)
{
    hush();
    test_run(spawn_stackless, NULL);
}

END_TEST

TEST_MAIN("misuse_waits", a_plain_thread_gets_codes_not_crashes, a_fiber_gets_codes_not_crashes,
          a_stackless_task_gets_codes_not_crashes)
