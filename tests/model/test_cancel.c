/* SPDX-License-Identifier: MIT */
/*
 * test_cancel.c - a tree of tokens that is cancelled while it grows, shrinks and is waited for.
 *
 * Memory that is left, or used after its end, is noticed by the explorer: each test frees all of its handles.
 */
#include "model/bell.h"

#include <errno.h>
#include <weft/cancel.h>

enum { BORN_CANCELLED, BORN_BEFORE, TOLD, GAVE_UP, SHUT_DOWN, SEEN, UNSEEN };

#define BIT(event) (1u << (event))

static weft_cancel_token *root, *middle, *leaf[2];
static struct bell bell[2] = {BELL, BELL};
static unsigned message; /* plain: the flag carries it */

/* root above middle above two leaves. */
static void begin(void)
{
    root = weft_cancel_token_new(NULL);
    middle = weft_cancel_token_new(root);
    leaf[0] = weft_cancel_token_new(middle);
    leaf[1] = weft_cancel_token_new(middle);
}

static void end(void)
{
    CHECK_EQ(0, bell[0].refs.raw + bell[1].refs.raw);
    CHECK_EQ(0, model_live());
}

/* --- cancelling ------------------------------------------------------------------------------------- */

/* When a cancel returns all below are cancelled, also those that another one was about to reach. */
static void cancels(void)
{
    weft_cancel_token_cancel(root);
    CHECK(weft_cancel_token_is_cancelled(leaf[0]) && weft_cancel_token_is_cancelled(leaf[1]));
}

static void cancels_too(void)
{
    weft_cancel_token_cancel(middle);
    CHECK(weft_cancel_token_is_cancelled(leaf[0]) && weft_cancel_token_is_cancelled(leaf[1]));
}

static void grows(void)
{
    weft_cancel_token *t = weft_cancel_token_new(leaf[1]), *below;

    model_reached(weft_cancel_token_is_cancelled(t) ? BORN_CANCELLED : BORN_BEFORE);
    below = weft_cancel_token_new(t);
    weft_cancel_token_free(t);
    weft_cancel_token_free(below);
}

static void free_all(void)
{
    weft_cancel_token_free(root);
    weft_cancel_token_free(middle);
    weft_cancel_token_free(leaf[0]);
    weft_cancel_token_free(leaf[1]);
    end();
}

static void end_cancelled(void)
{
    weft_cancel_token *late = weft_cancel_token_new(leaf[0]);

    CHECK(weft_cancel_token_is_cancelled(leaf[0]) && weft_cancel_token_is_cancelled(leaf[1]));
    CHECK(weft_cancel_token_is_cancelled(late));
    weft_cancel_token_free(late);
    free_all();
}

/* --- freeing, meanwhile -------------------------------------------------------------------------------- */

static void cancels_and_frees(void)
{
    weft_cancel_token_cancel(root);
    weft_cancel_token_free(root);
}

static void frees_inner(void)
{
    weft_cancel_token_free(middle);
    weft_cancel_token_free(leaf[0]);
}

static void frees_last(void)
{
    weft_cancel_token_free(leaf[1]);
}

/* It has stayed below the root, whatever was freed between them. */
static void end_of_last(void)
{
    CHECK(weft_cancel_token_is_cancelled(leaf[1]));
    weft_cancel_token_free(leaf[1]);
    end();
}

/* Both children of a token without a handle leave it. */
static void frees_middle(void)
{
    weft_cancel_token_free(middle);
}

static void leave(unsigned i)
{
    weft_cancel_token_cancel(leaf[i]);
    CHECK(!weft_cancel_token_is_cancelled(root));
    weft_cancel_token_free(leaf[i]);
}

static void first_leaves(void)
{
    leave(0);
}

static void second_leaves(void)
{
    leave(1);
}

static void end_of_root(void)
{
    weft_cancel_token_free(root);
    end();
}

/* --- waiting --------------------------------------------------------------------------------------------- */

static void writes_and_cancels(void)
{
    message = 42;
    weft_cancel_token_cancel(root);
}

static void waits(void)
{
    weft_future f = weft_cancel_token_cancelled_future(leaf[0]);

    CHECK_EQ(0, bell_await(&bell[0], &f));
    CHECK_EQ(42, message);
    model_reached(TOLD);
}

