/* SPDX-License-Identifier: MIT */
/*
 * test_mpsc.c - where a channel's values lie, and how seldom a send has to look at the receiver.
 */
#include "support.h"
#include "sync/mpsc.h"

#include <errno.h>

struct channel {
    weft_sender *tx;
    weft_receiver *rx;
    struct wf_mpsc *c;
};

static struct channel channel_new(size_t item_size, size_t capacity)
{
    struct channel ch;

    if (capacity)
        CHECK_EQ(0, weft_mpsc_new(&ch.tx, &ch.rx, item_size, capacity));
    else
        CHECK_EQ(0, weft_mpsc_unbounded(&ch.tx, &ch.rx, item_size));
    ch.c = wf_mpsc_of_tx(ch.tx);
    CHECK(ch.c == wf_mpsc_of_rx(ch.rx));
    return ch;
}

static void channel_close(struct channel ch)
{
    weft_sender_close(ch.tx);
    weft_receiver_close(ch.rx);
}

static void send_n(struct channel ch, int n)
{
    static const char value[64];

    while (n--)
        CHECK_EQ(0, weft_try_send(ch.tx, value));
}

static void receive_n(struct channel ch, int n)
{
    char value[64];

    while (n--)
        CHECK_EQ(1, weft_try_recv(ch.rx, value));
}

/* --- blocks ----------------------------------------------------------------------------- */

TEST(blocks_hold_what_fits_and_at_least_one)
{
    size_t header = sizeof(struct wf_mpsc_block);

    CHECK_EQ((4096 - header) / 8, wf_mpsc_block_fit(4096, 8));
    CHECK_EQ(1, wf_mpsc_block_fit(4096, 4096 - header));
    CHECK_EQ(1, wf_mpsc_block_fit(4096, 1 << 30));
    CHECK(wf_mpsc_block_fit(4096, 0) > 1);
    CHECK(wf_mpsc_block_new(UINT64_MAX / 2, 16) == NULL);
    CHECK(wf_mpsc_block_new(UINT64_MAX / 8, 8) == NULL);
}

END_TEST

TEST(lines_and_slots_are_aligned)
{
    for (size_t capacity = 0; capacity < 3; capacity++) {
        struct channel ch = channel_new(16, capacity);

        CHECK_EQ(0, (uintptr_t)ch.tx % WF_CACHE_LINE);
        CHECK_EQ(0, (uintptr_t)ch.rx % WF_CACHE_LINE);
        CHECK_EQ(0, (uintptr_t)wf_mpsc_slots(ch.c->in_block) % 16);
        CHECK((uintptr_t)&ch.c->rx - (uintptr_t)&ch.c->tx >= 2 * WF_CACHE_LINE);
        channel_close(ch);
    }
}

END_TEST

TEST(a_ring_follows_itself)
{
    struct channel ch = channel_new(8, 3);
    struct wf_mpsc_block *ring = ch.c->in_block;

    CHECK(ring->next == ring);
    CHECK_EQ(3, ring->count);
    for (int i = 0; i < 20; i++) {
        send_n(ch, i % 4);
        receive_n(ch, i % 4);
        CHECK(ch.c->in_block == ring && ch.c->rx.block == ring);
    }
    channel_close(ch);
}

END_TEST

/* Each twice as large as the one before, up to a page. */
TEST(a_chain_grows_by_doubling)
{
    struct channel ch = channel_new(8, 0);
    uint64_t most = wf_mpsc_block_fit(WF_MPSC_BLOCK_LAST, 8);
    uint64_t want = wf_mpsc_block_fit(WF_MPSC_BLOCK_FIRST, 8);

    CHECK_EQ(want, ch.c->last->count);
    for (int i = 0; i < 10; i++) {
        send_n(ch, (int)want + (i == 0));
        want = want * 2 < most ? want * 2 : most;
        CHECK_EQ(want, ch.c->last->count);
    }
    channel_close(ch);
}

END_TEST

/* One block is kept, the largest. */
TEST(a_queue_that_moves_along_uses_its_blocks_again)
{
    const struct wf_mpsc_block *seen[16] = {NULL};
    struct channel ch = channel_new(8, 0);
    unsigned count = 0, i;

    send_n(ch, 5000);
    receive_n(ch, 5000);
    for (int n = 0; n < 100000; n++) {
        send_n(ch, 1);
        receive_n(ch, 1);
        for (i = 0; i < count && seen[i] != ch.c->in_block; i++)
            continue;
        if (i == count) {
            CHECK(count < 3);
            seen[count++] = ch.c->in_block;
        }
    }
    CHECK(ch.c->spare != NULL);
    channel_close(ch);
}

END_TEST

/* --- looking ------------------------------------------------------------------------------- */

/* How many sends from here on would not look at head. */
static uint64_t blind(struct channel ch)
{
    uint64_t tail = wf_load_u64(&ch.tx->tail, WF_RELAXED);

    return ch.tx->look > tail ? ch.tx->look - tail : 0;
}

TEST(a_channel_that_was_full_once_is_filled_again_with_one_look)
{
    struct channel ch = channel_new(8, 100);

    send_n(ch, 100);
    CHECK_EQ(0, blind(ch));
    receive_n(ch, 100);
    send_n(ch, 1);
    CHECK_EQ(99, blind(ch));
    send_n(ch, 99);
    CHECK_EQ(0, blind(ch));
    channel_close(ch);
}

END_TEST

TEST(a_long_queue_is_looked_at_once_in_a_while)
{
    struct channel ch = channel_new(8, 0);

    send_n(ch, 64 * 100);
    CHECK(blind(ch) <= 101);
    for (int n = 0; n < 6400; n++) {
        uint64_t before = blind(ch);

        send_n(ch, 1);
        /* each look is good for one send in 64 of the length, but at the end of a block */
        if (before == 0)
            CHECK(blind(ch) >= 99 || ch.tx->look == ch.c->in_end);
    }
    channel_close(ch);
}

END_TEST

TEST(reserved_room_and_the_end_are_not_sent_into)
{
    struct channel ch = channel_new(8, 100);
    weft_permit p;

    send_n(ch, 100);
    receive_n(ch, 100);
    send_n(ch, 1);
    CHECK_EQ(0, weft_try_reserve_many(ch.tx, 60, &p));
    CHECK_EQ(39, blind(ch));
    weft_permit_release(&p);
    CHECK_EQ(99, blind(ch));
    weft_receiver_shutdown(ch.rx);
    CHECK_EQ(0, blind(ch));
    channel_close(ch);
}

END_TEST

TEST_MAIN("unit.mpsc", blocks_hold_what_fits_and_at_least_one, lines_and_slots_are_aligned,
          a_ring_follows_itself, a_chain_grows_by_doubling,
          a_queue_that_moves_along_uses_its_blocks_again,
          a_channel_that_was_full_once_is_filled_again_with_one_look,
          a_long_queue_is_looked_at_once_in_a_while, reserved_room_and_the_end_are_not_sent_into)
