/* SPDX-License-Identifier: MIT */
/*
 * join_set.c - tasks that somebody started and waits for together: the calls. What they stand on is in gather.c. A
 * local set is one whose tasks are pinned to one worker (sched/pins.h).
 */
#include "sync/gather.h"

#include "base/log.h"
#include "base/sys.h"
#include "sched/runtime.h"
#include "task/current.h"
#include "task/leave.h"
#include "task/thread_wait.h"

#include <errno.h>
#include <string.h>
#include <weft/join_set.h>

struct weft_join_set {
    struct wf_gather gather;
    weft_task_options defaults;
    char name[64];
};

static struct weft_task *set_taken(struct wf_gather *gt, struct wf_child *c, void *done)
{
    struct weft_task *t = c->on_end.task;

    (void)gt;
    if (done)
        *(weft_join_done *)done = (weft_join_done){.id = t->id, .tag = c->tag, .result = t->result};
    return t;
}

static void set_destroy(struct wf_gather *gt)
{
    wf_sys_free(wf_container_of(gt, struct weft_join_set, gather));
}

static const struct wf_gather_kind set_kind = {.taken = set_taken,
                                               .destroy = set_destroy,
                                               .noun = "a join set"};

/* To the calling worker, or any of the runtime that was given. */
static void set_pin(struct wf_group *g, struct wf_thread *th)
{
    if (!g->rt)
        g->rt = wf_runtime_of(th->sched);
    g->local = true;
    g->pin = g->rt->sched.ops->pin(&g->rt->sched, th);
}

int wf_join_set_new(const char *call, weft_join_set **set, const weft_join_set_options *options,
                    bool local)
{
    static const weft_join_set_options none;
    const weft_join_set_options *o = options ? options : &none;
    struct wf_thread *th = wf_thread_self();
    weft_join_set *s;
    int rc;

    if (!set)
        return wf_misuse(-EINVAL, "%s: set is NULL", call);
    if (local && !o->runtime && !th)
        return wf_misuse(-EPERM, "%s: called outside a task, and no runtime was given", call);
    s = wf_sys_calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    wf_gather_init(&s->gather, &set_kind, o->ordered);
    s->gather.group.rt = o->runtime;
    if (local)
        set_pin(&s->gather.group, th);
    if (o->name)
        memcpy(s->name, o->name, strnlen(o->name, sizeof(s->name) - 1));
    if (o->defaults) {
        s->defaults = *o->defaults;
        s->gather.group.defaults = &s->defaults;
    }
    rc = o->deadline ? wf_gather_set_deadline(&s->gather, o->deadline) : 0;
    if (rc < 0) {
        set_destroy(&s->gather);
        return rc;
    }
    *set = s;
    return 0;
}

int weft_join_set_new_with(weft_join_set **set, const weft_join_set_options *options)
{
    return wf_join_set_new("weft_join_set_new_with", set, options, false);
}

weft_join_set *weft_join_set_new(void)
{
    weft_join_set *set = NULL;

    return wf_join_set_new("weft_join_set_new", &set, NULL, false) == 0 ? set : NULL;
}

struct wf_group *wf_join_set_group(const weft_join_set *set)
{
    return wf_unconst(&set->gather.group);
}

static bool set_check(const weft_join_set *set, const char *call)
{
    if (wf_likely(set != NULL))
        return true;
    (void)wf_misuse(-EINVAL, "%s: set is NULL", call);
    return false;
}

/* --- spawning --- */

ssize_t wf_join_set_spawn(const char *call, weft_join_set *set, const char *site,
                          const weft_task_options *options, struct wf_group_spawn *what)
{
    weft_task_options o;

    if (!set_check(set, call))
        return -EINVAL;
    o = wf_spawn_sited(site, options ? options : set->gather.group.defaults);
    o.pinned = o.pinned || set->gather.group.pin;
    what->task.options = &o;
    what->tag = options ? options->tag : (uint64_t)(uintptr_t)what->task.arg;
    return wf_group_spawn(&set->gather.group, call, what);
}

/* --- taking --- */

int weft_join_set_next(weft_join_set *set, weft_join_done *done)
{
    if (!set_check(set, "weft_join_set_next"))
        return -EINVAL;
    return wf_gather_next(&set->gather, done, "weft_join_set_next");
}

int weft_join_set_try_next(weft_join_set *set, weft_join_done *done)
{
    return set_check(set, "weft_join_set_try_next") ? wf_gather_try(&set->gather, done) : -EINVAL;
}

int weft_join_set_next_blocking(weft_join_set *set, weft_join_done *done)
{
    weft_future f;
    int rc = wf_thread_check_plain("weft_join_set_next_blocking");

    if (rc < 0)
        return rc;
    if (!set_check(set, "weft_join_set_next_blocking"))
        return -EINVAL;
    f = wf_gather_next_future(&set->gather, done);
    return (int)wf_thread_await(&f, WEFT_FOREVER);
}

weft_future weft_join_set_next_future(weft_join_set *set, weft_join_done *done)
{
    if (!set_check(set, "weft_join_set_next_future"))
        return weft_ready_future(-EINVAL);
    return wf_gather_next_future(&set->gather, done);
}

int weft_join_set_join_all(weft_join_set *set, weft_join_done_fn *fn, void *arg)
{
    weft_join_done done;
    int rc;

    if (!set_check(set, "weft_join_set_join_all"))
        return -EINVAL;
    while ((rc = wf_gather_next(&set->gather, &done, "weft_join_set_join_all")) > 0) {
        rc = fn ? fn(arg, &done) : 0;
        if (rc < 0)
            break;
    }
    return rc;
}

