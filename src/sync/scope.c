/* SPDX-License-Identifier: MIT */
/*
 * scope.c - a block of code that its tasks cannot outlive.
 *
 * IDEA     A group by value, in the frame of the fiber that entered it. Leaving waits, shielded, until no child and no
 *          watch is left; then nobody points to it. A child that ends takes itself out, under the lock, so a scope that
 *          is open for long keeps nothing of those that have ended.
 *          What cancels the scope also interrupts its fiber: a bit of the task's state (state.h), by which its
 *          awaits are cancelled until the scope is left. Who leaves clears the bit, and sets it again if a scope
 *          around it is cancelled too.
 * OWNS     The scope counts its task: a runtime that stops at its limit may end the task before the children.
 * WHO      The fiber enters, leaves and waits. Everything else by any thread, while a child or the fiber keeps the
 *          scope open.
 * INVARIANTS
 *     N1   The last touch of the scope by a child or the watch is to give back the lock under which it was taken
 *          out. The fiber leaves only after it has seen, under the lock, that none is left.
 *     N2   `stopped` is set before the task is interrupted, and looked at after the interruption was taken back:
 *          either that is seen, or the interruption comes later, and stays.
 *     N3   A future is registered in `ended` only while there are children. The last of them tells it the outcome and
 *          takes it out, so a scope that can be left knows of none; and one that was told does not come back.
 * LOCKS    The group's. Children are cancelled, and the fiber woken, outside of it.
 * TESTS    tests/api/test_scope.c, tests/model/test_scope.c, tests/fault/test_group.c
 */
#include "sync/scope.h"

#include "base/log.h"
#include "sched/runtime.h"
#include "task/await.h"
#include "task/leave.h"
#include "task/waker.h"

#include <errno.h>
#include <weft/time.h>

/* The words of a future that is ready when all children have ended. */
struct scope_ended {
    struct scope *scope;
    struct wf_fiber *fiber; /* set once: the scope's */
    struct wf_atomic_u32
        told; /* by who takes it out of the scope, or by itself; then `outcome` is set */
    int outcome;
};

_Static_assert(sizeof(struct scope_ended) <= sizeof(((weft_future *)0)->words), "it must fit");

/* A weft_scope, from inside. */
struct scope {
    /* the fiber's */
    struct wf_leave leave; /* first: see leave.h */
    /* set once */
    struct wf_fiber *fiber; /* NULL: there is no scope, or it was left */
    struct weft_task *task; /* counted */
    int *rc;
    /* under the lock */
    struct wf_group group;
    uint64_t grace; /* WEFT_FOREVER: none was set */
    int failure;
    bool waiting; /* the fiber sleeps until there is nobody, or until the watch has gone */
    struct scope_ended *ended;    /* N3; NULL: none */
    weft_wakeable *target;        /* whom to wake with it, a reference */
    struct wf_atomic_u32 stopped; /* atomic: N2 */
};

_Static_assert(sizeof(struct scope) <= sizeof(weft_scope), "weft_scope is too small");

static struct scope *scope_of(const weft_scope *scope)
{
    return (struct scope *)wf_unconst(scope->words_);
}

static struct scope *scope_of_group(struct wf_group *g)
{
    return wf_container_of(g, struct scope, group);
}

static struct scope *scope_of_leave(struct wf_leave *l)
{
    return wf_container_of(l, struct scope, leave);
}

struct wf_group *wf_scope_group(weft_scope *scope)
{
    return &scope_of(scope)->group;
}

/* 0: it was entered, and not left. */
static int scope_check(const weft_scope *scope, const char *call)
{
    if (wf_likely(scope && scope_of(scope)->fiber))
        return 0;
    if (!scope)
        return wf_misuse(-EINVAL, "%s: the scope is NULL", call);
    return wf_misuse(-EPERM, "%s: the scope was not entered in a fiber, or was left", call);
}

/* --- cancelling --- */

static void scope_stop(struct scope *s)
{
    wf_group_cancel_spawns(&s->group);
    (void)wf_group_cancel(&s->group, NULL, NULL);
    /* relaxed: wf_task_interrupt releases it, N2 */
    wf_store_u32(&s->stopped, 1, WF_RELAXED);
    wf_task_interrupt(s->task);
}

