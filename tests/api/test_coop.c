/* SPDX-License-Identifier: MIT */
/*
 * test_coop.c - giving way: the budget of 128 operations, those who do without it, those beside who spends it
 * all, and the task that ignores its cancel.
 *
 * Who runs between what is certain with one worker only, so most of this runs on the two flavours
 * that have one.
 */
#include "support.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BUDGET 128
#define ROUNDS 20

static void compute(weft_duration d)
{
    weft_instant end = weft_instant_add(weft_now(), d);

    while (weft_now() < end)
        continue;
}

/* What one task did, and what another saw of it each time that it ran. */
struct race {
    int (*operation)(struct race *r); /* finishes at once, spends one unit */
    weft_task *ended;
    int done;  /* operations */
    int turns; /* of the neighbour */
    int seen, longest;
    bool over;
};

static int neighbour(void *arg)
{
    struct race *r = arg;

    while (!r->over) {
        if (r->done - r->seen > r->longest)
            r->longest = r->done - r->seen;
        r->seen = r->done;
        r->turns++;
        CHECK_EQ(0, weft_yield());
    }
    return 0;
}

/* Running: from then on it takes its turn with every woken task. */
static weft_task *begin_neighbour(struct race *r)
{
    weft_task *t = weft_spawn(neighbour, r);

    while (r->turns == 0)
        CHECK_EQ(0, weft_yield());
    return t;
}

static int runner(void *arg)
{
    struct race *r = arg;

    for (int i = 0; i < ROUNDS * BUDGET; i++) {
        CHECK_EQ(0, r->operation(r));
        r->done++;
    }
    return 0;
}

static int return_zero(void *arg)
{
    (void)arg;
    return 0;
}

static int op_sleep(struct race *r)
{
    (void)r;
    return weft_sleep(0);
}

static int op_consume(struct race *r)
{
    (void)r;
    return weft_consume_budget();
}

static int op_past(struct race *r)
{
    weft_future f = weft_sleep_until_future(1);

    (void)r;
    return (int)weft_await(&f);
}

static int op_join(struct race *r)
{
    weft_future f = weft_join_future(r->ended);

    return (int)weft_await(&f);
}

static int op_take(struct race *r)
{
    return weft_join(weft_task_ref(r->ended), NULL);
}

/* Of a user's own: words[0] says whether it is ready. */
static weft_poll own_poll(weft_future *f, weft_context *cx)
{
    if (!weft_budget_take(cx))
        return WEFT_PENDING;
    f->result = 0;
    if (f->words[0])
        return WEFT_READY;
    weft_budget_return();
    return WEFT_PENDING;
}

static const weft_future_type own_type = {.poll = own_poll, .name = "own"};

static int op_own(struct race *r)
{
    weft_future f = weft_future_of(&own_type);

    (void)r;
    f.words[0] = 1;
    return (int)weft_await(&f);
}

static int budget(void *arg)
{
    static int (*const operations[])(struct race *) = {op_sleep, op_consume, op_past,
                                                       op_join,  op_take,    op_own};
    weft_metrics m;

    (void)arg;
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        struct race r = {.operation = operations[i], .ended = weft_spawn(return_zero, NULL)};
        weft_task *other = begin_neighbour(&r), *t;

        while (!weft_is_finished(r.ended))
            CHECK_EQ(0, weft_yield());
        t = weft_spawn(runner, &r);
        CHECK_EQ(0, weft_join(t, NULL));
        r.over = true;
        CHECK_EQ(0, weft_join(other, NULL));
        CHECK_EQ(ROUNDS * BUDGET, r.done);
        CHECK(r.longest <= BUDGET);     /* nobody waits for more than that */
        CHECK(r.longest >= BUDGET / 2); /* and it is not given up early */
        CHECK(r.turns >= ROUNDS);
        weft_detach(r.ended);
    }
    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    CHECK(m.total.budget_yields >= ROUNDS - 1);
    return 0;
}

