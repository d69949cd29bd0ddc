/* SPDX-License-Identifier: MIT */
/*
 * test_tcp.c - what weft/net.h promises: connecting, accepting, addresses, options.
 */
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* --- connecting and accepting --------------------------------------------------- */

static int refused(void *unused)
{
    weft_stream *s = (weft_stream *)&s; /* outputs are written on success only */
    weft_addr where;
    weft_future f;

    (void)unused;
    CHECK_EQ(0, weft_listener_close(listen_any(&where)));
    CHECK_EQ(-ECONNREFUSED, weft_tcp_connect(&s, &where, NULL));
    f = weft_tcp_connect_future(&s, &where);
    CHECK_EQ(-ECONNREFUSED, weft_await(&f));
    CHECK(s == (weft_stream *)&s);
    return 0;
}

TEST(connecting_to_nobody_is_refused)
{
    test_run(refused, NULL);
}

END_TEST

/* Those in line behind the first one must not fall upon whatever took the listener's place. */
static int close_listener_in_use(void *unused)
{
    enum { ACCEPTORS = 8 };

    weft_task *acceptors[ACCEPTORS];
    weft_addr where, other_at;

    (void)unused;
    for (uint64_t round = 0; round < test_scaled(200); round++) {
        weft_listener *l = listen_any(&where), *other;
        weft_stream *s, *peer;

        for (size_t i = 0; i < ACCEPTORS; i++)
            acceptors[i] = weft_spawn(accept_one, l);
        for (size_t i = 0; i < ACCEPTORS; i++)
            until_it_waits(acceptors[i], 1);
        CHECK_EQ(0, weft_listener_close(l));
        /* This one is likely to get the memory and the number of the old. Its connection is its
         * own. */
        other = listen_any(&other_at);
        CHECK_EQ(0, weft_tcp_connect(&s, &other_at, NULL));
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_accept(other, &peer));
        for (size_t i = 0; i < ACCEPTORS; i++)
            CHECK_EQ(-ESHUTDOWN, join(acceptors[i]));
        CHECK_EQ(0, weft_stream_set_linger(s, 0));
        CHECK_EQ(0, weft_close(s));
        CHECK_EQ(0, weft_close(peer));
        CHECK_EQ(0, weft_listener_close(other));
    }
    return 0;
}

TEST(a_closed_listener_lets_all_its_acceptors_go)
{
    test_run(close_listener_in_use, NULL);
}

END_TEST

struct turn {
    weft_listener *l;
    atomic_uint *next;
    unsigned place;
};

static int accept_in_turn(void *arg)
{
    struct turn *t = arg;
    weft_stream *s;
    int rc = weft_accept(t->l, &s);

    if (rc < 0)
        return rc;
    t->place = atomic_fetch_add(t->next, 1);
    return weft_close(s);
}

static int accept_order(void *unused)
{
    enum { ACCEPTORS = 20 };
    struct turn turns[ACCEPTORS];
    weft_task *tasks[ACCEPTORS];
    atomic_uint next = 0;
    weft_addr where;
    weft_listener *l = listen_any(&where);

    (void)unused;
    for (unsigned i = 0; i < ACCEPTORS; i++) {
        turns[i] = (struct turn){l, &next, UINT32_MAX};
        tasks[i] = spawn_waiting(accept_in_turn, &turns[i]);
    }
    /* One in the middle of the line gives up: the others keep their places. */
    weft_cancel(tasks[3]);
    CHECK_EQ(-ECANCELED, join(tasks[3]));
    for (unsigned i = 0; i < ACCEPTORS; i++) {
        weft_stream *s;

        if (i == 3)
            continue;
        CHECK_EQ(0, weft_tcp_connect(&s, &where, NULL));
        CHECK_EQ(0, join(tasks[i])); /* it is this one and no other who is served */
        CHECK_EQ(i < 3 ? i : i - 1, turns[i].place);
        CHECK_EQ(0, weft_close(s));
    }
    CHECK_EQ(0, weft_listener_close(l));
    return 0;
}

TEST(acceptors_are_served_first_come_first_served)
{
    test_run(accept_order, NULL);
}

END_TEST

/* --- addresses and options ------------------------------------------------------------------ */

