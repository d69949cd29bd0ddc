/* SPDX-License-Identifier: MIT */
/*
 * pins.c - the tasks of a seat that its worker alone polls. See pins.h; the lettered steps are those of P5.
 */
#include "sched/pins.h"

#include "sched/account.h"
#include "sched/worker.h"

#define PINS_BATCH 32 /* taken over from other threads at a time */

static void pins_use(struct wf_pins *p)
{
    /* relaxed: see ORDER */
    if (wf_unlikely(!wf_load_u32(&p->used, WF_RELAXED)))
        wf_store_u32(&p->used, 1, WF_RELAXED);
}

uint32_t wf_pins_choose(struct wf_scheduler *sched, struct wf_thread *th)
{
    struct weft_runtime *rt = wf_runtime_of(sched);
    unsigned at, seat, best;

    /* Nobody but its worker is ever there. */
    if (rt->sole)
        return 0;
    if (th && th->sched == sched && !wf_worker_of(th)->standin)
        return wf_pins_flags(wf_worker_of(th)->seat->index);
    /* A stand-in goes, and threads outside have no seat: one of the workers in turn, that is not stuck; if all are,
     * the one that has been for the shortest time, which may only have lost its processor. relaxed: a choice */
    at = wf_add_u32(&rt->pin_turn, 1, WF_RELAXED);
    best = at % rt->workers;
    for (unsigned i = 0; i < rt->workers; i++) {
        seat = (at + i) % rt->workers;
        if (wf_load_u32(&rt->seats[seat].taken, WF_RELAXED) != WF_SEAT_RELIEVED)
            return wf_pins_flags(seat);
        if ((int64_t)(wf_thread_poll_from(&rt->worker[seat].thread) -
                      wf_thread_poll_from(&rt->worker[best].thread)) > 0)
            best = seat;
    }
    return wf_pins_flags(best);
}

void wf_pins_push_here(struct wf_pins *p, struct weft_task *t)
{
    t->next = NULL;
    if (p->first)
        p->last->next = t;
    else
        p->first = t;
    p->last = t;
    wf_count_u64(&p->queued, 1);
    pins_use(p);
}

/* From elsewhere. */
static void pins_push_remote(struct weft_runtime *rt, struct wf_pins *p, struct weft_task *t)
{
    uint32_t bed;

    /* The task keeps the runtime until it has ended, which may be as soon as it is pushed. relaxed: it is there
     * now. */
    wf_add_u32(&rt->users, 1, WF_RELAXED);
    wf_add_u64(&rt->remote_schedules, 1, WF_RELAXED);
    pins_use(p);
    /* P5.a: for its worker */
    wf_inject_push(&p->remote, t);
    /* P5.b: pairs with wf_idle_sleep_begin */
    wf_fence_seq_cst();
    /* P5.c: does it sleep? A glance first: mostly it does not. acquire: pairs with wf_pins_sleep_begin; the bell */
    bed = wf_load_u32(&p->sleeps, WF_RELAXED);
    if (wf_unlikely(bed != WF_BED_NONE))
        bed = wf_swap_u32(&p->sleeps, WF_BED_NONE, WF_ACQUIRE);
    /* P5.d: then its sleep is ended, and nobody else's if that can be helped */
    if (bed == WF_BED_BELL)
        wf_bell_ring(&p->bell);
    else if (bed == WF_BED_OWN)
        wf_hub_signal(&rt->hub);
    else if (bed == WF_BED_HUB)
        wf_hub_rouse(&rt->hub);
    wf_runtime_put(rt);
}

void wf_pins_push(struct weft_runtime *rt, struct wf_thread *th, struct weft_task *t)
{
    struct wf_seat *s = &rt->seats[wf_pins_seat_of(t)];

    if (wf_likely(th && th->sched == &rt->sched && wf_worker_of(th)->seat == s))
        wf_pins_push_here(&s->pins, t);
    else
        pins_push_remote(rt, &s->pins, t);
}

/* What other threads have pushed so far, or some of it, behind the worker's own. */
static void pins_fetch(struct wf_worker *w)
{
    struct weft_task *batch[PINS_BATCH];
    unsigned n = wf_inject_take(&w->seat->pins.remote, batch, PINS_BATCH);

    for (unsigned i = 0; i < n; i++)
        wf_pins_push_here(&w->seat->pins, batch[i]);
    wf_count_u64(&w->seat->counters.injected, n);
    if (n)
        wf_account_arrived(w);
}

struct weft_task *wf_pins_take(struct wf_worker *w)
{
    struct wf_pins *p = &w->seat->pins;
    struct weft_task *t;

    if (wf_inject_len(&p->remote))
        pins_fetch(w);
    t = wf_pins_pop(p);
    if (t)
        wf_count_u64(&p->taken, 1);
    return t;
}

struct weft_task *wf_pins_take_in_turn(struct wf_worker *w)
{
    struct wf_pins *p = &w->seat->pins;

    p->turn = !p->turn;
    return p->turn ? wf_pins_take(w) : NULL;
}

/* A bell, if it is for that worker to have one. NULL: it has none; the next sleep tries again. */
static const struct wf_bell *pins_bell(struct wf_worker *w)
{
    struct wf_pins *p = &w->seat->pins;

    if (!wf_pins_used(p))
        return NULL;
    if (wf_bell_is_open(&p->bell) || wf_bell_open(&p->bell, &w->rt->hub) == 0)
        return &p->bell;
    return NULL;
}

const struct wf_bell *wf_pins_sleep_begin(struct wf_worker *w)
{
    const struct wf_bell *bell = w->rt->single ? NULL : pins_bell(w);

    /* P5.e: where. release: the bell; pairs with pins_push_remote. The fence is the one of
     * wf_idle_sleep_begin. */
    wf_store_u32(&w->seat->pins.sleeps,
                 w->rt->single ? WF_BED_OWN
                 : bell        ? WF_BED_BELL
                               : WF_BED_HUB,
                 WF_RELEASE);
    return bell;
}

void wf_pins_sleep_end(struct wf_worker *w)
{
    struct wf_pins *p = &w->seat->pins;
    bool on_hub = !w->rt->single && !wf_bell_is_open(&p->bell);
    /* P5.f: up. relaxed: only this worker lies down */
    bool called = wf_swap_u32(&p->sleeps, WF_BED_NONE, WF_RELAXED) == WF_BED_NONE;

    if (wf_likely(!on_hub))
        return;
    if (wf_unlikely(called))
        wf_hub_roused(&w->rt->hub);
    else
        wf_hub_give_way(&w->rt->hub);
}
