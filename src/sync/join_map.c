/* SPDX-License-Identifier: MIT */
/*
 * join_map.c - tasks that somebody started and waits for together, each found by a key.
 *
 * IDEA     A gathering (gather.h) whose records also are entries of a hash table, with their keys behind them: so an
 *          entry is no allocation either. The table doubles step by step: for a while there are two, and each change
 *          moves a few entries on, so that no one holds the lock for long.
 *          A task that is replaced stays in the group, hidden, until it has ended.
 * OWNS     The task that was taken last is kept until the next one is, for its key was given out.
 * INVARIANTS
 *     M1   A child that is shown is in one of the tables; one that is hidden or was taken out is in none.
 *     M2   While there are two, the buckets of the old one below `moved` are empty.
 * LOCKS    The group's guards the tables. They are allocated and freed outside of it.
 * TESTS    tests/api/test_join_map.c, tests/model/test_join_map.c, tests/fault/test_group.c
 */
#include "sync/join_map.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/sys.h"
#include "task/leave.h"
#include "task/thread_wait.h"

#include <errno.h>
#include <string.h>

#ifndef WF_MAP_FIRST     /* a test build has fewer */
# define WF_MAP_FIRST 16 /* buckets at first */
# define WF_MAP_STEP  4  /* buckets of the old table that each change moves */
#endif

struct entry {
    struct wf_child child;
    struct entry *next; /* under the lock */
    uint64_t hash;      /* set once, as the rest */
    uint64_t number;    /* the key, or how many bytes of it are behind */
    bool is_number;
};

struct table {
    struct entry **bucket;
    size_t count; /* a power of two; 0: there is none */
};

struct weft_join_map {
    struct wf_gather gather;
    weft_task_options defaults;
    char name[64];
    struct wf_hash_key hash_key; /* set once */
    /* under the lock */
    struct table now, old;
    size_t moved;           /* M2 */
    struct weft_task *last; /* see OWNS */
    struct entry *first[WF_MAP_FIRST];
};

static struct weft_join_map *map_of(struct wf_gather *gt)
{
    return wf_container_of(gt, struct weft_join_map, gather);
}

static struct entry *entry_of(const struct wf_child *c)
{
    return wf_container_of((struct wf_child *)wf_unconst(c), struct entry, child);
}

static weft_key entry_key(const struct entry *e)
{
    return (weft_key){.bytes = e->is_number ? NULL : e + 1, .number = e->number};
}

/* --- keys --- */

weft_key weft_key_number(uint64_t n)
{
    return (weft_key){.number = n};
}

weft_key weft_key_bytes(const void *bytes, size_t size)
{
    return (weft_key){.bytes = bytes ? bytes : "", .number = bytes ? size : 0};
}

weft_key weft_key_string(const char *s)
{
    return weft_key_bytes(s, s ? strlen(s) : 0);
}

bool weft_key_equal(weft_key a, weft_key b)
{
    if (!a.bytes != !b.bytes || a.number != b.number)
        return false;
    return !a.bytes || memcmp(a.bytes, b.bytes, a.number) == 0;
}

static uint64_t map_hash(const struct weft_join_map *m, weft_key key)
{
    if (key.bytes)
        return wf_hash(&m->hash_key, key.bytes, key.number);
    return wf_hash(&m->hash_key, &key.number, sizeof(key.number));
}

/* --- the tables, all under the lock --- */

static void table_put(const struct table *t, struct entry *e)
{
    struct entry **bucket = &t->bucket[e->hash & (t->count - 1)];

    e->next = *bucket;
    *bucket = e;
}

/* The place in whose chain an entry with this key is, or NULL. */
static struct entry **table_find(const struct table *t, uint64_t hash, weft_key key)
{
    struct entry **at;

    if (t->count == 0)
        return NULL;
    for (at = &t->bucket[hash & (t->count - 1)]; *at; at = &(*at)->next)
        if ((*at)->hash == hash && weft_key_equal(entry_key(*at), key))
            return at;
    return NULL;
}

static struct entry **map_find_locked(struct weft_join_map *m, uint64_t hash, weft_key key)
{
    struct entry **at = table_find(&m->now, hash, key);

