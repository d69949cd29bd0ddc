/* SPDX-License-Identifier: MIT */
/*
 * test_oneshot.c - channels for one value: who comes first, who waits, who gives up, who owns the value.
 */
#include "channel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct oneshot {
    weft_oneshot_sender *tx;
    weft_oneshot_receiver *rx;
};

static struct oneshot oneshot_new(void)
{
    struct oneshot c;

    CHECK_EQ(0, weft_oneshot_new(&c.tx, &c.rx, sizeof(int)));
    return c;
}

static atomic_int destroyed;

static void destroy_int(void *value)
{
    atomic_fetch_add(&destroyed, *(int *)value);
}

static struct oneshot oneshot_of_owners(void)
{
    static const weft_channel_options options = {.name = "answer", .destroy = destroy_int};
    struct oneshot c;

    atomic_store(&destroyed, 0);
    CHECK_EQ(0, weft_oneshot_new_with(&c.tx, &c.rx, sizeof(int), &options));
    return c;
}

static int receive(void *rx)
{
    int got = 0, rc = weft_oneshot_recv(rx, &got);

    return rc == 1 ? got : rc;
}

/* --- a value ------------------------------------------------------------------------- */

static int sent_first(void *arg)
{
    struct oneshot c = oneshot_new();
    int got = 0;

    (void)arg;
    CHECK(weft_oneshot_receiver_is_empty(c.rx));
    CHECK(!weft_oneshot_receiver_is_terminated(c.rx));
    CHECK_EQ(-EAGAIN, weft_oneshot_try_recv(c.rx, &got));
    CHECK_EQ(0, weft_oneshot_send(c.tx, &(int){5}));
    CHECK(!weft_oneshot_receiver_is_empty(c.rx));
    CHECK(!weft_oneshot_receiver_is_terminated(c.rx));
    CHECK_EQ(1, weft_oneshot_recv(c.rx, &got));
    CHECK_EQ(5, got);
    /* Once only. */
    CHECK(weft_oneshot_receiver_is_empty(c.rx));
    CHECK(weft_oneshot_receiver_is_terminated(c.rx));
    CHECK_EQ(0, weft_oneshot_recv(c.rx, &got));
    CHECK_EQ(0, weft_oneshot_try_recv(c.rx, &got));
    weft_oneshot_receiver_close(c.rx);
    return 0;
}

TEST(a_value_that_was_sent_is_received_at_once_and_once)
{
    test_run(sent_first, NULL);
}

static int awaited_first(void *arg)
{
    struct oneshot c = oneshot_new();
    weft_task *t = spawn_waiting(receive, c.rx);

    (void)arg;
    CHECK_EQ(0, weft_oneshot_send(c.tx, &(int){6}));
    CHECK_EQ(6, join(t));
    weft_oneshot_receiver_close(c.rx);
    return 0;
}

TEST(a_receive_waits_for_the_value)
{
    test_run(awaited_first, NULL);
}

/* Small ones lie in the channel, larger ones behind it, the largest in memory of their own. */
static int sizes(void *arg)
{
    static const size_t all[] = {0, 1, 4, 8, 9, 16, 60, 64, 65, 500, 9000, 9152, 9153, 100000};

    (void)arg;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        for (int named = 0; named < 2; named++) {
            const weft_channel_options options = {.name = named ? "n" : NULL};
            unsigned char *sent = malloc(all[i] + 1), *got = malloc(all[i] + 1);
            weft_channel_info info;
            struct oneshot c;

            memset(sent, (int)(i + 1), all[i] + 1);
            memset(got, 0, all[i] + 1);
            CHECK_EQ(0, weft_oneshot_new_with(&c.tx, &c.rx, all[i], &options));
            CHECK_EQ(0, weft_oneshot_send(c.tx, sent));
            CHECK_EQ(0, weft_oneshot_receiver_get_info(c.rx, &info));
            CHECK_STR(named ? "n" : "", info.name);
            CHECK_EQ(1, weft_oneshot_recv(c.rx, got));
            CHECK_EQ(0, memcmp(sent, got, all[i]));
            CHECK_EQ(0, got[all[i]]);
            weft_oneshot_receiver_close(c.rx);
            free(sent);
            free(got);
        }
    }
    return 0;
}

