/* SPDX-License-Identifier: MIT */
/*
 * test_sleep.c - a sleep that is set anew, before, while and after it is awaited; and limits at a moment.
 *
 * Where moments matter the clock stands still, and they are exact.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>

/* Pending from here on. */
static void begin(weft_future *f)
{
    weft_future ready = weft_ready_future(0), *list[] = {f, &ready};

    CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP));
    CHECK(!weft_future_is_ready(f));
}

/* --- resets, exactly ------------------------------------------------------------------- */

static int before(void *arg)
{
    weft_instant base = weft_now();
    weft_future f = weft_sleep_future(WEFT_SECS(1));

    (void)arg;
    CHECK_EQ(base + WEFT_SECS(1), weft_sleep_deadline(&f));
    CHECK_EQ(0, weft_clock_advance(5)); /* not polled yet: it would count from now */
    CHECK_EQ(base + 5 + WEFT_SECS(1), weft_sleep_deadline(&f));
    CHECK_EQ(0, weft_sleep_reset(&f, base + WEFT_MS(3)));
    CHECK_EQ(base + WEFT_MS(3), weft_sleep_deadline(&f));
    CHECK_EQ(0, weft_await(&f));
    CHECK_EQ(base + WEFT_MS(3), weft_now());
    f = weft_sleep_until_future(base + WEFT_SECS(9));
    CHECK_EQ(base + WEFT_SECS(9), weft_sleep_deadline(&f));
    CHECK_EQ(0, weft_sleep_reset(&f, base)); /* past */
    CHECK_EQ(0, weft_await(&f));
    CHECK_EQ(base + WEFT_MS(3), weft_now());
    return 0;
}

TEST(a_sleep_can_be_set_anew_before_it_is_awaited)
{
    test_run_paused(before, NULL);
}

static int meanwhile(void *arg)
{
    static const weft_duration to[] = {1, WEFT_US(60), WEFT_MS(3), WEFT_SECS(50), WEFT_SECS(80000)};

    (void)arg;
    for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
        for (size_t k = 0; k < sizeof(to) / sizeof(to[0]); k++) {
            weft_instant base = weft_now();
            weft_future f = weft_sleep_future(to[i]);

            begin(&f);
            CHECK_EQ(base + to[i], weft_sleep_deadline(&f));
            CHECK_EQ(0, weft_sleep_reset(&f, base + to[k]));
            CHECK_EQ(base + to[k], weft_sleep_deadline(&f));
            CHECK_EQ(0, weft_await(&f));
            CHECK_EQ(base + to[k], weft_now());
        }
    }
    return 0;
}

TEST(a_pending_sleep_can_be_set_to_later_and_to_earlier)
{
    test_run_paused(meanwhile, NULL);
}

static int due_and_put_off(void *arg)
{
    weft_instant base = weft_now();
    weft_future f = weft_sleep_future(WEFT_MS(1));

    (void)arg;
    begin(&f);
    CHECK_EQ(0, weft_clock_advance(WEFT_MS(1))); /* it fires, and is not polled */
    CHECK_EQ(0, weft_sleep_reset(&f, base + WEFT_MS(7)));
    CHECK(!weft_future_is_ready(&f));
    CHECK_EQ(0, weft_await(&f));
    CHECK_EQ(base + WEFT_MS(7), weft_now());
    return 0;
}

TEST(a_sleep_that_is_due_can_be_put_off)
{
    test_run_paused(due_and_put_off, NULL);
}

static int afterwards(void *arg)
{
    weft_instant base = weft_now();
    weft_future f = weft_sleep_future(WEFT_MS(1));

    (void)arg;
    for (unsigned i = 1; i <= 3; i++) {
        CHECK_EQ(0, weft_await(&f));
        CHECK_EQ(base + i * WEFT_MS(1), weft_now());
        CHECK(weft_future_is_ready(&f));
        CHECK_EQ(0, weft_await(&f)); /* finished: at once */
        CHECK_EQ(0, weft_sleep_reset(&f, base + (i + 1) * WEFT_MS(1)));
        CHECK(!weft_future_is_ready(&f));
    }
    weft_future_drop(&f);
    CHECK_EQ(-ECANCELED, f.result);
    CHECK_EQ(0, weft_sleep_reset(&f, base + WEFT_MS(9)));
    CHECK_EQ(0, weft_await(&f));
    CHECK_EQ(base + WEFT_MS(9), weft_now());
    f = weft_sleep_future(WEFT_SECS(1));
    begin(&f);
    weft_future_drop(&f); /* dropped while pending */
    CHECK_EQ(0, weft_sleep_reset(&f, base + WEFT_MS(10)));
    CHECK_EQ(0, weft_await(&f));
    CHECK_EQ(base + WEFT_MS(10), weft_now());
    return 0;
}

