/* SPDX-License-Identifier: MIT */
/*
 * memory.c - atomics as the C11 memory model allows them to behave, in small steps.
 *
 * IDEA     Each location keeps all that was stored to it, as messages in the order of the stores. A thread's view
 *          says which message of each location it has seen at least; a load may return that one or any
 *          later. A releasing store carries its thread's view, and an acquiring load of it
 *          joins that. So a load is stale exactly where nothing ordered the thread behind the
 *          newer store. A read-modify-write reads the newest message, and passes on what that one
 *          carried (release sequences). seq_cst fences join a global view, both ways; seq_cst
 *          accesses are acquire and release, and see what earlier seq_cst ones of the location, and what
 *          threads published by fences.
 * BOUNDS   Older values and spurious failures are taken from a budget (stale). Two things that
 *          the language allows do not happen here: a store that takes effect before a load that precedes
 *          it in the program, and stores to one location that are ordered otherwise than executed.
 */
#include "model/explorer/explore.h"

#include <stdlib.h>
#include <string.h>

#define STALE_CHOICES 4 /* values to choose from, the newest included */

void view_join(struct view *to, const struct view *from)
{
    unsigned shared = model_state->shared_count;

    for (unsigned i = 0; i < THREADS_MAX; i++)
        if (from->clock[i] > to->clock[i])
            to->clock[i] = from->clock[i];
    for (unsigned i = 0; i < shared; i++)
        if (from->seen[i] > to->seen[i])
            to->seen[i] = from->seen[i];
}

/* The part that a seq_cst fence passes on: order of stores, but no happens-before. */
static void view_join_seen(struct view *to, const struct view *from)
{
    for (unsigned i = 0; i < model_state->shared_count; i++)
        if (from->seen[i] > to->seen[i])
            to->seen[i] = from->seen[i];
}

static struct view *view_copy(const struct view *v)
{
    struct model *m = model_state;
    struct view *copy;

    if (m->view_count == m->view_room)
        model_report("more than %zu releasing stores in one execution", m->view_room);
    copy = &m->views[m->view_count++];
    memcpy(copy->clock, v->clock, sizeof(v->clock));
    memcpy(copy->seen, v->seen, m->shared_count * sizeof(v->seen[0]));
    return copy;
}

static uint64_t raw_read(uintptr_t at, uint32_t size)
{
    uint64_t value = 0;

    memcpy(&value, (const void *)at, size); /* NOLINT(performance-no-int-to-ptr): little-endian */
    return value;
}

static void raw_write(uintptr_t at, uint32_t size, uint64_t value)
{
    memcpy((void *)at, &value, size); /* NOLINT(performance-no-int-to-ptr) */
}

static void location_append(struct location *l, uint64_t value, const struct view *view,
                            uint32_t thread, uint32_t clock)
{
    struct model *m = model_state;

    if (l->count == l->room) {
        l->room = l->room ? 2 * l->room : 8;
        l->messages = realloc(l->messages, l->room * sizeof(*l->messages));
        if (!l->messages)
            abort();
    }
    l->messages[l->count++] = (struct message){value, view, thread, clock};
    m->memory_hash -= l->hash;
    l->hash = model_mix(model_mix(l->hash ? l->hash : l->at, value),
                        (uint64_t)thread << 32 | clock);
    m->memory_hash += l->hash;
}

/* Most memory holds no atomics: asked for each line of a plain write. */
static uint8_t *line_of(uintptr_t at)
{
    return &model_state->atomic_lines[(at / WF_CACHE_LINE * 0x9e3779b97f4a7c15u) >> 52];
}

static struct location *location_slot(uintptr_t at)
{
    struct location *all = model_state->locations;
    size_t i = (size_t)(model_mix(1, at) % LOCATIONS_MAX);

    for (size_t tries = 0; tries < LOCATIONS_MAX; tries++, i = (i + 1) % LOCATIONS_MAX)
        if (all[i].at == at || all[i].at == 0)
            return &all[i];
    model_report("more than %d atomics", LOCATIONS_MAX);
}

void memory_share(uintptr_t at)
{
    struct model *m = model_state;
    struct location *l = location_slot(at);

    if (m->shared_count == SHARED_MAX)
        model_report("more than %d shared atomics", SHARED_MAX);
    l->at = at;
    *line_of(at) = 1;
    l->index = (int)m->shared_count;
    m->shared[m->shared_count++] = at;
}

