/* SPDX-License-Identifier: MIT */
/*
 * echo.c - a TCP echo server for a load generator: `weft-bench echo`.
 *
 * It isolates the runtime's share in network service: what weft adds to the kernel's
 * own cost of receiving and sending, and how evenly it serves connections that are all
 * ready at once. Pin the server and the load generator to different cores and compare
 * the server's CPU per request with a bare epoll loop in the same run (compare.py does). The
 * requests per second alone must not be read as the runtime's speed: most of the time is the
 * kernel's TCP, and on a machine with few cores the generator is the limit.
 *
 * One task for each connection: read what is there, write it all back, until the peer closes.
 * Prints `echo_port PORT tcp` when it listens, and runs until it is killed.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

/* A buffer up to this size lies on the fiber's stack: in the page that the fiber has touched
 * anyway, so that a connection costs the processor no further page. */
#define ECHO_STACK_BUFFER 2048

struct echo_connection {
    weft_stream *stream;
    size_t buffer_size;
};

/* A connection that breaks is its peer's affair: it ends, and nobody is told. */
static void echo_serve(weft_stream *stream, void *buffer, size_t size)
{
    ssize_t n;

    do {
        n = weft_read(stream, buffer, size);
        if (n > 0)
            n = weft_write_all(stream, buffer, (size_t)n);
    } while (n > 0);
}

static int echo_small(void *arg)
{
    struct echo_connection *c = arg;
    char buffer[ECHO_STACK_BUFFER];

    echo_serve(c->stream, buffer, c->buffer_size);
    return weft_close(c->stream);
}

static int echo_large(void *arg)
{
    struct echo_connection *c = arg;
    void *buffer = bench_alloc(1, c->buffer_size);

    echo_serve(c->stream, buffer, c->buffer_size);
    free(buffer);
    return weft_close(c->stream);
}

struct echo_state {
    weft_async async;
    struct echo_connection connection;
    char *buffer;
    weft_future io;
};

static weft_poll echo_poll(void *self, weft_context *cx)
{
    struct echo_state *s = self;

    WEFT_ASYNC_BEGIN(s);
    s->buffer = bench_alloc(1, s->connection.buffer_size);
    for (;;) {
        s->io = weft_read_future(s->connection.stream, s->buffer, s->connection.buffer_size);
        WEFT_AWAIT(s, cx, &s->io);
        if (s->io.result <= 0)
            break;
        s->io = weft_write_all_future(s->connection.stream, s->buffer, (size_t)s->io.result);
        WEFT_AWAIT(s, cx, &s->io);
        if (s->io.result <= 0)
            break;
    }
    WEFT_RETURN(s, 0);
    WEFT_ASYNC_END(s);
}

static void echo_drop(void *self)
{
    struct echo_state *s = self;

    weft_close(s->connection.stream);
    free(s->buffer);
}

static const weft_async_type echo_type = {
    .poll = echo_poll,
    .drop = echo_drop,
    .size = sizeof(struct echo_state),
    .name = "echo",
};

static void echo_start(const struct bench_job *job, weft_stream *stream)
{
    struct echo_connection c = {.stream = stream, .buffer_size = job->buffer_size};
    int rc;

    if (job->stackless)
        rc = weft_go_async(&echo_type, &(struct echo_state){.connection = c});
    else if (job->buffer_size <= ECHO_STACK_BUFFER)
        rc = weft_go_copy(echo_small, &c, sizeof(c));
    else
        rc = weft_go_copy(echo_large, &c, sizeof(c));
    bench_check(rc, "spawn");
}

static void echo_run(const struct bench_job *job)
{
    weft_listener *listener;
    weft_addr address;

    bench_check(weft_addr_ip(&address, "127.0.0.1", job->port), "address");
    bench_check(weft_tcp_listen(&listener, &address, NULL), "listen");
    bench_check(weft_listener_addr(listener, &address), "address");
    bench_report(job, "echo_port", weft_addr_port(&address), 0, "tcp");

    for (;;) {
        weft_stream *stream;

        bench_check(weft_accept(listener, &stream), "accept");
        echo_start(job, stream);
    }
}

const struct bench_workload bench_echo_workloads[] = {
    {"echo", "a TCP echo server on the loopback, until killed (--port, --bufsize)", 1,
     BENCH_TWIN | BENCH_ENDLESS, echo_run},
    {0},
};
