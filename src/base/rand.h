/* SPDX-License-Identifier: MIT */
/*
 * rand.h - small random numbers for scheduling: where to begin a search, which branch to look at
 * first. Not for secrets. xorshift64*; one state per owner, never shared.
 */
#ifndef WF_BASE_RAND_H
#define WF_BASE_RAND_H

#include "base/compiler.h"

struct wf_rand {
    uint64_t state; /* never 0 */
};

WF_INLINE void wf_rand_init(struct wf_rand *r, uint64_t seed)
{
    seed += 0x9e3779b97f4a7c15u; /* splitmix64: neighbouring seeds give unlike states */
    seed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9u;
    seed = (seed ^ (seed >> 27)) * 0x94d049bb133111ebu;
    seed ^= seed >> 31;
    r->state = seed ? seed : 1;
}

WF_INLINE uint32_t wf_rand_u32(struct wf_rand *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return (uint32_t)((r->state * 0x2545f4914f6cdd1du) >> 32);
}

/* 0 to n - 1; n is not 0. */
WF_INLINE uint32_t wf_rand_below(struct wf_rand *r, uint32_t n)
{
    return (uint32_t)(((uint64_t)wf_rand_u32(r) * n) >> 32);
}

#endif
