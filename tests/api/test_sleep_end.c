/* SPDX-License-Identifier: MIT */
/*
 * test_sleep_end.c - what waits for time when its runtime ends: a future that no task of it owns, in a set perhaps,
 * goes on in another runtime, to the same moment.
 *
 * Sleeps, ticks, limits and delay queues, of each flavour. Where the moment matters the clocks stand still.
 */
#include "gate.h"

#include <errno.h>
#include <pthread.h>
#include <weft/metrics.h>

/* A task that never ends keeps its memory: what is made between these two is no leak. */
#ifdef __SANITIZE_ADDRESS__
# include <sanitizer/lsan_interface.h>
#else
# define __lsan_disable() ((void)0)
# define __lsan_enable()  ((void)0)
#endif

enum { SLEEPS, TICKS, LIMITS, DELAYS, KINDS };

/* Waits for time in a set, which belongs to no runtime. */
struct stranded {
    weft_futures *set;
    weft_interval interval;
    weft_delay_queue *queue;
    weft_future never;
    weft_duration limit;
    weft_instant at;
    bool exact; /* the clock stands still */
};

static void stranded_new(struct stranded *s, weft_duration limit)
{
    s->set = weft_futures_new();
    CHECK(s->set);
    CHECK_EQ(0, weft_delay_queue_new(&s->queue, 0, NULL));
    s->never = weft_pending_future();
    s->limit = limit;
    s->exact = false;
}

static void stranded_free(struct stranded *s)
{
    weft_futures_free(s->set);
    weft_delay_queue_free(s->queue);
}

/* All begin to wait, and one more that never ends. */
static int strand(void *arg)
{
    struct stranded *s = arg;
    weft_duration d = s->limit;

    s->at = weft_instant_add(weft_now(), d);
    CHECK_EQ(0, weft_interval_init_at(&s->interval, s->at, d));
    CHECK_EQ(0, weft_delay_queue_insert_at(s->queue, NULL, s->at, NULL));
    CHECK_EQ(0, weft_futures_push(s->set, weft_sleep_future(d), SLEEPS));
    CHECK_EQ(0, weft_futures_push(s->set, weft_interval_tick_future(&s->interval, NULL), TICKS));
    CHECK_EQ(0, weft_futures_push(s->set, weft_timeout_future(d, &s->never), LIMITS));
    CHECK_EQ(0,
             weft_futures_push(s->set, weft_delay_queue_next_future(s->queue, NULL, NULL), DELAYS));
    CHECK_EQ(0, weft_futures_push(s->set, weft_sleep_future(WEFT_FOREVER), KINDS));
    CHECK_EQ(-EAGAIN, weft_futures_try_next(s->set, NULL, NULL));
    return 0;
}

/* Each ends once, with its result, and not too early. */
static int go_on(void *arg)
{
    static const ssize_t results[KINDS] = {0, 0, -ETIMEDOUT, 1};
    struct stranded *s = arg;
    unsigned seen = 0;

    for (int i = 0; i < KINDS; i++) {
        ssize_t result = 0;
        uint64_t tag = 0;

        CHECK_EQ(1, weft_futures_next(s->set, &tag, &result));
        CHECK(s->exact ? weft_now() == s->at : weft_now() >= s->at);
        CHECK(tag < KINDS && !(seen & 1u << tag));
        CHECK_EQ(results[tag], result);
        seen |= 1u << tag;
    }
    CHECK_EQ(-EAGAIN, weft_futures_try_next(s->set, NULL, NULL));
    return 0;
}

/* Run fn(flavour) for each. */
static void each_flavour(void (*fn)(const struct test_flavour *flavour))
{
    for (size_t i = 0; i < test_flavour_count; i++)
        fn(&test_flavours[i]);
}

/* --- the runtime has ended -------------------------------------------------------------- */

static void in_the_next_one(const struct test_flavour *flavour)
{
    struct stranded s;

    stranded_new(&s, WEFT_MS(30));
    test_run_on(flavour, strand, &s);
    test_run_on(flavour, go_on, &s);
    stranded_free(&s);
}

TEST(who_waits_for_time_when_the_runtime_ends_goes_on_in_the_next_one)
{
    each_flavour(in_the_next_one);
}

