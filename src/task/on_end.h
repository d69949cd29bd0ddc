/* SPDX-License-Identifier: MIT */
/*
 * on_end.h - being told when a task has ended, by a record that lies behind the task's header.
 *
 * IDEA     Whoever keeps account of tasks that it spawned (a set, a scope, a tracker) has a record for each. The record
 *          is in the task's own slot, so spawning one allocates once; and it has the place of the joiner, so it costs
 *          the task nothing while it runs. At the end it is handed the reference that kept the task alive: with
 *          that it keeps header, result and itself for as long as it likes.
 *
 *              struct wf_spawn p = {..., .behind = sizeof(struct record)};
 *              t = wf_task_new_fiber(th, sched, &p);
 *              r = wf_task_behind(t, p.copy_size);
 *              wf_on_end_expose(th, t, &r->on_end, ended);
 *              ...                             it can be cancelled, and does not run yet
 *              wf_task_start(th, t);
 *
 *          One that is to be joined all the same has a place for the joiner in the record.
 *
 * OWNS     While the task lives its life reference keeps the record; from `ended` on that reference is the
 *          record's, to be given up by wf_task_release. Who takes the record back before is left with nothing: a
 *          record that is not told must not be looked at.
 * WHO      `ended` is called once, by whoever ends the task: a worker between two polls, a thread of the blocking
 *          pool, one that cancels a task in the pool's queue, the last user of a runtime that was stopped at its
 *          limit. It may wake, cancel and spawn; it may not wait. The task's counters may be a moment behind.
 * ORDER    As ORDER (c) of state.c: the result is there, and what the task wrote.
 * TESTS    tests/model/test_on_end.c, tests/unit/test_state.c
 */
#ifndef WF_TASK_ON_END_H
#define WF_TASK_ON_END_H

#include "task/task.h"

struct wf_on_end {
    struct weft_task *task; /* set once */
    void (*ended)(struct wf_on_end *e);
};

/* Of a task that can be joined. */
struct wf_on_end_joinable {
    struct wf_on_end on_end; /* first */
    weft_wakeable *joiner;   /* by the JOIN bits of its state */
};

/* The task can be found from here on, and be cancelled. No handle is made; and nobody else joins it: -EBUSY. */
WF_INLINE void wf_on_end_expose(struct wf_thread *th, struct weft_task *t, struct wf_on_end *e,
                                void (*ended)(struct wf_on_end *e))
{
    *e = (struct wf_on_end){.task = t, .ended = ended};
    t->on_end = e;
    wf_task_expose(th, t, 0, WF_TASK_ON_END | WF_TASK_JOIN_CLAIM);
}

/* The same with a number of handles, by which it can be joined as any other: who joins is woken once the record has
 * been told. Such a record is not taken back. */
WF_INLINE void wf_on_end_expose_joinable(struct wf_thread *th, struct weft_task *t,
                                         struct wf_on_end_joinable *e,
                                         void (*ended)(struct wf_on_end *e), unsigned handles)
{
    *e = (struct wf_on_end_joinable){.on_end = {.task = t, .ended = ended}};
    t->on_end = &e->on_end;
    wf_task_expose(th, t, handles, WF_TASK_ON_END);
}

/* Where the waker of a joiner lies. By who has claimed the place. */
WF_INLINE weft_wakeable **wf_task_joiner(struct weft_task *t)
{
    /* relaxed: a record is there since before the task was published, or was taken back before anybody claimed. With
     * one that nobody else joins there is no claim. */
    if (wf_load_u64(&t->state, WF_RELAXED) & WF_TASK_ON_END)
        return &wf_container_of(t->on_end, struct wf_on_end_joinable, on_end)->joiner;
    return &t->joiner;
}

/* The task is to end by itself, as one that was detached. False: it has ended, and `ended` is called or was. */
__attribute__((warn_unused_result)) WF_INLINE bool wf_on_end_detach(struct wf_on_end *e)
{
    return wf_task_state_unwatch(e->task);
}

#endif
