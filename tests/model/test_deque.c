/* SPDX-License-Identifier: MIT */
/*
 * deque.c - the run queue under all interleavings: each task is taken exactly once, in order.
 *
 * The first ring has two slots, so that it grows and wraps within three tasks.
 */
#include "model/model.h"
#include "sched/deque.h"
#include "task/task.h"

#define TASKS 4

static struct wf_deque queue;
static struct weft_task tasks[TASKS];
static unsigned taken[TASKS]; /* how often; by whoever took it */
static unsigned before;       /* tasks pushed in begin */

static unsigned number(const struct weft_task *t)
{
    return (unsigned)(t - tasks);
}

/* What the pusher wrote into the task must be visible to who takes it: a race otherwise. */
static void push(unsigned i)
{
    tasks[i].result = (int32_t)i + 100;
    CHECK(wf_deque_push(&queue, &tasks[i]));
}

static void got(struct weft_task *t)
{
    CHECK_EQ(number(t) + 100, t->result);
    t->result = 0;
    taken[number(t)]++;
}

static void begin_with(unsigned n)
{
    CHECK(wf_deque_init(&queue, true) == 0);
    for (before = 0; before < n; before++)
        push(before);
}

static void begin_empty(void)
{
    begin_with(0);
}

static void begin_two(void)
{
    begin_with(2);
}

static void begin_three(void)
{
    begin_with(3);
}

static void end_oldest(void)
{
    struct weft_task *t;

    while ((t = wf_deque_take_oldest(&queue)))
        got(t);
    for (unsigned i = 0; i < TASKS; i++)
        CHECK_EQ(tasks[i].id, taken[i]);
    wf_deque_release(&queue);
}

static void end(void)
{
    for (unsigned i = 0; i < before; i++)
        tasks[i].id = 1;
    end_oldest();
}

/* tasks[i].id: how often it must have been taken; set by the pusher. */
static void owner_pushes(unsigned from, unsigned count)
{
    for (unsigned i = from; i < from + count; i++) {
        tasks[i].id = 1;
        push(i);
    }
}

static void owner_push2_take2(void)
{
    struct weft_task *t;

    owner_pushes(0, 2);
    for (int i = 0; i < 2; i++)
        if ((t = wf_deque_take_oldest(&queue)))
            got(t);
}

static void owner_push_take_push(void)
{
    struct weft_task *t;

    owner_pushes(2, 1);
    if ((t = wf_deque_take_oldest(&queue)))
        got(t);
    owner_pushes(3, 1);
}

static void owner_grows(void)
{
    owner_pushes(2, 2);
}

static void thief_half(void)
{
    struct weft_task *out[2];
    unsigned n = wf_deque_steal_half(&queue, out, 2);

    CHECK(n <= 2);
    CHECK(n < 2 || number(out[0]) < number(out[1]));
    for (unsigned i = 0; i < n; i++)
        got(out[i]);
}

/* It has room for one. */
static void thief_narrow(void)
{
    struct weft_task *out[2];
    unsigned n = wf_deque_steal_half(&queue, out, 1);

    CHECK(n <= 1);
    if (n)
        got(out[0]);
}

static void thief_half_twice(void)
{
    thief_half();
    thief_half();
}

static void owner_newest(void)
{
    struct weft_task *t;

    owner_pushes(2, 1);
    for (int i = 0; i < 3; i++)
        if ((t = wf_deque_take_newest(&queue)))
            got(t);
}

static void owner_newest_last(void)
{
    struct weft_task *t = wf_deque_take_newest(&queue);

    if (t)
        got(t);
    owner_pushes(before, 1);
    t = wf_deque_take_newest(&queue);
    if (t)
        got(t);
}

static void owner_newest_oldest(void)
{
    bool again = false;
    struct weft_task *t = wf_deque_steal_one(&queue, &again);

    if (t)
        got(t);
    t = wf_deque_take_newest(&queue);
    if (t)
        got(t);
    owner_pushes(2, 2);
}

static void thief_one(void)
{
    bool again = false;
    struct weft_task *t = wf_deque_steal_one(&queue, &again);

    CHECK(!t || !again);
    if (t)
        got(t);
}

static void thief_one_twice(void)
{
    thief_one();
    thief_one();
}

const struct model_test model_tests[] = {
    {.name = "ready: the owner pushes and takes, a thief takes half",
     .begin = begin_empty,
     .thread = {owner_push2_take2, thief_half_twice},
     .end = end},
    {.name = "ready: wraps under two thieves",
     .begin = begin_two,
     .thread = {owner_push_take_push, thief_half, thief_narrow},
     .end = end},
    {.name = "ready: grows under two thieves",
     .begin = begin_two,
     .thread = {owner_grows, thief_half_twice, thief_half},
     .end = end},
    {.name = "backlog: the owner takes the newest, a thief the oldest",
     .begin = begin_two,
     .thread = {owner_newest, thief_one_twice},
     .end = end},
    {.name = "backlog: the last one has two takers",
     .begin = begin_two,
     .thread = {owner_newest_last, thief_one, thief_one},
     .end = end},
    {.name = "backlog: the owner takes from both ends and grows",
     .begin = begin_two,
     .thread = {owner_newest_oldest, thief_one_twice, thief_one},
     .end = end},
    {.name = "backlog: three tasks, three takers",
     .begin = begin_three,
     .thread = {owner_newest_last, thief_one_twice, thief_one_twice},
     .end = end,
     .deep = true},
    {0},
};
