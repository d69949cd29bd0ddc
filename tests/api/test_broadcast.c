/* SPDX-License-Identifier: MIT */
/*
 * test_broadcast.c - broadcast channels: who gets which value, who is told to have missed some, and what the ends say.
 * Waiting, giving up and being woken are in test_broadcast_wait.c; values that own something in
 * test_owned.c.
 */
#include "waiting.h"

#include <pthread.h>
#include <string.h>

static void make(weft_broadcast_sender **tx, weft_broadcast_receiver **rx, size_t capacity)
{
    CHECK_EQ(0, weft_broadcast_new(tx, rx, sizeof(int), capacity));
}

static void send_range(weft_broadcast_sender *tx, int from, int to)
{
    for (int i = from; i <= to; i++)
        CHECK(weft_broadcast_send(tx, &i) >= 1);
}

/* The next ones are these, and there are no more. */
static void expect(weft_broadcast_receiver *rx, int from, int to)
{
    int got = -1;

    for (int i = from; i <= to; i++) {
        CHECK_EQ(1, weft_broadcast_try_recv(rx, &got));
        CHECK_EQ(i, got);
    }
    CHECK_EQ(-EAGAIN, weft_broadcast_try_recv(rx, &got));
}

/* --- who gets what ---------------------------------------------------------------- */

#define VALUES    1000
#define RECEIVERS 5

static int receives_all(void *arg)
{
    weft_broadcast_receiver *rx = arg;
    int got, rc;

    for (int i = 0; i < VALUES; i++) {
        CHECK_EQ(1, weft_broadcast_recv(rx, &got));
        CHECK_EQ(i, got);
    }
    rc = weft_broadcast_recv(rx, &got);
    weft_broadcast_receiver_close(rx);
    return rc;
}

static int all_to_all(void *arg)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    weft_task *t[RECEIVERS];

    (void)arg;
    make(&tx, NULL, VALUES);
    for (int i = 0; i < RECEIVERS; i++) {
        CHECK_EQ(0, weft_broadcast_subscribe(tx, &rx));
        t[i] = weft_spawn(receives_all, rx);
        CHECK(t[i]);
    }
    for (int i = 0; i < VALUES; i++) {
        CHECK_EQ(RECEIVERS, weft_broadcast_send(tx, &i));
        if (i % 10 == 0)
            CHECK_EQ(0, weft_yield());
    }
    weft_broadcast_sender_close(tx);
    for (int i = 0; i < RECEIVERS; i++)
        CHECK_EQ(0, joined(t[i]));
    return 0;
}

TEST(every_receiver_gets_every_value_in_order)
{
    test_run(all_to_all, NULL);
}

END_TEST

TEST(without_a_receiver_a_value_is_refused)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;

    make(&tx, NULL, 2);
    CHECK_EQ(-EPIPE, weft_broadcast_send(tx, &(int){1}));
    CHECK_EQ(0, weft_broadcast_subscribe(tx, &rx));
    expect(rx, 1, 0); /* it was not stored */
    CHECK_EQ(1, weft_broadcast_send(tx, &(int){2}));
    weft_broadcast_receiver_close(rx);
    CHECK_EQ(-EPIPE, weft_broadcast_send(tx, &(int){3}));
    weft_broadcast_sender_close(tx);
}

END_TEST

TEST(a_send_says_how_many_receivers_there_are)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx[3];

    make(&tx, &rx[0], 2);
    CHECK_EQ(1, weft_broadcast_send(tx, &(int){1}));
    CHECK_EQ(0, weft_broadcast_subscribe(tx, &rx[1]));
    CHECK_EQ(2, weft_broadcast_send(tx, &(int){2}));
    CHECK_EQ(0, weft_broadcast_resubscribe(rx[1], &rx[2]));
    CHECK_EQ(3, weft_broadcast_send(tx, &(int){3}));
    for (int i = 0; i < 3; i++)
        weft_broadcast_receiver_close(rx[i]);
    weft_broadcast_sender_close(tx);
}

END_TEST

TEST(a_new_receiver_gets_what_is_sent_from_then_on)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx, *later, *again;

    make(&tx, &rx, 10);
    send_range(tx, 1, 3);
    CHECK_EQ(0, weft_broadcast_subscribe(tx, &later));
    send_range(tx, 4, 5);
    CHECK_EQ(0, weft_broadcast_resubscribe(rx, &again));
    send_range(tx, 6, 6);
    expect(rx, 1, 6);
    expect(later, 4, 6);
    expect(again, 6, 6);
    weft_broadcast_sender_close(tx);
    weft_broadcast_receiver_close(again);
    /* Also of a channel that is closed, where nothing comes any more. */
    CHECK_EQ(0, weft_broadcast_resubscribe(rx, &again));
    CHECK_EQ(0, weft_broadcast_try_recv(again, &(int){0}));
    weft_broadcast_receiver_close(rx);
    weft_broadcast_receiver_close(later);
    weft_broadcast_receiver_close(again);
}

