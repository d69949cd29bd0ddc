/* SPDX-License-Identifier: MIT */
/*
 * futures.c - many small operations: as futures of a set, and as tasks of several sizes.
 *
 * futures_unordered  isolates a set: 10,000 futures that yield once are pushed, and driven by one task until all have
 *                    ended, with a set of its own each round. Per item there is a push, a first poll, a wake from
 *                    within it, a second poll and the taking of the result; no wake comes from elsewhere.
 * grain              says how small a task may be: the same 10,000 items, each of which yields once, as a task each, in
 *                    tasks of 10, 100 and 1,000 items, through a set, and one after the other on one
 *                    task. What is left from one line to the next is the price of the tasks.
 */
#include "bench.h"

#include <stdio.h>

#define FUTURES_ITEMS 10000

static const uint64_t futures_sum = (uint64_t)FUTURES_ITEMS * (FUTURES_ITEMS - 1) / 2;

/* Ready at the second poll, with its number. */
static weft_poll item_poll(weft_future *f, weft_context *cx)
{
    if (f->words[1]) {
        f->result = (ssize_t)f->words[0];
        return WEFT_READY;
    }
    f->words[1] = 1;
    weft_waker_wake_by_ref(&cx->waker_);
    return WEFT_PENDING;
}

static const weft_future_type item_type = {.poll = item_poll, .name = "item"};

static void futures_round(void)
{
    weft_futures *set = weft_futures_new();
    ssize_t result;
    uint64_t sum = 0, tag;
    int rc;

    if (!set)
        bench_fail("no memory for a set");
    for (uint64_t i = 0; i < FUTURES_ITEMS; i++) {
        weft_future f = weft_future_of(&item_type);

        f.words[0] = i;
        bench_check(weft_futures_push(set, f, i), "push");
    }
    while ((rc = weft_futures_next(set, &tag, &result)) > 0)
        sum += (uint64_t)result;
    bench_check(rc, "next");
    weft_futures_free(set);
    if (sum != futures_sum)
        bench_fail("futures: the sum is wrong");
}

static void futures_unordered_run(const struct bench_job *job)
{
    weft_instant start = weft_now();

    for (uint64_t i = 0; i < job->count; i++)
        futures_round();
    bench_report_per_item(job, start, job->count * FUTURES_ITEMS);
}

/* grain */

struct grain_args {
    uint64_t from, count;
    _Atomic uint64_t *sum;
    struct bench_countdown *countdown;
};

/* A task of some items. */
static int grain_task(void *arg)
{
    struct grain_args *a = arg;
    uint64_t sum = 0;

    for (uint64_t i = 0; i < a->count; i++) {
        bench_check(weft_yield(), "yield");
        sum += a->from + i;
    }
    atomic_fetch_add_explicit(a->sum, sum, memory_order_relaxed);
    if (a->countdown)
        bench_countdown_hit(a->countdown);
    return 0;
}

static void grain_round(uint64_t size)
{
    struct bench_countdown all;
    _Atomic uint64_t sum = 0;

    bench_countdown_init(&all, FUTURES_ITEMS / size);
    for (uint64_t i = 0; i < FUTURES_ITEMS; i += size) {
        struct grain_args a = {.from = i, .count = size, .sum = &sum, .countdown = &all};

        bench_check(weft_go_copy(grain_task, &a, sizeof(a)), "spawn");
    }
    bench_countdown_wait(&all);
    if (atomic_load(&sum) != futures_sum)
        bench_fail("grain: the sum is wrong");
}

static void grain_one_task(void)
{
    _Atomic uint64_t sum = 0;
    struct grain_args a = {.count = FUTURES_ITEMS, .sum = &sum};

    (void)grain_task(&a);
    if (atomic_load(&sum) != futures_sum)
        bench_fail("grain: the sum is wrong");
}

static void grain_report(const struct bench_job *job, const char *metric, weft_instant start)
{
    bench_report(job, metric, (double)(weft_now() - start) / (double)(job->count * FUTURES_ITEMS),
                 1, "ns");
}

static void grain_run(const struct bench_job *job)
{
    static const uint64_t sizes[] = {1, 10, 100, 1000};
    char metric[32];
    weft_instant start;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        start = weft_now();
        for (uint64_t round = 0; round < job->count; round++)
            grain_round(sizes[i]);
        (void)snprintf(metric, sizeof(metric), "grain_x%u", (unsigned)sizes[i]);
        grain_report(job, metric, start);
    }
    start = weft_now();
    for (uint64_t round = 0; round < job->count; round++)
        futures_round();
    grain_report(job, "grain_set", start);
    start = weft_now();
    for (uint64_t round = 0; round < job->count; round++)
        grain_one_task();
    grain_report(job, "grain_one", start);
}

const struct bench_workload bench_futures_workloads[] = {
    {"futures_unordered", "10,000 futures that yield once, in a set, --n times; per item", 100, 0,
     futures_unordered_run},
    {"grain", "10,000 items that yield once, in tasks of several sizes, --n times; per item", 100,
     0, grain_run},
    {0},
};
