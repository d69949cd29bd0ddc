/* SPDX-License-Identifier: MIT */
/*
 * plan.c - what a round is: all of it drawn from one seed and the round's number, so that a round can be
 * repeated alone.
 *
 * What happens in it in which order is up to the machine; the plan fixes runtimes, configurations, endings, the
 * weights of the acts, and the random numbers that every actor begins with.
 */
#include "acts.h"

#include <stdio.h>

#define FEATURED 3 /* acts that a round is mostly about */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(SANITIZED)
# define STACK_LEAST 1u /* an index: their frames are larger */
#else
# define STACK_LEAST 0u
#endif

static void hook_task_spawn(void *living, const weft_task *t)
{
    struct soak_living *l = living;

    soak_begin_id(SOAK_TASK, weft_task_id(t));
    if (l)
        __atomic_fetch_add(&l->alive, 1, __ATOMIC_RELAXED);
}

static void hook_task_end(void *living, const weft_task *t)
{
    struct soak_living *l = living;

    soak_end_id(SOAK_TASK, weft_task_id(t));
    if (l)
        __atomic_fetch_sub(&l->alive, 1, __ATOMIC_RELEASE);
}

/* As many threads as there are workers were counted as alive when they were made: one may begin when all others
 * have ended. Others, which stand in or are of the pool, count from here on; which is which does not matter. */
static void hook_thread_start(void *living)
{
    struct soak_living *l = living;

    soak_begin(SOAK_WORKER);
    if (l && __atomic_fetch_sub(&l->not_yet_begun, 1, __ATOMIC_RELAXED) <= 0)
        __atomic_fetch_add(&l->alive, 1, __ATOMIC_RELAXED);
}

static void hook_thread_stop(void *living)
{
    struct soak_living *l = living;

    soak_end(SOAK_WORKER);
    if (l)
        __atomic_fetch_sub(&l->alive, 1, __ATOMIC_RELEASE);
}

static void hook_thread_park(void *unused)
{
    (void)unused;
    soak_begin(SOAK_SLEEP);
}

static void hook_thread_unpark(void *unused)
{
    (void)unused;
    soak_end(SOAK_SLEEP);
}

static weft_switch plan_switch(uint64_t *rand)
{
    static const weft_switch any[] = {WEFT_DEFAULT, WEFT_ON, WEFT_OFF};

    return any[soak_roll(rand, 3)];
}

#define PLAN_PICK(rand, array) ((array)[soak_roll(rand, sizeof(array) / sizeof((array)[0]))])

weft_config soak_plan_config(uint64_t *rand)
{
    static const unsigned intervals[] = {0, 0, 1, 2, 7, 61, 500};
    static const unsigned queue_intervals[] = {0, 0, 1, 3, 31, 127};
    static const weft_duration spins[] = {0, 0, WEFT_US(5), WEFT_US(50), WEFT_US(300)};
    weft_config c = {
        .flavor = soak_one_in(rand, 4) ? WEFT_CURRENT_THREAD : WEFT_MULTI_THREAD,
        .event_interval = PLAN_PICK(rand, intervals),
        .global_queue_interval = PLAN_PICK(rand, queue_intervals),
        .lifo_slot = plan_switch(rand),
        .spin = PLAN_PICK(rand, spins),
        .signal_reports = plan_switch(rand),
        .ignore_env = WEFT_ON,
        .rng_seed = test_rand(rand),
        .on_thread_start = hook_thread_start,
        .on_thread_stop = hook_thread_stop,
        .on_thread_park = hook_thread_park,
        .on_thread_unpark = hook_thread_unpark,
        .on_task_spawn = hook_task_spawn,
        .on_task_end = hook_task_end,
    };

    c.stack_size = (size_t)64 << (10 + STACK_LEAST + soak_roll(rand, 5));
    if (c.flavor == WEFT_MULTI_THREAD)
        c.worker_threads = 1 + (unsigned)soak_roll(rand, 8);
    return c;
}

