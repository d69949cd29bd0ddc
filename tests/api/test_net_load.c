/* SPDX-License-Identifier: MIT */
/*
 * test_net_load.c - connections under load: much data, many of them, operations given up at random,
 * descriptors that come and go or run out, workers that are busy.
 *
 * Where the peer must not share our limits or our threads it is a plain process or thread with blocking
 * sockets.
 */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct test_flavour current_thread = {"current-thread", WEFT_CURRENT_THREAD, 0};
static const struct test_flavour two_workers = {"2 workers", WEFT_MULTI_THREAD, 2};

/* --- much data ------------------------------------------------------------------ */

struct flood {
    weft_stream *s;
    uint64_t seed;
    size_t size;
};

static int flood_write(void *arg)
{
    const struct flood *f = arg;
    uint64_t pattern = f->seed, chance = f->seed ^ 1, words[8192];

    for (size_t left = f->size; left > 0;) {
        size_t n = 1 + test_rand(&chance) % 8192;

        if (n > left)
            n = left;
        for (size_t i = 0; i < n; i++)
            words[i] = test_rand(&pattern);
        CHECK_EQ(n * 8, weft_write_all(f->s, words, n * 8));
        left -= n;
    }
    return weft_shutdown(f->s, SHUT_WR);
}

static int flood_read(void *arg)
{
    const struct flood *f = arg;
    uint64_t pattern = f->seed, chance = f->seed ^ 2;
    unsigned char want[8], got[20000];
    size_t total = 0;
    ssize_t n;

    while ((n = weft_read(f->s, got, 1 + test_rand(&chance) % sizeof(got))) > 0) {
        for (ssize_t i = 0; i < n; i++, total++) {
            if (total % 8 == 0) {
                uint64_t word = test_rand(&pattern);

                memcpy(want, &word, 8);
            }
            if (got[i] != want[total % 8])
                test_failed(__FILE__, __LINE__, "byte %zu is wrong", total);
        }
    }
    CHECK_EQ(0, n);
    CHECK_EQ(f->size * 8, total);
    return 0;
}

static int flood_both_ways(void *arg)
{
    const size_t *words = arg;
    struct pair p = pair_new();
    uint64_t seed = test_seed();
    struct flood ab = {p.a, seed, *words}, ba = {p.a, seed + 7, *words};
    struct flood ab_read = {p.b, seed, *words}, ba_write = {p.b, seed + 7, *words};
    weft_task_options roomy = {.stack_size = 256 << 10};
    weft_task *tasks[4];

    tasks[0] = weft_spawn_with(&roomy, flood_write, &ab);
    tasks[1] = weft_spawn_with(&roomy, flood_read, &ba);
    tasks[2] = weft_spawn_with(&roomy, flood_write, &ba_write);
    tasks[3] = weft_spawn_with(&roomy, flood_read, &ab_read);
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(0, join(tasks[i]));
    pair_close(p);
    return 0;
}

TEST(large_transfers_arrive_whole_both_ways)
{
    static const size_t kib[] = {64, 512, 8192};

    for (size_t i = 0; i < sizeof(kib) / sizeof(kib[0]); i++) {
        size_t words = (size_t)test_scaled(kib[i] * 1024 / 8);

        test_run(flood_both_ways, &words);
    }
}

END_TEST

/* --- giving up -------------------------------------------------------------------- */

