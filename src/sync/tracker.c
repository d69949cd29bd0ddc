/* SPDX-License-Identifier: MIT */
/*
 * tracker.c - counting what has not ended.
 *
 * IDEA     One word has all that decides: how many are counted, whether it is closed, and the turn, which the change
 *          to closed and empty increases. A wait knows the turn in which it began; another turn is the end of it,
 *          whatever the tracker is by then. Who makes the change wakes those in line.
 * OWNS     refs counts what keeps the memory: one for all handles together, one for all that is counted
 *          together, while there is any, and one for each wait that is registered.
 * WHO      Any thread.
 * INVARIANTS
 *     T1   The turn changes exactly when the word becomes closed and empty, in the same step.
 *     T2   Who is in line began in the current turn, or is about to be woken by whoever ended it.
 * ORDER    (a) The word: who leaves releases, who finds that its turn is over acquires: what was done by all that have
 *              left. All other changes are read-modify-writes, which hand that on.
 *          (b) refs and handles: each release carries to the last, which acquires. So does the word, for what is
 *              counted: the last one that leaves gives up a reference of all.
 * REJECTED Waking by a notify, once the count is seen to be zero: a wait that begins after the tracker was opened
 *          again, and before the one that saw zero comes to notify, would end too soon.
 * TESTS    tests/model/test_tracker.c, tests/api/test_task_tracker.c, tests/fault/test_sync.c
 */
#include "sync/tracker.h"

#include "base/log.h"
#include "base/sys.h"
#include "sync/wait.h"
#include "task/await.h"
#include "task/thread_wait.h"

#include <errno.h>

/* The word: the turn above the count above closed. */
#define TRACKER_CLOSED 1ull
#define TRACKER_ONE    2ull
#define TRACKER_TURN   (1ull << 32)

struct weft_task_tracker {
    struct wf_atomic_u64 word;
    struct wf_atomic_u32 handles;
    struct wf_atomic_u32 refs;
    struct wf_lock lock;
    struct wf_waitq line; /* under the lock */
    bool freed;           /* under the lock: it has no handle any more */
};

enum { TRACKER_FROM }; /* words of a future: the turn in which it began */

