/* SPDX-License-Identifier: MIT */
/*
 * test_cancel_token.c - tokens: whom a cancel reaches, what waiting for one gives, and trees of any shape.
 */
#include "giveup.h"
#include "support.h"

#include <pthread.h>
#include <stdlib.h>

#define WAITERS 50 /* more than are woken at a time */

static weft_cancel_token *new_token(weft_cancel_token *parent)
{
    weft_cancel_token *t = weft_cancel_token_new(parent);

    CHECK(t);
    return t;
}

static bool cancelled(const weft_cancel_token *t)
{
    return weft_cancel_token_is_cancelled(t);
}

TEST(a_cancel_reaches_all_below_and_nothing_else)
{
    weft_cancel_token *root = new_token(NULL), *a = new_token(root), *b = new_token(root);
    weft_cancel_token *a1 = new_token(a), *a2 = new_token(a1), *late;

    CHECK(!cancelled(root));
    weft_cancel_token_cancel(a);
    weft_cancel_token_cancel(a); /* again */
    CHECK(cancelled(a) && cancelled(a1) && cancelled(a2));
    CHECK(!cancelled(root) && !cancelled(b));

    late = new_token(a2);
    CHECK(cancelled(late)); /* born so */
    weft_cancel_token_free(late);
    late = new_token(b);
    CHECK(!cancelled(late));
    weft_cancel_token_cancel(root);
    CHECK(cancelled(root) && cancelled(b) && cancelled(late));

    weft_cancel_token_free(root);
    weft_cancel_token_free(a1);
    weft_cancel_token_free(a);
    weft_cancel_token_free(a2);
    weft_cancel_token_free(late);
    weft_cancel_token_free(b);
    weft_cancel_token_free(NULL);
}

END_TEST

TEST(handles_are_counted)
{
    weft_cancel_token *t = new_token(NULL), *same = weft_cancel_token_clone(t), *child;

    CHECK(same == t);
    weft_cancel_token_free(t);
    child = new_token(same);
    weft_cancel_token_cancel(same);
    CHECK(cancelled(child));
    weft_cancel_token_free(same);
    weft_cancel_token_free(child);
    CHECK(weft_cancel_token_clone(NULL) == NULL);
}

END_TEST

/* In each order of freeing, those that are left stay below those that are left. */
TEST(what_is_below_a_freed_token_stays_below_what_is_above_it)
{
    for (int order = 0; order < 6; order++) {
        static const int first[6] = {0, 0, 1, 1, 2, 2}, second[6] = {1, 2, 0, 2, 0, 1};
        weft_cancel_token *root = new_token(NULL), *inner[3], *leaf[3];

        for (int i = 0; i < 3; i++) {
            inner[i] = new_token(i ? inner[i - 1] : root);
            leaf[i] = new_token(inner[i]);
        }
        weft_cancel_token_free(inner[first[order]]);
        weft_cancel_token_free(inner[second[order]]);
        weft_cancel_token_free(leaf[order % 3]);
        leaf[order % 3] = NULL;
        if (order % 2)
            weft_cancel_token_free(inner[3 - first[order] - second[order]]);
        weft_cancel_token_cancel(root);
        for (int i = 0; i < 3; i++) {
            CHECK(!leaf[i] || cancelled(leaf[i]));
            weft_cancel_token_free(leaf[i]);
        }
        if (order % 2 == 0)
            weft_cancel_token_free(inner[3 - first[order] - second[order]]);
        weft_cancel_token_free(root);
    }
}

END_TEST

/* --- waiting ------------------------------------------------------------------------------------ */

static int waits(void *t)
{
    return weft_cancel_token_cancelled(t);
}

static weft_future waits_future(void *t)
{
    return weft_cancel_token_cancelled_future(t);
}

static void *thread_waits(void *t)
{
    CHECK_EQ(0, weft_cancel_token_cancelled_blocking(t));
    return NULL;
}

static int wait_for_it(void *arg)
{
    weft_cancel_token *root = new_token(NULL), *child = new_token(root);
    struct giveup g = {waits, waits_future, child};
    weft_task *t[WAITERS];
    pthread_t thread;
    weft_future f;
    int result = 1;

    (void)arg;
    give_up(&g);
    CHECK_EQ(-EDEADLK, weft_cancel_token_cancelled_blocking(root));
    for (int i = 0; i < WAITERS; i++) {
        t[i] = weft_spawn(waits, i % 2 ? child : root);
        if (i % 3)
            until_idle(t[i]);
    }
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_waits, child));
    weft_cancel_token_cancel(root);
    for (int i = 0; i < WAITERS; i++) {
        CHECK_EQ(0, weft_join(t[i], &result));
        CHECK_EQ(0, result);
    }
    CHECK_EQ(0, pthread_join(thread, NULL));
    CHECK_EQ(0, waits(child));
    f = weft_cancel_token_cancelled_future(root);
    CHECK_EQ(0, weft_await(&f));
    weft_cancel_token_free(root);
    weft_cancel_token_free(child);
    return 0;
}

