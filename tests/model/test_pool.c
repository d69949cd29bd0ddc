/* SPDX-License-Identifier: MIT */
/*
 * test_pool.c - places in the queue of the blocking pool, under all interleavings: no more are given than there are,
 * none is lost, and who waits first has the next one.
 *
 * In the first ones nobody spawns anything: who has a place gives it up again. Who waits for one goes on when its waker
 * was called; one that is never called can go on no more, which the explorer reports. The others are whole
 * runtimes, with jobs.
 */
#include "base/sys.h"
#include "model/bell.h"
#include "sched/pool.h"

/* Behind the library's headers, whose parameters bear the name of its runtime. */
#include "model/live.h"

#define HOUR (3600000ull * MS)

#define PLACES  1
#define WAITERS 2

enum { GOT_AT_ONCE, REFUSED, WAITED, GIVEN_UP_WAITING, GIVEN_UP_GIVEN, JOB_RAN, JOB_CANCELLED };

static struct weft_runtime runtime;
static unsigned held; /* plain: by who has the only place */

static struct bell bells[WAITERS] = {BELL, BELL};

static void begin(void)
{
    runtime.set.config.max_blocking_queue = PLACES;
    wf_pool_init(&runtime);
}

/* Somebody has the place from before. */
static void begin_full(void)
{
    begin();
    CHECK(wf_pool_try_reserve(&runtime));
}

static void end(void)
{
    CHECK_EQ(0, held);
    CHECK_EQ(0, runtime.pool.reserved);
    CHECK(wf_list_empty(&runtime.pool.room));
    for (unsigned i = 0; i < WAITERS; i++)
        CHECK_EQ(0, bells[i].refs.raw);
    for (unsigned i = 0; i < PLACES; i++)
        CHECK(wf_pool_try_reserve(&runtime));
    CHECK(!wf_pool_try_reserve(&runtime));
}

/* It has the place, and gives it up. K2: were there two, they would be in a race. */
static void use(void)
{
    held++;
    CHECK_EQ(1, held);
    held--;
    wf_pool_unreserve(&runtime);
}

static void tries(void)
{
    if (wf_pool_try_reserve(&runtime)) {
        model_reached(GOT_AT_ONCE);
        use();
    } else {
        model_reached(REFUSED);
    }
}

static void gives_up(void)
{
    wf_pool_unreserve(&runtime);
}

/* patient: until it has its place; else it drops the future, having one by then or not. */
static void waits(unsigned i, bool patient)
{
    weft_future room = wf_pool_reserve_future(&runtime);

    if (bell_poll(&bells[i], &room) == WEFT_READY) {
        use();
        return;
    }
    if (!patient) {
        bool given = wf_load_u32(&bells[i].rung, WF_RELAXED) != 0;

        weft_future_drop(&room);
        model_reached(given ? GIVEN_UP_GIVEN : GIVEN_UP_WAITING);
        return;
    }
    CHECK_EQ(0, bell_await(&bells[i], &room));
    model_reached(WAITED);
    use();
}

static void first_waits(void)
{
    waits(0, true);
}

static void second_waits(void)
{
    waits(1, true);
}

static void second_gives_up(void)
{
    waits(1, false);
}

/* K3: nobody who comes later has the place before it. */
static weft_future first_in_line;

static void begin_line(void)
{
    begin_full();
    first_in_line = wf_pool_reserve_future(&runtime);
    CHECK_EQ(WEFT_PENDING, bell_poll(&bells[0], &first_in_line));
}

static void end_line(void)
{
    CHECK_EQ(1, bells[0].rung.raw);
    CHECK_EQ(WEFT_READY, bell_poll(&bells[0], &first_in_line));
    wf_pool_unreserve(&runtime);
    end();
}

static void never_gets(void)
{
    CHECK(!wf_pool_try_reserve(&runtime));
}

/* --- whole runtimes: jobs, and the threads that run them ------------------------------------ */

