/* SPDX-License-Identifier: MIT */
/*
 * spawn.c - how a task comes into being, and how its header goes.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "task/current.h"
#include "task/locals.h"
#include "task/task.h"

#include <errno.h>
#include <string.h>

#define STACK_SIZE_MIN ((size_t)16 << 10)
#define STACK_SIZE_MAX ((size_t)1 << 30)

/* The largest state of a stackless task: the slab's largest class less the header. */
#define ASYNC_SIZE_MAX (9216 - sizeof(struct weft_task))

static int spawn_check_options(const weft_task_options *o)
{
    if (o && o->stack_size && (o->stack_size < STACK_SIZE_MIN || o->stack_size > STACK_SIZE_MAX))
        return wf_misuse(-EINVAL, "spawn: stack_size is %zu, not within 16 KiB and 1 GiB",
                         o->stack_size);
    return 0;
}

/* A function of its own: see spawn_init. */
WF_NOINLINE static uint32_t spawn_pin(struct wf_thread *th, struct wf_scheduler *s)
{
    return s->ops->pin(s, th);
}

/* What few options ask for. 0 or -ENOMEM. */
WF_COLD static int spawn_special(struct wf_thread *th, struct weft_task *t,
                                 const struct wf_spawn *p)
{
    const weft_task_options *o = p->options;

    if (o->pinned)
        /* relaxed: published by wf_task_publish */
        wf_store_u32(&t->flags, p->pin ? p->pin : spawn_pin(th, t->sched), WF_RELAXED);
    if (!o->name && !o->stack_size)
        return 0;
    t->extra = wf_sys_calloc(1, sizeof(*t->extra));
    if (!t->extra)
        return -ENOMEM;
    t->extra->stack_size = o->stack_size;
    if (o->name) {
        size_t n = strnlen(o->name, sizeof(t->extra->name) - 1);

        memcpy(t->extra->name, o->name, n);
    }
    return 0;
}

int wf_spawn_check_pin(const char *call, const struct wf_scheduler *s, const struct wf_spawn *p)
{
    const struct wf_thread *th;

    if (wf_likely(!p->options || !p->options->pinned) || p->pin)
        return 0;
    th = wf_thread_self();
    if (th && th->sched == s)
        return 0;
    return wf_misuse(-EINVAL,
                     "%s: a pinned task is spawned by a task of the same runtime; see "
                     "weft_local_set for others",
                     call);
}

int wf_spawn_check_blocking(const char *call, const struct wf_spawn *p)
{
    if (wf_likely(!p->options || !p->options->pinned))
        return 0;
    return wf_misuse(-EINVAL, "%s: a task on the blocking pool cannot be pinned", call);
}

/* The fields that both kinds share. 0 or -ENOMEM, and then the header is freed. th stays right: the user's
 * inherit may not await. A function of its own, so that tests/structure/tls.py finds it. */
WF_NOINLINE static int spawn_init(struct wf_thread *th, struct weft_task *t, struct wf_scheduler *s,
                                  const struct wf_task_type *type, const struct wf_spawn *p)
{
    const weft_task_options *o = p->options;
    int rc = 0;

    t->wakeable.type = &type->wakeable;
    t->next = NULL;
    t->sched = s;
    /* relaxed: published by wf_task_publish */
    wf_store_u64(&t->polls, 0, WF_RELAXED);
    wf_store_u64(&t->delay, 0, WF_RELAXED);
    wf_store_u64(&t->wakes, 0, WF_RELAXED);
    wf_store_u32(&t->poll_max, 0, WF_RELAXED);
    wf_store_u32(&t->delay_max, 0, WF_RELAXED);
    wf_store_u64(&t->ready_at, wf_thread_stamp(th), WF_RELAXED);
    t->id = wf_task_id_next(th);
    t->site = o ? o->site : NULL;
    t->extra = NULL;
    t->joiner = NULL;
    t->result = 0;
    wf_store_u32(&t->flags, 0, WF_RELAXED);
    if (wf_unlikely(o && (o->name || o->stack_size || o->pinned)))
        rc = spawn_special(th, t, p);
    if (wf_unlikely(rc == 0 && th && th->task && th->task->extra && th->task->extra->locals))
        rc = wf_locals_inherit(t, th->task);
    if (wf_unlikely(rc < 0))
        wf_task_destroy(t);
    return rc;
}

