/* SPDX-License-Identifier: MIT */
/* gather.c - arrivals, and who waits for them. */
#include "sync/gather.h"

#include "base/log.h"
#include "base/sys.h"
#include "sched/worker.h"
#include "task/await.h"
#include "task/thread_wait.h"
#include "task/waker.h"

#include <errno.h>

#ifndef WF_GATHER_BATCH     /* a test build has a smaller one */
# define WF_GATHER_BATCH 64 /* records dealt with before the lock is given back */
#endif

enum { GATHER_SELF, GATHER_DONE, GATHER_FLAGS, GATHER_END }; /* words of a future */

_Static_assert(GATHER_END == WF_GATHER_WORDS, "what is behind them is the kind's");

enum {
    GATHER_DRAIN = 1,   /* nothing is taken: all are waited for */
    GATHER_HOLDS = 2,   /* it counts on the group's memory */
    GATHER_PAID = 4,    /* its first poll has a unit of the budget already */
    GATHER_STOPPED = 8, /* it has cancelled all */
    GATHER_GOES_ON = 16 /* it takes one after the other, and comes back to the group between them */
};

/* A waker in a place is its address and one. */
static bool place_is_waker(const void *p)
{
    return ((uintptr_t)p & 1) != 0;
}

static void *place_of_waker(weft_wakeable *w)
{
    return (char *)w + 1;
}

static weft_wakeable *place_waker(void *p)
{
    return (weft_wakeable *)(void *)((char *)p - 1);
}

/* In a word: it has ended. */
static char word_done;

#define WORD_DONE ((void *)&word_done)

_Static_assert(sizeof(struct wf_child) % 2 == 0, "records are at even addresses");

/* --- arriving --- */

static void gather_push(struct wf_on_end *e)
{
    struct wf_child *c = wf_child_of(e);
    struct wf_gather *gt = wf_gather_of(c->group);
    /* relaxed: only seeds the exchange */
    void *old = wf_load_ptr(&gt->head, WF_RELAXED);

    do
        c->next = place_is_waker(old) ? NULL : old;
    /* release: ORDER (a), pairs with gather_drain_locked. acquire: (b), pairs with gather_wait_locked */
    while (!wf_cas_weak_ptr(&gt->head, &old, c, WF_ACQ_REL, WF_RELAXED));
    /* The group may be gone. */
    if (place_is_waker(old))
        wf_worker_wake_patient(place_waker(old));
}

static void gather_mark(struct wf_on_end *e)
{
    /* release: ORDER (a), pairs with gather_first_locked. acquire: (b), pairs with gather_wait_locked */
    void *old = wf_swap_ptr(&wf_child_of(e)->word, WORD_DONE, WF_ACQ_REL);

    if (place_is_waker(old))
        wf_worker_wake_patient(place_waker(old));
}

/* --- who waits --- */

/* Take the waker back, if nobody else has. Nobody waits any more. */
static weft_wakeable *gather_recall_locked(struct wf_gather *gt)
{
    struct wf_atomic_ptr *place = gt->place;
    void *p;

    gt->waiter = NULL;
    gt->place = NULL;
    if (!place)
        return NULL;
    /* relaxed: put there under the lock */
    p = wf_load_ptr(place, WF_RELAXED);
    /* relaxed: the same. On failure an arrival has taken it. */
    if (!place_is_waker(p) || !wf_cas_ptr(place, &p, NULL, WF_RELAXED, WF_RELAXED))
        return NULL;
    return place_waker(p);
}

static bool gather_is_waiting_locked(const struct wf_gather *gt)
{
    /* relaxed: put there under the lock */
    return gt->place && place_is_waker(wf_load_ptr(gt->place, WF_RELAXED));
}

/* Who waits is to look again. */
static void gather_alert_locked(struct wf_gather *gt, struct wf_sweep *s)
{
    weft_wakeable *w = gather_recall_locked(gt);

    wf_debug_assert(!w || !s->wake);
    if (w)
        s->wake = w;
}

