/* SPDX-License-Identifier: MIT */
/*
 * test_wake.c - the hunt for lost wake-ups: few tokens among many sleepers, so that almost every
 * wake meets a worker that is about to park; work put into sleeping runtimes from outside; timers
 * and events of workers that are stuck.
 *
 * A wake-up that is lost shows as a lack of progress: a plain thread looks at a count, and when it
 * has stood still for too long prints all tasks and fails.
 */
#include "parcel.h"

#include "base/atomic.h"
#include "base/rand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define STILL_SECONDS 4 /* without progress, times test_slow() */

/* --- the watch over progress -------------------------------------------------- */

struct watch {
    weft_runtime *rt;
    struct wf_atomic_u64 progress;
    struct wf_atomic_u32 over; /* set by the watch when time is up, or by the test */
    weft_duration length;
    void (*on_over)(void *); /* called once, by the watch; may be NULL */
    void *arg;
    pthread_t thread;
};

static void pause_ms(long ms)
{
    struct timespec t = {.tv_nsec = ms * 1000000};

    (void)nanosleep(&t, NULL);
}

static void *watch_run(void *arg)
{
    struct watch *w = arg;
    weft_instant end = weft_now() + w->length, moved = weft_now();
    uint64_t before = 0;

    while (!wf_load_u32(&w->over, WF_ACQUIRE) && weft_now() < end) {
        uint64_t now;

        pause_ms(5);
        now = wf_load_u64(&w->progress, WF_RELAXED);
        if (now != before)
            moved = weft_now();
        before = now;
        if (weft_now() - moved > WEFT_SECS(STILL_SECONDS * test_slow())) {
            (void)weft_runtime_dump(w->rt, STDERR_FILENO);
            test_failed(__FILE__, __LINE__, "no progress after %llu steps: a wake-up was lost",
                        (unsigned long long)now);
        }
    }
    wf_store_u32(&w->over, 1, WF_RELEASE);
    if (w->on_over)
        w->on_over(w->arg);
    return NULL;
}

static void watch_begin(struct watch *w)
{
    CHECK_EQ(0, pthread_create(&w->thread, NULL, watch_run, w));
}

static void watch_end(struct watch *w)
{
    wf_store_u32(&w->over, 1, WF_RELEASE);
    CHECK_EQ(0, pthread_join(w->thread, NULL));
}

static bool watch_over(struct watch *w)
{
    return wf_load_u32(&w->over, WF_ACQUIRE) != 0;
}

/* --- tokens between tasks and threads ----------------------------------------- */

#define NODES_MAX 24

/* A letter box: tasks wait by a waker, threads on the condition. */
struct node {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    weft_waker waker;    /* under lock */
    unsigned tokens;     /* under lock */
    bool closed;         /* under lock */
    struct ring *ring;   /* set once */
    struct wf_rand rand; /* its runner only */
};

struct ring {
    struct watch watch;
    struct node nodes[NODES_MAX];
    unsigned count, tasks; /* the first nodes are tasks, the others threads */
};

static void node_give(struct node *n, bool close)
{
    weft_waker waker;

    (void)pthread_mutex_lock(&n->lock);
    if (close)
        n->closed = true;
    else
        n->tokens++;
    waker = n->waker;
    n->waker = (weft_waker){0};
    (void)pthread_mutex_unlock(&n->lock);
    (void)pthread_cond_signal(&n->filled);
    weft_waker_wake(&waker);
}

/* Result 1: a token was taken; 0: closed. */
static weft_poll node_poll(weft_future *f, weft_context *cx)
{
    struct node *n = (struct node *)f->words[0]; /* NOLINT(performance-no-int-to-ptr) */
    weft_waker new = weft_context_waker(cx), old;
    bool ready;

    (void)pthread_mutex_lock(&n->lock);
    ready = n->tokens || n->closed;
    old = n->waker;
    n->waker = ready ? (weft_waker){0} : new;
    f->result = !n->closed;
    if (ready && !n->closed)
        n->tokens--;
    (void)pthread_mutex_unlock(&n->lock);
    weft_waker_drop(&old);
    if (!ready)
        return WEFT_PENDING;
    weft_waker_drop(&new);
    return WEFT_READY;
}

static void node_drop(weft_future *f)
{
    struct node *n = (struct node *)f->words[0]; /* NOLINT(performance-no-int-to-ptr) */
    weft_waker old;

    (void)pthread_mutex_lock(&n->lock);
    old = n->waker;
    n->waker = (weft_waker){0};
    (void)pthread_mutex_unlock(&n->lock);
    weft_waker_drop(&old);
}

