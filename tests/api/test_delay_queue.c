/* SPDX-License-Identifier: MIT */
/*
 * test_delay_queue.c - values that come out when their time has come: when, in which order, and to whom; what changes
 * meanwhile; what becomes of those that nobody takes.
 *
 * Where moments matter the clock stands still, and they are exact.
 */
#include "delay.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* --- taking, exactly -------------------------------------------------------------------- */

static int takes_in_order(void *arg)
{
    static const weft_duration after[] = {WEFT_SECS(90000), 3,           WEFT_MS(7),  1,
                                          WEFT_US(66),      WEFT_US(65), WEFT_SECS(2)};
    static const int order[] = {3, 1, 5, 4, 2, 6, 0};
    weft_instant base = weft_now();
    weft_delay_queue *q = queue_of_ints();
    weft_delay_key key[7];
    int got = -1;

    (void)arg;
    for (int i = 0; i < 7; i++)
        key[i] = insert(q, i, after[i]);
    CHECK_EQ(7, weft_delay_queue_len(q));
    CHECK(!weft_delay_queue_is_empty(q));
    for (size_t i = 0; i < 7; i++) {
        weft_delay_expired expired;
        weft_delay_key next;

        CHECK_EQ(1, weft_delay_queue_peek(q, &next));
        CHECK(same(key[order[i]], next));
        CHECK_EQ(1, weft_delay_queue_next(q, &got, &expired));
        CHECK_EQ(order[i], got);
        CHECK_EQ(base + after[got], weft_now());
        CHECK_EQ(base + after[got], expired.deadline);
        CHECK(same(key[got], expired.key));
        CHECK_EQ(6 - i, weft_delay_queue_len(q));
    }
    got = -1;
    CHECK_EQ(0, weft_delay_queue_next(q, &got, NULL));
    CHECK_EQ(0, weft_delay_queue_peek(q, NULL));
    CHECK_EQ(-1, got);
    weft_delay_queue_free(q);
    return 0;
}

TEST(entries_come_out_at_their_time_and_in_order)
{
    test_run_paused(takes_in_order, NULL);
}

static int takes_without_waiting(void *arg)
{
    weft_delay_queue *q = queue_of_ints();
    int got = -1;

    (void)arg;
    CHECK_EQ(0, weft_delay_queue_try_next(q, &got, NULL));
    (void)insert(q, 1, WEFT_MS(1));
    (void)insert(q, 2, WEFT_MS(2));
    CHECK_EQ(-EAGAIN, weft_delay_queue_try_next(q, &got, NULL));
    CHECK_EQ(0, weft_clock_advance(WEFT_MS(1) - 1));
    CHECK_EQ(-EAGAIN, weft_delay_queue_try_next(q, &got, NULL));
    CHECK_EQ(-1, got);
    CHECK_EQ(0, weft_clock_advance(1));
    CHECK_EQ(1, weft_delay_queue_try_next(q, &got, NULL));
    CHECK_EQ(1, got);
    CHECK_EQ(-EAGAIN, weft_delay_queue_try_next(q, &got, NULL));
    CHECK_EQ(0, weft_clock_advance(WEFT_SECS(1)));
    CHECK_EQ(1, weft_delay_queue_try_next(q, &got, NULL));
    CHECK_EQ(2, got);
    CHECK_EQ(0, weft_delay_queue_try_next(q, &got, NULL));
    weft_delay_queue_free(q);
    return 0;
}

TEST(what_has_expired_can_be_taken_without_waiting)
{
    test_run_paused(takes_without_waiting, NULL);
}

