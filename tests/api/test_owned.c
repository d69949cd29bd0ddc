/* SPDX-License-Identifier: MIT */
/*
 * test_owned.c - values that own something, in the channels where one value goes to many: each receiver has a copy
 * of its own, and the channel's is destroyed once, as soon as nobody can get it any more.
 *
 * A value here is a counted page. Whoever has one may read it; the last count frees it, so a count too few is a
 * use after free, and one too many a leak.
 */
#include "waiting.h"

#include <pthread.h>
#include <stdlib.h>

struct page {
    atomic_int count;
    int number;
};

static atomic_int pages, copies_fail, copies;

static struct page *page_new(int number)
{
    struct page *p = malloc(sizeof(*p));

    CHECK(p);
    atomic_init(&p->count, 1);
    p->number = number;
    atomic_fetch_add(&pages, 1);
    return p;
}

static void page_put(struct page *p)
{
    CHECK(atomic_load(&p->count) > 0);
    if (atomic_fetch_sub(&p->count, 1) > 1)
        return;
    p->number = -1;
    free(p);
    atomic_fetch_sub(&pages, 1);
}

static int page_copy(void *to, const void *from)
{
    struct page *p = *(struct page *const *)from;

    CHECK(p->number > 0);
    if (atomic_load(&copies_fail) > 0) {
        atomic_fetch_sub(&copies_fail, 1);
        return -ENOMEM;
    }
    atomic_fetch_add(&copies, 1);
    atomic_fetch_add(&p->count, 1);
    *(struct page **)to = p;
    return 0;
}

static void page_destroy(void *value)
{
    page_put(*(struct page **)value);
}

static const weft_channel_options owned = {.destroy = page_destroy, .copy = page_copy};

/* --- broadcast --------------------------------------------------------------------- */

static void make_broadcast(weft_broadcast_sender **tx, weft_broadcast_receiver **rx,
                           size_t capacity)
{
    CHECK_EQ(0, weft_broadcast_new_with(tx, rx, sizeof(struct page *), capacity, &owned));
}

static void send_page(weft_broadcast_sender *tx, int number)
{
    struct page *p = page_new(number);

    CHECK(weft_broadcast_send(tx, &p) >= 1);
}

static void expect_page(weft_broadcast_receiver *rx, int number)
{
    struct page *p = NULL;

    CHECK_EQ(1, weft_broadcast_try_recv(rx, &p));
    CHECK_EQ(number, p->number);
    page_put(p);
}

TEST(a_value_is_destroyed_when_the_last_receiver_has_had_it)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *a, *b;

    make_broadcast(&tx, &a, 4);
    CHECK_EQ(0, weft_broadcast_subscribe(tx, &b));
    send_page(tx, 1);
    send_page(tx, 2);
    CHECK_EQ(2, atomic_load(&pages));
    expect_page(a, 1);
    expect_page(a, 2);
    CHECK_EQ(2, atomic_load(&pages));
    expect_page(b, 1);
    CHECK_EQ(1, atomic_load(&pages));
    expect_page(b, 2);
    CHECK_EQ(0, atomic_load(&pages));
    CHECK_EQ(4, atomic_load(&copies));
    weft_broadcast_receiver_close(a);
    weft_broadcast_receiver_close(b);
    weft_broadcast_sender_close(tx);
}

END_TEST

TEST(a_value_is_destroyed_when_a_newer_one_takes_its_place)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    struct page *p;

    make_broadcast(&tx, &rx, 3);
    for (int i = 1; i <= 10; i++) {
        send_page(tx, i);
        CHECK_EQ(i < 3 ? i : 3, atomic_load(&pages));
    }
    CHECK_EQ(-EOVERFLOW, weft_broadcast_try_recv(rx, &p));
    CHECK_EQ(7, weft_broadcast_missed(rx));
    for (int i = 8; i <= 10; i++)
        expect_page(rx, i);
    CHECK_EQ(0, atomic_load(&pages));
    weft_broadcast_receiver_close(rx);
    weft_broadcast_sender_close(tx);
}

END_TEST

