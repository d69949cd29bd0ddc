/* SPDX-License-Identifier: MIT */
/*
 * test_report.c - a task that keeps its thread is told of: who, where from, for how long, in what call and
 * where; once for each place; and it does not notice.
 *
 * Each stall here goes on until its report has been made, so no test depends on how long that takes.
 */
#include "support.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
# define BACKTRACES false
#elif defined(__has_feature)
# if __has_feature(thread_sanitizer)
#  define BACKTRACES false
# endif
#endif
#ifndef BACKTRACES
# define BACKTRACES true
#endif

/* --- what was told --------------------------------------------------------------------------------- */

#define SEEN_MAX 256

struct seen {
    weft_stall stall; /* pointers into it are not kept */
    char name[64], site[128], call[32];
    void *frames[8];
};

static struct seen seen[SEEN_MAX];
static atomic_uint seen_count;

static void remember(void *user, const weft_stall *s)
{
    unsigned n = atomic_load(&seen_count);
    struct seen *to = &seen[n];

    CHECK(user == seen);
    if (n == SEEN_MAX)
        return;
    to->stall = *s;
    (void)snprintf(to->name, sizeof(to->name), "%s", s->task_name);
    (void)snprintf(to->site, sizeof(to->site), "%s", s->site ? s->site : "");
    (void)snprintf(to->call, sizeof(to->call), "%s",
                   s->system_call_name ? s->system_call_name : "");
    for (unsigned i = 0; i < s->frame_count && i < 8; i++)
        to->frames[i] = s->frames[i];
    atomic_store(&seen_count, n + 1);
}

/* Reports before that one were of other stalls. */
static atomic_uint since;

/* The latest report of a task of that name; NULL: none since. */
static const struct seen *told_of(const char *name)
{
    for (unsigned n = atomic_load(&seen_count); n > atomic_load(&since); n--)
        if (strcmp(seen[n - 1].name, name) == 0)
            return &seen[n - 1];
    return NULL;
}

static const struct seen *wait_for(const char *name)
{
    const struct seen *s;

    while (!(s = told_of(name)))
        CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
    return s;
}

/* --- what stalls ------------------------------------------------------------------------------------ */

static int hog_pipe[2];
static atomic_bool hog_stop;

/* Not static, so that they have a name at run time. */
int spin_in_this_function(const char *name);
int read_in_this_function(int fd);
int sleep_in_this_function(const char *name);

__attribute__((noinline)) int spin_in_this_function(const char *name)
{
    while (!atomic_load(&hog_stop) && !told_of(name))
        continue;
    return 0;
}

__attribute__((noinline)) int read_in_this_function(int fd)
{
    char byte;
    ssize_t n = read(fd, &byte, 1);

    CHECK_EQ(1, n);
    return 0;
}

/* Until it was told of; no sleep may be cut short. */
__attribute__((noinline)) int sleep_in_this_function(const char *name)
{
    const struct timespec some = {.tv_nsec = 100000000};

    while (!told_of(name))
        CHECK_EQ(0, nanosleep(&some, NULL));
    return 0;
}

static const char *my_name(void)
{
    return weft_task_name(weft_task_self());
}

static int spinner(void *unused)
{
    (void)unused;
    return spin_in_this_function(my_name());
}

static int reader(void *unused)
{
    (void)unused;
    return read_in_this_function(hog_pipe[0]);
}

static int sleeper(void *unused)
{
    (void)unused;
    return sleep_in_this_function(my_name());
}

static int poller(void *unused)
{
    struct pollfd nothing = {.fd = hog_pipe[0], .events = POLLIN};
    const char *name = my_name();

    (void)unused;
    while (!told_of(name))
        CHECK_EQ(0, poll(&nothing, 1, 100));
    return 0;
}

/* Each from a place of its own: where this stands. */
#define stall(n, fn) weft_spawn_with(&(weft_task_options){.name = (n)}, fn, NULL)

static void join(weft_task *t)
{
    int result = -1;

    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(0, result);
}

static void release_readers(unsigned n)
{
    while (n-- > 0)
        CHECK_EQ(1, write(hog_pipe[1], "x", 1));
}