TEST(a_task_that_is_always_ready_lets_others_run_every_128_operations)
{
    test_run_alone(budget, NULL);
}

static int returned(void *arg)
{
    weft_context cx = weft_context_of(NULL);
    weft_future f = weft_future_of(&own_type);
    int n = 0;

    (void)arg;
    CHECK_EQ(0, weft_yield());
    for (int i = 0; i < 10 * BUDGET; i++) {
        CHECK(weft_future_poll(&f, &cx) == WEFT_PENDING);
        CHECK(weft_budget_take(&cx)); /* as many as before */
        weft_budget_return();
    }
    weft_future_drop(&f);
    while (weft_budget_take(&cx))
        CHECK(++n <= BUDGET);
    CHECK(weft_should_yield());
    weft_budget_return(); /* the last one was refused, but this one is spent */
    CHECK(weft_budget_take(&cx));
    CHECK(!weft_budget_take(&cx));
    return 0;
}

TEST(a_poll_that_waits_gives_its_unit_back)
{
    weft_context cx = weft_context_of(NULL);

    for (int i = 0; i < 10 * BUDGET; i++)
        CHECK(weft_budget_take(&cx)); /* a plain thread has no budget */
    weft_budget_return();
    test_run(returned, NULL);
}

/* --- the same, stackless ---------------------------------------------------------- */

struct busy {
    weft_async async;
    struct race *race;
    weft_future f;
};

static weft_poll busy_poll(void *self, weft_context *cx)
{
    struct busy *b = self;

    WEFT_ASYNC_BEGIN(b);
    while (b->race->done < ROUNDS * BUDGET) {
        b->f = weft_join_future(b->race->ended);
        WEFT_AWAIT(b, cx, &b->f);
        CHECK_EQ(0, b->f.result);
        b->race->done++;
    }
    WEFT_ASYNC_END(b);
}

static const weft_async_type busy_type = {.poll = busy_poll, .size = sizeof(struct busy)};

static int budget_stackless(void *arg)
{
    struct race r = {.ended = weft_spawn(return_zero, NULL)};
    struct busy state = {.race = &r};
    weft_task *other = begin_neighbour(&r);

    (void)arg;
    while (!weft_is_finished(r.ended))
        CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, weft_join(weft_spawn_async(&busy_type, &state), NULL));
    r.over = true;
    CHECK_EQ(0, weft_join(other, NULL));
    CHECK(r.longest <= BUDGET && r.longest >= BUDGET / 2);
    CHECK(r.turns >= ROUNDS);
    weft_detach(r.ended);
    return 0;
}

TEST(a_stackless_task_has_the_same_budget)
{
    test_run_alone(budget_stackless, NULL);
}

/* --- without a budget ---------------------------------------------------------------- */

static int unlimited(void *arg)
{
    struct race *r = arg;
    int turns = r->turns;

    for (int i = 0; i < ROUNDS * BUDGET; i++)
        CHECK_EQ(0, weft_consume_budget());
    CHECK_EQ(turns, r->turns); /* nobody else ran */
    CHECK_EQ(5, weft_unconstrained(return_zero, NULL) + 5);
    for (int i = 0; i < ROUNDS * BUDGET; i++)
        CHECK_EQ(0, weft_sleep(0));
    CHECK_EQ(turns, r->turns);
    CHECK_EQ(0, weft_yield()); /* what awaits still does */
    CHECK(r->turns > turns);
    turns = r->turns;
    for (int i = 0; i < ROUNDS * BUDGET; i++)
        CHECK_EQ(0, weft_consume_budget());
    CHECK_EQ(turns, r->turns);
    return 17;
}

static int unconstrained(void *arg)
{
    struct race r = {.operation = op_consume};
    weft_task *other = begin_neighbour(&r);

    (void)arg;
    CHECK_EQ(-EINVAL, weft_unconstrained(NULL, NULL));
    CHECK_EQ(17, weft_unconstrained(unlimited, &r));
    r.seen = 0;
    r.longest = 0;
    CHECK_EQ(0, runner(&r)); /* the limit is back */
    CHECK(r.longest <= BUDGET);
    r.over = true;
    CHECK_EQ(0, weft_join(other, NULL));
    return 0;
}