static int give_up_then_arrive(void *unused)
{
    weft_addr where;
    weft_listener *l = listen_any(&where);
    struct pair p = pair_new();
    weft_stream *s = NULL, *peer;
    weft_future read, accept, soon;
    weft_task *t;
    char byte = 0;

    (void)unused;
    /* By cancelling. */
    t = spawn_waiting(read_byte, p.b);
    weft_cancel(t);
    CHECK_EQ(-ECANCELED, join(t));
    CHECK_EQ(1, weft_write(p.a, "1", 1));
    CHECK_EQ(1, weft_read(p.b, &byte, 1));
    CHECK_EQ('1', byte);
    t = spawn_waiting(accept_one, l);
    weft_cancel(t);
    CHECK_EQ(-ECANCELED, join(t));
    CHECK_EQ(0, weft_tcp_connect(&peer, &where, NULL));
    CHECK_EQ(0, weft_accept(l, &s));
    CHECK_EQ(0, weft_close(peer));
    CHECK_EQ(0, weft_close(s));

    /* By a deadline. */
    WEFT_DEADLINE(WEFT_MS(1))
    {
        CHECK_EQ(-ETIMEDOUT, weft_read(p.b, &byte, 1));
        CHECK_EQ(-ETIMEDOUT, weft_accept(l, &s));
    }
    CHECK_EQ(1, weft_write(p.a, "2", 1));
    CHECK_EQ(1, weft_read(p.b, &byte, 1));
    CHECK_EQ('2', byte);

    /* By losing a select. */
    read = weft_read_future(p.b, &byte, 1);
    accept = weft_accept_future(l, &s);
    soon = weft_sleep_future(WEFT_US(100));
    CHECK_EQ(2, weft_select(&read, &accept, &soon));
    CHECK_EQ(1, weft_write(p.a, "3", 1));
    CHECK_EQ(1, weft_read(p.b, &byte, 1));
    CHECK_EQ('3', byte);
    CHECK_EQ(0, weft_tcp_connect(&peer, &where, NULL));
    CHECK_EQ(0, weft_accept(l, &s));
    CHECK_EQ(0, weft_close(peer));
    CHECK_EQ(0, weft_close(s));
    CHECK_EQ(0, weft_listener_close(l));
    pair_close(p);
    return 0;
}

TEST(what_comes_after_giving_up_is_still_there)
{
    test_run(give_up_then_arrive, NULL);
}

END_TEST

struct hasty {
    weft_stream *s;
    uint64_t chance;
    uint32_t count;
};

/* Numbers in sequence, each write given up again and again at a random moment. */
static int hasty_write(void *arg)
{
    struct hasty *h = arg;
    unsigned char bytes[4096];
    uint32_t sent = 0;

    while (sent < h->count) {
        size_t n = 1 + test_rand(&h->chance) % sizeof(bytes);
        weft_future f;
        ssize_t moved;

        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)((sent + i) * 167 >> 3);
        f = weft_write_future(h->s, bytes, n < h->count - sent ? n : h->count - sent);
        moved = weft_timeout(WEFT_NS(test_rand(&h->chance) % 60000), &f);
        CHECK(moved > 0 || moved == -ETIMEDOUT);
        if (moved > 0)
            sent += (uint32_t)moved;
    }
    return 0;
}

static int hasty_read(void *arg)
{
    struct hasty *h = arg;
    unsigned char bytes[4096];
    uint32_t got = 0;

    while (got < h->count) {
        weft_future f = weft_read_future(h->s, bytes, 1 + test_rand(&h->chance) % sizeof(bytes));
        ssize_t n = weft_timeout(WEFT_NS(test_rand(&h->chance) % 60000), &f);

        CHECK(n > 0 || n == -ETIMEDOUT);
        for (ssize_t i = 0; i < n; i++, got++)
            CHECK_EQ((unsigned char)(got * 167 >> 3), bytes[i]);
    }
    return 0;
}

static int haste(void *unused)
{
    uint32_t count = (uint32_t)test_scaled(1 << 20);
    struct pair p = pair_local();
    struct hasty out = {p.a, test_seed(), count}, in = {p.b, test_seed() + 1, count};
    weft_task *writer, *reader;

    (void)unused;
    CHECK_EQ(0, weft_stream_set_send_buffer(p.a, 8192)); /* so that writes wait too */
    writer = weft_spawn(hasty_write, &out);
    reader = weft_spawn(hasty_read, &in);
    CHECK_EQ(0, join(writer));
    CHECK_EQ(0, join(reader));
    pair_close(p);
    return 0;
}

