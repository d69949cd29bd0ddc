/* SPDX-License-Identifier: MIT */
/*
 * relieve.c - a task that blocks or computes for long keeps its thread, and nothing else.
 *
 * IDEA     Everything on a seat but the LIFO slot can be taken by others at any time. So a stuck worker is
 *          relieved by giving its slot away, marking its seat (what the poll still wakes or makes goes to its
 *          queues, from which others take) and letting another thread work in its place: a sleeping worker, or
 *          else a stand-in, whose bare seat has queues only; it arms timers and registers descriptors with the
 *          seat that it stands in for, which stay when it goes. When the stuck poll ends, its
 *          worker goes on as before, and one stand-in is too many: the next one between two polls
 *          retires, hands on what it has, and waits to be called again.
 * INVARIANTS
 *     B1   stuck counts the seats that are RELIEVED, or about to be; active the stand-ins that poll. A stand-in
 *          retires only while active > stuck, under the lock, so that relieved workers never outnumber the
 *          threads in their place by that.
 *     B2   A stand-in that retires leaves nothing: its tasks are injected, one by one, as from outside.
 *     B3   Relieved is the poll that was looked at. Had it just ended, the next one would be relieved for what that
 *          did, and never be told of itself.
 * LOCKS    WF_RANK_RELIEF: calling, retiring, making threads, and who is single (single.c). Nothing is pushed under
 *          it, and nobody joined: a thread on its way out is in the program's hook perhaps.
 * ORDER    made: release when an entry is there, acquire by who walks over all seats. called: release,
 *          acquire: home is written before.
 * REJECTED Letting a stand-in adopt the stuck seat: the slab, the stacks and the counters of a seat belong to
 *          the thread in the poll, which may go on to use them while it computes.
 * TESTS    tests/api/test_stall.c, tests/unit/test_seat.c, tests/fault/test_stall.c, tests/model/test_seat.c,
 *          tests/model/test_relief.c
 */
#include "sched/relieve.h"

#include "base/clock.h"
#include "base/sys.h"
#include "sched/life.h"
#include "sched/migrate.h"
#include "sched/single.h"

#include <errno.h>
#include <weft/time.h>

#define STANDIN_IDLE_NS 1000000000u /* a stand-in that sleeps looks so often whether it is to go */

/* Where no monitor looks again. */
#define AGAIN_NS    1000000u
#define AGAIN_TRIES 10

static struct wf_standin *standin_of(struct wf_worker *w)
{
    return wf_container_of(w, struct wf_standin, worker);
}

unsigned wf_runtime_seats(const struct weft_runtime *rt)
{
    /* acquire: pairs with standin_make */
    return rt->workers + wf_load_u32(&rt->relief.made, WF_ACQUIRE);
}

struct wf_seat *wf_runtime_seat(const struct weft_runtime *rt, unsigned i)
{
    return i < rt->workers ? &rt->seats[i] : &rt->relief.standin[i - rt->workers]->seat;
}

int wf_relief_init(struct weft_runtime *rt)
{
    struct wf_relief *r = &rt->relief;

    wf_lock_init(&r->lock, WF_RANK_RELIEF);
    wf_store_u64(&r->again_at, WEFT_FOREVER, WF_RELAXED);
    r->max = rt->sole ? 0 : rt->set.config.max_standins;
    if (r->max == 0)
        return 0;
    r->standin = wf_sys_calloc(r->max, sizeof(struct wf_standin *));
    return r->standin ? 0 : -ENOMEM;
}

void wf_relief_release(struct weft_runtime *rt)
{
    struct wf_relief *r = &rt->relief;

    /* relaxed: nobody else is left */
    for (unsigned i = 0; i < wf_load_u32(&r->made, WF_RELAXED); i++) {
        wf_seat_release_bare(&r->standin[i]->seat);
        wf_sys_free(r->standin[i]);
    }
    wf_sys_free(r->standin);
}

bool wf_relieve(struct wf_worker *w, uint64_t poll)
{
    struct weft_runtime *rt = w->rt;

    /* B1: before, so that its end finds itself counted. relaxed: a number, looked at again */
    wf_add_u32(&rt->relief.stuck, 1, WF_RELAXED);
    if (!wf_seat_take(w->seat))
        goto refuse;
    /* B3: it stays until the seat is given back. Written before the worker left the seat to the poll. */
    if (wf_thread_poll_from(&w->thread) != poll || !wf_single_end(rt)) {
        wf_seat_give_back(w->seat);
        goto refuse;
    }
    wf_seat_relieve(w->seat);
    return true;

refuse:
    wf_sub_u32(&rt->relief.stuck, 1, WF_RELAXED);
    return false;
}

bool wf_relieve_end(struct wf_worker *w)
{
    if (!wf_seat_resume(w->seat))
        return false;
    wf_sub_u32(&w->rt->relief.stuck, 1, WF_RELAXED);
    return true;
}

