/* SPDX-License-Identifier: MIT */
/*
 * test_notify.c - notifications: who goes on, in which order, and that none is lost.
 */
#include "giveup.h"
#include "support.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define WAITERS 5
#define CROWD   100 /* more than are woken at a time */

static int waits(void *n)
{
    return weft_notify_wait(n);
}

static weft_future waits_future(void *n)
{
    return weft_notify_wait_future(n);
}

/* Tasks that wait, in this order. */
static void line_up(weft_notify *n, weft_task **t, int count)
{
    for (int i = 0; i < count; i++) {
        t[i] = weft_spawn(waits, n);
        until_idle(t[i]);
    }
}

/* The next of them that ends; it is joined, and its entry NULL. */
static int next_to_end(weft_task **t, int count)
{
    weft_future ends[CROWD], *list[CROWD] = {NULL};
    int result = 1, i;

    for (i = 0; i < count; i++) {
        if (!t[i])
            continue;
        ends[i] = weft_join_future(t[i]);
        list[i] = &ends[i];
    }
    i = (int)weft_select_n(list, (size_t)count, 0);
    CHECK(i >= 0);
    CHECK_EQ(0, weft_join(t[i], &result));
    CHECK_EQ(0, result);
    t[i] = NULL;
    return i;
}

/* Polled once by hand, it is not ready; then it is dropped. */
static bool would_wait(weft_notify *n)
{
    weft_future f = weft_notify_wait_future(n);
    bool ready = weft_notify_enable(&f);

    weft_future_drop(&f);
    return !ready;
}

static int one_permit(void *arg)
{
    weft_notify n = WEFT_NOTIFY_INIT;

    (void)arg;
    CHECK(would_wait(&n));
    weft_notify_one(&n);
    weft_notify_one(&n);
    CHECK_EQ(0, weft_notify_wait(&n));
    CHECK(would_wait(&n));
    weft_notify_last(&n);
    CHECK_EQ(0, weft_notify_wait(&n));
    CHECK(would_wait(&n));
    return 0;
}

TEST(without_a_waiter_one_permit_is_stored)
{
    test_run(one_permit, NULL);
}

END_TEST

static int in_order(void *arg)
{
    weft_notify n = WEFT_NOTIFY_INIT;
    weft_task *t[WAITERS];

    (void)arg;
    line_up(&n, t, WAITERS);
    for (int i = 0; i < WAITERS; i++) {
        weft_notify_one(&n);
        CHECK_EQ(i, next_to_end(t, WAITERS));
    }
    line_up(&n, t, WAITERS);
    for (int i = WAITERS; i-- > 0;) {
        weft_notify_last(&n);
        CHECK_EQ(i, next_to_end(t, WAITERS));
    }
    CHECK(would_wait(&n));
    return 0;
}

TEST(one_takes_the_oldest_and_last_the_newest)
{
    test_run(in_order, NULL);
}

END_TEST

static int all_before(void *arg)
{
    weft_notify n = WEFT_NOTIFY_INIT;
    weft_future before = weft_notify_wait_future(&n), enabled = weft_notify_wait_future(&n), after;
    weft_task *t[CROWD];

    (void)arg;
    CHECK(!weft_notify_enable(&enabled));
    line_up(&n, t, CROWD);
    weft_notify_waiters(&n);
    after = weft_notify_wait_future(&n);
    for (int i = 0; i < CROWD; i++)
        (void)next_to_end(t, CROWD);
    CHECK(!weft_notify_enable(&after));
    CHECK(weft_notify_enable(&before));
    CHECK_EQ(0, weft_await(&before));
    CHECK_EQ(0, weft_await(&enabled));
    CHECK(would_wait(&n)); /* nothing was stored */
    weft_notify_one(&n);
    CHECK_EQ(0, weft_await(&after));
    return 0;
}

TEST(notify_waiters_lets_go_all_that_began_before)
{
    test_run(all_before, NULL);
}

END_TEST

static int permit_stays(void *arg)
{
    weft_notify n = WEFT_NOTIFY_INIT;
    weft_future before = weft_notify_wait_future(&n);

    (void)arg;
    weft_notify_one(&n);
    weft_notify_waiters(&n);
    CHECK_EQ(0, weft_await(&before)); /* by the second: the permit is not needed for it */
    CHECK_EQ(0, weft_notify_wait(&n));
    CHECK(would_wait(&n));
    return 0;
}

