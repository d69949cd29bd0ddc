/* SPDX-License-Identifier: MIT */
/*
 * weft/join_set.h - tasks that somebody started and waits for together.
 *
 *     weft_join_set *set = weft_join_set_new();
 *     weft_join_done done;
 *
 *     for (size_t i = 0; i < n; i++)
 *         weft_join_set_spawn(set, fetch, &pages[i]);
 *     while (weft_join_set_next(set, &done) > 0)
 *         report(done.tag, done.result);
 *     weft_join_set_free(set);
 *
 * A set owns its tasks: freeing it cancels those that still run and waits for them, so none outlives it. Tasks
 * that have ended stay in the set until they are taken.
 *
 * Any number of tasks and threads may use a set at the same time, but one at a time waits for the next task; and
 * whoever frees it is the last to use it.
 */
#ifndef WEFT_JOIN_SET_H
#define WEFT_JOIN_SET_H

#include <weft/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_join_set weft_join_set;

/* Zero is the default everywhere. */
typedef struct weft_join_set_options {
    const char *name; /* for reports; copied, at most 63 bytes; NULL: none */
    /* Where the tasks run; borrowed as long as the set lives. NULL: on the runtime of the task that spawns; plain
     * threads cannot spawn into such a set. */
    weft_runtime *runtime;
    weft_instant deadline; /* as weft_join_set_set_deadline; 0: none */
    bool ordered;          /* give the tasks in the order of spawning, and not of ending */
    /* For what is spawned without options of its own. What its pointers point at is borrowed as long as the set
     * lives. NULL: none */
    const weft_task_options *defaults;
    uintptr_t spare_[4]; /* zero */
} weft_join_set_options;

/* A task of the set that has ended. */
typedef struct weft_join_done {
    uint64_t id; /* what the spawn returned */
    /* weft_task_options.tag; of a task that was spawned without options: the address that it was given as its
     * argument, 0 if that was a copy */
    uint64_t tag;
    int result; /* as weft_join gives it */
    uintptr_t spare_[2];
} weft_join_done;

/* A new, empty set; NULL: no memory. From any thread. */
WEFT_API weft_join_set *weft_join_set_new(void);

/*
 * weft_join_set_new_with - the same with options (NULL: none).
 * Returns 0, -ENOMEM, -EINVAL; -EPERM: a deadline, but no runtime, and the caller is not in a task; -ESHUTDOWN.
 */
WEFT_API WEFT_MUST_CHECK int weft_join_set_new_with(weft_join_set **set,
                                                    const weft_join_set_options *options);

/*
 * weft_join_set_spawn - start a task in the set, as weft_spawn does.
 *
 * From any thread. A task may spawn into the set that it belongs to.
 *
 * Returns  the id of the task (above 0)
 *          -EINVAL      set or fn is NULL, or the options are wrong
 *          -ENOMEM      nothing was started
 *          -EPERM       a plain thread, and the set has no runtime of its own
 *          -ESHUTDOWN   the set is being freed; or, from outside of the runtime, that is shutting down
 */
WEFT_API ssize_t weft_join_set_spawn(weft_join_set *set, weft_fn *fn, void *arg);
/* As weft_spawn_copy, weft_spawn_with, weft_spawn_copy_with and weft_spawn_async. A stackless task's state may be 64
 * bytes smaller than elsewhere. */
WEFT_API ssize_t weft_join_set_spawn_copy(weft_join_set *set, weft_fn *fn, const void *args,
                                          size_t size);
WEFT_API ssize_t weft_join_set_spawn_with(weft_join_set *set, const weft_task_options *options,
                                          weft_fn *fn, void *arg);
WEFT_API ssize_t weft_join_set_spawn_copy_with(weft_join_set *set, const weft_task_options *options,
                                               weft_fn *fn, const void *args, size_t size);
WEFT_API ssize_t weft_join_set_spawn_async(weft_join_set *set, const weft_async_type *type,
                                           const void *state);
/* On the blocking pool, as weft_spawn_blocking_with (options may be NULL): awaits a place in its queue, if that has a
 * limit and the caller is a fiber; -EAGAIN for others, -ECANCELED and -ETIMEDOUT while it waits. */
WEFT_API ssize_t weft_join_set_spawn_blocking(weft_join_set *set, const weft_task_options *options,
                                              weft_fn *fn, void *arg);

/*
 * weft_join_set_spawn_on - the same on this runtime, wherever the set's other tasks run; also from a plain thread.
 *
 * rt       must be there until the task has ended.
 * options  NULL: the set's defaults. Pinned, from another runtime or thread, is -EINVAL.
 *
 * Into a local set: -EINVAL, unless rt is its own. On the blocking pool it awaits a place as
 * weft_join_set_spawn_blocking.
 */
