/* SPDX-License-Identifier: MIT */
/*
 * test_lock.c - the mutex under all interleavings: one holder at a time, who sees what the one before did.
 *
 * What it guards is plain memory, so two holders at once, or one who does not see the other's
 * work, are a race. Two tries fit in before a waiter sleeps; nobody wakes it but the end of its slice.
 */
#include "base/lock.h"
#include "model/model.h"

enum { TRY_REFUSED, TRY_DONE, SLEPT, SPUN };

static struct wf_lock lock = WF_LOCK_INIT(WF_RANK_STACKS);
static struct wf_lock inner = WF_LOCK_INIT(WF_RANK_LEAF);
static unsigned inside, turns, nested; /* under the lock; nested: under both */
static unsigned wanted;                /* turns, by the number of threads that take them */
static uint64_t began_at;

static void hold(void)
{
    CHECK_EQ(0, inside);
    inside++;
    turns++;
    inside--;
}

static void turn(void)
{
    wf_lock(&lock);
    hold();
    wf_unlock(&lock);
}

static void two_turns(void)
{
    turn();
    turn();
}

static void try_turn(void)
{
    if (!wf_try_lock(&lock)) {
        model_reached(TRY_REFUSED);
        turn();
        return;
    }
    model_reached(TRY_DONE);
    hold();
    wf_unlock(&lock);
}

/* The lock outside is held for the whole of it: the one inside needs no waiting for. */
static void turn_nested(void)
{
    wf_lock(&lock);
    CHECK(wf_try_lock(&inner));
    nested++;
    wf_unlock(&inner);
    hold();
    wf_unlock(&lock);
}

/* The inner lock alone, too. */
static void turn_inner(void)
{
    wf_lock(&inner);
    nested++;
    wf_unlock(&inner);
}

static void turn_both(void)
{
    wf_lock(&lock);
    wf_lock(&inner);
    nested++;
    wf_unlock(&inner);
    hold();
    wf_unlock(&lock);
}

static void begin_one(void)
{
    wanted = 1;
    began_at = model_clock();
}

static void begin_two(void)
{
    wanted = 2;
    began_at = model_clock();
}

static void begin_three(void)
{
    wanted = 3;
    began_at = model_clock();
}

static void begin_four(void)
{
    wanted = 4;
    began_at = model_clock();
}

static void end(void)
{
    CHECK_EQ(wanted, turns);
    CHECK_EQ(0, inside);
    /* Time passes only for a waiter that sleeps. */
    model_reached(model_clock() > began_at ? SLEPT : SPUN);
    CHECK(wf_try_lock(&lock)); /* free again */
    wf_unlock(&lock);
}

static void end_nested(void)
{
    CHECK_EQ(2, nested);
    end();
}

const struct model_test model_tests[] = {
    {.name = "two threads hold it in turn",
     .begin = begin_four,
     .thread = {two_turns, two_turns},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << SLEPT | 1u << SPUN},
    {.name = "three threads hold it in turn",
     .begin = begin_three,
     .thread = {turn, turn, turn},
     .end = end,
     .preemptions = 3,
     .must_reach = 1u << SLEPT | 1u << SPUN},
    {.name = "a try is refused while somebody holds it",
     .begin = begin_three,
     .thread = {turn, try_turn, try_turn},
     .end = end,
     .preemptions = 3,
     .must_reach = 1u << TRY_REFUSED | 1u << TRY_DONE | 1u << SPUN},
    {.name = "one lock inside another",
     .begin = begin_two,
     .thread = {turn_nested, turn_nested},
     .end = end_nested,
     .preemptions = 4},
    {.name = "one lock inside another, and alone",
     .begin = begin_one,
     .thread = {turn_both, turn_inner},
     .end = end_nested,
     .preemptions = 4},
    {0},
};
