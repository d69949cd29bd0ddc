/* SPDX-License-Identifier: MIT */
/*
 * chat.c - a chat server: what one says, all get; and there is a topic, of which only the latest counts.
 *
 *     chat [ADDRESS]      default 127.0.0.1:7002; port 0 takes any free one
 *
 * Try it with two `nc 127.0.0.1 7002`. The first line is your name; `/topic TEXT` sets the topic. Lines go over a
 * broadcast channel, so who reads slowly holds up nobody, and is told how many lines it missed. The topic is a watch.
 *
 * It serves until its standard input ends: press Ctrl-D.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <weft.h>

#define TEXT_MAX 200
#define KEPT     64 /* lines that a slow visitor may be behind */

struct line {
    size_t size;
    char text[TEXT_MAX + 64]; /* and a name */
};

struct topic {
    char text[TEXT_MAX + 1];
};

/* Visitors send by a weak handle. The strong one is the app's, and with it the room closes. */
static weft_broadcast_weak_sender *lines;
static weft_watch_sender *topic;

static void say(const char *format, ...) WEFT_PRINTF(1, 2);

static void say(const char *format, ...)
{
    weft_broadcast_sender *tx = weft_broadcast_weak_sender_upgrade(lines);
    struct line line;
    va_list args;

    if (!tx)
        return; /* the room is closed */
    va_start(args, format);
    (void)vsnprintf(line.text, sizeof(line.text), format, args);
    va_end(args);
    line.size = strlen(line.text);
    (void)weft_broadcast_send(tx, &line); /* never waits; -EPIPE: nobody is there */
    weft_broadcast_sender_close(tx);
}

/* --- a visitor: one task reads what it types, another one writes what all say ----------- */

struct visitor {
    weft_stream *s;
    weft_broadcast_receiver *rx;
    weft_watch_receiver *topic;
    char name[32];
    /* what was read: a line, and what came behind it */
    char buffer[TEXT_MAX + 1];
    size_t filled, used;
};

static ssize_t write_text(struct visitor *v, const char *format, ...) WEFT_PRINTF(2, 3);

static ssize_t write_text(struct visitor *v, const char *format, ...)
{
    char text[sizeof(struct line)];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return weft_write_all(v->s, text, strlen(text));
}

static ssize_t write_topic(struct visitor *v)
{
    struct topic now;

    (void)weft_watch_get_and_update(v->topic, &now);
    return write_text(v, "* the topic is: %s\n", now.text);
}

static int write_all_lines(void *arg)
{
    struct visitor *v = arg;
    ssize_t rc = write_topic(v);

    while (rc >= 0) {
        struct line line;
        weft_future said = weft_broadcast_recv_future(v->rx, &line);
        weft_future changed = weft_watch_changed_future(v->topic);

        /* The one that was not first is dropped, and has lost nothing by that. */
        rc = weft_select(&said, &changed);
        if (rc == 1)
            rc = write_topic(v);
        else if (rc == 0 && said.result == 1)
            rc = weft_write_all(v->s, line.text, line.size);
        else if (rc == 0 && said.result == -EOVERFLOW)
            rc = write_text(v, "* you missed %llu lines\n",
                            (unsigned long long)weft_broadcast_missed(v->rx));
        else if (rc == 0)
            rc = said.result < 0 ? said.result : -ESHUTDOWN; /* the room is closed */
    }
    if (rc == -ESHUTDOWN)
        (void)write_text(v, "* the room is closed\n");
    weft_stream_abort(v->s); /* the other task reads no more */
    return 0;
}

/* The next line without its end, cut to what fits, in v->buffer. 1, 0 at the end of the stream, or negative. */
static int read_line(struct visitor *v)
{
    char *end;
    ssize_t n;

    memmove(v->buffer, v->buffer + v->used, v->filled - v->used);
    v->filled -= v->used;
    v->used = 0;
    while (!(end = memchr(v->buffer, '\n', v->filled)) && v->filled < TEXT_MAX) {
        n = weft_read(v->s, v->buffer + v->filled, TEXT_MAX - v->filled);
        if (n <= 0)
            return (int)n;
        v->filled += (size_t)n;
    }
    v->used = end ? (size_t)(end - v->buffer) + 1 : v->filled;
    if (!end)
        end = v->buffer + v->filled;
    else if (end > v->buffer && end[-1] == '\r')
        end--;
    *end = '\0'; /* there is room for one more */
    return 1;
}