static void only_shut_down(const struct test_flavour *flavour)
{
    weft_runtime *rt = test_runtime_new(flavour);
    struct stranded s;

    stranded_new(&s, WEFT_MS(30));
    CHECK_EQ(0, weft_block_on(rt, strand, &s, NULL));
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    test_run_on(flavour, go_on, &s);
    test_runtime_free(rt);
    stranded_free(&s);
}

TEST(who_waits_for_time_goes_on_when_the_runtime_was_only_shut_down)
{
    each_flavour(only_shut_down);
}

static void dropped(const struct test_flavour *flavour)
{
    struct stranded s;

    stranded_new(&s, WEFT_MS(30));
    test_run_on(flavour, strand, &s);
    stranded_free(&s);
}

TEST(what_waits_for_time_may_be_dropped_when_its_runtime_is_gone)
{
    each_flavour(dropped);
}

/* --- exactly ----------------------------------------------------------------------------- */

static weft_runtime *paused_new(void)
{
    return runtime_of((weft_config){.flavor = WEFT_CURRENT_THREAD, .start_paused = WEFT_ON});
}

static int not_yet(void *arg)
{
    struct stranded *s = arg;

    CHECK_EQ(-EAGAIN, weft_futures_try_next(s->set, NULL, NULL));
    return 0;
}

/* What is relative stays so to where it began, through as many runtimes as there are. */
TEST(the_moment_stays_the_same_in_each_runtime)
{
    struct stranded s;

    stranded_new(&s, WEFT_SECS(1000));
    s.exact = true;
    test_run_paused(strand, &s);
    for (int i = 0; i < 3; i++)
        test_run_paused(not_yet, &s);
    test_run_paused(go_on, &s);
    stranded_free(&s);
}

struct elsewhere {
    weft_runtime *rt;
    weft_fn *fn;
    struct stranded *s;
};

static void *drives(void *arg)
{
    struct elsewhere *e = arg;
    int result = 1;

    CHECK_EQ(0, weft_block_on(e->rt, e->fn, e->s, &result));
    CHECK_EQ(0, result);
    return NULL;
}

static atomic_bool waits;

static int waits_for_all(void *arg)
{
    atomic_store(&waits, true);
    return go_on(arg);
}

/* Nobody drives the first runtime any more, so only its end can have woken the second. */
TEST(who_waits_in_another_runtime_is_woken_by_the_end_of_the_first)
{
    weft_runtime *first = paused_new(), *second = paused_new();
    struct elsewhere e = {.rt = second, .fn = waits_for_all};
    struct stranded s;
    pthread_t thread;
    weft_metrics m;

    stranded_new(&s, WEFT_SECS(1000));
    s.exact = true;
    e.s = &s;
    CHECK_EQ(0, run(first, strand, &s));
    CHECK_EQ(0, pthread_create(&thread, NULL, drives, &e));
    do { /* it sleeps, with nothing to wait for but the other's timers */
        usleep(100);
        CHECK_EQ(0, weft_metrics_snapshot(second, &m));
    } while (!atomic_load(&waits) || m.total.parks == 0);
    end(first);
    CHECK_EQ(0, pthread_join(thread, NULL));
    end(second);
    stranded_free(&s);
}

/* The futures themselves, in no set: another task's waker than the one that began. */
struct handed {
    weft_future sleep, tick, limit, delay, never;
    weft_interval interval;
    weft_delay_queue *queue;
    weft_instant at;
};

static weft_poll begin_poll(weft_future *f, weft_context *cx)
{
    weft_future *begins = (weft_future *)f->words[0];

    CHECK_EQ(WEFT_PENDING, weft_future_poll(begins, cx));
    return WEFT_READY;
}

static void begin_drop(weft_future *f)
{
    (void)f;
}

/* Pending from here on, by a task that ends; what a select keeps would be dropped with its task. */
static void begin(weft_future *f)
{
    static const weft_future_type type = {begin_poll, begin_drop, "begin"};
    weft_future begins = weft_future_of(&type);

    begins.words[0] = (uintptr_t)f;
    CHECK_EQ(0, weft_await(&begins));
}

