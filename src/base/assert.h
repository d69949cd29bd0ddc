/* SPDX-License-Identifier: MIT */
/*
 * assert.h - what must hold, and what happens when it does not.
 *
 * wf_assert is always on: cheap, prints and aborts. wf_debug_assert only in debug
 * builds. wf_misuse is for a caller's mistake: a message in debug builds, and the code
 * that the caller then gets.
 */
#ifndef WF_BASE_ASSERT_H
#define WF_BASE_ASSERT_H

#include "base/compiler.h"

WF_COLD __attribute__((noreturn)) void wf_assert_failed(const char *expression, const char *file,
                                                        int line);

#define wf_assert(x) (wf_likely(x) ? (void)0 : wf_assert_failed(#x, __FILE__, __LINE__))

#if WF_DEBUG
# define wf_debug_assert(x) wf_assert(x)
#else
# define wf_debug_assert(x) ((void)sizeof(x))
#endif

#define wf_unreachable(why) wf_assert_failed("unreachable: " why, __FILE__, __LINE__)

#endif
