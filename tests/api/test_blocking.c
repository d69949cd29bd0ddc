/* SPDX-License-Identifier: MIT */
/*
 * test_blocking.c - calls that block: in place, on the pool, and with the worker's tasks handed over.
 *
 * Nothing is timed. A job that is to last waits at a gate, which is opened when what was to happen meanwhile has
 * happened; else the test does not end.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct gate {
    atomic_bool open;
    atomic_uint inside; /* have come to it, ever */
    atomic_uint now, most;
};

static int wait_at(void *arg)
{
    struct gate *g = arg;
    unsigned now = atomic_fetch_add(&g->now, 1) + 1, most = atomic_load(&g->most);

    while (now > most && !atomic_compare_exchange_weak(&g->most, &most, now))
        continue;
    atomic_fetch_add(&g->inside, 1);
    while (!atomic_load(&g->open))
        usleep(100);
    atomic_fetch_sub(&g->now, 1);
    return 7;
}

static void wait_for(atomic_uint *n, unsigned want)
{
    while (atomic_load(n) < want)
        usleep(100);
}

static int count_up(void *arg)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
    return 0;
}

static weft_runtime *runtime_of(weft_config c)
{
    weft_runtime *rt;

    c.ignore_env = WEFT_ON;
    test_watchdog(40);
    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    return rt;
}

static weft_runtime *pool_of(unsigned threads, unsigned queue)
{
    return runtime_of((weft_config){
        .worker_threads = 2, .max_blocking_threads = threads, .max_blocking_queue = queue});
}

static void end(weft_runtime *rt)
{
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    weft_runtime_free(rt);
}

static weft_task *job(weft_runtime *rt, weft_fn *fn, void *arg)
{
    weft_task *t;

    CHECK_EQ(0, weft_spawn_blocking_on(rt, &t, NULL, fn, arg));
    return t;
}

static int joined(weft_task *t)
{
    int result = 1;

    CHECK_EQ(0, weft_join_blocking(t, &result));
    return result;
}

/* Run fn as a task to its end. */
static int run(weft_runtime *rt, weft_fn *fn, void *arg)
{
    int result = 1;

    CHECK_EQ(0, weft_block_on(rt, fn, arg, &result));
    return result;
}

/* Threads of this process. */
static unsigned threads(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    unsigned n = 0;

    CHECK(f);
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "Threads: %u", &n) == 1)
            break;
    (void)fclose(f);
    return n;
}

static void wait_threads(unsigned most)
{
    while (threads() > most)
        usleep(500);
}

/* --- jobs ------------------------------------------------------------------------- */

struct sum {
    int a, b, sum;
};

static int add(void *arg)
{
    struct sum *s = arg;

    CHECK(!weft_task_self());
    s->sum = s->a + s->b;
    return -s->sum;
}

static int jobs_root(void *arg)
{
    weft_task_options o = {.name = "adder"};
    struct sum s[20];
    weft_task *t[20];
    int result;

    (void)arg;
    for (int i = 0; i < 20; i++) {
        weft_task_info info;

        s[i] = (struct sum){.a = i, .b = 2};
        t[i] = i % 2 ? weft_spawn_blocking_with(&o, add, &s[i]) : weft_spawn_blocking(add, &s[i]);
        CHECK(t[i]);
        CHECK_STR(i % 2 ? "adder" : "", weft_task_name(t[i]));
        CHECK_EQ(0, weft_task_get_info(t[i], &info));
        CHECK(strstr(info.site, "test_blocking.c:"));
    }
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(0, weft_join(t[i], &result));
        CHECK_EQ(-(i + 2), result);
        CHECK_EQ(i + 2, s[i].sum); /* and no data race */
    }
    CHECK(!weft_spawn_blocking(NULL, NULL));
    return 0;
}

TEST(jobs_have_arguments_results_names_and_sites)
{
    test_run(jobs_root, NULL);
}

TEST(a_detached_job_runs)
{
    weft_runtime *rt = pool_of(2, 0);
    atomic_uint n = 0;

    CHECK_EQ(0, weft_spawn_blocking_on(rt, NULL, NULL, count_up, &n));
    wait_for(&n, 1);
    weft_detach(job(rt, count_up, &n));
    wait_for(&n, 2);
    end(rt);
}

