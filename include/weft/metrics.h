/* SPDX-License-Identifier: MIT */
/*
 * weft/metrics.h - counters, read at any time from any thread.
 *
 * They are plain words written by one thread each: a reader may be a moment behind, never
 * wrong for good. Times are in nanoseconds. Polls are timed one by one; only a
 * worker that runs hundreds of polls of less than half a microsecond without a pause times them in
 * groups, so that the clock costs next to nothing.
 */
#ifndef WEFT_METRICS_H
#define WEFT_METRICS_H

#include <weft/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum weft_task_state {
    WEFT_TASK_IDLE = 0,  /* waits to be woken */
    WEFT_TASK_READY = 1, /* waits to be polled */
    WEFT_TASK_RUNNING = 2,
    WEFT_TASK_FINISHED = 3
} weft_task_state;

typedef struct weft_task_info {
    uint64_t id;
    char name[64];
    const char *site; /* "file:line", or NULL */
    weft_task_state state;
    bool stackless;
    bool cancelled;
    size_t stack_size; /* 0 for stackless tasks and fibers not yet started */
    uint64_t polls;
    uint64_t wakes;                /* that led to a poll */
    weft_duration poll_time;       /* in all */
    weft_duration poll_time_max;   /* the longest */
    weft_duration scheduled_delay; /* from wake to poll, in all */
    weft_duration scheduled_delay_max;
} weft_task_info;

/* 0, -EINVAL. The handle is borrowed. */
WEFT_API int weft_task_get_info(const weft_task *t, weft_task_info *info);
WEFT_API int weft_task_get_info_sized(const weft_task *t, weft_task_info *info, size_t size);
#define weft_task_get_info(...) weft_task_get_info_sized(__VA_ARGS__, sizeof(weft_task_info))

typedef struct weft_worker_metrics {
    uint64_t polls;
    uint64_t steals;           /* tasks taken from others */
    uint64_t steal_operations; /* times that it took some */
    uint64_t
        overflows; /* tasks pushed to the injection queue, for its own had no room or were not free */
    uint64_t parks;
    uint64_t wakeups_idle; /* ended a park and found nothing to do */
    uint64_t lifo_runs;    /* tasks run from the LIFO slot */
    uint64_t injected;     /* tasks taken from the injection queue */
    uint64_t timers_fired;
    uint64_t io_events;
    uint64_t budget_yields; /* coop budget spent */
    uint64_t queue_depth;   /* woken tasks waiting here, and pinned ones */
    uint64_t backlog_depth; /* spawned tasks not yet polled, waiting here */
    weft_duration busy;     /* not parked, in all */
    bool parked;
} weft_worker_metrics;

typedef struct weft_metrics {
    unsigned workers;
    uint64_t spawned; /* tasks, ever */
    uint64_t finished;
    uint64_t alive;
    uint64_t injection_depth;
    uint64_t remote_schedules; /* pushes to the injection queue from outside the runtime */
    uint64_t io_registered;    /* descriptors registered now */
    uint64_t timers_armed;     /* now */
    weft_worker_metrics total; /* sums over the workers, and the threads that stand in for them */
    uint64_t stalls;           /* polls that kept their thread for too long, ever: those told of */
    unsigned stalled;          /* workers that are in such a poll now */
    unsigned standins;         /* threads that work in their place now */
    unsigned standin_threads;  /* and with those that wait to be called again */
    unsigned blocking_threads; /* of the blocking pool */
    unsigned blocking_idle;    /* of those, without work */
    uint64_t blocking_queued;  /* tasks that wait for one of them */
    uint64_t deadlocks;        /* circles of waits for locks that a task of it closed, ever */
    uint64_t locks_overdue;    /* locks held beyond lock_held_limit, ever */
} weft_metrics;

WEFT_API int weft_metrics_snapshot_sized(weft_runtime *rt, weft_metrics *m, size_t size);
WEFT_API int weft_metrics_worker_sized(weft_runtime *rt, unsigned worker, weft_worker_metrics *m,
                                       size_t size);
WEFT_API int weft_metrics_snapshot(weft_runtime *rt, weft_metrics *m); /* 0, -EINVAL */
WEFT_API int weft_metrics_worker(weft_runtime *rt, unsigned worker, weft_worker_metrics *m);
#define weft_metrics_snapshot(rt, m) weft_metrics_snapshot_sized(rt, m, sizeof(weft_metrics))
#define weft_metrics_worker(rt, i, m) \
 weft_metrics_worker_sized(rt, i, m, sizeof(weft_worker_metrics))

#ifdef __cplusplus
}
#endif

#endif
