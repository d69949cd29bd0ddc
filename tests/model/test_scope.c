/* SPDX-License-Identifier: MIT */
/*
 * test_scope.c - a fiber that leaves a scope while its children end and fail, and while somebody cancels.
 *
 * The fiber is the root of a current-thread runtime, and real. The children are in its scope, but not in the runtime:
 * other threads run them, each to its end at once. A child that was cancelled before ends with -ECANCELED.
 */
#include "sync/scope.h"

#include "sched/runtime.h"

#include "live.h"

#define CHILDREN 2

enum {
    LEFT_AT_ONCE,
    LEFT_LATER,
    FAILED,
    FAILED_BOTH,
    SIBLING_CANCELLED,
    SIBLING_ENDED_FIRST,
    AROUND_CANCELLED,
    INNER_CANCELLED,
    INNER_UNTOUCHED,
    TOLD_INSIDE,
    TOLD_BY_LEAVING,
    DROPPED_AFTER,
    GIVEN_UP_INSIDE,
    EVENTS_END
};

#define BIT(event) (1u << (event))

static struct child {
    struct weft_task *task;
    int result;
    struct wf_atomic_u32 there, done;
} children[CHILDREN];

static struct wf_atomic_u32 ended;
static struct weft_task *root_task;
static struct wf_atomic_u32 root_is_there;
static int outcome;      /* of the root's scope */
static int must_be;      /* 0: anything that fits */
static bool only_cancel; /* the second child waits for it */

static int never_called(void *arg)
{
    (void)arg;
    model_fail(__FILE__, __LINE__, "the function of a child is called");
}

/* A child of the scope that the runtime does not know. */
static void adopt(weft_scope *scope, unsigned i, int result)
{
    struct wf_group *g = wf_scope_group(scope);
    struct wf_group_spawn what = {.task = {.fn = never_called}};
    struct wf_birth b;

    CHECK_EQ(0, wf_group_conceive(g, "model", &what, sizeof(struct wf_child), &b));
    b.th = NULL;
    wf_lock(&g->lock);
    CHECK_EQ(0, wf_group_add_locked(g, &b));
    wf_unlock(&g->lock);
    children[i].task = b.child->on_end.task;
    children[i].result = result;
    wf_store_u32(&children[i].there, 1, WF_RELEASE);
}

__attribute__((no_sanitize("thread"))) static bool is_cancelled(void *task)
{
    return (((struct weft_task *)task)->state.raw & WF_TASK_CANCELLED) != 0;
}

static void run(unsigned i)
{
    struct weft_task *t;
    bool cancelled;

    while (!wf_load_u32(&children[i].there, WF_ACQUIRE))
        wf_spin_pause();
    t = children[i].task;
    if (i == 1 && only_cancel)
        do
            model_block(is_cancelled, t, UINT64_MAX);
        while (!wf_task_is_cancelled(t));
    cancelled = (wf_task_state_start(t) & WF_TASK_CANCELLED) != 0;
    /* Whoever has failed before is the first. */
    if (!cancelled && wf_load_u32(&children[1 - i].done, WF_ACQUIRE) && children[1 - i].result < 0)
        must_be = children[1 - i].result;
    if (cancelled && children[1 - i].result < 0)
        model_reached(SIBLING_CANCELLED);
    t->result = cancelled ? -ECANCELED : children[i].result;
    wf_add_u32(&ended, 1, WF_RELAXED);
    wf_task_end(t);
    wf_store_u32(&children[i].done, 1, WF_RELEASE);
}

static void runs_first(void)
{
    run(0);
}

static void runs_second(void)
{
    run(1);
}

static void open(void)
{
    runtime_open(WEFT_CURRENT_THREAD, 1);
}

static void close(void)
{
    weft_runtime_free(rt);
    wf_stack_pool_trim();
}

static void drive(weft_fn *fn)
{
    int result = 0;

    CHECK_EQ(0, weft_block_on(rt, fn, NULL, &result));
    CHECK_EQ(7, result);
}

/* --- ends ---------------------------------------------------------------------------------- */

