/* SPDX-License-Identifier: MIT */
/*
 * weft/condvar.h - condition variables: waiting, with a mutex given up meanwhile, until something may have changed.
 *
 *     rc = weft_mutex_lock(&q->mutex);
 *     ...
 *     while (q->count == 0 && rc == 0)
 *         rc = weft_condvar_wait(&q->filled, &q->mutex);
 *     ...
 *     weft_mutex_unlock(&q->mutex);
 *
 * and on the other side the count is changed under the mutex, and weft_condvar_signal called, under it or
 * behind it. A wait takes its place in line before it gives up the mutex, so no signal is lost between the
 * two; waiters are served first come, first served; and a wait ends only when it was signalled, or by a
 * cancel or a deadline.
 *
 * Lies in the user's memory; WEFT_CONDVAR_INIT or zeros make one, nothing need be released. It must stay where it is
 * until each call on it has returned. All calls from any thread.
 */
#ifndef WEFT_CONDVAR_H
#define WEFT_CONDVAR_H

#include <weft/mutex.h>
#include <weft/notify.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_condvar {
    weft_notify notify_; /* do not touch */
} weft_condvar;

/* clang-format off */
#define WEFT_CONDVAR_INIT {WEFT_NOTIFY_INIT}
/* clang-format on */

/*
 * Let the one go on that has waited longest; or all that wait now. Nothing is stored if nobody waits. Never waits.
 *
 * A waiter that is cancelled just when it was signalled, before it could go on, passes the signal to the next.
 */
WEFT_API void weft_condvar_signal(weft_condvar *cv);
WEFT_API void weft_condvar_broadcast(weft_condvar *cv);

/*
 * weft_condvar_wait - give up the mutex, wait for a signal, and take the mutex again.
 *
 * m        held by the caller, and held again when the call returns, whatever it returns.
 *
 * Awaits   until it is signalled, and then until the mutex is free. Taking it again is shielded: a cancelled
 *          waiter waits for it, too.
 * Cancel   safe: only the place in line is lost.
 * Returns  0            signalled: the mutex may have been held by others since, so look again
 *          -EOWNERDEAD  who held the mutex meanwhile has ended with it, as weft_mutex_lock; signalled or not
 *          -ECANCELED   this task was cancelled
 *          -ETIMEDOUT   an enclosing WEFT_DEADLINE passed
 *          -EPERM       not called from a fiber, or the caller does not hold m
 *          -EINVAL      NULL
 */
WEFT_API WEFT_MUST_CHECK int weft_condvar_wait(weft_condvar *cv, weft_mutex *m);

/* From a plain thread, which is blocked meanwhile: -EDEADLK inside a task. */
WEFT_API WEFT_MUST_CHECK int weft_condvar_wait_blocking(weft_condvar *cv, weft_mutex *m);

/*
 * weft_condvar_wait_while - wait as long as a condition holds.
 *
 * holds    called with arg and with the mutex held, before each wait and after the last. May not await.
 * Returns  0            holds(arg) is false, if also a cancel or a deadline has come meanwhile
 *          else as weft_condvar_wait
 */
typedef bool weft_condition(void *arg);
WEFT_API WEFT_MUST_CHECK int weft_condvar_wait_while(weft_condvar *cv, weft_mutex *m,
                                                     weft_condition *holds, void *arg);

/*
 * The waiting alone as a future, without the mutex; result 0. For stackless tasks and for select: with the
 * mutex held weft_notify_enable takes its place in line, then the mutex is unlocked, the future awaited, and the mutex
 * locked again. Dropped after it was signalled, it passes the signal on.
 */
WEFT_API weft_future weft_condvar_wait_future(weft_condvar *cv);

/* What the macros below call: the same with the place of the call, for what is said about the mutex. */
WEFT_API WEFT_MUST_CHECK int weft_condvar_wait_at(const char *site, weft_condvar *cv,
                                                  weft_mutex *m);
WEFT_API WEFT_MUST_CHECK int weft_condvar_wait_blocking_at(const char *site, weft_condvar *cv,
                                                           weft_mutex *m);
WEFT_API WEFT_MUST_CHECK int weft_condvar_wait_while_at(const char *site, weft_condvar *cv,
                                                        weft_mutex *m, weft_condition *holds,
                                                        void *arg);
#define weft_condvar_wait(...)          weft_condvar_wait_at(WEFT_SITE, __VA_ARGS__)
#define weft_condvar_wait_blocking(...) weft_condvar_wait_blocking_at(WEFT_SITE, __VA_ARGS__)
#define weft_condvar_wait_while(...)    weft_condvar_wait_while_at(WEFT_SITE, __VA_ARGS__)

#ifdef __cplusplus
}
#endif

#endif
