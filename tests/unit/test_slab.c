/* SPDX-License-Identifier: MIT */
/*
 * test_slab.c - memory for headers: what comes from where, who gets it back, and what a walk sees.
 *
 * The source is included, so that the pool and the orphans can be counted.
 */
#include "support.h"
#include "task/slab.c" /* NOLINT(bugprone-suspicious-include) */

#include <pthread.h>
#include <stdlib.h>

static size_t list_count(const struct wf_list *head)
{
    size_t n = 0;

    WF_LIST_FOREACH(node, head)
        n++;
    return n;
}

static size_t chunks_in_use(void)
{
    size_t n;

    slab_lock();
    n = list_count(&slab.all);
    wf_unlock(&slab.lock);
    return n;
}

static size_t orphans_of(uint32_t class)
{
    size_t n;

    slab_lock();
    n = list_count(&slab.orphans[class]);
    wf_unlock(&slab.lock);
    return n;
}

static void mark_alive(void *p, uint64_t word)
{
    wf_store_u64(slab_state(p), word, WF_RELEASE);
}

static void give(struct wf_slab_cache *c, void *p)
{
    mark_alive(p, 0);
    wf_slab_free(c, p);
}

TEST(slots_are_aligned_apart_and_begin_without_references)
{
    struct wf_slab_cache c;
    char *slots[64];

    wf_slab_cache_init(&c);
    for (size_t size = 1; size <= class_size[WF_SLAB_CLASSES - 1]; size += size < 512 ? 13 : 509) {
        uint32_t class = slab_class(size);

        CHECK(class_size[class] >= size && (class == 0 || class_size[class - 1] < size));
        for (unsigned i = 0; i < 64; i++) {
            slots[i] = wf_slab_alloc(i % 8 ? &c : NULL, size);
            CHECK(slots[i] && (uintptr_t)slots[i] % 64 == 0);
            CHECK_EQ(0, wf_load_u64(slab_state(slots[i]), WF_RELAXED));
            memset(slots[i], (int)i, size);
        }
        for (unsigned i = 0; i < 64; i++) {
            for (size_t at = 0; at < size; at++)
                CHECK_EQ((char)i, slots[i][at]);
            give(i % 8 ? &c : NULL, slots[i]);
        }
    }
    CHECK(wf_slab_alloc(&c, class_size[WF_SLAB_CLASSES - 1] + 1) == NULL);
    wf_slab_cache_release(&c);
}

END_TEST

TEST(the_owner_takes_back_what_it_gave)
{
    struct wf_slab_cache c;
    void *p, *q;

    wf_slab_cache_init(&c);
    p = wf_slab_alloc(&c, 128);
    q = wf_slab_alloc(&c, 128);
    CHECK(p && q && p != q);
    give(&c, p);
    CHECK(wf_slab_alloc(&c, 100) == p);
    give(&c, p);
    give(&c, q);
    CHECK_EQ(1, chunks_in_use()); /* the current one is kept */
    wf_slab_cache_release(&c);
    CHECK_EQ(0, chunks_in_use());
}

END_TEST

/* More slots than one chunk has. */
static size_t fill(struct wf_slab_cache *c, void **slots, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        slots[i] = wf_slab_alloc(c, size);
        CHECK(slots[i]);
    }
    return count;
}

TEST(empty_chunks_go_back_to_the_pool)
{
    enum { COUNT = 5000 };

    struct wf_slab_cache c;
    void **slots = calloc(COUNT, sizeof(*slots));

    CHECK(slots);
    wf_slab_cache_init(&c);
    for (int round = 0; round < 3; round++) {
        fill(&c, slots, COUNT, 128);
        CHECK(chunks_in_use() >= COUNT / 512);
        for (size_t i = 0; i < COUNT; i++)
            give(&c, slots[i]);
        CHECK(chunks_in_use() <= 1);
    }
    wf_slab_cache_release(&c);
    free(slots);
}

END_TEST

