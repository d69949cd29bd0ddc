/* SPDX-License-Identifier: MIT */
/*
 * group.h - children without a runtime, for models of sets and scopes.
 *
 * IDEA     The test is the scheduler: a child that was spawned waits in its place until a thread of the test runs it to
 *          its end. Headers are not from the slab: one that was freed is gone, so whoever comes too late uses memory
 *          after its end. A child that was cancelled before it ran ends with -ECANCELED, else with 100 and its number.
 */
#ifndef MODEL_GROUP_H
#define MODEL_GROUP_H

#include "model/bell.h"
#include "model/model.h"
#include "sched/blocking.h"
#include "sched/life.h"
#include "sync/group.h"
#include "task/waker.h"

#include <errno.h>

#define CHILDREN 4

static weft_runtime rt;
static struct weft_task *children[CHILDREN]; /* in the order of spawning */
static unsigned spawned;
static struct weft_task *watch; /* the group's, when it has one */
static bool child_ran[CHILDREN], child_cancelled[CHILDREN];

/* --- what is below, replaced ---------------------------------------------------------- */

void *wf_slab_alloc(struct wf_slab_cache *c, size_t size)
{
    (void)c;
    return model_alloc(size, 64);
}

void wf_slab_free(struct wf_slab_cache *c, void *p)
{
    (void)c;
    model_free(p);
}

int wf_runtime_check_outside(const weft_runtime *r, const char *call)
{
    (void)call;
    CHECK(r == &rt);
    return 0;
}

int wf_runtime_spawn_begin(weft_runtime *r)
{
    (void)r;
    return 0;
}

int wf_runtime_spawn_end(weft_runtime *r, int rc)
{
    (void)r;
    return rc;
}

int wf_blocking_reserve(weft_runtime *r, const char *call)
{
    (void)r;
    model_fail(__FILE__, __LINE__, "%s: no child blocks", call);
}

void wf_pool_unreserve(weft_runtime *r)
{
    (void)r;
}

void wf_worker_wake_patient(weft_wakeable *target)
{
    wf_wakeable_wake(target);
}

static inline void child_woken(struct wf_scheduler *s, struct weft_task *t)
{
    (void)s;
    /* Queued from the beginning: it has not run yet. */
    model_fail(__FILE__, __LINE__, "task %llu is queued twice", (unsigned long long)t->id);
}

static inline void child_spawned(struct wf_scheduler *s, struct wf_thread *th, struct weft_task *t)
{
    (void)s, (void)th;
    if (wf_task_type_of(t)->stackless)
        watch = t;
    else
        children[spawned++] = t;
}

static const struct wf_scheduler_ops child_ops = {.woken = child_woken, .spawned = child_spawned};

static inline int child_fn(void *arg)
{
    (void)arg;
    model_fail(__FILE__, __LINE__, "the function of a child is called");
}

static inline void children_init(void)
{
    rt.sched.ops = &child_ops;
    model_hush();
}

/* --- running ---------------------------------------------------------------------------- */

static inline bool child_end(struct weft_task *t, int result)
{
    bool cancelled = (wf_task_state_start(t) & WF_TASK_CANCELLED) != 0;

    t->result = cancelled ? -ECANCELED : result;
    wf_task_end(t);
    return cancelled;
}

static inline void child_run(unsigned i)
{
    child_ran[i] = true;
    child_cancelled[i] = child_end(children[i], 100 + (int)i);
}

/* The watch: it was cancelled, or waits. */
static inline void watch_run(void)
{
    (void)wf_task_state_start(watch);
    CHECK(wf_task_is_cancelled(watch));
    CHECK_EQ(WF_POLL_DONE, wf_async_poll(watch, true));
    wf_task_end(watch);
}

#endif