/* More than are counted down at a time. */
TEST(what_a_receiver_leaves_unread_is_destroyed_when_it_is_closed)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *a, *b;

    make_broadcast(&tx, &a, 1000);
    for (int i = 1; i <= 300; i++)
        send_page(tx, i);
    CHECK_EQ(0, weft_broadcast_subscribe(tx, &b));
    for (int i = 301; i <= 500; i++)
        send_page(tx, i);
    CHECK_EQ(500, atomic_load(&pages));
    weft_broadcast_receiver_close(a);
    CHECK_EQ(200, atomic_load(&pages)); /* those that b has yet to see */
    for (int i = 301; i <= 400; i++)
        expect_page(b, i);
    CHECK_EQ(100, atomic_load(&pages));
    CHECK_EQ(100, weft_broadcast_sender_len(tx));
    weft_broadcast_sender_close(tx);
    weft_broadcast_receiver_close(b);
    CHECK_EQ(0, atomic_load(&pages));
}

END_TEST

TEST(a_value_that_was_not_sent_is_still_the_senders)
{
    weft_broadcast_sender *tx;
    struct page *p = page_new(1);

    make_broadcast(&tx, NULL, 1);
    CHECK_EQ(-EPIPE, weft_broadcast_send(tx, &p));
    CHECK_EQ(1, atomic_load(&p->count));
    page_put(p);
    weft_broadcast_sender_close(tx);
    CHECK_EQ(0, atomic_load(&pages));
}

END_TEST

static int copies_that_fail(void *arg)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    struct page *p = NULL;

    (void)arg;
    make_broadcast(&tx, &rx, 2);
    send_page(tx, 1);
    atomic_store(&copies_fail, 3);
    CHECK_EQ(-ENOMEM, weft_broadcast_try_recv(rx, &p));
    CHECK_EQ(-ENOMEM, weft_broadcast_recv(rx, &p));
    CHECK_EQ(1, weft_broadcast_receiver_len(rx));
    CHECK_EQ(-ENOMEM, weft_broadcast_recv(rx, &p));
    CHECK(p == NULL && atomic_load(&pages) == 1);
    CHECK_EQ(1, weft_broadcast_recv(rx, &p));
    CHECK_EQ(1, p->number);
    page_put(p);
    CHECK_EQ(0, atomic_load(&pages));
    weft_broadcast_receiver_close(rx);
    weft_broadcast_sender_close(tx);
    return 0;
}

TEST(a_copy_that_fails_leaves_the_value_to_be_received)
{
    test_run(copies_that_fail, NULL);
}

END_TEST

/* The channel while a receiver copies: the user's function can do what it likes with it, but receive. */
static struct {
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx;
    int reentered;
} meanwhile;

static int copy_while_it_is_overwritten(void *to, const void *from)
{
    struct page *other;

    if (meanwhile.reentered++ == 0) {
        CHECK_EQ(-EBUSY, weft_broadcast_try_recv(meanwhile.rx, &other));
        for (int i = 2; i <= 4; i++)
            send_page(meanwhile.tx, i);
        CHECK_EQ(3, atomic_load(&pages)); /* 1, which is being copied, 3 and 4 */
    }
    return page_copy(to, from);
}

TEST(a_value_outlives_its_place_while_it_is_copied)
{
    weft_channel_options options = {.destroy = page_destroy, .copy = copy_while_it_is_overwritten};
    struct page *p;

    CHECK_EQ(0, weft_broadcast_new_with(&meanwhile.tx, &meanwhile.rx, sizeof(p), 2, &options));
    send_page(meanwhile.tx, 1);
    CHECK_EQ(1, weft_broadcast_try_recv(meanwhile.rx, &p));
    CHECK_EQ(1, p->number);
    page_put(p);
    CHECK_EQ(2, atomic_load(&pages));
    CHECK_EQ(-EOVERFLOW, weft_broadcast_try_recv(meanwhile.rx, &p));
    CHECK_EQ(1, weft_broadcast_missed(meanwhile.rx)); /* 2; 1 was received */
    expect_page(meanwhile.rx, 3);
    expect_page(meanwhile.rx, 4);
    CHECK_EQ(0, atomic_load(&pages));
    weft_broadcast_receiver_close(meanwhile.rx);
    weft_broadcast_sender_close(meanwhile.tx);
}

