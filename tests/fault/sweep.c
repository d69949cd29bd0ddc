/* SPDX-License-Identifier: MIT */
/*
 * sweep.c - the table of failures, the loop over them, and what must be left after a run: nothing.
 *
 * IDEA     Memory is counted by the seam, so a leak of one block in one run is seen. What the library
 *          keeps for the life of the process (the table of registrations, the slab of headers)
 *          is grown beyond all need before the first run; the pool of stacks is emptied after each.
 * WATCH    A plain thread looks at when the run under way began. One that takes too long is named.
 */
#include "sweep.h"

#include "fiber/stack.h"
#include "io/registration.h"
#include "task/slab.h"
#include "task/state.h"
#include "task/task.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
# define FAULT_SANITIZED
#elif defined(__has_feature)
# if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#  define FAULT_SANITIZED
# endif
#endif
#ifdef FAULT_SANITIZED
# include <sanitizer/common_interface_defs.h>
#endif

#define RUN_SECONDS  10
#define RUNTIMES_MAX 4
#define USES_MAX     2000 /* a scenario that uses a kind more often than that is too large */
#define TABLE_GROWTH 2048

struct fault_error {
    enum wf_fault_kind kind;
    int rc;
    uint64_t lasting; /* how many fail when it lasts; 0: one alone */
    bool absorbed;    /* no call answers with it, nor with any other error */
};

/*
 * What the manual pages document. The library cannot do without some calls at all: those fail for a while
 * only. The last ones cannot fail as far as we know; should they, nothing may be lost.
 */
