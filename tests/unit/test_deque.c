/* SPDX-License-Identifier: MIT */
/*
 * test_deque.c - the ready queue against a naive model, then between an owner and thieves.
 *
 * The source is included with a first ring of two slots, so that growth and wraps happen all the
 * time; the tasks are numbers that nobody follows.
 */
#define WF_DEQUE_FIRST 2
#include "sched/deque.c" /* NOLINT(bugprone-suspicious-include) */
#include "support.h"

#include <pthread.h>
#include <stdlib.h>

#define MODEL_MAX 4096
#define THIEVES   3

static struct weft_task *number(uint64_t n)
{
    return (struct weft_task *)(uintptr_t)(n + 1); /* NOLINT(performance-no-int-to-ptr) */
}

static uint64_t number_of(const struct weft_task *t)
{
    CHECK(t != NULL);
    return (uint64_t)(uintptr_t)t - 1;
}

/* --- one thread ------------------------------------------------------------- */

/* What the deque must hold, oldest first, in values[first .. last). */
struct model {
    struct wf_deque deque;
    uint64_t values[MODEL_MAX];
    size_t first, last;
    uint64_t next;
    bool newest; /* D4: takers of the newest, or thieves of several */
};

static void model_take_expect(struct model *m, struct weft_task *got, bool newest)
{
    if (m->first == m->last) {
        CHECK(got == NULL);
        return;
    }
    CHECK_EQ(newest ? m->values[--m->last] : m->values[m->first++], number_of(got));
}

static void model_steal_half(struct model *m, unsigned max)
{
    struct weft_task *out[128];
    size_t len = m->last - m->first, want = len - len / 2;
    unsigned n = wf_deque_steal_half(&m->deque, out, max);

    CHECK_EQ(want < max ? want : max, n);
    for (unsigned i = 0; i < n; i++)
        CHECK_EQ(m->values[m->first++], number_of(out[i]));
}

static void model_step(struct model *m, uint64_t *rand, unsigned push_weight)
{
    unsigned what = (unsigned)(test_rand(rand) % 100);
    bool again = false;

    if (what < push_weight) {
        if (m->last == MODEL_MAX)
            return;
        m->values[m->last++] = m->next;
        CHECK(wf_deque_push(&m->deque, number(m->next++)));
    } else if (what % 3 == 0) {
        model_take_expect(m, wf_deque_steal_one(&m->deque, &again), false);
        CHECK(!again);
    } else if (m->newest) {
        model_take_expect(m, wf_deque_take_newest(&m->deque), true);
    } else if (what % 3 == 1) {
        model_take_expect(m, wf_deque_take_oldest(&m->deque), false);
    } else {
        model_steal_half(m, 1 + (unsigned)(test_rand(rand) % 128));
    }
    CHECK_EQ(m->last - m->first, wf_deque_len(&m->deque));
    if (m->first == m->last)
        m->first = m->last = 0;
}

static void model_run(bool newest, bool shared, uint64_t seed)
{
    struct model *m = calloc(1, sizeof(*m));
    uint64_t rand = seed;

    CHECK(m);
    m->newest = newest;
    CHECK_EQ(0, wf_deque_init(&m->deque, shared));
    for (unsigned phase = 0; phase < 64; phase++) {
        unsigned weight = 30 + (unsigned)(test_rand(&rand) % 50);

        for (unsigned i = 0; i < 1000; i++)
            model_step(m, &rand, weight);
    }
    while (m->first != m->last)
        model_take_expect(m, wf_deque_take_oldest(&m->deque), false);
    wf_deque_release(&m->deque);
    free(m);
}

TEST(it_is_what_a_list_would_be)
{
    uint64_t seed = test_seed();

    for (unsigned shared = 0; shared < 2; shared++)
        for (unsigned newest = 0; newest < 2; newest++)
            model_run(newest, shared, seed + shared * 2 + newest);
}

END_TEST

TEST(it_grows_and_wraps_without_losing_order)
{
    struct wf_deque d;
    uint64_t pushed = 0, taken = 0;

    CHECK_EQ(0, wf_deque_init(&d, true));
    /* Each round moves head by an odd number before the next growth, so that rings wrap. */
    for (unsigned round = 0; round < 300; round++) {
        for (unsigned i = 0; i < 7; i++)
            CHECK(wf_deque_push(&d, number(pushed++)));
        for (unsigned i = 0; i < 5; i++)
            CHECK_EQ(taken++, number_of(wf_deque_take_oldest(&d)));
    }
    CHECK_EQ(pushed - taken, wf_deque_len(&d));
    while (taken != pushed)
        CHECK_EQ(taken++, number_of(wf_deque_take_oldest(&d)));
    CHECK(wf_deque_take_oldest(&d) == NULL);
    wf_deque_release(&d);
}