TEST(as_many_jobs_as_allowed_run_at_once)
{
    weft_runtime *rt = pool_of(3, 0);
    struct gate g = {0};
    weft_task *t[30];

    for (int i = 0; i < 30; i++)
        t[i] = job(rt, wait_at, &g);
    wait_for(&g.inside, 3);
    atomic_store(&g.open, true);
    for (int i = 0; i < 30; i++)
        CHECK_EQ(7, joined(t[i]));
    CHECK_EQ(3, atomic_load(&g.most));
    end(rt);
}

TEST(a_long_job_holds_up_no_other)
{
    weft_runtime *rt = pool_of(2, 0);
    struct gate g = {0};
    weft_task *t = job(rt, wait_at, &g);
    atomic_uint n = 0;

    for (unsigned i = 0; i < 200; i++)
        CHECK_EQ(0, joined(job(rt, count_up, &n)));
    CHECK_EQ(200, atomic_load(&n));
    CHECK(!weft_is_finished(t));
    atomic_store(&g.open, true);
    CHECK_EQ(7, joined(t));
    end(rt);
}

TEST(a_burst_of_ten_thousand_is_done)
{
    weft_runtime *rt = pool_of(8, 0);
    atomic_uint n = 0;

    for (unsigned i = 0; i < 10000; i++)
        CHECK_EQ(0, weft_spawn_blocking_on(rt, NULL, NULL, count_up, &n));
    wait_for(&n, 10000);
    end(rt);
    CHECK_EQ(10000, atomic_load(&n));
}

TEST(idle_threads_go)
{
    weft_runtime *rt = runtime_of((weft_config){.worker_threads = 1, .thread_keep_alive = 1000});
    unsigned before = threads();
    struct gate g = {0};
    weft_task *t[5];

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++)
            t[i] = job(rt, wait_at, &g);
        wait_for(&g.inside, 5);
        CHECK(threads() >= before + 5);
        atomic_store(&g.open, true);
        for (int i = 0; i < 5; i++)
            CHECK_EQ(7, joined(t[i]));
        wait_threads(before);
        atomic_store(&g.open, false);
        atomic_store(&g.inside, 0);
    }
    end(rt);
}

struct leaving {
    atomic_bool armed, pushed;
    atomic_uint gone;
};

static void stop_hook(void *user)
{
    struct leaving *l = user;

    if (!atomic_load(&l->armed))
        return;
    atomic_fetch_add(&l->gone, 1);
    while (!atomic_load(&l->pushed))
        usleep(100);
}

TEST(no_job_is_left_to_a_thread_that_has_decided_to_go)
{
    struct leaving l = {.armed = true};
    weft_runtime *rt = runtime_of((weft_config){.worker_threads = 1,
                                                .max_blocking_threads = 1,
                                                .thread_keep_alive = 1,
                                                .on_thread_stop = stop_hook,
                                                .hook_user = &l});
    atomic_uint n = 0;
    weft_task *t;

    CHECK_EQ(0, joined(job(rt, count_up, &n)));
    wait_for(&l.gone, 1);
    t = job(rt, count_up, &n);
    atomic_store(&l.armed, false);
    atomic_store(&l.pushed, true);
    CHECK_EQ(0, joined(t));
    end(rt);
}

/* The only thread that is allowed goes at the very moment that a job comes. */
TEST(no_job_is_left_to_a_thread_that_goes)
{
    weft_runtime *rt = runtime_of(
        (weft_config){.worker_threads = 1, .max_blocking_threads = 1, .thread_keep_alive = 20000});
    uint64_t seed = test_seed(), rounds = test_scaled(5000);
    atomic_uint n = 0;

    for (uint64_t i = 0; i < rounds; i++) {
        weft_instant at = weft_now() + test_rand(&seed) % 150000;

        CHECK_EQ(0, joined(job(rt, count_up, &n)));
        while (weft_now() < at)
            continue;
    }
    end(rt);
}

/* --- cancelling ---------------------------------------------------------------------- */

