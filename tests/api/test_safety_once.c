/* SPDX-License-Identifier: MIT */
/*
 * test_safety_once.c - whoever gives up a wait for what happens once, an initialiser, a value or a cancelled token,
 * leaves it to the others: safety.h has the ways.
 */
#include "support.h"

#include <stdatomic.h>

#define INITIALISERS 16

struct safety_bed {
    weft_once once;
    weft_set_once set_once;
    weft_cancel_token *token;
    weft_notify notify;
    weft_future inner, initialisers[INITIALISERS];
    atomic_uint inner_count;
    int value;
};

#include "safety.h"

static void nothing(struct bed *b)
{
    (void)b;
}

static void give_notification(struct bed *b)
{
    weft_notify_one(&b->on.notify);
}

/* At most one is stored. */
static void notification_is_left(struct bed *b)
{
    weft_future told = weft_notify_wait_future(&b->on.notify);

    CHECK_EQ(left_over(b) > 0, weft_notify_enable(&told));
    weft_future_drop(&told);
}

/* --- once ------------------------------------------------------------------------------------------ */

static void once_begun(struct bed *b)
{
    CHECK_EQ(1, weft_once_try_begin(&b->on.once));
}

static void give_done(struct bed *b)
{
    CHECK_EQ(0, weft_once_end(&b->on.once, true));
}

static void give_turn(struct bed *b)
{
    CHECK_EQ(0, weft_once_end(&b->on.once, false));
}

static void once_is_done(struct bed *b)
{
    CHECK(weft_once_is_done(&b->on.once));
}

static void once_is_nobodys(struct bed *b)
{
    CHECK(!weft_once_is_done(&b->on.once));
    once_begun(b);
}

static int never_called(void *arg)
{
    (void)arg;
    test_failed(__FILE__, __LINE__, "somebody else was at it");
}

static int once_wait(void *bed)
{
    return weft_once_run(&((struct bed *)bed)->on.once, never_called, NULL);
}

static int turn_wait(void *bed)
{
    return weft_once_begin(&((struct bed *)bed)->on.once);
}

static weft_future once_future(void *bed)
{
    return weft_once_begin_future(&((struct bed *)bed)->on.once);
}

/* The second suspension point: within the initialiser, which says what it is told. */
static int initialise(void *bed)
{
    return weft_notify_wait(&((struct bed *)bed)->on.notify);
}

static int initialiser_wait(void *bed)
{
    return weft_once_run(&((struct bed *)bed)->on.once, initialise, bed);
}

static weft_future initialiser_future(void *bed)
{
    struct bed *b = bed;
    unsigned i = atomic_fetch_add(&b->on.inner_count, 1);

    CHECK(i < INITIALISERS);
    b->on.initialisers[i] = weft_notify_wait_future(&b->on.notify);
    return weft_once_run_future(&b->on.once, &b->on.initialisers[i]);
}

static void once_is_done_or_nobodys(struct bed *b)
{
    if (atomic_load(&b->taken))
        once_is_done(b);
    else
        once_is_nobodys(b);
}

static void give_value(struct bed *b)
{
    CHECK_EQ(0, weft_set_once_set(&b->on.set_once, &b->on.value));
}

static void value_is_set(struct bed *b)
{
    CHECK(weft_set_once_get(&b->on.set_once) == (b->given ? &b->on.value : NULL));
}

static int set_once_wait(void *bed)
{
    struct bed *b = bed;
    void *value = NULL;
    int rc = weft_set_once_wait(&b->on.set_once, &value);

    CHECK(value == (rc == 0 ? &b->on.value : NULL));
    return rc;
}

static weft_future set_once_future(void *bed)
{
    return weft_set_once_wait_future(&((struct bed *)bed)->on.set_once);
}

static const struct row once_row = {.set_up = once_begun,
                                    .wait = once_wait,
                                    .future = once_future,
                                    .give = give_done,
                                    .tear_down = once_is_done,
                                    .traits = PROMPT | LINE};
static const struct row turn_row = {.set_up = once_begun,
                                    .wait = turn_wait,
                                    .future = once_future,
                                    .give = give_turn,
                                    .took = give_turn,
                                    .tear_down = once_is_nobodys,
                                    .good = 1,
                                    .traits = PROMPT | LINE};
static const struct row initialiser_row = {.set_up = nothing,
                                           .wait = initialiser_wait,
                                           .future = initialiser_future,
                                           .give = give_notification,
                                           .tear_down = once_is_done_or_nobodys,
                                           .traits = PROMPT | LINE};
static const struct row set_once_row = {.set_up = nothing,
                                        .wait = set_once_wait,
                                        .future = set_once_future,
                                        .give = give_value,
                                        .tear_down = value_is_set,
                                        .traits = PROMPT | LINE};

SAFETY(once, a_wait_for_an_initialiser_can_be_given_up)
SAFETY(turn, a_turn_to_initialise_that_is_given_up_goes_to_the_next)
SAFETY(initialiser, an_initialiser_that_is_cancelled_leaves_its_turn_to_the_next)
SAFETY(set_once, a_wait_for_a_value_can_be_given_up)

/* --- tokens ----------------------------------------------------------------------------------------- */

static void open_token(struct bed *b)
{
    b->on.token = weft_cancel_token_new(NULL);
    CHECK(b->on.token);
}

static void give_cancel(struct bed *b)
{
    weft_cancel_token_cancel(b->on.token);
}

static void token_gone(struct bed *b)
{
    weft_cancel_token_free(b->on.token);
}

static int token_wait(void *bed)
{
    return weft_cancel_token_cancelled(((struct bed *)bed)->on.token);
}

static weft_future token_future(void *bed)
{
    return weft_cancel_token_cancelled_future(((struct bed *)bed)->on.token);
}

static void token_gone_and_notification_is_left(struct bed *b)
{
    token_gone(b);
    notification_is_left(b);
}

static int run_wait(void *bed)
{
    struct bed *b = bed;
    weft_future f = weft_notify_wait_future(&b->on.notify);

    return (int)weft_cancel_token_run(b->on.token, &f);
}

static weft_future run_future(void *bed)
{
    struct bed *b = bed;

    b->on.inner = weft_notify_wait_future(&b->on.notify);
    return weft_cancel_token_run_future(b->on.token, &b->on.inner);
}

static const struct row token_row = {.set_up = open_token,
                                     .wait = token_wait,
                                     .future = token_future,
                                     .give = give_cancel,
                                     .tear_down = token_gone,
                                     .traits = PROMPT | LINE};
static const struct row run_row = {.set_up = open_token,
                                   .wait = run_wait,
                                   .future = run_future,
                                   .give = give_notification,
                                   .tear_down = token_gone_and_notification_is_left,
                                   .traits = PROMPT};

SAFETY(token, a_wait_for_a_token_can_be_given_up)
SAFETY(run, what_runs_under_a_token_is_given_up_with_it)

TEST_MAIN("safety_once", a_wait_for_an_initialiser_can_be_given_up,
          a_turn_to_initialise_that_is_given_up_goes_to_the_next,
          an_initialiser_that_is_cancelled_leaves_its_turn_to_the_next,
          a_wait_for_a_value_can_be_given_up, a_wait_for_a_token_can_be_given_up,
          what_runs_under_a_token_is_given_up_with_it)
