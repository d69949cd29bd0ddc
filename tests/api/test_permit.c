/* SPDX-License-Identifier: MIT */
/*
 * test_permit.c - room in a channel that is reserved first and used later.
 */
#include "channel.h"
#include "waiting.h"

#include <pthread.h>
#include <stdatomic.h>

static int received(weft_receiver *rx)
{
    int got = 0, rc = weft_try_recv(rx, &got);

    return rc == 1 ? got : rc;
}

/* --- one ----------------------------------------------------------------------------- */

static int reserve_and_send(void *arg)
{
    struct channel c = channel_new(2), other = channel_new(2);
    weft_weak_sender *weak = weft_sender_downgrade(c.tx);
    weft_weak_sender *stranger = weft_sender_downgrade(other.tx);
    weft_permit p, q, none;

    (void)arg;
    CHECK_EQ(0, weft_reserve(c.tx, &p));
    CHECK_EQ(1, weft_permit_count(&p));
    CHECK(weft_permit_same_channel(&p, c.tx));
    CHECK(weft_permit_same_channel_as_receiver(&p, c.rx));
    CHECK(weft_permit_same_channel_as_weak_sender(&p, weak));
    CHECK(weft_permit_same_channel_as_receiver(&p, other.rx) == false);
    CHECK(weft_permit_same_channel_as_weak_sender(&p, stranger) == false);
    weft_weak_sender_close(weak);
    weft_weak_sender_close(stranger);
    channel_close(other);
    CHECK_EQ(1, weft_sender_capacity(c.tx));
    CHECK_EQ(0, weft_try_reserve(c.tx, &q));
    CHECK_EQ(0, weft_receiver_capacity(c.rx));
    CHECK_EQ(2, weft_sender_max_capacity(c.tx));
    CHECK_EQ(-EAGAIN, weft_try_reserve(c.tx, &none));
    CHECK_EQ(-EAGAIN, weft_try_send(c.tx, &(int){9}));
    CHECK_EQ(0, weft_permit_send(&q, &(int){1}));
    CHECK_EQ(0, weft_permit_send(&p, &(int){2}));
    CHECK_EQ(0, weft_permit_count(&p));
    CHECK_EQ(-EINVAL, weft_permit_send(&p, &(int){3}));
    CHECK_EQ(1, received(c.rx));
    CHECK_EQ(2, received(c.rx));
    CHECK_EQ(2, weft_sender_capacity(c.tx));
    weft_permit_release(&p);
    weft_permit_release(&p); /* twice is as good */
    weft_permit_release(&q);
    CHECK_EQ(2, weft_sender_capacity(c.tx));
    channel_close(c);
    return 0;
}

TEST(a_permit_sends_without_waiting_on_room_that_nobody_else_gets)
{
    test_run(reserve_and_send, NULL);
}

static int wait_for_permit(void *arg)
{
    struct channel *c = arg;
    weft_permit p;
    int rc = weft_reserve(c->tx, &p);

    if (rc < 0)
        return rc;
    CHECK_EQ(0, weft_permit_send(&p, &(int){5}));
    weft_permit_release(&p);
    return 0;
}

static int released(void *arg)
{
    struct channel c = channel_new(1);
    weft_permit p;
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, weft_reserve(c.tx, &p));
    t = spawn_waiting(wait_for_permit, &c);
    weft_permit_release(&p);
    CHECK_EQ(0, weft_permit_count(&p));
    CHECK_EQ(0, join(t));
    CHECK_EQ(5, received(c.rx));
    channel_close(c);
    return 0;
}

TEST(a_permit_that_is_released_gives_its_room_to_who_waits)
{
    test_run(released, NULL);
}

/* --- many ---------------------------------------------------------------------------- */

static int reserve_three(void *arg)
{
    struct channel *c = arg;
    weft_permit p;
    int rc = weft_reserve_many(c->tx, 3, &p);

    if (rc < 0)
        return rc;
    CHECK_EQ(3, weft_permit_count(&p));
    CHECK_EQ(0, weft_permit_send(&p, &(int){7}));
    CHECK_EQ(0, weft_permit_send(&p, &(int){8}));
    weft_permit_release(&p); /* the third goes back */
    return 0;
}

static int send_nine(void *arg)
{
    return weft_send(((struct channel *)arg)->tx, &(int){9});
}

