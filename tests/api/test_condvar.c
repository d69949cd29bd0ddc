/* SPDX-License-Identifier: MIT */
/*
 * test_condvar.c - condition variables: whom a signal lets go on, and that the mutex is held again however it ends.
 */
#include "giveup.h"
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

#define WAITERS 5

struct box {
    weft_mutex mutex;
    weft_condvar changed;
    int value; /* under the mutex, as all below */
    int ended[WAITERS], count;
};

static bool is_empty(void *arg)
{
    return ((struct box *)arg)->value == 0;
}

/* --- who goes on ---------------------------------------------------------------------------------- */

struct waiter {
    struct box *box;
    int number;
};

static int waits_once(void *arg)
{
    struct waiter *w = arg;
    struct box *b = w->box;
    int rc;

    CHECK_EQ(0, weft_mutex_lock(&b->mutex));
    rc = weft_condvar_wait(&b->changed, &b->mutex);
    CHECK(weft_mutex_is_held(&b->mutex));
    if (rc == 0)
        b->ended[b->count++] = w->number;
    CHECK_EQ(0, weft_mutex_unlock(&b->mutex));
    return rc;
}

/* In this order. A waiter whose mutex can be taken waits. */
static void line_up(struct box *b, struct waiter *w, weft_task **t)
{
    for (int i = 0; i < WAITERS; i++) {
        w[i] = (struct waiter){b, i};
        t[i] = weft_spawn(waits_once, &w[i]);
        until_idle(t[i]);
    }
}

static void join_all(weft_task **t)
{
    for (int i = 0; i < WAITERS; i++) {
        int result = 1;

        CHECK_EQ(0, weft_join(t[i], &result));
        CHECK_EQ(0, result);
    }
}

static int in_order(void *arg)
{
    struct box b = {.mutex = WEFT_MUTEX_INIT, .changed = WEFT_CONDVAR_INIT};
    struct waiter w[WAITERS];
    weft_task *t[WAITERS];

    (void)arg;
    weft_condvar_signal(&b.changed); /* nobody waits: forgotten */
    weft_condvar_broadcast(&b.changed);
    line_up(&b, w, t);
    for (int i = 0; i < WAITERS; i++) {
        int count = -1;

        weft_condvar_signal(&b.changed);
        while (count != i + 1) {
            CHECK_EQ(0, weft_mutex_lock(&b.mutex));
            count = b.count;
            CHECK_EQ(0, weft_mutex_unlock(&b.mutex));
            CHECK_EQ(0, weft_yield());
        }
        CHECK_EQ(i, b.ended[i]);
    }
    join_all(t);
    return 0;
}

TEST(a_signal_lets_the_oldest_go_on_and_is_not_stored)
{
    test_run(in_order, NULL);
}

END_TEST

static int all_at_once(void *arg)
{
    struct box b = {.mutex = WEFT_MUTEX_INIT};
    struct waiter w[WAITERS];
    weft_task *t[WAITERS];

    (void)arg;
    line_up(&b, w, t);
    CHECK_EQ(0, weft_mutex_lock(&b.mutex));
    weft_condvar_broadcast(&b.changed);
    CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, b.count); /* they have gone on, and wait for the mutex */
    CHECK_EQ(0, weft_mutex_unlock(&b.mutex));
    join_all(t);
    CHECK_EQ(WAITERS, b.count);
    return 0;
}

TEST(a_broadcast_lets_all_go_on_each_with_the_mutex)
{
    test_run(all_at_once, NULL);
}

END_TEST

/* --- giving up -------------------------------------------------------------------------------------- */

static int waits_plainly(void *arg)
{
    struct box *b = arg;
    int rc = weft_mutex_lock(&b->mutex);

    if (rc < 0)
        return rc;
    rc = weft_condvar_wait(&b->changed, &b->mutex);
    CHECK(weft_mutex_is_held(&b->mutex));
    CHECK_EQ(0, weft_mutex_unlock(&b->mutex));
    return rc;
}

static weft_future waits_future(void *arg)
{
    struct box *b = arg;

    return weft_condvar_wait_future(&b->changed);
}

static int waits_while_empty(void *arg)
{
    struct box *b = arg;
    int rc = weft_mutex_lock(&b->mutex);

    if (rc < 0)
        return rc;
    rc = weft_condvar_wait_while(&b->changed, &b->mutex, is_empty, b);
    CHECK(weft_mutex_is_held(&b->mutex));
    CHECK_EQ(0, weft_mutex_unlock(&b->mutex));
    return rc;
}

