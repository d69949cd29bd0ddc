/* SPDX-License-Identifier: MIT */
/*
 * test_lock_reports.c - what is said of locks on stderr: circles of waits, with all who are in them; locks that are
 * held for long while others wait; what was handed to a future that nobody polls; and nothing else.
 *
 * stderr goes to a file, and each test waits for what must stand there.
 */
#include "lock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* This line, in the form of WEFT_SITE. Several tasks may note the same one. */
#define NOTE(where) \
 atomic_store(&(where), ("tests/api/test_lock_reports.c:" WEFT_STRINGIFY(__LINE__)))

/* --- what was said ------------------------------------------------------------------------ */

static int said_fd = -1;

static void listen_to_stderr(void)
{
    said_fd = memfd_create("stderr", MFD_CLOEXEC);
    CHECK(said_fd >= 0);
    CHECK(dup2(said_fd, STDERR_FILENO) >= 0);
}

static char all[65536];

/* How often. */
static unsigned said(const char *text)
{
    ssize_t n = pread(said_fd, all, sizeof(all) - 1, 0);
    unsigned count = 0;

    CHECK(n >= 0);
    all[n] = '\0';
    for (const char *at = all; (at = strstr(at, text)); at++)
        count++;
    return count;
}

static void until_said(const char *text)
{
    while (!said(text))
        CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
}

static void claim_said(const char *format, ...) WEFT_PRINTF(1, 2);

static void claim_said(const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (!said(text))
        test_failed(__FILE__, __LINE__, "not said: %s, but:\n%s", text, all);
}

static uint64_t metric_deadlocks(void)
{
    weft_metrics m;

    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    return m.deadlocks;
}

static uint64_t metric_overdue(void)
{
    weft_metrics m;

    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    return m.locks_overdue;
}

/* --- circles ------------------------------------------------------------------------------ */

#define MEMBERS 3

static struct circle {
    weft_mutex mutex[MEMBERS];
    atomic_uint holding; /* members that hold their own */
    unsigned members;
    bool selects; /* the first one waits for something besides */
} circle;

static const char *_Atomic held_at, *_Atomic waits_at;

static int member(void *arg)
{
    unsigned i = *(unsigned *)arg, next = (i + 1) % circle.members;
    int rc;

    /* clang-format off */
    NOTE(held_at); CHECK_EQ(0, weft_mutex_lock(&circle.mutex[i]));
    /* clang-format on */
    atomic_fetch_add(&circle.holding, 1);
    while (atomic_load(&circle.holding) < circle.members)
        CHECK_EQ(0, weft_yield());
    if (circle.selects && i == 0) {
        weft_future lock = weft_mutex_lock_future(&circle.mutex[next]),
                    nap = weft_sleep_future(WEFT_SECS(1000));

        rc = (int)weft_select(&lock, &nap);
    } else {
        /* clang-format off */
        NOTE(waits_at); rc = weft_mutex_lock(&circle.mutex[next]);
        /* clang-format on */
        if (rc == 0)
            CHECK_EQ(0, weft_mutex_unlock(&circle.mutex[next]));
    }
    CHECK_EQ(0, weft_mutex_unlock(&circle.mutex[i]));
    return rc;
}

static void circle_begin(weft_task *t[], unsigned members, bool selects)
{
    static const char *const names[] = {"ann", "bob", "cyd"};

    circle = (struct circle){.members = members, .selects = selects};
    CHECK_EQ(0, weft_mutex_init(&circle.mutex[0], "left"));
    CHECK_EQ(0, weft_mutex_init(&circle.mutex[1], "right"));
    for (unsigned i = 0; i < members; i++) {
        const weft_task_options o = {.name = names[i]};

        t[i] = weft_spawn_copy_with(&o, member, &i, sizeof(i));
    }
}

static void circle_end(weft_task *t[], unsigned members)
{
    for (unsigned i = 0; i < members; i++)
        until_waiting(t[i]);
    weft_cancel(t[0]);
    for (unsigned i = 0; i < members; i++)
        CHECK_EQ(i == 0 ? -ECANCELED : 0, result_of(t[i]));
}

