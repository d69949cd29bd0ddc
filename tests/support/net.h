/* SPDX-License-Identifier: MIT */
/*
 * net.h - two ends of a connection, both in one runtime, for the tests of streams.
 *
 * All of it is for tasks, but listen_any.
 */
#ifndef TEST_NET_H
#define TEST_NET_H

#include "support.h"

#include <sys/socket.h>

static inline weft_listener *listen_any(weft_addr *where)
{
    weft_listener *l = NULL;

    CHECK_EQ(0, weft_listen(&l, "tcp://127.0.0.1:0", NULL));
    CHECK_EQ(0, weft_listener_addr(l, where));
    CHECK(weft_addr_port(where) != 0);
    return l;
}

/* Two ends of one connection. */
struct pair {
    weft_stream *a, *b;
};

static inline struct pair pair_new(void)
{
    weft_addr where;
    weft_listener *l = listen_any(&where);
    struct pair p = {NULL, NULL};

    /* The kernel completes the connection by itself: connecting does not wait for accept. */
    CHECK_EQ(0, weft_tcp_connect(&p.a, &where, NULL));
    CHECK_EQ(0, weft_accept(l, &p.b));
    CHECK_EQ(0, weft_listener_close(l));
    return p;
}

static inline struct pair pair_local(void)
{
    struct pair p;
    int fds[2];

    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    CHECK_EQ(0, weft_stream_from_fd(&p.a, fds[0]));
    CHECK_EQ(0, weft_stream_from_fd(&p.b, fds[1]));
    return p;
}

static inline void pair_close(struct pair p)
{
    CHECK_EQ(0, weft_close(p.a));
    CHECK_EQ(0, weft_close(p.b));
}

static inline int join(weft_task *t)
{
    int result = 0;

    CHECK_EQ(0, weft_join(t, &result));
    return result;
}

/* Let the task run until it waits for something. It has nothing else to do, so this ends soon. */
static inline void until_it_waits(weft_task *t, uint64_t polls)
{
    weft_task_info info;

    do {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_task_get_info(t, &info));
    } while (info.state != WEFT_TASK_IDLE || info.polls < polls);
}

static inline weft_task *spawn_waiting(weft_fn *fn, void *arg)
{
    weft_task *t = weft_spawn(fn, arg);

    CHECK(t != NULL);
    until_it_waits(t, 1);
    return t;
}

/* A read of one byte by a task of its own; its result is the byte. */
static inline int read_byte(void *stream)
{
    unsigned char byte = 0;
    ssize_t n = weft_read(stream, &byte, 1);

    return n == 1 ? byte : (int)n;
}

static inline int write_much(void *stream)
{
    static const char zeros[65536];
    ssize_t n;

    do
        n = weft_write(stream, zeros, sizeof(zeros));
    while (n > 0);
    return (int)n;
}

static inline int accept_one(void *listener)
{
    weft_stream *s = NULL;
    int rc = weft_accept(listener, &s);

    if (rc == 0)
        weft_close(s);
    return rc;
}

#endif