static const weft_future_type node_type = {node_poll, node_drop, "node"};

static void node_pass_on(struct node *n)
{
    struct ring *r = n->ring;

    wf_add_u64(&r->watch.progress, 1, WF_RELAXED);
    /* Of any length, so that the wake meets every moment of a falling asleep. */
    for (uint32_t i = wf_rand_below(&n->rand, 1u << wf_rand_below(&n->rand, 12)); i; i--)
        wf_spin_pause();
    node_give(&r->nodes[wf_rand_below(&n->rand, r->count)], false);
}

static int node_task(void *arg)
{
    struct node *n = arg;

    for (;;) {
        weft_future f = weft_future_of(&node_type);
        ssize_t rc;

        f.words[0] = (uintptr_t)n;
        rc = wf_rand_below(&n->rand, 4) ? weft_await(&f) : weft_timeout(WEFT_US(50), &f);
        if (rc == 0)
            return 0;
        if (rc == 1)
            node_pass_on(n);
        else
            CHECK_EQ(-ETIMEDOUT, rc);
    }
}

static void *node_thread(void *arg)
{
    struct node *n = arg;

    for (;;) {
        bool closed;

        (void)pthread_mutex_lock(&n->lock);
        while (!n->tokens && !n->closed)
            (void)pthread_cond_wait(&n->filled, &n->lock);
        closed = n->closed;
        if (!closed)
            n->tokens--;
        (void)pthread_mutex_unlock(&n->lock);
        if (closed)
            return NULL;
        node_pass_on(n);
    }
}

static void ring_close(void *arg)
{
    struct ring *r = arg;

    for (unsigned i = 0; i < r->count; i++)
        node_give(&r->nodes[i], true);
}

static int ring_root(void *arg)
{
    struct ring *r = arg;
    weft_task *tasks[NODES_MAX];
    int result;

    for (unsigned i = 0; i < r->tasks; i++)
        tasks[i] = weft_spawn(node_task, &r->nodes[i]);
    for (unsigned i = 0; i < r->tasks; i++) {
        CHECK_EQ(0, weft_join(tasks[i], &result));
        CHECK_EQ(0, result);
    }
    return 0;
}

static void ring_run(const struct test_flavour *flavour, unsigned tasks, unsigned threads,
                     unsigned tokens, weft_duration length, uint64_t seed)
{
    struct ring *r = calloc(1, sizeof(*r));
    pthread_t handles[NODES_MAX];
    unsigned left = 0;
    int result = -1;

    CHECK(r);
    r->tasks = tasks;
    r->count = tasks + threads;
    r->watch = (struct watch){
        .rt = test_runtime_new(flavour), .length = length, .on_over = ring_close, .arg = r};
    for (unsigned i = 0; i < r->count; i++) {
        struct node *n = &r->nodes[i];

        n->ring = r;
        wf_rand_init(&n->rand, seed + i);
        CHECK_EQ(0, pthread_mutex_init(&n->lock, NULL));
        CHECK_EQ(0, pthread_cond_init(&n->filled, NULL));
    }
    for (unsigned i = 0; i < tokens; i++)
        node_give(&r->nodes[i % r->count], false);
    for (unsigned i = tasks; i < r->count; i++)
        CHECK_EQ(0, pthread_create(&handles[i], NULL, node_thread, &r->nodes[i]));
    watch_begin(&r->watch);
    CHECK_EQ(0, weft_block_on(r->watch.rt, ring_root, r, &result));
    CHECK_EQ(0, result);
    watch_end(&r->watch);
    for (unsigned i = tasks; i < r->count; i++)
        CHECK_EQ(0, pthread_join(handles[i], NULL));
    test_runtime_free(r->watch.rt);
    for (unsigned i = 0; i < r->count; i++) {
        left += r->nodes[i].tokens;
        weft_waker_drop(&r->nodes[i].waker);
    }
    CHECK_EQ(tokens, left);
    (void)fprintf(stderr, "%s, %u tasks, %u threads, %u tokens: %llu hops\n", flavour->name, tasks,
                  threads, tokens, (unsigned long long)wf_load_u64(&r->watch.progress, WF_RELAXED));
    free(r);
}

