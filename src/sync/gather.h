/* SPDX-License-Identifier: MIT */
/*
 * gather.h - a group whose children are taken as they end: what join sets and join maps have in common.
 *
 * IDEA     Who ends pushes its record to a stack, by one compare-and-swap. Who takes moves the whole stack at once to a
 *          list of its own, the oldest first. An empty stack may hold the waker of who waits: whoever puts a record in
 *          its place takes the waker along, and wakes it. So an end is one exchange, wakes once at most, and does not
 *          touch the group any more once its record can be seen.
 *          In an ordered group nothing is pushed: each record has a word in which its end is noted, and who waits for
 *          the oldest child leaves its waker there.
 * OWNS     A record that was pushed, or whose word says so, belongs to who takes it, with its task's reference.
 *          The waker in a place (the stack, or a word): the place, then whoever replaces it.
 *          The memory is counted: the handle, the watch, and each pending future.
 * INVARIANTS
 *     J1   `place` is where the waker of `waiter` was put, and of nobody else; NULL when it was taken back. A word
 *          that goes is no place any more.
 *     J2   A waker is put only where nothing has arrived, under the lock; so only the arrival itself, or the lock's
 *          holder, removes it.
 *     J3   shown, that is count - hidden, is what callers know of. When it comes to 0 by other means than an arrival,
 *          which tells who waits in any case, he is woken.
 * ORDER    (a) gather_push and gather_mark release, gather_drain_locked and gather_first_locked acquire: the record,
 *              and by it the task's result.
 *          (b) gather_wait_locked releases, gather_push and gather_mark acquire: what the waker points at.
 * TESTS    tests/model/test_join_set.c, tests/api/test_join_set.c, test_join_map.c, tests/fault/test_group.c
 */
#ifndef WF_SYNC_GATHER_H
#define WF_SYNC_GATHER_H

#include "sync/group.h"

#include <weft/join_set.h>

struct wf_gather;

struct wf_gather_kind {
    /* Under the lock, about a child that is taken: tells done (may be NULL). Returns a task whose reference is to be
     * given up after unlocking. */
    struct weft_task *(*taken)(struct wf_gather *gt, struct wf_child *c, void *done);
    /* Under the lock, of a child that leaves without being taken. May be NULL. */
    void (*dropped)(struct wf_gather *gt, struct wf_child *c);
    /* With the last count: free it. */
    void (*destroy)(struct wf_gather *gt);
    const char *noun; /* for messages */
};

struct wf_gather {
    struct wf_group group; /* first */
    /* set once */
    const struct wf_gather_kind *kind;
    bool ordered;
    /* under the lock */
    bool expired;
    struct wf_child *ready; /* have ended, oldest first; by next */
    uint64_t hidden;        /* children that nobody is told of any more */
    uint64_t trim_at;       /* so many of them, at which those that have ended are looked for */
    uint64_t taken;         /* ever */
    weft_future *waiter;
    struct wf_atomic_ptr *place;
    /* atomic */
    struct wf_atomic_u32 refs; /* see OWNS */
    char apart[WF_CACHE_LINE]; /* from what all that end write */
    struct wf_atomic_ptr head; /* NULL, a record (the newest), or a waker */
};

void wf_gather_init(struct wf_gather *gt, const struct wf_gather_kind *kind, bool ordered);

WF_INLINE struct wf_gather *wf_gather_of(const struct wf_group *g)
{
    return wf_container_of((struct wf_group *)wf_unconst(g), struct wf_gather, group);
}

/* Take one: 1, 0 (empty), -EAGAIN, -ESHUTDOWN. */
int wf_gather_try(struct wf_gather *gt, void *done);
WF_SUSPENDS int wf_gather_next(struct wf_gather *gt, void *done, const char *call);
weft_future wf_gather_next_future(struct wf_gather *gt, void *done);

/* The same in steps, for a future of the kind's own that takes one after the other: its poll calls this, with a place
 * that is good for the length of the call, as long as it is ready with 1. One that was pending counts on the memory
 * until it is ready with something else; who ends it before that drops it, which is for nothing at any other time. Its
 * words from here on are the kind's. */
#define WF_GATHER_WORDS 3

weft_future wf_gather_future(const weft_future_type *type, struct wf_gather *gt);
struct wf_gather *wf_gather_of_future(const weft_future *f);
weft_poll wf_gather_poll_next(weft_future *f, weft_context *cx, void *done);
void wf_gather_drop(weft_future *f);

/* The poll of one that cancels all when it is first polled, and takes them until none is left. */
weft_poll wf_gather_poll_shutdown(weft_future *f, weft_context *cx);

uint64_t wf_gather_shown(const struct wf_gather *gt);

/* What is to be done after unlocking. */
struct wf_sweep {
    struct wf_child *garbage; /* by next: each with a reference */
    struct weft_task *task;
    weft_wakeable *wake, *release;
    bool put;
};

/* A child that nobody is to be told of: its end is awaited, and that is all. Who hides many without taking any trims
 * now and then: those that have ended go. */
void wf_gather_hide_locked(struct wf_gather *gt, struct wf_child *c);
void wf_gather_trim_locked(struct wf_gather *gt, struct wf_sweep *s);
void wf_sweep(struct wf_gather *gt, struct wf_sweep *s);

void wf_gather_detach_all(struct wf_gather *gt);
int wf_gather_set_deadline(struct wf_gather *gt, uint64_t at);

/* join_set.c: a new one; local: its tasks are pinned to one worker. 0, or as weft_join_set_new_with. */
int wf_join_set_new(const char *call, weft_join_set **set, const weft_join_set_options *options,
                    bool local);
struct wf_group *wf_join_set_group(const weft_join_set *set);

/* What each way to spawn into one comes down to; options NULL: the set's defaults. */
WF_SUSPENDS ssize_t wf_join_set_spawn(const char *call, weft_join_set *set, const char *site,
                                      const weft_task_options *options,
                                      struct wf_group_spawn *what);

/* Give the handle up: cancel, after grace, and wait where that is possible. 0, or -ETIMEDOUT: not all ended within
 * grace. */
WF_SUSPENDS int wf_gather_free(struct wf_gather *gt, uint64_t grace);

#endif
