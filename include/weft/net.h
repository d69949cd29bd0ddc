/* SPDX-License-Identifier: MIT */
/*
 * weft/net.h - TCP: listening, connecting, addresses, socket options.
 */
#ifndef WEFT_NET_H
#define WEFT_NET_H

#include <sys/socket.h>
#include <weft/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_listener weft_listener;

/* An IPv4 or IPv6 address with a port. */
typedef struct weft_addr {
    socklen_t size;

    union {
        struct sockaddr any;
        unsigned char bytes_[28]; /* room for IPv6 */
        uint64_t align_;
    } u;
} weft_addr;

#define WEFT_ADDR_TEXT_MAX 64

/* "127.0.0.1:80", "[::1]:80", "*:80" (all IPv4), ":80" (the same). Numbers only: no name is looked
 * up. 0 or -EINVAL. */
WEFT_API WEFT_MUST_CHECK int weft_addr_parse(weft_addr *a, const char *text);
WEFT_API WEFT_MUST_CHECK int weft_addr_ip(weft_addr *a, const char *ip, uint16_t port);
WEFT_API uint16_t weft_addr_port(const weft_addr *a);
/* Writes at most size bytes with the final NUL; returns the length, or -ENOSPC, -EINVAL. */
WEFT_API int weft_addr_format(const weft_addr *a, char *text, size_t size);

typedef struct weft_listen_options {
    int backlog;            /* 0: 4096, limited by the system */
    weft_switch reuse_addr; /* default on */
    weft_switch reuse_port; /* default off */
    weft_switch nodelay;    /* of accepted streams; default on */
    weft_switch v6_only;    /* default off: an IPv6 listener takes IPv4 too */
    int receive_buffer;     /* bytes; 0: the system's */
    int send_buffer;
    uintptr_t spare_[4]; /* zero */
} weft_listen_options;

/*
 * weft_listen - listen at "tcp://127.0.0.1:8080" (or without "tcp://"; port 0: any free one).
 *
 * Does not await; from any thread. options may be NULL.
 * Returns  0; *l is the caller's.  -EINVAL, -ENOTSUP (a host name, another scheme), -EADDRINUSE,
 *          -EACCES, -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM, ...
 */
WEFT_API WEFT_MUST_CHECK int weft_listen(weft_listener **l, const char *address,
                                         const weft_listen_options *options);
WEFT_API WEFT_MUST_CHECK int weft_tcp_listen(weft_listener **l, const weft_addr *address,
                                             const weft_listen_options *options);

/*
 * weft_accept - the next connection.
 *
 * Any number of tasks may wait on one listener; they are served first come, first served. When the
 * process has no descriptor or memory left, or is refused again and again, it waits and tries
 * again, every 100 ms at last.
 * Awaits   until a connection is there.
 * Cancel   safe: no connection is lost.
 * Returns  0; *s is the caller's.  -ESHUTDOWN (aborted or closed), -ECANCELED, -ETIMEDOUT, -EPERM.
 *          What accept(2) may say of the listener itself, negated.
 *          The future polled by hand on a plain thread cannot wait for descriptors: -EMFILE, ...
 */
WEFT_API WEFT_MUST_CHECK int weft_accept(weft_listener *l, weft_stream **s);
WEFT_API weft_future weft_accept_future(weft_listener *l, weft_stream **s);

/* Waiting tasks get -ESHUTDOWN, and so does who comes later; the handle stays. NULL is ignored. */
WEFT_API void weft_listener_abort(weft_listener *l);
/* The same, and consume the handle. */
WEFT_API int weft_listener_close(weft_listener *l);
WEFT_API int weft_listener_addr(const weft_listener *l, weft_addr *a);
WEFT_API int weft_listener_fd(const weft_listener *l);

typedef struct weft_connect_options {
    weft_switch nodelay;    /* default on */
    const weft_addr *local; /* bind to it first; NULL: any */
    int receive_buffer;
    int send_buffer;
    uintptr_t spare_[4]; /* zero */
} weft_connect_options;

/*
 * weft_connect - connect to "tcp://127.0.0.1:8080" (or without "tcp://"). Numeric addresses only: a host
 * name gives -ENOTSUP, as does another scheme.
 *
 * Awaits   until connected.  Cancel: safe, nothing stays behind.
 * Returns  0; *s is the caller's.  -ECONNREFUSED, ..., -ECANCELED, -ETIMEDOUT, -EPERM, -EINVAL,
 *          -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM, -ENOSPC (fs.epoll.max_user_watches)
 */
WEFT_API WEFT_MUST_CHECK int weft_connect(weft_stream **s, const char *address);
WEFT_API WEFT_MUST_CHECK int weft_tcp_connect(weft_stream **s, const weft_addr *address,
                                              const weft_connect_options *options);
/* The address (or its text, which is read at the first poll) and the options are borrowed until the
 * future is ready or dropped. */
WEFT_API weft_future weft_connect_future(weft_stream **s, const char *address);
WEFT_API weft_future weft_tcp_connect_future(weft_stream **s, const weft_addr *address,
                                             const weft_connect_options *options);

WEFT_API int weft_stream_peer(const weft_stream *s, weft_addr *a);
WEFT_API int weft_stream_local(const weft_stream *s, weft_addr *a);

/* Options of a stream: 0 or a negative errno. get calls return the value. */
WEFT_API int weft_stream_set_nodelay(weft_stream *s, bool on);
WEFT_API int weft_stream_get_nodelay(const weft_stream *s);
WEFT_API int weft_stream_set_linger(weft_stream *s, int seconds); /* -1: off; 0: reset on close */
WEFT_API int weft_stream_get_linger(const weft_stream *s);

typedef struct weft_keepalive {
    bool on;
    unsigned idle_seconds;     /* 0: the system's */
    unsigned interval_seconds; /* 0: the system's */
    unsigned count;            /* 0: the system's */
} weft_keepalive;

WEFT_API int weft_stream_set_keepalive(weft_stream *s, const weft_keepalive *k);
WEFT_API int weft_stream_get_keepalive(const weft_stream *s, weft_keepalive *k);
WEFT_API int weft_stream_set_receive_buffer(weft_stream *s, int bytes);
WEFT_API int weft_stream_get_receive_buffer(const weft_stream *s);
WEFT_API int weft_stream_set_send_buffer(weft_stream *s, int bytes);
WEFT_API int weft_stream_get_send_buffer(const weft_stream *s);
WEFT_API int weft_stream_take_error(weft_stream *s); /* SO_ERROR, negated; 0 if none */

#ifdef __cplusplus
}
#endif

#endif
