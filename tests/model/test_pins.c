/* SPDX-License-Identifier: MIT */
/*
 * test_pins.c - whole runtimes with pinned tasks, under the explorer: who wakes one, from wherever, and its worker
 * that is about to sleep (P5 of sched/pins.h).
 *
 * A worker that sleeps while a task of its own is ready ends in "nobody can go on". A task that another polls fails a
 * claim. With some hundred steps for each thread, one preemption is what takes seconds.
 */
#include "sched/pins.h"
#include "sched/worker.h"

/* Behind the library's headers, whose parameters bear the name of its runtime. */
#include "model/live.h"

/* What can happen, must. */
enum { RUNG, ROUSED, SIGNALLED };

/* Of which worker is the calling task's thread? */
static unsigned seat_here(void)
{
    return wf_worker_of(wf_thread_self())->seat->index;
}

static void look_where_it_sleeps(unsigned seat)
{
    static const unsigned reached[] = {
        [WF_BED_OWN] = SIGNALLED, [WF_BED_HUB] = ROUSED, [WF_BED_BELL] = RUNG};
    uint32_t bed = wf_load_u32(&rt->seats[seat].pins.sleeps, WF_RELAXED);

    if (bed != WF_BED_NONE)
        model_reached(reached[bed]);
}

static ssize_t spawn_pinned(weft_local_set *set, const weft_async_type *type)
{
    weft_async state = {0};

    return weft_join_set_spawn_async(set, type, &state);
}

static weft_local_set *open_set(unsigned workers)
{
    weft_join_set_options o = {0};
    weft_local_set *set = NULL;

    runtime_open(WEFT_MULTI_THREAD, workers);
    o.runtime = rt;
    CHECK_EQ(0, weft_local_set_new_with(&set, &o));
    return set;
}

static void take_one(weft_local_set *set)
{
    weft_join_done done;

    CHECK_EQ(1, weft_join_set_next_blocking(set, &done));
    CHECK_EQ(0, done.result);
}

/* --- tasks ------------------------------------------------------------------------------------------ */

#define PINNED_TO 0 /* pin_turn begins there */

static weft_poll pinned_runner_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    CHECK_EQ(PINNED_TO, seat_here());
    wf_add_u32(&ran, 1, WF_RELEASE);
    return WEFT_READY;
}

static const weft_async_type pinned_runner_type = {pinned_runner_poll, dropped, sizeof(weft_async),
                                                   "pinned"};

static weft_poll pinned_waiter_poll(void *self, weft_context *cx)
{
    CHECK_EQ(PINNED_TO, seat_here());
    return waiter_poll(self, cx);
}

static const weft_async_type pinned_waiter_type = {pinned_waiter_poll, dropped, sizeof(weft_async),
                                                   "pinned waiter"};

/* --- spawned from outside: its worker may sleep on the hub with the other ------------------------------ */

static void outside(unsigned workers)
{
    weft_local_set *set = open_set(workers);

    look_where_it_sleeps(PINNED_TO);
    CHECK(spawn_pinned(set, &pinned_runner_type) > 0);
    take_one(set);
    weft_join_set_free(set);
    weft_runtime_free(rt);
    CHECK_EQ(1, wf_load_u32(&drops, WF_RELAXED));
}

static void outside_sole(void)
{
    outside(1);
}

static void outside_two(void)
{
    outside(2);
}

/* Its other task has been there: it has a bell by now, perhaps. */
static void second_from_outside(void)
{
    weft_local_set *set = open_set(2);

    CHECK(spawn_pinned(set, &pinned_runner_type) > 0);
    take_one(set);
    look_where_it_sleeps(PINNED_TO);
    CHECK(spawn_pinned(set, &pinned_runner_type) > 0);
    take_one(set);
    weft_join_set_free(set);
    weft_runtime_free(rt);
}

/* --- woken in its own poll ------------------------------------------------------------------------------------- */

struct twice {
    weft_async async;
    unsigned polls;
};

