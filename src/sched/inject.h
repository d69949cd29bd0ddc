/* SPDX-License-Identifier: MIT */
/*
 * inject.h - the runtime's injection queue: where tasks come in from outside its workers.
 *
 * A locked FIFO through the tasks' own links, so pushing allocates nothing and cannot fail, with a
 * length beside it that a worker reads without the lock.
 */
#ifndef WF_SCHED_INJECT_H
#define WF_SCHED_INJECT_H

#include "base/lock.h"

struct weft_task;

struct wf_inject {
    struct wf_lock lock;
    struct weft_task *first, *last; /* under lock */
    struct wf_atomic_u64 len;       /* written under lock, read by anyone */
};

void wf_inject_init(struct wf_inject *q);

/* From any thread. */
void wf_inject_push(struct wf_inject *q, struct weft_task *t);

/* Up to max tasks, oldest first, into out. */
unsigned wf_inject_take(struct wf_inject *q, struct weft_task **out, unsigned max);

WF_INLINE uint64_t wf_inject_len(const struct wf_inject *q)
{
    /* relaxed: a hint; the park protocol's fence orders it where it matters */
    return wf_load_u64(&q->len, WF_RELAXED);
}

#endif
