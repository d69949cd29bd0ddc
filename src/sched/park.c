/* SPDX-License-Identifier: MIT */
/*
 * park.c - a worker without work: searching, sleeping, being woken.
 *
 * IDEA     With several workers all sleepers wait on the hub: one event there wakes one of them. The
 *          alarm is set to the earliest timer of any seat, so a timer that falls due on a seat whose
 *          worker is busy is fired by an idle one. With one worker it sleeps on its own poller until
 *          its own next timer; if its clock stands still, not at all: see clock.c.
 * INVARIANTS
 *     A1   While anybody sleeps, the alarm is no later than the earliest timer of any seat, or about
 *          to be lowered. Who arms an earlier timer publishes it, passes a full fence and looks for
 *          sleepers (wf_worker_alarm); who goes to sleep says so, passes a full fence and looks at all
 *          wheels (park_set_alarm). One of the two sees the other.
 *     P2   of idle.c: between saying that it sleeps and sleeping, a worker looks at all queues.
 *     P4   A stop reaches all: it is stored, then signalled, and whoever leaves signals the next.
 * STEPS    of P2, P3, P4, W4 (worker.c), A1, and E1 and E2 (epoll.c) are lettered, as P2.a, here and in the model
 *          of them, tests/promela/; see docs/design/007-park-model.md.
 */
#include "base/clock.h"
#include "base/sys.h"
#include "sched/account.h"
#include "sched/clock.h"
#include "sched/migrate.h"
#include "sched/monitor.h"
#include "sched/single.h"

#define STEAL_READY_MAX   128
#define STEAL_BACKLOG_MAX 32
#define STEAL_ROUNDS      2

void wf_worker_notify(struct wf_worker *w)
{
    /* P2.h: a token and a signal: whoever wakes next takes the token */
    if (wf_idle_notify(&w->rt->idle))
        wf_hub_signal(&w->rt->hub);
}

void wf_worker_alarm(struct wf_worker *w)
{
    uint64_t next = wf_wheel_next(&w->home->wheel);

    /* A1.d: pairs with park_set_alarm */
    wf_fence_seq_cst();
    /* A1.e: nobody: who goes to sleep looks */
    if (wf_idle_any_asleep(&w->rt->idle))
        wf_hub_alarm_lower(&w->rt->hub, next);
}

unsigned wf_worker_fire_timers(struct wf_worker *w, struct wf_seat *seat, uint64_t now)
{
    unsigned n = wf_clock_stands(w->rt) ? wf_wheel_advance_exactly(&seat->wheel, now)
                                        : wf_wheel_advance(&seat->wheel, now);

    if (n)
        wf_count_u64(&w->seat->counters.timers_fired, n);
    return n;
}

unsigned wf_worker_harvest(struct wf_worker *w, struct wf_poller *p)
{
    unsigned n = wf_poller_harvest(p, p != &w->home->poller);

    if (n)
        wf_count_u64(&w->seat->counters.io_events, n);
    return n;
}

/* Take from one victim: half of its woken tasks, or some of its oldest new ones. */
static struct weft_task *steal_from(struct wf_worker *w, struct wf_seat *victim)
{
    struct weft_task *got[STEAL_READY_MAX];
    bool again = false;
    unsigned n;

    /* N1 of single.c */
    wf_debug_assert(victim->ready.shared && victim->backlog.shared);
    n = wf_deque_steal_half(&victim->ready, got, STEAL_READY_MAX);
    if (n) {
        wf_count_u64(&w->seat->counters.steal_operations, 1);
        wf_count_u64(&w->seat->counters.steals, n);
        for (unsigned i = 1; i < n; i++)
            wf_worker_push_ready(w, got[i]);
        return got[0];
    }
    n = (unsigned)((wf_deque_len(&victim->backlog) + 1) / 2);
    if (n == 0)
        return NULL;
    if (n > STEAL_BACKLOG_MAX)
        n = STEAL_BACKLOG_MAX;
    got[0] = wf_deque_steal_one(&victim->backlog, &again);
    if (!got[0])
        return NULL;
    wf_count_u64(&w->seat->counters.steal_operations, 1);
    wf_count_u64(&w->seat->counters.steals, 1);
    while (--n) {
        struct weft_task *t = wf_deque_steal_one(&victim->backlog, &again);

        if (!t)
            break;
        wf_count_u64(&w->seat->counters.steals, 1);
        if (!wf_deque_push(&w->seat->backlog, t))
            wf_inject_push(&w->rt->inject, t);
    }
    return got[0];
}

