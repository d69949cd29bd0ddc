/* SPDX-License-Identifier: MIT */
/*
 * test_future.c - futures and wakers: the ready and the pending one, a user's own kind whose waker
 * is used from plain threads, and what happens to those that are dropped or kept.
 *
 * The user's own kind is a bell.
 */
#include "bell.h"

#include <limits.h>
#include <stdlib.h>

static int await_bell(void *arg)
{
    weft_future f = bell_future(arg);

    return (int)weft_await(&f);
}

/* --- await ------------------------------------------------------------------ */

static int await_ready(void *arg)
{
    static const ssize_t results[] = {0, 1, -1, -ECANCELED, -ETIMEDOUT, SSIZE_MAX, -SSIZE_MAX};

    (void)arg;
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        weft_future f = weft_ready_future(results[i]);

        CHECK(!weft_future_is_ready(&f));
        CHECK_EQ(results[i], weft_await(&f));
        CHECK(weft_future_is_ready(&f));
        CHECK_EQ(results[i], f.result);
        CHECK_EQ(results[i], weft_await(&f)); /* finished: the same answer again */
        weft_future_drop(&f);
        CHECK_EQ(results[i], f.result);
    }
    return 0;
}

TEST(a_ready_future_gives_its_result_each_time)
{
    test_run(await_ready, NULL);
}

static int await_refused(void *arg)
{
    weft_future none = {0};

    (void)arg;
    CHECK_EQ(-EINVAL, weft_await(NULL));
    CHECK_EQ(-EINVAL, weft_await(&none));
    CHECK_EQ(-EINVAL, weft_timeout(WEFT_SECS(1), NULL));
    CHECK_EQ(-EINVAL, weft_timeout(WEFT_SECS(1), &none));
    weft_future_drop(NULL);
    weft_future_drop(&none);
    return 0;
}

TEST(await_refuses_what_is_no_future_and_outside_a_fiber_leaves_it_untouched)
{
    weft_future f = weft_ready_future(3), *list[] = {&f};

    CHECK(sizeof(weft_future) <= 96);
    CHECK_EQ(-EPERM, weft_await(&f));
    CHECK_EQ(-EPERM, weft_timeout(0, &f));
    CHECK_EQ(-EPERM, weft_select(&f));
    CHECK_EQ(-EPERM, weft_join_all(&f));
    CHECK_EQ(-EPERM, weft_try_join_all_n(list, 1));
    CHECK(!weft_future_is_ready(&f));
    CHECK_EQ(-EINVAL, weft_await(NULL));
    test_run(await_refused, NULL);
}

static int await_cancelled(void *arg)
{
    struct bell b = BELL_INIT;
    weft_task *t = weft_spawn(await_bell, &b);
    int result;

    (void)arg;
    until_waiting(t);
    CHECK_EQ(0, atomic_load(&b.drops));
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
    CHECK_EQ(1, atomic_load(&b.drops));
    CHECK(!b.waits);
    return 0;
}

TEST(a_cancelled_await_drops_its_future)
{
    test_run(await_cancelled, NULL);
}

/* --- wakers ----------------------------------------------------------------- */

static void *ring_from_thread(void *arg)
{
    bell_ring(arg, 77);
    return NULL;
}

static int woken_by_thread(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        struct bell b = BELL_INIT;
        weft_task *t = weft_spawn(await_bell, &b);
        pthread_t thread;
        int result;

        if (i % 2)
            until_waiting(t); /* else it may be rung before it is looked at */
        CHECK_EQ(0, pthread_create(&thread, NULL, ring_from_thread, &b));
        CHECK_EQ(0, weft_join(t, &result));
        CHECK_EQ(77, result);
        CHECK_EQ(0, pthread_join(thread, NULL));
        CHECK_EQ(0, atomic_load(&b.drops));
    }
    return 0;
}

TEST(a_plain_thread_wakes_a_task)
{
    test_run(woken_by_thread, NULL);
}

/* Nobody else can poll meanwhile: run with one worker. */
static int wake_often(void *arg)
{
    struct bell b = BELL_INIT;
    weft_task *t = weft_spawn(await_bell, &b);
    weft_waker waker;

    (void)arg;
    until_waiting(t);
    CHECK_EQ(1, atomic_load(&b.polls));
    waker = bell_waker(&b);
    for (int i = 0; i < 1000; i++)
        weft_waker_wake_by_ref(&waker);
    weft_waker_wake(&waker);
    until_waiting(t);
    CHECK_EQ(2, atomic_load(&b.polls)); /* and a poll without news goes on waiting */
    bell_ring(&b, 0);
    CHECK_EQ(0, weft_join(t, NULL));
    CHECK_EQ(3, atomic_load(&b.polls));
    return 0;
}

TEST(many_wakes_before_a_poll_make_one_poll)
{
    test_run_alone(wake_often, NULL);
}

