/* SPDX-License-Identifier: MIT */
/* handle.c - what a task handle can do besides joining. */
#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "task/fiber_task.h"

#include <errno.h>
#include <string.h>

bool wf_task_check(const struct weft_task *t, const char *call)
{
    uint64_t state;

    if (wf_unlikely(!t))
        return false;
    if (!WF_DEBUG)
        return true;
    /* relaxed: a live handle holds a reference, so the word cannot show none */
    state = wf_load_u64(&t->state, WF_RELAXED);
    if (wf_task_refs(state) == 0) {
        wf_log("%s: the task handle is stale: it was joined, detached or freed before", call);
        return false;
    }
    return true;
}

void weft_detach(weft_task *t)
{
    if (wf_task_check(t, "weft_detach"))
        wf_task_release(t);
}

void weft_cancel(weft_task *t)
{
    if (!wf_task_check(t, "weft_cancel"))
        return;
    if (wf_task_state_cancel(t))
        t->sched->ops->woken(t->sched, t);
    else if (wf_unlikely(wf_task_type_of(t)->blocking) && wf_task_state_claim(t))
        /* Without the claim the task may have ended, and its scheduler be gone. */
        t->sched->ops->cancelled_blocking(t->sched, t);
}

bool weft_is_finished(const weft_task *t)
{
    return wf_task_check(t, "weft_is_finished") && wf_task_is_complete(t);
}

uint64_t weft_task_id(const weft_task *t)
{
    return wf_task_check(t, "weft_task_id") ? t->id : 0;
}

static const struct wf_task_extra *handle_extra(const struct weft_task *t)
{
    /* acquire: pairs with wf_task_make_extra, which may make it while the task runs */
    return wf_load_ptr(&t->extra_to_read, WF_ACQUIRE);
}

struct wf_task_extra *wf_task_make_extra(struct weft_task *t)
{
    struct wf_task_extra *extra = t->extra;

    if (extra)
        return extra;
    extra = wf_sys_calloc(1, sizeof(*extra));
    if (extra)
        /* release: its zeros, for handle_extra on other threads */
        wf_store_ptr(&t->extra_to_read, extra, WF_RELEASE);
    return extra;
}

const char *wf_task_name(const struct weft_task *t)
{
    const struct wf_task_extra *extra = handle_extra(t);

    return extra ? extra->name : "";
}

const char *weft_task_name(const weft_task *t)
{
    return wf_task_check(t, "weft_task_name") ? wf_task_name(t) : "";
}

const char *weft_task_panic_message(const weft_task *t)
{
    const struct wf_task_extra *extra;

    /* Complete first: that publishes what the last poll has written. */
    if (!wf_task_check(t, "weft_task_panic_message") || !wf_task_is_complete(t))
        return "";
    extra = handle_extra(t);
    return extra && extra->panic ? extra->panic : "";
}

weft_task *weft_task_ref(weft_task *t)
{
    if (!wf_task_check(t, "weft_task_ref"))
        return NULL;
    wf_task_retain(t);
    if (WF_DEBUG)
        /* relaxed: who joins the new handle has got it from here */
        (void)wf_or_u64(&t->state, WF_TASK_SHARED, WF_RELAXED);
    return t;
}

weft_task *weft_task_self(void)
{
    struct wf_thread *th = wf_thread_self();

    return th ? th->task : NULL;
}

bool weft_is_cancelled(void)
{
    struct wf_thread *th = wf_thread_self();

    if (!th || !th->task || !wf_task_is_cancelled(th->task))
        return false;
    return !th->fiber || th->fiber->shield == 0;
}

static weft_task_state handle_state(const struct weft_task *t, uint64_t state)
{
    if (state & WF_TASK_COMPLETE)
        return WEFT_TASK_FINISHED;
    /* One that yielded is queued with RUNNING set. */
    if (state & WF_TASK_RUNNING)
        return wf_task_flag(t, WF_TASK_F_YIELDED) ? WEFT_TASK_READY : WEFT_TASK_RUNNING;
    return state & WF_TASK_NOTIFIED ? WEFT_TASK_READY : WEFT_TASK_IDLE;
}

void wf_task_fill_info(const struct weft_task *t, weft_task_info *info)
{
    /* relaxed, all of them: statistics */
    uint64_t state = wf_load_u64(&t->state, WF_RELAXED);
    const struct wf_task_extra *extra = handle_extra(t);

    *info = (weft_task_info){
        .id = t->id,
        .site = t->site,
        .state = handle_state(t, state),
        .stackless = wf_task_type_of(t)->stackless,
        .cancelled = (state & WF_TASK_CANCELLED) != 0,
        .polls = wf_load_u64(&t->polls, WF_RELAXED),
        .wakes = wf_load_u64(&t->wakes, WF_RELAXED),
        .poll_time_max = wf_ticks_to_ns((uint64_t)wf_load_u32(&t->poll_max, WF_RELAXED) << 6),
        .scheduled_delay = wf_ticks_to_ns(wf_load_u64(&t->delay, WF_RELAXED)),
        .scheduled_delay_max = wf_ticks_to_ns((uint64_t)wf_load_u32(&t->delay_max, WF_RELAXED)
                                              << 6),
    };
    /* Before the first poll the word is something else. */
    if (info->polls)
        info->poll_time = wf_ticks_to_ns(wf_load_u64(&t->poll_time, WF_RELAXED));
    /* After the end neither stack nor, perhaps, scheduler is there. */
    if (!info->stackless && info->state != WEFT_TASK_FINISHED &&
        (info->polls || info->state == WEFT_TASK_RUNNING))
        info->stack_size = extra && extra->stack_size ? extra->stack_size : t->sched->stack_size;
    if (extra)
        memcpy(info->name, extra->name, sizeof(info->name));
}

int weft_task_get_info_sized(const weft_task *t, weft_task_info *info, size_t size)
{
    weft_task_info all;

    if (!info || !wf_task_check(t, "weft_task_get_info"))
        return wf_misuse(-EINVAL, "weft_task_get_info: NULL or stale handle");
    wf_task_fill_info(t, &all);
    memcpy(info, &all, size < sizeof(all) ? size : sizeof(all));
    return 0;
}

int(weft_task_get_info)(const weft_task *t, weft_task_info *info)
{
    return weft_task_get_info_sized(t, info, sizeof(*info));
}
