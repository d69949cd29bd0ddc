/* SPDX-License-Identifier: MIT */
/*
 * delay.c - what setting times anew costs: entries of a delay queue, a sleep, the ticks of an interval.
 *
 * delay_queue   isolates the queue with very many entries: a million of 8 bytes are inserted with pseudo-random times
 *               within a second, a tenth is set to another time, a tenth removed, and when all have expired the rest
 *               is taken, in order. The figures are ns per call, and the bytes of memory per entry; no timer of the
 *               runtime is in them, and no other thread.
 * sleep_reset   isolates the limit for silence: one pending sleep of 10 s is set anew again and again, as for each
 *               message of a connection.
 * interval_due  isolates a tick that is due: an interval that is always behind, each tick taken at once. A task may
 *               take 128 in a poll; the yields between are in the figure.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DELAY_SPREAD WEFT_SECS(1)
#define DELAY_LIMIT  WEFT_SECS(10)

static uint64_t delay_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Of the process, in bytes. */
static uint64_t delay_resident(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (!f || fscanf(f, "%*s %llu", &pages) != 1)
        bench_fail("cannot read /proc/self/statm");
    (void)fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void delay_report(const struct bench_job *job, const char *metric, weft_instant start,
                         uint64_t items)
{
    if (items == 0) /* of a single entry, which was removed, nothing is left to take */
        return;
    bench_report(job, metric, (double)(weft_now() - start) / (double)items, 1, "ns");
}

/* Take all, in order. Returns how many. */
static uint64_t delay_take_all(weft_delay_queue *q)
{
    weft_delay_expired e;
    weft_instant last = 0;
    uint64_t value, n = 0;
    int rc;

    while ((rc = weft_delay_queue_next(q, &value, &e)) == 1) {
        if (e.deadline < last)
            bench_fail("entries came out of order");
        last = e.deadline;
        n++;
    }
    bench_check(rc, "next");
    return n;
}

static void delay_queue_run(const struct bench_job *job)
{
    uint64_t n = job->count, tenth = n / 10 + 1, random = 88172645463325252u, before;
    weft_delay_key *key = bench_alloc(n, sizeof(*key));
    weft_instant begin, start;
    weft_delay_queue *q;

    memset(key, 1, n * sizeof(*key)); /* so that its pages are not counted below */
    bench_check(weft_delay_queue_new(&q, sizeof(uint64_t), NULL), "queue");
    before = delay_resident();
    begin = start = weft_now();
    for (uint64_t i = 0; i < n; i++)
        bench_check(weft_delay_queue_insert_at(q, &i, begin + delay_random(&random) % DELAY_SPREAD,
                                               &key[i]),
                    "insert");
    delay_report(job, "delay_queue_insert", start, n);
    bench_report(job, "delay_queue_bytes", (double)(delay_resident() - before) / (double)n, 1, "B");
    start = weft_now();
    for (uint64_t i = 0; i < tenth; i++)
        bench_check(weft_delay_queue_reset_at(q, key[delay_random(&random) % n],
                                              begin + delay_random(&random) % DELAY_SPREAD),
                    "reset");
    delay_report(job, "delay_queue_reset", start, tenth);
    start = weft_now();
    for (uint64_t i = 0; i < tenth; i++)
        bench_check(weft_delay_queue_remove(q, key[i * (n / tenth)], NULL), "remove");
    delay_report(job, "delay_queue_remove", start, tenth);
    bench_check(weft_sleep_until(begin + DELAY_SPREAD), "sleep");
    start = weft_now();
    if (delay_take_all(q) != n - tenth)
        bench_fail("entries were lost");
    delay_report(job, "delay_queue_take", start, n - tenth);
    weft_delay_queue_free(q);
    free(key);
}

/* sleep_reset */

static void sleep_reset_run(const struct bench_job *job)
{
    weft_future idle = weft_sleep_future(DELAY_LIMIT), ready = weft_ready_future(0);
    weft_future *list[] = {&idle, &ready};
    weft_instant start;

    if (weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP) != 1)
        bench_fail("a sleep of 10 s was ready at once");
    start = weft_now();
    for (uint64_t i = 0; i < job->count; i++)
        bench_check(weft_sleep_reset(&idle, start + DELAY_LIMIT + i * 100), "reset");
    bench_report_per_item(job, start, job->count);
    if (weft_sleep_deadline(&idle) != start + DELAY_LIMIT + (job->count - 1) * 100)
        bench_fail("the sleep was not set anew");
    weft_future_drop(&idle);
}

/* interval_due */

static void interval_due_run(const struct bench_job *job)
{
    weft_instant start = weft_now(), at = 0;
    weft_interval every;

    bench_check(weft_interval_init_at(&every, 0, 1), "interval");
    for (uint64_t i = 0; i < job->count; i++)
        bench_check(weft_interval_tick(&every, &at), "tick");
    bench_report_per_item(job, start, job->count);
    if (at != job->count - 1)
        bench_fail("ticks were left out");
}

const struct bench_workload bench_delay_workloads[] = {
    {"delay_queue", "entries inserted, a tenth reset, a tenth removed, the rest taken; per call",
     1000000, 0, delay_queue_run},
    {"sleep_reset", "a pending sleep is set anew; per reset", 5000000, 0, sleep_reset_run},
    {"interval_due", "a tick that is due; per tick", 5000000, 0, interval_due_run},
    {0},
};
