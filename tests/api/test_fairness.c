/* SPDX-License-Identifier: MIT */
/*
 * test_fairness.c - how long a task waits for its turn when there is always another one ready.
 *
 * IDEA     On one thread, time is counted in turns: how often others gave way between the moment
 *          when a task could have run and the moment when it did. A machine that is busy with
 *          something else makes turns long, not many.
 */
#include "support.h"

#define YIELDERS 1000
#define SPAWNED  1000

/* All tasks of a test share one thread and this. */
struct fair {
    bool over;
    unsigned yielding; /* tasks that give way for ever, and have begun */
    uint64_t turns;    /* theirs, in all */
    weft_instant due;  /* when the ticker is surely ready; 0: not of interest */
    uint64_t turn_due; /* the first turn after that; 0: none yet */
    unsigned ran;      /* spawned tasks that had their turn */
    uint64_t links;    /* of the chain of spawns */
    bool unlinked;     /* its last one has ended */
};

static int give_way(void *arg)
{
    struct fair *f = arg;

    f->yielding++;
    while (!f->over) {
        f->turns++;
        if (f->due && !f->turn_due && weft_now() >= f->due)
            f->turn_due = f->turns;
        CHECK_EQ(0, weft_yield());
    }
    f->yielding--;
    return 0;
}

static void start_yielders(struct fair *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        CHECK_EQ(0, weft_go(give_way, f));
    while (f->yielding < count)
        CHECK_EQ(0, weft_yield());
}

static void end_yielders(struct fair *f)
{
    f->over = true;
    while (f->yielding)
        CHECK_EQ(0, weft_yield());
}

/* --- woken tasks --------------------------------------------------------------------- */

/*
 * A timer fires at the next look, and its task is queued behind a round of those that are ready:
 * two rounds are more than it ever waits. The clock is asked a little after the time that was
 * set, for the wheel's ticks.
 */
static int tick(void *arg)
{
    struct fair f = {0};

    (void)arg;
    start_yielders(&f, YIELDERS);
    for (int i = 0; i < 20; i++) {
        weft_instant at = weft_instant_add(weft_now(), WEFT_MS(1));

        f.turn_due = 0;
        f.due = weft_instant_add(at, WEFT_US(300));
        CHECK_EQ(0, weft_sleep_until(at));
        CHECK(weft_now() >= at);
        CHECK(f.turn_due == 0 || f.turns - f.turn_due <= 2 * YIELDERS);
        f.due = 0;
    }
    end_yielders(&f);
    return 0;
}

TEST(a_timer_waits_for_at_most_two_rounds_of_a_thousand_busy_tasks)
{
    test_run_alone(tick, NULL);
}

END_TEST

/* Each of those that are always ready has as many turns as every other. */
struct share {
    struct fair *fair;
    uint64_t turns;
};

static int take_turns(void *arg)
{
    struct share *s = arg;

    s->fair->yielding++;
    while (!s->fair->over) {
        s->turns++;
        CHECK_EQ(0, weft_yield());
    }
    s->fair->yielding--;
    return 0;
}

static int equal_shares(void *arg)
{
    static struct share shares[YIELDERS];
    struct fair f = {0};
    uint64_t least = UINT64_MAX, most = 0;

    (void)arg;
    for (unsigned i = 0; i < YIELDERS; i++) {
        shares[i] = (struct share){.fair = &f};
        CHECK_EQ(0, weft_go(take_turns, &shares[i]));
    }
    while (f.yielding < YIELDERS)
        CHECK_EQ(0, weft_yield());
    for (unsigned i = 0; i < YIELDERS; i++)
        shares[i].turns = 0;
    for (int i = 0; i < 100; i++)
        CHECK_EQ(0, weft_yield());
    for (unsigned i = 0; i < YIELDERS; i++) {
        least = shares[i].turns < least ? shares[i].turns : least;
        most = shares[i].turns > most ? shares[i].turns : most;
    }
    CHECK(least >= 98 && most <= 102);
    end_yielders(&f);
    return 0;
}

TEST(a_thousand_busy_tasks_have_equal_shares)
{
    test_run_alone(equal_shares, NULL);
}

END_TEST

/* --- spawned tasks ------------------------------------------------------------------- */

static int run_once(void *arg)
{
    ((struct fair *)arg)->ran++;
    return 0;
}

static int backlog_share(void *arg)
{
    struct fair f = {0};
    uint64_t before, turns;

    (void)arg;
    start_yielders(&f, 2);
    for (int i = 0; i < SPAWNED; i++)
        CHECK_EQ(0, weft_go(run_once, &f));
    before = f.turns;
    while (f.ran < SPAWNED)
        CHECK_EQ(0, weft_yield());
    turns = f.turns - before;
    /* The spawned tasks have a quarter of all turns, this task and the two others share the rest. */
    CHECK(turns >= SPAWNED);
    CHECK(turns <= 4ull * SPAWNED);
    end_yielders(&f);
    return 0;
}

TEST(spawned_tasks_get_their_share_beside_busy_ones_and_no_more)
{
    test_run_alone(backlog_share, NULL);
}

END_TEST

/* Spawns its successor: there is always a newer task than those that wait. */
static int chain(void *arg)
{
    struct fair *f = arg;

    f->links++;
    if (!f->over)
        return weft_go(chain, f);
    f->unlinked = true;
    return 0;
}

static int oldest_spawned(void *arg)
{
    struct fair f = {0};

    (void)arg;
    for (int i = 0; i < 10; i++)
        CHECK_EQ(0, weft_go(run_once, &f));
    CHECK_EQ(0, weft_go(chain, &f));
    while (f.ran < 10)
        CHECK_EQ(0, weft_yield());
    /* Each 64th turn is that of the oldest. */
    CHECK(f.links <= 64u * 20);
    f.over = true;
    while (!f.unlinked)
        CHECK_EQ(0, weft_yield());
    return 0;
}

TEST(a_spawned_task_is_not_forgotten_behind_newer_ones)
{
    test_run_alone(oldest_spawned, NULL);
}

END_TEST

TEST_MAIN("fairness", a_timer_waits_for_at_most_two_rounds_of_a_thousand_busy_tasks,
          a_thousand_busy_tasks_have_equal_shares,
          spawned_tasks_get_their_share_beside_busy_ones_and_no_more,
          a_spawned_task_is_not_forgotten_behind_newer_ones)