TEST(all_that_wait_for_it_or_below_it_go_on)
{
    test_run(wait_for_it, NULL);
}

END_TEST

static int free_while_waited_for(void *arg)
{
    weft_cancel_token *root = new_token(NULL), *t = new_token(root), *child = new_token(t);
    weft_future f = weft_pending_future(), run;
    weft_context cx = weft_context_of(NULL);
    weft_task *waiter[WAITERS];
    int result = 1;

    (void)arg;
    for (int i = 0; i < WAITERS; i++) {
        waiter[i] = weft_spawn(waits, t);
        until_idle(waiter[i]);
    }
    run = weft_cancel_token_run_future(t, &f);
    CHECK(weft_future_poll(&run, &cx) == WEFT_PENDING);
    weft_cancel_token_free(t);
    for (int i = 0; i < WAITERS; i++) {
        CHECK_EQ(0, weft_join(waiter[i], &result));
        CHECK_EQ(-ESHUTDOWN, result);
    }
    CHECK_EQ(-ESHUTDOWN, weft_await(&run));
    CHECK_EQ(-ECANCELED, f.result);
    CHECK(!cancelled(child));
    weft_cancel_token_cancel(root);
    CHECK(cancelled(child));
    weft_cancel_token_free(child);
    weft_cancel_token_free(root);
    return 0;
}

TEST(waits_for_a_token_that_is_freed_end)
{
    test_run(free_while_waited_for, NULL);
}

END_TEST

static int free_after_first_poll(void *arg)
{
    weft_cancel_token *t = new_token(NULL);
    weft_future f = weft_cancel_token_cancelled_future(t);
    weft_context cx = weft_context_of(NULL);

    (void)arg;
    spend_the_budget();
    CHECK(weft_future_poll(&f, &cx) == WEFT_PENDING);
    weft_cancel_token_free(t);
    CHECK_EQ(-ESHUTDOWN, weft_await(&f));
    t = new_token(NULL);
    weft_cancel_token_cancel(t);
    f = weft_cancel_token_cancelled_future(t);
    spend_the_budget();
    CHECK(weft_future_poll(&f, &cx) == WEFT_READY);
    CHECK_EQ(0, f.result);
    weft_cancel_token_free(t);
    return 0;
}

TEST(a_wait_is_known_to_the_token_from_its_first_poll_whatever_the_budget)
{
    test_run(free_after_first_poll, NULL);
}

END_TEST

/* The last handles go while somebody is about to be told: that is no mistake. */
static int free_after_cancel(void *arg)
{
    weft_cancel_token *t = new_token(NULL);
    weft_context cx = weft_context_of(NULL);
    weft_future f[WAITERS];

    (void)arg;
    for (int i = 0; i < WAITERS; i++) {
        f[i] = weft_cancel_token_cancelled_future(t);
        CHECK(weft_future_poll(&f[i], &cx) == WEFT_PENDING);
    }
    weft_cancel_token_cancel(t);
    weft_cancel_token_free(t);
    for (int i = 0; i < WAITERS; i++) {
        if (i % 2)
            weft_future_drop(&f[i]);
        else
            CHECK_EQ(0, weft_await(&f[i]));
    }
    return 0;
}

TEST(a_wait_keeps_a_cancelled_token)
{
    test_run(free_after_cancel, NULL);
}

END_TEST

/* --- run ------------------------------------------------------------------------------------------ */

struct counted {
    weft_cancel_token *cancels; /* in its poll; NULL: none */
    int polls, drops, ready_at;
};

static weft_poll counted_poll(weft_future *f, weft_context *cx)
{
    struct counted *c = (struct counted *)f->words[0];

    if (c->cancels)
        weft_cancel_token_cancel(c->cancels);
    f->result = 7;
    if (++c->polls >= c->ready_at)
        return WEFT_READY;
    if (!c->cancels) {
        weft_waker w = weft_context_waker(cx);

        weft_waker_wake(&w);
    }
    return WEFT_PENDING;
}

static void counted_drop(weft_future *f)
{
    ((struct counted *)f->words[0])->drops++;
}

static const weft_future_type counted_type = {counted_poll, counted_drop, "counted"};

static weft_future counted_future(struct counted *c)
{
    weft_future f = weft_future_of(&counted_type);

    f.words[0] = (uintptr_t)c;
    return f;
}

static ssize_t run(weft_cancel_token *t, struct counted *c)
{
    weft_future f = counted_future(c);

    return weft_cancel_token_run(t, &f);
}

