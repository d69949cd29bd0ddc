/* SPDX-License-Identifier: MIT */
/*
 * test_slab.c - memory for headers, given back by others while its owner takes, ends, is replaced, is walked.
 *
 * A chunk has one slot of 640 bytes, two of 384 or four of 192, so that each of them runs dry, empties
 * and changes hands within a few steps. The source is included: at the end of each test no slot
 * is in use, and then every chunk must be back in the pool, once.
 *
 * Who has a slot writes plain bytes into it: two owners of one slot, or one before the other is
 * through with it, are a race.
 */
#include "model/model.h"
#include "task/current.h"
#include "task/slab.c" /* NOLINT(bugprone-suspicious-include) */
#include "task/task.h"

#define ONE  640 /* bytes, of which a chunk has that many */
#define TWO  384
#define FOUR 192
#define TASK FOUR /* what a task takes here */

/* Of model_reached: what the bits mean is each test's own. */
#define BIT(n) (1u << (n))

static struct wf_slab_cache owners[2];
static void *slots[4];
static uint64_t first_use; /* the serial number of the orphan */

/* --- slots ---------------------------------------------------------------- */

/* The word of a slot that is alive: a number above 0 of the test's choice. */
static void *take(struct wf_slab_cache *c, size_t size, uint64_t tag)
{
    uint64_t *p = wf_slab_alloc(c, size);

    CHECK(p && (uintptr_t)p % 64 == 0);
    CHECK_EQ(0, wf_load_u64(slab_state(p), WF_RELAXED));
    p[2] = tag;
    wf_store_u64(slab_state(p), tag, WF_RELEASE);
    return p;
}

static void give(struct wf_slab_cache *c, void *slot)
{
    uint64_t *p = slot;

    CHECK(p[2] == wf_load_u64(slab_state(p), WF_RELAXED));
    p[2] = 0;
    wf_store_u64(slab_state(p), 0, WF_RELAXED);
    wf_slab_free(c, p);
}

static size_t count(const struct wf_list *head)
{
    size_t n = 0;

    WF_LIST_FOREACH(node, head)
        n++;
    return n;
}

static void begin_owners(void)
{
    wf_slab_cache_init(&owners[0]);
    wf_slab_cache_init(&owners[1]);
}

/* All slots were given back: nothing is forgotten anywhere. */
static void end(void)
{
    uint32_t resident = 0;

    wf_slab_cache_release(&owners[0]);
    wf_slab_cache_release(&owners[1]);
    wf_slab_cache_release(&slab.shared);
    CHECK_EQ(0, count(&slab.all));
    for (int i = 0; i < WF_SLAB_CLASSES; i++)
        CHECK_EQ(0, count(&slab.orphans[i]));
    CHECK(count(&slab.pool) > 0 && count(&slab.pool) % REGION_CHUNKS == 0);
    WF_LIST_FOREACH(node, &slab.pool) {
        struct wf_slab_chunk *ch = wf_container_of(node, struct wf_slab_chunk, link);

        CHECK(!ch->owner.raw && ch->used == 0 && ch->serial == 0);
        resident += ch->resident;
    }
    CHECK_EQ(resident, slab.pool_resident);
    CHECK(resident <= RESERVE_CHUNKS || slab.surplus.raw);
}

/* --- an owner, and others who give back ----------------------------------- */

enum { COLLECTED = 0, MADE_NEW = 1 };

static void begin_full(void)
{
    begin_owners();
    slots[0] = take(&owners[0], TWO, 1);
    slots[1] = take(&owners[0], TWO, 2);
}

static void owner_takes(void)
{
    void *p = take(&owners[0], TWO, 3);

    model_reached(slab_chunk_of(p) == slab_chunk_of(slots[0]) ? COLLECTED : MADE_NEW);
    give(&owners[0], p);
}

static void gives_first(void)
{
    give(NULL, slots[0]);
}

static void gives_second(void)
{
    give(&owners[1], slots[1]);
}

/* --- a cache that ends ---------------------------------------------------- */

enum { FREED_BY_CACHE = 0, FREED_BY_LAST = 1 };

