/* SPDX-License-Identifier: MIT */
/*
 * weft/semaphore.h - a number of permits, which tasks and plain threads take and give back.
 *
 * For limiting how many do something at a time, or how much of something is in use. A weft_semaphore is a plain value;
 * nothing has to be released at its end, and it must not move while it is used. Permits belong to nobody: any task or
 * thread may give back what another has taken, and may make more than there were.
 *
 * Who waits is served first come, first served. Who wants many collects them as they are given back; meanwhile all who
 * came later wait, also those who want fewer, and the try calls fail.
 */
#ifndef WEFT_SEMAPHORE_H
#define WEFT_SEMAPHORE_H

#include <weft/future.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The most permits that a semaphore has free, and that one may ask for at a time. */
#define WEFT_SEMAPHORE_MAX UINT64_C(0xffffffff)

typedef struct weft_semaphore {
    uint64_t word_; /* do not touch */
    uintptr_t words_[7];
} weft_semaphore;

/* With so many permits, at most WEFT_SEMAPHORE_MAX. */
/* clang-format off */
#define WEFT_SEMAPHORE_INIT(permits) {(uint64_t)(permits) << 3, {0}}
/* clang-format on */

/* The same at run time. 0; -EINVAL: more than WEFT_SEMAPHORE_MAX, or s is NULL. */
WEFT_API int weft_semaphore_init(weft_semaphore *s, uint64_t permits);

/*
 * weft_semaphore_acquire, weft_semaphore_acquire_many - take one permit, or n at once.
 *
 * n        at most WEFT_SEMAPHORE_MAX; 0 is none, and needs no waiting.
 *
 * Awaits   while there are too few, or others wait already.
 * Cancel   safe: on -ECANCELED and -ETIMEDOUT none was taken; what had been collected goes to those that come next.
 * Returns  0            taken
 *          -ESHUTDOWN   the semaphore is closed, or was closed meanwhile
 *          -ECANCELED   this task was cancelled
 *          -ETIMEDOUT   an enclosing WEFT_DEADLINE passed
 *          -EPERM       not called from a fiber
 *          -EINVAL      s is NULL, or n is too large
 * Order    what was written before a permit was given back is visible to who takes it.
 */
WEFT_API WEFT_MUST_CHECK int weft_semaphore_acquire(weft_semaphore *s);
WEFT_API WEFT_MUST_CHECK int weft_semaphore_acquire_many(weft_semaphore *s, uint64_t n);

/* Without waiting, from anywhere. 0; -EAGAIN: too few, or others wait; -ESHUTDOWN, -EINVAL. */
WEFT_API WEFT_MUST_CHECK int weft_semaphore_try_acquire(weft_semaphore *s);
WEFT_API WEFT_MUST_CHECK int weft_semaphore_try_acquire_many(weft_semaphore *s, uint64_t n);

/* From a plain thread, which is blocked meanwhile. 0, -ESHUTDOWN, -EINVAL; -EDEADLK inside a task. */
WEFT_API WEFT_MUST_CHECK int weft_semaphore_acquire_blocking(weft_semaphore *s);
WEFT_API WEFT_MUST_CHECK int weft_semaphore_acquire_many_blocking(weft_semaphore *s, uint64_t n);

/* As futures, with the result of weft_semaphore_acquire. One that is dropped gives back what it was handed or had
 * collected, so a weft_select loses nothing. Until then that is out of everybody's reach: do not leave one
 * pending (WEFT_SELECT_KEEP) while you wait for something else. */
WEFT_API weft_future weft_semaphore_acquire_future(weft_semaphore *s);
WEFT_API weft_future weft_semaphore_acquire_many_future(weft_semaphore *s, uint64_t n);

/*
 * weft_semaphore_release - give n permits back, or make n more.
 *
 * Never waits. When it returns the library does not touch s any more: who has got the last permit may free it.
 *
 * Returns  0; -EOVERFLOW: there would be more than WEFT_SEMAPHORE_MAX free, and nothing has changed; -EINVAL
 */
WEFT_API int weft_semaphore_release(weft_semaphore *s, uint64_t n);

/* Take up to n free permits out of use for good. Never waits. Returns how many. */
WEFT_API uint64_t weft_semaphore_forget(weft_semaphore *s, uint64_t n);

/* From now on nobody gets any: who waits, and who comes later, is answered -ESHUTDOWN. Permits may still be given
 * back. NULL is ignored. */
WEFT_API void weft_semaphore_close(weft_semaphore *s);
WEFT_API bool weft_semaphore_is_closed(const weft_semaphore *s);

/* How many are free now. */
WEFT_API uint64_t weft_semaphore_available(const weft_semaphore *s);

/* What the macros below call: the same with the place of the call. */
WEFT_API WEFT_MUST_CHECK int weft_semaphore_acquire_at(const char *site, weft_semaphore *s);
WEFT_API WEFT_MUST_CHECK int weft_semaphore_acquire_many_at(const char *site, weft_semaphore *s,
                                                            uint64_t n);
WEFT_API WEFT_MUST_CHECK int weft_semaphore_acquire_blocking_at(const char *site,
                                                                weft_semaphore *s);
WEFT_API WEFT_MUST_CHECK int weft_semaphore_acquire_many_blocking_at(const char *site,
                                                                     weft_semaphore *s, uint64_t n);
WEFT_API weft_future weft_semaphore_acquire_future_at(const char *site, weft_semaphore *s);
WEFT_API weft_future weft_semaphore_acquire_many_future_at(const char *site, weft_semaphore *s,
                                                           uint64_t n);
#define weft_semaphore_acquire(...)      weft_semaphore_acquire_at(WEFT_SITE, __VA_ARGS__)
#define weft_semaphore_acquire_many(...) weft_semaphore_acquire_many_at(WEFT_SITE, __VA_ARGS__)
#define weft_semaphore_acquire_blocking(...) \
 weft_semaphore_acquire_blocking_at(WEFT_SITE, __VA_ARGS__)
#define weft_semaphore_acquire_many_blocking(...) \
 weft_semaphore_acquire_many_blocking_at(WEFT_SITE, __VA_ARGS__)
#define weft_semaphore_acquire_future(...) weft_semaphore_acquire_future_at(WEFT_SITE, __VA_ARGS__)
#define weft_semaphore_acquire_many_future(...) \
 weft_semaphore_acquire_many_future_at(WEFT_SITE, __VA_ARGS__)

#ifdef __cplusplus
}
#endif

#endif
