/* SPDX-License-Identifier: MIT */
/*
 * net.c - acts about connections: the clients of the stage's servers, listeners that are given up, ports where
 * nobody listens, crowds, and socket pairs.
 *
 * IDEA     How a connection goes (its fate) is the client's choice. One that is to live through carries both
 *          streams whole, whatever else happens in the process, unless the client itself is told to
 *          stop or a runtime is cut short.
 */
#include "flow.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum fate {
    WHOLE,  /* both directions to the end */
    HALF,   /* the client shuts its direction down first */
    RESET,  /* reset in the middle */
    ABORT,  /* the stream is aborted under reader and writer */
    CANCEL, /* their tasks are cancelled */
    VANISH, /* closed before the hello is whole */
    FATES
};

void soak_stream_opened(weft_stream *s)
{
    soak_begin_id(SOAK_STREAM, (uintptr_t)s);
}

void soak_stream_close(weft_stream *s)
{
    soak_end_id(SOAK_STREAM, (uintptr_t)s);
    CHECK_EQ(0, weft_close(s));
}

bool soak_net_has_room(void)
{
    struct rlimit limit;

    CHECK_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
    /* Both ends are here; the rest is for runtimes, listeners and pairs. */
    return soak_open(SOAK_STREAM) * 2 + 1000 < limit.rlim_cur && soak_open(SOAK_STREAM) < 6000;
}

const struct soak_server *soak_net_server(struct soak_actor *a)
{
    uint64_t at = roll(a, SOAK_RUNTIMES);

    for (unsigned i = 0; i < SOAK_RUNTIMES; i++, at++)
        if (__atomic_load_n(&soak_stage.server[at % SOAK_RUNTIMES].open, __ATOMIC_ACQUIRE))
            return &soak_stage.server[at % SOAK_RUNTIMES];
    return NULL;
}

/* Some runtime is being cut, and with it perhaps the server. */
static bool connect_may_fail(ssize_t rc)
{
    return soak_is_soft(rc) ||
           (soak_is_cut() && (rc == -ECONNREFUSED || rc == -ECONNRESET || rc == -ESHUTDOWN));
}

/* False: it could not be, for a good reason. */
static bool client_connect(struct soak_actor *a, const weft_addr *addr, bool small, weft_stream **s)
{
    weft_connect_options o = {.nodelay = one_in(a, 2) ? WEFT_ON : WEFT_OFF};
    ssize_t rc;

    if (small)
        o.receive_buffer = o.send_buffer = 4096;
    do {
        weft_future f = weft_tcp_connect_future(s, addr, &o), turn = weft_yield_future();

        if (one_in(a, 4)) {
            rc = weft_select(&f, &turn);
            rc = rc == 0 ? f.result : rc == 1 ? -EAGAIN : rc;
        } else {
            rc = weft_await(&f);
        }
    } while (rc == -EAGAIN);
    if (rc < 0) {
        if (!connect_may_fail(rc))
            test_failed(__FILE__, __LINE__, "connect: %s", weft_strerror(rc));
        return false;
    }
    soak_stream_opened(*s);
    return true;
}

static void client_vanish(struct soak_actor *a, weft_stream *s, const struct soak_hello *hello)
{
    if (one_in(a, 2)) {
        ssize_t n = weft_write(s, hello, 1 + (size_t)roll(a, sizeof(*hello) - 1));

        CHECK(n > 0 || soak_is_rough(n));
    }
    if (one_in(a, 2))
        CHECK_EQ(0, weft_stream_set_linger(s, 0));
}

static void client_end_roughly(struct soak_actor *a, enum fate fate, weft_stream *s,
                               weft_task *const t[2])
{
    for (uint64_t n = roll(a, 3); n; n--)
        soak_nap(a, 500);
    if (fate == ABORT) {
        weft_stream_abort(s);
    } else {
        weft_cancel(t[0]);
        weft_cancel(t[1]);
    }
    if (fate == RESET)
        CHECK_EQ(0, weft_stream_set_linger(s, 0));
}

