/* SPDX-License-Identifier: MIT */
/*
 * weft/futures.h - sets of futures: many operations driven by one task, their results in the order in which they
 * end, or in which they were pushed.
 *
 *     weft_futures *set = weft_futures_new();
 *     uint64_t tag;
 *     ssize_t result;
 *
 *     for (int i = 0; i < n; i++)
 *         weft_futures_push(set, fetch_future(&url[i]), (uint64_t)i);
 *     while (weft_futures_next(set, &tag, &result) > 0)
 *         printf("%d: %zd\n", (int)tag, result);
 *     weft_futures_free(set);
 *
 * Each future is woken by itself, and only those that were woken are polled, in that order. So a set may hold a hundred
 * thousand of them, where weft_select and weft_join_all poll all their branches each time. All of them run
 * on the task that asks for the next result: a future that computes holds up the others. What is to run side by side
 * is spawned (weft_futures_spawn), and the set then waits for its end.
 *
 * One task at a time drives a set (_next, _try_next, _clear), and it need not always be the same one. Any thread may
 * push at any time, also while a task waits for the next result, and from within the poll of a future of
 * the set. _free must come after all other calls, but for wakes.
 */
#ifndef WEFT_FUTURES_H
#define WEFT_FUTURES_H

#include <weft/future.h>
#include <weft/task.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_futures weft_futures;

/* How the results come, for weft_futures_new_with and weft_for_each_concurrent. */
#define WEFT_FUTURES_UNORDERED 0u /* as the futures end */
#define WEFT_FUTURES_ORDERED   1u /* as they were pushed */

/* An empty set; weft_futures_free takes it back. NULL: memory is out, or there is no such flag. From any thread. */
WEFT_API weft_futures *weft_futures_new(void);
WEFT_API weft_futures *weft_futures_new_with(unsigned flags);

/*
 * weft_futures_free - drop all futures that are left, and the set.
 *
 * From any thread; does not await. NULL is ignored. Wakers of its futures may outlive it, and wake nobody then.
 * Nobody may be in a call on the set any more, nor wait in one: then nothing is freed (a message in debug builds). Only
 * a weft_futures_next_future that was left pending may remain: it is ready with -ESHUTDOWN then, and may be dropped.
 */
WEFT_API void weft_futures_free(weft_futures *set);

/*
 * weft_futures_push - give a future to the set.
 *
 * f        moved into the set when 0 is returned: the caller's copy must not be used or dropped any more. It has
 *          not been polled yet, or is finished. On failure it is still the caller's.
 * tag      comes back with the result.
 *
 * From any thread, at any time; does not await. The first poll is made by whoever asks for the next result; a task
 * that waits for that is woken.
 * Returns  0
 *          -ENOMEM      the future was not taken
 *          -EINVAL      set is NULL, or f has no type, or is pending: it may not move
 */
WEFT_API WEFT_MUST_CHECK int weft_futures_push(weft_futures *set, weft_future f, uint64_t tag);

/*
 * weft_futures_spawn - spawn a fiber that runs fn(arg), and push its end: the result is the function's value.
 *
 * As weft_futures_push of weft_task_future(weft_spawn(fn, arg)): dropping it (_clear, _free) cancels the task, which
 * then ends by itself. The tasks run at once, wherever there is a worker, whether or not somebody asks for
 * the next result.
 * Returns  0
 *          -ENOMEM      no task was made
 *          -EPERM       not called from a task
 *          -EINVAL      set or fn is NULL
 */
WEFT_API WEFT_MUST_CHECK int weft_futures_spawn(weft_futures *set, weft_fn *fn, void *arg,
                                                uint64_t tag);

/* The same with a copy of size bytes at args as the argument, as weft_spawn_copy. */
WEFT_API WEFT_MUST_CHECK int weft_futures_spawn_copy(weft_futures *set, weft_fn *fn,
                                                     const void *args, size_t size, uint64_t tag);

/* What the macros below call: the same with the place of the call. */
WEFT_API WEFT_MUST_CHECK int weft_futures_spawn_at(const char *site, weft_futures *set, weft_fn *fn,
                                                   void *arg, uint64_t tag);
WEFT_API WEFT_MUST_CHECK int weft_futures_spawn_copy_at(const char *site, weft_futures *set,
                                                        weft_fn *fn, const void *args, size_t size,
                                                        uint64_t tag);
