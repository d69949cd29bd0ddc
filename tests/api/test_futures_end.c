/* SPDX-License-Identifier: MIT */
/*
 * test_futures_end.c - how things end with a set: a wait that is given up, and loses nothing; the futures that are left
 * when it is cleared or freed; and who drives it, one at a time.
 */
#include "set.h"

/* --- waits that are given up -------------------------------------------------------------------- */

static int gives_up(void *arg)
{
    struct bell *b = bells_new();
    weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, b, 2);
    weft_task *t = waits_for(set);

    (void)arg;
    weft_cancel(t);
    CHECK_EQ(-ECANCELED, joined(t));
    WEFT_DEADLINE(WEFT_US(200))
    {
        CHECK_EQ(-ETIMEDOUT, weft_futures_next(set, NULL, NULL));
        CHECK_EQ(-ETIMEDOUT, weft_futures_next(set, NULL, NULL)); /* known: not even tried */
    }
    bell_ring(&b[1], 1);
    CHECK_EQ(1, joined(weft_spawn(next_result, set))); /* by another task */
    bell_ring(&b[0], 0);
    expect_next(set, 100, 0);
    CHECK_EQ(0, atomic_load(&b[0].drops) + atomic_load(&b[1].drops));
    weft_futures_free(set);
    free(b);
    return 0;
}

TEST(a_wait_that_is_cancelled_or_late_loses_nothing)
{
    test_run(gives_up, NULL);
}

/* Cancelled at the very moment at which a result comes: it is either returned or still there. */
static int race_to_cancel(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < test_scaled(300); i++) {
        struct bell b = BELL_INIT;
        weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, &b, 1);
        weft_task *t = waits_for(set);
        int got;

        bell_ring(&b, 7);
        weft_cancel(t);
        got = joined(t);
        CHECK(got == 7 || got == -ECANCELED);
        CHECK_EQ(got == 7 ? 0 : 1, weft_futures_len(set));
        if (got != 7)
            expect_next(set, 100, 7);
        weft_futures_free(set);
    }
    return 0;
}

TEST(a_result_that_meets_a_cancel_is_returned_or_kept)
{
    test_run(race_to_cancel, NULL);
}

static int selects(void *arg)
{
    struct bell *b = bells_new();
    weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, b, 2);
    uint64_t tag = 0;
    ssize_t result = 0;
    weft_future next = weft_futures_next_future(set, &tag, &result);
    weft_future tick = weft_sleep_future(WEFT_US(100));

    (void)arg;
    CHECK_EQ(1, weft_select(&next, &tick)); /* the loser is dropped */
    next = weft_futures_next_future(set, &tag, &result);
    tick = weft_sleep_future(WEFT_US(100));
    CHECK_EQ(1, weft_select_keep(&next, &tick)); /* and this one kept */
    CHECK_EQ(-EBUSY, weft_futures_next(set, NULL, NULL));
    CHECK_EQ(-EBUSY, weft_futures_try_next(set, NULL, NULL));
    CHECK_EQ(0, weft_futures_push(set, weft_ready_future(3), 3));
    CHECK_EQ(1, weft_await(&next)); /* what was pushed meanwhile */
    CHECK_EQ(3, tag);
    CHECK_EQ(3, result);
    bell_ring(&b[0], 0);
    expect_next(set, 100, 0);
    weft_futures_free(set);
    free(b);
    return 0;
}

TEST(a_wait_may_lose_a_select_or_be_kept)
{
    test_run(selects, NULL);
}

static int two_drivers(void *arg)
{
    struct bell *b = bells_new();
    weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, b, 1);
    weft_task *t = waits_for(set);
    weft_future next = weft_futures_next_future(set, NULL, NULL);

    (void)arg;
    CHECK_EQ(-EBUSY, weft_futures_next(set, NULL, NULL));
    CHECK_EQ(-EBUSY, weft_futures_try_next(set, NULL, NULL));
    CHECK_EQ(-EBUSY, weft_await(&next));
    bell_ring(&b[0], 2);
    CHECK_EQ(2, joined(t));
    CHECK_EQ(0, weft_futures_next(set, NULL, NULL));
    weft_futures_free(set);
    free(b);
    return 0;
}

TEST(a_second_driver_is_refused_while_the_first_waits)
{
    test_run(two_drivers, NULL);
}

/* --- clearing and freeing ------------------------------------------------------------------------ */

