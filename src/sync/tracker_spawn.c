/* SPDX-License-Identifier: MIT */
/*
 * tracker_spawn.c - tasks that are counted by a tracker.
 *
 * IDEA     A record behind the task's header (on_end.h) names the tracker. The task is counted before it is there,
 *          and until it has ended, whichever way that happens; the record goes with the header.
 * OWNS     The record keeps the tracker through the count.
 * WHO      As the spawns without a tracker.
 * TESTS    tests/api/test_task_tracker.c, tests/fault/test_sync.c
 */
#include "base/log.h"
#include "sched/blocking.h"
#include "sched/life.h"
#include "sched/runtime.h"
#include "sync/tracker.h"
#include "task/on_end.h"

#include <errno.h>
#include <weft/blocking.h>

struct tracked {
    struct wf_on_end_joinable on_end;
    weft_task_tracker *tracker;
};

static void tracked_ended(struct wf_on_end *e)
{
    weft_task_tracker *tr = wf_container_of(e, struct tracked, on_end.on_end)->tracker;

    wf_task_release(e->task);
    wf_tracker_leave(tr);
}

static struct weft_task *tracked_new(struct wf_thread *th, struct wf_scheduler *s,
                                     const struct wf_spawn *p, bool blocking)
{
    if (blocking)
        return wf_task_new_blocking(th, s, p);
    return p->async ? wf_task_new_async(th, s, p) : wf_task_new_fiber(th, s, p);
}

/* Make it and let it run. out NULL: detached. */
static int tracked_start(weft_task_tracker *tr, struct wf_scheduler *s, const struct wf_spawn *p,
                         bool blocking, weft_task **out)
{
    struct wf_thread *th = wf_thread_self();
    struct weft_task *t;
    struct tracked *r;
    int rc = blocking ? wf_spawn_check_blocking("weft_task_tracker_spawn_blocking", p)
                      : wf_spawn_check_pin("weft_task_tracker_spawn", s, p);

    if (rc < 0)
        return rc;
    wf_tracker_enter(tr);
    t = tracked_new(th, s, p, blocking);
    if (!t) {
        wf_tracker_leave(tr);
        return -ENOMEM;
    }
    r = wf_task_behind(t, p->copy_size);
    r->tracker = tr;
    if (blocking && (!th || th->sched != s))
        /* Before it can be cancelled, and so end. relaxed: one half of wf_runtime_alive */
        wf_add_u64(&wf_runtime_of(s)->spawned_outside, 1, WF_RELAXED);
    wf_on_end_expose_joinable(th, t, &r->on_end, tracked_ended, out ? 1 : 0);
    if (out)
        *out = t;
    wf_task_start(th, t);
    return 0;
}

/* From a task, into its runtime: every way but two ends here. */
static int tracked_spawn(const char *call, weft_task_tracker *tr, struct wf_spawn *p,
                         weft_task **out)
{
    struct wf_thread *th = wf_thread_self();
    int rc;

    if (!tr)
        return wf_misuse(-EINVAL, "%s: the tracker is NULL", call);
    p->behind = sizeof(struct tracked);
    rc = wf_spawn_check(call, p);
    if (rc < 0)
        return rc;
    if (!th) {
        wf_log("%s: called outside a task; plain threads use weft_task_tracker_spawn_on", call);
        return -EPERM;
    }
    rc = tracked_start(tr, th->sched, p, false, out);
    if (rc == -ENOMEM)
        wf_log("%s: no memory for a task", call);
    return rc;
}

weft_task *weft_task_tracker_spawn_at(const char *site, weft_task_tracker *tr, weft_fn *fn,
                                      void *arg)
{
    weft_task_options o = {.site = site};
    struct wf_spawn p = {.options = &o, .fn = fn, .arg = arg};
    weft_task *t = NULL;

    (void)tracked_spawn("weft_task_tracker_spawn", tr, &p, &t);
    return t;
}

weft_task *weft_task_tracker_spawn_copy_at(const char *site, weft_task_tracker *tr, weft_fn *fn,
                                           const void *args, size_t size)
{
    weft_task_options o = {.site = site};
    struct wf_spawn p = {.options = &o, .fn = fn, .copy = args, .copy_size = size};
    weft_task *t = NULL;

    (void)tracked_spawn("weft_task_tracker_spawn_copy", tr, &p, &t);
    return t;
}

weft_task *weft_task_tracker_spawn_with_at(const char *site, weft_task_tracker *tr,
                                           const weft_task_options *options, weft_fn *fn, void *arg)
{
    weft_task_options o = wf_spawn_sited(site, options);
    struct wf_spawn p = {.options = &o, .fn = fn, .arg = arg};
    weft_task *t = NULL;

    (void)tracked_spawn("weft_task_tracker_spawn_with", tr, &p, &t);
    return t;
}

