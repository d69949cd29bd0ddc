/* SPDX-License-Identifier: MIT */
/*
 * timer.c - acts about time: sleeps, timeouts, deadlines, storms at one tick, timers that are set anew
 * or never fire. Nothing fires early.
 */
#include "soak.h"

#include <errno.h>

void soak_act_sleep(struct soak_actor *a)
{
    weft_duration d = WEFT_US(roll(a, one_in(a, 8) ? 5000 : 300));
    weft_instant until = weft_instant_add(weft_now(), d);
    weft_future f = weft_sleep_until_future(until);
    ssize_t rc;

    switch (roll(a, 3)) {
    case 0:
        rc = weft_sleep(d);
        break;
    case 1:
        rc = weft_sleep_until(until);
        break;
    default:
        rc = weft_await(&f);
        break;
    }
    if (soak_expect(0, rc, "sleep"))
        CHECK(weft_now() >= until);
}

void soak_act_timeout(struct soak_actor *a)
{
    struct soak_slot *s = soak_order(a);
    weft_future f = soak_slot_future(s);
    weft_duration limit = WEFT_US(roll(a, 400));
    weft_instant from = weft_now();
    ssize_t rc = weft_timeout(limit, &f);

    if (rc == -ETIMEDOUT)
        CHECK(weft_now() >= weft_instant_add(from, limit) || weft_deadline_passed());
    else
        (void)soak_expect(soak_slot_value(s), rc, "timeout");
    soak_slot_put(s);
}

/* A few waits under one, two or three limits. */
static void deadline_within(struct soak_actor *a, unsigned depth)
{
    WEFT_DEADLINE(WEFT_US(roll(a, 600)))
    {
        weft_instant at = weft_deadline_current();

        if (depth && one_in(a, 2))
            deadline_within(a, depth - 1);
        for (uint64_t n = roll(a, 4); n; n--)
            soak_act_waiting(a);
        CHECK(weft_deadline_current() == at);
        CHECK(!weft_deadline_passed() || weft_now() >= at);
        if (one_in(a, 3))
            return;
    }
}

void soak_act_deadline(struct soak_actor *a)
{
    weft_instant outside = weft_deadline_current();

    deadline_within(a, 2);
    CHECK(weft_deadline_current() == outside);
}

/* Many that wait for the same moment. */
void soak_act_tick(struct soak_actor *a)
{
    enum { MOST = 60 };

    weft_instant at = weft_now() + WEFT_US(200 + roll(a, 3000));
    unsigned n = 1 + (unsigned)roll(a, MOST / test_slow() + 1);
    weft_task *t[MOST + 1];

    for (unsigned i = 0; i < n; i++) {
        t[i] = soak_stackless_until(at);
        CHECK(t[i]);
    }
    if (one_in(a, 4))
        for (unsigned i = 0; i < n; i += 2)
            weft_cancel(t[i]);
    for (unsigned i = 0; i < n; i++)
        soak_join_value(t[i], 0, true);
}

/* A limit for silence: set anew whenever something comes, and when it has passed. */
void soak_act_reset(struct soak_actor *a)
{
    weft_future limit = weft_sleep_future(WEFT_US(50 + roll(a, 500)));

    for (uint64_t n = roll(a, 6); n; n--) {
        struct soak_slot *s = soak_order(a);
        weft_future f = soak_slot_future(s);
        ssize_t rc = weft_select_keep(&f, &limit);

        weft_future_drop(&f);
        soak_slot_put(s);
        if (rc < 0) {
            CHECK(soak_is_soft(rc));
            break;
        }
        if (rc == 1)
            CHECK(weft_now() >= weft_sleep_deadline(&limit));
        CHECK_EQ(0, weft_sleep_reset(&limit, weft_now() + WEFT_US(50 + roll(a, 500))));
        CHECK(!weft_future_is_ready(&limit));
    }
    weft_future_drop(&limit);
}

static int far_sleeper(void *arg)
{
    ssize_t rc = weft_sleep(*(weft_duration *)arg);

    CHECK(soak_is_soft(rc));
    return (int)rc;
}

/* Timers that are hours away, or infinitely far, are cancelled, often by another worker than theirs. */
void soak_act_far(struct soak_actor *a)
{
    static const weft_duration far[] = {WEFT_SECS(600), WEFT_SECS(7200),
                                        WEFT_SECS(UINT64_C(86400) * 400), WEFT_FOREVER};
    weft_duration d = far[roll(a, sizeof(far) / sizeof(far[0]))];
    weft_task *t[4];

    for (unsigned i = 0; i < 4; i++) {
        t[i] = weft_spawn_copy(far_sleeper, &d, sizeof(d));
        CHECK(t[i]);
    }
    soak_act_waiting(a);
    for (unsigned i = 0; i < 4; i++) {
        weft_cancel(t[i]);
        soak_join_value(t[i], -ECANCELED, true);
    }
}
