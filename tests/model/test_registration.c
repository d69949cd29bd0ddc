/* SPDX-License-Identifier: MIT */
/*
 * test_registration.c - waiting for a descriptor under all interleavings: no event is lost, whoever waits is woken,
 * and a descriptor is closed once, with the last operation on it.
 *
 * The driver and the hub are the real ones, above the explorer's epoll. A task is a thread with a wakeable;
 * an operation is what net/stream.c makes of it. An event that is lost leaves everybody waiting.
 */
#include "io/registration.h"

#include "base/sys.h"
#include "io/poller.h"
#include "model/model.h"
#include "task/current.h"

#include <errno.h>

#define WRITES 2

enum { AT_ONCE, WAITED, REFUSED, CANCELLED, WOKEN_BEFORE, REGISTER_FAILED, MOVED, BUSY, REUSED };

/* What a waiting task is. */
struct sleeper {
    weft_wakeable wakeable; /* first */
    struct wf_atomic_u32 refs;
    struct wf_atomic_u32 due;
    bool restless;      /* polls again and again, and needs no wake */
    bool fresh;         /* made by its thread, freed with its last reference */
    struct wf_hub *hub; /* what its thread sleeps on; NULL: on nothing, somebody else drives */
    struct wf_poller *poller; /* that of its thread */
};

static struct wf_hub hub, other_hub;
static struct wf_poller *pollers[2]; /* freed with their runtime */
static struct wf_poller other_poller;
static struct wf_thread threads[3];
static struct sleeper tasks[3];
static struct wf_io *io;
static int fd, spare_fd;
static unsigned payload[WRITES]; /* by the peer, before it writes */
static unsigned in_pipe, written, in_flight;
static enum wf_io_direction busy; /* chosen in begin */
static struct wf_atomic_u32 over; /* who drives may go */

/* --- tasks --- */

static void sleeper_retain(weft_wakeable *w)
{
    (void)wf_add_u32(&wf_container_of(w, struct sleeper, wakeable)->refs, 1, WF_RELAXED);
}

static void sleeper_release(weft_wakeable *w)
{
    struct sleeper *s = wf_container_of(w, struct sleeper, wakeable);
    uint32_t before = wf_sub_u32(&s->refs, 1, WF_ACQ_REL);

    CHECK(before > 1 || s->fresh); /* one is the test's own */
    if (before == 1)
        wf_sys_free(s);
}

static void sleeper_wake(weft_wakeable *w)
{
    struct sleeper *s = wf_container_of(w, struct sleeper, wakeable);

    /* release: what happened before a wake is seen by the poll that it makes */
    wf_store_u32(&s->due, 1, WF_RELEASE);
    if (s->hub)
        wf_hub_signal(s->hub);
}

static const weft_wakeable_type sleeper_type = {sleeper_retain, sleeper_wake, sleeper_release};

__attribute__((no_sanitize("thread"))) static bool sleeper_due(void *arg)
{
    return ((const struct sleeper *)arg)->due.raw != 0;
}

static bool sleeper_take(struct sleeper *s)
{
    return wf_swap_u32(&s->due, 0, WF_ACQUIRE) != 0;
}

/* As a worker that has nothing else to do: with a hub of its own it drives, else it waits to be told. */
static void sleeper_sleep(struct sleeper *s)
{
    struct wf_hub_wake wake;
    unsigned n;

    if (!s->hub) {
        (void)model_block(sleeper_due, s, UINT64_MAX);
        CHECK(sleeper_take(s));
        return;
    }
    while (!sleeper_take(s))
        wf_hub_sleep(s->hub, s->poller, NULL, UINT64_MAX, &wake, &n);
}

static struct sleeper *task_enter(unsigned i)
{
    wf_thread_set_self(&threads[i]);
    return &tasks[i];
}

/* Nobody has seen it before it waits. */
static struct sleeper *sleeper_new(bool restless)
{
    struct sleeper *s = wf_sys_malloc(sizeof(*s));

