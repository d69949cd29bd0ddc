/* SPDX-License-Identifier: MIT */
/*
 * test_safety_streams.c - whoever gives up a read loses no byte, whoever gives up a write has written none, and no
 * connection is lost: safety.h has the ways.
 */
#include "net.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define HELD_MAX 8

struct safety_bed {
    struct pair pair;
    unsigned char byte; /* that is read or written */
    struct iovec part;
    size_t filling; /* bytes that were sent in order to fill the way */
    weft_listener *listener;
    weft_addr where;
    char text[16 + WEFT_ADDR_TEXT_MAX];
    weft_stream *streams[HELD_MAX]; /* accepted, or connected */
    atomic_uint stream_count;
    int held[HELD_MAX]; /* the peers */
    unsigned held_count;
};

#include "safety.h"

/* --- reading ----------------------------------------------------------------------------------- */

static void open_pair(struct bed *b)
{
    b->on.pair = pair_local();
}

static void give_byte(struct bed *b)
{
    CHECK_EQ(1, send(weft_stream_fd(b->on.pair.b), "\7", 1, 0));
}

static void took_byte(struct bed *b)
{
    CHECK_EQ(7, b->on.byte);
    b->on.byte = 0;
}

static void byte_is_left(struct bed *b)
{
    char got[4];
    ssize_t n = recv(weft_stream_fd(b->on.pair.a), got, sizeof(got), MSG_DONTWAIT);

    CHECK_EQ(left_over(b) ? 1 : -1, n);
    pair_close(b->on.pair);
}

static const struct iovec *part_of(struct bed *b)
{
    b->on.part = (struct iovec){&b->on.byte, 1};
    return &b->on.part;
}

static int read_wait(void *bed)
{
    struct bed *b = bed;

    return (int)weft_read(b->on.pair.a, &b->on.byte, 1);
}

static weft_future read_future(void *bed)
{
    struct bed *b = bed;

    return weft_read_future(b->on.pair.a, &b->on.byte, 1);
}

static int readv_wait(void *bed)
{
    struct bed *b = bed;

    return (int)weft_readv(b->on.pair.a, part_of(b), 1);
}

static weft_future readv_future(void *bed)
{
    struct bed *b = bed;

    return weft_readv_future(b->on.pair.a, part_of(b), 1);
}

/* Of one byte: there is nothing to be read in part. */
static int read_exact_wait(void *bed)
{
    struct bed *b = bed;

    return (int)weft_read_exact(b->on.pair.a, &b->on.byte, 1);
}

static weft_future read_exact_future(void *bed)
{
    struct bed *b = bed;

    return weft_read_exact_future(b->on.pair.a, &b->on.byte, 1);
}

#define READ(name, claim)                                         \
 static const struct row name##_row = {.set_up = open_pair,       \
                                       .wait = name##_wait,       \
                                       .future = name##_future,   \
                                       .give = give_byte,         \
                                       .took = took_byte,         \
                                       .tear_down = byte_is_left, \
                                       .good = 1};                \
 SAFETY(name, claim)

READ(read, a_read_that_is_given_up_reads_nothing)
READ(readv, a_read_into_parts_that_is_given_up_reads_nothing)
READ(read_exact, a_read_of_one_byte_that_is_given_up_reads_nothing)

/* --- writing ------------------------------------------------------------------------------------- */

static void open_full_pair(struct bed *b)
{
    static const char zeros[4096];
    ssize_t n;

    open_pair(b);
    b->on.byte = 7;
    CHECK_EQ(0, weft_stream_set_send_buffer(b->on.pair.a, 8192));
    while ((n = send(weft_stream_fd(b->on.pair.a), zeros, sizeof(zeros), MSG_DONTWAIT)) > 0)
        b->on.filling += (size_t)n;
    CHECK(b->on.filling > 0);
}

/* Takes what fills the way, and not what may come behind. */
static void give_way(struct bed *b)
{
    char got[4096];

    while (b->on.filling > 0) {
        size_t most = b->on.filling < sizeof(got) ? b->on.filling : sizeof(got);
        ssize_t n = recv(weft_stream_fd(b->on.pair.b), got, most, MSG_DONTWAIT);

        CHECK(n > 0);
        b->on.filling -= (size_t)n;
    }
}

/* Each write that succeeded has written its byte, and no other has. */
static void bytes_were_written(struct bed *b)
{
    char got[4] = {0};
    ssize_t n;

    CHECK_EQ(0, b->on.filling);
    n = recv(weft_stream_fd(b->on.pair.b), got, sizeof(got), MSG_DONTWAIT);
    CHECK_EQ(atomic_load(&b->taken) ? 1 : -1, n);
    CHECK_EQ(n == 1 ? 7 : 0, got[0]);
    pair_close(b->on.pair);
}

static int write_wait(void *bed)
{
    struct bed *b = bed;

    return (int)weft_write(b->on.pair.a, &b->on.byte, 1);
}

static weft_future write_future(void *bed)
{
    struct bed *b = bed;

    return weft_write_future(b->on.pair.a, &b->on.byte, 1);
}

static int writev_wait(void *bed)
{
    struct bed *b = bed;

    return (int)weft_writev(b->on.pair.a, part_of(b), 1);
}

static weft_future writev_future(void *bed)
{
    struct bed *b = bed;

    return weft_writev_future(b->on.pair.a, part_of(b), 1);
}

static int write_all_wait(void *bed)
{
    struct bed *b = bed;

    return (int)weft_write_all(b->on.pair.a, &b->on.byte, 1);
}

