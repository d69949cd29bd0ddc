/* SPDX-License-Identifier: MIT */
/*
 * test_backtrace.c - another thread's frames by a signal: asked, late, unanswered, and what the handler
 * leaves of the program's own; and which system calls bear it.
 */
#include "fiber/backtrace.h"
#include "sched/syscall.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define LONG_NS 5000000000u

#if defined(__SANITIZE_THREAD__)
# define ANSWERS false
#elif defined(__has_feature)
# if __has_feature(thread_sanitizer)
#  define ANSWERS false
# endif
#endif
#ifndef ANSWERS
# define ANSWERS true
#endif
#define WITHOUT_ANSWERS "ThreadSanitizer puts signals off until the thread calls it"

static atomic_uint thread_id;
static atomic_bool stop, blocked;

__attribute__((noinline)) static void spin(void)
{
    while (!atomic_load(&stop))
        continue;
}

/* With the signal blocked as long as `blocked` says so. */
static void *spinner(void *unused)
{
    sigset_t urgent;

    (void)unused;
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    CHECK_EQ(0, pthread_sigmask(SIG_BLOCK, &urgent, NULL));
    atomic_store(&thread_id, wf_sys_thread_id());
    while (atomic_load(&blocked))
        continue;
    CHECK_EQ(0, pthread_sigmask(SIG_UNBLOCK, &urgent, NULL));
    spin();
    return NULL;
}

static pthread_t start(bool masked)
{
    pthread_t thread;

    atomic_store(&blocked, masked);
    CHECK_EQ(0, pthread_create(&thread, NULL, spinner, NULL));
    while (atomic_load(&thread_id) == 0)
        continue;
    return thread;
}

static void end(pthread_t thread)
{
    atomic_store(&stop, true);
    CHECK_EQ(0, pthread_join(thread, NULL));
}

/* Is one of the frames in this function, or close behind its begin? */
static bool is_in(void *const *frames, unsigned n, void (*function)(void))
{
    for (unsigned i = 0; i < n; i++)
        if ((uintptr_t)frames[i] - (uintptr_t)function < 512)
            return true;
    return false;
}

TEST(a_thread_says_where_it_is)
{
    void *frames[WF_BACKTRACE_MAX];
    pthread_t thread;
    unsigned n;

    if (!ANSWERS)
        TEST_SKIP(WITHOUT_ANSWERS);
    CHECK_EQ(0, wf_backtrace_install());
    thread = start(false);
    for (int i = 0; i < 600; i++) { /* more often than there are serial numbers */
        n = wf_backtrace_of_thread(atomic_load(&thread_id), frames, LONG_NS * test_slow());
        CHECK(n >= 2 && n < WF_BACKTRACE_MAX);
    }
    CHECK(is_in(frames, n, spin));
    end(thread);
    wf_backtrace_uninstall();
}

END_TEST

TEST(who_does_not_answer_is_not_waited_for_and_disturbs_nobody)
{
    void *frames[WF_BACKTRACE_MAX];
    pthread_t thread;

    if (!ANSWERS)
        TEST_SKIP(WITHOUT_ANSWERS);
    CHECK_EQ(0, wf_backtrace_install());
    thread = start(true);
    CHECK_EQ(0, wf_backtrace_of_thread(atomic_load(&thread_id), frames, 1000000));
    atomic_store(&blocked, false); /* the late signal comes now, or while the next is waited for */
    CHECK(wf_backtrace_of_thread(atomic_load(&thread_id), frames, LONG_NS * test_slow()) >= 2);
    end(thread);
    CHECK_EQ(0, wf_backtrace_of_thread(INT32_MAX, frames, LONG_NS)); /* no such thread: at once */
    wf_backtrace_uninstall();
}

END_TEST

static atomic_uint others;

static void on_urgent(int number)
{
    (void)number;
    atomic_fetch_add(&others, 1);
}

TEST(a_handler_that_came_later_stays)
{
    struct sigaction later = {.sa_handler = on_urgent}, now;

    CHECK_EQ(0, wf_backtrace_install());
    CHECK_EQ(0, wf_backtrace_install());
    CHECK_EQ(0, sigaction(SIGURG, &later, &now));
    CHECK(now.sa_flags & SA_SIGINFO);
    wf_backtrace_uninstall();
    wf_backtrace_uninstall();
    CHECK_EQ(0, sigaction(SIGURG, NULL, &now));
    CHECK(now.sa_handler == on_urgent);
    /* Ours is below it: to go on top again would make a ring. */
    CHECK_EQ(0, wf_backtrace_install());
    CHECK_EQ(0, sigaction(SIGURG, NULL, &now));
    CHECK(now.sa_handler == on_urgent);
    CHECK_EQ(0, raise(SIGURG));
    CHECK_EQ(1, atomic_load(&others));
    wf_backtrace_uninstall();
}

