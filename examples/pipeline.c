/* SPDX-License-Identifier: MIT */
/*
 * pipeline.c - sources, workers and a sink, and between them queues that hold back who is too fast.
 *
 *      source ---.                  .--- worker ---.
 *      source ----+--- 8 places ---+---- worker ----+--- 4 places --- sink
 *      source ---'                  '--- worker ---'
 *
 * Each queue is a bounded channel: a send awaits while it is full. The sink is the slowest part, so after a moment all
 * others go at its pace; and however much there is to do, there is never more in memory than the queues hold and the
 * tasks have in hand. A stage ends when the one before it has: closing the last sender is all that it takes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <weft.h>

#define SOURCES 3
#define WORKERS 3
#define ITEMS   200 /* of each source */
#define BATCH   4

struct item {
    unsigned source, number;
    uint64_t square;
};

struct source {
    weft_sender *out; /* its own: closed by it */
    unsigned index;
};

/* Makes items as fast as it may. */
static int source_run(void *arg)
{
    struct source *s = arg;
    int rc = 0;

    for (unsigned i = 1; i <= ITEMS && rc == 0; i++)
        rc = weft_send(s->out, &(struct item){.source = s->index, .number = i});
    weft_sender_close(s->out);
    s->out = NULL;
    return rc;
}

/* What the workers share: a receiving end, which one of them uses at a time. */
struct intake {
    weft_mutex mutex;
    weft_receiver *in;
};

struct worker {
    struct intake *intake;
    weft_sender *out; /* its own */
};

/* The mutex is held over the await: the others wait in line for it meanwhile. */
static int intake_next(struct intake *intake, struct item *item)
{
    int locked, rc = 0;

    WEFT_LOCK_SCOPE(&intake->mutex, &locked)
    {
        rc = weft_recv(intake->in, item);
    }
    return locked < 0 ? locked : rc;
}

static int worker_run(void *arg)
{
    struct worker *w = arg;
    struct item item;
    int rc;

    while ((rc = intake_next(w->intake, &item)) > 0) {
        item.square = (uint64_t)item.number * item.number;
        rc = weft_send(w->out, &item);
        if (rc < 0)
            break;
    }
    weft_sender_close(w->out);
    w->out = NULL;
    return rc;
}

/* Takes all that is there at once, and then needs a while for it. */
static int sink(weft_receiver *in, uint64_t *sum)
{
    struct item batch[BATCH];
    ssize_t n;

    while ((n = weft_recv_many(in, batch, BATCH)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            *sum += batch[i].square;
        n = weft_sleep(WEFT_US(50));
        if (n < 0)
            break;
    }
    return (int)n;
}

struct pipeline {
    struct intake intake;
    weft_sender *raw_tx, *done_tx;
    weft_receiver *done_rx;
    struct source sources[SOURCES];
    struct worker workers[WORKERS];
    uint64_t sum;
};

static int pipeline_open(struct pipeline *p)
{
    weft_channel_options raw = {.name = "raw"}, done = {.name = "done"};
    int rc;

    rc = weft_mpsc_new_with(&p->raw_tx, &p->intake.in, sizeof(struct item), 8, &raw);
    if (rc == 0)
        rc = weft_mpsc_new_with(&p->done_tx, &p->done_rx, sizeof(struct item), 4, &done);
    return rc;
}

/* What has not been closed on the way. */
static void pipeline_close(struct pipeline *p)
{
    for (unsigned i = 0; i < SOURCES; i++)
        weft_sender_close(p->sources[i].out);
    for (unsigned i = 0; i < WORKERS; i++)
        weft_sender_close(p->workers[i].out);
    weft_sender_close(p->raw_tx);
    weft_sender_close(p->done_tx);
    weft_receiver_close(p->intake.in);
    weft_receiver_close(p->done_rx);
}

static int pipeline_start(struct pipeline *p, weft_scope *s)
{
    ssize_t id = 0;

    for (unsigned i = 0; i < SOURCES && id >= 0; i++) {
        p->sources[i] = (struct source){weft_sender_clone(p->raw_tx), i};
        id = weft_scope_spawn(s, source_run, &p->sources[i]);
    }
    for (unsigned i = 0; i < WORKERS && id >= 0; i++) {
        p->workers[i] = (struct worker){&p->intake, weft_sender_clone(p->done_tx)};
        id = weft_scope_spawn(s, worker_run, &p->workers[i]);
    }
    /* From here on a queue is closed when the last of its senders' tasks has ended. */
    weft_sender_close(p->raw_tx);
    weft_sender_close(p->done_tx);
    p->raw_tx = p->done_tx = NULL;
    return id < 0 ? (int)id : 0;
}

static void say(const weft_receiver *rx)
{
    weft_channel_info info;

    if (weft_receiver_get_info(rx, &info) == 0)
        (void)printf("%s: %" PRIu64 " items, at most %" PRIu64 " of %" PRIu64 " at a time\n",
                     info.name, info.received, info.depth_max, info.capacity);
}

static int app(void *arg)
{
    struct pipeline p = {.intake.mutex = WEFT_MUTEX_INIT};
    int rc = pipeline_open(&p), drained = 0;

    (void)arg;
    /* A stage that fails cancels all others, and the sink with them. */
    if (rc == 0)
        WEFT_SCOPE(s, &rc)
        {
            drained = pipeline_start(&p, s);
            if (drained == 0)
                drained = sink(p.done_rx, &p.sum);
            if (drained < 0)
                weft_scope_cancel(s);
        }
    if (rc == 0)
        rc = drained;
    if (rc == 0) {
        say(p.intake.in);
        say(p.done_rx);
        (void)printf("the squares add up to %" PRIu64 "\n", p.sum);
    }
    pipeline_close(&p);
    return rc;
}

int main(void)
{
    return weft_run(app, NULL);
}