    return at ? at : table_find(&m->old, hash, key);
}

static void map_unlink_locked(struct weft_join_map *m, const struct entry *e)
{
    struct entry **at = map_find_locked(m, e->hash, entry_key(e));

    wf_debug_assert(at && *at == e);
    if (at)
        *at = e->next;
}

/* A few buckets more are moved. Returns what is to be freed after unlocking, or NULL. */
static struct entry **map_step_locked(struct weft_join_map *m)
{
    struct entry **gone;

    for (unsigned n = 0; n < WF_MAP_STEP && m->moved < m->old.count; n++) {
        struct entry *e, *next;

        for (e = m->old.bucket[m->moved]; e; e = next) {
            next = e->next;
            table_put(&m->now, e);
        }
        m->old.bucket[m->moved++] = NULL;
    }
    if (m->old.count == 0 || m->moved < m->old.count)
        return NULL;
    gone = m->old.bucket;
    m->old = (struct table){0};
    return gone == m->first ? NULL : gone;
}

/* Room for one more. Not under the lock. Without memory the table stays as it is, and its chains become longer. */
static void map_grow(struct weft_join_map *m)
{
    struct entry **bucket;
    size_t count;
    bool full;

    wf_lock(&m->gather.group.lock);
    count = m->now.count;
    full = m->gather.group.count >= count && m->old.count == 0;
    wf_unlock(&m->gather.group.lock);
    if (wf_likely(!full))
        return;
    bucket = wf_sys_calloc(2 * count, sizeof(struct entry *));
    if (!bucket)
        return;
    wf_lock(&m->gather.group.lock);
    if (m->now.count == count && m->old.count == 0) {
        m->old = m->now;
        m->moved = 0;
        m->now = (struct table){.bucket = bucket, .count = 2 * count};
        bucket = NULL;
    }
    wf_unlock(&m->gather.group.lock);
    wf_sys_free(bucket);
}

/* --- what gathering asks --- */

static struct weft_task *map_taken(struct wf_gather *gt, struct wf_child *c, void *done)
{
    struct weft_join_map *m = map_of(gt);
    struct weft_task *t = c->on_end.task, *before = m->last;

    map_unlink_locked(m, entry_of(c));
    if (done)
        *(weft_join_map_done *)done = (weft_join_map_done){
            .key = entry_key(entry_of(c)), .id = t->id, .tag = c->tag, .result = t->result};
    m->last = t;
    return before;
}

static void map_dropped(struct wf_gather *gt, struct wf_child *c)
{
    map_unlink_locked(map_of(gt), entry_of(c));
}

static void map_destroy(struct wf_gather *gt)
{
    struct weft_join_map *m = map_of(gt);

    if (m->last)
        wf_task_release(m->last);
    if (m->now.bucket != m->first)
        wf_sys_free(m->now.bucket);
    if (m->old.bucket != m->first)
        wf_sys_free(m->old.bucket);
    wf_sys_free(m);
}

static const struct wf_gather_kind map_kind = {.taken = map_taken,
                                               .dropped = map_dropped,
                                               .destroy = map_destroy,
                                               .noun = "a join map"};

int weft_join_map_new_with(weft_join_map **map, const weft_join_set_options *options)
{
    static const weft_join_set_options none;
    const weft_join_set_options *o = options ? options : &none;
    weft_join_map *m;
    int rc;

    if (!map || o->ordered)
        return wf_misuse(-EINVAL, "weft_join_map_new_with: map is NULL, or is to be ordered");
    m = wf_sys_calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    wf_gather_init(&m->gather, &map_kind, false);
    m->gather.group.rt = o->runtime;
    m->now = (struct table){.bucket = m->first, .count = WF_MAP_FIRST};
    if (wf_sys_random(&m->hash_key, sizeof(m->hash_key)) < 0)
        m->hash_key = (struct wf_hash_key){.k0 = (uintptr_t)m};
    if (o->name)
        memcpy(m->name, o->name, strnlen(o->name, sizeof(m->name) - 1));
    if (o->defaults) {
        m->defaults = *o->defaults;
        m->gather.group.defaults = &m->defaults;
    }
    rc = o->deadline ? wf_gather_set_deadline(&m->gather, o->deadline) : 0;
    if (rc < 0) {
        map_destroy(&m->gather);
        return rc;
    }
    *map = m;
    return 0;
}

