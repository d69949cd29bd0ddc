/* SPDX-License-Identifier: MIT */
/*
 * weft/watch.h - one value, of which receivers see the latest: settings, a state, a wish to stop.
 *
 * Each send makes a new version. A receiver remembers which version it has seen, and can wait for another
 * one. What came and went in between it does not see.
 *
 *     weft_watch_sender *tx;
 *     weft_watch_receiver *rx;
 *     struct limits limits = {.rate = 100};
 *
 *     rc = weft_watch_new(&tx, &rx, sizeof(limits), &limits);
 *     ...
 *     while ((rc = weft_watch_changed(rx)) == 1) {
 *         weft_watch_get(rx, &limits);
 *         apply(&limits);
 *     }
 *
 * Reading copies the value and takes no lock. weft_watch_borrow lends it in place, which holds up nobody: a send
 * that comes meanwhile puts the new value elsewhere.
 *
 * A value is the channel's from the send on, and readers get the bytes of it. If it owns something, options.copy
 * makes each of them a copy that is its own, and options.destroy gets the channel's, once: when a newer one
 * has taken its place and nobody reads it any more, or with the last handle and loan. destroy alone is refused.
 *
 * Handles may be used by any number of tasks and threads at a time. What a receiver handle has seen is one mark
 * for all who use it.
 */
#ifndef WEFT_WATCH_H
#define WEFT_WATCH_H

#include <weft/channel.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_watch_sender weft_watch_sender;
typedef struct weft_watch_receiver weft_watch_receiver;

/*
 * weft_watch_new - make a channel.
 *
 * tx, rx      one handle each for the caller; rx may be NULL: nobody watches yet
 * item_size   of the value, in bytes; 0: there are only versions, and pointers to values may be NULL
 * initial     the first value, which rx has seen; copied, and what it owns goes to the channel on success
 * options     borrowed until return; NULL: none. max_items, max_bytes and warn_at must be 0. With destroy there must
 *             be copy.
 *
 * Does not await; from any thread.
 * Returns  0, -ENOMEM, -EINVAL
 */
WEFT_API WEFT_MUST_CHECK int weft_watch_new(weft_watch_sender **tx, weft_watch_receiver **rx,
                                            size_t item_size, const void *initial);
WEFT_API WEFT_MUST_CHECK int weft_watch_new_with(weft_watch_sender **tx, weft_watch_receiver **rx,
                                                 size_t item_size, const void *initial,
                                                 const weft_channel_options *options);

/* --- sending ------------------------------------------------------------------------- */

/*
 * weft_watch_send - a new value for those who watch.
 *
 * value    copied; what it owns goes to the channel when 0 is returned, and is else still the caller's.
 *
 * None of the calls here awaits, and all may be made from any thread. While one of them runs a function of the user's,
 * others wait for it, with their threads.
 * Returns  0
 *          -EPIPE     there is no receiver; nothing was stored
 *          -ENOMEM    no room for one more value, while others are being read
 *          -EDEADLK   called by the function that a change of the same channel is running
 *          -EINVAL
 */
WEFT_API int weft_watch_send(weft_watch_sender *tx, const void *value);

/* The same whether there are receivers or not; *old gets the value from before, by options.copy if there is one.
 * old may be NULL. Also what options.copy answers: then nothing has changed. */
WEFT_API int weft_watch_send_replace(weft_watch_sender *tx, const void *value, void *old);

/*
 * weft_watch_send_modify - change the value, whether there are receivers or not.
 *
 * fn       is called once with a copy of the latest value (by options.copy if there is one), which it changes; then
 *          that is the latest one. Between the two nobody else changes it. It may not await (-EPERM),
 *          nor send by the same channel; a panic in it ends the program.
 *
 * weft_watch_send_if_modified: fn says whether there is anything new; if not, what it has done to the copy is
 * forgotten, no version is made and nobody is told.
 *
 * Returns  0; weft_watch_send_if_modified: 1, 0 nothing new
 *          -ENOMEM, -EDEADLK as weft_watch_send; -EINVAL; what options.copy has answered
 */
