/* SPDX-License-Identifier: MIT */
/*
 * registration.c - readiness, waiting and closing of one descriptor.
 *
 * IDEA     Each direction is one word: READY (a call may succeed), BUSY (an operation is in flight),
 *          CLOSED (aborted), and the waiter, a counted weft_wakeable. An operation tries the call
 *          first, and waits only when it would have blocked. Its waiter is taken by the event,
 *          by cancelling, or by an abort: whoever's compare-and-swap removes it from the word.
 *          So a pending future's memory is never touched by the driver at all.
 * OWNS     The memory comes from a table that only grows; a generation tells uses apart. refs counts
 *          the handle and the two directions; a direction that is not BUSY gives its count up
 *          when the handle is closed, a BUSY one when its operation ends. The last one closes
 *          the descriptor: its number is never reused under an operation.
 * INVARIANTS
 *     R1   A waiter implies BUSY.
 *     R2   An event that the kernel reported after an operation cleared READY sets READY or takes the
 *          waiter: none is lost. begin clears READY before the call, never after it.
 *     R3   Registered once, edge-triggered, for both directions, when something first waits. What was
 *          ready before is reported by the kernel at that moment.
 * ORDER    All changes of a way are acq_rel read-modify-writes: an event's happens before the try
 *          of the operation that it wakes, and clearing READY before the call that follows.
 * LOCKS    WF_RANK_IO_TABLE for the table of free ones, and for a poller that is used by others than its runtime's
 *          threads: it is closed only when nothing is at home there any more.
 */
#include "io/registration.h"

#include "base/assert.h"
#include "base/lock.h"
#include "base/sys.h"
#include "io/poller.h"
#include "task/deadline.h"
#include "task/waker.h"

#include <errno.h>

#define WAY_READY  1ull
#define WAY_BUSY   2ull
#define WAY_CLOSED 4ull
#define WAY_FLAGS  7ull

#define REF_HANDLE 1u
#define REFS_NEW   3u

/* Events that say "from now on always ready". Urgent data is one: a read stops short at its mark, with
 * more behind it. */
#define IO_HANGUP (EPOLLHUP | EPOLLRDHUP | EPOLLERR | EPOLLPRI)

/* Move to the harvesting worker after so many harvests by others in a row. */
#ifndef WF_IO_STOLEN_MAX /* tests of all interleavings have a lower one */
# define WF_IO_STOLEN_MAX 16
#endif

#define TABLE_BLOCK 64

static struct {
    struct wf_lock lock;
    struct wf_io *free;
} table = {.lock = WF_LOCK_INIT(WF_RANK_IO_TABLE)};

struct io_block {
    struct io_block *next; /* keeps the memory reachable for leak checkers */
    struct wf_io entries[TABLE_BLOCK];
};

_Static_assert(sizeof(struct wf_io) == WF_CACHE_LINE, "a registration is one line");

static struct io_block *io_blocks; /* under the table's lock */

static bool io_table_grow_locked(void)
{
    struct io_block *b = wf_sys_aligned_alloc(WF_CACHE_LINE, (sizeof(*b) + WF_CACHE_LINE - 1) &
                                                                 ~(size_t)(WF_CACHE_LINE - 1));

    if (!b)
        return false;
    b->next = io_blocks;
    io_blocks = b;
    for (int i = TABLE_BLOCK - 1; i >= 0; i--) {
        b->entries[i] = (struct wf_io){.next_free = table.free, .fd = -1};
        table.free = &b->entries[i];
    }
    return true;
}

struct wf_io *wf_io_new(int fd, bool is_tcp)
{
    struct wf_io *io = NULL;

    wf_lock(&table.lock);
    if (table.free || io_table_grow_locked()) {
        io = table.free;
        table.free = io->next_free;
    }
    wf_unlock(&table.lock);
    if (!io)
        return NULL;
    io->next_free = NULL;
    io->fd = fd;
    io->is_socket = is_tcp;
    io->short_is_all = is_tcp;
    /* relaxed: the caller publishes it; late events of an earlier use see the generation */
    wf_store_u32(&io->hangup, 0, WF_RELAXED);
    wf_store_u32(&io->stolen, 0, WF_RELAXED);
    wf_store_ptr(&io->home, NULL, WF_RELAXED);
    wf_store_u32(&io->refs, REFS_NEW, WF_RELAXED);
    wf_store_u64(&io->way[WF_IO_READ], WAY_READY, WF_RELAXED);
    wf_store_u64(&io->way[WF_IO_WRITE], WAY_READY, WF_RELAXED);
    return io;
}

