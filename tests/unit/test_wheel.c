/* SPDX-License-Identifier: MIT */
/*
 * test_wheel.c - the timer wheel against a naive model, at its edges, and between threads.
 *
 * Time is a number here: but for the tests with threads nothing reads a clock.
 */
#include "time/wheel.h"

#include "base/clock.h"
#include "support.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TICK ((uint64_t)1 << WF_WHEEL_TICK_SHIFT)

/* A timer with a target of its own that counts what happens to it. */
struct node {
    weft_wakeable base;
    struct wf_atomic_u32 references, wakes;
    struct wf_timer timer;
    uint64_t due;      /* the model's: the tick at which it fires */
    bool armed, fired; /* the model's */
};

static struct node *node_of(weft_wakeable *w)
{
    return wf_container_of(w, struct node, base);
}

static void node_retain(weft_wakeable *w)
{
    wf_add_u32(&node_of(w)->references, 1, WF_RELAXED);
}

static void node_wake(weft_wakeable *w)
{
    wf_add_u32(&node_of(w)->wakes, 1, WF_RELAXED);
}

static void node_release(weft_wakeable *w)
{
    /* release: pairs with the acquire in node_quiet */
    wf_sub_u32(&node_of(w)->references, 1, WF_RELEASE);
}

static const weft_wakeable_type node_type = {node_retain, node_wake, node_release};

static struct node *nodes_new(size_t count)
{
    struct node *n = calloc(count, sizeof(*n));

    CHECK(n);
    for (size_t i = 0; i < count; i++)
        n[i].base.type = &node_type;
    return n;
}

static void node_arm(struct node *n, struct wf_wheel *w, uint64_t deadline)
{
    node_retain(&n->base);
    wf_timer_arm(&n->timer, w, deadline, &n->base);
}

static uint32_t node_wakes(const struct node *n)
{
    return wf_load_u32(&n->wakes, WF_RELAXED);
}

/* Does nobody hold the target any more? */
static bool node_quiet(const struct node *n)
{
    return wf_load_u32(&n->references, WF_ACQUIRE) == 0;
}

/* A number of any magnitude: as many of them have 10 bits as have 60. */
static uint64_t rand_length(uint64_t *rand, unsigned bits_max)
{
    uint64_t bits = test_rand(rand) % bits_max;

    return test_rand(rand) >> (63 - bits);
}

static uint64_t tick_up(uint64_t ns)
{
    return ns / TICK + (ns % TICK != 0);
}

/* A wheel and what a list of all timers says about it. */
struct model {
    struct wf_wheel wheel;
    uint64_t rand;
    uint64_t now;
    struct node *nodes;
    size_t count;
    bool cancels; /* may timers be cancelled? Then next may be a little early */
};

static uint64_t model_next(const struct model *m)
{
    uint64_t next = WEFT_FOREVER;

    for (size_t i = 0; i < m->count; i++) {
        const struct node *n = &m->nodes[i];

        if (n->armed && n->due <= UINT64_MAX / TICK && n->due * TICK < next)
            next = n->due * TICK;
    }
    return next;
}

static void model_check_next(const struct model *m)
{
    if (m->cancels)
        CHECK(wf_wheel_next(&m->wheel) <= model_next(m));
    else
        CHECK_EQ(model_next(m), wf_wheel_next(&m->wheel));
}

static void model_arm(struct model *m, struct node *n, uint64_t deadline)
{
    uint32_t wakes = node_wakes(n);

    n->armed = true;
    n->fired = false;
    n->due = tick_up(deadline);
    if (n->due < m->wheel.tick)
        n->due = m->wheel.tick;
    node_arm(n, &m->wheel, deadline);
    CHECK_EQ(wakes, node_wakes(n));
}

static void model_cancel(struct node *n)
{
    CHECK_EQ(n->fired, wf_timer_fired(&n->timer));
    CHECK_EQ(n->armed, wf_timer_cancel(&n->timer));
    CHECK_EQ(n->fired, wf_timer_fired(&n->timer));
    CHECK(node_quiet(n));
    n->armed = false;
}

