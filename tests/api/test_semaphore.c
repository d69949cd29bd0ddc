/* SPDX-License-Identifier: MIT */
/*
 * test_semaphore.c - permits: never more out than there are, first come first served, large wishes are not starved,
 * and nothing is lost by who gives up.
 */
#include "lock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct want {
    weft_semaphore *s;
    uint64_t n;
};

static int acquires(void *arg)
{
    const struct want *w = arg;

    return weft_semaphore_acquire_many(w->s, w->n);
}

static weft_task *wants(weft_semaphore *s, uint64_t n)
{
    struct want w = {s, n};
    weft_task *t = weft_spawn_copy(acquires, &w, sizeof(w));

    until_waiting(t);
    return t;
}

/* --- counting -------------------------------------------------------------------------- */

#define CROWD   20
#define PERMITS 3

struct crowd {
    weft_semaphore s;
    atomic_uint inside, most;
    uint64_t rounds;
};

static void come_and_go(struct crowd *c, unsigned n)
{
    unsigned inside = atomic_fetch_add(&c->inside, n) + n;

    CHECK(inside <= PERMITS);
    if (inside > atomic_load(&c->most))
        atomic_store(&c->most, inside);
}

static int crowd_member(void *arg)
{
    struct crowd *c = arg;

    for (uint64_t i = 0; i < c->rounds; i++) {
        unsigned n = 1 + (unsigned)(i % PERMITS);

        CHECK_EQ(0, weft_semaphore_acquire_many(&c->s, n));
        come_and_go(c, n);
        if (i % 7 == 0)
            CHECK_EQ(0, weft_yield());
        atomic_fetch_sub(&c->inside, n);
        CHECK_EQ(0, weft_semaphore_release(&c->s, n));
    }
    return 0;
}

static int crowd_root(void *arg)
{
    struct crowd c = {.s = WEFT_SEMAPHORE_INIT(PERMITS), .rounds = test_scaled(300)};
    weft_task *t[CROWD];

    (void)arg;
    for (unsigned i = 0; i < CROWD; i++)
        t[i] = weft_spawn(crowd_member, &c);
    for (unsigned i = 0; i < CROWD; i++)
        CHECK_EQ(0, result_of(t[i]));
    CHECK_EQ(PERMITS, weft_semaphore_available(&c.s));
    CHECK(atomic_load(&c.most) > 0);
    return 0;
}

TEST(no_more_are_out_than_there_are)
{
    test_run(crowd_root, NULL);
}

static int count_root(void *arg)
{
    weft_semaphore s = WEFT_SEMAPHORE_INIT(5);

    (void)arg;
    CHECK_EQ(5, weft_semaphore_available(&s));
    CHECK_EQ(0, weft_semaphore_acquire(&s));
    CHECK_EQ(0, weft_semaphore_acquire_many(&s, 3));
    CHECK_EQ(1, weft_semaphore_available(&s));
    CHECK_EQ(-EAGAIN, weft_semaphore_try_acquire_many(&s, 2));
    CHECK_EQ(0, weft_semaphore_try_acquire(&s));
    CHECK_EQ(-EAGAIN, weft_semaphore_try_acquire(&s));
    CHECK_EQ(0, weft_semaphore_acquire_many(&s, 0));
    CHECK_EQ(0, weft_semaphore_release(&s, 0));
    CHECK_EQ(0, weft_semaphore_release(&s, 7));
    CHECK_EQ(7, weft_semaphore_available(&s));
    CHECK_EQ(4, weft_semaphore_forget(&s, 4));
    CHECK_EQ(3, weft_semaphore_forget(&s, 4));
    CHECK_EQ(0, weft_semaphore_forget(&s, 4));
    memset(&s, 0, sizeof(s)); /* zeros are one without permits */
    CHECK_EQ(-EAGAIN, weft_semaphore_try_acquire(&s));
    CHECK_EQ(0, weft_semaphore_init(&s, 2));
    CHECK_EQ(0, weft_semaphore_acquire_many(&s, 2));
    return 0;
}

