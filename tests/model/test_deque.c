/* SPDX-License-Identifier: MIT */
/*
 * test_deque.c - the run queue under all interleavings: each task is taken exactly once, in order.
 *
 * The first ring has two slots, so that it grows and wraps within three tasks. The counters begin a little below
 * their largest value and pass zero in each test: where unsigned numbers are not like others.
 */
#include "model/model.h"
#include "sched/deque.h"
#include "task/task.h"

#define TASKS 4

/* What can happen, must. */
enum {
    COUNTER_WRAPPED, /* tail alone: head is still below zero */
    RING_WRAPPED,    /* a slot of the first ring had two tasks in turn */
    GREW,
    STOLEN,
    STOLEN_TWO,      /* at once */
    LOST_RACE,       /* a thief of one */
    OWNER_WON_LAST,  /* it has to race for the last one */
    OWNER_LOST_LAST, /* which was there when it began */
    NO_MEMORY
};

#define BIT(event) (1u << (event))

static struct wf_deque queue;
static uint64_t start; /* of the counters */
static struct weft_task tasks[TASKS];
static unsigned taken[TASKS]; /* how often; by whoever took it */

/* the owner's */
static unsigned pushed;  /* so many of tasks, in their order */
static bool gone[TASKS]; /* taken, as far as it knows */

/* Of each thread: what it takes from the old end is never older than what it took before. */
static unsigned oldest[MODEL_THREADS + 1];

static unsigned number(const struct weft_task *t)
{
    return (unsigned)(t - tasks);
}

/* How many are there at this moment, without a step of its own. */
__attribute__((no_sanitize("thread"))) static uint64_t at_this_moment(void)
{
    return queue.tail.raw - queue.head.raw;
}

__attribute__((no_sanitize("thread"))) static void look(void)
{
    const struct wf_deque_ring *ring = queue.ring.raw;

    if (queue.tail.raw < start && queue.head.raw >= start)
        model_reached(COUNTER_WRAPPED);
    if (ring->mask > 1)
        model_reached(GREW);
    else if (pushed > 2)
        model_reached(RING_WRAPPED);
}

/* --- pushes --------------------------------------------------------------- */

/* What the pusher wrote into the task must be visible to who takes it: a race otherwise. */
static bool try_push(void)
{
    tasks[pushed].result = (int32_t)pushed + 100;
    if (!wf_deque_push(&queue, &tasks[pushed]))
        return false;
    pushed++;
    look();
    return true;
}

static void push(unsigned count)
{
    while (count--)
        CHECK(try_push());
}

/* --- takes ---------------------------------------------------------------- */

static void got(struct weft_task *t)
{
    CHECK_EQ(number(t) + 100, t->result);
    t->result = 0;
    taken[number(t)]++;
}

static void got_oldest(struct weft_task *t)
{
    unsigned *least = &oldest[model_thread_self()];

    CHECK(number(t) >= *least);
    *least = number(t) + 1;
    got(t);
}

/* The owner found nothing: then there is nothing, as nobody else adds. */
static void owner_sees_none(void)
{
    CHECK_EQ(0, wf_deque_len(&queue));
    for (unsigned i = 0; i < pushed; i++)
        gone[i] = true;
}

static void owner_takes_oldest(void)
{
    struct weft_task *t = wf_deque_take_oldest(&queue);

    if (!t) {
        owner_sees_none();
        return;
    }
    for (unsigned i = 0; i <= number(t); i++)
        gone[i] = true;
    got_oldest(t);
}

/* Thieves come from the other end: the newest that it has not had, or all are gone. */
static void owner_takes_newest(void)
{
    bool last = at_this_moment() == 1;
    struct weft_task *t = wf_deque_take_newest(&queue);
    unsigned newest = pushed;

    if (last)
        model_reached(t ? OWNER_WON_LAST : OWNER_LOST_LAST);
    if (!t) {
        owner_sees_none();
        return;
    }
    while (newest > 0 && gone[newest - 1])
        newest--;
    CHECK_EQ(newest, number(t) + 1);
    gone[number(t)] = true;
    got(t);
}

static void thief_one(void)
{
    bool again = false;
    struct weft_task *t = wf_deque_steal_one(&queue, &again);

    CHECK(!t || !again);
    if (again)
        model_reached(LOST_RACE);
    if (!t)
        return;
    model_reached(STOLEN);
    got_oldest(t);
}

static void thief_one_twice(void)
{
    thief_one();
    thief_one();
}

static void steal_half(unsigned room)
{
    struct weft_task *out[3] = {NULL};
    unsigned n = wf_deque_steal_half(&queue, out, room);

    CHECK(n <= room);
    CHECK(!out[room]);
    for (unsigned i = 0; i < n; i++)
        got_oldest(out[i]);
    if (n)
        model_reached(n == 1 ? STOLEN : STOLEN_TWO);
}

static void thief_half(void)
{
    steal_half(2);
}

static void thief_narrow(void)
{
    steal_half(1);
}

static void thief_half_twice(void)
{
    steal_half(2);
    steal_half(2);
}

/* --- begin and end -------------------------------------------------------- */

static void begin_with(unsigned n, unsigned below_zero)
{
    CHECK(wf_deque_init(&queue, true) == 0);
    start = 0 - (uint64_t)below_zero;
    wf_store_u64(&queue.head, start, WF_RELAXED);
    wf_store_u64(&queue.tail, start, WF_RELAXED);
    push(n);
    CHECK_EQ(n, wf_deque_len(&queue));
    for (unsigned i = 0; i <= n; i++)
        CHECK(wf_deque_peek(&queue, i) == (i < n ? &tasks[i] : NULL));
}

