/* SPDX-License-Identifier: MIT */
/*
 * slab.c - task headers in 64 KiB chunks of equal slots.
 *
 * IDEA     A chunk belongs to one cache (a seat's, or the shared one of plain threads). Its owner
 *          takes and returns slots without atomics. Anyone else returns a slot by pushing
 *          it on the chunk's remote list, which the owner collects when it runs dry.
 * OWNS     A cache owns its chunks. When a cache ends, chunks with live slots become orphans: they
 *          belong to nobody, the next cache that wants a chunk of the class adopts them, and the
 *          last remote free of an orphan gives it back.
 * INVARIANTS
 *     S1   Chunk memory is never unmapped, only handed back to the kernel with its addresses
 *          kept, so a late look at a chunk's owner word is always harmless.
 *     S2   used = slots handed out and not yet collected; only the owner, or the slab lock for an
 *          orphan, changes it.
 *     S3   The state word of a free slot holds no reference, so a walk skips it.
 * ORDER    (a) remote: release push in slab_free_remote, acquire swap in slab_collect: carries
 *              the slot's link.
 *          (b) owner against remote: the freer pushes and then reads owner; the cache that ends stores
 *              owner = orphan and then collects. Both pairs are sequentially consistent, so
 *              one of the two sees the other and no slot is forgotten.
 * LOCKS    WF_RANK_SLAB guards the pool of free chunks, the orphans, the list of all chunks and the
 *          shared cache.
 * REJECTED malloc: 128-byte aligned blocks cost 50 to 200 ns in glibc, and a list of all tasks
 *          would have to be kept beside it; here walking the chunks is that list.
 */
#include "task/slab.h"

#include "base/sys.h"

#include <string.h>
#include <sys/mman.h>

#if WF_ASAN
# include <sanitizer/asan_interface.h>
#else
# define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
# define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#ifndef MADV_POPULATE_WRITE
# define MADV_POPULATE_WRITE 23
#endif

#ifndef WF_SLAB_CHUNK /* a test build shrinks them, so that a few slots fill a chunk */
# define WF_SLAB_CHUNK   65536
# define WF_SLAB_REGION  64  /* mapped at once: 4 MiB */
# define WF_SLAB_RESERVE 256 /* 16 MiB stay resident when idle */
#endif

#define CHUNK_SIZE     ((uint32_t)WF_SLAB_CHUNK)
#define REGION_CHUNKS  ((uint32_t)WF_SLAB_REGION)
#define CHUNK_HEADER   128u
#define RESERVE_CHUNKS ((uint32_t)WF_SLAB_RESERVE)

static const uint32_t class_size[WF_SLAB_CLASSES] = {128, 192,  256,  320,  384,  512,  640,
                                                     768, 1024, 1536, 2048, 3072, 4608, 9216};

struct slab_slot {
    struct slab_slot *next; /* while free; the state word behind it stays valid */
};

struct wf_slab_chunk {
    struct wf_atomic_ptr owner;  /* struct wf_slab_cache *, or SLAB_ORPHAN; see ORDER (b) */
    struct wf_atomic_ptr remote; /* see ORDER (a) */
    /* owner only */
    struct slab_slot *free;
    uint32_t class;
    uint32_t slots;
    uint32_t used;
    struct wf_list link; /* in the owner's list, the orphans' or the pool's */
    /* under the slab lock; fresh is read by walks */
    struct wf_list all;
    uint64_t serial; /* of this use of the chunk: the list of all is in its order; 0: free */
    struct wf_atomic_u32 fresh; /* slots below this index were handed out at least once */
    uint32_t resident;
};

_Static_assert(sizeof(struct wf_slab_chunk) <= CHUNK_HEADER, "the chunk header grew");

#define SLAB_ORPHAN ((void *)1)