TEST(notify_waiters_leaves_the_permit)
{
    test_run(permit_stays, NULL);
}

END_TEST

static int passed_on(void *arg)
{
    weft_notify n = WEFT_NOTIFY_INIT;
    weft_future f[4];

    (void)arg;
    for (int i = 0; i < 4; i++) {
        f[i] = weft_notify_wait_future(&n);
        CHECK(!weft_notify_enable(&f[i]));
    }
    weft_notify_one(&n);
    weft_future_drop(&f[0]);
    CHECK(weft_notify_enable(&f[1])); /* ready: it has been passed on to the next */
    weft_notify_last(&n);
    weft_future_drop(&f[3]);
    CHECK_EQ(0, weft_await(&f[2])); /* to the newest */
    CHECK(would_wait(&n));

    f[0] = weft_notify_wait_future(&n);
    CHECK(!weft_notify_enable(&f[0]));
    weft_notify_one(&n);
    weft_future_drop(&f[0]);
    CHECK_EQ(0, weft_notify_wait(&n)); /* nobody else waited: it was stored */

    /* What was woken with all others holds nothing. */
    f[0] = weft_notify_wait_future(&n);
    CHECK(!weft_notify_enable(&f[0]));
    weft_notify_waiters(&n);
    weft_future_drop(&f[0]);
    CHECK(would_wait(&n));
    return 0;
}

TEST(a_notification_that_is_not_wanted_is_passed_on)
{
    test_run(passed_on, NULL);
}

END_TEST

static int enabled_early(void *arg)
{
    weft_notify n = WEFT_NOTIFY_INIT;
    weft_future f = weft_notify_wait_future(&n), second;

    (void)arg;
    weft_notify_one(&n);
    CHECK(weft_notify_enable(&f));
    CHECK(weft_notify_enable(&f));
    CHECK(weft_future_is_ready(&f));
    CHECK(would_wait(&n)); /* it has taken the permit */
    CHECK_EQ(0, weft_await(&f));

    /* In line before somebody who came later, though awaited last. */
    f = weft_notify_wait_future(&n);
    CHECK(!weft_notify_enable(&f));
    second = weft_notify_wait_future(&n);
    CHECK(!weft_notify_enable(&second));
    weft_notify_one(&n);
    CHECK(!weft_notify_enable(&second));
    CHECK_EQ(0, weft_await(&f));
    weft_future_drop(&second);
    return 0;
}

TEST(an_enabled_future_is_in_line)
{
    test_run(enabled_early, NULL);
}

END_TEST

static int gives_up(void *arg)
{
    weft_notify n = WEFT_NOTIFY_INIT;
    struct giveup g = {waits, waits_future, &n};
    weft_task *t;
    int result = 1;

    (void)arg;
    give_up(&g);
    weft_notify_one(&n); /* nobody is left in line that could have taken it */
    CHECK_EQ(0, weft_notify_wait(&n));

    /* What has come wins over the cancel. */
    t = weft_spawn(waits, &n);
    until_idle(t);
    weft_notify_one(&n);
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(0, result);
    CHECK(would_wait(&n));
    return 0;
}

TEST(who_gives_up_loses_its_place_only)
{
    test_run(gives_up, NULL);
}

END_TEST

static int notifies_all(void *n)
{
    weft_notify_waiters(n);
    return 0;
}

/* With one worker the notifier runs when the wait lets others run, because the budget is spent. */
static int waits_without_budget(void *arg)
{
    weft_notify n = WEFT_NOTIFY_INIT;
    weft_task *t;

    (void)arg;
    while (!weft_should_yield())
        CHECK_EQ(0, weft_consume_budget());
    t = weft_spawn(notifies_all, &n);
    CHECK_EQ(0, weft_notify_wait(&n));
    return weft_join(t, NULL);
}

TEST(the_wait_begins_with_the_call)
{
    test_run(waits_without_budget, NULL);
}

END_TEST

struct looper {
    weft_notify n;
    atomic_bool over;
    atomic_uint turns;
};

