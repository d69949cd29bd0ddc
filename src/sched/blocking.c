/* SPDX-License-Identifier: MIT */
/*
 * blocking.c - calls that block: in place, or on the blocking pool.
 *
 * IDEA     weft_blocking calls on the worker's own thread, whose work others do if it lasts (monitor.c): most such
 *          calls are short, and a hand-over to another thread costs 25 us. The pool (pool.c) is for what
 *          is to run beside the caller, and for runtimes without a monitor.
 * WHO      Any thread.
 * TESTS    tests/api/test_in_place.c, tests/api/test_blocking.c, tests/fault/test_blocking.c
 */
#include "sched/blocking.h"

#include "base/log.h"
#include "sched/life.h"
#include "sched/relieve.h"
#include "task/await.h"

#include <errno.h>
#include <weft/blocking.h>

int wf_blocking_reserve(weft_runtime *rt, const char *call)
{
    weft_future room = wf_pool_reserve_future(rt);

    if (wf_pool_try_reserve(rt))
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
    rc = wf_spawn_check_blocking(call, &p);
    if (rc < 0)
        return rc;
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
        wf_pool_unreserve(wf_runtime_of(th->sched));
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
    int rc = wf_runtime_check_outside(rt, "weft_spawn_blocking_on");

    if (rc < 0)
        return rc;
    if (!fn)
        return wf_misuse(-EINVAL, "weft_spawn_blocking_on: fn is NULL");
    rc = wf_spawn_check_blocking("weft_spawn_blocking_on", &p);
    if (rc < 0)
        return rc;
    rc = wf_runtime_spawn_begin(rt);
    if (rc < 0)
        return rc;
    if (!wf_pool_try_reserve(rt))
        return wf_runtime_spawn_end(rt, -EAGAIN);
    new = wf_task_new_blocking(th, &rt->sched, &p);
    if (!new) {
        wf_pool_unreserve(rt);
        return wf_runtime_spawn_end(rt, -ENOMEM);
    }
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
    if (wf_runtime_of(th->sched)->sole)
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
