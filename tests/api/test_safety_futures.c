/* SPDX-License-Identifier: MIT */
/*
 * test_safety_futures.c - whoever gives up a wait for several futures, or for a time, loses no result, no entry and no
 * tick: safety.h has the ways.
 */
#include "support.h"

#include <stdatomic.h>

struct safety_bed {
    weft_set_once go;
    weft_futures *futures;
    uint64_t tag;
    ssize_t result;
    weft_notify notify, other;
    bool asked;
    weft_future branches[2], *list[2];
    weft_duration nap;
    weft_interval interval;
    weft_delay_queue *queue;
    weft_delay_key key;
    int value;
};

#include "safety.h"

static void nothing(struct bed *b)
{
    (void)b;
}

static void give_go(struct bed *b)
{
    CHECK_EQ(0, weft_set_once_set(&b->on.go, b));
}

/* --- many futures ------------------------------------------------------------------------------------ */

static bool is_stored(weft_notify *n)
{
    weft_future told = weft_notify_wait_future(n);
    bool stored = weft_notify_enable(&told);

    weft_future_drop(&told);
    return stored;
}

static void give_notification(struct bed *b)
{
    weft_notify_one(&b->on.notify);
}

static void notification_is_left(struct bed *b)
{
    CHECK_EQ(left_over(b) > 0, is_stored(&b->on.notify));
}

static void futures_of_one(struct bed *b)
{
    b->on.futures = weft_futures_new();
    CHECK(b->on.futures);
    CHECK_EQ(0,
             weft_futures_push(b->on.futures, weft_notify_wait_future(&b->on.notify), UINT64_C(5)));
}

static void took_result(struct bed *b)
{
    CHECK_EQ(5, b->on.tag);
    CHECK_EQ(0, b->on.result);
}

static void result_is_left(struct bed *b)
{
    CHECK_EQ(left_over(b), weft_futures_len(b->on.futures));
    CHECK_EQ(left_over(b) ? 1 : 0, weft_futures_next(b->on.futures, NULL, NULL));
    weft_futures_free(b->on.futures);
}

static int futures_next_wait(void *bed)
{
    struct bed *b = bed;

    return weft_futures_next(b->on.futures, &b->on.tag, &b->on.result);
}

static weft_future futures_next_future(void *bed)
{
    struct bed *b = bed;

    return weft_futures_next_future(b->on.futures, &b->on.tag, &b->on.result);
}

static int one_operation(void *bed, weft_future *out, uint64_t *tag)
{
    struct bed *b = bed;

    (void)tag;
    if (b->on.asked)
        return 0;
    b->on.asked = true;
    *out = weft_set_once_wait_future(&b->on.go);
    return 1;
}

static int for_each_wait(void *bed)
{
    struct bed *b = bed;

    b->on.asked = false;
    return weft_for_each_concurrent(2, 0, one_operation, NULL, b);
}

static weft_future for_each_future(void *bed)
{
    struct bed *b = bed;

    b->on.asked = false;
    return weft_for_each_concurrent_future(2, 0, one_operation, NULL, b);
}

/* Two branches: what is given, and what never comes. */
static weft_future *const *branches(struct bed *b, weft_future first, weft_future second)
{
    b->on.branches[0] = first;
    b->on.branches[1] = second;
    b->on.list[0] = &b->on.branches[0];
    b->on.list[1] = &b->on.branches[1];
    return b->on.list;
}

static weft_future *const *either_branch(struct bed *b)
{
    return branches(b, weft_notify_wait_future(&b->on.notify),
                    weft_notify_wait_future(&b->on.other));
}

/* The first is not consumed, so that there is nothing to be lost with half of them. */
static weft_future *const *both_branches(struct bed *b)
{
    return branches(b, weft_set_once_wait_future(&b->on.go),
                    weft_notify_wait_future(&b->on.notify));
}

static void give_both(struct bed *b)
{
    give_go(b);
    give_notification(b);
}

static int select_wait(void *bed)
{
    return (int)weft_select_n(either_branch(bed), 2, WEFT_SELECT_RANDOM);
}

static weft_future select_future(void *bed)
{
    return weft_select_future(either_branch(bed), 2, WEFT_SELECT_RANDOM);
}

static int all_wait(void *bed)
{
    return weft_join_all_n(both_branches(bed), 2);
}

static weft_future all_future(void *bed)
{
    return weft_join_all_future(both_branches(bed), 2);
}

static int try_all_wait(void *bed)
{
    return (int)weft_try_join_all_n(both_branches(bed), 2);
}

static weft_future try_all_future(void *bed)
{
    return weft_try_join_all_future(both_branches(bed), 2);
}

