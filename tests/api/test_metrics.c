/* SPDX-License-Identifier: MIT */
/*
 * test_metrics.c - looking into a runtime: hooks, counters, a task's own figures, the dump; and that a
 * million tasks at once cost what they should.
 */
#include "support.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct test_flavour current_thread = {"current-thread", WEFT_CURRENT_THREAD, 0};
static const struct test_flavour two_workers = {"2 workers", WEFT_MULTI_THREAD, 2};

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static int nothing(void *unused)
{
    (void)unused;
    return 0;
}

static int join(weft_task *t)
{
    int result = 0;

    CHECK_EQ(0, weft_join(t, &result));
    return result;
}

static int forever(void *unused)
{
    (void)unused;
    return weft_sleep(WEFT_FOREVER);
}

static int count_up(void *counter)
{
    atomic_fetch_add((atomic_uint *)counter, 1);
    return 1;
}

/* --- hooks, metrics, dump --------------------------------------------------------------------- */

struct hook_counts {
    atomic_uint start, stop, park, unpark, spawn, begin, end, ended;
};

#define HOOK(name, field)                                    \
 static void name(void *user)                                \
 {                                                           \
  atomic_fetch_add(&((struct hook_counts *)user)->field, 1); \
 }
#define TASK_HOOK(name, field)                               \
 static void name(void *user, const weft_task *t)            \
 {                                                           \
  CHECK(weft_task_id(t) != 0);                               \
  atomic_fetch_add(&((struct hook_counts *)user)->field, 1); \
 }

HOOK(hook_start, start)
HOOK(hook_stop, stop)
HOOK(hook_park, park)
HOOK(hook_unpark, unpark)
TASK_HOOK(hook_spawn, spawn)
TASK_HOOK(hook_begin, begin)
TASK_HOOK(hook_end, end)
TASK_HOOK(hook_ended, ended)

static int some_work(void *unused)
{
    weft_task *t[10];

    (void)unused;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 10; i++)
            t[i] = weft_spawn(nothing, NULL);
        CHECK_EQ(0, weft_sleep(WEFT_MS(2) * test_slow())); /* longer than they take */
        for (int i = 0; i < 10; i++)
            CHECK_EQ(0, join(t[i]));
    }
    return 0;
}

TEST(hooks_are_called_in_balance)
{
    for (size_t f = 0; f < test_flavour_count; f++) {
        struct hook_counts n = {0};
        weft_config config = {.flavor = test_flavours[f].flavor,
                              .worker_threads = test_flavours[f].workers,
                              .ignore_env = WEFT_ON,
                              .monitor = WEFT_OFF, /* nobody stands in on a busy machine */
                              .on_thread_start = hook_start,
                              .on_thread_stop = hook_stop,
                              .on_thread_park = hook_park,
                              .on_thread_unpark = hook_unpark,
                              .on_task_spawn = hook_spawn,
                              .on_task_poll_start = hook_begin,
                              .on_task_poll_stop = hook_end,
                              .on_task_end = hook_ended,
                              .hook_user = &n};
        weft_runtime *rt;
        weft_metrics m;

        CHECK_EQ(0, weft_runtime_new(&rt, &config));
        CHECK_EQ(0, weft_block_on(rt, some_work, NULL, NULL));
        CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
        CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
        weft_runtime_free(rt);
        CHECK_EQ(test_flavours[f].workers,
                 atomic_load(&n.start)); /* current-thread has no thread of its own */
        CHECK_EQ(atomic_load(&n.start), atomic_load(&n.stop));
        CHECK_EQ(atomic_load(&n.park), atomic_load(&n.unpark));
        CHECK(atomic_load(&n.park) > 0);
        CHECK_EQ(51, atomic_load(&n.spawn));
        CHECK_EQ(51, atomic_load(&n.ended));
        CHECK_EQ(atomic_load(&n.begin), atomic_load(&n.end));
        CHECK_EQ(m.total.polls, atomic_load(&n.begin));
    }
}

END_TEST