static void gives_up(void)
{
    weft_future f = weft_cancel_token_cancelled_future(leaf[0]);

    if (bell_poll(&bell[1], &f) == WEFT_PENDING)
        model_reached(GAVE_UP);
    weft_future_drop(&f);
}

static void asks(void)
{
    bool is = weft_cancel_token_is_cancelled(leaf[1]);

    model_reached(is ? SEEN : UNSEEN);
    if (is)
        CHECK_EQ(42, message);
}

/* --- the last handle goes while somebody waits -------------------------------------------------------------- */

static weft_future future[2];

static void begin_waiting(void)
{
    model_hush();
    begin();
    for (int i = 0; i < 2; i++) {
        future[i] = weft_cancel_token_cancelled_future(middle);
        CHECK(bell_poll(&bell[i], &future[i]) == WEFT_PENDING);
    }
}

static void cancels_root(void)
{
    weft_cancel_token_cancel(root);
}

static void waits_on(void)
{
    ssize_t rc = bell_await(&bell[0], &future[0]);

    CHECK(rc == 0 || rc == -ESHUTDOWN);
    model_reached(rc ? SHUT_DOWN : TOLD);
}

static void waits_in_vain(void)
{
    CHECK_EQ(-ESHUTDOWN, bell_await(&bell[0], &future[0]));
}

static void drops(void)
{
    weft_future_drop(&future[1]);
}

/* Its children are not cancelled by that, and stay below the root. */
static void end_waiting(void)
{
    CHECK(weft_cancel_token_is_cancelled(root) == weft_cancel_token_is_cancelled(leaf[0]));
    weft_cancel_token_cancel(root);
    CHECK(weft_cancel_token_is_cancelled(leaf[0]) && weft_cancel_token_is_cancelled(leaf[1]));
    weft_cancel_token_free(root);
    weft_cancel_token_free(leaf[0]);
    weft_cancel_token_free(leaf[1]);
    end();
}

/* --- handles ------------------------------------------------------------------------------------------------ */

static void begin_handles(void)
{
    root = weft_cancel_token_new(NULL);
    CHECK(weft_cancel_token_clone(root) == root);
    middle = weft_cancel_token_new(root);
}

static void uses_and_frees(void)
{
    weft_cancel_token_free(weft_cancel_token_clone(root));
    CHECK(!weft_cancel_token_is_cancelled(root));
    weft_cancel_token_free(root);
}

/* The token has been replaced by its only child: it takes no memory, nor does the tree when that is freed. */
static void end_handles(void)
{
    CHECK_EQ(2, model_live());
    weft_cancel_token_free(middle);
    end();
}

const struct model_test model_tests[] = {
    {.name = "two cancel, and a token is made below",
     .begin = begin,
     .thread = {cancels, cancels_too, grows},
     .end = end_cancelled,
     .preemptions = 1,
     .must_reach = BIT(BORN_CANCELLED) | BIT(BORN_BEFORE)},
    {.name = "two cancel", .begin = begin, .thread = {cancels, cancels_too}, .end = end_cancelled},
    {.name = "all are freed while they are cancelled",
     .begin = begin,
     .thread = {cancels_and_frees, frees_inner, frees_last},
     .end = end},
    {.name = "what is left below the root is cancelled with it",
     .begin = begin,
     .thread = {cancels_and_frees, frees_inner},
     .end = end_of_last},
    {.name = "a joint goes when its children leave it",
     .begin = begin,
     .thread = {frees_middle, first_leaves, second_leaves},
     .end = end_of_root},
    {.name = "who waits is told, and sees what was written before",
     .begin = begin,
     .thread = {writes_and_cancels, waits, gives_up, asks},
     .end = free_all,
     .preemptions = 1,
     .must_reach = BIT(TOLD) | BIT(GAVE_UP) | BIT(SEEN) | BIT(UNSEEN)},
    {.name = "waits for a token that is freed end",
     .begin = begin_waiting,
     .thread = {frees_middle, waits_in_vain, drops},
     .end = end_waiting},
    {.name = "a token is freed while it is cancelled from above",
     .begin = begin_waiting,
     .thread = {frees_middle, cancels_root, waits_on, drops},
     .end = end_waiting,
     .preemptions = 1,
     .stale = 1,
     .must_reach = BIT(TOLD) | BIT(SHUT_DOWN)},
    {.name = "the last handle takes the token along",
     .begin = begin_handles,
     .thread = {uses_and_frees, uses_and_frees},
     .end = end_handles},
    {0},
};
