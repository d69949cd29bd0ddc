/* SPDX-License-Identifier: MIT */
/*
 * stack.c - slabs of stacks, the shared pool, and the workers' caches.
 *
 * SLOTS    A slot of a slab is in one of these states; the words are the slab's.
 *
 *              state    home dirty   its top page
 *              clean    1    0       not resident; zeroes when touched
 *              dirty    1    1       resident, with a valid descriptor
 *              out      0    0       belongs to whoever took it: a batch, a cache, a fiber,
 *                                    or a thread that is giving its page back
 *
 *          clean -> out     pool_carve
 *          dirty -> out     pool_take
 *          out -> dirty     pool_give, above the limit of idle stacks
 *          dirty -> out -> clean     pool_wash
 *          All slots home -> the slab is unmapped by whoever brought the last one.
 * LIMITS   Idle stacks stay resident up to WF_STACK_IDLE_MIN plus a quarter of those in use:
 *          enough to serve a load that swings, without keeping the memory of the highest
 *          peak for ever. As many again may wait at home, dirty, in the hope that the rest of
 *          their slab follows: unmapping 64 at once costs a fraction of 64 single calls. More
 *          than that are washed, but only after WASH_DELAY_NS: washing costs 2 us a stack and
 *          interrupts the other processors, and the end of a million fibers is the worst moment for it.
 */
#include "fiber/stack.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/sys.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__has_include)
# if __has_include(<valgrind/memcheck.h>)
#  include <valgrind/memcheck.h>
#  if !defined(NVALGRIND) /* it does not know every processor */
#   define STACK_VALGRIND 1
#  endif
# endif
#endif
#ifndef STACK_VALGRIND
# define STACK_VALGRIND 0
#endif

#ifndef MADV_GUARD_INSTALL
# define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif

#ifndef MADV_POPULATE_READ
# define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

/* Tests of all interleavings have smaller ones, so that slabs come and go. */
#ifndef WF_STACK_SLAB_SLOTS
# define WF_STACK_SLAB_SLOTS 64 /* at most SLAB_BITS */
# define WF_STACK_IDLE_MIN   4096
#endif

#define STACK_SIZE_MIN_LOG2 14
#define SLAB_BITS           64                      /* of a word: one for each slot */
#define SLAB_BYTES          ((size_t)16 << 20)      /* large stacks: fewer slots in a slab */
#define WASH_MAX            (2 * WF_STACK_MAGAZINE) /* slots that come home in one give */
#define WASH_DELAY_NS       1000000000u

/*
 * How many places the descriptor may have in its page, a line apart: 24 leave 2.5 KiB of it to
 * frames. A round over 1,000 fibers that touch ten lines each takes 38 ns a fiber with one
 * place, 27 with 16 and 18 with 24.
 */
#define STACK_COLOURS 24

/*
 * Depth samples: two words at each of two places at the low end of a page. The second is
 * there because one large array with nothing written in it often covers the first.
 */
#define SAMPLE_WORD   0
#define SAMPLE_WORD_2 64

/*
 * Giving a deep stack's pages back and touching them again costs about 2 us per page. It is
 * wasted where most fibers go deep, so such an owner keeps up to four pages on a stack. Where
 * most stay shallow, one that does not would pin memory below a fiber that may sleep for
 * days. Each put is a vote.
 */
#define KEEP_PAGES_MAX 4
#define DEEP_VOTES_MAX 8
#define DEEP_VOTES     4

_Static_assert(sizeof(struct wf_stack) == WF_CACHE_LINE, "the descriptor is one line");
_Static_assert(WF_STACK_SIZE_MAX >> STACK_SIZE_MIN_LOG2 == 1u << (WF_STACK_CLASSES - 1),
               "one class for each power of two");

struct wf_stack_slab {
    /* set once */
    char *base;
    size_t slot_size; /* guard and stack */
    uint32_t slot_count;
    uint32_t class_index;
    uint32_t serial; /* shifts the colours from slab to slab */
    /* under the pool's lock */
    struct wf_list node;           /* one of its class's three lists */
    uint64_t home, dirty, guarded; /* a bit per slot */
    /* by whoever holds the slot */
    uint32_t valgrind_ids[];
};

