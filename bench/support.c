/* SPDX-License-Identifier: MIT */
/*
 * support.c - reporting, checking, and the one-shot signal that tells a root task the end.
 *
 * The signal is a future of our own kind, made as any user of the library would make one:
 * a poll that leaves a waker behind, and a drop that takes it back.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

void bench_report(const struct bench_job *job, const char *metric, double value, int digits,
                  const char *unit)
{
    printf("%s%s %.*f %s\n", metric, job->stackless ? "_s" : "", digits, value, unit);
    fflush(stdout);
}

uint64_t bench_share(uint64_t count, unsigned parts, unsigned i)
{
    return count / parts + (i < count % parts);
}

void bench_report_per_item(const struct bench_job *job, weft_instant start, uint64_t items)
{
    double elapsed = (double)(weft_now() - start);

    bench_report(job, job->workload->name, elapsed / (double)items, 1, "ns");
}

void bench_check(ssize_t rc, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "weft-bench: %s: %s\n", what, weft_strerror(rc));
    exit(1);
}

void bench_fail(const char *what)
{
    fprintf(stderr, "weft-bench: %s\n", what);
    exit(1);
}

void *bench_alloc(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (memory == NULL)
        bench_fail("out of memory");
    return memory;
}

void bench_join(weft_task *t)
{
    int result;

    bench_check(weft_join(t, &result), "join");
    bench_check(result, "a joined task");
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

void bench_sort(uint32_t *values, size_t count)
{
    qsort(values, count, sizeof(values[0]), compare_u32);
}

uint32_t bench_percentile(const uint32_t *sorted, size_t count, unsigned percent)
{
    size_t index = count * percent / 100;

    if (count == 0)
        bench_fail("no samples");
    return sorted[index < count ? index : count - 1];
}

void bench_signal_init(struct bench_signal *s)
{
    *s = (struct bench_signal){.fired = false};
    bench_check(-pthread_mutex_init(&s->lock, NULL), "mutex");
}

void bench_signal_release(struct bench_signal *s)
{
    pthread_mutex_destroy(&s->lock);
}

void bench_signal_fire(struct bench_signal *s)
{
    weft_waker waker = {0};
    bool waiting;

    pthread_mutex_lock(&s->lock);
    s->fired = true;
    waiting = s->waiting;
    if (waiting)
        waker = s->waker;
    s->waiting = false;
    pthread_mutex_unlock(&s->lock);

    /* From here on s may be gone; and no lock is held while foreign code runs. */
    if (waiting)
        weft_waker_wake(&waker);
}

static weft_poll signal_poll(weft_future *f, weft_context *cx)
{
    struct bench_signal *s = (struct bench_signal *)f->words[0];
    weft_waker old = {0};
    bool fired, had;

    pthread_mutex_lock(&s->lock);
    fired = s->fired;
    had = s->waiting;
    if (had)
        old = s->waker;
    if (!fired)
        s->waker = weft_context_waker(cx);
    s->waiting = !fired;
    s->fired = false;
    pthread_mutex_unlock(&s->lock);

    if (had)
        weft_waker_drop(&old);
    if (!fired)
        return WEFT_PENDING;
    f->result = 0;
    return WEFT_READY;
}

static void signal_drop(weft_future *f)
{
    struct bench_signal *s = (struct bench_signal *)f->words[0];
    weft_waker old = {0};
    bool had;

    pthread_mutex_lock(&s->lock);
    had = s->waiting;
    if (had)
        old = s->waker;
    s->waiting = false;
    pthread_mutex_unlock(&s->lock);

    if (had)
        weft_waker_drop(&old);
}

static const weft_future_type signal_type = {
    .poll = signal_poll,
    .drop = signal_drop,
    .name = "bench signal",
};

void bench_signal_wait(struct bench_signal *s)
{
    weft_future f = weft_future_of(&signal_type);

    f.words[0] = (uintptr_t)s;
    bench_check(weft_await(&f), "wait for a signal");
}

void bench_countdown_init(struct bench_countdown *c, uint64_t count)
{
    atomic_init(&c->left, count);
    bench_signal_init(&c->done);
}

void bench_countdown_hit(struct bench_countdown *c)
{
    /* Release: what this task did is seen by whoever hits last, and by the root task after it. */
    if (atomic_fetch_sub_explicit(&c->left, 1, memory_order_acq_rel) == 1)
        bench_signal_fire(&c->done);
}

void bench_countdown_wait(struct bench_countdown *c)
{
    bench_signal_wait(&c->done);
    bench_signal_release(&c->done);
}
