/* SPDX-License-Identifier: MIT */
/*
 * rwlock.c - many readers or one writer, as permits: a reader takes one of them, a writer all.
 *
 * IDEA     The line of permits.h is what makes it fair: a writer in front collects the permits of readers that leave,
 *          and who comes later waits behind it. The writer is known as the owner of a mutex is; of readers there is
 *          nothing to know but their number.
 *          A writer that ended with the lock marks the permits: whoever gets some is told, until a writer has
 *          got all of them, which takes the mark away.
 * INVARIANTS
 *     R1   own.word names the writer from when it has all permits to just before it gives some back; else it is 0.
 *          While somebody waits, a writer's way out is through the lock of the permits: who has that may retain it.
 * ORDER    As of the permits. own.word: relaxed, since only one's own name in it says something for sure (owned.h).
 * TESTS    tests/api/test_rwlock.c, tests/model/test_permits.c
 */
#include "base/log.h"
#include "sync/permits.h"
#include "task/await.h"
#include "task/thread_wait.h"

#include <weft/rwlock.h>

struct wf_rwlock {
    struct wf_owned own; /* first: deadlock.c. The word: the writer, no flags */
    struct wf_permits permits;
    uint64_t readers_max; /* set once; 0: never initialised */
};

_Static_assert(sizeof(struct wf_rwlock) <= sizeof(weft_rwlock), "weft_rwlock is too small");
_Static_assert(offsetof(struct wf_owned, name) == offsetof(weft_rwlock, name_) &&
                   offsetof(struct wf_rwlock, permits) == offsetof(weft_rwlock, permits_) &&
                   offsetof(struct wf_rwlock, readers_max) == offsetof(weft_rwlock, readers_max_),
               "initialisers set these");

static struct wf_rwlock *rwlock_of(const weft_rwlock *l)
{
    return wf_unconst(l);
}

static int rwlock_check(const char *call, const weft_rwlock *l)
{
    if (wf_unlikely(!l || !rwlock_of(l)->readers_max))
        return wf_misuse(-EINVAL, "%s: l is NULL, or was never initialised", call);
    return 0;
}

int weft_rwlock_init(weft_rwlock *l, const char *name, unsigned readers_max)
{
    if (wf_unlikely(!l || readers_max == 0 || readers_max > WEFT_RWLOCK_READERS_MAX))
        return wf_misuse(-EINVAL, "weft_rwlock_init: l is NULL, or readers_max out of range");
    *l = (weft_rwlock)WEFT_RWLOCK_NAMED(name);
    l->permits_ = (uint64_t)readers_max << WF_PERMITS_SHIFT;
    l->readers_max_ = readers_max;
    return 0;
}

/* Give permits back. A fiber that has passed some on gives way if it comes back at once: else readers and writers that
 * come again and again would wait in line for ever, each for a turn of all others. */
static int rwlock_give(struct wf_rwlock *l, uint64_t n)
{
    struct wf_fiber *f;
    bool passed = false;
    int rc = wf_permits_add(&l->permits, n, l->readers_max, &passed);

    if (wf_unlikely(passed)) {
        f = wf_fiber_self();
        if (f)
            f->passed = l;
    }
    return rc;
}

/* --- the writer --- */

static void rwlock_set_writer(struct wf_rwlock *l, uint64_t owner)
{
    wf_store_u64(&l->own.word, owner, WF_RELAXED); /* relaxed: see ORDER */
}

WF_COLD static void rwlock_abandon(struct wf_hold *h, const struct weft_task *t)
{
    struct wf_rwlock *l = wf_container_of(h, struct wf_rwlock, own.hold);

    wf_lock_report_end("rwlock", &l->own, t);
    rwlock_set_writer(l, 0);
    /* relaxed: giving back carries it */
    (void)wf_or_u64(&l->permits.word, WF_PERMITS_MARKED, WF_RELAXED);
    (void)rwlock_give(l, l->readers_max);
}

/* It has got all permits. rc as of wf_permits_try. */
static int rwlock_begin_write(struct wf_rwlock *l, struct wf_self self, const char *site, int rc)
{
    rwlock_set_writer(l, self.owner);
    wf_owned_begin(&l->own, self, site, rwlock_abandon);
    if (wf_likely(rc == 0))
        return 0;
    /* relaxed: giving back carries it */
    (void)wf_and_u64(&l->permits.word, ~WF_PERMITS_MARKED, WF_RELAXED);
    return -EOWNERDEAD;
}

/* What readers get is a permit and no more. */
static int rwlock_begin_read(int rc)
{
    return rc == 1 ? -EOWNERDEAD : rc;
}

static int rwlock_refuse_again(const struct wf_rwlock *l)
{
    return wf_misuse(-EDEADLK,
                     "weft_rwlock: the caller holds the rwlock %p%s%s%s for writing, since %s",
                     (const void *)l, WF_LOCK_NAME_ARGS(l->own.name), wf_owned_site(&l->own));
}

