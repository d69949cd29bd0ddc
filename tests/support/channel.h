/* SPDX-License-Identifier: MIT */
/*
 * channel.h - what the tests of channels share: tasks that wait, and mistakes that nobody wants to read of.
 */
#ifndef TEST_CHANNEL_H
#define TEST_CHANNEL_H

#include "giveup.h"

#include <fcntl.h>
#include <unistd.h>

/* A debug library explains each misuse on stderr: not here. */
static inline void hush(void)
{
    int fd = open("/dev/null", O_WRONLY);

    CHECK(fd >= 0);
    CHECK(dup2(fd, STDERR_FILENO) >= 0);
    (void)close(fd);
}

/* A task that waits by now. From a fiber. */
static inline weft_task *spawn_waiting(weft_fn *fn, void *arg)
{
    weft_task_info info = {.polls = 0};
    weft_task *t = weft_spawn(fn, arg);

    while (info.polls == 0) {
        until_idle(t);
        CHECK_EQ(0, weft_task_get_info(t, &info));
    }
    return t;
}

static inline int join(weft_task *t)
{
    int result = 0;

    CHECK_EQ(0, weft_join(t, &result));
    return result;
}

/* Poll it once: it stays pending. From a fiber. */
static inline void keep_pending(weft_future *f)
{
    weft_future yield = weft_yield_future(), *list[] = {f, &yield};

    CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP));
}

/* --- channels of int -------------------------------------------------------------------- */

#define CROWD 70 /* more than are woken in one batch */

struct channel {
    weft_sender *tx;
    weft_receiver *rx;
};

/* capacity 0: unbounded. */
static inline struct channel channel_new(size_t capacity)
{
    struct channel c;

    CHECK_EQ(0, capacity ? weft_mpsc_new(&c.tx, &c.rx, sizeof(int), capacity)
                         : weft_mpsc_unbounded(&c.tx, &c.rx, sizeof(int)));
    return c;
}

static inline void channel_close(struct channel c)
{
    weft_sender_close(c.tx);
    weft_receiver_close(c.rx);
}

static inline void send_all(weft_sender *tx, int from, int to)
{
    for (int i = from; i <= to; i++)
        CHECK_EQ(0, weft_try_send(tx, &i));
}

/* Exactly these, in this order, and then nothing. */
static inline void receive_all(weft_receiver *rx, int from, int to)
{
    int got = -1;

    for (int i = from; i <= to; i++) {
        CHECK_EQ(1, weft_try_recv(rx, &got));
        CHECK_EQ(i, got);
    }
    CHECK_EQ(-EAGAIN, weft_try_recv(rx, &got));
}

struct numbered {
    weft_sender *tx;
    int number;
};

static inline int send_number(void *arg)
{
    struct numbered *n = arg;

    return weft_send(n->tx, &n->number);
}

static inline int receive_one(void *arg)
{
    struct channel *c = arg;
    int got = 0, rc = weft_recv(c->rx, &got);

    return rc == 1 ? got : rc;
}

#endif
