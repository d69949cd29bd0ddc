/* SPDX-License-Identifier: MIT */
/*
 * test_local_set.c - the hunt for pinned tasks that are lost, or elsewhere: a token goes round among the sets of all
 * workers, with so little to do that most wakes meet a worker that is about to sleep; sets come and go meanwhile, and
 * plain threads fill and wake them.
 *
 * A wake-up that is lost stops its token, and the watchdog tells.
 */
#include "pinned.h"

#include <pthread.h>
#include <stdlib.h>

#define SETS   6
#define LIFE   64 /* hand-overs until a set is made anew */
#define TOKENS 2

struct place {
    weft_local_set *set;
    weft_notify bell;
    atomic_long thread; /* of its set; 0: not known yet */
    struct ring *ring;
    unsigned index;
};

struct ring {
    weft_runtime *rt;
    struct place place[SETS];
    atomic_bool over;
    atomic_ulong steps;
};

static void claim_thread(struct place *p)
{
    long none = 0, here = thread_here();

    if (!atomic_compare_exchange_strong(&p->thread, &none, here))
        CHECK_EQ(none, here);
}

/* Takes the token, does a little, and hands it on. */
static int stand(void *arg)
{
    struct place *p = arg;
    struct ring *r = p->ring;
    uint64_t rand = (uint64_t)atomic_load(&r->steps) * 2 + 1;

    for (int i = 0; i < LIFE && !atomic_load(&r->over); i++) {
        int rc = weft_notify_wait(&p->bell);

        claim_thread(p);
        if (rc < 0)
            return rc;
        for (uint64_t n = test_rand(&rand) % 3; n; n--) {
            rc = test_rand(&rand) % 8 ? weft_yield() : weft_sleep(WEFT_US(test_rand(&rand) % 60));
            claim_thread(p);
            if (rc < 0)
                break;
        }
        atomic_fetch_add(&r->steps, 1);
        weft_notify_one(&r->place[(p->index + 1) % SETS].bell);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* One for each set: makes it, here or there, and waits for its tasks. */
static int keeps_set(void *arg)
{
    struct place *p = arg;

    while (!atomic_load(&p->ring->over)) {
        weft_local_set *set = weft_local_set_new();
        weft_join_done done;

        atomic_store(&p->thread, 0);
        CHECK(set != NULL);
        for (int i = 0; i < 2; i++)
            CHECK(weft_join_set_spawn(set, stand, p) > 0);
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(1, weft_join_set_next(set, &done));
            CHECK(done.result == 0);
        }
        weft_join_set_free(set);
        CHECK_EQ(0, weft_yield());
    }
    return 0;
}

/* A plain thread: spawns into a set of its own from outside, and frees it in the middle. */
static void *from_outside(void *arg)
{
    struct ring *r = arg;
    const weft_join_set_options o = {.runtime = r->rt};
    uint64_t rand = test_seed();

    while (!atomic_load(&r->over)) {
        struct place p = {.ring = r};
        int result;

        CHECK_EQ(0, weft_local_set_new_with(&p.set, &o));
        for (uint64_t n = 1 + test_rand(&rand) % 4; n; n--)
            CHECK(weft_join_set_spawn(p.set, waits, NULL) > 0);
        CHECK_EQ(0, weft_local_set_run(p.set, keeps_its_thread, NULL, &result));
        CHECK_EQ(7, result);
        weft_join_set_free(p.set);
        if (test_rand(&rand) % 4 == 0)
            usleep((useconds_t)(test_rand(&rand) % 500));
    }
    return NULL;
}

static int busy(void *arg)
{
    struct ring *r = arg;
    uint64_t rand = 77;

    while (!atomic_load(&r->over)) {
        weft_task *t = weft_spawn(returns_it, NULL);

        CHECK_EQ(0, weft_join(t, NULL));
        CHECK_EQ(0, weft_sleep(WEFT_US(test_rand(&rand) % 200)));
    }
    return 0;
}

static int conduct(void *arg)
{
    struct ring *r = arg;
    weft_join_set *keepers = weft_join_set_new();
    weft_duration length = test_stress_time(WEFT_MS(1600)) / test_flavour_count;
    weft_instant end = weft_now() + length;
    unsigned long before;

    for (unsigned i = 0; i < SETS; i++) {
        r->place[i].ring = r;
        r->place[i].index = i;
        CHECK(weft_join_set_spawn(keepers, keeps_set, &r->place[i]) > 0);
    }
    CHECK(weft_join_set_spawn(keepers, busy, r) > 0);
    for (unsigned i = 0; i < TOKENS; i++)
        weft_notify_one(&r->place[i * SETS / TOKENS].bell);
    do {
        before = atomic_load(&r->steps);
        CHECK_EQ(0, weft_sleep(WEFT_MS(5)));
    } while (weft_now() < end);
    /* It still goes round. */
    while (atomic_load(&r->steps) == before)
        CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    atomic_store(&r->over, true);
    /* Those that wait are told; who passes a token on ends as well. */
    while (!weft_join_set_is_empty(keepers)) {
        for (unsigned i = 0; i < SETS; i++)
            weft_notify_one(&r->place[i].bell);
        while (weft_join_set_try_next(keepers, NULL) == 1)
            continue;
        CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    }
    weft_join_set_free(keepers);
    return 0;
}

TEST(tokens_go_round_among_the_sets_of_all_workers)
{
    test_watchdog(60);
    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_runtime *rt = test_runtime_new(&test_flavours[i]);
        struct ring *r = calloc(1, sizeof(*r));
        bool many = test_flavours[i].flavor == WEFT_MULTI_THREAD;
        pthread_t thread = pthread_self();
        int result = 1;

        CHECK(r != NULL);
        r->rt = rt;
        if (many)
            CHECK_EQ(0, pthread_create(&thread, NULL, from_outside, r));
        CHECK_EQ(0, weft_block_on(rt, conduct, r, &result));
        CHECK_EQ(0, result);
        if (many)
            CHECK_EQ(0, pthread_join(thread, NULL));
        test_runtime_free(rt);
        free(r);
    }
}

END_TEST

TEST_MAIN("local_set", tokens_go_round_among_the_sets_of_all_workers)
