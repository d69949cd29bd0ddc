/* SPDX-License-Identifier: MIT */
/*
 * weft/cancel.h - cancellation tokens: telling any number of tasks that something is over.
 *
 * weft_cancel ends a task that one has a handle of, whatever it does. A token is for what is not
 * one task: a request with its parts, a connection with its streams, the whole server. Who holds one asks or waits,
 * and ends in its own way. Tokens form a tree: cancelling one reaches all below it.
 *
 *     weft_cancel_token *stop = weft_cancel_token_new(NULL);
 *     ...
 *     weft_cancel_token *mine = weft_cancel_token_new(stop);
 *     weft_future next = weft_accept_future(listener, &s);
 *
 *     rc = weft_cancel_token_run(mine, &next);    -ECANCELED once stop or mine is cancelled
 *
 * Handles are counted: _clone makes one more, _free gives one up. All calls from any thread; those
 * that do not say that they await never wait.
 */
#ifndef WEFT_CANCEL_H
#define WEFT_CANCEL_H

#include <weft/future.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_cancel_token weft_cancel_token;

/*
 * weft_cancel_token_new - a new token, below parent if that is not NULL.
 *
 * parent   borrowed: need not live as long as the new one, which stays below what is above its parent.
 *          If it is cancelled already, the new one is born cancelled.
 * Returns  a handle, to be freed; NULL: memory is out
 */
WEFT_API weft_cancel_token *weft_cancel_token_new(weft_cancel_token *parent);

/* One more handle to the same token, to be freed on its own. The same pointer; NULL gives NULL. */
WEFT_API weft_cancel_token *weft_cancel_token_clone(weft_cancel_token *t);

/*
 * weft_cancel_token_free - give a handle up; NULL is ignored.
 *
 * Cancels nothing: tokens below stay below what is above this one. It is a mistake to free the last handle while
 * somebody waits for the token: that wait ends with -ESHUTDOWN, unless it was cancelled before.
 */
WEFT_API void weft_cancel_token_free(weft_cancel_token *t);

/*
 * weft_cancel_token_cancel - cancel the token and all below it; not what is above. Again: no effect.
 *
 * When it returns all of them are cancelled. Whoever waits for one is woken.
 *
 * Order    what the caller wrote before is visible to all that find a token cancelled by it.
 */
WEFT_API void weft_cancel_token_cancel(weft_cancel_token *t);

/* Has it been cancelled, or any above it? One load. NULL: false. */
WEFT_API bool weft_cancel_token_is_cancelled(const weft_cancel_token *t);

/*
 * weft_cancel_token_cancelled - wait until it is cancelled.
 *
 * Awaits   until then.
 * Cancel   safe.
 * Returns  0
 *          -ESHUTDOWN   its last handle was freed
 *          -ECANCELED   this task was cancelled, which the token's being cancelled is not
 *          -ETIMEDOUT, -EPERM as weft_await
 *          -EINVAL      t is NULL
 */
WEFT_API int weft_cancel_token_cancelled(weft_cancel_token *t);
WEFT_API int weft_cancel_token_cancelled_blocking(weft_cancel_token *t); /* -EDEADLK in a task */

/* The same as a future. The token must be there until it is first polled. */
WEFT_API weft_future weft_cancel_token_cancelled_future(weft_cancel_token *t);

/*
 * weft_cancel_token_run - weft_await, until the token is cancelled.
 *
 * f        borrowed; finished or dropped when the call returns. Not polled at all if the token is cancelled
 *          already; after that it is polled before the token is asked, so that a result that is there wins.
 *
 * Awaits   until f is ready or t is cancelled.
 * Cancel   as safe as the operation behind f.
 * Returns  f's result
 *          -ECANCELED   the token, or this task, was cancelled; f is dropped
 *          -ESHUTDOWN   the token's last handle was freed; f is dropped
 *          -ETIMEDOUT   an enclosing WEFT_DEADLINE passed; f is dropped
 *          -EPERM       not called from a fiber; f is untouched
 *          -EINVAL      t is NULL; f is NULL or has no type
 */
WEFT_API ssize_t weft_cancel_token_run(weft_cancel_token *t, weft_future *f);
WEFT_API ssize_t weft_cancel_token_run_blocking(weft_cancel_token *t, weft_future *f);

/* f belongs to the caller and must outlive it; dropping it drops f. */
WEFT_API weft_future weft_cancel_token_run_future(weft_cancel_token *t, weft_future *f);

/*
 * A block that cancels a token when it is left: by its end, by return or goto, or by a panic of its task, before the
 * calls that are deferred.
 *
 *     WEFT_CANCEL_SCOPE(guard, token) {
 *         rc = talk(s);
 *         if (rc == 0)
 *             weft_cancel_scope_disarm(guard);
 *     }
 *
 * guard is the name by which the block knows it. The scope has a handle of its own. break and continue leave the
 * block only.
 */
typedef struct weft_cancel_scope {
    uintptr_t words_[6]; /* do not touch */
} weft_cancel_scope;

/* The functions behind the block, for bindings and for compilers without cleanup attributes. scope must stay where
 * it is until it is left. enter returns scope. */
WEFT_API weft_cancel_scope *weft_cancel_scope_enter(weft_cancel_scope *scope, weft_cancel_token *t);
WEFT_API void weft_cancel_scope_leave(weft_cancel_scope *scope);

/* Nothing will be cancelled when the block is left. */
WEFT_API void weft_cancel_scope_disarm(weft_cancel_scope *scope);

#ifdef WEFT_CLEANUP
/* NOLINTBEGIN(bugprone-macro-parentheses): scope and guard are names */
# define WEFT_CANCEL_SCOPE_BLOCK_(scope, guard, t)                    \
  for (weft_cancel_scope scope WEFT_CLEANUP(weft_cancel_scope_leave), \
       *guard = weft_cancel_scope_enter(&scope, t);                   \
       guard; guard = NULL)
# define WEFT_CANCEL_SCOPE(guard, t) \
  WEFT_CANCEL_SCOPE_BLOCK_(WEFT_CONCAT(weft_scope_, __LINE__), guard, t)
/* NOLINTEND(bugprone-macro-parentheses) */
#endif

#ifdef __cplusplus
}
#endif

#endif
