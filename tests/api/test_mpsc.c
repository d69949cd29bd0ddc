/* SPDX-License-Identifier: MIT */
/*
 * test_mpsc.c - queues of values: order, room, waiting, giving up, taking many.
 *
 * The ends are in test_mpsc_ends.c, permits in test_permit.c, options and counts in test_mpsc_info.c, mistakes in
 * test_channel_misuse.c.
 */
#include "channel.h"
#include "waiting.h"

#include <stdlib.h>
#include <string.h>

/* --- order ------------------------------------------------------------------------ */

struct stream {
    weft_sender *tx;
    weft_receiver *rx;
    size_t size;
    uint32_t count;
};

static int send_stream(void *arg)
{
    const struct stream *s = arg;
    unsigned char *bytes = malloc(s->size + 1);

    for (uint32_t i = 0; i < s->count; i++) {
        memset(bytes, (int)(i % 251), s->size);
        CHECK_EQ(0, weft_send(s->tx, bytes));
    }
    free(bytes);
    weft_sender_close(s->tx);
    return 0;
}

static void receive_stream(const struct stream *s)
{
    unsigned char *bytes = malloc(s->size + 1);
    uint32_t n = 0;

    for (; weft_recv(s->rx, bytes) == 1; n++) {
        for (size_t i = 0; i < s->size; i++)
            CHECK_EQ(n % 251, bytes[i]);
    }
    CHECK_EQ(s->count, n);
    CHECK_EQ(0, weft_recv(s->rx, bytes)); /* and so it stays */
    CHECK_EQ(0, weft_try_recv(s->rx, bytes));
    free(bytes);
    weft_receiver_close(s->rx);
}

static int all_sizes(void *arg)
{
    static const size_t sizes[] = {0, 1, 3, 4, 8, 12, 16, 40, 300, 5000};
    static const size_t capacities[] = {1, 2, 3, 64, 0};

    (void)arg;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (size_t j = 0; j < sizeof(capacities) / sizeof(capacities[0]); j++) {
            struct stream s = {.size = sizes[i], .count = 400};
            weft_task *t;

            if (capacities[j])
                CHECK_EQ(0, weft_mpsc_new(&s.tx, &s.rx, s.size, capacities[j]));
            else
                CHECK_EQ(0, weft_mpsc_unbounded(&s.tx, &s.rx, s.size));
            t = weft_spawn(send_stream, &s);
            receive_stream(&s);
            CHECK_EQ(0, join(t));
        }
    }
    return 0;
}

TEST(values_of_any_size_arrive_once_and_in_order)
{
    test_run(all_sizes, NULL);
}

/* --- room ------------------------------------------------------------------------- */

static int send_one(void *arg)
{
    struct channel *c = arg;

    return weft_send(c->tx, &(int){2});
}

static int full(void *arg)
{
    struct channel c = channel_new(1);
    weft_task *t;
    int got = 0;

    (void)arg;
    CHECK_EQ(0, weft_send(c.tx, &(int){1}));
    CHECK_EQ(-EAGAIN, weft_try_send(c.tx, &(int){9}));
    t = spawn_waiting(send_one, &c);
    CHECK(!weft_is_finished(t));
    CHECK_EQ(-EAGAIN, weft_try_send(c.tx, &(int){9}));
    CHECK_EQ(1, weft_recv(c.rx, &got));
    CHECK_EQ(1, got);
    /* The room is the waiting one's from that moment. */
    CHECK_EQ(-EAGAIN, weft_try_send(c.tx, &(int){9}));
    CHECK_EQ(0, join(t));
    receive_all(c.rx, 2, 2);
    send_all(c.tx, 3, 3);
    receive_all(c.rx, 3, 3);
    channel_close(c);
    return 0;
}

TEST(a_send_waits_while_the_channel_is_full)
{
    test_run(full, NULL);
}

static int in_line(void *arg)
{
    struct channel c = channel_new(1);
    struct numbered n[CROWD];
    weft_task *t[CROWD];
    int got;

    (void)arg;
    send_all(c.tx, 0, 0);
    for (int i = 0; i < CROWD; i++) {
        n[i] = (struct numbered){c.tx, i + 1};
        t[i] = spawn_waiting(send_number, &n[i]);
    }
    for (int i = 0; i <= CROWD; i++) {
        CHECK_EQ(1, weft_recv(c.rx, &got));
        CHECK_EQ(i, got);
        if (i < CROWD)
            CHECK_EQ(-EAGAIN, weft_try_send(c.tx, &(int){-1}));
    }
    for (int i = 0; i < CROWD; i++)
        CHECK_EQ(0, join(t[i]));
    channel_close(c);
    return 0;
}

