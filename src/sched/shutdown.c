/* SPDX-License-Identifier: MIT */
/*
 * shutdown.c - the end of a runtime.
 *
 * IDEA     Open -> closing -> stopped. Closing cancels all tasks and lets them unwind on the workers; what
 *          they spawn is born cancelled, and nothing is spawned from outside any more, so that there
 *          is a last task; stopped sends the workers away. Both steps are taken once, by whoever
 *          comes first.
 * OWNS     users counts the program's handle, each thread inside, and each push from outside
 *          that is under way. The last one frees the memory. A task that did not end within the limit of
 *          a shutdown is abandoned by it: its joiners are told, its stack and the runtime's memory
 *          stay, for something may still point into them. Timers that no task of it owned are woken. Who wakes such a
 *          task late is a last user, too: one at a time is at it, and looks again for the others.
 * WHO      Any thread, but weft_runtime_free gives the handle up.
 * ORDER    users: as every reference count. wf_runtime_alive reads finished (acquire) before
 *          spawned: equal sums mean that there was a moment without tasks. Closing is told by plain stores and a
 *          barrier that every thread passes (membarrier). Who asks has written its own part before (spawning,
 *          the state of a new task, the count of those that finished) and passes no fence:
 *          either it sees the closing, or who closes sees, behind the barrier, what it wrote.
 *          Stopped: release when set, acquire when read.
 * TESTS    tests/api/test_shutdown.c, tests/model/test_shutdown.c
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "sched/life.h"
#include "sched/monitor.h"
#include "sched/pool.h"
#include "sched/relieve.h"
#include "task/hold.h"

#include <errno.h>
#include <weft/time.h>

/* How long a shutdown waits before it looks again: for a wake-up that a system without membarrier may lose. */
#define CLOSING_LOOK_NS 5000000u
#define DRAIN_NS        1000000u /* longer than any store stays in a processor's buffer */

#define REPORT_MAX 10 /* tasks that a shutdown at its limit names */

static struct wf_atomic_ptr
    abandoned; /* runtimes with a task that did not end, by next_abandoned */

uint64_t wf_runtime_alive(const struct weft_runtime *rt)
{
    uint64_t finished = 0, spawned;

    for (unsigned i = 0; i < wf_runtime_seats(rt); i++)
        /* acquire: pairs with worker_finish; and finished is read before spawned */
        finished += wf_load_u64(&wf_runtime_seat(rt, i)->counters.task.finished, WF_ACQUIRE);
    finished += wf_load_u64(&rt->pool.finished, WF_ACQUIRE);
    spawned = wf_load_u64(&rt->spawned_outside, WF_RELAXED);
    for (unsigned i = 0; i < wf_runtime_seats(rt); i++)
        spawned += wf_load_u64(&wf_runtime_seat(rt, i)->counters.task.spawned, WF_RELAXED);
    return spawned - finished;
}

/* What any thread has stored is seen by all that comes after: see ORDER. */
static void shutdown_barrier(void)
{
    struct wf_atomic_u32 nobody = {0};
    uint64_t until;

    if (wf_likely(wf_sys_membarrier() == 0))
        return;
    until = wf_clock_now() + DRAIN_NS;
    while (wf_clock_now() < until)
        (void)wf_sys_futex_wait(&nobody, 0, DRAIN_NS);
}

static void shutdown_close(weft_runtime *rt)
{
    uint32_t open = WF_PHASE_OPEN;

    /* Once. relaxed: the barrier */
    (void)wf_cas_u32(&rt->phase, &open, WF_PHASE_CLOSING, WF_RELAXED, WF_RELAXED);
    wf_store_u32(&rt->sched.closing, 1, WF_RELAXED);
    shutdown_barrier();
    wf_runtime_cancel_all(rt);
}

bool wf_shutdown_wait_tasks(weft_runtime *rt, uint64_t until_ns)
{
    for (;;) {
        /* acquire: pairs with worker_finish */
        uint32_t ended = wf_load_u32(&rt->ended, WF_ACQUIRE);
        uint64_t now;

        if (wf_runtime_alive(rt) == 0)
            return true;
        now = wf_clock_now();
        if (now >= until_ns)
            return false;
        /* Stopped by another shutdown: because the last has ended just now, or at its limit, and then
         * nobody runs them any more. */
        if (wf_runtime_stopped(rt))
            return wf_runtime_alive(rt) == 0;
        if (rt->set.config.flavor == WEFT_CURRENT_THREAD && wf_drive_begin(rt)) {
            uint64_t look = now + CLOSING_LOOK_NS;

            wf_drive(rt, NULL, look < until_ns ? look : until_ns);
            wf_drive_end(rt);
        } else {
            uint64_t left = until_ns - now;

            wf_sys_futex_wait(&rt->ended, ended, left < CLOSING_LOOK_NS ? left : CLOSING_LOOK_NS);
        }
        wf_runtime_cancel_all(rt);
    }
}

