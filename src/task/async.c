/* SPDX-License-Identifier: MIT */
/*
 * async.c - the stackless kind of task: its poll is the user's function, its state is behind the
 * header.
 */
#include "base/log.h"
#include "task/current.h"
#include "task/hold.h"
#include "task/locals.h"
#include "task/waker.h"

#include <errno.h>

static void async_finish(struct weft_task *t, int result)
{
    const weft_async_type *type = t->async;
    weft_async *a = wf_task_tail(t);

    if (a->awaiting_) {
        weft_future_drop(a->awaiting_);
        a->awaiting_ = NULL;
    }
    if (type->drop)
        type->drop(a);
    if (t->extra && t->extra->locals)
        wf_locals_free(t);
    if (wf_unlikely(wf_task_flag(t, WF_TASK_F_HELD)))
        wf_holds_abandon_stackless(t);
    t->result = result;
}

enum wf_poll_result wf_async_poll(struct weft_task *t, bool cancelled)
{
    const weft_async_type *type = t->async;
    weft_async *a = wf_task_tail(t);
    weft_context cx = {{&t->wakeable}};
    /* relaxed: it moves in a process with one thread */
    uint32_t process = wf_load_u32(&wf_fork_generation, WF_RELAXED);
    weft_poll poll;

    if (wf_unlikely(cancelled)) {
        async_finish(t, -ECANCELED);
        return WF_POLL_DONE;
    }
    poll = type->poll(a, &cx);
    if (wf_unlikely(wf_load_u32(&wf_fork_generation, WF_RELAXED) != process))
        wf_forked_child_returned();
    if (poll == WEFT_PENDING)
        return WF_POLL_PENDING;
    async_finish(t, (int)a->result_);
    return WF_POLL_DONE;
}

static void async_retain(weft_wakeable *w)
{
    wf_task_retain(wf_task_of_wakeable(w));
}

static void async_release(weft_wakeable *w)
{
    wf_task_release(wf_task_of_wakeable(w));
}

const struct wf_task_type wf_async_kind = {
    .wakeable = {.retain = async_retain, .wake = wf_task_wake, .release = async_release},
    .stackless = true,
};

weft_poll weft_async_await(weft_async *a, weft_future *f, weft_context *cx)
{
    if (wf_unlikely(!f || !f->type)) {
        wf_misuse(-EINVAL, "WEFT_AWAIT: the future is NULL or has no type");
        return WEFT_READY;
    }
    if (weft_future_poll(f, cx) == WEFT_PENDING)
        return WEFT_PENDING;
    a->awaiting_ = NULL;
    return WEFT_READY;
}

weft_poll weft_async_return(weft_async *a, int result)
{
    a->result_ = (uint32_t)result;
    a->line_ = UINT32_MAX;
    return WEFT_READY;
}
