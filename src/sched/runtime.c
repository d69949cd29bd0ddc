/* SPDX-License-Identifier: MIT */
/*
 * runtime.c - building a runtime, and running code on it from outside.
 *
 * IDEA     A runtime is built in one go, or not at all. Who runs something on it from outside is counted while that is
 *          under way: see users and spawning in shutdown.c, which has its end.
 * WHO      Any thread.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "fiber/backtrace.h"
#include "fiber/overflow.h"
#include "sched/account.h"
#include "sched/debugger.h"
#include "sched/life.h"
#include "sched/monitor.h"
#include "sched/pool.h"
#include "sched/relieve.h"
#include "task/fiber_task.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/time.h>

struct wf_atomic_u32 wf_lock_limits;

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/*
 * In the child of a fork: its only thread is no worker any more, so that what it calls answers -EPERM as on a
 * plain thread, and the signal that workers block is as the program knows it.
 */
static void runtime_forked(void)
{
    sigset_t pipe;

    /* relaxed: the child has one thread */
    wf_add_u32(&wf_fork_generation, 1, WF_RELAXED);
    if (!wf_thread_self() && !wf_thread_owner())
        return;
    wf_thread_set_self(NULL);
    (void)wf_thread_lend(NULL);
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    (void)pthread_sigmask(SIG_UNBLOCK, &pipe, NULL);
}

static void runtime_watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, runtime_forked);
}

bool wf_runtime_is_forked(const weft_runtime *rt)
{
    return wf_load_u32(&wf_fork_generation, WF_RELAXED) != rt->fork_generation;
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

void wf_thread_block_sigpipe(sigset_t *before)
{
    sigset_t pipe;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe, before);
}

/* A function of its own, so that tests/structure/tls.py finds it. */
WF_NOINLINE void wf_thread_begin(weft_runtime *rt, const char *name)
{
    (void)pthread_setname_np(pthread_self(), name);
    (void)wf_sys_timer_slack(1);
    if (rt->set.config.on_thread_start)
        rt->set.config.on_thread_start(rt->set.config.hook_user);
}

void wf_thread_end(weft_runtime *rt)
{
    if (rt->set.config.on_thread_stop)
        rt->set.config.on_thread_stop(rt->set.config.hook_user);
}

int wf_thread_start(weft_runtime *rt, pthread_t *handle, void *(*fn)(void *arg), void *arg)
{
    sigset_t before;
    int rc;

    wf_add_u32(&rt->users, 1, WF_RELAXED);
    wf_thread_block_sigpipe(&before);
    rc = wf_sys_thread_create(handle, fn, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc < 0)
        wf_sub_u32(&rt->users, 1, WF_RELAXED);
    return rc;
}