END_TEST

TEST(a_closed_channel_is_drained_first)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    int got;

    make(&tx, &rx, 4);
    send_range(tx, 1, 2);
    CHECK(!weft_broadcast_receiver_is_closed(rx));
    weft_broadcast_sender_close(tx);
    CHECK(weft_broadcast_receiver_is_closed(rx));
    CHECK_EQ(1, weft_broadcast_try_recv(rx, &got));
    CHECK_EQ(1, weft_broadcast_recv_blocking(rx, &got));
    CHECK_EQ(2, got);
    CHECK_EQ(0, weft_broadcast_try_recv(rx, &got));
    CHECK_EQ(0, weft_broadcast_recv_blocking(rx, &got));
    weft_broadcast_receiver_close(rx);
}

END_TEST

/* --- who is too slow ---------------------------------------------------------------- */

TEST(exactly_the_capacity_is_kept)
{
    static const size_t capacities[] = {1, 2, 3, 5, 7, 100};

    for (size_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
        int n = (int)capacities[i], got;
        weft_broadcast_sender *tx;
        weft_broadcast_receiver *rx;

        make(&tx, &rx, (size_t)n);
        for (int round = 0; round < 3; round++) {
            int first = round * 1000;

            send_range(tx, first + 1, first + n);
            expect(rx, first + 1, first + n);
            send_range(tx, first + 1, first + n + 1);
            CHECK_EQ(-EOVERFLOW, weft_broadcast_try_recv(rx, &got));
            CHECK_EQ(1, weft_broadcast_missed(rx));
            expect(rx, first + 2, first + n + 1);
        }
        weft_broadcast_receiver_close(rx);
        weft_broadcast_sender_close(tx);
    }
}

END_TEST

static ssize_t recv_as(int how, weft_broadcast_receiver *rx, int *got)
{
    weft_future f = weft_broadcast_recv_future(rx, got);

    return how == 0   ? weft_broadcast_recv(rx, got)
           : how == 1 ? weft_broadcast_try_recv(rx, got)
                      : weft_await(&f);
}

static int missing(void *arg)
{
    for (int how = 0; how < 3; how++) {
        weft_broadcast_sender *tx;
        weft_broadcast_receiver *rx;
        int got;

        make(&tx, &rx, 3);
        CHECK_EQ(0, weft_broadcast_missed(rx));
        send_range(tx, 1, 10);
        CHECK_EQ(-EOVERFLOW, recv_as(how, rx, &got));
        CHECK_EQ(7, weft_broadcast_missed(rx));
        CHECK_EQ(1, recv_as(how, rx, &got));
        CHECK_EQ(8, got);
        CHECK_EQ(7, weft_broadcast_missed(rx));
        /* 9 and 10 are left; two more and one of them is gone, which is told anew. */
        send_range(tx, 11, 12);
        CHECK_EQ(-EOVERFLOW, recv_as(how, rx, &got));
        CHECK_EQ(1, weft_broadcast_missed(rx));
        expect(rx, 10, 12);
        /* Also when nothing more can come. */
        send_range(tx, 13, 16);
        weft_broadcast_sender_close(tx);
        CHECK_EQ(-EOVERFLOW, recv_as(how, rx, &got));
        for (int i = 14; i <= 16; i++) {
            CHECK_EQ(1, recv_as(how, rx, &got));
            CHECK_EQ(i, got);
        }
        CHECK_EQ(0, recv_as(how, rx, &got));
        weft_broadcast_receiver_close(rx);
    }
    (void)arg;
    return 0;
}

TEST(a_slow_receiver_is_told_how_many_it_missed)
{
    test_run(missing, NULL);
}

END_TEST