/* Both directions went through; the server must have seen it so too. */
static void client_claim_receipt(weft_stream *s, const struct soak_flow *out)
{
    struct soak_receipt receipt = {0};
    ssize_t n = weft_read_exact(s, &receipt, sizeof(receipt));

    if (n != (ssize_t)sizeof(receipt)) {
        if (!connect_may_fail(n) && !(n >= 0 && soak_is_cut()))
            test_failed(__FILE__, __LINE__, "no receipt: %zd", n);
        return;
    }
    CHECK(receipt.seed == out->hello.seed);
    CHECK_EQ(out->moved, receipt.received);
}

/* A transfer that should be whole was not: was the client told to stop, or a runtime cut? */
static bool client_excused(void)
{
    return weft_is_cancelled() || weft_deadline_passed() || soak_is_cut();
}

static void client_flows(struct soak_actor *a, enum fate fate, weft_stream *s,
                         const struct soak_hello *hello)
{
    struct soak_flow out = {.s = s, .hello = *hello, .way = 0, .rand = test_rand(&a->rand) | 1};
    struct soak_flow in = {.s = s, .hello = *hello, .way = 1, .rand = test_rand(&a->rand) | 1};
    bool whole = fate == WHOLE || fate == HALF;
    weft_task *t[2];
    int sent, got;

    out.until = soak_flow_length(hello, 0);
    in.until = soak_flow_length(hello, 1);
    in.slow = one_in(a, 4);
    t[0] = weft_spawn(soak_flow_send, &out);
    t[1] = weft_spawn(soak_flow_receive, &in);
    CHECK(t[0] && t[1]);
    if (!whole)
        client_end_roughly(a, fate, s, t);
    sent = soak_join(t[0]);
    if (sent == 0 && fate == HALF)
        CHECK(weft_shutdown(s, SHUT_WR) == 0 || client_excused());
    got = soak_join(t[1]);
    if (whole && sent == 0 && got == 0 && out.moved == out.until && in.moved == in.until) {
        client_claim_receipt(s, &out);
        return;
    }
    CHECK(!whole || client_excused());
    CHECK(soak_is_rough(sent) || sent == -ECANCELED);
    CHECK(soak_is_rough(got) || got == -ECANCELED);
}

void soak_act_net(struct soak_actor *a)
{
    const struct soak_server *server = soak_net_server(a);
    enum fate fate = one_in(a, 2) ? WHOLE : (enum fate)roll(a, FATES);
    bool small = one_in(a, 4);
    struct soak_hello hello = {.seed = test_rand(&a->rand),
                               .flags = (fate == HALF ? SOAK_HELLO_HALF : 0) |
                                        (small ? SOAK_HELLO_SMALL : 0)};
    weft_stream *s;
    ssize_t n;

    if (!server || !soak_net_has_room() || !client_connect(a, &server->addr, small, &s))
        return;
    if (fate == VANISH) {
        client_vanish(a, s, &hello);
    } else {
        n = weft_write_all(s, &hello, sizeof(hello));
        if (n == (ssize_t)sizeof(hello))
            client_flows(a, fate, s, &hello);
        else
            CHECK(soak_is_rough(n) && client_excused());
    }
    soak_stream_close(s);
}

/* --- nobody there ------------------------------------------------------------------------ */

void soak_act_refused(struct soak_actor *a)
{
    weft_stream *s = NULL;
    weft_future f = weft_tcp_connect_future(&s, &soak_stage.closed_port, NULL);
    weft_future turn = weft_yield_future();
    ssize_t rc;

    if (one_in(a, 2)) {
        rc = weft_await(&f);
    } else {
        rc = weft_select(&turn, &f);
        if (rc == 0)
            return;
        rc = rc == 1 ? f.result : rc;
    }
    (void)soak_expect(-ECONNREFUSED, rc, "connecting to a closed port");
    CHECK(!s);
}

/* --- a listener that is given up --------------------------------------------------------- */

struct guest {
    weft_listener *listener;
    weft_addr addr;
    unsigned accepted; /* atomic */
};

static int guest_accept(void *arg)
{
    struct guest *g = arg;
    weft_stream *s = NULL;
    int rc = weft_accept(g->listener, &s);

    CHECK(rc == 0 || rc == -ESHUTDOWN || soak_is_soft(rc));
    if (rc == 0) {
        __atomic_fetch_add(&g->accepted, 1, __ATOMIC_RELAXED);
        CHECK_EQ(0, weft_close(s));
    }
    return 0;
}

