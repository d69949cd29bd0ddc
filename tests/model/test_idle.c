/* SPDX-License-Identifier: MIT */
/*
 * test_idle.c - the park protocol under all interleavings: no wake-up is lost, and no worker sleeps while
 * there is more work than workers that are awake.
 *
 * A worker is reduced to what worker.c and park.c do with the word: take, search, sleep, notify. It takes one
 * task at a time, as one of many workers does. The queues and the hub are the real ones. A task may hog its
 * worker until another one has run, so that a wake-up for the other one which does not come is a deadlock,
 * which the explorer reports.
 */
#include "io/poller.h"
#include "model/model.h"
#include "sched/deque.h"
#include "sched/idle.h"
#include "sched/inject.h"
#include "task/task.h"

#define WORKERS 2
#define TASKS   3
#define NOBODY  TASKS

enum { SLEPT, TOKEN_TAKEN, TOKEN_AWAKE, STAYED, PASSED_ON, STOLEN, NOBODY_CALLED };

static struct wf_idle idle;
static struct wf_inject injected;
static struct wf_deque queue[WORKERS]; /* by its worker; others steal */
static struct wf_hub hub;
static struct weft_task tasks[TASKS];
static unsigned hogs_until[TASKS]; /* set in begin: the worker is free when that one has run */
static uint64_t runs;              /* orders the two below */
static bool ran[TASKS];
static unsigned run_count;
static unsigned wanted; /* set in begin */
static struct wf_atomic_u32 over;

/* For checks between the steps: what is there now, whoever may see it. */
__attribute__((no_sanitize("thread"))) static void check_word(void)
{
    uint64_t word = idle.word.raw;
    unsigned searching = word & 0xffff, sleeping = word >> 16 & 0xffff,
             tokens = word >> 32 & 0xffff;

    CHECK(tokens <= sleeping);  /* P1 */
    CHECK(tokens <= searching); /* P1 */
    CHECK(sleeping <= idle.workers && searching - tokens + sleeping <= idle.workers);
}

static bool notify(void)
{
    bool called = wf_idle_notify(&idle);

    check_word();
    if (called)
        wf_hub_signal(&hub);
    else
        model_reached(NOBODY_CALLED);
    return called;
}

/* As wf_runtime_inject does. */
static void inject(unsigned i)
{
    wf_inject_push(&injected, &tasks[i]);
    (void)notify();
}

__attribute__((no_sanitize("thread"))) static bool has_run(void *arg)
{
    return ran[*(const unsigned *)arg];
}

/* As runtime_stop does: everybody leaves, and wakes the next. */
static void stop(void)
{
    wf_store_u32(&over, 1, WF_RELAXED);
    wf_hub_signal(&hub);
}

/* One step of the explorer. Returns whether it was the last one. */
__attribute__((no_sanitize("thread"))) static bool runs_now(unsigned i)
{
    model_use("a task runs", &runs);
    CHECK(!ran[i]);
    ran[i] = true;
    return ++run_count == wanted;
}

static void run(struct weft_task *t)
{
    unsigned i = (unsigned)(t - tasks);

    if (hogs_until[i] != NOBODY)
        (void)model_block(has_run, &hogs_until[i], UINT64_MAX);
    if (runs_now(i))
        stop();
}

static struct weft_task *take(unsigned self)
{
    struct weft_task *t = wf_deque_take_oldest(&queue[self]);

    if (!t)
        (void)wf_inject_take(&injected, &t, 1);
    return t;
}

static struct weft_task *steal(unsigned self, bool *searching)
{
    struct weft_task *t;

    if (!*searching) {
        if (!wf_idle_search_begin(&idle))
            return NULL;
        *searching = true;
        check_word();
    }
    for (unsigned i = 0; i < idle.workers; i++)
        if (i != self && wf_deque_steal_half(&queue[i], &t, 1)) {
            model_reached(STOLEN);
            return t;
        }
    return NULL;
}

static bool work_visible(void)
{
    bool visible = wf_inject_len(&injected) || wf_load_u32(&over, WF_RELAXED);

    for (unsigned i = 0; i < idle.workers && !visible; i++)
        visible = wf_deque_len(&queue[i]) != 0;
    return visible;
}

/* Returns whether it is the searcher that somebody called for. */
static bool park(bool searching)
{
    struct wf_hub_wake wake;
    bool called;
    unsigned n;

    wf_idle_sleep_begin(&idle, searching);
    check_word();
    if (work_visible()) {
        called = wf_idle_sleep_cancel(&idle, searching);
        CHECK(called || !searching);
        if (called)
            model_reached(searching ? STAYED : TOKEN_AWAKE);
    } else {
        model_reached(SLEPT);
        wf_hub_sleep(&hub, NULL, NULL, UINT64_MAX, &wake, &n);
        called = wf_idle_sleep_end(&idle);
        if (called)
            model_reached(TOKEN_TAKEN);
    }
    check_word();
    return called;
}

