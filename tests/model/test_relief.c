/* SPDX-License-Identifier: MIT */
/*
 * test_relief.c - whole runtimes with a monitor, under the explorer: a worker is stuck until what is behind it has
 * happened; somebody stands in for it, and goes.
 *
 * Nobody comes to what a stuck worker left, or a stand-in that retired: then nobody can go on, which the explorer
 * reports. Time passes when nobody else can go on, so the monitor looks as late as it may. The threads are those of
 * the runtime, which has one worker, or two, and one stand-in at most; with some hundred steps each, one preemption
 * is what takes seconds.
 */
#include "base/sys.h"
#include "io/registration.h"
#include "sched/relieve.h"

/* Behind the library's headers, whose parameters bear the name of its runtime. */
#include "model/live.h"

#include <sys/epoll.h>

/* What can happen, must. */
enum { CALLED };

static void nothing_to_say(void *user, const weft_stall *s)
{
    (void)user, (void)s;
}

#define HOUR (3600000ull * MS)

static unsigned workers_to_come;
static weft_duration keep_alive = HOUR;
static unsigned standins = 1;
static struct wf_atomic_u32 threads, leaving;
static struct wf_atomic_u32 slow; /* 1: who stood in stays in the program's hook as it leaves */

/* Of a worker, or of who stands in for one. */
static void thread_starts(void *user)
{
    (void)user;
    if (wf_add_u32(&threads, 1, WF_RELAXED) >= workers_to_come)
        model_reached(CALLED);
}

static void thread_stops(void *user)
{
    (void)user;
    wf_add_u32(&leaving, 1, WF_RELEASE);
    while (wf_load_u32(&slow, WF_ACQUIRE))
        wf_spin_pause();
}

static void open_watched(unsigned workers)
{
    weft_config config = {.worker_threads = workers,
                          .event_interval = 4,
                          .stack_size = 16384,
                          .monitor = WEFT_ON,
                          .max_standins = standins,
                          .thread_keep_alive = keep_alive,
                          .on_stall = nothing_to_say,
                          .on_thread_start = thread_starts,
                          .on_thread_stop = thread_stops,
                          .rng_seed = 1};

    workers_to_come = workers;
    CHECK_EQ(0, weft_runtime_new(&rt, &config));
}

/* No one was waited for, only to be found when he came by himself. */
static void close_watched(void)
{
    weft_runtime_free(rt);
    CHECK(model_clock() < HOUR);
}

/* --- tasks ------------------------------------------------------------------------------ */

static void wait_until_ran(uint32_t n)
{
    while (wf_load_u32(&ran, WF_ACQUIRE) != n)
        wf_spin_pause();
}

static weft_poll begun_hog_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    wf_add_u32(&ran, 1, WF_RELEASE);
    wait_until_told();
    return WEFT_READY;
}

static const weft_async_type begun_hog_type = {begun_hog_poll, NULL, sizeof(weft_async), "hog"};

static weft_poll teller_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    wf_store_u32(&told, 1, WF_RELEASE);
    return WEFT_READY;
}

static const weft_async_type teller_type = {teller_poll, NULL, sizeof(weft_async), "teller"};

/* --- what is behind a stuck worker --------------------------------------------------------- */

static void behind(unsigned workers)
{
    weft_task *t[3];

    open_watched(workers);
    for (unsigned i = 0; i < workers; i++) {
        t[i] = spawn(&begun_hog_type);
        wait_until_ran(i + 1);
    }
    t[workers] = spawn(&teller_type);
    for (unsigned i = 0; i <= workers; i++)
        join(t[i]);
    close_watched();
}

static void behind_one(void)
{
    behind(1);
}

static void behind_two(void)
{
    behind(2);
}

/* By a poll: it is stuck until the task that it makes has run. */
static void make_teller(void)
{
    weft_async state = {0};

    CHECK_EQ(0, weft_go_async(&teller_type, &state));
    wait_until_told();
}

/* It made the task itself, on its own queue, while that was not shared. */
static weft_poll maker_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    make_teller();
    return WEFT_READY;
}

static const weft_async_type maker_type = {maker_poll, NULL, sizeof(weft_async), "maker"};

static void made_before(void)
{
    open_watched(1);
    join(spawn(&maker_type));
    close_watched();
}

