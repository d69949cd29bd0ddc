/* SPDX-License-Identifier: MIT */
/*
 * test_futures.c - sets of futures under fire: several tasks push and drive one set, plain threads wake its futures,
 * waits are cancelled and run into deadlines, and in the end the set is emptied, cleared or freed with wakes under way.
 *
 * Each result comes at most once; without a clear or an early end exactly once. A wake that is lost shows as a
 * test that does not end.
 */
#include "parcel.h"

#include "base/atomic.h"

#include <errno.h>

#define ITEMS   60
#define PUSHERS 3
#define CLERKS  2

static struct office office;

/* One set, and all that happens to it. */
struct life {
    weft_futures *set;
    uint64_t rand;
    struct parcel *parcels[ITEMS]; /* those items that are one; ours until the set is gone */
    struct wf_atomic_u32 taken[ITEMS];
    struct wf_atomic_u64 pushed, got;
    struct wf_atomic_u32 next_item, pushers;
    bool early; /* it ends before all was taken */
};

static int ends_soon(void *arg)
{
    uint64_t i = *(uint64_t *)arg;
    int rc = i % 2 ? weft_yield() : 0;

    return rc < 0 ? rc : 0;
}

static int push_item(struct life *l, uint64_t i)
{
    switch (test_rand(&l->rand) % 5) {
    case 0:
        return weft_futures_push(l->set, weft_ready_future(0), i);
    case 1:
        return weft_futures_push(l->set, weft_yield_future(), i);
    case 2:
        return weft_futures_push(l->set, weft_sleep_future(WEFT_US(i * 7)), i);
    case 3:
        return weft_futures_spawn_copy(l->set, ends_soon, &i, sizeof(i), i);
    default:
        l->parcels[i] = parcel_new(2);
        CHECK_EQ(0, weft_futures_push(l->set, parcel_future(l->parcels[i]), i));
        office_post(&office, l->parcels[i]); /* may be delivered before its first poll */
        return 0;
    }
}

struct pusher {
    struct life *l;
    uint64_t rand;
};

static int pusher(void *arg)
{
    struct pusher *p = arg;
    struct life mine = {.set = p->l->set, .rand = p->rand};

    for (;;) {
        uint32_t i = wf_add_u32(&p->l->next_item, 1, WF_RELAXED);

        if (i >= ITEMS)
            break;
        CHECK_EQ(0, push_item(&mine, i));
        p->l->parcels[i] = mine.parcels[i];
        (void)wf_add_u64(&p->l->pushed, 1, WF_RELEASE);
        if (test_rand(&mine.rand) % 4 == 0)
            CHECK_EQ(0, weft_yield());
    }
    (void)wf_sub_u32(&p->l->pushers, 1, WF_RELEASE);
    return 0;
}

static bool life_over(struct life *l)
{
    /* acquire: all pushes are counted */
    if (wf_load_u32(&l->pushers, WF_ACQUIRE) != 0)
        return false;
    return wf_load_u64(&l->got, WF_RELAXED) == wf_load_u64(&l->pushed, WF_RELAXED);
}

/* Drives for a while; others do, too. Ends when all was taken, or when it is cancelled. */
static int driver(void *arg)
{
    struct life *l = arg;
    uint64_t tag = ITEMS;
    ssize_t result = 1;
    int rc = 0;

    while (!life_over(l) && rc != -ECANCELED) {
        WEFT_DEADLINE(WEFT_US(200))
        {
            rc = weft_futures_next(l->set, &tag, &result);
        }
        if (rc == 1) {
            CHECK(tag < ITEMS);
            CHECK_EQ(0, result);
            CHECK_EQ(0, wf_swap_u32(&l->taken[tag], 1, WF_RELAXED));
            (void)wf_add_u64(&l->got, 1, WF_RELAXED);
        } else {
            CHECK(rc == 0 || rc == -EBUSY || rc == -ETIMEDOUT || rc == -ECANCELED);
            if (rc != -ECANCELED && weft_yield() < 0)
                rc = -ECANCELED;
        }
    }
    return 0;
}

