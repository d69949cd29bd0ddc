/* SPDX-License-Identifier: MIT */
/*
 * weft/task.h - tasks: spawning, joining, cancelling, and what a running task can do.
 *
 * A task is a fiber (its own stack, straight-line C) or a stackless task (a state
 * and a poll function). Both are a weft_task to everyone else.
 */
#ifndef WEFT_TASK_H
#define WEFT_TASK_H

#include <weft/future.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_task weft_task;

/* What a fiber runs. A negative errno tells failure. */
typedef int weft_fn(void *arg);

/* A function that returns nothing: clean-up. */
typedef void weft_void_fn(void *arg);

typedef struct weft_task_options {
    const char *name;    /* copied, at most 63 bytes; NULL: none */
    size_t stack_size;   /* bytes, rounded up; 0: the runtime's default. 16 KiB to 1 GiB */
    const char *site;    /* "file:line", must outlive the task; the macros fill it in */
    uint64_t tag;        /* the spawner's own: join sets and maps give it back with the result */
    bool pinned;         /* on the spawning task's worker for ever: see weft_spawn_local */
    uintptr_t spare_[3]; /* zero */
} weft_task_options;

/* The most that weft_spawn_copy copies. */
#define WEFT_COPY_MAX 4096

/*
 * weft_spawn - start a fiber that runs fn(arg) on the current runtime.
 *
 * Called from a task; plain threads use weft_spawn_on. The task runs even if the
 * handle is never joined. Does not await.
 *
 * Returns  a handle that the caller must join or detach, or NULL (with a message)
 *          when memory is out or the caller is not in a task. During shutdown the
 *          task is cancelled already and never runs. Nor does one that gets no stack: it ends with
 *          -ENOMEM. What the argument of a task owns that never ran is still the spawner's.
 * Order    what the caller wrote before is visible to the task.
 */
WEFT_API weft_task *weft_spawn(weft_fn *fn, void *arg);

/* The same with a copy of size bytes at args as the argument: aligned for any type,
 * valid until the task ends. size is at most WEFT_COPY_MAX. */
WEFT_API weft_task *weft_spawn_copy(weft_fn *fn, const void *args, size_t size);

/* options is borrowed until return. */
WEFT_API weft_task *weft_spawn_with(const weft_task_options *options, weft_fn *fn, void *arg);
WEFT_API weft_task *weft_spawn_copy_with(const weft_task_options *options, weft_fn *fn,
                                         const void *args, size_t size);

/* Detached: no handle. 0, -ENOMEM, -EPERM (outside a task), -EINVAL. Nobody is told when it gets no stack:
 * an argument that owns something is better given to a task that is joined. */
WEFT_API int weft_go(weft_fn *fn, void *arg);
WEFT_API int weft_go_copy(weft_fn *fn, const void *args, size_t size);
WEFT_API int weft_go_with(const weft_task_options *options, weft_fn *fn, void *arg);

/* What the macros below call: the same with the place of the call. */
WEFT_API weft_task *weft_spawn_at(const char *site, weft_fn *fn, void *arg);
WEFT_API weft_task *weft_spawn_copy_at(const char *site, weft_fn *fn, const void *args,
                                       size_t size);
WEFT_API weft_task *weft_spawn_with_at(const char *site, const weft_task_options *options,
                                       weft_fn *fn, void *arg);
WEFT_API int weft_go_at(const char *site, weft_fn *fn, void *arg);
WEFT_API weft_task *weft_spawn_copy_with_at(const char *site, const weft_task_options *options,
                                            weft_fn *fn, const void *args, size_t size);
WEFT_API int weft_go_with_at(const char *site, const weft_task_options *options, weft_fn *fn,
                             void *arg);
WEFT_API int weft_go_copy_at(const char *site, weft_fn *fn, const void *args, size_t size);

/*
 * weft_spawn_local - start a fiber that stays on the calling task's worker, as options.pinned does with other spawns.
 *
 * A pinned task is polled by one worker's thread alone: no other takes it, and it goes on there after each await. So
 * what belongs to a thread may be kept over awaits, and pinned tasks of one worker share data without a lock, as they
 * run by turns. A pinned task's own weft_spawn_local stays with it; for tasks that are to be together wherever they are
 * spawned there is weft/local_set.h. On a runtime with one thread (current-thread, or one worker without a monitor)
 * every task is pinned, and this is weft_spawn: there it moves with whichever thread drives the runtime.
 *
 * The price is that nobody helps: while a task of that worker keeps it in a poll, or blocks it, its pinned tasks wait
 * until the poll is over (the report of the stall says how many do). Called on a thread that stands in for a stuck
 * worker, it pins to a worker that is not stuck, if there is one.
 *
 * From the same runtime's tasks only: a spawn with options.pinned from elsewhere, or on the blocking pool, is -EINVAL.
 * Returns as weft_spawn.
 */
