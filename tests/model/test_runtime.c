/* SPDX-License-Identifier: MIT */
/*
 * test_runtime.c - a whole runtime under the explorer: park and unpark, wakes from outside, timers
 * armed elsewhere, events.
 *
 * A worker that sleeps while there is work ends in "nobody can go on". The threads are
 * the workers and those of the test; with some hundred steps each the walk is not exhausted within
 * seconds, so most of these are for the full run.
 */
#include "io/registration.h"
#include "model/live.h"

#include <sys/epoll.h>

/* --- from outside --- */

static void outside(unsigned workers)
{
    runtime_open(WEFT_MULTI_THREAD, workers);
    join(spawn(&runner_type));
    CHECK_EQ(1, wf_load_u32(&ran, WF_RELAXED));
    weft_runtime_free(rt);
}

static void outside_one(void)
{
    outside(1);
}

static void outside_two(void)
{
    outside(2);
}

static void woken(unsigned workers)
{
    weft_task *t;

    runtime_open(WEFT_MULTI_THREAD, workers);
    t = spawn(&waiter_type);
    wait_for_waker();
    tell();
    join(t);
    weft_runtime_free(rt);
}

static void woken_one(void)
{
    woken(1);
}

static void woken_two(void)
{
    woken(2);
}

/* --- timers --- */

struct sleeper {
    weft_async async;
    weft_future nap;
    weft_duration length;
    weft_instant until;
};

static weft_poll sleeper_poll(void *self, weft_context *cx)
{
    struct sleeper *s = self;

    if (!s->until) {
        s->until = weft_now() + s->length;
        s->nap = weft_sleep_future(s->length);
    }
    if (weft_future_poll(&s->nap, cx) == WEFT_PENDING)
        return WEFT_PENDING;
    CHECK(weft_now() >= s->until);
    CHECK(weft_now() <= s->until + MS / 2); /* with a late clock only a late alarm can do it */
    return WEFT_READY;
}

static const weft_async_type sleeper_type = {sleeper_poll, dropped, sizeof(struct sleeper),
                                             "sleeper"};

static weft_task *spawn_sleeper(weft_duration length)
{
    struct sleeper state = {.length = length};
    weft_task *t;

    CHECK_EQ(0, weft_spawn_async_on(rt, &t, NULL, &sleeper_type, &state));
    return t;
}

static void one_timer(void)
{
    runtime_open(WEFT_MULTI_THREAD, 2);
    join(spawn_sleeper(2 * MS));
    weft_runtime_free(rt);
}

/* The second may be armed on the other worker, while the first sleeps by the first timer. */
static void two_timers(void)
{
    weft_task *late, *early;

    runtime_open(WEFT_MULTI_THREAD, 2);
    late = spawn_sleeper(10 * MS);
    early = spawn_sleeper(2 * MS);
    join(early);
    join(late);
    weft_runtime_free(rt);
}

/* Keeps its thread until the timer of the task that made it has fired: by the other worker, if both are
 * here (A1). */
static weft_poll hog_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    while (!wf_load_u32(&told, WF_ACQUIRE))
        wf_spin_pause();
    return WEFT_READY;
}

static const weft_async_type hog_type = {hog_poll, NULL, sizeof(weft_async), "hog"};

static weft_poll timed_poll(void *self, weft_context *cx)
{
    struct sleeper *s = self;
    weft_async state = {0};
    bool first = s->until == 0;

    s->until = 1;
    if (first) {
        s->nap = weft_sleep_future(2 * MS);
        CHECK_EQ(0, weft_go_async(&hog_type, &state));
    }
    if (weft_future_poll(&s->nap, cx) == WEFT_PENDING)
        return WEFT_PENDING;
    wf_store_u32(&told, 1, WF_RELEASE);
    return WEFT_READY;
}

static const weft_async_type timed_type = {timed_poll, NULL, sizeof(struct sleeper), "timed"};

static void stuck_with_timer(void)
{
    struct sleeper state = {.length = 2 * MS};
    weft_task *t;

    runtime_open(WEFT_MULTI_THREAD, 2);
    CHECK_EQ(0, weft_spawn_async_on(rt, &t, NULL, &timed_type, &state));
    join(t);
    weft_runtime_free(rt);
}

