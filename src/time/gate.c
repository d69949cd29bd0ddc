/* SPDX-License-Identifier: MIT */
/* gate.c - handing out gates; see gate.h. */
#include "time/gate.h"

#include "base/sys.h"

/* So many wheels at a time need no memory for their gates. */
#define GATES_FIRST 64u

static struct {
    struct wf_lock lock;
    /* under lock */
    struct wf_gate *free; /* given back */
    unsigned begun;       /* of first: handed out once at least */
    struct wf_gate first[GATES_FIRST];
} gates = {.lock = WF_LOCK_INIT(WF_RANK_LEAF)};

/* One that nobody has seen. */
static struct wf_gate *gate_new(struct wf_gate *g)
{
    if (!g)
        g = wf_sys_aligned_alloc(WF_CACHE_LINE, sizeof(*g));
    if (g)
        wf_lock_init(&g->lock, WF_RANK_WHEEL);
    return g;
}

struct wf_gate *wf_gate_get(struct wf_wheel *w)
{
    struct wf_gate *g, *unused = NULL;

    wf_lock(&gates.lock);
    g = gates.free;
    if (g)
        gates.free = g->next;
    else if (gates.begun < GATES_FIRST)
        unused = &gates.first[gates.begun++];
    wf_unlock(&gates.lock);
    if (!g)
        g = gate_new(unused);
    if (g)
        g->wheel = w;
    return g;
}

void wf_gate_put(struct wf_gate *g)
{
    wf_lock(&gates.lock);
    g->wheel = NULL;
    g->next = gates.free;
    gates.free = g;
    wf_unlock(&gates.lock);
}
