/* SPDX-License-Identifier: MIT */
/*
 * account.h - what each poll cost, for the task's and the worker's counters.
 *
 * IDEA     Reading the clock costs 10 ns, half of a short poll. So a worker that has run short polls
 *          without a pause, WF_SHORT_RUN of them since it last slept or met a long one, reads it
 *          once per group of polls, as large as keeps the cost below two parts in a hundred; the group's
 *          time goes to the task that ends it, with the mean as its longest. All other polls, of
 *          half a microsecond and more or on a worker that has time to sleep, are timed
 *          one by one, exactly. What is inexact is thus a long poll that comes up among a saturation
 *          of short ones, and only who is charged for it: the sum is right, and from then on
 *          polls are timed exactly again.
 * WHO      The worker that polls.
 */
#ifndef WF_SCHED_ACCOUNT_H
#define WF_SCHED_ACCOUNT_H

#include "base/clock.h"
#include "sched/worker.h"

#define WF_GROUP_MAX 256
#define WF_SHORT_RUN 256
#define WF_EXACT_NS  500 /* polls of this length bear the clock's cost */
/* A group is so many times longer: keeping the books at its end costs 25 ns. */
#define WF_GROUP_EXACT 8

WF_INLINE void wf_account_max(struct wf_atomic_u32 *max, uint64_t ticks)
{
    uint64_t units = ticks >> 6;

    /* relaxed: a statistic with one writer */
    if (wf_unlikely(units > wf_load_u32(max, WF_RELAXED)))
        wf_store_u32(max, units > UINT32_MAX ? UINT32_MAX : (uint32_t)units, WF_RELAXED);
}

/*
 * A task that was woken or spawned begins its poll. Of a group only the first one's wait is read, and stands for
 * all of the group's; single polls are groups of one.
 */
WF_INLINE void wf_account_begin(struct wf_worker *w, struct weft_task *t)
{
    /* relaxed: statistics with one writer; ready_at came with the task */
    uint64_t ready_at = wf_load_u64(&t->ready_at, WF_RELAXED);
    uint64_t delay = wf_thread_poll_from(&w->thread) - ready_at;

    if ((int64_t)delay > 0) {
        wf_count_u64(&t->delay, delay * w->group_size);
        wf_account_max(&t->delay_max, delay);
    }
}

/* The group ends here: charge it to t. */
WF_INLINE void wf_account_group(struct wf_worker *w, struct weft_task *t)
{
    uint64_t now = wf_ticks(), spent = now - wf_thread_poll_from(&w->thread);
    uint32_t polls = w->group_size - w->group_left;
    uint64_t mean = polls > 1 ? spent / polls : spent;

    wf_store_u64(&w->thread.poll_from, now, WF_RELAXED);
    wf_count_u64(&w->seat->counters.polls, polls);
    wf_count_u64(&t->poll_time, spent);
    wf_account_max(&t->poll_max, mean);
    w->poll_mean = w->poll_mean - w->poll_mean / 8 + mean / 8;
    w->short_polls = mean < w->rt->tick_exact ? w->short_polls + polls : 0;
    w->group_size = 1;
    if (w->short_polls >= WF_SHORT_RUN && w->poll_mean < w->rt->tick_exact)
        w->group_size = (uint32_t)(WF_GROUP_EXACT * w->rt->tick_exact / (w->poll_mean + 1));
    if (w->group_size > WF_GROUP_MAX)
        w->group_size = WF_GROUP_MAX;
    if (wf_unlikely(w->group_size == 0))
        w->group_size = 1;
    w->group_left = w->group_size;
    w->thread.exact_clock = w->group_size == 1;
}

/* The worker begins, or has slept: time starts anew, exactly. */
WF_INLINE void wf_account_restart(struct wf_worker *w)
{
    wf_count_u64(&w->seat->counters.polls, w->group_size - w->group_left);
    wf_store_u64(&w->thread.poll_from, wf_ticks(), WF_RELAXED);
    w->thread.exact_clock = true;
    w->group_size = w->group_left = 1;
    w->short_polls = 0;
}

/*
 * What w is about to poll was not here before: another thread may have polled it until a moment ago, and what passed
 * here before that is not the task's. In the middle of a group there is no telling the two apart.
 */
WF_INLINE void wf_account_arrived(struct wf_worker *w)
{
    if (w->thread.exact_clock)
        wf_store_u64(&w->thread.poll_from, wf_ticks(), WF_RELAXED);
}

/* Polls of t have ended, no more than are left of the group. Call before anyone else can run the task. The seat's own
 * count follows with the group. */
WF_INLINE void wf_account_end(struct wf_worker *w, struct weft_task *t, uint32_t polls)
{
    wf_count_u64(&t->polls, polls);
    w->group_left -= polls;
    if (w->group_left == 0)
        wf_account_group(w, t);
}

#endif
