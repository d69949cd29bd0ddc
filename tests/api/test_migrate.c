/* SPDX-License-Identifier: MIT */
/*
 * test_migrate.c - in a build with WEFT_MIGRATE, each await that waits goes on on another thread.
 *
 * IDEA     A hook sees every poll of every task, and claims that it is on another thread than the
 *          task's last one. So nothing that a test does escapes it. The tasks themselves look at their
 *          thread before and after, for each thing that can be waited for, and count how often
 *          they really waited.
 */
#include "net.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define TASKS 131072 /* ids are given in blocks of 4096 to each thread */
#define LAPS  200

static const struct test_flavour flavours[] = {
    {"2 workers", WEFT_MULTI_THREAD, 2},
    {"3 workers", WEFT_MULTI_THREAD, 3},
    {"8 workers", WEFT_MULTI_THREAD, 8},
};

/* By task id: written by the hook alone, whose calls for one task follow each other. */
static struct trace {
    atomic_int thread; /* of the last poll */
    atomic_uint polls;
} traces[TASKS];

static struct trace *trace_of(const weft_task *t)
{
    uint64_t id = weft_task_id(t);

    CHECK(id < TASKS);
    return &traces[id];
}

static void hook_poll(void *user, const weft_task *t)
{
    struct trace *trace = trace_of(t);

    (void)user;
    CHECK(atomic_load(&trace->thread) != gettid());
    atomic_store(&trace->thread, gettid());
    atomic_fetch_add(&trace->polls, 1);
}

static weft_runtime *new_monitored(const struct test_flavour *flavour, weft_switch monitor)
{
    weft_config config = {
        .monitor = monitor,
        .flavor = flavour->flavor,
        .worker_threads = flavour->workers,
        .ignore_env = WEFT_ON,
        .on_task_poll_start = hook_poll,
    };
    weft_runtime *rt = NULL;

    test_watchdog(20);
    CHECK_EQ(0, weft_runtime_new(&rt, &config));
    return rt;
}

static weft_runtime *new_runtime(const struct test_flavour *flavour)
{
    return new_monitored(flavour, WEFT_DEFAULT);
}

static void run(weft_fn *fn)
{
    for (size_t i = 0; i < sizeof(flavours) / sizeof(flavours[0]); i++) {
        weft_runtime *rt = new_runtime(&flavours[i]);
        int result = -1;

        CHECK_EQ(0, weft_block_on(rt, fn, NULL, &result));
        CHECK_EQ(0, result);
        CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_SECS(10ull * test_slow())));
        weft_runtime_free(rt);
    }
}

/* --- one await, seen from inside -------------------------------------------------------- */

struct leg {
    pid_t thread;
    unsigned polls;
};

static struct leg leg_begin(void)
{
    return (struct leg){gettid(), atomic_load(&trace_of(weft_task_self())->polls)};
}

/* How often it waited. */
static unsigned leg_end(struct leg from)
{
    unsigned waits = atomic_load(&trace_of(weft_task_self())->polls) - from.polls;

    CHECK_EQ(gettid(), atomic_load(&trace_of(weft_task_self())->thread));
    if (waits <= 1)
        CHECK_EQ(waits == 1, gettid() != from.thread);
    return waits;
}

/* What waits, and how often it does so of all times. */
static uint64_t count_moves(void (*wait)(void *))
{
    uint64_t waited = 0;

    for (uint64_t i = 0; i < test_scaled(LAPS); i++) {
        struct leg from = leg_begin();

        wait(NULL);
        waited += leg_end(from) > 0;
    }
    return waited;
}

static void claim_moves(void (*wait)(void *))
{
    CHECK_EQ(test_scaled(LAPS), count_moves(wait));
}

/* What need not wait, if this thread is held up before: its time is over, the other task has ended. */
static void claim_some_moves(void (*wait)(void *))
{
    CHECK(count_moves(wait) > 0);
}

/* --- yields and timers ----------------------------------------------------------------- */

static void wait_yield(void *unused)
{
    (void)unused;
    CHECK_EQ(0, weft_yield());
}

