/* SPDX-License-Identifier: MIT */
/*
 * epoll.c - the driver on epoll.
 *
 * IDEA     One epoll set per seat, edge-triggered; a parent set holds them all, edge-triggered too. The
 *          kernel wakes one sleeper of the parent per event. That sleeper harvests the set named by
 *          the event, so an edge that was consumed never hides an event (E1).
 * INVARIANTS
 *     E1   An event in a seat's set is, at any moment, named by an edge in the parent that nobody has
 *          taken, or about to be harvested by an awake worker. A harvest that filled its buffer may
 *          have left some: it has the parent name the set anew.
 *     E2   The signal and the alarm are edge-triggered descriptors: each write or expiry is one edge,
 *          and needs no read.
 *     E3   A bell's set has the hub level-triggered: it is ready while the hub has an edge that nobody has taken. So it
 *          may end the sleeps of several for one edge, which one of them takes, and never none.
 *     E4   While somebody is roused the signal is level-triggered in the hub: it was written, is never read, and so
 *          ends each sleep there at once. Those that were not meant give way meanwhile.
 */
#include "base/assert.h"
#include "base/sys.h"
#include "io/poller.h"
#include "io/registration.h"

#include <errno.h>
#include <weft/base.h>

/* Event data: a registration's is its address, far above these. In the parent, a poller's address. */
#define DATA_SIGNAL 1u
#define DATA_ALARM  2u
#define DATA_HUB    3u /* in a bell's set */

/* Events between asking for a registration's memory, for its waiter's, and using them. */
#define PREFETCH_AHEAD 3

static int epoll_watch_signal(struct wf_hub *h, int epfd)
{
    return wf_sys_epoll_ctl(epfd, EPOLL_CTL_ADD, h->signalfd, EPOLLIN | EPOLLET, DATA_SIGNAL);
}

int wf_hub_open(struct wf_hub *h, enum wf_hub_kind kind)
{
    int rc;

    *h = (struct wf_hub){.epfd = -1,
                         .signalfd = -1,
                         .alarmfd = -1,
                         .kind = kind,
                         .single = kind != WF_HUB_MANY,
                         .alarm = {WEFT_FOREVER},
                         .lock = WF_LOCK_INIT(WF_RANK_ALARM)};
    rc = h->epfd = wf_sys_epoll_create();
    if (rc < 0)
        return rc;
    rc = h->signalfd = wf_sys_eventfd();
    if (rc < 0)
        goto close_all;
    rc = epoll_watch_signal(h, h->epfd);
    if (rc < 0)
        goto close_all;
    if (kind == WF_HUB_SOLE)
        return 0;
    rc = h->alarmfd = wf_sys_timerfd_create();
    if (rc < 0)
        goto close_all;
    rc = wf_sys_epoll_ctl(h->epfd, EPOLL_CTL_ADD, h->alarmfd, EPOLLIN | EPOLLET, DATA_ALARM);
    if (rc < 0)
        goto close_all;
    return 0;

close_all:
    wf_hub_close(h);
    return rc;
}

void wf_hub_close(struct wf_hub *h)
{
    int *fds[] = {&h->alarmfd, &h->signalfd, &h->epfd};

    for (size_t i = 0; i < wf_array_count(fds); i++) {
        if (*fds[i] >= 0)
            wf_sys_close(*fds[i]);
        *fds[i] = -1;
    }
}

int wf_poller_open(struct wf_poller *p, struct wf_hub *h)
{
    int rc;

    *p = (struct wf_poller){.hub = h, .epfd = h->epfd};
    if (!h->first || (uintptr_t)p < h->first)
        h->first = (uintptr_t)p;
    if ((uintptr_t)p > h->last)
        h->last = (uintptr_t)p;
    if (h->kind == WF_HUB_SOLE)
        return 0;
    rc = p->epfd = wf_sys_epoll_create();
    if (rc < 0)
        return rc;
    if (h->single)
        rc = epoll_watch_signal(h, p->epfd);
    else
        rc = wf_sys_epoll_ctl(h->epfd, EPOLL_CTL_ADD, p->epfd, EPOLLIN | EPOLLET, (uintptr_t)p);
    if (rc < 0)
        wf_poller_close(p);
    return rc;
}

int wf_hub_share(struct wf_hub *h, struct wf_poller *only)
{
    int rc;

    wf_assert(h->single && h->kind == WF_HUB_ONE);
    /* Adding asks the set: what is ready in it is an edge. The signal was in the hub all the time. */
    rc = wf_sys_epoll_ctl(h->epfd, EPOLL_CTL_ADD, only->epfd, EPOLLIN | EPOLLET, (uintptr_t)only);
    if (rc < 0)
        return rc;
    (void)wf_sys_epoll_ctl(only->epfd, EPOLL_CTL_DEL, h->signalfd, 0, 0);
    h->single = false;
    return 0;
}

