/* SPDX-License-Identifier: MIT */
/*
 * test_stack.c - the shared pool of stacks under all interleavings: a stack has one owner, what is given back
 * to the kernel is nobody's, and the counts are right.
 *
 * An owner writes to its stack without any order of its own: two owners at once, or one whose pages are
 * given back below it, are a race, and a slab that is unmapped too early is a use after free. Slabs
 * have four slots, magazines two, and more than one idle stack is too many.
 */
#include "fiber/stack.h"
#include "model/model.h"

#include <string.h>

#define CACHES 3
#define SMALL  1 /* any size of the first class */
#define SLOTS  4
#define SLAB   (SLOTS * (WF_STACK_SIZE_MIN + 4096))

enum { WASHED, NOTHING_TO_WASH, UNMAPPED, TWO_SLABS, IDLE, DIRTY };

static struct wf_stack_cache cache[CACHES]; /* by its thread */
static struct wf_stack *held[2 * SLOTS];    /* before the threads begin */
static struct wf_atomic_ptr handed;         /* from one thread to another */

static uint64_t *low_words(struct wf_stack *s)
{
    return (uint64_t *)(void *)(s->low + s->size - 4096);
}

static struct wf_stack *get(unsigned c)
{
    struct wf_stack *s = NULL;

    CHECK_EQ(0, wf_stack_get(&cache[c], SMALL, &s));
    CHECK(!s->arg); /* nobody has it */
    s->arg = &cache[c];
    return s;
}

static void put(unsigned c, struct wf_stack *s)
{
    CHECK(s->arg);
    s->arg = NULL;
    wf_stack_put(&cache[c], s);
}

/* It was used to its end: its pages go back to the kernel before anyone else has it. */
static void put_deep(unsigned c, struct wf_stack *s)
{
    *low_words(s) = 1;
    *(uint64_t *)(void *)s->low = 1;
    put(c, s);
    CHECK_EQ(0, *low_words(s));
    CHECK_EQ(0, *(uint64_t *)(void *)s->low);
}

static void begin(void)
{
    for (unsigned i = 0; i < CACHES; i++)
        wf_stack_cache_init(&cache[i]);
}

/* Two slabs were in use. The first stack of the first one still is, so that this slab stays, and the first
 * of the other one if `both`. Of the rest, one batch idles, and the others are at home, dirty. */
static void begin_used(bool both)
{
    begin();
    for (unsigned i = 0; i < 2 * SLOTS; i++)
        held[i] = get(0);
    for (unsigned i = 2 * SLOTS; i-- > 0;)
        if (i % SLOTS || (i && !both)) {
            put(0, held[i]);
            held[i] = NULL;
        }
    wf_stack_cache_release(&cache[0]);
}

static void begin_dirty(void)
{
    struct wf_stack_stats stats;

    begin_used(true);
    wf_stack_pool_stats(&stats);
    CHECK_EQ(2, stats.slabs);
    CHECK_EQ(2, stats.out);
    CHECK_EQ(2, stats.idle);
    CHECK_EQ(4, stats.dirty);
    CHECK(wf_stack_pool_wash_at() != UINT64_MAX);
}

static void begin_spare_slab(void)
{
    struct wf_stack_stats stats;

    begin_used(false);
    wf_stack_pool_stats(&stats);
    CHECK_EQ(2, stats.slabs);
    CHECK_EQ(1, stats.out);
    CHECK(stats.idle > 0 && stats.dirty > 0);
}

/* At any time. */
static void check_stats(void)
{
    struct wf_stack_stats stats;

    wf_stack_pool_stats(&stats);
    CHECK_EQ(stats.slabs * SLAB, stats.mapped_bytes);
    CHECK(stats.out + stats.idle + stats.dirty <= stats.slabs * SLOTS);
    if (stats.slabs > 1)
        model_reached(TWO_SLABS);
    if (stats.idle)
        model_reached(IDLE);
    if (stats.dirty)
        model_reached(DIRTY);
}

