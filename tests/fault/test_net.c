/* SPDX-License-Identifier: MIT */
/* Listening, connecting, reading and writing while something fails: the other side is always told. */
#include "party.h"

#include "net/stream.h"
#include "sched/runtime.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS 3
#define MESSAGE 700

/* What a peer sees when the other side fails, in the order in which the network may tell. */
#define PEER_GONE ECONNRESET, EPIPE, ENOTCONN

/* What any operation on a stream may answer here. */
#define STREAM PEER_GONE, ENOMEM, ENOSPC, ENOBUFS

static int client_closes(weft_stream *s, int rc)
{
    /* Reset, or the ports would soon be used up. */
    MAY(weft_stream_set_linger(s, 0), ENOBUFS, ENOMEM);
    CHECK_EQ(0, weft_close(s));
    return rc;
}

/* ---- Straight-line code ---- */

static int echo_conn(void *stream)
{
    char buffer[256];
    ssize_t n;

    while ((n = weft_read(stream, buffer, sizeof(buffer))) > 0) {
        n = weft_write_all(stream, buffer, (size_t)n);
        if (n < 0)
            break;
    }
    /* The client resets. */
    if (n != -ECONNRESET && n != -EPIPE)
        MAY(n, STREAM);
    CHECK_EQ(0, weft_close(stream));
    return 0;
}

static int echo_server(void *listener)
{
    return party_serve(listener, echo_conn);
}

static int echo_client(void *where)
{
    char out[MESSAGE], in[MESSAGE];
    weft_stream *s = NULL;
    ssize_t n;

    memset(out, 'x', sizeof(out));
    if (MAY(weft_tcp_connect(&s, where, NULL), NO_FILES, ENOBUFS, ENOSPC, ECONNREFUSED,
            EADDRNOTAVAIL, ENETUNREACH, ECONNRESET) < 0)
        return 0;
    if (MAY(weft_write_all(s, out, sizeof(out)), STREAM) < 0)
        return client_closes(s, 0);
    n = MAY(weft_read_exact(s, in, sizeof(in)), STREAM);
    if (n >= 0 && n < MESSAGE)
        MAY(-ECONNRESET, ECONNRESET); /* the server closed without a cause of its own? */
    if (n == MESSAGE)
        CHECK_EQ(0, memcmp(in, out, sizeof(in)));
    return client_closes(s, 0);
}

struct ends {
    weft_fn *server, *client;
    unsigned servers;
};

static void serve_clients(const struct ends *e, weft_listener *l, weft_addr *where)
{
    struct party p[2 * CLIENTS] = {0};

    for (unsigned i = 0; i < e->servers; i++)
        (void)party_begin(&p[i], e->server, l);
    for (unsigned i = 0; i < CLIENTS; i++)
        (void)party_begin(&p[e->servers + i], e->client, where);
    party_meet(p, e->servers, e->servers + CLIENTS, l);
}

static int ends_root(void *arg)
{
    weft_listener *l = NULL;
    weft_addr where;

    if (MAY(weft_listen(&l, "tcp://127.0.0.1:0", NULL), NO_FILES, ENOBUFS, EADDRINUSE, EACCES) < 0)
        return 0;
    if (MAY(weft_listener_addr(l, &where), ENOBUFS) == 0)
        serve_clients(arg, l, &where);
    CHECK_EQ(0, weft_listener_close(l));
    return 0;
}

static void echo(const struct test_flavour *flavour)
{
    struct ends e = {echo_server, echo_client, 1};

    fault_run_root(flavour, ends_root, &e);
}

TEST(an_echo_is_whole_or_fails_at_both_ends)
{
    fault_sweep(echo);
}

/* ---- Futures ---- */

static int future_server(void *listener)
{
    char buffer[128];
    weft_stream *s = NULL;
    weft_future next = weft_accept_future(listener, &s), never = weft_pending_future();
    ssize_t n;
    int rc;

    rc = (int)weft_select(&next, &never);
    CHECK_EQ(0, rc);
    if (next.result < 0) {
        MAY(next.result, ESHUTDOWN, ENOSPC);
        return 0;
    }
    for (;;) {
        weft_future got = weft_read_future(s, buffer, sizeof(buffer)), sent;

        n = weft_timeout(WEFT_SECS(100), &got);
        if (n <= 0)
            break;
        sent = weft_write_all_future(s, buffer, (size_t)n);
        n = weft_await(&sent);
        if (n < 0)
            break;
    }
    if (n != -ECONNRESET && n != -EPIPE)
        MAY(n, STREAM);
    CHECK_EQ(0, weft_close(s));
    return 0;
}

