/* SPDX-License-Identifier: MIT */
/* hold.c - the lists of what stackless tasks hold, and the end of a task that holds something. */
#include "task/hold.h"

#include "base/lock.h"

#ifndef WF_HOLD_LISTS /* a test build has fewer */
# define WF_HOLD_LISTS 64
#endif

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): each on a cache line of its own */
static struct hold_list {
    struct wf_lock lock;    /* of the outermost rank, which is zero: nothing else is held */
    struct wf_leave *first; /* under the lock */
} WF_ALIGNED(WF_CACHE_LINE) hold_lists[WF_HOLD_LISTS];

static struct hold_list *hold_list_of(const struct weft_task *t)
{
    return &hold_lists[((uintptr_t)t >> 6) % WF_HOLD_LISTS];
}

static struct wf_hold *hold_of(struct wf_leave *l)
{
    return wf_container_of(l, struct wf_hold, leave);
}

void wf_hold_left(struct wf_leave *l)
{
    struct wf_hold *h = hold_of(l);

    wf_leave_remove(l);
    h->abandon(h, h->task);
}

void wf_hold_link_stackless(struct weft_task *t, struct wf_hold *h, wf_hold_fn *abandon)
{
    struct hold_list *l = hold_list_of(t);

    h->task = t;
    h->abandon = abandon;
    if (!wf_task_flag(t, WF_TASK_F_HELD))
        wf_task_set_flag(t, WF_TASK_F_HELD, true);
    wf_lock(&l->lock);
    wf_leave_link(&l->first, &h->leave);
    wf_unlock(&l->lock);
}

void wf_hold_unlink_stackless(struct wf_hold *h)
{
    struct hold_list *l = hold_list_of(h->task);

    wf_lock(&l->lock);
    wf_leave_remove(&h->leave);
    wf_unlock(&l->lock);
}

void wf_holds_abandon(struct wf_fiber *f)
{
    struct wf_leave *l;

    while ((l = f->leaves[WF_LEAVE_LAST]))
        wf_hold_left(l);
}

/* One that this task holds, unlinked; NULL: there is none. */
static struct wf_hold *hold_take_stackless(const struct weft_task *t)
{
    struct hold_list *list = hold_list_of(t);
    struct wf_leave *l;

    wf_lock(&list->lock);
    for (l = list->first; l && hold_of(l)->task != t; l = l->next)
        continue;
    if (l)
        wf_leave_remove(l);
    wf_unlock(&list->lock);
    return l ? hold_of(l) : NULL;
}

void wf_holds_abandon_stackless(struct weft_task *t)
{
    struct wf_hold *h;

    while ((h = hold_take_stackless(t)))
        h->abandon(h, t);
}