WF_INLINE struct weft_task *spawn_new(struct wf_thread *th, struct wf_scheduler *s,
                                      const struct wf_task_type *type, const struct wf_spawn *p)
{
    size_t size = sizeof(struct weft_task) +
                  (p->behind ? wf_task_tail_size(p->copy_size) + p->behind : p->copy_size);
    struct weft_task *t = wf_slab_alloc(th ? th->slab : NULL, size);

    if (wf_unlikely(!t) || spawn_init(th, t, s, type, p) < 0)
        return NULL;
    t->fn = p->fn;
    t->arg = p->arg;
    if (p->copy_size) {
        t->arg = wf_task_tail(t);
        memcpy(t->arg, p->copy, p->copy_size);
    }
    return t;
}

struct weft_task *wf_task_new_fiber(struct wf_thread *th, struct wf_scheduler *s,
                                    const struct wf_spawn *p)
{
    return spawn_new(th, s, &wf_fiber_type, p);
}

struct weft_task *wf_task_new_blocking(struct wf_thread *th, struct wf_scheduler *s,
                                       const struct wf_spawn *p)
{
    return spawn_new(th, s, &wf_blocking_kind, p);
}

struct weft_task *wf_task_new_async(struct wf_thread *th, struct wf_scheduler *s,
                                    const struct wf_spawn *p)
{
    struct weft_task *t = spawn_new(th, s, &wf_async_kind, p);

    if (wf_unlikely(!t))
        return NULL;
    /* relaxed: published by wf_task_publish */
    wf_store_u64(&t->poll_time, 0, WF_RELAXED);
    t->async = p->async;
    return t;
}

/* A hook may not await, so that th stays right. A function of its own: see spawn_init. */
WF_COLD static void spawn_hook(const struct wf_scheduler *s, const struct weft_task *t)
{
    s->on_spawn(s->hook_user, t);
}

WF_INLINE void spawn_expose(struct wf_thread *th, struct weft_task *t, unsigned handles,
                            uint64_t bits)
{
    /* One for the queue of the blocking pool: it may be cancelled before it is there. */
    unsigned refs = 1 + handles + (wf_task_type_of(t)->blocking ? 1 : 0);

    if (wf_likely(th && th->sched == t->sched))
        /* relaxed: see wf_count_u64 */
        wf_count_u64(&th->counters->spawned, 1);
    /* release: pairs with wf_task_try_retain of a walk. The queue's own ordering carries
     * the header to the worker. */
    wf_store_u64(&t->state, WF_TASK_NOTIFIED + WF_TASK_REF * refs + bits, WF_RELEASE);
}

WF_INLINE void spawn_start(struct wf_thread *th, struct weft_task *t)
{
    struct wf_scheduler *s = t->sched;
    bool blocking = wf_task_type_of(t)->blocking;

    /* Written first, looked second: the barrier of a shutdown comes between its store and its walk, so that
     * either this sees the closing, or the walk finds the task. */
    wf_compiler_fence();
    if (wf_unlikely(wf_load_u32(&s->closing, WF_RELAXED)) && wf_task_state_cancel(t))
        wf_unreachable("a new task is notified already");
    if (wf_unlikely(s->on_spawn != NULL))
        spawn_hook(s, t);
    if (wf_unlikely(blocking))
        s->ops->spawned_blocking(s, th, t);
    else
        s->ops->spawned(s, th, t);
}

void wf_task_expose(struct wf_thread *th, struct weft_task *t, unsigned handles, uint64_t bits)
{
    spawn_expose(th, t, handles, bits);
}

void wf_task_start(struct wf_thread *th, struct weft_task *t)
{
    spawn_start(th, t);
}

void wf_task_publish(struct wf_thread *th, struct weft_task *t, unsigned handles)
{
    spawn_expose(th, t, handles, 0);
    spawn_start(th, t);
}

void wf_task_destroy(struct weft_task *t)
{
    struct wf_thread *th;

    if (wf_unlikely(t->extra != NULL)) {
        wf_sys_free(t->extra->panic);
        if (t->extra->locals)
            wf_locals_free(t);
        wf_sys_free(t->extra);
        t->extra = NULL;
    }
    /* After the user's destructors, which may have moved the fiber that calls. */
    th = wf_thread_self();
    /* relaxed: nobody holds a reference; a walk that looks sees that */
    wf_store_u64(&t->state, 0, WF_RELAXED);
#if WF_DEBUG
    if (th) {
        struct weft_task *oldest = th->graves[th->grave];

        th->graves[th->grave] = t;
        th->grave = (th->grave + 1) % WF_GRAVES;
        t = oldest;
    }
#endif
    if (t)
        wf_slab_free(th ? th->slab : NULL, t);
}

void wf_task_free_graves(struct wf_thread *th)
{
#if WF_DEBUG
    for (size_t i = 0; i < WF_GRAVES; i++) {
        if (th->graves[i])
            wf_slab_free(th->slab, th->graves[i]);
        th->graves[i] = NULL;
    }
#else
    (void)th;
#endif
}