END_TEST

/* Some receive all the time, one comes and goes, one lags. */
#define PAGES 2000

static int reads_pages(void *arg)
{
    weft_broadcast_receiver *rx = arg;
    uint64_t got = 0, missed = 0;
    struct page *p;
    int rc;

    while ((rc = weft_broadcast_recv(rx, &p)) != 0) {
        if (rc == -EOVERFLOW) {
            missed += weft_broadcast_missed(rx);
            continue;
        }
        CHECK_EQ(1, rc);
        got++;
        CHECK_EQ(got + missed, (uint64_t)p->number);
        page_put(p);
    }
    CHECK_EQ(PAGES, got + missed);
    weft_broadcast_receiver_close(rx);
    return 0;
}

static int pages_for_all(void *arg)
{
    weft_broadcast_sender *tx;
    weft_broadcast_receiver *rx, *passing;
    weft_task *t[4];

    (void)arg;
    make_broadcast(&tx, NULL, 8);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(0, weft_broadcast_subscribe(tx, &rx));
        t[i] = weft_spawn(reads_pages, rx);
    }
    for (int i = 1; i <= PAGES; i++) {
        CHECK_EQ(0, weft_broadcast_subscribe(tx, &passing));
        send_page(tx, i);
        if (i % 3 == 0)
            expect_page(passing, i);
        weft_broadcast_receiver_close(passing);
        if (i % 7 == 0)
            CHECK_EQ(0, weft_yield());
    }
    weft_broadcast_sender_close(tx);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(0, joined(t[i]));
    CHECK_EQ(0, atomic_load(&pages));
    return 0;
}

TEST(every_page_is_freed_once)
{
    test_run(pages_for_all, NULL);
}

END_TEST

/* --- watch --------------------------------------------------------------------------- */

static void make_watch(weft_watch_sender **tx, weft_watch_receiver **rx, int number)
{
    struct page *p = page_new(number);

    CHECK_EQ(0, weft_watch_new_with(tx, rx, sizeof(p), &p, &owned));
}

static void watch_send_page(weft_watch_sender *tx, int number)
{
    struct page *p = page_new(number);

    CHECK_EQ(0, weft_watch_send(tx, &p));
}

static void expect_latest(weft_watch_receiver *rx, int number)
{
    struct page *p;

    CHECK_EQ(0, weft_watch_get(rx, &p));
    CHECK_EQ(number, p->number);
    page_put(p);
}

TEST(a_watch_destroys_what_was_replaced)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    struct page *p;

    make_watch(&tx, &rx, 1);
    expect_latest(rx, 1);
    for (int i = 2; i <= 20; i++) {
        watch_send_page(tx, i);
        CHECK_EQ(1, atomic_load(&pages));
        expect_latest(rx, i);
    }
    p = page_new(21);
    weft_watch_receiver_close(rx);
    CHECK_EQ(-EPIPE, weft_watch_send(tx, &p));
    CHECK_EQ(2, atomic_load(&pages)); /* it is still ours */
    page_put(p);
    weft_watch_sender_close(tx);
    CHECK_EQ(0, atomic_load(&pages));
}

END_TEST

TEST(a_watch_keeps_what_is_lent)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    struct page *const *a, *const *b;

    make_watch(&tx, &rx, 1);
    a = weft_watch_borrow(rx);
    watch_send_page(tx, 2);
    b = weft_watch_borrow(rx);
    watch_send_page(tx, 3);
    watch_send_page(tx, 4);
    CHECK_EQ(3, atomic_load(&pages));
    CHECK(*a && (*a)->number == 1 && (*b)->number == 2);
    weft_watch_receiver_close(rx);
    weft_watch_sender_close(tx);
    CHECK_EQ(1, (*a)->number); /* 4 may go with the handles or after the loans */
    weft_watch_return(a);
    CHECK_EQ(2, (*b)->number);
    weft_watch_return(b);
    CHECK_EQ(0, atomic_load(&pages));
}

END_TEST

