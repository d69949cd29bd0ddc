/* SPDX-License-Identifier: MIT */
/*
 * mutex.c - a lock that tasks, and plain threads, wait for first come, first served.
 *
 * IDEA     One word says who holds it: free is zero, and taking and giving back are one compare-and-swap each as long
 *          as nobody waits. Who has to wait queues under the mutex's own lock and sets QUEUED, which sends the owner's
 *          unlock the slow way: it takes the first one out of the queue and marks the mutex as HANDED to that, which
 *          becomes the owner when it is polled. Nobody else can take it meanwhile.
 *          While the owner runs on another thread, and nobody queues, a few microseconds of looking are cheaper than
 *          a turn in the queue.
 *          Tasks that lock again and again would stay in the queue for ever, once an interrupted owner has brought them
 *          there: each lock would cost a turn through the scheduler, although nobody is inside for longer than a
 *          moment. So who hands the mutex on and comes back for it lets others run first, and lines up as one that
 *          waits AGAIN. When nobody else waits, the first one gets the mutex, and all others are let go: they are
 *          woken, and try again when they run, by when it mostly is free. Who finds it taken lines up as anybody does.
 *
 *              word                    means                           by
 *              0                       free                            unlock
 *              owner                   held                            lock
 *              owner, QUEUED           held, and somebody waits        who begins to wait
 *              HANDED                  given to the last one waiting   unlock, drop
 *              HANDED, QUEUED          and others wait behind it       unlock, drop
 *
 *          DEAD besides, in any of these but "held": the one that held it has ended. Whoever becomes the owner takes
 *          it out and is told.
 * INVARIANTS
 *     M1   QUEUED is set exactly while the queue is not empty, and both change under the lock. The word of a mutex with
 *          QUEUED or HANDED changes under the lock only.
 *     M2   While it is HANDED, `handed` is the wait that it was given to, which is GRANTED, and no other is.
 *     M3   An owner with QUEUED does not go away, for its unlock and its end need the lock: who has the lock may retain
 *          it.
 *     M4   `fresh` is the number of those in the queue who do not wait AGAIN. Who waits is let go once at most, so two
 *          rounds of the queue are the longest that anybody waits.
 *     M5   An unlock's last touch is the swap that frees the mutex, or the release of its lock before the one that
 *          it was handed to can have seen that: so the next owner may free the memory.
 * OWNS     A wait in the queue owns nothing; the queue has a reference to what it wakes.
 * ORDER    (a) Freeing by swap (release) and taking by swap (acquire) carry what the mutex protects.
 *          (b) By the queue it is carried by the lock: who hands it on has it, and so has who takes it up.
 * LOCKS    WF_RANK_SYNC, one for each mutex. Deadlocks and reports are looked for after it, under their own.
 * REJECTED Letting a running task overtake the queue for a millisecond (Go): throughput of a contended mutex like
 *          that of a free one, but who waits longest depends on luck. Unlocking by a plain store, as base/lock.h
 *          does: nobody would be woken. A flag for ever after an owner's death, as pthread_mutex_consistent takes
 *          away: see docs/design/016-locks.md
 * TESTS    tests/api/test_mutex.c, test_lock_reports.c, tests/model/test_mutex.c, tests/stress/test_locks.c
 */
#include "base/log.h"
#include "sync/deadlock.h"
#include "sync/overdue.h"
#include "task/await.h"
#include "task/future.h"
#include "task/thread_wait.h"

#include <errno.h>
#include <weft/mutex.h>

/* How often it is looked whether the owner is done, and how many pauses are in between: at first a few, then twice as
 * many each time. Seldom looks let the owner keep the line, and lock a few times more in the meantime. Some
 * microseconds in all on most processors. Tests of all interleavings have fewer. */
#ifndef WF_MUTEX_LOOKS
# define WF_MUTEX_LOOKS      7
# define WF_MUTEX_PAUSES     4
# define WF_MUTEX_PAUSES_MAX 32
#endif