TEST(values_of_any_size_arrive_whole)
{
    test_run(sizes, NULL);
}

static int closed_without(void *arg)
{
    struct oneshot c = oneshot_new();
    weft_task *t;
    int got;

    (void)arg;
    weft_oneshot_sender_close(c.tx);
    CHECK(weft_oneshot_receiver_is_terminated(c.rx));
    CHECK_EQ(0, weft_oneshot_try_recv(c.rx, &got));
    CHECK_EQ(0, weft_oneshot_recv(c.rx, &got));
    weft_oneshot_receiver_close(c.rx);

    c = oneshot_new();
    t = spawn_waiting(receive, c.rx);
    weft_oneshot_sender_close(c.tx);
    CHECK_EQ(0, join(t));
    weft_oneshot_receiver_close(c.rx);
    return 0;
}

TEST(a_receive_gives_0_when_the_sender_is_closed_without_a_value)
{
    test_run(closed_without, NULL);
}

/* --- the receiver's end ------------------------------------------------------------------ */

static int receiver_gone(void *arg)
{
    struct oneshot c = oneshot_of_owners();

    (void)arg;
    CHECK(!weft_oneshot_sender_is_closed(c.tx));
    weft_oneshot_receiver_close(c.rx);
    CHECK(weft_oneshot_sender_is_closed(c.tx));
    CHECK_EQ(0, weft_oneshot_sender_closed(c.tx));
    CHECK_EQ(-EPIPE, weft_oneshot_send(c.tx, &(int){5}));
    CHECK_EQ(0, atomic_load(&destroyed)); /* the value is still ours */

    c = oneshot_of_owners();
    weft_oneshot_receiver_close(c.rx);
    weft_oneshot_sender_close(c.tx);
    CHECK_EQ(0, atomic_load(&destroyed));
    return 0;
}

TEST(a_send_to_a_closed_receiver_is_refused)
{
    test_run(receiver_gone, NULL);
}

static int not_received(void *arg)
{
    struct oneshot c = oneshot_of_owners();
    int got;

    (void)arg;
    CHECK_EQ(0, weft_oneshot_send(c.tx, &(int){5}));
    weft_oneshot_receiver_close(c.rx);
    CHECK_EQ(5, atomic_load(&destroyed));

    c = oneshot_of_owners();
    CHECK_EQ(0, weft_oneshot_send(c.tx, &(int){5}));
    CHECK_EQ(1, weft_oneshot_recv(c.rx, &got));
    weft_oneshot_receiver_close(c.rx);
    CHECK_EQ(0, atomic_load(&destroyed));
    return 0;
}

TEST(a_value_that_nobody_received_is_destroyed)
{
    test_run(not_received, NULL);
}

static int shut_down(void *arg)
{
    struct oneshot c = oneshot_of_owners();
    weft_task *t;
    int got;

    (void)arg;
    /* Before the send. */
    weft_oneshot_receiver_shutdown(c.rx);
    weft_oneshot_receiver_shutdown(c.rx);
    CHECK(weft_oneshot_sender_is_closed(c.tx));
    CHECK(weft_oneshot_receiver_is_terminated(c.rx));
    CHECK_EQ(0, weft_oneshot_recv(c.rx, &got));
    CHECK_EQ(-EPIPE, weft_oneshot_send(c.tx, &(int){5}));
    CHECK_EQ(0, weft_oneshot_try_recv(c.rx, &got));
    weft_oneshot_receiver_close(c.rx);
    CHECK_EQ(0, atomic_load(&destroyed));

    /* After it. */
    c = oneshot_of_owners();
    CHECK_EQ(0, weft_oneshot_send(c.tx, &(int){5}));
    weft_oneshot_receiver_shutdown(c.rx);
    CHECK(!weft_oneshot_receiver_is_terminated(c.rx));
    CHECK_EQ(1, weft_oneshot_recv(c.rx, &got));
    weft_oneshot_receiver_close(c.rx);

    /* While somebody waits. */
    c = oneshot_of_owners();
    t = spawn_waiting(receive, c.rx);
    weft_oneshot_receiver_shutdown(c.rx);
    CHECK_EQ(0, join(t));
    weft_oneshot_receiver_close(c.rx);
    CHECK_EQ(-EPIPE, weft_oneshot_send(c.tx, &(int){5}));
    return 0;
}

