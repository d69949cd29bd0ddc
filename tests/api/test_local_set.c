/* SPDX-License-Identifier: MIT */
/*
 * test_local_set.c - pinned tasks, and sets of them: on one thread for ever, woken from anywhere.
 */
#include "children.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By the kernel's number: a call that no compiler remembers the result of. */
static long thread_here(void)
{
    return syscall(SYS_gettid);
}

static weft_runtime *runtime_with(unsigned workers)
{
    weft_runtime *rt = NULL;
    weft_config c = {.worker_threads = workers, .ignore_env = WEFT_ON};

    test_watchdog(40);
    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    return rt;
}

static void runtime_end(weft_runtime *rt)
{
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_SECS(10ull * test_slow())));
    weft_runtime_free(rt);
}

/* --- all kinds of awaits, under load ------------------------------------------------------ */

#define ROUNDS 1000 /* of more than ten awaits each */
#define OTHERS 4

struct all {
    atomic_bool over;
    weft_mutex mutex;
    weft_semaphore semaphore;
    weft_notify notify;
    int pair[2];
    weft_stream *near, *far;
};

/* Loads the workers, and is stolen. */
static int other(void *arg)
{
    struct all *a = arg;

    while (!atomic_load(&a->over)) {
        weft_task *t = weft_spawn(returns_it, NULL);

        CHECK_EQ(0, weft_mutex_lock(&a->mutex));
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_mutex_unlock(&a->mutex));
        CHECK_EQ(0, weft_join(t, NULL));
        weft_notify_one(&a->notify);
    }
    return 0;
}

static int echoes(void *arg)
{
    struct all *a = arg;
    char c;

    while (weft_read(a->far, &c, 1) == 1)
        CHECK_EQ(1, weft_write_all(a->far, &c, 1));
    return 0;
}

static int sends(void *arg)
{
    int value = 9;

    return weft_oneshot_send(arg, &value);
}

static void await_others(const struct all *a, int i)
{
    weft_oneshot_sender *tx;
    weft_oneshot_receiver *rx;
    weft_future soon = weft_yield_future(), late = weft_sleep_future(WEFT_SECS(100));
    char c = (char)i;
    weft_task *t;
    int value;

    CHECK_EQ(0, weft_oneshot_new(&tx, &rx, sizeof(int)));
    t = weft_spawn(sends, tx);
    CHECK_EQ(1, weft_oneshot_recv(rx, &value));
    weft_oneshot_receiver_close(rx);
    CHECK_EQ(0, weft_join(t, NULL));
    CHECK_EQ(1, weft_write_all(a->near, &c, 1));
    CHECK_EQ(1, weft_read(a->near, &c, 1));
    CHECK_EQ(0, weft_select(&soon, &late));
    t = weft_spawn_blocking(returns_it, as_arg(3));
    CHECK_EQ(0, weft_join(t, &value));
    CHECK_EQ(3, value);
}

static int pinned_all(void *arg)
{
    struct all *a = arg;
    long thread = thread_here();
    uint64_t rounds = test_scaled(ROUNDS);

    for (uint64_t i = 0; i < rounds; i++) {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(thread, thread_here());
        CHECK_EQ(0, weft_mutex_lock(&a->mutex));
        CHECK_EQ(thread, thread_here());
        CHECK_EQ(0, weft_mutex_unlock(&a->mutex));
        CHECK_EQ(0, weft_semaphore_acquire(&a->semaphore));
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_semaphore_release(&a->semaphore, 1));
        CHECK_EQ(thread, thread_here());
        CHECK_EQ(0, weft_notify_wait(&a->notify));
        CHECK_EQ(thread, thread_here());
        CHECK_EQ(0, weft_sleep(i % 8 ? 1 : WEFT_US(100)));
        CHECK_EQ(thread, thread_here());
        CHECK_EQ(0, weft_consume_budget());
        await_others(a, (int)i);
        CHECK_EQ(thread, thread_here());
    }
    return 0;
}