/* Where the next thing that is waited for arrives. */
static struct wf_atomic_ptr *gather_place_locked(struct wf_gather *gt)
{
    if (gt->ordered && gt->group.count)
        return &wf_child_of_link(gt->group.all.next)->word;
    return &gt->head;
}

/* J2. False: something has arrived there. */
static bool gather_wait_locked(struct wf_gather *gt, weft_future *f, weft_wakeable *target)
{
    struct wf_atomic_ptr *place = gather_place_locked(gt);
    void *empty = NULL;

    /* release: ORDER (b), pairs with gather_push and gather_mark */
    if (!wf_cas_ptr(place, &empty, place_of_waker(target), WF_RELEASE, WF_RELAXED))
        return false;
    gt->place = place;
    gt->waiter = f;
    return true;
}

/* --- taking --- */

static void sweep_garbage(struct wf_sweep *s, struct wf_child *c)
{
    c->next = s->garbage;
    s->garbage = c;
}

static void gather_put(struct wf_gather *gt)
{
    /* acq_rel: as every reference count */
    if (wf_sub_u32(&gt->refs, 1, WF_ACQ_REL) == 1)
        gt->kind->destroy(gt);
}

void wf_sweep(struct wf_gather *gt, struct wf_sweep *s)
{
    struct wf_child *c, *next;

    wf_wakeable_wake(s->wake);
    wf_wakeable_release(s->release);
    for (c = s->garbage; c; c = next) {
        next = c->next;
        wf_task_release(c->on_end.task);
    }
    if (s->task)
        wf_task_release(s->task);
    if (s->put)
        gather_put(gt);
}

static uint64_t gather_shown_locked(const struct wf_gather *gt)
{
    return gt->group.count - gt->hidden;
}

static void gather_drain_locked(struct wf_gather *gt)
{
    /* relaxed: a glance */
    void *p = wf_load_ptr(&gt->head, WF_RELAXED);
    struct wf_child *c, *next;

    if (!p || place_is_waker(p))
        return;
    /* acquire: ORDER (a), pairs with gather_push. J2: there is no waker. */
    for (c = wf_swap_ptr(&gt->head, NULL, WF_ACQUIRE); c; c = next) {
        next = c->next;
        c->next = gt->ready;
        gt->ready = c;
    }
}

/* The next one that has ended, still in the list. */
static struct wf_child *gather_first_locked(struct wf_gather *gt)
{
    struct wf_child *c;

    if (gt->ordered) {
        if (gt->group.count == 0)
            return NULL;
        c = wf_child_of_link(gt->group.all.next);
        /* acquire: ORDER (a), pairs with gather_mark */
        return wf_load_ptr(&c->word, WF_ACQUIRE) == WORD_DONE ? c : NULL;
    }
    if (!gt->ready)
        gather_drain_locked(gt);
    c = gt->ready;
    if (c)
        gt->ready = c->next;
    return c;
}

static void gather_remove_locked(struct wf_gather *gt, struct wf_child *c, struct wf_sweep *s)
{
    if (gt->ordered && gt->place == &c->word)
        gather_alert_locked(gt, s);
    wf_group_remove_locked(&gt->group, c);
    if (c->hidden)
        gt->hidden--;
}

static int gather_take_locked(struct wf_gather *gt, void *done, struct wf_sweep *s)
{
    struct wf_child *c;

    if (wf_unlikely(gt->group.closed))
        return -ESHUTDOWN;
    while ((c = gather_first_locked(gt))) {
        gather_remove_locked(gt, c, s);
        if (wf_unlikely(c->hidden)) {
            sweep_garbage(s, c);
            continue;
        }
        s->task = gt->kind->taken(gt, c, done);
        gt->taken++;
        return 1;
    }
    return gather_shown_locked(gt) ? -EAGAIN : 0;
}

int wf_gather_try(struct wf_gather *gt, void *done)
{
    struct wf_sweep s = {0};
    int rc;

    wf_lock(&gt->group.lock);
    rc = gather_take_locked(gt, done, &s);
    wf_unlock(&gt->group.lock);
    wf_sweep(gt, &s);
    return rc;
}

/* What nobody takes. 0: nothing is left, and nobody knows of the group. -EAGAIN: something will arrive, or *more
 * has. */