/* Just as its seat is taken, or was: it sees what changed with that. */
static weft_poll maker_meanwhile_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    while (!wf_load_u32(&rt->worker[0].seat->taken, WF_RELAXED))
        wf_spin_pause();
    make_teller();
    return WEFT_READY;
}

static const weft_async_type maker_meanwhile_type = {maker_meanwhile_poll, NULL, sizeof(weft_async),
                                                     "maker"};

static void made_as_it_is_taken(void)
{
    open_watched(1);
    join(spawn(&maker_meanwhile_type));
    close_watched();
}

/* Relieved, it makes another: who stands in may be asleep by then. */
static weft_poll maker_twice_poll(void *self, weft_context *cx)
{
    weft_async state = {0};

    (void)self, (void)cx;
    CHECK_EQ(0, weft_go_async(&runner_type, &state));
    wait_until_ran(1);
    make_teller();
    return WEFT_READY;
}

static const weft_async_type maker_twice_type = {maker_twice_poll, NULL, sizeof(weft_async),
                                                 "maker"};

static void made_meanwhile(void)
{
    open_watched(1);
    join(spawn(&maker_twice_type));
    close_watched();
}

/* The woken one lies in the slot of a worker that does not come back. */
static weft_poll woken_teller_poll(void *self, weft_context *cx)
{
    (void)self;
    if (wf_load_u32(&waker_is_there, WF_RELAXED)) {
        wf_store_u32(&told, 1, WF_RELEASE);
        return WEFT_READY;
    }
    waker = weft_context_waker(cx);
    wf_store_u32(&waker_is_there, 1, WF_RELEASE);
    return WEFT_PENDING;
}

static const weft_async_type woken_teller_type = {woken_teller_poll, NULL, sizeof(weft_async),
                                                  "woken"};

static weft_poll wakes_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    weft_waker_wake(&waker);
    wait_until_told();
    return WEFT_READY;
}

static const weft_async_type wakes_type = {wakes_poll, NULL, sizeof(weft_async), "wakes"};

static void in_the_slot(void)
{
    weft_task *woken;

    open_watched(1);
    woken = spawn(&woken_teller_type);
    wait_for_waker();
    join(spawn(&wakes_type));
    join(woken);
    close_watched();
}

/* And relieved, it wakes: it is not to use the slot. */
static weft_poll wakes_late_poll(void *self, weft_context *cx)
{
    weft_async state = {0};

    (void)self, (void)cx;
    CHECK_EQ(0, weft_go_async(&runner_type, &state));
    wait_until_ran(1);
    weft_waker_wake(&waker);
    wait_until_told();
    return WEFT_READY;
}

static const weft_async_type wakes_late_type = {wakes_late_poll, NULL, sizeof(weft_async), "wakes"};

static void woken_meanwhile(void)
{
    weft_task *woken;

    open_watched(1);
    woken = spawn(&woken_teller_type);
    wait_for_waker();
    join(spawn(&wakes_late_type));
    join(woken);
    close_watched();
}

/*
 * Of what a stuck one makes, who stands in takes the first five. The third keeps it until the stall is over; the second
 * it still has when it retires. The last one keeps the worker until then; with the three that are left it has four
 * polls, and then comes to a look, and is single.
 */
static struct wf_atomic_u32 stall_is_over;

static weft_poll keeps_standin_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    while (!wf_load_u32(&stall_is_over, WF_ACQUIRE))
        wf_spin_pause();
    return WEFT_READY;
}

static const weft_async_type keeps_standin_type = {keeps_standin_poll, NULL, sizeof(weft_async),
                                                   "keeps"};

static weft_poll keeps_worker_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    while (wf_load_u32(&rt->relief.active, WF_RELAXED))
        wf_spin_pause();
    return WEFT_READY;
}

static const weft_async_type keeps_worker_type = {keeps_worker_poll, NULL, sizeof(weft_async),
                                                  "keeps"};

static weft_poll maker_of_many_poll(void *self, weft_context *cx)
{
    const weft_async_type *const made[] = {&teller_type, &runner_type, &keeps_standin_type,
                                           &runner_type, &runner_type, &runner_type,
                                           &runner_type, &runner_type, &keeps_worker_type};
    weft_async state = {0};

    (void)self, (void)cx;
    for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++)
        CHECK_EQ(0, weft_go_async(made[i], &state));
    wait_until_told();
    wf_store_u32(&stall_is_over, 1, WF_RELEASE);
    return WEFT_READY;
}

