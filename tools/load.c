/* SPDX-License-Identifier: MIT */
/*
 * load.c - a closed-loop load generator for TCP echo servers that verifies every byte.
 *
 * IDEA     Each connection keeps a fixed number of messages in flight: one that comes back is
 *          counted and the next one is sent. So the load adapts to the server, and the figures
 *          are throughput at saturation and the latency that goes with it. It knows nothing of
 *          weft: plain threads and epoll, so that it can drive any server.
 * BYTES    What a connection sends is an endless stream cut into messages: a walk over one
 *          table of PATTERN_PERIOD random bytes from a start that the connection's number
 *          gives. The period is prime, so message n differs from message n + 1 at every size in
 *          use; a byte lost, doubled, swapped or sent to the wrong connection is seen at
 *          once, by a comparison with the table.
 * PHASES   CONNECT  in waves of at most WAVE, each connection answered once before the next wave
 *                   begins: no backlog is overrun, and the server has served them all
 *          WARM     full load, not measured
 *          MEASURE  full load, measured
 *          DRAIN    nothing new is sent; all that is in flight must come back
 *          CLOSE    our side is shut down; the server must close its own, without a byte more
 *          The main thread sets the phase; a worker acts on what it read last.
 * WHO      A connection, an epoll set and a histogram belong to one worker thread. Shared are
 *          the options and the pattern (constant), the phase and the counter of errors (atomic).
 */
#include "histogram.h"
#include "process.h"
#include "report.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SEC     1000000000ull
#define WAVE           100 /* connections that connect at a time; the least backlog in use is 128 */
#define STALL_SECONDS  10  /* a phase that ought to end by itself may last so long */
#define EVENTS         512
#define CHUNK          (256u << 10) /* bytes given to or taken from the kernel at a time */
#define PATTERN_PERIOD 65521u       /* a prime */
#define ERRORS_SHOWN   5

/* --- options and what is shared --------------------------------------------- */

struct options {
    const char *target; /* HOST:PORT */
    unsigned connections;
    unsigned in_flight; /* messages per connection */
    unsigned threads;
    size_t size; /* of a message */
    double seconds, warm_up;
    pid_t server; /* 0: unknown */

    enum report_form form;
    struct sockaddr_storage address;
    socklen_t address_size;
};

enum phase { PHASE_CONNECT, PHASE_WARM, PHASE_MEASURE, PHASE_DRAIN };

static struct options options =
    {.connections = 50, .in_flight = 1, .threads = 1, .size = 64, .seconds = 5, .warm_up = 1};
static unsigned char pattern[PATTERN_PERIOD + CHUNK];
static _Atomic enum phase phase_now;
static atomic_ullong error_count;
static atomic_uint open_count; /* connections of all workers */
static pthread_barrier_t barrier;

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static _Noreturn void die(const char *what, int error)
{
    (void)fprintf(stderr, "weft-load: %s: %s\n", what, strerror(error));
    exit(1);
}

static void *allocate(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);

    if (!p)
        die("memory", ENOMEM);
    return p;
}

static void pattern_fill(void)
{
    uint64_t x = 0x9e3779b97f4a7c15ull;

    for (size_t i = 0; i < PATTERN_PERIOD; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        pattern[i] = (unsigned char)(x >> 24);
    }
    /* A run that begins anywhere in the period goes on for a whole chunk. */
    for (size_t i = PATTERN_PERIOD; i < sizeof(pattern); i++)
        pattern[i] = pattern[i - PATTERN_PERIOD];
}

/* --- connections ------------------------------------------------------------ */

enum conn_state {
    CONN_CONNECTING, /* connect(2) is under way */
    CONN_OPEN,       /* messages flow */
    CONN_CLOSING,    /* our side is shut down; only the end may come */
    CONN_CLOSED      /* no descriptor; ended well or counted as an error */
};

struct conn {
    int fd;
    unsigned number;
    enum conn_state state;
    unsigned in_flight;           /* messages begun and not yet back */
    uint32_t send_at, receive_at; /* places in the pattern */
    size_t owed;                  /* bytes of begun messages that the kernel did not take yet */
    size_t unanswered;            /* bytes that it took and that have not come back */
    size_t partial;               /* bytes of the next message that have come back */
    uint64_t *begun;              /* ring of in_flight times */
    unsigned begun_head, begun_tail;
};

