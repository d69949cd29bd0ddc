/* SPDX-License-Identifier: MIT */
/*
 * check.h - the part of the check library that our tests use, for systems that have none: the
 * foreign processors of the cross builds.
 *
 * Names and meaning are the library's (libcheck.github.io/check), so that support.h and check.c do
 * not know which of the two they are compiled with. Tests always run in processes of their own.
 * Of the library's variables CK_RUN_CASE and CK_TIMEOUT_MULTIPLIER are heeded.
 */
#ifndef TEST_BUNDLED_CHECK_H
#define TEST_BUNDLED_CHECK_H

#ifdef __cplusplus
extern "C" {
#endif

typedef struct TTest {
    const char *name;
    void (*fn)(int index);
    const char *file;
    int line;
} TTest;

typedef struct TCase TCase;
typedef struct Suite Suite;
typedef struct SRunner SRunner;

/* Of the library's choices only these. */
enum fork_status { CK_FORK };

enum print_output { CK_ENV };

#define START_TEST(test)                                                   \
 static void test##_fn(int _i __attribute__((unused)));                    \
 static const TTest test##_ttest = {#test, test##_fn, __FILE__, __LINE__}; \
 static const TTest *test = &test##_ttest;                                 \
 static void test##_fn(int _i __attribute__((unused)))

#define END_TEST

Suite *suite_create(const char *name);
void suite_add_tcase(Suite *s, TCase *c);

TCase *tcase_create(const char *name);
void tcase_set_timeout(TCase *c, double seconds);
void tcase_add_test(TCase *c, const TTest *test);

SRunner *srunner_create(Suite *s);
void srunner_set_fork_status(SRunner *runner, enum fork_status status);
void srunner_run_all(SRunner *runner, enum print_output output);
int srunner_ntests_failed(SRunner *runner);
void srunner_free(SRunner *runner);

/* In the process of a test: report to the one that waits for it, and end. */
__attribute__((noreturn, format(printf, 4, 5))) void _ck_assert_failed(const char *file, int line,
                                                                       const char *expression,
                                                                       const char *message, ...);

#ifdef __cplusplus
}
#endif

#endif