static int gather_reap_locked(struct wf_gather *gt, struct wf_sweep *s, bool *more)
{
    struct wf_child *c;

    *more = true;
    for (unsigned n = 0; n < WF_GATHER_BATCH; n++) {
        c = gather_first_locked(gt);
        if (!c) {
            *more = false;
            break;
        }
        gather_remove_locked(gt, c, s);
        if (!c->hidden && gt->kind->dropped)
            gt->kind->dropped(gt, c);
        sweep_garbage(s, c);
    }
    return wf_group_empty_locked(&gt->group) ? 0 : -EAGAIN;
}

/* --- the future --- */

struct wf_gather *wf_gather_of_future(const weft_future *f)
{
    return (struct wf_gather *)f->words[GATHER_SELF]; /* NOLINT(performance-no-int-to-ptr) */
}

static int future_try_locked(weft_future *f, struct wf_sweep *s, bool *more)
{
    struct wf_gather *gt = wf_gather_of_future(f);

    *more = false;
    if (f->words[GATHER_FLAGS] & GATHER_DRAIN)
        return gather_reap_locked(gt, s, more);
    return gather_take_locked(gt, (void *)f->words[GATHER_DONE], s); /* NOLINT */
}

/* Nothing has arrived. -EAGAIN: target's reference is the place's now. */
static int future_wait_locked(weft_future *f, weft_wakeable *target, struct wf_sweep *s, bool *more)
{
    struct wf_gather *gt = wf_gather_of_future(f);
    int rc;

    if (gt->waiter && gt->waiter != f && gather_is_waiting_locked(gt))
        return -EBUSY;
    s->release = gather_recall_locked(gt);
    if (gather_wait_locked(gt, f, target)) {
        if (!(f->words[GATHER_FLAGS] & GATHER_HOLDS))
            /* relaxed: the caller's own keeps it */
            (void)wf_add_u32(&gt->refs, 1, WF_RELAXED);
        f->words[GATHER_FLAGS] |= GATHER_HOLDS;
        return -EAGAIN;
    }
    rc = future_try_locked(f, s, more);
    *more = *more || rc == -EAGAIN;
    return rc;
}

/* It waits no more; over: nor does it come back. */
static void future_leave_locked(weft_future *f, bool over, struct wf_sweep *s)
{
    struct wf_gather *gt = wf_gather_of_future(f);

    if (gt->waiter == f) {
        weft_wakeable *w = gather_recall_locked(gt);

        wf_debug_assert(!w || !s->release);
        if (w)
            s->release = w;
    }
    if (!over)
        return;
    s->put = (f->words[GATHER_FLAGS] & GATHER_HOLDS) != 0;
    f->words[GATHER_FLAGS] &= ~(uintptr_t)GATHER_HOLDS;
}

/* Is its waker there already? */
static bool future_waits_by_locked(const weft_future *f, const weft_wakeable *target)
{
    const struct wf_gather *gt = wf_gather_of_future(f);

    return gt->waiter == f && gather_is_waiting_locked(gt) &&
           /* relaxed: put there under the lock */
           place_waker(wf_load_ptr(gt->place, WF_RELAXED)) == target;
}

/* Is it a task? Its reference may be taken under a lock, for that calls nobody. */
static bool target_is_task(const weft_wakeable *target)
{
    return target->type == &wf_fiber_type.wakeable || target->type == &wf_async_kind.wakeable;
}

/* One look. *brought: a reference of target goes along, if it is left there. -EAGAIN and *more: look again. */
static int future_look(weft_future *f, weft_wakeable *target, bool *brought, bool *more)
{
    struct wf_gather *gt = wf_gather_of_future(f);
    struct wf_sweep s = {0};
    int rc;

    wf_lock(&gt->group.lock);
    rc = future_try_locked(f, &s, more);
    if (rc == -EAGAIN && !*more && !future_waits_by_locked(f, target)) {
        if (!*brought && target_is_task(target)) {
            (void)wf_wakeable_retain(target);
            *brought = true;
        }
        *more = !*brought;
        if (*brought) {
            rc = future_wait_locked(f, target, &s, more);
            *brought = rc != -EAGAIN || *more;
        }
    }
    if (rc != -EAGAIN)
        future_leave_locked(f, rc <= 0 || !(f->words[GATHER_FLAGS] & GATHER_GOES_ON), &s);
    wf_unlock(&gt->group.lock);
    wf_sweep(gt, &s);
    return rc;
}

