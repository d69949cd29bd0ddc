/* SPDX-License-Identifier: MIT */
/*
 * delay.c - acts about ticks and delay queues, and runtimes whose clock stands still beside those whose clocks run.
 * Nothing comes early, each entry comes out once, and where nothing but the clock can be in the way, at its very
 * moment.
 */
#include "soak.h"

#include <errno.h>
#include <string.h>

/* --- ticks ----------------------------------------------------------------------------------- */

void soak_act_interval(struct soak_actor *a)
{
    weft_tick_policy policy = (weft_tick_policy)roll(a, 3);
    weft_duration period = 1 + roll(a, WEFT_US(300));
    weft_instant first = weft_now() + roll(a, WEFT_US(100)), last = 0, at;
    weft_interval iv;

    CHECK_EQ(0, weft_interval_init_at(&iv, first, period));
    CHECK_EQ(0, weft_interval_set_missed(&iv, policy));
    for (uint64_t n = roll(a, 8); n; n--) {
        ssize_t rc = weft_interval_tick(&iv, &at);

        if (!soak_expect(0, rc, "tick"))
            return;
        CHECK(weft_now() >= at);
        CHECK(at > last || last == 0);
        if (policy != WEFT_TICK_DELAY)
            CHECK_EQ(0, (at - first) % period);
        last = at;
        if (one_in(a, 4))
            soak_act_waiting(a);
        if (one_in(a, 8)) {
            first = weft_now() + period;
            CHECK_EQ(0, weft_interval_reset_at(&iv, first));
        }
    }
}

/* --- delay queues ------------------------------------------------------------------------------- */

#define DELAY_KEYS 16

static void delay_destroy(void *item)
{
    uint64_t value;

    memcpy(&value, item, sizeof(value));
    soak_end_id(SOAK_DELAY, value);
}

static int delay_take(void *arg)
{
    weft_delay_queue *q = *(weft_delay_queue **)arg;
    weft_delay_expired e;
    uint64_t value;
    ssize_t rc;

    while ((rc = weft_delay_queue_next(q, &value, &e)) == 1) {
        CHECK(weft_now() >= e.deadline);
        soak_end_id(SOAK_DELAY, value);
    }
    CHECK(rc == 0 || soak_is_soft(rc));
    return (int)rc;
}

static void delay_insert(struct soak_actor *a, weft_delay_queue *q, weft_delay_key *key)
{
    uint64_t value = test_rand(&a->rand);

    soak_begin_id(SOAK_DELAY, value);
    CHECK_EQ(0, weft_delay_queue_insert(q, &value, roll(a, WEFT_US(400)), key));
}

static void delay_disturb(struct soak_actor *a, weft_delay_queue *q, weft_delay_key *key)
{
    weft_delay_key *k = &key[roll(a, DELAY_KEYS)];
    uint64_t value;
    int rc = 0;

    switch (roll(a, 8)) {
    case 0:
        rc = weft_delay_queue_remove(q, *k, &value);
        if (rc == 0)
            soak_end_id(SOAK_DELAY, value);
        break;
    case 1:
        rc = weft_delay_queue_remove(q, *k, NULL);
        break;
    case 2:
        rc = weft_delay_queue_try_next(q, &value, NULL);
        if (rc == 1)
            soak_end_id(SOAK_DELAY, value);
        rc = rc == 1 || rc == -EAGAIN ? 0 : rc;
        break;
    case 3:
        if (one_in(a, 4))
            weft_delay_queue_clear(q);
        break;
    case 4:
        soak_act_waiting(a);
        break;
    default:
        rc = weft_delay_queue_reset(q, *k, roll(a, WEFT_US(400)));
        break;
    }
    CHECK(rc == 0 || rc == -ENOENT);
}

/* One task takes what expires, this one disturbs it; what is left when both must go is destroyed. */
void soak_act_delay(struct soak_actor *a)
{
    weft_delay_key key[DELAY_KEYS] = {{0}};
    weft_delay_queue *q = NULL;
    weft_task *t;
    int result;

    CHECK_EQ(0, weft_delay_queue_new(&q, sizeof(uint64_t), delay_destroy));
    for (unsigned i = 0; i < DELAY_KEYS; i++)
        delay_insert(a, q, &key[i]);
    t = weft_spawn_copy(delay_take, &q, sizeof(q));
    CHECK(t);
    for (uint64_t n = roll(a, 3 * DELAY_KEYS); n && !weft_is_cancelled(); n--) {
        if (one_in(a, 4))
            delay_insert(a, q, &key[roll(a, DELAY_KEYS)]);
        else
            delay_disturb(a, q, key);
    }
    result = soak_join(t);
    CHECK(result == 0 || result == -ECANCELED);
    weft_delay_queue_free(q);
}

/* --- a clock that stands still -------------------------------------------------------------------- */

struct clock_play {
    uint64_t rand;
    weft_instant base;
    weft_duration last;
    unsigned left;
};

struct clock_sleeper {
    struct clock_play *play;
    weft_duration after;
};

static int clock_sleeps(void *arg)
{
    struct clock_sleeper s = *(struct clock_sleeper *)arg;

    CHECK_EQ(0, weft_sleep_until(s.play->base + s.after));
    CHECK_EQ(s.play->base + s.after, weft_now());
    CHECK(s.after >= s.play->last);
    s.play->last = s.after;
    s.play->left--;
    return 0;
}

static int clock_root(void *arg)
{
    struct clock_play *p = arg;
    weft_delay_queue *q = NULL;
    weft_delay_expired e;
    uint64_t value = 0;

    p->base = weft_now() + WEFT_SECS(1);
    p->left = 1 + (unsigned)soak_roll(&p->rand, 50);
    CHECK_EQ(0, weft_delay_queue_new(&q, sizeof(value), NULL));
    for (unsigned i = p->left; i > 0; i--) {
        struct clock_sleeper s = {.play = p, .after = test_rand(&p->rand) % WEFT_SECS(7200)};

        CHECK_EQ(0, weft_go_copy(clock_sleeps, &s, sizeof(s)));
        CHECK_EQ(0, weft_delay_queue_insert_at(q, &value, p->base + s.after, NULL));
    }
    while (weft_delay_queue_next(q, &value, &e) == 1)
        CHECK_EQ(e.deadline, weft_now());
    CHECK_EQ(0, weft_sleep(WEFT_SECS(7200)));
    CHECK_EQ(0, p->left);
    weft_delay_queue_free(q);
    return 7;
}

static int clock_life(void *seed)
{
    weft_config c = {.flavor = WEFT_CURRENT_THREAD, .start_paused = WEFT_ON, .ignore_env = WEFT_ON};
    struct clock_play p = {.rand = (uintptr_t)seed | 1};
    weft_runtime *rt = NULL;
    int result = -1;

    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    CHECK_EQ(0, weft_block_on(rt, clock_root, &p, &result));
    weft_runtime_free(rt);
    return result;
}

/* Hours pass there in no time, and here none does. */
void soak_act_clock(struct soak_actor *a)
{
    weft_instant from = weft_now();
    int rc;

    if (weft_is_cancelled())
        return;
    rc = weft_blocking(clock_life, soak_seed_pointer(test_rand(&a->rand)));
    CHECK(rc == 7 || soak_is_soft(rc));
    CHECK(weft_now() - from < WEFT_SECS(3600));
}