/* --- the threads of stand-ins --- */

/* Everything to where others find it. */
static void standin_hand_on(struct wf_worker *w)
{
    struct weft_task *t;

    while ((t = wf_seat_drain(w->seat)))
        wf_runtime_inject(w->rt, t);
}

/* Wait to be called. False: it is time to go, for nobody has called for so long, or the runtime has stopped. */
static bool standin_wait(struct wf_standin *in)
{
    struct weft_runtime *rt = in->worker.rt;
    uint64_t until = weft_instant_add(wf_clock_now(), rt->set.config.thread_keep_alive);
    bool stay;

    /* acquire: pairs with relief_call */
    while (!wf_load_u32(&in->called, WF_ACQUIRE)) {
        uint64_t now = wf_clock_now();

        if (wf_runtime_stopped(rt))
            return false;
        if (now < until) {
            wf_sys_futex_wait(&in->called, 0, until - now);
            continue;
        }
        wf_lock(&rt->relief.lock);
        /* relaxed: under the lock */
        stay = wf_load_u32(&in->called, WF_RELAXED) != 0;
        in->started = stay;
        wf_unlock(&rt->relief.lock);
        if (!stay)
            return false;
    }
    /* relaxed: only set again once it has retired */
    wf_store_u32(&in->called, 0, WF_RELAXED);
    return !wf_runtime_stopped(rt);
}

/* For the metrics, waiting to be called is sleep. */
static void standin_asleep(struct wf_seat_counters *c, bool asleep)
{
    uint64_t now = wf_clock_now();

    if (!asleep)
        wf_count_u64(&c->parked_ns, now - wf_load_u64(&c->parked_at, WF_RELAXED));
    wf_store_u64(&c->parked_at, asleep ? now : 0, WF_RELAXED);
}

static void standin_work(struct wf_worker *w)
{
    weft_runtime *rt = w->rt;

    w->retired = false;
    standin_asleep(&w->seat->counters, false);
    wf_worker_enter(w);
    while (!w->retired && !wf_runtime_stopped(rt))
        /* It also wakes when it was idle for so long: nobody may need it any more. */
        wf_worker_run(w, NULL, weft_instant_add(wf_clock_now(), STANDIN_IDLE_NS));
    if (w->retired)
        standin_hand_on(w);
    wf_worker_leave(w);
    standin_asleep(&w->seat->counters, true);
    if (wf_runtime_stopped(rt))
        /* the next sleeper, as every worker that leaves */
        wf_hub_signal(&rt->hub);
    wf_lock(&rt->relief.lock);
    standin_of(w)->in_use = false;
    wf_unlock(&rt->relief.lock);
}

static void *standin_thread(void *arg)
{
    struct wf_standin *in = arg;
    weft_runtime *rt = in->worker.rt;

    wf_thread_begin(rt, rt->set.thread_name);
    while (standin_wait(in))
        standin_work(&in->worker);
    wf_thread_end(rt);
    /* relaxed: who waits for it joins the thread then */
    wf_store_u32(&in->worker.left, 1, WF_RELAXED);
    wf_sys_futex_wake(&in->worker.left, INT32_MAX);
    wf_runtime_put(rt);
    return NULL;
}

/* Under the lock. NULL: no memory, or no more are allowed. */
static struct wf_standin *standin_make(struct weft_runtime *rt)
{
    struct wf_relief *r = &rt->relief;
    unsigned made = wf_load_u32(&r->made, WF_RELAXED);
    struct wf_standin *in;

    if (made == r->max)
        return NULL;
    in = wf_runtime_alloc(sizeof(*in));
    if (!in)
        return NULL;
    if (wf_seat_init_bare(&in->seat, rt, rt->workers + made, true, rt->set.config.rng_seed) < 0) {
        wf_sys_free(in);
        return NULL;
    }
    in->worker.rt = rt;
    in->worker.seat = &in->seat;
    in->worker.standin = true;
    wf_store_u64(&in->seat.counters.parked_at, rt->started_at, WF_RELAXED);
    r->standin[made] = in;
    /* release: the entry, for who walks over all seats */
    wf_store_u32(&r->made, made + 1, WF_RELEASE);
    return in;
}

/* Under the lock: one that does nothing, with a thread if there is one. One whose thread is on its way out cannot be
 * had: it may be in the program's hook. */
static struct wf_standin *standin_find(struct weft_runtime *rt)
{
    struct wf_relief *r = &rt->relief;
    struct wf_standin *bare = NULL;

    for (unsigned i = 0; i < wf_load_u32(&r->made, WF_RELAXED); i++) {
        struct wf_standin *in = r->standin[i];

        if (in->in_use)
            continue;
        if (in->started)
            return in;
        if (!in->joinable)
            bare = bare ? bare : in;
    }
    return bare ? bare : standin_make(rt);
}

