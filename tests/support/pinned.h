/* SPDX-License-Identifier: MIT */
/*
 * pinned.h - what the tests of pinned tasks and local sets share: on which thread a task is.
 */
#ifndef TEST_PINNED_H
#define TEST_PINNED_H

#include "children.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By the kernel's number: a call that no compiler remembers the result of. */
static inline long thread_here(void)
{
    return syscall(SYS_gettid);
}

static inline weft_runtime *runtime_with(unsigned workers)
{
    weft_runtime *rt = NULL;
    weft_config c = {.worker_threads = workers, .ignore_env = WEFT_ON};

    test_watchdog(40);
    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    return rt;
}

static inline void runtime_end(weft_runtime *rt)
{
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_SECS(10ull * test_slow())));
    weft_runtime_free(rt);
}

static inline int keeps_its_thread(void *arg)
{
    long thread = thread_here();

    (void)arg;
    for (int i = 0; i < 30; i++) {
        int rc = i % 10 ? weft_yield() : weft_sleep(WEFT_US(50));

        CHECK_EQ(thread, thread_here());
        if (rc < 0)
            return rc;
    }
    return 7;
}

struct lasting {
    weft_async async;
    long thread;
    int left;
    weft_future nap;
};

static inline weft_poll lasting_poll(void *self, weft_context *cx)
{
    struct lasting *s = self;

    WEFT_ASYNC_BEGIN(s);
    s->thread = thread_here();
    for (s->left = 20; s->left > 0; s->left--) {
        s->nap = s->left % 2 ? weft_yield_future() : weft_sleep_future(WEFT_US(20));
        WEFT_AWAIT(s, cx, &s->nap);
        CHECK_EQ(s->thread, thread_here());
    }
    WEFT_RETURN(s, 7);
    WEFT_ASYNC_END(s);
}

static const weft_async_type lasting_type = {.poll = lasting_poll,
                                             .size = sizeof(struct lasting),
                                             .name = "lasting"};

/* Joins what it was given. */
static inline void seven(weft_task *t)
{
    int result = 0;

    CHECK(t != NULL);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(7, result);
}

/* A debug library explains each misuse on stderr: not here. */
static inline void hush(void)
{
    int null = open("/dev/null", O_WRONLY);

    CHECK(null >= 0 && dup2(null, STDERR_FILENO) >= 0);
    (void)close(null);
}

#endif
