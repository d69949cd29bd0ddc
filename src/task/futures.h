/* SPDX-License-Identifier: MIT */
/*
 * futures.h - sets of futures from inside: the set, and what its driver does. futures.c has the whole of it, and names
 * what is cited here.
 */
#ifndef WF_TASK_FUTURES_H
#define WF_TASK_FUTURES_H

#include "base/atomic.h"
#include "base/list.h"

#include <weft/futures.h>

struct wf_futures_node;

struct weft_futures {
    /* any thread */
    struct wf_atomic_ptr head;    /* NULL, a node, who waits, or closed: see futures.c */
    struct wf_atomic_u64 pushed;  /* futures, ever */
    struct wf_atomic_u32 refs;    /* see set_close */
    struct wf_atomic_u32 entered; /* WF_ENTERED_...: does somebody drive it? */
    struct wf_atomic_u32 claimed; /* WF_CLAIM_...: is a weft_futures_next pending? */
    unsigned flags;               /* set once */
    char apart[WF_CACHE_LINE];    /* from what wakers write */
    /* driver only */
    struct wf_futures_node *ready, **ready_end; /* the queue's own part, oldest first */
    struct wf_list all;                         /* live nodes, in the order of their first polls */
    struct wf_atomic_u64
        gone;       /* futures that were pushed and are not in the set any more; read by anyone */
    uint32_t stray; /* U4 */
};

enum { WF_ENTERED_NO, WF_ENTERED_YES, WF_ENTERED_CLOSED };

enum { WF_CLAIM_NONE, WF_CLAIM_WAITS, WF_CLAIM_CLOSED };

/* Become the driver. False: somebody else is. */
WF_INLINE bool wf_futures_enter(struct weft_futures *set)
{
    uint32_t old = WF_ENTERED_NO;

    /* acquire: pairs with wf_futures_leave, ORDER (c) */
    return wf_cas_u32(&set->entered, &old, WF_ENTERED_YES, WF_ACQUIRE, WF_RELAXED);
}

WF_INLINE void wf_futures_leave(struct weft_futures *set)
{
    /* release: pairs with wf_futures_enter, ORDER (c) */
    wf_store_u32(&set->entered, WF_ENTERED_NO, WF_RELEASE);
}

/* By the driver: poll what is new or was woken until one has ended. 1, 0 when the set is empty, -EAGAIN: cx will be
 * woken, unless it is NULL. */
int wf_futures_look(weft_futures *set, const weft_context *cx, uint64_t *tag, ssize_t *result);

/* A push in two steps: room for one more (NULL when memory is out), and what goes there; or not. */
struct wf_futures_node *wf_futures_reserve(weft_futures *set, uint64_t tag);
void wf_futures_fill(struct wf_futures_node *n, const weft_future *f);
void wf_futures_give_back(struct wf_futures_node *n);

/* Who waits, taken back, if it is still there. From any thread that may drop the wait. */
weft_wakeable *wf_futures_disarm(struct weft_futures *set);

/* Give up parts of the set's memory. */
void wf_futures_release(struct weft_futures *set, uint32_t parts);

/* Enter, look and leave, for the only user of a set, in a poll of its own: what waits need not be a future of
 * weft_futures_next_future. */
int wf_futures_poll(weft_futures *set, weft_context *cx, uint64_t *tag, ssize_t *result);

#endif
