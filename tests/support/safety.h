/* SPDX-License-Identifier: MIT */
/*
 * safety.h - a call that awaits is ended at its suspension point in every way that there is, and nothing is lost.
 *
 * IDEA     A row says how a call is brought to wait, what lets it go on, what it answers then, and how to see that
 *          nothing is left over. The ways below are the same for all rows. A call is ended
 *
 *              while it must wait     by a cancel, a deadline, losing a select: it says so, and has taken nothing
 *              as it is let go        by the same, a moment later or earlier, or on another thread at the same time:
 *                                     it has succeeded or has taken nothing; and if it had what it waited for first,
 *                                     then a cancel and a deadline come too late
 *              having been given      what it waited for, without knowing yet: whoever comes next gets that
 *              first in a line        while it waits, and having been given: the second gets what it did not take
 *
 *          After each of them the same call succeeds, or has. What was given and what was taken is counted, and at the
 *          end the difference must still be there.
 * USE      struct safety_bed { what the rows of this file are tried on };
 *          #include "safety.h"
 *
 *          static const struct row send_row = {...};
 *          SAFETY(send, a_send_that_is_given_up_sends_nothing)
 */
#ifndef TEST_SAFETY_H
#define TEST_SAFETY_H

#include "waiting.h"

struct bed;

/* What is so of a call, beside the rest of its row. */
#define PROMPT \
 1u /* what `give` gives it has when that returns: so it succeeds, whatever happens then */
#define LINE 2u /* several may wait at a time, first come, first served */
#define EACH \
 4u /* in a line: what is given is for one of them. Else it is for all, or is handed on */
#define MEETS 8u  /* what is given while nobody waits is for nobody */
#define LATER 16u /* what is given counts for those who come later only */

struct row {
    void (*set_up)(struct bed *b);    /* from here on the call waits */
    int (*wait)(void *bed);           /* straight-line; NULL: there is none */
    weft_future (*future)(void *bed); /* the same; NULL: there is none */
    void (*give)(struct bed *b);      /* lets one that waits go on; does not wait itself */
    void (*took)(
        struct bed *b); /* by who succeeded, at once, shielded: look, and put back. May be NULL */
    void (*tear_down)(struct bed *b); /* what was given and not taken is still there; clean up */
    int good;                         /* what the call answers when it succeeds */
    unsigned traits;
};

/* What one call is tried on. */
struct bed {
    const struct row *row;
    bool alone; /* nothing runs beside the task that tries it */
    unsigned given;
    atomic_uint taken;
    struct safety_bed on;
};

/* --- an attempt: a task that makes the call ---------------------------------------------------- */

enum form { STRAIGHT, AWAITED };

struct attempt {
    struct bed *bed;
    enum form form;
    weft_notify *rival;  /* not NULL: it stands second in a select, and this one first */
    weft_duration limit; /* 0: none */
    weft_task *task;
};

#define RIVAL_WON 1000000

static inline int attempt_select(struct attempt *a)
{
    weft_future rival = weft_notify_wait_future(a->rival), f = a->bed->row->future(a->bed);
    ssize_t rc = weft_select_biased(&rival, &f);

    if (rc == 1)
        return (int)f.result;
    return rc == 0 ? RIVAL_WON : (int)rc;
}

static inline int attempt_await(struct attempt *a)
{
    weft_future f;

    if (a->rival)
        return attempt_select(a);
    if (a->form == STRAIGHT)
        return a->bed->row->wait(a->bed);
    f = a->bed->row->future(a->bed);
    return (int)weft_await(&f);
}

static inline int attempt_run(void *arg)
{
    struct attempt *a = arg;
    struct bed *b = a->bed;
    int rc = 0;

    if (a->limit)
        WEFT_DEADLINE(a->limit)
        {
            rc = attempt_await(a);
        }
    else
        rc = attempt_await(a);
    if (rc != b->row->good)
        return rc;
    atomic_fetch_add(&b->taken, 1);
    if (b->row->took)
        WEFT_SHIELD
        {
            b->row->took(b);
        }
    return rc;
}