static const struct fault_error fault_errors[] = {
    {WF_FAULT_ALLOC, -ENOMEM, FAULT_LASTING, false},
    {WF_FAULT_MMAP, -ENOMEM, FAULT_LASTING, false},
    {WF_FAULT_MUNMAP, -ENOMEM, FAULT_LASTING, true},
    {WF_FAULT_MADVISE, -ENOMEM, FAULT_LASTING, false},
    {WF_FAULT_MADVISE, -EAGAIN, FAULT_LASTING, false},
    {WF_FAULT_MADVISE, -EINVAL, FAULT_LASTING, true}, /* an older kernel */
    {WF_FAULT_MPROTECT, -ENOMEM, FAULT_LASTING, false},
    {WF_FAULT_EPOLL_CREATE, -EMFILE, FAULT_LASTING, false},
    {WF_FAULT_EPOLL_CREATE, -ENFILE, FAULT_LASTING, false},
    {WF_FAULT_EPOLL_CREATE, -ENOMEM, FAULT_LASTING, false},
    {WF_FAULT_EPOLL_ADD, -ENOMEM, FAULT_LASTING, false},
    {WF_FAULT_EPOLL_ADD, -ENOSPC, FAULT_LASTING, false},
    {WF_FAULT_EPOLL_WAIT, -EINTR, 50, true},
    {WF_FAULT_EVENTFD, -EMFILE, FAULT_LASTING, false},
    {WF_FAULT_EVENTFD, -ENFILE, FAULT_LASTING, false},
    {WF_FAULT_EVENTFD, -ENOMEM, FAULT_LASTING, false},
    {WF_FAULT_TIMERFD, -EMFILE, FAULT_LASTING, false},
    {WF_FAULT_TIMERFD, -ENFILE, FAULT_LASTING, false},
    {WF_FAULT_TIMERFD, -ENOMEM, FAULT_LASTING, false},
    {WF_FAULT_SOCKET, -EMFILE, FAULT_LASTING, false},
    {WF_FAULT_SOCKET, -ENFILE, FAULT_LASTING, false},
    {WF_FAULT_SOCKET, -ENOBUFS, FAULT_LASTING, false},
    {WF_FAULT_BIND, -EADDRINUSE, FAULT_LASTING, false},
    {WF_FAULT_BIND, -EACCES, FAULT_LASTING, false},
    {WF_FAULT_LISTEN, -EADDRINUSE, FAULT_LASTING, false},
    {WF_FAULT_ACCEPT, -EMFILE, 3, true},
    {WF_FAULT_ACCEPT, -ENFILE, 3, true},
    {WF_FAULT_ACCEPT, -ENOBUFS, 3, true},
    {WF_FAULT_ACCEPT, -ENOMEM, 3, true},
    {WF_FAULT_ACCEPT, -ECONNABORTED, 20, true},
    {WF_FAULT_ACCEPT, -EINTR, 20, true},
    {WF_FAULT_ACCEPT, -EPERM, 20, true},
    {WF_FAULT_CONNECT, -ECONNREFUSED, FAULT_LASTING, false},
    {WF_FAULT_CONNECT, -EADDRNOTAVAIL, FAULT_LASTING, false},
    {WF_FAULT_CONNECT, -ENETUNREACH, FAULT_LASTING, false},
    {WF_FAULT_CONNECT, -EINTR, FAULT_LASTING, true},
    {WF_FAULT_SHUTDOWN, -ENOTCONN, FAULT_LASTING, true},
    {WF_FAULT_SETSOCKOPT, -ENOBUFS, FAULT_LASTING, false},
    {WF_FAULT_SETSOCKOPT, -ENOMEM, FAULT_LASTING, false},
    {WF_FAULT_GETSOCKOPT, -ENOBUFS, FAULT_LASTING, false},
    {WF_FAULT_NAME, -ENOBUFS, FAULT_LASTING, false},
    {WF_FAULT_READ, -EINTR, 50, true},
    {WF_FAULT_READ, -ECONNRESET, FAULT_LASTING, false},
    {WF_FAULT_READ, -ENOMEM, FAULT_LASTING, false},
    {WF_FAULT_WRITE, -EINTR, 50, true},
    {WF_FAULT_WRITE, -EPIPE, FAULT_LASTING, false},
    {WF_FAULT_WRITE, -ENOBUFS, FAULT_LASTING, false},
    {WF_FAULT_NONBLOCK, -EBADF, FAULT_LASTING, false},
    {WF_FAULT_OPEN, -EMFILE, FAULT_LASTING, true},
    {WF_FAULT_THREAD, -EAGAIN, FAULT_LASTING, false},
    {WF_FAULT_SIGACTION, -EINVAL, FAULT_LASTING, false},
    {WF_FAULT_SIGALTSTACK, -ENOMEM, FAULT_LASTING, true},
    {WF_FAULT_SIGALTSTACK, -EPERM, FAULT_LASTING, true},
    {WF_FAULT_MEMBARRIER_REGISTER, -ENOSYS, FAULT_LASTING, true},
    {WF_FAULT_MEMBARRIER_REGISTER, -EPERM, FAULT_LASTING, true},
    {WF_FAULT_MEMBARRIER, -EPERM, FAULT_LASTING, true},
    {WF_FAULT_FUTEX_WAIT, -EINTR, 50, true},
    {WF_FAULT_FUTEX_WAIT, -EAGAIN, 50, true},
    {WF_FAULT_RANDOM, -EAGAIN, FAULT_LASTING, true},
    {WF_FAULT_RANDOM, -ENOSYS, FAULT_LASTING, true},
    {WF_FAULT_TIMER_SLACK, -EPERM, FAULT_LASTING, true},
    {WF_FAULT_THREAD_CPU, -EINVAL, FAULT_LASTING, true},
    {WF_FAULT_EVENTFD_SIGNAL, -EINTR, 50, true},
    {WF_FAULT_TIMERFD_SET, -ENOMEM, FAULT_LASTING, true},
};