WEFT_API int weft_watch_send_modify(weft_watch_sender *tx, void (*fn)(void *value, void *arg),
                                    void *arg);
WEFT_API int weft_watch_send_if_modified(weft_watch_sender *tx, bool (*fn)(void *value, void *arg),
                                         void *arg);

/* --- reading ------------------------------------------------------------------------- */

/*
 * weft_watch_get - the latest value.
 *
 * weft_watch_get_and_update also marks it as seen by rx.
 *
 * None of these awaits; from any thread.
 * Returns  0, -EINVAL; what options.copy has answered
 */
WEFT_API int weft_watch_get(const weft_watch_receiver *rx, void *value);
WEFT_API int weft_watch_get_and_update(weft_watch_receiver *rx, void *value);
WEFT_API int weft_watch_sender_get(weft_watch_sender *tx, void *value);

/*
 * weft_watch_borrow - the latest value where it lies, until weft_watch_return.
 *
 * It stays as it is, whatever is sent meanwhile, and may be kept over an await and returned by any task or
 * thread; also when all handles are closed. Each value that is lent keeps its memory. Neither awaits; from any
 * thread. NULL only when given NULL.
 */
WEFT_API const void *weft_watch_borrow(const weft_watch_receiver *rx);
WEFT_API const void *weft_watch_borrow_and_update(weft_watch_receiver *rx);
WEFT_API const void *weft_watch_sender_borrow(weft_watch_sender *tx);
WEFT_API void weft_watch_return(const void *value); /* NULL is ignored */

/* The same, and whether it is of a version that rx had not seen until then: in *changed, which may be NULL. */
WEFT_API const void *weft_watch_borrow_changed(const weft_watch_receiver *rx, bool *changed);
WEFT_API const void *weft_watch_borrow_and_update_changed(weft_watch_receiver *rx, bool *changed);

/* Call fn with the latest value, lent for as long as that lasts; under no lock. 0, -EINVAL. */
WEFT_API int weft_watch_with(const weft_watch_receiver *rx,
                             void (*fn)(const void *value, void *arg), void *arg);

/* --- watching ------------------------------------------------------------------------ */

/*
 * weft_watch_changed - wait for a version that rx has not seen, and mark it as seen.
 *
 * Awaits   until there is one.
 * Cancel   safe: what is not reported is not marked.
 * Returns  1
 *          0            all senders are closed, and the latest version was seen
 *          -ESHUTDOWN   the handle was closed meanwhile, which is a mistake
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await; -EINVAL
 */
WEFT_API WEFT_MUST_CHECK int weft_watch_changed(weft_watch_receiver *rx);
WEFT_API WEFT_MUST_CHECK int weft_watch_changed_blocking(weft_watch_receiver *rx); /* -EDEADLK */
WEFT_API weft_future weft_watch_changed_future(weft_watch_receiver *rx);

/* What is waited for. */
typedef struct weft_watch_condition {
    /* Is it so? Called with each value that is looked at, lent to it and under no lock. May not await. */
    bool (*holds)(const void *value, void *arg);
    void *arg;
    void *
        value; /* gets the first of which it holds, by options.copy if there is one; NULL: nothing does */
} weft_watch_condition;

/*
 * weft_watch_wait_for - wait for a value of which something holds.
 *
 * holds    is asked of the latest value, whether it was seen or not, and then of each that is the latest when rx
 *          comes to look. All that it was asked of are marked as seen.
 * value    gets the first of which it holds, by options.copy if there is one; may be NULL
 *
 * Awaits   until there is one.
 * Cancel   safe: nothing is lost but that values were marked.
 * Returns  1; 0 all senders are closed, and it does not hold of the last value
 *          -ESHUTDOWN, -ECANCELED, -ETIMEDOUT, -EPERM as weft_watch_changed; -EINVAL; what options.copy has answered
 */
WEFT_API WEFT_MUST_CHECK int weft_watch_wait_for(weft_watch_receiver *rx,
                                                 bool (*holds)(const void *value, void *arg),
                                                 void *arg, void *value);
WEFT_API WEFT_MUST_CHECK int weft_watch_wait_for_blocking(
    weft_watch_receiver *rx, bool (*holds)(const void *value, void *arg), void *arg, void *value);