static bool search_end(bool found)
{
    bool last = wf_idle_search_end(&idle);

    check_word();
    if (last && found && notify()) /* P3 */
        model_reached(PASSED_ON);
    return false;
}

static void worker(unsigned self)
{
    bool searching = false;

    while (!wf_load_u32(&over, WF_RELAXED)) {
        struct weft_task *t = take(self);

        if (!t && idle.workers > 1)
            t = steal(self, &searching);
        if (!t) {
            searching = park(searching);
            continue;
        }
        if (searching)
            searching = search_end(true);
        run(t);
    }
    if (searching)
        (void)search_end(false);
    wf_hub_signal(&hub);
}

static void worker_0(void)
{
    worker(0);
}

static void worker_1(void)
{
    worker(1);
}

/* It polls a task that spawns two others, as worker_spawned does it, and goes on until the first of the two
 * has run. */
static void worker_0_spawns(void)
{
    CHECK(wf_deque_push(&queue[0], &tasks[1]));
    CHECK(wf_deque_push(&queue[0], &tasks[2]));
    (void)notify();
    run(&tasks[0]);
    worker(0);
}

static void begin(unsigned workers, unsigned count)
{
    wf_idle_init(&idle, workers);
    wf_inject_init(&injected);
    for (unsigned i = 0; i < WORKERS; i++)
        CHECK_EQ(0, wf_deque_init(&queue[i], true));
    CHECK_EQ(0, wf_hub_open(&hub, WF_HUB_MANY));
    wanted = count;
    for (unsigned i = 0; i < TASKS; i++)
        hogs_until[i] = NOBODY;
}

static void begin_single(void)
{
    begin(1, 2);
}

static void begin_two(void)
{
    begin(2, 2);
}

static void begin_hog(void)
{
    begin(2, 2);
    hogs_until[0] = 1;
}

static void begin_spawner(void)
{
    begin(2, 3);
    hogs_until[0] = 1;
}

static void end(void)
{
    CHECK_EQ(wanted, run_count);
    CHECK_EQ(0, idle.word.raw); /* all that searched, slept or was called for has ended */
    wf_hub_close(&hub);
    for (unsigned i = 0; i < WORKERS; i++)
        wf_deque_release(&queue[i]);
}

static void produce_0(void)
{
    inject(0);
}

static void produce_1(void)
{
    inject(1);
}

static void produce_0_1(void)
{
    inject(0);
    inject(1);
}

/* Somebody sleeps on the hub for events, too: one wakes without being called. */
static void event(void)
{
    wf_hub_signal(&hub);
}

const struct model_test model_tests[] = {
    {.name = "one worker, two producers: it sees both",
     .begin = begin_single,
     .thread = {worker_0, produce_0, produce_1},
     .end = end,
     .must_reach = 1u << SLEPT | 1u << TOKEN_TAKEN | 1u << TOKEN_AWAKE | 1u << NOBODY_CALLED},
    {.name = "two workers, one producer: a hog does not hold up the next",
     .begin = begin_hog,
     .thread = {worker_0, worker_1, produce_0_1},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = 1u << SLEPT | 1u << TOKEN_TAKEN | 1u << STAYED | 1u << PASSED_ON |
                   1u << NOBODY_CALLED},
    {.name = "a hog's own spawns are stolen",
     .begin = begin_spawner,
     .thread = {worker_0_spawns, worker_1},
     .end = end,
     .stale = 1,
     .must_reach = 1u << SLEPT | 1u << TOKEN_TAKEN | 1u << STAYED | 1u << STOLEN},
    {.name = "a worker that wakes for an event takes the other's token",
     .begin = begin_hog,
     .thread = {worker_0, worker_1, produce_0_1, event},
     .end = end,
     .preemptions = 1,
     .stale = MODEL_NONE,
     .must_reach = 1u << TOKEN_TAKEN | 1u << TOKEN_AWAKE | 1u << PASSED_ON},
    {.name = "two workers, one producer, in more depth",
     .begin = begin_hog,
     .thread = {worker_0, worker_1, produce_0_1},
     .end = end,
     .stale = 1,
     .deep = true},
    {.name = "an event besides, in more depth",
     .begin = begin_hog,
     .thread = {worker_0, worker_1, produce_0_1, event},
     .end = end,
     .stale = MODEL_NONE,
     .deep = true},
    {.name = "two workers, two producers",
     .begin = begin_two,
     .thread = {worker_0, worker_1, produce_0, produce_1},
     .end = end,
     .stale = 1,
     .deep = true},
    {0},
};
