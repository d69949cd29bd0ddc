/* SPDX-License-Identifier: MIT */
/*
 * test_mpsc_left.c - a task that waits in weft_recv when its runtime is given up: its stack stays, but nobody comes
 * back to it, and the channel goes on without it.
 */
#include "channel.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* A task that never ends keeps its memory: what is made between these two is no leak. */
#ifdef __SANITIZE_ADDRESS__
# include <sanitizer/lsan_interface.h>
#else
# define __lsan_disable() ((void)0)
# define __lsan_enable()  ((void)0)
#endif

static atomic_int destroyed;

static void count(void *value)
{
    (void)value;
    atomic_fetch_add(&destroyed, 1);
}

/* A channel, and a task that waits in it whatever it is told. Its value's place is freed once it is said to have
 * ended. */
struct left {
    struct channel c;
    weft_runtime *rt;
    weft_task *t;
    int *place;
};

static int waits_stubbornly(void *arg)
{
    const struct left *l = arg;
    weft_shield shield;

    weft_shield_enter(&shield);
    return weft_recv(l->c.rx, l->place);
}

static int yields(void *unused)
{
    (void)unused;
    for (int i = 0; i < 5; i++)
        CHECK_EQ(0, weft_yield());
    return 0;
}

static void left_begin(struct left *l, const struct test_flavour *flavour)
{
    const weft_channel_options counted = {.destroy = count};
    weft_config config = {
        .flavor = flavour->flavor, .worker_threads = flavour->workers, .ignore_env = WEFT_ON};
    weft_task_info info;

    hush();
    atomic_store(&destroyed, 0);
    CHECK_EQ(0, weft_mpsc_new_with(&l->c.tx, &l->c.rx, sizeof(int), 4, &counted));
    /* It has had two: the next send looks at nothing. */
    for (int i = 0; i < 2; i++)
        CHECK_EQ(0, weft_try_send(l->c.tx, &i));
    for (int i = 0, got; i < 2; i++)
        CHECK_EQ(1, weft_try_recv(l->c.rx, &got));
    l->place = malloc(sizeof(int));
    __lsan_disable();
    CHECK_EQ(0, weft_runtime_new(&l->rt, &config));
    CHECK_EQ(0, weft_spawn_on(l->rt, &l->t, NULL, waits_stubbornly, l));
    __lsan_enable();
    if (config.flavor == WEFT_CURRENT_THREAD)
        CHECK_EQ(0, weft_block_on(l->rt, yields, NULL, NULL));
    do
        CHECK_EQ(0, weft_task_get_info(l->t, &info));
    while (info.polls == 0 || info.state != WEFT_TASK_IDLE);
    CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(l->rt, WEFT_MS(1)));
}

static void left_end(struct left *l)
{
    int result = 0;

    weft_runtime_free(l->rt);
    CHECK_EQ(0, weft_join_blocking(l->t, &result));
    CHECK_EQ(-ECANCELED, result);
    free(l->place);
}

static void left_close(const struct left *l)
{
    weft_sender_close(l->c.tx);
    weft_receiver_close(l->c.rx);
}

TEST(what_is_sent_after_the_receiving_task_was_left_behind_is_queued)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct left l;
        int got = 0;

        test_watchdog(20);
        left_begin(&l, &test_flavours[i]);
        left_end(&l);
        CHECK_EQ(0, weft_try_send(l.c.tx, &(int){7}));
        CHECK_EQ(1, weft_try_recv(l.c.rx, &got));
        CHECK_EQ(7, got);
        CHECK_EQ(0, weft_try_send(l.c.tx, &(int){8}));
        left_close(&l);
        CHECK_EQ(1, atomic_load(&destroyed));
    }
}

TEST(a_channel_ends_after_the_receiving_task_was_left_behind)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct left l;

        test_watchdog(20);
        left_begin(&l, &test_flavours[i]);
        left_end(&l);
        left_close(&l);
        CHECK_EQ(0, atomic_load(&destroyed));
    }
}

TEST(a_receiver_that_is_closed_under_a_task_goes_when_that_is_left_behind)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct left l;

        test_watchdog(20);
        left_begin(&l, &test_flavours[i]);
        CHECK_EQ(0, weft_try_send(l.c.tx, &(int){7}));
        CHECK_EQ(0, weft_try_send(l.c.tx, &(int){8}));
        weft_receiver_close(l.c.rx);
        left_end(&l);
        CHECK_EQ(2, atomic_load(&destroyed));
        weft_sender_close(l.c.tx);
    }
}

TEST(what_was_given_to_a_task_that_is_left_behind_is_destroyed)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_channel_info info;
        struct left l;

        test_watchdog(20);
        left_begin(&l, &test_flavours[i]);
        CHECK_EQ(0, weft_try_send(l.c.tx, &(int){7}));
        left_end(&l);
        CHECK_EQ(1, atomic_load(&destroyed));
        CHECK_EQ(0, weft_sender_get_info(l.c.tx, &info));
        CHECK_EQ(3, info.sent);
        CHECK_EQ(2, info.received);
        CHECK_EQ(1, info.dropped);
        left_close(&l);
    }
}

static void *sends_seven(void *tx)
{
    CHECK_EQ(0, weft_try_send(tx, &(int){7}));
    return NULL;
}

TEST(a_value_that_is_sent_while_the_task_is_left_behind_is_destroyed_once)
{
    for (uint64_t round = 0; round < test_scaled(40); round++) {
        pthread_t sender;
        struct left l;

        test_watchdog(20);
        left_begin(&l, &test_flavours[0]);
        CHECK_EQ(0, pthread_create(&sender, NULL, sends_seven, l.c.tx));
        weft_runtime_free(l.rt);
        CHECK_EQ(0, pthread_join(sender, NULL));
        l.rt = NULL;
        left_end(&l);
        left_close(&l);
        CHECK_EQ(1, atomic_load(&destroyed));
    }
}

TEST_MAIN("mpsc_left", what_is_sent_after_the_receiving_task_was_left_behind_is_queued,
          a_channel_ends_after_the_receiving_task_was_left_behind,
          a_receiver_that_is_closed_under_a_task_goes_when_that_is_left_behind,
          what_was_given_to_a_task_that_is_left_behind_is_destroyed,
          a_value_that_is_sent_while_the_task_is_left_behind_is_destroyed_once)
