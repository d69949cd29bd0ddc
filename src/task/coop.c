/* SPDX-License-Identifier: MIT */
/* coop.c - giving way: yield, the budget's public calls, shields. */
#include "base/clock.h"
#include "base/log.h"
#include "task/await.h"
#include "task/deadline.h"

#include <errno.h>

/* weft_should_yield says so when one poll has run for longer. */
#define COOP_LONG_POLL_NS 1000000

int weft_yield(void)
{
    struct wf_fiber *f = wf_fiber_self();

    if (wf_unlikely(!f))
        return wf_misuse(-EPERM, "weft_yield: called outside a fiber");
    if (wf_unlikely(wf_fiber_cancelled(f) || wf_deadline_known(f)))
        return wf_await_enter(&f, "weft_yield");
    wf_fiber_suspend(f, WF_POLL_YIELD);
    if (wf_unlikely(wf_fiber_cancelled(f)))
        return -ECANCELED;
    return wf_unlikely(f->deadline != NULL) && wf_deadline_check(f) ? -ETIMEDOUT : 0;
}

static weft_poll yield_poll(weft_future *f, weft_context *cx)
{
    f->result = 0;
    if (f->words[0])
        return WEFT_READY;
    f->words[0] = 1;
    weft_waker_wake_by_ref(&cx->waker_);
    return WEFT_PENDING;
}

static const weft_future_type yield_type = {.poll = yield_poll, .name = "yield"};

weft_future weft_yield_future(void)
{
    return (weft_future){.type = &yield_type};
}

int weft_consume_budget(void)
{
    struct wf_fiber *f;

    return wf_await_enter(&f, "weft_consume_budget");
}

static weft_poll budget_poll(weft_future *f, weft_context *cx)
{
    f->result = 0;
    return wf_coop_proceed(cx) ? WEFT_READY : WEFT_PENDING;
}

static const weft_future_type budget_type = {.poll = budget_poll, .name = "budget"};

weft_future weft_consume_budget_future(void)
{
    return (weft_future){.type = &budget_type};
}

bool weft_budget_take(const weft_context *cx)
{
    if (wf_unlikely(!cx)) {
        (void)wf_misuse(-EINVAL, "weft_budget_take: the context is NULL");
        return true;
    }
    return wf_coop_proceed(cx);
}

void weft_budget_return(void)
{
    wf_coop_restore();
}

bool weft_should_yield(void)
{
    struct wf_thread *th = wf_thread_self();

    if (!th || !th->task)
        return false;
    return th->budget <= 0 ||
           wf_ticks() - wf_thread_poll_from(th) > wf_ns_to_ticks(COOP_LONG_POLL_NS);
}

int weft_unconstrained(weft_fn *fn, void *arg)
{
    struct wf_fiber *f = wf_fiber_self();
    int32_t left;
    int rc;

    if (!fn)
        return wf_misuse(-EINVAL, "weft_unconstrained: fn is NULL");
    if (!f)
        return wf_misuse(-EPERM, "weft_unconstrained: called outside a fiber");
    left = wf_thread_self()->budget;
    f->unconstrained++;
    wf_thread_self()->budget = INT32_MAX;
    rc = fn(arg);
    /* fn may have moved this fiber to another thread. If it has awaited, this poll began with a whole budget, and less
     * does no harm; to begin anew each time would let a loop around short calls go on for ever. */
    if (--f->unconstrained == 0)
        wf_thread_self()->budget = left;
    return rc;
}

/* The future that is polled without a limit is in words[0]. */
static weft_future *unconstrained_inner(const weft_future *f)
{
    return (weft_future *)f->words[0]; /* NOLINT */
}

static weft_poll unconstrained_poll(weft_future *f, weft_context *cx)
{
    weft_future *inner = unconstrained_inner(f);
    struct wf_thread *th = wf_thread_self();
    int32_t left = 0;
    weft_poll polled;

    if (th) {
        left = th->budget;
        th->budget = INT32_MAX;
    }
    polled = weft_future_poll(inner, cx);
    f->result = inner->result;
    /* the poll is the user's and may have moved this fiber */
    if (th)
        wf_thread_self()->budget = left;
    return polled;
}

static void unconstrained_drop(weft_future *f)
{
    weft_future_drop(unconstrained_inner(f));
}

static const weft_future_type unconstrained_type = {unconstrained_poll, unconstrained_drop,
                                                    "unconstrained"};

weft_future weft_unconstrained_future(weft_future *inner)
{
    weft_future f = {.type = &unconstrained_type};

    if (!inner)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_unconstrained_future: inner is NULL"));
    f.words[0] = (uintptr_t)inner;
    return f;
}

/* A weft_shield, from inside. */
struct shield {
    struct wf_fiber *fiber;
    struct wf_deadline *deadline; /* the scopes that are masked */
    weft_shield *outer;
};

_Static_assert(sizeof(struct shield) <= sizeof(weft_shield), "weft_shield is too small");

weft_shield *weft_shield_enter(weft_shield *scope)
{
    struct shield *s;

    if (!scope) {
        (void)wf_misuse(-EINVAL, "weft_shield_enter: scope is NULL");
        return NULL;
    }
    s = (struct shield *)(void *)scope->words_;
    *s = (struct shield){.fiber = wf_fiber_self()};
    if (s->fiber) {
        s->deadline = s->fiber->deadline;
        s->outer = s->fiber->shields;
        s->fiber->deadline = NULL;
        s->fiber->shields = scope;
        s->fiber->shield++;
    }
    return scope;
}

void weft_shield_leave(weft_shield *scope)
{
    struct shield *s = scope ? (struct shield *)(void *)scope->words_ : NULL;

    if (!s || !s->fiber)
        return;
    wf_assert(s->fiber->shield > 0 && s->fiber->shields == scope);
    s->fiber->shield--;
    s->fiber->shields = s->outer;
    s->fiber->deadline = s->deadline;
    s->fiber = NULL;
}

bool wf_shield_unwind(struct wf_fiber *f)
{
    if (!f->shields)
        return false;
    weft_shield_leave(f->shields);
    return true;
}
