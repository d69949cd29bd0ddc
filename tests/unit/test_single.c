/* SPDX-License-Identifier: MIT */
/*
 * test_single.c - a single worker: it shares while it is stuck, is single again when nobody stands in any more, and
 * what its tasks wait for arrives before, meanwhile and after.
 */
#include "base/sys.h"
#include "sched/runtime.h"
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

static bool no_membarrier(void)
{
    return wf_sys_membarrier_register() < 0 || wf_sys_membarrier() < 0;
}

static weft_runtime *one_worker(weft_switch monitor, weft_duration limit)
{
    weft_config c = {.worker_threads = 1,
                     .monitor = monitor,
                     .stall_blocked = limit,
                     .stall_computing = limit,
                     .ignore_env = WEFT_ON};
    weft_runtime *rt;

    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    test_watchdog(60);
    return rt;
}

static void end(weft_runtime *rt)
{
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    weft_runtime_free(rt);
}

/* --- who is single ---------------------------------------------------------------------- */

/* A glance from a task, whose worker may be relieved at this moment. */
__attribute__((no_sanitize("thread"))) static bool single_now(void)
{
    return weft_runtime_current()->single;
}

static int says_whether(void *single)
{
    *(bool *)single = single_now();
    return 0;
}

TEST(one_worker_is_single_with_a_monitor_or_without)
{
    if (no_membarrier())
        TEST_SKIP("no membarrier");
    for (weft_switch monitor = WEFT_ON; monitor <= WEFT_OFF; monitor++) {
        weft_runtime *rt = one_worker(monitor, WEFT_SECS(3600));
        bool single = false;

        CHECK_EQ(0, weft_block_on(rt, says_whether, &single, NULL));
        CHECK(single);
        CHECK_EQ(monitor == WEFT_OFF, rt->sole);
        end(rt);
    }
}

END_TEST

TEST(of_two_workers_none_is_single)
{
    weft_config c = {.worker_threads = 2, .ignore_env = WEFT_ON};
    weft_runtime *rt;
    bool single = true;

    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    CHECK_EQ(0, weft_block_on(rt, says_whether, &single, NULL));
    CHECK(!single);
    end(rt);
}

END_TEST

/* --- what arrives ------------------------------------------------------------------------- */

struct world {
    weft_runtime *rt;
    weft_stream *stream;
    int peer;
    pthread_t outside;
    weft_waker waker;
    atomic_uint asked, told, over; /* the thread outside is to wake, and has */
    atomic_bool stuck, release;
    unsigned rounds[2]; /* what has arrived while shared, while single */
};

/* Wakes the task, again and again when it is asked to. */
static void *outside_thread(void *arg)
{
    struct world *w = arg;

    for (;;) {
        while (atomic_load(&w->asked) == atomic_load(&w->told)) {
            if (atomic_load(&w->over))
                return NULL;
            (void)usleep(50);
        }
        atomic_fetch_add(&w->told, 1);
        weft_waker_wake(&w->waker);
    }
}

static weft_poll told_poll(weft_future *f, weft_context *cx)
{
    struct world *w = (struct world *)f->words[0]; /* NOLINT(performance-no-int-to-ptr) */

    f->result = 0;
    if (f->words[1]++ > 0 && atomic_load(&w->asked) == atomic_load(&w->told))
        return WEFT_READY;
    if (f->words[1] == 1) {
        w->waker = weft_context_waker(cx);
        atomic_fetch_add(&w->asked, 1);
    }
    return WEFT_PENDING;
}

static const weft_future_type told_type = {.poll = told_poll, .name = "told"};

/* A timer, an event, a wake from outside, a task, and one woken by another. */
static void all_arrives(struct world *w)
{
    weft_future told = weft_future_of(&told_type);
    weft_task *child;
    char byte = 0;
    bool single;

    CHECK_EQ(0, weft_sleep(WEFT_US(200)));
    CHECK_EQ(1, write(w->peer, "x", 1));
    CHECK_EQ(1, weft_read(w->stream, &byte, 1));
    CHECK_EQ('x', byte);
    told.words[0] = (uintptr_t)w;
    CHECK_EQ(0, weft_await(&told));
    child = weft_spawn(says_whether, &single);
    CHECK_EQ(0, weft_join(child, NULL));
    w->rounds[single_now()]++;
}

