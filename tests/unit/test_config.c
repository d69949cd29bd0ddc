/* SPDX-License-Identifier: MIT */
/* test_config.c - what becomes of a weft_config: defaults, environment, refusals. */
#include "sched/runtime.h"
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const variables[] = {
    "WEFT_FLAVOR",         "WEFT_WORKERS", "WEFT_MAX_BLOCKING", "WEFT_STACK_SIZE",
    "WEFT_EVENT_INTERVAL", "WEFT_SPIN",    "WEFT_IO",           "WEFT_GLOBAL_QUEUE_INTERVAL",
    "WEFT_LIFO",           "WEFT_MONITOR", "WEFT_SEED",         "WEFT_SIGNAL_REPORTS",
};

static void clean_environment(void)
{
    for (size_t i = 0; i < wf_array_count(variables); i++)
        CHECK_EQ(0, unsetenv(variables[i]));
}

static int resolve(struct wf_settings *out, const weft_config *c)
{
    return wf_config_resolve(out, c, sizeof(*c), false);
}

TEST(nothing_set_means_the_defaults)
{
    struct wf_settings s;

    clean_environment();
    CHECK_EQ(0, wf_config_resolve(&s, NULL, 0, false));
    CHECK_EQ(WEFT_MULTI_THREAD, s.config.flavor);
    CHECK(s.config.worker_threads >= 1);
    CHECK_EQ(512, s.config.max_blocking_threads);
    CHECK_EQ(WEFT_SECS(10), s.config.thread_keep_alive);
    CHECK_EQ(256 << 10, s.config.stack_size);
    CHECK_EQ(61, s.config.event_interval);
    CHECK_EQ(0, s.config.global_queue_interval);
    CHECK_EQ(0, s.config.spin);
    CHECK(s.config.rng_seed != 0);
    CHECK(s.lifo && !s.signal_reports);
    CHECK_STR("weft-worker", s.thread_name);
    CHECK(s.config.thread_name == s.thread_name);
    CHECK_EQ(0, wf_config_resolve(&s, NULL, 0, true));
    CHECK(s.signal_reports);
}

END_TEST

TEST(a_field_beats_the_environment_beats_the_default)
{
    weft_config c = {.worker_threads = 3, .lifo_slot = WEFT_ON, .stack_size = 65536};
    struct wf_settings s;

    clean_environment();
    CHECK_EQ(0, setenv("WEFT_WORKERS", "5", 1));
    CHECK_EQ(0, setenv("WEFT_LIFO", "off", 1));
    CHECK_EQ(0, setenv("WEFT_STACK_SIZE", "1M", 1));
    CHECK_EQ(0, setenv("WEFT_SPIN", "20", 1));
    CHECK_EQ(0, setenv("WEFT_EVENT_INTERVAL", "7", 1));
    CHECK_EQ(0, setenv("WEFT_SEED", "99", 1));
    CHECK_EQ(0, setenv("WEFT_SIGNAL_REPORTS", "on", 1));
    CHECK_EQ(0, resolve(&s, &c));
    CHECK_EQ(3, s.config.worker_threads);
    CHECK(s.lifo);
    CHECK_EQ(65536, s.config.stack_size);
    CHECK_EQ(WEFT_US(20), s.config.spin);
    CHECK_EQ(7, s.config.event_interval);
    CHECK_EQ(99, s.config.rng_seed);
    CHECK(s.signal_reports);
    c = (weft_config){0};
    CHECK_EQ(0, resolve(&s, &c));
    CHECK_EQ(5, s.config.worker_threads);
    CHECK(!s.lifo);
    CHECK_EQ(1 << 20, s.config.stack_size);
    c.ignore_env = WEFT_ON;
    CHECK_EQ(0, resolve(&s, &c));
    CHECK(s.lifo);
    CHECK_EQ(256 << 10, s.config.stack_size);
}

END_TEST

static void refuse_env(const char *name, const char *value)
{
    weft_config c = {0};
    struct wf_settings s;

    clean_environment();
    CHECK_EQ(0, setenv(name, value, 1));
    if (resolve(&s, &c) != -EINVAL)
        test_failed(__FILE__, __LINE__, "%s=%s was taken", name, value);
    c.ignore_env = WEFT_ON;
    CHECK_EQ(0, resolve(&s, &c));
    CHECK_EQ(0, unsetenv(name));
}

