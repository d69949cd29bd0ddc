/* SPDX-License-Identifier: MIT */
/*
 * test_lifecycle.c - runtimes that come and go while other threads spawn into them and wake their
 * tasks, and wakers and handles that outlive them.
 *
 * Nobody uses a runtime's handle after it was given up; everything else may happen at any moment.
 */
#include "parcel.h"

#include <errno.h>
#include <stdio.h>

#define SPAWNERS 2
#define KEPT     64
#define WAKERS   64

/* --- wakers that are kept ----------------------------------------------------- */

/* Tasks leave wakers here, which are used much later, as a rule after the task has gone. */
static struct {
    pthread_mutex_t lock;
    weft_waker wakers[WAKERS]; /* under lock */
    uint64_t rand;             /* under lock */
    bool closed;               /* under lock */
} attic = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void attic_put(weft_waker waker)
{
    unsigned at;
    weft_waker old;

    (void)pthread_mutex_lock(&attic.lock);
    at = (unsigned)(test_rand(&attic.rand) % WAKERS);
    old = attic.wakers[at];
    attic.wakers[at] = waker;
    (void)pthread_mutex_unlock(&attic.lock);
    weft_waker_wake(&old);
}

static void *attic_ghost(void *arg)
{
    (void)arg;
    for (;;) {
        bool closed;

        attic_put((weft_waker){0});
        (void)pthread_mutex_lock(&attic.lock);
        closed = attic.closed;
        (void)pthread_mutex_unlock(&attic.lock);
        if (closed)
            return NULL;
        sched_yield();
    }
}

/* Ready after a few polls, each of which leaves a waker in the attic. */
static weft_poll haunted_poll(weft_future *f, weft_context *cx)
{
    f->result = 0;
    if (f->words[0]-- == 0)
        return WEFT_READY;
    attic_put(weft_context_waker(cx));
    return WEFT_PENDING;
}

static const weft_future_type haunted_type = {.poll = haunted_poll, .name = "haunted"};

/* --- what is spawned ---------------------------------------------------------- */

static struct office office;

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

static int waits_for_a_parcel(void *arg)
{
    struct parcel *p = parcel_new(2);
    weft_future f = parcel_future(p);
    ssize_t rc;

    (void)arg;
    office_post(&office, p);
    rc = weft_await(&f);
    parcel_put(p);
    return (int)rc;
}

static int is_haunted(void *arg)
{
    weft_future f = weft_future_of(&haunted_type);

    (void)arg;
    f.words[0] = 3;
    return (int)weft_await(&f);
}

static int sleeps_for_ever(void *arg)
{
    (void)arg;
    return weft_sleep(WEFT_FOREVER);
}

static int has_children(void *arg)
{
    weft_task *t[3] = {weft_spawn(is_haunted, NULL), weft_spawn(waits_for_a_parcel, NULL),
                       weft_spawn(nothing, NULL)};
    int result = 0;

    (void)arg;
    CHECK_EQ(0, weft_go(sleeps_for_ever, NULL));
    for (int i = 0; i < 3; i++) {
        int rc = weft_join(t[i], &result);

        if (rc < 0) {
            CHECK_EQ(-ECANCELED, rc);
            weft_detach(t[i]);
        }
    }
    return weft_is_cancelled() ? -ECANCELED : 0;
}

static weft_fn *const deeds[] = {nothing,    nothing,      waits_for_a_parcel,
                                 is_haunted, has_children, sleeps_for_ever};

/* --- a life ------------------------------------------------------------------- */

struct life {
    weft_runtime *rt;
    uint64_t seed;
    unsigned turn;     /* atomic */
    uint64_t spawned;  /* atomic */
    struct parcel *go; /* ends the first task of a current-thread runtime */
};

struct spawner {
    struct life *life;
    weft_task *kept[KEPT]; /* joined after the runtime has gone */
    pthread_t thread;
};

static void life_join(weft_task *t)
{
    int result = 1;

    CHECK_EQ(0, weft_join_blocking(t, &result));
    CHECK(result == 0 || result == -ECANCELED);
}

/* Spawns until it is refused. */
static void *spawner_run(void *arg)
{
    struct spawner *s = arg;
    struct life *l = s->life;
    unsigned me = __atomic_fetch_add(&l->turn, 1, __ATOMIC_RELAXED);
    uint64_t rand = (l->seed + me) | 1;

    for (;;) {
        weft_fn *deed = deeds[test_rand(&rand) % (sizeof(deeds) / sizeof(deeds[0]))];
        size_t at = test_rand(&rand) % KEPT;
        weft_task *t, *old;
        int rc = weft_spawn_on(l->rt, &t, NULL, deed, NULL);

        if (rc < 0) {
            CHECK_EQ(-ESHUTDOWN, rc);
            return NULL;
        }
        __atomic_fetch_add(&l->spawned, 1, __ATOMIC_RELAXED);
        if (test_rand(&rand) % 4 == 0)
            weft_cancel(t);
        old = s->kept[at];
        s->kept[at] = t;
        if (test_rand(&rand) % 2 == 0)
            weft_cancel(old ? old : t);
        weft_detach(old);
        /* Some at a time only: the spawners shall not outrun the workers for ever. */
        if (test_rand(&rand) % 8 == 0) {
            weft_cancel(t);
            s->kept[at] = NULL;
            life_join(t);
        }
    }
}