TEST(shutting_down_refuses_what_was_not_sent_yet_and_keeps_what_was)
{
    test_run(shut_down, NULL);
}

static int wait_closed(void *tx)
{
    return weft_oneshot_sender_closed(tx);
}

static int watched(void *arg)
{
    struct oneshot c = oneshot_of_owners();
    weft_task *t = spawn_waiting(wait_closed, c.tx);
    weft_future f;
    int got;

    (void)arg;
    CHECK_EQ(-EBUSY, weft_oneshot_sender_closed(c.tx)); /* a second one */
    weft_oneshot_receiver_close(c.rx);
    CHECK_EQ(0, join(t));
    CHECK_EQ(0, weft_oneshot_sender_closed(c.tx));
    CHECK_EQ(-EPIPE, weft_oneshot_send(c.tx, &(int){5}));

    c = oneshot_of_owners();
    t = spawn_waiting(wait_closed, c.tx);
    weft_oneshot_receiver_shutdown(c.rx);
    CHECK_EQ(0, join(t));
    weft_oneshot_sender_close(c.tx);
    weft_oneshot_receiver_close(c.rx);

    /* It has waited, and sends after all. */
    c = oneshot_of_owners();
    f = weft_oneshot_sender_closed_future(c.tx);
    CHECK_EQ(-ETIMEDOUT, weft_timeout(0, &f));
    CHECK_EQ(0, weft_oneshot_send(c.tx, &(int){5}));
    CHECK_EQ(1, weft_oneshot_recv(c.rx, &got));
    weft_oneshot_receiver_close(c.rx);

    c = oneshot_of_owners();
    f = weft_oneshot_sender_closed_future(c.tx);
    CHECK_EQ(-ETIMEDOUT, weft_timeout(0, &f));
    CHECK_EQ(0, weft_oneshot_send(c.tx, &(int){5}));
    weft_oneshot_receiver_close(c.rx);
    CHECK_EQ(5, atomic_load(&destroyed));
    return 0;
}

TEST(a_sender_may_wait_for_the_receivers_end)
{
    test_run(watched, NULL);
}

/* --- cancelling ---------------------------------------------------------------------------- */

static int call_recv(void *arg)
{
    int got;

    return weft_oneshot_recv(((struct oneshot *)arg)->rx, &got);
}

static int place;

static weft_future future_recv(void *arg)
{
    return weft_oneshot_recv_future(((struct oneshot *)arg)->rx, &place);
}

static int call_closed(void *arg)
{
    return weft_oneshot_sender_closed(((struct oneshot *)arg)->tx);
}

static weft_future future_closed(void *arg)
{
    return weft_oneshot_sender_closed_future(((struct oneshot *)arg)->tx);
}

static void still_open(void *arg)
{
    struct oneshot *c = arg;
    int got;

    CHECK_EQ(-EAGAIN, weft_oneshot_try_recv(c->rx, &got));
    CHECK(!weft_oneshot_sender_is_closed(c->tx));
}

static int cancelled(void *arg)
{
    struct oneshot c = oneshot_new();
    struct giveup receives = {call_recv, future_recv, &c};
    struct giveup watches = {call_closed, future_closed, &c};
    int got = 0;

    (void)arg;
    give_up(&receives);
    still_open(&c);
    give_up(&watches);
    still_open(&c);
    give_up(&receives);
    still_open(&c);
    CHECK_EQ(0, weft_oneshot_send(c.tx, &(int){8}));
    CHECK_EQ(1, weft_oneshot_recv(c.rx, &got));
    CHECK_EQ(8, got);
    weft_oneshot_receiver_close(c.rx);
    return 0;
}

TEST(who_waits_at_either_end_may_be_cancelled)
{
    test_run(cancelled, NULL);
}

/* Woken by the value, and dropped before it is polled: the value stays. */
static int dropped_after_the_wake(void *arg)
{
    struct oneshot c = oneshot_new();
    int got = 0;
    weft_future f = weft_oneshot_recv_future(c.rx, &got);

    (void)arg;
    keep_pending(&f);
    CHECK_EQ(0, weft_oneshot_send(c.tx, &(int){8}));
    weft_future_drop(&f);
    CHECK_EQ(0, got);
    CHECK_EQ(1, weft_oneshot_recv(c.rx, &got));
    CHECK_EQ(8, got);
    weft_oneshot_receiver_close(c.rx);
    return 0;
}