/* The first failure counts; that cancelled tasks end so is none. */
static void scope_fail(struct scope *s, int why)
{
    uint64_t grace;
    bool first;

    wf_lock(&s->group.lock);
    first = !s->failure && !(why == -ECANCELED && s->group.cancelled);
    if (first)
        s->failure = why;
    grace = s->grace;
    wf_unlock(&s->group.lock);
    if (first && grace != WEFT_FOREVER)
        wf_group_lower_time(&s->group, weft_instant_add(weft_now(), grace));
    else if (first)
        scope_stop(s);
}

static void scope_expired(struct wf_group *g)
{
    struct scope *s = scope_of_group(g);

    wf_lock(&g->lock);
    if (!s->failure)
        s->failure = -ETIMEDOUT;
    wf_unlock(&g->lock);
    scope_stop(s);
}

/* --- ending --- */

/* Under the lock: whom to wake after unlocking, with a reference. */
static struct weft_task *scope_waiter_locked(struct scope *s)
{
    if (s->group.count || !s->waiting)
        return NULL;
    s->waiting = false;
    wf_task_retain(s->task);
    return s->task;
}

/* Under the lock, when nobody may be left: N3. Whom to wake after unlocking. */
static weft_wakeable *scope_ended_tell_locked(struct scope *s)
{
    weft_wakeable *target = s->target;

    if (s->group.count || !s->ended)
        return NULL;
    s->ended->outcome = s->failure;
    /* release: pairs with scope_ended_is_told; carries the outcome, and that nobody touches the future any more */
    wf_store_u32(&s->ended->told, 1, WF_RELEASE);
    s->ended = NULL;
    s->target = NULL;
    return target;
}

static void scope_tell(struct weft_task *t)
{
    if (t)
        wf_wakeable_wake(&t->wakeable);
}

static void scope_child_ended(struct wf_on_end *e)
{
    struct wf_child *c = wf_child_of(e);
    struct scope *s = scope_of_group(c->group);
    struct weft_task *t = e->task, *waiter;
    weft_wakeable *target;

    if (wf_unlikely(t->result < 0))
        scope_fail(s, t->result);
    wf_lock(&s->group.lock);
    wf_group_remove_locked(&s->group, c);
    target = scope_ended_tell_locked(s);
    waiter = scope_waiter_locked(s);
    /* N1 */
    wf_unlock(&s->group.lock);
    wf_wakeable_wake(target);
    scope_tell(waiter);
    wf_task_release(t);
}

static void scope_unwatched(struct wf_group *g)
{
    struct scope *s = scope_of_group(g);
    struct weft_task *waiter;

    wf_lock(&g->lock);
    g->watch = NULL;
    waiter = scope_waiter_locked(s);
    /* N1 */
    wf_unlock(&g->lock);
    scope_tell(waiter);
}

static const struct wf_group_kind scope_kind = {.ended = scope_child_ended,
                                                .expired = scope_expired,
                                                .unwatched = scope_unwatched};

/* --- waiting: of the fiber alone --- */

enum { WAIT_SCOPE, WAIT_FOR_WATCH };

static weft_poll scope_poll(weft_future *f, weft_context *cx)
{
    struct scope *s = (struct scope *)f->words[WAIT_SCOPE]; /* NOLINT(performance-no-int-to-ptr) */
    bool over;

    (void)cx;
    wf_lock(&s->group.lock);
    over = s->group.count == 0;
    if (f->words[WAIT_FOR_WATCH]) {
        over = over && !s->group.watch;
        s->group.closed = over;
    }
    s->waiting = !over;
    wf_unlock(&s->group.lock);
    f->result = 0;
    return over ? WEFT_READY : WEFT_PENDING;
}

static void scope_drop(weft_future *f)
{
    struct scope *s = (struct scope *)f->words[WAIT_SCOPE]; /* NOLINT(performance-no-int-to-ptr) */

    wf_lock(&s->group.lock);
    s->waiting = false;
    wf_unlock(&s->group.lock);
}

static const weft_future_type scope_wait_type = {scope_poll, scope_drop, "scope"};

static weft_future scope_wait_future(struct scope *s, bool for_watch)
{
    weft_future f = {.type = &scope_wait_type};

    f.words[WAIT_SCOPE] = (uintptr_t)s;
    f.words[WAIT_FOR_WATCH] = for_watch;
    return f;
}

/* Until all children have ended, or the fiber is told not to wait so long. */
static int scope_wait_children(struct scope *s, struct wf_fiber *f)
{
    weft_future children = scope_wait_future(s, false);

    return (int)wf_await_future(f, &children);
}