/* Returns the number of timers fired, all of which the model says were due, and no others. */
static unsigned model_advance(struct model *m, uint64_t now)
{
    unsigned expected = 0, fired;

    for (size_t i = 0; i < m->count; i++) {
        m->nodes[i].wakes.raw = 0;
        expected += m->nodes[i].armed && m->nodes[i].due <= now / TICK;
    }
    fired = wf_wheel_advance(&m->wheel, now);
    CHECK_EQ(expected, fired);
    for (size_t i = 0; i < m->count; i++) {
        struct node *n = &m->nodes[i];
        bool due = n->armed && n->due <= now / TICK;

        CHECK_EQ(due ? 1 : 0, node_wakes(n));
        if (!due)
            continue;
        CHECK(now >= n->timer.deadline); /* never early */
        CHECK(wf_timer_fired(&n->timer));
        CHECK(node_quiet(n));
        n->armed = false;
        n->fired = true;
    }
    if (now > m->now)
        m->now = now;
    return fired;
}

static void model_run(uint64_t seed, uint64_t steps, size_t count, uint64_t start, unsigned bits,
                      bool cancels)
{
    struct model *m = calloc(1, sizeof(*m));

    CHECK(m);
    m->now = start;
    m->count = count;
    m->nodes = nodes_new(count);
    m->rand = seed;
    m->cancels = cancels;
    wf_wheel_init(&m->wheel, start);
    for (uint64_t step = 0; step < steps; step++) {
        struct node *n = &m->nodes[test_rand(&m->rand) % count];
        uint64_t length = rand_length(&m->rand, bits);

        switch (test_rand(&m->rand) % 8) {
        case 0: /* to any moment, or to an earlier one than before */
            if (length < UINT64_MAX - m->now)
                model_advance(m, test_rand(&m->rand) % 8 ? m->now + length : m->now - m->now / 8);
            break;
        case 1: /* to the next timer; a cancelled one may cost a look per level */
            for (unsigned i = 0; wf_wheel_next(&m->wheel) != WEFT_FOREVER; i++) {
                CHECK(i <= WF_WHEEL_LEVELS);
                if (model_advance(m, wf_wheel_next(&m->wheel)))
                    break;
            }
            break;
        case 2:
        case 3:
            if (m->cancels || !n->armed)
                model_cancel(n);
            break;
        default:
            if (n->armed)
                break;
            if (test_rand(&m->rand) % 16 == 0)
                length = UINT64_MAX - m->now - test_rand(&m->rand) % 2 * length;
            if (test_rand(&m->rand) % 16 == 0)
                model_arm(m, n, m->now - m->now / 16); /* passed long ago */
            else if (length <= UINT64_MAX - m->now)
                model_arm(m, n, m->now + length);
            break;
        }
        model_check_next(m);
        if (step % 64 == 0)
            wf_wheel_check(&m->wheel);
    }
    for (size_t i = 0; i < count; i++)
        model_cancel(&m->nodes[i]);
    CHECK_EQ(WEFT_FOREVER, wf_wheel_next(&m->wheel));
    wf_wheel_release(&m->wheel);
    free(m->nodes);
    free(m);
}

/* Whatever is armed, cancelled and advanced in whatever order: due timers fire once, others not. */
TEST(agrees_with_a_list)
{
    uint64_t seed = test_seed(), steps = test_scaled(200000);

    model_run(seed, steps, 40, 0, 24, true);
    model_run(seed, steps, 40, 1234567890123, 36, true);
    model_run(seed, steps, 300, 1234567890123, 30, true);
    model_run(seed, steps, 3, 77, 40, true);
    for (unsigned i = 1; i <= 100; i++) /* soon at the end of time */
        model_run(seed + i ? seed + i : 1, steps / 100, 100, (uint64_t)1 << 62, 62, i % 2);
}

TEST(next_is_exact_unless_timers_are_cancelled)
{
    uint64_t seed = test_seed(), steps = test_scaled(100000);

    model_run(seed, steps, 40, 0, 24, false);
    model_run(seed, steps, 40, 1234567890123, 36, false);
    model_run(seed, steps, 300, 1234567890123, 30, false);
}

/* A wheel whose timers are due on both sides of each boundary between levels, seen from
 * wheels that stand anywhere. */
