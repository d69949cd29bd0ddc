/* SPDX-License-Identifier: MIT */
/*
 * clock.c - the clock of a current-thread runtime, which tests may stop: weft_clock_pause and its like.
 *
 * IDEA     A clock that stands still is moved by its runtime's own thread alone: by a task that says so, or when that
 *          thread would sleep. Then it asks the driver once more, without waiting; if nothing has come,
 *          and no blocking job is queued or runs, the clock jumps to the earliest deadline of all timers, and these
 *          fire at exactly that moment: the wheel's ticks are for clocks that run.
 * INVARIANTS
 *     C1   The clock does not jump while a task is ready, or a job is on its way. The last job to end wakes the
 *          thread that may wait for it: it counts itself, passes a full fence and looks for a sleeper, as P2 of
 *          idle.c asks of who makes work; who goes to sleep says so, passes a full fence and counts the jobs.
 * TESTS    tests/api/test_clock.c, tests/api/test_advance.c, tests/model/test_clock.c
 */
#include "sched/clock.h"

#include "base/clock.h"
#include "base/log.h"
#include "task/waker.h"

#include <errno.h>
#include <string.h>
#include <weft/time.h>

uint64_t wf_runtime_now(struct weft_runtime *rt)
{
    return wf_virtual_now(&rt->clock);
}

/* Are blocking jobs queued, or running? */
static bool clock_is_held(const struct weft_runtime *rt)
{
    /* acquire: pairs with pool_end_task; what a job did is seen by whom the clock wakes after that */
    uint64_t finished = wf_load_u64(&rt->pool.finished, WF_ACQUIRE);

    /* relaxed: C1. A job that was cancelled at birth may have ended before it was counted. */
    return (int64_t)(wf_load_u64(&rt->pool.spawned, WF_RELAXED) - finished) > 0;
}

uint64_t wf_clock_sleep(const struct wf_worker *w, uint64_t next, bool *jump)
{
    weft_runtime *rt = w->rt;

    if (!wf_clock_stands(rt))
        return wf_virtual_to_real(&rt->clock, next);
    if (clock_is_held(rt) || wf_wheel_first(&w->home->wheel) > WF_VIRTUAL_MAX)
        return WEFT_FOREVER;
    *jump = true;
    return 0;
}

unsigned wf_clock_jump(struct wf_worker *w)
{
    weft_runtime *rt = w->rt;

    /* A job that was spawned from outside meanwhile. */
    if (clock_is_held(rt) || !wf_virtual_jump(&rt->clock, wf_wheel_first(&w->home->wheel)))
        return 0;
    return wf_worker_fire_timers(w, w->home, wf_virtual_now(&rt->clock));
}

void wf_clock_job_ended(struct weft_runtime *rt)
{
    if (rt->set.config.flavor != WEFT_CURRENT_THREAD)
        return;
    /* C1: pairs with wf_idle_sleep_begin; wf_virtual_any may not be seen before */
    wf_fence_seq_cst();
    if (!wf_virtual_is_stopped(&rt->clock) || clock_is_held(rt))
        return;
    if (wf_idle_notify(&rt->idle))
        wf_hub_signal(&rt->hub);
}

/* --- the calls --- */

/* The runtime whose clock the caller may stop; NULL: -EPERM. */
static weft_runtime *clock_runtime(const char *call)
{
    weft_runtime *rt = weft_runtime_current();

    if (rt && rt->set.config.flavor == WEFT_CURRENT_THREAD)
        return rt;
    (void)wf_misuse(-EPERM, "%s: called outside of the tasks of a current-thread runtime", call);
    return NULL;
}

int weft_clock_pause(void)
{
    weft_runtime *rt = clock_runtime("weft_clock_pause");

    if (!rt)
        return -EPERM;
    return wf_virtual_stop(&rt->clock) ? 0 : -EALREADY;
}

int weft_clock_resume(void)
{
    weft_runtime *rt = clock_runtime("weft_clock_resume");

    if (!rt)
        return -EPERM;
    return wf_virtual_start(&rt->clock) ? 0 : -EALREADY;
}

/* How far it is in aux_; the words hold by how much. To be polled again, behind all that is ready. */
static weft_poll advance_again(weft_future *f, const weft_context *cx)
{
    f->aux_++;
    weft_waker_wake_by_ref(&cx->waker_);
    return WEFT_PENDING;
}

static bool advance_jump(weft_runtime *rt, const weft_future *f)
{
    weft_duration by;

    memcpy(&by, f->words, sizeof(by));
    return wf_clock_stands(rt) &&
           wf_virtual_jump(&rt->clock, weft_instant_add(wf_runtime_now(rt), by));
}

/*
 * First the clock jumps, and the worker is to look at its timers before it polls anything. When this future is polled
 * again, the tasks that were woken by that are queued, some of them behind its own; the third time they have been
 * polled.
 */
static weft_poll advance_poll(weft_future *f, weft_context *cx)
{
    weft_runtime *rt;

    f->result = 0;
    if (f->aux_ == 1)
        return advance_again(f, cx);
    if (f->aux_ == 2)
        return WEFT_READY;
    rt = clock_runtime("weft_clock_advance");
    if (!rt)
        f->result = -EPERM;
    else if (!advance_jump(rt, f))
        f->result = wf_misuse(-EINVAL, "weft_clock_advance: the clock runs, or its end is reached");
    if (f->result < 0)
        return WEFT_READY;
    wf_worker_of(wf_thread_self())->until_look = 0;
    return advance_again(f, cx);
}

static const weft_future_type advance_type = {.poll = advance_poll, .name = "clock_advance"};

weft_future weft_clock_advance_future(weft_duration d)
{
    weft_future f = {.type = &advance_type};

    memcpy(f.words, &d, sizeof(d));
    return f;
}

int weft_clock_advance(weft_duration d)
{
    weft_future f = weft_clock_advance_future(d);

    if (!wf_thread_self() || !wf_thread_self()->fiber)
        return wf_misuse(-EPERM, "weft_clock_advance: called outside a fiber");
    return (int)weft_await(&f);
}
