/* SPDX-License-Identifier: MIT */
/*
 * watch.h - the watch channel from inside: what watch.c, watch_send.c and watch_wait.c share.
 *
 * IDEA     The latest value lies in a cell (fanout.h), which `current` points to, and is never changed there: a new
 *          one is written to a free cell, and then that is the current one. So a value can be lent for as long as
 *          one likes, and nobody waits for who reads it. Plain values are copied out without the lock: a
 *          sequence number (words.h) tells when the cell was used again meanwhile. Then a reader tries again, and
 *          soon does it under the lock.
 * OWNS     The channel: the current cell. A receiver's memory: its handle, and each of its futures that is pending;
 *          counted in refs. A receiver holds one reference of the channel, each value that is lent another.
 * WHO      Anybody.
 * INVARIANTS
 *     V1   The value of version n lies in a cell whose sequence number says n. Versions grow by one.
 *     V2   Who has learnt of version n, by `version` or by reading it, finds it or a later one in `current`.
 *     V3   Plain words are written by wf_words_store only: a reader that is late may be reading them. So a
 *          change is worked out elsewhere (`scratch`).
 *     V4   While a change is on (`turn`), nobody else makes a version.
 * ORDER (a) current is released when its cell is whole, and acquired by readers.
 *       (b) version is released after that, and acquired by who asks whether it has changed.
 * LOCKS    WF_RANK_SYNC. A function of the user's that changes the value runs under `turn` alone, which is no
 *          lock of the library's: it has no rank, it is taken before the lock, and the function may use whatever does
 *          not await. Who needs it meanwhile waits with its thread.
 * REJECTED A lock around the value, for readers too: who is slow to give back a borrowed value then stops all
 *          senders, with their threads, and a task that borrows twice can stop itself.
 *          Repeating a change until nobody has come in between: the user's function would run
 *          more than once.
 * TESTS    tests/api/test_watch.c, tests/model/test_watch.c, tests/stress/test_watch.c
 */
#ifndef WF_SYNC_WATCH_H
#define WF_SYNC_WATCH_H

#include "base/list.h"
#include "sync/fanout.h"

#include <weft/watch.h>

/* The channel. All its sender handles are this, counted. */
struct weft_watch_sender {
    struct wf_fanout fan;
    /* changed under the lock; behind what is set once in fan, and read together with that */
    struct wf_atomic_ptr current;
    struct wf_atomic_u64 version;
    struct wf_list receivers; /* under the lock: open ones */
    void *scratch;            /* by turn: of item_size, once it was needed */
    /* whose turn it is: a task or a thread, as in owned.h; 0: nobody's */
    struct wf_lock turn;
    struct wf_atomic_u64 holder;
};

struct weft_watch_receiver {
    struct weft_watch_sender *w; /* set once */
    struct wf_atomic_u64 seen;   /* the last version that was marked; 0: none */
    /* under the lock */
    struct wf_list link;
    unsigned refs;
    bool shut;
};

WF_INLINE uint64_t wf_watch_version(const struct weft_watch_sender *w)
{
    /* acquire: pairs with the release in wf_watch_publish, ORDER (b) */
    return wf_load_u64(&w->version, WF_ACQUIRE);
}

WF_INLINE uint64_t wf_watch_seen(const struct weft_watch_receiver *rx)
{
    /* relaxed: a mark that carries nothing */
    return wf_load_u64(&rx->seen, WF_RELAXED);
}

WF_INLINE void wf_watch_mark(struct weft_watch_receiver *rx, uint64_t version)
{
    /* relaxed: as above */
    wf_store_u64(&rx->seen, version, WF_RELAXED);
}

/* Has it not seen this version? It may have seen a later one: in a value that it has read before the version was
 * told. */
WF_INLINE bool wf_watch_is_news(const struct weft_watch_receiver *rx, uint64_t version)
{
    return version > wf_watch_seen(rx);
}

/* Under the lock, or by turn. */
WF_INLINE struct wf_cell *wf_watch_current(const struct weft_watch_sender *w)
{
    /* relaxed: it changes under the lock, by turn */
    return wf_load_ptr(&w->current, WF_RELAXED);
}

/* Under the lock: the bytes of a value, into a cell; and then it becomes the current one. */
void wf_watch_fill(struct weft_watch_sender *w, struct wf_cell *c, const void *value);
void wf_watch_publish(struct weft_watch_sender *w, struct wf_cell *c, struct wf_cell **ended);

/* Lend the current value, with a reference of the channel; and take it back. */
struct wf_cell *wf_watch_lend(struct weft_watch_sender *w);
void wf_watch_take_back(struct wf_cell *c);

/* Of a value that is lent. */
WF_INLINE uint64_t wf_watch_cell_version(const struct wf_cell *c)
{
    /* relaxed: the cell does not change while it is lent */
    return wf_words_number(wf_load_u64(&c->sequence, WF_RELAXED));
}

/* Not under the lock: a reference of a receiver less. */
void wf_watch_receiver_put(struct weft_watch_receiver *rx);

/* Not under the lock: wake all who wait with this receiver, which is shut, by mistake. */
void wf_watch_shut(struct weft_watch_receiver *rx);

#endif
