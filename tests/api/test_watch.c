/* SPDX-License-Identifier: MIT */
/*
 * test_watch.c - watch channels: versions, reading, lending, changing the value, and what the ends say. Waiting is in
 * test_watch_wait.c; values that own something in test_owned.c.
 */
#include "waiting.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

static void make(weft_watch_sender **tx, weft_watch_receiver **rx, int value)
{
    CHECK_EQ(0, weft_watch_new(tx, rx, sizeof(value), &value));
}

static int latest(const weft_watch_receiver *rx)
{
    int got = -1;

    CHECK_EQ(0, weft_watch_get(rx, &got));
    return got;
}

static void finish(weft_watch_sender *tx, weft_watch_receiver *rx)
{
    weft_watch_receiver_close(rx);
    weft_watch_sender_close(tx);
}

/* --- versions ------------------------------------------------------------------------ */

TEST(a_receiver_has_seen_the_first_value)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;

    make(&tx, &rx, 5);
    CHECK_EQ(0, weft_watch_has_changed(rx));
    CHECK_EQ(5, latest(rx));
    CHECK_EQ(0, weft_watch_sender_get(tx, &(int){0}));
    finish(tx, rx);
}

END_TEST

TEST(a_receiver_sees_the_latest_value_only)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;

    make(&tx, &rx, 0);
    for (int i = 1; i <= 10; i++)
        CHECK_EQ(0, weft_watch_send(tx, &i));
    CHECK_EQ(1, weft_watch_has_changed(rx));
    CHECK_EQ(10, latest(rx));
    CHECK_EQ(1, weft_watch_changed_blocking(rx));
    CHECK_EQ(0, weft_watch_has_changed(rx)); /* once for all ten */
    CHECK_EQ(10, latest(rx));
    finish(tx, rx);
}

END_TEST

TEST(looking_and_seeing_are_two_things)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx, *other;
    const int *lent;
    int got;

    make(&tx, &rx, 0);
    CHECK_EQ(0, weft_watch_receiver_clone(rx, &other));
    CHECK_EQ(0, weft_watch_send(tx, &(int){1}));
    CHECK_EQ(1, latest(rx));
    lent = weft_watch_borrow(rx);
    weft_watch_return(lent);
    CHECK_EQ(1, weft_watch_has_changed(rx));
    CHECK_EQ(0, weft_watch_get_and_update(rx, &got));
    CHECK_EQ(1, got);
    CHECK_EQ(0, weft_watch_has_changed(rx));
    lent = weft_watch_borrow_and_update(other);
    CHECK_EQ(1, *lent);
    weft_watch_return(lent);
    CHECK_EQ(0, weft_watch_has_changed(other));
    weft_watch_receiver_close(other);
    finish(tx, rx);
}

END_TEST

TEST(a_borrowed_value_says_whether_it_was_new)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    const int *first, *lent;
    bool changed = true;

    make(&tx, &rx, 0);
    first = weft_watch_borrow_changed(rx, &changed);
    CHECK(*first == 0 && !changed);
    CHECK_EQ(0, weft_watch_send(tx, &(int){1}));
    for (int i = 0; i < 2; i++) {
        lent = weft_watch_borrow_changed(rx, &changed);
        CHECK(*lent == 1 && changed);
        weft_watch_return(lent);
        changed = false;
    }
    CHECK_EQ(1, weft_watch_has_changed(rx));
    lent = weft_watch_borrow_and_update_changed(rx, &changed);
    CHECK(*lent == 1 && changed);
    weft_watch_return(lent);
    CHECK_EQ(0, weft_watch_has_changed(rx));
    lent = weft_watch_borrow_and_update_changed(rx, &changed);
    CHECK(*lent == 1 && !changed);
    weft_watch_return(lent);
    weft_watch_mark_changed(rx);
    lent = weft_watch_borrow_changed(rx, &changed);
    CHECK(changed);
    weft_watch_return(lent);
    CHECK_EQ(0, *first); /* as it was */
    weft_watch_return(first);
    finish(tx, rx);
}

END_TEST

TEST(a_version_may_be_marked_by_hand)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;

    make(&tx, &rx, 0);
    weft_watch_mark_changed(rx);
    CHECK_EQ(1, weft_watch_has_changed(rx));
    CHECK_EQ(1, weft_watch_changed_blocking(rx));
    CHECK_EQ(0, weft_watch_has_changed(rx));
    CHECK_EQ(0, weft_watch_send(tx, &(int){1}));
    weft_watch_mark_unchanged(rx);
    CHECK_EQ(0, weft_watch_has_changed(rx));
    finish(tx, rx);
}