/* fn as the first task of a runtime with two workers. */
static void run(weft_fn *fn, weft_stall_hook *hook, weft_switch signals, weft_duration computing)
{
    weft_config config = {.worker_threads = 2,
                          .ignore_env = WEFT_ON,
                          .on_stall = hook,
                          .hook_user = seen,
                          .signal_reports = signals,
                          .stall_computing = computing};
    weft_runtime *rt;
    int result = -1;

    test_watchdog(20);
    CHECK_EQ(0, pipe(hog_pipe));
    CHECK_EQ(0, weft_runtime_new(&rt, &config));
    CHECK_EQ(0, weft_block_on(rt, fn, NULL, &result));
    CHECK_EQ(0, result);
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_SECS(10ull * test_slow())));
    weft_runtime_free(rt);
    CHECK_EQ(0, close(hog_pipe[0]));
    CHECK_EQ(0, close(hog_pipe[1]));
}

/* --- the hook ---------------------------------------------------------------------------------------- */

/* An emulator's calls are those of another processor, and it waits itself; so does valgrind. */
static bool calls_are_seen(void)
{
    return !test_emulated() && !ON_VALGRIND;
}

/* Until it is seen waiting: on a busy machine a thread may be late on its way there, or back. */
static const struct seen *see_waiting(const char *name, weft_fn *fn)
{
    const struct seen *s;

    do {
        weft_task *t;
        uint64_t id;

        atomic_store(&since, atomic_load(&seen_count));
        t = stall(name, fn);
        id = weft_task_id(t);
        s = wait_for(name);
        CHECK_EQ(id, s->stall.task_id);
        if (fn == reader)
            release_readers(1);
        join(t);
    } while (!s->stall.blocked || (calls_are_seen() && s->call[0] == '\0'));
    CHECK(strstr(s->site, "test_report.c:") != NULL);
    CHECK(s->stall.held >= WEFT_US(500));
    return s;
}

static int each_is_told(void *unused)
{
    const struct seen *s = see_waiting("sleeps", sleeper);
    weft_metrics m;
    weft_task *t;
    uint64_t id;

    (void)unused;
    CHECK_EQ(0, s->stall.frame_count); /* no signal_reports */
    if (calls_are_seen()) {
        CHECK(strstr(s->call, "nanosleep") != NULL);
        CHECK(s->stall.system_call >= 0);
    }
    s = see_waiting("reads", reader);
    if (calls_are_seen())
        CHECK_STR("read", s->call);

    t = stall("computes", spinner);
    id = weft_task_id(t);
    s = wait_for("computes");
    join(t);
    CHECK_EQ(id, s->stall.task_id);
    CHECK(strstr(s->site, "test_report.c:") != NULL);
    if (calls_are_seen()) {
        CHECK(!s->stall.blocked);
        CHECK_EQ(-1, s->stall.system_call);
        CHECK_STR("", s->call);
    }
    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    CHECK(m.stalls >= 3);
    return 0;
}

TEST(a_stall_is_told_with_task_place_time_and_call)
{
    run(each_is_told, remember, WEFT_OFF, 0);
}

END_TEST

static int thrice(void *unused)
{
    weft_task_options o = {.name = "reads", .site = "one place"};

    (void)unused;
    for (unsigned i = 1; i <= 3; i++) {
        weft_task *t = weft_spawn_with(&o, reader, NULL);
        const struct seen *s = wait_for("reads");

        atomic_store(&since, atomic_load(&seen_count));
        CHECK_STR("one place", s->site);
        CHECK_EQ(i, s->stall.site_stalls);
        release_readers(1);
        join(t);
    }
    return 0;
}

TEST(the_hook_is_told_each_time)
{
    run(thrice, remember, WEFT_OFF, 0);
}

END_TEST

/* Computing would not be a stall for an hour, but from a place that is known. */
static int known(void *unused)
{
    weft_task_options o = {.name = "first", .site = "the place"};
    weft_task *t = weft_spawn_with(&o, reader, NULL);

    (void)unused;
    (void)wait_for("first");
    release_readers(1);
    join(t);
    o.name = "second";
    t = weft_spawn_with(&o, spinner, NULL);
    CHECK(wait_for("second")->stall.held >= WEFT_US(500));
    join(t);
    return 0;
}

TEST(a_place_that_stalled_before_is_relieved_sooner)
{
    run(known, remember, WEFT_OFF, WEFT_SECS(3600));
}