static int begin_all(void *arg)
{
    struct handed *h = arg;
    weft_duration d = WEFT_SECS(1000);

    h->at = weft_now() + d;
    CHECK_EQ(0, weft_interval_init_at(&h->interval, h->at, d));
    CHECK_EQ(0, weft_delay_queue_new(&h->queue, 0, NULL));
    CHECK_EQ(0, weft_delay_queue_insert_at(h->queue, NULL, h->at, NULL));
    h->never = weft_pending_future();
    h->sleep = weft_sleep_future(d);
    h->tick = weft_interval_tick_future(&h->interval, NULL);
    h->limit = weft_timeout_future(d, &h->never);
    h->delay = weft_delay_queue_next_future(h->queue, NULL, NULL);
    begin(&h->sleep);
    begin(&h->tick);
    begin(&h->limit);
    begin(&h->delay);
    return 0;
}

static int end_all(void *arg)
{
    struct handed *h = arg;

    CHECK_EQ(0, weft_await(&h->sleep));
    CHECK_EQ(h->at, weft_now());
    CHECK_EQ(0, weft_join_all(&h->tick, &h->limit, &h->delay));
    CHECK_EQ(0, h->tick.result);
    CHECK_EQ(-ETIMEDOUT, h->limit.result);
    CHECK_EQ(-ECANCELED, h->never.result);
    CHECK_EQ(1, h->delay.result);
    CHECK_EQ(h->at, weft_now());
    return 0;
}

TEST(a_future_that_is_handed_on_goes_on_elsewhere)
{
    struct handed h;

    test_run_paused(begin_all, &h);
    test_run_paused(end_all, &h);
    weft_delay_queue_free(h.queue);
}

static int end_later(void *arg)
{
    struct handed *h = arg;

    CHECK_EQ(0, weft_await(&h->sleep));
    CHECK_EQ(h->at, weft_now());
    CHECK_EQ(0, weft_await(&h->tick));
    CHECK_EQ(h->at + 5, weft_now());
    return 0;
}

TEST(a_sleep_and_a_tick_can_be_set_anew_when_their_runtime_is_gone)
{
    struct handed h;

    test_run_paused(begin_all, &h);
    weft_future_drop(&h.limit);
    weft_future_drop(&h.delay);
    h.at += WEFT_SECS(7);
    CHECK_EQ(0, weft_sleep_reset(&h.sleep, h.at));
    CHECK_EQ(h.at, weft_sleep_deadline(&h.sleep));
    CHECK_EQ(0, weft_interval_reset_at(&h.interval, h.at + 5));
    test_run_paused(end_later, &h);
    weft_delay_queue_free(h.queue);
}

/* --- without another runtime --------------------------------------------------------------- */

TEST(a_plain_thread_has_no_timers_to_go_on_with)
{
    struct handed h;

    test_run_paused(begin_all, &h);
    CHECK_EQ(-EPERM, weft_await_blocking(&h.sleep));
    CHECK_EQ(-EPERM, weft_await_blocking(&h.tick));
    CHECK_EQ(-EPERM, weft_await_blocking(&h.limit));
    CHECK_EQ(-ECANCELED, h.never.result);
    CHECK_EQ(-EPERM, weft_await_blocking(&h.delay));
    weft_delay_queue_free(h.queue);
}

static void *waits_as_a_thread(void *sleep)
{
    atomic_store(&waits, true);
    CHECK_EQ(-EPERM, weft_await_blocking(sleep));
    return NULL;
}

/* It waits for a timer of a runtime which nobody drives, until that ends. */
TEST(a_plain_thread_that_waits_is_woken_by_the_end_of_the_runtime)
{
    for (uint64_t i = test_scaled(50); i > 0; i--) {
        weft_runtime *rt = paused_new();
        struct handed h;
        pthread_t thread;

        atomic_store(&waits, false);
        CHECK_EQ(0, run(rt, begin_all, &h));
        CHECK_EQ(0, pthread_create(&thread, NULL, waits_as_a_thread, &h.sleep));
        while (!atomic_load(&waits))
            usleep(50);
        end(rt);
        CHECK_EQ(0, pthread_join(thread, NULL));
        weft_future_drop(&h.tick);
        weft_future_drop(&h.limit);
        weft_future_drop(&h.delay);
        weft_delay_queue_free(h.queue);
    }
}

/* --- the runtime ends late ------------------------------------------------------------------ */

static int never_ends(void *entered)
{
    WEFT_SHIELD
    {
        weft_future sleep = weft_sleep_future(WEFT_FOREVER);

        atomic_store((atomic_bool *)entered, true);
        CHECK_EQ(0, weft_timeout(WEFT_SECS(100000), &sleep));
    }
    return 0;
}