#define weft_futures_spawn(...)      weft_futures_spawn_at(WEFT_SITE, __VA_ARGS__)
#define weft_futures_spawn_copy(...) weft_futures_spawn_copy_at(WEFT_SITE, __VA_ARGS__)

/*
 * weft_futures_next - wait for the next future to end, and take its result.
 *
 * tag      receives what was pushed with it; may be NULL
 * result   receives the future's result; may be NULL
 *
 * Awaits   until one has ended; in an ordered set, until the oldest has. What was pushed and never polled is polled
 *          first. Each poll counts against the budget, so a set whose futures are always ready does not
 *          starve its task's neighbours.
 * Cancel   safe: the futures stay in the set, and no result is lost.
 * Returns  1            *tag and *result are set, and the future is gone from the set
 *          0            the set is empty
 *          -EBUSY       another task drives the set at the moment, or waits for its next result
 *          -EINVAL      set is NULL
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await
 */
WEFT_API WEFT_MUST_CHECK int weft_futures_next(weft_futures *set, uint64_t *tag, ssize_t *result);

/* The same as a future, with 1, 0 or the error as its result. tag and result are borrowed until it has ended; they are
 * written when it is ready with 1. While it is pending, nobody else may drive the set; drop it first. */
WEFT_API weft_future weft_futures_next_future(weft_futures *set, uint64_t *tag, ssize_t *result);

/*
 * weft_futures_try_next - weft_futures_next without waiting: polls what is new or was woken.
 *
 * Returns  as weft_futures_next, and
 *          -EAGAIN      none has ended yet, or the budget of the calling task is spent
 */
WEFT_API WEFT_MUST_CHECK int weft_futures_try_next(weft_futures *set, uint64_t *tag,
                                                   ssize_t *result);

/* How many futures are in the set: those that were pushed and whose result was not taken. From any thread; while
 * others push or drive, as it was a moment ago. 0 for NULL. */
WEFT_API size_t weft_futures_len(const weft_futures *set);
WEFT_API bool weft_futures_is_empty(const weft_futures *set);

/* Drop all futures that are in the set. Does not await. What is pushed meanwhile stays; who waits for the next result
 * gets 0. 0, -EBUSY: a call on the set runs, -EINVAL. */
WEFT_API int weft_futures_clear(weft_futures *set);

/*
 * The operations of a weft_for_each_concurrent, one after the other.
 * Returns 1 and sets *out (and *tag, 0 otherwise), or 0: that was all, or a negative errno: stop.
 */
typedef int weft_futures_source(void *arg, weft_future *out, uint64_t *tag);

/* Takes a result. Returns 0, or a negative errno: stop. */
typedef int weft_futures_sink(void *arg, uint64_t tag, ssize_t result);

/*
 * weft_for_each_concurrent - run the operations that a source gives, a few at a time, and pass each result on.
 *
 * limit    how many are under way at most; 0: no limit, so all that the source has is asked for
 *          first. With WEFT_FUTURES_ORDERED one counts until its result was passed on.
 * flags    WEFT_FUTURES_...: in which order the results are passed on
 * source   asked for the next operation whenever there is room
 * sink     may be NULL: then a negative result stops
 * arg      passed to both
 *
 * Both are called on the calling task, one at a time, and may await. Meanwhile futures make no progress; tasks
 * do: let the source give weft_task_future(weft_spawn(...)).
 *
 * Awaits   until all have ended.
 * Cancel   what is under way is dropped. So it is by a panic of source or sink.
 * Returns  0            the source has ended, and every result was passed on
 *          the first negative value of source or sink (or a result without a sink); what is under way is dropped
 *          -ENOMEM, -EINVAL, and -ECANCELED, -ETIMEDOUT, -EPERM as weft_await
 */
WEFT_API WEFT_MUST_CHECK int weft_for_each_concurrent(size_t limit, unsigned flags,
                                                      weft_futures_source *source,
                                                      weft_futures_sink *sink, void *arg);

/* The same as a future. source and sink are called by its polls, and may not await. */
WEFT_API weft_future weft_for_each_concurrent_future(size_t limit, unsigned flags,
                                                     weft_futures_source *source,
                                                     weft_futures_sink *sink, void *arg);

#ifdef __cplusplus
}
#endif

#endif