static void wait_yield_future(void *unused)
{
    weft_future f = weft_yield_future();

    (void)unused;
    CHECK_EQ(0, weft_await(&f));
}

/* The budget's end is a yield, too: 128 operations fit in a poll. */
static void wait_budget(void *unused)
{
    (void)unused;
    for (int i = 0; i <= 128; i++)
        CHECK_EQ(0, weft_consume_budget());
}

static void wait_sleep(void *unused)
{
    (void)unused;
    CHECK_EQ(0, weft_sleep(WEFT_US(50)));
}

static void wait_timeout(void *unused)
{
    weft_future f = weft_pending_future();

    (void)unused;
    CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_US(50), &f));
}

static void wait_deadline(void *unused)
{
    weft_future f = weft_pending_future();

    (void)unused;
    WEFT_DEADLINE(WEFT_US(50))
    {
        CHECK_EQ(-ETIMEDOUT, weft_await(&f));
    }
}

static void wait_select(void *unused)
{
    weft_future never = weft_pending_future(), nap = weft_sleep_future(WEFT_US(50));

    (void)unused;
    CHECK_EQ(1, weft_select(&never, &nap));
}

static void wait_all(void *unused)
{
    weft_future yield = weft_yield_future(), nap = weft_sleep_future(WEFT_US(50));

    (void)unused;
    CHECK_EQ(0, weft_join_all(&yield, &nap));
}

static int alone(void *unused)
{
    (void)unused;
    claim_moves(wait_yield);
    claim_moves(wait_yield_future);
    claim_moves(wait_budget);
    claim_moves(wait_sleep);
    claim_some_moves(wait_timeout);
    claim_some_moves(wait_deadline);
    claim_moves(wait_select);
    claim_moves(wait_all);
    return 0;
}

TEST(each_yield_and_each_timer_goes_on_elsewhere)
{
    run(alone);
}

END_TEST

/* --- other tasks ------------------------------------------------------------------------- */

static int naps(void *unused)
{
    (void)unused;
    return weft_sleep(WEFT_US(50));
}

static int sleeps_for_ever(void *unused)
{
    struct leg from = leg_begin();

    (void)unused;
    CHECK_EQ(-ECANCELED, weft_sleep(WEFT_FOREVER));
    CHECK_EQ(1, leg_end(from));
    return 1;
}

static void wait_join(void *unused)
{
    (void)unused;
    CHECK_EQ(0, join(weft_spawn(naps, NULL)));
}

static void wait_cancelled(void *unused)
{
    weft_task *t = spawn_waiting(sleeps_for_ever, NULL);

    (void)unused;
    weft_cancel(t);
    CHECK_EQ(1, join(t));
}

struct rouser {
    pthread_t thread;
    weft_waker waker;
    atomic_bool begun, ready;
};

static void *rouser_thread(void *arg)
{
    struct rouser *r = arg;

    atomic_store(&r->ready, true);
    weft_waker_wake(&r->waker);
    return NULL;
}

static weft_poll rouser_poll(weft_future *f, weft_context *cx)
{
    struct rouser *r = (struct rouser *)f->words[0];

    if (!atomic_exchange(&r->begun, true)) {
        r->waker = weft_context_waker(cx);
        CHECK_EQ(0, pthread_create(&r->thread, NULL, rouser_thread, r));
        return WEFT_PENDING;
    }
    return atomic_load(&r->ready) ? WEFT_READY : WEFT_PENDING;
}

static const weft_future_type rouser_type = {.poll = rouser_poll, .name = "rouser"};

static void wait_for_thread(void *unused)
{
    weft_future f = weft_future_of(&rouser_type);
    struct rouser r = {.begun = false};

    (void)unused;
    f.words[0] = (uintptr_t)&r;
    CHECK_EQ(0, weft_await(&f));
    CHECK_EQ(0, pthread_join(r.thread, NULL));
}

static int with_others(void *unused)
{
    (void)unused;
    claim_some_moves(wait_join);
    claim_moves(wait_cancelled);
    claim_moves(wait_for_thread);
    return 0;
}

TEST(each_join_each_cancel_and_each_wake_by_a_plain_thread_goes_on_elsewhere)
{
    run(with_others);
}