#define MUTEX_QUEUED UINT64_C(1)
#define MUTEX_DEAD   UINT64_C(2)
#define MUTEX_HANDED UINT64_C(4)

/* Who waits: in aux_ of the future, and from there in the waiter. */
enum { MUTEX_FRESH, MUTEX_AGAIN };

struct wf_mutex {
    struct wf_owned own; /* first: the word */
    struct wf_lock lock;
    /* under the lock */
    struct wf_waitq queue;
    struct wf_lock_wait *handed; /* M2 */
    uint64_t since;              /* the holder's time: overdue.h */
    uint32_t fresh;              /* of those in the queue: M4 */
};

_Static_assert(sizeof(struct wf_mutex) <= sizeof(weft_mutex), "weft_mutex is too small");
_Static_assert(offsetof(struct wf_owned, word) == offsetof(weft_mutex, word_) &&
                   offsetof(struct wf_owned, name) == offsetof(weft_mutex, name_),
               "initialisers set these");

static struct wf_mutex *mutex_of(const weft_mutex *m)
{
    return wf_unconst(m);
}

/* --- the word --- */

/* From free. */
WF_INLINE bool mutex_take(struct wf_mutex *m, uint64_t owner)
{
    uint64_t old = 0;

    /* acquire: pairs with mutex_free, ORDER (a) */
    return wf_cas_u64(&m->own.word, &old, owner, WF_ACQUIRE, WF_RELAXED);
}

/* To free; dead: MUTEX_DEAD or 0. False: somebody waits. */
WF_INLINE bool mutex_free(struct wf_mutex *m, uint64_t owner, uint64_t dead)
{
    uint64_t old = owner;

    /* release: pairs with mutex_take and mutex_take_dead, ORDER (a) */
    return wf_cas_u64(&m->own.word, &old, dead, WF_RELEASE, WF_RELAXED);
}

/* From free, with the last owner dead. */
static bool mutex_take_dead(struct wf_mutex *m, uint64_t owner)
{
    uint64_t old = MUTEX_DEAD;

    /* acquire: pairs with mutex_free, ORDER (a) */
    return wf_cas_u64(&m->own.word, &old, owner, WF_ACQUIRE, WF_RELAXED);
}

/* --- looking for a moment --- */

/* Does it work just now, so that it may soon be done? */
static bool mutex_owner_runs(uint64_t word)
{
    const struct weft_task *t = wf_owner_task(word & ~WF_OWNER_FLAGS);

    /* relaxed: a hint; the header of one that has ended meanwhile is still memory (S1 in task/slab.c) */
    return !t || ((wf_load_u64(&t->state, WF_RELAXED) & WF_TASK_RUNNING) &&
                  !wf_task_flag(t, WF_TASK_F_YIELDED));
}

/* True: the caller owns it now. */
static bool mutex_spin(struct wf_mutex *m, uint64_t owner)
{
    unsigned pauses = WF_MUTEX_PAUSES;

    for (unsigned i = 0; i < WF_MUTEX_LOOKS; i++) {
        /* relaxed: what it shows is tried */
        uint64_t word = wf_load_u64(&m->own.word, WF_RELAXED);

        if (word == 0) {
            if (mutex_take(m, owner))
                return true;
        } else if ((word & WF_OWNER_FLAGS) || !mutex_owner_runs(word)) {
            return false;
        }
        for (unsigned pause = 0; pause < pauses; pause++)
            wf_spin_pause();
        pauses = pauses < WF_MUTEX_PAUSES_MAX ? 2 * pauses : pauses;
    }
    return false;
}

/* --- handing on --- */

/* Out of the queue; the reference of what it wakes goes to the caller. */
static weft_wakeable *mutex_unqueue(struct wf_mutex *m, struct wf_waiter *w,
                                    enum wf_waiter_state state)
{
    m->fresh -= w->need == MUTEX_FRESH;
    return wf_waitq_take(&m->queue, w, state);
}