weft_join_map *weft_join_map_new(void)
{
    weft_join_map *map = NULL;

    return weft_join_map_new_with(&map, NULL) == 0 ? map : NULL;
}

static bool map_check(const weft_join_map *map, const char *call)
{
    if (wf_likely(map != NULL))
        return true;
    (void)wf_misuse(-EINVAL, "%s: map is NULL", call);
    return false;
}

/* --- spawning --- */

/* Under the lock: the new one has the key. Who had it is hidden, and to be cancelled; with a reference. */
static struct weft_task *map_replace_locked(struct weft_join_map *m, struct entry *e)
{
    struct entry **at = map_find_locked(m, e->hash, entry_key(e));
    struct weft_task *before = NULL;

    if (at) {
        before = (*at)->child.on_end.task;
        wf_task_retain(before);
        wf_gather_hide_locked(&m->gather, &(*at)->child);
    }
    table_put(&m->now, e);
    return before;
}

static ssize_t map_spawn_entry(struct weft_join_map *m, struct wf_birth *b, weft_key key)
{
    struct entry *e = entry_of(b->child);
    struct weft_task *before = NULL;
    struct wf_sweep s = {0};
    struct entry **gone;
    ssize_t id;
    int rc;

    e->hash = map_hash(m, key);
    e->number = key.number;
    e->is_number = key.bytes == NULL;
    if (key.bytes)
        memcpy(e + 1, key.bytes, key.number);
    map_grow(m);
    wf_lock(&m->gather.group.lock);
    rc = wf_group_add_locked(&m->gather.group, b);
    if (rc == 0)
        before = map_replace_locked(m, e);
    gone = map_step_locked(m);
    wf_gather_trim_locked(&m->gather, &s);
    wf_unlock(&m->gather.group.lock);
    wf_sys_free(gone);
    id = wf_group_bear(b, rc);
    if (before) {
        weft_cancel(before);
        wf_task_release(before);
    }
    wf_sweep(&m->gather, &s);
    return id;
}

ssize_t wf_join_map_spawn(const char *call, weft_join_map *map, weft_key key, const char *site,
                          const weft_task_options *options, struct wf_group_spawn *what)
{
    weft_task_options o;
    struct wf_birth b;
    int rc;

    if (!map_check(map, call))
        return -EINVAL;
    if (key.bytes && key.number > WEFT_KEY_MAX)
        return wf_misuse(-EINVAL, "%s: a key of %zu bytes is more than %d", call,
                         (size_t)key.number, WEFT_KEY_MAX);
    o = wf_spawn_sited(site, options ? options : map->gather.group.defaults);
    what->task.options = &o;
    what->tag = options ? options->tag : (uint64_t)(uintptr_t)what->task.arg;
    rc = wf_group_conceive(&map->gather.group, call, what,
                           sizeof(struct entry) + (key.bytes ? key.number : 0), &b);
    return rc != 0 ? rc : map_spawn_entry(map, &b, key);
}

/* --- taking --- */

int weft_join_map_next(weft_join_map *map, weft_join_map_done *done)
{
    if (!map_check(map, "weft_join_map_next"))
        return -EINVAL;
    return wf_gather_next(&map->gather, done, "weft_join_map_next");
}

int weft_join_map_try_next(weft_join_map *map, weft_join_map_done *done)
{
    return map_check(map, "weft_join_map_try_next") ? wf_gather_try(&map->gather, done) : -EINVAL;
}

int weft_join_map_next_blocking(weft_join_map *map, weft_join_map_done *done)
{
    weft_future f;
    int rc = wf_thread_check_plain("weft_join_map_next_blocking");

    if (rc < 0)
        return rc;
    if (!map_check(map, "weft_join_map_next_blocking"))
        return -EINVAL;
    f = wf_gather_next_future(&map->gather, done);
    return (int)wf_thread_await(&f, WEFT_FOREVER);
}