static int two_results[2];

static int leaving(void *arg)
{
    int rc = 99;
    uint32_t before;

    (void)arg;
    WEFT_SCOPE(s, &rc)
    {
        adopt(s, 0, two_results[0]);
        adopt(s, 1, two_results[1]);
        /* relaxed: a guess */
        before = wf_load_u32(&ended, WF_RELAXED);
        model_reached(before == 2 ? LEFT_AT_ONCE : LEFT_LATER);
    }
    /* relaxed: leaving has acquired it */
    CHECK_EQ(2, wf_load_u32(&ended, WF_RELAXED));
    outcome = rc;
    /* What interrupted the block is over. */
    CHECK_EQ(0, weft_yield());
    return 7;
}

static void begin_well(void)
{
    open();
}

static void begin_badly(void)
{
    two_results[0] = -EIO;
    two_results[1] = model_choose(2) ? -EPIPE : 5;
    open();
}

static void begin_waiting(void)
{
    two_results[0] = -EIO;
    only_cancel = true;
    open();
}

static void leaves(void)
{
    drive(leaving);
}

static void end_well(void)
{
    CHECK_EQ(0, outcome);
    close();
}

static void end_badly(void)
{
    CHECK(outcome == -EIO || (outcome == -EPIPE && two_results[1] == -EPIPE));
    CHECK(!must_be || outcome == must_be);
    model_reached(outcome == -EIO ? FAILED : SIBLING_ENDED_FIRST);
    close();
}

/* The block itself cancels: that is no failure. */
static int cancelling(void *arg)
{
    int rc = 99;

    (void)arg;
    WEFT_SCOPE(s, &rc)
    {
        adopt(s, 0, 5);
        weft_scope_cancel(s);
        CHECK_EQ(-ECANCELED, weft_yield());
    }
    outcome = rc;
    return 7;
}

static void cancels(void)
{
    drive(cancelling);
}

/* --- somebody cancels the fiber -------------------------------------------------------------- */

static int leaving_one(void *arg)
{
    int rc = 99;

    (void)arg;
    root_task = weft_task_ref(weft_task_self());
    wf_store_u32(&root_is_there, 1, WF_RELEASE);
    WEFT_SCOPE(s, &rc)
    {
        adopt(s, 0, 5);
    }
    CHECK_EQ(1, wf_load_u32(&ended, WF_RELAXED));
    outcome = rc;
    return 7;
}

static void leaves_one(void)
{
    drive(leaving_one);
}

static void cancels_root(void)
{
    while (!wf_load_u32(&root_is_there, WF_ACQUIRE))
        wf_spin_pause();
    weft_cancel(root_task);
    weft_detach(root_task);
}

static void end_cancelled(void)
{
    CHECK(outcome == 0 || outcome == -ECANCELED);
    if (outcome)
        model_reached(AROUND_CANCELLED);
    close();
}

/* --- one inside of the other ------------------------------------------------------------------ */

/* A child of each; both fail. */
static int nesting(void *arg)
{
    weft_future never = weft_pending_future();
    int outer = 99, inner = 99;

    (void)arg;
    WEFT_SCOPE(s, &outer)
    {
        adopt(s, 0, -EIO);
        WEFT_SCOPE(t, &inner)
        {
            adopt(t, 1, -EPIPE);
        }
        CHECK(inner == -EPIPE || inner == -ECANCELED);
        model_reached(inner == -EPIPE ? INNER_UNTOUCHED : INNER_CANCELLED);
        /* The failure outside is not forgotten with the one inside. */
        CHECK_EQ(-ECANCELED, weft_await(&never));
    }
    CHECK_EQ(-EIO, outer);
    CHECK_EQ(0, weft_yield());
    return 7;
}

static void nests(void)
{
    drive(nesting);
}

/* --- waiting by a future ------------------------------------------------------------------------ */

enum { AWAITED, LEFT_PENDING, LEFT_AND_DROPPED, GIVEN_UP, WAYS };

static unsigned way;