static int several(void *arg)
{
    struct channel c = channel_new(3);
    weft_permit p, empty;
    weft_task *three, *one;

    (void)arg;
    CHECK_EQ(-EINVAL, weft_reserve_many(c.tx, 4, &p));
    CHECK_EQ(-EINVAL, weft_try_reserve_many(c.tx, 4, &p));
    CHECK_EQ(0, weft_reserve_many(c.tx, 0, &empty));
    CHECK_EQ(0, weft_permit_count(&empty));
    CHECK_EQ(-EINVAL, weft_permit_send(&empty, &(int){1}));
    weft_permit_release(&empty);

    CHECK_EQ(0, weft_try_reserve_many(c.tx, 2, &p));
    CHECK_EQ(-EAGAIN, weft_try_reserve_many(c.tx, 2, &empty));
    three = spawn_waiting(reserve_three, &c);
    /* There is room for one, but others wait: nobody overtakes them. */
    CHECK_EQ(0, weft_sender_capacity(c.tx));
    CHECK_EQ(-EAGAIN, weft_try_send(c.tx, &(int){9}));
    one = spawn_waiting(send_nine, &c);
    CHECK_EQ(0, weft_permit_send(&p, &(int){1}));
    CHECK_EQ(1, received(c.rx));
    CHECK_EQ(-EAGAIN, received(c.rx));
    CHECK(!weft_is_finished(three));
    weft_permit_release(&p); /* now there is room for three */
    CHECK_EQ(0, join(three));
    CHECK_EQ(0, join(one));
    CHECK_EQ(7, received(c.rx));
    CHECK_EQ(8, received(c.rx));
    CHECK_EQ(9, received(c.rx));
    channel_close(c);
    return 0;
}

TEST(many_are_reserved_together_and_in_line)
{
    test_run(several, NULL);
}

/* One that waits for much gives up: those behind it for whom there is room go on. */
static int large_one_gives_up(void *arg)
{
    struct channel c = channel_new(3);
    weft_task *three, *one;
    weft_permit p;

    (void)arg;
    CHECK_EQ(0, weft_reserve_many(c.tx, 2, &p));
    three = spawn_waiting(reserve_three, &c);
    one = spawn_waiting(send_nine, &c);
    weft_cancel(three);
    CHECK_EQ(-ECANCELED, join(three));
    CHECK_EQ(0, join(one));
    CHECK_EQ(9, received(c.rx));
    weft_permit_release(&p);
    CHECK_EQ(3, weft_sender_capacity(c.tx));
    channel_close(c);
    return 0;
}

TEST(who_stands_behind_a_large_reserve_that_is_cancelled_goes_on)
{
    test_run(large_one_gives_up, NULL);
}

/* --- cancelling ------------------------------------------------------------------------ */

static int call_reserve(void *arg)
{
    weft_permit p;

    return weft_reserve(((struct channel *)arg)->tx, &p);
}

static int call_reserve_many(void *arg)
{
    weft_permit p;

    return weft_reserve_many(((struct channel *)arg)->tx, 2, &p);
}

static int call_reserve_owned(void *arg)
{
    weft_permit p;

    return weft_reserve_owned(((struct channel *)arg)->tx, &p);
}

static weft_permit place;

static weft_future future_reserve(void *arg)
{
    return weft_reserve_future(((struct channel *)arg)->tx, &place);
}

static weft_future future_reserve_many(void *arg)
{
    return weft_reserve_many_future(((struct channel *)arg)->tx, 2, &place);
}

static weft_future future_reserve_owned(void *arg)
{
    return weft_reserve_owned_future(((struct channel *)arg)->tx, &place);
}

static void nothing_reserved(void *arg)
{
    struct channel *c = arg;

    CHECK_EQ(1, received(c->rx));
    CHECK_EQ(2, received(c->rx));
    CHECK_EQ(2, weft_sender_capacity(c->tx));
    CHECK_EQ(1, weft_sender_strong_count(c->tx));
    CHECK_EQ(0, weft_try_send(c->tx, &(int){1}));
    CHECK_EQ(0, weft_try_send(c->tx, &(int){2}));
    CHECK_EQ(0, weft_permit_count(&place));
}

static int cancelled_reserves(void *arg)
{
    struct channel c = channel_new(2);
    struct giveup calls[] = {{call_reserve, future_reserve, &c},
                             {call_reserve_many, future_reserve_many, &c},
                             {call_reserve_owned, future_reserve_owned, &c}};

    (void)arg;
    CHECK_EQ(0, weft_try_send(c.tx, &(int){1}));
    CHECK_EQ(0, weft_try_send(c.tx, &(int){2}));
    for (int i = 0; i < 3; i++)
        give_up(&calls[i]);
    nothing_reserved(&c);
    channel_close(c);
    return 0;
}

