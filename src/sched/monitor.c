/* SPDX-License-Identifier: MIT */
/*
 * monitor.c - finds workers that are stuck in a poll, has them relieved, and tells of it.
 *
 * IDEA     One thread looks at all workers: every 10 ms while there is work, every quarter of a millisecond for a
 *          second after a stall, and never while all sleep. Of a worker it reads what is written in any
 *          case: whether it is in a poll (inside, of the guard), and since when (poll_from); of a poll that lasts
 *          also its thread's clock, and whether that waits in the kernel (/proc). A poll that waits there, and did
 *          so for most of the time since the last look, is stuck after stall_blocked; one that
 *          computes, or cannot be told apart, after stall_computing, or after stall_blocked if a task from the
 *          same place in the program was stuck before.
 *          A poll that makes tasks all the time is spared as long as another worker is free, which takes them as
 *          they come, or nobody but them waits, for twenty times that limit: a further thread would
 *          only take the processor, and the tasks' cache lines, from those that work.
 * TELLING  Relieved is a worker by the clock on the wall; what is told of is the task's doing. A thread that waits for
 *          a processor looks like one that computes. So that is told only once its own clock has gone on by the limit
 *          since it was first looked at: each poll that blocks, and each that computes for long enough, is told of
 *          once, all others never.
 * WHO      The monitor's thread, but wf_monitor_touch: workers; stop and join: who ends the runtime.
 * ORDER    Falling asleep: word, membarrier, a look at entered and parked_at of all workers. A worker that begins or
 *          wakes: entered or parked_at, then word. One of the two sees the other. Without membarrier there is no
 *          monitor.
 * TESTS    tests/api/test_stall.c, tests/api/test_report.c, tests/unit/test_stall.c, tests/model/test_monitor.c
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
#define SOON     40u       /* looks: while it is not known whether it is a stall */

#define BLOCKING_NS 200000u /* what was said to block is stuck after that */
#define PATIENCE    20u /* times stall_computing: a poll that only makes tasks is spared so long */

