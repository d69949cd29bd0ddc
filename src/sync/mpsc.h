/* SPDX-License-Identifier: MIT */
/*
 * mpsc.h - a channel from inside: what senders and the receiver share, and who may touch what.
 *
 * IDEA     Producers take one lock, for a compare-and-swap and a store. The receiver takes none as long as there is
 *          something to receive: it copies values out of slots that nobody else touches, and gives each slot back
 *          by one read-modify-write of `head`, whose old value tells it whether senders wait. The slots are a
 *          ring (bounded), or a chain of blocks (unbounded): to both sides a ring is a block that follows itself.
 *          All that a send must know is in one number, `look`: below that position it may go ahead without
 *          looking at anything. There it looks at head, and mostly may go on for another `span` values from
 *          there; that stands for room, waiting senders, a receiver that has gone, limits and statistics, and
 *          who changes one of these under the lock sets it anew.
 * OWNS     refs counts all who may still come to the memory: every sender, weak sender and permit, the receiver, and
 *          each future of a sender that was pending once, until it is ready or dropped. That of a receiver
 *          stands on the receiver's own reference; if the handle is closed although the future is pending
 *          (WF_MPSC_ORPHANED), the reference is the future's. A value belongs to the channel from put to
 *          take, but for one that is laid into the hand of a fiber that waits (mpsc_hand.h): that is the fiber's at
 *          once. When the receiver goes, what is left is destroyed.
 * WHO      struct weft_sender under its lock, but for what others may read. struct weft_receiver by the receiving
 *          call, one at a time (`owner`); head also by waiting senders, under the lock.
 * INVARIANTS
 *     M1   tail - head + reserved <= capacity of a bounded channel; of an unbounded one tail + reserved <= stored.
 *          So a permit finds a slot.
 *     M2   look <= tail, or every position in [tail, look) may be filled without any doubt. So may those below
 *          head + span and in_max, whatever head is.
 *     M3   WF_MPSC_WAITING is set in head exactly while `room` is not empty, except for who holds the lock.
 *     M4   Nobody waits in `room` while there is room for the first one, except for who holds the lock.
 *     M5   While the lock is free, receiver is not NULL only if there is nothing to receive, and not the end.
 * ORDER
 *     (a)  tail: release by who puts a value, acquire by the receiver in recv_refill. Carries the slot, and the link
 *          to its block.
 *     (b)  head of a bounded channel: release by the receiver in recv_publish, acquire by who looks for room. Carries
 *          that the reads of a slot are over before it is filled again. A chain's blocks change hands under the lock.
 *     (c)  No wake of a sender is lost: a sender that is about to wait sets WF_MPSC_WAITING by a read-modify-write of
 *          head and looks at what that returns. Either it comes after the receiver's own, and there is room;
 *          or before, and the receiver finds the bit.
 *     (d)  No wake of the receiver is lost: it looks at tail once more under the lock before it leaves a waker there.
 *          Whoever puts a value after that has the lock after it, and finds the waker. No fence is needed on
 *          either side.
 * LOCKS    WF_RANK_SYNC
 * TESTS    tests/api/test_mpsc*.c, tests/unit/test_mpsc.c, tests/model/test_mpsc.c, tests/fault/test_channels.c,
 *          tests/stress/test_channels.c; why it is so: docs/design/013-channels.md
 */
#ifndef WF_SYNC_MPSC_H
#define WF_SYNC_MPSC_H

#include "base/atomic.h"
#include "sync/mpsc_hand.h"
#include "sync/waitq.h"

#include <weft/mpsc.h>

/* In head, which counts by WF_MPSC_ONE. */
#define WF_MPSC_WAITING 1u
#define WF_MPSC_ONE     2u

/* The first block of an unbounded channel, and the largest: bytes. */
#ifndef WF_MPSC_BLOCK_FIRST /* a test build has small ones */
# define WF_MPSC_BLOCK_FIRST 256
# define WF_MPSC_BLOCK_LAST  4096
#endif

struct wf_mpsc_block {
    struct wf_mpsc_block *next; /* written under the lock; carried by tail */
    uint64_t count;             /* slots: set once */
};

_Static_assert(sizeof(struct wf_mpsc_block) == 16, "slots are as aligned as what malloc gives");

WF_INLINE char *wf_mpsc_slots(struct wf_mpsc_block *b)
{
    return (char *)(b + 1);
}

