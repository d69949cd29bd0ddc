/* SPDX-License-Identifier: MIT */
/* limits.c - the README on time limits and select, against a peer that says nothing. */
#include <support.h>
#include <sys/socket.h>

static int fetch(const char *address, char *answer, size_t size)
{
    weft_stream *s;
    ssize_t n = 0;
    int rc = 0;

    WEFT_DEADLINE(WEFT_MS(100))
    {
        rc = weft_connect(&s, address);
        if (rc < 0)
            return rc; /* leaving the block early is fine */
        n = weft_write_all(s, "ping\n", 5);
        if (n > 0)
            n = weft_read(s, answer, size); /* -ETIMEDOUT, if nothing comes in time */
        weft_close(s);
    }
    return (int)n;
}

enum outcome { MESSAGE, TICK, STOPPED };

static enum outcome message_or_tick(weft_stream *s, char *buffer, size_t size, weft_duration d)
{
    weft_future message = weft_read_future(s, buffer, size);
    weft_future tick = weft_sleep_future(d);

    switch (weft_select(&message, &tick)) {
    case 0:
        return message.result > 0 ? MESSAGE : STOPPED;
    case 1:
        return TICK; /* the read was dropped; no byte is lost */
    default:
        return STOPPED; /* -ECANCELED or -ETIMEDOUT: both were dropped */
    }
}

static int check_fetch(void *arg)
{
    char address[WEFT_ADDR_TEXT_MAX], answer[16];
    weft_listener *l; /* nobody accepts */
    weft_addr a;

    (void)arg;
    CHECK_EQ(0, weft_listen(&l, "127.0.0.1:0", NULL));
    CHECK_EQ(0, weft_listener_addr(l, &a));
    CHECK(weft_addr_format(&a, address, sizeof(address)) > 0);
    CHECK_EQ(-ETIMEDOUT, fetch(address, answer, sizeof(answer)));
    CHECK_EQ(0, weft_listener_close(l));
    CHECK_EQ(-ECONNREFUSED, fetch(address, answer, sizeof(answer)));
    return 0;
}

static int check_select(void *arg)
{
    weft_stream *near, *far;
    char buffer[16];
    int fds[2];

    (void)arg;
    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    CHECK_EQ(0, weft_stream_from_fd(&near, fds[0]));
    CHECK_EQ(0, weft_stream_from_fd(&far, fds[1]));
    CHECK_EQ(TICK, message_or_tick(near, buffer, sizeof(buffer), WEFT_MS(1)));
    CHECK_EQ(5, weft_write_all(far, "hello", 5));
    CHECK_EQ(MESSAGE, message_or_tick(near, buffer, sizeof(buffer), WEFT_FOREVER));
    CHECK_EQ(0, weft_close(far));
    CHECK_EQ(STOPPED, message_or_tick(near, buffer, sizeof(buffer), WEFT_FOREVER));
    CHECK_EQ(0, weft_close(near));
    return 0;
}

TEST(a_deadline_ends_what_waits)
{
    test_run(check_fetch, NULL);
}

TEST(the_first_branch_wins)
{
    test_run(check_select, NULL);
}

TEST_MAIN("limits", a_deadline_ends_what_waits, the_first_branch_wins)