static struct location *location_of(const void *p, uint32_t size)
{
    struct location *l = location_slot((uintptr_t)p);

    if (l->at == 0) {
        *l = (struct location){.at = (uintptr_t)p, .index = -1};
        *line_of(l->at) = 1;
    }
    if (l->execution != model_state->execution) {
        l->execution = model_state->execution;
        l->size = size;
        l->count = 0;
        l->floor = 0;
        l->users = 0;
        l->hash = 0;
        l->written = l->dirty = false;
        location_append(l, raw_read(l->at, size), NULL, 0, 0);
    }
    if (l->size < size)
        l->size = size;
    if (l->dirty) {
        l->dirty = false;
        location_append(l, raw_read(l->at, l->size), NULL, l->dirty_thread, l->dirty_clock);
        l->floor = l->count - 1;
    }
    return l;
}

void memory_begin(void)
{
    struct model *m = model_state;

    m->view_count = 0;
    m->memory_hash = 0;
    memset(&m->sc, 0, sizeof(m->sc));
}

void memory_plain_write(uintptr_t at, size_t size)
{
    struct model *m = model_state;

    /* Atomics are aligned words: look at each place where one can be. */
    for (uintptr_t word = at & ~(uintptr_t)7; word < at + size; word += 4) {
        struct location *l;

        if (!*line_of(word)) {
            word = (word | (WF_CACHE_LINE - 1)) - 3;
            continue;
        }
        l = location_slot(word);
        if (l->at != word || l->execution != m->execution || word + l->size <= at)
            continue;
        l->dirty = true;
        l->dirty_thread = m->running->id;
        l->dirty_clock = m->running->now.clock[m->running->id];
    }
}

/* The ordering of a site, as mutated. which: 0 the site's, 1 that of failure. */
static int site_order(const struct model_site *s, int which)
{
    const struct model *m = model_state;
    int order = which ? s->failed : s->order;

    if (m->weak_file && s->line == m->weak_line && s->op == m->weak_op && order == m->weak_from &&
        (m->weak_which < 0 || m->weak_which == which) && strcmp(s->file, m->weak_file) == 0)
        return m->weak_to;
    return order;
}

