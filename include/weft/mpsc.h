/* SPDX-License-Identifier: MIT */
/*
 * weft/mpsc.h - a queue of values: many send, one receives, each value is received once.
 *
 * A bounded channel holds at most `capacity` values, and a send waits while it is full. Its memory is taken
 * when it is made: sending never fails for want of it. An unbounded one grows as it needs, and a send never waits.
 *
 * Values arrive in the order in which they were sent. Senders that wait are served first come, first served, and
 * nobody overtakes them. A channel that is full gives the room of each value received to who waits first;
 * so a send that is cancelled has certainly sent nothing.
 *
 * Senders are counted. The channel is closed when none is left, or when the receiver has closed or shut it down; what
 * is queued then can still be received, unless the receiver is closed.
 *
 * Everything here may be called from any thread, in a task or not, but for the straight-line calls that await
 * (weft_send, weft_recv, weft_reserve..., weft_sender_closed), which need a fiber. Stackless tasks use the _future
 * forms, plain threads those that end in _blocking. A handle that is NULL gives -EINVAL.
 */
#ifndef WEFT_MPSC_H
#define WEFT_MPSC_H

#include <weft/channel.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_sender weft_sender;
typedef struct weft_receiver weft_receiver;
typedef struct weft_weak_sender weft_weak_sender;

#define WEFT_MPSC_CAPACITY_MAX ((size_t)1 << 31)

/*
 * weft_mpsc_new - make a channel of `capacity` values of item_size bytes each.
 *
 * tx, rx      the two ends, to be closed by weft_sender_close and weft_receiver_close.
 * item_size   may be 0: then a value is a mere signal, and the pointers to it may be NULL.
 * capacity    1 to WEFT_MPSC_CAPACITY_MAX.
 *
 * Returns     0, -EINVAL, -ENOMEM
 */
WEFT_API WEFT_MUST_CHECK int weft_mpsc_new(weft_sender **tx, weft_receiver **rx, size_t item_size,
                                           size_t capacity);

/* Without a limit, but for those in the options. 0, -EINVAL, -ENOMEM. */
WEFT_API WEFT_MUST_CHECK int weft_mpsc_unbounded(weft_sender **tx, weft_receiver **rx,
                                                 size_t item_size);

/* With a name, a destroy function, ... (weft/channel.h). options is borrowed until return and may be NULL. max_items
 * and max_bytes are for unbounded channels: -EINVAL with a capacity. */
WEFT_API WEFT_MUST_CHECK int weft_mpsc_new_with(weft_sender **tx, weft_receiver **rx,
                                                size_t item_size, size_t capacity,
                                                const weft_channel_options *options);
WEFT_API WEFT_MUST_CHECK int weft_mpsc_unbounded_with(weft_sender **tx, weft_receiver **rx,
                                                      size_t item_size,
                                                      const weft_channel_options *options);

/* --- sending ---------------------------------------------------------------------------- */

/*
 * weft_send - append a copy of *msg.
 *
 * tx       borrowed. Any number of tasks may send by one handle at a time.
 * msg      borrowed until return; item_size bytes of it are copied. What the value owns is the channel's once 0 is
 *          returned, and still the caller's otherwise.
 *
 * Awaits   while a bounded channel is full.
 * Cancel   safe: on -ECANCELED and -ETIMEDOUT nothing was sent; the place in the line is given up.
 * Returns  0
 *          -EPIPE       the receiver is closed or shut down
 *          -ENOMEM      an unbounded channel found no memory to grow
 *          -ENOBUFS     an unbounded channel holds as many as its options allow
 *          -ESHUTDOWN   all senders were closed while this one waited, which is a mistake
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await; -EINVAL
 * Order    what was written before the call is visible to whoever receives the value.
 */
WEFT_API WEFT_MUST_CHECK int weft_send(weft_sender *tx, const void *msg);

/* Never waits: -EAGAIN when the channel is full, or others wait already. Else as weft_send. */
WEFT_API WEFT_MUST_CHECK int weft_try_send(weft_sender *tx, const void *msg);

/* From a plain thread, which is blocked while the channel is full. -EDEADLK inside a task. */
WEFT_API WEFT_MUST_CHECK int weft_send_blocking(weft_sender *tx, const void *msg);

/* msg is read when there is room, and is borrowed until the future is ready or dropped. */
WEFT_API weft_future weft_send_future(weft_sender *tx, const void *msg);

/* --- receiving -------------------------------------------------------------------------- */

