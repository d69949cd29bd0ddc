/* SPDX-License-Identifier: MIT */
/*
 * delays.h - entries in the order of their deadlines, with a value each: what a delay queue is made of.
 *
 * IDEA     A wheel as in time/wheel.h, but with a nanosecond for a tick: eleven digits to the base 64. An entry whose
 *          moment first differs from `now` in digit k, from the top, hangs on level k in the slot of that
 *          digit. The earliest slot is two find-first-set operations away. When its time has come, and it holds more
 *          than a few, it is spread over the levels below; the earliest of a few is found by looking at each. One
 *          that is set to a later moment stays where it hangs, and moves when it is met: an entry that is set anew
 *          with each use of what it stands for costs one access to memory each time, and a move in each of its times.
 * OWNS     Entries are numbered and lie in chunks, each as large as all before it, so that none ever moves and a
 *          number finds its entry by one find-first-set. Each has its value behind it, in the same line of the cache
 *          if it is small. Who takes an entry out has it and its value to himself until he gives it back.
 * WHO      One thread at a time: under the queue's lock.
 * INVARIANTS
 *     D1   An entry that hangs anywhere is due at its deadline, or at `now` if that was later when it was set.
 *     D2   Slots in use: on level 0 none before the digit of `now`; on level k > 0 none at or before its digit k. An
 *          entry hangs in the slot of the moment when it is due, or of an earlier one at which it would have been:
 *          then it is stale, and is hung anew before it is taken for due.
 *     D3   used[level] has the bit of a slot, and levels the bit of a level, exactly when it is not empty.
 *     D4   first of a slot is not after any entry in it, nor before the slot.
 *     D5   now moves forward only, never beyond the moment that was asked for, and not while the cascade holds
 *          entries.
 *     D6   A key is of an entry as long as its generation is the entry's, which changes when it is taken out.
 * REJECTED A heap: a million entries are twenty levels, each a cache miss, and each must know its place. The
 *          runtime's own wheel with a timer for each entry: 56 bytes of it instead of 24, a lock that all other timers
 *          of the worker want, and order only to a tick. Links as pointers: 16 bytes more. Values apart from the
 *          entries: one more cache miss for each that is taken.
 * TESTS    tests/unit/test_delays.c
 */
#ifndef WF_SYNC_DELAYS_H
#define WF_SYNC_DELAYS_H

#include "base/compiler.h"

#include <weft/base.h>

#define WF_DELAYS_BITS    6
#define WF_DELAYS_DIGITS  (1u << WF_DELAYS_BITS)
#define WF_DELAYS_LEVELS  11                                    /* 66 bits */
#define WF_DELAYS_NEVER   (WF_DELAYS_LEVELS * WF_DELAYS_DIGITS) /* the slot of WEFT_FOREVER */
#define WF_DELAYS_CASCADE (WF_DELAYS_NEVER + 1)                 /* no slot: what is being spread */
#define WF_DELAYS_HEADS   (WF_DELAYS_CASCADE + 1)

#ifndef WF_DELAYS_FIRST        /* a test build has less */
# define WF_DELAYS_FIRST  64   /* entries in the first chunk; a power of two */
# define WF_DELAYS_SPREAD 128u /* entries moved in one go */
#endif
#define WF_DELAYS_FEW    8u /* entries of which the earliest is looked for */
#define WF_DELAYS_CHUNKS 24
#define WF_DELAYS_MAX    ((uint64_t)WF_DELAYS_FIRST * ((1u << WF_DELAYS_CHUNKS) - 1)) /* entries */

/* By number: an entry, or with the highest bit set the head of a list. */
struct wf_delay_link {
    uint32_t next, prev;
};

struct wf_delay {
    struct wf_delay_link link; /* first; of a free one: next is the next free one */
    uint32_t generation;
    uint32_t slot; /* where it hangs, unless in the cascade; or one of WF_DELAY_... */
    uint64_t deadline;
};

_Static_assert(sizeof(struct wf_delay) == 24, "as the header of the queue says");

#define WF_DELAY_TAKEN (WF_DELAYS_HEADS)
#define WF_DELAY_FREE  (WF_DELAYS_HEADS + 1)

struct wf_delays_head {
    struct wf_delay_link link; /* first */
    uint64_t first;            /* nothing here is due before; WEFT_FOREVER when it is empty */
};

struct wf_delays {
    uint64_t now;
    uint32_t levels;
    uint32_t free; /* of the list of those that were given back */
    uint32_t made; /* entries that were ever in use */
    uint32_t capacity;
    uint32_t stride;      /* bytes from entry to entry */
    uint32_t item_offset; /* and from an entry to its value */
    unsigned chunks;
    void *chunk[WF_DELAYS_CHUNKS];
    uint64_t used[WF_DELAYS_LEVELS + 1];
    struct wf_delays_head heads[WF_DELAYS_HEADS];
};

#define WF_DELAYS_NONE UINT32_MAX

/* item_size: no more than fits a stride with the entry. */
void wf_delays_init(struct wf_delays *d, uint32_t item_size);
void wf_delays_release(struct wf_delays *d);

/* Bytes of the next chunk, 0: there cannot be more. And its memory, of whole cache lines, which now belongs to d. */
size_t wf_delays_chunk_size(const struct wf_delays *d);
void wf_delays_add_chunk(struct wf_delays *d, void *chunk);

/* An entry that nobody has; WF_DELAYS_NONE: there is no memory for one. It is the caller's, as one that was taken
 * out. And back. */
uint32_t wf_delays_get(struct wf_delays *d);
void wf_delays_put(struct wf_delays *d, uint32_t i);

/* Of an entry that hangs somewhere, or that the caller has. */
struct wf_delay *wf_delays_entry(const struct wf_delays *d, uint32_t i);
void *wf_delays_item(const struct wf_delays *d, uint32_t i);
uint64_t wf_delays_key(const struct wf_delays *d, uint32_t i);

/* The entry that hangs somewhere with this key; WF_DELAYS_NONE. */
uint32_t wf_delays_find(const struct wf_delays *d, uint64_t key);

/* Does an entry that was made hang somewhere? */
bool wf_delays_hangs(const struct wf_delays *d, uint32_t i);

/* Let an entry of the caller's be due then; let one that hangs be due at another time; take one out. */
void wf_delays_set(struct wf_delays *d, uint32_t i, uint64_t deadline);
void wf_delays_reset(struct wf_delays *d, uint32_t i, uint64_t deadline);
void wf_delays_take(struct wf_delays *d, uint32_t i);

enum wf_delays_found {
    WF_DELAYS_LATER, /* nothing is due */
    WF_DELAYS_DUE,   /* *i hangs there, and is due first */
    WF_DELAYS_MORE   /* ask again: a part of the way is done */
};

/* What is due at this moment, which is not before the last one. */
enum wf_delays_found wf_delays_due(struct wf_delays *d, uint64_t now, uint32_t *i);

/* Before this moment nothing is due. It is that of the earliest entry, or a moment before: where one was taken out, at
 * most once per level; where one was set to later, once. WEFT_FOREVER: nothing ever. */
uint64_t wf_delays_next(const struct wf_delays *d);

/* The one with the earliest deadline, due or not; LATER: there is none. Looks at all entries of a slot. */
enum wf_delays_found wf_delays_peek(struct wf_delays *d, uint32_t *i);

/* Verify all invariants. Returns how many entries hang somewhere. For tests. */
uint32_t wf_delays_check(const struct wf_delays *d);

#endif
