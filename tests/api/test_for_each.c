/* SPDX-License-Identifier: MIT */
/*
 * test_for_each.c - operations from a source, a few at a time: how many are under way, in which order their results
 * are passed on, and what ends it.
 */
#include "bell.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS 50

/* A source of ITEMS operations and the sink of their results. */
struct line {
    /* what happens */
    uint64_t items;
    weft_future (*make)(struct line *l, uint64_t i);
    uint64_t source_fails_at; /* 0: never */
    int source_rc;
    uint64_t sink_fails_at;
    int sink_rc;
    bool awaits;
    struct bell *bells;
    /* what has happened */
    uint64_t asked, passed;
    size_t running, most;
    uint64_t order[ITEMS];
};

static int line_source(void *arg, weft_future *out, uint64_t *tag)
{
    struct line *l = arg;

    if (l->awaits)
        CHECK_EQ(0, weft_sleep(WEFT_US(20)));
    if (l->source_fails_at && l->asked + 1 == l->source_fails_at)
        return l->source_rc;
    if (l->asked == l->items)
        return 0;
    *out = l->make(l, l->asked);
    *tag = l->asked++;
    if (++l->running > l->most)
        l->most = l->running;
    return 1;
}

static int line_sink(void *arg, uint64_t tag, ssize_t result)
{
    struct line *l = arg;

    CHECK_EQ((ssize_t)tag * 2, result);
    if (l->awaits)
        CHECK_EQ(0, weft_yield());
    l->order[l->passed++] = tag;
    l->running--;
    return l->sink_fails_at && l->passed == l->sink_fails_at ? l->sink_rc : 0;
}

static weft_future ready_item(struct line *l, uint64_t i)
{
    (void)l;
    return weft_ready_future((ssize_t)i * 2);
}

/* The later in a group of five, the sooner it ends. */
static int naps(void *arg)
{
    uint64_t i = *(uint64_t *)arg;
    int rc = weft_sleep(WEFT_US(100 * (5 - i % 5)));

    return rc < 0 ? rc : (int)i * 2;
}

static weft_future task_item(struct line *l, uint64_t i)
{
    (void)l;
    return weft_task_future(weft_spawn_copy(naps, &i, sizeof(i)));
}

static weft_future bell_item(struct line *l, uint64_t i)
{
    return bell_future(&l->bells[i]);
}

/* Straight, or as a future that is awaited. */
static int run_line(bool as_future, size_t limit, unsigned flags, struct line *l)
{
    weft_future f;

    if (!as_future)
        return weft_for_each_concurrent(limit, flags, line_source, line_sink, l);
    f = weft_for_each_concurrent_future(limit, flags, line_source, line_sink, l);
    return (int)weft_await(&f);
}

static void expect_all(const struct line *l, bool in_order)
{
    bool seen[ITEMS] = {false};

    CHECK_EQ(l->items, l->asked);
    CHECK_EQ(l->items, l->passed);
    for (uint64_t i = 0; i < l->items; i++) {
        CHECK(!seen[l->order[i]]);
        seen[l->order[i]] = true;
        if (in_order)
            CHECK_EQ(i, l->order[i]);
    }
}

static int all_ways(void *arg)
{
    static const size_t limits[] = {0, 1, 7, 1000};

    (void)arg;
    for (int way = 0; way < 2; way++) {
        for (unsigned flags = WEFT_FUTURES_UNORDERED; flags <= WEFT_FUTURES_ORDERED; flags++) {
            for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
                size_t room = limits[i] && limits[i] < ITEMS ? limits[i] : ITEMS;
                struct line ready = {.items = ITEMS, .make = ready_item};
                struct line tasks = {.items = ITEMS, .make = task_item};

                CHECK_EQ(0, run_line(way, limits[i], flags, &ready));
                expect_all(&ready, true);
                CHECK_EQ(room, ready.most);
                CHECK_EQ(0, run_line(way, limits[i], flags, &tasks));
                expect_all(&tasks, flags == WEFT_FUTURES_ORDERED || limits[i] == 1);
                CHECK_EQ(room, tasks.most);
            }
        }
    }
    return 0;
}

TEST(each_operation_ends_once_and_no_more_than_the_limit_are_under_way)
{
    test_run(all_ways, NULL);
}

static int of_nothing(void *arg)
{
    struct line l = {.items = 0, .make = ready_item};

    (void)arg;
    for (int way = 0; way < 2; way++) {
        CHECK_EQ(0, run_line(way, 3, 0, &l));
        CHECK_EQ(-EINVAL, run_line(way, 3, 2, &l));
    }
    CHECK_EQ(-EINVAL, weft_for_each_concurrent(1, 0, NULL, line_sink, &l));
    return 0;
}

