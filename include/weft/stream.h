/* SPDX-License-Identifier: MIT */
/*
 * weft/stream.h - byte streams: one handle and one set of calls for all of them.
 *
 * One reader task and one writer task may use a stream at the same time. Every call tries
 * the operation first and suspends the task only when it would block.
 */
#ifndef WEFT_STREAM_H
#define WEFT_STREAM_H

#include <sys/uio.h>
#include <weft/future.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_stream weft_stream;

/*
 * weft_read - read at most size bytes.
 *
 * Awaits   until at least one byte, end of stream or an error is there.
 * Cancel   safe: on -ECANCELED or -ETIMEDOUT nothing was read.
 * Returns  the count; 0 at the end of the stream (or when size is 0)
 *          -EBUSY       another task is reading
 *          -ESHUTDOWN   the stream was aborted
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await; -EINVAL
 *          -ENOMEM, -ENOSPC   it would have to wait, and the kernel has no room to register the
 *                       descriptor (memory, fs.epoll.max_user_watches); nothing was read
 *          what read(2) may say, negated: -ECONNRESET, ...
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_read(weft_stream *s, void *buffer, size_t size);
WEFT_API WEFT_MUST_CHECK ssize_t weft_readv(weft_stream *s, const struct iovec *parts, int count);

/* Write at most size bytes; returns the count, at least 1 unless size is 0. Else as weft_read; -EPIPE
 * when the peer has closed. No signal is raised. */
WEFT_API WEFT_MUST_CHECK ssize_t weft_write(weft_stream *s, const void *data, size_t size);
WEFT_API WEFT_MUST_CHECK ssize_t weft_writev(weft_stream *s, const struct iovec *parts, int count);

/* Read exactly size bytes. Returns size; fewer when the stream ended before; else a negative
 * errno. Not cancel-safe: what was read before an error is in the buffer, its length is lost. */
WEFT_API WEFT_MUST_CHECK ssize_t weft_read_exact(weft_stream *s, void *buffer, size_t size);

/* Write all size bytes. Returns size or a negative errno. Not cancel-safe: some bytes may
 * have been sent. */
WEFT_API WEFT_MUST_CHECK ssize_t weft_write_all(weft_stream *s, const void *data, size_t size);

/* As futures: the stream and the memory are borrowed until the future is ready or dropped. */
WEFT_API weft_future weft_read_future(weft_stream *s, void *buffer, size_t size);
WEFT_API weft_future weft_readv_future(weft_stream *s, const struct iovec *parts, int count);
WEFT_API weft_future weft_write_future(weft_stream *s, const void *data, size_t size);
WEFT_API weft_future weft_writev_future(weft_stream *s, const struct iovec *parts, int count);
WEFT_API weft_future weft_read_exact_future(weft_stream *s, void *buffer, size_t size);
WEFT_API weft_future weft_write_all_future(weft_stream *s, const void *data, size_t size);

/* As shutdown(2): how is SHUT_RD, SHUT_WR or SHUT_RDWR. Does not await. */
WEFT_API int weft_shutdown(weft_stream *s, int how);

/* Wake whoever waits on the stream with -ESHUTDOWN; later calls answer the same. The handle stays
 * valid. From any task or thread. */
WEFT_API void weft_stream_abort(weft_stream *s);

/* Consume the handle. The descriptor is closed when the last operation in flight has left; such
 * operations return -ESHUTDOWN. NULL is ignored. Does not await. Returns 0 or a negative errno. */
WEFT_API int weft_close(weft_stream *s);

/* The descriptor, borrowed. */
WEFT_API int weft_stream_fd(const weft_stream *s);

/* Make a stream of a descriptor (a connected socket, a pipe end, a terminal). It is made
 * non-blocking; on success the stream owns it. -EINVAL, -EBADF, -ENOMEM. */
WEFT_API WEFT_MUST_CHECK int weft_stream_from_fd(weft_stream **s, int fd);

/* Consume the handle and give the descriptor back, still non-blocking. -EBUSY while an operation is
 * in flight; then nothing is consumed. */
WEFT_API int weft_stream_into_fd(weft_stream *s);

#ifdef __cplusplus
}
#endif

#endif
