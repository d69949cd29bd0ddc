/* SPDX-License-Identifier: MIT */
/*
 * test_net_mix.c - many connections opened, reset, half-closed, aborted, cancelled and timed out
 * while they are read and written; both sides are weft, and every byte that arrives is verified.
 *
 * IDEA     A connection begins with eight bytes, the seed of its two streams, and each side knows
 *          from it what it must send and receive: a stream's byte is a function of seed, direction
 *          and place. How a connection goes (its fate) is the client's choice; the server takes
 *          what comes. What is claimed besides the bytes: a connection whose fate is to live
 *          through carries both streams whole, in spite of reads that were cancelled, timed out
 *          or lost a select.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <weft/metrics.h>

#define CLIENTS   24
#define ACCEPTORS 3
#define CHUNK_MAX 20000
#define TOTAL_MAX 200000

enum fate {
    WHOLE,  /* both directions to the end; the client closes when it has all */
    HALF,   /* the client shuts its direction down first, and reads on to the end */
    RESET,  /* the client resets in the middle */
    ABORT,  /* another task aborts the stream under reader and writer */
    EARLY,  /* the same at once */
    CANCEL, /* the client's tasks are cancelled */
    FATES
};

static struct {
    weft_addr addr;
    weft_listener *listener;
    weft_instant end;
    uint64_t done[FATES], bytes, server_bytes, conns; /* atomic */
    uint64_t served;                                  /* atomic: of conns, those that ended */
} net;

/* The lowest bit of the seed tells the server. */
static bool fate_is_whole(enum fate fate)
{
    return fate == WHOLE || fate == HALF;
}

/* --- the streams ------------------------------------------------------------------------ */

static unsigned char stream_byte(uint64_t seed, unsigned way, uint64_t at)
{
    uint64_t x = seed ^ (at >> 3) * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)way << 63;

    x ^= x >> 29;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 32;
    return (unsigned char)(x >> (at & 7) * 8);
}

static uint64_t stream_length(uint64_t seed, unsigned way)
{
    uint64_t rand = seed ^ (way + 1);

    return test_rand(&rand) % (test_rand(&rand) % 8 ? TOTAL_MAX / 20 : TOTAL_MAX);
}

/* One direction of one side. */
struct flow {
    weft_stream *s;
    uint64_t seed, rand;
    unsigned way; /* 0: client to server */
    uint64_t moved;
    uint64_t until; /* stop here; the length of the stream, or before */
};

static size_t flow_chunk(struct flow *f)
{
    uint64_t n = 1 + test_rand(&f->rand) % (test_rand(&f->rand) % 4 ? 2000 : CHUNK_MAX);

    return n < f->until - f->moved ? (size_t)n : (size_t)(f->until - f->moved);
}

/* How a transfer that may not be over ends: 0 to go on with it, else the reason to stop. */
static bool rc_is_soft(ssize_t rc)
{
    return rc == -ETIMEDOUT && !weft_deadline_passed();
}

/* Reads by one of many ways, all of which leave the bytes where they are when they give up. */
static ssize_t flow_read_some(struct flow *f, unsigned char *buffer, size_t size)
{
    weft_future read, nap;
    ssize_t rc;

    switch (test_rand(&f->rand) % 6) {
    case 0:
        read = weft_read_future(f->s, buffer, size);
        return weft_timeout(WEFT_US(test_rand(&f->rand) % 300), &read);
    case 1:
        read = weft_read_future(f->s, buffer, size);
        nap = weft_sleep_future(WEFT_US(test_rand(&f->rand) % 300));
        rc = weft_select(&nap, &read);
        return rc == 1 ? read.result : rc == 0 ? -ETIMEDOUT : rc;
    case 2:
        rc = -ETIMEDOUT;
        WEFT_DEADLINE(WEFT_US(test_rand(&f->rand) % 300))
        {
            rc = weft_read(f->s, buffer, size);
        }
        return rc;
    case 3: {
        struct iovec parts[2] = {{buffer, size / 3}, {buffer + size / 3, size - size / 3}};

        return weft_readv(f->s, parts, 2);
    }
    default:
        return weft_read(f->s, buffer, size);
    }
}