static const char *const fault_kind_names[WF_FAULT_KINDS] = {
    [WF_FAULT_ALLOC] = "malloc",
    [WF_FAULT_MMAP] = "mmap",
    [WF_FAULT_MUNMAP] = "munmap",
    [WF_FAULT_MADVISE] = "madvise",
    [WF_FAULT_MPROTECT] = "mprotect",
    [WF_FAULT_EPOLL_CREATE] = "epoll_create",
    [WF_FAULT_EPOLL_ADD] = "epoll_ctl",
    [WF_FAULT_EPOLL_WAIT] = "epoll_wait",
    [WF_FAULT_EVENTFD] = "eventfd",
    [WF_FAULT_EVENTFD_SIGNAL] = "eventfd write",
    [WF_FAULT_TIMERFD] = "timerfd_create",
    [WF_FAULT_TIMERFD_SET] = "timerfd_settime",
    [WF_FAULT_SOCKET] = "socket",
    [WF_FAULT_BIND] = "bind",
    [WF_FAULT_LISTEN] = "listen",
    [WF_FAULT_ACCEPT] = "accept",
    [WF_FAULT_CONNECT] = "connect",
    [WF_FAULT_SHUTDOWN] = "shutdown",
    [WF_FAULT_SETSOCKOPT] = "setsockopt",
    [WF_FAULT_GETSOCKOPT] = "getsockopt",
    [WF_FAULT_NAME] = "getsockname",
    [WF_FAULT_READ] = "read",
    [WF_FAULT_WRITE] = "write",
    [WF_FAULT_NONBLOCK] = "fcntl",
    [WF_FAULT_OPEN] = "open",
    [WF_FAULT_THREAD] = "pthread_create",
    [WF_FAULT_SIGACTION] = "sigaction",
    [WF_FAULT_SIGALTSTACK] = "sigaltstack",
    [WF_FAULT_MEMBARRIER_REGISTER] = "membarrier register",
    [WF_FAULT_MEMBARRIER] = "membarrier",
    [WF_FAULT_FUTEX_WAIT] = "futex",
    [WF_FAULT_RANDOM] = "getrandom",
    [WF_FAULT_TIMER_SLACK] = "prctl",
    [WF_FAULT_THREAD_CPU] = "clock_gettime of a thread",
};

struct fault_left {
    struct fault_live live;
    uint64_t tasks, registrations, stacks;
    int descriptors;
};

static struct {
    pthread_mutex_t lock; /* of what the watch reads */
    weft_runtime *runtimes[RUNTIMES_MAX];
    char what[128];
    time_t began; /* 0: no run is under way */
    int out;      /* stderr as it was: the library's messages on shortages are not shown */
    struct fault_left before;
    bool absorbed, prepared;
    bool by_hand;        /* the shortage is real */
    atomic_ulong errors; /* in this run */
} sweep = {.lock = PTHREAD_MUTEX_INITIALIZER, .out = STDERR_FILENO};

/* Shared by all tests of the program, which are processes: runs, and how many of each kind had a failure. */
static struct fault_tally {
    atomic_ulong runs;
    atomic_ulong fired[WF_FAULT_KINDS];
} * tally;

__attribute__((constructor)) static void tally_share(void)
{
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tally == MAP_FAILED)
        abort();
}

void fault_met(const enum wf_fault_kind *kinds)
{
    if (atomic_load(&tally->runs) == 0)
        TEST_SKIP("runs alone");
    for (; *kinds != WF_FAULT_KINDS; kinds++)
        if (atomic_load(&tally->fired[*kinds]) == 0)
            test_failed(__FILE__, __LINE__, "%s was never made to fail", fault_kind_names[*kinds]);
    (void)fprintf(stderr, "%lu runs\n", atomic_load(&tally->runs));
    for (size_t i = 0; fault_full() && i < WF_FAULT_KINDS; i++)
        (void)fprintf(stderr, "  %8lu with a failure of %s\n", atomic_load(&tally->fired[i]),
                      fault_kind_names[i]);
}

bool fault_full(void)
{
    return getenv("WEFT_FAULT_FULL") != NULL;
}

/* ---- What is left ---- */

static int descriptors_open(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    CHECK(d != NULL);
    while (readdir(d))
        n++;
    (void)closedir(d);
    return n;
}

