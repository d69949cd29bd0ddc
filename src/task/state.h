/* SPDX-License-Identifier: MIT */
/*
 * state.h - the life of a task in one word, and every way in which it may change.
 */
#ifndef WF_TASK_STATE_H
#define WF_TASK_STATE_H

#include "base/atomic.h"

#define WF_TASK_RUNNING    (1ull << 0) /* a worker polls it, or it yielded and is queued to go on */
#define WF_TASK_NOTIFIED   (1ull << 1) /* a poll is due: it is queued, or its runner will queue it */
#define WF_TASK_COMPLETE   (1ull << 2) /* has ended: result is set */
#define WF_TASK_CANCELLED  (1ull << 3) /* was asked to stop */
#define WF_TASK_JOIN_CLAIM (1ull << 4) /* one joiner owns the joiner slot */
#define WF_TASK_JOIN_WAKER (1ull << 5) /* the joiner slot holds a waker for the end */
#define WF_TASK_JOINED     (1ull << 6) /* a join consumed its handle */
#define WF_TASK_SHARED \
 (1ull << 7) /* debug builds: has had several handles, each joined on its own */
#define WF_TASK_ON_END \
 (1ull << 8) /* the joiner slot holds a record of on_end.h, since before it ran */
#define WF_TASK_INTERRUPTED (1ull << 9) /* its awaits are cancelled until it has left a scope */
#define WF_TASK_REF         (1ull << 16)

#define wf_task_refs(state) ((state) / WF_TASK_REF)

struct weft_task;

__attribute__((warn_unused_result)) bool wf_task_notify(struct weft_task *t);
/* The same, and give the caller's reference up. One that must be pushed lives on by its life reference; else t may be
 * gone. */
__attribute__((warn_unused_result)) bool wf_task_notify_put(struct weft_task *t);
__attribute__((warn_unused_result)) bool wf_task_state_cancel(struct weft_task *t);

/* Cancelled for a while: until the task itself takes it back. No effect on one that has ended. */
__attribute__((warn_unused_result)) bool wf_task_state_interrupt(struct weft_task *t);
void wf_task_state_uninterrupt(struct weft_task *t);

/* A queued task is about to be polled. Returns the state from before. */
uint64_t wf_task_state_start(struct weft_task *t);

/* The same by one of several who may: a task for the blocking pool is in its queue and may be cancelled there. False:
 * somebody else has it. */
__attribute__((warn_unused_result)) bool wf_task_state_claim(struct weft_task *t);

/* A poll was pending. True: it was notified meanwhile; the caller must push it. */
__attribute__((warn_unused_result)) bool wf_task_state_park(struct weft_task *t);

/* A queued task that yielded goes on: a wake that came meanwhile is met by this poll. */
void wf_task_state_resume(struct weft_task *t);

/* The task has ended and its result is set: publish it, wake the joiner, give up the life
 * reference, or hand it to who is told of the end. t may be gone afterwards. */
void wf_task_state_complete(struct weft_task *t);

/* References. release frees the header with the last one. */
void wf_task_retain(struct weft_task *t);
void wf_task_release(struct weft_task *t);
bool wf_task_try_retain(struct weft_task *t); /* false: the slot is free */

/* The joiner slot. claim: false when somebody else has it. arm: the slot was filled; false when the
 * task has ended (the slot is the caller's again). disarm: true when the slot is the caller's
 * again; false when the task has ended and its last runner took the slot. */
bool wf_task_join_claim(struct weft_task *t);
bool wf_task_join_arm(struct weft_task *t);
bool wf_task_join_disarm(struct weft_task *t);

/* Nobody is to be told of the end any more, and the slot is free. False: the task has ended, and the
 * record is told, or was. */
__attribute__((warn_unused_result)) bool wf_task_state_unwatch(struct weft_task *t);

#endif