static int past_and_never(void *arg)
{
    weft_instant base = weft_now();
    weft_delay_queue *q = queue_of_ints();
    int value = 1, got = 0;
    weft_delay_key never;
    weft_instant at;

    (void)arg;
    CHECK_EQ(0, weft_delay_queue_insert_at(q, &value, 0, NULL));
    CHECK_EQ(1, weft_delay_queue_next(q, &got, NULL));
    CHECK_EQ(base, weft_now());
    value = 2;
    CHECK_EQ(0, weft_delay_queue_insert(q, &value, WEFT_FOREVER, &never));
    CHECK_EQ(0, weft_delay_queue_deadline(q, never, &at));
    CHECK(at == WEFT_FOREVER);
    WEFT_DEADLINE(WEFT_SECS(UINT64_C(1000000000)))
    {
        CHECK_EQ(-ETIMEDOUT, weft_delay_queue_next(q, &got, NULL));
    }
    CHECK_EQ(-EAGAIN, weft_delay_queue_try_next(q, &got, NULL));
    CHECK_EQ(0, weft_delay_queue_reset(q, never, 5));
    CHECK_EQ(1, weft_delay_queue_next(q, &got, NULL));
    CHECK_EQ(2, got);
    weft_delay_queue_free(q);
    return 0;
}

TEST(what_is_past_is_due_and_what_never_comes_is_not)
{
    test_run_paused(past_and_never, NULL);
}

/* --- keys --------------------------------------------------------------------------------- */

static int uses_keys(void *arg)
{
    weft_instant base = weft_now(), at = 0;
    weft_delay_queue *q = queue_of_ints();
    weft_delay_key a = insert(q, 1, WEFT_MS(1)), b = insert(q, 2, WEFT_MS(2)), none = {0};
    weft_delay_key c = insert(q, 3, WEFT_MS(3)), stale = a;
    int got = -1;

    (void)arg;
    CHECK_EQ(0, weft_delay_queue_deadline(q, b, &at));
    CHECK_EQ(base + WEFT_MS(2), at);
    CHECK_EQ(0, weft_delay_queue_remove(q, a, &got));
    CHECK_EQ(1, got);
    got = -1;
    CHECK_EQ(-ENOENT, weft_delay_queue_remove(q, a, &got));
    CHECK_EQ(-ENOENT, weft_delay_queue_remove(q, a, NULL));
    CHECK_EQ(-ENOENT, weft_delay_queue_reset(q, a, 1));
    CHECK_EQ(-ENOENT, weft_delay_queue_reset_at(q, a, 1));
    CHECK_EQ(-ENOENT, weft_delay_queue_deadline(q, a, &at));
    CHECK_EQ(-ENOENT, weft_delay_queue_remove(q, none, &got));
    a = insert(q, 4, WEFT_MS(4)); /* in the place of the first */
    CHECK(!same(a, stale));
    CHECK_EQ(-ENOENT, weft_delay_queue_remove(q, stale, &got));
    CHECK_EQ(-1, got);
    CHECK_EQ(3, weft_delay_queue_len(q));
    CHECK_EQ(0, weft_delay_queue_reset(q, b, WEFT_MS(10)));
    CHECK_EQ(0, weft_delay_queue_reset_at(q, a, base + WEFT_MS(1)));
    CHECK_EQ(0, weft_delay_queue_deadline(q, a, &at));
    CHECK_EQ(base + WEFT_MS(1), at);
    CHECK_EQ(1, weft_delay_queue_next(q, &got, NULL));
    CHECK_EQ(4, got);
    CHECK_EQ(base + WEFT_MS(1), weft_now());
    CHECK_EQ(-ENOENT, weft_delay_queue_reset(q, a, 1)); /* it is out */
    CHECK_EQ(1, weft_delay_queue_next(q, &got, NULL));
    CHECK_EQ(3, got);
    CHECK_EQ(-ENOENT, weft_delay_queue_deadline(q, c, NULL));
    CHECK_EQ(1, weft_delay_queue_next(q, &got, NULL));
    CHECK_EQ(2, got);
    CHECK_EQ(base + WEFT_MS(10), weft_now());
    weft_delay_queue_free(q);
    return 0;
}

TEST(a_key_is_of_its_entry_and_then_of_nothing)
{
    test_run_paused(uses_keys, NULL);
}