    *s = (struct sleeper){
        .wakeable = {&sleeper_type}, .refs = {1}, .restless = restless, .fresh = true};
    return s;
}

static void task_begin(unsigned i, struct wf_hub *own, struct wf_poller *p)
{
    tasks[i] = (struct sleeper){.wakeable = {&sleeper_type}, .refs = {1}, .hub = own, .poller = p};
    threads[i].poller = p;
}

/* --- the peer --- */

/* One step: what was written is there, and the kernel says so. */
__attribute__((no_sanitize("thread"))) static void pipe_write(int to)
{
    CHECK(written < WRITES);
    if (model_file_set(to, EPOLLIN | EPOLLOUT))
        in_pipe++;
}

static void peer_writes(void)
{
    payload[written] = written + 100;
    pipe_write(fd);
    written++;
}

static void peer(void)
{
    peer_writes();
}

static void peer_twice(void)
{
    peer_writes();
    peer_writes();
}

static void peer_hangs_up(void)
{
    (void)model_file_set(fd, EPOLLIN | EPOLLOUT | EPOLLHUP);
}

/* --- operations --- */

/* One step: -EAGAIN, or how many writes were taken. */
__attribute__((no_sanitize("thread"))) static int pipe_read(int from)
{
    int n;

    if (!model_file_take(from, EPOLLIN))
        return -EAGAIN;
    n = (int)in_pipe;
    in_pipe = 0;
    return n;
}

/* target: as it was left by the poll before. */
static int wait_on(struct sleeper *s, struct wf_io *i, enum wf_io_direction way, uintptr_t *target,
                   weft_context *cx)
{
    int rc = 0;

    while (wf_io_poll_ready(i, way, target, cx, &rc) == WEFT_PENDING) {
        model_reached(WAITED);
        if (!s->restless)
            sleeper_sleep(s);
        else if ((wf_load_u64(&i->way[way], WF_RELAXED) & ~(uint64_t)7) == (uintptr_t)&s->wakeable)
            wf_spin_pause(); /* until that changes */
    }
    CHECK(!*target);
    return rc;
}

static int wait_ready(struct sleeper *s, struct wf_io *i, enum wf_io_direction way)
{
    weft_context cx = {{&s->wakeable}};
    uintptr_t target = 0;

    return wait_on(s, i, way, &target, &cx);
}

/* How many writes were read, or a negative errno. */
static int read_on(struct sleeper *s, struct wf_io *i)
{
    bool ready;
    int rc = wf_io_begin(i, WF_IO_READ, &ready);

    if (rc < 0)
        return rc;
    for (;; ready = true) {
        int n = ready ? pipe_read(i->fd) : -EAGAIN;

        if (n >= 0) {
            CHECK(i->short_is_all);
            wf_io_end(i, WF_IO_READ, false); /* short: the kernel has no more for now */
            return n;
        }
        rc = wait_ready(s, i, WF_IO_READ);
        if (rc < 0) {
            wf_io_end(i, WF_IO_READ, true);
            return rc;
        }
    }
}

static void read_all(struct sleeper *s, unsigned count)
{
    unsigned got = 0;

    while (got < count) {
        int n = read_on(s, io);

        CHECK(n > 0);
        for (int k = 0; k < n; k++, got++)
            CHECK_EQ(got + 100, payload[got]);
    }
}

/* One operation in a direction, all others are told so: else this is a race. */
static void short_operation(void)
{
    bool ready;
    int rc = wf_io_begin(io, WF_IO_READ, &ready);

    if (rc < 0) {
        CHECK(rc == -EBUSY || rc == -ESHUTDOWN);
        model_reached(rc == -EBUSY ? BUSY : REFUSED);
        return;
    }
    CHECK_EQ(1, ++in_flight);
    in_flight--;
    wf_io_end(io, WF_IO_READ, true);
}

static void refuser(void)
{
    bool ready;

    wf_io_refuse(io);
    CHECK_EQ(-ESHUTDOWN, wf_io_begin(io, WF_IO_READ, &ready));
}

