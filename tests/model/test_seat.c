/* SPDX-License-Identifier: MIT */
/*
 * test_seat.c - the guard of a seat under all interleavings: its holder and who takes it are never inside
 * together, and each sees what the other did.
 *
 * What the guard keeps is plain memory. The holder's accesses to the guard are ordered by the taker's
 * membarrier alone.
 */
#include "model/model.h"
#include "sched/runtime.h"

#include <errno.h>

#define TASKS 2

enum { HELD, HELD_OUT, TAKEN, REFUSED, RESCUED, NOTHING_THERE, QUEUED_RELIEVED, BACK_INSIDE };

static struct weft_runtime runtime;
static struct wf_seat seat;
static unsigned guarded;                /* by who holds or has taken the seat */
static unsigned by_holder, by_taker[2]; /* how often: by each */
static struct weft_task tasks[TASKS];
static unsigned polled[TASKS]; /* by who has the task */
static struct wf_inject elsewhere;
static unsigned relieved_before; /* plain: as rt->single, who relieves tells its worker */

/* The seat's own tests need no runtime: this one is wherever tasks go that it cannot hold. */
void wf_runtime_inject(struct weft_runtime *rt, struct weft_task *t)
{
    CHECK(rt == &runtime);
    wf_inject_push(&elsewhere, t);
}

static void begin(void)
{
    seat.rt = &runtime;
    wf_inject_init(&elsewhere);
    CHECK_EQ(0, wf_deque_init(&seat.ready, true));
}

static void begin_without_membarrier(void)
{
    begin();
    model_membarrier_fails(-EPERM);
}

static void end(void)
{
    CHECK_EQ(by_holder + by_taker[0] + by_taker[1], guarded);
    CHECK_EQ(0, seat.inside.raw);
    /* Relieved when the holder had entered for the last time, it stays so. */
    CHECK(seat.taken.raw == WF_SEAT_FREE || seat.taken.raw == WF_SEAT_RELIEVED);
    wf_deque_release(&seat.ready);
}

/* --- the guard alone --- */

/* As worker_enter_taken, with all the patience that it takes: relieved? */
static bool enter_taken(void)
{
    uint32_t taken;

    /* acquire: pairs with wf_seat_relieve and wf_seat_give_back */
    while ((taken = wf_load_u32(&seat.taken, WF_ACQUIRE)) == WF_SEAT_TAKEN)
        wf_spin_pause();
    if (taken == WF_SEAT_FREE)
        model_reached(BACK_INSIDE);
    return taken == WF_SEAT_RELIEVED;
}

static void holder_turn(void)
{
    if (wf_seat_enter(&seat)) {
        guarded++;
        by_holder++;
        model_reached(HELD);
    } else {
        model_reached(HELD_OUT);
    }
    wf_seat_leave(&seat);
}

static void holder(void)
{
    holder_turn();
    holder_turn();
}

/* Who finds the seat taken stays where it is, and is inside once it was given back: see worker_enter_taken. */
static void holder_that_stays(void)
{
    for (int i = 0; i < 2; i++) {
        if (!wf_seat_enter(&seat))
            CHECK(!enter_taken());
        guarded++;
        by_holder++;
        wf_seat_leave(&seat);
    }
}

/* Its first turn is over, by its seat or not, only when the seat is its own again: see worker_wait_seat. */
static void holder_that_waits(void)
{
    holder_turn();
    while (!wf_seat_enter(&seat)) {
        wf_seat_leave(&seat);
        wf_spin_pause();
    }
    guarded++;
    by_holder++;
    wf_seat_leave(&seat);
}

static void taker(unsigned i)
{
    if (!wf_seat_take(&seat)) {
        model_reached(REFUSED);
        return;
    }
    guarded++;
    by_taker[i]++;
    model_reached(TAKEN);
    wf_seat_give_back(&seat);
}

static void taker_0(void)
{
    taker(0);
}

static void taker_0_twice(void)
{
    taker(0);
    taker(0);
}

static void taker_1(void)
{
    taker(1);
}

static void end_refused(void)
{
    CHECK_EQ(0, by_taker[0]);
    end();
}

/* --- the LIFO slot --- */

static void poll_task(struct weft_task *t)
{
    unsigned i = (unsigned)(t - tasks);

    CHECK_EQ(i + 1, t->result);
    t->result = 0;
    polled[i]++;
}