/* The runtime is closing: the spawns from outside that are under way are the last ones. Takes a moment. */
static void shutdown_wait_spawns(weft_runtime *rt)
{
    /* acquire: pairs with wf_runtime_spawn_end */
    while (wf_load_u32(&rt->spawning, WF_ACQUIRE))
        wf_sys_thread_yield();
}

static void shutdown_stop(weft_runtime *rt)
{
    /* P4.a: store, then signal. release: what the tasks did is over; pairs with wf_runtime_stopped */
    wf_store_u32(&rt->phase, WF_PHASE_STOPPED, WF_RELEASE);
    wf_relief_stop(rt);
    wf_pool_stop(rt);
    wf_monitor_stop(rt);
    wf_hub_signal(&rt->hub);
    wf_add_u32(&rt->driver, 2, WF_RELEASE); /* the phase, for wf_drive_block */
    wf_sys_futex_wake(&rt->driver, INT32_MAX);
    wf_add_u32(&rt->ended, 1, WF_RELEASE);
    wf_sys_futex_wake(&rt->ended, INT32_MAX);
}

void wf_runtime_task_ended(struct weft_runtime *rt)
{
    uint32_t orphan = 1;

    /* acq_rel: of two tasks that end at once, the second one sees both counted */
    wf_add_u32(&rt->ended, 1, WF_ACQ_REL);
    wf_sys_futex_wake(&rt->ended, INT32_MAX);
    /* relaxed: ended brings it, for the task that gave the runtime up ends, too; once */
    if (wf_likely(!wf_load_u32(&rt->orphan, WF_RELAXED)) || wf_runtime_alive(rt) != 0 ||
        !wf_cas_u32(&rt->orphan, &orphan, 2, WF_RELAXED, WF_RELAXED))
        return;
    shutdown_stop(rt);
    /* The handle's; the calling thread is a user of its own. */
    wf_runtime_put(rt);
}

/* False: its thread is still inside when the time is up. */
static bool shutdown_wait_left(struct wf_worker *w, uint64_t until_ns)
{
    /* relaxed: see runtime_thread */
    while (!wf_load_u32(&w->left, WF_RELAXED)) {
        uint64_t now = wf_clock_now();

        if (now >= until_ns)
            return false;
        wf_sys_futex_wait(&w->left, 0, until_ns - now);
    }
    return true;
}

bool wf_shutdown_join(struct wf_worker *w, uint64_t until_ns)
{
    if (until_ns == WEFT_FOREVER || shutdown_wait_left(w, until_ns)) {
        (void)pthread_join(w->handle, NULL);
        return true;
    }
    (void)pthread_detach(w->handle);
    return false;
}

enum { JOIN_OPEN, JOIN_UNDER_WAY, JOIN_DONE, JOIN_LEFT_SOME };

/* Somebody else joins the threads: wait for that. */
static bool shutdown_wait_joined(weft_runtime *rt, uint64_t until_ns)
{
    uint32_t state;

    /* acquire: pairs with the store in shutdown_join_threads */
    while ((state = wf_load_u32(&rt->joined, WF_ACQUIRE)) == JOIN_UNDER_WAY) {
        uint64_t now = wf_clock_now();

        if (now >= until_ns)
            return false;
        (void)wf_sys_futex_wait(&rt->joined, JOIN_UNDER_WAY,
                                until_ns == WEFT_FOREVER ? WF_NO_TIMEOUT : until_ns - now);
    }
    return state == JOIN_DONE;
}

