/* SPDX-License-Identifier: MIT */
/*
 * yield.c - what it costs to let others run.
 *
 * yield_one   isolates the scheduler's loop and one switch out and in: there is nobody else
 *             to run. Everything is warm, the branch predictor included, and the runtime
 *             may notice that only one task is ready: read it as the floor, not as a switch
 *             between tasks.
 * yield_many  isolates the switch between tasks: a thousand of them, whose stacks and headers
 *             do not fit the first-level cache. With several workers it is also the
 *             case in which stealing should not happen, for all have enough to do.
 */
#include "bench.h"

#include <stdlib.h>

#define YIELD_TASKS 1000

struct yield_state {
    weft_async async;
    uint64_t left;
    struct bench_countdown *countdown; /* hit at the end */
    weft_future yield;
};

static weft_poll yield_poll(void *self, weft_context *cx)
{
    struct yield_state *s = self;

    WEFT_ASYNC_BEGIN(s);
    for (; s->left > 0; s->left--) {
        s->yield = weft_yield_future();
        WEFT_AWAIT(s, cx, &s->yield);
    }
    bench_countdown_hit(s->countdown);
    WEFT_RETURN(s, 0);
    WEFT_ASYNC_END(s);
}

static const weft_async_type yield_type = {
    .poll = yield_poll,
    .size = sizeof(struct yield_state),
    .name = "yield",
};

/* The argument of a fiber: copied into it. */
struct yield_args {
    uint64_t left;
    struct bench_countdown *countdown;
};

static int yield_fiber(void *arg)
{
    struct yield_args *a = arg;
    int rc = 0;

    for (uint64_t i = 0; i < a->left; i++)
        rc |= weft_yield();
    bench_check(rc, "yield");
    bench_countdown_hit(a->countdown);
    return 0;
}

/* The fiber that yields alone is the root task itself; its stackless twin runs while the root
 * task sleeps. */
static void yield_one_run(const struct bench_job *job)
{
    struct bench_countdown all;
    struct yield_args args = {.left = job->count, .countdown = &all};
    struct yield_state state = {.left = job->count, .countdown = &all};
    weft_instant start;

    bench_countdown_init(&all, 1);
    start = weft_now();
    if (job->stackless)
        bench_check(weft_go_async(&yield_type, &state), "spawn");
    else
        yield_fiber(&args);
    bench_countdown_wait(&all);
    bench_report_per_item(job, start, job->count);
}

static void yield_many_run(const struct bench_job *job)
{
    struct bench_countdown all;
    struct yield_args args = {.left = job->count, .countdown = &all};
    struct yield_state state = {.left = job->count, .countdown = &all};
    weft_instant start;

    bench_countdown_init(&all, YIELD_TASKS);
    start = weft_now();
    for (unsigned i = 0; i < YIELD_TASKS; i++) {
        if (job->stackless)
            bench_check(weft_go_async(&yield_type, &state), "spawn");
        else
            bench_check(weft_go_copy(yield_fiber, &args, sizeof(args)), "spawn");
    }
    bench_countdown_wait(&all);
    bench_report_per_item(job, start, job->count * YIELD_TASKS);
}

const struct bench_workload bench_yield_workloads[] = {
    {"yield_one", "one task yields, nobody else is there; per yield", 10000000, BENCH_TWIN,
     yield_one_run},
    {"yield_many", "1,000 tasks yield --n times each; per yield", 10000, BENCH_TWIN,
     yield_many_run},
    {0},
};
