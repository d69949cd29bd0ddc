/* SPDX-License-Identifier: MIT */
/*
 * histogram.h - a log-linear histogram of 64-bit values: 128 steps to each power of two, so that a
 * quantile is right to 0.8 %, from a nanosecond to a century, in 59 KiB.
 */
#ifndef TOOLS_HISTOGRAM_H
#define TOOLS_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HIST_BITS    7
#define HIST_STEPS   ((size_t)1 << HIST_BITS)
#define HIST_BUCKETS ((64 - HIST_BITS + 1) * HIST_STEPS)

struct histogram {
    uint64_t buckets[HIST_BUCKETS];
    uint64_t count, max;
};

static inline size_t hist_bucket(uint64_t v)
{
    unsigned shift;

    if (v < HIST_STEPS)
        return (size_t)v;
    shift = 63u - (unsigned)__builtin_clzll(v) - HIST_BITS;
    return (size_t)(shift + 1) * HIST_STEPS + (size_t)((v >> shift) - HIST_STEPS);
}

/* The middle of the values that share this bucket. */
static inline uint64_t hist_value(size_t bucket)
{
    size_t shift = bucket / HIST_STEPS;
    uint64_t low;

    if (shift <= 1)
        return bucket;
    shift--;
    low = (uint64_t)(HIST_STEPS + bucket % HIST_STEPS) << shift;
    return low + ((1ull << shift) >> 1);
}

static inline void hist_add(struct histogram *h, uint64_t v)
{
    h->buckets[hist_bucket(v)]++;
    h->count++;
    if (v > h->max)
        h->max = v;
}

static inline void hist_merge(struct histogram *into, const struct histogram *h)
{
    for (size_t i = 0; i < HIST_BUCKETS; i++)
        into->buckets[i] += h->buckets[i];
    into->count += h->count;
    if (h->max > into->max)
        into->max = h->max;
}

static inline uint64_t hist_quantile(const struct histogram *h, double q)
{
    uint64_t below = (uint64_t)((double)h->count * q), seen = 0;

    for (size_t i = 0; i < HIST_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen > below)
            return hist_value(i) < h->max ? hist_value(i) : h->max;
    }
    return h->max;
}

#endif