/* --- a task behind one that lasts --- */

static weft_poll teller_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    wf_store_u32(&told, 1, WF_RELEASE);
    return WEFT_READY;
}

static const weft_async_type teller_type = {teller_poll, NULL, sizeof(weft_async), "teller"};

/* The first ends with the second, which the other worker must come for (P3). */
static void second_from_outside(void)
{
    weft_task *first, *second;

    runtime_open(WEFT_MULTI_THREAD, 2);
    first = spawn(&hog_type);
    second = spawn(&teller_type);
    join(first);
    join(second);
    weft_runtime_free(rt);
}

/* --- tasks that make tasks --- */

static weft_poll parent_poll(void *self, weft_context *cx)
{
    weft_async state = {0};

    (void)self, (void)cx;
    CHECK_EQ(0, weft_go_async(&runner_type, &state));
    CHECK_EQ(0, weft_go_async(&runner_type, &state));
    return WEFT_READY;
}

static const weft_async_type parent_type = {parent_poll, dropped, sizeof(weft_async), "parent"};

static void family(void)
{
    runtime_open(WEFT_MULTI_THREAD, 2);
    join(spawn(&parent_type));
    while (wf_load_u32(&ran, WF_ACQUIRE) != 2)
        wf_spin_pause();
    weft_runtime_free(rt);
    CHECK_EQ(3, wf_load_u32(&drops, WF_RELAXED));
}

/* --- a descriptor --- */

static int file;

struct reader {
    weft_async async;
    struct wf_io *io;
    uintptr_t target;
    bool begun;
};

static weft_poll reader_poll(void *self, weft_context *cx)
{
    struct reader *r = self;
    bool ready;
    int rc = 0;

    if (!r->begun) {
        r->begun = true;
        r->io = wf_io_new(file, true);
        CHECK(r->io);
        CHECK_EQ(0, wf_io_begin(r->io, WF_IO_READ, &ready));
        wf_store_u32(&waker_is_there, 1, WF_RELEASE);
    }
    if (wf_io_poll_ready(r->io, WF_IO_READ, &r->target, cx, &rc) == WEFT_PENDING)
        return WEFT_PENDING;
    CHECK_EQ(0, rc);
    wf_io_end(r->io, WF_IO_READ, true);
    wf_io_close(r->io);
    return WEFT_READY;
}

static const weft_async_type reader_type = {reader_poll, dropped, sizeof(struct reader), "reader"};

static void event(void)
{
    struct reader state = {0};
    weft_task *t;

    runtime_open(WEFT_MULTI_THREAD, 2);
    file = model_file_open();
    CHECK_EQ(0, weft_spawn_async_on(rt, &t, NULL, &reader_type, &state));
    wait_for_waker();
    model_file_set(file, EPOLLIN);
    join(t);
    weft_runtime_free(rt);
}

const struct model_test model_tests[] = {
    {.name = "one worker: a task from outside is run and joined", .begin = outside_one, .stale = 1},
    {.name = "one worker: a wake from outside arrives",
     .begin = woken_one,
     .preemptions = 1,
     .stale = 1},
    {.name = "two workers: a task from outside is run and joined",
     .begin = outside_two,
     .preemptions = 1,
     .stale = 1},
    {.name = "two workers: a wake from outside arrives",
     .begin = woken_two,
     .preemptions = 1,
     .stale = 1,
     .deep = true},
    {.name = "two workers: a timer fires in time",
     .begin = one_timer,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1},
    {.name = "two workers: an earlier timer lowers the alarm",
     .begin = two_timers,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1,
     .deep = true},
    {.name = "two workers: the timer of a stuck one is fired by the other",
     .begin = stuck_with_timer,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1,
     .deep = true},
    {.name = "two workers: a task from outside does not wait for one that lasts",
     .begin = second_from_outside,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "two workers: tasks that tasks make are run",
     .begin = family,
     .preemptions = 1,
     .stale = 1,
     .deep = true},
    {.name = "two workers: an event reaches its task",
     .leaks = true, /* memory of registrations is never given back */
     .begin = event,
     .preemptions = 1,
     .stale = 1,
     .deep = true},
    {0},
};
