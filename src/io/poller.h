/* SPDX-License-Identifier: MIT */
/*
 * poller.h - the driver interface: a seat's set of descriptors, and the hub over all seats.
 *
 * IDEA     Every seat has a poller. The hub holds all of them, a signal that ends a sleep, and an alarm.
 *          A single worker sleeps on its poller itself; with more, all idle workers
 *          sleep on the hub, where one event wakes one of them: so an idle worker sees a busy worker's
 *          events, and nobody hands roles around. One that is single for a time has its poller out of the hub, and the
 *          signal in its poller.
 *          The signal is for whoever sleeps. Who must be found himself sleeps on a set of his own, which holds the hub
 *          and a bell: he is woken like the others, and by his bell.
 * WHO      add, remove: any worker. harvest: any worker, at once on the same poller too.
 *
 * epoll.c is behind it; a completion port or kqueue could be.
 */
#ifndef WF_IO_POLLER_H
#define WF_IO_POLLER_H

#include "base/lock.h"

#define WF_POLLER_MAX_EVENTS 256 /* a buffer of 3 KiB on the worker's own stack */

struct wf_hub;

struct wf_poller {
    struct wf_hub *hub;
    int epfd;
    struct wf_atomic_u32 watched; /* descriptors were added: worth asking */
};

/* Who sleeps on what. */
enum wf_hub_kind {
    WF_HUB_MANY, /* several workers, on the hub */
    WF_HUB_ONE,  /* one, on its poller, and at times others with it: wf_hub_share */
    WF_HUB_SOLE  /* one, for ever: its poller's set is the hub's */
};

struct wf_hub {
    int epfd;              /* what idle workers sleep on */
    int signalfd;          /* an eventfd; never read: edge-triggered */
    int alarmfd;           /* a timerfd; -1 for a sole worker */
    enum wf_hub_kind kind; /* set once */
    bool single;           /* the only poller is slept on itself. By who may call wf_hub_share */
    uintptr_t first, last; /* its pollers' addresses, with nobody else's between; set once */
    /* the moment that the alarm is set to; WEFT_FOREVER: none. Written under lock, read by anyone. */
    struct wf_atomic_u64 alarm;
    /* sleeps on the hub that are to end, less those that have: see wf_hub_rouse. Written under lock */
    struct wf_atomic_u32 roused;
    struct wf_lock lock;
};

/* A place to sleep for one that can be called by itself. */
struct wf_bell {
    int epfd; /* the hub and fd; -1: not open */
    int fd;   /* an eventfd; never read: edge-triggered */
};

#define WF_BELL_NONE ((struct wf_bell){-1, -1})

/* What woke a sleeper. */
struct wf_hub_wake {
    bool alarm;
    unsigned pollers; /* how many pollers have events: */
    struct wf_poller *ready[16];
};

/* 0 or a negative errno, nothing left open */
int wf_hub_open(struct wf_hub *h, enum wf_hub_kind kind);
void wf_hub_close(struct wf_hub *h);

/*
 * Of one worker, from now on: others sleep with it, on the hub; or it is single, and sleeps on its poller. Nobody may
 * sleep or harvest meanwhile. What was ready is ready afterwards. 0 or a negative errno; then nothing has changed.
 */
int wf_hub_share(struct wf_hub *h, struct wf_poller *only);
int wf_hub_unshare(struct wf_hub *h, struct wf_poller *only);

int wf_poller_open(struct wf_poller *p, struct wf_hub *h);
void wf_poller_close(struct wf_poller *p);

/* Edge-triggered, both directions. data comes back through wf_io_of_data. */
int wf_poller_add(struct wf_poller *p, int fd, uint64_t data);
void wf_poller_remove(struct wf_poller *p, int fd);
/* Is a, which may be gone with its runtime, one of b's runtime? */
bool wf_poller_same_runtime(const struct wf_poller *a, const struct wf_poller *b);

/* Deliver what has happened, without waiting. foreign: by another than the seat's worker. Returns the number
 * of events. */
unsigned wf_poller_harvest(struct wf_poller *p, bool foreign);

/*
 * Sleep until something happens, or until timeout_ns from now (single: the alarm is not used). A single
 * worker's events are delivered at once and counted in *events; else *wake says whose to
 * harvest. bell: a place of its own, NULL: on the hub with the others.
 */
void wf_hub_sleep(struct wf_hub *h, struct wf_poller *own, const struct wf_bell *bell,
                  uint64_t timeout_ns, struct wf_hub_wake *wake, unsigned *events);

/* End one sleep, from any thread. */
void wf_hub_signal(struct wf_hub *h);

/* End the sleep of one that sleeps on the hub, without knowing which: nobody sleeps there from now on until he has said
 * that he is up, by wf_hub_roused. From any thread; once for each. */
void wf_hub_rouse(struct wf_hub *h);
void wf_hub_roused(struct wf_hub *h);

/* By one whose sleep there has ended, and who was not meant, as it seems. */
void wf_hub_give_way(const struct wf_hub *h);

/* 0 or a negative errno, nothing left open. */
int wf_bell_open(struct wf_bell *b, struct wf_hub *h);
void wf_bell_close(struct wf_bell *b);

/* End the sleep at that bell, or the next one. From any thread. */
void wf_bell_ring(const struct wf_bell *b);

WF_INLINE bool wf_bell_is_open(const struct wf_bell *b)
{
    return b->epfd >= 0;
}

/* See that a sleeper on the hub wakes at that moment at the latest. */
void wf_hub_alarm_lower(struct wf_hub *h, uint64_t at_ns);

/* The alarm has gone off: it is unset; whoever saw it lowers it to what is next. */
void wf_hub_alarm_clear(struct wf_hub *h);

WF_INLINE uint64_t wf_hub_alarm(const struct wf_hub *h)
{
    /* relaxed: see worker.c, A1 */
    return wf_load_u64(&h->alarm, WF_RELAXED);
}

#endif
