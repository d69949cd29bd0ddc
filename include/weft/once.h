/* SPDX-License-Identifier: MIT */
/*
 * weft/once.h - what happens once: an initialiser that many ask for, and a value that is set once.
 *
 * weft_once      a function that may await runs once, whoever comes first; the others wait for it.
 * weft_set_once  a pointer that is set once, and can be waited for.
 *
 * Both lie in the user's memory; nothing need be released. They must stay where they are until each
 * call on them has returned. All calls from any thread.
 *
 * What is done stays done: nothing takes a value back, for others may be looking at it without a lock, nor
 * lets an initialiser run again. Whoever owns one alone may begin anew: when no call on it is under way, and none will
 * find the old one, it is set to WEFT_ONCE_INIT or WEFT_SET_ONCE_INIT again, and its value is the owner's. For a value
 * that changes while others look there is a watch channel (weft/watch.h); for one that is made, given up and made
 * again, a mutex around it.
 */
#ifndef WEFT_ONCE_H
#define WEFT_ONCE_H

#include <weft/task.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_once {
    uintptr_t words_[6]; /* do not touch */
} weft_once;

/* clang-format off */
#define WEFT_ONCE_INIT {{0}}
/* clang-format on */

/*
 * weft_once_run - have the initialiser run, unless one has.
 *
 *     static weft_once made = WEFT_ONCE_INIT;
 *     static struct pool *pool;
 *
 *     rc = weft_once_run(&made, make_pool, &pool);
 *
 * The first to come calls fn(arg), in place; who comes meanwhile waits. When it returns 0 or more it is done for
 * ever. When it fails, the one that called it gets its error, and the next in line calls its own; so also when
 * the task panics within fn, or is cancelled and fn returns for that.
 *
 * fn       may await.
 * Awaits   while somebody else's initialiser runs.
 * Cancel   safe: who waits gives up its place; who runs fn is cancelled within it, at its awaits.
 * Returns  0           it is done
 *          what fn returned, if that is negative
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await
 *          -EDEADLK     called within its own initialiser
 *          -EINVAL      o or fn is NULL
 * Order    what the initialiser wrote is visible to all that get 0, or true from weft_once_is_done.
 */
WEFT_API int weft_once_run(weft_once *o, weft_fn *fn, void *arg);

/* From a plain thread: blocks it; fn may not await. -EDEADLK inside a task, too. */
WEFT_API int weft_once_run_blocking(weft_once *o, weft_fn *fn, void *arg);

/*
 * weft_once_run_future - the same as a future, with a future for its initialiser.
 *
 * initialiser   the caller's; must outlive it. Polled as soon as it is its turn to initialise, until it is ready; with
 *               a result of 0 or more it is done for ever. Dropped when somebody else has done it. -EINVAL: NULL
 *
 * Cancel        safe: dropping it drops the initialiser, and the next in line polls its own; so also when its fiber
 *               panics within the initialiser's poll.
 * Result        0; what the initialiser gave, if that is negative; -EDEADLK: polled by its own initialiser's poll
 */
WEFT_API weft_future weft_once_run_future(weft_once *o, weft_future *initialiser);

/* Is it done? One load: for paths on which it nearly always is. */
WEFT_API bool weft_once_is_done(const weft_once *o);

/*
 * weft_once_begin - the same in two steps, for initialisers that are not one function.
 *
 * Awaits   while somebody else initialises.
 * Cancel   safe: only the place in line is lost.
 * Returns  1           it is the caller's to do, who says weft_once_end afterwards, from any thread
 *          0           it is done
 *          -ECANCELED, -ETIMEDOUT, -EPERM, -EINVAL as weft_once_run
 */
WEFT_API int weft_once_begin(weft_once *o);
WEFT_API int weft_once_begin_blocking(weft_once *o); /* -EDEADLK inside a task */
WEFT_API weft_future weft_once_begin_future(weft_once *o);
WEFT_API int weft_once_try_begin(weft_once *o); /* -EAGAIN in place of waiting */

/* done: it is done for ever. Else it has failed, and the next in line is to do it. Only by whom weft_once_begin gave
 * 1; -EINVAL, with a message in debug builds, if nobody is at it. */
WEFT_API int weft_once_end(weft_once *o, bool done);

/* --- a value that is set once ------------------------------------------------------------------ */

typedef struct weft_set_once {
    uintptr_t words_[6]; /* do not touch */
} weft_set_once;

/* clang-format off */
#define WEFT_SET_ONCE_INIT {{0}}
/* clang-format on */

/*
 * weft_set_once_set - set it, and let all go on that wait for it. Never waits.
 *
 * value    not NULL; what it points at is the user's.
 * Returns  0
 *          -EALREADY    it has a value, which stays
 *          -EINVAL      NULL
 * Order    what the caller wrote before is visible to all that see the value.
 */
WEFT_API int weft_set_once_set(weft_set_once *o, void *value);

/* The value; NULL: not yet. One load. */
WEFT_API void *weft_set_once_get(const weft_set_once *o);
WEFT_API bool weft_set_once_is_set(const weft_set_once *o);

/*
 * weft_set_once_wait - wait until it is set.
 *
 * value    filled in on 0; may be NULL.
 * Awaits   until it is set.
 * Cancel   safe.
 * Returns  0, or -ECANCELED, -ETIMEDOUT, -EPERM as weft_await; -EINVAL: o is NULL
 */
WEFT_API int weft_set_once_wait(weft_set_once *o, void **value);
WEFT_API int weft_set_once_wait_blocking(weft_set_once *o, void **value); /* -EDEADLK in a task */

/* Result 0 when it is set: ask weft_set_once_get then. */
WEFT_API weft_future weft_set_once_wait_future(weft_set_once *o);

#ifdef __cplusplus
}
#endif

#endif
