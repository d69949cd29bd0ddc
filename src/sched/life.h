/* SPDX-License-Identifier: MIT */
/*
 * life.h - what building a runtime (runtime.c), driving one from outside (drive.c) and ending one
 * (shutdown.c) need of each other.
 */
#ifndef WF_SCHED_LIFE_H
#define WF_SCHED_LIFE_H

#include "sched/worker.h"

#include <signal.h>

/* In a forked child the threads are gone: nothing of the runtime may be used. */
bool wf_runtime_is_forked(const weft_runtime *rt);

/* 0; -EINVAL without a runtime, -EPERM in a forked child, each with a message. */
int wf_runtime_check_outside(const weft_runtime *rt, const char *call);

/* Nobody is inside any more. */
void wf_runtime_free_memory(weft_runtime *rt);

WF_INLINE uint32_t wf_runtime_phase(const weft_runtime *rt)
{
    /* relaxed: a request; what must not be missed is repeated */
    return wf_load_u32(&rt->phase, WF_RELAXED);
}

/* Our threads have SIGPIPE blocked: a task that writes to a pipe nobody reads is told -EPIPE, the program
 * is not to be killed. All other signals are the program's business. */
void wf_thread_block_sigpipe(sigset_t *before);

/* Zeroed memory in whole cache lines; NULL: there is none. */
void *wf_runtime_alloc(size_t size);

/* Start a thread that works for rt: a user of it, which it gives up with wf_runtime_put, with SIGPIPE blocked. */
int wf_thread_start(weft_runtime *rt, pthread_t *handle, void *(*fn)(void *arg), void *arg);

/* What such a thread begins with: name, timer slack and hook; and the hook before it goes. */
void wf_thread_begin(weft_runtime *rt, const char *name);
void wf_thread_end(weft_runtime *rt);

/* Around a spawn from outside. -ESHUTDOWN: it comes too late. end returns rc. */
int wf_runtime_spawn_begin(weft_runtime *rt);
int wf_runtime_spawn_end(weft_runtime *rt, int rc);

/* Current-thread: one thread at a time drives. False: somebody does. */
bool wf_drive_begin(weft_runtime *rt);
void wf_drive_end(weft_runtime *rt);
/* Drive until root (may be NULL) has ended or until_ns. The caller has begun. */
void wf_drive(weft_runtime *rt, const struct weft_task *root, uint64_t until_ns);
/* Drive, or wait while another thread does, until root has ended. -ESHUTDOWN: it never will. */
int wf_drive_block(weft_runtime *rt, weft_task *root);
/* If the handle was given up inside: who drives goes on until the last task has ended. */
void wf_drive_orphan(weft_runtime *rt);

/* Join a thread of a stopped runtime, or leave it behind at until_ns: false. */
bool wf_shutdown_join(struct wf_worker *w, uint64_t until_ns);

/* Wait for the tasks of a closing runtime to end. True: all have. */
bool wf_shutdown_wait_tasks(weft_runtime *rt, uint64_t until_ns);

#endif