WEFT_API weft_task *weft_spawn_local(weft_fn *fn, void *arg);
WEFT_API weft_task *weft_spawn_local_at(const char *site, weft_fn *fn, void *arg);

/* Variadic, so that a compound literal may stand among the arguments. */
#define weft_spawn_local(...)     weft_spawn_local_at(WEFT_SITE, __VA_ARGS__)
#define weft_spawn(...)           weft_spawn_at(WEFT_SITE, __VA_ARGS__)
#define weft_spawn_copy(...)      weft_spawn_copy_at(WEFT_SITE, __VA_ARGS__)
#define weft_spawn_with(...)      weft_spawn_with_at(WEFT_SITE, __VA_ARGS__)
#define weft_go(...)              weft_go_at(WEFT_SITE, __VA_ARGS__)
#define weft_go_copy(...)         weft_go_copy_at(WEFT_SITE, __VA_ARGS__)
#define weft_go_with(...)         weft_go_with_at(WEFT_SITE, __VA_ARGS__)
#define weft_spawn_copy_with(...) weft_spawn_copy_with_at(WEFT_SITE, __VA_ARGS__)

/*
 * weft_join - wait until the task has ended, take its result and the handle.
 *
 * t        consumed when 0 is returned, else still the caller's.
 * result   may be NULL. The function's value, or -ECANCELED (never ran, or was
 *          dropped), -EOWNERDEAD (panicked), -ENOMEM (no stack could be had).
 *
 * Awaits   until the task has ended.
 * Cancel   safe: the task goes on, the handle is still the caller's.
 * Returns  0
 *          -ENOMEM      t is NULL, as weft_spawn gives it
 *          -EDEADLK     t is the calling task
 *          -EBUSY       another task is joining it
 *          -EINVAL      (debug builds) the handle was joined or freed before; else undefined
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await
 */
WEFT_API WEFT_MUST_CHECK int weft_join(weft_task *t, int *result);

/* From a plain thread: blocks it. -EDEADLK inside a task; else as weft_join. */
WEFT_API WEFT_MUST_CHECK int weft_join_blocking(weft_task *t, int *result);

/* Ready when t has ended; result 0 or -EBUSY, and does not consume the handle: call
 * weft_join afterwards, which then returns at once. */
WEFT_API weft_future weft_join_future(weft_task *t);

/*
 * weft_task_future - the task as a future: ready when it has ended, with its result as weft_join gives it.
 *
 * t        consumed: the future has the handle now. So it must be awaited to its end, pushed to a set, or
 *          dropped, also if it was never polled.
 *
 * Dropping it cancels the task, which then ends by itself. A combinator or an await that gives up drops its futures, so
 * a task that is awaited this way does not outlive who waits for it by long.
 * Result   as of weft_join. -ENOMEM: t was NULL; -EBUSY: another task is joining it by another handle;
 *          -EDEADLK: t is the task that waits
 */
WEFT_API weft_future weft_task_future(weft_task *t);

/* Give the handle up; the task goes on. NULL is ignored. From any thread. */
WEFT_API void weft_detach(weft_task *t);

/*
 * Ask the task to stop. Its current await, and each later one, returns -ECANCELED.
 * A task that has not run yet never runs; a stackless one is dropped at its next
 * poll. No effect on one that has ended. The handle stays. From any thread.
 */
WEFT_API void weft_cancel(weft_task *t);

WEFT_API bool weft_is_finished(const weft_task *t);
WEFT_API uint64_t weft_task_id(const weft_task *t); /* unique in the process; never 0 */
WEFT_API const char *weft_task_name(
    const weft_task *t); /* valid as long as the handle; "" if none */

/* One more handle to the same task, to be detached (or joined) on its own. */
WEFT_API weft_task *weft_task_ref(weft_task *t);

/* The running task, borrowed; NULL outside tasks. */
WEFT_API weft_task *weft_task_self(void);

