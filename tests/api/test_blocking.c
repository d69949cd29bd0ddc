/* SPDX-License-Identifier: MIT */
/*
 * test_blocking.c - jobs on the blocking pool: each runs or ends, by as many threads as allowed, and all goes when the
 * runtime does.
 */
#include "gate.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

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

#define PUSHERS 8
#define PLACES  3

struct pusher {
    weft_runtime *rt;
    struct gate *gate;
    pthread_barrier_t *start;
    weft_task *t;
};

static void *push_at_once(void *arg)
{
    struct pusher *p = arg;
    int rc;

    (void)pthread_barrier_wait(p->start);
    rc = weft_spawn_blocking_on(p->rt, &p->t, NULL, wait_at, p->gate);
    CHECK(rc == (p->t ? 0 : -EAGAIN));
    return NULL;
}

TEST(the_queue_never_holds_more_than_it_has_places)
{
    weft_runtime *rt = pool_of(1, PLACES);
    pthread_barrier_t start;

    CHECK_EQ(0, pthread_barrier_init(&start, NULL, PUSHERS));
    for (uint64_t round = 0; round < test_scaled(100); round++) {
        struct gate g = {0};
        struct pusher p[PUSHERS];
        pthread_t thread[PUSHERS];
        weft_task *running = job(rt, wait_at, &g);
        unsigned queued = 0;

        wait_for(&g.inside, 1);
        for (unsigned i = 0; i < PUSHERS; i++) {
            p[i] = (struct pusher){rt, &g, &start, NULL};
            CHECK_EQ(0, pthread_create(&thread[i], NULL, push_at_once, &p[i]));
        }
        for (unsigned i = 0; i < PUSHERS; i++) {
            CHECK_EQ(0, pthread_join(thread[i], NULL));
            queued += p[i].t != NULL;
        }
        CHECK_EQ(PLACES, queued);
        atomic_store(&g.open, true);
        CHECK_EQ(7, joined(running));
        for (unsigned i = 0; i < PUSHERS; i++)
            if (p[i].t)
                CHECK_EQ(7, joined(p[i].t));
    }
    CHECK_EQ(0, pthread_barrier_destroy(&start));
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
          a_burst_of_ten_thousand_is_done, idle_threads_go,
          no_job_is_left_to_a_thread_that_has_decided_to_go, no_job_is_left_to_a_thread_that_goes,
          a_job_is_cancelled_before_it_began_and_not_after, a_job_is_awaited_like_any_task,
          a_plain_thread_is_told_that_the_queue_is_full,
          the_queue_never_holds_more_than_it_has_places, a_fiber_awaits_room_in_the_queue,
          a_shutdown_ends_those_that_await_room,
          a_shutdown_cancels_what_is_queued_and_waits_for_what_runs,
          a_job_that_does_not_end_is_named, a_runtime_is_freed_from_inside_while_jobs_run,
          a_cancel_from_outside_races_with_the_end, jobs_from_outside_race_with_a_shutdown)
