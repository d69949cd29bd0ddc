/* SPDX-License-Identifier: MIT */
/*
 * sleep.c - timers as futures. The wheel's entry is inside the future, so nothing is
 * allocated.
 */
#include "task/sleep.h"

#include "base/log.h"
#include "task/await.h"
#include "task/future.h"
#include "task/now.h"
#include "task/waker.h"

#include <errno.h>
#include <weft/time.h>

enum {
    SLEEP_FOR,
    SLEEP_UNTIL,
    SLEEP_DUE /* armed for a moment that had passed, for want of budget */
};

enum wf_timer_state wf_timer_repoll_begun(struct wf_timer *t, const weft_context *cx)
{
    weft_wakeable *target = cx->waker_.target_;
    enum wf_timer_state state = wf_timer_look(t);

    if (state != WF_TIMER_ARMED)
        return state;
    if (wf_likely(wf_timer_wakes(t, target)) || wf_timer_retarget(t, wf_wakeable_retain(target)))
        return WF_TIMER_ARMED;
    wf_wakeable_release(target);
    return wf_timer_look(t);
}

void wf_timer_reset(struct wf_timer *t, uint64_t at)
{
    struct wf_thread *th = wf_thread_self();
    weft_wakeable *target;

    /* Elsewhere nobody would look whether the alarm must be lowered (A1 of sched/park.c). */
    if (th && wf_timer_is_of(t, th->wheel) && wf_timer_rearm(t, at))
        return;
    target = wf_timer_take(t);
    *t = (struct wf_timer){.deadline = at};
    wf_wakeable_wake(target);
}

static struct wf_timer *sleep_timer(weft_future *f)
{
    return (struct wf_timer *)(void *)f->words;
}

_Static_assert(sizeof(struct wf_timer) <= sizeof(((weft_future *)0)->words), "a timer must fit");

static weft_poll sleep_arm(weft_future *f, weft_context *cx)
{
    struct wf_timer *t = sleep_timer(f);
    uint64_t at = t->deadline, now;

    if (!wf_thread_self()) {
        f->result = -EPERM;
        return WEFT_READY;
    }
    if (at == 0)
        return WEFT_READY;
    now = wf_now();
    if (f->aux_ == SLEEP_FOR)
        at = weft_instant_add(now, at);
    else if (at <= now && wf_coop_proceed(cx))
        return WEFT_READY;
    /* Whatever the budget is: beside a branch that always spends all of it a limit would never begin, nor would a
     * moment that has passed ever come. Such a timer fires when the worker looks next. */
    f->aux_ = at <= now ? SLEEP_DUE : SLEEP_UNTIL;
    wf_timer_arm(t, wf_thread_self()->wheel, at, wf_wakeable_retain(cx->waker_.target_));
    return WEFT_PENDING;
}

static weft_poll sleep_poll(weft_future *f, weft_context *cx)
{
    enum wf_timer_state state;

    f->result = 0;
    state = wf_timer_repoll(sleep_timer(f), cx);
    if (state == WF_TIMER_IDLE)
        return sleep_arm(f, cx);
    if (state == WF_TIMER_ARMED)
        return WEFT_PENDING;
    if (wf_unlikely(f->aux_ == SLEEP_DUE))
        wf_coop_spend();
    return WEFT_READY;
}

static void sleep_drop(weft_future *f)
{
    wf_timer_cancel(sleep_timer(f));
}

static const weft_future_type sleep_type = {sleep_poll, sleep_drop, "sleep"};

static weft_future sleep_future(uint64_t at, uint32_t kind)
{
    weft_future f = {.type = &sleep_type, .aux_ = kind};

    sleep_timer(&f)->deadline = at;
    return f;
}

weft_future weft_sleep_future(weft_duration d)
{
    return sleep_future(d, SLEEP_FOR);
}

weft_future weft_sleep_until_future(weft_instant at)
{
    return sleep_future(at, SLEEP_UNTIL);
}

static bool sleep_check(const weft_future *f, const char *call)
{
    if (wf_likely(f && f->type == &sleep_type))
        return true;
    (void)wf_misuse(-EINVAL, "%s: not a sleep", call);
    return false;
}

int weft_sleep_reset(weft_future *sleep, weft_instant at)
{
    if (!sleep_check(sleep, "weft_sleep_reset"))
        return -EINVAL;
    sleep->aux_ = SLEEP_UNTIL;
    if (!wf_future_pending(sleep))
        wf_future_renew(sleep);
    /* Last: from here on it may fire, and be polled. */
    wf_timer_reset(sleep_timer(sleep), at);
    return 0;
}

weft_instant weft_sleep_deadline(const weft_future *sleep)
{
    uint64_t at;

    if (!sleep_check(sleep, "weft_sleep_deadline"))
        return WEFT_FOREVER;
    at = ((const struct wf_timer *)(const void *)sleep->words)->deadline;
    return sleep->aux_ == SLEEP_FOR ? weft_instant_add(wf_now(), at) : at;
}

static int sleep_await(weft_future future, const char *call)
{
    struct wf_fiber *f;
    int rc = wf_await_enter(&f, call);

    if (wf_unlikely(rc < 0))
        return rc;
    return (int)wf_await_future(f, &future);
}

int weft_sleep(weft_duration d)
{
    return sleep_await(weft_sleep_future(d), "weft_sleep");
}

int weft_sleep_until(weft_instant at)
{
    return sleep_await(weft_sleep_until_future(at), "weft_sleep_until");
}
