/* SPDX-License-Identifier: MIT */
/*
 * weft/future.h - the one idea under everything: an operation that can be polled.
 *
 * A future answers ready, or pending after it has arranged that a waker will be
 * called. It is a plain value: build one, poll it through weft_await or a
 * combinator, read its result. Once polled it must stay where it is until it is
 * ready or dropped. Constructors (weft_..._future) neither allocate nor register.
 */
#ifndef WEFT_FUTURE_H
#define WEFT_FUTURE_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum weft_poll { WEFT_PENDING = 0, WEFT_READY = 1 } weft_poll;

/*
 * A waker asks for one more poll. It counts a reference to what it wakes, so it may
 * be kept and used from any thread, also after the task or its runtime has ended
 * (then waking does nothing). Waking many times before the poll makes one poll.
 */
typedef struct weft_waker {
    struct weft_wakeable *target_; /* do not touch */
} weft_waker;

/* What a waker wakes. Embed it first in an object to give that object wakers; each
 * function may be called from any thread, and must not await. */
typedef struct weft_wakeable_type {
    void (*retain)(struct weft_wakeable *w);  /* one more waker exists */
    void (*wake)(struct weft_wakeable *w);    /* ask for a poll; the waker stays */
    void (*release)(struct weft_wakeable *w); /* one waker less */
} weft_wakeable_type;

typedef struct weft_wakeable {
    const weft_wakeable_type *type;
} weft_wakeable;

/* What a poll is given: for itself, while it runs and on its thread. Who wakes later, or from elsewhere, takes a waker
 * of its own. */
typedef struct weft_context {
    weft_waker waker_; /* do not touch: borrowed for the length of the poll */
} weft_context;

/* A new waker for whoever polls: the caller owns it and wakes or drops it. */
WEFT_API weft_waker weft_context_waker(const weft_context *cx);

/* A waker for an object of your own: retains it. And a context that polls by it, which borrows the waker: to
 * drive a future by hand. */
WEFT_API weft_waker weft_waker_of(weft_wakeable *w);
WEFT_API weft_context weft_context_of(const weft_waker *waker);

/* NULL, and a waker that was consumed, wake nobody. */
WEFT_API weft_waker weft_waker_clone(const weft_waker *waker);
WEFT_API void weft_waker_wake(weft_waker *waker);              /* wakes and consumes */
WEFT_API void weft_waker_wake_by_ref(const weft_waker *waker); /* wakes, keeps */
WEFT_API void weft_waker_drop(weft_waker *waker);              /* consumes */
WEFT_API bool weft_waker_same(const weft_waker *a, const weft_waker *b);

typedef struct weft_future weft_future;

/*
 * The behaviour of a kind of future.
 *
 * poll   tries to make progress. WEFT_READY: result is set and nothing stays
 *        registered. WEFT_PENDING: the context's waker will be woken.
 * drop   undoes a pending poll: once it returns, nobody touches the future again.
 *        Called from any thread, only on a future whose last poll was pending.
 */
typedef struct weft_future_type {
    weft_poll (*poll)(weft_future *f, weft_context *cx);
    void (*drop)(weft_future *f);
    const char *name; /* for reports */
} weft_future_type;

#define WEFT_FUTURE_WORDS 7

struct weft_future {
    const weft_future_type *type;
    ssize_t result;                     /* valid once ready */
    uint32_t state_;                    /* do not touch: new, pending or done */
    uint32_t aux_;                      /* do not touch: belongs to the type */
    weft_future *kept_next_;            /* do not touch: pending futures kept by a task */
    weft_future **kept_link_;           /* do not touch */
    uintptr_t words[WEFT_FUTURE_WORDS]; /* belongs to the type */
};

/* A future of a user's own type; words start as zero. */
WEFT_API weft_future weft_future_of(const weft_future_type *type);

/* A future that is ready at once with this result. Spends no budget. */
WEFT_API weft_future weft_ready_future(ssize_t result);

/* A future that never becomes ready. */
WEFT_API weft_future weft_pending_future(void);

/*
 * Poll a future by hand, from a poll function or from a task. Polling a finished
 * future again gives WEFT_READY and the same result.
 */
WEFT_API weft_poll weft_future_poll(weft_future *f, weft_context *cx);

