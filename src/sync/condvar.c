/* SPDX-License-Identifier: MIT */
/*
 * condvar.c - condition variables: a notify that stores nothing, and a mutex given up meanwhile.
 *
 * IDEA     The wait stands in line before the mutex is given up, so who changes something under the mutex and signals
 *          finds it there. Taking the mutex again is a part of the wait that cannot be refused: it is shielded.
 * WHO      Any thread; waits by the holder of the mutex.
 * TESTS    tests/model/test_condvar.c, tests/api/test_condvar.c
 */
#include "base/log.h"
#include "sync/notify.h"
#include "task/await.h"
#include "task/thread_wait.h"

#include <errno.h>
#include <weft/condvar.h>

void weft_condvar_signal(weft_condvar *cv)
{
    if (cv)
        wf_notify_signal(&cv->notify_, WF_NOTIFY_FORGET);
    else
        (void)wf_misuse(-EINVAL, "weft_condvar_signal: NULL");
}

void weft_condvar_broadcast(weft_condvar *cv)
{
    if (cv)
        weft_notify_waiters(&cv->notify_);
    else
        (void)wf_misuse(-EINVAL, "weft_condvar_broadcast: NULL");
}

weft_future weft_condvar_wait_future(weft_condvar *cv)
{
    if (!cv)
        return weft_ready_future(wf_misuse(-EINVAL, "weft_condvar_wait_future: NULL"));
    return wf_notify_future(&cv->notify_);
}

static int condvar_check_held(const char *call, const weft_mutex *m)
{
    return weft_mutex_is_held(m)
               ? 0
               : wf_misuse(-EPERM, "%s: the caller does not hold the mutex", call);
}

/* The mutex as it is now says more than how the wait ended. */
static int condvar_result(int rc, int locked)
{
    return locked < 0 ? locked : rc;
}

int weft_condvar_wait_at(const char *site, weft_condvar *cv, weft_mutex *m)
{
    weft_shield shield;
    weft_future told;
    struct wf_fiber *f;
    int rc, locked;

    if (wf_unlikely(!cv || !m))
        return wf_misuse(-EINVAL, "weft_condvar_wait: NULL");
    rc = wf_await_enter(&f, "weft_condvar_wait");
    if (wf_likely(rc == 0))
        rc = condvar_check_held("weft_condvar_wait", m);
    if (wf_unlikely(rc < 0))
        return rc;
    told = wf_notify_future(&cv->notify_);
    wf_notify_place(&told, &f->cx);
    (void)weft_mutex_unlock(m);
    rc = (int)wf_await_future(f, &told);
    weft_shield_enter(&shield);
    locked = weft_mutex_lock_at(site, m);
    weft_shield_leave(&shield);
    return condvar_result(rc, locked);
}

int weft_condvar_wait_blocking_at(const char *site, weft_condvar *cv, weft_mutex *m)
{
    weft_future told;
    int rc;

    if (!cv || !m)
        return wf_misuse(-EINVAL, "weft_condvar_wait_blocking: NULL");
    rc = wf_thread_check_plain("weft_condvar_wait_blocking");
    if (rc == 0)
        rc = condvar_check_held("weft_condvar_wait_blocking", m);
    if (rc < 0)
        return rc;
    told = wf_notify_future(&cv->notify_);
    (void)weft_notify_enable(&told);
    (void)weft_mutex_unlock(m);
    rc = (int)wf_thread_await(&told, WEFT_FOREVER);
    return condvar_result(rc, weft_mutex_lock_blocking_at(site, m));
}

int weft_condvar_wait_while_at(const char *site, weft_condvar *cv, weft_mutex *m,
                               weft_condition *holds, void *arg)
{
    struct wf_fiber *f;
    int rc;

    if (!cv || !m || !holds)
        return wf_misuse(-EINVAL, "weft_condvar_wait_while: NULL");
    rc = wf_await_enter(&f, "weft_condvar_wait_while");
    if (rc == 0)
        rc = condvar_check_held("weft_condvar_wait_while", m);
    if (rc < 0)
        return rc;
    while (holds(arg)) {
        if (rc < 0)
            return rc;
        rc = weft_condvar_wait_at(site, cv, m);
        /* What it asks about may be half done. */
        if (rc == -EOWNERDEAD)
            return rc;
    }
    return 0;
}

/* The functions behind the macros of the same name. */
int(weft_condvar_wait)(weft_condvar *cv, weft_mutex *m)
{
    return weft_condvar_wait_at(NULL, cv, m);
}

int(weft_condvar_wait_blocking)(weft_condvar *cv, weft_mutex *m)
{
    return weft_condvar_wait_blocking_at(NULL, cv, m);
}

int(weft_condvar_wait_while)(weft_condvar *cv, weft_mutex *m, weft_condition *holds, void *arg)
{
    return weft_condvar_wait_while_at(NULL, cv, m, holds, arg);
}
