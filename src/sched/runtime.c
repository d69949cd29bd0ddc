/* SPDX-License-Identifier: MIT */
/*
 * runtime.c - building a runtime, running code on it, and its end.
 *
 * IDEA     Open -> closing -> stopped. Closing cancels all tasks and lets them unwind on the workers; what
 *          they spawn is born cancelled, and nothing is spawned from outside any more, so that there
 *          is a last task; stopped sends the workers away. Both steps are taken once, by whoever
 *          comes first.
 * OWNS     users counts the program's handle, each thread inside, and each push from outside
 *          that is under way. The last one frees the memory. A task that did not end within the limit of
 *          a shutdown is abandoned: its joiners are told, its stack and the runtime's memory
 *          stay, for something may still point into them.
 * WHO      Any thread, but weft_runtime_free gives the handle up.
 * ORDER    users: acq_rel, as every reference count. wf_runtime_alive reads finished (acquire) before
 *          spawned: equal sums mean that there was a moment without tasks. Closing is told by plain stores and a
 *          barrier that every thread passes (membarrier). Who asks has written its own part before (spawning,
 *          the state of a new task, the count of those that finished) and passes no fence:
 *          either it sees the closing, or who closes sees, behind the barrier, what it wrote.
 *          Stopped: release when set, acquire when read.
 */
#include "sched/runtime.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "fiber/overflow.h"
#include "sched/account.h"
#include "sched/debugger.h"
#include "sched/migrate.h"
#include "sched/worker.h"
#include "task/fiber_task.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/time.h>

/* How long a shutdown waits before it looks again: for a wake-up that a system without membarrier may lose. */
#define CLOSING_LOOK_NS 5000000u
#define DRAIN_NS        1000000u /* longer than any store stays in a processor's buffer */

#define REPORT_MAX 10 /* tasks that a shutdown at its limit names */

static struct wf_atomic_u32 fork_generation;
static struct wf_atomic_ptr abandoned; /* runtimes, by next_abandoned: some task did not end */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/*
 * In the child of a fork: its only thread is no worker any more, so that what it calls answers -EPERM as on a
 * plain thread, and the signal that workers block is as the program knows it.
 */
static void runtime_forked(void)
{
    sigset_t pipe;

    /* relaxed: the child has one thread */
    wf_add_u32(&fork_generation, 1, WF_RELAXED);
    if (!wf_thread_self())
        return;
    wf_thread_set_self(NULL);
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    (void)pthread_sigmask(SIG_UNBLOCK, &pipe, NULL);
}

static void runtime_watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, runtime_forked);
}

/* In a forked child the threads are gone: nothing of the runtime may be used. */
static bool runtime_is_forked(const weft_runtime *rt)
{
    return wf_load_u32(&fork_generation, WF_RELAXED) != rt->fork_generation;
}

static uint32_t runtime_phase(const weft_runtime *rt)
{
    /* relaxed: a request; what must not be missed is repeated */
    return wf_load_u32(&rt->phase, WF_RELAXED);
}

uint64_t wf_runtime_alive(const struct weft_runtime *rt)
{
    uint64_t finished = 0, spawned;

    for (unsigned i = 0; i < rt->workers; i++)
        /* acquire: pairs with worker_finish; and finished is read before spawned */
        finished += wf_load_u64(&rt->seats[i].counters.task.finished, WF_ACQUIRE);
    spawned = wf_load_u64(&rt->spawned_outside, WF_RELAXED);
    for (unsigned i = 0; i < rt->workers; i++)
        spawned += wf_load_u64(&rt->seats[i].counters.task.spawned, WF_RELAXED);
    return spawned - finished;
}

