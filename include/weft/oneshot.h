/* SPDX-License-Identifier: MIT */
/*
 * weft/oneshot.h - a channel for one value: the answer to a request.
 *
 * Sending never waits and needs no memory. Both ends are single: the sender is used up by its send, or
 * closed without one; the receiver is closed in any case. The memory goes with the second of them.
 *
 * Everything here may be called from any thread, in a task or not, but for the straight-line calls that await
 * (weft_oneshot_recv, weft_oneshot_sender_closed), which need a fiber. A handle that is NULL gives -EINVAL.
 */
#ifndef WEFT_ONESHOT_H
#define WEFT_ONESHOT_H

#include <weft/channel.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_oneshot_sender weft_oneshot_sender;
typedef struct weft_oneshot_receiver weft_oneshot_receiver;

/* A channel for a value of item_size bytes. If that is 0 the value is a mere signal, and the pointers to it may be
 * NULL. 0, -EINVAL, -ENOMEM. */
WEFT_API WEFT_MUST_CHECK int weft_oneshot_new(weft_oneshot_sender **tx, weft_oneshot_receiver **rx,
                                              size_t item_size);

/* With a name and a destroy function (weft/channel.h); the other options are for queues: -EINVAL. options is borrowed
 * until return and may be NULL. */
WEFT_API WEFT_MUST_CHECK int weft_oneshot_new_with(weft_oneshot_sender **tx,
                                                   weft_oneshot_receiver **rx, size_t item_size,
                                                   const weft_channel_options *options);

/*
 * weft_oneshot_send - send a copy of *value. Never waits.
 *
 * tx       consumed, whatever is returned (but not by -EINVAL).
 * value    item_size bytes, borrowed until return. What it owns is the channel's once 0 is returned, and still
 *          the caller's otherwise.
 *
 * Returns  0; -EPIPE when the receiver is closed or shut down; -EINVAL
 * Order    what was written before the call is visible to whoever receives the value.
 */
WEFT_API int weft_oneshot_send(weft_oneshot_sender *tx, const void *value);

/* Consumes the sender without a value: who waits for one gets 0. NULL is ignored. */
WEFT_API void weft_oneshot_sender_close(weft_oneshot_sender *tx);

/*
 * weft_oneshot_recv - wait for the value.
 *
 * rx       borrowed: it is to be closed afterwards. One task or thread at a time: a second one gets -EBUSY while the
 *          first waits.
 * value    item_size bytes, written when 1 is returned.
 *
 * Awaits   until it was sent, or the sender is closed.
 * Cancel   safe: on -ECANCELED and -ETIMEDOUT the value is not lost.
 * Returns  1            *value is the value; what it owns is the caller's
 *          0            none will come: the sender was closed without one, the receiver was shut down before, or the
 *                       value has been received already
 *          -EBUSY       another one receives
 *          -ESHUTDOWN   the receiver was closed while this call waited, which is a mistake
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await; -EINVAL
 */
WEFT_API WEFT_MUST_CHECK int weft_oneshot_recv(weft_oneshot_receiver *rx, void *value);

/* Never waits: -EAGAIN when it may still come. */
WEFT_API WEFT_MUST_CHECK int weft_oneshot_try_recv(weft_oneshot_receiver *rx, void *value);

/* From a plain thread, which is blocked until then. -EDEADLK inside a task. */
WEFT_API WEFT_MUST_CHECK int weft_oneshot_recv_blocking(weft_oneshot_receiver *rx, void *value);

/* rx and value are borrowed until the future is ready or dropped. */
WEFT_API weft_future weft_oneshot_recv_future(weft_oneshot_receiver *rx, void *value);

/* Consumes the receiver; NULL is ignored. A value that nobody has received is destroyed. */
WEFT_API void weft_oneshot_receiver_close(weft_oneshot_receiver *rx);

/* From here on a send gets -EPIPE. A value that was sent before can still be received. From any thread, also while
 * another one receives, who gets 0 then. */
WEFT_API void weft_oneshot_receiver_shutdown(weft_oneshot_receiver *rx);

/*
 * weft_oneshot_sender_closed - wait until the receiver is closed or shut down: whoever works on the answer may stop.
 *
 * Awaits   until then. One task at a time: -EBUSY.
 * Cancel   safe.
 * Returns  0; -EBUSY; -ECANCELED, -ETIMEDOUT, -EPERM as weft_await; -EINVAL
 * Order    what was written before the receiver's end is visible to who is told of it, by this or by a refused send.
 */
WEFT_API WEFT_MUST_CHECK int weft_oneshot_sender_closed(weft_oneshot_sender *tx);
WEFT_API WEFT_MUST_CHECK int weft_oneshot_sender_closed_blocking(weft_oneshot_sender *tx);
WEFT_API weft_future weft_oneshot_sender_closed_future(weft_oneshot_sender *tx);

/* Is the receiver closed or shut down? True for NULL. */
WEFT_API bool weft_oneshot_sender_is_closed(const weft_oneshot_sender *tx);

/* Is there no value to be received at this moment? */
WEFT_API bool weft_oneshot_receiver_is_empty(const weft_oneshot_receiver *rx);

/* Will there never be one (any more)? Then a receive gives 0 at once. */
WEFT_API bool weft_oneshot_receiver_is_terminated(const weft_oneshot_receiver *rx);

/* 0, -EINVAL */
WEFT_API int weft_oneshot_sender_get_info(const weft_oneshot_sender *tx, weft_channel_info *info);
WEFT_API int weft_oneshot_sender_get_info_sized(const weft_oneshot_sender *tx,
                                                weft_channel_info *info, size_t size);
WEFT_API int weft_oneshot_receiver_get_info(const weft_oneshot_receiver *rx,
                                            weft_channel_info *info);
WEFT_API int weft_oneshot_receiver_get_info_sized(const weft_oneshot_receiver *rx,
                                                  weft_channel_info *info, size_t size);
#define weft_oneshot_sender_get_info(...) \
 weft_oneshot_sender_get_info_sized(__VA_ARGS__, sizeof(weft_channel_info))
#define weft_oneshot_receiver_get_info(...) \
 weft_oneshot_receiver_get_info_sized(__VA_ARGS__, sizeof(weft_channel_info))

#ifdef __cplusplus
}
#endif

#endif
