/* SPDX-License-Identifier: MIT */
/*
 * listener.c - listening and accepting.
 *
 * IDEA     Any number of tasks may accept; one of them at a time, the first in line, works on the
 *          descriptor, as its reader. The others wait for their turn, which it passes on when it leaves, by
 *          whatever way: so they are served first come, first served, and nobody's cancel loses a connection.
 *          Out of descriptors or memory, or refused again and again, the one in turn tries again after a
 *          pause that doubles up to 100 ms; the others wait behind it. Its waker is kept meanwhile for
 *          who closes.
 * OWNS     The listener's memory and its descriptor: the handle and each accept that has begun, by
 *          refs. Closing only refuses: those in line still come to their turn, and must find the
 *          registration there.
 * LOCKS    WF_RANK_LISTENER guards the line and the pause. Wakers are called outside it.
 */
#include "base/list.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/sys.h"
#include "net/net.h"
#include "net/stream.h"
#include "task/now.h"
#include "task/sleep.h"
#include "task/waker.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <weft/net.h>
#include <weft/time.h>

#define BACKLOG_DEFAULT 4096
#define BACKOFF_FIRST   WEFT_MS(1)
#define BACKOFF_MAX     WEFT_MS(100)
#define TRANSIENT_MAX   64 /* failed connections in a row: it is not the connections that fail */

struct weft_listener {
    struct wf_io *io;
    bool nodelay;
    struct wf_atomic_u32 refs;
    struct wf_lock lock;
    /* under lock */
    struct wf_list line;    /* of struct accept, those that wait for their turn */
    bool busy;              /* somebody has the turn */
    bool closed;            /* or aborted */
    weft_wakeable *pausing; /* whom closing wakes from a pause, one reference; NULL when closed */
    /* by who has the turn */
    struct wf_io *spare; /* memory for the next stream: had before the connection is taken */
    struct wf_timer pause;
    uint64_t backoff;
};

/* A weft_accept in its future's words. */
struct accept {
    weft_listener *l;
    weft_stream **out;
    struct wf_list node;        /* under the listener's lock while in line */
    weft_wakeable *target;      /* in line: one reference; with the turn: wf_io_poll_ready's word */
    struct wf_atomic_u32 state; /* in line: written under lock, read by its poller without */
};

enum { ACCEPT_NEW, ACCEPT_IN_LINE, ACCEPT_TURN, ACCEPT_BEGUN, ACCEPT_PAUSE };

_Static_assert(sizeof(struct accept) <= sizeof(((weft_future *)0)->words), "accept must fit");

static struct accept *accept_of(weft_future *f)
{
    return (struct accept *)(void *)f->words;
}

/* relaxed: all but IN_LINE and what follows it is its poller's alone; for these the lock is the order */
static void accept_set(struct accept *a, uint32_t state)
{
    wf_store_u32(&a->state, state, WF_RELAXED);
}

static bool accept_is(struct accept *a, uint32_t state)
{
    return wf_load_u32(&a->state, WF_RELAXED) == state;
}

static void listener_release(weft_listener *l)
{
    /* acq_rel: as every reference count */
    if (wf_sub_u32(&l->refs, 1, WF_ACQ_REL) != 1)
        return;
    wf_io_close(l->io);
    if (l->spare)
        wf_io_close(l->spare);
    wf_sys_free(l);
}

/* Take the turn or a place in line. True: the turn. */
static bool accept_line_up(struct accept *a, weft_wakeable *target)
{
    weft_listener *l = a->l;
    bool turn;

    wf_lock(&l->lock);
    turn = !l->busy;
    if (turn) {
        l->busy = true;
        accept_set(a, ACCEPT_TURN);
    } else {
        a->target = wf_wakeable_retain(target);
        accept_set(a, ACCEPT_IN_LINE);
        wf_list_push_back(&l->line, &a->node);
    }
    wf_unlock(&l->lock);
    return turn;
}

/* Hand the turn to the next in line. */
static void accept_pass_turn(weft_listener *l)
{
    weft_wakeable *target = NULL;
    struct wf_list *node;

    wf_lock(&l->lock);
    node = wf_list_pop_front(&l->line);
    if (node) {
        struct accept *next = wf_container_of(node, struct accept, node);

        target = next->target;
        next->target = NULL;
        accept_set(next, ACCEPT_TURN);
    } else {
        l->busy = false;
    }
    wf_unlock(&l->lock);
    wf_wakeable_wake(target);
}