static int counts_turns(void *arg)
{
    struct looper *l = arg;

    while (!atomic_load(&l->over)) {
        atomic_fetch_add(&l->turns, 1);
        CHECK_EQ(0, weft_yield());
    }
    return 0;
}

static int never_starves(void *arg)
{
    struct looper l = {.n = WEFT_NOTIFY_INIT};
    weft_task *t = weft_spawn(counts_turns, &l);
    unsigned turns;

    (void)arg;
    while (atomic_load(&l.turns) == 0)
        CHECK_EQ(0, weft_yield());
    turns = atomic_load(&l.turns);
    for (int i = 0; i < 1000; i++) {
        weft_future f = weft_notify_wait_future(&l.n);

        weft_notify_one(&l.n);
        CHECK_EQ(0, i % 2 ? weft_notify_wait(&l.n) : (int)weft_await(&f));
    }
    CHECK(atomic_load(&l.turns) - turns >= 1000 / 128);
    atomic_store(&l.over, true);
    return weft_join(t, NULL);
}

TEST(a_loop_over_permits_lets_others_run)
{
    test_run_alone(never_starves, NULL);
}

END_TEST

/* --- plain threads ---------------------------------------------------------------------------- */

struct ends {
    weft_notify to_thread, to_task;
    unsigned rounds, value;
};

static void *answers(void *arg)
{
    struct ends *e = arg;

    for (unsigned i = 0; i < e->rounds; i++) {
        CHECK_EQ(0, weft_notify_wait_blocking(&e->to_thread));
        CHECK_EQ(2 * i + 1, e->value);
        e->value++;
        weft_notify_one(&e->to_task);
    }
    return NULL;
}

static int asks(void *arg)
{
    struct ends e = {.rounds = (unsigned)test_scaled(500)};
    pthread_t thread;

    (void)arg;
    CHECK_EQ(-EDEADLK, weft_notify_wait_blocking(&e.to_thread));
    CHECK_EQ(0, pthread_create(&thread, NULL, answers, &e));
    for (unsigned i = 0; i < e.rounds; i++) {
        e.value++;
        weft_notify_one(&e.to_thread);
        CHECK_EQ(0, weft_notify_wait(&e.to_task));
        CHECK_EQ(2 * i + 2, e.value);
    }
    CHECK_EQ(0, pthread_join(thread, NULL));
    return 0;
}

TEST(tasks_and_threads_notify_each_other)
{
    test_run(asks, NULL);
}

END_TEST

/* Who was notified frees the notify at once, while the notifier returns from its call. */
struct hand_over {
    _Atomic(weft_notify *) n;
    atomic_bool over;
};

static void *notifies_what_it_gets(void *arg)
{
    struct hand_over *h = arg;

    while (!atomic_load(&h->over)) {
        weft_notify *n = atomic_exchange(&h->n, NULL);

        if (n)
            weft_notify_one(n);
        else
            (void)sched_yield();
    }
    return NULL;
}

static int frees_at_once(void *arg)
{
    struct hand_over h = {.n = NULL};
    pthread_t thread;

    (void)arg;
    CHECK_EQ(0, pthread_create(&thread, NULL, notifies_what_it_gets, &h));
    for (uint64_t i = test_scaled(1000); i; i--) {
        weft_notify *n = calloc(1, sizeof(*n));

        CHECK(n);
        atomic_store(&h.n, n);
        CHECK_EQ(0, weft_notify_wait(n));
        memset(n, 0xdd, sizeof(*n));
        free(n);
    }
    atomic_store(&h.over, true);
    CHECK_EQ(0, pthread_join(thread, NULL));
    return 0;
}

TEST(who_was_notified_may_free_it_at_once)
{
    test_run(frees_at_once, NULL);
}

END_TEST

TEST_MAIN("notify", without_a_waiter_one_permit_is_stored, one_takes_the_oldest_and_last_the_newest,
          notify_waiters_lets_go_all_that_began_before, notify_waiters_leaves_the_permit,
          a_notification_that_is_not_wanted_is_passed_on, an_enabled_future_is_in_line,
          who_gives_up_loses_its_place_only, the_wait_begins_with_the_call,
          a_loop_over_permits_lets_others_run, tasks_and_threads_notify_each_other,
          who_was_notified_may_free_it_at_once)
