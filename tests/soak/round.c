/* SPDX-License-Identifier: MIT */
/*
 * round.c - playing one round: the stage is set up, everybody plays, everybody leaves, and nothing is left.
 *
 * IDEA     The end comes in steps. Over: nothing new begins. The plain threads that make work are joined.
 *          Runtimes that are not cut drain: all their actors end by themselves, without a timer of
 *          ours that would hide a lost wake. Then the gates open, roots end their servers, and every
 *          runtime is shut down and freed. Then the ledger and the gauge are read.
 */
#include "fiber/stack.h"
#include "soak.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 4

struct soak_stage soak_stage;

static struct {
    struct soak_slot *gate[SOAK_RUNTIMES]; /* delivered when a root shall end its runtime */
    weft_instant begin, end;
    pthread_t drivers[SOAK_RUNTIMES], clerks[THREADS_MAX], ghosts[THREADS_MAX];
    pthread_t spawners[THREADS_MAX], lives[THREADS_MAX];
    pthread_t cutters[SOAK_RUNTIMES];
    unsigned cuts;                  /* how many of those there are */
    bool cut[SOAK_RUNTIMES];        /* the main thread's */
    unsigned inside[SOAK_RUNTIMES]; /* atomic: a task has begun its runtime's shutdown */
    int closed_port;                /* bound, so that nobody else gets the number; not listening */
} play;

bool soak_is_over(void)
{
    return __atomic_load_n(&soak_stage.over, __ATOMIC_ACQUIRE) != 0;
}

/* Also on a runtime of lives.c, which may be cut at any time. */
bool soak_is_cut(void)
{
    weft_runtime *here = weft_runtime_current();

    if (__atomic_load_n(&soak_stage.cut, __ATOMIC_ACQUIRE))
        return true;
    for (unsigned i = 0; i < soak_stage.plan.runtimes; i++)
        if (soak_stage.rt[i] == here)
            return false;
    return here != NULL;
}

static void play_cut_begins(void)
{
    __atomic_store_n(&soak_stage.cut, 1, __ATOMIC_RELEASE);
}

static void play_pause(void)
{
    struct timespec ms = {.tv_nsec = 1000000};

    (void)nanosleep(&ms, NULL);
}

/* --- roots ------------------------------------------------------------------------------- */

/* Does not stop when it is asked to, but soon. */
static int root_resister(void *arg)
{
    weft_future never = weft_pending_future();
    uint64_t rand = (uintptr_t)arg | 1;

    CHECK_EQ(-ECANCELED, weft_await(&never));
    WEFT_SHIELD
    {
        for (uint64_t n = soak_roll(&rand, 6); n; n--)
            CHECK_EQ(0, weft_sleep(WEFT_MS(soak_roll(&rand, 6))));
    }
    return -ECANCELED;
}

static void root_begin_some(unsigned index, uint64_t *rand)
{
    for (uint64_t n = 1 + soak_roll(rand, 8); n && soak_has_room(); n--) {
        uint64_t seed = soak_actor_seed(rand, 0, 1 + (unsigned)soak_roll(rand, 7), index);

        CHECK_EQ(0, weft_go(soak_actor_run, soak_seed_pointer(seed)));
    }
}

/* Begins actors, at the pace of hand-overs, until it is over. */
static void root_play(unsigned index, uint64_t *rand)
{
    const struct soak_runtime_plan *r = &soak_stage.plan.runtime[index];

    while (!soak_is_over() && !weft_is_cancelled()) {
        struct soak_slot *pace = soak_slot_new(rand);
        weft_future f = soak_slot_future(pace);

        root_begin_some(index, rand);
        soak_office_post(pace);
        (void)weft_await(&f);
        soak_slot_put(pace);
        if (r->ending == SOAK_CUT_INSIDE && weft_now() >= play.begin + r->cut_after) {
            play_cut_begins();
            CHECK_EQ(0, weft_runtime_shutdown(weft_runtime_current(), 0));
            __atomic_store_n(&play.inside[index], 1, __ATOMIC_RELEASE);
            return;
        }
    }
}