TEST(a_slow_receiver_holds_up_nobody)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *quick, *slow;

    make(&tx, &quick, 2);
    CHECK_EQ(0, weft_broadcast_subscribe(tx, &slow));
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(2, weft_broadcast_send(tx, &i));
        expect(quick, i, i);
    }
    CHECK_EQ(100, weft_broadcast_receiver_len(slow));
    CHECK_EQ(-EOVERFLOW, weft_broadcast_try_recv(slow, &(int){0}));
    CHECK_EQ(98, weft_broadcast_missed(slow));
    expect(slow, 98, 99);
    weft_broadcast_receiver_close(quick);
    weft_broadcast_receiver_close(slow);
    weft_broadcast_sender_close(tx);
}

END_TEST

/* --- values of any size -------------------------------------------------------------- */

static void size_arrives(size_t size)
{
    static unsigned char in[5000], out[5000];
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;

    CHECK_EQ(0, weft_broadcast_new(&tx, &rx, size, 3));
    for (unsigned round = 0; round < 5; round++) {
        for (size_t i = 0; i < size; i++)
            in[i + 1] = (unsigned char)(i * 7 + round);
        memset(out, 0xee, sizeof(out));
        /* not aligned for anything */
        CHECK_EQ(1, weft_broadcast_send(tx, size ? in + 1 : NULL));
        CHECK_EQ(1, weft_broadcast_try_recv(rx, size ? out + 3 : NULL));
        CHECK_EQ(0, memcmp(in + 1, out + 3, size));
        CHECK(out[2] == 0xee && out[size + 3] == 0xee);
    }
    weft_broadcast_receiver_close(rx);
    weft_broadcast_sender_close(tx);
}

TEST(values_of_any_size_arrive_whole)
{
    static const size_t sizes[] = {0, 1, 3, 7, 8, 9, 16, 23, 24, 100, 4096, 4099};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        size_arrives(sizes[i]);
}

END_TEST

/* --- the ends ------------------------------------------------------------------------- */

TEST(the_channel_is_open_while_there_is_a_sender)
{
    weft_broadcast_sender *tx, *other;
    weft_broadcast_receiver *rx;

    make(&tx, &rx, 4);
    other = weft_broadcast_sender_clone(tx);
    CHECK(weft_broadcast_sender_same_channel(tx, other));
    CHECK_EQ(2, weft_broadcast_sender_strong_count(tx));
    weft_broadcast_sender_close(tx);
    CHECK(!weft_broadcast_receiver_is_closed(rx));
    CHECK_EQ(-EAGAIN, weft_broadcast_try_recv(rx, &(int){0}));
    CHECK_EQ(1, weft_broadcast_send(other, &(int){1}));
    weft_broadcast_sender_close(other);
    CHECK_EQ(1, weft_broadcast_try_recv(rx, &(int){0}));
    CHECK_EQ(0, weft_broadcast_try_recv(rx, &(int){0}));
    weft_broadcast_receiver_close(rx);
}

END_TEST

TEST(a_weak_sender_does_not_keep_the_channel_open)
{
    weft_broadcast_weak_sender *weak, *other;
    weft_broadcast_sender *tx, *up;
    weft_broadcast_receiver *rx;

    make(&tx, &rx, 4);
    weak = weft_broadcast_sender_downgrade(tx);
    other = weft_broadcast_weak_sender_clone(weak);
    CHECK_EQ(2, weft_broadcast_sender_weak_count(tx));
    CHECK_EQ(2, weft_broadcast_receiver_weak_count(rx));
    CHECK_EQ(1, weft_broadcast_sender_strong_count(tx));
    CHECK_EQ(1, weft_broadcast_weak_sender_strong_count(weak));
    CHECK_EQ(2, weft_broadcast_weak_sender_weak_count(weak));
    up = weft_broadcast_weak_sender_upgrade(weak);
    CHECK_EQ(2, weft_broadcast_weak_sender_strong_count(weak));
    CHECK(up && weft_broadcast_sender_same_channel(tx, up));
    CHECK_EQ(2, weft_broadcast_receiver_strong_count(rx));
    weft_broadcast_sender_close(tx);
    CHECK_EQ(1, weft_broadcast_send(up, &(int){7})); /* as good as any */
    weft_broadcast_weak_sender_close(other);
    weft_broadcast_sender_close(up);
    CHECK(weft_broadcast_receiver_is_closed(rx));
    CHECK(!weft_broadcast_weak_sender_upgrade(weak)); /* for ever */
    CHECK_EQ(1, weft_broadcast_try_recv(rx, &(int){0}));
    CHECK_EQ(0, weft_broadcast_try_recv(rx, &(int){0}));
    CHECK_EQ(0, weft_broadcast_receiver_strong_count(rx));
    weft_broadcast_receiver_close(rx);
    CHECK(!weft_broadcast_weak_sender_upgrade(weak)); /* which is all that is left */
    CHECK_EQ(0, weft_broadcast_weak_sender_strong_count(weak));
    CHECK_EQ(1, weft_broadcast_weak_sender_weak_count(weak));
    weft_broadcast_weak_sender_close(weak);
}

