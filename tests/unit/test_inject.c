/* SPDX-License-Identifier: MIT */
/* test_inject.c - the injection queue: order, limits, and many producers and consumers at once. */
#include "sched/inject.h"

#include "support.h"
#include "task/task.h"

#include <pthread.h>
#include <stdlib.h>

#define PRODUCERS 3
#define CONSUMERS 2

TEST(it_is_first_in_first_out_and_counts)
{
    struct weft_task *t = calloc(10, sizeof(*t)), *out[16];
    struct wf_inject q;

    CHECK(t);
    wf_inject_init(&q);
    CHECK_EQ(0, wf_inject_take(&q, out, 16));
    for (unsigned i = 0; i < 10; i++) {
        wf_inject_push(&q, &t[i]);
        CHECK_EQ(i + 1, wf_inject_len(&q));
    }
    CHECK_EQ(0, wf_inject_take(&q, out, 0));
    CHECK_EQ(4, wf_inject_take(&q, out, 4));
    CHECK_EQ(6, wf_inject_len(&q));
    CHECK_EQ(6, wf_inject_take(&q, out + 4, 12));
    for (unsigned i = 0; i < 10; i++) {
        CHECK(out[i] == &t[i]);
        CHECK(t[i].next == NULL);
    }
    CHECK_EQ(0, wf_inject_len(&q));
    /* Emptied, it begins anew: the last pointer must not be a stale one. */
    wf_inject_push(&q, &t[3]);
    CHECK_EQ(1, wf_inject_take(&q, out, 16));
    CHECK(out[0] == &t[3]);
    free(t);
}

END_TEST

struct market {
    struct wf_inject queue;
    struct weft_task *tasks; /* PRODUCERS times each; the id is the place in its own row */
    uint64_t each;
    struct wf_atomic_u64 taken;
    struct wf_atomic_u32 turn; /* hands out the rows */
};

static void *market_produce(void *arg)
{
    struct market *m = arg;
    struct weft_task *row = m->tasks + wf_add_u32(&m->turn, 1, WF_RELAXED) * m->each;

    for (uint64_t i = 0; i < m->each; i++) {
        row[i].id = i;
        wf_inject_push(&m->queue, &row[i]);
    }
    return NULL;
}

static void *market_consume(void *arg)
{
    struct market *m = arg;
    struct weft_task *out[8];
    int64_t last[PRODUCERS];

    for (unsigned i = 0; i < PRODUCERS; i++)
        last[i] = -1;
    while (wf_load_u64(&m->taken, WF_RELAXED) < m->each * PRODUCERS) {
        unsigned n = wf_inject_take(&m->queue, out, 8);

        for (unsigned i = 0; i < n; i++) {
            size_t row = (size_t)(out[i] - m->tasks) / m->each;

            /* Of one producer each consumer sees them in order. */
            CHECK((int64_t)out[i]->id > last[row]);
            last[row] = (int64_t)out[i]->id;
            CHECK_EQ(0, out[i]->flags.raw++);
        }
        wf_add_u64(&m->taken, n, WF_RELAXED);
    }
    return NULL;
}

TEST(many_producers_and_consumers_lose_and_double_nothing)
{
    struct market m = {.each = test_scaled(100000)};
    pthread_t threads[PRODUCERS + CONSUMERS];

    m.tasks = calloc(m.each * PRODUCERS, sizeof(*m.tasks));
    CHECK(m.tasks);
    wf_inject_init(&m.queue);
    for (unsigned i = 0; i < PRODUCERS + CONSUMERS; i++)
        CHECK_EQ(0, pthread_create(&threads[i], NULL,
                                   i < PRODUCERS ? market_produce : market_consume, &m));
    for (unsigned i = 0; i < PRODUCERS + CONSUMERS; i++)
        CHECK_EQ(0, pthread_join(threads[i], NULL));
    CHECK_EQ(m.each * PRODUCERS, wf_load_u64(&m.taken, WF_RELAXED));
    CHECK_EQ(0, wf_inject_len(&m.queue));
    for (uint64_t i = 0; i < m.each * PRODUCERS; i++)
        CHECK_EQ(1, m.tasks[i].flags.raw);
    free(m.tasks);
}

END_TEST

TEST_MAIN("inject", it_is_first_in_first_out_and_counts,
          many_producers_and_consumers_lose_and_double_nothing)
