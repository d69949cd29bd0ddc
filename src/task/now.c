/* SPDX-License-Identifier: MIT */
/* now.c - points in time on the clock of the caller's runtime, and the arithmetic that stops at its ends. */
#include "task/now.h"

#include "task/current.h"
#include "task/task.h"

#include <weft/time.h>

uint64_t wf_now_virtual(void)
{
    struct wf_thread *th = wf_thread_self();
    /* A thread of the blocking pool, or one that is lent to a function that blocks, is its runtime's, too. */
    const struct wf_scheduler *s = th ? th->sched : wf_thread_owner();

    return s && s->clock ? wf_virtual_now(s->clock) : wf_clock_now();
}

weft_instant weft_now(void)
{
    return wf_now();
}

weft_instant weft_instant_add(weft_instant at, weft_duration d)
{
    return d > WEFT_FOREVER - at ? WEFT_FOREVER : at + d;
}

weft_duration weft_until(weft_instant at)
{
    weft_instant now;

    if (at == WEFT_FOREVER)
        return WEFT_FOREVER;
    now = wf_now();
    return at > now ? at - now : 0;
}