void wf_runtime_inject(struct weft_runtime *rt, struct weft_task *t)
{
    /* The task keeps the runtime until it has ended, which may be as soon as it is pushed. relaxed: it is
     * there now. */
    wf_add_u32(&rt->users, 1, WF_RELAXED);
    wf_add_u64(&rt->remote_schedules, 1, WF_RELAXED);
    /* P2.m and P2.n: push, then see who sleeps */
    wf_inject_push(&rt->inject, t);
    if (wf_idle_notify(&rt->idle))
        wf_hub_signal(&rt->hub);
    wf_runtime_put(rt);
}

/* The threads of a runtime. */

/* Our threads start with SIGPIPE blocked: a task that writes to a pipe nobody reads is told -EPIPE, the program
 * is not to be killed. All other signals are the program's business. */
static void thread_block_sigpipe(sigset_t *before)
{
    sigset_t pipe;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe, before);
}

static void *runtime_thread(void *arg)
{
    struct wf_worker *w = arg;
    weft_runtime *rt = w->rt;

    (void)pthread_setname_np(pthread_self(), rt->set.thread_name);
    (void)wf_sys_timer_slack(1);
    wf_worker_enter(w, rt, w->seat);
    if (rt->set.config.on_thread_start)
        rt->set.config.on_thread_start(rt->set.config.hook_user);
    wf_worker_run(w, NULL, WEFT_FOREVER);
    if (rt->set.config.on_thread_stop)
        rt->set.config.on_thread_stop(rt->set.config.hook_user);
    wf_worker_leave(w);
    /* P4.b: the next sleeper; each passes the word on */
    wf_hub_signal(&rt->hub);
    /* relaxed: who waits for it joins the thread then */
    wf_store_u32(&w->left, 1, WF_RELAXED);
    wf_sys_futex_wake(&w->left, INT32_MAX);
    wf_runtime_put(rt);
    return NULL;
}