END_TEST

TEST(a_new_receiver_has_seen_what_there_is_and_a_clone_what_the_other_has)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx, *late, *clone;

    make(&tx, &rx, 0);
    CHECK_EQ(0, weft_watch_send(tx, &(int){1}));
    CHECK_EQ(0, weft_watch_subscribe(tx, &late));
    CHECK_EQ(0, weft_watch_receiver_clone(rx, &clone));
    CHECK_EQ(0, weft_watch_has_changed(late));
    CHECK_EQ(1, weft_watch_has_changed(clone));
    CHECK_EQ(1, weft_watch_changed_blocking(clone));
    CHECK_EQ(1, weft_watch_has_changed(rx)); /* each for itself */
    weft_watch_receiver_close(late);
    weft_watch_receiver_close(clone);
    finish(tx, rx);
}

END_TEST

TEST(a_closed_channel_keeps_its_last_value)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;

    make(&tx, &rx, 0);
    CHECK_EQ(0, weft_watch_send(tx, &(int){1}));
    weft_watch_sender_close(tx);
    CHECK_EQ(-EPIPE, weft_watch_has_changed(rx)); /* whether it was seen or not */
    CHECK_EQ(1, weft_watch_changed_blocking(rx));
    CHECK_EQ(0, weft_watch_changed_blocking(rx));
    CHECK_EQ(-EPIPE, weft_watch_has_changed(rx));
    CHECK_EQ(1, latest(rx));
    weft_watch_receiver_close(rx);
}

END_TEST

TEST(without_a_receiver_a_send_is_refused_and_the_others_are_not)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    int old = -1;

    make(&tx, NULL, 0);
    CHECK(weft_watch_is_closed(tx));
    CHECK_EQ(-EPIPE, weft_watch_send(tx, &(int){1}));
    CHECK_EQ(0, weft_watch_send_replace(tx, &(int){2}, &old));
    CHECK_EQ(0, old); /* 1 was not stored */
    CHECK_EQ(0, weft_watch_send_replace(tx, &(int){3}, NULL));
    CHECK_EQ(0, weft_watch_subscribe(tx, &rx)); /* open again */
    CHECK(!weft_watch_is_closed(tx));
    CHECK_EQ(3, latest(rx));
    CHECK_EQ(0, weft_watch_has_changed(rx));
    CHECK_EQ(0, weft_watch_send(tx, &(int){4}));
    CHECK_EQ(4, latest(rx));
    weft_watch_receiver_close(rx);
    CHECK_EQ(-EPIPE, weft_watch_send(tx, &(int){5}));
    CHECK_EQ(0, weft_watch_sender_get(tx, &old));
    CHECK_EQ(4, old);
    weft_watch_sender_close(tx);
}

END_TEST

/* --- reading ------------------------------------------------------------------------- */

static void size_is_read(size_t size)
{
    static unsigned char in[5000], out[5000];
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    const void *lent;

    CHECK_EQ(0, weft_watch_new(&tx, &rx, size, size ? in : NULL));
    for (unsigned round = 0; round < 5; round++) {
        for (size_t i = 0; i < size; i++)
            in[i + 1] = (unsigned char)(i * 7 + round);
        memset(out, 0xee, sizeof(out));
        CHECK_EQ(0, weft_watch_send(tx, size ? in + 1 : NULL));
        CHECK_EQ(0, weft_watch_get(rx, size ? out + 3 : NULL));
        CHECK_EQ(0, memcmp(in + 1, out + 3, size));
        CHECK(out[2] == 0xee && out[size + 3] == 0xee);
        lent = weft_watch_borrow(rx);
        CHECK_EQ(0, (uintptr_t)lent % 16); /* fit for any type */
        CHECK_EQ(0, memcmp(in + 1, lent, size));
        weft_watch_return(lent);
    }
    CHECK_EQ(1, weft_watch_has_changed(rx));
    finish(tx, rx);
}

TEST(values_of_any_size_are_read_whole)
{
    static const size_t sizes[] = {0, 1, 3, 7, 8, 9, 16, 23, 24, 100, 4096, 4099};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        size_is_read(sizes[i]);
}

END_TEST

static int lends(void *arg)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    const int *lent[10];

    (void)arg;
    make(&tx, &rx, 0);
    for (int i = 0; i < 10; i++) {
        lent[i] = i % 2 ? weft_watch_borrow(rx) : weft_watch_sender_borrow(tx);
        CHECK_EQ(0, weft_watch_send(tx, &(int){i + 1}));
        CHECK_EQ(0, weft_yield()); /* one may wait with it */
    }
    CHECK_EQ(10, latest(rx));
    finish(tx, rx);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(i, *lent[i]);
        weft_watch_return(lent[i]);
    }
    return 0;
}