/* The acts: each has a small weight, or none; a few have a large one. */
static void plan_mix(struct soak_plan *p, bool served, uint64_t *rand)
{
    for (unsigned i = 0; i < soak_act_count; i++)
        p->weights[i] = (uint8_t)soak_roll(rand, 5);
    for (unsigned i = 0; i < FEATURED; i++)
        p->weights[soak_roll(rand, soak_act_count)] = (uint8_t)(10 + soak_roll(rand, 30));
    for (unsigned i = 0; i < soak_act_count; i++)
        if ((p->quiet && soak_acts[i].flags & SOAK_TIMES) ||
            (!served && soak_acts[i].flags & SOAK_NET))
            p->weights[i] = 0;
}

void soak_plan_make(struct soak_plan *p, uint64_t seed, unsigned round, weft_duration length)
{
    static const unsigned crowds[] = {20, 200, 800, 2500};
    uint64_t rand = (seed ^ (round + 1) * UINT64_C(0x9e3779b97f4a7c15)) | 1;
    bool served = false, cut;

    for (int i = 0; i < 8; i++) /* seeds that are near each other part */
        (void)test_rand(&rand);
    *p = (struct soak_plan){.seed = seed, .round = round};
    p->length = WEFT_MS(800 + soak_roll(&rand, 2200));
    if (length)
        p->length = length;
    p->runtimes = 1 + (unsigned)soak_roll(&rand, SOAK_RUNTIMES);
    p->quiet = soak_one_in(&rand, 4);
    p->heavy_guards = soak_one_in(&rand, 8);
    p->abandon = soak_one_in(&rand, 24);
    p->actors_max = PLAN_PICK(&rand, crowds) / test_slow() + 20;
    p->clerks = 1 + (unsigned)soak_roll(&rand, 2);
    p->ghosts = 1 + (unsigned)soak_roll(&rand, 2);
    p->spawners = (unsigned)soak_roll(&rand, 3);
    p->lives = (unsigned)soak_roll(&rand, 3);
    cut = soak_one_in(&rand, 2);
    for (unsigned i = 0; i < p->runtimes; i++) {
        struct soak_runtime_plan *r = &p->runtime[i];

        r->config = soak_plan_config(&rand);
        r->ending = (enum soak_ending)soak_roll(&rand, SOAK_ENDINGS);
        if (!cut)
            r->ending = SOAK_DRAIN;
        r->cut_after = p->length / 10 * (1 + soak_roll(&rand, 10));
        r->acceptors = soak_one_in(&rand, 3) ? 0 : 1 + (unsigned)soak_roll(&rand, 4);
        served |= r->acceptors > 0;
    }
    plan_mix(p, served, &rand);
    p->rand = test_rand(&rand) | 1;
}

static const char *plan_ending(enum soak_ending ending)
{
    switch (ending) {
    case SOAK_DRAIN:
        return "";
    case SOAK_CUT:
        return "/cut";
    case SOAK_CUT_INSIDE:
        return "/cut-inside";
    case SOAK_CUT_LIMIT:
        return "/cut-limit";
    case SOAK_ENDINGS:
        break;
    }
    return "?";
}

void soak_plan_print(const struct soak_plan *p, char *text, size_t size)
{
    int n = snprintf(text, size, "[");

    for (unsigned i = 0; i < p->runtimes; i++) {
        const struct soak_runtime_plan *r = &p->runtime[i];

        n += snprintf(
            text + n, size - (size_t)n, "%s%.0d%s%s", i ? " " : "", (int)r->config.worker_threads,
            r->config.flavor == WEFT_CURRENT_THREAD ? "current" : "w", plan_ending(r->ending));
    }
    n += snprintf(text + n, size - (size_t)n,
                  "]%s %u+%u+%u+%u threads, %u tasks:", p->quiet ? " quiet" : "", p->clerks,
                  p->ghosts, p->spawners, p->lives, p->actors_max);
    for (unsigned i = 0; i < soak_act_count; i++)
        if (p->weights[i] >= 10)
            n += snprintf(text + n, size - (size_t)n, " %s*%u", soak_acts[i].name, p->weights[i]);
}
