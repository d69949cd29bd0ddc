/* SPDX-License-Identifier: MIT */
/*
 * weft/runtime.h - runtimes: starting one, running code on it, shutting it down.
 *
 * Several runtimes may live in one process. A plain thread reaches a runtime only
 * through its handle.
 */
#ifndef WEFT_RUNTIME_H
#define WEFT_RUNTIME_H

#include <weft/task.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_runtime weft_runtime;

typedef enum weft_flavor {
    WEFT_MULTI_THREAD = 0,  /* worker threads that steal from each other */
    WEFT_CURRENT_THREAD = 1 /* everything on the thread that calls weft_block_on */
} weft_flavor;

typedef enum weft_io_backend {
    WEFT_IO_AUTO = 0,
    WEFT_IO_EPOLL = 1,
    WEFT_IO_URING = 2 /* for files; -ENOTSUP in this version */
} weft_io_backend;

/* Called on a runtime's threads; they must not block and must not call into weft but for
 * weft_spawn and wakers. user is weft_config.hook_user. */
typedef void weft_thread_hook(void *user);
typedef void weft_task_hook(void *user, const weft_task *t);

/* A task that keeps its thread: what it does there, as seen from outside. */
typedef struct weft_stall {
    uint64_t task_id; /* 0: it was over when it was looked at, and nothing is known of the task */
    const char *task_name; /* "": it has none */
    const char *site;      /* "file:line" where it was spawned, or NULL */
    uint64_t site_stalls; /* of tasks from there, with this one; 0: too many places to count them */
    weft_duration held;   /* how long its poll has lasted so far */
    bool blocked;         /* waits in the kernel; else it computes */
    int system_call;      /* the number of the call that it waits in; -1: none, or not known */
    const char *system_call_name; /* "read"; NULL: not known */
    void *const *frames;          /* where it is, then return addresses, innermost first */
    unsigned frame_count;         /* see weft_config.on_stall */
    uint64_t
        pinned_waiting; /* ready tasks that are pinned to that worker: nobody else can do them */
} weft_stall;

/*
 * Called on the monitor's thread for each stall (see on_stall), once the task's worker was relieved. All that s
 * points at is borrowed until it returns. It may allocate, print, wake and spawn; while it does not return,
 * no other worker is relieved. It must not wait for tasks, nor shut the runtime down or free it.
 */
typedef void weft_stall_hook(void *user, const weft_stall *s);

/*
 * How to build a runtime. Zero is the default everywhere. A field set to non-zero beats the
 * environment variable named beside it, which beats the default.
 */
typedef struct weft_config {
    weft_flavor flavor;      /* WEFT_FLAVOR=multi_thread|current_thread */
    unsigned worker_threads; /* WEFT_WORKERS; default: the CPUs this process may use. 1 to 1024 */
    unsigned max_blocking_threads;   /* WEFT_MAX_BLOCKING; of the blocking pool; default 512 */
    weft_duration thread_keep_alive; /* how long its threads, and stand-ins, are kept without work;
                                        default 10 s */
    size_t stack_size;               /* WEFT_STACK_SIZE (bytes, or with K or M); default 256 KiB */
    unsigned event_interval;         /* WEFT_EVENT_INTERVAL; at most so many polls between two looks
                                        at the driver; default 61 */
    unsigned global_queue_interval;  /* WEFT_GLOBAL_QUEUE_INTERVAL; default: self-tuned */
    weft_io_backend io_backend;      /* WEFT_IO=auto|epoll|uring */
    weft_switch lifo_slot; /* WEFT_LIFO=on|off; default on: run the task woken last next */
    weft_duration spin;    /* WEFT_SPIN (in us); how long an idle worker looks for work before it
                                        sleeps; default 0 */
    weft_switch monitor;   /* WEFT_MONITOR=on|off; default on: a worker that is stuck in one poll is
                                        relieved, and others do its work. Multi-thread only */
    weft_switch
        signal_reports;      /* WEFT_SIGNAL_REPORTS=on|off; a handler that reports stack overflow,
                                        on each thread that has memory for it, and
                                        one of SIGURG that takes the backtraces of stalls;
                                        default on in weft_run, else off */
    weft_switch ignore_env;  /* WEFT_ON: look at no environment variable */
    uint64_t rng_seed;       /* WEFT_SEED; 0: from the system */
    const char *thread_name; /* at most 15 bytes; default "weft-worker" */
    weft_thread_hook *on_thread_start, *on_thread_stop, *on_thread_park, *on_thread_unpark;
    weft_task_hook *on_task_spawn, *on_task_poll_start, *on_task_poll_stop, *on_task_end;
    void *hook_user;
    unsigned max_blocking_queue;   /* WEFT_BLOCKING_QUEUE; never do more wait there: who spawns onto
                                      the blocking pool awaits a place; default 0: no limit */
    unsigned max_standins;         /* WEFT_MAX_STANDINS; at most so many threads stand in for stuck
                                      workers; default 256 */
    weft_duration stall_blocked;   /* WEFT_STALL_BLOCKED (in us); a poll that waits in the kernel
                                      for so long is stuck; default 500 us */
    weft_duration stall_computing; /* WEFT_STALL_COMPUTING (in us); and one that computes for so
                                      long; default 5 ms. One that spawns or wakes every other
                                      microsecond is left alone while another worker is free; else,
                                      while none but those tasks wait, for 20 times as long */
    /* Told of each stall, with hook_user; then none is printed. Of one that computes, once its own thread has
     * computed for so long: where many share the processors, a thread may wait for one, which is no stall of
     * its task. Frames come with the first stall from each place in the program, at most ten times a second,
     * and with signal_reports only. */
    weft_stall_hook *on_stall;
    weft_duration lock_held_limit; /* WEFT_LOCK_HELD_LIMIT (in us); a mutex that is held for longer
                                      while a task of this runtime waits for it, and what was handed
                                      to a waiter that does not come for it, is told on stderr;
                                      WEFT_FOREVER: never. Default: 1 s in debug builds of the
                                      library, else never */
    weft_switch start_paused;      /* WEFT_ON: its clock stands still from the beginning, see
                                      weft_clock_pause; current-thread only; default off */
    uintptr_t spare_[1];           /* zero */
} weft_config;

