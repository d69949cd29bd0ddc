/* SPDX-License-Identifier: MIT */
/*
 * broadcast.c - one value to many receivers: every value to each, or the latest to who looks.
 *
 * broadcast  isolates receiving from a channel of 128 values: one sender, eight receivers, and each value reaches
 *            all of them. The sender, which never waits in the channel, yields while more than half of it
 *            is unread, so nobody misses anything. ns per value delivered. It says little of who waits for each single
 *            value: here receivers mostly find one.
 * watch      isolates waiting for a change: one sender makes versions and yields after each, eight receivers wait
 *            for the next one and read it. ns per version seen; how many of them are seen is up to the
 *            scheduler, so it must not be read as the cost of a send.
 * watch_get  isolates reading: eight tasks read the latest value, which one more changes as often as it comes to
 *            run. ns per read.
 */
#include "bench.h"

#include <stdlib.h>

#define RECEIVERS 8
#define CAPACITY  128

/* --- broadcast ---------------------------------------------------------------------- */

struct listener {
    weft_broadcast_receiver *rx;
    uint64_t received, sum;
};

static int listener_run(void *arg)
{
    struct listener *l = arg;
    uint64_t value;
    int rc;

    while ((rc = weft_broadcast_recv(l->rx, &value)) == 1) {
        l->received++;
        l->sum += value;
    }
    weft_broadcast_receiver_close(l->rx);
    return rc;
}

static void broadcast_run(const struct bench_job *job)
{
    struct listener l[RECEIVERS] = {{0}};
    weft_task *tasks[RECEIVERS];
    weft_broadcast_sender *tx;
    weft_instant start;
    uint64_t sum = 0;

    bench_check(weft_broadcast_new(&tx, NULL, sizeof(uint64_t), CAPACITY), "broadcast");
    for (int i = 0; i < RECEIVERS; i++) {
        bench_check(weft_broadcast_subscribe(tx, &l[i].rx), "subscribe");
        tasks[i] = weft_spawn(listener_run, &l[i]);
    }
    start = weft_now();
    for (uint64_t n = 0; n < job->count; n++) {
        while (n % (CAPACITY / 2) == 0 && weft_broadcast_sender_len(tx) > CAPACITY / 2)
            bench_check(weft_yield(), "yield");
        bench_check(weft_broadcast_send(tx, &n), "send");
        sum += n;
    }
    weft_broadcast_sender_close(tx);
    for (int i = 0; i < RECEIVERS; i++)
        bench_join(tasks[i]);
    bench_report_per_item(job, start, job->count * RECEIVERS);
    for (int i = 0; i < RECEIVERS; i++)
        if (l[i].received != job->count || l[i].sum != sum)
            bench_fail("a value was missed");
}

/* --- watch -------------------------------------------------------------------------- */

struct watcher {
    weft_watch_receiver *rx;
    uint64_t seen, last;
};

static int watcher_run(void *arg)
{
    struct watcher *w = arg;
    uint64_t value;
    int rc;

    while ((rc = weft_watch_changed(w->rx)) == 1) {
        bench_check(weft_watch_get_and_update(w->rx, &value), "get");
        if (value <= w->last)
            bench_fail("an older value");
        w->last = value;
        w->seen++;
    }
    weft_watch_receiver_close(w->rx);
    return rc;
}

static void watch_run(const struct bench_job *job)
{
    struct watcher w[RECEIVERS] = {{0}};
    weft_task *tasks[RECEIVERS];
    weft_watch_sender *tx;
    weft_instant start;
    uint64_t zero = 0, seen = 0;

    bench_check(weft_watch_new(&tx, NULL, sizeof(zero), &zero), "watch");
    for (int i = 0; i < RECEIVERS; i++) {
        bench_check(weft_watch_subscribe(tx, &w[i].rx), "subscribe");
        tasks[i] = weft_spawn(watcher_run, &w[i]);
    }
    start = weft_now();
    for (uint64_t n = 1; n <= job->count; n++) {
        bench_check(weft_watch_send(tx, &n), "send");
        bench_check(weft_yield(), "yield");
    }
    weft_watch_sender_close(tx);
    for (int i = 0; i < RECEIVERS; i++) {
        bench_join(tasks[i]);
        seen += w[i].seen;
        if (w[i].last != job->count)
            bench_fail("the last value was missed");
    }
    bench_report_per_item(job, start, seen);
}

/* --- watch_get ---------------------------------------------------------------------- */

struct reader {
    weft_watch_receiver *rx;
    uint64_t reads, last;
};

static int reader_run(void *arg)
{
    struct reader *r = arg;

    for (uint64_t i = 0; i < r->reads; i++) {
        uint64_t value;

        bench_check(weft_watch_get(r->rx, &value), "get");
        if (value < r->last)
            bench_fail("an older value");
        r->last = value;
        if (i % 64 == 63)
            bench_check(weft_yield(), "yield");
    }
    return 0;
}

static int changer_run(void *arg)
{
    uint64_t n = 0;

    while (weft_watch_send(arg, &(uint64_t){++n}) == 0)
        bench_check(weft_yield(), "yield");
    return 0;
}

static void watch_get_run(const struct bench_job *job)
{
    struct reader r[RECEIVERS] = {{0}};
    weft_task *tasks[RECEIVERS], *changer;
    weft_watch_sender *tx;
    weft_instant start;
    uint64_t zero = 0;

    bench_check(weft_watch_new(&tx, NULL, sizeof(zero), &zero), "watch");
    start = weft_now();
    for (int i = 0; i < RECEIVERS; i++) {
        r[i].reads = job->count;
        bench_check(weft_watch_subscribe(tx, &r[i].rx), "subscribe");
        tasks[i] = weft_spawn(reader_run, &r[i]);
    }
    changer = weft_spawn(changer_run, tx);
    for (int i = 0; i < RECEIVERS; i++)
        bench_join(tasks[i]);
    bench_report_per_item(job, start, job->count * RECEIVERS);
    for (int i = 0; i < RECEIVERS; i++)
        weft_watch_receiver_close(r[i].rx);
    bench_join(changer);
    weft_watch_sender_close(tx);
}

const struct bench_workload bench_broadcast_workloads[] = {
    {"broadcast", "one sender, eight receivers", 1000000, 0, broadcast_run},
    {"watch", "one sender, eight that wait for changes", 1000000, 0, watch_run},
    {"watch_get", "eight tasks read what one changes", 1000000, 0, watch_get_run},
    {0},
};
