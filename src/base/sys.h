/* SPDX-License-Identifier: MIT */
/*
 * sys.h - the system calls that the library makes, each returning a negative errno on failure.
 *
 * The only place where errno is read: a fiber may move to another thread, and compilers
 * keep the address of errno across calls. It is also the seam at which a test build makes
 * the n-th call fail: see fault.h.
 */
#ifndef WF_BASE_SYS_H
#define WF_BASE_SYS_H

#include "base/atomic.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#define WF_NO_TIMEOUT UINT64_MAX

/* Memory. A NULL result means -ENOMEM. */
void *wf_sys_malloc(size_t size);
void *wf_sys_calloc(size_t count, size_t size);
void *wf_sys_aligned_alloc(size_t alignment, size_t size); /* size a multiple of alignment */
void wf_sys_free(void *p);
int wf_sys_mmap(void **out, size_t size, int prot, int flags);
int wf_sys_munmap(void *p, size_t size);
int wf_sys_madvise(void *p, size_t size, int advice);
int wf_sys_mprotect(void *p, size_t size, int prot);
size_t wf_sys_page_size(void);

/* Sleep while *word == expected, at most timeout_ns (relative; WF_NO_TIMEOUT). 0, -EAGAIN, -EINTR,
 * -ETIMEDOUT. */
int wf_sys_futex_wait(struct wf_atomic_u32 *word, uint32_t expected, uint64_t timeout_ns);
int wf_sys_futex_wake(struct wf_atomic_u32 *word, int count);

/* Descriptors. All are made close-on-exec and non-blocking. */
int wf_sys_epoll_create(void);
int wf_sys_epoll_ctl(int epfd, int op, int fd, uint32_t events, uint64_t data);
/* Number of events, -EINTR. timeout_ns: 0 returns at once, WF_NO_TIMEOUT waits for ever. */
int wf_sys_epoll_wait(int epfd, struct epoll_event *events, int max, uint64_t timeout_ns);
int wf_sys_eventfd(void);
int wf_sys_eventfd_signal(int fd);
int wf_sys_timerfd_create(void);
int wf_sys_timerfd_set(int fd, uint64_t at_ns); /* absolute monotonic; 0 disarms */
int wf_sys_close(int fd);

int wf_sys_socket(int domain, int type);
int wf_sys_bind(int fd, const struct sockaddr *a, socklen_t size);
int wf_sys_listen(int fd, int backlog);
int wf_sys_accept(int fd, struct sockaddr *a, socklen_t *size);
int wf_sys_connect(int fd, const struct sockaddr *a, socklen_t size);
int wf_sys_shutdown(int fd, int how);
int wf_sys_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
int wf_sys_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int wf_sys_getsockname(int fd, struct sockaddr *a, socklen_t *size);
int wf_sys_getpeername(int fd, struct sockaddr *a, socklen_t *size);
int wf_sys_if_index(const char *name); /* of a network interface; always above 0 */
int wf_sys_set_nonblocking(int fd);

/* On a socket these raise no signal. */
ssize_t wf_sys_recv(int fd, void *buffer, size_t size);
ssize_t wf_sys_send(int fd, const void *data, size_t size);
ssize_t wf_sys_readv(int fd, const struct iovec *parts, int count);
ssize_t wf_sys_sendv(int fd, const struct iovec *parts, int count);
ssize_t wf_sys_read(int fd, void *buffer, size_t size);
ssize_t wf_sys_write(int fd, const void *data, size_t size);
ssize_t wf_sys_writev(int fd, const struct iovec *parts, int count);

/* Signals. Either pointer may be NULL. */
int wf_sys_sigaction(int number, const struct sigaction *set, struct sigaction *old);
int wf_sys_sigaltstack(const stack_t *set, stack_t *old);
void wf_sys_signal_discard(const sigset_t *set); /* one that is blocked and pending, if any */

int wf_sys_membarrier_register(void);
int wf_sys_membarrier(void); /* every running thread of the process passes a full barrier */
int wf_sys_timer_slack(uint64_t ns);
int wf_sys_random(void *buffer, size_t size);
int wf_sys_thread_create(pthread_t *thread, void *(*fn)(void *arg), void *arg);
uint32_t wf_sys_thread_id(void); /* of the calling thread, as the kernel counts them */

/* What a thread of this process waits in. */
struct wf_sys_call {
    long number; /* -1: in none, as after a page fault, or it is not known */
    uint64_t argument[6];
    uint64_t pc; /* where it entered the kernel; 0: not known */
};

/* Does a thread of this process wait in the kernel, and in what? False also if that cannot be told. */
bool wf_sys_thread_is_blocked(uint32_t id, struct wf_sys_call *in);
/* Queue a signal for one thread of this process; the handler finds the value. */
int wf_sys_thread_signal(uint32_t id, int number, void *value);
unsigned wf_sys_file_mode(int fd); /* st_mode; 0: no such descriptor */
void wf_sys_thread_yield(void);    /* to whom this thread has to wait for */
/* The processors that this process may use, by its affinity and its cgroup's quota; at least 1. */
unsigned wf_sys_cpu_count(void);
/* What the smallest quota of the process's cgroup and of all above it comes to, in processors,
 * rounded up; 0: no quota. list: the file that names the cgroup; mount: where cgroups are. */
unsigned wf_sys_cgroup_cpus(const char *list, const char *mount);

#endif
