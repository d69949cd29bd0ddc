/* SPDX-License-Identifier: MIT */
/*
 * test_join_set.c - a set while its tasks end: who takes them, gives up, empties the set, cancels, or frees it.
 *
 * Each child is taken once or dropped, never lost and never given twice; whoever waits is woken when there is something
 * to take, or when there never will be; and nobody touches a set that is gone. Each test is tried with sets of both
 * kinds.
 */
#include "model/group.h"

#include "sync/gather.h"
#include "task/current.h"

#include <weft/join_set.h>

/* What can happen, must. */
enum {
    TAKEN_AT_ONCE,
    TAKEN_WOKEN,
    TAKEN_UNWOKEN, /* polled again by somebody else's wake */
    RENEWED,
    DROPPED,
    BUSY,
    TOOK_BY_TRY,
    TRIED_IN_VAIN,
    TOLD_EMPTY,
    TOLD_SHUTDOWN,
    DETACHED_SOME,
    CANCELLED_SOME,
    CANCELLED_NONE,
    EVENTS_END
};

#define BIT(event) (1u << (event))

/* The explorer's own looks, while a thread waits. */
#define UNWATCHED __attribute__((no_sanitize("thread"))) static

static weft_join_set *set;
static bool ordered;
static uint32_t taken; /* the taker's: bits of results */
static struct wf_atomic_u32 taken_by_try;

static struct wf_gather *gather(void)
{
    return (struct wf_gather *)(void *)set;
}

/* Whoever had its waker has given it up. */
UNWATCHED bool bell_is_free(void *arg)
{
    return ((struct bell *)arg)->refs.raw == 0;
}

static void bell_gone(struct bell *b)
{
    do
        model_block(bell_is_free, b, UINT64_MAX);
    while (wf_load_u32(&b->refs, WF_ACQUIRE));
}

static void begin(unsigned count)
{
    weft_join_set_options options = {.runtime = &rt};

    children_init();
    options.ordered = ordered = model_choose(2);
    CHECK_EQ(0, weft_join_set_new_with(&set, &options));
    for (unsigned i = 0; i < count; i++)
        CHECK(weft_join_set_spawn(set, child_fn, NULL) > 0);
    CHECK_EQ(count, spawned);
}

static void begin_one(void)
{
    begin(1);
}

static void begin_two(void)
{
    begin(2);
}

static void begin_three(void)
{
    begin(3);
}

/* Nobody else knows of the set any more. */
static void end(void)
{
    CHECK_EQ(0, weft_join_set_len(set));
    weft_join_set_free(set);
    CHECK_EQ(0, model_live());
}

static void end_freed(void)
{
    CHECK_EQ(0, model_live());
}

static void runs_first(void)
{
    child_run(0);
}

static void runs_second(void)
{
    child_run(1);
}

static void runs_both(void)
{
    child_run(1);
    child_run(0);
}

static void note_taken(const weft_join_done *done)
{
    unsigned i = (unsigned)(done->result - 100);

    CHECK(done->result >= 100 && i < spawned);
    CHECK(!(taken & 1u << i));
    /* In an ordered set nobody is given before those that were spawned before it. */
    CHECK(!ordered || (taken & ((1u << i) - 1)) == (1u << i) - 1);
    taken |= 1u << i;
}

/* --- next ---------------------------------------------------------------------------------- */

static void takes_all(void)
{
    unsigned left = spawned;

    while (left--) {
        struct bell b = BELL;
        weft_join_done done;
        weft_future f = weft_join_set_next_future(set, &done);
        unsigned event = TAKEN_AT_ONCE;

        if (bell_poll(&b, &f) == WEFT_PENDING)
            event = TAKEN_WOKEN;
        CHECK_EQ(1, bell_await(&b, &f));
        model_reached(event);
        note_taken(&done);
        bell_gone(&b);
    }
    CHECK_EQ(0, weft_join_set_try_next(set, NULL));
}

/* Polled by one waker, then by another; only the last one counts. */
static void renews(void)
{
    struct bell a = BELL, b = BELL;
    weft_join_done done;
    weft_future f = weft_join_set_next_future(set, &done);

    if (bell_poll(&a, &f) == WEFT_PENDING && bell_poll(&b, &f) == WEFT_PENDING) {
        model_reached(RENEWED);
        /* In vain, or because it has come meanwhile. */
    }
    CHECK_EQ(1, bell_await(&b, &f));
    note_taken(&done);
    bell_gone(&a);
    bell_gone(&b);
}

/* Gives up, and comes again. */
static void drops(void)
{
    struct bell b = BELL;
    weft_join_done done;
    weft_future f = weft_join_set_next_future(set, &done);

    if (bell_poll(&b, &f) == WEFT_PENDING) {
        model_reached(DROPPED);
        weft_future_drop(&f);
        bell_gone(&b);
        takes_all();
        return;
    }
    note_taken(&done);
    CHECK_EQ(1, f.result);
}

