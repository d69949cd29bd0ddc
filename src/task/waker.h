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

/* Wake: notify, and push where due. The `wake` of every task's wakeable; and the same with its release, in one step. */
void wf_task_wake(weft_wakeable *w);
void wf_task_wake_put(weft_wakeable *w);

/* Wake and give up the reference. Nearly all are tasks. */
WF_INLINE void wf_wakeable_wake(weft_wakeable *w)
{
    if (!w)
        return;
    if (wf_likely(w->type->wake == wf_task_wake)) {
        wf_task_wake_put(w);
    } else {
        w->type->wake(w);
        w->type->release(w);
    }
}

#endif
