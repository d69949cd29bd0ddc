/* SPDX-License-Identifier: MIT */
/*
 * test_join_map.c - tasks found by their keys.
 */
#include "children.h"

#include <stdio.h>
#include <string.h>

static weft_key number(int n)
{
    return weft_key_number((uint64_t)n);
}

static int keys_of_all_kinds(void *arg)
{
    weft_join_map *map = weft_join_map_new();
    const uint64_t seven = 7;
    unsigned seen = 0;
    weft_join_map_done done;
    const weft_key keys[] = {
        weft_key_number(7),
        weft_key_string("7"),
        weft_key_string(""),
        weft_key_bytes(&seven, sizeof(seven)),
        weft_key_number(0),
        weft_key_bytes("a\0b", 3),
        weft_key_bytes("a\0", 2),
        weft_key_string("a rather long key, as URLs are, of some fifty bytes"),
    };
    const unsigned n = sizeof(keys) / sizeof(keys[0]);

    (void)arg;
    CHECK(weft_join_map_is_empty(map));
    CHECK_EQ(0, weft_join_map_next(map, &done));
    for (unsigned i = 0; i < n; i++) {
        CHECK(!weft_join_map_contains(map, keys[i]));
        CHECK(weft_join_map_spawn(map, keys[i], returns_it, as_arg((int)i)) > 0);
        CHECK(weft_join_map_contains(map, keys[i]));
        CHECK_EQ(i + 1, weft_join_map_len(map));
    }
    for (unsigned i = 0; i < n; i++) {
        CHECK_EQ(1, weft_join_map_next(map, &done));
        CHECK(done.result >= 0 && done.result < (int)n);
        CHECK(!(seen & 1u << done.result));
        seen |= 1u << done.result;
        CHECK_EQ(done.result, done.tag);
        CHECK(weft_key_equal(keys[done.result], done.key));
        CHECK(!weft_join_map_contains(map, keys[done.result]));
    }
    CHECK_EQ(0, weft_join_map_next(map, &done));
    weft_join_map_free(map);
    weft_join_map_free(NULL);
    return 0;
}

TEST(numbers_and_bytes_are_keys)
{
    CHECK(!weft_key_equal(weft_key_number(0), weft_key_string("")));
    CHECK(weft_key_equal(weft_key_bytes(NULL, 5), weft_key_string(NULL)));
    test_run(keys_of_all_kinds, NULL);
}

END_TEST

static int replaces(void *arg)
{
    weft_join_map *map = weft_join_map_new();
    atomic_int alive = 0;
    weft_join_map_done done;
    ssize_t last = 0;

    (void)arg;
    for (int i = 0; i < 1000; i++) {
        last = i % 3 ? weft_join_map_spawn(map, number(5), counted, &alive)
                     : weft_join_map_spawn(map, number(5), returns_it, NULL);
        CHECK(last > 0);
        CHECK_EQ(1, weft_join_map_len(map));
        if (i % 10 == 0)
            CHECK_EQ(0, weft_yield());
    }
    CHECK(weft_join_map_contains_task(map, (uint64_t)last));
    CHECK_EQ(1, weft_join_map_next(map, &done));
    CHECK(done.id == (uint64_t)last && done.result == 0);
    CHECK(!weft_join_map_contains_task(map, (uint64_t)last)); /* it was taken */
    /* Those that were replaced are waited for when the map is freed, and not before. */
    CHECK_EQ(0, weft_join_map_next(map, &done));
    last = weft_join_map_spawn(map, number(5), counted, &alive);
    CHECK(last > 0 && weft_join_map_contains_task(map, (uint64_t)last));
    CHECK(weft_join_map_spawn(map, number(5), counted, &alive) > 0);
    CHECK(!weft_join_map_contains_task(map, (uint64_t)last)); /* it was replaced */
    weft_join_map_free(map);
    CHECK_EQ(0, atomic_load(&alive));
    return 0;
}

TEST(a_key_that_is_there_is_replaced)
{
    test_run(replaces, NULL);
}

END_TEST

/* One that has ended, and was not taken, is replaced too. */
static int replaces_ended(void *arg)
{
    weft_join_map *map = weft_join_map_new();
    atomic_int flag = 1;
    weft_join_map_done done;

    (void)arg;
    CHECK(weft_join_map_spawn(map, number(1), returns_it, as_arg(1)) > 0);
    CHECK(weft_join_map_spawn(map, number(2), returns_it, as_arg(2)) > 0);
    CHECK_EQ(0, weft_join(weft_spawn(until_set, &flag), NULL));
    CHECK_EQ(0, weft_sleep(WEFT_MS(1)));
    CHECK(weft_join_map_spawn(map, number(1), returns_it, as_arg(3)) > 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(1, weft_join_map_next(map, &done));
        CHECK(done.result == 2 || done.result == 3);
    }
    CHECK_EQ(0, weft_join_map_next(map, &done));
    weft_join_map_free(map);
    return 0;
}