TEST(a_replaced_value_comes_as_a_copy)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    struct page *old = NULL, *p = page_new(2);

    make_watch(&tx, &rx, 1);
    atomic_store(&copies_fail, 1);
    CHECK_EQ(-ENOMEM, weft_watch_send_replace(tx, &p, &old));
    CHECK(old == NULL);
    expect_latest(rx, 1); /* nothing has changed */
    CHECK_EQ(0, weft_watch_has_changed(rx));
    CHECK_EQ(0, weft_watch_send_replace(tx, &p, &old));
    CHECK_EQ(1, old->number);
    CHECK_EQ(1, atomic_load(&old->count)); /* the channel's is gone */
    page_put(old);
    expect_latest(rx, 2);
    weft_watch_receiver_close(rx);
    weft_watch_sender_close(tx);
    CHECK_EQ(0, atomic_load(&pages));
}

END_TEST

static void turn_the_page(void *value, void *arg)
{
    struct page **p = value;
    int number = (*p)->number;

    CHECK(atomic_load(&(*p)->count) >= 2); /* a copy of our own */
    page_put(*p);
    *p = page_new(number + *(int *)arg);
}

static bool turn_and_think_better_of_it(void *value, void *arg)
{
    turn_the_page(value, arg);
    return false;
}

TEST(a_change_is_made_to_a_copy)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    int by = 10;

    make_watch(&tx, &rx, 1);
    CHECK_EQ(0, weft_watch_send_modify(tx, turn_the_page, &by));
    expect_latest(rx, 11);
    CHECK_EQ(1, atomic_load(&pages));
    CHECK_EQ(0, weft_watch_send_if_modified(tx, turn_and_think_better_of_it, &by));
    expect_latest(rx, 11);
    CHECK_EQ(1, atomic_load(&pages));
    atomic_store(&copies_fail, 2);
    CHECK_EQ(-ENOMEM, weft_watch_send_modify(tx, turn_the_page, &by));
    CHECK_EQ(-ENOMEM, weft_watch_get(rx, &(struct page *){NULL}));
    expect_latest(rx, 11);
    weft_watch_receiver_close(rx);
    weft_watch_sender_close(tx);
    CHECK_EQ(0, atomic_load(&pages));
}

END_TEST

static bool is_at_least(const void *value, void *arg)
{
    return (*(struct page *const *)value)->number >= *(int *)arg;
}

static int waits_for_page(void *arg)
{
    int want = 50;
    struct page *p = NULL;

    CHECK_EQ(1, weft_watch_wait_for(arg, is_at_least, &want, &p));
    want = p->number;
    page_put(p);
    return want;
}

static int pages_are_watched(void *arg)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    struct page *p = NULL;
    weft_task *t;
    int want = 1;

    (void)arg;
    make_watch(&tx, &rx, 1);
    atomic_store(&copies_fail, 1);
    CHECK_EQ(-ENOMEM, weft_watch_wait_for(rx, is_at_least, &want, &p));
    t = weft_spawn(waits_for_page, rx);
    for (int i = 2; i <= 50; i++) {
        watch_send_page(tx, i);
        CHECK_EQ(0, weft_yield());
    }
    CHECK_EQ(50, joined(t));
    weft_watch_receiver_close(rx);
    weft_watch_sender_close(tx);
    CHECK_EQ(0, atomic_load(&pages));
    return 0;
}

TEST(what_was_waited_for_comes_as_a_copy)
{
    test_run(pages_are_watched, NULL);
}

END_TEST

TEST_MAIN("owned", a_value_is_destroyed_when_the_last_receiver_has_had_it,
          a_value_is_destroyed_when_a_newer_one_takes_its_place,
          what_a_receiver_leaves_unread_is_destroyed_when_it_is_closed,
          a_value_that_was_not_sent_is_still_the_senders,
          a_copy_that_fails_leaves_the_value_to_be_received,
          a_value_outlives_its_place_while_it_is_copied, every_page_is_freed_once,
          a_watch_destroys_what_was_replaced, a_watch_keeps_what_is_lent,
          a_replaced_value_comes_as_a_copy, a_change_is_made_to_a_copy,
          what_was_waited_for_comes_as_a_copy)
