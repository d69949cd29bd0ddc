/* SPDX-License-Identifier: MIT */
/*
 * timeouts.c - four ways to stop waiting: a limit on one operation, a deadline over a block of
 * code, the first of several operations, and cancelling a task.
 */
#include <errno.h>
#include <stdio.h>
#include <weft.h>

/* One operation: its future, awaited with a limit. */
static void limit_one_operation(void)
{
    weft_listener *l;
    weft_stream *s;
    weft_future next;
    ssize_t rc;

    if (weft_listen(&l, "tcp://127.0.0.1:0", NULL) < 0)
        return;
    next = weft_accept_future(l, &s);
    rc = weft_timeout(WEFT_MS(20), &next);
    (void)printf("accept with a limit: %s\n", weft_strerror(rc));
    weft_listener_close(l);
}

static int three_naps(void)
{
    for (int i = 0; i < 3; i++) {
        int rc = weft_sleep(WEFT_MS(10));

        if (rc < 0)
            return rc;
    }
    return 0;
}

/* A block: every await inside, at any depth of calls, ends with -ETIMEDOUT once it has passed. */
static void limit_a_block(void)
{
    int rc = 0;

    WEFT_DEADLINE(WEFT_MS(15))
    {
        rc = three_naps();
    }
    (void)printf("three naps under a deadline: %s\n", weft_strerror(rc));
}

static int slow_answer(void *arg)
{
    int rc = weft_sleep(WEFT_MS(50));

    (void)arg;
    return rc < 0 ? rc : 42;
}

/* The first of several: the losers are dropped, which takes nothing from the task itself. */
static void first_of_two(void)
{
    weft_task *t = weft_spawn(slow_answer, NULL);
    weft_future done = weft_join_future(t), tick = weft_sleep_future(WEFT_MS(10));
    int answer = 0;

    switch (weft_select(&done, &tick)) {
    case 0:
        (void)printf("the answer came first\n");
        break;
    case 1:
        (void)printf("the tick came first; the task goes on\n");
        break;
    default:
        (void)printf("this task was cancelled\n");
        break;
    }
    if (weft_join(t, &answer) == 0)
        (void)printf("the answer is %d\n", answer);
}

/* Works until it is asked to stop. What it has to say at the end needs an await, so it is
 * shielded: otherwise that await would return -ECANCELED like all others. */
static int work_until_cancelled(void *arg)
{
    int rounds = 0;

    (void)arg;
    while (weft_sleep(WEFT_MS(1)) == 0)
        rounds++;
    WEFT_SHIELD
    {
        if (weft_sleep(WEFT_MS(5)) == 0)
            (void)printf("cancelled after %s, cleaned up\n", rounds ? "some rounds" : "no round");
    }
    return -ECANCELED;
}

static void cancel_a_task(void)
{
    weft_task *t = weft_spawn(work_until_cancelled, NULL);
    int result = 0;

    if (weft_sleep(WEFT_MS(20)) == 0)
        weft_cancel(t);
    if (weft_join(t, &result) == 0)
        (void)printf("the task ended: %s\n", weft_strerror(result));
}

static int app(void *arg)
{
    (void)arg;
    limit_one_operation();
    limit_a_block();
    first_of_two();
    cancel_a_task();
    return 0;
}

int main(void)
{
    return weft_run(app, NULL);
}
