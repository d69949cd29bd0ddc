/* SPDX-License-Identifier: MIT */
/*
 * stage.h - tasks that block their threads, compute, or spawn without end, and a runtime of their own for them.
 *
 * Nothing is timed: the tasks are stuck until what waits behind them has happened, by whichever way it is made
 * ready. Without a stand-in the test does not end.
 */
#ifndef TEST_STAGE_H
#define TEST_STAGE_H

#include "support.h"

#include <stdatomic.h>
#include <unistd.h>

#define STUCK_MAX 8

enum how { BLOCKED, COMPUTING, SPAWNING };

struct stage {
    weft_runtime *rt;
    enum how how;
    unsigned count; /* tasks that get stuck */
    int hold[2];    /* a pipe that the blocked ones read */
    atomic_uint stuck;
    atomic_bool released;
    atomic_uint done; /* what was to happen behind them */

    /* those that the stuck ones wake */
    weft_waker wakers[STUCK_MAX];
    atomic_uint captured, armed;
    weft_task *stuck_tasks[STUCK_MAX];
};

static inline void stage_open(struct stage *s, enum how how, unsigned workers, unsigned count)
{
    weft_config c = {.worker_threads = workers,
                     .ignore_env = WEFT_ON,
                     .stall_computing = WEFT_MS(1),
                     .thread_keep_alive = WEFT_MS(100)};

    *s = (struct stage){.how = how, .count = count};
    CHECK_EQ(0, weft_runtime_new(&s->rt, &c));
    CHECK_EQ(0, pipe(s->hold));
    test_watchdog(60);
}

static inline int no_more(void *arg)
{
    (void)arg;
    return 0;
}

/* Again and again, with a microsecond or less in between: so often that whoever looks takes it for work. */
static inline void spawn_one(weft_duration pause)
{
    weft_instant until = weft_now() + pause;

    CHECK_EQ(0, weft_go(no_more, NULL));
    while (weft_now() < until)
        continue;
}

static inline void get_stuck(struct stage *s)
{
    char c;

    atomic_fetch_add(&s->stuck, 1);
    if (s->how == BLOCKED)
        CHECK_EQ(1, read(s->hold[0], &c, 1));
    while (s->how != BLOCKED && !atomic_load(&s->released))
        if (s->how == SPAWNING)
            spawn_one(WEFT_US(1));
}

static inline int stuck_task(void *arg)
{
    get_stuck(arg);
    return 0;
}

static inline void stage_stick(struct stage *s, weft_fn *fn)
{
    for (unsigned i = 0; i < s->count; i++)
        CHECK_EQ(0, weft_spawn_on(s->rt, &s->stuck_tasks[i], NULL, fn, s));
}

static inline void stage_wait(atomic_uint *n, unsigned want)
{
    while (atomic_load(n) < want)
        usleep(100);
}

static inline void stage_release(struct stage *s)
{
    char bytes[STUCK_MAX] = {0};

    atomic_store(&s->released, true);
    CHECK_EQ(s->count, write(s->hold[1], bytes, s->count));
    for (unsigned i = 0; i < s->count; i++) {
        int result = 1;

        CHECK_EQ(0, weft_join_blocking(s->stuck_tasks[i], &result));
        CHECK_EQ(0, result);
    }
}

static inline void stage_close(struct stage *s)
{
    CHECK_EQ(0, weft_runtime_shutdown(s->rt, WEFT_FOREVER));
    weft_runtime_free(s->rt);
    (void)close(s->hold[0]);
    (void)close(s->hold[1]);
}

/* One of two, all of two, the only one, and more than there are workers. */
static const struct {
    unsigned workers, count;
} crowds[] = {{2, 1}, {2, 2}, {1, 1}, {2, 6}};

#define EACH_STAGE(s)                                                                          \
 for (enum how how_ = BLOCKED; how_ <= SPAWNING; how_++)                                       \
  for (size_t i_ = 0; i_ < sizeof(crowds) / sizeof(crowds[0]); i_++)                           \
   for (bool once_ = (stage_open(s, how_, crowds[i_].workers, crowds[i_].count), true); once_; \
        stage_close(s), once_ = false)

#endif