TEST(permits_are_counted)
{
    test_run(count_root, NULL);
}

static int limit_root(void *arg)
{
    weft_semaphore s = WEFT_SEMAPHORE_INIT(WEFT_SEMAPHORE_MAX - 1);
    weft_future f;

    (void)arg;
    CHECK_EQ(-EINVAL, weft_semaphore_init(&s, WEFT_SEMAPHORE_MAX + 1));
    CHECK_EQ(-EINVAL, weft_semaphore_acquire_many(&s, WEFT_SEMAPHORE_MAX + 1));
    CHECK_EQ(-EINVAL, weft_semaphore_try_acquire_many(&s, UINT64_MAX));
    CHECK_EQ(-EINVAL, weft_semaphore_acquire_many_blocking(&s, UINT64_MAX));
    f = weft_semaphore_acquire_many_future(&s, WEFT_SEMAPHORE_MAX + 1);
    CHECK_EQ(-EINVAL, weft_await(&f));
    CHECK_EQ(-EOVERFLOW, weft_semaphore_release(&s, 2));
    CHECK_EQ(-EOVERFLOW, weft_semaphore_release(&s, WEFT_SEMAPHORE_MAX + 1));
    CHECK_EQ(-EOVERFLOW, weft_semaphore_release(&s, UINT64_MAX));
    CHECK_EQ(WEFT_SEMAPHORE_MAX - 1, weft_semaphore_available(&s));
    CHECK_EQ(0, weft_semaphore_release(&s, 1));
    CHECK_EQ(-EOVERFLOW, weft_semaphore_release(&s, 1));
    CHECK_EQ(0, weft_semaphore_acquire_many(&s, WEFT_SEMAPHORE_MAX));
    CHECK_EQ(0, weft_semaphore_available(&s));
    return 0;
}

TEST(too_many_are_refused_and_nothing_changes)
{
    hush();
    test_run(limit_root, NULL);
}

/* --- who is served ---------------------------------------------------------------------- */

static int order_root(void *arg)
{
    weft_semaphore s = WEFT_SEMAPHORE_INIT(2);
    weft_task *large, *small, *last;

    (void)arg;
    CHECK_EQ(0, weft_semaphore_acquire(&s));
    large = wants(&s, 3); /* has taken the one that was free */
    CHECK_EQ(0, weft_semaphore_available(&s));
    small = wants(&s, 1);
    last = wants(&s, 2);
    CHECK_EQ(-EAGAIN, weft_semaphore_try_acquire(&s));
    CHECK_EQ(0, weft_semaphore_release(&s, 1));
    CHECK_EQ(0, weft_semaphore_available(&s));
    for (int i = 0; i < 5; i++)
        CHECK_EQ(0, weft_yield());
    CHECK(!weft_is_finished(large) && !weft_is_finished(small) && !weft_is_finished(last));
    CHECK_EQ(0, weft_semaphore_release(&s, 1));
    CHECK_EQ(0, result_of(large));
    CHECK(!weft_is_finished(small) && !weft_is_finished(last));
    CHECK_EQ(0, weft_semaphore_release(&s, 2)); /* one for the small, one collected by the last */
    CHECK_EQ(0, result_of(small));
    CHECK(!weft_is_finished(last));
    CHECK_EQ(0, weft_semaphore_release(&s, 3));
    CHECK_EQ(0, result_of(last));
    CHECK_EQ(2, weft_semaphore_available(&s));
    return 0;
}

TEST(a_large_wish_collects_and_holds_up_the_small_ones)
{
    test_run(order_root, NULL);
}

static int many_root(void *arg)
{
    enum { MANY = 100 };

    weft_semaphore s = WEFT_SEMAPHORE_INIT(0);
    weft_task *t[MANY];

    (void)arg;
    for (unsigned i = 0; i < MANY; i++)
        t[i] = wants(&s, 1);
    CHECK_EQ(0, weft_semaphore_release(&s, MANY + 3));
    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQ(0, result_of(t[i]));
    CHECK_EQ(3, weft_semaphore_available(&s));
    return 0;
}

