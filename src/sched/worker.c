/* SPDX-License-Identifier: MIT */
/*
 * worker.c - the loop: which task next, and what besides.
 *
 * IDEA     A worker takes, in this order: the task woken last (LIFO slot, three times in a row at
 *          most), the oldest woken task, the newest task never polled. The backlog of tasks never
 *          polled gets every fourth slot while woken tasks exist, and its oldest every 64th take:
 *          the newest first keeps a tree of spawns narrow, so that few stacks are in use. Then the injection
 *          queue, then others' queues, then sleep (park.c).
 *          Who waits for many tasks to end, and is woken by the first, lets a few more of the backlog go before it
 *          when nothing else is ready: it finds several ended at once, instead of being polled for each.
 * INVARIANTS
 *     W1   A look at driver, timers and injection queue happens at the latest after event_interval polls
 *          or half a millisecond, and after a round of the ready queue if the last one is 20 us past:
 *          events are queued behind what was ready before them, so service is in the order of readiness.
 *     W2   Between polls, and in every call from a task into the scheduler, the worker is inside its seat's
 *          guard; during the user's code it is not. In a poll that was relieved it goes on to use its own
 *          queues, from which others take, but not the slot, and calls somebody for each task. While the seat is
 *          being taken it waits for some microseconds; if that lasts, since the taker was preempted, the task goes to
 *          the injection queue. When its poll ends it takes its seat back, or waits for it.
 *     W3   A task that was yielded keeps RUNNING in its state word: who polls it next skips the start
 *          transition. Nobody else can start it, for only the queue holds it.
 *     W4   No poll begins while tasks are left waiting here and a worker sleeps that nobody has called:
 *          how long the poll takes is not known, and a lone task that was yielded, woken by the
 *          driver or spawned may be behind it. A lone wake or spawn by itself wakes nobody.
 * ORDER    The queues, the injection queue and the state word carry tasks between threads; see there.
 * TESTS    tests/api/, tests/stress/, tests/model/test_runtime.c
 */
#include "sched/worker.h"

#include "base/log.h"
#include "base/sys.h"
#include "fiber/overflow.h"
#include "sched/account.h"
#include "sched/clock.h"
#include "sched/held.h"
#include "sched/migrate.h"
#include "sched/monitor.h"
#include "sched/pool.h"
#include "sched/relieve.h"
#include "sched/single.h"
#include "task/fiber_task.h"
#include "task/waker.h"

#include <weft/time.h>

#define LIFO_RUNS_MAX 3
#define BACKLOG_TURN  4 /* every so many takes is the backlog's */
#define BACKLOG_OLDEST \
 64 /* so often a take from the backlog is its oldest: counted in takes of all kinds */
#define BACKLOG_FIRST \
 16 /* takes from it that a patient task waits for, see wf_worker_wake_patient */
#define PREFETCH_LINES 6 /* of a parked fiber's frames: a read has 5 to 8 */
#define TAKEN_SPINS \
 3000 /* while the seat is being taken: 40 to 130 us, for a membarrier takes 25 */
#define INJECT_MIN    2
#define INJECT_MAX    127
#define INJECT_BATCH  128
#define INJECT_TARGET 200000 /* ns between looks at the injection queue: Tokio's figure */

/* The seat was taken: for a moment, or because the poll has lasted, which is over now. */
WF_COLD static void worker_wait_seat(struct wf_worker *w)
{
    do {
        wf_seat_leave(w->seat);
        if (!wf_relieve_end(w))
            wf_spin_pause();
    } while (!wf_seat_enter(w->seat));
}

void wf_worker_push_ready(struct wf_worker *w, struct weft_task *t)
{
    if (wf_likely(wf_deque_push(&w->seat->ready, t)))
        return;
    wf_count_u64(&w->seat->counters.overflows, 1);
    wf_inject_push(&w->rt->inject, t);
}

/*
 * From inside a task, the seat was not free, and the worker has said that it is inside. True: in *held, whether it is
 * its own again, or was relieved, and then only its queues may be used. False: it is still being taken, and t is queued
 * elsewhere.
 */
