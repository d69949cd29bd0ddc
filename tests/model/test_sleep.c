/* SPDX-License-Identifier: MIT */
/*
 * test_sleep.c - a sleep and a tick that are set to another moment while other workers look after the timers, or while
 * their runtime ends: each ends, at its last moment or later, and wakes nobody afterwards.
 *
 * Time passes only when nobody can go on: one that ends later than it must was not armed, or its task not told.
 */
#include "model/worker.h"

enum { FIRED_EARLY, AGAIN, TAKEN, IN_TIME };

static struct wf_wheel other; /* of another seat */
static weft_future f;
static uint64_t base;
static struct wf_atomic_u32 set; /* to its last moment */

static uint64_t at(unsigned ticks)
{
    return base + ticks * TICK;
}

static void begin(void)
{
    worker_begin();
    wf_wheel_init(&other, model_clock());
    base = (model_clock() >> WF_WHEEL_TICK_SHIFT) << WF_WHEEL_TICK_SHIFT;
    f = weft_sleep_until_future(at(2));
}

static void end(void)
{
    wf_wheel_release(&other);
    worker_end();
}

static void fires(void)
{
    (void)wf_wheel_advance(&wheel, at(2));
}

/* A sleep that may have fired is set to later, by the worker on which it is armed. */
static void put_off(void)
{
    struct wf_thread th;

    worker_enter(&th);
    CHECK_EQ(WEFT_PENDING, worker_poll_once(&f));
    CHECK_EQ(0, weft_sleep_reset(&f, at(4)));
    if (wf_load_u32(&worker_waker.woken, WF_RELAXED))
        model_reached(FIRED_EARLY);
    CHECK_EQ(0, worker_await(&f));
    CHECK(model_clock() >= at(4) && model_clock() <= at(5));
    wf_thread_set_self(NULL);
}

/* The same by a worker that has another wheel by now, as a task's that was stolen; and by one that has none. */
static void put_off_elsewhere(void)
{
    struct wf_thread th;

    worker_enter(&th);
    CHECK_EQ(WEFT_PENDING, worker_poll_once(&f));
    th.wheel = &other;
    CHECK_EQ(0, weft_sleep_reset(&f, at(4)));
    th.wheel = &wheel;
    CHECK_EQ(0, worker_await(&f));
    CHECK(model_clock() >= at(4) && model_clock() <= at(5));
    wf_thread_set_self(NULL);
}

static void put_off_by_nobody(void)
{
    struct wf_thread th;

    worker_enter(&th);
    CHECK_EQ(WEFT_PENDING, worker_poll_once(&f));
    wf_thread_set_self(NULL);
    CHECK_EQ(0, weft_sleep_reset(&f, at(4)));
    wf_thread_set_self(&th);
    CHECK_EQ(0, worker_await(&f));
    CHECK(model_clock() >= at(4) && model_clock() <= at(5));
    wf_thread_set_self(NULL);
}

/* From a thread that is handed the future while its task sleeps, and hands it back with the wake. */
static void polls_and_hands_on(void)
{
    struct wf_thread th;

    worker_enter(&th);
    CHECK_EQ(WEFT_PENDING, worker_poll_once(&f));
    wf_store_u32(&set, 1, WF_RELEASE);
    worker_sleep();
    CHECK_EQ(2, wf_load_u32(&set, WF_ACQUIRE));
    CHECK(model_clock() < at(2));
    model_reached(AGAIN);
    CHECK_EQ(0, worker_await(&f));
    CHECK(model_clock() >= at(1) && model_clock() <= at(2));
    wf_thread_set_self(NULL);
}

static void sets_earlier_from_outside(void)
{
    while (wf_load_u32(&set, WF_ACQUIRE) != 1)
        wf_spin_pause();
    wf_store_u32(&set, 2, WF_RELEASE);
    CHECK_EQ(0, weft_sleep_reset(&f, at(1)));
}

/* A tick, by its interval. */
static void tick_is_put_off(void)
{
    struct wf_thread th;
    weft_interval iv;
    weft_instant scheduled = 0;
    weft_future tick;

    worker_enter(&th);
    CHECK_EQ(0, weft_interval_init_at(&iv, at(2), TICK));
    tick = weft_interval_tick_future(&iv, &scheduled);
    CHECK_EQ(WEFT_PENDING, worker_poll_once(&tick));
    CHECK_EQ(0, weft_interval_reset_at(&iv, at(4)));
    CHECK_EQ(0, worker_await(&tick));
    CHECK_EQ(at(4), scheduled);
    CHECK(model_clock() >= at(4) && model_clock() <= at(5));
    tick = weft_interval_tick_future(&iv, &scheduled);
    CHECK_EQ(0, worker_await(&tick));
    CHECK_EQ(at(5), scheduled);
    wf_thread_set_self(NULL);
}

static void tick_is_dropped(void)
{
    struct wf_thread th;
    weft_interval iv;
    weft_future tick;

    worker_enter(&th);
    CHECK_EQ(0, weft_interval_init_at(&iv, at(2), TICK));
    tick = weft_interval_tick_future(&iv, NULL);
    CHECK_EQ(WEFT_PENDING, worker_poll_once(&tick));
    wf_thread_set_self(NULL);
    weft_future_drop(&tick);
    tick = weft_interval_tick_future(&iv, NULL);
    wf_thread_set_self(&th);
    CHECK_EQ(0, worker_await(&tick)); /* nothing was lost */
    wf_thread_set_self(NULL);
}

/* A sleep that is armed in another runtime, which ends; it was polled there by somebody else. */
static struct wf_wheel *doomed;

static void stranger_ignores(weft_wakeable *w)
{
    (void)w;
}