TEST(a_value_that_is_lent_stays_as_it_is)
{
    test_run(lends, NULL);
}

END_TEST

static void add_to(const void *value, void *sum)
{
    *(int *)sum += *(const int *)value;
}

static void send_another(const void *value, void *tx)
{
    CHECK_EQ(0, weft_watch_send(tx, &(int){*(const int *)value + 1}));
}

TEST(a_function_may_read_it_where_it_lies)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    int sum = 0;

    make(&tx, &rx, 7);
    CHECK_EQ(0, weft_watch_with(rx, add_to, &sum));
    CHECK_EQ(7, sum);
    CHECK_EQ(0, weft_watch_with(rx, send_another, tx)); /* no lock is held */
    CHECK_EQ(8, latest(rx));
    finish(tx, rx);
}

END_TEST

/* --- changing ------------------------------------------------------------------------ */

static void increment(void *value, void *calls)
{
    ++*(int *)value;
    if (calls)
        atomic_fetch_add((atomic_int *)calls, 1);
}

#define CHANGERS 4
#define CHANGES  500

static struct {
    weft_watch_sender *tx;
    atomic_int calls;
} changing;

static int changes(void *arg)
{
    (void)arg;
    for (int i = 0; i < CHANGES; i++) {
        CHECK_EQ(0, weft_watch_send_modify(changing.tx, increment, &changing.calls));
        if (i % 8 == 0)
            CHECK_EQ(0, weft_yield());
    }
    return 0;
}

static void *thread_changes(void *arg)
{
    for (int i = 0; i < CHANGES; i++)
        CHECK_EQ(0, weft_watch_send_modify(changing.tx, increment, &changing.calls));
    return arg;
}

static int changes_at_once(void *arg)
{
    weft_watch_receiver *rx;
    weft_task *t[CHANGERS];
    pthread_t thread;

    (void)arg;
    atomic_store(&changing.calls, 0);
    make(&changing.tx, &rx, 0);
    for (int i = 0; i < CHANGERS; i++)
        t[i] = weft_spawn(changes, NULL);
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_changes, NULL));
    for (int i = 0; i < CHANGERS; i++)
        CHECK_EQ(0, joined(t[i]));
    CHECK_EQ(0, pthread_join(thread, NULL));
    CHECK_EQ((CHANGERS + 1) * CHANGES, latest(rx)); /* none was lost */
    CHECK_EQ((CHANGERS + 1) * CHANGES, atomic_load(&changing.calls));
    finish(changing.tx, rx);
    return 0;
}

TEST(each_change_is_made_once_and_none_is_lost)
{
    test_run(changes_at_once, NULL);
}

END_TEST

static bool spoil(void *value, void *keep)
{
    *(int *)value = -1;
    return *(bool *)keep;
}

TEST(a_change_that_is_none_leaves_the_value_and_tells_nobody)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    bool keep = false;

    make(&tx, &rx, 1);
    CHECK_EQ(0, weft_watch_send_if_modified(tx, spoil, &keep));
    CHECK_EQ(1, latest(rx));
    CHECK_EQ(0, weft_watch_has_changed(rx));
    keep = true;
    CHECK_EQ(1, weft_watch_send_if_modified(tx, spoil, &keep));
    CHECK_EQ(-1, latest(rx));
    CHECK_EQ(1, weft_watch_has_changed(rx));
    finish(tx, rx);
}

END_TEST

/* What a function may do that changes the value, and what not. */
struct within {
    weft_watch_sender *tx, *other;
    weft_watch_receiver *rx;
    weft_task *spawned;
    bool in_task;
};

static int returns_seven(void *arg)
{
    (void)arg;
    return 7;
}