WF_COLD static bool worker_enter_taken(struct wf_worker *w, struct weft_task *t, bool *held)
{
    uint32_t taken;
    int spins = 0;

    /* acquire: pairs with wf_seat_relieve and wf_seat_give_back; what changed with it, rt->single */
    while ((taken = wf_load_u32(&w->seat->taken, WF_ACQUIRE)) == WF_SEAT_TAKEN &&
           spins++ < TAKEN_SPINS)
        wf_spin_pause();
    *held = taken == WF_SEAT_FREE;
    if (wf_likely(taken != WF_SEAT_TAKEN))
        return true;
    wf_count_u64(&w->seat->counters.overflows, 1);
    wf_seat_leave(w->seat);
    wf_runtime_inject(w->rt, t);
    return false;
}

/* The holder's calls from inside a task: a wake. */
static void worker_woken_here(struct wf_worker *w, struct weft_task *t)
{
    struct wf_seat *s = w->seat;
    bool more = true, held;

    if (!w->thread.task) {
        /* The driver or a timer: the worker is inside the guard already, keeps the order of
         * readiness, and notifies once for all that it has woken. */
        wf_worker_push_ready(w, t);
        return;
    }
    held = wf_seat_enter(s);
    if (wf_unlikely(!held) && !worker_enter_taken(w, t, &held))
        return;
    if (wf_likely(w->rt->set.lifo && held)) {
        struct weft_task *before = wf_seat_lifo(s);

        wf_seat_set_lifo(s, t);
        t = before;
        more = before != NULL;
    }
    if (t)
        wf_worker_push_ready(w, t);
    more = more && !w->rt->single;
    wf_seat_leave(s);
    /* W4.c: one task ready here is one that this worker reaches itself, and nobody is woken for it. */
    if (more)
        wf_worker_notify(w);
}

static void worker_woken(struct wf_scheduler *sched, struct weft_task *t)
{
    struct wf_thread *th = wf_thread_self();

    /* relaxed: who notified the task is alone with it */
    wf_count_u64(&t->wakes, 1);
    wf_store_u64(&t->ready_at, wf_thread_stamp(th), WF_RELAXED);
    if (wf_unlikely(wf_task_flag(t, WF_TASK_F_PINNED)))
        wf_pins_push(wf_runtime_of(sched), th, t);
    else if (wf_likely(th && th->sched == sched))
        worker_woken_here(wf_worker_of(th), t);
    else
        wf_runtime_inject(wf_runtime_of(sched), t);
}

static void worker_spawned(struct wf_scheduler *sched, struct wf_thread *th, struct weft_task *t)
{
    struct wf_worker *w;
    bool more, held;

    if (wf_unlikely(!th || th->sched != sched)) {
        /* relaxed: a statistic, and one half of wf_runtime_alive */
        wf_add_u64(&wf_runtime_of(sched)->spawned_outside, 1, WF_RELAXED);
        if (wf_task_flag(t, WF_TASK_F_PINNED))
            wf_pins_push(wf_runtime_of(sched), th, t);
        else
            wf_runtime_inject(wf_runtime_of(sched), t);
        return;
    }
    w = wf_worker_of(th);
    if (wf_unlikely(wf_task_flag(t, WF_TASK_F_PINNED))) {
        wf_pins_push(w->rt, th, t);
        return;
    }
    held = !th->task || wf_seat_enter(w->seat);
    if (wf_unlikely(!held) && !worker_enter_taken(w, t, &held))
        return;
    more = !w->rt->single &&
           (!held || wf_seat_lifo(w->seat) || wf_deque_len(&w->seat->backlog) > 0 ||
            wf_deque_len(&w->seat->ready) > 0);
    if (wf_unlikely(!wf_deque_push(&w->seat->backlog, t))) {
        wf_count_u64(&w->seat->counters.overflows, 1);
        wf_inject_push(&w->rt->inject, t);
    }
    if (th->task)
        wf_seat_leave(w->seat);
    /* W4.d: as for a wake */
    if (more)
        wf_worker_notify(w);
}

void wf_worker_wake_patient(weft_wakeable *target)
{
    struct wf_thread *th = wf_thread_self();

    /* Between two polls, where its end was told. It is queued like any other, and can be stolen. */
    if (th && !th->task && wf_deque_len(&wf_worker_of(th)->seat->ready) == 0)
        wf_worker_of(th)->backlog_first = BACKLOG_FIRST;
    wf_wakeable_wake(target);
}

const struct wf_scheduler_ops wf_worker_ops = {.woken = worker_woken,
                                               .spawned = worker_spawned,
                                               .pin = wf_pins_choose,
                                               .spawned_blocking = wf_pool_spawned,
                                               .cancelled_blocking = wf_pool_cancelled};