static void cache_ends(void)
{
    wf_slab_cache_release(&owners[0]);
    slab_lock();
    model_reached(count(&slab.all) ? FREED_BY_LAST : FREED_BY_CACHE);
    wf_unlock(&slab.lock);
}

/* --- orphans -------------------------------------------------------------- */

static void begin_orphan(void)
{
    begin_full();
    wf_slab_cache_release(&owners[0]);
    CHECK_EQ(1, count(&slab.orphans[slab_class(TWO)]));
    first_use = slab.serial;
}

enum { ADOPTED = 0, WENT = 1 };

static void adopts_and_ends(void)
{
    void *p = take(&owners[1], TWO, 3);

    model_reached(slab_chunk_of(p)->serial == first_use ? ADOPTED : WENT);
    give(&owners[1], p);
    wf_slab_cache_release(&owners[1]);
}

static void gives_second_as_plain(void)
{
    give(NULL, slots[1]);
}

/* --- a freer who comes too late ------------------------------------------- */

/* The chunk of slots[0] may be reused, and an orphan again, before its freer looks at the owner. */
enum { REUSED = 0 };

static void begin_late(void)
{
    begin_owners();
    slots[0] = take(&owners[0], ONE, 1);
}

static void ends_and_reuses(void)
{
    void *p;

    wf_slab_cache_release(&owners[0]);
    p = take(&owners[1], TWO, 2);
    if (slab_chunk_of(p) == slab_chunk_of(slots[0]))
        model_reached(REUSED);
    wf_slab_cache_release(&owners[1]);
    give(NULL, p);
}

/* --- plain threads share a cache ------------------------------------------ */

static void plain_takes_and_gives(void)
{
    give(NULL, take(NULL, ONE, model_thread_self()));
}

/* --- trims ---------------------------------------------------------------- */

enum { TRIMMED = 0, NOT_TRIMMED = 1 };

static void begin_surplus(void)
{
    begin_owners();
    for (unsigned i = 0; i < 3; i++)
        slots[i] = take(&owners[0], ONE, i + 1);
    for (unsigned i = 0; i < 3; i++)
        give(&owners[0], slots[i]);
    wf_slab_cache_release(&owners[0]);
    CHECK_EQ(3, slab.pool_resident);
}

static void trims(void)
{
    wf_slab_trim();
}

static void takes_from_pool(void)
{
    void *p = take(&owners[0], ONE, 1);

    give(&owners[0], p);
    CHECK(take(&owners[0], ONE, 2) == p); /* the current chunk stays */
    give(&owners[0], p);
    wf_slab_cache_release(&owners[0]);
}

static void end_trims(void)
{
    model_reached(slab.pool_resident <= RESERVE_CHUNKS ? TRIMMED : NOT_TRIMMED);
    end();
}

/* --- walks ---------------------------------------------------------------- */

#define TAGS 5

static unsigned visited[TAGS];

/* A slot that was handed out has no older word than the zero from then. */
static bool visit(void *slot, void *arg)
{
    /* relaxed: to see old ones, if they could be seen */
    uint64_t tag = wf_load_u64(slab_state(slot), WF_RELAXED);

    CHECK(tag < TAGS);
    visited[tag]++;
    return !*(bool *)arg;
}

static void walk(bool by_lots)
{
    struct wf_slab_cursor at = {0};

    while (wf_slab_walk(&at, visit, &by_lots))
        ;
}

/* The memory has other words from an earlier use. */
static void begin_dirty(void)
{
    begin_owners();
    for (unsigned i = 0; i < 4; i++)
        slots[i] = take(&owners[0], 128, i + 1);
    for (unsigned i = 0; i < 4; i++)
        memset((char *)slots[i] + 16, 0xff, 112);
    for (unsigned i = 0; i < 4; i++) {
        ((uint64_t *)slots[i])[2] = i + 1;
        give(&owners[0], slots[i]);
    }
    wf_slab_cache_release(&owners[0]);
    slots[0] = take(&owners[0], FOUR, 1);
}

static void takes_fresh(void)
{
    slots[1] = take(&owners[0], FOUR, 2);
    slots[2] = take(&owners[0], FOUR, 3);
}

