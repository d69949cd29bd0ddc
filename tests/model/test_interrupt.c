/* SPDX-License-Identifier: MIT */
/*
 * test_interrupt.c - scopes that are stopped while a scope inside of them is left: the fiber stays interrupted exactly
 * as long as it is in one that is stopped.
 *
 * The fiber is none: its scopes are empty, so leaving them does not wait.
 */
#include "model/group.h"

#include "task/fiber_task.h"

#include <weft/scope.h>

enum { INTERRUPTED_INSIDE, INTERRUPTED_OUTSIDE, STOPPED_LATER };

#define BIT(event) (1u << (event))

static struct wf_thread th;
static struct wf_fiber fiber;
static weft_scope outer, inner;
static int reason; /* plain: what the outer one was stopped for */
static bool inner_stopped;

static bool interrupted(void)
{
    return wf_task_is_cancelled(fiber.task);
}

static void begin(void)
{
    struct wf_spawn p = {.fn = child_fn};

    children_init();
    fiber.task = wf_task_new_fiber(NULL, &rt.sched, &p);
    wf_task_expose(NULL, fiber.task, 0, 0);
    (void)wf_task_state_start(fiber.task);
    th.sched = &rt.sched;
    th.fiber = &fiber;
    wf_thread_set_self(&th);
    weft_scope_enter(&outer, NULL);
    weft_scope_enter(&inner, NULL);
    inner_stopped = model_choose(2);
    if (inner_stopped)
        weft_scope_cancel(&inner);
    CHECK_EQ(inner_stopped, interrupted());
    wf_thread_set_self(NULL);
}

static void leaves_inner(void)
{
    wf_thread_set_self(&th);
    model_reached(interrupted() ? INTERRUPTED_INSIDE : STOPPED_LATER);
    weft_scope_leave(&inner);
    if (interrupted() && inner_stopped)
        model_reached(INTERRUPTED_OUTSIDE);
    wf_thread_set_self(NULL);
}

static void stops_outer(void)
{
    reason = 7;
    weft_scope_cancel(&outer);
}

static void end(void)
{
    wf_thread_set_self(&th);
    CHECK(interrupted());
    CHECK_EQ(7, reason);
    weft_scope_leave(&outer);
    CHECK(!interrupted());
    wf_thread_set_self(NULL);
    wf_task_end(fiber.task);
    CHECK_EQ(0, model_live());
}

const struct model_test model_tests[] = {
    {.name = "a scope is stopped while one inside of it is left",
     .begin = begin,
     .thread = {leaves_inner, stops_outer},
     .end = end,
     .must_reach = BIT(INTERRUPTED_INSIDE) | BIT(INTERRUPTED_OUTSIDE) | BIT(STOPPED_LATER)},
    {0},
};
