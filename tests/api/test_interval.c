/* SPDX-License-Identifier: MIT */
/*
 * test_interval.c - ticks: when they come, what becomes of those that were missed, and what a reset does.
 *
 * The policies are tested on a clock that stands still, where every moment is exact.
 */
#include "support.h"

#include <errno.h>
#include <stdatomic.h>

#define PERIOD WEFT_MS(10)

/* Pending from here on. */
static void begin(weft_future *f)
{
    weft_future ready = weft_ready_future(0), *list[] = {f, &ready};

    CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP));
    CHECK(!weft_future_is_ready(f));
}

/* --- on every flavour ---------------------------------------------------------------- */

static int ticks(void *arg)
{
    weft_instant began = weft_now(), first, at;
    weft_interval iv;

    (void)arg;
    CHECK_EQ(0, weft_interval_init(&iv, WEFT_US(300)));
    CHECK_EQ(WEFT_US(300), weft_interval_period(&iv));
    CHECK_EQ(0, weft_interval_tick(&iv, &first));
    CHECK(first >= began && first <= weft_now());
    for (unsigned i = 1; i < 20; i++) {
        CHECK_EQ(0, weft_interval_tick(&iv, &at));
        CHECK_EQ(first + i * WEFT_US(300), at); /* no drift */
        CHECK(weft_now() >= at);                /* never early */
    }
    CHECK_EQ(0, weft_interval_tick(&iv, NULL));
    CHECK(weft_now() >= first + 20 * WEFT_US(300));
    return 0;
}

TEST(ticks_come_at_their_period_and_do_not_drift)
{
    test_run(ticks, NULL);
}

static int starts_later(void *arg)
{
    weft_instant start = weft_now() + WEFT_MS(1), at;
    weft_interval iv;

    (void)arg;
    CHECK_EQ(0, weft_interval_init_at(&iv, start, WEFT_MS(1)));
    CHECK_EQ(0, weft_interval_tick(&iv, &at));
    CHECK_EQ(start, at);
    CHECK(weft_now() >= start);
    return 0;
}

TEST(the_first_tick_comes_at_the_start)
{
    test_run(starts_later, NULL);
}

struct stackless {
    weft_async async;
    weft_interval iv;
    weft_future f;
    weft_instant at, first;
    int i;
};

static weft_poll stackless_poll(void *self, weft_context *cx)
{
    struct stackless *s = self;

    WEFT_ASYNC_BEGIN(s);
    CHECK_EQ(0, weft_interval_init(&s->iv, WEFT_US(200)));
    CHECK_EQ(-EPERM, weft_interval_tick(&s->iv, NULL));
    for (s->i = 0; s->i < 10; s->i++) {
        s->f = weft_interval_tick_future(&s->iv, &s->at);
        WEFT_AWAIT(s, cx, &s->f);
        CHECK_EQ(0, s->f.result);
        if (s->i == 0)
            s->first = s->at;
        CHECK_EQ(s->first + (unsigned)s->i * WEFT_US(200), s->at);
    }
    WEFT_RETURN(s, 7);
    WEFT_ASYNC_END(s);
}

static const weft_async_type stackless_type = {.poll = stackless_poll,
                                               .size = sizeof(struct stackless)};

static int spawns_stackless(void *arg)
{
    struct stackless state = {.i = 0};
    int result = -1;

    (void)arg;
    CHECK_EQ(0, weft_join(weft_spawn_async(&stackless_type, &state), &result));
    CHECK_EQ(7, result);
    return 0;
}

TEST(a_stackless_task_can_tick)
{
    test_run(spawns_stackless, NULL);
}

/* Burst after burst is due at once: others run in between. */
static int counts(void *arg)
{
    ++*(unsigned *)arg;
    return 0;
}

static int bursts_yield(void *arg)
{
    unsigned others = 0;
    weft_interval iv;
    weft_task *t = weft_spawn(counts, &others);

    (void)arg;
    CHECK_EQ(0, weft_interval_init_at(&iv, weft_now() - WEFT_SECS(1), WEFT_US(100)));
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(0, weft_interval_tick(&iv, NULL));
    CHECK_EQ(1, others);
    CHECK_EQ(0, weft_join(t, NULL));
    return 0;
}

TEST(ticks_that_are_due_spend_the_budget)
{
    test_run_on(&test_flavours[0], bursts_yield, NULL);
}