enum guard_kind { GUARD_UNKNOWN, GUARD_LIGHT, GUARD_MPROTECT };

/* Slabs are on the first list that fits. */
struct stack_class {
    struct wf_stack *batches; /* linked by next_batch */
    struct wf_list dirty;     /* slabs with a dirty slot, longest first */
    struct wf_list clean;     /* slabs with clean slots only */
    struct wf_list full;      /* slabs with all slots out */
    size_t out;               /* slots not at home */
    size_t idle_count;        /* stacks in batches */
    size_t dirty_count;       /* slots at home and dirty */
};

static struct {
    struct wf_lock lock;
    /* under lock */
    bool ready;
    bool map_count_told;
    uint32_t serial;
    size_t slabs, mapped_bytes;
    struct stack_class classes[WF_STACK_CLASSES];
    /* atomic: when washing is due, on the clock; 0: not. Written under lock, read by anyone. */
    struct wf_atomic_u64 wash_at;
    /* atomic: enum guard_kind, chosen at the first guard */
    struct wf_atomic_u32 guard_kind;
} stack_pool = {.lock = WF_LOCK_INIT(WF_RANK_STACKS)};

/* ---- Valgrind ---- */

#if STACK_VALGRIND
static bool stack_on_valgrind(void)
{
    return RUNNING_ON_VALGRIND != 0;
}

static uint32_t stack_valgrind_register(const char *low, const char *end)
{
    return (uint32_t)VALGRIND_STACK_REGISTER(low, end - 1);
}

static void stack_valgrind_forget(uint32_t id)
{
    VALGRIND_STACK_DEREGISTER(id);
}

/* What ended frames left is nobody's to read, in Valgrind's eyes. */
static void stack_valgrind_readable(void *p, size_t size)
{
    (void)VALGRIND_MAKE_MEM_DEFINED(p, size);
}
#else
static bool stack_on_valgrind(void)
{
    return false;
}

static uint32_t stack_valgrind_register(const char *low, const char *end)
{
    (void)low, (void)end;
    return 0;
}

static void stack_valgrind_forget(uint32_t id)
{
    (void)id;
}

static void stack_valgrind_readable(void *p, size_t size)
{
    (void)p, (void)size;
}
#endif

/* ---- Sizes and addresses ---- */

WF_INLINE unsigned stack_class_of(size_t size)
{
    if (size <= WF_STACK_SIZE_MIN)
        return size ? 0 : 4;
    return (unsigned)(64 - STACK_SIZE_MIN_LOG2 - __builtin_clzll((unsigned long long)size - 1));
}

static size_t stack_class_bytes(unsigned class_index, size_t page_size)
{
    size_t size = WF_STACK_SIZE_MIN << class_index;

    return size < page_size ? page_size : size;
}

static uint64_t slab_mask(const struct wf_stack_slab *slab)
{
    return ~(uint64_t)0 >> (SLAB_BITS - slab->slot_count);
}

bool wf_stack_contains(const struct wf_stack *s, const void *p)
{
    return (uintptr_t)p - (uintptr_t)s->low < s->size;
}

bool wf_stack_in_guard(const struct wf_stack *s, const void *p)
{
    return (uintptr_t)s->low - 1 - (uintptr_t)p < s->guard_size;
}

/* ---- Guards ---- */

static void guard_out_of_mappings(void)
{
    bool told;

    wf_lock(&stack_pool.lock);
    told = stack_pool.map_count_told;
    stack_pool.map_count_told = true;
    wf_unlock(&stack_pool.lock);
    if (!told)
        wf_log("no guard for another stack: the process has as many memory mappings as the kernel "
               "allows; raise the sysctl vm.max_map_count");
}

/*
 * Install a light guard (Linux 6.13): a mark in the page table. The first time, look
 * whether it is there: an emulator may say yes to advice that it does not know.
 */