static int gets_stuck(void *arg)
{
    struct world *w = arg;

    atomic_store(&w->stuck, true);
    while (!atomic_load(&w->release))
        (void)usleep(100);
    return 0;
}

#define STALLS 4
#define ROUNDS 10

static int lives_on(void *arg)
{
    struct world *w = arg;
    int pair[2];

    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair));
    w->peer = pair[1];
    CHECK_EQ(0, weft_stream_from_fd(&w->stream, pair[0]));
    for (int stall = 0; stall < STALLS; stall++) {
        weft_task *t;

        while (!single_now())
            CHECK_EQ(0, weft_yield());
        for (int i = 0; i < ROUNDS; i++)
            all_arrives(w);
        atomic_store(&w->stuck, false);
        atomic_store(&w->release, false);
        t = weft_spawn(gets_stuck, w);
        while (!atomic_load(&w->stuck))
            CHECK_EQ(0, weft_sleep(WEFT_US(100)));
        for (int i = 0; i < ROUNDS; i++)
            all_arrives(w);
        CHECK(!single_now());
        atomic_store(&w->release, true);
        /* While others go and come. */
        for (int i = 0; i < ROUNDS; i++)
            all_arrives(w);
        CHECK_EQ(0, weft_join(t, NULL));
    }
    weft_close(w->stream);
    (void)close(w->peer);
    return 0;
}

TEST(what_tasks_wait_for_arrives_while_it_shares_and_when_it_is_single_again)
{
    struct world w = {0};

    if (no_membarrier())
        TEST_SKIP("no membarrier");
    w.rt = one_worker(WEFT_ON, WEFT_MS(1));
    CHECK_EQ(0, pthread_create(&w.outside, NULL, outside_thread, &w));
    CHECK_EQ(0, weft_block_on(w.rt, lives_on, &w, NULL));
    atomic_store(&w.over, 1);
    CHECK_EQ(0, pthread_join(w.outside, NULL));
    CHECK(w.rounds[false] >= STALLS * ROUNDS);
    CHECK(w.rounds[true] >= STALLS * ROUNDS);
    end(w.rt);
}

END_TEST

static atomic_uint ran;

static int runs(void *arg)
{
    (void)arg;
    atomic_fetch_add(&ran, 1);
    return 0;
}

static void spawn_many(unsigned n)
{
    while (n-- > 0)
        CHECK_EQ(0, weft_go(runs, NULL));
}

/* On its worker's queue, with others taking from it. */
static int spawns_while_stuck(void *arg)
{
    while (single_now())
        (void)usleep(100);
    spawn_many(*(unsigned *)arg);
    return 0;
}

/* Its queues grow while there are thieves, and while there are none: the rings of both are given back. */
static int grows_each_way(void *arg)
{
    unsigned sum = 0;

    (void)arg;
    for (unsigned n = 400; n <= 6400; n *= 4) {
        unsigned more = 2 * n;
        weft_task *t;

        while (!single_now())
            CHECK_EQ(0, weft_yield());
        spawn_many(n);
        t = weft_spawn(spawns_while_stuck, &more);
        CHECK_EQ(0, weft_join(t, NULL));
        sum += n + more;
        while (atomic_load(&ran) < sum)
            CHECK_EQ(0, weft_yield());
    }
    return 0;
}

TEST(queues_grow_in_either_state)
{
    weft_runtime *rt;

    if (no_membarrier())
        TEST_SKIP("no membarrier");
    rt = one_worker(WEFT_ON, WEFT_MS(1));
    CHECK_EQ(0, weft_block_on(rt, grows_each_way, NULL, NULL));
    end(rt);
}

END_TEST

TEST_MAIN("single", one_worker_is_single_with_a_monitor_or_without, of_two_workers_none_is_single,
          what_tasks_wait_for_arrives_while_it_shares_and_when_it_is_single_again,
          queues_grow_in_either_state)
