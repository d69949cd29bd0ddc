/* SPDX-License-Identifier: MIT */
/*
 * syscall.h - what is known of the system calls that a thread may be found waiting in.
 */
#ifndef WF_SCHED_SYSCALL_H
#define WF_SCHED_SYSCALL_H

#include "base/sys.h"

/* "read"; NULL: one that is not in our table, or none. */
const char *wf_syscall_name(long number);

/* Does the call go on as if nothing had been, when a handler set with SA_RESTART has run? False where that is not
 * certain: then the thread must not be sent a signal. */
bool wf_syscall_restarts(const struct wf_sys_call *in);

#endif
