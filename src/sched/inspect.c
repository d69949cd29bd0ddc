/* SPDX-License-Identifier: MIT */
/*
 * inspect.c - looking into a running runtime from outside: its tasks and its counters.
 *
 * Tasks are found by walking the header slab, so that spawning keeps no list. The walk takes
 * references of live tasks, of all runtimes, and sorts out afterwards: which runtime a task
 * belongs to may be read only while holding one, and giving one back may need the slab's
 * lock, which the walk holds. It goes by lots, so that it needs no memory: a shutdown must not fail.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "io/registration.h"
#include "sched/relieve.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool tasks_visit(void *slot, void *arg)
{
    struct wf_task_walk *w = arg;

    if (wf_task_try_retain(slot))
        w->tasks[w->count++] = slot;
    return w->count < wf_array_count(w->tasks);
}

/* The next lot, sorted out. False: there is none. */
static bool tasks_refill(struct wf_task_walk *w)
{
    unsigned kept = 0;

    while (kept == 0 && !w->over) {
        w->count = 0;
        w->over = !wf_slab_walk(&w->at, tasks_visit, w);
        for (unsigned i = 0; i < w->count; i++) {
            weft_task *t = w->tasks[i];

            if (t->sched == &w->rt->sched && !wf_task_is_complete(t))
                w->tasks[kept++] = t;
            else
                wf_task_release(t);
        }
    }
    w->count = kept;
    return kept > 0;
}

struct weft_task *wf_task_walk_next(struct wf_task_walk *w)
{
    return w->count || tasks_refill(w) ? w->tasks[--w->count] : NULL;
}

void wf_runtime_cancel_all(struct weft_runtime *rt)
{
    struct wf_task_walk walk = {.rt = rt};
    weft_task *t;

    while ((t = wf_task_walk_next(&walk))) {
        weft_cancel(t);
        wf_task_release(t);
    }
}

static const char *dump_state(weft_task_state state)
{
    switch (state) {
    case WEFT_TASK_IDLE:
        return "waiting";
    case WEFT_TASK_READY:
        return "ready";
    case WEFT_TASK_RUNNING:
        return "running";
    case WEFT_TASK_FINISHED:
        return "finished";
    }
    return "?";
}

