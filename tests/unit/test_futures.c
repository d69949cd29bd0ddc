/* SPDX-License-Identifier: MIT */
/*
 * test_futures.c - sets of futures from inside: whom they hold, what a poll costs of the budget, and that nodes come
 * back to the slab, whoever has the last part of one.
 */
#include "support.h"

#include "base/atomic.h"
#include "task/current.h"
#include "task/futures.h"
#include "task/slab.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* --- who waits ---------------------------------------------------------------------------------- */

struct waiter {
    weft_wakeable wakeable;
    struct wf_atomic_u32 refs, wakes;
};

static struct waiter *waiter_of(weft_wakeable *w)
{
    return wf_container_of(w, struct waiter, wakeable);
}

static void waiter_retain(weft_wakeable *w)
{
    (void)wf_add_u32(&waiter_of(w)->refs, 1, WF_RELAXED);
}

static void waiter_wake(weft_wakeable *w)
{
    (void)wf_add_u32(&waiter_of(w)->wakes, 1, WF_RELAXED);
}

static void waiter_release(weft_wakeable *w)
{
    CHECK(wf_sub_u32(&waiter_of(w)->refs, 1, WF_ACQ_REL) > 0);
}

static const weft_wakeable_type waiter_type = {waiter_retain, waiter_wake, waiter_release};

#define WAITER                 \
 {                             \
  .wakeable = { &waiter_type } \
 }

static weft_poll poll_by(weft_future *f, struct waiter *w)
{
    weft_context cx = {{&w->wakeable}};

    return weft_future_poll(f, &cx);
}

/* --- what is in the set ------------------------------------------------------------------------- */

/* Pending until told; leaves a waker in the cell each time. */
struct cell {
    weft_waker waker;
    bool told;
    unsigned polls;
};

static weft_poll cell_poll(weft_future *f, weft_context *cx)
{
    struct cell *c = (struct cell *)f->words[0];

    c->polls++;
    f->result = 1;
    weft_waker_drop(&c->waker);
    if (c->told)
        return WEFT_READY;
    c->waker = weft_context_waker(cx);
    return WEFT_PENDING;
}

static const weft_future_type cell_type = {.poll = cell_poll, .name = "cell"};

static weft_future cell_future(struct cell *c)
{
    weft_future f = weft_future_of(&cell_type);

    f.words[0] = (uintptr_t)c;
    return f;
}

static weft_futures *set_new(void)
{
    weft_futures *set = weft_futures_new();

    CHECK(set != NULL);
    return set;
}

TEST(a_set_holds_whoever_waits_and_nobody_else)
{
    weft_futures *set = set_new();
    struct cell c = {.told = false};
    struct waiter a = WAITER, b = WAITER;
    weft_future next = weft_futures_next_future(set, NULL, NULL);

    CHECK_EQ(0, weft_futures_push(set, cell_future(&c), 0));
    CHECK_EQ(WEFT_PENDING, poll_by(&next, &a));
    CHECK_EQ(1, a.refs.raw);
    CHECK_EQ(WEFT_PENDING, poll_by(&next, &a));
    CHECK_EQ(1, a.refs.raw);
    CHECK_EQ(WEFT_PENDING, poll_by(&next, &b)); /* another one waits now */
    CHECK_EQ(0, a.refs.raw);
    CHECK_EQ(1, b.refs.raw);
    CHECK_EQ(1, c.polls); /* nobody woke it */
    weft_waker_wake_by_ref(&c.waker);
    weft_waker_wake_by_ref(&c.waker);
    CHECK_EQ(0, b.refs.raw);
    CHECK_EQ(1, b.wakes.raw);
    CHECK_EQ(0, a.wakes.raw);
    CHECK_EQ(WEFT_PENDING, poll_by(&next, &b));
    CHECK_EQ(2, c.polls);
    CHECK_EQ(1, b.refs.raw);
    weft_future_drop(&next);
    CHECK_EQ(0, b.refs.raw);
    CHECK_EQ(1, b.wakes.raw);

    next = weft_futures_next_future(set, NULL, NULL);
    CHECK_EQ(WEFT_PENDING, poll_by(&next, &a));
    CHECK_EQ(0, weft_futures_push(set, weft_ready_future(0), 1));
    CHECK_EQ(1, a.wakes.raw);
    CHECK_EQ(WEFT_READY, poll_by(&next, &a));
    CHECK_EQ(0, a.refs.raw);

    next = weft_futures_next_future(set, NULL, NULL);
    CHECK_EQ(WEFT_PENDING, poll_by(&next, &a));
    CHECK_EQ(0, weft_futures_clear(set));
    CHECK_EQ(2, a.wakes.raw);
    CHECK_EQ(0, a.refs.raw);
    CHECK_EQ(WEFT_READY, poll_by(&next, &a));
    CHECK_EQ(0, next.result);

    CHECK_EQ(0, weft_futures_push(set, weft_pending_future(), 0));
    next = weft_futures_next_future(set, NULL, NULL);
    CHECK_EQ(WEFT_PENDING, poll_by(&next, &a));
    weft_futures_free(set);
    CHECK_EQ(3, a.wakes.raw);
    CHECK_EQ(0, a.refs.raw);
    CHECK_EQ(WEFT_READY, poll_by(&next, &a));
    CHECK_EQ(-ESHUTDOWN, next.result);
    weft_waker_drop(&c.waker);
}

