/* SPDX-License-Identifier: MIT */
/*
 * weft/task_tracker.h - counting tasks, to wait until the last one has ended.
 *
 * For a server that is to end in good order: it spawns a task for each connection, keeps no handle,
 * and at the end waits for all that are left. Nothing of a task that has ended is kept; who wants results
 * uses a join set (weft/join_set.h), and who wants a task's end where its block ends uses a scope.
 *
 *     weft_task_tracker *conns = weft_task_tracker_new();
 *     ...
 *     weft_task_tracker_go(conns, serve, s);
 *     ...
 *     weft_cancel_token_cancel(stop);
 *     weft_task_tracker_close(conns);
 *     rc = weft_task_tracker_wait(conns);
 *
 * Waiting ends when the tracker is closed and empty. Closing says only that this may end the wait: it keeps
 * nobody from spawning.
 *
 * Handles are counted; tasks keep the tracker by themselves. All calls from any thread.
 */
#ifndef WEFT_TASK_TRACKER_H
#define WEFT_TASK_TRACKER_H

#include <weft/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_task_tracker weft_task_tracker;

/* A new tracker, open and empty; NULL: memory is out. */
WEFT_API weft_task_tracker *weft_task_tracker_new(void);

/* One more handle, to be freed on its own. The same pointer; NULL gives NULL. */
WEFT_API weft_task_tracker *weft_task_tracker_clone(weft_task_tracker *tr);

/* Give a handle up; NULL is ignored. Tasks go on. It is a mistake to free the last handle while somebody waits: that
 * wait ends with -ESHUTDOWN. */
WEFT_API void weft_task_tracker_free(weft_task_tracker *tr);

/*
 * weft_task_tracker_spawn - weft_spawn, and the task is counted until it has ended.
 *
 * Returns  a handle, as weft_spawn gives it: to be joined or detached. NULL, with a message, when memory is
 *          out, the caller is not in a task, or tr is NULL.
 */
WEFT_API weft_task *weft_task_tracker_spawn(weft_task_tracker *tr, weft_fn *fn, void *arg);

/* As weft_spawn_copy, weft_spawn_with, weft_spawn_copy_with and weft_spawn_async. A stackless task's state may be 48
 * bytes smaller than there. */
WEFT_API weft_task *weft_task_tracker_spawn_copy(weft_task_tracker *tr, weft_fn *fn,
                                                 const void *args, size_t size);
WEFT_API weft_task *weft_task_tracker_spawn_with(weft_task_tracker *tr,
                                                 const weft_task_options *options, weft_fn *fn,
                                                 void *arg);
WEFT_API weft_task *weft_task_tracker_spawn_copy_with(weft_task_tracker *tr,
                                                      const weft_task_options *options, weft_fn *fn,
                                                      const void *args, size_t size);
WEFT_API weft_task *weft_task_tracker_spawn_async(weft_task_tracker *tr,
                                                  const weft_async_type *type, const void *state);

/* As weft_spawn_blocking_with; options may be NULL. */
WEFT_API weft_task *weft_task_tracker_spawn_blocking(weft_task_tracker *tr,
                                                     const weft_task_options *options, weft_fn *fn,
                                                     void *arg);

/* Detached: as weft_go, weft_go_copy, weft_go_with and weft_go_async. 0, -ENOMEM, -EPERM (outside a task), -EINVAL. */
WEFT_API int weft_task_tracker_go(weft_task_tracker *tr, weft_fn *fn, void *arg);
WEFT_API int weft_task_tracker_go_copy(weft_task_tracker *tr, weft_fn *fn, const void *args,
                                       size_t size);

WEFT_API int weft_task_tracker_go_with(weft_task_tracker *tr, const weft_task_options *options,
                                       weft_fn *fn, void *arg);
WEFT_API int weft_task_tracker_go_async(weft_task_tracker *tr, const weft_async_type *type,
                                        const void *state);

/* As weft_spawn_on and weft_spawn_async_on: from a plain thread, or into another runtime. */
WEFT_API WEFT_MUST_CHECK int weft_task_tracker_spawn_on(weft_task_tracker *tr, weft_runtime *rt,
                                                        weft_task **t,
                                                        const weft_task_options *options,
                                                        weft_fn *fn, void *arg);

WEFT_API WEFT_MUST_CHECK int weft_task_tracker_spawn_async_on(weft_task_tracker *tr,
                                                              weft_runtime *rt, weft_task **t,
                                                              const weft_task_options *options,
                                                              const weft_async_type *type,
                                                              const void *state);

/* As weft_spawn_blocking_on. */
WEFT_API WEFT_MUST_CHECK int weft_task_tracker_spawn_blocking_on(weft_task_tracker *tr,
                                                                 weft_runtime *rt, weft_task **t,
                                                                 const weft_task_options *options,
                                                                 weft_fn *fn, void *arg);

/*
 * Count something that is not a task. Each enter is followed by one leave, from any thread. 0, -EINVAL: NULL, or more
 * left than entered.
 */
WEFT_API int weft_task_tracker_enter(weft_task_tracker *tr);
WEFT_API int weft_task_tracker_leave(weft_task_tracker *tr);

/* Waits may end from now on, or may not any more. Whether that changed anything. */
WEFT_API bool weft_task_tracker_close(weft_task_tracker *tr);
WEFT_API bool weft_task_tracker_reopen(weft_task_tracker *tr);