/* Wait for the threads to leave, then join them; detach them when they do not. True: none is left. */
static bool shutdown_join_threads(weft_runtime *rt, uint64_t until_ns)
{
    unsigned threads = rt->set.config.flavor == WEFT_CURRENT_THREAD ? 0 : rt->workers;
    uint32_t state = JOIN_OPEN;

    /* relaxed: one joins, the others wait for it */
    if (!wf_cas_u32(&rt->joined, &state, JOIN_UNDER_WAY, WF_RELAXED, WF_RELAXED))
        return shutdown_wait_joined(rt, until_ns);
    state = JOIN_DONE;
    for (unsigned i = 0; i < threads; i++)
        if (!wf_shutdown_join(&rt->worker[i], until_ns))
            state = JOIN_LEFT_SOME;
    if (!wf_relief_join(rt, until_ns) || !wf_pool_join(rt, until_ns))
        state = JOIN_LEFT_SOME;
    wf_monitor_join(rt);
    /* release: pairs with shutdown_wait_joined */
    wf_store_u32(&rt->joined, state, WF_RELEASE);
    wf_sys_futex_wake(&rt->joined, INT32_MAX);
    return state == JOIN_DONE;
}

static void shutdown_report_alive(weft_runtime *rt)
{
    struct wf_task_walk walk = {.rt = rt};
    weft_task *t;
    size_t n = 0;

    for (; (t = wf_task_walk_next(&walk)); n++) {
        weft_task_info info;

        wf_task_fill_info(t, &info);
        if (n < REPORT_MAX)
            wf_log("shutdown: task %llu \"%s\" (spawned at %s) is still %s",
                   (unsigned long long)info.id, info.name, info.site ? info.site : "?",
                   info.state == WEFT_TASK_RUNNING ? "running" : "waiting");
        wf_task_release(t);
    }
    if (n > REPORT_MAX)
        wf_log("shutdown: and %zu more", n - REPORT_MAX);
}

/* Is the caller one of its tasks, or called by one as a function that blocks? */
static bool shutdown_calls_inside(const weft_runtime *rt)
{
    const struct wf_thread *th = wf_thread_self();

    return (th && th->sched == &rt->sched) || wf_thread_owner() == &rt->sched;
}

/* Nobody looks at the wheels any more. Futures that no task of this runtime owns, in a set perhaps, may wait for time
 * on them: whom they were to wake is woken, and arms them elsewhere. */
static void shutdown_leave_timers(weft_runtime *rt)
{
    for (unsigned i = 0; i < rt->workers; i++)
        wf_wheel_leave(&rt->seats[i].wheel);
}

int weft_runtime_shutdown(weft_runtime *rt, weft_duration limit)
{
    uint64_t until_ns, threads_until;
    int rc = wf_runtime_check_outside(rt, "weft_runtime_shutdown");

    if (rc < 0)
        return rc;
    until_ns = weft_instant_add(wf_clock_now(), limit);
    shutdown_close(rt);
    if (shutdown_calls_inside(rt))
        return 0;
    shutdown_wait_spawns(rt);
    if (!wf_shutdown_wait_tasks(rt, until_ns)) {
        if (!wf_runtime_stopped(rt))
            shutdown_report_alive(rt);
        rc = -ETIMEDOUT;
    }
    shutdown_stop(rt);
    /* Idle threads leave at once: they are always waited for; only a stuck one is left behind. */
    threads_until = rc == 0 ? WEFT_FOREVER : weft_instant_add(wf_clock_now(), WEFT_MS(100));
    if (!shutdown_join_threads(rt, threads_until))
        rc = -ETIMEDOUT;
    /* A thread that is stuck in a poll may arm more: the last user sees to those. */
    shutdown_leave_timers(rt);
    return rc;
}

/* A task that nobody will poll again: tell its joiners. A fiber's stack stays as it is, and what it holds is as
 * after a panic; without a stack the task ends in order. */
static void shutdown_abandon(weft_runtime *rt, struct weft_task *t)
{
    bool whole = true;

    if (wf_task_flag(t, WF_TASK_F_YIELDED))
        wf_task_set_flag(t, WF_TASK_F_YIELDED, false);
    else
        (void)wf_task_state_start(t);
    if (wf_task_type_of(t)->stackless)
        (void)wf_async_poll(t, true);
    else if (!wf_task_flag(t, WF_TASK_F_BEGUN))
        (void)wf_fiber_begin(t, NULL, true);
    else
        whole = false;
    if (!whole)
        wf_holds_abandon(t->fiber);
    t->result = -ECANCELED;
    wf_task_end(t);
    if (whole)
        wf_count_u64(&rt->seats[0].counters.task.finished, 1);
}

