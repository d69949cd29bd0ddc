/* SPDX-License-Identifier: MIT */
/*
 * test_safety_tasks.c - whoever gives up a wait for a task, or for one of many, loses no task and no result:
 * safety.h has the ways.
 */
#include "support.h"

#include <stdatomic.h>

#define CHILDREN 64

struct safety_bed {
    weft_set_once go; /* what the children wait for */
    atomic_uint alive;
    weft_task *child, *children[CHILDREN];
    atomic_uint child_count;
    weft_join_set *set;
    weft_join_done done;
    weft_join_map *map;
    weft_join_map_done map_done;
    weft_task_tracker *tracker;
    weft_scope scopes[CHILDREN];
};

#include "safety.h"

static void nothing(struct bed *b)
{
    (void)b;
}

/* --- children --------------------------------------------------------------------------------- */

static int child_run(void *bed)
{
    struct bed *b = bed;
    int rc;

    atomic_fetch_add(&b->on.alive, 1);
    rc = weft_set_once_wait(&b->on.go, NULL);
    atomic_fetch_sub(&b->on.alive, 1);
    return rc < 0 ? rc : 7;
}

/* Takes no notice of a cancel. */
static int stubborn_run(void *bed)
{
    int result = 0;

    WEFT_SHIELD
    {
        result = child_run(bed);
    }
    return result;
}

static void until_it_runs(struct bed *b)
{
    while (atomic_load(&b->on.alive) == 0)
        CHECK_EQ(0, weft_yield());
}

static void give_go(struct bed *b)
{
    CHECK_EQ(0, weft_set_once_set(&b->on.go, b));
}

/* --- one task ----------------------------------------------------------------------------------- */

static void a_child(struct bed *b)
{
    b->on.child = weft_spawn(child_run, b);
    CHECK(b->on.child);
    until_it_runs(b);
}

/* It goes on, and its handle is still there. */
static void child_is_left(struct bed *b)
{
    CHECK_EQ(left_over(b), b->on.child ? 1 : 0);
    if (b->on.child)
        CHECK_EQ(7, joined(b->on.child));
}

static int join_wait(void *bed)
{
    struct bed *b = bed;
    int result = 0, rc = weft_join(b->on.child, &result);

    if (rc == 0) {
        CHECK_EQ(7, result);
        b->on.child = NULL;
    }
    return rc;
}

static weft_future join_future(void *bed)
{
    return weft_join_future(((struct bed *)bed)->on.child);
}

/* Its handle is not consumed, but joining does not wait. */
static void took_end(struct bed *b)
{
    CHECK(weft_is_finished(b->on.child));
    CHECK_EQ(7, joined(b->on.child));
    b->on.child = NULL;
}

/* A child for each: giving the future up cancels it. */
static weft_future task_future(void *bed)
{
    struct bed *b = bed;
    weft_task *t = weft_spawn(child_run, b);
    unsigned i = atomic_fetch_add(&b->on.child_count, 1);

    CHECK(t && i < CHILDREN);
    b->on.children[i] = weft_task_ref(t);
    return weft_task_future(t);
}

static void children_have_ended(struct bed *b)
{
    unsigned ended = 0, count = atomic_load(&b->on.child_count);

    for (unsigned i = 0; i < count; i++) {
        int result = joined(b->on.children[i]);

        CHECK(result == 7 || result == -ECANCELED);
        ended += result == 7;
    }
    CHECK(ended >= atomic_load(&b->taken));
    CHECK_EQ(0, atomic_load(&b->on.alive));
}

static const struct row join_row = {.set_up = a_child,
                                    .wait = join_wait,
                                    .give = give_go,
                                    .tear_down = child_is_left};
static const struct row join_future_row = {.set_up = a_child,
                                           .future = join_future,
                                           .give = give_go,
                                           .took = took_end,
                                           .tear_down = child_is_left};
static const struct row task_future_row = {.set_up = nothing,
                                           .future = task_future,
                                           .give = give_go,
                                           .tear_down = children_have_ended,
                                           .good = 7};

SAFETY(join, a_join_that_is_given_up_leaves_the_task_and_its_handle)
SAFETY(join_future, a_wait_for_an_end_that_is_given_up_leaves_the_task_alone)
SAFETY(task_future, a_task_that_is_awaited_as_a_future_ends_with_the_wait)

/* --- sets, maps, scopes, trackers ---------------------------------------------------------------- */

static void set_of_one(struct bed *b, weft_fn *fn)
{
    b->on.set = weft_join_set_new();
    CHECK(b->on.set);
    CHECK(weft_join_set_spawn(b->on.set, fn, b) > 0);
    until_it_runs(b);
}

static void a_set(struct bed *b)
{
    set_of_one(b, child_run);
}

static void a_stubborn_set(struct bed *b)
{
    set_of_one(b, stubborn_run);
}

