/* SPDX-License-Identifier: MIT */
/*
 * test_mutex.c - a mutex between threads: one at a time whatever they do, what is handed on is never lost, an owner's
 * end is told once, and a circle of waits is found by whoever closes it.
 *
 * A thread stands for a task that polls by hand; what waits for a lock is woken by a bell of its own.
 */
#include "base/sys.h"
#include "model/hand.h"
#include "sync/lock_report.h"

#include <errno.h>
#include <weft/mutex.h>

/* What can happen, must. */
enum {
    HANDED,
    HANDED_AND_DROPPED,
    DROPPED_IN_LINE,
    TRIED_IN_VAIN,
    TRIED_WELL,
    RETARGETED,
    LET_GO,
    CIRCLE,
    LINE,
    TOLD_BY_QUEUE,
    TOLD_BY_TRY,
    TOLD_LAST,
    FREED_BY_QUEUE,
    FREED_OTHERWISE
};

#define BIT(event) (1u << (event))

/* --- in place of the reports --------------------------------------------------------------- */

static struct wf_atomic_u32 circles;

bool wf_lock_report_may(uint64_t key)
{
    CHECK(key != 0);
    wf_add_u32(&circles, 1, WF_RELAXED);
    return false;
}

void wf_lock_report_end(const char *kind, const struct wf_owned *o, const struct weft_task *t)
{
    CHECK(kind && o && t);
}

const char *wf_someone_text(const struct wf_someone *s, char text[WF_SOMEONE_SIZE])
{
    (void)s;
    return text;
}

/* --- tasks ---------------------------------------------------------------------------------- */

#define HANDS 4

static struct hand hands[HANDS];
static weft_mutex mutex = WEFT_MUTEX_INIT;
static unsigned inside; /* plain: the mutex orders it */

static void be_inside(void)
{
    CHECK_EQ(0, inside);
    inside = 1;
    CHECK(weft_mutex_is_held(&mutex));
    CHECK_EQ(1, inside);
    inside = 0;
}

static void unlock(weft_mutex *m)
{
    CHECK_EQ(0, weft_mutex_unlock(m));
}

/* True: it had to wait. */
static bool lock(unsigned hand, weft_mutex *m)
{
    struct hand *h = &hands[hand];
    bool waited;

    h->future = weft_mutex_lock_future(m);
    waited = hand_await(h, &h->future);
    CHECK(h->future.result == 0 || h->future.result == -EOWNERDEAD);
    return waited;
}

static void lock_in_turn(unsigned hand)
{
    if (lock(hand, &mutex))
        model_reached(HANDED);
    CHECK_EQ(0, hands[hand].future.result);
    be_inside();
    unlock(&mutex);
}

/* As one that has handed it on before: may be let go, and has to try again. */
static unsigned lock_again(unsigned hand)
{
    struct hand *h = &hands[hand];
    unsigned waits = 0;

    h->future = weft_mutex_lock_future(&mutex);
    h->future.aux_ = 1;
    wf_lock_wait_of(&h->future)->self = WF_WAIT_SOLE;
    while (hand_poll(h, &h->future) == WEFT_PENDING) {
        hand_wait(h);
        waits++;
    }
    CHECK_EQ(0, h->future.result);
    CHECK(waits < 2 || h->future.aux_ == 0);
    model_reached(waits == 2 ? LET_GO : waits == 1 ? HANDED : TRIED_WELL);
    be_inside();
    unlock(&mutex);
    return waits;
}

static void locks_again(void)
{
    CHECK(lock_again(2) <= 2);
}

static void locks_again_too(void)
{
    CHECK(lock_again(3) <= 2);
}

/* Beside one that has not. */
static void locks_again_in_line(void)
{
    CHECK(lock_again(2) <= 1);
}

static void first(void)
{
    lock_in_turn(0);
}

static void second(void)
{
    lock_in_turn(1);
}

static void third(void)
{
    lock_in_turn(2);
}

/* Nothing waits, nothing is held, and nobody is left. */
static void end(void)
{
    CHECK_EQ(0, mutex.word_);
    CHECK_EQ(0, weft_mutex_try_lock(&mutex));
    unlock(&mutex);
    for (unsigned i = 0; i < HANDS; i++)
        CHECK_EQ(0, hands[i].refs.raw);
}

/* --- giving up ------------------------------------------------------------------------------- */

