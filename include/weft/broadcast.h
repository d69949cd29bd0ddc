/* SPDX-License-Identifier: MIT */
/*
 * weft/broadcast.h - a channel in which every receiver gets every value.
 *
 * Sending never waits. The channel keeps the last `capacity` values; a receiver that is further behind
 * has missed some, is told exactly how many, and goes on with the oldest that is left. So one slow
 * receiver holds up nobody.
 *
 *     weft_broadcast_sender *tx;
 *     weft_broadcast_receiver *rx;
 *     struct tick tick;
 *     int rc;
 *
 *     rc = weft_broadcast_new(&tx, &rx, sizeof(struct tick), 100);
 *     ...
 *     while ((rc = weft_broadcast_recv(rx, &tick)) != 0) {
 *         if (rc == -EOVERFLOW)
 *             printf("missed %llu\n", (unsigned long long)weft_broadcast_missed(rx));
 *         else if (rc < 0)
 *             break;
 *         else
 *             show(&tick);
 *     }
 *
 * A value is the channel's from the send on, and each receiver gets the bytes of it. If it owns something
 * (memory, a count), options.copy makes each receiver a copy that is its own, and
 * options.destroy gets the channel's, once: when the last receiver has had it, when a newer value takes its
 * place, or when no receiver is left. So destroy alone is refused: what receivers have got would point
 * to what is gone.
 *
 * Sender handles may be used by any number of tasks and threads at a time. A receiver handle is for one task
 * or thread at a time: of two that wait with the same one, the second gets -EBUSY.
 */
#ifndef WEFT_BROADCAST_H
#define WEFT_BROADCAST_H

#include <weft/channel.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_broadcast_sender weft_broadcast_sender;
typedef struct weft_broadcast_receiver weft_broadcast_receiver;

/* A sender that does not keep the channel open, and must be made a sender again in order to send. */
typedef struct weft_broadcast_weak_sender weft_broadcast_weak_sender;

/*
 * weft_broadcast_new - make a channel.
 *
 * tx, rx      one handle each for the caller; rx may be NULL: nobody receives yet
 * item_size   of a value, in bytes; 0: there is nothing to it but that it was sent, and pointers to values may
 *             be NULL
 * capacity    how many values are kept for receivers that are behind: exactly so many
 * options     borrowed until return; NULL: none. max_items, max_bytes and warn_at are for queues that grow, and must
 *             be 0. With destroy there must be copy.
 *
 * Does not await; from any thread.
 * Returns  0, -ENOMEM, -EINVAL (capacity 0, options that do not belong together)
 */
WEFT_API WEFT_MUST_CHECK int weft_broadcast_new(weft_broadcast_sender **tx,
                                                weft_broadcast_receiver **rx, size_t item_size,
                                                size_t capacity);
WEFT_API WEFT_MUST_CHECK int weft_broadcast_new_with(weft_broadcast_sender **tx,
                                                     weft_broadcast_receiver **rx, size_t item_size,
                                                     size_t capacity,
                                                     const weft_channel_options *options);

/*
 * weft_broadcast_send - give a value to all receivers that there are.
 *
 * value    copied; what it owns goes to the channel when the value was sent, and is else still the caller's.
 *
 * Does not await; from any thread.
 * Returns  the number of receivers, at least 1: not all of them need ever look
 *          -EPIPE     there is no receiver; the value was not stored. One may come yet: weft_broadcast_subscribe
 *          -ENOMEM    only with options.copy, while values that were overwritten are still being copied
 *          -EINVAL
 */
WEFT_API int weft_broadcast_send(weft_broadcast_sender *tx, const void *value);

/*
 * weft_broadcast_recv - the next value of this receiver.
 *
 * value    gets it. On -EOVERFLOW some of the bytes there may have changed.
 *
 * Awaits   until there is one.
 * Cancel   safe: no value is lost.
 * Returns  1 with a value
 *          0            all senders are closed, and this receiver has had all values
 *          -EOVERFLOW   it was too slow: weft_broadcast_missed says how many values are gone; the next call gives
 *                       the oldest that is left
 *          -EBUSY       another one is waiting or copying with this handle
 *          -ESHUTDOWN   the handle was closed meanwhile, which is a mistake
 *          what options.copy has answered; the value is still the next one
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await; -EINVAL
 */
WEFT_API WEFT_MUST_CHECK int weft_broadcast_recv(weft_broadcast_receiver *rx, void *value);

/* Never waits, from any thread: -EAGAIN where weft_broadcast_recv would wait. */
WEFT_API WEFT_MUST_CHECK int weft_broadcast_try_recv(weft_broadcast_receiver *rx, void *value);

/* From a plain thread, which is blocked. -EDEADLK inside a task. */
WEFT_API WEFT_MUST_CHECK int weft_broadcast_recv_blocking(weft_broadcast_receiver *rx, void *value);

/* rx and the memory for the value are borrowed until the future is ready or dropped. */
WEFT_API weft_future weft_broadcast_recv_future(weft_broadcast_receiver *rx, void *value);

/* How many values the last -EOVERFLOW of this receiver was about, by whichever call it came. 0: there was none. */
WEFT_API uint64_t weft_broadcast_missed(const weft_broadcast_receiver *rx);

/*
 * One more receiver, which gets what is sent from now on: of a sender's channel, which may have had
 * none; or of a receiver's, which may be closed already. Neither awaits; from any thread. 0, -ENOMEM, -EINVAL.
 */