/* The connections that end by themselves, and whatever the gate let in. */
static void root_wait_alone(void)
{
    weft_metrics m;

    for (;;) {
        CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
        if (m.alive <= 1 || weft_sleep(WEFT_US(200)) < 0)
            return;
    }
}

static int root_run(void *arg)
{
    unsigned index = (unsigned)(uintptr_t)arg;
    const struct soak_runtime_plan *r = &soak_stage.plan.runtime[index];
    uint64_t rand = (soak_stage.plan.rand + index) | 1;
    weft_future gate = soak_slot_future(play.gate[index]);
    weft_task *server = NULL;

    if (r->acceptors) {
        server = weft_spawn(soak_serve_all, arg);
        CHECK(server);
    }
    if (r->ending == SOAK_CUT_LIMIT)
        for (unsigned i = 0; i < 5; i++)
            CHECK_EQ(0, weft_go(root_resister, soak_seed_pointer(test_rand(&rand))));
    root_play(index, &rand);
    (void)soak_expect(soak_slot_value(play.gate[index]), weft_await(&gate), "the gate");
    if (server) {
        weft_cancel(server);
        soak_join_value(server, 0, true);
    }
    root_wait_alone();
    return 0;
}

static void *play_drive(void *arg)
{
    unsigned index = (unsigned)(uintptr_t)arg;
    int result = 1, rc = weft_block_on(soak_stage.rt[index], root_run, arg, &result);

    CHECK(rc == 0 ? result == 0 || (result == -ECANCELED && soak_is_cut())
                  : rc == -ESHUTDOWN && soak_is_cut());
    return NULL;
}

/* --- plain threads that spawn ------------------------------------------------------------ */

static void spawner_once(uint64_t *rand)
{
    unsigned index = (unsigned)soak_roll(rand, soak_stage.plan.runtimes);
    uint64_t seed = soak_actor_seed(rand, 0, (unsigned)soak_roll(rand, 6), index);
    weft_runtime *rt = soak_stage.rt[index];
    bool cancel = soak_one_in(rand, 3), block = soak_one_in(rand, 4);
    weft_task *t = NULL;
    int result = 1, rc;

    if (block)
        rc = weft_block_on(rt, soak_actor_run, soak_seed_pointer(seed), &result);
    else
        rc = weft_spawn_on(rt, &t, NULL, soak_actor_run, soak_seed_pointer(seed));
    if (rc < 0) {
        CHECK(rc == -ESHUTDOWN && soak_is_cut());
        play_pause();
        return;
    }
    if (!block && cancel)
        weft_cancel(t);
    if (!block && soak_one_in(rand, 2)) {
        weft_detach(t);
        return;
    }
    if (!block)
        CHECK_EQ(0, weft_join_blocking(t, &result));
    CHECK(result == soak_value(seed) ||
          (result == -ECANCELED && ((cancel && !block) || soak_is_cut())));
}

static void *play_spawner(void *seed)
{
    uint64_t rand = (uintptr_t)seed | 1;

    while (!soak_is_over()) {
        if (soak_has_room())
            spawner_once(&rand);
        else
            play_pause();
    }
    return NULL;
}

/* --- opening ----------------------------------------------------------------------------- */

static void play_close_port(void)
{
    weft_addr *a = &soak_stage.closed_port;

    play.closed_port = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(play.closed_port >= 0);
    CHECK_EQ(0, weft_addr_ip(a, "127.0.0.1", 0));
    CHECK_EQ(0, bind(play.closed_port, &a->u.any, a->size));
    CHECK_EQ(0, getsockname(play.closed_port, &a->u.any, &a->size));
}

static void play_threads(pthread_t *threads, unsigned n, void *(*run)(void *), uint64_t *rand)
{
    CHECK(n <= THREADS_MAX);
    for (unsigned i = 0; i < n; i++)
        CHECK_EQ(0, pthread_create(&threads[i], NULL, run, soak_seed_pointer(test_rand(rand))));
}