/* --- policies ------------------------------------------------------------------------ */

static weft_interval new_interval(weft_tick_policy policy, weft_instant *base)
{
    weft_interval iv;

    *base = weft_now();
    CHECK_EQ(0, weft_interval_init(&iv, PERIOD));
    CHECK_EQ(WEFT_TICK_BURST, weft_interval_missed(&iv));
    CHECK_EQ(0, weft_interval_set_missed(&iv, policy));
    CHECK_EQ(policy, weft_interval_missed(&iv));
    return iv;
}

/* The tick scheduled for that moment is taken at that moment, both after base. */
static void check_tick(int line, weft_interval *iv, weft_instant base, weft_duration scheduled,
                       weft_duration taken)
{
    weft_instant at = 0;

    test_check_eq(0, weft_interval_tick(iv, &at), "the tick", __FILE__, line);
    test_check_eq((long long)scheduled, (long long)(at - base), "scheduled", __FILE__, line);
    test_check_eq((long long)taken, (long long)(weft_now() - base), "taken", __FILE__, line);
}

#define TICK(...) check_tick(__LINE__, __VA_ARGS__)

static int burst(void *arg)
{
    weft_instant base;
    weft_interval iv = new_interval(WEFT_TICK_BURST, &base);

    (void)arg;
    TICK(&iv, base, 0, 0);
    TICK(&iv, base, PERIOD, PERIOD);
    CHECK_EQ(0, weft_clock_advance(PERIOD * 7 / 2));
    for (unsigned i = 2; i <= 4; i++)
        TICK(&iv, base, i * PERIOD, PERIOD * 9 / 2);
    TICK(&iv, base, 5 * PERIOD, 5 * PERIOD);
    TICK(&iv, base, 6 * PERIOD, 6 * PERIOD);
    return 0;
}

TEST(burst_takes_all_that_were_missed)
{
    test_run_paused(burst, NULL);
}

static int delay(void *arg)
{
    weft_instant base;
    weft_interval iv = new_interval(WEFT_TICK_DELAY, &base);
    weft_duration late = PERIOD * 9 / 2, little = WEFT_MS(1) - 1;

    (void)arg;
    TICK(&iv, base, 0, 0);
    TICK(&iv, base, PERIOD, PERIOD);
    CHECK_EQ(0, weft_clock_advance(PERIOD * 7 / 2));
    TICK(&iv, base, 2 * PERIOD, late);
    TICK(&iv, base, late + PERIOD, late + PERIOD);
    /* A tick that is late by less than a millisecond is not one that was missed. */
    CHECK_EQ(0, weft_clock_advance(PERIOD + little));
    TICK(&iv, base, late + 2 * PERIOD, late + 2 * PERIOD + little);
    TICK(&iv, base, late + 3 * PERIOD, late + 3 * PERIOD);
    CHECK_EQ(0, weft_clock_advance(PERIOD + little + 1));
    TICK(&iv, base, late + 4 * PERIOD, late + 4 * PERIOD + WEFT_MS(1));
    TICK(&iv, base, late + 5 * PERIOD + WEFT_MS(1), late + 5 * PERIOD + WEFT_MS(1));
    return 0;
}

TEST(delay_counts_from_the_late_tick)
{
    test_run_paused(delay, NULL);
}

static int delay_of_short_periods(void *arg)
{
    weft_instant base = weft_now();
    weft_interval iv;

    (void)arg;
    CHECK_EQ(0, weft_interval_init(&iv, WEFT_US(100)));
    CHECK_EQ(0, weft_interval_set_missed(&iv, WEFT_TICK_DELAY));
    TICK(&iv, base, 0, 0);
    CHECK_EQ(0, weft_clock_advance(WEFT_US(199)));
    TICK(&iv, base, WEFT_US(100), WEFT_US(199)); /* not a whole period late */
    TICK(&iv, base, WEFT_US(200), WEFT_US(200));
    CHECK_EQ(0, weft_clock_advance(WEFT_US(200)));
    TICK(&iv, base, WEFT_US(300), WEFT_US(400));
    TICK(&iv, base, WEFT_US(500), WEFT_US(500));
    return 0;
}

TEST(delay_never_makes_two_ticks_of_one_gap)
{
    test_run_paused(delay_of_short_periods, NULL);
}