TEST(fires_at_its_tick_on_every_level)
{
    static struct wf_wheel w;
    struct node *n = nodes_new(1);
    uint64_t r = test_seed();

    for (unsigned shift = 0; shift < 64; shift++) {
        for (unsigned i = 0; i < 200; i++) {
            uint64_t start = rand_length(&r, 62), distance = ((uint64_t)1 << shift) - 3 + i % 6;
            uint64_t deadline = start + distance, due;
            unsigned looks = 0;

            due = tick_up(deadline) * TICK;
            if (deadline < start || due <= start)
                continue; /* beyond the end of time, or due at once */
            wf_wheel_init(&w, start);
            node_arm(n, &w, deadline);
            CHECK_EQ(due, wf_wheel_next(&w)); /* alone on its level: exact */
            if (i % 3 == 0)
                while (looks++ < 10) /* at any moments before */
                    CHECK_EQ(0, wf_wheel_advance(&w, start + test_rand(&r) % (due - start)));
            CHECK_EQ(0, wf_wheel_advance(&w, due - 1));
            CHECK(!wf_timer_fired(&n->timer));
            CHECK_EQ(1, wf_wheel_advance(&w, due));
            CHECK(wf_timer_fired(&n->timer));
            wf_wheel_release(&w);
        }
    }
    free(n);
}

TEST(forever_never_fires_but_counts)
{
    static struct wf_wheel w;
    struct node *n = nodes_new(3);

    wf_wheel_init(&w, 1000);
    node_arm(&n[0], &w, WEFT_FOREVER);
    node_arm(&n[1], &w, WEFT_FOREVER - 1);           /* its tick would be after the end of time */
    node_arm(&n[2], &w, WEFT_FOREVER / TICK * TICK); /* the last that can come */
    CHECK_EQ(3, wf_wheel_count(&w));
    CHECK_EQ(WEFT_FOREVER / TICK * TICK, wf_wheel_next(&w));
    CHECK_EQ(0, wf_wheel_advance(&w, WEFT_FOREVER / TICK * TICK - 1));
    CHECK_EQ(1, wf_wheel_advance(&w, WEFT_FOREVER));
    CHECK_EQ(1, node_wakes(&n[2]));
    CHECK_EQ(WEFT_FOREVER, wf_wheel_next(&w));
    CHECK(wf_timer_cancel(&n[0].timer));
    CHECK(wf_timer_cancel(&n[1].timer));
    CHECK(!wf_timer_cancel(&n[2].timer));
    CHECK(node_quiet(&n[0]) && node_quiet(&n[1]) && node_quiet(&n[2]));
    wf_wheel_release(&w);
    free(n);
}

TEST(a_passed_deadline_fires_at_the_next_advance)
{
    static struct wf_wheel w;
    struct node *n = nodes_new(1);

    wf_wheel_init(&w, 1000 * TICK);
    CHECK_EQ(0, wf_wheel_advance(&w, 2000 * TICK));
    node_arm(n, &w, 5);
    CHECK_EQ(0, node_wakes(n));
    CHECK(wf_wheel_next(&w) <= 2000 * TICK);
    CHECK_EQ(1, wf_wheel_advance(&w, 2000 * TICK));
    CHECK_EQ(0, wf_wheel_advance(&w, 2000 * TICK));
    wf_wheel_release(&w);
    free(n);
}

TEST(a_zeroed_timer_is_idle)
{
    struct wf_timer t;

    memset(&t, 0, sizeof(t));
    CHECK(!wf_timer_fired(&t));
    CHECK(!wf_timer_cancel(&t));
}

/* Timers of one tick fire in the order of arming, from whatever level they came. */
struct order {
    weft_wakeable base;
    struct wf_timer timer;
    unsigned position;
};

static unsigned order_next;

static void order_wake(weft_wakeable *w)
{
    wf_container_of(w, struct order, base)->position = order_next++;
}

static void order_nothing(weft_wakeable *w)
{
    (void)w;
}

static const weft_wakeable_type order_type = {order_nothing, order_wake, order_nothing};

