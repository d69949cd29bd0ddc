/* SPDX-License-Identifier: MIT */
/*
 * cancel.c - cancellation tokens: a tree of flags that are set from above.
 *
 * IDEA     All tokens of a tree share one lock, and each operation on the tree is a few steps under it. A token that
 *          is cancelled leaves the tree at once, for good; what it has to tell, to who waits for it and to its
 *          children, becomes the tree's work. Whoever cancels anything does the work until there is none left, a
 *          bounded number of steps at a time, so that a tree of any depth or width holds the lock for a moment only.
 *          A token without a handle that has one child is replaced by it, and one that has none is taken out. So
 *          every such token that is left joins at least two others: their number stays below that of the handles, and
 *          freeing takes a constant time.
 * OWNS     A token is counted by its handles and by its pins: each wait that is registered, and the tree's work. The
 *          tree is counted by its tokens.
 * WHO      Any thread.
 * INVARIANTS
 *     C1   The children of a token are not cancelled, or the token is in the tree's work.
 *     C2   A token that is cancelled is below nothing. Nobody waits for it, or it is in the tree's work.
 *     C3   A token without a handle and pins has two children at least.
 *     C4   When the tree has no work, all below a cancelled token are cancelled.
 * ORDER    The flag is written under the lock and read without: release in cancel_mark, acquire in cancel_is_set. It
 *          carries what the canceller wrote. The count of handles: each release carries to the last, which acquires.
 * REJECTED A lock for each token, taken from parent to child: cancelling then holds a chain of locks, and freeing an
 *          inner token locks its parent and all of its children. Moving the children of a freed token up one by one:
 *          a chain of n tokens above n children, freed from below, takes n * n steps.
 * TESTS    tests/model/test_cancel.c, tests/api/test_cancel_token.c, tests/stress/test_cancel.c,
 *          tests/fault/test_sync.c
 */
#include "sync/cancel.h"

#include "base/list.h"
#include "base/log.h"
#include "base/sys.h"
#include "task/await.h"
#include "task/thread_wait.h"

#include <errno.h>

/* So many steps of work are done in one go. A test build has fewer. */
#ifndef WF_CANCEL_STEPS
# define WF_CANCEL_STEPS 64
#endif

struct cancel_tree {
    struct wf_lock lock;
    struct wf_list work; /* under the lock: tokens that have something to tell */
    uint64_t tokens;     /* under the lock */
};

struct weft_cancel_token {
    struct wf_atomic_u32 handles;
    struct wf_atomic_u32 flag; /* cancelled; written under the lock */
    struct cancel_tree *tree;  /* set once */
    /* under the lock */
    struct weft_cancel_token *parent; /* NULL: a root, or it is cancelled */
    struct wf_list link;              /* among its parent's children; in the end among the dead */
    struct wf_list children;
    struct wf_list work; /* in the tree's work */
    struct wf_waitq line;
    uint32_t pins;
    bool freed; /* it has no handle any more */
};

static bool cancel_is_set(const struct weft_cancel_token *t)
{
    /* acquire: pairs with cancel_mark */
    return wf_load_u32(&t->flag, WF_ACQUIRE) != 0;
}

/* --- the tree: all of this under its lock ------------------------------------------------------ */

static bool cancel_is_marked(const struct weft_cancel_token *t)
{
    /* relaxed: under the lock */
    return wf_load_u32(&t->flag, WF_RELAXED) != 0;
}

static struct weft_cancel_token *cancel_first(const struct wf_list *children)
{
    return wf_container_of(children->next, struct weft_cancel_token, link);
}

/* Take t out if nobody needs it any more, and those above it for which that is true then. */
static void cancel_settle(struct weft_cancel_token *t, struct wf_list *dead)
{
    while (t && t->freed && t->pins == 0) {
        struct weft_cancel_token *parent = t->parent;

        if (!wf_list_empty(&t->children)) {
            struct weft_cancel_token *child = cancel_first(&t->children);

            if (child->link.next != &t->children) /* C3 */
                return;
            wf_list_remove(&child->link);
            child->parent = parent;
            if (parent)
                wf_list_push_back(&parent->children, &child->link);
        }
        if (parent)
            wf_list_remove(&t->link);
        wf_list_push_back(dead, &t->link);
        t->tree->tokens--;
        t = parent;
    }
}

/* Whoever waits for it, and its children, are to be told. */
static void cancel_add_work(struct weft_cancel_token *t)
{
    if (wf_list_linked(&t->work) || (wf_waitq_empty(&t->line) && wf_list_empty(&t->children)))
        return;
    wf_list_push_back(&t->tree->work, &t->work);
    t->pins++;
}