static weft_poll twice_poll(void *self, weft_context *cx)
{
    struct twice *s = self;

    CHECK_EQ(PINNED_TO, seat_here());
    if (++s->polls == 3)
        return WEFT_READY;
    weft_waker_wake_by_ref(&cx->waker_);
    return WEFT_PENDING;
}

static const weft_async_type twice_type = {twice_poll, dropped, sizeof(struct twice), "twice"};

static void woken_in_its_poll(void)
{
    weft_local_set *set = open_set(2);
    struct twice state = {.polls = 0};

    CHECK(weft_join_set_spawn_async(set, &twice_type, &state) > 0);
    take_one(set);
    weft_join_set_free(set);
    weft_runtime_free(rt);
}

/* --- woken from outside ------------------------------------------------------------------------------------ */

static void woken_two(void)
{
    weft_local_set *set = open_set(2);

    CHECK(spawn_pinned(set, &pinned_waiter_type) > 0);
    wait_for_waker();
    look_where_it_sleeps(PINNED_TO);
    tell();
    take_one(set);
    weft_join_set_free(set);
    weft_runtime_free(rt);
}

/* --- a task of no worker, while the pinned one's sleeps at its bell -------------------------------------------- */

static void both(void)
{
    weft_local_set *set = open_set(2);
    weft_task *t;

    CHECK(spawn_pinned(set, &pinned_waiter_type) > 0);
    wait_for_waker();
    t = spawn(&runner_type);
    tell();
    join(t);
    take_one(set);
    weft_join_set_free(set);
    weft_runtime_free(rt);
}

/* --- a task that is stuck until a pinned one of the other worker has run ------------------------------------------ */

static weft_poll tells_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    CHECK_EQ(PINNED_TO, seat_here());
    wf_store_u32(&told, 1, WF_RELEASE);
    return WEFT_READY;
}

static const weft_async_type tells_type = {tells_poll, dropped, sizeof(weft_async), "tells"};

static weft_local_set *stuck_set;

/* Keeps its thread. Where that is the pinned one's, it would be in vain. */
static weft_poll spawning_hog_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    if (seat_here() == PINNED_TO)
        return WEFT_READY;
    CHECK(spawn_pinned(stuck_set, &tells_type) > 0);
    wait_until_told();
    return WEFT_READY;
}

static const weft_async_type spawning_hog_type = {spawning_hog_poll, NULL, sizeof(weft_async),
                                                  "hog"};

static void from_the_other(void)
{
    stuck_set = open_set(2);
    CHECK(spawn_pinned(stuck_set, &pinned_runner_type) > 0);
    take_one(stuck_set);
    join(spawn(&spawning_hog_type));
    weft_join_set_free(stuck_set);
    weft_runtime_free(rt);
}

/* --- shut down with one that waits ---------------------------------------------------------------------------- */

static void shut_down(void)
{
    weft_local_set *set = open_set(2);

    CHECK(spawn_pinned(set, &pinned_waiter_type) > 0);
    wait_for_waker();
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    CHECK_EQ(1, weft_join_set_next_blocking(set, NULL));
    weft_join_set_free(set);
    weft_waker_drop(&waker);
    weft_runtime_free(rt);
    CHECK_EQ(1, wf_load_u32(&drops, WF_RELAXED));
}

/* --- where no bell can be had ----------------------------------------------------------------------------------- */

static void without_bell(void)
{
    weft_local_set *set = open_set(2);

    CHECK(spawn_pinned(set, &pinned_waiter_type) > 0);
    model_epoll_add_fails(-ENOSPC);
    wait_for_waker();
    look_where_it_sleeps(PINNED_TO);
    tell();
    take_one(set);
    weft_join_set_free(set);
    weft_runtime_free(rt);
}

/* --- a single worker, for which others may stand in ------------------------------------------------- */

static void nothing_to_say(void *user, const weft_stall *s)
{
    (void)user, (void)s;
}