TEST(first_armed_first_fired)
{
    static struct order o[600]; /* more than one batch */
    static struct wf_wheel w;
    uint64_t due = TICK * 200;

    /* On one level: a cascade walks its list from both ends. */
    wf_wheel_init(&w, 0);
    order_next = 0;
    for (unsigned i = 0; i < 600; i++) {
        o[i].base.type = &order_type;
        if (i == 400)
            wf_wheel_advance(&w, due - 100 * TICK);
        if (i == 500)
            wf_wheel_advance(&w, due - 2 * TICK);
        wf_timer_arm(&o[i].timer, &w, due, &o[i].base);
    }
    CHECK_EQ(600, wf_wheel_advance(&w, due));
    for (unsigned i = 0; i < 600; i++)
        CHECK_EQ(i, o[i].position);
    wf_wheel_release(&w);
}

/* With a reference for the wheel, which comes back when the timer has fired. */
static bool node_retarget(struct wf_timer *t, struct node *n)
{
    bool armed;

    node_retain(&n->base);
    armed = wf_timer_retarget(t, &n->base);
    if (!armed)
        node_release(&n->base);
    return armed;
}

TEST(retarget_moves_the_wake)
{
    static struct wf_wheel w;
    struct node *n = nodes_new(3);

    wf_wheel_init(&w, 0);
    CHECK(!node_retarget(&n[0].timer, &n[2])); /* not armed */
    CHECK(node_quiet(&n[2]));

    node_arm(&n[0], &w, 5 * TICK);
    CHECK(wf_timer_wakes(&n[0].timer, &n[0].base));
    CHECK(node_retarget(&n[0].timer, &n[0])); /* the same */
    CHECK_EQ(1, n[0].references.raw);
    CHECK(node_retarget(&n[0].timer, &n[1]));
    CHECK(wf_timer_wakes(&n[0].timer, &n[1].base));
    CHECK(node_quiet(&n[0]));
    CHECK_EQ(1, n[1].references.raw);
    CHECK_EQ(1, wf_wheel_advance(&w, 5 * TICK));
    CHECK_EQ(0, node_wakes(&n[0]));
    CHECK_EQ(1, node_wakes(&n[1]));
    CHECK(node_quiet(&n[1]));

    CHECK(!node_retarget(&n[0].timer, &n[2])); /* fired */
    CHECK(node_quiet(&n[2]));
    wf_wheel_release(&w);
    free(n);
}

/* A target may arm its timer again while it is being woken: the lock is not held. */
struct ticker {
    weft_wakeable base;
    struct wf_timer timer;
    struct wf_wheel *wheel;
    unsigned count;
};

static void ticker_wake(weft_wakeable *w)
{
    struct ticker *t = wf_container_of(w, struct ticker, base);

    t->count++;
    wf_timer_arm(&t->timer, t->wheel, t->timer.deadline + 3 * TICK, w);
}

static const weft_wakeable_type ticker_type = {order_nothing, ticker_wake, order_nothing};

TEST(a_wake_may_arm_again)
{
    static struct wf_wheel w;
    struct ticker t = {.base = {&ticker_type}, .wheel = &w};

    wf_wheel_init(&w, 0);
    wf_timer_arm(&t.timer, &w, 3 * TICK, &t.base);
    for (uint64_t tick = 1; tick <= 3000; tick++)
        CHECK_EQ(tick % 3 == 0, wf_wheel_advance(&w, tick * TICK));
    CHECK_EQ(1000, t.count);
    CHECK(wf_timer_cancel(&t.timer));
    wf_wheel_release(&w);
}

/*
 * One timer fires in the same hold of the lock that begins to spread a large slot. Its wake finds
 * the wheel half way: it cancels, arms, and goes further in time than the advance that called it.
 */
struct half_way {
    weft_wakeable base;
    struct wf_timer timer;
    struct wf_wheel wheel;
    struct node *nodes;
};

#define HALF_WAY_NODES 400

static void half_way_wake(weft_wakeable *waking)
{
    struct half_way *h = wf_container_of(waking, struct half_way, base);

    CHECK(!wf_list_empty(&h->wheel.cascade));
    CHECK(wf_wheel_next(&h->wheel) <= 266 * TICK); /* that of the last, not yet spread */
    wf_wheel_check(&h->wheel);
    for (size_t i = 0; i < HALF_WAY_NODES; i += 4)
        CHECK(wf_timer_cancel(&h->nodes[i].timer));
    wf_wheel_check(&h->wheel);
    CHECK_EQ(0, wf_wheel_advance(&h->wheel, 2 * TICK)); /* older */
    wf_timer_arm(&h->timer, &h->wheel, 269 * TICK, waking);
    CHECK(wf_timer_cancel(&h->timer));
    CHECK_EQ(HALF_WAY_NODES * 3 / 4, wf_wheel_advance(&h->wheel, 5000 * TICK));
}

