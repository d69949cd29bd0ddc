/* SPDX-License-Identifier: MIT */
/*
 * weft/notify.h - telling tasks that something has happened, without saying what.
 *
 * The thing itself is kept elsewhere: a flag, a list, a counter. Who changes it notifies; who
 * is notified looks again. Two kinds of notification:
 *
 * weft_notify_one      one waiter goes on; if nobody waits, the next one does not wait. At most one
 *                      such permit is stored, however often it is called.
 * weft_notify_waiters  everyone goes on who had begun to wait before; nothing is stored.
 *
 * Lies in the user's memory; WEFT_NOTIFY_INIT or zeros make one, nothing need be released. It must
 * stay where it is while anybody waits, and until each call on it has returned; only a waiter
 * that weft_notify_one or weft_notify_last let go on may give the memory up at once.
 *
 * All calls from any thread; those that notify never wait.
 */
#ifndef WEFT_NOTIFY_H
#define WEFT_NOTIFY_H

#include <weft/future.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_notify {
    uintptr_t words_[6]; /* do not touch */
} weft_notify;

/* clang-format off */
#define WEFT_NOTIFY_INIT {{0}}
/* clang-format on */

/*
 * weft_notify_one - let one waiter go on, the one that has waited longest, or store the permit.
 *
 * A waiter that was chosen, and is cancelled or loses a select before it could go on, passes the
 * notification to the next one: it is not lost.
 *
 * Order    what the caller wrote before is visible to who goes on.
 */
WEFT_API void weft_notify_one(weft_notify *n);

/* The same for the newest waiter. Passed on, it goes to the newest again. */
WEFT_API void weft_notify_last(weft_notify *n);

/*
 * weft_notify_waiters - let all go on whose wait began before this call.
 *
 * A wait begins when weft_notify_wait is called or weft_notify_wait_future has returned, so also
 * one that was not polled yet goes on. No permit is stored, and one that is stored stays.
 */
WEFT_API void weft_notify_waiters(weft_notify *n);

/*
 * weft_notify_wait - wait for a notification, or take the permit.
 *
 * Awaits   until notified; not at all when the permit was there.
 * Cancel   safe: nothing is consumed, and only the place in line is lost.
 * Returns  0
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await
 *          -EINVAL      n is NULL
 */
WEFT_API int weft_notify_wait(weft_notify *n);

/* From a plain thread: blocks it. -EDEADLK inside a task. */
WEFT_API int weft_notify_wait_blocking(weft_notify *n);

/*
 * The same as a future; result 0. It takes its place in line when it is first polled, but is notified by each
 * weft_notify_waiters from now on. So this loses nothing, however the two sides meet:
 *
 *     weft_future told = weft_notify_wait_future(&n);
 *     if (!there_is_work())
 *         rc = weft_await(&told);
 *
 * and, on the other side, the work is made and then weft_notify_waiters(&n) called.
 */
WEFT_API weft_future weft_notify_wait_future(weft_notify *n);

/*
 * weft_notify_enable - take the place in line now, without waiting.
 *
 * With weft_notify_one and several waiters: enable the future, look whether there is something to do, and only
 * then await it. The future may not be moved from then on; it must be awaited or dropped.
 *
 * f        of weft_notify_wait_future.
 * Returns  whether it has been notified, which includes that it took the permit: then it is ready. Also
 *          true, with a message in debug builds, for any other future: there is nothing to wait for.
 */
WEFT_API bool weft_notify_enable(weft_future *f);

#ifdef __cplusplus
}
#endif

#endif