TEST(a_job_is_cancelled_before_it_began_and_not_after)
{
    weft_runtime *rt = pool_of(1, 0);
    struct gate g = {0};
    weft_task *running = job(rt, wait_at, &g), *queued[3];
    atomic_uint n = 0;

    wait_for(&g.inside, 1);
    for (int i = 0; i < 3; i++)
        queued[i] = job(rt, count_up, &n);
    weft_cancel(running);
    weft_cancel(queued[1]);
    /* At once, though the only thread is busy. */
    CHECK_EQ(-ECANCELED, joined(queued[1]));
    CHECK(!weft_is_finished(running));
    atomic_store(&g.open, true);
    CHECK_EQ(7, joined(running));
    CHECK_EQ(0, joined(queued[0]));
    CHECK_EQ(0, joined(queued[2]));
    CHECK_EQ(2, atomic_load(&n));
    end(rt);
}

static int join_in_time(void *arg)
{
    struct gate *g = arg;
    weft_task *t = weft_spawn_blocking(wait_at, g);
    weft_future ended = weft_join_future(t), nap = weft_sleep_future(WEFT_US(100));
    int result;

    CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_US(100), &ended));
    ended = weft_join_future(t);
    CHECK_EQ(1, weft_select(&ended, &nap));
    atomic_store(&g->open, true);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(7, result);
    return 0;
}

TEST(a_job_is_awaited_like_any_task)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct gate g = {0};

        test_run_on(&test_flavours[i], join_in_time, &g);
    }
}

/* --- a queue with an end ------------------------------------------------------------- */

TEST(a_plain_thread_is_told_that_the_queue_is_full)
{
    weft_runtime *rt = pool_of(1, 2);
    struct gate g = {0};
    weft_task *t[3], *more = NULL;

    t[0] = job(rt, wait_at, &g);
    wait_for(&g.inside, 1);
    t[1] = job(rt, wait_at, &g);
    t[2] = job(rt, wait_at, &g);
    CHECK_EQ(-EAGAIN, weft_spawn_blocking_on(rt, &more, NULL, wait_at, &g));
    CHECK(!more);
    atomic_store(&g.open, true);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(7, joined(t[i]));
    CHECK_EQ(7, joined(job(rt, wait_at, &g)));
    end(rt);
}

struct spawner {
    struct gate *gate;
    atomic_uint *refused;
};

static int spawn_one(void *arg)
{
    struct spawner *s = arg;
    weft_task *t = weft_spawn_blocking(wait_at, s->gate);
    int result;

    if (!t) {
        CHECK(weft_is_cancelled());
        atomic_fetch_add(s->refused, 1);
        return -ECANCELED;
    }
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(7, result);
    return 0;
}

static void wait_idle(weft_task *t)
{
    weft_task_info info;

    do
        CHECK_EQ(0, weft_task_get_info(t, &info));
    while (info.state != WEFT_TASK_IDLE);
}

#define SPAWNERS 30

/* The pool is busy, its queue full, and so many fibers wait for room. */
static weft_runtime *crowd(struct spawner *s, weft_task *jobs[3], weft_task *t[SPAWNERS])
{
    weft_runtime *rt = pool_of(1, 2);

    jobs[0] = job(rt, wait_at, s->gate);
    wait_for(&s->gate->inside, 1);
    jobs[1] = job(rt, wait_at, s->gate);
    jobs[2] = job(rt, wait_at, s->gate);
    for (int i = 0; i < SPAWNERS; i++) {
        CHECK_EQ(0, weft_spawn_on(rt, &t[i], NULL, spawn_one, s));
        wait_idle(t[i]);
    }
    return rt;
}

TEST(a_fiber_awaits_room_in_the_queue)
{
    struct gate g = {0};
    atomic_uint refused = 0;
    struct spawner s = {&g, &refused};
    weft_task *jobs[3], *t[SPAWNERS];
    weft_runtime *rt = crowd(&s, jobs, t);

    for (int i = 0; i < SPAWNERS; i += 3) {
        weft_cancel(t[i]);
        CHECK_EQ(-ECANCELED, joined(t[i])); /* while nothing moves */
    }
    CHECK_EQ(1, atomic_load(&g.inside));
    atomic_store(&g.open, true);
    for (int i = 0; i < SPAWNERS; i++)
        if (i % 3)
            CHECK_EQ(0, joined(t[i]));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(7, joined(jobs[i]));
    CHECK_EQ(SPAWNERS / 3, atomic_load(&refused));
    end(rt);
}