TEST(senders_that_wait_are_served_in_order_and_nobody_overtakes_them)
{
    test_run(in_line, NULL);
}

static int many_at_once(void *arg)
{
    struct channel c = channel_new(CROWD);
    int got[CROWD], next = 0;
    struct numbered n[CROWD];
    weft_task *t[CROWD];
    ssize_t rc;

    (void)arg;
    send_all(c.tx, 0, CROWD - 1);
    for (int i = 0; i < CROWD; i++) {
        n[i] = (struct numbered){c.tx, CROWD + i};
        t[i] = spawn_waiting(send_number, &n[i]);
    }
    /* Room for all of them at one blow. */
    CHECK_EQ(CROWD, weft_recv_many(c.rx, got, CROWD));
    for (; next < CROWD; next++)
        CHECK_EQ(next, got[next]);
    for (int i = 0; i < CROWD; i++)
        CHECK_EQ(0, join(t[i]));
    weft_sender_close(c.tx);
    while ((rc = weft_recv_many(c.rx, got, 7)) > 0)
        next += (int)rc;
    CHECK_EQ(0, rc);
    CHECK_EQ(2 * CROWD, next);
    weft_receiver_close(c.rx);
    return 0;
}

TEST(all_the_room_of_a_large_receive_is_given_away_at_once)
{
    test_run(many_at_once, NULL);
}

/* --- cancelling --------------------------------------------------------------------- */

static int call_send(void *arg)
{
    return weft_send(((struct channel *)arg)->tx, &(int){77});
}

static const int seventy_seven = 77;

static weft_future future_send(void *arg)
{
    return weft_send_future(((struct channel *)arg)->tx, &seventy_seven);
}

static void nothing_sent(void *arg)
{
    struct channel *c = arg;

    receive_all(c->rx, 1, 1); /* 77 never arrives */
    send_all(c->tx, 1, 1);    /* and the room is free, and full again */
}

static int cancelled_sends(void *arg)
{
    struct channel c = channel_new(1);
    struct giveup call = {call_send, future_send, &c};

    (void)arg;
    send_all(c.tx, 1, 1);
    give_up(&call);
    nothing_sent(&c);
    channel_close(c);
    return 0;
}

TEST(a_send_that_is_cancelled_while_it_waits_sends_nothing)
{
    test_run(cancelled_sends, NULL);
}

static int given_up_place(void *arg)
{
    struct channel c = channel_new(1);
    struct numbered n[3] = {{c.tx, 2}, {c.tx, 3}, {c.tx, 4}};
    weft_task *t[3];
    int got;

    (void)arg;
    send_all(c.tx, 1, 1);
    for (int i = 0; i < 3; i++)
        t[i] = spawn_waiting(send_number, &n[i]);
    weft_cancel(t[1]);
    CHECK_EQ(-ECANCELED, join(t[1]));
    for (int i = 1; i <= 4; i++) {
        if (i == 3)
            continue;
        CHECK_EQ(1, weft_recv(c.rx, &got));
        CHECK_EQ(i, got);
    }
    CHECK_EQ(0, join(t[0]));
    CHECK_EQ(0, join(t[2]));
    channel_close(c);
    return 0;
}

TEST(a_cancelled_send_gives_up_its_place_alone)
{
    test_run(given_up_place, NULL);
}

/* Given room, but not polled yet: the room goes to the next one. */
static int handed_on(void *arg)
{
    struct channel c = channel_new(1);
    struct numbered n = {c.tx, 3};
    weft_future f = weft_send_future(c.tx, &(int){2});
    weft_task *t;
    int got;

    (void)arg;
    send_all(c.tx, 1, 1);
    /* Leaves f pending, in the line. */
    keep_pending(&f);
    t = spawn_waiting(send_number, &n);
    CHECK_EQ(1, weft_try_recv(c.rx, &got));
    CHECK_EQ(1, got);
    CHECK_EQ(0, weft_sender_capacity(c.tx));
    weft_future_drop(&f);
    CHECK_EQ(0, join(t));
    receive_all(c.rx, 3, 3);
    CHECK_EQ(1, weft_sender_capacity(c.tx));
    channel_close(c);
    return 0;
}