END_TEST

/* --- sockets ----------------------------------------------------------------------------- */

static int echo(void *stream)
{
    char buffer[16];
    ssize_t n;

    while ((n = weft_read(stream, buffer, sizeof(buffer))) > 0)
        CHECK_EQ(n, weft_write_all(stream, buffer, (size_t)n));
    return (int)n;
}

static int reads_slowly(void *stream)
{
    static char buffer[65536];
    ssize_t n;

    do {
        CHECK_EQ(0, weft_sleep(WEFT_US(50)));
        n = weft_read(stream, buffer, sizeof(buffer));
    } while (n > 0);
    return (int)n;
}

static int accepts(void *listener)
{
    struct leg from = leg_begin();
    int rc = accept_one(listener);

    CHECK(leg_end(from) > 0);
    return rc;
}

static void wait_accept(void *unused)
{
    weft_stream *s = NULL;
    weft_addr where;
    weft_listener *l = listen_any(&where);
    weft_task *t = spawn_waiting(accepts, l);

    (void)unused;
    CHECK_EQ(0, weft_tcp_connect(&s, &where, NULL));
    CHECK_EQ(0, join(t));
    CHECK_EQ(0, weft_close(s));
    CHECK_EQ(0, weft_listener_close(l));
}

/* Reads and writes that need not wait are left out of the count. */
static uint64_t to_and_fro(struct pair p)
{
    weft_task *t = weft_spawn(echo, p.b);
    uint64_t waited = 0;
    char c = 'x';

    for (uint64_t i = 0; i < test_scaled(10ull * LAPS); i++) {
        struct leg from = leg_begin();

        CHECK_EQ(1, weft_write(p.a, &c, 1));
        CHECK_EQ(1, weft_read(p.a, &c, 1));
        waited += leg_end(from) > 0;
    }
    weft_stream_abort(p.a);
    (void)join(t);
    pair_close(p);
    return waited;
}

static uint64_t fill_up(struct pair p)
{
    static const char zeros[65536];
    weft_task *t = weft_spawn(reads_slowly, p.b);
    uint64_t waited = 0;

    for (uint64_t i = 0; i < test_scaled(LAPS); i++) {
        struct leg from = leg_begin();

        CHECK(weft_write(p.a, zeros, sizeof(zeros)) > 0);
        waited += leg_end(from) > 0;
    }
    weft_stream_abort(p.a);
    (void)join(t);
    pair_close(p);
    return waited;
}

static int with_sockets(void *unused)
{
    (void)unused;
    claim_moves(wait_accept);
    CHECK(to_and_fro(pair_new()) > test_scaled(LAPS));
    CHECK(to_and_fro(pair_local()) > test_scaled(LAPS));
    CHECK(fill_up(pair_local()) > 0);
    return 0;
}

TEST(each_wait_for_a_socket_goes_on_elsewhere)
{
    run(with_sockets);
}

END_TEST

/* --- stackless tasks --------------------------------------------------------------------- */

struct walker {
    weft_async async;
    uint64_t i;
    pid_t from;
    weft_future wait;
};

static weft_poll walker_poll(void *self, weft_context *cx)
{
    struct walker *w = self;

    WEFT_ASYNC_BEGIN(w);
    for (w->i = 0; w->i < test_scaled(LAPS); w->i++) {
        w->wait = w->i % 2 ? weft_yield_future() : weft_sleep_future(WEFT_US(50));
        w->from = gettid();
        WEFT_AWAIT(w, cx, &w->wait);
        /* Each is pending once: the timer's wake is the only one. */
        CHECK(gettid() != w->from);
    }
    WEFT_ASYNC_END(w);
}

static const weft_async_type walker_type = {.poll = walker_poll,
                                            .size = sizeof(struct walker),
                                            .name = "walker"};

static int stackless(void *unused)
{
    struct walker state = {.i = 0};
    weft_task *t[10];

    (void)unused;
    for (int i = 0; i < 10; i++)
        t[i] = weft_spawn_async(&walker_type, &state);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(0, join(t[i]));
    return 0;
}

