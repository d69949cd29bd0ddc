/* SPDX-License-Identifier: MIT */
/*
 * test_story.c - a server one of whose routes calls a client that blocks, as database libraries do.
 *
 * The database answers none of the slow requests before all fast ones are answered: without the monitor two slow
 * requests stop both workers, and the test does not end.
 */
#include "support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOW 12
#define FAST 300

static uint16_t server_port, database_port;
static atomic_uint asked; /* queries that the database has got */
static atomic_bool answers;

static int listen_plain(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(fd >= 0);
    CHECK_EQ(0, bind(fd, (struct sockaddr *)&a, sizeof(a)));
    CHECK_EQ(0, listen(fd, 64));
    CHECK_EQ(0, getsockname(fd, (struct sockaddr *)&a, &size));
    *port = ntohs(a.sin_port);
    return fd;
}

static int connect_plain(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(fd >= 0);
    CHECK_EQ(0, connect(fd, (struct sockaddr *)&a, sizeof(a)));
    return fd;
}

/* Takes SLOW connections, and answers when it is told to. */
static void *database(void *arg)
{
    int listener = *(int *)arg, client[SLOW];
    char query;

    for (int i = 0; i < SLOW; i++) {
        client[i] = accept(listener, NULL, NULL);
        CHECK(client[i] >= 0);
        CHECK_EQ(1, read(client[i], &query, 1));
        atomic_fetch_add(&asked, 1);
    }
    while (!atomic_load(&answers))
        usleep(1000);
    for (int i = 0; i < SLOW; i++) {
        CHECK_EQ(1, write(client[i], "r", 1));
        (void)close(client[i]);
    }
    return NULL;
}

/* What the library of a database does: it connects, asks, and waits in the kernel. */
static char query_database(void)
{
    int fd = connect_plain(database_port);
    char row = 0;

    CHECK_EQ(1, write(fd, "q", 1));
    CHECK_EQ(1, read(fd, &row, 1));
    (void)close(fd);
    return row;
}

/* One byte asks for a route, one byte answers. */
static int serve(void *arg)
{
    weft_stream *s = arg;
    char route;

    while (weft_read(s, &route, 1) == 1) {
        char answer = route == 's' ? query_database() : 'f';

        if (weft_write_all(s, &answer, 1) < 0)
            break;
    }
    return weft_close(s);
}

static int server(void *arg)
{
    weft_listener *l = arg;
    weft_stream *s;

    while (weft_accept(l, &s) == 0)
        CHECK_EQ(0, weft_go(serve, s));
    return 0;
}

static int open_server(void *arg)
{
    weft_addr a;
    int rc = weft_listen(arg, "127.0.0.1:0", NULL);

    CHECK_EQ(0, weft_listener_addr(*(weft_listener **)arg, &a));
    server_port = weft_addr_port(&a);
    return rc;
}

static int close_server(void *arg)
{
    weft_listener_close(arg);
    return 0;
}

TEST(a_blocking_client_in_one_route_leaves_the_others_alone)
{
    weft_config c = {.worker_threads = 2, .ignore_env = WEFT_ON};
    int listener = listen_plain(&database_port), slow[SLOW], fast, result = 1;
    weft_listener *l;
    weft_runtime *rt;
    weft_task *t;
    pthread_t thread;
    char answer;

    test_watchdog(60);
    CHECK_EQ(0, pthread_create(&thread, NULL, database, &listener));
    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    CHECK_EQ(0, weft_block_on(rt, open_server, &l, &result));
    CHECK_EQ(0, result);
    CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, server, l));
    for (int i = 0; i < SLOW; i++) {
        slow[i] = connect_plain(server_port);
        CHECK_EQ(1, write(slow[i], "s", 1));
    }
    /* All of them, though there are two workers. */
    while (atomic_load(&asked) < SLOW)
        usleep(1000);
    fast = connect_plain(server_port);
    for (int i = 0; i < FAST; i++) {
        CHECK_EQ(1, write(fast, "f", 1));
        CHECK_EQ(1, read(fast, &answer, 1));
        CHECK_EQ('f', answer);
    }
    atomic_store(&answers, true);
    for (int i = 0; i < SLOW; i++) {
        CHECK_EQ(1, read(slow[i], &answer, 1));
        CHECK_EQ('r', answer);
        (void)close(slow[i]);
    }
    (void)close(fast);
    CHECK_EQ(0, pthread_join(thread, NULL));
    weft_listener_abort(l);
    CHECK_EQ(0, weft_join_blocking(t, NULL));
    CHECK_EQ(0, weft_block_on(rt, close_server, l, &result));
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    weft_runtime_free(rt);
    (void)close(listener);
}

TEST_MAIN("story", a_blocking_client_in_one_route_leaves_the_others_alone)