static int all_with_wait(void *bed)
{
    return (int)weft_join_all_with(both_branches(bed), 2, WEFT_JOIN_BIASED);
}

static weft_future all_with_future(void *bed)
{
    return weft_join_all_with_future(both_branches(bed), 2, WEFT_JOIN_BIASED);
}

static int timeout_wait(void *bed)
{
    weft_future f = weft_notify_wait_future(&((struct bed *)bed)->on.notify);

    return (int)weft_timeout(WEFT_FOREVER, &f);
}

static weft_future timeout_future(void *bed)
{
    struct bed *b = bed;

    b->on.branches[0] = weft_notify_wait_future(&b->on.notify);
    return weft_timeout_future(WEFT_SECS(1000), &b->on.branches[0]);
}

static int timeout_at_wait(void *bed)
{
    weft_future f = weft_notify_wait_future(&((struct bed *)bed)->on.notify);

    return (int)weft_timeout_at(weft_now() + WEFT_SECS(1000), &f);
}

static weft_future timeout_at_future(void *bed)
{
    struct bed *b = bed;

    b->on.branches[0] = weft_notify_wait_future(&b->on.notify);
    return weft_timeout_at_future(weft_now() + WEFT_SECS(1000), &b->on.branches[0]);
}

static weft_future unconstrained_future(void *bed)
{
    struct bed *b = bed;

    b->on.branches[0] = weft_notify_wait_future(&b->on.notify);
    return weft_unconstrained_future(&b->on.branches[0]);
}

static const struct row futures_next_row = {.set_up = futures_of_one,
                                            .wait = futures_next_wait,
                                            .future = futures_next_future,
                                            .give = give_notification,
                                            .took = took_result,
                                            .tear_down = result_is_left,
                                            .good = 1,
                                            .traits = PROMPT};
/* It awaits once more when it has passed the result on: so a cancel may come in time. */
static const struct row for_each_row = {.set_up = nothing,
                                        .wait = for_each_wait,
                                        .future = for_each_future,
                                        .give = give_go,
                                        .tear_down = nothing};

#define COMBINATOR(name, how)                                             \
 static const struct row name##_row = {.set_up = nothing,                 \
                                       .wait = name##_wait,               \
                                       .future = name##_future,           \
                                       .give = how,                       \
                                       .tear_down = notification_is_left, \
                                       .traits = PROMPT}
COMBINATOR(select, give_notification);
COMBINATOR(all, give_both);
COMBINATOR(try_all, give_both);
COMBINATOR(all_with, give_both);
COMBINATOR(timeout, give_notification);
COMBINATOR(timeout_at, give_notification);
static const struct row unconstrained_row = {.set_up = nothing,
                                             .future = unconstrained_future,
                                             .give = give_notification,
                                             .tear_down = notification_is_left,
                                             .traits = PROMPT};

SAFETY(futures_next, a_result_of_a_set_of_futures_that_was_not_taken_is_still_there)
SAFETY(for_each, operations_are_given_up_with_their_loop)
SAFETY(select, branches_are_given_up_with_their_select)
SAFETY(all, branches_are_given_up_with_their_join)
SAFETY(try_all, branches_are_given_up_with_their_try_join)
SAFETY(all_with, branches_are_given_up_with_their_biased_join)
SAFETY(timeout, what_has_a_limit_is_given_up_with_it)
SAFETY(timeout_at, what_has_a_last_moment_is_given_up_with_it)
SAFETY(unconstrained, what_has_no_budget_is_given_up_with_it)

/* --- time ----------------------------------------------------------------------------------------------- */

static void a_long_nap(struct bed *b)
{
    b->on.nap = WEFT_SECS(1000);
}

static void give_a_short_nap(struct bed *b)
{
    b->on.nap = WEFT_US(100);
}

static int sleep_wait(void *bed)
{
    return weft_sleep(((struct bed *)bed)->on.nap);
}

static weft_future sleep_future(void *bed)
{
    return weft_sleep_future(((struct bed *)bed)->on.nap);
}

static int sleep_until_wait(void *bed)
{
    return weft_sleep_until(weft_now() + ((struct bed *)bed)->on.nap);
}

static weft_future sleep_until_future(void *bed)
{
    return weft_sleep_until_future(weft_now() + ((struct bed *)bed)->on.nap);
}

static void a_tick_far_away(struct bed *b)
{
    CHECK_EQ(0,
             weft_interval_init_at(&b->on.interval, weft_now() + WEFT_SECS(1000), WEFT_SECS(1000)));
}

static void give_tick(struct bed *b)
{
    CHECK_EQ(0, weft_interval_reset_immediately(&b->on.interval));
}