TEST(a_sleep_that_is_over_can_begin_again)
{
    test_run_paused(afterwards, NULL);
}

/* What it is made for: a limit for silence, one timer for a loop. */
static int idle_limit(void *arg)
{
    weft_instant base = weft_now();
    weft_future idle = weft_sleep_future(WEFT_MS(10));
    unsigned messages = 0;

    (void)arg;
    for (;;) {
        weft_future message = weft_sleep_future(messages < 20 ? WEFT_MS(9) : WEFT_MS(11));

        if (weft_select_keep(&idle, &message) == 0) {
            weft_future_drop(&message);
            break;
        }
        messages++;
        CHECK_EQ(0, weft_sleep_reset(&idle, weft_now() + WEFT_MS(10)));
    }
    CHECK_EQ(20, messages);
    CHECK_EQ(base + WEFT_MS(190), weft_now());
    return 0;
}

TEST(a_limit_for_silence_is_one_sleep_set_anew)
{
    test_run_paused(idle_limit, NULL);
}

/* --- resets, from anywhere -------------------------------------------------------------- */

static int resets(void *sleep)
{
    CHECK_EQ(0, weft_sleep_reset(sleep, weft_now() + WEFT_US(200)));
    return 0;
}

static void *resets_as_a_thread(void *sleep)
{
    (void)resets(sleep);
    return NULL;
}

/* Whoever is handed it may be a task on any worker, or a plain thread: the task that polled it is told. */
static int set_from_elsewhere(void *arg)
{
    for (uint64_t i = test_scaled(100); i > 0; i--) {
        weft_instant from = weft_now();
        weft_future f = weft_sleep_future(WEFT_SECS(1000));

        begin(&f);
        if (arg) {
            pthread_t thread;

            CHECK_EQ(0, pthread_create(&thread, NULL, resets_as_a_thread, &f));
            CHECK_EQ(0, pthread_join(thread, NULL));
        } else {
            CHECK_EQ(0, weft_join(weft_spawn(resets, &f), NULL));
        }
        CHECK_EQ(0, weft_await(&f));
        CHECK(weft_now() - from >= WEFT_US(200));
    }
    return 0;
}

TEST(a_pending_sleep_can_be_set_anew_by_another_task)
{
    test_run(set_from_elsewhere, NULL);
}

TEST(a_pending_sleep_can_be_set_anew_by_a_thread)
{
    test_run(set_from_elsewhere, &(int){1});
}

/* Set anew at about the moment at which it fires: it never ends early, and it ends. */
static int races_its_end(void *arg)
{
    (void)arg;
    for (uint64_t i = test_scaled(300); i > 0; i--) {
        weft_instant at = weft_now() + WEFT_US(100);
        weft_future f = weft_sleep_until_future(at), ready = weft_ready_future(0);
        weft_future *list[] = {&f, &ready};

        CHECK(weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP) >= 0);
        while (weft_now() < at + i % 40 * WEFT_US(5))
            CHECK_EQ(0, weft_yield());
        at = weft_now() + WEFT_US(100);
        CHECK_EQ(0, weft_sleep_reset(&f, at));
        CHECK_EQ(at, weft_sleep_deadline(&f));
        CHECK_EQ(0, weft_await(&f));
        CHECK(weft_now() >= at);
    }
    return 0;
}

TEST(a_reset_may_meet_the_end)
{
    test_run(races_its_end, NULL);
}

/* --- limits at a moment ------------------------------------------------------------------ */

static int limits(void *arg)
{
    weft_instant base = weft_now();
    weft_future never, ready, f, inner;

    (void)arg;
    never = weft_pending_future();
    CHECK_EQ(-ETIMEDOUT, weft_timeout_at(base + WEFT_US(10), &never));
    CHECK_EQ(base + WEFT_US(10), weft_now());
    CHECK_EQ(-ECANCELED, never.result); /* dropped */

    inner = weft_pending_future();
    f = weft_timeout_at_future(base + WEFT_US(20), &inner);
    CHECK_EQ(0, weft_sleep(WEFT_US(5))); /* not from the first poll on */
    CHECK_EQ(-ETIMEDOUT, weft_await(&f));
    CHECK_EQ(base + WEFT_US(20), weft_now());
    CHECK_EQ(-ECANCELED, inner.result);

    /* A moment that has passed: what is ready wins all the same. */
    ready = weft_ready_future(5);
    CHECK_EQ(5, weft_timeout_at(base, &ready));
    ready = weft_ready_future(6);
    f = weft_timeout_at_future(base, &ready);
    CHECK_EQ(6, weft_await(&f));
    never = weft_pending_future();
    CHECK_EQ(-ETIMEDOUT, weft_timeout_at(base, &never));
    inner = weft_pending_future();
    f = weft_timeout_at_future(0, &inner);
    CHECK_EQ(-ETIMEDOUT, weft_await(&f));
    CHECK_EQ(-ECANCELED, inner.result);
    CHECK_EQ(base + WEFT_US(20), weft_now());

    /* And one that never comes. */
    inner = weft_sleep_future(WEFT_SECS(7));
    CHECK_EQ(0, weft_timeout_at(WEFT_FOREVER, &inner));
    inner = weft_sleep_future(WEFT_SECS(7));
    f = weft_timeout_at_future(WEFT_FOREVER, &inner);
    CHECK_EQ(0, weft_await(&f));
    CHECK_EQ(base + WEFT_US(20) + WEFT_SECS(14), weft_now());
    return 0;
}

