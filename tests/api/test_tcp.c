/* SPDX-License-Identifier: MIT */
/*
 * test_tcp.c - what weft/net.h and weft/stream.h promise about connections.
 *
 * Both ends are usually tasks of one runtime, joined over loopback. Where the peer must not share
 * our limits or our threads it is a plain process or thread with blocking sockets.
 */
#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct test_flavour current_thread = {"current-thread", WEFT_CURRENT_THREAD, 0};
static const struct test_flavour two_workers = {"2 workers", WEFT_MULTI_THREAD, 2};

/* --- both ends ---------------------------------------------------------------- */

static weft_listener *listen_any(weft_addr *where)
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

static struct pair pair_new(void)
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

static struct pair pair_local(void)
{
    struct pair p;
    int fds[2];

    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    CHECK_EQ(0, weft_stream_from_fd(&p.a, fds[0]));
    CHECK_EQ(0, weft_stream_from_fd(&p.b, fds[1]));
    return p;
}

static void pair_close(struct pair p)
{
    CHECK_EQ(0, weft_close(p.a));
    CHECK_EQ(0, weft_close(p.b));
}

static int join(weft_task *t)
{
    int result = 0;

    CHECK_EQ(0, weft_join(t, &result));
    return result;
}

/* Let the task run until it waits for something. It has nothing else to do, so this ends soon. */
static void until_it_waits(weft_task *t, uint64_t polls)
{
    weft_task_info info;

    do {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_task_get_info(t, &info));
    } while (info.state != WEFT_TASK_IDLE || info.polls < polls);
}

static weft_task *spawn_waiting(weft_fn *fn, void *arg)
{
    weft_task *t = weft_spawn(fn, arg);

    CHECK(t != NULL);
    until_it_waits(t, 1);
    return t;
}

/* A read of one byte by a task of its own; its result is the byte. */
static int read_byte(void *stream)
{
    unsigned char byte = 0;
    ssize_t n = weft_read(stream, &byte, 1);

    return n == 1 ? byte : (int)n;
}

static int write_much(void *stream)
{
    static const char zeros[65536];
    ssize_t n;

    do
        n = weft_write(stream, zeros, sizeof(zeros));
    while (n > 0);
    return (int)n;
}

static int accept_one(void *listener)
{
    weft_stream *s = NULL;
    int rc = weft_accept(listener, &s);

    if (rc == 0)
        weft_close(s);
    return rc;
}

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

/* --- much data ------------------------------------------------------------------ */

struct flood {
    weft_stream *s;
    uint64_t seed;
    size_t size;
};

static int flood_write(void *arg)
{
    const struct flood *f = arg;
    uint64_t pattern = f->seed, chance = f->seed ^ 1, words[8192];

    for (size_t left = f->size; left > 0;) {
        size_t n = 1 + test_rand(&chance) % 8192;

        if (n > left)
            n = left;
        for (size_t i = 0; i < n; i++)
            words[i] = test_rand(&pattern);
        CHECK_EQ(n * 8, weft_write_all(f->s, words, n * 8));
        left -= n;
    }
    return weft_shutdown(f->s, SHUT_WR);
}

static int flood_read(void *arg)
{
    const struct flood *f = arg;
    uint64_t pattern = f->seed, chance = f->seed ^ 2;
    unsigned char want[8], got[20000];
    size_t total = 0;
    ssize_t n;

    while ((n = weft_read(f->s, got, 1 + test_rand(&chance) % sizeof(got))) > 0) {
        for (ssize_t i = 0; i < n; i++, total++) {
            if (total % 8 == 0) {
                uint64_t word = test_rand(&pattern);

                memcpy(want, &word, 8);
            }
            if (got[i] != want[total % 8])
                test_failed(__FILE__, __LINE__, "byte %zu is wrong", total);
        }
    }
    CHECK_EQ(0, n);
    CHECK_EQ(f->size * 8, total);
    return 0;
}

