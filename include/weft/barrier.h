/* SPDX-License-Identifier: MIT */
/*
 * weft/barrier.h - a place where so many tasks wait for each other.
 *
 * Who comes waits until the last one has come; then all go on, and the barrier can be used again for the next round.
 *
 *     static weft_barrier b = WEFT_BARRIER_INIT(4);
 *
 *     rc = weft_barrier_wait(&b);    1 for one of the four, 0 for the others
 *
 * Lies in the user's memory; nothing need be released. It must stay where it is until each call on it has
 * returned. All calls from any thread.
 */
#ifndef WEFT_BARRIER_H
#define WEFT_BARRIER_H

#include <weft/future.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_barrier {
    uint64_t count_;     /* do not touch */
    uintptr_t words_[6]; /* do not touch */
} weft_barrier;

/* For count tasks, at most UINT32_MAX; 0 acts as 1. */
/* clang-format off */
#define WEFT_BARRIER_INIT(count) {(count), {0}}
/* clang-format on */

/* The same at run time. Not while anybody uses it. */
WEFT_API void weft_barrier_init(weft_barrier *b, uint32_t count);

/*
 * weft_barrier_wait - come, and wait until all have come.
 *
 * Awaits   until the last one comes; the last one does not wait.
 * Cancel   safe: who gives up has not come, and the others wait until somebody comes in its place. If the last
 *          one comes at that very moment, the round is over with it, and those that go on cannot tell.
 * Returns  1           to exactly one in each round, the one that came last
 *          0           to the others
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await
 *          -EINVAL      b is NULL
 * Order    what each one wrote before it came is visible to all that go on.
 */
WEFT_API int weft_barrier_wait(weft_barrier *b);

/* From a plain thread: blocks it. -EDEADLK inside a task. */
WEFT_API int weft_barrier_wait_blocking(weft_barrier *b);

/* The same as a future. It comes when it is first polled. */
WEFT_API weft_future weft_barrier_wait_future(weft_barrier *b);

#ifdef __cplusplus
}
#endif

#endif
