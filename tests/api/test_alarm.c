/* SPDX-License-Identifier: MIT */
/*
 * test_alarm.c - a timer of a busy worker is fired by an idle one, whenever that went to sleep.
 */
#include "support.h"

#include <stdatomic.h>

static const struct test_flavour two_workers = {"2 workers", WEFT_MULTI_THREAD, 2};

struct stage {
    weft_runtime *rt;
    atomic_bool holds, let_go, rung, missed;
};

/* Keeps one worker awake. */
static int hold(void *arg)
{
    struct stage *s = arg;

    atomic_store(&s->holds, true);
    while (!atomic_load(&s->let_go))
        continue;
    return 0;
}

static int nothing(void *unused)
{
    (void)unused;
    return 0;
}

/* Keeps one worker busy until the timer has been fired, by the other one then. */
static int compute(void *arg)
{
    struct stage *s = arg;
    weft_instant limit = weft_instant_add(weft_now(), WEFT_SECS(3) * test_slow());

    while (!atomic_load(&s->rung) && weft_now() < limit)
        continue;
    atomic_store(&s->missed, !atomic_load(&s->rung));
    return 0;
}

static bool one_sleeps(weft_runtime *rt)
{
    for (unsigned i = 0; i < two_workers.workers; i++) {
        weft_worker_metrics m;

        CHECK_EQ(0, weft_metrics_worker(rt, i, &m));
        if (m.parked)
            return true;
    }
    return false;
}

/*
 * Armed while nobody sleeps, taken back, and armed again for the same moment: the other worker goes to
 * sleep in between and finds no timer.
 */
static int arm_twice(void *arg)
{
    struct stage *s = arg;
    weft_instant at = weft_instant_add(weft_now(), WEFT_MS(100) * test_slow());
    weft_deadline scope;
    weft_task *t;

    CHECK((t = weft_spawn(nothing, NULL)) != NULL);
    (void)weft_deadline_enter_at(&scope, at);
    CHECK_EQ(0, weft_join(t, NULL));
    weft_deadline_leave(&scope);
    atomic_store(&s->let_go, true);
    while (!one_sleeps(s->rt))
        continue;
    CHECK((t = weft_spawn(compute, s)) != NULL);
    CHECK_EQ(0, weft_sleep_until(at));
    atomic_store(&s->rung, true);
    return weft_join(t, NULL);
}

TEST(a_timer_that_is_armed_again_for_the_same_moment_is_told_again)
{
    struct stage s = {0};
    weft_task *holder, *armer;

    if (MIGRATING)
        TEST_SKIP("who computes, and who sleeps, is not as expected here");
    s.rt = test_runtime_new(&two_workers);
    CHECK_EQ(0, weft_spawn_on(s.rt, &holder, NULL, hold, &s));
    while (!atomic_load(&s.holds))
        continue;
    CHECK_EQ(0, weft_spawn_on(s.rt, &armer, NULL, arm_twice, &s));
    CHECK_EQ(0, weft_join_blocking(armer, NULL));
    CHECK_EQ(0, weft_join_blocking(holder, NULL));
    CHECK(!atomic_load(&s.missed));
    test_runtime_free(s.rt);
}

TEST_MAIN("alarm", a_timer_that_is_armed_again_for_the_same_moment_is_told_again)