TEST(reads_and_writes_given_up_at_random_lose_no_byte)
{
    test_run(haste, NULL);
}

END_TEST

struct hasty_accept {
    weft_listener *l;
    atomic_uint *left;
    atomic_uint *seen;
    uint64_t chance;
};

static int accept_hastily(void *arg)
{
    struct hasty_accept *h = arg;

    while (atomic_load(h->left) > 0) {
        weft_stream *s = NULL;
        weft_future f = weft_accept_future(h->l, &s);
        ssize_t rc = weft_timeout(WEFT_NS(test_rand(&h->chance) % 50000), &f);
        uint32_t id;

        CHECK(rc == 0 || rc == -ETIMEDOUT);
        if (rc < 0)
            continue;
        CHECK_EQ(4, weft_read_exact(s, &id, 4));
        CHECK_EQ(0, atomic_fetch_add(&h->seen[id], 1));
        atomic_fetch_sub(h->left, 1);
        CHECK_EQ(0, weft_close(s));
    }
    return 0;
}

static int connect_hastily(void *arg)
{
    const struct hasty_accept *h = arg;
    uint64_t chance = h->chance + 1;
    uint32_t count = atomic_load(h->left);
    weft_addr where;

    CHECK_EQ(0, weft_listener_addr(h->l, &where));
    for (uint32_t id = 0; id < count; id++) {
        weft_stream *s = NULL;
        char byte;

        CHECK_EQ(0, weft_tcp_connect(&s, &where, NULL));
        CHECK_EQ(4, weft_write_all(s, &id, 4));
        if (test_rand(&chance) % 4 == 0)
            CHECK_EQ(0, weft_read(s, &byte, 1)); /* until it is closed */
        CHECK_EQ(0, weft_close(s));
    }
    return 0;
}

static int hasty_accepts(void *unused)
{
    enum { ACCEPTORS = 6, CONNECTIONS = 300 };

    static atomic_uint seen[CONNECTIONS];
    atomic_uint left = (unsigned)test_scaled(CONNECTIONS);
    weft_addr where;
    weft_listener *l = listen_any(&where);
    struct hasty_accept h[ACCEPTORS + 1];
    weft_task *tasks[ACCEPTORS + 1];

    (void)unused;
    memset(seen, 0, sizeof(seen));
    for (unsigned i = 0; i <= ACCEPTORS; i++) {
        h[i] = (struct hasty_accept){l, &left, seen, test_seed() + i};
        tasks[i] = weft_spawn(i < ACCEPTORS ? accept_hastily : connect_hastily, &h[i]);
    }
    for (unsigned i = 0; i <= ACCEPTORS; i++)
        CHECK_EQ(0, join(tasks[i]));
    CHECK_EQ(0, weft_listener_close(l));
    return 0;
}

TEST(accepts_given_up_at_random_lose_no_connection)
{
    test_run(hasty_accepts, NULL);
}

END_TEST

