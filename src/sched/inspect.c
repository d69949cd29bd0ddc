/* SPDX-License-Identifier: MIT */
/*
 * inspect.c - looking into a running runtime from outside: its tasks and its counters.
 *
 * Tasks are found by walking the header slab, so that spawning keeps no list. The walk takes a
 * reference of every live task, of all runtimes, and sorts out afterwards: which runtime a task
 * belongs to may be read only while holding one, and giving one back may need the slab's
 * lock, which the walk holds.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "io/registration.h"
#include "sched/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct collect {
    weft_task **tasks;
    size_t count, room;
    bool failed;
};

static bool collect_grow(struct collect *c)
{
    size_t room = c->room ? c->room * 2 : 256;
    weft_task **more = wf_sys_calloc(room, sizeof(weft_task *));

    if (!more)
        return false;
    if (c->count)
        memcpy(more, c->tasks, c->count * sizeof(weft_task *));
    wf_sys_free(c->tasks);
    c->tasks = more;
    c->room = room;
    return true;
}

static void collect_visit(void *slot, void *arg)
{
    struct collect *c = arg;

    if (c->failed || (c->count == c->room && !collect_grow(c))) {
        c->failed = true;
        return;
    }
    if (wf_task_try_retain(slot))
        c->tasks[c->count++] = slot;
}

ssize_t wf_runtime_tasks(struct weft_runtime *rt, struct weft_task ***out)
{
    struct collect c = {0};
    size_t kept = 0;

    wf_slab_walk(collect_visit, &c);
    for (size_t i = 0; i < c.count; i++) {
        weft_task *t = c.tasks[i];

        if (t->sched == &rt->sched && !wf_task_is_complete(t) && !c.failed)
            c.tasks[kept++] = t;
        else
            wf_task_release(t);
    }
    if (c.failed) {
        wf_sys_free(c.tasks);
        return -ENOMEM;
    }
    *out = c.tasks;
    return (ssize_t)kept;
}

void wf_runtime_cancel_all(struct weft_runtime *rt)
{
    weft_task **tasks;
    ssize_t n = wf_runtime_tasks(rt, &tasks);

    for (ssize_t i = 0; i < n; i++) {
        weft_cancel(tasks[i]);
        wf_task_release(tasks[i]);
    }
    if (n >= 0)
        wf_sys_free(tasks);
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
    weft_task_info i;
    char line[512];
    int n;

    wf_task_fill_info(t, &i);
    n = snprintf(line, sizeof(line),
                 "%8llu  %-8s %s%s  polls %llu  wakes %llu  poll %llu us (max %llu)  delay %llu us "
                 "(max %llu)  %s  \"%s\"\n",
                 (unsigned long long)i.id, dump_state(i.state), i.stackless ? "stackless" : "fiber",
                 i.cancelled ? ", cancelled" : "", (unsigned long long)i.polls,
                 (unsigned long long)i.wakes, (unsigned long long)i.poll_time / 1000,
                 (unsigned long long)i.poll_time_max / 1000,
                 (unsigned long long)i.scheduled_delay / 1000,
                 (unsigned long long)i.scheduled_delay_max / 1000, i.site ? i.site : "?", i.name);
    if (n > 0)
        (void)wf_sys_write(fd, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

ssize_t weft_runtime_dump(weft_runtime *rt, int fd)
{
    weft_task **tasks;
    ssize_t n;

    if (!rt)
        return wf_misuse(-EINVAL, "weft_runtime_dump: rt is NULL");
    n = wf_runtime_tasks(rt, &tasks);
    for (ssize_t i = 0; i < n; i++) {
        dump_task(tasks[i], fd);
        wf_task_release(tasks[i]);
    }
    if (n >= 0)
        wf_sys_free(tasks);
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
        .queue_depth = wf_deque_len(&s->ready),
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
    for (unsigned i = 0; i < rt->workers; i++) {
        weft_worker_metrics w;

        metrics_of_seat(&rt->seats[i], &w, now - rt->started_at, now);
        metrics_add(&all.total, &w);
        all.finished += metric(&rt->seats[i].counters.task.finished);
        all.timers_armed += wf_wheel_count(&rt->seats[i].wheel);
    }
    all.spawned = metric(&rt->spawned_outside);
    for (unsigned i = 0; i < rt->workers; i++)
        all.spawned += metric(&rt->seats[i].counters.task.spawned);
    all.alive = all.spawned - all.finished;
    all.injection_depth = wf_inject_len(&rt->inject);
    all.remote_schedules = metric(&rt->remote_schedules);
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
