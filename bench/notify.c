/* SPDX-License-Identifier: MIT */
/*
 * notify.c - tasks that tell each other that something has happened, without a value.
 *
 * notify        isolates one wake between two tasks: they notify each other in turn, one round trip after
 *               the other. What a channel of one element would add is left out.
 * notify_all    isolates letting many go on at once: a thousand tasks wait, and are told all together.
 * cancel_child  isolates the life of a token below one that the whole program shares: made, asked, freed,
 *               as each request of a server does. With several workers it is the contention for that one.
 * cancel_wide   a token with so many below it is cancelled.
 */
#include "bench.h"

#include <stdlib.h>

/* --- in turn ------------------------------------------------------------------------------------ */

struct ping_pong {
    weft_notify ping, pong;
    uint64_t rounds;
};

static int ping_pong_answer(void *arg)
{
    struct ping_pong *p = arg;
    int rc = 0;

    for (uint64_t i = 0; i < p->rounds; i++) {
        rc |= weft_notify_wait(&p->ping);
        weft_notify_one(&p->pong);
    }
    return rc;
}

static void notify_run(const struct bench_job *job)
{
    struct ping_pong p = {.rounds = job->count};
    weft_task *t = weft_spawn(ping_pong_answer, &p);
    weft_instant start = weft_now();
    int rc = 0;

    for (uint64_t i = 0; i < p.rounds; i++) {
        weft_notify_one(&p.ping);
        rc |= weft_notify_wait(&p.pong);
    }
    bench_report_per_item(job, start, p.rounds);
    bench_check(rc, "notify");
    bench_join(t);
}

/* --- all at once ---------------------------------------------------------------------------------- */

#define NOTIFY_WAITERS 1000

struct crowd {
    weft_notify go, done;
    _Atomic uint64_t left;
    uint64_t rounds;
};

static int crowd_member(void *arg)
{
    struct crowd *c = arg;
    int rc = 0;

    for (uint64_t i = 0; i < c->rounds && rc == 0; i++) {
        weft_future go = weft_notify_wait_future(&c->go);

        (void)weft_notify_enable(&go);
        if (atomic_fetch_sub_explicit(&c->left, 1, memory_order_acq_rel) == 1)
            weft_notify_one(&c->done);
        rc = (int)weft_await(&go);
    }
    return rc;
}

static void notify_all_run(const struct bench_job *job)
{
    struct crowd c = {.left = NOTIFY_WAITERS, .rounds = job->count};
    weft_task **t = bench_alloc(NOTIFY_WAITERS, sizeof(weft_task *));
    weft_instant start = weft_now();

    for (size_t i = 0; i < NOTIFY_WAITERS; i++)
        t[i] = weft_spawn(crowd_member, &c);
    for (uint64_t i = 0; i < c.rounds; i++) {
        bench_check(weft_notify_wait(&c.done), "wait for all");
        atomic_store_explicit(&c.left, NOTIFY_WAITERS, memory_order_relaxed);
        weft_notify_waiters(&c.go);
    }
    for (size_t i = 0; i < NOTIFY_WAITERS; i++)
        bench_join(t[i]);
    bench_report_per_item(job, start, c.rounds * NOTIFY_WAITERS);
    free(t);
}

/* --- tokens ------------------------------------------------------------------------------------------ */

#define CANCEL_TASKS 8

struct requests {
    weft_cancel_token *root;
    uint64_t each;
};

static int requests_serve(void *arg)
{
    const struct requests *r = arg;
    bool cancelled = false;

    for (uint64_t i = 0; i < r->each; i++) {
        weft_cancel_token *t = weft_cancel_token_new(r->root);

        cancelled |= t == NULL || weft_cancel_token_is_cancelled(t);
        weft_cancel_token_free(t);
        if (i % 64 == 0)
            bench_check(weft_consume_budget(), "budget");
    }
    return cancelled ? -1 : 0;
}

static void cancel_child_run(const struct bench_job *job)
{
    struct requests r = {.root = weft_cancel_token_new(NULL)};
    weft_task *t[CANCEL_TASKS];
    weft_instant start = weft_now();

    for (unsigned i = 0; i < CANCEL_TASKS; i++) {
        r.each = bench_share(job->count, CANCEL_TASKS, i);
        t[i] = weft_spawn_copy(requests_serve, &r, sizeof(r));
    }
    for (int i = 0; i < CANCEL_TASKS; i++)
        bench_join(t[i]);
    bench_report_per_item(job, start, job->count);
    weft_cancel_token_free(r.root);
}

static void cancel_wide_run(const struct bench_job *job)
{
    weft_cancel_token **t = bench_alloc(job->count, sizeof(weft_cancel_token *));
    weft_cancel_token *root = weft_cancel_token_new(NULL);
    weft_instant start;

    for (uint64_t i = 0; i < job->count; i++)
        t[i] = weft_cancel_token_new(root);
    start = weft_now();
    weft_cancel_token_cancel(root);
    bench_report_per_item(job, start, job->count);
    for (uint64_t i = 0; i < job->count; i++) {
        if (!weft_cancel_token_is_cancelled(t[i]))
            bench_fail("a token was not cancelled");
        weft_cancel_token_free(t[i]);
    }
    weft_cancel_token_free(root);
    free(t);
}

const struct bench_workload bench_notify_workloads[] = {
    {"notify", "two tasks notify each other in turn; per round trip", 1000000, 0, notify_run},
    {"notify_all", "1,000 tasks are notified together; per task and round", 300, 0, notify_all_run},
    {"cancel_child", "8 tasks make, ask and free tokens below a shared one; per token", 2000000, 0,
     cancel_child_run},
    {"cancel_wide", "a token is cancelled; per token below it", 100000, 0, cancel_wide_run},
    {0},
};