static int over_ipv6(void *unused)
{
    weft_listener *l = NULL;
    weft_stream *a, *b;
    char text[WEFT_ADDR_TEXT_MAX], other[WEFT_ADDR_TEXT_MAX];
    weft_addr where, x;
    int rc = weft_listen(&l, "tcp://[::1]:0", NULL);

    (void)unused;
    if (rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT)
        return 0; /* no IPv6 here */
    CHECK_EQ(0, rc);
    CHECK_EQ(0, weft_listener_addr(l, &where));
    CHECK(weft_addr_format(&where, text, sizeof(text)) > 0);
    CHECK_EQ(0, weft_connect(&a, text));
    CHECK_EQ(0, weft_accept(l, &b));
    CHECK_EQ(2, weft_write_all(a, "v6", 2));
    CHECK_EQ(2, weft_read_exact(b, text, 2));

    CHECK_EQ(0, weft_stream_local(a, &x));
    CHECK(weft_addr_format(&x, text, sizeof(text)) > 0);
    CHECK_EQ(0, weft_stream_peer(b, &x));
    CHECK(weft_addr_format(&x, other, sizeof(other)) > 0);
    CHECK_STR(text, other);
    CHECK_EQ(0, weft_close(a));
    CHECK_EQ(0, weft_close(b));
    CHECK_EQ(0, weft_listener_close(l));

    /* Both families through one listener. */
    CHECK_EQ(0, weft_listen(&l, "[::]:0", NULL));
    CHECK_EQ(0, weft_listener_addr(l, &where));
    CHECK_EQ(0, weft_addr_ip(&x, "127.0.0.1", weft_addr_port(&where)));
    CHECK_EQ(0, weft_tcp_connect(&a, &x, NULL));
    CHECK_EQ(0, weft_close(a));
    CHECK_EQ(0, weft_listener_close(l));
    CHECK_EQ(0, weft_listen(&l, "[::]:0", &(weft_listen_options){.v6_only = WEFT_ON}));
    CHECK_EQ(0, weft_listener_addr(l, &where));
    CHECK_EQ(0, weft_addr_ip(&x, "127.0.0.1", weft_addr_port(&where)));
    CHECK_EQ(-ECONNREFUSED, weft_tcp_connect(&a, &x, NULL));
    CHECK_EQ(0, weft_listener_close(l));
    return 0;
}

TEST(ipv6_works_as_ipv4_does)
{
    test_run(over_ipv6, NULL);
}

END_TEST

static int options(void *unused)
{
    weft_keepalive k = {0}, want = {true, 77, 11, 5};
    struct pair p = pair_new();
    weft_addr a, b;

    (void)unused;
    CHECK_EQ(1, weft_stream_get_nodelay(p.a)); /* on by default, at both ends */
    CHECK_EQ(1, weft_stream_get_nodelay(p.b));
    CHECK_EQ(0, weft_stream_set_nodelay(p.a, false));
    CHECK_EQ(0, weft_stream_get_nodelay(p.a));

    CHECK_EQ(-1, weft_stream_get_linger(p.a));
    CHECK_EQ(0, weft_stream_set_linger(p.a, 7));
    CHECK_EQ(7, weft_stream_get_linger(p.a));
    CHECK_EQ(0, weft_stream_set_linger(p.a, -1));
    CHECK_EQ(-1, weft_stream_get_linger(p.a));
    CHECK_EQ(-EINVAL, weft_stream_set_linger(p.a, -2));

    CHECK_EQ(0, weft_stream_get_keepalive(p.a, &k));
    CHECK(!k.on);
    CHECK_EQ(0, weft_stream_set_keepalive(p.a, &want));
    CHECK_EQ(0, weft_stream_get_keepalive(p.a, &k));
    CHECK(k.on);
    CHECK_EQ(77, k.idle_seconds);
    CHECK_EQ(11, k.interval_seconds);
    CHECK_EQ(5, k.count);

    CHECK_EQ(0, weft_stream_set_receive_buffer(p.a, 20000));
    CHECK(weft_stream_get_receive_buffer(p.a) >= 20000);
    CHECK_EQ(0, weft_stream_set_send_buffer(p.a, 30000));
    CHECK(weft_stream_get_send_buffer(p.a) >= 30000);
    CHECK_EQ(-EINVAL, weft_stream_set_send_buffer(p.a, 0));
    CHECK_EQ(0, weft_stream_take_error(p.a));

    CHECK_EQ(0, weft_stream_local(p.a, &a));
    CHECK_EQ(0, weft_stream_peer(p.b, &b));
    CHECK_EQ(weft_addr_port(&a), weft_addr_port(&b));
    CHECK_EQ(0, weft_stream_peer(p.a, &a));
    CHECK_EQ(0, weft_stream_local(p.b, &b));
    CHECK_EQ(weft_addr_port(&a), weft_addr_port(&b));
    CHECK_EQ(-EINVAL, weft_stream_peer(NULL, &a));
    CHECK_EQ(-EINVAL, weft_stream_local(p.a, NULL));
    pair_close(p);
    return 0;
}