TEST(unconstrained_code_is_not_interrupted)
{
    CHECK_EQ(-EPERM, weft_unconstrained(return_zero, NULL));
    CHECK_EQ(-EPERM, weft_consume_budget());
    test_run_alone(unconstrained, NULL);
}

static int op_consume_behind_unconstrained(struct race *r)
{
    (void)r;
    CHECK_EQ(0, weft_unconstrained(return_zero, NULL));
    return weft_consume_budget();
}

static int unconstrained_now_and_then(void *arg)
{
    struct race r = {.operation = op_consume_behind_unconstrained};
    weft_task *other = begin_neighbour(&r);

    (void)arg;
    CHECK_EQ(0, runner(&r));
    r.over = true;
    CHECK_EQ(0, weft_join(other, NULL));
    CHECK(r.longest <= BUDGET);
    CHECK(r.turns >= ROUNDS);
    return 0;
}

TEST(unconstrained_code_leaves_the_budget_of_the_rest_as_it_was)
{
    test_run_alone(unconstrained_now_and_then, NULL);
}

/* A stackless task that spends a unit again and again, unconstrained. */
struct free_runner {
    weft_async async;
    struct race *race;
    weft_future unit, unlimited;
};

static weft_poll free_poll(void *self, weft_context *cx)
{
    struct free_runner *u = self;
    int turns = u->race->turns;

    for (int i = 0; i < ROUNDS * BUDGET; i++) {
        u->unit = weft_consume_budget_future();
        u->unlimited = weft_unconstrained_future(&u->unit);
        CHECK_EQ(WEFT_READY, weft_future_poll(&u->unlimited, cx));
        CHECK_EQ(0, u->unlimited.result);
    }
    CHECK_EQ(turns, u->race->turns); /* nobody else ran */
    for (int i = 0; i < BUDGET; i++)
        CHECK(weft_budget_take(cx)); /* and all of the budget is there */
    CHECK(weft_should_yield());
    return weft_async_return(&u->async, 23);
}

static const weft_async_type free_type = {.poll = free_poll,
                                          .size = sizeof(struct free_runner),
                                          .name = "free"};

static int unconstrained_futures(void *arg)
{
    struct race r = {0};
    weft_task *other = begin_neighbour(&r);
    weft_future pending = weft_pending_future(), yield = weft_yield_future();
    weft_future limitless = weft_unconstrained_future(&pending);
    weft_future later = weft_unconstrained_future(&yield);
    weft_future none = weft_unconstrained_future(NULL);
    int result = 0;

    (void)arg;
    CHECK_EQ(0,
             weft_join(weft_spawn_async(&free_type, &(struct free_runner){.race = &r}), &result));
    CHECK_EQ(23, result);
    CHECK_EQ(0, weft_await(&later)); /* what waits still does */
    CHECK_EQ(-ETIMEDOUT, weft_timeout(0, &limitless));
    CHECK_EQ(-EINVAL, weft_await(&none));
    r.over = true;
    CHECK_EQ(0, weft_join(other, NULL));
    return 0;
}

TEST(a_future_may_be_polled_without_a_limit)
{
    weft_future ready = weft_ready_future(5), f = weft_unconstrained_future(&ready);

    test_run_alone(unconstrained_futures, NULL);
    CHECK_EQ(5, weft_await_blocking(&f));
}

/* --- should_yield ----------------------------------------------------------------------- */

/* The machine may be busy and a poll long by itself: some fresh poll is not. */
static void until_fresh(void)
{
    do
        CHECK_EQ(0, weft_yield());
    while (weft_should_yield());
}

