/* SPDX-License-Identifier: MIT */
/*
 * stack.h - memory for the fibers' stacks: cheap to take and to give back, one resident page
 * while idle, a guard below each.
 *
 * IDEA     Sizes are powers of two. Stacks of one size are carved out of slabs: large mappings
 *          without commitment, of up to 64 slots, each slot a guard page with a stack above.
 *
 *              low address                                                  high address
 *              | guard |                          . . . frames | descriptor | colour |
 *              |  page |<------------------------ size ----------------------------->|
 *                                                 |<----------- top page ----------->|
 *
 *          A free stack passes through three places, hottest first: the magazines of a worker's
 *          cache (a pointer pop or push, no lock), the shared pool's batches (a whole
 *          magazine under the lock), and its slab (a bit). What goes home to its slab
 *          has its page given back to the kernel, or the whole slab is unmapped.
 * OWNS     Whoever took a stack owns it. A slab is owned by the pool and counts on its slots
 *          coming back, so it is unmapped when, and only when, all of them are home.
 * WHO      A cache is touched by its owner only. A stack may be put in another cache than it came
 *          from. Everything else: any thread.
 * INVARIANTS
 *     K1   An idle stack has one resident page, so descriptor and first frames share it.
 *     K2   The guard is installed before the first use of a slot and stays until the slab is
 *          unmapped: giving pages back does not remove it.
 *     K3   A failure leaves everything as it was.
 * DEPTH    Two words in each of two lines at the low end of the top page are zero on a fresh stack.
 *          A fiber that went deeper has very likely written one of them; then the pages below are
 *          given back before the next use. Only a frame with a hole over both lines
 *          hides it, and costs memory, nothing else.
 * LAYOUT   A slot is an odd number of pages, and the descriptor moves down by a colour of 0 to
 *          STACK_COLOURS - 1 cache lines. Otherwise the first frames of all stacks would share the
 *          same few sets of the TLB and of the caches.
 * LOCKS    WF_RANK_STACKS; no system call is made under it.
 * TESTS    tests/unit/test_stack.c, tests/model/test_stack.c
 */
#ifndef WF_FIBER_STACK_H
#define WF_FIBER_STACK_H

#include "base/compiler.h"

#define WF_STACK_SIZE_MIN     ((size_t)16 << 10)
#define WF_STACK_SIZE_MAX     ((size_t)1 << 30)
#define WF_STACK_SIZE_DEFAULT ((size_t)256 << 10)
#define WF_STACK_CLASSES      17 /* 16 KiB, 32 KiB .. 1 GiB */
#ifndef WF_STACK_MAGAZINE        /* a test build has a smaller one */
# define WF_STACK_MAGAZINE 32
#endif

struct wf_stack_slab;

/* At the top of its own stack. Written by the pool when carved, then by its owner. */
struct wf_stack {
    char *low;                   /* lowest usable byte; the guard ends here */
    size_t size;                 /* bytes from low to the end of the top page */
    struct wf_stack *next;       /* in a magazine or batch */
    struct wf_stack *next_batch; /* first of a batch in the shared pool */
    struct wf_stack_slab *slab;
    void (*entry)(void *arg); /* for fiber.c: what runs here */
    void *arg;
    uint32_t guard_size;
    uint8_t index;          /* slot in the slab */
    uint8_t class_index;    /* which size */
    uint8_t resident_pages; /* that may be resident while idle, from the top; 1 to 4 */
    uint8_t batch_count;    /* first of a batch: stacks in it */
};

/* A chain in the making, and a full one: so that an owner who takes and gives around
 * the boundary does not go to the pool each time. */
struct wf_stack_magazine {
    struct wf_stack *stacks;
    uint32_t count;
    struct wf_stack *spare; /* NULL, or WF_STACK_MAGAZINE stacks */
};

struct wf_stack_cache {
    struct wf_stack_magazine magazines[WF_STACK_CLASSES];
    size_t page_size;
    uint32_t deep_votes; /* 0 to DEEP_VOTES_MAX: how deep the last fibers of this owner went */
};

void wf_stack_cache_init(struct wf_stack_cache *c);

/* Give every stack to the shared pool. */
void wf_stack_cache_release(struct wf_stack_cache *c);

/*
 * A stack of at least `size` bytes, rounded up; 0 means the default. 0, or -ENOMEM: no address
 * space, no mappings left for guards (then a message says so once), or more than
 * WF_STACK_SIZE_MAX asked.
 */
int wf_stack_get(struct wf_stack_cache *c, size_t size, struct wf_stack **out);

/* Nothing on it is needed any more. Does not fail. */
void wf_stack_put(struct wf_stack_cache *c, struct wf_stack *s);

/* Where frames may begin: right below the descriptor, 16-aligned. */
WF_INLINE void *wf_stack_top(struct wf_stack *s)
{
    return s;
}

/* These two are safe in a signal handler. */
bool wf_stack_contains(const struct wf_stack *s, const void *p);
bool wf_stack_in_guard(const struct wf_stack *s, const void *p);

/* Give all that is idle in the shared pool back to the kernel. */
void wf_stack_pool_trim(void);

/*
 * Idle memory beyond the limits is given back a little later. wash_at: the moment when that is
 * due, on the clock; UINT64_MAX: nothing to do. wash_step does a part of it, some 0.1 ms worth: for
 * who has nothing better to do then.
 */
uint64_t wf_stack_pool_wash_at(void);
void wf_stack_pool_wash_step(void);

/* For tests and metrics. Stacks; `out` includes those that idle in workers' caches. */
struct wf_stack_stats {
    size_t mapped_bytes;
    size_t slabs;
    size_t out;   /* taken from the pool: in use, or in a cache */
    size_t idle;  /* in the pool's batches: whole, resident */
    size_t dirty; /* home in their slabs, the page not given back yet */
};

void wf_stack_pool_stats(struct wf_stack_stats *out);

/* Stacks of any size that idle in this cache. */
size_t wf_stack_cache_count(const struct wf_stack_cache *c);

/* For tests: guards by mprotect even where the kernel has better ones. Concerns slots not
 * used before. */
void wf_stack_test_force_mprotect(bool force);

/* True once a guard was installed that costs no mapping. */
bool wf_stack_test_light_guards(void);

#endif
