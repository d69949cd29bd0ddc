/* SPDX-License-Identifier: MIT */
/*
 * test_waker.c - what is counted besides tasks: wakers that threads clone and drop, keys of task-locals;
 * and the part of a header that its task adds while others look at it.
 */
#include "base/sys.h"
#include "model/lab.h"
#include "task/current.h"
#include "task/locals.h"

/* What can happen, must. */
enum {
    FREED_BY_RUNNER,
    FREED_BY_WAKE,
    FREED_BY_DROP,
    KEY_FREED_FIRST,
    KEY_FREED_LAST,
    ASKED_FIRST,
    ASKED_LAST
};

#define BIT(event) (1u << (event))

/* --- wakers --------------------------------------------------------------- */

static void begin_wakers(void)
{
    lab.words_used = 3;
    lab_begin((enum lab_body)model_choose(LAB_BODIES), 3, 2, 1);
}

static void clone_and_drop(unsigned me, bool by_ref)
{
    weft_waker w = {&lab.task->wakeable}, clone = weft_waker_clone(&w);

    CHECK(weft_waker_same(&w, &clone));
    weft_waker_drop(&w);
    CHECK(!w.target_);
    /* relaxed: the wake carries it */
    wf_store_u32(&lab.words[me], 1, WF_RELAXED);
    if (by_ref) {
        weft_waker_wake_by_ref(&clone);
        wf_store_u32(&lab.words[me], 2, WF_RELAXED);
    }
    weft_waker_wake(&clone);
    CHECK(!clone.target_);
    weft_waker_drop(&clone); /* empty: nothing */
    lab_leave();
}

static void wakes_twice(void)
{
    clone_and_drop(0, true);
}

static void wakes_once(void)
{
    clone_and_drop(1, false);
}

static void wakes_nobody(void)
{
    weft_waker w = {&lab.task->wakeable}, clone = weft_waker_clone(&w);

    weft_waker_drop(&clone);
    weft_waker_drop(&w);
    CHECK(!w.target_ && !clone.target_);
}

static void end_wakers(void)
{
    if (lab.freed.raw)
        model_reached(lab.freer == 1   ? FREED_BY_RUNNER
                      : lab.freer == 4 ? FREED_BY_DROP
                                       : FREED_BY_WAKE);
    lab_end();
}

/* --- keys ----------------------------------------------------------------- */

/* Two threads, each with a task that ends, and a value of it. */
static struct {
    struct wf_thread thread;
    struct weft_task task;
    uint32_t value;
} ends[2];

static weft_local_key *key;
static struct wf_atomic_u32 destroyed;

static void destroy(void *value)
{
    wf_add_u32(&destroyed, 1, WF_RELAXED);
    *(uint32_t *)value = 1;
}

static void set_value(unsigned i)
{
    ends[i].thread.task = &ends[i].task;
    wf_thread_set_self(&ends[i].thread);
    CHECK_EQ(0, weft_task_local_set(key, &ends[i].value));
    CHECK(weft_task_local_get(key) == &ends[i].value);
    wf_thread_set_self(NULL);
}

static void begin_keys(void)
{
    CHECK_EQ(0, weft_local_key_new(&key, destroy, 0, NULL));
    set_value(0);
    set_value(1);
}

static void end_task(unsigned i)
{
    wf_thread_set_self(&ends[i].thread);
    wf_locals_free(&ends[i].task);
    wf_sys_free(ends[i].task.extra);
}

static void ends_first(void)
{
    end_task(0);
}

static void ends_second(void)
{
    end_task(1);
}

static void frees_key(void)
{
    weft_local_key_free(key);
}

static void end_keys(void)
{
    CHECK_EQ(destroyed.raw, ends[0].value + ends[1].value);
    model_reached(destroyed.raw == 0 ? KEY_FREED_FIRST : KEY_FREED_LAST);
}

/* --- a header's extra part, made while others look ------------------------ */

static void begin_extra(void)
{
    CHECK_EQ(0, weft_local_key_new(&key, NULL, 0, NULL));
}

static void sets_its_first_value(void)
{
    set_value(0);
}

static void asks_its_name(void)
{
    const struct weft_task *t = &ends[0].task;
    /* relaxed: what it shows, the acquire in wf_task_name shows too */
    bool there = wf_load_ptr(&t->extra_to_read, WF_RELAXED) != NULL;

    CHECK_EQ('\0', wf_task_name(t)[0]);
    model_reached(there ? ASKED_LAST : ASKED_FIRST);
}

static void end_extra(void)
{
    end_task(0);
    weft_local_key_free(key);
}

const struct model_test model_tests[] = {
    {.name = "wakers are cloned and dropped while the task ends",
     .begin = begin_wakers,
     .thread = {lab_runner, wakes_twice, wakes_once, wakes_nobody},
     .end = end_wakers,
     .preemptions = 1,
     .stale = 1,
     .must_reach = BIT(FREED_BY_RUNNER) | BIT(FREED_BY_WAKE) | BIT(FREED_BY_DROP)},
    {.name = "a key goes with its last value, or with the program's",
     .begin = begin_keys,
     .thread = {ends_first, ends_second, frees_key},
     .end = end_keys,
     .must_reach = BIT(KEY_FREED_FIRST) | BIT(KEY_FREED_LAST)},
    {.name = "a task without a name gets its first value while it is asked for its name",
     .begin = begin_extra,
     .thread = {sets_its_first_value, asks_its_name},
     .end = end_extra,
     .must_reach = BIT(ASKED_FIRST) | BIT(ASKED_LAST)},
    {0},
};