static int options_before(void *unused)
{
    weft_listen_options lo = {
        .nodelay = WEFT_OFF, .receive_buffer = 40000, .send_buffer = 50000, .backlog = 16};
    weft_connect_options co = {.nodelay = WEFT_OFF, .receive_buffer = 20000, .send_buffer = 30000};
    weft_listener *l;
    weft_stream *a, *b;
    weft_addr where, local, x;

    (void)unused;
    CHECK_EQ(0, weft_listen(&l, "127.0.0.1:0", &lo));
    CHECK_EQ(0, weft_listener_addr(l, &where));
    CHECK_EQ(0, weft_addr_ip(&local, "127.0.0.2", 0));
    co.local = &local;
    CHECK_EQ(0, weft_tcp_connect(&a, &where, &co));
    CHECK_EQ(0, weft_accept(l, &b));
    CHECK_EQ(0, weft_stream_get_nodelay(a));
    CHECK_EQ(0, weft_stream_get_nodelay(b));
    CHECK(weft_stream_get_receive_buffer(b) >= 40000);
    CHECK(weft_stream_get_send_buffer(a) >= 30000);
    CHECK_EQ(0, weft_stream_peer(b, &x));
    CHECK(memcmp(((struct sockaddr_in *)(void *)&x.u)->sin_addr.s_addr == htonl(0x7f000002) ? "y"
                                                                                            : "n",
                 "y", 1) == 0);
    CHECK_EQ(0, weft_close(a));
    CHECK_EQ(0, weft_close(b));
    CHECK_EQ(0, weft_listener_close(l));
    return 0;
}

TEST(options_are_set_and_told)
{
    test_run(options, NULL);
    test_run(options_before, NULL);
}

END_TEST

static int share_port(void *unused)
{
    weft_listen_options share = {.reuse_port = WEFT_ON};
    weft_listener *one, *two, *three = NULL;
    weft_addr where;
    unsigned served[2] = {0, 0};

    (void)unused;
    CHECK_EQ(0, weft_listen(&one, "127.0.0.1:0", &share));
    CHECK_EQ(0, weft_listener_addr(one, &where));
    CHECK_EQ(0, weft_tcp_listen(&two, &where, &share));
    CHECK_EQ(-EADDRINUSE, weft_tcp_listen(&three, &where, NULL));
    CHECK(three == NULL);
    for (int i = 0; i < 40; i++) {
        weft_stream *a, *b = NULL;
        weft_future f[2] = {weft_accept_future(one, &b), weft_accept_future(two, &b)};
        ssize_t which;

        CHECK_EQ(0, weft_tcp_connect(&a, &where, NULL));
        which = weft_select(&f[0], &f[1]);
        CHECK(which >= 0);
        CHECK_EQ(0, f[which].result);
        served[which]++;
        CHECK_EQ(0, weft_stream_set_linger(a, 0));
        CHECK_EQ(0, weft_close(a));
        CHECK_EQ(0, weft_close(b));
    }
    CHECK(served[0] > 0 && served[1] > 0); /* by a hash of the ports: one chance in 2^39 */
    CHECK_EQ(0, weft_listener_close(one));
    CHECK_EQ(0, weft_listener_close(two));
    return 0;
}

TEST(two_listeners_can_share_a_port)
{
    test_run(share_port, NULL);
}

END_TEST