static void join(weft_task *t)
{
    int result = 1;

    CHECK_EQ(0, weft_join(t, &result));
    CHECK(result == 0 || result == -ECANCELED);
}

/* Drivers come and go until all was taken; or for a few rounds only. */
static void drive(struct life *l)
{
    for (unsigned round = 0; !life_over(l) && !(l->early && round == 3); round++) {
        weft_task *a = weft_spawn(driver, l), *b = weft_spawn(driver, l);

        for (uint64_t turns = test_rand(&l->rand) % 20; turns; turns--)
            CHECK_EQ(0, weft_yield());
        if (l->early || test_rand(&l->rand) % 2) {
            weft_cancel(a);
            weft_cancel(b);
        }
        join(a);
        join(b);
    }
}

static void life_run(uint64_t rand)
{
    struct life *l = calloc(1, sizeof(*l));
    struct pusher p[PUSHERS];
    weft_task *t[PUSHERS];

    CHECK(l);
    l->rand = rand;
    l->early = test_rand(&l->rand) % 3 == 0;
    l->set = weft_futures_new_with(test_rand(&l->rand) % 2 ? WEFT_FUTURES_ORDERED : 0);
    CHECK(l->set);
    wf_store_u32(&l->pushers, PUSHERS, WF_RELAXED);
    for (unsigned i = 0; i < PUSHERS; i++) {
        p[i] = (struct pusher){l, test_rand(&l->rand) | 1};
        t[i] = weft_spawn(pusher, &p[i]);
    }
    drive(l);
    if (l->early && test_rand(&l->rand) % 2)
        CHECK_EQ(0, weft_futures_clear(l->set)); /* nobody drives now; some may still push */
    for (unsigned i = 0; i < PUSHERS; i++)
        join(t[i]);
    if (!l->early) {
        CHECK_EQ(ITEMS, wf_load_u64(&l->got, WF_RELAXED));
        CHECK_EQ(0, weft_futures_len(l->set));
    }
    weft_futures_free(l->set);
    for (unsigned i = 0; i < ITEMS; i++)
        if (l->parcels[i])
            parcel_put(l->parcels[i]);
    free(l);
}

struct storm {
    uint64_t rand;
    weft_instant end;
};

static int one_after_another(void *arg)
{
    struct storm *s = arg;

    while (weft_now() < s->end)
        life_run(test_rand(&s->rand) | 1);
    return 0;
}

/* A few lives at a time. */
static int storm(void *arg)
{
    struct storm *s = arg, each[3];
    weft_task *t[3];

    for (unsigned i = 0; i < 3; i++) {
        each[i] = (struct storm){test_rand(&s->rand) | 1, s->end};
        t[i] = weft_spawn(one_after_another, &each[i]);
    }
    for (unsigned i = 0; i < 3; i++)
        join(t[i]);
    return 0;
}

TEST(every_result_comes_once_whatever_happens_around_the_set)
{
    uint64_t rand = test_seed();

    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_duration each = test_stress_time(WEFT_MS(2800)) / test_flavour_count;
        struct storm s = {test_rand(&rand) | 1, weft_now() + each};
        pthread_t clerks[CLERKS];

        office_open(&office, test_rand(&rand));
        for (unsigned c = 0; c < CLERKS; c++)
            CHECK_EQ(0, pthread_create(&clerks[c], NULL, office_clerk, &office));
        test_run_on(&test_flavours[i], storm, &s);
        office_close(&office);
        for (unsigned c = 0; c < CLERKS; c++)
            CHECK_EQ(0, pthread_join(clerks[c], NULL));
        CHECK_EQ(0, __atomic_load_n(&parcels_alive, __ATOMIC_RELAXED));
    }
}

TEST_MAIN("stress.futures", every_result_comes_once_whatever_happens_around_the_set)
