/* SPDX-License-Identifier: MIT */
/*
 * test_stall.c - a task that blocks its thread, computes, or spawns without end, slows only itself.
 *
 * Nothing is timed: the tasks are stuck until what waits behind them has happened, by whichever way it is made
 * ready. Without a stand-in the test does not end.
 */
#include "gate.h"
#include "stage.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ECHOES 2000

/* --- what waits behind them ------------------------------------------------------- */

static int sleeper(void *arg)
{
    struct stage *s = arg;

    for (int i = 0; i < 3; i++)
        CHECK_EQ(0, weft_sleep(WEFT_US(300)));
    atomic_fetch_add(&s->done, 1);
    return 0;
}

static void timers_fire_behind(void)
{
    struct stage s;

    EACH_STAGE(&s)
    {
        weft_task *t;

        CHECK_EQ(0, weft_spawn_on(s.rt, &t, NULL, sleeper, &s));
        stage_stick(&s, stuck_task);
        stage_wait(&s.stuck, s.count);
        stage_wait(&s.done, 1);
        stage_release(&s);
        CHECK_EQ(0, weft_join_blocking(t, NULL));
    }
}

TEST(timers_fire)
{
    timers_fire_behind();
}

/* Who stands in must also get hold of it. */
TEST(one_processor_is_enough)
{
    cpu_set_t all, one;

    CPU_ZERO(&one);
    CHECK_EQ(0, sched_getaffinity(0, sizeof(all), &all));
    for (size_t i = 0; i < (size_t)CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    CHECK_EQ(0, sched_setaffinity(0, sizeof(one), &one));
    timers_fire_behind();
}

static int peer_fd;

static int reader(void *arg)
{
    struct stage *s = arg;
    weft_stream *stream;
    char text[8];
    int pair[2];

    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair));
    peer_fd = pair[1];
    CHECK_EQ(0, weft_stream_from_fd(&stream, pair[0]));
    atomic_fetch_add(&s->captured, 1);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(1, weft_read(stream, text, sizeof(text)));
        atomic_fetch_add(&s->done, 1);
    }
    weft_close(stream);
    return 0;
}

TEST(sockets_are_read)
{
    struct stage s;

    EACH_STAGE(&s)
    {
        weft_task *t;

        CHECK_EQ(0, weft_spawn_on(s.rt, &t, NULL, reader, &s));
        stage_wait(&s.captured, 1);
        stage_stick(&s, stuck_task);
        stage_wait(&s.stuck, s.count);
        for (unsigned i = 1; i <= 3; i++) {
            CHECK_EQ(1, write(peer_fd, "x", 1));
            stage_wait(&s.done, i);
        }
        stage_release(&s);
        CHECK_EQ(0, weft_join_blocking(t, NULL));
        (void)close(peer_fd);
    }
}

static int nothing(void *arg)
{
    struct stage *s = arg;

    atomic_fetch_add(&s->done, 1);
    return 0;
}

TEST(tasks_from_outside_run)
{
    struct stage s;

    EACH_STAGE(&s)
    {
        stage_stick(&s, stuck_task);
        stage_wait(&s.stuck, s.count);
        for (unsigned i = 1; i <= 20; i++) {
            weft_task *t;

            CHECK_EQ(0, weft_spawn_on(s.rt, &t, NULL, nothing, &s));
            CHECK_EQ(0, weft_join_blocking(t, NULL));
        }
        stage_release(&s);
    }
}

/* --- what they made ready themselves, just before --------------------------------- */

struct waiter {
    weft_async async;
    struct stage *stage;
    bool begun;
};

static weft_poll waiter_poll(void *self, weft_context *cx)
{
    struct waiter *w = self;
    unsigned i;

    if (w->begun) {
        atomic_fetch_add(&w->stage->done, 1);
        return WEFT_READY;
    }
    w->begun = true;
    i = atomic_load(&w->stage->captured);
    w->stage->wakers[i] = weft_context_waker(cx);
    atomic_store(&w->stage->captured, i + 1);
    return WEFT_PENDING;
}

static const weft_async_type waiter_type = {waiter_poll, NULL, sizeof(struct waiter), "waiter"};

