/* SPDX-License-Identifier: MIT */
/*
 * leave.h - what a fiber is inside of, and must leave before it ends: open scopes, held locks.
 *
 * IDEA     A record in the object, linked in the fiber for as long as that is inside. A fiber that ends before it
 *          has left, by a panic or because it forgot, is led out: each record's `leave` is called, the newest
 *          first.
 * OWNS     The object has the record. What lies in a frame that was left is still there then, from the record upwards:
 *          the stack is lowered past it first, see fiber_main. So the record comes first in its object.
 * WHO      The fiber itself, by plain stores.
 * TESTS    tests/unit/test_leave.c
 */
#ifndef WF_TASK_LEAVE_H
#define WF_TASK_LEAVE_H

#include "task/fiber_task.h"

/* On the fiber, which is shielded and goes back to its function no more. It takes the record out; it may await. */
typedef void wf_leave_fn(struct wf_leave *l);

struct wf_leave {
    struct wf_leave *next, **link; /* link NULL: not inside */
    wf_leave_fn *leave;
};

/* To the front of a list. */
WF_INLINE void wf_leave_link(struct wf_leave **first, struct wf_leave *l)
{
    l->next = *first;
    l->link = first;
    if (l->next)
        l->next->link = &l->next;
    *first = l;
}

WF_INLINE void wf_leave_push(struct wf_fiber *f, enum wf_leave_when when, struct wf_leave *l,
                             wf_leave_fn *leave)
{
    l->leave = leave;
    wf_leave_link(&f->leaves[when], l);
}

WF_INLINE bool wf_leave_inside(const struct wf_leave *l)
{
    return l->link != NULL;
}

/* In any order. */
WF_INLINE void wf_leave_remove(struct wf_leave *l)
{
    wf_debug_assert(wf_leave_inside(l) && *l->link == l);
    *l->link = l->next;
    if (l->next)
        l->next->link = l->link;
    l->next = NULL;
    l->link = NULL;
}

#endif
