/* SPDX-License-Identifier: MIT */
/*
 * runtime.c - runtimes for tests, and the watchdog that tells what hangs.
 *
 * IDEA     Every runtime made here is in a small table while it lives. The watchdog is a plain
 *          thread that sleeps until its time is up, prints the tasks of all of them, and aborts; a
 *          test that ends takes it along.
 * LOCKS    watch.lock guards the table. The dump runs under it, so that no runtime is freed
 *          meanwhile.
 */
#include "support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WATCH_SECONDS  20 /* less than a test may take, so that the dump comes first */
#define WATCH_RUNTIMES 16

static struct {
    pthread_mutex_t lock;
    weft_runtime *runtimes[WATCH_RUNTIMES];
    unsigned seconds; /* 0: no watchdog yet */
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

const struct test_flavour test_flavours[] = {
    {"current-thread", WEFT_CURRENT_THREAD, 0},
    {"1 worker", WEFT_MULTI_THREAD, 1},
    {"2 workers", WEFT_MULTI_THREAD, 2},
    {"8 workers", WEFT_MULTI_THREAD, 8},
};
const size_t test_flavour_count = sizeof(test_flavours) / sizeof(test_flavours[0]);

static void *watch_thread(void *unused)
{
    struct timespec left = {.tv_sec = (time_t)watch.seconds};

    (void)unused;
    while (nanosleep(&left, &left) != 0)
        continue;

    (void)fprintf(stderr, "watchdog: not done after %u s; the tasks are:\n", watch.seconds);
    (void)pthread_mutex_lock(&watch.lock);
    for (size_t i = 0; i < WATCH_RUNTIMES; i++)
        if (watch.runtimes[i])
            (void)weft_runtime_dump(watch.runtimes[i], STDERR_FILENO);
    abort();
}

void test_watchdog(unsigned seconds)
{
    pthread_t thread;

    if (watch.seconds)
        return;
    watch.seconds = seconds * test_slow() + (unsigned)(test_stress_time(0) / WEFT_SECS(1));
    CHECK_EQ(0, pthread_create(&thread, NULL, watch_thread, NULL));
    (void)pthread_detach(thread);
}

/* Replace one entry of the table. */
static void watch_replace(const weft_runtime *old, weft_runtime *new)
{
    size_t i = 0;

    (void)pthread_mutex_lock(&watch.lock);
    while (i < WATCH_RUNTIMES && watch.runtimes[i] != old)
        i++;
    if (i < WATCH_RUNTIMES)
        watch.runtimes[i] = new;
    (void)pthread_mutex_unlock(&watch.lock);
}

static weft_runtime *runtime_new(const weft_config *config)
{
    weft_runtime *rt = NULL;

    test_watchdog(WATCH_SECONDS);
    CHECK_EQ(0, weft_runtime_new(&rt, config));
    CHECK(rt != NULL);
    watch_replace(NULL, rt);
    return rt;
}

static weft_config flavour_config(const struct test_flavour *flavour)
{
    return (weft_config){
        .flavor = flavour->flavor,
        .worker_threads = flavour->workers,
        .ignore_env = WEFT_ON,
    };
}

weft_runtime *test_runtime_new(const struct test_flavour *flavour)
{
    weft_config config = flavour_config(flavour);

    return runtime_new(&config);
}

void test_runtime_free(weft_runtime *rt)
{
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_SECS(10ull * test_slow())));
    watch_replace(rt, NULL);
    weft_runtime_free(rt);
}

/* And free it. */
static void runtime_run(weft_runtime *rt, const char *name, weft_fn *fn, void *arg)
{
    int result = -1;

    CHECK_EQ(0, weft_block_on(rt, fn, arg, &result));
    if (result != 0)
        test_failed(__FILE__, __LINE__, "on %s: the first task returned %d (%s)", name, result,
                    weft_strerror(result));
    test_runtime_free(rt);
}

void test_run_on(const struct test_flavour *flavour, weft_fn *fn, void *arg)
{
    runtime_run(test_runtime_new(flavour), flavour->name, fn, arg);
}

void test_run_alone(weft_fn *fn, void *arg)
{
    for (size_t i = 0; i < test_flavour_count && test_flavours[i].workers <= 1; i++) {
        weft_config config = flavour_config(&test_flavours[i]);

        config.monitor = WEFT_OFF;
        runtime_run(runtime_new(&config), test_flavours[i].name, fn, arg);
    }
}

void test_run_paused(weft_fn *fn, void *arg)
{
    weft_config config = {
        .flavor = WEFT_CURRENT_THREAD, .start_paused = WEFT_ON, .ignore_env = WEFT_ON};

    runtime_run(runtime_new(&config), "a clock that stands still", fn, arg);
}

void test_run(weft_fn *fn, void *arg)
{
    for (size_t i = 0; i < test_flavour_count; i++)
        test_run_on(&test_flavours[i], fn, arg);
}
