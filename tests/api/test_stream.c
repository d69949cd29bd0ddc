/* SPDX-License-Identifier: MIT */
/*
 * test_stream.c - what weft/stream.h promises: the calls, their ends and errors, several tasks on one
 * stream, streams of any descriptor.
 */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- the calls ------------------------------------------------------------------ */

static int every_call(void *unused)
{
    struct pair p = pair_new();
    char one[3], two[8], all[16] = {0};
    struct iovec out[] = {{(char[]){"abc"}, 3}, {(char[]){""}, 0}, {(char[]){"defgh"}, 5}};
    struct iovec in[] = {{one, sizeof(one)}, {two, sizeof(two)}};

    (void)unused;
    CHECK_EQ(5, weft_write(p.a, "hello", 5));
    CHECK_EQ(5, weft_read(p.b, all, sizeof(all)));
    CHECK_STR("hello", all);

    CHECK_EQ(8, weft_writev(p.a, out, 3));
    CHECK_EQ(8, weft_readv(p.b, in, 2));
    CHECK(memcmp(one, "abc", 3) == 0 && memcmp(two, "defgh", 5) == 0);

    /* The other way round, and in pieces. */
    CHECK_EQ(4, weft_write_all(p.b, "0123", 4));
    CHECK_EQ(6, weft_write_all(p.b, "456789", 6));
    CHECK_EQ(10, weft_read_exact(p.a, all, 10));
    CHECK(memcmp(all, "0123456789", 10) == 0);

    CHECK_EQ(0, weft_read(p.a, all, 0));
    CHECK_EQ(0, weft_write(p.a, all, 0));
    CHECK_EQ(0, weft_read_exact(p.a, all, 0));
    CHECK_EQ(0, weft_write_all(p.a, all, 0));
    pair_close(p);
    return 0;
}

TEST(bytes_pass_through_every_call)
{
    test_run(every_call, NULL);
}

END_TEST

static int half_close(void *unused)
{
    struct pair p = pair_new();
    char buffer[16] = {0};

    (void)unused;
    CHECK_EQ(3, weft_write_all(p.a, "end", 3));
    CHECK_EQ(0, weft_shutdown(p.a, SHUT_WR));
    CHECK_EQ(3, weft_read_exact(p.b, buffer, 10)); /* fewer: the stream ended */
    CHECK_STR("end", buffer);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(0, weft_read(p.b, buffer, sizeof(buffer)));
    CHECK_EQ(0, weft_read_exact(p.b, buffer, 1));

    /* The other half goes on. */
    CHECK_EQ(5, weft_write_all(p.b, "reply", 5));
    CHECK_EQ(0, weft_close(p.b));
    CHECK_EQ(5, weft_read_exact(p.a, buffer, 10));
    CHECK_EQ(0, weft_read(p.a, buffer, sizeof(buffer)));
    CHECK(weft_write(p.a, "x", 1) < 0); /* its own half was shut */
    CHECK_EQ(0, weft_close(p.a));
    return 0;
}

TEST(one_half_can_be_closed)
{
    test_run(half_close, NULL);
}

END_TEST

static int end_wakes_reader(void *unused)
{
    struct pair p = pair_new();
    weft_task *reader = spawn_waiting(read_byte, p.b);

    (void)unused;
    CHECK_EQ(0, weft_close(p.a));
    CHECK_EQ(0, join(reader));
    CHECK_EQ(0, weft_close(p.b));
    return 0;
}

TEST(the_end_of_a_stream_wakes_its_reader)
{
    test_run(end_wakes_reader, NULL);
}

END_TEST

static int reset(void *unused)
{
    struct pair p = pair_new();
    weft_task *reader = spawn_waiting(read_byte, p.b);
    char byte;

    (void)unused;
    CHECK_EQ(0, weft_stream_set_linger(p.a, 0));
    CHECK_EQ(0, weft_close(p.a));
    CHECK_EQ(-ECONNRESET, join(reader));
    CHECK_EQ(0, weft_read(p.b, &byte, 1)); /* the error is told once */
    CHECK_EQ(-EPIPE, weft_write(p.b, "x", 1));
    CHECK_EQ(0, weft_close(p.b));

    /* A writer that waits for room. */
    p = pair_new();
    reader = spawn_waiting(write_much, p.b);
    CHECK_EQ(0, weft_stream_set_linger(p.a, 0));
    CHECK_EQ(0, weft_close(p.a));
    CHECK_EQ(-ECONNRESET, join(reader));
    CHECK_EQ(0, weft_close(p.b));
    return 0;
}