static void tries_all(void *value, void *arg)
{
    struct within *w = arg;
    weft_future f = weft_watch_changed_future(w->rx);
    int got = -1;

    *(int *)value = 2;
    CHECK_EQ(-EDEADLK, weft_watch_send(w->tx, &(int){9}));
    CHECK_EQ(-EDEADLK, weft_watch_send_replace(w->tx, &(int){9}, NULL));
    CHECK_EQ(-EDEADLK, weft_watch_send_modify(w->tx, increment, NULL));
    CHECK_EQ(-EDEADLK, weft_watch_send_if_modified(w->tx, spoil, NULL));
    CHECK_EQ(0, weft_watch_get(w->rx, &got));
    CHECK_EQ(1, got); /* it is not done yet */
    CHECK_EQ(0, weft_watch_send(w->other, &(int){3}));
    CHECK_EQ(0, weft_watch_send_modify(w->other, increment, NULL));
    if (!w->in_task)
        return;
    CHECK_EQ(-EPERM, weft_yield());
    CHECK_EQ(-EPERM, weft_sleep(WEFT_MS(1)));
    CHECK_EQ(-EPERM, weft_await(&f));
    CHECK_EQ(-EPERM, weft_watch_changed(w->rx));
    w->spawned = weft_spawn(returns_seven, NULL);
    CHECK(w->spawned);
}

static int changes_within(void *arg)
{
    struct within w = {.in_task = arg != NULL};
    weft_watch_receiver *other;

    make(&w.tx, &w.rx, 1);
    make(&w.other, &other, 0);
    CHECK_EQ(0, weft_watch_send_modify(w.tx, tries_all, &w));
    CHECK_EQ(2, latest(w.rx));
    CHECK_EQ(4, latest(other));
    if (w.in_task) {
        CHECK_EQ(0, weft_yield()); /* a fiber as before */
        CHECK_EQ(7, joined(w.spawned));
    }
    finish(w.tx, w.rx);
    finish(w.other, other);
    return 0;
}

TEST(a_change_may_not_await_nor_change_the_same_channel)
{
    test_run(changes_within, (void *)1);
    CHECK_EQ(0, changes_within(NULL)); /* nor on a plain thread */
}

END_TEST

/* --- the ends ------------------------------------------------------------------------- */

TEST(the_counts_are_right)
{
    weft_watch_sender *tx, *more;
    weft_watch_receiver *rx, *another;

    make(&tx, &rx, 0);
    more = weft_watch_sender_clone(tx);
    CHECK_EQ(0, weft_watch_subscribe(more, &another));
    CHECK_EQ(2, weft_watch_sender_count(tx));
    CHECK_EQ(2, weft_watch_receiver_count(tx));
    CHECK(weft_watch_sender_same_channel(tx, more));
    CHECK(weft_watch_receiver_same_channel(rx, another));
    weft_watch_sender_close(tx);
    CHECK_EQ(1, weft_watch_sender_count(more));
    CHECK_EQ(0, weft_watch_has_changed(rx)); /* still open */
    weft_watch_receiver_close(another);
    make(&tx, &another, 0);
    CHECK(!weft_watch_sender_same_channel(tx, more));
    CHECK(!weft_watch_receiver_same_channel(rx, another));
    finish(tx, another);
    finish(more, rx);
}

END_TEST

TEST(the_info_is_right)
{
    weft_channel_options options = {.name = "settings"};
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    weft_channel_info info;
    int value = 0;

    CHECK_EQ(0, weft_watch_new_with(&tx, &rx, sizeof(int), &value, &options));
    CHECK_EQ(0, weft_watch_sender_get_info(tx, &info));
    CHECK_STR("settings", info.name);
    CHECK(info.item_size == sizeof(int) && info.capacity == 1 && info.sent == 0 && info.depth == 0);
    CHECK(info.senders == 1 && info.receivers == 1 && !info.closed);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(0, weft_watch_send(tx, &i));
    weft_watch_sender_close(tx);
    CHECK_EQ(0, weft_watch_receiver_get_info(rx, &info));
    CHECK(info.sent == 5 && info.depth == 1 && info.senders == 0 && info.closed);
    weft_watch_mark_unchanged(rx);
    CHECK_EQ(0, weft_watch_receiver_get_info(rx, &info));
    CHECK_EQ(0, info.depth);
    weft_watch_receiver_close(rx);
}

END_TEST

TEST_MAIN("watch", a_receiver_has_seen_the_first_value, a_receiver_sees_the_latest_value_only,
          looking_and_seeing_are_two_things, a_borrowed_value_says_whether_it_was_new,
          a_version_may_be_marked_by_hand,
          a_new_receiver_has_seen_what_there_is_and_a_clone_what_the_other_has,
          a_closed_channel_keeps_its_last_value,
          without_a_receiver_a_send_is_refused_and_the_others_are_not,
          values_of_any_size_are_read_whole, a_value_that_is_lent_stays_as_it_is,
          a_function_may_read_it_where_it_lies, each_change_is_made_once_and_none_is_lost,
          a_change_that_is_none_leaves_the_value_and_tells_nobody,
          a_change_may_not_await_nor_change_the_same_channel, the_counts_are_right,
          the_info_is_right)