/* Until the stream's end, or f->until, or an error, which is returned; 0 is the end. */
static int flow_receive(void *arg)
{
    struct flow *f = arg;
    unsigned char buffer[2048];

    while (f->moved < f->until) {
        size_t size = 1 + (size_t)(test_rand(&f->rand) % sizeof(buffer));
        ssize_t n = flow_read_some(f, buffer, size);

        if (rc_is_soft(n))
            continue;
        if (n <= 0)
            return (int)n;
        CHECK((size_t)n <= size);
        for (ssize_t i = 0; i < n; i++)
            if (buffer[i] != stream_byte(f->seed, f->way, f->moved + (uint64_t)i))
                test_failed(__FILE__, __LINE__, "byte %llu of way %u of %llx is wrong",
                            (unsigned long long)(f->moved + (uint64_t)i), f->way,
                            (unsigned long long)f->seed);
        f->moved += (uint64_t)n;
        CHECK(f->moved <= stream_length(f->seed, f->way));
    }
    return 0;
}

/* Until f->until, or an error. */
static int flow_send(void *arg)
{
    struct flow *f = arg;
    unsigned char *buffer = malloc(CHUNK_MAX);
    int result = 0;

    CHECK(buffer);
    while (f->moved < f->until && result == 0) {
        size_t size = flow_chunk(f);
        ssize_t n;

        for (size_t i = 0; i < size; i++)
            buffer[i] = stream_byte(f->seed, f->way, f->moved + i);
        if (test_rand(&f->rand) % 2) {
            n = weft_write_all(f->s, buffer, size);
        } else {
            weft_future write = weft_write_future(f->s, buffer, size);

            n = test_rand(&f->rand) % 3 ? weft_await(&write)
                                        : weft_timeout(WEFT_US(test_rand(&f->rand) % 300), &write);
        }
        if (rc_is_soft(n))
            continue;
        if (n < 0)
            result = (int)n;
        else
            f->moved += (uint64_t)n;
    }
    free(buffer);
    return result;
}

/* --- the server --------------------------------------------------------------------------- */

/* What a peer may do to us in the middle of anything. */
static bool rc_is_rough(int rc)
{
    return rc == 0 || rc == -ECONNRESET || rc == -EPIPE || rc == -ECANCELED || rc == -ESHUTDOWN;
}

static int join_result(weft_task *t)
{
    int result = 1, rc = weft_join(t, &result);

    if (rc == -ECANCELED) {
        weft_cancel(t);
        WEFT_SHIELD
        {
            rc = weft_join(t, &result);
        }
    }
    CHECK_EQ(0, rc);
    return result;
}

static int serve_stream(void *arg)
{
    weft_stream *s = *(weft_stream **)arg;
    struct flow in = {.s = s, .way = 0}, out = {.s = s, .way = 1};
    uint64_t seed;
    ssize_t n = weft_read_exact(s, &seed, sizeof(seed));
    weft_task *sender;
    int got;

    if (n != (ssize_t)sizeof(seed)) {
        CHECK(n >= 0 || rc_is_rough((int)n));
        CHECK_EQ(0, weft_close(s));
        return 0;
    }
    in.seed = out.seed = seed;
    in.rand = seed ^ 0x5e54e5u;
    out.rand = seed ^ 0x11111u;
    /* One byte more than can come: the stream must end by its end. */
    in.until = stream_length(seed, 0) + 1;
    out.until = stream_length(seed, 1);
    sender = weft_spawn(flow_send, &out);
    got = flow_receive(&in);
    CHECK(rc_is_rough(got));
    if (seed & 1) {
        CHECK_EQ(0, got);
        CHECK_EQ(stream_length(seed, 0), in.moved);
    }
    if (got < 0 && test_rand(&in.rand) % 2)
        weft_stream_abort(s);
    CHECK(rc_is_rough(join_result(sender)));
    __atomic_fetch_add(&net.server_bytes, in.moved, __ATOMIC_RELAXED);
    /* What the client needs to know that its stream was seen whole: our end comes after it. */
    CHECK_EQ(0, weft_close(s));
    return 0;
}