TEST(a_limit_at_a_moment_is_exact)
{
    test_run_paused(limits, NULL);
}

/* The nearest limit counts, of whichever kind. */
static int limits_nest(void *arg)
{
    weft_instant base = weft_now();
    weft_future f = weft_sleep_future(WEFT_SECS(100));

    (void)arg;
    WEFT_DEADLINE(WEFT_SECS(1))
    {
        CHECK_EQ(-ETIMEDOUT, weft_timeout_at(base + WEFT_SECS(2), &f));
        CHECK(weft_deadline_passed());
    }
    CHECK_EQ(base + WEFT_SECS(1), weft_now());
    f = weft_sleep_future(WEFT_SECS(100));
    WEFT_DEADLINE(WEFT_SECS(10))
    {
        CHECK_EQ(-ETIMEDOUT, weft_timeout_at(base + WEFT_SECS(2), &f));
        CHECK(!weft_deadline_passed());
    }
    CHECK_EQ(base + WEFT_SECS(2), weft_now());
    return 0;
}

TEST(limits_at_a_moment_nest_with_deadlines)
{
    test_run_paused(limits_nest, NULL);
}

static int limits_everywhere(void *arg)
{
    weft_future f = weft_sleep_future(WEFT_SECS(100));
    weft_instant at = weft_now() + WEFT_US(300);

    (void)arg;
    CHECK_EQ(-ETIMEDOUT, weft_timeout_at(at, &f));
    CHECK(weft_now() >= at);
    f = weft_sleep_future(WEFT_US(100));
    CHECK_EQ(0, weft_timeout_at(weft_now() + WEFT_SECS(100), &f));
    return 0;
}

TEST(a_limit_at_a_moment_holds_on_each_flavour)
{
    test_run(limits_everywhere, NULL);
}

static int misuse(void *arg)
{
    weft_future other = weft_ready_future(0), none = {0}, f;

    CHECK_EQ(-EINVAL, weft_sleep_reset(NULL, 1));
    CHECK_EQ(-EINVAL, weft_sleep_reset(&other, 1));
    CHECK_EQ(-EINVAL, weft_sleep_reset(&none, 1));
    CHECK(weft_sleep_deadline(NULL) == WEFT_FOREVER);
    CHECK(weft_sleep_deadline(&other) == WEFT_FOREVER);
    CHECK_EQ(-EINVAL, weft_timeout_at(1, NULL));
    CHECK_EQ(-EINVAL, weft_timeout_at(1, &none));
    f = weft_timeout_at_future(1, NULL);
    weft_future_drop(&f);
    if (!arg)
        return 0;
    CHECK_EQ(-EPERM, weft_timeout_at(1, &other)); /* a plain thread */
    f = weft_pending_future();
    none = weft_timeout_at_future(1, &f);
    CHECK_EQ(-EPERM, weft_await_blocking(&none));
    return 0;
}

TEST(misuse_gets_codes_not_crashes)
{
    CHECK_EQ(0, misuse(&(int){1}));
    test_run(misuse, NULL);
}

TEST_MAIN("sleep", a_sleep_can_be_set_anew_before_it_is_awaited,
          a_pending_sleep_can_be_set_to_later_and_to_earlier, a_sleep_that_is_due_can_be_put_off,
          a_sleep_that_is_over_can_begin_again, a_limit_for_silence_is_one_sleep_set_anew,
          a_pending_sleep_can_be_set_anew_by_another_task,
          a_pending_sleep_can_be_set_anew_by_a_thread, a_reset_may_meet_the_end,
          a_limit_at_a_moment_is_exact, limits_at_a_moment_nest_with_deadlines,
          a_limit_at_a_moment_holds_on_each_flavour, misuse_gets_codes_not_crashes)
