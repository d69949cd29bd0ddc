/* SPDX-License-Identifier: MIT */
/*
 * support.h - what the tests share: claims, seeds, runtimes of every flavour, a watchdog.
 *
 * IDEA     Each TEST runs in a process of its own (Debian's check library, fork mode), so a claim may
 *          fail on any thread or fiber. A test program is a list of tests:
 *
 *              TEST(sleep_is_never_early) { test_run(sleeper, NULL); }
 *              TEST_MAIN("sleep", sleep_is_never_early)
 *
 *          Names are claims. CK_RUN_CASE=name runs one test alone.
 * LIMITS   A runtime made here is watched: when a test takes too long, every task of it is
 *          printed and the process aborts. All limits are multiplied by WEFT_TEST_SLOW,
 *          which the sanitizer and valgrind builds set.
 */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weft.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- claims ----------------------------------------------------------------- */

/* Unlike check's own macros these cost a comparison when they hold: use them in loops and on
 * fibers. Each evaluates its arguments once. */
#define CHECK(x) ((x) ? (void)0 : test_failed(__FILE__, __LINE__, "%s", #x))
#define CHECK_EQ(want, got) \
 test_check_eq((long long)(want), (long long)(got), #got, __FILE__, __LINE__)
#define CHECK_STR(want, got) test_check_str(want, got, #got, __FILE__, __LINE__)

WEFT_NORETURN void test_failed(const char *file, int line, const char *format, ...)
    WEFT_PRINTF(3, 4);
void test_check_str(const char *want, const char *got, const char *what, const char *file,
                    int line);

/* For a program that does not run under test_main: what a claim that fails calls. It does not return. Before
 * any thread is started. */
typedef void test_verdict(const char *file, int line, const char *text);
void test_on_failure(test_verdict *verdict);

static inline void test_check_eq(long long want, long long got, const char *what, const char *file,
                                 int line)
{
    if (want != got)
        test_failed(file, line, "%s is %lld, not %lld", what, got, want);
}

/* --- where this runs -------------------------------------------------------- */

/* Valgrind keeps descriptors and address space for itself, and its own idea of their limits. */
#if defined(__has_include)
# if __has_include(<valgrind/valgrind.h>)
#  include <valgrind/valgrind.h>
#  define ON_VALGRIND (RUNNING_ON_VALGRIND != 0)
# endif
# if defined(__has_feature)
#  if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#   define SANITIZED true
#  endif
# endif
#endif
#ifndef ON_VALGRIND
# define ON_VALGRIND false
#endif

/* The library makes each await go on on another worker: where tasks run, and how soon while a worker
 * is stuck, is not as the test expects. */
#ifndef MIGRATING
# define MIGRATING false
#endif

/* --- programs --------------------------------------------------------------- */

#define TEST(name) START_TEST(name)

/* End this test without a verdict. */
#define TEST_SKIP(why)       \
 do {                        \
  test_say("skipped: " why); \
  return;                    \
 } while (0)

#define TEST_MAIN(suite, ...)                                       \
 int main(void)                                                     \
 {                                                                  \
  const TTest *const tests[] = {__VA_ARGS__};                       \
                                                                    \
  return test_main(suite, tests, sizeof(tests) / sizeof(tests[0])); \
 }

/* Runs the tests, one process each; the exit status of the program. */
int test_main(const char *suite, const TTest *const tests[], size_t count);

/* A line on stderr. */
void test_say(const char *text);

/* How many times slower than a plain build this one is; at least 1. */
unsigned test_slow(void);

/* Run by an emulator of another processor, whose own memory, limits and threads count as ours. */
bool test_emulated(void);

/* n in a plain build, fewer in a slow one; at least 1. For loop counts. */
uint64_t test_scaled(uint64_t n);

/* How long a stress test goes on: WEFT_STRESS_SECONDS, or else the usual time. The limits of the
 * tests and of the watchdog grow with the variable. */
weft_duration test_stress_time(weft_duration usual);

/* --- chance ----------------------------------------------------------------- */

/* WEFT_SEED, or a random number; printed once, so that a failure can be repeated. Never 0. */
uint64_t test_seed(void);

/* The next number of a sequence that *state determines (any value but 0). */
uint64_t test_rand(uint64_t *state);

/* --- runtimes --------------------------------------------------------------- */

struct test_flavour {
    const char *name;
    weft_flavor flavor;
    unsigned workers;
};

/* current-thread, and 1, 2 and 8 workers. */
extern const struct test_flavour test_flavours[];
extern const size_t test_flavour_count;

/* A runtime that looks at no environment variable and is watched. Never NULL. */
weft_runtime *test_runtime_new(const struct test_flavour *flavour);

/* Shuts down, claims that every task ended, frees. */
void test_runtime_free(weft_runtime *rt);

/* Run fn(arg) as the first task of a new runtime, and claim that it returns 0. */
void test_run_on(const struct test_flavour *flavour, weft_fn *fn, void *arg);

/* The same on each flavour in turn. */
void test_run(weft_fn *fn, void *arg);

/*
 * The same on each flavour with one thread: tasks never run at the same time, and may share plain data. Nobody stands
 * in for the worker, which also a task that is kept from its processor could bring about.
 */
void test_run_alone(weft_fn *fn, void *arg);

/* The same on a current-thread runtime whose clock stands still from the beginning: see weft_clock_pause. */
void test_run_paused(weft_fn *fn, void *arg);

/* Abort, after printing every task of every runtime made here, unless the process ends within
 * that time (times test_slow()). The first call counts. */
void test_watchdog(unsigned seconds);

#ifdef __cplusplus
}
#endif

#endif
