/* SPDX-License-Identifier: MIT */
/*
 * test_runtime.c - building runtimes, and running code on them from outside.
 */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct test_flavour current_thread = {"current-thread", WEFT_CURRENT_THREAD, 0};
static const struct test_flavour one_worker = {"1 worker", WEFT_MULTI_THREAD, 1};
static const struct test_flavour two_workers = {"2 workers", WEFT_MULTI_THREAD, 2};

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static int nothing(void *unused)
{
    (void)unused;
    return 0;
}

static int join(weft_task *t)
{
    int result = 0;

    CHECK_EQ(0, weft_join(t, &result));
    return result;
}

static int join_blocking(weft_task *t)
{
    int result = 0;

    CHECK_EQ(0, weft_join_blocking(t, &result));
    return result;
}

static void thread_start(pthread_t *thread, void *fn(void *), void *arg)
{
    CHECK_EQ(0, pthread_create(thread, NULL, fn, arg));
}

static void thread_join(pthread_t thread)
{
    CHECK_EQ(0, pthread_join(thread, NULL));
}

static unsigned open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    CHECK(dir != NULL);
    while (readdir(dir))
        n++;
    CHECK_EQ(0, closedir(dir));
    return n;
}

/* --- what is printed ------------------------------------------------------------ */

struct capture {
    int saved;
    FILE *file;
};

static struct capture capture_begin(void)
{
    struct capture c = {dup(STDERR_FILENO), tmpfile()};

    CHECK(c.saved >= 0 && c.file != NULL);
    CHECK(dup2(fileno(c.file), STDERR_FILENO) >= 0);
    return c;
}

static void capture_end(struct capture *c, char *text, size_t size)
{
    ssize_t n = pread(fileno(c->file), text, size - 1, 0);

    CHECK(dup2(c->saved, STDERR_FILENO) >= 0);
    CHECK(n >= 0);
    text[n] = '\0';
    CHECK_EQ(0, close(c->saved));
    CHECK_EQ(0, fclose(c->file));
}

/* --- configuration ---------------------------------------------------------------- */

static void check_refused(int want, const weft_config *config, const char *named)
{
    weft_runtime *rt = NULL;
    struct capture c = capture_begin();
    int rc = weft_runtime_new(&rt, config);
    char text[1000];

    capture_end(&c, text, sizeof(text));
    CHECK_EQ(want, rc);
    CHECK(rt == NULL);
    if (!strstr(text, named))
        test_failed(__FILE__, __LINE__, "\"%s\" does not name %s", text, named);
}

TEST(each_bad_value_is_refused_by_name)
{
    static const struct {
        weft_config config;
        const char *named;
    } bad[] = {
        {{.flavor = (weft_flavor)7}, "flavor"},
        {{.worker_threads = 1025}, "worker_threads"},
        {{.worker_threads = 2, .flavor = WEFT_CURRENT_THREAD}, "worker_threads"},
        {{.stack_size = 16383}, "stack_size"},
        {{.stack_size = ((size_t)1 << 30) + 1}, "stack_size"},
        {{.event_interval = UINT32_MAX}, "event_interval"},
        {{.io_backend = (weft_io_backend)9}, "io_backend"},
        {{.lifo_slot = (weft_switch)3}, "lifo_slot"},
        {{.monitor = (weft_switch)3}, "monitor"},
        {{.signal_reports = (weft_switch)4}, "signal_reports"},
        {{.ignore_env = (weft_switch)5}, "ignore_env"},
        {{.spin = WEFT_SECS(2)}, "spin"},
        {{.thread_name = "sixteen bytes ..."}, "thread_name"},
    };

    weft_config uring = {.io_backend = WEFT_IO_URING};

    for (size_t i = 0; i < COUNT_OF(bad); i++)
        check_refused(-EINVAL, &bad[i].config, bad[i].named);
    check_refused(-ENOTSUP, &uring, "io_backend");
    CHECK_EQ(-EINVAL, weft_runtime_new(NULL, NULL));
}

