/* SPDX-License-Identifier: MIT */
/*
 * connect.c - connecting: a socket, a wait until it is writable, and the outcome.
 */
#include "base/log.h"
#include "base/sys.h"
#include "net/net.h"
#include "net/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

/* "host:80" with a name in place of numbers: nothing wrong with it, but names are not looked up. */
static bool url_is_name(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char others[] = "0123456789-._";
    size_t n = 0, named = 0;
    weft_addr a;

    for (; text[n] && text[n] != ':'; n++) {
        if (strchr(letters, text[n]))
            named++;
        else if (!strchr(others, text[n]))
            return false;
    }
    return named > 0 && weft_addr_parse(&a, text + n) == 0; /* ":80" is an address */
}

int wf_net_parse_url(weft_addr *a, const char *text)
{
    static const char scheme[] = "tcp://";
    int rc;

    if (!text)
        return -EINVAL;
    if (strncmp(text, scheme, sizeof(scheme) - 1) == 0)
        text += sizeof(scheme) - 1;
    else if (strstr(text, "://"))
        return -ENOTSUP;
    rc = weft_addr_parse(a, text);
    return rc == -EINVAL && url_is_name(text) ? -ENOTSUP : rc;
}

bool wf_net_buffers_valid(int receive, int send)
{
    return receive >= 0 && send >= 0;
}

bool wf_net_switch_valid(weft_switch value)
{
    return (unsigned)value <= WEFT_OFF;
}

bool wf_net_spare_valid(const uintptr_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (words[i])
            return false;
    return true;
}

int wf_net_set_int(int fd, int level, int name, int value, bool wanted)
{
    return wanted ? wf_sys_setsockopt(fd, level, name, &value, sizeof(value)) : 0;
}

struct connect {
    weft_stream *stream; /* being connected; NULL before the first poll */
    weft_stream **out;
    const weft_addr *address; /* NULL: text says it */
    const char *text;
    uintptr_t target;
    const weft_connect_options *options;
};

_Static_assert(sizeof(struct connect) <= sizeof(((weft_future *)0)->words), "connect must fit");

static struct connect *connect_of(weft_future *f)
{
    return (struct connect *)(void *)f->words;
}

static weft_poll connect_finish(weft_future *f, int rc)
{
    struct connect *c = connect_of(f);

    if (c->stream) {
        wf_io_end(&c->stream->io, WF_IO_WRITE, true);
        if (rc < 0)
            wf_io_close(&c->stream->io);
        else
            *c->out = c->stream;
    }
    c->stream = NULL;
    f->result = rc;
    return WEFT_READY;
}

static int connect_set_options(int fd, const weft_connect_options *o)
{
    int rc = wf_net_set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1, !o || o->nodelay != WEFT_OFF);

    if (rc == 0 && o)
        rc = wf_net_set_int(fd, SOL_SOCKET, SO_RCVBUF, o->receive_buffer, o->receive_buffer > 0);
    if (rc == 0 && o)
        rc = wf_net_set_int(fd, SOL_SOCKET, SO_SNDBUF, o->send_buffer, o->send_buffer > 0);
    if (rc == 0 && o && o->local)
        rc = wf_sys_bind(fd, &o->local->u.any, o->local->size);
    return rc;
}

/* Make the socket and begin. 0: connected at once; -EINPROGRESS; or the failure. */
static int connect_start(struct connect *c, const weft_addr *address)
{
    int fd = wf_sys_socket(address->u.any.sa_family, SOCK_STREAM), rc;
    bool ready;

    if (fd < 0)
        return fd;
    rc = connect_set_options(fd, c->options);
    if (rc < 0)
        goto close_fd;
    c->stream = wf_stream_new(fd, true);
    rc = -ENOMEM;
    if (!c->stream)
        goto close_fd;
    rc = wf_io_begin(&c->stream->io, WF_IO_WRITE, &ready);
    wf_assert(rc == 0);
    rc = wf_sys_connect(fd, &address->u.any, address->size);
    return rc == -EINTR ? -EINPROGRESS : rc;

close_fd:
    wf_sys_close(fd);
    return rc;
}