static void walks(void)
{
    walk(false);
}

static void walks_by_lots(void)
{
    walk(true);
}

static void end_dirty(void)
{
    CHECK_EQ(1, visited[1]);
    CHECK(visited[2] <= 1 && visited[3] <= 1);
    model_reached(visited[3] ? 1 : visited[2] ? 2 : 3);
    for (unsigned i = 0; i < 3; i++)
        give(&owners[0], slots[i]);
    end();
}

static void begin_three(void)
{
    begin_owners();
    for (unsigned i = 0; i < 3; i++)
        slots[i] = take(&owners[0], ONE, i + 1);
}

/* The chunk in the middle goes, and comes again at the end of the list. */
static void replaces_the_second(void)
{
    give(&owners[0], slots[1]);
    slots[1] = take(&owners[0], ONE, 4);
}

static void end_three(void)
{
    CHECK_EQ(1, visited[1]);
    CHECK_EQ(1, visited[3]);
    CHECK(visited[2] <= 1 && visited[4] <= 1);
    model_reached(visited[2] + 2 * visited[4]);
    for (unsigned i = 0; i < 3; i++)
        give(&owners[0], slots[i]);
    end();
}

/* --- walks that take references of tasks ---------------------------------- */

enum { MET = 0, MISSED = 1, FREED_BY_WALK = 2 };

static struct wf_task_counters counters;
static struct wf_scheduler sched;
static struct wf_thread spawner = {.slab = &owners[0], .sched = &sched, .counters = &counters};

static void spawned(struct wf_scheduler *s, struct wf_thread *th, struct weft_task *t)
{
    (void)s, (void)th, (void)t;
}

static const struct wf_scheduler_ops ops = {.spawned = spawned};

static weft_poll nothing(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    return WEFT_PENDING;
}

static const weft_async_type type = {.poll = nothing,
                                     .size = sizeof(weft_async),
                                     .name = "nothing"};

static void spawn_and_end(void)
{
    weft_async state = {0};
    weft_task *t;

    wf_thread_set_self(&spawner);
    CHECK_EQ(0, wf_spawn_async_on(&sched, &t, NULL, &type, &state));
    (void)wf_task_state_start(t);
    wf_task_end(t);
    weft_detach(t);
    wf_thread_set_self(NULL);
}

/* Two tasks that have ended: the header of the first is free, the second keeps its grave. */
static void begin_tasks(void)
{
    begin_owners();
    sched.ops = &ops;
    spawn_and_end();
    spawn_and_end();
}

static weft_task *met[2];

static bool visit_task(void *slot, void *arg)
{
    unsigned *n = arg;

    if (wf_task_try_retain(slot))
        met[(*n)++] = slot;
    return *n < wf_array_count(met);
}

static void walks_over_tasks(void)
{
    struct wf_slab_cursor at = {0};
    unsigned n = 0;

    (void)wf_slab_walk(&at, visit_task, &n);
    model_reached(n ? MET : MISSED);
    while (n) {
        weft_task *t = met[--n];

        CHECK(t->sched == &sched && t->id > 0 && t->async == &type);
        if (wf_task_refs(wf_load_u64(&t->state, WF_RELAXED)) == 1)
            model_reached(FREED_BY_WALK);
        wf_task_release(t);
    }
}

static void end_tasks(void)
{
    wf_thread_set_self(&spawner);
    wf_task_free_graves(&spawner);
    wf_thread_set_self(NULL);
    end();
}

/* --- a late look at a task, whose chunk is used anew meanwhile -------------------------------- */

enum { IN_TIME = 0, TOO_LATE = 1, USED_ANEW = 2, IN_THE_WAY = 3 };

static struct wf_atomic_ptr shown; /* the task that is polled, to others */

