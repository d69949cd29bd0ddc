/* SPDX-License-Identifier: MIT */
/*
 * compiler.h - what the compiler is told beyond the language: hints, attributes, sanitizers.
 */
#ifndef WF_BASE_COMPILER_H
#define WF_BASE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define wf_likely(x)   __builtin_expect(!!(x), 1)
#define wf_unlikely(x) __builtin_expect(!!(x), 0)

#define WF_COLD       __attribute__((cold, noinline))
#define WF_NOINLINE   __attribute__((noinline))
#define WF_ALIGNED(n) __attribute__((aligned(n)))
#define WF_INLINE     static inline __attribute__((always_inline))
#define WF_CACHE_LINE 64

/* In a prototype: the call may suspend the fiber, which may resume on another thread. */
#define WF_SUSPENDS

/* Nothing about the body may be concluded by its callers, not even that it gives the same answer
 * twice: for what reads a thread-local. */
#if defined(__clang__)
# define WF_OPAQUE __attribute__((noinline, optnone))
#else
# define WF_OPAQUE __attribute__((noipa))
#endif

/* The same pointer, but nobody knows where it came from. clang tells the callers of a WF_OPAQUE function what
 * it returns when that is the address of a variable, and they go there themselves. */
#define wf_launder(p) __asm__("" : "+r"(p))

#if defined(__SANITIZE_ADDRESS__)
# define WF_ASAN 1
#elif defined(__has_feature)
# if __has_feature(address_sanitizer)
#  define WF_ASAN 1
# endif
#endif
#if defined(WF_MODEL)
# define WF_TSAN 0 /* instrumented alike, for the explorer */
#elif defined(__SANITIZE_THREAD__)
# define WF_TSAN 1
#elif defined(__has_feature)
# if __has_feature(thread_sanitizer)
#  define WF_TSAN 1
# endif
#endif
#ifndef WF_ASAN
# define WF_ASAN 0
#endif
#ifndef WF_TSAN
# define WF_TSAN 0
#endif

#if defined(WF_MODEL)
# define WF_SANITIZED 1
#else
# define WF_SANITIZED (WF_ASAN + WF_TSAN)
#endif

/* 1 in debug and test builds: expensive checks, messages on misuse. */
#ifndef WF_DEBUG
# define WF_DEBUG 0
#endif

/* 1 in test builds: a task goes on on another worker after each await. See sched/migrate.h. */
#ifndef WF_MIGRATE
# define WF_MIGRATE 0
#endif

#define wf_array_count(a) (sizeof(a) / sizeof((a)[0]))

/* For interfaces of the system that take a pointer to what they only read. */
static inline void *wf_unconst(const void *p)
{
    union {
        const void *in;
        void *out;
    } u = {p};

    return u.out;
}

/* The struct that holds this member; the pointer must be to the member's type. */
#define wf_container_of(ptr, type, member)                                           \
 ((type *)(void *)((char *)(1 ? (ptr) : (__typeof__(&((type *)NULL)->member))NULL) - \
                   offsetof(type, member)))

#endif
