/* SPDX-License-Identifier: MIT */
/*
 * server.c - the server of a runtime of the stage: a listener, some tasks that accept, a task for each
 * connection.
 *
 * OWNS     An accepted stream lies in a table until its task has begun, for a task that is cancelled
 *          before that never runs. What is left there when a runtime has been shut down is closed by the
 *          round, on a plain thread: others may wait for an answer.
 */
#include "flow.h"

#include <errno.h>

#define TABLE_SIZE 8192

static struct {
    pthread_mutex_t lock;
    weft_stream *streams[TABLE_SIZE]; /* under lock, as all below */
    unsigned homes[TABLE_SIZE];       /* whose tasks they wait for */
    unsigned at;
} server_table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static unsigned table_put(weft_stream *s, unsigned home)
{
    unsigned at;

    (void)pthread_mutex_lock(&server_table.lock);
    do
        at = server_table.at++ % TABLE_SIZE;
    while (server_table.streams[at]);
    server_table.streams[at] = s;
    server_table.homes[at] = home;
    (void)pthread_mutex_unlock(&server_table.lock);
    return at;
}

static weft_stream *table_take(unsigned at)
{
    weft_stream *s;

    (void)pthread_mutex_lock(&server_table.lock);
    s = server_table.streams[at];
    server_table.streams[at] = NULL;
    (void)pthread_mutex_unlock(&server_table.lock);
    return s;
}

void soak_server_clear(unsigned home)
{
    for (unsigned at = 0; at < TABLE_SIZE; at++) {
        weft_stream *s = NULL;

        (void)pthread_mutex_lock(&server_table.lock);
        if (server_table.homes[at] == home) {
            s = server_table.streams[at];
            server_table.streams[at] = NULL;
        }
        (void)pthread_mutex_unlock(&server_table.lock);
        if (!s)
            continue;
        soak_stream_close(s);
        soak_end(SOAK_SERVED);
    }
}

/* Both streams, then the receipt. 0 or the first error. */
static int serve_flows(weft_stream *s, const struct soak_hello *hello)
{
    struct soak_flow in = {.s = s, .hello = *hello, .way = 0, .rand = hello->seed ^ 0x1111};
    struct soak_flow out = {.s = s, .hello = *hello, .way = 1, .rand = hello->seed ^ 0x2222};
    struct soak_receipt receipt = {.seed = hello->seed};
    bool half = hello->flags & SOAK_HELLO_HALF;
    weft_task *sender;
    int sent, got;
    ssize_t n;

    /* After a half-close one byte more than can come: it must end by its end. */
    in.until = soak_flow_length(hello, 0) + half;
    out.until = soak_flow_length(hello, 1);
    sender = weft_spawn(soak_flow_send, &out);
    CHECK(sender);
    got = soak_flow_receive(&in);
    CHECK(soak_is_rough(got));
    if (got < 0 && soak_one_in(&in.rand, 2))
        weft_stream_abort(s);
    sent = soak_join(sender);
    CHECK(soak_is_rough(sent) || sent == -ECANCELED);
    if (got < 0 || sent < 0)
        return got < 0 ? got : sent;
    receipt.received = in.moved;
    n = weft_write_all(s, &receipt, sizeof(receipt));
    CHECK(n == (ssize_t)sizeof(receipt) || soak_is_rough(n));
    return n < 0 ? (int)n : 0;
}

static int serve(void *index)
{
    weft_stream *s = table_take((unsigned)(uintptr_t)index);
    struct soak_hello hello;
    ssize_t n;

    CHECK(s);
    n = weft_read_exact(s, &hello, sizeof(hello));
    if (n == (ssize_t)sizeof(hello))
        (void)serve_flows(s, &hello);
    else
        CHECK(n >= 0 ? n < (ssize_t)sizeof(hello) : soak_is_rough(n));
    soak_stream_close(s);
    soak_end(SOAK_SERVED);
    return 0;
}

static int accept_all(void *arg)
{
    struct soak_server *server = arg;
    uint64_t rand = soak_stage.plan.rand | 1;

    for (;;) {
        weft_stream *s = NULL;
        weft_future accept = weft_accept_future(server->listener, &s), turn = weft_yield_future();
        unsigned at;
        ssize_t rc;

        switch (soak_stage.plan.quiet ? 2 : soak_roll(&rand, 4)) {
        case 0:
            rc = weft_timeout(WEFT_US(soak_roll(&rand, 1000)), &accept);
            break;
        case 1:
            rc = weft_select(&turn, &accept);
            rc = rc == 0 ? -ETIMEDOUT : rc == 1 ? accept.result : rc;
            break;
        default:
            rc = weft_accept(server->listener, &s);
            break;
        }
        if (rc == -ETIMEDOUT)
            continue;
        if (rc < 0) {
            CHECK(rc == -ESHUTDOWN || soak_is_soft(rc));
            return 0;
        }
        CHECK(s);
        soak_stream_opened(s);
        soak_begin(SOAK_SERVED);
        at = table_put(s, (unsigned)(server - soak_stage.server));
        CHECK_EQ(0, weft_go(serve, (void *)(uintptr_t)at)); /* NOLINT(performance-no-int-to-ptr) */
    }
}

int soak_serve_all(void *index)
{
    unsigned at = (unsigned)(uintptr_t)index, n = soak_stage.plan.runtime[at].acceptors;
    struct soak_server *server = &soak_stage.server[at];
    weft_future never = weft_pending_future();
    weft_task *acceptors[8];

    CHECK(n <= 8);
    CHECK_EQ(0, weft_listen(&server->listener, "tcp://127.0.0.1:0", NULL));
    CHECK_EQ(0, weft_listener_addr(server->listener, &server->addr));
    for (unsigned i = 0; i < n; i++)
        acceptors[i] = weft_spawn(accept_all, server);
    __atomic_store_n(&server->open, 1, __ATOMIC_RELEASE);
    CHECK_EQ(-ECANCELED, weft_await(&never));
    __atomic_store_n(&server->open, 0, __ATOMIC_RELEASE);
    /* Not closed before they are gone: between two accepts they would use a handle that is no more. */
    weft_listener_abort(server->listener);
    WEFT_SHIELD
    {
        for (unsigned i = 0; i < n; i++) {
            int result = soak_join(acceptors[i]);

            CHECK(result == 0 || result == -ECANCELED);
        }
    }
    CHECK_EQ(0, weft_listener_close(server->listener));
    return 0;
}
