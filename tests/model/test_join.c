/* SPDX-License-Identifier: MIT */
/*
 * test_join.c - waiting for a task's end while it ends: by a future, by a thread, and by two at once.
 *
 * Each joiner has a script; each pair of scripts is tried. Whoever is told that the task has ended
 * must see what it wrote, and every waker that was given away comes back.
 */
#include "model/lab.h"
#include "task/future.h"

enum script {
    WAITS,     /* polls, once more in vain, and when it is woken */
    RENEWS,    /* the second poll has another waker */
    DROPS,     /* what is pending, and goes */
    BLOCKS,    /* as a plain thread */
    COMES_BACK /* drops, and then blocks */
};

#define SCRIPTS (COMES_BACK + 1)
#define SCRIPTS_TWO \
 COMES_BACK /* of which pairs are made: the last one is two of the others in turn */

/* What can happen, must. */
enum {
    READY_AT_ONCE,
    BUSY,
    WOKEN,
    READY_UNWOKEN,    /* polled in vain, but the task has ended */
    RENEWED,          /* and woken by the second waker */
    RENEWED_TOO_LATE, /* the first one was woken */
    DROPPED,
    DROPPED_TOO_LATE,
    BLOCKED_BUSY,
    CANCELLED_WAITING, /* after its first poll */
    EVENTS_END
};

#define EVENTS ((1u << EVENTS_END) - 1)

static struct joiner {
    enum script script;
    struct lab_bell bells[2];
} joiners[2];

static unsigned count;
static int expected = LAB_RESULT;

/* The task has ended: what it wrote is there. */
static void ended(int result)
{
    CHECK_EQ(expected, result);
    CHECK_EQ(expected, (int64_t)lab.output - 1);
}

static weft_poll poll_with(weft_future *f, struct lab_bell *b)
{
    weft_context cx = {{&b->wakeable}};

    return weft_future_poll(f, &cx);
}

/* False: somebody else has the slot. */
static bool ready(const weft_future *f, unsigned event)
{
    if (f->result == -EBUSY) {
        CHECK_EQ(2, count);
        model_reached(BUSY);
        return false;
    }
    CHECK_EQ(0, f->result);
    model_reached(event);
    ended(lab.task->result);
    return true;
}

static void waits_to_the_end(weft_future *f, struct lab_bell *b, unsigned event)
{
    lab_bell_wait(b);
    CHECK_EQ(1, b->wakes);
    CHECK_EQ(WEFT_READY, poll_with(f, b));
    CHECK(ready(f, event));
}

static void waits(struct joiner *j, weft_future *f)
{
    if (poll_with(f, &j->bells[0]) == WEFT_READY) {
        (void)ready(f, READY_UNWOKEN);
        lab_bell_wait(&j->bells[0]);
        return;
    }
    waits_to_the_end(f, &j->bells[0], WOKEN);
}

static void renews(struct joiner *j, weft_future *f)
{
    bool done;

    if (poll_with(f, &j->bells[1]) == WEFT_PENDING) {
        CHECK_EQ(0, wf_load_u32(&j->bells[0].refs, WF_RELAXED));
        waits_to_the_end(f, &j->bells[1], RENEWED);
        CHECK_EQ(0, j->bells[0].wakes);
        return;
    }
    /* Lost to the end, or, between the two wakers, to the other joiner. */
    done = ready(f, READY_UNWOKEN);
    lab_bell_wait(&j->bells[0]);
    if (done && j->bells[0].wakes)
        model_reached(RENEWED_TOO_LATE);
    CHECK_EQ(0, j->bells[1].wakes);
}

/* Consumes the handle. */
static void blocks(struct weft_task *t)
{
    int result, rc = weft_join_blocking(t, &result);

    if (rc == -EBUSY) {
        CHECK_EQ(2, count);
        model_reached(BLOCKED_BUSY);
        weft_detach(t);
        return;
    }
    CHECK_EQ(0, rc);
    ended(result);
}

/* Consumes the handle, which nobody needs to hold behind a drop. */
static void drops(struct joiner *j, weft_future *f)
{
    weft_future_drop(f);
    CHECK(!wf_future_pending(f));
    if (j->script == COMES_BACK)
        blocks(lab.task);
    else
        weft_detach(lab.task);
    /* Taken back, or its last runner has it. */
    lab_bell_wait(&j->bells[0]);
    if (!j->bells[0].wakes) {
        model_reached(DROPPED);
        return;
    }
    model_reached(DROPPED_TOO_LATE);
    CHECK_EQ(expected, (int64_t)lab.output - 1);
}