static int guard_install_light(char *guard, size_t size)
{
    int rc = wf_sys_madvise(guard, size, MADV_GUARD_INSTALL);

    /* relaxed, here and below: all threads come to the same answer */
    if (rc < 0 || wf_load_u32(&stack_pool.guard_kind, WF_RELAXED) == GUARD_LIGHT)
        return rc;
    rc = wf_sys_madvise(guard, size, MADV_POPULATE_READ);
    if (rc != -EFAULT) /* a shortage is no answer: the next guard asks again */
        return rc == 0 ? -EINVAL : rc;
    wf_store_u32(&stack_pool.guard_kind, GUARD_LIGHT, WF_RELAXED);
    return 0;
}

/*
 * Make [guard, guard + size) inaccessible. Older kernels, and locked memory, need mprotect, which
 * splits the mapping in two more.
 */
static int guard_install(char *guard, size_t size)
{
    int rc;

    if (wf_load_u32(&stack_pool.guard_kind, WF_RELAXED) != GUARD_MPROTECT) {
        rc = guard_install_light(guard, size);
        if (rc != -EINVAL)
            return rc < 0 ? -ENOMEM : 0;
        wf_store_u32(&stack_pool.guard_kind, GUARD_MPROTECT, WF_RELAXED);
    }
    rc = wf_sys_mprotect(guard, size, PROT_NONE);
    if (rc == -ENOMEM)
        guard_out_of_mappings();
    return rc < 0 ? -ENOMEM : 0;
}

void wf_stack_test_force_mprotect(bool force)
{
    wf_store_u32(&stack_pool.guard_kind, force ? GUARD_MPROTECT : GUARD_UNKNOWN, WF_RELAXED);
}

bool wf_stack_test_light_guards(void)
{
    return wf_load_u32(&stack_pool.guard_kind, WF_RELAXED) == GUARD_LIGHT;
}

/* ---- Slabs ---- */

/* Under the lock: put the slab on the list that its slots call for. */
static void slab_list(struct wf_stack_slab *slab)
{
    struct stack_class *k = &stack_pool.classes[slab->class_index];
    struct wf_list *list = slab->dirty ? &k->dirty : slab->home ? &k->clean : &k->full;

    wf_debug_assert(!(slab->dirty & ~slab->home));
    wf_debug_assert(!(slab->home & ~slab_mask(slab)));
    if (wf_list_linked(&slab->node))
        wf_list_remove(&slab->node);
    wf_list_push_back(list, &slab->node);
}

/* Under the lock: slots come home. A slab that is complete by this moves to `empty`, to
 * be unmapped after unlocking. */
static void slab_return(struct wf_stack_slab *slab, uint64_t slots, bool dirty,
                        struct wf_list *empty)
{
    struct stack_class *k = &stack_pool.classes[slab->class_index];
    size_t count = (size_t)__builtin_popcountll(slots);
    bool was_dirty = slab->dirty != 0;

    wf_assert(!(slab->home & slots));
    slab->home |= slots;
    k->out -= count;
    if (dirty) {
        slab->dirty |= slots;
        k->dirty_count += count;
    }
    if (slab->home == slab_mask(slab)) {
        k->dirty_count -= (size_t)__builtin_popcountll(slab->dirty);
        slab->dirty = 0;
        wf_list_remove(&slab->node);
        wf_list_push_back(empty, &slab->node);
    } else if (!was_dirty || !slab->dirty) {
        slab_list(slab); /* one that is dirty already keeps its place, so the oldest is first */
    }
}

/* Under the lock: slots leave. */
static void slab_take(struct wf_stack_slab *slab, uint64_t slots)
{
    struct stack_class *k = &stack_pool.classes[slab->class_index];

    wf_assert((slab->home & slots) == slots);
    k->dirty_count -= (size_t)__builtin_popcountll(slab->dirty & slots);
    slab->home &= ~slots;
    slab->dirty &= ~slots;
    k->out += (size_t)__builtin_popcountll(slots);
    if (!slab->dirty)
        slab_list(slab);
}