TEST(a_bad_variable_is_refused)
{
    refuse_env("WEFT_WORKERS", "many");
    refuse_env("WEFT_WORKERS", "-1");
    refuse_env("WEFT_WORKERS", "3x");
    refuse_env("WEFT_WORKERS", "1025");
    refuse_env("WEFT_WORKERS", "4294967297");
    refuse_env("WEFT_WORKERS", "99999999999999999999");
    refuse_env("WEFT_FLAVOR", "single");
    refuse_env("WEFT_STACK_SIZE", "1K");
    refuse_env("WEFT_STACK_SIZE", "18446744073709551615");
    refuse_env("WEFT_IO", "kqueue");
    refuse_env("WEFT_LIFO", "maybe");
    refuse_env("WEFT_SPIN", "1000001");
}

END_TEST

TEST(a_variable_of_zero_is_refused_where_zero_means_nothing)
{
    struct wf_settings s;

    refuse_env("WEFT_WORKERS", "0");
    refuse_env("WEFT_WORKERS", "0K");
    refuse_env("WEFT_WORKERS", "000");
    refuse_env("WEFT_MAX_BLOCKING", "0");
    refuse_env("WEFT_STACK_SIZE", "0");
    refuse_env("WEFT_STACK_SIZE", "0M");
    refuse_env("WEFT_EVENT_INTERVAL", "0");
    refuse_env("WEFT_GLOBAL_QUEUE_INTERVAL", "0");

    clean_environment();
    CHECK_EQ(0, setenv("WEFT_SPIN", "0", 1));
    CHECK_EQ(0, setenv("WEFT_SEED", "0", 1));
    CHECK_EQ(0, setenv("WEFT_LIFO", "0", 1));
    CHECK_EQ(0, wf_config_resolve(&s, NULL, 0, false));
    CHECK_EQ(0, s.config.spin);
    CHECK(s.config.rng_seed != 0);
    CHECK(!s.lifo);
}

END_TEST

/* What is printed when a variable is refused. */
static void refuse_env_saying(const char *name, const char *value, const char *want)
{
    char text[200] = "";
    int ends[2], before = dup(STDERR_FILENO);
    weft_config c = {0};
    struct wf_settings s;

    clean_environment();
    CHECK_EQ(0, setenv(name, value, 1));
    CHECK_EQ(0, pipe(ends));
    CHECK_EQ(STDERR_FILENO, dup2(ends[1], STDERR_FILENO));
    CHECK_EQ(-EINVAL, resolve(&s, &c));
    CHECK_EQ(STDERR_FILENO, dup2(before, STDERR_FILENO));
    CHECK(read(ends[0], text, sizeof(text) - 1) > 0);
    CHECK_STR(want, text);
    CHECK_EQ(0, close(ends[0]));
    CHECK_EQ(0, close(ends[1]));
    CHECK_EQ(0, close(before));
}

TEST(a_refusal_names_the_variable_and_what_it_may_be)
{
    refuse_env_saying("WEFT_WORKERS", "0K",
                      "weft: WEFT_WORKERS=0K is not a valid value; it must be 1 to 1024\n");
    refuse_env_saying("WEFT_STACK_SIZE", "0",
                      "weft: WEFT_STACK_SIZE=0 is not a valid value; it must be 16384 to "
                      "1073741824 bytes\n");
    refuse_env_saying("WEFT_EVENT_INTERVAL", "4294967296",
                      "weft: WEFT_EVENT_INTERVAL=4294967296 is not a valid value; it must be 1 to "
                      "2147483647\n");
    refuse_env_saying("WEFT_IO", "0", "weft: WEFT_IO=0 is not a valid value\n");
}

END_TEST

TEST(words_are_read_in_any_case_and_empty_means_unset)
{
    struct wf_settings s;

    clean_environment();
    CHECK_EQ(0, setenv("WEFT_FLAVOR", "Current-Thread", 1));
    CHECK_EQ(0, setenv("WEFT_WORKERS", "", 1));
    CHECK_EQ(0, wf_config_resolve(&s, NULL, 0, false));
    CHECK_EQ(WEFT_CURRENT_THREAD, s.config.flavor);
    CHECK_EQ(1, s.config.worker_threads);
}

