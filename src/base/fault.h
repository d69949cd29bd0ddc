/* SPDX-License-Identifier: MIT */
/*
 * fault.h - the seam at which a test build makes system calls and allocations fail.
 *
 * IDEA     Every wrapper of sys.c asks here first, by its kind, whether the call is to fail; if it is, the
 *          call is not made. With WF_FAULT the answers are those of tests/fault/fault.c, which
 *          also counts what is allocated and mapped. In all other builds each question is a constant,
 *          and nothing of it is left in the code.
 * WHO      Any thread, with any lock held: an answer takes no lock and no memory.
 */
#ifndef WF_BASE_FAULT_H
#define WF_BASE_FAULT_H

#include "base/compiler.h"

#include <sys/uio.h>

enum wf_fault_kind {
    WF_FAULT_ALLOC, /* malloc, calloc, aligned_alloc */
    WF_FAULT_MMAP,
    WF_FAULT_MUNMAP,
    WF_FAULT_MADVISE,
    WF_FAULT_MPROTECT,
    WF_FAULT_EPOLL_CREATE,
    WF_FAULT_EPOLL_ADD, /* the other operations of epoll_ctl take nothing that could be short */
    WF_FAULT_EPOLL_WAIT,
    WF_FAULT_EVENTFD,
    WF_FAULT_EVENTFD_SIGNAL,
    WF_FAULT_TIMERFD,
    WF_FAULT_TIMERFD_SET,
    WF_FAULT_SOCKET,
    WF_FAULT_BIND,
    WF_FAULT_LISTEN,
    WF_FAULT_ACCEPT,
    WF_FAULT_CONNECT,
    WF_FAULT_SHUTDOWN,
    WF_FAULT_SETSOCKOPT,
    WF_FAULT_GETSOCKOPT,
    WF_FAULT_NAME, /* getsockname, getpeername, if_nametoindex */
    WF_FAULT_READ, /* and recv, readv */
    WF_FAULT_WRITE,
    WF_FAULT_NONBLOCK,
    WF_FAULT_OPEN,
    WF_FAULT_THREAD,
    WF_FAULT_SIGACTION,
    WF_FAULT_SIGALTSTACK,
    WF_FAULT_MEMBARRIER_REGISTER,
    WF_FAULT_MEMBARRIER,
    WF_FAULT_FUTEX_WAIT,
    WF_FAULT_RANDOM,
    WF_FAULT_TIMER_SLACK,
    WF_FAULT_THREAD_CPU,
    WF_FAULT_KINDS
};

#ifdef WF_FAULT

/* 0: make the call. Else the negative errno to answer instead. */
int wf_fault(enum wf_fault_kind kind);

/* How much of this many bytes a transfer may move. */
size_t wf_fault_size(enum wf_fault_kind kind, size_t size);

/* The same for parts: all of them, or one, in the caller's word, that is shorter. */
const struct iovec *wf_fault_parts(enum wf_fault_kind kind, const struct iovec *parts, int *count,
                                   struct iovec *one);

/* What lives. Each returns its argument. */
void *wf_fault_allocated(void *p);
void *wf_fault_freed(void *p);
void *wf_fault_mapped(void *p, size_t size); /* MAP_FAILED, too */
int wf_fault_unmapped(int rc, size_t size);

#else

WF_INLINE int wf_fault(enum wf_fault_kind kind)
{
    (void)kind;
    return 0;
}

WF_INLINE size_t wf_fault_size(enum wf_fault_kind kind, size_t size)
{
    (void)kind;
    return size;
}

WF_INLINE const struct iovec *wf_fault_parts(enum wf_fault_kind kind, const struct iovec *parts,
                                             const int *count, const struct iovec *one)
{
    (void)kind, (void)count, (void)one;
    return parts;
}

WF_INLINE void *wf_fault_allocated(void *p)
{
    return p;
}

WF_INLINE void *wf_fault_freed(void *p)
{
    return p;
}

WF_INLINE void *wf_fault_mapped(void *p, size_t size)
{
    (void)size;
    return p;
}

WF_INLINE int wf_fault_unmapped(int rc, size_t size)
{
    (void)size;
    return rc;
}

#endif /* WF_FAULT */

#endif