static int under_load(void *arg)
{
    struct all a = {.over = false};
    weft_join_set *load = weft_join_set_new();
    weft_task *t, *echo;
    int result = 1;

    (void)arg;
    CHECK_EQ(0, weft_mutex_init(&a.mutex, NULL));
    CHECK_EQ(0, weft_semaphore_init(&a.semaphore, 1));
    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, a.pair));
    CHECK_EQ(0, weft_stream_from_fd(&a.near, a.pair[0]));
    CHECK_EQ(0, weft_stream_from_fd(&a.far, a.pair[1]));
    echo = weft_spawn(echoes, &a);
    for (int i = 0; i < OTHERS; i++)
        CHECK(weft_join_set_spawn(load, other, &a) > 0);
    t = weft_spawn_local(pinned_all, &a);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(0, result);
    atomic_store(&a.over, true);
    CHECK_EQ(0, weft_join_set_join_all(load, NULL, NULL));
    weft_join_set_free(load);
    weft_close(a.near);
    CHECK_EQ(0, weft_join(echo, &result));
    weft_close(a.far);
    return 0;
}

TEST(a_pinned_task_is_on_one_thread_through_ten_thousand_awaits_of_all_kinds)
{
    test_run(under_load, NULL);
}

END_TEST

/* --- every way to spawn -------------------------------------------------------------------- */

static int keeps_its_thread(void *arg)
{
    long thread = thread_here();

    (void)arg;
    for (int i = 0; i < 30; i++) {
        int rc = i % 10 ? weft_yield() : weft_sleep(WEFT_US(50));

        CHECK_EQ(thread, thread_here());
        if (rc < 0)
            return rc;
    }
    return 7;
}

struct lasting {
    weft_async async;
    long thread;
    int left;
    weft_future nap;
};

static weft_poll lasting_poll(void *self, weft_context *cx)
{
    struct lasting *s = self;

    WEFT_ASYNC_BEGIN(s);
    s->thread = thread_here();
    for (s->left = 20; s->left > 0; s->left--) {
        s->nap = s->left % 2 ? weft_yield_future() : weft_sleep_future(WEFT_US(20));
        WEFT_AWAIT(s, cx, &s->nap);
        CHECK_EQ(s->thread, thread_here());
    }
    WEFT_RETURN(s, 7);
    WEFT_ASYNC_END(s);
}

static const weft_async_type lasting_type = {
    .poll = lasting_poll, .size = sizeof(struct lasting), .name = "lasting"};

/* Joins what it was given. */
static void seven(weft_task *t)
{
    int result = 0;

    CHECK(t != NULL);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(7, result);
}

static int every_spawn(void *arg)
{
    const weft_task_options o = {.name = "pinned", .pinned = true};
    weft_join_set *set = weft_join_set_new();
    weft_join_set *all = NULL;
    const weft_join_set_options so = {.defaults = &o};
    const struct lasting state = {.left = 0};
    weft_task_tracker *tracker = weft_task_tracker_new();
    weft_task *tasks[8];
    int n = 0;

    (void)arg;
    CHECK_EQ(0, weft_join_set_new_with(&all, &so));
    tasks[n++] = weft_spawn_local(keeps_its_thread, NULL);
    tasks[n++] = (weft_spawn_local)(keeps_its_thread, NULL);
    tasks[n++] = weft_spawn_with(&o, keeps_its_thread, NULL);
    tasks[n++] = weft_spawn_copy_with(&o, keeps_its_thread, "x", 2);
    CHECK(weft_join_set_spawn_with(set, &o, keeps_its_thread, NULL) > 0);
    CHECK(weft_join_set_spawn_copy_with(set, &o, keeps_its_thread, "x", 2) > 0);
    CHECK(weft_join_set_spawn(all, keeps_its_thread, NULL) > 0);
    CHECK(weft_join_set_spawn_async(all, &lasting_type, &state) > 0);
    CHECK_EQ(0, weft_go_with(&o, keeps_its_thread, NULL));
    tasks[n++] = weft_task_tracker_spawn_with(tracker, &o, keeps_its_thread, NULL);
    while (n > 0)
        seven(tasks[--n]);
    CHECK_EQ(0, weft_join_set_join_all(set, NULL, NULL));
    CHECK_EQ(0, weft_join_set_join_all(all, NULL, NULL));
    weft_join_set_free(set);
    weft_join_set_free(all);
    CHECK(weft_task_tracker_close(tracker));
    CHECK_EQ(0, weft_task_tracker_wait(tracker));
    weft_task_tracker_free(tracker);
    return 0;
}

TEST(every_way_to_spawn_can_pin)
{
    for (int i = 0; i < 10; i++)
        test_run(every_spawn, NULL);
}

END_TEST

/* --- a set ------------------------------------------------------------------------------------ */

#define MEMBERS 24
#define STEPS   50

struct shared {
    weft_local_set *set;
    long thread;      /* of the set; plain, as the rest: by its tasks, in turn */
    uint64_t counter; /* no lock, no atomic */
    int inside;
};