/* --- memory ------------------------------------------------------------------------------- */

struct large {
    char bytes[WEFT_DELAY_ITEM_MAX];
};

static int copies_values(void *arg)
{
    static struct large in, out;
    static const size_t sizes[] = {0, 1, 3, 8, 24, 100, sizeof(in)};

    (void)arg;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        weft_delay_queue *q = NULL;

        CHECK_EQ(0, weft_delay_queue_new(&q, sizes[s], NULL));
        CHECK_EQ(0, weft_delay_queue_capacity(q));
        for (int i = 0; i < 200; i++) {
            memset(&in, i, sizeof(in));
            CHECK_EQ(0, weft_delay_queue_insert(q, sizes[s] ? &in : NULL, (weft_duration)i, NULL));
        }
        CHECK(weft_delay_queue_capacity(q) >= 200);
        for (int i = 0; i < 200; i++) {
            memset(&out, 0xff, sizeof(out));
            CHECK_EQ(1, weft_delay_queue_next(q, sizes[s] ? &out : NULL, NULL));
            for (size_t b = 0; b < sizeof(out); b++)
                CHECK_EQ((char)(b < sizes[s] ? i : 0xff), out.bytes[b]);
        }
        weft_delay_queue_free(q);
    }
    return 0;
}

TEST(values_of_any_size_are_copied)
{
    test_run_paused(copies_values, NULL);
}

TEST(reserved_memory_is_there_and_is_used_again)
{
    weft_delay_queue *q = queue_of_ints();
    size_t capacity;
    int value = 0;

    CHECK_EQ(0, weft_delay_queue_reserve(q, 0));
    CHECK_EQ(0, weft_delay_queue_reserve(q, 1000));
    capacity = weft_delay_queue_capacity(q);
    CHECK(capacity >= 1000 && capacity < 4000);
    for (size_t i = 0; i < capacity; i++)
        CHECK_EQ(0, weft_delay_queue_insert_at(q, &value, 0, NULL));
    CHECK_EQ(capacity, weft_delay_queue_capacity(q));
    for (size_t i = 0; i < 3 * capacity; i++) {
        CHECK_EQ(1, weft_delay_queue_try_next(q, &value, NULL));
        CHECK_EQ(0, weft_delay_queue_insert_at(q, &value, i, NULL));
    }
    CHECK_EQ(capacity, weft_delay_queue_capacity(q));
    CHECK_EQ(0, weft_delay_queue_reserve(q, 1));
    CHECK(weft_delay_queue_capacity(q) > capacity);
    CHECK_EQ(-ENOMEM, weft_delay_queue_reserve(q, SIZE_MAX / 2));
    weft_delay_queue_free(q);
}

/* --- values that nobody takes ---------------------------------------------------------------- */

static struct {
    weft_delay_queue *q;
    unsigned destroyed;
    bool uses_queue;
} owed;

static void destroy(void *item)
{
    int *p;

    memcpy(&p, item, sizeof(p));
    owed.destroyed++;
    if (owed.uses_queue) {
        int *other = malloc(sizeof(*other));

        CHECK(other);
        CHECK_EQ(0, weft_delay_queue_insert(owed.q, &other, WEFT_SECS(100), NULL));
    }
    free(p);
}

static weft_delay_key insert_owned(weft_duration after)
{
    int *p = malloc(sizeof(*p));
    weft_delay_key key;

    CHECK(p);
    CHECK_EQ(0, weft_delay_queue_insert(owed.q, &p, after, &key));
    return key;
}