END_TEST

/* --- what a task notices ----------------------------------------------------------------------------- */

static int undisturbed(void *unused)
{
    weft_task *t = stall("sleeps", sleeper);

    (void)unused;
    (void)wait_for("sleeps");
    join(t);
    t = stall("polls", poller);
    (void)wait_for("polls");
    join(t);
    t = stall("reads", reader);
    (void)wait_for("reads");
    release_readers(1);
    join(t);
    return 0;
}

TEST(no_call_is_cut_short_by_a_report)
{
    run(undisturbed, remember, WEFT_ON, 0);
}

END_TEST

static atomic_uint urgent;

static void on_urgent(int number)
{
    (void)number;
    atomic_fetch_add(&urgent, 1);
}

static int raise_urgent(void *unused)
{
    weft_task *t = stall("computes", spinner);

    (void)unused;
    (void)wait_for("computes");
    join(t);
    CHECK_EQ(0, atomic_load(&urgent));
    CHECK_EQ(0, raise(SIGURG));
    CHECK_EQ(1, atomic_load(&urgent));
    return 0;
}

TEST(the_programs_own_handler_is_kept)
{
    struct sigaction mine = {.sa_handler = on_urgent}, now;

    CHECK_EQ(0, sigaction(SIGURG, &mine, NULL));
    run(raise_urgent, remember, WEFT_ON, 0);
    CHECK_EQ(0, sigaction(SIGURG, NULL, &now));
    CHECK(now.sa_handler == on_urgent);
}

END_TEST

/* --- what is printed --------------------------------------------------------------------------------- */

static FILE *printed;
static char text[65536];

static const char *read_printed(void)
{
    ssize_t n = pread(fileno(printed), text, sizeof(text) - 1, 0);

    CHECK(n >= 0);
    text[n] = '\0';
    return text;
}

static unsigned count_printed(const char *what)
{
    unsigned n = 0;

    for (const char *at = read_printed(); (at = strstr(at, what)); at++)
        n++;
    return n;
}

static void wait_printed(const char *what)
{
    while (count_printed(what) == 0)
        CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
}

static void run_printing(weft_fn *fn, weft_switch signals)
{
    int saved = dup(STDERR_FILENO);

    printed = tmpfile();
    CHECK(saved >= 0 && printed != NULL);
    CHECK(dup2(fileno(printed), STDERR_FILENO) >= 0);
    run(fn, NULL, signals, 0);
    CHECK(dup2(saved, STDERR_FILENO) >= 0);
    CHECK_EQ(0, close(saved));
    (void)fprintf(stderr, "%s", read_printed());
    CHECK_EQ(0, fclose(printed));
}

static uint64_t stalls(void)
{
    weft_metrics m;

    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    return m.stalls;
}

static int once(void *unused)
{
    weft_task_options o = {.name = "hog", .site = "one place"}, last = {.name = "last hog"};
    uint64_t before = stalls();
    weft_task *t;

    (void)unused;
    for (unsigned i = 0; i < 3; i++) {
        t = weft_spawn_with(&o, reader, NULL);
        while (stalls() == before) /* of this task, or, on a busy machine, another's */
            CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
        wait_printed("\"hog\" (spawned at one place) has kept its thread for ");
        before = stalls();
        release_readers(1);
        join(t);
    }
    t = weft_spawn_with(&last, reader, NULL);
    wait_printed("\"last hog\" (spawned at ");
    release_readers(1);
    join(t);
    CHECK_EQ(1, count_printed("\"hog\""));
    CHECK_EQ(1, count_printed("\"last hog\""));
    CHECK(count_printed("; others do its work\n") >= 2);
    return 0;
}

TEST(a_place_is_printed_once)
{
    run_printing(once, WEFT_OFF);
}

END_TEST

#define MANY 40