static int member(void *arg)
{
    struct shared *s = arg;

    CHECK(weft_local_set_is_here(s->set));
    if (!s->thread)
        s->thread = thread_here();
    for (int i = 0; i < STEPS; i++) {
        CHECK_EQ(s->thread, thread_here());
        CHECK_EQ(0, s->inside++);
        s->counter++;
        s->inside--;
        CHECK_EQ(0, i % 16 ? weft_yield() : weft_sleep(WEFT_US(10)));
    }
    return 0;
}

static int spawns_members(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < 4; i++) {
        CHECK_EQ(0, weft_yield());
        CHECK(weft_join_set_spawn(s->set, member, s) > 0);
    }
    return 0;
}

static void *thread_spawns(void *arg)
{
    CHECK(!weft_local_set_is_here(((struct shared *)arg)->set));
    for (int i = 0; i < 4; i++)
        CHECK(weft_join_set_spawn(((struct shared *)arg)->set, member, arg) > 0);
    return NULL;
}

static int one_thread(void *arg)
{
    struct shared s = {.set = weft_local_set_new()};
    weft_join_set *spawners = weft_join_set_new();
    uint64_t taken = 0;
    pthread_t thread;

    (void)arg;
    CHECK(s.set != NULL);
    for (int i = 0; i < MEMBERS / 4 - 1; i++)
        CHECK(weft_join_set_spawn(spawners, spawns_members, &s) > 0);
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_spawns, &s));
    CHECK_EQ(0, weft_join_set_join_all(spawners, NULL, NULL));
    CHECK_EQ(0, pthread_join(thread, NULL));
    while (taken < MEMBERS) {
        weft_join_done done;

        CHECK_EQ(1, weft_join_set_next(s.set, &done));
        CHECK_EQ(0, done.result);
        taken++;
    }
    CHECK_EQ(MEMBERS * STEPS, s.counter);
    CHECK_EQ(0, weft_join_set_next(s.set, NULL));
    weft_join_set_free(s.set);
    weft_join_set_free(spawners);
    return 0;
}

TEST(whoever_spawns_them_all_tasks_of_a_set_are_on_one_thread_and_share_without_locks)
{
    for (int i = 0; i < 20; i++)
        test_run(one_thread, NULL);
}

END_TEST

/* --- run ------------------------------------------------------------------------------------------ */

static int tells_thread(void *arg)
{
    struct shared *s = arg;

    CHECK(weft_local_set_is_here(s->set));
    CHECK(!s->thread || s->thread == thread_here());
    s->thread = thread_here();
    CHECK_EQ(0, weft_sleep(WEFT_US(20)));
    CHECK_EQ(s->thread, thread_here());
    return 5;
}

static int run_often(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < 20; i++) {
        int result = 0;

        CHECK_EQ(0, weft_local_set_run(s->set, tells_thread, s, &result));
        CHECK_EQ(5, result);
    }
    return 0;
}

static int run_waits(void *arg)
{
    weft_local_set *set = arg;
    int result = 0;

    CHECK_EQ(-ECANCELED, weft_local_set_run(set, waits, NULL, &result));
    CHECK_EQ(-ECANCELED, result);
    return 0;
}

static int run_in_sets(void *arg)
{
    struct shared s = {.set = weft_local_set_new()};
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, weft_join(weft_spawn(run_often, &s), NULL));
    CHECK(weft_join_set_is_empty(s.set));
    t = weft_spawn(run_waits, s.set);
    while (!is_waiting(t))
        CHECK_EQ(0, weft_yield());
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, NULL));
    weft_join_set_free(s.set);
    return 0;
}

TEST(run_calls_a_function_on_the_thread_of_the_set_and_waits)
{
    test_run(run_in_sets, NULL);
}

END_TEST

/* A runtime whose workers have never had a pinned task, and sleep: all are roused, and the one answers. */
TEST(a_set_made_outside_is_on_one_worker_of_its_runtime)
{
    for (uint64_t i = 0; i < test_scaled(40); i++) {
        weft_runtime *rt = runtime_with(1 + (unsigned)(i % 5));
        const weft_join_set_options o = {.runtime = rt, .name = "outside"};
        struct shared s = {.set = NULL};
        int result = 0;

        CHECK_EQ(0, weft_local_set_new_with(&s.set, &o));
        for (int k = 0; k < 3; k++) {
            CHECK_EQ(0, weft_local_set_run(s.set, tells_thread, &s, &result));
            CHECK_EQ(5, result);
            if (i % 2)
                usleep(100);
        }
        CHECK(weft_join_set_spawn(s.set, tells_thread, &s) > 0);
        CHECK_EQ(1, weft_join_set_next_blocking(s.set, NULL));
        weft_join_set_free(s.set);
        runtime_end(rt);
    }
}