static void io_free(struct wf_io *io)
{
    /* relaxed: the last holder; a late event may read either value and is harmless both ways */
    wf_store_u32(&io->generation, wf_load_u32(&io->generation, WF_RELAXED) + 1, WF_RELAXED);
    wf_store_ptr(&io->home, NULL, WF_RELAXED);
    wf_lock(&table.lock);
    io->next_free = table.free;
    table.free = io;
    wf_unlock(&table.lock);
}

uint64_t wf_io_count(const void *from, const void *to)
{
    const struct io_block *b;
    uint64_t n = 0;

    wf_lock(&table.lock);
    b = io_blocks;
    wf_unlock(&table.lock);
    for (; b; b = b->next)
        for (size_t i = 0; i < TABLE_BLOCK; i++) {
            /* relaxed: a statistic; the address is compared, not followed */
            const char *home = wf_load_ptr(&b->entries[i].home, WF_RELAXED);

            n += home >= (const char *)from && home < (const char *)to;
        }
    return n;
}

uint64_t wf_io_in_use(void)
{
    const struct io_block *b;
    uint64_t n = 0;

    wf_lock(&table.lock);
    b = io_blocks;
    wf_unlock(&table.lock);
    for (; b; b = b->next)
        for (size_t i = 0; i < TABLE_BLOCK; i++)
            /* relaxed: for who knows that nobody else is at work */
            n += wf_load_u32(&b->entries[i].refs, WF_RELAXED) != 0;
    return n;
}

uint64_t wf_io_to_data(const struct wf_io *io)
{
    /* User addresses have at most 48 bits on every CPU we run on, unless a program asks for more; 16
     * bits of generation go below. */
    return (uint64_t)(uintptr_t)io << 16 | (wf_load_u32(&io->generation, WF_RELAXED) & 0xffff);
}

struct wf_io *wf_io_of_data(uint64_t data)
{
    struct wf_io *io = (struct wf_io *)(uintptr_t)(data >> 16); /* NOLINT */

    /* relaxed: passing an old event on would only be a spurious wake-up */
    return (wf_load_u32(&io->generation, WF_RELAXED) & 0xffff) == (data & 0xffff) ? io : NULL;
}

static weft_wakeable *way_waiter(uint64_t word)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): the word is a pointer and flags */
    return (weft_wakeable *)(uintptr_t)(word & ~WAY_FLAGS);
}

void wf_io_prefetch(uint64_t waiter_of, uint64_t memory_of)
{
    const struct wf_io *near = (const struct wf_io *)(uintptr_t)(waiter_of >> 16); /* NOLINT */
    const struct wf_io *far = (const struct wf_io *)(uintptr_t)(memory_of >> 16);  /* NOLINT */

    __builtin_prefetch(far);
    /* relaxed: an address to prefetch, whatever it is. NULL: the signal's. */
    if (near) {
        const char *waiter = (const char *)way_waiter(
            wf_load_u64(&near->way[WF_IO_READ], WF_RELAXED));

        __builtin_prefetch(waiter);
        __builtin_prefetch(waiter + WF_CACHE_LINE);
    }
}

/* Give up counts of refs. */
static void io_release(struct wf_io *io, uint32_t n)
{
    /* acq_rel: the last one closes after all others are done */
    if (wf_sub_u32(&io->refs, n, WF_ACQ_REL) != n)
        return;
    if (io->fd >= 0)
        wf_sys_close(io->fd);
    io_free(io);
}

int wf_io_begin(struct wf_io *io, enum wf_io_direction way, bool *ready)
{
    /* relaxed: only seeds the exchange */
    uint64_t old = wf_load_u64(&io->way[way], WF_RELAXED);

    do {
        if (wf_unlikely(old & (WAY_CLOSED | WAY_BUSY)))
            return old & WAY_CLOSED ? -ESHUTDOWN : -EBUSY;
        /* acq_rel: R2 */
    } while (!wf_cas_weak_u64(&io->way[way], &old, WAY_BUSY, WF_ACQ_REL, WF_RELAXED));
    *ready = (old & WAY_READY) != 0;
    return 0;
}