static void shutdown_abandon_queued(weft_runtime *rt)
{
    struct weft_task *t;

    while (wf_inject_take(&rt->inject, &t, 1))
        shutdown_abandon(rt, t);
    for (unsigned i = 0; i < wf_runtime_seats(rt); i++)
        while ((t = wf_seat_drain(wf_runtime_seat(rt, i))))
            shutdown_abandon(rt, t);
}

/* The last user is gone. True: nothing of the runtime is in use any more. */
static bool shutdown_abandon_all(weft_runtime *rt)
{
    struct wf_task_walk walk = {.rt = rt};
    weft_task *t;

    if (wf_runtime_alive(rt) == 0)
        return true;
    shutdown_abandon_queued(rt);
    while ((t = wf_task_walk_next(&walk))) {
        if (wf_task_notify(t))
            shutdown_abandon(rt, t);
        wf_task_release(t);
    }
    return wf_runtime_alive(rt) == 0;
}

/* Kept for good, where leak checkers find it. By the one who is at it. */
static void shutdown_keep(weft_runtime *rt)
{
    if (rt->kept)
        return;
    rt->kept = true;
    /* relaxed: nobody else reads the list */
    rt->next_abandoned = wf_load_ptr(&abandoned, WF_RELAXED);
    while (!wf_cas_weak_ptr(&abandoned, &rt->next_abandoned, rt, WF_RELAXED, WF_RELAXED))
        continue;
}

/* In users, beside their number: the last one of them is at what is left; and a late one has come since he looked. */
#define USERS_INSIDE 0x80000000u
#define USERS_AGAIN  0x40000000u
#define USERS_FLAGS  (USERS_INSIDE | USERS_AGAIN)

/* By the last user, USERS_INSIDE. */
static void shutdown_last(weft_runtime *rt)
{
    bool over;
    uint32_t users;

    do {
        /* acquire: pairs with wf_runtime_put, what a late user has left */
        users = wf_and_u32(&rt->users, ~USERS_AGAIN, WF_ACQUIRE) & ~USERS_AGAIN;
        over = shutdown_abandon_all(rt);
        shutdown_leave_timers(rt);
        if (!over)
            shutdown_keep(rt);
        /* Nothing is pushed any more once it is over. */
        over = over && !rt->kept;
        /* release: pairs with wf_runtime_put; a user who is under way is the next last one */
    } while (!wf_cas_u32(&rt->users, &users, users & ~USERS_FLAGS, WF_RELEASE, WF_RELAXED));
    if (over && users == USERS_INSIDE)
        wf_runtime_free_memory(rt);
}

void wf_runtime_put(struct weft_runtime *rt)
{
    /* relaxed: only seeds the exchange */
    uint32_t users = wf_load_u32(&rt->users, WF_RELAXED), left;

    do {
        left = users - 1;
        if (left & USERS_INSIDE)
            left |= USERS_AGAIN;
        else if (left == 0)
            left = USERS_INSIDE;
        /* release: the last one sees what all others did; pairs with shutdown_last */
    } while (!wf_cas_weak_u32(&rt->users, &users, left, WF_RELEASE, WF_RELAXED));
    if (wf_unlikely(left == USERS_INSIDE))
        shutdown_last(rt);
}

/* From inside: nobody will join them. */
static void shutdown_detach_threads(weft_runtime *rt)
{
    if (rt->set.config.flavor != WEFT_CURRENT_THREAD)
        for (unsigned i = 0; i < rt->workers; i++)
            (void)pthread_detach(rt->worker[i].handle);
    wf_relief_detach(rt);
    wf_pool_detach(rt);
    wf_monitor_detach(rt);
}

void weft_runtime_free(weft_runtime *rt)
{
    if (!rt || wf_runtime_is_forked(rt))
        return;
    if (wf_runtime_phase(rt) != WF_PHASE_STOPPED)
        (void)weft_runtime_shutdown(rt, WEFT_FOREVER);
    if (shutdown_calls_inside(rt)) {
        /* The last task to end sends the threads away. */
        uint32_t open = JOIN_OPEN;

        /* relaxed: as in shutdown_join_threads */
        if (wf_cas_u32(&rt->joined, &open, JOIN_LEFT_SOME, WF_RELAXED, WF_RELAXED))
            shutdown_detach_threads(rt);
        /* relaxed: see wf_runtime_task_ended; the caller at least has not ended */
        wf_store_u32(&rt->orphan, 1, WF_RELAXED);
        return;
    }
    wf_runtime_put(rt);
}
