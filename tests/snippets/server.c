/* SPDX-License-Identifier: MIT */
/* server.c - the README's echo server, and a client of it. */
#include <string.h>
#include <support.h>

static int serve(void *arg)
{
    weft_stream *s = arg;
    char buffer[1024];
    ssize_t n;

    while ((n = weft_read(s, buffer, sizeof(buffer))) > 0)
        if (weft_write_all(s, buffer, (size_t)n) < 0)
            break;
    return weft_close(s);
}

static int accept_all(void *arg)
{
    weft_listener *l = arg;
    weft_stream *s;
    int rc;

    while ((rc = weft_accept(l, &s)) == 0)
        if (weft_go(serve, s) < 0) /* a detached task */
            weft_close(s);
    return rc; /* -ESHUTDOWN after weft_listener_abort(l) */
}

static void check_echo(const char *address)
{
    weft_stream *s;
    char back[6] = "";

    CHECK_EQ(0, weft_connect(&s, address));
    CHECK_EQ(5, weft_write_all(s, "hello", 5));
    CHECK_EQ(5, weft_read_exact(s, back, 5));
    CHECK_STR("hello", back);
    CHECK_EQ(0, weft_shutdown(s, SHUT_WR));
    CHECK_EQ(0, weft_read(s, back, sizeof(back)));
    CHECK_EQ(0, weft_close(s));
}

static int app(void *arg)
{
    char address[WEFT_ADDR_TEXT_MAX];
    weft_listener *l;
    weft_task *server;
    weft_addr a;
    int result;

    (void)arg;
    CHECK_EQ(0, weft_listen(&l, "tcp://127.0.0.1:0", NULL));
    CHECK_EQ(0, weft_listener_addr(l, &a));
    CHECK(weft_addr_format(&a, address, sizeof(address)) > 0);
    server = weft_spawn(accept_all, l);
    check_echo(address);
    check_echo(address);
    weft_listener_abort(l);
    CHECK_EQ(0, weft_join(server, &result));
    CHECK_EQ(-ESHUTDOWN, result);
    CHECK_EQ(0, weft_listener_close(l));
    return 0;
}

TEST(what_is_sent_comes_back)
{
    test_run(app, NULL);
}

TEST_MAIN("server", what_is_sent_comes_back)