/* The woken task is in the LIFO slot of a worker that does not come back. */
static int wake_and_get_stuck(void *arg)
{
    struct stage *s = arg;

    weft_waker_wake(&s->wakers[atomic_fetch_add(&s->stuck, 1)]);
    atomic_fetch_sub(&s->stuck, 1);
    get_stuck(s);
    return 0;
}

TEST(a_task_that_was_woken_last_is_not_stranded)
{
    struct stage s;

    EACH_STAGE(&s)
    {
        weft_task *waiters[STUCK_MAX];

        if (s.count > 2)
            s.count = 2;
        for (unsigned i = 0; i < s.count; i++) {
            struct waiter w = {.stage = &s};

            CHECK_EQ(0, weft_spawn_async_on(s.rt, &waiters[i], NULL, &waiter_type, &w));
            stage_wait(&s.captured, i + 1);
        }
        atomic_store(&s.captured, 0);
        for (unsigned i = 0; i < s.count; i++) {
            CHECK_EQ(0, weft_spawn_on(s.rt, &s.stuck_tasks[i], NULL, wake_and_get_stuck, &s));
            stage_wait(&s.stuck, i + 1);
        }
        stage_wait(&s.done, s.count);
        stage_release(&s);
        for (unsigned i = 0; i < s.count; i++)
            CHECK_EQ(0, weft_join_blocking(waiters[i], NULL));
    }
}

static int spawn_and_get_stuck(void *arg)
{
    for (int i = 0; i < 5; i++)
        CHECK_EQ(0, weft_go(nothing, arg));
    get_stuck(arg);
    return 0;
}

TEST(tasks_that_they_spawned_run)
{
    struct stage s;

    EACH_STAGE(&s)
    {
        stage_stick(&s, spawn_and_get_stuck);
        stage_wait(&s.done, 5 * s.count);
        stage_release(&s);
    }
}

/* While it computes it goes on to wake and to spawn, with its seat taken from it. */
static int compute_and_spawn(void *arg)
{
    struct stage *s = arg;

    for (unsigned i = 0; i < 2000; i++) {
        unsigned before = atomic_load(&s->done);

        CHECK_EQ(0, weft_go(nothing, arg));
        while (atomic_load(&s->done) == before)
            continue;
    }
    return 0;
}

TEST(a_relieved_task_still_spawns)
{
    struct stage s;

    for (unsigned workers = 1; workers <= 2; workers++) {
        weft_task *t;

        stage_open(&s, COMPUTING, workers, 0);
        CHECK_EQ(0, weft_spawn_on(s.rt, &t, NULL, compute_and_spawn, &s));
        CHECK_EQ(0, weft_join_blocking(t, NULL));
        CHECK_EQ(2000, atomic_load(&s.done));
        stage_close(&s);
    }
}

/* Woken again and again, it says so each time. */
struct echo {
    weft_async async;
    struct stage *stage;
};

static weft_poll echo_poll(void *self, weft_context *cx)
{
    struct stage *s = ((struct echo *)self)->stage;
    unsigned n = atomic_load(&s->done);

    if (n == ECHOES)
        return WEFT_READY;
    s->wakers[0] = weft_context_waker(cx);
    atomic_store(&s->done, n + 1);
    return WEFT_PENDING;
}

static const weft_async_type echo_type = {echo_poll, NULL, sizeof(struct echo), "echo"};

static int compute_and_wake(void *arg)
{
    struct stage *s = arg;

    for (unsigned n = 1; n <= ECHOES; n++) {
        while (atomic_load(&s->done) < n)
            continue;
        weft_waker_wake(&s->wakers[0]);
    }
    return 0;
}

TEST(a_relieved_task_still_wakes)
{
    struct stage s;

    for (unsigned workers = 1; workers <= 2; workers++) {
        weft_task *t, *echo;

        stage_open(&s, COMPUTING, workers, 0);
        CHECK_EQ(0,
                 weft_spawn_async_on(s.rt, &echo, NULL, &echo_type, &(struct echo){.stage = &s}));
        stage_wait(&s.done, 1);
        CHECK_EQ(0, weft_spawn_on(s.rt, &t, NULL, compute_and_wake, &s));
        CHECK_EQ(0, weft_join_blocking(t, NULL));
        CHECK_EQ(0, weft_join_blocking(echo, NULL));
        CHECK_EQ(ECHOES, atomic_load(&s.done));
        stage_close(&s);
    }
}