WEFT_API ssize_t weft_join_set_spawn_on(weft_join_set *set, weft_runtime *rt,
                                        const weft_task_options *options, weft_fn *fn, void *arg);
WEFT_API ssize_t weft_join_set_spawn_async_on(weft_join_set *set, weft_runtime *rt,
                                              const weft_task_options *options,
                                              const weft_async_type *type, const void *state);
WEFT_API ssize_t weft_join_set_spawn_blocking_on(weft_join_set *set, weft_runtime *rt,
                                                 const weft_task_options *options, weft_fn *fn,
                                                 void *arg);

/*
 * weft_join_set_next - wait for the next task that has ended, and take it out of the set.
 *
 * done     may be NULL. In the order of ending; in an ordered set, of spawning.
 *
 * Awaits   while none has ended (or, in an ordered set, the oldest has not).
 * Cancel   safe: no task is lost.
 * Returns  1            *done is set
 *          0            the set is empty
 *          -EBUSY       another task waits for this set's next one
 *          -ESHUTDOWN   the set was freed meanwhile
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await; -EINVAL
 */
WEFT_API WEFT_MUST_CHECK int weft_join_set_next(weft_join_set *set, weft_join_done *done);

/* The same without waiting, from any thread: -EAGAIN when there are tasks, but none has ended. */
WEFT_API WEFT_MUST_CHECK int weft_join_set_try_next(weft_join_set *set, weft_join_done *done);

/* From a plain thread, which is blocked meanwhile: -EDEADLK inside a task. */
WEFT_API WEFT_MUST_CHECK int weft_join_set_next_blocking(weft_join_set *set, weft_join_done *done);

/* As a future: result 1, 0, -EBUSY or -ESHUTDOWN. done must stay until it is ready or dropped. */
WEFT_API weft_future weft_join_set_next_future(weft_join_set *set, weft_join_done *done);

/*
 * weft_join_set_join_all - take all tasks as they end.
 *
 * fn       may be NULL. Called for each; may await, spawn into the set, and cancel. What it returns below 0 ends the
 *          call; the rest stays in the set.
 *
 * Awaits   until the set is empty.
 * Cancel   safe: what was not given to fn is still in the set.
 * Returns  0, or what fn returned, or as weft_join_set_next.
 */
typedef int weft_join_done_fn(void *arg, const weft_join_done *done);
WEFT_API WEFT_MUST_CHECK int weft_join_set_join_all(weft_join_set *set, weft_join_done_fn *fn,
                                                    void *arg);

/* As a future: result 0, what fn returned below 0, -EBUSY or -ESHUTDOWN. fn is called within its poll, so it may not
 * await; nor may it drop the future, or free the set. Cancel-safe in the same way. */
WEFT_API weft_future weft_join_set_join_all_future(weft_join_set *set, weft_join_done_fn *fn,
                                                   void *arg);

/* Cancel all tasks that are in the set now. They stay in it, and end with their own results. From any thread. */
WEFT_API void weft_join_set_cancel(weft_join_set *set);

/* Cancel one, by its id. 0; -ENOENT: it is not in the set. Looks through the set: for large ones a weft_join_map is
 * better. From any thread. */
WEFT_API int weft_join_set_cancel_one(weft_join_set *set, uint64_t id);

/*
 * weft_join_set_shutdown - cancel all tasks, and wait until the set is empty. Their results are not told.
 * The set can be used afterwards.
 *
 * Awaits   until the last has ended.
 * Cancel   safe: who has not ended stays in the set, cancelled.
 * Returns  0, or as weft_join_set_next.
 */
WEFT_API WEFT_MUST_CHECK int weft_join_set_shutdown(weft_join_set *set);

/* As a future, which cancels them when it is first polled: result 0, -EBUSY or -ESHUTDOWN. */
WEFT_API weft_future weft_join_set_shutdown_future(weft_join_set *set);

/* Give up all tasks: those that run go on by themselves, as after weft_detach, and results that are there are dropped.
 * The set is empty then. From any thread. */
WEFT_API void weft_join_set_detach_all(weft_join_set *set);

/*
 * weft_join_set_set_deadline - a moment at which all tasks of the set are cancelled.
 *
 * Tasks that are spawned after it are cancelled before they run, and end with -ECANCELED. WEFT_FOREVER takes it
 * back, unless it has passed. It is watched by a small task on the set's runtime (the caller's, if the
 * set has none).
 *
 * Returns  0, -ENOMEM, -EINVAL, -EPERM (no runtime), -ESHUTDOWN.
 */