/* Until nobody knows of the scope, whatever the fiber is told. */
static void scope_wait_all(struct scope *s, struct wf_fiber *f)
{
    weft_future all = scope_wait_future(s, true);
    weft_shield shield;

    weft_shield_enter(&shield);
    (void)scope_wait_children(s, f);
    wf_group_dismiss_watch(&s->group);
    (void)wf_await_future(f, &all);
    weft_shield_leave(&shield);
}

/* --- waiting as a future --- */

static struct scope_ended *scope_ended_of(weft_future *f)
{
    return (struct scope_ended *)(void *)f->words;
}

static bool scope_ended_is_told(const struct scope_ended *e)
{
    /* acquire: pairs with scope_ended_tell_locked */
    return wf_load_u32(&e->told, WF_ACQUIRE) != 0;
}

/* Under the lock, with a reference of the target. 0: it waits; 1: nobody is left; -EBUSY. *target: what is to be
 * released. */
static int scope_ended_look_locked(struct scope_ended *e, weft_wakeable **target)
{
    struct scope *s = e->scope;
    weft_wakeable *before = s->target;

    /* It may have been told since, and more been spawned. */
    if (scope_ended_is_told(e))
        return 1;
    if (s->group.count == 0) {
        e->outcome = s->failure;
        /* relaxed: nobody else looks at it */
        wf_store_u32(&e->told, 1, WF_RELAXED);
        return 1;
    }
    if (s->ended && s->ended != e)
        return -EBUSY;
    s->ended = e;
    s->target = *target;
    *target = before;
    return 0;
}

static int scope_ended_look(struct scope_ended *e, const weft_context *cx)
{
    weft_wakeable *target = wf_wakeable_retain(cx->waker_.target_);
    struct scope *s = e->scope;
    int rc;

    wf_lock(&s->group.lock);
    rc = scope_ended_look_locked(e, &target);
    wf_unlock(&s->group.lock);
    wf_wakeable_release(target);
    return rc;
}

static void scope_ended_drop(weft_future *f)
{
    struct scope_ended *e = scope_ended_of(f);
    weft_wakeable *target = NULL;
    struct scope *s = e->scope;

    if (scope_ended_is_told(e))
        return;
    wf_lock(&s->group.lock);
    if (s->ended == e) {
        target = s->target;
        s->ended = NULL;
        s->target = NULL;
    }
    wf_unlock(&s->group.lock);
    wf_wakeable_release(target);
}

WF_COLD static void scope_ended_stray(weft_future *f)
{
    (void)wf_misuse(-EPERM, "weft_scope_wait_future: polled by another task");
    scope_ended_drop(f);
}

/* Before it is told the scope is open: N3. The budget is spent after that, so that a future that gives way does not
 * come back to a scope that was left. */
static weft_poll scope_ended_poll(weft_future *f, weft_context *cx)
{
    struct scope_ended *e = scope_ended_of(f);
    int rc = scope_ended_is_told(e) ? 1 : -EPERM;

    if (rc < 0 && wf_likely(wf_fiber_self() == e->fiber))
        rc = scope_ended_look(e, cx);
    else if (rc < 0)
        scope_ended_stray(f);
    if (rc == 0 || (rc == 1 && !wf_coop_proceed(cx)))
        return WEFT_PENDING;
    f->result = rc < 0 ? rc : e->outcome;
    return WEFT_READY;
}

static const weft_future_type scope_ended_type = {scope_ended_poll, scope_ended_drop,
                                                  "end of a scope's tasks"};

static bool scope_close_if_empty(struct scope *s)
{
    bool empty;

    wf_lock(&s->group.lock);
    empty = s->group.closed = wf_group_empty_locked(&s->group);
    wf_unlock(&s->group.lock);
    return empty;
}

static void scope_left(struct wf_leave *l);

/* The fiber is not in the scope any more: it is interrupted only if one around it is stopped. */
static void scope_calm(const struct scope *s, struct wf_fiber *f)
{
    /* relaxed: nobody is left who would set it */
    if (!wf_load_u32(&s->stopped, WF_RELAXED))
        return;
    wf_task_state_uninterrupt(f->task);
    for (struct wf_leave *l = f->leaves[WF_LEAVE_FIRST]; l; l = l->next) {
        /* relaxed: wf_task_state_uninterrupt has acquired it, N2 */
        if (l->leave == scope_left && wf_load_u32(&scope_of_leave(l)->stopped, WF_RELAXED)) {
            wf_task_interrupt(f->task);
            return;
        }
    }
}

