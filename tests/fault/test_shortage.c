/* SPDX-License-Identifier: MIT */
/*
 * Real shortages, made of limits of the process: of descriptors, of address space, of mappings. And storms of
 * signals, and transfers of a byte. Each test is a process of its own, so a limit binds nobody else.
 */
#include "party.h"

#include "fiber/stack.h"
#include "io/registration.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef SANITIZED
# define NO_ROOM true /* for limits on memory: the sanitizers take all addresses for themselves */
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
# define NO_ROOM true
#else
# define NO_ROOM (ON_VALGRIND || test_emulated())
#endif

/* ---- A scenario that needs a little of everything ---- */

#define PAIRS 6
#define BYTES 3000

static bool shortage; /* the server may run out for good, so clients do not wait for ever */

static int echo_conn(void *stream)
{
    char buffer[512];
    ssize_t n;

    while ((n = weft_read(stream, buffer, sizeof(buffer))) > 0)
        if (MAY(weft_write_all(stream, buffer, (size_t)n), ECONNRESET, EPIPE, ENOMEM, ENOBUFS) < 0)
            break;
    CHECK_EQ(0, weft_close(stream));
    return 0;
}

static int echo_server(void *listener)
{
    return party_serve(listener, echo_conn);
}

static int echo_client(void *where)
{
    char out[BYTES], in[BYTES];
    weft_stream *s;
    ssize_t n = 0;

    if (MAY(weft_tcp_connect(&s, where, NULL), ENOMEM, EMFILE, ENFILE, ENOBUFS, ECONNREFUSED,
            ECONNRESET) < 0)
        return 0;
    /* The server may be out of descriptors, and have no hope of more before we close ours. */
    WEFT_DEADLINE(shortage ? WEFT_MS(30ull * test_slow()) : WEFT_FOREVER)
    {
        memset(out, 'z', sizeof(out));
        if (MAY(weft_write_all(s, out, sizeof(out)), ECONNRESET, EPIPE, ENOMEM, ENOBUFS) > 0)
            n = MAY(weft_read_exact(s, in, sizeof(in)), ECONNRESET, ENOMEM, ETIMEDOUT);
    }
    if (n == BYTES)
        CHECK_EQ(0, memcmp(in, out, BYTES));
    else
        MAY(-ECONNRESET, ECONNRESET);
    (void)weft_stream_set_linger(s, 0);
    CHECK_EQ(0, weft_close(s));
    return 0;
}

static void join_all(weft_task *const *t, int count)
{
    int result = 0;

    for (int i = 0; i < count; i++) {
        if (!t[i])
            continue;
        CHECK_EQ(0, weft_join(t[i], &result));
        MAY(result, ENOMEM);
    }
}

static int echo_root(void *unused)
{
    struct party p[1 + PAIRS] = {0};
    weft_listener *l;
    weft_addr where;

    (void)unused;
    if (MAY(weft_listen(&l, "tcp://127.0.0.1:0", NULL), ENOMEM, EMFILE, ENFILE, ENOBUFS) < 0)
        return 0;
    CHECK_EQ(0, weft_listener_addr(l, &where));
    (void)party_begin(&p[0], echo_server, l);
    for (int i = 1; i <= PAIRS; i++)
        (void)party_begin(&p[i], echo_client, &where);
    party_meet(p, 1, 1 + PAIRS, l);
    CHECK_EQ(0, weft_listener_close(l));
    return 0;
}

static void echo(const struct test_flavour *flavour)
{
    fault_run_root(flavour, echo_root, NULL);
}

/* The run with no shortage: all of it passes. */
static void echo_freely(const struct test_flavour *flavour)
{
    shortage = false;
    fault_run_begin("no shortage");
    echo(flavour);
    CHECK_EQ(0, fault_run_end());
}

/* ---- Descriptors ---- */

static int descriptor_next(void)
{
    int fd = dup(0);

    CHECK(fd >= 0);
    (void)close(fd);
    return fd;
}

