/* SPDX-License-Identifier: MIT */
/*
 * test_idle.c - the park protocol: its counts against a model, then whether a wake-up can get lost.
 *
 * For the latter the protocol runs without a runtime: workers with a common heap of work, who sleep
 * on a semaphore where the real ones sleep on the hub.
 */
#include "sched/idle.h"

#include "support.h"

#include <pthread.h>
#include <semaphore.h>

#define WORKERS_MAX 8

/* --- counts ------------------------------------------------------------------- */

TEST(nobody_is_woken_when_nobody_sleeps)
{
    struct wf_idle idle;

    wf_idle_init(&idle, 4);
    CHECK(!wf_idle_notify(&idle));
    CHECK(!wf_idle_any_asleep(&idle));
    CHECK_EQ(0, wf_load_u64(&idle.word, WF_RELAXED));
}

END_TEST

TEST(one_token_is_out_at_a_time)
{
    struct wf_idle idle;

    wf_idle_init(&idle, 4);
    wf_idle_sleep_begin(&idle, false);
    wf_idle_sleep_begin(&idle, false);
    CHECK(wf_idle_any_asleep(&idle));
    CHECK(wf_idle_notify(&idle));
    /* The one called counts as a searcher from now on, asleep or not. */
    CHECK(!wf_idle_notify(&idle));
    CHECK(wf_idle_sleep_end(&idle));
    CHECK(!wf_idle_notify(&idle));
    /* The last searcher is told so, and calls the next. */
    CHECK(wf_idle_search_end(&idle));
    CHECK(wf_idle_notify(&idle));
    CHECK(wf_idle_sleep_end(&idle));
    CHECK(!wf_idle_any_asleep(&idle));
    CHECK(wf_idle_search_end(&idle));
    CHECK(!wf_idle_notify(&idle));
    CHECK_EQ(0, wf_load_u64(&idle.word, WF_RELAXED));
}

END_TEST

TEST(who_wakes_by_itself_takes_the_token)
{
    struct wf_idle idle;

    wf_idle_init(&idle, 4);
    wf_idle_sleep_begin(&idle, false);
    CHECK(!wf_idle_sleep_end(&idle));
    wf_idle_sleep_begin(&idle, false);
    wf_idle_sleep_begin(&idle, false);
    CHECK(wf_idle_notify(&idle));
    CHECK(wf_idle_sleep_end(&idle));
    CHECK(!wf_idle_sleep_end(&idle));
    CHECK(wf_idle_search_end(&idle));
    CHECK_EQ(0, wf_load_u64(&idle.word, WF_RELAXED));
}

END_TEST

TEST(at_most_half_of_the_workers_search)
{
    struct wf_idle idle;

    for (unsigned workers = 1; workers <= WORKERS_MAX; workers++) {
        unsigned searching = 0;

        wf_idle_init(&idle, workers);
        while (wf_idle_search_begin(&idle))
            searching++;
        CHECK_EQ((workers + 1) / 2, searching);
        while (--searching)
            CHECK(!wf_idle_search_end(&idle));
        CHECK(wf_idle_search_end(&idle));
    }
}

END_TEST

enum model_worker { AWAKE, SEARCHING, ASLEEP };

/* Random legal steps; the model knows what each worker is, and how many tokens are out. */
TEST(the_counts_are_those_of_a_model)
{
    enum model_worker is[WORKERS_MAX] = {AWAKE};

    unsigned count[3] = {WORKERS_MAX, 0, 0}, tokens = 0;
    struct wf_idle idle;
    uint64_t rand = test_seed();

    wf_idle_init(&idle, WORKERS_MAX);
    for (unsigned step = 0; step < 100000; step++) {
        unsigned i = (unsigned)(test_rand(&rand) % WORKERS_MAX), choice = test_rand(&rand) % 4;
        enum model_worker *w = &is[i], before = *w;

        if (choice == 0) {
            bool call = count[SEARCHING] + tokens == 0 && count[ASLEEP] > tokens;

            CHECK_EQ(call, wf_idle_notify(&idle));
            tokens += call;
        } else if (*w == ASLEEP) {
            bool called = tokens > 0, again = choice == 1;

            CHECK_EQ(called || again,
                     again ? wf_idle_sleep_cancel(&idle, true) : wf_idle_sleep_end(&idle));
            tokens -= called;
            *w = called || again ? SEARCHING : AWAKE;
        } else if (choice == 1) {
            wf_idle_sleep_begin(&idle, *w == SEARCHING);
            *w = ASLEEP;
        } else if (*w == AWAKE) {
            bool may = 2 * (count[SEARCHING] + tokens) < WORKERS_MAX;

            CHECK_EQ(may, wf_idle_search_begin(&idle));
            *w = may ? SEARCHING : AWAKE;
        } else {
            CHECK_EQ(count[SEARCHING] + tokens == 1, wf_idle_search_end(&idle));
            *w = AWAKE;
        }
        count[before]--;
        count[*w]++;
        CHECK(tokens <= count[ASLEEP]); /* P1 */
        CHECK_EQ(count[ASLEEP] > 0, wf_idle_any_asleep(&idle));
        CHECK_EQ((count[SEARCHING] + tokens) | (uint64_t)count[ASLEEP] << 16 |
                     (uint64_t)tokens << 32,
                 wf_load_u64(&idle.word, WF_RELAXED));
    }
}

