/* SPDX-License-Identifier: MIT */
/*
 * blocking.c - calls that block: in place, or on the blocking pool.
 *
 * IDEA     weft_blocking calls on the worker's own thread, whose work others do if it lasts (monitor.c): most such
 *          calls are short, and a hand-over to another thread costs 25 us. The pool is for what
 *          is to run beside the caller, and for runtimes without a monitor.
 *          A push calls one idle thread, and no second before that one has taken a task: it calls the next
 *          itself if there is more to do. So short tasks in a row are done by few threads, and each long
 *          one has its own soon.
 * INVARIANTS
 *     K1   While a task is queued, a thread is coming, or none is idle and no more are allowed. Who leaves is
 *          not counted in threads from the moment it decides to; one that could not be made counts no more, either.
 * OWNS     A task in the queue is there with a reference, and is run or ended by who claims it: a thread of the pool,
 *          or who cancels it. What is left in the queue then is skipped.
 * WHO      Any thread.
 * LOCKS    WF_RANK_POOL; threads are made and joined outside of it, and wakers called.
 * ORDER    A thread is told by its own word, written under the lock (release), read without (acquire).
 * TESTS    tests/api/test_blocking.c, test_in_place.c, tests/stress/test_blocking.c, tests/fault/test_blocking.c
 */
#include "sched/blocking.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "sched/clock.h"
#include "sched/life.h"
#include "sched/relieve.h"
#include "task/await.h"
#include "task/locals.h"
#include "task/waker.h"

#include <errno.h>
#include <unistd.h>
#include <weft/blocking.h>
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
    if (wf_unlikely(!wf_thread_owner())) {
        wf_log("a forked child returned from its task: a child may only exec or _exit");
        _exit(1);
    }
    spent = wf_ticks() - from;
    wf_store_u64(&t->poll_time, spent, WF_RELAXED);
    wf_count_u64(&t->polls, 1);
    pool_end_task(rt, t, t->result);
}

/* --- the queue, and room in it --- */

enum { ROOM_RUNTIME, ROOM_TARGET, ROOM_LINK };

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
static bool pool_has_room(const struct weft_runtime *rt)
{
    unsigned most = rt->set.config.max_blocking_queue;

    return most == 0 || wf_load_u32(&rt->pool.queued, WF_RELAXED) < most;
}

