/* SPDX-License-Identifier: MIT */
/*
 * test_broadcast_wait.c - waiting on a broadcast channel: who is woken and how often, giving up, closing meanwhile,
 * and waiting until no receiver is left.
 */
#include "waiting.h"

#include <pthread.h>

static void make(weft_broadcast_sender **tx, weft_broadcast_receiver **rx, size_t capacity)
{
    CHECK_EQ(0, weft_broadcast_new(tx, rx, sizeof(int), capacity));
}

static int receives_one(void *arg)
{
    int got = -1, rc = weft_broadcast_recv(arg, &got);

    return rc == 1 ? got : rc;
}

/* --- being woken -------------------------------------------------------------------- */

static int wakes(void *arg)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    weft_task *t;

    (void)arg;
    make(&tx, &rx, 1);
    t = weft_spawn(receives_one, rx);
    until_idle(t);
    CHECK_EQ(1, weft_broadcast_send(tx, &(int){5}));
    CHECK_EQ(5, joined(t));
    t = weft_spawn(receives_one, rx);
    until_idle(t);
    weft_broadcast_sender_close(tx);
    CHECK_EQ(0, joined(t));
    weft_broadcast_receiver_close(rx);
    return 0;
}

TEST(a_value_or_the_end_wakes_who_waits)
{
    test_run(wakes, NULL);
}

END_TEST

/* A receiver that is woken late has missed some by then. */
static int wakes_late(void *arg)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    struct poller poller = {0};
    weft_future f;
    int got = -1;

    (void)arg;
    poller_init(&poller);
    make(&tx, &rx, 2);
    f = weft_broadcast_recv_future(rx, &got);
    CHECK_EQ(WEFT_PENDING, poller_poll(&poller, &f));
    for (int i = 1; i <= 5; i++)
        CHECK_EQ(1, weft_broadcast_send(tx, &i));
    CHECK_EQ(1, atomic_load(&poller.wakes));
    CHECK_EQ(WEFT_READY, poller_poll(&poller, &f));
    CHECK_EQ(-EOVERFLOW, f.result);
    CHECK_EQ(3, weft_broadcast_missed(rx));
    CHECK_EQ(1, weft_broadcast_try_recv(rx, &got));
    CHECK_EQ(4, got);
    CHECK_EQ(0, atomic_load(&poller.refs));
    weft_broadcast_receiver_close(rx);
    weft_broadcast_sender_close(tx);
    return 0;
}

TEST(who_is_woken_late_is_told_what_it_missed)
{
    test_run(wakes_late, NULL);
}

END_TEST

/* More than are woken in one go; each of them waits again the moment it is woken. */
#define CROWD 100

static struct listener {
    struct poller poller; /* first */
    weft_broadcast_receiver *rx;
    weft_future f;
    int got, received;
} crowd[CROWD];

static void listener_listens(struct listener *l)
{
    do
        l->f = weft_broadcast_recv_future(l->rx, &l->got);
    while (poller_poll(&l->poller, &l->f) == WEFT_READY && l->f.result == 1 && ++l->received);
}

static void listener_on_wake(struct poller *p)
{
    struct listener *l = (struct listener *)p;

    /* It is ready: to be polled to the end first, and then anew. */
    CHECK_EQ(WEFT_READY, poller_poll(&l->poller, &l->f));
    CHECK_EQ(1, l->f.result);
    l->received++;
    listener_listens(l);
}

TEST(a_send_wakes_each_who_waits_once)
{
    weft_broadcast_sender *tx;

    make(&tx, NULL, 4);
    for (int i = 0; i < CROWD; i++) {
        poller_init(&crowd[i].poller);
        crowd[i].poller.on_wake = listener_on_wake;
        CHECK_EQ(0, weft_broadcast_subscribe(tx, &crowd[i].rx));
        listener_listens(&crowd[i]);
    }
    for (int n = 1; n <= 10; n++) {
        CHECK_EQ(CROWD, weft_broadcast_send(tx, &n));
        for (int i = 0; i < CROWD; i++) {
            CHECK_EQ(n, atomic_load(&crowd[i].poller.wakes));
            CHECK_EQ(n, crowd[i].received);
            CHECK_EQ(n, crowd[i].got);
        }
    }
    for (int i = 0; i < CROWD; i++) {
        weft_future_drop(&crowd[i].f);
        CHECK_EQ(0, atomic_load(&crowd[i].poller.refs));
        weft_broadcast_receiver_close(crowd[i].rx);
    }
    weft_broadcast_sender_close(tx);
}

