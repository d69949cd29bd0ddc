/* SPDX-License-Identifier: MIT */
/* Delay queues, ticks, sleeps that are set anew and a clock that stands still, while something fails. */
#include "sweep.h"

#include "time/wheel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- A delay queue that cannot grow ---- */

#define ENTRIES 300 /* three times its memory has to grow */

static struct {
    weft_delay_queue *q;
    unsigned destroyed, expired;
} cache;

static void destroy(void *item)
{
    int *p;

    memcpy(&p, item, sizeof(p));
    free(p);
    cache.destroyed++;
}

/* False: there was no memory, and the value is still ours. */
static bool insert(weft_duration after, weft_delay_key *key)
{
    int *p = malloc(sizeof(*p));

    CHECK(p);
    if (MAY(weft_delay_queue_insert(cache.q, &p, after, key), NO_MEMORY) == 0)
        return true;
    free(p);
    return false;
}

static int expires(void *arg)
{
    weft_instant last = 0;
    int *p, rc;

    (void)arg;
    do {
        weft_delay_expired e;

        rc = weft_delay_queue_next(cache.q, &p, &e);
        if (rc == 1) {
            CHECK(weft_now() >= e.deadline && e.deadline >= last);
            last = e.deadline;
            cache.expired++;
            free(p);
        }
    } while (rc == 1);
    return rc;
}

static int cache_root(void *arg)
{
    unsigned inserted = 0, removed = 0;
    weft_delay_key key[ENTRIES];
    weft_task *t;
    int result = 0;

    (void)arg;
    for (unsigned i = 0; i < ENTRIES; i++) {
        key[i] = (weft_delay_key){0};
        inserted += insert(WEFT_US(i % 50 * 10), &key[i]);
    }
    CHECK_EQ(inserted, weft_delay_queue_len(cache.q));
    MAY(weft_delay_queue_reserve(cache.q, 1000), NO_MEMORY);
    for (unsigned i = 0; i < ENTRIES; i += 5)
        removed += weft_delay_queue_remove(cache.q, key[i], NULL) == 0;
    CHECK_EQ(removed, cache.destroyed);
    for (unsigned i = 1; i < ENTRIES; i += 5)
        if (weft_delay_queue_reset(cache.q, key[i], WEFT_US(100)) < 0)
            CHECK_EQ(0, key[i].value_);
    t = MAY_NULL(weft_spawn(expires, NULL));
    if (t) {
        CHECK_EQ(0, weft_join(t, &result));
        if (result != 0)
            MAY(result, NO_MEMORY); /* it had no stack */
        else
            CHECK_EQ(inserted, cache.expired + removed);
    }
    for (unsigned i = 0; i < 10; i++)
        (void)insert(WEFT_FOREVER, NULL);
    return 0;
}

static void delays(const struct test_flavour *flavour)
{
    cache.destroyed = cache.expired = 0;
    if (MAY(weft_delay_queue_new(&cache.q, sizeof(int *), destroy), NO_MEMORY) < 0)
        return;
    fault_run_root(flavour, cache_root, NULL);
    weft_delay_queue_clear(cache.q);
    weft_delay_queue_free(cache.q);
}

TEST(a_delay_queue_that_cannot_grow_says_so)
{
    fault_sweep(delays);
}

/* ---- A clock that stands still ---- */

static int ticks(void *arg)
{
    weft_instant base = weft_now(), at;
    weft_interval iv;

    (void)arg;
    CHECK_EQ(0, weft_interval_init(&iv, WEFT_MS(10)));
    for (unsigned i = 0; i < 5; i++) {
        CHECK_EQ(0, weft_interval_tick(&iv, &at));
        CHECK_EQ(base + i * WEFT_MS(10), at);
    }
    return 0;
}

static int job(void *arg)
{
    *(weft_instant *)arg = weft_now();
    return 7;
}

static void sleeps_again_and_again(void)
{
    weft_instant base = weft_now();
    weft_future idle = weft_sleep_future(WEFT_MS(1)), never = weft_pending_future();

    for (unsigned i = 1; i <= 3; i++) {
        CHECK_EQ(0, weft_sleep_reset(&idle, base + i * WEFT_SECS(1)));
        CHECK_EQ(-ETIMEDOUT, weft_timeout_at(base + i * WEFT_SECS(1) - 1, &never));
        never = weft_pending_future();
        CHECK_EQ(0, weft_await(&idle));
        CHECK_EQ(base + i * WEFT_SECS(1), weft_now());
    }
}