static int runtime_start_threads(weft_runtime *rt)
{
    sigset_t before;
    unsigned i;
    int rc = 0;

    if (rt->set.config.flavor == WEFT_CURRENT_THREAD)
        return 0;
    thread_block_sigpipe(&before);
    for (i = 0; i < rt->workers && rc == 0; i++) {
        wf_add_u32(&rt->users, 1, WF_RELAXED);
        rc = wf_sys_thread_create(&rt->worker[i].handle, runtime_thread, &rt->worker[i]);
        if (rc < 0) {
            wf_sub_u32(&rt->users, 1, WF_RELAXED);
            break;
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc < 0) {
        wf_log(
            "weft_runtime_new: thread %u of %u cannot be created (%s): memory or threads are short; "
            "see ulimit -u, ulimit -v and weft_config.worker_threads",
            i + 1, rt->workers, weft_strerror(rc));
        /* relaxed: nothing has happened yet that it could tell */
        wf_store_u32(&rt->phase, WF_PHASE_STOPPED, WF_RELAXED);
        wf_hub_signal(&rt->hub);
        while (i-- > 0)
            (void)pthread_join(rt->worker[i].handle, NULL);
    }
    return rc;
}

/* Tell the overflow handler what runs on this thread. In a signal handler. */
static bool runtime_describe_fault(const void *addr, struct wf_overflow_report *out)
{
    struct wf_thread *th = wf_thread_self();
    struct weft_task *t;

    if (!th || !th->fiber || !wf_stack_in_guard(th->fiber->stack, addr))
        return false;
    t = th->fiber->task;
    *out = (struct wf_overflow_report){.task_name = wf_task_name(t),
                                       .site = t->site,
                                       .task_id = t->id,
                                       .stack_size = th->fiber->stack->size};
    return true;
}

static void *runtime_alloc(size_t size)
{
    size_t round = (size + WF_CACHE_LINE - 1) & ~(size_t)(WF_CACHE_LINE - 1);
    void *p = wf_sys_aligned_alloc(WF_CACHE_LINE, round);

    if (p)
        memset(p, 0, round);
    return p;
}

static void runtime_free_memory(weft_runtime *rt)
{
    for (unsigned i = 0; i < rt->workers; i++)
        wf_seat_release(&rt->seats[i]);
    wf_hub_close(&rt->hub);
    if (rt->set.signal_reports)
        wf_overflow_uninstall();
    wf_sys_free(rt->seats);
    wf_sys_free(rt->worker);
    wf_sys_free(rt);
}

/* Open what the seats need. On failure the earlier ones are released. */
static int runtime_open_seats(weft_runtime *rt)
{
    unsigned i;
    int rc = wf_hub_open(&rt->hub, rt->single);

    if (rc < 0)
        return rc;
    for (i = 0; i < rt->workers && rc == 0; i++) {
        rc = wf_seat_init(&rt->seats[i], rt, i, !rt->single, rt->set.config.rng_seed);
        rt->worker[i].rt = rt;
        rt->worker[i].seat = &rt->seats[i];
    }
    if (rc < 0) {
        for (i--; i-- > 0;)
            wf_seat_release(&rt->seats[i]);
        wf_hub_close(&rt->hub);
    }
    return rc;
}

static void runtime_init(weft_runtime *rt)
{
    const weft_config *c = &rt->set.config;

    wf_ticks_calibrate();
    (void)pthread_once(&fork_once, runtime_watch_forks);
    (void)wf_sys_membarrier_register();
    rt->sched = (struct wf_scheduler){.ops = &wf_worker_ops,
                                      .stack_size = c->stack_size,
                                      .on_spawn = c->on_task_spawn,
                                      .on_end = c->on_task_end,
                                      .hook_user = c->hook_user};
    rt->fork_generation = wf_load_u32(&fork_generation, WF_RELAXED);
    rt->started_at = wf_clock_now();
    rt->debug_table = &weft_debug_table;
    rt->workers = c->worker_threads;
    rt->single = rt->workers == 1;
    rt->tick_half_ms = wf_ns_to_ticks(500000);
    rt->tick_20us = wf_ns_to_ticks(20000);
    rt->tick_exact = wf_ns_to_ticks(WF_EXACT_NS);
    wf_idle_init(&rt->idle, rt->workers);
    wf_inject_init(&rt->inject);
    wf_store_u32(&rt->users, 1, WF_RELAXED);
}

static int runtime_new(weft_runtime **out, const weft_config *config, size_t size, bool from_run)
{
    weft_runtime *rt = runtime_alloc(sizeof(*rt));
    int rc;

    if (!rt)
        return -ENOMEM;
    rc = wf_config_resolve(&rt->set, config, size, from_run);
    if (rc < 0)
        goto free_rt;
    runtime_init(rt);
    rt->seats = runtime_alloc(rt->workers * sizeof(*rt->seats));
    rt->worker = runtime_alloc(rt->workers * sizeof(*rt->worker));
    rc = -ENOMEM;
    if (!rt->seats || !rt->worker)
        goto free_arrays;
    if (rt->set.signal_reports) {
        rc = wf_overflow_install();
        if (rc < 0)
            goto free_arrays;
        wf_overflow_set_describe(runtime_describe_fault);
    }
    rc = runtime_open_seats(rt);
    if (rc < 0) {
        wf_log("weft_runtime_new: the driver cannot be opened (%s); see ulimit -n",
               weft_strerror(rc));
        goto uninstall;
    }
    rc = runtime_start_threads(rt);
    if (rc < 0) {
        runtime_free_memory(rt);
        return rc;
    }
    *out = rt;
    return 0;

uninstall:
    if (rt->set.signal_reports)
        wf_overflow_uninstall();
free_arrays:
    wf_sys_free(rt->seats);
    wf_sys_free(rt->worker);
free_rt:
    wf_sys_free(rt);
    return rc;
}

int weft_runtime_new_sized(weft_runtime **rt, const weft_config *config, size_t config_size)
{
    if (!rt)
        return wf_misuse(-EINVAL, "weft_runtime_new: rt is NULL");
    return runtime_new(rt, config, config_size, false);
}

int(weft_runtime_new)(weft_runtime **rt, const weft_config *config)
{
    return weft_runtime_new_sized(rt, config, sizeof(*config));
}

/* Current-thread: one thread at a time drives. The word's lowest bit says so, the rest counts changes. */

static bool runtime_drive_begin(weft_runtime *rt)
{
    uint32_t old = wf_load_u32(&rt->driver, WF_RELAXED);

    /* acquire: pairs with runtime_drive_end of the one before */
    return !(old & 1) && wf_cas_u32(&rt->driver, &old, old | 1, WF_ACQUIRE, WF_RELAXED);
}

static void runtime_drive_end(weft_runtime *rt)
{
    /* release: the seat's state, for who drives next */
    wf_add_u32(&rt->driver, 1, WF_RELEASE);
    wf_sys_futex_wake(&rt->driver, INT32_MAX);
}

/* Drive until root (may be NULL) has ended or until_ns. The caller has begun. */
static void runtime_drive(weft_runtime *rt, const struct weft_task *root, uint64_t until_ns)
{
    sigset_t pipe, before;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    thread_block_sigpipe(&before);
    wf_worker_enter(&rt->worker[0], rt, &rt->seats[0]);
    wf_worker_run(&rt->worker[0], root, until_ns);
    wf_worker_leave(&rt->worker[0]);
    if (!sigismember(&before, SIGPIPE)) {
        wf_sys_signal_discard(&pipe);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
}

/* A thread that waits for its root task while another one drives. */
struct block_waiter {
    weft_wakeable wakeable;
    weft_runtime *rt;
    struct wf_atomic_u32 refs;
};

static void block_waiter_retain(weft_wakeable *w)
{
    wf_add_u32(&wf_container_of(w, struct block_waiter, wakeable)->refs, 1, WF_RELAXED);
}

static void block_waiter_wake(weft_wakeable *w)
{
    (void)w; /* the release that follows tells */
}

static void block_waiter_release(weft_wakeable *w)
{
    struct block_waiter *b = wf_container_of(w, struct block_waiter, wakeable);
    weft_runtime *rt = b->rt;

    /* release: after this b may be gone */
    wf_sub_u32(&b->refs, 1, WF_RELEASE);
    wf_add_u32(&rt->driver, 2, WF_RELEASE);
    wf_sys_futex_wake(&rt->driver, INT32_MAX);
}

static const weft_wakeable_type block_waiter_type = {block_waiter_retain, block_waiter_wake,
                                                     block_waiter_release};

static int runtime_block_current(weft_runtime *rt, weft_task *root)
{
    struct block_waiter b = {.wakeable = {&block_waiter_type}, .rt = rt};
    weft_future ended = weft_join_future(root);
    weft_context cx = {{&b.wakeable}};
    bool waiting = weft_future_poll(&ended, &cx) == WEFT_PENDING;
    int rc = 0;

    while (waiting && rc == 0) {
        /* acquire: pairs with block_waiter_release, runtime_drive_end and runtime_stop */
        uint32_t seen = wf_load_u32(&rt->driver, WF_ACQUIRE);

        if (wf_load_u32(&b.refs, WF_ACQUIRE) == 0)
            break;
        if (runtime_drive_begin(rt)) {
            runtime_drive(rt, root, WEFT_FOREVER);
            runtime_drive_end(rt);
        } else if ((seen & 1) && !wf_runtime_stopped(rt)) {
            wf_sys_futex_wait(&rt->driver, seen, WF_NO_TIMEOUT);
        }
        /* At the limit of a shutdown. Who drives then may be stuck in a task. relaxed: it only asks */
        if (wf_runtime_stopped(rt) && wf_load_u32(&b.refs, WF_RELAXED) != 0)
            rc = -ESHUTDOWN;
    }
    weft_future_drop(&ended);
    while (wf_load_u32(&b.refs, WF_ACQUIRE)) /* block_waiter_release may be at work on b */
        wf_sys_thread_yield();
    return rc;
}

/* The handle was given up inside: who drives goes on until the last task has ended. */
static bool runtime_wait_tasks(weft_runtime *rt, uint64_t until_ns);

static void runtime_drive_orphan(weft_runtime *rt)
{
    /* relaxed: who drove the task that gave it up is this thread */
    if (wf_load_u32(&rt->orphan, WF_RELAXED))
        (void)runtime_wait_tasks(rt, WEFT_FOREVER);
}

static int runtime_check_outside(const weft_runtime *rt, const char *call)
{
    if (!rt)
        return wf_misuse(-EINVAL, "%s: rt is NULL", call);
    if (runtime_is_forked(rt))
        return wf_misuse(-EPERM, "%s: the runtime belongs to the parent process", call);
    return 0;
}

int weft_block_on_at(const char *site, weft_runtime *rt, weft_fn *fn, void *arg, int *result)
{
    weft_task_options o = {.name = "root", .site = site};
    struct wf_thread *th = wf_thread_self();
    weft_task *root;
    int rc = runtime_check_outside(rt, "weft_block_on");

    if (rc < 0)
        return rc;
    if (!fn)
        return wf_misuse(-EINVAL, "weft_block_on: fn is NULL");
    if (th)
        return wf_misuse(-EDEADLK, "weft_block_on: called inside a task");
    if (runtime_phase(rt) != WF_PHASE_OPEN)
        return -ESHUTDOWN;
    if (rt->set.config.flavor != WEFT_CURRENT_THREAD) {
        rc = weft_spawn_on_at(site, rt, &root, &o, fn, arg);
        return rc < 0 ? rc : weft_join_blocking(root, result);
    }
    /* This thread is inside: others may free the runtime meanwhile. relaxed: the handle is there */
    wf_add_u32(&rt->users, 1, WF_RELAXED);
    rc = weft_spawn_on_at(site, rt, &root, &o, fn, arg);
    if (rc < 0)
        goto put;
    rc = runtime_block_current(rt, root);
    if (rc == 0) {
        rc = weft_join_blocking(root, result);
    } else {
        weft_cancel(root);
        weft_detach(root);
    }
    runtime_drive_orphan(rt);
put:
    wf_runtime_put(rt);
    return rc;
}

/* A spawn from outside begins. -ESHUTDOWN: it comes too late. */
static int runtime_spawn_begin(weft_runtime *rt)
{
    /* relaxed: the barrier of runtime_close. Either it sees this spawn, or this sees the phase. */
    wf_add_u32(&rt->spawning, 1, WF_RELAXED);
    wf_compiler_fence();
    if (wf_likely(wf_load_u32(&rt->phase, WF_RELAXED) == WF_PHASE_OPEN)) {
        /* The task may free the runtime before the spawn has returned. relaxed: it is there now. */
        wf_add_u32(&rt->users, 1, WF_RELAXED);
        return 0;
    }
    wf_sub_u32(&rt->spawning, 1, WF_RELAXED); /* nothing was done */
    return -ESHUTDOWN;
}

static int runtime_spawn_end(weft_runtime *rt, int rc)
{
    /* release: the task is counted; pairs with runtime_wait_spawns */
    wf_sub_u32(&rt->spawning, 1, WF_RELEASE);
    wf_runtime_put(rt);
    return rc;
}

static weft_task_options runtime_sited(const char *site, const weft_task_options *options)
{
    weft_task_options o = options ? *options : (weft_task_options){0};

    if (!o.site)
        o.site = site;
    return o;
}

int weft_spawn_on_at(const char *site, weft_runtime *rt, weft_task **t,
                     const weft_task_options *options, weft_fn *fn, void *arg)
{
    weft_task_options o = runtime_sited(site, options);
    int rc = runtime_check_outside(rt, "weft_spawn_on");

    if (rc < 0)
        return rc;
    if (!fn)
        return wf_misuse(-EINVAL, "weft_spawn_on: fn is NULL");
    rc = runtime_spawn_begin(rt);
    if (rc < 0)
        return rc;
    return runtime_spawn_end(rt, wf_spawn_fiber_on(&rt->sched, t, &o, fn, arg));
}

int weft_spawn_async_on_at(const char *site, weft_runtime *rt, weft_task **t,
                           const weft_task_options *options, const weft_async_type *type,
                           const void *state)
{
    weft_task_options o = runtime_sited(site, options);
    int rc = runtime_check_outside(rt, "weft_spawn_async_on");

    if (rc < 0)
        return rc;
    rc = runtime_spawn_begin(rt);
    if (rc < 0)
        return rc;
    return runtime_spawn_end(rt, wf_spawn_async_on(&rt->sched, t, &o, type, state));
}

/* The end. */

/* What any thread has stored is seen by all that comes after: see ORDER. */
static void runtime_barrier(void)
{
    struct wf_atomic_u32 nobody = {0};
    uint64_t until;

    if (wf_likely(wf_sys_membarrier() == 0))
        return;
    until = wf_clock_now() + DRAIN_NS;
    while (wf_clock_now() < until)
        (void)wf_sys_futex_wait(&nobody, 0, DRAIN_NS);
}

static void runtime_close(weft_runtime *rt)
{
    uint32_t open = WF_PHASE_OPEN;

    /* Once. relaxed: the barrier */
    (void)wf_cas_u32(&rt->phase, &open, WF_PHASE_CLOSING, WF_RELAXED, WF_RELAXED);
    wf_store_u32(&rt->sched.closing, 1, WF_RELAXED);
    runtime_barrier();
    wf_runtime_cancel_all(rt);
}

/* Wait for the tasks to end. True: all have. */
static bool runtime_wait_tasks(weft_runtime *rt, uint64_t until_ns)
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
        if (rt->set.config.flavor == WEFT_CURRENT_THREAD && runtime_drive_begin(rt)) {
            uint64_t look = now + CLOSING_LOOK_NS;

            runtime_drive(rt, NULL, look < until_ns ? look : until_ns);
            runtime_drive_end(rt);
        } else {
            uint64_t left = until_ns - now;

            wf_sys_futex_wait(&rt->ended, ended, left < CLOSING_LOOK_NS ? left : CLOSING_LOOK_NS);
        }
        wf_runtime_cancel_all(rt);
    }
}

