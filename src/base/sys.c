/* SPDX-License-Identifier: MIT */
/* sys.c - system calls with negative errno results; the only reader of errno. */
#include "base/sys.h"

#include "base/assert.h"
#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SEC      1000000000u
#define CGROUP_PATH_MAX 1024 /* of a longer one, the part that fits counts */

WF_OPAQUE static int sys_errno(void)
{
    return -errno;
}

static int sys_result(long rc)
{
    return rc < 0 ? sys_errno() : (int)rc;
}

static ssize_t sys_count(ssize_t rc)
{
    return rc < 0 ? sys_errno() : rc;
}

static struct timespec sys_timespec(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_SEC),
                             .tv_nsec = (long)(ns % NS_PER_SEC)};
}

void *wf_sys_malloc(size_t size)
{
    return wf_fault(WF_FAULT_ALLOC) ? NULL : wf_fault_allocated(malloc(size));
}

void *wf_sys_calloc(size_t count, size_t size)
{
    return wf_fault(WF_FAULT_ALLOC) ? NULL : wf_fault_allocated(calloc(count, size));
}

void *wf_sys_aligned_alloc(size_t alignment, size_t size)
{
    return wf_fault(WF_FAULT_ALLOC) ? NULL : wf_fault_allocated(aligned_alloc(alignment, size));
}

void wf_sys_free(void *p)
{
    free(wf_fault_freed(p));
}

int wf_sys_mmap(void **out, size_t size, int prot, int flags)
{
    int rc = wf_fault(WF_FAULT_MMAP);
    void *p;

    if (rc < 0)
        return rc;
    p = wf_fault_mapped(mmap(NULL, size, prot, flags, -1, 0), size);
    if (p == MAP_FAILED)
        return sys_errno();
    *out = p;
    return 0;
}

int wf_sys_munmap(void *p, size_t size)
{
    int rc = wf_fault(WF_FAULT_MUNMAP);

    return wf_fault_unmapped(rc < 0 ? rc : sys_result(munmap(p, size)), size);
}

int wf_sys_madvise(void *p, size_t size, int advice)
{
    int rc = wf_fault(WF_FAULT_MADVISE);

    return rc < 0 ? rc : sys_result(madvise(p, size, advice));
}

int wf_sys_mprotect(void *p, size_t size, int prot)
{
    int rc = wf_fault(WF_FAULT_MPROTECT);

    return rc < 0 ? rc : sys_result(mprotect(p, size, prot));
}

size_t wf_sys_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

int wf_sys_futex_wait(struct wf_atomic_u32 *word, uint32_t expected, uint64_t timeout_ns)
{
    struct timespec ts = sys_timespec(timeout_ns);
    int rc = wf_fault(WF_FAULT_FUTEX_WAIT);

    if (rc < 0)
        return rc;
    return sys_result(syscall(SYS_futex, &word->raw, FUTEX_WAIT_PRIVATE, expected,
                              timeout_ns == WF_NO_TIMEOUT ? NULL : &ts, NULL, 0));
}

int wf_sys_futex_wake(struct wf_atomic_u32 *word, int count)
{
    return sys_result(syscall(SYS_futex, &word->raw, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0));
}

int wf_sys_epoll_create(void)
{
    int rc = wf_fault(WF_FAULT_EPOLL_CREATE);

    return rc < 0 ? rc : sys_result(epoll_create1(EPOLL_CLOEXEC));
}

int wf_sys_epoll_ctl(int epfd, int op, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event e = {.events = events, .data.u64 = data};
    int rc = op == EPOLL_CTL_ADD ? wf_fault(WF_FAULT_EPOLL_ADD) : 0;

    return rc < 0 ? rc : sys_result(epoll_ctl(epfd, op, fd, &e));
}

/* Kernels before 5.11 have no epoll_pwait2: round up to milliseconds there. */
static int sys_epoll_wait_ms(int epfd, struct epoll_event *events, int max, uint64_t timeout_ns)
{
    uint64_t ms = (timeout_ns + 999999) / 1000000;

    return sys_result(epoll_wait(epfd, events, max, ms > 86400000 ? 86400000 : (int)ms));
}

