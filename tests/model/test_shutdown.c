/* SPDX-License-Identifier: MIT */
/*
 * test_shutdown.c - the end of a whole runtime under the explorer: against spawns, wakes and cancels, from outside and
 * from inside, by several at once, at its limit, and on the current-thread runtime.
 *
 * Who was told that a shutdown is over reads what the tasks and the threads wrote, with plain
 * accesses. The clock stands still while anybody can go on: a shutdown that had to look again because nobody
 * told it has taken time.
 */
#include "model/live.h"
#include "task/task.h"

static weft_task *task;
static unsigned accepted, made, effects, stops; /* plain: what is over carries them */

static void stopped(void *user)
{
    (void)user;
    stops++;
}

static void open_workers(unsigned workers)
{
    weft_config config = {.worker_threads = workers,
                          .event_interval = 4,
                          .stack_size = 16384,
                          .monitor = WEFT_OFF,
                          .on_thread_stop = stopped,
                          .rng_seed = 1};

    CHECK_EQ(0, weft_runtime_new(&rt, &config));
}

static void open_one(void)
{
    open_workers(1);
}

static void open_two(void)
{
    runtime_open(WEFT_MULTI_THREAD, 2);
}

static void freer(void)
{
    weft_runtime_free(rt);
}

static void effected(void *self)
{
    (void)self;
    effects++;
}

/* --- against a spawn --- */

static const weft_async_type effect_type = {runner_poll, effected, sizeof(weft_async), "effect"};

static void spawner(void)
{
    weft_async state = {0};
    int rc = weft_spawn_async_on(rt, &task, NULL, &effect_type, &state);

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
    uint64_t begin = model_clock();

    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    CHECK_EQ(begin, model_clock());
}

/* What was accepted had ended before the shutdown returned: it ran, or was cancelled before it could. */
static void all_ended(void)
{
    CHECK_EQ(accepted, effects);
    weft_runtime_free(rt);
}

/* --- against a wake, a cancel --- */

static void open_with_waiter(void)
{
    open_one();
    task = spawn(&waiter_type);
    wait_for_waker();
}

static void canceller(void)
{
    weft_cancel(task);
    weft_detach(task);
}

static void task_ended(void)
{
    CHECK_EQ(1, wf_load_u32(&drops, WF_RELAXED));
    weft_detach(task);
}

static void task_gone(void)
{
    CHECK_EQ(1, wf_load_u32(&drops, WF_RELAXED));
    weft_runtime_free(rt);
}

/* --- of tasks that make tasks --- */

static weft_poll parent_poll(void *self, weft_context *cx)
{
    weft_async state = {0};

    (void)self, (void)cx;
    CHECK_EQ(0, weft_go_async(&effect_type, &state));
    made++;
    return WEFT_READY;
}

static const weft_async_type parent_type = {parent_poll, effected, sizeof(weft_async), "parent"};

static void open_with_parent(void)
{
    open_one();
    weft_detach(spawn(&parent_type));
}

static void family_closer(void)
{
    closer();
    CHECK_EQ(1 + made, effects); /* the parent alone, if it was cancelled first */
    model_reached(made);
}

/* --- by two at once --- */

static void one_of_closers(void)
{
    closer();
    CHECK_EQ(1, effects);
    CHECK_EQ(1, stops);
}

static const weft_async_type patient_type = {waiter_poll, effected, sizeof(weft_async), "patient"};

static void open_with_patient(void)
{
    open_one();
    weft_detach(spawn(&patient_type));
    wait_for_waker();
}

/* --- at its limit --- */

static const weft_async_type counted_hog_type = {hog_poll, dropped, sizeof(weft_async), "hog"};

static void open_with_hog(void)
{
    open_one();
    weft_detach(spawn(&counted_hog_type));
}

/* The runtime's memory is there as long as its thread is, which is the last to go. */
static void limited_closer(void)
{
    int rc = weft_runtime_shutdown(rt, MS);

    CHECK(rc == -ETIMEDOUT || rc == 0);
    model_reached(rc == 0);
    weft_runtime_free(rt);
}

