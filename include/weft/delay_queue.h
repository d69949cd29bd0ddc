/* SPDX-License-Identifier: MIT */
/*
 * weft/delay_queue.h - values that come out when their time has come.
 *
 * For the expiry of a cache, the timeouts of a million connections, retries: one task takes what has expired, any
 * thread inserts, removes and sets new times meanwhile. All of that takes constant time, however many there are; an
 * entry takes 24 bytes besides its value, in multiples of 8. To set one to a later time, as whenever what it stands
 * for was used, is the cheapest of all.
 *
 *     weft_delay_queue *q;
 *     weft_delay_key key;
 *
 *     rc = weft_delay_queue_new(&q, sizeof(struct session *), NULL);
 *     ...
 *     rc = weft_delay_queue_insert(q, &session, WEFT_SECS(30), &key);
 *     ...
 *     rc = weft_delay_queue_reset(q, key, WEFT_SECS(30));      it was used
 *     ...
 *     while (weft_delay_queue_next(q, &session, NULL) == 1)    in the task that lets them expire
 *         session_close(session);
 *
 * Entries come out in the order of their deadlines, to the nanosecond; those of the same deadline in any order, and
 * one whose deadline had passed when it was set may come behind others that were due by then. Never early,
 * and as late as any timer: see weft/time.h. Who uses a queue goes by one clock: if it is that of a runtime which a
 * test has stopped, all of them are its tasks and jobs.
 */
#ifndef WEFT_DELAY_QUEUE_H
#define WEFT_DELAY_QUEUE_H

#include <weft/future.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_delay_queue weft_delay_queue;

/* An entry, from its insertion until it comes out, is removed or cleared; then it is the key of nothing. All zero
 * never is the key of an entry. */
typedef struct weft_delay_key {
    uint64_t value_; /* do not touch */
} weft_delay_key;

/* What came out. */
typedef struct weft_delay_expired {
    weft_delay_key key; /* of the entry that it was */
    weft_instant deadline;
} weft_delay_expired;

#define WEFT_DELAY_ITEM_MAX 4096 /* bytes of a value: it is copied under a lock */

/*
 * weft_delay_queue_new - an empty queue.
 *
 * item_size  of a value, at most WEFT_DELAY_ITEM_MAX; 0: the keys are all there is.
 * destroy    may be NULL; called for each value that nobody takes: removed without a place to put it, cleared, left
 *            when the queue is freed. It is given the address of the value, must not await, and may
 *            use the queue, but when it is freed.
 * Returns    0 and *q, to be freed; -EINVAL; -ENOMEM.
 */
WEFT_API WEFT_MUST_CHECK int weft_delay_queue_new(weft_delay_queue **q, size_t item_size,
                                                  void (*destroy)(void *item));

/* Nobody uses it any more, and no task awaits its next. NULL is ignored. */
WEFT_API void weft_delay_queue_free(weft_delay_queue *q);

/*
 * weft_delay_queue_insert - a copy of *item expires after a time, or at a moment (see weft_now).
 *
 * item     may be NULL if the size is 0.
 * key      may be NULL.
 *
 * From any thread. WEFT_FOREVER: never expires; with such an entry in it the queue is not empty, and next waits.
 * Returns  0
 *          -ENOMEM      nothing was inserted
 *          -EINVAL      q is NULL, or item
 */
WEFT_API WEFT_MUST_CHECK int weft_delay_queue_insert(weft_delay_queue *q, const void *item,
                                                     weft_duration after, weft_delay_key *key);
WEFT_API WEFT_MUST_CHECK int weft_delay_queue_insert_at(weft_delay_queue *q, const void *item,
                                                        weft_instant at, weft_delay_key *key);

/*
 * weft_delay_queue_remove - take an entry out before its time.
 *
 * item     where its value goes; NULL: it is destroyed.
 *
 * From any thread, as all that follow. Returns 0; -ENOENT: there is no such entry (any more); -EINVAL: q is NULL.
 */
WEFT_API int weft_delay_queue_remove(weft_delay_queue *q, weft_delay_key key, void *item);

/* It expires after this time from now, or at this moment, instead. 0, -ENOENT, -EINVAL. */
WEFT_API int weft_delay_queue_reset(weft_delay_queue *q, weft_delay_key key, weft_duration after);
WEFT_API int weft_delay_queue_reset_at(weft_delay_queue *q, weft_delay_key key, weft_instant at);

/* When it expires. 0, -ENOENT, -EINVAL. */
WEFT_API int weft_delay_queue_deadline(weft_delay_queue *q, weft_delay_key key, weft_instant *at);

/* The entry that comes out next, due or not. 1; 0: the queue is empty; -EINVAL. It looks at all that are as far away as
 * that one, in the larger and larger steps by which the queue is sorted: at few when it is near, at worst at all. */
WEFT_API int weft_delay_queue_peek(weft_delay_queue *q, weft_delay_key *key);

/*
 * weft_delay_queue_next - wait for the next entry that expires, and take it.
 *
 * item     where its value goes; may be NULL if the size is 0. Written when 1 is returned.
 * expired  may be NULL; the same.
 *
 * Awaits   until an entry has expired or there is none left. What others insert, remove or reset meanwhile counts.
 * Cancel   safe: an entry that was not returned is still there.
 * Returns  1
 *          0            the queue is empty
 *          -EBUSY       another task awaits its next
 *          -EINVAL      q is NULL, or item
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await
 */
WEFT_API WEFT_MUST_CHECK int weft_delay_queue_next(weft_delay_queue *q, void *item,
                                                   weft_delay_expired *expired);
WEFT_API weft_future weft_delay_queue_next_future(weft_delay_queue *q, void *item,
                                                  weft_delay_expired *expired);

/* The same without waiting, from any thread: -EAGAIN when nothing has expired. */
WEFT_API WEFT_MUST_CHECK int weft_delay_queue_try_next(weft_delay_queue *q, void *item,
                                                       weft_delay_expired *expired);

/* Entries in it, due or not; 0 for NULL. */
WEFT_API size_t weft_delay_queue_len(const weft_delay_queue *q);
WEFT_API bool weft_delay_queue_is_empty(const weft_delay_queue *q);

/* How many it has memory for, which it keeps until it is freed; and see that so many more can be inserted without any.
 * 0, -ENOMEM, -EINVAL. */
WEFT_API size_t weft_delay_queue_capacity(weft_delay_queue *q);
WEFT_API int weft_delay_queue_reserve(weft_delay_queue *q, size_t more);

/* Destroy all entries. What others insert meanwhile may stay. */
WEFT_API void weft_delay_queue_clear(weft_delay_queue *q);

#ifdef __cplusplus
}
#endif

#endif
