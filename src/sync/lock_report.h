/* SPDX-License-Identifier: MIT */
/*
 * lock_report.h - what reports about locks have in common: who, how often.
 */
#ifndef WF_SYNC_LOCK_REPORT_H
#define WF_SYNC_LOCK_REPORT_H

#include "sched/runtime.h"
#include "sync/owned.h"

/* Somebody in a report. The task is retained from when it was met, under a lock, to when it has been printed. */
struct wf_someone {
    uint64_t owner; /* as in the word of a lock; 0: not known */
    struct weft_task *task;
};

WF_INLINE struct wf_someone wf_someone_met(uint64_t owner)
{
    struct wf_someone s = {.owner = owner, .task = wf_owner_task(owner)};

    if (s.task)
        wf_task_retain(s.task);
    return s;
}

WF_INLINE void wf_someone_put(const struct wf_someone *s)
{
    if (s->task)
        wf_task_release(s->task);
}

#define WF_SOMEONE_SIZE 192

/* "task 7 "name" (spawned at file.c:12)", "thread 1234", "somebody". Returns text. */
const char *wf_someone_text(const struct wf_someone *s, char text[WF_SOMEONE_SIZE]);

/* " "name"", or nothing. */
#define WF_LOCK_NAME_ARGS(name) (name) ? " \"" : "", (name) ? (name) : "", (name) ? "\"" : ""

/* May this be printed? Once for each key, and ten a second in all: what is left out is said with the next. */
bool wf_lock_report_may(uint64_t key);

/* t has ended with the lock. Told once for each place where one was locked. */
void wf_lock_report_end(const char *kind, const struct wf_owned *o, const struct weft_task *t);

/* The runtime that it belongs to; NULL: a plain thread. */
WF_INLINE struct weft_runtime *wf_someone_runtime(const struct wf_someone *s)
{
    return s->task ? wf_runtime_of(s->task->sched) : NULL;
}

#endif