static void *open_later(void *arg)
{
    struct spawner *s = arg;

    /* The shutdown has begun: those that waited for room have been told. */
    wait_for(s->refused, SPAWNERS);
    atomic_store(&s->gate->open, true);
    return NULL;
}

TEST(a_shutdown_ends_those_that_await_room)
{
    struct gate g = {0};
    atomic_uint refused = 0;
    struct spawner s = {&g, &refused};
    weft_task *jobs[3], *t[SPAWNERS];
    weft_runtime *rt = crowd(&s, jobs, t);
    pthread_t opener;

    CHECK_EQ(0, pthread_create(&opener, NULL, open_later, &s));
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    CHECK_EQ(0, pthread_join(opener, NULL));
    CHECK_EQ(7, joined(jobs[0]));
    CHECK_EQ(-ECANCELED, joined(jobs[1]));
    CHECK_EQ(-ECANCELED, joined(jobs[2]));
    for (int i = 0; i < SPAWNERS; i++)
        CHECK_EQ(-ECANCELED, joined(t[i]));
    weft_runtime_free(rt);
}

/* --- weft_blocking ------------------------------------------------------------------- */

static int no_task(void *arg)
{
    weft_runtime *rt = arg;
    weft_task *t;

    CHECK(!weft_task_self());
    CHECK(!weft_runtime_current());
    CHECK_EQ(-EPERM, weft_sleep(1));
    CHECK_EQ(-EPERM, weft_yield());
    CHECK_EQ(-EPERM, weft_go(count_up, NULL));
    CHECK(!weft_spawn_blocking(count_up, NULL));
    if (rt) {
        atomic_uint n = 0;

        CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, count_up, &n));
        if (weft_runtime_flavor(rt) == WEFT_MULTI_THREAD)
            CHECK_EQ(0, joined(t));
        else
            weft_detach(t);
        while (weft_runtime_flavor(rt) == WEFT_MULTI_THREAD && atomic_load(&n) == 0)
            continue;
    }
    return -ECANCELED; /* its own, and no verdict */
}

static int calls_again(void *arg)
{
    CHECK_EQ(-ECANCELED, weft_blocking(no_task, NULL));
    CHECK_EQ(-ECANCELED, weft_block_in_place(no_task, NULL));
    *(pthread_t *)arg = pthread_self();
    return 5;
}

static int is_not_there(void *arg)
{
    (void)arg;
    return 0;
}

static int calls(void *arg)
{
    bool in_place = *(bool *)arg;
    pthread_t before = pthread_self(), there;

    errno = E2BIG;
    CHECK_EQ(5, weft_blocking(calls_again, &there));
    if (in_place) {
        CHECK(pthread_equal(before, there));
        CHECK_EQ(E2BIG, errno);
    } else {
        CHECK(!pthread_equal(before, there));
    }
    CHECK_EQ(0, weft_blocking(is_not_there, NULL));
    CHECK_EQ(-EINVAL, weft_blocking(NULL, NULL));
    CHECK(weft_task_self());
    CHECK_EQ(0, weft_yield());
    return 0;
}

static int calls_with_runtime(void *arg)
{
    (void)arg;
    /* What it spawns there runs while it waits for it, in place or not. */
    if (weft_runtime_flavor(weft_runtime_current()) == WEFT_MULTI_THREAD)
        CHECK_EQ(-ECANCELED, weft_blocking(no_task, weft_runtime_current()));
    return 0;
}

TEST(a_call_is_made_in_place_or_on_the_pool_and_never_in_a_task)
{
    weft_runtime *rt;
    bool in_place;

    for (size_t i = 0; i < test_flavour_count; i++) {
        in_place = test_flavours[i].flavor == WEFT_MULTI_THREAD;
        test_run_on(&test_flavours[i], calls, &in_place);
        test_run_on(&test_flavours[i], calls_with_runtime, NULL);
    }
    in_place = false;
    for (unsigned workers = 1; workers <= 2; workers++) {
        rt = runtime_of((weft_config){.worker_threads = workers, .monitor = WEFT_OFF});
        CHECK_EQ(0, run(rt, calls, &in_place));
        end(rt);
    }
}