/* The runtime is closing: the spawns from outside that are under way are the last ones. Takes a moment. */
static void runtime_wait_spawns(weft_runtime *rt)
{
    /* acquire: pairs with runtime_spawn_end */
    while (wf_load_u32(&rt->spawning, WF_ACQUIRE))
        wf_sys_thread_yield();
}

static void runtime_stop(weft_runtime *rt)
{
    /* P4.a: store, then signal. release: what the tasks did is over; pairs with wf_runtime_stopped */
    wf_store_u32(&rt->phase, WF_PHASE_STOPPED, WF_RELEASE);
    wf_hub_signal(&rt->hub);
    wf_add_u32(&rt->driver, 2, WF_RELEASE); /* the phase, for runtime_block_current */
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
    runtime_stop(rt);
    /* The handle's; the calling thread is a user of its own. */
    wf_runtime_put(rt);
}

/* False: its thread is still inside when the time is up. */
static bool runtime_wait_left(struct wf_worker *w, uint64_t until_ns)
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

enum { JOIN_OPEN, JOIN_UNDER_WAY, JOIN_DONE, JOIN_LEFT_SOME };

/* Somebody else joins the threads: wait for that. */
static bool runtime_wait_joined(weft_runtime *rt, uint64_t until_ns)
{
    uint32_t state;

    /* acquire: pairs with the store in runtime_join_threads */
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
static bool runtime_join_threads(weft_runtime *rt, uint64_t until_ns)
{
    uint32_t state = JOIN_OPEN;

    if (rt->set.config.flavor == WEFT_CURRENT_THREAD)
        return true;
    /* relaxed: one joins, the others wait for it */
    if (!wf_cas_u32(&rt->joined, &state, JOIN_UNDER_WAY, WF_RELAXED, WF_RELAXED))
        return runtime_wait_joined(rt, until_ns);
    state = JOIN_DONE;
    for (unsigned i = 0; i < rt->workers; i++) {
        struct wf_worker *w = &rt->worker[i];

        if (until_ns == WEFT_FOREVER || runtime_wait_left(w, until_ns)) {
            (void)pthread_join(w->handle, NULL);
        } else {
            (void)pthread_detach(w->handle);
            state = JOIN_LEFT_SOME;
        }
    }
    /* release: pairs with runtime_wait_joined */
    wf_store_u32(&rt->joined, state, WF_RELEASE);
    wf_sys_futex_wake(&rt->joined, INT32_MAX);
    return state == JOIN_DONE;
}

static void runtime_report_alive(weft_runtime *rt)
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

/* Is the caller one of its tasks? */
static bool runtime_calls_inside(const weft_runtime *rt)
{
    const struct wf_thread *th = wf_thread_self();

    return th && th->sched == &rt->sched;
}

int weft_runtime_shutdown(weft_runtime *rt, weft_duration limit)
{
    uint64_t until_ns, threads_until;
    int rc = runtime_check_outside(rt, "weft_runtime_shutdown");

    if (rc < 0)
        return rc;
    until_ns = weft_instant_add(wf_clock_now(), limit);
    runtime_close(rt);
    if (runtime_calls_inside(rt))
        return 0;
    runtime_wait_spawns(rt);
    if (!runtime_wait_tasks(rt, until_ns)) {
        if (!wf_runtime_stopped(rt))
            runtime_report_alive(rt);
        rc = -ETIMEDOUT;
    }
    runtime_stop(rt);
    /* Idle threads leave at once: they are always waited for; only a stuck one is left behind. */
    threads_until = rc == 0 ? WEFT_FOREVER : weft_instant_add(wf_clock_now(), WEFT_MS(100));
    if (!runtime_join_threads(rt, threads_until))
        rc = -ETIMEDOUT;
    return rc;
}

/* A task that nobody will poll again: tell its joiners. A fiber's stack stays as it is; without one
 * the task ends in order. */
static void runtime_abandon(weft_runtime *rt, struct weft_task *t)
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
    t->result = -ECANCELED;
    wf_task_end(t);
    if (whole)
        wf_count_u64(&rt->seats[0].counters.task.finished, 1);
}