/* Under the lock: one whose thread has done all that it does, and was not joined; NULL: there is none. */
static struct wf_standin *standin_find_left(struct weft_runtime *rt)
{
    struct wf_relief *r = &rt->relief;

    /* Once stopped, they are wf_relief_join's. */
    for (unsigned i = 0; i < wf_load_u32(&r->made, WF_RELAXED) && !wf_runtime_stopped(rt); i++) {
        struct wf_standin *in = r->standin[i];

        /* relaxed: the join orders; set by its last steps, without the lock */
        if (in->joinable && !in->started && wf_load_u32(&in->worker.left, WF_RELAXED))
            return in;
    }
    return NULL;
}

/* Join one of those. False: there is none. */
static bool standin_reap(struct weft_runtime *rt)
{
    struct wf_standin *in;
    pthread_t handle;

    wf_lock(&rt->relief.lock);
    in = standin_find_left(rt);
    if (!in) {
        wf_unlock(&rt->relief.lock);
        return false;
    }
    in->joinable = false;
    /* Its own only until another is started in its place. */
    handle = in->worker.handle;
    wf_unlock(&rt->relief.lock);
    (void)pthread_join(handle, NULL);
    return true;
}

/* Under the lock. */
static int standin_start(struct wf_standin *in)
{
    weft_runtime *rt = in->worker.rt;
    int rc;

    wf_assert(!in->joinable);
    wf_store_u32(&in->worker.left, 0, WF_RELAXED);
    rc = wf_thread_start(rt, &in->worker.handle, standin_thread, in);
    in->started = rc == 0;
    in->joinable = rc == 0 && !rt->relief.detached;
    if (rc == 0 && rt->relief.detached)
        (void)pthread_detach(in->worker.handle);
    return rc;
}

/* --- as many as are needed --- */

/* How many stand-ins are missing, if there is something to do for them? A glance: it is repeated. */
static unsigned relief_missing(struct weft_runtime *rt)
{
    /* relaxed: numbers that move */
    unsigned stuck = wf_load_u32(&rt->relief.stuck, WF_RELAXED);
    unsigned active = wf_load_u32(&rt->relief.active, WF_RELAXED);

    return stuck > active ? stuck - active : 0;
}

/* Is at least one thread left that is not stuck? */
static bool relief_all_stuck(const struct weft_runtime *rt, unsigned missing)
{
    return missing >= rt->workers;
}

/* Whose timers and descriptors a stand-in looks after: a stuck worker's, or any's. Not a stand-in's, whose own home may
 * change. */
static struct wf_seat *relief_home(const struct weft_runtime *rt)
{
    for (unsigned i = rt->workers; i-- > 0;)
        /* relaxed: a glance: all seats are looked after */
        if (wf_load_u32(&rt->seats[i].taken, WF_RELAXED) == WF_SEAT_RELIEVED)
            return &rt->seats[i];
    return rt->seats;
}

/* Under the lock. False: none can be had. */
static bool relief_call(struct weft_runtime *rt)
{
    struct wf_standin *in = standin_find(rt);

    if (!in)
        return false;
    if (!in->started && standin_start(in) < 0)
        return false;
    in->in_use = true;
    in->worker.home = relief_home(rt);
    wf_add_u32(&rt->relief.active, 1, WF_RELAXED);
    /* release: home; pairs with standin_wait */
    wf_store_u32(&in->called, 1, WF_RELEASE);
    wf_sys_futex_wake(&in->called, 1);
    return true;
}

unsigned wf_relief_balance(struct weft_runtime *rt)
{
    unsigned missing;

    /* relaxed: a number that moves */
    if (wf_load_u32(&rt->relief.stuck, WF_RELAXED) == 0)
        return 0;
    /* Who sleeps sees to timers and descriptors, and is told of work; also when no thread is missing. What the
     * stuck polls left or armed before they were relieved, nobody has told of: W4 and A1 count on their end. */
    wf_fence_seq_cst();
    if (wf_idle_any_asleep(&rt->idle)) {
        wf_worker_alarm_all(rt);
        if (wf_worker_work_waits(rt, NULL) && wf_idle_notify(&rt->idle))
            wf_hub_signal(&rt->hub);
        return 0;
    }
    missing = relief_missing(rt);
    if (missing == 0)
        return 0;
    if (!relief_all_stuck(rt, missing) && !wf_worker_work_waits(rt, NULL))
        return 0;
    while (standin_reap(rt))
        continue;
    wf_lock(&rt->relief.lock);
    /* One at a time: it may find that there is nothing to do for a second. N2 of single.c: while it is single, the
     * stall that is counted has not begun, and who begins it asks again. */
    missing = rt->single ? 0 : relief_missing(rt);
    if (missing && !wf_runtime_stopped(rt) && relief_call(rt))
        missing = 0;
    wf_unlock(&rt->relief.lock);
    return missing;
}