int wf_hub_unshare(struct wf_hub *h, struct wf_poller *only)
{
    int rc;

    wf_assert(!h->single && h->kind == WF_HUB_ONE);
    /* Its level is an edge, which ends one sleep in vain. */
    rc = epoll_watch_signal(h, only->epfd);
    if (rc < 0)
        return rc;
    (void)wf_sys_epoll_ctl(h->epfd, EPOLL_CTL_DEL, only->epfd, 0, 0);
    h->single = true;
    return 0;
}

void wf_poller_close(struct wf_poller *p)
{
    wf_io_forget(p);
    if (p->hub->kind != WF_HUB_SOLE && p->epfd >= 0)
        wf_sys_close(p->epfd);
    p->epfd = -1;
}

int wf_poller_add(struct wf_poller *p, int fd, uint64_t data)
{
    int rc = wf_sys_epoll_ctl(p->epfd, EPOLL_CTL_ADD, fd,
                              EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET, data);

    /* relaxed: a hint for the owner, who may be a moment late; sleepers are told by the kernel */
    if (rc == 0 && !wf_load_u32(&p->watched, WF_RELAXED))
        wf_store_u32(&p->watched, 1, WF_RELAXED);
    return rc;
}

void wf_poller_remove(struct wf_poller *p, int fd)
{
    (void)wf_sys_epoll_ctl(p->epfd, EPOLL_CTL_DEL, fd, 0, 0);
}

bool wf_poller_same_runtime(const struct wf_poller *a, const struct wf_poller *b)
{
    /* By its address alone. That of one which is gone is not reused here as long as b is. */
    return (uintptr_t)a - b->hub->first <= b->hub->last - b->hub->first;
}

static unsigned epoll_deliver(struct wf_poller *p, const struct epoll_event *events, int n,
                              bool foreign)
{
    unsigned delivered = 0;

    for (int i = 0; i < n; i++) {
        struct wf_io *io;

        if (i + PREFETCH_AHEAD < n)
            wf_io_prefetch(events[i + PREFETCH_AHEAD].data.u64,
                           i + 2 * PREFETCH_AHEAD < n ? events[i + 2 * PREFETCH_AHEAD].data.u64
                                                      : 0);
        if (events[i].data.u64 == DATA_SIGNAL)
            continue;
        delivered++;
        io = wf_io_of_data(events[i].data.u64);
        if (io)
            wf_io_event(io, events[i].events, foreign);
    }
    /* E1.b: modifying asks the set again, and a sleeper is woken if it has more. It cannot fail: the set
     * is there. A single worker sleeps on the set itself. */
    if (wf_unlikely(n == WF_POLLER_MAX_EVENTS) && !p->hub->single)
        (void)wf_sys_epoll_ctl(p->hub->epfd, EPOLL_CTL_MOD, p->epfd, EPOLLIN | EPOLLET,
                               (uintptr_t)p);
    return delivered;
}

unsigned wf_poller_harvest(struct wf_poller *p, bool foreign)
{
    struct epoll_event events[WF_POLLER_MAX_EVENTS];
    int n;

    /* E1.a: whoever came here by an edge of the parent's must not leave without the events. */
    do
        n = wf_sys_epoll_wait(p->epfd, events, WF_POLLER_MAX_EVENTS, 0);
    while (n == -EINTR);
    return n > 0 ? epoll_deliver(p, events, n, foreign) : 0;
}

static void epoll_sleep_parent(struct wf_hub *h, uint64_t timeout_ns, struct wf_hub_wake *wake)
{
    struct epoll_event events[wf_array_count(wake->ready)];
    /* E2.b: the edges so far are this one's, all of them */
    int n = wf_sys_epoll_wait(h->epfd, events, (int)wf_array_count(events), timeout_ns);

    for (int i = 0; i < n; i++) {
        if (events[i].data.u64 == DATA_ALARM)
            wake->alarm = true;
        else if (events[i].data.u64 != DATA_SIGNAL)
            wake->ready[wake->pollers++] =
                (struct wf_poller *)(uintptr_t)events[i].data.u64; /* NOLINT */
    }
}

static void epoll_sleep_apart(struct wf_hub *h, const struct wf_bell *bell, uint64_t timeout_ns,
                              struct wf_hub_wake *wake)
{
    struct epoll_event events[2];
    int n = wf_sys_epoll_wait(bell->epfd, events, (int)wf_array_count(events), timeout_ns);

    for (int i = 0; i < n; i++)
        if (events[i].data.u64 == DATA_HUB)
            /* E3: what it has, if nobody was faster */
            epoll_sleep_parent(h, 0, wake);
}

