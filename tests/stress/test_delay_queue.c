/* SPDX-License-Identifier: MIT */
/*
 * test_delay_queue.c - a million entries in one delay queue, that tasks and a thread insert, reset and remove at random
 * while one task lets them expire: each comes out once, never early, and in order.
 *
 * An entry's value is its index in a table that says what became of it. Who sets it owns its record until it is in the
 * queue; who gets it out, by expiry or removal, is told so by the queue alone.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define ENTRIES 1000000
#define USERS   8
#define SPREAD  WEFT_MS(400) /* over which they expire */

enum { OUT_NOT, OUT_EXPIRED, OUT_REMOVED };

struct record {
    weft_delay_key key;
    atomic_uchar out;            /* what became of it: by who got it */
    _Atomic weft_instant set_at; /* when the call that set it was over; 0: it is not yet */
};

struct round {
    weft_delay_queue *q;
    struct record *record;
    uint32_t count;
    uint64_t seed;
    atomic_uint next_user;
    uint64_t expired, late_ns; /* the expirer's */
    atomic_uint removed, reset, missed;
};

static void comes_out(struct round *r, uint32_t i, unsigned char how)
{
    CHECK(i < r->count);
    CHECK_EQ(OUT_NOT, atomic_exchange(&r->record[i].out, how));
}

/* It came out behind one that was due later: only if it was not there when that one came out. */
static bool came_late(struct record *record, weft_instant last)
{
    weft_instant set_at = atomic_load(&record->set_at);

    return set_at == 0 || set_at >= last;
}

static int lets_expire(void *arg)
{
    struct round *r = arg;
    weft_instant last = 0;
    weft_delay_expired e;
    uint32_t i = 0;
    int rc;

    while ((rc = weft_delay_queue_next(r->q, &i, &e)) == 1) {
        weft_instant now = weft_now();

        CHECK(now >= e.deadline);
        r->late_ns += e.deadline ? now - e.deadline : 0;
        if (i == r->count) /* the one that never does was made to, at the end */
            continue;
        /* One that is set to the past may come behind those that were due by then. */
        CHECK(e.deadline >= last || e.deadline == 0 || came_late(&r->record[i], last));
        last = e.deadline > last ? e.deadline : last;
        comes_out(r, i, OUT_EXPIRED);
        r->expired++;
    }
    return rc;
}

/* A share of the entries: inserted, and then disturbed. */
static void use_share(struct round *r, uint32_t from, uint32_t to, uint64_t rand)
{
    for (uint32_t i = from; i < to; i++) {
        CHECK_EQ(0,
                 weft_delay_queue_insert(r->q, &i, test_rand(&rand) % SPREAD, &r->record[i].key));
        atomic_store(&r->record[i].set_at, weft_now());
    }
    for (uint32_t n = (to - from) / 2; n > 0; n--) {
        uint32_t i = from + (uint32_t)(test_rand(&rand) % (to - from)), value = 0;
        weft_duration after = test_rand(&rand) % SPREAD;
        int rc;

        atomic_store(&r->record[i].set_at, 0);
        switch (test_rand(&rand) % 8) {
        case 0:
            rc = weft_delay_queue_remove(r->q, r->record[i].key, &value);
            if (rc == 0) {
                CHECK_EQ(i, value);
                comes_out(r, i, OUT_REMOVED);
                atomic_fetch_add(&r->removed, 1);
            }
            break;
        case 1:
            rc = weft_delay_queue_reset_at(r->q, r->record[i].key, 0);
            break;
        default:
            rc = weft_delay_queue_reset(r->q, r->record[i].key, after);
            break;
        }
        atomic_store(&r->record[i].set_at, weft_now());
        CHECK(rc == 0 || rc == -ENOENT);
        atomic_fetch_add(rc == 0 ? &r->reset : &r->missed, 1);
    }
}

static void use(struct round *r)
{
    uint32_t n = atomic_fetch_add(&r->next_user, 1), share = r->count / USERS;

    use_share(r, n * share, n + 1 == USERS ? r->count : (n + 1) * share, r->seed + n * 2 + 1);
}

static int uses(void *arg)
{
    use(arg);
    return 0;
}

static void *uses_as_a_thread(void *arg)
{
    use(arg);
    return NULL;
}

static int round_root(void *arg)
{
    struct round *r = arg;
    weft_task *expirer, *user[USERS - 1];
    weft_delay_key never;
    pthread_t thread;

    CHECK_EQ(0, weft_delay_queue_insert(r->q, &r->count, WEFT_FOREVER, &never));
    expirer = weft_spawn(lets_expire, r);
    CHECK_EQ(0, pthread_create(&thread, NULL, uses_as_a_thread, r));
    for (int i = 0; i < USERS - 1; i++)
        user[i] = weft_spawn(uses, r);
    for (int i = 0; i < USERS - 1; i++)
        CHECK_EQ(0, weft_join(user[i], NULL));
    CHECK_EQ(0, pthread_join(thread, NULL));
    while (weft_delay_queue_len(r->q) > 1)
        CHECK_EQ(0, weft_sleep(WEFT_MS(5)));
    CHECK_EQ(0, weft_delay_queue_reset(r->q, never, 0));
    CHECK_EQ(0, weft_join(expirer, NULL));
    return 0;
}

static void play(const struct test_flavour *flavour, uint64_t seed)
{
    struct round r = {.count = (uint32_t)test_scaled(ENTRIES), .seed = seed};
    uint64_t out[3] = {0};

    r.record = calloc(r.count, sizeof(*r.record));
    CHECK(r.record);
    CHECK_EQ(0, weft_delay_queue_new(&r.q, sizeof(uint32_t), NULL));
    test_run_on(flavour, round_root, &r);
    CHECK_EQ(0, weft_delay_queue_len(r.q));
    for (uint32_t i = 0; i < r.count; i++)
        out[atomic_load(&r.record[i].out)]++;
    CHECK_EQ(0, out[OUT_NOT]);
    CHECK_EQ(r.expired, out[OUT_EXPIRED]);
    CHECK_EQ(atomic_load(&r.removed), out[OUT_REMOVED]);
    (void)fprintf(
        stderr, "%s: %llu expired, on average %llu us late, %u removed, %u set anew, %u too late\n",
        flavour->name, (unsigned long long)r.expired,
        (unsigned long long)(r.expired ? r.late_ns / r.expired / 1000 : 0), atomic_load(&r.removed),
        atomic_load(&r.reset), atomic_load(&r.missed));
    weft_delay_queue_free(r.q);
    free(r.record);
}

TEST(a_million_entries_come_out_once_each)
{
    uint64_t seed = test_seed();

    test_watchdog(60);
    for (size_t i = 0; i < test_flavour_count; i++)
        play(&test_flavours[i], test_rand(&seed));
}

TEST_MAIN("stress.delay_queue", a_million_entries_come_out_once_each)