static int clears(void *arg)
{
    struct bell *b = bells_new();
    weft_futures *set = set_of(WEFT_FUTURES_ORDERED, b, BELLS);
    weft_task *t = waits_for(set);
    weft_waker w = bell_waker(&b[0]);

    (void)arg;
    bell_ring(&b[1], 1);
    while (atomic_load(&b[1].polls) < 2) /* ended, and waits for its turn */
        CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, weft_futures_push(set, bell_future(&b[2]), 0)); /* a second one of the same bell */
    until_waiting(t);
    while (weft_futures_clear(set) == -EBUSY)
        CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, joined(t)); /* empty */
    CHECK_EQ(0, weft_futures_len(set));
    for (size_t i = 0; i < BELLS; i++)
        CHECK_EQ(i == 1 ? 0 : i == 2 ? 2 : 1, atomic_load(&b[i].drops));
    weft_waker_wake(&w);
    CHECK_EQ(0, weft_futures_next(set, NULL, NULL));
    CHECK_EQ(0, weft_futures_push(set, bell_future(&b[3]), 0)); /* never polled */
    CHECK_EQ(0, weft_futures_clear(set));
    CHECK_EQ(1, atomic_load(&b[3].drops));
    weft_futures_free(set);
    free(b);
    return 0;
}

TEST(clearing_drops_all_and_tells_who_waits)
{
    test_run(clears, NULL);
}

static int frees(void *arg)
{
    struct bell *b = bells_new();
    weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, b, BELLS);
    weft_future next = weft_futures_next_future(set, NULL, NULL);
    weft_waker w;

    (void)arg;
    keep_pending(&next);
    w = bell_waker(&b[4]);
    weft_futures_free(set);
    for (size_t i = 0; i < BELLS; i++)
        CHECK_EQ(1, atomic_load(&b[i].drops));
    weft_waker_wake_by_ref(&w);
    weft_waker_drop(&w);
    CHECK_EQ(-ESHUTDOWN, weft_await(&next));

    set = set_of(WEFT_FUTURES_UNORDERED, b, 1);
    next = weft_futures_next_future(set, NULL, NULL);
    keep_pending(&next);
    weft_futures_free(set);
    weft_future_drop(&next);
    weft_futures_free(NULL);
    free(b);
    return 0;
}

TEST(freeing_drops_all_and_wakers_and_waits_may_be_left)
{
    test_run(frees, NULL);
}

/* Leaves another one to its set when it is dropped, as often as it is told to. */
struct heir {
    weft_futures *set;
    int left, dropped;
};

static weft_future heir_future(struct heir *h);

static weft_poll heir_poll(weft_future *f, weft_context *cx)
{
    (void)f, (void)cx;
    return WEFT_PENDING;
}

static void heir_drop(weft_future *f)
{
    struct heir *h = (struct heir *)f->words[0];

    h->dropped++;
    if (h->left-- > 0)
        CHECK_EQ(0, weft_futures_push(h->set, heir_future(h), 0));
}

static const weft_future_type heir_type = {heir_poll, heir_drop, "heir"};

static weft_future heir_future(struct heir *h)
{
    weft_future f = weft_future_of(&heir_type);

    f.words[0] = (uintptr_t)h;
    return f;
}

static int inherits(void *arg)
{
    weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, NULL, 0);
    struct heir h = {.set = set, .left = 3};

    (void)arg;
    CHECK_EQ(0, weft_futures_push(set, heir_future(&h), 0));
    CHECK_EQ(-EAGAIN, weft_futures_try_next(set, NULL, NULL));
    CHECK_EQ(0, weft_futures_clear(set));
    CHECK_EQ(1, h.dropped);
    CHECK_EQ(1, weft_futures_len(set)); /* pushed meanwhile: stays */
    CHECK_EQ(-EAGAIN, weft_futures_try_next(set, NULL, NULL));
    weft_futures_free(set); /* also the one that is pushed now, which is never polled */
    CHECK_EQ(2, h.dropped);
    return 0;
}

TEST(what_is_pushed_by_one_that_is_dropped_stays_or_goes_with_the_set)
{
    test_run(inherits, NULL);
}

TEST_MAIN("futures_end", a_wait_that_is_cancelled_or_late_loses_nothing,
          a_result_that_meets_a_cancel_is_returned_or_kept, a_wait_may_lose_a_select_or_be_kept,
          a_second_driver_is_refused_while_the_first_waits, clearing_drops_all_and_tells_who_waits,
          freeing_drops_all_and_wakers_and_waits_may_be_left,
          what_is_pushed_by_one_that_is_dropped_stays_or_goes_with_the_set)