/* Half of one look's share of the injection queue to ourselves: the first task, the rest queued. */
static struct weft_task *worker_take_injected(struct wf_worker *w)
{
    struct weft_task *batch[INJECT_BATCH];
    uint64_t len = wf_inject_len(&w->rt->inject);
    uint64_t want = len / w->rt->workers + 1;
    unsigned n;

    if (len == 0)
        return NULL;
    n = wf_inject_take(&w->rt->inject, batch, want > INJECT_BATCH ? INJECT_BATCH : (unsigned)want);
    if (n == 0)
        return NULL;
    wf_count_u64(&w->seat->counters.injected, n);
    wf_account_arrived(w);
    for (unsigned i = 1; i < n; i++)
        wf_worker_push_ready(w, batch[i]);
    /* W4.a: they were pushed after the first one was taken. Who falls asleep from here on sees them. */
    if (n > 1)
        wf_fence_seq_cst();
    return batch[0];
}

/* How many polls until the injection queue is looked at although there is local work. */
static uint32_t worker_inject_interval(const struct wf_worker *w)
{
    uint64_t mean = wf_ticks_to_ns(w->poll_mean) + 1, polls = INJECT_TARGET / mean;

    if (w->rt->set.config.global_queue_interval)
        return w->rt->set.config.global_queue_interval;
    return polls < INJECT_MIN ? INJECT_MIN : polls > INJECT_MAX ? INJECT_MAX : (uint32_t)polls;
}

/*
 * Another seat, chosen at random: if it is not asleep and has not looked for a millisecond, its worker is stuck, or
 * its thread preempted. Then its timers and events are served here, also when nobody is idle.
 */
static unsigned worker_look_elsewhere(struct wf_worker *w, uint64_t now)
{
    struct wf_seat *other = &w->rt->seats[wf_rand_below(&w->seat->rand, w->rt->workers)];
    unsigned woken = 0;

    /* relaxed, all of them: glances */
    if (other == w->home || wf_load_u64(&other->counters.parked_at, WF_RELAXED) ||
        (int64_t)(w->looked_at - wf_load_u64(&other->looked, WF_RELAXED)) <
            (int64_t)(2 * w->rt->tick_half_ms))
        return 0;
    /* Once a millisecond is often enough for all of us. */
    wf_store_u64(&other->looked, w->looked_at, WF_RELAXED);
    if (wf_wheel_next(&other->wheel) <= now)
        woken += wf_worker_fire_timers(w, other, now);
    if (wf_load_u32(&other->poller.watched, WF_RELAXED))
        woken += wf_worker_harvest(w, &other->poller);
    return woken;
}

/* Is nothing ready here that others could do? */
static bool worker_alone(const struct wf_worker *w)
{
    return !wf_seat_lifo(w->seat) && wf_deque_len(&w->seat->ready) == 0 &&
           wf_deque_len(&w->seat->backlog) == 0;
}

/* W1: what is looked at besides the queues. */
WF_NOINLINE static void worker_look(struct wf_worker *w)
{
    struct wf_seat *s = w->seat, *home = w->home;
    unsigned woken = 0;
    uint64_t now;

    w->looked_at = wf_ticks();
    wf_store_u64(&home->looked, w->looked_at, WF_RELAXED);
    w->round_end = wf_load_u64(&s->ready.tail, WF_RELAXED);
    w->until_look = (int32_t)w->rt->set.config.event_interval;
    w->backlog_first = 0;
    wf_single_look(w);
    if (wf_wheel_next(&home->wheel) != WEFT_FOREVER || !w->rt->single) {
        now = wf_worker_now(w);
        if (wf_wheel_next(&home->wheel) <= now || wf_clock_stands(w->rt))
            woken += wf_worker_fire_timers(w, home, now);
        if (!w->rt->single) {
            wf_relief_look(w->rt, now);
            woken += worker_look_elsewhere(w, now);
        }
    }
    /* A single worker with nothing to do asks when it sleeps, by the same call. relaxed: see
     * wf_poller_add */
    if (wf_load_u32(&home->poller.watched, WF_RELAXED) &&
        !(w->rt->single && worker_alone(w) && !wf_pins_wait(&s->pins)))
        woken += wf_worker_harvest(w, &home->poller);
    if (woken)
        wf_account_arrived(w);
    /* W4.b: others could do some of it */
    if (!w->rt->single && (woken > 1 || wf_deque_len(&s->ready) + wf_deque_len(&s->backlog) > 1))
        wf_worker_notify(w);
}

