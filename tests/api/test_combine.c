/* SPDX-License-Identifier: MIT */
/*
 * test_combine.c - select, join_all, try_join_all and timeouts as futures: which branch, whose
 * result, who is dropped and who stays pending.
 *
 * A tally is a future that stays pending until its flag is set, and counts what is done to it. Who
 * sets the flag wakes nobody: tallies stand beside futures that wake.
 */
#include "support.h"

#include <limits.h>
#include <stdatomic.h>

struct tally {
    atomic_int ready, polls, drops;
    int result;
};

static weft_poll tally_poll(weft_future *f, weft_context *cx)
{
    struct tally *t = (struct tally *)f->words[0];

    (void)cx;
    atomic_fetch_add(&t->polls, 1);
    if (!atomic_load(&t->ready))
        return WEFT_PENDING;
    f->result = t->result;
    return WEFT_READY;
}

static void tally_drop(weft_future *f)
{
    atomic_fetch_add(&((struct tally *)f->words[0])->drops, 1);
}

static const weft_future_type tally_type = {tally_poll, tally_drop, "tally"};

static weft_future tally_future(struct tally *t)
{
    weft_future f = weft_future_of(&tally_type);

    f.words[0] = (uintptr_t)t;
    return f;
}

static void until_waiting(const weft_task *t)
{
    weft_task_info info;

    do {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_task_get_info(t, &info));
    } while (info.state != WEFT_TASK_IDLE);
}

/* --- select ------------------------------------------------------------------ */

static int select_random(void *arg)
{
    int wins[3] = {0};

    (void)arg;
    for (int i = 0; i < 300; i++) {
        weft_future a = weft_ready_future(10), b = weft_ready_future(11), c = weft_ready_future(12);
        weft_future *const list[] = {&a, &b, &c};
        ssize_t index = weft_select(&a, &b, &c);

        CHECK(index >= 0 && index < 3);
        CHECK_EQ(10 + index, list[index]->result);
        wins[index]++;
    }
    /* (2/3)^300 is no chance at all */
    CHECK(wins[0] > 0 && wins[1] > 0 && wins[2] > 0);
    return 0;
}

TEST(select_begins_at_a_random_branch)
{
    test_run(select_random, NULL);
}

static int select_biased(void *arg)
{
    (void)arg;
    for (int i = 0; i < 50; i++) {
        struct tally t = {0};
        weft_future a = tally_future(&t), b = weft_ready_future(1), c = weft_ready_future(2);

        CHECK_EQ(1, weft_select_biased(&a, &b, &c));
        CHECK_EQ(1, atomic_load(&t.polls));
        CHECK_EQ(1, atomic_load(&t.drops));
        CHECK_EQ(1, b.result);
        CHECK_EQ(-ECANCELED, c.result); /* never reached: dropped all the same */
    }
    return 0;
}

TEST(a_biased_select_looks_in_order_and_drops_the_losers)
{
    test_run(select_biased, NULL);
}

static int select_odd(void *arg)
{
    weft_future a = weft_ready_future(3), none = {0};
    weft_future *nobody[] = {NULL, NULL, NULL}, *one[] = {NULL, NULL, &a, NULL};
    weft_future *typeless[] = {&a, &none}, *many[500];
    weft_future sleeps[500];

    (void)arg;
    CHECK_EQ(-EINVAL, weft_select_n(nobody, 3, WEFT_SELECT_RANDOM));
    CHECK_EQ(-EINVAL, weft_select_n(nobody, 0, WEFT_SELECT_RANDOM));
    CHECK_EQ(-EINVAL, weft_select_n(NULL, 0, WEFT_SELECT_RANDOM));
    CHECK_EQ(-EINVAL, weft_select_n(NULL, 1, WEFT_SELECT_RANDOM));
    CHECK_EQ(-EINVAL, weft_select_n(one, (size_t)INT_MAX + 1, WEFT_SELECT_RANDOM));
    CHECK_EQ(-EINVAL, weft_select_n(typeless, 2, WEFT_SELECT_RANDOM));
    CHECK_EQ(2, weft_select_n(one, 4, WEFT_SELECT_RANDOM));
    CHECK_EQ(3, a.result);
    a = weft_ready_future(4);
    CHECK_EQ(1, weft_select(NULL, &a));

    for (size_t i = 0; i < 500; i++) {
        sleeps[i] = weft_sleep_future(i == 321 ? WEFT_US(100) : WEFT_SECS(100));
        many[i] = &sleeps[i];
    }
    CHECK_EQ(321, weft_select_n(many, 500, WEFT_SELECT_RANDOM));
    CHECK_EQ(0, sleeps[321].result);
    return 0;
}