static bool count_task(void *slot, void *arg)
{
    const struct weft_task *t = slot;

    *(uint64_t *)arg += wf_task_refs(wf_load_u64(&t->state, WF_RELAXED)) != 0;
    return true;
}

static struct fault_left fault_left(void)
{
    struct wf_stack_stats stacks;
    struct fault_left left = {0};
    struct wf_slab_cursor begin = {0};

    wf_stack_pool_trim();
    wf_stack_pool_stats(&stacks);
    (void)wf_slab_walk(&begin, count_task, &left.tasks);
    left.live = fault_live();
    left.registrations = wf_io_in_use();
    left.stacks = stacks.out;
    left.descriptors = descriptors_open();
    return left;
}

int64_t fault_left_mapped(void)
{
    return fault_left().live.mapped_bytes;
}

/* ---- The watch ---- */

static time_t seconds_now(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

static void *watch_runs(void *unused)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    time_t limit = (time_t)(RUN_SECONDS * test_slow());

    (void)unused;
    for (;;) {
        (void)nanosleep(&pause, NULL);
        (void)pthread_mutex_lock(&sweep.lock);
        if (sweep.began && seconds_now() - sweep.began > limit)
            break;
        (void)pthread_mutex_unlock(&sweep.lock);
    }
    fault_disarm();
    (void)dprintf(sweep.out, "a run hangs: %s (%llu failed); its tasks:\n", sweep.what,
                  (unsigned long long)fault_fired());
    for (size_t i = 0; i < RUNTIMES_MAX; i++)
        if (sweep.runtimes[i])
            (void)weft_runtime_dump(sweep.runtimes[i], sweep.out);
    abort();
}

static void watch_replace(const weft_runtime *old, weft_runtime *new)
{
    size_t i = 0;

    (void)pthread_mutex_lock(&sweep.lock);
    while (i < RUNTIMES_MAX && sweep.runtimes[i] != old)
        i++;
    CHECK(i < RUNTIMES_MAX);
    sweep.runtimes[i] = new;
    (void)pthread_mutex_unlock(&sweep.lock);
}

/* ---- Runs ---- */

static void fault_quiet(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    sweep.out = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    CHECK(sweep.out >= 0 && null >= 0);
    CHECK_EQ(STDERR_FILENO, dup2(null, STDERR_FILENO));
    (void)close(null);
#ifdef FAULT_SANITIZED
    __sanitizer_set_report_fd((void *)(intptr_t)sweep.out); /* NOLINT */
#endif
}

void fault_prepare(void)
{
    static struct wf_io *grown[TABLE_GROWTH];
    pthread_t watch;
    void *header;

    if (sweep.prepared)
        return;
    sweep.prepared = true;
    fault_quiet();
    for (size_t i = 0; i < TABLE_GROWTH; i++)
        grown[i] = wf_io_new(-1, false);
    for (size_t i = 0; i < TABLE_GROWTH; i++)
        wf_io_close(grown[i]);
    header = wf_slab_alloc(NULL, sizeof(struct weft_task));
    CHECK(header != NULL);
    wf_slab_free(NULL, header);
    CHECK_EQ(0, pthread_create(&watch, NULL, watch_runs, NULL));
    (void)pthread_detach(watch);
}

static void run_failed(const char *what, long long want, long long got)
{
    test_failed(__FILE__, __LINE__, "%s: %s: %lld before, %lld after", sweep.what, what, want, got);
}

void fault_run_begin(const char *what)
{
    sweep.before = fault_left();
    (void)pthread_mutex_lock(&sweep.lock);
    (void)snprintf(sweep.what, sizeof(sweep.what), "%s", what);
    sweep.began = seconds_now();
    (void)pthread_mutex_unlock(&sweep.lock);
    sweep.absorbed = false;
    sweep.by_hand = true;
    atomic_store(&sweep.errors, 0);
}

