/* SPDX-License-Identifier: MIT */
/* virtual.c - a clock that can be stopped and moved. */
#include "time/virtual.h"

#include "base/assert.h"
#include "base/clock.h"

#include <weft/base.h>

struct wf_atomic_u32 wf_virtual_clocks;

void wf_virtual_init(struct wf_virtual *v)
{
    *v = (struct wf_virtual){.lock = WF_LOCK_INIT(WF_RANK_LEAF)};
}

void wf_virtual_release(struct wf_virtual *v)
{
    if (v->used)
        /* relaxed: who sees it late reads a clock that runs as it should */
        wf_sub_u32(&wf_virtual_clocks, 1, WF_RELAXED);
    v->used = false;
}

/* Under the lock. */
static uint64_t virtual_read(const struct wf_virtual *v)
{
    return wf_virtual_is_stopped(v) ? v->stopped_at : wf_clock_now() + v->shift;
}

uint64_t wf_virtual_now(struct wf_virtual *v)
{
    uint64_t now;

    wf_lock(&v->lock);
    now = virtual_read(v);
    wf_unlock(&v->lock);
    return now;
}

bool wf_virtual_stop(struct wf_virtual *v)
{
    bool ran;

    if (!v->used)
        /* relaxed: see wf_virtual_any */
        wf_add_u32(&wf_virtual_clocks, 1, WF_RELAXED);
    v->used = true;
    wf_lock(&v->lock);
    ran = !wf_virtual_is_stopped(v);
    v->stopped_at = virtual_read(v);
    wf_store_u32(&v->stopped, 1, WF_RELAXED);
    wf_unlock(&v->lock);
    return ran;
}

bool wf_virtual_start(struct wf_virtual *v)
{
    bool stopped;

    wf_lock(&v->lock);
    stopped = wf_virtual_is_stopped(v);
    if (stopped)
        v->shift = v->stopped_at - wf_clock_now(); /* V1 */
    wf_store_u32(&v->stopped, 0, WF_RELAXED);
    wf_unlock(&v->lock);
    return stopped;
}

bool wf_virtual_jump(struct wf_virtual *v, uint64_t at)
{
    wf_assert(wf_virtual_is_stopped(v));
    if (at > WF_VIRTUAL_MAX)
        return false; /* V2 */
    wf_lock(&v->lock);
    if (at > v->stopped_at)
        v->stopped_at = at; /* V1 */
    wf_unlock(&v->lock);
    return true;
}

uint64_t wf_virtual_to_real(struct wf_virtual *v, uint64_t at)
{
    uint64_t now, left;

    if (at == WEFT_FOREVER)
        return at;
    now = wf_virtual_now(v);
    left = at > now ? at - now : 0;
    now = wf_clock_now();
    return left < WEFT_FOREVER - now ? now + left : WEFT_FOREVER;
}