/* What sending touches, on a line of its own. */
struct weft_sender {
    struct wf_lock lock;
    struct wf_atomic_u64 tail; /* values put, ever; read by the receiver: ORDER (a) */
    uint64_t look;             /* M2 */
    char *in;                  /* the slot of tail, if that is below in_max */
    uint64_t in_max; /* M2: where its block ends, or slots of an unbounded channel that are free */
    uint64_t span;   /* M2 */
    /* Whom to wake when there is something to receive: a reference of a waker, or a fiber's hand (mpsc_hand.h). Under
     * the lock. */
    struct wf_atomic_ptr receiver;
    uint32_t item_size; /* set once */
    bool bounded;       /* set once */
};

/* The receiver's, on a line of its own. */
struct weft_receiver {
    struct wf_atomic_u64
        head;     /* values taken, ever, times WF_MPSC_ONE; and WF_MPSC_WAITING: ORDER (b), (c) */
    uint64_t pos; /* values taken, ever */
    uint64_t window;             /* values up to here are known to be there */
    uint64_t out_end;            /* the position where the block ends */
    char *out;                   /* the slot of pos, if that is below out_end */
    struct wf_mpsc_block *block; /* that of out */
    uint32_t item_size;          /* set once */
    bool bounded;                /* set once */
    struct wf_atomic_u32 owner;  /* enum wf_mpsc_owner */
};

/* Who is at the receiver's fields. */
enum wf_mpsc_owner {
    WF_MPSC_FREE,
    WF_MPSC_INSIDE,  /* a call */
    WF_MPSC_PENDING, /* nobody now: a future that is pending, or a fiber, comes back to them */
    WF_MPSC_ORPHANED, /* the same, and the handle was closed: who comes back puts away what is left */
};

struct weft_weak_sender {
    size_t count; /* under the lock */
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): three lines, by who touches them */
struct wf_mpsc {
    struct weft_sender tx;
    /* under the lock */
    struct wf_waitq room;   /* who waits for it; `need` is how much */
    struct wf_waitq closed; /* who waits for the receiver's end */
    uint64_t refs;
    uint64_t reserved; /* room that was given away and is not used yet */
    uint64_t depth_max;
    uint32_t senders; /* and owned permits */
    bool shut;        /* no more sends, but by permits */
    bool gone;        /* the receiver is closed */
    bool warned;      /* warn_at was reached */
    struct weft_receiver rx WF_ALIGNED(WF_CACHE_LINE);
    /* under the lock */
    struct weft_weak_sender weak;
    struct wf_mpsc_block *in_block; /* that of tx.in */
    uint64_t in_end;                /* the position where it ends */
    struct wf_mpsc_block *last;     /* the end of the chain */
    struct wf_mpsc_block *spare;    /* for reuse; NULL: none */
    uint64_t stored;                /* the position where the chain ends; bounded: unused */
    uint64_t block_count;           /* slots of the block made last */
    uint64_t dropped;
    uint64_t swallowed; /* of those, sent by permits when the receiver was gone, so never queued */
    uint64_t handed;    /* laid into a fiber's hand, so never queued */
    uint64_t waits;     /* sends that had to wait, ever */
    uint64_t wait_ticks, wait_ticks_max;
    /* set once */
    uint64_t capacity;  /* UINT64_MAX: unbounded */
    uint64_t max_items; /* UINT64_MAX: no limit */
    uint64_t warn_at;   /* UINT64_MAX: never */
    void (*destroy)(void *value);
    void *memory; /* what was allocated */
    char name[64];
};

_Static_assert(sizeof(struct weft_sender) == WF_CACHE_LINE, "a send touches one line");
_Static_assert(sizeof(struct weft_receiver) == WF_CACHE_LINE, "a receive touches one line");

WF_INLINE struct wf_mpsc *wf_mpsc_of_tx(const weft_sender *tx)
{
    return wf_container_of((struct weft_sender *)wf_unconst(tx), struct wf_mpsc, tx);
}

WF_INLINE struct wf_mpsc *wf_mpsc_of_rx(const weft_receiver *rx)
{
    return wf_container_of((struct weft_receiver *)wf_unconst(rx), struct wf_mpsc, rx);
}