static int flood_both_ways(void *arg)
{
    const size_t *words = arg;
    struct pair p = pair_new();
    uint64_t seed = test_seed();
    struct flood ab = {p.a, seed, *words}, ba = {p.a, seed + 7, *words};
    struct flood ab_read = {p.b, seed, *words}, ba_write = {p.b, seed + 7, *words};
    weft_task_options roomy = {.stack_size = 256 << 10};
    weft_task *tasks[4];

    tasks[0] = weft_spawn_with(&roomy, flood_write, &ab);
    tasks[1] = weft_spawn_with(&roomy, flood_read, &ba);
    tasks[2] = weft_spawn_with(&roomy, flood_write, &ba_write);
    tasks[3] = weft_spawn_with(&roomy, flood_read, &ab_read);
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(0, join(tasks[i]));
    pair_close(p);
    return 0;
}

TEST(large_transfers_arrive_whole_both_ways)
{
    for (size_t words = 8192; words <= 1u << 20; words *= 4) { /* 64 KiB to 4 MiB, then 8 MiB */
        size_t n = words == 1u << 19 ? 1u << 20 : words;

        if (test_slow() > 1 && n > 131072)
            break;
        test_run(flood_both_ways, &n);
    }
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

/* --- giving up -------------------------------------------------------------------- */

static int give_up_then_arrive(void *unused)
{
    weft_addr where;
    weft_listener *l = listen_any(&where);
    struct pair p = pair_new();
    weft_stream *s = NULL, *peer;
    weft_future read, accept, soon;
    weft_task *t;
    char byte = 0;

    (void)unused;
    /* By cancelling. */
    t = spawn_waiting(read_byte, p.b);
    weft_cancel(t);
    CHECK_EQ(-ECANCELED, join(t));
    CHECK_EQ(1, weft_write(p.a, "1", 1));
    CHECK_EQ(1, weft_read(p.b, &byte, 1));
    CHECK_EQ('1', byte);
    t = spawn_waiting(accept_one, l);
    weft_cancel(t);
    CHECK_EQ(-ECANCELED, join(t));
    CHECK_EQ(0, weft_tcp_connect(&peer, &where, NULL));
    CHECK_EQ(0, weft_accept(l, &s));
    CHECK_EQ(0, weft_close(peer));
    CHECK_EQ(0, weft_close(s));

    /* By a deadline. */
    WEFT_DEADLINE(WEFT_MS(1))
    {
        CHECK_EQ(-ETIMEDOUT, weft_read(p.b, &byte, 1));
        CHECK_EQ(-ETIMEDOUT, weft_accept(l, &s));
    }
    CHECK_EQ(1, weft_write(p.a, "2", 1));
    CHECK_EQ(1, weft_read(p.b, &byte, 1));
    CHECK_EQ('2', byte);

    /* By losing a select. */
    read = weft_read_future(p.b, &byte, 1);
    accept = weft_accept_future(l, &s);
    soon = weft_sleep_future(WEFT_US(100));
    CHECK_EQ(2, weft_select(&read, &accept, &soon));
    CHECK_EQ(1, weft_write(p.a, "3", 1));
    CHECK_EQ(1, weft_read(p.b, &byte, 1));
    CHECK_EQ('3', byte);
    CHECK_EQ(0, weft_tcp_connect(&peer, &where, NULL));
    CHECK_EQ(0, weft_accept(l, &s));
    CHECK_EQ(0, weft_close(peer));
    CHECK_EQ(0, weft_close(s));
    CHECK_EQ(0, weft_listener_close(l));
    pair_close(p);
    return 0;
}

TEST(what_comes_after_giving_up_is_still_there)
{
    test_run(give_up_then_arrive, NULL);
}

END_TEST

struct hasty {
    weft_stream *s;
    uint64_t chance;
    uint32_t count;
};

/* Numbers in sequence, each write given up again and again at a random moment. */
static int hasty_write(void *arg)
{
    struct hasty *h = arg;
    unsigned char bytes[4096];
    uint32_t sent = 0;

    while (sent < h->count) {
        size_t n = 1 + test_rand(&h->chance) % sizeof(bytes);
        weft_future f;
        ssize_t moved;

        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)((sent + i) * 167 >> 3);
        f = weft_write_future(h->s, bytes, n < h->count - sent ? n : h->count - sent);
        moved = weft_timeout(WEFT_NS(test_rand(&h->chance) % 60000), &f);
        CHECK(moved > 0 || moved == -ETIMEDOUT);
        if (moved > 0)
            sent += (uint32_t)moved;
    }
    return 0;
}