TEST(one_release_serves_a_whole_line)
{
    test_run(many_root, NULL);
}

/* --- who gives up ----------------------------------------------------------------------- */

static int cancel_root(void *arg)
{
    weft_semaphore s = WEFT_SEMAPHORE_INIT(2);
    weft_task *large, *small;

    (void)arg;
    large = wants(&s, 5); /* has collected two */
    small = wants(&s, 1);
    weft_cancel(large);
    CHECK_EQ(-ECANCELED, result_of(large));
    CHECK_EQ(0, result_of(small));
    CHECK_EQ(1, weft_semaphore_available(&s));
    /* Alone, and in the middle. */
    large = wants(&s, 2);
    weft_cancel(large);
    CHECK_EQ(-ECANCELED, result_of(large));
    CHECK_EQ(1, weft_semaphore_available(&s));
    large = wants(&s, 3);
    small = wants(&s, 1);
    weft_cancel(small);
    CHECK_EQ(-ECANCELED, result_of(small));
    CHECK_EQ(0, weft_semaphore_release(&s, 2));
    CHECK_EQ(0, result_of(large));
    CHECK_EQ(0, weft_semaphore_available(&s));
    return 0;
}

TEST(a_cancelled_waiter_returns_what_it_had_collected)
{
    test_run(cancel_root, NULL);
}

static int times_out(void *arg)
{
    int rc = 0;

    WEFT_DEADLINE(WEFT_MS(2))
    {
        rc = weft_semaphore_acquire_many(arg, 2);
    }
    return rc;
}

static int is_timed(void *arg)
{
    weft_future f = weft_semaphore_acquire_many_future(arg, 2);

    return (int)weft_timeout(WEFT_MS(2), &f);
}

static int loses_select(void *arg)
{
    weft_future f = weft_semaphore_acquire_many_future(arg, 2), nap = weft_sleep_future(WEFT_MS(2));

    return (int)weft_select(&f, &nap);
}

static int timeout_root(void *arg)
{
    weft_semaphore s = WEFT_SEMAPHORE_INIT(1);

    (void)arg;
    CHECK_EQ(-ETIMEDOUT, result_of(weft_spawn(times_out, &s)));
    CHECK_EQ(1, weft_semaphore_available(&s));
    CHECK_EQ(-ETIMEDOUT, result_of(weft_spawn(is_timed, &s)));
    CHECK_EQ(1, weft_semaphore_available(&s));
    CHECK_EQ(1, result_of(weft_spawn(loses_select, &s)));
    CHECK_EQ(1, weft_semaphore_available(&s));
    return 0;
}

TEST(deadlines_timeouts_and_selects_return_it_too)
{
    test_run(timeout_root, NULL);
}

/* What a future was handed that nobody polls is nobody else's, until it is dropped. */
static int handed_root(void *arg)
{
    weft_semaphore s = WEFT_SEMAPHORE_INIT(0);
    weft_future kept = weft_semaphore_acquire_many_future(&s, 2), yield = weft_yield_future();
    weft_task *next;

    (void)arg;
    CHECK_EQ(1, weft_select_keep(&kept, &yield));
    CHECK_EQ(0, weft_semaphore_release(&s, 3));
    CHECK_EQ(1, weft_semaphore_available(&s));
    next = wants(&s, 3);
    weft_future_drop(&kept);
    CHECK_EQ(0, result_of(next));
    CHECK_EQ(0, weft_semaphore_available(&s));
    /* And polled. */
    kept = weft_semaphore_acquire_many_future(&s, 2);
    yield = weft_yield_future();
    CHECK_EQ(1, weft_select_keep(&kept, &yield));
    CHECK_EQ(0, weft_semaphore_release(&s, 2));
    CHECK_EQ(0, weft_await(&kept));
    CHECK_EQ(0, weft_semaphore_available(&s));
    return 0;
}

