/* SPDX-License-Identifier: MIT */
/*
 * set_once.c - a pointer that is set once, and waited for.
 *
 * IDEA     Once it is set nothing changes any more: then a load answers, and no lock is taken but by who was in line.
 * WHO      Any thread.
 * ORDER    The value is written under the lock and read without: release in weft_set_once_set, acquire in
 *          set_once_value. It carries what it points at.
 * TESTS    tests/model/test_once.c, tests/api/test_once.c
 */
#include "base/log.h"
#include "sync/wait.h"
#include "task/await.h"
#include "task/thread_wait.h"

#include <errno.h>
#include <weft/once.h>

/* A weft_set_once, from inside. */
struct set_once {
    struct wf_lock lock;
    struct wf_waitq line;       /* under the lock */
    struct wf_atomic_ptr value; /* set once, under the lock */
};

_Static_assert(sizeof(struct set_once) <= sizeof(weft_set_once), "weft_set_once is too small");

static struct set_once *set_once_of(weft_set_once *o)
{
    return (struct set_once *)(void *)o->words_;
}

static void *set_once_value(const struct set_once *o)
{
    /* acquire: pairs with weft_set_once_set */
    return wf_load_ptr(&o->value, WF_ACQUIRE);
}

int weft_set_once_set(weft_set_once *once, void *value)
{
    struct set_once *o;

    if (!once || !value)
        return wf_misuse(-EINVAL, "weft_set_once_set: NULL");
    o = set_once_of(once);
    wf_lock(&o->lock);
    /* relaxed: under the lock */
    if (wf_load_ptr(&o->value, WF_RELAXED)) {
        wf_unlock(&o->lock);
        return -EALREADY;
    }
    /* release: pairs with set_once_value; carries what it points at */
    wf_store_ptr(&o->value, value, WF_RELEASE);
    wf_waitq_open(&o->lock, &o->line, 1);
    return 0;
}

void *weft_set_once_get(const weft_set_once *o)
{
    return o ? set_once_value((const struct set_once *)(const void *)o->words_) : NULL;
}

bool weft_set_once_is_set(const weft_set_once *o)
{
    return weft_set_once_get(o) != NULL;
}

/* --- waiting --- */

/* Under the lock. */
static bool set_once_look(struct wf_wait *w, ssize_t *result)
{
    struct set_once *o = w->object;

    *result = 0;
    /* relaxed: under the lock */
    return wf_load_ptr(&o->value, WF_RELAXED) != NULL;
}

static weft_poll set_once_poll(weft_future *f, weft_context *cx)
{
    struct set_once *o = wf_wait_of(f)->object;

    if (!wf_coop_proceed(cx))
        return WEFT_PENDING;
    if (!wf_wait_is_placed(f) && set_once_value(o)) {
        f->result = 0;
        return WEFT_READY;
    }
    if (wf_wait_poll(f, cx, &o->lock, &o->line, set_once_look) == WEFT_READY)
        return WEFT_READY;
    wf_coop_restore();
    return WEFT_PENDING;
}

static void set_once_drop(weft_future *f)
{
    struct wf_wait *w = wf_wait_of(f);
    weft_wakeable *old = NULL;
    struct set_once *o = w->object;

    wf_lock(&o->lock);
    if (w->waiter.state == WF_WAITER_QUEUED)
        old = wf_waitq_take(&o->line, &w->waiter, WF_WAITER_IDLE);
    wf_unlock(&o->lock);
    wf_wakeable_release(old);
}

static const weft_future_type set_once_type = {set_once_poll, set_once_drop, "set_once"};

weft_future weft_set_once_wait_future(weft_set_once *o)
{
    weft_future f = {.type = &set_once_type};

    if (!o)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_set_once_wait_future: NULL"));
    wf_wait_of(&f)->object = set_once_of(o);
    return f;
}

static int set_once_done(int rc, const struct set_once *o, void **value)
{
    if (rc == 0 && value)
        *value = set_once_value(o);
    return rc;
}

int weft_set_once_wait(weft_set_once *once, void **value)
{
    struct set_once *o;
    weft_future future;
    struct wf_fiber *f;
    int rc;

    if (wf_unlikely(!once))
        return wf_misuse(-EINVAL, "weft_set_once_wait: NULL");
    o = set_once_of(once);
    rc = wf_await_enter(&f, "weft_set_once_wait");
    if (rc == 0 && !set_once_value(o)) {
        future = weft_set_once_wait_future(once);
        rc = (int)wf_await_future(f, &future);
    }
    return set_once_done(rc, o, value);
}

int weft_set_once_wait_blocking(weft_set_once *once, void **value)
{
    struct set_once *o;
    weft_future future;
    int rc;

    if (!once)
        return wf_misuse(-EINVAL, "weft_set_once_wait_blocking: NULL");
    o = set_once_of(once);
    rc = wf_thread_check_plain("weft_set_once_wait_blocking");
    if (rc == 0 && !set_once_value(o)) {
        future = weft_set_once_wait_future(once);
        rc = (int)wf_thread_await(&future, WEFT_FOREVER);
    }
    return set_once_done(rc, o, value);
}
