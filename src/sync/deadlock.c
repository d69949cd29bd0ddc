/* SPDX-License-Identifier: MIT */
/*
 * deadlock.c - who waits for whom, and the circle that closes.
 *
 * IDEA     Each wait that could be part of a circle is an edge from who waits to the lock; from a lock its word leads
 *          to who holds it. Whoever adds an edge walks from there. Each has one edge at most and each lock one owner,
 *          so there is one way to go, and it ends or comes back.
 *          A task that holds nothing is in no circle, so it adds no edge: where locks are not taken one inside the
 *          other, nobody comes here.
 * INVARIANTS
 *     D1   Whose edge is in the table waits: for the length of a step under the lock it takes and gives back nothing,
 *          and neither it, nor its future, nor the lock that it waits for goes away.
 *     D2   A circle that is found is one. What each of its members holds it got before it added its edge, and
 *          gives back after taking that out (D1), so the words that name them are not old: the lock of the table
 *          carries them. The last member is who adds the edge, and its own word it has written itself.
 *          A word that names the waiter itself is of a lock that has just been given to it: no edge any more.
 *     D3   A circle that closes is found: its last edge is added when all others are in the table. But for waits of a
 *          task that does something else besides (a select), which need not be for ever, locks held by
 *          readers, and what is longer than DEADLOCK_STEPS.
 *     D4   Each task, and each thread, has one edge at most.
 * OWNS     An edge is the future that waits: nothing is allocated.
 * LOCKS    WF_RANK_LEAF, one for all: nested waits are rare. What is printed is copied under it, with a reference to
 *          each task, and printed afterwards.
 * REJECTED A graph of the order in which locks are taken, as Linux keeps it (lockdep): finds what might happen, but
 *          needs classes of locks, which a program that locks accounts by number does not have. A look at all waits
 *          every second, as databases do it: tells late, and where nobody waits for long, never.
 * TESTS    tests/api/test_lock_reports.c, tests/model/test_mutex.c
 */
#include "sync/deadlock.h"

#include "base/log.h"
#include "sync/lock_report.h"

#define DEADLOCK_LISTS 256
#define DEADLOCK_STEPS 256
#define DEADLOCK_TOLD  12 /* members that are named */

static struct {
    struct wf_lock lock;
    struct wf_lock_wait *first[DEADLOCK_LISTS]; /* by who waits */
    uint64_t found;
} graph = {.lock = WF_LOCK_INIT(WF_RANK_LEAF)};

/* One that waits: as it is printed. */
struct deadlock_member {
    struct wf_someone who;
    const void *lock;
    const char *kind, *name;
    const char *waits_at, *locked_at; /* the second: where who comes next has locked it */
};

struct deadlock {
    uint64_t number; /* 0: none */
    uint64_t key;
    unsigned length, told;
    struct deadlock_member member[DEADLOCK_TOLD];
};

static uint64_t deadlock_owner(const struct wf_lock_wait *w)
{
    return w->self & ~WF_OWNER_FLAGS;
}

static struct wf_lock_wait **deadlock_list(uint64_t owner)
{
    /* Tasks lie 64 bytes apart at least, threads 16. */
    return &graph.first[(owner >> 6 ^ owner >> 4) % DEADLOCK_LISTS];
}

static struct wf_lock_wait *deadlock_find(uint64_t owner)
{
    struct wf_lock_wait *w = *deadlock_list(owner);

    while (w && deadlock_owner(w) != owner)
        w = w->next;
    return w;
}

/* Under the lock: the next one on the way; NULL: the way ends here. */
static struct wf_lock_wait *deadlock_next(const struct wf_lock_wait *at)
{
    uint64_t owner = wf_owned_by(at->object);
    struct weft_task *t = wf_owner_task(owner);
    struct wf_lock_wait *next;

    /* Nobody's: free, being handed on, or held by readers. Or its own: given to it just now, D2. */
    if (owner == 0 || owner == deadlock_owner(at))
        return NULL;
    next = deadlock_find(owner);
    /* It will stop waiting. */
    if (next && t && wf_task_is_cancelled(t))
        return NULL;
    return next;
}

