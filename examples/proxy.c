/* SPDX-License-Identifier: MIT */
/*
 * proxy.c - a TCP proxy: each connection is two tasks, one for each direction.
 *
 *     proxy UPSTREAM [ADDRESS]      default ADDRESS 127.0.0.1:7001; port 0 takes any free one
 *
 * It serves until its standard input ends: press Ctrl-D.
 */
#include <errno.h>
#include <stdio.h>
#include <weft.h>

static weft_addr upstream;

struct way {
    weft_stream *from, *to;
};

/* One direction. Its end is passed on as an end; a failure takes the other direction down too. */
static int copy(void *arg)
{
    const struct way *w = arg;
    char buffer[2048];
    ssize_t n;

    while ((n = weft_read(w->from, buffer, sizeof(buffer))) > 0) {
        n = weft_write_all(w->to, buffer, (size_t)n);
        if (n < 0)
            break;
    }
    if (n == 0)
        return weft_shutdown(w->to, SHUT_WR);
    weft_stream_abort(w->from); /* whoever waits on it gets -ESHUTDOWN */
    weft_stream_abort(w->to);
    return (int)n;
}

static int serve(void *arg)
{
    weft_stream *client = arg, *server = NULL;
    struct way there, back;
    weft_task *other;
    int rc = -ENOMEM;

    WEFT_DEADLINE(WEFT_SECS(5))
    {
        if (weft_tcp_connect(&server, &upstream, NULL) < 0)
            return weft_close(client); /* leaving the block early is fine */
    }

    there = (struct way){.from = client, .to = server};
    back = (struct way){.from = server, .to = client};
    other = weft_spawn(copy, &back);
    if (other) {
        (void)copy(&there);
        /* The other task uses the streams and our stack until it has ended, so even one that was
         * cancelled must wait for it here. */
        WEFT_SHIELD
        {
            rc = weft_join(other, NULL);
        }
    }
    weft_close(server);
    weft_close(client);
    return rc;
}

static int stop_at_end_of_input(void *arg)
{
    weft_stream *input;
    char skipped[64];
    ssize_t n;

    if (weft_stream_from_fd(&input, 0) < 0)
        return 0; /* nothing that can be waited for: serve until killed */
    while ((n = weft_read(input, skipped, sizeof(skipped))) > 0)
        continue;
    if (n == 0)
        weft_listener_abort(arg); /* weft_accept returns -ESHUTDOWN */
    return weft_close(input);
}

static int app(void *arg)
{
    char where[WEFT_ADDR_TEXT_MAX];
    weft_task *stopper;
    weft_listener *l;
    weft_stream *s;
    weft_addr a;
    int rc = weft_listen(&l, arg, NULL);

    if (rc < 0)
        return rc;
    if (weft_listener_addr(l, &a) == 0 && weft_addr_format(&a, where, sizeof(where)) > 0)
        (void)printf("listening on %s\n", where);
    (void)fflush(stdout);

    stopper = weft_spawn(stop_at_end_of_input, l);
    while ((rc = weft_accept(l, &s)) == 0)
        if (weft_go(serve, s) < 0)
            weft_close(s);

    weft_cancel(stopper);
    if (weft_join(stopper, NULL) == 0) /* now nobody else uses the listener */
        weft_listener_close(l);
    return rc == -ESHUTDOWN ? 0 : rc;
}

int main(int argc, char **argv)
{
    static char fallback[] = "127.0.0.1:7001";

    if (argc < 2 || weft_addr_parse(&upstream, argv[1]) < 0) {
        (void)fprintf(stderr, "usage: proxy UPSTREAM [ADDRESS], such as proxy 127.0.0.1:7000\n");
        return 2;
    }
    return weft_run(app, argc > 2 ? argv[2] : fallback);
}