static int wakers_compare(void *arg)
{
    struct bell a = BELL_INIT, b = BELL_INIT;
    weft_task *t = weft_spawn(await_bell, &a), *u = weft_spawn(await_bell, &b);
    weft_waker first, second, other;

    (void)arg;
    until_waiting(t);
    until_waiting(u);
    first = bell_waker(&a);
    second = weft_waker_clone(&first);
    other = bell_waker(&b);
    CHECK(weft_waker_same(&first, &second));
    CHECK(!weft_waker_same(&first, &other));
    weft_waker_drop(&first);
    weft_waker_drop(&other);
    bell_ring(&a, 0);
    bell_ring(&b, 0);
    CHECK_EQ(0, weft_join(t, NULL));
    CHECK_EQ(0, weft_join(u, NULL));
    weft_waker_wake_by_ref(&second); /* the task has ended: nothing happens */
    weft_waker_wake(&second);
    return 0;
}

TEST(a_waker_can_be_cloned_and_outlives_its_task)
{
    test_run(wakers_compare, NULL);
}

struct late {
    struct bell bell;
    weft_waker waker;
    weft_task *handle;
};

static int leave_waker(void *arg)
{
    struct late *l = arg;
    weft_task *t = weft_spawn(await_bell, &l->bell);

    until_waiting(t);
    l->waker = bell_waker(&l->bell);
    l->handle = t;
    return 0;
}

static void *use_late(void *arg)
{
    struct late *l = arg;

    for (int i = 0; i < 10; i++) {
        weft_waker more = weft_waker_clone(&l->waker);

        weft_waker_wake_by_ref(&more);
        weft_waker_wake(&more);
    }
    weft_waker_drop(&l->waker);
    return NULL;
}

TEST(a_waker_outlives_its_runtime)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct late l = {.bell = BELL_INIT};
        pthread_t thread;
        weft_task_info info;
        int result = 0;

        test_run_on(&test_flavours[i], leave_waker, &l);
        CHECK(weft_is_finished(l.handle)); /* the shutdown has cancelled it */
        CHECK_EQ(0, weft_task_get_info(l.handle, &info));
        CHECK_EQ(0, info.stack_size);
        CHECK_EQ(0, pthread_create(&thread, NULL, use_late, &l));
        CHECK_EQ(0, pthread_join(thread, NULL));
        CHECK_EQ(0, weft_join_blocking(l.handle, &result)); /* so does a handle */
        CHECK_EQ(-ECANCELED, result);
    }
}

/* An object of the user's own that is woken: it counts. */
struct counter {
    weft_wakeable wakeable;
    atomic_int refs, wakes;
};

static void counter_retain(weft_wakeable *w)
{
    atomic_fetch_add(&((struct counter *)w)->refs, 1);
}

static void counter_wake(weft_wakeable *w)
{
    atomic_fetch_add(&((struct counter *)w)->wakes, 1);
}

static void counter_release(weft_wakeable *w)
{
    atomic_fetch_sub(&((struct counter *)w)->refs, 1);
}

static const weft_wakeable_type counter_type = {counter_retain, counter_wake, counter_release};

TEST(an_object_of_ones_own_can_be_woken_and_polls_by_hand)
{
    struct counter c = {.wakeable = {&counter_type}};
    weft_context cx = {{&c.wakeable}};
    struct bell b = BELL_INIT;
    weft_future f = bell_future(&b), never = weft_pending_future(), ready = weft_ready_future(-3);

    CHECK_EQ(WEFT_READY, weft_future_poll(&ready, &cx));
    CHECK_EQ(WEFT_READY, weft_future_poll(&ready, &cx));
    CHECK_EQ(-3, ready.result);
    CHECK_EQ(WEFT_PENDING, weft_future_poll(&never, &cx));
    CHECK(!weft_future_is_ready(&never));
    weft_future_drop(&never);

    CHECK_EQ(WEFT_PENDING, weft_future_poll(&f, &cx));
    CHECK_EQ(WEFT_PENDING, weft_future_poll(&f, &cx));
    CHECK_EQ(1, atomic_load(&c.refs));
    bell_ring(&b, 5);
    CHECK_EQ(1, atomic_load(&c.wakes));
    CHECK_EQ(0, atomic_load(&c.refs));
    CHECK_EQ(WEFT_READY, weft_future_poll(&f, &cx));
    CHECK_EQ(5, f.result);
    CHECK_EQ(WEFT_READY, weft_future_poll(&f, &cx));
    CHECK_EQ(3, atomic_load(&b.polls)); /* a finished one is not asked again */
    CHECK_EQ(0, atomic_load(&c.refs));
}

/* --- drop ------------------------------------------------------------------- */

struct dropped {
    weft_future future;
    struct bell bell;
    atomic_int gone;
};

static void *drop_elsewhere(void *arg)
{
    struct dropped *d = arg;

    weft_future_drop(&d->future);
    weft_future_drop(&d->future);
    atomic_store(&d->gone, 1);
    return NULL;
}