TEST(what_others_return_is_used_again)
{
    enum { COUNT = 3000 };

    struct wf_slab_cache c;
    void **slots = calloc(COUNT, sizeof(*slots));
    size_t most;

    CHECK(slots);
    wf_slab_cache_init(&c);
    fill(&c, slots, COUNT, 192);
    most = chunks_in_use();
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < COUNT; i++)
            give(NULL, slots[i]); /* as a plain thread does */
        fill(&c, slots, COUNT, 192);
        CHECK(chunks_in_use() <= most + 1);
    }
    for (size_t i = 0; i < COUNT; i++)
        give(&c, slots[i]);
    wf_slab_cache_release(&c);
    CHECK_EQ(0, chunks_in_use());
    free(slots);
}

END_TEST

TEST(an_orphan_is_freed_with_its_last_slot)
{
    struct wf_slab_cache c;
    void *slots[3];

    wf_slab_cache_init(&c);
    fill(&c, slots, 3, 256);
    wf_slab_cache_release(&c);
    CHECK_EQ(1, orphans_of(slab_class(256)));
    CHECK_EQ(1, chunks_in_use());
    give(NULL, slots[1]);
    give(NULL, slots[0]);
    CHECK_EQ(1, chunks_in_use());
    give(NULL, slots[2]);
    CHECK_EQ(0, orphans_of(slab_class(256)));
    CHECK_EQ(0, chunks_in_use());
}

END_TEST

TEST(an_orphan_is_adopted_by_who_needs_a_chunk)
{
    struct wf_slab_cache c, d;
    void *slots[3], *more[2];

    wf_slab_cache_init(&c);
    wf_slab_cache_init(&d);
    fill(&c, slots, 3, 256);
    wf_slab_cache_release(&c);
    fill(&d, more, 2, 256);
    CHECK_EQ(0, orphans_of(slab_class(256)));
    CHECK_EQ(1, chunks_in_use());
    CHECK(slab_chunk_of(more[0]) == slab_chunk_of(slots[0]));
    for (int i = 0; i < 3; i++)
        give(i ? &d : NULL, slots[i]);
    for (int i = 0; i < 2; i++)
        give(&d, more[i]);
    wf_slab_cache_release(&d);
    CHECK_EQ(0, chunks_in_use());
}

END_TEST

/* Pages that take memory in chunks that were trimmed, but for the first, which has the links. */
static size_t pages_not_given_back(void)
{
    size_t page = wf_sys_page_size(), count = 0;
    unsigned char pages[CHUNK_SIZE / 4096];

    slab_lock();
    WF_LIST_FOREACH(node, &slab.pool) {
        struct wf_slab_chunk *ch = wf_container_of(node, struct wf_slab_chunk, link);

        if (ch->resident)
            continue;
        CHECK_EQ(0, mincore(ch, CHUNK_SIZE, pages));
        for (size_t i = 1; i < CHUNK_SIZE / page; i++)
            count += pages[i] & 1;
    }
    wf_unlock(&slab.lock);
    return count;
}

TEST(a_trim_gives_memory_back_beyond_the_reserve)
{
    enum { COUNT = 512 * (RESERVE_CHUNKS + 100) };

    struct wf_slab_cache c;
    void **slots = calloc(COUNT, sizeof(*slots));

    CHECK(slots);
    wf_slab_cache_init(&c);
    fill(&c, slots, COUNT, 128);
    for (size_t i = 0; i < COUNT; i++)
        give(&c, slots[i]);
    wf_slab_cache_release(&c);
    CHECK(slab.pool_resident > RESERVE_CHUNKS);
    wf_slab_trim();
    CHECK_EQ(RESERVE_CHUNKS, slab.pool_resident);
    if (!test_emulated()) /* it may pretend to have other pages than its host */
        CHECK_EQ(0, pages_not_given_back());
    /* What was trimmed is as good as new. */
    wf_slab_cache_init(&c);
    fill(&c, slots, COUNT, 128);
    for (size_t i = 0; i < COUNT; i++) {
        CHECK_EQ(0, wf_load_u64(slab_state(slots[i]), WF_RELAXED));
        give(&c, slots[i]);
    }
    wf_slab_cache_release(&c);
    free(slots);
}

END_TEST

/* --- walks -------------------------------------------------------------------------- */