static void few_descriptors(const struct test_flavour *flavour)
{
    struct rlimit all, few;
    uint64_t errors = 1;
    char what[64];
    rlim_t n;

    CHECK_EQ(0, getrlimit(RLIMIT_NOFILE, &all));
    shortage = true;
    for (n = 0; errors && n < 100; n++) {
        (void)snprintf(what, sizeof(what), "%s: %llu descriptors", flavour->name,
                       (unsigned long long)n);
        fault_run_begin(what);
        few = (struct rlimit){(rlim_t)descriptor_next() + n, all.rlim_max};
        CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &few));
        echo(flavour);
        CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &all));
        errors = fault_run_end();
    }
    CHECK(n > 5 && n < 100);
    echo_freely(flavour);
}

TEST(any_number_of_descriptors_is_enough_or_told)
{
    if (ON_VALGRIND || test_emulated())
        TEST_SKIP("not held to RLIMIT_NOFILE");
    fault_prepare();
    few_descriptors(&test_flavours[0]);
    few_descriptors(&test_flavours[2]);
}

/* An accept that pauses, in a set: a runtime's task begins, and another's goes on. */
struct pausing {
    weft_futures *set;
    weft_listener *listener;
    weft_stream *accepted;
    int client;
};

static int connect_and_pause(void *arg)
{
    struct pausing *p = arg;
    struct rlimit all, few;
    weft_addr where;

    CHECK_EQ(0, weft_listen(&p->listener, "tcp://127.0.0.1:0", NULL));
    CHECK_EQ(0, weft_listener_addr(p->listener, &where));
    p->client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(p->client >= 0);
    CHECK_EQ(0, connect(p->client, &where.u.any, where.size));
    CHECK_EQ(0, weft_futures_push(p->set, weft_accept_future(p->listener, &p->accepted), 1));
    CHECK_EQ(0, getrlimit(RLIMIT_NOFILE, &all));
    few = (struct rlimit){(rlim_t)descriptor_next(), all.rlim_max};
    CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &few));
    CHECK_EQ(-EAGAIN, weft_futures_try_next(p->set, NULL, NULL));
    CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &all));
    return 0;
}

static int accepts_after_all(void *arg)
{
    struct pausing *p = arg;
    ssize_t result = 1;
    uint64_t tag = 0;

    CHECK_EQ(1, weft_futures_next(p->set, &tag, &result));
    CHECK_EQ(0, result);
    CHECK_EQ(0, weft_close(p->accepted));
    CHECK_EQ(0, weft_listener_close(p->listener));
    return 0;
}

TEST(an_accept_that_pauses_goes_on_when_its_runtime_has_ended)
{
    if (ON_VALGRIND || test_emulated())
        TEST_SKIP("not held to RLIMIT_NOFILE");
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct pausing p = {.set = weft_futures_new()};

        CHECK(p.set);
        test_run_on(&test_flavours[0], connect_and_pause,
                    &p); /* nobody looks at its timers afterwards */
        test_run_on(&test_flavours[i], accepts_after_all, &p);
        weft_futures_free(p.set);
        CHECK_EQ(0, close(p.client));
    }
}

/* ---- Address space ---- */