static inline void attempt_start(struct attempt *a)
{
    a->task = weft_spawn(attempt_run, a);
    CHECK(a->task);
}

/* Started, and waiting by now. */
static inline void attempt_begin(struct attempt *a)
{
    attempt_start(a);
    until_idle(a->task);
}

static inline int attempt_end(struct attempt *a)
{
    return joined(a->task);
}

static inline void give(struct bed *b)
{
    b->row->give(b);
    b->given++;
}

static inline bool is(const struct bed *b, unsigned traits)
{
    return (b->row->traits & traits) == traits;
}

static inline enum form any_form(const struct bed *b)
{
    return b->row->wait ? STRAIGHT : AWAITED;
}

/* What was given and nobody has taken. */
static inline unsigned left_over(struct bed *b)
{
    unsigned taken = atomic_load(&b->taken);

    CHECK(taken <= b->given);
    return b->given - taken;
}

/* What was given is there for whoever comes now; and where it cannot be, one who comes is given it again. */
static inline void claim_success(struct bed *b)
{
    struct attempt a = {.bed = b, .form = any_form(b)};

    if (is(b, MEETS)) {
        attempt_begin(&a);
        give(b);
    } else {
        attempt_start(&a);
    }
    CHECK_EQ(b->row->good, attempt_end(&a));
}

/* It has succeeded, or has ended in the other way and taken nothing. */
static inline void claim_either(struct bed *b, int other, int rc)
{
    if (rc == b->row->good)
        return;
    CHECK_EQ(other, rc);
    claim_success(b);
}

/* --- while it must wait ------------------------------------------------------------------------- */

static inline void ended_while_it_waits(struct bed *b, enum form form)
{
    struct giveup g = {.on = b};

    if (form == STRAIGHT)
        g.wait = b->row->wait;
    else
        g.future = b->row->future;
    give_up(&g);
    if (!is(b, MEETS))
        give(b);
    claim_success(b);
}

/* --- as it is let go ------------------------------------------------------------------------------ */

static inline void cancelled_after_it_was_let_go(struct bed *b, enum form form)
{
    struct attempt a = {.bed = b, .form = form};

    attempt_begin(&a);
    give(b);
    weft_cancel(a.task);
    if (is(b, PROMPT))
        CHECK_EQ(b->row->good, attempt_end(&a));
    else
        claim_either(b, -ECANCELED, attempt_end(&a));
}

static inline void cancelled_before_it_was_let_go(struct bed *b, enum form form)
{
    struct attempt a = {.bed = b, .form = form};

    attempt_begin(&a);
    weft_cancel(a.task);
    give(b);
    claim_either(b, -ECANCELED, attempt_end(&a));
}

struct canceller {
    weft_task *target;
    atomic_bool ready, go;
};

static inline int cancel_at_go(void *arg)
{
    struct canceller *c = arg;

    atomic_store(&c->ready, true);
    while (!atomic_load(&c->go))
        CHECK_EQ(0, weft_yield());
    weft_cancel(c->target);
    return 0;
}

static inline void cancelled_as_it_was_let_go(struct bed *b, enum form form)
{
    struct attempt a = {.bed = b, .form = form};
    struct canceller c = {0};
    weft_task *t;

    attempt_begin(&a);
    c.target = a.task;
    t = weft_spawn(cancel_at_go, &c);
    while (!atomic_load(&c.ready))
        CHECK_EQ(0, weft_yield());
    atomic_store(&c.go, true);
    give(b);
    CHECK_EQ(0, joined(t));
    claim_either(b, -ECANCELED, attempt_end(&a));
}

static inline bool waits_or_has_ended(const weft_task *t)
{
    weft_task_info info;

    CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, weft_task_get_info(t, &info));
    return info.state == WEFT_TASK_IDLE || info.state == WEFT_TASK_FINISHED;
}