static int guest_connect(void *arg)
{
    struct guest *g = arg;
    weft_stream *s = NULL;
    char byte = 1;
    ssize_t n;
    int rc = weft_tcp_connect(&s, &g->addr, NULL);

    CHECK(rc == 0 || rc == -ECONNREFUSED || rc == -ECONNRESET || soak_is_soft(rc));
    if (rc < 0)
        return 0;
    n = weft_write(s, &byte, 1);
    CHECK(n == 1 || soak_is_rough(n));
    n = weft_read(s, &byte, 1);
    CHECK(soak_is_rough(n));
    CHECK_EQ(0, weft_close(s));
    return 0;
}

/* Accepts and connections in flight when it goes; there are more of the one or of the other. */
static void listener_abort(struct soak_actor *a, struct guest *g)
{
    unsigned accepts = 1 + (unsigned)roll(a, 6), connects = 1 + (unsigned)roll(a, 6);
    weft_task *t[12];

    for (unsigned i = 0; i < accepts + connects; i++) {
        t[i] = weft_spawn(i < accepts ? guest_accept : guest_connect, g);
        CHECK(t[i]);
    }
    for (uint64_t n = roll(a, 6); n; n--)
        soak_nap(a, 200);
    if (one_in(a, 4))
        weft_cancel(t[0]);
    weft_listener_abort(g->listener);
    for (unsigned i = 0; i < accepts + connects; i++)
        soak_join_value(t[i], 0, true);
    CHECK_EQ(0, weft_listener_close(g->listener));
    CHECK(g->accepted <= accepts && g->accepted <= connects);
}

/* The handle is given up under an accept that is pending. */
static void listener_close(struct soak_actor *a, struct guest *g)
{
    weft_task *t = one_in(a, 2) ? weft_spawn(guest_connect, g) : NULL;
    weft_stream *s = NULL;
    weft_future accept = weft_accept_future(g->listener, &s), turn = weft_yield_future();
    ssize_t rc = weft_select_keep(&accept, &turn);

    CHECK_EQ(0, weft_listener_close(g->listener));
    if (rc == 1)
        rc = weft_await(&accept);
    else if (rc == 0)
        rc = accept.result;
    weft_future_drop(&accept);
    weft_future_drop(&turn);
    CHECK(rc == 0 ? s != NULL : rc == -ESHUTDOWN || soak_is_soft(rc));
    if (s)
        CHECK_EQ(0, weft_close(s));
    if (t)
        soak_join_value(t, 0, false);
}

void soak_act_listener(struct soak_actor *a)
{
    struct guest g = {0};

    CHECK_EQ(0, weft_listen(&g.listener, "127.0.0.1:0", NULL));
    CHECK_EQ(0, weft_listener_addr(g.listener, &g.addr));
    if (one_in(a, 3))
        listener_close(a, &g);
    else
        listener_abort(a, &g);
}

/* --- a crowd ----------------------------------------------------------------------------- */

/* Connects, says hello, keeps the connection until a hand-over comes, reads the receipt. */
struct visitor {
    weft_async async; /* first */
    uint64_t id;
    weft_addr addr;
    weft_stream *s;
    struct soak_hello hello;
    struct soak_receipt receipt;
    struct soak_slot *slot;
    weft_future f;
};

static weft_poll visitor_poll(void *self, weft_context *cx)
{
    struct visitor *v = self;

    WEFT_ASYNC_BEGIN(v);
    v->f = weft_tcp_connect_future(&v->s, &v->addr, NULL);
    WEFT_AWAIT(v, cx, &v->f);
    if (v->f.result < 0)
        WEFT_RETURN(v, (int)v->f.result);
    soak_stream_opened(v->s);
    v->f = weft_write_all_future(v->s, &v->hello, sizeof(v->hello));
    WEFT_AWAIT(v, cx, &v->f);
    if (v->f.result < 0)
        WEFT_RETURN(v, (int)v->f.result);
    v->slot = soak_slot_new(&v->id);
    soak_office_post(v->slot);
    v->f = soak_slot_future(v->slot);
    WEFT_AWAIT(v, cx, &v->f);
    v->f = weft_read_exact_future(v->s, &v->receipt, sizeof(v->receipt));
    WEFT_AWAIT(v, cx, &v->f);
    soak_moved();
    if (v->f.result < 0)
        WEFT_RETURN(v, (int)v->f.result);
    if (v->f.result != (ssize_t)sizeof(v->receipt))
        WEFT_RETURN(v, -ECONNRESET);
    CHECK(v->receipt.seed == v->hello.seed && v->receipt.received == 0);
    WEFT_ASYNC_END(v);
}