static bool walk_count(void *slot, void *arg)
{
    if (wf_load_u64(slab_state(slot), WF_ACQUIRE))
        ++*(size_t *)arg;
    return true;
}

static void walk_all(bool (*visit)(void *slot, void *arg), void *arg)
{
    struct wf_slab_cursor begin = {0};

    CHECK(!wf_slab_walk(&begin, visit, arg));
}

TEST(a_walk_sees_what_is_alive_and_nothing_else)
{
    struct wf_slab_cache c;
    void *slots[600];
    size_t n = 0;

    wf_slab_cache_init(&c);
    fill(&c, slots, 600, 128);
    walk_all(walk_count, &n);
    CHECK_EQ(0, n);
    for (int i = 0; i < 600; i += 3)
        mark_alive(slots[i], 1);
    walk_all(walk_count, &n);
    CHECK_EQ(200, n);
    for (int i = 0; i < 600; i++)
        give(i % 2 ? &c : NULL, slots[i]);
    n = 0;
    walk_all(walk_count, &n);
    CHECK_EQ(0, n);
    wf_slab_cache_release(&c);
}

END_TEST

struct portion {
    size_t alive, left;
};

static bool walk_portion(void *slot, void *arg)
{
    struct portion *p = arg;

    if (wf_load_u64(slab_state(slot), WF_ACQUIRE))
        p->alive++;
    return --p->left > 0;
}

/* Also when the chunk that it stands in, and the next one, are freed and used anew meanwhile: then
 * nothing is met twice, and what stays is met. */
TEST(a_walk_goes_on_where_it_was)
{
    enum { SLOTS = 3000 };
    struct wf_slab_cursor at = {0};
    struct wf_slab_cache c;
    struct portion p = {0, 0};
    static void *slots[SLOTS];
    size_t rounds = 0;
    bool more;

    wf_slab_cache_init(&c);
    fill(&c, slots, SLOTS, 128);
    for (int i = 0; i < SLOTS; i++)
        mark_alive(slots[i], 1);
    do {
        p.left = 7;
        more = wf_slab_walk(&at, walk_portion, &p);
        rounds++;
    } while (more);
    CHECK_EQ(SLOTS, p.alive);
    CHECK(rounds > SLOTS / 7);

    at = (struct wf_slab_cursor){0};
    p = (struct portion){.left = 600}; /* into the second chunk of 511 */
    CHECK(wf_slab_walk(&at, walk_portion, &p));
    for (int i = 0; i < 1100; i++)
        give(&c, slots[i]);
    fill(&c, slots, 1100, 192);
    for (int i = 0; i < 1100; i++)
        mark_alive(slots[i], 1);
    p.left = SIZE_MAX;
    p.alive = 0;
    CHECK(!wf_slab_walk(&at, walk_portion, &p));
    CHECK(p.alive >= SLOTS - 1100 && p.alive <= SLOTS);
    for (int i = 0; i < SLOTS; i++)
        give(&c, slots[i]);
    wf_slab_cache_release(&c);
}

END_TEST

/* --- threads ------------------------------------------------------------------------ */

#define HANDS  3
#define BASKET 512

/* Each hand has caches that come and go, swaps slots with the others, and frees what it is
 * given. */
struct fair {
    struct wf_atomic_ptr basket[BASKET];
    struct wf_atomic_u32 done, hands;
    struct wf_atomic_u64 out; /* slots alive */
    uint64_t steps, seed;
};

#define ALIVE_MAGIC UINT64_C(0x5eed5eed00000001)

static const size_t fair_sizes[] = {100, 128, 180, 256, 700, 2000};

static void fair_check_and_give(struct fair *f, struct wf_slab_cache *c, void *p)
{
    uint64_t *words = p;

    /* Nobody else was given this slot meanwhile. */
    CHECK_EQ((long long)(uintptr_t)p, words[2]);
    words[2] = 0;
    wf_sub_u64(&f->out, 1, WF_RELAXED);
    give(c, p);
}