END_TEST

/* --- woken from elsewhere ------------------------------------------------------------------------- */

#define PINGS 1000

struct pings {
    weft_notify ping;
    atomic_uint pongs;
    uint64_t count;
    long thread;
};

static int answers(void *arg)
{
    struct pings *p = arg;

    p->thread = thread_here();
    for (uint64_t i = 0; i < p->count; i++) {
        CHECK_EQ(0, weft_notify_wait(&p->ping));
        CHECK_EQ(p->thread, thread_here());
        atomic_fetch_add(&p->pongs, 1);
    }
    return 0;
}

static void *pings_thread(void *arg)
{
    struct pings *p = arg;

    for (unsigned i = 0; i < p->count; i++) {
        weft_notify_one(&p->ping);
        while (atomic_load(&p->pongs) != i + 1)
            if (i % 4 == 0)
                usleep(1);
    }
    return NULL;
}

static int pinged_by_thread(void *arg)
{
    struct pings p = {.count = test_scaled(PINGS)};
    weft_task *t = weft_spawn_local(answers, &p);
    pthread_t thread;

    (void)arg;
    CHECK_EQ(0, pthread_create(&thread, NULL, pings_thread, &p));
    CHECK_EQ(0, weft_join(t, NULL));
    CHECK_EQ(0, pthread_join(thread, NULL));
    return 0;
}

TEST(a_plain_thread_wakes_a_pinned_task_asleep_or_not)
{
    test_run(pinged_by_thread, NULL);
}

END_TEST

static int pings_task(void *arg)
{
    struct pings *p = arg;

    for (unsigned i = 0; i < p->count; i++) {
        weft_notify_one(&p->ping);
        while (atomic_load(&p->pongs) != i + 1)
            CHECK_EQ(0, i % 4 ? weft_yield() : weft_sleep(WEFT_US(1)));
    }
    return 0;
}

static int pinged_by_task(void *arg)
{
    struct pings p = {.count = test_scaled(PINGS)};
    weft_task *t = weft_spawn_local(answers, &p), *other_one = weft_spawn(pings_task, &p);

    (void)arg;
    CHECK_EQ(0, weft_join(t, NULL));
    CHECK_EQ(0, weft_join(other_one, NULL));
    return 0;
}

TEST(a_task_that_is_stolen_wakes_a_pinned_task_asleep_or_not)
{
    test_run(pinged_by_task, NULL);
}

END_TEST

static uint64_t parks_of(weft_runtime *rt, unsigned worker)
{
    weft_worker_metrics m;

    CHECK_EQ(0, weft_metrics_worker(rt, worker, &m));
    return m.parks;
}

/* How often the others have slept is how often they were woken. What a monitor or a hook of time does is little. */
TEST(a_wake_calls_the_one_worker_alone)
{
    weft_runtime *rt = runtime_with(8);
    const weft_join_set_options o = {.runtime = rt};
    struct pings p = {.count = 500};
    uint64_t before[8], grown[8], most = 0, sum = 0;
    weft_local_set *set;

    CHECK_EQ(0, weft_local_set_new_with(&set, &o));
    CHECK(weft_join_set_spawn(set, answers, &p) > 0);
    for (unsigned i = 0; i < p.count; i++) {
        if (i == 20)
            for (unsigned k = 0; k < 8; k++)
                before[k] = parks_of(rt, k);
        usleep(20);
        weft_notify_one(&p.ping);
        while (atomic_load(&p.pongs) != i + 1)
            usleep(1);
    }
    for (unsigned k = 0; k < 8; k++) {
        grown[k] = parks_of(rt, k) - before[k];
        most = grown[k] > most ? grown[k] : most;
        sum += grown[k];
    }
    CHECK(most > 100);
    CHECK(sum - most < 100);
    CHECK_EQ(1, weft_join_set_next_blocking(set, NULL));
    weft_join_set_free(set);
    runtime_end(rt);
}

END_TEST

/* --- stuck ------------------------------------------------------------------------------------------- */

struct stuck {
    int hold[2];
    atomic_int begun, done, free_done;
    atomic_ulong waiting; /* as the report told */
    long thread;
    weft_notify go;
};

