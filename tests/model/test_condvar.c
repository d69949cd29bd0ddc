/* SPDX-License-Identifier: MIT */
/*
 * test_condvar.c - a change that is made under the mutex, and signalled, while others begin to wait for it or give up.
 */
#include "sched/runtime.h"

#include "model/bell.h"
#include "model/live.h"

#include <weft/condvar.h>

enum { WAITED, WAITED_NOT, PASSED_ON, CANCELLED, TOLD };

#define BIT(event) (1u << (event))

static weft_mutex mutex = WEFT_MUTEX_INIT;
static weft_condvar changed = WEFT_CONDVAR_INIT;
static struct bell bell[2] = {BELL, BELL};
static unsigned value; /* under the mutex */

static void end(void)
{
    CHECK_EQ(0, bell[0].refs.raw + bell[1].refs.raw);
}

/* --- threads, with the mutex and all ----------------------------------------------------------------- */

static void waits(void)
{
    CHECK_EQ(0, weft_mutex_lock_blocking(&mutex));
    model_reached(value ? WAITED_NOT : WAITED);
    while (!value)
        CHECK_EQ(0, weft_condvar_wait_blocking(&changed, &mutex));
    CHECK(weft_mutex_is_held(&mutex));
    CHECK_EQ(42, value);
    CHECK_EQ(0, weft_mutex_unlock(&mutex));
}

static void changes(void)
{
    bool inside = model_choose(2);

    CHECK_EQ(0, weft_mutex_lock_blocking(&mutex));
    value = 42;
    if (inside)
        weft_condvar_signal(&changed);
    CHECK_EQ(0, weft_mutex_unlock(&mutex));
    if (!inside)
        weft_condvar_signal(&changed);
}

/* --- a signal and a waiter that goes -------------------------------------------------------------------- */

static weft_future future[2];

static void begin_two(void)
{
    for (int i = 0; i < 2; i++) {
        future[i] = weft_condvar_wait_future(&changed);
        CHECK(bell_poll(&bell[i], &future[i]) == WEFT_PENDING);
    }
}

static void goes(void)
{
    weft_future_drop(&future[0]);
    if (bell_has_rung(&bell[0]))
        model_reached(PASSED_ON);
}

static void stays(void)
{
    CHECK_EQ(0, bell_await(&bell[1], &future[1]));
}

static void signals(void)
{
    weft_condvar_signal(&changed);
}

/* All in line go on; and what is signalled to nobody is forgotten. */
static void broadcasts(void)
{
    weft_condvar_broadcast(&changed);
}

static void first_stays(void)
{
    CHECK_EQ(0, bell_await(&bell[0], &future[0]));
}

static void end_forgotten(void)
{
    weft_condvar_signal(&changed);
    weft_condvar_broadcast(&changed);
    future[0] = weft_condvar_wait_future(&changed);
    CHECK(bell_poll(&bell[0], &future[0]) == WEFT_PENDING);
    weft_future_drop(&future[0]);
    model_hush();
    CHECK_EQ(-EPERM, weft_condvar_wait_blocking(&changed, &mutex));
    end();
}

/* --- fibers: the root of a runtime ------------------------------------------------------------------------- */

static weft_task *root_task;
static struct wf_atomic_u32 root_is_there;
static unsigned asked;
static bool by_condition;

static void begin_live(void)
{
    model_hush();
    by_condition = model_choose(2);
    runtime_open(WEFT_CURRENT_THREAD, 1);
}

static void end_live(void)
{
    weft_runtime_free(rt);
    wf_stack_pool_trim();
    end();
}

static void drive(weft_fn *fn)
{
    int result = 0;

    CHECK_EQ(0, weft_block_on(rt, fn, NULL, &result));
    CHECK_EQ(7, result);
}

static bool is_not_there(void *arg)
{
    (void)arg;
    CHECK(++asked < 10);
    CHECK(weft_mutex_is_held(&mutex));
    return value != 42;
}

static int wait_for_it(void)
{
    int rc = 0;

    if (by_condition)
        return weft_condvar_wait_while(&changed, &mutex, is_not_there, NULL);
    while (rc == 0 && value != 42)
        rc = weft_condvar_wait(&changed, &mutex);
    return rc;
}

