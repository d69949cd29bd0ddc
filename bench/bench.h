/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the workloads of weft-bench share: how one is described, what it is
 * given, how it reports, and how its tasks tell the root task that they are done.
 *
 * IDEA     A workload is one function that runs as the root task of a fresh process. It
 *          prints lines `metric value unit`: the form and the names that the programs it is
 *          compared with use too, so that one script reads them all (compare.py).
 * RULES    Only the public API: what weft-bench measures, a user gets. Per item a workload
 *          does the same as its twin elsewhere, and it checks its own result: a benchmark
 *          that skipped work must fail, not win.
 */
#ifndef WEFT_BENCH_H
#define WEFT_BENCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <weft.h>

struct bench_job;

/* Flags of a workload. */
#define BENCH_TWIN    1u /* has a stackless form too, chosen by --stackless */
#define BENCH_ENDLESS 2u /* a server: runs until it is killed, and is no part of "all" */
#define BENCH_FINAL   4u /* ends the process with its tasks alive, so it cannot be repeated */

struct bench_workload {
    const char *name; /* NULL: end of a table */
    const char *what; /* for `weft-bench list` */
    uint64_t count;   /* how much of it unless --n says so */
    unsigned flags;   /* BENCH_... */
    void (*run)(const struct bench_job *job);
};

/* One run of one workload: what the command line asked for. */
struct bench_job {
    const struct bench_workload *workload;
    uint64_t count;     /* never 0 */
    bool stackless;     /* only where the workload has BENCH_TWIN */
    uint16_t port;      /* echo; 0: any free one */
    size_t buffer_size; /* echo, bytes per connection */
};

/* Each file's workloads, ended by a NULL name. */
extern const struct bench_workload bench_spawn_workloads[];
extern const struct bench_workload bench_skynet_workloads[];
extern const struct bench_workload bench_yield_workloads[];
extern const struct bench_workload bench_timer_workloads[];
extern const struct bench_workload bench_timeout_workloads[];
extern const struct bench_workload bench_channel_workloads[];
extern const struct bench_workload bench_futures_workloads[];
extern const struct bench_workload bench_delay_workloads[];
extern const struct bench_workload bench_blocking_workloads[];
extern const struct bench_workload bench_lock_workloads[];
extern const struct bench_workload bench_notify_workloads[];
extern const struct bench_workload bench_broadcast_workloads[];
extern const struct bench_workload bench_memory_workloads[];
extern const struct bench_workload bench_thread_workloads[];
extern const struct bench_workload bench_echo_workloads[];

/* Print one line. The metric gets the suffix "_s" when the job is stackless. */
void bench_report(const struct bench_job *job, const char *metric, double value, int digits,
                  const char *unit);

/* Part i of count, of which so many parts do all. */
uint64_t bench_share(uint64_t count, unsigned parts, unsigned i);

/* The common case: nanoseconds per item since start, under the workload's own name. */
void bench_report_per_item(const struct bench_job *job, weft_instant start, uint64_t items);

/* End the program with a message unless rc is 0 or a count. */
void bench_check(ssize_t rc, const char *what);

/* End the program: a result is not what it must be. */
WEFT_NORETURN void bench_fail(const char *what);

/* count objects of size bytes, all zero. Never NULL. */
void *bench_alloc(size_t count, size_t size);

/* Join a task that must end with 0. From a fiber. */
void bench_join(weft_task *t);

/* Sort in place and give the value below which `percent` of them lie. */
void bench_sort(uint32_t *values, size_t count);
uint32_t bench_percentile(const uint32_t *sorted, size_t count, unsigned percent);

/*
 * A signal: one task waits for it, any thread fires it once for each wait. It resets itself
 * when the wait ends. Who waits may release it at once: the lock is what makes the last touch
 * of the firing thread come before that.
 */
struct bench_signal {
    pthread_mutex_t lock;
    bool fired;       /* under lock */
    bool waiting;     /* under lock: waker is set */
    weft_waker waker; /* under lock */
};

void bench_signal_init(struct bench_signal *s);
void bench_signal_release(struct bench_signal *s);
void bench_signal_fire(struct bench_signal *s);
void bench_signal_wait(struct bench_signal *s); /* from a fiber */

/* So many tasks are to end; the last one fires the signal. */
struct bench_countdown {
    _Atomic uint64_t left;
    struct bench_signal done;
};

void bench_countdown_init(struct bench_countdown *c, uint64_t count);
void bench_countdown_wait(struct bench_countdown *c); /* and release it */
void bench_countdown_hit(struct bench_countdown *c);

#endif