static void told_of(void *user, const weft_stall *stall)
{
    struct stuck *s = user;

    if (stall->blocked && stall->pinned_waiting > atomic_load(&s->waiting))
        atomic_store(&s->waiting, stall->pinned_waiting);
}

static int blocks(void *arg)
{
    struct stuck *s = arg;
    char c;

    s->thread = thread_here();
    /* From here on it is another thread that could run them. */
    for (int i = 0; i < 3; i++)
        weft_notify_one(&s->go);
    atomic_store(&s->begun, 1);
    CHECK_EQ(1, read(s->hold[0], &c, 1));
    return 0;
}

static int behind(void *arg)
{
    struct stuck *s = arg;

    CHECK_EQ(0, weft_notify_wait(&s->go));
    CHECK_EQ(s->thread, thread_here());
    atomic_fetch_add(&s->done, 1);
    return 0;
}

static int unpinned(void *arg)
{
    struct stuck *s = arg;

    for (int i = 0; i < 20; i++)
        CHECK_EQ(0, i % 4 ? weft_yield() : weft_sleep(WEFT_US(100)));
    CHECK(thread_here() != s->thread);
    atomic_fetch_add(&s->free_done, 1);
    return 0;
}

static int spawns_local_meanwhile(void *arg)
{
    struct stuck *s = arg;

    seven(weft_spawn_local(keeps_its_thread, NULL));
    atomic_fetch_add(&s->free_done, 1);
    return 0;
}

static void stuck_on(unsigned workers)
{
    struct stuck s = {.begun = 0};
    weft_config c = {.worker_threads = workers,
                     .ignore_env = WEFT_ON,
                     .on_stall = told_of,
                     .hook_user = &s,
                     .thread_keep_alive = WEFT_MS(100)};
    weft_join_set_options o = {.name = "stuck"};
    weft_runtime *rt;
    weft_local_set *set;
    weft_task *t;

    test_watchdog(40);
    CHECK_EQ(0, pipe(s.hold));
    CHECK_EQ(0, weft_runtime_new(&rt, &c));
    o.runtime = rt;
    CHECK_EQ(0, weft_local_set_new_with(&set, &o));
    for (int i = 0; i < 3; i++)
        CHECK(weft_join_set_spawn(set, behind, &s) > 0);
    CHECK_EQ(0, weft_local_set_run(set, returns_it, NULL, NULL));
    CHECK(weft_join_set_spawn(set, blocks, &s) > 0);
    while (!atomic_load(&s.begun))
        usleep(50);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, unpinned, &s));
        weft_detach(t);
        CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, spawns_local_meanwhile, &s));
        weft_detach(t);
    }
    /* The pinned ones that were spawned meanwhile are on a worker that is free, if there is one. */
    while (atomic_load(&s.free_done) != (workers > 1 ? 8 : 4) || atomic_load(&s.waiting) < 3)
        usleep(50);
    CHECK_EQ(0, atomic_load(&s.done));
    CHECK_EQ(1, write(s.hold[1], "x", 1));
    for (int i = 0; i < 4; i++)
        CHECK_EQ(1, weft_join_set_next_blocking(set, NULL));
    CHECK_EQ(3, atomic_load(&s.done));
    while (atomic_load(&s.free_done) != 8)
        usleep(50);
    weft_join_set_free(set);
    runtime_end(rt);
    (void)close(s.hold[0]);
    (void)close(s.hold[1]);
}

TEST(behind_a_stuck_poll_pinned_tasks_wait_others_go_on_and_the_report_counts_them)
{
    stuck_on(1);
    stuck_on(2);
    stuck_on(4);
}

END_TEST

static int in_place(void *arg)
{
    usleep(2000);
    return (int)(intptr_t)arg;
}

static int blocks_in_place(void *arg)
{
    long thread = thread_here();

    (void)arg;
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(3, weft_block_in_place(in_place, as_arg(3)));
        CHECK_EQ(thread, thread_here());
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(thread, thread_here());
        CHECK_EQ(4, weft_blocking(in_place, as_arg(4)));
        CHECK_EQ(thread, thread_here());
        CHECK_EQ(0, weft_sleep(WEFT_US(100)));
        CHECK_EQ(thread, thread_here());
    }
    return 7;
}