static int should_yield(void *arg)
{
    int n = 0;

    (void)arg;
    until_fresh();
    compute(WEFT_US(1100));
    CHECK(weft_should_yield());
    until_fresh();
    while (!weft_should_yield()) {
        CHECK(++n <= BUDGET);
        CHECK_EQ(0, weft_consume_budget());
    }
    CHECK(n <= BUDGET);
    return 0;
}

TEST(should_yield_tells_of_a_spent_budget_and_of_a_long_poll)
{
    CHECK(!weft_should_yield());
    test_run(should_yield, NULL);
}

/* --- beside a branch that spends it all ------------------------------------------------- */

/* Always has more to do: each poll spends the whole budget, and it never ends. */
static weft_poll spender_poll(weft_future *f, weft_context *cx)
{
    weft_future unit = weft_consume_budget_future();

    (void)f;
    while (weft_future_poll(&unit, cx) == WEFT_READY)
        unit = weft_consume_budget_future();
    weft_future_drop(&unit);
    return WEFT_PENDING;
}

static const weft_future_type spender_type = {.poll = spender_poll, .name = "spender"};

static ssize_t beside_spender(weft_future second)
{
    weft_future first = weft_future_of(&spender_type);

    return weft_select_biased(&first, &second);
}

static int starves_no_timer(void *arg)
{
    weft_future f = weft_future_of(&spender_type);
    weft_interval iv;

    (void)arg;
    CHECK_EQ(1, beside_spender(weft_sleep_future(WEFT_MS(1))));
    CHECK_EQ(1, beside_spender(weft_sleep_until_future(weft_now() + WEFT_MS(1))));
    CHECK_EQ(0, weft_interval_init_at(&iv, weft_now() + WEFT_MS(1), WEFT_MS(1)));
    CHECK_EQ(1, beside_spender(weft_interval_tick_future(&iv, NULL)));
    /* What has passed when it is first polled is no worse off. */
    CHECK_EQ(1, beside_spender(weft_sleep_until_future(weft_now())));
    CHECK_EQ(0, weft_interval_init_at(&iv, weft_now(), WEFT_MS(1)));
    CHECK_EQ(1, beside_spender(weft_interval_tick_future(&iv, NULL)));
    CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_MS(1), &f));
    f = weft_future_of(&spender_type);
    CHECK_EQ(1, beside_spender(weft_timeout_future(WEFT_MS(1), &f)));
    return 0;
}

TEST(who_spends_the_whole_budget_starves_no_timer_beside_it)
{
    test_run(starves_no_timer, NULL);
}

/* --- a cancel that is ignored -------------------------------------------------------------- */

static int ignores(void *arg)
{
    atomic_int *released = arg;
    int n = 0;

    weft_cancel(weft_task_self());
    for (; n < 1000; n++)
        CHECK_EQ(-ECANCELED, weft_sleep(0));
    while (!atomic_load(released)) { /* nobody can set it but for the yields */
        CHECK_EQ(-ECANCELED, weft_sleep(0));
        CHECK(++n < 1000000);
    }
    return 0;
}

static int set_flag(void *arg)
{
    atomic_store((atomic_int *)arg, 1);
    return 0;
}

static int ignoring(void *arg)
{
    weft_task_options options = {.name = "stubborn"};
    atomic_int released = 0;
    weft_task *t = weft_spawn_with(&options, ignores, &released), *other;
    weft_task_info info;

    (void)arg;
    other = weft_spawn(set_flag, &released);
    CHECK_EQ(0, weft_join(t, NULL));
    CHECK_EQ(0, weft_join(other, NULL));
    CHECK_EQ(0, weft_task_get_info(weft_task_self(), &info));
    return 0;
}