/* A user of a set that is the only one, in a poll of its own. */
TEST(a_private_wait_ends_with_its_set_unwoken)
{
    weft_futures *set = set_new();
    struct waiter w = WAITER;
    weft_context cx = {{&w.wakeable}};

    CHECK_EQ(0, weft_futures_push(set, weft_pending_future(), 0));
    CHECK_EQ(-EAGAIN, wf_futures_poll(set, &cx, NULL, NULL));
    CHECK_EQ(1, w.refs.raw);
    weft_futures_free(set);
    CHECK_EQ(0, w.refs.raw);
    CHECK_EQ(0, w.wakes.raw);
}

/* --- the budget --------------------------------------------------------------------------------- */

static unsigned spins;

static weft_poll spin_poll(weft_future *f, weft_context *cx)
{
    (void)f;
    spins++;
    weft_waker_wake_by_ref(&cx->waker_);
    return WEFT_PENDING;
}

static const weft_future_type spin_type = {.poll = spin_poll, .name = "spin"};

TEST(a_poll_on_a_plain_thread_ends_after_as_many_as_a_budget_has)
{
    weft_futures *set = set_new();
    struct waiter w = WAITER;
    weft_future next = weft_futures_next_future(set, NULL, NULL);

    for (int i = 0; i < 300; i++)
        CHECK_EQ(0, weft_futures_push(set, weft_future_of(&spin_type), 0));
    CHECK_EQ(WEFT_PENDING, poll_by(&next, &w));
    CHECK_EQ(WF_COOP_BUDGET, spins);
    CHECK_EQ(1, w.wakes.raw); /* at once: there is more to do */
    CHECK_EQ(WEFT_PENDING, poll_by(&next, &w));
    CHECK_EQ(2 * WF_COOP_BUDGET, spins);
    CHECK_EQ(2, w.wakes.raw);
    weft_future_drop(&next);
    weft_futures_free(set);
}

static int spend(void *arg)
{
    weft_futures *set = set_new();

    (void)arg;
    CHECK_EQ(0, weft_futures_push(set, weft_ready_future(0), 0));       /* spends nothing itself */
    CHECK_EQ(0, weft_futures_push(set, weft_sleep_until_future(1), 0)); /* one */
    CHECK_EQ(0, weft_yield());
    CHECK_EQ(WF_COOP_BUDGET, wf_thread_self()->budget);
    CHECK_EQ(1, weft_futures_next(set, NULL, NULL));
    CHECK_EQ(WF_COOP_BUDGET - 1, wf_thread_self()->budget);
    CHECK_EQ(1, weft_futures_next(set, NULL, NULL));
    CHECK_EQ(WF_COOP_BUDGET - 2, wf_thread_self()->budget);
    CHECK_EQ(0, weft_futures_push(set, weft_ready_future(0), 0));
    wf_thread_self()->budget = 0;
    CHECK_EQ(-EAGAIN, weft_futures_try_next(set, NULL, NULL));
    CHECK_EQ(1, weft_futures_next(set, NULL, NULL)); /* after others had their turn */
    CHECK(wf_thread_self()->budget >= WF_COOP_BUDGET - 2);
    weft_futures_free(set);
    return 0;
}

TEST(each_poll_of_a_future_costs_one_unit_of_the_budget)
{
    test_run_on(&test_flavours[0], spend, NULL);
}

/* --- nodes -------------------------------------------------------------------------------------- */

static bool count_slot(void *slot, void *arg)
{
    (void)slot;
    ++*(size_t *)arg;
    return true;
}

/* Slots of the slab that were ever handed out, in chunks that are in use. */
static size_t slots(void)
{
    struct wf_slab_cursor at = {0};
    size_t n = 0;

    (void)wf_slab_walk(&at, count_slot, &n);
    return n;
}