static inline void let_go_when_its_time_is_over(struct bed *b, enum form form)
{
    struct attempt a = {.bed = b, .form = form, .limit = WEFT_US(500)};
    weft_instant from = weft_now();
    bool in_time;

    attempt_start(&a);
    while (!waits_or_has_ended(a.task))
        continue;
    in_time = b->alone && !weft_is_finished(a.task);
    give(b);
    while (weft_now() - from < WEFT_MS(1))
        continue;
    if (in_time && is(b, PROMPT))
        CHECK_EQ(b->row->good, attempt_end(&a));
    else
        claim_either(b, -ETIMEDOUT, attempt_end(&a));
}

/* As a future, for there is no other way into a select. */
static inline void loses_a_select_before_it_was_let_go(struct bed *b, enum form form)
{
    weft_notify rival = WEFT_NOTIFY_INIT;
    struct attempt a = {.bed = b, .form = form, .rival = &rival};

    attempt_begin(&a);
    weft_notify_one(&rival);
    give(b);
    CHECK_EQ(RIVAL_WON, attempt_end(&a));
    claim_success(b);
}

static inline void loses_a_select_after_it_was_let_go(struct bed *b, enum form form)
{
    weft_notify rival = WEFT_NOTIFY_INIT;
    struct attempt a = {.bed = b, .form = form, .rival = &rival};

    attempt_begin(&a);
    give(b);
    weft_notify_one(&rival);
    if (b->alone) {
        CHECK_EQ(RIVAL_WON, attempt_end(&a));
        claim_success(b);
    } else {
        claim_either(b, RIVAL_WON, attempt_end(&a));
    }
}

/* --- having been given -------------------------------------------------------------------------------- */

/*
 * Polled by hand, so that it stays between having been given and knowing it as long as we like; by a task of its own,
 * which some of what is given belongs to, and dropped by another.
 */
struct pending {
    struct bed *bed;
    struct poller poller;
    weft_future f;
    atomic_bool polled;
    weft_notify done;
    weft_task *task;
};

static inline int pending_run(void *arg)
{
    struct pending *p = arg;

    p->f = p->bed->row->future(p->bed);
    CHECK_EQ(WEFT_PENDING, poller_poll(&p->poller, &p->f));
    atomic_store(&p->polled, true);
    return weft_notify_wait(&p->done);
}

static inline void pending_begin(struct pending *p, struct bed *b)
{
    *p = (struct pending){.bed = b};
    poller_init(&p->poller);
    p->task = weft_spawn(pending_run, p);
    CHECK(p->task);
    while (!atomic_load(&p->polled))
        CHECK_EQ(0, weft_yield());
}

/* Nobody knows of it any more. */
static inline void pending_drop(struct pending *p)
{
    int wakes;

    weft_future_drop(&p->f);
    CHECK_EQ(-ECANCELED, p->f.result);
    /* Who took the waker out before may have to wake it yet, and give it up. */
    while (atomic_load(&p->poller.refs) > 0)
        CHECK_EQ(0, weft_yield());
    wakes = atomic_load(&p->poller.wakes);
    weft_notify_one(&p->done);
    CHECK_EQ(0, joined(p->task));
    CHECK_EQ(wakes, atomic_load(&p->poller.wakes));
}

static inline void dropped_with_what_it_was_given(struct bed *b, enum form form)
{
    struct pending p;

    (void)form;
    pending_begin(&p, b);
    give(b);
    if (is(b, PROMPT))
        CHECK(atomic_load(&p.poller.wakes) > 0);
    pending_drop(&p);
    claim_success(b);
}

/* --- first in a line ------------------------------------------------------------------------------------- */

static inline void the_first_is_cancelled(struct bed *b, enum form form)
{
    struct attempt first = {.bed = b, .form = form}, second = {.bed = b, .form = any_form(b)};

    attempt_begin(&first);
    attempt_begin(&second);
    weft_cancel(first.task);
    CHECK_EQ(-ECANCELED, attempt_end(&first));
    CHECK(!weft_is_finished(second.task));
    give(b);
    CHECK_EQ(b->row->good, attempt_end(&second));
}

static inline void the_first_is_cancelled_too_late(struct bed *b, enum form form)
{
    struct attempt first = {.bed = b, .form = form}, second = {.bed = b, .form = any_form(b)};

    attempt_begin(&first);
    attempt_begin(&second);
    give(b);
    weft_cancel(first.task);
    CHECK_EQ(b->row->good, attempt_end(&first));
    if (is(b, EACH)) {
        CHECK(!weft_is_finished(second.task));
        give(b);
    }
    CHECK_EQ(b->row->good, attempt_end(&second));
}