static char *slab_slot(const struct wf_stack_slab *slab, unsigned index)
{
    return slab->base + index * slab->slot_size;
}

static struct wf_stack *slab_stack(const struct wf_stack_slab *slab, unsigned index)
{
    unsigned colour = (slab->serial + index) % STACK_COLOURS;
    char *end = slab_slot(slab, index) + slab->slot_size;

    return (struct wf_stack *)(void *)(end - (size_t)(colour + 1) * WF_CACHE_LINE);
}

/* Map a slab with all slots clean and put it where the pool finds it. */
static int slab_new(unsigned class_index, size_t page_size)
{
    size_t slot_size = stack_class_bytes(class_index, page_size) + page_size;
    size_t count = SLAB_BYTES / slot_size, size;
    struct wf_stack_slab *slab;
    void *base = NULL;
    int rc;

    count = count < 1 ? 1 : count > WF_STACK_SLAB_SLOTS ? WF_STACK_SLAB_SLOTS : count;
    if (class_index == stack_class_of(WF_STACK_SIZE_DEFAULT))
        count = WF_STACK_SLAB_SLOTS;
    slab = wf_sys_calloc(1, sizeof(*slab) + count * sizeof(slab->valgrind_ids[0]));
    if (!slab)
        return -ENOMEM;

    for (;;) {
        size = count * slot_size;
        rc = wf_sys_mmap(&base, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK);
        if (rc == 0)
            break;
        if (count == 1) {
            wf_sys_free(slab);
            return -ENOMEM;
        }
        count = 1; /* address space may be limited: one stack may fit where 64 do not */
    }
    /* A huge page under a stack would be 511 pages too many. Not all kernels take the
     * hint of MAP_STACK, and not all have huge pages to refuse. */
    (void)wf_sys_madvise(base, size, MADV_NOHUGEPAGE);

    slab->base = base;
    slab->slot_size = slot_size;
    slab->slot_count = (uint32_t)count;
    slab->class_index = class_index;
    slab->home = slab_mask(slab);

    wf_lock(&stack_pool.lock);
    slab->serial = stack_pool.serial;
    stack_pool.serial += (uint32_t)count;
    stack_pool.slabs++;
    stack_pool.mapped_bytes += size;
    slab_list(slab);
    wf_unlock(&stack_pool.lock);
    return 0;
}

/*
 * Unmap slabs of which no slot is out. Where the kernel refuses, because that would
 * split a mapping and there are too many, the pages at least are given back.
 */
static void slabs_unmap(struct wf_list *empty)
{
    struct wf_list *node;

    while ((node = wf_list_pop_front(empty)) != NULL) {
        struct wf_stack_slab *slab = wf_container_of(node, struct wf_stack_slab, node);
        size_t size = slab->slot_count * slab->slot_size;
        bool unmapped = wf_sys_munmap(slab->base, size) == 0;

        if (!unmapped)
            (void)wf_sys_madvise(slab->base, size, MADV_DONTNEED);
        wf_lock(&stack_pool.lock);
        if (unmapped) {
            stack_pool.slabs--;
            stack_pool.mapped_bytes -= size;
        } else {
            slab_list(slab);
        }
        wf_unlock(&stack_pool.lock);
        if (!unmapped)
            continue;
        for (unsigned i = 0; i < slab->slot_count; i++)
            if (slab->guarded >> i & 1)
                stack_valgrind_forget(slab->valgrind_ids[i]);
        wf_sys_free(slab);
    }
}

/* ---- The shared pool ---- */

/* Under the lock. */
static struct wf_stack *pool_pop_batch(struct stack_class *k)
{
    struct wf_stack *chain = k->batches;

    k->batches = chain->next_batch;
    k->idle_count -= chain->batch_count;
    return chain;
}

/* A chain of up to a magazine of whole stacks, the first of which knows the count, or NULL. */
static struct wf_stack *pool_take(unsigned class_index)
{
    struct stack_class *k = &stack_pool.classes[class_index];
    struct wf_stack *chain = NULL;