/* Ends, drops and wakes in all orders of the last three parts of a node. */
static void live_and_die(unsigned way, struct cell *c)
{
    weft_futures *set = set_new();
    weft_waker w;

    *c = (struct cell){.told = false};
    CHECK_EQ(0, weft_futures_push(set, cell_future(c), 0));
    if (way % 7 == 6) { /* never polled */
        weft_futures_free(set);
        return;
    }
    CHECK_EQ(-EAGAIN, weft_futures_try_next(set, NULL, NULL));
    w = weft_waker_clone(&c->waker);
    if (way & 1)
        weft_waker_wake_by_ref(&w);
    if (way & 2) {
        c->told = true;
        weft_waker_wake_by_ref(&w);
        CHECK_EQ(1, weft_futures_try_next(set, NULL, NULL));
    }
    if (way & 4)
        weft_waker_drop(&w);
    if (way & 8) {
        CHECK_EQ(0, weft_futures_clear(set));
        weft_waker_wake_by_ref(&w);
    }
    if (way & 16) {
        weft_waker_drop(&c->waker);
        weft_waker_drop(&w);
    }
    weft_futures_free(set);
    weft_waker_wake(&w);
    weft_waker_wake_by_ref(&c->waker);
    weft_waker_drop(&c->waker);
}

TEST(nodes_come_back_however_their_wakers_end)
{
    struct cell c;
    size_t before;

    for (unsigned i = 0; i < 1000; i++)
        live_and_die(i, &c);
    before = slots();
    for (unsigned i = 0; i < 20000; i++)
        live_and_die(i, &c);
    CHECK_EQ(before, slots());
}

TEST(a_set_uses_again_what_has_ended)
{
    weft_futures *set = set_new();
    size_t before = 0;

    for (unsigned i = 0; i < 20000; i++) {
        CHECK_EQ(0, weft_futures_push(set, weft_ready_future(i), i));
        CHECK_EQ(0, weft_futures_push(set, weft_ready_future(i), i));
        CHECK_EQ(1, weft_futures_try_next(set, NULL, NULL));
        CHECK_EQ(1, weft_futures_try_next(set, NULL, NULL));
        if (i == 0)
            before = slots();
    }
    CHECK(slots() <=
          before + 400); /* a chunk of 64 KiB is used up before what came back is looked at */
    weft_futures_free(set);
}

static void *wakes_late(void *arg)
{
    weft_waker *w = arg;

    weft_waker_wake_by_ref(w);
    weft_waker_drop(w);
    return NULL;
}

TEST(a_waker_is_dropped_by_another_thread_after_the_set)
{
    for (int i = 0; i < 50; i++) {
        weft_futures *set = set_new();
        struct cell c = {.told = false};
        pthread_t thread;

        CHECK_EQ(0, weft_futures_push(set, cell_future(&c), 0));
        CHECK_EQ(-EAGAIN, weft_futures_try_next(set, NULL, NULL));
        CHECK_EQ(0, pthread_create(&thread, NULL, wakes_late, &c.waker));
        weft_futures_free(set); /* before, after, or meanwhile */
        CHECK_EQ(0, pthread_join(thread, NULL));
    }
}

/* A message in debug builds, and nothing is freed: what runs goes on. */
static weft_poll frees_its_set_poll(weft_future *f, weft_context *cx)
{
    (void)cx;
    weft_futures_free((weft_futures *)f->words[0]); /* NOLINT(performance-no-int-to-ptr) */
    f->result = 3;
    return WEFT_READY;
}

static const weft_future_type frees_its_set_type = {.poll = frees_its_set_poll, .name = "frees"};

TEST(a_set_is_not_freed_from_within_a_poll_of_its_own)
{
    weft_futures *set = set_new();
    weft_future f = weft_future_of(&frees_its_set_type);
    ssize_t result = 0;

    f.words[0] = (uintptr_t)set;
    CHECK_EQ(0, weft_futures_push(set, f, 0));
    CHECK_EQ(1, weft_futures_try_next(set, NULL, &result));
    CHECK_EQ(3, result);
    weft_futures_free(set);
}

TEST_MAIN("futures", a_set_holds_whoever_waits_and_nobody_else,
          a_private_wait_ends_with_its_set_unwoken,
          a_poll_on_a_plain_thread_ends_after_as_many_as_a_budget_has,
          each_poll_of_a_future_costs_one_unit_of_the_budget,
          nodes_come_back_however_their_wakers_end, a_set_uses_again_what_has_ended,
          a_waker_is_dropped_by_another_thread_after_the_set,
          a_set_is_not_freed_from_within_a_poll_of_its_own)
