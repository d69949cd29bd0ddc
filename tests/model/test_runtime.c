/* SPDX-License-Identifier: MIT */
/*
 * test_runtime.c - a whole runtime under the explorer: park and unpark, wakes from outside, timers
 * armed elsewhere, events.
 *
 * A worker that sleeps while there is work ends in "nobody can go on". The threads are
 * the workers and those of the test, with some hundred steps each: one preemption, and with two workers no
 * old values, are what takes seconds. The full run allows for more.
 */
#include "io/registration.h"
#include "model/live.h"
#include "task/await.h"

#include <limits.h>
#include <sys/epoll.h>

/* What can happen, must. */
enum { OVERFLOWED };

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

/* The hog keeps its thread until the timer has fired: by the other worker, if both are here (A1). */
static void stuck_with_timer(void)
{
    runtime_open(WEFT_MULTI_THREAD, 2);
    join(spawn_timed());
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

/* --- where queues have no memory to grow: their rings have two slots --- */

static void no_memory(void *user)
{
    (void)user;
    (void)model_alloc_fails(UINT_MAX);
}

/* Has this worker been refused any? */
static void memory_again(void *user)
{
    (void)user;
    if (model_alloc_fails(0) != UINT_MAX)
        model_reached(OVERFLOWED);
}

static void open_without_memory(unsigned workers)
{
    weft_config config = {.worker_threads = workers,
                          .event_interval = 4,
                          .stack_size = 16384,
                          .on_thread_start = no_memory,
                          .on_thread_stop = memory_again,
                          .rng_seed = 1};

    CHECK_EQ(0, weft_runtime_new(&rt, &config));
}

/* What one look at the injection queue takes, and has to queue. */
static void crowd_outside(unsigned workers, unsigned tasks)
{
    open_without_memory(workers);
    for (unsigned i = 0; i < tasks; i++)
        weft_detach(spawn(&runner_type));
    while (wf_load_u32(&ran, WF_ACQUIRE) != tasks)
        wf_spin_pause();
    weft_runtime_free(rt);
    CHECK_EQ(tasks, wf_load_u32(&drops, WF_RELAXED));
}

static void crowd_for_one(void)
{
    crowd_outside(1, 4);
}

static void crowd_for_two(void)
{
    crowd_outside(2, 6);
}

/* A task that spawns more than there is room for. */
static weft_poll crowded_poll(void *self, weft_context *cx)
{
    weft_async state = {0};

    (void)self, (void)cx;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(0, weft_go_async(&runner_type, &state));
    return WEFT_READY;
}

static const weft_async_type crowded_type = {crowded_poll, dropped, sizeof(weft_async), "crowded"};

static void crowd_inside(void)
{
    open_without_memory(2);
    join(spawn(&crowded_type));
    while (wf_load_u32(&ran, WF_ACQUIRE) != 3)
        wf_spin_pause();
    weft_runtime_free(rt);
    CHECK_EQ(4, wf_load_u32(&drops, WF_RELAXED));
}

/* Stays until the other worker has stolen: four of seven, of which it queues three. A last one alone is not
 * announced (W4.d). */
static weft_poll robbed_poll(void *self, weft_context *cx)
{
    uint32_t before = model_alloc_fails(0);
    weft_async state = {0};

    (void)self, (void)cx;
    for (int i = 0; i < 7; i++)
        CHECK_EQ(0, weft_go_async(&runner_type, &state));
    (void)model_alloc_fails(before);
    while (wf_load_u32(&ran, WF_ACQUIRE) < 6)
        wf_spin_pause();
    return WEFT_READY;
}

static const weft_async_type robbed_type = {robbed_poll, dropped, sizeof(weft_async), "robbed"};

static void crowd_stolen(void)
{
    open_without_memory(2);
    join(spawn(&robbed_type));
    weft_runtime_free(rt);
    CHECK_EQ(8, wf_load_u32(&drops, WF_RELAXED));
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

/* --- a fiber that waits for a descriptor --- */

static struct wf_io *waited_on;
static bool refused; /* chosen: else an event comes */

/* It is woken by what happens to the descriptor, and by who has nothing to say of that. */
static int reading_root(void *arg)
{
    struct wf_fiber *f;
    bool ready;
    int rc;

    (void)arg;
    CHECK_EQ(0, wf_await_enter(&f, "model"));
    waited_on = wf_io_new(file, true);
    CHECK(waited_on);
    CHECK_EQ(0, wf_io_begin(waited_on, WF_IO_READ, &ready));
    waker = weft_waker_clone(&(weft_waker){&f->task->wakeable});
    wf_store_u32(&waker_is_there, 1, WF_RELEASE);
    rc = wf_io_wait(f, waited_on, WF_IO_READ);
    CHECK_EQ(refused ? -ESHUTDOWN : 0, rc);
    CHECK_EQ(42, message); /* what happened carries it, whoever woke */
    wf_io_end(waited_on, WF_IO_READ, true);
    wf_io_close(waited_on);
    return 7;
}

static void open_current(void)
{
    refused = model_choose(2);
    file = model_file_open();
    runtime_open(WEFT_CURRENT_THREAD, 1);
}

static void block_to_read(void)
{
    int result = 0;

    CHECK_EQ(0, weft_block_on(rt, reading_root, NULL, &result));
    CHECK_EQ(7, result);
}

/* Its waker is in the word, above the flags. */
__attribute__((no_sanitize("thread"))) static bool root_waits(void *arg)
{
    (void)arg;
    return waited_on->way[WF_IO_READ].raw > 7;
}

/* Who is refused before it waits learns nothing else. */
static void happens(void)
{
    wait_for_waker();
    (void)model_block(root_waits, NULL, UINT64_MAX);
    message = 42;
    if (refused)
        wf_io_refuse(waited_on);
    else
        (void)model_file_set(file, EPOLLIN);
}

static void wakes_for_nothing(void)
{
    wait_for_waker();
    weft_waker_wake(&waker);
}

static void free_runtime(void)
{
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
     .stale = MODEL_NONE},
    {.name = "two workers: a timer fires in time",
     .begin = one_timer,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1},
    {.name = "two workers: an earlier timer lowers the alarm",
     .begin = two_timers,
     .late_clock = true,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "two workers: the timer of a stuck one is fired by the other",
     .begin = stuck_with_timer,
     .late_clock = true,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "two workers: a task from outside does not wait for one that lasts",
     .begin = second_from_outside,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "two workers: tasks that tasks make are run",
     .begin = family,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "one worker: tasks from outside for which its queue has no memory are run",
     .begin = crowd_for_one,
     .must_reach = 1u << OVERFLOWED,
     .preemptions = 1,
     .stale = 1},
    {.name = "two workers: tasks from outside for which a queue has no memory are run",
     .begin = crowd_for_two,
     .must_reach = 1u << OVERFLOWED,
     .late_clock = true,
     .preemptions = MODEL_NONE,
     .stale = 1},
    {.name = "two workers: a task for which its maker's queue has no memory is run",
     .begin = crowd_inside,
     .must_reach = 1u << OVERFLOWED,
     .late_clock = true,
     .preemptions = MODEL_NONE,
     .stale = 1},
    {.name = "two workers: tasks for which the thief's queue has no memory are run",
     .begin = crowd_stolen,
     .must_reach = 1u << OVERFLOWED,
     .late_clock = true,
     .preemptions = MODEL_NONE,
     .stale = 1},
    {.name = "two workers: an event reaches its task",
     .leaks = true, /* memory of registrations is never given back */
     .begin = event,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "current-thread: a fiber learns what became of its descriptor, whoever wakes it",
     .leaks = true,
     .begin = open_current,
     .thread = {block_to_read, happens, wakes_for_nothing},
     .end = free_runtime,
     .late_clock = true,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {0},
};
