/* SPDX-License-Identifier: MIT */
/*
 * weft/mutex.h - a lock that tasks wait for without blocking their thread.
 *
 * A weft_mutex may be held over an await, by tasks on any worker and by plain threads. It is a plain value: zeros are
 * an unlocked one, nothing has to be released at its end, and it must not move while it is used.
 *
 * Who waits is served first come, first served: unlocking hands the mutex to the one that has waited longest, and
 * nobody overtakes. But a task that has just handed it on and locks it again lets others run before it lines up; and
 * where all who wait have handed it on before, the first one gets it and the others are sent to try once more, so that
 * tasks that lock again and again do not wait in line for ever. Nobody is sent twice before having had it.
 *
 * It knows who holds it:
 *
 *     locking it twice        is -EDEADLK, at once
 *     unlocking another's     is -EPERM
 *     ending with it          by return, panic or cancellation: the next one to lock it gets -EOWNERDEAD, and
 *                             with that the mutex. It repairs what the mutex protects, and unlocks. Once it is
 *                             unlocked it is an ordinary mutex again; so who cannot repair says so in the data.
 *     waiting in a circle     each holds what the next one waits for: told on stderr when the circle closes, with all
 *                             tasks and places, and counted in weft_metrics.deadlocks. The waits go on: a cancel
 *                             or a deadline may end one. Waits with weft_select are not taken for such.
 *     holding it for long     longer than weft_config.lock_held_limit while others wait: told on stderr
 *
 * A plain thread that ends with a mutex leaves it locked.
 */
#ifndef WEFT_MUTEX_H
#define WEFT_MUTEX_H

#include <weft/future.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_mutex {
    uint64_t word_; /* do not touch: the same for all that follow */
    void *site_;
    const char *name_;
    uintptr_t words_[13];
} weft_mutex;

/* The name is for reports, and must outlive the mutex. */
/* clang-format off */
#define WEFT_MUTEX_INIT        {0, NULL, NULL, {0}}
#define WEFT_MUTEX_NAMED(name) {0, NULL, name, {0}}
/* clang-format on */

/* The same at run time. name may be NULL. 0, -EINVAL. */
WEFT_API int weft_mutex_init(weft_mutex *m, const char *name);

/*
 * weft_mutex_lock - wait for the mutex and hold it.
 *
 * Awaits   while another holds it; waiters are served in the order of arrival.
 * Cancel   safe: on -ECANCELED and -ETIMEDOUT it is not held, and the place in line is given up.
 * Returns  0            held
 *          -EOWNERDEAD  held, and the one that held it before has ended without unlocking
 *          -EDEADLK     the caller holds it already
 *          -ECANCELED   this task was cancelled
 *          -ETIMEDOUT   an enclosing WEFT_DEADLINE passed
 *          -EPERM       not called from a fiber
 *          -EINVAL      m is NULL
 * Order    what was written before the last unlock is visible.
 */
WEFT_API WEFT_MUST_CHECK int weft_mutex_lock(weft_mutex *m);

/* Without waiting, from anywhere. 0 or -EOWNERDEAD: held. -EAGAIN: another holds it, or waits for it, or the caller
 * holds it. -EINVAL. */
WEFT_API WEFT_MUST_CHECK int weft_mutex_try_lock(weft_mutex *m);

/* From a plain thread, which is blocked meanwhile. As weft_mutex_lock, but -EDEADLK also inside a task. */
WEFT_API WEFT_MUST_CHECK int weft_mutex_lock_blocking(weft_mutex *m);

/*
 * As a future, with the result of weft_mutex_lock. The mutex belongs to the task that polls it to its end. Dropped
 * after it was given the mutex, but before a poll has seen that, it passes the mutex on: so a
 * weft_select loses nothing. Until then it keeps everybody from the mutex: do not leave one pending
 * (WEFT_SELECT_KEEP) while you wait for something else.
 */
WEFT_API weft_future weft_mutex_lock_future(weft_mutex *m);

/*
 * weft_mutex_unlock - give the mutex to the one that has waited longest, or to nobody.
 *
 * Never waits. When it returns the library does not touch m any more: whoever holds it then may free it.
 *
 * Returns  0, -EPERM: the caller, task or plain thread, does not hold it; -EINVAL
 */
WEFT_API int weft_mutex_unlock(weft_mutex *m);

/* Does the calling task, or plain thread, hold it? */
WEFT_API bool weft_mutex_is_held(const weft_mutex *m);

/* What the macros below call: the same with the place of the call. */
WEFT_API WEFT_MUST_CHECK int weft_mutex_lock_at(const char *site, weft_mutex *m);
WEFT_API WEFT_MUST_CHECK int weft_mutex_try_lock_at(const char *site, weft_mutex *m);
WEFT_API WEFT_MUST_CHECK int weft_mutex_lock_blocking_at(const char *site, weft_mutex *m);
WEFT_API weft_future weft_mutex_lock_future_at(const char *site, weft_mutex *m);
#define weft_mutex_lock(...)          weft_mutex_lock_at(WEFT_SITE, __VA_ARGS__)
#define weft_mutex_try_lock(...)      weft_mutex_try_lock_at(WEFT_SITE, __VA_ARGS__)
#define weft_mutex_lock_blocking(...) weft_mutex_lock_blocking_at(WEFT_SITE, __VA_ARGS__)
#define weft_mutex_lock_future(...)   weft_mutex_lock_future_at(WEFT_SITE, __VA_ARGS__)

/*
 * The mutex over a block of code: held inside, unlocked however the block is left.
 *
 *     int rc;
 *
 *     WEFT_LOCK_SCOPE(&account->mutex, &rc) {
 *         account->balance += amount;
 *     }
 *     if (rc < 0) ...
 *
 * rc is what weft_mutex_lock returned. The block runs when the mutex is held: with 0, and with -EOWNERDEAD.
 * break and continue leave the block only; return and goto out are safe.
 */
typedef struct weft_lock_scope {
    weft_mutex *mutex_; /* do not touch */
} weft_lock_scope;

/* The functions behind the block. rc may be NULL. enter returns scope, or NULL when the mutex is not held. */
WEFT_API weft_lock_scope *weft_lock_scope_enter(const char *site, weft_lock_scope *scope,
                                                weft_mutex *m, int *rc);
WEFT_API void weft_lock_scope_leave(weft_lock_scope *scope);

#ifdef WEFT_CLEANUP
/* NOLINTBEGIN(bugprone-macro-parentheses): scope and once are names */
# define WEFT_LOCK_SCOPE_BLOCK_(scope, once, ...)                     \
  for (weft_lock_scope scope WEFT_CLEANUP(weft_lock_scope_leave),     \
       *once = weft_lock_scope_enter(WEFT_SITE, &scope, __VA_ARGS__); \
       once; once = NULL)
/* NOLINTEND(bugprone-macro-parentheses) */
# define WEFT_LOCK_SCOPE(...)                                                                  \
  WEFT_LOCK_SCOPE_BLOCK_(WEFT_CONCAT(weft_lock_, __LINE__), WEFT_CONCAT(weft_once_, __LINE__), \
                         __VA_ARGS__)
#endif

#ifdef __cplusplus
}
#endif

#endif
