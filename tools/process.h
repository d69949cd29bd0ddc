/* SPDX-License-Identifier: MIT */
/*
 * process.h - what a process costs: its CPU time and its memory, as /proc tells them.
 *
 * A process that cannot be looked at (pid 0, ended, not ours) costs 0.
 */
#ifndef TOOLS_PROCESS_H
#define TOOLS_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* CPU time of all its living threads, in ns. */
uint64_t process_cpu_ns(pid_t pid);

/* Resident bytes. */
uint64_t process_memory(pid_t pid);

#endif