END_TEST

TEST(each_bad_variable_is_refused_by_name)
{
    static const char *const bad[][2] = {
        {"WEFT_FLAVOR", "sometimes"},
        {"WEFT_WORKERS", "-1"},
        {"WEFT_WORKERS", "many"},
        {"WEFT_WORKERS", "99999999999999999999"},
        {"WEFT_WORKERS", "4294967297"},
        {"WEFT_MAX_BLOCKING", "x"},
        {"WEFT_STACK_SIZE", "64Q"},
        {"WEFT_EVENT_INTERVAL", " 5"},
        {"WEFT_GLOBAL_QUEUE_INTERVAL", "5x"},
        {"WEFT_IO", "kqueue"},
        {"WEFT_LIFO", "maybe"},
        {"WEFT_SPIN", "1e3"},
        {"WEFT_MONITOR", "2"},
        {"WEFT_SIGNAL_REPORTS", "no"},
        {"WEFT_SEED", "seed"},
    };
    /* In range as numbers, but not for what they set: the field is named. */
    static const char *const beyond[][3] = {
        {"WEFT_WORKERS", "1025", "worker_threads"}, {"WEFT_STACK_SIZE", "15K", "stack_size"},
        {"WEFT_STACK_SIZE", "1025M", "stack_size"}, {"WEFT_SPIN", "1000001", "spin"},
        {"WEFT_SPIN", "18446744073709552", "spin"}, /* times 1000 is 384 in 64 bits */
    };
    weft_config ignoring = {.ignore_env = WEFT_ON, .worker_threads = 1};
    weft_runtime *rt;

    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK_EQ(0, setenv(bad[i][0], bad[i][1], 1));
        check_refused(-EINVAL, NULL, bad[i][0]);
        CHECK_EQ(0, weft_runtime_new(&rt, &ignoring));
        weft_runtime_free(rt);
        CHECK_EQ(0, unsetenv(bad[i][0]));
    }
    for (size_t i = 0; i < COUNT_OF(beyond); i++) {
        CHECK_EQ(0, setenv(beyond[i][0], beyond[i][1], 1));
        check_refused(-EINVAL, NULL, beyond[i][2]);
        CHECK_EQ(0, unsetenv(beyond[i][0]));
    }
}

END_TEST

static int own_stack_size(void *unused)
{
    weft_task_info info;

    (void)unused;
    CHECK_EQ(0, weft_task_get_info(weft_task_self(), &info));
    return (int)(info.stack_size / 1024);
}

struct shape {
    weft_flavor flavor;
    unsigned workers;
    int stack_kib;
};

static struct shape shape_of(const weft_config *config)
{
    struct shape s = {0};
    weft_runtime *rt;
    weft_metrics m;

    CHECK_EQ(0, weft_runtime_new(&rt, config));
    CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
    s.flavor = weft_runtime_flavor(rt);
    s.workers = m.workers;
    CHECK_EQ(0, weft_block_on(rt, own_stack_size, NULL, &s.stack_kib));
    weft_runtime_free(rt);
    return s;
}