static int future_client(void *where)
{
    char out[MESSAGE], in[MESSAGE];
    weft_stream *s = NULL;
    weft_future connected = weft_tcp_connect_future(&s, where, NULL), moved[2];
    struct iovec parts[2] = {{out, 300}, {out + 300, 400}};

    memset(out, 'y', sizeof(out));
    if (MAY(weft_await(&connected), NO_FILES, ENOBUFS, ENOSPC, ECONNREFUSED, EADDRNOTAVAIL,
            ENETUNREACH, ECONNRESET) < 0)
        return 0;
    moved[0] = weft_writev_future(s, parts, 2);
    moved[1] = weft_read_exact_future(s, in, sizeof(in));
    if (weft_try_join_all(&moved[0], &moved[1]) < 0) {
        for (int i = 0; i < 2; i++)
            if (weft_future_is_ready(&moved[i]))
                MAY(moved[i].result, STREAM, ECANCELED);
        return client_closes(s, 0);
    }
    CHECK_EQ(MESSAGE, moved[0].result);
    if (moved[1].result < MESSAGE)
        MAY(-ECONNRESET, ECONNRESET);
    return client_closes(s, 0);
}

static void futures(const struct test_flavour *flavour)
{
    struct ends e = {future_server, future_client, CLIENTS};

    fault_run_root(flavour, ends_root, &e);
}

TEST(futures_of_streams_end_ready_or_dropped)
{
    fault_sweep(futures);
}

/* ---- Aborting, closing, cancelling, time ---- */

static int reads_for_ever(void *stream)
{
    char byte;

    return (int)weft_read(stream, &byte, 1);
}

static int accepts_for_ever(void *listener)
{
    weft_stream *s;

    return weft_accept(listener, &s);
}

/* It waits, or has ended. */
static void settle(weft_task *t)
{
    weft_task_info info;

    do {
        (void)weft_yield();
        if (t)
            CHECK_EQ(0, weft_task_get_info(t, &info));
    } while (t && info.state != WEFT_TASK_FINISHED &&
             (info.state != WEFT_TASK_IDLE || info.polls == 0));
}

static int join_either(weft_task *t, int want)
{
    int result = want;

    if (!t)
        return 0;
    CHECK_EQ(0, weft_join(t, &result));
    if (result != want) {
        CHECK(result < 0);
        MAY(result, ENOMEM, ENOSPC, ECONNRESET, ENOBUFS);
    }
    return 0;
}

static void stop_readers(weft_stream *a, weft_stream *b)
{
    weft_task *t;
    char byte;
    ssize_t n;

    WEFT_DEADLINE(WEFT_US(100))
    {
        n = weft_read(a, &byte, 1);
        if (n != -ETIMEDOUT)
            MAY(n, ENOMEM, ENOSPC, ECONNRESET);
    }
    t = MAY_NULL(weft_spawn(reads_for_ever, a));
    settle(t);
    weft_cancel(t);
    join_either(t, -ECANCELED);
    t = MAY_NULL(weft_spawn(reads_for_ever, a));
    settle(t);
    weft_stream_abort(a);
    join_either(t, -ESHUTDOWN);
    t = MAY_NULL(weft_spawn(reads_for_ever, b));
    settle(t);
    CHECK_EQ(0, weft_close(a));
    join_either(t, 0);
    CHECK_EQ(0, weft_close(b));
}

static int stop_pair(void)
{
    weft_stream *a, *b;
    int fds[2];

    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    if (MAY(weft_stream_from_fd(&a, fds[0]), ENOMEM, EBADF, ENOBUFS) < 0) {
        CHECK_EQ(0, close(fds[0]));
        return close(fds[1]);
    }
    if (MAY(weft_stream_from_fd(&b, fds[1]), ENOMEM, EBADF, ENOBUFS) < 0) {
        CHECK_EQ(0, weft_close(a));
        return close(fds[1]);
    }
    stop_readers(a, b);
    return 0;
}

