/* SPDX-License-Identifier: MIT */
/*
 * test_mpsc_info.c - what a channel is told when it is made, and what it says of itself.
 */
#include "channel.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static weft_channel_info info_of(const struct channel *c)
{
    weft_channel_info info, same;

    CHECK_EQ(0, weft_sender_get_info(c->tx, &info));
    CHECK_EQ(0, weft_receiver_get_info(c->rx, &same));
    CHECK_EQ(info.sent, same.sent);
    CHECK_EQ(info.depth, same.depth);
    return info;
}

/* --- counts --------------------------------------------------------------------------- */

TEST(a_new_channel_is_empty_and_open)
{
    struct channel c;
    weft_channel_info i;

    CHECK_EQ(0, weft_mpsc_new(&c.tx, &c.rx, 24, 7));
    i = info_of(&c);
    CHECK_STR("", i.name);
    CHECK_EQ(24, i.item_size);
    CHECK_EQ(7, i.capacity);
    CHECK_EQ(0, i.depth + i.depth_max + i.sent + i.received + i.dropped + i.send_waits);
    CHECK_EQ(0, i.send_wait_time + i.send_wait_time_max);
    CHECK_EQ(1, i.senders);
    CHECK_EQ(0, i.weak_senders);
    CHECK_EQ(1, i.receivers);
    CHECK(!i.closed);
    CHECK(weft_receiver_is_empty(c.rx));
    CHECK_EQ(0, weft_receiver_len(c.rx));
    CHECK_EQ(7, weft_sender_capacity(c.tx));
    CHECK_EQ(7, weft_receiver_capacity(c.rx));
    CHECK_EQ(7, weft_sender_max_capacity(c.tx));
    CHECK_EQ(7, weft_receiver_max_capacity(c.rx));
    CHECK_EQ(1, weft_receiver_strong_count(c.rx));
    CHECK_EQ(0, weft_receiver_weak_count(c.rx));
    channel_close(c);

    CHECK_EQ(0, weft_mpsc_unbounded(&c.tx, &c.rx, 24));
    CHECK(info_of(&c).capacity == UINT64_MAX);
    CHECK(weft_sender_max_capacity(c.tx) == SIZE_MAX);
    CHECK(weft_receiver_max_capacity(c.rx) == SIZE_MAX);
    CHECK(weft_receiver_capacity(c.rx) == SIZE_MAX);
    channel_close(c);
}

END_TEST

TEST(counts_follow_what_happens)
{
    weft_weak_sender *weak;
    struct channel c;
    weft_channel_info i;
    weft_sender *tx;
    int got;

    CHECK_EQ(0, weft_mpsc_new(&c.tx, &c.rx, sizeof(int), 5));
    for (int n = 0; n < 4; n++)
        CHECK_EQ(0, weft_try_send(c.tx, &n));
    CHECK_EQ(1, weft_try_recv(c.rx, &got));
    tx = weft_sender_clone(c.tx);
    weak = weft_sender_downgrade(c.tx);
    i = info_of(&c);
    CHECK_EQ(3, i.depth);
    CHECK_EQ(4, i.depth_max);
    CHECK_EQ(4, i.sent);
    CHECK_EQ(1, i.received);
    CHECK_EQ(0, i.dropped);
    CHECK_EQ(2, i.senders);
    CHECK_EQ(1, i.weak_senders);
    CHECK_EQ(3, weft_receiver_len(c.rx));
    CHECK(!weft_receiver_is_empty(c.rx));
    CHECK_EQ(2, weft_sender_capacity(tx));
    CHECK_EQ(2, weft_receiver_strong_count(c.rx));
    CHECK_EQ(1, weft_receiver_weak_count(c.rx));
    weft_weak_sender_close(weak);
    weft_sender_close(tx);
    weft_receiver_close(c.rx);
    CHECK_EQ(0, weft_sender_get_info(c.tx, &i));
    CHECK_EQ(0, i.depth);
    CHECK_EQ(3, i.dropped);
    CHECK_EQ(1, i.received);
    CHECK_EQ(0, i.receivers);
    CHECK(i.closed);
    weft_sender_close(c.tx);
}

END_TEST

