/* SPDX-License-Identifier: MIT */
/*
 * futures.c - many futures driven from one task: each has a waker of its own, and only those woken are polled.
 *
 * IDEA     A future lives in a node, which is what its wakers point at. A wake queues the node, once. The queue has two
 *          parts: a stack that anybody pushes to by compare-and-swap, and a list that the driver alone
 *          touches, to which it moves the whole stack at a time, the oldest first. The stack's head also is where
 *          the driver waits: an empty one may hold its waker, and who puts a node in its place takes the
 *          waker and wakes it. So a wake is two exchanges, a push one, and neither takes a lock.
 *          A wake from within the node's own poll, when no waker of it exists, is two plain stores.
 * OWNS     A node: three parties, each with its part of the node's word. The set has LIVE, while the future is
 *          in it; the queue has QUEUED; each waker has one REF. Who takes the last part away frees the node. So
 *          wakers may outlive the future and the set.
 *          The set: its handle; and who is in the middle of a wake, between QUEUED and the stack, while the
 *          set is freed; and a pending weft_futures_next. See set_close.
 *          The waker in the head: the head, then who replaces it.
 * WHO      push, wake: any thread, at any time. The driver is who has `entered`: one thread at a time, and the
 *          last fields of the set are its own.
 *
 *     word                     what it is, and where it is found
 *     LIVE|QUEUED (+ REFs)     to be polled: in the queue, or on its way there by who queues it
 *     LIVE (+ REFs)            polled, and waits for a wake; without REFs only its own poll can wake it
 *     QUEUED (+ REFs)          gone from the set, still in the queue: "stray"
 *     REFs                     only wakers are left; they do nothing
 *     0                        freed
 *
 * INVARIANTS
 *     U1   A node is in the queue, or about to be pushed, exactly while QUEUED is set.
 *     U2   Of a live node the set is there. Who has set QUEUED on one may touch the set until it has pushed, or
 *          found the stack closed.
 *     U3   A node without REFs, seen so by its driver, is reached by nobody else: a context is borrowed for
 *          the length of a poll, on the thread of the poll. Its word needs no exchange then.
 *     U4   stray = nodes without LIVE, and with QUEUED, that were not taken from the queue yet.
 * ORDER    (a) node_wake releases, node_begin acquires: what the waker wrote is seen by the poll. Also when it was
 *              queued before; and what who dropped its waker wrote before that.
 *          (b) stack_push releases, stack_look acquires: the node and its link. stack_push acquires, set_arm releases:
 *              the waker in the head.
 *          (c) wf_futures_leave releases, wf_futures_enter acquires: a set moves between tasks with all that its
 *              last driver wrote.
 *          (d) parts of a word: each release of one releases, the last acquires, then frees. So with refs of the set.
 *          (e) Whoever waits is polled after its wake with all that came before that, as every task is: then
 *              the head is seen as the wake left it.
 * REJECTED A count of the set in each wake, as in Rust's FuturesUnordered: two exchanges more on one contended word.
 *          A queue by exchange of the tail (Vyukov's): a thread that is interrupted between exchange and link hides
 *          all that come after it. docs/design/015-futures.md has more.
 * TESTS    tests/model/test_futures.c, tests/unit/test_futures.c, tests/api/test_futures.c, tests/stress/test_futures.c
 */
#include "task/futures.h"

#include "base/log.h"
#include "base/sys.h"
#include "task/await.h"
#include "task/future.h"
#include "task/waker.h"

#include <errno.h>

#define NODE_LIVE   1u
#define NODE_QUEUED 2u
#define NODE_REF    4u

/* Where a live node is, for the driver. */
enum node_stage {
    NODE_NEW,    /* pushed, and not yet in the list of all */
    NODE_WAITS,  /* in the list of all */
    NODE_DONE,   /* the same; its result waits for those before it */
    NODE_DROPPED /* gone from the list */
};

