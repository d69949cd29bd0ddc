/* SPDX-License-Identifier: MIT */
/* group.c - spawning into a group, walking it, and the watch that cancels it in time. */
#include "sync/group.h"

#include "base/log.h"
#include "sched/blocking.h"
#include "sched/life.h"
#include "task/current.h"
#include "task/waker.h"

#include <errno.h>
#include <weft/time.h>

#ifndef WF_GROUP_BATCH      /* a test build has smaller ones */
# define WF_GROUP_BATCH 32  /* tasks that are cancelled between two looks at the list */
# define WF_GROUP_STEPS 128 /* children looked at before the lock is given back */
#endif

void wf_group_init(struct wf_group *g, const struct wf_group_kind *kind)
{
    *g = (struct wf_group){.kind = kind, .cancel_at = WEFT_FOREVER};
    wf_list_init(&g->all);
}

/* --- spawning --- */

/* Where to, and what has to be held for it. */
static int group_destination(const struct wf_group *g, const char *call,
                             const struct wf_group_spawn *what, struct wf_birth *b)
{
    b->th = wf_thread_self();
    b->rt = what->rt ? what->rt : g->rt ? g->rt : b->th ? wf_runtime_of(b->th->sched) : NULL;
    if (!b->rt) {
        (void)wf_misuse(-EPERM, "%s: called outside a task, and no runtime was given", call);
        return -EPERM;
    }
    b->outside = !b->th || b->th->sched != &b->rt->sched;
    return b->outside ? wf_runtime_check_outside(b->rt, call) : 0;
}

static int group_reserve(struct wf_birth *b, const char *call)
{
    int rc;

    if (wf_likely(!b->outside) && !b->blocking)
        return 0;
    rc = b->blocking ? wf_blocking_reserve(b->rt, call) : 0;
    if (rc < 0)
        return rc;
    /* It may have waited, and go on elsewhere. */
    b->th = wf_thread_self();
    rc = b->outside ? wf_runtime_spawn_begin(b->rt) : 0;
    if (rc < 0 && b->blocking)
        wf_pool_unreserve(b->rt);
    return rc;
}

static void group_unreserve(struct wf_birth *b)
{
    if (b->blocking)
        wf_pool_unreserve(b->rt);
    if (b->outside)
        (void)wf_runtime_spawn_end(b->rt, 0);
}

/* Is it right where it is to run? */
static int group_check_place(const struct wf_group *g, const char *call, const struct wf_birth *b,
                             struct wf_group_spawn *what)
{
    what->task.pin = g->pin;
    if (wf_unlikely(g->local && b->rt != g->rt))
        return wf_misuse(-EINVAL, "%s: the tasks of a local set are on its own runtime", call);
    if (wf_unlikely(b->blocking && g->local))
        return wf_misuse(-EINVAL, "%s: the tasks of a local set cannot be on the blocking pool",
                         call);
    return b->blocking ? wf_spawn_check_blocking(call, &what->task)
                       : wf_spawn_check_pin(call, &b->rt->sched, &what->task);
}

static struct weft_task *group_new_task(const struct wf_birth *b, const struct wf_spawn *p)
{
    if (b->blocking)
        return wf_task_new_blocking(b->th, &b->rt->sched, p);
    return p->async ? wf_task_new_async(b->th, &b->rt->sched, p)
                    : wf_task_new_fiber(b->th, &b->rt->sched, p);
}

int wf_group_conceive(struct wf_group *g, const char *call, struct wf_group_spawn *what,
                      size_t child_size, struct wf_birth *b)
{
    struct weft_task *t;
    int rc;

    what->task.behind = child_size;
    rc = wf_spawn_check(call, &what->task);
    if (wf_unlikely(rc != 0))
        return rc;
    b->blocking = what->blocking;
    rc = group_destination(g, call, what, b);
    if (wf_likely(rc == 0))
        rc = group_check_place(g, call, b, what);
    if (wf_unlikely(rc != 0))
        return rc;
    rc = group_reserve(b, call);
    if (wf_unlikely(rc != 0))
        return rc;
    t = group_new_task(b, &what->task);
    if (wf_unlikely(!t)) {
        group_unreserve(b);
        return -ENOMEM;
    }
    b->child = wf_task_behind(t, what->task.copy_size);
    b->child->on_end.task = t;
    b->child->group = g;
    b->child->next = NULL;
    b->child->link = (struct wf_list){NULL, NULL};
    b->child->tag = what->tag;
    b->child->hidden = false;
    return 0;
}