static void stop_driver(void)
{
    wf_store_u32(&over, 1, WF_RELEASE);
    wf_hub_signal(&hub);
}

/* An idle worker: it sleeps on the hub, and harvests for whoever it is. */
static void driver(void)
{
    wf_thread_set_self(&threads[1]);
    while (!wf_load_u32(&over, WF_ACQUIRE)) {
        struct wf_hub_wake wake;
        unsigned n;

        wf_hub_sleep(&hub, NULL, NULL, UINT64_MAX, &wake, &n);
        for (unsigned i = 0; i < wake.pollers; i++)
            (void)wf_poller_harvest(wake.ready[i], wake.ready[i] != pollers[1]);
    }
    wf_hub_signal(&hub);
}

/* --- before and after --- */

static void open_io(void)
{
    fd = model_file_open();
    (void)model_file_set(fd, EPOLLOUT);
    io = wf_io_new(fd, true);
    CHECK(io);
}

static void begin_hub(bool single)
{
    CHECK_EQ(0, wf_hub_open(&hub, single ? WF_HUB_SOLE : WF_HUB_MANY));
    for (unsigned i = 0; i < (single ? 1 : 2); i++) {
        pollers[i] = wf_sys_malloc(sizeof(*pollers[i]));
        CHECK_EQ(0, wf_poller_open(pollers[i], &hub));
    }
    open_io();
}

/* One worker, which sleeps on its own poller. */
static void begin_single(void)
{
    begin_hub(true);
    task_begin(0, &hub, pollers[0]);
}

/* Several: tasks run on the first and third, the second only drives. */
static void begin_multi(void)
{
    begin_hub(false);
    task_begin(0, NULL, pollers[0]);
    task_begin(2, NULL, pollers[0]);
    threads[1].poller = pollers[1];
}

/* So that it is at home with this poller, whose worker has looked since. */
static void register_at(struct wf_poller *p)
{
    weft_context cx = {{&tasks[0].wakeable}};
    struct wf_poller *before = threads[0].poller;
    uintptr_t target = 0;
    bool ready;
    int rc;

    threads[0].poller = p;
    wf_thread_set_self(&threads[0]);
    CHECK_EQ(0, wf_io_begin(io, WF_IO_READ, &ready));
    CHECK(wf_io_poll_ready(io, WF_IO_READ, &target, &cx, &rc) == WEFT_PENDING);
    wf_io_cancel(io, WF_IO_READ, &target);
    wf_io_end(io, WF_IO_READ, false);
    (void)wf_poller_harvest(p, false);
    threads[0].poller = before;
    wf_thread_set_self(NULL);
}

static void end_tasks(void)
{
    for (unsigned i = 0; i < 3; i++)
        CHECK(tasks[i].refs.raw <= 1); /* nobody else has one */
}

static void poller_end(unsigned i)
{
    wf_poller_close(pollers[i]);
    wf_sys_free(pollers[i]);
}

static void end_hub(void)
{
    poller_end(0);
    if (!hub.single)
        poller_end(1);
    wf_hub_close(&hub);
    end_tasks();
}

/* The operations are over: with the handle goes the descriptor. */
static void end(void)
{
    CHECK_EQ(1, wf_io_in_use());
    wf_io_close(io);
    CHECK_EQ(0, wf_io_in_use());
    CHECK_EQ(-EBADF, wf_sys_close(fd));
    end_hub();
}

/* --- reading --- */

static void reader_of_two(void)
{
    read_all(task_enter(0), 2);
    stop_driver();
}

static void reader(void)
{
    read_all(task_enter(0), 1);
    stop_driver();
}