struct weft_task *wf_worker_steal(struct wf_worker *w)
{
    struct weft_runtime *rt = w->rt;

    if (!w->searching) {
        if (!wf_idle_search_begin(&rt->idle))
            return NULL;
        w->searching = true;
    }
    for (int round = 0; round < STEAL_ROUNDS; round++) {
        unsigned seats = wf_runtime_seats(rt), at = wf_rand_below(&w->seat->rand, seats);

        for (unsigned i = 0; i < seats; i++, at++) {
            struct wf_seat *victim;
            struct weft_task *t;

            if (at == seats)
                at = 0;
            victim = wf_runtime_seat(rt, at);
            if (victim == w->seat)
                continue;
            t = steal_from(w, victim);
            if (t)
                return t;
        }
    }
    return NULL;
}

bool wf_worker_work_waits(const struct weft_runtime *rt, const struct wf_seat *own)
{
    /* P2.i and P2.j: the looks. The fence is the caller's. */
    if (wf_inject_len(&rt->inject))
        return true;
    for (unsigned i = 0; i < wf_runtime_seats(rt); i++) {
        const struct wf_seat *s = wf_runtime_seat(rt, i);

        if (wf_deque_len(&s->ready) || wf_deque_len(&s->backlog) || wf_migrate_waits(s, own))
            return true;
    }
    return false;
}

/* Is there anything that this worker could do instead of sleeping? The fence is the one of wf_idle_sleep_begin. */
static bool park_work_visible(const struct wf_worker *w)
{
    /* P5.g: the look at what it alone can do */
    return wf_runtime_stopped(w->rt) || wf_worker_work_waits(w->rt, w->seat) ||
           wf_pins_wait(&w->seat->pins);
}

static uint64_t park_next_timer(const struct weft_runtime *rt)
{
    uint64_t next = WEFT_FOREVER;

    for (unsigned i = 0; i < rt->workers; i++) {
        /* A1.f: the look */
        uint64_t at = wf_wheel_next(&rt->seats[i].wheel);

        if (at < next)
            next = at;
    }
    return next;
}

/* A1. The fence is the one of wf_idle_sleep_begin. Returns until when one may sleep: for ever, as the alarm
 * sees to the rest, or until the next timer, if the alarm would not be set. */
static uint64_t park_set_alarm(struct weft_runtime *rt)
{
    uint64_t next = park_next_timer(rt);

    if (next == WEFT_FOREVER)
        return WEFT_FOREVER;
    wf_hub_alarm_lower(&rt->hub, next);
    return wf_likely(wf_hub_alarm(&rt->hub) <= next) ? WEFT_FOREVER : next;
}

void wf_worker_alarm_all(struct weft_runtime *rt)
{
    (void)park_set_alarm(rt);
}

static uint64_t park_timeout(uint64_t next, uint64_t until_ns)
{
    uint64_t at = next < until_ns ? next : until_ns, now, wash_at = wf_stack_pool_wash_at();

    if (wf_unlikely(wash_at < at))
        at = wash_at;

    if (at == WEFT_FOREVER)
        return WF_NO_TIMEOUT;
    now = wf_clock_now();
    return at > now ? at - now : 0;
}

/* The timers of all seats that are due. Returns the number fired. */
static unsigned park_fire_due(struct wf_worker *w)
{
    struct weft_runtime *rt = w->rt;
    unsigned fired = 0;
    uint64_t now;

    if (park_next_timer(rt) == WEFT_FOREVER)
        return 0;
    now = wf_worker_now(w);
    for (unsigned i = 0; i < rt->workers; i++)
        if (wf_wheel_next(&rt->seats[i].wheel) <= now || wf_clock_stands(rt))
            fired += wf_worker_fire_timers(w, &rt->seats[i], now);
    return fired;
}

/* Awake: take what is due. Returns the number of tasks that may have become ready. */
static unsigned park_collect(struct wf_worker *w, const struct wf_hub_wake *wake)
{
    struct weft_runtime *rt = w->rt;
    unsigned woken = 0;

    for (unsigned i = 0; i < wake->pollers; i++)
        woken += wf_worker_harvest(w, wake->ready[i]);
    if (wake->alarm) {
        wf_hub_alarm_clear(&rt->hub);
        /* A1.g: whoever saw the old alarm and left it so has published its timer before */
        wf_fence_seq_cst();
    }
    woken += park_fire_due(w);
    /* A1.h: for those who sleep on */
    if (wake->alarm && wf_idle_any_asleep(&rt->idle))
        (void)park_set_alarm(rt);
    return woken;
}

