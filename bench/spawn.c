/* SPDX-License-Identifier: MIT */
/*
 * spawn.c - what it costs to start a task and to learn of its end.
 *
 * spawn_join      isolates spawning and joining: empty tasks, every handle kept in an array,
 *                 then all joined in order. It is the burst case, in which a million
 *                 tasks exist before the first is waited for; a server that spawns one task
 *                 for each connection sees its memory warm and pays less.
 * spawn_joinset   the same through a join set: spawned into it, and taken from it as they end.
 * spawn_local     the same through a local set: all tasks are pinned to the root's worker, and pass through its own
 *                 list.
 * spawn_detached  isolates spawning alone: nobody holds a handle, a counter tells the end.
 * chained_spawn   isolates the hand-over: each task starts the next one and ends, so that
 *                 never more than two exist. It must not be read as the cost of a spawn in
 *                 general: queue, header and stack are always the warmest ones there are.
 *
 * The stackless forms start tasks whose whole life is one poll. In all of them the root
 * task, which spawns and joins, is a fiber on a worker.
 */
#include "bench.h"

#include <stdlib.h>

/* spawn_join */

static int spawn_empty(void *arg)
{
    (void)arg;
    return 0;
}

static weft_poll spawn_empty_poll(void *self, weft_context *cx)
{
    weft_async *a = self;

    (void)cx;
    return weft_async_return(a, 0);
}

static const weft_async_type spawn_empty_type = {
    .poll = spawn_empty_poll,
    .size = sizeof(weft_async),
    .name = "empty",
};

static void spawn_join_run(const struct bench_job *job)
{
    weft_async state = {0};
    weft_instant start = weft_now();
    weft_task **tasks = bench_alloc(job->count, sizeof(weft_task *));

    if (job->stackless) {
        for (uint64_t i = 0; i < job->count; i++)
            tasks[i] = weft_spawn_async(&spawn_empty_type, &state);
    } else {
        for (uint64_t i = 0; i < job->count; i++)
            tasks[i] = weft_spawn(spawn_empty, NULL);
    }
    for (uint64_t i = 0; i < job->count; i++)
        bench_join(tasks[i]);

    bench_report_per_item(job, start, job->count);
    free(tasks);
}

/* spawn_joinset */

static void spawn_into(const struct bench_job *job, weft_join_set *set)
{
    weft_async state = {0};
    weft_instant start = weft_now();
    weft_join_done done;
    uint64_t taken = 0;

    if (!set)
        bench_fail("no memory for a set");
    if (job->stackless) {
        for (uint64_t i = 0; i < job->count; i++)
            bench_check(weft_join_set_spawn_async(set, &spawn_empty_type, &state), "spawn");
    } else {
        for (uint64_t i = 0; i < job->count; i++)
            bench_check(weft_join_set_spawn(set, spawn_empty, NULL), "spawn");
    }
    while (weft_join_set_next(set, &done) > 0) {
        if (done.result != 0)
            bench_fail("a task of the set has failed");
        taken++;
    }
    if (taken != job->count)
        bench_fail("the set has lost tasks");

    bench_report_per_item(job, start, job->count);
    weft_join_set_free(set);
}

static void spawn_joinset_run(const struct bench_job *job)
{
    spawn_into(job, weft_join_set_new());
}

/* spawn_local */

static void spawn_local_run(const struct bench_job *job)
{
    spawn_into(job, weft_local_set_new());
}

/* spawn_detached */

static int spawn_hit(void *arg)
{
    bench_countdown_hit(arg);
    return 0;
}

struct spawn_hit_state {
    weft_async async;
    struct bench_countdown *countdown;
};

static weft_poll spawn_hit_poll(void *self, weft_context *cx)
{
    struct spawn_hit_state *s = self;

    (void)cx;
    bench_countdown_hit(s->countdown);
    return weft_async_return(&s->async, 0);
}

static const weft_async_type spawn_hit_type = {
    .poll = spawn_hit_poll,
    .size = sizeof(struct spawn_hit_state),
    .name = "hit",
};

static void spawn_detached_run(const struct bench_job *job)
{
    struct bench_countdown all;
    struct spawn_hit_state state = {.countdown = &all};
    weft_instant start;

    bench_countdown_init(&all, job->count);
    start = weft_now();
    if (job->stackless) {
        for (uint64_t i = 0; i < job->count; i++)
            bench_check(weft_go_async(&spawn_hit_type, &state), "spawn");
    } else {
        for (uint64_t i = 0; i < job->count; i++)
            bench_check(weft_go(spawn_hit, &all), "spawn");
    }
    bench_countdown_wait(&all);
    bench_report_per_item(job, start, job->count);
}

/* chained_spawn */

/* Handed from task to task: only the youngest link touches it. */
struct spawn_chain {
    uint64_t left;
    struct bench_signal done;
};

static int spawn_link(void *arg)
{
    struct spawn_chain *chain = arg;

    if (chain->left-- == 0)
        bench_signal_fire(&chain->done);
    else
        bench_check(weft_go(spawn_link, chain), "spawn");
    return 0;
}

struct spawn_link_state {
    weft_async async;
    struct spawn_chain *chain;
};

static weft_poll spawn_link_poll(void *self, weft_context *cx);

static const weft_async_type spawn_link_type = {
    .poll = spawn_link_poll,
    .size = sizeof(struct spawn_link_state),
    .name = "link",
};

static weft_poll spawn_link_poll(void *self, weft_context *cx)
{
    struct spawn_link_state *s = self;
    struct spawn_link_state next = {.chain = s->chain};

    (void)cx;
    if (s->chain->left-- == 0)
        bench_signal_fire(&s->chain->done);
    else
        bench_check(weft_go_async(&spawn_link_type, &next), "spawn");
    return weft_async_return(&s->async, 0);
}

static void chained_spawn_run(const struct bench_job *job)
{
    struct spawn_chain chain = {.left = job->count};
    struct spawn_link_state first = {.chain = &chain};
    weft_instant start;

    bench_signal_init(&chain.done);
    start = weft_now();
    if (job->stackless)
        bench_check(weft_go_async(&spawn_link_type, &first), "spawn");
    else
        bench_check(weft_go(spawn_link, &chain), "spawn");
    bench_signal_wait(&chain.done);
    bench_report_per_item(job, start, job->count);
    bench_signal_release(&chain.done);
}

const struct bench_workload bench_spawn_workloads[] = {
    {"spawn_join", "spawn empty tasks, keep the handles, join all; per task", 1000000, BENCH_TWIN,
     spawn_join_run},
    {"spawn_joinset", "the same through a join set; per task", 1000000, BENCH_TWIN,
     spawn_joinset_run},
    {"spawn_local", "the same through a local set, on one thread; per task", 1000000, BENCH_TWIN,
     spawn_local_run},
    {"spawn_detached", "the same without handles, a counter tells the end; per task", 1000000,
     BENCH_TWIN, spawn_detached_run},
    {"chained_spawn", "each task spawns the next; per task", 1000000, BENCH_TWIN,
     chained_spawn_run},
    {0},
};
