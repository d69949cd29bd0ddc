/* SPDX-License-Identifier: MIT */
/*
 * test_thread_wait.c - a plain thread that waits for a future while others wake it, in vain and in earnest.
 *
 * The waiting thread's wakeable lies on its stack: who wakes it after it has returned is in a race. What the thread
 * that rings wrote must be there, although no lock carries it: the wake does.
 */
#include "base/lock.h"
#include "model/model.h"
#include "task/thread_wait.h"
#include "task/waker.h"

#include <errno.h>

enum { READY_AT_ONCE, WOKEN, WOKEN_IN_VAIN, TIMED_OUT, EVENTS_END };

static struct bell {
    struct wf_lock lock;
    weft_wakeable *target; /* under the lock */
    struct wf_atomic_u32 rung;
    unsigned polls; /* the waiter's */
} bell = {.lock = WF_LOCK_INIT(WF_RANK_LEAF)};

static unsigned message; /* plain: the wake carries it */
static uint64_t limit = WEFT_FOREVER;

static weft_poll bell_poll(weft_future *f, weft_context *cx)
{
    weft_wakeable *old;
    bool rung;

    bell.polls++;
    wf_lock(&bell.lock);
    old = bell.target;
    bell.target = wf_wakeable_retain(cx->waker_.target_);
    wf_unlock(&bell.lock);
    wf_wakeable_release(old);
    /* relaxed: the wake carries it, or nobody has rung */
    rung = wf_load_u32(&bell.rung, WF_RELAXED) != 0;
    if (!rung)
        return WEFT_PENDING;
    wf_lock(&bell.lock);
    old = bell.target;
    bell.target = NULL;
    wf_unlock(&bell.lock);
    wf_wakeable_release(old);
    f->result = 7;
    return WEFT_READY;
}

static void bell_drop(weft_future *f)
{
    weft_wakeable *old;

    (void)f;
    wf_lock(&bell.lock);
    old = bell.target;
    bell.target = NULL;
    wf_unlock(&bell.lock);
    wf_wakeable_release(old);
}

static const weft_future_type bell_type = {bell_poll, bell_drop, "bell"};

static void waits(void)
{
    weft_future f = {.type = &bell_type};
    ssize_t rc = wf_thread_await(&f, limit);

    if (rc == -ETIMEDOUT) {
        model_reached(TIMED_OUT);
        return;
    }
    CHECK_EQ(7, rc);
    model_reached(bell.polls == 1 ? READY_AT_ONCE : bell.polls == 2 ? WOKEN : WOKEN_IN_VAIN);
}

static weft_wakeable *take(void)
{
    weft_wakeable *target;

    wf_lock(&bell.lock);
    target = bell.target;
    bell.target = NULL;
    wf_unlock(&bell.lock);
    return target;
}

static void rings(void)
{
    wf_store_u32(&bell.rung, 1, WF_RELAXED);
    wf_wakeable_wake(take());
}

/* Keeps a waker, and wakes by it although nothing has happened. */
static void disturbs(void)
{
    weft_wakeable *target;

    wf_lock(&bell.lock);
    target = wf_wakeable_retain(bell.target);
    wf_unlock(&bell.lock);
    wf_wakeable_wake(target);
}

/* What was written before the wake is seen after it, by the word alone. */
static struct wf_atomic_ptr handed;

static weft_poll note_poll(weft_future *f, weft_context *cx)
{
    (void)f;
    if (bell.polls++ == 0) {
        /* release: the wakeable, for the thread that wakes */
        wf_store_ptr(&handed, wf_wakeable_retain(cx->waker_.target_), WF_RELEASE);
        return WEFT_PENDING;
    }
    CHECK_EQ(42, message);
    return WEFT_READY;
}

static const weft_future_type note_type = {note_poll, NULL, "note"};

static void reads(void)
{
    weft_future f = {.type = &note_type};

    CHECK_EQ(0, wf_thread_await(&f, WEFT_FOREVER));
    CHECK_EQ(2, bell.polls);
    message = 43; /* nobody reads or writes it any more */
}

static void writes(void)
{
    weft_wakeable *target;

    while (!(target = wf_load_ptr(&handed, WF_ACQUIRE)))
        wf_spin_pause();
    message = 42;
    wf_wakeable_wake(target);
}

static void begin_limited(void)
{
    limit = 1000;
}

static void end(void)
{
    CHECK(!bell.target);
}

const struct model_test model_tests[] = {
    {.name = "a thread is woken, also by wakes in vain",
     .thread = {waits, rings, disturbs},
     .end = end,
     .must_reach = 1u << READY_AT_ONCE | 1u << WOKEN | 1u << WOKEN_IN_VAIN},
    {.name = "a wake carries what was written before it", .thread = {reads, writes}},
    {.name = "a limit against the wake",
     .begin = begin_limited,
     .thread = {waits, rings},
     .end = end,
     .must_reach = 1u << READY_AT_ONCE | 1u << WOKEN | 1u << TIMED_OUT},
    {.name = "a limit that passes while nobody rings",
     .begin = begin_limited,
     .thread = {waits, disturbs},
     .end = end,
     .must_reach = 1u << TIMED_OUT},
    {0},
};