/* It comes back to the group, whether that was freed or not. */
WF_COLD static weft_poll gather_give_way(weft_future *f)
{
    if (!(f->words[GATHER_FLAGS] & GATHER_HOLDS))
        /* relaxed: the caller's own keeps it */
        (void)wf_add_u32(&wf_gather_of_future(f)->refs, 1, WF_RELAXED);
    f->words[GATHER_FLAGS] |= GATHER_HOLDS;
    return WEFT_PENDING;
}

static weft_poll gather_poll(weft_future *f, weft_context *cx)
{
    weft_wakeable *target = cx->waker_.target_;
    bool brought = false, more;
    int rc;

    if (!(f->words[GATHER_FLAGS] & GATHER_PAID) && wf_unlikely(!wf_coop_proceed(cx)))
        return gather_give_way(f);
    while ((rc = future_look(f, target, &brought, &more)) == -EAGAIN && more) {
        if (!brought)
            (void)wf_wakeable_retain(target);
        brought = true;
    }
    if (brought)
        wf_wakeable_release(target);
    if (rc == -EAGAIN) {
        wf_coop_restore();
        f->words[GATHER_FLAGS] &= ~(uintptr_t)GATHER_PAID;
        return WEFT_PENDING;
    }
    f->result = rc;
    return WEFT_READY;
}

weft_poll wf_gather_poll_next(weft_future *f, weft_context *cx, void *done)
{
    f->words[GATHER_DONE] = (uintptr_t)done;
    return gather_poll(f, cx);
}

weft_poll wf_gather_poll_shutdown(weft_future *f, weft_context *cx)
{
    if (!(f->words[GATHER_FLAGS] & GATHER_STOPPED))
        (void)wf_group_cancel(&wf_gather_of_future(f)->group, NULL, NULL);
    f->words[GATHER_FLAGS] |= GATHER_STOPPED;
    while (gather_poll(f, cx) == WEFT_READY)
        if (f->result <= 0)
            return WEFT_READY;
    return WEFT_PENDING;
}

void wf_gather_drop(weft_future *f)
{
    struct wf_gather *gt = wf_gather_of_future(f);
    struct wf_sweep s = {0};

    if (!(f->words[GATHER_FLAGS] & GATHER_HOLDS)) /* it was never pending, or is over */
        return;
    wf_lock(&gt->group.lock);
    future_leave_locked(f, true, &s);
    wf_unlock(&gt->group.lock);
    wf_sweep(gt, &s);
}

static const weft_future_type gather_type = {gather_poll, wf_gather_drop, "next of a set"};

weft_future wf_gather_future(const weft_future_type *type, struct wf_gather *gt)
{
    weft_future f = {.type = type};

    f.words[GATHER_SELF] = (uintptr_t)gt;
    f.words[GATHER_FLAGS] = GATHER_GOES_ON;
    return f;
}

static weft_future gather_future(struct wf_gather *gt, void *done, unsigned flags)
{
    weft_future f = {.type = &gather_type};

    f.words[GATHER_SELF] = (uintptr_t)gt;
    f.words[GATHER_DONE] = (uintptr_t)done;
    f.words[GATHER_FLAGS] = flags;
    return f;
}

weft_future wf_gather_next_future(struct wf_gather *gt, void *done)
{
    return gather_future(gt, done, 0);
}

int wf_gather_next(struct wf_gather *gt, void *done, const char *call)
{
    weft_future future;
    struct wf_fiber *f;
    int rc = wf_await_enter(&f, call);

    if (wf_unlikely(rc < 0))
        return rc;
    future = gather_future(gt, done, GATHER_PAID);
    return (int)wf_await_future(f, &future);
}

