/* SPDX-License-Identifier: MIT */
/*
 * channel.c - what it costs to hand values from task to task.
 *
 * mpsc_1p1c   isolates a send and a receive: the channel holds 100 values, so with one worker the two tasks change
 *             places once in a hundred messages. With two workers it is also the cost of moving
 *             cache lines between cores, and of waking, which depends on who is faster at the moment.
 * mpsc_8p1c   the same with eight producers: seven of them wait most of the time, so it adds what it costs to wait
 *             in line for room.
 * ping_pong   isolates waking: two tasks bounce a token over two channels of one value each. Each round is two
 *             sends, two receives that wait, and two switches between tasks. A runtime that keeps
 *             the two on one worker is faster here than one that spreads them.
 * oneshot     isolates making a channel for one value, and its end: sent before it is awaited, so that nobody
 *             waits. Read it as the floor of a request with an answer.
 * map_actor   the table and the 64 tasks of map_mutex (lock.c), with a task that owns the table in place of a mutex:
 *             each use is a message, with a oneshot channel for the answer. What that costs above map_mutex is
 *             the price of an actor, which cannot pay while a use is as short as here.
 */
#include "bench.h"
#include "map.h"

#include <stdlib.h>

#define CHANNEL_CAPACITY 100

/* --- many values one way ------------------------------------------------------------ */

struct channel_producer {
    weft_sender *tx;
    uint64_t count;
};

static int channel_produce(void *arg)
{
    const struct channel_producer *p = arg;
    int rc = 0;

    for (uint64_t i = 0; i < p->count; i++)
        rc |= weft_send(p->tx, &i);
    bench_check(rc, "send");
    weft_sender_close(p->tx);
    return 0;
}

struct channel_consumer {
    weft_receiver *rx;
    uint64_t count, sum;
};

static int channel_consume(void *arg)
{
    struct channel_consumer *c = arg;
    uint64_t value, count = 0, sum = 0;
    int rc;

    while ((rc = weft_recv(c->rx, &value)) > 0) {
        sum += value;
        count++;
    }
    bench_check(rc, "receive");
    c->count = count;
    c->sum = sum;
    return 0;
}

static void channel_run(const struct bench_job *job, unsigned producers)
{
    struct channel_producer p;
    struct channel_consumer c;
    uint64_t sum = 0;
    weft_instant start;
    weft_task *t;

    bench_check(weft_mpsc_new(&p.tx, &c.rx, sizeof(uint64_t), CHANNEL_CAPACITY), "channel");
    start = weft_now();
    for (unsigned i = 0; i < producers; i++) {
        if (i > 0)
            p.tx = weft_sender_clone(p.tx);
        p.count = bench_share(job->count, producers, i);
        if (p.count)
            sum += p.count * (p.count - 1) / 2;
        bench_check(weft_go_copy(channel_produce, &p, sizeof(p)), "spawn");
    }
    t = weft_spawn(channel_consume, &c);
    bench_join(t);
    bench_report_per_item(job, start, job->count);
    if (c.count != job->count || c.sum != sum)
        bench_fail("values were lost");
    weft_receiver_close(c.rx);
}

static void channel_1p1c_run(const struct bench_job *job)
{
    channel_run(job, 1);
}

static void channel_8p1c_run(const struct bench_job *job)
{
    channel_run(job, 8);
}

/* --- back and forth ------------------------------------------------------------------ */

struct channel_player {
    weft_sender *tx;
    weft_receiver *rx;
    uint64_t rounds;
};

static int channel_ping(void *arg)
{
    const struct channel_player *p = arg;
    uint64_t value = 0;

    for (uint64_t i = 0; i < p->rounds; i++) {
        bench_check(weft_send(p->tx, &i), "send");
        bench_check(weft_recv(p->rx, &value) - 1, "receive");
        if (value != i)
            bench_fail("another token");
    }
    return 0;
}

static int channel_pong(void *arg)
{
    const struct channel_player *p = arg;
    uint64_t value;

    for (uint64_t i = 0; i < p->rounds; i++) {
        bench_check(weft_recv(p->rx, &value) - 1, "receive");
        bench_check(weft_send(p->tx, &value), "send");
    }
    return 0;
}

