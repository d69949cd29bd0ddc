/* SPDX-License-Identifier: MIT */
/*
 * test_scope_wait.c - the end of a scope's tasks as a future: beside others, kept, and after the scope was left.
 */
#include "children.h"
#include "giveup.h"

#include <string.h>

static int fails(void *arg)
{
    (void)arg;
    return -EIO;
}

/* Poll it, and leave it pending. */
static void poll_once(weft_future *end)
{
    weft_future tick = weft_ready_future(0);
    weft_future *const list[] = {end, &tick};

    CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP));
    CHECK(!weft_future_is_ready(end));
}

/* --- beside others ------------------------------------------------------------------------ */

static int beside_others(void *arg)
{
    atomic_int flag = 0;
    int rc = 99, rounds = 0;

    (void)arg;
    WEFT_SCOPE(s, &rc)
    {
        weft_future end = weft_scope_wait_future(s), tick;

        CHECK_EQ(0, weft_await(&end)); /* nobody is there */
        for (int i = 0; i < 10; i++)
            CHECK(weft_scope_spawn(s, until_set, &flag) > 0);
        end = weft_scope_wait_future(s);
        do {
            tick = weft_yield_future();
            if (++rounds == 5)
                atomic_store(&flag, 1);
        } while (weft_select_keep(&end, &tick) == 1);
        weft_future_drop(&tick);
        CHECK(rounds >= 5);
        CHECK_EQ(0, end.result);
        CHECK_EQ(0, weft_scope_len(s));
        CHECK(weft_scope_spawn(s, fails, NULL) > 0);
        end = weft_scope_wait_future(s);
        rc = (int)weft_await(&end);
        CHECK(rc == -EIO || rc == -ECANCELED);
    }
    CHECK_EQ(-EIO, rc);
    return 0;
}

TEST(a_block_selects_between_its_tasks_and_something_else)
{
    test_run(beside_others, NULL);
}

END_TEST

static int in_a_timeout(void *arg)
{
    int rc = 99;

    (void)arg;
    WEFT_SCOPE(s, &rc)
    {
        weft_future end = weft_scope_wait_future(s);

        CHECK(weft_scope_spawn(s, waits, NULL) > 0);
        CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_MS(1), &end));
        end = weft_scope_wait_future(s);
        CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_MS(1), &end));
        CHECK_EQ(1, weft_scope_len(s));
        weft_scope_cancel(s);
    }
    CHECK_EQ(0, rc);
    return 0;
}

TEST(a_block_waits_for_its_tasks_with_a_limit)
{
    test_run(in_a_timeout, NULL);
}

END_TEST

/* A set's futures are woken by wakers of their own. */
static int in_a_set(void *arg)
{
    weft_futures *set = weft_futures_new();
    atomic_int flag = 0;
    uint64_t tag = 0;
    ssize_t result = 99;

    (void)arg;
    WEFT_SCOPE(s, NULL)
    {
        for (int i = 0; i < 3; i++)
            CHECK(weft_scope_spawn(s, until_set, &flag) > 0);
        CHECK_EQ(0, weft_futures_push(set, weft_scope_wait_future(s), UINT64_C(7)));
        CHECK_EQ(0, weft_futures_push(set, weft_yield_future(), UINT64_C(8)));
        CHECK_EQ(1, weft_futures_next(set, &tag, &result));
        CHECK_EQ(8, tag);
        atomic_store(&flag, 1);
        CHECK_EQ(1, weft_futures_next(set, &tag, &result));
        CHECK(tag == 7 && result == 0);
    }
    weft_futures_free(set);
    return 0;
}

TEST(a_set_of_futures_is_told_of_the_end)
{
    test_run(in_a_set, NULL);
}

END_TEST

static int sets_it(void *arg)
{
    atomic_store((atomic_int *)arg, 1);
    return 0;
}

static int gives_way(void *arg)
{
    atomic_int flag = 0;
    weft_task *other = weft_spawn(sets_it, &flag);

    (void)arg;
    WEFT_SCOPE(s, NULL)
    {
        while (!atomic_load(&flag)) {
            weft_future end = weft_scope_wait_future(s);

            CHECK_EQ(0, weft_await(&end));
        }
    }
    CHECK_EQ(0, weft_join(other, NULL));
    return 0;
}

TEST(who_asks_again_and_again_lets_others_run)
{
    test_run(gives_way, NULL);
}

END_TEST

/* --- and after the scope ------------------------------------------------------------------ */

static void scribble(void)
{
    char frame[2048];

    memset(frame, 0x5a, sizeof(frame));
    __asm__ volatile("" : : "r"(frame) : "memory");
}

