/* SPDX-License-Identifier: MIT */
/* inject.c - a locked queue of tasks. The release of its lock carries the tasks to who takes them. */
#include "sched/inject.h"

#include "base/assert.h"
#include "task/task.h"

void wf_inject_init(struct wf_inject *q)
{
    *q = (struct wf_inject){.lock = WF_LOCK_INIT(WF_RANK_INJECT)};
}

void wf_inject_push(struct wf_inject *q, struct weft_task *t)
{
    t->next = NULL;
    wf_lock(&q->lock);
    if (q->last)
        q->last->next = t;
    else
        q->first = t;
    q->last = t;
    /* relaxed: written under the lock only; readers take it as a hint */
    wf_count_u64(&q->len, 1);
    wf_unlock(&q->lock);
}

unsigned wf_inject_take(struct wf_inject *q, struct weft_task **out, unsigned max)
{
    unsigned n = 0;

    if (wf_inject_len(q) == 0)
        return 0;
    wf_lock(&q->lock);
    while (n < max && q->first) {
        struct weft_task *t = q->first;

        q->first = t->next;
        t->next = NULL;
        out[n++] = t;
    }
    if (!q->first)
        q->last = NULL;
    /* relaxed: as in push */
    wf_store_u64(&q->len, wf_load_u64(&q->len, WF_RELAXED) - n, WF_RELAXED);
    wf_unlock(&q->lock);
    return n;
}
