/* SPDX-License-Identifier: MIT */
/*
 * sockopt.c - a socket's options and the addresses of its two ends.
 *
 * Plain system calls that never wait, from any thread, while the caller's use of the handle keeps
 * the descriptor open. What the kernel says is passed on: Linux reports twice the buffer sizes
 * that were set, as it counts its own book-keeping too.
 */
#include "base/log.h"
#include "base/sys.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <weft/net.h>

static int sockopt_fd(const weft_stream *s, const char *call)
{
    return s ? weft_stream_fd(s) : wf_misuse(-EINVAL, "%s: the stream is NULL", call);
}

static int sockopt_set(const weft_stream *s, const char *call, int level, int name, int value)
{
    int fd = sockopt_fd(s, call);

    return fd < 0 ? fd : wf_sys_setsockopt(fd, level, name, &value, sizeof(value));
}

/* The value, or a negative errno. */
static int sockopt_get(const weft_stream *s, const char *call, int level, int name)
{
    int fd = sockopt_fd(s, call), value = 0, rc;
    socklen_t size = sizeof(value);

    if (fd < 0)
        return fd;
    rc = wf_sys_getsockopt(fd, level, name, &value, &size);
    return rc < 0 ? rc : value;
}

typedef int sockopt_name_fn(int fd, struct sockaddr *a, socklen_t *size);

static int sockopt_name(int fd, sockopt_name_fn *ask, weft_addr *a)
{
    weft_addr name = {.size = sizeof(name.u)};
    int rc = ask(fd, &name.u.any, &name.size);

    if (rc < 0)
        return rc;
    /* The kernel gives the length that it would have liked, the text of a Unix address say. */
    if (name.size > sizeof(name.u) ||
        (name.u.any.sa_family != AF_INET && name.u.any.sa_family != AF_INET6))
        return -EAFNOSUPPORT;
    *a = name;
    return 0;
}

int weft_stream_peer(const weft_stream *s, weft_addr *a)
{
    int fd;

    if (!s || !a)
        return wf_misuse(-EINVAL, "weft_stream_peer: an argument is NULL");
    fd = weft_stream_fd(s);
    return fd < 0 ? fd : sockopt_name(fd, wf_sys_getpeername, a);
}

int weft_stream_local(const weft_stream *s, weft_addr *a)
{
    int fd;

    if (!s || !a)
        return wf_misuse(-EINVAL, "weft_stream_local: an argument is NULL");
    fd = weft_stream_fd(s);
    return fd < 0 ? fd : sockopt_name(fd, wf_sys_getsockname, a);
}

int weft_listener_addr(const weft_listener *l, weft_addr *a)
{
    int fd;

    if (!l || !a)
        return wf_misuse(-EINVAL, "weft_listener_addr: an argument is NULL");
    fd = weft_listener_fd(l);
    return fd < 0 ? fd : sockopt_name(fd, wf_sys_getsockname, a);
}

int weft_stream_set_nodelay(weft_stream *s, bool on)
{
    return sockopt_set(s, "weft_stream_set_nodelay", IPPROTO_TCP, TCP_NODELAY, on);
}

int weft_stream_get_nodelay(const weft_stream *s)
{
    int value = sockopt_get(s, "weft_stream_get_nodelay", IPPROTO_TCP, TCP_NODELAY);

    return value > 0 ? 1 : value;
}

int weft_stream_set_linger(weft_stream *s, int seconds)
{
    struct linger linger = {.l_onoff = seconds >= 0, .l_linger = seconds >= 0 ? seconds : 0};
    int fd = sockopt_fd(s, "weft_stream_set_linger");

    if (fd < 0)
        return fd;
    if (seconds < -1)
        return wf_misuse(-EINVAL, "weft_stream_set_linger: %d seconds", seconds);
    return wf_sys_setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

int weft_stream_get_linger(const weft_stream *s)
{
    int fd = sockopt_fd(s, "weft_stream_get_linger"), rc;
    struct linger linger = {0};
    socklen_t size = sizeof(linger);

    if (fd < 0)
        return fd;
    rc = wf_sys_getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size);
    if (rc < 0)
        return rc;
    return linger.l_onoff ? linger.l_linger : -1; /* no error of this call is -1 */
}

/* One number of the keepalive; 0 leaves it as it is. */
static int sockopt_keepalive(const weft_stream *s, int name, unsigned value)
{
    if (value == 0)
        return 0;
    if (value > INT_MAX)
        return -EINVAL;
    return sockopt_set(s, "weft_stream_set_keepalive", IPPROTO_TCP, name, (int)value);
}

int weft_stream_set_keepalive(weft_stream *s, const weft_keepalive *k)
{
    int rc;

    if (!s || !k)
        return wf_misuse(-EINVAL, "weft_stream_set_keepalive: an argument is NULL");
    /* Switched on last: a number that the kernel refuses starts nothing. */
    rc = sockopt_keepalive(s, TCP_KEEPIDLE, k->idle_seconds);
    if (rc == 0)
        rc = sockopt_keepalive(s, TCP_KEEPINTVL, k->interval_seconds);
    if (rc == 0)
        rc = sockopt_keepalive(s, TCP_KEEPCNT, k->count);
    if (rc == 0)
        rc = sockopt_set(s, "weft_stream_set_keepalive", SOL_SOCKET, SO_KEEPALIVE, k->on);
    return rc;
}

int weft_stream_get_keepalive(const weft_stream *s, weft_keepalive *k)
{
    static const int names[] = {TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT};
    int on, values[wf_array_count(names)];

    if (!s || !k)
        return wf_misuse(-EINVAL, "weft_stream_get_keepalive: an argument is NULL");
    on = sockopt_get(s, "weft_stream_get_keepalive", SOL_SOCKET, SO_KEEPALIVE);
    if (on < 0)
        return on;
    for (size_t i = 0; i < wf_array_count(names); i++) {
        values[i] = sockopt_get(s, "weft_stream_get_keepalive", IPPROTO_TCP, names[i]);
        if (values[i] < 0)
            return values[i];
    }
    *k = (weft_keepalive){.on = on > 0,
                          .idle_seconds = (unsigned)values[0],
                          .interval_seconds = (unsigned)values[1],
                          .count = (unsigned)values[2]};
    return 0;
}

static int sockopt_set_buffer(weft_stream *s, const char *call, int name, int bytes)
{
    if (bytes <= 0)
        return wf_misuse(-EINVAL, "%s: %d bytes", call, bytes);
    return sockopt_set(s, call, SOL_SOCKET, name, bytes);
}

int weft_stream_set_receive_buffer(weft_stream *s, int bytes)
{
    return sockopt_set_buffer(s, "weft_stream_set_receive_buffer", SO_RCVBUF, bytes);
}

int weft_stream_get_receive_buffer(const weft_stream *s)
{
    return sockopt_get(s, "weft_stream_get_receive_buffer", SOL_SOCKET, SO_RCVBUF);
}

int weft_stream_set_send_buffer(weft_stream *s, int bytes)
{
    return sockopt_set_buffer(s, "weft_stream_set_send_buffer", SO_SNDBUF, bytes);
}

int weft_stream_get_send_buffer(const weft_stream *s)
{
    return sockopt_get(s, "weft_stream_get_send_buffer", SOL_SOCKET, SO_SNDBUF);
}

int weft_stream_take_error(weft_stream *s)
{
    int error = sockopt_get(s, "weft_stream_take_error", SOL_SOCKET, SO_ERROR);

    return error > 0 ? -error : error;
}