TEST(a_reserve_that_is_cancelled_while_it_waits_reserves_nothing)
{
    test_run(cancelled_reserves, NULL);
}

static int as_futures(void *arg)
{
    struct channel c = channel_new(4);
    weft_permit p[3];
    weft_future f[3];

    (void)arg;
    f[0] = weft_reserve_future(c.tx, &p[0]);
    f[1] = weft_reserve_many_future(c.tx, 2, &p[1]);
    f[2] = weft_reserve_owned_future(c.tx, &p[2]);
    CHECK_EQ(0, weft_join_all(&f[0], &f[1], &f[2]));
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(0, f[i].result);
        CHECK_EQ(i == 1 ? 2 : 1, weft_permit_count(&p[i]));
    }
    CHECK_EQ(2, weft_sender_strong_count(c.tx));
    CHECK_EQ(0, weft_sender_capacity(c.tx));
    for (int i = 0; i < 3; i++)
        weft_permit_release(&p[i]);
    f[0] = weft_reserve_many_future(c.tx, 0, &p[0]);
    CHECK_EQ(0, weft_await(&f[0]));
    CHECK_EQ(0, weft_permit_count(&p[0]));
    channel_close(c);
    return 0;
}

TEST(reserves_are_futures_too)
{
    test_run(as_futures, NULL);
}

/* --- the ends --------------------------------------------------------------------------- */

static int keeps_open(void *arg)
{
    struct channel c = channel_new(2);
    weft_permit owned, none;
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, weft_reserve_owned(c.tx, &owned));
    CHECK_EQ(0, weft_try_reserve_owned(c.tx, &none));
    CHECK_EQ(3, weft_receiver_strong_count(c.rx));
    weft_permit_release(&none);
    weft_sender_close(c.tx);
    CHECK(!weft_receiver_is_closed(c.rx));
    t = spawn_waiting(receive_one, &c);
    CHECK_EQ(0, weft_permit_send(&owned, &(int){4}));
    CHECK_EQ(4, join(t));
    t = spawn_waiting(receive_one, &c); /* used up, but not released */
    weft_permit_release(&owned);
    CHECK_EQ(0, join(t));
    CHECK(weft_receiver_is_closed(c.rx));
    weft_receiver_close(c.rx);
    return 0;
}

TEST(an_owned_permit_counts_as_a_sender)
{
    test_run(keeps_open, NULL);
}

/* A permit that is not owned does not keep the channel open, but its value is still waited for. */
static int outlives_its_sender(void *arg)
{
    struct channel c = channel_new(2);
    weft_permit p, q;
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, weft_reserve(c.tx, &p));
    CHECK_EQ(0, weft_reserve(c.tx, &q));
    weft_sender_close(c.tx);
    CHECK(weft_receiver_is_closed(c.rx));
    CHECK_EQ(-EAGAIN, received(c.rx)); /* not 0 */
    t = spawn_waiting(receive_one, &c);
    CHECK_EQ(0, weft_permit_send(&p, &(int){6}));
    CHECK_EQ(6, join(t));
    t = spawn_waiting(receive_one, &c);
    weft_permit_release(&q);
    CHECK_EQ(0, join(t));
    weft_permit_release(&p);
    weft_receiver_close(c.rx);
    return 0;
}

TEST(the_channel_ends_only_when_no_permit_is_outstanding)
{
    test_run(outlives_its_sender, NULL);
}

static int after_shutdown(void *arg)
{
    struct channel c = channel_new(2);
    weft_permit p, none;
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, weft_reserve_many(c.tx, 2, &p));
    t = spawn_waiting(wait_for_permit, &c);
    weft_receiver_shutdown(c.rx);
    CHECK_EQ(-EPIPE, join(t));
    CHECK_EQ(-EPIPE, weft_reserve(c.tx, &none));
    CHECK_EQ(-EAGAIN, received(c.rx));
    CHECK_EQ(0, weft_permit_send(&p, &(int){3}));
    CHECK_EQ(3, received(c.rx));
    CHECK_EQ(-EAGAIN, received(c.rx));
    t = spawn_waiting(receive_one, &c);
    weft_permit_release(&p);
    CHECK_EQ(0, join(t));
    channel_close(c);
    return 0;
}

