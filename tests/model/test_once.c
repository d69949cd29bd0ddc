/* SPDX-License-Identifier: MIT */
/*
 * test_once.c - the right to initialise on its way from one who fails to the next; and a value that is set once.
 */
#include "model/bell.h"

#include <errno.h>
#include <weft/once.h>

enum {
    DONE_BY_FIRST,
    DONE_BY_SECOND,
    RIGHT_DROPPED,
    MAKING_DROPPED,
    SET_BEFORE,
    SET_AFTER,
    SEEN_AT_ONCE
};

#define BIT(event) (1u << (event))

static struct bell bell[3] = {BELL, BELL, BELL};

static void end(void)
{
    for (int i = 0; i < 3; i++)
        CHECK_EQ(0, bell[i].refs.raw);
}

/* --- once ------------------------------------------------------------------------------------------ */

static weft_once once;
static unsigned made;  /* plain: what the initialiser writes */
static unsigned tries; /* plain: by whoever has the right */

/* The first try fails. */
static void initialise(unsigned me)
{
    bool good = tries++ > 0;

    if (good) {
        made = 42;
        model_reached(me == 0 ? DONE_BY_FIRST : DONE_BY_SECOND);
    }
    CHECK_EQ(0, weft_once_end(&once, good));
}

static void asks(unsigned me)
{
    for (;;) {
        weft_future f = weft_once_begin_future(&once);
        ssize_t rc = bell_await(&bell[me], &f);

        if (rc == 0)
            break;
        CHECK_EQ(1, rc);
        initialise(me);
    }
    CHECK(weft_once_is_done(&once));
    CHECK_EQ(42, made);
}

static void first_asks(void)
{
    asks(0);
}

static void second_asks(void)
{
    asks(1);
}

static void begin_held(void)
{
    CHECK_EQ(1, weft_once_try_begin(&once));
}

static void fails(void)
{
    initialise(0);
}

static void asks_and_goes(void)
{
    weft_future f = weft_once_begin_future(&once);

    if (bell_poll(&bell[2], &f) == WEFT_PENDING) {
        weft_future_drop(&f);
        if (bell_has_rung(&bell[2]))
            model_reached(RIGHT_DROPPED);
    } else if (f.result == 1) {
        CHECK_EQ(0, weft_once_end(&once, false));
    } else {
        CHECK_EQ(42, made);
    }
}

static void glances(void)
{
    if (weft_once_is_done(&once))
        CHECK_EQ(42, made);
}

static void end_once(void)
{
    CHECK(weft_once_is_done(&once));
    end();
}

/* An initialiser that is a future: it waits once. The first one to end fails. */
struct making {
    unsigned me;
    bool asked, dropped;
};

static struct making *making_of(const weft_future *f)
{
    return (struct making *)f->words[0]; /* NOLINT(performance-no-int-to-ptr) */
}

static weft_poll making_poll(weft_future *f, weft_context *cx)
{
    struct making *m = making_of(f);

    if (!m->asked) {
        m->asked = true;
        weft_waker_wake_by_ref(&cx->waker_);
        return WEFT_PENDING;
    }
    f->result = tries++ > 0 ? 0 : -EIO;
    if (f->result == 0) {
        made = 42;
        model_reached(m->me == 0 ? DONE_BY_FIRST : DONE_BY_SECOND);
    }
    return WEFT_READY;
}

static void making_drop(weft_future *f)
{
    making_of(f)->dropped = true;
}

static weft_future making(struct making *m, unsigned me)
{
    static const weft_future_type type = {making_poll, making_drop, "making"};
    weft_future f = {.type = &type};

    *m = (struct making){.me = me};
    f.words[0] = (uintptr_t)m;
    return f;
}

static void runs(unsigned me)
{
    ssize_t rc;

    do {
        struct making m;
        weft_future initialiser = making(&m, me);
        weft_future f = weft_once_run_future(&once, &initialiser);

        rc = bell_await(&bell[me], &f);
        CHECK(rc == 0 || rc == -EIO);
    } while (rc < 0);
    CHECK(weft_once_is_done(&once));
    CHECK_EQ(42, made);
}

static void first_runs(void)
{
    runs(0);
}

static void second_runs(void)
{
    runs(1);
}

static void runs_and_goes(void)
{
    struct making m;
    weft_future initialiser = making(&m, 2);
    weft_future f = weft_once_run_future(&once, &initialiser);

    if (bell_poll(&bell[2], &f) == WEFT_PENDING) {
        if (m.asked)
            model_reached(MAKING_DROPPED);
        weft_future_drop(&f);
        CHECK_EQ(m.asked, m.dropped);
    } else {
        CHECK_EQ(42, made);
    }
}

/* --- set once ----------------------------------------------------------------------------------------- */

static weft_set_once value;
static unsigned content[2]; /* plain: what is pointed at */
static struct wf_atomic_u32 refused;

static void sets(unsigned i)
{
    int rc;

    content[i] = 42;
    rc = weft_set_once_set(&value, &content[i]);
    CHECK(rc == 0 || rc == -EALREADY);
    if (rc < 0)
        wf_add_u32(&refused, 1, WF_RELAXED);
}

static void sets_one(void)
{
    sets(0);
}

static void sets_another(void)
{
    sets(1);
}

static void wants(void)
{
    weft_future f = weft_set_once_wait_future(&value);
    unsigned *p = weft_set_once_get(&value);

    model_reached(p ? SEEN_AT_ONCE : SET_AFTER);
    CHECK_EQ(0, bell_await(&bell[0], &f));
    CHECK(!p || p == weft_set_once_get(&value));
    p = weft_set_once_get(&value);
    CHECK_EQ(42, *p);
}

static void wants_no_more(void)
{
    weft_future f = weft_set_once_wait_future(&value);

    if (bell_poll(&bell[1], &f) == WEFT_READY) {
        model_reached(SET_BEFORE);
        CHECK_EQ(42, *(unsigned *)weft_set_once_get(&value));
    }
    weft_future_drop(&f);
}

static void end_set(void)
{
    CHECK_EQ(1, refused.raw);
    end();
}

const struct model_test model_tests[] = {
    {.name = "after a failure the next one does it",
     .thread = {first_asks, second_asks},
     .end = end_once,
     .must_reach = BIT(DONE_BY_FIRST) | BIT(DONE_BY_SECOND)},
    {.name = "the right is handed on by one who goes",
     .begin = begin_held,
     .thread = {fails, second_asks, asks_and_goes},
     .end = end_once,
     .must_reach = BIT(DONE_BY_SECOND) | BIT(RIGHT_DROPPED)},
    {.name = "initialisers that are futures, one after the other",
     .thread = {first_runs, second_runs, runs_and_goes},
     .end = end_once,
     .preemptions = 1,
     .must_reach = BIT(DONE_BY_FIRST) | BIT(DONE_BY_SECOND) | BIT(MAKING_DROPPED)},
    {.name = "who sees that it is done sees what was made",
     .thread = {first_asks, glances},
     .end = end_once},
    {.name = "one value is set, and all that wait see it",
     .thread = {sets_one, sets_another, wants, wants_no_more},
     .end = end_set,
     .preemptions = 1,
     .must_reach = BIT(SET_BEFORE) | BIT(SET_AFTER) | BIT(SEEN_AT_ONCE)},
    {0},
};