/* A poll in line: has the turn come? */
static bool accept_check_line(struct accept *a, weft_wakeable *target)
{
    weft_listener *l = a->l;
    weft_wakeable *before = NULL;
    bool turn;

    wf_lock(&l->lock);
    turn = accept_is(a, ACCEPT_TURN);
    if (!turn && a->target != target) {
        before = a->target;
        a->target = wf_wakeable_retain(target);
    }
    wf_unlock(&l->lock);
    wf_wakeable_release(before);
    return turn;
}

static weft_poll accept_finish(weft_future *f, int rc, bool ready)
{
    struct accept *a = accept_of(f);
    weft_listener *l = a->l;

    if (accept_is(a, ACCEPT_BEGUN) || accept_is(a, ACCEPT_PAUSE))
        wf_io_end(l->io, WF_IO_READ, ready);
    accept_set(a, ACCEPT_NEW);
    f->result = rc;
    accept_pass_turn(l);
    listener_release(l);
    return WEFT_READY;
}

/* Take a connection, for which there is memory already. 0 or a negative errno. */
static int accept_one(weft_listener *l, weft_stream **out)
{
    int one = 1, fd;

    if (!l->spare)
        l->spare = wf_io_new(-1, true);
    if (!l->spare)
        return -ENOMEM;
    fd = wf_sys_accept(l->io->fd, NULL, NULL);
    if (fd < 0)
        return fd;
    /* Best effort: a Unix socket has no such option. */
    if (l->nodelay)
        (void)wf_sys_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    l->spare->fd = fd;
    *out = wf_stream_of_io(l->spare);
    l->spare = NULL;
    return 0;
}

/* Of descriptors, of memory, or of fs.epoll.max_user_watches. */
static bool accept_is_shortage(int rc)
{
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOBUFS || rc == -ENOMEM || rc == -ENOSPC;
}

/* Errors of the connection that was about to be accepted, not of the listener. */
static bool accept_is_transient(int rc)
{
    return rc == -EINTR || rc == -ECONNABORTED || rc == -EPROTO || rc == -EPERM ||
           rc == -ENETDOWN || rc == -ENOPROTOOPT || rc == -EHOSTDOWN || rc == -ENONET ||
           rc == -EHOSTUNREACH || rc == -ENETUNREACH;
}

/* Keep this one for who closes, in place of the one before; NULL: the pause is over. False: closed
 * already, and nobody is kept. */
static bool listener_keep_pausing(weft_listener *l, weft_wakeable *target)
{
    weft_wakeable *before;
    bool closed;

    wf_wakeable_retain(target);
    wf_lock(&l->lock);
    closed = l->closed;
    before = l->pausing;
    l->pausing = closed ? NULL : target;
    wf_unlock(&l->lock);
    wf_wakeable_release(before);
    if (closed)
        wf_wakeable_release(target);
    return !closed;
}

/* Out of something, which rc says: try again later. A plain thread has no timers: it is told. */
static weft_poll accept_pause(weft_future *f, weft_context *cx, int rc)
{
    struct accept *a = accept_of(f);
    weft_listener *l = a->l;

    if (!wf_thread_self())
        return accept_finish(f, rc, true);
    l->backoff = l->backoff ? l->backoff * 2 : BACKOFF_FIRST;
    if (l->backoff > BACKOFF_MAX)
        l->backoff = BACKOFF_MAX;
    if (!listener_keep_pausing(l, cx->waker_.target_))
        return accept_finish(f, -ESHUTDOWN, true);
    accept_set(a, ACCEPT_PAUSE);
    l->pause = (struct wf_timer){0};
    wf_timer_arm(&l->pause, wf_thread_self()->wheel, wf_now() + l->backoff,
                 wf_wakeable_retain(cx->waker_.target_));
    return WEFT_PENDING;
}

/* No connection can be had, or waited for. An abort's shutdown makes accept(2) fail in its own way. */
static weft_poll accept_failed(weft_future *f, weft_context *cx, int rc)
{
    if (wf_io_is_refused(accept_of(f)->l->io, WF_IO_READ))
        return accept_finish(f, -ESHUTDOWN, true);
    if (accept_is_shortage(rc) || accept_is_transient(rc))
        return accept_pause(f, cx, rc);
    return accept_finish(f, rc, true);
}

