/* SPDX-License-Identifier: MIT */
/*
 * monitor.c - finds workers that are stuck in a poll, and has them relieved.
 *
 * IDEA     One thread looks at all workers: every 10 ms while there is work, every quarter of a millisecond for a
 *          second after a stall, and never while all sleep. Of a worker it reads what is written in any
 *          case: whether it is in a poll (inside, of the guard), and since when (poll_from). A
 *          poll that waits in the kernel (/proc says so) is stuck after stall_blocked; one that
 *          computes, or cannot be told apart, after stall_computing, or after stall_blocked if a task from the
 *          same place in the program was stuck before.
 * WHO      The monitor's thread, but wf_monitor_touch: workers; stop and join: who ends the runtime.
 * ORDER    Falling asleep: word, membarrier, a look at entered and parked_at of all workers. A worker that begins or
 *          wakes: entered or parked_at, then word. One of the two sees the other. Without membarrier there is no
 *          monitor.
 * TESTS    tests/api/test_stall.c
 */
#include "sched/monitor.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "sched/life.h"
#include "sched/relieve.h"
#include "sched/report.h"

#include <errno.h>

#define LOOK_NS  10000000u /* between two looks */
#define EAGER_NS 250000u   /* the same, while stalls are recent */
#define RECENT   4000u     /* looks: a second */

#define BLOCKING_NS 200000u /* what was said to block is stuck after that */

struct watch {
    weft_runtime *rt;
    unsigned eager;  /* looks left until it is calm again */
    unsigned stalls; /* to be reported */
    uint64_t parks;  /* of all workers, at the last look */
    bool short_of;   /* stand-ins are missing, and that was said */
    bool quiet;      /* nobody has stirred since the last look, and all sleep */
};

static struct wf_worker *monitor_worker(const weft_runtime *rt, unsigned i)
{
    return i < rt->workers ? &rt->worker[i] : &rt->relief.standin[i - rt->workers]->worker;
}

/* Does it sleep, or not work at all? relaxed: glances */
static bool monitor_is_parked(const struct wf_worker *w)
{
    return !wf_load_u32(&w->entered, WF_RELAXED) ||
           wf_load_u64(&w->seat->counters.parked_at, WF_RELAXED) != 0;
}

static bool monitor_all_parked(const weft_runtime *rt)
{
    for (unsigned i = 0; i < wf_runtime_seats(rt); i++)
        if (!monitor_is_parked(monitor_worker(rt, i)))
            return false;
    return true;
}

/* How long has it been in its poll? 0: in none. */
static uint64_t monitor_stuck_ns(const struct wf_worker *w, uint64_t ticks)
{
    const struct wf_seat *s = w->seat;
    uint64_t from;

    /* relaxed: glances; wf_relieve looks again, with a barrier */
    if (!wf_load_u32(&w->entered, WF_RELAXED) || wf_load_u32(&s->inside, WF_RELAXED) ||
        wf_load_u32(&s->taken, WF_RELAXED) != WF_SEAT_FREE)
        return 0;
    from = wf_load_u64(&w->thread.poll_from, WF_RELAXED);
    return (int64_t)(ticks - from) > 0 ? wf_ticks_to_ns(ticks - from) : 0;
}

static void monitor_look_at(struct watch *m, struct wf_worker *w, uint64_t ticks)
{
    const weft_config *c = &m->rt->set.config;
    struct wf_stall *stall = &w->stall;
    /* It was said to block: weft_blocking. */
    bool told = wf_load_u32(&w->thread.blocking, WF_RELAXED) != 0;
    uint64_t limit = told ? BLOCKING_NS : c->stall_blocked;

    stall->held_ns = monitor_stuck_ns(w, ticks);
    if (stall->held_ns < limit)
        return;
    stall->blocked = wf_sys_thread_is_blocked(wf_load_u32(&w->tid, WF_RELAXED), &stall->in);
    if (!stall->blocked && stall->held_ns < c->stall_computing &&
        !wf_report_known_site(m->rt->monitor.report, w)) {
        m->eager = m->eager ? m->eager : 1;
        return;
    }
    if (!wf_relieve(w))
        return;
    m->eager = RECENT;
    if (told)
        return;
    wf_count_u64(&m->rt->relief.stalls, 1);
    m->stalls++;
    stall->due = true;
}

/* Once others are at work: it may take a while. */
static void monitor_report(struct watch *m)
{
    weft_runtime *rt = m->rt;

    for (unsigned i = 0; i < wf_runtime_seats(rt) && m->stalls; i++) {
        struct wf_worker *w = monitor_worker(rt, i);

        if (!w->stall.due)
            continue;
        w->stall.due = false;
        m->stalls--;
        wf_report_stall(rt->monitor.report, w, w->stall.held_ns, w->stall.blocked, &w->stall.in);
    }
}