/* Has the running task been asked to stop, or is it in a scope that was cancelled? False within a shield. */
WEFT_API bool weft_is_cancelled(void);

/* Let others run. 0, or -ECANCELED, -ETIMEDOUT, -EPERM. */
WEFT_API int weft_yield(void);
WEFT_API weft_future weft_yield_future(void);

/* End this task alone, with a message on stderr: futures left pending are dropped,
 * deferred calls run, its result is -EOWNERDEAD. Outside a fiber and in a deferred call: aborts the
 * program. Not from the poll function of a future that is awaited together with others. */
WEFT_API WEFT_NORETURN void weft_panic(const char *format, ...) WEFT_PRINTF(1, 2);

/*
 * What a task that has ended by a panic said, up to 255 bytes; "" if it did not end so, or there was no memory to keep
 * it. Valid as long as the handle, which a join consumes: ask between weft_join_future and weft_join, or by another
 * handle.
 *
 *     weft_task *t = weft_spawn(fn, arg), *same = weft_task_ref(t);
 *
 *     if (weft_join(t, &result) == 0 && result == -EOWNERDEAD)
 *         report(weft_task_panic_message(same));
 *     weft_detach(same);
 */
WEFT_API const char *weft_task_panic_message(const weft_task *t);

/* Run fn(arg) when the calling fiber ends, in reverse order, on its stack and with cancel
 * masked. 0, -ENOMEM, -EPERM, -EINVAL. */
WEFT_API int weft_defer(weft_void_fn *fn, void *arg);

/*
 * The coop budget. A task may finish 128 operations in one poll without waiting; the next one
 * then lets others run first, so that no task starves its neighbours.
 */
/* Call fn without that limit; what is left of the budget before is left afterwards. What fn returned; -EINVAL: fn is
 * NULL; -EPERM: not called from a fiber. */
WEFT_API int weft_unconstrained(weft_fn *fn, void *arg);

/* One future that is polled without that limit, for stackless tasks and beside others in a select. Its result is
 * inner's, which belongs to the caller and must outlive it; dropping it drops inner. */
WEFT_API weft_future weft_unconstrained_future(weft_future *inner);
WEFT_API int weft_consume_budget(void); /* spend one unit; may yield. As weft_yield */
WEFT_API weft_future weft_consume_budget_future(void);
/* Is the budget spent, or has this poll run for 1 ms? For long loops. */
WEFT_API bool weft_should_yield(void);

/*
 * weft_budget_take - spend one unit in a poll function of your own, of a future or a stackless task.
 *
 * For operations that may be ready again and again: their polls begin with it, as those of the library do, or a task
 * that awaits them in a loop lets nobody else run.
 *
 * cx       of the poll.
 * Returns  true; on a plain thread, where there is no budget, always
 *          false: it is spent. The waker of cx was woken; the poll answers WEFT_PENDING, and registers nothing
 */
WEFT_API WEFT_MUST_CHECK bool weft_budget_take(const weft_context *cx);

/* Give the unit back, because the poll has to wait after all. Once for each weft_budget_take at most, in the same
 * poll. */
WEFT_API void weft_budget_return(void);

/*
 * A shield masks cancellation and outer deadlines, for clean-up that must await.
 *
 *     WEFT_SHIELD {
 *         weft_write_all(s, "bye\n", 4);
 *     }
 */
typedef struct weft_shield {
    uintptr_t words_[4]; /* do not touch */
} weft_shield;

WEFT_API weft_shield *weft_shield_enter(weft_shield *scope);
WEFT_API void weft_shield_leave(weft_shield *scope);

#ifdef WEFT_CLEANUP
/* NOLINTBEGIN(bugprone-macro-parentheses): scope and once are names */
# define WEFT_SHIELD_BLOCK_(scope, once)                                                           \
  for (weft_shield scope WEFT_CLEANUP(weft_shield_leave), *once = weft_shield_enter(&scope); once; \
       once = NULL)
/* NOLINTEND(bugprone-macro-parentheses) */
# define WEFT_SHIELD \
  WEFT_SHIELD_BLOCK_(WEFT_CONCAT(weft_shield_, __LINE__), WEFT_CONCAT(weft_once_, __LINE__))
#endif

/*
 * Task-locals: one value per key and task.
 *
 * destroy   may be NULL; called with each value that is not NULL when its task ends, or another one is set.
 * flags     WEFT_LOCAL_INHERIT: a spawned task starts with its parent's value, passed through
 *           inherit, which must not await (NULL: the same pointer; then destroy must be NULL too).
 */
