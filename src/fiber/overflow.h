/* SPDX-License-Identifier: MIT */
/*
 * overflow.h - a fiber that runs into its guard says so by name before the process dies.
 *
 * IDEA     A SIGSEGV and SIGBUS handler on an alternate stack asks the upper layer whether
 *          the address lies in the guard of the fiber that runs on this thread. If so:
 *          a line on stderr, then abort(). If not, the fault is none of ours and goes to
 *          the handler that was there before.
 * WHO      install, uninstall, set_describe: any thread. thread_enter, thread_leave: each thread
 *          for itself; calls nest.
 * INVARIANTS
 *     V1   While installed, every fault that is not an overflow ends as it would have without us.
 *     V2   A handler that somebody put over ours is never taken away: uninstall then leaves
 *          ours in the chain, where it does no harm.
 * LOCKS    WF_RANK_LEAF, never in the handler.
 * TESTS    tests/unit/test_stack.c
 */
#ifndef WF_FIBER_OVERFLOW_H
#define WF_FIBER_OVERFLOW_H

#include "base/compiler.h"

/* Any pointer may be NULL. */
struct wf_overflow_report {
    const char *task_name;
    const char *site;
    uint64_t task_id;
    size_t stack_size;
};

/* True, and *out filled in, if addr lies in the guard of the fiber running on this thread. Runs in
 * the signal handler: only what is async-signal-safe. */
typedef bool wf_overflow_describe(const void *addr, struct wf_overflow_report *out);

/* Once per process; again with the same function does nothing. */
void wf_overflow_set_describe(wf_overflow_describe *describe);

/* Counted. 0, or a negative errno. */
int wf_overflow_install(void);
void wf_overflow_uninstall(void);

/* Give the calling thread an alternate signal stack, unless it has one that is as large. 0, or a
 * negative errno. */
int wf_overflow_thread_enter(void);
void wf_overflow_thread_leave(void);

#endif