TEST(tokens_go_round_without_end)
{
    static const unsigned shapes[][3] = {/* tasks, threads, tokens */
                                         {2, 0, 1},
                                         {2, 1, 1},
                                         {6, 2, 2},
                                         {20, 2, 5}};
    size_t count = sizeof(shapes) / sizeof(shapes[0]);
    weft_duration each = test_stress_time(WEFT_SECS(5)) / test_flavour_count / count;
    uint64_t seed = test_seed();

    test_watchdog(100);
    for (size_t i = 0; i < test_flavour_count; i++)
        for (size_t k = 0; k < count; k++)
            ring_run(&test_flavours[i], shapes[k][0], shapes[k][1], shapes[k][2], each,
                     seed + i * 1000 + k * 100);
}

END_TEST

/* --- work from outside -------------------------------------------------------- */

#define OUTSIDERS 2

struct outside {
    struct watch watch;
    struct parcel *end;
    uint64_t seed;
    struct wf_atomic_u32 begun, ended; /* threads */
};

static int outside_task(void *arg)
{
    struct wf_atomic_u64 *progress = arg;

    wf_add_u64(progress, 1, WF_RELAXED);
    return 3;
}

static int outside_yielder(void *arg)
{
    CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, weft_sleep(WEFT_US(70)));
    return outside_task(arg);
}

/* One task at a time into a runtime that has gone to sleep, or is just about to. The last of these
 * threads to leave ends the first task, without which nobody drives a current-thread runtime. */
static void *outside_thread(void *arg)
{
    struct outside *o = arg;
    struct wf_rand r;

    wf_rand_init(&r, o->seed + wf_add_u32(&o->begun, 1, WF_RELAXED));
    while (!watch_over(&o->watch)) {
        weft_task *t;
        int result = 0;

        CHECK_EQ(0, weft_spawn_on(o->watch.rt, &t, NULL,
                                  wf_rand_below(&r, 8) ? outside_task : outside_yielder,
                                  &o->watch.progress));
        CHECK_EQ(0, weft_join_blocking(t, &result));
        CHECK_EQ(3, result);
        for (uint32_t i = wf_rand_below(&r, 1u << wf_rand_below(&r, 13)); i; i--)
            wf_spin_pause();
    }
    if (wf_add_u32(&o->ended, 1, WF_ACQ_REL) == OUTSIDERS - 1)
        parcel_deliver(o->end);
    return NULL;
}

static int outside_root(void *arg)
{
    struct outside *o = arg;
    weft_future f = parcel_future(o->end);

    return (int)weft_await(&f);
}

static void outside_run(const struct test_flavour *flavour, weft_duration length, uint64_t seed)
{
    struct outside o = {.end = parcel_new(2), .seed = seed};
    pthread_t threads[OUTSIDERS];
    int result = -1;

    o.watch = (struct watch){.rt = test_runtime_new(flavour), .length = length};
    watch_begin(&o.watch);
    for (int i = 0; i < OUTSIDERS; i++)
        CHECK_EQ(0, pthread_create(&threads[i], NULL, outside_thread, &o));
    CHECK_EQ(0, weft_block_on(o.watch.rt, outside_root, &o, &result));
    CHECK_EQ(0, result);
    for (int i = 0; i < OUTSIDERS; i++)
        CHECK_EQ(0, pthread_join(threads[i], NULL));
    watch_end(&o.watch);
    parcel_put(o.end);
    test_runtime_free(o.watch.rt);
    (void)fprintf(stderr, "%s: %llu tasks from outside\n", flavour->name,
                  (unsigned long long)wf_load_u64(&o.watch.progress, WF_RELAXED));
}

TEST(work_from_outside_is_always_served)
{
    weft_duration each = test_stress_time(WEFT_SECS(3)) / test_flavour_count;
    uint64_t seed = test_seed();

    test_watchdog(100);
    for (size_t i = 0; i < test_flavour_count; i++)
        outside_run(&test_flavours[i], each, seed + i * 10);
}

END_TEST

/* --- what a stuck worker leaves behind ---------------------------------------- */

struct stuck {
    struct watch watch;
    weft_duration nap;
    struct wf_atomic_u32 asleep, awake;
};

static int stuck_napper(void *arg)
{
    struct stuck *s = arg;

    wf_store_u32(&s->asleep, 1, WF_RELEASE);
    CHECK_EQ(0, weft_sleep(s->nap));
    wf_store_u32(&s->awake, 1, WF_RELEASE);
    return 0;
}