TEST(values_that_nobody_takes_are_destroyed)
{
    weft_delay_key key;
    int *p = NULL;

    CHECK_EQ(0, weft_delay_queue_new(&owed.q, sizeof(int *), destroy));
    for (int i = 0; i < 300; i++)
        (void)insert_owned(WEFT_SECS(1000));
    key = insert_owned(1);
    CHECK_EQ(0, weft_delay_queue_remove(owed.q, key, NULL));
    CHECK_EQ(1, owed.destroyed);
    key = insert_owned(1);
    CHECK_EQ(0, weft_delay_queue_remove(owed.q, key, &p)); /* taken: it is ours */
    free(p);
    key = insert_owned(0);
    CHECK_EQ(1, weft_delay_queue_try_next(owed.q, &p, NULL));
    free(p);
    CHECK_EQ(1, owed.destroyed);
    weft_delay_queue_clear(owed.q);
    CHECK_EQ(301, owed.destroyed);
    CHECK_EQ(0, weft_delay_queue_len(owed.q));
    CHECK(weft_delay_queue_is_empty(owed.q) && weft_delay_queue_is_empty(NULL));
    CHECK_EQ(-ENOENT, weft_delay_queue_remove(owed.q, key, &p));
    weft_delay_queue_clear(owed.q);
    for (int i = 0; i < 70; i++)
        key = insert_owned(WEFT_FOREVER);
    owed.uses_queue = true;
    CHECK_EQ(0, weft_delay_queue_remove(owed.q, key, NULL));
    CHECK_EQ(70, weft_delay_queue_len(owed.q));
    owed.uses_queue = false;
    weft_delay_queue_free(owed.q);
    CHECK_EQ(301 + 1 + 70, owed.destroyed);
    weft_delay_queue_free(NULL);
}

/* --- changes while somebody waits ------------------------------------------------------------- */

static int changes(void *arg)
{
    weft_instant base = weft_now();
    struct waiter w = {.q = queue_of_ints(), .got = -1};
    weft_delay_key a = insert(w.q, 1, WEFT_SECS(100)), b;
    weft_task *t = weft_spawn(takes_one, &w);

    (void)arg;
    /* An earlier one. */
    until_waiting(t);
    b = insert(w.q, 2, WEFT_SECS(1));
    CHECK_EQ(1, ends(t));
    CHECK_EQ(2, w.got);
    CHECK_EQ(base + WEFT_SECS(1), w.at);
    CHECK_EQ(-ENOENT, weft_delay_queue_reset(w.q, b, 1));

    /* One that is set to earlier, after one that was set to later. */
    t = weft_spawn(takes_one, &w);
    until_waiting(t);
    CHECK_EQ(0, weft_delay_queue_reset(w.q, a, WEFT_SECS(1000)));
    until_waiting(t);
    CHECK_EQ(0, weft_delay_queue_reset(w.q, a, WEFT_SECS(1)));
    CHECK_EQ(1, ends(t));
    CHECK_EQ(1, w.got);
    CHECK_EQ(base + WEFT_SECS(2), w.at);

    /* The earliest is removed. */
    a = insert(w.q, 3, WEFT_SECS(1));
    b = insert(w.q, 4, WEFT_SECS(5));
    t = weft_spawn(takes_one, &w);
    until_waiting(t);
    CHECK_EQ(0, weft_delay_queue_remove(w.q, a, NULL));
    CHECK_EQ(1, ends(t));
    CHECK_EQ(4, w.got);
    CHECK_EQ(base + WEFT_SECS(7), w.at);

    /* The last one is removed, taken by another, cleared. */
    for (int how = 0; how < 3; how++) {
        w.got = -1;
        a = insert(w.q, 5, WEFT_SECS(1));
        t = weft_spawn(takes_one, &w);
        until_waiting(t);
        if (how == 0)
            CHECK_EQ(0, weft_delay_queue_remove(w.q, a, NULL));
        else if (how == 1)
            weft_delay_queue_clear(w.q);
        else
            CHECK_EQ(0, weft_delay_queue_reset_at(w.q, a, 0));
        if (how == 2)
            CHECK_EQ(1, weft_delay_queue_try_next(w.q, &w.got, NULL));
        CHECK_EQ(0, ends(t));
        CHECK_EQ(how == 2 ? 5 : -1, w.got);
        CHECK_EQ(base + WEFT_SECS(7), w.at);
    }
    weft_delay_queue_free(w.q);
    return 0;
}

