/* SPDX-License-Identifier: MIT */
/*
 * lives.c - runtimes that are made and ended in the middle of things, one after the other, while others spawn
 * into them, and handles, wakers and sleeps outlive them.
 *
 * OWNS     A life's thread holds the handle. Nobody uses it after it was given up. Its hooks count what lives
 *          in the runtime, so that the thread knows when nothing does.
 */
#include "soak.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#define LIFE_KEPT 8

enum death {
    SHUT_DOWN,
    FREE_ONLY,  /* which shuts down by itself */
    TWICE,      /* by two threads at once */
    UNDER_FIRE, /* while another thread spawns */
    INSIDE,     /* its handle is given up by one of its own tasks */
    STUCK,      /* with a limit, while a task blocks its thread */
    DEATHS
};

struct life {
    uint64_t rand, fire_rand;
    weft_config config;
    weft_runtime *rt;
    struct soak_living *living;
    struct soak_slot *go;
    weft_futures *sleeps; /* handed on from life to life, each with its moment as tag */
    weft_task *kept[LIFE_KEPT];
    int values[LIFE_KEPT];
};

static void life_pause(void)
{
    struct timespec t = {.tv_nsec = 200000};

    (void)nanosleep(&t, NULL);
}

static weft_task *life_spawn(struct life *l, uint64_t *rand, int *value)
{
    uint64_t seed = soak_actor_seed(rand, 1, (unsigned)soak_roll(rand, 5), SOAK_SIDE);
    weft_task *t = NULL;
    int rc = weft_spawn_on(l->rt, &t, NULL, soak_actor_run, soak_seed_pointer(seed));

    CHECK(rc == 0 || rc == -ESHUTDOWN);
    *value = soak_value(seed);
    return t;
}

static void life_join(weft_task *t, int value)
{
    int result = 1;

    CHECK_EQ(0, weft_join_blocking(t, &result));
    CHECK(result == value || result == -ECANCELED);
    soak_moved();
}

/* Until it is refused. */
static void *life_fire(void *arg)
{
    struct life *l = arg;
    uint64_t rand = l->fire_rand;
    int value;

    for (;;) {
        weft_task *t = life_spawn(l, &rand, &value);

        if (!t)
            return NULL;
        if (soak_one_in(&rand, 3))
            weft_cancel(t);
        if (soak_one_in(&rand, 8)) {
            weft_cancel(t);
            life_join(t, value);
        } else {
            weft_detach(t);
        }
        if (!soak_has_room())
            life_pause();
    }
}

static void *life_shut_down(void *arg)
{
    struct life *l = arg;

    CHECK_EQ(0, weft_runtime_shutdown(l->rt, WEFT_FOREVER));
    return NULL;
}

/* Those that earlier runtimes left, and a few more: none ends early, nor is forgotten. */
static void life_sleep(struct life *l)
{
    weft_instant at = 0;
    ssize_t result = 1;
    int rc;

    if (soak_stage.plan.quiet)
        return;
    for (uint64_t n = soak_roll(&l->rand, 4); n; n--) {
        at = weft_now() + WEFT_US(soak_roll(&l->rand, 3000));
        CHECK_EQ(0, weft_futures_push(l->sleeps, weft_sleep_until_future(at), at));
    }
    rc = soak_one_in(&l->rand, 2) ? weft_futures_next(l->sleeps, &at, &result)
                                  : weft_futures_try_next(l->sleeps, &at, &result);
    while (rc == 1) {
        CHECK_EQ(0, result);
        CHECK(weft_now() >= at);
        rc = weft_futures_try_next(l->sleeps, &at, &result);
    }
    CHECK(rc == 0 || rc == -EAGAIN || soak_is_soft(rc));
}

static int life_root(void *arg)
{
    struct life *l = arg;
    weft_future f = soak_slot_future(l->go);

    life_sleep(l);
    return (int)weft_await(&f);
}

static int life_root_frees(void *arg)
{
    struct life *l = arg;
    int rc = life_root(l);

    /* The last task to end ends the runtime: all others are cancelled. */
    weft_runtime_free(l->rt);
    return rc;
}

