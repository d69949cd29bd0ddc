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
#include <sys/resource.h>
#include <unistd.h>

/* --- connecting and accepting --------------------------------------------------- */

static int refused(void *unused)
{
    weft_stream *s = (weft_stream *)&s; /* outputs are written on success only */
    char text[WEFT_ADDR_TEXT_MAX];
    weft_addr where;
    weft_future f;

    (void)unused;
    CHECK_EQ(0, weft_listener_close(listen_any(&where)));
    CHECK_EQ(-ECONNREFUSED, weft_tcp_connect(&s, &where, NULL));
    f = weft_tcp_connect_future(&s, &where, NULL);
    CHECK_EQ(-ECONNREFUSED, weft_await(&f));
    CHECK(weft_addr_format(&where, text, sizeof(text)) > 0);
    f = weft_connect_future(&s, text);
    CHECK_EQ(-ECONNREFUSED, weft_await(&f));
    CHECK(s == (weft_stream *)&s);
    return 0;
}

TEST(connecting_to_nobody_is_refused)
{
    test_run(refused, NULL);
}

END_TEST

static int connect_by_text(void *unused)
{
    char text[6 + WEFT_ADDR_TEXT_MAX] = "tcp://";
    weft_addr where, peer;
    weft_listener *l = listen_any(&where);
    weft_stream *s, *other;
    weft_future f;

    (void)unused;
    CHECK(weft_addr_format(&where, text + 6, WEFT_ADDR_TEXT_MAX) > 0);
    for (size_t skip = 0; skip <= 6; skip += 6) { /* with "tcp://", and without */
        s = NULL;
        f = weft_connect_future(&s, text + skip);
        CHECK(!weft_future_is_ready(&f) && !s);
        CHECK_EQ(0, weft_await(&f));
        CHECK_EQ(0, weft_accept(l, &other));
        CHECK_EQ(0, weft_stream_peer(s, &peer));
        CHECK_EQ(weft_addr_port(&where), weft_addr_port(&peer));
        CHECK_EQ(0, weft_close(s));
        CHECK_EQ(0, weft_close(other));
    }

    /* The text is read at the first poll, not before and not after. */
    s = NULL;
    strcpy(text, "not yet");
    f = weft_connect_future(&s, text);
    CHECK(weft_addr_format(&where, text, WEFT_ADDR_TEXT_MAX) > 0);
    CHECK_EQ(0, weft_await(&f));
    CHECK_EQ(0, weft_close(s));
    f = weft_connect_future(&s, text); /* never polled: nothing to undo */
    weft_future_drop(&f);
    CHECK_EQ(-ECANCELED, f.result);
    CHECK_EQ(0, weft_listener_close(l));
    return 0;
}

TEST(a_future_connects_to_a_text)
{
    test_run(connect_by_text, NULL);
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
    for (int by_future = 0; by_future < 2; by_future++) {
        weft_future f = weft_tcp_connect_future(&a, &where, &co);

        CHECK_EQ(0, by_future ? weft_await(&f) : weft_tcp_connect(&a, &where, &co));
        CHECK_EQ(0, weft_accept(l, &b));
        CHECK_EQ(0, weft_stream_get_nodelay(a));
        CHECK_EQ(0, weft_stream_get_nodelay(b));
        CHECK(weft_stream_get_receive_buffer(b) >= 40000);
        CHECK(weft_stream_get_send_buffer(a) >= 30000);
        CHECK_EQ(0, weft_stream_peer(b, &x));
        CHECK(((struct sockaddr_in *)(void *)&x.u)->sin_addr.s_addr == htonl(0x7f000002));
        CHECK_EQ(0, weft_close(a));
        CHECK_EQ(0, weft_close(b));
    }
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
    /* Names are not looked up. */
    static const char *const unknown[] = {"unix:///tmp/x", "localhost:80"};
    weft_listener *l = NULL, *first;
    weft_stream *s = NULL;
    weft_addr where;

    (void)unused;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        weft_future f = weft_connect_future(&s, bad[i]);

        CHECK_EQ(-EINVAL, weft_await(&f));
        CHECK_EQ(-EINVAL, weft_listen(&l, bad[i], NULL));
    }
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        weft_future f = weft_connect_future(&s, unknown[i]);

        CHECK_EQ(-ENOTSUP, weft_await(&f));
        CHECK_EQ(-ENOTSUP, weft_connect(&s, unknown[i]));
    }
    CHECK_EQ(-EINVAL, weft_listen(&l, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_listen(NULL, "127.0.0.1:0", NULL));
    CHECK_EQ(-ENOTSUP, weft_listen(&l, "unix:///tmp/x", NULL));
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

/* --- out of descriptors ------------------------------------------------------------ */

/* From now on there is no descriptor to be had. */
static struct rlimit shortage_begin(void)
{
    struct rlimit before, none;
    int free_fd = dup(STDERR_FILENO);

    CHECK(free_fd >= 0);
    CHECK_EQ(0, close(free_fd));
    CHECK_EQ(0, getrlimit(RLIMIT_NOFILE, &before));
    none = before;
    none.rlim_cur = (rlim_t)free_fd; /* all below it are taken */
    CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
    CHECK(dup(STDERR_FILENO) < 0);
    return before;
}

static void shortage_end(struct rlimit before)
{
    CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &before));
}