static int two_root(void *arg)
{
    uint64_t ann, bob;
    weft_task *t[2];

    (void)arg;
    circle_begin(t, 2, false);
    ann = weft_task_id(t[0]);
    bob = weft_task_id(t[1]);
    until_said("deadlock 1: 2 wait");
    until_said("by task");
    circle_end(t, 2);
    CHECK_EQ(3, said("deadlock 1: "));
    claim_said("task %llu \"ann\" (spawned at ", (unsigned long long)ann);
    claim_said("task %llu \"bob\" (spawned at ", (unsigned long long)bob);
    CHECK_EQ(4, said("(spawned at tests/api/test_lock_reports.c:"));
    claim_said(" waits at %s for the mutex %p \"right\", locked at %s by task %llu \"bob\"",
               atomic_load(&waits_at), (void *)&circle.mutex[1], atomic_load(&held_at),
               (unsigned long long)bob);
    claim_said(" waits at %s for the mutex %p \"left\", locked at %s by task %llu \"ann\"",
               atomic_load(&waits_at), (void *)&circle.mutex[0], atomic_load(&held_at),
               (unsigned long long)ann);
    CHECK_EQ(1, metric_deadlocks());
    return 0;
}

TEST(a_circle_is_told_with_all_that_is_known)
{
    listen_to_stderr();
    test_run_on(&test_flavours[0], two_root, NULL);
}

static int three_root(void *arg)
{
    weft_task *t[3];

    (void)arg;
    circle_begin(t, 3, false);
    until_said("3 wait for each other's locks");
    circle_end(t, 3);
    CHECK_EQ(1, metric_deadlocks());
    return 0;
}

TEST(one_of_three_is_told_on_several_workers)
{
    listen_to_stderr();
    test_run_on(&test_flavours[3], three_root, NULL);
}

static int again_root(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 3; i++) {
        weft_task *t[2];

        circle_begin(t, 2, false);
        while (metric_deadlocks() != i + 1)
            CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
        circle_end(t, 2);
    }
    CHECK_EQ(1, said(": 2 wait for each other's locks"));
    return 0;
}

TEST(it_is_told_once_for_the_same_places_and_counted_each_time)
{
    listen_to_stderr();
    test_run_on(&test_flavours[1], again_root, NULL);
}

static int select_root(void *arg)
{
    weft_task *t[2];

    (void)arg;
    circle_begin(t, 2, true);
    circle_end(t, 2);
    CHECK_EQ(0, said("deadlock"));
    CHECK_EQ(0, metric_deadlocks());
    return 0;
}

TEST(a_wait_for_several_things_makes_no_circle)
{
    listen_to_stderr();
    test_run(select_root, NULL);
}

/* One that has been asked to stop will do so, even if not now. */
static atomic_bool shielded_holds;

static int waits_shielded(void *arg)
{
    weft_mutex *m = arg;
    int rc = 0;

    CHECK_EQ(0, weft_mutex_lock(&m[1]));
    atomic_store(&shielded_holds, true);
    WEFT_SHIELD
    {
        rc = weft_mutex_lock(&m[0]);
        CHECK_EQ(0, rc);
        CHECK_EQ(0, weft_mutex_unlock(&m[0]));
    }
    CHECK_EQ(0, weft_mutex_unlock(&m[1]));
    return rc;
}

static int cancelled_root(void *arg)
{
    weft_mutex m[2] = {WEFT_MUTEX_INIT, WEFT_MUTEX_INIT};
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, weft_mutex_lock(&m[0]));
    t = weft_spawn(waits_shielded, m);
    until_waiting(t);
    weft_cancel(t);
    until_waiting(t);
    WEFT_DEADLINE(WEFT_MS(5))
    {
        CHECK_EQ(-ETIMEDOUT, weft_mutex_lock(&m[1]));
    }
    CHECK_EQ(0, said("deadlock"));
    CHECK_EQ(0, weft_mutex_unlock(&m[0]));
    CHECK_EQ(0, result_of(t));
    return 0;
}

TEST(nor_does_one_of_a_task_that_is_cancelled)
{
    listen_to_stderr();
    test_run(cancelled_root, NULL);
}