static int serve(void *arg)
{
    int rc = serve_stream(arg);

    __atomic_fetch_add(&net.served, 1, __ATOMIC_RELEASE);
    return rc;
}

static int accept_all(void *arg)
{
    uint64_t rand = *(uint64_t *)arg;

    for (;;) {
        weft_stream *s = NULL;
        weft_future accept = weft_accept_future(net.listener, &s);
        ssize_t rc = test_rand(&rand) % 2 ? weft_await(&accept)
                                          : weft_timeout(WEFT_US(test_rand(&rand) % 1000), &accept);

        if (rc == -ETIMEDOUT)
            continue;
        if (rc < 0) {
            CHECK(rc == -ESHUTDOWN || rc == -ECANCELED);
            return 0;
        }
        CHECK(s);
        __atomic_fetch_add(&net.conns, 1, __ATOMIC_RELAXED);
        CHECK_EQ(0, weft_go_copy(serve, &s, sizeof(s)));
    }
}

/* --- the client ----------------------------------------------------------------------------- */

static void client_end_roughly(enum fate fate, weft_stream *s, weft_task *const t[2],
                               uint64_t *rand)
{
    if (fate != EARLY)
        CHECK_EQ(0, weft_sleep(WEFT_US(test_rand(rand) % 1000)));
    else
        CHECK_EQ(0, weft_yield());
    if (fate == CANCEL || fate == RESET) {
        weft_cancel(t[0]);
        weft_cancel(t[1]);
    } else {
        weft_stream_abort(s);
    }
}

static int client_connect(uint64_t seed, uint64_t *rand, weft_stream **s)
{
    int rc;

    do {
        weft_future f = weft_tcp_connect_future(s, &net.addr, NULL);

        rc = (int)(test_rand(rand) % 2 ? weft_await(&f)
                                       : weft_timeout(WEFT_US(test_rand(rand) % 2000), &f));
    } while (rc == -ETIMEDOUT);
    CHECK_EQ(0, rc);
    return weft_write_all(*s, &seed, sizeof(seed)) == (ssize_t)sizeof(seed) ? 0 : -EIO;
}

static void client_once(uint64_t seed, uint64_t *rand)
{
    enum fate fate = (enum fate)(test_rand(rand) % FATES);
    struct flow in = {.rand = test_rand(rand) | 1, .way = 1, .until = WEFT_FOREVER};
    struct flow out = {.rand = test_rand(rand) | 1, .way = 0};
    int sent, got;
    weft_task *t[2];
    weft_stream *s;

    seed = (seed & ~UINT64_C(1)) | fate_is_whole(fate);
    in.seed = out.seed = seed;
    if (fate == WHOLE)
        in.until = stream_length(seed, 1);
    CHECK_EQ(0, client_connect(seed, rand, &s));
    in.s = out.s = s;
    out.until = stream_length(seed, 0);
    t[0] = weft_spawn(flow_send, &out);
    t[1] = weft_spawn(flow_receive, &in);
    if (!fate_is_whole(fate))
        client_end_roughly(fate, s, t, rand);
    sent = join_result(t[0]);
    if (fate_is_whole(fate)) {
        CHECK_EQ(0, sent);
        CHECK_EQ(stream_length(seed, 0), out.moved);
        if (fate == HALF)
            CHECK_EQ(0, weft_shutdown(s, SHUT_WR));
    } else {
        CHECK(rc_is_rough(sent));
    }
    got = join_result(t[1]);
    if (fate_is_whole(fate)) {
        CHECK_EQ(0, got);
        CHECK_EQ(stream_length(seed, 1), in.moved);
    } else {
        CHECK(rc_is_rough(got));
    }
    if (fate == RESET)
        CHECK_EQ(0, weft_stream_set_linger(s, 0));
    CHECK_EQ(0, weft_close(s));
    __atomic_fetch_add(&net.done[fate], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&net.bytes, in.moved, __ATOMIC_RELAXED);
}

static int client(void *arg)
{
    uint64_t rand = *(uint64_t *)arg;

    while (weft_now() < net.end)
        client_once(test_rand(&rand), &rand);
    return 0;
}

/* An abort ends a read in flight that nothing would ever end. */
struct aborted {
    weft_stream *s;
    unsigned inside; /* atomic */
};