static const weft_wakeable_type half_way_type = {order_nothing, half_way_wake, order_nothing};

TEST(a_wake_may_find_the_wheel_half_way)
{
    static struct half_way h = {.base = {&half_way_type}};

    h.nodes = nodes_new(HALF_WAY_NODES);
    wf_wheel_init(&h.wheel, 0);
    for (size_t i = 0; i < HALF_WAY_NODES; i++)
        node_arm(&h.nodes[i], &h.wheel, (i < HALF_WAY_NODES - 1 ? 270 : 265) * TICK + i % 2 * TICK);
    wf_timer_arm(&h.timer, &h.wheel, TICK, &h.base);
    CHECK_EQ(1, wf_wheel_advance(&h.wheel, 300 * TICK));
    CHECK_EQ(5000, h.wheel.tick); /* the older advance did not turn it back */
    for (size_t i = 0; i < HALF_WAY_NODES; i++) {
        CHECK_EQ(i % 4 != 0, node_wakes(&h.nodes[i]));
        CHECK(node_quiet(&h.nodes[i]));
    }
    wf_wheel_release(&h.wheel);
    free(h.nodes);
}

/* A slot of a high level with very many timers: each fires once, in the step it is due. */
TEST(a_million_timers)
{
    size_t count = test_scaled(1000000), cancelled = 0, fired = 0;
    struct node *n = nodes_new(count);
    static struct wf_wheel w;
    uint64_t r = test_seed();

    wf_wheel_init(&w, 12345);
    for (size_t i = 0; i < count; i++)
        node_arm(&n[i], &w, 12345 + 100000000 + test_rand(&r) % 1000000000);
    CHECK_EQ(count, wf_wheel_count(&w));
    for (size_t i = 0; i < count; i += 3)
        cancelled += wf_timer_cancel(&n[i].timer);
    wf_wheel_check(&w);
    for (uint64_t now = 12345; fired + cancelled < count; now += 1000000) {
        CHECK(now <= (uint64_t)2000000000);
        fired += wf_wheel_advance(&w, now);
        CHECK(wf_wheel_next(&w) > now);
    }
    CHECK_EQ((count + 2) / 3, cancelled);
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(i % 3 != 0, node_wakes(&n[i]));
        CHECK(node_quiet(&n[i]));
    }
    wf_wheel_release(&w);
    free(n);
}

static void misuse_release(struct wf_wheel *w, struct node *n)
{
    (void)n;
    wf_wheel_release(w); /* a timer is armed */
}

static void misuse_arm(struct wf_wheel *w, struct node *n)
{
    node_arm(n, w, TICK); /* it is armed */
}