/* Under the lock: how many are in the circle that w closes, and the first of them; 0: it closes none. */
static unsigned deadlock_walk(struct wf_lock_wait *w, struct wf_lock_wait *member[DEADLOCK_TOLD])
{
    struct wf_lock_wait *at = w;

    for (unsigned length = 0; at && length < DEADLOCK_STEPS; at = deadlock_next(at)) {
        if (at == w && length > 0)
            return length;
        if (length < DEADLOCK_TOLD)
            member[length] = at;
        length++;
    }
    return 0;
}

/* Under the lock: what is to be told. */
WF_COLD static void deadlock_note(struct deadlock *d, struct wf_lock_wait *const member[])
{
    d->number = ++graph.found;
    for (d->told = 0; d->told < d->length && d->told < DEADLOCK_TOLD; d->told++) {
        struct wf_lock_wait *w = member[d->told];
        const struct wf_owned *lock = w->object;

        d->member[d->told] = (struct deadlock_member){
            .who = wf_someone_met(deadlock_owner(w)),
            .lock = lock,
            .kind = wf_lock_wait_future(w)->type->name,
            .name = lock->name,
            .waits_at = wf_lock_wait_site(w),
            .locked_at = wf_owned_site(lock),
        };
        /* The same whoever of them closes it. */
        d->key += (uintptr_t)wf_lock_wait_site(w) * UINT64_C(0x9e3779b97f4a7c15);
    }
}

static void deadlock_print(const struct deadlock *d)
{
    char who[WF_SOMEONE_SIZE], next[WF_SOMEONE_SIZE];

    wf_log("deadlock %llu: %u wait for each other's locks, each for the next one's",
           (unsigned long long)d->number, d->length);
    for (unsigned i = 0; i < d->told; i++) {
        const struct deadlock_member *m = &d->member[i];
        const struct wf_someone *owner = &d->member[(i + 1) % d->length].who;

        wf_log("deadlock %llu: %s waits at %s for the %s %p%s%s%s, locked at %s by %s",
               (unsigned long long)d->number, wf_someone_text(&m->who, who), m->waits_at, m->kind,
               m->lock, WF_LOCK_NAME_ARGS(m->name), m->locked_at,
               i + 1 < d->told || d->told == d->length ? wf_someone_text(owner, next)
                                                       : "one of the others");
    }
}

WF_COLD static void deadlock_tell(const struct deadlock *d)
{
    struct weft_runtime *rt = NULL;

    for (unsigned i = 0; i < d->told && !rt; i++)
        rt = wf_someone_runtime(&d->member[i].who);
    if (rt)
        /* relaxed: a statistic */
        (void)wf_add_u64(&rt->deadlocks, 1, WF_RELAXED);
    if (wf_lock_report_may(d->key | 1))
        deadlock_print(d);
    for (unsigned i = 0; i < d->told; i++)
        wf_someone_put(&d->member[i].who);
}

/* Apart, for the size of what is noted. */
WF_NOINLINE static void deadlock_closed(struct wf_lock_wait *w)
{
    struct wf_lock_wait *member[DEADLOCK_TOLD];
    struct deadlock d = {0};

    wf_lock(&graph.lock);
    /* Looked at again: somebody may have been cancelled. */
    d.length = deadlock_walk(w, member);
    if (d.length)
        deadlock_note(&d, member);
    wf_unlock(&graph.lock);
    if (d.length)
        deadlock_tell(&d);
}

void wf_deadlock_enter(struct wf_lock_wait *w)
{
    struct wf_lock_wait **list = deadlock_list(deadlock_owner(w));
    struct wf_lock_wait *member[DEADLOCK_TOLD];
    unsigned length;

    wf_lock(&graph.lock);
    wf_debug_assert(!deadlock_find(deadlock_owner(w))); /* D4 */
    w->next = *list;
    *list = w;
    length = deadlock_walk(w, member);
    wf_unlock(&graph.lock);
    if (wf_unlikely(length > 0))
        deadlock_closed(w);
}

void wf_deadlock_leave(struct wf_lock_wait *w)
{
    struct wf_lock_wait **at = deadlock_list(deadlock_owner(w));

    wf_lock(&graph.lock);
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    wf_unlock(&graph.lock);
}
