/* SPDX-License-Identifier: MIT */
/*
 * stream.c - reading and writing: try first, wait when it would block.
 *
 * IDEA     Every operation is a transfer: parts to move and how much to move before it is done. The
 *          straight-line calls loop over try and wait on the fiber's stack; the futures hold the same
 *          transfer in their words.
 * INVARIANTS
 *     T1   A short transfer (0 < n < asked) on TCP means that the kernel has no more for now: readiness
 *          is not restored, so the next call waits without an EAGAIN. An event that came meanwhile
 *          has set it again, and a hang-up or urgent data keeps it set (registration.c). Nothing else
 *          is trusted so far: a terminal gives one line at a time, a socket of messages one
 *          message, a Unix socket stops where descriptors were passed.
 *     T2   wf_io_end is the last touch of the stream by an operation.
 */
#include "net/stream.h"

#include "base/log.h"
#include "base/sys.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/stat.h>

struct transfer {
    struct wf_io *io;

    union {
        char *bytes; /* one piece: moves forward */
        const struct iovec *parts;
    } at;

    size_t left;  /* bytes, or the number of parts */
    size_t moved; /* so far */
    uint32_t kind;
};

enum {
    TRANSFER_WRITE = 1,
    TRANSFER_VECTOR = 2,
    TRANSFER_ALL = 4, /* until left is 0, or the end of the stream */
    TRANSFER_BEGUN = 8,
    TRANSFER_READY = 16 /* begun, but out of budget before the first try */
};

_Static_assert(sizeof(struct transfer) + sizeof(uintptr_t) <= sizeof(((weft_future *)0)->words),
               "a transfer and its waiter must fit into a future");

static enum wf_io_direction transfer_way(const struct transfer *t)
{
    return t->kind & TRANSFER_WRITE ? WF_IO_WRITE : WF_IO_READ;
}

static ssize_t transfer_call(const struct transfer *t)
{
    int fd = t->io->fd, count = t->left > INT_MAX ? INT_MAX : (int)t->left;
    bool socket = t->io->is_socket;

    if (t->kind & TRANSFER_VECTOR) {
        if (t->kind & TRANSFER_WRITE)
            return socket ? wf_sys_sendv(fd, t->at.parts, count)
                          : wf_sys_writev(fd, t->at.parts, count);
        return wf_sys_readv(fd, t->at.parts, count);
    }
    if (t->kind & TRANSFER_WRITE)
        return socket ? wf_sys_send(fd, t->at.bytes, t->left)
                      : wf_sys_write(fd, t->at.bytes, t->left);
    return socket ? wf_sys_recv(fd, t->at.bytes, t->left) : wf_sys_read(fd, t->at.bytes, t->left);
}

static size_t transfer_asked(const struct transfer *t)
{
    size_t sum = 0;

    if (!(t->kind & TRANSFER_VECTOR))
        return t->left;
    for (size_t i = 0; i < t->left; i++)
        sum += t->at.parts[i].iov_len;
    return sum;
}

enum transfer_step { TRANSFER_DONE, TRANSFER_WAIT };

/*
 * Move what can be moved now. DONE: *result is set and *ready says whether more could follow.
 * WAIT: nothing more for now.
 */
static enum transfer_step transfer_try(struct transfer *t, ssize_t *result, bool *ready)
{
    for (;;) {
        ssize_t n = transfer_call(t);

        if (n == -EINTR)
            continue;
        if (n == -EAGAIN)
            return TRANSFER_WAIT;
        /* An end that an abort made must not pass for one that the peer made. */
        if (wf_unlikely(n <= 0) && wf_io_is_refused(t->io, transfer_way(t)))
            n = -ESHUTDOWN;
        *ready = n <= 0 || !t->io->short_is_all || (size_t)n == transfer_asked(t);
        if (!(t->kind & TRANSFER_ALL)) {
            *result = n;
            return TRANSFER_DONE;
        }
        if (n > 0) {
            t->moved += (size_t)n;
            t->at.bytes += n;
            t->left -= (size_t)n;
        }
        if (n <= 0 || t->left == 0) {
            *result = n < 0 ? n : (ssize_t)t->moved;
            return TRANSFER_DONE;
        }
        /* A short one: the kernel has no more (T1). */
        if (t->io->short_is_all && !wf_load_u32(&t->io->hangup, WF_RELAXED))
            return TRANSFER_WAIT;
    }
}

static ssize_t transfer_run(struct wf_fiber *f, struct transfer *t)
{
    enum wf_io_direction way = transfer_way(t);
    struct wf_io *io = t->io;
    ssize_t result = 0;
    bool ready;
    int rc = wf_io_begin(io, way, &ready);

    if (wf_unlikely(rc < 0))
        return rc;
    for (;;) {
        if (ready && transfer_try(t, &result, &ready) == TRANSFER_DONE) {
            wf_io_end(io, way, ready);
            return result;
        }
        rc = wf_io_wait(f, io, way);
        if (wf_unlikely(rc < 0)) {
            wf_io_end(io, way, true);
            return rc;
        }
        ready = true;
    }
}

