/* SPDX-License-Identifier: MIT */
/*
 * children.h - tasks for the tests of sets, maps and scopes: what they do, and when they have ended.
 */
#ifndef TEST_CHILDREN_H
#define TEST_CHILDREN_H

#include "support.h"

#include <errno.h>
#include <stdatomic.h>

/* Its argument is its result. */
static inline int returns_it(void *arg)
{
    return (int)(intptr_t)arg;
}

static inline void *as_arg(int result)
{
    return (void *)(intptr_t)result;
}

/* Until it is cancelled. */
static inline int waits(void *arg)
{
    weft_future never = weft_pending_future();

    if (arg)
        atomic_fetch_add((atomic_int *)arg, 1);
    return (int)weft_await(&never);
}

/* The same, counted as long as it lives: from the moment that it runs to its end. */
static inline int counted(void *arg)
{
    atomic_int *alive = arg;
    weft_future never = weft_pending_future();
    int rc;

    atomic_fetch_add(alive, 1);
    rc = (int)weft_await(&never);
    /* Takes its time to end. */
    WEFT_SHIELD
    {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_yield());
    }
    atomic_fetch_sub(alive, 1);
    return rc;
}

/* Until the flag is set; then its value less one. */
static inline int until_set(void *arg)
{
    atomic_int *flag = arg;
    int rc;

    while (!atomic_load(flag)) {
        rc = weft_yield();
        if (rc < 0)
            return rc;
    }
    return atomic_load(flag) - 1;
}

static inline int panics(void *arg)
{
    weft_panic("on purpose: %p", arg);
}

struct echo_state {
    weft_async async;
    int value;
    weft_future nap;
};

static inline weft_poll echo_poll(void *self, weft_context *cx)
{
    struct echo_state *s = self;

    WEFT_ASYNC_BEGIN(s);
    s->nap = weft_yield_future();
    WEFT_AWAIT(s, cx, &s->nap);
    WEFT_RETURN(s, s->value);
    WEFT_ASYNC_END(s);
}

static const weft_async_type echo_type = {.poll = echo_poll,
                                          .size = sizeof(struct echo_state),
                                          .name = "echo"};

/* Give way until it is so. */
#define YIELD_UNTIL(x)       \
 do                          \
  CHECK_EQ(0, weft_yield()); \
 while (!(x))

static inline bool is_waiting(const weft_task *t)
{
    weft_task_info info;

    CHECK_EQ(0, weft_task_get_info(t, &info));
    return info.state == WEFT_TASK_IDLE;
}

#endif
