/* SPDX-License-Identifier: MIT */
/*
 * waker.h - wakers from inside: a counted pointer to a weft_wakeable. NULL wakes nobody.
 */
#ifndef WF_TASK_WAKER_H
#define WF_TASK_WAKER_H

#include "base/compiler.h"

#include <weft/future.h>

WF_INLINE weft_wakeable *wf_wakeable_retain(weft_wakeable *w)
{
    if (w)
        w->type->retain(w);
    return w;
}

WF_INLINE void wf_wakeable_release(weft_wakeable *w)
{
    if (w)
        w->type->release(w);
}

/* Wake and give up the reference. */
WF_INLINE void wf_wakeable_wake(weft_wakeable *w)
{
    if (w) {
        w->type->wake(w);
        w->type->release(w);
    }
}

#endif
