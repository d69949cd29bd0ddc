/* SPDX-License-Identifier: MIT */
/*
 * set.h - sets of bells, and who waits for their results. From fibers, but where nothing awaits.
 */
#ifndef TEST_SET_H
#define TEST_SET_H

#include "bell.h"

#include <errno.h>
#include <stdlib.h>

#define BELLS 20

static inline struct bell *bells_new(void)
{
    struct bell *b = calloc(BELLS, sizeof(*b));

    CHECK(b != NULL);
    for (size_t i = 0; i < BELLS; i++)
        CHECK_EQ(0, pthread_mutex_init(&b[i].lock, NULL));
    return b;
}

static inline weft_futures *set_of(unsigned flags, struct bell *b, size_t n)
{
    weft_futures *set = weft_futures_new_with(flags);

    CHECK(set != NULL);
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(0, weft_futures_push(set, bell_future(&b[i]), 100 + i));
    return set;
}

/* The next result must be this one. */
static inline void expect_next(weft_futures *set, uint64_t want_tag, ssize_t want)
{
    uint64_t tag = 0;
    ssize_t result = -1;

    CHECK_EQ(1, weft_futures_next(set, &tag, &result));
    CHECK_EQ(want_tag, tag);
    CHECK_EQ(want, result);
}

static inline int next_result(void *arg)
{
    ssize_t result = 0;
    int rc = weft_futures_next(arg, NULL, &result);

    return rc == 1 ? (int)result : rc;
}

/* A task that waits for the next result. */
static inline weft_task *waits_for(weft_futures *set)
{
    weft_task *t = weft_spawn(next_result, set);

    until_waiting(t);
    return t;
}

static inline int joined(weft_task *t)
{
    int result = 0;

    CHECK_EQ(0, weft_join(t, &result));
    return result;
}

/* Poll it once, and leave it pending. */
static inline void keep_pending(weft_future *f)
{
    weft_future tick = weft_ready_future(0), *list[] = {f, &tick};

    CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_KEEP | WEFT_SELECT_BIASED));
}

#endif