/* Leaves the scope with the future pending, for its task has not ended. */
static void leaves_it_pending(weft_future *end, int result)
{
    atomic_int flag = 0;

    WEFT_SCOPE(s, NULL)
    {
        *end = weft_scope_wait_future(s);
        CHECK(weft_scope_spawn(s, until_set, &flag) > 0);
        poll_once(end);
        atomic_store(&flag, result + 1);
    }
    scribble();
}

static int outlasts(void *arg)
{
    weft_future end;

    (void)arg;
    leaves_it_pending(&end, 0);
    CHECK_EQ(0, weft_await(&end));
    leaves_it_pending(&end, -EIO);
    CHECK_EQ(-EIO, weft_await(&end));
    leaves_it_pending(&end, 0);
    weft_future_drop(&end);
    CHECK_EQ(-ECANCELED, end.result);
    leaves_it_pending(&end, 0);
    spend_the_budget();
    CHECK_EQ(0, weft_await(&end));
    return 0;
}

TEST(leaving_the_block_makes_a_future_ready_that_outlasts_it)
{
    test_run(outlasts, NULL);
}

END_TEST

struct ruin {
    weft_future end;
    atomic_int alive;
    bool deferred;
};

static void drops(void *arg)
{
    struct ruin *r = arg;

    CHECK_EQ(0, atomic_load(&r->alive));
    scribble();
    weft_future_drop(&r->end);
    r->deferred = true;
}

static int panics_inside(void *arg)
{
    struct ruin *r = arg;
    weft_context cx = weft_context_of(NULL);

    CHECK_EQ(0, weft_defer(drops, r));
    WEFT_SCOPE(s, NULL)
    {
        r->end = weft_scope_wait_future(s);
        CHECK(weft_scope_spawn(s, counted, &r->alive) > 0);
        CHECK_EQ(WEFT_PENDING, weft_future_poll(&r->end, &cx));
        YIELD_UNTIL(atomic_load(&r->alive));
        weft_panic("on purpose");
    }
    return 0;
}

static int ruins(void *arg)
{
    struct ruin r = {.deferred = false};
    int result = 0;

    (void)arg;
    CHECK_EQ(0, weft_join(weft_spawn(panics_inside, &r), &result));
    CHECK_EQ(-EOWNERDEAD, result);
    CHECK(r.deferred);
    return 0;
}

TEST(a_panic_leaves_a_future_that_can_be_dropped)
{
    test_run(ruins, NULL);
}

END_TEST

/* --- whose it is -------------------------------------------------------------------------- */

struct stray {
    weft_scope *scope;
    weft_future *end;
};

static int polls_anothers(void *arg)
{
    const struct stray *stray = arg;
    weft_future own = weft_scope_wait_future(stray->scope);

    CHECK_EQ(-EPERM, weft_await(&own));
    CHECK_EQ(-EPERM, weft_await(stray->end));
    return 0;
}

static int strays(void *arg)
{
    atomic_int flag = 0;

    (void)arg;
    WEFT_SCOPE(s, NULL)
    {
        weft_future end = weft_scope_wait_future(s), second = weft_scope_wait_future(s);
        weft_future third = weft_scope_wait_future(s);
        struct stray fresh = {s, &second}, pending = {s, &end};

        CHECK(weft_scope_spawn(s, until_set, &flag) > 0);
        poll_once(&end);
        CHECK_EQ(-EBUSY, weft_await(&third));
        CHECK_EQ(0, weft_join(weft_spawn(polls_anothers, &fresh), NULL));
        CHECK_EQ(0, weft_join(weft_spawn(polls_anothers, &pending), NULL));
        CHECK_EQ(-EPERM, end.result);
        /* Its place is free. */
        end = weft_scope_wait_future(s);
        poll_once(&end);
        atomic_store(&flag, 1);
        CHECK_EQ(0, weft_scope_wait(s)); /* which is in nobody's way */
        CHECK_EQ(0, weft_await(&end));
    }
    return 0;
}

TEST(only_the_fiber_of_the_scope_waits_and_by_one_future)
{
    test_run(strays, NULL);
}

END_TEST

TEST_MAIN("scope_wait", a_block_selects_between_its_tasks_and_something_else,
          a_block_waits_for_its_tasks_with_a_limit, a_set_of_futures_is_told_of_the_end,
          who_asks_again_and_again_lets_others_run,
          leaving_the_block_makes_a_future_ready_that_outlasts_it,
          a_panic_leaves_a_future_that_can_be_dropped,
          only_the_fiber_of_the_scope_waits_and_by_one_future)
