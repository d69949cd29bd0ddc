/* SPDX-License-Identifier: MIT */
/*
 * weft/scope.h - a block of code that its tasks cannot outlive.
 *
 *     int rc;
 *
 *     WEFT_SCOPE(s, &rc) {
 *         weft_scope_spawn(s, serve, &a);
 *         weft_scope_spawn(s, serve, &b);
 *     }
 *     if (rc < 0) ...
 *
 * However the block is left, by its end, break, return, goto or a panic, it waits for all tasks that were spawned into
 * it. So they may use what lies on the stack around the block, and an error is not lost: the first
 * task that fails, by a negative result or a panic, cancels everything inside, the other tasks and the awaits of the
 * block itself, and its result is stored in rc. Scopes nest.
 *
 * rc is written when the scope is left: 0; or the result of the first task that failed (-EOWNERDEAD for a panic); or
 * -ECANCELED or -ETIMEDOUT when the task around it was cancelled, or a deadline passed, before all had ended. An error
 * of the block itself is the block's to keep.
 *
 * break and continue leave the block only; return and goto out are safe, longjmp is forbidden. In C++ an exception must
 * be caught within the block: leaving may wait, which no task may while an exception is in flight.
 */
#ifndef WEFT_SCOPE_H
#define WEFT_SCOPE_H

#include <weft/task.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_scope {
    uintptr_t words_[40]; /* do not touch */
} weft_scope;

/*
 * The functions behind the block, for bindings and for compilers without cleanup attributes.
 *
 * scope    must stay where it is until it is left, by the same fiber, in reverse order of entering.
 * rc       may be NULL; must be valid until then.
 *
 * enter returns scope. Outside a fiber there is no scope: *rc is -EPERM, spawning into it says the same.
 *
 * leave awaits until all tasks have ended, whatever happens to the caller. When that is cancelled meanwhile, or a
 * deadline around the scope passes, the tasks are cancelled, and it goes on waiting. A fiber that ends inside of a
 * scope, by a panic, leaves it too, before its deferred calls run; then the tasks are cancelled at once.
 */
WEFT_API weft_scope *weft_scope_enter(weft_scope *scope, int *rc);
WEFT_API void weft_scope_leave(weft_scope *scope);

#ifdef WEFT_CLEANUP
/* NOLINTBEGIN(bugprone-macro-parentheses): scope and s are names */
# define WEFT_SCOPE_BLOCK_(scope, s, rc)                                                      \
  for (weft_scope scope WEFT_CLEANUP(weft_scope_leave), *s = weft_scope_enter(&scope, rc); s; \
       s = NULL)
/* NOLINTEND(bugprone-macro-parentheses) */
# define WEFT_SCOPE(s, rc) WEFT_SCOPE_BLOCK_(WEFT_CONCAT(weft_nursery_, __LINE__), s, rc)
#endif

/*
 * weft_scope_spawn - start a task in the scope, as weft_spawn does, on the runtime of the scope's fiber.
 *
 * From the block, from the scope's tasks, and from whoever knows that it is still open. Once the scope is cancelled
 * what is spawned never runs.
 *
 * Returns  the id of the task (above 0); -EINVAL, -ENOMEM, -EPERM (there is no scope), -ESHUTDOWN.
 */
WEFT_API ssize_t weft_scope_spawn(weft_scope *s, weft_fn *fn, void *arg);
/* As weft_spawn_copy, weft_spawn_with, weft_spawn_copy_with, weft_spawn_async. A stackless task's state may be 64 bytes
 * smaller than elsewhere. */
WEFT_API ssize_t weft_scope_spawn_copy(weft_scope *s, weft_fn *fn, const void *args, size_t size);
WEFT_API ssize_t weft_scope_spawn_with(weft_scope *s, const weft_task_options *options, weft_fn *fn,
                                       void *arg);
WEFT_API ssize_t weft_scope_spawn_copy_with(weft_scope *s, const weft_task_options *options,
                                            weft_fn *fn, const void *args, size_t size);
WEFT_API ssize_t weft_scope_spawn_async(weft_scope *s, const weft_async_type *type,
                                        const void *state);
/* On the blocking pool, as weft_join_set_spawn_blocking. A call that has begun is waited for. */
WEFT_API ssize_t weft_scope_spawn_blocking(weft_scope *s, const weft_task_options *options,
                                           weft_fn *fn, void *arg);

