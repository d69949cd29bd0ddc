/* SPDX-License-Identifier: MIT */
/*
 * syscall.c - the system calls that threads wait in: their names, and which of them a signal disturbs.
 *
 * IDEA     A table of what blocks, by the numbers of the processor that this is compiled for. By signal(7)
 *          sleeps, multiplexers and all that has a time limit answer -EINTR after a handler, whatever its flags; a
 *          transfer that has moved something ends short. What is left goes on by itself, and only
 *          that is called restarting here.
 */
#include "sched/syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>

/* How a call takes a handler that has run. */
enum syscall_kind {
    SYSCALL_STOPS,    /* it ends, by an error or short, or that is not known */
    SYSCALL_RESTARTS, /* it always goes on */
    SYSCALL_FUTEX,    /* if it has no time limit */
    SYSCALL_FCNTL,    /* if it waits for a lock on a file */
    SYSCALL_READ,     /* by its descriptor, the first argument */
    SYSCALL_RECVMSG,  /* and by its flags, the third one */
    SYSCALL_RECVFROM  /* the fourth */
};

struct syscall_entry {
    const char *name;
    long number;
    enum syscall_kind kind;
};

/* clang-format off */
#define CALL(name, kind) {#name, SYS_##name, SYSCALL_##kind},

static const struct syscall_entry syscalls[] = {
    CALL(read, READ) CALL(readv, READ) CALL(write, STOPS) CALL(writev, STOPS)
    CALL(pread64, STOPS) CALL(pwrite64, STOPS) CALL(preadv, STOPS) CALL(pwritev, STOPS)
    CALL(preadv2, STOPS) CALL(pwritev2, STOPS) CALL(sendfile, STOPS) CALL(splice, STOPS)
    CALL(tee, STOPS) CALL(vmsplice, STOPS) CALL(copy_file_range, STOPS)
    CALL(openat, STOPS) CALL(openat2, STOPS) CALL(close, STOPS) CALL(ioctl, STOPS)
    CALL(fsync, STOPS) CALL(fdatasync, STOPS) CALL(sync, STOPS) CALL(syncfs, STOPS)
    CALL(sync_file_range, STOPS) CALL(fallocate, STOPS) CALL(ftruncate, STOPS) CALL(truncate, STOPS)
    CALL(getdents64, STOPS) CALL(statx, STOPS) CALL(newfstatat, STOPS) CALL(unlinkat, STOPS)
    CALL(mkdirat, STOPS) CALL(renameat2, STOPS) CALL(linkat, STOPS) CALL(symlinkat, STOPS)
    CALL(readlinkat, STOPS) CALL(faccessat, STOPS) CALL(mount, STOPS) CALL(umount2, STOPS)
    CALL(flock, RESTARTS) CALL(fcntl, FCNTL)
    CALL(connect, STOPS) CALL(accept, READ) CALL(accept4, READ)
    CALL(recvfrom, RECVFROM) CALL(recvmsg, RECVMSG) CALL(recvmmsg, STOPS)
    CALL(sendto, STOPS) CALL(sendmsg, STOPS) CALL(sendmmsg, STOPS) CALL(shutdown, STOPS)
    CALL(nanosleep, STOPS) CALL(clock_nanosleep, STOPS) CALL(restart_syscall, STOPS)
    CALL(ppoll, STOPS) CALL(pselect6, STOPS) CALL(epoll_pwait, STOPS)
    CALL(futex, FUTEX) CALL(wait4, RESTARTS) CALL(waitid, RESTARTS)
    CALL(rt_sigtimedwait, STOPS) CALL(rt_sigsuspend, STOPS)
    CALL(msgrcv, STOPS) CALL(msgsnd, STOPS) CALL(semop, STOPS) CALL(semtimedop, STOPS)
    CALL(mq_timedsend, STOPS) CALL(mq_timedreceive, STOPS)
    CALL(io_getevents, STOPS) CALL(ptrace, STOPS) CALL(getrandom, STOPS)
    CALL(mmap, STOPS) CALL(munmap, STOPS) CALL(mremap, STOPS) CALL(mprotect, STOPS)
    CALL(madvise, STOPS) CALL(mlock, STOPS) CALL(mlockall, STOPS) CALL(msync, STOPS) CALL(brk, STOPS)
    CALL(clone, STOPS) CALL(execve, STOPS) CALL(membarrier, STOPS)
    /* not on every processor, or in every header */
#ifdef SYS_open
    CALL(open, STOPS)
#endif
#ifdef SYS_stat
    CALL(stat, STOPS) CALL(lstat, STOPS)
#endif
#ifdef SYS_unlink
    CALL(unlink, STOPS) CALL(rename, STOPS) CALL(mkdir, STOPS) CALL(rmdir, STOPS)
#endif
#ifdef SYS_access
    CALL(access, STOPS)
#endif
#ifdef SYS_poll
    CALL(poll, STOPS)
#endif
#ifdef SYS_select
    CALL(select, STOPS)
#endif
#ifdef SYS_epoll_wait
    CALL(epoll_wait, STOPS)
#endif
#ifdef SYS_epoll_pwait2
    CALL(epoll_pwait2, STOPS)
#endif
#ifdef SYS_pause
    CALL(pause, STOPS)
#endif
#ifdef SYS_fork
    CALL(fork, STOPS) CALL(vfork, STOPS)
#endif
#ifdef SYS_clone3
    CALL(clone3, STOPS)
#endif
#ifdef SYS_renameat
    CALL(renameat, STOPS)
#endif
#ifdef SYS_io_uring_enter
    CALL(io_uring_enter, STOPS)
#endif
#ifdef SYS_futex_waitv
    CALL(futex_waitv, STOPS)
#endif
};
/* clang-format on */