static void releaser(void)
{
    wf_store_u32(&told, 1, WF_RELEASE);
}

static void hog_ended(void)
{
    CHECK_EQ(1, wf_load_u32(&drops, WF_RELAXED));
    CHECK_EQ(1, stops);
}

/* --- from inside --- */

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

    open_one();
    CHECK_EQ(0, weft_spawn_async_on(rt, NULL, NULL, &ender_type, &state));
}

static void one_ended(void)
{
    CHECK_EQ(1, wf_load_u32(&drops, WF_RELAXED));
}

/* What another worker's task spawns at that moment is cancelled, too: nobody would ever wake it. */
static weft_poll maker_poll(void *self, weft_context *cx)
{
    weft_async state = {0};

    (void)self, (void)cx;
    CHECK_EQ(0, weft_go_async(&waiter_type, &state));
    return WEFT_READY;
}

static const weft_async_type maker_type = {maker_poll, dropped, sizeof(weft_async), "maker"};

static void freed_against_spawn(void)
{
    weft_async state = {0};

    open_two();
    CHECK_EQ(0, weft_spawn_async_on(rt, NULL, NULL, &maker_type, &state));
    CHECK_EQ(0, weft_spawn_async_on(rt, NULL, NULL, &ender_type, &state));
}

static void three_or_two_ended(void)
{
    unsigned n = wf_load_u32(&drops, WF_RELAXED);

    CHECK(n == 3 || n == 2); /* the maker may have been cancelled */
    model_reached(n - 2);
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

static void block(void)
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

/* Waits for the other thread, whose own task has ended long ago: it must have noticed. */
static int patient_root(void *arg)
{
    weft_async state = {0};
    weft_task *t = weft_spawn_async(&waiter_type, &state);
    int result = 1;

    (void)arg;
    CHECK(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(0, result);
    return 7;
}

static void patient_blocker(void)
{
    int result = 0;

    CHECK_EQ(0, weft_block_on(rt, patient_root, NULL, &result));
    CHECK_EQ(7, result);
}

static void block_and_tell(void)
{
    block();
    wait_for_waker();
    tell();
}

/* Their tasks wait for ever; a shutdown ends them. */
static int endless_root(void *arg)
{
    weft_async state = {0};
    weft_task *t = weft_spawn_async(&waiter_type, &state);
    int result = 0, rc;

    (void)arg;
    CHECK(t);
    rc = weft_join(t, &result);
    return rc ? rc : result;
}

static void endless_blocker(void)
{
    int result = 0, rc = weft_block_on(rt, endless_root, NULL, &result);

    CHECK(rc == -ESHUTDOWN || (rc == 0 && result == -ECANCELED));
    model_reached(rc == 0);
}

static void current_closer(void)
{
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
}

/* One is the first to see the last task end, whoever drove. */
static void open_current_with_task(void)
{
    open_current();
    weft_detach(spawn(&effect_type));
}

static void one_of_current_closers(void)
{
    closer();
    CHECK_EQ(1, effects);
}

/* The task does not end by its cancel, and the shutdown gives up. */
static int shielded_root(void *arg)
{
    (void)arg;
    WEFT_SHIELD
    CHECK_EQ(0, weft_sleep(1000 * MS));
    return 0;
}

static void refused_blocker(void)
{
    int result = 0, rc = weft_block_on(rt, shielded_root, NULL, &result);

    /* Cancelled before it began, it ended. */
    CHECK(rc == -ESHUTDOWN || (rc == 0 && result == -ECANCELED));
}

static void limited_current_closer(void)
{
    int rc = weft_runtime_shutdown(rt, MS);

    CHECK(rc == -ETIMEDOUT || rc == 0);
    model_reached(rc == 0);
}

/* Keeps who drives, until the one that waits for its turn has been sent away. */
static int hog_root(void *arg)
{
    (void)arg;
    wf_store_u32(&waker_is_there, 1, WF_RELEASE);
    wait_until_told();
    return 7;
}

static void hog_blocker(void)
{
    int result = 0, rc = weft_block_on(rt, hog_root, NULL, &result);

    /* Cancelled before it began, it ended. */
    CHECK(rc == -ESHUTDOWN || (rc == 0 && (result == 7 || result == -ECANCELED)));
    model_reached(2 + (rc == 0));
}

static void blocker_behind_hog(void)
{
    int result = 0;

    wait_for_waker();
    CHECK_EQ(-ESHUTDOWN, weft_block_on(rt, root, NULL, &result));
    wf_store_u32(&told, 1, WF_RELEASE);
}

static void limited_closer_behind_hog(void)
{
    int rc;

    wait_for_waker();
    rc = weft_runtime_shutdown(rt, MS);
    CHECK(rc == -ETIMEDOUT || rc == 0);
}

/* The other way round: it may be his own task that another one is stuck in, and that ends at that moment. */
static void closer_that_tells(void)
{
    limited_closer_behind_hog();
    wf_store_u32(&told, 1, WF_RELEASE);
}

/* The root gives the runtime up; who drives goes on until the other task has ended. */
static int ender_root(void *arg)
{
    weft_async state = {0};

    (void)arg;
    CHECK_EQ(0, weft_go_async(&waiter_type, &state));
    weft_runtime_free(weft_runtime_current());
    return 7;
}

static void freed_current(void)
{
    int result = 0;

    open_current();
    CHECK_EQ(0, weft_block_on(rt, ender_root, NULL, &result));
    CHECK_EQ(7, result);
    CHECK_EQ(1, wf_load_u32(&drops, WF_RELAXED));
}

/* Two fibers that do not end, whatever they are told: one waits, one is in a queue for ever. */
static weft_task *stubborn[2];
static struct wf_atomic_u32 rounds;

static int stubborn_waiter(void *arg)
{
    WEFT_SHIELD
    {
        weft_future never = weft_pending_future();

        waker = weft_waker_of(&weft_task_self()->wakeable);
        (void)weft_await(&never);
    }
    return arg != NULL;
}

static int stubborn_runner(void *arg)
{
    WEFT_SHIELD
    while (arg == NULL) {
        wf_add_u32(&rounds, 1, WF_RELAXED);
        CHECK_EQ(0, weft_yield());
    }
    return 0;
}

/* Both have been told, and the first one waits again. */
static int stubborn_root(void *arg)
{
    (void)arg;
    stubborn[0] = weft_spawn(stubborn_waiter, NULL);
    stubborn[1] = weft_spawn(stubborn_runner, NULL);
    WEFT_SHIELD
    {
        while (!waker.target_ || wf_load_u32(&rounds, WF_RELAXED) == 0)
            CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_runtime_shutdown(weft_runtime_current(), 0));
        for (int i = 0; i < 4; i++)
            CHECK_EQ(0, weft_yield());
    }
    return 7;
}

static void open_left_behind(void)
{
    int result = 0;

    model_hush();
    open_current();
    CHECK_EQ(0, weft_block_on(rt, stubborn_root, NULL, &result));
    CHECK_EQ(7, result);
    CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, 0));
}

