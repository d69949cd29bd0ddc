/* SPDX-License-Identifier: MIT */
/* owned.c - what waiting for any lock has in common. */
#include "sync/owned.h"

#include "task/await.h"

void wf_lock_wait_alone(weft_future *f, const struct wf_self *self)
{
    struct wf_lock_wait *w = wf_lock_wait_of(f);

    if (!self->fiber && self->task &&
        ((const weft_async *)wf_task_tail(self->task))->awaiting_ == f)
        w->self |= WF_WAIT_SOLE;
}

int wf_lock_give_way(struct wf_fiber *f)
{
    f->passed = NULL;
    (void)wf_fiber_suspend(f, WF_POLL_YIELD);
    return wf_await_verdict(f);
}
