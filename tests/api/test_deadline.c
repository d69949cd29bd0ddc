/* SPDX-License-Identifier: MIT */
/*
 * test_deadline.c - limits of time: around one await, around blocks of code, and the shields that
 * mask them together with cancellation.
 *
 * The precedence: what is ready wins, then cancel, then the deadline.
 */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

static void until_waiting(const weft_task *t)
{
    weft_task_info info;

    do {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_task_get_info(t, &info));
    } while (info.state != WEFT_TASK_IDLE);
}

static void compute(weft_duration d)
{
    weft_instant end = weft_instant_add(weft_now(), d);

    while (weft_now() < end)
        continue;
}

static ssize_t await_never(void)
{
    weft_future f = weft_pending_future();

    return weft_await(&f);
}

/* --- weft_timeout ------------------------------------------------------------- */

static int timeouts(void *arg)
{
    weft_future f = weft_ready_future(-5);
    weft_instant began;
    weft_metrics m;

    (void)arg;
    CHECK_EQ(-5, weft_timeout(0, &f)); /* ready wins over any limit */
    f = weft_pending_future();
    CHECK_EQ(-ETIMEDOUT, weft_timeout(0, &f));
    CHECK(weft_future_is_ready(&f)); /* dropped */

    f = weft_sleep_future(WEFT_SECS(100));
    began = weft_now();
    CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_MS(1), &f));
    CHECK(weft_now() - began >= WEFT_MS(1));
    f = weft_sleep_future(WEFT_US(300));
    CHECK_EQ(0, weft_timeout(WEFT_SECS(100), &f));
    f = weft_sleep_future(WEFT_US(300));
    CHECK_EQ(0, weft_timeout(WEFT_FOREVER, &f));
    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    CHECK_EQ(0, m.timers_armed); /* nothing stays behind */
    CHECK(!weft_deadline_passed());
    CHECK_EQ(0, weft_sleep(0));
    return 0;
}

TEST(a_timeout_limits_one_await_and_a_ready_result_wins)
{
    test_run(timeouts, NULL);
}

/* --- WEFT_DEADLINE ------------------------------------------------------------- */

static int deadline_block(void *arg)
{
    weft_instant began = weft_now();
    int inside = 0;

    (void)arg;
    WEFT_DEADLINE(WEFT_SECS(100))
    {
        CHECK_EQ(0, weft_sleep(WEFT_US(100)));
        CHECK(!weft_deadline_passed());
        CHECK(weft_deadline_current() >= began + WEFT_SECS(100));
        CHECK(weft_deadline_current() <= weft_now() + WEFT_SECS(100));
        inside++;
    }
    began = weft_now();
    WEFT_DEADLINE(WEFT_MS(1))
    {
        CHECK_EQ(-ETIMEDOUT, weft_sleep(WEFT_SECS(100)));
        CHECK(weft_now() - began >= WEFT_MS(1));
        CHECK(weft_deadline_passed());
        CHECK_EQ(-ETIMEDOUT, await_never()); /* each further one, at once */
        CHECK_EQ(-ETIMEDOUT, weft_sleep(0));
        CHECK_EQ(-ETIMEDOUT, weft_yield());
        inside++;
    }
    CHECK_EQ(2, inside);
    CHECK(!weft_deadline_passed());
    CHECK_EQ(WEFT_FOREVER, weft_deadline_current());
    CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    return 0;
}

TEST(inside_a_passed_deadline_every_await_times_out)
{
    test_run(deadline_block, NULL);
}