/* A task, a plain thread, and a lock held for writing. */
static struct mixed {
    weft_rwlock table;
    weft_mutex mutex;
    atomic_bool thread_holds, thread_done;
} mixed = {.table = WEFT_RWLOCK_NAMED("table"), .mutex = WEFT_MUTEX_NAMED("mutex")};

static void *mixed_thread(void *arg)
{
    (void)arg;
    CHECK_EQ(0, weft_mutex_lock_blocking(&mixed.mutex));
    atomic_store(&mixed.thread_holds, true);
    CHECK_EQ(0, weft_rwlock_read_lock_blocking(&mixed.table));
    CHECK_EQ(0, weft_rwlock_read_unlock(&mixed.table));
    CHECK_EQ(0, weft_mutex_unlock(&mixed.mutex));
    return NULL;
}

static int mixed_root(void *arg)
{
    pthread_t thread;

    (void)arg;
    CHECK_EQ(0, weft_rwlock_write_lock(&mixed.table));
    CHECK_EQ(0, pthread_create(&thread, NULL, mixed_thread, NULL));
    while (!atomic_load(&mixed.thread_holds))
        CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
    while (metric_deadlocks() == 0) {
        WEFT_DEADLINE(WEFT_MS(20))
        {
            CHECK_EQ(-ETIMEDOUT, weft_mutex_lock(&mixed.mutex));
        }
    }
    CHECK_EQ(0, weft_rwlock_write_unlock(&mixed.table));
    CHECK_EQ(0, pthread_join(thread, NULL));
    until_said("2 wait for each other's locks");
    CHECK(said(": thread ") >= 1);
    CHECK(said(" for the rwlock, for reading, ") >= 1);
    CHECK(said("\"table\", locked at ") >= 1);
    CHECK(said(" for the mutex ") >= 1);
    return 0;
}

TEST(threads_and_writers_are_in_circles_too)
{
    listen_to_stderr();
    test_run_on(&test_flavours[1], mixed_root, NULL);
}

/* Stackless tasks that await the lock alone. */
struct stackless {
    weft_async async;
    unsigned i;
    weft_future wait;
};

static weft_poll stackless_poll(void *self, weft_context *cx)
{
    struct stackless *s = self;

    WEFT_ASYNC_BEGIN(s);
    s->wait = weft_mutex_lock_future(&circle.mutex[s->i]);
    WEFT_AWAIT(s, cx, &s->wait);
    CHECK_EQ(0, s->wait.result);
    atomic_fetch_add(&circle.holding, 1);
    while (atomic_load(&circle.holding) < 2) {
        s->wait = weft_yield_future();
        WEFT_AWAIT(s, cx, &s->wait);
    }
    s->wait = weft_mutex_lock_future(&circle.mutex[1 - s->i]);
    WEFT_AWAIT(s, cx, &s->wait);
    CHECK_EQ(0, s->wait.result);
    CHECK_EQ(0, weft_mutex_unlock(&circle.mutex[1 - s->i]));
    WEFT_RETURN(s, 0);
    WEFT_ASYNC_END(s);
}

static void stackless_drop(void *self)
{
    struct stackless *s = self;

    CHECK_EQ(0, weft_mutex_unlock(&circle.mutex[s->i]));
}

static const weft_async_type stackless_type = {.poll = stackless_poll,
                                               .drop = stackless_drop,
                                               .size = sizeof(struct stackless),
                                               .name = "stackless"};

static int stackless_root(void *arg)
{
    weft_task *t[2];

    (void)arg;
    circle = (struct circle){.members = 2};
    for (unsigned i = 0; i < 2; i++)
        t[i] = weft_spawn_async(&stackless_type, &(struct stackless){.i = i});
    until_said("2 wait for each other's locks");
    weft_cancel(t[0]);
    CHECK_EQ(-ECANCELED, result_of(t[0]));
    CHECK_EQ(0, result_of(t[1]));
    return 0;
}

TEST(stackless_tasks_are_in_circles_too)
{
    listen_to_stderr();
    test_run_on(&test_flavours[2], stackless_root, NULL);
}

/* --- held for long ------------------------------------------------------------------------ */

