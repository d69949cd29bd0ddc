/* SPDX-License-Identifier: MIT */
/*
 * test_mix.c - a random storm of everything that tasks do to each other, while parcels are
 * delivered by plain threads and by another runtime.
 *
 * Each task carries its own sequence of random numbers. What is claimed: every join, sleep, select
 * and timeout answers what its rules allow, every parcel is freed, every task ends, nothing hangs.
 */
#include "parcel.h"

#include <errno.h>
#include <stdio.h>
#include <weft/metrics.h>

#define CLERKS    2
#define CARRIERS  3 /* tasks of the other runtime that deliver */
#define DEPTH_MAX 3
#define LIMIT     1000 /* tasks alive at a time, about */

static struct office office;
static weft_instant storm_end;
static unsigned storm_alive;  /* atomic */
static uint64_t storm_births; /* atomic */

struct actor {
    uint64_t rand;
    unsigned depth;
    unsigned steps;
};

static int actor_run(void *arg);

static uint64_t roll(struct actor *a, uint64_t n)
{
    return test_rand(&a->rand) % n;
}

static struct actor actor_child_of(struct actor *a)
{
    return (struct actor){
        .rand = test_rand(&a->rand) | 1, .depth = a->depth + 1, .steps = (unsigned)roll(a, 6)};
}

static bool actor_may_spawn(const struct actor *a)
{
    return a->depth < DEPTH_MAX &&
           __atomic_load_n(&storm_alive, __ATOMIC_RELAXED) < LIMIT / test_slow();
}

/* A parcel that is on its way. */
static struct parcel *actor_order(void)
{
    struct parcel *p = parcel_new(2);

    office_post(&office, p);
    return p;
}

static void expect(ssize_t rc, const char *what)
{
    /* A cancelled task may get this from every wait. */
    if (rc == -ECANCELED && weft_is_cancelled())
        return;
    if (rc != 0)
        test_failed(__FILE__, __LINE__, "%s: %s", what, weft_strerror(rc));
}

static void act_parcel(struct actor *a)
{
    struct parcel *p = actor_order();
    weft_future f = parcel_future(p);

    (void)a;
    expect(weft_await(&f), "parcel");
    parcel_put(p);
}

static void act_timeout(struct actor *a)
{
    struct parcel *p = actor_order();
    weft_future f = parcel_future(p);
    ssize_t rc = weft_timeout(WEFT_US(roll(a, 200)), &f);

    if (rc != -ETIMEDOUT)
        expect(rc, "timeout");
    parcel_put(p);
}

static void act_select(struct actor *a)
{
    struct parcel *p = actor_order(), *q = actor_order();
    weft_future one = parcel_future(p), two = parcel_future(q);
    weft_future nap = weft_sleep_future(WEFT_US(roll(a, 300)));
    ssize_t rc = weft_select(&one, &two, &nap);

    if (rc < 0)
        expect(rc, "select");
    else
        CHECK(rc <= 2);
    parcel_put(p);
    parcel_put(q);
}

/* All of them, one after the other, the losers left pending. */
static void act_select_keep(struct actor *a)
{
    struct parcel *p = actor_order(), *q = actor_order();
    weft_future f[3] = {parcel_future(p), parcel_future(q),
                        weft_sleep_future(WEFT_US(roll(a, 300)))};
    weft_future *list[3] = {&f[0], &f[1], &f[2]};

    for (int i = 0; i < 3; i++) {
        ssize_t rc = weft_select_n(list, 3, WEFT_SELECT_KEEP);

        if (rc < 0) {
            expect(rc, "select_keep");
            break;
        }
        CHECK(rc < 3 && list[rc]);
        list[rc] = NULL;
    }
    for (int i = 0; i < 3; i++)
        weft_future_drop(&f[i]);
    parcel_put(p);
    parcel_put(q);
}

static void act_join_all(struct actor *a)
{
    struct parcel *p = actor_order(), *q = actor_order();
    weft_future one = parcel_future(p), two = parcel_future(q);
    weft_future nap = weft_sleep_future(WEFT_US(roll(a, 100)));
    ssize_t rc = roll(a, 2) ? weft_join_all(&one, &two, &nap) : weft_try_join_all(&one, &two, &nap);

    expect(rc, "join_all");
    parcel_put(p);
    parcel_put(q);
}

/* Join to the end, even when cancelled meanwhile. */
static int join_surely(weft_task *t)
{
    int result = 1, rc = weft_join(t, &result);

    if (rc < 0) {
        CHECK_EQ(-ECANCELED, rc);
        weft_cancel(t);
        WEFT_SHIELD
        {
            rc = weft_join(t, &result);
        }
    }
    CHECK_EQ(0, rc);
    CHECK(result == 0 || result == -ECANCELED);
    return result;
}

static void act_join(struct actor *a)
{
    struct actor child = actor_child_of(a);
    weft_task *t = weft_spawn_copy(actor_run, &child, sizeof(child));

    (void)join_surely(t);
}