static void runtime_abandon_queued(weft_runtime *rt)
{
    struct weft_task *t;

    while (wf_inject_take(&rt->inject, &t, 1))
        runtime_abandon(rt, t);
    for (unsigned i = 0; i < rt->workers; i++) {
        struct wf_seat *s = &rt->seats[i];

        if (s->lifo)
            runtime_abandon(rt, s->lifo);
        s->lifo = NULL;
        while ((t = wf_deque_take_oldest(&s->ready)) || (t = wf_deque_take_newest(&s->backlog)) ||
               (t = wf_migrate_left(s)))
            runtime_abandon(rt, t);
    }
}

/* The last user is gone. True: nothing of the runtime is in use any more. */
static bool runtime_abandon_all(weft_runtime *rt)
{
    struct wf_task_walk walk = {.rt = rt};
    weft_task *t;

    if (wf_runtime_alive(rt) == 0)
        return true;
    runtime_abandon_queued(rt);
    while ((t = wf_task_walk_next(&walk))) {
        if (wf_task_notify(t))
            runtime_abandon(rt, t);
        wf_task_release(t);
    }
    return wf_runtime_alive(rt) == 0;
}

void wf_runtime_put(struct weft_runtime *rt)
{
    /* acq_rel: the last one sees what all others did */
    if (wf_sub_u32(&rt->users, 1, WF_ACQ_REL) != 1)
        return;
    if (runtime_abandon_all(rt)) {
        runtime_free_memory(rt);
        return;
    }
    /* A late waker may come here again: linked once. */
    if (wf_swap_u32(&rt->kept, 1, WF_RELAXED))
        return;
    /* Kept for good, where leak checkers find it. relaxed: nobody else reads the list. */
    rt->next_abandoned = wf_load_ptr(&abandoned, WF_RELAXED);
    while (!wf_cas_weak_ptr(&abandoned, &rt->next_abandoned, rt, WF_RELAXED, WF_RELAXED))
        continue;
}