/*
 * weft_recv - take the oldest value out of the channel.
 *
 * rx       borrowed. One task or thread at a time: a second one gets -EBUSY while the first waits. (Two calls in the
 *          same instant on two threads are a mistake. As a rule, and always in debug builds, one gets
 *          -EBUSY.)
 * msg      item_size bytes, written when 1 is returned.
 *
 * Awaits   while the channel is empty and open, or permits are outstanding.
 * Cancel   safe: on -ECANCELED and -ETIMEDOUT nothing was taken.
 * Returns  1            *msg is the next value; what it owns is the caller's
 *          0            the channel is closed and drained, and nobody holds a permit: there will be no more
 *          -EBUSY       another one receives
 *          -ESHUTDOWN   the receiver was closed while this call waited, which is a mistake
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await; -EINVAL
 */
WEFT_API WEFT_MUST_CHECK int weft_recv(weft_receiver *rx, void *msg);

/* Never waits: -EAGAIN when there is nothing now. It finds every value whose send has returned. */
WEFT_API WEFT_MUST_CHECK int weft_try_recv(weft_receiver *rx, void *msg);
WEFT_API WEFT_MUST_CHECK int weft_recv_blocking(weft_receiver *rx, void *msg);
WEFT_API weft_future weft_recv_future(weft_receiver *rx, void *msg);

/*
 * weft_recv_many - take up to n values at once; it waits for the first one only.
 *
 * msgs     an array of n values.
 * Returns  how many, at least 1; 0 when the channel is closed and drained, or n is 0; errors as weft_recv
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_recv_many(weft_receiver *rx, void *msgs, size_t n);
WEFT_API WEFT_MUST_CHECK ssize_t weft_try_recv_many(weft_receiver *rx, void *msgs, size_t n);
WEFT_API WEFT_MUST_CHECK ssize_t weft_recv_many_blocking(weft_receiver *rx, void *msgs, size_t n);
WEFT_API weft_future weft_recv_many_future(weft_receiver *rx, void *msgs, size_t n);

/* --- permits ---------------------------------------------------------------------------- */

/*
 * Room that was reserved: as many sends as it counts cannot fail and do not wait. A value: it may be moved, but not
 * copied and used twice. One task or thread at a time. Zero is an empty one.
 */
typedef struct weft_permit {
    void *channel_; /* do not touch */
    size_t count_;  /* do not touch */
    bool owned_;    /* do not touch */
    uintptr_t spare_[1];
} weft_permit;

/*
 * weft_reserve - wait for room for one value, or for n of them at once.
 *
 * p        must be empty or unset; written when 0 is returned. It must be released, also when it is used up.
 * n        0 gives an empty permit at once; more than the capacity is -EINVAL.
 *
 * Awaits   as long as there is no room. It counts as one in the line, however large n is.
 * Cancel   safe: nothing is reserved.
 * Returns  as weft_send
 */
WEFT_API WEFT_MUST_CHECK int weft_reserve(weft_sender *tx, weft_permit *p);
WEFT_API WEFT_MUST_CHECK int weft_reserve_many(weft_sender *tx, size_t n, weft_permit *p);

/* A permit that counts as a sender by itself: the channel stays open until it is released. */
WEFT_API WEFT_MUST_CHECK int weft_reserve_owned(weft_sender *tx, weft_permit *p);

WEFT_API WEFT_MUST_CHECK int weft_try_reserve(weft_sender *tx, weft_permit *p);
WEFT_API WEFT_MUST_CHECK int weft_try_reserve_many(weft_sender *tx, size_t n, weft_permit *p);
WEFT_API WEFT_MUST_CHECK int weft_try_reserve_owned(weft_sender *tx, weft_permit *p);
WEFT_API WEFT_MUST_CHECK int weft_reserve_blocking(weft_sender *tx, weft_permit *p);
WEFT_API WEFT_MUST_CHECK int weft_reserve_many_blocking(weft_sender *tx, size_t n, weft_permit *p);
WEFT_API WEFT_MUST_CHECK int weft_reserve_owned_blocking(weft_sender *tx, weft_permit *p);

/* p is written when the future is ready with 0, and is borrowed until it is ready or dropped. */
WEFT_API weft_future weft_reserve_future(weft_sender *tx, weft_permit *p);
WEFT_API weft_future weft_reserve_many_future(weft_sender *tx, size_t n, weft_permit *p);
WEFT_API weft_future weft_reserve_owned_future(weft_sender *tx, weft_permit *p);

/* Send a copy of *msg on reserved room. 0, also when the receiver was shut down meanwhile; when it is closed, the
 * value is destroyed. -EINVAL: nothing is left of the permit. */
WEFT_API int weft_permit_send(weft_permit *p, const void *msg);

/* How many sends are left. */
WEFT_API size_t weft_permit_count(const weft_permit *p);

/* Give back what is left, and with an owned one the sender. The permit is empty afterwards. NULL and empty ones are
 * ignored. */
WEFT_API void weft_permit_release(weft_permit *p);