static bool misuse_dies(void (*misuse)(struct wf_wheel *w, struct node *n))
{
    static struct wf_wheel w;
    struct node *n = nodes_new(1);
    int status = 0;
    pid_t pid;

    wf_wheel_init(&w, 0);
    node_arm(n, &w, WEFT_FOREVER);
    pid = fork();
    if (pid == 0) {
        (void)close(STDERR_FILENO);
        misuse(&w, n);
        _exit(0);
    }
    CHECK(pid > 0);
    CHECK_EQ(pid, waitpid(pid, &status, 0));
    CHECK(wf_timer_cancel(&n->timer));
    wf_wheel_release(&w);
    free(n);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

TEST(misuse_aborts)
{
    CHECK(misuse_dies(misuse_release));
    CHECK(misuse_dies(misuse_arm));
}

/*
 * Threads. Two advance the wheel by the clock; two arm timers that are due in a moment, and cancel
 * them at about that moment. Each arming must end in one wake or one true cancel; the timer's
 * memory is overwritten as soon as the cancel returns, so that a later touch is seen: by the
 * sanitizers, and by what it does to the wheel's lists.
 */
#define RACE_TIMERS 64

struct race {
    struct wf_wheel wheel;
    struct wf_atomic_u32 over;
    struct wf_atomic_u64 fired;
    uint64_t until;
};

struct racer {
    struct race *race;
    pthread_t thread;
    uint64_t seed, armed, cancelled, retargeted;
};

static void *race_advance(void *arg)
{
    struct race *race = arg;

    /* acquire: pairs with the release in the test; the last timers are armed by then */
    while (!wf_load_u32(&race->over, WF_ACQUIRE))
        wf_add_u64(&race->fired, wf_wheel_advance(&race->wheel, wf_clock_now()), WF_RELAXED);
    return NULL;
}

/* Two targets for each timer, which is in the first of the pair. */
static void race_finish(struct racer *r, struct node pair[2])
{
    bool cancelled = wf_timer_cancel(&pair->timer);

    while (!cancelled && !(node_quiet(&pair[0]) && node_quiet(&pair[1])))
        wf_spin_pause(); /* its wake is under way on another thread */
    CHECK(node_quiet(&pair[0]) && node_quiet(&pair[1]));
    CHECK_EQ(cancelled ? 0 : 1, node_wakes(&pair[0]) + node_wakes(&pair[1]));
    r->cancelled += cancelled;
    memset(&pair->timer, 0xa5, sizeof(pair->timer));
    memset(&pair->timer, 0, sizeof(pair->timer));
    for (unsigned i = 0; i < 2; i++)
        wf_store_u32(&pair[i].wakes, 0, WF_RELAXED);
    pair->armed = false;
}

static void *race_arm(void *arg)
{
    struct racer *r = arg;
    struct node(*pairs)[2] = (struct node(*)[2])(void *)nodes_new(2 * RACE_TIMERS);
    uint64_t rand = r->seed;

    while (wf_clock_now() < r->race->until) {
        struct node *pair = pairs[test_rand(&rand) % RACE_TIMERS];

        if (pair->armed && test_rand(&rand) % 2) {
            r->retargeted += node_retarget(&pair->timer, &pair[test_rand(&rand) % 2]);
        } else if (pair->armed) {
            race_finish(r, pair);
        } else {
            pair->armed = true;
            r->armed++;
            node_arm(pair, &r->race->wheel, wf_clock_now() + rand_length(&rand, 19));
        }
    }
    for (size_t i = 0; i < RACE_TIMERS; i++)
        if (pairs[i]->armed)
            race_finish(r, pairs[i]);
    free(pairs);
    return NULL;
}

TEST(cancel_against_advance)
{
    struct race *race = calloc(1, sizeof(*race));
    struct racer racers[2];
    pthread_t clocks[2];
    uint64_t armed = 0, cancelled = 0, seed = test_seed();

    CHECK(race);
    wf_wheel_init(&race->wheel, wf_clock_now());
    race->until = wf_clock_now() + 700000000;
    for (unsigned i = 0; i < 2; i++) {
        racers[i] = (struct racer){.race = race, .seed = seed + i};
        CHECK_EQ(0, pthread_create(&clocks[i], NULL, race_advance, race));
        CHECK_EQ(0, pthread_create(&racers[i].thread, NULL, race_arm, &racers[i]));
    }
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(0, pthread_join(racers[i].thread, NULL));
        armed += racers[i].armed;
        cancelled += racers[i].cancelled;
    }
    wf_store_u32(&race->over, 1, WF_RELEASE);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(0, pthread_join(clocks[i], NULL));
    CHECK_EQ(cancelled + wf_load_u64(&race->fired, WF_RELAXED), armed);
    CHECK(cancelled > 0);
    CHECK(cancelled < armed);
    CHECK(racers[0].retargeted + racers[1].retargeted > 0);
    wf_wheel_release(&race->wheel);
    free(race);
}

TEST_MAIN("wheel", agrees_with_a_list, next_is_exact_unless_timers_are_cancelled,
          fires_at_its_tick_on_every_level, forever_never_fires_but_counts,
          a_passed_deadline_fires_at_the_next_advance, a_zeroed_timer_is_idle,
          first_armed_first_fired, retarget_moves_the_wake, a_wake_may_arm_again,
          a_wake_may_find_the_wheel_half_way, a_million_timers, misuse_aborts,
          cancel_against_advance)
