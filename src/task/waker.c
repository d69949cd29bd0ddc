/* SPDX-License-Identifier: MIT */
/* waker.c - the public face of wakers. */
#include "task/waker.h"

static void waker_nothing(weft_wakeable *w)
{
    (void)w;
}

/* What a context without a waker polls by. */
static const weft_wakeable_type waker_nobody_type = {waker_nothing, waker_nothing, waker_nothing};
static weft_wakeable waker_nobody = {&waker_nobody_type};

weft_waker weft_waker_of(weft_wakeable *w)
{
    return (weft_waker){wf_wakeable_retain(w)};
}

weft_context weft_context_of(const weft_waker *waker)
{
    return (weft_context){{waker && waker->target_ ? waker->target_ : &waker_nobody}};
}

weft_waker weft_context_waker(const weft_context *cx)
{
    return weft_waker_clone(cx ? &cx->waker_ : NULL);
}

weft_waker weft_waker_clone(const weft_waker *waker)
{
    return weft_waker_of(waker ? waker->target_ : NULL);
}

/* Take what is in it. */
static weft_wakeable *waker_consume(weft_waker *waker)
{
    weft_wakeable *target = waker ? waker->target_ : NULL;

    if (waker)
        waker->target_ = NULL;
    return target;
}

void weft_waker_wake(weft_waker *waker)
{
    wf_wakeable_wake(waker_consume(waker));
}

void weft_waker_wake_by_ref(const weft_waker *waker)
{
    if (waker && waker->target_)
        waker->target_->type->wake(waker->target_);
}

void weft_waker_drop(weft_waker *waker)
{
    wf_wakeable_release(waker_consume(waker));
}

bool weft_waker_same(const weft_waker *a, const weft_waker *b)
{
    return (a ? a->target_ : NULL) == (b ? b->target_ : NULL);
}
