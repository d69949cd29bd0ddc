/* SPDX-License-Identifier: MIT */
/*
 * weft/channel.h - what all channels share: options, and what a channel says of itself.
 *
 * weft/mpsc.h       a queue: many send, one receives; each value once
 * weft/oneshot.h    one value, once
 * weft/broadcast.h  every receiver gets every value; who is slow is told how many it missed
 * weft/watch.h      the latest value, and being told when it changes
 *
 * Values are of one size, given when the channel is made, and are copied in and out. What a
 * value owns goes along with it: whoever receives it owns it. Values that nobody receives are
 * given to the channel's destroy function. Where one value goes to several receivers, in a broadcast and a
 * watch, it stays the channel's, and each of them gets a copy, made by the channel's copy function.
 *
 * Each channel has two kinds of ends. Ends are counted handles: _clone makes one more, _close
 * gives one up (NULL is ignored). One handle may be used by any number of tasks and threads at a
 * time, unless its call says otherwise; but closing a handle while it is in use is a mistake. A future that is pending
 * then survives it, and ends with -ESHUTDOWN; one that was not polled yet must not be polled any more.
 */
#ifndef WEFT_CHANNEL_H
#define WEFT_CHANNEL_H

#include <weft/future.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zero is the default everywhere. */
typedef struct weft_channel_options {
    const char *name; /* for reports; copied, at most 63 bytes; NULL: none */
    /* Called with the address of each value that nobody will receive. It may not await, nor use the
     * channel; it is called by whichever thread gives the value up, under no lock. NULL: none */
    void (*destroy)(void *value);
    /* Broadcast and watch: make *to a copy of its own of what *from holds; such as one more
     * reference. 0, or a negative errno: what the receiver gets then, and nothing is received. As
     * destroy, but may await neither, nor receive by the same handle. NULL: the bytes */
    int (*copy)(void *to, const void *from);
    uint64_t max_items; /* unbounded queues: a send beyond that is -ENOBUFS; 0: no limit */
    uint64_t max_bytes; /* the same, of item_size each */
    uint64_t warn_at;   /* say once, on stderr, that so many values are queued; 0: never */
    uintptr_t spare_[3];
} weft_channel_options;

/* Counters, a moment old at most. */
typedef struct weft_channel_info {
    char name[64];
    size_t item_size;
    uint64_t capacity;                /* UINT64_MAX: unbounded */
    uint64_t depth;                   /* values queued now */
    uint64_t depth_max;               /* the most that ever were */
    uint64_t sent;                    /* values, ever */
    uint64_t received;                /* of a broadcast: by all receivers together */
    uint64_t dropped;                 /* values that nobody received, or was too slow to */
    uint64_t send_waits;              /* sends that had to wait for room */
    weft_duration send_wait_time;     /* how long, in all */
    weft_duration send_wait_time_max; /* the longest */
    unsigned senders, weak_senders, receivers;
    bool closed; /* no more values can be sent */
} weft_channel_info;

#ifdef __cplusplus
}
#endif

#endif
