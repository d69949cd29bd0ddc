/* SPDX-License-Identifier: MIT */
/*
 * migrate.h - test builds: a task never goes on on the worker that polled it last.
 *
 * IDEA     What a fiber keeps across an await must not belong to a thread: no address of a
 *          thread-local, no errno, no seat. With stealing alone most awaits come back to the
 *          thread that they left, and such a mistake shows once in a million. In this mode
 *          (WEFT_MIGRATE in CMake) it shows at once: each task remembers the seat of its last poll,
 *          and a worker that takes a task of its own hands it on to the others.
 * HOW      Each seat has a queue `away` of the tasks that its worker polled last. The worker alone adds
 *          to it, all others take from it, and poll at once what they took. So each hand-over
 *          is the last one before a poll, and two workers do not pass a task back and forth.
 * INVARIANTS
 *     M1   A task is never polled by the worker that polled it last, if its runtime has two workers
 *          or more, and it is not pinned. While all others are stuck in their polls it waits for a stand-in. A single
 *          worker goes on by itself, for most of the time it has none.
 *     M2   A worker neither sleeps nor searches while something lies in its own `away`. P2 of idle.c
 *          says that somebody is told of it; asleep or searching, that might be the one worker that
 *          must not take it. All others treat it as they treat every queue.
 * WHO      The worker of w, inside its guard; wf_migrate_left: who abandons what is queued.
 * TESTS    tests/api/test_migrate.c, and all others once more: scripts/migrate.sh
 */
#ifndef WF_SCHED_MIGRATE_H
#define WF_SCHED_MIGRATE_H

#include "base/sys.h"
#include "sched/account.h"
#include "sched/worker.h"

#if WF_MIGRATE
/* In the upper half of a task's flags: the seat of the last poll, from 1. For a pinned task that is the same. */
# define WF_MIGRATE_PAUSE 20000 /* ns */

WF_INLINE void wf_migrate_init(struct wf_seat *s)
{
    wf_inject_init(&s->away);
}

/* Is one poll of a task all that a worker may do, even if it yields and is alone? */
WF_INLINE bool wf_migrate_each_poll(const struct wf_worker *w)
{
    return w->rt->workers > 1;
}

/* w is about to poll t. */
WF_INLINE void wf_migrate_polled(const struct wf_worker *w, struct weft_task *t)
{
    uint32_t flags = wf_load_u32(&t->flags, WF_RELAXED) & ((1u << WF_TASK_SEAT_SHIFT) - 1);

    /* relaxed: as in wf_task_set_flag */
    wf_store_u32(&t->flags, flags | (w->seat->index + 1) << WF_TASK_SEAT_SHIFT, WF_RELAXED);
}

/* M1: true: w polled t last, and t is now for the others. */
WF_INLINE bool wf_migrate_away(struct wf_worker *w, struct weft_task *t)
{
    /* relaxed: the queue that t came from carried it */
    if (w->rt->workers == 1 || wf_task_flag(t, WF_TASK_F_PINNED) ||
        wf_load_u32(&t->flags, WF_RELAXED) >> WF_TASK_SEAT_SHIFT != w->seat->index + 1)
        return false;
    wf_inject_push(&w->seat->away, t);
    wf_worker_notify(w);
    return true;
}

/* M2: true: the others have not yet taken all that w handed on, so it calls them and looks again. w has nothing
 * to do. */
WF_INLINE bool wf_migrate_wait(struct wf_worker *w)
{
    if (wf_inject_len(&w->seat->away) == 0)
        return false;
    if (w->searching) {
        w->searching = false;
        (void)wf_idle_search_end(&w->rt->idle);
    }
    wf_worker_notify(w);
    /* The word is 0 while w runs: a pause, in which others have the processor. */
    (void)wf_sys_futex_wait(&w->left, 0, WF_MIGRATE_PAUSE);
    /* As after a sleep. */
    wf_account_restart(w);
    w->until_look = 0;
    return true;
}

/* Has the worker of s handed tasks on that nobody has taken yet, to others than that of own? */
WF_INLINE bool wf_migrate_waits(const struct wf_seat *s, const struct wf_seat *own)
{
    return s != own && wf_inject_len(&s->away) != 0;
}

/* One of those, or NULL. */
WF_INLINE struct weft_task *wf_migrate_take(struct wf_worker *w)
{
    unsigned seats = wf_runtime_seats(w->rt), at = wf_rand_below(&w->seat->rand, seats);
    struct weft_task *t;

    for (unsigned i = 0; i < seats; i++, at++) {
        struct wf_seat *s = wf_runtime_seat(w->rt, at % seats);

        if (s != w->seat && wf_inject_take(&s->away, &t, 1)) {
            wf_account_arrived(w);
            return t;
        }
    }
    return NULL;
}

/* The same at every second take, so that neither what was handed on nor what lies here waits for the other. */
WF_INLINE struct weft_task *wf_migrate_take_in_turn(struct wf_worker *w)
{
    w->seat->away_turn = !w->seat->away_turn;
    return w->seat->away_turn ? wf_migrate_take(w) : NULL;
}

/* The runtime has stopped: what is left in s, or NULL. */
WF_INLINE struct weft_task *wf_migrate_left(struct wf_seat *s)
{
    struct weft_task *t;

    return wf_inject_take(&s->away, &t, 1) ? t : NULL;
}
#else
/* Functions, not constants: no compiler then calls what follows them unreachable. */
WF_INLINE bool wf_migrate_waits(const struct wf_seat *s, const struct wf_seat *own)
{
    (void)s, (void)own;
    return false;
}

WF_INLINE void wf_migrate_init(const struct wf_seat *s)
{
    (void)s;
}

WF_INLINE bool wf_migrate_each_poll(const struct wf_worker *w)
{
    (void)w;
    return false;
}

WF_INLINE void wf_migrate_polled(const struct wf_worker *w, const struct weft_task *t)
{
    (void)w, (void)t;
}

WF_INLINE bool wf_migrate_away(const struct wf_worker *w, const struct weft_task *t)
{
    (void)w, (void)t;
    return false;
}

WF_INLINE bool wf_migrate_wait(const struct wf_worker *w)
{
    (void)w;
    return false;
}

WF_INLINE struct weft_task *wf_migrate_take(const struct wf_worker *w)
{
    (void)w;
    return NULL;
}

WF_INLINE struct weft_task *wf_migrate_take_in_turn(const struct wf_worker *w)
{
    (void)w;
    return NULL;
}

WF_INLINE struct weft_task *wf_migrate_left(const struct wf_seat *s)
{
    (void)s;
    return NULL;
}
#endif

#endif
