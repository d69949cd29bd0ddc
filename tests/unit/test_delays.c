/* SPDX-License-Identifier: MIT */
/* test_delays.c - the entries of a delay queue against a list of all of them, at their edges, and in large numbers. */
#include "sync/delays.h"

#include "base/sys.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

#define COUNT 200
#define NONE  WF_DELAYS_NONE

/* What the list says of an entry. */
struct known {
    bool hangs;
    uint32_t i;
    uint64_t key, deadline, due;
};

struct model {
    struct wf_delays d;
    struct known known[COUNT];
    uint64_t rand, now;
};

static uint32_t get(struct wf_delays *d)
{
    uint32_t i = wf_delays_get(d);

    if (i == NONE) {
        size_t size = wf_delays_chunk_size(d);
        void *chunk = wf_sys_aligned_alloc(WF_CACHE_LINE, size);

        CHECK(size && chunk);
        wf_delays_add_chunk(d, chunk);
        i = wf_delays_get(d);
    }
    CHECK(i != NONE);
    CHECK(!wf_delays_hangs(d, i));
    return i;
}

static uint32_t add(struct wf_delays *d, uint64_t deadline)
{
    uint32_t i = get(d);

    wf_delays_set(d, i, deadline);
    CHECK_EQ(deadline, wf_delays_entry(d, i)->deadline);
    return i;
}

static void drop(struct wf_delays *d, uint32_t i)
{
    uint64_t key = wf_delays_key(d, i);

    CHECK_EQ(i, wf_delays_find(d, key));
    wf_delays_take(d, i);
    CHECK_EQ(NONE, wf_delays_find(d, key));
    wf_delays_put(d, i);
    CHECK_EQ(NONE, wf_delays_find(d, key));
}

/* The one that is due at now; NONE. */
static uint32_t due(struct wf_delays *d, uint64_t now)
{
    enum wf_delays_found found;
    uint32_t i = NONE;

    while ((found = wf_delays_due(d, now, &i)) == WF_DELAYS_MORE)
        continue;
    return found == WF_DELAYS_DUE ? i : NONE;
}

/* The one with the earliest deadline; NONE. */
static uint32_t peek(struct wf_delays *d)
{
    enum wf_delays_found found;
    uint32_t i = NONE;

    while ((found = wf_delays_peek(d, &i)) == WF_DELAYS_MORE)
        continue;
    return found == WF_DELAYS_DUE ? i : NONE;
}

/* --- against a list ---------------------------------------------------------------- */

/* A number of any magnitude: as many of them have 10 bits as have 60. */
static uint64_t rand_length(uint64_t *rand, unsigned bits_max)
{
    uint64_t bits = test_rand(rand) % bits_max;

    return test_rand(rand) >> (63 - bits);
}

/* The due ones come in order, each the earliest of all, and none is forgotten. */
static void model_advance(struct model *m, uint64_t now)
{
    uint32_t i;

    m->now = now;
    while ((i = due(&m->d, now)) != NONE) {
        struct known *k = NULL;

        for (size_t n = 0; n < COUNT; n++)
            if (m->known[n].hangs && m->known[n].i == i)
                k = &m->known[n];
        CHECK(k && k->due <= now);
        CHECK_EQ(k->key, wf_delays_key(&m->d, i));
        CHECK_EQ(k->deadline, wf_delays_entry(&m->d, i)->deadline);
        for (size_t n = 0; n < COUNT; n++)
            CHECK(!m->known[n].hangs || m->known[n].due >= k->due);
        drop(&m->d, i);
        k->hangs = false;
    }
    for (size_t n = 0; n < COUNT; n++)
        CHECK(!m->known[n].hangs || m->known[n].due > now);
}

static uint64_t model_earliest(const struct model *m)
{
    uint64_t first = WEFT_FOREVER;

    for (size_t n = 0; n < COUNT; n++)
        if (m->known[n].hangs && m->known[n].due < first)
            first = m->known[n].due;
    return first;
}

static void model_set(struct model *m, struct known *k, uint64_t deadline)
{
    if (k->hangs) {
        wf_delays_reset(&m->d, k->i, deadline);
    } else {
        k->i = add(&m->d, deadline);
        k->key = wf_delays_key(&m->d, k->i);
    }
    k->hangs = true;
    k->deadline = deadline;
    k->due = deadline > m->d.now ? deadline : m->d.now;
    CHECK_EQ(k->key, wf_delays_key(&m->d, k->i));
    CHECK_EQ(k->i, wf_delays_find(&m->d, k->key));
}

static void model_step(struct model *m, unsigned bits)
{
    struct known *k = &m->known[test_rand(&m->rand) % COUNT];
    uint64_t length = rand_length(&m->rand, bits), first = model_earliest(m);

    switch (test_rand(&m->rand) % 8) {
    case 0:
        if (length < UINT64_MAX / 2 && m->now < UINT64_MAX / 2)
            model_advance(m, m->now + length);
        break;
    case 1:
        if (first != WEFT_FOREVER)
            model_advance(m, first > m->now ? first : m->now);
        break;
    case 2:
        if (k->hangs)
            drop(&m->d, k->i);
        k->hangs = false;
        break;
    case 3:
        model_set(m, k, test_rand(&m->rand) % 4 ? m->now - m->now / 8 : WEFT_FOREVER);
        break;
    default:
        model_set(m, k, length < WEFT_FOREVER - m->now ? m->now + length : WEFT_FOREVER - 1);
        break;
    }
}

