/* SPDX-License-Identifier: MIT */
/*
 * strerror.c - the constant texts: what an error code means, and the library's version.
 *
 * Codes that weft itself returns are explained in its own terms; the others as the C library
 * explains them, where it can do so without a buffer of the thread's: a fiber may move.
 */
#include "base/compiler.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <weft/base.h>

#if defined(__GLIBC__)
# if __GLIBC_PREREQ(2, 32)
#  define STRERROR_SYSTEM(code) strerrordesc_np(code)
# endif
#endif
#ifndef STRERROR_SYSTEM
# define STRERROR_SYSTEM(code) ((void)(code), NULL)
#endif

static const struct strerror_text {
    int code;
    const char *text;
} strerror_texts[] = {
    {0, "success"},
    {EPERM, "not allowed here: calls that may wait need a task"},
    {ENOMEM, "out of memory"},
    {EINVAL, "invalid argument"},
    {EBUSY, "another task is using it"},
    {EAGAIN, "not ready now, try again"},
    {EDEADLK, "it would wait for itself"},
    {ECANCELED, "the task was cancelled"},
    {ETIMEDOUT, "the time limit has passed"},
    {EOWNERDEAD, "the task panicked"},
    {ESHUTDOWN, "shut down or aborted"},
    {ENOTSUP, "not supported"},
    {ENOSPC, "no space left"},
    {EPIPE, "the other side is closed"},
    {EADDRINUSE, "the address is in use"},
    {ECONNREFUSED, "the connection was refused"},
    {ECONNRESET, "the connection was reset by the other side"},
    {EMFILE, "the process has no descriptor left"},
    {ENFILE, "the system has no descriptor left"},
};

const char *weft_strerror(ssize_t rc)
{
    const char *text = NULL;

    /* Also true of the smallest number, which has no negative. */
    if (rc < -INT_MAX || rc > INT_MAX)
        return "unknown error";
    if (rc < 0)
        rc = -rc;
    for (size_t i = 0; i < wf_array_count(strerror_texts); i++)
        if (strerror_texts[i].code == (int)rc)
            return strerror_texts[i].text;
    text = STRERROR_SYSTEM((int)rc);
    return text ? text : "unknown error";
}

const char *weft_version(void)
{
    return WEFT_VERSION;
}