/* By who is about to block. Where there is a monitor it sees to the rest: what is missing now, or only later, when more
 * work waits. Else the other workers do, and if none is left, this thread has the time. */
static void relief_ask(struct weft_runtime *rt)
{
    unsigned missing = wf_relief_balance(rt);

    if (rt->set.monitor)
        return;
    for (int tries = 0; tries < AGAIN_TRIES && relief_all_stuck(rt, missing); tries++) {
        struct wf_atomic_u32 nobody = {0};

        (void)wf_sys_futex_wait(&nobody, 0, AGAIN_NS);
        missing = wf_relief_balance(rt);
    }
    /* relaxed: a request */
    if (relief_missing(rt))
        wf_store_u64(&rt->relief.again_at, 0, WF_RELAXED);
}

void wf_relief_again(struct weft_runtime *rt, uint64_t now_ns)
{
    uint64_t at = wf_load_u64(&rt->relief.again_at, WF_RELAXED);

    /* relaxed: one of all workers asks */
    if (at > now_ns || !wf_cas_u64(&rt->relief.again_at, &at, WEFT_FOREVER, WF_RELAXED, WF_RELAXED))
        return;
    (void)wf_relief_balance(rt);
    if (relief_missing(rt))
        wf_store_u64(&rt->relief.again_at, now_ns + AGAIN_NS, WF_RELAXED);
}

bool wf_relieve_here(struct wf_thread *th)
{
    struct wf_worker *w = wf_worker_of(th);

    /* The guard is open in a poll: its own holder takes the seat as the monitor would. Refused: somebody has
     * relieved it before, this very task perhaps. */
    if (!wf_relieve(w, wf_thread_poll_from(th)))
        return false;
    relief_ask(w->rt);
    return true;
}

void wf_relieve_over(struct wf_thread *th)
{
    struct wf_worker *w = th ? wf_worker_of(th) : NULL;

    if (w)
        (void)wf_relieve_end(w);
}

unsigned wf_relief_threads(struct weft_runtime *rt)
{
    struct wf_relief *r = &rt->relief;
    unsigned count = 0;

    wf_lock(&r->lock);
    /* relaxed: made only under the lock; left by a thread that goes at the runtime's end */
    for (unsigned i = 0; i < wf_load_u32(&r->made, WF_RELAXED); i++)
        count += r->standin[i]->started && !wf_load_u32(&r->standin[i]->worker.left, WF_RELAXED);
    wf_unlock(&r->lock);
    return count;
}

bool wf_standin_retire(struct wf_worker *w)
{
    struct wf_relief *r = &w->rt->relief;

    /* relaxed: a glance, as most often there is no change */
    if (wf_load_u32(&r->active, WF_RELAXED) <= wf_load_u32(&r->stuck, WF_RELAXED))
        return false;
    wf_lock(&r->lock);
    /* B1 */
    if (wf_load_u32(&r->active, WF_RELAXED) > wf_load_u32(&r->stuck, WF_RELAXED)) {
        wf_sub_u32(&r->active, 1, WF_RELAXED);
        w->retired = true;
    }
    wf_unlock(&r->lock);
    return w->retired;
}

/* --- the end --- */

void wf_relief_stop(struct weft_runtime *rt)
{
    struct wf_relief *r = &rt->relief;

    wf_lock(&r->lock);
    for (unsigned i = 0; i < wf_load_u32(&r->made, WF_RELAXED); i++) {
        /* release: the phase is stopped */
        wf_store_u32(&r->standin[i]->called, 1, WF_RELEASE);
        wf_sys_futex_wake(&r->standin[i]->called, 1);
    }
    wf_unlock(&r->lock);
}

bool wf_relief_join(struct weft_runtime *rt, uint64_t until_ns)
{
    struct wf_relief *r = &rt->relief;
    bool all = true;

    /* Stopped: none is made or started any more. relaxed: the lock of wf_relief_stop */
    for (unsigned i = 0; i < wf_load_u32(&r->made, WF_RELAXED); i++) {
        struct wf_standin *in = r->standin[i];

        if (in->joinable)
            all &= wf_shutdown_join(&in->worker, until_ns);
    }
    return all;
}

void wf_relief_detach(struct weft_runtime *rt)
{
    struct wf_relief *r = &rt->relief;

    wf_lock(&r->lock);
    r->detached = true;
    for (unsigned i = 0; i < wf_load_u32(&r->made, WF_RELAXED); i++) {
        if (r->standin[i]->joinable)
            (void)pthread_detach(r->standin[i]->worker.handle);
        r->standin[i]->joinable = false;
    }
    wf_unlock(&r->lock);
}