TEST(on_a_plain_thread_it_is_a_call)
{
    pthread_t there;

    CHECK_EQ(5, weft_blocking(calls_again, &there));
    CHECK(pthread_equal(pthread_self(), there));
    CHECK_EQ(5, weft_block_in_place(calls_again, &there));
}

struct stackless {
    weft_async async;
    atomic_uint *done;
};

static weft_poll stackless_poll(void *self, weft_context *cx)
{
    struct stackless *s = self;
    pthread_t there;

    (void)cx;
    CHECK_EQ(5, weft_blocking(calls_again, &there));
    CHECK(pthread_equal(pthread_self(), there));
    CHECK(weft_task_self());
    atomic_fetch_add(s->done, 1);
    return WEFT_READY;
}

static const weft_async_type stackless_type = {stackless_poll, NULL, sizeof(struct stackless), "s"};

static int stackless_root(void *arg)
{
    atomic_uint done = 0;
    weft_task *t = weft_spawn_async(&stackless_type, &(struct stackless){.done = &done});

    (void)arg;
    CHECK_EQ(0, weft_join(t, NULL));
    CHECK_EQ(1, atomic_load(&done));
    return 0;
}

TEST(a_stackless_task_calls_in_place)
{
    test_run(stackless_root, NULL);
}

#define DEEP ((size_t)1 << 20)

static int deep(void *arg)
{
    volatile char room[DEEP];

    (void)arg;
    for (size_t i = 0; i < DEEP; i += 1024)
        room[i] = 1;
    return room[0];
}

static int calls_deep(void *arg)
{
    (void)arg;
    return weft_blocking(deep, NULL) == 1 ? 0 : -EIO;
}

static int deep_root(void *arg)
{
    weft_task_options o = {.stack_size = 16384};
    weft_task *t = weft_spawn_with(&o, calls_deep, NULL);
    int result;

    (void)arg;
    CHECK_EQ(0, weft_join(t, &result));
    return result;
}

TEST(a_fiber_with_a_small_stack_calls_what_needs_much)
{
    test_run(deep_root, NULL);
}

static int blocks_at(void *arg)
{
    return weft_blocking(wait_at, arg);
}

TEST(calls_that_last_hold_up_nobody)
{
    struct gate g = {0};
    weft_runtime *rt = runtime_of((weft_config){.worker_threads = 1});
    weft_task *t[5];
    atomic_uint n = 0;

    for (int i = 0; i < 5; i++)
        CHECK_EQ(0, weft_spawn_on(rt, &t[i], NULL, blocks_at, &g));
    wait_for(&g.inside, 5);
    CHECK_EQ(0, run(rt, count_up, &n));
    atomic_store(&g.open, true);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(7, joined(t[i]));
    end(rt);
}

static int calls_late(void *arg)
{
    atomic_uint *n = arg;

    WEFT_DEADLINE(WEFT_US(100))
    CHECK_EQ(-ETIMEDOUT, weft_blocking(count_up, n));
    return 0;
}

/* The reason is told, and what did not begin never does. */
TEST(a_call_that_could_not_begin_says_why)
{
    weft_runtime *rt = runtime_of(
        (weft_config){.flavor = WEFT_CURRENT_THREAD, .max_blocking_threads = 1});
    struct gate g = {0};
    weft_task *busy = job(rt, wait_at, &g);
    atomic_uint n = 0;

    wait_for(&g.inside, 1);
    CHECK_EQ(0, run(rt, calls_late, &n));
    atomic_store(&g.open, true);
    CHECK_EQ(7, joined(busy));
    end(rt);
    CHECK_EQ(0, atomic_load(&n));
}

static int cancelled_in_it(void *arg)
{
    CHECK_EQ(7, weft_blocking(wait_at, arg));
    CHECK(weft_is_cancelled());
    return weft_yield();
}