static void visitor_drop(void *self)
{
    struct visitor *v = self;

    if (v->slot)
        soak_slot_put(v->slot);
    if (v->s)
        soak_stream_close(v->s);
    soak_end_id(SOAK_STACKLESS, v->hello.seed);
}

static const weft_async_type visitor_type = {.poll = visitor_poll,
                                             .drop = visitor_drop,
                                             .size = sizeof(struct visitor),
                                             .name = "visitor"};

void soak_act_crowd(struct soak_actor *a)
{
    enum { MOST = 500 };
    const struct soak_server *server = soak_net_server(a);
    unsigned n = 1 + (unsigned)roll(a, MOST / test_slow());
    weft_task *t[MOST];
    unsigned i;

    for (i = 0; server && i < n && soak_net_has_room(); i++) {
        struct visitor v = {.id = test_rand(&a->rand) | 1, .addr = server->addr};

        v.hello.seed = test_rand(&a->rand);
        v.hello.flags = SOAK_HELLO_MUTE;
        soak_begin_id(SOAK_STACKLESS, v.hello.seed);
        t[i] = weft_spawn_async(&visitor_type, &v);
        CHECK(t[i]);
    }
    for (unsigned k = 0; k < i; k++) {
        bool cancel = one_in(a, 16);
        int result;

        if (cancel)
            weft_cancel(t[k]);
        result = soak_join(t[k]);
        CHECK(result == 0 || (result == -ECANCELED && cancel) || client_excused());
    }
}

/* --- a pair ------------------------------------------------------------------------------ */

static int pair_read_byte(void *stream)
{
    char byte;
    ssize_t n = weft_read(stream, &byte, 1);

    return n == 1 ? byte : (int)n;
}

/* The hello from the one end to the other. False: told to stop in the middle. */
static bool pair_greet(weft_stream *const s[2], const struct soak_hello *hello)
{
    struct soak_hello got = {0};
    ssize_t n = weft_write_all(s[0], hello, sizeof(*hello));

    if (!soak_expect((ssize_t)sizeof(*hello), n, "write to a pair"))
        return false;
    n = weft_read_exact(s[1], &got, sizeof(got));
    if (!soak_expect((ssize_t)sizeof(got), n, "read from a pair"))
        return false;
    CHECK(got.seed == hello->seed);
    return true;
}

/* One end reads; the other ends that by a byte, by its own end, or the reader is aborted: then true. */
static bool pair_part(struct soak_actor *a, weft_stream *const s[2])
{
    weft_task *t = weft_spawn(pair_read_byte, s[1]);
    char byte = 77;
    int result;

    CHECK(t);
    if (one_in(a, 2))
        soak_nap(a, 200);
    switch (roll(a, 3)) {
    case 0:
        weft_stream_abort(s[1]);
        result = soak_join(t);
        CHECK(result == -ESHUTDOWN || (result == -ECANCELED && client_excused()));
        return true;
    case 1:
        CHECK_EQ(0, weft_shutdown(s[0], SHUT_WR));
        soak_join_value(t, 0, false);
        break;
    default:
        if (!soak_expect(1, weft_write(s[0], &byte, 1), "a byte to a pair"))
            weft_cancel(t);
        soak_join_value(t, 77, false);
        break;
    }
    return false;
}

void soak_act_pair(struct soak_actor *a)
{
    struct soak_hello hello = {.seed = test_rand(&a->rand)};
    bool aborted = false;
    weft_stream *s[2];
    int fds[2];

    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    for (int i = 0; i < 2; i++)
        CHECK_EQ(0, weft_stream_from_fd(&s[i], fds[i]));
    if (pair_greet(s, &hello))
        aborted = pair_part(a, s);
    CHECK_EQ(0, weft_close(s[0]));
    if (!aborted && one_in(a, 2)) {
        int fd = weft_stream_into_fd(s[1]);

        CHECK(fd >= 0);
        CHECK_EQ(0, close(fd));
    } else {
        CHECK_EQ(0, weft_close(s[1]));
    }
}