static const weft_async_type maker_of_many_type = {maker_of_many_poll, NULL, sizeof(weft_async),
                                                   "maker"};

static void many(void)
{
    open_watched(1);
    join(spawn(&maker_of_many_type));
    wait_until_ran(6);
    close_watched();
}

/* Its descriptor is told of on a set that nobody sleeps on while its worker is single. */
static int file;

struct reader {
    weft_async async;
    struct wf_io *io;
    uintptr_t target;
};

static weft_poll reader_poll(void *self, weft_context *cx)
{
    struct reader *r = self;
    bool ready;
    int rc = 0;

    if (!r->io) {
        r->io = wf_io_new(file, true);
        CHECK(r->io);
        CHECK_EQ(0, wf_io_begin(r->io, WF_IO_READ, &ready));
        wf_store_u32(&waker_is_there, 1, WF_RELEASE);
    }
    if (wf_io_poll_ready(r->io, WF_IO_READ, &r->target, cx, &rc) == WEFT_PENDING)
        return WEFT_PENDING;
    CHECK_EQ(0, rc);
    wf_io_end(r->io, WF_IO_READ, true);
    wf_io_close(r->io);
    wf_store_u32(&told, 1, WF_RELEASE);
    return WEFT_READY;
}

static const weft_async_type reader_type = {reader_poll, NULL, sizeof(struct reader), "reader"};

/* Another task has run before the event comes: so who stands in is there, and may be asleep. */
static void event(void)
{
    struct reader state = {.io = NULL};
    weft_task *reader, *hog, *runner;

    open_watched(1);
    file = model_file_open();
    CHECK_EQ(0, weft_spawn_async_on(rt, &reader, NULL, &reader_type, &state));
    wait_for_waker();
    hog = spawn(&begun_hog_type);
    wait_until_ran(1);
    runner = spawn(&runner_type);
    join(runner);
    (void)model_file_set(file, EPOLLIN);
    join(reader);
    join(hog);
    close_watched();
}

/* It says that it blocks: it is relieved by itself, while the monitor looks. */
static int told_at_last(void *arg)
{
    (void)arg;
    wait_until_told();
    return 0;
}

static weft_poll in_place_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    wf_add_u32(&ran, 1, WF_RELEASE);
    CHECK_EQ(0, weft_block_in_place(told_at_last, NULL));
    return WEFT_READY;
}

static const weft_async_type in_place_type = {in_place_poll, NULL, sizeof(weft_async), "in place"};

static void in_place(void)
{
    weft_task *t, *teller;

    open_watched(1);
    t = spawn(&in_place_type);
    wait_until_ran(1);
    teller = spawn(&teller_type);
    join(t);
    join(teller);
    close_watched();
}

/* And what it makes meanwhile is told to who sleeps, again: here no monitor looks. */
static int makes_in_turn(void *arg)
{
    const struct wf_seat *mine = arg, *other = rt->worker[mine->index ? 0 : 1].seat;
    weft_async state = {0};

    CHECK_EQ(0, weft_go_async(&runner_type, &state));
    wait_until_ran(1);
    while (!wf_load_u64(&other->counters.parked_at, WF_RELAXED))
        wf_spin_pause();
    make_teller();
    return 0;
}

static weft_poll makes_in_place_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    CHECK_EQ(0, weft_block_in_place(makes_in_turn, wf_worker_of(wf_thread_self())->seat));
    return WEFT_READY;
}

static const weft_async_type makes_in_place_type = {makes_in_place_poll, NULL, sizeof(weft_async),
                                                    "in place"};

static void made_in_place(void)
{
    uint64_t begin = model_clock();

    runtime_open(WEFT_MULTI_THREAD, 2);
    join(spawn(&makes_in_place_type));
    weft_runtime_free(rt);
    /* Nobody found it only because he looks again and again while somebody is missing. */
    CHECK_EQ(begin, model_clock());
}

/* N2: a stall is counted before the worker's seat is taken, and with it the end of being single. Who sees it counted
 * calls nobody yet. */
static weft_poll counted_poll(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    wf_add_u32(&rt->relief.stuck, 1, WF_RELAXED);
    CHECK(rt->single);
    CHECK_EQ(0, wf_relief_balance(rt));
    CHECK_EQ(0, wf_load_u32(&rt->relief.active, WF_RELAXED));
    wf_sub_u32(&rt->relief.stuck, 1, WF_RELAXED);
    return WEFT_READY;
}