static int tick_wait(void *bed)
{
    return weft_interval_tick(&((struct bed *)bed)->on.interval, NULL);
}

static weft_future tick_future(void *bed)
{
    return weft_interval_tick_future(&((struct bed *)bed)->on.interval, NULL);
}

static void an_entry_far_away(struct bed *b)
{
    int seven = 7;

    CHECK_EQ(0, weft_delay_queue_new(&b->on.queue, sizeof(int), NULL));
    CHECK_EQ(0, weft_delay_queue_insert(b->on.queue, &seven, WEFT_SECS(1000), &b->on.key));
}

static void give_expiry(struct bed *b)
{
    CHECK_EQ(0, weft_delay_queue_reset(b->on.queue, b->on.key, 0));
}

static void took_entry(struct bed *b)
{
    CHECK_EQ(7, b->on.value);
}

static void entry_is_left(struct bed *b)
{
    CHECK_EQ(left_over(b), weft_delay_queue_len(b->on.queue));
    weft_delay_queue_free(b->on.queue);
}

static int expired_wait(void *bed)
{
    struct bed *b = bed;

    return weft_delay_queue_next(b->on.queue, &b->on.value, NULL);
}

static weft_future expired_future(void *bed)
{
    struct bed *b = bed;

    return weft_delay_queue_next_future(b->on.queue, &b->on.value, NULL);
}

static const struct row sleep_row = {.set_up = a_long_nap,
                                     .wait = sleep_wait,
                                     .future = sleep_future,
                                     .give = give_a_short_nap,
                                     .tear_down = nothing,
                                     .traits = LATER};
static const struct row sleep_until_row = {.set_up = a_long_nap,
                                           .wait = sleep_until_wait,
                                           .future = sleep_until_future,
                                           .give = give_a_short_nap,
                                           .tear_down = nothing,
                                           .traits = LATER};
static const struct row tick_row = {.set_up = a_tick_far_away,
                                    .wait = tick_wait,
                                    .future = tick_future,
                                    .give = give_tick,
                                    .tear_down = nothing,
                                    .traits = LATER};
static const struct row expired_row = {.set_up = an_entry_far_away,
                                       .wait = expired_wait,
                                       .future = expired_future,
                                       .give = give_expiry,
                                       .took = took_entry,
                                       .tear_down = entry_is_left,
                                       .good = 1,
                                       .traits = PROMPT};

SAFETY(sleep, a_sleep_can_be_given_up)
SAFETY(sleep_until, a_sleep_until_a_moment_can_be_given_up)
SAFETY(tick, a_tick_that_is_given_up_can_be_awaited_again)
SAFETY(expired, an_entry_that_was_not_taken_is_still_in_the_queue)

struct due {
    weft_duration nap;
    weft_instant began;
};

static int sleep_for_a_moment(void *arg)
{
    struct due *d = arg;
    int rc;

    d->began = weft_now();
    rc = weft_sleep(d->nap);
    if (rc == 0)
        CHECK(weft_now() - d->began >= d->nap);
    return rc;
}

static int cancel_sleeps_as_they_end(void *arg)
{
    uint64_t *chance = arg;

    for (uint64_t i = 0; i < test_scaled(300); i++) {
        struct due d = {.nap = 1 + test_rand(chance) % WEFT_US(150)};
        weft_instant at = weft_now() + test_rand(chance) % WEFT_US(200);
        weft_task *t = weft_spawn(sleep_for_a_moment, &d);
        int rc;

        while (weft_now() < at)
            CHECK_EQ(0, weft_yield());
        weft_cancel(t);
        rc = joined(t);
        CHECK(rc == 0 || rc == -ECANCELED);
    }
    return 0;
}

TEST(a_sleep_that_is_cancelled_as_it_ends_has_one_of_both_results)
{
    uint64_t chance = test_seed();

    test_run(cancel_sleeps_as_they_end, &chance);
}

TEST_MAIN("safety_futures", a_result_of_a_set_of_futures_that_was_not_taken_is_still_there,
          operations_are_given_up_with_their_loop, branches_are_given_up_with_their_select,
          branches_are_given_up_with_their_join, branches_are_given_up_with_their_try_join,
          branches_are_given_up_with_their_biased_join, what_has_a_limit_is_given_up_with_it,
          what_has_a_last_moment_is_given_up_with_it, what_has_no_budget_is_given_up_with_it,
          a_sleep_can_be_given_up, a_sleep_until_a_moment_can_be_given_up,
          a_tick_that_is_given_up_can_be_awaited_again,
          an_entry_that_was_not_taken_is_still_in_the_queue,
          a_sleep_that_is_cancelled_as_it_ends_has_one_of_both_results)