uint64_t fault_run_end(void)
{
    const struct fault_left *before = &sweep.before;
    struct fault_left after;

    (void)pthread_mutex_lock(&sweep.lock);
    sweep.began = 0;
    (void)pthread_mutex_unlock(&sweep.lock);
    after = fault_left();
    if (before->tasks != after.tasks)
        run_failed("tasks", (long long)before->tasks, (long long)after.tasks);
    if (before->descriptors != after.descriptors)
        run_failed("descriptors", before->descriptors, after.descriptors);
    if (before->registrations != after.registrations)
        run_failed("registrations", (long long)before->registrations,
                   (long long)after.registrations);
    if (before->stacks != after.stacks)
        run_failed("stacks in use", (long long)before->stacks, (long long)after.stacks);
    if (before->live.allocations != after.live.allocations)
        run_failed("allocations", before->live.allocations, after.live.allocations);
    /* What the kernel would not take back stays mapped: the library may keep it for the next use. */
    if (after.live.mapped_bytes > before->live.mapped_bytes + fault_refused_bytes())
        run_failed("bytes mapped", before->live.mapped_bytes, after.live.mapped_bytes);
    sweep.by_hand = false;
    return atomic_load(&sweep.errors);
}

ssize_t fault_may(ssize_t rc, const int *errors, const char *what, const char *file, int line)
{
    if (rc >= 0)
        return rc;
    atomic_fetch_add(&sweep.errors, 1);
    if (!sweep.by_hand && fault_fired() == 0)
        test_failed(file, line, "%s: %s is %zd (%s), but nothing was made to fail", sweep.what,
                    what, rc, weft_strerror(rc));
    if (sweep.absorbed)
        test_failed(file, line, "%s: %s is %zd (%s), but that is to be borne", sweep.what, what, rc,
                    weft_strerror(rc));
    for (; *errors; errors++)
        if (rc == -*errors)
            return rc;
    test_failed(file, line, "%s: %s is %zd (%s), which is not documented", sweep.what, what, rc,
                weft_strerror(rc));
}

weft_task *fault_may_null(weft_task *t, const char *what, const char *file, int line)
{
    (void)fault_may(t ? 0 : -ENOMEM, (const int[]){ENOMEM, 0}, what, file, line);
    return t;
}

weft_runtime *fault_runtime_new(const struct test_flavour *flavour, weft_switch signal_reports)
{
    weft_config config = {.flavor = flavour->flavor,
                          .worker_threads = flavour->workers,
                          .signal_reports = signal_reports,
                          .ignore_env = WEFT_ON};
    weft_runtime *rt = NULL;

    if (MAY(weft_runtime_new(&rt, &config), ENOMEM, EAGAIN, EMFILE, ENFILE, ENOSPC, EINVAL) < 0)
        return NULL;
    watch_replace(NULL, rt);
    return rt;
}

void fault_runtime_free(weft_runtime *rt)
{
    if (!rt)
        return;
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    watch_replace(rt, NULL);
    weft_runtime_free(rt);
}

void fault_run_root(const struct test_flavour *flavour, weft_fn *fn, void *arg)
{
    weft_runtime *rt = fault_runtime_new(flavour, WEFT_OFF);
    int result = 0;

    if (rt && MAY(weft_block_on(rt, fn, arg, &result), ENOMEM) == 0)
        MAY(result, ENOMEM);
    fault_runtime_free(rt);
}

/* ---- The loop ---- */

