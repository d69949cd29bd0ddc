/* SPDX-License-Identifier: MIT */
/*
 * pool.c - the blocking pool: threads that run functions which block.
 *
 * IDEA     A push calls one idle thread, and no second before that one has taken a task: it calls the next
 *          itself if there is more to do. So short tasks in a row are done by few threads, and each long
 *          one has its own soon.
 * INVARIANTS
 *     K1   While a task is queued, a thread is coming, or none is idle and no more are allowed. Who leaves is
 *          not counted in threads from the moment it decides to; one that could not be made counts no more, either.
 *     K2   If the queue has an end, queued + reserved <= max_blocking_queue: each task has a place before it is made,
 *          and its push turns that into itself.
 *     K3   While there is room, nobody waits for it: who makes room gives it to the first in line, who has it from then
 *          on, awake or not.
 * OWNS     A task in the queue is there with a reference, and is run or ended by who claims it: a thread of the pool,
 *          or who cancels it. What is left in the queue then is skipped.
 * WHO      Any thread.
 * LOCKS    WF_RANK_POOL; threads are made and joined outside of it, and wakers called.
 * ORDER    A thread is told by its own word, written under the lock (release), read without (acquire).
 * TESTS    tests/api/test_blocking.c, tests/stress/test_blocking.c, tests/fault/test_blocking.c,
 *          tests/model/test_pool.c
 */
#include "sched/pool.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "sched/clock.h"
#include "sched/life.h"
#include "task/locals.h"
#include "task/waker.h"

#include <errno.h>
#include <weft/time.h>

struct wf_pool_thread {
    weft_runtime *rt;
    pthread_t handle;
    struct wf_list link;         /* under the lock: all that run */
    struct wf_pool_thread *next; /* under the lock: idle, or ended */
    struct wf_atomic_u32 called; /* futex */
    bool coming; /* under the lock: it was called or made, and has taken nothing yet */
};

void wf_pool_init(struct weft_runtime *rt)
{
    wf_lock_init(&rt->pool.lock, WF_RANK_POOL);
    wf_list_init(&rt->pool.room);
    wf_list_init(&rt->pool.all);
}

/* --- tasks --- */

/* By who has claimed it. The runtime may be gone afterwards unless the caller keeps it. */
static void pool_end_task(struct weft_runtime *rt, struct weft_task *t, int result)
{
    if (t->extra && t->extra->locals)
        wf_locals_free(t);
    t->result = result;
    wf_task_end(t);
    /* release: pairs with wf_runtime_alive and clock_is_held; all that the task was is over */
    wf_add_u64(&rt->pool.finished, 1, WF_RELEASE);
    wf_clock_job_ended(rt);
    wf_compiler_fence();
    /* relaxed: as in worker_finish */
    if (wf_load_u32(&rt->phase, WF_RELAXED) != WF_PHASE_OPEN)
        wf_runtime_task_ended(rt);
}

static void pool_run_task(struct weft_runtime *rt, struct weft_task *t)
{
    weft_fn *fn = t->fn;
    void *arg = t->arg;
    uint64_t from = wf_ticks(), spent;

    if (!wf_task_state_claim(t))
        return;
    /* relaxed: statistics with one writer; see the union for poll_time */
    wf_store_u64(&t->poll_time, 0, WF_RELAXED);
    if (wf_task_is_cancelled(t)) {
        pool_end_task(rt, t, -ECANCELED);
        return;
    }
    wf_store_u64(&t->delay, from - wf_load_u64(&t->ready_at, WF_RELAXED), WF_RELAXED);
    t->result = fn(arg);
    if (wf_unlikely(!wf_thread_owner()))
        wf_forked_child_returned();
    spent = wf_ticks() - from;
    wf_store_u64(&t->poll_time, spent, WF_RELAXED);
    wf_count_u64(&t->polls, 1);
    pool_end_task(rt, t, t->result);
}

/* --- the queue, and room in it --- */

/* Under the lock: a number that others read without it. */
static void pool_count(struct wf_atomic_u32 *n, int by)
{
    /* relaxed: one writer at a time */
    wf_store_u32(n, wf_load_u32(n, WF_RELAXED) + (uint32_t)by, WF_RELAXED);
}