static unsigned open_descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static int hasty_connects(void *unused)
{
    uint64_t chance = test_seed();
    unsigned before = open_descriptors();
    weft_addr where, full_at;
    weft_listener *l, *full;
    weft_stream *s = NULL, *held[8];
    size_t n = 0;

    (void)unused;
    l = listen_any(&where);
    for (uint64_t i = 0; i < test_scaled(200); i++) {
        weft_future f = weft_tcp_connect_future(&s, &where, NULL), now = weft_ready_future(0);
        ssize_t rc;

        if (i % 2) {
            rc = weft_timeout(WEFT_NS(test_rand(&chance) % 30000), &f);
        } else {
            rc = weft_select_biased(&f, &now);
            rc = rc == 0 ? f.result : -ETIMEDOUT;
        }
        CHECK(rc == 0 || rc == -ETIMEDOUT);
        if (rc == 0) {
            CHECK_EQ(0, weft_stream_set_linger(s, 0));
            CHECK_EQ(0, weft_close(s));
        }
    }
    CHECK_EQ(0, weft_listener_close(l));

    /* Where the kernel drops the request, connecting takes long and is given up. */
    CHECK_EQ(0, weft_listen(&full, "127.0.0.1:0", &(weft_listen_options){.backlog = 1}));
    CHECK_EQ(0, weft_listener_addr(full, &full_at));
    while (n < 8) {
        weft_future f = weft_tcp_connect_future(&held[n], &full_at, NULL);
        ssize_t rc = weft_timeout(WEFT_MS(20), &f);

        if (rc == -ETIMEDOUT)
            break;
        CHECK_EQ(0, rc);
        n++;
    }
    CHECK(n < 8);
    while (n-- > 0)
        CHECK_EQ(0, weft_close(held[n]));
    CHECK_EQ(0, weft_listener_close(full));
    CHECK_EQ(before, open_descriptors());
    return 0;
}

TEST(a_connect_given_up_leaves_nothing_open)
{
    test_run(hasty_connects, NULL);
}

END_TEST

/* --- descriptors that come and go --------------------------------------------------- */

struct churn {
    uint64_t chance;
    uint64_t rounds;
};

static struct pair churn_pair(uint64_t *chance)
{
    struct pair p;

    if (test_rand(chance) % 4)
        return pair_local();
    p = pair_new();
    CHECK_EQ(0, weft_stream_set_linger(p.a, 0)); /* leaves no port behind */
    return p;
}

/* A reader waits while its stream, or the peer's, goes away in one of several ways. The numbers are
 * taken by the next round at once: whoever gets a byte, an end or an error that is not its own fails. */
static int churn(void *arg)
{
    struct churn *c = arg;

    for (uint64_t i = 0; i < c->rounds; i++) {
        struct pair p = churn_pair(&c->chance);
        unsigned char token = (unsigned char)(1 + test_rand(&c->chance) % 255);
        weft_task *reader = weft_spawn(read_byte, p.b);
        int rc;

        if (test_rand(&c->chance) % 2)
            CHECK_EQ(0, weft_yield());
        switch (test_rand(&c->chance) % 5) {
        case 0:
            CHECK_EQ(1, weft_write(p.a, &token, 1));
            CHECK_EQ(token, join(reader));
            pair_close(p);
            break;
        case 1:
            CHECK_EQ(0, weft_close(p.a));
            rc = join(reader);
            CHECK(rc == 0 || rc == -ECONNRESET);
            CHECK_EQ(0, weft_close(p.b));
            break;
        case 2:
            weft_cancel(reader);
            rc = join(reader);
            CHECK_EQ(-ECANCELED, rc);
            pair_close(p);
            break;
        case 3:
            weft_stream_abort(p.b);
            CHECK_EQ(-ESHUTDOWN, join(reader));
            pair_close(p);
            break;
        default:
            until_it_waits(reader, 1); /* closing is its owner's business once it reads */
            CHECK_EQ(1, weft_write(p.a, &token, 1));
            CHECK_EQ(0, weft_close(p.b));
            rc = join(reader);
            CHECK(rc == token || rc == -ESHUTDOWN);
            CHECK_EQ(0, weft_close(p.a));
            break;
        }
    }
    return 0;
}

static int churn_all(void *unused)
{
    enum { TASKS = 8 };
    struct churn c[TASKS];
    weft_task *tasks[TASKS];

    (void)unused;
    for (unsigned i = 0; i < TASKS; i++) {
        c[i] = (struct churn){test_seed() + i, test_scaled(250)};
        tasks[i] = weft_spawn(churn, &c[i]);
    }
    for (unsigned i = 0; i < TASKS; i++)
        CHECK_EQ(0, join(tasks[i]));
    return 0;
}