int wf_group_add_locked(struct wf_group *g, struct wf_birth *b)
{
    struct wf_child *c = b->child;
    struct weft_task *t = c->on_end.task;

    if (wf_unlikely(g->closed))
        return -ESHUTDOWN;
    if (wf_unlikely(b->blocking && b->outside))
        /* Before it can be cancelled, and so end. relaxed: one half of wf_runtime_alive */
        wf_add_u64(&b->rt->spawned_outside, 1, WF_RELAXED);
    wf_on_end_expose(b->th, t, &c->on_end, g->kind->ended);
    if (wf_unlikely(g->cancelled) && wf_task_state_cancel(t))
        wf_unreachable("a new task is notified already");
    wf_list_push_back(&g->all, &c->link);
    g->count++;
    g->spawned++;
    return 0;
}

ssize_t wf_group_bear(struct wf_birth *b, int rc)
{
    struct weft_task *t = b->child->on_end.task;
    ssize_t id = (ssize_t)t->id;

    if (wf_unlikely(rc < 0)) {
        wf_task_destroy(t);
        group_unreserve(b);
        return rc;
    }
    /* It may end, and be gone. */
    wf_task_start(b->th, t);
    if (wf_unlikely(b->outside))
        (void)wf_runtime_spawn_end(b->rt, 0);
    return id;
}

ssize_t wf_group_spawn(struct wf_group *g, const char *call, struct wf_group_spawn *what)
{
    struct wf_birth b;
    int rc = wf_group_conceive(g, call, what, sizeof(struct wf_child), &b);

    if (wf_unlikely(rc != 0))
        return rc;
    wf_lock(&g->lock);
    rc = wf_group_add_locked(g, &b);
    wf_unlock(&g->lock);
    return wf_group_bear(&b, rc);
}

/* --- the list --- */

void wf_group_remove_locked(struct wf_group *g, struct wf_child *c)
{
    for (struct wf_walk *w = g->walks; wf_unlikely(w != NULL); w = w->next) {
        /* G2 */
        if (w->last == &c->link && w->at == &c->link)
            w->over = true;
        else if (w->last == &c->link)
            w->last = c->link.prev;
        if (w->at == &c->link)
            w->at = c->link.next;
    }
    wf_list_remove(&c->link);
    g->count--;
}

void wf_walk_begin_locked(struct wf_group *g, struct wf_walk *w)
{
    *w = (struct wf_walk){
        .next = g->walks, .at = g->all.next, .last = g->all.prev, .over = wf_list_empty(&g->all)};
    g->walks = w;
}

struct wf_child *wf_walk_next_locked(struct wf_group *g, struct wf_walk *w)
{
    struct wf_list *at = w->at;

    (void)g;
    if (w->over)
        return NULL;
    wf_debug_assert(at != &g->all);
    w->over = at == w->last;
    w->at = at->next;
    return wf_child_of_link(at);
}

void wf_walk_end_locked(struct wf_group *g, struct wf_walk *w)
{
    struct wf_walk **at = &g->walks;

    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
}

/* Under the lock: some of those to be cancelled, each with a reference. */
static unsigned group_collect_locked(struct wf_group *g, struct wf_walk *w, wf_child_test *test,
                                     void *arg, struct weft_task **batch)
{
    struct wf_child *c;
    unsigned n = 0;

    for (unsigned steps = 0; n < WF_GROUP_BATCH && steps < WF_GROUP_STEPS; steps++) {
        c = wf_walk_next_locked(g, w);
        if (!c)
            break;
        if (wf_task_is_complete(c->on_end.task) || (test && !test(c, arg)))
            continue;
        wf_task_retain(c->on_end.task);
        batch[n++] = c->on_end.task;
    }
    return n;
}

uint64_t wf_group_cancel(struct wf_group *g, wf_child_test *test, void *arg)
{
    struct weft_task *batch[WF_GROUP_BATCH];
    struct wf_walk walk;
    uint64_t total = 0;
    bool over;

    wf_lock(&g->lock);
    wf_walk_begin_locked(g, &walk);
    do {
        unsigned n = group_collect_locked(g, &walk, test, arg, batch);

        over = walk.over;
        if (over)
            wf_walk_end_locked(g, &walk);
        wf_unlock(&g->lock);
        for (unsigned i = 0; i < n; i++) {
            weft_cancel(batch[i]);
            wf_task_release(batch[i]);
        }
        total += n;
        if (!over)
            wf_lock(&g->lock);
    } while (!over);
    return total;
}