struct worker {
    pthread_t thread;
    struct conn *conns;
    unsigned conn_count;
    int epfd;
    uint64_t waiting; /* messages in flight, and connections that close */
    enum phase phase; /* as last read */
    unsigned char *buffer;
    struct histogram latency; /* of messages that came back in PHASE_MEASURE */
};

static void conn_close(struct conn *c)
{
    (void)close(c->fd);
    c->state = CONN_CLOSED;
    atomic_fetch_sub_explicit(&open_count, 1, memory_order_relaxed);
}

/* An error ends its connection: what it still had in flight will not come back. */
static void conn_fail(struct worker *w, struct conn *c, const char *what, int error)
{
    unsigned long long n = atomic_fetch_add_explicit(&error_count, 1, memory_order_relaxed);

    if (n < ERRORS_SHOWN)
        (void)fprintf(stderr, "weft-load: connection %u: %s%s%s\n", c->number, what,
                      error ? ": " : "", error ? strerror(error) : "");
    w->waiting -= c->in_flight + (c->state == CONN_CLOSING);
    c->in_flight = 0;
    conn_close(c);
}

static void conn_push(struct worker *w, struct conn *c)
{
    while (c->owed > 0) {
        size_t n = c->owed < CHUNK ? c->owed : CHUNK;
        ssize_t sent = send(c->fd, pattern + c->send_at, n, MSG_NOSIGNAL);

        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0) {
            conn_fail(w, c, "send", errno);
            return;
        }
        c->owed -= (size_t)sent;
        c->unanswered += (size_t)sent;
        c->send_at = (uint32_t)((c->send_at + (size_t)sent) % PATTERN_PERIOD);
    }
}

static void conn_begin(struct worker *w, struct conn *c, unsigned count, uint64_t now)
{
    for (unsigned i = 0; i < count; i++) {
        c->begun[c->begun_head] = now;
        c->begun_head = c->begun_head + 1 == options.in_flight ? 0 : c->begun_head + 1;
    }
    c->in_flight += count;
    w->waiting += count;
    c->owed += count * options.size;
    conn_push(w, c);
}

/* So many messages are back: account for them and, under load, send as many again. */
static void conn_answered(struct worker *w, struct conn *c, unsigned count)
{
    uint64_t now = now_ns();

    for (unsigned i = 0; i < count; i++) {
        if (w->phase == PHASE_MEASURE)
            hist_add(&w->latency, now - c->begun[c->begun_tail]);
        c->begun_tail = c->begun_tail + 1 == options.in_flight ? 0 : c->begun_tail + 1;
    }
    c->in_flight -= count;
    w->waiting -= count;
    if (w->phase == PHASE_WARM || w->phase == PHASE_MEASURE)
        conn_begin(w, c, count, now);
}

static void conn_take(struct worker *w, struct conn *c, size_t n)
{
    size_t messages;

    if (n > c->unanswered) {
        conn_fail(w, c, "more came back than was sent", 0);
        return;
    }
    if (memcmp(w->buffer, pattern + c->receive_at, n) != 0) {
        conn_fail(w, c, "other bytes came back than were sent", 0);
        return;
    }
    c->unanswered -= n;
    c->receive_at = (uint32_t)((c->receive_at + n) % PATTERN_PERIOD);
    c->partial += n;
    messages = c->partial / options.size;
    c->partial -= messages * options.size;
    if (messages > 0)
        conn_answered(w, c, (unsigned)messages);
}

static void conn_receive(struct worker *w, struct conn *c, bool ended)
{
    size_t room = CHUNK;

    /* Edge-triggered: read until the kernel has no more. A short read says so, unless the
     * end of the stream is waiting behind it. */
    while ((room == CHUNK || ended) && c->state != CONN_CLOSED) {
        ssize_t n = recv(c->fd, w->buffer, CHUNK, 0);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            conn_fail(w, c, "recv", errno);
        } else if (n > 0) {
            room = (size_t)n;
            conn_take(w, c, (size_t)n);
        } else if (c->state == CONN_CLOSING) {
            w->waiting--;
            conn_close(c);
        } else {
            conn_fail(w, c, "the server closed the connection", 0);
        }
    }
}