static void cancel_mark(struct weft_cancel_token *t, struct wf_list *dead)
{
    struct weft_cancel_token *parent = t->parent;

    /* release: pairs with cancel_is_set; carries what the canceller wrote */
    wf_store_u32(&t->flag, 1, WF_RELEASE);
    cancel_add_work(t);
    if (parent) {
        wf_list_remove(&t->link);
        t->parent = NULL;
        cancel_settle(parent, dead);
    }
}

/* One step of the tree's work, of which there is some. */
static void cancel_work(struct cancel_tree *tree, struct wf_wakes *wakes, struct wf_list *dead)
{
    struct weft_cancel_token *t = wf_container_of(tree->work.next, struct weft_cancel_token, work);

    if (!wf_waitq_empty(&t->line)) {
        wf_wakes_add(wakes, wf_waitq_take(&t->line, t->line.first, WF_WAITER_RELEASED));
    } else if (cancel_is_marked(t) && !wf_list_empty(&t->children)) {
        cancel_mark(cancel_first(&t->children), dead);
    } else {
        wf_list_remove(&t->work);
        t->pins--;
        cancel_settle(t, dead);
    }
}

/* Give the lock up, and then the memory of those that were taken out. The tree goes with its last token. */
static void cancel_unlock(struct cancel_tree *tree, struct wf_list *dead)
{
    bool last = tree->tokens == 0;
    struct wf_list *node;

    wf_unlock(&tree->lock);
    while ((node = wf_list_pop_front(dead)))
        wf_sys_free(wf_container_of(node, struct weft_cancel_token, link));
    if (last)
        wf_sys_free(tree);
}

/* Do all the work. With the lock, and without it afterwards. The caller's handle, or pin, keeps the tree meanwhile. */
static void cancel_finish(struct cancel_tree *tree, struct wf_list *dead)
{
    struct wf_wakes wakes;
    bool more;

    wakes.count = 0;
    do {
        for (unsigned i = 0; i < WF_CANCEL_STEPS && !wf_list_empty(&tree->work); i++) {
            if (wf_wakes_full(&wakes))
                break;
            cancel_work(tree, &wakes, dead);
        }
        more = !wf_list_empty(&tree->work);
        cancel_unlock(tree, dead);
        wf_wakes_all(&wakes);
        if (more)
            wf_lock(&tree->lock);
    } while (more);
}

/* --- handles ----------------------------------------------------------------------------------- */

static struct cancel_tree *cancel_tree_new(void)
{
    struct cancel_tree *tree = wf_sys_calloc(1, sizeof(*tree));

    if (tree) {
        wf_lock_init(&tree->lock, WF_RANK_SYNC);
        wf_list_init(&tree->work);
    }
    return tree;
}

weft_cancel_token *weft_cancel_token_new(weft_cancel_token *parent)
{
    /* Cleared here: the C library's calloc passes its thread's cache by, and tokens come and go with each request. */
    weft_cancel_token *t = wf_sys_malloc(sizeof(*t));

    if (!t)
        return NULL;
    *t = (struct weft_cancel_token){.tree = parent ? parent->tree : cancel_tree_new()};
    if (!t->tree) {
        wf_sys_free(t);
        return NULL;
    }
    /* relaxed, both: nobody else knows it yet */
    wf_store_u32(&t->handles, 1, WF_RELAXED);
    wf_list_init(&t->children);
    wf_lock(&t->tree->lock);
    t->tree->tokens++;
    if (parent && cancel_is_marked(parent)) {
        wf_store_u32(&t->flag, 1, WF_RELAXED);
    } else if (parent) {
        t->parent = parent;
        wf_list_push_back(&parent->children, &t->link);
    }
    wf_unlock(&t->tree->lock);
    return t;
}

weft_cancel_token *weft_cancel_token_clone(weft_cancel_token *t)
{
    if (t)
        /* relaxed: the caller has a handle */
        (void)wf_add_u32(&t->handles, 1, WF_RELAXED);
    return t;
}

void weft_cancel_token_free(weft_cancel_token *t)
{
    struct cancel_tree *tree;
    struct wf_list dead;
    bool waited_for;

    /* acq_rel: pairs with itself in other threads; who frees the last handle has seen all that the others did */
    if (!t || wf_sub_u32(&t->handles, 1, WF_ACQ_REL) != 1)
        return;
    tree = t->tree;
    wf_list_init(&dead);
    wf_lock(&tree->lock);
    t->freed = true;
    waited_for = !cancel_is_marked(t) && !wf_waitq_empty(&t->line);
    if (waited_for) {
        t->pins++; /* for us */
        cancel_add_work(t);
        cancel_finish(tree, &dead);
        (void)wf_misuse(-ESHUTDOWN, "weft_cancel_token_free: the token is waited for");
        wf_lock(&tree->lock);
        t->pins--;
    }
    cancel_settle(t, &dead);
    cancel_unlock(tree, &dead);
}