struct wf_futures_node {
    weft_wakeable wakeable; /* first: a waker is a pointer to it */
    uint64_t no_state;      /* zero, at WF_SLAB_STATE: who looks for tasks in the slab passes by */
    struct wf_atomic_u32 word;    /* see OWNS */
    uint32_t stage;               /* driver only; who pushes, before that */
    struct wf_futures_node *next; /* who has set QUEUED, then the queue */
    struct weft_futures *set;     /* set once */
    uint64_t tag;                 /* set once */
    struct wf_list link;          /* driver only: in the list of all */
    weft_future future;           /* driver only */
};

_Static_assert(offsetof(struct wf_futures_node, no_state) == WF_SLAB_STATE, "the slab looks there");
_Static_assert(offsetof(struct wf_futures_node, future) == WF_CACHE_LINE,
               "what a wake needs is in one line");
_Static_assert(sizeof(struct wf_futures_node) <= 192, "a node is of the slab's second class");

#define SET_ALIVE (UINT32_C(1) << 31)

/* --- nodes ------------------------------------------------------------------------------------ */

static struct wf_futures_node *node_of(weft_wakeable *w)
{
    return wf_container_of(w, struct wf_futures_node, wakeable);
}

static void node_free(struct wf_futures_node *n)
{
    struct wf_thread *th = wf_thread_self();

    wf_slab_free(th ? th->slab : NULL, n);
}

static void node_retain(weft_wakeable *w)
{
    /* relaxed: the caller holds a waker, or is in the node's poll */
    uint32_t old = wf_add_u32(&node_of(w)->word, NODE_REF, WF_RELAXED);

    wf_debug_assert(old != 0 && old < UINT32_MAX - NODE_REF);
    (void)old;
}

static void node_release(weft_wakeable *w)
{
    struct wf_futures_node *n = node_of(w);
    /* acq_rel: ORDER (d), pairs with itself, node_begin and node_retire */
    uint32_t old = wf_sub_u32(&n->word, NODE_REF, WF_ACQ_REL);

    wf_debug_assert(old >= NODE_REF);
    if (old == NODE_REF)
        node_free(n);
}

void wf_futures_release(struct weft_futures *set, uint32_t parts)
{
    /* acq_rel: ORDER (d), pairs with itself */
    if (wf_sub_u32(&set->refs, parts, WF_ACQ_REL) == parts)
        wf_sys_free(set);
}

/* --- the stack -------------------------------------------------------------------------------- */

/* Stands in the head of a set that is being freed. */
static weft_wakeable head_closed;

#define HEAD_CLOSED ((void *)&head_closed)

/* A waker in the head is its address and one. */
static bool head_is_waker(const void *head)
{
    return ((uintptr_t)head & 1) != 0;
}

static void *head_of_waker(weft_wakeable *w)
{
    return (char *)w + 1;
}

static weft_wakeable *head_waker(void *head)
{
    return (weft_wakeable *)(void *)((char *)head - 1);
}

static bool head_is_node(const void *head)
{
    return head && !head_is_waker(head) && head != HEAD_CLOSED;
}

/* False: the stack is closed, and n was not pushed. Else the set may be gone afterwards. */
static bool stack_push(struct weft_futures *set, struct wf_futures_node *n)
{
    /* relaxed: only seeds the exchange */
    void *head = wf_load_ptr(&set->head, WF_RELAXED);

    do {
        if (wf_unlikely(head == HEAD_CLOSED))
            return false;
        n->next = head_is_waker(head) ? NULL : head;
        /* release: n and its link, for stack_look. acquire: the waker, from set_arm. ORDER (b) */
    } while (!wf_cas_weak_ptr(&set->head, &head, n, WF_ACQ_REL, WF_RELAXED));
    if (head_is_waker(head))
        wf_wakeable_wake(head_waker(head));
    return true;
}

