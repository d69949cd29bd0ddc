/* SPDX-License-Identifier: MIT */
/*
 * weft/blocking.h - work that blocks its thread: calls that wait, and long computations.
 *
 * None of this is needed to keep a runtime alive: a task that blocks is noticed, and others do its thread's work
 * (weft_config.monitor). It makes it cheaper, and says so in the code.
 */
#ifndef WEFT_BLOCKING_H
#define WEFT_BLOCKING_H

#include <weft/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * weft_blocking - call fn(arg), which may block, on this thread's own stack.
 *
 * It is called at once and in place, on the stack of the worker's thread (of the size that the system gives threads)
 * and not on the fiber's. If it lasts, another thread does the worker's work. On a runtime
 * without a monitor, the current-thread one above all, it runs on the blocking pool, and the task awaits its end.
 * fn may not await, nor spawn on the current runtime: to weft the thread is a plain one meanwhile.
 * From a plain thread it is a call.
 *
 * Awaits   on a runtime without a monitor: until fn has returned, even when the task is cancelled meanwhile,
 *          for fn may use what lies on the task's stack.
 * Cancel   does not interrupt fn.
 * Returns  what fn returned; -EINVAL: fn is NULL; without a monitor also -ENOMEM and -EAGAIN (no thread), and
 *          -ECANCELED or -ETIMEDOUT if it was cancelled, or a deadline passed, before fn began.
 */
WEFT_API int weft_blocking(weft_fn *fn, void *arg);

/*
 * weft_spawn_blocking - run fn(arg) as a task of its own on the blocking pool.
 *
 * Its threads are made when needed, at most weft_config.max_blocking_threads, and kept thread_keep_alive;
 * what comes beyond that is queued. The task is a plain thread's function: it may not await. A cancel before it
 * began ends it with -ECANCELED; afterwards it has no effect.
 *
 * Awaits   a place in the queue, if max_blocking_queue is set and the caller is a fiber, first come, first
 *          served; a stackless task gets NULL instead.
 * Returns  a handle that the caller must join or detach; NULL (with a message) when memory is out, when the
 *          caller is not in a task; NULL when it was cancelled while it awaited. If the pool has no thread and none
 *          can be made, the task ends with -EAGAIN or -ENOMEM.
 */
WEFT_API weft_task *weft_spawn_blocking(weft_fn *fn, void *arg);
WEFT_API weft_task *weft_spawn_blocking_with(const weft_task_options *options, weft_fn *fn,
                                             void *arg);

/* From a plain thread, or into another runtime. t may be NULL: detached. options may be NULL. 0, -EINVAL, -ENOMEM,
 * -EAGAIN (the queue is full), -ESHUTDOWN, -EPERM in a forked child. */
WEFT_API WEFT_MUST_CHECK int weft_spawn_blocking_on(weft_runtime *rt, weft_task **t,
                                                    const weft_task_options *options, weft_fn *fn,
                                                    void *arg);

/*
 * weft_block_in_place - call fn(arg) on the fiber's stack after handing the worker's other tasks to
 * another thread.
 *
 * fn may await, but once it has, it is an ordinary part of the task again: what it blocks after that is noticed
 * by the monitor. The coop budget goes on within it: the operation that finds it spent lets others run, on whichever
 * worker, as everywhere in a task. May be nested. From a plain thread it is a call.
 *
 * Returns  what fn returned; -EINVAL on a current-thread runtime, and on one with a single worker and
 *          without monitor: there is nobody to hand over to.
 */
WEFT_API int weft_block_in_place(weft_fn *fn, void *arg);

/* What the macros below call: the same with the place of the call. */
WEFT_API int weft_blocking_at(const char *site, weft_fn *fn, void *arg);
WEFT_API weft_task *weft_spawn_blocking_at(const char *site, weft_fn *fn, void *arg);
WEFT_API weft_task *weft_spawn_blocking_with_at(const char *site, const weft_task_options *options,
                                                weft_fn *fn, void *arg);
WEFT_API WEFT_MUST_CHECK int weft_spawn_blocking_on_at(const char *site, weft_runtime *rt,
                                                       weft_task **t,
                                                       const weft_task_options *options,
                                                       weft_fn *fn, void *arg);

#define weft_blocking(...)            weft_blocking_at(WEFT_SITE, __VA_ARGS__)
#define weft_spawn_blocking(...)      weft_spawn_blocking_at(WEFT_SITE, __VA_ARGS__)
#define weft_spawn_blocking_with(...) weft_spawn_blocking_with_at(WEFT_SITE, __VA_ARGS__)
#define weft_spawn_blocking_on(...)   weft_spawn_blocking_on_at(WEFT_SITE, __VA_ARGS__)

#ifdef __cplusplus
}
#endif

#endif