static int flood(void *unused)
{
    static char sites[MANY][32];
    weft_instant from = weft_now();
    weft_task *t[MANY];
    unsigned told;

    (void)unused;
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(sites[i], sizeof(sites[i]), "place %u.", i);
        t[i] = weft_spawn_with(&(weft_task_options){.site = sites[i]}, reader, NULL);
    }
    while (stalls() < MANY)
        CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
    told = count_printed("has kept its thread");
    CHECK(told <= 10 * (1 + (weft_now() - from) / WEFT_SECS(1)));
    release_readers(MANY);
    for (unsigned i = 0; i < MANY; i++)
        join(t[i]);
    if (told == MANY) { /* so slow a machine that it took seconds */
        test_say("nothing was left out");
        return 0;
    }
    while (count_printed(" stalls were not reported: there were too many at a time\n") == 0) {
        weft_task_options o = {.site = sites[0]};

        (void)snprintf(sites[0], sizeof(sites[0]), "place %llu.", (unsigned long long)weft_now());
        t[0] = weft_spawn_with(&o, reader, NULL);
        CHECK_EQ(0, weft_sleep(WEFT_MS(20)));
        release_readers(1);
        join(t[0]);
    }
    return 0;
}

TEST(no_more_than_ten_are_printed_in_a_second)
{
    run_printing(flood, WEFT_OFF);
}

END_TEST

/* From new places, until the innermost function of ours is printed, and that it waits if it does: on a busy machine a
 * thread may be late on its way there, or to answer. */
static void see_function(const char *name, weft_fn *fn, const char *what)
{
    static char site[32];
    static unsigned n;

    while (count_printed(name) == 0 || count_printed(what) == 0) {
        uint64_t before = stalls();
        weft_task *t;

        (void)snprintf(site, sizeof(site), "place %u.", n++);
        atomic_store(&hog_stop, false);
        t = weft_spawn_with(&(weft_task_options){.site = site}, fn, NULL);
        while (stalls() == before)
            CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
        CHECK_EQ(0, weft_sleep(WEFT_MS(10))); /* a chance for the report: else it is tried again */
        atomic_store(&hog_stop, true);
        if (fn == reader)
            release_readers(1);
        join(t);
    }
}

static int backtraces(void *unused)
{
    (void)unused;
    see_function("spin_in_this_function+0x", spinner, ", computing; ");
    see_function("read_in_this_function+0x", reader, ", blocked in read; ");
    return 0;
}

/* Of a sleep the innermost function alone: to ask for more would end it. */
static int innermost(void *unused)
{
    const struct seen *s;
    Dl_info info;

    (void)unused;
    do { /* until it is seen asleep */
        static char site[32];
        weft_task *t;

        (void)snprintf(site, sizeof(site), "%u", atomic_load(&seen_count));
        atomic_store(&since, atomic_load(&seen_count));
        t = weft_spawn_with(&(weft_task_options){.name = "sleeps", .site = site}, sleeper, NULL);
        s = wait_for("sleeps");
        join(t);
    } while (!s->stall.blocked || s->stall.frame_count != 1);
    CHECK(dladdr(s->frames[0], &info) != 0);
    CHECK(info.dli_sname && strstr(info.dli_sname, "nanosleep"));
    return 0;
}

TEST(with_signal_reports_the_functions_are_named)
{
    if (!BACKTRACES)
        TEST_SKIP("ThreadSanitizer puts signals off until the thread calls it");
    if (!calls_are_seen())
        TEST_SKIP("where a thread is cannot be seen here");
    run_printing(backtraces, WEFT_ON);
    run(innermost, remember, WEFT_ON, 0);
}

END_TEST

/* --- a processor that is shared with too many ------------------------------------------------------------- */

#define CROWD 6