TEST(a_future_that_is_dropped_passes_on_what_it_was_handed)
{
    test_run(handed_root, NULL);
}

/* --- closing ---------------------------------------------------------------------------- */

static int close_root(void *arg)
{
    enum { MANY = 40 };

    weft_semaphore s = WEFT_SEMAPHORE_INIT(2);
    weft_future f;
    weft_task *t[MANY];

    (void)arg;
    for (unsigned i = 0; i < MANY; i++)
        t[i] = wants(&s, 3);
    CHECK(!weft_semaphore_is_closed(&s));
    weft_semaphore_close(&s);
    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQ(-ESHUTDOWN, result_of(t[i]));
    CHECK(weft_semaphore_is_closed(&s));
    CHECK_EQ(2, weft_semaphore_available(&s)); /* the first had collected them */
    CHECK_EQ(-ESHUTDOWN, weft_semaphore_acquire(&s));
    CHECK_EQ(-ESHUTDOWN, weft_semaphore_acquire_many(&s, 0));
    CHECK_EQ(-ESHUTDOWN, weft_semaphore_try_acquire(&s));
    f = weft_semaphore_acquire_future(&s);
    CHECK_EQ(-ESHUTDOWN, weft_await(&f));
    f = weft_semaphore_acquire_many_future(&s, 0);
    CHECK_EQ(-ESHUTDOWN, weft_await(&f));
    CHECK_EQ(0, weft_semaphore_release(&s, 1));
    CHECK_EQ(3, weft_semaphore_available(&s));
    weft_semaphore_close(&s);
    weft_semaphore_close(NULL);
    return 0;
}

TEST(closing_answers_who_waits_and_who_comes)
{
    test_run(close_root, NULL);
}

static int close_handed_root(void *arg)
{
    weft_semaphore s = WEFT_SEMAPHORE_INIT(0);
    weft_future kept = weft_semaphore_acquire_future(&s), yield = weft_yield_future();

    (void)arg;
    CHECK_EQ(1, weft_select_keep(&kept, &yield));
    CHECK_EQ(0, weft_semaphore_release(&s, 1));
    weft_semaphore_close(&s);
    CHECK_EQ(0, weft_await(&kept)); /* it had it before */
    return 0;
}

TEST(what_was_handed_before_the_close_is_had)
{
    test_run(close_handed_root, NULL);
}

/* --- threads and stackless tasks --------------------------------------------------------- */

static void *crowd_thread(void *arg)
{
    struct crowd *c = arg;

    for (uint64_t i = 0; i < c->rounds; i++) {
        unsigned n = 1 + (unsigned)(i % PERMITS);

        CHECK_EQ(0, n == 1 ? weft_semaphore_acquire_blocking(&c->s)
                           : weft_semaphore_acquire_many_blocking(&c->s, n));
        come_and_go(c, n);
        atomic_fetch_sub(&c->inside, n);
        CHECK_EQ(0, weft_semaphore_release(&c->s, n));
    }
    return NULL;
}

static int crowd_both_root(void *arg)
{
    weft_task *t[CROWD];

    for (unsigned i = 0; i < CROWD; i++)
        t[i] = weft_spawn(crowd_member, arg);
    for (unsigned i = 0; i < CROWD; i++)
        CHECK_EQ(0, result_of(t[i]));
    return 0;
}

TEST(tasks_and_plain_threads_share_them)
{
    struct crowd c = {.s = WEFT_SEMAPHORE_INIT(PERMITS), .rounds = test_scaled(200)};
    pthread_t thread[4];

    for (unsigned n = 0; n < 4; n++)
        CHECK_EQ(0, pthread_create(&thread[n], NULL, crowd_thread, &c));
    test_run(crowd_both_root, &c);
    for (unsigned n = 0; n < 4; n++)
        CHECK_EQ(0, pthread_join(thread[n], NULL));
    CHECK_EQ(PERMITS, weft_semaphore_available(&c.s));
}