END_TEST

TEST(what_was_there_before_comes_back)
{
    struct sigaction now;

    CHECK_EQ(0, wf_backtrace_install());
    CHECK_EQ(0, raise(SIGURG)); /* not ours: ignored, as by default */
    wf_backtrace_uninstall();
    CHECK_EQ(0, sigaction(SIGURG, NULL, &now));
    CHECK(now.sa_handler == SIG_DFL);
}

END_TEST

/* --- system calls ------------------------------------------------------------------------------------ */

static bool restarts(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return wf_syscall_restarts(&(struct wf_sys_call){.number = number, .argument = {a, b, c, d}});
}

TEST(only_what_goes_on_by_itself_is_interrupted)
{
    struct timeval limit = {.tv_sec = 1}, none = {0};
    int pipes[2], sockets[2], least = 4, one = 1, file = open("/proc/self/stat", O_RDONLY);

    CHECK(file >= 0);
    CHECK_EQ(0, pipe(pipes));
    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
    CHECK_STR("clock_nanosleep", wf_syscall_name(SYS_clock_nanosleep));
    CHECK_STR("read", wf_syscall_name(SYS_read));
    CHECK(!wf_syscall_name(-1) && !wf_syscall_name(99999));
    CHECK(!restarts(-1, 0, 0, 0, 0) && !restarts(99999, 0, 0, 0, 0));
    CHECK(!restarts(SYS_clock_nanosleep, 0, 0, 0, 0) && !restarts(SYS_ppoll, 0, 0, 0, 0));
    CHECK(!restarts(SYS_write, (uint64_t)pipes[1], 0, 0, 0));
    CHECK(restarts(SYS_flock, 0, 0, 0, 0) && restarts(SYS_wait4, 0, 0, 0, 0));
    CHECK(restarts(SYS_fcntl, 0, F_SETLKW, 0, 0) && !restarts(SYS_fcntl, 0, F_GETFL, 0, 0));
    CHECK(restarts(SYS_futex, 0, FUTEX_WAIT_PRIVATE, 0, 0));
    CHECK(restarts(SYS_futex, 0, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, 0));
    CHECK(!restarts(SYS_futex, 0, FUTEX_WAIT_PRIVATE, 0, 4096));
    CHECK(!restarts(SYS_futex, 0, FUTEX_WAIT_REQUEUE_PI, 0, 0));
    CHECK(restarts(SYS_read, (uint64_t)pipes[0], 0, 0, 0));
    CHECK(!restarts(SYS_read, (uint64_t)file, 0, 0, 0) && !restarts(SYS_read, 9999, 0, 0, 0));
    CHECK(restarts(SYS_read, (uint64_t)sockets[0], 0, 0, 0));
    CHECK(restarts(SYS_recvfrom, (uint64_t)sockets[0], 0, MSG_WAITALL, 0));
    CHECK(!restarts(SYS_recvfrom, (uint64_t)sockets[0], 0, 0, MSG_WAITALL));
    CHECK(!restarts(SYS_recvmsg, (uint64_t)sockets[0], 0, MSG_WAITALL, 0));
    CHECK_EQ(0, setsockopt(sockets[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
    CHECK(!restarts(SYS_read, (uint64_t)sockets[0], 0, 0, 0));
    CHECK_EQ(0, setsockopt(sockets[0], SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none)));
    CHECK(restarts(SYS_accept4, (uint64_t)sockets[0], 0, 0, 0));
    CHECK_EQ(0, setsockopt(sockets[0], SOL_SOCKET, SO_RCVLOWAT, &least, sizeof(least)));
    CHECK(!restarts(SYS_read, (uint64_t)sockets[0], 0, 0, 0));
    CHECK_EQ(0, setsockopt(sockets[0], SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one)));
    CHECK(restarts(SYS_read, (uint64_t)sockets[0], 0, 0, 0));
    for (int i = 0; i < 2; i++)
        CHECK(close(pipes[i]) == 0 && close(sockets[i]) == 0);
    CHECK_EQ(0, close(file));
}

END_TEST

TEST_MAIN("backtrace", a_thread_says_where_it_is,
          who_does_not_answer_is_not_waited_for_and_disturbs_nobody,
          a_handler_that_came_later_stays, what_was_there_before_comes_back,
          only_what_goes_on_by_itself_is_interrupted)