static int hasty_read(void *arg)
{
    struct hasty *h = arg;
    unsigned char bytes[4096];
    uint32_t got = 0;

    while (got < h->count) {
        weft_future f = weft_read_future(h->s, bytes, 1 + test_rand(&h->chance) % sizeof(bytes));
        ssize_t n = weft_timeout(WEFT_NS(test_rand(&h->chance) % 60000), &f);

        CHECK(n > 0 || n == -ETIMEDOUT);
        for (ssize_t i = 0; i < n; i++, got++)
            CHECK_EQ((unsigned char)(got * 167 >> 3), bytes[i]);
    }
    return 0;
}

static int haste(void *unused)
{
    uint32_t count = (uint32_t)test_scaled(1 << 20);
    struct pair p = pair_local();
    struct hasty out = {p.a, test_seed(), count}, in = {p.b, test_seed() + 1, count};
    weft_task *writer, *reader;

    (void)unused;
    CHECK_EQ(0, weft_stream_set_send_buffer(p.a, 8192)); /* so that writes wait too */
    writer = weft_spawn(hasty_write, &out);
    reader = weft_spawn(hasty_read, &in);
    CHECK_EQ(0, join(writer));
    CHECK_EQ(0, join(reader));
    pair_close(p);
    return 0;
}

TEST(reads_and_writes_given_up_at_random_lose_no_byte)
{
    test_run(haste, NULL);
}

END_TEST

struct hasty_accept {
    weft_listener *l;
    atomic_uint *left;
    atomic_uchar *seen;
    uint64_t chance;
};

static int accept_hastily(void *arg)
{
    struct hasty_accept *h = arg;

    while (atomic_load(h->left) > 0) {
        weft_stream *s = NULL;
        weft_future f = weft_accept_future(h->l, &s);
        ssize_t rc = weft_timeout(WEFT_NS(test_rand(&h->chance) % 50000), &f);
        uint32_t id;

        CHECK(rc == 0 || rc == -ETIMEDOUT);
        if (rc < 0)
            continue;
        CHECK_EQ(4, weft_read_exact(s, &id, 4));
        CHECK_EQ(0, atomic_fetch_add(&h->seen[id], 1));
        atomic_fetch_sub(h->left, 1);
        CHECK_EQ(0, weft_close(s));
    }
    return 0;
}

static int connect_hastily(void *arg)
{
    const struct hasty_accept *h = arg;
    uint64_t chance = h->chance + 1;
    uint32_t count = atomic_load(h->left);
    weft_addr where;

    CHECK_EQ(0, weft_listener_addr(h->l, &where));
    for (uint32_t id = 0; id < count; id++) {
        weft_stream *s = NULL;
        char byte;

        CHECK_EQ(0, weft_tcp_connect(&s, &where, NULL));
        CHECK_EQ(4, weft_write_all(s, &id, 4));
        if (test_rand(&chance) % 4 == 0)
            CHECK_EQ(0, weft_read(s, &byte, 1)); /* until it is closed */
        CHECK_EQ(0, weft_close(s));
    }
    return 0;
}

static int hasty_accepts(void *unused)
{
    enum { ACCEPTORS = 6, CONNECTIONS = 300 };

    static atomic_uchar seen[CONNECTIONS];
    atomic_uint left = (unsigned)test_scaled(CONNECTIONS);
    weft_addr where;
    weft_listener *l = listen_any(&where);
    struct hasty_accept h[ACCEPTORS];
    weft_task *tasks[ACCEPTORS + 1];

    (void)unused;
    memset(seen, 0, sizeof(seen));
    for (unsigned i = 0; i < ACCEPTORS; i++) {
        h[i] = (struct hasty_accept){l, &left, seen, test_seed() + i};
        tasks[i] = weft_spawn(accept_hastily, &h[i]);
    }
    tasks[ACCEPTORS] = weft_spawn(connect_hastily, &h[0]);
    for (unsigned i = 0; i <= ACCEPTORS; i++)
        CHECK_EQ(0, join(tasks[i]));
    CHECK_EQ(0, weft_listener_close(l));
    return 0;
}

TEST(accepts_given_up_at_random_lose_no_connection)
{
    test_run(hasty_accepts, NULL);
}

END_TEST