    wf_lock(&stack_pool.lock);
    if (k->batches) {
        chain = pool_pop_batch(k);
    } else if (!wf_list_empty(&k->dirty)) {
        struct wf_stack_slab *slab = wf_container_of(k->dirty.prev, struct wf_stack_slab, node);
        uint64_t slots = 0;
        uint8_t count = 0;

        while (slab->dirty & ~slots && count < WF_STACK_MAGAZINE) {
            unsigned index = (unsigned)__builtin_ctzll(slab->dirty & ~slots);
            struct wf_stack *s = slab_stack(slab, index);

            slots |= (uint64_t)1 << index;
            s->next = chain;
            s->batch_count = ++count;
            chain = s;
        }
        slab_take(slab, slots);
    }
    wf_unlock(&stack_pool.lock);
    return chain;
}

/*
 * Make a stack of a clean slot. The guard and the first touch of the page cost 2 us, done
 * outside the lock; so slots are carved one at a time, and a program has no more pages
 * than it has fibers.
 */
static int pool_carve(unsigned class_index, size_t page_size, struct wf_stack **out)
{
    struct stack_class *k = &stack_pool.classes[class_index];
    struct wf_stack_slab *slab;
    struct wf_stack *s;
    unsigned index;
    bool guarded;
    char *slot;
    int rc;

    wf_lock(&stack_pool.lock);
    while (wf_list_empty(&k->clean)) {
        wf_unlock(&stack_pool.lock);
        rc = slab_new(class_index, page_size);
        if (rc < 0)
            return rc;
        wf_lock(&stack_pool.lock);
    }
    slab = wf_container_of(k->clean.next, struct wf_stack_slab, node);
    index = (unsigned)__builtin_ctzll(slab->home);
    slab_take(slab, (uint64_t)1 << index);
    guarded = slab->guarded >> index & 1;
    wf_unlock(&stack_pool.lock);

    slot = slab_slot(slab, index);
    s = slab_stack(slab, index);
    if (!guarded) {
        rc = guard_install(slot, page_size);
        if (rc < 0)
            goto put_slot;
        slab->valgrind_ids[index] = stack_valgrind_register(slot + page_size,
                                                            slot + slab->slot_size);
        wf_lock(&stack_pool.lock);
        slab->guarded |= (uint64_t)1 << index;
        wf_unlock(&stack_pool.lock);
    }
    s->low = slot + page_size;
    s->size = slab->slot_size - page_size;
    s->slab = slab;
    s->guard_size = (uint32_t)page_size;
    s->index = (uint8_t)index;
    s->class_index = (uint8_t)class_index;
    /* more than one keeps wf_stack_put from looking at samples before Valgrind is told */
    s->resident_pages = stack_on_valgrind() ? 2 : 1;
    s->next = NULL;
    *out = s;
    return 0;

put_slot:
    wf_lock(&stack_pool.lock);
    slab->home |= (uint64_t)1 << index;
    k->out--;
    slab_list(slab);
    wf_unlock(&stack_pool.lock);
    return rc;
}

/* Slots of one slab whose pages are being given back. */
struct stack_wash {
    struct wf_stack_slab *slab;
    uint64_t slots;
};

/* Under the lock: choose what to wash, the slabs that waited longest first, until no more than
 * `limit` dirty slots are left or `washes` is full. */
static unsigned pool_wash_begin(struct stack_class *k, size_t limit, struct stack_wash *washes)
{
    unsigned count = 0;

    while (k->dirty_count > limit && count < WASH_MAX) {
        struct wf_stack_slab *slab = wf_container_of(k->dirty.next, struct wf_stack_slab, node);

        washes[count++] = (struct stack_wash){.slab = slab, .slots = slab->dirty};
        slab_take(slab, slab->dirty);
    }
    return count;
}

static size_t pool_limit(const struct stack_class *k)
{
    return WF_STACK_IDLE_MIN + (k->out - k->idle_count) / 4;
}