static int gives_up(void *arg)
{
    struct box b = {.mutex = WEFT_MUTEX_INIT};
    struct giveup once = {waits_plainly, waits_future, &b};
    struct giveup while_empty = {waits_while_empty, waits_future, &b};

    (void)arg;
    give_up(&once);
    give_up(&while_empty);
    CHECK_EQ(0, weft_mutex_lock(&b.mutex));
    CHECK_EQ(0, weft_mutex_unlock(&b.mutex));
    return 0;
}

TEST(who_gives_up_holds_the_mutex_again)
{
    test_run(gives_up, NULL);
}

END_TEST

/* A cancelled waiter waits for the mutex, which somebody holds over an await. */
static int cancelled_waiter(void *arg)
{
    struct box b = {.mutex = WEFT_MUTEX_INIT};
    weft_task *t = weft_spawn(waits_plainly, &b);
    int result = 1;

    (void)arg;
    until_idle(t);
    CHECK_EQ(0, weft_mutex_lock(&b.mutex));
    weft_cancel(t);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(0, weft_yield());
        CHECK(!weft_is_finished(t));
    }
    CHECK_EQ(0, weft_mutex_unlock(&b.mutex));
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
    return 0;
}

TEST(a_cancelled_waiter_waits_for_the_mutex)
{
    test_run(cancelled_waiter, NULL);
}

END_TEST

/* A signal that a waiter does not want any more goes to the next. */
static int passed_on(void *arg)
{
    struct box b = {.mutex = WEFT_MUTEX_INIT};
    weft_future first = weft_condvar_wait_future(&b.changed), second;
    weft_task *t;
    int result = 1;

    (void)arg;
    CHECK(!weft_notify_enable(&first));
    t = weft_spawn(waits_plainly, &b);
    until_idle(t);
    weft_condvar_signal(&b.changed);
    weft_future_drop(&first);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(0, result);
    /* With nobody left it is forgotten. */
    first = weft_condvar_wait_future(&b.changed);
    CHECK(!weft_notify_enable(&first));
    weft_condvar_signal(&b.changed);
    weft_future_drop(&first);
    second = weft_condvar_wait_future(&b.changed);
    CHECK(!weft_notify_enable(&second));
    weft_future_drop(&second);

    /* What has come wins over the cancel. */
    t = weft_spawn(waits_plainly, &b);
    until_idle(t);
    weft_condvar_signal(&b.changed);
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(0, result);
    return 0;
}

TEST(a_signal_is_not_lost_with_a_waiter_that_goes)
{
    test_run(passed_on, NULL);
}

END_TEST

/* --- the mutex meanwhile -------------------------------------------------------------------------------- */

static int dies_with_it(void *arg)
{
    struct box *b = arg;

    CHECK_EQ(0, weft_mutex_lock(&b->mutex));
    weft_condvar_signal(&b->changed);
    weft_panic("on purpose");
}

static int owner_dies(void *arg)
{
    struct box b = {.mutex = WEFT_MUTEX_INIT};
    weft_task *t = weft_spawn(waits_plainly, &b), *dead;
    int result = 1;

    (void)arg;
    until_idle(t);
    dead = weft_spawn(dies_with_it, &b);
    CHECK_EQ(0, weft_join(dead, &result));
    CHECK_EQ(-EOWNERDEAD, result);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-EOWNERDEAD, result);
    return 0;
}

TEST(a_waiter_is_told_that_the_holder_has_died)
{
    test_run(owner_dies, NULL);
}

END_TEST

static int not_held(void *arg)
{
    struct box b = {.mutex = WEFT_MUTEX_INIT};

    (void)arg;
    CHECK_EQ(-EPERM, weft_condvar_wait(&b.changed, &b.mutex));
    CHECK_EQ(-EPERM, weft_condvar_wait_while(&b.changed, &b.mutex, is_empty, &b));
    CHECK_EQ(-EDEADLK, weft_condvar_wait_blocking(&b.changed, &b.mutex));
    b.value = 1;
    CHECK_EQ(0, weft_mutex_lock(&b.mutex));
    CHECK_EQ(0, weft_condvar_wait_while(&b.changed, &b.mutex, is_empty, &b));
    CHECK_EQ(0, weft_mutex_unlock(&b.mutex));
    return 0;
}

TEST(the_caller_must_hold_the_mutex)
{
    struct box b = {.mutex = WEFT_MUTEX_INIT};

    CHECK_EQ(-EPERM, weft_condvar_wait_blocking(&b.changed, &b.mutex));
    test_run(not_held, NULL);
}

END_TEST

/* --- a queue ----------------------------------------------------------------------------------------------- */

#define ROOM  3
#define USERS 3

struct queue {
    weft_mutex mutex;
    weft_condvar filled, emptied;
    int count; /* under the mutex */
    int each;
    atomic_int taken;
};