TEST(a_field_beats_the_variable_and_that_the_default)
{
    weft_config set = {.worker_threads = 2, .stack_size = 64 << 10};
    weft_config ignoring = {.ignore_env = WEFT_ON};
    weft_config single = {.flavor = WEFT_CURRENT_THREAD};
    struct shape fallback = shape_of(&ignoring), s;

    CHECK_EQ(WEFT_MULTI_THREAD, fallback.flavor);
    CHECK(fallback.workers >= 1);
    CHECK(fallback.stack_kib >= 250 && fallback.stack_kib <= 272);

    CHECK_EQ(0, setenv("WEFT_WORKERS", "3", 1));
    CHECK_EQ(0, setenv("WEFT_STACK_SIZE", "128K", 1));
    CHECK_EQ(0, setenv("WEFT_LIFO", "off", 1));
    CHECK_EQ(0, setenv("WEFT_SPIN", "20", 1));
    CHECK_EQ(0, setenv("WEFT_SEED", "12345", 1));
    s = shape_of(NULL);
    CHECK_EQ(3, s.workers);
    CHECK(s.stack_kib >= 122 && s.stack_kib <= 144);
    s = shape_of(&set);
    CHECK_EQ(2, s.workers);
    CHECK(s.stack_kib >= 58 && s.stack_kib <= 80);
    s = shape_of(&ignoring);
    CHECK_EQ(fallback.workers, s.workers);
    CHECK_EQ(fallback.stack_kib, s.stack_kib);
    s = shape_of(&single); /* has no use for WEFT_WORKERS */
    CHECK_EQ(1, s.workers);

    CHECK_EQ(0, unsetenv("WEFT_WORKERS"));
    CHECK_EQ(0, setenv("WEFT_FLAVOR", "current_thread", 1));
    s = shape_of(NULL);
    CHECK_EQ(WEFT_CURRENT_THREAD, s.flavor);
    CHECK_EQ(1, s.workers);
    CHECK_EQ(0, setenv("WEFT_FLAVOR", "", 1)); /* as if it were not set */
    CHECK_EQ(WEFT_MULTI_THREAD, shape_of(NULL).flavor);
}

END_TEST

TEST(structs_of_other_versions_are_understood)
{
    struct {
        weft_config config;
        uintptr_t more[4];
    } newer = {.config = {.worker_threads = 2, .ignore_env = WEFT_ON}};

    struct {
        weft_metrics metrics;
        uintptr_t more[4];
    } larger;

    struct {
        unsigned workers, guard;
    } smaller = {0, 77};

    weft_config older = {.worker_threads = 2, .stack_size = 1}; /* refused, if it were looked at */
    weft_worker_metrics w;
    weft_runtime *rt;
    char text[500];
    struct capture c;

    CHECK_EQ(0, setenv("WEFT_WORKERS", "5", 1));
    CHECK_EQ(0, weft_runtime_new_sized(&rt, &older, offsetof(weft_config, stack_size)));
    CHECK_EQ(0, weft_metrics_snapshot_sized(rt, (weft_metrics *)(void *)&smaller,
                                            sizeof(smaller.workers)));
    CHECK_EQ(2, smaller.workers);
    CHECK_EQ(77, smaller.guard);
    CHECK_EQ(0, weft_metrics_snapshot_sized(rt, &larger.metrics, sizeof(larger)));
    CHECK_EQ(2, larger.metrics.workers);
    CHECK_EQ(0, weft_metrics_worker(rt, 1, &w));
    CHECK_EQ(-EINVAL, weft_metrics_worker(rt, 2, &w));
    CHECK_EQ(-EINVAL, weft_metrics_snapshot(NULL, &larger.metrics));
    CHECK_EQ(-EINVAL, weft_metrics_snapshot(rt, NULL));
    weft_runtime_free(rt);

    CHECK_EQ(0, weft_runtime_new_sized(&rt, &newer.config, sizeof(newer)));
    weft_runtime_free(rt);
    newer.more[2] = 1; /* a wish that this version cannot fulfil */
    c = capture_begin();
    CHECK_EQ(-EINVAL, weft_runtime_new_sized(&rt, &newer.config, sizeof(newer)));
    capture_end(&c, text, sizeof(text));
    CHECK(strstr(text, "older") != NULL);
}

END_TEST

static int give(void *result)
{
    return *(int *)result;
}

