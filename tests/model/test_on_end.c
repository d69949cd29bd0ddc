/* SPDX-License-Identifier: MIT */
/*
 * test_on_end.c - a record that is told of its task's end, while others cancel the task, look for it, join it, or take
 * the record back.
 *
 * Told once or taken back, never both and never neither. Whoever is told sees what the task wrote, and
 * holds the header; who has taken the record back leaves it to the task.
 */
#include "model/lab.h"
#include "task/on_end.h"

enum role { CANCELS, DETACHES, WALKS, JOINS, ROLES };

enum {
    TOLD,
    TOLD_CANCELLED,
    DETACHED,
    DETACHED_TOO_LATE,
    WALKED_ALIVE,
    WALKED_FREE,
    JOIN_REFUSED,
    JOINED_DETACHED,
    EVENTS_END
};

#define BIT(event) (1u << (event))

struct record {
    struct wf_on_end on_end;
    uint64_t mark;
};

#define MARK 0x1234

static struct wf_atomic_u32 told, detached;
static enum role roles[2];

static bool role_used(enum role role)
{
    return roles[0] == role || roles[1] == role;
}

static void ended(struct wf_on_end *e)
{
    struct record *r = wf_container_of(e, struct record, on_end);
    struct weft_task *t = e->task;

    CHECK(t == lab.task && r->mark == MARK);
    CHECK(wf_task_is_complete(t));
    CHECK_EQ(t->result, (int64_t)lab.output - 1);
    model_reached(t->result == LAB_RESULT ? TOLD : TOLD_CANCELLED);
    r->mark = 0;
    /* release: pairs with `detaches`, to whom it leaves the reference */
    CHECK_EQ(0, wf_add_u32(&told, 1, WF_RELEASE));
    if (!role_used(DETACHES))
        wf_task_release(t);
}

static void begin(unsigned count)
{
    weft_async state = {0};
    struct wf_spawn p = {.async = &lab_type,
                         .copy = &state,
                         .copy_size = sizeof(state),
                         .behind = sizeof(struct record)};
    struct record *r;

    roles[0] = model_choose(ROLES);
    roles[1] = count == 2 ? roles[0] + model_choose(ROLES - roles[0]) : ROLES;
    /* One at most takes the record back. */
    if (roles[1] == DETACHES)
        roles[1] = CANCELS;
    lab.walked = true;
    lab.sched.ops = &lab_ops;
    lab.body = LAB_ENDS;
    wf_store_u32(&lab.queue, count * LAB_USER, WF_RELAXED);
    wf_store_u32(&lab.runners, 1, WF_RELAXED);
    lab.task = wf_task_new_async(NULL, &lab.sched, &p);
    CHECK(lab.task == lab.header);
    r = wf_task_behind(lab.task, p.copy_size);
    r->mark = MARK;
    wf_on_end_expose(NULL, lab.task, &r->on_end, ended);
    for (unsigned i = 0; i < count; i++)
        if (roles[i] == CANCELS || roles[i] == JOINS)
            wf_task_retain(lab.task);
    if (role_used(CANCELS))
        lab.words_used = lab.cancel_words = 1;
    if (model_choose(2)) {
        /* Between the two halves: it is queued once. */
        lab.words_used = lab.cancel_words = 1;
        wf_store_u32(&lab.words[0], 1, WF_RELAXED);
        CHECK(!wf_task_state_cancel(lab.task));
    }
    wf_task_start(NULL, lab.task);
}

static void begin_one(void)
{
    begin(1);
}

static void begin_two(void)
{
    begin(2);
}

LAB_UNWATCHED bool was_told(void *arg)
{
    (void)arg;
    return told.raw != 0;
}

/* As a set does: a record that was told is its until it has taken it. */
static void detaches(struct weft_task *t)
{
    struct record *r = wf_task_behind(t, sizeof(weft_async));

    if (wf_on_end_detach(&r->on_end)) {
        model_reached(DETACHED);
        wf_store_u32(&detached, 1, WF_RELAXED);
        return;
    }
    model_reached(DETACHED_TOO_LATE);
    do
        model_block(was_told, NULL, UINT64_MAX);
    while (!wf_load_u32(&told, WF_ACQUIRE));
    CHECK_EQ(0, r->mark);
    wf_task_release(t);
}

static void joins(struct weft_task *t)
{
    struct lab_bell bell = {.wakeable = {&lab_bell_type}};
    weft_context cx = {{&bell.wakeable}};
    weft_future f = weft_join_future(t);

    if (weft_future_poll(&f, &cx) == WEFT_PENDING) {
        model_reached(JOINED_DETACHED);
        CHECK(role_used(DETACHES));
        lab_bell_wait(&bell);
        CHECK_EQ(WEFT_READY, weft_future_poll(&f, &cx));
        CHECK_EQ(0, f.result);
    } else if (f.result == -EBUSY) {
        model_reached(JOIN_REFUSED);
    } else {
        CHECK_EQ(0, f.result);
    }
    weft_detach(t);
}

static void use(enum role role)
{
    struct weft_task *t = lab.task;

    if (role == CANCELS) {
        /* relaxed: the cancel carries it */
        wf_store_u32(&lab.words[0], 1, WF_RELAXED);
        weft_cancel(t);
        weft_detach(t);
    } else if (role == DETACHES) {
        detaches(t);
    } else if (role == JOINS) {
        joins(t);
    } else if (wf_task_try_retain(t)) {
        model_reached(WALKED_ALIVE);
        CHECK(t->sched == &lab.sched);
        weft_detach(t);
    } else {
        model_reached(WALKED_FREE);
    }
    lab_leave();
}

static void first(void)
{
    use(roles[0]);
}

static void second(void)
{
    use(roles[1]);
}

static void end(void)
{
    CHECK_EQ(1, lab.freed.raw);
    CHECK_EQ(1, told.raw + detached.raw);
    lab_end();
}

const struct model_test model_tests[] = {
    {.name = "a record, the end of its task, and any other",
     .begin = begin_one,
     .thread = {lab_runner, first},
     .end = end,
     .must_reach = (BIT(EVENTS_END) - 1) & ~BIT(JOINED_DETACHED)},
    {.name = "a record, the end of its task, and any two others",
     .begin = begin_two,
     .thread = {lab_runner, first, second},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = BIT(EVENTS_END) - 1},
    {0},
};