static struct {
    struct wf_lock lock;
    bool ready;
    struct wf_list pool; /* free chunks */
    uint32_t pool_resident;
    struct wf_list orphans[WF_SLAB_CLASSES];
    struct wf_list all; /* chunks in use, in the order of their serial numbers */
    uint64_t serial;    /* given last */
    struct wf_slab_cache shared;
    struct wf_atomic_u32 surplus; /* more free chunks than the reserve; a hint */
} slab = {.lock = WF_LOCK_INIT(WF_RANK_SLAB)};

const struct wf_slab_shape wf_slab_shape = {
    .chunks = &slab.all,
    .class_size = class_size,
    .link = offsetof(struct wf_slab_chunk, all),
    .owner = offsetof(struct wf_slab_chunk, owner),
    .class_index = offsetof(struct wf_slab_chunk, class),
    .fresh = offsetof(struct wf_slab_chunk, fresh),
    .first_slot = CHUNK_HEADER,
};

/* Under the lock, once. By itself, or the compiler brings its constants along on every way that might take the lock. */
WF_COLD static void slab_make_ready(void)
{
    wf_list_init(&slab.pool);
    wf_list_init(&slab.all);
    for (int i = 0; i < WF_SLAB_CLASSES; i++)
        wf_list_init(&slab.orphans[i]);
    wf_slab_cache_init(&slab.shared);
    slab.ready = true;
}

static void slab_lock(void)
{
    wf_lock(&slab.lock);
    if (wf_unlikely(!slab.ready))
        slab_make_ready();
}

void wf_slab_hold(void)
{
    slab_lock();
}

void wf_slab_let_go(void)
{
    wf_unlock(&slab.lock);
}

static struct wf_slab_chunk *slab_chunk_of(void *p)
{
    return (struct wf_slab_chunk *)(void *)((char *)p - ((uintptr_t)p & (CHUNK_SIZE - 1)));
}

static struct slab_slot *slab_slot_at(struct wf_slab_chunk *ch, uint32_t index)
{
    return (struct slab_slot *)(void *)((char *)ch + CHUNK_HEADER +
                                        (size_t)index * class_size[ch->class]);
}

static struct wf_atomic_u64 *slab_state(void *slot)
{
    return (struct wf_atomic_u64 *)(void *)((char *)slot + WF_SLAB_STATE);
}

/* A class that holds size bytes; WF_SLAB_CLASSES when there is none. */
static uint32_t slab_class(size_t size)
{
    uint32_t i = 0;

    if (size <= 256)
        return size <= 128 ? 0 : size <= 192 ? 1 : 2;
    while (i < WF_SLAB_CLASSES && class_size[i] < size)
        i++;
    return i;
}

void wf_slab_cache_init(struct wf_slab_cache *c)
{
    for (int i = 0; i < WF_SLAB_CLASSES; i++) {
        c->current[i] = NULL;
        wf_list_init(&c->chunks[i]);
    }
}

/* Map one more region and put its chunks into the pool. Under the slab lock. */
static int slab_map_region_locked(void)
{
    size_t size = (size_t)CHUNK_SIZE * (REGION_CHUNKS + 1), head;
    void *p;
    char *at;
    int rc = wf_sys_mmap(&p, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);

    if (rc < 0)
        return rc;
    head = (CHUNK_SIZE - ((uintptr_t)p & (CHUNK_SIZE - 1))) & (CHUNK_SIZE - 1);
    at = (char *)p + head;
    if (head)
        wf_sys_munmap(p, head);
    if (CHUNK_SIZE - head)
        wf_sys_munmap(at + (size_t)CHUNK_SIZE * REGION_CHUNKS, CHUNK_SIZE - head);
    wf_sys_madvise(at, (size_t)CHUNK_SIZE * REGION_CHUNKS, MADV_NOHUGEPAGE);
    for (uint32_t i = 0; i < REGION_CHUNKS; i++) {
        struct wf_slab_chunk *ch = (struct wf_slab_chunk *)(void *)(at + (size_t)i * CHUNK_SIZE);

        wf_list_push_back(&slab.pool, &ch->link);
    }
    return 0;
}