/* Is it for the channel of this handle? */
WEFT_API bool weft_permit_same_channel(const weft_permit *p, const weft_sender *tx);
WEFT_API bool weft_permit_same_channel_as_receiver(const weft_permit *p, const weft_receiver *rx);
WEFT_API bool weft_permit_same_channel_as_weak_sender(const weft_permit *p,
                                                      const weft_weak_sender *weak);

/* --- the ends --------------------------------------------------------------------------- */

/* One more sender; NULL for NULL. It cannot fail. */
WEFT_API weft_sender *weft_sender_clone(weft_sender *tx);

/* Consumes the handle; NULL is ignored. The last one closes the channel. */
WEFT_API void weft_sender_close(weft_sender *tx);

/* A handle that does not keep the channel open. It cannot fail; NULL for NULL. */
WEFT_API weft_weak_sender *weft_sender_downgrade(weft_sender *tx);

/* A sender again; NULL when none was left, so that the channel is closed. The weak handle stays. */
WEFT_API weft_sender *weft_weak_sender_upgrade(weft_weak_sender *weak);
WEFT_API weft_weak_sender *weft_weak_sender_clone(weft_weak_sender *weak);
WEFT_API void weft_weak_sender_close(weft_weak_sender *weak);

/* Consumes the handle; NULL is ignored. Queued values are destroyed, and senders get -EPIPE from here on. */
WEFT_API void weft_receiver_close(weft_receiver *rx);

/* From here on senders get -EPIPE, but who holds a permit may use it; what is queued can be received. From any thread,
 * also while another one receives. */
WEFT_API void weft_receiver_shutdown(weft_receiver *rx);

/*
 * weft_sender_closed - wait until the receiver is closed or shut down.
 *
 * Awaits   until then; any number of tasks may.
 * Cancel   safe.
 * Returns  0; -ESHUTDOWN when all senders were closed meanwhile, which is a mistake;
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await; -EINVAL
 */
WEFT_API WEFT_MUST_CHECK int weft_sender_closed(weft_sender *tx);
WEFT_API WEFT_MUST_CHECK int weft_sender_closed_blocking(weft_sender *tx);
WEFT_API weft_future weft_sender_closed_future(weft_sender *tx);

/* --- what is so at this moment ---------------------------------------------------------- */

/* Is the receiver closed or shut down? True for NULL. */
WEFT_API bool weft_sender_is_closed(const weft_sender *tx);

/* The same, or are all senders closed? Values may still be queued. */
WEFT_API bool weft_receiver_is_closed(const weft_receiver *rx);
WEFT_API bool weft_receiver_is_empty(const weft_receiver *rx);
WEFT_API size_t weft_receiver_len(const weft_receiver *rx);

/* How many a newcomer may send without waiting: it falls with permits, and is 0 while others wait. SIZE_MAX: no
 * limit. */
WEFT_API size_t weft_sender_capacity(const weft_sender *tx);
WEFT_API size_t weft_receiver_capacity(const weft_receiver *rx);

/* As it was made; SIZE_MAX: unbounded. */
WEFT_API size_t weft_sender_max_capacity(const weft_sender *tx);
WEFT_API size_t weft_receiver_max_capacity(const weft_receiver *rx);

WEFT_API bool weft_sender_same_channel(const weft_sender *a, const weft_sender *b);

/* How many senders there are, owned permits among them, and how many weak ones. */
WEFT_API size_t weft_sender_strong_count(const weft_sender *tx);
WEFT_API size_t weft_sender_weak_count(const weft_sender *tx);
WEFT_API size_t weft_weak_sender_strong_count(const weft_weak_sender *weak);
WEFT_API size_t weft_weak_sender_weak_count(const weft_weak_sender *weak);
WEFT_API size_t weft_receiver_strong_count(const weft_receiver *rx);
WEFT_API size_t weft_receiver_weak_count(const weft_receiver *rx);

/* 0, -EINVAL. depth_max is exact up to 64, and a sixty-fourth too small at most beyond that. */
WEFT_API int weft_sender_get_info(const weft_sender *tx, weft_channel_info *info);
WEFT_API int weft_sender_get_info_sized(const weft_sender *tx, weft_channel_info *info,
                                        size_t size);
WEFT_API int weft_receiver_get_info(const weft_receiver *rx, weft_channel_info *info);
WEFT_API int weft_receiver_get_info_sized(const weft_receiver *rx, weft_channel_info *info,
                                          size_t size);
#define weft_sender_get_info(...) weft_sender_get_info_sized(__VA_ARGS__, sizeof(weft_channel_info))
#define weft_receiver_get_info(...) \
 weft_receiver_get_info_sized(__VA_ARGS__, sizeof(weft_channel_info))

#ifdef __cplusplus
}
#endif

#endif