static void gives_up(void)
{
    struct hand *h = &hands[3];

    h->future = weft_mutex_lock_future(&mutex);
    if (hand_poll(h, &h->future) == WEFT_READY) {
        be_inside();
        unlock(&mutex);
        return;
    }
    weft_future_drop(&h->future);
    model_reached(wf_load_u32(&h->rung, WF_RELAXED) ? HANDED_AND_DROPPED : DROPPED_IN_LINE);
}

static void tries(void)
{
    int rc = weft_mutex_try_lock(&mutex);

    if (rc < 0) {
        CHECK_EQ(-EAGAIN, rc);
        model_reached(TRIED_IN_VAIN);
        return;
    }
    model_reached(TRIED_WELL);
    be_inside();
    unlock(&mutex);
}

/* Polls by one bell, and then by another: the first rings no more, unless it has. */
static void changes_its_bell(void)
{
    struct hand *h = &hands[2];
    struct hand *other = &hands[3];

    h->future = weft_mutex_lock_future(&mutex);
    if (hand_poll(h, &h->future) == WEFT_PENDING && hand_poll(other, &h->future) == WEFT_PENDING) {
        CHECK_EQ(0, wf_load_u32(&h->refs, WF_RELAXED));
        model_reached(RETARGETED);
        hand_wait(other);
        (void)hand_await(other, &h->future);
    }
    be_inside();
    unlock(&mutex);
}

/* --- blocked threads --------------------------------------------------------------------------- */

static void blocks(void)
{
    CHECK_EQ(0, weft_mutex_lock_blocking(&mutex));
    be_inside();
    unlock(&mutex);
}

/* --- the memory of a mutex ---------------------------------------------------------------------- */

static struct shared {
    weft_mutex mutex;
    unsigned users; /* plain */
} * shared;

static void begin_shared(void)
{
    shared = wf_sys_calloc(1, sizeof(*shared));
    CHECK(shared);
    shared->users = 2;
}

static void uses_and_frees(unsigned hand)
{
    bool waited = lock(hand, &shared->mutex), last = --shared->users == 0;

    unlock(&shared->mutex);
    if (last) {
        wf_sys_free(shared);
        model_reached(waited ? FREED_BY_QUEUE : FREED_OTHERWISE);
    }
}

static void uses_first(void)
{
    uses_and_frees(0);
}

static void uses_second(void)
{
    uses_and_frees(1);
}

/* --- circles ------------------------------------------------------------------------------------ */

static weft_mutex left = WEFT_MUTEX_INIT, right = WEFT_MUTEX_INIT;
static struct wf_atomic_u32 polled[2];

enum { NOT_YET, HAS_BOTH, WAITS };

HAND_UNWATCHED bool other_has_polled(void *arg)
{
    return ((struct wf_atomic_u32 *)arg)->raw != 0;
}

/* Lock one, and wait for the other and nothing else. A circle stays until both know that it is one. */
static void crosses(unsigned me, weft_mutex *own, weft_mutex *other)
{
    struct hand *h = &hands[2 + me];
    uint32_t other_does;

    (void)lock(me, own);
    h->future = weft_mutex_lock_future(other);
    wf_lock_wait_of(&h->future)->self = WF_WAIT_SOLE;
    if (hand_poll(h, &h->future) == WEFT_READY) {
        wf_store_u32(&polled[me], HAS_BOTH, WF_RELEASE);
        unlock(other);
        unlock(own);
        model_reached(LINE);
        return;
    }
    /* release, and acquire below: with the count of circles */
    wf_store_u32(&polled[me], WAITS, WF_RELEASE);
    do
        model_block(other_has_polled, &polled[1 - me], UINT64_MAX);
    while ((other_does = wf_load_u32(&polled[1 - me], WF_ACQUIRE)) == NOT_YET);
    if (other_does == WAITS) {
        CHECK_EQ(1, wf_load_u32(&circles, WF_RELAXED));
        model_reached(CIRCLE);
    } else {
        CHECK_EQ(0, wf_load_u32(&circles, WF_RELAXED));
    }
    weft_future_drop(&h->future);
    unlock(own);
}

static void crosses_right(void)
{
    crosses(0, &left, &right);
}

static void crosses_left(void)
{
    crosses(1, &right, &left);
}

/* An edge that is gone must not be found. The first thread has waited for the other's lock, with its own in hand:
 * it has given up, or got it and given it back. When that is over, the second one crosses. */