static bool queue_is_empty(void *arg)
{
    return ((struct queue *)arg)->count == 0;
}

static bool queue_is_full(void *arg)
{
    return ((struct queue *)arg)->count == ROOM;
}

static int fills(void *arg)
{
    struct queue *q = arg;

    for (int i = 0; i < q->each; i++) {
        CHECK_EQ(0, weft_mutex_lock(&q->mutex));
        CHECK_EQ(0, weft_condvar_wait_while(&q->emptied, &q->mutex, queue_is_full, q));
        q->count++;
        CHECK_EQ(0, weft_mutex_unlock(&q->mutex));
        weft_condvar_signal(&q->filled);
    }
    return 0;
}

static int empties(void *arg)
{
    struct queue *q = arg;

    for (int i = 0; i < q->each; i++) {
        CHECK_EQ(0, weft_mutex_lock(&q->mutex));
        CHECK_EQ(0, weft_condvar_wait_while(&q->filled, &q->mutex, queue_is_empty, q));
        q->count--;
        weft_condvar_signal(&q->emptied);
        CHECK_EQ(0, weft_mutex_unlock(&q->mutex));
        atomic_fetch_add(&q->taken, 1);
    }
    return 0;
}

static void *thread_empties(void *arg)
{
    struct queue *q = arg;

    for (int i = 0; i < q->each; i++) {
        CHECK_EQ(0, weft_mutex_lock_blocking(&q->mutex));
        while (q->count == 0)
            CHECK_EQ(0, weft_condvar_wait_blocking(&q->filled, &q->mutex));
        CHECK(weft_mutex_is_held(&q->mutex));
        q->count--;
        CHECK_EQ(0, weft_mutex_unlock(&q->mutex));
        weft_condvar_signal(&q->emptied);
        atomic_fetch_add(&q->taken, 1);
    }
    return NULL;
}

struct stackless {
    weft_async async;
    struct queue *q;
    int left;
    weft_future lock, filled;
};

/* The same without a stack: in line, unlocked, told, locked. */
static weft_poll stackless_empties(void *self, weft_context *cx)
{
    struct stackless *s = self;

    WEFT_ASYNC_BEGIN(s);
    for (; s->left > 0; s->left--) {
        s->lock = weft_mutex_lock_future(&s->q->mutex);
        WEFT_AWAIT(s, cx, &s->lock);
        while (s->q->count == 0) {
            s->filled = weft_condvar_wait_future(&s->q->filled);
            CHECK(!weft_notify_enable(&s->filled));
            CHECK_EQ(0, weft_mutex_unlock(&s->q->mutex));
            WEFT_AWAIT(s, cx, &s->filled);
            CHECK_EQ(0, s->filled.result);
            s->lock = weft_mutex_lock_future(&s->q->mutex);
            WEFT_AWAIT(s, cx, &s->lock);
        }
        s->q->count--;
        CHECK_EQ(0, weft_mutex_unlock(&s->q->mutex));
        weft_condvar_signal(&s->q->emptied);
        atomic_fetch_add(&s->q->taken, 1);
    }
    WEFT_RETURN(s, 0);
    WEFT_ASYNC_END(s);
}

static const weft_async_type stackless_type = {.poll = stackless_empties,
                                               .size = sizeof(struct stackless)};

static int queue(void *arg)
{
    struct queue q = {.each = (int)test_scaled(300)};
    struct stackless s = {.q = &q, .left = q.each};
    weft_task *t[2 * USERS];
    pthread_t thread;

    (void)arg;
    for (int i = 0; i < USERS; i++)
        t[i] = weft_spawn(fills, &q);
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_empties, &q));
    t[USERS] = weft_spawn(empties, &q);
    t[USERS + 1] = weft_spawn_async(&stackless_type, &s);
    for (int i = 0; i < USERS + 2; i++)
        CHECK_EQ(0, weft_join(t[i], NULL));
    CHECK_EQ(0, pthread_join(thread, NULL));
    CHECK_EQ(3 * q.each, atomic_load(&q.taken));
    CHECK_EQ(0, q.count);
    return 0;
}

TEST(fibers_stackless_tasks_and_threads_share_a_queue)
{
    test_run(queue, NULL);
}

END_TEST

TEST_MAIN("condvar", a_signal_lets_the_oldest_go_on_and_is_not_stored,
          a_broadcast_lets_all_go_on_each_with_the_mutex, who_gives_up_holds_the_mutex_again,
          a_cancelled_waiter_waits_for_the_mutex, a_signal_is_not_lost_with_a_waiter_that_goes,
          a_waiter_is_told_that_the_holder_has_died, the_caller_must_hold_the_mutex,
          fibers_stackless_tasks_and_threads_share_a_queue)