static bool acquires(int order)
{
    return order == __ATOMIC_ACQUIRE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static bool releases(int order)
{
    return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

/* A thread comes to use a location: is that a place where threads meet? */
static void location_used(struct location *l, bool write)
{
    struct model *m = model_state;

    if (m->alive < 2)
        return;
    l->users |= 1u << m->running->id;
    l->written |= write;
    if (l->index >= 0 || !l->written || !(l->users & (l->users - 1)))
        return;
    memory_share(l->at);
    m->discovered = true;
}

static struct location *memory_enter(const struct model_site *site, const void *at, bool write)
{
    struct model *m = model_state;
    struct location *l = location_of(at, site->size);

    if (site >= m->sites && site < m->sites + m->site_count)
        m->reached[site - m->sites] = 1;
    thread_step(l->index >= 0);
    /* Others may have run, and plain writes too. */
    l = location_of(at, site->size);
    location_used(l, write);
    shadow_atomic(l->at, site->size, write, site);
    return l;
}

static uint32_t location_newest(const struct location *l)
{
    return l->count - 1;
}

static uint32_t location_oldest(const struct location *l, const struct thread *t, int order)
{
    const struct model *m = model_state;
    uint32_t oldest = l->floor;

    if (l->index < 0)
        return location_newest(l);
    if (t->now.seen[l->index] > oldest)
        oldest = t->now.seen[l->index];
    if (order == __ATOMIC_SEQ_CST && m->sc.seen[l->index] > oldest)
        oldest = m->sc.seen[l->index];
    return oldest;
}

static void thread_reads(struct thread *t, struct location *l, uint32_t message, int order)
{
    const struct message *msg = &l->messages[message];

    if (l->index >= 0 && t->now.seen[l->index] < message)
        t->now.seen[l->index] = (uint16_t)message;
    if (msg->view) {
        view_join(&t->acquire, msg->view);
        if (acquires(order))
            view_join(&t->now, msg->view);
    }
    t->history = model_mix(model_mix(t->history, msg->value), message);
    t->last = l;
    t->last_message = message;
}

/* Append a message. read: the one that a read-modify-write builds on; else MESSAGE_NONE. */
static void thread_stores(struct thread *t, struct location *l, uint64_t value, int order,
                          uint32_t read)
{
    struct model *m = model_state;
    const struct view *before = read == MESSAGE_NONE ? NULL : l->messages[read].view;
    struct view *carried;

    if (l->count == UINT16_MAX)
        model_report("more than %d stores to one location", UINT16_MAX);
    if (l->index >= 0) {
        t->now.seen[l->index] = (uint16_t)l->count;
        t->acquire.seen[l->index] = (uint16_t)l->count;
    }
    if (order == __ATOMIC_SEQ_CST && l->index >= 0)
        m->sc.seen[l->index] = (uint16_t)l->count;
    carried = view_copy(releases(order) ? &t->now : &t->released);
    if (before)
        view_join(carried, before);
    location_append(l, value, carried, t->id, t->now.clock[t->id]);
    raw_write(l->at, l->size, value);
    t->fresh = false;
}

static uint64_t operand_mask(const struct model_site *site)
{
    return site->size == 8 ? UINT64_MAX : (1ull << (8 * site->size)) - 1;
}

uint64_t model_load(const struct model_site *site, const void *at)
{
    struct model *m = model_state;
    struct thread *t;
    struct location *l;
    int order;
    uint32_t newest, behind, choices;

    if (!m || !m->active)
        return raw_read((uintptr_t)at, site->size);
    l = memory_enter(site, at, false);
    t = m->running;
    order = site_order(site, 0);
    newest = location_newest(l);
    choices = newest - location_oldest(l, t, order) + 1;
    if (t->fresh || m->stale_left == 0)
        choices = 1;
    if (choices > STALE_CHOICES)
        choices = STALE_CHOICES;
    behind = model_decide(choices);
    if (behind)
        m->stale_left--;
    thread_reads(t, l, newest - behind, order);
    model_trace(&(struct step){.thread = t->id,
                               .site = site,
                               .at = l->at,
                               .old = l->messages[newest - behind].value,
                               .order = (uint8_t)order,
                               .behind = (uint8_t)behind});
    thread_tick(t);
    return l->messages[newest - behind].value & operand_mask(site);
}

void model_store(const struct model_site *site, void *at, uint64_t value)
{
    struct model *m = model_state;
    struct thread *t;
    struct location *l;
    int order;

    if (!m || !m->active) {
        raw_write((uintptr_t)at, site->size, value);
        return;
    }
    l = memory_enter(site, at, true);
    t = m->running;
    order = site_order(site, 0);
    thread_stores(t, l, value, order, MESSAGE_NONE);
    model_trace(&(struct step){
        .thread = t->id, .site = site, .at = l->at, .new = value, .order = (uint8_t)order});
    thread_tick(t);
}

static uint64_t apply(const struct model_site *site, uint64_t old, uint64_t operand)
{
    switch (site->op) {
    case MODEL_ADD:
        return (old + operand) & operand_mask(site);
    case MODEL_SUB:
        return (old - operand) & operand_mask(site);
    case MODEL_OR:
        return old | operand;
    case MODEL_AND:
        return old & operand;
    default:
        return operand;
    }
}

uint64_t model_rmw(const struct model_site *site, void *at, uint64_t operand)
{
    struct model *m = model_state;
    struct thread *t;
    struct location *l;
    uint64_t old, new;
    uint32_t newest;
    int order;

    if (!m || !m->active) {
        old = raw_read((uintptr_t)at, site->size);
        raw_write((uintptr_t)at, site->size, apply(site, old, operand));
        return old;
    }
    l = memory_enter(site, at, true);
    t = m->running;
    order = site_order(site, 0);
    newest = location_newest(l);
    old = l->messages[newest].value & operand_mask(site);
    new = apply(site, old, operand);
    thread_reads(t, l, newest, order);
    thread_stores(t, l, new, order, newest);
    model_trace(&(struct step){.thread = t->id,
                               .site = site,
                               .at = l->at,
                               .old = old,
                               .new = new,
                               .order = (uint8_t)order});
    thread_tick(t);
    return old;
}

/* Which message a compare-and-swap reads: 0 the newest, n that many older ones on; *spurious when a weak one
 * fails although it could have succeeded. Only values that make it fail may be older. */
static uint32_t cas_decide(const struct model_site *site, const struct location *l,
                           const struct thread *t, uint64_t expected, int failed, bool *spurious)
{
    struct model *m = model_state;
    uint32_t newest = location_newest(l), oldest = location_oldest(l, t, failed);
    uint32_t at[STALE_CHOICES + 1], n = 0, taken;
    bool weak = site->op == MODEL_CAS_WEAK && l->index >= 0 &&
                (l->messages[newest].value & operand_mask(site)) == expected;

    *spurious = false;
    at[n++] = newest;
    if (!t->fresh && m->stale_left) {
        if (weak)
            at[n++] = newest;
        for (uint32_t i = newest; i > oldest && n < STALE_CHOICES; i--)
            if ((l->messages[i - 1].value & operand_mask(site)) != expected)
                at[n++] = i - 1;
    }
    taken = model_decide(n);
    if (taken)
        m->stale_left--;
    *spurious = weak && taken == 1;
    return at[taken];
}

bool model_cas(const struct model_site *site, void *at, void *expected, uint64_t value)
{
    struct model *m = model_state;
    uint64_t want = raw_read((uintptr_t)expected, site->size), old;
    struct thread *t;
    struct location *l;
    uint32_t message;
    bool spurious, done;
    int order, failed;

    value &= operand_mask(site);
    if (!m || !m->active) {
        old = raw_read((uintptr_t)at, site->size);
        if (old == want)
            raw_write((uintptr_t)at, site->size, value);
        else
            raw_write((uintptr_t)expected, site->size, old);
        return old == want;
    }
    l = memory_enter(site, at, true);
    t = m->running;
    order = site_order(site, 0);
    failed = site_order(site, 1);
    message = cas_decide(site, l, t, want, failed, &spurious);
    old = l->messages[message].value & operand_mask(site);
    done = old == want && !spurious;
    thread_reads(t, l, message, done ? order : failed);
    t->history = model_mix(t->history, done);
    model_trace(&(struct step){.thread = t->id,
                               .site = site,
                               .at = l->at,
                               .old = old,
                               .new = value,
                               .order = (uint8_t)(done ? order : failed),
                               .behind = (uint8_t)(location_newest(l) - message),
                               .failed = !done});
    if (done)
        thread_stores(t, l, value, order, message);
    else
        raw_write((uintptr_t)expected, site->size, old);
    thread_tick(t);
    return done;
}

/* before: what earlier fences have shown. */
static void fence_full(struct thread *t, const struct view *before)
{
    struct model *m = model_state;

    view_join(&t->now, &t->acquire);
    view_join_seen(&t->now, before);
    view_join_seen(&m->sc, &t->now);
    t->released = t->now;
    /* What the fence showed is not told by the thread's reads. */
    for (unsigned i = 0; i < m->shared_count; i++)
        if (t->now.seen[i])
            t->history = model_mix(t->history, ((uint64_t)i << 32) + t->now.seen[i]);
}

void model_fence(const struct model_site *site)
{
    struct model *m = model_state;
    struct thread *t;
    int order;

    if (!m || !m->active)
        return;
    m->reached[site - m->sites] = 1;
    thread_step(m->alive > 1);
    t = m->running;
    order = site_order(site, 0);
    if (order == __ATOMIC_SEQ_CST) {
        fence_full(t, &m->sc);
    } else if (order == __ATOMIC_ACQ_REL) {
        view_join(&t->now, &t->acquire);
        t->released = t->now;
    }
    t->history = model_mix(t->history, 77);
    model_trace(&(struct step){.thread = t->id, .site = site, .order = (uint8_t)order});
    thread_tick(t);
}

/* One that has ended counts as well: it has stored all that it had to store. No order among the others is
 * promised, so none of them sees what another did. */
void model_barrier_all(void)
{
    struct model *m = model_state;
    struct view before;

    if (!m->active)
        return;
    thread_step(true);
    fence_full(m->running, &m->sc);
    before = m->sc;
    for (unsigned i = 0; i < m->thread_count; i++)
        if (&m->threads[i] != m->running)
            fence_full(&m->threads[i], &before);
    fence_full(m->running, &m->sc);
    m->running->history = model_mix(m->running->history, 78);
    model_trace(&(struct step){.thread = m->running->id, .what = "a barrier in all threads"});
    thread_tick(m->running);
}
