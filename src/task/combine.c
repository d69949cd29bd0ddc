/* SPDX-License-Identifier: MIT */
/*
 * combine.c - select, join, try-join and timeout over futures that the caller owns.
 *
 * Each is a future that points at its branches; the straight-line calls await that future. When a
 * branch wakes the task all pending branches are polled again: right for a few branches, a
 * futures set (futures.c) is for many.
 */
#include "base/log.h"
#include "task/await.h"
#include "task/future.h"
#include "task/now.h"
#include "task/sleep.h"
#include "task/waker.h"

#include <errno.h>
#include <limits.h>
#include <weft/time.h>

enum { COMBINE_LIST, COMBINE_COUNT, COMBINE_FLAGS, COMBINE_START };

static weft_future *const *combine_list(const weft_future *f)
{
    return (weft_future *const *)f->words[COMBINE_LIST]; /* NOLINT(performance-no-int-to-ptr) */
}

static weft_future combine_future(const weft_future_type *type, weft_future *const list[], size_t n,
                                  unsigned flags)
{
    weft_future f = {.type = type};

    f.words[COMBINE_LIST] = (uintptr_t)list;
    f.words[COMBINE_COUNT] = n;
    f.words[COMBINE_FLAGS] = flags;
    return f;
}

static void combine_drop(weft_future *f)
{
    weft_future *const *list = combine_list(f);

    for (size_t i = 0; i < f->words[COMBINE_COUNT]; i++)
        weft_future_drop(list[i]);
}

static void select_drop(weft_future *f)
{
    weft_future *const *list = combine_list(f);

    if (!(f->words[COMBINE_FLAGS] & WEFT_SELECT_KEEP)) {
        combine_drop(f);
        return;
    }
    for (size_t i = 0; i < f->words[COMBINE_COUNT]; i++)
        if (list[i] && wf_future_pending(list[i]))
            wf_future_keep(list[i]);
}

static size_t select_start(const weft_future *f)
{
    struct wf_thread *th = wf_thread_self();

    if ((f->words[COMBINE_FLAGS] & WEFT_SELECT_BIASED) || !th)
        return 0;
    return wf_rand_below(th->rand, (uint32_t)f->words[COMBINE_COUNT]);
}

static weft_poll select_poll(weft_future *f, weft_context *cx)
{
    weft_future *const *list = combine_list(f);
    size_t n = f->words[COMBINE_COUNT], at = select_start(f);

    /* Of branches that are always ready and spend nothing, one would be taken again and again. */
    if (!wf_coop_has_budget(cx))
        return WEFT_PENDING;
    for (size_t i = 0; i < n; i++, at++) {
        if (at == n)
            at = 0;
        if (!list[at] || weft_future_poll(list[at], cx) == WEFT_PENDING)
            continue;
        f->result = (ssize_t)at;
        select_drop(f);
        return WEFT_READY;
    }
    return WEFT_PENDING;
}

/* Where to begin: one branch further each time, so that all have their turn at a fresh budget. */
static size_t join_start(weft_future *f)
{
    size_t n = f->words[COMBINE_COUNT], at = f->words[COMBINE_START];

    if (n && !(f->words[COMBINE_FLAGS] & WEFT_JOIN_BIASED))
        f->words[COMBINE_START] = at + 1 == n ? 0 : at + 1;
    return at;
}

/* Poll the branches that are left, from there around. False: stop, one of them has failed. */
static bool join_look(weft_future *f, weft_context *cx, bool try, bool *all)
{
    weft_future *const *list = combine_list(f);
    size_t n = f->words[COMBINE_COUNT], at = join_start(f);

    *all = true;
    for (size_t i = 0; i < n; i++, at++) {
        if (at == n)
            at = 0;
        if (!list[at])
            continue;
        if (weft_future_poll(list[at], cx) == WEFT_PENDING) {
            *all = false;
        } else if (try && list[at]->result < 0) {
            f->result = list[at]->result;
            return false;
        }
    }
    f->result = 0;
    return true;
}

static weft_poll join_poll(weft_future *f, weft_context *cx)
{
    bool all;

    (void)join_look(f, cx, false, &all);
    return all ? WEFT_READY : WEFT_PENDING;
}

static weft_poll try_join_poll(weft_future *f, weft_context *cx)
{
    bool all;

    if (join_look(f, cx, true, &all))
        return all ? WEFT_READY : WEFT_PENDING;
    combine_drop(f);
    return WEFT_READY;
}

/* The entries may be filled in later: they are looked at when the future is polled. */
static weft_future combine_checked(const weft_future_type *type, weft_future *const list[],
                                   size_t n, unsigned flags)
{
    if ((!list && n) || n > INT_MAX)
        return weft_ready_future(wf_misuse(-EINVAL, "%s: no futures, or too many", type->name));
    return combine_future(type, list, n, flags);
}

static const weft_future_type combine_select = {select_poll, select_drop, "select"};
static const weft_future_type combine_join = {join_poll, combine_drop, "join"};
static const weft_future_type combine_try_join = {try_join_poll, combine_drop, "try_join"};

weft_future weft_select_future(weft_future *const futures[], size_t n, unsigned flags)
{
    if (n == 0)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_select_future: no branch"));
    return combine_checked(&combine_select, futures, n, flags);
}

static bool join_flags_known(unsigned flags)
{
    return !(flags & ~(WEFT_JOIN_BIASED | WEFT_JOIN_TRY));
}