/* Try until there is a connection, or one must wait. */
static weft_poll accept_try(weft_future *f, weft_context *cx, bool ready)
{
    struct accept *a = accept_of(f);
    weft_listener *l = a->l;
    uintptr_t *target = (uintptr_t *)(void *)&a->target;
    unsigned transient = 0;
    int rc;

    for (;;) {
        if (ready) {
            rc = accept_one(l, a->out);
            if (rc == 0) {
                l->backoff = 0;
                return accept_finish(f, 0, true);
            }
            if (accept_is_transient(rc) && ++transient < TRANSIENT_MAX)
                continue;
            if (rc != -EAGAIN)
                return accept_failed(f, cx, rc);
        }
        if (wf_io_poll_ready(l->io, WF_IO_READ, target, cx, &rc) == WEFT_PENDING)
            return WEFT_PENDING;
        if (rc < 0)
            return accept_failed(f, cx, rc);
        ready = true;
    }
}

/* A poll in a pause: it goes on, or is over, or its runtime is and so the pause; or the listener was closed. */
static weft_poll accept_poll_pause(weft_future *f, weft_context *cx)
{
    struct accept *a = accept_of(f);
    weft_listener *l = a->l;

    if (!listener_keep_pausing(l, cx->waker_.target_)) {
        wf_timer_cancel(&l->pause);
        return accept_finish(f, -ESHUTDOWN, true);
    }
    if (wf_timer_repoll(&l->pause, cx) == WF_TIMER_ARMED)
        return WEFT_PENDING;
    (void)listener_keep_pausing(l, NULL);
    accept_set(a, ACCEPT_BEGUN);
    a->target = NULL;
    return accept_try(f, cx, true);
}

static weft_poll accept_begin(weft_future *f, weft_context *cx)
{
    struct accept *a = accept_of(f);
    bool ready;
    int rc = wf_io_begin(a->l->io, WF_IO_READ, &ready);

    if (rc < 0)
        return accept_finish(f, rc, true);
    accept_set(a, ACCEPT_BEGUN);
    a->target = NULL;
    return accept_try(f, cx, ready);
}

static weft_poll accept_poll(weft_future *f, weft_context *cx)
{
    struct accept *a = accept_of(f);
    int rc;

    /* IN_LINE may become TURN at any moment: both look again under the lock. */
    switch (wf_load_u32(&a->state, WF_RELAXED)) {
    case ACCEPT_NEW:
        /* relaxed: the caller's handle keeps the listener; from here on the accept does */
        wf_add_u32(&a->l->refs, 1, WF_RELAXED);
        if (!accept_line_up(a, cx->waker_.target_) || !wf_coop_proceed(cx))
            return WEFT_PENDING;
        return accept_begin(f, cx);
    case ACCEPT_IN_LINE:
    case ACCEPT_TURN:
        return accept_check_line(a, cx->waker_.target_) ? accept_begin(f, cx) : WEFT_PENDING;
    case ACCEPT_BEGUN:
        if (wf_io_poll_ready(a->l->io, WF_IO_READ, (uintptr_t *)(void *)&a->target, cx, &rc) ==
            WEFT_PENDING)
            return WEFT_PENDING;
        return rc < 0 ? accept_failed(f, cx, rc) : accept_try(f, cx, true);
    case ACCEPT_PAUSE:
        return accept_poll_pause(f, cx);
    default:
        wf_unreachable("accept state");
    }
}

static void accept_drop(weft_future *f)
{
    struct accept *a = accept_of(f);
    weft_listener *l = a->l;
    weft_wakeable *target = NULL;
    bool in_line;

    if (accept_is(a, ACCEPT_NEW))
        return;
    wf_lock(&l->lock);
    in_line = accept_is(a, ACCEPT_IN_LINE);
    if (in_line) {
        wf_list_remove(&a->node);
        target = a->target;
        a->target = NULL;
        accept_set(a, ACCEPT_NEW);
    }
    wf_unlock(&l->lock);
    if (in_line) {
        wf_wakeable_release(target);
        listener_release(l);
        return;
    }
    if (accept_is(a, ACCEPT_PAUSE)) {
        wf_timer_cancel(&l->pause);
        (void)listener_keep_pausing(l, NULL);
    } else if (accept_is(a, ACCEPT_BEGUN)) {
        wf_io_cancel(l->io, WF_IO_READ, (uintptr_t *)(void *)&a->target);
    }
    accept_finish(f, -ECANCELED, true);
}

static const weft_future_type accept_type = {accept_poll, accept_drop, "accept"};

weft_future weft_accept_future(weft_listener *l, weft_stream **s)
{
    weft_future f = {.type = &accept_type};

    if (!l || !s)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_accept_future: NULL"));
    accept_of(&f)->l = l;
    accept_of(&f)->out = s;
    return f;
}

