/* SPDX-License-Identifier: MIT */
/*
 * map.h - a table of 4,096 numbers and 64 tasks that use it, nine times in ten to look: for the ways to share one, a
 * mutex (lock.c) and a task of its own (channel.c).
 *
 * A use is a cache miss or two. What is written to a key is always the same, so that whoever finds something can check
 * it.
 */
#ifndef WEFT_BENCH_MAP_H
#define WEFT_BENCH_MAP_H

#include "bench.h"

#define MAP_TASKS 64
#define MAP_SLOTS 8192 /* twice the keys, a power of two */
#define MAP_KEYS  4096

struct map_slot {
    uint64_t key; /* 0: free */
    uint64_t value;
};

struct map {
    struct map_slot *slots;
};

static inline struct map map_new(void)
{
    return (struct map){bench_alloc(MAP_SLOTS, sizeof(struct map_slot))};
}

/* What a task does next. */
struct map_use {
    uint64_t key;
    bool write;
};

struct map_uses {
    uint64_t rand;
    uint64_t found;
};

static inline struct map_uses map_uses(uint64_t seed)
{
    return (struct map_uses){.rand = seed * UINT64_C(0x9e3779b97f4a7c15)};
}

static inline struct map_use map_next_use(struct map_uses *u)
{
    u->rand ^= u->rand << 13;
    u->rand ^= u->rand >> 7;
    u->rand ^= u->rand << 17;
    return (struct map_use){.key = 1 + u->rand % MAP_KEYS, .write = (u->rand >> 32) % 10 == 0};
}

/* Where the key is, or belongs. */
static inline struct map_slot *map_find(const struct map *m, uint64_t key)
{
    uint64_t at = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 51;

    while (m->slots[at].key != 0 && m->slots[at].key != key)
        at = (at + 1) % MAP_SLOTS;
    return &m->slots[at];
}

/* The value; 0: nothing was found. */
static inline uint64_t map_do(struct map *m, struct map_use use)
{
    struct map_slot *slot = map_find(m, use.key);

    if (use.write) {
        slot->key = use.key;
        slot->value = use.key * 2;
    }
    return slot->value;
}

static inline void map_check(struct map_uses *u, struct map_use use, uint64_t value)
{
    if (value != 0 && value != use.key * 2)
        bench_fail("another key's value");
    u->found += value != 0 && !use.write;
}

static inline void map_done(const struct map_uses *u, uint64_t count)
{
    if (u->found == 0 && count > 10000)
        bench_fail("nothing was found");
}

#endif