static void end(void)
{
    struct wf_stack_stats stats;

    for (unsigned i = 0; i < 2 * SLOTS; i++)
        if (held[i])
            put(0, held[i]);
    check_stats();
    for (unsigned i = 0; i < CACHES; i++)
        wf_stack_cache_release(&cache[i]);
    wf_stack_pool_stats(&stats);
    CHECK_EQ(0, stats.out);
    check_stats();
    wf_stack_pool_trim();
    wf_stack_pool_stats(&stats);
    CHECK_EQ(0, stats.slabs);
    CHECK_EQ(0, stats.mapped_bytes);
    CHECK_EQ(0, stats.idle + stats.dirty);
    while (wf_stack_pool_wash_at() != UINT64_MAX)
        wf_stack_pool_wash_step();
}

/* Three at a time: a magazine, and one more. */
static void owner(unsigned c)
{
    struct wf_stack *a = get(c), *b = get(c), *s = get(c);

    CHECK(a != b && b != s && a != s);
    put(c, b);
    put(c, a);
    put(c, s);
    wf_stack_cache_release(&cache[c]);
}

static void owner_1(void)
{
    owner(1);
}

static void owner_2(void)
{
    owner(2);
}

static void one_turn(unsigned c)
{
    struct wf_stack *s = get(c);

    put(c, s);
    wf_stack_cache_release(&cache[c]);
}

static void one_turn_1(void)
{
    one_turn(1);
}

static void one_turn_2(void)
{
    one_turn(2);
}

static void deep_turn_1(void)
{
    struct wf_stack *a = get(1), *b = get(1);

    put_deep(1, a);
    put(1, b);
    wf_stack_cache_release(&cache[1]);
}

/* A fiber that began on one worker ends on another. */
static void hand_over(void)
{
    struct wf_stack *s = get(1);

    /* release: pairs with the swap in take_over */
    wf_store_ptr(&handed, s, WF_RELEASE);
    one_turn(1);
}

static void take_over(void)
{
    /* acquire: pairs with the store in hand_over */
    struct wf_stack *s = wf_swap_ptr(&handed, NULL, WF_ACQUIRE);

    if (s)
        put(2, s);
    one_turn(2);
}

static void end_handed(void)
{
    struct wf_stack *s = wf_load_ptr(&handed, WF_RELAXED);

    if (s)
        put(0, s);
    end();
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static void wash(void)
{
    uint64_t at = wf_stack_pool_wash_at();

    if (at == UINT64_MAX) {
        model_reached(NOTHING_TO_WASH);
        return;
    }
    if (at > model_clock())
        (void)model_block(never, NULL, at);
    wf_stack_pool_wash_step();
    model_reached(WASHED);
}

static void wash_twice(void)
{
    wash();
    wash();
}

static void trim(void)
{
    struct wf_stack_stats before, after;

    wf_stack_pool_stats(&before);
    wf_stack_pool_trim();
    wf_stack_pool_stats(&after);
    if (after.slabs < before.slabs)
        model_reached(UNMAPPED);
}

static void look(void)
{
    check_stats();
    check_stats();
}

const struct model_test model_tests[] = {
    {.name = "two caches take and give back",
     .begin = begin,
     .thread = {owner_1, owner_2},
     .end = end,
     .stale = 1},
    {.name = "a fiber begins on one worker and ends on another",
     .begin = begin,
     .thread = {hand_over, take_over},
     .end = end_handed},
    {.name = "a stack that was used deeply is trimmed before the next has it",
     .begin = begin_dirty,
     .thread = {deep_turn_1, one_turn_2},
     .end = end},
    {.name = "washing against a taker",
     .begin = begin_dirty,
     .thread = {wash_twice, owner_1},
     .end = end,
     .must_reach = 1u << WASHED | 1u << NOTHING_TO_WASH},
    {.name = "trimming against a taker",
     .begin = begin_spare_slab,
     .thread = {trim, owner_1},
     .end = end,
     .stale = 1,
     .must_reach = 1u << UNMAPPED},
    {.name = "washing, trimming and a taker",
     .begin = begin_spare_slab,
     .thread = {wash, trim, one_turn_1},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = 1u << WASHED | 1u << UNMAPPED},
    {.name = "the counts are right at any moment",
     .begin = begin_dirty,
     .thread = {look, one_turn_1, one_turn_2},
     .end = end,
     .stale = 1,
     .must_reach = 1u << TWO_SLABS | 1u << IDLE | 1u << DIRTY},
    {.name = "two caches, washing and trimming",
     .begin = begin_dirty,
     .thread = {wash_twice, trim, owner_1, owner_2},
     .end = end,
     .stale = 1,
     .deep = true},
    {0},
};