TEST(select_takes_branches_that_are_off_and_many_of_them)
{
    weft_future f = weft_ready_future(0);

    CHECK_EQ(-EPERM, weft_select(&f));
    CHECK(!weft_future_is_ready(&f));
    test_run(select_odd, NULL);
}

/* A loop that selects again: the timer that is kept goes on from its first poll. */
static int select_keep(void *arg)
{
    struct tally t = {0};
    weft_future slow = weft_sleep_future(WEFT_MS(5)), silent = tally_future(&t);
    weft_instant began = weft_now();
    int ticks = 0;

    (void)arg;
    for (;;) {
        weft_future tick = weft_sleep_future(WEFT_MS(1));
        ssize_t index = weft_select_keep(&slow, &tick, &silent);

        CHECK(index == 0 || index == 1);
        weft_future_drop(&tick);
        if (index == 0)
            break;
        CHECK(!weft_future_is_ready(&slow));
        ticks++;
    }
    CHECK(weft_now() - began >= WEFT_MS(5));
    CHECK(ticks <= 6); /* each took a millisecond of the five; one may win when both are ready */
    CHECK_EQ(0, atomic_load(&t.drops));
    CHECK(!weft_future_is_ready(&silent));
    weft_future_drop(&silent);
    CHECK_EQ(1, atomic_load(&t.drops));
    return 0;
}

TEST(a_keeping_select_leaves_the_losers_pending)
{
    test_run(select_keep, NULL);
}

struct ended {
    struct tally t[2];
    unsigned flags;
    bool deadline;
};

static int select_until_ended(void *arg)
{
    struct ended *e = arg;
    weft_future a = tally_future(&e->t[0]), b = tally_future(&e->t[1]);
    weft_future *const list[] = {&a, &b};
    ssize_t rc = 0;

    WEFT_DEADLINE(e->deadline ? WEFT_US(300) : WEFT_FOREVER)
    {
        rc = weft_select_n(list, 2, e->flags);
        CHECK_EQ(e->deadline ? -ETIMEDOUT : -ECANCELED, rc);
        for (int i = 0; i < 2; i++) {
            bool keep = e->flags & WEFT_SELECT_KEEP;

            CHECK_EQ(keep ? 0 : 1, atomic_load(&e->t[i].drops));
            CHECK_EQ(!keep, weft_future_is_ready(list[i]));
        }
        /* Refused at the door now: the same answer, and no poll. */
        CHECK_EQ(rc, weft_select_n(list, 2, WEFT_SELECT_RANDOM));
    }
    CHECK_EQ(1, atomic_load(&e->t[0].drops));
    CHECK_EQ(1, atomic_load(&e->t[1].drops));
    return (int)rc;
}

static int select_ended(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 4; i++) {
        struct ended e = {.flags = i & 1 ? WEFT_SELECT_KEEP : 0, .deadline = i & 2};
        weft_task *t = weft_spawn(select_until_ended, &e);

        if (!e.deadline) {
            until_waiting(t);
            weft_cancel(t);
        }
        CHECK_EQ(0, weft_join(t, NULL));
    }
    return 0;
}

TEST(a_select_that_is_cancelled_or_late_drops_all_or_keeps_all)
{
    test_run(select_ended, NULL);
}

/* --- join_all, try_join_all --------------------------------------------------- */