END_TEST

TEST(who_polls_last_is_woken)
{
    struct poller first = {0}, second = {0};
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    weft_future f;
    int got;

    poller_init(&first);
    poller_init(&second);
    make(&tx, &rx, 1);
    f = weft_broadcast_recv_future(rx, &got);
    CHECK_EQ(WEFT_PENDING, poller_poll(&first, &f));
    CHECK_EQ(WEFT_PENDING, poller_poll(&first, &f));
    CHECK_EQ(1, atomic_load(&first.refs));
    CHECK_EQ(WEFT_PENDING, poller_poll(&second, &f));
    CHECK_EQ(0, atomic_load(&first.refs));
    CHECK_EQ(1, weft_broadcast_send(tx, &(int){1}));
    CHECK_EQ(0, atomic_load(&first.wakes));
    CHECK_EQ(1, atomic_load(&second.wakes));
    CHECK_EQ(WEFT_READY, poller_poll(&second, &f));
    CHECK_EQ(0, atomic_load(&second.refs));
    weft_broadcast_receiver_close(rx);
    weft_broadcast_sender_close(tx);
}

END_TEST

/* --- giving up ---------------------------------------------------------------------- */

static int recv_unused(void *rx)
{
    int unused;

    return weft_broadcast_recv(rx, &unused);
}

static weft_future recv_unused_future(void *rx)
{
    static int unused;

    return weft_broadcast_recv_future(rx, &unused);
}

static int wait_closed(void *tx)
{
    return weft_broadcast_closed(tx);
}

static weft_future wait_closed_future(void *tx)
{
    return weft_broadcast_closed_future(tx);
}

static int gives_up_receiving(void *arg)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    int got;

    (void)arg;
    make(&tx, &rx, 4);
    give_up(&(struct giveup){recv_unused, recv_unused_future, rx});
    for (int i = 1; i <= 3; i++)
        CHECK_EQ(1, weft_broadcast_send(tx, &i));
    for (int i = 1; i <= 3; i++) {
        CHECK_EQ(1, weft_broadcast_recv(rx, &got));
        CHECK_EQ(i, got);
    }
    weft_broadcast_receiver_close(rx);
    weft_broadcast_sender_close(tx);
    return 0;
}

TEST(a_receive_that_was_given_up_has_received_nothing)
{
    test_run(gives_up_receiving, NULL);
}

END_TEST

/* Also when the value had come, and the receiver had been called for it. */
static int gives_up_when_called(void *arg)
{
    struct poller poller = {0};
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    weft_future f;
    int got;

    (void)arg;
    poller_init(&poller);
    make(&tx, &rx, 4);
    f = weft_broadcast_recv_future(rx, &got);
    CHECK_EQ(WEFT_PENDING, poller_poll(&poller, &f));
    CHECK_EQ(1, weft_broadcast_send(tx, &(int){1}));
    weft_future_drop(&f);
    CHECK(atomic_load(&poller.wakes) == 1 && atomic_load(&poller.refs) == 0);
    CHECK_EQ(1, weft_broadcast_recv(rx, &got));
    CHECK_EQ(1, got);
    weft_broadcast_receiver_close(rx);
    weft_broadcast_sender_close(tx);
    return 0;
}

TEST(a_value_is_not_lost_with_who_was_called_for_it)
{
    test_run(gives_up_when_called, NULL);
}

END_TEST

/* A value that is there wins over a cancellation, in an await that waited. */
static int cancelled_and_served(void *arg)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    weft_task *t;
    int got, first;

    (void)arg;
    make(&tx, &rx, 4);
    t = weft_spawn(receives_one, rx);
    until_idle(t);
    CHECK_EQ(1, weft_broadcast_send(tx, &(int){1}));
    weft_cancel(t);
    first = joined(t);
    CHECK(first == 1 || first == -ECANCELED);
    CHECK_EQ(1, weft_broadcast_send(tx, &(int){2}));
    CHECK_EQ(1, weft_broadcast_recv(rx, &got));
    CHECK_EQ(first == 1 ? 2 : 1, got); /* nothing was lost, nothing comes twice */
    weft_broadcast_receiver_close(rx);
    weft_broadcast_sender_close(tx);
    return 0;
}

