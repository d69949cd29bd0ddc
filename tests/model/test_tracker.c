/* SPDX-License-Identifier: MIT */
/*
 * test_tracker.c - a tracker that becomes closed and empty while it is waited for, opened again, left by its handles;
 * and a task that is counted and joined.
 */
#include "model/bell.h"
#include "model/lab.h"
#include "sync/tracker.h"
#include "task/on_end.h"

enum { AT_ONCE, LATER, REOPENED, SHUT_DOWN, DONE, FREED_BY_HANDLE, JOINED, JOINED_LATE };

#define BIT(event) (1u << (event))

static weft_task_tracker *tracker;
static struct bell bell[2] = {BELL, BELL};
static unsigned message[2]; /* plain: what those that leave have done */

static void begin(unsigned count, bool closed)
{
    tracker = weft_task_tracker_new();
    for (unsigned i = 0; i < count; i++)
        CHECK_EQ(0, weft_task_tracker_enter(tracker));
    if (closed)
        CHECK(weft_task_tracker_close(tracker));
}

static void end(void)
{
    CHECK_EQ(0, bell[0].refs.raw + bell[1].refs.raw);
    CHECK_EQ(0, model_live());
}

static void end_and_free(void)
{
    weft_task_tracker_free(tracker);
    end();
}

static void leave(unsigned i)
{
    message[i] = 42;
    CHECK_EQ(0, weft_task_tracker_leave(tracker));
}

static void first_leaves(void)
{
    leave(0);
}

static void second_leaves(void)
{
    leave(1);
}

/* --- the last one that leaves ------------------------------------------------------------------------ */

static void begin_two(void)
{
    begin(2, true);
}

static void begin_two_open(void)
{
    begin(2, false);
}

static void closes(void)
{
    CHECK(weft_task_tracker_close(tracker));
    CHECK(!weft_task_tracker_close(tracker));
}

/* The future goes as soon as it is over, and is polled more often than it is woken. */
static void waits(void)
{
    weft_future *f = model_alloc(sizeof(*f), 16);

    *f = weft_task_tracker_wait_future(tracker);
    if (bell_poll(&bell[0], f) == WEFT_PENDING) {
        (void)bell_poll(&bell[0], f);
        CHECK_EQ(0, bell_await(&bell[0], f));
        model_reached(LATER);
    } else {
        model_reached(AT_ONCE);
    }
    model_free(f);
    CHECK(weft_task_tracker_is_closed(tracker));
    CHECK_EQ(42, message[0]);
    CHECK_EQ(42, message[1]);
}

/* --- opened again ------------------------------------------------------------------------------------- */

static void begin_one(void)
{
    begin(1, true);
}

/* A wait that begins after that is not ended by what was before it. */
static void reopens_and_waits(void)
{
    weft_future f = weft_task_tracker_wait_future(tracker);

    if (!weft_task_tracker_is_empty(tracker))
        return;
    CHECK(weft_task_tracker_reopen(tracker));
    model_reached(REOPENED);
    CHECK_EQ(0, bell_await(&bell[0], &f)); /* it began before: it was closed and empty since */
    CHECK_EQ(0, weft_task_tracker_enter(tracker));
    f = weft_task_tracker_wait_future(tracker);
    CHECK(weft_task_tracker_close(tracker));
    CHECK(bell_poll(&bell[1], &f) == WEFT_PENDING);
    CHECK_EQ(0, weft_task_tracker_leave(tracker));
    CHECK_EQ(0, bell_await(&bell[1], &f));
}

/* --- without a handle ------------------------------------------------------------------------------------ */

static void frees(void)
{
    weft_task_tracker_free(tracker);
}

static void clones_and_frees(void)
{
    weft_task_tracker_free(weft_task_tracker_clone(tracker));
    model_reached(FREED_BY_HANDLE);
    weft_task_tracker_free(tracker);
}

static void begin_cloned(void)
{
    begin(2, true);
    CHECK(weft_task_tracker_clone(tracker) == tracker);
}

static weft_future future[2];

static void begin_waiting(void)
{
    model_hush();
    begin(1, true);
    for (int i = 0; i < 2; i++) {
        future[i] = weft_task_tracker_wait_future(tracker);
        CHECK(bell_poll(&bell[i], &future[i]) == WEFT_PENDING);
    }
}