/* Counts what is done to it. */
struct bell {
    weft_wakeable wakeable;
    atomic_int refs, rings;
};

static void bell_retain(weft_wakeable *w)
{
    atomic_fetch_add(&((struct bell *)(void *)w)->refs, 1);
}

static void bell_wake(weft_wakeable *w)
{
    atomic_fetch_add(&((struct bell *)(void *)w)->rings, 1);
}

static void bell_release(weft_wakeable *w)
{
    atomic_fetch_sub(&((struct bell *)(void *)w)->refs, 1);
}

static const weft_wakeable_type bell_type = {bell_retain, bell_wake, bell_release};

static weft_poll bell_poll(struct bell *b, weft_future *f)
{
    weft_waker waker = weft_waker_of(&b->wakeable);
    weft_context cx = weft_context_of(&waker);
    weft_poll p = weft_future_poll(f, &cx);

    weft_waker_drop(&waker);
    return p;
}

/* On a single thread, and nothing here awaits: so the pause's timer does not go off meanwhile, and
 * who is woken is so by the abort. */
static int abort_pauses(void *unused)
{
    struct bell one = {.wakeable = {&bell_type}}, two = {.wakeable = {&bell_type}};
    struct rlimit before;

    (void)unused;
    for (int closing = 0; closing < 2; closing++) {
        weft_addr where;
        weft_listener *l = listen_any(&where);
        weft_stream *s = NULL;
        weft_future f = weft_accept_future(l, &s), dropped = weft_accept_future(l, &s);

        atomic_store(&one.rings, 0);
        atomic_store(&two.rings, 0);
        before = shortage_begin();
        /* Who gives up in a pause is forgotten. */
        CHECK(bell_poll(&one, &dropped) == WEFT_PENDING);
        weft_future_drop(&dropped);
        CHECK_EQ(0, atomic_load(&one.refs));
        /* It is the waker of the last poll that counts. */
        CHECK(bell_poll(&one, &f) == WEFT_PENDING);
        CHECK(bell_poll(&two, &f) == WEFT_PENDING);
        CHECK_EQ(0, atomic_load(&one.refs));
        CHECK_EQ(0, atomic_load(&two.rings));
        if (closing)
            CHECK_EQ(0, weft_listener_close(l));
        else
            weft_listener_abort(l);
        CHECK_EQ(0, atomic_load(&one.rings));
        CHECK_EQ(1, atomic_load(&two.rings));
        CHECK(bell_poll(&one, &f) == WEFT_READY);
        CHECK_EQ(-ESHUTDOWN, f.result);
        CHECK_EQ(0, atomic_load(&one.refs));
        CHECK_EQ(0, atomic_load(&two.refs));
        CHECK(s == NULL);
        shortage_end(before);
        if (!closing)
            CHECK_EQ(0, weft_listener_close(l));
    }
    return 0;
}

static int abort_pauses_of_tasks(void *unused)
{
    enum { ACCEPTORS = 4 };

    weft_task *acceptors[ACCEPTORS];

    (void)unused;
    for (int closing = 0; closing < 2; closing++) {
        weft_addr where;
        weft_listener *l = listen_any(&where);
        struct rlimit before = shortage_begin();

        for (size_t i = 0; i < ACCEPTORS; i++)
            acceptors[i] = spawn_waiting(accept_one, l);
        weft_listener_abort(l);
        if (closing)
            CHECK_EQ(0, weft_listener_close(l));
        for (size_t i = 0; i < ACCEPTORS; i++)
            CHECK_EQ(-ESHUTDOWN, join(acceptors[i]));
        shortage_end(before);
        if (!closing)
            CHECK_EQ(0, weft_listener_close(l));
    }
    return 0;
}

TEST(a_pause_for_want_of_descriptors_ends_with_the_listener)
{
    test_run_on(&test_flavours[0], abort_pauses, NULL);
    test_run_on(&test_flavours[1], abort_pauses, NULL);
    test_run(abort_pauses_of_tasks, NULL);
}

END_TEST

static int accept_after(void *listener)
{
    weft_stream *s;
    weft_addr where;
    weft_task *t = spawn_waiting(accept_one, listener);

    CHECK_EQ(0, weft_listener_addr(listener, &where));
    CHECK_EQ(0, weft_tcp_connect(&s, &where, NULL));
    CHECK_EQ(0, join(t));
    return weft_close(s);
}