static int counted_work(void *arg)
{
    weft_runtime *rt = weft_runtime_current();
    weft_metrics before, after;
    weft_task_info info;
    weft_task *t[20];

    (void)arg;
    CHECK_EQ(0, weft_metrics_snapshot(rt, &before));
    CHECK_EQ(1, before.alive);
    for (int i = 0; i < 20; i++)
        t[i] = weft_spawn(forever, NULL);
    CHECK_EQ(0, weft_metrics_snapshot(rt, &after));
    CHECK_EQ(before.spawned + 20, after.spawned);
    CHECK_EQ(21, after.alive);
    for (int i = 0; i < 20; i++)
        do {
            CHECK_EQ(0, weft_yield());
            CHECK_EQ(0, weft_task_get_info(t[i], &info));
        } while (info.state != WEFT_TASK_IDLE);
    do { /* nothing else is there to do, so it parks, unless the machine is late for the timer */
        CHECK_EQ(0, weft_sleep(WEFT_MS(2)));
        CHECK_EQ(0, weft_metrics_snapshot(rt, &after));
    } while (after.total.parks == before.total.parks);
    for (int i = 0; i < 20; i++) {
        weft_cancel(t[i]);
        CHECK_EQ(-ECANCELED, join(t[i]));
    }
    do { /* counted a moment after it was joined */
        CHECK_EQ(0, weft_metrics_snapshot(rt, &after));
    } while (after.alive != 1);
    CHECK_EQ(before.finished + 20, after.finished);
    CHECK(after.total.polls >= before.total.polls + 20);
    CHECK(after.total.parks > before.total.parks);
    CHECK(after.total.timers_fired > before.total.timers_fired);
    CHECK(after.total.busy > before.total.busy);
    return 0;
}

TEST(counters_move)
{
    for (size_t f = 0; f < test_flavour_count; f++) {
        weft_config config = {.flavor = test_flavours[f].flavor,
                              .worker_threads = test_flavours[f].workers,
                              .ignore_env = WEFT_ON,
                              .monitor = WEFT_OFF}; /* nobody stands in on a busy machine */
        weft_metrics sum = {0}, m;
        weft_runtime *rt;
        int result = -1;

        CHECK_EQ(0, weft_runtime_new(&rt, &config));
        CHECK_EQ(0, weft_block_on(rt, counted_work, NULL, &result));
        CHECK_EQ(0, result);
        CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
        CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
        CHECK_EQ(0, m.alive);
        CHECK_EQ(m.spawned, m.finished);
        CHECK_EQ(0, m.injection_depth);
        CHECK_EQ(0, m.timers_armed);
        CHECK(m.remote_schedules >= 1);
        for (unsigned i = 0; i < m.workers; i++) {
            weft_worker_metrics w;

            CHECK_EQ(0, weft_metrics_worker(rt, i, &w));
            sum.total.polls += w.polls;
            sum.total.parks += w.parks;
            sum.total.steals += w.steals;
            CHECK_EQ(0, w.queue_depth);
            CHECK_EQ(0, w.backlog_depth);
        }
        CHECK_EQ(m.total.polls, sum.total.polls);
        CHECK_EQ(m.total.parks, sum.total.parks);
        CHECK_EQ(m.total.steals, sum.total.steals);
        weft_runtime_free(rt);
    }
}

END_TEST

#define ROUNDS 4

/* Short polls are timed in groups (weft/metrics.h): the first long one may be charged to another task,
 * the next ones are not. */
static int compute(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        weft_instant until = weft_now() + WEFT_MS(10);

        while (weft_now() < until)
            continue;
        CHECK_EQ(0, weft_yield());
    }
    return 0;
}

static int measure(void *unused)
{
    weft_task *first = weft_spawn_with(&(weft_task_options){.name = "first"}, compute, NULL);
    weft_task *second = weft_spawn_with(&(weft_task_options){.name = "second"}, compute, NULL);
    weft_duration least = WEFT_MS(10) * (ROUNDS - 1) - WEFT_MS(1); /* another clock is used */
    weft_task_info a, b, self;

    (void)unused;
    CHECK_EQ(0, weft_task_get_info(first, &a));
    CHECK_EQ(WEFT_TASK_READY, a.state);
    CHECK_EQ(0, a.polls);
    while (!weft_is_finished(first) || !weft_is_finished(second))
        CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, weft_task_get_info(first, &a));
    CHECK_EQ(0, weft_task_get_info(second, &b));
    CHECK_EQ(0, weft_task_get_info(weft_task_self(), &self));
    CHECK_STR("first", a.name);
    CHECK(strstr(a.site, "test_metrics.c:") != NULL);
    CHECK_EQ(WEFT_TASK_FINISHED, a.state);
    CHECK_EQ(WEFT_TASK_RUNNING, self.state);
    CHECK_EQ(ROUNDS + 1, a.polls);
    CHECK_EQ(ROUNDS + 1, b.polls);
    CHECK(a.poll_time >= least && b.poll_time >= least);
    CHECK(a.poll_time_max >= WEFT_MS(9) && b.poll_time_max >= WEFT_MS(9));
    CHECK(a.poll_time_max <= a.poll_time + WEFT_US(10));
    CHECK(a.poll_time < WEFT_MS(500) * test_slow());
    /* Each waited while the other computed. */
    CHECK(a.scheduled_delay + b.scheduled_delay >= 2 * least);
    CHECK(a.scheduled_delay_max >= WEFT_MS(9) && b.scheduled_delay_max >= WEFT_MS(9));
    CHECK_EQ(0, join(first));
    CHECK_EQ(0, join(second));
    CHECK_EQ(-EINVAL, weft_task_get_info(NULL, &a));
    CHECK_EQ(-EINVAL, weft_task_get_info(weft_task_self(), NULL));
    return 0;
}

