/* SPDX-License-Identifier: MIT */
/*
 * test_runtime.c - a whole runtime under the explorer: park and unpark, wakes from outside, timers
 * armed elsewhere, events, shutdown against all of these.
 *
 * The code is the library's own, from weft_runtime_new to weft_runtime_free; only system calls are
 * modelled. A worker that sleeps while there is work ends in "nobody can go on". The threads are
 * the workers and those of the test; with some hundred steps each the walk is not exhausted within
 * seconds, so most of these are for the full run.
 */
#include "io/registration.h"
#include "model/model.h"

#include <errno.h>
#include <sys/epoll.h>
#include <weft.h>

#define MS 1000000u

static weft_runtime *rt;
static weft_task *task;
static struct wf_atomic_u32 ran, drops;

static void runtime_open(weft_flavor flavor, unsigned workers)
{
    weft_config config = {.flavor = flavor,
                          .worker_threads = workers,
                          .event_interval = 4,
                          .stack_size = 16384,
                          .rng_seed = 1};

    CHECK_EQ(0, weft_runtime_new(&rt, &config));
}

static weft_task *spawn(const weft_async_type *type)
{
    weft_async state = {0};
    weft_task *t;

    CHECK_EQ(0, weft_spawn_async_on(rt, &t, NULL, type, &state));
    return t;
}

static void join(weft_task *t)
{
    int result = 1;

    CHECK_EQ(0, weft_join_blocking(t, &result));
    CHECK_EQ(0, result);
}

static void dropped(void *self)
{
    (void)self;
    wf_add_u32(&drops, 1, WF_RELAXED);
}

/* --- a task that ends at once --- */

static weft_poll runner_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    wf_add_u32(&ran, 1, WF_RELAXED);
    return WEFT_READY;
}

static const weft_async_type runner_type = {runner_poll, dropped, sizeof(weft_async), "runner"};

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

/* --- a task that is woken from outside --- */

static weft_waker waker;
static struct wf_atomic_u32 waker_is_there;
static struct wf_atomic_u32 told;
static unsigned message; /* plain: the wake carries it */

static weft_poll waiter_poll(void *self, weft_context *cx)
{
    (void)self;
    /* relaxed: the wake carries it */
    if (wf_load_u32(&told, WF_RELAXED)) {
        CHECK_EQ(42, message);
        return WEFT_READY;
    }
    if (!wf_load_u32(&waker_is_there, WF_RELAXED)) {
        waker = weft_context_waker(cx);
        wf_store_u32(&waker_is_there, 1, WF_RELEASE);
    }
    return WEFT_PENDING;
}

static const weft_async_type waiter_type = {waiter_poll, dropped, sizeof(weft_async), "waiter"};

static void wait_for_waker(void)
{
    while (!wf_load_u32(&waker_is_there, WF_ACQUIRE))
        wf_spin_pause();
}

static void tell(void)
{
    message = 42;
    wf_store_u32(&told, 1, WF_RELEASE);
    weft_waker_wake(&waker);
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

/* --- shutdown against ... --- */

static void open_two(void)
{
    runtime_open(WEFT_MULTI_THREAD, 2);
}

static void open_one(void)
{
    runtime_open(WEFT_MULTI_THREAD, 1);
}

static unsigned accepted;

static void spawner(void)
{
    weft_async state = {0};
    int rc = weft_spawn_async_on(rt, &task, NULL, &runner_type, &state);

    CHECK(rc == 0 || rc == -ESHUTDOWN);
    if (rc == 0) {
        accepted = 1;
        model_reached(0);
        weft_detach(task);
    } else {
        model_reached(1);
    }
}

static void closer(void)
{
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
}

/* A task that was accepted has ended: it ran, or was cancelled before it could. */
static void all_ended(void)
{
    weft_runtime_free(rt);
    CHECK_EQ(accepted, wf_load_u32(&drops, WF_RELAXED));
}

static void open_with_waiter(void)
{
    runtime_open(WEFT_MULTI_THREAD, 1);
    task = spawn(&waiter_type);
    wait_for_waker();
    accepted = 1;
}

static void canceller(void)
{
    weft_cancel(task);
    weft_detach(task);
}

static void freer(void)
{
    weft_runtime_free(rt);
}

static void task_ended(void)
{
    CHECK_EQ(1, wf_load_u32(&drops, WF_RELAXED));
    weft_detach(task);
}

static void task_gone(void)
{
    weft_runtime_free(rt);
    CHECK_EQ(1, wf_load_u32(&drops, WF_RELAXED));
}

/* The task gives up the runtime that its spawn is still at work on. */
static weft_poll ender_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    weft_runtime_free(weft_runtime_current());
    return WEFT_READY;
}

static const weft_async_type ender_type = {ender_poll, dropped, sizeof(weft_async), "ender"};

static void freed_inside(void)
{
    weft_async state = {0};

    runtime_open(WEFT_MULTI_THREAD, 1);
    CHECK_EQ(0, weft_spawn_async_on(rt, NULL, NULL, &ender_type, &state));
}

static void ended(void)
{
    CHECK_EQ(1, wf_load_u32(&drops, WF_RELAXED));
}

/* --- the current-thread runtime --- */

static int root(void *arg)
{
    (void)arg;
    wf_add_u32(&ran, 1, WF_RELAXED);
    return 7;
}

static void open_current(void)
{
    runtime_open(WEFT_CURRENT_THREAD, 1);
}

static void blocker(void)
{
    int result = 0;

    CHECK_EQ(0, weft_block_on(rt, root, NULL, &result));
    CHECK_EQ(7, result);
}

static void both_ran(void)
{
    CHECK_EQ(2, wf_load_u32(&ran, WF_RELAXED));
    weft_runtime_free(rt);
}

const struct model_test model_tests[] = {
    {.name = "one worker: a task from outside is run and joined", .begin = outside_one, .stale = 1},
    {.name = "one worker: a wake from outside arrives",
     .begin = woken_one,
     .preemptions = 1,
     .stale = 1},
    {.name = "one worker: a task spawned against shutdown ends or is refused",
     .begin = open_one,
     .thread = {spawner, closer},
     .end = all_ended,
     .must_reach = 3,
     .preemptions = 1,
     .stale = 1},
    {.name = "one worker: a wake against shutdown does no harm",
     .begin = open_with_waiter,
     .thread = {tell, freer},
     .end = task_ended,
     .preemptions = 1,
     .stale = 1,
     .deep = true},
    {.name = "one worker: a cancel against shutdown does no harm",
     .begin = open_with_waiter,
     .thread = {canceller, closer},
     .end = task_gone,
     .preemptions = 1,
     .stale = 1},
    {.name = "one worker: a task frees the runtime before its spawn returns",
     .begin = freed_inside,
     .end = ended,
     .preemptions = 1,
     .stale = 1},
    {.name = "current-thread: two threads that block on it both end",
     .leaks = true, /* the pool keeps stacks */
     .begin = open_current,
     .thread = {blocker, blocker},
     .end = both_ran,
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
    {.name = "two workers: a task spawned against shutdown ends or is refused",
     .begin = open_two,
     .thread = {spawner, closer},
     .end = all_ended,
     .must_reach = 3,
     .preemptions = 1,
     .stale = 1,
     .deep = true},
    {0},
};
