/* SPDX-License-Identifier: MIT */
/* cancel.c - the README on cancellation: an error like any other, and clean-up that may await. */
#include <string.h>
#include <support.h>
#include <sys/socket.h>

static int session(void *arg)
{
    weft_stream *s = arg;
    char buffer[64];
    ssize_t n;

    while ((n = weft_read(s, buffer, sizeof(buffer))) > 0)
        continue;
    WEFT_SHIELD
    { /* in here awaits work as if nobody had cancelled */
        n = weft_write_all(s, "bye\n", 4);
    }
    weft_close(s);
    return n < 0 ? (int)n : 0;
}

static int app(void *arg)
{
    weft_stream *near, *far;
    char said[5] = "";
    weft_task *t;
    int fds[2], result;

    (void)arg;
    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    CHECK_EQ(0, weft_stream_from_fd(&near, fds[0]));
    CHECK_EQ(0, weft_stream_from_fd(&far, fds[1]));
    t = weft_spawn(session, near);
    /* It may not have begun, and would then never run: see that it reads. */
    CHECK_EQ(1, weft_write_all(far, "x", 1));
    for (;;) {
        weft_task_info info;

        CHECK_EQ(0, weft_task_get_info(t, &info));
        if (info.polls > 0 && info.state == WEFT_TASK_IDLE)
            break;
        CHECK_EQ(0, weft_yield());
    }
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(0, result);
    CHECK_EQ(4, weft_read_exact(far, said, 4));
    CHECK_STR("bye\n", said);
    CHECK_EQ(0, weft_close(far));
    return 0;
}

TEST(a_cancelled_session_says_goodbye)
{
    test_run(app, NULL);
}

TEST_MAIN("cancel", a_cancelled_session_says_goodbye)