TEST(the_result_of_one_that_was_replaced_is_dropped)
{
    test_run(replaces_ended, NULL);
}

END_TEST

static bool is_even(void *arg, weft_key key, uint64_t id)
{
    (*(int *)arg)++;
    CHECK(id > 0 && !key.bytes);
    return key.number % 2 == 0;
}

static bool counts_five(void *arg, weft_key key, uint64_t id)
{
    int *n = arg;

    (void)id;
    CHECK_EQ(*n, key.number);
    return ++*n < 5;
}

static int cancels(void *arg)
{
    weft_join_map *map = weft_join_map_new();
    weft_join_map_done done;
    int asked = 0, walked = 0;

    (void)arg;
    for (int i = 0; i < 20; i++)
        CHECK(weft_join_map_spawn(map, number(i), waits, NULL) > 0);
    CHECK_EQ(-ENOENT, weft_join_map_cancel(map, number(20)));
    CHECK_EQ(0, weft_join_map_cancel(map, number(3)));
    CHECK_EQ(1, weft_join_map_next(map, &done));
    CHECK(done.key.number == 3 && done.result == -ECANCELED);
    CHECK_EQ(-ENOENT, weft_join_map_cancel(map, number(3)));
    CHECK_EQ(10, weft_join_map_cancel_matching(map, is_even, &asked));
    CHECK_EQ(19, asked);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(1, weft_join_map_next(map, &done));
        CHECK(done.key.number % 2 == 0 && done.result == -ECANCELED);
    }
    CHECK_EQ(-EAGAIN, weft_join_map_try_next(map, &done));
    weft_join_map_cancel_all(map);
    for (int i = 0; i < 9; i++)
        CHECK_EQ(1, weft_join_map_next(map, &done));
    for (int i = 0; i < 20; i++)
        CHECK(weft_join_map_spawn(map, number(i), waits, NULL) > 0);
    weft_join_map_keys(map, counts_five, &walked);
    CHECK_EQ(5, walked);
    CHECK_EQ(0, weft_join_map_shutdown(map));
    CHECK(weft_join_map_is_empty(map));
    weft_join_map_free(map);
    return 0;
}

TEST(tasks_are_cancelled_by_key)
{
    test_run(cancels, NULL);
}

END_TEST

/* Many keys, in and out, against an array. */
#define KEYS 3000

static int many(void *arg)
{
    static int want[KEYS]; /* 0: not there */
    uint64_t chance = test_seed();
    weft_join_map *map = weft_join_map_new();
    weft_join_map_done done;
    size_t there = 0;
    char text[32];
    int serial = 0, rc;

    (void)arg;
    memset(want, 0, sizeof(want));
    for (uint64_t i = test_scaled(20000); i; i--) {
        int k = (int)(test_rand(&chance) % KEYS);
        weft_key key = number(k);

        (void)snprintf(text, sizeof(text), "key %d", k);
        if (k % 2)
            key = weft_key_string(text);
        if (test_rand(&chance) % 3) {
            there += want[k] == 0;
            want[k] = ++serial;
            CHECK(weft_join_map_spawn(map, key, returns_it, as_arg(serial)) > 0);
        } else if ((rc = weft_join_map_try_next(map, &done)) == 1) {
            k = done.key.bytes ? 0 : (int)done.key.number;
            if (done.key.bytes) {
                memcpy(text, done.key.bytes, done.key.number);
                text[done.key.number] = '\0';
                CHECK_EQ(1, sscanf(text, "key %d", &k));
            }
            CHECK_EQ(want[k], done.result);
            want[k] = 0;
            there--;
        } else {
            CHECK_EQ(there ? -EAGAIN : 0, rc);
            CHECK_EQ(0, weft_yield());
        }
        CHECK_EQ(there, weft_join_map_len(map));
    }
    for (int k = 0; k < KEYS; k++) {
        (void)snprintf(text, sizeof(text), "key %d", k);
        CHECK_EQ(want[k] != 0,
                 weft_join_map_contains(map, k % 2 ? weft_key_string(text) : number(k)));
    }
    for (; there; there--)
        CHECK_EQ(1, weft_join_map_next(map, NULL));
    CHECK_EQ(0, weft_join_map_next(map, NULL));
    weft_join_map_free(map);
    return 0;
}

