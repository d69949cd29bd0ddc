/* SPDX-License-Identifier: MIT */
/*
 * test_locks.c - in a debug build that is run with libweft-locks.so, a task that awaits with a mutex held is
 * told of, once for each place; one that unlocked it first, and a mutex that was held before, are not.
 */
#include "support.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static FILE *printed;
static char text[16384];

static void capture(weft_fn *fn, weft_flavor flavor)
{
    weft_config config = {.flavor = flavor, .ignore_env = WEFT_ON};
    int saved = dup(STDERR_FILENO), result = -1;
    weft_runtime *rt;
    ssize_t n;

    printed = tmpfile();
    CHECK(saved >= 0 && printed != NULL);
    CHECK(dup2(fileno(printed), STDERR_FILENO) >= 0);
    CHECK_EQ(0, weft_runtime_new(&rt, &config));
    CHECK_EQ(0, weft_block_on(rt, fn, NULL, &result));
    CHECK_EQ(0, result);
    weft_runtime_free(rt);
    CHECK(dup2(saved, STDERR_FILENO) >= 0);
    n = pread(fileno(printed), text, sizeof(text) - 1, 0);
    CHECK(n >= 0);
    text[n] = '\0';
    (void)fprintf(stderr, "%s", text);
}

static unsigned count(const char *what)
{
    unsigned n = 0;

    for (const char *at = text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

int lock_in_this_function(void *unused);

__attribute__((noinline)) int lock_in_this_function(void *unused)
{
    (void)unused;
    CHECK_EQ(0, pthread_mutex_lock(&mutex));
    CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, pthread_mutex_unlock(&mutex));
    return 0;
}

static int holds(void *unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++) {
        int result = -1;
        weft_task *t = weft_spawn_with(&(weft_task_options){.name = "holder"},
                                       lock_in_this_function, NULL);

        CHECK_EQ(0, weft_join(t, &result));
        CHECK_EQ(0, result);
    }
    return 0;
}

TEST(a_task_that_awaits_with_a_mutex_is_told_of_once)
{
    char address[32];

    capture(holds, WEFT_CURRENT_THREAD);
    (void)snprintf(address, sizeof(address), " the mutex %p,", (void *)&mutex);
    CHECK_EQ(1, count("\"holder\" (spawned at tests/locks/test_locks.c:"));
    CHECK_EQ(1, count("waits while its thread holds"));
    CHECK_EQ(1, count(address));
    CHECK_EQ(1, count(" locked in lock_in_this_function ("));
}

END_TEST

static int ends(void *unused)
{
    (void)unused;
    return pthread_mutex_trylock(&mutex);
}

TEST(one_that_ends_with_it_too)
{
    capture(ends, WEFT_CURRENT_THREAD);
    CHECK_EQ(1, count("\"root\" (spawned at"));
    CHECK_EQ(1, count("ends while its thread holds"));
}

END_TEST

static int unlocks(void *unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(0, pthread_mutex_lock(&mutex));
        CHECK_EQ(0, pthread_mutex_unlock(&mutex));
        CHECK_EQ(0, weft_yield());
    }
    return 0;
}

static int yields(void *unused)
{
    (void)unused;
    return weft_yield();
}

TEST(who_unlocks_first_is_not)
{
    capture(unlocks, WEFT_CURRENT_THREAD);
    CHECK_STR("", text);
    capture(unlocks, WEFT_MULTI_THREAD);
    CHECK_EQ(0, count("mutex"));
}

END_TEST

TEST(nor_who_found_it_locked)
{
    CHECK_EQ(0, pthread_mutex_lock(&mutex));
    capture(yields, WEFT_CURRENT_THREAD);
    CHECK_EQ(0, pthread_mutex_unlock(&mutex));
    CHECK_STR("", text);
}

END_TEST

TEST_MAIN("locks", a_task_that_awaits_with_a_mutex_is_told_of_once, one_that_ends_with_it_too,
          who_unlocks_first_is_not, nor_who_found_it_locked)