/* --- waiting --- */

static weft_poll rwlock_poll(weft_future *f, weft_context *cx, struct wf_self *self)
{
    struct wf_rwlock *l = wf_lock_wait_of(f)->object;

    if (!wf_coop_proceed(cx))
        return WEFT_PENDING;
    *self = wf_self_now();
    if (wf_unlikely(wf_owned_by(&l->own) == self->owner)) {
        wf_permits_drop(f, &l->permits, l->readers_max);
        f->result = rwlock_refuse_again(l);
        return WEFT_READY;
    }
    return wf_permits_poll(f, cx, &l->permits, self, true);
}

static weft_poll rwlock_read_poll(weft_future *f, weft_context *cx)
{
    struct wf_self self;

    if (rwlock_poll(f, cx, &self) == WEFT_PENDING)
        return WEFT_PENDING;
    f->result = rwlock_begin_read((int)f->result);
    return WEFT_READY;
}

static weft_poll rwlock_write_poll(weft_future *f, weft_context *cx)
{
    struct wf_lock_wait *w = wf_lock_wait_of(f);
    const char *site = wf_lock_wait_site(w);
    struct wf_self self;

    if (rwlock_poll(f, cx, &self) == WEFT_PENDING)
        return WEFT_PENDING;
    if (f->result >= 0)
        f->result = rwlock_begin_write(w->object, self, site, (int)f->result);
    return WEFT_READY;
}

static void rwlock_drop(weft_future *f)
{
    struct wf_rwlock *l = wf_lock_wait_of(f)->object;

    wf_permits_drop(f, &l->permits, l->readers_max);
}

static const weft_future_type rwlock_read_type = {rwlock_read_poll, rwlock_drop,
                                                  "rwlock, for reading,"};
static const weft_future_type rwlock_write_type = {rwlock_write_poll, rwlock_drop,
                                                   "rwlock, for writing,"};

static void rwlock_look(weft_future *f, uint64_t limit_ns)
{
    struct wf_lock_wait *w = wf_lock_wait_of(f);
    struct wf_rwlock *l = w->object;
    struct wf_permits *p = &l->permits;
    struct wf_overdue o = {.lock = l, .kind = "rwlock", .name = l->own.name};
    uint64_t now = wf_clock_now();
    bool tell;

    wf_lock(&p->lock);
    tell = w->waiter.state == WF_WAITER_QUEUED && wf_overdue_is(&p->since, now, limit_ns);
    if (tell) {
        o.age_ns = now - p->since;
        wf_overdue_note_waiters(&o, &p->queue, w);
        if (p->handed.first) {
            wf_overdue_note_handed(&o, wf_lock_wait_of_waiter(p->handed.first));
        } else if (wf_owned_by(&l->own)) {
            o.holder = wf_someone_met(wf_owned_by(&l->own)); /* R1 */
            o.held_at = wf_owned_site(&l->own);
        }
    }
    wf_unlock(&p->lock);
    if (tell)
        wf_overdue_tell(&o);
}

static weft_future rwlock_future(struct wf_rwlock *l, bool write, const char *site)
{
    return wf_lock_wait_new(write ? &rwlock_write_type : &rwlock_read_type, l,
                            write ? (uint32_t)l->readers_max : 1, site);
}

/* --- locking --- */

WF_INLINE int rwlock_try(struct wf_rwlock *l, struct wf_self self, bool write, const char *site)
{
    int rc = wf_permits_try(&l->permits, write ? l->readers_max : 1);

    if (wf_unlikely(rc < 0))
        return rc;
    return write ? rwlock_begin_write(l, self, site, rc) : rwlock_begin_read(rc);
}

WF_NOINLINE WF_SUSPENDS static int rwlock_wait(struct wf_rwlock *l, struct wf_fiber *f, bool write,
                                               const char *site)
{
    weft_future future = rwlock_future(l, write, site);

    wf_lock_wait_of(&future)->self = WF_WAIT_SOLE;
    if (f->passed == l) {
        int rc = wf_lock_give_way(f);

        if (wf_unlikely(rc < 0))
            return rc;
    }
    return (int)wf_lock_await(f, &future, rwlock_look);
}

WF_INLINE int rwlock_lock(const char *call, weft_rwlock *lock, bool write, const char *site)
{
    struct wf_rwlock *l = rwlock_of(lock);
    struct wf_fiber *f;
    int rc = rwlock_check(call, lock);

    if (wf_unlikely(rc < 0))
        return rc;
    rc = wf_await_enter(&f, call);
    if (wf_unlikely(rc < 0))
        return rc;
    rc = rwlock_try(l, wf_self_of(f), write, site);
    return wf_likely(rc != -EAGAIN) ? rc : rwlock_wait(l, f, write, site);
}