static int join_all(void *arg)
{
    weft_future a = weft_sleep_future(WEFT_US(300)), b = weft_ready_future(-EIO),
                c = weft_yield_future(), d = weft_ready_future(9);
    weft_future *some[] = {&d, NULL}, *late[2];
    weft_instant began = weft_now();
    struct tally t = {0};

    (void)arg;
    CHECK_EQ(0, weft_join_all(&a, &b, &c, &d));
    CHECK(weft_now() - began >= WEFT_US(300));
    CHECK_EQ(0, a.result);
    CHECK_EQ(-EIO, b.result);
    CHECK_EQ(0, c.result);
    CHECK_EQ(9, d.result);
    CHECK_EQ(0, weft_join_all_n(some, 2));
    CHECK_EQ(-EINVAL, weft_join_all_n(NULL, 1));
    CHECK_EQ(-EINVAL, weft_join_all_n(some, (size_t)INT_MAX + 1));

    a = tally_future(&t);
    b = weft_ready_future(1);
    late[0] = &a;
    late[1] = &b;
    WEFT_DEADLINE(WEFT_US(300))
    {
        CHECK_EQ(-ETIMEDOUT, weft_join_all_n(late, 2));
    }
    CHECK_EQ(1, atomic_load(&t.drops));
    CHECK_EQ(1, b.result); /* it was there before */
    return 0;
}

TEST(join_all_waits_for_all_and_each_has_its_result)
{
    test_run(join_all, NULL);
}

static int try_join_all(void *arg)
{
    struct tally t = {0};
    weft_future a = tally_future(&t), b = weft_ready_future(7), c = weft_sleep_until_future(1),
                d = weft_ready_future(-EPIPE), e = weft_ready_future(-EIO);
    weft_future *good[] = {&b, NULL, &c};

    (void)arg;
    CHECK_EQ(-EPIPE, weft_try_join_all(&a, &b, &d, &e));
    CHECK_EQ(1, atomic_load(&t.drops));
    CHECK_EQ(7, b.result);
    CHECK_EQ(-ECANCELED, e.result);
    CHECK_EQ(0, weft_try_join_all_n(good, 3));
    CHECK_EQ(0, c.result);
    CHECK_EQ(-EINVAL, weft_try_join_all_n(NULL, 1));

    a = tally_future(&t);
    d = weft_sleep_future(WEFT_US(200));
    e = weft_timeout_future(WEFT_US(200), &a); /* the first failure comes late */
    CHECK_EQ(-ETIMEDOUT, weft_try_join_all(&d, &e));
    CHECK_EQ(2, atomic_load(&t.drops));
    return 0;
}

TEST(try_join_all_stops_at_the_first_failure)
{
    test_run(try_join_all, NULL);
}

/* Pending so often; then its number is its result. Each poll is noted down. */
static struct {
    int who[64], n;
} notes;

static weft_poll noted_poll(weft_future *f, weft_context *cx)
{
    notes.who[notes.n++] = (int)f->words[0];
    f->result = (ssize_t)f->words[0];
    if (f->words[1]-- == 0)
        return WEFT_READY;
    weft_waker_wake_by_ref(&cx->waker_);
    return WEFT_PENDING;
}

static const weft_future_type noted_type = {.poll = noted_poll, .name = "noted"};

static weft_future noted_future(uintptr_t who, uintptr_t times)
{
    weft_future f = weft_future_of(&noted_type);

    f.words[0] = who;
    f.words[1] = times;
    return f;
}

static int join_order(void *arg)
{
    static const int rotated[] = {0, 1, 2, 1, 2, 0, 2, 0, 1, 0, 1, 2};
    static const int in_order[] = {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2};

    (void)arg;
    for (int way = 0; way < 4; way++) {
        weft_future a = noted_future(0, 3), b = noted_future(1, 3), c = noted_future(2, 3);
        ssize_t rc = way == 0   ? weft_join_all(&a, &b, &c)
                     : way == 1 ? weft_try_join_all(&a, &b, &c)
                     : way == 2 ? weft_join_all_biased(&a, &b, &c)
                                : weft_try_join_all_biased(&a, &b, &c);

        CHECK_EQ(0, rc);
        CHECK_EQ(12, notes.n);
        for (int i = 0; i < 12; i++)
            CHECK_EQ(way < 2 ? rotated[i] : in_order[i], notes.who[i]);
        notes.n = 0;
    }
    return 0;
}

