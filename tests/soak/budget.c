/* SPDX-License-Identifier: MIT */
/*
 * budget.c - acts about the coop budget of poll functions of one's own: futures and stackless tasks that are always
 * ready, and take a unit for each step.
 *
 * CLAIMS   No poll takes more units than a budget has. Who finds it spent is polled again, with a new one. A unit that
 *          is given back was not spent.
 */
#include "soak.h"

#include <errno.h>

#define BUDGET 128u

/* Ready after so many steps, each of which takes a unit. */
struct meter {
    uint64_t steps;
    unsigned run;  /* units taken since the budget was spent last */
    bool spent;    /* at the last poll */
    bool returned; /* each is given back */
};

/* True: one step was made. */
static bool meter_step(struct meter *m, const weft_context *cx)
{
    if (!weft_budget_take(cx)) {
        CHECK(!m->spent); /* it was polled anew since, and did nothing else */
        CHECK(!m->returned);
        m->spent = true;
        m->run = 0;
        return false;
    }
    m->spent = false;
    if (m->returned)
        weft_budget_return();
    else
        CHECK(++m->run <= BUDGET);
    m->steps--;
    return true;
}

static weft_poll meter_poll(weft_future *f, weft_context *cx)
{
    struct meter *m = (struct meter *)f->words[0]; /* NOLINT(performance-no-int-to-ptr) */

    while (m->steps)
        if (!meter_step(m, cx))
            return WEFT_PENDING;
    f->result = 6;
    return WEFT_READY;
}

static void meter_drop(weft_future *f)
{
    (void)f;
}

static weft_future meter_future(struct meter *m)
{
    static const weft_future_type type = {meter_poll, meter_drop, "meter"};
    weft_future f = weft_future_of(&type);

    f.words[0] = (uintptr_t)m;
    return f;
}

static int meter_unconstrained(void *meter)
{
    weft_future f = meter_future(meter);

    (void)soak_expect(6, weft_await(&f), "an unconstrained meter");
    return 5;
}

/* One future that does all of its steps in as few polls as it may. */
static void take_alone(struct soak_actor *a)
{
    struct meter m = {.steps = roll(a, 5 * BUDGET)};
    weft_future f = meter_future(&m);

    if (!soak_expect(0, weft_yield(), "yield")) /* from here on the budget is a new one */
        return;
    if (soak_expect(6, weft_await(&f), "a meter"))
        CHECK_EQ(0, m.steps);
}

/* A new one for each step: the task that awaits them in a loop lets others run, all the same. */
static void take_in_a_loop(struct soak_actor *a)
{
    struct meter m = {0};

    if (!soak_expect(0, weft_yield(), "yield"))
        return;
    for (uint64_t n = roll(a, 5 * BUDGET); n; n--) {
        weft_future f = meter_future(&m);

        m.steps = 1;
        if (!soak_expect(6, weft_await(&f), "a step"))
            return;
    }
}

/* Whatever is given back can be taken again, as often as one likes: no poll but the first finds it spent. */
static void take_and_return(struct soak_actor *a)
{
    struct meter m = {.steps = roll(a, 5 * BUDGET), .returned = true};
    weft_future f = meter_future(&m);

    if (!soak_expect(0, weft_yield(), "yield"))
        return;
    if (soak_expect(6, weft_await(&f), "a meter that takes nothing"))
        CHECK_EQ(0, m.steps);
}

/* --- a stackless task ---------------------------------------------------------------------- */

struct taker {
    weft_async async; /* first */
    uint64_t id;
    struct meter meter;
    int value;
};

static weft_poll taker_poll(void *self, weft_context *cx)
{
    struct taker *t = self;

    t->meter.run = 0;
    WEFT_ASYNC_BEGIN(t);
    while (t->meter.steps) {
        if (!meter_step(&t->meter, cx))
            return WEFT_PENDING; /* and comes in again where it began */
    }
    WEFT_RETURN(t, t->value);
    WEFT_ASYNC_END(t);
}

static void taker_drop(void *self)
{
    soak_end_id(SOAK_STACKLESS, ((struct taker *)self)->id);
}

static const weft_async_type taker_type = {.poll = taker_poll,
                                           .drop = taker_drop,
                                           .size = sizeof(struct taker),
                                           .name = "taker"};

static void take_without_a_stack(struct soak_actor *a)
{
    struct taker taker = {.id = test_rand(&a->rand), .meter.steps = roll(a, 5 * BUDGET)};
    weft_task *t;

    if (!soak_has_room())
        return;
    taker.value = soak_value(taker.id);
    soak_begin_id(SOAK_STACKLESS, taker.id);
    t = weft_spawn_async(&taker_type, &taker);
    CHECK(t);
    soak_join_value(t, taker.value, false);
}

void soak_act_take(struct soak_actor *a)
{
    struct meter m = {.steps = BUDGET, .returned = false};

    switch (roll(a, 5)) {
    case 0:
        take_alone(a);
        break;
    case 1:
        take_in_a_loop(a);
        break;
    case 2:
        take_and_return(a);
        break;
    case 3:
        take_without_a_stack(a);
        break;
    default:
        CHECK_EQ(5, weft_unconstrained(meter_unconstrained, &m));
        break;
    }
}