TEST(a_cancelled_receive_has_the_value_or_leaves_it)
{
    test_run(cancelled_and_served, NULL);
}

END_TEST

/* --- more than one, and closing meanwhile ----------------------------------------------- */

static int second_waiter(void *arg)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    weft_future f;
    weft_task *t;
    int got = -1;

    (void)arg;
    make(&tx, &rx, 4);
    t = weft_spawn(receives_one, rx);
    until_idle(t);
    CHECK_EQ(-EBUSY, weft_broadcast_recv(rx, &got));
    f = weft_broadcast_recv_future(rx, &got);
    CHECK_EQ(-EBUSY, weft_await(&f));
    CHECK_EQ(-EAGAIN, weft_broadcast_try_recv(rx, &got)); /* which does not wait */
    CHECK_EQ(1, weft_broadcast_send(tx, &(int){3}));
    CHECK_EQ(3, joined(t));
    t = weft_spawn(receives_one, rx); /* and now again */
    until_idle(t);
    CHECK_EQ(1, weft_broadcast_send(tx, &(int){4}));
    CHECK_EQ(4, joined(t));
    weft_broadcast_receiver_close(rx);
    weft_broadcast_sender_close(tx);
    return 0;
}

TEST(one_waits_with_a_receiver)
{
    test_run(second_waiter, NULL);
}

END_TEST

/* What was left pending receives nothing by itself, and need not be the next to receive. */
static int kept(void *arg)
{
    weft_future now = weft_ready_future(0), f;
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    int got = -1, other = -1;

    (void)arg;
    make(&tx, &rx, 4);
    f = weft_broadcast_recv_future(rx, &got);
    CHECK_EQ(1, weft_select_n((weft_future *const[]){&f, &now}, 2,
                              WEFT_SELECT_BIASED | WEFT_SELECT_KEEP));
    CHECK_EQ(1, weft_broadcast_send(tx, &(int){1}));
    CHECK_EQ(1, weft_broadcast_send(tx, &(int){2}));
    CHECK_EQ(1, weft_broadcast_try_recv(rx, &other));
    CHECK_EQ(1, other);
    CHECK_EQ(1, weft_await(&f));
    CHECK_EQ(2, got);
    weft_broadcast_receiver_close(rx);
    weft_broadcast_sender_close(tx);
    return 0;
}

TEST(a_future_that_was_kept_takes_what_is_next_when_it_is_polled)
{
    test_run(kept, NULL);
}

END_TEST

/* In a stackless task: its future is in its state. */
struct adder {
    weft_async async;
    weft_broadcast_receiver *rx;
    weft_future f;
    int got, sum;
};

static weft_poll adder_poll(void *self, weft_context *cx)
{
    struct adder *a = self;

    WEFT_ASYNC_BEGIN(a);
    do {
        a->f = weft_broadcast_recv_future(a->rx, &a->got);
        WEFT_AWAIT(a, cx, &a->f);
        a->sum += a->f.result == 1 ? a->got : 0;
    } while (a->f.result == 1);
    WEFT_RETURN(a, a->f.result < 0 ? (int)a->f.result : a->sum);
    WEFT_ASYNC_END(a);
}

static void adder_drop(void *self)
{
    weft_broadcast_receiver_close(((struct adder *)self)->rx);
}

static const weft_async_type adder_type = {.poll = adder_poll,
                                           .drop = adder_drop,
                                           .size = sizeof(struct adder),
                                           .name = "adder"};

static int stackless(void *arg)
{
    weft_broadcast_sender *tx;
    struct adder a = {0}, b = {0};
    weft_task *t, *other;

    (void)arg;
    make(&tx, &a.rx, 500);
    CHECK_EQ(0, weft_broadcast_subscribe(tx, &b.rx));
    t = weft_spawn_async(&adder_type, &a);
    other = weft_spawn_async(&adder_type, &b);
    for (int i = 1; i <= 200; i++) {
        CHECK(weft_broadcast_send(tx, &i) >= 1);
        if (i == 100) {
            until_idle(other);
            weft_cancel(other); /* drops its future, and then its state */
            CHECK_EQ(-ECANCELED, joined(other));
        }
    }
    CHECK_EQ(1, weft_broadcast_receiver_count(tx));
    weft_broadcast_sender_close(tx);
    CHECK_EQ(200 * 201 / 2, joined(t));
    return 0;
}