/* It waits, gives up, and reads later: what came meanwhile is not lost. */
static void reader_that_gives_up(void)
{
    struct sleeper *s = task_enter(0);
    weft_context cx = {{&s->wakeable}};
    uintptr_t target = 0;
    bool ready;
    int rc;

    CHECK_EQ(0, wf_io_begin(io, WF_IO_READ, &ready));
    if (ready && (rc = pipe_read(io->fd)) > 0) {
        wf_io_end(io, WF_IO_READ, false);
        model_reached(AT_ONCE);
    } else {
        if (wf_io_poll_ready(io, WF_IO_READ, &target, &cx, &rc) == WEFT_PENDING) {
            wf_io_cancel(io, WF_IO_READ, &target);
            model_reached(CANCELLED);
        }
        /* It did not try since it began: the next one does. */
        wf_io_end(io, WF_IO_READ, true);
        if (sleeper_take(s))
            model_reached(WOKEN_BEFORE);
        read_all(s, 1);
    }
    stop_driver();
}

/* A direction whose waiter was told of the end is ready from then on, whatever its last call said. */
static void check_ready(enum wf_io_direction way)
{
    bool ready;

    CHECK_EQ(0, wf_io_begin(io, way, &ready));
    CHECK(ready);
    wf_io_end(io, way, true);
}

/* Polled again by another waker: that one is woken, or the event was for this poll. */
static void move_wakers(bool to_the_end)
{
    struct sleeper *first = task_enter(0);
    weft_context cx = {{&first->wakeable}};
    uintptr_t target = 0;
    bool ready, waited = false;
    int rc;

    CHECK_EQ(0, wf_io_begin(io, WF_IO_READ, &ready));
    while (!model_file_take(io->fd, EPOLLIN)) {
        waited = true;
        if (wf_io_poll_ready(io, WF_IO_READ, &target, &cx, &rc) == WEFT_PENDING) {
            struct sleeper *then = sleeper_new(to_the_end);
            weft_context next = {{&then->wakeable}};

            rc = wait_on(then, io, WF_IO_READ, &target, &next);
            sleeper_release(&then->wakeable);
            if (sleeper_take(first))
                model_reached(WOKEN_BEFORE);
        }
        CHECK_EQ(0, rc);
    }
    wf_io_end(io, WF_IO_READ, false);
    if (waited && to_the_end)
        check_ready(WF_IO_READ);
    stop_driver();
}

static void reader_that_moves(void)
{
    move_wakers(false);
}

static void reader_of_the_end_that_moves(void)
{
    move_wakers(true);
}

/* --- closing --- */

/* Then another one is opened, in the same memory if that is free already. */
static void closer(void)
{
    struct wf_io *before = io, *next;

    wf_io_close(io);
    next = wf_io_new(spare_fd, true);
    if (next == before)
        model_reached(REUSED);
    wf_io_close(next);
}

static void begin_reading(void)
{
    bool ready;

    begin_multi();
    spare_fd = model_file_open();
    /* In flight from the start: the handle may be closed at any moment. */
    CHECK_EQ(0, wf_io_begin(io, WF_IO_READ, &ready));
}

static void reader_in_flight(void)
{
    struct sleeper *s = task_enter(0);
    int n = pipe_read(io->fd), rc = n < 0 ? wait_ready(s, io, WF_IO_READ) : 0;

    if (n < 0 && rc == 0)
        n = pipe_read(io->fd); /* its descriptor is still its own */
    CHECK(n > 0 || rc == -ESHUTDOWN || n == -EAGAIN);
    model_reached(rc < 0 ? REFUSED : AT_ONCE);
    CHECK(rc == 0 || wf_io_is_refused(io, WF_IO_READ));
    CHECK_EQ(fd, io->fd); /* until the end */
    wf_io_end(io, WF_IO_READ, false);
    stop_driver();
}

static void end_closed(void)
{
    CHECK_EQ(0, wf_io_in_use());
    CHECK_EQ(-EBADF, wf_sys_close(fd));
    end_hub();
}

/* --- a second use of the memory --- */

static void begin_reuse(void)
{
    begin_multi();
    spare_fd = model_file_open();
    register_at(pollers[0]);
    model_file_set(fd, EPOLLIN | EPOLLOUT); /* about to be harvested */
}