static void dump_task(const weft_task *t, int fd)
{
    char line[512], pinned[32] = "";
    weft_task_info i;
    int n;

    wf_task_fill_info(t, &i);
    if (wf_task_flag(t, WF_TASK_F_PINNED))
        (void)snprintf(pinned, sizeof(pinned), ", pinned to worker %u", wf_pins_seat_of(t));
    n = snprintf(
        line, sizeof(line),
        "%8llu  %-8s %s%s%s  polls %llu  wakes %llu  poll %llu us (max %llu)  delay %llu us "
        "(max %llu)  %s  \"%s\"\n",
        (unsigned long long)i.id, dump_state(i.state), i.stackless ? "stackless" : "fiber",
        i.cancelled ? ", cancelled" : "", pinned, (unsigned long long)i.polls,
        (unsigned long long)i.wakes, (unsigned long long)i.poll_time / 1000,
        (unsigned long long)i.poll_time_max / 1000, (unsigned long long)i.scheduled_delay / 1000,
        (unsigned long long)i.scheduled_delay_max / 1000, i.site ? i.site : "?", i.name);
    if (n > 0)
        (void)wf_sys_write(fd, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

/* A line of its own, if there is something to say. */
static void dump_relief(const struct wf_relief *r, int fd)
{
    /* relaxed: as they are just now */
    unsigned stuck = wf_load_u32(&r->stuck, WF_RELAXED),
             active = wf_load_u32(&r->active, WF_RELAXED);
    char line[128];
    int n;

    if (stuck == 0 && active == 0)
        return;
    n = snprintf(line, sizeof(line), "workers stuck in a poll: %u; threads that stand in: %u\n",
                 stuck, active);
    if (n > 0)
        (void)wf_sys_write(fd, line, (size_t)n);
}

ssize_t weft_runtime_dump(weft_runtime *rt, int fd)
{
    struct wf_task_walk walk = {.rt = rt};
    weft_task *t;
    ssize_t n = 0;

    if (!rt)
        return wf_misuse(-EINVAL, "weft_runtime_dump: rt is NULL");
    for (; (t = wf_task_walk_next(&walk)); n++) {
        dump_task(t, fd);
        wf_task_release(t);
    }
    dump_relief(&rt->relief, fd);
    return n;
}

/* relaxed throughout: statistics */
static uint64_t metric(const struct wf_atomic_u64 *a)
{
    return wf_load_u64(a, WF_RELAXED);
}

static void metrics_of_seat(const struct wf_seat *s, weft_worker_metrics *m, uint64_t lived,
                            uint64_t now)
{
    const struct wf_seat_counters *c = &s->counters;
    uint64_t parked_at = metric(&c->parked_at);
    uint64_t parked = metric(&c->parked_ns) + (parked_at && now > parked_at ? now - parked_at : 0);

    *m = (weft_worker_metrics){
        .polls = metric(&c->polls),
        .steals = metric(&c->steals),
        .steal_operations = metric(&c->steal_operations),
        .overflows = metric(&c->overflows),
        .parks = metric(&c->parks),
        .wakeups_idle = metric(&c->wakeups_idle),
        .lifo_runs = metric(&c->lifo_runs),
        .injected = metric(&c->injected),
        .timers_fired = metric(&c->timers_fired),
        .io_events = metric(&c->io_events),
        .budget_yields = metric(&c->task.budget_yields),
        .queue_depth = wf_deque_len(&s->ready) + wf_pins_len(&s->pins),
        .backlog_depth = wf_deque_len(&s->backlog),
        .busy = lived > parked ? lived - parked : 0,
        .parked = parked_at != 0,
    };
}

static void metrics_add(weft_worker_metrics *sum, const weft_worker_metrics *m)
{
    sum->polls += m->polls;
    sum->steals += m->steals;
    sum->steal_operations += m->steal_operations;
    sum->overflows += m->overflows;
    sum->parks += m->parks;
    sum->wakeups_idle += m->wakeups_idle;
    sum->lifo_runs += m->lifo_runs;
    sum->injected += m->injected;
    sum->timers_fired += m->timers_fired;
    sum->io_events += m->io_events;
    sum->budget_yields += m->budget_yields;
    sum->queue_depth += m->queue_depth;
    sum->backlog_depth += m->backlog_depth;
    sum->busy += m->busy;
}

int weft_metrics_worker_sized(weft_runtime *rt, unsigned worker, weft_worker_metrics *m,
                              size_t size)
{
    weft_worker_metrics all;
    uint64_t now = wf_clock_now();

    if (!rt || !m || worker >= rt->workers)
        return wf_misuse(-EINVAL, "weft_metrics_worker: NULL, or no worker %u", worker);
    metrics_of_seat(&rt->seats[worker], &all, now - rt->started_at, now);
    memcpy(m, &all, size < sizeof(all) ? size : sizeof(all));
    return 0;
}

int weft_metrics_snapshot_sized(weft_runtime *rt, weft_metrics *m, size_t size)
{
    weft_metrics all = {0};
    uint64_t now = wf_clock_now();

    if (!rt || !m)
        return wf_misuse(-EINVAL, "weft_metrics_snapshot: NULL");
    all.workers = rt->workers;
    all.finished = metric(&rt->pool.finished);
    for (unsigned i = 0; i < wf_runtime_seats(rt); i++) {
        const struct wf_seat *s = wf_runtime_seat(rt, i);
        weft_worker_metrics w;

        metrics_of_seat(s, &w, now - rt->started_at, now);
        metrics_add(&all.total, &w);
        all.finished += metric(&s->counters.task.finished);
        if (i < rt->workers)
            all.timers_armed += wf_wheel_count(&s->wheel);
    }
    all.spawned = metric(&rt->spawned_outside);
    for (unsigned i = 0; i < wf_runtime_seats(rt); i++)
        all.spawned += metric(&wf_runtime_seat(rt, i)->counters.task.spawned);
    all.alive = all.spawned - all.finished;
    all.injection_depth = wf_inject_len(&rt->inject);
    all.remote_schedules = metric(&rt->remote_schedules);
    all.stalls = metric(&rt->relief.stalls);
    /* relaxed: as they are just now */
    all.stalled = wf_load_u32(&rt->relief.stuck, WF_RELAXED);
    all.standins = wf_load_u32(&rt->relief.active, WF_RELAXED);
    all.standin_threads = wf_relief_threads(rt);
    all.blocking_threads = wf_load_u32(&rt->pool.threads, WF_RELAXED);
    all.blocking_idle = wf_load_u32(&rt->pool.sleeping, WF_RELAXED);
    all.blocking_queued = wf_load_u32(&rt->pool.queued, WF_RELAXED);
    all.deadlocks = metric(&rt->deadlocks);
    all.locks_overdue = metric(&rt->locks_overdue);
    all.io_registered = wf_io_count(rt->seats, rt->seats + rt->workers);
    memcpy(m, &all, size < sizeof(all) ? size : sizeof(all));
    return 0;
}

int(weft_metrics_worker)(weft_runtime *rt, unsigned worker, weft_worker_metrics *m)
{
    return weft_metrics_worker_sized(rt, worker, m, sizeof(*m));
}

int(weft_metrics_snapshot)(weft_runtime *rt, weft_metrics *m)
{
    return weft_metrics_snapshot_sized(rt, m, sizeof(*m));
}
