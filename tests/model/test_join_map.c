/* SPDX-License-Identifier: MIT */
/*
 * test_join_map.c - a key whose task is replaced while it ends, is cancelled, or is taken; and keys that are walked.
 */
#include "model/group.h"

#include <weft/join_map.h>

enum { REPLACED_RUNNING, REPLACED_ENDED, CANCELLED_NEW, FOUND_NONE, MET, TAKEN };

#define BIT(event) (1u << (event))

static weft_join_map *map;
static weft_key key, second;

static void begin(void)
{
    const weft_join_set_options options = {.runtime = &rt};
    weft_join_map_done done;

    children_init();
    CHECK_EQ(0, weft_join_map_new_with(&map, &options));
    key = weft_key_string("key");
    CHECK(weft_join_map_spawn(map, key, child_fn, NULL) > 0);
    CHECK_EQ(-EAGAIN, weft_join_map_try_next(map, &done));
}

static void end(void)
{
    for (unsigned i = 0; i < spawned; i++)
        if (!child_ran[i])
            child_run(i);
    weft_join_map_free(map);
    CHECK_EQ(0, model_live());
}

static struct wf_atomic_u32 replaced;

static void runs_first(void)
{
    bool late = wf_load_u32(&replaced, WF_ACQUIRE) != 0;

    child_run(0);
    CHECK(!late || child_cancelled[0]);
}

/* Only the new one is given, with its key. */
static void replaces(void)
{
    struct bell b = BELL;
    weft_join_map_done done;
    weft_future f;

    model_reached(wf_task_is_complete(children[0]) ? REPLACED_ENDED : REPLACED_RUNNING);
    CHECK(weft_join_map_spawn(map, key, child_fn, NULL) > 0);
    wf_store_u32(&replaced, 1, WF_RELEASE);
    CHECK_EQ(1, weft_join_map_len(map));
    child_run(1);
    f = weft_join_map_next_future(map, &done);
    CHECK_EQ(1, bell_await(&b, &f));
    CHECK(done.id == children[1]->id && weft_key_equal(key, done.key));
    CHECK(done.result == 101 || done.result == -ECANCELED);
    if (done.result == -ECANCELED)
        model_reached(CANCELLED_NEW);
    CHECK(!weft_join_map_contains(map, key));
    f = weft_join_map_next_future(map, &done);
    CHECK_EQ(0, bell_await(&b, &f));
}

static void cancels_key(void)
{
    if (weft_join_map_cancel(map, key) == -ENOENT)
        model_reached(FOUND_NONE);
}

static bool meets(void *arg, weft_key k, uint64_t id)
{
    (void)arg;
    CHECK(id != 0 && weft_key_equal(k, key));
    model_reached(MET);
    return true;
}

static void walks(void)
{
    CHECK(weft_join_map_cancel_matching(map, meets, NULL) <= 1);
}

/* As many keys as make the table grow. */
static void begin_growing(void)
{
    begin();
    /* In one bucket of the first table, or the other. */
    second = weft_key_number(10 + model_choose(4));
    CHECK(weft_join_map_spawn(map, second, child_fn, NULL) > 0);
}

static void takes_and_looks(void)
{
    weft_join_map_done done;

    if (weft_join_map_try_next(map, &done) == 1) {
        CHECK(weft_key_equal(done.key, second));
        CHECK_EQ(101, done.result);
        model_reached(TAKEN);
        CHECK(!weft_join_map_contains(map, second));
    }
    CHECK(weft_join_map_contains(map, key));
}

static void runs_second(void)
{
    child_run(1);
}

static void grows(void)
{
    CHECK(weft_join_map_spawn(map, weft_key_number(2), child_fn, NULL) > 0);
    CHECK(weft_join_map_contains(map, weft_key_number(2)));
    CHECK(weft_join_map_contains(map, key));
}

const struct model_test model_tests[] = {
    {.name = "a task is replaced while it ends",
     .begin = begin,
     .thread = {replaces, runs_first},
     .end = end,
     .must_reach = BIT(REPLACED_RUNNING) | BIT(REPLACED_ENDED)},
    {.name = "a key is cancelled while its task is replaced",
     .begin = begin,
     .thread = {replaces, cancels_key, runs_first},
     .end = end,
     .preemptions = 1,
     .stale = MODEL_NONE,
     .must_reach = BIT(CANCELLED_NEW) | BIT(FOUND_NONE)},
    {.name = "keys are walked while a task is replaced",
     .begin = begin,
     .thread = {replaces, walks, runs_first},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = BIT(MET)},
    {.name = "a table grows while tasks end and are taken",
     .begin = begin_growing,
     .thread = {grows, takes_and_looks, runs_second},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = BIT(TAKEN)},
    {0},
};
