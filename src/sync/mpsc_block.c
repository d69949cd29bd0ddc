/* SPDX-License-Identifier: MIT */
/*
 * mpsc_block.c - where the values of a channel lie: a ring, or a chain of blocks that grows.
 *
 * IDEA     A bounded channel has one block, which lies behind the channel in the same memory and follows itself. An
 *          unbounded one begins with a small block, for most channels are short; each new one is twice
 *          as large, up to a page. One that the receiver has left is kept for the next time, so that a queue
 *          that moves along allocates nothing.
 * WHO      The chain grows at its end, under the channel's lock; the memory comes from outside of it. The receiver
 *          takes blocks off the other end without the lock.
 */
#include "base/sys.h"
#include "sync/mpsc.h"

#include <errno.h>

uint64_t wf_mpsc_block_fit(size_t bytes, size_t item_size)
{
    uint64_t room = bytes - sizeof(struct wf_mpsc_block);

    if (item_size == 0) /* any number would do */
        return room;
    return item_size < room ? room / item_size : 1;
}

struct wf_mpsc_block *wf_mpsc_block_new(uint64_t count, size_t item_size)
{
    struct wf_mpsc_block *b = NULL;
    size_t size;

    if (!__builtin_mul_overflow(count, item_size, &size) &&
        !__builtin_add_overflow(size, sizeof(*b), &size))
        b = wf_sys_malloc(size);
    if (b)
        *b = (struct wf_mpsc_block){.count = count};
    return b;
}

/* Under the lock. */
static void block_link(struct wf_mpsc *c, struct wf_mpsc_block *b)
{
    b->next = NULL;
    c->last->next = b;
    c->last = b;
    c->stored += b->count;
}

int wf_mpsc_grow(struct wf_mpsc *c, uint64_t n)
{
    uint64_t most = wf_mpsc_block_fit(WF_MPSC_BLOCK_LAST, c->tx.item_size);
    struct wf_mpsc_block *b = c->spare;
    uint64_t count = 2 * c->block_count < most ? 2 * c->block_count : most;

    if (b && b->count >= n) {
        c->spare = NULL;
        block_link(c, b);
        return 0;
    }
    c->block_count = count;
    wf_unlock(&c->tx.lock);
    b = wf_mpsc_block_new(count > n ? count : n, c->tx.item_size);
    wf_lock(&c->tx.lock);
    if (!b)
        return -ENOMEM;
    block_link(c, b);
    return 0;
}

void wf_mpsc_block_recycle(struct wf_mpsc *c, struct wf_mpsc_block *b)
{
    struct wf_mpsc_block *other;

    wf_lock(&c->tx.lock);
    other = c->spare;
    if (!other || other->count < b->count) {
        c->spare = b;
        b = other;
    }
    wf_unlock(&c->tx.lock);
    wf_sys_free(b);
}

void wf_mpsc_block_free_all(struct wf_mpsc *c)
{
    struct wf_mpsc_block *b = c->rx.block, *next;

    if (c->rx.bounded)
        return;
    for (; b; b = next) {
        next = b->next;
        wf_sys_free(b);
    }
    wf_sys_free(c->spare);
}