static void conn_connected(struct worker *w, struct conn *c)
{
    socklen_t size = sizeof(int);
    int error = 0, one = 1;

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (error) {
        conn_fail(w, c, "connect", error);
        return;
    }
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->state = CONN_OPEN;
    w->waiting--; /* for the connect; the message that follows counts itself */
    c->in_flight--;
    conn_begin(w, c, 1, now_ns());
}

static void conn_open(struct worker *w, struct conn *c)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};

    c->begun = allocate(options.in_flight, sizeof(*c->begun));
    c->send_at = c->receive_at = (uint32_t)(c->number * 2654435761ull % PATTERN_PERIOD);
    c->fd = socket(options.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket", errno);
    c->state = CONN_CONNECTING;
    atomic_fetch_add_explicit(&open_count, 1, memory_order_relaxed);
    c->in_flight = 1;
    w->waiting++;
    if (connect(c->fd, (const struct sockaddr *)&options.address, options.address_size) < 0 &&
        errno != EINPROGRESS)
        conn_fail(w, c, "connect", errno);
    else if (epoll_ctl(w->epfd, EPOLL_CTL_ADD, c->fd, &e) < 0)
        die("epoll_ctl", errno);
}

/* --- workers ---------------------------------------------------------------- */

/* Wait for events and handle them. */
static void worker_turn(struct worker *w)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(w->epfd, events, EVENTS, 50);

    if (n < 0 && errno != EINTR)
        die("epoll_wait", errno);
    w->phase = atomic_load_explicit(&phase_now, memory_order_relaxed);
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;

        if (c->state == CONN_CONNECTING)
            conn_connected(w, c);
        if (c->state != CONN_CLOSED && c->owed > 0)
            conn_push(w, c);
        if (c->state != CONN_CLOSED && (events[i].events & ~(uint32_t)EPOLLOUT))
            conn_receive(w, c, events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
    }
}

/* Until nothing is awaited any more; what does not come in time counts as an error. */
static void worker_settle(struct worker *w)
{
    uint64_t end = now_ns() + STALL_SECONDS * NS_PER_SEC;

    while (w->waiting > 0 && now_ns() < end)
        worker_turn(w);
    for (unsigned i = 0; w->waiting > 0 && i < w->conn_count; i++) {
        struct conn *c = &w->conns[i];

        if (c->state != CONN_CLOSED && (c->in_flight > 0 || c->state == CONN_CLOSING))
            conn_fail(w, c, "no answer", ETIMEDOUT);
    }
}

static void worker_connect(struct worker *w)
{
    unsigned wave = WAVE > options.threads ? WAVE / options.threads : 1;

    for (unsigned i = 0; i < w->conn_count; i++) {
        conn_open(w, &w->conns[i]);
        if ((i + 1) % wave == 0 || i + 1 == w->conn_count)
            worker_settle(w);
    }
}

static void worker_begin(struct worker *w)
{
    for (unsigned i = 0; i < w->conn_count; i++)
        if (w->conns[i].state == CONN_OPEN)
            conn_begin(w, &w->conns[i], options.in_flight, now_ns());
}

static void worker_close(struct worker *w)
{
    for (unsigned i = 0; i < w->conn_count; i++) {
        struct conn *c = &w->conns[i];

        if (c->state != CONN_OPEN)
            continue;
        c->state = CONN_CLOSING;
        w->waiting++;
        if (shutdown(c->fd, SHUT_WR) < 0)
            conn_fail(w, c, "shutdown", errno);
    }
    worker_settle(w);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;

    worker_connect(w);
    (void)pthread_barrier_wait(&barrier); /* all are connected */
    (void)pthread_barrier_wait(&barrier); /* the main thread has looked at the server */
    worker_begin(w);
    while (w->phase != PHASE_DRAIN)
        worker_turn(w);
    worker_settle(w);
    worker_close(w);
    return NULL;
}

static struct worker *workers_start(void)
{
    struct worker *workers = allocate(options.threads, sizeof(*workers));
    unsigned number = 0;

    for (unsigned i = 0; i < options.threads; i++) {
        struct worker *w = &workers[i];

        w->conn_count = options.connections / options.threads +
                        (i < options.connections % options.threads);
        w->conns = allocate(w->conn_count, sizeof(*w->conns));
        for (unsigned j = 0; j < w->conn_count; j++)
            w->conns[j] = (struct conn){.fd = -1, .number = number + j, .state = CONN_CLOSED};
        number += w->conn_count;
        w->buffer = allocate(1, CHUNK);
        w->epfd = epoll_create1(EPOLL_CLOEXEC);
        if (w->epfd < 0)
            die("epoll_create1", errno);
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0)
            die("pthread_create", EAGAIN);
    }
    return workers;
}

