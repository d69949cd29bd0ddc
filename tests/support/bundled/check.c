/* SPDX-License-Identifier: MIT */
/*
 * check.c - runs tests, each in a process group of its own, within a time limit.
 *
 * IDEA     The parent forks a test and waits for SIGCHLD with a time limit: it arrives however the
 *          child ended, and whatever it left running. What a failed claim says comes through a
 *          pipe, which is read when the child is gone, and without waiting: a grandchild may hold
 *          the other end. Then the whole group is killed.
 * WHO      _ck_assert_failed: any thread of the child, on any stack. The rest: the parent's only
 *          thread.
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TEST_MAX    128 /* in a suite */
#define MESSAGE_MAX 1024

struct TCase {
    const TTest *test;
    double seconds;
};

struct Suite {
    const char *name;
    TCase *cases[TEST_MAX];
    size_t count;
};

struct SRunner {
    Suite *suite;
    int ran, failed;
};

/* In the child: where a failed claim is reported. */
static int report_fd = -1;

static void *must(void *p)
{
    if (!p) {
        perror("check");
        exit(EXIT_FAILURE);
    }
    return p;
}

Suite *suite_create(const char *name)
{
    Suite *s = must(calloc(1, sizeof(*s)));

    s->name = name;
    return s;
}

void suite_add_tcase(Suite *s, TCase *c)
{
    if (s->count == TEST_MAX) {
        (void)fprintf(stderr, "check: more than %d tests in %s\n", TEST_MAX, s->name);
        exit(EXIT_FAILURE);
    }
    s->cases[s->count++] = c;
}

/* The name is the test's: a case holds one. */
TCase *tcase_create(const char *name)
{
    (void)name;
    return must(calloc(1, sizeof(TCase)));
}

void tcase_set_timeout(TCase *c, double seconds)
{
    const char *text = getenv("CK_TIMEOUT_MULTIPLIER");
    double times = text ? strtod(text, NULL) : 1;

    c->seconds = seconds * (times > 0 ? times : 1);
}

void tcase_add_test(TCase *c, const TTest *test)
{
    c->test = test;
}

SRunner *srunner_create(Suite *s)
{
    SRunner *runner = must(calloc(1, sizeof(*runner)));

    runner->suite = s;
    return runner;
}

void srunner_set_fork_status(SRunner *runner, enum fork_status status)
{
    (void)runner, (void)status;
}

void _ck_assert_failed(const char *file, int line, const char *expression, const char *message, ...)
{
    char text[MESSAGE_MAX];
    int n = snprintf(text, sizeof(text), "%s:%d: %s: ", file, line, expression);
    size_t size = n > 0 && (size_t)n < sizeof(text) ? (size_t)n : 0;
    va_list args;

    va_start(args, message);
    (void)vsnprintf(text + size, sizeof(text) - size, message, args);
    va_end(args);
    /* One write of less than PIPE_BUF: two threads that fail do not mix. */
    if (write(report_fd, text, strlen(text) + 1) < 0)
        (void)fprintf(stderr, "%s\n", text);
    _exit(EXIT_FAILURE);
}

static void child_run(const TTest *test, int fd, const sigset_t *mask)
{
    report_fd = fd;
    (void)setpgid(0, 0);
    (void)sigprocmask(SIG_SETMASK, mask, NULL);
    test->fn(0);
    exit(EXIT_SUCCESS);
}

/* True: the child has ended, with *status. False: its time is up. */
static int child_wait(pid_t pid, double seconds, const sigset_t *child_signal, int *status)
{
    struct timespec now, end;

    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += (time_t)seconds;
    for (;;) {
        struct timespec slice = {.tv_sec = 1};
        pid_t got = waitpid(pid, status, WNOHANG);

        if (got == pid)
            return 1;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec))
            return 0;
        (void)sigtimedwait(child_signal, NULL, &slice);
    }
}

/* Print why the test failed; 1 if it did. */
static int verdict(const char *suite, const TTest *test, int ended, int status, int fd)
{
    char text[MESSAGE_MAX];
    ssize_t n = read(fd, text, sizeof(text) - 1);

    if (ended && WIFEXITED(status) && WEXITSTATUS(status) == 0 && n <= 0)
        return 0;
    text[n > 0 ? n : 0] = '\0';
    if (n <= 0 && !ended)
        (void)snprintf(text, sizeof(text), "its time was up");
    else if (n <= 0 && WIFSIGNALED(status))
        (void)snprintf(text, sizeof(text), "ended by signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    else if (n <= 0)
        (void)snprintf(text, sizeof(text), "left with exit status %d", WEXITSTATUS(status));
    (void)printf("%s: FAILED: %s: %s\n", suite, test->name, text);
    return 1;
}

static int test_run_one(const char *suite, const TCase *c)
{
    sigset_t child_signal, before;
    int fds[2], status = 0, ended, failed;
    pid_t pid;

    (void)sigemptyset(&child_signal);
    (void)sigaddset(&child_signal, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &child_signal, &before);
    (void)fflush(NULL);
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0 || (pid = fork()) < 0) {
        perror("check");
        exit(EXIT_FAILURE);
    }
    if (pid == 0) {
        (void)close(fds[0]);
        child_run(c->test, fds[1], &before);
    }
    (void)setpgid(pid, pid); /* here too: whoever comes first */
    (void)close(fds[1]);
    ended = child_wait(pid, c->seconds, &child_signal, &status);
    (void)kill(-pid, SIGKILL);
    if (!ended)
        (void)waitpid(pid, &status, 0);
    failed = verdict(suite, c->test, ended, status, fds[0]);
    (void)close(fds[0]);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return failed;
}

void srunner_run_all(SRunner *runner, enum print_output output)
{
    const char *only = getenv("CK_RUN_CASE");
    Suite *s = runner->suite;

    (void)output;
    for (size_t i = 0; i < s->count; i++) {
        if (only && strcmp(only, s->cases[i]->test->name) != 0)
            continue;
        runner->ran++;
        runner->failed += test_run_one(s->name, s->cases[i]);
    }
    (void)printf("%s: %d tests, %d failed\n", s->name, runner->ran, runner->failed);
}

int srunner_ntests_failed(SRunner *runner)
{
    return runner->failed;
}

void srunner_free(SRunner *runner)
{
    for (size_t i = 0; i < runner->suite->count; i++)
        free(runner->suite->cases[i]);
    free(runner->suite);
    free(runner);
}