WEFT_API WEFT_MUST_CHECK int weft_broadcast_subscribe(weft_broadcast_sender *tx,
                                                      weft_broadcast_receiver **rx);
WEFT_API WEFT_MUST_CHECK int weft_broadcast_resubscribe(const weft_broadcast_receiver *rx,
                                                        weft_broadcast_receiver **another);

/*
 * weft_broadcast_closed - wait until there is no receiver any more.
 *
 * Awaits   until the last one was closed; another one may have come since.
 * Cancel   safe.
 * Returns  0
 *          -ESHUTDOWN   all senders were closed meanwhile, which is a mistake
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await; -EINVAL
 */
WEFT_API WEFT_MUST_CHECK int weft_broadcast_closed(weft_broadcast_sender *tx);
WEFT_API WEFT_MUST_CHECK int weft_broadcast_closed_blocking(weft_broadcast_sender *tx);
WEFT_API weft_future weft_broadcast_closed_future(weft_broadcast_sender *tx);

/* One more handle, to be closed on its own. NULL only when given NULL. */
WEFT_API weft_broadcast_sender *weft_broadcast_sender_clone(weft_broadcast_sender *tx);
WEFT_API weft_broadcast_weak_sender *weft_broadcast_weak_sender_clone(
    weft_broadcast_weak_sender *weak);

/* A weak handle beside this one; and a sender out of a weak one: NULL when all senders were closed, after which
 * there is none ever again. */
WEFT_API weft_broadcast_weak_sender *weft_broadcast_sender_downgrade(weft_broadcast_sender *tx);
WEFT_API weft_broadcast_sender *weft_broadcast_weak_sender_upgrade(
    weft_broadcast_weak_sender *weak);

/* Give a handle up; NULL is ignored. None awaits; from any thread. With the last sender the channel is closed:
 * receivers get what is left, and then 0. */
WEFT_API void weft_broadcast_sender_close(weft_broadcast_sender *tx);
WEFT_API void weft_broadcast_weak_sender_close(weft_broadcast_weak_sender *weak);
WEFT_API void weft_broadcast_receiver_close(weft_broadcast_receiver *rx);

/* Values that are stored and that not every receiver has had: never above the capacity. */
WEFT_API size_t weft_broadcast_sender_len(weft_broadcast_sender *tx);
WEFT_API bool weft_broadcast_sender_is_empty(weft_broadcast_sender *tx);
/* Values sent that this receiver has not had, with those that it has missed and not been told of. */
WEFT_API uint64_t weft_broadcast_receiver_len(const weft_broadcast_receiver *rx);
WEFT_API bool weft_broadcast_receiver_is_empty(const weft_broadcast_receiver *rx);
/* Are all senders closed? There may be values left. */
WEFT_API bool weft_broadcast_receiver_is_closed(const weft_broadcast_receiver *rx);

/* Handles that there are now: receivers; and, as of an mpsc channel, how many senders there are, and how many weak
 * ones. 0 senders, by a weak handle: there will be none again. */
WEFT_API size_t weft_broadcast_receiver_count(const weft_broadcast_sender *tx);
WEFT_API size_t weft_broadcast_sender_strong_count(const weft_broadcast_sender *tx);
WEFT_API size_t weft_broadcast_sender_weak_count(const weft_broadcast_sender *tx);
WEFT_API size_t weft_broadcast_receiver_strong_count(const weft_broadcast_receiver *rx);
WEFT_API size_t weft_broadcast_receiver_weak_count(const weft_broadcast_receiver *rx);
WEFT_API size_t weft_broadcast_weak_sender_strong_count(const weft_broadcast_weak_sender *weak);
WEFT_API size_t weft_broadcast_weak_sender_weak_count(const weft_broadcast_weak_sender *weak);

/* Are they ends of one channel? */
WEFT_API bool weft_broadcast_sender_same_channel(const weft_broadcast_sender *a,
                                                 const weft_broadcast_sender *b);
WEFT_API bool weft_broadcast_receiver_same_channel(const weft_broadcast_receiver *a,
                                                   const weft_broadcast_receiver *b);

/*
 * What the channel says of itself. depth is the sender's len. depth_max is the most that one receiver had before it,
 * as receivers notice: each looks when it has waited, and every 64th value. received and dropped are
 * sums over all receivers that there ever were; dropped are the values that they were told to have missed.
 * closed: all senders are. 0 or -EINVAL.
 */
WEFT_API int weft_broadcast_sender_get_info(weft_broadcast_sender *tx, weft_channel_info *info);
WEFT_API int weft_broadcast_sender_get_info_sized(weft_broadcast_sender *tx,
                                                  weft_channel_info *info, size_t size);
WEFT_API int weft_broadcast_receiver_get_info(const weft_broadcast_receiver *rx,
                                              weft_channel_info *info);
WEFT_API int weft_broadcast_receiver_get_info_sized(const weft_broadcast_receiver *rx,
                                                    weft_channel_info *info, size_t size);
#define weft_broadcast_sender_get_info(...) \
 weft_broadcast_sender_get_info_sized(__VA_ARGS__, sizeof(weft_channel_info))
#define weft_broadcast_receiver_get_info(...) \
 weft_broadcast_receiver_get_info_sized(__VA_ARGS__, sizeof(weft_channel_info))

#ifdef __cplusplus
}
#endif

#endif
