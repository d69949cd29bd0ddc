/* SPDX-License-Identifier: MIT */
/*
 * test_mpsc_ends.c - queues of values: the end of either side, one receiver, and who may call.
 */
#include "channel.h"

#include <pthread.h>
#include <stdatomic.h>

static int wait_closed(void *tx)
{
    return weft_sender_closed(tx);
}

/* --- the end of the senders ------------------------------------------------------------ */

static int end_of_senders(void *arg)
{
    struct channel c = channel_new(4);
    weft_sender *second = weft_sender_clone(c.tx);
    weft_task *t;
    int got;

    (void)arg;
    send_all(c.tx, 1, 2);
    weft_sender_close(c.tx);
    CHECK(!weft_receiver_is_closed(c.rx));
    send_all(second, 3, 3);
    weft_sender_close(second);
    CHECK(weft_receiver_is_closed(c.rx));
    for (int i = 1; i <= 3; i++) {
        CHECK_EQ(1, weft_recv(c.rx, &got));
        CHECK_EQ(i, got);
    }
    CHECK_EQ(0, weft_try_recv(c.rx, &got));
    CHECK_EQ(0, weft_recv(c.rx, &got));
    CHECK_EQ(0, weft_recv_many(c.rx, &got, 1));
    weft_receiver_close(c.rx);

    /* Who waits is told. */
    c = channel_new(4);
    t = spawn_waiting(receive_one, &c);
    weft_sender_close(c.tx);
    CHECK_EQ(0, join(t));
    weft_receiver_close(c.rx);
    return 0;
}

TEST(a_receive_gives_0_once_all_senders_are_closed_and_the_queue_is_drained)
{
    test_run(end_of_senders, NULL);
}

static int weak_ones(void *arg)
{
    struct channel c = channel_new(4);
    weft_weak_sender *weak = weft_sender_downgrade(c.tx), *other = weft_weak_sender_clone(weak);
    weft_sender *tx;
    int got;

    (void)arg;
    CHECK_EQ(1, weft_sender_strong_count(c.tx));
    CHECK_EQ(2, weft_sender_weak_count(c.tx));
    tx = weft_weak_sender_upgrade(weak);
    CHECK(tx && weft_sender_same_channel(tx, c.tx));
    CHECK_EQ(2, weft_weak_sender_strong_count(weak));
    send_all(tx, 1, 1);
    weft_sender_close(tx);
    weft_sender_close(c.tx);
    CHECK(weft_weak_sender_upgrade(weak) == NULL); /* and never again */
    CHECK_EQ(1, weft_recv(c.rx, &got));
    CHECK_EQ(0, weft_recv(c.rx, &got));
    weft_weak_sender_close(weak);
    CHECK_EQ(1, weft_weak_sender_weak_count(other));
    weft_receiver_close(c.rx);
    CHECK(weft_weak_sender_upgrade(other) == NULL); /* the last one holds the memory */
    weft_weak_sender_close(other);
    return 0;
}

TEST(a_weak_sender_does_not_keep_the_channel_open)
{
    test_run(weak_ones, NULL);
}

/* --- the end of the receiver -------------------------------------------------------------- */

static atomic_int destroyed;

static void destroy_int(void *value)
{
    atomic_fetch_add(&destroyed, *(int *)value);
}

static int end_of_receiver(void *arg)
{
    static const weft_channel_options options = {.destroy = destroy_int};
    struct numbered n[CROWD];
    weft_task *t[CROWD], *closed;
    struct channel c;

    (void)arg;
    atomic_store(&destroyed, 0);
    CHECK_EQ(0, weft_mpsc_new_with(&c.tx, &c.rx, sizeof(int), 3, &options));
    send_all(c.tx, 1, 3);
    for (int i = 0; i < CROWD; i++) {
        n[i] = (struct numbered){c.tx, 1000};
        t[i] = spawn_waiting(send_number, &n[i]);
    }
    closed = spawn_waiting(wait_closed, c.tx);
    CHECK(!weft_sender_is_closed(c.tx));
    weft_receiver_close(c.rx);
    CHECK_EQ(1 + 2 + 3, atomic_load(&destroyed)); /* not those that were never sent */
    for (int i = 0; i < CROWD; i++)
        CHECK_EQ(-EPIPE, join(t[i]));
    CHECK_EQ(0, join(closed));
    CHECK(weft_sender_is_closed(c.tx));
    CHECK_EQ(-EPIPE, weft_send(c.tx, &(int){1}));
    CHECK_EQ(-EPIPE, weft_try_send(c.tx, &(int){1}));
    CHECK_EQ(0, weft_sender_closed(c.tx));
    CHECK_EQ(6, atomic_load(&destroyed));
    weft_sender_close(c.tx);
    return 0;
}

TEST(closing_the_receiver_destroys_what_is_queued_and_refuses_sends)
{
    test_run(end_of_receiver, NULL);
}