/* Under the lock: are there more dirty slots than should be, and for long enough? */
static bool pool_wash_due(const struct stack_class *k, size_t limit)
{
    uint64_t now, at;

    if (wf_likely(k->dirty_count <= limit))
        return false;
    now = wf_clock_now();
    /* relaxed: written under the lock only */
    at = wf_load_u64(&stack_pool.wash_at, WF_RELAXED);
    if (at == 0)
        wf_store_u64(&stack_pool.wash_at, now + WASH_DELAY_NS, WF_RELAXED);
    return at != 0 && now >= at;
}

/* Give the pages of the slots back: one call for each run of neighbours, whose guards survive. */
static void pool_wash(const struct stack_wash *wash)
{
    uint64_t left = wash->slots;

    while (left) {
        unsigned first = (unsigned)__builtin_ctzll(left);
        uint64_t run = left >> first;
        unsigned count = ~run ? (unsigned)__builtin_ctzll(~run) : SLAB_BITS;

        (void)wf_sys_madvise(slab_slot(wash->slab, first), count * wash->slab->slot_size,
                             MADV_DONTNEED);
        left = count + first >= SLAB_BITS ? 0 : left & ~(uint64_t)0 << (first + count);
    }
}

static void pool_wash_end(const struct stack_wash *washes, unsigned count, struct wf_list *empty)
{
    for (unsigned i = 0; i < count; i++)
        pool_wash(&washes[i]);
    wf_lock(&stack_pool.lock);
    for (unsigned i = 0; i < count; i++)
        slab_return(washes[i].slab, washes[i].slots, false, empty);
    wf_unlock(&stack_pool.lock);
}

/* Under the lock: send a chain home. */
static void pool_disband(struct wf_stack *chain, struct wf_list *empty)
{
    while (chain) {
        struct wf_stack *next = chain->next;

        slab_return(chain->slab, (uint64_t)1 << chain->index, true, empty);
        chain = next;
    }
}

/* Take over a chain of stacks. As long as more idle than should, batches go home: two at
 * most, which is more than came, so that the idle ones follow the limit down. */
static void pool_give(struct wf_stack *chain, unsigned count)
{
    struct stack_class *k = &stack_pool.classes[chain->class_index];
    struct stack_wash washes[WASH_MAX];
    unsigned wash_count;
    struct wf_list empty;
    size_t limit;

    wf_list_init(&empty);
    wf_lock(&stack_pool.lock);
    chain->batch_count = (uint8_t)count;
    chain->next_batch = k->batches;
    k->batches = chain;
    k->idle_count += count;
    limit = pool_limit(k);
    for (int i = 0; i < 2 && k->idle_count > limit; i++)
        pool_disband(pool_pop_batch(k), &empty);
    wash_count = pool_wash_due(k, limit) ? pool_wash_begin(k, limit, washes) : 0;
    wf_unlock(&stack_pool.lock);

    if (wash_count)
        pool_wash_end(washes, wash_count, &empty);
    slabs_unmap(&empty);
}

/* Give back all that one class has idle. */
static void pool_trim_class(struct stack_class *k)
{
    struct stack_wash washes[WASH_MAX];
    struct wf_list empty, *node, *next;
    unsigned count;

    wf_list_init(&empty);
    wf_lock(&stack_pool.lock);
    while (k->batches)
        pool_disband(pool_pop_batch(k), &empty);
    for (node = k->clean.next; node != &k->clean; node = next) {
        struct wf_stack_slab *slab = wf_container_of(node, struct wf_stack_slab, node);

        next = node->next;
        if (slab->home == slab_mask(slab)) { /* never used, or not unmapped in a bad moment */
            wf_list_remove(node);
            wf_list_push_back(&empty, node);
        }
    }
    count = pool_wash_begin(k, 0, washes);
    wf_unlock(&stack_pool.lock);
    while (count) {
        pool_wash_end(washes, count, &empty);
        wf_lock(&stack_pool.lock);
        count = pool_wash_begin(k, 0, washes);
        wf_unlock(&stack_pool.lock);
    }
    slabs_unmap(&empty);
}