TEST(drop_works_once_from_any_thread_and_is_harmless_otherwise)
{
    struct counter c = {.wakeable = {&counter_type}};
    weft_context cx = {{&c.wakeable}};
    struct dropped d = {.bell = BELL_INIT};
    weft_future fresh = bell_future(&d.bell);
    pthread_t thread;

    weft_future_drop(&fresh); /* never polled: its type is not bothered */
    weft_future_drop(&fresh);
    CHECK_EQ(0, atomic_load(&d.bell.drops));

    d.future = bell_future(&d.bell);
    CHECK_EQ(WEFT_PENDING, weft_future_poll(&d.future, &cx));
    CHECK_EQ(0, pthread_create(&thread, NULL, drop_elsewhere, &d));
    CHECK_EQ(0, pthread_join(thread, NULL));
    CHECK_EQ(1, atomic_load(&d.bell.drops));
    CHECK_EQ(0, atomic_load(&c.refs));
    bell_ring(&d.bell, 1); /* wakes nobody */
    CHECK_EQ(0, atomic_load(&c.wakes));
}

static int arm_sleep(void *arg)
{
    weft_future *f = arg, ready = weft_ready_future(0), *const list[] = {f, &ready};

    *f = weft_sleep_future(WEFT_SECS(100));
    CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP));
    weft_future_drop(f);
    *f = weft_sleep_future(WEFT_MS(1));
    CHECK_EQ(0, weft_await(f));
    return 0;
}

TEST(a_dropped_timer_can_be_built_again_in_place)
{
    weft_future f;

    test_run(arm_sleep, &f);
}

/* --- kept futures at the end of a task --------------------------------------- */

struct kept {
    struct bell bell[3];
    weft_future future[3];
    weft_future nap;
};

static int keep_and_end(void *arg)
{
    struct kept *k = arg;
    weft_future ready = weft_ready_future(0);
    weft_future *const list[] = {&k->future[0], &k->future[1], &k->future[2], &k->nap, &ready};

    for (int i = 0; i < 3; i++)
        k->future[i] = bell_future(&k->bell[i]);
    k->nap = weft_sleep_future(WEFT_SECS(1000));
    CHECK_EQ(4, weft_select_n(list, 5, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP));
    bell_ring(&k->bell[1], 9);
    CHECK_EQ(9, weft_await(&k->future[1])); /* finished: no longer kept */
    return 0;
}

static int kept_dropped(void *arg)
{
    struct kept *k = calloc(1, sizeof(*k));
    weft_metrics m;

    (void)arg;
    CHECK(k);
    for (int i = 0; i < 3; i++)
        k->bell[i] = (struct bell)BELL_INIT;
    CHECK_EQ(0, weft_join(weft_spawn(keep_and_end, k), NULL));
    CHECK_EQ(1, atomic_load(&k->bell[0].drops));
    CHECK_EQ(0, atomic_load(&k->bell[1].drops));
    CHECK_EQ(1, atomic_load(&k->bell[2].drops));
    free(k);
    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    CHECK_EQ(0, m.timers_armed);
    return 0;
}

TEST(futures_left_pending_are_dropped_at_the_end_of_their_task)
{
    test_run(kept_dropped, NULL);
}

/* --- nesting by hand --------------------------------------------------------- */

/* Ready when the inner one is, with twice its result. */
static weft_poll twice_poll(weft_future *f, weft_context *cx)
{
    weft_future *inner = (weft_future *)f->words[0];

    if (weft_future_poll(inner, cx) == WEFT_PENDING)
        return WEFT_PENDING;
    f->result = 2 * inner->result;
    return WEFT_READY;
}

static void twice_drop(weft_future *f)
{
    weft_future_drop((weft_future *)f->words[0]);
}

static const weft_future_type twice_type = {twice_poll, twice_drop, "twice"};

static weft_future twice_future(weft_future *inner)
{
    weft_future f = weft_future_of(&twice_type);

    f.words[0] = (uintptr_t)inner;
    return f;
}

static int await_twice(void *arg)
{
    weft_future inner = bell_future(arg), middle = twice_future(&inner),
                outer = twice_future(&middle);

    return (int)weft_await(&outer);
}

static int nested(void *arg)
{
    struct bell b = BELL_INIT, c = BELL_INIT;
    weft_task *t = weft_spawn(await_twice, &b), *u = weft_spawn(await_twice, &c);
    int result;

    (void)arg;
    until_waiting(t);
    until_waiting(u);
    bell_ring(&b, 5);
    weft_cancel(u);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(20, result);
    CHECK_EQ(0, weft_join(u, &result));
    CHECK_EQ(-ECANCELED, result);
    CHECK_EQ(1, atomic_load(&c.drops));
    return 0;
}

TEST(a_future_polls_and_drops_those_inside_it)
{
    test_run(nested, NULL);
}

TEST_MAIN("future", a_ready_future_gives_its_result_each_time,
          await_refuses_what_is_no_future_and_outside_a_fiber_leaves_it_untouched,
          a_cancelled_await_drops_its_future, a_plain_thread_wakes_a_task,
          many_wakes_before_a_poll_make_one_poll, a_waker_can_be_cloned_and_outlives_its_task,
          a_waker_outlives_its_runtime, an_object_of_ones_own_can_be_woken_and_polls_by_hand,
          drop_works_once_from_any_thread_and_is_harmless_otherwise,
          a_dropped_timer_can_be_built_again_in_place,
          futures_left_pending_are_dropped_at_the_end_of_their_task,
          a_future_polls_and_drops_those_inside_it)