static void late_waker(void)
{
    weft_waker_wake(&waker);
}

static void all_are_left_behind(void)
{
    for (int i = 0; i < 2; i++) {
        int result = 0;

        CHECK_EQ(0, weft_join_blocking(stubborn[i], &result));
        CHECK_EQ(-ECANCELED, result);
    }
}

const struct model_test model_tests[] = {
    {.name = "one worker: a task spawned against shutdown ends or is refused",
     .begin = open_one,
     .thread = {spawner, closer},
     .end = all_ended,
     .must_reach = 3,
     .late_clock = true,
     .preemptions = 1,
     .stale = 2},
    {.name = "one worker: a wake against shutdown does no harm",
     .begin = open_with_waiter,
     .thread = {tell, freer},
     .end = task_ended,
     .late_clock = true,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "one worker: a cancel against shutdown does no harm",
     .begin = open_with_waiter,
     .thread = {canceller, closer},
     .end = task_gone,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1},
    {.name = "one worker: a shutdown waits for what tasks spawn",
     .begin = open_with_parent,
     .thread = {family_closer},
     .end = freer,
     .must_reach = 3,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1},
    {.name = "one worker: a shutdown waits for what tasks spawn, interrupted three times",
     .begin = open_with_parent,
     .thread = {family_closer},
     .end = freer,
     .late_clock = true,
     .preemptions = 3,
     .stale = MODEL_NONE},
    {.name = "one worker: two shut it down, and both see the end",
     .begin = open_with_patient,
     .thread = {one_of_closers, one_of_closers},
     .end = freer,
     .late_clock = true,
     .preemptions = MODEL_NONE,
     .stale = 1},
    {.name = "one worker: two shut it down, interrupted at any point",
     .begin = open_with_patient,
     .thread = {one_of_closers, one_of_closers},
     .end = freer,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1,
     .deep = true},
    {.name = "one worker: a stuck thread outlives the handle",
     .begin = open_with_hog,
     .thread = {limited_closer, releaser},
     .end = hog_ended,
     .must_reach = 3,
     .preemptions = 1,
     .stale = 1},
    {.name = "one worker: a task frees the runtime before its spawn returns",
     .begin = freed_inside,
     .end = one_ended,
     .preemptions = 1,
     .stale = 1},
    {.name = "two workers: a task frees the runtime while another one spawns",
     .begin = freed_against_spawn,
     .end = three_or_two_ended,
     .must_reach = 3,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1},
    {.name = "two workers: a task spawned against shutdown ends or is refused",
     .begin = open_two,
     .thread = {spawner, closer},
     .end = all_ended,
     .must_reach = 3,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1,
     .deep = true},
    {.name = "current-thread: two threads that block on it both end",
     .leaks = true, /* the pool keeps stacks */
     .begin = open_current,
     .thread = {block, block},
     .end = both_ran,
     .preemptions = 1,
     .stale = 1},
    {.name = "current-thread: a thread whose task has ended while another one drives leaves",
     .leaks = true,
     .begin = open_current,
     .thread = {patient_blocker, block_and_tell},
     .end = freer,
     .preemptions = 1,
     .stale = 1},
    {.name = "current-thread: a shutdown ends those that block on it",
     .leaks = true,
     .begin = open_current,
     .thread = {endless_blocker, current_closer},
     .end = freer,
     .must_reach = 3,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1},
    {.name = "current-thread: two shut it down, and both see the end",
     .begin = open_current_with_task,
     .thread = {one_of_current_closers, one_of_current_closers},
     .end = freer,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1},
    {.name = "current-thread: a shutdown at its limit sends those away that block on it",
     .leaks = true,
     .begin = open_current,
     .thread = {refused_blocker, limited_current_closer},
     .end = freer,
     .must_reach = 3,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1},
    {.name =
         "current-thread: who waits for its turn is sent away while another one is stuck in a task",
     .leaks = true,
     .begin = open_current,
     .thread = {hog_blocker, blocker_behind_hog, limited_closer_behind_hog},
     .end = freer,
     .late_clock = true,
     .preemptions = MODEL_NONE},
    {.name = "current-thread: a task ends while who waits for it is sent away",
     .leaks = true,
     .begin = open_current,
     .thread = {endless_blocker, hog_blocker, closer_that_tells},
     .end = freer,
     .must_reach = 12,
     .late_clock = true,
     .preemptions = MODEL_NONE,
     .stale = 1},
    {.name = "current-thread: a late wake while the tasks are abandoned",
     .leaks = true,
     .begin = open_left_behind,
     .thread = {freer, late_waker},
     .end = all_are_left_behind,
     .preemptions = 2,
     .stale = 1},
    {.name = "current-thread: the handle is given up inside",
     .leaks = true,
     .begin = freed_current,
     .preemptions = 1,
     .stale = 1},
    {0},
};
