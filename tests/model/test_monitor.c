/* SPDX-License-Identifier: MIT */
/*
 * test_monitor.c - how the monitor falls asleep, under all interleavings: it does not sleep while a worker is at work.
 *
 * The monitor's sleep is the real one; a worker is reduced to what it writes when it begins and when it wakes. A
 * worker's side has no fence, but the monitor's membarrier. A monitor that sleeps on can go on no more, which
 * the explorer reports.
 */
#include "model/model.h"
#include "sched/monitor.h"
#include "sched/worker.h"

#include <errno.h>

#define WORKERS 2

enum { FOUND_ASLEEP, FOUND_AWAKE };

static struct weft_runtime runtime;
static struct wf_worker workers[WORKERS];
static struct wf_seat seats[WORKERS];

static void begin(void)
{
    runtime.workers = WORKERS;
    runtime.worker = workers;
    runtime.seats = seats;
    runtime.monitor.started = true;
    wf_store_u32(&runtime.monitor.word, WF_MONITOR_AWAKE, WF_RELAXED);
    for (unsigned i = 0; i < WORKERS; i++)
        workers[i].seat = &seats[i];
}

/* One has begun, and sleeps. */
static void begin_parked(void)
{
    begin();
    wf_store_u32(&workers[0].entered, 1, WF_RELAXED);
    wf_store_u64(&seats[0].counters.parked_at, 7, WF_RELAXED);
}

static void begin_without_membarrier(void)
{
    begin_parked();
    model_membarrier_fails(-EPERM);
}

static void sleep_once(void)
{
    wf_monitor_sleep(&runtime);
    CHECK(wf_load_u32(&runtime.monitor.word, WF_RELAXED) != WF_MONITOR_ASLEEP);
}

static void touch(void)
{
    bool asleep = wf_load_u32(&runtime.monitor.word, WF_RELAXED) == WF_MONITOR_ASLEEP;

    model_reached(asleep ? FOUND_ASLEEP : FOUND_AWAKE);
    wf_monitor_touch(&runtime);
}

/* As wf_worker_enter, at its end. */
static void worker_begins(void)
{
    wf_store_u32(&workers[0].entered, 1, WF_RELAXED);
    touch();
}

/* As park_sleep. */
static void worker_wakes(void)
{
    wf_store_u64(&seats[0].counters.parked_at, 0, WF_RELAXED);
    touch();
}

static void second_begins(void)
{
    wf_store_u32(&workers[1].entered, 1, WF_RELAXED);
    touch();
}

static void stops(void)
{
    wf_monitor_stop(&runtime);
}

static void end(void)
{
    CHECK_EQ(WF_MONITOR_AWAKE, runtime.monitor.word.raw);
}

static void end_stopped(void)
{
    CHECK_EQ(WF_MONITOR_STOPPED, runtime.monitor.word.raw);
}

const struct model_test model_tests[] = {
    {.name = "the monitor does not sleep while a worker that begins is at work",
     .begin = begin,
     .thread = {sleep_once, worker_begins},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << FOUND_ASLEEP | 1u << FOUND_AWAKE},
    {.name = "the monitor does not sleep while a worker that woke is at work",
     .begin = begin_parked,
     .thread = {sleep_once, worker_wakes},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << FOUND_ASLEEP | 1u << FOUND_AWAKE},
    {.name = "two workers stir at once",
     .begin = begin_parked,
     .thread = {sleep_once, worker_wakes, second_begins},
     .end = end,
     .preemptions = 3},
    {.name = "without membarrier it does not sleep at all",
     .begin = begin_without_membarrier,
     .thread = {sleep_once},
     .end = end},
    {.name = "a monitor that is told to stop does not sleep",
     .begin = begin_parked,
     .thread = {sleep_once, stops},
     .end = end_stopped,
     .preemptions = 4},
    {.name = "a worker stirs while it is told to stop",
     .begin = begin_parked,
     .thread = {sleep_once, worker_wakes, stops},
     .end = end_stopped,
     .preemptions = 3},
    {0},
};
