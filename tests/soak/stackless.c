/* SPDX-License-Identifier: MIT */
/*
 * stackless.c - tasks without a stack: each naps, waits for a hand-over, then for several things at once,
 * and may spawn. Its state is dropped once, by whatever way it ends.
 */
#include "soak.h"

#include <errno.h>

#define COURIER_MAGIC UINT64_C(0x636f757269657263)

struct courier {
    weft_async async; /* first */
    uint64_t magic;
    uint64_t id;
    uint64_t rand;
    unsigned rounds;
    unsigned depth, home;
    int value;
    struct soak_slot *slot[2];
    weft_future f[3];
    weft_future *list[3];
    weft_future all;
};

static void courier_order(struct courier *c, unsigned i)
{
    CHECK(!c->slot[i]);
    c->slot[i] = soak_slot_new(&c->rand);
    soak_office_post(c->slot[i]);
    c->f[i] = soak_slot_future(c->slot[i]);
    c->list[i] = &c->f[i];
}

static void courier_put(struct courier *c, unsigned i)
{
    if (c->slot[i])
        soak_slot_put(c->slot[i]);
    c->slot[i] = NULL;
}

/* The state does not move after the spawn: futures in it may point at each other from the first poll on. */
static void courier_choose(struct courier *c)
{
    c->f[2] = soak_stage.plan.quiet ? weft_yield_future()
                                    : weft_sleep_future(WEFT_US(soak_roll(&c->rand, 300)));
    c->list[2] = &c->f[2];
    if (soak_one_in(&c->rand, 2))
        c->all = weft_join_all_future(c->list, 3);
    else
        c->all = weft_select_future(c->list, 3, WEFT_SELECT_RANDOM);
}

static void courier_spawn(struct courier *c)
{
    struct soak_actor a = {.rand = test_rand(&c->rand) | 1, .depth = c->depth, .home = c->home};

    if (c->depth < 3 && soak_has_room() && soak_one_in(&c->rand, 4))
        CHECK_EQ(0, weft_go(soak_actor_run, soak_seed_pointer(soak_child_seed(&a))));
}

static weft_poll courier_poll(void *self, weft_context *cx)
{
    struct courier *c = self;

    CHECK(c->magic == COURIER_MAGIC);
    WEFT_ASYNC_BEGIN(c);
    while (c->rounds--) {
        courier_order(c, 0);
        WEFT_AWAIT(c, cx, &c->f[0]);
        CHECK_EQ(soak_slot_value(c->slot[0]), c->f[0].result);
        courier_put(c, 0);
        courier_spawn(c);
        courier_order(c, 0);
        courier_order(c, 1);
        courier_choose(c);
        WEFT_AWAIT(c, cx, &c->all);
        CHECK(c->all.result >= 0 && c->all.result < 3);
        courier_put(c, 0);
        courier_put(c, 1);
        soak_moved();
    }
    WEFT_RETURN(c, c->value);
    WEFT_ASYNC_END(c);
}

static void courier_drop(void *self)
{
    struct courier *c = self;

    CHECK(c->magic == COURIER_MAGIC);
    c->magic = 0;
    courier_put(c, 0);
    courier_put(c, 1);
    soak_end_id(SOAK_STACKLESS, c->id);
}

static const weft_async_type courier_type = {.poll = courier_poll,
                                             .drop = courier_drop,
                                             .size = sizeof(struct courier),
                                             .name = "courier"};

weft_task *soak_stackless_spawn(struct soak_actor *a, int *value)
{
    struct courier c = {.magic = COURIER_MAGIC,
                        .id = test_rand(&a->rand),
                        .rand = test_rand(&a->rand) | 1,
                        .rounds = (unsigned)roll(a, 4),
                        .depth = a->depth + 1,
                        .home = a->home};
    weft_task *t;

    c.value = *value = soak_value(c.id);
    soak_begin_id(SOAK_STACKLESS, c.id);
    t = weft_spawn_async(&courier_type, &c);
    CHECK(t);
    return t;
}

/* --- until a moment ---------------------------------------------------------------------- */

struct napper {
    weft_async async; /* first */
    weft_instant at;
    weft_future f;
};

static weft_poll napper_poll(void *self, weft_context *cx)
{
    struct napper *n = self;

    WEFT_ASYNC_BEGIN(n);
    n->f = weft_sleep_until_future(n->at);
    WEFT_AWAIT(n, cx, &n->f);
    CHECK(weft_now() >= n->at);
    WEFT_ASYNC_END(n);
}

static void napper_drop(void *self)
{
    soak_end_id(SOAK_STACKLESS, ((struct napper *)self)->at);
}

static const weft_async_type napper_type = {.poll = napper_poll,
                                            .drop = napper_drop,
                                            .size = sizeof(struct napper),
                                            .name = "napper"};

weft_task *soak_stackless_until(weft_instant at)
{
    struct napper n = {.at = at};

    soak_begin_id(SOAK_STACKLESS, at);
    return weft_spawn_async(&napper_type, &n);
}
