/* SPDX-License-Identifier: MIT */
/*
 * time.c - tasks that sleep: what very many timers cost, and how late a few are.
 *
 * timers      isolates the timers' bulk: a million tasks that each sleep once, 0.1 to 1.1 s,
 *             pseudo-random (the same numbers as everywhere else). timers_cpu, CPU seconds of
 *             the whole process, is the figure to compare; it holds the spawns too, and for
 *             fibers a million stacks touched. timers_p50 and timers_p99 are lateness: the
 *             machine is saturated while the first timers fall due, so they tell how
 *             well firing keeps up with spawning and are no measure of precision.
 * idle_ticks  isolates precision: a hundred tasks tick every 10 ms on a runtime that has
 *             nothing else to do. It holds the kernel's own lateness in waking an idle core,
 *             which on a virtual machine is most of it. `ticks` is the share of the ticks that
 *             an ideal clock would have made.
 * blocked     isolates what a task that blocks its thread does to its neighbours: the same ticks beside
 *             four tasks that block for 100 ms at a time, on two workers.
 * hog         the same with tasks that compute for 100 ms at a time. Here the ticks also wait for a processor.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define TICKS_TASKS      100
#define TICKS_EVERY      WEFT_MS(10)
#define TICKS_FOR        WEFT_SECS(2)
#define TICKS_MAX        256 /* more than a task can make: a tick is never early */
#define TICKS_NEIGHBOURS 4
#define STALL_LENGTH     WEFT_MS(100)

static uint64_t time_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static double time_cpu_seconds(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* Microseconds from due until now. An early timer is a broken promise, not a good result. */
static uint32_t time_late_us(weft_instant due)
{
    weft_instant now = weft_now();

    if (now < due)
        bench_fail("a timer fired early");
    return (uint32_t)((now - due) / 1000);
}

/* timers */

struct timer_args {
    struct bench_countdown *countdown;
    uint32_t *late_us; /* out */
    weft_duration nap;
};

static int timer_fiber(void *arg)
{
    struct timer_args *a = arg;
    weft_instant due = weft_instant_add(weft_now(), a->nap);

    bench_check(weft_sleep(a->nap), "sleep");
    *a->late_us = time_late_us(due);
    bench_countdown_hit(a->countdown);
    return 0;
}

struct timer_state {
    weft_async async;
    struct timer_args args;
    weft_instant due;
    weft_future nap;
};

static weft_poll timer_poll(void *self, weft_context *cx)
{
    struct timer_state *s = self;

    WEFT_ASYNC_BEGIN(s);
    s->due = weft_instant_add(weft_now(), s->args.nap);
    s->nap = weft_sleep_future(s->args.nap);
    WEFT_AWAIT(s, cx, &s->nap);
    *s->args.late_us = time_late_us(s->due);
    bench_countdown_hit(s->args.countdown);
    WEFT_RETURN(s, 0);
    WEFT_ASYNC_END(s);
}

static const weft_async_type timer_type = {
    .poll = timer_poll,
    .size = sizeof(struct timer_state),
    .name = "timer",
};

static void timers_run(const struct bench_job *job)
{
    uint32_t *late_us = bench_alloc(job->count, sizeof(uint32_t));
    uint64_t random = 88172645463325252u;
    struct bench_countdown all;
    double cpu = time_cpu_seconds(), spawn_s, wall_s;
    weft_instant start = weft_now();

    bench_countdown_init(&all, job->count);
    for (uint64_t i = 0; i < job->count; i++) {
        struct timer_args args = {
            .countdown = &all,
            .late_us = &late_us[i],
            .nap = WEFT_US(100000 + time_random(&random) % 1000000),
        };

        if (job->stackless)
            bench_check(weft_go_async(&timer_type, &(struct timer_state){.args = args}), "spawn");
        else
            bench_check(weft_go_copy(timer_fiber, &args, sizeof(args)), "spawn");
    }
    spawn_s = (double)(weft_now() - start) / 1e9;
    bench_countdown_wait(&all);
    cpu = time_cpu_seconds() - cpu;
    wall_s = (double)(weft_now() - start) / 1e9;

    bench_sort(late_us, job->count);
    bench_report(job, "timers_cpu", cpu, 3, "s");
    bench_report(job, "timers_wall", wall_s, 3, "s");
    bench_report(job, "timers_spawn", spawn_s, 3, "s");
    bench_report(job, "timers_p50", bench_percentile(late_us, job->count, 50), 0, "us");
    bench_report(job, "timers_p99", bench_percentile(late_us, job->count, 99), 0, "us");
    free(late_us);
}

/* idle_ticks */

struct ticker {
    weft_instant start;
    size_t count;
    uint32_t late_us[TICKS_MAX];
};

static bool ticker_more(const struct ticker *t)
{
    return weft_now() - t->start < TICKS_FOR && t->count < TICKS_MAX;
}

static int ticker_fiber(void *arg)
{
    struct ticker *t = arg;

    while (ticker_more(t)) {
        weft_instant due = weft_instant_add(weft_now(), TICKS_EVERY);

        bench_check(weft_sleep(TICKS_EVERY), "sleep");
        t->late_us[t->count++] = time_late_us(due);
    }
    return 0;
}

struct ticker_state {
    weft_async async;
    struct ticker *ticker;
    weft_instant due;
    weft_future nap;
};

static weft_poll ticker_poll(void *self, weft_context *cx)
{
    struct ticker_state *s = self;

    WEFT_ASYNC_BEGIN(s);
    while (ticker_more(s->ticker)) {
        s->due = weft_instant_add(weft_now(), TICKS_EVERY);
        s->nap = weft_sleep_future(TICKS_EVERY);
        WEFT_AWAIT(s, cx, &s->nap);
        s->ticker->late_us[s->ticker->count++] = time_late_us(s->due);
    }
    WEFT_RETURN(s, 0);
    WEFT_ASYNC_END(s);
}

static const weft_async_type ticker_type = {
    .poll = ticker_poll,
    .size = sizeof(struct ticker_state),
    .name = "ticker",
};

/* What four neighbours do with their thread, twenty times at most. */
enum stall { NOTHING, BLOCK, COMPUTE };

struct neighbour {
    enum stall stall;
    _Atomic bool stop;
};

static int neighbour_fiber(void *arg)
{
    struct neighbour *n = arg;

    for (unsigned i = 0; i < 20 && !atomic_load(&n->stop); i++) {
        weft_instant until = weft_instant_add(weft_now(), STALL_LENGTH);

        if (n->stall == BLOCK)
            (void)usleep(STALL_LENGTH / 1000);
        while (n->stall == COMPUTE && weft_now() < until)
            continue;
        bench_check(weft_yield(), "yield");
    }
    return 0;
}

static void ticks_report(const struct bench_job *job, uint32_t *late_us, size_t count)
{
    static const struct {
        const char *metric;
        unsigned percent;
    } rows[] = {{"p50", 50}, {"p99", 99}, {"max", 100}};

    double ideal = TICKS_TASKS * ((double)TICKS_FOR / (double)TICKS_EVERY);
    char metric[32];

    bench_sort(late_us, count);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(metric, sizeof(metric), "%s_%s", job->workload->name, rows[i].metric);
        bench_report(job, metric, bench_percentile(late_us, count, rows[i].percent) / 1e3, 3, "ms");
    }
    (void)snprintf(metric, sizeof(metric), "%s_ticks", job->workload->name);
    bench_report(job, metric, 100 * (double)count / ideal, 1, "%");
}