static void close_and_open(void)
{
    struct wf_io *before = io;
    uint64_t data = wf_io_to_data(io);

    (void)task_enter(0);
    wf_io_close(io);
    fd = spare_fd;
    io = wf_io_new(fd, true);
    CHECK(io == before);
    CHECK(wf_io_to_data(io) != data);
    CHECK(!wf_io_of_data(data));
    read_all(&tasks[0], 1);
    stop_driver();
}

static void peer_of_spare(void)
{
    payload[0] = 100;
    pipe_write(spare_fd);
}

/* --- other homes --- */

static void begin_away(void)
{
    begin_multi();
    register_at(pollers[1]);
    wf_store_u32(&io->stolen, 1, WF_RELAXED); /* often enough */
}

static void reader_moves_home(void)
{
    reader();
    if (wf_load_ptr(&io->home, WF_RELAXED) == pollers[0])
        model_reached(MOVED);
}

/* The task runs in a runtime of its own; the descriptor is at home in one that ends. */
static void begin_foreign(void)
{
    begin_multi();
    register_at(pollers[0]);
    CHECK_EQ(0, wf_hub_open(&other_hub, WF_HUB_SOLE));
    CHECK_EQ(0, wf_poller_open(&other_poller, &other_hub));
    task_begin(0, &other_hub, &other_poller);
}

/* Others have harvested for it, too: it would move to where the task is, if that were the same runtime. */
static void begin_foreign_away(void)
{
    begin_foreign();
    wf_store_u32(&io->stolen, 1, WF_RELAXED);
}

static void runtime_ends(void)
{
    poller_end(0);
}

static void end_foreign(void)
{
    CHECK_EQ(1, wf_io_in_use());
    wf_io_close(io);
    wf_poller_close(&other_poller);
    wf_hub_close(&other_hub);
    poller_end(1);
    wf_hub_close(&hub);
    end_tasks();
}

/* --- registering fails --- */

static void begin_no_room(void)
{
    begin_multi();
    model_file_set(fd, 0); /* no room for a write either */
    model_epoll_add_fails(-ENOSPC);
}

/* Returns whether an event let it go on. */
static bool transfer(unsigned task, enum wf_io_direction way)
{
    struct sleeper *s = task_enter(task);
    uint32_t bit = way == WF_IO_READ ? EPOLLIN : EPOLLOUT;
    bool ready, waited = false;
    int rc = wf_io_begin(io, way, &ready);

    CHECK_EQ(0, rc);
    for (; !ready || !model_file_take(io->fd, bit); ready = true) {
        rc = wait_ready(s, io, way);
        waited |= rc == 0;
        if (rc < 0) {
            /* What came until then may have been meant for its wait: it tries the call, and waits again. */
            CHECK_EQ(-ENOSPC, rc);
            model_reached(REGISTER_FAILED);
        }
    }
    wf_io_end(io, way, false);
    return waited;
}

static struct wf_atomic_u32 waits_over;

static void way_over(void)
{
    if (wf_add_u32(&waits_over, 1, WF_ACQ_REL) == 1)
        stop_driver();
}

static void waiting_reader(void)
{
    (void)transfer(0, WF_IO_READ);
    way_over();
}

static void waiting_writer(void)
{
    (void)transfer(2, WF_IO_WRITE);
    way_over();
}

/* --- hanging up --- */

static void begin_full(void)
{
    begin_multi();
    tasks[0].restless = tasks[2].restless = true;
    (void)model_file_set(fd, 0);
}

static void begin_full_one(void)
{
    begin_full();
    way_over(); /* that of the writer, who is not there */
}

static void waits_for_the_end(unsigned task, enum wf_io_direction way)
{
    if (transfer(task, way))
        check_ready(way);
    way_over();
}