WF_INLINE struct wf_mpsc *wf_mpsc_of_weak(const weft_weak_sender *weak)
{
    return wf_container_of((struct weft_weak_sender *)wf_unconst(weak), struct wf_mpsc, weak);
}

/* Under the lock. */
WF_INLINE uint64_t wf_mpsc_tail(const struct wf_mpsc *c)
{
    /* relaxed: written under the lock */
    return wf_load_u64(&c->tx.tail, WF_RELAXED);
}

/* Values taken, and with that the slots that may be filled again. */
WF_INLINE uint64_t wf_mpsc_head(const struct wf_mpsc *c)
{
    /* acquire: pairs with recv_publish, ORDER (b) */
    return wf_load_u64(&c->rx.head, WF_ACQUIRE) / WF_MPSC_ONE;
}

/* Under the lock: no value will be put any more. */
WF_INLINE bool wf_mpsc_ended(const struct wf_mpsc *c)
{
    return (c->shut || c->senders == 0) && c->reserved == 0;
}

/* Under the lock: take out whom to wake of the receiver's, a reference; NULL: it does not wait. */
WF_INLINE weft_wakeable *wf_mpsc_take_receiver(struct wf_mpsc *c)
{
    /* relaxed: under the lock */
    void *receiver = wf_load_ptr(&c->tx.receiver, WF_RELAXED);

    if (!receiver)
        return NULL;
    wf_store_ptr(&c->tx.receiver, NULL, WF_RELAXED);
    return wf_unlikely(wf_mpsc_is_hand(receiver)) ? wf_mpsc_hand_waker(wf_mpsc_hand_of(receiver))
                                                  : receiver;
}

/* --- the channel as a whole: mpsc.c --- */

/*
 * Give the room that there is to who waits for it, in order, and set look; then unlock, and wake them and also_wake,
 * which may be NULL. The lock may be given back in between, while the caller's reference keeps the memory: put, that
 * goes with the last unlocking. True: free the channel.
 */
bool wf_mpsc_grant_and_unlock(struct wf_mpsc *c, weft_wakeable *also_wake, bool put);

/* Somebody does not come back to the memory. Under the lock, which is not to be taken again; true: it was the last
 * one, who frees it when it has unlocked. */
WF_INLINE bool wf_mpsc_put_locked(struct wf_mpsc *c)
{
    wf_assert(c->refs > 0);
    return --c->refs == 0;
}

void wf_mpsc_free(struct wf_mpsc *c);

/* A handle or a permit goes; a sender's: the channel may be closed with it. Under the lock, which it gives back. True:
 * free the channel. */
bool wf_mpsc_leave_and_unlock(struct wf_mpsc *c, bool sender);

/* --- where values lie: mpsc_block.c --- */

/* How many slots a block of so many bytes has; at least 1. */
uint64_t wf_mpsc_block_fit(size_t bytes, size_t item_size);

/* Of that many slots; NULL when memory is out. */
struct wf_mpsc_block *wf_mpsc_block_new(uint64_t count, size_t item_size);

/* Under the lock of an unbounded channel, and it may be given back in between: slots for n more than are reserved
 * or used. 0, -ENOMEM. */
int wf_mpsc_grow(struct wf_mpsc *c, uint64_t n);

/* By the receiver, which has left it. */
void wf_mpsc_block_recycle(struct wf_mpsc *c, struct wf_mpsc_block *b);

/* All that are left. */
void wf_mpsc_block_free_all(struct wf_mpsc *c);

/* --- sending: mpsc_send.c --- */

/* Under the lock, after something has changed that look and span stand for; head is as wf_mpsc_head gave it. */
void wf_mpsc_set_look(struct wf_mpsc *c, uint64_t head);

/* What is to be done when the lock was given back. */
struct wf_mpsc_after {
    weft_wakeable *wake; /* NULL: nobody */
    uint64_t warn;       /* so many values are queued, which is to be said; 0: nothing */
};

/* Under the lock, in a slot that is there by M1: append a value. */
void wf_mpsc_append(struct wf_mpsc *c, const void *msg, uint64_t head, struct wf_mpsc_after *after);
void wf_mpsc_after(const struct wf_mpsc *c, struct wf_mpsc_after *after);

/* --- receiving: mpsc_recv.c --- */

/* The handle is closed and nobody receives: destroy what is queued, and give the receiver's reference up. */
void wf_mpsc_receiver_end(struct wf_mpsc *c);

#endif
