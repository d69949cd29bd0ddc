/* SPDX-License-Identifier: MIT */
/* now.c - points on the monotonic clock, and the arithmetic that stops at its ends. */
#include "base/clock.h"

#include <weft/time.h>

weft_instant weft_now(void)
{
    return wf_clock_now();
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
    now = wf_clock_now();
    return at > now ? at - now : 0;
}