/* Is the place of rc gone? What was below the scope in a frame that has returned is used again, see fiber_main. */
static bool scope_rc_is_dead(const struct scope *s, const struct wf_fiber *f)
{
    return f->returned && (uintptr_t)s->rc < (uintptr_t)s && wf_stack_contains(f->stack, s->rc);
}

static void scope_finish(struct scope *s, bool stop)
{
    struct wf_fiber *f = s->fiber;
    int rc = 0;

    wf_leave_remove(&s->leave);
    if (stop)
        scope_stop(s);
    else if (s->grace != WEFT_FOREVER)
        wf_group_lower_time(&s->group, weft_instant_add(weft_now(), s->grace));
    if (!scope_close_if_empty(s)) {
        if (!stop)
            rc = wf_await_verdict(f);
        if (!stop && rc == 0)
            rc = scope_wait_children(s, f);
        if (rc < 0)
            scope_fail(s, rc);
        scope_wait_all(s, f);
    }
    scope_calm(s, f);
    if (s->rc && wf_likely(!scope_rc_is_dead(s, f)))
        *s->rc = s->failure;
    s->fiber = NULL;
    wf_task_release(s->task);
}

/* The fiber ends inside. */
static void scope_left(struct wf_leave *l)
{
    scope_finish(scope_of_leave(l), true);
}

/* --- the calls --- */

weft_scope *weft_scope_enter(weft_scope *scope, int *rc)
{
    struct wf_thread *th = wf_thread_self();
    struct wf_fiber *f = th ? th->fiber : NULL;
    struct scope *s;

    if (!scope) {
        (void)wf_misuse(-EINVAL, "weft_scope_enter: the scope is NULL");
        return NULL;
    }
    s = scope_of(scope);
    *s = (struct scope){.fiber = f, .rc = rc, .grace = WEFT_FOREVER};
    if (!f) {
        if (rc)
            *rc = wf_misuse(-EPERM, "weft_scope_enter: called outside a fiber");
        return scope;
    }
    wf_group_init(&s->group, &scope_kind);
    s->group.rt = wf_runtime_of(th->sched);
    s->task = f->task;
    wf_task_retain(s->task);
    wf_leave_push(f, WF_LEAVE_FIRST, &s->leave, scope_left);
    return scope;
}

void weft_scope_leave(weft_scope *scope)
{
    struct scope *s = scope ? scope_of(scope) : NULL;

    if (!s || !s->fiber)
        return;
    /* By another fiber, or not in the reverse order of entering: tasks would outlive what they use. */
    wf_assert(s->fiber == wf_fiber_self() && s->fiber->leaves[WF_LEAVE_FIRST] == &s->leave);
    scope_finish(s, false);
}

int weft_scope_wait(weft_scope *scope)
{
    struct wf_fiber *f;
    int rc = scope_check(scope, "weft_scope_wait");

    if (rc < 0)
        return rc;
    if (wf_fiber_self() != scope_of(scope)->fiber)
        return wf_misuse(-EPERM, "weft_scope_wait: called outside of the scope's block");
    rc = wf_await_enter(&f, "weft_scope_wait");
    if (rc == 0)
        rc = scope_wait_children(scope_of(scope), f);
    return rc < 0 ? rc : weft_scope_failure(scope);
}

weft_future weft_scope_wait_future(weft_scope *scope)
{
    weft_future f = {.type = &scope_ended_type};
    int rc = scope_check(scope, "weft_scope_wait_future");

    if (rc == 0 && wf_fiber_self() != scope_of(scope)->fiber)
        rc = wf_misuse(-EPERM, "weft_scope_wait_future: called outside of the scope's block");
    if (rc < 0)
        return weft_ready_future(rc);
    scope_ended_of(&f)->scope = scope_of(scope);
    scope_ended_of(&f)->fiber = scope_of(scope)->fiber;
    return f;
}

void weft_scope_cancel(weft_scope *scope)
{
    if (scope_check(scope, "weft_scope_cancel") == 0)
        scope_stop(scope_of(scope));
}

int weft_scope_set_deadline(weft_scope *scope, weft_instant at)
{
    int rc = scope_check(scope, "weft_scope_set_deadline");

    return rc < 0 ? rc : wf_group_set_time(&scope_of(scope)->group, at);
}