/* NOLINTNEXTLINE(readability-function-size): one parameter more than weft_spawn_copy_with_at */
weft_task *weft_task_tracker_spawn_copy_with_at(const char *site, weft_task_tracker *tr,
                                                const weft_task_options *options, weft_fn *fn,
                                                const void *args, size_t size)
{
    weft_task_options o = wf_spawn_sited(site, options);
    struct wf_spawn p = {.options = &o, .fn = fn, .copy = args, .copy_size = size};
    weft_task *t = NULL;

    (void)tracked_spawn("weft_task_tracker_spawn_copy_with", tr, &p, &t);
    return t;
}

weft_task *weft_task_tracker_spawn_async_at(const char *site, weft_task_tracker *tr,
                                            const weft_async_type *type, const void *state)
{
    weft_task_options o = {.site = site};
    struct wf_spawn p = wf_spawn_of_async(type, state);
    weft_task *t = NULL;

    p.options = &o;
    (void)tracked_spawn("weft_task_tracker_spawn_async", tr, &p, &t);
    return t;
}

int weft_task_tracker_go_at(const char *site, weft_task_tracker *tr, weft_fn *fn, void *arg)
{
    weft_task_options o = {.site = site};
    struct wf_spawn p = {.options = &o, .fn = fn, .arg = arg};

    return tracked_spawn("weft_task_tracker_go", tr, &p, NULL);
}

int weft_task_tracker_go_copy_at(const char *site, weft_task_tracker *tr, weft_fn *fn,
                                 const void *args, size_t size)
{
    weft_task_options o = {.site = site};
    struct wf_spawn p = {.options = &o, .fn = fn, .copy = args, .copy_size = size};

    return tracked_spawn("weft_task_tracker_go_copy", tr, &p, NULL);
}

int weft_task_tracker_go_with_at(const char *site, weft_task_tracker *tr,
                                 const weft_task_options *options, weft_fn *fn, void *arg)
{
    weft_task_options o = wf_spawn_sited(site, options);
    struct wf_spawn p = {.options = &o, .fn = fn, .arg = arg};

    return tracked_spawn("weft_task_tracker_go_with", tr, &p, NULL);
}

int weft_task_tracker_go_async_at(const char *site, weft_task_tracker *tr,
                                  const weft_async_type *type, const void *state)
{
    weft_task_options o = {.site = site};
    struct wf_spawn p = wf_spawn_of_async(type, state);

    p.options = &o;
    return tracked_spawn("weft_task_tracker_go_async", tr, &p, NULL);
}

weft_task *weft_task_tracker_spawn_blocking_at(const char *site, weft_task_tracker *tr,
                                               const weft_task_options *options, weft_fn *fn,
                                               void *arg)
{
    static const char call[] = "weft_task_tracker_spawn_blocking";
    weft_task_options o = wf_spawn_sited(site, options);
    struct wf_spawn p = {.options = &o, .fn = fn, .arg = arg, .behind = sizeof(struct tracked)};
    struct wf_thread *th = wf_thread_self();
    weft_task *t = NULL;
    weft_runtime *rt;

    if (!tr || wf_spawn_check(call, &p) < 0) {
        (void)wf_misuse(-EINVAL, "%s: the tracker, or something else, is missing", call);
        return NULL;
    }
    if (!th) {
        wf_log("%s: called outside a task", call);
        return NULL;
    }
    rt = wf_runtime_of(th->sched);
    if (wf_blocking_reserve(rt, call) < 0)
        return NULL;
    if (tracked_start(tr, &rt->sched, &p, true, &t) < 0) {
        wf_log("%s: no memory for a task", call);
        wf_pool_unreserve(rt);
    }
    return t;
}

/* From a plain thread, or into another runtime. */
static int tracked_spawn_on(const char *call, weft_task_tracker *tr, weft_runtime *rt,
                            struct wf_spawn *p, weft_task **t)
{
    int rc = wf_runtime_check_outside(rt, call);

    if (rc < 0)
        return rc;
    if (!tr)
        return wf_misuse(-EINVAL, "%s: the tracker is NULL", call);
    p->behind = sizeof(struct tracked);
    rc = wf_spawn_check(call, p);
    if (rc < 0)
        return rc;
    rc = wf_runtime_spawn_begin(rt);
    if (rc < 0)
        return rc;
    return wf_runtime_spawn_end(rt, tracked_start(tr, &rt->sched, p, false, t));
}

/* NOLINTNEXTLINE(readability-function-size): one parameter more than weft_spawn_on_at */
int weft_task_tracker_spawn_on_at(const char *site, weft_task_tracker *tr, weft_runtime *rt,
                                  weft_task **t, const weft_task_options *options, weft_fn *fn,
                                  void *arg)
{
    weft_task_options o = wf_spawn_sited(site, options);
    struct wf_spawn p = {.options = &o, .fn = fn, .arg = arg};

    return tracked_spawn_on("weft_task_tracker_spawn_on", tr, rt, &p, t);
}

