/* SPDX-License-Identifier: MIT */
/*
 * deque.h - a seat's queue of ready tasks: one owner, many thieves, no lock, no limit.
 */
#ifndef WF_SCHED_DEQUE_H
#define WF_SCHED_DEQUE_H

#include "base/assert.h"
#include "base/atomic.h"

struct weft_task;

/* Slots for a number of tasks that is a power of two; replaced by a larger one when full. */
struct wf_deque_ring {
    uint64_t mask;
    struct wf_deque_ring *retired; /* the one before: thieves may still read it */
    struct wf_atomic_ptr slots[];
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): what thieves write stands apart */
struct wf_deque {
    /* owner writes, thieves read */
    struct wf_atomic_u64 tail; /* see ORDER (a) in deque.c */
    struct wf_atomic_ptr ring;
    bool shared; /* are there thieves at all? Where they come and go: single.c */
    /* everyone writes */
    struct wf_atomic_u64 head WF_ALIGNED(WF_CACHE_LINE); /* see ORDER (b) */
};

/* 0 or -ENOMEM. shared: whether anyone but the owner takes. It may be changed while nobody does. */
int wf_deque_init(struct wf_deque *d, bool shared);
void wf_deque_release(struct wf_deque *d); /* must be empty */

/* Owner only. False: no memory to grow; the task was not taken. */
__attribute__((warn_unused_result)) bool wf_deque_push(struct wf_deque *d, struct weft_task *t);

/* The oldest task, or NULL. Owner only. */
struct weft_task *wf_deque_take_oldest(struct wf_deque *d);

/* The newest task, or NULL. Owner only, and only on a deque whose thieves use wf_deque_steal_one. */
struct weft_task *wf_deque_take_newest(struct wf_deque *d);

/* The oldest task, or NULL; *again is set when another taker got in the way. Anyone. */
struct weft_task *wf_deque_steal_one(struct wf_deque *d, bool *again);

/* Up to half of the tasks, at most max of them, oldest first, into out. Anyone; not on a deque whose
 * owner uses wf_deque_take_newest. */
unsigned wf_deque_steal_half(struct wf_deque *d, struct weft_task **out, unsigned max);

/* The task that is that many behind the oldest, or NULL: for a glance ahead; it may be taken by another at any
 * moment. Owner only. */
WF_INLINE struct weft_task *wf_deque_peek(const struct wf_deque *d, uint64_t behind)
{
    /* relaxed: only the owner writes tail and ring; head may move on */
    uint64_t at = wf_load_u64(&d->head, WF_RELAXED) + behind;
    struct wf_deque_ring *r = wf_load_ptr(&d->ring, WF_RELAXED);

    if ((int64_t)(wf_load_u64(&d->tail, WF_RELAXED) - at) <= 0)
        return NULL;
    return wf_load_ptr(&r->slots[at & r->mask], WF_RELAXED);
}

/* How many, now: exact for the owner when alone, else a hint. */
WF_INLINE uint64_t wf_deque_len(const struct wf_deque *d)
{
    /* relaxed: a hint. head first: it never passes a tail read later. */
    uint64_t head = wf_load_u64(&d->head, WF_RELAXED);
    uint64_t tail = wf_load_u64(&d->tail, WF_RELAXED);

    return (int64_t)(tail - head) > 0 ? tail - head : 0;
}

#endif