int weft_scope_set_grace(weft_scope *scope, weft_duration d)
{
    int rc = scope_check(scope, "weft_scope_set_grace");
    struct scope *s;

    if (rc < 0)
        return rc;
    s = scope_of(scope);
    rc = wf_group_need_watch(&s->group);
    if (rc < 0)
        return rc;
    wf_lock(&s->group.lock);
    s->grace = d;
    wf_unlock(&s->group.lock);
    return 0;
}

int weft_scope_failure(const weft_scope *scope)
{
    int rc = scope_check(scope, "weft_scope_failure");
    struct scope *s;

    if (rc < 0)
        return rc;
    s = scope_of(scope);
    wf_lock(&s->group.lock);
    rc = s->failure;
    wf_unlock(&s->group.lock);
    return rc;
}

size_t weft_scope_len(const weft_scope *scope)
{
    struct scope *s;
    size_t n;

    if (scope_check(scope, "weft_scope_len") < 0)
        return 0;
    s = scope_of(scope);
    wf_lock(&s->group.lock);
    n = s->group.count;
    wf_unlock(&s->group.lock);
    return n;
}

/* --- spawning --- */

static ssize_t scope_spawn(const char *call, weft_scope *scope, const char *site,
                           const weft_task_options *options, struct wf_group_spawn *what)
{
    weft_task_options o;
    int rc = scope_check(scope, call);

    if (wf_unlikely(rc < 0))
        return rc;
    o = wf_spawn_sited(site, options);
    what->task.options = &o;
    return wf_group_spawn(&scope_of(scope)->group, call, what);
}

ssize_t weft_scope_spawn_at(const char *site, weft_scope *s, weft_fn *fn, void *arg)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .arg = arg}};

    return scope_spawn("weft_scope_spawn", s, site, NULL, &what);
}

ssize_t weft_scope_spawn_copy_at(const char *site, weft_scope *s, weft_fn *fn, const void *args,
                                 size_t size)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .copy = args, .copy_size = size}};

    return scope_spawn("weft_scope_spawn_copy", s, site, NULL, &what);
}

ssize_t weft_scope_spawn_with_at(const char *site, weft_scope *s, const weft_task_options *options,
                                 weft_fn *fn, void *arg)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .arg = arg}};

    return scope_spawn("weft_scope_spawn_with", s, site, options, &what);
}

ssize_t weft_scope_spawn_copy_with_at(const char *site, weft_scope *s,
                                      const weft_task_options *options, weft_fn *fn,
                                      const void *args, size_t size)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .copy = args, .copy_size = size}};

    return scope_spawn("weft_scope_spawn_copy_with", s, site, options, &what);
}

ssize_t weft_scope_spawn_async_at(const char *site, weft_scope *s, const weft_async_type *type,
                                  const void *state)
{
    struct wf_group_spawn what = {.task = wf_spawn_of_async(type, state)};

    return scope_spawn("weft_scope_spawn_async", s, site, NULL, &what);
}

ssize_t weft_scope_spawn_blocking_at(const char *site, weft_scope *s,
                                     const weft_task_options *options, weft_fn *fn, void *arg)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .arg = arg}, .blocking = true};

    return scope_spawn("weft_scope_spawn_blocking", s, site, options, &what);
}

/* The functions behind the macros of the same name. */
ssize_t(weft_scope_spawn)(weft_scope *s, weft_fn *fn, void *arg)
{
    return weft_scope_spawn_at(NULL, s, fn, arg);
}

ssize_t(weft_scope_spawn_copy)(weft_scope *s, weft_fn *fn, const void *args, size_t size)
{
    return weft_scope_spawn_copy_at(NULL, s, fn, args, size);
}

ssize_t(weft_scope_spawn_with)(weft_scope *s, const weft_task_options *options, weft_fn *fn,
                               void *arg)
{
    return weft_scope_spawn_with_at(NULL, s, options, fn, arg);
}

ssize_t(weft_scope_spawn_copy_with)(weft_scope *s, const weft_task_options *options, weft_fn *fn,
                                    const void *args, size_t size)
{
    return weft_scope_spawn_copy_with_at(NULL, s, options, fn, args, size);
}

ssize_t(weft_scope_spawn_async)(weft_scope *s, const weft_async_type *type, const void *state)
{
    return weft_scope_spawn_async_at(NULL, s, type, state);
}

ssize_t(weft_scope_spawn_blocking)(weft_scope *s, const weft_task_options *options, weft_fn *fn,
                                   void *arg)
{
    return weft_scope_spawn_blocking_at(NULL, s, options, fn, arg);
}