void wf_io_end(struct wf_io *io, enum wf_io_direction way, bool still_ready)
{
    uint64_t old = WAY_BUSY, new;

    /* relaxed: set by an event before it sets READY, which acquires */
    if (!still_ready && wf_load_u32(&io->hangup, WF_RELAXED))
        still_ready = true;
    do {
        wf_debug_assert((old & WAY_BUSY) && !way_waiter(old));
        new = (old & ~WAY_BUSY) | (still_ready ? WAY_READY : 0);
        /* acq_rel: releases what the operation did to who closes */
    } while (!wf_cas_weak_u64(&io->way[way], &old, new, WF_ACQ_REL, WF_RELAXED));
    if (wf_unlikely(old & WAY_CLOSED))
        io_release(io, 1);
}

static void io_wake_way(struct wf_io *io, enum wf_io_direction way, uint64_t set)
{
    /* relaxed: only seeds the exchange */
    uint64_t old = wf_load_u64(&io->way[way], WF_RELAXED), new;

    do {
        new = (old & WAY_FLAGS) | set;
        /* Who is woken tries the call at once: it needs no READY besides. */
        if (way_waiter(old))
            new &= ~WAY_READY;
        /* acq_rel: ORDER */
    } while (!wf_cas_weak_u64(&io->way[way], &old, new, WF_ACQ_REL, WF_RELAXED));
    wf_wakeable_wake(way_waiter(old));
}

void wf_io_event(struct wf_io *io, uint32_t events, bool foreign)
{
    if (wf_unlikely(events & IO_HANGUP))
        /* relaxed: carried by the exchange below */
        wf_store_u32(&io->hangup, 1, WF_RELAXED);
    if (events & (EPOLLIN | IO_HANGUP))
        io_wake_way(io, WF_IO_READ, WAY_READY);
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        io_wake_way(io, WF_IO_WRITE, WAY_READY);
    /* relaxed: a hint for where to live; a lost count does no harm */
    if (wf_unlikely(foreign))
        wf_store_u32(&io->stolen, wf_load_u32(&io->stolen, WF_RELAXED) + 1, WF_RELAXED);
    else if (wf_unlikely(wf_load_u32(&io->stolen, WF_RELAXED)))
        wf_store_u32(&io->stolen, 0, WF_RELAXED);
}

/* Tell the kernel, once; or move to this worker's poller when others keep harvesting for us. */
static int io_register(struct wf_io *io)
{
    struct wf_thread *th = wf_thread_self();
    void *home = NULL;
    int rc;

    if (wf_unlikely(!th || !th->poller))
        return -EPERM;
    /* acq_rel: whoever finds a home set may rely on the kernel reporting, now or soon */
    if (!wf_cas_ptr(&io->home, &home, th->poller, WF_ACQ_REL, WF_ACQUIRE))
        return 0;
    rc = wf_poller_add(th->poller, io->fd, wf_io_to_data(io));
    if (rc < 0) {
        wf_store_ptr(&io->home, NULL, WF_RELEASE);
        /* The other direction may wait in the belief that it is registered: let it see for itself. */
        io_wake_way(io, WF_IO_READ, 0);
        io_wake_way(io, WF_IO_WRITE, 0);
        return rc;
    }
    return 0;
}

static void io_move_home(struct wf_io *io)
{
    struct wf_thread *th = wf_thread_self();
    struct wf_poller *from = wf_load_ptr(&io->home, WF_ACQUIRE);

    wf_store_u32(&io->stolen, 0, WF_RELAXED);
    if (!th || !th->poller || !from || from == th->poller ||
        !wf_poller_same_runtime(from, th->poller))
        return;
    /* Into the new place first: were that to fail, all stays as it is. It reports readiness anew, so no
     * edge is lost; what both report is one wake too many. */
    if (wf_poller_add(th->poller, io->fd, wf_io_to_data(io)) < 0)
        return;
    wf_store_ptr(&io->home, th->poller, WF_RELEASE);
    wf_poller_remove(from, io->fd);
}

static int io_arm(struct wf_io *io, enum wf_io_direction way, weft_wakeable *target)
{
    uint64_t old = WAY_BUSY;

    wf_debug_assert(((uintptr_t)target & WAY_FLAGS) == 0);
    for (;;) {
        uint64_t new;

        if (old & WAY_CLOSED)
            return -ESHUTDOWN;
        new = old &WAY_READY ? WAY_BUSY : WAY_BUSY | (uintptr_t)target;
        /* acq_rel: ORDER; consumes READY, or leaves the waiter */
        if (wf_cas_weak_u64(&io->way[way], &old, new, WF_ACQ_REL, WF_RELAXED))
            return old & WAY_READY ? 0 : 1;
    }
}