static rlim_t address_space(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long pages = 0;

    CHECK(f && fscanf(f, "%lu", &pages) == 1);
    (void)fclose(f);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void little_room(const struct test_flavour *flavour)
{
    rlim_t used = address_space(), room = 0;
    struct rlimit all, tight;
    uint64_t errors = 1;
    char what[64];

    CHECK_EQ(0, getrlimit(RLIMIT_AS, &all));
    shortage = true;
    for (; errors && room < (rlim_t)4 << 30; room += room / 8 + 65536) {
        (void)snprintf(what, sizeof(what), "%s: %llu KiB more", flavour->name,
                       (unsigned long long)room >> 10);
        fault_run_begin(what);
        tight = (struct rlimit){used + room, all.rlim_max};
        CHECK_EQ(0, setrlimit(RLIMIT_AS, &tight));
        echo(flavour);
        CHECK_EQ(0, setrlimit(RLIMIT_AS, &all));
        errors = fault_run_end();
    }
    CHECK(room > 65536 && errors == 0);
    echo_freely(flavour);
}

TEST(any_amount_of_address_space_is_enough_or_told)
{
    if (NO_ROOM)
        TEST_SKIP("RLIMIT_AS is not the program's own here");
    fault_prepare();
    little_room(&test_flavours[0]);
    little_room(&test_flavours[2]);
}

/* ---- Mappings ---- */

#define PAGE 4096

/* Takes all mappings that the process may still have, but so many. Returns what to unmap. */
static char *take_mappings(size_t limit, size_t but)
{
    size_t size = limit * 2 * PAGE, n = 0;
    char *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    CHECK(p != MAP_FAILED);
    while (n < limit && mprotect(p + n * 2 * PAGE, PAGE, PROT_READ) == 0)
        n++;
    CHECK(n < limit);
    /* Each page that is like its neighbours again is worth two mappings. */
    for (size_t i = 0; i < (but + 1) / 2 && i < n; i++)
        CHECK_EQ(0, mprotect(p + (n - 1 - i) * 2 * PAGE, PAGE, PROT_NONE));
    return p;
}

static size_t mappings_max(void)
{
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    unsigned long n = 0;

    if (f && fscanf(f, "%lu", &n) != 1)
        n = 0;
    if (f)
        (void)fclose(f);
    return n;
}

static void few_mappings(const struct test_flavour *flavour, size_t limit)
{
    uint64_t errors = 1;
    char what[64], *taken;
    size_t but = 0;

    shortage = true;
    for (; errors && but < 2000; but += 1 + but / 2) {
        (void)snprintf(what, sizeof(what), "%s: %zu mappings", flavour->name, but);
        fault_run_begin(what);
        wf_stack_test_force_mprotect(true);
        taken = take_mappings(limit, but);
        echo(flavour);
        CHECK_EQ(0, munmap(taken, limit * 2 * PAGE));
        errors = fault_run_end();
    }
    CHECK(but > 1 && errors == 0);
    echo_freely(flavour);
    wf_stack_test_force_mprotect(false);
}

TEST(any_number_of_mappings_is_enough_or_told)
{
    size_t limit = mappings_max();

    if (NO_ROOM || limit == 0 || limit > 200000)
        TEST_SKIP("vm.max_map_count is unknown, or too large, or not the program's own");
    fault_prepare();
    few_mappings(&test_flavours[0], limit);
    few_mappings(&test_flavours[2], limit);
}

/* ---- Tables that cannot grow ---- */

TEST(registrations_run_out_and_come_back)
{
    const struct fault_plan none_left = {WF_FAULT_ALLOC, -ENOMEM, 1, FAULT_LASTING};
    static struct wf_io *held[1000];
    weft_stream *s = NULL;
    int fds[2], n = 0;

    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    fault_arm(&none_left);
    while (n < 1000 && (held[n] = wf_io_new(-1, false)))
        n++;
    CHECK(n < 1000);
    CHECK_EQ(-ENOMEM, weft_stream_from_fd(&s, fds[0]));
    CHECK(!s);
    fault_disarm();
    CHECK_EQ(0, weft_stream_from_fd(&s, fds[0]));
    CHECK_EQ(0, weft_close(s));
    CHECK_EQ(0, close(fds[1])); /* still ours */
    while (n)
        wf_io_close(held[--n]);
    CHECK_EQ(0, wf_io_in_use());
}

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

#define HEADERS 40000 /* more than a region holds: 64 chunks of 511 */

TEST(headers_run_out_and_come_back)
{
    const struct fault_plan none_left = {WF_FAULT_MMAP, -ENOMEM, 1, FAULT_LASTING};
    weft_runtime *rt;
    int spawned = 0, rc = 0;

    fault_prepare();
    rt = fault_runtime_new(&test_flavours[0], WEFT_OFF);
    CHECK(rt != NULL);
    CHECK_EQ(0, weft_spawn_on(rt, NULL, NULL, nothing, NULL)); /* the first region */
    fault_arm(&none_left);
    while (spawned < HEADERS && (rc = weft_spawn_on(rt, NULL, NULL, nothing, NULL)) == 0)
        spawned++;
    CHECK_EQ(-ENOMEM, rc);
    CHECK(spawned > 30000);
    CHECK_EQ(-ENOMEM, weft_block_on(rt, nothing, NULL, NULL));
    fault_disarm();
    CHECK_EQ(0, weft_spawn_on(rt, NULL, NULL, nothing, NULL));
    CHECK_EQ(0, weft_block_on(rt, nothing, NULL, NULL));
    fault_runtime_free(rt);
}

/* ---- Stacks that cannot be given back ---- */

#define STACKS 12000

TEST(stacks_that_cannot_be_given_back_are_used_again)
{
    const enum wf_fault_kind kinds[] = {WF_FAULT_MUNMAP, WF_FAULT_MADVISE};
    struct wf_stack **s = calloc(STACKS, sizeof(*s));
    struct wf_stack_stats stats;
    struct wf_stack_cache c;
    size_t mapped;

    CHECK(s != NULL);
    for (int round = 0; round < 4; round++) {
        struct fault_plan plan = {kinds[round % 2], -ENOMEM, 1, FAULT_LASTING};

        wf_stack_cache_init(&c);
        for (int i = 0; i < STACKS; i++)
            CHECK_EQ(0, wf_stack_get(&c, 16384, &s[i]));
        wf_stack_pool_stats(&stats);
        mapped = stats.mapped_bytes;
        /* Deep enough to be trimmed. */
        for (int i = 0; i < STACKS; i += 100)
            memset(s[i]->low, 1, s[i]->size - PAGE);
        fault_arm(&plan);
        for (int i = 0; i < STACKS; i++)
            wf_stack_put(&c, s[i]);
        wf_stack_cache_release(&c);
        for (int i = 0; i < 100; i++)
            wf_stack_pool_wash_step();
        wf_stack_pool_trim();
        CHECK(fault_disarm() > 0);
        wf_stack_pool_stats(&stats);
        CHECK_EQ(0, stats.out);
        CHECK_EQ(plan.kind == WF_FAULT_MUNMAP ? mapped : 0, stats.mapped_bytes);
    }
    wf_stack_pool_trim();
    wf_stack_pool_stats(&stats);
    CHECK_EQ(0, stats.mapped_bytes);
    free(s);
}

/* The first guard's kind is asked of the kernel. A shortage at that moment must not pass for "none": a
 * program would have fewer fibers for the rest of its life. */
TEST(a_shortage_does_not_decide_the_kind_of_guards)
{
    const struct fault_plan third = {WF_FAULT_MADVISE, -ENOMEM, 3, 1};
    struct wf_stack_cache c;
    struct wf_stack *s;
    bool light = false;

    for (int round = 0; round < 2; round++) {
        wf_stack_test_force_mprotect(false);
        wf_stack_cache_init(&c);
        if (round == 1 && light) {
            fault_arm(&third); /* no huge pages, the guard, whether it is there */
            CHECK_EQ(-ENOMEM, wf_stack_get(&c, 16384, &s));
            CHECK_EQ(1, fault_disarm());
        }
        CHECK_EQ(0, wf_stack_get(&c, 16384, &s));
        if (round == 0)
            light = wf_stack_test_light_guards();
        CHECK_EQ(light, wf_stack_test_light_guards());
        wf_stack_put(&c, s);
        wf_stack_cache_release(&c);
        wf_stack_pool_trim();
    }
}

/* ---- A byte at a time ---- */

#define TALK 1500

struct talk {
    const int *fds;
    ssize_t max; /* of one transfer */
    weft_stream *from, *to;
};

static int talk_out(void *arg)
{
    const struct talk *t = arg;
    char bytes[TALK];
    struct iovec parts[3] = {{bytes, 0}, {bytes, 1}, {bytes + 1, 4}};
    weft_future rest;
    ssize_t n;

    for (int i = 0; i < TALK; i++)
        bytes[i] = (char)(i * 7);
    n = weft_writev(t->from, parts, 3);
    CHECK_EQ(1, n); /* the first part that has anything */
    CHECK_EQ(500, weft_write_all(t->from, bytes + n, 500));
    n += 500;
    rest = weft_write_all_future(t->from, bytes + n, (size_t)(TALK - n));
    CHECK_EQ(TALK - n, weft_await(&rest));
    CHECK_EQ(0, weft_close(t->from));
    return 0;
}

static int talk_in(void *arg)
{
    const struct talk *t = arg;
    char bytes[TALK];
    struct iovec parts[2] = {{bytes, 3}, {bytes + 3, 5}};
    weft_future rest;
    ssize_t n;

    n = weft_readv(t->to, parts, 2);
    CHECK(n > 0 && n <= 3 && n <= t->max);
    CHECK_EQ(700, weft_read_exact(t->to, bytes + n, 700));
    n += 700;
    rest = weft_read_exact_future(t->to, bytes + n, (size_t)(TALK - n));
    CHECK_EQ(TALK - n, weft_await(&rest));
    for (int i = 0; i < TALK; i++)
        CHECK_EQ((char)(i * 7), bytes[i]);
    CHECK_EQ(0, weft_read(t->to, bytes, 1));
    CHECK_EQ(0, weft_close(t->to));
    return 0;
}

static int talk_root(void *arg)
{
    struct talk *t = arg;
    weft_task *tasks[2];

    CHECK_EQ(0, weft_stream_from_fd(&t->to, t->fds[0]));
    CHECK_EQ(0, weft_stream_from_fd(&t->from, t->fds[1]));
    tasks[0] = weft_spawn(talk_in, t);
    tasks[1] = weft_spawn(talk_out, t);
    join_all(tasks, 2);
    return 0;
}

TEST(a_byte_at_a_time_is_all_the_same)
{
    struct talk t;
    int fds[2];

    for (size_t max = 1; max < 64; max = max * 2 + 1) {
        fault_limit_transfers(max);
        t = (struct talk){.fds = fds, .max = (ssize_t)max};
        for (size_t i = 0; i < test_flavour_count; i++) {
            CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
            test_run_on(&test_flavours[i], talk_root, &t);
            CHECK_EQ(0, pipe(fds));
            test_run_on(&test_flavours[i], talk_root, &t);
        }
    }
}

/* ---- Signals ---- */

static atomic_bool storm_over;
static atomic_ulong signals;

static void on_signal(int number)
{
    (void)number;
    atomic_fetch_add(&signals, 1);
}

/* A signal to every thread of the process, again and again. */
static void *storm(void *unused)
{
    pid_t self = getpid();

    (void)unused;
    while (!atomic_load(&storm_over)) {
        DIR *d = opendir("/proc/self/task");
        const struct dirent *e;

        while (d && (e = readdir(d)))
            if (e->d_name[0] != '.')
                (void)syscall(SYS_tgkill, self, (pid_t)strtol(e->d_name, NULL, 10), SIGUSR1);
        if (d)
            (void)closedir(d);
        (void)sched_yield();
    }
    return NULL;
}

static int ticks(void *unused)
{
    (void)unused;
    for (int i = 0; i < 20; i++)
        CHECK_EQ(0, weft_sleep(WEFT_US(300)));
    return 0;
}

TEST(a_storm_of_signals_interrupts_nothing)
{
    struct sigaction action = {.sa_handler = on_signal}; /* calls are not restarted */
    pthread_t thread;

    fault_prepare();
    CHECK_EQ(0, sigaction(SIGUSR1, &action, NULL));
    for (size_t i = 0; i < test_flavour_count; i++) {
        atomic_store(&storm_over, false);
        CHECK_EQ(0, pthread_create(&thread, NULL, storm, NULL));
        for (uint64_t round = 0; round < test_scaled(10); round++) {
            weft_runtime *rt = test_runtime_new(&test_flavours[i]);

            CHECK_EQ(0, weft_block_on(rt, echo_root, NULL, NULL));
            CHECK_EQ(0, weft_block_on(rt, ticks, NULL, NULL));
            test_runtime_free(rt);
        }
        atomic_store(&storm_over, true);
        CHECK_EQ(0, pthread_join(thread, NULL));
    }
    CHECK(atomic_load(&signals) > 100);
}

TEST_MAIN("fault.shortage", any_number_of_descriptors_is_enough_or_told,
          an_accept_that_pauses_goes_on_when_its_runtime_has_ended,
          any_amount_of_address_space_is_enough_or_told, any_number_of_mappings_is_enough_or_told,
          registrations_run_out_and_come_back, headers_run_out_and_come_back,
          stacks_that_cannot_be_given_back_are_used_again,
          a_shortage_does_not_decide_the_kind_of_guards, a_byte_at_a_time_is_all_the_same,
          a_storm_of_signals_interrupts_nothing)
