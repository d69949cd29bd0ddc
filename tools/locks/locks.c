/* SPDX-License-Identifier: MIT */
/*
 * locks.c - libweft-locks.so: knows which mutexes each thread holds, for a debug build of weft to ask
 * when a task gives its thread back.
 *
 * IDEA     Loaded before the C library (LD_PRELOAD), it stands before the calls that lock and unlock a mutex, and
 *          writes down for each thread what it has locked, by a number that grows. weft asks for the number
 *          before a poll, and for what was locked since and is still held after it. What was
 *          locked before the poll, or is unlocked by another thread later, does not count against a task.
 * LIMITS   Mutexes only: no read-write locks, semaphores or locks of other making. Nor does it see those that the
 *          C library takes inside itself. Of more than HELD_MAX at a time the oldest are forgotten.
 * TESTS    tests/locks/test_locks.c
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define EXPORT   __attribute__((visibility("default")))
#define HELD_MAX 64

struct held_lock {
    const void *lock, *where;
    uint64_t serial;
};

static __thread struct {
    uint64_t serial;
    unsigned count;
    struct held_lock lock[HELD_MAX]; /* oldest first */
} held __attribute__((tls_model("initial-exec")));

/* What weft looks for: src/sched/held.h. */
uint64_t weft_locks_serial(void);
const void *weft_locks_since(uint64_t serial, const void **where);

EXPORT uint64_t weft_locks_serial(void)
{
    return held.serial;
}

EXPORT const void *weft_locks_since(uint64_t serial, const void **where)
{
    const struct held_lock *newest = held.count ? &held.lock[held.count - 1] : NULL;

    if (!newest || newest->serial <= serial)
        return NULL;
    *where = newest->where;
    return newest->lock;
}

static void held_forget(unsigned i)
{
    held.count--;
    memmove(&held.lock[i], &held.lock[i + 1], (held.count - i) * sizeof(held.lock[0]));
}

static int held_locked(int rc, const void *lock, const void *where)
{
    if (rc != 0 && rc != EOWNERDEAD)
        return rc;
    if (held.count == HELD_MAX)
        held_forget(0);
    held.lock[held.count++] = (struct held_lock){lock, where, ++held.serial};
    return rc;
}

static void held_unlocked(const void *lock)
{
    for (unsigned i = held.count; i-- > 0;) {
        if (held.lock[i].lock == lock) {
            held_forget(i);
            return;
        }
    }
}

/* --- the calls --------------------------------------------------------------------------------- */

/* The C library's function of that name, found at the first call: others are called before our
 * constructors are. The same value may be stored by several threads. */
#define NEXT(name)                                     \
 static __typeof__(&(name)) held_next_##name(void)     \
 {                                                     \
  static void *found;                                  \
  void *f = __atomic_load_n(&found, __ATOMIC_RELAXED); \
                                                       \
  if (!f) {                                            \
   f = dlsym(RTLD_NEXT, #name);                        \
   __atomic_store_n(&found, f, __ATOMIC_RELAXED);      \
  }                                                    \
  __typeof__(&(name)) call;                            \
  memcpy(&call, &f, sizeof(call));                     \
  return call;                                         \
 }

NEXT(pthread_mutex_lock)
NEXT(pthread_mutex_trylock)
NEXT(pthread_mutex_timedlock)
NEXT(pthread_mutex_clocklock)
NEXT(pthread_mutex_unlock)

EXPORT int pthread_mutex_lock(pthread_mutex_t *m)
{
    return held_locked(held_next_pthread_mutex_lock()(m), m, __builtin_return_address(0));
}

EXPORT int pthread_mutex_trylock(pthread_mutex_t *m)
{
    return held_locked(held_next_pthread_mutex_trylock()(m), m, __builtin_return_address(0));
}

EXPORT int pthread_mutex_timedlock(pthread_mutex_t *m, const struct timespec *until)
{
    return held_locked(held_next_pthread_mutex_timedlock()(m, until), m,
                       __builtin_return_address(0));
}

EXPORT int pthread_mutex_clocklock(pthread_mutex_t *m, clockid_t clock,
                                   const struct timespec *until)
{
    return held_locked(held_next_pthread_mutex_clocklock()(m, clock, until), m,
                       __builtin_return_address(0));
}

EXPORT int pthread_mutex_unlock(pthread_mutex_t *m)
{
    int rc = held_next_pthread_mutex_unlock()(m);

    if (rc == 0)
        held_unlocked(m);
    return rc;
}