/* One run. True: something failed in it. */
static bool sweep_run(fault_scenario *run, const struct test_flavour *flavour,
                      const struct fault_error *e, uint64_t first, uint64_t count)
{
    struct fault_plan plan = {.kind = e->kind, .rc = e->rc, .first = first, .count = count};
    char what[128];
    bool fired;

    (void)snprintf(what, sizeof(what), "%s: %s says %s at use %llu%s", flavour->name,
                   fault_kind_names[e->kind], weft_strerror(e->rc), (unsigned long long)first,
                   count == 1 ? "" : " and after");
    /* What an earlier run has learned about guards was a lie. */
    wf_stack_test_force_mprotect(e->kind == WF_FAULT_MPROTECT);
    fault_run_begin(what);
    sweep.by_hand = false;
    sweep.absorbed = e->absorbed;
    fault_arm(&plan);
    run(flavour);
    fired = fault_disarm() != 0;
    (void)fault_run_end();
    atomic_fetch_add(&tally->runs, 1);
    atomic_fetch_add(&tally->fired[e->kind], fired);
    return fired;
}

/* Until a run in which nothing failed. */
static void sweep_uses(fault_scenario *run, const struct test_flavour *flavour,
                       const struct fault_error *e, uint64_t count)
{
    uint64_t n = 1;

    while (sweep_run(run, flavour, e, n, count)) {
        /* The slow builds leave more and more out, unless all is asked for. */
        n += 1 + (fault_full() ? 0 : n * (test_slow() - 1) / 16);
        if (n > USES_MAX)
            test_failed(__FILE__, __LINE__, "%s still fails", sweep.what);
    }
}

static void sweep_warm(fault_scenario *run, const struct test_flavour *flavour)
{
    sweep.absorbed = true;
    for (int i = 0; i < 2; i++) {
        (void)snprintf(sweep.what, sizeof(sweep.what), "%s: nothing fails", flavour->name);
        fault_disarm();
        run(flavour);
    }
}

void fault_sweep_kind(fault_scenario *run, const struct test_flavour *flavour,
                      enum wf_fault_kind kind)
{
    const size_t count = sizeof(fault_errors) / sizeof(fault_errors[0]);

    fault_prepare();
    sweep_warm(run, flavour);
    for (size_t i = 0; i < count; i++) {
        const struct fault_error *e = &fault_errors[i];

        if (kind != WF_FAULT_KINDS && e->kind != kind)
            continue;
        sweep_uses(run, flavour, e, 1);
        if (e->lasting)
            sweep_uses(run, flavour, e, e->lasting);
    }
}

void fault_sweep(fault_scenario *run)
{
    for (size_t i = 0; i < test_flavour_count; i++)
        if (fault_full() || test_flavours[i].workers == 2 ||
            test_flavours[i].flavor == WEFT_CURRENT_THREAD)
            fault_sweep_kind(run, &test_flavours[i], WF_FAULT_KINDS);
}

/* ---- Chance ---- */

void fault_chaos(fault_scenario *run, uint64_t runs)
{
    int errors[WF_FAULT_KINDS][8] = {{0}};
    const int *by_kind[WF_FAULT_KINDS] = {0};
    uint64_t state = test_seed();

    for (size_t i = 0; i < sizeof(fault_errors) / sizeof(fault_errors[0]); i++) {
        enum wf_fault_kind kind = fault_errors[i].kind;
        size_t n = 0;

        while (errors[kind][n])
            n++;
        errors[kind][n] = fault_errors[i].rc;
        /* A shutdown that fails beside something else leaves a peer without an answer. */
        if (kind != WF_FAULT_SHUTDOWN)
            by_kind[kind] = errors[kind];
    }
    fault_prepare();
    for (uint64_t i = 0; i < runs; i++) {
        const struct test_flavour *flavour = &test_flavours[test_rand(&state) % test_flavour_count];
        unsigned one_in = 4u << (test_rand(&state) >> 32) % 6;
        uint64_t seed = test_rand(&state);
        char what[128];

        if (i == 0)
            sweep_warm(run, flavour);
        (void)snprintf(what, sizeof(what), "%s: one call in %u fails, run %llu", flavour->name,
                       one_in, (unsigned long long)i);
        wf_stack_test_force_mprotect(false);
        fault_run_begin(what);
        sweep.by_hand = false;
        fault_arm_chance(seed, one_in, by_kind);
        run(flavour);
        fault_disarm();
        (void)fault_run_end();
    }
}