static int clock_root(void *arg)
{
    weft_instant base, seen = 0;
    int result = 0, rc;
    weft_task *t;

    (void)arg;
    if (weft_runtime_flavor(weft_runtime_current()) != WEFT_CURRENT_THREAD)
        return weft_clock_pause() == -EPERM ? 0 : -1;
    CHECK_EQ(0, weft_clock_pause());
    sleeps_again_and_again();
    base = weft_now();
    t = MAY_NULL(weft_spawn(ticks, NULL));
    CHECK_EQ(0, weft_sleep(WEFT_SECS(1)));
    CHECK_EQ(base + WEFT_SECS(1), weft_now());
    if (t) {
        CHECK_EQ(0, weft_join(t, &result));
        MAY(result, NO_MEMORY);
    }
    /* A job that is refused, or ends before it begins, holds it no more than one that runs. */
    rc = weft_blocking(job, &seen);
    if (rc == 7)
        CHECK_EQ(base + WEFT_SECS(1), seen);
    else
        MAY(rc, ENOMEM, EAGAIN);
    CHECK_EQ(0, weft_clock_advance(WEFT_SECS(3600)));
    CHECK_EQ(0, weft_sleep(1));
    CHECK_EQ(base + WEFT_SECS(3601) + 1, weft_now());
    CHECK_EQ(0, weft_clock_resume());
    CHECK_EQ(0, weft_sleep(WEFT_US(50)));
    return 0;
}

static void clocks(const struct test_flavour *flavour)
{
    fault_run_root(flavour, clock_root, NULL);
}

TEST(a_clock_stands_and_jumps_whatever_fails)
{
    fault_sweep(clocks);
}

/* ---- Wheels at a time, more than there are gates ---- */

#define WHEELS_MAX 200u
#define WORKERS    2u

/* Takes all gates that are there. Returns how many. */
static unsigned take_gates(struct wf_wheel *held)
{
    const struct fault_plan none = {WF_FAULT_ALLOC, -ENOMEM, 1, FAULT_LASTING};
    unsigned n = 0;
    int rc;

    do {
        CHECK(n < WHEELS_MAX);
        fault_arm(&none);
        rc = wf_wheel_init(&held[n], 0);
        (void)fault_disarm();
        n += rc == 0;
    } while (rc == 0);
    CHECK_EQ(-ENOMEM, rc);
    return n;
}

/* The gates that it had are kept for the next one, and nothing else. */
TEST(a_runtime_whose_wheels_get_no_gate_is_not_made)
{
    struct wf_wheel *held = calloc(WHEELS_MAX, sizeof(*held));
    weft_config c = {.worker_threads = WORKERS, .ignore_env = WEFT_ON};
    unsigned taken, refused = 0;
    uint64_t fired = 1;
    int64_t before;

    fault_prepare();
    CHECK(held);
    taken = take_gates(held);
    before = fault_live().allocations;
    for (uint64_t n = 1; fired; n++) {
        struct fault_plan plan = {WF_FAULT_ALLOC, -ENOMEM, n, 1};
        weft_runtime *rt = NULL;
        int64_t kept;
        int rc;

        fault_arm(&plan);
        rc = weft_runtime_new(&rt, &c);
        fired = fault_disarm();
        CHECK(rc == 0 || (rc == -ENOMEM && fired && !rt));
        refused += rc < 0;
        weft_runtime_free(rt);
        kept = fault_live().allocations - before;
        CHECK(kept >= 0 && kept <= (int64_t)WORKERS);
    }
    CHECK(refused > WORKERS);
    CHECK_EQ(before + WORKERS, fault_live().allocations);
    while (taken-- > 0)
        wf_wheel_release(&held[taken]);
    free(held);
}

/* ---- All at once ---- */

TEST(times_bear_any_mixture_of_failures)
{
    fault_scenario *const runs[] = {delays, clocks};

    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
        fault_chaos(runs[i], fault_full() ? 2000 : test_scaled(150));
}

TEST(every_kind_of_a_time_was_met)
{
    MET(WF_FAULT_ALLOC, WF_FAULT_EPOLL_WAIT, WF_FAULT_THREAD);
}

TEST_MAIN("fault.time", a_delay_queue_that_cannot_grow_says_so,
          a_clock_stands_and_jumps_whatever_fails, a_runtime_whose_wheels_get_no_gate_is_not_made,
          times_bear_any_mixture_of_failures, every_kind_of_a_time_was_met)
