/* SPDX-License-Identifier: MIT */
/*
 * drive.c - the current-thread runtime: whichever thread is in weft_block_on or a shutdown works.
 *
 * IDEA     One thread at a time drives, with the only seat. Others that wait for a task of theirs sleep until that
 *          has ended, or until it is their turn.
 * ORDER    driver: its lowest bit is taken (acquire) and given back (release); the rest counts changes, for
 *          the sleepers.
 * TESTS    tests/api/test_runtime.c, tests/model/test_shutdown.c
 */
#include "base/sys.h"
#include "sched/life.h"

#include <errno.h>

bool wf_drive_begin(weft_runtime *rt)
{
    uint32_t old = wf_load_u32(&rt->driver, WF_RELAXED);

    /* acquire: pairs with wf_drive_end of the one before */
    return !(old & 1) && wf_cas_u32(&rt->driver, &old, old | 1, WF_ACQUIRE, WF_RELAXED);
}

void wf_drive_end(weft_runtime *rt)
{
    /* release: the seat's state, for who drives next */
    wf_add_u32(&rt->driver, 1, WF_RELEASE);
    wf_sys_futex_wake(&rt->driver, INT32_MAX);
}

void wf_drive(weft_runtime *rt, const struct weft_task *root, uint64_t until_ns)
{
    sigset_t pipe, before;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    wf_thread_block_sigpipe(&before);
    wf_worker_enter(&rt->worker[0]);
    wf_worker_run(&rt->worker[0], root, until_ns);
    wf_worker_leave(&rt->worker[0]);
    if (!sigismember(&before, SIGPIPE)) {
        wf_sys_signal_discard(&pipe);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
}

/* A thread that waits for its root task while another one drives. */
struct block_waiter {
    weft_wakeable wakeable;
    weft_runtime *rt;
    struct wf_atomic_u32 refs;
};

static void block_waiter_retain(weft_wakeable *w)
{
    wf_add_u32(&wf_container_of(w, struct block_waiter, wakeable)->refs, 1, WF_RELAXED);
}

static void block_waiter_wake(weft_wakeable *w)
{
    (void)w; /* the release that follows tells */
}

static void block_waiter_release(weft_wakeable *w)
{
    struct block_waiter *b = wf_container_of(w, struct block_waiter, wakeable);
    weft_runtime *rt = b->rt;

    /* release: after this b may be gone */
    wf_sub_u32(&b->refs, 1, WF_RELEASE);
    wf_add_u32(&rt->driver, 2, WF_RELEASE);
    wf_sys_futex_wake(&rt->driver, INT32_MAX);
}

static const weft_wakeable_type block_waiter_type = {block_waiter_retain, block_waiter_wake,
                                                     block_waiter_release};

int wf_drive_block(weft_runtime *rt, weft_task *root)
{
    struct block_waiter b = {.wakeable = {&block_waiter_type}, .rt = rt};
    weft_future ended = weft_join_future(root);
    weft_context cx = {{&b.wakeable}};
    bool waiting = weft_future_poll(&ended, &cx) == WEFT_PENDING;
    int rc = 0;

    while (waiting && rc == 0) {
        /* acquire: pairs with block_waiter_release, wf_drive_end and shutdown_stop */
        uint32_t seen = wf_load_u32(&rt->driver, WF_ACQUIRE);

        if (wf_load_u32(&b.refs, WF_ACQUIRE) == 0)
            break;
        if (wf_drive_begin(rt)) {
            wf_drive(rt, root, WEFT_FOREVER);
            wf_drive_end(rt);
        } else if ((seen & 1) && !wf_runtime_stopped(rt)) {
            wf_sys_futex_wait(&rt->driver, seen, WF_NO_TIMEOUT);
        }
        /* At the limit of a shutdown. Who drives then may be stuck in a task. relaxed: it only asks */
        if (wf_runtime_stopped(rt) && wf_load_u32(&b.refs, WF_RELAXED) != 0)
            rc = -ESHUTDOWN;
    }
    weft_future_drop(&ended);
    /* The end of the task may have taken b's waker a moment ago. acquire: pairs with block_waiter_release */
    while (wf_load_u32(&b.refs, WF_ACQUIRE))
        wf_sys_thread_yield();
    return rc;
}

void wf_drive_orphan(weft_runtime *rt)
{
    /* relaxed: who drove the task that gave it up is this thread */
    if (wf_load_u32(&rt->orphan, WF_RELAXED))
        (void)wf_shutdown_wait_tasks(rt, WEFT_FOREVER);
}