/* The straight-line calls. */
static ssize_t stream_transfer(const char *call, weft_stream *s, void *bytes, size_t size,
                               uint32_t kind)
{
    struct transfer t;
    struct wf_fiber *f;
    int rc;

    if (wf_unlikely(!s || (!bytes && size) || size > SSIZE_MAX))
        return wf_misuse(-EINVAL, "%s: NULL stream or memory, or too much of it", call);
    rc = wf_await_enter(&f, call);
    if (wf_unlikely(rc < 0))
        return rc;
    if (wf_unlikely(size == 0))
        return 0;
    t = (struct transfer){.io = &s->io, .at.bytes = bytes, .left = size, .kind = kind};
    return transfer_run(f, &t);
}

static bool stream_parts_valid(const weft_stream *s, const struct iovec *parts, int count)
{
    return s && parts && count > 0 && count <= IOV_MAX;
}

static ssize_t stream_transfer_parts(const char *call, weft_stream *s, const struct iovec *parts,
                                     int count, uint32_t kind)
{
    struct transfer t;
    struct wf_fiber *f;
    int rc;

    if (!stream_parts_valid(s, parts, count))
        return wf_misuse(-EINVAL, "%s: NULL, or not 1 to %d parts", call, IOV_MAX);
    rc = wf_await_enter(&f, call);
    if (rc < 0)
        return rc;
    t = (struct transfer){
        .io = &s->io, .at.parts = parts, .left = (size_t)count, .kind = kind | TRANSFER_VECTOR};
    return transfer_run(f, &t);
}

ssize_t weft_read(weft_stream *s, void *buffer, size_t size)
{
    return stream_transfer("weft_read", s, buffer, size, 0);
}

ssize_t weft_readv(weft_stream *s, const struct iovec *parts, int count)
{
    return stream_transfer_parts("weft_readv", s, parts, count, 0);
}

ssize_t weft_write(weft_stream *s, const void *data, size_t size)
{
    return stream_transfer("weft_write", s, wf_unconst(data), size, TRANSFER_WRITE);
}

ssize_t weft_writev(weft_stream *s, const struct iovec *parts, int count)
{
    return stream_transfer_parts("weft_writev", s, parts, count, TRANSFER_WRITE);
}

ssize_t weft_read_exact(weft_stream *s, void *buffer, size_t size)
{
    return stream_transfer("weft_read_exact", s, buffer, size, TRANSFER_ALL);
}

ssize_t weft_write_all(weft_stream *s, const void *data, size_t size)
{
    return stream_transfer("weft_write_all", s, wf_unconst(data), size,
                           TRANSFER_WRITE | TRANSFER_ALL);
}

/* The same as futures. */
struct transfer_future {
    struct transfer t;
    uintptr_t target; /* the armed waiter; wf_io_poll_ready's */
};

static struct transfer_future *transfer_of(weft_future *f)
{
    return (struct transfer_future *)(void *)f->words;
}

static weft_poll transfer_finish(weft_future *f, ssize_t result, bool ready)
{
    struct transfer *t = &transfer_of(f)->t;

    t->kind &= ~(uint32_t)(TRANSFER_BEGUN | TRANSFER_READY);
    wf_io_end(t->io, transfer_way(t), ready);
    f->result = result;
    return WEFT_READY;
}

static weft_poll transfer_poll(weft_future *f, weft_context *cx)
{
    struct transfer_future *tf = transfer_of(f);
    struct transfer *t = &tf->t;
    ssize_t result = 0;
    bool ready = true;
    int rc;

    if (!(t->kind & TRANSFER_BEGUN)) {
        rc = wf_io_begin(t->io, transfer_way(t), &ready);
        if (rc < 0) {
            f->result = rc;
            return WEFT_READY;
        }
        t->kind |= TRANSFER_BEGUN;
        /* Begun all the same: from its first poll on it is in flight, and keeps the stream's memory. */
        if (!wf_coop_proceed(cx)) {
            t->kind |= ready ? TRANSFER_READY : 0;
            return WEFT_PENDING;
        }
    } else if (t->kind & TRANSFER_READY) {
        t->kind &= ~(uint32_t)TRANSFER_READY;
        if (wf_io_is_refused(t->io, transfer_way(t)))
            return transfer_finish(f, -ESHUTDOWN, true);
    } else if (wf_io_poll_ready(t->io, transfer_way(t), &tf->target, cx, &rc) == WEFT_PENDING) {
        return WEFT_PENDING;
    } else if (rc < 0) {
        return transfer_finish(f, rc, true);
    }
    for (;;) {
        if (ready && transfer_try(t, &result, &ready) == TRANSFER_DONE)
            return transfer_finish(f, result, ready);
        if (wf_io_poll_ready(t->io, transfer_way(t), &tf->target, cx, &rc) == WEFT_PENDING)
            return WEFT_PENDING;
        if (rc < 0)
            return transfer_finish(f, rc, true);
        ready = true;
    }
}