/* Look for work a little longer before sleeping, if the last sleep was that short. */
static bool park_spin(struct wf_worker *w)
{
    uint64_t window = w->rt->set.config.spin, from;

    if (wf_likely(window == 0) || w->last_sleep > window || wf_clock_stands(w->rt))
        return false;
    from = wf_clock_now();
    do {
        if (wf_load_u32(&w->home->poller.watched, WF_RELAXED) &&
            wf_worker_harvest(w, &w->home->poller))
            return true;
        /* Fired here: nobody does it on the way back to the queues, where the next look is far. */
        if (park_work_visible(w) || park_fire_due(w))
            return true;
        wf_spin_pause();
    } while (wf_clock_now() - from < window);
    return false;
}

static void park_hook(weft_thread_hook *hook, struct wf_worker *w)
{
    if (wf_unlikely(hook != NULL))
        hook(w->rt->set.config.hook_user);
}

static void park_sleep(struct wf_worker *w, const struct wf_bell *bell, uint64_t next,
                       uint64_t until_ns)
{
    struct weft_runtime *rt = w->rt;
    struct wf_seat_counters *c = &w->seat->counters;
    struct wf_hub_wake wake = {0};
    unsigned woken;
    uint64_t from = wf_clock_now();

    /* relaxed: statistics */
    wf_store_u64(&c->parked_at, from, WF_RELAXED);
    wf_count_u64(&c->parks, 1);
    wf_hub_sleep(&rt->hub, &w->home->poller, bell, park_timeout(next, until_ns), &wake, &woken);
    w->last_sleep = wf_clock_now() - from;
    wf_store_u64(&c->parked_at, 0, WF_RELAXED);
    wf_monitor_touch(rt);
    wf_count_u64(&c->parked_ns, w->last_sleep);
    w->searching = wf_idle_sleep_end(&rt->idle);
    if (woken)
        wf_count_u64(&c->io_events, woken);
    woken += park_collect(w, &wake);
    if (woken == 0 && wf_inject_len(&rt->inject) == 0 && !w->searching &&
        !wf_pins_wait(&w->seat->pins))
        wf_count_u64(&c->wakeups_idle, 1);
    /* P2.k: others could do some of it */
    if (woken > 1 && !rt->single)
        wf_worker_notify(w);
}

void wf_worker_park(struct wf_worker *w, uint64_t until_ns)
{
    struct weft_runtime *rt = w->rt;
    const struct wf_bell *bell;

    wf_single_look(w);
    park_hook(rt->set.config.on_thread_park, w);
    if (park_spin(w))
        goto awake;
    wf_slab_trim();
    if (wf_unlikely(wf_stack_pool_wash_at() != UINT64_MAX) &&
        wf_clock_now() >= wf_stack_pool_wash_at()) {
        /* Idle time is the time to tidy up: a little, then look for work again. */
        wf_stack_pool_wash_step();
        goto awake;
    }
    bell = wf_pins_sleep_begin(w);
    wf_idle_sleep_begin(&rt->idle, w->searching);
    /* Also what the park hook spawned. */
    if (park_work_visible(w) || wf_seat_lifo(w->seat)) {
        /* P2.l: the searcher that notifiers have counted on */
        w->searching = wf_idle_sleep_cancel(&rt->idle, w->searching);
    } else {
        /* A1.i: before it sleeps, the timers */
        uint64_t next = rt->single ? wf_wheel_next(&w->home->wheel) : park_set_alarm(rt);
        bool jump = false;

        if (wf_virtual_any())
            next = wf_clock_sleep(w, next, &jump);
        park_sleep(w, bell, next, until_ns);
        if (wf_unlikely(jump) && !park_work_visible(w))
            (void)wf_clock_jump(w);
    }
    wf_pins_sleep_end(w);
awake:
    /* The clock has moved on: what is woken from here on is ready from now. */
    wf_account_restart(w);
    w->looked_at = wf_thread_poll_from(&w->thread);
    /* relaxed: see worker_look_elsewhere */
    wf_store_u64(&w->home->looked, w->looked_at, WF_RELAXED);
    w->until_look = (int32_t)rt->set.config.event_interval;
    park_hook(rt->set.config.on_thread_unpark, w);
}