/* Take a chunk from the pool for a class. NULL when memory is out. */
static struct wf_slab_chunk *slab_chunk_new_locked(uint32_t class)
{
    struct wf_list *node = wf_list_pop_front(&slab.pool);
    struct wf_slab_chunk *ch;

    if (!node) {
        if (slab_map_region_locked() < 0)
            return NULL;
        node = wf_list_pop_front(&slab.pool);
        wf_assert(node != NULL);
    }
    ch = wf_container_of(node, struct wf_slab_chunk, link);
    if (ch->resident)
        slab.pool_resident--;
    /* Slots of another size may have left marks where the new ones have their state. */
    ASAN_UNPOISON_MEMORY_REGION(ch, CHUNK_SIZE);
    ch->free = NULL;
    ch->class = class;
    ch->slots = (CHUNK_SIZE - CHUNK_HEADER) / class_size[class];
    ch->used = 0;
    /* relaxed: nobody else knows the chunk; the list of all is under the lock */
    wf_store_ptr(&ch->remote, NULL, WF_RELAXED);
    wf_store_u32(&ch->fresh, 0, WF_RELAXED);
    ch->serial = ++slab.serial;
    wf_list_push_back(&slab.all, &ch->all);
    return ch;
}

/* Back to the pool: no slot of it is in use. */
static void slab_chunk_free_locked(struct wf_slab_chunk *ch)
{
    wf_assert(ch->used == 0);
    wf_list_remove(&ch->all);
    ch->serial = 0;
    /* relaxed: a late freer that reads it finds no orphan (S1) */
    wf_store_ptr(&ch->owner, NULL, WF_RELAXED);
    if (++slab.pool_resident > RESERVE_CHUNKS)
        /* relaxed: a hint for wf_slab_trim */
        wf_store_u32(&slab.surplus, 1, WF_RELAXED);
    /* at the front: the warmest is taken first, the trimmed ones last */
    ch->link.next = slab.pool.next;
    ch->link.prev = &slab.pool;
    slab.pool.next->prev = &ch->link;
    slab.pool.next = &ch->link;
}

/* Take what others have returned. By the owner, or under the lock for an orphan. */
static void slab_collect(struct wf_slab_chunk *ch)
{
    /* acquire: pairs with the push in slab_free_remote; seq_cst for ORDER (b) */
    struct slab_slot *s = wf_swap_ptr(&ch->remote, NULL, WF_SEQ_CST);

    while (s) {
        struct slab_slot *next = s->next;

        s->next = ch->free;
        ch->free = s;
        ch->used--;
        s = next;
    }
}

static struct slab_slot *slab_chunk_take(struct wf_slab_chunk *ch)
{
    struct slab_slot *s = ch->free;
    uint32_t fresh;

    if (s) {
        ch->free = s->next;
        ch->used++;
        return s;
    }
    /* relaxed: only the owner writes it */
    fresh = wf_load_u32(&ch->fresh, WF_RELAXED);
    if (fresh == ch->slots)
        return NULL;
    s = slab_slot_at(ch, fresh);
    /* relaxed: nobody else knows the slot yet. A reused chunk holds old words here. */
    wf_store_u64(slab_state(s), 0, WF_RELAXED);
    /* release: pairs with wf_slab_walk; carries the zero state */
    wf_store_u32(&ch->fresh, fresh + 1, WF_RELEASE);
    ch->used++;
    return s;
}

/* Find or make a chunk with room and make it current. Takes the lock unless locked says it is held. */
static struct wf_slab_chunk *slab_refill(struct wf_slab_cache *c, uint32_t class, bool locked)
{
    struct wf_slab_chunk *ch;
    unsigned looked = 0;