/*
 * weft_future_drop - cancel what is still pending.
 *
 * From any thread. Once it returns nobody touches the future. Harmless on one that
 * is finished, dropped or was never polled. Never awaits.
 */
WEFT_API void weft_future_drop(weft_future *f);

/* Is the result there? */
WEFT_API bool weft_future_is_ready(const weft_future *f);

/*
 * weft_await - wait until the future is ready and return its result.
 *
 * f        borrowed; finished or dropped when the call returns, whatever it returns.
 *
 * Awaits   as long as the future is pending.
 * Cancel   as safe as the operation behind the future.
 * Returns  the future's result
 *          -ECANCELED   this task was cancelled; the future is dropped
 *          -ETIMEDOUT   an enclosing WEFT_DEADLINE passed; the future is dropped
 *          -EPERM       not called from a fiber; the future is untouched
 *          -EINVAL      f is NULL or has no type
 */
WEFT_API ssize_t weft_await(weft_future *f);

/*
 * weft_timeout - weft_await with a limit for this one operation.
 *
 * limit    from the first time that the future is pending; a ready result always wins.
 * Returns  as weft_await; -ETIMEDOUT when the limit passed first, the future is dropped.
 */
WEFT_API ssize_t weft_timeout(weft_duration limit, weft_future *f);

/* The same until a moment; see weft_now. One that has passed gives the future one chance to be ready. */
WEFT_API ssize_t weft_timeout_at(weft_instant at, weft_future *f);

/*
 * weft_await_blocking - the same from a plain thread, which is blocked until the future is ready.
 *
 * f        borrowed; finished or dropped when the call returns. Anything that can be awaited, but for timers: they
 *          need a runtime (-EPERM).
 * Returns  the future's result
 *          -EDEADLK     called inside a task; the future is untouched
 *          -EINVAL      f is NULL or has no type
 */
WEFT_API ssize_t weft_await_blocking(weft_future *f);

/* With a limit: -ETIMEDOUT when it passed first, and the future is dropped. A result that is there always wins. */
WEFT_API ssize_t weft_timeout_blocking(weft_duration limit, weft_future *f);

/* How weft_select_n chooses and what it does with the others. */
#define WEFT_SELECT_RANDOM 0u /* look at the branches from a random start */
#define WEFT_SELECT_BIASED 1u /* look at them in order */
#define WEFT_SELECT_KEEP \
 2u /* leave the losers pending; the caller drops or selects them again,
                                 in the same task */

/*
 * weft_select_n - wait for the first of n futures.
 *
 * futures  n pointers, borrowed; entries may be NULL (a branch that is switched off).
 * flags    WEFT_SELECT_...
 *
 * Awaits   until one is ready; and lets others run first when the budget is spent.
 * Cancel   all branches are dropped; with WEFT_SELECT_KEEP they stay pending.
 * Returns  the index of the ready branch; its result is in futures[index]->result
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await
 *          -EINVAL      no branch, or more than INT_MAX of them
 */
WEFT_API ssize_t weft_select_n(weft_future *const futures[], size_t n, unsigned flags);

/*
 * weft_join_all_n - wait for all of n futures; each has its own result.
 * Each time something has happened all that are left are polled, beginning one further than the time before: so each
 * has its turn to be the first, with a fresh budget.
 * Returns 0, or -ECANCELED, -ETIMEDOUT, -EPERM, -EINVAL; then all are dropped.
 */
WEFT_API int weft_join_all_n(weft_future *const futures[], size_t n);

/*
 * weft_try_join_all_n - wait for all, stop at the first failure.
 * Returns 0, or the first negative result, and then the others are dropped.
 */
WEFT_API ssize_t weft_try_join_all_n(weft_future *const futures[], size_t n);

/* How weft_join_all_with goes about it. */
#define WEFT_JOIN_ROTATE 0u /* as weft_join_all_n */
#define WEFT_JOIN_BIASED 1u /* look at the branches in order, each time */
#define WEFT_JOIN_TRY    2u /* stop at the first failure, as weft_try_join_all_n */

/* The same two, by flags. -EINVAL also when there is no such flag. */
WEFT_API ssize_t weft_join_all_with(weft_future *const futures[], size_t n, unsigned flags);