static void set_has_what_was_not_taken(struct bed *b)
{
    CHECK_EQ(left_over(b), weft_join_set_len(b->on.set));
    if (left_over(b)) {
        CHECK_EQ(1, weft_join_set_next(b->on.set, &b->on.done));
        CHECK_EQ(7, b->on.done.result);
    }
    weft_join_set_free(b->on.set);
}

static void took_done(struct bed *b)
{
    CHECK_EQ((uintptr_t)b, b->on.done.tag);
    CHECK_EQ(7, b->on.done.result);
}

static int set_next_wait(void *bed)
{
    struct bed *b = bed;

    return weft_join_set_next(b->on.set, &b->on.done);
}

static weft_future set_next_future(void *bed)
{
    struct bed *b = bed;

    return weft_join_set_next_future(b->on.set, &b->on.done);
}

static int join_all_of_set_wait(void *bed)
{
    return weft_join_set_join_all(((struct bed *)bed)->on.set, NULL, NULL);
}

static weft_future join_all_of_set_future(void *bed)
{
    return weft_join_set_join_all_future(((struct bed *)bed)->on.set, NULL, NULL);
}

static int set_shutdown_wait(void *bed)
{
    return weft_join_set_shutdown(((struct bed *)bed)->on.set);
}

static weft_future set_shutdown_future(void *bed)
{
    return weft_join_set_shutdown_future(((struct bed *)bed)->on.set);
}

static void a_local_set(struct bed *b)
{
    b->on.set = weft_local_set_new();
    CHECK(b->on.set);
}

/* Whatever it answers, the task has ended. */
static int local_run_wait(void *bed)
{
    struct bed *b = bed;
    int result = 0, rc = weft_local_set_run(b->on.set, child_run, b, &result);

    /* It may have ended while its wait was given up. Where the call was refused there was none. */
    CHECK(rc == 0 ? result == 7 : rc == -ECANCELED || rc == -ETIMEDOUT);
    CHECK(result == 7 || result == 0 || result == -ECANCELED);
    return rc;
}

static void local_set_is_empty(struct bed *b)
{
    CHECK_EQ(0, atomic_load(&b->on.alive));
    CHECK(weft_join_set_is_empty(b->on.set));
    weft_join_set_free(b->on.set);
}

static void map_of_one(struct bed *b, weft_fn *fn)
{
    b->on.map = weft_join_map_new();
    CHECK(b->on.map);
    CHECK(weft_join_map_spawn(b->on.map, weft_key_number(3), fn, b) > 0);
    until_it_runs(b);
}

static void a_map(struct bed *b)
{
    map_of_one(b, child_run);
}

static void a_stubborn_map(struct bed *b)
{
    map_of_one(b, stubborn_run);
}

static int map_shutdown_wait(void *bed)
{
    return weft_join_map_shutdown(((struct bed *)bed)->on.map);
}

static weft_future map_shutdown_future(void *bed)
{
    return weft_join_map_shutdown_future(((struct bed *)bed)->on.map);
}

static void map_has_what_was_not_taken(struct bed *b)
{
    CHECK_EQ(left_over(b) > 0, weft_join_map_contains(b->on.map, weft_key_number(3)));
    weft_join_map_free(b->on.map);
}

static void took_keyed(struct bed *b)
{
    CHECK(weft_key_equal(weft_key_number(3), b->on.map_done.key));
    CHECK_EQ(7, b->on.map_done.result);
}

static int map_next_wait(void *bed)
{
    struct bed *b = bed;

    return weft_join_map_next(b->on.map, &b->on.map_done);
}

static weft_future map_next_future(void *bed)
{
    struct bed *b = bed;

    return weft_join_map_next_future(b->on.map, &b->on.map_done);
}

/* Whatever it answers, nothing of the scope is left. */
static int scope_wait_wait(void *bed)
{
    struct bed *b = bed;
    int rc = -1;

    WEFT_SCOPE(s, NULL)
    {
        CHECK(weft_scope_spawn(s, child_run, b) > 0);
        rc = weft_scope_wait(s);
    }
    CHECK_EQ(0, atomic_load(&b->on.alive));
    return rc;
}

/* A scope for each, which ends with its task: that is led out of it. */
static weft_future scope_wait_future(void *bed)
{
    struct bed *b = bed;
    unsigned i = atomic_fetch_add(&b->on.child_count, 1);
    weft_scope *s;

    CHECK(i < CHILDREN);
    s = weft_scope_enter(&b->on.scopes[i], NULL);
    CHECK(weft_scope_spawn(s, child_run, b) > 0);
    return weft_scope_wait_future(s);
}

static void no_child_is_left(struct bed *b)
{
    CHECK_EQ(0, atomic_load(&b->on.alive));
}