static int pinned_blocking(void *arg)
{
    weft_task *t[2];

    (void)arg;
    t[0] = weft_spawn_local(blocks_in_place, NULL);
    t[1] = weft_spawn_local(keeps_its_thread, NULL);
    for (int i = 0; i < 2; i++)
        seven(t[i]);
    return 0;
}

TEST(a_pinned_task_may_block_in_place_and_stays_where_it_is)
{
    for (size_t i = 1; i < test_flavour_count; i++)
        test_run_on(&test_flavours[i], pinned_blocking, NULL);
}

END_TEST

/* --- turns ---------------------------------------------------------------------------------------------- */

struct turns {
    atomic_bool over;
    atomic_uint pinned, others;
};

static int yields_pinned(void *arg)
{
    struct turns *t = arg;

    while (!atomic_load(&t->over)) {
        atomic_fetch_add(&t->pinned, 1);
        CHECK_EQ(0, weft_yield());
    }
    return 0;
}

static int yields_other(void *arg)
{
    struct turns *t = arg;

    while (!atomic_load(&t->over)) {
        atomic_fetch_add(&t->others, 1);
        CHECK_EQ(0, weft_yield());
    }
    return 0;
}

static int take_turns(void *arg)
{
    struct turns t = {.over = false};
    weft_local_set *set = weft_local_set_new();
    weft_join_set *others = weft_join_set_new();

    (void)arg;
    for (int i = 0; i < 3; i++) {
        CHECK(weft_join_set_spawn(set, yields_pinned, &t) > 0);
        CHECK(weft_join_set_spawn(others, yields_other, &t) > 0);
    }
    while (atomic_load(&t.pinned) < 300 || atomic_load(&t.others) < 300)
        CHECK_EQ(0, weft_yield());
    /* And a timer, among them. */
    CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
    atomic_store(&t.over, true);
    CHECK_EQ(0, weft_join_set_join_all(set, NULL, NULL));
    CHECK_EQ(0, weft_join_set_join_all(others, NULL, NULL));
    weft_join_set_free(set);
    weft_join_set_free(others);
    return 0;
}

TEST(pinned_tasks_and_others_take_turns_and_neither_hold_up_timers)
{
    test_run(take_turns, NULL);
}

END_TEST

static int pinned_hogs(void *arg)
{
    struct turns t = {.over = false};
    weft_local_set *set = weft_local_set_new();
    int pair[2];
    weft_stream *s;
    char c;

    (void)arg;
    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    CHECK_EQ(0, weft_stream_from_fd(&s, pair[0]));
    for (int i = 0; i < 2; i++)
        CHECK(weft_join_set_spawn(set, yields_pinned, &t) > 0);
    while (atomic_load(&t.pinned) < 300)
        CHECK_EQ(0, weft_yield());
    CHECK_EQ(1, write(pair[1], "x", 1));
    CHECK_EQ(1, weft_read(s, &c, 1));
    atomic_store(&t.over, true);
    CHECK_EQ(0, weft_join_set_join_all(set, NULL, NULL));
    weft_join_set_free(set);
    weft_close(s);
    (void)close(pair[1]);
    return 0;
}

TEST(pinned_tasks_that_are_always_ready_do_not_hold_up_descriptors)
{
    test_run(pinned_hogs, NULL);
}

END_TEST

/* --- ends ------------------------------------------------------------------------------------------------ */

static int free_cancels(void *arg)
{
    atomic_int alive = 0;
    weft_local_set *set = weft_local_set_new();

    (void)arg;
    for (int i = 0; i < 10; i++)
        CHECK(weft_join_set_spawn(set, counted, &alive) > 0);
    YIELD_UNTIL(atomic_load(&alive) == 10);
    CHECK_EQ(10, weft_join_set_len(set));
    weft_join_set_free(set);
    CHECK_EQ(0, atomic_load(&alive));
    return 0;
}

TEST(freeing_a_set_cancels_its_tasks_and_waits_for_them)
{
    test_run(free_cancels, NULL);
}

END_TEST

static int cancel_them(void *arg)
{
    weft_local_set *set = weft_local_set_new();
    atomic_int begun = 0;
    weft_join_done done;
    ssize_t id = 0;

    (void)arg;
    for (int i = 0; i < 5; i++)
        id = weft_join_set_spawn(set, waits, &begun);
    YIELD_UNTIL(atomic_load(&begun) == 5);
    CHECK_EQ(0, weft_join_set_cancel_one(set, (uint64_t)id));
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK_EQ(id, done.id);
    CHECK_EQ(-ECANCELED, done.result);
    weft_join_set_cancel(set);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(1, weft_join_set_next(set, &done));
        CHECK_EQ(-ECANCELED, done.result);
    }
    CHECK_EQ(0, weft_join_set_try_next(set, &done));
    CHECK(weft_join_set_spawn(set, waits, &begun) > 0);
    CHECK_EQ(0, weft_join_set_set_deadline(set, weft_now() + WEFT_US(100)));
    CHECK_EQ(1, weft_join_set_next(set, &done));
    CHECK_EQ(-ECANCELED, done.result);
    weft_join_set_free(set);
    return 0;
}