/* The condition, and where it puts the value, are borrowed until the future is ready or dropped, as rx is. */
WEFT_API weft_future weft_watch_wait_for_future(weft_watch_receiver *rx,
                                                const weft_watch_condition *condition);

/* Is there a version that rx has not seen? 1, 0; -EPIPE all senders are closed, whether it was or not; -EINVAL. */
WEFT_API int weft_watch_has_changed(const weft_watch_receiver *rx);

/* The latest version counts as not seen, or as seen. Nobody is woken by that. */
WEFT_API void weft_watch_mark_changed(weft_watch_receiver *rx);
WEFT_API void weft_watch_mark_unchanged(weft_watch_receiver *rx);

/* --- the ends ------------------------------------------------------------------------ */

/* One more receiver: of a sender's channel, which may have had none, and has seen the latest version; or beside
 * this one, and has seen what this one has. Neither awaits; from any thread. 0, -ENOMEM, -EINVAL. */
WEFT_API WEFT_MUST_CHECK int weft_watch_subscribe(weft_watch_sender *tx, weft_watch_receiver **rx);
WEFT_API WEFT_MUST_CHECK int weft_watch_receiver_clone(const weft_watch_receiver *rx,
                                                       weft_watch_receiver **another);

/* One more handle, to be closed on its own. NULL only when given NULL. */
WEFT_API weft_watch_sender *weft_watch_sender_clone(weft_watch_sender *tx);

/* Give a handle up; NULL is ignored. None awaits; from any thread. With the last sender the channel is closed:
 * receivers still see the last value. */
WEFT_API void weft_watch_sender_close(weft_watch_sender *tx);
WEFT_API void weft_watch_receiver_close(weft_watch_receiver *rx);

/*
 * weft_watch_closed - wait until there is no receiver any more.
 *
 * Awaits   until the last one was closed; another one may have come since.
 * Cancel   safe.
 * Returns  0
 *          -ESHUTDOWN   all senders were closed meanwhile, which is a mistake
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await; -EINVAL
 */
WEFT_API WEFT_MUST_CHECK int weft_watch_closed(weft_watch_sender *tx);
WEFT_API WEFT_MUST_CHECK int weft_watch_closed_blocking(weft_watch_sender *tx);
WEFT_API weft_future weft_watch_closed_future(weft_watch_sender *tx);
WEFT_API bool weft_watch_is_closed(weft_watch_sender *tx); /* is there no receiver now? */

/* Handles that there are now. */
WEFT_API size_t weft_watch_receiver_count(const weft_watch_sender *tx);
WEFT_API size_t weft_watch_sender_count(const weft_watch_sender *tx);

/* Are they ends of one channel? */
WEFT_API bool weft_watch_sender_same_channel(const weft_watch_sender *a,
                                             const weft_watch_sender *b);
WEFT_API bool weft_watch_receiver_same_channel(const weft_watch_receiver *a,
                                               const weft_watch_receiver *b);

/*
 * What the channel says of itself: capacity is 1, sent the number of versions after the first; depth is 1 while
 * some receiver has not seen the latest. What was received and dropped is not counted. closed: all senders
 * are. 0 or -EINVAL.
 */
WEFT_API int weft_watch_sender_get_info(weft_watch_sender *tx, weft_channel_info *info);
WEFT_API int weft_watch_sender_get_info_sized(weft_watch_sender *tx, weft_channel_info *info,
                                              size_t size);
WEFT_API int weft_watch_receiver_get_info(const weft_watch_receiver *rx, weft_channel_info *info);
WEFT_API int weft_watch_receiver_get_info_sized(const weft_watch_receiver *rx,
                                                weft_channel_info *info, size_t size);
#define weft_watch_sender_get_info(...) \
 weft_watch_sender_get_info_sized(__VA_ARGS__, sizeof(weft_channel_info))
#define weft_watch_receiver_get_info(...) \
 weft_watch_receiver_get_info_sized(__VA_ARGS__, sizeof(weft_channel_info))

#ifdef __cplusplus
}
#endif

#endif
