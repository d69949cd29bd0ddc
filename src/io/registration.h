/* SPDX-License-Identifier: MIT */
/*
 * registration.h - a descriptor as the driver knows it: what it is ready for, who waits, when it may
 * be closed.
 */
#ifndef WF_IO_REGISTRATION_H
#define WF_IO_REGISTRATION_H

#include "base/atomic.h"
#include "task/await.h"

struct wf_poller;

enum wf_io_direction { WF_IO_READ = 0, WF_IO_WRITE = 1 };

struct wf_io {
    struct wf_atomic_u64 way[2];     /* by enum wf_io_direction: flags and waiter; registration.c */
    struct wf_atomic_u32 refs;       /* the handle's and one for each way */
    struct wf_atomic_u32 hangup;     /* the kernel said HUP, RDHUP, ERR or PRI: stay ready */
    struct wf_atomic_u32 generation; /* of this use of the memory; in the event data */
    int fd;                          /* set once before publish */
    struct wf_atomic_ptr home;   /* struct wf_poller *: where it is registered; NULL: nowhere yet */
    struct wf_atomic_u32 stolen; /* harvests by others than its home's worker, in a row */
    /* set once before publish */
    bool is_socket;
    bool short_is_all;       /* a short transfer says that the kernel has no more for now */
    struct wf_io *next_free; /* under the table's lock, while free */
} WF_ALIGNED(WF_CACHE_LINE);

/* Memory for a registration of descriptor fd, which it then owns. NULL when memory is out; fd is still
 * the caller's. The memory is never returned to the system, so a late event is harmless.
 * is_tcp: it is a socket, and one whose short transfers say something. */
struct wf_io *wf_io_new(int fd, bool is_tcp);

/*
 * Begin an operation in one direction. Returns 0, or -EBUSY when one is in flight already, or
 * -ESHUTDOWN when aborted or closed. *ready: worth trying the call, else wait first.
 * What it clears, an event that comes during the call sets again.
 */
int wf_io_begin(struct wf_io *io, enum wf_io_direction way, bool *ready);

/* End it. still_ready: the call could have gone on (it filled the buffer, or met an end). After this
 * io may be gone. */
void wf_io_end(struct wf_io *io, enum wf_io_direction way, bool still_ready);

/*
 * Inside an operation whose call would have blocked: wait until it is worth another try. Returns
 * 0, -ESHUTDOWN, -ECANCELED, -ETIMEDOUT, or why it cannot be registered.
 */
WF_SUSPENDS int wf_io_wait(struct wf_fiber *f, struct wf_io *io, enum wf_io_direction way);

/* The same for futures: poll, with target 0 at first, kept by the caller between polls; *rc is set when
 * it answers ready. cancel undoes a pending one. */
weft_poll wf_io_poll_ready(struct wf_io *io, enum wf_io_direction way, uintptr_t *target,
                           weft_context *cx, int *rc);
void wf_io_cancel(struct wf_io *io, enum wf_io_direction way, uintptr_t *target);

/* Wake the waiters, refuse what comes. The registration stays. abort also shuts a socket down, for all
 * who share it. */
void wf_io_refuse(struct wf_io *io);
void wf_io_abort(struct wf_io *io);
bool wf_io_is_refused(const struct wf_io *io, enum wf_io_direction way);

/* Abort and give the handle up: the descriptor is closed with the last operation. */
void wf_io_close(struct wf_io *io);

/* Give the handle up and return the descriptor; -EBUSY when an operation is in flight. */
int wf_io_detach(struct wf_io *io);

/* The poller is about to be closed: what is registered there is registered anew by who waits next. */
void wf_io_forget(struct wf_poller *p);

/* The driver's side: the kernel reported these epoll events. foreign: harvested by another than the home's
 * worker. */
void wf_io_event(struct wf_io *io, uint32_t events, bool foreign);

/* What identifies a use of a registration in the kernel's event data. */
uint64_t wf_io_to_data(const struct wf_io *io);
struct wf_io *wf_io_of_data(uint64_t data); /* NULL: of an earlier use */

/* Fetch ahead: the waiter of the first, whose own memory was fetched earlier, and the memory of the second. */
void wf_io_prefetch(uint64_t waiter_of, uint64_t memory_of);

/* Descriptors registered now with pollers that lie in [from, to). Looks at all registrations of the process: for
 * a snapshot of metrics. */
uint64_t wf_io_count(const void *from, const void *to);

/* For tests: registrations that somebody holds. */
uint64_t wf_io_in_use(void);

#endif