/* To the end of the ready list with what was on the stack, whose newest is n: the oldest comes first. */
WF_NOINLINE static void stack_move(struct weft_futures *set, struct wf_futures_node *n)
{
    struct wf_futures_node **end = &n->next, *first = NULL, *next;

    for (; n; n = next) {
        next = n->next;
        n->next = first;
        first = n;
    }
    *set->ready_end = first;
    set->ready_end = end;
}

/* Take what was pushed, if anything was. By the driver. */
WF_INLINE void stack_look(struct weft_futures *set)
{
    /* relaxed: the exchange acquires; who pushes later finds the driver's waker, or is seen by its next look */
    if (wf_unlikely(head_is_node(wf_load_ptr(&set->head, WF_RELAXED))))
        /* acquire: pairs with stack_push, ORDER (b). It is a node still: only the driver takes any */
        stack_move(set, wf_swap_ptr(&set->head, NULL, WF_ACQUIRE));
}

weft_wakeable *wf_futures_disarm(struct weft_futures *set)
{
    /* relaxed: who waits has put it there itself */
    void *head = wf_load_ptr(&set->head, WF_RELAXED);

    while (head_is_waker(head))
        /* relaxed: nothing is read through it but what its owner wrote */
        if (wf_cas_weak_ptr(&set->head, &head, NULL, WF_RELAXED, WF_RELAXED))
            return head_waker(head);
    return NULL;
}

/* --- waking ----------------------------------------------------------------------------------- */

static void ready_append(struct weft_futures *set, struct wf_futures_node *n)
{
    n->next = NULL;
    *set->ready_end = n;
    set->ready_end = &n->next;
}

static void node_wake(weft_wakeable *w)
{
    struct wf_futures_node *n = node_of(w);
    struct weft_futures *set;
    /* acquire: pairs with node_release, ORDER (d), as the store below hides it from who frees the node */
    uint32_t old = wf_load_u32(&n->word, WF_ACQUIRE);

    if (old == NODE_LIVE) { /* U3: from within its poll */
        /* relaxed: read again by the same driver */
        wf_store_u32(&n->word, NODE_LIVE | NODE_QUEUED, WF_RELAXED);
        ready_append(n->set, n);
        return;
    }
    do {
        if (!(old & NODE_LIVE))
            return;
        /* release even where it is queued already: ORDER (a). acquire: the link, from who took it out of
         * the queue last (node_begin) */
    } while (!wf_cas_weak_u32(&n->word, &old, old | NODE_QUEUED, WF_ACQ_REL, WF_RELAXED));
    if (old & NODE_QUEUED)
        return;
    set = n->set; /* U2 */
    if (wf_likely(stack_push(set, n)))
        return;
    /* The set is being freed, and has counted this. relaxed: the caller's own part of the node is left, and
     * node_release comes later */
    (void)wf_and_u32(&n->word, ~NODE_QUEUED, WF_RELAXED);
    wf_futures_release(set, 1);
}

static const weft_wakeable_type node_type = {node_retain, node_wake, node_release};

/* --- the driver ------------------------------------------------------------------------------- */

static void set_adopt(struct weft_futures *set, struct wf_futures_node *n)
{
    n->stage = NODE_WAITS;
    wf_list_push_back(&set->all, &n->link);
}

/* The queue gives its part up. False: the set has given up its own before, and n may be gone. */
static bool node_begin(struct weft_futures *set, struct wf_futures_node *n)
{
    /* acquire: pairs with node_wake and node_release, ORDER (a) */
    uint32_t old = wf_load_u32(&n->word, WF_ACQUIRE);

    if (wf_likely(old == (NODE_LIVE | NODE_QUEUED))) {
        /* relaxed: U3 */
        wf_store_u32(&n->word, NODE_LIVE, WF_RELAXED);
        return true;
    }
    /* acquire: as above. release: the link, for the next node_wake; and ORDER (d) */
    old = wf_and_u32(&n->word, ~NODE_QUEUED, WF_ACQ_REL);
    wf_debug_assert(old & NODE_QUEUED);
    if (old & NODE_LIVE)
        return true;
    set->stray--;
    if (old == NODE_QUEUED)
        node_free(n);
    return false;
}