static void model_check(struct model *m)
{
    uint64_t first = model_earliest(m);
    uint32_t count = 0, earliest;

    for (size_t n = 0; n < COUNT; n++)
        count += m->known[n].hangs;
    CHECK_EQ(count, wf_delays_check(&m->d));
    CHECK(wf_delays_next(&m->d) <= first);
    if (test_rand(&m->rand) % 2)
        return; /* looking puts things in order */
    earliest = peek(&m->d);
    CHECK_EQ(first == WEFT_FOREVER && !count, earliest == NONE);
    if (earliest != NONE && first != WEFT_FOREVER)
        CHECK(wf_delays_entry(&m->d, earliest)->deadline <= first);
    CHECK_EQ(count, wf_delays_check(&m->d));
}

static void model_run(uint64_t seed, uint64_t steps, unsigned bits)
{
    struct model *m = calloc(1, sizeof(*m));

    CHECK(m);
    m->rand = seed;
    m->now = rand_length(&m->rand, 50);
    wf_delays_init(&m->d, 0);
    (void)due(&m->d, m->now);
    for (uint64_t step = 0; step < steps; step++) {
        model_step(m, bits);
        if (step % 16 == 0)
            model_check(m);
    }
    wf_delays_release(&m->d);
    free(m);
}

TEST(what_is_due_comes_out_and_in_order)
{
    uint64_t seed = test_seed();

    for (unsigned bits = 4; bits <= 62; bits += 2)
        model_run(test_rand(&seed) | 1, test_scaled(4000), bits);
}

/* --- edges --------------------------------------------------------------------------- */

TEST(a_moment_is_exact_whatever_its_distance)
{
    struct wf_delays d;

    wf_delays_init(&d, 0);
    for (unsigned bit = 0; bit < 63; bit++) {
        uint64_t at = ((uint64_t)1 << bit) + (uint64_t)bit * bit;
        uint32_t i = add(&d, at), j = add(&d, at + 1);

        if (at > d.now) {
            CHECK_EQ(NONE, due(&d, at - 1));
            CHECK_EQ(at, wf_delays_next(&d));
        }
        CHECK_EQ(i, due(&d, at));
        drop(&d, i);
        CHECK_EQ(NONE, due(&d, at));
        CHECK_EQ(at + 1, wf_delays_next(&d));
        CHECK_EQ(j, due(&d, at + 1));
        drop(&d, j);
    }
    CHECK(wf_delays_next(&d) == WEFT_FOREVER);
    wf_delays_release(&d);
}

TEST(what_never_expires_never_does)
{
    struct wf_delays d;
    uint32_t i;

    wf_delays_init(&d, 0);
    i = add(&d, WEFT_FOREVER);
    CHECK_EQ(NONE, due(&d, UINT64_MAX - 1));
    CHECK_EQ(NONE, due(&d, UINT64_MAX));
    CHECK(wf_delays_next(&d) == WEFT_FOREVER);
    CHECK_EQ(i, peek(&d));
    CHECK_EQ(1, wf_delays_check(&d));
    wf_delays_reset(&d, i, 5);
    CHECK_EQ(i, due(&d, UINT64_MAX));
    drop(&d, i);
    CHECK_EQ(0, wf_delays_check(&d));
    wf_delays_release(&d);
}

TEST(what_was_overdue_when_it_was_set_is_due)
{
    struct wf_delays d;
    uint32_t i;

    wf_delays_init(&d, 0);
    CHECK_EQ(NONE, due(&d, 1000));
    i = add(&d, 3);
    CHECK_EQ(3, wf_delays_entry(&d, i)->deadline);
    CHECK_EQ(i, peek(&d));
    CHECK_EQ(i, due(&d, 1000));
    drop(&d, i);
    wf_delays_release(&d);
}

TEST(a_key_is_of_one_entry_only)
{
    struct wf_delays d;
    uint64_t last = 0;

    wf_delays_init(&d, 0);
    CHECK_EQ(NONE, wf_delays_find(&d, 0));
    CHECK_EQ(NONE, wf_delays_find(&d, UINT64_MAX));
    for (int round = 0; round < 1000; round++) {
        uint32_t i = add(&d, 5);

        CHECK_EQ(0, i); /* the same memory each time */
        CHECK(wf_delays_key(&d, i) != last);
        CHECK_EQ(NONE, wf_delays_find(&d, last));
        last = wf_delays_key(&d, i);
        drop(&d, i);
    }
    /* Round the end of the generations: 0 is left out. */
    wf_delays_entry(&d, 0)->generation = UINT32_MAX;
    drop(&d, add(&d, 5));
    CHECK_EQ(1, wf_delays_entry(&d, 0)->generation);
    wf_delays_release(&d);
}