/* Nobody could be called. Said once for each time that it comes to this. */
static void monitor_missing(struct watch *m, unsigned missing)
{
    weft_runtime *rt = m->rt;

    if (missing && !m->short_of)
        /* relaxed: numbers that move */
        wf_log(
            "%u workers are stuck and no further thread can stand in (at work: %u, at most %u): tasks "
            "wait; see weft_config.max_standins and ulimit -u",
            wf_load_u32(&rt->relief.stuck, WF_RELAXED), wf_load_u32(&rt->relief.active, WF_RELAXED),
            rt->relief.max);
    m->short_of = missing != 0;
}

static void monitor_look(struct watch *m)
{
    weft_runtime *rt = m->rt;
    uint64_t ticks = wf_ticks(), parks = 0;
    struct wf_seat *home = rt->seats;

    for (unsigned i = 0; i < wf_runtime_seats(rt); i++) {
        struct wf_worker *w = monitor_worker(rt, i);

        monitor_look_at(m, w, ticks);
        parks += wf_load_u64(&w->seat->counters.parks, WF_RELAXED);
        /* A worker's: that of a stand-in is its own, and may change. */
        if (i < rt->workers && wf_load_u32(&w->seat->taken, WF_RELAXED) == WF_SEAT_RELIEVED)
            home = w->seat;
    }
    monitor_missing(m, wf_relief_balance(rt, home));
    monitor_report(m);
    m->quiet = parks == m->parks && monitor_all_parked(rt);
    m->parks = parks;
    if (m->eager)
        m->eager--;
}

/* Until a worker stirs. */
static void monitor_sleep(struct watch *m)
{
    struct wf_monitor *mon = &m->rt->monitor;
    uint32_t awake = WF_MONITOR_AWAKE;

    m->eager = 0;
    if (!wf_cas_u32(&mon->word, &awake, WF_MONITOR_ASLEEP, WF_RELAXED, WF_RELAXED))
        return;
    /* See ORDER. */
    if (wf_sys_membarrier() == 0 && monitor_all_parked(m->rt))
        wf_sys_futex_wait(&mon->word, WF_MONITOR_ASLEEP, WF_NO_TIMEOUT);
    awake = WF_MONITOR_ASLEEP;
    (void)wf_cas_u32(&mon->word, &awake, WF_MONITOR_AWAKE, WF_RELAXED, WF_RELAXED);
}

static void *monitor_thread(void *arg)
{
    struct watch m = {.rt = arg};
    struct wf_monitor *mon = &m.rt->monitor;

    (void)pthread_setname_np(pthread_self(), "weft-monitor");
    (void)wf_sys_timer_slack(1);
    /* relaxed: it is only told to go */
    while (wf_load_u32(&mon->word, WF_RELAXED) != WF_MONITOR_STOPPED) {
        monitor_look(&m);
        if (m.quiet)
            monitor_sleep(&m);
        else
            wf_sys_futex_wait(&mon->word, WF_MONITOR_AWAKE, m.eager ? EAGER_NS : LOOK_NS);
    }
    wf_runtime_put(m.rt);
    return NULL;
}

int wf_monitor_start(struct weft_runtime *rt)
{
    int rc;

    if (!rt->set.monitor)
        return 0;
    rt->monitor.report = wf_report_new();
    if (!rt->monitor.report)
        return -ENOMEM;
    wf_store_u32(&rt->monitor.word, WF_MONITOR_AWAKE, WF_RELAXED);
    rc = wf_thread_start(rt, &rt->monitor.handle, monitor_thread, rt);
    rt->monitor.started = rc == 0;
    return rc;
}

void wf_monitor_wake(struct weft_runtime *rt)
{
    uint32_t asleep = WF_MONITOR_ASLEEP;

    if (wf_cas_u32(&rt->monitor.word, &asleep, WF_MONITOR_AWAKE, WF_RELAXED, WF_RELAXED))
        wf_sys_futex_wake(&rt->monitor.word, 1);
}

void wf_monitor_stop(struct weft_runtime *rt)
{
    if (!rt->monitor.started)
        return;
    wf_store_u32(&rt->monitor.word, WF_MONITOR_STOPPED, WF_RELAXED);
    wf_sys_futex_wake(&rt->monitor.word, 1);
}

void wf_monitor_join(struct weft_runtime *rt)
{
    if (rt->monitor.started)
        (void)pthread_join(rt->monitor.handle, NULL);
}

void wf_monitor_release(struct weft_runtime *rt)
{
    wf_report_free(rt->monitor.report);
}

void wf_monitor_detach(struct weft_runtime *rt)
{
    if (rt->monitor.started)
        (void)pthread_detach(rt->monitor.handle);
}