/* Without the monitor, or a second thread would see to the task that waits. */
TEST(a_task_knows_its_time_and_its_delay)
{
    weft_config config = {.worker_threads = 1, .monitor = WEFT_OFF, .ignore_env = WEFT_ON};
    weft_runtime *rt;
    int result = -1;

    CHECK_EQ(0, weft_runtime_new(&rt, &config));
    CHECK_EQ(0, weft_block_on(rt, measure, NULL, &result));
    CHECK_EQ(0, result);
    test_runtime_free(rt);
    test_run_on(&current_thread, measure, NULL);
}

END_TEST

static int dump(void *arg)
{
    static const weft_task_options names[] = {
        {.name = "alpha"}, {.name = "beta"}, {.name = "gamma"}};
    FILE *file = tmpfile();
    weft_task *t[COUNT_OF(names)];
    char text[8000];
    ssize_t n;

    (void)arg;
    CHECK(file != NULL);
    for (size_t i = 0; i < COUNT_OF(names); i++)
        t[i] = weft_spawn_with(&names[i], forever, NULL);
    CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    CHECK_EQ(1 + COUNT_OF(names), weft_runtime_dump(weft_runtime_current(), fileno(file)));
    n = pread(fileno(file), text, sizeof(text) - 1, 0);
    CHECK(n > 0);
    text[n] = '\0';
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char id[32];

        CHECK(strstr(text, names[i].name) != NULL);
        (void)snprintf(id, sizeof(id), "%llu ", (unsigned long long)weft_task_id(t[i]));
        CHECK(strstr(text, id) != NULL);
    }
    CHECK(strstr(text, "root") != NULL);
    CHECK(strstr(text, "test_metrics.c:") != NULL);
    CHECK_EQ(0, fclose(file));
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        weft_cancel(t[i]);
        CHECK_EQ(-ECANCELED, join(t[i]));
    }
    return 0;
}

/* The line of the dump that has this text. */
static void dump_line(const char *of, char *line, size_t size)
{
    FILE *file = tmpfile();

    CHECK(file != NULL);
    CHECK(weft_runtime_dump(weft_runtime_current(), fileno(file)) > 0);
    rewind(file);
    do
        CHECK(fgets(line, (int)size, file) != NULL);
    while (!strstr(line, of));
    CHECK_EQ(0, fclose(file));
}

/* The worker is told by the number that weft_metrics_worker knows it by. With one thread for ever nothing is pinned. */
static int dump_pinned(void *arg)
{
    const struct test_flavour *flavour = arg;
    weft_task_options pinned = {.name = "delta", .pinned = true}, others = {.name = "epsilon"};
    weft_task *t = weft_spawn_with(&pinned, forever, NULL),
              *u = weft_spawn_with(&others, forever, NULL);
    char line[512], want[64];
    unsigned found = 0;

    dump_line("\"delta\"", line, sizeof(line));
    for (unsigned w = 0; w < flavour->workers; w++) {
        (void)snprintf(want, sizeof(want), " fiber, pinned to worker %u  polls ", w);
        found += strstr(line, want) != NULL;
    }
    CHECK_EQ(flavour->flavor == WEFT_CURRENT_THREAD ? 0 : 1, found);
    CHECK_EQ(found, strstr(line, "pinned") != NULL);
    dump_line("\"epsilon\"", line, sizeof(line));
    CHECK(strstr(line, "pinned") == NULL);
    weft_cancel(t);
    weft_cancel(u);
    CHECK_EQ(-ECANCELED, join(t));
    CHECK_EQ(-ECANCELED, join(u));
    return 0;
}

