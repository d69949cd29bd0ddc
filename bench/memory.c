/* SPDX-License-Identifier: MIT */
/*
 * memory.c - what a waiting task occupies: a million tasks in a long sleep.
 *
 * It isolates the resident memory of an idle task: header, timer and, for a fiber, the
 * pages of its stack that were touched. memory_N is the growth of the process's resident set
 * divided by N; memory_pte_N is the growth of its page tables, which the resident set
 * does not count: a stack in its own pages costs some. It must not be read as what a
 * task of a real program needs: that one has locals and buffers, and calls deeper than a sleep.
 *
 * The process ends without waking anybody.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_NAP WEFT_SECS(1000)

/* What a line of /proc/self/status says, in bytes. name goes with its colon. */
static double memory_status(const char *name)
{
    FILE *f = fopen("/proc/self/status", "r");
    size_t length = strlen(name);
    double bytes = -1;
    char line[256];

    if (f == NULL)
        bench_fail("cannot read /proc/self/status");
    while (bytes < 0 && fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, name, length) == 0)
            bytes = 1024 * (double)strtoull(line + length, NULL, 10);
    }
    fclose(f);
    if (bytes < 0)
        bench_fail("/proc/self/status lacks a line");
    return bytes;
}

static int memory_fiber(void *arg)
{
    bench_countdown_hit(arg);
    bench_check(weft_sleep(MEMORY_NAP), "sleep");
    return 0;
}

struct memory_state {
    weft_async async;
    struct bench_countdown *countdown;
    weft_future nap;
};

static weft_poll memory_poll(void *self, weft_context *cx)
{
    struct memory_state *s = self;

    WEFT_ASYNC_BEGIN(s);
    bench_countdown_hit(s->countdown);
    s->nap = weft_sleep_future(MEMORY_NAP);
    WEFT_AWAIT(s, cx, &s->nap);
    WEFT_RETURN(s, 0);
    WEFT_ASYNC_END(s);
}

static const weft_async_type memory_type = {
    .poll = memory_poll,
    .size = sizeof(struct memory_state),
    .name = "memory",
};

static void memory_run(const struct bench_job *job)
{
    struct bench_countdown all;
    struct memory_state state = {.countdown = &all};
    double resident, tables, count = (double)job->count;
    char metric[64];

    bench_countdown_init(&all, job->count);
    resident = memory_status("VmRSS:");
    tables = memory_status("VmPTE:");
    for (uint64_t i = 0; i < job->count; i++) {
        if (job->stackless)
            bench_check(weft_go_async(&memory_type, &state), "spawn");
        else
            bench_check(weft_go(memory_fiber, &all), "spawn");
    }
    bench_countdown_wait(&all);

    /* The last ones have said that they run, not yet that they sleep. */
    bench_check(weft_sleep(WEFT_MS(20)), "sleep");
    resident = memory_status("VmRSS:") - resident;
    tables = memory_status("VmPTE:") - tables;

    snprintf(metric, sizeof(metric), "memory_%llu", (unsigned long long)job->count);
    bench_report(job, metric, resident / count, 1, "B");
    snprintf(metric, sizeof(metric), "memory_pte_%llu", (unsigned long long)job->count);
    bench_report(job, metric, tables / count, 1, "B");
    _exit(0);
}

const struct bench_workload bench_memory_workloads[] = {
    {"memory", "tasks in a long sleep; resident bytes and page tables per task", 1000000,
     BENCH_TWIN | BENCH_FINAL, memory_run},
    {0},
};