typedef struct weft_local_key weft_local_key;
#define WEFT_LOCAL_INHERIT 1u

WEFT_API int weft_local_key_new(weft_local_key **key, weft_void_fn *destroy, unsigned flags,
                                void *(*inherit)(void *value));
WEFT_API void weft_local_key_free(
    weft_local_key *key); /* values that tasks still hold are not destroyed */
WEFT_API void *weft_task_local_get(
    const weft_local_key *key); /* NULL if never set, or outside tasks */
WEFT_API int weft_task_local_set(const weft_local_key *key,
                                 void *value); /* 0, -ENOMEM, -EPERM, -EINVAL */

/*
 * weft_task_local_swap - set a value, and take over the one that was there.
 *
 * For a value that is to hold for a part of the code only, since a local is not bound to a block: swap it in, and
 * set *old again afterwards. Or, with NULL, to take the value out of the task.
 *
 * old      what was there, and is the caller's now; NULL: nothing was. Written when 0 is returned.
 * Returns  0, -ENOMEM (not for NULL, nor where there was a value), -EPERM (outside a task), -EINVAL
 */
WEFT_API int weft_task_local_swap(const weft_local_key *key, void *value, void **old);

/*
 * Stackless tasks: a state struct that begins with a weft_async, a poll function and a type.
 */
typedef struct weft_async {
    uint32_t line_;         /* do not touch: where to go on */
    uint32_t result_;       /* do not touch */
    weft_future *awaiting_; /* do not touch: dropped by the runtime if the task is cancelled */
} weft_async;

typedef struct weft_async_type {
    weft_poll (*poll)(void *self, weft_context *cx);
    void (*drop)(void *self); /* may be NULL: runs when the task ends, by whatever way */
    size_t size;              /* of the state; it starts with a weft_async */
    const char *name;
} weft_async_type;

/*
 * weft_spawn_async - start a stackless task; state is copied into it.
 * Returns a handle as weft_spawn does. The state's weft_async must be zero.
 */
WEFT_API weft_task *weft_spawn_async(const weft_async_type *type, const void *state);
WEFT_API weft_task *weft_spawn_async_at(const char *site, const weft_async_type *type,
                                        const void *state);
WEFT_API int weft_go_async(const weft_async_type *type, const void *state);
WEFT_API int weft_go_async_at(const char *site, const weft_async_type *type, const void *state);
#define weft_spawn_async(...) weft_spawn_async_at(WEFT_SITE, __VA_ARGS__)
#define weft_go_async(...)    weft_go_async_at(WEFT_SITE, __VA_ARGS__)

/* The functions behind the macros below. */
WEFT_API weft_poll weft_async_await(weft_async *a, weft_future *f, weft_context *cx);
WEFT_API weft_poll weft_async_return(weft_async *a, int result);

/*
 * The macros that make a poll function read as straight code. Local variables do not survive an
 * await: keep them in the state. WEFT_AWAIT may not stand inside a switch of your own.
 */
/* clang-format off */
#define WEFT_ASYNC_BEGIN(self)                                                                     \
    weft_async *const weft_self_ = &(self)->async;                                                 \
    switch (weft_self_->line_) {                                                                   \
    case 0:
#define WEFT_ASYNC_END(self)                                                                       \
        break;                                                                                     \
    default:                                                                                       \
        break;                                                                                     \
    }                                                                                              \
    return weft_async_return(&(self)->async, 0)
#define WEFT_AWAIT(self, cx, f)                                                                    \
    do {                                                                                           \
        weft_self_->line_ = __LINE__;                                                              \
        weft_self_->awaiting_ = (f);                                                               \
        WEFT_FALLTHROUGH_;                                                                         \
    case __LINE__:                                                                                 \
        if (weft_async_await(&(self)->async, weft_self_->awaiting_, cx) == WEFT_PENDING)           \
            return WEFT_PENDING;                                                                   \
    } while (0)
/* clang-format on */
#define WEFT_RETURN(self, value) return weft_async_return(&(self)->async, value)

#if defined(__cplusplus)
# define WEFT_FALLTHROUGH_ [[fallthrough]]
#elif defined(__GNUC__)
# define WEFT_FALLTHROUGH_ __attribute__((fallthrough))
#else
# define WEFT_FALLTHROUGH_ (void)0
#endif

#ifdef __cplusplus
}
#endif

#endif
