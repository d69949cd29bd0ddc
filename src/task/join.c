/* SPDX-License-Identifier: MIT */
/*
 * join.c - waiting for the end of a task.
 *
 * IDEA     A joiner claims the task's one joiner slot, stores its waker there and arms it. Who
 *          completes the task takes the slot. A task that has ended already needs none of that.
 * OWNS     The slot: its claimant until armed, then by the JOIN bits (state.c). The future holds
 *          no reference of its own: the handle does, and must outlive it.
 */
#include "base/log.h"
#include "base/sys.h"
#include "task/await.h"
#include "task/waker.h"

#include <errno.h>

enum { JOIN_TASK, JOIN_TARGET };

static struct weft_task *join_task(const weft_future *f)
{
    return (struct weft_task *)f->words[JOIN_TASK]; /* NOLINT(performance-no-int-to-ptr) */
}

static weft_poll join_ready(weft_future *f, ssize_t result)
{
    f->words[JOIN_TARGET] = 0;
    f->result = result;
    return WEFT_READY;
}

static weft_poll join_register(weft_future *f, weft_context *cx)
{
    struct weft_task *t = join_task(f);

    if (!wf_task_join_claim(t))
        /* acquire in is_complete: a task that has ended needs no slot */
        return join_ready(f, wf_task_is_complete(t) ? 0 : -EBUSY);
    t->joiner = wf_wakeable_retain(cx->waker_.target_);
    if (!wf_task_join_arm(t)) {
        wf_wakeable_release(t->joiner);
        t->joiner = NULL;
        return join_ready(f, 0);
    }
    f->words[JOIN_TARGET] = (uintptr_t)cx->waker_.target_;
    return WEFT_PENDING;
}

/* Take the slot back. False: the task has ended, the slot is its last runner's. */
static bool join_unregister(weft_future *f)
{
    struct weft_task *t = join_task(f);
    weft_wakeable *target = (weft_wakeable *)f->words[JOIN_TARGET]; /* NOLINT */

    if (!target)
        return true;
    f->words[JOIN_TARGET] = 0;
    if (!wf_task_join_disarm(t))
        return false;
    /* The word in the slot is stale now; whoever claims next overwrites it. The reference is ours. */
    wf_wakeable_release(target);
    return true;
}

static weft_poll join_poll(weft_future *f, weft_context *cx)
{
    struct weft_task *t = join_task(f);

    if (!wf_coop_proceed(cx))
        return WEFT_PENDING;
    if (wf_task_is_complete(t))
        return join_ready(f, 0);
    wf_coop_restore();
    if (f->words[JOIN_TARGET] == (uintptr_t)cx->waker_.target_)
        return WEFT_PENDING;
    if (!join_unregister(f))
        return join_ready(f, 0);
    return join_register(f, cx);
}

static void join_drop(weft_future *f)
{
    (void)join_unregister(f);
}

static const weft_future_type join_type = {join_poll, join_drop, "join"};

weft_future weft_join_future(weft_task *t)
{
    weft_future f = {.type = &join_type};

    if (!t)
        return weft_ready_future(-ENOMEM);
    if (!wf_task_check(t, "weft_join_future"))
        return weft_ready_future(-EINVAL);
    f.words[JOIN_TASK] = (uintptr_t)t;
    return f;
}

/* Take result and handle of a task that has ended. */
static int join_take(struct weft_task *t, int *result)
{
    if (WF_DEBUG &&
        /* relaxed: only the message below depends on it */
        (wf_or_u64(&t->state, WF_TASK_JOINED, WF_RELAXED) & (WF_TASK_JOINED | WF_TASK_SHARED)) ==
            WF_TASK_JOINED) {
        return wf_misuse(-EINVAL, "weft_join: task %llu was joined before",
                         (unsigned long long)t->id);
    }
    if (result)
        *result = t->result;
    wf_task_release(t);
    return 0;
}

int weft_join(weft_task *t, int *result)
{
    struct wf_fiber *f;
    weft_future ended;
    int rc;

    if (wf_unlikely(t && !wf_task_check(t, "weft_join")))
        return -EINVAL;
    rc = wf_await_enter(&f, "weft_join");
    if (wf_unlikely(rc < 0))
        return rc;
    if (wf_unlikely(!t)) /* as a spawn gave it */
        return -ENOMEM;
    if (wf_task_is_complete(t))
        return join_take(t, result);
    if (t == f->task)
        return wf_misuse(-EDEADLK, "weft_join: a task joins itself");
    ended = weft_join_future(t);
    rc = (int)wf_await_future(f, &ended);
    return rc < 0 ? rc : join_take(t, result);
}

/* A plain thread that waits: a wakeable on its stack, which lasts until it is woken. */
struct join_thread {
    weft_wakeable wakeable;
    struct wf_atomic_u32 woken;
    struct wf_atomic_u32 refs;
};

static void join_thread_retain(weft_wakeable *w)
{
    struct join_thread *j = wf_container_of(w, struct join_thread, wakeable);

    /* relaxed: the caller holds one */
    wf_add_u32(&j->refs, 1, WF_RELAXED);
}

static void join_thread_wake(weft_wakeable *w)
{
    struct join_thread *j = wf_container_of(w, struct join_thread, wakeable);

    /* release: pairs with the load in weft_join_blocking */
    wf_store_u32(&j->woken, 1, WF_RELEASE);
}

static void join_thread_release(weft_wakeable *w)
{
    struct join_thread *j = wf_container_of(w, struct join_thread, wakeable);

    /* The thread may return as soon as it sees the last reference gone; the wake then touches a futex
     * word that may be gone too, which the kernel bears: at worst another waiter on a reused
     * address wakes in vain. release: pairs with the load in weft_join_blocking. */
    if (wf_sub_u32(&j->refs, 1, WF_ACQ_REL) == 1)
        wf_sys_futex_wake(&j->refs, 1);
}

static const weft_wakeable_type join_thread_type = {join_thread_retain, join_thread_wake,
                                                    join_thread_release};

int weft_join_blocking(weft_task *t, int *result)
{
    struct join_thread j = {.wakeable = {&join_thread_type}};
    struct wf_thread *th = wf_thread_self();
    weft_context cx = {{&j.wakeable}};
    weft_future f;
    uint32_t refs;

    if (!t)
        return -ENOMEM;
    if (th && th->task)
        return wf_misuse(-EDEADLK, "weft_join_blocking: called inside a task");
    if (!wf_task_check(t, "weft_join_blocking"))
        return -EINVAL;
    f = weft_join_future(t);
    if (weft_future_poll(&f, &cx) == WEFT_PENDING) {
        /* The slot holds the one reference; it is released when the task has ended. acquire: pairs with
         * join_thread_release */
        while ((refs = wf_load_u32(&j.refs, WF_ACQUIRE)) != 0)
            wf_sys_futex_wait(&j.refs, refs, WF_NO_TIMEOUT);
        wf_assert(wf_load_u32(&j.woken, WF_ACQUIRE) && wf_task_is_complete(t));
    } else if (f.result < 0) {
        return (int)f.result;
    }
    return join_take(t, result);
}