TEST(room_that_was_given_to_a_send_that_is_dropped_goes_to_the_next)
{
    test_run(handed_on, NULL);
}

static int call_recv(void *arg)
{
    int got = 0;

    return weft_recv(((struct channel *)arg)->rx, &got);
}

static int received;

static weft_future future_recv(void *arg)
{
    return weft_recv_future(((struct channel *)arg)->rx, &received);
}

static int call_recv_many(void *arg)
{
    int got[3];

    return (int)weft_recv_many(((struct channel *)arg)->rx, got, 3);
}

static weft_future future_recv_many(void *arg)
{
    return weft_recv_many_future(((struct channel *)arg)->rx, &received, 1);
}

static void nothing_taken(void *arg)
{
    struct channel *c = arg;

    send_all(c->tx, 1, 2);
    receive_all(c->rx, 1, 2);
}

static int cancelled_receives(void *arg)
{
    struct channel c = channel_new(2);
    struct giveup one = {call_recv, future_recv, &c};
    struct giveup many = {call_recv_many, future_recv_many, &c};

    (void)arg;
    give_up(&one);
    nothing_taken(&c);
    give_up(&many);
    nothing_taken(&c);
    channel_close(c);
    return 0;
}

TEST(a_receive_that_is_cancelled_while_it_waits_takes_nothing)
{
    test_run(cancelled_receives, NULL);
}

/* Woken by a value, and dropped before it is polled: the value stays. */
static int dropped_after_the_wake(void *arg)
{
    struct channel c = channel_new(2);
    int got = 0;
    weft_future f = weft_recv_future(c.rx, &got);

    (void)arg;
    keep_pending(&f);
    send_all(c.tx, 5, 5);
    weft_future_drop(&f);
    CHECK_EQ(0, got);
    receive_all(c.rx, 5, 5);
    channel_close(c);
    return 0;
}

TEST(a_value_stays_when_the_receive_that_it_woke_is_dropped)
{
    test_run(dropped_after_the_wake, NULL);
}

static int is_cancelled_first(void *arg)
{
    struct channel *c = arg;
    int got, rc;

    weft_cancel(weft_task_self());
    rc = weft_send(c->tx, &(int){1});
    CHECK_EQ(-ECANCELED, rc);
    CHECK_EQ(-ECANCELED, weft_recv(c->rx, &got));
    CHECK_EQ(-ECANCELED, weft_recv_many(c->rx, &got, 0));
    CHECK_EQ(-ECANCELED, weft_sender_closed(c->tx));
    return 0;
}

static int cancelled_before(void *arg)
{
    struct channel c = channel_new(4);

    (void)arg;
    send_all(c.tx, 7, 7);
    CHECK_EQ(0, join(weft_spawn(is_cancelled_first, &c)));
    receive_all(c.rx, 7, 7);
    channel_close(c);
    return 0;
}

TEST(a_task_that_is_cancelled_neither_sends_nor_receives)
{
    test_run(cancelled_before, NULL);
}

/* Woken by a value and cancelled at the same time. */
static int ready_wins(void *arg)
{
    struct channel c = channel_new(4);
    weft_task *t = spawn_waiting(receive_one, &c);
    int result;

    (void)arg;
    send_all(c.tx, 7, 7);
    weft_cancel(t);
    result = join(t);
    CHECK_EQ(7, result);
    channel_close(c);
    return 0;
}

TEST(a_value_that_is_there_wins_over_a_cancel)
{
    test_run(ready_wins, NULL);
}

/* --- many at a time ----------------------------------------------------------------------------- */

static int receive_three(void *arg)
{
    struct channel *c = arg;
    int got[3] = {0};
    ssize_t n = weft_recv_many(c->rx, got, 3);

    for (ssize_t i = 0; i < n; i++)
        CHECK_EQ(i + 1, got[i]);
    return (int)n;
}

