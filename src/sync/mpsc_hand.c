/* SPDX-License-Identifier: MIT */
/* mpsc_hand.c - waiting with a hand held out, and filling it: see mpsc_hand.h. */
#include "sync/mpsc_hand.h"

#include "sync/mpsc.h"
#include "sync/value.h"
#include "task/await.h"
#include "task/task.h"

#include <errno.h>

#define HAND_WAITS 2

/* Hold it out, if it is not, unless that would be in vain. HAND_WAITS, or the answer of wf_mpsc_hand_await. */
static int hand_out(struct wf_mpsc *c, struct wf_mpsc_hand *h)
{
    int answer = HAND_WAITS;

    wf_lock(&c->tx.lock);
    /* relaxed, all of them: written under the lock */
    if (wf_load_u32(&h->given, WF_RELAXED)) {
        answer = 1;
    } else if (wf_load_u32(&c->rx.owner, WF_RELAXED) == WF_MPSC_ORPHANED) {
        answer = -ESHUTDOWN;
    } else if (wf_mpsc_tail(c) != c->rx.pos) {
        answer = -EAGAIN;
    } else if (wf_mpsc_ended(c)) {
        answer = 0;
    } else {
        wf_store_ptr(&c->tx.receiver, wf_mpsc_hand_mark(h), WF_RELAXED);
        wf_store_u32(&c->rx.owner, WF_MPSC_PENDING, WF_RELAXED);
    }
    wf_unlock(&c->tx.lock);
    return answer;
}

/* Take it back for the given reason; unless there is something in it, which then counts. */
static int hand_back(struct wf_mpsc *c, struct wf_mpsc_hand *h, int why)
{
    wf_lock(&c->tx.lock);
    /* relaxed: as in hand_out */
    if (wf_load_u32(&h->given, WF_RELAXED))
        why = 1;
    else
        wf_store_ptr(&c->tx.receiver, NULL, WF_RELAXED);
    wf_unlock(&c->tx.lock);
    return why;
}

/* Nobody comes back to it: the value that is in it has not been received, and the receiver is free for others. */
WF_COLD static void hand_abandoned(struct wf_hold *hold, const struct weft_task *t)
{
    struct wf_mpsc_hand *h = wf_container_of(hold, struct wf_mpsc_hand, hold);
    void (*destroy)(void *value) = NULL;
    struct wf_mpsc *c = h->channel;
    bool orphan;

    (void)t;
    wf_lock(&c->tx.lock);
    /* relaxed, all of them: as in hand_out */
    if (wf_load_u32(&h->given, WF_RELAXED)) {
        destroy = c->destroy;
        c->dropped++;
    } else {
        wf_store_ptr(&c->tx.receiver, NULL, WF_RELAXED);
    }
    orphan = wf_load_u32(&c->rx.owner, WF_RELAXED) == WF_MPSC_ORPHANED;
    if (!orphan)
        wf_store_u32(&c->rx.owner, WF_MPSC_FREE, WF_RELAXED);
    wf_unlock(&c->tx.lock);
    if (destroy)
        destroy(h->out);
    if (orphan)
        wf_mpsc_receiver_end(c);
}

WF_SUSPENDS static int hand_wait(struct wf_fiber *f, struct wf_mpsc *c, struct wf_mpsc_hand *h)
{
    int answer = hand_out(c, h), rc;

    while (answer == HAND_WAITS) {
        if (f->deadline && wf_deadline_arm(f))
            return hand_back(c, h, -ETIMEDOUT);
        (void)wf_fiber_suspend(f, WF_POLL_PENDING);
        /* acquire: pairs with wf_mpsc_hand_fill_and_unlock */
        if (wf_likely(wf_load_u32(&h->given, WF_ACQUIRE)))
            return 1;
        answer = hand_out(c, h);
        if (answer != HAND_WAITS)
            break;
        rc = wf_await_verdict(f);
        if (rc < 0)
            return hand_back(c, h, rc);
    }
    return answer;
}

int wf_mpsc_hand_await(struct wf_fiber *f, struct wf_mpsc *c, void *out)
{
    struct wf_mpsc_hand h = {.channel = c, .out = out};
    int answer;

    wf_hold_link(f, &h.hold, hand_abandoned);
    answer = hand_wait(f, c, &h);
    wf_hold_unlink(&h.hold);
    return answer;
}

void wf_mpsc_hand_fill_and_unlock(struct wf_mpsc *c, const void *msg)
{
    /* relaxed, here and below: under the lock */
    struct wf_mpsc_hand *h = wf_mpsc_hand_of(wf_load_ptr(&c->tx.receiver, WF_RELAXED));
    struct weft_task *t = h->hold.task;
    bool due;

    wf_value_copy(h->out, msg, c->tx.item_size);
    wf_store_ptr(&c->tx.receiver, NULL, WF_RELAXED);
    c->handed++;
    due = wf_task_notify(t);
    /* release: pairs with wf_mpsc_hand_await. Unless the wake is due, and then it cannot run before that, the fiber may
     * be gone from here on, and its task with it. */
    wf_store_u32(&h->given, 1, WF_RELEASE);
    wf_unlock(&c->tx.lock);
    if (wf_likely(due))
        t->sched->ops->woken(t->sched, t);
}

weft_wakeable *wf_mpsc_hand_waker(struct wf_mpsc_hand *h)
{
    /* The fiber may see that it is out as soon as the lock is free. */
    return wf_wakeable_retain(&h->hold.task->wakeable);
}