/* NOLINTNEXTLINE(readability-function-size): one parameter more than weft_spawn_async_on_at */
int weft_task_tracker_spawn_async_on_at(const char *site, weft_task_tracker *tr, weft_runtime *rt,
                                        weft_task **t, const weft_task_options *options,
                                        const weft_async_type *type, const void *state)
{
    weft_task_options o = wf_spawn_sited(site, options);
    struct wf_spawn p = wf_spawn_of_async(type, state);

    p.options = &o;
    return tracked_spawn_on("weft_task_tracker_spawn_async_on", tr, rt, &p, t);
}

/* NOLINTNEXTLINE(readability-function-size): one parameter more than weft_spawn_blocking_on_at */
int weft_task_tracker_spawn_blocking_on_at(const char *site, weft_task_tracker *tr,
                                           weft_runtime *rt, weft_task **t,
                                           const weft_task_options *options, weft_fn *fn, void *arg)
{
    static const char call[] = "weft_task_tracker_spawn_blocking_on";
    weft_task_options o = wf_spawn_sited(site, options);
    struct wf_spawn p = {.options = &o, .fn = fn, .arg = arg, .behind = sizeof(struct tracked)};
    int rc = wf_runtime_check_outside(rt, call);

    if (rc < 0)
        return rc;
    if (!tr)
        return wf_misuse(-EINVAL, "%s: the tracker is NULL", call);
    rc = wf_spawn_check(call, &p);
    if (rc < 0)
        return rc;
    rc = wf_runtime_spawn_begin(rt);
    if (rc < 0)
        return rc;
    if (!wf_pool_try_reserve(rt))
        return wf_runtime_spawn_end(rt, -EAGAIN);
    rc = tracked_start(tr, &rt->sched, &p, true, t);
    if (rc < 0)
        wf_pool_unreserve(rt);
    return wf_runtime_spawn_end(rt, rc);
}

/* The functions behind the macros of the same name. */
weft_task *(weft_task_tracker_spawn)(weft_task_tracker *tr, weft_fn *fn, void *arg)
{
    return weft_task_tracker_spawn_at(NULL, tr, fn, arg);
}

weft_task *(weft_task_tracker_spawn_copy)(weft_task_tracker *tr, weft_fn *fn, const void *args,
                                          size_t size)
{
    return weft_task_tracker_spawn_copy_at(NULL, tr, fn, args, size);
}

weft_task *(weft_task_tracker_spawn_with)(weft_task_tracker *tr, const weft_task_options *options,
                                          weft_fn *fn, void *arg)
{
    return weft_task_tracker_spawn_with_at(NULL, tr, options, fn, arg);
}

weft_task *(weft_task_tracker_spawn_copy_with)(weft_task_tracker *tr,
                                               const weft_task_options *options, weft_fn *fn,
                                               const void *args, size_t size)
{
    return weft_task_tracker_spawn_copy_with_at(NULL, tr, options, fn, args, size);
}

weft_task *(weft_task_tracker_spawn_async)(weft_task_tracker *tr, const weft_async_type *type,
                                           const void *state)
{
    return weft_task_tracker_spawn_async_at(NULL, tr, type, state);
}

weft_task *(weft_task_tracker_spawn_blocking)(weft_task_tracker *tr,
                                              const weft_task_options *options, weft_fn *fn,
                                              void *arg)
{
    return weft_task_tracker_spawn_blocking_at(NULL, tr, options, fn, arg);
}

int(weft_task_tracker_go)(weft_task_tracker *tr, weft_fn *fn, void *arg)
{
    return weft_task_tracker_go_at(NULL, tr, fn, arg);
}

int(weft_task_tracker_go_copy)(weft_task_tracker *tr, weft_fn *fn, const void *args, size_t size)
{
    return weft_task_tracker_go_copy_at(NULL, tr, fn, args, size);
}

int(weft_task_tracker_go_with)(weft_task_tracker *tr, const weft_task_options *options, weft_fn *fn,
                               void *arg)
{
    return weft_task_tracker_go_with_at(NULL, tr, options, fn, arg);
}

int(weft_task_tracker_go_async)(weft_task_tracker *tr, const weft_async_type *type,
                                const void *state)
{
    return weft_task_tracker_go_async_at(NULL, tr, type, state);
}

int(weft_task_tracker_spawn_async_on)(weft_task_tracker *tr, weft_runtime *rt, weft_task **t,
                                      const weft_task_options *options, const weft_async_type *type,
                                      const void *state)
{
    return weft_task_tracker_spawn_async_on_at(NULL, tr, rt, t, options, type, state);
}

int(weft_task_tracker_spawn_on)(weft_task_tracker *tr, weft_runtime *rt, weft_task **t,
                                const weft_task_options *options, weft_fn *fn, void *arg)
{
    return weft_task_tracker_spawn_on_at(NULL, tr, rt, t, options, fn, arg);
}

int(weft_task_tracker_spawn_blocking_on)(weft_task_tracker *tr, weft_runtime *rt, weft_task **t,
                                         const weft_task_options *options, weft_fn *fn, void *arg)
{
    return weft_task_tracker_spawn_blocking_on_at(NULL, tr, rt, t, options, fn, arg);
}
