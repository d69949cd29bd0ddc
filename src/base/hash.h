/* SPDX-License-Identifier: MIT */
/*
 * hash.h - a keyed hash for tables whose keys may come from anywhere: SipHash with one round for each word and three at
 * the end.
 *
 * Who does not know the key cannot choose keys that fall into one bucket. The key is random, one for each table.
 */
#ifndef WF_BASE_HASH_H
#define WF_BASE_HASH_H

#include "base/compiler.h"

#include <string.h>

struct wf_hash_key {
    uint64_t k0, k1;
};

struct wf_hash_state {
    uint64_t v0, v1, v2, v3;
};

WF_INLINE uint64_t wf_hash_rotate(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

WF_INLINE void wf_hash_round(struct wf_hash_state *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = wf_hash_rotate(s->v1, 13) ^ s->v0;
    s->v3 = wf_hash_rotate(s->v3, 16) ^ s->v2;
    s->v0 = wf_hash_rotate(s->v0, 32) + s->v3;
    s->v2 += s->v1;
    s->v1 = wf_hash_rotate(s->v1, 17) ^ s->v2;
    s->v3 = wf_hash_rotate(s->v3, 21) ^ s->v0;
    s->v2 = wf_hash_rotate(s->v2, 32);
}

WF_INLINE void wf_hash_word(struct wf_hash_state *s, uint64_t word)
{
    s->v3 ^= word;
    wf_hash_round(s);
    s->v0 ^= word;
}

static inline uint64_t wf_hash(const struct wf_hash_key *key, const void *data, size_t size)
{
    struct wf_hash_state s = {
        key->k0 ^ 0x736f6d6570736575u,
        key->k1 ^ 0x646f72616e646f6du,
        key->k0 ^ 0x6c7967656e657261u,
        key->k1 ^ 0x7465646279746573u,
    };
    const unsigned char *bytes = data;
    uint64_t word;
    size_t at = 0;

    for (; at + 8 <= size; at += 8) {
        memcpy(&word, bytes + at, 8);
        wf_hash_word(&s, word);
    }
    /* What is left, and the size in the highest byte. */
    word = (uint64_t)size << 56;
    for (size_t i = 0; at + i < size; i++)
        word |= (uint64_t)bytes[at + i] << (8 * i);
    wf_hash_word(&s, word);
    s.v2 ^= 0xff;
    for (int i = 0; i < 3; i++)
        wf_hash_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

#endif