/* Take the waiter back. False: an event or an abort has taken it, and wakes it. */
static bool io_disarm(struct wf_io *io, enum wf_io_direction way, uintptr_t *target)
{
    /* acquire, here and when it fails: pairs with io_wake_way, if that took the waiter */
    uint64_t old = wf_load_u64(&io->way[way], WF_ACQUIRE);
    weft_wakeable *waiter = (weft_wakeable *)*target; /* NOLINT(performance-no-int-to-ptr) */

    *target = 0;
    while (way_waiter(old) == waiter) {
        /* acq_rel: ORDER */
        if (wf_cas_weak_u64(&io->way[way], &old, old & WAY_FLAGS, WF_ACQ_REL, WF_ACQUIRE)) {
            wf_wakeable_release(waiter);
            return true;
        }
    }
    return false;
}

void wf_io_cancel(struct wf_io *io, enum wf_io_direction way, uintptr_t *target)
{
    if (*target)
        (void)io_disarm(io, way, target);
}

/* Told once: with no home yet, or with one that others keep harvesting for. */
static int io_see_home(struct wf_io *io, enum wf_io_direction way)
{
    /* relaxed: a stale NULL only leads to the exchange in io_register */
    if (wf_unlikely(!wf_load_ptr(&io->home, WF_RELAXED)))
        return io_register(io);
    if (wf_unlikely(wf_load_u32(&io->stolen, WF_RELAXED) >= WF_IO_STOLEN_MAX) && way == WF_IO_READ)
        io_move_home(io);
    return 0;
}

weft_poll wf_io_poll_ready(struct wf_io *io, enum wf_io_direction way, uintptr_t *target,
                           weft_context *cx, int *rc)
{
    weft_wakeable *wanted = cx->waker_.target_;

    *rc = 0;
    if (*target) {
        /* acquire: pairs with io_wake_way */
        uint64_t word = wf_load_u64(&io->way[way], WF_ACQUIRE);

        if (!way_waiter(word)) {
            *target = 0;
            *rc = word & WAY_CLOSED ? -ESHUTDOWN : 0;
            return WEFT_READY;
        }
        if (*target == (uintptr_t)wanted)
            return WEFT_PENDING;
        /* Another waker than before. If the old one was just taken, the event is this poll's: it is
         * nowhere else recorded. */
        if (!io_disarm(io, way, target))
            return WEFT_READY;
    }
    wf_wakeable_retain(wanted);
    *rc = io_arm(io, way, wanted);
    if (*rc <= 0) {
        wf_wakeable_release(wanted);
        return WEFT_READY;
    }
    *target = (uintptr_t)wanted;
    *rc = io_see_home(io, way);
    if (wf_likely(*rc == 0))
        return WEFT_PENDING;
    wf_io_cancel(io, way, target);
    return WEFT_READY;
}

/* The future wf_io_poll_ready, by hand: a parked read is some 200 bytes of stack smaller, which is a cache
 * miss or two less for each of many connections. */
int wf_io_wait(struct wf_fiber *f, struct wf_io *io, enum wf_io_direction way)
{
    uintptr_t target = (uintptr_t)&f->task->wakeable;
    uint64_t word;
    int rc;

    wf_task_retain(f->task);
    rc = io_arm(io, way, &f->task->wakeable);
    if (rc <= 0) {
        wf_task_release(f->task);
        return rc;
    }
    rc = io_see_home(io, way);
    while (rc == 0) {
        if (wf_unlikely(f->deadline != NULL) && wf_deadline_arm(f)) {
            rc = -ETIMEDOUT;
            break;
        }
        wf_fiber_suspend(f, WF_POLL_PENDING);
        /* acquire: pairs with io_wake_way. What is ready wins over cancel and deadline. */
        word = wf_load_u64(&io->way[way], WF_ACQUIRE);
        if (wf_likely(!way_waiter(word)))
            return word & WAY_CLOSED ? -ESHUTDOWN : 0;
        rc = wf_await_verdict(f);
    }
    wf_io_cancel(io, way, &target);
    return rc;
}