static void ticks_run(const struct bench_job *job, enum stall stall)
{
    struct ticker *ticker = bench_alloc(TICKS_TASKS, sizeof(struct ticker));
    uint32_t *late_us = bench_alloc(TICKS_TASKS * (size_t)TICKS_MAX, sizeof(uint32_t));
    weft_task *task[TICKS_TASKS], *stalled[TICKS_NEIGHBOURS];
    struct neighbour neighbour = {.stall = stall};
    weft_instant start = weft_now();
    size_t count = 0;

    for (unsigned i = 0; i < TICKS_TASKS; i++) {
        ticker[i].start = start;
        task[i] = job->stackless
                      ? weft_spawn_async(&ticker_type, &(struct ticker_state){.ticker = &ticker[i]})
                      : weft_spawn(ticker_fiber, &ticker[i]);
    }
    for (unsigned i = 0; i < TICKS_NEIGHBOURS; i++)
        stalled[i] = weft_spawn(neighbour_fiber, &neighbour);
    for (unsigned i = 0; i < TICKS_TASKS; i++) {
        bench_join(task[i]);
        for (size_t k = 0; k < ticker[i].count; k++)
            late_us[count++] = ticker[i].late_us[k];
    }
    atomic_store(&neighbour.stop, true);
    for (unsigned i = 0; i < TICKS_NEIGHBOURS; i++)
        bench_join(stalled[i]);
    ticks_report(job, late_us, count);
    free(late_us);
    free(ticker);
}

static void idle_ticks_run(const struct bench_job *job)
{
    ticks_run(job, NOTHING);
}

static void blocked_run(const struct bench_job *job)
{
    ticks_run(job, BLOCK);
}

static void hog_run(const struct bench_job *job)
{
    ticks_run(job, COMPUTE);
}

const struct bench_workload bench_timer_workloads[] = {
    {"timers", "each task sleeps 0.1 to 1.1 s once; CPU, wall, lateness", 1000000, BENCH_TWIN,
     timers_run},
    {"idle_ticks", "100 tasks tick every 10 ms for 2 s; lateness", 1, BENCH_TWIN, idle_ticks_run},
    {"blocked", "the same beside 4 tasks that block 100 ms at a time", 1, BENCH_TWIN, blocked_run},
    {"hog", "the same beside 4 tasks that compute 100 ms at a time", 1, BENCH_TWIN, hog_run},
    {0},
};