END_TEST

TEST(the_lengths_are_those_of_the_two_ends)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *a, *b;
    int got;

    make(&tx, &a, 4);
    CHECK(weft_broadcast_sender_is_empty(tx) && weft_broadcast_receiver_is_empty(a));
    send_range(tx, 1, 2);
    CHECK_EQ(0, weft_broadcast_subscribe(tx, &b));
    CHECK_EQ(2, weft_broadcast_sender_len(tx));
    CHECK_EQ(2, weft_broadcast_receiver_len(a));
    CHECK_EQ(0, weft_broadcast_receiver_len(b));
    send_range(tx, 3, 3);
    CHECK_EQ(1, weft_broadcast_receiver_len(b));
    CHECK_EQ(1, weft_broadcast_try_recv(b, &got));
    CHECK_EQ(3, weft_broadcast_sender_len(tx)); /* a has had none of them */
    CHECK_EQ(1, weft_broadcast_try_recv(a, &got));
    CHECK_EQ(2, weft_broadcast_sender_len(tx));
    send_range(tx, 4, 9);
    CHECK_EQ(4, weft_broadcast_sender_len(tx));  /* what is stored */
    CHECK_EQ(8, weft_broadcast_receiver_len(a)); /* and what is not any more */
    CHECK_EQ(6, weft_broadcast_receiver_len(b));
    CHECK_EQ(-EOVERFLOW, weft_broadcast_try_recv(a, &got));
    CHECK_EQ(4, weft_broadcast_receiver_len(a));
    weft_broadcast_receiver_close(b);
    expect(a, 6, 9);
    CHECK(weft_broadcast_sender_is_empty(tx));
    send_range(tx, 1, 2);
    weft_broadcast_receiver_close(a);
    CHECK_EQ(0, weft_broadcast_sender_len(tx)); /* nobody will have them */
    weft_broadcast_sender_close(tx);
}

END_TEST

TEST(ends_know_their_channel)
{
    weft_broadcast_sender *tx[2];
    weft_broadcast_receiver *rx[2], *more;

    make(&tx[0], &rx[0], 1);
    make(&tx[1], &rx[1], 1);
    CHECK_EQ(0, weft_broadcast_resubscribe(rx[0], &more));
    CHECK(weft_broadcast_receiver_same_channel(rx[0], more));
    CHECK(!weft_broadcast_receiver_same_channel(rx[1], more));
    CHECK(!weft_broadcast_sender_same_channel(tx[0], tx[1]));
    CHECK_EQ(2, weft_broadcast_receiver_count(tx[0]));
    CHECK_EQ(1, weft_broadcast_receiver_count(tx[1]));
    weft_broadcast_receiver_close(more);
    for (int i = 0; i < 2; i++) {
        weft_broadcast_receiver_close(rx[i]);
        weft_broadcast_sender_close(tx[i]);
    }
}

END_TEST

TEST(the_info_adds_up)
{
    weft_channel_options options = {.name = "ticks"};
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *a, *b;
    weft_channel_info info;
    int got;

    CHECK_EQ(0, weft_broadcast_new_with(&tx, &a, sizeof(int), 4, &options));
    CHECK_EQ(0, weft_broadcast_subscribe(tx, &b));
    send_range(tx, 1, 10);
    CHECK_EQ(-EOVERFLOW, weft_broadcast_try_recv(a, &got));
    CHECK_EQ(1, weft_broadcast_try_recv(a, &got));
    CHECK_EQ(0, weft_broadcast_sender_get_info(tx, &info));
    CHECK_STR("ticks", info.name);
    CHECK_EQ(sizeof(int), info.item_size);
    CHECK_EQ(4, info.capacity);
    CHECK_EQ(4, info.depth);
    CHECK_EQ(4, info.depth_max);
    CHECK_EQ(10, info.sent);
    CHECK_EQ(1, info.received);
    CHECK_EQ(6, info.dropped);
    CHECK(info.senders == 1 && info.weak_senders == 0 && info.receivers == 2 && !info.closed);
    weft_broadcast_receiver_close(a); /* what it counted stays */
    CHECK_EQ(-EOVERFLOW, weft_broadcast_try_recv(b, &got));
    expect(b, 7, 10);
    weft_broadcast_sender_close(tx);
    CHECK_EQ(0, weft_broadcast_receiver_get_info(b, &info));
    CHECK_EQ(0, info.depth);
    CHECK_EQ(5, info.received);
    CHECK_EQ(12, info.dropped);
    CHECK(info.senders == 0 && info.receivers == 1 && info.closed);
    weft_broadcast_receiver_close(b);
}