static int waiting(void *arg)
{
    (void)arg;
    CHECK_EQ(-EPERM, weft_condvar_wait(&changed, &mutex));
    CHECK_EQ(0, weft_mutex_lock(&mutex));
    model_reached(value ? WAITED_NOT : WAITED);
    CHECK_EQ(0, wait_for_it());
    CHECK(weft_mutex_is_held(&mutex));
    CHECK_EQ(42, value);
    CHECK_EQ(0, weft_mutex_unlock(&mutex));
    return 7;
}

static void fiber_waits(void)
{
    drive(waiting);
}

/* As a future: who locks straight away looks for a while whether its holder runs, and here nothing ends that. */
static void lock_by_hand(void)
{
    weft_future f = weft_mutex_lock_future(&mutex);

    CHECK_EQ(0, bell_await(&bell[1], &f));
}

/* In two steps, each of which is signalled. */
static void changes_twice(void)
{
    static const unsigned steps[2] = {1, 42};

    for (unsigned i = 0; i < 2; i++) {
        lock_by_hand();
        value = steps[i];
        weft_condvar_signal(&changed);
        CHECK_EQ(0, weft_mutex_unlock(&mutex));
    }
}

static int waiting_in_vain(void *arg)
{
    (void)arg;
    root_task = weft_task_ref(weft_task_self());
    CHECK_EQ(0, weft_mutex_lock(&mutex));
    wf_store_u32(&root_is_there, 1, WF_RELEASE);
    CHECK_EQ(-ECANCELED, wait_for_it());
    model_reached(CANCELLED);
    CHECK(weft_mutex_is_held(&mutex));
    value++;
    CHECK_EQ(0, weft_mutex_unlock(&mutex));
    return 7;
}

static void fiber_waits_in_vain(void)
{
    drive(waiting_in_vain);
}

/* While it has the mutex itself, so that taking it again must wait. */
static void cancels(void)
{
    while (!wf_load_u32(&root_is_there, WF_ACQUIRE))
        wf_spin_pause();
    lock_by_hand();
    weft_cancel(root_task);
    value++;
    CHECK_EQ(0, weft_mutex_unlock(&mutex));
    weft_detach(root_task);
}

/* Ends with the mutex, after the change. */
static int changes_and_ends(void *arg)
{
    (void)arg;
    CHECK_EQ(0, weft_mutex_lock(&mutex));
    value = 42;
    weft_condvar_signal(&changed);
    return 0;
}

static int waiting_for_one_who_ends(void *arg)
{
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, weft_mutex_lock(&mutex));
    t = weft_spawn(changes_and_ends, NULL);
    CHECK_EQ(-EOWNERDEAD, wait_for_it());
    model_reached(TOLD);
    CHECK(weft_mutex_is_held(&mutex));
    CHECK_EQ(0, weft_mutex_unlock(&mutex));
    CHECK_EQ(0, weft_join(t, NULL));
    return 7;
}

static void fiber_waits_for_one_who_ends(void)
{
    drive(waiting_for_one_who_ends);
}

const struct model_test model_tests[] = {
    {.name = "who begins to wait misses no change",
     .thread = {waits, changes},
     .end = end,
     .must_reach = BIT(WAITED) | BIT(WAITED_NOT)},
    {.name = "a signal finds the one that stays",
     .begin = begin_two,
     .thread = {goes, stays, signals},
     .end = end,
     .must_reach = BIT(PASSED_ON)},
    {.name = "a broadcast is for all in line, and for nobody later",
     .begin = begin_two,
     .thread = {first_stays, stays, broadcasts},
     .end = end_forgotten},
    {.name = "a fiber that begins to wait misses no change",
     .begin = begin_live,
     .thread = {fiber_waits, changes_twice},
     .end = end_live,
     .preemptions = 1,
     .stale = MODEL_NONE,
     .must_reach = BIT(WAITED) | BIT(WAITED_NOT)},
    {.name = "a fiber that is cancelled while it waits has the mutex",
     .begin = begin_live,
     .thread = {fiber_waits_in_vain, cancels},
     .end = end_live,
     .preemptions = 1,
     .stale = MODEL_NONE,
     .must_reach = BIT(CANCELLED)},
    {.name = "a change by one who ends with the mutex is told",
     .begin = begin_live,
     .thread = {fiber_waits_for_one_who_ends},
     .end = end_live,
     .preemptions = 1,
     .stale = MODEL_NONE,
     .must_reach = BIT(TOLD)},
    {0},
};