TEST(wakes_from_outside_arrive)
{
    struct stage s;

    EACH_STAGE(&s)
    {
        struct waiter w = {.stage = &s};
        weft_task *t;

        CHECK_EQ(0, weft_spawn_async_on(s.rt, &t, NULL, &waiter_type, &w));
        stage_wait(&s.captured, 1);
        stage_stick(&s, stuck_task);
        stage_wait(&s.stuck, s.count);
        weft_waker_wake(&s.wakers[0]);
        stage_wait(&s.done, 1);
        stage_release(&s);
        CHECK_EQ(0, weft_join_blocking(t, NULL));
    }
}

/* A timer that wakes somebody else, and then gets stuck: the worker does not come to tell the sleepers of it. */
static int arm_and_get_stuck(void *arg)
{
    struct stage *s = arg;
    weft_future nap = weft_sleep_future(WEFT_MS(1));
    weft_waker *waker = &s->wakers[atomic_fetch_add(&s->armed, 1)];
    weft_context cx = weft_context_of(waker);

    /* Meanwhile the others fall asleep. */
    CHECK_EQ(0, weft_sleep(WEFT_MS(3)));
    CHECK_EQ(WEFT_PENDING, weft_future_poll(&nap, &cx));
    get_stuck(s);
    weft_future_drop(&nap);
    weft_waker_drop(waker);
    return 0;
}

TEST(timers_that_they_armed_for_others_fire)
{
    struct stage s;

    EACH_STAGE(&s)
    {
        weft_task *waiters[STUCK_MAX];

        for (unsigned i = 0; i < s.count; i++) {
            struct waiter w = {.stage = &s};

            CHECK_EQ(0, weft_spawn_async_on(s.rt, &waiters[i], NULL, &waiter_type, &w));
            stage_wait(&s.captured, i + 1);
        }
        stage_stick(&s, arm_and_get_stuck);
        stage_wait(&s.done, s.count);
        stage_release(&s);
        for (unsigned i = 0; i < s.count; i++)
            CHECK_EQ(0, weft_join_blocking(waiters[i], NULL));
    }
}

/* --- a task that only spawns ------------------------------------------------------------ */

static int spawn_for_long(void *arg)
{
    weft_instant until = weft_now() + WEFT_MS(300);

    (void)arg;
    while (weft_now() < until)
        spawn_one(WEFT_NS(300)); /* a busy machine makes it a few times that */
    return 0;
}

/* It is long past the limit, which a task that computes must not be: that one would be relieved in it. */
TEST(a_task_that_only_spawns_is_left_alone_while_nobody_else_waits)
{
    if (test_slow() > 1)
        TEST_SKIP("to spawn takes most of the time only where it is fast");
    for (unsigned workers = 1; workers <= 2; workers++) {
        weft_config c = {
            .worker_threads = workers, .ignore_env = WEFT_ON, .stall_computing = WEFT_MS(100)};
        weft_runtime *rt;
        weft_metrics m;

        CHECK_EQ(0, weft_runtime_new(&rt, &c));
        test_watchdog(60);
        CHECK_EQ(0, weft_block_on(rt, spawn_for_long, NULL, NULL));
        CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
        CHECK_EQ(0, m.standin_threads);
        CHECK_EQ(0, m.stalls);
        CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
        weft_runtime_free(rt);
    }
}

/* --- coming and going ---------------------------------------------------------------- */

/* Beyond the limit tasks wait, and that is all. */
TEST(more_are_stuck_than_may_be_relieved)
{
    weft_config c = {.worker_threads = 2, .max_standins = 1, .ignore_env = WEFT_ON};

    for (enum how how = BLOCKED; how <= COMPUTING; how++) {
        struct stage s = {.how = how, .count = 5};
        weft_metrics m;
        weft_task *t;

        CHECK_EQ(0, weft_runtime_new(&s.rt, &c));
        CHECK_EQ(0, pipe(s.hold));
        test_watchdog(60);
        stage_stick(&s, stuck_task);
        stage_wait(&s.stuck, 3);
        CHECK_EQ(0, weft_spawn_on(s.rt, &t, NULL, nothing, &s));
        do
            CHECK_EQ(0, weft_metrics_snapshot(s.rt, &m));
        while (m.stalled < 3);
        CHECK_EQ(1, m.standins);
        CHECK_EQ(3, atomic_load(&s.stuck));
        CHECK_EQ(0, atomic_load(&s.done));
        stage_release(&s);
        CHECK_EQ(0, weft_join_blocking(t, NULL));
        stage_close(&s);
    }
}