static weft_future write_all_future(void *bed)
{
    struct bed *b = bed;

    return weft_write_all_future(b->on.pair.a, &b->on.byte, 1);
}

#define WRITE(name, claim)                                              \
 static const struct row name##_row = {.set_up = open_full_pair,        \
                                       .wait = name##_wait,             \
                                       .future = name##_future,         \
                                       .give = give_way,                \
                                       .tear_down = bytes_were_written, \
                                       .good = 1};                      \
 SAFETY(name, claim)

WRITE(write, a_write_that_is_given_up_writes_nothing)
WRITE(writev, a_write_of_parts_that_is_given_up_writes_nothing)
WRITE(write_all, a_write_of_one_byte_that_is_given_up_writes_nothing)

/* --- connections --------------------------------------------------------------------------------- */

static weft_stream **a_place(struct bed *b)
{
    unsigned i = atomic_fetch_add(&b->on.stream_count, 1) % HELD_MAX;

    CHECK(!b->on.streams[i]);
    return &b->on.streams[i];
}

static void listen_here(struct bed *b)
{
    b->on.listener = listen_any(&b->on.where);
}

/* The kernel completes it by itself, at once. */
static void give_connection(struct bed *b)
{
    const struct linger reset = {.l_onoff = 1}; /* leaves no port behind */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0 && b->on.held_count < HELD_MAX);
    CHECK_EQ(0, setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)));
    CHECK_EQ(0, connect(fd, &b->on.where.u.any, b->on.where.size));
    b->on.held[b->on.held_count++] = fd;
}

static void connections_close(struct bed *b)
{
    unsigned open = 0;

    for (unsigned i = 0; i < HELD_MAX; i++) {
        open += b->on.streams[i] != NULL;
        (void)weft_close(b->on.streams[i]);
    }
    CHECK_EQ(atomic_load(&b->taken), open);
    while (b->on.held_count > 0)
        CHECK_EQ(0, close(b->on.held[--b->on.held_count]));
    CHECK_EQ(0, weft_listener_close(b->on.listener));
}

static void connections_are_left(struct bed *b)
{
    weft_stream *s;

    for (unsigned i = left_over(b); i > 0; i--) {
        CHECK_EQ(0, weft_accept(b->on.listener, &s));
        CHECK_EQ(0, weft_close(s));
    }
    connections_close(b);
}

static int accept_wait(void *bed)
{
    struct bed *b = bed;

    return weft_accept(b->on.listener, a_place(b));
}

static weft_future accept_future(void *bed)
{
    struct bed *b = bed;

    return weft_accept_future(b->on.listener, a_place(b));
}

/* As many as it has room for: from here on the kernel drops what asks for more. */
static void listen_full(struct bed *b)
{
    CHECK_EQ(0, weft_listen(&b->on.listener, "127.0.0.1:0", &(weft_listen_options){.backlog = 1}));
    CHECK_EQ(0, weft_listener_addr(b->on.listener, &b->on.where));
    memcpy(b->on.text, "tcp://", 6);
    CHECK(weft_addr_format(&b->on.where, b->on.text + 6, sizeof(b->on.text) - 6) > 0);
    give_connection(b);
    give_connection(b);
}

static void give_room(struct bed *b)
{
    weft_stream *s;

    for (unsigned i = b->on.held_count; i > 0; i--) {
        CHECK_EQ(0, weft_accept(b->on.listener, &s));
        CHECK_EQ(0, weft_close(s));
    }
}

static int tcp_connect_wait(void *bed)
{
    struct bed *b = bed;

    return weft_tcp_connect(a_place(b), &b->on.where, NULL);
}

static weft_future tcp_connect_future(void *bed)
{
    struct bed *b = bed;

    return weft_tcp_connect_future(a_place(b), &b->on.where, NULL);
}

static int connect_wait(void *bed)
{
    struct bed *b = bed;

    return weft_connect(a_place(b), b->on.text);
}

static weft_future connect_future(void *bed)
{
    struct bed *b = bed;

    return weft_connect_future(a_place(b), b->on.text);
}

static const struct row accept_row = {.set_up = listen_here,
                                      .wait = accept_wait,
                                      .future = accept_future,
                                      .give = give_connection,
                                      .tear_down = connections_are_left,
                                      .traits = LINE | EACH};
static const struct row tcp_connect_row = {.set_up = listen_full,
                                           .wait = tcp_connect_wait,
                                           .future = tcp_connect_future,
                                           .give = give_room,
                                           .tear_down = connections_close,
                                           .traits = LATER};
static const struct row connect_row = {.set_up = listen_full,
                                       .wait = connect_wait,
                                       .future = connect_future,
                                       .give = give_room,
                                       .tear_down = connections_close,
                                       .traits = LATER};

SAFETY(accept, a_connection_that_was_not_accepted_is_still_there)
SAFETY(tcp_connect, a_connection_that_is_given_up_leaves_nothing)
SAFETY(connect, a_connection_by_text_that_is_given_up_leaves_nothing)

TEST_MAIN("safety_streams", a_read_that_is_given_up_reads_nothing,
          a_read_into_parts_that_is_given_up_reads_nothing,
          a_read_of_one_byte_that_is_given_up_reads_nothing,
          a_write_that_is_given_up_writes_nothing, a_write_of_parts_that_is_given_up_writes_nothing,
          a_write_of_one_byte_that_is_given_up_writes_nothing,
          a_connection_that_was_not_accepted_is_still_there,
          a_connection_that_is_given_up_leaves_nothing,
          a_connection_by_text_that_is_given_up_leaves_nothing)