static int all_are_destroyed(void *arg)
{
    static const weft_channel_options options = {.destroy = destroy_int};
    struct channel c;
    int got;

    (void)arg;
    atomic_store(&destroyed, 0);
    CHECK_EQ(0, weft_mpsc_unbounded_with(&c.tx, &c.rx, sizeof(int), &options));
    for (int i = 0; i < 3000; i++) {
        CHECK_EQ(0, weft_send(c.tx, &(int){1}));
        if (i % 3 == 0)
            CHECK_EQ(1, weft_recv(c.rx, &got));
    }
    weft_receiver_close(c.rx);
    CHECK_EQ(2000, atomic_load(&destroyed));
    weft_sender_close(c.tx);
    return 0;
}

TEST(of_a_long_queue_every_value_is_destroyed_that_nobody_received)
{
    test_run(all_are_destroyed, NULL);
}

static int shut_down(void *arg)
{
    struct channel c = channel_new(2);
    struct numbered n = {c.tx, 9};
    weft_task *t, *closed;
    int got;

    (void)arg;
    send_all(c.tx, 1, 2);
    t = spawn_waiting(send_number, &n);
    closed = spawn_waiting(wait_closed, c.tx);
    weft_receiver_shutdown(c.rx);
    CHECK(weft_receiver_is_closed(c.rx) && weft_sender_is_closed(c.tx));
    CHECK_EQ(-EPIPE, join(t));
    CHECK_EQ(0, join(closed));
    CHECK_EQ(-EPIPE, weft_send(c.tx, &(int){3}));
    weft_receiver_shutdown(c.rx); /* twice is as good */
    for (int i = 1; i <= 2; i++) {
        CHECK_EQ(1, weft_recv(c.rx, &got));
        CHECK_EQ(i, got);
    }
    CHECK_EQ(0, weft_recv(c.rx, &got)); /* although there is a sender */
    channel_close(c);

    /* It ends a receive that waits. */
    c = channel_new(2);
    t = spawn_waiting(receive_one, &c);
    weft_receiver_shutdown(c.rx);
    CHECK_EQ(0, join(t));
    channel_close(c);
    return 0;
}

TEST(a_receiver_that_was_shut_down_still_gives_what_is_queued)
{
    test_run(shut_down, NULL);
}

static int call_closed(void *arg)
{
    return weft_sender_closed(((struct channel *)arg)->tx);
}

static weft_future future_closed(void *arg)
{
    return weft_sender_closed_future(((struct channel *)arg)->tx);
}

static void still_open(void *arg)
{
    CHECK(!weft_sender_is_closed(((struct channel *)arg)->tx));
}

static int cancelled_watchers(void *arg)
{
    struct channel c = channel_new(1);
    struct giveup call = {call_closed, future_closed, &c};
    weft_task *t[3];

    (void)arg;
    give_up(&call);
    still_open(&c);
    for (int i = 0; i < 3; i++)
        t[i] = spawn_waiting(wait_closed, c.tx);
    weft_receiver_close(c.rx);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(0, join(t[i]));
    weft_sender_close(c.tx);
    return 0;
}

TEST(any_number_of_tasks_may_wait_for_the_receivers_end_and_give_up)
{
    test_run(cancelled_watchers, NULL);
}

/* --- one receiver --------------------------------------------------------------------------- */

static int second_receiver(void *arg)
{
    struct channel c = channel_new(2);
    weft_task *t = spawn_waiting(receive_one, &c);
    weft_future f;
    int got;

    (void)arg;
    CHECK_EQ(-EBUSY, weft_recv(c.rx, &got));
    CHECK_EQ(-EBUSY, weft_try_recv(c.rx, &got));
    CHECK_EQ(-EBUSY, weft_recv_many(c.rx, &got, 1));
    f = weft_recv_future(c.rx, &got);
    CHECK_EQ(-EBUSY, weft_await(&f));
    send_all(c.tx, 1, 1);
    CHECK_EQ(1, join(t));
    send_all(c.tx, 2, 2);
    receive_all(c.rx, 2, 2);
    channel_close(c);
    return 0;
}

TEST(a_second_receive_is_busy_while_the_first_waits)
{
    test_run(second_receiver, NULL);
}

/* --- who may call -------------------------------------------------------------------------------- */

#define THREAD_VALUES 3000

static void *thread_sends(void *arg)
{
    struct channel *c = arg;

    for (int i = 1; i <= THREAD_VALUES; i++)
        CHECK_EQ(0, weft_send_blocking(c->tx, &i));
    weft_sender_close(c->tx);
    return NULL;
}

static int sum_up(void *arg)
{
    struct channel *c = arg;
    int got, next = 1;

    while (weft_recv(c->rx, &got) == 1)
        CHECK_EQ(next++, got);
    return next - 1;
}