static int runs(void *arg)
{
    weft_cancel_token *t = new_token(NULL);
    struct counted c = {.ready_at = 3};

    (void)arg;
    CHECK_EQ(7, run(t, &c));
    CHECK_EQ(3, c.polls);
    CHECK_EQ(0, c.drops);

    /* It is cancelled while the future is polled, and becomes ready: the result wins. */
    c = (struct counted){.cancels = t, .ready_at = 1};
    CHECK_EQ(7, run(t, &c));
    CHECK(cancelled(t));
    /* Cancelled already: it is not even polled. */
    c = (struct counted){.ready_at = 1};
    CHECK_EQ(-ECANCELED, run(t, &c));
    CHECK_EQ(0, c.polls);
    weft_cancel_token_free(t);

    t = new_token(NULL);
    c = (struct counted){.cancels = t, .ready_at = 9};
    CHECK_EQ(-ECANCELED, run(t, &c));
    CHECK_EQ(1, c.polls);
    CHECK_EQ(1, c.drops);
    weft_cancel_token_free(t);
    return 0;
}

TEST(a_future_runs_until_the_token_is_cancelled)
{
    test_run(runs, NULL);
}

END_TEST

static int runs_for_ever(void *t)
{
    weft_future never = weft_pending_future();
    int rc = (int)weft_cancel_token_run(t, &never);

    CHECK_EQ(-ECANCELED, never.result);
    return rc;
}

static weft_future nothing;

static weft_future runs_future(void *t)
{
    nothing = weft_pending_future();
    return weft_cancel_token_run_future(t, &nothing);
}

struct runner {
    weft_cancel_token *t;
    weft_notify began;
};

static void *thread_runs(void *arg)
{
    weft_future ready = weft_ready_future(3), never = weft_pending_future();
    struct runner *r = arg;

    CHECK_EQ(3, weft_cancel_token_run_blocking(r->t, &ready));
    weft_notify_one(&r->began);
    CHECK_EQ(-ECANCELED, weft_cancel_token_run_blocking(r->t, &never));
    return NULL;
}

static int runs_to_an_end(void *arg)
{
    weft_cancel_token *root = new_token(NULL), *t = new_token(root);
    struct giveup g = {runs_for_ever, runs_future, t};
    weft_future ready = weft_ready_future(0);
    struct runner r = {.t = t};
    weft_task *task[2];
    pthread_t thread;
    int result = 1;

    (void)arg;
    give_up(&g);
    CHECK_EQ(-ECANCELED, nothing.result); /* dropped with the one around it */
    CHECK_EQ(-EDEADLK, weft_cancel_token_run_blocking(t, &ready));
    CHECK(!weft_future_is_ready(&ready)); /* untouched */
    for (int i = 0; i < 2; i++) {
        task[i] = weft_spawn(runs_for_ever, i ? t : root);
        until_idle(task[i]);
    }
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_runs, &r));
    CHECK_EQ(0, weft_notify_wait(&r.began));
    weft_cancel_token_cancel(root);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(0, weft_join(task[i], &result));
        CHECK_EQ(-ECANCELED, result);
    }
    CHECK_EQ(0, pthread_join(thread, NULL));
    weft_cancel_token_free(root);
    weft_cancel_token_free(t);
    return 0;
}

TEST(a_run_can_be_given_up_and_ended_from_above)
{
    test_run(runs_to_an_end, NULL);
}

END_TEST

/* --- scopes --------------------------------------------------------------------------------------- */

static int leaves_by(weft_cancel_token *t, int how)
{
    WEFT_CANCEL_SCOPE(guard, t)
    {
        if (how == 0)
            return 0;
        if (how == 1)
            break;
        if (how == 2)
            weft_cancel_scope_disarm(guard);
        weft_cancel_token_free(t); /* the scope has a handle of its own */
    }
    return how;
}

static void leave_by(int how, bool is_cancelled)
{
    weft_cancel_token *t = new_token(NULL), *child = new_token(t);

    (void)leaves_by(t, how);
    CHECK_EQ(is_cancelled, cancelled(child));
    if (how < 2)
        weft_cancel_token_free(t);
    weft_cancel_token_free(child);
}

static int scopes(void *arg)
{
    weft_cancel_scope scope;
    weft_cancel_token *t;

    (void)arg;
    leave_by(0, true);
    leave_by(1, true);
    leave_by(2, false);
    leave_by(3, true);

    /* The functions behind the block; leaving twice does nothing more. */
    t = new_token(NULL);
    CHECK(weft_cancel_scope_enter(&scope, t) == &scope);
    CHECK(!cancelled(t));
    weft_cancel_scope_leave(&scope);
    weft_cancel_scope_leave(&scope);
    CHECK(cancelled(t));
    weft_cancel_token_free(t);
    return 0;
}

static void deferred(void *arg)
{
    int *calls = arg;

    ++*calls;
}