static struct weft_task *worker_take_backlog(struct wf_worker *w)
{
    struct wf_seat *s = w->seat;
    bool again;

    if (wf_unlikely(w->turn % BACKLOG_OLDEST == 0)) {
        struct weft_task *t = wf_deque_steal_one(&s->backlog, &again);

        if (t)
            return t;
    }
    return wf_deque_take_newest(&s->backlog);
}

/* The next task, or NULL: nothing is ready that this worker can see. */
WF_INLINE struct weft_task *worker_next(struct wf_worker *w)
{
    struct wf_seat *s = w->seat;
    struct weft_task *t = NULL;

    if (wf_unlikely(w->until_look <= 0))
        worker_look(w);
    if (wf_seat_lifo(s)) {
        t = wf_seat_lifo(s);
        wf_seat_set_lifo(s, NULL);
        if (wf_likely(++w->lifo_runs <= LIFO_RUNS_MAX)) {
            wf_count_u64(&s->counters.lifo_runs, 1);
            return t;
        }
        wf_worker_push_ready(w, t);
    }
    w->lifo_runs = 0;
    if (wf_unlikely(w->inject_wait-- == 0)) {
        w->inject_wait = worker_inject_interval(w);
        t = worker_take_injected(w);
        if (t)
            return t;
    }
    if (++w->turn % BACKLOG_TURN == 0 && wf_deque_len(&s->backlog)) {
        t = worker_take_backlog(w);
        if (t)
            return t;
    }
    if (wf_unlikely(w->backlog_first)) {
        w->backlog_first--;
        t = worker_take_backlog(w);
        if (t)
            return t;
        w->backlog_first = 0;
    }
    t = wf_deque_take_oldest(&s->ready);
    if (t)
        return t;
    t = worker_take_backlog(w);
    return t ? t : worker_take_injected(w);
}

/* The same, and what other workers have handed on. */
WF_INLINE struct weft_task *worker_take_shared(struct wf_worker *w)
{
    struct weft_task *t = wf_migrate_take_in_turn(w);

    if (!t)
        t = worker_next(w);
    return t ? t : wf_migrate_take(w);
}

/* The same, and what is pinned here. Who pins nothing pays for one look. */
WF_INLINE struct weft_task *worker_take(struct wf_worker *w)
{
    struct weft_task *t;

    if (wf_pins_used(&w->seat->pins) && (t = wf_pins_take_in_turn(w)))
        return t;
    t = worker_take_shared(w);
    return t || !wf_pins_used(&w->seat->pins) ? t : wf_pins_take(w);
}

/* A task that is ready as its poll ends. */
WF_INLINE void worker_requeue(struct wf_worker *w, struct weft_task *t)
{
    if (wf_unlikely(wf_task_flag(t, WF_TASK_F_PINNED)))
        wf_pins_push_here(&w->seat->pins, t);
    else
        wf_worker_push_ready(w, t);
}

/* May a task that yields be polled again on the spot? */
WF_INLINE bool worker_may_repeat(const struct wf_worker *w)
{
    return worker_alone(w) && !(wf_pins_used(&w->seat->pins) && wf_pins_wait(&w->seat->pins)) &&
           !wf_migrate_each_poll(w);
}

/* How often a lone task that yields may be polled before the books are kept again. */
static uint32_t worker_run_length(const struct wf_worker *w)
{
    uint32_t look = w->until_look > 0 ? (uint32_t)w->until_look : 1;

    return w->group_left < look ? w->group_left : look;
}

/* After polls that were pending or ended: is it time for a look (W1)? */
static void worker_pace(struct wf_worker *w, uint32_t polls)
{
    uint64_t since;

    w->until_look -= (int32_t)polls;
    if (!w->thread.exact_clock)
        return;
    since = wf_thread_poll_from(&w->thread) - w->looked_at;
    if (since >= w->rt->tick_half_ms ||
        (since >= w->rt->tick_20us &&
         /* relaxed: a round is over when what was queued at its begin has been taken */
         (int64_t)(wf_load_u64(&w->seat->ready.head, WF_RELAXED) - w->round_end) >= 0))
        w->until_look = 0;
}