/* The word that counts the task's references is in the middle of the one slot that comes after it. */
static void shows_and_goes(void)
{
    weft_async state = {0};
    void *before = take(&owners[0], TASK, 1);
    weft_task *t;
    uint64_t *p;

    wf_thread_set_self(&spawner);
    CHECK_EQ(0, wf_spawn_async_on(&sched, &t, NULL, &type, &state));
    CHECK(slab_chunk_of(t) == slab_chunk_of(before) && (void *)t > before);
    wf_store_ptr(&shown, t, WF_RELAXED);
    (void)wf_task_state_start(t);
    wf_task_end(t);
    wf_store_ptr(&shown, NULL, WF_RELAXED);
    weft_detach(t);
    wf_task_free_graves(&spawner);
    give(&owners[0], before);
    wf_slab_cache_release(&owners[0]);
    p = take(&owners[0], ONE, 7);
    model_reached(slab_chunk_of(p) == slab_chunk_of(t) ? USED_ANEW : IN_THE_WAY);
    for (size_t i = 3; i < ONE / sizeof(*p); i++)
        p[i] = i;
    /* Now it is the other's turn. */
    wf_store_ptr(&shown, NULL, WF_RELAXED);
    for (size_t i = 3; i < ONE / sizeof(*p); i++)
        CHECK_EQ(i, p[i]);
    give(&owners[0], p);
    wf_thread_set_self(NULL);
}

/* As the monitor does. */
static void looks_late(void)
{
    weft_task *t;

    wf_slab_hold();
    t = wf_load_ptr(&shown, WF_RELAXED);
    if (t && !wf_task_try_retain(t)) {
        model_reached(TOO_LATE);
        t = NULL;
    }
    wf_slab_let_go();
    if (!t)
        return;
    model_reached(IN_TIME);
    CHECK(t->sched == &sched && t->id > 0 && t->async == &type);
    wf_task_release(t);
}

static void begin_shown(void)
{
    begin_owners();
    sched.ops = &ops;
}

const struct model_test model_tests[] = {
    {.name = "an owner takes while others give back",
     .begin = begin_full,
     .thread = {owner_takes, gives_first, gives_second},
     .end = end,
     .must_reach = BIT(COLLECTED) | BIT(MADE_NEW)},
    {.name = "a cache ends while others give back",
     .begin = begin_full,
     .thread = {cache_ends, gives_first, gives_second_as_plain},
     .end = end,
     .stale = 1,
     .must_reach = BIT(FREED_BY_CACHE) | BIT(FREED_BY_LAST)},
    {.name = "an orphan is adopted while others give back",
     .begin = begin_orphan,
     .thread = {adopts_and_ends, gives_first, gives_second_as_plain},
     .end = end,
     .stale = 1,
     .must_reach = BIT(ADOPTED) | BIT(WENT)},
    {.name = "a chunk is used anew before its last freer has looked at its owner",
     .begin = begin_late,
     .thread = {ends_and_reuses, gives_first},
     .end = end,
     .must_reach = BIT(REUSED)},
    {.name = "plain threads share a cache",
     .begin = begin_owners,
     .thread = {plain_takes_and_gives, plain_takes_and_gives},
     .end = end},
    {.name = "a trim while chunks are taken",
     .begin = begin_surplus,
     .thread = {trims, takes_from_pool, trims},
     .end = end_trims,
     .must_reach = BIT(TRIMMED) | BIT(NOT_TRIMMED)},
    {.name = "a walk sees no word from an earlier use",
     .begin = begin_dirty,
     .thread = {takes_fresh, walks},
     .end = end_dirty,
     .must_reach = BIT(1) | BIT(2) | BIT(3)},
    {.name = "a walk by lots meets once what stays",
     .begin = begin_three,
     .thread = {replaces_the_second, walks_by_lots},
     .end = end_three,
     .must_reach = BIT(1) | BIT(2)},
    {.name = "a walk takes references of tasks while they come and go",
     .begin = begin_tasks,
     .thread = {spawn_and_end, walks_over_tasks},
     .end = end_tasks,
     .must_reach = BIT(MET) | BIT(MISSED) | BIT(FREED_BY_WALK)},
    {.name = "a late look at a task takes no reference of what is there by now",
     .begin = begin_shown,
     .thread = {shows_and_goes, looks_late},
     .end = end_tasks,
     .must_reach = BIT(IN_TIME) | BIT(TOO_LATE) | BIT(USED_ANEW) | BIT(IN_THE_WAY)},
    {0},
};
