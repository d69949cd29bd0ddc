/* SPDX-License-Identifier: MIT */
/*
 * test_thread_wait.c - plain threads that wait for futures.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>

/* A future that is ready once it was told, and keeps the waker of its last poll. */
struct bell {
    pthread_mutex_t lock;
    bool rung;
    unsigned polls;
    weft_waker waker;
};

static struct bell *bell_of(const weft_future *f)
{
    return (struct bell *)f->words[0];
}

static weft_poll bell_poll(weft_future *f, weft_context *cx)
{
    struct bell *b = bell_of(f);
    weft_waker old;
    bool rung;

    pthread_mutex_lock(&b->lock);
    b->polls++;
    rung = b->rung;
    old = b->waker;
    b->waker = rung ? (weft_waker){0} : weft_context_waker(cx);
    pthread_mutex_unlock(&b->lock);
    weft_waker_drop(&old);
    f->result = 7;
    return rung ? WEFT_READY : WEFT_PENDING;
}

static void bell_drop(weft_future *f)
{
    struct bell *b = bell_of(f);
    weft_waker old;

    pthread_mutex_lock(&b->lock);
    old = b->waker;
    b->waker = (weft_waker){0};
    pthread_mutex_unlock(&b->lock);
    weft_waker_drop(&old);
}

static const weft_future_type bell_type = {bell_poll, bell_drop, "bell"};

static weft_future bell_future(struct bell *b)
{
    weft_future f = weft_future_of(&bell_type);

    f.words[0] = (uintptr_t)b;
    return f;
}

/* Wakes without a reason first; the waker outlives the wake. */
static void *ring(void *arg)
{
    struct bell *b = arg;
    weft_waker waker;
    bool there = false;

    while (!there) {
        pthread_mutex_lock(&b->lock);
        there = b->polls > 0;
        waker = there ? weft_waker_clone(&b->waker) : (weft_waker){0};
        pthread_mutex_unlock(&b->lock);
    }
    weft_waker_wake_by_ref(&waker);
    weft_waker_wake(&waker);
    pthread_mutex_lock(&b->lock);
    b->rung = true;
    waker = b->waker;
    b->waker = (weft_waker){0};
    pthread_mutex_unlock(&b->lock);
    weft_waker_wake(&waker);
    return NULL;
}

TEST(a_thread_waits_for_a_future)
{
    for (uint64_t i = test_scaled(2000); i; i--) {
        struct bell b = {.lock = PTHREAD_MUTEX_INITIALIZER};
        weft_future f = bell_future(&b);
        pthread_t thread;

        CHECK_EQ(0, pthread_create(&thread, NULL, ring, &b));
        CHECK_EQ(7, weft_await_blocking(&f));
        CHECK(weft_future_is_ready(&f));
        CHECK(!b.waker.target_);
        pthread_join(thread, NULL);
    }
}

END_TEST

TEST(a_limit_ends_the_wait_and_drops_the_future)
{
    struct bell b = {.lock = PTHREAD_MUTEX_INITIALIZER};
    weft_future f = bell_future(&b);
    weft_instant from = weft_now();

    CHECK_EQ(-ETIMEDOUT, weft_timeout_blocking(WEFT_MS(5), &f));
    CHECK(weft_now() - from >= WEFT_MS(5));
    CHECK(!b.waker.target_);
    CHECK_EQ(-ECANCELED, f.result);
    /* What is ready wins over a limit that has passed. */
    b.rung = true;
    f = bell_future(&b);
    CHECK_EQ(7, weft_timeout_blocking(0, &f));
    f = bell_future(&b);
    b.rung = false;
    CHECK_EQ(-ETIMEDOUT, weft_timeout_blocking(0, &f));
}

END_TEST

TEST(bad_use_gets_an_answer)
{
    weft_future none = {0}, timer = weft_sleep_future(WEFT_MS(1));

    CHECK_EQ(-EINVAL, weft_await_blocking(NULL));
    CHECK_EQ(-EINVAL, weft_await_blocking(&none));
    CHECK_EQ(-EINVAL, weft_timeout_blocking(1, NULL));
    CHECK_EQ(-EPERM, weft_await_blocking(&timer));
}

END_TEST

static int within_a_task(void *arg)
{
    struct bell b = {.lock = PTHREAD_MUTEX_INITIALIZER, .rung = true};
    weft_future f = bell_future(&b);

    (void)arg;
    CHECK_EQ(-EDEADLK, weft_await_blocking(&f));
    CHECK_EQ(-EDEADLK, weft_timeout_blocking(1, &f));
    CHECK_EQ(0, b.polls); /* untouched */
    return 0;
}

TEST(a_task_may_not_block_its_thread_so)
{
    test_run(within_a_task, NULL);
}

END_TEST

static int in_a_blocking_call(void *arg)
{
    struct bell *b = arg;
    weft_future f = bell_future(b);

    return (int)weft_await_blocking(&f);
}

static int through_a_blocking_call(void *arg)
{
    struct bell b = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;

    (void)arg;
    CHECK_EQ(0, pthread_create(&thread, NULL, ring, &b));
    CHECK_EQ(7, weft_blocking(in_a_blocking_call, &b));
    pthread_join(thread, NULL);
    return 0;
}

TEST(a_call_that_may_block_may_wait_so)
{
    test_run(through_a_blocking_call, NULL);
}

END_TEST

TEST_MAIN("thread_wait", a_thread_waits_for_a_future, a_limit_ends_the_wait_and_drops_the_future,
          bad_use_gets_an_answer, a_task_may_not_block_its_thread_so,
          a_call_that_may_block_may_wait_so)