/*
 * weft_run - run fn(arg) as the first task of a new runtime and return its exit status.
 *
 * Builds the default runtime (WEFT_* environment variables apply), waits for fn, cancels what
 * still runs, and frees all. Results 0 to 125 pass through, larger ones become 125; a negative one is
 * printed and becomes 1; a runtime that cannot be built is printed and gives 1.
 * From a plain thread only.
 */
WEFT_API int weft_run(weft_fn *fn, void *arg);
WEFT_API int weft_run_at(const char *site, weft_fn *fn, void *arg);
#define weft_run(...) weft_run_at(WEFT_SITE, __VA_ARGS__)

/*
 * weft_runtime_new - build a runtime and start its threads.
 *
 * config   borrowed; NULL means all defaults.
 * Returns  0; *rt is the caller's, to be freed
 *          -EINVAL      a value is out of range; the message on stderr names it
 *          -ENOMEM, -EAGAIN, -EMFILE, -ENFILE, -ENOSPC   the system has no more (of memory, threads,
 *                       descriptors, fs.epoll.max_user_watches); nothing stays behind
 *          -ENOTSUP     a back end that this version or system does not have
 */
WEFT_API WEFT_MUST_CHECK int weft_runtime_new(weft_runtime **rt, const weft_config *config);
WEFT_API WEFT_MUST_CHECK int weft_runtime_new_sized(weft_runtime **rt, const weft_config *config,
                                                    size_t config_size);
/* The size of the struct that the caller was compiled with goes along. */
#define weft_runtime_new(...) weft_runtime_new_sized(__VA_ARGS__, sizeof(weft_config))

/*
 * weft_block_on - run fn(arg) as a task and block this plain thread until it has ended.
 *
 * result   may be NULL; as in weft_join.
 * Returns  0, -EDEADLK inside a task, -ENOMEM, -ESHUTDOWN, -EINVAL, -EPERM in a forked child.
 * On a current-thread runtime the calling thread drives everything meanwhile; further
 * threads that call it wait, and one of them takes over when the first leaves.
 */
WEFT_API WEFT_MUST_CHECK int weft_block_on(weft_runtime *rt, weft_fn *fn, void *arg, int *result);
WEFT_API WEFT_MUST_CHECK int weft_block_on_at(const char *site, weft_runtime *rt, weft_fn *fn,
                                              void *arg, int *result);
#define weft_block_on(...) weft_block_on_at(WEFT_SITE, __VA_ARGS__)

/*
 * weft_spawn_on - spawn from a plain thread or into another runtime.
 *
 * t        may be NULL: detached.  options may be NULL.
 * Returns  0, -EINVAL, -ENOMEM, -ESHUTDOWN, -EPERM in a forked child.
 */
WEFT_API WEFT_MUST_CHECK int weft_spawn_on(weft_runtime *rt, weft_task **t,
                                           const weft_task_options *options, weft_fn *fn,
                                           void *arg);
WEFT_API WEFT_MUST_CHECK int weft_spawn_async_on(weft_runtime *rt, weft_task **t,
                                                 const weft_task_options *options,
                                                 const weft_async_type *type, const void *state);
WEFT_API WEFT_MUST_CHECK int weft_spawn_on_at(const char *site, weft_runtime *rt, weft_task **t,
                                              const weft_task_options *options, weft_fn *fn,
                                              void *arg);
WEFT_API WEFT_MUST_CHECK int weft_spawn_async_on_at(const char *site, weft_runtime *rt,
                                                    weft_task **t, const weft_task_options *options,
                                                    const weft_async_type *type, const void *state);
#define weft_spawn_on(...)       weft_spawn_on_at(WEFT_SITE, __VA_ARGS__)
#define weft_spawn_async_on(...) weft_spawn_async_on_at(WEFT_SITE, __VA_ARGS__)

/*
 * weft_runtime_shutdown - cancel every task and stop the threads.
 *
 * limit    how long to wait for tasks that do not end; WEFT_FOREVER: as long as it takes.
 * Returns  0 all ended; -ETIMEDOUT some task did not, and is named on stderr.
 * Called from a task of the runtime itself it only starts the shutdown, and returns 0.
 * May be called again, from any thread.
 */
WEFT_API int weft_runtime_shutdown(weft_runtime *rt, weft_duration limit);

/* Shut down without a time limit unless done before, and give the handle up. The last thread still
 * inside frees the memory. NULL is ignored. */
WEFT_API void weft_runtime_free(weft_runtime *rt);

/* The runtime of the running task, borrowed; NULL outside tasks. */
WEFT_API weft_runtime *weft_runtime_current(void);

WEFT_API weft_flavor weft_runtime_flavor(const weft_runtime *rt);

/* Print every live task of the runtime to a file descriptor: id, name, spawn site, state, the worker that it is pinned
 * to, counters.
 * From any thread. Returns the number of tasks, or a negative errno. */
WEFT_API ssize_t weft_runtime_dump(weft_runtime *rt, int fd);

#ifdef __cplusplus
}
#endif

#endif