TEST(who_waits_follows_what_changes)
{
    test_run_paused(changes, NULL);
}

static int gives_up(void *arg)
{
    weft_instant base = weft_now();
    weft_delay_queue *q = queue_of_ints();
    weft_future next, sleep, other;
    struct waiter w = {.q = q, .got = -1};
    int got = -1, second = -1;
    weft_task *t;

    (void)arg;
    (void)insert(q, 1, WEFT_SECS(10));
    WEFT_DEADLINE(WEFT_SECS(1))
    {
        CHECK_EQ(-ETIMEDOUT, weft_delay_queue_next(q, &got, NULL));
    }
    next = weft_delay_queue_next_future(q, &got, NULL);
    sleep = weft_sleep_future(WEFT_SECS(1));
    CHECK_EQ(1, weft_select(&next, &sleep));
    t = weft_spawn(takes_one, &w);
    until_waiting(t);
    weft_cancel(t);
    CHECK_EQ(-ECANCELED, ends(t));
    CHECK_EQ(-1, got);
    CHECK_EQ(-1, w.got);
    CHECK_EQ(1, weft_delay_queue_len(q));

    /* Kept: a second task that waits is refused, and may look without waiting. */
    next = weft_delay_queue_next_future(q, &got, NULL);
    sleep = weft_sleep_future(WEFT_SECS(1));
    CHECK_EQ(1, weft_select_keep(&next, &sleep));
    CHECK_EQ(-EBUSY, ends(weft_spawn(takes_one, &w)));
    CHECK_EQ(-EBUSY, weft_delay_queue_next(q, &second, NULL));
    other = weft_delay_queue_next_future(q, &second, NULL);
    CHECK_EQ(-EBUSY, weft_await(&other));
    CHECK_EQ(-EAGAIN, weft_delay_queue_try_next(q, &second, NULL));
    CHECK_EQ(1, weft_await(&next));
    CHECK_EQ(1, got);
    CHECK_EQ(-1, second);
    CHECK_EQ(base + WEFT_SECS(10), weft_now());
    CHECK_EQ(0, weft_delay_queue_next(q, &second, NULL)); /* and now it may */
    weft_delay_queue_free(q);
    return 0;
}

TEST(a_wait_that_is_given_up_loses_nothing)
{
    test_run_paused(gives_up, NULL);
}

/* --- misuse ------------------------------------------------------------------------------------ */

