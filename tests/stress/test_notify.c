/* SPDX-License-Identifier: MIT */
/*
 * test_notify.c - notifications between many tasks and threads, some of which give up at any moment; barriers and
 * once cells in between. A notification that is lost leaves somebody waiting, and the watchdog names it.
 */
#include "base/atomic.h"
#include "base/rand.h"
#include "support.h"

#include <errno.h>
#include <pthread.h>

#define TAKERS  12
#define THREADS 2

/* So many units are put in, and each is taken once: the count is what is notified of. */
struct store {
    weft_notify filled;
    weft_notify over;         /* all at once, at the end */
    struct wf_atomic_u64 put; /* units that nobody has taken */
    struct wf_atomic_u64 taken;
    struct wf_atomic_u32 closed;
    uint64_t units, seed;
};

static bool store_take(struct store *s)
{
    uint64_t n = wf_load_u64(&s->put, WF_RELAXED);

    while (n)
        if (wf_cas_weak_u64(&s->put, &n, n - 1, WF_ACQ_REL, WF_RELAXED))
            return true;
    return false;
}

/* Takes one; the others are told of the next. */
static bool store_serve(struct store *s)
{
    if (!store_take(s))
        return false;
    wf_add_u64(&s->taken, 1, WF_RELAXED);
    if (wf_load_u64(&s->put, WF_ACQUIRE))
        weft_notify_one(&s->filled);
    return true;
}

static bool store_is_closed(struct store *s)
{
    return wf_load_u32(&s->closed, WF_ACQUIRE) != 0;
}

struct taker {
    struct store *store;
    struct wf_rand rand;
};

/* Waits in one of many ways; some give up a notification that they were given. */
static void taker_wait(struct taker *t)
{
    struct store *s = t->store;
    weft_future filled = weft_notify_wait_future(&s->filled);
    weft_future over = weft_notify_wait_future(&s->over), tick = weft_yield_future();

    if (store_is_closed(s))
        return;
    switch (wf_rand_below(&t->rand, 4)) {
    case 0:
        (void)weft_select(&filled, &over);
        return;
    case 1:
        (void)weft_select(&filled, &over, &tick);
        return;
    case 2:
        (void)weft_notify_enable(&filled);
        (void)weft_select_biased(&tick, &over, &filled);
        return;
    default:
        WEFT_DEADLINE(WEFT_US(wf_rand_below(&t->rand, 200)))
        {
            (void)weft_select(&over, &filled);
        }
    }
}

static int takes(void *arg)
{
    struct taker *t = arg;

    while (!store_is_closed(t->store))
        if (!store_serve(t->store))
            taker_wait(t);
    return 0;
}

static void *thread_takes(void *arg)
{
    struct store *s = arg;

    while (!store_is_closed(s)) {
        weft_future filled = weft_notify_wait_future(&s->filled);
        weft_future over = weft_notify_wait_future(&s->over), *both[] = {&filled, &over}, either;

        if (store_serve(s) || store_is_closed(s))
            continue;
        either = weft_select_future(both, 2, 0);
        CHECK(weft_await_blocking(&either) >= 0);
    }
    return NULL;
}

static int puts_all(void *arg)
{
    struct store *s = arg;
    struct taker t[TAKERS];
    pthread_t thread[THREADS];
    weft_task *task[TAKERS];
    struct wf_rand rand;

    wf_rand_init(&rand, s->seed);
    for (int i = 0; i < TAKERS; i++) {
        t[i].store = s;
        wf_rand_init(&t[i].rand, s->seed + (uint64_t)i + 1);
        task[i] = weft_spawn(takes, &t[i]);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(0, pthread_create(&thread[i], NULL, thread_takes, s));
    for (uint64_t i = 0; i < s->units; i++) {
        wf_add_u64(&s->put, 1, WF_RELEASE);
        if (wf_rand_below(&rand, 2))
            weft_notify_last(&s->filled);
        else
            weft_notify_one(&s->filled);
        if (wf_rand_below(&rand, 8) == 0)
            CHECK_EQ(0, weft_yield());
    }
    while (wf_load_u64(&s->taken, WF_ACQUIRE) < s->units)
        CHECK_EQ(0, weft_yield());
    wf_store_u32(&s->closed, 1, WF_RELEASE);
    weft_notify_waiters(&s->over);
    for (int i = 0; i < TAKERS; i++)
        CHECK_EQ(0, weft_join(task[i], NULL));
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(0, pthread_join(thread[i], NULL));
    return 0;
}

TEST(each_unit_is_taken_by_somebody)
{
    weft_instant end = weft_now() + test_stress_time(WEFT_SECS(2));
    uint64_t seed = test_seed();

    do {
        for (size_t i = 0; i < test_flavour_count; i++) {
            struct store s = {.units = test_scaled(3000), .seed = test_rand(&seed)};

            test_run_on(&test_flavours[i], puts_all, &s);
        }
    } while (weft_now() < end);
}

END_TEST

TEST_MAIN("notify", each_unit_is_taken_by_somebody)
