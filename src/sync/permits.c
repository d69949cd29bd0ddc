/* SPDX-License-Identifier: MIT */
/*
 * permits.c - the line of those who wait for permits.
 *
 * INVARIANTS
 *     P1   QUEUED is set exactly while the queue is not empty, and both change under the lock. While it is set no
 *          permit is free.
 *     P2   Only the first in the queue has collected some, and still needs at least one.
 *     P3   Free ones, those held, those collected, and those of who is in `handed`, are together as many as were ever
 *          made and not removed.
 *     P4   The last touch of who gives permits back is the swap that makes them free, or the release of the lock before
 *          the one that they were handed to can have seen that: so whoever gets the last of them may free the memory.
 * ORDER    Making free (release) and taking (acquire) carry what was done with them; those that are handed on are
 *          carried by the lock. All other changes of the word are read-modify-writes, which hand on what it carries.
 * LOCKS    WF_RANK_SYNC. At most WF_WAKES_MAX are served before it is given up for a moment.
 * REJECTED Leaving permits free while somebody waits for more of them than there are: the try calls would have to
 *          look at the line, and a large wish would need a rule for when it is served.
 * TESTS    see permits.h
 */
#include "sync/permits.h"

#include "sync/deadlock.h"
#include "task/await.h"
#include "task/future.h"

static uint32_t permits_wanted(struct wf_waiter *w)
{
    return wf_lock_wait_future(wf_lock_wait_of_waiter(w))->aux_;
}

/* Under the lock, after some of the queue have left. */
static void permits_check_queue(struct wf_permits *p)
{
    if (wf_waitq_empty(&p->queue))
        /* relaxed: it carries nothing */
        (void)wf_and_u64(&p->word, ~WF_PERMITS_QUEUED, WF_RELAXED);
}

/* --- giving --- */

/* To those in line, to so many as are woken at a time. Returns what is left. */
static uint64_t permits_hand_out(struct wf_permits *p, uint64_t n)
{
    struct wf_wakes wakes;
    struct wf_waiter *w;

    wakes.count = 0;
    wf_lock(&p->lock);
    wf_overdue_begin(&p->since);
    while (n && (w = p->queue.first) && !wf_wakes_full(&wakes)) {
        uint32_t some = n < w->need ? (uint32_t)n : w->need;

        n -= some;
        w->need -= some;
        if (w->need)
            break;
        wf_wakes_add(&wakes, wf_waitq_take(&p->queue, w, WF_WAITER_GRANTED));
        wf_waitq_append(&p->handed, w);
    }
    permits_check_queue(p);
    wf_unlock(&p->lock);
    wf_wakes_all(&wakes);
    return n;
}

int wf_permits_add(struct wf_permits *p, uint64_t n, uint64_t max, bool *passed)
{
    while (n) {
        /* relaxed: what it shows is tried */
        uint64_t old = wf_load_u64(&p->word, WF_RELAXED);

        if (wf_unlikely((old >> WF_PERMITS_SHIFT) > max - n))
            return -EOVERFLOW;
        if (wf_unlikely(old & WF_PERMITS_QUEUED)) {
            n = permits_hand_out(p, n);
            *passed = true;
            /* P4: with none left the memory may be gone. */
            continue;
        }
        /* release: pairs with wf_permits_try and permits_line_up */
        if (wf_cas_u64(&p->word, &old, old + (n << WF_PERMITS_SHIFT), WF_RELEASE, WF_RELAXED))
            return 0;
    }
    return 0;
}

uint64_t wf_permits_remove(struct wf_permits *p, uint64_t n)
{
    /* relaxed, here and below: nothing is done with them */
    uint64_t old = wf_load_u64(&p->word, WF_RELAXED), some;

    do
        some = old >> WF_PERMITS_SHIFT < n ? old >> WF_PERMITS_SHIFT : n;
    while (
        !wf_cas_weak_u64(&p->word, &old, old - (some << WF_PERMITS_SHIFT), WF_RELAXED, WF_RELAXED));
    return some;
}

void wf_permits_close(struct wf_permits *p, uint64_t max)
{
    struct wf_wakes wakes;
    uint64_t collected = 0;
    bool more, passed;

    wakes.count = 0;
    do {
        struct wf_waiter *w;

        wf_lock(&p->lock);
        /* relaxed: it carries nothing */
        (void)wf_or_u64(&p->word, WF_PERMITS_CLOSED, WF_RELAXED);
        while ((w = p->queue.first) && !wf_wakes_full(&wakes)) {
            collected += permits_wanted(w) - w->need;
            wf_wakes_add(&wakes, wf_waitq_take(&p->queue, w, WF_WAITER_IDLE));
        }
        more = w != NULL;
        permits_check_queue(p);
        wf_unlock(&p->lock);
        wf_wakes_all(&wakes);
    } while (more);
    (void)wf_permits_add(p, collected, max, &passed);
}

/* --- waiting --- */

enum permits_step {
    PERMITS_GOT,
    PERMITS_GOT_MARKED,
    PERMITS_REFUSED,    /* closed */
    PERMITS_LINED_UP,   /* from now on */
    PERMITS_WAITS,      /* as before */
    PERMITS_WANTS_WAKER /* nothing was done */
};