TEST(each_branch_of_a_join_has_its_turn_to_be_polled_first_unless_it_is_biased)
{
    test_run(join_order, NULL);
}

static int join_flags(void *arg)
{
    struct tally t = {0};
    weft_future a = tally_future(&t), bad = weft_ready_future(-EIO), nap, *list[] = {&a, &bad};

    (void)arg;
    CHECK_EQ(-EINVAL, weft_join_all_with(list, 2, 4));
    CHECK(!weft_future_is_ready(&bad)); /* untouched */
    CHECK_EQ(-EIO, weft_try_join_all_biased(&a, &bad));
    CHECK_EQ(1, atomic_load(&t.drops));
    nap = weft_sleep_future(WEFT_US(100));
    bad = weft_ready_future(-EPIPE);
    list[0] = &nap;
    a = weft_join_all_with_future(list, 2, WEFT_JOIN_BIASED);
    CHECK_EQ(0, weft_await(&a));
    CHECK_EQ(-EPIPE, bad.result);
    a = weft_join_all_with_future(list, 2, 8);
    CHECK_EQ(-EINVAL, weft_await(&a));
    return 0;
}

TEST(a_join_by_flags_is_one_of_the_others)
{
    test_run(join_flags, NULL);
}

static int counts_its_turns(void *arg)
{
    int rc;

    do
        atomic_fetch_add((atomic_int *)arg, 1);
    while ((rc = weft_yield()) == 0);
    return rc;
}

/* The budget is spent, and the branches spend nothing: without a yield the neighbour would have no turn. */
static int select_yields(void *arg)
{
    atomic_int turns = 0;
    weft_task *t = weft_spawn(counts_its_turns, &turns);

    (void)arg;
    while (atomic_load(&turns) == 0)
        CHECK_EQ(0, weft_yield());
    for (int i = 0; i < 10; i++) {
        weft_future a = weft_ready_future(1), b = weft_ready_future(2);
        int before;

        CHECK_EQ(0, weft_yield());
        for (int spent = 0; spent < 128; spent++)
            CHECK_EQ(0, weft_consume_budget());
        before = atomic_load(&turns);
        CHECK(weft_select(&a, &b) >= 0);
        CHECK(atomic_load(&turns) > before);
    }
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, NULL));
    return 0;
}

TEST(a_select_lets_others_run_when_the_budget_is_spent)
{
    test_run_on(&test_flavours[0], select_yields, NULL);
    test_run_on(&test_flavours[1], select_yields, NULL);
}

#define FOUR(f)    &f[0], &f[1], &f[2], &f[3]
#define SIXTEEN(f) FOUR(f), FOUR((f + 4)), FOUR((f + 8)), FOUR((f + 12))
#define ALL_64(f)  SIXTEEN(f), SIXTEEN((f + 16)), SIXTEEN((f + 32)), SIXTEEN((f + 48))

static int sixty_four(void *arg)
{
    weft_future f[64];

    (void)arg;
    for (int i = 0; i < 64; i++)
        f[i] = i == 63 ? weft_sleep_future(WEFT_US(100)) : weft_pending_future();
    CHECK_EQ(63, weft_select(ALL_64(f)));
    for (int i = 0; i < 64; i++)
        f[i] = weft_ready_future(i);
    CHECK_EQ(0, weft_join_all(ALL_64(f)));
    for (int i = 0; i < 64; i++)
        CHECK_EQ(i, f[i].result);
    for (int i = 0; i < 64; i++)
        f[i] = weft_ready_future(i == 40 ? -EIO : 0);
    CHECK_EQ(-EIO, weft_try_join_all_biased(ALL_64(f)));
    return 0;
}

TEST(select_and_join_take_64_branches_and_more)
{
    test_run(sixty_four, NULL);
}

/* --- as futures, nested -------------------------------------------------------- */

