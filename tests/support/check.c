/* SPDX-License-Identifier: MIT */
/* check.c - running tests with the check library: programs, claims, seeds, slowness. */
#include "support.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define TEST_SECONDS 30 /* for one test; check multiplies it by CK_TIMEOUT_MULTIPLIER */

static test_verdict *failure_verdict; /* NULL: check's own */

void test_on_failure(test_verdict *verdict)
{
    failure_verdict = verdict;
}

void test_failed(const char *file, int line, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (failure_verdict)
        failure_verdict(file, line, text);
    /* In fork mode this reports to the parent and ends the process, on whatever stack we are. */
    _ck_assert_failed(file, line, "Claim failed", "%s", text);
}

void test_check_str(const char *want, const char *got, const char *what, const char *file, int line)
{
    if (!got || strcmp(want, got) != 0)
        test_failed(file, line, "%s is \"%s\", not \"%s\"", what, got ? got : "(null)", want);
}

void test_say(const char *text)
{
    (void)fprintf(stderr, "%s\n", text);
}

unsigned test_slow(void)
{
    const char *text = getenv("WEFT_TEST_SLOW");
    unsigned long n = text ? strtoul(text, NULL, 10) : 1;

    return n >= 1 && n <= 1000 ? (unsigned)n : 1;
}

bool test_emulated(void)
{
    return getenv("WEFT_TEST_EMULATED") != NULL;
}

uint64_t test_scaled(uint64_t n)
{
    n /= test_slow();
    return n ? n : 1;
}

/* 0: not set. */
static unsigned stress_seconds(void)
{
    const char *text = getenv("WEFT_STRESS_SECONDS");
    unsigned long n = text ? strtoul(text, NULL, 10) : 0;

    return n <= 100000 ? (unsigned)n : 0;
}

weft_duration test_stress_time(weft_duration usual)
{
    return stress_seconds() ? WEFT_SECS(stress_seconds()) : usual;
}

uint64_t test_seed(void)
{
    static uint64_t seed;
    const char *text = getenv("WEFT_SEED");

    if (seed)
        return seed;
    if (text)
        seed = strtoull(text, NULL, 0);
    else if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
        seed = (uint64_t)getpid();
    if (!seed)
        seed = 1;
    (void)fprintf(stderr, "seed %llu (repeat with WEFT_SEED=%llu)\n", (unsigned long long)seed,
                  (unsigned long long)seed);
    return seed;
}

/* Marsaglia's xorshift64*. */
uint64_t test_rand(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

int test_main(const char *suite, const TTest *const tests[], size_t count)
{
    Suite *s = suite_create(suite);
    SRunner *runner = srunner_create(s);
    int failed;

    for (size_t i = 0; i < count; i++) {
        TCase *c = tcase_create(tests[i]->name);

        tcase_set_timeout(c, TEST_SECONDS + stress_seconds());
        tcase_add_test(c, tests[i]);
        suite_add_tcase(s, c);
    }
    /* Not to be switched off by CK_FORK: a claim that fails on a fiber cannot be jumped out of. */
    srunner_set_fork_status(runner, CK_FORK);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
