/* SPDX-License-Identifier: MIT */
/*
 * weft/errno.h - an errno that stays right when a task moves to another thread.
 *
 * The C library lets the compiler remember the address of errno across calls. A
 * task that awaits between two calls may go on on another thread, and would then
 * read the old thread's. With this header errno is looked up at each use. Define
 * WEFT_NO_ERRNO before including <weft.h> to keep the C library's own.
 */
#ifndef WEFT_ERRNO_H
#define WEFT_ERRNO_H

#include <errno.h>
#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The address of the running thread's errno; valid until the next call that awaits. */
WEFT_API int *weft_errno_location(void);

#ifdef __cplusplus
}
#endif

#ifndef WEFT_NO_ERRNO
# undef errno
# define errno (*weft_errno_location())
#endif

#endif