    /* The oldest chunks first: they have had the longest time to come back. A few looks only, so
     * that a burst of allocations stays linear. */
    WF_LIST_FOREACH(node, &c->chunks[class]) {
        ch = wf_container_of(node, struct wf_slab_chunk, link);
        /* relaxed: a hint; slab_collect synchronises */
        if (wf_load_ptr(&ch->remote, WF_RELAXED))
            slab_collect(ch);
        if (ch->free) {
            wf_list_remove(node);
            wf_list_push_back(&c->chunks[class], node);
            c->current[class] = ch;
            return ch;
        }
        if (++looked == 4) {
            wf_list_remove(node);
            wf_list_push_back(&c->chunks[class], node);
            break;
        }
    }
    if (!locked)
        slab_lock();
    if (!wf_list_empty(&slab.orphans[class])) {
        ch = wf_container_of(wf_list_pop_front(&slab.orphans[class]), struct wf_slab_chunk, link);
        slab_collect(ch);
    } else {
        ch = slab_chunk_new_locked(class);
    }
    if (ch)
        /* release: what the chunk holds is set up. A freer compares the pointer only. */
        wf_store_ptr(&ch->owner, c, WF_RELEASE);
    if (!locked)
        wf_unlock(&slab.lock);
    if (!ch)
        return NULL;
    wf_list_push_back(&c->chunks[class], &ch->link);
    c->current[class] = ch;
    if (!ch->resident) {
        /* A batch of page faults costs a third less than one by one. Failure is harmless. */
        wf_sys_madvise(ch, CHUNK_SIZE, MADV_POPULATE_WRITE);
        ch->resident = 1;
    }
    return ch;
}

static void *slab_alloc_from(struct wf_slab_cache *c, uint32_t class, bool locked)
{
    struct wf_slab_chunk *ch = c->current[class];
    struct slab_slot *s = ch ? slab_chunk_take(ch) : NULL;

    while (wf_unlikely(!s)) {
        ch = slab_refill(c, class, locked);
        if (!ch)
            return NULL;
        s = slab_chunk_take(ch);
    }
    ASAN_UNPOISON_MEMORY_REGION(s, class_size[class]);
    return s;
}

void *wf_slab_alloc(struct wf_slab_cache *c, size_t size)
{
    uint32_t class = slab_class(size);
    void *p;

    if (wf_unlikely(class == WF_SLAB_CLASSES))
        return NULL;
    if (wf_likely(c != NULL))
        return slab_alloc_from(c, class, false);
    slab_lock();
    p = slab_alloc_from(&slab.shared, class, true);
    wf_unlock(&slab.lock);
    return p;
}

/* An empty chunk that is not the current one goes back to the pool. */
static void slab_retire(struct wf_slab_cache *c, struct wf_slab_chunk *ch)
{
    if (c->current[ch->class] == ch)
        return;
    wf_list_remove(&ch->link);
    slab_lock();
    slab_chunk_free_locked(ch);
    wf_unlock(&slab.lock);
}

static void slab_free_orphan(struct wf_slab_chunk *ch)
{
    slab_lock();
    /* relaxed: adopting and freeing happen under this lock */
    if (wf_load_ptr(&ch->owner, WF_RELAXED) == SLAB_ORPHAN) {
        slab_collect(ch);
        if (ch->used == 0) {
            wf_list_remove(&ch->link);
            slab_chunk_free_locked(ch);
        }
    }
    wf_unlock(&slab.lock);
}

static void slab_free_remote(struct wf_slab_chunk *ch, struct slab_slot *s)
{
    /* relaxed: the successful exchange below publishes */
    void *head = wf_load_ptr(&ch->remote, WF_RELAXED);

    do {
        s->next = head;
        /* release: pairs with slab_collect; seq_cst for ORDER (b) */
    } while (!wf_cas_weak_ptr(&ch->remote, &head, s, WF_SEQ_CST, WF_RELAXED));
    /* seq_cst: ORDER (b) */
    if (wf_unlikely(wf_load_ptr(&ch->owner, WF_SEQ_CST) == SLAB_ORPHAN))
        slab_free_orphan(ch);
}