static int skip(void *arg)
{
    weft_instant base;
    weft_interval iv = new_interval(WEFT_TICK_SKIP, &base);

    (void)arg;
    TICK(&iv, base, 0, 0);
    TICK(&iv, base, PERIOD, PERIOD);
    CHECK_EQ(0, weft_clock_advance(PERIOD * 7 / 2));
    TICK(&iv, base, 2 * PERIOD, PERIOD * 9 / 2);
    TICK(&iv, base, 5 * PERIOD, 5 * PERIOD);
    /* Exactly at one: the next is a period away. */
    CHECK_EQ(0, weft_clock_advance(3 * PERIOD));
    TICK(&iv, base, 6 * PERIOD, 8 * PERIOD);
    TICK(&iv, base, 9 * PERIOD, 9 * PERIOD);
    /* By however little it is late, there is no drift. */
    CHECK_EQ(0, weft_clock_advance(PERIOD + 1));
    TICK(&iv, base, 10 * PERIOD, 10 * PERIOD + 1);
    TICK(&iv, base, 11 * PERIOD, 11 * PERIOD);
    return 0;
}

TEST(skip_leaves_out_what_is_past)
{
    test_run_paused(skip, NULL);
}

static int policy_changes(void *arg)
{
    weft_instant base;
    weft_interval iv = new_interval(WEFT_TICK_BURST, &base);

    (void)arg;
    TICK(&iv, base, 0, 0);
    CHECK_EQ(0, weft_clock_advance(PERIOD * 7 / 2));
    TICK(&iv, base, PERIOD, PERIOD * 7 / 2);
    CHECK_EQ(0, weft_interval_set_missed(&iv, WEFT_TICK_SKIP));
    TICK(&iv, base, 2 * PERIOD, PERIOD * 7 / 2);
    TICK(&iv, base, 4 * PERIOD, 4 * PERIOD);
    return 0;
}

TEST(another_policy_holds_from_the_next_tick_on)
{
    test_run_paused(policy_changes, NULL);
}

static int saturates(void *arg)
{
    weft_instant base = weft_now();
    weft_interval iv;

    for (int policy = WEFT_TICK_BURST; policy <= WEFT_TICK_SKIP; policy++) {
        CHECK_EQ(0, weft_interval_init(&iv, WEFT_FOREVER));
        CHECK_EQ(0, weft_interval_set_missed(&iv, (weft_tick_policy)policy));
        CHECK_EQ(0, weft_clock_advance(WEFT_MS(2)));
        CHECK_EQ(0, weft_interval_tick(&iv, NULL));
        WEFT_DEADLINE(WEFT_SECS(100000))
        {
            CHECK_EQ(-ETIMEDOUT, weft_interval_tick(&iv, NULL));
        }
    }
    CHECK(weft_now() > base);
    return arg ? -1 : 0;
}

TEST(a_period_without_end_ticks_once)
{
    test_run_paused(saturates, NULL);
}

/* --- waits that end early --------------------------------------------------------------- */

static int keeps_its_tick(void *arg)
{
    weft_instant base, at = 0;
    weft_interval iv = new_interval(WEFT_TICK_BURST, &base);
    weft_future never = weft_pending_future(), tick, sleep;

    (void)arg;
    TICK(&iv, base, 0, 0);
    WEFT_DEADLINE(PERIOD / 2)
    {
        CHECK_EQ(-ETIMEDOUT, weft_interval_tick(&iv, &at));
    }
    CHECK_EQ(0, at); /* written on success only */
    tick = weft_interval_tick_future(&iv, &at);
    sleep = weft_sleep_future(PERIOD / 4);
    CHECK_EQ(1, weft_select(&tick, &sleep));
    TICK(&iv, base, PERIOD, PERIOD);
    tick = weft_interval_tick_future(&iv, &at);
    CHECK_EQ(-ETIMEDOUT, weft_timeout(PERIOD - 1, &tick));
    tick = weft_interval_tick_future(&iv, &at);
    CHECK_EQ(0, weft_select(&tick, &never));
    CHECK_EQ(base + 2 * PERIOD, at);
    /* Built and never polled: nothing has happened. */
    tick = weft_interval_tick_future(&iv, &at);
    weft_future_drop(&tick);
    TICK(&iv, base, 3 * PERIOD, 3 * PERIOD);
    return 0;
}

TEST(a_wait_that_is_given_up_loses_no_tick)
{
    test_run_paused(keeps_its_tick, NULL);
}