static int misuse(void *arg)
{
    weft_delay_queue *q = NULL;
    weft_delay_key key = {1};
    int item = 7;
    weft_future f;

    CHECK_EQ(-EINVAL, weft_delay_queue_new(NULL, 1, NULL));
    CHECK_EQ(-EINVAL, weft_delay_queue_new(&q, WEFT_DELAY_ITEM_MAX + 1, NULL));
    CHECK_EQ(-EINVAL, weft_delay_queue_new(&q, SIZE_MAX, NULL));
    CHECK(q == NULL);
    CHECK_EQ(-EINVAL, weft_delay_queue_insert(NULL, &item, 1, &key));
    CHECK_EQ(-EINVAL, weft_delay_queue_insert_at(NULL, &item, 1, &key));
    CHECK_EQ(-EINVAL, weft_delay_queue_remove(NULL, key, &item));
    CHECK_EQ(-EINVAL, weft_delay_queue_reset(NULL, key, 1));
    CHECK_EQ(-EINVAL, weft_delay_queue_reset_at(NULL, key, 1));
    CHECK_EQ(-EINVAL, weft_delay_queue_deadline(NULL, key, NULL));
    CHECK_EQ(-EINVAL, weft_delay_queue_peek(NULL, &key));
    CHECK_EQ(-EINVAL, weft_delay_queue_next(NULL, &item, NULL));
    CHECK_EQ(-EINVAL, weft_delay_queue_try_next(NULL, &item, NULL));
    f = weft_delay_queue_next_future(NULL, &item, NULL);
    weft_future_drop(&f);
    CHECK_EQ(-EINVAL, weft_delay_queue_reserve(NULL, 1));
    CHECK_EQ(0, weft_delay_queue_len(NULL));
    CHECK_EQ(0, weft_delay_queue_capacity(NULL));
    weft_delay_queue_clear(NULL);
    weft_delay_queue_free(NULL);
    q = queue_of_ints();
    CHECK_EQ(-EINVAL, weft_delay_queue_insert(q, NULL, 1, &key));
    CHECK_EQ(-EINVAL, weft_delay_queue_next(q, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_delay_queue_try_next(q, NULL, NULL));
    CHECK_EQ(-ENOENT, weft_delay_queue_remove(q, key, NULL));
    CHECK_EQ(1, key.value_);
    CHECK_EQ(7, item);
    if (arg) { /* a plain thread */
        CHECK_EQ(-EPERM, weft_delay_queue_next(q, &item, NULL));
        f = weft_delay_queue_next_future(q, &item, NULL);
        CHECK_EQ(-EPERM, weft_await_blocking(&f));
    }
    weft_delay_queue_free(q);
    return 0;
}

TEST(misuse_gets_codes_not_crashes)
{
    CHECK_EQ(0, misuse(&(int){1}));
    test_run(misuse, NULL);
}

static int frees_too_early(void *arg)
{
    struct waiter w = {.q = queue_of_ints()};
    weft_task *t;

    (void)arg;
    (void)insert(w.q, 3, WEFT_MS(1));
    t = weft_spawn(takes_one, &w);
    until_waiting(t);
    weft_delay_queue_free(w.q); /* refused: a task awaits its next */
    CHECK_EQ(1, ends(t));
    CHECK_EQ(3, w.got);
    weft_delay_queue_free(w.q);
    return 0;
}

TEST(a_queue_that_is_awaited_is_not_freed)
{
    test_run_paused(frees_too_early, NULL);
}

/* Begun in a task, and polled on by a plain thread, which has no timers. */
struct carried {
    weft_delay_queue *q;
    weft_future next;
    int got;
};

static int begins_next(void *arg)
{
    struct carried *c = arg;
    weft_context cx = weft_context_of(NULL);

    c->next = weft_delay_queue_next_future(c->q, &c->got, NULL);
    CHECK_EQ(WEFT_PENDING, weft_future_poll(&c->next, &cx));
    return 0;
}

TEST(a_wait_that_a_plain_thread_refuses_is_over)
{
    struct carried c = {.q = queue_of_ints()};
    weft_runtime *rt;

    (void)insert(c.q, 3, WEFT_SECS(1000));
    CHECK_EQ(0, weft_runtime_new(&rt, NULL));
    CHECK_EQ(0, weft_block_on(rt, begins_next, &c, NULL));
    CHECK_EQ(-EPERM, weft_await_blocking(&c.next));
    CHECK_EQ(0, weft_block_on(rt, begins_next, &c, NULL));
    weft_future_drop(&c.next);
    weft_runtime_free(rt);
    weft_delay_queue_free(c.q);
}

TEST_MAIN("delay_queue", entries_come_out_at_their_time_and_in_order,
          what_has_expired_can_be_taken_without_waiting,
          what_is_past_is_due_and_what_never_comes_is_not,
          a_key_is_of_its_entry_and_then_of_nothing, values_of_any_size_are_copied,
          reserved_memory_is_there_and_is_used_again, values_that_nobody_takes_are_destroyed,
          who_waits_follows_what_changes, a_wait_that_is_given_up_loses_nothing,
          misuse_gets_codes_not_crashes, a_queue_that_is_awaited_is_not_freed,
          a_wait_that_a_plain_thread_refuses_is_over)