/* Under the lock, for a wait that is not queued: take them, or line up, where target goes along. */
static enum permits_step permits_line_up(struct wf_permits *p, struct wf_lock_wait *w,
                                         const struct wf_self *self, bool owned,
                                         weft_wakeable *target)
{
    uint32_t n = permits_wanted(&w->waiter);
    /* relaxed: what it shows is tried, or P1 */
    uint64_t old = wf_load_u64(&p->word, WF_RELAXED), some = 0;

    for (;;) {
        bool enough = old >> WF_PERMITS_SHIFT >= n;

        if (old & WF_PERMITS_CLOSED)
            return PERMITS_REFUSED;
        if (old & WF_PERMITS_QUEUED)
            break;
        some = enough ? n : old >> WF_PERMITS_SHIFT;
        /* acquire: pairs with wf_permits_add. What is collected here is carried on by the lock. */
        if (!wf_cas_weak_u64(&p->word, &old,
                             (old - (some << WF_PERMITS_SHIFT)) | (enough ? 0 : WF_PERMITS_QUEUED),
                             WF_ACQUIRE, WF_RELAXED))
            continue;
        if (enough)
            return old & WF_PERMITS_MARKED ? PERMITS_GOT_MARKED : PERMITS_GOT;
        wf_overdue_begin(&p->since);
        break;
    }
    wf_lock_wait_by(w, self);
    if (owned)
        wf_deadlock_begin(w, self);
    w->waiter.need = n - (uint32_t)some;
    wf_waitq_push(&p->queue, &w->waiter, target);
    return PERMITS_LINED_UP;
}

/* Under the lock. *target is what the caller has retained for it, or NULL; and then what it is to release. */
static enum permits_step permits_step(struct wf_permits *p, struct wf_lock_wait *w,
                                      const struct wf_self *self, bool owned,
                                      const weft_context *cx, weft_wakeable **target)
{
    enum permits_step step;

    if (w->waiter.state == WF_WAITER_GRANTED) {
        wf_waitq_unlink(&p->handed, &w->waiter);
        w->waiter.state = WF_WAITER_IDLE;
        /* relaxed: by the lock */
        return wf_load_u64(&p->word, WF_RELAXED) & WF_PERMITS_MARKED ? PERMITS_GOT_MARKED
                                                                     : PERMITS_GOT;
    }
    if (w->waiter.state == WF_WAITER_QUEUED && wf_waiter_wakes(&w->waiter, cx->waker_.target_))
        return PERMITS_WAITS;
    if (!*target)
        return PERMITS_WANTS_WAKER;
    if (w->waiter.state == WF_WAITER_QUEUED) {
        *target = wf_waiter_retarget(&w->waiter, *target);
        return PERMITS_WAITS;
    }
    step = permits_line_up(p, w, self, owned, *target);
    if (step == PERMITS_LINED_UP)
        *target = NULL;
    return step;
}

weft_poll wf_permits_poll(weft_future *f, weft_context *cx, struct wf_permits *p,
                          const struct wf_self *self, bool owned)
{
    struct wf_lock_wait *w = wf_lock_wait_of(f);
    weft_wakeable *target = NULL;
    bool want = !wf_future_pending(f);
    enum permits_step step;

    if (want)
        wf_lock_wait_alone(f, self);
    do {
        /* Not under the lock: it may be the user's. */
        if (want)
            target = wf_wakeable_retain(cx->waker_.target_);
        wf_lock(&p->lock);
        step = permits_step(p, w, self, owned, cx, &target);
        wf_unlock(&p->lock);
        want = true;
    } while (step == PERMITS_WANTS_WAKER);
    wf_wakeable_release(target);
    if (step == PERMITS_LINED_UP || step == PERMITS_WAITS) {
        wf_coop_restore();
        if (step == PERMITS_LINED_UP && (w->self & WF_WAIT_EDGE))
            wf_deadlock_enter(w);
        return WEFT_PENDING;
    }
    if (wf_unlikely(w->self & WF_WAIT_EDGE))
        wf_deadlock_leave(w);
    f->result = step == PERMITS_REFUSED ? -ESHUTDOWN : step == PERMITS_GOT_MARKED;
    return WEFT_READY;
}

void wf_permits_drop(weft_future *f, struct wf_permits *p, uint64_t max)
{
    struct wf_lock_wait *w = wf_lock_wait_of(f);
    weft_wakeable *unlinked = NULL;
    uint64_t back = 0;
    bool passed;

    if (wf_unlikely(w->self & WF_WAIT_EDGE))
        wf_deadlock_leave(w);
    wf_lock(&p->lock);
    if (w->waiter.state == WF_WAITER_QUEUED) {
        back = f->aux_ - w->waiter.need;
        unlinked = wf_waitq_take(&p->queue, &w->waiter, WF_WAITER_IDLE);
        permits_check_queue(p);
    } else if (w->waiter.state == WF_WAITER_GRANTED) {
        back = f->aux_;
        wf_waitq_unlink(&p->handed, &w->waiter);
        w->waiter.state = WF_WAITER_IDLE;
    }
    wf_unlock(&p->lock);
    wf_wakeable_release(unlinked);
    (void)wf_permits_add(p, back, max, &passed);
}
