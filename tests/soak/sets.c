/* SPDX-License-Identifier: MIT */
/*
 * sets.c - acts about sets of futures: hand-overs and children driven from one task, in order or not, taken to the end
 * or given up half way; and loops of a few at a time.
 */
#include "soak.h"

#include <errno.h>

#define MOST 12

struct batch {
    struct soak_actor *a;
    unsigned n, asked, got;
    unsigned flags;
    bool tasks;
    struct soak_slot *slot[MOST];
    int value[MOST];
    bool seen[MOST];
};

static void batch_open(struct batch *b, struct soak_actor *a, bool tasks)
{
    *b = (struct batch){.a = a,
                        .n = 1 + (unsigned)roll(a, MOST),
                        .flags = one_in(a, 2) ? WEFT_FUTURES_ORDERED : WEFT_FUTURES_UNORDERED,
                        .tasks = tasks};
}

static void batch_close(struct batch *b)
{
    for (unsigned i = 0; i < b->asked; i++)
        if (b->slot[i])
            soak_slot_put(b->slot[i]);
}

/* The next of them: a child, or something that is on its way. */
static weft_future batch_next(struct batch *b)
{
    unsigned i = b->asked++;

    if (b->tasks) {
        uint64_t seed = soak_child_seed(b->a);

        b->value[i] = soak_value(seed);
        return weft_task_future(weft_spawn_copy(soak_actor_run_copy, &seed, sizeof(seed)));
    }
    b->slot[i] = soak_order(b->a);
    b->value[i] = soak_slot_value(b->slot[i]);
    return soak_slot_future(b->slot[i]);
}

/* Each comes once, with its value; in order, if they are to. A child may be cancelled by the end of its runtime. */
static void batch_claim(struct batch *b, uint64_t tag, ssize_t result)
{
    CHECK(tag < b->asked && !b->seen[tag]);
    CHECK(b->flags != WEFT_FUTURES_ORDERED || tag == b->got);
    b->seen[tag] = true;
    b->got++;
    if (result != b->value[tag]) {
        CHECK(b->tasks);
        CHECK_EQ(-ECANCELED, result);
        CHECK(soak_is_cut());
    }
}

static void batch_push(struct batch *b, weft_futures *set)
{
    while (b->asked < b->n) {
        unsigned i = b->asked;

        if (b->tasks && one_in(b->a, 2)) {
            uint64_t seed = soak_child_seed(b->a);

            b->value[i] = soak_value(seed);
            CHECK_EQ(0, weft_futures_spawn(set, soak_actor_run, soak_seed_pointer(seed), i));
            b->asked++;
        } else {
            CHECK_EQ(0, weft_futures_push(set, batch_next(b), i));
        }
    }
}

/* Until all have come, or the caller is told to stop, or gives up. */
static void batch_drive(struct batch *b, weft_futures *set)
{
    unsigned enough = one_in(b->a, 3) ? (unsigned)roll(b->a, b->n + 1) : b->n;

    while (b->got < enough) {
        uint64_t tag = MOST;
        ssize_t result = -1;
        int rc = one_in(b->a, 4) ? weft_futures_try_next(set, &tag, &result)
                                 : weft_futures_next(set, &tag, &result);

        if (rc == -EAGAIN) {
            soak_act_yield(b->a);
            if (weft_is_cancelled() || weft_deadline_passed())
                return;
        } else if (!soak_expect(1, rc, "the next of a set")) {
            return;
        } else {
            batch_claim(b, tag, result);
        }
    }
    CHECK_EQ(b->n - b->got, weft_futures_len(set));
    if (b->got == b->n)
        (void)soak_expect(0, weft_futures_next(set, NULL, NULL), "an empty set");
}

static void set_run(struct soak_actor *a, bool tasks)
{
    weft_futures *set;
    struct batch b;

    batch_open(&b, a, tasks);
    set = weft_futures_new_with(b.flags);
    CHECK(set);
    batch_push(&b, set);
    batch_drive(&b, set);
    if (one_in(a, 4))
        CHECK_EQ(0, weft_futures_clear(set));
    weft_futures_free(set);
    batch_close(&b);
}

void soak_act_set(struct soak_actor *a)
{
    set_run(a, false);
}

void soak_act_fan_out(struct soak_actor *a)
{
    set_run(a, true);
}

/* --- loops ------------------------------------------------------------------------------------ */

static int loop_source(void *arg, weft_future *out, uint64_t *tag)
{
    struct batch *b = arg;

    if (b->asked == b->n)
        return 0;
    *tag = b->asked;
    *out = batch_next(b);
    return 1;
}

static int loop_sink(void *arg, uint64_t tag, ssize_t result)
{
    struct batch *b = arg;

    batch_claim(b, tag, result);
    return one_in(b->a, 20) ? -EXDEV : 0;
}

static void loop_run(struct soak_actor *a, bool tasks)
{
    struct batch b;
    size_t limit;
    ssize_t rc;

    batch_open(&b, a, tasks);
    limit = (size_t)roll(a, MOST);
    if (one_in(a, 2)) {
        rc = weft_for_each_concurrent(limit, b.flags, loop_source, loop_sink, &b);
    } else {
        weft_future f = weft_for_each_concurrent_future(limit, b.flags, loop_source, loop_sink, &b);

        rc = weft_await(&f);
    }
    if (rc != -EXDEV && soak_expect(0, rc, "a loop"))
        CHECK_EQ(b.n, b.got);
    batch_close(&b);
}

void soak_act_loop(struct soak_actor *a)
{
    loop_run(a, false);
}

void soak_act_task_loop(struct soak_actor *a)
{
    loop_run(a, true);
}