static int stops_root(void *unused)
{
    weft_listener *l = NULL;
    weft_task *t[3];

    (void)unused;
    CHECK_EQ(0, stop_pair());
    if (MAY(weft_listen(&l, "tcp://[::1]:0", NULL), NO_FILES, ENOBUFS, EADDRINUSE, EACCES) < 0)
        return 0;
    for (int i = 0; i < 3; i++)
        t[i] = MAY_NULL(weft_spawn(accepts_for_ever, l));
    for (int i = 0; i < 3; i++)
        settle(t[i]);
    if (t[1])
        weft_cancel(t[1]);
    join_either(t[1], -ECANCELED);
    CHECK_EQ(0, weft_listener_close(l));
    join_either(t[0], -ESHUTDOWN);
    join_either(t[2], -ESHUTDOWN);
    return 0;
}

static void stops(const struct test_flavour *flavour)
{
    fault_run_root(flavour, stops_root, NULL);
}

TEST(whoever_waits_on_a_stream_is_told)
{
    fault_sweep(stops);
}

/* ---- A listener in a shortage that lasts ---- */

struct shortage {
    struct fault_plan plan;
    uint64_t uses_max; /* in 60 ms: it pauses between */
};

static int accept_in_shortage(void *arg)
{
    const struct shortage *sh = arg;
    weft_stream *client = NULL, *s = NULL;
    weft_listener *l;
    weft_future next;
    weft_addr where;

    CHECK_EQ(0, weft_listen(&l, "tcp://127.0.0.1:0", NULL));
    CHECK_EQ(0, weft_listener_addr(l, &where));
    if (sh->plan.kind == WF_FAULT_ACCEPT)
        CHECK_EQ(0, weft_tcp_connect(&client, &where, NULL));
    fault_arm(&sh->plan);
    next = weft_accept_future(l, &s);
    CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_MS(60), &next));
    CHECK(fault_fired() >= 2 && fault_uses() < sh->uses_max);
    fault_disarm();
    if (!client)
        CHECK_EQ(0, weft_tcp_connect(&client, &where, NULL));
    CHECK_EQ(0, weft_accept(l, &s));
    CHECK_EQ(0, weft_close(client));
    CHECK_EQ(0, weft_close(s));
    return weft_listener_close(l);
}