TEST(tasks_of_a_set_are_cancelled_from_any_worker_and_in_time)
{
    test_run(cancel_them, NULL);
}

END_TEST

static int frees_its_own(void *arg)
{
    weft_join_set_free(*(weft_local_set **)arg);
    return 0;
}

static int freed_inside(void *arg)
{
    int null = open("/dev/null", O_WRONLY);
    weft_local_set *set = weft_local_set_new();

    (void)arg;
    CHECK(null >= 0 && dup2(null, STDERR_FILENO) >= 0);
    (void)close(null);
    CHECK(weft_join_set_spawn(set, frees_its_own, &set) > 0);
    CHECK_EQ(0, weft_sleep(WEFT_MS(2)));
    return 0;
}

TEST(a_set_that_one_of_its_tasks_frees_is_gone_all_the_same)
{
    test_run(freed_inside, NULL);
}

END_TEST

static int leaves_some(void *arg)
{
    for (int i = 0; i < 10; i++) {
        weft_detach(weft_spawn_local(counted, arg));
        weft_detach(weft_spawn_local(keeps_its_thread, NULL));
    }
    YIELD_UNTIL(atomic_load((atomic_int *)arg) > 0);
    return 0;
}

TEST(a_shutdown_ends_pinned_tasks_like_others)
{
    for (int round = 0; round < 20; round++)
        for (size_t i = 0; i < test_flavour_count; i++) {
            weft_runtime *rt = test_runtime_new(&test_flavours[i]);
            atomic_int alive = 0;
            int result = -1;

            CHECK_EQ(0, weft_block_on(rt, leaves_some, &alive, &result));
            CHECK_EQ(0, result);
            test_runtime_free(rt);
            CHECK_EQ(0, atomic_load(&alive));
        }
}

END_TEST

static int never_ends(void *arg)
{
    weft_future never = weft_pending_future();

    atomic_fetch_add((atomic_int *)arg, 1);
    for (;;) {
        int rc = 0;

        WEFT_SHIELD
        rc = (int)weft_timeout(WEFT_US(100), &never);
        CHECK(rc == -ETIMEDOUT || rc == 0);
        never = weft_pending_future();
    }
    return 0;
}

/* At the limit of a shutdown some are queued, and are given up as others are. */
TEST(a_shutdown_that_gives_up_tells_who_joins_a_pinned_task)
{
    weft_runtime *rt = runtime_with(2);
    atomic_int begun = 0;
    const weft_join_set_options o = {.runtime = rt};
    weft_local_set *set;
    int null = open("/dev/null", O_WRONLY);

    CHECK(null >= 0 && dup2(null, STDERR_FILENO) >= 0);
    CHECK_EQ(0, weft_local_set_new_with(&set, &o));
    for (int i = 0; i < 3; i++)
        CHECK(weft_join_set_spawn(set, never_ends, &begun) > 0);
    while (atomic_load(&begun) != 3)
        usleep(50);
    CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, WEFT_MS(20)));
    weft_runtime_free(rt);
    for (int i = 0; i < 3; i++) {
        weft_join_done done;

        CHECK_EQ(1, weft_join_set_next_blocking(set, &done));
        CHECK_EQ(-ECANCELED, done.result);
    }
    weft_join_set_free(set);
}

END_TEST

/* --- mistakes --------------------------------------------------------------------------------------------- */

static void hush(void)
{
    int null = open("/dev/null", O_WRONLY);

    CHECK(null >= 0 && dup2(null, STDERR_FILENO) >= 0);
    (void)close(null);
}

