/* SPDX-License-Identifier: MIT */
/* stall.c - the arithmetic of stall.h. TESTS tests/unit/test_stall.c */
#include "sched/stall.h"

#define PRODUCE_NS 2000u /* a poll that makes a task so often, by its own clock, does little else */
#define PAUSE_NS   100000u /* and goes on to do so, if it has had no more of a processor since */

bool wf_stall_look(struct wf_stall *s, const struct wf_look *now)
{
    bool first = s->last.poll != now->poll, stranded;
    uint64_t made, spent = 0;

    if (first)
        *s = (struct wf_stall){.last = *now};
    s->injected += now->injected - s->last.injected;
    made = now->queued - s->last.queued + now->injected - s->last.injected;
    stranded = now->slot && now->slot == s->last.slot && !first;
    if (now->clocked && s->last.clocked && now->cpu_ns > s->last.cpu_ns)
        spent = now->cpu_ns - s->last.cpu_ns;
    if (!now->clocked)
        s->computed_ns = UINT64_MAX;
    else if (s->computed_ns != UINT64_MAX)
        s->computed_ns += spent;
    s->blocked = now->waits && 2 * spent <= now->at_ns - s->last.at_ns;
    if (made)
        s->produces = made * PRODUCE_NS >= spent;
    else if (s->blocked || spent >= PAUSE_NS)
        s->produces = false;
    s->produces = s->produces && !stranded;
    s->last = *now;
    return !first;
}
