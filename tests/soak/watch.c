/* SPDX-License-Identifier: MIT */
/*
 * watch.c - the watchdog and the verdict: whatever fails, or stands still, says how to repeat its round, shows
 * every task and every thread, and ends the process.
 *
 * IDEA     Acts, hand-overs, transfers and everything in the ledger move one count. If it has not moved for
 *          STILL_SECONDS, something is lost.
 * LOCKS    watch.lock guards the table of runtimes, so that none is freed while it is shown. An alarm ends
 *          the process should showing it hang in turn.
 */
#include "soak.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(SANITIZED)
# define SANITIZERS true
#else
# define SANITIZERS false
#endif

#define STILL_SECONDS  20 /* times test_slow() */
#define SHOW_SECONDS   60
#define WATCH_RUNTIMES 32

static struct {
    pthread_mutex_t lock;
    weft_runtime *runtimes[WATCH_RUNTIMES]; /* under lock */
    unsigned failed;                        /* atomic: one verdict is enough */
    uint64_t seed;                          /* atomic */
    unsigned round;                         /* atomic */
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void watch_replace(const weft_runtime *old, weft_runtime *new)
{
    size_t i = 0;

    (void)pthread_mutex_lock(&watch.lock);
    while (i < WATCH_RUNTIMES && watch.runtimes[i] != old)
        i++;
    CHECK(i < WATCH_RUNTIMES);
    watch.runtimes[i] = new;
    (void)pthread_mutex_unlock(&watch.lock);
}

void soak_watch_add(weft_runtime *rt)
{
    watch_replace(NULL, rt);
}

void soak_watch_remove(weft_runtime *rt)
{
    watch_replace(rt, NULL);
}

/* Where all threads are, if there is a debugger. */
static void watch_show_threads(void)
{
    char pid[32];
    pid_t child;

    (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
    (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    child = fork();
    if (child == 0) {
        (void)dup2(STDERR_FILENO, STDOUT_FILENO);
        (void)execlp("gdb", "gdb", "-p", pid, "-batch", "-nx", "-ex", "set pagination off", "-ex",
                     "thread apply all backtrace 24", (char *)NULL);
        _exit(127);
    }
    if (child > 0)
        (void)waitpid(child, NULL, 0);
}

static void watch_show_runtimes(void)
{
    (void)pthread_mutex_lock(&watch.lock);
    for (size_t i = 0; i < WATCH_RUNTIMES; i++) {
        if (!watch.runtimes[i])
            continue;
        (void)fprintf(stderr, "soak: the tasks of runtime %zu:\n", i);
        (void)weft_runtime_dump(watch.runtimes[i], STDERR_FILENO);
    }
    (void)pthread_mutex_unlock(&watch.lock);
}

static void watch_verdict(const char *file, int line, const char *text)
{
    if (__atomic_exchange_n(&watch.failed, 1, __ATOMIC_ACQ_REL))
        for (;;)
            (void)pause();
    (void)fprintf(stderr, "soak: FAILED: seed %llu round %u: %s:%d: %s\n",
                  (unsigned long long)__atomic_load_n(&watch.seed, __ATOMIC_RELAXED),
                  __atomic_load_n(&watch.round, __ATOMIC_RELAXED), file, line, text);
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(SHOW_SECONDS);
    watch_show_threads();
    watch_show_runtimes();
    (void)fprintf(stderr, "soak: %s:%d: %s\n", file, line, text); /* again: the above is long */
    abort();
}

static void *watch_run(void *unused)
{
    weft_instant moved = weft_now();
    uint64_t before = 0;

    (void)unused;
    for (;;) {
        struct timespec t = {.tv_nsec = 50000000};
        uint64_t now;

        (void)nanosleep(&t, NULL);
        now = soak_moves();
        if (now != before)
            moved = weft_now();
        before = now;
        if (weft_now() - moved > WEFT_SECS((uint64_t)STILL_SECONDS * test_slow()))
            test_failed(__FILE__, __LINE__, "nothing moves any more after %llu moves",
                        (unsigned long long)now);
    }
    return NULL;
}

/* A crash, too, shows its threads; then it goes its usual way. Sanitizers show them themselves. */
static void watch_crashed(int number)
{
    if (!__atomic_exchange_n(&watch.failed, 1, __ATOMIC_ACQ_REL)) {
        (void)alarm(SHOW_SECONDS);
        watch_show_threads();
    }
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void watch_crashes(void)
{
    struct sigaction s = {.sa_handler = watch_crashed,
                          .sa_flags = (int)(SA_RESETHAND | SA_NODEFER | SA_ONSTACK)};

    if (SANITIZERS)
        return;
    (void)sigaction(SIGSEGV, &s, NULL);
    (void)sigaction(SIGBUS, &s, NULL);
    (void)sigaction(SIGILL, &s, NULL);
    (void)sigaction(SIGABRT, &s, NULL);
}

void soak_watch_open(void)
{
    pthread_t thread;

    test_on_failure(watch_verdict);
    watch_crashes();
    CHECK_EQ(0, pthread_create(&thread, NULL, watch_run, NULL));
    (void)pthread_detach(thread);
}

void soak_watch_round(uint64_t seed, unsigned round)
{
    __atomic_store_n(&watch.seed, seed, __ATOMIC_RELAXED);
    __atomic_store_n(&watch.round, round, __ATOMIC_RELAXED);
}