static int deadline_at(void *arg)
{
    weft_instant at = weft_instant_add(weft_now(), WEFT_MS(1));
    weft_future ready = weft_ready_future(6);

    (void)arg;
    WEFT_DEADLINE_AT(at)
    {
        CHECK_EQ(at, weft_deadline_current());
        CHECK_EQ(-ETIMEDOUT, await_never());
        CHECK(weft_now() >= at);
    }
    WEFT_DEADLINE_AT(1) /* long past, but nobody has looked yet */
    {
        CHECK_EQ(6, weft_await(&ready));
        CHECK_EQ(-ETIMEDOUT, weft_sleep(WEFT_US(100)));
        CHECK(weft_deadline_passed());
    }
    WEFT_DEADLINE_AT(1)
    {
        CHECK(weft_deadline_passed());
        CHECK_EQ(-ETIMEDOUT, weft_await(&ready)); /* now it is known to have passed */
    }
    WEFT_DEADLINE(0)
    {
        CHECK_EQ(-ETIMEDOUT, await_never());
    }
    WEFT_DEADLINE(WEFT_FOREVER)
    {
        CHECK_EQ(WEFT_FOREVER, weft_deadline_current());
        CHECK_EQ(0, weft_sleep(WEFT_US(100)));
        CHECK(!weft_deadline_passed());
    }
    return 0;
}

TEST(a_deadline_may_be_a_moment_also_a_past_one)
{
    test_run(deadline_at, NULL);
}

static int deadline_nested(void *arg)
{
    weft_instant outer, began = weft_now();

    (void)arg;
    WEFT_DEADLINE(WEFT_SECS(100))
    {
        outer = weft_deadline_current();
        WEFT_DEADLINE(WEFT_US(500)) /* the nearer one counts */
        {
            CHECK(weft_deadline_current() < outer);
            CHECK_EQ(-ETIMEDOUT, await_never());
        }
        CHECK_EQ(outer, weft_deadline_current());
        CHECK(!weft_deadline_passed()); /* the outer one has not */
        CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    }
    WEFT_DEADLINE(WEFT_MS(1))
    {
        outer = weft_deadline_current();
        WEFT_DEADLINE(WEFT_SECS(100)) /* cannot extend the outer one */
        {
            CHECK_EQ(outer, weft_deadline_current());
            WEFT_DEADLINE(WEFT_SECS(200))
            {
                CHECK_EQ(-ETIMEDOUT, await_never());
                CHECK(weft_deadline_passed());
            }
            CHECK_EQ(-ETIMEDOUT, await_never());
        }
        CHECK_EQ(-ETIMEDOUT, await_never());
    }
    CHECK(weft_now() - began >= WEFT_US(1500));
    CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    return 0;
}

TEST(deadlines_nest_and_the_nearest_counts)
{
    test_run(deadline_nested, NULL);
}

/* With limits of awaits inside limits of blocks. */
static int deadline_and_timeout(void *arg)
{
    weft_future f = weft_pending_future();
    weft_instant began = weft_now();

    (void)arg;
    WEFT_DEADLINE(WEFT_SECS(100))
    {
        CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_US(300), &f));
        CHECK(!weft_deadline_passed());
        CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    }
    WEFT_DEADLINE(WEFT_US(300))
    {
        f = weft_pending_future();
        CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_SECS(100), &f));
        CHECK(weft_deadline_passed());
        f = weft_ready_future(1);
        CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_SECS(100), &f)); /* known on entry: dropped */
        CHECK_EQ(-ECANCELED, f.result);
    }
    CHECK(weft_now() - began < WEFT_SECS(50));

    f = weft_ready_future(-ETIMEDOUT); /* not of a deadline, and it can be told */
    WEFT_DEADLINE(WEFT_SECS(100))
    {
        CHECK_EQ(-ETIMEDOUT, weft_await(&f));
        CHECK(!weft_deadline_passed());
    }
    return 0;
}

TEST(whose_limit_it_was_can_be_told)
{
    test_run(deadline_and_timeout, NULL);
}

static int leave_by_return(void)
{
    WEFT_DEADLINE(WEFT_SECS(100))
    {
        WEFT_DEADLINE(WEFT_SECS(50))
        {
            if (weft_sleep(WEFT_US(50)) == 0) /* armed */
                return 1;
        }
    }
    return 0;
}

