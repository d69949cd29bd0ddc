/* SPDX-License-Identifier: MIT */
/*
 * once.c - an initialiser that runs once.
 *
 * IDEA     The right to initialise is handed from one to the next: who comes first has it; who fails gives it to the
 *          first in line, or, if nobody waits, puts it back. Whoever has it and goes away without a word hands it on:
 *          a future that is dropped, a fiber that panics.
 * OWNS     The right: EMPTY the once's, RUNNING somebody's, DONE nobody's any more.
 * WHO      Any thread.
 * INVARIANTS
 *     O1   While anybody is in line it is RUNNING; and DONE while those in line are being let go.
 * ORDER    DONE is written under the lock and read without: release in once_finish, acquire in once_is_done. It carries
 *          what the initialiser wrote.
 * TESTS    tests/model/test_once.c, tests/api/test_once.c
 */
#include "base/log.h"
#include "base/sys.h"
#include "sync/wait.h"
#include "task/await.h"
#include "task/leave.h"
#include "task/thread_wait.h"

#include <errno.h>
#include <weft/once.h>

enum { ONCE_EMPTY, ONCE_RUNNING, ONCE_DONE };

/* A weft_once, from inside. */
struct once {
    struct wf_lock lock;
    struct wf_waitq line;       /* under the lock */
    struct wf_atomic_u32 state; /* changed under the lock */
    struct wf_atomic_u64
        owner; /* who runs its initialiser, or polls it: once_self; 0: nobody. Written by it alone */
};

_Static_assert(sizeof(struct once) <= sizeof(weft_once), "weft_once is too small");

static struct once *once_of(weft_once *o)
{
    return (struct once *)(void *)o->words_;
}

static bool once_is_done(const struct once *o)
{
    /* acquire: pairs with once_finish */
    return wf_load_u32(&o->state, WF_ACQUIRE) == ONCE_DONE;
}

bool weft_once_is_done(const weft_once *o)
{
    return o && once_is_done((const struct once *)(const void *)o->words_);
}

/* Give the right to the next. With the lock, and without it afterwards. */
static void once_hand_on(struct once *o)
{
    weft_wakeable *target = NULL;

    if (wf_waitq_empty(&o->line))
        /* relaxed: under the lock */
        wf_store_u32(&o->state, ONCE_EMPTY, WF_RELAXED);
    else
        target = wf_waitq_take(&o->line, o->line.first, WF_WAITER_GRANTED);
    wf_unlock(&o->lock);
    wf_wakeable_wake(target);
}

/* With the lock, and without it afterwards. */
static void once_finish(struct once *o)
{
    /* release: pairs with once_is_done; carries what the initialiser wrote */
    wf_store_u32(&o->state, ONCE_DONE, WF_RELEASE);
    wf_waitq_open(&o->lock, &o->line, 1);
}

/* --- waiting for the right --- */

/* Under the lock. */
static bool once_look(struct wf_wait *w, ssize_t *result)
{
    struct once *o = w->object;
    /* relaxed: under the lock */
    uint32_t state = wf_load_u32(&o->state, WF_RELAXED);

    *result = state == ONCE_DONE ? 0 : 1;
    if (state == ONCE_DONE || w->waiter.state == WF_WAITER_GRANTED)
        return true;
    if (state == ONCE_RUNNING)
        return false;
    wf_store_u32(&o->state, ONCE_RUNNING, WF_RELAXED);
    return true;
}

static weft_poll once_poll(weft_future *f, weft_context *cx)
{
    struct once *o = wf_wait_of(f)->object;

    if (!wf_coop_proceed(cx))
        return WEFT_PENDING;
    if (!wf_wait_is_placed(f) && once_is_done(o)) {
        f->result = 0;
        return WEFT_READY;
    }
    if (wf_wait_poll(f, cx, &o->lock, &o->line, once_look) == WEFT_READY)
        return WEFT_READY;
    wf_coop_restore();
    return WEFT_PENDING;
}

static void once_drop(weft_future *f)
{
    struct wf_wait *w = wf_wait_of(f);
    weft_wakeable *old = NULL;
    struct once *o = w->object;

    wf_lock(&o->lock);
    if (w->waiter.state == WF_WAITER_GRANTED) {
        w->waiter.state = WF_WAITER_IDLE;
        once_hand_on(o);
        return;
    }
    if (w->waiter.state == WF_WAITER_QUEUED)
        old = wf_waitq_take(&o->line, &w->waiter, WF_WAITER_IDLE);
    wf_unlock(&o->lock);
    wf_wakeable_release(old);
}