static void act_cancel(struct actor *a)
{
    struct actor child = actor_child_of(a);
    weft_task *t = weft_spawn_copy(actor_run, &child, sizeof(child));
    uint64_t when = roll(a, 4);

    if (when == 1)
        (void)weft_yield();
    else if (when == 2)
        (void)weft_sleep(WEFT_US(roll(a, 200)));
    weft_cancel(t);
    (void)join_surely(t);
}

static void act_detach(struct actor *a)
{
    struct actor child = actor_child_of(a);

    if (roll(a, 2))
        weft_detach(weft_spawn_copy(actor_run, &child, sizeof(child)));
    else
        CHECK_EQ(0, weft_go_copy(actor_run, &child, sizeof(child)));
}

static void act_deadline(struct actor *a)
{
    struct actor child = actor_child_of(a);
    weft_task *t = weft_spawn_copy(actor_run, &child, sizeof(child));
    int result = 0, rc = 0;

    WEFT_DEADLINE(WEFT_US(roll(a, 300)))
    {
        rc = weft_join(t, &result);
    }
    if (rc == 0)
        return;
    CHECK(rc == -ETIMEDOUT || rc == -ECANCELED);
    if (roll(a, 2))
        weft_cancel(t);
    (void)join_surely(t);
}

/* Two handles: one joins, the other cancels or goes. A join that loses a select is joined later. */
static void act_handles(struct actor *a)
{
    struct actor child = actor_child_of(a);
    weft_task *t = weft_spawn_copy(actor_run, &child, sizeof(child)), *other = weft_task_ref(t);
    weft_future ended = weft_join_future(t), nap = weft_sleep_future(WEFT_US(roll(a, 100)));
    ssize_t rc = weft_select(&ended, &nap);

    if (rc < 0)
        expect(rc, "select of a join");
    if (roll(a, 2))
        weft_cancel(other);
    weft_detach(other);
    (void)join_surely(t);
}

/* A stackless task: a nap, then a parcel. */
struct courier {
    weft_async async;
    struct parcel *parcel;
    weft_duration nap;
    weft_future f;
};

static weft_poll courier_poll(void *self, weft_context *cx)
{
    struct courier *c = self;

    WEFT_ASYNC_BEGIN(c);
    c->f = weft_sleep_future(c->nap);
    WEFT_AWAIT(c, cx, &c->f);
    c->f = parcel_future(c->parcel);
    WEFT_AWAIT(c, cx, &c->f);
    WEFT_RETURN(c, 0);
    WEFT_ASYNC_END(c);
}

static void courier_drop(void *self)
{
    parcel_put(((struct courier *)self)->parcel);
    __atomic_fetch_sub(&storm_alive, 1, __ATOMIC_RELAXED);
}

static const weft_async_type courier_type = {.poll = courier_poll,
                                             .drop = courier_drop,
                                             .size = sizeof(struct courier),
                                             .name = "courier"};

static void act_courier(struct actor *a)
{
    struct courier c = {.parcel = actor_order(), .nap = WEFT_US(roll(a, 200))};
    weft_task *t;

    __atomic_fetch_add(&storm_alive, 1, __ATOMIC_RELAXED);
    t = weft_spawn_async(&courier_type, &c);
    CHECK(t);
    if (roll(a, 3) == 0)
        weft_cancel(t);
    if (roll(a, 3) == 0)
        weft_detach(t);
    else
        (void)join_surely(t);
}

static void act_defer_end(void *arg)
{
    __atomic_fetch_sub((unsigned *)arg, 1, __ATOMIC_RELAXED);
}

static void act_wait(struct actor *a)
{
    if (roll(a, 2))
        expect(weft_yield(), "yield");
    else
        expect(weft_sleep(WEFT_US(roll(a, 400))), "sleep");
}

static void (*const acts[])(struct actor *) = {
    act_wait,     act_wait,   act_parcel, act_timeout,  act_select,  act_select_keep,
    act_join_all, /* spawning: */
    act_join,     act_cancel, act_detach, act_deadline, act_handles, act_courier,
};

#define ACTS_ALONE 7

static int actor_run(void *arg)
{
    struct actor a = *(struct actor *)arg;

    __atomic_fetch_add(&storm_alive, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&storm_births, 1, __ATOMIC_RELAXED);
    CHECK_EQ(0, weft_defer(act_defer_end, &storm_alive));
    for (unsigned i = 0; i < a.steps; i++) {
        size_t n = actor_may_spawn(&a) ? sizeof(acts) / sizeof(acts[0]) : ACTS_ALONE;

        if (weft_is_cancelled() && roll(&a, 2))
            return -ECANCELED;
        acts[roll(&a, n)](&a);
    }
    return 0;
}

/* Also those that have not begun yet, which do not count themselves. */
static uint64_t tasks_alive(void)
{
    weft_metrics m;

    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    return m.alive;
}