static const weft_async_type counted_type = {counted_poll, NULL, sizeof(weft_async), "counted"};

static void counted(void)
{
    open_watched(1);
    join(spawn(&counted_type));
    close_watched();
}

/* A timer that it armed before it got stuck. */
static void timer(void)
{
    open_watched(1);
    join(spawn_timed());
    close_watched();
}

/* --- afterwards ----------------------------------------------------------------------------- */

/* The stall is over, and who stood in goes: a task comes from outside, to whoever is there. */
static void outside_afterwards(void)
{
    weft_task *hog;

    open_watched(1);
    hog = spawn(&hog_type);
    join(spawn(&teller_type));
    join(spawn(&runner_type));
    join(hog);
    close_watched();
}

/* And it gets stuck again, when the thread that stood in sleeps, leaves, or has left. */
static void stuck_again(void)
{
    open_watched(1);
    join(spawn(&maker_type));
    wf_store_u32(&told, 0, WF_RELAXED);
    join(spawn(&maker_type));
    close_watched();
}

/* At the very moment at which who stood in has waited for so long: the second stall is found by a calm look and an
 * eager one after its beginning, at which it retires. */
static void stuck_as_it_leaves(void)
{
    struct wf_atomic_u32 nobody = {0};

    keep_alive = 10 * MS + MS / 4;
    open_watched(1);
    join(spawn(&maker_type));
    wf_store_u32(&told, 0, WF_RELAXED);
    (void)wf_sys_futex_wait(&nobody, 0, MS);
    join(spawn(&maker_type));
    close_watched();
}

/* Nobody else may be made: it is joined first. */
static void stuck_when_it_has_left(void)
{
    keep_alive = MS;
    open_watched(1);
    join(spawn(&maker_type));
    while (!wf_load_u32(&leaving, WF_ACQUIRE))
        wf_spin_pause();
    wf_store_u32(&told, 0, WF_RELAXED);
    join(spawn(&maker_type));
    close_watched();
}

/* While it is in the program's hook: somebody else is called. */
static void stuck_while_it_leaves(void)
{
    keep_alive = MS;
    standins = 2;
    wf_store_u32(&slow, 1, WF_RELAXED);
    open_watched(1);
    join(spawn(&maker_type));
    while (!wf_load_u32(&leaving, WF_ACQUIRE))
        wf_spin_pause();
    wf_store_u32(&told, 0, WF_RELAXED);
    join(spawn(&maker_type));
    wf_store_u32(&slow, 0, WF_RELEASE);
    close_watched();
}

/* The limit of a shutdown passes during a stall. */
static void shut_down_meanwhile(void)
{
    weft_task *hog;

    open_watched(1);
    hog = spawn(&begun_hog_type);
    wait_until_ran(1);
    CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, 30 * MS));
    wf_store_u32(&told, 1, WF_RELEASE);
    join(hog);
    close_watched();
}

/* --- B3, without a runtime that lives ------------------------------------------------------- */

#define POLLS 3

enum { ENDED_BEFORE = CALLED + 1, RELIEVED_IN };

static struct weft_runtime two = {.workers = 2};
static struct wf_seat seat = {.rt = &two, .inside = {1}};
static struct wf_worker worker = {.rt = &two, .seat = &seat};
static bool was_relieved[POLLS], is_told_of[POLLS]; /* by the worker; by who looks */

static void polls_on(void)
{
    for (unsigned i = 0; i < POLLS; i++) {
        /* As the worker, which is inside between two polls: it says which one it is before it lets go of the seat. */
        wf_store_u64(&worker.thread.poll_from, i, WF_RELAXED);
        wf_seat_leave(&seat);
        while (!wf_seat_enter(&seat)) {
            wf_seat_leave(&seat);
            was_relieved[i] |= wf_relieve_end(&worker);
            /* Not if it was given back by then: nothing changes any more. */
            if (wf_load_u32(&seat.taken, WF_RELAXED) == WF_SEAT_TAKEN)
                wf_spin_pause();
        }
    }
}

