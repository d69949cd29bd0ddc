/* SPDX-License-Identifier: MIT */
/*
 * barrier.c - tasks that wait for each other, in rounds.
 *
 * IDEA     Who comes is counted and takes a place in line. The last one to come begins a new round; whoever is in line
 *          from an earlier round may go on, whether the last one has come to wake it or not.
 * INVARIANTS
 *     B1   arrived is the number of waiters in line whose round is the current one, and is less than the count.
 * WHO      Any thread.
 * ORDER    By the lock: the last one holds it after all others, and each goes on after it.
 * TESTS    tests/model/test_barrier.c, tests/api/test_barrier.c
 */
#include "base/log.h"
#include "sync/wait.h"
#include "task/await.h"
#include "task/thread_wait.h"

#include <errno.h>
#include <weft/barrier.h>

/* A weft_barrier, from inside. */
struct barrier {
    uint64_t count; /* set once */
    struct wf_lock lock;
    struct wf_waitq line; /* under the lock, as all below */
    uint32_t round;
    uint32_t arrived;
};

_Static_assert(sizeof(struct barrier) <= sizeof(weft_barrier) &&
                   offsetof(struct barrier, count) == offsetof(weft_barrier, count_),
               "weft_barrier is too small, or begins in another way");

static struct barrier *barrier_of(weft_barrier *b)
{
    return (struct barrier *)(void *)b;
}

void weft_barrier_init(weft_barrier *b, uint32_t count)
{
    if (b)
        *b = (weft_barrier)WEFT_BARRIER_INIT(count);
    else
        (void)wf_misuse(-EINVAL, "weft_barrier_init: NULL");
}

/* Under the lock. A waiter that has not come yet comes: its need is the round. */
static bool barrier_look(struct wf_wait *w, ssize_t *result)
{
    struct barrier *b = w->object;

    *result = 0;
    if (w->waiter.state == WF_WAITER_RELEASED)
        return true;
    if (w->waiter.state == WF_WAITER_QUEUED)
        return w->waiter.need != b->round;
    if (b->arrived + (uint64_t)1 >= b->count) {
        b->arrived = 0;
        b->round++;
        *result = 1;
        return true;
    }
    w->waiter.need = b->round;
    b->arrived++;
    return false;
}

static weft_poll barrier_poll(weft_future *f, weft_context *cx)
{
    struct barrier *b = wf_wait_of(f)->object;

    if (!wf_coop_proceed(cx))
        return WEFT_PENDING;
    if (wf_wait_poll(f, cx, &b->lock, &b->line, barrier_look) == WEFT_PENDING) {
        wf_coop_restore();
        return WEFT_PENDING;
    }
    if (f->result == 1) {
        wf_lock(&b->lock);
        wf_waitq_open(&b->lock, &b->line, b->round);
    }
    return WEFT_READY;
}

static void barrier_drop(weft_future *f)
{
    struct wf_wait *w = wf_wait_of(f);
    struct barrier *b = w->object;
    weft_wakeable *old = NULL;

    wf_lock(&b->lock);
    if (w->waiter.state == WF_WAITER_QUEUED) {
        if (w->waiter.need == b->round)
            b->arrived--;
        old = wf_waitq_take(&b->line, &w->waiter, WF_WAITER_IDLE);
    }
    wf_unlock(&b->lock);
    wf_wakeable_release(old);
}

static const weft_future_type barrier_type = {barrier_poll, barrier_drop, "barrier"};

weft_future weft_barrier_wait_future(weft_barrier *b)
{
    weft_future f = {.type = &barrier_type};

    if (!b)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_barrier_wait_future: NULL"));
    wf_wait_of(&f)->object = barrier_of(b);
    return f;
}

int weft_barrier_wait(weft_barrier *b)
{
    weft_future future;
    struct wf_fiber *f;
    int rc;

    if (wf_unlikely(!b))
        return wf_misuse(-EINVAL, "weft_barrier_wait: NULL");
    rc = wf_await_enter(&f, "weft_barrier_wait");
    if (wf_unlikely(rc < 0))
        return rc;
    future = weft_barrier_wait_future(b);
    return (int)wf_await_future(f, &future);
}

int weft_barrier_wait_blocking(weft_barrier *b)
{
    weft_future future;
    int rc;

    if (!b)
        return wf_misuse(-EINVAL, "weft_barrier_wait_blocking: NULL");
    rc = wf_thread_check_plain("weft_barrier_wait_blocking");
    if (rc < 0)
        return rc;
    future = weft_barrier_wait_future(b);
    return (int)wf_thread_await(&future, WEFT_FOREVER);
}