static int leave_blocks(void *arg)
{
    weft_metrics m;
    int rounds = 0, after = 0;

    (void)arg;
    for (; rounds < 3; rounds++) {
        WEFT_DEADLINE(WEFT_SECS(100))
        {
            CHECK_EQ(0, weft_sleep(WEFT_US(50)));
            if (rounds == 0)
                break; /* the block, not the loop */
            if (rounds == 1)
                continue;
            CHECK_EQ(2, rounds);
        }
        CHECK_EQ(WEFT_FOREVER, weft_deadline_current());
        after++;
    }
    CHECK_EQ(3, rounds);
    CHECK_EQ(3, after);
    CHECK_EQ(1, leave_by_return());
    CHECK_EQ(WEFT_FOREVER, weft_deadline_current());
    WEFT_DEADLINE(WEFT_SECS(100))
    {
        WEFT_SHIELD
        {
            WEFT_DEADLINE(WEFT_SECS(50))
            {
                CHECK_EQ(0, weft_sleep(WEFT_US(50)));
                goto out;
            }
        }
    }
    test_failed(__FILE__, __LINE__, "not reached");
out:
    CHECK_EQ(WEFT_FOREVER, weft_deadline_current());
    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    CHECK_EQ(0, m.timers_armed);
    return 0;
}

TEST(a_block_may_be_left_by_break_continue_return_and_goto)
{
    test_run(leave_blocks, NULL);
}

static int by_hand(void *arg)
{
    weft_deadline outer, inner;
    weft_shield shield;
    weft_instant at = weft_instant_add(weft_now(), WEFT_SECS(100));

    (void)arg;
    CHECK(weft_deadline_enter_at(&outer, at) == &outer);
    CHECK(weft_deadline_enter(&inner, WEFT_US(200)) == &inner);
    CHECK_EQ(-ETIMEDOUT, await_never());
    CHECK(weft_shield_enter(&shield) == &shield);
    CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    weft_shield_leave(&shield);
    CHECK_EQ(-ETIMEDOUT, await_never());
    weft_deadline_leave(&inner);
    CHECK_EQ(at, weft_deadline_current());
    weft_deadline_leave(&outer);
    CHECK_EQ(WEFT_FOREVER, weft_deadline_current());
    return 0;
}

TEST(behind_the_blocks_stand_functions_that_do_nothing_outside_a_fiber)
{
    weft_deadline d;
    weft_shield s;

    CHECK(weft_deadline_enter(&d, 0) == &d);
    CHECK(!weft_deadline_passed());
    CHECK_EQ(WEFT_FOREVER, weft_deadline_current());
    weft_deadline_leave(&d);
    CHECK(weft_deadline_enter_at(&d, 1) == &d);
    weft_deadline_leave(&d);
    CHECK(weft_shield_enter(&s) == &s);
    weft_shield_leave(&s);
    WEFT_DEADLINE(0)
    {
        WEFT_SHIELD
        {
            CHECK_EQ(-EPERM, weft_sleep(0));
        }
    }
    test_run(by_hand, NULL);
}

static int returns_current(void *arg)
{
    *(weft_instant *)arg = weft_deadline_current();
    return weft_sleep(WEFT_US(600));
}

static int no_inheritance(void *arg)
{
    weft_instant seen = 0;
    weft_task *t = NULL;
    int result;

    (void)arg;
    WEFT_DEADLINE(WEFT_US(300))
    {
        t = weft_spawn(returns_current, &seen);
        CHECK_EQ(-ETIMEDOUT, await_never());
        CHECK_EQ(-ETIMEDOUT, weft_join(t, &result)); /* the handle is still ours */
    }
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(0, result);
    CHECK_EQ(WEFT_FOREVER, seen);
    return 0;
}

TEST(spawned_tasks_do_not_inherit_deadlines_and_a_late_join_keeps_its_handle)
{
    test_run(no_inheritance, NULL);
}

static int wait_forever(void *arg)
{
    (void)arg;
    return (int)await_never();
}