static int scope_leave_wait(void *bed)
{
    struct bed *b = bed;
    int rc = -1;

    WEFT_SCOPE(s, &rc)
    {
        CHECK(weft_scope_spawn(s, child_run, b) > 0);
    }
    CHECK_EQ(0, atomic_load(&b->on.alive));
    return rc;
}

static void a_tracker(struct bed *b)
{
    b->on.tracker = weft_task_tracker_new();
    CHECK(b->on.tracker);
    CHECK_EQ(0, weft_task_tracker_enter(b->on.tracker));
    CHECK(weft_task_tracker_close(b->on.tracker));
}

static void give_leave(struct bed *b)
{
    CHECK_EQ(0, weft_task_tracker_leave(b->on.tracker));
}

static void tracker_gone(struct bed *b)
{
    weft_task_tracker_free(b->on.tracker);
}

static int tracker_wait(void *bed)
{
    return weft_task_tracker_wait(((struct bed *)bed)->on.tracker);
}

static weft_future tracker_future(void *bed)
{
    return weft_task_tracker_wait_future(((struct bed *)bed)->on.tracker);
}

static const struct row set_next_row = {.set_up = a_set,
                                        .wait = set_next_wait,
                                        .future = set_next_future,
                                        .give = give_go,
                                        .took = took_done,
                                        .tear_down = set_has_what_was_not_taken,
                                        .good = 1};
static const struct row join_all_of_set_row = {.set_up = a_set,
                                               .wait = join_all_of_set_wait,
                                               .future = join_all_of_set_future,
                                               .give = give_go,
                                               .tear_down = set_has_what_was_not_taken};
static const struct row set_shutdown_row = {.set_up = a_stubborn_set,
                                            .wait = set_shutdown_wait,
                                            .future = set_shutdown_future,
                                            .give = give_go,
                                            .tear_down = set_has_what_was_not_taken};
static const struct row map_next_row = {.set_up = a_map,
                                        .wait = map_next_wait,
                                        .future = map_next_future,
                                        .give = give_go,
                                        .took = took_keyed,
                                        .tear_down = map_has_what_was_not_taken,
                                        .good = 1};
static const struct row local_run_row = {.set_up = a_local_set,
                                         .wait = local_run_wait,
                                         .give = give_go,
                                         .tear_down = local_set_is_empty};
static const struct row map_shutdown_row = {.set_up = a_stubborn_map,
                                            .wait = map_shutdown_wait,
                                            .future = map_shutdown_future,
                                            .give = give_go,
                                            .tear_down = map_has_what_was_not_taken};
static const struct row scope_wait_row = {.set_up = nothing,
                                          .wait = scope_wait_wait,
                                          .future = scope_wait_future,
                                          .give = give_go,
                                          .tear_down = no_child_is_left};
static const struct row scope_leave_row = {.set_up = nothing,
                                           .wait = scope_leave_wait,
                                           .give = give_go,
                                           .tear_down = nothing};
static const struct row tracker_row = {.set_up = a_tracker,
                                       .wait = tracker_wait,
                                       .future = tracker_future,
                                       .give = give_leave,
                                       .tear_down = tracker_gone,
                                       .traits = PROMPT | LINE};

SAFETY(set_next, a_task_of_a_set_that_was_not_taken_is_still_in_it)
SAFETY(join_all_of_set, a_wait_for_a_whole_set_can_be_given_up)
SAFETY(set_shutdown, a_shutdown_of_a_set_that_is_given_up_can_be_repeated)
SAFETY(map_next, a_task_of_a_map_that_was_not_taken_is_still_in_it)
SAFETY(local_run, what_runs_with_a_local_set_is_given_up_with_its_wait)
SAFETY(map_shutdown, a_shutdown_of_a_map_that_is_given_up_can_be_repeated)
SAFETY(scope_wait, a_wait_in_a_scope_can_be_given_up)
SAFETY(scope_leave, a_scope_that_is_given_up_is_left_by_all)
SAFETY(tracker, a_wait_for_all_tracked_tasks_can_be_given_up)

TEST_MAIN("safety_tasks", a_join_that_is_given_up_leaves_the_task_and_its_handle,
          a_wait_for_an_end_that_is_given_up_leaves_the_task_alone,
          a_task_that_is_awaited_as_a_future_ends_with_the_wait,
          a_task_of_a_set_that_was_not_taken_is_still_in_it, a_wait_for_a_whole_set_can_be_given_up,
          a_shutdown_of_a_set_that_is_given_up_can_be_repeated,
          a_task_of_a_map_that_was_not_taken_is_still_in_it,
          what_runs_with_a_local_set_is_given_up_with_its_wait,
          a_shutdown_of_a_map_that_is_given_up_can_be_repeated, a_wait_in_a_scope_can_be_given_up,
          a_scope_that_is_given_up_is_left_by_all, a_wait_for_all_tracked_tasks_can_be_given_up)