static void run_limited(weft_duration limit, weft_fn *fn, void *arg)
{
    weft_config c = {.worker_threads = 2, .ignore_env = WEFT_ON, .lock_held_limit = limit};
    weft_runtime *rt;
    int result = 1;

    test_watchdog(20);
    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    CHECK_EQ(0, weft_block_on(rt, fn, arg, &result));
    CHECK_EQ(0, result);
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    weft_runtime_free(rt);
}

static int long_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_NAMED("cache");
    const weft_task_options named = {.name = "patient"};
    weft_task *t;

    (void)arg;
    /* clang-format off */
    NOTE(held_at); CHECK_EQ(0, weft_mutex_lock(&m));
    /* clang-format on */
    t = weft_spawn_with(&named, lock_and_unlock, &m);
    until_said("has been held for");
    claim_said("mutex %p \"cache\" has been held for ", (void *)&m);
    claim_said(" by task %llu \"root\" (spawned at ",
               (unsigned long long)weft_task_id(weft_task_self()));
    claim_said("), locked at %s, while task %llu \"patient\" (spawned at ", atomic_load(&held_at),
               (unsigned long long)weft_task_id(t));
    claim_said(") waits for it at ");
    while (metric_overdue() != 1)
        CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, weft_sleep(WEFT_MS(50))); /* once for each holder */
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(0, result_of(t));
    CHECK_EQ(1, said("has been held for"));
    CHECK_EQ(1, metric_overdue());
    return 0;
}

TEST(a_mutex_that_is_held_for_long_while_others_wait_is_told)
{
    listen_to_stderr();
    run_limited(WEFT_MS(20), long_root, NULL);
}

/* All have lined up when the first of them gets it: it holds it until it was told. */
static int holds_until_told(void *arg)
{
    char text[64];

    (void)snprintf(text, sizeof(text), " ms by task %llu ",
                   (unsigned long long)weft_task_id(weft_task_self()));
    CHECK_EQ(0, weft_mutex_lock(arg));
    until_said(text);
    return weft_mutex_unlock(arg);
}

static int count_root(void *arg)
{
    const weft_task_options named = {.name = "holder"};
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_task *t[3];

    (void)arg;
    CHECK_EQ(0, weft_mutex_lock(&m));
    t[0] = weft_spawn_with(&named, holds_until_told, &m);
    until_waiting(t[0]);
    for (unsigned i = 1; i < 3; i++) {
        t[i] = weft_spawn(lock_and_unlock, &m);
        until_waiting(t[i]);
    }
    CHECK_EQ(0, weft_mutex_unlock(&m));
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(0, result_of(t[i]));
    claim_said(" (and 1 more)");
    return 0;
}

TEST(so_is_how_many_wait)
{
    listen_to_stderr();
    run_limited(WEFT_MS(20), count_root, NULL);
}

static int waits_in_select(void *arg)
{
    weft_future lock = weft_mutex_lock_future(arg), nap = weft_sleep_future(WEFT_SECS(1000));

    CHECK_EQ(0, weft_select(&lock, &nap));
    return weft_mutex_unlock(arg);
}

static int unlock_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, weft_mutex_lock(&m));
    t = weft_spawn(waits_in_select, &m);
    until_waiting(t);
    CHECK_EQ(0, weft_sleep(WEFT_MS(25)));
    CHECK_EQ(0, said("has been held for"));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(0, result_of(t));
    until_said("has been held for");
    CHECK_EQ(1, metric_overdue());
    return 0;
}

TEST(who_unlocks_it_tells_if_nobody_else_does)
{
    listen_to_stderr();
    run_limited(WEFT_MS(20), unlock_root, NULL);
}

static int reads(void *arg)
{
    CHECK_EQ(0, weft_rwlock_read_lock(arg));
    return weft_rwlock_read_unlock(arg);
}

static int writes(void *arg)
{
    CHECK_EQ(0, weft_rwlock_write_lock(arg));
    return weft_rwlock_write_unlock(arg);
}