/* Kept for good, for a task of it did not end: what waits for time is not. */
static void at_the_limit(const struct test_flavour *flavour)
{
    atomic_bool entered = false;
    atomic_uint turns = 0;
    struct stranded s;
    weft_runtime *rt;
    weft_task *t;

    stranded_new(&s, WEFT_MS(30));
    __lsan_disable();
    rt = runtime_of((weft_config){.flavor = flavour->flavor, .worker_threads = flavour->workers});
    CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, never_ends, &entered));
    __lsan_enable();
    do /* the first task of a current-thread runtime is polled last */
        CHECK_EQ(0, run(rt, count_up, &turns));
    while (!atomic_load(&entered));
    CHECK_EQ(0, run(rt, strand, &s));
    CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, WEFT_MS(1)));
    weft_runtime_free(rt);
    test_run_on(flavour, go_on, &s);
    CHECK_EQ(-ECANCELED, joined(t));
    stranded_free(&s);
}

TEST(who_waits_for_time_goes_on_when_a_task_of_the_runtime_did_not_end)
{
    each_flavour(at_the_limit);
}

/* A thread of the runtime is still inside a task: nobody waits for it to come out. */
TEST(who_waits_for_time_goes_on_while_a_thread_of_the_runtime_is_stuck)
{
    static struct gate gate;
    static const struct test_flavour flavour = {"2 workers", WEFT_MULTI_THREAD, 2};
    weft_runtime *rt = runtime_of((weft_config){.worker_threads = 2});
    struct stranded s;
    weft_task *t;

    stranded_new(&s, WEFT_MS(30));
    CHECK_EQ(0, run(rt, strand, &s));
    CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, wait_at, &gate));
    wait_for(&gate.inside, 1);
    CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, WEFT_MS(1)));
    weft_runtime_free(rt);
    test_run_on(&flavour, go_on, &s);
    atomic_store(&gate.open, true);
    CHECK_EQ(7, joined(t));
    stranded_free(&s);
}

/* --- at the same time ------------------------------------------------------------------------ */

static void *drops(void *set)
{
    weft_futures_free(set);
    return NULL;
}

static void *goes_on(void *arg)
{
    struct elsewhere *e = arg;

    CHECK_EQ(0, run(e->rt, e->fn, e->s));
    return NULL;
}

/* The timers fire, or their runtime ends, while others poll or drop them. */
static void all_at_once(const struct test_flavour *flavour)
{
    weft_runtime *second = runtime_of((weft_config){.worker_threads = 2});

    for (uint64_t i = test_scaled(100); i > 0; i--) {
        weft_runtime *first = test_runtime_new(flavour);
        struct stranded s;
        struct elsewhere e = {.rt = second, .fn = go_on, .s = &s};
        pthread_t thread;

        stranded_new(&s, WEFT_MS(1) + i % 10 * WEFT_US(50));
        CHECK_EQ(0, run(first, strand, &s));
        CHECK_EQ(0, i % 2 ? pthread_create(&thread, NULL, drops, s.set)
                          : pthread_create(&thread, NULL, goes_on, &e));
        test_runtime_free(first);
        CHECK_EQ(0, pthread_join(thread, NULL));
        if (i % 2)
            weft_delay_queue_free(s.queue);
        else
            stranded_free(&s);
    }
    end(second);
}

TEST(a_runtime_may_end_while_its_timers_are_polled_and_dropped_elsewhere)
{
    each_flavour(all_at_once);
}

TEST_MAIN("sleep_end", who_waits_for_time_when_the_runtime_ends_goes_on_in_the_next_one,
          who_waits_for_time_goes_on_when_the_runtime_was_only_shut_down,
          what_waits_for_time_may_be_dropped_when_its_runtime_is_gone,
          the_moment_stays_the_same_in_each_runtime,
          who_waits_in_another_runtime_is_woken_by_the_end_of_the_first,
          a_future_that_is_handed_on_goes_on_elsewhere,
          a_sleep_and_a_tick_can_be_set_anew_when_their_runtime_is_gone,
          a_plain_thread_has_no_timers_to_go_on_with,
          a_plain_thread_that_waits_is_woken_by_the_end_of_the_runtime,
          who_waits_for_time_goes_on_when_a_task_of_the_runtime_did_not_end,
          who_waits_for_time_goes_on_while_a_thread_of_the_runtime_is_stuck,
          a_runtime_may_end_while_its_timers_are_polled_and_dropped_elsewhere)
