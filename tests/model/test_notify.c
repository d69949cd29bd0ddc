/* SPDX-License-Identifier: MIT */
/*
 * test_notify.c - notifications that meet futures on their way into the line, out of it, and between two wakers.
 */
#include "model/bell.h"

#include <weft/notify.h>

enum { TAKEN, HANDED_ON, NEVER_THERE, TOO_LATE, IN_TIME, STORED, GIVEN, AFTER_ALL, IN_LINE };

#define BIT(event) (1u << (event))

static weft_notify notify;
static struct bell bell[3] = {BELL, BELL, BELL};
static weft_future future[3];

static void end(void)
{
    for (int i = 0; i < 3; i++)
        CHECK_EQ(0, bell[i].refs.raw);
}

static bool take_permit(void)
{
    weft_future f = weft_notify_wait_future(&notify);
    bool ready = weft_notify_enable(&f);

    weft_future_drop(&f);
    return ready;
}

/* --- one notification, two that want it, one of which goes ------------------------------------- */

static void comes_and_goes(void)
{
    weft_future f = weft_notify_wait_future(&notify);

    if (bell_poll(&bell[0], &f) == WEFT_READY) {
        model_reached(TAKEN);
        weft_notify_one(&notify); /* as any taker that leaves something undone */
        return;
    }
    weft_future_drop(&f);
    model_reached(wf_load_u32(&bell[0].rung, WF_RELAXED) ? HANDED_ON : NEVER_THERE);
}

static void waits(void)
{
    weft_future f = weft_notify_wait_future(&notify);

    CHECK_EQ(0, bell_await(&bell[1], &f));
}

static void notifies(void)
{
    if (model_choose(2))
        weft_notify_last(&notify);
    else
        weft_notify_one(&notify);
}

static void end_of_one(void)
{
    CHECK(!take_permit());
    end();
}

/* --- all, against a future that is made and polled ------------------------------------------------ */

static struct wf_atomic_u32 work;
static unsigned message; /* plain: the notification carries it */

/* The future goes as soon as it is over: whoever touches it afterwards is noticed. It is polled once more than it is
 * woken, so also while it is told. */
static void looks_and_waits(void)
{
    weft_future *f = model_alloc(sizeof(*f), 16);

    *f = weft_notify_wait_future(&notify);
    /* relaxed: who is told too late sees it all the same */
    if (wf_load_u32(&work, WF_RELAXED)) {
        model_reached(TOO_LATE);
        weft_future_drop(f);
    } else {
        (void)bell_poll(&bell[0], f);
        (void)bell_poll(&bell[0], f);
        CHECK_EQ(0, bell_await(&bell[0], f));
        CHECK_EQ(42, message);
        CHECK_EQ(1, wf_load_u32(&work, WF_RELAXED));
        model_reached(IN_TIME);
    }
    model_free(f);
}

static void makes_work_for_all(void)
{
    message = 42;
    wf_store_u32(&work, 1, WF_RELAXED);
    weft_notify_waiters(&notify);
}

/* --- all, in batches of two, against who leaves, and who is told alone ---------------------------- */

static void begin_three(void)
{
    for (int i = 0; i < 3; i++) {
        future[i] = weft_notify_wait_future(&notify);
        CHECK(bell_poll(&bell[i], &future[i]) == WEFT_PENDING);
    }
}

static void notifies_all(void)
{
    weft_notify_waiters(&notify);
}

static void notifies_one(void)
{
    weft_notify_one(&notify);
}

static void leaves(void)
{
    weft_future_drop(&future[model_choose(3)]);
}

/* The one notification is somewhere: with whom it was given to, or stored. */
static void end_three(void)
{
    bool stored;

    for (int i = 0; i < 3; i++)
        if (!weft_future_is_ready(&future[i]))
            CHECK(bell[i].rung.raw);
    stored = take_permit();
    model_reached(stored ? STORED : GIVEN);
    for (int i = 0; i < 3; i++)
        weft_future_drop(&future[i]);
    CHECK(stored || take_permit());
    CHECK(!take_permit());
    end();
}

/* --- one more, after all ------------------------------------------------------------------------ */