static int ticks_for_ever(void *arg)
{
    for (;;) {
        int rc = weft_interval_tick(arg, NULL);

        if (rc < 0)
            return rc;
    }
}

static int is_cancelled(void *arg)
{
    weft_interval iv;
    weft_task *t;
    int result = 0;

    (void)arg;
    CHECK_EQ(0, weft_interval_init(&iv, WEFT_US(100)));
    t = weft_spawn(ticks_for_ever, &iv);
    CHECK_EQ(0, weft_sleep(WEFT_US(500)));
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
    CHECK_EQ(0, weft_interval_tick(&iv, NULL)); /* it is the joiner's now */
    return 0;
}

TEST(a_cancelled_task_stops_ticking)
{
    test_run(is_cancelled, NULL);
}

static int ends_with_a_tick_pending(void *iv)
{
    weft_future tick = weft_interval_tick_future(iv, NULL);

    begin(&tick);
    if (ON_VALGRIND) /* to which a frame that was left is lost */
        weft_future_drop(&tick);
    return 0;
}

/* Selected with KEEP, a tick stays awaited: then a second one is refused, until the first is dropped. */
static int one_at_a_time(void *arg)
{
    weft_instant base;
    weft_interval iv = new_interval(WEFT_TICK_BURST, &base);
    weft_future tick, other;

    (void)arg;
    TICK(&iv, base, 0, 0);
    tick = weft_interval_tick_future(&iv, NULL);
    begin(&tick);
    CHECK_EQ(-EBUSY, weft_interval_tick(&iv, NULL));
    other = weft_interval_tick_future(&iv, NULL);
    CHECK_EQ(-EBUSY, weft_await(&other));
    CHECK_EQ(0, weft_await(&tick));
    CHECK_EQ(base + PERIOD, weft_now());
    CHECK_EQ(0, weft_join(weft_spawn(ends_with_a_tick_pending, &iv), NULL));
    TICK(&iv, base, 2 * PERIOD, 2 * PERIOD);
    return 0;
}

TEST(one_tick_is_awaited_at_a_time)
{
    test_run_paused(one_at_a_time, NULL);
}

/* --- resets ---------------------------------------------------------------------------- */

static int resets(void *arg)
{
    weft_instant base;
    weft_interval iv = new_interval(WEFT_TICK_BURST, &base);

    (void)arg;
    TICK(&iv, base, 0, 0);
    CHECK_EQ(0, weft_clock_advance(PERIOD * 5 / 2));
    CHECK_EQ(0, weft_interval_reset(&iv)); /* those that were missed are forgotten */
    TICK(&iv, base, PERIOD * 7 / 2, PERIOD * 7 / 2);
    TICK(&iv, base, PERIOD * 9 / 2, PERIOD * 9 / 2);
    CHECK_EQ(0, weft_interval_reset_immediately(&iv));
    TICK(&iv, base, PERIOD * 9 / 2, PERIOD * 9 / 2);
    TICK(&iv, base, PERIOD * 11 / 2, PERIOD * 11 / 2);
    CHECK_EQ(0, weft_interval_reset_after(&iv, PERIOD / 2));
    TICK(&iv, base, PERIOD * 6, PERIOD * 6);
    TICK(&iv, base, PERIOD * 7, PERIOD * 7);
    CHECK_EQ(0, weft_interval_reset_at(&iv, base + PERIOD * 10 + 3));
    TICK(&iv, base, PERIOD * 10 + 3, PERIOD * 10 + 3);
    TICK(&iv, base, PERIOD * 11 + 3, PERIOD * 11 + 3);
    CHECK_EQ(0, weft_interval_reset_at(&iv, base)); /* past */
    TICK(&iv, base, 0, PERIOD * 11 + 3);
    TICK(&iv, base, PERIOD, PERIOD * 11 + 3);
    return 0;
}

TEST(a_reset_sets_the_next_tick)
{
    test_run_paused(resets, NULL);
}

/* A tick that is pending moves with it: to later, to earlier, to the past. */
static int resets_while_pending(void *arg)
{
    static const weft_duration after[] = {3 * PERIOD, PERIOD / 3, 0};
    weft_instant base;
    weft_interval iv = new_interval(WEFT_TICK_BURST, &base);

    (void)arg;
    TICK(&iv, base, 0, 0);
    for (size_t i = 0; i < sizeof(after) / sizeof(after[0]); i++) {
        weft_instant at = 0, from = weft_now();
        weft_future tick = weft_interval_tick_future(&iv, &at);

        begin(&tick);
        CHECK_EQ(0, weft_interval_reset_after(&iv, after[i]));
        CHECK_EQ(0, weft_await(&tick));
        CHECK_EQ(from + after[i], weft_now());
        CHECK_EQ(from + after[i], at);
    }
    return 0;
}