TEST(stackless_tasks_receive_too)
{
    test_run(stackless, NULL);
}

END_TEST

/* A receiver that always finds a value does not keep others from running. */
static int counts_turns(void *arg)
{
    atomic_int *turns = arg;

    while (weft_yield() == 0)
        atomic_fetch_add(turns, 1);
    return 0;
}

static int takes_turns(void *arg)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    atomic_int turns = 0;
    weft_task *t;
    int got, before;

    (void)arg;
    make(&tx, &rx, 1000);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(1, weft_broadcast_send(tx, &i));
    t = weft_spawn(counts_turns, &turns);
    while (atomic_load(&turns) == 0)
        CHECK_EQ(0, weft_yield());
    before = atomic_load(&turns);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(1, weft_broadcast_recv(rx, &got));
    CHECK(atomic_load(&turns) - before >= 6); /* 1000 operations, 128 for each poll */
    weft_cancel(t);
    CHECK_EQ(0, joined(t));
    weft_broadcast_receiver_close(rx);
    weft_broadcast_sender_close(tx);
    return 0;
}

TEST(receiving_gives_way_to_others)
{
    test_run_on(&test_flavours[0], takes_turns, NULL);
}

END_TEST

/* --- until no receiver is left -------------------------------------------------------- */

static int last_receiver(void *arg)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx, *more;
    weft_task *t;

    (void)arg;
    make(&tx, NULL, 1);
    CHECK_EQ(0, weft_broadcast_closed(tx)); /* there never was one */
    CHECK_EQ(0, weft_broadcast_subscribe(tx, &rx));
    CHECK_EQ(0, weft_broadcast_subscribe(tx, &more));
    t = weft_spawn(wait_closed, tx);
    until_idle(t);
    weft_broadcast_receiver_close(rx);
    until_idle(t);
    CHECK(!weft_is_finished(t));
    weft_broadcast_receiver_close(more);
    /* It was so, even if it is not any more when the task runs. */
    CHECK_EQ(0, weft_broadcast_subscribe(tx, &rx));
    CHECK_EQ(0, joined(t));
    weft_broadcast_receiver_close(rx);
    weft_broadcast_sender_close(tx);
    return 0;
}

TEST(a_sender_learns_that_the_last_receiver_is_gone)
{
    test_run(last_receiver, NULL);
}

END_TEST

static int gives_up_the_end(void *arg)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;

    (void)arg;
    make(&tx, &rx, 1);
    give_up(&(struct giveup){wait_closed, wait_closed_future, tx});
    weft_broadcast_receiver_close(rx);
    CHECK_EQ(0, weft_broadcast_closed(tx));
    weft_broadcast_sender_close(tx);
    return 0;
}

TEST(waiting_for_the_last_receiver_may_be_given_up)
{
    test_run(gives_up_the_end, NULL);
}

END_TEST

static void *closes(void *arg)
{
    weft_broadcast_receiver_close(arg);
    return NULL;
}

TEST(a_plain_thread_waits_for_the_last_receiver)
{
    for (uint64_t i = test_scaled(300); i; i--) {
        weft_broadcast_sender *tx;
        weft_broadcast_receiver *rx;
        pthread_t thread;

        make(&tx, &rx, 1);
        CHECK_EQ(0, pthread_create(&thread, NULL, closes, rx));
        CHECK_EQ(0, weft_broadcast_closed_blocking(tx));
        weft_broadcast_sender_close(tx);
        CHECK_EQ(0, pthread_join(thread, NULL));
    }
}

END_TEST

TEST_MAIN("broadcast_wait", a_value_or_the_end_wakes_who_waits,
          who_is_woken_late_is_told_what_it_missed, a_send_wakes_each_who_waits_once,
          who_polls_last_is_woken, a_receive_that_was_given_up_has_received_nothing,
          a_value_is_not_lost_with_who_was_called_for_it,
          a_cancelled_receive_has_the_value_or_leaves_it, one_waits_with_a_receiver,
          a_future_that_was_kept_takes_what_is_next_when_it_is_polled, stackless_tasks_receive_too,
          receiving_gives_way_to_others, a_sender_learns_that_the_last_receiver_is_gone,
          waiting_for_the_last_receiver_may_be_given_up, a_plain_thread_waits_for_the_last_receiver)