static weft_poll room_poll(weft_future *f, weft_context *cx)
{
    weft_runtime *rt = room_runtime(f);
    weft_wakeable *target = (weft_wakeable *)f->words[ROOM_TARGET]; /* NOLINT */
    weft_poll poll = WEFT_READY;

    wf_lock(&rt->pool.lock);
    if (wf_list_linked(room_link(f)))
        wf_list_remove(room_link(f));
    else
        target = NULL;
    f->words[ROOM_TARGET] = 0;
    if (!pool_has_room(rt) && !rt->pool.stopped) {
        f->words[ROOM_TARGET] = (uintptr_t)wf_wakeable_retain(cx->waker_.target_);
        wf_list_push_back(&rt->pool.room, room_link(f));
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
    bool linked;

    wf_lock(&rt->pool.lock);
    linked = wf_list_linked(room_link(f));
    if (linked)
        wf_list_remove(room_link(f));
    wf_unlock(&rt->pool.lock);
    if (linked)
        wf_wakeable_release((weft_wakeable *)f->words[ROOM_TARGET]); /* NOLINT */
}

static const weft_future_type room_type = {room_poll, room_drop, "room in the blocking queue"};

static weft_future room_future(weft_runtime *rt)
{
    return (weft_future){.type = &room_type, .words = {(uintptr_t)rt}};
}

/* Under the lock: who is to be told that there is room. The reference goes along. */
static weft_wakeable *pool_next_waiter(struct weft_runtime *rt)
{
    struct wf_list *node = pool_has_room(rt) ? wf_list_pop_front(&rt->pool.room) : NULL;

    if (!node)
        return NULL;
    /* Its link is behind its target. */
    return (weft_wakeable *)((uintptr_t *)(void *)node)[ROOM_TARGET - ROOM_LINK]; /* NOLINT */
}

static void pool_tell_waiter(weft_wakeable *target)
{
    if (!target)
        return;
    target->type->wake(target);
    wf_wakeable_release(target);
}

/* Whoever was told of room did not use it: the next one may. */
void wf_blocking_unreserve(weft_runtime *rt)
{
    weft_wakeable *waiter;

    wf_lock(&rt->pool.lock);
    waiter = pool_next_waiter(rt);
    wf_unlock(&rt->pool.lock);
    pool_tell_waiter(waiter);
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
    wf_store_u32(&p->queued, wf_load_u32(&p->queued, WF_RELAXED) - 1, WF_RELAXED);
    *waiter = pool_next_waiter(rt);
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
    wf_store_u32(&p->sleeping, wf_load_u32(&p->sleeping, WF_RELAXED) + 1, WF_RELAXED);
}

/* Under the lock, with the decision to go: who pushes from here on does not count on it. */
static void pool_leave(struct wf_pool *p)
{
    wf_store_u32(&p->threads, wf_load_u32(&p->threads, WF_RELAXED) - 1, WF_RELAXED);
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
    wf_store_u32(&p->sleeping, wf_load_u32(&p->sleeping, WF_RELAXED) - 1, WF_RELAXED);
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
    wf_store_u32(&p->sleeping, wf_load_u32(&p->sleeping, WF_RELAXED) - 1, WF_RELAXED);
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
        wf_store_u32(&p->threads, threads + 1, WF_RELAXED);
        wf_store_u32(&p->alive, wf_load_u32(&p->alive, WF_RELAXED) + 1, WF_RELAXED);
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
    wf_store_u32(&p->alive, wf_load_u32(&p->alive, WF_RELAXED) - 1, WF_RELAXED);
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
    wf_store_u32(&p->alive, wf_load_u32(&p->alive, WF_RELAXED) - 1, WF_RELAXED);
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
        pool_count_spawned(rt);
        if (wf_task_state_claim(t))
            wf_pool_cancelled(s, t);
        wf_task_release(t);
        return;
    }
    /* The task may be over before this call is. */
    wf_add_u32(&rt->users, 1, WF_RELAXED);
    wf_lock(&p->lock);
    wf_count_u64(&p->spawned, 1);
    t->next = NULL;
    if (p->last)
        p->last->next = t;
    else
        p->first = t;
    p->last = t;
    wf_store_u32(&p->queued, wf_load_u32(&p->queued, WF_RELAXED) + 1, WF_RELAXED);
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

/* --- the calls --- */

/* The queue is full: a fiber waits. */
int wf_blocking_reserve(weft_runtime *rt, const char *call)
{
    weft_future room = room_future(rt);
    bool full;

    if (rt->set.config.max_blocking_queue == 0)
        return 0;
    wf_lock(&rt->pool.lock);
    full = !pool_has_room(rt);
    wf_unlock(&rt->pool.lock);
    if (!full)
        return 0;
    if (!wf_fiber_self()) {
        wf_log("%s: the queue of the blocking pool is full", call);
        return -EAGAIN;
    }
    return (int)weft_await(&room);
}

/* 0 and *out, or why not. */
static int blocking_spawn(const char *call, const weft_task_options *options, weft_fn *fn,
                          void *arg, struct weft_task **out)
{
    struct wf_spawn p = {.options = options, .fn = fn, .arg = arg};
    struct wf_thread *th = wf_thread_self();
    struct weft_task *t;
    int rc;

    if (!fn)
        return wf_misuse(-EINVAL, "%s: fn is NULL", call);
    if (!th) {
        wf_log("%s: called outside a task; plain threads use weft_spawn_blocking_on", call);
        return -EPERM;
    }
    rc = wf_blocking_reserve(wf_runtime_of(th->sched), call);
    if (rc < 0)
        return rc;
    th = wf_thread_self();
    t = wf_task_new_blocking(th, th->sched, &p);
    if (!t) {
        wf_log("%s: no memory for a task", call);
        wf_blocking_unreserve(wf_runtime_of(th->sched));
        return -ENOMEM;
    }
    wf_task_publish(th, t, 1);
    *out = t;
    return 0;
}

weft_task *weft_spawn_blocking_at(const char *site, weft_fn *fn, void *arg)
{
    weft_task_options o = {.site = site};
    weft_task *t = NULL;

    (void)blocking_spawn("weft_spawn_blocking", &o, fn, arg, &t);
    return t;
}

weft_task *weft_spawn_blocking_with_at(const char *site, const weft_task_options *options,
                                       weft_fn *fn, void *arg)
{
    weft_task_options o = wf_spawn_sited(site, options);
    weft_task *t = NULL;

    (void)blocking_spawn("weft_spawn_blocking_with", &o, fn, arg, &t);
    return t;
}

int weft_spawn_blocking_on_at(const char *site, weft_runtime *rt, weft_task **t,
                              const weft_task_options *options, weft_fn *fn, void *arg)
{
    weft_task_options o = wf_spawn_sited(site, options);
    struct wf_spawn p = {.options = &o, .fn = fn, .arg = arg};
    struct wf_thread *th = wf_thread_self();
    struct weft_task *new;
    bool room;
    int rc = wf_runtime_check_outside(rt, "weft_spawn_blocking_on");

    if (rc < 0)
        return rc;
    if (!fn)
        return wf_misuse(-EINVAL, "weft_spawn_blocking_on: fn is NULL");
    wf_lock(&rt->pool.lock);
    room = pool_has_room(rt);
    wf_unlock(&rt->pool.lock);
    if (!room)
        return -EAGAIN;
    rc = wf_runtime_spawn_begin(rt);
    if (rc < 0)
        return rc;
    new = wf_task_new_blocking(th, &rt->sched, &p);
    if (!new)
        return wf_runtime_spawn_end(rt, -ENOMEM);
    if (t)
        *t = new;
    if (!th || th->sched != &rt->sched)
        /* Before it can be cancelled, and so end. relaxed: one half of wf_runtime_alive */
        wf_add_u64(&rt->spawned_outside, 1, WF_RELAXED);
    wf_task_publish(th, new, t ? 1 : 0);
    return wf_runtime_spawn_end(rt, 0);
}

struct elsewhere {
    weft_fn *fn;
    void *arg;
    int result;
    bool begun;
};

static int elsewhere_call(void *arg)
{
    struct elsewhere *e = arg;

    e->begun = true;
    e->result = e->fn(e->arg);
    return 0;
}

/* On the pool; fn may use the caller's stack, and is waited for in any case once it has begun. */
static int blocking_elsewhere(const char *site, weft_fn *fn, void *arg)
{
    struct elsewhere e = {.fn = fn, .arg = arg};
    weft_task_options o = {.site = site};
    weft_task *t = NULL;
    int ended = 0, rc = blocking_spawn("weft_blocking", &o, elsewhere_call, &e, &t);

    if (rc < 0)
        return rc;
    rc = weft_join(t, &ended);
    if (rc < 0) {
        int again = 0;

        weft_cancel(t);
        WEFT_SHIELD
        again = weft_join(t, &ended);
        wf_assert(again == 0);
    }
    if (e.begun)
        return e.result;
    return rc < 0 ? rc : ended;
}

int weft_blocking_at(const char *site, weft_fn *fn, void *arg)
{
    struct wf_thread *th = wf_thread_self();
    struct wf_call call = {.fn = fn, .arg = arg};
    struct wf_fiber *f;

    if (!fn)
        return wf_misuse(-EINVAL, "weft_blocking: fn is NULL");
    if (!th)
        return fn(arg);
    f = th->fiber;
    if (!f)
        return wf_thread_call(th, fn, arg);
    if (!wf_runtime_of(th->sched)->set.monitor)
        return blocking_elsewhere(site, fn, arg);
    f->call = &call;
    (void)wf_fiber_suspend(f, WF_POLL_CALL);
    return call.result;
}

int weft_block_in_place(weft_fn *fn, void *arg)
{
    struct wf_thread *th = wf_thread_self();
    bool relieved;
    int result;

    if (!fn)
        return wf_misuse(-EINVAL, "weft_block_in_place: fn is NULL");
    if (!th)
        return fn(arg);
    if (wf_runtime_of(th->sched)->single)
        return wf_misuse(-EINVAL, "weft_block_in_place: no other thread can do this one's work; "
                                  "use weft_blocking");
    relieved = wf_relieve_here(th);
    result = fn(arg);
    /* Perhaps on another worker by now, which may be relieved as well. Not if this call is inside another one, or in a
     * poll that was stuck before: that lasts. */
    if (relieved)
        wf_relieve_over(wf_thread_self());
    return result;
}

int(weft_blocking)(weft_fn *fn, void *arg)
{
    return weft_blocking_at(NULL, fn, arg);
}

weft_task *(weft_spawn_blocking)(weft_fn *fn, void *arg)
{
    return weft_spawn_blocking_at(NULL, fn, arg);
}

weft_task *(weft_spawn_blocking_with)(const weft_task_options *options, weft_fn *fn, void *arg)
{
    return weft_spawn_blocking_with_at(NULL, options, fn, arg);
}

int(weft_spawn_blocking_on)(weft_runtime *rt, weft_task **t, const weft_task_options *options,
                            weft_fn *fn, void *arg)
{
    return weft_spawn_blocking_on_at(NULL, rt, t, options, fn, arg);
}
