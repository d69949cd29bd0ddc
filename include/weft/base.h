/* SPDX-License-Identifier: MIT */
/*
 * weft/base.h - what every other header stands on: linkage, durations, error text.
 *
 * A call that can fail returns int or ssize_t: 0 or a count on success, a negative
 * errno value on failure. errno itself is never used to report anything.
 */
#ifndef WEFT_BASE_H
#define WEFT_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WEFT_VERSION_MAJOR 0
#define WEFT_VERSION_MINOR 1
#define WEFT_VERSION_PATCH 0
#define WEFT_VERSION       "0.1.0"

#if defined(__GNUC__) || defined(__clang__)
# define WEFT_API             __attribute__((visibility("default")))
# define WEFT_MUST_CHECK      __attribute__((warn_unused_result))
# define WEFT_NORETURN        __attribute__((noreturn))
# define WEFT_PRINTF(fmt, va) __attribute__((format(printf, fmt, va)))
# define WEFT_CLEANUP(fn)     __attribute__((cleanup(fn)))
#else
# define WEFT_API
# define WEFT_MUST_CHECK
# define WEFT_NORETURN
# define WEFT_PRINTF(fmt, va)
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_STRINGIFY_(x) #x
#define WEFT_STRINGIFY(x)  WEFT_STRINGIFY_(x)
#define WEFT_CONCAT_(a, b) a##b
#define WEFT_CONCAT(a, b)  WEFT_CONCAT_(a, b)

/* Where a task was spawned, as "file:line"; the text lives as long as the program. */
#define WEFT_SITE (__FILE__ ":" WEFT_STRINGIFY(__LINE__))

/* A length of time in nanoseconds. WEFT_FOREVER means "no limit". */
typedef uint64_t weft_duration;

/* A point on the monotonic clock, in nanoseconds since an unspecified start. */
typedef uint64_t weft_instant;

#define WEFT_FOREVER UINT64_MAX

/* n is an integer of any type, taken as unsigned; a product beyond 64 bits becomes
 * WEFT_FOREVER. Usable in constant expressions. */
#define WEFT_SATURATE_(n, unit) \
 ((uint64_t)(n) > UINT64_MAX / (uint64_t)(unit) ? WEFT_FOREVER : (uint64_t)(n) * (uint64_t)(unit))
#define WEFT_NS(n)   ((weft_duration)(n))
#define WEFT_US(n)   ((weft_duration)WEFT_SATURATE_(n, 1000))
#define WEFT_MS(n)   ((weft_duration)WEFT_SATURATE_(n, 1000000))
#define WEFT_SECS(n) ((weft_duration)WEFT_SATURATE_(n, 1000000000))

/* The text of an error that weft returned (rc negative) or of an errno value (rc
 * positive): a constant string that lives as long as the program. Never NULL. */
WEFT_API const char *weft_strerror(ssize_t rc);

/* The version of the library in use, as "major.minor.patch". */
WEFT_API const char *weft_version(void);

/* A switch in weft_config: zero is the default, so that a zeroed struct means "as
 * the library thinks best". */
typedef enum weft_switch { WEFT_DEFAULT = 0, WEFT_ON = 1, WEFT_OFF = 2 } weft_switch;

#ifdef __cplusplus
}
#endif

#endif