TEST(a_pending_tick_moves_with_a_reset)
{
    test_run_paused(resets_while_pending, NULL);
}

/* Due, and not yet taken: then set to later. */
static int resets_when_due(void *arg)
{
    weft_instant base, at = 0;
    weft_interval iv = new_interval(WEFT_TICK_BURST, &base);
    weft_future tick;

    (void)arg;
    TICK(&iv, base, 0, 0);
    tick = weft_interval_tick_future(&iv, &at);
    begin(&tick);
    CHECK_EQ(0, weft_clock_advance(PERIOD)); /* its timer fires */
    CHECK_EQ(0, weft_interval_reset(&iv));
    CHECK_EQ(0, weft_await(&tick));
    CHECK_EQ(base + 2 * PERIOD, at);
    CHECK_EQ(base + 2 * PERIOD, weft_now());
    return 0;
}

TEST(a_tick_that_is_due_can_be_put_off)
{
    test_run_paused(resets_when_due, NULL);
}

static int misuse(void *arg)
{
    weft_interval iv = {{0}};
    weft_instant at = 1;
    weft_future f;

    CHECK_EQ(-EINVAL, weft_interval_init(NULL, 1));
    CHECK_EQ(-EINVAL, weft_interval_init(&iv, 0));
    CHECK_EQ(-EINVAL, weft_interval_init_at(NULL, 0, 1));
    CHECK_EQ(-EINVAL, weft_interval_init_at(&iv, 0, 0));
    for (int i = 0; i < 2; i++) {
        weft_interval *bad = i ? &iv : NULL; /* zeros were not initialised */

        CHECK_EQ(-EINVAL, weft_interval_tick(bad, &at));
        f = weft_interval_tick_future(bad, &at);
        weft_future_drop(&f);
        CHECK_EQ(-EINVAL, weft_interval_reset(bad));
        CHECK_EQ(-EINVAL, weft_interval_reset_immediately(bad));
        CHECK_EQ(-EINVAL, weft_interval_reset_after(bad, 1));
        CHECK_EQ(-EINVAL, weft_interval_reset_at(bad, 1));
        CHECK_EQ(-EINVAL, weft_interval_set_missed(bad, WEFT_TICK_SKIP));
        CHECK_EQ(WEFT_TICK_BURST, weft_interval_missed(bad));
        CHECK_EQ(0, weft_interval_period(bad));
    }
    CHECK_EQ(0, weft_interval_init(&iv, 1));
    CHECK_EQ(-EINVAL, weft_interval_set_missed(&iv, (weft_tick_policy)3));
    CHECK_EQ(WEFT_TICK_BURST, weft_interval_missed(&iv));
    if (!arg)
        return 0;
    CHECK_EQ(-EPERM, weft_interval_tick(&iv, &at)); /* a plain thread */
    f = weft_interval_tick_future(&iv, &at);
    CHECK_EQ(-EPERM, weft_await(&f));
    CHECK_EQ(-EPERM, weft_await_blocking(&f));
    CHECK_EQ(1, at);
    return 0;
}

TEST(misuse_gets_codes_not_crashes)
{
    CHECK_EQ(0, misuse(&(int){1}));
    test_run(misuse, NULL);
}

TEST_MAIN("interval", ticks_come_at_their_period_and_do_not_drift,
          the_first_tick_comes_at_the_start, a_stackless_task_can_tick,
          ticks_that_are_due_spend_the_budget, burst_takes_all_that_were_missed,
          delay_counts_from_the_late_tick, delay_never_makes_two_ticks_of_one_gap,
          skip_leaves_out_what_is_past, another_policy_holds_from_the_next_tick_on,
          a_period_without_end_ticks_once, a_wait_that_is_given_up_loses_no_tick,
          a_cancelled_task_stops_ticking, one_tick_is_awaited_at_a_time, a_reset_sets_the_next_tick,
          a_pending_tick_moves_with_a_reset, a_tick_that_is_due_can_be_put_off,
          misuse_gets_codes_not_crashes)