struct watch {
    weft_runtime *rt;
    unsigned eager;   /* looks left until it is calm again */
    uint64_t next_ns; /* until the next look, at most */
    unsigned free;    /* workers that are not stuck */
    unsigned untold;  /* relieved workers that are to be told of */
    uint64_t parks;   /* of all workers, at the last look */
    bool short_of;    /* stand-ins are missing, and that was said */
    bool quiet;       /* nobody has stirred since the last look, and all sleep */
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

/* Could it be at the next task soon? */
static bool monitor_is_free(const struct watch *m, const struct wf_worker *w, uint64_t ticks)
{
    /* relaxed: glances */
    return wf_load_u32(&w->entered, WF_RELAXED) &&
           wf_load_u32(&w->seat->taken, WF_RELAXED) != WF_SEAT_RELIEVED &&
           monitor_stuck_ns(w, ticks) < m->rt->set.config.stall_computing;
}

/* Look again after so long, though it is calm. */
static void monitor_next(struct watch *m, uint64_t ns)
{
    if (ns < EAGER_NS)
        ns = EAGER_NS;
    if (ns < m->next_ns)
        m->next_ns = ns;
}

/* False: this is the first look at that poll. */
static bool monitor_measure(struct wf_worker *w, uint64_t ticks)
{
    const struct wf_seat *s = w->seat;
    /* relaxed, all of them: glances */
    uint32_t id = wf_load_u32(&w->tid, WF_RELAXED);
    struct wf_look look = {.poll = wf_thread_poll_from(&w->thread),
                           .at_ns = wf_ticks_to_ns(ticks),
                           .queued = wf_load_u64(&s->ready.tail, WF_RELAXED) +
                                     wf_load_u64(&s->backlog.tail, WF_RELAXED) +
                                     wf_load_u64(&s->pins.queued, WF_RELAXED),
                           .injected = wf_load_u64(&s->counters.overflows, WF_RELAXED),
                           .slot = wf_seat_lifo(s)};
    struct wf_sys_call in;
    bool again;

    look.clocked = wf_clock_of_thread(id, &look.cpu_ns);
    look.waits = wf_sys_thread_is_blocked(id, &in);
    again = wf_stall_look(&w->stall, &look);
    w->stall.in = in;
    return again;
}

/* Was the oldest task that lies on a seat, which the caller has taken, made before that? */
static bool monitor_older_waits(const struct wf_seat *s, uint64_t from)
{
    struct weft_task *oldest;
    bool older;

    /* A thief may have it, and it may be gone; but nobody makes another use of the chunk then. */
    wf_slab_hold();
    oldest = wf_deque_peek(&s->backlog, 0);
    if (oldest && !wf_task_try_retain(oldest))
        oldest = NULL;
    wf_slab_let_go();
    if (!oldest)
        return false;
    /* relaxed: from when it was made, and who made it left the guard since */
    older = (int64_t)(wf_load_u64(&oldest->ready_at, WF_RELAXED) - from) < 0;
    wf_task_release(oldest);
    return older;
}

/*
 * Do none but tasks that this poll has made wait for somebody to be free? Those that it had to inject, for instance as
 * its seat was taken just for this question, are among all that were injected.
 */
static bool monitor_nobody_else_waits(const weft_runtime *rt, struct wf_worker *w)
{
    struct wf_seat *s = w->seat;
    uint64_t now = wf_clock_now();
    bool nobody;

    if (wf_inject_len(&rt->inject) > w->stall.injected)
        return false;
    for (unsigned i = 0; i < rt->workers; i++)
        /* relaxed: what comes a moment later is seen at the next look */
        if (wf_wheel_next(&rt->seats[i].wheel) <= now || wf_deque_len(&rt->seats[i].ready) ||
            wf_load_u32(&rt->seats[i].poller.watched, WF_RELAXED))
            return false;
    /* It is in the middle of a spawn: asked again at the next look. */
    if (!wf_seat_take(s))
        return true;
    nobody = !wf_seat_lifo(s) && !monitor_older_waits(s, w->stall.last.poll);
    wf_seat_give_back(s);
    return nobody;
}

/* It has lasted, but makes tasks all the time: may it go on alone? */
static bool monitor_spares(const struct watch *m, struct wf_worker *w, uint64_t held, bool free)
{
    const struct wf_stall *stall = &w->stall;

    return stall->produces && (free || (held < PATIENCE * m->rt->set.config.stall_computing &&
                                        monitor_nobody_else_waits(m->rt, w)));
}

/* It was relieved: is there something to tell by now? */
static void monitor_look_at_relieved(struct watch *m, struct wf_worker *w, uint64_t ticks)
{
    struct wf_stall *stall = &w->stall;

    if (!stall->untold)
        return;
    stall->untold = monitor_measure(w, ticks);
    if (!stall->untold)
        return;
    m->untold++;
    if (stall->computed_ns < stall->limit_ns)
        monitor_next(m, stall->limit_ns - stall->computed_ns);
}

static void monitor_look_at(struct watch *m, struct wf_worker *w, uint64_t ticks)
{
    const weft_config *c = &m->rt->set.config;
    struct wf_stall *stall = &w->stall;
    /* It was said to block: weft_blocking. */
    bool told = wf_load_u32(&w->thread.blocking, WF_RELAXED) != 0, before;
    uint64_t held = monitor_stuck_ns(w, ticks), limit = told ? BLOCKING_NS : c->stall_blocked;

    if (wf_load_u32(&w->seat->taken, WF_RELAXED) == WF_SEAT_RELIEVED) {
        monitor_look_at_relieved(m, w, ticks);
        return;
    }
    stall->untold = false;
    if (held < EAGER_NS && held < limit)
        return;
    before = monitor_measure(w, ticks);
    if (held < limit)
        return;
    if (!told && !stall->blocked && held < c->stall_computing &&
        !wf_report_known_site(m->rt->monitor.report, w)) {
        monitor_next(m, c->stall_computing - held);
        return;
    }
    if (!told && !before) {
        monitor_next(m, EAGER_NS);
        return;
    }
    if (!told && monitor_spares(m, w, held, m->free > monitor_is_free(m, w, ticks))) {
        monitor_next(m, c->stall_computing);
        return;
    }
    if (!wf_relieve(w, stall->last.poll))
        return;
    m->eager = m->eager < SOON ? SOON : m->eager;
    if (told)
        return;
    stall->limit_ns = held < c->stall_computing ? c->stall_blocked : c->stall_computing;
    stall->untold = true;
    m->untold++;
}

/* Once others are at work: it may take a while. */
static void monitor_tell(struct watch *m, uint64_t ticks)
{
    weft_runtime *rt = m->rt;

    for (unsigned i = 0; i < wf_runtime_seats(rt) && m->untold; i++) {
        struct wf_worker *w = monitor_worker(rt, i);
        struct wf_stall *stall = &w->stall;

        if (!stall->untold)
            continue;
        m->untold--;
        if (!stall->blocked && stall->computed_ns < stall->limit_ns)
            continue;
        stall->untold = false;
        m->eager = RECENT;
        wf_count_u64(&rt->relief.stalls, 1);
        wf_report_stall(rt->monitor.report, w, wf_ticks_to_ns(ticks - stall->last.poll),
                        stall->blocked, &stall->in);
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

    m->next_ns = LOOK_NS;
    m->untold = m->free = 0;
    for (unsigned i = 0; i < wf_runtime_seats(rt); i++)
        m->free += monitor_is_free(m, monitor_worker(rt, i), ticks);
    for (unsigned i = 0; i < wf_runtime_seats(rt); i++) {
        struct wf_worker *w = monitor_worker(rt, i);

        monitor_look_at(m, w, ticks);
        parks += wf_load_u64(&w->seat->counters.parks, WF_RELAXED);
    }
    monitor_missing(m, wf_relief_balance(rt));
    monitor_tell(m, ticks);
    m->quiet = parks == m->parks && monitor_all_parked(rt);
    m->parks = parks;
    if (m->eager)
        m->eager--;
}

void wf_monitor_sleep(struct weft_runtime *rt)
{
    struct wf_monitor *mon = &rt->monitor;
    uint32_t awake = WF_MONITOR_AWAKE;

    if (!wf_cas_u32(&mon->word, &awake, WF_MONITOR_ASLEEP, WF_RELAXED, WF_RELAXED))
        return;
    /* See ORDER. */
    if (wf_sys_membarrier() == 0 && monitor_all_parked(rt))
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
        if (m.quiet) {
            m.eager = 0;
            wf_monitor_sleep(m.rt);
        } else {
            wf_sys_futex_wait(&mon->word, WF_MONITOR_AWAKE, m.eager ? EAGER_NS : m.next_ns);
        }
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
