/* SPDX-License-Identifier: MIT */
/* delay.h - what the tests of delay queues share: a queue of ints, and a task that takes one. */
#ifndef TEST_DELAY_H
#define TEST_DELAY_H

#include "support.h"

static inline weft_delay_queue *queue_of_ints(void)
{
    weft_delay_queue *q = NULL;

    CHECK_EQ(0, weft_delay_queue_new(&q, sizeof(int), NULL));
    CHECK_EQ(0, weft_delay_queue_len(q));
    return q;
}

static inline weft_delay_key insert(weft_delay_queue *q, int value, weft_duration after)
{
    weft_delay_key key = {0};

    CHECK_EQ(0, weft_delay_queue_insert(q, &value, after, &key));
    CHECK(key.value_ != 0);
    return key;
}

static inline bool same(weft_delay_key a, weft_delay_key b)
{
    return a.value_ == b.value_;
}

/* Pending from here on. */
static inline void begin(weft_future *f)
{
    weft_future ready = weft_ready_future(0), *list[] = {f, &ready};

    CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP));
    CHECK(!weft_future_is_ready(f));
}

static inline void until_waiting(const weft_task *t)
{
    weft_task_info info;

    do {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_task_get_info(t, &info));
    } while (info.state != WEFT_TASK_IDLE || info.polls == 0);
}

struct waiter {
    weft_delay_queue *q;
    int got;
    weft_instant at;
};

static inline int takes_one(void *arg)
{
    struct waiter *w = arg;
    int rc = weft_delay_queue_next(w->q, &w->got, NULL);

    w->at = weft_now();
    return rc;
}

static inline int ends(weft_task *t)
{
    int result = -1;

    CHECK_EQ(0, weft_join(t, &result));
    return result;
}

#endif