/*
 * weft_scope_wait - wait, in the block, until all tasks so far have ended; the scope stays open.
 *
 * Awaits   until there is no task in the scope.
 * Cancel   safe.
 * Returns  0; the result of the first task that failed; -ECANCELED (the scope, or the task), -ETIMEDOUT;
 *          -EPERM: not the scope's fiber
 */
WEFT_API int weft_scope_wait(weft_scope *s);

/*
 * weft_scope_wait_future - the same as a future, for a select with what else the block waits for.
 *
 * Made and polled by the scope's own fiber, in the block: a task of the scope would wait for its own end, and others
 * cannot know that the scope is still there. Leaving the block makes one that is pending ready, so one that is kept may
 * outlast it; but another thread may drop it in the block only.
 *
 * Result   as above; -EBUSY: another future waits for this scope; -EPERM; -EINVAL
 */
WEFT_API weft_future weft_scope_wait_future(weft_scope *s);

/* Cancel everything inside: the tasks, those that are spawned from here on, and the awaits of the block (which should
 * be left then). That tasks end with -ECANCELED by that is no failure. From any thread, while the scope is open. */
WEFT_API void weft_scope_cancel(weft_scope *s);

/*
 * weft_scope_set_deadline - everything inside is cancelled at that moment, and rc is -ETIMEDOUT. WEFT_FOREVER
 * takes it back. Watched by a small task of the scope's own.
 * Returns 0, -ENOMEM, -EPERM, -EINVAL.
 */
WEFT_API WEFT_MUST_CHECK int weft_scope_set_deadline(weft_scope *s, weft_instant at);

/*
 * weft_scope_set_grace - how long tasks may take to end by themselves before they are cancelled.
 *
 * Without it, they have for ever once the block has come to its end, and no time at all when one of them has failed,
 * or the caller is cancelled. With it they have d in both cases.
 * Returns 0, -ENOMEM, -EPERM, -EINVAL.
 */
WEFT_API WEFT_MUST_CHECK int weft_scope_set_grace(weft_scope *s, weft_duration d);

/* The failure so far: 0, or what rc will be. */
WEFT_API int weft_scope_failure(const weft_scope *s);

/* Tasks that have not ended. */
WEFT_API size_t weft_scope_len(const weft_scope *s);

/* What the macros below call: the same with the place of the call. */
WEFT_API ssize_t weft_scope_spawn_at(const char *site, weft_scope *s, weft_fn *fn, void *arg);
WEFT_API ssize_t weft_scope_spawn_copy_at(const char *site, weft_scope *s, weft_fn *fn,
                                          const void *args, size_t size);
WEFT_API ssize_t weft_scope_spawn_with_at(const char *site, weft_scope *s,
                                          const weft_task_options *options, weft_fn *fn, void *arg);
WEFT_API ssize_t weft_scope_spawn_copy_with_at(const char *site, weft_scope *s,
                                               const weft_task_options *options, weft_fn *fn,
                                               const void *args, size_t size);
WEFT_API ssize_t weft_scope_spawn_async_at(const char *site, weft_scope *s,
                                           const weft_async_type *type, const void *state);
WEFT_API ssize_t weft_scope_spawn_blocking_at(const char *site, weft_scope *s,
                                              const weft_task_options *options, weft_fn *fn,
                                              void *arg);

#define weft_scope_spawn(...)           weft_scope_spawn_at(WEFT_SITE, __VA_ARGS__)
#define weft_scope_spawn_copy(...)      weft_scope_spawn_copy_at(WEFT_SITE, __VA_ARGS__)
#define weft_scope_spawn_with(...)      weft_scope_spawn_with_at(WEFT_SITE, __VA_ARGS__)
#define weft_scope_spawn_copy_with(...) weft_scope_spawn_copy_with_at(WEFT_SITE, __VA_ARGS__)
#define weft_scope_spawn_async(...)     weft_scope_spawn_async_at(WEFT_SITE, __VA_ARGS__)
#define weft_scope_spawn_blocking(...)  weft_scope_spawn_blocking_at(WEFT_SITE, __VA_ARGS__)

#ifdef __cplusplus
}
#endif

#endif