/*
 * Under the lock, by the owner or in its place: to the first in the queue, or to nobody; dead as in mutex_free. Where
 * nobody in the queue is fresh, the others are let go.
 */
static void mutex_hand_on(struct wf_mutex *m, uint64_t dead, struct wf_wakes *wakes)
{
    struct wf_waiter *w = m->queue.first;
    bool again = m->fresh == 0;
    weft_wakeable *target;

    if (!w) {
        m->handed = NULL;
        /* release: pairs with mutex_take, ORDER (a), for who gave up what it was handed */
        wf_store_u64(&m->own.word, dead, WF_RELEASE);
        return;
    }
    target = mutex_unqueue(m, w, WF_WAITER_GRANTED);
    m->handed = wf_lock_wait_of_waiter(w);
    wf_overdue_begin(&m->since);
    while (again && (w = m->queue.first) && wakes->count < WF_WAKES_MAX - 1)
        wf_wakes_add(wakes, mutex_unqueue(m, w, WF_WAITER_IDLE));
    /* Woken last, it is polled first. */
    wf_wakes_add(wakes, target);
    wf_debug_assert(!wf_waitq_empty(&m->queue) || m->fresh == 0); /* M4 */
    /* relaxed: by the lock, ORDER (b) */
    wf_store_u64(&m->own.word, MUTEX_HANDED | dead | (wf_waitq_empty(&m->queue) ? 0 : MUTEX_QUEUED),
                 WF_RELAXED);
}

/* Under the lock, by the owner, who has somebody waiting: has it held it for too long? */
static bool mutex_note_overdue(struct wf_mutex *m, struct wf_overdue *o)
{
    uint64_t now = wf_overdue_now(), owner = wf_owned_by(&m->own);

    if (wf_likely(!now) || !wf_overdue_is(&m->since, now, wf_overdue_limit(wf_owner_task(owner))))
        return false;
    *o = (struct wf_overdue){.lock = m,
                             .kind = "mutex",
                             .name = m->own.name,
                             .age_ns = now - m->since,
                             .holder = wf_someone_met(owner),
                             .held_at = wf_owned_site(&m->own)};
    wf_overdue_note_waiters(o, &m->queue, NULL);
    return true;
}

/* What was held is given back while somebody waits. False: nobody does any more. */
static bool mutex_pass(struct wf_mutex *m, uint64_t dead)
{
    struct wf_overdue overdue;
    struct wf_wakes wakes;
    bool passed, tell = false;

    wakes.count = 0;
    wf_lock(&m->lock);
    passed = !wf_waitq_empty(&m->queue);
    wf_debug_assert(passed ==
                    ((wf_load_u64(&m->own.word, WF_RELAXED) & MUTEX_QUEUED) != 0)); /* M1 */
    if (passed) {
        tell = mutex_note_overdue(m, &overdue);
        mutex_hand_on(m, dead, &wakes);
    }
    wf_unlock(&m->lock);
    wf_wakes_all(&wakes);
    if (wf_unlikely(tell))
        wf_overdue_tell(&overdue);
    return passed;
}

/* By the owner, who could not just free it. */
WF_NOINLINE static void mutex_release(struct wf_mutex *m, uint64_t owner, uint64_t dead)
{
    while (!mutex_pass(m, dead) && !mutex_free(m, owner, dead))
        continue;
}

/* The owner ends. */
WF_COLD static void mutex_abandon(struct wf_hold *h, const struct weft_task *t)
{
    struct wf_mutex *m = wf_container_of(h, struct wf_mutex, own.hold);
    uint64_t owner = (uintptr_t)t;

    wf_lock_report_end("mutex", &m->own, t);
    if (!mutex_free(m, owner, MUTEX_DEAD))
        mutex_release(m, owner, MUTEX_DEAD);
}