static int life_stuck(void *arg)
{
    struct timespec t = {.tv_nsec = 150000000};

    __atomic_store_n((unsigned *)arg, 1, __ATOMIC_RELEASE);
    (void)nanosleep(&t, NULL);
    return 3;
}

static void life_begin(struct life *l)
{
    unsigned n = (unsigned)soak_roll(&l->rand, LIFE_KEPT);
    int value;

    for (unsigned i = 0; i < n; i++)
        l->kept[i] = life_spawn(l, &l->rand, &l->values[i]);
    for (unsigned i = 0; i < n; i++)
        weft_detach(life_spawn(l, &l->rand, &value));
}

/* For as long as a hand-over takes. Current-thread: driven by us, or at times by nobody. */
static void life_go_on(struct life *l, weft_fn *root)
{
    int result = 1;

    if (l->config.flavor != WEFT_CURRENT_THREAD && root == life_root && soak_one_in(&l->rand, 2)) {
        soak_slot_wait_blocking(l->go);
        return;
    }
    if (root == life_root && soak_one_in(&l->rand, 8))
        return;
    CHECK_EQ(0, weft_block_on(l->rt, root, l, &result));
    CHECK(result == soak_slot_value(l->go) || (result == -ECANCELED && root == life_root_frees));
}

static void life_end_stuck(struct life *l)
{
    unsigned inside = 0;
    weft_task *t;
    int result = 1, rc;

    CHECK_EQ(0, weft_spawn_on(l->rt, &t, NULL, life_stuck, &inside));
    while (!__atomic_load_n(&inside, __ATOMIC_ACQUIRE))
        life_pause();
    rc = weft_runtime_shutdown(l->rt, WEFT_MS(1));
    CHECK(rc == -ETIMEDOUT || rc == 0);
    soak_watch_remove(l->rt);
    weft_runtime_free(l->rt);
    CHECK_EQ(0, weft_join_blocking(t, &result));
    CHECK(result == 3 || result == -ECANCELED);
}

static void life_end(struct life *l, enum death death)
{
    pthread_t other;

    if (death == TWICE) {
        CHECK_EQ(0, pthread_create(&other, NULL, life_shut_down, l));
        CHECK_EQ(0, weft_runtime_shutdown(l->rt, WEFT_FOREVER));
        CHECK_EQ(0, pthread_join(other, NULL));
    } else if (death == SHUT_DOWN) {
        CHECK_EQ(0, weft_runtime_shutdown(l->rt, WEFT_SECS(20) * test_slow()));
    }
    soak_watch_remove(l->rt);
    weft_runtime_free(l->rt);
}

/* A thread that nobody joins may begin, and end, after all that was waited for: so these outlive a life. */
static struct soak_living *life_living(void)
{
    static struct soak_living all[64];
    static unsigned next;
    struct soak_living *l;

    /* Another thread may go through as many lives while one of ours lasts. */
    do
        l = &all[__atomic_fetch_add(&next, 1, __ATOMIC_RELAXED) % 64];
    while (__atomic_exchange_n(&l->taken, 1, __ATOMIC_ACQUIRE));
    __atomic_store_n(&l->alive, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&l->not_yet_begun, 0, __ATOMIC_RELAXED);
    return l;
}