TEST(a_reused_descriptor_gets_no_old_event)
{
    test_run(churn_all, NULL);
}

END_TEST

/* --- limits of the process ------------------------------------------------------------ */

static int plain_connect(const weft_addr *where)
{
    int fd = socket(where->u.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, &where->u.any, where->size) == 0)
        return fd;
    perror("plain_connect");
    _exit(1);
}

/* A process with a plain client: fn in the child; the parent gets its id. */
static pid_t fork_client(void fn(const weft_addr *where, size_t count), const weft_addr *where,
                         size_t count)
{
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid > 0)
        return pid;
    (void)alarm(25 * test_slow());
    fn(where, count);
    _exit(0);
}

static void client_finish(pid_t pid)
{
    int status = -1;

    CHECK_EQ(pid, waitpid(pid, &status, 0));
    CHECK_EQ(0, status);
}

/* Connect often, send a byte on each, and wait for the answer to each. */
static void client_many(const weft_addr *where, size_t count)
{
    struct linger hard = {1, 0};
    int *fds = calloc(count, sizeof(int));
    char byte = 'x';

    for (size_t i = 0; i < count; i++) {
        fds[i] = plain_connect(where);
        if (setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)) != 0)
            _exit(2);
    }
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < count; i++)
            if (send(fds[i], &byte, 1, MSG_NOSIGNAL) != 1)
                _exit(3);
        for (size_t i = 0; i < count; i++)
            if (recv(fds[i], &byte, 1, 0) != 1)
                _exit(4);
    }
    free(fds);
}

static uint64_t cpu_ns(void)
{
    struct rusage u;

    CHECK_EQ(0, getrusage(RUSAGE_SELF, &u));
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000u;
}

static int echo(void *stream)
{
    char buffer[512];
    ssize_t n;

    while ((n = weft_read(stream, buffer, sizeof(buffer))) > 0)
        if (weft_write_all(stream, buffer, (size_t)n) < 0)
            break;
    return weft_close(stream);
}

static int shortage(void *listener)
{
    enum { CLIENTS = 40 };

    weft_stream *held[CLIENTS] = {NULL}, *s;
    weft_task *echoes[CLIENTS];
    weft_addr where;
    size_t n = 0, served = 0;
    uint64_t cpu;
    int rc = 0;

    CHECK_EQ(0, weft_listener_addr(listener, &where));
    for (;;) {
        WEFT_DEADLINE(WEFT_MS(100))
        rc = weft_accept(listener, &held[n]);
        if (rc < 0)
            break;
        n++;
    }
    CHECK_EQ(-ETIMEDOUT, rc);
    CHECK(n > 0 && n < CLIENTS);
    CHECK_EQ(-EMFILE, weft_tcp_connect(&s, &where, NULL));

    cpu = cpu_ns();
    WEFT_DEADLINE(WEFT_MS(300))
    rc = weft_accept(listener, &s);
    CHECK_EQ(-ETIMEDOUT, rc);
    cpu = cpu_ns() - cpu;
    (void)fprintf(stderr, "%zu connections held; waiting 300 ms for more took %llu us of CPU\n", n,
                  (unsigned long long)cpu / 1000);
    CHECK(cpu < 20000000ull * test_slow());

    /* As places become free, the others are served. */
    while (n > 0)
        echoes[served++] = weft_spawn(echo, held[--n]);
    while (served < CLIENTS) {
        WEFT_DEADLINE(WEFT_SECS(20))
        rc = weft_accept(listener, &s);
        CHECK_EQ(0, rc);
        echoes[served++] = weft_spawn(echo, s);
    }
    for (size_t i = 0; i < served; i++)
        CHECK_EQ(0, join(echoes[i]));
    return 0;
}

