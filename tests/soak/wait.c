/* SPDX-License-Identifier: MIT */
/*
 * wait.c - acts about waiting: hand-overs and the combinators, without timers but where said.
 *
 * Each slot that is ordered here is delivered by somebody else, so that every await ends by a wake from
 * elsewhere, or because the caller was told to stop.
 */
#include "soak.h"

#include <errno.h>

/* Some slots that are on their way, and their futures. */
struct orders {
    struct soak_slot *slot[4];
    weft_future f[4];
    weft_future *list[4];
    unsigned n;
};

static void orders_make(struct soak_actor *a, struct orders *o)
{
    o->n = 1 + (unsigned)roll(a, 4);
    for (unsigned i = 0; i < o->n; i++) {
        o->slot[i] = soak_order(a);
        o->f[i] = soak_slot_future(o->slot[i]);
        o->list[i] = &o->f[i];
    }
}

static void orders_put(struct orders *o)
{
    for (unsigned i = 0; i < o->n; i++)
        soak_slot_put(o->slot[i]);
}

static void orders_claim(const struct orders *o, unsigned i)
{
    CHECK(weft_future_is_ready(&o->f[i]));
    CHECK_EQ(soak_slot_value(o->slot[i]), o->f[i].result);
}

void soak_act_yield(struct soak_actor *a)
{
    weft_future turn = weft_yield_future();

    if (one_in(a, 2))
        (void)soak_expect(0, weft_yield(), "yield");
    else
        (void)soak_expect(0, weft_await(&turn), "a yield as a future");
}

void soak_act_slot(struct soak_actor *a)
{
    struct soak_slot *s = soak_order(a);
    weft_future f = soak_slot_future(s);

    (void)soak_expect(soak_slot_value(s), weft_await(&f), "slot");
    soak_slot_put(s);
}

void soak_act_select(struct soak_actor *a)
{
    struct orders o;
    ssize_t rc;

    orders_make(a, &o);
    if (o.n > 1 && one_in(a, 4))
        o.list[0] = NULL;
    rc = weft_select_n(o.list, o.n, one_in(a, 2) ? WEFT_SELECT_RANDOM : WEFT_SELECT_BIASED);
    if (rc >= 0) {
        CHECK(rc < (ssize_t)o.n && o.list[rc]);
        orders_claim(&o, (unsigned)rc);
    } else {
        CHECK(soak_is_soft(rc));
    }
    orders_put(&o);
}

/* One after the other, the losers left pending between; at times they are left to the end of the task, but
 * then the slots must outlive it. */
void soak_act_keep(struct soak_actor *a)
{
    struct orders o;

    orders_make(a, &o);
    for (unsigned left = o.n; left; left--) {
        ssize_t rc = weft_select_n(o.list, o.n, WEFT_SELECT_KEEP);

        if (rc < 0) {
            CHECK(soak_is_soft(rc));
            break;
        }
        CHECK(rc < (ssize_t)o.n && o.list[rc]);
        orders_claim(&o, (unsigned)rc);
        o.list[rc] = NULL;
        if (one_in(a, 5))
            break;
        if (one_in(a, 3))
            soak_act_yield(a);
    }
    for (unsigned i = 0; i < o.n; i++)
        weft_future_drop(&o.f[i]);
    orders_put(&o);
}

void soak_act_join_all(struct soak_actor *a)
{
    struct orders o;
    int rc;

    orders_make(a, &o);
    rc = weft_join_all_n(o.list, o.n);
    if (soak_expect(0, rc, "join_all"))
        for (unsigned i = 0; i < o.n; i++)
            orders_claim(&o, i);
    orders_put(&o);
}

/* At times one of them fails. */
void soak_act_try_join_all(struct soak_actor *a)
{
    weft_future bad = weft_ready_future(-EXDEV), turn = weft_yield_future();
    weft_future *list[6];
    bool fails = one_in(a, 2);
    struct orders o;
    ssize_t rc;

    orders_make(a, &o);
    for (unsigned i = 0; i < o.n; i++)
        list[i] = o.list[i];
    list[o.n] = fails ? &bad : NULL;
    list[o.n + 1] = &turn;
    rc = weft_try_join_all_n(list, o.n + 2);
    if (soak_expect(fails ? -EXDEV : 0, rc, "try_join_all") && !fails)
        for (unsigned i = 0; i < o.n; i++)
            orders_claim(&o, i);
    orders_put(&o);
}

/* A timeout of a select of a join of slots. */
void soak_act_nested(struct soak_actor *a)
{
    weft_future sleep = weft_sleep_future(WEFT_US(roll(a, 400)));
    weft_future all, first, limited;
    weft_future *branches[2] = {&all, &sleep};
    weft_duration limit = WEFT_US(roll(a, 800));
    struct orders o;
    ssize_t rc;

    orders_make(a, &o);
    all = weft_join_all_future(o.list, o.n);
    first = weft_select_future(branches, 2, WEFT_SELECT_RANDOM);
    limited = weft_timeout_future(limit, &first);
    rc = weft_await(&limited);
    if (rc == 0)
        for (unsigned i = 0; i < o.n; i++)
            orders_claim(&o, i);
    else
        CHECK(rc == 1 || rc == -ETIMEDOUT || soak_is_soft(rc));
    orders_put(&o);
}

/* Ready after a few polls, each of which leaves a waker in the attic: it comes back from there many times, as
 * a rule when nobody waits for it any more. */
static weft_poll haunted_poll(weft_future *f, weft_context *cx)
{
    f->result = 9;
    if (f->words[0]-- == 0)
        return WEFT_READY;
    for (unsigned i = 0; i < 2; i++)
        soak_attic_put(weft_context_waker(cx));
    return WEFT_PENDING;
}

static const weft_future_type haunted_type = {.poll = haunted_poll, .name = "haunted"};

void soak_act_haunted(struct soak_actor *a)
{
    weft_future f = weft_future_of(&haunted_type);

    f.words[0] = roll(a, 3);
    (void)soak_expect(9, weft_await(&f), "a haunted future");
}
