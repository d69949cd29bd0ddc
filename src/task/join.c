/* SPDX-License-Identifier: MIT */
/*
 * join.c - waiting for the end of a task.
 *
 * IDEA     A joiner claims the task's one joiner slot, stores its waker there and arms it. Who
 *          completes the task takes the slot. A task that has ended already needs none of that.
 * OWNS     The slot: its claimant until armed, then by the JOIN bits (state.c). The future of a join holds
 *          no reference of its own: the handle does, and must outlive it. That of a task has the handle.
 */
#include "base/log.h"
#include "task/await.h"
#include "task/future.h"
#include "task/on_end.h"
#include "task/thread_wait.h"
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
    *wf_task_joiner(t) = wf_wakeable_retain(cx->waker_.target_);
    if (!wf_task_join_arm(t)) {
        wf_wakeable_release(*wf_task_joiner(t));
        *wf_task_joiner(t) = NULL;
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

/* A join that owns the handle. */
static weft_poll task_poll(weft_future *f, weft_context *cx)
{
    struct weft_task *t = join_task(f);
    int result = -EDEADLK;

    if (wf_unlikely(t == weft_task_self())) {
        (void)wf_misuse(-EDEADLK, "weft_task_future: a task waits for itself");
        (void)join_unregister(f);
        wf_task_release(t);
        return join_ready(f, result);
    }
    if (join_poll(f, cx) == WEFT_PENDING)
        return WEFT_PENDING;
    if (f->result < 0) {
        wf_task_release(t);
        return WEFT_READY;
    }
    (void)join_take(t, &result);
    return join_ready(f, result);
}

static void task_drop(weft_future *f)
{
    struct weft_task *t = join_task(f);

    (void)join_unregister(f);
    weft_cancel(t);
    wf_task_release(t);
}

static const weft_future_type task_type = {task_poll, task_drop, "task"};

weft_future weft_task_future(weft_task *t)
{
    weft_future f = weft_join_future(t);

    if (f.type != &join_type)
        return f;
    f.type = &task_type;
    wf_future_laden(&f);
    return f;
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

int weft_join_blocking(weft_task *t, int *result)
{
    weft_future f;
    int rc;

    if (!t)
        return -ENOMEM;
    rc = wf_thread_check_plain("weft_join_blocking");
    if (rc < 0)
        return rc;
    if (!wf_task_check(t, "weft_join_blocking"))
        return -EINVAL;
    f = weft_join_future(t);
    rc = (int)wf_thread_await(&f, WEFT_FOREVER);
    return rc < 0 ? rc : join_take(t, result);
}