WF_INLINE void mutex_begin(struct wf_mutex *m, struct wf_self self, const char *site)
{
    wf_owned_begin(&m->own, self, site, mutex_abandon);
}

/* --- waiting --- */

enum mutex_step {
    MUTEX_GOT,
    MUTEX_GOT_DEAD,
    MUTEX_OWN,        /* the caller holds it */
    MUTEX_LINED_UP,   /* from now on */
    MUTEX_WAITS,      /* as before */
    MUTEX_LET_GO,     /* it was sent to try again */
    MUTEX_WANTS_WAKER /* nothing was done */
};

/* Has it been in the queue? */
static bool mutex_has_waited(const struct wf_lock_wait *w)
{
    return (w->self & ~WF_OWNER_FLAGS) != 0;
}

/* Under the lock, for a wait that is not queued: take the mutex, or line up, where target goes along. */
static enum mutex_step mutex_line_up(struct wf_mutex *m, struct wf_lock_wait *w,
                                     const struct wf_self *self, weft_wakeable *target)
{
    /* relaxed: what it shows is tried, or M1 */
    uint64_t old = wf_load_u64(&m->own.word, WF_RELAXED);

    if (wf_unlikely((old & ~WF_OWNER_FLAGS) == self->owner))
        return MUTEX_OWN;
    while (!(old & MUTEX_QUEUED)) {
        bool free = (old & ~MUTEX_DEAD) == 0;

        /* acquire: pairs with mutex_free, ORDER (a) */
        if (!wf_cas_weak_u64(&m->own.word, &old, free ? self->owner : old | MUTEX_QUEUED,
                             WF_ACQUIRE, WF_RELAXED))
            continue;
        if (free)
            return old ? MUTEX_GOT_DEAD : MUTEX_GOT;
        if (!(old & MUTEX_HANDED))
            wf_overdue_begin(&m->since);
        break;
    }
    w->waiter.need = wf_lock_wait_future(w)->aux_;
    m->fresh += w->waiter.need == MUTEX_FRESH;
    wf_waitq_push(&m->queue, &w->waiter, target);
    if (mutex_has_waited(w))
        return MUTEX_WAITS;
    wf_lock_wait_by(w, self);
    wf_deadlock_begin(w, self);
    return MUTEX_LINED_UP;
}

/* Under the lock: it was handed the mutex. */
static enum mutex_step mutex_take_up(struct wf_mutex *m, struct wf_lock_wait *w,
                                     const struct wf_self *self)
{
    /* relaxed: M1 */
    uint64_t old = wf_load_u64(&m->own.word, WF_RELAXED);

    wf_assert(m->handed == w);
    m->handed = NULL;
    w->waiter.state = WF_WAITER_IDLE;
    /* relaxed: by the lock, ORDER (b) */
    wf_store_u64(&m->own.word, self->owner | (old & MUTEX_QUEUED), WF_RELAXED);
    return old & MUTEX_DEAD ? MUTEX_GOT_DEAD : MUTEX_GOT;
}

/* Under the lock. *target is what the caller has retained for it, or NULL; and then what it is to release. */
static enum mutex_step mutex_step(struct wf_mutex *m, struct wf_lock_wait *w,
                                  const struct wf_self *self, const weft_context *cx,
                                  weft_wakeable **target)
{
    enum mutex_step step;

    if (w->waiter.state == WF_WAITER_GRANTED)
        return mutex_take_up(m, w, self);
    if (w->waiter.state == WF_WAITER_QUEUED && wf_waiter_wakes(&w->waiter, cx->waker_.target_))
        return MUTEX_WAITS;
    if (w->waiter.state == WF_WAITER_IDLE && w->waiter.need == MUTEX_AGAIN && mutex_has_waited(w)) {
        w->waiter.need = MUTEX_FRESH;
        return MUTEX_LET_GO;
    }
    if (!*target)
        return MUTEX_WANTS_WAKER;
    if (w->waiter.state == WF_WAITER_QUEUED) {
        *target = wf_waiter_retarget(&w->waiter, *target);
        return MUTEX_WAITS;
    }
    step = mutex_line_up(m, w, self, *target);
    if (step == MUTEX_LINED_UP || step == MUTEX_WAITS)
        *target = NULL;
    return step;
}