uint64_t wf_stack_pool_wash_at(void)
{
    /* relaxed: a hint */
    uint64_t at = wf_load_u64(&stack_pool.wash_at, WF_RELAXED);

    return at ? at : UINT64_MAX;
}

void wf_stack_pool_wash_step(void)
{
    struct stack_wash washes[WASH_MAX];
    struct wf_list empty;
    unsigned count = 0;

    wf_list_init(&empty);
    wf_lock(&stack_pool.lock);
    for (unsigned i = 0; i < WF_STACK_CLASSES && count == 0; i++)
        count = pool_wash_begin(&stack_pool.classes[i], pool_limit(&stack_pool.classes[i]), washes);
    if (count == 0)
        wf_store_u64(&stack_pool.wash_at, 0, WF_RELAXED);
    wf_unlock(&stack_pool.lock);
    if (count)
        pool_wash_end(washes, count, &empty);
    slabs_unmap(&empty);
}

static void pool_init(void)
{
    wf_lock(&stack_pool.lock);
    for (unsigned i = 0; i < WF_STACK_CLASSES && !stack_pool.ready; i++) {
        wf_list_init(&stack_pool.classes[i].dirty);
        wf_list_init(&stack_pool.classes[i].clean);
        wf_list_init(&stack_pool.classes[i].full);
    }
    stack_pool.ready = true;
    wf_unlock(&stack_pool.lock);
}

void wf_stack_pool_trim(void)
{
    pool_init();
    for (unsigned i = 0; i < WF_STACK_CLASSES; i++)
        pool_trim_class(&stack_pool.classes[i]);
}

void wf_stack_pool_stats(struct wf_stack_stats *out)
{
    struct wf_stack_stats sum = {0};

    wf_lock(&stack_pool.lock);
    sum.slabs = stack_pool.slabs;
    sum.mapped_bytes = stack_pool.mapped_bytes;
    for (unsigned i = 0; i < WF_STACK_CLASSES; i++) {
        const struct stack_class *k = &stack_pool.classes[i];

        sum.idle += k->idle_count;
        sum.dirty += k->dirty_count;
        sum.out += k->out - k->idle_count;
    }
    wf_unlock(&stack_pool.lock);
    *out = sum;
}

/* ---- Depth ---- */

/* Has a fiber been at the low end of this page? The words may belong to dead frames,
 * which the address sanitizer would report. */
__attribute__((no_sanitize_address)) WF_INLINE bool stack_sample(const uint64_t *page)
{
    return (page[SAMPLE_WORD] | page[SAMPLE_WORD + 1] | page[SAMPLE_WORD_2] |
            page[SAMPLE_WORD_2 + 1]) != 0;
}

__attribute__((no_sanitize_address)) WF_INLINE void stack_sample_clear(uint64_t *page)
{
    page[SAMPLE_WORD] = page[SAMPLE_WORD + 1] = 0;
    page[SAMPLE_WORD_2] = page[SAMPLE_WORD_2 + 1] = 0;
}

WF_INLINE char *stack_top_page(struct wf_stack *s, size_t page_size)
{
    return (char *)s - ((uintptr_t)s & (page_size - 1));
}

/*
 * How many pages from the top the last fiber used, from 1; KEEP_PAGES_MAX + 1 stands for all beyond.
 * Looks at a page only when the one above was used to its end, since to read a page that was never
 * touched would map it. Clears the samples for the next fiber.
 */
static unsigned stack_depth(struct wf_stack *s, size_t page_size)
{
    char *page = stack_top_page(s, page_size);
    unsigned depth = 1;

    for (;;) {
        uint64_t *words = (uint64_t *)(void *)page;

        stack_valgrind_readable(words, (SAMPLE_WORD_2 + 2) * sizeof(*words));
        if (!stack_sample(words))
            return depth;
        stack_sample_clear(words);
        if (page == s->low)
            return depth;
        depth++;
        if (depth > KEEP_PAGES_MAX)
            return depth;
        page -= page_size;
    }
}