TEST(a_permit_is_good_after_the_receiver_was_shut_down)
{
    test_run(after_shutdown, NULL);
}

static atomic_int destroyed;

static void destroy_int(void *value)
{
    atomic_fetch_add(&destroyed, *(int *)value);
}

static int after_close(void *arg)
{
    static const weft_channel_options options = {.destroy = destroy_int};
    struct channel c;
    weft_channel_info info;
    weft_permit p;

    (void)arg;
    atomic_store(&destroyed, 0);
    CHECK_EQ(0, weft_mpsc_new_with(&c.tx, &c.rx, sizeof(int), 3, &options));
    CHECK_EQ(0, weft_reserve_many(c.tx, 2, &p));
    CHECK_EQ(0, weft_try_send(c.tx, &(int){100}));
    weft_receiver_close(c.rx);
    CHECK_EQ(100, atomic_load(&destroyed));
    CHECK_EQ(0, weft_permit_send(&p, &(int){20}));
    CHECK_EQ(120, atomic_load(&destroyed));
    CHECK_EQ(0, weft_sender_get_info(c.tx, &info));
    CHECK_EQ(2, info.sent);
    CHECK_EQ(2, info.dropped);
    CHECK_EQ(0, info.received);
    CHECK_EQ(0, info.depth);
    weft_sender_close(c.tx);
    CHECK_EQ(0, weft_permit_send(&p, &(int){3}));
    weft_permit_release(&p); /* the last one holds the memory */
    CHECK_EQ(123, atomic_load(&destroyed));
    return 0;
}

TEST(what_a_permit_sends_to_a_closed_receiver_is_destroyed)
{
    test_run(after_close, NULL);
}

/* Given room by the receiver, which then closes before the sender is polled: nothing was sent. */
static int granted_and_closed(void *arg)
{
    static const weft_channel_options options = {.destroy = destroy_int};
    struct channel c;
    weft_future f;
    int got;

    (void)arg;
    atomic_store(&destroyed, 0);
    CHECK_EQ(0, weft_mpsc_new_with(&c.tx, &c.rx, sizeof(int), 1, &options));
    CHECK_EQ(0, weft_try_send(c.tx, &(int){1}));
    f = weft_send_future(c.tx, &(int){2});
    keep_pending(&f);
    CHECK_EQ(1, weft_try_recv(c.rx, &got));
    weft_receiver_close(c.rx);
    CHECK_EQ(-EPIPE, weft_await(&f));
    CHECK_EQ(0, atomic_load(&destroyed));
    weft_sender_close(c.tx);
    return 0;
}

TEST(a_send_that_got_room_just_before_the_receiver_closed_has_not_sent)
{
    test_run(granted_and_closed, NULL);
}

/* --- unbounded -------------------------------------------------------------------------- */

static int without_a_limit(void *arg)
{
    struct channel c = channel_new(0);
    weft_permit p, q;

    (void)arg;
    CHECK_EQ(SIZE_MAX, weft_sender_capacity(c.tx));
    CHECK_EQ(0, weft_reserve_many(c.tx, 5000, &p));
    CHECK_EQ(0, weft_try_reserve(c.tx, &q));
    for (int i = 0; i < 3000; i++)
        CHECK_EQ(0, weft_send(c.tx, &i));
    for (int i = 3000; i < 8000; i++)
        CHECK_EQ(0, weft_permit_send(&p, &i));
    CHECK_EQ(0, weft_permit_send(&q, &(int){8000}));
    for (int i = 0; i <= 8000; i++)
        CHECK_EQ(i, received(c.rx));
    CHECK_EQ(-EAGAIN, received(c.rx));
    weft_permit_release(&p);
    weft_permit_release(&q);
    channel_close(c);
    return 0;
}

TEST(permits_of_an_unbounded_channel_have_their_memory)
{
    test_run(without_a_limit, NULL);
}

/* --- threads ----------------------------------------------------------------------------- */

#define THREAD_VALUES 2000

static void *thread_reserves(void *arg)
{
    struct channel *c = arg;
    weft_permit p;

    for (int i = 0; i < THREAD_VALUES;) {
        int rc = i % 3 == 0   ? weft_reserve_many_blocking(c->tx, 2, &p)
                 : i % 3 == 1 ? weft_reserve_blocking(c->tx, &p)
                              : weft_reserve_owned_blocking(c->tx, &p);

        CHECK_EQ(0, rc);
        for (; weft_permit_count(&p); i++)
            CHECK_EQ(0, weft_permit_send(&p, &i));
        weft_permit_release(&p);
    }
    weft_sender_close(c->tx);
    return NULL;
}