static const struct syscall_entry *syscall_find(long number)
{
    for (size_t i = 0; i < wf_array_count(syscalls); i++)
        if (syscalls[i].number == number)
            return &syscalls[i];
    return NULL;
}

const char *wf_syscall_name(long number)
{
    const struct syscall_entry *e = syscall_find(number);

    return e ? e->name : NULL;
}

static bool syscall_futex_restarts(const struct wf_sys_call *in)
{
    int op = (int)in->argument[1] & FUTEX_CMD_MASK;

    return (op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET) && in->argument[3] == 0;
}

/* A pipe, or a socket without a time limit and that is content with the first byte. */
static bool syscall_read_restarts(int fd)
{
    unsigned mode = wf_sys_file_mode(fd);
    struct timeval limit = {.tv_sec = 1};
    socklen_t size = sizeof(limit);
    int least = 0;

    if (S_ISFIFO(mode))
        return true;
    if (!S_ISSOCK(mode) || wf_sys_getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &size) < 0 ||
        limit.tv_sec || limit.tv_usec)
        return false;
    size = sizeof(least);
    return wf_sys_getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &least, &size) == 0 && least <= 1;
}

bool wf_syscall_restarts(const struct wf_sys_call *in)
{
    const struct syscall_entry *e = syscall_find(in->number);
    int fd = (int)in->argument[0];

    switch (e ? e->kind : SYSCALL_STOPS) {
    case SYSCALL_RESTARTS:
        return true;
    case SYSCALL_FUTEX:
        return syscall_futex_restarts(in);
    case SYSCALL_FCNTL:
        return in->argument[1] == F_SETLKW || in->argument[1] == F_OFD_SETLKW;
    case SYSCALL_READ:
        return syscall_read_restarts(fd);
    case SYSCALL_RECVMSG:
        return !(in->argument[2] & MSG_WAITALL) && syscall_read_restarts(fd);
    case SYSCALL_RECVFROM:
        return !(in->argument[3] & MSG_WAITALL) && syscall_read_restarts(fd);
    case SYSCALL_STOPS:
        break;
    }
    return false;
}