/* The set gives its part up: the future has ended, or was dropped. */
static void node_retire(struct weft_futures *set, struct wf_futures_node *n)
{
    uint32_t old;

    wf_list_remove(&n->link);
    n->stage = NODE_DROPPED;
    /* release: pairs with weft_futures_len; the push of what is gone has been counted. relaxed: the driver's own */
    wf_store_u64(&set->gone, wf_load_u64(&set->gone, WF_RELAXED) + 1, WF_RELEASE);
    /* acquire: pairs with node_release, ORDER (d) */
    old = wf_load_u32(&n->word, WF_ACQUIRE);
    if (wf_unlikely(old != NODE_LIVE))
        /* acq_rel: ORDER (d), and the last wake for who frees it */
        old = wf_and_u32(&n->word, ~NODE_LIVE, WF_ACQ_REL);
    if (old & NODE_QUEUED)
        set->stray++;
    else if (old == NODE_LIVE)
        node_free(n);
}

static struct wf_futures_node *ready_pop(struct weft_futures *set)
{
    struct wf_futures_node *n = set->ready;

    set->ready = n->next;
    if (!set->ready)
        set->ready_end = &set->ready;
    return n;
}

/* How much longer the task may go on: polls of futures that spend nothing themselves count one each. */
struct allowance {
    bool task; /* else a plain thread polls by hand */
    int32_t left;
};

static struct allowance allowance_now(void)
{
    struct wf_thread *th = wf_thread_self();

    if (wf_unlikely(!th || !th->task))
        return (struct allowance){false, WF_COOP_BUDGET};
    return (struct allowance){true, th->budget};
}

/* After a poll, which may have moved the fiber to another thread. */
static void allowance_spend(struct allowance *a)
{
    struct wf_thread *th = a->task ? wf_thread_self() : NULL;

    if (wf_unlikely(!th)) {
        a->left--;
        return;
    }
    if (th->budget == a->left)
        th->budget--;
    a->left = th->budget;
}

/* Poll one of the ready list. True: its result is there. */
static bool set_poll_one(struct weft_futures *set, struct wf_futures_node *n)
{
    weft_context cx = {{&n->wakeable}};

    if (!node_begin(set, n))
        return false;
    if (n->stage == NODE_NEW)
        set_adopt(set, n);
    if (wf_unlikely(n->stage == NODE_DONE))
        return false;
    return weft_future_poll(&n->future, &cx) == WEFT_READY;
}

static int set_deliver(struct weft_futures *set, struct wf_futures_node *n, uint64_t *tag,
                       ssize_t *result)
{
    if (tag)
        *tag = n->tag;
    if (result)
        *result = n->future.result;
    node_retire(set, n);
    return 1;
}

/* The oldest of an ordered set, if its result is there. */
static struct wf_futures_node *set_first_done(const struct weft_futures *set)
{
    struct wf_futures_node *n;

    if (wf_list_empty(&set->all))
        return NULL;
    n = wf_container_of(set->all.next, struct wf_futures_node, link);
    return n->stage == NODE_DONE ? n : NULL;
}

/* Wait in the head. False: something was pushed meanwhile. */
static bool set_arm(struct weft_futures *set, const weft_context *cx)
{
    /* relaxed: only the driver puts wakers there */
    void *head = wf_load_ptr(&set->head, WF_RELAXED), *mine = head_of_waker(cx->waker_.target_);

    if (head == mine)
        return true;
    wf_wakeable_release(wf_futures_disarm(set));
    head = NULL;
    (void)wf_wakeable_retain(cx->waker_.target_);
    /* release: pairs with stack_push, ORDER (b) */
    if (wf_likely(wf_cas_ptr(&set->head, &head, mine, WF_RELEASE, WF_RELAXED)))
        return true;
    wf_wakeable_release(cx->waker_.target_);
    return false;
}