TEST(a_reset_is_reported)
{
    test_run(reset, NULL);
}

END_TEST

/* --- several tasks on one stream -------------------------------------------------- */

static int busy(void *unused)
{
    struct pair p = pair_new();
    weft_task *reader = spawn_waiting(read_byte, p.a), *writer = spawn_waiting(write_much, p.a);
    weft_future f;
    char byte;

    (void)unused;
    CHECK_EQ(-EBUSY, weft_read(p.a, &byte, 1));
    CHECK_EQ(-EBUSY, weft_write(p.a, "x", 1));
    f = weft_read_future(p.a, &byte, 1);
    CHECK_EQ(-EBUSY, weft_await(&f));
    CHECK_EQ(-EBUSY, weft_stream_into_fd(p.a));

    /* Neither was disturbed. */
    CHECK_EQ(1, weft_write(p.b, "r", 1));
    CHECK_EQ('r', join(reader));
    weft_cancel(writer);
    CHECK_EQ(-ECANCELED, join(writer));
    pair_close(p);
    return 0;
}

TEST(a_second_reader_or_writer_is_refused)
{
    test_run(busy, NULL);
}

END_TEST

static int abort_wakes(void *unused)
{
    struct pair p = pair_new();
    weft_task *reader = spawn_waiting(read_byte, p.a), *writer = spawn_waiting(write_much, p.a);
    weft_task *acceptors[5];
    weft_listener *l;
    weft_stream *s;
    weft_addr where;
    char byte;

    (void)unused;
    weft_stream_abort(p.a);
    CHECK_EQ(-ESHUTDOWN, join(reader));
    CHECK_EQ(-ESHUTDOWN, join(writer));
    CHECK_EQ(-ESHUTDOWN, weft_read(p.a, &byte, 1));
    CHECK_EQ(-ESHUTDOWN, weft_write(p.a, "x", 1));
    weft_stream_abort(p.a);
    pair_close(p);

    l = listen_any(&where);
    for (size_t i = 0; i < 5; i++)
        acceptors[i] = spawn_waiting(accept_one, l);
    weft_listener_abort(l);
    for (size_t i = 0; i < 5; i++)
        CHECK_EQ(-ESHUTDOWN, join(acceptors[i]));
    CHECK_EQ(-ESHUTDOWN, weft_accept(l, &s));
    CHECK_EQ(0, weft_listener_close(l));
    return 0;
}

TEST(abort_wakes_readers_writers_and_acceptors)
{
    test_run(abort_wakes, NULL);
}

END_TEST

static int close_while_reading(void *unused)
{
    struct pair p = pair_new();
    weft_task *reader = spawn_waiting(read_byte, p.a);
    int fd = weft_stream_fd(p.a);
    char byte;

    (void)unused;
    CHECK_EQ(0, weft_close(p.a));
    CHECK_EQ(-ESHUTDOWN, join(reader));
    CHECK(fcntl(fd, F_GETFD) < 0 && errno == EBADF); /* closed once the reader had left */
    CHECK_EQ(0, weft_read(p.b, &byte, 1));
    CHECK_EQ(0, weft_close(p.b));
    return 0;
}

TEST(close_wakes_a_reader_and_then_closes)
{
    test_run(close_while_reading, NULL);
}

END_TEST

/* --- signals ---------------------------------------------------------------------------- */

static int write_after_close(void *unused)
{
    struct pair p = pair_new();
    weft_stream *out;
    ssize_t rc;
    int fds[2];

    (void)unused;
    CHECK_EQ(0, weft_close(p.b));
    do
        rc = weft_write(p.a, "x", 1);
    while (rc > 0);
    CHECK(rc == -EPIPE || rc == -ECONNRESET);
    CHECK_EQ(-EPIPE, weft_write_all(p.a, "x", 1));
    CHECK_EQ(-EPIPE, weft_writev(p.a, &(struct iovec){(char[]){"x"}, 1}, 1));
    CHECK_EQ(0, weft_close(p.a));

    CHECK_EQ(0, pipe(fds));
    CHECK_EQ(0, weft_stream_from_fd(&out, fds[1]));
    CHECK_EQ(0, close(fds[0]));
    CHECK_EQ(-EPIPE, weft_write(out, "x", 1));
    CHECK_EQ(-EPIPE, weft_writev(out, &(struct iovec){(char[]){"x"}, 1}, 1));
    CHECK_EQ(0, weft_close(out));
    return 0;
}

