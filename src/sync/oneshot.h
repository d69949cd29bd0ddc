/* SPDX-License-Identifier: MIT */
/*
 * oneshot.h - a channel for one value from inside.
 */
#ifndef WF_SYNC_ONESHOT_H
#define WF_SYNC_ONESHOT_H

#include "base/lock.h"
#include "task/slab.h"
#include "task/waker.h"

#include <weft/oneshot.h>

/* The word: these, and above them one of the three that follow. */
#define WF_ONESHOT_DONE    1u /* the sender is through */
#define WF_ONESHOT_SHUT    2u /* the receiver wants nothing that was not sent yet */
#define WF_ONESHOT_WATCHED 4u /* the sender waits for that, or did: the memory goes by refs */
#define WF_ONESHOT_FLAGS   7u

/* Unless it is DONE or GONE, the waker of the receiver, which is a reference; 0: it does not wait. */
#define WF_ONESHOT_SENT 8u  /* with DONE: there is a value, or was */
#define WF_ONESHOT_GONE 16u /* with SHUT: the receiver is closed */

/* Who is at the receiving end. */
enum wf_oneshot_owner {
    WF_ONESHOT_FREE,
    WF_ONESHOT_PENDING,  /* a future is pending, and comes back to it */
    WF_ONESHOT_ORPHANED, /* the same, and the handle was closed: the future puts away what is left */
};

struct wf_oneshot {
    void (*destroy)(void *value); /* set once */
    struct wf_atomic_u64 free;    /* 0, for walks over the slab: no task */
    struct wf_atomic_u64 word;
    uint32_t size;              /* set once */
    bool heap;                  /* set once: too large for the slab */
    bool named;                 /* set once: a name lies behind the value */
    bool taken;                 /* receiver only */
    struct wf_atomic_u32 owner; /* enum wf_oneshot_owner; receiver only */
    struct wf_atomic_u32 refs;  /* once WATCHED: the ends, and the future that watches */
    struct wf_lock lock;        /* for what follows */
    weft_wakeable *watcher;     /* the sender's waker; a reference */
    uint64_t value[1];          /* one that fits lies here, a larger one behind */
};

_Static_assert(sizeof(struct wf_oneshot) == WF_CACHE_LINE, "a small value is on the same line");
_Static_assert(offsetof(struct wf_oneshot, free) == WF_SLAB_STATE, "the slab looks for it there");

WF_INLINE struct wf_oneshot *wf_oneshot_of_tx(const weft_oneshot_sender *tx)
{
    return wf_unconst(tx);
}

WF_INLINE struct wf_oneshot *wf_oneshot_of_rx(const weft_oneshot_receiver *rx)
{
    return wf_unconst(rx);
}

/* The one of a future, which keeps it in its first word. */
WF_INLINE struct wf_oneshot *wf_oneshot_of(const weft_future *f)
{
    return (struct wf_oneshot *)f->words[0]; /* NOLINT(performance-no-int-to-ptr) */
}

WF_INLINE void *wf_oneshot_value(struct wf_oneshot *o)
{
    return o->size <= sizeof(o->value) ? (void *)o->value : (void *)(o + 1);
}

/* Bytes behind the struct for a value of so many; there a name begins. */
WF_INLINE size_t wf_oneshot_tail(size_t item_size)
{
    return item_size <= sizeof(((struct wf_oneshot *)0)->value) ? 0 : item_size;
}

#define WF_ONESHOT_NAME 64

/* Nobody will send any more, and nothing was sent. */
WF_INLINE bool wf_oneshot_is_void(uint64_t word)
{
    return word & WF_ONESHOT_DONE ? !(word & WF_ONESHOT_SENT) : (word & WF_ONESHOT_SHUT) != 0;
}

/* Once WATCHED: one does not come back. Frees with the last. */
void wf_oneshot_put(struct wf_oneshot *o);

/* By the receiver, when it has set SHUT in a word that is WATCHED. */
void wf_oneshot_wake_watcher(struct wf_oneshot *o);

#endif