/* It comes perhaps after the event, of which there is one. */
static void late_reader_of_the_end(void)
{
    bool ready;

    (void)task_enter(0);
    CHECK_EQ(0, wf_io_begin(io, WF_IO_READ, &ready));
    if (ready) {
        model_reached(AT_ONCE);
    } else {
        struct sleeper *s = sleeper_new(true);

        CHECK_EQ(0, wait_ready(s, io, WF_IO_READ));
        sleeper_release(&s->wakeable);
    }
    CHECK(model_file_take(io->fd, EPOLLIN));
    wf_io_end(io, WF_IO_READ, false);
    check_ready(WF_IO_READ);
    stop_driver();
}

static void begin_registered(void)
{
    begin_full_one();
    register_at(pollers[0]);
}

static void reader_of_the_end(void)
{
    waits_for_the_end(0, WF_IO_READ);
}

static void writer_of_the_end(void)
{
    waits_for_the_end(2, WF_IO_WRITE);
}

/* --- giving it away --- */

static void detacher(void)
{
    int rc;

    while ((rc = wf_io_detach(io)) == -EBUSY) {
        model_reached(BUSY);
        if (wf_load_u64(&io->way[busy], WF_RELAXED) & 2)
            wf_spin_pause(); /* until that is over */
    }
    CHECK_EQ(fd, rc);
    stop_driver();
}

static void detach(void)
{
    CHECK_EQ(fd, wf_io_detach(io));
}

static void end_detached_foreign(void)
{
    CHECK_EQ(0, wf_io_in_use());
    CHECK_EQ(0, wf_sys_close(fd));
    wf_poller_close(&other_poller);
    wf_hub_close(&other_hub);
    poller_end(1);
    wf_hub_close(&hub);
    end_tasks();
}

static void begin_detach(void)
{
    bool ready;

    begin_multi();
    register_at(pollers[0]);
    (void)model_file_set(fd, EPOLLIN | EPOLLOUT);
    busy = model_choose(2) ? WF_IO_WRITE : WF_IO_READ;
    CHECK_EQ(0, wf_io_begin(io, busy, &ready));
}

static void ends(void)
{
    (void)model_file_take(io->fd, EPOLLIN);
    CHECK_EQ(fd, io->fd);
    wf_io_end(io, busy, true);
}

static void end_detached(void)
{
    CHECK_EQ(0, wf_io_in_use());
    CHECK_EQ(0, wf_sys_close(fd)); /* it is still open, and ours */
    end_hub();
}

#define LEAKS .leaks = true /* memory of registrations is never given back */