static weft_future probe;
static bool after_all;

static void begin_probed(void)
{
    begin_three();
    probe = weft_notify_wait_future(&notify);
}

/* That all are told is seen before all of them have been. */
static void notifies_after_all(void)
{
    if (!weft_notify_enable(&probe)) {
        weft_future_drop(&probe);
        return;
    }
    after_all = true;
    weft_notify_one(&notify);
}

static void end_probed(void)
{
    if (after_all)
        model_reached(AFTER_ALL);
    CHECK_EQ(after_all, take_permit());
    for (int i = 0; i < 3; i++)
        CHECK(bell_poll(&bell[i], &future[i]) == WEFT_READY);
    CHECK(!take_permit());
    end();
}

/* --- told while it is in line ------------------------------------------------------------------- */

static weft_future *last;

static void begin_last(void)
{
    begin_three();
    last = model_alloc(sizeof(*last), 16);
    *last = weft_notify_wait_future(&notify);
    CHECK(bell_poll(&bell[0], last) == WEFT_PENDING);
}

/* Nobody has woken it yet, and the batch before it is being woken. */
static void looks_early(void)
{
    bool rung = bell_has_rung(&bell[2]);

    if (bell_poll(&bell[0], last) == WEFT_PENDING)
        return;
    if (!rung)
        model_reached(IN_LINE);
    model_free(last);
    last = NULL;
}

static void end_last(void)
{
    if (last) {
        CHECK(bell_poll(&bell[0], last) == WEFT_READY);
        model_free(last);
    }
    for (int i = 0; i < 3; i++)
        weft_future_drop(&future[i]);
    end();
}

/* --- two wakers, one after the other ----------------------------------------------------------------- */

static void changes_its_waker(void)
{
    weft_future f = weft_notify_wait_future(&notify);

    if (model_choose(2) && weft_notify_enable(&f))
        return;
    if (bell_poll(&bell[0], &f) == WEFT_PENDING)
        CHECK_EQ(0, bell_await(&bell[1], &f));
}

/* --- who is told frees it ------------------------------------------------------------------------------ */

static weft_notify *own;

static void begin_own(void)
{
    own = model_alloc(sizeof(*own), 16);
}

static void waits_and_frees(void)
{
    weft_future f = weft_notify_wait_future(own);

    CHECK_EQ(0, bell_await(&bell[0], &f));
    model_free(own);
}

static void notifies_own(void)
{
    weft_notify_one(own);
}

const struct model_test model_tests[] = {
    {.name = "a notification reaches somebody who wants it",
     .thread = {comes_and_goes, waits, notifies},
     .end = end_of_one,
     .must_reach = BIT(TAKEN) | BIT(HANDED_ON) | BIT(NEVER_THERE)},
    {.name = "who made its future before is told, and who did not sees why",
     .thread = {looks_and_waits, makes_work_for_all},
     .end = end,
     .must_reach = BIT(TOO_LATE) | BIT(IN_TIME)},
    {.name = "all are told, and one notification is not lost among them",
     .begin = begin_three,
     .thread = {notifies_all, notifies_one, leaves},
     .end = end_three,
     .must_reach = BIT(STORED) | BIT(GIVEN)},
    {.name = "two at a time tell all",
     .begin = begin_three,
     .thread = {notifies_all, notifies_all, notifies_one},
     .end = end_three,
     .must_reach = BIT(STORED) | BIT(GIVEN)},
    {.name = "one that comes after all is for the next",
     .begin = begin_probed,
     .thread = {notifies_all, notifies_after_all},
     .end = end_probed,
     .must_reach = BIT(AFTER_ALL)},
    {.name = "who is told while it is in line leaves it",
     .begin = begin_last,
     .thread = {notifies_all, looks_early},
     .end = end_last,
     .must_reach = BIT(IN_LINE)},
    {.name = "the wake goes to the waker of the last poll",
     .thread = {changes_its_waker, notifies},
     .end = end},
    {.name = "who was told may free it",
     .begin = begin_own,
     .thread = {waits_and_frees, notifies_own},
     .end = end},
    {0},
};