/* Collects what they measured. */
static void workers_join(struct worker *workers, struct histogram *latency)
{
    for (unsigned i = 0; i < options.threads; i++) {
        struct worker *w = &workers[i];

        (void)pthread_join(w->thread, NULL);
        hist_merge(latency, &w->latency);
        for (unsigned j = 0; j < w->conn_count; j++)
            free(w->conns[j].begun);
        (void)close(w->epfd);
        free(w->conns);
        free(w->buffer);
    }
    free(workers);
}

/* --- the course of a run ---------------------------------------------------- */

/* Sleeps so long, or until no connection is left. */
static void wait_seconds(double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * (double)NS_PER_SEC), now;

    while ((now = now_ns()) < end && atomic_load_explicit(&open_count, memory_order_relaxed) > 0) {
        uint64_t left = end - now < NS_PER_SEC / 10 ? end - now : NS_PER_SEC / 10;
        struct timespec t = {.tv_nsec = (long)left};

        (void)nanosleep(&t, NULL);
    }
}

static void set_phase(enum phase phase)
{
    atomic_store_explicit(&phase_now, phase, memory_order_relaxed);
}

static uint64_t own_cpu_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

/* From the moment that all are connected to the end of PHASE_MEASURE: sums, not yet per request. */
static void measure(struct report *r)
{
    uint64_t server, own, start, memory;

    r->memory_peak = process_memory(options.server);
    set_phase(PHASE_WARM);
    (void)pthread_barrier_wait(&barrier);
    wait_seconds(options.warm_up);

    server = process_cpu_ns(options.server);
    own = own_cpu_ns();
    start = now_ns();
    set_phase(PHASE_MEASURE);
    wait_seconds(options.seconds);
    r->seconds = (double)(now_ns() - start) / NS_PER_SEC;
    r->server_cpu = (double)process_cpu_ns(options.server) - (double)server;
    r->load_cpu = (double)(own_cpu_ns() - own);

    memory = process_memory(options.server);
    if (memory > r->memory_peak)
        r->memory_peak = memory;
    set_phase(PHASE_DRAIN);
}

static void report_fill(struct report *r, const struct histogram *latency)
{
    double requests = latency->count ? (double)latency->count : 1;

    r->target = options.target;
    r->connections = options.connections;
    r->in_flight = options.in_flight;
    r->threads = options.threads;
    r->size = options.size;
    r->requests = latency->count;
    r->errors = atomic_load_explicit(&error_count, memory_order_relaxed);
    r->rate = (double)r->requests / r->seconds;
    r->p50 = (double)hist_quantile(latency, 0.5);
    r->p99 = (double)hist_quantile(latency, 0.99);
    r->p999 = (double)hist_quantile(latency, 0.999);
    r->max = (double)latency->max;
    r->server_share = r->server_cpu / (r->seconds * NS_PER_SEC);
    r->load_share = r->load_cpu / (r->seconds * NS_PER_SEC);
    r->server_cpu /= requests;
    r->load_cpu /= requests;
    if (r->memory_peak > r->memory_before)
        r->memory_each = (double)(r->memory_peak - r->memory_before) / options.connections;
}

static void run(struct report *r)
{
    struct histogram *latency = allocate(1, sizeof(*latency));
    struct worker *workers;

    if (pthread_barrier_init(&barrier, NULL, options.threads + 1) != 0)
        die("pthread_barrier_init", ENOMEM);
    r->memory_before = process_memory(options.server);
    workers = workers_start();
    (void)pthread_barrier_wait(&barrier);
    measure(r);
    workers_join(workers, latency);
    report_fill(r, latency);
    free(latency);
}

/* --- set-up ----------------------------------------------------------------- */

