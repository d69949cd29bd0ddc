/* SPDX-License-Identifier: MIT */
/*
 * backtrace.h - where another thread of this process is, told by a signal that it is sent.
 *
 * IDEA     The handler runs on the thread itself, on its alternate stack, and unwinds what it interrupted
 *          into a buffer; who asked waits for that, a few milliseconds at most. The signal is
 *          SIGURG: it does nothing where it is not expected, debuggers pass it on, and the C library does
 *          not use it. Ours carry a value by which they are known; all others go to the handler that was
 *          there before.
 * WHO      install, uninstall: any thread. One asks at a time; another is answered nothing.
 * INVARIANTS
 *     T1   The handler makes no system call, allocates nothing and takes no lock of ours.
 *     T2   A signal that comes when nobody waits any more changes nothing.
 *     T3   As V2 of overflow.h: a handler that somebody put over ours is never taken away.
 * REJECTED A real-time signal: without a handler it ends the process, and one may still be on its way when ours goes.
 *          SIGPROF and SIGUSR1: programs have uses for them.
 * TESTS    tests/api/test_report.c, tests/unit/test_backtrace.c
 */
#ifndef WF_FIBER_BACKTRACE_H
#define WF_FIBER_BACKTRACE_H

#include "base/compiler.h"

#define WF_BACKTRACE_MAX 48

/* Counted. 0, or a negative errno. */
int wf_backtrace_install(void);
void wf_backtrace_uninstall(void);

/*
 * The innermost frames of a thread: where it is, then return addresses. Installed; the thread has an alternate
 * stack. Returns how many there are; 0: it did not answer in time, or cannot be unwound.
 */
unsigned wf_backtrace_of_thread(uint32_t id, void *frames[WF_BACKTRACE_MAX], uint64_t limit_ns);

#endif