END_TEST

/* A name that is too long, and a struct of an older program. */
TEST(the_info_keeps_within_its_bounds)
{
    char name[100], bytes[sizeof(weft_channel_info)];
    weft_channel_options options = {.name = name};
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    weft_channel_info info;

    memset(name, 'n', sizeof(name));
    name[99] = 0;
    CHECK_EQ(0, weft_broadcast_new_with(&tx, &rx, 0, 1, &options));
    CHECK_EQ(0, weft_broadcast_receiver_get_info(rx, &info));
    CHECK_EQ(63, strlen(info.name));
    memset(bytes, 0x55, sizeof(bytes));
    CHECK_EQ(0, weft_broadcast_receiver_get_info_sized(rx, (weft_channel_info *)(void *)bytes, 10));
    CHECK_EQ(0, memcmp(bytes, name, 10));
    CHECK_EQ(0x55, bytes[10]);
    weft_broadcast_receiver_close(rx);
    weft_broadcast_sender_close(tx);
}

END_TEST

/* --- from anywhere ------------------------------------------------------------------- */

static void *thread_receives_all(void *arg)
{
    int got;

    for (int i = 0; i < VALUES; i++) {
        CHECK_EQ(1, weft_broadcast_recv_blocking(arg, &got));
        CHECK_EQ(i, got);
    }
    CHECK_EQ(0, weft_broadcast_recv_blocking(arg, &got));
    weft_broadcast_receiver_close(arg);
    return NULL;
}

static int sends_all(void *arg)
{
    for (int i = 0; i < VALUES; i++) {
        CHECK_EQ(2, weft_broadcast_send(arg, &i));
        if (i % 16 == 0)
            CHECK_EQ(0, weft_yield());
    }
    weft_broadcast_sender_close(arg);
    return 0;
}

TEST(plain_threads_receive_what_tasks_send)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_broadcast_sender *tx;
        weft_broadcast_receiver *rx[2];
        pthread_t thread[2];

        make(&tx, &rx[0], VALUES);
        CHECK_EQ(0, weft_broadcast_subscribe(tx, &rx[1]));
        for (int k = 0; k < 2; k++)
            CHECK_EQ(0, pthread_create(&thread[k], NULL, thread_receives_all, rx[k]));
        test_run_on(&test_flavours[i], sends_all, tx);
        for (int k = 0; k < 2; k++)
            CHECK_EQ(0, pthread_join(thread[k], NULL));
    }
}

END_TEST

static void *thread_sends_all(void *arg)
{
    for (int i = 0; i < VALUES; i++)
        CHECK_EQ(2, weft_broadcast_send(arg, &i));
    weft_broadcast_sender_close(arg);
    return NULL;
}

static int two_receive_all(void *arg)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    pthread_t thread;
    weft_task *t[2];

    (void)arg;
    make(&tx, NULL, VALUES);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(0, weft_broadcast_subscribe(tx, &rx));
        t[i] = weft_spawn(receives_all, rx);
    }
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_sends_all, tx));
    for (int i = 0; i < 2; i++)
        CHECK_EQ(0, joined(t[i]));
    CHECK_EQ(0, pthread_join(thread, NULL));
    return 0;
}

TEST(tasks_receive_what_plain_threads_send)
{
    test_run(two_receive_all, NULL);
}

END_TEST

TEST_MAIN("broadcast", every_receiver_gets_every_value_in_order,
          without_a_receiver_a_value_is_refused, a_send_says_how_many_receivers_there_are,
          a_new_receiver_gets_what_is_sent_from_then_on, a_closed_channel_is_drained_first,
          exactly_the_capacity_is_kept, a_slow_receiver_is_told_how_many_it_missed,
          a_slow_receiver_holds_up_nobody, values_of_any_size_arrive_whole,
          the_channel_is_open_while_there_is_a_sender, a_weak_sender_does_not_keep_the_channel_open,
          the_lengths_are_those_of_the_two_ends, ends_know_their_channel, the_info_adds_up,
          the_info_keeps_within_its_bounds, plain_threads_receive_what_tasks_send,
          tasks_receive_what_plain_threads_send)