static _Noreturn void usage(void)
{
    (void)fprintf(
        stderr, "usage: weft-load [OPTION...] HOST:PORT\n"
                "  -c N    connections (50)\n"
                "  -s N    bytes in a message (64)\n"
                "  -k N    messages in flight on each connection (1)\n"
                "  -d S    seconds that are measured (5)\n"
                "  -w S    seconds of load before that (1)\n"
                "  -t N    threads (1)\n"
                "  -P PID  the server's process, on this machine: report its CPU time and memory\n"
                "  -l      report as lines of \"key value unit\"\n"
                "  -j      report as one line of JSON\n"
                "Exits with 0 if every byte came back as it was sent, 1 if not, 2 on bad usage.\n");
    exit(2);
}

static double parse_number(const char *text, double min, double max)
{
    char *end;
    double n = strtod(text, &end);

    if (end == text || *end != '\0' || !(n >= min && n <= max)) {
        (void)fprintf(stderr, "weft-load: '%s' is not a number from %g to %g\n", text, min, max);
        exit(2);
    }
    return n;
}

static void parse_target(const char *text)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    const char *colon = strrchr(text, ':');
    char host[256];
    size_t length;
    int rc;

    if (!colon || (size_t)(colon - text) >= sizeof(host))
        usage();
    length = (size_t)(colon - text);
    if (length >= 2 && text[0] == '[' && colon[-1] == ']') {
        text++;
        length -= 2;
    }
    memcpy(host, text, length);
    host[length] = '\0';
    rc = getaddrinfo(length ? host : NULL, colon + 1, &hints, &found);
    if (rc != 0) {
        (void)fprintf(stderr, "weft-load: %s: %s\n", options.target, gai_strerror(rc));
        exit(2);
    }
    memcpy(&options.address, found->ai_addr, found->ai_addrlen);
    options.address_size = found->ai_addrlen;
    freeaddrinfo(found);
}

static void parse_options(int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "c:s:k:d:w:t:P:lj")) != -1) {
        switch (option) {
        case 'c':
            options.connections = (unsigned)parse_number(optarg, 1, 1e6);
            break;
        case 's':
            options.size = (size_t)parse_number(optarg, 1, 1 << 26);
            break;
        case 'k':
            options.in_flight = (unsigned)parse_number(optarg, 1, 65536);
            break;
        case 'd':
            options.seconds = parse_number(optarg, 0.01, 86400);
            break;
        case 'w':
            options.warm_up = parse_number(optarg, 0, 86400);
            break;
        case 't':
            options.threads = (unsigned)parse_number(optarg, 1, 256);
            break;
        case 'P':
            options.server = (pid_t)parse_number(optarg, 1, INT32_MAX);
            break;
        case 'l':
            options.form = REPORT_LINES;
            break;
        case 'j':
            options.form = REPORT_JSON;
            break;
        default:
            usage();
        }
    }
    if (optind + 1 != argc)
        usage();
    options.target = argv[optind];
    if (options.threads > options.connections)
        options.threads = options.connections;
    parse_target(options.target);
}

/* One descriptor per connection, and some for ourselves. */
static void raise_descriptor_limit(void)
{
    rlim_t need = (rlim_t)options.connections + options.threads + 64;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
        return;
    limit.rlim_cur = need;
    if (limit.rlim_max < need)
        limit.rlim_max = need;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
        (void)fprintf(stderr,
                      "weft-load: %u connections need %llu descriptors; raise the limit "
                      "(ulimit -n)\n",
                      options.connections, (unsigned long long)need);
        exit(1);
    }
}

/* A server that was started a moment ago may not listen yet. */
static void wait_for_server(void)
{
    uint64_t end = now_ns() + 2 * NS_PER_SEC;
    struct timespec pause = {.tv_nsec = 20000000};
    int rc, fd;

    do {
        fd = socket(options.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            die("socket", errno);
        rc = connect(fd, (const struct sockaddr *)&options.address, options.address_size);
        if (rc < 0)
            rc = -errno;
        (void)close(fd);
        if (rc == -ECONNREFUSED)
            (void)nanosleep(&pause, NULL);
    } while (rc == -ECONNREFUSED && now_ns() < end);
    if (rc < 0)
        die(options.target, -rc);
}

int main(int argc, char **argv)
{
    struct report r = {0};

    parse_options(argc, argv);
    raise_descriptor_limit();
    pattern_fill();
    wait_for_server();
    run(&r);
    report_print(&r, options.form);
    if (r.requests == 0)
        (void)fprintf(stderr, "weft-load: nothing came back while it was measured\n");
    return r.errors == 0 && r.requests > 0 ? 0 : 1;
}