TEST(the_value_stays_when_the_receive_that_it_woke_is_dropped)
{
    test_run(dropped_after_the_wake, NULL);
}

static int is_cancelled_first(void *arg)
{
    struct oneshot *c = arg;
    int got;

    weft_cancel(weft_task_self());
    CHECK_EQ(-ECANCELED, weft_oneshot_recv(c->rx, &got));
    CHECK_EQ(0, weft_oneshot_send(c->tx, &(int){3})); /* a send is no await */
    return 0;
}

static int cancelled_before(void *arg)
{
    struct oneshot c = oneshot_new();
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, join(weft_spawn(is_cancelled_first, &c)));
    CHECK_EQ(3, receive(c.rx));
    weft_oneshot_receiver_close(c.rx);

    /* Woken by the value and cancelled at the same time: the value wins. */
    c = oneshot_new();
    t = spawn_waiting(receive, c.rx);
    CHECK_EQ(0, weft_oneshot_send(c.tx, &(int){4}));
    weft_cancel(t);
    CHECK_EQ(4, join(t));
    weft_oneshot_receiver_close(c.rx);
    return 0;
}

TEST(a_cancelled_task_receives_nothing_new_but_what_is_there_when_it_wakes)
{
    test_run(cancelled_before, NULL);
}

static int second_receiver(void *arg)
{
    struct oneshot c = oneshot_new();
    weft_task *t = spawn_waiting(receive, c.rx);
    weft_future f;
    int got;

    (void)arg;
    CHECK_EQ(-EBUSY, weft_oneshot_recv(c.rx, &got));
    CHECK_EQ(-EBUSY, weft_oneshot_try_recv(c.rx, &got));
    f = weft_oneshot_recv_future(c.rx, &got);
    CHECK_EQ(-EBUSY, weft_await(&f));
    CHECK_EQ(0, weft_oneshot_send(c.tx, &(int){4}));
    CHECK_EQ(4, join(t));
    weft_oneshot_receiver_close(c.rx);
    return 0;
}

TEST(a_second_receive_is_busy_while_the_first_waits)
{
    test_run(second_receiver, NULL);
}

/* --- who may call ------------------------------------------------------------------------------ */

static void *thread_answers(void *arg)
{
    struct oneshot *c = arg;

    CHECK_EQ(0, weft_oneshot_send(c->tx, &(int){42}));
    return NULL;
}

static int from_a_thread(void *arg)
{
    struct oneshot c = oneshot_new();
    pthread_t thread;

    (void)arg;
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_answers, &c));
    CHECK_EQ(42, receive(c.rx));
    weft_oneshot_receiver_close(c.rx);
    CHECK_EQ(0, pthread_join(thread, NULL));
    return 0;
}

TEST(a_thread_answers_a_task)
{
    test_run(from_a_thread, NULL);
}

static void *thread_waits(void *arg)
{
    struct oneshot *c = arg;
    int got = 0;

    CHECK_EQ(1, weft_oneshot_recv_blocking(c->rx, &got));
    CHECK_EQ(42, got);
    weft_oneshot_receiver_close(c->rx);
    return NULL;
}

static void *thread_watches(void *arg)
{
    struct oneshot *c = arg;

    CHECK_EQ(0, weft_oneshot_sender_closed_blocking(c->tx));
    weft_oneshot_sender_close(c->tx);
    return NULL;
}

TEST(threads_need_no_runtime)
{
    for (uint64_t i = test_scaled(200); i; i--) {
        struct oneshot c = oneshot_new(), d = oneshot_new();
        pthread_t waiter, watcher;

        CHECK_EQ(0, pthread_create(&waiter, NULL, thread_waits, &c));
        CHECK_EQ(0, pthread_create(&watcher, NULL, thread_watches, &d));
        CHECK_EQ(0, weft_oneshot_send(c.tx, &(int){42}));
        weft_oneshot_receiver_close(d.rx);
        CHECK_EQ(0, pthread_join(waiter, NULL));
        CHECK_EQ(0, pthread_join(watcher, NULL));
    }
}

END_TEST