static uint32_t tracker_turn(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

static uint64_t tracker_count(uint64_t word)
{
    return (uint32_t)word / TRACKER_ONE;
}

static bool tracker_is_done(uint64_t word)
{
    return (uint32_t)word == TRACKER_CLOSED;
}

static uint64_t tracker_word(const weft_task_tracker *tr)
{
    /* acquire: ORDER (a), pairs with tracker_change */
    return wf_load_u64(&tr->word, WF_ACQUIRE);
}

static void tracker_put(weft_task_tracker *tr)
{
    /* acq_rel: ORDER (b), pairs with itself in other threads */
    if (wf_sub_u32(&tr->refs, 1, WF_ACQ_REL) == 1)
        wf_sys_free(tr);
}

static void tracker_get(weft_task_tracker *tr)
{
    /* relaxed: the caller keeps it already */
    (void)wf_add_u32(&tr->refs, 1, WF_RELAXED);
}

/* T1: what the word becomes. */
static uint64_t tracker_settled(uint64_t old, uint64_t new)
{
    return tracker_is_done(new) && !tracker_is_done(old) ? new + TRACKER_TURN : new;
}

/* After a change: let those go on for whom it was the end. */
static void tracker_tell(weft_task_tracker *tr, uint64_t old, uint64_t new)
{
    if (tracker_turn(old) == tracker_turn(new))
        return;
    wf_lock(&tr->lock);
    wf_waitq_open(&tr->lock, &tr->line, tracker_turn(new));
}

void wf_tracker_enter(weft_task_tracker *tr)
{
    /* relaxed: nothing is told or learnt here; ORDER (a) passes through every change of the word */
    if (tracker_count(wf_add_u64(&tr->word, TRACKER_ONE, WF_RELAXED)) == 0)
        tracker_get(tr);
}

/* False: nothing is counted. */
static bool tracker_leave(weft_task_tracker *tr)
{
    /* relaxed: only seeds the exchange */
    uint64_t old = wf_load_u64(&tr->word, WF_RELAXED), new;

    do {
        if (wf_unlikely(tracker_count(old) == 0))
            return false;
        new = tracker_settled(old, old - TRACKER_ONE);
        /* release: ORDER (a), pairs with tracker_word; what the one that ends has done. acquire: (b), of those
         * that have left before, and held the same reference */
    } while (!wf_cas_weak_u64(&tr->word, &old, new, WF_ACQ_REL, WF_RELAXED));
    tracker_tell(tr, old, new);
    if (tracker_count(new) == 0)
        tracker_put(tr);
    return true;
}

void wf_tracker_leave(weft_task_tracker *tr)
{
    bool left = tracker_leave(tr);

    wf_assert(left);
}

int weft_task_tracker_enter(weft_task_tracker *tr)
{
    if (!tr)
        return wf_misuse(-EINVAL, "weft_task_tracker_enter: NULL");
    wf_tracker_enter(tr);
    return 0;
}

int weft_task_tracker_leave(weft_task_tracker *tr)
{
    if (!tr || !tracker_leave(tr))
        return wf_misuse(-EINVAL, "weft_task_tracker_leave: NULL, or nothing is counted");
    return 0;
}

/* Close it or open it again. */
static bool tracker_turn_to(weft_task_tracker *tr, uint64_t closed)
{
    /* relaxed: only seeds the exchange */
    uint64_t old = wf_load_u64(&tr->word, WF_RELAXED), new;

    do {
        if ((old & TRACKER_CLOSED) == closed)
            return false;
        new = tracker_settled(old, old ^ TRACKER_CLOSED);
        /* relaxed: as wf_tracker_enter */
    } while (!wf_cas_weak_u64(&tr->word, &old, new, WF_RELAXED, WF_RELAXED));
    tracker_tell(tr, old, new);
    return true;
}

bool weft_task_tracker_close(weft_task_tracker *tr)
{
    if (tr)
        return tracker_turn_to(tr, TRACKER_CLOSED);
    (void)wf_misuse(-EINVAL, "weft_task_tracker_close: NULL");
    return false;
}

bool weft_task_tracker_reopen(weft_task_tracker *tr)
{
    if (tr)
        return tracker_turn_to(tr, 0);
    (void)wf_misuse(-EINVAL, "weft_task_tracker_reopen: NULL");
    return false;
}

size_t weft_task_tracker_len(const weft_task_tracker *tr)
{
    return tr ? (size_t)tracker_count(tracker_word(tr)) : 0;
}

bool weft_task_tracker_is_empty(const weft_task_tracker *tr)
{
    return weft_task_tracker_len(tr) == 0;
}

bool weft_task_tracker_is_closed(const weft_task_tracker *tr)
{
    return tr && (tracker_word(tr) & TRACKER_CLOSED);
}

/* --- handles ----------------------------------------------------------------------------------- */

weft_task_tracker *weft_task_tracker_new(void)
{
    weft_task_tracker *tr = wf_sys_calloc(1, sizeof(*tr));

    if (!tr)
        return NULL;
    wf_lock_init(&tr->lock, WF_RANK_SYNC);
    /* relaxed, both: nobody else knows it yet */
    wf_store_u32(&tr->handles, 1, WF_RELAXED);
    wf_store_u32(&tr->refs, 1, WF_RELAXED);
    return tr;
}

weft_task_tracker *weft_task_tracker_clone(weft_task_tracker *tr)
{
    if (tr)
        /* relaxed: the caller has a handle */
        (void)wf_add_u32(&tr->handles, 1, WF_RELAXED);
    return tr;
}

void weft_task_tracker_free(weft_task_tracker *tr)
{
    bool waited_for;

    /* acq_rel: ORDER (b), pairs with itself in other threads; the last one gives up the reference of all */
    if (!tr || wf_sub_u32(&tr->handles, 1, WF_ACQ_REL) != 1)
        return;
    wf_lock(&tr->lock);
    tr->freed = true;
    waited_for = !wf_waitq_empty(&tr->line);
    /* Everyone in line: nobody comes any more. */
    wf_waitq_open(&tr->lock, &tr->line, tracker_turn(tracker_word(tr)) + 1);
    if (waited_for)
        (void)wf_misuse(-ESHUTDOWN, "weft_task_tracker_free: the tracker is waited for");
    tracker_put(tr);
}

/* --- waiting ------------------------------------------------------------------------------------ */

/* Under the lock. Who is to be in line keeps the tracker. */
static bool tracker_look(struct wf_wait *w, ssize_t *result)
{
    weft_task_tracker *tr = w->object;
    bool over = tracker_turn(tracker_word(tr)) != w->words[TRACKER_FROM];

    *result = over ? 0 : -ESHUTDOWN;
    if (over || tr->freed)
        return true;
    if (w->waiter.state == WF_WAITER_IDLE)
        tracker_get(tr);
    return false;
}

/* It has been in line, and is not to be any more; the tracker may go with it. */
static void tracker_leave_line(weft_future *f)
{
    struct wf_wait *w = wf_wait_of(f);
    weft_task_tracker *tr = w->object;
    weft_wakeable *old = NULL;

    if (!wf_wait_is_placed(f))
        return;
    wf_lock(&tr->lock);
    if (w->waiter.state == WF_WAITER_QUEUED)
        old = wf_waitq_take(&tr->line, &w->waiter, WF_WAITER_IDLE);
    wf_unlock(&tr->lock);
    wf_wakeable_release(old);
    tracker_put(tr);
}

static weft_poll tracker_poll(weft_future *f, weft_context *cx)
{
    weft_task_tracker *tr = wf_wait_of(f)->object;

    /* Whatever the budget is: the tracker need not be there for a second first poll. */
    if (wf_wait_poll(f, cx, &tr->lock, &tr->line, tracker_look) == WEFT_PENDING)
        return WEFT_PENDING;
    wf_coop_spend();
    if (wf_wait_is_placed(f))
        tracker_put(tr);
    return WEFT_READY;
}

static const weft_future_type tracker_type = {tracker_poll, tracker_leave_line, "task tracker"};

weft_future weft_task_tracker_wait_future(weft_task_tracker *tr)
{
    weft_future f = {.type = &tracker_type};
    uint64_t word;

    if (!tr)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_task_tracker_wait_future: NULL"));
    word = tracker_word(tr);
    if (tracker_is_done(word))
        return weft_ready_future(0);
    wf_wait_of(&f)->object = tr;
    wf_wait_of(&f)->words[TRACKER_FROM] = tracker_turn(word);
    wf_wait_of(&f)->waiter.need = tracker_turn(word);
    return f;
}

int weft_task_tracker_wait(weft_task_tracker *tr)
{
    weft_future future;
    struct wf_fiber *f;
    int rc;

    if (wf_unlikely(!tr))
        return wf_misuse(-EINVAL, "weft_task_tracker_wait: NULL");
    /* Made first: the entry may let others run, and the wait has begun. */
    future = weft_task_tracker_wait_future(tr);
    rc = wf_await_enter(&f, "weft_task_tracker_wait");
    return wf_unlikely(rc < 0) ? rc : (int)wf_await_future(f, &future);
}

int weft_task_tracker_wait_blocking(weft_task_tracker *tr)
{
    weft_future future;
    int rc;

    if (!tr)
        return wf_misuse(-EINVAL, "weft_task_tracker_wait_blocking: NULL");
    rc = wf_thread_check_plain("weft_task_tracker_wait_blocking");
    if (rc < 0)
        return rc;
    future = weft_task_tracker_wait_future(tr);
    return (int)wf_thread_await(&future, WEFT_FOREVER);
}