/* Mark one direction closed. Returns the number of refs that it gives up: 1 unless in flight. */
static uint32_t io_close_way(struct wf_io *io, enum wf_io_direction way)
{
    /* acq_rel: R2, and the waiter leaves by its own end */
    uint64_t old = wf_load_u64(&io->way[way], WF_RELAXED), new;

    do {
        new = (old & WAY_FLAGS) | WAY_CLOSED;
    } while (!wf_cas_weak_u64(&io->way[way], &old, new, WF_ACQ_REL, WF_RELAXED));
    wf_wakeable_wake(way_waiter(old));
    if (old & WAY_CLOSED)
        return 0;
    return old & WAY_BUSY ? 0 : 1;
}

void wf_io_refuse(struct wf_io *io)
{
    uint32_t given;

    given = io_close_way(io, WF_IO_READ) + io_close_way(io, WF_IO_WRITE);
    if (given)
        io_release(io, given);
}

bool wf_io_is_refused(const struct wf_io *io, enum wf_io_direction way)
{
    /* acquire: pairs with io_close_way; the descriptor is shut down only after it */
    return (wf_load_u64(&io->way[way], WF_ACQUIRE) & WAY_CLOSED) != 0;
}

void wf_io_abort(struct wf_io *io)
{
    wf_io_refuse(io);
    if (io->is_socket)
        (void)wf_sys_shutdown(io->fd, SHUT_RDWR);
}

void wf_io_close(struct wf_io *io)
{
    uint32_t given = REF_HANDLE;

    given += io_close_way(io, WF_IO_READ);
    given += io_close_way(io, WF_IO_WRITE);
    io_release(io, given);
}

static void io_forget(struct wf_io *io, struct wf_poller *p)
{
    void *home = p;
    bool was;

    /* The lock: nobody is at p any more in wf_io_detach. */
    wf_lock(&table.lock);
    /* acq_rel: pairs with io_register, which finds no home */
    was = wf_cas_ptr(&io->home, &home, NULL, WF_ACQ_REL, WF_RELAXED);
    wf_unlock(&table.lock);
    if (!was)
        return;
    /* Tasks of other runtimes may wait here: they try again, and then wait at a place of their own. */
    io_wake_way(io, WF_IO_READ, WAY_READY);
    io_wake_way(io, WF_IO_WRITE, WAY_READY);
}

void wf_io_forget(struct wf_poller *p)
{
    struct io_block *b;

    /* Blocks stay: only the head needs the lock, and tasks are woken outside it. */
    wf_lock(&table.lock);
    b = io_blocks;
    wf_unlock(&table.lock);
    for (; b; b = b->next)
        for (size_t i = 0; i < TABLE_BLOCK; i++)
            /* relaxed: what was registered here has been so for long; the exchange decides */
            if (wf_unlikely(wf_load_ptr(&b->entries[i].home, WF_RELAXED) == p))
                io_forget(&b->entries[i], p);
}

/* Claim a direction for good. False: an operation is in flight. */
static bool io_seal_way(struct wf_io *io, enum wf_io_direction way)
{
    uint64_t old = wf_load_u64(&io->way[way], WF_RELAXED);

    do {
        if (old & WAY_BUSY)
            return false;
        /* acq_rel: nobody begins after this */
    } while (
        !wf_cas_weak_u64(&io->way[way], &old, old | WAY_BUSY | WAY_CLOSED, WF_ACQ_REL, WF_RELAXED));
    return true;
}

static void io_unseal_way(struct wf_io *io, enum wf_io_direction way)
{
    (void)wf_and_u64(&io->way[way], ~(WAY_BUSY | WAY_CLOSED), WF_ACQ_REL);
}

int wf_io_detach(struct wf_io *io)
{
    struct wf_poller *home;
    int fd = io->fd;
    uint32_t given;

    /* Only for a stream that was not aborted: such a one is only good for closing. */
    if (!io_seal_way(io, WF_IO_READ))
        return -EBUSY;
    if (!io_seal_way(io, WF_IO_WRITE)) {
        io_unseal_way(io, WF_IO_READ);
        return -EBUSY;
    }
    /* Another runtime may be its home, and end: see io_forget. */
    wf_lock(&table.lock);
    /* acquire: pairs with io_register */
    home = wf_load_ptr(&io->home, WF_ACQUIRE);
    if (home)
        wf_poller_remove(home, fd);
    wf_unlock(&table.lock);
    io->fd = -1;
    given = wf_load_u32(&io->refs, WF_RELAXED);
    io_release(io, given);
    return fd;
}