TEST(each_await_of_a_stackless_task_goes_on_elsewhere)
{
    run(stackless);
}

END_TEST

/* --- all at once ----------------------------------------------------------------------- */

static int one_of_many(void *arg)
{
    uint64_t chance = (uintptr_t)arg + 1;

    for (uint64_t i = 0; i < test_scaled(LAPS); i++)
        switch (test_rand(&chance) % 4) {
        case 0:
            wait_sleep(NULL);
            break;
        case 1:
            wait_join(NULL);
            break;
        case 2:
            wait_all(NULL);
            break;
        default:
            wait_yield(NULL);
        }
    return 0;
}

static int many(void *unused)
{
    weft_task *t[64];

    (void)unused;
    for (uintptr_t i = 0; i < 64; i++)
        t[i] = weft_spawn(one_of_many, (void *)i);
    for (int i = 0; i < 64; i++)
        CHECK_EQ(0, join(t[i]));
    return 0;
}

TEST(no_task_of_many_is_polled_twice_on_one_thread)
{
    run(many);
}

END_TEST

/* --- the price, and the end -------------------------------------------------------------- */

static atomic_bool stuck_runs, stuck_over;

/* Keeps its thread. */
static int stuck(void *unused)
{
    (void)unused;
    atomic_store(&stuck_runs, true);
    while (!atomic_load(&stuck_over))
        (void)usleep(100);
    return 0;
}

static atomic_uint yields;

static int yields_on(void *unused)
{
    (void)unused;
    while (atomic_fetch_add(&yields, 1) < 100)
        (void)weft_yield();
    return 0;
}

/* Without a monitor: a stand-in would poll it. */
static weft_runtime *one_worker_stuck(weft_task **yielder)
{
    weft_runtime *rt = new_monitored(&flavours[0], WEFT_OFF);
    weft_task *t = NULL;

    CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, stuck, NULL));
    weft_detach(t);
    while (!atomic_load(&stuck_runs))
        (void)usleep(100);
    CHECK_EQ(0, weft_spawn_on(rt, yielder, NULL, yields_on, NULL));
    while (!atomic_load(&yields))
        (void)usleep(100);
    return rt;
}

/* It has been polled once, by the free worker, which may not poll it again; and is counted, not lost. */
TEST(a_task_waits_for_the_other_worker_while_that_is_stuck)
{
    weft_task *yielder = NULL;
    weft_runtime *rt = one_worker_stuck(&yielder);
    weft_metrics m;
    int result = -1;

    (void)usleep(20000);
    CHECK_EQ(1, atomic_load(&yields));
    CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
    CHECK_EQ(2, m.alive);
    atomic_store(&stuck_over, true);
    CHECK_EQ(0, weft_join_blocking(yielder, &result));
    CHECK_EQ(0, result);
    CHECK_EQ(101, atomic_load(&yields));
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_SECS(10ull * test_slow())));
    weft_runtime_free(rt);
}

END_TEST

TEST(a_task_that_was_handed_on_is_abandoned_with_the_others)
{
    weft_task *yielder = NULL;
    weft_runtime *rt = one_worker_stuck(&yielder);
    int result = 0;

    CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, WEFT_MS(20)));
    weft_runtime_free(rt);
    CHECK_EQ(1, atomic_load(&yields));
    /* The stuck thread was the last one in the runtime. */
    atomic_store(&stuck_over, true);
    CHECK_EQ(0, weft_join_blocking(yielder, &result));
    CHECK_EQ(-ECANCELED, result);
    CHECK_EQ(1, atomic_load(&yields));
}

END_TEST

TEST_MAIN("migrate", each_yield_and_each_timer_goes_on_elsewhere,
          each_join_each_cancel_and_each_wake_by_a_plain_thread_goes_on_elsewhere,
          each_wait_for_a_socket_goes_on_elsewhere,
          each_await_of_a_stackless_task_goes_on_elsewhere,
          no_task_of_many_is_polled_twice_on_one_thread,
          a_task_waits_for_the_other_worker_while_that_is_stuck,
          a_task_that_was_handed_on_is_abandoned_with_the_others)