static int rwlock_root(void *arg)
{
    weft_rwlock l = WEFT_RWLOCK_NAMED("table");
    weft_task *t;

    (void)arg;
    /* clang-format off */
    NOTE(held_at); CHECK_EQ(0, weft_rwlock_write_lock(&l));
    /* clang-format on */
    t = weft_spawn(reads, &l);
    until_said("has been held for");
    claim_said("rwlock %p \"table\" has been held for ", (void *)&l);
    claim_said("), locked at %s, while task ", atomic_load(&held_at));
    CHECK_EQ(0, weft_rwlock_write_unlock(&l));
    CHECK_EQ(0, result_of(t));
    CHECK_EQ(0, weft_rwlock_read_lock(&l));
    t = weft_spawn(writes, &l);
    until_said(" ms by readers, while task ");
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    CHECK_EQ(0, result_of(t));
    return 0;
}

TEST(so_is_one_for_writing_or_reading)
{
    listen_to_stderr();
    run_limited(WEFT_MS(20), rwlock_root, NULL);
}

static int holds_a_while(void *arg)
{
    CHECK_EQ(0, weft_mutex_lock(arg));
    CHECK_EQ(0, weft_sleep(WEFT_MS(60) * test_slow()));
    return weft_mutex_unlock(arg);
}

static int line_root(void *arg)
{
    enum { LINE = 12 };

    weft_mutex m = WEFT_MUTEX_INIT;
    weft_task *t[LINE];

    (void)arg;
    for (int i = 0; i < LINE; i++)
        t[i] = weft_spawn(holds_a_while, &m);
    for (int i = 0; i < LINE; i++)
        CHECK_EQ(0, result_of(t[i]));
    CHECK_EQ(0, said("has been held for"));
    CHECK_EQ(0, metric_overdue());
    return 0;
}

TEST(a_long_line_of_short_holders_is_not)
{
    listen_to_stderr();
    run_limited(WEFT_MS(500) * test_slow(), line_root, NULL);
}

static int quiet_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, weft_mutex_lock(&m));
    t = weft_spawn(lock_and_unlock, &m);
    until_waiting(t);
    CHECK_EQ(0, weft_sleep(WEFT_MS(1500)));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(0, result_of(t));
    CHECK_EQ(0, said("held"));
    CHECK_EQ(0, metric_overdue());
    return 0;
}

TEST(without_a_limit_nothing_is_told)
{
    listen_to_stderr();
    run_limited(WEFT_FOREVER, quiet_root, NULL);
}

static int env_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, weft_mutex_lock(&m));
    t = weft_spawn(lock_and_unlock, &m);
    until_said("has been held for");
    CHECK_EQ(0, weft_mutex_unlock(&m));
    return result_of(t);
}

TEST(the_limit_comes_from_the_environment)
{
    weft_runtime *rt;
    int result = 1;

    listen_to_stderr();
    CHECK_EQ(0, setenv("WEFT_LOCK_HELD_LIMIT", "20000", 1));
    test_watchdog(20);
    CHECK_EQ(0, weft_runtime_new(&rt, NULL));
    CHECK_EQ(0, weft_block_on(rt, env_root, NULL, &result));
    CHECK_EQ(0, result);
    weft_runtime_free(rt);
    CHECK_EQ(0, setenv("WEFT_LOCK_HELD_LIMIT", "soon", 1));
    CHECK_EQ(-EINVAL, weft_runtime_new(&rt, NULL));
    CHECK_EQ(1, said("WEFT_LOCK_HELD_LIMIT=soon is not a valid value"));
}

/* --- handed, and not taken up -------------------------------------------------------------- */

static int acquires(void *arg)
{
    CHECK_EQ(0, weft_semaphore_acquire(arg));
    return weft_semaphore_release(arg, 1);
}

/* The future of this task is handed what others wait for, and nobody polls it. */
static void futurelock(weft_future *kept, weft_fn *fn, void *lock, const char *kind)
{
    weft_task *t = weft_spawn(fn, lock);
    char text[64];

    (void)snprintf(text, sizeof(text), "%s %p was handed ", kind, lock);
    until_said(text);
    claim_said(" ms ago to task %llu \"keeper\" (spawned at ",
               (unsigned long long)weft_task_id(weft_task_self()));
    claim_said("), waiting at %s, whose future has not been polled since, while task ",
               atomic_load(&waits_at));
    weft_future_drop(kept);
    CHECK_EQ(0, result_of(t));
}