/*
 * weft_task_tracker_wait - wait until it is closed and empty.
 *
 * Awaits   until that is so at any moment from the call on, even if it is opened again or something is counted
 *          at once.
 * Cancel   safe.
 * Returns  0
 *          -ESHUTDOWN   its last handle was freed
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await
 *          -EINVAL      tr is NULL
 * Order    what the tasks that were counted wrote is visible.
 */
WEFT_API int weft_task_tracker_wait(weft_task_tracker *tr);
WEFT_API int weft_task_tracker_wait_blocking(weft_task_tracker *tr); /* -EDEADLK in a task */

/* The same as a future; the wait begins when it is made. The tracker must be there until it is first polled. */
WEFT_API weft_future weft_task_tracker_wait_future(weft_task_tracker *tr);

/* How many are counted: tasks that have not ended, and what was entered. */
WEFT_API size_t weft_task_tracker_len(const weft_task_tracker *tr);
WEFT_API bool weft_task_tracker_is_empty(const weft_task_tracker *tr);
WEFT_API bool weft_task_tracker_is_closed(const weft_task_tracker *tr);

/* What the macros below call: the same with the place of the call. */
WEFT_API weft_task *weft_task_tracker_spawn_at(const char *site, weft_task_tracker *tr, weft_fn *fn,
                                               void *arg);
WEFT_API weft_task *weft_task_tracker_spawn_copy_at(const char *site, weft_task_tracker *tr,
                                                    weft_fn *fn, const void *args, size_t size);
WEFT_API weft_task *weft_task_tracker_spawn_with_at(const char *site, weft_task_tracker *tr,
                                                    const weft_task_options *options, weft_fn *fn,
                                                    void *arg);
WEFT_API weft_task *weft_task_tracker_spawn_copy_with_at(const char *site, weft_task_tracker *tr,
                                                         const weft_task_options *options,
                                                         weft_fn *fn, const void *args,
                                                         size_t size);
WEFT_API int weft_task_tracker_go_with_at(const char *site, weft_task_tracker *tr,
                                          const weft_task_options *options, weft_fn *fn, void *arg);
WEFT_API int weft_task_tracker_go_async_at(const char *site, weft_task_tracker *tr,
                                           const weft_async_type *type, const void *state);
WEFT_API WEFT_MUST_CHECK int weft_task_tracker_spawn_async_on_at(
    const char *site, weft_task_tracker *tr, weft_runtime *rt, weft_task **t,
    const weft_task_options *options, const weft_async_type *type, const void *state);
WEFT_API weft_task *weft_task_tracker_spawn_async_at(const char *site, weft_task_tracker *tr,
                                                     const weft_async_type *type,
                                                     const void *state);
WEFT_API weft_task *weft_task_tracker_spawn_blocking_at(const char *site, weft_task_tracker *tr,
                                                        const weft_task_options *options,
                                                        weft_fn *fn, void *arg);
WEFT_API int weft_task_tracker_go_at(const char *site, weft_task_tracker *tr, weft_fn *fn,
                                     void *arg);
WEFT_API int weft_task_tracker_go_copy_at(const char *site, weft_task_tracker *tr, weft_fn *fn,
                                          const void *args, size_t size);
WEFT_API WEFT_MUST_CHECK int weft_task_tracker_spawn_on_at(const char *site, weft_task_tracker *tr,
                                                           weft_runtime *rt, weft_task **t,
                                                           const weft_task_options *options,
                                                           weft_fn *fn, void *arg);
WEFT_API WEFT_MUST_CHECK int weft_task_tracker_spawn_blocking_on_at(
    const char *site, weft_task_tracker *tr, weft_runtime *rt, weft_task **t,
    const weft_task_options *options, weft_fn *fn, void *arg);

#define weft_task_tracker_spawn(...)       weft_task_tracker_spawn_at(WEFT_SITE, __VA_ARGS__)
#define weft_task_tracker_spawn_copy(...)  weft_task_tracker_spawn_copy_at(WEFT_SITE, __VA_ARGS__)
#define weft_task_tracker_spawn_with(...)  weft_task_tracker_spawn_with_at(WEFT_SITE, __VA_ARGS__)
#define weft_task_tracker_spawn_async(...) weft_task_tracker_spawn_async_at(WEFT_SITE, __VA_ARGS__)
#define weft_task_tracker_spawn_blocking(...) \
 weft_task_tracker_spawn_blocking_at(WEFT_SITE, __VA_ARGS__)
#define weft_task_tracker_spawn_copy_with(...) \
 weft_task_tracker_spawn_copy_with_at(WEFT_SITE, __VA_ARGS__)
#define weft_task_tracker_go_with(...)  weft_task_tracker_go_with_at(WEFT_SITE, __VA_ARGS__)
#define weft_task_tracker_go_async(...) weft_task_tracker_go_async_at(WEFT_SITE, __VA_ARGS__)
#define weft_task_tracker_spawn_async_on(...) \
 weft_task_tracker_spawn_async_on_at(WEFT_SITE, __VA_ARGS__)
#define weft_task_tracker_go(...)       weft_task_tracker_go_at(WEFT_SITE, __VA_ARGS__)
#define weft_task_tracker_go_copy(...)  weft_task_tracker_go_copy_at(WEFT_SITE, __VA_ARGS__)
#define weft_task_tracker_spawn_on(...) weft_task_tracker_spawn_on_at(WEFT_SITE, __VA_ARGS__)
#define weft_task_tracker_spawn_blocking_on(...) \
 weft_task_tracker_spawn_blocking_on_at(WEFT_SITE, __VA_ARGS__)

#ifdef __cplusplus
}
#endif

#endif