/* Three rounds for one at a time: connections end, so that those behind them have room. */
static void client_in_turn(const weft_addr *where, size_t count)
{
    int *fds = calloc(count, sizeof(int));
    char byte = 'x';

    for (size_t i = 0; i < count; i++)
        fds[i] = plain_connect(where);
    for (size_t i = 0; i < count; i++) {
        if (send(fds[i], &byte, 1, MSG_NOSIGNAL) != 1 || recv(fds[i], &byte, 1, 0) != 1)
            _exit(3);
        (void)close(fds[i]);
    }
    free(fds);
}

static void check_shortage(const struct test_flavour *flavour)
{
    struct rlimit before, low;
    weft_listener *l;
    weft_runtime *rt;
    weft_addr where;
    int result = -1;
    pid_t client;

    l = listen_any(&where);
    client = fork_client(client_in_turn, &where, 40);
    rt = test_runtime_new(flavour);
    CHECK_EQ(0, getrlimit(RLIMIT_NOFILE, &before));
    low = before;
    low.rlim_cur = open_descriptors() + 12;
    CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &low));
    CHECK_EQ(0, weft_block_on(rt, shortage, l, &result));
    CHECK_EQ(0, result);
    CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &before));
    CHECK_EQ(0, weft_listener_close(l));
    test_runtime_free(rt);
    client_finish(client);
}

TEST(accept_outlasts_a_shortage_of_descriptors)
{
    if (ON_VALGRIND)
        TEST_SKIP("Valgrind has its own limit of descriptors");
    check_shortage(&two_workers);
    check_shortage(&current_thread);
}

END_TEST

static int serve_many(void *arg)
{
    const size_t count = *(const size_t *)arg;
    weft_task **tasks = calloc(count, sizeof(weft_task *));
    weft_task_options small = {.stack_size = 16 << 10};
    weft_addr where;
    weft_listener *l = listen_any(&where);
    weft_instant from = weft_now();
    weft_metrics m;
    pid_t client = fork_client(client_many, &where, count);
    struct rusage u;

    for (size_t i = 0; i < count; i++) {
        weft_stream *s;

        CHECK_EQ(0, weft_accept(l, &s));
        tasks[i] = weft_spawn_with(&small, echo, s);
    }
    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    for (size_t i = 0; i < count; i++)
        CHECK_EQ(0, join(tasks[i]));
    CHECK_EQ(0, getrusage(RUSAGE_SELF, &u));
    (void)fprintf(stderr, "%zu connections, 3 rounds: %llu ms, at most %ld KiB resident\n", count,
                  (unsigned long long)(weft_now() - from) / 1000000, u.ru_maxrss);
    client_finish(client);
    CHECK(m.spawned >= count);
    free(tasks);
    return weft_listener_close(l);
}

TEST(one_server_holds_ten_thousand_connections)
{
    size_t count = test_scaled(10000);
    struct rlimit limit;

    CHECK_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
    if (limit.rlim_max < count + 300)
        TEST_SKIP("the hard limit of open files (ulimit -Hn) is too low");
    if (limit.rlim_cur < count + 300) {
        limit.rlim_cur = count + 300;
        CHECK_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
    }
    test_run_on(&two_workers, serve_many, &count);
    test_run_on(&current_thread, serve_many, &count);
}

END_TEST

/* --- a busy worker's socket --------------------------------------------------------------------- */

#define HOG_NS   WEFT_MS(3)
#define HOG_WANT 40

struct hogged {
    weft_stream *s;
    atomic_int peer;
    atomic_uint round; /* moves when the worker begins to compute */
    _Atomic(weft_instant) wrote, read;
    atomic_int home; /* the thread on which the reader first waited */
    atomic_bool over;
};