void wf_hub_sleep(struct wf_hub *h, struct wf_poller *own, const struct wf_bell *bell,
                  uint64_t timeout_ns, struct wf_hub_wake *wake, unsigned *events)
{
    struct epoll_event ready[WF_POLLER_MAX_EVENTS];
    int n;

    wake->alarm = false;
    wake->pollers = 0;
    *events = 0;
    if (!h->single) {
        if (bell)
            epoll_sleep_apart(h, bell, timeout_ns, wake);
        else
            epoll_sleep_parent(h, timeout_ns, wake);
        return;
    }
    n = wf_sys_epoll_wait(own->epfd, ready, WF_POLLER_MAX_EVENTS, timeout_ns);
    if (n > 0)
        *events = epoll_deliver(own, ready, n, false);
}

/* The counter would have to reach 2^64 to refuse. */
static void epoll_write(int fd)
{
    int rc;

    do
        rc = wf_sys_eventfd_signal(fd);
    while (rc == -EINTR);
    wf_debug_assert(rc >= 0);
    (void)rc;
}

void wf_hub_signal(struct wf_hub *h)
{
    /* E2.a: an edge for one sleeper */
    epoll_write(h->signalfd);
}

/* Under the lock. It cannot fail, as in epoll_deliver. */
static void epoll_set_signal(struct wf_hub *h, uint32_t how)
{
    (void)wf_sys_epoll_ctl(h->epfd, EPOLL_CTL_MOD, h->signalfd, EPOLLIN | how, DATA_SIGNAL);
}

void wf_hub_rouse(struct wf_hub *h)
{
    uint32_t roused;

    /* For a first time it may never have been written. */
    epoll_write(h->signalfd);
    wf_lock(&h->lock);
    /* E4.a: nobody sleeps on. Unless who is called was up before. */
    roused = wf_load_u32(&h->roused, WF_RELAXED) + 1;
    wf_store_u32(&h->roused, roused, WF_RELAXED);
    if (roused == 1)
        epoll_set_signal(h, 0);
    wf_unlock(&h->lock);
}

void wf_hub_roused(struct wf_hub *h)
{
    uint32_t roused;

    wf_lock(&h->lock);
    /* E4.b: all that were called are up. The level is an edge once more, which ends one sleep in vain. */
    roused = wf_load_u32(&h->roused, WF_RELAXED) - 1;
    if (roused == 0)
        epoll_set_signal(h, EPOLLET);
    wf_store_u32(&h->roused, roused, WF_RELAXED);
    wf_unlock(&h->lock);
}

void wf_hub_give_way(const struct wf_hub *h)
{
    /* relaxed: a courtesy */
    if (wf_unlikely(wf_load_u32(&h->roused, WF_RELAXED)))
        wf_sys_thread_yield();
}

int wf_bell_open(struct wf_bell *b, struct wf_hub *h)
{
    int rc;

    *b = WF_BELL_NONE;
    rc = b->epfd = wf_sys_epoll_create();
    if (rc < 0)
        return rc;
    rc = b->fd = wf_sys_eventfd();
    if (rc >= 0)
        rc = wf_sys_epoll_ctl(b->epfd, EPOLL_CTL_ADD, b->fd, EPOLLIN | EPOLLET, DATA_SIGNAL);
    if (rc >= 0)
        rc = wf_sys_epoll_ctl(b->epfd, EPOLL_CTL_ADD, h->epfd, EPOLLIN, DATA_HUB);
    if (rc < 0)
        wf_bell_close(b);
    return rc;
}

void wf_bell_close(struct wf_bell *b)
{
    if (b->fd >= 0)
        wf_sys_close(b->fd);
    if (b->epfd >= 0)
        wf_sys_close(b->epfd);
    *b = WF_BELL_NONE;
}

void wf_bell_ring(const struct wf_bell *b)
{
    epoll_write(b->fd);
}

void wf_hub_alarm_lower(struct wf_hub *h, uint64_t at_ns)
{
    /* A1.a: by a glance. An old value may be lower, never for long: see park_collect. */
    if (at_ns >= wf_hub_alarm(h))
        return;
    wf_lock(&h->lock);
    /* A1.b: and again. 0 would unset it: a moment that has passed long ago goes off at once. Should it
     * ever fail, the alarm stays as it was: who goes to sleep sees that, and sleeps no longer than
     * until at_ns. */
    if (at_ns < wf_hub_alarm(h) && wf_sys_timerfd_set(h->alarmfd, at_ns ? at_ns : 1) == 0)
        wf_store_u64(&h->alarm, at_ns, WF_RELAXED);
    wf_unlock(&h->lock);
}

void wf_hub_alarm_clear(struct wf_hub *h)
{
    wf_lock(&h->lock);
    /* A1.c */
    wf_store_u64(&h->alarm, WEFT_FOREVER, WF_RELAXED);
    wf_unlock(&h->lock);
}