TEST(a_map_grows_and_keeps_its_keys)
{
    test_run(many, NULL);
}

END_TEST

static int sum_of_copy(void *arg)
{
    const int *v = arg;

    return v[0] + v[1];
}

static int all_ways(void *arg)
{
    const weft_task_options tagged = {.tag = 99};
    const struct echo_state echo = {.value = 5};
    const int v[2] = {1, 2};
    weft_join_map *map = weft_join_map_new();
    char long_key[WEFT_KEY_MAX + 1];
    weft_join_map_done done;

    (void)arg;
    memset(long_key, 'x', sizeof(long_key));
    CHECK(weft_join_map_spawn_copy(map, number(1), sum_of_copy, v, sizeof(v)) > 0);
    CHECK_EQ(1, weft_join_map_next(map, &done));
    CHECK(done.result == 3 && done.tag == 0);
    CHECK(weft_join_map_spawn_with(map, number(1), &tagged, returns_it, as_arg(4)) > 0);
    CHECK_EQ(1, weft_join_map_next(map, &done));
    CHECK(done.result == 4 && done.tag == 99);
    CHECK(weft_join_map_spawn_copy_with(map, weft_key_bytes(long_key, WEFT_KEY_MAX), &tagged,
                                        sum_of_copy, v, sizeof(v)) > 0);
    CHECK_EQ(1, weft_join_map_next(map, &done));
    CHECK(done.result == 3 && done.key.number == WEFT_KEY_MAX);
    CHECK(memcmp(done.key.bytes, long_key, WEFT_KEY_MAX) == 0);
    CHECK(weft_join_map_spawn_async(map, number(1), &echo_type, &echo) > 0);
    CHECK_EQ(1, weft_join_map_next(map, &done));
    CHECK_EQ(5, done.result);
    CHECK(weft_join_map_spawn_blocking(map, number(1), NULL, returns_it, as_arg(6)) > 0);
    CHECK_EQ(1, weft_join_map_next(map, &done));
    CHECK_EQ(6, done.result);
    CHECK(weft_join_map_spawn_on(map, number(1), weft_runtime_current(), &tagged, returns_it,
                                 as_arg(7)) > 0);
    CHECK_EQ(1, weft_join_map_next(map, &done));
    CHECK(done.result == 7 && done.tag == 99);
    CHECK(weft_join_map_spawn_async_on(map, number(1), weft_runtime_current(), NULL, &echo_type,
                                       &echo) > 0);
    CHECK_EQ(1, weft_join_map_next(map, &done));
    CHECK_EQ(5, done.result);
    CHECK(weft_join_map_spawn_blocking_on(map, number(1), weft_runtime_current(), NULL, returns_it,
                                          as_arg(8)) > 0);
    CHECK_EQ(1, weft_join_map_next(map, &done));
    CHECK_EQ(8, done.result);
    CHECK_EQ(-EINVAL, weft_join_map_spawn_on(map, number(1), NULL, NULL, returns_it, NULL));
    CHECK((weft_join_map_spawn)(map, number(1), panics, NULL) > 0);
    CHECK_EQ(1, weft_join_map_next(map, &done));
    CHECK_EQ(-EOWNERDEAD, done.result);
    CHECK_EQ(-EINVAL, weft_join_map_spawn(map, weft_key_bytes(long_key, sizeof(long_key)),
                                          returns_it, NULL));
    weft_join_map_free(map);
    return 0;
}

TEST(all_ways_to_spawn_lead_into_the_map)
{
    test_run(all_ways, NULL);
}

END_TEST

static int takes_next(void *arg)
{
    weft_join_map_done done;
    int rc = weft_join_map_next(arg, &done);

    return rc == 1 ? done.result : rc;
}

static int gives_up(void *arg)
{
    weft_join_map *map = weft_join_map_new();
    atomic_int flag = 0;
    weft_join_map_done done = {0};
    weft_future f, nap;
    weft_task *t;
    int result;

    (void)arg;
    CHECK(weft_join_map_spawn(map, number(1), until_set, &flag) > 0);
    WEFT_DEADLINE(WEFT_MS(1))
    CHECK_EQ(-ETIMEDOUT, weft_join_map_next(map, &done));
    f = weft_join_map_next_future(map, &done);
    nap = weft_sleep_future(WEFT_MS(1));
    CHECK_EQ(1, weft_select(&f, &nap));
    t = weft_spawn(takes_next, map);
    YIELD_UNTIL(is_waiting(t));
    CHECK_EQ(-EBUSY, weft_join_map_next(map, &done));
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
    /* Nothing of that has cost a task. */
    atomic_store(&flag, 9);
    CHECK_EQ(1, weft_join_map_next(map, &done));
    CHECK(done.result == 8 && done.key.number == 1);
    weft_join_map_free(map);
    return 0;
}