static void *life_shut_down(void *arg)
{
    struct life *l = arg;

    CHECK_EQ(0, weft_runtime_shutdown(l->rt, WEFT_FOREVER));
    return NULL;
}

static int life_root(void *arg)
{
    struct life *l = arg;
    weft_future f = parcel_future(l->go);

    return (int)weft_await(&f);
}

/* Let it live for a random moment. On a current-thread runtime that means to drive it. */
static void life_go_on(struct life *l, const struct test_flavour *flavour, uint64_t *rand)
{
    weft_instant until = weft_now() + WEFT_US(test_rand(rand) % 3000);
    int result = 1;

    if (flavour->flavor != WEFT_CURRENT_THREAD) {
        while (weft_now() < until)
            sched_yield();
        return;
    }
    l->go = parcel_new(2);
    office_post(&office, l->go);
    CHECK_EQ(0, weft_block_on(l->rt, life_root, l, &result));
    CHECK_EQ(0, result);
    parcel_put(l->go);
}

static uint64_t life_run(const struct test_flavour *flavour, uint64_t *rand)
{
    struct life l = {.rt = test_runtime_new(flavour), .seed = test_rand(rand)};
    struct spawner spawners[SPAWNERS] = {{.life = &l}, {.life = &l}};
    pthread_t second = pthread_self();
    bool two = test_rand(rand) % 4 == 0;

    for (int i = 0; i < SPAWNERS; i++)
        CHECK_EQ(0, pthread_create(&spawners[i].thread, NULL, spawner_run, &spawners[i]));
    life_go_on(&l, flavour, rand);
    if (two)
        CHECK_EQ(0, pthread_create(&second, NULL, life_shut_down, &l));
    CHECK_EQ(0, weft_runtime_shutdown(l.rt, WEFT_FOREVER));
    if (two)
        CHECK_EQ(0, pthread_join(second, NULL));
    for (int i = 0; i < SPAWNERS; i++)
        CHECK_EQ(0, pthread_join(spawners[i].thread, NULL));
    test_runtime_free(l.rt);
    for (int i = 0; i < SPAWNERS; i++)
        for (int k = 0; k < KEPT; k++)
            if (spawners[i].kept[k])
                life_join(spawners[i].kept[k]);
    return l.spawned;
}

TEST(runtimes_come_and_go_under_fire)
{
    weft_instant end = weft_now() + test_stress_time(WEFT_SECS(5));
    uint64_t rand = test_seed(), lives = 0, tasks = 0;
    pthread_t ghost, clerk;

    attic.rand = rand;
    office_open(&office, rand);
    CHECK_EQ(0, pthread_create(&ghost, NULL, attic_ghost, NULL));
    CHECK_EQ(0, pthread_create(&clerk, NULL, office_clerk, &office));
    for (; weft_now() < end; lives++)
        tasks += life_run(&test_flavours[test_rand(&rand) % test_flavour_count], &rand);
    (void)pthread_mutex_lock(&attic.lock);
    attic.closed = true;
    (void)pthread_mutex_unlock(&attic.lock);
    CHECK_EQ(0, pthread_join(ghost, NULL));
    for (int i = 0; i < WAKERS; i++)
        weft_waker_wake(&attic.wakers[i]);
    office_close(&office);
    CHECK_EQ(0, pthread_join(clerk, NULL));
    CHECK_EQ(0, __atomic_load_n(&parcels_alive, __ATOMIC_RELAXED));
    (void)fprintf(stderr, "%llu runtimes, %llu tasks from outside\n", (unsigned long long)lives,
                  (unsigned long long)tasks);
}

END_TEST

/* --- given up by the one while the other is inside ---------------------------- */

struct guest {
    weft_runtime *rt;
    unsigned inside; /* atomic */
};

static int guest_root(void *arg)
{
    __atomic_fetch_add(&((struct guest *)arg)->inside, 1, __ATOMIC_RELEASE);
    return weft_sleep(WEFT_FOREVER);
}

static void *guest_run(void *arg)
{
    struct guest *g = arg;
    int result = 1, rc = weft_block_on(g->rt, guest_root, g, &result);

    CHECK(rc == 0 || rc == -ESHUTDOWN);
    CHECK(rc < 0 || result == -ECANCELED);
    return NULL;
}

TEST(a_runtime_is_freed_while_others_block_on_it)
{
    weft_instant end = weft_now() + test_stress_time(WEFT_SECS(2));

    test_watchdog(100);
    while (weft_now() < end) {
        for (size_t i = 0; i < test_flavour_count; i++) {
            weft_config config = {.flavor = test_flavours[i].flavor,
                                  .worker_threads = test_flavours[i].workers,
                                  .ignore_env = WEFT_ON};
            struct guest g = {0};
            pthread_t threads[2];

            CHECK_EQ(0, weft_runtime_new(&g.rt, &config));
            for (int k = 0; k < 2; k++)
                CHECK_EQ(0, pthread_create(&threads[k], NULL, guest_run, &g));
            while (__atomic_load_n(&g.inside, __ATOMIC_ACQUIRE) < 2)
                sched_yield();
            weft_runtime_free(g.rt);
            for (int k = 0; k < 2; k++)
                CHECK_EQ(0, pthread_join(threads[k], NULL));
        }
    }
}

END_TEST

TEST_MAIN("lifecycle", runtimes_come_and_go_under_fire, a_runtime_is_freed_while_others_block_on_it)