static struct wf_atomic_u32 is_over;

HAND_UNWATCHED bool other_is_over(void *arg)
{
    (void)arg;
    return is_over.raw != 0;
}

static void has_crossed(bool gives_up)
{
    struct hand *h = &hands[2];

    (void)lock(0, &left);
    h->future = weft_mutex_lock_future(&right);
    wf_lock_wait_of(&h->future)->self = WF_WAIT_SOLE;
    if (hand_poll(h, &h->future) == WEFT_PENDING) {
        model_reached(LINE);
        if (gives_up)
            weft_future_drop(&h->future);
        else
            (void)hand_await(h, &h->future);
    }
    if (h->future.result == 0)
        unlock(&right);
    wf_store_u32(&is_over, 1, WF_RELEASE);
    model_block(other_has_polled, &polled[0], UINT64_MAX);
    unlock(&left);
}

static void crosses_and_gives_up(void)
{
    has_crossed(true);
}

static void crosses_and_comes_back(void)
{
    has_crossed(false);
}

static void crosses_next(bool keeps)
{
    struct hand *h = &hands[3];

    (void)lock(1, &right);
    if (!keeps)
        unlock(&right);
    do
        model_block(other_is_over, NULL, UINT64_MAX);
    while (!wf_load_u32(&is_over, WF_ACQUIRE));
    if (!weft_mutex_is_held(&right))
        (void)lock(1, &right);
    h->future = weft_mutex_lock_future(&left);
    wf_lock_wait_of(&h->future)->self = WF_WAIT_SOLE;
    if (hand_poll(h, &h->future) == WEFT_PENDING)
        weft_future_drop(&h->future);
    else
        unlock(&left);
    CHECK_EQ(0, circles.raw);
    wf_store_u32(&polled[0], WAITS, WF_RELAXED);
    unlock(&right);
}

static void crosses_later(void)
{
    crosses_next(true);
}

static void crosses_for_a_while(void)
{
    crosses_next(false);
}

static void end_crossed(void)
{
    CHECK_EQ(0, left.word_);
    CHECK_EQ(0, right.word_);
    for (unsigned i = 0; i < HANDS; i++)
        CHECK_EQ(0, hands[i].refs.raw);
}

/* --- owners that end ------------------------------------------------------------------------------ */

static struct weft_task task[2] WF_ALIGNED(64);
static struct wf_fiber fiber = {.task = &task[0]};
static struct wf_thread thread[2];
static struct wf_atomic_u32 told;

/* This thread runs a fiber, which locks and ends. */
static void ends_with_it(void)
{
    thread[0] = (struct wf_thread){.fiber = &fiber, .budget = 100};
    thread[0].task = &task[0];
    wf_thread_set_self(&thread[0]);
    (void)lock(0, &mutex);
    be_inside();
    wf_holds_abandon(&fiber);
    CHECK(!fiber.leaves[WF_LEAVE_LAST]);
    wf_thread_set_self(NULL);
}

static void is_told(ssize_t rc, unsigned how)
{
    if (rc == 0)
        return;
    CHECK_EQ(-EOWNERDEAD, rc);
    model_reached(how);
    wf_add_u32(&told, 1, WF_RELAXED);
}

static void locks_after_it(void)
{
    bool waited = lock(1, &mutex);

    is_told(hands[1].future.result, waited ? TOLD_BY_QUEUE : TOLD_BY_TRY);
    be_inside();
    unlock(&mutex);
}

static void tries_after_it(void)
{
    int rc = weft_mutex_try_lock(&mutex);

    if (rc == -EAGAIN)
        return;
    is_told(rc, TOLD_BY_TRY);
    be_inside();
    unlock(&mutex);
}

static void gives_up_after_it(void)
{
    struct hand *h = &hands[3];

    h->future = weft_mutex_lock_future(&mutex);
    if (hand_poll(h, &h->future) == WEFT_READY) {
        is_told(h->future.result, TOLD_BY_TRY);
        be_inside();
        unlock(&mutex);
        return;
    }
    weft_future_drop(&h->future);
    model_reached(wf_load_u32(&h->rung, WF_RELAXED) ? HANDED_AND_DROPPED : DROPPED_IN_LINE);
}

static void end_told(void)
{
    is_told(weft_mutex_try_lock(&mutex), TOLD_LAST);
    CHECK_EQ(1, told.raw);
    unlock(&mutex);
    end();
}