static void *runtime_thread(void *arg)
{
    struct wf_worker *w = arg;
    weft_runtime *rt = w->rt;

    wf_thread_begin(rt, rt->set.thread_name);
    wf_worker_enter(w);
    wf_worker_run(w, NULL, WEFT_FOREVER);
    wf_thread_end(rt);
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
    unsigned i;
    int rc = 0;

    if (rt->set.config.flavor == WEFT_CURRENT_THREAD)
        return 0;
    for (i = 0; i < rt->workers; i++) {
        rc = wf_thread_start(rt, &rt->worker[i].handle, runtime_thread, &rt->worker[i]);
        if (rc < 0)
            break;
    }
    if (rc == 0)
        rc = wf_monitor_start(rt);
    if (rc < 0) {
        wf_log(
            "weft_runtime_new: thread %u of %u cannot be created (%s): memory or threads are short; "
            "see ulimit -u, ulimit -v and weft_config.worker_threads",
            i + 1, rt->workers + 1, weft_strerror(rc));
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

void *wf_runtime_alloc(size_t size)
{
    size_t round = (size + WF_CACHE_LINE - 1) & ~(size_t)(WF_CACHE_LINE - 1);
    void *p = wf_sys_aligned_alloc(WF_CACHE_LINE, round);

    if (p)
        memset(p, 0, round);
    return p;
}

/* The handlers of signals, if they are wanted. */
static int runtime_install_reports(const weft_runtime *rt)
{
    int rc;

    if (!rt->set.signal_reports)
        return 0;
    rc = wf_overflow_install();
    if (rc < 0)
        return rc;
    wf_overflow_set_describe(runtime_describe_fault);
    rc = rt->set.monitor ? wf_backtrace_install() : 0;
    if (rc < 0)
        wf_overflow_uninstall();
    return rc;
}

static void runtime_uninstall_reports(const weft_runtime *rt)
{
    if (!rt->set.signal_reports)
        return;
    if (rt->set.monitor)
        wf_backtrace_uninstall();
    wf_overflow_uninstall();
}

void wf_runtime_free_memory(weft_runtime *rt)
{
    for (unsigned i = 0; i < rt->workers; i++)
        wf_seat_release(&rt->seats[i]);
    wf_relief_release(rt);
    wf_monitor_release(rt);
    wf_hub_close(&rt->hub);
    wf_virtual_release(&rt->clock);
    runtime_uninstall_reports(rt);
    wf_sys_free(rt->seats);
    wf_sys_free(rt->worker);
    wf_sys_free(rt);
}

/* Open what the seats need. On failure the earlier ones are released. */
static int runtime_open_seats(weft_runtime *rt)
{
    unsigned i;
    int rc = wf_hub_open(&rt->hub, rt->sole ? WF_HUB_SOLE : rt->single ? WF_HUB_ONE : WF_HUB_MANY);

    if (rc < 0)
        return rc;
    for (i = 0; i < rt->workers && rc == 0; i++) {
        rc = wf_seat_init(&rt->seats[i], rt, i, !rt->single, rt->set.config.rng_seed);
        rt->worker[i].rt = rt;
        rt->worker[i].seat = rt->worker[i].home = &rt->seats[i];
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
    if (wf_sys_membarrier_register() < 0 && rt->set.monitor) {
        wf_log(
            "membarrier is not allowed here: a task that blocks will hold up those on its worker; "
            "allow it, or set the monitor off");
        rt->set.monitor = false;
    }
    rt->sched = (struct wf_scheduler){.ops = &wf_worker_ops,
                                      .stack_size = c->stack_size,
                                      .on_spawn = c->on_task_spawn,
                                      .on_end = c->on_task_end,
                                      .hook_user = c->hook_user};
    wf_virtual_init(&rt->clock);
    if (c->flavor == WEFT_CURRENT_THREAD)
        rt->sched.clock = &rt->clock;
    rt->fork_generation = wf_load_u32(&wf_fork_generation, WF_RELAXED);
    rt->started_at = wf_clock_now();
    rt->debug_table = &weft_debug_table;
    rt->workers = c->worker_threads;
    rt->sole = c->flavor == WEFT_CURRENT_THREAD || (rt->workers == 1 && !rt->set.monitor);
    rt->single = rt->workers == 1;
    rt->tick_half_ms = wf_ns_to_ticks(500000);
    rt->tick_20us = wf_ns_to_ticks(20000);
    rt->tick_exact = wf_ns_to_ticks(WF_EXACT_NS);
    wf_idle_init(&rt->idle, rt->workers);
    wf_inject_init(&rt->inject);
    wf_pool_init(rt);
    wf_store_u32(&rt->users, 1, WF_RELAXED);
}

static int runtime_new(weft_runtime **out, const weft_config *config, size_t size, bool from_run)
{
    weft_runtime *rt = wf_runtime_alloc(sizeof(*rt));
    int rc;

    if (!rt)
        return -ENOMEM;
    rc = wf_config_resolve(&rt->set, config, size, from_run);
    if (rc < 0)
        goto free_rt;
    if (rt->set.config.lock_held_limit != WEFT_FOREVER)
        /* relaxed: a setting; who is of this runtime was spawned after that */
        wf_store_u32(&wf_lock_limits, 1, WF_RELAXED);
    runtime_init(rt);
    rt->seats = wf_runtime_alloc(rt->workers * sizeof(*rt->seats));
    rt->worker = wf_runtime_alloc(rt->workers * sizeof(*rt->worker));
    rc = -ENOMEM;
    if (!rt->seats || !rt->worker)
        goto free_arrays;
    rc = runtime_install_reports(rt);
    if (rc < 0)
        goto free_arrays;
    rc = wf_relief_init(rt);
    if (rc < 0)
        goto uninstall;
    rc = runtime_open_seats(rt);
    if (rc < 0) {
        wf_relief_release(rt);
        wf_log("weft_runtime_new: the driver cannot be opened (%s); see ulimit -n",
               weft_strerror(rc));
        goto uninstall;
    }
    rc = runtime_start_threads(rt);
    if (rc < 0) {
        wf_runtime_free_memory(rt);
        return rc;
    }
    if (rt->set.config.start_paused == WEFT_ON)
        (void)wf_virtual_stop(&rt->clock);
    *out = rt;
    return 0;

uninstall:
    runtime_uninstall_reports(rt);
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

int wf_runtime_check_outside(const weft_runtime *rt, const char *call)
{
    if (!rt)
        return wf_misuse(-EINVAL, "%s: rt is NULL", call);
    if (wf_runtime_is_forked(rt))
        return wf_misuse(-EPERM, "%s: the runtime belongs to the parent process", call);
    return 0;
}

int weft_block_on_at(const char *site, weft_runtime *rt, weft_fn *fn, void *arg, int *result)
{
    weft_task_options o = {.name = "root", .site = site};
    struct wf_thread *th = wf_thread_self();
    weft_task *root;
    int rc = wf_runtime_check_outside(rt, "weft_block_on");

    if (rc < 0)
        return rc;
    if (!fn)
        return wf_misuse(-EINVAL, "weft_block_on: fn is NULL");
    if (th)
        return wf_misuse(-EDEADLK, "weft_block_on: called inside a task");
    if (wf_runtime_phase(rt) != WF_PHASE_OPEN)
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
    rc = wf_drive_block(rt, root);
    if (rc == 0) {
        rc = weft_join_blocking(root, result);
    } else {
        weft_cancel(root);
        weft_detach(root);
    }
    wf_drive_orphan(rt);
put:
    wf_runtime_put(rt);
    return rc;
}

int wf_runtime_spawn_begin(weft_runtime *rt)
{
    /* relaxed: the barrier of shutdown_close. Either it sees this spawn, or this sees the phase. */
    wf_add_u32(&rt->spawning, 1, WF_RELAXED);
    wf_compiler_fence();
    if (wf_likely(wf_load_u32(&rt->phase, WF_RELAXED) == WF_PHASE_OPEN)) {
        /* The task may free the runtime before the spawn has returned. relaxed: it is there now. */
        wf_add_u32(&rt->users, 1, WF_RELAXED);
        return 0;
    }
    /* relaxed: nothing was done */
    wf_sub_u32(&rt->spawning, 1, WF_RELAXED);
    return -ESHUTDOWN;
}

int wf_runtime_spawn_end(weft_runtime *rt, int rc)
{
    /* release: the task is counted; pairs with shutdown_wait_spawns */
    wf_sub_u32(&rt->spawning, 1, WF_RELEASE);
    wf_runtime_put(rt);
    return rc;
}

int weft_spawn_on_at(const char *site, weft_runtime *rt, weft_task **t,
                     const weft_task_options *options, weft_fn *fn, void *arg)
{
    weft_task_options o = wf_spawn_sited(site, options);
    int rc = wf_runtime_check_outside(rt, "weft_spawn_on");

    if (rc < 0)
        return rc;
    if (!fn)
        return wf_misuse(-EINVAL, "weft_spawn_on: fn is NULL");
    rc = wf_runtime_spawn_begin(rt);
    if (rc < 0)
        return rc;
    return wf_runtime_spawn_end(rt, wf_spawn_fiber_on(&rt->sched, t, &o, fn, arg));
}

int weft_spawn_async_on_at(const char *site, weft_runtime *rt, weft_task **t,
                           const weft_task_options *options, const weft_async_type *type,
                           const void *state)
{
    weft_task_options o = wf_spawn_sited(site, options);
    int rc = wf_runtime_check_outside(rt, "weft_spawn_async_on");

    if (rc < 0)
        return rc;
    rc = wf_runtime_spawn_begin(rt);
    if (rc < 0)
        return rc;
    return wf_runtime_spawn_end(rt, wf_spawn_async_on(&rt->sched, t, &o, type, state));
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