uint64_t wf_gather_shown(const struct wf_gather *gt)
{
    struct wf_gather *g = wf_unconst(gt);
    uint64_t shown;

    wf_lock(&g->group.lock);
    shown = gather_shown_locked(g);
    wf_unlock(&g->group.lock);
    return shown;
}

/* --- giving up --- */

void wf_gather_hide_locked(struct wf_gather *gt, struct wf_child *c)
{
    wf_debug_assert(!c->hidden);
    c->hidden = true;
    gt->hidden++;
    if (gt->kind->dropped)
        gt->kind->dropped(gt, c);
}

void wf_gather_trim_locked(struct wf_gather *gt, struct wf_sweep *s)
{
    struct wf_child *before = gt->ready, **at = &gt->ready, *c;

    if (wf_likely(gt->hidden < gt->trim_at))
        return;
    wf_debug_assert(!gt->ordered);
    /* The arrivals so far, behind those that are ready. */
    gt->ready = NULL;
    gather_drain_locked(gt);
    c = gt->ready;
    gt->ready = before;
    while (*at)
        at = &(*at)->next;
    *at = c;
    for (at = &gt->ready; (c = *at);) {
        if (!c->hidden) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        gather_remove_locked(gt, c, s);
        sweep_garbage(s, c);
    }
    /* Twice as many before the next time. */
    gt->trim_at = 2 * gt->hidden + WF_GATHER_BATCH;
}

/* Leave it to itself, or, when it ends at this moment, to who takes it. */
static void gather_detach_locked(struct wf_gather *gt, struct wf_child *c, struct wf_sweep *s)
{
    if (c->hidden)
        return;
    /* It may end, and the record with it. */
    wf_task_retain(c->on_end.task);
    if (wf_on_end_detach(&c->on_end)) {
        gather_remove_locked(gt, c, s);
        if (gt->kind->dropped)
            gt->kind->dropped(gt, c);
        sweep_garbage(s, c);
        /* J3 */
        if (gather_shown_locked(gt) == 0)
            gather_alert_locked(gt, s);
    } else {
        /* The end has kept its own reference, and tells who waits. */
        wf_task_release(c->on_end.task);
        wf_gather_hide_locked(gt, c);
    }
}

void wf_gather_detach_all(struct wf_gather *gt)
{
    struct wf_walk walk;
    bool over = false, more = true;

    wf_lock(&gt->group.lock);
    wf_walk_begin_locked(&gt->group, &walk);
    while (!over) {
        struct wf_sweep s = {0};

        for (unsigned n = 0; n < WF_GATHER_BATCH && !s.wake; n++) {
            struct wf_child *c = wf_walk_next_locked(&gt->group, &walk);

            if (!c)
                break;
            gather_detach_locked(gt, c, &s);
        }
        over = walk.over;
        if (over)
            wf_walk_end_locked(&gt->group, &walk);
        wf_unlock(&gt->group.lock);
        wf_sweep(gt, &s);
        if (!over)
            wf_lock(&gt->group.lock);
    }
    /* Those that had ended; others are shown again, so that nothing but the hidden is taken. */
    while (more) {
        struct wf_sweep s = {0};

        wf_lock(&gt->group.lock);
        more = false;
        if (gather_shown_locked(gt) == 0 && gt->hidden)
            (void)gather_reap_locked(gt, &s, &more);
        wf_unlock(&gt->group.lock);
        wf_sweep(gt, &s);
    }
}

/* Called in a task of the group itself? It would wait for its own end. */
static bool gather_is_child(const struct wf_gather *gt, const struct weft_task *t)
{
    /* relaxed: the task itself, which runs */
    return (wf_load_u64(&t->state, WF_RELAXED) & WF_TASK_ON_END) &&
           t->on_end->ended == gt->group.kind->ended && wf_child_of(t->on_end)->group == &gt->group;
}

static void gather_close(struct wf_gather *gt)
{
    struct wf_sweep s = {0};

    wf_lock(&gt->group.lock);
    gt->group.closed = true;
    gather_alert_locked(gt, &s);
    wf_unlock(&gt->group.lock);
    if (s.wake)
        (void)wf_misuse(-ESHUTDOWN, "%s is freed while somebody waits for its next task",
                        gt->kind->noun);
    wf_sweep(gt, &s);
}

