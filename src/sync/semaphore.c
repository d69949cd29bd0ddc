/* SPDX-License-Identifier: MIT */
/*
 * semaphore.c - permits as such: the public calls.
 *
 * Nobody owns a permit, so there is nothing to say of deadlocks, nor of one that is kept for long; but
 * permits that were handed to a future which is not polled are told of (overdue.h).
 */
#include "base/log.h"
#include "sync/permits.h"
#include "task/await.h"
#include "task/thread_wait.h"

#include <weft/semaphore.h>

_Static_assert(sizeof(struct wf_permits) <= sizeof(weft_semaphore), "weft_semaphore is too small");
_Static_assert(offsetof(struct wf_permits, word) == offsetof(weft_semaphore, word_),
               "initialisers set it");

/* It is nothing else. */
static struct wf_permits *semaphore_of(const weft_semaphore *s)
{
    return wf_unconst(s);
}

/* 0, or -EINVAL with a message. */
static int semaphore_check(const char *call, const weft_semaphore *s, uint64_t n)
{
    if (wf_unlikely(!s))
        return wf_misuse(-EINVAL, "%s: s is NULL", call);
    if (wf_unlikely(n > WEFT_SEMAPHORE_MAX))
        return wf_misuse(-EINVAL, "%s: %llu permits are more than WEFT_SEMAPHORE_MAX", call,
                         (unsigned long long)n);
    return 0;
}

int weft_semaphore_init(weft_semaphore *s, uint64_t permits)
{
    int rc = semaphore_check("weft_semaphore_init", s, permits);

    if (rc == 0)
        *s = (weft_semaphore)WEFT_SEMAPHORE_INIT(permits);
    return rc;
}

static weft_poll semaphore_poll(weft_future *f, weft_context *cx)
{
    struct wf_self self;

    if (!wf_coop_proceed(cx))
        return WEFT_PENDING;
    self = wf_self_now();
    return wf_permits_poll(f, cx, wf_lock_wait_of(f)->object, &self, false);
}

static void semaphore_drop(weft_future *f)
{
    wf_permits_drop(f, wf_lock_wait_of(f)->object, WEFT_SEMAPHORE_MAX);
}

static const weft_future_type semaphore_type = {semaphore_poll, semaphore_drop, "semaphore"};

static void semaphore_look(weft_future *f, uint64_t limit_ns)
{
    struct wf_lock_wait *w = wf_lock_wait_of(f);
    struct wf_permits *p = w->object;
    struct wf_overdue o = {.lock = p, .kind = "semaphore"};
    uint64_t now = wf_clock_now();
    bool tell;

    wf_lock(&p->lock);
    tell = w->waiter.state == WF_WAITER_QUEUED && p->handed.first &&
           wf_overdue_is(&p->since, now, limit_ns);
    if (tell) {
        o.age_ns = now - p->since;
        wf_overdue_note_waiters(&o, &p->queue, w);
        wf_overdue_note_handed(&o, wf_lock_wait_of_waiter(p->handed.first));
    }
    wf_unlock(&p->lock);
    if (tell)
        wf_overdue_tell(&o);
}

static weft_future semaphore_future(struct wf_permits *p, uint64_t n, const char *site)
{
    return wf_lock_wait_new(&semaphore_type, p, (uint32_t)n, site);
}

WF_NOINLINE WF_SUSPENDS static int semaphore_wait(struct wf_permits *p, struct wf_fiber *f,
                                                  uint64_t n, const char *site)
{
    weft_future future = semaphore_future(p, n, site);

    wf_lock_wait_of(&future)->self = WF_WAIT_SOLE;
    return (int)wf_lock_await(f, &future, semaphore_look);
}

int weft_semaphore_acquire_many_at(const char *site, weft_semaphore *s, uint64_t n)
{
    struct wf_permits *p = semaphore_of(s);
    struct wf_fiber *f;
    int rc = semaphore_check("weft_semaphore_acquire", s, n);

    if (wf_unlikely(rc < 0))
        return rc;
    rc = wf_await_enter(&f, "weft_semaphore_acquire");
    if (wf_unlikely(rc < 0))
        return rc;
    rc = wf_permits_try(p, n);
    return wf_likely(rc != -EAGAIN) ? rc : semaphore_wait(p, f, n, site);
}

