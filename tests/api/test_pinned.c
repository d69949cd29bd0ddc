/* SPDX-License-Identifier: MIT */
/*
 * test_pinned.c - pinned tasks: on one thread for ever, woken from anywhere, behind a stuck poll.
 */
#include "pinned.h"

#include <pthread.h>
#include <sys/socket.h>

/* --- all kinds of awaits, under load --------------------------------------------------------- */

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

/* --- every way to spawn ---------------------------------------------------------------------- */

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

/* --- woken from elsewhere -------------------------------------------------------------------- */

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

/* --- stuck ----------------------------------------------------------------------------------- */

struct stuck {
    int hold[2];
    atomic_int begun, done, free_done;
    atomic_ulong waiting; /* as the report told */
    long thread;
    weft_notify stop, go;
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

    CHECK_EQ(0, weft_notify_wait(&s->stop));
    s->thread = thread_here();
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

/* The three are ready before the one that will not let them run begins its poll. */
static int wakes_them(void *arg)
{
    struct stuck *s = arg;

    weft_notify_one(&s->stop);
    for (int i = 0; i < 3; i++)
        weft_notify_one(&s->go);
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
    weft_metrics m;
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
    CHECK(weft_join_set_spawn(set, blocks, &s) > 0);
    CHECK_EQ(0, weft_local_set_run(set, returns_it, NULL, NULL));
    CHECK(weft_join_set_spawn(set, wakes_them, &s) > 0);
    while (!atomic_load(&s.begun))
        usleep(50);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, unpinned, &s));
        weft_detach(t);
    }
    while (atomic_load(&s.free_done) != 4 || atomic_load(&s.waiting) < 3)
        usleep(50);
    /* Now that it is known who is stuck: these are on a worker that is free, if there is one. */
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, spawns_local_meanwhile, &s));
        weft_detach(t);
    }
    while (workers > 1 && atomic_load(&s.free_done) != 8)
        usleep(50);
    CHECK_EQ(0, atomic_load(&s.done));
    CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
    CHECK(m.total.queue_depth >= 3);
    CHECK_EQ(1, write(s.hold[1], "x", 1));
    for (int i = 0; i < 5; i++)
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

/* --- turns ----------------------------------------------------------------------------------- */

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

TEST_MAIN("pinned", a_pinned_task_is_on_one_thread_through_ten_thousand_awaits_of_all_kinds,
          every_way_to_spawn_can_pin, a_plain_thread_wakes_a_pinned_task_asleep_or_not,
          a_task_that_is_stolen_wakes_a_pinned_task_asleep_or_not,
          a_wake_calls_the_one_worker_alone,
          behind_a_stuck_poll_pinned_tasks_wait_others_go_on_and_the_report_counts_them,
          a_pinned_task_may_block_in_place_and_stays_where_it_is,
          pinned_tasks_and_others_take_turns_and_neither_hold_up_timers,
          pinned_tasks_that_are_always_ready_do_not_hold_up_descriptors)