/* Computes from when the other sleeps until it is awake: an idle worker must fire the timer. */
static int stuck_root(void *arg)
{
    struct stuck *s = arg;
    struct wf_rand r;

    wf_rand_init(&r, test_seed());
    while (!watch_over(&s->watch)) {
        weft_task *t;

        s->nap = WEFT_US(wf_rand_below(&r, 2000));
        wf_store_u32(&s->asleep, 0, WF_RELAXED);
        wf_store_u32(&s->awake, 0, WF_RELAXED);
        t = weft_spawn(stuck_napper, s);
        while (!wf_load_u32(&s->asleep, WF_ACQUIRE))
            CHECK_EQ(0, weft_yield());
        while (!wf_load_u32(&s->awake, WF_ACQUIRE))
            wf_spin_pause();
        CHECK_EQ(0, weft_join(t, NULL));
        wf_add_u64(&s->watch.progress, 1, WF_RELAXED);
        /* Let the others fall asleep. */
        CHECK_EQ(0, weft_sleep(WEFT_US(wf_rand_below(&r, 200))));
    }
    return 0;
}

TEST(a_timer_of_a_stuck_worker_is_fired_by_another)
{
    weft_duration each = test_stress_time(WEFT_SECS(2)) / 2;

    test_watchdog(100);
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct stuck s = {.watch = {.length = each}};
        int result = -1;

        /* Of two workers, the free one may be the one that the napper has to leave. */
        if (test_flavours[i].workers < (MIGRATING ? 3 : 2))
            continue;
        s.watch.rt = test_runtime_new(&test_flavours[i]);
        watch_begin(&s.watch);
        CHECK_EQ(0, weft_block_on(s.watch.rt, stuck_root, &s, &result));
        CHECK_EQ(0, result);
        watch_end(&s.watch);
        test_runtime_free(s.watch.rt);
        (void)fprintf(stderr, "%s: %llu naps\n", test_flavours[i].name,
                      (unsigned long long)wf_load_u64(&s.watch.progress, WF_RELAXED));
    }
}

END_TEST

#define PIPES 700 /* more than one harvest brings */

struct plumbing {
    struct watch watch;
    int ends[PIPES][2];
    struct wf_atomic_u32 waiting, served, blocked, go, hog_ready;
};

struct reader {
    struct plumbing *p;
    int fd;
};

static int plumbing_reader(void *arg)
{
    struct reader *r = arg;
    weft_stream *s;
    char byte = 0;

    CHECK_EQ(0, weft_stream_from_fd(&s, r->fd));
    wf_add_u32(&r->p->waiting, 1, WF_RELEASE);
    CHECK_EQ(1, weft_read(s, &byte, 1));
    CHECK_EQ('x', byte);
    wf_add_u32(&r->p->served, 1, WF_RELEASE);
    wf_add_u64(&r->p->watch.progress, 1, WF_RELAXED);
    return weft_close(s);
}

/* Keeps the other worker busy, so that all readers register on the hog's. */
static int plumbing_blocker(void *arg)
{
    struct plumbing *p = arg;

    wf_store_u32(&p->blocked, 1, WF_RELEASE);
    while (!wf_load_u32(&p->go, WF_ACQUIRE))
        wf_spin_pause();
    return 0;
}

static int plumbing_hog(void *arg)
{
    struct plumbing *p = arg;

    while (!wf_load_u32(&p->blocked, WF_ACQUIRE))
        wf_spin_pause();
    for (int i = 0; i < PIPES; i++) {
        struct reader r = {p, p->ends[i][0]};

        CHECK_EQ(0, weft_go_copy(plumbing_reader, &r, sizeof(r)));
    }
    /* A reader counts just before it waits: some more rounds, and all of them do. */
    while (wf_load_u32(&p->waiting, WF_ACQUIRE) < PIPES)
        CHECK_EQ(0, weft_yield());
    for (int i = 0; i < 100; i++)
        CHECK_EQ(0, weft_yield());
    wf_store_u32(&p->hog_ready, 1, WF_RELEASE);
    while (wf_load_u32(&p->served, WF_ACQUIRE) < PIPES)
        wf_spin_pause();
    return 0;
}