TEST(a_plain_thread_is_told_that_there_are_no_descriptors)
{
    weft_addr where;
    weft_listener *l = listen_any(&where);
    weft_context cx = weft_context_of(NULL);
    weft_stream *s = NULL;

    if (ON_VALGRIND) {
        CHECK_EQ(0, weft_listener_close(l));
        TEST_SKIP("Valgrind has its own limit of descriptors");
    }
    for (int i = 0; i < 3; i++) {
        weft_future f = weft_accept_future(l, &s);
        struct rlimit before = shortage_begin();

        CHECK(weft_future_poll(&f, &cx) == WEFT_READY);
        CHECK_EQ(-EMFILE, f.result);
        CHECK(s == NULL);
        shortage_end(before);
    }
    test_run(accept_after, l);
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

/* An abort shuts the descriptor down while another thread may be in accept(2), which says -EINVAL then. */
static int abort_races(void *unused)
{
    (void)unused;
    for (uint64_t i = 0; i < test_scaled(3000); i++) {
        weft_stream *s = NULL;
        weft_addr where;
        weft_listener *l = listen_any(&where);
        weft_task *t = spawn_waiting(accept_one, l);
        int result;

        CHECK_EQ(0, weft_tcp_connect(&s, &where, NULL));
        for (uint64_t spin = i * 7 % 400; spin > 0; spin--)
            (void)weft_now();
        weft_listener_abort(l);
        result = join(t);
        CHECK(result == 0 || result == -ESHUTDOWN);
        CHECK_EQ(0, weft_stream_set_linger(s, 0));
        CHECK_EQ(0, weft_close(s));
        CHECK_EQ(0, weft_listener_close(l));
    }
    return 0;
}

TEST(an_abort_in_the_middle_of_an_accept_is_told_as_such)
{
    test_run(abort_races, NULL);
}

END_TEST

/*
 * What has been polled once is in flight, also when the task had no budget left to try it: then it keeps
 * the memory of what is closed meanwhile. The poll of this task never ends, so its budget runs
 * out on the way.
 */
static int close_under_a_first_poll(void *unused)
{
    enum { ROUNDS = 200 };

    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        struct pair p = pair_new();
        weft_addr where;
        weft_listener *l = listen_any(&where);
        weft_stream *s = NULL;
        weft_future spend[150], accept, read, write;
        char byte, many[2] = {1, 2};

        /* Less and less is left. */
        for (int k = 0; k < i && k < 150; k++) {
            weft_future now = weft_ready_future(0);

            spend[k] = weft_read_future(p.a, &byte, 1);
            CHECK_EQ(1, weft_select_n((weft_future *[]){&spend[k], &now}, 2,
                                      WEFT_SELECT_KEEP | WEFT_SELECT_BIASED));
            weft_future_drop(&spend[k]);
        }
        accept = weft_accept_future(l, &s);
        read = weft_read_future(p.a, &byte, 1);
        write = weft_write_all_future(p.a, many, sizeof(many));
        {
            weft_future now = weft_ready_future(0);
            ssize_t rc = weft_select_n((weft_future *[]){&accept, &read, &write, &now}, 4,
                                       WEFT_SELECT_KEEP | WEFT_SELECT_BIASED);

            CHECK(rc == 2 || rc == 3); /* the write may be done at once */
        }
        CHECK_EQ(0, weft_listener_close(l));
        CHECK_EQ(0, weft_close(p.a));
        CHECK_EQ(-ESHUTDOWN, weft_await(&accept));
        CHECK_EQ(-ESHUTDOWN, weft_await(&read));
        CHECK(weft_future_is_ready(&write) || weft_await(&write) == -ESHUTDOWN);
        CHECK_EQ(0, weft_close(p.b));
    }
    return 0;
}

TEST(a_first_poll_without_budget_keeps_what_it_works_on)
{
    test_run(close_under_a_first_poll, NULL);
}

END_TEST

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

TEST_MAIN("tcp", connecting_to_nobody_is_refused, a_future_connects_to_a_text,
          a_closed_listener_lets_all_its_acceptors_go, acceptors_are_served_first_come_first_served,
          ipv6_works_as_ipv4_does, options_are_set_and_told, two_listeners_can_share_a_port,
          wrong_addresses_are_refused, waiting_calls_are_refused_outside_tasks,
          a_pause_for_want_of_descriptors_ends_with_the_listener,
          a_plain_thread_is_told_that_there_are_no_descriptors,
          an_abort_in_the_middle_of_an_accept_is_told_as_such,
          a_first_poll_without_budget_keeps_what_it_works_on, streams_outlive_their_runtime)