WF_COLD static int connect_refuse_text(int rc, const char *call, const char *text)
{
    return wf_misuse(rc, "%s: \"%s\" is not an address like tcp://127.0.0.1:8080", call,
                     text ? text : "(null)");
}

/* The same where the address may be a text still. */
static int connect_start_anywhere(struct connect *c)
{
    weft_addr a;
    int rc;

    if (c->address)
        return connect_start(c, c->address);
    rc = wf_net_parse_url(&a, c->text);
    if (rc < 0)
        return connect_refuse_text(rc, "weft_connect_future", c->text);
    return connect_start(c, &a);
}

static int connect_outcome(const struct connect *c)
{
    int fd = c->stream->io.fd, error = 0, rc;
    socklen_t size = sizeof(error);
    weft_addr peer = {.size = sizeof(peer.u)};

    rc = wf_sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (rc < 0 || error)
        return rc < 0 ? rc : -error;
    /* Readiness may be spurious: connected is who has a peer. */
    rc = wf_sys_getpeername(fd, &peer.u.any, &peer.size);
    return rc == -ENOTCONN ? -EINPROGRESS : rc;
}

static weft_poll connect_poll(weft_future *f, weft_context *cx)
{
    struct connect *c = connect_of(f);
    int rc;

    if (!c->stream) {
        if (!wf_coop_proceed(cx))
            return WEFT_PENDING;
        rc = connect_start_anywhere(c);
        if (rc != -EINPROGRESS)
            return connect_finish(f, rc);
    }
    do {
        if (wf_io_poll_ready(&c->stream->io, WF_IO_WRITE, &c->target, cx, &rc) == WEFT_PENDING)
            return WEFT_PENDING;
        if (rc == 0)
            rc = connect_outcome(c);
    } while (rc == -EINPROGRESS);
    return connect_finish(f, rc);
}

static void connect_drop(weft_future *f)
{
    struct connect *c = connect_of(f);

    if (!c->stream)
        return;
    wf_io_cancel(&c->stream->io, WF_IO_WRITE, &c->target);
    connect_finish(f, -ECANCELED);
}

static const weft_future_type connect_type = {connect_poll, connect_drop, "connect"};

static bool connect_is_valid(const weft_connect_options *o)
{
    return !o || (wf_net_buffers_valid(o->receive_buffer, o->send_buffer) &&
                  wf_net_switch_valid(o->nodelay) &&
                  wf_net_spare_valid(o->spare_, wf_array_count(o->spare_)));
}

weft_future weft_tcp_connect_future(weft_stream **s, const weft_addr *address,
                                    const weft_connect_options *options)
{
    weft_future f = {.type = &connect_type};

    if (!s || !address || !connect_is_valid(options))
        return weft_ready_future(
            wf_misuse(-EINVAL, "weft_tcp_connect_future: NULL, or a bad option"));
    connect_of(&f)->out = s;
    connect_of(&f)->address = address;
    connect_of(&f)->options = options;
    return f;
}

int weft_tcp_connect(weft_stream **s, const weft_addr *address, const weft_connect_options *options)
{
    struct wf_fiber *f;
    weft_future done;
    int rc;

    if (!s || !address || !connect_is_valid(options))
        return wf_misuse(-EINVAL, "weft_tcp_connect: NULL, or a bad option");
    rc = wf_await_enter(&f, "weft_tcp_connect");
    if (rc < 0)
        return rc;
    done = weft_tcp_connect_future(s, address, options);
    return (int)wf_await_future(f, &done);
}

weft_future weft_connect_future(weft_stream **s, const char *address)
{
    weft_future f = {.type = &connect_type};

    if (!s || !address)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_connect_future: NULL"));
    connect_of(&f)->out = s;
    connect_of(&f)->text = address;
    return f;
}

int weft_connect(weft_stream **s, const char *address)
{
    weft_addr a;
    int rc = wf_net_parse_url(&a, address);

    if (rc < 0)
        return connect_refuse_text(rc, "weft_connect", address);
    return weft_tcp_connect(s, &a, NULL);
}