static void keep(weft_future *kept)
{
    weft_future yield = weft_yield_future();

    CHECK_EQ(1, weft_select_keep(kept, &yield));
}

static int keeper(void *arg)
{
    weft_semaphore s = WEFT_SEMAPHORE_INIT(0);
    weft_rwlock l = WEFT_RWLOCK_INIT;
    weft_mutex m = WEFT_MUTEX_INIT;
    struct holder h;
    weft_task *t = holder_start(&h, &m, false);
    weft_future kept;

    (void)arg;
    /* clang-format off */
    NOTE(waits_at); kept = weft_mutex_lock_future(&m);
    /* clang-format on */
    keep(&kept);
    holder_end(&h, t);
    futurelock(&kept, lock_and_unlock, &m, "mutex");
    /* clang-format off */
    NOTE(waits_at); kept = weft_semaphore_acquire_future(&s);
    /* clang-format on */
    keep(&kept);
    CHECK_EQ(0, weft_semaphore_release(&s, 1));
    futurelock(&kept, acquires, &s, "semaphore");
    CHECK_EQ(0, weft_rwlock_read_lock(&l));
    /* clang-format off */
    NOTE(waits_at); kept = weft_rwlock_write_lock_future(&l);
    /* clang-format on */
    keep(&kept);
    CHECK_EQ(0, weft_rwlock_read_unlock(&l));
    futurelock(&kept, reads, &l, "rwlock");
    CHECK(metric_overdue() >= 3);
    return 0;
}

static int keeper_root(void *arg)
{
    const weft_task_options named = {.name = "keeper"};

    (void)arg;
    return result_of(weft_spawn_with(&named, keeper, NULL));
}

TEST(what_was_handed_to_a_future_that_nobody_polls_is_told)
{
    listen_to_stderr();
    run_limited(WEFT_MS(20), keeper_root, NULL);
}

/* --- an owner's end ------------------------------------------------------------------------ */

static int forgets(void *arg)
{
    /* clang-format off */
    NOTE(held_at); CHECK_EQ(0, weft_mutex_lock(arg));
    /* clang-format on */
    return 0;
}

static int forgets_writing(void *arg)
{
    CHECK_EQ(0, weft_rwlock_write_lock(arg));
    return 0;
}

static int end_root(void *arg)
{
    weft_rwlock l = WEFT_RWLOCK_NAMED("table");
    weft_mutex m = WEFT_MUTEX_NAMED("cache");

    (void)arg;
    CHECK_EQ(0, result_of(weft_spawn(forgets, &m)));
    claim_said("has ended with the mutex %p \"cache\", which it locked at %s", (void *)&m,
               atomic_load(&held_at));
    CHECK_EQ(0, result_of(weft_spawn(forgets_writing, &l)));
    claim_said("has ended with the rwlock %p \"table\", which it locked at ", (void *)&l);
    CHECK_EQ(-EOWNERDEAD, weft_mutex_lock(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    return 0;
}

TEST(a_task_that_ends_with_a_lock_is_told)
{
    listen_to_stderr();
    test_run_on(&test_flavours[0], end_root, NULL);
}

TEST_MAIN("lock_reports", a_circle_is_told_with_all_that_is_known,
          one_of_three_is_told_on_several_workers,
          it_is_told_once_for_the_same_places_and_counted_each_time,
          a_wait_for_several_things_makes_no_circle, nor_does_one_of_a_task_that_is_cancelled,
          threads_and_writers_are_in_circles_too, stackless_tasks_are_in_circles_too,
          a_mutex_that_is_held_for_long_while_others_wait_is_told, so_is_how_many_wait,
          who_unlocks_it_tells_if_nobody_else_does, so_is_one_for_writing_or_reading,
          a_long_line_of_short_holders_is_not, without_a_limit_nothing_is_told,
          the_limit_comes_from_the_environment,
          what_was_handed_to_a_future_that_nobody_polls_is_told,
          a_task_that_ends_with_a_lock_is_told)