int wf_sys_epoll_wait(int epfd, struct epoll_event *events, int max, uint64_t timeout_ns)
{
    static struct wf_atomic_u32 no_pwait2;
    struct timespec ts;
    int rc = wf_fault(WF_FAULT_EPOLL_WAIT);

    if (rc < 0)
        return rc;
    if (timeout_ns == 0)
        return sys_result(epoll_wait(epfd, events, max, 0));
    if (timeout_ns == WF_NO_TIMEOUT)
        return sys_result(epoll_wait(epfd, events, max, -1));
    /* relaxed: a hint that saves a system call */
    if (wf_load_u32(&no_pwait2, WF_RELAXED))
        return sys_epoll_wait_ms(epfd, events, max, timeout_ns);
    ts = sys_timespec(timeout_ns);
#ifdef SYS_epoll_pwait2
    rc = sys_result(syscall(SYS_epoll_pwait2, epfd, events, max, &ts, NULL, 0));
#else
    (void)ts;
    rc = -ENOSYS;
#endif
    if (rc != -ENOSYS && rc != -EPERM)
        return rc;
    wf_store_u32(&no_pwait2, 1, WF_RELAXED);
    return sys_epoll_wait_ms(epfd, events, max, timeout_ns);
}

int wf_sys_eventfd(void)
{
    int rc = wf_fault(WF_FAULT_EVENTFD);

    return rc < 0 ? rc : sys_result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int wf_sys_eventfd_signal(int fd)
{
    uint64_t one = 1;
    int rc = wf_fault(WF_FAULT_EVENTFD_SIGNAL);

    return rc < 0 ? rc : sys_result(write(fd, &one, sizeof(one)));
}

int wf_sys_timerfd_create(void)
{
    int rc = wf_fault(WF_FAULT_TIMERFD);

    return rc < 0 ? rc : sys_result(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
}

int wf_sys_timerfd_set(int fd, uint64_t at_ns)
{
    struct itimerspec at = {.it_value = sys_timespec(at_ns)};
    int rc = wf_fault(WF_FAULT_TIMERFD_SET);

    return rc < 0 ? rc : sys_result(timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL));
}

int wf_sys_close(int fd)
{
    return sys_result(close(fd));
}

int wf_sys_socket(int domain, int type)
{
    int rc = wf_fault(WF_FAULT_SOCKET);

    return rc < 0 ? rc : sys_result(socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

int wf_sys_bind(int fd, const struct sockaddr *a, socklen_t size)
{
    int rc = wf_fault(WF_FAULT_BIND);

    return rc < 0 ? rc : sys_result(bind(fd, a, size));
}

int wf_sys_listen(int fd, int backlog)
{
    int rc = wf_fault(WF_FAULT_LISTEN);

    return rc < 0 ? rc : sys_result(listen(fd, backlog));
}

int wf_sys_accept(int fd, struct sockaddr *a, socklen_t *size)
{
    int rc = wf_fault(WF_FAULT_ACCEPT);

    return rc < 0 ? rc : sys_result(accept4(fd, a, size, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

int wf_sys_connect(int fd, const struct sockaddr *a, socklen_t size)
{
    int rc = wf_fault(WF_FAULT_CONNECT), real;

    if (rc < 0 && rc != -EINTR)
        return rc;
    /* Interrupted, a connection goes on being made: that answer comes after the call. */
    real = sys_result(connect(fd, a, size));
    return rc < 0 && real == -EINPROGRESS ? rc : real;
}

int wf_sys_shutdown(int fd, int how)
{
    int rc = wf_fault(WF_FAULT_SHUTDOWN);

    return rc < 0 ? rc : sys_result(shutdown(fd, how));
}

int wf_sys_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    int rc = wf_fault(WF_FAULT_SETSOCKOPT);

    return rc < 0 ? rc : sys_result(setsockopt(fd, level, name, value, size));
}

int wf_sys_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    int rc = wf_fault(WF_FAULT_GETSOCKOPT);

    return rc < 0 ? rc : sys_result(getsockopt(fd, level, name, value, size));
}

int wf_sys_getsockname(int fd, struct sockaddr *a, socklen_t *size)
{
    int rc = wf_fault(WF_FAULT_NAME);

    return rc < 0 ? rc : sys_result(getsockname(fd, a, size));
}

int wf_sys_getpeername(int fd, struct sockaddr *a, socklen_t *size)
{
    int rc = wf_fault(WF_FAULT_NAME);

    return rc < 0 ? rc : sys_result(getpeername(fd, a, size));
}

int wf_sys_if_index(const char *name)
{
    int rc = wf_fault(WF_FAULT_NAME);
    unsigned index;

    if (rc < 0)
        return rc;
    index = if_nametoindex(name);
    return index ? (int)index : sys_errno();
}

int wf_sys_set_nonblocking(int fd)
{
    int rc = wf_fault(WF_FAULT_NONBLOCK), flags;

    if (rc < 0)
        return rc;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return sys_errno();
    if (flags & O_NONBLOCK)
        return 0;
    return sys_result(fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

/* Not through recv and send: in the C library those are points of cancellation, which costs two more atomic
 * operations a call, and no thread of ours may be cancelled. */
ssize_t wf_sys_recv(int fd, void *buffer, size_t size)
{
    ssize_t rc = wf_fault(WF_FAULT_READ);

    size = wf_fault_size(WF_FAULT_READ, size);
    return rc < 0 ? rc : sys_count(syscall(SYS_recvfrom, fd, buffer, size, 0, NULL, NULL));
}

ssize_t wf_sys_send(int fd, const void *data, size_t size)
{
    ssize_t rc = wf_fault(WF_FAULT_WRITE);

    size = wf_fault_size(WF_FAULT_WRITE, size);
    return rc < 0 ? rc : sys_count(syscall(SYS_sendto, fd, data, size, MSG_NOSIGNAL, NULL, 0));
}

ssize_t wf_sys_readv(int fd, const struct iovec *parts, int count)
{
    ssize_t rc = wf_fault(WF_FAULT_READ);
    struct iovec one;

    parts = wf_fault_parts(WF_FAULT_READ, parts, &count, &one);
    return rc < 0 ? rc : sys_count(readv(fd, parts, count));
}

ssize_t wf_sys_sendv(int fd, const struct iovec *parts, int count)
{
    ssize_t rc = wf_fault(WF_FAULT_WRITE);
    struct msghdr m = {0};
    struct iovec one;

    m.msg_iov = wf_unconst(wf_fault_parts(WF_FAULT_WRITE, parts, &count, &one));
    m.msg_iovlen = (size_t)count;
    return rc < 0 ? rc : sys_count(sendmsg(fd, &m, MSG_NOSIGNAL));
}

ssize_t wf_sys_read(int fd, void *buffer, size_t size)
{
    ssize_t rc = wf_fault(WF_FAULT_READ);

    size = wf_fault_size(WF_FAULT_READ, size);
    return rc < 0 ? rc : sys_count(read(fd, buffer, size));
}

ssize_t wf_sys_write(int fd, const void *data, size_t size)
{
    ssize_t rc = wf_fault(WF_FAULT_WRITE);

    size = wf_fault_size(WF_FAULT_WRITE, size);
    return rc < 0 ? rc : sys_count(write(fd, data, size));
}

ssize_t wf_sys_writev(int fd, const struct iovec *parts, int count)
{
    ssize_t rc = wf_fault(WF_FAULT_WRITE);
    struct iovec one;

    parts = wf_fault_parts(WF_FAULT_WRITE, parts, &count, &one);
    return rc < 0 ? rc : sys_count(writev(fd, parts, count));
}

int wf_sys_sigaction(int number, const struct sigaction *set, struct sigaction *old)
{
    int rc = wf_fault(WF_FAULT_SIGACTION);

    return rc < 0 ? rc : sys_result(sigaction(number, set, old));
}

int wf_sys_sigaltstack(const stack_t *set, stack_t *old)
{
    int rc = wf_fault(WF_FAULT_SIGALTSTACK);

    return rc < 0 ? rc : sys_result(sigaltstack(set, old));
}

void wf_sys_signal_discard(const sigset_t *set)
{
    static const struct timespec now = {0};

    (void)sigtimedwait(set, NULL, &now);
}

int wf_sys_membarrier_register(void)
{
    int rc = wf_fault(WF_FAULT_MEMBARRIER_REGISTER);

    if (rc < 0)
        return rc;
    return sys_result(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
}

int wf_sys_membarrier(void)
{
    int rc = wf_fault(WF_FAULT_MEMBARRIER);

    if (rc < 0)
        return rc;
    return sys_result(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
}

int wf_sys_timer_slack(uint64_t ns)
{
    int rc = wf_fault(WF_FAULT_TIMER_SLACK);

    return rc < 0 ? rc : sys_result(prctl(PR_SET_TIMERSLACK, (unsigned long)ns, 0, 0, 0));
}

int wf_sys_random(void *buffer, size_t size)
{
    ssize_t n = wf_fault(WF_FAULT_RANDOM);

    if (n == 0)
        n = sys_count(getrandom(buffer, size, GRND_NONBLOCK));
    return n < 0 ? (int)n : (size_t)n == size ? 0 : -EAGAIN;
}

uint32_t wf_sys_thread_id(void)
{
    return (uint32_t)syscall(SYS_gettid);
}

/* One line about a thread. The monitor asks at times of its own, so no fault is planned for it. */
static bool sys_thread_read(uint32_t id, const char *name, char *text, size_t size)
{
    char path[64];
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/self/task/%u/%s", id, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, size - 1);
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* "running", or "35 0x7f.. (six arguments) sp pc", or "-1 sp pc". */
static bool sys_call_parse(const char *text, struct wf_sys_call *in)
{
    char *end;

    in->number = strtol(text, &end, 10);
    if (end == text)
        return false;
    for (size_t i = 0; i < wf_array_count(in->argument) && in->number >= 0; i++)
        in->argument[i] = strtoull(end, &end, 16);
    (void)strtoull(end, &end, 16); /* sp */
    in->pc = strtoull(end, &end, 16);
    return true;
}

bool wf_sys_thread_is_blocked(uint32_t id, struct wf_sys_call *in)
{
    char text[256];
    const char *state;

    *in = (struct wf_sys_call){.number = -1};
    if (sys_thread_read(id, "syscall", text, sizeof(text)))
        return sys_call_parse(text, in);
    /* Not in every kernel, and not where the process may not look into itself. */
    if (!sys_thread_read(id, "stat", text, sizeof(text)))
        return false;
    /* "12 (any name) S ...": the name may have brackets of its own */
    state = strrchr(text, ')');
    return state && state[1] == ' ' && (state[2] == 'S' || state[2] == 'D');
}

int wf_sys_thread_signal(uint32_t id, int number, void *value)
{
    siginfo_t info = {.si_signo = number, .si_code = SI_QUEUE};

    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_ptr = value;
    return sys_result(syscall(SYS_rt_tgsigqueueinfo, getpid(), id, number, &info));
}

unsigned wf_sys_file_mode(int fd)
{
    struct stat s;

    return fstat(fd, &s) == 0 ? s.st_mode : 0;
}

void wf_sys_thread_yield(void)
{
    (void)sched_yield();
}

int wf_sys_thread_create(pthread_t *thread, void *(*fn)(void *arg), void *arg)
{
    int rc = wf_fault(WF_FAULT_THREAD);

    return rc < 0 ? rc : -pthread_create(thread, NULL, fn, arg);
}

static FILE *sys_open(const char *path)
{
    return wf_fault(WF_FAULT_OPEN) < 0 ? NULL : fopen(path, "re");
}

/* The numbers at the beginning of a cgroup's file. Returns how many there are, at most max. */
static size_t sys_cgroup_read(const char *mount, const char *path, const char *name,
                              long long *numbers, size_t max)
{
    char text[CGROUP_PATH_MAX + 128];
    int size = snprintf(text, sizeof(text), "%s%s/%s", mount, path, name);
    size_t count = 0;
    FILE *f;

    if (size < 0 || (size_t)size >= sizeof(text))
        return 0;
    f = sys_open(text);
    if (!f)
        return 0;
    if (fgets(text, sizeof(text), f)) {
        char *at = text, *end;

        for (; count < max; count++, at = end) {
            numbers[count] = strtoll(at, &end, 10);
            if (end == at)
                break;
        }
    }
    (void)fclose(f);
    return count;
}

/* The quota of one cgroup, in processors, rounded up; UINT_MAX: none. By either version's files. */
static unsigned sys_cgroup_quota(const char *mount, const char *path)
{
    long long n[2]; /* time, per period of time; "max" or -1: as much as it likes */

    if (sys_cgroup_read(mount, path, "cpu.max", n, 2) < 2 &&
        (sys_cgroup_read(mount, path, "cpu.cfs_quota_us", &n[0], 1) < 1 ||
         sys_cgroup_read(mount, path, "cpu.cfs_period_us", &n[1], 1) < 1))
        return UINT_MAX;
    if (n[0] <= 0 || n[1] <= 0 || (n[0] - 1) / n[1] >= UINT_MAX)
        return UINT_MAX;
    return (unsigned)((n[0] - 1) / n[1]) + 1;
}

/* The smallest quota of a cgroup and of all above it. What is not there has none: the path may be
 * one outside the container, where the mount shows the container's own cgroup as its root. */
static unsigned sys_cgroup_least(const char *mount, char *path)
{
    unsigned least = UINT_MAX;

    for (;;) {
        unsigned here = sys_cgroup_quota(mount, path);
        char *last = strrchr(path, '/');

        if (here < least)
            least = here;
        if (!last)
            return least;
        *last = '\0';
    }
}

/* A line of the list, "number:controllers:path", cut at its colons. False: it is none. */
static bool sys_cgroup_parse(char *line, char **controllers, char **path)
{
    char *colon = strchr(line, ':'), *end;

    if (!colon)
        return false;
    *controllers = colon + 1;
    colon = strchr(*controllers, ':');
    if (!colon)
        return false;
    *colon = '\0';
    *path = colon + 1;
    end = strchr(*path, '\n');
    if (!end)
        end = strrchr(*path, '/'); /* a line too long: its last name is not whole */
    if (end)
        *end = '\0';
    /* "/": the root itself. "/..": outside of what this mount shows, but for the root. */
    if (strcmp(*path, "/") == 0 || strncmp(*path, "/..", 3) == 0)
        **path = '\0';
    return true;
}

/* Is "cpu" among these, as in "cpu,cpuacct"? */
static bool sys_cgroup_has_cpu(const char *controllers)
{
    const char *at = controllers;

    for (; (at = strstr(at, "cpu")) != NULL; at += 3)
        if ((at == controllers || at[-1] == ',') && (at[3] == '\0' || at[3] == ','))
            return true;
    return false;
}

unsigned wf_sys_cgroup_cpus(const char *list, const char *mount)
{
    char line[CGROUP_PATH_MAX], v1[128], *controllers, *path;
    unsigned least = sys_cgroup_quota(mount, "");
    FILE *f = sys_open(list);

    (void)snprintf(v1, sizeof(v1), "%s/cpu", mount);
    while (f && fgets(line, sizeof(line), f)) {
        unsigned here = UINT_MAX;

        if (!sys_cgroup_parse(line, &controllers, &path))
            continue;
        if (!*controllers) /* version 2 */
            here = sys_cgroup_least(mount, path);
        else if (sys_cgroup_has_cpu(controllers))
            here = sys_cgroup_least(v1, path);
        if (here < least)
            least = here;
    }
    if (f)
        (void)fclose(f);
    return least == UINT_MAX ? 0 : least;
}

unsigned wf_sys_cpu_count(void)
{
    unsigned quota = wf_sys_cgroup_cpus("/proc/self/cgroup", "/sys/fs/cgroup"), count = 1;
    cpu_set_t set;

    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        count = (unsigned)CPU_COUNT(&set);
    if (quota && quota < count)
        count = quota;
    return count ? count : 1;
}