/* The same as futures, for stackless tasks and for nesting. The arrays and the
 * futures belong to the caller and must outlive the combinator; dropping the
 * combinator drops its branches (but not with WEFT_SELECT_KEEP). */
WEFT_API weft_future weft_select_future(weft_future *const futures[], size_t n, unsigned flags);
WEFT_API weft_future weft_join_all_future(weft_future *const futures[], size_t n);
WEFT_API weft_future weft_try_join_all_future(weft_future *const futures[], size_t n);
WEFT_API weft_future weft_join_all_with_future(weft_future *const futures[], size_t n,
                                               unsigned flags);

/* deadline is the limit's place on the clock; see also weft_sleep_future for plain
 * timers. inner belongs to the caller. */
WEFT_API weft_future weft_timeout_future(weft_duration limit, weft_future *inner);
WEFT_API weft_future weft_timeout_at_future(weft_instant at, weft_future *inner);

#ifdef __cplusplus
} /* extern "C" */

template <typename... F> static inline ssize_t weft_select(F... f)
{
    weft_future *const list[] = {f...};
    return weft_select_n(list, sizeof...(f), WEFT_SELECT_RANDOM);
}

template <typename... F> static inline ssize_t weft_select_biased(F... f)
{
    weft_future *const list[] = {f...};
    return weft_select_n(list, sizeof...(f), WEFT_SELECT_BIASED);
}

template <typename... F> static inline ssize_t weft_select_keep(F... f)
{
    weft_future *const list[] = {f...};
    return weft_select_n(list, sizeof...(f), WEFT_SELECT_KEEP);
}

template <typename... F> static inline int weft_join_all(F... f)
{
    weft_future *const list[] = {f...};
    return weft_join_all_n(list, sizeof...(f));
}

template <typename... F> static inline ssize_t weft_try_join_all(F... f)
{
    weft_future *const list[] = {f...};
    return weft_try_join_all_n(list, sizeof...(f));
}

template <typename... F> static inline int weft_join_all_biased(F... f)
{
    weft_future *const list[] = {f...};
    return (int)weft_join_all_with(list, sizeof...(f), WEFT_JOIN_BIASED);
}

template <typename... F> static inline ssize_t weft_try_join_all_biased(F... f)
{
    weft_future *const list[] = {f...};
    return weft_join_all_with(list, sizeof...(f), WEFT_JOIN_BIASED | WEFT_JOIN_TRY);
}
#else
# define WEFT_FUTURES_(...) ((weft_future *const[]){__VA_ARGS__})
# define WEFT_COUNT_(...)   (sizeof(WEFT_FUTURES_(__VA_ARGS__)) / sizeof(weft_future *))

/* The first ready of the given futures, from a random start; the others are dropped. */
# define weft_select(...) \
  weft_select_n(WEFT_FUTURES_(__VA_ARGS__), WEFT_COUNT_(__VA_ARGS__), WEFT_SELECT_RANDOM)
/* The same, looked at in the order given. */
# define weft_select_biased(...) \
  weft_select_n(WEFT_FUTURES_(__VA_ARGS__), WEFT_COUNT_(__VA_ARGS__), WEFT_SELECT_BIASED)
/* The losers stay pending: for loops that select again. */
# define weft_select_keep(...) \
  weft_select_n(WEFT_FUTURES_(__VA_ARGS__), WEFT_COUNT_(__VA_ARGS__), WEFT_SELECT_KEEP)
# define weft_join_all(...) weft_join_all_n(WEFT_FUTURES_(__VA_ARGS__), WEFT_COUNT_(__VA_ARGS__))
# define weft_try_join_all(...) \
  weft_try_join_all_n(WEFT_FUTURES_(__VA_ARGS__), WEFT_COUNT_(__VA_ARGS__))
/* The same two, looked at in the order given, each time. */
# define weft_join_all_biased(...) \
  ((int)weft_join_all_with(WEFT_FUTURES_(__VA_ARGS__), WEFT_COUNT_(__VA_ARGS__), WEFT_JOIN_BIASED))
# define weft_try_join_all_biased(...)                                     \
  weft_join_all_with(WEFT_FUTURES_(__VA_ARGS__), WEFT_COUNT_(__VA_ARGS__), \
                     WEFT_JOIN_BIASED | WEFT_JOIN_TRY)
#endif

#endif
