/* SPDX-License-Identifier: MIT */
/*
 * deadline.c - WEFT_DEADLINE scopes.
 *
 * IDEA     A scope is a link in its fiber's chain. Nothing is armed until the fiber waits for the first
 *          time inside it; then the timer of the nearest scope is armed once and stays armed
 *          until the scope is left, however many awaits there are.
 * WHO      The fiber that entered it. The timer is the wheel's, see wheel.h.
 */
#include "task/deadline.h"

#include "base/log.h"
#include "task/now.h"
#include "task/waker.h"

#include <errno.h>

void wf_deadline_push(struct wf_deadline *d, struct wf_fiber *f, uint64_t limit, bool lazy)
{
    *d = (struct wf_deadline){.fiber = f, .at = limit, .lazy = lazy};
    if (!f)
        return;
    d->outer = f->deadline;
    d->nearest = d;
    /* A lazy scope finds its place when it first waits. */
    if (!lazy && d->outer && d->outer->nearest->at <= d->at)
        d->nearest = d->outer->nearest;
    f->deadline = d;
}

void wf_deadline_pop(struct wf_deadline *d)
{
    if (!d->fiber)
        return;
    wf_assert(d->fiber->deadline == d);
    d->fiber->deadline = d->outer;
    d->fiber = NULL;
    wf_timer_cancel(&d->timer);
}

static void deadline_settle(struct wf_deadline *d, uint64_t now)
{
    d->lazy = false;
    d->at = weft_instant_add(now, d->at);
    if (d->outer && d->outer->nearest->at <= d->at)
        d->nearest = d->outer->nearest;
}

bool wf_deadline_check(struct wf_fiber *f)
{
    struct wf_deadline *d = f->deadline;
    uint64_t now;

    if (!d->lazy && d->nearest->at == WEFT_FOREVER)
        return false;
    now = wf_now();
    if (d->lazy)
        deadline_settle(d, now);
    d = d->nearest;
    if (now >= d->at)
        d->passed = true;
    return d->passed;
}

bool wf_deadline_arm(struct wf_fiber *f)
{
    struct wf_deadline *d = f->deadline->nearest;

    /* Armed by an earlier wait: the timer tells, no clock is needed. */
    if (!f->deadline->lazy && d->timer.gate)
        return wf_timer_fired(&d->timer);
    if (wf_deadline_check(f))
        return true;
    d = f->deadline->nearest;
    if (d->at != WEFT_FOREVER && !d->timer.gate)
        wf_timer_arm(&d->timer, wf_thread_self()->wheel, d->at,
                     wf_wakeable_retain(&f->task->wakeable));
    return false;
}

static struct wf_deadline *deadline_of(weft_deadline *scope)
{
    return (struct wf_deadline *)(void *)scope->words_;
}

weft_deadline *weft_deadline_enter(weft_deadline *scope, weft_duration limit)
{
    return weft_deadline_enter_at(scope, limit == WEFT_FOREVER ? WEFT_FOREVER
                                                               : weft_instant_add(wf_now(), limit));
}

weft_deadline *weft_deadline_enter_at(weft_deadline *scope, weft_instant at)
{
    if (scope)
        wf_deadline_push(deadline_of(scope), wf_fiber_self(), at, false);
    else
        (void)wf_misuse(-EINVAL, "weft_deadline_enter: scope is NULL");
    return scope;
}

void weft_deadline_leave(weft_deadline *scope)
{
    if (scope)
        wf_deadline_pop(deadline_of(scope));
}

bool weft_deadline_passed(void)
{
    struct wf_fiber *f = wf_fiber_self();

    return f && f->deadline && (wf_deadline_known(f) || wf_deadline_check(f));
}

weft_instant weft_deadline_current(void)
{
    struct wf_fiber *f = wf_fiber_self();

    return f && f->deadline ? f->deadline->nearest->at : WEFT_FOREVER;
}