/* Polled once, and left pending unless all have ended. */
static bool poll_once(weft_future *end)
{
    weft_future tick = weft_ready_future(0);
    weft_future *const list[] = {end, &tick};

    return weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP) == 0;
}

/* The scope is in memory that is gone after it was left, and so is a future that was given up: who comes too late is
 * noticed. */
static int waiting_by_a_future(void *arg)
{
    weft_scope *scope = model_alloc(sizeof(*scope), 16);
    weft_future *end = model_alloc(sizeof(*end), 16);
    bool ready;
    int rc = 99;

    (void)arg;
    CHECK(weft_scope_enter(scope, &rc) == scope);
    adopt(scope, 0, 5);
    adopt(scope, 1, 5);
    *end = weft_scope_wait_future(scope);
    /* The second time it may be told, and nothing else carries that. */
    ready = way == AWAITED ? weft_await(end) == 0 : poll_once(end) || poll_once(end);
    if (way == GIVEN_UP) {
        weft_future_drop(end);
        model_free(end);
    }
    if (ready)
        /* relaxed: the end has been acquired */
        CHECK_EQ(2, wf_load_u32(&ended, WF_RELAXED));
    weft_scope_leave(scope);
    model_free(scope);
    CHECK_EQ(0, rc);
    if (way == AWAITED)
        model_reached(TOLD_INSIDE);
    else if (way == GIVEN_UP && !ready)
        model_reached(GIVEN_UP_INSIDE);
    else if (way == LEFT_PENDING && !ready)
        model_reached(TOLD_BY_LEAVING);
    else if (way == LEFT_AND_DROPPED && !ready)
        model_reached(DROPPED_AFTER);
    if (way == LEFT_AND_DROPPED)
        weft_future_drop(end);
    else if (way != GIVEN_UP)
        CHECK_EQ(0, weft_await(end));
    if (way != GIVEN_UP)
        model_free(end);
    return 7;
}

static void begin_way(void)
{
    way = model_choose(WAYS);
    open();
}

static void waits_by_a_future(void)
{
    drive(waiting_by_a_future);
}

const struct model_test model_tests[] = {
    {.name = "leaving against two ends",
     .begin = begin_well,
     .thread = {leaves, runs_first, runs_second},
     .end = end_well,
     .preemptions = 1,
     .stale = MODEL_NONE,
     .must_reach = BIT(LEFT_AT_ONCE) | BIT(LEFT_LATER)},
    {.name = "leaving against a failure and an end",
     .begin = begin_badly,
     .thread = {leaves, runs_first, runs_second},
     .end = end_badly,
     .preemptions = 1,
     .stale = MODEL_NONE,
     .must_reach = BIT(FAILED) | BIT(SIBLING_CANCELLED) | BIT(SIBLING_ENDED_FIRST)},
    {.name = "a failure ends what only a cancel ends",
     .begin = begin_waiting,
     .thread = {leaves, runs_first, runs_second},
     .end = end_badly,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "a cancel of the block against an end",
     .begin = open,
     .thread = {cancels, runs_first},
     .end = end_well,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "leaving against a cancel and an end",
     .begin = open,
     .thread = {leaves_one, runs_first, cancels_root},
     .end = end_cancelled,
     .preemptions = 1,
     .stale = MODEL_NONE,
     .must_reach = BIT(AROUND_CANCELLED)},
    {.name = "a wait by a future against two ends",
     .begin = begin_way,
     .thread = {waits_by_a_future, runs_first, runs_second},
     .end = close,
     .preemptions = 1,
     .stale = MODEL_NONE,
     .must_reach = BIT(TOLD_INSIDE) | BIT(TOLD_BY_LEAVING) | BIT(DROPPED_AFTER) |
                   BIT(GIVEN_UP_INSIDE)},
    {.name = "a failure inside and one outside",
     .begin = open,
     .thread = {nests, runs_first, runs_second},
     .end = close,
     .preemptions = 1,
     .stale = MODEL_NONE,
     .must_reach = BIT(INNER_CANCELLED) | BIT(INNER_UNTOUCHED)},
    {0},
};