static void begin_empty(void)
{
    begin_with(0, 1 + model_choose(3));
}

static void begin_two(void)
{
    begin_with(2, 1 + model_choose(3));
}

/* For what takes seconds: tail is at zero. */
static void begin_two_at_zero(void)
{
    begin_with(2, 2);
}

static void begin_three(void)
{
    begin_with(3, 1 + model_choose(3));
}

/* What is left is younger than all that was taken from that end. */
static void end(void)
{
    struct weft_task *t;

    for (unsigned i = 1; i <= MODEL_THREADS; i++)
        if (oldest[i] > oldest[0])
            oldest[0] = oldest[i];
    while ((t = wf_deque_take_oldest(&queue)))
        got_oldest(t);
    for (unsigned i = 0; i < TASKS; i++)
        CHECK_EQ(i < pushed, taken[i]);
    wf_deque_release(&queue);
}

/* --- owners --------------------------------------------------------------- */

static void owner_push2_take2(void)
{
    push(2);
    owner_takes_oldest();
    owner_takes_oldest();
}

static void owner_push_take_push(void)
{
    push(1);
    owner_takes_oldest();
    push(1);
}

static void owner_grows(void)
{
    push(2);
}

/* What finds no room and no memory is still the owner's, and the queue is as it was. */
static void owner_cannot_grow(void)
{
    bool done;

    (void)model_alloc_fails(1);
    done = try_push();
    CHECK_EQ(done, model_alloc_fails(0));
    if (!done) {
        model_reached(NO_MEMORY);
        push(1);
    }
    owner_takes_oldest();
}

static void owner_newest(void)
{
    push(1);
    for (int i = 0; i < 3; i++)
        owner_takes_newest();
}

static void owner_newest_last(void)
{
    owner_takes_newest();
    push(1);
    owner_takes_newest();
}

/* Its takes of the oldest are a thief's. */
static void owner_both_ends(void)
{
    bool again = false;
    struct weft_task *t = wf_deque_steal_one(&queue, &again);

    if (t) {
        for (unsigned i = 0; i <= number(t); i++)
            gone[i] = true;
        got_oldest(t);
    }
    push(2);
    owner_takes_newest();
    owner_takes_newest();
}

const struct model_test model_tests[] = {
    {.name = "ready: the owner pushes and takes, a thief takes half",
     .begin = begin_empty,
     .thread = {owner_push2_take2, thief_half_twice},
     .end = end,
     .must_reach = BIT(COUNTER_WRAPPED) | BIT(STOLEN)},
    {.name = "ready: wraps under two thieves",
     .begin = begin_two_at_zero,
     .thread = {owner_push_take_push, thief_half, thief_narrow},
     .end = end,
     .stale = 1,
     .must_reach = BIT(COUNTER_WRAPPED) | BIT(RING_WRAPPED) | BIT(STOLEN) | BIT(STOLEN_TWO)},
    {.name = "ready: grows under two thieves",
     .begin = begin_two_at_zero,
     .thread = {owner_grows, thief_half_twice, thief_half},
     .end = end,
     .stale = 1,
     .must_reach = BIT(COUNTER_WRAPPED) | BIT(GREW) | BIT(STOLEN) | BIT(STOLEN_TWO)},
    {.name = "ready: no memory to grow under two thieves",
     .begin = begin_two_at_zero,
     .thread = {owner_cannot_grow, thief_half, thief_narrow},
     .end = end,
     .stale = 1,
     .must_reach = BIT(COUNTER_WRAPPED) | BIT(RING_WRAPPED) | BIT(GREW) | BIT(NO_MEMORY) |
                   BIT(STOLEN) | BIT(STOLEN_TWO)},
    {.name = "backlog: the owner takes the newest, a thief the oldest",
     .begin = begin_two,
     .thread = {owner_newest, thief_one_twice},
     .end = end,
     .must_reach = BIT(COUNTER_WRAPPED) | BIT(STOLEN) | BIT(LOST_RACE) | BIT(OWNER_WON_LAST) |
                   BIT(OWNER_LOST_LAST)},
    {.name = "backlog: the last one has two takers",
     .begin = begin_two,
     .thread = {owner_newest_last, thief_one, thief_one},
     .end = end,
     .must_reach = BIT(COUNTER_WRAPPED) | BIT(STOLEN) | BIT(LOST_RACE) | BIT(OWNER_WON_LAST) |
                   BIT(OWNER_LOST_LAST)},
    {.name = "backlog: the owner takes from both ends and grows",
     .begin = begin_two_at_zero,
     .thread = {owner_both_ends, thief_one_twice, thief_one},
     .end = end,
     .stale = 1,
     .must_reach = BIT(COUNTER_WRAPPED) | BIT(RING_WRAPPED) | BIT(GREW) | BIT(STOLEN) |
                   BIT(LOST_RACE) | BIT(OWNER_WON_LAST) | BIT(OWNER_LOST_LAST)},
    {.name = "backlog: three tasks, three takers",
     .begin = begin_three,
     .thread = {owner_newest_last, thief_one_twice, thief_one_twice},
     .end = end,
     .deep = true,
     .must_reach = BIT(COUNTER_WRAPPED) | BIT(STOLEN) | BIT(LOST_RACE) | BIT(OWNER_WON_LAST) |
                   BIT(OWNER_LOST_LAST)},
    {0},
};
