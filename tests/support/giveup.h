/* SPDX-License-Identifier: MIT */
/*
 * giveup.h - a call that waits, and is made to give up where it waits: by the cancel of its task, by a deadline, by
 * losing a select; as a straight-line call and as a future.
 */
#ifndef TEST_GIVEUP_H
#define TEST_GIVEUP_H

#include "support.h"

#include <errno.h>

/* What waits: it must go on waiting as long as this test looks at it. One of the two forms may be NULL. */
struct giveup {
    int (*wait)(void *on);           /* straight-line */
    weft_future (*future)(void *on); /* the same */
    void *on;
};

static inline int giveup_wait(void *arg)
{
    const struct giveup *g = arg;

    return g->wait(g->on);
}

static inline int giveup_await(void *arg)
{
    const struct giveup *g = arg;
    weft_future f = g->future(g->on);

    return (int)weft_await(&f);
}

/* What is polled after this finds no budget left. From a fiber. */
static inline void spend_the_budget(void)
{
    weft_context cx = weft_context_of(NULL);
    weft_future unit;

    do
        unit = weft_consume_budget_future();
    while (weft_future_poll(&unit, &cx) == WEFT_READY);
    weft_future_drop(&unit);
}

/* Until the task waits for something. From a fiber. */
static inline void until_idle(const weft_task *t)
{
    weft_task_info info = {.state = WEFT_TASK_READY};

    while (info.state != WEFT_TASK_IDLE) {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_task_get_info(t, &info));
        CHECK(info.state != WEFT_TASK_FINISHED);
    }
}

static inline void giveup_cancelled(weft_fn *fn, struct giveup *g)
{
    weft_task *t = weft_spawn(fn, g);
    int result = 0;

    until_idle(t);
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
}

static inline int giveup_out_of_time(void *arg)
{
    const struct giveup *g = arg;

    WEFT_DEADLINE(WEFT_MS(1))
    {
        CHECK_EQ(-ETIMEDOUT, g->wait(g->on));
        CHECK_EQ(-ETIMEDOUT, g->wait(g->on)); /* on entry, too */
    }
    return 0;
}

static inline int giveup_as_a_future(void *arg)
{
    const struct giveup *g = arg;
    weft_future f = g->future(g->on), tick = weft_yield_future();

    CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_MS(1), &f));

    f = g->future(g->on);
    CHECK_EQ(1, weft_select_biased(&f, &tick));
    CHECK_EQ(-ECANCELED, f.result);
    return 0;
}

/* By a task of its own: the caller may hold what it waits for. */
static inline void giveup_apart(weft_fn *fn, struct giveup *g)
{
    CHECK_EQ(0, weft_join(weft_spawn(fn, g), NULL));
}

/* In each way, one after the other. From a fiber. */
static inline void give_up(struct giveup *g)
{
    if (g->wait) {
        giveup_cancelled(giveup_wait, g);
        giveup_apart(giveup_out_of_time, g);
    }
    if (g->future) {
        giveup_cancelled(giveup_await, g);
        giveup_apart(giveup_as_a_future, g);
    }
}

#endif