static void play_join(const pthread_t *threads, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        CHECK_EQ(0, pthread_join(threads[i], NULL));
}

static void play_open(uint64_t *rand)
{
    const struct soak_plan *p = &soak_stage.plan;

    wf_stack_test_force_mprotect(p->heavy_guards);
    soak_locals_open();
    soak_locks_open();
    soak_office_open(test_rand(rand));
    soak_attic_open(test_rand(rand));
    play_close_port();
    play_threads(play.clerks, p->clerks, soak_clerk, rand);
    play_threads(play.ghosts, p->ghosts, soak_ghost, rand);
    for (unsigned i = 0; i < p->runtimes; i++) {
        CHECK_EQ(0, weft_runtime_new(&soak_stage.rt[i], &p->runtime[i].config));
        soak_watch_add(soak_stage.rt[i]);
        play.gate[i] = soak_slot_new(rand);
    }
    play.begin = weft_now();
    play.end = play.begin + p->length;
    for (unsigned i = 0; i < p->runtimes; i++)
        CHECK_EQ(0, pthread_create(&play.drivers[i], NULL, play_drive,
                                   (void *)(uintptr_t)i)); /* NOLINT */
    play_threads(play.spawners, p->spawners, play_spawner, rand);
    play_threads(play.lives, p->lives, soak_life, rand);
}

/* --- the end ----------------------------------------------------------------------------- */

/* Tasks of a runtime that end only when its gate opens. */
static uint64_t play_permanent(unsigned i)
{
    unsigned acceptors = soak_stage.plan.runtime[i].acceptors;

    return 1 + (acceptors ? 1 + acceptors : 0);
}

static void *play_cut_run(void *arg)
{
    unsigned i = (unsigned)(uintptr_t)arg;
    weft_duration limit = WEFT_SECS(15) * test_slow();

    if (soak_stage.plan.runtime[i].ending == SOAK_CUT)
        limit = WEFT_FOREVER;
    CHECK_EQ(0, weft_runtime_shutdown(soak_stage.rt[i], limit));
    /* Others may still wait for an answer; alone, it is left for later. */
    if (soak_stage.plan.runtimes > 1)
        soak_server_clear(i);
    return NULL;
}

/* In a thread of its own: its tasks may wait for those of a current-thread runtime that is cut from inside
 * meanwhile, and that nobody drives until its turn comes. */
static void play_cut(unsigned i)
{
    play.cut[i] = true;
    play_cut_begins();
    CHECK_EQ(0, pthread_create(&play.cutters[play.cuts++], NULL, play_cut_run,
                               (void *)(uintptr_t)i)); /* NOLINT */
}

static void play_cut_due(bool all)
{
    for (unsigned i = 0; i < soak_stage.plan.runtimes; i++) {
        const struct soak_runtime_plan *r = &soak_stage.plan.runtime[i];

        if (r->ending == SOAK_DRAIN || play.cut[i])
            continue;
        /* What a task has begun is brought to its end here: on a current-thread runtime nobody may be
         * driving any more. */
        if (all ||
            (r->ending == SOAK_CUT_INSIDE ? __atomic_load_n(&play.inside[i], __ATOMIC_ACQUIRE) != 0
                                          : weft_now() >= play.begin + r->cut_after))
            play_cut(i);
    }
}

/* Has every task ended that ends by itself? *spawned: in all runtimes. */
static bool play_is_quiet(uint64_t *spawned)
{
    bool quiet = true;

    *spawned = 0;
    for (unsigned i = 0; i < soak_stage.plan.runtimes; i++) {
        uint64_t permanent = play_permanent(i);
        weft_metrics m;

        CHECK_EQ(0, weft_metrics_snapshot(soak_stage.rt[i], &m));
        *spawned += m.spawned;
        if (soak_stage.plan.runtime[i].ending != SOAK_DRAIN)
            permanent = m.alive < permanent ? m.alive : permanent;
        quiet &= m.alive == permanent;
    }
    return quiet;
}