static void worker_finish(struct wf_worker *w, struct weft_task *t)
{
    struct weft_runtime *rt = w->rt;

    wf_task_end(t);
    /* release: pairs with wf_runtime_alive; all that the task was is over */
    wf_store_u64(&w->thread.counters->finished,
                 wf_load_u64(&w->thread.counters->finished, WF_RELAXED) + 1, WF_RELEASE);
    /* relaxed: counted first, looked second, and a barrier between the two halves of a shutdown */
    wf_compiler_fence();
    if (wf_unlikely(wf_load_u32(&rt->phase, WF_RELAXED) != WF_PHASE_OPEN))
        wf_runtime_task_ended(rt);
}

static void worker_hook(weft_task_hook *hook, const struct wf_worker *w, const struct weft_task *t)
{
    if (wf_unlikely(hook != NULL))
        hook(w->rt->set.config.hook_user, t);
}

/* A1 of park.c: has the seat's earliest timer been made earlier since the alarm was told? Comparing the timer
 * itself will not do: it may be back at the same tick, and a worker that went to sleep in between has seen
 * none. */
static void worker_check_alarm(struct wf_worker *w)
{
    uint64_t lowered = wf_wheel_lowered(&w->home->wheel);

    if (wf_likely(lowered == w->alarmed))
        return;
    w->alarmed = lowered;
    /* A1.j: it has */
    wf_worker_alarm(w);
}

/*
 * With many tasks each is met cold, and its header, stack and frames are some ten cache misses. While one is
 * polled, the next one's stack and the header of the one after are fetched. Headers are never unmapped, so
 * looking into one that another worker has taken meanwhile is harmless; what it says is only
 * prefetched. The sanitizers cannot know that.
 */
WF_INLINE void worker_prefetch(const struct wf_worker *w)
{
    struct weft_task *next = wf_deque_peek(&w->seat->ready, 0);
    struct weft_task *after = wf_deque_peek(&w->seat->ready, 1);

    if (next && !WF_SANITIZED) {
        const char *frames = next->hint;

        for (int line = 0; line < PREFETCH_LINES; line++)
            __builtin_prefetch(frames + (size_t)line * WF_CACHE_LINE);
        __builtin_prefetch(next->fiber);
    }
    if (after) {
        __builtin_prefetch(after);
        __builtin_prefetch((const char *)after + WF_CACHE_LINE);
    }
}

/* One poll of t, or several when it yields and nothing else is ready. In the loop itself: see
 * wf_fiber_poll. */
WF_INLINE void worker_poll(struct wf_worker *w, struct weft_task *t)
{
    struct wf_thread *th = &w->thread;
    bool stackless = wf_task_type_of(t)->stackless;
    struct wf_seat *s = w->seat;
    enum wf_poll_result result;
    bool cancelled;

    worker_prefetch(w);
    /* W4.e: by a glance. Every task that is left was pushed before this one was taken, as a rule by
     * a read-modify-write, or fenced: then who went to sleep before that is seen here, who does after
     * that sees the task. Out of the LIFO slot there is none: who falls asleep at that very moment
     * is told by a later poll. */
    if (!w->rt->single && wf_idle_would_wake(&w->rt->idle) && !worker_alone(w))
        wf_worker_notify(w);
    if (w->group_left == w->group_size)
        wf_account_begin(w, t);
    if (wf_task_flag(t, WF_TASK_F_YIELDED)) {
        wf_task_set_flag(t, WF_TASK_F_YIELDED, false);
        wf_task_state_resume(t);
        cancelled = wf_task_is_cancelled(t);
    } else {
        cancelled = (wf_task_state_start(t) & WF_TASK_CANCELLED) != 0;
    }
    /* I1 of pins.h */
    wf_debug_assert(!wf_task_flag(t, WF_TASK_F_PINNED) || wf_pins_seat_of(t) == s->index);
    wf_migrate_polled(w, t);
    /* relaxed: the thread itself, and glances of the monitor's */
    wf_store_ptr(&th->task_to_read, t, WF_RELAXED);
    do {
        uint32_t most = worker_run_length(w), polls = 0;
        uint64_t held = wf_held_begin();

        do {
            th->budget = WF_COOP_BUDGET;
            worker_hook(w->rt->set.config.on_task_poll_start, w, t);
            wf_seat_leave(s);
            result = stackless ? wf_async_poll(t, cancelled) : wf_fiber_poll(t, th, cancelled);
            wf_held_end(t, result == WF_POLL_DONE, held);
            worker_hook(w->rt->set.config.on_task_poll_stop, w, t);
            if (wf_unlikely(!wf_seat_enter(s)))
                worker_wait_seat(w);
            polls++;
        } while (result == WF_POLL_YIELD && polls < most && worker_may_repeat(w));
        wf_account_end(w, t, polls);
        worker_pace(w, polls);
    } while (result == WF_POLL_YIELD && w->until_look > 0 && worker_may_repeat(w));
    wf_store_ptr(&th->task_to_read, NULL, WF_RELAXED);
    if (result == WF_POLL_PENDING) {
        if (wf_task_state_park(t)) {
            wf_store_u64(&t->ready_at, wf_thread_poll_from(th), WF_RELAXED);
            worker_requeue(w, t);
        }
    } else if (result == WF_POLL_YIELD) {
        wf_task_set_flag(t, WF_TASK_F_YIELDED, true);
        wf_store_u64(&t->ready_at, wf_thread_poll_from(th), WF_RELAXED);
        worker_requeue(w, t);
    } else {
        worker_finish(w, t);
    }
    if (!w->rt->single)
        worker_check_alarm(w);
}

