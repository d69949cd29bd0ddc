/* SPDX-License-Identifier: MIT */
/*
 * list.h - intrusive lists: a circular doubly linked one for removal in the middle, and a
 * singly linked FIFO.
 *
 * An unlinked node is NULL/NULL. Insert asserts "not linked", remove asserts "linked" and
 * clears, so that a double insert dies at once.
 */
#ifndef WF_BASE_LIST_H
#define WF_BASE_LIST_H

#include "base/assert.h"

struct wf_list {
    struct wf_list *next, *prev;
};

/* NOLINTBEGIN(bugprone-macro-parentheses): node is a name */
#define WF_LIST_FOREACH(node, head) \
 for (struct wf_list *node = (head)->next; node != (head); node = node->next)

/* NOLINTEND(bugprone-macro-parentheses) */

WF_INLINE void wf_list_init(struct wf_list *head)
{
    head->next = head->prev = head;
}

WF_INLINE bool wf_list_empty(const struct wf_list *head)
{
    return head->next == head;
}

WF_INLINE bool wf_list_linked(const struct wf_list *node)
{
    return node->next != NULL;
}

WF_INLINE void wf_list_push_back(struct wf_list *head, struct wf_list *node)
{
    wf_debug_assert(!wf_list_linked(node));
    node->next = head;
    node->prev = head->prev;
    head->prev->next = node;
    head->prev = node;
}

WF_INLINE void wf_list_remove(struct wf_list *node)
{
    wf_debug_assert(wf_list_linked(node));
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = NULL;
}

/* The first node, unlinked; NULL when the list is empty. */
WF_INLINE struct wf_list *wf_list_pop_front(struct wf_list *head)
{
    struct wf_list *node = head->next;

    if (node == head)
        return NULL;
    wf_list_remove(node);
    return node;
}

/* Move all of from to the end of to; from is empty afterwards. */
WF_INLINE void wf_list_move_all(struct wf_list *to, struct wf_list *from)
{
    if (wf_list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    wf_list_init(from);
}

#endif
