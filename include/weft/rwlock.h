/* SPDX-License-Identifier: MIT */
/*
 * weft/rwlock.h - a lock that many may hold for reading, or one for writing.
 *
 * As a weft_mutex it is a plain value, may be held over an await, and is waited for first come, first served: a writer
 * that waits keeps out readers that come later, so readers cannot starve it. Who has the lock for reading and
 * waits for it a second time may therefore wait for ever, behind a writer that waits for its first.
 *
 * It knows its writer, as a mutex its owner: see there for -EDEADLK, -EPERM, -EOWNERDEAD and the reports. Of readers it
 * knows only how many there are. A task that ends while it has the lock for reading leaves it so for ever.
 *
 * After a writer has ended with it, each one is told by -EOWNERDEAD, readers too, until a writer has had it: what it
 * protects may be half written.
 */
#ifndef WEFT_RWLOCK_H
#define WEFT_RWLOCK_H

#include <weft/future.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The most readers at a time: more wait. */
#define WEFT_RWLOCK_READERS_MAX 0x1fffffffu

typedef struct weft_rwlock {
    uint64_t word_; /* do not touch: the same for all that follow */
    void *site_;
    const char *name_;
    uintptr_t hold_[5];
    uint64_t permits_;
    uintptr_t words_[6];
    uint64_t readers_max_;
    uintptr_t spare_;
} weft_rwlock;

/* The name is for reports, and must outlive the lock. */
/* clang-format off */
#define WEFT_RWLOCK_INIT WEFT_RWLOCK_NAMED(NULL)
#define WEFT_RWLOCK_NAMED(name)                                                                     \
    {0, NULL, name, {0}, (uint64_t)WEFT_RWLOCK_READERS_MAX << 3, {0}, WEFT_RWLOCK_READERS_MAX, 0}
/* clang-format on */

/* At run time, for at most readers_max readers at a time. name may be NULL. 0; -EINVAL: readers_max is 0 or above
 * WEFT_RWLOCK_READERS_MAX, or l is NULL. */
WEFT_API int weft_rwlock_init(weft_rwlock *l, const char *name, unsigned readers_max);

/*
 * weft_rwlock_read_lock, weft_rwlock_write_lock - wait for the lock and hold it.
 *
 * Awaits   while a writer has it (to write: while anybody has it), or others wait already.
 * Cancel   safe: on -ECANCELED and -ETIMEDOUT it is not held, the place in line is given up, and those go on that
 * waited
 *          behind it only.
 * Returns  0            held
 *          -EOWNERDEAD  held, and a writer has ended without unlocking
 *          -EDEADLK     the caller holds it for writing
 *          -ECANCELED   this task was cancelled
 *          -ETIMEDOUT   an enclosing WEFT_DEADLINE passed
 *          -EPERM       not called from a fiber
 *          -EINVAL      l is NULL, or was never initialised
 * Order    what was written before the last unlock is visible.
 */
WEFT_API WEFT_MUST_CHECK int weft_rwlock_read_lock(weft_rwlock *l);
WEFT_API WEFT_MUST_CHECK int weft_rwlock_write_lock(weft_rwlock *l);

/* Without waiting, from anywhere. 0 or -EOWNERDEAD: held. -EAGAIN, -EINVAL. */
WEFT_API WEFT_MUST_CHECK int weft_rwlock_try_read_lock(weft_rwlock *l);
WEFT_API WEFT_MUST_CHECK int weft_rwlock_try_write_lock(weft_rwlock *l);

/* From a plain thread, which is blocked meanwhile. As above, but -EDEADLK also inside a task. */
WEFT_API WEFT_MUST_CHECK int weft_rwlock_read_lock_blocking(weft_rwlock *l);
WEFT_API WEFT_MUST_CHECK int weft_rwlock_write_lock_blocking(weft_rwlock *l);

/* As futures. One that is dropped gives back what it was handed; see weft_mutex_lock_future. */
WEFT_API weft_future weft_rwlock_read_lock_future(weft_rwlock *l);
WEFT_API weft_future weft_rwlock_write_lock_future(weft_rwlock *l);

/*
 * weft_rwlock_read_unlock, weft_rwlock_write_unlock - give it back.
 *
 * A reader's may be given back by any task or thread, a writer's by the writer only. Never waits. When it returns
 * the library does not touch l any more.
 *
 * Returns  0; -EPERM: not held for reading by anybody, or not for writing by the caller; -EINVAL
 */
WEFT_API int weft_rwlock_read_unlock(weft_rwlock *l);
WEFT_API int weft_rwlock_write_unlock(weft_rwlock *l);

/*
 * weft_rwlock_downgrade - from writing to reading, with nobody else writing in between.
 *
 * Readers that wait get in, up to the first writer in line. Never waits.
 *
 * Returns  0: the caller has it for reading; -EPERM: it does not hold it for writing; -EINVAL
 */
WEFT_API int weft_rwlock_downgrade(weft_rwlock *l);

/* What the macros below call: the same with the place of the call. */
WEFT_API WEFT_MUST_CHECK int weft_rwlock_read_lock_at(const char *site, weft_rwlock *l);
WEFT_API WEFT_MUST_CHECK int weft_rwlock_write_lock_at(const char *site, weft_rwlock *l);
WEFT_API WEFT_MUST_CHECK int weft_rwlock_try_write_lock_at(const char *site, weft_rwlock *l);
WEFT_API WEFT_MUST_CHECK int weft_rwlock_read_lock_blocking_at(const char *site, weft_rwlock *l);
WEFT_API WEFT_MUST_CHECK int weft_rwlock_write_lock_blocking_at(const char *site, weft_rwlock *l);
WEFT_API weft_future weft_rwlock_read_lock_future_at(const char *site, weft_rwlock *l);
WEFT_API weft_future weft_rwlock_write_lock_future_at(const char *site, weft_rwlock *l);
#define weft_rwlock_read_lock(...)      weft_rwlock_read_lock_at(WEFT_SITE, __VA_ARGS__)
#define weft_rwlock_write_lock(...)     weft_rwlock_write_lock_at(WEFT_SITE, __VA_ARGS__)
#define weft_rwlock_try_write_lock(...) weft_rwlock_try_write_lock_at(WEFT_SITE, __VA_ARGS__)
#define weft_rwlock_read_lock_blocking(...) \
 weft_rwlock_read_lock_blocking_at(WEFT_SITE, __VA_ARGS__)
#define weft_rwlock_write_lock_blocking(...) \
 weft_rwlock_write_lock_blocking_at(WEFT_SITE, __VA_ARGS__)
#define weft_rwlock_read_lock_future(...)  weft_rwlock_read_lock_future_at(WEFT_SITE, __VA_ARGS__)
#define weft_rwlock_write_lock_future(...) weft_rwlock_write_lock_future_at(WEFT_SITE, __VA_ARGS__)

#ifdef __cplusplus
}
#endif

#endif
