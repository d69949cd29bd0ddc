/* SPDX-License-Identifier: MIT */
/* clock.c - reading the monotonic clock and those of threads, and the length of a tick. */
#include "base/clock.h"

#include "base/atomic.h"
#include "base/fault.h"

#include <time.h>

#define CALIBRATE_NS 200000 /* long enough for a ratio good to one part in a thousand */
#define PAIR_TICKS   1000   /* a pair of readings that took longer was interrupted */
#define PAIR_TRIES   100

__extension__ typedef unsigned __int128 clock_u128;

/* Nanoseconds per tick, as a fixed-point number with 32 bits behind the point; 0: not measured. */
static struct wf_atomic_u64 ticks_ratio;

uint64_t wf_clock_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool wf_clock_of_thread(uint32_t id, uint64_t *ns)
{
    /* By the thread's number, not its handle, which must not be used once it has ended. The kernel's encoding: the
     * number's complement, a bit for "a thread's", and the clock that scheduling keeps. */
    clockid_t clock = (clockid_t)(~id << 3 | 4u | 2u);
    struct timespec ts;

    if (wf_fault(WF_FAULT_THREAD_CPU) < 0 || clock_gettime(clock, &ts) != 0)
        return false;
    *ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    return true;
}

/* Both clocks at one moment: tried again when the thread was interrupted between the readings. */
static void ticks_pair(uint64_t *ns, uint64_t *ticks)
{
    for (int i = 0; i < PAIR_TRIES; i++) {
        uint64_t before = wf_ticks();

        *ns = wf_clock_now();
        *ticks = wf_ticks();
        if (*ticks - before < PAIR_TICKS)
            return;
    }
}

void wf_ticks_calibrate(void)
{
    uint64_t from_ns, from_ticks, ns, ticks;

    /* relaxed: the value stands alone, and measuring twice does no harm */
    if (wf_load_u64(&ticks_ratio, WF_RELAXED))
        return;
    ticks_pair(&from_ns, &from_ticks);
    do {
        ticks_pair(&ns, &ticks);
    } while (ns - from_ns < CALIBRATE_NS || ticks == from_ticks);
    ns -= from_ns;
    ticks -= from_ticks;
    wf_store_u64(&ticks_ratio, (uint64_t)(((clock_u128)ns << 32) / ticks), WF_RELAXED);
}

uint64_t wf_ticks_to_ns(uint64_t ticks)
{
    return (uint64_t)(((clock_u128)ticks * wf_load_u64(&ticks_ratio, WF_RELAXED)) >> 32);
}

uint64_t wf_ns_to_ticks(uint64_t ns)
{
    uint64_t ratio = wf_load_u64(&ticks_ratio, WF_RELAXED);

    return ratio ? (uint64_t)(((clock_u128)ns << 32) / ratio) : ns;
}