/* The first task: begins actors as long as the storm lasts, then waits until all are gone. */
static int storm_root(void *arg)
{
    struct actor a = {.rand = *(uint64_t *)arg};

    while (weft_now() < storm_end) {
        for (int i = 0; i < 20 && tasks_alive() < LIMIT / test_slow(); i++)
            act_detach(&a);
        for (int i = 0; i < 3; i++)
            act_cancel(&a);
        CHECK_EQ(0, weft_sleep(WEFT_US(roll(&a, 500))));
    }
    while (tasks_alive() > 1)
        CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
    CHECK_EQ(0, __atomic_load_n(&storm_alive, __ATOMIC_RELAXED));
    return 0;
}

/* In the other runtime: delivers until cancelled. */
static int carrier(void *arg)
{
    (void)arg;
    while (!weft_is_cancelled()) {
        struct parcel *p = office_take(&office, false);

        if (p)
            parcel_deliver(p);
        else
            (void)weft_sleep(WEFT_US(200));
    }
    return 0;
}

static void storm(const struct test_flavour *flavour, weft_duration length, uint64_t seed)
{
    static const struct test_flavour others = {"2 workers", WEFT_MULTI_THREAD, 2};
    weft_runtime *rt = test_runtime_new(flavour), *other = test_runtime_new(&others);
    pthread_t clerks[CLERKS];
    weft_metrics m;
    int result = -1;

    __atomic_store_n(&storm_births, 0, __ATOMIC_RELAXED);
    office_open(&office, seed);
    for (int i = 0; i < CLERKS; i++)
        CHECK_EQ(0, pthread_create(&clerks[i], NULL, office_clerk, &office));
    for (int i = 0; i < CARRIERS; i++)
        CHECK_EQ(0, weft_spawn_on(other, NULL, NULL, carrier, NULL));
    storm_end = weft_now() + length;
    CHECK_EQ(0, weft_block_on(rt, storm_root, &seed, &result));
    CHECK_EQ(0, result);
    CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
    (void)fprintf(stderr, "%s: %llu actors, %llu polls, %llu steals\n", flavour->name,
                  (unsigned long long)__atomic_load_n(&storm_births, __ATOMIC_RELAXED),
                  (unsigned long long)m.total.polls, (unsigned long long)m.total.steals);
    test_runtime_free(rt);
    test_runtime_free(other);
    office_close(&office);
    for (int i = 0; i < CLERKS; i++)
        CHECK_EQ(0, pthread_join(clerks[i], NULL));
    CHECK_EQ(0, __atomic_load_n(&parcels_alive, __ATOMIC_RELAXED));
}

TEST(a_storm_passes_and_leaves_nothing)
{
    weft_duration each = test_stress_time(WEFT_SECS(6)) / test_flavour_count;
    uint64_t seed = test_seed();

    for (size_t i = 0; i < test_flavour_count; i++)
        storm(&test_flavours[i], each, seed + i);
}

END_TEST

/* The same, but the runtime is shut down in the middle of it. */
static void storm_cut_short(const struct test_flavour *flavour, weft_duration length, uint64_t seed)
{
    weft_runtime *rt = test_runtime_new(flavour);
    pthread_t clerk;
    uint64_t rand = seed;

    office_open(&office, seed);
    CHECK_EQ(0, pthread_create(&clerk, NULL, office_clerk, &office));
    for (weft_instant end = weft_now() + length; weft_now() < end;) {
        struct actor a = {.rand = test_rand(&rand) | 1, .steps = 5};
        weft_task *t;

        /* weft_spawn_on copies nothing: join before the actor goes. */
        CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, actor_run, &a));
        if (flavour->flavor == WEFT_CURRENT_THREAD)
            (void)weft_runtime_shutdown(rt, WEFT_SECS(10));
        CHECK_EQ(0, weft_join_blocking(t, NULL));
        if (flavour->flavor == WEFT_CURRENT_THREAD)
            break;
    }
    test_runtime_free(rt);
    office_close(&office);
    CHECK_EQ(0, pthread_join(clerk, NULL));
    CHECK_EQ(0, __atomic_load_n(&parcels_alive, __ATOMIC_RELAXED));
    CHECK_EQ(0, __atomic_load_n(&storm_alive, __ATOMIC_RELAXED));
}

TEST(a_storm_that_is_shut_down_leaves_nothing_either)
{
    weft_duration each = test_stress_time(WEFT_SECS(2)) / 20 / test_flavour_count;
    uint64_t seed = test_seed();

    for (unsigned round = 0; round < 20; round++)
        for (size_t i = 0; i < test_flavour_count; i++)
            storm_cut_short(&test_flavours[i], each, seed + round * 8 + i);
}

END_TEST

TEST_MAIN("mix", a_storm_passes_and_leaves_nothing, a_storm_that_is_shut_down_leaves_nothing_either)