static void *hogged_writer(void *arg)
{
    struct hogged *h = arg;

    for (unsigned seen = 0; !atomic_load(&h->over);) {
        unsigned round = atomic_load(&h->round);
        weft_instant now;

        if (round == seen) {
            (void)nanosleep(&(struct timespec){0, 50000}, NULL);
            continue;
        }
        seen = round;
        (void)nanosleep(&(struct timespec){0, 700000}, NULL);
        now = weft_now();
        CHECK_EQ(1, write(atomic_load(&h->peer), "x", 1));
        atomic_store(&h->wrote, now);
    }
    return NULL;
}

static int hogged_reader(void *arg)
{
    struct hogged *h = arg;
    char byte;

    atomic_store(&h->home, gettid());
    CHECK_EQ(1, weft_read(h->s, &byte, 1));
    atomic_store(&h->read, weft_now());
    return 0;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Rounds in which this task, about to compute, runs where the reader's socket lives. */
static int hog(void *unused)
{
    struct hogged h = {.peer = -1};
    uint64_t late[HOG_WANT];
    pthread_t writer;
    unsigned n = 0;

    (void)unused;
    CHECK_EQ(0, pthread_create(&writer, NULL, hogged_writer, &h));
    for (unsigned round = 0; n < HOG_WANT && round < 50 * HOG_WANT; round++) {
        weft_task *reader;
        int fds[2];

        CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
        CHECK_EQ(0, weft_stream_from_fd(&h.s, fds[0]));
        atomic_store(&h.peer, fds[1]);
        reader = spawn_waiting(hogged_reader, &h);
        if (atomic_load(&h.home) != gettid()) {
            CHECK_EQ(1, write(fds[1], "x", 1));
        } else {
            CHECK_EQ(0, weft_sleep(WEFT_US(300))); /* the other worker falls asleep */
        }
        if (atomic_load(&h.home) == gettid() && !weft_is_finished(reader)) {
            weft_instant until = WEFT_FOREVER;

            atomic_store(&h.wrote, 0);
            atomic_fetch_add(&h.round, 1);
            while (weft_now() < until)
                if (until == WEFT_FOREVER && atomic_load(&h.wrote))
                    until = atomic_load(&h.wrote) + HOG_NS;
            CHECK_EQ(0, join(reader));
            late[n++] = atomic_load(&h.read) - atomic_load(&h.wrote);
        } else {
            if (!weft_is_finished(reader))
                CHECK_EQ(1, write(fds[1], "x", 1));
            CHECK_EQ(0, join(reader));
        }
        CHECK_EQ(0, weft_close(h.s));
        CHECK_EQ(0, close(fds[1]));
    }
    atomic_store(&h.over, true);
    CHECK_EQ(0, pthread_join(writer, NULL));
    if (n < HOG_WANT / 4) {
        test_say("skipped: too rarely on the socket's own worker");
        return 0;
    }
    qsort(late, n, sizeof(late[0]), by_value);
    (void)fprintf(stderr,
                  "readable while its worker computes: served after %llu us (median of %u), "
                  "at most %llu us\n",
                  (unsigned long long)late[n / 2] / 1000, n,
                  (unsigned long long)late[n - 1] / 1000);
    /* Not served by the other worker it would take 3,000 us. The promise is 200; this many
     * leaves room for a machine that is busy otherwise. An emulator is slower than that. */
    CHECK(test_emulated() || late[n / 2] < WEFT_US(2000) * test_slow());
    return 0;
}

TEST(an_idle_worker_serves_a_busy_workers_socket)
{
    test_run_on(&two_workers, hog, NULL);
}

END_TEST

TEST_MAIN("net_load", large_transfers_arrive_whole_both_ways,
          what_comes_after_giving_up_is_still_there,
          reads_and_writes_given_up_at_random_lose_no_byte,
          accepts_given_up_at_random_lose_no_connection, a_connect_given_up_leaves_nothing_open,
          a_reused_descriptor_gets_no_old_event, accept_outlasts_a_shortage_of_descriptors,
          one_server_holds_ten_thousand_connections, an_idle_worker_serves_a_busy_workers_socket)
