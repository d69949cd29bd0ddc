/* SPDX-License-Identifier: MIT */
/*
 * test_inject.c - the injection queue under all interleavings: no task is lost or taken twice, and those of one
 * pusher are taken in its order.
 */
#include "model/model.h"
#include "sched/inject.h"
#include "task/task.h"

#define TASKS 4

enum { TOOK_NONE, TOOK_SOME, TOOK_ALL };

static struct wf_inject queue;
static struct weft_task tasks[TASKS];
static unsigned pushed[TASKS], taken[TASKS]; /* how often; by the pusher, by whoever took it */

static unsigned number(const struct weft_task *t)
{
    return (unsigned)(t - tasks);
}

/* What the pusher wrote into the task must be visible to who takes it: a race otherwise. */
static void push(unsigned i)
{
    tasks[i].result = (int32_t)i + 100;
    pushed[i] = 1;
    wf_inject_push(&queue, &tasks[i]);
}

/* Tasks 0 and 1 are one pusher's, 2 and 3 another's: at most one step back in a lot, from one to the
 * other. */
static unsigned take(unsigned max)
{
    struct weft_task *out[TASKS];
    unsigned n = wf_inject_take(&queue, out, max);

    CHECK(n <= max);
    for (unsigned i = 0; i < n; i++) {
        unsigned k = number(out[i]);

        CHECK(out[i]->next == NULL);
        CHECK_EQ(k + 100, out[i]->result);
        taken[k]++;
        for (unsigned before = 0; before < i; before++)
            CHECK(k / 2 != number(out[before]) / 2 || k > number(out[before]));
        out[i]->result = 0;
    }
    return n;
}

static void begin(void)
{
    wf_inject_init(&queue);
}

static void begin_one(void)
{
    begin();
    push(0);
}

static void end(void)
{
    unsigned left = 0;

    for (unsigned i = 0; i < TASKS; i++) {
        CHECK(taken[i] <= pushed[i]);
        left += pushed[i] - taken[i];
    }
    CHECK_EQ(left, wf_inject_len(&queue)); /* exact again, with nobody else there */
    CHECK_EQ(left, take(TASKS));
    for (unsigned i = 0; i < TASKS; i++)
        CHECK_EQ(pushed[i], taken[i]);
    CHECK_EQ(0, wf_inject_len(&queue));
    CHECK_EQ(0, take(TASKS));
}

static void push_one(void)
{
    push(0);
}

static void push_another(void)
{
    push(2);
}

static void pusher(void)
{
    push(0);
    push(1);
}

static void other_pusher(void)
{
    push(2);
    push(3);
}

static void taker(void)
{
    unsigned n = take(1);

    n += take(2);
    model_reached(n == 0 ? TOOK_NONE : TOOK_SOME);
}

static void taker_of_all(void)
{
    unsigned n = take(TASKS);

    if (n == TASKS)
        model_reached(TOOK_ALL);
    model_reached(n == 0 ? TOOK_NONE : TOOK_SOME);
}

/* Its own push is never missed: the hint is its own, or a later one. */
static void push_and_take(void)
{
    push(1);
    if (take(1) == 0)
        model_reached(TOOK_NONE);
    else
        model_reached(TOOK_SOME);
}

static void take_in_order(void)
{
    unsigned before = 0;

    for (int i = 0; i < 3; i++) {
        struct weft_task *t;

        if (wf_inject_take(&queue, &t, 1) == 0)
            continue;
        CHECK_EQ(number(t) + 100, t->result);
        CHECK(number(t) >= before); /* one pusher: in its order */
        before = number(t) + 1;
        taken[number(t)]++;
    }
    model_reached(before == 0 ? TOOK_NONE : TOOK_SOME);
}

const struct model_test model_tests[] = {
    {.name = "two push, one takes twice",
     .begin = begin,
     .thread = {push_one, push_another, taker},
     .end = end,
     .stale = 1,
     .must_reach = 1u << TOOK_NONE | 1u << TOOK_SOME},
    {.name = "two push two, one takes in lots of one and two",
     .begin = begin,
     .thread = {pusher, other_pusher, taker},
     .end = end,
     .deep = true,
     .must_reach = 1u << TOOK_NONE | 1u << TOOK_SOME},
    {.name = "two push two, one takes all",
     .begin = begin,
     .thread = {pusher, other_pusher, taker_of_all},
     .end = end,
     .stale = 1,
     .must_reach = 1u << TOOK_NONE | 1u << TOOK_SOME | 1u << TOOK_ALL},
    {.name = "one pusher's tasks are taken in its order",
     .begin = begin,
     .thread = {pusher, take_in_order},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << TOOK_NONE | 1u << TOOK_SOME},
    {.name = "the last one has two takers, one of which pushes",
     .begin = begin_one,
     .thread = {push_and_take, taker},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << TOOK_NONE | 1u << TOOK_SOME},
    {.name = "two push two, two take",
     .begin = begin,
     .thread = {pusher, other_pusher, taker, taker_of_all},
     .end = end,
     .stale = 1,
     .deep = true,
     .must_reach = 1u << TOOK_NONE | 1u << TOOK_SOME | 1u << TOOK_ALL},
    {0},
};