TEST(an_empty_source_is_done_at_once)
{
    struct line l = {.items = 1, .make = ready_item};

    test_run(of_nothing, NULL);
    CHECK_EQ(-EPERM, weft_for_each_concurrent(1, 0, line_source, line_sink, &l));
    CHECK_EQ(0, l.asked);
}

static int failures(void *arg)
{
    static const int codes[] = {-EIO, -EAGAIN, -ECANCELED};

    (void)arg;
    for (int way = 0; way < 2; way++) {
        for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
            struct bell b[ITEMS];
            struct line l = {.items = ITEMS, .make = bell_item, .bells = b};

            memset(b, 0, sizeof(b));
            for (size_t j = 0; j < ITEMS; j++)
                CHECK_EQ(0, pthread_mutex_init(&b[j].lock, NULL));
            l.source_fails_at = 6;
            l.source_rc = codes[i];
            CHECK_EQ(codes[i], run_line(way, 0, 0, &l));
            CHECK_EQ(5, l.asked);
            CHECK_EQ(0, l.passed);
            for (size_t j = 0; j < ITEMS; j++) /* dropped, unless it had never been polled */
                CHECK_EQ(atomic_load(&b[j].polls), atomic_load(&b[j].drops));

            l = (struct line){.items = ITEMS, .make = bell_item, .bells = b};
            l.sink_fails_at = 2;
            l.sink_rc = codes[i];
            bell_ring(&b[1], 2);
            bell_ring(&b[3], 6);
            CHECK_EQ(codes[i], run_line(way, 5, 0, &l));
            CHECK_EQ(2, l.passed);
            CHECK_EQ(1, l.order[0]);
            CHECK_EQ(3, l.order[1]);
            CHECK_EQ(6, l.asked); /* one more for the first that had ended */
        }
    }
    return 0;
}

TEST(the_first_failure_of_source_or_sink_ends_it_and_the_rest_is_dropped)
{
    test_run(failures, NULL);
}

static int source_of_results(void *arg, weft_future *out, uint64_t *tag)
{
    int *n = arg;

    (void)tag;
    *out = weft_ready_future(*n == 4 ? -ENOENT : *n);
    return ++*n < 100;
}

static int without_sink(void *arg)
{
    weft_future f;
    int n = 5;

    (void)arg;
    CHECK_EQ(0, weft_for_each_concurrent(3, 0, source_of_results, NULL, &n));
    CHECK_EQ(100, n);
    n = 0;
    CHECK_EQ(-ENOENT, weft_for_each_concurrent(1, 0, source_of_results, NULL, &n));
    CHECK_EQ(5, n);
    n = 0;
    f = weft_for_each_concurrent_future(1, 0, source_of_results, NULL, &n);
    CHECK_EQ(-ENOENT, weft_await(&f));
    return 0;
}

TEST(without_a_sink_a_result_that_failed_ends_it)
{
    test_run(without_sink, NULL);
}

static int awaiting(void *arg)
{
    struct line l = {.items = ITEMS, .make = task_item, .awaits = true};

    (void)arg;
    CHECK_EQ(0, run_line(false, 4, WEFT_FUTURES_ORDERED, &l));
    expect_all(&l, true);
    return 0;
}

TEST(source_and_sink_may_await)
{
    test_run(awaiting, NULL);
}

static atomic_int begun, endings;

static void count_ending(void *arg)
{
    (void)arg;
    atomic_fetch_add(&endings, 1);
}

static int until_told(void *arg)
{
    (void)arg;
    atomic_fetch_add(&begun, 1);
    CHECK_EQ(0, weft_defer(count_ending, NULL));
    return weft_sleep(WEFT_SECS(1000));
}

static weft_future endless_item(struct line *l, uint64_t i)
{
    (void)l, (void)i;
    return weft_task_future(weft_spawn(until_told, NULL));
}

static int endless(void *arg)
{
    return run_line(false, 10, 0, arg);
}

static int endless_future(void *arg)
{
    return run_line(true, 10, 0, arg);
}