/* Twice in a row without a spawn between: so nothing moved from one runtime to another behind our back. */
static void play_drain(void)
{
    uint64_t before = 0, after;

    for (;;) {
        if (play_is_quiet(&before) && play_is_quiet(&after) && before == after)
            return;
        play_pause();
    }
}

static void play_free(unsigned i)
{
    weft_runtime *rt = soak_stage.rt[i];
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    bool late = soak_stage.plan.runtimes == 1 && soak_stage.plan.rand & 2;
    weft_metrics m;

    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_SECS(15) * test_slow()));
    /* Streams whose task never ran are closed before their runtime goes, or after. */
    if (!late)
        soak_server_clear(i);
    CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
    CHECK_EQ(0, m.alive);
    CHECK(m.spawned == m.finished);
    CHECK_EQ(0, m.injection_depth);
    CHECK_EQ(0, m.timers_armed);
    if (!late)
        CHECK_EQ(0, m.io_registered);
    CHECK_EQ(0, m.total.queue_depth + m.total.backlog_depth);
    CHECK(null >= 0);
    CHECK_EQ(0, weft_runtime_dump(rt, null));
    CHECK_EQ(0, close(null));
    soak_watch_remove(rt);
    soak_stage.rt[i] = NULL;
    weft_runtime_free(rt);
    soak_server_clear(i);
    soak_slot_put(play.gate[i]);
}

static void play_close(void)
{
    const struct soak_plan *p = &soak_stage.plan;

    __atomic_store_n(&soak_stage.over, 1, __ATOMIC_RELEASE);
    play_cut_due(true);
    play_join(play.cutters, play.cuts);
    play_join(play.spawners, p->spawners);
    play_join(play.lives, p->lives);
    play_drain();
    for (unsigned i = 0; i < p->runtimes; i++)
        soak_slot_deliver(play.gate[i]);
    play_join(play.drivers, p->runtimes);
    for (unsigned i = 0; i < p->runtimes; i++)
        CHECK_EQ(0, weft_runtime_shutdown(soak_stage.rt[i], WEFT_SECS(15) * test_slow()));
    for (unsigned i = 0; i < p->runtimes; i++)
        play_free(i);
    soak_office_close();
    play_join(play.clerks, p->clerks);
    soak_attic_close();
    play_join(play.ghosts, p->ghosts);
    soak_attic_clear();
    soak_locals_close();
    soak_locks_close();
    CHECK_EQ(0, close(play.closed_port));
}

void soak_round_play(uint64_t seed, unsigned round, weft_duration length, char *text, size_t size)
{
    weft_instant from = weft_now();
    struct soak_gauge g;
    uint64_t rand;

    memset(&play, 0, sizeof(play));
    memset(&soak_stage, 0, sizeof(soak_stage));
    soak_plan_make(&soak_stage.plan, seed, round, length);
    rand = soak_stage.plan.rand;
    soak_watch_round(seed, round);
    soak_ledger_clear();
    play_open(&rand);
    while (weft_now() < play.end) {
        play_pause();
        play_cut_due(false);
    }
    play_close();
    soak_ledger_claim();
    if (soak_stage.plan.abandon)
        soak_life_abandon(test_rand(&rand));
    g = soak_gauge_claim();
    (void)snprintf(text, size,
                   "%llu acts, %llu tasks, %llu streams, %llu slots, %llu sleeps; heap %zu KB, "
                   "resident %zu KB, %zu descriptors; %llu ms",
                   (unsigned long long)soak_stage.acts, (unsigned long long)soak_count(SOAK_TASK),
                   (unsigned long long)soak_count(SOAK_STREAM),
                   (unsigned long long)soak_count(SOAK_SLOT),
                   (unsigned long long)soak_count(SOAK_SLEEP), g.heap >> 10, g.rss >> 10,
                   g.descriptors, (unsigned long long)(weft_now() - from) / 1000000);
}