static int cancels_it(void *arg)
{
    struct gate *g = arg;
    weft_task *t = weft_spawn(cancelled_in_it, g);
    int result;

    while (atomic_load(&g->inside) == 0)
        CHECK_EQ(0, weft_yield());
    weft_cancel(t);
    CHECK_EQ(0, weft_yield());
    atomic_store(&g->open, true);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
    return 0;
}

TEST(a_cancel_does_not_interrupt_a_call)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct gate g = {0};

        test_run_on(&test_flavours[i], cancels_it, &g);
    }
}

/* --- weft_block_in_place ------------------------------------------------------------- */

static int sleeps_in_place(void *arg)
{
    CHECK_EQ(0, weft_sleep(WEFT_US(200)));
    CHECK(weft_task_self());
    return *(int *)arg;
}

static int blocks_in_place(void *arg)
{
    return weft_block_in_place(wait_at, arg);
}

static int in_place_root(void *arg)
{
    struct gate g = {0};
    weft_task *t[3];
    int answer = 9, result;

    (void)arg;
    if (weft_runtime_flavor(weft_runtime_current()) == WEFT_CURRENT_THREAD) {
        CHECK_EQ(-EINVAL, weft_block_in_place(sleeps_in_place, &answer));
        return 0;
    }
    CHECK_EQ(9, weft_block_in_place(sleeps_in_place, &answer));
    CHECK_EQ(-EINVAL, weft_block_in_place(NULL, NULL));
    for (int i = 0; i < 3; i++)
        t[i] = weft_spawn(blocks_in_place, &g);
    while (atomic_load(&g.inside) < 3)
        CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    atomic_store(&g.open, true);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(0, weft_join(t[i], &result));
        CHECK_EQ(7, result);
    }
    return 0;
}

TEST(others_take_over_what_a_worker_has_that_blocks_in_place)
{
    weft_runtime *rt;

    test_run(in_place_root, NULL);
    rt = runtime_of((weft_config){.worker_threads = 2, .monitor = WEFT_OFF});
    CHECK_EQ(0, run(rt, in_place_root, NULL));
    end(rt);
    rt = runtime_of((weft_config){.worker_threads = 1, .monitor = WEFT_OFF});
    CHECK_EQ(-EINVAL, run(rt, blocks_in_place, NULL));
    end(rt);
}

struct woken {
    weft_async async;
    weft_waker *waker;
    atomic_uint *registered, *ran;
};

static weft_poll woken_poll(void *self, weft_context *cx)
{
    struct woken *w = self;

    if (atomic_load(w->registered)) {
        atomic_fetch_add(w->ran, 1);
        return WEFT_READY;
    }
    *w->waker = weft_context_waker(cx);
    atomic_fetch_add(w->registered, 1);
    return WEFT_PENDING;
}

static const weft_async_type woken_type = {woken_poll, NULL, sizeof(struct woken), "woken"};

struct nest {
    weft_waker waker;
    atomic_uint registered, ran;
};

static int outer(void *arg)
{
    struct nest *n = arg;

    CHECK_EQ(0, weft_block_in_place(is_not_there, NULL));
    /* The slot of this worker is not to be used: nobody else reaches it. */
    weft_waker_wake(&n->waker);
    while (atomic_load(&n->ran) == 0)
        usleep(100);
    return 0;
}

static int nested_root(void *arg)
{
    return weft_block_in_place(outer, arg);
}

TEST(the_end_of_an_inner_block_is_not_that_of_the_outer_one)
{
    /* Without a monitor, which would mend it. */
    weft_runtime *rt = runtime_of((weft_config){.worker_threads = 2, .monitor = WEFT_OFF});
    struct nest n = {0};
    struct woken w = {.waker = &n.waker, .registered = &n.registered, .ran = &n.ran};
    weft_task *t;

    CHECK_EQ(0, weft_spawn_async_on(rt, &t, NULL, &woken_type, &w));
    wait_for(&n.registered, 1);
    CHECK_EQ(0, run(rt, nested_root, &n));
    CHECK_EQ(0, joined(t));
    end(rt);
}

/* --- the end ------------------------------------------------------------------------- */