static void tries(void)
{
    weft_join_done done;
    int rc = weft_join_set_try_next(set, &done);

    if (rc == 1) {
        model_reached(TOOK_BY_TRY);
        wf_add_u32(&taken_by_try, 1, WF_RELAXED);
    } else {
        CHECK(rc == -EAGAIN || rc == 0);
        model_reached(TRIED_IN_VAIN);
    }
}

/* Takes until the set is empty, which somebody else may see to. */
static void takes_until_empty(void)
{
    struct bell b = BELL;
    weft_join_done done;
    int rc;

    do {
        weft_future f = weft_join_set_next_future(set, &done);

        rc = (int)bell_await(&b, &f);
    } while (rc == 1);
    CHECK_EQ(0, rc);
    model_reached(TOLD_EMPTY);
    bell_gone(&b);
}

/* At the same time as another one. */
static void waits_too(void)
{
    struct bell b = BELL;
    weft_join_done done;
    weft_future f = weft_join_set_next_future(set, &done);

    if (bell_poll(&b, &f) == WEFT_PENDING) {
        weft_future_drop(&f);
        model_reached(DROPPED);
    } else if (f.result == -EBUSY) {
        model_reached(BUSY);
    } else {
        CHECK(f.result == 1 || f.result == 0);
    }
    bell_gone(&b);
}

static void waits_or_busy(void)
{
    struct bell b = BELL;
    weft_future f = weft_join_set_next_future(set, NULL);

    (void)bell_await(&b, &f);
    if (f.result == -EBUSY)
        model_reached(BUSY);
    else
        CHECK(f.result == 1 || f.result == 0);
    bell_gone(&b);
}

/* --- giving up -------------------------------------------------------------------------------- */

static void detaches(void)
{
    uint64_t before = weft_join_set_len(set);

    weft_join_set_detach_all(set);
    if (before)
        model_reached(DETACHED_SOME);
    CHECK_EQ(0, weft_join_set_len(set));
}

static void cancels(void)
{
    uint64_t n = wf_group_cancel(&gather()->group, NULL, NULL);

    model_reached(n ? CANCELLED_SOME : CANCELLED_NONE);
}

static void runs_and_spawns(void)
{
    child_run(0);
    CHECK(weft_join_set_spawn(set, child_fn, NULL) > 0);
}

/* Two neighbours, the last one first. */
static void runs_from_behind(void)
{
    unsigned first = model_choose(2);

    child_run(first + 1);
    child_run(first);
}

/* What ends while it is detached is given to nobody, also not to who takes what comes later. */
static void detaches_and_goes_on(void)
{
    weft_join_done done;
    struct bell b = BELL;
    weft_future f;

    detaches();
    CHECK(weft_join_set_spawn(set, child_fn, NULL) > 0);
    child_run(1);
    f = weft_join_set_next_future(set, &done);
    CHECK_EQ(1, bell_await(&b, &f));
    CHECK_EQ(101, done.result);
    bell_gone(&b);
}

/* Only a cancel ends it. */
UNWATCHED bool first_cancelled(void *arg)
{
    (void)arg;
    return (children[0]->state.raw & WF_TASK_CANCELLED) != 0;
}

static void runs_first_cancelled(void)
{
    do
        model_block(first_cancelled, NULL, UINT64_MAX);
    while (!wf_task_is_cancelled(children[0]));
    child_run(0);
}

/* Who waits already when the set is freed. */
static struct bell early = BELL;
static weft_future waiting;

static void begin_waiting(void)
{
    begin(1);
    waiting = weft_join_set_next_future(set, NULL);
    CHECK_EQ(WEFT_PENDING, bell_poll(&early, &waiting));
}

static void waits_on(void)
{
    if (model_choose(2)) {
        model_reached(DROPPED);
        weft_future_drop(&waiting);
    } else {
        (void)bell_await(&early, &waiting);
        CHECK(waiting.result == 1 || waiting.result == -ESHUTDOWN);
        model_reached(waiting.result == 1 ? TAKEN_WOKEN : TOLD_SHUTDOWN);
    }
    bell_gone(&early);
}

/* As a plain thread, which is blocked. */
static void frees(void)
{
    weft_join_set_free(set);
}

/* From where one cannot wait. */
static void abandons(void)
{
    static struct wf_thread th;

    wf_thread_set_self(&th);
    weft_join_set_free(set);
    wf_task_free_graves(&th);
    wf_thread_set_self(NULL);
}

static void begin_watched(void)
{
    begin(1);
    CHECK_EQ(0, weft_join_set_set_deadline(set, WEFT_SECS(1000)));
    CHECK(watch != NULL);
}