static int abort_reader(void *arg)
{
    struct aborted *c = arg;
    weft_stream *s = c->s;
    char byte;

    __atomic_fetch_add(&c->inside, 1, __ATOMIC_RELEASE);
    return (int)weft_read(s, &byte, 1);
}

static int abort_round(void *arg)
{
    (void)arg;
    while (weft_now() < net.end) {
        struct aborted c = {0};
        weft_stream *s;
        weft_task *t;
        int result;

        CHECK_EQ(0, weft_tcp_connect(&s, &net.addr, NULL));
        c.s = s;
        t = weft_spawn(abort_reader, &c);
        while (!__atomic_load_n(&c.inside, __ATOMIC_ACQUIRE))
            CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_sleep(WEFT_US(100)));
        weft_stream_abort(s);
        result = join_result(t);
        CHECK_EQ(-ESHUTDOWN, result);
        CHECK_EQ(0, weft_close(s));
    }
    return 0;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int net_root(void *arg)
{
    uint64_t rand = *(uint64_t *)arg | 1;
    weft_task *acceptors[ACCEPTORS], *clients[CLIENTS], *aborter;
    uint64_t seeds[CLIENTS + ACCEPTORS];

    CHECK_EQ(0, weft_listen(&net.listener, "tcp://127.0.0.1:0", NULL));
    CHECK_EQ(0, weft_listener_addr(net.listener, &net.addr));
    for (int i = 0; i < CLIENTS + ACCEPTORS; i++)
        seeds[i] = test_rand(&rand) | 1;
    for (int i = 0; i < ACCEPTORS; i++)
        acceptors[i] = weft_spawn(accept_all, &seeds[CLIENTS + i]);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = weft_spawn(client, &seeds[i]);
    aborter = weft_spawn(abort_round, NULL);
    for (int i = 0; i < CLIENTS; i++)
        CHECK_EQ(0, join_result(clients[i]));
    CHECK_EQ(0, join_result(aborter));
    /* Closed when they are gone: between two accepts they would use a handle that is no more. */
    weft_listener_abort(net.listener);
    for (int i = 0; i < ACCEPTORS; i++)
        CHECK_EQ(0, join_result(acceptors[i]));
    CHECK_EQ(0, weft_listener_close(net.listener));
    /* Servers are detached, and see the end of a stream after their client is done. The watchdog bounds it. */
    while (__atomic_load_n(&net.served, __ATOMIC_ACQUIRE) !=
           __atomic_load_n(&net.conns, __ATOMIC_RELAXED))
        CHECK_EQ(0, weft_yield());
    return 0;
}

TEST(every_byte_arrives_whatever_happens_around_it)
{
    weft_duration each = test_stress_time(WEFT_SECS(6)) / test_flavour_count;
    uint64_t seed = test_seed();

    test_watchdog(100);
    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_runtime *rt = test_runtime_new(&test_flavours[i]);
        uint64_t s = seed + i;
        weft_metrics m;
        int result = -1;

        net.end = weft_now() + each;
        CHECK_EQ(0, weft_block_on(rt, net_root, &s, &result));
        CHECK_EQ(0, result);
        test_runtime_free(rt);
        (void)fprintf(stderr,
                      "%s: %llu connections; whole %llu half %llu reset %llu abort %llu early %llu "
                      "cancel %llu; %llu + %llu KB\n",
                      test_flavours[i].name, (unsigned long long)net.conns,
                      (unsigned long long)net.done[WHOLE], (unsigned long long)net.done[HALF],
                      (unsigned long long)net.done[RESET], (unsigned long long)net.done[ABORT],
                      (unsigned long long)net.done[EARLY], (unsigned long long)net.done[CANCEL],
                      (unsigned long long)net.bytes / 1000,
                      (unsigned long long)net.server_bytes / 1000);
        rt = test_runtime_new(&test_flavours[i]);
        CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
        CHECK_EQ(0, m.io_registered); /* in the process: no registration was forgotten */
        test_runtime_free(rt);
    }
}

END_TEST

TEST_MAIN("net_mix", every_byte_arrives_whatever_happens_around_it)