static unsigned open_descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static int hasty_connects(void *unused)
{
    uint64_t chance = test_seed();
    unsigned before = open_descriptors();
    weft_addr where, full_at;
    weft_listener *l, *full;
    weft_stream *s = NULL, *held[8];
    size_t n = 0;

    (void)unused;
    l = listen_any(&where);
    for (uint64_t i = 0; i < test_scaled(200); i++) {
        weft_future f = weft_tcp_connect_future(&s, &where), now = weft_ready_future(0);
        ssize_t rc;

        if (i % 2) {
            rc = weft_timeout(WEFT_NS(test_rand(&chance) % 30000), &f);
        } else {
            rc = weft_select_biased(&f, &now);
            rc = rc == 0 ? f.result : -ETIMEDOUT;
        }
        CHECK(rc == 0 || rc == -ETIMEDOUT);
        if (rc == 0) {
            CHECK_EQ(0, weft_stream_set_linger(s, 0));
            CHECK_EQ(0, weft_close(s));
        }
    }
    CHECK_EQ(0, weft_listener_close(l));

    /* Where the kernel drops the request, connecting takes long and is given up. */
    CHECK_EQ(0, weft_listen(&full, "127.0.0.1:0", &(weft_listen_options){.backlog = 1}));
    CHECK_EQ(0, weft_listener_addr(full, &full_at));
    while (n < 8) {
        weft_future f = weft_tcp_connect_future(&held[n], &full_at);
        ssize_t rc = weft_timeout(WEFT_MS(20), &f);

        if (rc == -ETIMEDOUT)
            break;
        CHECK_EQ(0, rc);
        n++;
    }
    CHECK(n < 8);
    while (n-- > 0)
        CHECK_EQ(0, weft_close(held[n]));
    CHECK_EQ(0, weft_listener_close(full));
    CHECK_EQ(before, open_descriptors());
    return 0;
}

TEST(a_connect_given_up_leaves_nothing_open)
{
    test_run(hasty_connects, NULL);
}

END_TEST

/* --- descriptors that come and go --------------------------------------------------- */

struct churn {
    uint64_t chance;
    uint64_t rounds;
};

static struct pair churn_pair(uint64_t *chance)
{
    struct pair p;

    if (test_rand(chance) % 4)
        return pair_local();
    p = pair_new();
    CHECK_EQ(0, weft_stream_set_linger(p.a, 0)); /* leaves no port behind */
    return p;
}

/* A reader waits while its stream, or the peer's, goes away in one of several ways. The numbers are
 * taken by the next round at once: whoever gets a byte, an end or an error that is not its own fails. */
static int churn(void *arg)
{
    struct churn *c = arg;

    for (uint64_t i = 0; i < c->rounds; i++) {
        struct pair p = churn_pair(&c->chance);
        unsigned char token = (unsigned char)(1 + test_rand(&c->chance) % 255);
        weft_task *reader = weft_spawn(read_byte, p.b);
        int rc;

        if (test_rand(&c->chance) % 2)
            CHECK_EQ(0, weft_yield());
        switch (test_rand(&c->chance) % 5) {
        case 0:
            CHECK_EQ(1, weft_write(p.a, &token, 1));
            CHECK_EQ(token, join(reader));
            pair_close(p);
            break;
        case 1:
            CHECK_EQ(0, weft_close(p.a));
            rc = join(reader);
            CHECK(rc == 0 || rc == -ECONNRESET);
            CHECK_EQ(0, weft_close(p.b));
            break;
        case 2:
            weft_cancel(reader);
            rc = join(reader);
            CHECK_EQ(-ECANCELED, rc);
            pair_close(p);
            break;
        case 3:
            weft_stream_abort(p.b);
            CHECK_EQ(-ESHUTDOWN, join(reader));
            pair_close(p);
            break;
        default:
            until_it_waits(reader, 1); /* closing is its owner's business once it reads */
            CHECK_EQ(1, weft_write(p.a, &token, 1));
            CHECK_EQ(0, weft_close(p.b));
            rc = join(reader);
            CHECK(rc == token || rc == -ESHUTDOWN);
            CHECK_EQ(0, weft_close(p.a));
            break;
        }
    }
    return 0;
}