static int mutex_refuse_again(const struct wf_mutex *m)
{
    return wf_misuse(-EDEADLK,
                     "weft_mutex_lock: the caller holds the mutex %p%s%s%s already, since %s",
                     (const void *)m, WF_LOCK_NAME_ARGS(m->own.name), wf_owned_site(&m->own));
}

static weft_poll mutex_poll(weft_future *f, weft_context *cx)
{
    struct wf_lock_wait *w = wf_lock_wait_of(f);
    struct wf_mutex *m = w->object;
    weft_wakeable *target = NULL;
    bool want = !wf_future_pending(f);
    enum mutex_step step;
    struct wf_self self;

    if (!wf_coop_proceed(cx))
        return WEFT_PENDING;
    self = wf_self_now();
    if (want)
        wf_lock_wait_alone(f, &self);
    do {
        /* Not under the lock: it may be the user's. */
        if (want && !target)
            target = wf_wakeable_retain(cx->waker_.target_);
        wf_lock(&m->lock);
        step = mutex_step(m, w, &self, cx, &target);
        wf_unlock(&m->lock);
        want = true;
        if (step == MUTEX_LET_GO) {
            f->aux_ = MUTEX_FRESH;
            if (mutex_spin(m, self.owner))
                step = MUTEX_GOT;
        }
    } while (step == MUTEX_WANTS_WAKER || step == MUTEX_LET_GO);
    wf_wakeable_release(target);
    if (step == MUTEX_LINED_UP || step == MUTEX_WAITS) {
        wf_coop_restore();
        if (step == MUTEX_LINED_UP && (w->self & WF_WAIT_EDGE))
            wf_deadlock_enter(w);
        return WEFT_PENDING;
    }
    if (wf_unlikely(w->self & WF_WAIT_EDGE))
        wf_deadlock_leave(w);
    if (step == MUTEX_OWN) {
        f->result = mutex_refuse_again(m);
        return WEFT_READY;
    }
    mutex_begin(m, self, wf_lock_wait_site(w));
    f->result = step == MUTEX_GOT_DEAD ? -EOWNERDEAD : 0;
    return WEFT_READY;
}

static void mutex_drop(weft_future *f)
{
    struct wf_lock_wait *w = wf_lock_wait_of(f);
    struct wf_mutex *m = w->object;
    weft_wakeable *unlinked = NULL;
    struct wf_wakes wakes;

    wakes.count = 0;
    if (wf_unlikely(w->self & WF_WAIT_EDGE))
        wf_deadlock_leave(w);
    wf_lock(&m->lock);
    if (w->waiter.state == WF_WAITER_QUEUED) {
        unlinked = mutex_unqueue(m, &w->waiter, WF_WAITER_IDLE);
        if (wf_waitq_empty(&m->queue))
            /* relaxed: it says nothing of what the mutex protects */
            (void)wf_and_u64(&m->own.word, ~MUTEX_QUEUED, WF_RELAXED);
    } else if (w->waiter.state == WF_WAITER_GRANTED) {
        w->waiter.state = WF_WAITER_IDLE;
        /* relaxed: M1 */
        mutex_hand_on(m, wf_load_u64(&m->own.word, WF_RELAXED) & MUTEX_DEAD, &wakes);
    }
    wf_unlock(&m->lock);
    wf_wakeable_release(unlinked);
    wf_wakes_all(&wakes);
}

static const weft_future_type mutex_type = {mutex_poll, mutex_drop, "mutex"};