int weft_accept(weft_listener *l, weft_stream **s)
{
    struct wf_fiber *f;
    weft_future next;
    int rc;

    if (!l || !s)
        return wf_misuse(-EINVAL, "weft_accept: NULL");
    rc = wf_await_enter(&f, "weft_accept");
    if (rc < 0)
        return rc;
    next = weft_accept_future(l, s);
    return (int)wf_await_future(f, &next);
}

static int listener_set_options(int fd, int family, const weft_listen_options *o)
{
    int rc = wf_net_set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1, o->reuse_addr != WEFT_OFF);

    if (rc == 0)
        rc = wf_net_set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1, o->reuse_port == WEFT_ON);
    if (rc == 0 && family == AF_INET6)
        rc = wf_net_set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, o->v6_only == WEFT_ON, true);
    if (rc == 0)
        rc = wf_net_set_int(fd, SOL_SOCKET, SO_RCVBUF, o->receive_buffer, o->receive_buffer > 0);
    if (rc == 0)
        rc = wf_net_set_int(fd, SOL_SOCKET, SO_SNDBUF, o->send_buffer, o->send_buffer > 0);
    return rc;
}

static bool listener_options_valid(const weft_listen_options *o)
{
    return o->backlog >= 0 && wf_net_buffers_valid(o->receive_buffer, o->send_buffer) &&
           wf_net_switch_valid(o->reuse_addr) && wf_net_switch_valid(o->reuse_port) &&
           wf_net_switch_valid(o->nodelay) && wf_net_switch_valid(o->v6_only) &&
           wf_net_spare_valid(o->spare_, wf_array_count(o->spare_));
}

int weft_tcp_listen(weft_listener **out, const weft_addr *address,
                    const weft_listen_options *options)
{
    static const weft_listen_options none = {0};
    const weft_listen_options *o = options ? options : &none;
    weft_listener *l;
    int fd, rc;

    if (!out || !address || !listener_options_valid(o))
        return wf_misuse(-EINVAL, "weft_tcp_listen: NULL, or a bad option");
    fd = wf_sys_socket(address->u.any.sa_family, SOCK_STREAM);
    if (fd < 0)
        return fd;
    rc = listener_set_options(fd, address->u.any.sa_family, o);
    if (rc == 0)
        rc = wf_sys_bind(fd, &address->u.any, address->size);
    if (rc == 0)
        rc = wf_sys_listen(fd, o->backlog ? o->backlog : BACKLOG_DEFAULT);
    if (rc < 0)
        goto close_fd;
    rc = -ENOMEM;
    l = wf_sys_calloc(1, sizeof(*l));
    if (!l)
        goto close_fd;
    l->io = wf_io_new(fd, true);
    if (!l->io)
        goto free_l;
    l->nodelay = o->nodelay != WEFT_OFF;
    wf_store_u32(&l->refs, 1, WF_RELAXED);
    wf_lock_init(&l->lock, WF_RANK_LISTENER);
    wf_list_init(&l->line);
    *out = l;
    return 0;

free_l:
    wf_sys_free(l);
close_fd:
    wf_sys_close(fd);
    return rc;
}

int weft_listen(weft_listener **l, const char *address, const weft_listen_options *options)
{
    weft_addr a;
    int rc = wf_net_parse_url(&a, address);

    if (rc < 0)
        return wf_misuse(rc, "weft_listen: \"%s\" is not an address like tcp://127.0.0.1:8080",
                         address ? address : "(null)");
    return weft_tcp_listen(l, &a, options);
}

/* From now on nobody pauses. Returns who does: to be woken once the descriptor refuses. */
static weft_wakeable *listener_end_pause(weft_listener *l)
{
    weft_wakeable *target;

    wf_lock(&l->lock);
    l->closed = true;
    target = l->pausing;
    l->pausing = NULL;
    wf_unlock(&l->lock);
    return target;
}

void weft_listener_abort(weft_listener *l)
{
    weft_wakeable *target;

    if (!l)
        return;
    target = listener_end_pause(l);
    wf_io_abort(l->io);
    wf_wakeable_wake(target);
}

int weft_listener_close(weft_listener *l)
{
    weft_wakeable *target;

    if (!l)
        return 0;
    target = listener_end_pause(l);
    wf_io_refuse(l->io);
    listener_release(l);
    wf_wakeable_wake(target);
    return 0;
}

int weft_listener_fd(const weft_listener *l)
{
    return l ? l->io->fd : wf_misuse(-EINVAL, "weft_listener_fd: l is NULL");
}