static int blocks_often(void *arg)
{
    struct stage *s = arg;

    for (uint64_t i = 0; i < test_scaled(1250); i++) {
        usleep(700);
        CHECK_EQ(0, weft_yield());
    }
    atomic_fetch_add(&s->done, 1);
    return 0;
}

static int spawn_one_and_get_stuck(void *arg)
{
    /* Meanwhile the others fall asleep. */
    CHECK_EQ(0, weft_sleep(WEFT_MS(3)));
    CHECK_EQ(0, weft_go(nothing, arg));
    get_stuck(arg);
    return 0;
}

/* The stand-in of the stall before sleeps, and no other is needed: it is to be woken. */
TEST(a_stand_in_that_sleeps_is_called_again)
{
    weft_config c = {.worker_threads = 2, .ignore_env = WEFT_ON};
    struct stage s = {.how = BLOCKED, .count = 2};

    CHECK_EQ(0, weft_runtime_new(&s.rt, &c));
    CHECK_EQ(0, pipe(s.hold));
    test_watchdog(60);
    for (unsigned i = 1; i <= 20; i++) {
        s.count = 2;
        stage_stick(&s, stuck_task);
        stage_wait(&s.stuck, 2);
        /* It is there, and has run this. */
        s.count = 0;
        CHECK_EQ(0, weft_spawn_on(s.rt, &s.stuck_tasks[2], NULL, nothing, &s));
        CHECK_EQ(0, weft_join_blocking(s.stuck_tasks[2], NULL));
        s.count = 2;
        stage_release(&s);
        s.count = 1;
        stage_stick(&s, spawn_one_and_get_stuck);
        stage_wait(&s.done, 2 * i);
        stage_release(&s);
        atomic_store(&s.stuck, 0);
    }
    stage_close(&s);
}

static atomic_uint leaving, may_leave;

static void leave_late(void *user)
{
    (void)user;
    atomic_fetch_add(&leaving, 1);
    while (!atomic_load(&may_leave))
        usleep(1000);
}

/* Its thread is in the program's hook, which lasts: another one stands in meanwhile. */
TEST(a_stand_in_that_is_on_its_way_out_holds_nobody_up)
{
    weft_config c = {.worker_threads = 1,
                     .ignore_env = WEFT_ON,
                     .thread_keep_alive = WEFT_MS(1),
                     .on_thread_stop = leave_late};
    struct stage s = {.how = BLOCKED, .count = 1};

    CHECK_EQ(0, weft_runtime_new(&s.rt, &c));
    CHECK_EQ(0, pipe(s.hold));
    test_watchdog(60);
    for (unsigned i = 1; i <= 3; i++) {
        weft_task *t;

        stage_stick(&s, stuck_task);
        stage_wait(&s.stuck, i);
        CHECK_EQ(0, weft_spawn_on(s.rt, &t, NULL, nothing, &s));
        CHECK_EQ(0, weft_join_blocking(t, NULL));
        stage_release(&s);
        stage_wait(&leaving, i);
    }
    atomic_store(&may_leave, 1);
    stage_close(&s);
}

TEST(ten_thousand_stalls_leave_nothing_behind)
{
    struct stage s;
    unsigned before;

    stage_open(&s, BLOCKED, 2, 8);
    before = threads();
    stage_stick(&s, blocks_often);
    for (unsigned i = 0; i < s.count; i++)
        CHECK_EQ(0, weft_join_blocking(s.stuck_tasks[i], NULL));
    CHECK_EQ(s.count, atomic_load(&s.done));
    /* Those that stood in go after the keep-alive time. */
    while (threads() > before)
        usleep(1000);
    s.count = 0;
    stage_close(&s);
}

/* --- the end ------------------------------------------------------------------------- */

TEST(a_shutdown_during_a_stall_keeps_its_limit)
{
    for (enum how how = BLOCKED; how <= COMPUTING; how++) {
        struct stage s;
        int result;

        stage_open(&s, how, 2, 2);
        stage_stick(&s, stuck_task);
        stage_wait(&s.stuck, 2);
        CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(s.rt, WEFT_MS(20)));
        atomic_store(&s.released, true);
        CHECK_EQ(2, write(s.hold[1], "xx", 2));
        for (int i = 0; i < 2; i++)
            CHECK_EQ(0, weft_join_blocking(s.stuck_tasks[i], &result));
        weft_runtime_free(s.rt);
        (void)close(s.hold[0]);
        (void)close(s.hold[1]);
    }
}