void wf_slab_free(struct wf_slab_cache *c, void *p)
{
    struct wf_slab_chunk *ch = slab_chunk_of(p);
    struct slab_slot *s = p;

    ASAN_POISON_MEMORY_REGION((char *)p + WF_SLAB_STATE + sizeof(uint64_t),
                              class_size[ch->class] - WF_SLAB_STATE - sizeof(uint64_t));
    /* relaxed: only this thread can make or unmake itself the owner */
    if (wf_likely(c && wf_load_ptr(&ch->owner, WF_RELAXED) == c)) {
        s->next = ch->free;
        ch->free = s;
        if (wf_unlikely(--ch->used == 0))
            slab_retire(c, ch);
        return;
    }
    slab_free_remote(ch, s);
}

void wf_slab_cache_release(struct wf_slab_cache *c)
{
    slab_lock();
    for (uint32_t class = 0; class < WF_SLAB_CLASSES; class ++) {
        struct wf_list *node;

        c->current[class] = NULL;
        while ((node = wf_list_pop_front(&c->chunks[class]))) {
            struct wf_slab_chunk *ch = wf_container_of(node, struct wf_slab_chunk, link);

            /* seq_cst: ORDER (b) */
            (void)wf_swap_ptr(&ch->owner, SLAB_ORPHAN, WF_SEQ_CST);
            slab_collect(ch);
            if (ch->used == 0)
                slab_chunk_free_locked(ch);
            else
                wf_list_push_back(&slab.orphans[class], node);
        }
    }
    wf_unlock(&slab.lock);
}

/* Where the cursor's chunk is in the list of all, or the first one after its place there. Under the lock. */
static struct wf_list *slab_walk_from(const struct wf_slab_cursor *at)
{
    struct wf_list *node = slab.all.next;

    /* S1: the memory is there whatever the chunk is now. */
    if (at->chunk && at->chunk->serial == at->serial)
        return &at->chunk->all;
    while (node != &slab.all &&
           wf_container_of(node, struct wf_slab_chunk, all)->serial <= at->serial)
        node = node->next;
    return node;
}

bool wf_slab_walk(struct wf_slab_cursor *at, bool (*visit)(void *slot, void *arg), void *arg)
{
    bool more = true;

    slab_lock();
    for (struct wf_list *node = slab_walk_from(at); more && node != &slab.all; node = node->next) {
        struct wf_slab_chunk *ch = wf_container_of(node, struct wf_slab_chunk, all);
        /* acquire: pairs with slab_chunk_take */
        uint32_t fresh = wf_load_u32(&ch->fresh, WF_ACQUIRE);

        if (ch->serial != at->serial)
            *at = (struct wf_slab_cursor){.chunk = ch, .serial = ch->serial};
        while (more && at->index < fresh)
            more = visit(slab_slot_at(ch, at->index++), arg);
    }
    wf_unlock(&slab.lock);
    return !more;
}

/* Give back all but the first page, which holds the links; with pages as large as chunks, nothing. */
static void slab_chunk_discard(struct wf_slab_chunk *ch, size_t page_size)
{
    if (page_size < CHUNK_SIZE)
        wf_sys_madvise((char *)ch + page_size, CHUNK_SIZE - page_size, MADV_DONTNEED);
    ch->resident = 0;
}

void wf_slab_trim(void)
{
    size_t page_size;

    /* relaxed: a hint */
    if (wf_likely(!wf_load_u32(&slab.surplus, WF_RELAXED)) || !wf_try_lock(&slab.lock))
        return;
    wf_store_u32(&slab.surplus, 0, WF_RELAXED);
    page_size = wf_sys_page_size();
    if (slab.ready && slab.pool_resident > RESERVE_CHUNKS) {
        struct wf_list *node = slab.pool.prev;

        while (node != &slab.pool && slab.pool_resident > RESERVE_CHUNKS) {
            struct wf_slab_chunk *ch = wf_container_of(node, struct wf_slab_chunk, link);

            node = node->prev;
            if (!ch->resident)
                continue;
            slab_chunk_discard(ch, page_size);
            slab.pool_resident--;
        }
    }
    wf_unlock(&slab.lock);
}