static int given_up(void *arg)
{
    (void)arg;
    for (int way = 0; way < 2; way++) {
        struct line l = {.items = ITEMS, .make = endless_item};
        weft_task *t = weft_spawn(way ? endless_future : endless, &l);
        int result = 0;

        until_waiting(t);
        weft_cancel(t);
        CHECK_EQ(0, weft_join(t, &result));
        CHECK_EQ(-ECANCELED, result);
        CHECK_EQ(10, l.asked);
        CHECK_EQ(0, l.passed);
        WEFT_DEADLINE(WEFT_US(300))
        {
            l.asked = l.running = 0;
            CHECK_EQ(-ETIMEDOUT, run_line(way, 10, 0, &l));
        }
    }
    return 0;
}

TEST(a_cancel_or_a_deadline_drops_what_is_under_way)
{
    test_run(given_up, NULL); /* at whose end all tasks have ended */
    CHECK_EQ(atomic_load(&begun), atomic_load(&endings));
    CHECK(atomic_load(&begun) > 0);
}

static int loses(void *arg)
{
    struct bell b = BELL_INIT;
    struct line l = {.items = 1, .make = bell_item, .bells = &b};
    weft_future each = weft_for_each_concurrent_future(1, 0, line_source, line_sink, &l);
    weft_future tick = weft_ready_future(0), *list[] = {&each, &tick};

    (void)arg;
    weft_future_drop(&each); /* never polled: nothing was asked for */
    CHECK_EQ(0, l.asked);
    each = weft_for_each_concurrent_future(1, 0, line_source, line_sink, &l);
    CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_BIASED));
    CHECK_EQ(1, l.asked);
    CHECK_EQ(1, atomic_load(&b.drops));
    return 0;
}

TEST(as_a_future_it_may_lose_a_select)
{
    test_run(loses, NULL);
}

/* Ready operations without end: only a neighbour ends it. */
struct endless_line {
    atomic_bool over;
};

static int endless_source(void *arg, weft_future *out, uint64_t *tag)
{
    struct endless_line *e = arg;

    (void)tag;
    *out = weft_ready_future(0);
    return !atomic_load(&e->over);
}

static int ends_it(void *arg)
{
    atomic_store(&((struct endless_line *)arg)->over, true);
    return 0;
}

static int polite(void *arg)
{
    (void)arg;
    for (int way = 0; way < 2; way++) {
        for (size_t limit = 0; limit < 2; limit++) {
            struct endless_line e = {.over = false};
            weft_future f = weft_for_each_concurrent_future(limit, 0, endless_source, NULL, &e);

            CHECK_EQ(0, weft_go(ends_it, &e));
            CHECK_EQ(0, way ? weft_await(&f)
                            : weft_for_each_concurrent(limit, 0, endless_source, NULL, &e));
        }
    }
    return 0;
}

TEST(a_source_without_end_leaves_the_neighbours_their_turns)
{
    test_run(polite, NULL);
}

/* A panic in source or sink, while one operation is pending. */
struct ending {
    struct bell silent;
    int asked;
    bool in_source;
};

static int ending_source(void *arg, weft_future *out, uint64_t *tag)
{
    struct ending *e = arg;

    if (e->asked == 2)
        weft_panic("on purpose");
    *tag = (uint64_t)e->asked;
    *out = e->asked++ ? weft_ready_future(0) : bell_future(&e->silent);
    return 1;
}

static int ending_sink(void *arg, uint64_t tag, ssize_t result)
{
    struct ending *e = arg;

    CHECK_EQ(1, tag);
    CHECK_EQ(0, result);
    CHECK_EQ(1, atomic_load(&e->silent.polls));
    if (!e->in_source)
        weft_panic("on purpose");
    return 0;
}

static int panics(void *arg)
{
    return weft_for_each_concurrent(2, 0, ending_source, ending_sink, arg);
}

static int panic_in_each(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        struct ending e = {.silent = BELL_INIT, .in_source = i != 0};
        int result = 0;

        CHECK_EQ(0, weft_join(weft_spawn(panics, &e), &result));
        CHECK_EQ(-EOWNERDEAD, result);
        CHECK_EQ(1, atomic_load(&e.silent.drops));
    }
    return 0;
}

TEST(a_panic_in_source_or_sink_drops_what_is_under_way)
{
    test_run(panic_in_each, NULL);
}

TEST_MAIN("for_each", each_operation_ends_once_and_no_more_than_the_limit_are_under_way,
          an_empty_source_is_done_at_once,
          the_first_failure_of_source_or_sink_ends_it_and_the_rest_is_dropped,
          without_a_sink_a_result_that_failed_ends_it, source_and_sink_may_await,
          a_cancel_or_a_deadline_drops_what_is_under_way, as_a_future_it_may_lose_a_select,
          a_source_without_end_leaves_the_neighbours_their_turns,
          a_panic_in_source_or_sink_drops_what_is_under_way)