UNWATCHED bool watch_cancelled(void *arg)
{
    (void)arg;
    return (watch->state.raw & WF_TASK_CANCELLED) != 0;
}

static void runs_watch(void)
{
    do
        model_block(watch_cancelled, NULL, UINT64_MAX);
    while (!wf_task_is_cancelled(watch));
    watch_run();
}

/* Some are taken by hand, and the others are left: cancelled or not. */
static void takes_any(void)
{
    weft_join_done done;

    for (unsigned i = 0; i < 2; i++)
        if (weft_join_set_try_next(set, &done) == 1)
            CHECK(done.result == -ECANCELED || done.result >= 100);
}

static void end_drained(void)
{
    for (unsigned i = 0; i < spawned; i++)
        if (!child_ran[i])
            child_run(i);
    while (weft_join_set_try_next(set, NULL) == 1)
        continue;
    end();
}

const struct model_test model_tests[] = {
    {.name = "next against two ends",
     .begin = begin_two,
     .thread = {takes_all, runs_first, runs_second},
     .end = end,
     .stale = 1,
     .must_reach = BIT(TAKEN_AT_ONCE) | BIT(TAKEN_WOKEN)},
    {.name = "a waker that is replaced against the ends",
     .begin = begin_one,
     .thread = {renews, runs_first},
     .end = end,
     .must_reach = BIT(RENEWED)},
    {.name = "who gives up against the end",
     .begin = begin_one,
     .thread = {drops, runs_first},
     .end = end,
     .must_reach = BIT(DROPPED) | BIT(TAKEN_WOKEN)},
    {.name = "one who waits, one who tries, and two ends",
     .begin = begin_two,
     .thread = {takes_until_empty, tries, runs_both},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = BIT(TOLD_EMPTY) | BIT(TOOK_BY_TRY) | BIT(TRIED_IN_VAIN)},
    {.name = "two who wait, and an end",
     .begin = begin_one,
     .thread = {waits_or_busy, waits_too, runs_first},
     .end = end_drained,
     .stale = MODEL_NONE,
     .must_reach = BIT(BUSY) | BIT(DROPPED)},
    {.name = "detaching against the ends",
     .begin = begin_two,
     .thread = {detaches, runs_both},
     .end = end,
     .must_reach = BIT(DETACHED_SOME)},
    {.name = "detaching while one waits, and the end",
     .begin = begin_one,
     .thread = {takes_until_empty, detaches, runs_first},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = BIT(DETACHED_SOME) | BIT(TOLD_EMPTY)},
    {.name = "cancelling while children end, are taken and spawned",
     .begin = begin_two,
     .thread = {cancels, runs_and_spawns, takes_any},
     .end = end_drained,
     .stale = MODEL_NONE,
     .must_reach = BIT(CANCELLED_SOME)},
    {.name = "detaching against an end, and a task that comes later",
     .begin = begin_one,
     .thread = {detaches_and_goes_on, runs_first},
     .end = end,
     .must_reach = BIT(DETACHED_SOME)},
    {.name = "cancelling three while they end and are taken",
     .begin = begin_three,
     .thread = {cancels, runs_from_behind, takes_any},
     .end = end_drained,
     .stale = MODEL_NONE,
     .must_reach = BIT(CANCELLED_SOME)},
    {.name = "freeing against the ends",
     .begin = begin_two,
     .thread = {frees, runs_first, runs_second},
     .end = end_freed,
     .stale = MODEL_NONE},
    {.name = "freeing ends what only a cancel ends",
     .begin = begin_two,
     .thread = {frees, runs_first_cancelled, runs_second},
     .end = end_freed,
     .stale = MODEL_NONE},
    {.name = "freeing while one waits, and the end",
     .begin = begin_waiting,
     .thread = {waits_on, frees, runs_first},
     .end = end_freed,
     .stale = MODEL_NONE,
     .must_reach = BIT(TAKEN_WOKEN) | BIT(TOLD_SHUTDOWN) | BIT(DROPPED)},
    {.name = "freeing without waiting while one waits, and the end",
     .begin = begin_waiting,
     .thread = {waits_on, abandons, runs_first},
     .end = end_freed,
     .stale = MODEL_NONE,
     .must_reach = BIT(TAKEN_WOKEN) | BIT(TOLD_SHUTDOWN) | BIT(DROPPED)},
    {.name = "freeing without waiting against the ends",
     .begin = begin_two,
     .thread = {abandons, runs_both},
     .end = end_freed,
     .stale = 1},
    {.name = "freeing against the end of the watch",
     .begin = begin_watched,
     .thread = {frees, runs_first, runs_watch},
     .end = end_freed,
     .stale = MODEL_NONE},
    {.name = "freeing without waiting against the end of the watch",
     .begin = begin_watched,
     .thread = {abandons, runs_first, runs_watch},
     .end = end_freed,
     .stale = MODEL_NONE},
    {0},
};