static const weft_future_type once_type = {once_poll, once_drop, "once"};

static weft_future once_future(struct once *o)
{
    weft_future f = {.type = &once_type};

    wf_wait_of(&f)->object = o;
    return f;
}

weft_future weft_once_begin_future(weft_once *o)
{
    if (!o)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_once_begin_future: NULL"));
    return once_future(once_of(o));
}

static int once_begin(const char *call, struct once *o, struct wf_fiber **f)
{
    weft_future future;
    int rc = wf_await_enter(f, call);

    if (wf_unlikely(rc < 0) || once_is_done(o))
        return rc;
    future = once_future(o);
    return (int)wf_await_future(*f, &future);
}

int weft_once_begin(weft_once *o)
{
    struct wf_fiber *f;

    if (!o)
        return wf_misuse(-EINVAL, "weft_once_begin: NULL");
    return once_begin("weft_once_begin", once_of(o), &f);
}

static int once_begin_blocking(const char *call, struct once *o)
{
    int rc = wf_thread_check_plain(call);
    weft_future future;

    if (rc < 0 || once_is_done(o))
        return rc;
    future = once_future(o);
    return (int)wf_thread_await(&future, WEFT_FOREVER);
}

int weft_once_begin_blocking(weft_once *o)
{
    if (!o)
        return wf_misuse(-EINVAL, "weft_once_begin_blocking: NULL");
    return once_begin_blocking("weft_once_begin_blocking", once_of(o));
}

int weft_once_try_begin(weft_once *once)
{
    struct wf_wait w = {0};
    struct once *o;
    ssize_t result;
    bool ready;

    if (!once)
        return wf_misuse(-EINVAL, "weft_once_try_begin: NULL");
    o = once_of(once);
    if (once_is_done(o))
        return 0;
    w.object = o;
    wf_lock(&o->lock);
    ready = once_look(&w, &result);
    wf_unlock(&o->lock);
    return ready ? (int)result : -EAGAIN;
}

int weft_once_end(weft_once *once, bool done)
{
    struct once *o;

    if (!once)
        return wf_misuse(-EINVAL, "weft_once_end: NULL");
    o = once_of(once);
    wf_lock(&o->lock);
    /* relaxed: under the lock */
    if (wf_load_u32(&o->state, WF_RELAXED) != ONCE_RUNNING) {
        wf_unlock(&o->lock);
        return wf_misuse(-EINVAL, "weft_once_end: nobody has begun");
    }
    if (done)
        once_finish(o);
    else
        once_hand_on(o);
    return 0;
}

/* --- an initialiser --- */

/* Who is calling: a task, or a thread that polls none. */
static uint64_t once_self(void)
{
    struct wf_thread *th = wf_thread_self();

    return th && th->task ? (uintptr_t)th->task : (uint64_t)wf_sys_thread_id() << 1 | 1;
}

/* The caller is within the initialiser, or is led out of it by a panic. */
static bool once_is_own(struct once *o)
{
    /* relaxed: only the caller itself can have written its name */
    return wf_unlikely(wf_load_u64(&o->owner, WF_RELAXED) != 0) &&
           wf_load_u64(&o->owner, WF_RELAXED) == once_self();
}

static int once_left(struct once *o, int result)
{
    /* relaxed: see once_is_own; the lock carries it to the next */
    wf_store_u64(&o->owner, 0, WF_RELAXED);
    wf_lock(&o->lock);
    if (result < 0) {
        once_hand_on(o);
        return result;
    }
    once_finish(o);
    return 0;
}

/* A fiber while it runs an initialiser. */
struct once_visit {
    struct wf_leave leave;
    struct once *once;
};

static void once_panicked(struct wf_leave *l)
{
    struct once_visit *v = wf_container_of(l, struct once_visit, leave);

    wf_leave_remove(l);
    (void)once_left(v->once, -EOWNERDEAD);
}

static int once_check(const char *call, weft_once *o, weft_fn *fn)
{
    if (wf_unlikely(!o || !fn))
        return wf_misuse(-EINVAL, "%s: the once or the function is NULL", call);
    if (wf_unlikely(!once_is_done(once_of(o)) && once_is_own(once_of(o))))
        return wf_misuse(-EDEADLK, "%s: called within its own initialiser", call);
    return 0;
}