struct asker {
    weft_async async;
    weft_oneshot_receiver *rx;
    int value;
    weft_future f;
};

static weft_poll asker_poll(void *self, weft_context *cx)
{
    struct asker *a = self;

    WEFT_ASYNC_BEGIN(a);
    a->f = weft_oneshot_recv_future(a->rx, &a->value);
    WEFT_AWAIT(a, cx, &a->f);
    CHECK_EQ(1, a->f.result);
    weft_oneshot_receiver_close(a->rx);
    WEFT_RETURN(a, a->value);
    WEFT_ASYNC_END(a);
}

static const weft_async_type asker_type = {.poll = asker_poll, .size = sizeof(struct asker)};

static int to_a_stackless_task(void *arg)
{
    struct oneshot c = oneshot_new();
    struct asker asker = {.rx = c.rx};
    weft_task *t = weft_spawn_async(&asker_type, &asker);

    (void)arg;
    until_idle(t);
    CHECK_EQ(0, weft_oneshot_send(c.tx, &(int){9}));
    CHECK_EQ(9, join(t));
    return 0;
}

TEST(a_stackless_task_receives)
{
    test_run(to_a_stackless_task, NULL);
}

/* Ends that are closed by other tasks, on other workers, than made them. */
static int answer(void *tx)
{
    CHECK_EQ(0, weft_oneshot_send(tx, &(int){1}));
    return 0;
}

static int many(void *arg)
{
    (void)arg;
    for (uint64_t round = test_scaled(50); round; round--) {
        struct oneshot c[40];
        weft_task *t[40];

        for (int i = 0; i < 40; i++) {
            c[i] = oneshot_new();
            t[i] = weft_spawn(answer, c[i].tx);
        }
        for (int i = 0; i < 40; i++) {
            CHECK_EQ(1, receive(c[i].rx));
            weft_oneshot_receiver_close(c[i].rx);
            CHECK_EQ(0, join(t[i]));
        }
    }
    return 0;
}

TEST(requests_are_answered_by_other_tasks)
{
    test_run(many, NULL);
}

/* --- info ------------------------------------------------------------------------------------------ */

TEST(a_oneshot_says_what_it_is)
{
    struct oneshot c = oneshot_of_owners();
    weft_channel_info i;
    int got;

    CHECK_EQ(0, weft_oneshot_sender_get_info(c.tx, &i));
    CHECK_STR("answer", i.name);
    CHECK_EQ(sizeof(int), i.item_size);
    CHECK_EQ(1, i.capacity);
    CHECK_EQ(1, i.senders);
    CHECK_EQ(1, i.receivers);
    CHECK_EQ(0, i.sent + i.depth + i.received);
    CHECK(!i.closed);
    CHECK_EQ(0, weft_oneshot_send(c.tx, &(int){1}));
    CHECK_EQ(0, weft_oneshot_receiver_get_info(c.rx, &i));
    CHECK_EQ(1, i.sent);
    CHECK_EQ(1, i.depth);
    CHECK_EQ(0, i.senders);
    CHECK(i.closed);
    CHECK_EQ(1, weft_oneshot_try_recv(c.rx, &got));
    CHECK_EQ(0, weft_oneshot_receiver_get_info(c.rx, &i));
    CHECK_EQ(1, i.received);
    CHECK_EQ(0, i.depth);
    weft_oneshot_receiver_close(c.rx);
}

END_TEST

TEST_MAIN("oneshot", a_value_that_was_sent_is_received_at_once_and_once,
          a_receive_waits_for_the_value, values_of_any_size_arrive_whole,
          a_receive_gives_0_when_the_sender_is_closed_without_a_value,
          a_send_to_a_closed_receiver_is_refused, a_value_that_nobody_received_is_destroyed,
          shutting_down_refuses_what_was_not_sent_yet_and_keeps_what_was,
          a_sender_may_wait_for_the_receivers_end, who_waits_at_either_end_may_be_cancelled,
          the_value_stays_when_the_receive_that_it_woke_is_dropped,
          a_cancelled_task_receives_nothing_new_but_what_is_there_when_it_wakes,
          a_second_receive_is_busy_while_the_first_waits, a_thread_answers_a_task,
          threads_need_no_runtime, a_stackless_task_receives, requests_are_answered_by_other_tasks,
          a_oneshot_says_what_it_is)