struct panic {
    weft_cancel_token *t, *disarmed;
    int deferred;
};

static int panics(void *arg)
{
    struct panic *p = arg;

    WEFT_CANCEL_SCOPE(off, p->disarmed)
    {
        WEFT_CANCEL_SCOPE(on, p->t)
        {
            CHECK_EQ(0, weft_defer(deferred, &p->deferred));
            weft_cancel_scope_disarm(off);
            CHECK(on != NULL);
            weft_panic("on purpose");
        }
    }
    return 0;
}

static int scope_of_a_panic(void *arg)
{
    struct panic p = {new_token(NULL), new_token(NULL), 0};
    int result = 0;

    (void)arg;
    CHECK_EQ(0, weft_join(weft_spawn(panics, &p), &result));
    CHECK_EQ(-EOWNERDEAD, result);
    CHECK(cancelled(p.t));
    CHECK(!cancelled(p.disarmed));
    CHECK_EQ(1, p.deferred);
    weft_cancel_token_free(p.t);
    weft_cancel_token_free(p.disarmed);
    return scopes(NULL);
}

TEST(a_scope_cancels_however_it_is_left)
{
    CHECK_EQ(0, scopes(NULL)); /* on a plain thread, too */
    test_run(scope_of_a_panic, NULL);
}

END_TEST

/* --- large trees -------------------------------------------------------------------------------------- */

/* 100,000 in a plain build: with a recursion the stack would overflow, and with a cost that grows by the square
 * the time would run out. */
static size_t many(void)
{
    return (size_t)test_scaled(100000);
}

static weft_cancel_token **grow(size_t n, bool deep)
{
    weft_cancel_token **t = calloc(n, sizeof(*t));

    CHECK(t);
    for (size_t i = 0; i < n; i++)
        t[i] = new_token(i == 0 ? NULL : t[deep ? i - 1 : 0]);
    return t;
}

static int deep_and_wide(void *arg)
{
    (void)arg;
    for (int deep = 0; deep < 2; deep++) {
        size_t n = many();
        weft_cancel_token **t = grow(n, deep != 0);

        weft_cancel_token_cancel(t[0]);
        for (size_t i = 0; i < n; i++) {
            CHECK(cancelled(t[i]));
            weft_cancel_token_free(t[i]);
        }
        free(t);
    }
    return 0;
}

TEST(a_tree_may_be_very_deep_and_very_wide)
{
    CHECK_EQ(0, deep_and_wide(NULL));
    test_run_on(&test_flavours[1], deep_and_wide, NULL); /* on a small stack */
}

END_TEST

/* A chain above many children, freed from below: no child is touched for each of them. */
TEST(freeing_inner_tokens_takes_no_longer_for_many_children)
{
    size_t n = many();
    weft_cancel_token **chain = grow(n, true), **leaf = calloc(n, sizeof(*leaf));

    CHECK(leaf);
    for (size_t i = 0; i < n; i++)
        leaf[i] = new_token(chain[n - 1]);
    for (size_t i = n; i-- > 1;)
        weft_cancel_token_free(chain[i]);
    weft_cancel_token_cancel(chain[0]);
    weft_cancel_token_free(chain[0]);
    for (size_t i = 0; i < n; i++) {
        CHECK(cancelled(leaf[i]));
        weft_cancel_token_free(leaf[i]);
    }
    free(chain);
    free(leaf);
}

END_TEST

/* Each one below the last, which is freed: the tree does not grow. Memory is what valgrind and tests/fault look at;
 * here it must come to an end, and the last one be below the first. */
TEST(a_chain_that_moves_on_stays_below_its_root)
{
    weft_cancel_token *root = new_token(NULL), *last = new_token(root);

    for (size_t i = many(); i; i--) {
        weft_cancel_token *next = new_token(last);

        weft_cancel_token_free(last);
        last = next;
    }
    CHECK(!cancelled(last));
    weft_cancel_token_cancel(root);
    CHECK(cancelled(last));
    weft_cancel_token_free(last);
    weft_cancel_token_free(root);
}

END_TEST

TEST_MAIN("cancel_token", a_cancel_reaches_all_below_and_nothing_else, handles_are_counted,
          what_is_below_a_freed_token_stays_below_what_is_above_it,
          all_that_wait_for_it_or_below_it_go_on, waits_for_a_token_that_is_freed_end,
          a_wait_is_known_to_the_token_from_its_first_poll_whatever_the_budget,
          a_wait_keeps_a_cancelled_token, a_future_runs_until_the_token_is_cancelled,
          a_run_can_be_given_up_and_ended_from_above, a_scope_cancels_however_it_is_left,
          a_tree_may_be_very_deep_and_very_wide,
          freeing_inner_tokens_takes_no_longer_for_many_children,
          a_chain_that_moves_on_stays_below_its_root)