static int late_join(void *arg)
{
    weft_task *t = weft_spawn(wait_forever, NULL);
    int result = 7;

    (void)arg;
    for (int i = 0; i < 3; i++) {
        WEFT_DEADLINE(WEFT_US(200))
        {
            CHECK_EQ(-ETIMEDOUT, weft_join(t, &result));
        }
    }
    CHECK_EQ(7, result);
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
    return 0;
}

TEST(a_join_that_is_late_can_be_tried_again)
{
    test_run(late_join, NULL);
}

/* --- precedence ----------------------------------------------------------------- */

/* Ready once its flag is set; the waker is left with whoever sets it. */
struct gate {
    atomic_int open;
    pthread_mutex_t lock;
    weft_waker waker;
    bool waits;
};

static weft_poll gate_poll(weft_future *f, weft_context *cx)
{
    struct gate *g = (struct gate *)f->words[0];

    f->result = 99;
    if (atomic_load(&g->open))
        return WEFT_READY;
    (void)pthread_mutex_lock(&g->lock);
    if (g->waits)
        weft_waker_drop(&g->waker);
    g->waker = weft_context_waker(cx);
    g->waits = true;
    (void)pthread_mutex_unlock(&g->lock);
    return atomic_load(&g->open) ? WEFT_READY : WEFT_PENDING;
}

static void gate_wake(struct gate *g)
{
    (void)pthread_mutex_lock(&g->lock);
    if (g->waits)
        weft_waker_wake(&g->waker);
    g->waits = false;
    (void)pthread_mutex_unlock(&g->lock);
}

static const weft_future_type gate_type = {.poll = gate_poll, .name = "gate"};

static int wait_at_gate(void *arg)
{
    weft_future f = weft_future_of(&gate_type);
    ssize_t rc = 0;

    f.words[0] = (uintptr_t)arg;
    WEFT_DEADLINE(WEFT_MS(2))
    {
        rc = weft_await(&f);
        if (rc == -ETIMEDOUT)
            return -ETIMEDOUT;
        CHECK_EQ(-ECANCELED, await_never()); /* the next one says so, although it is late too */
        CHECK_EQ(-ECANCELED, weft_yield());
    }
    return (int)rc;
}

/* One worker: a wake, a cancel and a passed deadline lie before the next poll. -EAGAIN: the machine
 * is so busy that the deadline had passed before. */
static int precedence_once(bool open)
{
    struct gate g = {.lock = PTHREAD_MUTEX_INITIALIZER};
    weft_task *t = weft_spawn(wait_at_gate, &g);
    weft_task_info info;
    int result;

    do {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_task_get_info(t, &info));
    } while (info.state != WEFT_TASK_IDLE && info.state != WEFT_TASK_FINISHED);
    atomic_store(&g.open, open);
    weft_cancel(t);
    gate_wake(&g);
    compute(WEFT_MS(3));
    CHECK_EQ(0, weft_join(t, &result));
    gate_wake(&g);
    return result == -ETIMEDOUT ? -EAGAIN : result;
}

static int precedence(void *arg)
{
    (void)arg;
    for (int open = 0; open < 2; open++) {
        int result = -EAGAIN;

        for (int tries = 0; tries < 20 && result == -EAGAIN; tries++)
            result = precedence_once(open);
        CHECK_EQ(open ? 99 : -ECANCELED, result);
    }
    return 0;
}

TEST(ready_beats_cancel_and_cancel_beats_the_deadline)
{
    test_run_alone(precedence, NULL);
}

/* --- shields ---------------------------------------------------------------------- */