enum { ROOM_RUNTIME, ROOM_TARGET, ROOM_STATE, ROOM_LINK };

enum { ROOM_NONE, ROOM_WAITS, ROOM_GIVEN };

static weft_runtime *room_runtime(const weft_future *f)
{
    return (weft_runtime *)f->words[ROOM_RUNTIME]; /* NOLINT(performance-no-int-to-ptr) */
}

static struct wf_list *room_link(weft_future *f)
{
    return (struct wf_list *)(void *)&f->words[ROOM_LINK];
}

_Static_assert(sizeof(((weft_future *)0)->words) >=
                   ROOM_LINK * sizeof(uintptr_t) + sizeof(struct wf_list),
               "a waiter for room must fit");

/* Under the lock. */
static bool pool_reserve(struct weft_runtime *rt)
{
    unsigned most = rt->set.config.max_blocking_queue;
    struct wf_pool *p = &rt->pool;

    if (wf_load_u32(&p->queued, WF_RELAXED) + p->reserved >= most)
        return false;
    p->reserved++;
    return true;
}

/* Under the lock: what room there is goes to the first in line (K3), who is to be told. The reference goes along. */
static weft_wakeable *pool_give_room(struct weft_runtime *rt)
{
    struct wf_list *node = NULL;
    uintptr_t *words;

    if (!wf_list_empty(&rt->pool.room) && pool_reserve(rt))
        node = wf_list_pop_front(&rt->pool.room);
    if (!node)
        return NULL;
    words = (uintptr_t *)(void *)node - ROOM_LINK;
    words[ROOM_STATE] = ROOM_GIVEN;
    return (weft_wakeable *)words[ROOM_TARGET]; /* NOLINT(performance-no-int-to-ptr) */
}

static void pool_tell_waiter(weft_wakeable *target)
{
    if (!target)
        return;
    target->type->wake(target);
    wf_wakeable_release(target);
}

static weft_poll room_poll(weft_future *f, weft_context *cx)
{
    weft_runtime *rt = room_runtime(f);
    weft_wakeable *target = wf_wakeable_retain(cx->waker_.target_);
    weft_poll poll = WEFT_READY;

    wf_lock(&rt->pool.lock);
    if (f->words[ROOM_STATE] == ROOM_WAITS) {
        weft_wakeable *before = (weft_wakeable *)f->words[ROOM_TARGET]; /* NOLINT */

        f->words[ROOM_TARGET] = (uintptr_t)target;
        target = before;
        poll = WEFT_PENDING;
    } else if (f->words[ROOM_STATE] == ROOM_NONE && !pool_reserve(rt)) {
        f->words[ROOM_STATE] = ROOM_WAITS;
        f->words[ROOM_TARGET] = (uintptr_t)target;
        wf_list_push_back(&rt->pool.room, room_link(f));
        target = NULL;
        poll = WEFT_PENDING;
    }
    wf_unlock(&rt->pool.lock);
    if (target)
        wf_wakeable_release(target);
    return poll;
}

static void room_drop(weft_future *f)
{
    weft_runtime *rt = room_runtime(f);
    bool waits;

    wf_lock(&rt->pool.lock);
    waits = f->words[ROOM_STATE] == ROOM_WAITS;
    if (waits)
        wf_list_remove(room_link(f));
    wf_unlock(&rt->pool.lock);
    if (waits)
        wf_wakeable_release((weft_wakeable *)f->words[ROOM_TARGET]); /* NOLINT */
    else
        wf_pool_unreserve(rt);
}

static const weft_future_type room_type = {room_poll, room_drop, "room in the blocking queue"};

weft_future wf_pool_reserve_future(struct weft_runtime *rt)
{
    return (weft_future){.type = &room_type, .words = {(uintptr_t)rt}};
}

bool wf_pool_try_reserve(struct weft_runtime *rt)
{
    bool room;

    if (rt->set.config.max_blocking_queue == 0)
        return true;
    wf_lock(&rt->pool.lock);
    room = pool_reserve(rt);
    wf_unlock(&rt->pool.lock);
    return room;
}