weft_future weft_join_map_next_future(weft_join_map *map, weft_join_map_done *done)
{
    if (!map_check(map, "weft_join_map_next_future"))
        return weft_ready_future(-EINVAL);
    return wf_gather_next_future(&map->gather, done);
}

/* --- finding and cancelling --- */

/* Under the lock: the task that has the key, with a reference; NULL: there is none. */
static struct weft_task *map_get_locked(struct weft_join_map *m, weft_key key)
{
    struct entry **at = map_find_locked(m, map_hash(m, key), key);

    if (!at)
        return NULL;
    wf_task_retain((*at)->child.on_end.task);
    return (*at)->child.on_end.task;
}

int weft_join_map_cancel(weft_join_map *map, weft_key key)
{
    struct weft_task *t;

    if (!map_check(map, "weft_join_map_cancel"))
        return -EINVAL;
    wf_lock(&map->gather.group.lock);
    t = map_get_locked(map, key);
    wf_unlock(&map->gather.group.lock);
    if (!t)
        return -ENOENT;
    weft_cancel(t);
    wf_task_release(t);
    return 0;
}

bool weft_join_map_contains(const weft_join_map *map, weft_key key)
{
    struct weft_join_map *m = wf_unconst(map);
    bool there;

    if (!map_check(map, "weft_join_map_contains"))
        return false;
    wf_lock(&m->gather.group.lock);
    there = map_find_locked(m, map_hash(m, key), key) != NULL;
    wf_unlock(&m->gather.group.lock);
    return there;
}

/* A walk on which the lock is held for a moment at a time. The child that was met last is kept by a reference, so that
 * its key can be looked at without. The user's function may panic: then the fiber is led out of the walk. */
struct map_walk {
    struct wf_leave leave; /* first: see leave.h */
    struct weft_join_map *map;
    struct weft_task *met; /* NULL: none */
    struct wf_walk walk;
};

static void map_walk_put(struct map_walk *w)
{
    if (w->met)
        wf_task_release(w->met);
    w->met = NULL;
}

static void map_walk_end(struct map_walk *w)
{
    if (wf_leave_inside(&w->leave))
        wf_leave_remove(&w->leave);
    wf_lock(&w->map->gather.group.lock);
    wf_walk_end_locked(&w->map->gather.group, &w->walk);
    wf_unlock(&w->map->gather.group.lock);
    map_walk_put(w);
}

static void map_walk_left(struct wf_leave *l)
{
    map_walk_end(wf_container_of(l, struct map_walk, leave));
}

static void map_walk_begin(struct map_walk *w, struct weft_join_map *m)
{
    struct wf_fiber *f = wf_fiber_self();

    *w = (struct map_walk){.map = m};
    wf_lock(&m->gather.group.lock);
    wf_walk_begin_locked(&m->gather.group, &w->walk);
    wf_unlock(&m->gather.group.lock);
    if (f)
        wf_leave_push(f, WF_LEAVE_FIRST, &w->leave, map_walk_left);
}

/* Returns the next one's entry. */
static struct entry *map_walk_next(struct map_walk *w)
{
    struct wf_group *g = &w->map->gather.group;
    struct wf_child *c;

    map_walk_put(w);
    wf_lock(&g->lock);
    do
        c = wf_walk_next_locked(g, &w->walk);
    while (c && c->hidden);
    if (c) {
        w->met = c->on_end.task;
        wf_task_retain(w->met);
    }
    wf_unlock(&g->lock);
    return c ? entry_of(c) : NULL;
}

size_t weft_join_map_cancel_matching(weft_join_map *map, weft_key_match_fn *match, void *arg)
{
    struct map_walk walk;
    struct entry *e;
    size_t n = 0;

    if (!map_check(map, "weft_join_map_cancel_matching"))
        return 0;
    if (!match) {
        (void)wf_misuse(-EINVAL, "weft_join_map_cancel_matching: match is NULL");
        return 0;
    }
    map_walk_begin(&walk, map);
    while ((e = map_walk_next(&walk))) {
        if (match(arg, entry_key(e), walk.met->id)) {
            weft_cancel(walk.met);
            n++;
        }
    }
    map_walk_end(&walk);
    return n;
}