static const weft_wakeable_type stranger_type = {stranger_ignores, stranger_ignores,
                                                 stranger_ignores};
static weft_wakeable stranger = {&stranger_type};

static void begin_doomed(weft_wakeable *target)
{
    struct wf_thread th;
    weft_context cx = {{target}};

    begin();
    doomed = model_alloc(sizeof(*doomed), 64);
    wf_wheel_init(doomed, model_clock());
    worker_enter(&th);
    th.wheel = doomed;
    CHECK_EQ(WEFT_PENDING, weft_future_poll(&f, &cx));
    wf_thread_set_self(NULL);
}

static void begin_doomed_by_stranger(void)
{
    begin_doomed(&stranger);
}

static void begin_doomed_by_worker(void)
{
    begin_doomed(&worker_waker.wakeable);
}

static void runtime_ends(void)
{
    wf_wheel_leave(doomed);
    wf_wheel_release(doomed);
    model_free(doomed);
    doomed = NULL;
}

static void awaits_elsewhere(void)
{
    struct wf_thread th;

    worker_enter(&th);
    CHECK_EQ(0, worker_await(&f));
    CHECK(model_clock() >= at(2) && model_clock() <= at(3));
    model_reached(worker_polls > 2 ? AGAIN
                                   : IN_TIME); /* woken by the end of the runtime, or after it */
    wf_thread_set_self(NULL);
}

static void is_put_off_elsewhere(void)
{
    struct wf_thread th;

    worker_enter(&th);
    CHECK_EQ(0, weft_sleep_reset(&f, at(4)));
    CHECK_EQ(0, worker_await(&f));
    CHECK(model_clock() >= at(4) && model_clock() <= at(5));
    wf_thread_set_self(NULL);
}

static void is_dropped_elsewhere(void)
{
    weft_future_drop(&f);
}

/* The timer itself: taken out with its target, or fired. */
static struct wf_timer *timer;

static void begin_timer(void)
{
    begin();
    timer = model_alloc(sizeof(*timer), 8);
    wf_timer_arm(timer, &wheel, at(1), wf_wakeable_retain(&worker_waker.wakeable));
}

static void takes_and_frees(void)
{
    weft_wakeable *target = wf_timer_take(timer);

    model_free(timer);
    if (target) {
        model_reached(TAKEN);
        target->type->release(target);
    } else {
        model_reached(FIRED_EARLY);
    }
}

static void rearms_takes_and_frees(void)
{
    if (!wf_timer_rearm(timer, at(1) - 1))
        model_reached(FIRED_EARLY);
    takes_and_frees();
}

static void cancels_and_frees(void)
{
    if (!wf_timer_cancel(timer))
        model_reached(FIRED_EARLY);
    model_free(timer);
}

const struct model_test model_tests[] = {
    {.name = "a sleep is put off while it fires",
     .begin = begin,
     .thread = {put_off, fires},
     .end = end,
     .preemptions = 3,
     .late_clock = true,
     .must_reach = 1u << FIRED_EARLY},
    {.name = "it is put off by another worker",
     .begin = begin,
     .thread = {put_off_elsewhere, fires},
     .end = end,
     .preemptions = 3,
     .late_clock = true},
    {.name = "it is put off by a plain thread",
     .begin = begin,
     .thread = {put_off_by_nobody, fires},
     .end = end,
     .preemptions = 3,
     .late_clock = true},
    {.name = "a task that sleeps is told of an earlier moment",
     .begin = begin,
     .thread = {polls_and_hands_on, sets_earlier_from_outside},
     .end = end,
     .preemptions = 3,
     .late_clock = true,
     .must_reach = 1u << AGAIN},
    {.name = "a tick is put off while it fires",
     .begin = begin,
     .thread = {tick_is_put_off, fires},
     .end = end,
     .preemptions = 3,
     .late_clock = true},
    {.name = "a tick is given up while it fires",
     .begin = begin,
     .thread = {tick_is_dropped, fires},
     .end = end,
     .preemptions = 3,
     .late_clock = true},
    {.name = "a sleep goes on when its runtime ends while it is polled elsewhere",
     .begin = begin_doomed_by_stranger,
     .thread = {awaits_elsewhere, runtime_ends},
     .end = end,
     .preemptions = 3,
     .late_clock = true,
     .must_reach = 1u << AGAIN | 1u << IN_TIME},
    {.name = "a sleep goes on when its runtime ends and it need not be told of another task",
     .begin = begin_doomed_by_worker,
     .thread = {awaits_elsewhere, runtime_ends},
     .end = end,
     .preemptions = 3,
     .late_clock = true,
     .must_reach = 1u << AGAIN},
    {.name = "it is put off while its runtime ends",
     .begin = begin_doomed_by_worker,
     .thread = {is_put_off_elsewhere, runtime_ends},
     .end = end,
     .preemptions = 3,
     .late_clock = true},
    {.name = "it is given up while its runtime ends",
     .begin = begin_doomed_by_worker,
     .thread = {is_dropped_elsewhere, runtime_ends},
     .end = end,
     .preemptions = 4},
    {.name = "a timer that was taken out, or has fired, may be freed",
     .begin = begin_timer,
     .thread = {takes_and_frees, fires},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << FIRED_EARLY | 1u << TAKEN},
    {.name = "another deadline is for a timer that has not fired",
     .begin = begin_timer,
     .thread = {rearms_takes_and_frees, fires},
     .end = end,
     .preemptions = 3,
     .must_reach = 1u << FIRED_EARLY | 1u << TAKEN},
    {.name = "a cancel gives the target's reference back",
     .begin = begin_timer,
     .thread = {cancels_and_frees, fires},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << FIRED_EARLY},
    {0},
};