static void *fair_take(struct fair *f, struct wf_slab_cache *c, uint64_t *rand)
{
    uint64_t *p = wf_slab_alloc(c, fair_sizes[test_rand(rand) % wf_array_count(fair_sizes)]);

    CHECK(p);
    CHECK_EQ(0, wf_load_u64(slab_state(p), WF_RELAXED));
    p[2] = (uintptr_t)p;
    mark_alive(p, ALIVE_MAGIC);
    wf_add_u64(&f->out, 1, WF_RELAXED);
    return p;
}

static void *fair_hand(void *arg)
{
    struct fair *f = arg;
    uint32_t me = wf_add_u32(&f->hands, 1, WF_RELAXED);
    uint64_t rand = f->seed + me + 1;
    struct wf_slab_cache cache, *c = me ? &cache : NULL; /* the first is a plain thread */

    wf_slab_cache_init(&cache);
    for (uint64_t i = 0; i < f->steps; i++) {
        void *mine = test_rand(&rand) % 4 ? fair_take(f, c, &rand) : NULL;
        void *theirs = wf_swap_ptr(&f->basket[test_rand(&rand) % BASKET], mine, WF_ACQ_REL);

        if (theirs)
            fair_check_and_give(f, c, theirs);
        if (c && test_rand(&rand) % 2000 == 0) {
            wf_slab_cache_release(c); /* orphans */
            wf_slab_cache_init(c);
        }
        if (test_rand(&rand) % 4000 == 0)
            wf_slab_trim();
    }
    wf_slab_cache_release(&cache);
    return NULL;
}

static bool fair_visit(void *slot, void *arg)
{
    uint64_t word = wf_load_u64(slab_state(slot), WF_ACQUIRE);

    CHECK(word == 0 || word == ALIVE_MAGIC);
    return ++*(uint64_t *)arg % 300 != 0;
}

static void *fair_walker(void *arg)
{
    struct fair *f = arg;
    struct wf_slab_cursor at = {0};
    uint64_t visited = 0;

    do {
        if (!wf_slab_walk(&at, fair_visit, &visited))
            at = (struct wf_slab_cursor){0};
        sched_yield();
        /* The first looks may come before there is anything; when all is done there is something. */
    } while (visited == 0 || !wf_load_u32(&f->done, WF_ACQUIRE));
    return NULL;
}

TEST(owners_others_orphans_and_walks_at_once)
{
    struct fair *f = calloc(1, sizeof(*f));
    pthread_t hands[HANDS], walker;

    CHECK(f);
    f->steps = test_scaled(150000);
    f->seed = test_seed();
    CHECK_EQ(0, pthread_create(&walker, NULL, fair_walker, f));
    for (int i = 0; i < HANDS; i++)
        CHECK_EQ(0, pthread_create(&hands[i], NULL, fair_hand, f));
    for (int i = 0; i < HANDS; i++)
        CHECK_EQ(0, pthread_join(hands[i], NULL));
    wf_store_u32(&f->done, 1, WF_RELEASE);
    CHECK_EQ(0, pthread_join(walker, NULL));
    for (int i = 0; i < BASKET; i++) {
        void *p = wf_load_ptr(&f->basket[i], WF_RELAXED);

        if (p)
            fair_check_and_give(f, NULL, p);
    }
    CHECK_EQ(0, wf_load_u64(&f->out, WF_RELAXED));
    /* All that is left belongs to the cache of plain threads, which keeps its current chunks and
     * looks at the others when it needs room. */
    for (uint32_t class = 0; class < WF_SLAB_CLASSES; class ++)
        CHECK_EQ(0, orphans_of(class));
    wf_slab_cache_release(&slab.shared);
    CHECK_EQ(0, chunks_in_use());
    free(f);
}

END_TEST

TEST_MAIN("slab", slots_are_aligned_apart_and_begin_without_references,
          the_owner_takes_back_what_it_gave, empty_chunks_go_back_to_the_pool,
          what_others_return_is_used_again, an_orphan_is_freed_with_its_last_slot,
          an_orphan_is_adopted_by_who_needs_a_chunk, a_trim_gives_memory_back_beyond_the_reserve,
          a_walk_sees_what_is_alive_and_nothing_else, a_walk_goes_on_where_it_was,
          owners_others_orphans_and_walks_at_once)