/* Words of a future, beside the gathering's. */
enum { ALL_FN = WF_GATHER_WORDS, ALL_ARG };

/* A fiber while it tells fn. */
struct all_visit {
    struct wf_leave leave; /* first: see leave.h */
    weft_future *future;
};

static void all_panicked(struct wf_leave *l)
{
    wf_leave_remove(l);
    wf_gather_drop(wf_container_of(l, struct all_visit, leave)->future);
}

static int all_tell(weft_future *f, const weft_join_done *done)
{
    weft_join_done_fn *fn = (weft_join_done_fn *)f->words[ALL_FN]; /* NOLINT */
    struct all_visit visit = {.future = f};
    struct wf_fiber *fiber = wf_fiber_self();
    int rc;

    if (!fn)
        return 0;
    if (fiber)
        wf_leave_push(fiber, WF_LEAVE_FIRST, &visit.leave, all_panicked);
    rc = fn((void *)f->words[ALL_ARG], done); /* NOLINT(performance-no-int-to-ptr) */
    if (fiber)
        wf_leave_remove(&visit.leave);
    return rc;
}

static weft_poll all_poll(weft_future *f, weft_context *cx)
{
    weft_join_done done;
    int rc;

    while (wf_gather_poll_next(f, cx, &done) == WEFT_READY) {
        if (f->result <= 0)
            return WEFT_READY;
        rc = all_tell(f, &done);
        if (rc < 0) {
            wf_gather_drop(f);
            f->result = rc;
            return WEFT_READY;
        }
    }
    return WEFT_PENDING;
}

static const weft_future_type all_type = {all_poll, wf_gather_drop, "all of a set"};

weft_future weft_join_set_join_all_future(weft_join_set *set, weft_join_done_fn *fn, void *arg)
{
    weft_future f;

    if (!set_check(set, "weft_join_set_join_all_future"))
        return weft_ready_future(-EINVAL);
    f = wf_gather_future(&all_type, &set->gather);
    f.words[ALL_FN] = (uintptr_t)fn;
    f.words[ALL_ARG] = (uintptr_t)arg;
    return f;
}

/* --- giving up --- */

void weft_join_set_cancel(weft_join_set *set)
{
    if (set_check(set, "weft_join_set_cancel"))
        (void)wf_group_cancel(&set->gather.group, NULL, NULL);
}

struct wanted {
    uint64_t id;
    bool found;
};

static bool set_is_wanted(const struct wf_child *c, void *arg)
{
    struct wanted *w = arg;
    bool is = c->on_end.task->id == w->id;

    w->found = w->found || is;
    return is;
}

int weft_join_set_cancel_one(weft_join_set *set, uint64_t id)
{
    struct wanted w = {.id = id};

    if (!set_check(set, "weft_join_set_cancel_one"))
        return -EINVAL;
    (void)wf_group_cancel(&set->gather.group, set_is_wanted, &w);
    return w.found ? 0 : -ENOENT;
}

int weft_join_set_shutdown(weft_join_set *set)
{
    if (!set_check(set, "weft_join_set_shutdown"))
        return -EINVAL;
    (void)wf_group_cancel(&set->gather.group, NULL, NULL);
    return weft_join_set_join_all(set, NULL, NULL);
}

static const weft_future_type shutdown_type = {wf_gather_poll_shutdown, wf_gather_drop,
                                               "shutdown of a set"};

weft_future weft_join_set_shutdown_future(weft_join_set *set)
{
    if (!set_check(set, "weft_join_set_shutdown_future"))
        return weft_ready_future(-EINVAL);
    return wf_gather_future(&shutdown_type, &set->gather);
}

void weft_join_set_detach_all(weft_join_set *set)
{
    if (set_check(set, "weft_join_set_detach_all"))
        wf_gather_detach_all(&set->gather);
}

int weft_join_set_set_deadline(weft_join_set *set, weft_instant at)
{
    if (!set_check(set, "weft_join_set_set_deadline"))
        return -EINVAL;
    return wf_gather_set_deadline(&set->gather, at);
}

int weft_join_set_free_after(weft_join_set *set, weft_duration grace)
{
    return set ? wf_gather_free(&set->gather, grace) : 0;
}

void weft_join_set_free(weft_join_set *set)
{
    (void)weft_join_set_free_after(set, 0);
}

/* --- what it says of itself --- */

size_t weft_join_set_len(const weft_join_set *set)
{
    return set_check(set, "weft_join_set_len") ? wf_gather_shown(&set->gather) : 0;
}

bool weft_join_set_is_empty(const weft_join_set *set)
{
    return weft_join_set_len(set) == 0;
}

int weft_join_set_get_info_sized(const weft_join_set *set, weft_join_set_info *info, size_t size)
{
    weft_join_set_info all = {0};
    struct weft_join_set *s = wf_unconst(set);

    if (!set || !info)
        return wf_misuse(-EINVAL, "weft_join_set_get_info: set or info is NULL");
    wf_lock(&s->gather.group.lock);
    all.len = s->gather.group.count - s->gather.hidden;
    all.spawned = s->gather.group.spawned;
    all.taken = s->gather.taken;
    all.expired = s->gather.expired;
    wf_unlock(&s->gather.group.lock);
    all.ordered = s->gather.ordered;
    memcpy(all.name, s->name, sizeof(all.name));
    memcpy(info, &all, size < sizeof(all) ? size : sizeof(all));
    return 0;
}

/* The function behind the macro of the same name. */
int(weft_join_set_get_info)(const weft_join_set *set, weft_join_set_info *info)
{
    return weft_join_set_get_info_sized(set, info, sizeof(*info));
}
