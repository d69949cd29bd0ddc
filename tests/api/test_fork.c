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
static int child_claims(weft_runtime *rt, weft_local_set *set)
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
    if (weft_join_set_spawn(set, nothing, NULL) != -EPERM)
        return 8;
    if (weft_local_set_run(set, nothing, NULL, &result) != -EPERM)
        return 9;
    if (sigprocmask(SIG_BLOCK, NULL, &blocked) != 0 || sigismember(&blocked, SIGTERM) ||
        sigismember(&blocked, SIGINT) || sigismember(&blocked, SIGPIPE))
        return 7;
    return 0;
}

static int fork_and_claim(void *arg)
{
    weft_runtime *rt = arg;
    weft_join_set_options options = {.runtime = rt};
    weft_local_set *set;
    pid_t child;
    int status;

    CHECK_EQ(0, weft_local_set_new_with(&set, &options));
    child = fork();
    if (child == 0)
        _exit(child_claims(rt, set));
    CHECK(child > 0);
    CHECK_EQ(child, waitpid(child, &status, 0));
    CHECK(WIFEXITED(status));
    CHECK_EQ(0, WEXITSTATUS(status));
    weft_join_set_free(set);
    return 0;
}

#if defined(__SANITIZE_THREAD__)
# define IGNORES_CHILDREN true
#else
# define IGNORES_CHILDREN false
#endif

static int fork_and_return(void *arg);

/* In a task, in calls that block, and in a job. */
static int fork_each_way(void *arg)
{
    weft_fn *fn = *(weft_fn **)arg;
    weft_runtime *rt = weft_runtime_current();
    weft_task *t;
    int result;

    CHECK_EQ(0, fn(rt));
    if (fn == fork_and_return && IGNORES_CHILDREN)
        test_say(
            "skipped: a child that returns from a call, for ThreadSanitizer does not know its stacks");
    else
        CHECK_EQ(0, weft_blocking(fn, rt));
    if (weft_runtime_flavor(rt) == WEFT_MULTI_THREAD)
        CHECK_EQ(0, weft_block_in_place(fn, rt));
    t = weft_spawn_blocking(fn, rt);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(0, result);
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
    weft_fn *fn = fork_and_claim;

    test_run(fork_each_way, &fn);
}

TEST(a_child_that_returns_from_its_task_ends)
{
    weft_fn *fn = fork_and_return;

    test_run(fork_each_way, &fn);
}

/* A stackless task: the child of one ends with its result, of the other it is to be polled again. */
struct forker {
    weft_async async;
    weft_poll answer;
    bool again;
};

static weft_poll forker_poll(void *self, weft_context *cx)
{
    struct forker *f = self;
    pid_t child;
    int status;

    if (f->again)
        return WEFT_READY;
    f->again = true;
    child = fork();
    if (child == 0)
        return f->answer;
    CHECK(child > 0);
    CHECK_EQ(child, waitpid(child, &status, 0));
    CHECK(WIFEXITED(status));
    CHECK_EQ(1, WEXITSTATUS(status));
    if (f->answer == WEFT_PENDING) {
        weft_waker w = weft_context_waker(cx);

        weft_waker_wake(&w);
    }
    return f->answer;
}

static pid_t parent;

/* No child comes here. */
static void forker_drop(void *self)
{
    (void)self;
    if (getpid() != parent)
        _exit(2);
}

static const weft_async_type forker_type = {forker_poll, forker_drop, sizeof(struct forker), "f"};

static int fork_stackless(void *arg)
{
    (void)arg;
    parent = getpid();
    for (int i = 0; i < 2; i++) {
        weft_task *t = weft_spawn_async(&forker_type,
                                        &(struct forker){.answer = i ? WEFT_READY : WEFT_PENDING});

        CHECK_EQ(0, weft_join(t, NULL));
    }
    return weft_sleep(WEFT_MS(1));
}

TEST(a_child_that_returns_from_a_stackless_poll_ends)
{
    test_run(fork_stackless, NULL);
}

TEST_MAIN("fork", a_child_of_a_task_is_told_that_it_has_no_runtime,
          a_child_that_returns_from_its_task_ends, a_child_that_returns_from_a_stackless_poll_ends)