void wf_pool_unreserve(struct weft_runtime *rt)
{
    weft_wakeable *waiter;

    if (rt->set.config.max_blocking_queue == 0)
        return;
    wf_lock(&rt->pool.lock);
    rt->pool.reserved--;
    waiter = pool_give_room(rt);
    wf_unlock(&rt->pool.lock);
    pool_tell_waiter(waiter);
}

/* Under the lock. */
static void pool_push(struct weft_runtime *rt, struct weft_task *t)
{
    struct wf_pool *p = &rt->pool;

    t->next = NULL;
    if (p->last)
        p->last->next = t;
    else
        p->first = t;
    p->last = t;
    wf_count_u64(&p->spawned, 1);
    pool_count(&p->queued, 1);
    if (rt->set.config.max_blocking_queue) {
        wf_assert(p->reserved > 0);
        p->reserved--;
    }
}

/* The oldest task, with its reference; NULL: there is none. */
static struct weft_task *pool_pop(struct weft_runtime *rt, weft_wakeable **waiter)
{
    struct wf_pool *p = &rt->pool;
    struct weft_task *t = p->first;

    *waiter = NULL;
    if (!t)
        return NULL;
    p->first = t->next;
    if (!p->first)
        p->last = NULL;
    pool_count(&p->queued, -1);
    *waiter = pool_give_room(rt);
    return t;
}

/* --- threads --- */

/* Under the lock, by a thread that found nothing: it is idle from here on. */
static void pool_add_idle(struct wf_pool *p, struct wf_pool_thread *pt)
{
    /* relaxed: under the lock, and nobody can call it yet */
    wf_store_u32(&pt->called, 0, WF_RELAXED);
    pt->next = p->idle;
    p->idle = pt;
    pool_count(&p->sleeping, 1);
}

/* Under the lock, with the decision to go: who pushes from here on does not count on it. */
static void pool_leave(struct wf_pool *p)
{
    pool_count(&p->threads, -1);
}

/* Under the lock. False: it was called meanwhile. */
static bool pool_take_idle(struct wf_pool *p, struct wf_pool_thread *pt)
{
    struct wf_pool_thread **at = &p->idle;

    while (*at && *at != pt)
        at = &(*at)->next;
    if (!*at)
        return false;
    *at = pt->next;
    pool_count(&p->sleeping, -1);
    return true;
}

/* False: nobody has called for so long, or the runtime has stopped. */
static bool pool_wait(struct wf_pool_thread *pt)
{
    struct wf_pool *p = &pt->rt->pool;
    uint64_t until = weft_instant_add(wf_clock_now(), pt->rt->set.config.thread_keep_alive);
    bool alone;

    /* acquire: pairs with pool_call */
    while (!wf_load_u32(&pt->called, WF_ACQUIRE)) {
        uint64_t now = wf_clock_now();

        if (now < until) {
            wf_sys_futex_wait(&pt->called, 0, until - now);
            continue;
        }
        wf_lock(&p->lock);
        alone = pool_take_idle(p, pt);
        if (alone)
            pool_leave(p);
        wf_unlock(&p->lock);
        if (alone)
            return false;
    }
    return true;
}

/* Under the lock: an idle thread is called. NULL: there is none. The caller wakes it, outside. */
static struct wf_pool_thread *pool_call(struct wf_pool *p)
{
    struct wf_pool_thread *pt = p->idle;

    if (!pt)
        return NULL;
    p->idle = pt->next;
    pool_count(&p->sleeping, -1);
    p->coming = pt->coming = true;
    /* release: pairs with pool_wait */
    wf_store_u32(&pt->called, 1, WF_RELEASE);
    return pt;
}

/* What the queue needs: an idle thread to be woken, or a new one, which is counted. */
struct pool_need {
    struct wf_pool_thread *wake;
    bool make;
};

/* Under the lock. */
static struct pool_need pool_needs(struct weft_runtime *rt)
{
    struct wf_pool *p = &rt->pool;
    struct pool_need need = {0};
    uint32_t threads = wf_load_u32(&p->threads, WF_RELAXED);