TEST(a_shutdown_waits_for_a_stall_that_ends)
{
    for (enum how how = BLOCKED; how <= COMPUTING; how++) {
        struct stage s;

        stage_open(&s, how, 2, 4);
        stage_stick(&s, stuck_task);
        stage_wait(&s.stuck, 4);
        stage_release(&s);
        stage_close(&s);
    }
}

/* --- the monitor itself ------------------------------------------------------------- */

static int idle_root(void *arg)
{
    (void)arg;
    return weft_sleep(WEFT_MS(300) * test_slow());
}

/* How often a thread of that name has slept of its own will; -1: there is none. */
static long sleeps_of(const char *name)
{
    DIR *dir = opendir("/proc/self/task");
    const struct dirent *entry;
    long sleeps = -1;

    CHECK(dir != NULL);
    while ((entry = readdir(dir)) && sleeps < 0) {
        char path[300], line[256];
        long n = -1;
        bool found = false;
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
        f = fopen(path, "r");
        while (f && fgets(line, sizeof(line), f)) {
            if (strncmp(line, "Name:", 5) == 0)
                found = strstr(line, name) != NULL;
            (void)sscanf(line, "voluntary_ctxt_switches: %ld", &n);
        }
        if (f)
            (void)fclose(f);
        if (found)
            sleeps = n;
    }
    CHECK_EQ(0, closedir(dir));
    return sleeps;
}

TEST(the_monitor_of_an_idle_runtime_sleeps)
{
    struct stage s;
    weft_task *t;
    long before, after;
    int tries = 0;

    stage_open(&s, BLOCKED, 2, 0);
    CHECK_EQ(0, weft_spawn_on(s.rt, &t, NULL, idle_root, NULL));
    /* Until it has fallen asleep, it looks every 10 ms. */
    do {
        before = sleeps_of("weft-monitor");
        usleep(60000);
        after = sleeps_of("weft-monitor");
    } while (after != before && tries++ < 50);
    CHECK(before > 0);
    CHECK_EQ(before, after);
    CHECK_EQ(0, weft_join_blocking(t, NULL));
    stage_close(&s);
}

/* The failure that all this is about. */
TEST(without_a_monitor_a_stuck_task_holds_up_its_neighbours)
{
    weft_config c = {.worker_threads = 1, .ignore_env = WEFT_ON, .monitor = WEFT_OFF};
    struct stage s = {.how = BLOCKED, .count = 1};
    weft_task *t;

    CHECK_EQ(0, weft_runtime_new(&s.rt, &c));
    CHECK_EQ(0, pipe(s.hold));
    test_watchdog(60);
    stage_stick(&s, stuck_task);
    stage_wait(&s.stuck, 1);
    CHECK_EQ(-1, sleeps_of("weft-monitor"));
    CHECK_EQ(0, weft_spawn_on(s.rt, &t, NULL, nothing, &s));
    usleep(30000);
    CHECK_EQ(0, atomic_load(&s.done));
    stage_release(&s);
    CHECK_EQ(0, weft_join_blocking(t, NULL));
    stage_close(&s);
}

TEST_MAIN("stall", timers_fire, one_processor_is_enough, sockets_are_read, tasks_from_outside_run,
          a_task_that_was_woken_last_is_not_stranded, tasks_that_they_spawned_run,
          timers_that_they_armed_for_others_fire, a_relieved_task_still_spawns,
          a_relieved_task_still_wakes, wakes_from_outside_arrive,
          a_task_that_only_spawns_is_left_alone_while_nobody_else_waits,
          a_stand_in_that_is_on_its_way_out_holds_nobody_up, a_stand_in_that_sleeps_is_called_again,
          more_are_stuck_than_may_be_relieved, ten_thousand_stalls_leave_nothing_behind,
          a_shutdown_during_a_stall_keeps_its_limit, a_shutdown_waits_for_a_stall_that_ends,
          the_monitor_of_an_idle_runtime_sleeps,
          without_a_monitor_a_stuck_task_holds_up_its_neighbours)