static void *thread_is_closed_on(void *arg)
{
    CHECK_EQ(-ESHUTDOWN, weft_semaphore_acquire_many_blocking(arg, 2));
    return NULL;
}

TEST(a_plain_thread_that_waits_is_told_of_a_close)
{
    weft_semaphore s = WEFT_SEMAPHORE_INIT(1);
    pthread_t thread;

    CHECK_EQ(0, pthread_create(&thread, NULL, thread_is_closed_on, &s));
    while (weft_semaphore_available(&s)) /* until it has collected */
        usleep(100);
    weft_semaphore_close(&s);
    CHECK_EQ(0, pthread_join(thread, NULL));
    CHECK_EQ(1, weft_semaphore_available(&s));
}

struct stackless {
    weft_async async;
    weft_semaphore *s;
    weft_future wait;
};

static weft_poll stackless_poll(void *self, weft_context *cx)
{
    struct stackless *s = self;

    WEFT_ASYNC_BEGIN(s);
    s->wait = weft_semaphore_acquire_many_future(s->s, 2);
    WEFT_AWAIT(s, cx, &s->wait);
    WEFT_RETURN(s, (int)s->wait.result);
    WEFT_ASYNC_END(s);
}

static const weft_async_type stackless_type = {.poll = stackless_poll,
                                               .size = sizeof(struct stackless),
                                               .name = "stackless"};

static int stackless_root(void *arg)
{
    weft_semaphore s = WEFT_SEMAPHORE_INIT(1);
    weft_task *t[3];

    (void)arg;
    for (unsigned i = 0; i < 3; i++) {
        t[i] = weft_spawn_async(&stackless_type, &(struct stackless){.s = &s});
        until_waiting(t[i]);
    }
    weft_cancel(t[0]); /* has collected one */
    CHECK_EQ(-ECANCELED, result_of(t[0]));
    CHECK_EQ(0, weft_semaphore_release(&s, 1));
    CHECK_EQ(0, result_of(t[1]));
    CHECK_EQ(0, weft_semaphore_release(&s, 2));
    CHECK_EQ(0, result_of(t[2]));
    CHECK_EQ(0, weft_semaphore_available(&s));
    return 0;
}

TEST(stackless_tasks_wait_too)
{
    test_run(stackless_root, NULL);
}

/* --- lives ------------------------------------------------------------------------------- */

/* Who gets the only permit frees it at once, while the one that gave it may still be on its way out. */
static int gives(void *arg)
{
    weft_semaphore *s = *(weft_semaphore **)arg;

    return weft_semaphore_release(s, 1);
}

static int free_root(void *arg)
{
    (void)arg;
    for (uint64_t round = test_scaled(1000); round > 0; round--) {
        weft_semaphore *s = calloc(1, sizeof(*s));
        weft_task *t;

        CHECK(s);
        t = weft_spawn_copy(gives, &s, sizeof(struct weft_semaphore *));
        CHECK_EQ(0, weft_semaphore_acquire(s));
        memset(s, 0x5a, sizeof(*s));
        free(s);
        CHECK_EQ(0, result_of(t));
    }
    return 0;
}

TEST(who_has_got_the_last_permit_may_free_it)
{
    test_run(free_root, NULL);
}

TEST_MAIN("semaphore", no_more_are_out_than_there_are, permits_are_counted,
          too_many_are_refused_and_nothing_changes,
          a_large_wish_collects_and_holds_up_the_small_ones, one_release_serves_a_whole_line,
          a_cancelled_waiter_returns_what_it_had_collected,
          deadlines_timeouts_and_selects_return_it_too,
          a_future_that_is_dropped_passes_on_what_it_was_handed,
          closing_answers_who_waits_and_who_comes, what_was_handed_before_the_close_is_had,
          tasks_and_plain_threads_share_them, a_plain_thread_that_waits_is_told_of_a_close,
          stackless_tasks_wait_too, who_has_got_the_last_permit_may_free_it)