/* Two stackless tasks hold one each; theirs are in one list. */
static void stackless_holds(unsigned i, weft_mutex *m, bool forgets)
{
    thread[i] = (struct wf_thread){.budget = 100};
    thread[i].task = &task[i];
    wf_thread_set_self(&thread[i]);
    CHECK_EQ(0, weft_mutex_try_lock(m));
    if (!forgets)
        unlock(m);
    wf_holds_abandon_stackless(&task[i]);
    wf_thread_set_self(NULL);
}

static void stackless_forgets(void)
{
    stackless_holds(0, &left, true);
}

static void stackless_unlocks(void)
{
    stackless_holds(1, &right, false);
}

static void end_stackless(void)
{
    CHECK_EQ(-EOWNERDEAD, weft_mutex_try_lock(&left));
    unlock(&left);
    CHECK_EQ(0, weft_mutex_try_lock(&right));
    unlock(&right);
}

const struct model_test model_tests[] = {
    {.name = "two lock in turn", .thread = {first, second}, .end = end, .must_reach = BIT(HANDED)},
    {.name = "three lock in turn",
     .thread = {first, second, third},
     .end = end,
     .preemptions = 1,
     .stale = 1,
     .must_reach = BIT(HANDED)},
    {.name = "one that gives up loses its place only",
     .thread = {first, gives_up, second},
     .end = end,
     .preemptions = 2,
     .stale = 1,
     .must_reach = BIT(HANDED) | BIT(HANDED_AND_DROPPED) | BIT(DROPPED_IN_LINE)},
    {.name = "nobody overtakes who waits",
     .thread = {first, second, tries},
     .end = end,
     .stale = 1,
     .must_reach = BIT(HANDED) | BIT(TRIED_IN_VAIN) | BIT(TRIED_WELL)},
    {.name = "those that come back are let go, once",
     .thread = {first, locks_again, locks_again_too},
     .end = end,
     .preemptions = 1,
     .stale = 1,
     .must_reach = BIT(LET_GO) | BIT(HANDED)},
    {.name = "but not while another waits",
     .thread = {first, second, locks_again_in_line},
     .end = end,
     .preemptions = 1,
     .stale = 1,
     .must_reach = BIT(HANDED)},
    {.name = "what is passed on to nobody is free",
     .thread = {first, gives_up, tries},
     .end = end,
     .stale = 1,
     .must_reach = BIT(HANDED_AND_DROPPED) | BIT(TRIED_WELL)},
    {.name = "it is polled by another waker",
     .thread = {first, changes_its_bell},
     .end = end,
     .must_reach = BIT(RETARGETED)},
    {.name = "threads are blocked", .thread = {blocks, blocks}, .end = end},
    {.name = "the next owner frees it",
     .begin = begin_shared,
     .thread = {uses_first, uses_second},
     .must_reach = BIT(FREED_BY_QUEUE) | BIT(FREED_OTHERWISE)},
    {.name = "a circle is found by who closes it",
     .thread = {crosses_right, crosses_left},
     .end = end_crossed,
     .stale = 1,
     .must_reach = BIT(CIRCLE) | BIT(LINE)},
    {.name = "who has given up is in no circle",
     .thread = {crosses_and_gives_up, crosses_later},
     .end = end_crossed,
     .stale = 1,
     .must_reach = BIT(LINE)},
    {.name = "nor is who has got it",
     .thread = {crosses_and_comes_back, crosses_for_a_while},
     .end = end_crossed,
     .stale = 1,
     .must_reach = BIT(LINE)},
    {.name = "an owner's end is told once",
     .thread = {ends_with_it, locks_after_it, tries_after_it},
     .end = end_told,
     .preemptions = 2,
     .stale = 1,
     .must_reach = BIT(TOLD_BY_QUEUE) | BIT(TOLD_BY_TRY) | BIT(TOLD_LAST)},
    {.name = "it is told by who gives up, too",
     .thread = {ends_with_it, gives_up_after_it, locks_after_it},
     .end = end_told,
     .preemptions = 2,
     .stale = 1,
     .must_reach = BIT(TOLD_BY_QUEUE) | BIT(TOLD_LAST) | BIT(HANDED_AND_DROPPED) |
                   BIT(DROPPED_IN_LINE)},
    {.name = "stackless tasks share a list of what they hold",
     .thread = {stackless_forgets, stackless_unlocks},
     .end = end_stackless},
    {0},
};