void wf_group_cancel_spawns(struct wf_group *g)
{
    wf_lock(&g->lock);
    g->cancelled = true;
    wf_unlock(&g->lock);
}

/* --- the watch --- */

/* Its state, a stackless task's. */
struct watch {
    weft_async async;
    struct wf_group *group;
    uint64_t at; /* of the nap */
    weft_future nap;
};

static weft_poll watch_poll(void *self, weft_context *cx)
{
    struct watch *w = self;
    struct wf_group *g = w->group;
    uint64_t at;

    wf_lock(&g->lock);
    at = g->cancel_at;
    wf_unlock(&g->lock);
    if (w->async.awaiting_ && at != w->at) {
        weft_future_drop(&w->nap);
        w->async.awaiting_ = NULL;
    }
    if (!w->async.awaiting_) {
        w->at = at;
        w->nap = at == WEFT_FOREVER ? weft_pending_future() : weft_sleep_until_future(at);
        w->async.awaiting_ = &w->nap;
    }
    if (weft_async_await(&w->async, &w->nap, cx) == WEFT_PENDING)
        return WEFT_PENDING;
    g->kind->expired(g);
    return weft_async_return(&w->async, 0);
}

static const weft_async_type watch_type = {.poll = watch_poll,
                                           .size = sizeof(struct watch),
                                           .name = "watch"};

static void watch_ended(struct wf_on_end *e)
{
    struct wf_group *g = wf_child_of(e)->group;
    struct weft_task *t = e->task;

    g->kind->unwatched(g);
    wf_task_release(t);
}

/* Made, and the group's from the moment that it is seen by others. */
static int watch_begin(struct wf_group *g, uint64_t at)
{
    static const weft_task_options options = {.site = "weft"};
    const struct watch state = {.group = g};
    struct wf_group_spawn what = {
        .task = {
            .options = &options, .async = &watch_type, .copy = &state, .copy_size = sizeof(state)}};
    struct wf_birth b;
    int rc = wf_group_conceive(g, "a deadline", &what, sizeof(struct wf_child), &b);

    if (rc != 0)
        return rc;
    wf_lock(&g->lock);
    rc = g->closed ? -ESHUTDOWN : g->watch ? -EALREADY : 0;
    if (rc == 0) {
        g->watch = b.child->on_end.task;
        wf_on_end_expose(b.th, g->watch, &b.child->on_end, watch_ended);
        g->cancel_at = at;
        if (g->kind->watched)
            g->kind->watched(g);
    }
    wf_unlock(&g->lock);
    rc = (int)wf_group_bear(&b, rc);
    return rc < 0 ? rc : 0;
}

/* Under the lock, with a reference. */
static struct weft_task *group_watch_locked(struct wf_group *g)
{
    if (g->watch)
        wf_task_retain(g->watch);
    return g->watch;
}

/* Without the lock: the watch polls again. */
static void watch_tell(struct weft_task *watch)
{
    wf_wakeable_wake(&watch->wakeable);
}

int wf_group_set_time(struct wf_group *g, uint64_t at)
{
    struct weft_task *watch;
    int rc;

    do {
        wf_lock(&g->lock);
        watch = group_watch_locked(g);
        if (watch)
            g->cancel_at = at;
        wf_unlock(&g->lock);
        if (watch) {
            watch_tell(watch);
            return 0;
        }
        if (at == WEFT_FOREVER)
            return 0;
        rc = watch_begin(g, at);
    } while (rc == -EALREADY);
    return rc;
}

int wf_group_need_watch(struct wf_group *g)
{
    bool there;
    int rc;

    wf_lock(&g->lock);
    there = g->watch != NULL || g->cancelled;
    wf_unlock(&g->lock);
    rc = there ? 0 : watch_begin(g, WEFT_FOREVER);
    return rc == -EALREADY ? 0 : rc;
}

void wf_group_lower_time(struct wf_group *g, uint64_t at)
{
    struct weft_task *watch = NULL;

    wf_lock(&g->lock);
    if (at < g->cancel_at) {
        g->cancel_at = at;
        watch = group_watch_locked(g);
    }
    wf_unlock(&g->lock);
    if (watch)
        watch_tell(watch);
}

void wf_group_dismiss_watch(struct wf_group *g)
{
    struct weft_task *watch;

    wf_lock(&g->lock);
    watch = group_watch_locked(g);
    wf_unlock(&g->lock);
    if (!watch)
        return;
    weft_cancel(watch);
    wf_task_release(watch);
}