static int churn_all(void *unused)
{
    enum { TASKS = 8 };
    struct churn c[TASKS];
    weft_task *tasks[TASKS];

    (void)unused;
    for (unsigned i = 0; i < TASKS; i++) {
        c[i] = (struct churn){test_seed() + i, test_scaled(250)};
        tasks[i] = weft_spawn(churn, &c[i]);
    }
    for (unsigned i = 0; i < TASKS; i++)
        CHECK_EQ(0, join(tasks[i]));
    return 0;
}

TEST(a_reused_descriptor_gets_no_old_event)
{
    test_run(churn_all, NULL);
}

END_TEST

/* --- limits of the process ------------------------------------------------------------ */

static int plain_connect(const weft_addr *where)
{
    int fd = socket(where->u.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, &where->u.any, where->size) == 0)
        return fd;
    perror("plain_connect");
    _exit(1);
}

/* A process with a plain client: fn in the child; the parent gets its id. */
static pid_t fork_client(void fn(const weft_addr *where, size_t count), const weft_addr *where,
                         size_t count)
{
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid > 0)
        return pid;
    (void)alarm(25 * test_slow());
    fn(where, count);
    _exit(0);
}

static void client_finish(pid_t pid)
{
    int status = -1;

    CHECK_EQ(pid, waitpid(pid, &status, 0));
    CHECK_EQ(0, status);
}

/* Connect often, send a byte on each, and wait for the answer to each. */
static void client_many(const weft_addr *where, size_t count)
{
    struct linger hard = {1, 0};
    int *fds = calloc(count, sizeof(int));
    char byte = 'x';

    for (size_t i = 0; i < count; i++) {
        fds[i] = plain_connect(where);
        if (setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)) != 0)
            _exit(2);
    }
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < count; i++)
            if (send(fds[i], &byte, 1, MSG_NOSIGNAL) != 1)
                _exit(3);
        for (size_t i = 0; i < count; i++)
            if (recv(fds[i], &byte, 1, 0) != 1)
                _exit(4);
    }
    free(fds);
}

static uint64_t cpu_ns(void)
{
    struct rusage u;

    CHECK_EQ(0, getrusage(RUSAGE_SELF, &u));
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000u;
}

static int echo(void *stream)
{
    char buffer[512];
    ssize_t n;

    while ((n = weft_read(stream, buffer, sizeof(buffer))) > 0)
        if (weft_write_all(stream, buffer, (size_t)n) < 0)
            break;
    return weft_close(stream);
}

static int shortage(void *listener)
{
    enum { CLIENTS = 40 };

    weft_stream *held[CLIENTS] = {NULL}, *s;
    weft_task *echoes[CLIENTS];
    weft_addr where;
    size_t n = 0, served = 0;
    uint64_t cpu;
    int rc = 0;

    CHECK_EQ(0, weft_listener_addr(listener, &where));
    for (;;) {
        WEFT_DEADLINE(WEFT_MS(200))
        rc = weft_accept(listener, &held[n]);
        if (rc < 0)
            break;
        n++;
    }
    CHECK_EQ(-ETIMEDOUT, rc);
    CHECK(n > 0 && n < CLIENTS);
    CHECK_EQ(-EMFILE, weft_tcp_connect(&s, &where, NULL));

    cpu = cpu_ns();
    WEFT_DEADLINE(WEFT_MS(500))
    rc = weft_accept(listener, &s);
    CHECK_EQ(-ETIMEDOUT, rc);
    cpu = cpu_ns() - cpu;
    (void)fprintf(stderr, "%zu connections held; waiting 500 ms for more took %llu us of CPU\n", n,
                  (unsigned long long)cpu / 1000);
    CHECK(cpu < 20000000ull * test_slow());

    /* As places become free, the others are served. */
    while (n > 0)
        echoes[served++] = weft_spawn(echo, held[--n]);
    while (served < CLIENTS) {
        WEFT_DEADLINE(WEFT_SECS(20))
        rc = weft_accept(listener, &s);
        CHECK_EQ(0, rc);
        echoes[served++] = weft_spawn(echo, s);
    }
    for (size_t i = 0; i < served; i++)
        CHECK_EQ(0, join(echoes[i]));
    return 0;
}