static void waits_on(void)
{
    ssize_t rc = bell_await(&bell[0], &future[0]);

    CHECK(rc == 0 || rc == -ESHUTDOWN);
    model_reached(rc ? SHUT_DOWN : DONE);
}

static void drops(void)
{
    weft_future_drop(&future[1]);
}

/* Nobody leaves, meanwhile. */
static void waits_in_vain(void)
{
    CHECK_EQ(-ESHUTDOWN, bell_await(&bell[0], &future[0]));
}

static void end_by_leaving(void)
{
    wf_tracker_leave(tracker);
    end();
}

/* --- a task that is counted, and joined --------------------------------------------------------------------- */

struct record {
    struct wf_on_end_joinable on_end;
};

static struct wf_atomic_u32 told;

static void ended(struct wf_on_end *e)
{
    CHECK(wf_task_is_complete(e->task));
    CHECK_EQ(0, wf_add_u32(&told, 1, WF_RELAXED));
    wf_task_release(e->task);
}

static void begin_task(void)
{
    weft_async state = {0};
    struct wf_spawn p = {.async = &lab_type,
                         .copy = &state,
                         .copy_size = sizeof(state),
                         .behind = sizeof(struct record)};
    struct record *r;

    lab.sched.ops = &lab_ops;
    lab.body = LAB_ENDS;
    wf_store_u32(&lab.runners, 1, WF_RELAXED);
    lab.task = wf_task_new_async(NULL, &lab.sched, &p);
    r = wf_task_behind(lab.task, p.copy_size);
    wf_on_end_expose_joinable(NULL, lab.task, &r->on_end, ended, 1);
    wf_task_start(NULL, lab.task);
}

/* By two wakers, one after the other, or not at all. */
static void joins(void)
{
    unsigned how = model_choose(3);
    weft_future f = weft_join_future(lab.task);

    if (how > 0 && bell_poll(&bell[0], &f) == WEFT_PENDING) {
        model_reached(JOINED_LATE);
        if (how == 1)
            CHECK_EQ(0, bell_await_carried(&bell[1], &f));
        else
            weft_future_drop(&f);
    }
    if (how == 1) {
        model_reached(JOINED);
        CHECK_EQ(LAB_RESULT, lab.task->result);
    }
    weft_detach(lab.task);
}

static void end_task(void)
{
    CHECK_EQ(1, told.raw);
    CHECK_EQ(1, lab.freed.raw);
    end();
}

const struct model_test model_tests[] = {
    {.name = "the last one that leaves ends the wait, and all have left",
     .begin = begin_two,
     .thread = {first_leaves, second_leaves, waits},
     .end = end_and_free,
     .must_reach = BIT(AT_ONCE) | BIT(LATER)},
    {.name = "so does who closes it last",
     .begin = begin_two_open,
     .thread = {first_leaves, second_leaves, waits, closes},
     .end = end_and_free,
     .preemptions = 1,
     .must_reach = BIT(AT_ONCE) | BIT(LATER)},
    {.name = "a wait that begins in the next turn is not ended by the last",
     .begin = begin_one,
     .thread = {first_leaves, reopens_and_waits},
     .end = end_and_free,
     .must_reach = BIT(REOPENED)},
    {.name = "what is counted keeps it, and goes last or first",
     .begin = begin_cloned,
     .thread = {first_leaves, second_leaves, frees, clones_and_frees},
     .end = end,
     .preemptions = 1,
     .must_reach = BIT(FREED_BY_HANDLE)},
    {.name = "waits for one that is freed end",
     .begin = begin_waiting,
     .thread = {first_leaves, frees, waits_on, drops},
     .end = end,
     .preemptions = 1,
     .must_reach = BIT(SHUT_DOWN) | BIT(DONE)},
    {.name = "waits for one that is freed do not wait for what is counted",
     .begin = begin_waiting,
     .thread = {frees, waits_in_vain, drops},
     .end = end_by_leaving},
    {.name = "a task whose record is told can be joined",
     .begin = begin_task,
     .thread = {lab_runner, joins},
     .end = end_task,
     .must_reach = BIT(JOINED) | BIT(JOINED_LATE)},
    {0},
};