/* The limit has passed, and f still waits: for how long has who holds it had it? */
static void mutex_look(weft_future *f, uint64_t limit_ns)
{
    struct wf_lock_wait *w = wf_lock_wait_of(f);
    struct wf_mutex *m = w->object;
    struct wf_overdue o = {.lock = m, .kind = "mutex", .name = m->own.name};
    uint64_t now = wf_clock_now();
    bool tell;

    wf_lock(&m->lock);
    tell = w->waiter.state == WF_WAITER_QUEUED && wf_overdue_is(&m->since, now, limit_ns);
    if (tell) {
        o.age_ns = now - m->since;
        wf_overdue_note_waiters(&o, &m->queue, w);
        if (m->handed) {
            wf_overdue_note_handed(&o, m->handed);
        } else {
            o.holder = wf_someone_met(wf_owned_by(&m->own));
            o.held_at = wf_owned_site(&m->own);
        }
    }
    wf_unlock(&m->lock);
    if (tell)
        wf_overdue_tell(&o);
}

/* --- the calls --- */

int weft_mutex_init(weft_mutex *m, const char *name)
{
    if (wf_unlikely(!m))
        return wf_misuse(-EINVAL, "weft_mutex_init: m is NULL");
    *m = (weft_mutex)WEFT_MUTEX_NAMED(name);
    return 0;
}

static int mutex_refuse(const char *call)
{
    return wf_misuse(-EINVAL, "%s: m is NULL", call);
}

static weft_future mutex_future(struct wf_mutex *m, const char *site, uint64_t sole)
{
    weft_future f = wf_lock_wait_new(&mutex_type, m, MUTEX_FRESH, site);

    wf_lock_wait_of(&f)->self = sole;
    return f;
}

WF_NOINLINE WF_SUSPENDS static int mutex_lock_slow(struct wf_mutex *m, struct wf_fiber *f,
                                                   const char *site)
{
    const struct wf_self self = wf_self_of(f);
    weft_future future;

    if (wf_unlikely(wf_owned_by(&m->own) == self.owner))
        return mutex_refuse_again(m);
    future = mutex_future(m, site, WF_WAIT_SOLE);
    if (f->passed == m) {
        int rc = wf_lock_give_way(f);

        if (wf_unlikely(rc < 0))
            return rc;
        future.aux_ = MUTEX_AGAIN;
    }
    if (mutex_spin(m, self.owner)) {
        mutex_begin(m, self, site);
        return 0;
    }
    return (int)wf_lock_await(f, &future, mutex_look);
}

int weft_mutex_lock_at(const char *site, weft_mutex *mutex)
{
    struct wf_mutex *m = mutex_of(mutex);
    struct wf_fiber *f;
    int rc;

    if (wf_unlikely(!m))
        return mutex_refuse("weft_mutex_lock");
    rc = wf_await_enter(&f, "weft_mutex_lock");
    if (wf_unlikely(rc < 0))
        return rc;
    if (wf_unlikely(!mutex_take(m, (uintptr_t)f->task)))
        return mutex_lock_slow(m, f, site);
    mutex_begin(m, wf_self_of(f), site);
    return 0;
}

int weft_mutex_try_lock_at(const char *site, weft_mutex *mutex)
{
    struct wf_mutex *m = mutex_of(mutex);
    struct wf_self self;
    int rc = 0;

    if (wf_unlikely(!m))
        return mutex_refuse("weft_mutex_try_lock");
    self = wf_self_now();
    if (!mutex_take(m, self.owner)) {
        if (!mutex_take_dead(m, self.owner))
            return -EAGAIN;
        rc = -EOWNERDEAD;
    }
    mutex_begin(m, self, site);
    return rc;
}