void weft_runtime_free(weft_runtime *rt)
{
    if (!rt || runtime_is_forked(rt))
        return;
    if (runtime_phase(rt) != WF_PHASE_STOPPED)
        (void)weft_runtime_shutdown(rt, WEFT_FOREVER);
    if (runtime_calls_inside(rt)) {
        /* From inside: nobody will join the threads; the last task to end sends them away. */
        uint32_t open = JOIN_OPEN;

        if (rt->set.config.flavor != WEFT_CURRENT_THREAD &&
            /* relaxed: as in runtime_join_threads */
            wf_cas_u32(&rt->joined, &open, JOIN_LEFT_SOME, WF_RELAXED, WF_RELAXED))
            for (unsigned i = 0; i < rt->workers; i++)
                (void)pthread_detach(rt->worker[i].handle);
        /* relaxed: see wf_runtime_task_ended; the caller at least has not ended */
        wf_store_u32(&rt->orphan, 1, WF_RELAXED);
        return;
    }
    wf_runtime_put(rt);
}

/* The functions behind the macros of the same name. */
int(weft_block_on)(weft_runtime *rt, weft_fn *fn, void *arg, int *result)
{
    return weft_block_on_at(NULL, rt, fn, arg, result);
}

int(weft_spawn_on)(weft_runtime *rt, weft_task **t, const weft_task_options *options, weft_fn *fn,
                   void *arg)
{
    return weft_spawn_on_at(NULL, rt, t, options, fn, arg);
}