/* Three rounds for one at a time: connections end, so that those behind them have room. */
static void client_in_turn(const weft_addr *where, size_t count)
{
    int *fds = calloc(count, sizeof(int));
    char byte = 'x';

    for (size_t i = 0; i < count; i++)
        fds[i] = plain_connect(where);
    for (size_t i = 0; i < count; i++) {
        if (send(fds[i], &byte, 1, MSG_NOSIGNAL) != 1 || recv(fds[i], &byte, 1, 0) != 1)
            _exit(3);
        (void)close(fds[i]);
    }
    free(fds);
}

static void check_shortage(const struct test_flavour *flavour)
{
    struct rlimit before, low;
    weft_listener *l;
    weft_runtime *rt;
    weft_addr where;
    int result = -1;
    pid_t client;

    l = listen_any(&where);
    client = fork_client(client_in_turn, &where, 40);
    rt = test_runtime_new(flavour);
    CHECK_EQ(0, getrlimit(RLIMIT_NOFILE, &before));
    low = before;
    low.rlim_cur = open_descriptors() + 12;
    CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &low));
    CHECK_EQ(0, weft_block_on(rt, shortage, l, &result));
    CHECK_EQ(0, result);
    CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &before));
    CHECK_EQ(0, weft_listener_close(l));
    test_runtime_free(rt);
    client_finish(client);
}

TEST(accept_outlasts_a_shortage_of_descriptors)
{
    check_shortage(&two_workers);
    check_shortage(&current_thread);
}

END_TEST

static int serve_many(void *arg)
{
    const size_t count = *(const size_t *)arg;
    weft_task **tasks = calloc(count, sizeof(weft_task *));
    weft_task_options small = {.stack_size = 16 << 10};
    weft_addr where;
    weft_listener *l = listen_any(&where);
    weft_instant from = weft_now();
    weft_metrics m;
    pid_t client = fork_client(client_many, &where, count);
    struct rusage u;

    for (size_t i = 0; i < count; i++) {
        weft_stream *s;

        CHECK_EQ(0, weft_accept(l, &s));
        tasks[i] = weft_spawn_with(&small, echo, s);
    }
    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    for (size_t i = 0; i < count; i++)
        CHECK_EQ(0, join(tasks[i]));
    CHECK_EQ(0, getrusage(RUSAGE_SELF, &u));
    (void)fprintf(stderr, "%zu connections, 3 rounds: %llu ms, at most %ld KiB resident\n", count,
                  (unsigned long long)(weft_now() - from) / 1000000, u.ru_maxrss);
    client_finish(client);
    CHECK(m.spawned >= count);
    free(tasks);
    return weft_listener_close(l);
}