TEST(a_shutdown_cancels_what_is_queued_and_waits_for_what_runs)
{
    for (int flavour = 0; flavour < 2; flavour++) {
        weft_runtime *rt = runtime_of(
            (weft_config){.flavor = flavour ? WEFT_CURRENT_THREAD : WEFT_MULTI_THREAD,
                          .max_blocking_threads = 2});
        struct gate g = {0};
        atomic_uint refused = SPAWNERS;
        struct spawner s = {&g, &refused};
        weft_task *t[10], *late = NULL;
        pthread_t opener;
        unsigned ran = 0;

        for (int i = 0; i < 10; i++)
            t[i] = job(rt, wait_at, &g);
        wait_for(&g.inside, 2);
        CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, 0));
        CHECK_EQ(-ESHUTDOWN, weft_spawn_blocking_on(rt, &late, NULL, wait_at, &g));
        CHECK_EQ(0, pthread_create(&opener, NULL, open_later, &s));
        for (int i = 0; i < 10; i++) {
            int result = joined(t[i]);

            CHECK(result == 7 || result == -ECANCELED);
            ran += result == 7;
        }
        CHECK_EQ(0, pthread_join(opener, NULL));
        CHECK_EQ(2, ran);
        CHECK_EQ(2, atomic_load(&g.inside));
        weft_runtime_free(rt);
    }
}

TEST(a_job_that_does_not_end_is_named)
{
    weft_task_options o = {.name = "everlasting"};
    weft_runtime *rt = pool_of(4, 0);
    struct gate g = {0};
    unsigned before = threads();
    int pair[2], saved = dup(STDERR_FILENO);
    char text[4096];
    weft_task *t;
    ssize_t n;

    CHECK_EQ(0, weft_spawn_blocking_on(rt, &t, &o, wait_at, &g));
    wait_for(&g.inside, 1);
    CHECK_EQ(0, pipe(pair));
    CHECK(dup2(pair[1], STDERR_FILENO) >= 0);
    CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, WEFT_MS(5)));
    CHECK(dup2(saved, STDERR_FILENO) >= 0);
    n = read(pair[0], text, sizeof(text) - 1);
    CHECK(n > 0);
    text[n] = '\0';
    CHECK(strstr(text, "everlasting") && strstr(text, "test_blocking.c:"));
    weft_runtime_free(rt); /* not waited for any more */
    atomic_store(&g.open, true);
    CHECK_EQ(7, joined(t));
    wait_threads(before);
    (void)close(pair[0]);
    (void)close(pair[1]);
    (void)close(saved);
}

struct leaver {
    weft_runtime *rt;
    struct gate gate;
    atomic_uint left;
};

static int free_it(void *arg)
{
    struct leaver *l = arg;

    weft_runtime_free(l->rt);
    atomic_fetch_add(&l->left, 1);
    return 0;
}

static int free_in_blocking(void *arg)
{
    return weft_blocking(free_it, arg);
}

static int free_in_place(void *arg)
{
    return weft_block_in_place(free_it, arg);
}

/* In a task, in a call that blocks, in a block in place, in a job: the last one turns off the light. */
TEST(a_runtime_is_freed_from_inside_while_jobs_run)
{
    weft_fn *const ways[] = {free_it, free_in_blocking, free_in_place, free_it};
    unsigned before;

    test_watchdog(40);
    before = threads();
    for (unsigned i = 0; i < 4 * 4; i++) {
        struct leaver l = {.gate = {0}};
        weft_task *t[6], *freer;

        l.rt = runtime_of(
            (weft_config){.worker_threads = 1 + i / 4 % 2, .max_blocking_threads = i / 8 ? 3 : 0});
        for (int k = 0; k < 6; k++)
            t[k] = job(l.rt, wait_at, &l.gate);
        if (i % 4 == 3) {
            /* In the first two rounds it has a thread of its own, else it may be cancelled. */
            weft_runtime *rt = l.rt;

            if (i / 8)
                atomic_store(&l.gate.open, true);
            CHECK_EQ(0, weft_spawn_blocking_on(rt, &freer, NULL, ways[3], &l));
        } else {
            CHECK_EQ(0, weft_spawn_on(l.rt, &freer, NULL, ways[i % 4], &l));
        }
        wait_for(&l.left, 1);
        atomic_store(&l.gate.open, true);
        CHECK_EQ(0, joined(freer));
        for (int k = 0; k < 6; k++) {
            int result = joined(t[k]);

            CHECK(result == 7 || result == -ECANCELED);
        }
        /* All of its threads have gone, and nobody had to join them. */
        wait_threads(before + 1);
    }
}