static void looks_on(void)
{
    uint64_t poll = wf_thread_poll_from(&worker.thread);

    if (wf_relieve(&worker, poll)) {
        is_told_of[poll] = true;
        model_reached(RELIEVED_IN);
    } else if (wf_thread_poll_from(&worker.thread) != poll) {
        model_reached(ENDED_BEFORE);
    }
}

static void end_told(void)
{
    for (unsigned i = 0; i < POLLS; i++)
        CHECK_EQ(is_told_of[i], was_relieved[i]);
    CHECK_EQ(0, wf_load_u32(&two.relief.stuck, WF_RELAXED));
}

#define WHOLE(what, fn, bound)                                                                   \
 .name = (what), .begin = (fn), .late_clock = true, .preemptions = (bound), .stale = MODEL_NONE, \
 .must_reach = 1u << CALLED

const struct model_test model_tests[] = {
    {WHOLE("one worker: a task behind a stuck one is run", behind_one, 1)},
    {WHOLE("one worker: a task that a stuck one made is run", made_before, MODEL_NONE)},
    {WHOLE("one worker: a task that a relieved one makes is run", made_meanwhile, 1)},
    {WHOLE("one worker: a task that one makes as it is relieved is run", made_as_it_is_taken, 1)},
    {WHOLE("one worker: a task in the slot of a stuck one is run", in_the_slot, MODEL_NONE)},
    {WHOLE("one worker: a task that a relieved one wakes is run", woken_meanwhile, MODEL_NONE)},
    {WHOLE("one worker: the timer of a stuck one is fired", timer, MODEL_NONE)},
    {WHOLE("one worker: an event for a task behind a stuck one arrives", event, MODEL_NONE),
     .leaks = true},
    {WHOLE("one worker: who blocks in place is relieved", in_place, MODEL_NONE)},
    {.name = "two workers: what one makes while it blocks in place is run, without a monitor",
     .begin = made_in_place,
     .late_clock = true,
     .preemptions = MODEL_NONE,
     .stale = MODEL_NONE},
    {.name = "one worker: while it is single nobody is called",
     .begin = counted,
     .late_clock = true,
     .preemptions = MODEL_NONE,
     .stale = MODEL_NONE},
    {WHOLE("one worker: who stands in no more hands on what it has", many, MODEL_NONE)},
    {WHOLE("one worker: after a stall a task from outside is run", outside_afterwards, MODEL_NONE)},
    {WHOLE("one worker: it gets stuck again", stuck_again, MODEL_NONE)},
    {WHOLE("one worker: it gets stuck as who stood in is about to leave", stuck_as_it_leaves,
           MODEL_NONE)},
    {WHOLE("one worker: it gets stuck when who stood in has left", stuck_when_it_has_left,
           MODEL_NONE)},
    {WHOLE("one worker: it gets stuck while who stood in leaves", stuck_while_it_leaves,
           MODEL_NONE)},
    {WHOLE("one worker: a shutdown ends at its limit", shut_down_meanwhile, MODEL_NONE)},
    {WHOLE("two workers: a task behind stuck ones is run", behind_two, MODEL_NONE)},
    {.name = "the poll that was looked at is relieved, and not the next one",
     .thread = {polls_on, looks_on},
     .end = end_told,
     .preemptions = 4,
     .must_reach = 1u << ENDED_BEFORE | 1u << RELIEVED_IN},
    {WHOLE("made before, interrupted", made_before, 1), .deep = true},
    {WHOLE("in the slot, interrupted", in_the_slot, 1), .deep = true},
    {WHOLE("woken meanwhile, interrupted", woken_meanwhile, 1), .deep = true},
    {WHOLE("the timer, interrupted", timer, 1), .deep = true},
    {WHOLE("the event, interrupted", event, 1), .deep = true, .leaks = true},
    {WHOLE("in place, interrupted", in_place, 1), .deep = true},
    {WHOLE("afterwards, interrupted", outside_afterwards, 1), .deep = true},
    {WHOLE("stuck again, interrupted", stuck_again, 1), .deep = true},
    {WHOLE("stuck as it is about to leave, interrupted", stuck_as_it_leaves, 1), .deep = true},
    {WHOLE("stuck while it leaves, interrupted", stuck_while_it_leaves, 1), .deep = true},
    {WHOLE("a shutdown, interrupted", shut_down_meanwhile, 1), .deep = true},
    {WHOLE("two workers, interrupted", behind_two, 1), .deep = true},
    {0},
};