static int wrong_addresses(void *unused)
{
    static const char *const bad[] = {"",       "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
                                      "tcp://", "[::1:80",   "1.2.3:80",   "127.0.0.1:8x"};
    weft_listener *l = NULL, *first;
    weft_stream *s = NULL;
    weft_addr where;

    (void)unused;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_EQ(-EINVAL, weft_listen(&l, bad[i], NULL));
    CHECK_EQ(-EINVAL, weft_listen(&l, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_listen(NULL, "127.0.0.1:0", NULL));
    CHECK_EQ(-ENOTSUP, weft_listen(&l, "unix:///tmp/x", NULL));
    CHECK_EQ(-ENOTSUP, weft_connect(&s, "unix:///tmp/x"));
    CHECK_EQ(-ENOTSUP, weft_connect(&s, "localhost:80")); /* names are not looked up */
    CHECK_EQ(-EADDRNOTAVAIL, weft_listen(&l, "192.0.2.1:0", NULL));
    CHECK_EQ(-EINVAL, weft_listen(&l, "127.0.0.1:0", &(weft_listen_options){.backlog = -1}));
    first = listen_any(&where);
    CHECK_EQ(-EADDRINUSE, weft_tcp_listen(&l, &where, NULL));
    CHECK_EQ(0, weft_listener_close(first));
    CHECK_EQ(-EINVAL, weft_accept(NULL, &s));
    CHECK_EQ(-EINVAL, weft_tcp_connect(&s, NULL, NULL));
    CHECK(l == NULL && s == NULL);
    CHECK_EQ(0, weft_listener_close(NULL));
    weft_listener_abort(NULL);
    return 0;
}

TEST(wrong_addresses_are_refused)
{
    test_run(wrong_addresses, NULL);
}

END_TEST

TEST(waiting_calls_are_refused_outside_tasks)
{
    weft_stream *s = NULL;
    weft_addr where;
    weft_listener *l = listen_any(&where);
    char byte;
    int fds[2];

    CHECK_EQ(-EPERM, weft_accept(l, &s));
    CHECK_EQ(-EPERM, weft_tcp_connect(&s, &where, NULL));
    CHECK_EQ(0, pipe(fds));
    CHECK_EQ(0, weft_stream_from_fd(&s, fds[0]));
    CHECK_EQ(-EPERM, weft_read(s, &byte, 1));
    CHECK_EQ(0, weft_close(s));
    CHECK_EQ(0, close(fds[1]));
    CHECK_EQ(0, weft_listener_close(l));
}

END_TEST

/* --- beyond one runtime --------------------------------------------------------------------------- */

struct moved {
    weft_listener *l;
    weft_addr where;
    struct pair p;
};

static int moved_begin(void *arg)
{
    struct moved *m = arg;
    weft_task *reader, *acceptor;

    m->p = pair_new();
    m->l = listen_any(&m->where);
    /* So that all are known to this runtime's driver. */
    reader = spawn_waiting(read_byte, m->p.b);
    acceptor = spawn_waiting(accept_one, m->l);
    weft_cancel(reader);
    weft_cancel(acceptor);
    CHECK_EQ(-ECANCELED, join(reader));
    CHECK_EQ(-ECANCELED, join(acceptor));
    return 0;
}

static int moved_end(void *arg)
{
    struct moved *m = arg;
    weft_task *reader = spawn_waiting(read_byte, m->p.b);
    weft_task *acceptor = spawn_waiting(accept_one, m->l);
    weft_stream *s;

    CHECK_EQ(1, weft_write(m->p.a, "m", 1));
    CHECK_EQ('m', join(reader));
    CHECK_EQ(0, weft_tcp_connect(&s, &m->where, NULL));
    CHECK_EQ(0, join(acceptor));
    CHECK_EQ(0, weft_close(s));
    return 0;
}

/* In a runtime that is gone, a stream cannot be waited for; in the next one it can. */
TEST(streams_outlive_their_runtime)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct moved m;

        test_run_on(&test_flavours[i], moved_begin, &m);
        test_run_on(&test_flavours[(i + 1) % test_flavour_count], moved_end, &m);
        test_run_on(&test_flavours[i], moved_end, &m);
        pair_close(m.p);
        CHECK_EQ(0, weft_listener_close(m.l));
    }
}

END_TEST

TEST_MAIN("tcp", connecting_to_nobody_is_refused, a_closed_listener_lets_all_its_acceptors_go,
          acceptors_are_served_first_come_first_served, ipv6_works_as_ipv4_does,
          options_are_set_and_told, two_listeners_can_share_a_port, wrong_addresses_are_refused,
          waiting_calls_are_refused_outside_tasks, streams_outlive_their_runtime)
