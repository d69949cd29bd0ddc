/* SPDX-License-Identifier: MIT */
/*
 * Channels while memory is short: what was accepted arrives or is destroyed, what was refused is still the sender's,
 * and nothing is left behind.
 */
#include "sweep.h"

#include <pthread.h>
#include <stdatomic.h>

/* Values that exist: made by senders, gone when received, destroyed, or taken back because they were refused. */
static atomic_int owned;

static void destroy(void *value)
{
    (void)value;
    atomic_fetch_sub(&owned, 1);
}

static const weft_channel_options owning = {.name = "owning", .destroy = destroy};

/* True: it was sent. */
static bool give(int rc)
{
    if (rc == 0)
        atomic_fetch_add(&owned, 1);
    return rc == 0;
}

/* ---- A queue that grows ---- */

#define VALUES 3000 /* some ten blocks */

static void take_in_order(weft_receiver *rx, const uint64_t *sent, size_t n)
{
    uint64_t got = 0;

    for (size_t i = 0; i < n; i++) {
        CHECK_EQ(1, weft_try_recv(rx, &got));
        CHECK_EQ(sent[i], got);
        atomic_fetch_sub(&owned, 1);
    }
}

static int grow_root(void *arg)
{
    static uint64_t sent[VALUES + 1000];
    weft_permit p = {0};
    weft_receiver *rx;
    weft_sender *tx;
    size_t n = 0;

    (void)arg;
    if (MAY(weft_mpsc_unbounded_with(&tx, &rx, sizeof(uint64_t), &owning), ENOMEM) < 0)
        return 0;
    for (uint64_t i = 0; i < VALUES; i++)
        if (give((int)MAY(weft_send(tx, &i), ENOMEM)))
            sent[n++] = i;
    /* What was reserved is there, whatever fails afterwards. */
    if (MAY(weft_reserve_many(tx, 1000, &p), ENOMEM) == 0) {
        for (uint64_t i = VALUES; weft_permit_count(&p) > 1; i++) {
            if (i % 2 == 0 && give((int)MAY(weft_try_send(tx, &i), ENOMEM)))
                sent[n++] = i;
            CHECK(give(weft_permit_send(&p, &i)));
            sent[n++] = i;
            if (n + 2 > sizeof(sent) / sizeof(sent[0]))
                break;
        }
    }
    take_in_order(rx, sent, n / 2);
    weft_receiver_close(rx); /* destroys the other half */
    weft_permit_release(&p);
    weft_sender_close(tx);
    CHECK_EQ(0, atomic_load(&owned));
    return 0;
}

static void grows(const struct test_flavour *flavour)
{
    atomic_store(&owned, 0);
    fault_run_root(flavour, grow_root, NULL);
    CHECK_EQ(0, atomic_load(&owned));
}

TEST(a_queue_that_cannot_grow_loses_nothing)
{
    fault_sweep(grows);
}

/* ---- A channel of a fixed size ---- */

static void *drain(void *arg)
{
    weft_receiver *rx = arg;
    uint64_t got, next = 0;

    while (weft_recv_blocking(rx, &got) == 1) {
        CHECK_EQ(next++, got);
        atomic_fetch_sub(&owned, 1);
    }
    weft_receiver_close(rx);
    return NULL;
}

/* Once it is made nothing of it fails any more. */
static int fixed_root(void *arg)
{
    weft_weak_sender *weak;
    weft_receiver *rx;
    weft_sender *tx;
    weft_permit p;
    pthread_t thread;

    (void)arg;
    if (MAY(weft_mpsc_new_with(&tx, &rx, sizeof(uint64_t), 3, &owning), ENOMEM) < 0)
        return 0;
    CHECK_EQ(0, pthread_create(&thread, NULL, drain, rx));
    for (uint64_t i = 0; i < 30; i++) {
        atomic_fetch_add(&owned, 1);
        if (i % 3 == 0) {
            CHECK_EQ(0, weft_reserve(tx, &p));
            CHECK_EQ(0, weft_permit_send(&p, &i));
            weft_permit_release(&p);
        } else {
            CHECK_EQ(0, weft_send(tx, &i));
        }
    }
    weak = weft_sender_downgrade(tx);
    weft_sender_close(weft_sender_clone(tx));
    weft_sender_close(tx);
    weft_weak_sender_close(weak);
    CHECK_EQ(0, pthread_join(thread, NULL));
    return 0;
}

static void fixed(const struct test_flavour *flavour)
{
    atomic_store(&owned, 0);
    fault_run_root(flavour, fixed_root, NULL);
    CHECK_EQ(0, atomic_load(&owned));
}

TEST(a_channel_that_was_made_needs_no_more_memory)
{
    fault_sweep(fixed);
}

/* ---- One value ---- */

static int oneshot_root(void *arg)
{
    static const size_t sizes[] = {8, 100, 5000, 20000};
    static unsigned char value[20000], got[20000];

    (void)arg;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (int way = 0; way < 3; way++) {
            weft_oneshot_receiver *rx;
            weft_oneshot_sender *tx;

            if (MAY(weft_oneshot_new_with(&tx, &rx, sizes[i], &owning), ENOMEM) < 0)
                continue;
            if (way == 0) {
                CHECK(give(weft_oneshot_send(tx, value)));
                CHECK_EQ(1, weft_oneshot_recv(rx, got));
                atomic_fetch_sub(&owned, 1);
            } else if (way == 1) {
                CHECK(give(weft_oneshot_send(tx, value)));
            } else {
                weft_oneshot_sender_close(tx);
            }
            weft_oneshot_receiver_close(rx);
            CHECK_EQ(0, atomic_load(&owned));
        }
    }
    return 0;
}

static void oneshots(const struct test_flavour *flavour)
{
    atomic_store(&owned, 0);
    fault_run_root(flavour, oneshot_root, NULL);
}

TEST(a_oneshot_is_made_or_not)
{
    fault_sweep(oneshots);
}

/* Small ones come from the slab, which the sweeps have filled before. */
TEST(a_oneshot_whose_slab_cannot_be_mapped_is_not_made)
{
    weft_oneshot_receiver *rx;
    weft_oneshot_sender *tx;

    fault_arm(&(struct fault_plan){WF_FAULT_MMAP, -ENOMEM, 1, FAULT_LASTING});
    CHECK_EQ(-ENOMEM, weft_oneshot_new(&tx, &rx, 8));
    CHECK_EQ(1, fault_disarm());
    CHECK_EQ(0, weft_oneshot_new(&tx, &rx, 8));
    weft_oneshot_sender_close(tx);
    weft_oneshot_receiver_close(rx);
}

END_TEST

TEST(channels_bear_any_mixture_of_failures)
{
    fault_scenario *const runs[] = {grows, fixed, oneshots};

    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
        fault_chaos(runs[i], fault_full() ? 2000 : test_scaled(100));
}

TEST(every_kind_of_a_channel_was_met)
{
    MET(WF_FAULT_ALLOC);
}

TEST_MAIN("fault.channels", a_queue_that_cannot_grow_loses_nothing,
          a_channel_that_was_made_needs_no_more_memory, a_oneshot_is_made_or_not,
          a_oneshot_whose_slab_cannot_be_mapped_is_not_made, channels_bear_any_mixture_of_failures,
          every_kind_of_a_channel_was_met)