void wf_task_end(struct weft_task *t)
{
    struct wf_scheduler *s = t->sched;

    if (wf_unlikely(s->on_end != NULL))
        s->on_end(s->hook_user, t);
    wf_task_state_complete(t);
}

WF_COLD static int spawn_refuse(const char *call)
{
    wf_log("%s: called outside a task; plain threads use weft_spawn_on", call);
    return -EPERM;
}

static int spawn_check_async(const char *call, const struct wf_spawn *p)
{
    const weft_async_type *type = p->async;

    if (!type->poll || !p->copy || type->size < sizeof(weft_async))
        return wf_misuse(-EINVAL, "%s: type, poll or state is missing", call);
    if (type->size > ASYNC_SIZE_MAX - (p->behind ? wf_task_tail_size(p->behind) : 0))
        return wf_misuse(-EINVAL, "%s: a state of %zu bytes is more than %zu", call, type->size,
                         ASYNC_SIZE_MAX - (p->behind ? wf_task_tail_size(p->behind) : 0));
    return spawn_check_options(p->options);
}

int wf_spawn_check(const char *call, const struct wf_spawn *p)
{
    if (p->async)
        return spawn_check_async(call, p);
    if (wf_unlikely(!p->fn))
        return wf_misuse(-EINVAL, "%s: fn is NULL", call);
    if (wf_unlikely(p->copy_size > WEFT_COPY_MAX || (p->copy_size && !p->copy)))
        return wf_misuse(-EINVAL, "%s: %zu bytes of arguments are more than %d, or missing", call,
                         p->copy_size, WEFT_COPY_MAX);
    return spawn_check_options(p->options);
}

/* All ways to spawn a fiber from a task end here. */
int wf_spawn_fiber(const char *call, struct weft_task **out, const struct wf_spawn *p)
{
    struct wf_thread *th = wf_thread_self();
    struct weft_task *t;
    int rc;

    if (wf_unlikely(!th)) /* neither a task nor a hook on a worker */
        return spawn_refuse(call);
    rc = wf_spawn_check(call, p);
    if (wf_unlikely(rc < 0))
        return rc;
    t = wf_task_new_fiber(th, th->sched, p);
    if (wf_unlikely(!t)) {
        wf_log("%s: no memory for a task", call);
        return -ENOMEM;
    }
    wf_task_publish(th, t, out ? 1 : 0);
    if (out)
        *out = t;
    return 0;
}

weft_task *weft_spawn_at(const char *site, weft_fn *fn, void *arg)
{
    weft_task_options o = {.site = site};
    weft_task *t = NULL;

    wf_spawn_fiber("weft_spawn", &t, &(struct wf_spawn){.options = &o, .fn = fn, .arg = arg});
    return t;
}

weft_task *weft_spawn_copy_at(const char *site, weft_fn *fn, const void *args, size_t size)
{
    weft_task_options o = {.site = site};
    weft_task *t = NULL;

    wf_spawn_fiber("weft_spawn_copy", &t,
                   &(struct wf_spawn){.options = &o, .fn = fn, .copy = args, .copy_size = size});
    return t;
}

weft_task *weft_spawn_local_at(const char *site, weft_fn *fn, void *arg)
{
    weft_task_options o = {.site = site, .pinned = true};
    weft_task *t = NULL;

    wf_spawn_fiber("weft_spawn_local", &t, &(struct wf_spawn){.options = &o, .fn = fn, .arg = arg});
    return t;
}

weft_task_options wf_spawn_sited(const char *site, const weft_task_options *options)
{
    weft_task_options o = options ? *options : (weft_task_options){0};

    if (!o.site)
        o.site = site;
    return o;
}

weft_task *weft_spawn_with_at(const char *site, const weft_task_options *options, weft_fn *fn,
                              void *arg)
{
    weft_task_options o = wf_spawn_sited(site, options);
    weft_task *t = NULL;

    wf_spawn_fiber("weft_spawn_with", &t, &(struct wf_spawn){.options = &o, .fn = fn, .arg = arg});
    return t;
}

weft_task *weft_spawn_copy_with_at(const char *site, const weft_task_options *options, weft_fn *fn,
                                   const void *args, size_t size)
{
    weft_task_options o = wf_spawn_sited(site, options);
    weft_task *t = NULL;

    wf_spawn_fiber("weft_spawn_copy_with", &t,
                   &(struct wf_spawn){.options = &o, .fn = fn, .copy = args, .copy_size = size});
    return t;
}

