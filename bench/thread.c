/* SPDX-License-Identifier: MIT */
/*
 * thread.c - the border between the runtime and the rest of the process.
 *
 * xthread  isolates waking across that border: a plain thread wakes a task on an otherwise idle
 *          runtime, the task answers, the thread waits for the answer; one round trip
 *          after the other. Two sleeping threads are woken in each round, so that most of
 *          the time is the kernel's and the virtual machine's, and the figure jumps with
 *          where the two threads run. It says little of the wake itself when the runtime is busy.
 *
 * The way in is the public waker, behind the signal of support.c; the way back is a mutex
 * and a condition variable, as any C program would have.
 */
#include "bench.h"

#include <stdlib.h>

struct xthread {
    const struct bench_job *job;
    struct bench_signal request; /* thread to task */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool answered; /* under lock */
};

static void xthread_answer(struct xthread *x)
{
    pthread_mutex_lock(&x->lock);
    x->answered = true;
    pthread_mutex_unlock(&x->lock);
    pthread_cond_signal(&x->changed);
}

static void xthread_wait_for_answer(struct xthread *x)
{
    pthread_mutex_lock(&x->lock);
    while (!x->answered)
        pthread_cond_wait(&x->changed, &x->lock);
    x->answered = false;
    pthread_mutex_unlock(&x->lock);
}

static void *xthread_main(void *arg)
{
    struct xthread *x = arg;
    weft_instant start = weft_now();
    double elapsed;

    for (uint64_t i = 0; i < x->job->count; i++) {
        bench_signal_fire(&x->request);
        xthread_wait_for_answer(x);
    }
    elapsed = (double)(weft_now() - start);
    bench_report(x->job, "xthread_rt", elapsed / (double)x->job->count, 1, "ns");
    return NULL;
}

static void xthread_run(const struct bench_job *job)
{
    struct xthread x = {.job = job};
    pthread_t thread;

    bench_signal_init(&x.request);
    bench_check(-pthread_mutex_init(&x.lock, NULL), "mutex");
    bench_check(-pthread_cond_init(&x.changed, NULL), "condition variable");
    bench_check(-pthread_create(&thread, NULL, xthread_main, &x), "thread");

    for (uint64_t i = 0; i < job->count; i++) {
        bench_signal_wait(&x.request);
        xthread_answer(&x);
    }

    /* This blocks the worker, but only until the thread has printed its line. */
    bench_check(-pthread_join(thread, NULL), "join a thread");
    pthread_cond_destroy(&x.changed);
    pthread_mutex_destroy(&x.lock);
    bench_signal_release(&x.request);
}

const struct bench_workload bench_thread_workloads[] = {
    {"xthread", "a plain thread wakes a task and waits for its answer; per round trip", 200000, 0,
     xthread_run},
    {0},
};