static int in_numbers(void *arg)
{
    struct channel c;
    int got[100];
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, weft_mpsc_unbounded(&c.tx, &c.rx, sizeof(int)));
    CHECK_EQ(0, weft_recv_many(c.rx, NULL, 0)); /* though it is open */
    CHECK_EQ(-EAGAIN, weft_try_recv_many(c.rx, got, 5));
    t = spawn_waiting(receive_three, &c);
    send_all(c.tx, 1, 1);
    CHECK_EQ(1, join(t)); /* does not wait for more */
    send_all(c.tx, 1, 5);
    CHECK_EQ(3, receive_three(&c));
    CHECK_EQ(2, weft_try_recv_many(c.rx, got, 100));
    CHECK_EQ(4, got[0]);
    CHECK_EQ(5, got[1]);
    /* Across the blocks of a queue. */
    send_all(c.tx, 0, 999);
    for (int next = 0; next < 1000;) {
        ssize_t n = weft_try_recv_many(c.rx, got, 100);

        CHECK(n > 0 && n <= 100);
        for (ssize_t i = 0; i < n; i++)
            CHECK_EQ(next++, got[i]);
    }
    weft_sender_close(c.tx);
    CHECK_EQ(0, weft_try_recv_many(c.rx, got, 100));
    CHECK_EQ(0, weft_recv_many(c.rx, got, 100));
    weft_receiver_close(c.rx);
    return 0;
}

TEST(receiving_many_waits_for_the_first_one_only)
{
    test_run(in_numbers, NULL);
}

/* --- fairness ------------------------------------------------------------------------------------ */

static int count_polls(void *arg)
{
    atomic_uint *n = arg;

    while (weft_yield() == 0)
        atomic_fetch_add(n, 1);
    return 0;
}

static int always_ready(void *arg)
{
    atomic_uint polls = 0;
    weft_task *t = weft_spawn(count_polls, &polls);
    struct channel c = channel_new(2);
    int got;

    (void)arg;
    for (int i = 0; i < 128 * 20; i++) {
        CHECK_EQ(0, weft_send(c.tx, &i));
        CHECK_EQ(1, weft_recv(c.rx, &got));
    }
    CHECK(atomic_load(&polls) >= 20);
    weft_cancel(t);
    CHECK_EQ(0, join(t));
    channel_close(c);
    return 0;
}

TEST(sends_and_receives_that_need_not_wait_let_others_run)
{
    test_run_on(&test_flavours[0], always_ready, NULL);
    test_run_on(&test_flavours[1], always_ready, NULL);
}

/* --- in batches -------------------------------------------------------------------- */

#define BATCHES 64 /* senders: more than one batch, and the last one is full */

/* Senders that go on in the middle of the call that lets them, when the last one is woken. */
struct batches {
    struct poller poller; /* first */
    weft_future send[BATCHES];
};

static void batches_send(struct poller *p)
{
    struct batches *b = (struct batches *)p;

    for (int i = 0; i < BATCHES && atomic_load(&p->wakes) == BATCHES; i++)
        CHECK_EQ(WEFT_READY, poller_poll(p, &b->send[i]));
}

TEST(a_sender_that_is_let_go_sends_while_others_are_being_let_go)
{
    struct batches b = {.poller.on_wake = batches_send};
    struct channel c = channel_new(BATCHES);
    int got[BATCHES], value[BATCHES];

    poller_init(&b.poller);
    send_all(c.tx, 0, BATCHES - 1);
    for (int i = 0; i < BATCHES; i++) {
        value[i] = BATCHES + i;
        b.send[i] = weft_send_future(c.tx, &value[i]);
        CHECK_EQ(WEFT_PENDING, poller_poll(&b.poller, &b.send[i]));
    }
    CHECK_EQ(BATCHES, weft_try_recv_many(c.rx, got, BATCHES));
    CHECK_EQ(BATCHES, atomic_load(&b.poller.wakes));
    CHECK_EQ(0, atomic_load(&b.poller.refs));
    receive_all(c.rx, BATCHES, 2 * BATCHES - 1);
    channel_close(c);
}

TEST_MAIN("mpsc", values_of_any_size_arrive_once_and_in_order,
          a_send_waits_while_the_channel_is_full,
          senders_that_wait_are_served_in_order_and_nobody_overtakes_them,
          all_the_room_of_a_large_receive_is_given_away_at_once,
          a_send_that_is_cancelled_while_it_waits_sends_nothing,
          a_cancelled_send_gives_up_its_place_alone,
          room_that_was_given_to_a_send_that_is_dropped_goes_to_the_next,
          a_receive_that_is_cancelled_while_it_waits_takes_nothing,
          a_value_stays_when_the_receive_that_it_woke_is_dropped,
          a_task_that_is_cancelled_neither_sends_nor_receives,
          a_value_that_is_there_wins_over_a_cancel, receiving_many_waits_for_the_first_one_only,
          sends_and_receives_that_need_not_wait_let_others_run,
          a_sender_that_is_let_go_sends_while_others_are_being_let_go)