static void jobs_open(unsigned threads, unsigned places, weft_duration keep_alive)
{
    weft_config config = {.flavor = WEFT_CURRENT_THREAD,
                          .max_blocking_threads = threads,
                          .max_blocking_queue = places,
                          .thread_keep_alive = keep_alive,
                          .rng_seed = 1};

    CHECK_EQ(0, weft_runtime_new(&rt, &config));
}

/* Plain: each is carried to who joins the job. */
static unsigned jobs_done[3];

static int job(void *arg)
{
    ++*(unsigned *)arg;
    return 7;
}

static weft_task *job_spawn(unsigned i)
{
    weft_task *t;

    CHECK_EQ(0, weft_spawn_blocking_on(rt, &t, NULL, job, &jobs_done[i]));
    return t;
}

static void job_join(weft_task *t, unsigned i)
{
    int result = 0;

    CHECK_EQ(0, weft_join_blocking(t, &result));
    CHECK_EQ(7, result);
    CHECK_EQ(1, jobs_done[i]);
}

static void jobs_in_a_row(void)
{
    jobs_open(2, 0, HOUR);
    for (unsigned i = 0; i < 3; i++)
        job_join(job_spawn(i), i);
    weft_runtime_free(rt);
    CHECK(model_clock() < HOUR);
}

static void jobs_at_once(void)
{
    weft_task *t[3];

    jobs_open(2, 0, HOUR);
    for (unsigned i = 0; i < 3; i++)
        t[i] = job_spawn(i);
    for (unsigned i = 0; i < 3; i++)
        job_join(t[i], i);
    weft_runtime_free(rt);
    CHECK(model_clock() < HOUR);
}

/* At any moment, that of the end of its time among them, the only thread is called again. */
static void job_as_the_thread_leaves(void)
{
    struct wf_atomic_u32 nobody = {0};

    jobs_open(1, 0, MS);
    job_join(job_spawn(0), 0);
    (void)wf_sys_futex_wait(&nobody, 0, MS);
    job_join(job_spawn(1), 1);
    weft_runtime_free(rt);
}

/* It ends once: by who cancels it, or as what it is. */
static void job_cancelled(void)
{
    weft_task *t;
    int result = 0;

    jobs_open(1, 1, HOUR);
    t = job_spawn(0);
    weft_cancel(t);
    CHECK_EQ(0, weft_join_blocking(t, &result));
    CHECK(result == 7 || result == -ECANCELED);
    CHECK_EQ(result == 7, jobs_done[0]);
    model_reached(result == 7 ? JOB_RAN : JOB_CANCELLED);
    weft_runtime_free(rt);
}

/* --- jobs and a shutdown --- */

static weft_task *last; /* NULL: it was refused */

static void open_for_jobs(void)
{
    jobs_open(1, 0, HOUR);
}

static void job_spawner(void)
{
    int rc = weft_spawn_blocking_on(rt, &last, NULL, job, &jobs_done[0]);

    CHECK(rc == 0 || rc == -ESHUTDOWN);
    if (rc < 0) {
        model_reached(REFUSED);
        last = NULL;
    }
}

static void job_closer(void)
{
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
}

/* It had ended when the shutdown returned: as what it is, or cancelled before it could begin. */
static void end_spawned(void)
{
    if (last) {
        CHECK(weft_is_finished(last));
        model_reached(jobs_done[0] ? JOB_RAN : JOB_CANCELLED);
        weft_detach(last);
    }
    weft_runtime_free(rt);
}

/* A task that gives a job, and ends when it is told, which is after the job has. */
struct giver {
    weft_async async;
    bool begun;
};

static struct wf_atomic_ptr given;