static int run_in_child(weft_fn *fn, void *arg)
{
    pid_t pid = fork();
    int status = -1;

    CHECK(pid >= 0);
    if (pid == 0) {
        (void)alarm(10 * test_slow());
        _exit(weft_run(fn, arg));
    }
    CHECK_EQ(pid, waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

TEST(weft_run_gives_the_exit_status)
{
    static const int pass[] = {0, 1, 7, 125};
    int failed = -ENOENT;

    for (size_t i = 0; i < COUNT_OF(pass); i++) {
        int result = pass[i];

        CHECK_EQ(pass[i], run_in_child(give, &result));
    }
    CHECK_EQ(1, run_in_child(give, &failed));
    CHECK_EQ(0, setenv("WEFT_WORKERS", "none", 1));
    CHECK_EQ(1, run_in_child(nothing, NULL));
}

END_TEST

static int forever(void *unused)
{
    (void)unused;
    return weft_sleep(WEFT_FOREVER);
}

static int leave_tasks(void *unused)
{
    (void)unused;
    for (int i = 0; i < 10; i++)
        CHECK_EQ(0, weft_go(forever, NULL));
    return 5;
}

TEST(weft_run_cancels_what_still_runs)
{
    CHECK_EQ(5, run_in_child(leave_tasks, NULL));
}

END_TEST

TEST(a_runtime_that_cannot_be_built_leaves_nothing)
{
    weft_config config = {.worker_threads = 8, .ignore_env = WEFT_ON};
    unsigned before = open_descriptors(), refused = 0, built = 0;
    struct rlimit all, few;

    CHECK_EQ(0, getrlimit(RLIMIT_NOFILE, &all));
    few = all;
    /* Each time one more descriptor can be had. */
    for (few.rlim_cur = 3; built < 2; few.rlim_cur++) {
        weft_runtime *rt = NULL;
        int rc;

        CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &few));
        rc = weft_runtime_new(&rt, &config);
        CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &all));
        if (rc == 0) {
            weft_runtime_free(rt);
            built++;
        } else {
            CHECK_EQ(-EMFILE, rc);
            CHECK(rt == NULL);
            refused++;
        }
        CHECK_EQ(before, open_descriptors());
    }
    CHECK(refused >= 10); /* at each of its descriptors in turn */
}

END_TEST

/* --- from outside --------------------------------------------------------------------- */

struct visitor {
    weft_runtime *rt;
    int number;
    pthread_t thread;
};

static int visit(void *arg)
{
    struct visitor *v = arg;

    CHECK(weft_runtime_current() == v->rt);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(0, weft_sleep(WEFT_US(100 * (unsigned)(v->number % 7))));
    return v->number;
}

static void *visitor_thread(void *arg)
{
    struct visitor *v = arg;

    for (int i = 0; i < 20; i++) {
        int result = -1;

        CHECK_EQ(0, weft_block_on(v->rt, visit, v, &result));
        CHECK_EQ(v->number, result);
    }
    return NULL;
}

TEST(several_threads_block_on_one_runtime)
{
    for (size_t f = 0; f < test_flavour_count; f++) {
        weft_runtime *rt = test_runtime_new(&test_flavours[f]);
        struct visitor v[8];

        for (int i = 0; i < 8; i++) {
            v[i] = (struct visitor){.rt = rt, .number = i};
            thread_start(&v[i].thread, visitor_thread, &v[i]);
        }
        for (int i = 0; i < 8; i++)
            thread_join(v[i].thread);
        test_runtime_free(rt);
    }
}

END_TEST

struct relay {
    weft_runtime *rt;
    atomic_bool inside, release;
    pthread_t drove; /* which thread ran the long task last */
};

static int drive_briefly(void *arg)
{
    struct relay *r = arg;

    atomic_store(&r->inside, true);
    while (!atomic_load(&r->release))
        CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    return 0;
}

static int outlast(void *arg)
{
    struct relay *r = arg;

    while (!atomic_load(&r->release))
        CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    for (int i = 0; i < 10; i++)
        CHECK_EQ(0, weft_sleep(WEFT_US(200)));
    r->drove = pthread_self();
    return 4;
}

static void *relay_first(void *arg)
{
    struct relay *r = arg;

    CHECK_EQ(0, weft_block_on(r->rt, drive_briefly, r, NULL));
    return NULL;
}

static void *relay_second(void *arg)
{
    struct relay *r = arg;
    int result = 0;

    CHECK_EQ(0, weft_block_on(r->rt, outlast, r, &result));
    CHECK_EQ(4, result);
    return NULL;
}