END_TEST

static void refuse(const weft_config *c)
{
    struct wf_settings s;

    CHECK_EQ(-EINVAL, resolve(&s, c));
}

TEST(a_bad_field_is_refused)
{
    struct wf_settings s;

    clean_environment();
    refuse(&(weft_config){.flavor = (weft_flavor)7});
    refuse(&(weft_config){.worker_threads = 1025});
    refuse(&(weft_config){.flavor = WEFT_CURRENT_THREAD, .worker_threads = 2});
    refuse(&(weft_config){.stack_size = 16383});
    refuse(&(weft_config){.stack_size = ((size_t)1 << 30) + 1});
    refuse(&(weft_config){.event_interval = 1u << 31});
    refuse(&(weft_config){.io_backend = (weft_io_backend)9});
    refuse(&(weft_config){.spin = WEFT_SECS(1) + 1});
    refuse(&(weft_config){.thread_name = "sixteen bytes xx"});
    refuse(&(weft_config){.lifo_slot = (weft_switch)3});
    refuse(&(weft_config){.monitor = (weft_switch)3});
    refuse(&(weft_config){.signal_reports = (weft_switch)3});
    refuse(&(weft_config){.ignore_env = (weft_switch)3});
    refuse(&(weft_config){.flavor = WEFT_CURRENT_THREAD, .start_paused = (weft_switch)3});
    for (size_t i = 0; i < wf_array_count(((weft_config *)0)->spare_); i++) {
        weft_config c = {0};

        c.spare_[i] = 1;
        refuse(&c);
    }
    CHECK_EQ(-ENOTSUP, resolve(&s, &(weft_config){.io_backend = WEFT_IO_URING}));
}

END_TEST

TEST(only_one_thread_can_start_with_its_clock_stopped)
{
    struct wf_settings s;

    clean_environment();
    refuse(&(weft_config){.start_paused = WEFT_ON});
    refuse(&(weft_config){.start_paused = WEFT_ON, .worker_threads = 1});
    CHECK_EQ(0, resolve(&s, &(weft_config){.start_paused = WEFT_OFF}));
    CHECK_EQ(0,
             resolve(&s, &(weft_config){.start_paused = WEFT_ON, .flavor = WEFT_CURRENT_THREAD}));
    /* The flavour may come from the environment. */
    CHECK_EQ(0, setenv("WEFT_FLAVOR", "current-thread", 1));
    CHECK_EQ(0, resolve(&s, &(weft_config){.start_paused = WEFT_ON}));
    CHECK_EQ(WEFT_CURRENT_THREAD, s.config.flavor);
    CHECK_EQ(0, unsetenv("WEFT_FLAVOR"));
}

END_TEST

TEST(older_and_newer_callers_are_served)
{
    struct {
        weft_config config;
        uint64_t beyond;
    } newer = {.config = {.worker_threads = 2}};
    struct wf_settings s;

    clean_environment();
    /* An older struct ends before the fields that it did not know. */
    CHECK_EQ(0, wf_config_resolve(&s, &newer.config,
                                  offsetof(weft_config, worker_threads) + sizeof(unsigned), false));
    CHECK_EQ(2, s.config.worker_threads);
    CHECK_EQ(0, wf_config_resolve(&s, &newer.config, sizeof(newer), false));
    newer.beyond = 1;
    CHECK_EQ(-EINVAL, wf_config_resolve(&s, &newer.config, sizeof(newer), false));
}

END_TEST

TEST_MAIN("config", nothing_set_means_the_defaults, a_field_beats_the_environment_beats_the_default,
          a_bad_variable_is_refused, a_variable_of_zero_is_refused_where_zero_means_nothing,
          a_refusal_names_the_variable_and_what_it_may_be,
          words_are_read_in_any_case_and_empty_means_unset, a_bad_field_is_refused,
          only_one_thread_can_start_with_its_clock_stopped, older_and_newer_callers_are_served)
