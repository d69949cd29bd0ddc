/* SPDX-License-Identifier: MIT */
/*
 * clock.h - the clocks of the machine: the monotonic one, raw ticks for statistics, and those of threads. What time
 * it is for a task, whose clock a test may have stopped, task/now.h says.
 *
 * Ticks are the cheapest counter of the processor (10 ns against 21 on x86-64). They are
 * converted to nanoseconds by a ratio measured at start, so they are good for lengths of time, not
 * for deadlines.
 */
#ifndef WF_BASE_CLOCK_H
#define WF_BASE_CLOCK_H

#include "base/compiler.h"

/* Nanoseconds on the monotonic clock. */
uint64_t wf_clock_now(void);

/* How long a thread of this process, by the kernel's number, has had a processor, ever. False: it is gone, or that is
 * not told here. */
bool wf_clock_of_thread(uint32_t id, uint64_t *ns);

/* Nanoseconds for a number of ticks. */
uint64_t wf_ticks_to_ns(uint64_t ticks);
uint64_t wf_ns_to_ticks(uint64_t ns);

/* Measure the ratio once per process; further calls return at once. */
void wf_ticks_calibrate(void);

#if defined(WF_MODEL)
uint64_t wf_ticks(void); /* the explorer's clock */
#else
WF_INLINE uint64_t wf_ticks(void)
{
# if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
# elif defined(__aarch64__)
    uint64_t v;

    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
    return v;
# else
    return wf_clock_now();
# endif
}
#endif

#endif