static void join(struct joiner *j)
{
    struct weft_task *t = lab.task;
    weft_future f = weft_join_future(t);

    j->bells[0].wakeable.type = j->bells[1].wakeable.type = &lab_bell_type;
    if (j->script == BLOCKS) {
        blocks(t);
        return;
    }
    if (poll_with(&f, &j->bells[0]) == WEFT_READY) {
        (void)ready(&f, READY_AT_ONCE);
        CHECK_EQ(0, wf_load_u32(&j->bells[0].refs, WF_RELAXED));
    } else if (j->script == WAITS) {
        waits(j, &f);
    } else if (j->script == RENEWS) {
        renews(j, &f);
    } else {
        drops(j, &f);
        return;
    }
    weft_detach(t);
}

static void first(void)
{
    join(&joiners[0]);
}

static void second(void)
{
    join(&joiners[1]);
}

/* The task ends by this, at the first poll or a later one. */
static void cancels(void)
{
    /* relaxed: the cancel carries it */
    wf_store_u32(&lab.words[0], 1, WF_RELAXED);
    weft_cancel(lab.task);
    weft_detach(lab.task);
    lab_leave();
}

static void begin_one(void)
{
    count = 1;
    lab_begin(LAB_ENDS, 1, 0, 1);
    joiners[0].script = model_choose(SCRIPTS);
}

static void begin_cancelled(void)
{
    count = 1;
    expected = -ECANCELED;
    lab.words_used = lab.cancel_words = 1;
    lab_begin(LAB_WAITS, 2, 1, 1);
    joiners[0].script = model_choose(SCRIPTS);
}

static void begin_two(void)
{
    count = 2;
    lab_begin(LAB_ENDS, 1, 0, 1);
    joiners[0].script = model_choose(SCRIPTS_TWO);
    joiners[1].script = joiners[0].script + model_choose(SCRIPTS_TWO - joiners[0].script);
    CHECK(weft_task_ref(lab.task) == lab.task);
}

/* --- a future that owns the handle --- */

/* What can happen, must. */
enum {
    OWNER_READY = EVENTS_END,
    OWNER_WOKEN,
    OWNER_DROPPED,
    OWNER_DROPPED_TOO_LATE,
    OWNER_NEVER_POLLED
};

static void begin_owned(void)
{
    lab.words_used = lab.cancel_words = 1;
    lab_begin((enum lab_body)model_choose(LAB_BODIES), 1, 1, 1);
    joiners[0].bells[0].wakeable.type = &lab_bell_type;
}

/* Polls it, or not; waits for the end, if that comes without a cancel, or drops it. */
static void owns(void)
{
    struct lab_bell *b = &joiners[0].bells[0];
    weft_future f = weft_task_future(lab.task);
    bool polled = model_choose(2), waits = lab.body == LAB_ENDS && model_choose(2);

    if (polled && poll_with(&f, b) == WEFT_PENDING && waits) {
        lab_bell_wait(b);
        CHECK_EQ(WEFT_READY, poll_with(&f, b));
        model_reached(OWNER_WOKEN);
    }
    if (weft_future_is_ready(&f)) {
        CHECK_EQ(LAB_RESULT, f.result);
        model_reached(OWNER_READY);
    }
    /* relaxed: the cancel carries it */
    wf_store_u32(&lab.words[0], 1, WF_RELAXED);
    weft_future_drop(&f);
    lab_leave();
    lab_bell_wait(b);
    if (!weft_future_is_ready(&f) || f.result != -ECANCELED)
        return;
    model_reached(!polled ? OWNER_NEVER_POLLED : b->wakes ? OWNER_DROPPED_TOO_LATE : OWNER_DROPPED);
}

static void end(void)
{
    CHECK_EQ(1, lab.freed.raw);
    if (lab.polls > 1)
        model_reached(CANCELLED_WAITING);
    lab_end();
    for (unsigned i = 0; i < wf_array_count(joiners); i++)
        for (unsigned j = 0; j < 2; j++)
            CHECK_EQ(0, joiners[i].bells[j].refs.raw);
}

const struct model_test model_tests[] = {
    {.name = "a joiner and the end",
     .begin = begin_one,
     .thread = {lab_runner, first},
     .end = end,
     .must_reach = EVENTS & ~(1u << BUSY | 1u << BLOCKED_BUSY | 1u << CANCELLED_WAITING)},
    {.name = "a joiner and a task that waits until it is cancelled",
     .begin = begin_cancelled,
     .thread = {lab_runner, first, cancels},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = EVENTS & ~(1u << BUSY | 1u << BLOCKED_BUSY)},
    {.name = "two joiners and the end",
     .begin = begin_two,
     .thread = {lab_runner, first, second},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = EVENTS & ~(1u << CANCELLED_WAITING)},
    {.name = "a future that owns the handle, and the end",
     .begin = begin_owned,
     .thread = {lab_runner, owns},
     .end = end,
     .must_reach = 1u << OWNER_READY | 1u << OWNER_WOKEN | 1u << OWNER_DROPPED |
                   1u << OWNER_DROPPED_TOO_LATE | 1u << OWNER_NEVER_POLLED},
    {0},
};