TEST(a_listener_waits_until_the_shortage_is_over)
{
    static struct shortage cases[] = {
        {{WF_FAULT_ACCEPT, -EMFILE, 1, FAULT_LASTING}, 100},
        {{WF_FAULT_ACCEPT, -ENOMEM, 1, FAULT_LASTING}, 100},
        {{WF_FAULT_EPOLL_ADD, -ENOMEM, 1, FAULT_LASTING}, 100},
        {{WF_FAULT_EPOLL_ADD, -ENOSPC, 1, FAULT_LASTING}, 100},
        /* Not a shortage, but no connection's own failure either: who may not accept at all. */
        {{WF_FAULT_ACCEPT, -EPERM, 1, FAULT_LASTING}, 10000},
        {{WF_FAULT_ACCEPT, -ECONNABORTED, 1, FAULT_LASTING}, 10000},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        test_run(accept_in_shortage, &cases[i]);
}

/* ---- A registration that cannot move ---- */

struct moving {
    weft_stream *a, *b;
    bool tried;
};

static int write_to_waiter(void *arg)
{
    const struct moving *m = arg;

    /* A waiter's address is above the flags. */
    while (wf_load_u64(&m->a->io.way[WF_IO_READ], WF_ACQUIRE) < 8)
        CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    return (int)weft_write(m->b, "x", 1);
}

/* As if others had harvested for this stream again and again; but there is no room at another poller. */
static int stays_at_home(void *arg)
{
    const struct fault_plan no_room = {WF_FAULT_EPOLL_ADD, -ENOSPC, 1, FAULT_LASTING};
    weft_runtime *rt = weft_runtime_current();
    struct moving *m = arg;
    struct wf_poller *home;
    weft_task *writer;
    int fds[2];
    char byte;

    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    CHECK_EQ(0, weft_stream_from_fd(&m->a, fds[0]));
    CHECK_EQ(0, weft_stream_from_fd(&m->b, fds[1]));
    home = &rt->seats[wf_thread_self()->poller == &rt->seats[0].poller].poller;
    CHECK_EQ(0, wf_poller_add(home, fds[0], wf_io_to_data(&m->a->io)));
    wf_store_ptr(&m->a->io.home, home, WF_RELEASE);
    writer = weft_spawn(write_to_waiter, m);
    CHECK(writer != NULL);
    fault_arm(&no_room);
    wf_store_u32(&m->a->io.stolen, 1000, WF_RELAXED);
    CHECK_EQ(1, weft_read(m->a, &byte, 1));
    m->tried = fault_disarm() > 0;
    CHECK_EQ(0, weft_join(writer, NULL));
    CHECK_EQ(0, weft_close(m->a));
    CHECK_EQ(0, weft_close(m->b));
    return 0;
}

TEST(a_stream_that_cannot_move_stays_where_it_is)
{
    struct moving m = {0};

    /* Its home's own worker may have harvested, or the reader may be there by now. */
    for (int i = 0; i < 1000 && !m.tried; i++)
        test_run_on(&test_flavours[2], stays_at_home, &m);
    CHECK(m.tried);
}

/* ---- Options ---- */

static int options_root(void *unused)
{
    weft_listen_options lo = {.reuse_port = WEFT_ON, .receive_buffer = 4096, .send_buffer = 4096};
    weft_connect_options co = {.receive_buffer = 4096, .send_buffer = 4096};
    weft_keepalive k = {.on = true, .idle_seconds = 60, .interval_seconds = 10, .count = 3};
    weft_listener *l = NULL;
    weft_stream *s = NULL;
    weft_addr where, local, any;

    (void)unused;
    CHECK_EQ(0, weft_addr_ip(&local, "127.0.0.1", 0));
    co.local = &local;
    if (MAY(weft_listen(&l, "127.0.0.1:0", &lo), NO_FILES, ENOBUFS, EADDRINUSE, EACCES) < 0)
        return 0;
    if (MAY(weft_listener_addr(l, &where), ENOBUFS) == 0 &&
        MAY(weft_tcp_connect(&s, &where, &co), NO_FILES, ENOBUFS, ENOSPC, ECONNREFUSED,
            EADDRNOTAVAIL, EADDRINUSE, EACCES, ENETUNREACH) == 0) {
        MAY(weft_stream_set_keepalive(s, &k), ENOBUFS, ENOMEM);
        MAY(weft_stream_get_keepalive(s, &k), ENOBUFS);
        MAY(weft_stream_set_nodelay(s, false), ENOBUFS, ENOMEM);
        MAY(weft_stream_get_nodelay(s), ENOBUFS);
        MAY(weft_stream_take_error(s), ENOBUFS);
        MAY(weft_stream_peer(s, &any), ENOBUFS);
        MAY(weft_stream_local(s, &any), ENOBUFS);
        (void)client_closes(s, 0);
    }
    CHECK_EQ(0, weft_listener_close(l));
    return 0;
}

static void options(const struct test_flavour *flavour)
{
    fault_run_root(flavour, options_root, NULL);
}

TEST(options_that_cannot_be_set_leave_nothing_open)
{
    fault_sweep(options);
}

/* ---- All at once ---- */

TEST(streams_bear_any_mixture_of_failures)
{
    fault_scenario *const runs[] = {echo, futures, stops};

    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
        fault_chaos(runs[i], fault_full() ? 3000 : test_scaled(200));
}

TEST(every_kind_of_a_stream_was_met)
{
    MET(WF_FAULT_SOCKET, WF_FAULT_BIND, WF_FAULT_LISTEN, WF_FAULT_ACCEPT, WF_FAULT_CONNECT,
        WF_FAULT_SHUTDOWN, WF_FAULT_SETSOCKOPT, WF_FAULT_GETSOCKOPT, WF_FAULT_NAME, WF_FAULT_READ,
        WF_FAULT_WRITE, WF_FAULT_NONBLOCK, WF_FAULT_EPOLL_ADD);
}

TEST_MAIN("fault.net", an_echo_is_whole_or_fails_at_both_ends,
          futures_of_streams_end_ready_or_dropped, whoever_waits_on_a_stream_is_told,
          options_that_cannot_be_set_leave_nothing_open, streams_bear_any_mixture_of_failures,
          a_listener_waits_until_the_shortage_is_over, a_stream_that_cannot_move_stays_where_it_is,
          every_kind_of_a_stream_was_met)