TEST(events_of_a_stuck_worker_are_served_by_another)
{
    const struct test_flavour two = {"2 workers", WEFT_MULTI_THREAD, 2};
    struct plumbing *p = calloc(1, sizeof(*p));
    struct rlimit files = {.rlim_cur = 0};
    weft_task *blocker, *hog;

    CHECK(p);
    CHECK_EQ(0, getrlimit(RLIMIT_NOFILE, &files));
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (MIGRATING)
        TEST_SKIP("each reader would leave the worker that all are to be on");
    if (files.rlim_max < 2 * PIPES + 100)
        TEST_SKIP("too few descriptors");
    for (int i = 0; i < PIPES; i++)
        CHECK_EQ(0, pipe2(p->ends[i], O_CLOEXEC));
    p->watch = (struct watch){.rt = test_runtime_new(&two), .length = WEFT_SECS(600)};
    watch_begin(&p->watch);
    CHECK_EQ(0, weft_spawn_on(p->watch.rt, &blocker, NULL, plumbing_blocker, p));
    CHECK_EQ(0, weft_spawn_on(p->watch.rt, &hog, NULL, plumbing_hog, p));
    while (!wf_load_u32(&p->hog_ready, WF_ACQUIRE))
        pause_ms(1);
    /* All are ready before anybody can look. */
    for (int i = 0; i < PIPES; i++)
        CHECK_EQ(1, write(p->ends[i][1], "x", 1));
    wf_store_u32(&p->go, 1, WF_RELEASE);
    CHECK_EQ(0, weft_join_blocking(hog, NULL));
    CHECK_EQ(0, weft_join_blocking(blocker, NULL));
    watch_end(&p->watch);
    test_runtime_free(p->watch.rt);
    for (int i = 0; i < PIPES; i++)
        CHECK_EQ(0, close(p->ends[i][1]));
    free(p);
}

END_TEST

/* --- what is queued behind a long poll ---------------------------------------- */

enum behind { BEHIND_JOIN, BEHIND_YIELD, BEHIND_SELF_WAKE, BEHINDS };

struct queue_up {
    enum behind how;
    struct parcel *start;       /* begins the long poll */
    struct wf_atomic_u32 ready; /* to be begun */
    struct wf_atomic_u32 ran;   /* who was behind */
    uint64_t served;            /* rounds in which the long poll saw that */
};

static int queue_hog(void *arg)
{
    struct queue_up *q = arg;
    weft_future f = parcel_future(q->start);
    weft_instant end;

    wf_store_u32(&q->ready, 1, WF_RELEASE);
    CHECK_EQ(0, weft_await(&f));
    end = weft_now() + WEFT_MS(300 * test_slow());
    while (!wf_load_u32(&q->ran, WF_ACQUIRE) && weft_now() < end)
        wf_spin_pause();
    q->served += wf_load_u32(&q->ran, WF_RELAXED);
    return 0;
}

/* Wakes the hog, which is then the next on this worker, and gets behind it. */
static int queue_waker(void *arg)
{
    struct queue_up *q = arg;
    weft_future f = weft_yield_future();

    parcel_deliver(q->start);
    if (q->how == BEHIND_YIELD)
        CHECK_EQ(0, weft_yield());
    else if (q->how == BEHIND_SELF_WAKE)
        CHECK_EQ(0, weft_await(&f));
    if (q->how != BEHIND_JOIN)
        wf_store_u32(&q->ran, 1, WF_RELEASE);
    return 0;
}

static int queue_root(void *arg)
{
    struct queue_up *q = arg;

    for (int i = 0; i < 10; i++) {
        weft_task *hog, *waker;

        q->start = parcel_new(2);
        wf_store_u32(&q->ready, 0, WF_RELAXED);
        wf_store_u32(&q->ran, 0, WF_RELAXED);
        hog = weft_spawn(queue_hog, q);
        while (!wf_load_u32(&q->ready, WF_ACQUIRE))
            CHECK_EQ(0, weft_yield());
        /* So that the hog waits, and the other worker sleeps. */
        CHECK_EQ(0, weft_sleep(WEFT_MS(3)));
        waker = weft_spawn(queue_waker, q);
        CHECK_EQ(0, weft_join(waker, NULL));
        wf_store_u32(&q->ran, 1, WF_RELEASE);
        CHECK_EQ(0, weft_join(hog, NULL));
        parcel_put(q->start);
    }
    return 0;
}

/* Which worker sleeps at that moment is chance: most of the times one does. Of two, the free one may be the one
 * that a migrating task has to leave. */
TEST(nobody_waits_behind_a_long_poll_while_a_worker_sleeps)
{
    const struct test_flavour two = {"2 or 3 workers", WEFT_MULTI_THREAD, MIGRATING ? 3 : 2};

    for (enum behind how = 0; how < BEHINDS; how++) {
        struct queue_up q = {.how = how};

        test_run_on(&two, queue_root, &q);
        if (q.served < 5)
            test_failed(__FILE__, __LINE__, "way %d: served in %llu rounds of 10", (int)how,
                        (unsigned long long)q.served);
    }
}

END_TEST

TEST_MAIN("wake", tokens_go_round_without_end, work_from_outside_is_always_served,
          a_timer_of_a_stuck_worker_is_fired_by_another,
          events_of_a_stuck_worker_are_served_by_another,
          nobody_waits_behind_a_long_poll_while_a_worker_sleeps)