int weft_go_at(const char *site, weft_fn *fn, void *arg)
{
    weft_task_options o = {.site = site};

    return wf_spawn_fiber("weft_go", NULL, &(struct wf_spawn){.options = &o, .fn = fn, .arg = arg});
}

int weft_go_copy_at(const char *site, weft_fn *fn, const void *args, size_t size)
{
    weft_task_options o = {.site = site};

    return wf_spawn_fiber(
        "weft_go_copy", NULL,
        &(struct wf_spawn){.options = &o, .fn = fn, .copy = args, .copy_size = size});
}

int weft_go_with_at(const char *site, const weft_task_options *options, weft_fn *fn, void *arg)
{
    weft_task_options o = wf_spawn_sited(site, options);

    return wf_spawn_fiber("weft_go_with", NULL,
                          &(struct wf_spawn){.options = &o, .fn = fn, .arg = arg});
}

/* The functions behind the macros of the same name. */
weft_task *(weft_spawn)(weft_fn *fn, void *arg)
{
    return weft_spawn_at(NULL, fn, arg);
}

weft_task *(weft_spawn_local)(weft_fn *fn, void *arg)
{
    return weft_spawn_local_at(NULL, fn, arg);
}

weft_task *(weft_spawn_copy)(weft_fn *fn, const void *args, size_t size)
{
    return weft_spawn_copy_at(NULL, fn, args, size);
}

weft_task *(weft_spawn_with)(const weft_task_options *options, weft_fn *fn, void *arg)
{
    return weft_spawn_with_at(NULL, options, fn, arg);
}

weft_task *(weft_spawn_copy_with)(const weft_task_options *options, weft_fn *fn, const void *args,
                                  size_t size)
{
    return weft_spawn_copy_with_at(NULL, options, fn, args, size);
}

int(weft_go_with)(const weft_task_options *options, weft_fn *fn, void *arg)
{
    return weft_go_with_at(NULL, options, fn, arg);
}

int(weft_go)(weft_fn *fn, void *arg)
{
    return weft_go_at(NULL, fn, arg);
}

int(weft_go_copy)(weft_fn *fn, const void *args, size_t size)
{
    return weft_go_copy_at(NULL, fn, args, size);
}

int wf_spawn_fiber_on(struct wf_scheduler *s, weft_task **out, const weft_task_options *options,
                      weft_fn *fn, void *arg)
{
    struct wf_spawn p = {.options = options, .fn = fn, .arg = arg};
    struct wf_thread *th = wf_thread_self();
    struct weft_task *t;
    int rc = wf_spawn_check("weft_spawn_on", &p);

    if (rc == 0)
        rc = wf_spawn_check_pin("weft_spawn_on", s, &p);
    if (rc < 0)
        return rc;
    t = wf_task_new_fiber(th, s, &p);
    if (!t)
        return -ENOMEM;
    wf_task_publish(th, t, out ? 1 : 0);
    if (out)
        *out = t;
    return 0;
}

int wf_spawn_async_on(struct wf_scheduler *s, weft_task **out, const weft_task_options *options,
                      const weft_async_type *type, const void *state)
{
    struct wf_spawn p = wf_spawn_of_async(type, state);
    struct wf_thread *th = wf_thread_self();
    struct weft_task *t;
    int rc;

    p.options = options;
    rc = wf_spawn_check("weft_spawn_async", &p);
    if (rc == 0)
        rc = wf_spawn_check_pin("weft_spawn_async", s, &p);
    if (rc < 0)
        return rc;
    t = wf_task_new_async(th, s, &p);
    if (!t)
        return -ENOMEM;
    wf_task_publish(th, t, out ? 1 : 0);
    if (out)
        *out = t;
    return 0;
}

static int spawn_async(const char *site, weft_task **out, const weft_async_type *type,
                       const void *state)
{
    weft_task_options o = {.site = site};
    struct wf_thread *th = wf_thread_self();
    int rc = th ? wf_spawn_async_on(th->sched, out, &o, type, state)
                : spawn_refuse("weft_spawn_async");

    if (rc == -ENOMEM)
        wf_log("weft_spawn_async: no memory for a task");
    return rc;
}

weft_task *weft_spawn_async_at(const char *site, const weft_async_type *type, const void *state)
{
    weft_task *t = NULL;

    spawn_async(site, &t, type, state);
    return t;
}

int weft_go_async_at(const char *site, const weft_async_type *type, const void *state)
{
    return spawn_async(site, NULL, type, state);
}

weft_task *(weft_spawn_async)(const weft_async_type *type, const void *state)
{
    return weft_spawn_async_at(NULL, type, state);
}

int(weft_go_async)(const weft_async_type *type, const void *state)
{
    return weft_go_async_at(NULL, type, state);
}