static void life_run(uint64_t *rand, weft_futures *sleeps)
{
    struct life l = {.rand = test_rand(rand) | 1, .sleeps = sleeps};
    enum death death = (enum death)soak_roll(&l.rand, DEATHS);
    pthread_t fire = pthread_self();

    l.fire_rand = test_rand(&l.rand) | 1;
    l.config = soak_plan_config(&l.rand);
    l.living = life_living();
    l.config.hook_user = l.living;
    if (l.config.worker_threads > 4)
        l.config.worker_threads = 4;
    if (death == STUCK && (l.config.flavor == WEFT_CURRENT_THREAD || soak_roll(&l.rand, 4)))
        death = SHUT_DOWN;
    if (l.config.flavor != WEFT_CURRENT_THREAD) {
        CHECK(l.config.worker_threads > 0);
        __atomic_store_n(&l.living->alive, l.config.worker_threads, __ATOMIC_RELAXED);
        __atomic_store_n(&l.living->not_yet_begun, (int)l.config.worker_threads, __ATOMIC_RELAXED);
    }
    l.go = soak_slot_new(&l.rand);
    CHECK_EQ(0, weft_runtime_new(&l.rt, &l.config));
    if (death != INSIDE)
        soak_watch_add(l.rt);
    if (death != STUCK)
        life_begin(&l);
    soak_office_post(l.go);
    if (death == UNDER_FIRE)
        CHECK_EQ(0, pthread_create(&fire, NULL, life_fire, &l));
    life_go_on(&l, death == INSIDE ? life_root_frees : life_root);
    if (death == UNDER_FIRE) {
        CHECK_EQ(0, weft_runtime_shutdown(l.rt, WEFT_FOREVER));
        CHECK_EQ(0, pthread_join(fire, NULL));
    }
    if (death == STUCK)
        life_end_stuck(&l);
    else if (death != INSIDE)
        life_end(&l, death);
    for (unsigned i = 0; i < LIFE_KEPT; i++)
        if (l.kept[i])
            life_join(l.kept[i], l.values[i]);
    while (__atomic_load_n(&l.living->alive, __ATOMIC_ACQUIRE))
        life_pause();
    __atomic_store_n(&l.living->taken, 0, __ATOMIC_RELEASE);
    soak_slot_put(l.go);
    soak_moved();
}

void *soak_life(void *seed)
{
    uint64_t rand = (uintptr_t)seed | 1;
    weft_futures *sleeps = weft_futures_new();

    CHECK(sleeps);
    while (!soak_is_over())
        life_run(&rand, sleeps);
    weft_futures_free(sleeps);
    return NULL;
}

/* --- abandoned --------------------------------------------------------------------------- */

static int resist_for_ever(void *inside)
{
    weft_future never = weft_pending_future();
    int rc = 0;

    WEFT_SHIELD
    {
        __atomic_store_n((unsigned *)inside, 1, __ATOMIC_RELEASE);
        rc = (int)weft_await(&never);
    }
    return rc;
}

static void *abandon_drive(void *rt)
{
    int result = 1;
    unsigned inside = 0;
    int rc = weft_block_on(rt, resist_for_ever, &inside, &result);

    CHECK(rc == -ESHUTDOWN || (rc == 0 && result == -ECANCELED));
    return NULL;
}

void soak_life_abandon(uint64_t rand)
{
    static unsigned inside; /* a task that is abandoned refers to it for ever */
    weft_config c = soak_plan_config(&rand);
    bool sole = c.flavor == WEFT_CURRENT_THREAD; /* nobody ever stands in for its thread */
    struct soak_gauge before = soak_gauge_read(), after;
    weft_runtime *rt;
    weft_task *t;
    int result = 1;

    c.on_task_spawn = c.on_task_end = NULL;
    c.on_thread_start = c.on_thread_stop = c.on_thread_park = c.on_thread_unpark = NULL;
    __atomic_store_n(&inside, 0, __ATOMIC_RELAXED);
    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, resist_for_ever, &inside));
    if (c.flavor == WEFT_CURRENT_THREAD) {
        pthread_t driver;

        CHECK_EQ(0, pthread_create(&driver, NULL, abandon_drive, rt));
        while (!__atomic_load_n(&inside, __ATOMIC_ACQUIRE))
            life_pause();
        CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, WEFT_MS(1)));
        CHECK_EQ(0, pthread_join(driver, NULL));
    } else {
        while (!__atomic_load_n(&inside, __ATOMIC_ACQUIRE))
            life_pause();
        CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, WEFT_MS(1)));
    }
    weft_runtime_free(rt);
    CHECK_EQ(0, weft_join_blocking(t, &result));
    CHECK_EQ(-ECANCELED, result);
    after = soak_gauge_read();
    /* Its memory and its driver stay; a stack, and those that its workers had at hand. */
    CHECK_EQ(before.descriptors + (sole ? 2 : 3 + c.worker_threads), after.descriptors);
    CHECK(after.stacks > before.stacks);
    soak_gauge_forgive(&before, &after);
}