TEST(a_peer_that_is_gone_raises_no_signal)
{
    (void)signal(SIGPIPE, SIG_DFL);
    test_run(write_after_close, NULL);
    /* Nor is one left for later. */
    sigset_t pending;
    CHECK_EQ(0, sigpending(&pending));
    CHECK(!sigismember(&pending, SIGPIPE));
}

END_TEST

/* --- other descriptors -------------------------------------------------------------------- */

static int of_pipe(void *unused)
{
    weft_stream *in, *out;
    char buffer[8] = {0};
    weft_task *reader;
    int fds[2];

    (void)unused;
    CHECK_EQ(0, pipe2(fds, O_CLOEXEC));
    CHECK_EQ(0, weft_stream_from_fd(&in, fds[0]));
    CHECK_EQ(0, weft_stream_from_fd(&out, fds[1]));
    CHECK(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    CHECK_EQ(fds[0], weft_stream_fd(in));
    reader = spawn_waiting(read_byte, in);
    CHECK_EQ(3, weft_write_all(out, "abc", 3));
    CHECK_EQ('a', join(reader));
    CHECK_EQ(2, weft_read(in, buffer, sizeof(buffer)));
    CHECK_STR("bc", buffer);
    reader = spawn_waiting(read_byte, in);
    CHECK_EQ(0, weft_close(out));
    CHECK_EQ(0, join(reader));
    CHECK_EQ(0, weft_close(in));
    return 0;
}

/* A terminal gives one line per read, however much room there is: a short read is no sign that
 * nothing more is there. */
static int of_terminal(void *unused)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;
    char line[64] = {0}, name[64];
    weft_stream *s;

    (void)unused;
    if (master < 0 && access("/dev/pts/ptmx", F_OK) < 0) { /* not mounted */
        test_say("skipped: there are no terminals here");
        return 0;
    }
    CHECK(master >= 0);
    CHECK_EQ(0, grantpt(master));
    CHECK_EQ(0, unlockpt(master));
    CHECK_EQ(0, ptsname_r(master, name, sizeof(name)));
    slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(slave >= 0);
    CHECK_EQ(0, weft_stream_from_fd(&s, slave));
    for (int round = 0; round < 3; round++) {
        weft_task *reader;

        CHECK_EQ(8, write(master, "one\ntwo\n", 8));
        WEFT_DEADLINE(WEFT_SECS(5))
        {
            memset(line, 0, sizeof(line));
            CHECK_EQ(4, weft_read(s, line, sizeof(line)));
            CHECK_STR("one\n", line);
            memset(line, 0, sizeof(line));
            CHECK_EQ(4, weft_read(s, line, sizeof(line)));
            CHECK_STR("two\n", line);
        }
        reader = spawn_waiting(read_byte, s); /* from now on it is registered */
        CHECK_EQ(2, write(master, "\n\n", 2));
        CHECK_EQ('\n', join(reader));
        CHECK_EQ(1, weft_read(s, line, sizeof(line)));
    }
    CHECK_EQ(0, weft_close(s));
    CHECK_EQ(0, close(master));
    return 0;
}

/* Nor with messages that keep their bounds. */
static int of_messages(void *unused)
{
    static const int types[] = {SOCK_SEQPACKET, SOCK_DGRAM};

    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        weft_stream *in, *out;
        char buffer[64];
        weft_task *reader;
        int fds[2];

        CHECK_EQ(0, socketpair(AF_UNIX, types[i], 0, fds));
        CHECK_EQ(0, weft_stream_from_fd(&in, fds[0]));
        CHECK_EQ(0, weft_stream_from_fd(&out, fds[1]));
        reader = spawn_waiting(read_byte, in);
        CHECK_EQ(1, weft_write(out, "a", 1));
        CHECK_EQ('a', join(reader));
        CHECK_EQ(2, weft_write(out, "bb", 2));
        CHECK_EQ(3, weft_write(out, "ccc", 3));
        CHECK_EQ(4, weft_write(out, "dddd", 4));
        WEFT_DEADLINE(WEFT_SECS(5))
        for (ssize_t n = 2; n <= 4; n++)
            CHECK_EQ(n, weft_read(in, buffer, sizeof(buffer)));
        CHECK_EQ(0, weft_close(in));
        CHECK_EQ(0, weft_close(out));
    }
    return 0;
}