int wf_futures_look(struct weft_futures *set, const weft_context *cx, uint64_t *tag,
                    ssize_t *result)
{
    bool ordered = (set->flags & WEFT_FUTURES_ORDERED) != 0;
    struct allowance a = allowance_now();
    struct wf_futures_node *n;

    for (;;) {
        stack_look(set);
        if (ordered && (n = set_first_done(set))) {
            allowance_spend(&a);
            return set_deliver(set, n, tag, result);
        }
        if (!set->ready) {
            if (wf_list_empty(&set->all))
                return 0;
            if (!cx || set_arm(set, cx))
                return -EAGAIN;
            continue;
        }
        if (wf_unlikely(a.left <= 0)) {
            if (cx && (!a.task || wf_coop_has_budget(cx)))
                weft_waker_wake_by_ref(&cx->waker_);
            return -EAGAIN;
        }
        n = ready_pop(set);
        if (!set_poll_one(set, n)) {
            allowance_spend(&a);
            continue;
        }
        allowance_spend(&a);
        if (!ordered)
            return set_deliver(set, n, tag, result);
        n->stage = NODE_DONE;
    }
}

int wf_futures_poll(weft_futures *set, weft_context *cx, uint64_t *tag, ssize_t *result)
{
    int rc;

    if (!wf_futures_enter(set))
        return -EBUSY;
    rc = wf_futures_look(set, cx, tag, result);
    wf_futures_leave(set);
    return rc;
}

/* --- sets ------------------------------------------------------------------------------------- */

weft_futures *weft_futures_new_with(unsigned flags)
{
    weft_futures *set;

    if (flags & ~WEFT_FUTURES_ORDERED) {
        (void)wf_misuse(-EINVAL, "weft_futures_new_with: no such flags: %#x", flags);
        return NULL;
    }
    set = wf_sys_calloc(1, sizeof(*set));
    if (!set)
        return NULL;
    /* relaxed: whoever is given the handle has all of it */
    wf_store_u32(&set->refs, SET_ALIVE, WF_RELAXED);
    set->flags = flags;
    set->ready_end = &set->ready;
    wf_list_init(&set->all);
    return set;
}

weft_futures *weft_futures_new(void)
{
    return weft_futures_new_with(WEFT_FUTURES_UNORDERED);
}

/* Free the strays in the ready list; what is alive stays there. */
static void set_sweep(struct weft_futures *set)
{
    struct wf_futures_node *n = set->ready, *next;

    set->ready = NULL;
    set->ready_end = &set->ready;
    for (; n; n = next) {
        next = n->next;
        if (n->stage == NODE_DROPPED)
            (void)node_begin(set, n);
        else
            ready_append(set, n);
    }
}

/* Drop all that is there now. */
static void set_clear(struct weft_futures *set)
{
    struct wf_list *link;

    stack_look(set);
    for (struct wf_futures_node *n = set->ready; n; n = n->next)
        if (n->stage == NODE_NEW)
            set_adopt(set, n);
    while ((link = set->all.next) != &set->all) {
        struct wf_futures_node *n = wf_container_of(link, struct wf_futures_node, link);

        weft_future_drop(&n->future);
        node_retire(set, n);
    }
    set_sweep(set);
}

/*
 * The end of an empty set that was entered, and stays so. Who has set QUEUED on a node that was retired since, and
 * has not pushed it, is still to look at the head: these are the strays that are not in the queue, and each of
 * them finds it closed and gives up one part of refs. So does a weft_futures_next that is pending, when it is
 * polled or dropped. SET_ALIVE stands for all of them until they are counted.
 */