TEST(values_stay_where_they_are_while_chunks_are_added)
{
    enum { MANY = 5000 };

    static void *items[MANY];
    struct wf_delays d;

    wf_delays_init(&d, 24);
    for (uint32_t n = 0; n < MANY; n++) {
        uint32_t i = add(&d, n);

        CHECK_EQ(n, i);
        items[n] = wf_delays_item(&d, i);
        CHECK_EQ(0, (uintptr_t)items[n] % 8);
        memset(items[n], (int)(n & 0xff), 24);
    }
    for (uint32_t n = 0; n < MANY; n++) {
        const unsigned char *bytes = wf_delays_item(&d, n);

        CHECK(bytes == items[n]);
        for (int b = 0; b < 24; b++)
            CHECK_EQ(n & 0xff, bytes[b]);
        CHECK_EQ(n, wf_delays_entry(&d, n)->deadline);
    }
    CHECK_EQ(MANY, wf_delays_check(&d));
    CHECK(d.capacity >= MANY && d.capacity < 2 * MANY + WF_DELAYS_FIRST);
    wf_delays_release(&d);
}

TEST(chunks_come_to_an_end_before_their_numbers_do)
{
    static struct wf_delays d;

    wf_delays_init(&d, 0);
    d.chunks = WF_DELAYS_CHUNKS;
    CHECK_EQ(0, wf_delays_chunk_size(&d));
    d.chunks = WF_DELAYS_CHUNKS - 1;
    CHECK(wf_delays_chunk_size(&d) > 0);
}

/* --- in the middle of things ---------------------------------------------------------- */

/* While a slot is spread in parts, anything may be taken out or set anew. */
TEST(a_cascade_may_be_disturbed)
{
    enum { MANY = 1000 };

    static uint64_t deadline[MANY];
    uint64_t rand = test_seed(), last = 0;
    struct wf_delays d;
    uint32_t i = NONE, left = MANY;
    unsigned parts = 0;

    wf_delays_init(&d, 0);
    for (uint32_t n = 0; n < MANY; n++) {
        deadline[n] = ((uint64_t)1 << 40) + test_rand(&rand) % 100000;
        CHECK_EQ(n, add(&d, deadline[n]));
    }
    while (wf_delays_due(&d, ((uint64_t)1 << 40) + 50000, &i) == WF_DELAYS_MORE) {
        uint32_t other = (uint32_t)(test_rand(&rand) % MANY);

        parts++;
        CHECK_EQ(left, wf_delays_check(&d));
        if (!wf_delays_hangs(&d, other))
            continue;
        if (parts % 2) {
            wf_delays_take(&d, other);
            left--;
        } else {
            deadline[other] = ((uint64_t)1 << 40) + test_rand(&rand) % 100000;
            wf_delays_reset(&d, other, deadline[other]);
        }
        if (parts % 3)
            continue;
        other = peek(&d); /* which goes on with it */
        CHECK(other != NONE);
        for (uint32_t n = 0; n < MANY; n++)
            CHECK(!wf_delays_hangs(&d, n) || wf_delays_entry(&d, other)->deadline <= deadline[n]);
    }
    CHECK(parts >= 3);
    while ((i = due(&d, (uint64_t)1 << 41)) != NONE) {
        CHECK(deadline[i] >= last);
        last = deadline[i];
        wf_delays_take(&d, i);
        left--;
    }
    CHECK_EQ(0, left);
    wf_delays_release(&d);
}

/* No step of wf_delays_due is longer than a part of a cascade, so the lock over it is not held for long. */
TEST(a_million_in_one_slot_are_spread_in_parts)
{
    uint32_t many = (uint32_t)test_scaled(1000000), i = NONE;
    enum wf_delays_found found;
    struct wf_delays d;
    uint64_t parts = 0;

    wf_delays_init(&d, 0);
    for (uint32_t n = 0; n < many; n++)
        (void)add(&d, ((uint64_t)1 << 50) + n);
    while ((found = wf_delays_due(&d, (uint64_t)1 << 50, &i)) == WF_DELAYS_MORE)
        parts++;
    CHECK_EQ(WF_DELAYS_DUE, found);
    CHECK_EQ(0, i);
    CHECK(parts >= many / WF_DELAYS_SPREAD);
    for (uint32_t n = 0; n < many; n++) {
        CHECK_EQ(n, due(&d, UINT64_MAX - 1));
        wf_delays_take(&d, n);
        wf_delays_put(&d, n);
    }
    CHECK_EQ(NONE, due(&d, UINT64_MAX - 1));
    wf_delays_release(&d);
}

TEST_MAIN("delays", what_is_due_comes_out_and_in_order, a_moment_is_exact_whatever_its_distance,
          what_never_expires_never_does, what_was_overdue_when_it_was_set_is_due,
          a_key_is_of_one_entry_only, values_stay_where_they_are_while_chunks_are_added,
          chunks_come_to_an_end_before_their_numbers_do, a_cascade_may_be_disturbed,
          a_million_in_one_slot_are_spread_in_parts)