    if (!p->first || p->coming || p->stopped)
        return need;
    need.wake = pool_call(p);
    if (!need.wake && threads < rt->set.config.max_blocking_threads) {
        pool_count(&p->threads, 1);
        pool_count(&p->alive, 1);
        p->coming = need.make = true;
    }
    return need;
}

static void pool_meet(struct weft_runtime *rt, const struct pool_need *need);

/* A task to run; NULL: this thread is to go. */
static struct weft_task *pool_next(struct wf_pool_thread *pt)
{
    struct wf_pool *p = &pt->rt->pool;

    for (;;) {
        struct pool_need need;
        weft_wakeable *waiter;
        struct weft_task *t;
        bool stopped;

        wf_lock(&p->lock);
        t = pool_pop(pt->rt, &waiter);
        if (pt->coming)
            p->coming = pt->coming = false;
        need = pool_needs(pt->rt);
        stopped = p->stopped;
        if (!t && stopped)
            pool_leave(p);
        else if (!t)
            pool_add_idle(p, pt);
        wf_unlock(&p->lock);
        pool_meet(pt->rt, &need);
        pool_tell_waiter(waiter);
        if (t || stopped || !pool_wait(pt))
            return t;
    }
}

static void *pool_thread(void *arg)
{
    struct wf_pool_thread *pt = arg;
    weft_runtime *rt = pt->rt;
    struct wf_pool *p = &rt->pool;
    struct weft_task *t;
    bool detached;

    wf_thread_begin(rt, "weft-blocking");
    (void)wf_thread_lend(&rt->sched);
    wf_lock(&p->lock);
    pt->handle = pthread_self();
    wf_list_push_back(&p->all, &pt->link);
    if (p->detached)
        (void)pthread_detach(pt->handle);
    wf_unlock(&p->lock);
    while ((t = pool_next(pt))) {
        pool_run_task(rt, t);
        wf_task_release(t);
    }
    wf_thread_end(rt);
    wf_lock(&p->lock);
    detached = p->detached;
    wf_list_remove(&pt->link);
    if (!detached) {
        pt->next = p->ended;
        p->ended = pt;
    }
    pool_count(&p->alive, -1);
    wf_unlock(&p->lock);
    wf_sys_futex_wake(&p->alive, INT32_MAX);
    if (detached)
        wf_sys_free(pt);
    wf_runtime_put(rt);
    return NULL;
}

/* Join those that have ended. */
static void pool_reap(struct weft_runtime *rt)
{
    struct wf_pool_thread *pt, *next;

    wf_lock(&rt->pool.lock);
    pt = rt->pool.ended;
    rt->pool.ended = NULL;
    wf_unlock(&rt->pool.lock);
    for (; pt; pt = next) {
        next = pt->next;
        (void)pthread_join(pt->handle, NULL);
        wf_sys_free(pt);
    }
}

/* One more, which was counted already. */
static int pool_start_thread(struct weft_runtime *rt)
{
    struct wf_pool_thread *pt = wf_sys_calloc(1, sizeof(*pt));
    pthread_t handle;
    int rc;

    if (!pt)
        return -ENOMEM;
    pt->rt = rt;
    pt->coming = true;
    rc = wf_thread_start(rt, &handle, pool_thread, pt);
    if (rc < 0)
        wf_sys_free(pt);
    return rc;
}

/* No thread could be made. One that has fallen idle meanwhile was told nothing, and is called. If there is none at
 * all, nobody will come for the queue: what waits there ends. */