int weft_once_run(weft_once *once, weft_fn *fn, void *arg)
{
    struct once_visit visit;
    struct wf_fiber *f;
    struct once *o;
    int rc = once_check("weft_once_run", once, fn);

    if (wf_unlikely(rc < 0))
        return rc;
    o = once_of(once);
    rc = once_begin("weft_once_run", o, &f);
    if (rc <= 0)
        return rc;
    /* relaxed: see once_is_own */
    wf_store_u64(&o->owner, once_self(), WF_RELAXED);
    visit.once = o;
    wf_leave_push(f, WF_LEAVE_FIRST, &visit.leave, once_panicked);
    rc = fn(arg);
    wf_leave_remove(&visit.leave);
    return once_left(o, rc);
}

/* --- an initialiser that is a future --- */

enum { RUN_INITIALISER }; /* words of the wait */

enum { RUN_BEGUN = 1 }; /* aux_: it has the right */

static weft_future *run_initialiser(weft_future *f)
{
    return (weft_future *)wf_wait_of(f)->words[RUN_INITIALISER]; /* NOLINT */
}

/* It has the right no more. */
static void run_left(weft_future *f, int result)
{
    f->aux_ = 0;
    f->result = once_left(wf_wait_of(f)->object, result);
}

/* A fiber while it polls an initialiser. */
struct once_run {
    struct wf_leave leave; /* first: see leave.h */
    weft_future *future;
};

/* What a fiber keeps it has dropped before. */
static void run_panicked(struct wf_leave *l)
{
    weft_future *f = wf_container_of(l, struct once_run, leave)->future;

    wf_leave_remove(l);
    if (f->aux_ & RUN_BEGUN)
        run_left(f, -EOWNERDEAD);
}

/* It has the right. */
static weft_poll run_poll_initialiser(weft_future *f, weft_context *cx)
{
    weft_future *initialiser = run_initialiser(f);
    struct once *o = wf_wait_of(f)->object;
    struct wf_fiber *fiber = wf_fiber_self();
    struct once_run run = {.future = f};
    weft_poll poll;

    /* relaxed, both: see once_is_own */
    wf_store_u64(&o->owner, once_self(), WF_RELAXED);
    if (fiber)
        wf_leave_push(fiber, WF_LEAVE_FIRST, &run.leave, run_panicked);
    poll = weft_future_poll(initialiser, cx);
    if (fiber)
        wf_leave_remove(&run.leave);
    if (poll == WEFT_READY)
        run_left(f, initialiser->result < 0 ? (int)initialiser->result : 0);
    else
        wf_store_u64(&o->owner, 0, WF_RELAXED);
    return poll;
}

static weft_poll run_poll(weft_future *f, weft_context *cx)
{
    if (f->aux_ & RUN_BEGUN)
        return run_poll_initialiser(f, cx);
    if (wf_unlikely(once_is_own(wf_wait_of(f)->object))) {
        f->result = wf_misuse(-EDEADLK, "weft_once_run_future: polled by its own initialiser");
        return WEFT_READY;
    }
    if (once_poll(f, cx) == WEFT_PENDING)
        return WEFT_PENDING;
    if (f->result == 1) {
        f->aux_ = RUN_BEGUN;
        return run_poll_initialiser(f, cx);
    }
    weft_future_drop(run_initialiser(f));
    return WEFT_READY;
}

static void run_drop(weft_future *f)
{
    weft_future_drop(run_initialiser(f));
    if (f->aux_ & RUN_BEGUN)
        run_left(f, -ECANCELED);
    else
        once_drop(f);
}

static const weft_future_type run_type = {run_poll, run_drop, "once with an initialiser"};

weft_future weft_once_run_future(weft_once *o, weft_future *initialiser)
{
    weft_future f = {.type = &run_type};

    if (!o || !initialiser || !initialiser->type)
        return weft_ready_future(
            wf_misuse(-EINVAL, "weft_once_run_future: NULL, or a future without a type"));
    wf_wait_of(&f)->object = once_of(o);
    wf_wait_of(&f)->words[RUN_INITIALISER] = (uintptr_t)initialiser;
    return f;
}

int weft_once_run_blocking(weft_once *once, weft_fn *fn, void *arg)
{
    struct once *o;
    int rc = once_check("weft_once_run_blocking", once, fn);

    if (rc < 0)
        return rc;
    o = once_of(once);
    rc = once_begin_blocking("weft_once_run_blocking", o);
    if (rc <= 0)
        return rc;
    /* relaxed: see once_is_own */
    wf_store_u64(&o->owner, once_self(), WF_RELAXED);
    return once_left(o, fn(arg));
}