static inline void the_first_loses_a_select(struct bed *b, enum form form)
{
    weft_notify rival = WEFT_NOTIFY_INIT;
    struct attempt first = {.bed = b, .form = form, .rival = &rival};
    struct attempt second = {.bed = b, .form = any_form(b)};

    attempt_begin(&first);
    attempt_begin(&second);
    weft_notify_one(&rival);
    give(b);
    CHECK_EQ(RIVAL_WON, attempt_end(&first));
    CHECK_EQ(b->row->good, attempt_end(&second));
}

static inline void the_first_is_dropped_with_what_it_was_given(struct bed *b, enum form form)
{
    struct attempt second = {.bed = b, .form = any_form(b)};
    struct pending first;

    (void)form;
    pending_begin(&first, b);
    attempt_begin(&second);
    give(b);
    if (is(b, PROMPT | EACH))
        CHECK(!weft_is_finished(second.task));
    pending_drop(&first);
    CHECK_EQ(b->row->good, attempt_end(&second));
}

/* --- all of them -------------------------------------------------------------------------------------------- */

typedef void way_fn(struct bed *b, enum form form);

static const struct way {
    way_fn *fn;
    unsigned needs, excludes; /* traits of a row */
    bool as_future_only;
    unsigned times;
} safety_ways[] = {
    {ended_while_it_waits, 0, 0, false, 1},
    {cancelled_after_it_was_let_go, 0, LATER, false, 1},
    {cancelled_before_it_was_let_go, 0, LATER | MEETS, false, 1},
    {cancelled_as_it_was_let_go, 0, LATER | MEETS, false, 50},
    {let_go_when_its_time_is_over, 0, LATER | MEETS, false, 1},
    {loses_a_select_before_it_was_let_go, 0, LATER | MEETS, true, 1},
    {loses_a_select_after_it_was_let_go, 0, LATER, true, 1},
    {dropped_with_what_it_was_given, 0, LATER, true, 1},
    {the_first_is_cancelled, LINE, 0, false, 1},
    {the_first_is_cancelled_too_late, LINE | PROMPT, 0, false, 1},
    {the_first_loses_a_select, LINE, 0, true, 1},
    {the_first_is_dropped_with_what_it_was_given, LINE, 0, true, 1},
};

struct safety_run {
    const struct row *row;
    bool alone;
};

static inline bool way_is_for(const struct way *way, const struct row *row, enum form form)
{
    if (form == STRAIGHT ? !row->wait || way->as_future_only : !row->future)
        return false;
    return (row->traits & way->needs) == way->needs && !(row->traits & way->excludes);
}

static inline void safety_try(const struct safety_run *run, const struct way *way, enum form form)
{
    for (uint64_t i = test_scaled(way->times); i > 0; i--) {
        struct bed b = {.row = run->row, .alone = run->alone};

        b.row->set_up(&b);
        way->fn(&b, form);
        b.row->tear_down(&b);
    }
}

static inline int safety_try_all(void *arg)
{
    const struct safety_run *run = arg;

    for (size_t i = 0; i < sizeof(safety_ways) / sizeof(safety_ways[0]); i++)
        for (enum form form = STRAIGHT; form <= AWAITED; form++)
            if (way_is_for(&safety_ways[i], run->row, form))
                safety_try(run, &safety_ways[i], form);
    return 0;
}

/* On current-thread, and on 1, 2 and 8 workers. */
static inline void safety_run(const struct row *row)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        const struct test_flavour *flavour = &test_flavours[i];
        struct safety_run run = {row, flavour->flavor == WEFT_CURRENT_THREAD};

        test_run_on(flavour, safety_try_all, &run);
    }
}

/* A test of its own for each row, so that a failure names it. */
#define SAFETY(row, claim) \
 TEST(claim)               \
 {                         \
  safety_run(&row##_row);  \
 }

#endif