void weft_join_map_keys(weft_join_map *map, weft_key_match_fn *visit, void *arg)
{
    struct map_walk walk;
    struct entry *e;
    bool more = true;

    if (!map_check(map, "weft_join_map_keys"))
        return;
    if (!visit) {
        (void)wf_misuse(-EINVAL, "weft_join_map_keys: visit is NULL");
        return;
    }
    map_walk_begin(&walk, map);
    while (more && (e = map_walk_next(&walk)))
        more = visit(arg, entry_key(e), walk.met->id);
    map_walk_end(&walk);
}

bool weft_join_map_contains_task(const weft_join_map *map, uint64_t id)
{
    struct map_walk walk;
    bool there = false;

    if (!map_check(map, "weft_join_map_contains_task"))
        return false;
    map_walk_begin(&walk, wf_unconst(map));
    while (!there && map_walk_next(&walk))
        there = walk.met->id == id;
    map_walk_end(&walk);
    return there;
}

void weft_join_map_cancel_all(weft_join_map *map)
{
    if (map_check(map, "weft_join_map_cancel_all"))
        (void)wf_group_cancel(&map->gather.group, NULL, NULL);
}

size_t weft_join_map_len(const weft_join_map *map)
{
    return map_check(map, "weft_join_map_len") ? wf_gather_shown(&map->gather) : 0;
}

bool weft_join_map_is_empty(const weft_join_map *map)
{
    return weft_join_map_len(map) == 0;
}

int weft_join_map_get_info_sized(const weft_join_map *map, weft_join_set_info *info, size_t size)
{
    weft_join_set_info all = {0};
    struct weft_join_map *m = wf_unconst(map);

    if (!map || !info)
        return wf_misuse(-EINVAL, "weft_join_map_get_info: map or info is NULL");
    wf_lock(&m->gather.group.lock);
    all.len = m->gather.group.count - m->gather.hidden;
    all.spawned = m->gather.group.spawned;
    all.taken = m->gather.taken;
    all.expired = m->gather.expired;
    wf_unlock(&m->gather.group.lock);
    memcpy(all.name, m->name, sizeof(all.name));
    memcpy(info, &all, size < sizeof(all) ? size : sizeof(all));
    return 0;
}

/* --- giving up --- */

int weft_join_map_shutdown(weft_join_map *map)
{
    int rc;

    if (!map_check(map, "weft_join_map_shutdown"))
        return -EINVAL;
    (void)wf_group_cancel(&map->gather.group, NULL, NULL);
    do
        rc = wf_gather_next(&map->gather, NULL, "weft_join_map_shutdown");
    while (rc > 0);
    return rc;
}

static const weft_future_type shutdown_type = {wf_gather_poll_shutdown, wf_gather_drop,
                                               "shutdown of a map"};

weft_future weft_join_map_shutdown_future(weft_join_map *map)
{
    if (!map_check(map, "weft_join_map_shutdown_future"))
        return weft_ready_future(-EINVAL);
    return wf_gather_future(&shutdown_type, &map->gather);
}

void weft_join_map_detach_all(weft_join_map *map)
{
    if (map_check(map, "weft_join_map_detach_all"))
        wf_gather_detach_all(&map->gather);
}

int weft_join_map_set_deadline(weft_join_map *map, weft_instant at)
{
    if (!map_check(map, "weft_join_map_set_deadline"))
        return -EINVAL;
    return wf_gather_set_deadline(&map->gather, at);
}

int weft_join_map_free_after(weft_join_map *map, weft_duration grace)
{
    return map ? wf_gather_free(&map->gather, grace) : 0;
}

void weft_join_map_free(weft_join_map *map)
{
    (void)weft_join_map_free_after(map, 0);
}

/* The function behind the macro of the same name. */
int(weft_join_map_get_info)(const weft_join_map *map, weft_join_set_info *info)
{
    return weft_join_map_get_info_sized(map, info, sizeof(*info));
}