static int from_a_thread(void *arg)
{
    struct channel c = channel_new(3);
    pthread_t thread;
    int got, next = 0;

    (void)arg;
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_reserves, &c));
    while (weft_recv(c.rx, &got) == 1)
        CHECK_EQ(next++, got);
    CHECK(next >= THREAD_VALUES);
    CHECK_EQ(0, pthread_join(thread, NULL));
    weft_receiver_close(c.rx);
    return 0;
}

TEST(a_plain_thread_reserves)
{
    test_run(from_a_thread, NULL);
}

/* --- the channel goes meanwhile --------------------------------------------------------- */

#define THRONG 33 /* one more than are woken at a time */

/* Its senders wait in line; the first of them that is woken ends it all: sends are done, both ends closed. */
static struct throng {
    struct poller poller; /* first */
    struct channel c;
    weft_sender *tx[THRONG];
    weft_future send[THRONG];
    int value[THRONG], sent;
} throng;

static void throng_ends(struct poller *p)
{
    if (atomic_load(&p->wakes) != THRONG - 1)
        return;
    for (int i = 0; i < THRONG; i++) {
        throng.sent += poller_poll(p, &throng.send[i]) == WEFT_READY;
        weft_future_drop(&throng.send[i]);
        weft_sender_close(throng.tx[i]);
    }
    weft_receiver_close(throng.c.rx);
}

/* All room is taken, and all wait. */
static void throng_begin(weft_permit *all)
{
    throng = (struct throng){.c = channel_new(2 * THRONG)};
    poller_init(&throng.poller);
    CHECK_EQ(0, weft_try_reserve_many(throng.c.tx, 2 * THRONG, all));
}

static void throng_waits(void)
{
    for (int i = 0; i < THRONG; i++) {
        throng.tx[i] = weft_sender_clone(throng.c.tx);
        throng.send[i] = weft_send_future(throng.tx[i], &throng.value[i]);
        CHECK_EQ(WEFT_PENDING, poller_poll(&throng.poller, &throng.send[i]));
    }
    weft_sender_close(throng.c.tx);
    throng.poller.on_wake = throng_ends;
}

static int release_before_a_throng(void *arg)
{
    weft_permit all;

    (void)arg;
    throng_begin(&all);
    throng_waits();
    weft_permit_release(&all);
    CHECK(throng.sent >= THRONG - 1);
    CHECK_EQ(0, atomic_load(&throng.poller.refs));
    return 0;
}

static int drop_before_a_throng(void *arg)
{
    weft_permit all, none;
    weft_future reserve;

    (void)arg;
    throng_begin(&all);
    reserve = weft_reserve_many_future(throng.c.tx, 2 * THRONG, &none);
    CHECK_EQ(WEFT_PENDING, poller_poll(&throng.poller, &reserve));
    throng_waits();
    weft_permit_release(&all);
    CHECK_EQ(1, atomic_load(&throng.poller.wakes));
    atomic_store(&throng.poller.wakes, 0);
    weft_future_drop(&reserve);
    CHECK(throng.sent >= THRONG - 1);
    CHECK_EQ(0, atomic_load(&throng.poller.refs));
    return 0;
}

TEST(a_channel_may_go_while_its_last_room_is_given_to_many)
{
    test_run(release_before_a_throng, NULL);
    test_run(drop_before_a_throng, NULL);
}

TEST_MAIN("permit", a_permit_sends_without_waiting_on_room_that_nobody_else_gets,
          a_permit_that_is_released_gives_its_room_to_who_waits,
          many_are_reserved_together_and_in_line,
          who_stands_behind_a_large_reserve_that_is_cancelled_goes_on,
          a_reserve_that_is_cancelled_while_it_waits_reserves_nothing, reserves_are_futures_too,
          an_owned_permit_counts_as_a_sender, the_channel_ends_only_when_no_permit_is_outstanding,
          a_permit_is_good_after_the_receiver_was_shut_down,
          what_a_permit_sends_to_a_closed_receiver_is_destroyed,
          a_send_that_got_room_just_before_the_receiver_closed_has_not_sent,
          permits_of_an_unbounded_channel_have_their_memory, a_plain_thread_reserves,
          a_channel_may_go_while_its_last_room_is_given_to_many)