int(weft_spawn_async_on)(weft_runtime *rt, weft_task **t, const weft_task_options *options,
                         const weft_async_type *type, const void *state)
{
    return weft_spawn_async_on_at(NULL, rt, t, options, type, state);
}

int(weft_run)(weft_fn *fn, void *arg)
{
    return weft_run_at(NULL, fn, arg);
}

int weft_run_at(const char *site, weft_fn *fn, void *arg)
{
    weft_runtime *rt;
    int result = 0, rc;

    if (wf_thread_self()) {
        wf_log("weft_run: called inside a task; spawn the function instead");
        return 1;
    }
    rc = runtime_new(&rt, NULL, 0, true);
    if (rc < 0) {
        wf_log("weft_run: no runtime: %s", weft_strerror(rc));
        return 1;
    }
    rc = weft_block_on_at(site, rt, fn, arg, &result);
    weft_runtime_free(rt);
    if (rc < 0) {
        wf_log("weft_run: the first task cannot be run: %s", weft_strerror(rc));
        return 1;
    }
    if (result < 0) {
        wf_log("weft_run: the first task returned %d: %s", result, weft_strerror(result));
        return 1;
    }
    return result > 125 ? 125 : result;
}

weft_runtime *weft_runtime_current(void)
{
    struct wf_thread *th = wf_thread_self();

    return th && th->task ? wf_runtime_of(th->sched) : NULL;
}

weft_flavor weft_runtime_flavor(const weft_runtime *rt)
{
    return rt ? rt->set.config.flavor : WEFT_MULTI_THREAD;
}