weft_future weft_join_all_with_future(weft_future *const futures[], size_t n, unsigned flags)
{
    if (!join_flags_known(flags))
        return weft_ready_future(wf_misuse(-EINVAL, "weft_join_all: no such flags: %#x", flags));
    return combine_checked(flags & WEFT_JOIN_TRY ? &combine_try_join : &combine_join, futures, n,
                           flags & WEFT_JOIN_BIASED);
}

weft_future weft_join_all_future(weft_future *const futures[], size_t n)
{
    return weft_join_all_with_future(futures, n, WEFT_JOIN_ROTATE);
}

weft_future weft_try_join_all_future(weft_future *const futures[], size_t n)
{
    return weft_join_all_with_future(futures, n, WEFT_JOIN_TRY);
}

/* Every entry is NULL or has a type, and at least least are there. */
static bool combine_valid(weft_future *const futures[], size_t n, size_t least)
{
    size_t there = 0;

    if ((!futures && n) || n > INT_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (futures[i] && !futures[i]->type)
            return false;
        there += futures[i] != NULL;
    }
    return there >= least;
}

/* Wait for a combinator. Refused on entry it never reached its branches, which are dropped here. */
static ssize_t combine_await(weft_future *f, bool keep)
{
    ssize_t rc = weft_await(f);

    if (rc < 0 && rc != -EPERM && !keep)
        combine_drop(f);
    return rc;
}

ssize_t weft_select_n(weft_future *const futures[], size_t n, unsigned flags)
{
    weft_future f;

    if (!combine_valid(futures, n, 1))
        return wf_misuse(-EINVAL, "weft_select: no branch, or a branch without a type");
    f = weft_select_future(futures, n, flags);
    return combine_await(&f, flags & WEFT_SELECT_KEEP);
}

ssize_t weft_join_all_with(weft_future *const futures[], size_t n, unsigned flags)
{
    weft_future f;

    if (!join_flags_known(flags) || !combine_valid(futures, n, 0))
        return wf_misuse(-EINVAL, "weft_join_all: a future without a type, or unknown flags");
    f = weft_join_all_with_future(futures, n, flags);
    return combine_await(&f, false);
}

int weft_join_all_n(weft_future *const futures[], size_t n)
{
    return (int)weft_join_all_with(futures, n, WEFT_JOIN_ROTATE);
}

ssize_t weft_try_join_all_n(weft_future *const futures[], size_t n)
{
    return weft_join_all_with(futures, n, WEFT_JOIN_TRY);
}

/* Timeout: the timer holds the limit, or the moment, until it is armed; behind it the inner future. */
struct timeout {
    struct wf_timer timer;
    weft_future *inner;
};

enum { TIMEOUT_AFTER, TIMEOUT_AT };

_Static_assert(sizeof(struct timeout) <= sizeof(((weft_future *)0)->words), "timeout must fit");

static struct timeout *timeout_of(weft_future *f)
{
    return (struct timeout *)(void *)f->words;
}

static weft_poll timeout_end(weft_future *f, int result)
{
    weft_future_drop(timeout_of(f)->inner);
    f->result = result;
    return WEFT_READY;
}

/* The inner future is pending for the first time; or the timer was left behind by a runtime that has ended. */
static weft_poll timeout_arm(weft_future *f, const weft_context *cx)
{
    struct wf_timer *t = &timeout_of(f)->timer;
    uint64_t at = t->deadline, now;

    if (at == WEFT_FOREVER)
        return WEFT_PENDING;
    /* Asked now, for the poll is the user's and may have moved this fiber. */
    if (!wf_thread_self())
        return timeout_end(f, -EPERM);
    now = wf_now();
    if (f->aux_ == TIMEOUT_AFTER)
        at = weft_instant_add(now, at);
    else if (at <= now)
        return timeout_end(f, -ETIMEDOUT);
    f->aux_ = TIMEOUT_AT;
    wf_timer_arm(t, wf_thread_self()->wheel, at, wf_wakeable_retain(cx->waker_.target_));
    return WEFT_PENDING;
}

static weft_poll timeout_poll(weft_future *f, weft_context *cx)
{
    struct timeout *t = timeout_of(f);
    enum wf_timer_state state;

    if (weft_future_poll(t->inner, cx) == WEFT_READY) {
        wf_timer_cancel(&t->timer);
        f->result = t->inner->result;
        return WEFT_READY;
    }
    state = wf_timer_repoll(&t->timer, cx);
    if (state == WF_TIMER_IDLE)
        return timeout_arm(f, cx);
    return state == WF_TIMER_ARMED ? WEFT_PENDING : timeout_end(f, -ETIMEDOUT);
}

static void timeout_drop(weft_future *f)
{
    struct timeout *t = timeout_of(f);

    wf_timer_cancel(&t->timer);
    weft_future_drop(t->inner);
}

static const weft_future_type combine_timeout = {timeout_poll, timeout_drop, "timeout"};

static weft_future timeout_future(uint64_t limit, uint32_t kind, weft_future *inner,
                                  const char *call)
{
    weft_future f = {.type = &combine_timeout, .aux_ = kind};

    if (!inner)
        return weft_ready_future(wf_misuse(-EINVAL, "%s: inner is NULL", call));
    timeout_of(&f)->timer.deadline = limit;
    timeout_of(&f)->inner = inner;
    return f;
}

weft_future weft_timeout_future(weft_duration limit, weft_future *inner)
{
    return timeout_future(limit, TIMEOUT_AFTER, inner, "weft_timeout_future");
}

weft_future weft_timeout_at_future(weft_instant at, weft_future *inner)
{
    return timeout_future(at, TIMEOUT_AT, inner, "weft_timeout_at_future");
}