static int of_wrong(void *unused)
{
    weft_stream *s = NULL;
    int fd = dup(0);

    (void)unused;
    CHECK_EQ(-EINVAL, weft_stream_from_fd(&s, -1));
    CHECK_EQ(-EINVAL, weft_stream_from_fd(NULL, fd));
    CHECK_EQ(0, close(fd));
    CHECK_EQ(-EBADF, weft_stream_from_fd(&s, fd));
    CHECK(s == NULL);
    CHECK_EQ(-EINVAL, weft_read(NULL, &fd, 1));
    CHECK_EQ(-EINVAL, weft_stream_fd(NULL));
    CHECK_EQ(-EINVAL, weft_stream_into_fd(NULL));
    CHECK_EQ(-EINVAL, weft_shutdown(NULL, SHUT_RD));
    CHECK_EQ(0, weft_close(NULL));
    weft_stream_abort(NULL);
    return 0;
}

TEST(any_stream_descriptor_makes_a_stream)
{
    test_run(of_pipe, NULL);
    test_run(of_terminal, NULL);
    test_run(of_messages, NULL);
    test_run(of_wrong, NULL);
}

END_TEST

static int into_fd(void *unused)
{
    struct pair p = pair_new();
    weft_task *reader = spawn_waiting(read_byte, p.a);
    int fd = weft_stream_fd(p.a);

    (void)unused;
    for (int round = 0; round < 3; round++) {
        CHECK_EQ(-EBUSY, weft_stream_into_fd(p.a));
        CHECK_EQ(1, weft_write(p.b, "1", 1));
        CHECK_EQ('1', join(reader));
        CHECK_EQ(fd, weft_stream_into_fd(p.a));
        CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
        CHECK_EQ(1, weft_write(p.b, "2", 1));
        CHECK_EQ(0, weft_stream_from_fd(&p.a, fd));
        CHECK_EQ('2', read_byte(p.a));
        reader = spawn_waiting(read_byte, p.a);
    }
    weft_cancel(reader);
    CHECK_EQ(-ECANCELED, join(reader));
    pair_close(p);
    return 0;
}

TEST(a_descriptor_can_leave_and_come_back)
{
    test_run(into_fd, NULL);
}

END_TEST

/* Out-of-band data stops a read at its mark, with more behind it. */
static int urgent(void *unused)
{
    struct pair p = pair_new();
    weft_task *reader = spawn_waiting(read_byte, p.b);
    char buffer[64];
    size_t got = 0;
    int fd = weft_stream_fd(p.a);

    (void)unused;
    CHECK_EQ(1, weft_write(p.a, "r", 1));
    CHECK_EQ('r', join(reader));
    CHECK_EQ(3, send(fd, "abc", 3, 0));
    CHECK_EQ(1, send(fd, "!", 1, MSG_OOB));
    CHECK_EQ(3, send(fd, "def", 3, 0));
    (void)poll(&(struct pollfd){.fd = weft_stream_fd(p.b), .events = POLLPRI}, 1, 1000);
    CHECK_EQ(0, weft_sleep(WEFT_MS(1))); /* all of it has been reported before the first read */
    WEFT_DEADLINE(WEFT_SECS(5))
    while (got < 6) {
        ssize_t n = weft_read(p.b, buffer + got, sizeof(buffer) - got);

        CHECK(n > 0);
        got += (size_t)n;
    }
    CHECK(memcmp(buffer, "abcdef", 6) == 0);
    pair_close(p);
    return 0;
}

TEST(urgent_data_stalls_nobody)
{
    test_run(urgent, NULL);
}

END_TEST

/* --- stackless ------------------------------------------------------------------------------- */

struct async_echo {
    weft_async async;
    weft_stream *s;
    weft_future f;
    char buffer[128];
};