/* The part of wf_stack_put for stacks that may have more than one page resident. */
WF_COLD static void stack_put_deep(struct wf_stack_cache *c, struct wf_stack *s)
{
    unsigned depth = stack_depth(s, c->page_size), pages = depth;
    char *top = stack_top_page(s, c->page_size);

    if (depth > 1 && c->deep_votes < DEEP_VOTES_MAX)
        c->deep_votes++;
    else if (depth == 1 && c->deep_votes)
        c->deep_votes--;
    if (pages < s->resident_pages)
        pages = s->resident_pages;
    if (pages == 1)
        return;
    if (pages <= KEEP_PAGES_MAX && c->deep_votes >= DEEP_VOTES) {
        s->resident_pages = (uint8_t)pages;
        return;
    }
    (void)wf_sys_madvise(s->low, (size_t)(top - s->low), MADV_DONTNEED);
    s->resident_pages = stack_on_valgrind() ? 2 : 1;
}

/* ---- The cache ---- */

void wf_stack_cache_init(struct wf_stack_cache *c)
{
    pool_init();
    memset(c, 0, sizeof(*c));
    c->page_size = wf_sys_page_size();
}

WF_COLD static int cache_refill(struct wf_stack_cache *c, unsigned class_index)
{
    struct wf_stack_magazine *m = &c->magazines[class_index];
    int rc;

    wf_assert(m->count == 0);
    if (m->spare) {
        m->stacks = m->spare;
        m->count = WF_STACK_MAGAZINE;
        m->spare = NULL;
        return 0;
    }
    m->stacks = pool_take(class_index);
    if (m->stacks) {
        m->count = m->stacks->batch_count;
        return 0;
    }
    rc = pool_carve(class_index, c->page_size, &m->stacks);
    if (rc < 0)
        return rc;
    m->count = 1;
    return 0;
}

int wf_stack_get(struct wf_stack_cache *c, size_t size, struct wf_stack **out)
{
    unsigned class_index = stack_class_of(size);
    struct wf_stack_magazine *m;
    struct wf_stack *s;
    int rc;

    if (wf_unlikely(size > WF_STACK_SIZE_MAX))
        return -ENOMEM;
    m = &c->magazines[class_index];
    if (wf_unlikely(!m->stacks)) {
        rc = cache_refill(c, class_index);
        if (rc < 0)
            return rc;
    }
    s = m->stacks;
    m->stacks = s->next;
    m->count--;
    *out = s;
    return 0;
}

/* The magazine is full: it becomes the spare one, and a spare one goes to the pool. */
WF_COLD static void cache_turn(struct wf_stack_magazine *m)
{
    if (m->spare)
        pool_give(m->spare, WF_STACK_MAGAZINE);
    m->spare = m->stacks;
    m->stacks = NULL;
    m->count = 0;
}

void wf_stack_put(struct wf_stack_cache *c, struct wf_stack *s)
{
    struct wf_stack_magazine *m = &c->magazines[s->class_index];

    if (wf_likely(s->resident_pages == 1 &&
                  !stack_sample((uint64_t *)(void *)stack_top_page(s, c->page_size))))
        c->deep_votes -= c->deep_votes != 0;
    else
        stack_put_deep(c, s);
    if (wf_unlikely(m->count == WF_STACK_MAGAZINE))
        cache_turn(m);
    s->next = m->stacks;
    m->stacks = s;
    m->count++;
}

void wf_stack_cache_release(struct wf_stack_cache *c)
{
    for (unsigned i = 0; i < WF_STACK_CLASSES; i++) {
        struct wf_stack_magazine *m = &c->magazines[i];

        if (m->count)
            pool_give(m->stacks, m->count);
        if (m->spare)
            pool_give(m->spare, WF_STACK_MAGAZINE);
        *m = (struct wf_stack_magazine){0};
    }
}

size_t wf_stack_cache_count(const struct wf_stack_cache *c)
{
    size_t count = 0;

    for (unsigned i = 0; i < WF_STACK_CLASSES; i++)
        count += c->magazines[i].count + (c->magazines[i].spare ? WF_STACK_MAGAZINE : 0);
    return count;
}