const struct model_test model_tests[] = {
    {.name = "one worker reads what two writes bring",
     LEAKS,
     .begin = begin_single,
     .thread = {reader_of_two, peer_twice},
     .end = end,
     .preemptions = 3,
     .must_reach = 1u << WAITED},
    {.name = "another worker harvests the event",
     LEAKS,
     .begin = begin_multi,
     .thread = {reader, driver, peer},
     .end = end,
     .stale = 1,
     .must_reach = 1u << WAITED},
    {.name = "an event between the call and the end of an operation is kept",
     LEAKS,
     .begin = begin_multi,
     .thread = {reader_of_two, driver, peer_twice},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = 1u << WAITED},
    {.name = "one operation at a time, and none once they are refused",
     LEAKS,
     .begin = begin_multi,
     .thread = {short_operation, short_operation, refuser},
     .end = end,
     .stale = 1,
     .must_reach = 1u << BUSY | 1u << REFUSED},
    {.name = "a reader gives up against the event",
     LEAKS,
     .begin = begin_multi,
     .thread = {reader_that_gives_up, driver, peer},
     .end = end,
     .stale = 1,
     .must_reach = 1u << AT_ONCE | 1u << CANCELLED | 1u << WOKEN_BEFORE | 1u << WAITED},
    {.name = "another waker is given against the event",
     LEAKS,
     .begin = begin_multi,
     .thread = {reader_that_moves, driver, peer},
     .end = end,
     .stale = 1,
     .must_reach = 1u << WAITED | 1u << WOKEN_BEFORE},
    {.name = "closed while an operation is in flight",
     LEAKS,
     .begin = begin_reading,
     .thread = {reader_in_flight, closer, peer},
     .end = end_closed,
     .stale = 1,
     .must_reach = 1u << REFUSED | 1u << AT_ONCE | 1u << WAITED | 1u << REUSED},
    {.name = "closed while nobody else is there, but an event",
     LEAKS,
     .begin = begin_reuse,
     .thread = {close_and_open, driver, peer_of_spare},
     .end = end,
     .stale = 1,
     .must_reach = 1u << WAITED},
    {.name = "a descriptor moves to the worker that waits for it",
     LEAKS,
     .begin = begin_away,
     .thread = {reader_moves_home, driver, peer},
     .end = end,
     .stale = 1,
     .must_reach = 1u << WAITED | 1u << MOVED},
    {.name = "the runtime that has the descriptor ends",
     LEAKS,
     .begin = begin_foreign,
     .thread = {reader, runtime_ends, peer},
     .end = end_foreign,
     .stale = 1,
     .must_reach = 1u << WAITED},
    {.name = "the runtime that has the descriptor ends, and others had harvested for it",
     LEAKS,
     .begin = begin_foreign_away,
     .thread = {reader, runtime_ends, peer},
     .end = end_foreign,
     .stale = 1,
     .must_reach = 1u << WAITED},
    {.name = "given away while the runtime that has it ends",
     LEAKS,
     .begin = begin_foreign,
     .thread = {detach, runtime_ends},
     .end = end_detached_foreign},
    {.name = "registering fails while the other direction waits",
     LEAKS,
     .begin = begin_no_room,
     .thread = {waiting_reader, waiting_writer, driver, peer},
     .end = end,
     .preemptions = 1,
     .stale = MODEL_NONE,
     .must_reach = 1u << WAITED | 1u << REGISTER_FAILED},
    {.name = "who is told of the end stays ready",
     LEAKS,
     .begin = begin_full_one,
     .thread = {reader_of_the_end, driver, peer_hangs_up},
     .end = end,
     .stale = 1,
     .must_reach = 1u << WAITED},
    {.name = "who is told of the end by a poll with another waker stays ready",
     LEAKS,
     .begin = begin_full,
     .thread = {reader_of_the_end_that_moves, driver, peer_hangs_up},
     .end = end,
     .stale = 1,
     .must_reach = 1u << WAITED | 1u << WOKEN_BEFORE},
    {.name = "who begins after the end stays ready",
     LEAKS,
     .begin = begin_registered,
     .thread = {late_reader_of_the_end, driver, peer_hangs_up},
     .end = end,
     .stale = 1,
     .must_reach = 1u << AT_ONCE | 1u << WAITED},
    {.name = "given away behind an operation and an event",
     LEAKS,
     .begin = begin_detach,
     .thread = {detacher, ends, driver},
     .end = end_detached,
     .stale = 1,
     .must_reach = 1u << BUSY},
    {.name = "registering fails while the other direction waits, in more depth",
     LEAKS,
     .begin = begin_no_room,
     .thread = {waiting_reader, waiting_writer, driver, peer},
     .end = end,
     .preemptions = 1,
     .stale = 1,
     .deep = true},
    {.name = "both directions stay ready at the end",
     LEAKS,
     .begin = begin_full,
     .thread = {reader_of_the_end, writer_of_the_end, driver, peer_hangs_up},
     .end = end,
     .preemptions = 1,
     .stale = 1,
     .deep = true},
    {.name = "a reader and its closing, in more depth",
     LEAKS,
     .begin = begin_reading,
     .thread = {reader_in_flight, driver, closer, peer},
     .end = end_closed,
     .stale = 1,
     .deep = true},
    {.name = "two writes, two drivers",
     LEAKS,
     .begin = begin_multi,
     .thread = {reader_of_two, driver, driver, peer_twice},
     .end = end,
     .preemptions = 1,
     .stale = 1,
     .deep = true},
    {0},
};