static weft_poll async_echo_poll(void *state, weft_context *cx)
{
    struct async_echo *e = state;

    WEFT_ASYNC_BEGIN(e);
    for (;;) {
        e->f = weft_read_future(e->s, e->buffer, sizeof(e->buffer));
        WEFT_AWAIT(e, cx, &e->f);
        if (e->f.result <= 0)
            WEFT_RETURN(e, (int)e->f.result);
        e->f = weft_write_all_future(e->s, e->buffer, (size_t)e->f.result);
        WEFT_AWAIT(e, cx, &e->f);
        if (e->f.result < 0)
            WEFT_RETURN(e, (int)e->f.result);
    }
    WEFT_ASYNC_END(e);
}

static void async_echo_drop(void *state)
{
    struct async_echo *e = state;

    weft_close(e->s);
}

static const weft_async_type async_echo_type = {async_echo_poll, async_echo_drop,
                                                sizeof(struct async_echo), "echo"};

struct async_client {
    weft_async async;
    weft_addr where;
    weft_stream *s;
    weft_future f;
    unsigned rounds;
    char out[100], in[100];
};

static weft_poll async_client_poll(void *state, weft_context *cx)
{
    struct async_client *c = state;

    WEFT_ASYNC_BEGIN(c);
    c->f = weft_tcp_connect_future(&c->s, &c->where, NULL);
    WEFT_AWAIT(c, cx, &c->f);
    if (c->f.result < 0)
        WEFT_RETURN(c, (int)c->f.result);
    for (c->rounds = 0; c->rounds < 200; c->rounds++) {
        memset(c->out, (int)c->rounds, sizeof(c->out));
        c->f = weft_write_all_future(c->s, c->out, sizeof(c->out));
        WEFT_AWAIT(c, cx, &c->f);
        c->f = weft_read_exact_future(c->s, c->in, sizeof(c->in));
        WEFT_AWAIT(c, cx, &c->f);
        CHECK_EQ(sizeof(c->in), c->f.result);
        CHECK(memcmp(c->in, c->out, sizeof(c->in)) == 0);
    }
    weft_close(c->s);
    WEFT_RETURN(c, 0);
    WEFT_ASYNC_END(c);
}

static const weft_async_type async_client_type = {async_client_poll, NULL,
                                                  sizeof(struct async_client), "client"};

static int stackless(void *unused)
{
    enum { CLIENTS = 10 };

    weft_task *clients[CLIENTS], *echoes[CLIENTS];
    weft_addr where;
    weft_listener *l = listen_any(&where);
    weft_task *last;
    struct pair p = pair_new();

    (void)unused;
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = weft_spawn_async(&async_client_type, &(struct async_client){.where = where});
    for (int i = 0; i < CLIENTS; i++) {
        weft_stream *s;

        CHECK_EQ(0, weft_accept(l, &s));
        echoes[i] = weft_spawn_async(&async_echo_type, &(struct async_echo){.s = s});
    }
    for (int i = 0; i < CLIENTS; i++) {
        CHECK_EQ(0, join(clients[i]));
        CHECK_EQ(0, join(echoes[i]));
    }
    CHECK_EQ(0, weft_listener_close(l));

    /* Cancelled while it reads, it leaves the stream in order. */
    last = weft_spawn_async(&async_echo_type, &(struct async_echo){.s = p.b});
    until_it_waits(last, 1);
    weft_cancel(last);
    CHECK_EQ(-ECANCELED, join(last));
    CHECK_EQ(0, read_byte(p.a)); /* closed by drop */
    CHECK_EQ(0, weft_close(p.a));
    return 0;
}

TEST(stackless_tasks_use_the_same_streams)
{
    test_run(stackless, NULL);
}

END_TEST

TEST_MAIN("stream", bytes_pass_through_every_call, one_half_can_be_closed,
          the_end_of_a_stream_wakes_its_reader, a_reset_is_reported,
          a_second_reader_or_writer_is_refused, abort_wakes_readers_writers_and_acceptors,
          close_wakes_a_reader_and_then_closes, a_peer_that_is_gone_raises_no_signal,
          any_stream_descriptor_makes_a_stream, a_descriptor_can_leave_and_come_back,
          urgent_data_stalls_nobody, stackless_tasks_use_the_same_streams)
