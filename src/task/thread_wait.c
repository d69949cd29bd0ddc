/* SPDX-License-Identifier: MIT */
/*
 * thread_wait.c - a plain thread waits for a future.
 *
 * IDEA     The thread polls the future as a task would, with a waker for a wakeable on its own stack, and sleeps on a
 *          futex in between. Whatever can be awaited can be waited for by a thread, too.
 * OWNS     refs counts the wakers that were given away. Whoever took one out of where it was registered may
 *          still be about to call it when the future is ready; so the thread returns only when all are gone.
 * ORDER    woken: who wakes releases what it did before, the thread acquires it by taking the word back, and
 *          polls after that: a wake that comes later is found by the next look at the word.
 *          refs: each release of a waker releases, and the thread acquires: its frame is not touched any more.
 * TESTS    tests/api/test_thread_wait.c, tests/model/test_thread_wait.c
 */
#include "task/thread_wait.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "task/current.h"
#include "task/future.h"

#include <errno.h>
#include <weft/time.h>

struct thread_wait {
    weft_wakeable wakeable;
    struct wf_atomic_u32 woken; /* futex */
    struct wf_atomic_u32 refs;  /* futex */
};

static struct thread_wait *wait_of(weft_wakeable *w)
{
    return wf_container_of(w, struct thread_wait, wakeable);
}

static void wait_retain(weft_wakeable *w)
{
    /* relaxed: the caller holds one, or is the thread itself */
    (void)wf_add_u32(&wait_of(w)->refs, 1, WF_RELAXED);
}

static void wait_wake(weft_wakeable *w)
{
    struct thread_wait *wait = wait_of(w);

    /* release: pairs with the swap in wait_until_woken */
    if (!wf_swap_u32(&wait->woken, 1, WF_RELEASE))
        wf_sys_futex_wake(&wait->woken, 1);
}

static void wait_release(weft_wakeable *w)
{
    struct thread_wait *wait = wait_of(w);

    /* The thread may return as soon as it sees the last one gone; the wake then touches a futex word that may be
     * gone too, which the kernel bears: at worst another waiter on a reused address wakes in vain. release:
     * pairs with the load in wait_end */
    if (wf_sub_u32(&wait->refs, 1, WF_RELEASE) == 1)
        wf_sys_futex_wake(&wait->refs, 1);
}

static const weft_wakeable_type wait_type = {wait_retain, wait_wake, wait_release};

/* False: it is time. */
static bool wait_until_woken(struct thread_wait *wait, uint64_t until_ns)
{
    /* acquire: pairs with wait_wake */
    while (!wf_swap_u32(&wait->woken, 0, WF_ACQUIRE)) {
        uint64_t left = WF_NO_TIMEOUT;

        if (until_ns != WEFT_FOREVER) {
            uint64_t now = wf_clock_now();

            if (now >= until_ns)
                return false;
            left = until_ns - now;
        }
        (void)wf_sys_futex_wait(&wait->woken, 0, left);
    }
    return true;
}

static void wait_end(struct thread_wait *wait)
{
    uint32_t refs;

    /* acquire: pairs with wait_release */
    while ((refs = wf_load_u32(&wait->refs, WF_ACQUIRE)) != 0)
        (void)wf_sys_futex_wait(&wait->refs, refs, WF_NO_TIMEOUT);
}

ssize_t wf_thread_await(weft_future *f, uint64_t limit_ns)
{
    struct thread_wait wait = {.wakeable = {&wait_type}};
    weft_context cx = {{&wait.wakeable}};
    uint64_t until_ns = WEFT_FOREVER;
    ssize_t result;

    if (weft_future_poll(f, &cx) == WEFT_READY) {
        wait_end(&wait);
        return f->result;
    }
    if (limit_ns != WEFT_FOREVER)
        until_ns = weft_instant_add(wf_clock_now(), limit_ns);
    for (;;) {
        bool woken = wait_until_woken(&wait, until_ns);

        if (weft_future_poll(f, &cx) == WEFT_READY) {
            result = f->result;
            break;
        }
        if (!woken) {
            weft_future_drop(f);
            result = -ETIMEDOUT;
            break;
        }
    }
    wait_end(&wait);
    return result;
}

int wf_thread_check_plain(const char *call)
{
    const struct wf_thread *th = wf_thread_self();

    if (wf_unlikely(th && th->task))
        return wf_misuse(-EDEADLK, "%s: called inside a task, whose thread it would block", call);
    return 0;
}

static ssize_t thread_await(const char *call, weft_duration limit, weft_future *f)
{
    int rc;

    if (wf_unlikely(!f || !f->type))
        return wf_misuse(-EINVAL, "%s: the future is NULL or has no type", call);
    rc = wf_thread_check_plain(call);
    return rc < 0 ? rc : wf_thread_await(f, limit);
}

ssize_t weft_await_blocking(weft_future *f)
{
    return thread_await("weft_await_blocking", WEFT_FOREVER, f);
}

ssize_t weft_timeout_blocking(weft_duration limit, weft_future *f)
{
    return thread_await("weft_timeout_blocking", limit, f);
}