/* As worker_woken_here: from inside a task. */
static void wake(unsigned i)
{
    struct weft_task *t = &tasks[i];

    t->result = (int32_t)i + 1;
    if (wf_seat_enter(&seat) || !enter_taken()) {
        if (wf_seat_lifo(&seat))
            CHECK(wf_deque_push(&seat.ready, wf_seat_lifo(&seat)));
        wf_seat_set_lifo(&seat, t);
    } else {
        CHECK_EQ(relieved_before, 1);
        CHECK(wf_deque_push(&seat.ready, t));
        model_reached(QUEUED_RELIEVED);
    }
    wf_seat_leave(&seat);
}

/* Two polls: each wakes a task, which is then the next to be polled unless it was rescued. */
static void worker_of_seat(void)
{
    for (unsigned i = 0; i < TASKS; i++) {
        struct weft_task *t;

        wake(i);
        while (!wf_seat_enter(&seat)) {
            wf_seat_leave(&seat);
            /* A pause lasts until what was read last has changed: not if it was free again by then. */
            if (!wf_seat_resume(&seat) && wf_load_u32(&seat.taken, WF_RELAXED) == WF_SEAT_TAKEN)
                wf_spin_pause();
        }
        t = wf_seat_lifo(&seat);
        wf_seat_set_lifo(&seat, NULL);
        if (!t)
            t = wf_deque_take_oldest(&seat.ready);
        wf_seat_leave(&seat);
        if (t)
            poll_task(t);
    }
}

static void rescuer(void)
{
    struct weft_task *t;

    if (wf_seat_take(&seat)) {
        relieved_before = 1;
        wf_seat_relieve(&seat);
        model_reached(RESCUED);
    } else {
        model_reached(NOTHING_THERE);
    }
    while (wf_inject_take(&elsewhere, &t, 1) || wf_deque_steal_half(&seat.ready, &t, 1))
        poll_task(t);
}

static void end_polled(void)
{
    struct weft_task *t;

    CHECK(!wf_seat_lifo(&seat));
    while (wf_inject_take(&elsewhere, &t, 1) || wf_deque_steal_half(&seat.ready, &t, 1))
        poll_task(t);
    for (unsigned i = 0; i < TASKS; i++)
        CHECK_EQ(1, polled[i]);
    end();
}

const struct model_test model_tests[] = {
    {.name = "a holder and a taker are never inside together",
     .begin = begin,
     .thread = {holder, taker_0_twice},
     .end = end,
     .preemptions = 5,
     .must_reach = 1u << HELD | 1u << HELD_OUT | 1u << TAKEN | 1u << REFUSED},
    {.name = "a holder and two takers",
     .begin = begin,
     .thread = {holder, taker_0, taker_1},
     .end = end,
     .preemptions = 3,
     .must_reach = 1u << HELD | 1u << HELD_OUT | 1u << TAKEN | 1u << REFUSED},
    {.name = "a holder that waits has its seat again",
     .begin = begin,
     .thread = {holder_that_waits, taker_0, taker_1},
     .end = end,
     .preemptions = 3,
     .must_reach = 1u << HELD | 1u << HELD_OUT | 1u << TAKEN | 1u << REFUSED},
    {.name = "a holder that stays where it is while its seat is taken is inside again",
     .begin = begin,
     .thread = {holder_that_stays, taker_0, taker_1},
     .end = end,
     .preemptions = 3,
     .must_reach = 1u << BACK_INSIDE | 1u << TAKEN | 1u << REFUSED},
    {.name = "without membarrier nothing is taken",
     .begin = begin_without_membarrier,
     .thread = {holder, taker_0_twice},
     .end = end_refused,
     .preemptions = 5,
     .must_reach = 1u << HELD | 1u << HELD_OUT | 1u << REFUSED},
    {.name = "a task in the LIFO slot is polled once, rescued or not",
     .begin = begin,
     .thread = {worker_of_seat, rescuer},
     .end = end_polled,
     .preemptions = 4,
     .must_reach = 1u << RESCUED | 1u << NOTHING_THERE | 1u << QUEUED_RELIEVED},
    {.name = "two rescue",
     .begin = begin,
     .thread = {worker_of_seat, rescuer, rescuer},
     .end = end_polled,
     .deep = true},
    {0},
};