/* Who cannot wait: nothing points to the group when this returns, but for the watch, which counts. */
static void gather_abandon(struct wf_gather *gt)
{
    bool empty, more;

    (void)wf_group_cancel(&gt->group, NULL, NULL);
    wf_gather_detach_all(gt);
    do {
        struct wf_sweep s = {0};

        wf_lock(&gt->group.lock);
        (void)gather_reap_locked(gt, &s, &more);
        empty = gt->group.count == 0;
        wf_unlock(&gt->group.lock);
        wf_sweep(gt, &s);
        /* What is left has ended, and its record is between two instructions of who ended it. */
        if (!empty && !more)
            wf_sys_thread_yield();
    } while (!empty);
}

/* Nothing is cancelled yet. True: all have ended within the time. */
static bool gather_wait_grace(struct wf_gather *gt, struct wf_fiber *f, uint64_t grace)
{
    weft_future all = gather_future(gt, NULL, GATHER_DRAIN);

    if (grace == 0)
        return false;
    return (f ? weft_timeout(grace, &all) : wf_thread_await(&all, grace)) == 0;
}

int wf_gather_free(struct wf_gather *gt, uint64_t grace)
{
    struct wf_thread *th = wf_thread_self();
    struct wf_fiber *f = th ? th->fiber : NULL;
    bool in_child = f && gather_is_child(gt, f->task), may_wait = !th || (f && !in_child);
    weft_future all = gather_future(gt, NULL, GATHER_DRAIN);
    weft_shield shield;
    ssize_t rc = 0;

    gather_close(gt);
    wf_group_dismiss_watch(&gt->group);
    if (!may_wait) {
        if (in_child)
            (void)wf_misuse(-EDEADLK, "%s is freed by one of its own tasks", gt->kind->noun);
        gather_abandon(gt);
        gather_put(gt);
        return grace ? -ETIMEDOUT : 0;
    }
    if (f)
        weft_shield_enter(&shield);
    if (!gather_wait_grace(gt, f, grace)) {
        rc = wf_group_cancel(&gt->group, NULL, NULL) && grace ? -ETIMEDOUT : 0;
        (void)(f ? weft_await(&all) : wf_thread_await(&all, WEFT_FOREVER));
    }
    if (f)
        weft_shield_leave(&shield);
    gather_put(gt);
    return (int)rc;
}

/* --- the deadline --- */

static void gather_expired(struct wf_group *g)
{
    wf_lock(&g->lock);
    wf_gather_of(g)->expired = true;
    g->cancelled = true;
    wf_unlock(&g->lock);
    (void)wf_group_cancel(g, NULL, NULL);
}

static void gather_watched(struct wf_group *g)
{
    /* relaxed: the caller has one */
    (void)wf_add_u32(&wf_gather_of(g)->refs, 1, WF_RELAXED);
}

static void gather_unwatched(struct wf_group *g)
{
    struct wf_gather *gt = wf_gather_of(g);
    struct wf_sweep s = {.put = true};

    wf_lock(&g->lock);
    g->watch = NULL;
    if (g->closed)
        gather_alert_locked(gt, &s);
    wf_unlock(&g->lock);
    wf_sweep(gt, &s);
}

static const struct wf_group_kind gather_unordered = {gather_push, gather_expired, gather_watched,
                                                      gather_unwatched};
static const struct wf_group_kind gather_ordered = {gather_mark, gather_expired, gather_watched,
                                                    gather_unwatched};

void wf_gather_init(struct wf_gather *gt, const struct wf_gather_kind *kind, bool ordered)
{
    *gt = (struct wf_gather){
        .kind = kind, .ordered = ordered, .refs = {1}, .trim_at = WF_GATHER_BATCH};
    wf_group_init(&gt->group, ordered ? &gather_ordered : &gather_unordered);
}

int wf_gather_set_deadline(struct wf_gather *gt, uint64_t at)
{
    return wf_group_set_time(&gt->group, at);
}