END_TEST

/* --- lost wake-ups -------------------------------------------------------------- */

struct plant {
    struct wf_idle idle;
    sem_t bed; /* what the hub's signal is */
    unsigned workers;
    struct wf_atomic_u64 heap, done;
    struct wf_atomic_u32 closed;
};

static void plant_notify(struct plant *p)
{
    if (wf_idle_notify(&p->idle))
        CHECK_EQ(0, sem_post(&p->bed));
}

static bool plant_take(struct plant *p)
{
    uint64_t n = wf_load_u64(&p->heap, WF_RELAXED);

    while (n)
        if (wf_cas_weak_u64(&p->heap, &n, n - 1, WF_ACQ_REL, WF_RELAXED))
            return true;
    return false;
}

static void plant_park(struct plant *p, bool *searching)
{
    wf_idle_sleep_begin(&p->idle, *searching);
    if (wf_load_u64(&p->heap, WF_RELAXED) == 0 && !wf_load_u32(&p->closed, WF_RELAXED))
        while (sem_wait(&p->bed) != 0)
            continue;
    *searching = wf_idle_sleep_end(&p->idle);
}

static void *plant_worker(void *arg)
{
    struct plant *p = arg;
    bool searching = false;

    while (!wf_load_u32(&p->closed, WF_ACQUIRE)) {
        bool found;

        if (!searching)
            searching = wf_idle_search_begin(&p->idle);
        /* As in the real one, who may not search does not look either. */
        found = searching && plant_take(p);
        if (!found) {
            plant_park(p, &searching);
            continue;
        }
        searching = false;
        if (wf_idle_search_end(&p->idle))
            plant_notify(p);
        wf_add_u64(&p->done, 1, WF_RELEASE);
    }
    return NULL;
}

/* Rounds of a few pieces of work; the next round begins when all of the last is done. */
static void plant_run(unsigned workers, uint64_t rounds, uint64_t seed)
{
    struct plant p = {.workers = workers};
    pthread_t threads[WORKERS_MAX];
    uint64_t rand = seed, made = 0;

    wf_idle_init(&p.idle, workers);
    CHECK_EQ(0, sem_init(&p.bed, 0, 0));
    for (unsigned i = 0; i < workers; i++)
        CHECK_EQ(0, pthread_create(&threads[i], NULL, plant_worker, &p));
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t n = 1 + test_rand(&rand) % 3;

        made += n;
        for (; n; n--) {
            wf_add_u64(&p.heap, 1, WF_RELEASE);
            plant_notify(&p);
        }
        /* A lost wake-up ends here, by the time limit of the test. */
        for (unsigned spins = 0; wf_load_u64(&p.done, WF_ACQUIRE) != made; spins++)
            if (spins > 200)
                sched_yield();
    }
    wf_store_u32(&p.closed, 1, WF_SEQ_CST);
    for (unsigned i = 0; i < workers; i++)
        CHECK_EQ(0, sem_post(&p.bed));
    for (unsigned i = 0; i < workers; i++)
        CHECK_EQ(0, pthread_join(threads[i], NULL));
    CHECK_EQ(0, sem_destroy(&p.bed));
}

TEST(no_wake_up_is_lost)
{
    plant_run(2, test_scaled(30000), test_seed());
    plant_run(3, test_scaled(15000), test_seed() + 1);
    plant_run(8, test_scaled(10000), test_seed() + 2);
}

END_TEST

TEST_MAIN("idle", nobody_is_woken_when_nobody_sleeps, one_token_is_out_at_a_time,
          who_wakes_by_itself_takes_the_token, at_most_half_of_the_workers_search,
          the_counts_are_those_of_a_model, no_wake_up_is_lost)
