/* SPDX-License-Identifier: MIT */
/*
 * local_set.c - join sets whose tasks are pinned to one worker.
 *
 * IDEA     The group of the set carries the flags that its children are pinned by (sched/pins.h), chosen once, when it
 *          is made; all the rest is the join set's. Who may spawn is not asked for a worker of its own, so any thread
 *          may.
 * TESTS    tests/api/test_local_set.c, tests/stress/test_local_set.c
 */
#include "base/log.h"
#include "sched/life.h"
#include "sync/gather.h"
#include "task/current.h"

#include <errno.h>
#include <weft/local_set.h>

int weft_local_set_new_with(weft_local_set **set, const weft_join_set_options *options)
{
    return wf_join_set_new("weft_local_set_new_with", set, options, true);
}

weft_local_set *weft_local_set_new(void)
{
    weft_local_set *set = NULL;

    return wf_join_set_new("weft_local_set_new", &set, NULL, true) == 0 ? set : NULL;
}

/* Of a local set, or NULL with a message. */
static const struct wf_group *local_check(const weft_local_set *set, const char *call)
{
    const struct wf_group *g = set ? wf_join_set_group(set) : NULL;

    if (wf_likely(g && g->local))
        return g;
    (void)wf_misuse(-EINVAL, "%s: set is %s", call, set ? "no local set" : "NULL");
    return NULL;
}

bool weft_local_set_is_here(const weft_local_set *set)
{
    const struct wf_group *g = local_check(set, "weft_local_set_is_here");
    const struct wf_thread *th = wf_thread_self();

    if (!g || !th || !th->task || th->sched != &g->rt->sched)
        return false;
    return g->pin == 0 || wf_pins_flags(wf_worker_of(wf_unconst(th))->seat->index) == g->pin;
}

/* Cancelled, it is waited for all the same: fn may use what is the caller's. */
static int local_join(weft_task *t, int *result)
{
    int rc = weft_join(t, result);

    if (rc == 0)
        return 0;
    weft_cancel(t);
    WEFT_SHIELD
    {
        int again = weft_join(t, result);

        wf_assert(again == 0);
    }
    return rc;
}

/* From a plain thread or another runtime. */
static int local_enter(weft_runtime *rt)
{
    int rc = wf_runtime_check_outside(rt, "weft_local_set_run");

    return rc < 0 ? rc : wf_runtime_spawn_begin(rt);
}

int weft_local_set_run_at(const char *site, weft_local_set *set, weft_fn *fn, void *arg,
                          int *result)
{
    const struct wf_group *g = local_check(set, "weft_local_set_run");
    const weft_task_options options = {.site = site, .pinned = g && g->pin};
    struct wf_spawn p = {.options = &options, .fn = fn, .arg = arg};
    struct wf_thread *th = wf_thread_self();
    bool outside;
    weft_task *t;
    int rc;

    if (!g)
        return -EINVAL;
    if (!fn)
        return wf_misuse(-EINVAL, "weft_local_set_run: fn is NULL");
    if (th && !th->fiber)
        return wf_misuse(-EPERM, "weft_local_set_run: called outside a fiber");
    p.pin = g->pin;
    outside = !th || th->sched != &g->rt->sched;
    rc = outside ? local_enter(g->rt) : 0;
    if (rc < 0)
        return rc;
    t = wf_task_new_fiber(th, &g->rt->sched, &p);
    rc = t ? 0 : -ENOMEM;
    if (t)
        wf_task_publish(th, t, 1);
    if (outside)
        rc = wf_runtime_spawn_end(g->rt, rc);
    if (rc < 0)
        return rc;
    return wf_thread_self() ? local_join(t, result) : weft_join_blocking(t, result);
}

int(weft_local_set_run)(weft_local_set *set, weft_fn *fn, void *arg, int *result)
{
    return weft_local_set_run_at(NULL, set, fn, arg, result);
}
