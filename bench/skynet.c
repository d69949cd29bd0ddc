/* SPDX-License-Identifier: MIT */
/*
 * skynet.c - a tree of tasks: each inner node spawns ten children, joins them and adds up
 * what they found. A million leaves, 1,111,111 nodes.
 *
 * It isolates how spawning, joining and stealing work together when every task makes work for
 * the others: unlike spawn_join no single task spawns everything. It must not be read as
 * a measure of parallel speed: a leaf does nothing, so that the time is all overhead and
 * mostly memory traffic.
 *
 * A child's sum does not fit the int that a task returns; it is written where the parent
 * says, and the join orders that write before the parent's read.
 */
#include "bench.h"

#include <stdlib.h>

#define SKYNET_FAN 10

struct skynet_node {
    uint64_t first; /* the number of its first leaf */
    uint64_t size;  /* leaves below it */
    uint64_t sum;   /* out */
};

/* The children live in their parent's frame, which outlives them: it joins them all. */
static int skynet_fiber(void *arg)
{
    struct skynet_node *node = arg, child[SKYNET_FAN];
    weft_task *task[SKYNET_FAN];
    uint64_t part = node->size / SKYNET_FAN, sum = 0;

    if (node->size == 1) {
        node->sum = node->first;
        return 0;
    }
    for (unsigned i = 0; i < SKYNET_FAN; i++) {
        child[i] = (struct skynet_node){.first = node->first + i * part, .size = part};
        task[i] = weft_spawn(skynet_fiber, &child[i]);
    }
    for (unsigned i = 0; i < SKYNET_FAN; i++) {
        bench_join(task[i]);
        sum += child[i].sum;
    }
    node->sum = sum;
    return 0;
}

/* What only inner nodes need, apart from the state so that a leaf stays small. */
struct skynet_kids {
    struct skynet_node node[SKYNET_FAN];
    weft_task *task[SKYNET_FAN];
    weft_future joined;
    unsigned next;
};

struct skynet_state {
    weft_async async;
    struct skynet_node *node;
    struct skynet_kids *kids;
};

static weft_poll skynet_poll(void *self, weft_context *cx);

static const weft_async_type skynet_type = {
    .poll = skynet_poll,
    .size = sizeof(struct skynet_state),
    .name = "skynet",
};

static struct skynet_kids *skynet_spawn_kids(const struct skynet_node *node)
{
    struct skynet_kids *kids = bench_alloc(1, sizeof(struct skynet_kids));
    uint64_t part = node->size / SKYNET_FAN;

    for (unsigned i = 0; i < SKYNET_FAN; i++) {
        struct skynet_state child = {.node = &kids->node[i]};

        kids->node[i] = (struct skynet_node){.first = node->first + i * part, .size = part};
        kids->task[i] = weft_spawn_async(&skynet_type, &child);
        if (kids->task[i] == NULL)
            bench_fail("spawn: out of memory");
    }
    return kids;
}

static weft_poll skynet_poll(void *self, weft_context *cx)
{
    struct skynet_state *s = self;

    WEFT_ASYNC_BEGIN(s);
    if (s->node->size == 1) {
        s->node->sum = s->node->first;
        WEFT_RETURN(s, 0);
    }
    s->kids = skynet_spawn_kids(s->node);
    for (s->kids->next = 0; s->kids->next < SKYNET_FAN; s->kids->next++) {
        s->kids->joined = weft_join_future(s->kids->task[s->kids->next]);
        WEFT_AWAIT(s, cx, &s->kids->joined);
        weft_detach(s->kids->task[s->kids->next]);
        s->node->sum += s->kids->node[s->kids->next].sum;
    }
    free(s->kids);
    WEFT_RETURN(s, 0);
    WEFT_ASYNC_END(s);
}

static void skynet_run(const struct bench_job *job)
{
    struct skynet_node root = {.size = job->count};
    struct skynet_state state = {.node = &root};
    weft_instant start = weft_now();
    uint64_t size;

    for (size = job->count; size % SKYNET_FAN == 0; size /= SKYNET_FAN)
        continue;
    if (size != 1)
        bench_fail("skynet: --n must be a power of ten");

    if (job->stackless)
        bench_join(weft_spawn_async(&skynet_type, &state));
    else
        skynet_fiber(&root);

    bench_report(job, "skynet", (double)(weft_now() - start) / 1e6, 1, "ms");
    if (root.sum != job->count / 2 * (job->count - 1))
        bench_fail("skynet: wrong sum");
}

const struct bench_workload bench_skynet_workloads[] = {
    {"skynet", "a tree of tasks, ten children each, joined by handles; in all", 1000000, BENCH_TWIN,
     skynet_run},
    {0},
};