int weft_mutex_lock_blocking_at(const char *site, weft_mutex *mutex)
{
    struct wf_mutex *m = mutex_of(mutex);
    struct wf_self self;
    weft_future future;
    int rc;

    if (wf_unlikely(!m))
        return mutex_refuse("weft_mutex_lock_blocking");
    rc = wf_thread_check_plain("weft_mutex_lock_blocking");
    if (wf_unlikely(rc < 0))
        return rc;
    self = wf_self_now();
    if (wf_unlikely(wf_owned_by(&m->own) == self.owner))
        return mutex_refuse_again(m);
    if (mutex_spin(m, self.owner)) {
        mutex_begin(m, self, site);
        return 0;
    }
    future = mutex_future(m, site, WF_WAIT_SOLE);
    return (int)wf_thread_await(&future, WEFT_FOREVER);
}

weft_future weft_mutex_lock_future_at(const char *site, weft_mutex *m)
{
    if (wf_unlikely(!m))
        return weft_ready_future(mutex_refuse("weft_mutex_lock_future"));
    return mutex_future(mutex_of(m), site, 0);
}

WF_COLD static int mutex_refuse_other(const struct wf_mutex *m)
{
    return wf_misuse(-EPERM, "weft_mutex_unlock: the caller does not hold the mutex %p%s%s%s",
                     (const void *)m, WF_LOCK_NAME_ARGS(m->own.name));
}

/* By a plain thread, or a stackless task. */
WF_NOINLINE static int mutex_unlock_other(struct wf_mutex *m)
{
    struct wf_self self = wf_self_now();

    if (wf_owned_by(&m->own) != self.owner)
        return mutex_refuse_other(m);
    wf_owned_end(&m->own, self);
    if (!mutex_free(m, self.owner, 0))
        mutex_release(m, self.owner, 0);
    return 0;
}

int weft_mutex_unlock(weft_mutex *mutex)
{
    struct wf_mutex *m = mutex_of(mutex);
    struct wf_fiber *f = wf_fiber_self();
    uint64_t owner;

    if (wf_unlikely(!m))
        return mutex_refuse("weft_mutex_unlock");
    if (wf_unlikely(!f))
        return mutex_unlock_other(m);
    owner = (uintptr_t)f->task;
    if (wf_unlikely(wf_owned_by(&m->own) != owner))
        return mutex_refuse_other(m);
    wf_hold_unlink(&m->own.hold);
    if (wf_unlikely(!mutex_free(m, owner, 0))) {
        f->passed = m;
        mutex_release(m, owner, 0);
    }
    return 0;
}

bool weft_mutex_is_held(const weft_mutex *m)
{
    struct wf_self self = wf_self_now();

    return m && wf_owned_by(&mutex_of(m)->own) == self.owner;
}

/* The same behind the macros' names, for other languages. */
int(weft_mutex_lock)(weft_mutex *m)
{
    return weft_mutex_lock_at("?", m);
}

int(weft_mutex_try_lock)(weft_mutex *m)
{
    return weft_mutex_try_lock_at("?", m);
}

int(weft_mutex_lock_blocking)(weft_mutex *m)
{
    return weft_mutex_lock_blocking_at("?", m);
}

weft_future(weft_mutex_lock_future)(weft_mutex *m)
{
    return weft_mutex_lock_future_at("?", m);
}

weft_lock_scope *weft_lock_scope_enter(const char *site, weft_lock_scope *scope, weft_mutex *m,
                                       int *rc)
{
    int result = scope ? weft_mutex_lock_at(site, m)
                       : wf_misuse(-EINVAL, "weft_lock_scope_enter: scope is NULL");
    bool held = result == 0 || result == -EOWNERDEAD;

    if (rc)
        *rc = result;
    if (scope)
        scope->mutex_ = held ? m : NULL;
    return held ? scope : NULL;
}

void weft_lock_scope_leave(weft_lock_scope *scope)
{
    if (scope && scope->mutex_)
        (void)weft_mutex_unlock(scope->mutex_);
}