static int rwlock_lock_blocking(const char *call, weft_rwlock *lock, bool write, const char *site)
{
    struct wf_rwlock *l = rwlock_of(lock);
    weft_future future;
    int rc = rwlock_check(call, lock);

    if (rc == 0)
        rc = wf_thread_check_plain(call);
    if (rc < 0)
        return rc;
    rc = rwlock_try(l, wf_self_now(), write, site);
    if (rc != -EAGAIN)
        return rc;
    future = rwlock_future(l, write, site);
    wf_lock_wait_of(&future)->self = WF_WAIT_SOLE;
    return (int)wf_thread_await(&future, WEFT_FOREVER);
}

int weft_rwlock_read_lock_at(const char *site, weft_rwlock *l)
{
    return rwlock_lock("weft_rwlock_read_lock", l, false, site);
}

int weft_rwlock_write_lock_at(const char *site, weft_rwlock *l)
{
    return rwlock_lock("weft_rwlock_write_lock", l, true, site);
}

int weft_rwlock_read_lock_blocking_at(const char *site, weft_rwlock *l)
{
    return rwlock_lock_blocking("weft_rwlock_read_lock_blocking", l, false, site);
}

int weft_rwlock_write_lock_blocking_at(const char *site, weft_rwlock *l)
{
    return rwlock_lock_blocking("weft_rwlock_write_lock_blocking", l, true, site);
}

int weft_rwlock_try_read_lock(weft_rwlock *l)
{
    int rc = rwlock_check("weft_rwlock_try_read_lock", l);

    return rc < 0 ? rc : rwlock_try(rwlock_of(l), wf_self_now(), false, "?");
}

int weft_rwlock_try_write_lock_at(const char *site, weft_rwlock *l)
{
    int rc = rwlock_check("weft_rwlock_try_write_lock", l);

    return rc < 0 ? rc : rwlock_try(rwlock_of(l), wf_self_now(), true, site);
}

weft_future weft_rwlock_read_lock_future_at(const char *site, weft_rwlock *l)
{
    int rc = rwlock_check("weft_rwlock_read_lock_future", l);

    return rc < 0 ? weft_ready_future(rc) : rwlock_future(rwlock_of(l), false, site);
}

weft_future weft_rwlock_write_lock_future_at(const char *site, weft_rwlock *l)
{
    int rc = rwlock_check("weft_rwlock_write_lock_future", l);

    return rc < 0 ? weft_ready_future(rc) : rwlock_future(rwlock_of(l), true, site);
}

/* --- unlocking --- */

int weft_rwlock_read_unlock(weft_rwlock *lock)
{
    struct wf_rwlock *l = rwlock_of(lock);
    int rc = rwlock_check("weft_rwlock_read_unlock", lock);

    if (wf_unlikely(rc < 0))
        return rc;
    if (wf_unlikely(wf_owned_by(&l->own) || rwlock_give(l, 1) < 0))
        return wf_misuse(-EPERM, "weft_rwlock_read_unlock: nobody holds the rwlock %p for reading",
                         (void *)l);
    return 0;
}

/* The writer goes, and leaves so many permits. */
static int rwlock_end_write(const char *call, weft_rwlock *lock, uint64_t keeps)
{
    struct wf_rwlock *l = rwlock_of(lock);
    struct wf_self self;
    int rc = rwlock_check(call, lock);

    if (wf_unlikely(rc < 0))
        return rc;
    self = wf_self_now();
    if (wf_unlikely(wf_owned_by(&l->own) != self.owner))
        return wf_misuse(-EPERM, "%s: the caller does not hold the rwlock %p for writing", call,
                         (void *)l);
    wf_owned_end(&l->own, self);
    rwlock_set_writer(l, 0);
    (void)rwlock_give(l, l->readers_max - keeps);
    return 0;
}

int weft_rwlock_write_unlock(weft_rwlock *l)
{
    return rwlock_end_write("weft_rwlock_write_unlock", l, 0);
}

int weft_rwlock_downgrade(weft_rwlock *l)
{
    return rwlock_end_write("weft_rwlock_downgrade", l, 1);
}

/* The same behind the macros' names, for other languages. */
int(weft_rwlock_read_lock)(weft_rwlock *l)
{
    return weft_rwlock_read_lock_at("?", l);
}

int(weft_rwlock_write_lock)(weft_rwlock *l)
{
    return weft_rwlock_write_lock_at("?", l);
}

int(weft_rwlock_try_write_lock)(weft_rwlock *l)
{
    return weft_rwlock_try_write_lock_at("?", l);
}

int(weft_rwlock_read_lock_blocking)(weft_rwlock *l)
{
    return weft_rwlock_read_lock_blocking_at("?", l);
}

int(weft_rwlock_write_lock_blocking)(weft_rwlock *l)
{
    return weft_rwlock_write_lock_blocking_at("?", l);
}

weft_future(weft_rwlock_read_lock_future)(weft_rwlock *l)
{
    return weft_rwlock_read_lock_future_at("?", l);
}

weft_future(weft_rwlock_write_lock_future)(weft_rwlock *l)
{
    return weft_rwlock_write_lock_future_at("?", l);
}