/* Up to 64 exactly, in whatever order it grew. */
TEST(the_greatest_depth_is_remembered)
{
    struct channel c;
    uint64_t most;
    int got;

    CHECK_EQ(0, weft_mpsc_unbounded(&c.tx, &c.rx, sizeof(int)));
    for (int depth = 1; depth <= 64; depth++) {
        for (int n = 0; n < depth; n++)
            CHECK_EQ(0, weft_try_send(c.tx, &n));
        CHECK_EQ(depth, info_of(&c).depth_max);
        while (weft_try_recv(c.rx, &got) == 1)
            continue;
        CHECK_EQ(depth, info_of(&c).depth_max);
        for (int n = 0; n < depth * 3; n++) {
            CHECK_EQ(0, weft_try_send(c.tx, &n));
            CHECK_EQ(1, weft_try_recv(c.rx, &got));
        }
        CHECK_EQ(depth, info_of(&c).depth_max);
    }
    for (int n = 0; n < 10000; n++)
        CHECK_EQ(0, weft_try_send(c.tx, &n));
    CHECK_EQ(10000, info_of(&c).depth_max);
    while (weft_try_recv(c.rx, &got) == 1)
        continue;
    most = info_of(&c).depth_max;
    CHECK(most <= 10000 && most >= 10000 - 10000 / 64 - 1);
    channel_close(c);
}

END_TEST

static int send_by(void *arg)
{
    return weft_send(arg, &(int){1});
}

static int waits(void *arg)
{
    struct channel c;
    weft_channel_info i;
    weft_task *t;
    int got;

    (void)arg;
    CHECK_EQ(0, weft_mpsc_new(&c.tx, &c.rx, sizeof(int), 1));
    CHECK_EQ(0, weft_send(c.tx, &(int){1}));
    t = spawn_waiting(send_by, c.tx);
    CHECK_EQ(1, info_of(&c).send_waits);
    CHECK_EQ(0, weft_sleep(WEFT_MS(3)));
    CHECK_EQ(1, weft_recv(c.rx, &got));
    CHECK_EQ(0, join(t));
    i = info_of(&c);
    CHECK_EQ(1, i.send_waits);
    CHECK(i.send_wait_time >= WEFT_MS(3) - WEFT_US(100)); /* two clocks */
    CHECK_EQ(i.send_wait_time, i.send_wait_time_max);
    channel_close(c);
    return 0;
}

TEST(sends_that_wait_are_counted_and_timed)
{
    test_run(waits, NULL);
}

struct two {
    struct channel c;
    int got[2];
};

static int receive_two(void *arg)
{
    struct two *two = arg;

    CHECK_EQ(1, weft_recv(two->c.rx, &two->got[0]));
    CHECK_EQ(1, weft_recv_many(two->c.rx, &two->got[1], 1));
    return 0;
}

static int given_to_one_that_waits(void *arg)
{
    struct two two = {.got = {0}};
    weft_channel_info i;
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, weft_mpsc_new(&two.c.tx, &two.c.rx, sizeof(int), 1));
    CHECK_EQ(0, weft_try_send(two.c.tx, &(int){1}));
    CHECK_EQ(1, weft_try_recv(two.c.rx, &two.got[0]));
    t = spawn_waiting(receive_two, &two);
    for (int n = 2; n <= 3; n++) {
        CHECK_EQ(0, weft_send(two.c.tx, &n));
        i = info_of(&two.c);
        CHECK_EQ(n, i.sent);
        CHECK(i.received + i.depth == i.sent);
    }
    CHECK_EQ(0, join(t));
    CHECK_EQ(2, two.got[0]);
    CHECK_EQ(3, two.got[1]);
    i = info_of(&two.c);
    CHECK_EQ(3, i.sent);
    CHECK_EQ(3, i.received);
    CHECK_EQ(0, i.dropped);
    CHECK_EQ(1, i.depth_max);
    channel_close(two.c);
    return 0;
}

TEST(what_goes_straight_to_a_task_that_waits_is_counted)
{
    test_run(given_to_one_that_waits, NULL);
}

/* --- options ----------------------------------------------------------------------------- */

TEST(a_name_is_copied)
{
    char name[100];
    weft_channel_options options = {.name = name};
    struct channel c;

    memset(name, 'x', sizeof(name) - 1);
    name[99] = '\0';
    CHECK_EQ(0, weft_mpsc_new_with(&c.tx, &c.rx, 1, 1, &options));
    name[0] = '\0';
    CHECK_EQ(63, strlen(info_of(&c).name));
    channel_close(c);
    strcpy(name, "jobs");
    CHECK_EQ(0, weft_mpsc_unbounded_with(&c.tx, &c.rx, 1, &options));
    CHECK_STR("jobs", info_of(&c).name);
    channel_close(c);
}

END_TEST