WEFT_API WEFT_MUST_CHECK int weft_join_set_set_deadline(weft_join_set *set, weft_instant at);

/* Tasks in the set: those that run, and those that have ended and were not taken. */
WEFT_API size_t weft_join_set_len(const weft_join_set *set);
WEFT_API bool weft_join_set_is_empty(const weft_join_set *set);

typedef struct weft_join_set_info {
    char name[64];
    uint64_t len;
    uint64_t spawned; /* ever */
    uint64_t taken;   /* results that were given out */
    bool ordered;
    bool expired; /* its deadline has passed */
} weft_join_set_info;

/* 0, -EINVAL. */
WEFT_API int weft_join_set_get_info(const weft_join_set *set, weft_join_set_info *info);
WEFT_API int weft_join_set_get_info_sized(const weft_join_set *set, weft_join_set_info *info,
                                          size_t size);
#define weft_join_set_get_info(...) \
 weft_join_set_get_info_sized(__VA_ARGS__, sizeof(weft_join_set_info))

/*
 * weft_join_set_free - cancel what is left, wait until it has ended, and give the set up. NULL is ignored.
 *
 * Awaits   in a fiber, shielded: cancellation and deadlines of the caller do not end it. A plain thread is blocked. A
 *          stackless task, and a task of the set itself, cannot wait: then the tasks are cancelled and end by
 *          themselves, soon, but after the call.
 * Who waits for the set's next task at that moment gets -ESHUTDOWN.
 */
WEFT_API void weft_join_set_free(weft_join_set *set);

/*
 * weft_join_set_free_after - the same, but the tasks have some time to end by themselves first.
 * Returns 0: all did; -ETIMEDOUT: some were cancelled. Where the caller cannot wait they are cancelled at once.
 */
WEFT_API int weft_join_set_free_after(weft_join_set *set, weft_duration grace);

/* What the macros below call: the same with the place of the call. */
WEFT_API ssize_t weft_join_set_spawn_at(const char *site, weft_join_set *set, weft_fn *fn,
                                        void *arg);
WEFT_API ssize_t weft_join_set_spawn_copy_at(const char *site, weft_join_set *set, weft_fn *fn,
                                             const void *args, size_t size);
WEFT_API ssize_t weft_join_set_spawn_with_at(const char *site, weft_join_set *set,
                                             const weft_task_options *options, weft_fn *fn,
                                             void *arg);
WEFT_API ssize_t weft_join_set_spawn_copy_with_at(const char *site, weft_join_set *set,
                                                  const weft_task_options *options, weft_fn *fn,
                                                  const void *args, size_t size);
WEFT_API ssize_t weft_join_set_spawn_async_at(const char *site, weft_join_set *set,
                                              const weft_async_type *type, const void *state);
WEFT_API ssize_t weft_join_set_spawn_blocking_at(const char *site, weft_join_set *set,
                                                 const weft_task_options *options, weft_fn *fn,
                                                 void *arg);
WEFT_API ssize_t weft_join_set_spawn_on_at(const char *site, weft_join_set *set, weft_runtime *rt,
                                           const weft_task_options *options, weft_fn *fn,
                                           void *arg);
WEFT_API ssize_t weft_join_set_spawn_async_on_at(const char *site, weft_join_set *set,
                                                 weft_runtime *rt, const weft_task_options *options,
                                                 const weft_async_type *type, const void *state);
WEFT_API ssize_t weft_join_set_spawn_blocking_on_at(const char *site, weft_join_set *set,
                                                    weft_runtime *rt,
                                                    const weft_task_options *options, weft_fn *fn,
                                                    void *arg);

#define weft_join_set_spawn(...)           weft_join_set_spawn_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_set_spawn_copy(...)      weft_join_set_spawn_copy_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_set_spawn_with(...)      weft_join_set_spawn_with_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_set_spawn_copy_with(...) weft_join_set_spawn_copy_with_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_set_spawn_async(...)     weft_join_set_spawn_async_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_set_spawn_blocking(...)  weft_join_set_spawn_blocking_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_set_spawn_on(...)        weft_join_set_spawn_on_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_set_spawn_async_on(...)  weft_join_set_spawn_async_on_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_set_spawn_blocking_on(...) \
 weft_join_set_spawn_blocking_on_at(WEFT_SITE, __VA_ARGS__)

#ifdef __cplusplus
}
#endif

#endif