static weft_local_set *open_watched(void)
{
    weft_config config = {.worker_threads = 1,
                          .event_interval = 4,
                          .stack_size = 16384,
                          .monitor = WEFT_ON,
                          .max_standins = 1,
                          .thread_keep_alive = 3600000ull * MS,
                          .on_stall = nothing_to_say,
                          .rng_seed = 1};
    weft_join_set_options o = {0};
    weft_local_set *set = NULL;

    CHECK_EQ(0, weft_runtime_new(&rt, &config));
    o.runtime = rt;
    CHECK_EQ(0, weft_local_set_new_with(&set, &o));
    return set;
}

static void woken_single(void)
{
    weft_local_set *set = open_watched();

    CHECK(spawn_pinned(set, &pinned_waiter_type) > 0);
    wait_for_waker();
    look_where_it_sleeps(PINNED_TO);
    tell();
    take_one(set);
    weft_join_set_free(set);
    weft_runtime_free(rt);
}

/* Stuck until a task has run that is pinned to nobody. Another, that is pinned, is left to its worker by who stands
 * in. */
static weft_poll pinned_hog_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    wf_store_u32(&waker_is_there, 1, WF_RELEASE);
    wait_until_told();
    CHECK_EQ(0, wf_load_u32(&ran, WF_RELAXED));
    return WEFT_READY;
}

static const weft_async_type pinned_hog_type = {pinned_hog_poll, NULL, sizeof(weft_async), "hog"};

static weft_poll anybody_tells_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    CHECK(seat_here() != PINNED_TO);
    wf_store_u32(&told, 1, WF_RELEASE);
    return WEFT_READY;
}

static const weft_async_type anybody_tells_type = {anybody_tells_poll, NULL, sizeof(weft_async),
                                                   "tells"};

static void stuck_single(void)
{
    weft_local_set *set = open_watched();
    weft_task *t;

    CHECK(spawn_pinned(set, &pinned_hog_type) > 0);
    wait_for_waker();
    CHECK(spawn_pinned(set, &pinned_runner_type) > 0);
    t = spawn(&anybody_tells_type);
    join(t);
    take_one(set);
    take_one(set);
    weft_join_set_free(set);
    weft_runtime_free(rt);
}

const struct model_test model_tests[] = {
    {.name = "one worker that nobody stands in for: a set is as any other",
     .begin = outside_sole,
     .preemptions = 1,
     .stale = 1},
    {.name = "two workers: a pinned task from outside is run by its worker",
     .begin = outside_two,
     .must_reach = 1u << ROUSED,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "two workers: a pinned task from outside is run by its worker, whatever is seen late",
     .begin = outside_two,
     .late_clock = true,
     .preemptions = MODEL_NONE,
     .stale = 1},
    {.name = "two workers: a second pinned task from outside",
     .begin = second_from_outside,
     .must_reach = 1u << RUNG,
     .late_clock = true,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "two workers: a pinned task that wakes itself stays where it is",
     .begin = woken_in_its_poll,
     .late_clock = true,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "two workers: a wake from outside reaches the pinned task's worker",
     .begin = woken_two,
     .must_reach = 1u << RUNG,
     .late_clock = true,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "two workers: a pinned task is woken and another spawned",
     .begin = both,
     .late_clock = true,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "two workers: who does not come back wakes a pinned task of the other",
     .begin = from_the_other,
     .late_clock = true,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "two workers: a pinned task that waits is cancelled by a shutdown",
     .begin = shut_down,
     .late_clock = true,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "two workers: a pinned task is woken where no bell can be had",
     .begin = without_bell,
     .must_reach = 1u << ROUSED,
     .late_clock = true,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "a single worker: a wake from outside reaches its pinned task",
     .begin = woken_single,
     .must_reach = 1u << SIGNALLED,
     .late_clock = true,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "a single worker that is stuck: who stands in leaves its pinned tasks alone",
     .begin = stuck_single,
     .late_clock = true,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {0},
};