WF_COLD static void pool_refuse(struct weft_runtime *rt, int rc)
{
    struct wf_pool *p = &rt->pool;
    struct wf_pool_thread *wake;
    struct weft_task *t;
    bool none;

    wf_lock(&p->lock);
    p->coming = false;
    pool_leave(p);
    pool_count(&p->alive, -1);
    none = wf_load_u32(&p->threads, WF_RELAXED) == 0;
    wake = p->first && !p->stopped ? pool_call(p) : NULL;
    wf_unlock(&p->lock);
    wf_sys_futex_wake(&p->alive, INT32_MAX);
    if (wake)
        wf_sys_futex_wake(&wake->called, 1);
    if (!none)
        return;
    wf_log("weft_spawn_blocking: no thread can be made (%s): see ulimit -u and ulimit -v",
           weft_strerror(rc));
    do {
        weft_wakeable *waiter = NULL;

        wf_lock(&p->lock);
        /* Unless somebody else has made one since. */
        t = wf_load_u32(&p->threads, WF_RELAXED) == 0 ? pool_pop(rt, &waiter) : NULL;
        wf_unlock(&p->lock);
        if (t)
            pool_tell_waiter(waiter);
        if (t && wf_task_state_claim(t))
            pool_end_task(rt, t, rc);
        if (t)
            wf_task_release(t);
    } while (t);
}

static void pool_meet(struct weft_runtime *rt, const struct pool_need *need)
{
    int rc;

    if (need->wake)
        /* It may have gone since: then nobody waits at that address, or somebody looks in vain. */
        wf_sys_futex_wake(&need->wake->called, 1);
    if (!need->make)
        return;
    pool_reap(rt);
    rc = pool_start_thread(rt);
    if (rc < 0)
        pool_refuse(rt, rc);
}

static void pool_count_spawned(weft_runtime *rt)
{
    wf_lock(&rt->pool.lock);
    wf_count_u64(&rt->pool.spawned, 1);
    wf_unlock(&rt->pool.lock);
}

void wf_pool_spawned(struct wf_scheduler *s, struct wf_thread *th, struct weft_task *t)
{
    weft_runtime *rt = wf_runtime_of(s);
    struct wf_pool *p = &rt->pool;
    struct pool_need need;

    (void)th;
    if (wf_task_is_cancelled(t)) {
        /* Born so, into a runtime that closes: no thread need come for it, and none may. */
        wf_pool_unreserve(rt);
        pool_count_spawned(rt);
        if (wf_task_state_claim(t))
            wf_pool_cancelled(s, t);
        wf_task_release(t);
        return;
    }
    /* The task may be over before this call is. */
    wf_add_u32(&rt->users, 1, WF_RELAXED);
    wf_lock(&p->lock);
    pool_push(rt, t);
    need = pool_needs(rt);
    wf_unlock(&p->lock);
    pool_meet(rt, &need);
    wf_runtime_put(rt);
}

void wf_pool_cancelled(struct wf_scheduler *s, struct weft_task *t)
{
    weft_runtime *rt = wf_runtime_of(s);

    /* The task is the caller's, and keeps the runtime until it has ended. relaxed: it is there now. */
    wf_add_u32(&rt->users, 1, WF_RELAXED);
    pool_end_task(rt, t, -ECANCELED);
    wf_runtime_put(rt);
}

void wf_pool_stop(struct weft_runtime *rt)
{
    struct wf_pool *p = &rt->pool;
    struct wf_pool_thread *pt;

    wf_lock(&p->lock);
    p->stopped = true;
    while ((pt = pool_call(p)))
        wf_sys_futex_wake(&pt->called, INT32_MAX);
    wf_unlock(&p->lock);
}

void wf_pool_detach(struct weft_runtime *rt)
{
    struct wf_pool *p = &rt->pool;

    wf_lock(&p->lock);
    if (!p->detached)
        WF_LIST_FOREACH(node, &p->all)
            (void)pthread_detach(wf_container_of(node, struct wf_pool_thread, link)->handle);
    p->detached = true;
    wf_unlock(&p->lock);
    pool_reap(rt);
}

bool wf_pool_join(struct weft_runtime *rt, uint64_t until_ns)
{
    struct wf_pool *p = &rt->pool;
    uint32_t alive;

    /* relaxed: the threads are joined */
    while ((alive = wf_load_u32(&p->alive, WF_RELAXED))) {
        uint64_t now = wf_clock_now();

        if (now >= until_ns) {
            wf_pool_detach(rt);
            return false;
        }
        wf_sys_futex_wait(&p->alive, alive,
                          until_ns == WEFT_FOREVER ? WF_NO_TIMEOUT : until_ns - now);
    }
    pool_reap(rt);
    return true;
}
