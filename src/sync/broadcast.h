/* SPDX-License-Identifier: MIT */
/*
 * broadcast.h - the broadcast channel from inside: what sending (broadcast.c) and receiving (broadcast_recv.c) share.
 *
 * IDEA     Values are numbered as they are sent. The ring keeps the last `capacity` of them, each receiver the
 *          number of its next one. Plain values lie in the ring, each behind a sequence number (words.h): a
 *          receiver copies its next one out without the lock, and without writing anything that others read,
 *          so receivers and senders are not in each other's way. Only who finds nothing, or has
 *          been overtaken, takes the lock. Values that own something lie in cells (fanout.h), which the ring
 *          points to; a receiver takes its cell under the lock and copies it without.
 * OWNS     The channel: the values in the ring. A receiver's memory: its handle, and each of its futures that is
 *          pending; counted in refs. A receiver holds one reference of the channel.
 * WHO      Sending: anybody. Receiving: one at a time for each receiver.
 * INVARIANTS
 *     B1   next <= tail, and what is between them and not older than tail - capacity is in the ring.
 *     B2   A cell in the ring has so many unseen as there are open receivers that were there when it was sent, and
 *          whose next is not beyond it. With none left it leaves the ring.
 *     B3   At most one future waits for a receiver: `waiter`, until it is polled ready or dropped.
 * ORDER    words.h. next is written by the receiver's user alone, or under the lock where values own something,
 *          and read by others as a statistic: relaxed.
 * LOCKS    WF_RANK_SYNC. No function of the user's is called under it.
 * REJECTED A lock in each slot, and a count of who has yet to read it: a write to shared memory
 *          for each value received. What is unread follows from the receivers' own numbers.
 * TESTS    tests/api/test_broadcast.c, tests/model/test_broadcast.c, tests/stress/test_broadcast.c
 */
#ifndef WF_SYNC_BROADCAST_H
#define WF_SYNC_BROADCAST_H

#include "base/list.h"
#include "sync/fanout.h"

#include <weft/broadcast.h>

/* A plain value in the ring. */
struct wf_slot {
    struct wf_atomic_u64 sequence;
    struct wf_word word[];
};

/* Only its address is used. */
struct weft_broadcast_weak_sender {
    char nothing;
};

/* The channel. All its sender handles are this, counted. */
struct weft_broadcast_sender {
    struct wf_fanout fan;
    struct weft_broadcast_weak_sender weak;
    /* set once */
    char *ring;    /* slots, or pointers to cells */
    size_t stride; /* of `ring`, in bytes */
    size_t capacity;
    /* under the lock; tail is read without it as well */
    struct wf_atomic_u64 tail;                      /* the number of the next value: from 0 */
    size_t index;                                   /* tail % capacity */
    struct wf_list receivers;                       /* open ones */
    uint64_t past_received, past_missed, past_most; /* of those that were closed */
};

struct weft_broadcast_receiver {
    /* set once; so that reading a value touches nothing of the channel but its slot */
    struct weft_broadcast_sender *b;
    char *ring;
    size_t stride, capacity, item_size;
    uint64_t first; /* where its next began */
    bool owns;      /* values lie in cells */
    /* its user's */
    size_t index; /* next % capacity */
    struct wf_atomic_u64 next, missed, missed_ever;
    struct wf_atomic_u64 most; /* values that were before it, as far as it has looked */
#if WF_DEBUG
    struct wf_atomic_u32 inside; /* somebody is receiving at this moment */
#endif
    /* under the lock */
    struct wf_list link;
    struct wf_waiter *waiter;
    unsigned refs;
    bool copying, shut;
};

WF_INLINE struct wf_slot *wf_broadcast_slot(char *ring, size_t stride, size_t index)
{
    return (struct wf_slot *)(void *)(ring + index * stride);
}

WF_INLINE struct wf_cell **wf_broadcast_cell(struct weft_broadcast_sender *b, size_t index)
{
    return (struct wf_cell **)(void *)b->ring + index;
}

WF_INLINE uint64_t wf_broadcast_tail(const struct weft_broadcast_sender *b)
{
    /* relaxed: under the lock it stands still, and else it is a statistic */
    return wf_load_u64(&b->tail, WF_RELAXED);
}

WF_INLINE uint64_t wf_broadcast_next(const struct weft_broadcast_receiver *rx)
{
    /* relaxed: its user's own; or under the lock, where values own something; else a statistic */
    return wf_load_u64(&rx->next, WF_RELAXED);
}

/* The oldest number that is still in the ring. Under the lock. */
WF_INLINE uint64_t wf_broadcast_oldest(const struct weft_broadcast_sender *b)
{
    uint64_t tail = wf_broadcast_tail(b);

    return tail > b->capacity ? tail - b->capacity : 0;
}

/* Values that a receiver was told to have missed, and that it has had. */
WF_INLINE uint64_t wf_broadcast_missed_ever(const struct weft_broadcast_receiver *rx)
{
    /* relaxed: a statistic */
    return wf_load_u64(&rx->missed_ever, WF_RELAXED);
}

WF_INLINE uint64_t wf_broadcast_received(const struct weft_broadcast_receiver *rx)
{
    uint64_t missed = wf_broadcast_missed_ever(rx);

    return wf_broadcast_next(rx) - rx->first - missed;
}

/* Under the lock: a receiver less has yet to see this cell. The last one takes it out of the ring. */
void wf_broadcast_seen(struct weft_broadcast_sender *b, size_t index, struct wf_cell **ended);

/* Not under the lock: a reference of a receiver less. */
void wf_broadcast_receiver_put(struct weft_broadcast_receiver *rx);

#endif
