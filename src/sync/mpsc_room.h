/* SPDX-License-Identifier: MIT */
/*
 * mpsc_room.h - finding room in a channel, and waiting for it: what sends and permits share.
 */
#ifndef WF_SYNC_MPSC_ROOM_H
#define WF_SYNC_MPSC_ROOM_H

#include "sync/mpsc.h"
#include "sync/value.h"
#include "task/await.h"

/* There is no slot yet: an unbounded channel must grow. */
#define WF_MPSC_GROW 1

/*
 * Under the lock: is there room for n more, for somebody who overtakes nobody? 0, -EAGAIN, -EPIPE, -ESHUTDOWN,
 * -ENOBUFS, WF_MPSC_GROW.
 */
int wf_mpsc_room(struct wf_mpsc *c, uint64_t n, uint64_t head);

/* The same, and grow if need be, which gives the lock back in between. Also -ENOMEM. Where head is, in *head. */
int wf_mpsc_find_room(struct wf_mpsc *c, uint64_t n, uint64_t *head);

/* Words of a future that waits for room: to send, or for a permit. */
enum { ROOM_CHANNEL, ROOM_WAITER, ROOM_OUT = 5, ROOM_SINCE };

/* Its aux_. */
enum {
    ROOM_PERMIT = 1, /* for a permit: ROOM_OUT is where that goes; else the value to be sent */
    ROOM_OWNED = 2,  /* and the permit counts as a sender */
    ROOM_TRIED = 4,  /* there was no room a moment ago: bring a waker at once */
    ROOM_HOLDS = 8   /* it has a reference to the channel */
};

/* Under the lock, when n are added to `reserved`: who uses them. */
weft_permit wf_mpsc_permit(struct wf_mpsc *c, size_t n, bool owned);

weft_future wf_mpsc_room_future(weft_sender *tx, uint32_t n, uint32_t aux, void *out);

#endif