static int from_a_thread(void *arg)
{
    struct channel c = channel_new(3);
    pthread_t thread;

    (void)arg;
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_sends, &c));
    CHECK_EQ(THREAD_VALUES, sum_up(&c));
    CHECK_EQ(0, pthread_join(thread, NULL));
    weft_receiver_close(c.rx);
    return 0;
}

TEST(a_plain_thread_sends_to_a_task)
{
    test_run(from_a_thread, NULL);
}

static void *thread_receives(void *arg)
{
    struct channel *c = arg;
    int got[5], next = 1;
    ssize_t n;

    for (; next < THREAD_VALUES / 2; next++) {
        CHECK_EQ(1, weft_recv_blocking(c->rx, got));
        CHECK_EQ(next, got[0]);
    }
    while ((n = weft_recv_many_blocking(c->rx, got, 5)) > 0)
        for (ssize_t i = 0; i < n; i++)
            CHECK_EQ(next++, got[i]);
    CHECK_EQ(0, n);
    CHECK_EQ(THREAD_VALUES + 1, next);
    weft_receiver_close(c->rx);
    return NULL;
}

static int send_up(void *arg)
{
    struct channel *c = arg;

    for (int i = 1; i <= THREAD_VALUES; i++)
        CHECK_EQ(0, weft_send(c->tx, &i));
    weft_sender_close(c->tx);
    return 0;
}

static int to_a_thread(void *arg)
{
    struct channel c = channel_new(3);
    pthread_t thread;

    (void)arg;
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_receives, &c));
    CHECK_EQ(0, send_up(&c));
    CHECK_EQ(0, pthread_join(thread, NULL));
    return 0;
}

TEST(a_task_sends_to_a_plain_thread)
{
    test_run(to_a_thread, NULL);
}

/* No runtime at all. */
static void *thread_waits_for_the_end(void *arg)
{
    CHECK_EQ(0, weft_sender_closed_blocking(((struct channel *)arg)->tx));
    return NULL;
}

TEST(threads_need_no_runtime)
{
    struct channel c = channel_new(1), d = channel_new(1);
    pthread_t sender, watcher;

    CHECK_EQ(0, pthread_create(&sender, NULL, thread_sends, &c));
    thread_receives(&c);
    CHECK_EQ(0, pthread_join(sender, NULL));
    CHECK_EQ(0, pthread_create(&watcher, NULL, thread_waits_for_the_end, &d));
    weft_receiver_close(d.rx);
    CHECK_EQ(0, pthread_join(watcher, NULL));
    weft_sender_close(d.tx);
}

struct relay {
    weft_async async;
    weft_receiver *from;
    weft_sender *to;
    int value;
    weft_future f;
};

static weft_poll relay_poll(void *self, weft_context *cx)
{
    struct relay *r = self;

    WEFT_ASYNC_BEGIN(r);
    for (;;) {
        r->f = weft_recv_future(r->from, &r->value);
        WEFT_AWAIT(r, cx, &r->f);
        if (r->f.result != 1)
            break;
        r->f = weft_send_future(r->to, &r->value);
        WEFT_AWAIT(r, cx, &r->f);
        CHECK_EQ(0, r->f.result);
    }
    CHECK_EQ(0, r->f.result);
    weft_sender_close(r->to);
    WEFT_RETURN(r, 0);
    WEFT_ASYNC_END(r);
}

static const weft_async_type relay_type = {.poll = relay_poll, .size = sizeof(struct relay)};

static int through_a_stackless_task(void *arg)
{
    struct channel a = channel_new(2), b = channel_new(1);
    struct relay relay = {.from = a.rx, .to = b.tx};
    weft_task *r = weft_spawn_async(&relay_type, &relay), *s = weft_spawn(send_up, &a);

    (void)arg;
    CHECK_EQ(THREAD_VALUES, sum_up(&b));
    CHECK_EQ(0, join(r));
    CHECK_EQ(0, join(s));
    weft_receiver_close(a.rx);
    weft_receiver_close(b.rx);
    return 0;
}

TEST(a_stackless_task_sends_and_receives)
{
    test_run(through_a_stackless_task, NULL);
}

TEST_MAIN("mpsc_ends", a_receive_gives_0_once_all_senders_are_closed_and_the_queue_is_drained,
          a_weak_sender_does_not_keep_the_channel_open,
          closing_the_receiver_destroys_what_is_queued_and_refuses_sends,
          of_a_long_queue_every_value_is_destroyed_that_nobody_received,
          a_receiver_that_was_shut_down_still_gives_what_is_queued,
          any_number_of_tasks_may_wait_for_the_receivers_end_and_give_up,
          a_second_receive_is_busy_while_the_first_waits, a_plain_thread_sends_to_a_task,
          a_task_sends_to_a_plain_thread, threads_need_no_runtime,
          a_stackless_task_sends_and_receives)