static int refuse_inside(void *arg)
{
    const weft_task_options pinned = {.pinned = true};
    weft_join_set *ordinary = weft_join_set_new();
    weft_local_set *set = weft_local_set_new();
    weft_task_tracker *tracker = weft_task_tracker_new();
    int result = 0;

    CHECK(weft_spawn_local(NULL, NULL) == NULL);
    CHECK(weft_spawn_blocking_with(&pinned, returns_it, NULL) == NULL);
    CHECK_EQ(-EINVAL, weft_join_set_spawn_blocking(ordinary, &pinned, returns_it, NULL));
    CHECK_EQ(-EINVAL, weft_join_set_spawn_blocking(set, NULL, returns_it, NULL));
    CHECK_EQ(-EINVAL, weft_local_set_new_with(NULL, NULL));
    CHECK_EQ(-EINVAL, weft_local_set_run(NULL, returns_it, NULL, &result));
    CHECK_EQ(-EINVAL, weft_local_set_run(ordinary, returns_it, NULL, &result));
    CHECK_EQ(-EINVAL, weft_local_set_run(set, NULL, NULL, &result));
    CHECK(!weft_local_set_is_here(NULL));
    CHECK(!weft_local_set_is_here(ordinary));
    /* Into another runtime. */
    if (arg) {
        weft_task *t = NULL;

        CHECK_EQ(-EINVAL, weft_spawn_on(arg, &t, &pinned, returns_it, NULL));
    }
    weft_join_set_free(ordinary);
    weft_join_set_free(set);
    CHECK(weft_task_tracker_close(tracker));
    CHECK_EQ(0, weft_task_tracker_wait(tracker));
    weft_task_tracker_free(tracker);
    return 0;
}

TEST(what_cannot_be_pinned_is_refused)
{
    const weft_task_options pinned = {.pinned = true};
    weft_runtime *rt = runtime_with(2);
    const weft_join_set_options o = {.runtime = rt};
    const struct lasting state = {.left = 0};
    weft_join_set *ordinary = NULL;
    weft_local_set *set = NULL;
    weft_task *t = NULL;

    hush();
    CHECK_EQ(-EINVAL, weft_spawn_on(rt, &t, &pinned, returns_it, NULL));
    CHECK_EQ(-EINVAL, weft_spawn_async_on(rt, &t, &pinned, &lasting_type, &state));
    CHECK_EQ(-EINVAL, weft_spawn_blocking_on(rt, &t, &pinned, returns_it, NULL));
    CHECK(t == NULL);
    CHECK(weft_spawn_local(returns_it, NULL) == NULL);
    CHECK(weft_local_set_new() == NULL);
    CHECK_EQ(-EPERM, weft_local_set_new_with(&set, NULL));
    CHECK_EQ(0, weft_join_set_new_with(&ordinary, &o));
    CHECK_EQ(-EINVAL, weft_join_set_spawn_with(ordinary, &pinned, returns_it, NULL));
    CHECK(weft_join_set_is_empty(ordinary));
    weft_join_set_free(ordinary);
    test_run(refuse_inside, rt);
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    CHECK_EQ(0, weft_local_set_new_with(&set, &o));
    CHECK_EQ(-ESHUTDOWN, weft_local_set_run(set, returns_it, NULL, NULL));
    CHECK_EQ(-ESHUTDOWN, weft_join_set_spawn(set, returns_it, NULL));
    weft_join_set_free(set);
    weft_runtime_free(rt);
}

END_TEST

TEST_MAIN("local_set", a_pinned_task_is_on_one_thread_through_ten_thousand_awaits_of_all_kinds,
          every_way_to_spawn_can_pin,
          whoever_spawns_them_all_tasks_of_a_set_are_on_one_thread_and_share_without_locks,
          run_calls_a_function_on_the_thread_of_the_set_and_waits,
          a_set_made_outside_is_on_one_worker_of_its_runtime,
          a_plain_thread_wakes_a_pinned_task_asleep_or_not,
          a_task_that_is_stolen_wakes_a_pinned_task_asleep_or_not, a_wake_calls_the_one_worker_alone,
          behind_a_stuck_poll_pinned_tasks_wait_others_go_on_and_the_report_counts_them,
          a_pinned_task_may_block_in_place_and_stays_where_it_is,
          pinned_tasks_and_others_take_turns_and_neither_hold_up_timers,
          pinned_tasks_that_are_always_ready_do_not_hold_up_descriptors,
          freeing_a_set_cancels_its_tasks_and_waits_for_them,
          tasks_of_a_set_are_cancelled_from_any_worker_and_in_time,
          a_set_that_one_of_its_tasks_frees_is_gone_all_the_same,
          a_shutdown_ends_pinned_tasks_like_others,
          a_shutdown_that_gives_up_tells_who_joins_a_pinned_task, what_cannot_be_pinned_is_refused)
