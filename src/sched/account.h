/* SPDX-License-Identifier: MIT */
/*
 * account.h - what each poll cost, for the task's and the worker's counters.
 *
 * IDEA     Reading the clock costs 10 ns, half of a short poll. So the clock is read once per group of polls, and
 *          groups are as small as keeps it below two parts in a hundred: polls of half a
 *          microsecond or more on average are timed one by one, exactly; shorter ones in
 *          groups of up to 32, whose time goes to the task that ends the group, with the mean as
 *          its longest. A group ends early when the worker reads the clock anyway. A single long poll
 *          among short ones is thus seen in full by the totals, and by the maximum if it repeats.
 * WHO      The worker that polls.
 */
#ifndef WF_SCHED_ACCOUNT_H
#define WF_SCHED_ACCOUNT_H

#include "base/clock.h"
#include "sched/worker.h"

#define WF_GROUP_MAX   32
#define WF_EXACT_TICKS 1024 /* about half a microsecond */

WF_INLINE void wf_account_max(struct wf_atomic_u32 *max, uint64_t ticks)
{
    uint64_t units = ticks >> 6;

    /* relaxed: a statistic with one writer */
    if (wf_unlikely(units > wf_load_u32(max, WF_RELAXED)))
        wf_store_u32(max, units > UINT32_MAX ? UINT32_MAX : (uint32_t)units, WF_RELAXED);
}

/* A task that was woken or spawned begins its poll. */
WF_INLINE void wf_account_begin(struct wf_worker *w, struct weft_task *t)
{
    /* relaxed: statistics with one writer; ready_at came with the task */
    uint64_t ready_at = wf_load_u64(&t->ready_at, WF_RELAXED);
    uint64_t delay = w->thread.poll_from - ready_at;

    if ((int64_t)delay > 0) {
        wf_count_u64(&t->delay, delay);
        wf_account_max(&t->delay_max, delay);
    }
}

/* The group ends here: charge it to t. */
WF_INLINE void wf_account_group(struct wf_worker *w, struct weft_task *t)
{
    uint64_t now = wf_ticks(), spent = now - w->thread.poll_from;
    uint32_t polls = w->group_size - w->group_left;
    uint64_t mean = polls > 1 ? spent / polls : spent;

    w->thread.poll_from = now;
    if (t) {
        wf_count_u64(&t->poll_time, spent);
        wf_account_max(&t->poll_max, mean);
    }
    w->poll_mean = w->poll_mean - w->poll_mean / 8 + mean / 8;
    w->group_size = w->poll_mean >= WF_EXACT_TICKS || mean >= WF_EXACT_TICKS
                        ? 1
                        : (uint32_t)(WF_EXACT_TICKS / (w->poll_mean + 1));
    if (w->group_size > WF_GROUP_MAX)
        w->group_size = WF_GROUP_MAX;
    if (w->group_size == 0)
        w->group_size = 1;
    w->group_left = w->group_size;
    w->thread.exact_clock = w->group_size == 1;
}

/* A poll has ended. Call before anyone else can run the task. */
WF_INLINE void wf_account_end(struct wf_worker *w, struct weft_task *t)
{
    wf_count_u64(&t->polls, 1);
    if (--w->group_left == 0)
        wf_account_group(w, t);
}

#endif