TEST(who_gives_up_loses_no_task)
{
    test_run(gives_up, NULL);
}

END_TEST

static int ends(void *arg)
{
    weft_join_map *map = weft_join_map_new();
    atomic_int alive = 0;
    weft_join_map_done done;

    (void)arg;
    CHECK_EQ(0, weft_join_map_set_deadline(map, weft_now() + WEFT_MS(2)));
    CHECK(weft_join_map_spawn(map, number(1), waits, NULL) > 0);
    CHECK_EQ(1, weft_join_map_next(map, &done));
    CHECK_EQ(-ECANCELED, done.result);
    weft_join_map_free(map);

    map = weft_join_map_new();
    for (int i = 0; i < 100; i++)
        CHECK(weft_join_map_spawn(map, number(i), i % 2 ? waits : returns_it, NULL) > 0);
    weft_join_map_detach_all(map);
    CHECK(weft_join_map_is_empty(map) && !weft_join_map_contains(map, number(1)));
    CHECK_EQ(0, weft_join_map_next(map, &done));
    for (int i = 0; i < 100; i++)
        CHECK(weft_join_map_spawn(map, number(i), counted, &alive) > 0);
    YIELD_UNTIL(atomic_load(&alive) == 100);
    CHECK_EQ(-ETIMEDOUT, weft_join_map_free_after(map, WEFT_MS(1)));
    CHECK_EQ(0, atomic_load(&alive));
    return 0;
}

TEST(maps_end_as_sets_do)
{
    test_run(ends, NULL);
}

END_TEST

static int tells(void *arg)
{
    const weft_join_set_options options = {.name = "feeds"};
    weft_join_map *map = NULL;
    weft_join_set_info info;

    (void)arg;
    CHECK_EQ(0, weft_join_map_new_with(&map, &options));
    CHECK_EQ(0, weft_join_map_get_info(map, &info));
    CHECK_STR("feeds", info.name);
    CHECK(info.len == 0 && info.spawned == 0 && info.taken == 0 && !info.expired);
    CHECK(weft_join_map_spawn(map, number(1), waits, NULL) > 0);
    CHECK(weft_join_map_spawn(map, number(1), returns_it, NULL) > 0); /* in its place */
    CHECK(weft_join_map_spawn(map, number(2), waits, NULL) > 0);
    CHECK_EQ(1, weft_join_map_next(map, NULL));
    CHECK_EQ(0, weft_join_map_get_info(map, &info));
    CHECK(info.len == 1 && info.spawned == 3 && info.taken == 1);
    CHECK_EQ(0, weft_join_map_set_deadline(map, 1));
    CHECK_EQ(1, weft_join_map_next(map, NULL));
    CHECK_EQ(0, (weft_join_map_get_info)(map, &info));
    CHECK(info.len == 0 && info.taken == 2 && info.expired && !info.ordered);
    weft_join_map_free(map);
    return 0;
}

TEST(a_map_says_what_it_is)
{
    test_run(tells, NULL);
}

END_TEST

static int within_a_task(void *arg)
{
    CHECK_EQ(-EDEADLK, weft_join_map_next_blocking(arg, NULL));
    return 0;
}

