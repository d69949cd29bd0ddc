/* SPDX-License-Identifier: MIT */
/*
 * fanout.h - what the channels have in common in which one value goes to many: broadcast and watch.
 *
 * IDEA     Ends that are counted; receivers that wait, all for the same; senders that wait until there is no
 *          receiver; and values that are lent: a cell holds one, and who reads it counts as a
 *          user of it, so that no user's function ever runs under the lock.
 * OWNS     refs counts who may touch the memory: every handle, each value that is lent to a user, and each
 *          future that waits for the last receiver to go. The last one frees it.
 *          A cell is the channel's, on its free list, while nobody uses it. One whose last user has gone is
 *          ended: its value is destroyed, without the lock, and it is free again.
 * WHO      "Under the lock" is said where it holds; all else is called without it.
 * INVARIANTS
 *     F1   Receivers that wait stand in line in the order of their turns (`need`), which only grow: a value wakes
 *          those that came before it (wf_waitq_open), and a receiver that has been woken and waits again, behind
 *          it, is not walked over a second time. So a send costs no more than one wake for each who waited.
 *     F2   No sender is made out of a weak one when there is none left. So closed is for ever.
 * LOCKS    WF_RANK_SYNC.
 * TESTS    tests/api/test_broadcast.c, tests/api/test_watch.c, tests/model/test_broadcast.c, tests/model/test_watch.c
 */
#ifndef WF_SYNC_FANOUT_H
#define WF_SYNC_FANOUT_H

#include "sync/wait.h"
#include "sync/words.h"

#include <weft/channel.h>

struct wf_fanout;

/* One value that is lent, or a free place for one. */
struct wf_cell {
    struct wf_cell *next; /* under the lock, or while it is ended: in a list */
    struct wf_cell *all;  /* set once, under the lock: every cell of the channel */
    struct wf_fanout *home;
    uint32_t users;  /* under the lock: the channel itself, and each reader */
    uint32_t unseen; /* under the lock, a broadcast's: receivers that have not had it */
    struct wf_atomic_u64
        sequence; /* a watch's: see words.h; the number of a value is its version */
    WF_ALIGNED(16) struct wf_word word[];
};

_Static_assert(offsetof(struct wf_cell, word) == 48, "a small value lies in the line of its cell");

struct wf_fanout {
    struct wf_lock lock;
    /* under the lock */
    unsigned refs;
    unsigned senders, weak_senders, receivers;
    struct wf_waitq waiting; /* receivers */
    struct wf_waitq gone;    /* until there are none */
    struct wf_cell *free, *all;
    /* set once. The name keeps the others out of the lines that each send changes */
    char name[64];
    size_t item_size;
    void (*destroy)(void *value);
    int (*copy)(void *to, const void *from);
    void (*release)(struct wf_fanout *f); /* frees the memory */
};

/* All is zero before. One sender and one reference are the caller's. 0, -EINVAL. */
int wf_fanout_init(struct wf_fanout *f, size_t item_size, const weft_channel_options *options,
                   const char *call);

/* Values own something: they are copied and destroyed by the user's functions. */
WF_INLINE bool wf_fanout_owns(const struct wf_fanout *f)
{
    return f->copy != NULL;
}

/* Does this stand in for a value? */
WF_INLINE bool wf_fanout_is_value(const struct wf_fanout *f, const void *value)
{
    return value != NULL || f->item_size == 0;
}

/* A reference less; perhaps the last. */
void wf_fanout_put(struct wf_fanout *f);

void wf_fanout_add_sender(struct wf_fanout *f);
void wf_fanout_add_weak(struct wf_fanout *f);
bool wf_fanout_upgrade(struct wf_fanout *f); /* a sender more, unless there is none */
/* With the last one, who waits for a value is woken, and so is, by mistake, who waits for the receivers to go. */
void wf_fanout_sender_close(struct wf_fanout *f, const char *call);
void wf_fanout_weak_close(struct wf_fanout *f);
/* Under the lock: a receiver more, with a reference. */
void wf_fanout_add_receiver(struct wf_fanout *f);
/* Under the lock, which is given back: one less. The reference stays. */
void wf_fanout_sub_receiver(struct wf_fanout *f);

/* Wait until there is no receiver. */
int wf_fanout_closed(struct wf_fanout *f, const char *call);
int wf_fanout_closed_blocking(struct wf_fanout *f, const char *call);
weft_future wf_fanout_closed_future(struct wf_fanout *f);

/* Under the lock. */
void wf_fanout_fill_info(const struct wf_fanout *f, weft_channel_info *info);

/* One of the counts above. */
unsigned wf_fanout_read(const struct wf_fanout *f, const unsigned *count);

/* --- cells ---------------------------------------------------------------- */

/* So many more free ones. 0, -ENOMEM. */
int wf_cells_reserve(struct wf_fanout *f, unsigned count);

/* Take the lock, and a free cell out of the list, with one user. -ENOMEM: not even the lock. */
int wf_cell_lock(struct wf_fanout *f, struct wf_cell **out);

/* Under the lock: it was taken in vain, and holds no value. */
void wf_cell_unused(struct wf_fanout *f, struct wf_cell *c);

/* Under the lock: a user less. The last one of a value that must be destroyed puts the cell on *ended. */
void wf_cell_put(struct wf_fanout *f, struct wf_cell *c, struct wf_cell **ended);

/* Destroy what is in them, and have them back. */
void wf_cells_end(struct wf_fanout *f, struct wf_cell *ended);

/* The value of a cell that is used, as the user's own. 0, or what the user's function says. */
int wf_cell_copy(const struct wf_fanout *f, void *to, const struct wf_cell *c);

/* At the very end: no value is left behind, not even by a task that panicked while it read one. */
void wf_cells_release(struct wf_fanout *f);

#endif