static void fill_to(const weft_channel_options *options, size_t item_size, int limit)
{
    static const char value[64];
    weft_permit p;
    struct channel c;
    char got[64];

    CHECK_EQ(0, weft_mpsc_unbounded_with(&c.tx, &c.rx, item_size, options));
    for (int round = 0; round < 3; round++) {
        for (int n = 0; n < limit; n++)
            CHECK_EQ(0, weft_try_send(c.tx, value));
        CHECK_EQ(-ENOBUFS, weft_try_send(c.tx, value));
        CHECK_EQ(-ENOBUFS, weft_try_reserve(c.tx, &p));
        CHECK_EQ(1, weft_try_recv(c.rx, got));
        CHECK_EQ(0, weft_try_reserve(c.tx, &p)); /* counts */
        CHECK_EQ(-ENOBUFS, weft_try_send(c.tx, value));
        CHECK_EQ(0, weft_permit_send(&p, value));
        weft_permit_release(&p);
        CHECK_EQ(limit, weft_receiver_len(c.rx));
        while (weft_try_recv(c.rx, got) == 1)
            continue;
    }
    channel_close(c);
}

TEST(an_unbounded_channel_may_be_limited_in_values_and_in_bytes)
{
    fill_to(&(weft_channel_options){.max_items = 50}, 8, 50);
    fill_to(&(weft_channel_options){.max_bytes = 1000}, 40, 25);
    fill_to(&(weft_channel_options){.max_items = 10, .max_bytes = 1000}, 40, 10);
    fill_to(&(weft_channel_options){.max_items = 100, .max_bytes = 1000}, 40, 25);
    fill_to(&(weft_channel_options){.max_items = 1}, 0, 1);
}

END_TEST

static int enobufs(void *arg)
{
    const weft_channel_options options = {.max_items = 1};
    struct channel c;

    (void)arg;
    CHECK_EQ(0, weft_mpsc_unbounded_with(&c.tx, &c.rx, 1, &options));
    CHECK_EQ(0, weft_send(c.tx, ""));
    CHECK_EQ(-ENOBUFS, weft_send(c.tx, "")); /* does not wait */
    channel_close(c);
    return 0;
}

TEST(at_its_limit_an_unbounded_channel_refuses_and_does_not_wait)
{
    test_run(enobufs, NULL);
}

/* How many lines of stderr say this. */
static int said(int fd, const char *text)
{
    char all[4096];
    ssize_t size = pread(fd, all, sizeof(all) - 1, 0);
    int n = 0;

    CHECK(size >= 0);
    all[size] = '\0';
    for (const char *at = all; (at = strstr(at, text)) != NULL; at++)
        n++;
    return n;
}

static void warn_once(bool bounded)
{
    const weft_channel_options options = {.name = "slow", .warn_at = 10};
    char path[] = "/tmp/weft-test-XXXXXX";
    int fd = mkstemp(path), before = dup(STDERR_FILENO), got;
    struct channel c;

    CHECK(fd >= 0 && before >= 0);
    CHECK_EQ(0, unlink(path));
    CHECK(dup2(fd, STDERR_FILENO) >= 0);
    CHECK_EQ(0, bounded ? weft_mpsc_new_with(&c.tx, &c.rx, sizeof(int), 20, &options)
                        : weft_mpsc_unbounded_with(&c.tx, &c.rx, sizeof(int), &options));
    for (int round = 0; round < 3; round++) {
        for (int n = 0; n < 9; n++)
            CHECK_EQ(0, weft_try_send(c.tx, &n));
        while (weft_try_recv(c.rx, &got) == 1)
            continue;
    }
    CHECK_EQ(0, said(fd, "slow"));
    for (int n = 0; n < 20; n++)
        CHECK_EQ(0, weft_try_send(c.tx, &n));
    CHECK_EQ(1, said(fd, "channel \"slow\": 10 values are queued"));
    CHECK_EQ(1, said(fd, "slow"));
    CHECK(dup2(before, STDERR_FILENO) >= 0);
    CHECK_EQ(0, close(before));
    CHECK_EQ(0, close(fd));
    channel_close(c);
}

TEST(a_long_queue_is_said_once)
{
    warn_once(true);
    warn_once(false);
}

END_TEST

TEST_MAIN("mpsc_info", a_new_channel_is_empty_and_open, counts_follow_what_happens,
          the_greatest_depth_is_remembered, sends_that_wait_are_counted_and_timed,
          what_goes_straight_to_a_task_that_waits_is_counted, a_name_is_copied,
          an_unbounded_channel_may_be_limited_in_values_and_in_bytes,
          at_its_limit_an_unbounded_channel_refuses_and_does_not_wait, a_long_queue_is_said_once)