TEST(who_waits_takes_over_when_the_driver_leaves)
{
    for (uint64_t i = 0; i < test_scaled(20); i++) {
        weft_runtime *rt = test_runtime_new(&current_thread);
        struct relay r = {.rt = rt};
        pthread_t first, second;
        weft_metrics m;

        thread_start(&first, relay_first, &r);
        while (!atomic_load(&r.inside))
            continue;
        thread_start(&second, relay_second, &r);
        do
            CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
        while (m.spawned < 2);
        atomic_store(&r.release, true);
        thread_join(first);
        thread_join(second);
        CHECK(pthread_equal(r.drove, second));
        test_runtime_free(rt);
    }
}

END_TEST

static int block_inside(void *unused)
{
    weft_runtime *rt = weft_runtime_current();
    weft_task *t = weft_spawn(nothing, NULL);

    (void)unused;
    CHECK_EQ(-EDEADLK, weft_block_on(rt, nothing, NULL, NULL));
    CHECK_EQ(-EDEADLK, weft_join_blocking(t, NULL));
    CHECK_EQ(0, join(t));
    return 0;
}

TEST(blocking_inside_a_task_is_refused)
{
    weft_runtime *rt = test_runtime_new(&one_worker);

    test_run(block_inside, NULL);
    CHECK(weft_runtime_current() == NULL);
    CHECK_EQ(-EINVAL, weft_block_on(NULL, nothing, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_block_on(rt, NULL, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_spawn_on(NULL, NULL, NULL, nothing, NULL));
    CHECK_EQ(-EINVAL, weft_spawn_on(rt, NULL, NULL, NULL, NULL));
    CHECK_EQ(-EINVAL,
             weft_spawn_on(rt, NULL, &(weft_task_options){.stack_size = 1}, nothing, NULL));
    CHECK_EQ(-EINVAL, weft_spawn_async_on(rt, NULL, NULL, NULL, NULL));
    test_runtime_free(rt);
}

END_TEST

static int count_up(void *counter)
{
    atomic_fetch_add((atomic_uint *)counter, 1);
    return 1;
}

struct outsider {
    weft_runtime *rt;
    atomic_uint *counter;
    unsigned count;
};

static void *spawn_from_outside(void *arg)
{
    const struct outsider *o = arg;
    weft_task *kept[16];

    for (unsigned i = 0; i < o->count; i += 17) {
        for (size_t k = 0; k < 16; k++)
            CHECK_EQ(0, weft_spawn_on(o->rt, &kept[k], NULL, count_up, o->counter));
        CHECK_EQ(0, weft_spawn_on(o->rt, NULL, NULL, count_up, o->counter));
        for (size_t k = 0; k < 16; k++)
            CHECK_EQ(1, join_blocking(kept[k]));
    }
    return NULL;
}

static int until_count(void *arg)
{
    const struct outsider *o = arg;

    while (atomic_load(o->counter) < o->count)
        CHECK_EQ(0, weft_sleep(WEFT_US(50)));
    return 0;
}

TEST(many_threads_spawn_into_one_runtime)
{
    enum { THREADS = 6 };

    for (size_t f = 0; f < test_flavour_count; f++) {
        weft_runtime *rt = test_runtime_new(&test_flavours[f]);
        unsigned each = 17 * (unsigned)test_scaled(100);
        atomic_uint counter = 0;
        struct outsider o = {rt, &counter, each}, all = {rt, &counter, each * THREADS};
        pthread_t threads[THREADS];
        weft_metrics m;

        for (size_t i = 0; i < THREADS; i++)
            thread_start(&threads[i], spawn_from_outside, &o);
        CHECK_EQ(0, weft_block_on(rt, until_count, &all, NULL)); /* drives a current-thread one */
        while (weft_runtime_flavor(rt) == WEFT_CURRENT_THREAD) {
            CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
            if (m.alive == 0)
                break;
            CHECK_EQ(0, weft_block_on(rt, nothing, NULL, NULL));
        }
        for (size_t i = 0; i < THREADS; i++)
            thread_join(threads[i]);
        CHECK_EQ(each * THREADS, atomic_load(&counter));
        test_runtime_free(rt);
    }
}

END_TEST

/* --- several runtimes ---------------------------------------------------------------------- */

/* A ring of tasks in different runtimes, each waking the next. */
struct baton {
    pthread_mutex_t lock;
    unsigned turn;
    unsigned members;
    weft_waker waiting[4];
    bool has[4];
};

enum { BATON, BATON_MEMBER };

static weft_poll baton_poll(weft_future *f, weft_context *cx)
{
    struct baton *b = (struct baton *)f->words[BATON];
    size_t me = f->words[BATON_MEMBER];
    weft_waker old;
    bool had, mine;

    CHECK_EQ(0, pthread_mutex_lock(&b->lock));
    mine = b->turn % b->members == me;
    had = b->has[me];
    old = b->waiting[me];
    b->has[me] = !mine;
    if (!mine)
        b->waiting[me] = weft_context_waker(cx);
    CHECK_EQ(0, pthread_mutex_unlock(&b->lock));
    if (had)
        weft_waker_drop(&old);
    return mine ? WEFT_READY : WEFT_PENDING;
}

static void baton_drop(weft_future *f)
{
    struct baton *b = (struct baton *)f->words[BATON];
    size_t me = f->words[BATON_MEMBER];
    weft_waker old;
    bool had;

    CHECK_EQ(0, pthread_mutex_lock(&b->lock));
    had = b->has[me];
    old = b->waiting[me];
    b->has[me] = false;
    CHECK_EQ(0, pthread_mutex_unlock(&b->lock));
    if (had)
        weft_waker_drop(&old);
}

static const weft_future_type baton_type = {baton_poll, baton_drop, "baton"};

static void baton_pass(struct baton *b)
{
    weft_waker next;
    bool has;
    size_t to;

    CHECK_EQ(0, pthread_mutex_lock(&b->lock));
    to = ++b->turn % b->members;
    has = b->has[to];
    next = b->waiting[to];
    b->has[to] = false;
    CHECK_EQ(0, pthread_mutex_unlock(&b->lock));
    if (has)
        weft_waker_wake(&next);
}

struct member {
    weft_runtime *rt;
    struct baton *baton;
    unsigned number, rounds;
    pthread_t thread;
};

static int run_member(void *arg)
{
    const struct member *m = arg;

    for (unsigned i = 0; i < m->rounds; i++) {
        weft_future f = weft_future_of(&baton_type);

        f.words[BATON] = (uintptr_t)m->baton;
        f.words[BATON_MEMBER] = m->number;
        CHECK_EQ(0, weft_await(&f));
        CHECK(weft_runtime_current() == m->rt);
        baton_pass(m->baton);
    }
    return 0;
}

static void *member_thread(void *arg)
{
    struct member *m = arg;
    int result = -1;

    CHECK_EQ(0, weft_block_on(m->rt, run_member, m, &result));
    CHECK_EQ(0, result);
    return NULL;
}

TEST(runtimes_wake_each_others_tasks)
{
    static const struct test_flavour *const flavours[] = {&current_thread, &two_workers,
                                                          &one_worker, &current_thread};
    struct baton b = {.lock = PTHREAD_MUTEX_INITIALIZER, .members = 4};
    struct member m[4];

    for (unsigned i = 0; i < 4; i++) {
        m[i] = (struct member){.rt = test_runtime_new(flavours[i]),
                               .baton = &b,
                               .number = i,
                               .rounds = (unsigned)test_scaled(2000)};
        thread_start(&m[i].thread, member_thread, &m[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        thread_join(m[i].thread);
    for (unsigned i = 0; i < 4; i++)
        test_runtime_free(m[i].rt);
}

END_TEST

static int spawn_elsewhere(void *other)
{
    atomic_uint counter = 0;
    weft_task *t;

    CHECK_EQ(0, weft_spawn_on(other, &t, NULL, count_up, &counter));
    CHECK_EQ(1, join(t)); /* a task of one runtime joins one of another */
    CHECK_EQ(1, atomic_load(&counter));
    return 0;
}

TEST(a_task_spawns_into_another_runtime)
{
    weft_runtime *other = test_runtime_new(&two_workers);

    test_run(spawn_elsewhere, other);
    test_runtime_free(other);
}

END_TEST

/* --- fork ------------------------------------------------------------------------------------------ */

static int some_work(void *unused)
{
    weft_task *t[10];

    (void)unused;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 10; i++)
            t[i] = weft_spawn(nothing, NULL);
        CHECK_EQ(0, weft_sleep(WEFT_MS(2) * test_slow())); /* longer than they take */
        for (int i = 0; i < 10; i++)
            CHECK_EQ(0, join(t[i]));
    }
    return 0;
}

/* With exit handlers: they must not hang on threads that are missing. But for AddressSanitizer's, which
 * takes what those threads had in their hands for leaks. */
#ifdef __SANITIZE_ADDRESS__
# define CHILD_EXIT(status) _exit(status)
#else
# define CHILD_EXIT(status) exit(status)
#endif

/* Neither ThreadSanitizer nor an emulator bears new threads in a child of a program with threads. */
#ifdef __SANITIZE_THREAD__
# define CHILD_FLAVOR WEFT_CURRENT_THREAD
#else
# define CHILD_FLAVOR (test_emulated() ? WEFT_CURRENT_THREAD : WEFT_MULTI_THREAD)
#endif

static int in_child(weft_runtime *rt, weft_task *t)
{
    weft_config config = {.flavor = CHILD_FLAVOR, .ignore_env = WEFT_ON};
    weft_runtime *own;
    int result = 0;

    if (weft_block_on(rt, nothing, NULL, &result) != -EPERM ||
        weft_spawn_on(rt, NULL, NULL, nothing, NULL) != -EPERM ||
        weft_runtime_shutdown(rt, WEFT_FOREVER) != -EPERM)
        return 1;
    weft_runtime_free(rt); /* does nothing */
    weft_detach(t);
    /* Its own runtime works. */
    if (weft_runtime_new(&own, &config) != 0)
        return 2;
    if (weft_block_on(own, some_work, NULL, &result) != 0 || result != 0)
        return 3;
    weft_runtime_free(own);
    return 0;
}

TEST(a_forked_child_leaves_its_parents_runtime_alone)
{
    for (size_t f = 0; f < test_flavour_count; f++) {
        weft_runtime *rt = test_runtime_new(&test_flavours[f]);
        int status = -1, result = -1;
        weft_task *t;
        pid_t pid;

        CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, forever, NULL));
        CHECK_EQ(0, weft_block_on(rt, some_work, NULL, &result));
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            (void)alarm(10 * test_slow());
            CHILD_EXIT(in_child(rt, t));
        }
        CHECK_EQ(pid, waitpid(pid, &status, 0));
        CHECK_EQ(0, status);
        CHECK_EQ(0, weft_block_on(rt, some_work, NULL, &result));
        CHECK_EQ(0, result);
        weft_detach(t);
        test_runtime_free(rt);
    }
}

END_TEST

TEST_MAIN("runtime", each_bad_value_is_refused_by_name, each_bad_variable_is_refused_by_name,
          a_field_beats_the_variable_and_that_the_default, structs_of_other_versions_are_understood,
          weft_run_gives_the_exit_status, weft_run_cancels_what_still_runs,
          a_runtime_that_cannot_be_built_leaves_nothing, several_threads_block_on_one_runtime,
          who_waits_takes_over_when_the_driver_leaves, blocking_inside_a_task_is_refused,
          many_threads_spawn_into_one_runtime, runtimes_wake_each_others_tasks,
          a_task_spawns_into_another_runtime, a_forked_child_leaves_its_parents_runtime_alone)