TEST(dump_says_which_worker_a_task_is_pinned_to)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct test_flavour flavour = test_flavours[i];

        test_run_on(&flavour, dump_pinned, &flavour);
    }
}

TEST(dump_lists_every_live_task)
{
    weft_runtime *other = test_runtime_new(&two_workers); /* whose tasks are not listed */
    weft_task *t;

    CHECK_EQ(0, weft_spawn_on(other, &t, NULL, forever, NULL));
    test_run(dump, NULL);
    CHECK_EQ(-EINVAL, weft_runtime_dump(NULL, 1));
    weft_detach(t);
    test_runtime_free(other);
}

END_TEST

/* --- a million ------------------------------------------------------------------------------------ */

static long resident_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long pages = 0;

    CHECK(file != NULL);
    CHECK_EQ(1, fscanf(file, "%*d %ld", &pages));
    CHECK_EQ(0, fclose(file));
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static int burst(void *arg)
{
    const unsigned count = *(const unsigned *)arg;
    atomic_uint ran = 0;

    for (unsigned i = 0; i < count; i++)
        CHECK_EQ(0, weft_go(count_up, &ran));
    while (atomic_load(&ran) < count)
        CHECK_EQ(0, weft_yield());
    return 0;
}

/* How much a burst needs depends on how many of its tasks wait at once: on one thread all of them, and
 * then the next burst needs the same memory again; with several workers any number. */
static void check_bursts(const struct test_flavour *flavour)
{
    weft_runtime *rt = test_runtime_new(flavour);
    /* A fiber is dear to sanitizers. */
    unsigned count = (unsigned)test_scaled(test_scaled(test_scaled(1000000)));
    long before = resident_kib(), after[4], most = before + (long)count / 4 + 32 * 1024;
    struct rusage u;
    weft_metrics m;

    for (int i = 0; i < 4; i++) {
        weft_instant from = weft_now();

        CHECK_EQ(0, weft_block_on(rt, burst, &count, NULL));
        after[i] = resident_kib();
        (void)fprintf(stderr, "%s: %u tasks at once: %llu ms, %ld KiB resident\n", flavour->name,
                      count, (unsigned long long)(weft_now() - from) / 1000000, after[i]);
    }
    CHECK_EQ(0, getrusage(RUSAGE_SELF, &u));
    if (test_slow() == 1)           /* sanitizers have memory of their own */
        CHECK(u.ru_maxrss <= most); /* 256 bytes for each task */
    if (flavour->flavor == WEFT_CURRENT_THREAD)
        CHECK(after[3] <= after[0] + 8 * 1024);
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
    CHECK_EQ(4ull * count + 4, m.finished);
    test_runtime_free(rt);
}

static int spawns_jobs(void *arg)
{
    weft_task *t[5];

    (void)arg;
    for (int i = 0; i < 5; i++)
        t[i] = weft_spawn_blocking(nothing, NULL);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(0, weft_join(t[i], NULL));
    weft_detach(weft_spawn_blocking(nothing, NULL));
    return 0;
}

TEST(jobs_that_have_ended_are_not_alive)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_runtime *rt = test_runtime_new(&test_flavours[i]);
        weft_metrics m;

        CHECK_EQ(0, weft_block_on(rt, spawns_jobs, NULL, NULL));
        CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
        CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
        CHECK_EQ(7, m.spawned);
        CHECK_EQ(7, m.finished);
        CHECK_EQ(0, m.alive);
        test_runtime_free(rt);
    }
}

END_TEST

TEST(a_million_tasks_at_once_all_run)
{
    check_bursts(&two_workers);
}

END_TEST

TEST(a_million_tasks_at_once_all_run_on_one_thread)
{
    check_bursts(&current_thread);
}

END_TEST

TEST_MAIN("metrics", hooks_are_called_in_balance, counters_move,
          a_task_knows_its_time_and_its_delay, dump_lists_every_live_task,
          dump_says_which_worker_a_task_is_pinned_to, jobs_that_have_ended_are_not_alive,
          a_million_tasks_at_once_all_run, a_million_tasks_at_once_all_run_on_one_thread)