static void transfer_drop(weft_future *f)
{
    struct transfer_future *tf = transfer_of(f);

    if (!(tf->t.kind & TRANSFER_BEGUN))
        return;
    wf_io_cancel(tf->t.io, transfer_way(&tf->t), &tf->target);
    transfer_finish(f, -ECANCELED, true);
}

static const weft_future_type transfer_type = {transfer_poll, transfer_drop, "transfer"};

static weft_future transfer_future(const char *call, weft_stream *s, void *bytes, size_t size,
                                   uint32_t kind)
{
    weft_future f = {.type = &transfer_type};

    if (!s || (!bytes && size) || size > SSIZE_MAX)
        return weft_ready_future(wf_misuse(-EINVAL, "%s: NULL stream or memory", call));
    if (size == 0)
        return weft_ready_future(0);
    transfer_of(&f)->t = (struct transfer){
        .io = &s->io, .at.bytes = bytes, .left = size, .kind = kind};
    return f;
}

static weft_future transfer_parts_future(const char *call, weft_stream *s,
                                         const struct iovec *parts, int count, uint32_t kind)
{
    weft_future f = {.type = &transfer_type};

    if (!stream_parts_valid(s, parts, count))
        return weft_ready_future(
            wf_misuse(-EINVAL, "%s: NULL, or not 1 to %d parts", call, IOV_MAX));
    transfer_of(&f)->t = (struct transfer){
        .io = &s->io, .at.parts = parts, .left = (size_t)count, .kind = kind | TRANSFER_VECTOR};
    return f;
}

weft_future weft_read_future(weft_stream *s, void *buffer, size_t size)
{
    return transfer_future("weft_read_future", s, buffer, size, 0);
}

weft_future weft_readv_future(weft_stream *s, const struct iovec *parts, int count)
{
    return transfer_parts_future("weft_readv_future", s, parts, count, 0);
}

weft_future weft_write_future(weft_stream *s, const void *data, size_t size)
{
    return transfer_future("weft_write_future", s, wf_unconst(data), size, TRANSFER_WRITE);
}

weft_future weft_writev_future(weft_stream *s, const struct iovec *parts, int count)
{
    return transfer_parts_future("weft_writev_future", s, parts, count, TRANSFER_WRITE);
}

weft_future weft_read_exact_future(weft_stream *s, void *buffer, size_t size)
{
    return transfer_future("weft_read_exact_future", s, buffer, size, TRANSFER_ALL);
}

weft_future weft_write_all_future(weft_stream *s, const void *data, size_t size)
{
    return transfer_future("weft_write_all_future", s, wf_unconst(data), size,
                           TRANSFER_WRITE | TRANSFER_ALL);
}

/* Handles. */
struct weft_stream *wf_stream_new(int fd, bool is_tcp)
{
    struct wf_io *io = wf_io_new(fd, is_tcp);

    return io ? wf_stream_of_io(io) : NULL;
}

int weft_stream_from_fd(weft_stream **s, int fd)
{
    struct weft_stream *stream;
    int protocol = 0, rc;
    socklen_t size = sizeof(protocol);
    bool is_socket;

    if (!s || fd < 0)
        return wf_misuse(-EINVAL, "weft_stream_from_fd: s is NULL or fd is negative");
    rc = wf_sys_set_nonblocking(fd);
    if (rc < 0)
        return rc;
    is_socket = wf_sys_getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0;
    stream = wf_stream_new(fd, is_socket && protocol == IPPROTO_TCP);
    if (!stream)
        return -ENOMEM;
    stream->io.is_socket = is_socket;
    *s = stream;
    return 0;
}

int weft_stream_into_fd(weft_stream *s)
{
    return s ? wf_io_detach(&s->io) : wf_misuse(-EINVAL, "weft_stream_into_fd: s is NULL");
}

int weft_stream_fd(const weft_stream *s)
{
    return s ? s->io.fd : wf_misuse(-EINVAL, "weft_stream_fd: s is NULL");
}

int weft_shutdown(weft_stream *s, int how)
{
    if (!s)
        return wf_misuse(-EINVAL, "weft_shutdown: s is NULL");
    return wf_sys_shutdown(s->io.fd, how);
}

void weft_stream_abort(weft_stream *s)
{
    if (s)
        wf_io_abort(&s->io);
}

int weft_close(weft_stream *s)
{
    if (s)
        wf_io_close(&s->io);
    return 0;
}
