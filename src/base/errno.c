/* SPDX-License-Identifier: MIT */
/*
 * errno.c - the address of the running thread's errno, looked up anew at each call.
 *
 * The C library declares its own look-up constant, so that a compiler may keep the address over
 * an await, after which the task may run on another thread. Nothing may be concluded of this one,
 * not even with link-time optimisation.
 */
#define WEFT_NO_ERRNO

#include <weft/errno.h>

#include "base/compiler.h"

WF_OPAQUE int *weft_errno_location(void)
{
    int *where = &errno;

    wf_launder(where);
    return where;
}