static void set_close(struct weft_futures *set)
{
    /* acquire: pairs with stack_push, ORDER (b). Who finds it closed reads no more, and passes wf_futures_release */
    void *head = wf_swap_ptr(&set->head, HEAD_CLOSED, WF_ACQUIRE);
    weft_wakeable *waiter = head_is_waker(head) ? head_waker(head) : NULL;
    bool waits;

    if (head_is_node(head))
        stack_move(set, head);
    set_sweep(set);
    wf_debug_assert(!set->ready && wf_list_empty(&set->all)); /* nobody has pushed meanwhile */
    /* acquire: pairs with next_drop, which touches the set no more if it came first. Who finds it closed passes
     * wf_futures_release */
    waits = wf_swap_u32(&set->claimed, WF_CLAIM_CLOSED, WF_ACQUIRE) == WF_CLAIM_WAITS;
    /* relaxed: nobody enters any more */
    wf_store_u32(&set->entered, WF_ENTERED_CLOSED, WF_RELAXED);
    wf_futures_release(set, SET_ALIVE - set->stray - waits);
    if (waits)
        wf_wakeable_wake(waiter);
    else
        wf_wakeable_release(waiter);
}

void weft_futures_free(weft_futures *set)
{
    if (!set)
        return;
    if (!wf_futures_enter(set)) {
        (void)wf_misuse(-EBUSY, "weft_futures_free: a call on the set runs; it is not freed");
        return;
    }
    do {
        set_clear(set);
        /* relaxed: stack_look acquires. Futures may push when they are dropped */
    } while (head_is_node(wf_load_ptr(&set->head, WF_RELAXED)));
    set_close(set);
}

int weft_futures_clear(weft_futures *set)
{
    weft_wakeable *waiter;

    if (!set)
        return wf_misuse(-EINVAL, "weft_futures_clear: set is NULL");
    if (!wf_futures_enter(set))
        return -EBUSY;
    set_clear(set);
    waiter = wf_futures_disarm(set);
    wf_futures_leave(set);
    wf_wakeable_wake(waiter);
    return 0;
}

size_t weft_futures_len(const weft_futures *set)
{
    uint64_t gone;

    if (!set)
        return 0;
    /* acquire: pairs with node_retire, so that no more are gone than were pushed */
    gone = wf_load_u64(&set->gone, WF_ACQUIRE);
    /* relaxed: pushes may come at any time */
    return (size_t)(wf_load_u64(&set->pushed, WF_RELAXED) - gone);
}

bool weft_futures_is_empty(const weft_futures *set)
{
    return weft_futures_len(set) == 0;
}

/* --- pushing ---------------------------------------------------------------------------------- */

struct wf_futures_node *wf_futures_reserve(weft_futures *set, uint64_t tag)
{
    struct wf_thread *th = wf_thread_self();
    struct wf_futures_node *n = wf_slab_alloc(th ? th->slab : NULL, sizeof(*n));

    if (wf_unlikely(!n))
        return NULL;
    n->wakeable.type = &node_type;
    /* relaxed: published by stack_push */
    wf_store_u32(&n->word, NODE_LIVE | NODE_QUEUED, WF_RELAXED);
    n->stage = NODE_NEW;
    n->set = set;
    n->tag = tag;
    n->link = (struct wf_list){0};
    return n;
}

void wf_futures_fill(struct wf_futures_node *n, const weft_future *f)
{
    n->future = *f;
    /* relaxed: stack_push carries it to who takes the node, and so to weft_futures_len */
    (void)wf_add_u64(&n->set->pushed, 1, WF_RELAXED);
    (void)stack_push(n->set, n);
}

void wf_futures_give_back(struct wf_futures_node *n)
{
    node_free(n);
}

int weft_futures_push(weft_futures *set, weft_future f, uint64_t tag)
{
    struct wf_futures_node *n;

    if (wf_unlikely(!set || !f.type))
        return wf_misuse(-EINVAL, "weft_futures_push: set is NULL, or the future has no type");
    if (wf_unlikely(wf_future_pending(&f)))
        return wf_misuse(-EINVAL, "weft_futures_push: a pending future may not be moved");
    n = wf_futures_reserve(set, tag);
    if (wf_unlikely(!n))
        return -ENOMEM;
    wf_futures_fill(n, &f);
    return 0;
}