static void channel_ping_pong_run(const struct bench_job *job)
{
    struct channel_player a = {.rounds = job->count}, b = a;
    weft_task *ping, *pong;
    weft_instant start;

    bench_check(weft_mpsc_new(&a.tx, &b.rx, sizeof(uint64_t), 1), "channel");
    bench_check(weft_mpsc_new(&b.tx, &a.rx, sizeof(uint64_t), 1), "channel");
    start = weft_now();
    ping = weft_spawn(channel_ping, &a);
    pong = weft_spawn(channel_pong, &b);
    bench_join(ping);
    bench_join(pong);
    bench_report_per_item(job, start, job->count);
    weft_sender_close(a.tx);
    weft_sender_close(b.tx);
    weft_receiver_close(a.rx);
    weft_receiver_close(b.rx);
}

/* --- one value ------------------------------------------------------------------------- */

static void channel_oneshot_run(const struct bench_job *job)
{
    weft_instant start = weft_now();
    uint64_t value, sum = 0;

    for (uint64_t i = 0; i < job->count; i++) {
        weft_oneshot_receiver *rx;
        weft_oneshot_sender *tx;

        bench_check(weft_oneshot_new(&tx, &rx, sizeof(uint64_t)), "channel");
        bench_check(weft_oneshot_send(tx, &i), "send");
        bench_check(weft_oneshot_recv(rx, &value) - 1, "receive");
        weft_oneshot_receiver_close(rx);
        sum += value;
    }
    bench_report_per_item(job, start, job->count);
    if (sum != job->count * (job->count - 1) / 2)
        bench_fail("values were lost");
}

/* --- a table that a task owns -------------------------------------------------------------- */

struct actor_request {
    struct map_use use;
    weft_oneshot_sender *reply;
};

struct actor {
    struct map map;
    weft_receiver *requests;
    uint64_t handled;
};

static int actor_run(void *arg)
{
    struct actor *a = arg;
    struct actor_request r;
    int rc;

    while ((rc = weft_recv(a->requests, &r)) > 0) {
        uint64_t value = map_do(&a->map, r.use);

        bench_check(weft_oneshot_send(r.reply, &value), "answer");
        a->handled++;
    }
    bench_check(rc, "receive");
    return 0;
}

struct actor_user {
    weft_sender *to_actor;
    uint64_t count, seed;
};

static int actor_use(void *arg)
{
    const struct actor_user *a = arg;
    struct map_uses uses = map_uses(a->seed);

    for (uint64_t i = 0; i < a->count; i++) {
        struct actor_request r = {.use = map_next_use(&uses)};
        weft_oneshot_receiver *reply;
        uint64_t value;

        bench_check(weft_oneshot_new(&r.reply, &reply, sizeof(value)), "channel");
        bench_check(weft_send(a->to_actor, &r), "ask");
        bench_check(weft_oneshot_recv(reply, &value) - 1, "await");
        weft_oneshot_receiver_close(reply);
        map_check(&uses, r.use, value);
    }
    map_done(&uses, a->count);
    return 0;
}

static void channel_actor_run(const struct bench_job *job)
{
    struct actor_user user = {.count = job->count};
    struct actor actor = {.map = map_new()};
    weft_task *t[MAP_TASKS], *owner;
    weft_instant start;

    bench_check(weft_mpsc_new(&user.to_actor, &actor.requests, sizeof(struct actor_request),
                              CHANNEL_CAPACITY),
                "channel");
    start = weft_now();
    owner = weft_spawn(actor_run, &actor);
    for (unsigned i = 0; i < MAP_TASKS; i++) {
        user.seed = i + 1;
        t[i] = weft_spawn_copy(actor_use, &user, sizeof(user));
    }
    for (unsigned i = 0; i < MAP_TASKS; i++)
        bench_join(t[i]);
    weft_sender_close(user.to_actor);
    bench_join(owner);
    bench_report_per_item(job, start, job->count * MAP_TASKS);
    if (actor.handled != job->count * MAP_TASKS)
        bench_fail("requests were lost");
    weft_receiver_close(actor.requests);
    free(actor.map.slots);
}

const struct bench_workload bench_channel_workloads[] = {
    {"mpsc_1p1c", "one task sends to another, 100 in flight; per message", 10000000, 0,
     channel_1p1c_run},
    {"mpsc_8p1c", "eight tasks send to another, 100 in flight; per message", 10000000, 0,
     channel_8p1c_run},
    {"ping_pong", "two tasks bounce a token over two channels; per round", 1000000, 0,
     channel_ping_pong_run},
    {"oneshot", "a channel for one value: make, send, await; each", 1000000, 0,
     channel_oneshot_run},
    {"map_actor", "64 tasks and a table that a task owns, 90 % look; --n uses each; per use", 20000,
     0, channel_actor_run},
    {0},
};