TEST(bad_use_gets_an_answer)
{
    const weft_join_set_options ordered = {.ordered = true};
    weft_join_map *map = weft_join_map_new();
    weft_future f = weft_join_map_next_future(NULL, NULL);

    CHECK_EQ(-EINVAL, weft_await_blocking(&f));
    CHECK_EQ(-EINVAL, weft_join_map_new_with(NULL, NULL));
    CHECK_EQ(-EINVAL, weft_join_map_new_with(&map, &ordered));
    CHECK_EQ(-EPERM, weft_join_map_spawn(map, number(1), returns_it, NULL));
    CHECK_EQ(-EINVAL, weft_join_map_spawn(NULL, number(1), returns_it, NULL));
    CHECK_EQ(-EINVAL, weft_join_map_spawn(map, number(1), NULL, NULL));
    CHECK_EQ(-EINVAL, weft_join_map_spawn_async(map, number(1), NULL, NULL));
    CHECK_EQ(-EPERM, weft_join_map_spawn_blocking(map, number(1), NULL, returns_it, NULL));
    CHECK_EQ(-EPERM, weft_join_map_next(map, NULL));
    CHECK_EQ(0, weft_join_map_next_blocking(map, NULL));
    CHECK_EQ(-EINVAL, weft_join_map_next(NULL, NULL));
    CHECK_EQ(-EINVAL, weft_join_map_try_next(NULL, NULL));
    CHECK_EQ(-EINVAL, weft_join_map_next_blocking(NULL, NULL));
    CHECK_EQ(-EINVAL, weft_join_map_cancel(NULL, number(1)));
    CHECK_EQ(-EINVAL, weft_join_map_shutdown(NULL));
    CHECK_EQ(-EINVAL, weft_join_map_get_info(map, NULL));
    CHECK_EQ(-EINVAL, (weft_join_map_get_info)(NULL, NULL));
    CHECK_EQ(-EINVAL, weft_join_map_set_deadline(NULL, 1));
    CHECK_EQ(0, weft_join_map_cancel_matching(NULL, is_even, NULL));
    CHECK_EQ(0, weft_join_map_cancel_matching(map, NULL, NULL));
    CHECK_EQ(0, weft_join_map_len(NULL));
    CHECK(!weft_join_map_contains(NULL, number(1)));
    CHECK(!weft_join_map_contains_task(NULL, 1));
    weft_join_map_keys(NULL, is_even, NULL);
    weft_join_map_keys(map, NULL, NULL);
    weft_join_map_cancel_all(NULL);
    weft_join_map_detach_all(NULL);
    CHECK_EQ(0, weft_join_map_free_after(NULL, 1));
    test_run(within_a_task, map);
    weft_join_map_free(map);
}

END_TEST

/* --- panics ---------------------------------------------------------------------------- */

struct look {
    weft_join_map *map;
    bool cancels;
};

static bool panics_at_two(void *arg, weft_key key, uint64_t id)
{
    (void)arg;
    (void)id;
    if (key.number == 2)
        weft_panic("in the middle of a map");
    return true;
}

static int looks_and_panics(void *arg)
{
    volatile char above[2 << 10]; /* so that scribbles reaches all that is below */
    const struct look *l = arg;

    above[0] = 0;
    if (l->cancels)
        (void)weft_join_map_cancel_matching(l->map, panics_at_two, NULL);
    else
        weft_join_map_keys(l->map, panics_at_two, NULL);
    return above[0];
}

/* Uses the stack that another fiber had. */
static int scribbles(void *arg)
{
    volatile unsigned char bytes[8 << 10];

    (void)arg;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = 0x5a;
    return bytes[17] != 0x5a;
}

static int panicked_in_map(void *arg)
{
    for (int cancels = 0; cancels < 2; cancels++) {
        struct look l = {weft_join_map_new(), cancels};
        weft_join_map_done done;
        int result = 0, seen = 0;
        atomic_int started = 0;

        (void)arg;
        for (int i = 0; i < 4; i++)
            CHECK(weft_join_map_spawn(l.map, number(i), waits, &started) > 0);
        while (atomic_load(&started) < 4) /* with stacks of their own */
            CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_join(weft_spawn(looks_and_panics, &l), &result));
        CHECK_EQ(-EOWNERDEAD, result);
        for (int i = 0; i < 8; i++)
            CHECK_EQ(0, weft_join(weft_spawn(scribbles, NULL), &result));
        CHECK_EQ(4, weft_join_map_len(l.map));
        weft_join_map_cancel_all(l.map);
        for (; weft_join_map_next(l.map, &done) == 1; seen++)
            CHECK_EQ(-ECANCELED, done.result);
        CHECK_EQ(4, seen);
        weft_join_map_free(l.map);
    }
    return 0;
}

TEST(a_panic_of_who_looks_at_the_keys_leaves_the_map_sound)
{
    test_run(panicked_in_map, NULL);
}

END_TEST

TEST_MAIN("join_map", numbers_and_bytes_are_keys, a_key_that_is_there_is_replaced,
          the_result_of_one_that_was_replaced_is_dropped, tasks_are_cancelled_by_key,
          a_map_grows_and_keeps_its_keys, all_ways_to_spawn_lead_into_the_map,
          who_gives_up_loses_no_task, maps_end_as_sets_do, a_map_says_what_it_is,
          bad_use_gets_an_answer, a_panic_of_who_looks_at_the_keys_leaves_the_map_sound)