static int nest(void *arg)
{
    struct tally t = {0};
    weft_future never = tally_future(&t), nap = weft_sleep_future(WEFT_US(200)),
                later = weft_sleep_future(WEFT_US(400)), r = weft_ready_future(5);
    weft_future *inner[] = {&never, &nap}, *both[] = {&later, &r};
    weft_future first = weft_select_future(inner, 2, WEFT_SELECT_BIASED),
                all = weft_join_all_future(both, 2);
    weft_future limit = weft_timeout_future(WEFT_SECS(100), &all), *outer[] = {&first, &limit};
    weft_future whole = weft_try_join_all_future(outer, 2);

    (void)arg;
    CHECK_EQ(0, weft_await(&whole));
    CHECK_EQ(1, first.result);
    CHECK_EQ(0, limit.result);
    CHECK_EQ(5, r.result);
    CHECK_EQ(1, atomic_load(&t.drops));
    return 0;
}

TEST(combinators_nest)
{
    test_run(nest, NULL);
}

static int nest_dropped(void *arg)
{
    struct tally t[4] = {0};
    weft_future f[4], *pair[2][2], all, first, limit, keep, *kept[1], *outer[3];
    weft_metrics m;

    (void)arg;
    for (int i = 0; i < 4; i++)
        f[i] = tally_future(&t[i]);
    pair[0][0] = &f[0];
    pair[0][1] = &f[1];
    kept[0] = &f[2];
    all = weft_join_all_future(pair[0], 2);
    limit = weft_timeout_future(WEFT_SECS(100), &f[3]);
    keep = weft_select_future(kept, 1, WEFT_SELECT_KEEP);
    outer[0] = &all;
    outer[1] = &limit;
    outer[2] = &keep;
    first = weft_select_future(outer, 3, WEFT_SELECT_RANDOM);
    CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_US(200), &first));
    CHECK_EQ(1, atomic_load(&t[0].drops));
    CHECK_EQ(1, atomic_load(&t[1].drops));
    CHECK_EQ(0, atomic_load(&t[2].drops)); /* kept */
    CHECK_EQ(1, atomic_load(&t[3].drops));
    CHECK(!weft_future_is_ready(&f[2]));
    weft_future_drop(&f[2]);
    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    CHECK_EQ(0, m.timers_armed);
    return 0;
}

TEST(dropping_a_combinator_drops_its_branches_but_not_the_kept)
{
    test_run(nest_dropped, NULL);
}

static int timeout_future(void *arg)
{
    struct tally t = {0};
    weft_future inner = tally_future(&t), f = weft_timeout_future(WEFT_MS(1), &inner);
    weft_instant began = weft_now();

    (void)arg;
    CHECK_EQ(-ETIMEDOUT, weft_await(&f));
    CHECK(weft_now() - began >= WEFT_MS(1));
    CHECK_EQ(1, atomic_load(&t.drops));

    inner = weft_ready_future(3); /* what is ready wins over any limit */
    f = weft_timeout_future(0, &inner);
    CHECK_EQ(3, weft_await(&f));
    inner = weft_sleep_future(WEFT_US(100));
    f = weft_timeout_future(WEFT_FOREVER, &inner);
    CHECK_EQ(0, weft_await(&f));
    inner = weft_pending_future();
    f = weft_timeout_future(0, &inner);
    CHECK_EQ(-ETIMEDOUT, weft_await(&f));
    return 0;
}

TEST(a_timeout_as_a_future_limits_what_is_inside)
{
    test_run(timeout_future, NULL);
}

TEST_MAIN("combine", select_begins_at_a_random_branch,
          a_biased_select_looks_in_order_and_drops_the_losers,
          select_takes_branches_that_are_off_and_many_of_them,
          a_keeping_select_leaves_the_losers_pending,
          a_select_that_is_cancelled_or_late_drops_all_or_keeps_all,
          join_all_waits_for_all_and_each_has_its_result, try_join_all_stops_at_the_first_failure,
          each_branch_of_a_join_has_its_turn_to_be_polled_first_unless_it_is_biased,
          a_join_by_flags_is_one_of_the_others, a_select_lets_others_run_when_the_budget_is_spent,
          select_and_join_take_64_branches_and_more, combinators_nest,
          dropping_a_combinator_drops_its_branches_but_not_the_kept,
          a_timeout_as_a_future_limits_what_is_inside)
