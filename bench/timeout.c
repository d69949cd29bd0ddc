/* SPDX-License-Identifier: MIT */
/*
 * timeout.c - what a limit costs an operation that does not reach it.
 *
 * timeout_ready  isolates the wrapper: the operation is ready at its first poll, so that no
 *                timer is needed. A runtime that arms one anyway shows it here.
 * timeout_armed  isolates the pair of arming and cancelling: a sleep of 10 s is polled once,
 *                which registers it, and is dropped. Nothing else is armed meanwhile, so the
 *                wheel is empty and its cache lines are warm. It says nothing of timers that fire.
 *
 * A task may finish 128 operations in one poll; a sleep polled beyond that would answer
 * pending without registering, and the benchmark would measure an empty step. So
 * timeout_armed yields after every hundred (the yields are in the time: about one per cent),
 * and looks at the end whether a timer really was armed.
 */
#include "bench.h"

#define TIMEOUT_LIMIT WEFT_SECS(10)
#define TIMEOUT_BATCH 100

/* timeout_ready */

static void timeout_ready_fiber(uint64_t count)
{
    ssize_t rc = 0;

    for (uint64_t i = 0; i < count; i++) {
        weft_future op = weft_ready_future(0);

        rc |= weft_timeout(TIMEOUT_LIMIT, &op);
    }
    bench_check(rc, "timeout");
}

struct timeout_state {
    weft_async async;
    uint64_t left;
    weft_future op;
    weft_future limit;
};

static weft_poll timeout_ready_poll(void *self, weft_context *cx)
{
    struct timeout_state *s = self;

    WEFT_ASYNC_BEGIN(s);
    for (; s->left > 0; s->left--) {
        s->op = weft_ready_future(0);
        s->limit = weft_timeout_future(TIMEOUT_LIMIT, &s->op);
        WEFT_AWAIT(s, cx, &s->limit);
        bench_check(s->limit.result, "timeout");
    }
    WEFT_RETURN(s, 0);
    WEFT_ASYNC_END(s);
}

static const weft_async_type timeout_ready_type = {
    .poll = timeout_ready_poll,
    .size = sizeof(struct timeout_state),
    .name = "timeout_ready",
};

static void timeout_ready_run(const struct bench_job *job)
{
    struct timeout_state state = {.left = job->count};
    weft_instant start = weft_now();

    if (job->stackless)
        bench_join(weft_spawn_async(&timeout_ready_type, &state));
    else
        timeout_ready_fiber(job->count);
    bench_report_per_item(job, start, job->count);
}

/* timeout_armed */

/* A future that is ready at once, after polling another one: how a fiber polls by hand. */
static weft_poll timeout_once_poll(weft_future *f, weft_context *cx)
{
    weft_future *inner = (weft_future *)f->words[0];

    f->result = weft_future_poll(inner, cx);
    return WEFT_READY;
}

static const weft_future_type timeout_once_type = {
    .poll = timeout_once_poll,
    .name = "poll once",
};

static void timeout_arm(weft_future *nap)
{
    weft_future once = weft_future_of(&timeout_once_type);

    *nap = weft_sleep_future(TIMEOUT_LIMIT);
    once.words[0] = (uintptr_t)nap;
    if (weft_await(&once) != WEFT_PENDING)
        bench_fail("a sleep of 10 s was ready at once");
}

static void timeout_armed_fiber(uint64_t count)
{
    weft_future nap;

    for (uint64_t i = 0; i < count; i++) {
        timeout_arm(&nap);
        weft_future_drop(&nap);
        if (i % TIMEOUT_BATCH == TIMEOUT_BATCH - 1)
            bench_check(weft_yield(), "yield");
    }
}

/* One batch, from within a poll. */
static void timeout_arm_batch(weft_context *cx, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        weft_future nap = weft_sleep_future(TIMEOUT_LIMIT);

        if (weft_future_poll(&nap, cx) != WEFT_PENDING)
            bench_fail("a sleep of 10 s was ready at once");
        weft_future_drop(&nap);
    }
}

static weft_poll timeout_armed_poll(void *self, weft_context *cx)
{
    struct timeout_state *s = self;

    WEFT_ASYNC_BEGIN(s);
    while (s->left > 0) {
        timeout_arm_batch(cx, s->left < TIMEOUT_BATCH ? s->left : TIMEOUT_BATCH);
        s->left -= s->left < TIMEOUT_BATCH ? s->left : TIMEOUT_BATCH;
        s->op = weft_yield_future();
        WEFT_AWAIT(s, cx, &s->op);
    }
    WEFT_RETURN(s, 0);
    WEFT_ASYNC_END(s);
}

static const weft_async_type timeout_armed_type = {
    .poll = timeout_armed_poll,
    .size = sizeof(struct timeout_state),
    .name = "timeout_armed",
};

/* Polling a sleep by hand must register it: else the figure above is one of nothing. */
static void timeout_armed_proof(void)
{
    weft_metrics before, after;
    weft_future nap;

    bench_check(weft_yield(), "yield");
    bench_check(weft_metrics_snapshot(weft_runtime_current(), &before), "metrics");
    for (unsigned i = 0; i < TIMEOUT_BATCH; i++) {
        timeout_arm(&nap);
        if (i < TIMEOUT_BATCH - 1)
            weft_future_drop(&nap);
    }
    bench_check(weft_metrics_snapshot(weft_runtime_current(), &after), "metrics");
    weft_future_drop(&nap);
    if (after.timers_armed != before.timers_armed + 1)
        bench_fail("timeout_armed: the sleep was not armed");
}

static void timeout_armed_run(const struct bench_job *job)
{
    struct timeout_state state = {.left = job->count};
    weft_instant start = weft_now();

    if (job->stackless)
        bench_join(weft_spawn_async(&timeout_armed_type, &state));
    else
        timeout_armed_fiber(job->count);
    bench_report_per_item(job, start, job->count);
    timeout_armed_proof();
}

const struct bench_workload bench_timeout_workloads[] = {
    {"timeout_ready", "a limit of 10 s around a ready operation; per operation", 5000000,
     BENCH_TWIN, timeout_ready_run},
    {"timeout_armed", "a timer of 10 s is registered, then cancelled; per timer", 5000000,
     BENCH_TWIN, timeout_armed_run},
    {0},
};