int weft_semaphore_acquire_at(const char *site, weft_semaphore *s)
{
    return weft_semaphore_acquire_many_at(site, s, 1);
}

int weft_semaphore_try_acquire_many(weft_semaphore *s, uint64_t n)
{
    int rc = semaphore_check("weft_semaphore_try_acquire", s, n);

    return rc < 0 ? rc : wf_permits_try(semaphore_of(s), n);
}

int weft_semaphore_try_acquire(weft_semaphore *s)
{
    return weft_semaphore_try_acquire_many(s, 1);
}

int weft_semaphore_acquire_many_blocking_at(const char *site, weft_semaphore *s, uint64_t n)
{
    weft_future future;
    int rc = semaphore_check("weft_semaphore_acquire_blocking", s, n);

    if (rc == 0)
        rc = wf_thread_check_plain("weft_semaphore_acquire_blocking");
    if (rc < 0)
        return rc;
    rc = wf_permits_try(semaphore_of(s), n);
    if (rc != -EAGAIN)
        return rc;
    future = semaphore_future(semaphore_of(s), n, site);
    return (int)wf_thread_await(&future, WEFT_FOREVER);
}

int weft_semaphore_acquire_blocking_at(const char *site, weft_semaphore *s)
{
    return weft_semaphore_acquire_many_blocking_at(site, s, 1);
}

weft_future weft_semaphore_acquire_many_future_at(const char *site, weft_semaphore *s, uint64_t n)
{
    int rc = semaphore_check("weft_semaphore_acquire_future", s, n);

    if (rc < 0 || n == 0)
        return weft_ready_future(rc < 0 ? rc : wf_permits_try(semaphore_of(s), 0));
    return semaphore_future(semaphore_of(s), n, site);
}

weft_future weft_semaphore_acquire_future_at(const char *site, weft_semaphore *s)
{
    return weft_semaphore_acquire_many_future_at(site, s, 1);
}

int weft_semaphore_release(weft_semaphore *s, uint64_t n)
{
    bool passed;
    int rc;

    if (wf_unlikely(!s))
        return wf_misuse(-EINVAL, "weft_semaphore_release: s is NULL");
    rc = n > WEFT_SEMAPHORE_MAX ? -EOVERFLOW
                                : wf_permits_add(semaphore_of(s), n, WEFT_SEMAPHORE_MAX, &passed);
    if (wf_unlikely(rc < 0))
        return wf_misuse(rc, "weft_semaphore_release: %llu more permits are too many",
                         (unsigned long long)n);
    return 0;
}

uint64_t weft_semaphore_forget(weft_semaphore *s, uint64_t n)
{
    if (!s) {
        (void)wf_misuse(-EINVAL, "weft_semaphore_forget: s is NULL");
        return 0;
    }
    return wf_permits_remove(semaphore_of(s), n);
}

void weft_semaphore_close(weft_semaphore *s)
{
    if (s)
        wf_permits_close(semaphore_of(s), WEFT_SEMAPHORE_MAX);
}

bool weft_semaphore_is_closed(const weft_semaphore *s)
{
    /* relaxed: as it is just now */
    return s && (wf_load_u64(&semaphore_of(s)->word, WF_RELAXED) & WF_PERMITS_CLOSED);
}

uint64_t weft_semaphore_available(const weft_semaphore *s)
{
    return s ? wf_permits_free(semaphore_of(s)) : 0;
}

/* The same behind the macros' names, for other languages. */
int(weft_semaphore_acquire)(weft_semaphore *s)
{
    return weft_semaphore_acquire_many_at("?", s, 1);
}

int(weft_semaphore_acquire_many)(weft_semaphore *s, uint64_t n)
{
    return weft_semaphore_acquire_many_at("?", s, n);
}

int(weft_semaphore_acquire_blocking)(weft_semaphore *s)
{
    return weft_semaphore_acquire_many_blocking_at("?", s, 1);
}

int(weft_semaphore_acquire_many_blocking)(weft_semaphore *s, uint64_t n)
{
    return weft_semaphore_acquire_many_blocking_at("?", s, n);
}

weft_future(weft_semaphore_acquire_future)(weft_semaphore *s)
{
    return weft_semaphore_acquire_many_future_at("?", s, 1);
}

weft_future(weft_semaphore_acquire_many_future)(weft_semaphore *s, uint64_t n)
{
    return weft_semaphore_acquire_many_future_at("?", s, n);
}