static void take_line(const struct visitor *v)
{
    struct topic new;

    if (strncmp(v->buffer, "/topic ", 7) != 0) {
        say("%s: %s\n", v->name, v->buffer);
        return;
    }
    (void)snprintf(new.text, sizeof(new.text), "%s", v->buffer + 7);
    (void)weft_watch_send(topic, &new);
}

/* From the name to the end. */
static int talk(struct visitor *v)
{
    weft_task *writer;
    int rc = 0;

    if (write_text(v, "* your name?\n") < 0 || read_line(v) <= 0)
        return 0;
    (void)snprintf(v->name, sizeof(v->name), "%.30s", v->buffer[0] ? v->buffer : "somebody");
    writer = weft_spawn(write_all_lines, v);
    if (!writer)
        return -ENOMEM;
    say("* %s is here\n", v->name);
    while (read_line(v) > 0)
        take_line(v);
    say("* %s has left\n", v->name);

    weft_cancel(writer);
    WEFT_SHIELD
    {
        rc = weft_join(writer, NULL); /* it uses v, which is ours */
    }
    return rc;
}

static void leave(struct visitor *v)
{
    weft_close(v->s);
    weft_broadcast_receiver_close(v->rx);
    weft_watch_receiver_close(v->topic); /* the last: the app waits for it */
}

static int visit(void *arg)
{
    int rc = talk(arg);

    leave(arg);
    return rc;
}

/* --- the server ------------------------------------------------------------------------- */

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

/* The channels are joined here, so that nobody is in the room whom the app does not know of. */
static void welcome(weft_stream *s, weft_broadcast_sender *tx)
{
    struct visitor v = {.s = s};

    if (weft_broadcast_subscribe(tx, &v.rx) < 0 || weft_watch_subscribe(topic, &v.topic) < 0 ||
        weft_go_copy(visit, &v, sizeof(v)) < 0)
        leave(&v); /* memory is out; handles that are NULL are ignored */
}

static int serve(weft_listener *l, weft_broadcast_sender *tx)
{
    weft_task *stopper = weft_spawn(stop_at_end_of_input, l);
    weft_stream *s;
    int rc;

    while ((rc = weft_accept(l, &s)) == 0)
        welcome(s, tx);
    weft_cancel(stopper);
    if (weft_join(stopper, NULL) == 0) /* now nobody else uses the listener */
        weft_listener_close(l);
    return rc == -ESHUTDOWN ? 0 : rc;
}

static int app(void *arg)
{
    /* Smaller buffers than usual: it is the channel that keeps lines for who is slow. */
    weft_listen_options options = {.send_buffer = 16384};
    struct topic first = {"nothing in particular"};
    char where[WEFT_ADDR_TEXT_MAX];
    weft_broadcast_sender *tx;
    weft_listener *l;
    weft_addr a;
    int rc;

    rc = weft_broadcast_new(&tx, NULL, sizeof(struct line), KEPT);
    if (rc < 0)
        return rc;
    lines = weft_broadcast_sender_downgrade(tx);
    rc = weft_watch_new(&topic, NULL, sizeof(first), &first);
    if (rc < 0)
        goto close_lines;
    rc = weft_listen(&l, arg, &options);
    if (rc < 0)
        goto close_topic;
    if (weft_listener_addr(l, &a) == 0 && weft_addr_format(&a, where, sizeof(where)) > 0)
        (void)printf("listening on %s\n", where);
    (void)fflush(stdout);
    rc = serve(l, tx);

close_topic:
    /* The room closes with its last sender: visitors get what was said, and go. */
    weft_broadcast_sender_close(tx);
    tx = NULL;
    WEFT_DEADLINE(WEFT_SECS(2))
    {
        if (weft_watch_closed(topic) < 0) /* until nobody watches it any more */
            return rc; /* who has not gone is cancelled when this task has ended, and uses it till then */
    }
    weft_watch_sender_close(topic);
close_lines:
    weft_broadcast_sender_close(tx);
    weft_broadcast_weak_sender_close(lines);
    return rc;
}

int main(int argc, char **argv)
{
    static char fallback[] = "127.0.0.1:7002";

    return weft_run(app, argc > 1 ? argv[1] : fallback);
}