static weft_poll giver_poll(void *self, weft_context *cx)
{
    struct giver *g = self;
    weft_task *t;

    if (wf_load_u32(&told, WF_RELAXED))
        return WEFT_READY;
    if (!g->begun) {
        g->begun = true;
        waker = weft_context_waker(cx);
        wf_store_u32(&waker_is_there, 1, WF_RELEASE);
        t = weft_spawn_blocking(job, &jobs_done[0]);
        CHECK(t);
        wf_store_ptr(&given, t, WF_RELEASE);
    }
    return WEFT_PENDING;
}

static const weft_async_type giver_type = {giver_poll, NULL, sizeof(struct giver), "giver"};

static void open_with_giver(void)
{
    weft_config config = {.worker_threads = 1,
                          .max_blocking_threads = 1,
                          .event_interval = 4,
                          .stack_size = 16384,
                          .monitor = WEFT_OFF,
                          .thread_keep_alive = HOUR,
                          .rng_seed = 1};
    struct giver state = {.begun = false};

    CHECK_EQ(0, weft_runtime_new(&rt, &config));
    CHECK_EQ(0, weft_spawn_async_on(rt, &last, NULL, &giver_type, &state));
    /* Cancelled before that it would give none. */
    wait_for_waker();
}

static void teller(void)
{
    weft_task *t;

    while (!(t = wf_load_ptr(&given, WF_ACQUIRE)))
        wf_spin_pause();
    while (!weft_is_finished(t))
        wf_spin_pause();
    weft_detach(t);
    tell();
}

/* At any moment: the task is alive, and its job too or not. A job that counts as ended counts as spawned. */
static void counts(void)
{
    uint64_t alive = wf_runtime_alive(rt);

    CHECK(alive == 1 || alive == 2);
    teller();
    join(last);
    weft_runtime_free(rt);
}

const struct model_test model_tests[] = {
    {.name = "two try for the last place, and one has it",
     .begin = begin,
     .thread = {tries, tries},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << GOT_AT_ONCE | 1u << REFUSED},
    {.name = "who waits for a place gets the one that is given up",
     .begin = begin_full,
     .thread = {gives_up, first_waits},
     .end = end,
     .preemptions = 4,
     .must_reach = 1u << WAITED},
    {.name = "two wait, and one place goes from hand to hand",
     .begin = begin_full,
     .thread = {gives_up, first_waits, second_waits},
     .end = end,
     .preemptions = 1,
     .stale = 1,
     .must_reach = 1u << WAITED},
    {.name = "a place given to who does not want it any more goes to the next",
     .begin = begin_full,
     .thread = {gives_up, first_waits, second_gives_up},
     .end = end,
     .stale = 1,
     .must_reach = 1u << WAITED | 1u << GIVEN_UP_WAITING | 1u << GIVEN_UP_GIVEN},
    {.name = "nobody has a place before who waits for it",
     .begin = begin_line,
     .thread = {gives_up, never_gets, never_gets},
     .end = end_line,
     .preemptions = 3},
    {.name = "jobs in a row are run, and joined",
     .begin = jobs_in_a_row,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1},
    {.name = "jobs at once are run, and joined",
     .begin = jobs_at_once,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1},
    {.name = "a job comes as the only thread leaves",
     .begin = job_as_the_thread_leaves,
     .preemptions = 1,
     .stale = 1},
    {.name = "a job that is cancelled ends once",
     .begin = job_cancelled,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1,
     .must_reach = 1u << JOB_RAN | 1u << JOB_CANCELLED},
    {.name = "a job spawned against shutdown ends or is refused",
     .begin = open_for_jobs,
     .thread = {job_spawner, job_closer},
     .end = end_spawned,
     .late_clock = true,
     .preemptions = 1,
     .stale = 1,
     .must_reach = 1u << JOB_RAN | 1u << REFUSED},
    {.name = "a task whose job has ended counts as alive",
     .begin = open_with_giver,
     .thread = {counts},
     .late_clock = true,
     .preemptions = 1,
     .stale = 1,
     .deep = true},
    {0},
};