TEST(a_task_that_ignores_a_thousand_cancels_is_reported_and_made_to_yield)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        FILE *file = tmpfile();
        int before = dup(STDERR_FILENO);
        char text[2048];
        size_t n;

        CHECK(file && before >= 0);
        CHECK(dup2(fileno(file), STDERR_FILENO) >= 0);
        test_run_on(&test_flavours[i], ignoring, NULL);
        CHECK(dup2(before, STDERR_FILENO) >= 0);
        rewind(file);
        n = fread(text, 1, sizeof(text) - 1, file);
        text[n] = '\0';
        CHECK(strstr(text, "\"stubborn\""));
        CHECK(strstr(text, "test_coop.c:"));
        CHECK(strstr(text, "1000"));
        CHECK(strchr(text, '\n') == text + n - 1); /* once */
        (void)fclose(file);
        (void)close(before);
    }
}

/* --- futures that gave way ------------------------------------------------------------- */

/* Pending for want of a budget only: it has not looked at what it is of. */
static void begin(weft_future *f, weft_future of)
{
    weft_context cx = weft_context_of(NULL);
    weft_future unit;

    do
        unit = weft_consume_budget_future();
    while (weft_future_poll(&unit, &cx) == WEFT_READY);
    weft_future_drop(&unit);
    *f = of;
    CHECK_EQ(WEFT_PENDING, weft_future_poll(f, &cx));
}

enum { OF_SEND, OF_RESERVE, OF_CLOSED, OF_RECV, OF_CHANNEL };

static void outlives_a_channel(int kind)
{
    weft_receiver *rx;
    weft_sender *tx;
    weft_permit p;
    weft_future f;
    int value = 1;

    CHECK_EQ(0, weft_mpsc_new(&tx, &rx, sizeof(int), 1));
    begin(&f, kind == OF_SEND      ? weft_send_future(tx, &value)
              : kind == OF_RESERVE ? weft_reserve_future(tx, &p)
              : kind == OF_CLOSED  ? weft_sender_closed_future(tx)
                                   : weft_recv_future(rx, &value));
    weft_sender_close(tx);
    weft_receiver_close(rx);
    weft_future_drop(&f);
    CHECK_EQ(-ECANCELED, f.result);
}

static int outlives_all(void *arg)
{
    weft_cancel_token *token = weft_cancel_token_new(NULL);
    weft_join_set *set = weft_join_set_new();
    weft_join_map *map = weft_join_map_new();
    weft_join_map_done map_done;
    weft_join_done set_done;
    weft_delay_queue *q;
    weft_future f;
    int value;

    (void)arg;
    for (int kind = 0; kind < OF_CHANNEL; kind++)
        outlives_a_channel(kind);
    begin(&f, weft_join_set_next_future(set, &set_done));
    weft_join_set_free(set);
    weft_future_drop(&f);
    begin(&f, weft_join_map_next_future(map, &map_done));
    weft_join_map_free(map);
    weft_future_drop(&f);
    begin(&f, weft_cancel_token_cancelled_future(token));
    weft_cancel_token_free(token);
    weft_future_drop(&f);
    CHECK_EQ(0, weft_delay_queue_new(&q, sizeof(int), NULL));
    begin(&f, weft_delay_queue_next_future(q, &value, NULL));
    weft_delay_queue_free(q);
    weft_future_drop(&f);
    return 0;
}

TEST(a_future_that_only_gave_way_may_be_dropped_after_what_it_is_of_is_gone)
{
    test_run(outlives_all, NULL);
}

TEST_MAIN("coop", a_task_that_is_always_ready_lets_others_run_every_128_operations,
          a_poll_that_waits_gives_its_unit_back, a_stackless_task_has_the_same_budget,
          unconstrained_code_is_not_interrupted,
          unconstrained_code_leaves_the_budget_of_the_rest_as_it_was,
          a_future_may_be_polled_without_a_limit,
          should_yield_tells_of_a_spent_budget_and_of_a_long_poll,
          who_spends_the_whole_budget_starves_no_timer_beside_it,
          a_task_that_ignores_a_thousand_cancels_is_reported_and_made_to_yield,
          a_future_that_only_gave_way_may_be_dropped_after_what_it_is_of_is_gone)