static void *canceller(void *arg)
{
    weft_task **t = arg;

    for (int i = 0; i < 8; i++) {
        weft_cancel(t[i]);
        weft_detach(t[i]);
    }
    return NULL;
}

/* Who cancels the last job ends it, while the runtime goes. */
TEST(a_cancel_from_outside_races_with_the_end)
{
    for (uint64_t i = 0; i < test_scaled(500); i++) {
        weft_runtime *rt = runtime_of(
            (weft_config){.worker_threads = 1, .max_blocking_threads = 1});
        atomic_uint n = 0;
        weft_task *t[8];
        pthread_t thread;

        for (int k = 0; k < 8; k++)
            t[k] = job(rt, count_up, &n);
        CHECK_EQ(0, pthread_create(&thread, NULL, canceller, t));
        weft_runtime_free(rt);
        CHECK_EQ(0, pthread_join(thread, NULL));
    }
}

struct outsider {
    weft_runtime *rt;
    atomic_uint begun, ended;
};

static int ends(void *arg)
{
    atomic_fetch_add(&((struct outsider *)arg)->ended, 1);
    return 0;
}

static void *spawn_from_outside(void *arg)
{
    struct outsider *o = arg;
    int rc;

    do {
        rc = weft_spawn_blocking_on(o->rt, NULL, NULL, ends, o);
        atomic_fetch_add(&o->begun, 1);
    } while (rc == 0);
    CHECK_EQ(-ESHUTDOWN, rc);
    return NULL;
}

TEST(jobs_from_outside_race_with_a_shutdown)
{
    for (uint64_t i = 0; i < test_scaled(300); i++) {
        struct outsider o = {0};
        pthread_t thread;

        o.rt = pool_of(1 + (unsigned)(i % 3), 0);
        CHECK_EQ(0, pthread_create(&thread, NULL, spawn_from_outside, &o));
        wait_for(&o.begun, 1);
        CHECK_EQ(0, weft_runtime_shutdown(o.rt, WEFT_FOREVER));
        CHECK_EQ(0, pthread_join(thread, NULL));
        weft_runtime_free(o.rt);
        CHECK(atomic_load(&o.ended) < atomic_load(&o.begun));
    }
}

TEST_MAIN("blocking", jobs_have_arguments_results_names_and_sites, a_detached_job_runs,
          as_many_jobs_as_allowed_run_at_once, a_long_job_holds_up_no_other,
          a_burst_of_ten_thousand_is_done, idle_threads_go, no_job_is_left_to_a_thread_that_goes,
          no_job_is_left_to_a_thread_that_has_decided_to_go,
          a_job_is_cancelled_before_it_began_and_not_after, a_job_is_awaited_like_any_task,
          a_plain_thread_is_told_that_the_queue_is_full, a_fiber_awaits_room_in_the_queue,
          a_shutdown_ends_those_that_await_room,
          a_call_is_made_in_place_or_on_the_pool_and_never_in_a_task,
          on_a_plain_thread_it_is_a_call, a_stackless_task_calls_in_place,
          a_fiber_with_a_small_stack_calls_what_needs_much, calls_that_last_hold_up_nobody,
          a_call_that_could_not_begin_says_why, a_cancel_does_not_interrupt_a_call,
          others_take_over_what_a_worker_has_that_blocks_in_place,
          the_end_of_an_inner_block_is_not_that_of_the_outer_one,
          a_shutdown_cancels_what_is_queued_and_waits_for_what_runs,
          a_job_that_does_not_end_is_named, a_runtime_is_freed_from_inside_while_jobs_run,
          a_cancel_from_outside_races_with_the_end, jobs_from_outside_race_with_a_shutdown)
