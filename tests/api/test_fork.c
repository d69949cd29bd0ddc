/* SPDX-License-Identifier: MIT */
/*
 * test_fork.c - a child of fork made inside a task, which may only exec or _exit: what it calls
 * answers -EPERM, and its signals are as the program knows them.
 */
#include "support.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

/* Runs in the child; its exit status is the number of the first claim that does not hold. */
static int child_claims(weft_runtime *rt)
{
    sigset_t blocked;
    int result;

    if (weft_task_self())
        return 1;
    if (weft_spawn(nothing, NULL))
        return 2;
    if (weft_go(nothing, NULL) != -EPERM)
        return 3;
    if (weft_sleep(WEFT_MS(1)) != -EPERM)
        return 4;
    if (weft_spawn_on(rt, NULL, NULL, nothing, NULL) != -EPERM)
        return 5;
    if (weft_block_on(rt, nothing, NULL, &result) != -EPERM)
        return 6;
    if (sigprocmask(SIG_BLOCK, NULL, &blocked) != 0 || sigismember(&blocked, SIGTERM) ||
        sigismember(&blocked, SIGINT) || sigismember(&blocked, SIGPIPE))
        return 7;
    return 0;
}

static int fork_and_claim(void *arg)
{
    weft_runtime *rt = weft_runtime_current();
    pid_t child = fork();
    int status;

    (void)arg;
    if (child == 0)
        _exit(child_claims(rt));
    CHECK(child > 0);
    CHECK_EQ(child, waitpid(child, &status, 0));
    CHECK(WIFEXITED(status));
    CHECK_EQ(0, WEXITSTATUS(status));
    /* The parent goes on as if nothing had been. */
    return weft_sleep(WEFT_MS(1));
}

static int fork_and_return(void *arg)
{
    pid_t child = fork();
    int status;

    (void)arg;
    if (child == 0)
        return 0;
    CHECK(child > 0);
    CHECK_EQ(child, waitpid(child, &status, 0));
    CHECK(WIFEXITED(status));
    CHECK_EQ(1, WEXITSTATUS(status));
    return 0;
}

TEST(a_child_of_a_task_is_told_that_it_has_no_runtime)
{
    test_run(fork_and_claim, NULL);
}

TEST(a_child_that_returns_from_its_task_ends)
{
    test_run(fork_and_return, NULL);
}

TEST_MAIN("fork", a_child_of_a_task_is_told_that_it_has_no_runtime,
          a_child_that_returns_from_its_task_ends)
