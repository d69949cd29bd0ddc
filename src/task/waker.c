/* SPDX-License-Identifier: MIT */
/* waker.c - the public face of wakers. */
#include "task/waker.h"

weft_waker weft_context_waker(const weft_context *cx)
{
    return weft_waker_clone(&cx->waker_);
}

weft_waker weft_waker_clone(const weft_waker *waker)
{
    return (weft_waker){wf_wakeable_retain(waker->target_)};
}

void weft_waker_wake(weft_waker *waker)
{
    weft_wakeable *target = waker->target_;

    waker->target_ = NULL;
    wf_wakeable_wake(target);
}

void weft_waker_wake_by_ref(const weft_waker *waker)
{
    if (waker->target_)
        waker->target_->type->wake(waker->target_);
}

void weft_waker_drop(weft_waker *waker)
{
    weft_wakeable *target = waker->target_;

    waker->target_ = NULL;
    wf_wakeable_release(target);
}

bool weft_waker_same(const weft_waker *a, const weft_waker *b)
{
    return a->target_ == b->target_;
}