TEST(one_server_holds_ten_thousand_connections)
{
    size_t count = test_scaled(10000);
    struct rlimit limit;

    CHECK_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
    if (limit.rlim_max < count + 300)
        TEST_SKIP("the hard limit of open files (ulimit -Hn) is too low");
    if (limit.rlim_cur < count + 300) {
        limit.rlim_cur = count + 300;
        CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
    }
    test_run_on(&two_workers, serve_many, &count);
    test_run_on(&current_thread, serve_many, &count);
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
    c->f = weft_tcp_connect_future(&c->s, &c->where);
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

/* --- a busy worker's socket --------------------------------------------------------------------- */

#define HOG_NS   WEFT_MS(3)
#define HOG_WANT 40

struct hogged {
    weft_stream *s;
    atomic_int peer;
    atomic_uint round; /* moves when the worker begins to compute */
    _Atomic(weft_instant) wrote, read;
    _Atomic(pthread_t) home; /* where the reader first waited */
    atomic_bool over;
};

static void *hogged_writer(void *arg)
{
    struct hogged *h = arg;

    for (unsigned seen = 0; !atomic_load(&h->over);) {
        unsigned round = atomic_load(&h->round);
        weft_instant now;

        if (round == seen) {
            (void)nanosleep(&(struct timespec){0, 50000}, NULL);
            continue;
        }
        seen = round;
        (void)nanosleep(&(struct timespec){0, 700000}, NULL);
        now = weft_now();
        CHECK_EQ(1, write(h->peer, "x", 1));
        atomic_store(&h->wrote, now);
    }
    return NULL;
}

static int hogged_reader(void *arg)
{
    struct hogged *h = arg;
    char byte;

    atomic_store(&h->home, pthread_self());
    CHECK_EQ(1, weft_read(h->s, &byte, 1));
    atomic_store(&h->read, weft_now());
    return 0;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Rounds in which this task, about to compute, runs where the reader's socket lives. */
static int hog(void *unused)
{
    struct hogged h = {.peer = -1};
    uint64_t late[HOG_WANT];
    pthread_t writer;
    unsigned n = 0;

    (void)unused;
    CHECK_EQ(0, pthread_create(&writer, NULL, hogged_writer, &h));
    for (unsigned round = 0; n < HOG_WANT && round < 50 * HOG_WANT; round++) {
        weft_task *reader;
        int fds[2];

        CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
        CHECK_EQ(0, weft_stream_from_fd(&h.s, fds[0]));
        atomic_store(&h.peer, fds[1]);
        reader = spawn_waiting(hogged_reader, &h);
        if (!pthread_equal(atomic_load(&h.home), pthread_self())) {
            CHECK_EQ(1, write(fds[1], "x", 1));
        } else {
            CHECK_EQ(0, weft_sleep(WEFT_US(300))); /* the other worker falls asleep */
        }
        if (pthread_equal(atomic_load(&h.home), pthread_self()) && !weft_is_finished(reader)) {
            weft_instant until = WEFT_FOREVER;

            atomic_store(&h.wrote, 0);
            atomic_fetch_add(&h.round, 1);
            while (weft_now() < until)
                if (until == WEFT_FOREVER && atomic_load(&h.wrote))
                    until = atomic_load(&h.wrote) + HOG_NS;
            CHECK_EQ(0, join(reader));
            late[n++] = atomic_load(&h.read) - atomic_load(&h.wrote);
        } else {
            if (!weft_is_finished(reader))
                CHECK_EQ(1, write(fds[1], "x", 1));
            CHECK_EQ(0, join(reader));
        }
        CHECK_EQ(0, weft_close(h.s));
        CHECK_EQ(0, close(fds[1]));
    }
    atomic_store(&h.over, true);
    CHECK_EQ(0, pthread_join(writer, NULL));
    if (n < HOG_WANT / 4) {
        test_say("skipped: too rarely on the socket's own worker");
        return 0;
    }
    qsort(late, n, sizeof(late[0]), by_value);
    (void)fprintf(stderr,
                  "readable while its worker computes: served after %llu us (median of %u), "
                  "at most %llu us\n",
                  (unsigned long long)late[n / 2] / 1000, n,
                  (unsigned long long)late[n - 1] / 1000);
    /* Not served by the other worker it would take 3,000 us. The promise is 200; this many
     * leaves room for a machine that is busy otherwise. */
    CHECK(late[n / 2] < WEFT_US(800) * test_slow());
    return 0;
}

TEST(an_idle_worker_serves_a_busy_workers_socket)
{
    test_run_on(&two_workers, hog, NULL);
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

TEST_MAIN("tcp", bytes_pass_through_every_call, one_half_can_be_closed,
          the_end_of_a_stream_wakes_its_reader, a_reset_is_reported,
          connecting_to_nobody_is_refused, large_transfers_arrive_whole_both_ways,
          a_second_reader_or_writer_is_refused, abort_wakes_readers_writers_and_acceptors,
          close_wakes_a_reader_and_then_closes, a_closed_listener_lets_all_its_acceptors_go,
          acceptors_are_served_first_come_first_served, what_comes_after_giving_up_is_still_there,
          reads_and_writes_given_up_at_random_lose_no_byte,
          accepts_given_up_at_random_lose_no_connection, a_connect_given_up_leaves_nothing_open,
          a_reused_descriptor_gets_no_old_event, accept_outlasts_a_shortage_of_descriptors,
          one_server_holds_ten_thousand_connections, a_peer_that_is_gone_raises_no_signal,
          any_stream_descriptor_makes_a_stream, a_descriptor_can_leave_and_come_back,
          urgent_data_stalls_nobody, ipv6_works_as_ipv4_does, options_are_set_and_told,
          two_listeners_can_share_a_port, wrong_addresses_are_refused,
          waiting_calls_are_refused_outside_tasks, stackless_tasks_use_the_same_streams,
          an_idle_worker_serves_a_busy_workers_socket, streams_outlive_their_runtime)