END_TEST

TEST(rings_together_are_no_larger_than_twice_the_newest)
{
    struct wf_deque d;
    uint64_t sum = 0;
    struct wf_deque_ring *r;

    CHECK_EQ(0, wf_deque_init(&d, true));
    for (uint64_t i = 0; i < 1000; i++)
        CHECK(wf_deque_push(&d, number(i)));
    r = wf_load_ptr(&d.ring, WF_RELAXED);
    CHECK_EQ(1023, r->mask);
    for (; r; r = r->retired)
        sum += r->mask + 1;
    CHECK(sum <= 2048);
    while (wf_deque_take_newest(&d))
        continue;
    wf_deque_release(&d);
}

END_TEST

/* --- an owner and thieves ----------------------------------------------------- */

struct arena {
    struct wf_deque deque;
    uint64_t count;
    uint32_t *taken;           /* how often each number came out */
    struct wf_atomic_u32 done; /* all pushed, and taken out by the owner */
    bool newest;
    unsigned most; /* held at a time by the owner before it takes */
};

static void arena_took(struct arena *a, const struct weft_task *t)
{
    uint64_t n = number_of(t);

    CHECK(n < a->count);
    __atomic_fetch_add(&a->taken[n], 1, __ATOMIC_RELAXED);
}

static void *arena_thief(void *arg)
{
    struct arena *a = arg;
    struct weft_task *out[16];

    while (!wf_load_u32(&a->done, WF_ACQUIRE)) {
        if (a->newest) {
            bool again = false;
            struct weft_task *t = wf_deque_steal_one(&a->deque, &again);

            if (t)
                arena_took(a, t);
        } else {
            unsigned n = wf_deque_steal_half(&a->deque, out, wf_array_count(out));

            for (unsigned i = 0; i < n; i++)
                arena_took(a, out[i]);
        }
    }
    return NULL;
}

static bool arena_owner_take(struct arena *a)
{
    struct weft_task *t = a->newest ? wf_deque_take_newest(&a->deque)
                                    : wf_deque_take_oldest(&a->deque);

    if (t)
        arena_took(a, t);
    return t != NULL;
}

static void arena_run(bool newest, unsigned most, uint64_t count, uint64_t seed)
{
    struct arena a = {.count = count, .newest = newest, .most = most};
    pthread_t thieves[THIEVES];
    uint64_t rand = seed, pushed = 0;

    a.taken = calloc(count, sizeof(*a.taken));
    CHECK(a.taken);
    CHECK_EQ(0, wf_deque_init(&a.deque, true));
    for (unsigned i = 0; i < THIEVES; i++)
        CHECK_EQ(0, pthread_create(&thieves[i], NULL, arena_thief, &a));
    while (pushed < count) {
        uint64_t n = 1 + test_rand(&rand) % most;

        for (; n && pushed < count; n--)
            CHECK(wf_deque_push(&a.deque, number(pushed++)));
        for (n = test_rand(&rand) % (most + 1); n; n--)
            if (!arena_owner_take(&a))
                break;
    }
    while (arena_owner_take(&a) || wf_deque_len(&a.deque))
        continue;
    wf_store_u32(&a.done, 1, WF_RELEASE);
    for (unsigned i = 0; i < THIEVES; i++)
        CHECK_EQ(0, pthread_join(thieves[i], NULL));
    for (uint64_t i = 0; i < count; i++)
        if (a.taken[i] != 1)
            test_failed(__FILE__, __LINE__, "number %llu came out %u times", (unsigned long long)i,
                        a.taken[i]);
    wf_deque_release(&a.deque);
    free(a.taken);
}

TEST(thieves_of_several_lose_and_double_nothing)
{
    arena_run(false, 64, test_scaled(400000), test_seed());
    arena_run(false, 4, test_scaled(200000), test_seed() + 1);
}

END_TEST

TEST(thieves_of_one_lose_and_double_nothing)
{
    arena_run(true, 64, test_scaled(400000), test_seed());
}

END_TEST

/* The case that needs the fence: one task, its owner and the thieves all reach for it. */
TEST(the_last_task_goes_to_one_taker)
{
    arena_run(true, 1, test_scaled(400000), test_seed());
    arena_run(true, 2, test_scaled(200000), test_seed() + 1);
}

END_TEST

TEST_MAIN("deque", it_is_what_a_list_would_be, it_grows_and_wraps_without_losing_order,
          rings_together_are_no_larger_than_twice_the_newest,
          thieves_of_several_lose_and_double_nothing, thieves_of_one_lose_and_double_nothing,
          the_last_task_goes_to_one_taker)
