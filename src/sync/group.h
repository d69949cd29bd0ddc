/* SPDX-License-Identifier: MIT */
/*
 * group.h - tasks that belong together: what join sets, join maps, scopes and local sets are made of.
 *
 * IDEA     A child is a record behind its task's header (task/on_end.h), linked in its group from before it runs until
 *          it is taken out. A child in the list always has a header: alive, it keeps itself, and once it has ended its
 *          reference is the record's. So under the group's lock all children can be looked at, and
 *          cancelled after unlocking, whatever they do meanwhile. What happens when one ends is the
 *          business of the kind of group.
 *          A group may be given a moment at which all are cancelled: it then has one task more, the watch, which
 *          sleeps until then. A task, and not a timer, because a group may outlive its runtime.
 * OWNS     A child's reference, from its end on, is its record's, and goes with the record to who takes it out of
 *          the list. The watch is none of the children, but the group must outlive it like them.
 * WHO      Any thread. Who calls knows that the group is there: it is a child, or holds the handle.
 * INVARIANTS
 *     G1   A child is in `all` from before it can be found by anybody else until it is taken out.
 *     G2   A walk never points at a child that is not in the list: who takes one out moves the walks on.
 *     G3   Nothing is linked once the group is closed.
 * LOCKS    lock has rank WF_RANK_SYNC. Tasks are cancelled, released and started outside of it.
 * TESTS    tests/model/test_join_set.c, test_scope.c, tests/api/test_join_set.c, test_join_map.c, test_scope.c
 */
#ifndef WF_SYNC_GROUP_H
#define WF_SYNC_GROUP_H

#include "base/list.h"
#include "base/lock.h"
#include "task/on_end.h"

#include <weft/runtime.h>

struct wf_group;
struct wf_walk;

struct wf_child {
    struct wf_on_end on_end;
    struct wf_group *group; /* set once */
    struct wf_list link;    /* under the lock: in `all` */

    union { /* the kind's own */
        struct wf_child *next;
        struct wf_atomic_ptr word;
    };

    uint64_t tag; /* set once */
    bool hidden;  /* under the lock, the kind's own */
};

_Static_assert(sizeof(struct weft_task) + sizeof(struct wf_child) <= 192,
               "a child and its header are of the slab's second class");

struct wf_group_kind {
    /* A child has ended, see on_end.h. */
    void (*ended)(struct wf_on_end *e);
    /* It is time: by the watch, once. */
    void (*expired)(struct wf_group *g);
    /* Under the lock: there is a watch. May be NULL. And it has ended: the callee sets `watch` to NULL, which is the
     * watch's last use of the group. */
    void (*watched)(struct wf_group *g);
    void (*unwatched)(struct wf_group *g);
};

struct wf_group {
    struct wf_lock lock;
    /* set once */
    const struct wf_group_kind *kind;
    weft_runtime *rt;                  /* where children run; NULL: where they are spawned */
    const weft_task_options *defaults; /* of children; NULL: none */
    bool local;                        /* children are for one worker alone, */
    uint32_t pin;                      /* by these flags; 0: there is only one */
    /* under the lock */
    struct wf_list all; /* in the order of spawning */
    uint64_t count;     /* of those in it */
    uint64_t spawned;   /* ever */
    struct wf_walk *walks;
    bool closed;             /* no more spawns */
    bool cancelled;          /* what is spawned is cancelled before it runs */
    struct weft_task *watch; /* NULL: none */
    uint64_t cancel_at;      /* for the watch; WEFT_FOREVER: no time is set */
};

void wf_group_init(struct wf_group *g, const struct wf_group_kind *kind);

/*
 * A spawn into a group, in steps, so that the kind can link its own part of the child under the same lock:
 *
 *     rc = wf_group_conceive(g, call, &what, sizeof(struct wf_child), &birth);   may wait, for a place in the pool
 *     ... birth.child is the caller's to fill in ...
 *     wf_lock(&g->lock); rc = wf_group_add_locked(g, &birth); wf_unlock(&g->lock);
 *     rc = wf_group_bear(&birth, rc);
 */
struct wf_group_spawn {
    struct wf_spawn task; /* `behind` is filled in */
    weft_runtime *rt;     /* where it runs; NULL: where the children of the group do */
    bool blocking;        /* on the blocking pool */
    uint64_t tag;
};

struct wf_birth {
    struct wf_thread *th;
    weft_runtime *rt;
    struct wf_child *child;
    bool outside; /* from a plain thread or another runtime */
    bool blocking;
};

/* 0, or a negative errno; then nothing is left behind. */
WF_SUSPENDS int wf_group_conceive(struct wf_group *g, const char *call, struct wf_group_spawn *what,
                                  size_t child_size, struct wf_birth *b);

/* Linked, and to be found. -ESHUTDOWN: the group is closed. */
int wf_group_add_locked(struct wf_group *g, struct wf_birth *b);

/* rc 0: it runs; its id. Else it never was. */
ssize_t wf_group_bear(struct wf_birth *b, int rc);

/* All steps. */
WF_SUSPENDS ssize_t wf_group_spawn(struct wf_group *g, const char *call,
                                   struct wf_group_spawn *what);

/* Out of the list: its reference is the caller's. Of one that was detached nothing is left. */
void wf_group_remove_locked(struct wf_group *g, struct wf_child *c);

WF_INLINE struct wf_child *wf_child_of(struct wf_on_end *e)
{
    return wf_container_of(e, struct wf_child, on_end);
}

WF_INLINE struct wf_child *wf_child_of_link(struct wf_list *link)
{
    return wf_container_of(link, struct wf_child, link);
}

/* A walk over those that are there when it begins, in the order of spawning. Between two calls the lock may be given
 * back: what is taken out is not met, and what is spawned neither. To be ended. */
struct wf_walk {
    struct wf_walk *next;
    struct wf_list *at, *last;
    bool over;
};

void wf_walk_begin_locked(struct wf_group *g, struct wf_walk *w);
struct wf_child *wf_walk_next_locked(struct wf_group *g, struct wf_walk *w);
void wf_walk_end_locked(struct wf_group *g, struct wf_walk *w);

/* Cancel those that are there; with a test, those that it answers true for, under the lock. Returns how many. */
typedef bool wf_child_test(const struct wf_child *c, void *arg);
uint64_t wf_group_cancel(struct wf_group *g, wf_child_test *test, void *arg);

/* From here on what is spawned is cancelled before it runs. */
void wf_group_cancel_spawns(struct wf_group *g);

/* Set, or change, when it is time; WEFT_FOREVER: never. 0, -ENOMEM, -ESHUTDOWN (no runtime, or a closed group). */
int wf_group_set_time(struct wf_group *g, uint64_t at);

/* There is a watch, or there was one, for which it was time. 0, or as above. */
int wf_group_need_watch(struct wf_group *g);

/* It is time at `at` at the latest. The group has a watch. */
void wf_group_lower_time(struct wf_group *g, uint64_t at);

/* The watch is needed no more, and ends soon. */
void wf_group_dismiss_watch(struct wf_group *g);

WF_INLINE bool wf_group_empty_locked(const struct wf_group *g)
{
    return g->count == 0 && !g->watch;
}

#endif
