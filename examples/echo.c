/* SPDX-License-Identifier: MIT */
/*
 * echo.c - a TCP echo server: a fiber for each connection, spread over all processors.
 *
 *     echo [ADDRESS]      default 127.0.0.1:7000; port 0 takes any free one
 *
 * It serves until its standard input ends: press Ctrl-D.
 */
#include <stdio.h>
#include <weft.h>

/* One connection, from accept to close. The buffer is small, so that the stack of a fiber which
 * waits for its next message keeps within one page of memory. */
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
    int rc;

    rc = weft_listen(&l, arg, NULL);
    if (rc < 0)
        return rc;
    if (weft_listener_addr(l, &a) == 0 && weft_addr_format(&a, where, sizeof(where)) > 0)
        (void)printf("listening on %s\n", where);
    (void)fflush(stdout);

    stopper = weft_spawn(stop_at_end_of_input, l);
    while ((rc = weft_accept(l, &s)) == 0)
        if (weft_go(serve, s) < 0)
            weft_close(s); /* memory is out: refuse this one, go on with the others */

    weft_cancel(stopper);
    if (weft_join(stopper, NULL) == 0) /* now nobody else uses the listener */
        weft_listener_close(l);
    return rc == -ESHUTDOWN ? 0 : rc;
}

int main(int argc, char **argv)
{
    static char fallback[] = "127.0.0.1:7000";

    return weft_run(app, argc > 1 ? argv[1] : fallback);
}