static int shielded(void *arg)
{
    (void)arg;
    CHECK_EQ(-ECANCELED, await_never());
    WEFT_DEADLINE(0)
    {
        WEFT_SHIELD
        {
            CHECK(!weft_is_cancelled());
            CHECK(!weft_deadline_passed());
            CHECK_EQ(WEFT_FOREVER, weft_deadline_current());
            CHECK_EQ(0, weft_sleep(WEFT_US(100)));
            WEFT_SHIELD
            {
                CHECK_EQ(0, weft_yield());
            }
            CHECK_EQ(0, weft_yield());  /* still within the outer one */
            WEFT_DEADLINE(WEFT_US(200)) /* a limit of the clean-up's own holds */
            {
                CHECK_EQ(-ETIMEDOUT, await_never());
                CHECK(weft_deadline_passed());
            }
            CHECK_EQ(0, weft_sleep(0));
        }
        CHECK(weft_is_cancelled());
        CHECK_EQ(-ECANCELED, weft_sleep(0));
    }
    CHECK_EQ(-ECANCELED, weft_yield());
    return 0;
}

/* The cancel comes while it waits within the shield. */
static int shielded_wait(void *arg)
{
    struct gate *g = arg;
    weft_future f = weft_future_of(&gate_type);

    f.words[0] = (uintptr_t)g;
    WEFT_SHIELD
    {
        CHECK_EQ(99, weft_await(&f));
        CHECK(!weft_is_cancelled());
    }
    return weft_yield();
}

static int shields(void *arg)
{
    struct gate g = {.lock = PTHREAD_MUTEX_INITIALIZER};
    weft_task *t = weft_spawn(shielded, NULL);
    int result;

    (void)arg;
    until_waiting(t);
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(0, result);

    t = weft_spawn(shielded_wait, &g);
    until_waiting(t);
    weft_cancel(t);
    until_waiting(t); /* it was woken, and went on waiting */
    atomic_store(&g.open, 1);
    gate_wake(&g);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
    return 0;
}

TEST(a_shield_masks_cancel_and_outer_deadlines)
{
    test_run(shields, NULL);
}

static int passes_meanwhile(void *arg)
{
    (void)arg;
    WEFT_DEADLINE(WEFT_US(300))
    {
        (void)weft_sleep(WEFT_US(50)); /* arms it; a busy machine may be late already */
        WEFT_SHIELD
        {
            CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
        }
        CHECK_EQ(-ETIMEDOUT, weft_yield());
        CHECK(weft_deadline_passed());
    }
    return 0;
}

TEST(a_deadline_that_passes_within_a_shield_is_met_after_it)
{
    test_run(passes_meanwhile, NULL);
}

/* A computation is told too: weft_yield and weft_consume_budget read the clock now and then. */
static int computes(void *arg)
{
    (void)arg;
    WEFT_DEADLINE(WEFT_US(500))
    {
        int rc;

        compute(WEFT_US(600));
        CHECK_EQ(-ETIMEDOUT, weft_yield());
        CHECK_EQ(-ETIMEDOUT, weft_consume_budget());
        rc = weft_sleep(0);
        CHECK_EQ(-ETIMEDOUT, rc);
    }
    WEFT_DEADLINE(WEFT_US(500))
    {
        int n = 0, rc;

        compute(WEFT_US(600));
        while ((rc = weft_consume_budget()) == 0)
            CHECK(++n <= 128);
        CHECK_EQ(-ETIMEDOUT, rc);
    }
    return 0;
}

TEST(a_computation_learns_of_its_deadline_by_yielding)
{
    test_run(computes, NULL);
}

TEST_MAIN("deadline", a_timeout_limits_one_await_and_a_ready_result_wins,
          inside_a_passed_deadline_every_await_times_out,
          a_deadline_may_be_a_moment_also_a_past_one, deadlines_nest_and_the_nearest_counts,
          whose_limit_it_was_can_be_told, a_block_may_be_left_by_break_continue_return_and_goto,
          behind_the_blocks_stand_functions_that_do_nothing_outside_a_fiber,
          spawned_tasks_do_not_inherit_deadlines_and_a_late_join_keeps_its_handle,
          a_join_that_is_late_can_be_tried_again, ready_beats_cancel_and_cancel_beats_the_deadline,
          a_shield_masks_cancel_and_outer_deadlines,
          a_deadline_that_passes_within_a_shield_is_met_after_it,
          a_computation_learns_of_its_deadline_by_yielding)
