/* SPDX-License-Identifier: MIT */
/* overdue.c - waiting in slices, and what is told at the end of one. */
#include "sync/overdue.h"

#include "base/log.h"
#include "task/await.h"
#include "task/now.h"
#include "task/sleep.h"
#include "time/wheel.h"

#include <stdio.h>
#include <weft/time.h>

#define OVERDUE_COUNT_MAX 1000 /* waiters that are counted */

uint64_t wf_overdue_limit(const struct weft_task *t)
{
    if (!t || !wf_load_u32(&wf_lock_limits, WF_RELAXED))
        return WEFT_FOREVER;
    return wf_runtime_of(t->sched)->set.config.lock_held_limit;
}

/* Who waits there. Under the lock: the queue holds a reference of what it will wake. */
static struct wf_someone overdue_waiter(struct wf_lock_wait *w)
{
    const weft_wakeable *target = w->waiter.target;

    if (target->type == &wf_fiber_type.wakeable || target->type == &wf_async_kind.wakeable)
        return wf_someone_met((uintptr_t)target);
    if ((w->self & (WF_OWNER_THREAD | WF_WAIT_SOLE)) == (WF_OWNER_THREAD | WF_WAIT_SOLE))
        return (struct wf_someone){.owner = w->self & ~WF_OWNER_FLAGS};
    return (struct wf_someone){0};
}

void wf_overdue_note_waiters(struct wf_overdue *o, const struct wf_waitq *q, struct wf_lock_wait *w)
{
    unsigned count = 0;

    if (!w)
        w = wf_lock_wait_of_waiter(q->first);
    o->waiter = overdue_waiter(w);
    o->waits_at = wf_lock_wait_site(w);
    for (const struct wf_waiter *at = q->first; at && count < OVERDUE_COUNT_MAX; at = at->next)
        count++;
    o->others = count - 1;
}

void wf_overdue_note_handed(struct wf_overdue *o, struct wf_lock_wait *w)
{
    o->handed_at = wf_lock_wait_site(w);
    o->handed_id = w->self & WF_WAIT_SOLE ? 0 : w->task_id;
}

/* The task of that id in the runtime, with a reference; else nobody. */
static struct wf_someone overdue_find(struct weft_runtime *rt, uint64_t id)
{
    struct wf_task_walk walk = {.rt = rt};
    struct weft_task *t = NULL;

    if (!rt || !id)
        return (struct wf_someone){0};
    while ((t = wf_task_walk_next(&walk)) && t->id != id)
        wf_task_release(t);
    while (walk.count)
        wf_task_release(walk.tasks[--walk.count]);
    return (struct wf_someone){.owner = (uintptr_t)t, .task = t};
}

static void overdue_print_handed(const struct wf_overdue *o, const char *waits)
{
    struct wf_someone to = overdue_find(wf_someone_runtime(&o->waiter), o->handed_id);
    char who[WF_SOMEONE_SIZE];

    wf_log(
        "%s %p%s%s%s was handed %llu ms ago to %s, waiting at %s, whose future has not been polled since, while "
        "%s; a future that is kept pending keeps what it is handed",
        o->kind, o->lock, WF_LOCK_NAME_ARGS(o->name), (unsigned long long)o->age_ns / 1000000,
        wf_someone_text(&to, who), o->handed_at, waits);
    wf_someone_put(&to);
}

static void overdue_print_held(const struct wf_overdue *o, const char *waits)
{
    char who[WF_SOMEONE_SIZE];

    wf_log("%s %p%s%s%s has been held for %llu ms by %s%s%s, while %s", o->kind, o->lock,
           WF_LOCK_NAME_ARGS(o->name), (unsigned long long)o->age_ns / 1000000,
           o->holder.owner ? wf_someone_text(&o->holder, who) : "readers",
           o->held_at ? ", locked at " : "", o->held_at ? o->held_at : "", waits);
}

/* Once for each place in the program. */
static uint64_t overdue_key(const struct wf_overdue *o)
{
    const void *place = o->handed_at ? o->handed_at : o->held_at ? o->held_at : o->lock;

    return (uintptr_t)place * 2 + (o->handed_at != NULL) + 1;
}

WF_COLD void wf_overdue_tell(const struct wf_overdue *o)
{
    struct weft_runtime *rt = wf_someone_runtime(&o->waiter);
    char who[WF_SOMEONE_SIZE], waits[WF_SOMEONE_SIZE + 160], others[32] = "";

    if (!rt)
        rt = wf_someone_runtime(&o->holder);
    if (rt)
        /* relaxed: a statistic */
        (void)wf_add_u64(&rt->locks_overdue, 1, WF_RELAXED);
    if (wf_lock_report_may(overdue_key(o))) {
        if (o->others)
            (void)snprintf(others, sizeof(others), " (and %u more)", o->others);
        (void)snprintf(waits, sizeof(waits), "%s waits for it at %s%s",
                       wf_someone_text(&o->waiter, who), o->waits_at, others);
        if (o->handed_at)
            overdue_print_handed(o, waits);
        else
            overdue_print_held(o, waits);
    }
    wf_someone_put(&o->waiter);
    wf_someone_put(&o->holder);
}

/* --- waiting in slices --- */

struct overdue_watch {
    weft_future *inner;
    wf_overdue_look *look;
    uint64_t limit_ns;
};

struct overdue_wait {
    struct wf_timer timer;
    const struct overdue_watch *watch;
};

_Static_assert(sizeof(struct overdue_wait) <= sizeof(((weft_future *)0)->words) ||
                   sizeof(uintptr_t) < 8,
               "a watched wait must fit");

static struct overdue_wait *overdue_of(weft_future *f)
{
    return (struct overdue_wait *)(void *)f->words;
}

static weft_poll overdue_poll(weft_future *f, weft_context *cx)
{
    struct overdue_wait *w = overdue_of(f);
    struct wf_timer *t = &w->timer;
    enum wf_timer_state state;

    if (weft_future_poll(w->watch->inner, cx) == WEFT_READY) {
        (void)wf_timer_cancel(t);
        f->result = w->watch->inner->result;
        return WEFT_READY;
    }
    state = wf_timer_repoll(t, cx);
    if (state == WF_TIMER_ARMED)
        return WEFT_PENDING;
    if (state == WF_TIMER_FIRED)
        w->watch->look(w->watch->inner, w->watch->limit_ns);
    wf_timer_arm(t, wf_thread_self()->wheel, weft_instant_add(wf_now(), w->watch->limit_ns),
                 wf_wakeable_retain(cx->waker_.target_));
    return WEFT_PENDING;
}

static void overdue_drop(weft_future *f)
{
    struct overdue_wait *w = overdue_of(f);

    (void)wf_timer_cancel(&w->timer);
    weft_future_drop(w->watch->inner);
}

static const weft_future_type overdue_type = {overdue_poll, overdue_drop, "lock"};

/* Apart, so that who is not watched need not have room for it on the stack. */
WF_NOINLINE static ssize_t overdue_await(struct wf_fiber *f, const struct overdue_watch *watch)
{
    weft_future future = {.type = &overdue_type};

    overdue_of(&future)->watch = watch;
    return wf_await_future(f, &future);
}

ssize_t wf_lock_await(struct wf_fiber *f, weft_future *future, wf_overdue_look *look)
{
    const struct overdue_watch watch = {
        .inner = future, .look = look, .limit_ns = wf_overdue_limit(f->task)};

    return wf_likely(watch.limit_ns == WEFT_FOREVER) ? wf_await_future(f, future)
                                                     : overdue_await(f, &watch);
}