/* A task from anywhere, or NULL. */
WF_INLINE struct weft_task *worker_find(struct wf_worker *w)
{
    struct weft_task *t = worker_take(w);

    if (!t && !w->rt->single) {
        t = wf_worker_steal(w);
        if (t)
            wf_account_arrived(w);
    }
    if (t && w->searching) {
        w->searching = false;
        /* P3.a: of idle.c */
        if (wf_idle_search_end(&w->rt->idle))
            wf_worker_notify(w);
    }
    return t;
}

void wf_worker_run(struct wf_worker *w, const struct weft_task *root, uint64_t until_ns)
{
    while (!wf_runtime_stopped(w->rt)) {
        struct weft_task *t;

        if (root && wf_task_is_complete(root))
            break;
        if (wf_unlikely(w->standin) && wf_standin_retire(w))
            break;
        t = worker_find(w);
        if (t) {
            if (!wf_migrate_away(w, t))
                worker_poll(w, t);
            continue;
        }
        if (wf_migrate_wait(w))
            continue;
        if (until_ns != WEFT_FOREVER && wf_clock_now() >= until_ns)
            break;
        wf_worker_park(w, until_ns);
    }
    if (w->searching) {
        w->searching = false;
        /* P3.b: whoever counted on it looks elsewhere */
        if (wf_idle_search_end(&w->rt->idle))
            wf_worker_notify(w);
    }
}

/* A report is worth no failure: without memory for its stack the thread works without. */
static bool worker_enter_reports(const struct weft_runtime *rt)
{
    int rc;

    if (!rt->set.signal_reports)
        return false;
    rc = wf_overflow_thread_enter();
    if (rc < 0)
        wf_log("a stack overflow on this thread would not be reported: no alternate stack (%s)",
               weft_strerror(rc));
    return rc == 0;
}

/* Field by field: the monitor may still be looking at a stand-in that has left and comes again. */
static void worker_thread_init(struct wf_worker *w)
{
    struct wf_thread *th = &w->thread;

    th->sched = &w->rt->sched;
    th->wheel = &w->home->wheel;
    th->poller = &w->home->poller;
    th->slab = &w->seat->slab;
    th->stacks = &w->seat->stacks;
    th->counters = &w->seat->counters.task;
    th->rand = &w->seat->rand;
    wf_coro_init_thread(&th->native);
}

void wf_worker_enter(struct wf_worker *w)
{
    /* relaxed: a glance of the monitor's */
    wf_store_u32(&w->reports, worker_enter_reports(w->rt), WF_RELAXED);
    worker_thread_init(w);
    wf_account_restart(w);
    w->until_look = 0;
    w->alarmed = wf_wheel_lowered(&w->home->wheel);
    w->searching = false;
    w->inject_wait = 0;
    wf_thread_set_self(&w->thread);
    if (!wf_seat_enter(w->seat))
        worker_wait_seat(w);
    /* relaxed: glances of the monitor's */
    wf_store_u32(&w->tid, wf_sys_thread_id(), WF_RELAXED);
    wf_store_u32(&w->entered, 1, WF_RELAXED);
    wf_monitor_touch(w->rt);
}

void wf_worker_leave(struct wf_worker *w)
{
    /* The guard stays closed: a seat without a holder is not to be relieved. */
    wf_store_u32(&w->entered, 0, WF_RELAXED);
    wf_task_free_graves(&w->thread);
    wf_thread_set_self(NULL);
    wf_coro_release_thread(&w->thread.native);
    if (wf_load_u32(&w->reports, WF_RELAXED))
        wf_overflow_thread_leave();
}
