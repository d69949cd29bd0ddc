/* SPDX-License-Identifier: MIT */
/*
 * async.c - the stackless kind of task: its poll is the user's function, its state is behind the
 * header.
 */
#include "base/log.h"
#include "task/current.h"
#include "task/locals.h"
#include "task/task.h"
#include "task/waker.h"

#include <errno.h>

static void *async_state(struct weft_task *t)
{
    return (struct wf_async_task *)(void *)t + 1;
}

static void async_finish(struct weft_task *t, int result)
{
    const weft_async_type *type = wf_async_type_of(t);
    weft_async *a = async_state(t);

    if (a->awaiting_) {
        weft_future_drop(a->awaiting_);
        a->awaiting_ = NULL;
    }
    if (type->drop)
        type->drop(a);
    if (t->extra && t->extra->locals)
        wf_locals_free(t);
    t->result = result;
}

static enum wf_poll_result async_poll(struct weft_task *t, struct wf_thread *th, bool cancelled)
{
    const weft_async_type *type = wf_async_type_of(t);
    weft_async *a = async_state(t);
    weft_context cx = {{&t->wakeable}};

    (void)th;
    if (wf_unlikely(cancelled)) {
        async_finish(t, -ECANCELED);
        return WF_POLL_DONE;
    }
    if (type->poll(a, &cx) == WEFT_PENDING)
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
    .poll = async_poll,
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