void weft_cancel_token_cancel(weft_cancel_token *t)
{
    struct wf_list dead;

    if (!t) {
        (void)wf_misuse(-EINVAL, "weft_cancel_token_cancel: NULL");
        return;
    }
    wf_list_init(&dead);
    wf_lock(&t->tree->lock);
    if (!cancel_is_marked(t))
        cancel_mark(t, &dead);
    cancel_finish(t->tree, &dead);
}

bool weft_cancel_token_is_cancelled(const weft_cancel_token *t)
{
    return t && cancel_is_set(t);
}

/* --- waiting ------------------------------------------------------------------------------------ */

/* Under the lock. Who is to be in line pins the token. */
static bool cancelled_look(struct wf_wait *w, ssize_t *result)
{
    struct weft_cancel_token *t = w->object;

    *result = cancel_is_marked(t) ? 0 : -ESHUTDOWN;
    if (cancel_is_marked(t) || t->freed)
        return true;
    if (w->waiter.state == WF_WAITER_IDLE)
        t->pins++;
    return false;
}

void wf_cancelled_leave(weft_future *f)
{
    struct wf_wait *w = wf_wait_of(f);
    struct weft_cancel_token *t = w->object;
    struct cancel_tree *tree;
    weft_wakeable *old = NULL;
    struct wf_list dead;

    if (!wf_wait_is_placed(f)) /* it does not pin the token, which may be gone */
        return;
    tree = t->tree;
    wf_list_init(&dead);
    wf_lock(&tree->lock);
    if (w->waiter.state == WF_WAITER_QUEUED)
        old = wf_waitq_take(&t->line, &w->waiter, WF_WAITER_IDLE);
    t->pins--;
    cancel_settle(t, &dead);
    cancel_unlock(tree, &dead);
    wf_wakeable_release(old);
}

weft_poll wf_cancelled_ask(weft_future *f, weft_context *cx)
{
    struct weft_cancel_token *t = wf_wait_of(f)->object;

    if (!wf_wait_is_placed(f) && cancel_is_set(t)) {
        f->result = 0;
        return WEFT_READY;
    }
    if (wf_wait_poll(f, cx, &t->tree->lock, &t->line, cancelled_look) == WEFT_PENDING)
        return WEFT_PENDING;
    wf_cancelled_leave(f);
    return WEFT_READY;
}

static weft_poll cancelled_poll(weft_future *f, weft_context *cx)
{
    /* Whatever the budget is: the token need not be there for a second first poll, and nobody who spends all of it
     * in a select keeps the cancel from those beside. */
    if (wf_cancelled_ask(f, cx) == WEFT_PENDING)
        return WEFT_PENDING;
    wf_coop_spend();
    return WEFT_READY;
}

static const weft_future_type cancelled_type = {cancelled_poll, wf_cancelled_leave, "cancelled"};

weft_future weft_cancel_token_cancelled_future(weft_cancel_token *t)
{
    weft_future f = {.type = &cancelled_type};

    if (!t)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_cancel_token_cancelled_future: NULL"));
    wf_wait_of(&f)->object = t;
    return f;
}

int weft_cancel_token_cancelled(weft_cancel_token *t)
{
    weft_future future;
    struct wf_fiber *f;
    int rc;

    if (wf_unlikely(!t))
        return wf_misuse(-EINVAL, "weft_cancel_token_cancelled: NULL");
    rc = wf_await_enter(&f, "weft_cancel_token_cancelled");
    if (wf_unlikely(rc < 0) || cancel_is_set(t))
        return rc;
    future = weft_cancel_token_cancelled_future(t);
    return (int)wf_await_future(f, &future);
}

int weft_cancel_token_cancelled_blocking(weft_cancel_token *t)
{
    weft_future future;
    int rc;

    if (!t)
        return wf_misuse(-EINVAL, "weft_cancel_token_cancelled_blocking: NULL");
    rc = wf_thread_check_plain("weft_cancel_token_cancelled_blocking");
    if (rc < 0)
        return rc;
    future = weft_cancel_token_cancelled_future(t);
    return (int)wf_thread_await(&future, WEFT_FOREVER);
}