/* All of this process, and of the children that it makes from here on, share one processor. */
static bool share_one_processor(pid_t crowd[CROWD])
{
    cpu_set_t all, one;

    if (sched_getaffinity(0, sizeof(all), &all) != 0)
        return false;
    CPU_ZERO(&one);
    for (size_t i = 0; i < (size_t)CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    if (sched_setaffinity(0, sizeof(one), &one) != 0)
        return false;
    for (int i = 0; i < CROWD; i++) {
        pid_t mother = getpid();

        crowd[i] = fork();
        CHECK(crowd[i] >= 0);
        while (crowd[i] == 0)
            if (getppid() != mother)
                _exit(0);
    }
    return true;
}

static uint64_t computed_ns(void)
{
    struct timespec t;

    CHECK_EQ(0, clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t));
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Polls of a tenth of a millisecond each, by its own clock, until in one of them somebody stood in for it. */
static int little_at_a_time(void *unused)
{
    weft_metrics m;

    (void)unused;
    do {
        uint64_t until = computed_ns() + 100000;

        while (computed_ns() < until)
            continue;
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    } while (m.standin_threads == 0);
    return 0;
}

TEST(a_thread_that_waits_for_a_processor_is_relieved_and_not_told_of)
{
    weft_config config = {.worker_threads = 1,
                          .ignore_env = WEFT_ON,
                          .on_stall = remember,
                          .hook_user = seen,
                          .stall_computing = WEFT_MS(2)};
    pid_t crowd[CROWD];
    weft_runtime *rt;
    weft_metrics m;

    if (ON_VALGRIND || test_emulated())
        TEST_SKIP("a poll takes too much of the processor here");
    if (!share_one_processor(crowd))
        TEST_SKIP("this process may not choose its processor");
    test_watchdog(60);
    CHECK_EQ(0, weft_runtime_new(&rt, &config));
    CHECK_EQ(0, weft_block_on(rt, little_at_a_time, NULL, NULL));
    CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
    CHECK_EQ(0, m.stalls);
    CHECK_EQ(0, atomic_load(&seen_count));
    for (int i = 0; i < CROWD; i++) {
        CHECK_EQ(0, kill(crowd[i], SIGKILL));
        CHECK_EQ(crowd[i], waitpid(crowd[i], NULL, 0));
    }
    weft_runtime_free(rt);
}

END_TEST

/* --- the monitor --------------------------------------------------------------------------------------- */

/* One line about a thread of this process. */
static void task_file(const char *id, const char *name, char *to, int size)
{
    char path[300];
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/self/task/%s/%s", id, name);
    f = fopen(path, "re");
    if (!f || !fgets(to, size, f))
        to[0] = '\0';
    if (f)
        CHECK_EQ(0, fclose(f));
}

/* Does it wait without a time limit: in futex, whose fourth argument is none? */
static bool monitor_sleeps(void)
{
    DIR *dir = opendir("/proc/self/task");
    unsigned long long limit = 1;
    struct dirent *entry;
    char line[256];
    long call = -1;

    CHECK(dir != NULL);
    while ((entry = readdir(dir))) {
        task_file(entry->d_name, "comm", line, sizeof(line));
        if (strcmp(line, "weft-monitor\n") != 0)
            continue;
        task_file(entry->d_name, "syscall", line, sizeof(line));
        if (sscanf(line, "%ld %*x %*x %*x %llx", &call, &limit) != 2)
            call = -1;
    }
    CHECK_EQ(0, closedir(dir));
    return call == SYS_futex && limit == 0;
}

static atomic_bool has_slept;

/* The workers begin once the monitor has seen that nobody works. */
static void be_late(void *unused)
{
    (void)unused;
    while (!atomic_load(&has_slept)) {
        if (monitor_sleeps())
            atomic_store(&has_slept, true);
        CHECK_EQ(0, usleep(1000));
    }
}

static int stall_at_once(void *unused)
{
    (void)unused;
    return spin_in_this_function(my_name());
}

TEST(a_worker_that_begins_with_a_stall_is_seen)
{
    weft_config config = {.worker_threads = 2,
                          .ignore_env = WEFT_ON,
                          .on_thread_start = be_late,
                          .on_stall = remember,
                          .hook_user = seen};
    weft_runtime *rt;

    if (!calls_are_seen())
        TEST_SKIP("what the monitor does cannot be seen here");
    test_watchdog(20);
    CHECK_EQ(0, weft_runtime_new(&rt, &config));
    CHECK_EQ(0, weft_block_on(rt, stall_at_once, NULL, NULL));
    weft_runtime_free(rt);
}

END_TEST

TEST_MAIN("report", a_thread_that_waits_for_a_processor_is_relieved_and_not_told_of,
          a_worker_that_begins_with_a_stall_is_seen, a_stall_is_told_with_task_place_time_and_call,
          the_hook_is_told_each_time, a_place_that_stalled_before_is_relieved_sooner,
          no_call_is_cut_short_by_a_report, the_programs_own_handler_is_kept,
          a_place_is_printed_once, no_more_than_ten_are_printed_in_a_second,
          with_signal_reports_the_functions_are_named)
