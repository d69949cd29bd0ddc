/* SPDX-License-Identifier: MIT */
/*
 * test_seat.c - the guard of a seat: who may take it, and what becomes of a task in the LIFO slot
 * of a worker that is stuck.
 *
 * Without membarrier(2) no seat can be taken, and there is nothing to test.
 */
#include "sched/seat.h"

#include "base/sys.h"
#include "sched/relieve.h"
#include "support.h"

#include <pthread.h>
#include <stdlib.h>

static bool no_membarrier(void)
{
    return wf_sys_membarrier_register() < 0 || wf_sys_membarrier() < 0;
}

/* --- the guard alone --------------------------------------------------------------- */

TEST(a_seat_is_taken_once_and_not_while_its_holder_is_inside)
{
    struct wf_seat *s = aligned_alloc(64, (sizeof(*s) + 63) & ~(size_t)63);

    if (no_membarrier())
        TEST_SKIP("no membarrier");
    CHECK(s);
    *s = (struct wf_seat){0};
    CHECK(wf_seat_enter(s));
    CHECK(!wf_seat_take(s));
    CHECK(wf_seat_enter(s)); /* a refused taker leaves nothing behind */
    wf_seat_leave(s);
    CHECK(wf_seat_take(s));
    CHECK(!wf_seat_take(s));
    CHECK(!wf_seat_enter(s)); /* the holder sees it, and says that it is out again */
    wf_seat_leave(s);
    wf_seat_give_back(s);
    CHECK(wf_seat_enter(s));
    wf_seat_leave(s);
    free(s);
}

END_TEST

struct tug {
    struct wf_seat *seat;
    struct wf_atomic_u32 begun, done;
    uint64_t guarded; /* plain: by who holds or has taken the seat */
    uint64_t by_holder, taken, refused;
};

static void *tug_holder(void *arg)
{
    struct tug *t = arg;

    while (!wf_load_u32(&t->done, WF_RELAXED)) {
        if (wf_seat_enter(t->seat)) {
            t->guarded++;
            t->by_holder++;
            wf_store_u32(&t->begun, 1, WF_RELAXED);
        } else {
            t->refused++;
        }
        wf_seat_leave(t->seat);
        for (int i = 0; i < 5; i++) /* as if in a poll */
            wf_spin_pause();
    }
    return NULL;
}

TEST(holder_and_taker_are_never_inside_together)
{
    struct tug t = {0};
    uint64_t by_taker = 0, tries = test_scaled(40000);
    pthread_t holder;

    if (no_membarrier())
        TEST_SKIP("no membarrier");
    t.seat = aligned_alloc(64, (sizeof(*t.seat) + 63) & ~(size_t)63);
    CHECK(t.seat);
    *t.seat = (struct wf_seat){0};
    CHECK_EQ(0, pthread_create(&holder, NULL, tug_holder, &t));
    for (uint64_t i = 0; i < tries || !wf_load_u32(&t.begun, WF_RELAXED) || !by_taker; i++) {
        if (!wf_seat_take(t.seat))
            continue;
        t.guarded++;
        by_taker++;
        wf_seat_give_back(t.seat);
    }
    wf_store_u32(&t.done, 1, WF_RELAXED);
    CHECK_EQ(0, pthread_join(holder, NULL));
    /* An increment that was lost would show two inside at once. */
    CHECK_EQ(t.by_holder + by_taker, t.guarded);
    CHECK(by_taker > 0 && t.by_holder > 0);
    free(t.seat);
}

END_TEST

/* --- a stuck worker ------------------------------------------------------------------ */

struct stuck {
    weft_runtime *rt;
    weft_waker waker; /* of the one that waits */
    struct wf_atomic_u32 waiting, ran, holder_on;
};

static weft_poll stuck_wait_poll(weft_future *f, weft_context *cx)
{
    struct stuck *s = (struct stuck *)f->words[0]; /* NOLINT(performance-no-int-to-ptr) */

    f->result = 0;
    if (f->words[1]++)
        return WEFT_READY;
    s->waker = weft_context_waker(cx);
    wf_store_u32(&s->waiting, 1, WF_RELEASE);
    return WEFT_PENDING;
}

static const weft_future_type stuck_wait = {.poll = stuck_wait_poll, .name = "stuck"};

static int stuck_waiter(void *arg)
{
    struct stuck *s = arg;
    weft_future f = weft_future_of(&stuck_wait);

    f.words[0] = (uintptr_t)s;
    CHECK_EQ(0, weft_await(&f));
    wf_store_u32(&s->ran, 1, WF_RELEASE);
    return 0;
}

/* Wakes the other, so that it is in this worker's LIFO slot, and computes until it has run. */
static int stuck_hog(void *arg)
{
    struct stuck *s = arg;
    weft_task *waiter = weft_spawn(stuck_waiter, s);
    int result;

    while (!wf_load_u32(&s->waiting, WF_ACQUIRE))
        CHECK_EQ(0, weft_yield());
    weft_waker_wake(&s->waker);
    wf_store_u32(&s->holder_on, 1, WF_RELEASE);
    while (!wf_load_u32(&s->ran, WF_ACQUIRE))
        wf_spin_pause();
    CHECK_EQ(0, weft_join(waiter, &result));
    return result;
}

/* Whatever it is at. */
static bool relieve_now(struct wf_worker *w)
{
    return wf_relieve(w, wf_thread_poll_from(&w->thread));
}

TEST(a_task_behind_a_stuck_poll_is_moved_and_runs_elsewhere)
{
    /* Of two, the free one may not be the one that the moved task may go on on. */
    const struct test_flavour two = {"2 or 3 workers", WEFT_MULTI_THREAD, MIGRATING ? 3 : 2};

    if (no_membarrier())
        TEST_SKIP("no membarrier");
    for (uint64_t round = 0; round < test_scaled(200); round++) {
        struct stuck s = {.rt = test_runtime_new(&two)};
        weft_task *hog;
        int result = -1;

        CHECK_EQ(0, weft_spawn_on(s.rt, &hog, NULL, stuck_hog, &s));
        while (!wf_load_u32(&s.holder_on, WF_ACQUIRE))
            sched_yield();
        /* Only the relief gets it out of there, and only one of the seats has it. */
        while (!wf_load_u32(&s.ran, WF_ACQUIRE)) {
            for (unsigned i = 0; i < s.rt->workers; i++)
                (void)relieve_now(&s.rt->worker[i]);
            sched_yield();
        }
        CHECK_EQ(0, weft_join_blocking(hog, &result));
        CHECK_EQ(0, result);
        test_runtime_free(s.rt);
    }
}

END_TEST

/* --- rescues of a seat that is not stuck at all ------------------------------------------ */

struct pair {
    weft_waker waker[2]; /* under nothing: one side runs at a time, or the lock below */
    pthread_mutex_t lock;
    uint32_t turn; /* under lock */
    uint64_t hops;
};

/* Ready when it is our turn. */
static weft_poll pair_poll(weft_future *f, weft_context *cx)
{
    struct pair *p = (struct pair *)f->words[0]; /* NOLINT(performance-no-int-to-ptr) */
    weft_waker old = {0};
    bool ready;

    (void)pthread_mutex_lock(&p->lock);
    ready = p->turn == f->words[1];
    old = p->waker[f->words[1]];
    p->waker[f->words[1]] = ready ? (weft_waker){0} : weft_context_waker(cx);
    (void)pthread_mutex_unlock(&p->lock);
    weft_waker_drop(&old);
    f->result = 0;
    return ready ? WEFT_READY : WEFT_PENDING;
}

static void pair_drop(weft_future *f)
{
    struct pair *p = (struct pair *)f->words[0]; /* NOLINT(performance-no-int-to-ptr) */
    weft_waker old;

    (void)pthread_mutex_lock(&p->lock);
    old = p->waker[f->words[1]];
    p->waker[f->words[1]] = (weft_waker){0};
    (void)pthread_mutex_unlock(&p->lock);
    weft_waker_drop(&old);
}

static const weft_future_type pair_type = {.poll = pair_poll, .drop = pair_drop, .name = "pair"};

static int pair_side(struct pair *p, uint32_t me)
{
    for (uint64_t i = 0; i < p->hops; i++) {
        weft_future f = weft_future_of(&pair_type);
        weft_waker other;

        f.words[0] = (uintptr_t)p;
        f.words[1] = me;
        CHECK_EQ(0, weft_await(&f));
        (void)pthread_mutex_lock(&p->lock);
        p->turn = 1 - me;
        other = p->waker[1 - me];
        p->waker[1 - me] = (weft_waker){0};
        (void)pthread_mutex_unlock(&p->lock);
        weft_waker_wake(&other);
    }
    return 0;
}

static int pair_ping(void *arg)
{
    return pair_side(arg, 0);
}

static int pair_pong(void *arg)
{
    return pair_side(arg, 1);
}

static int pair_all(void *arg)
{
    enum { PAIRS = 4 };

    static struct pair pairs[PAIRS];
    weft_task *tasks[2 * PAIRS];
    int result;

    for (unsigned i = 0; i < PAIRS; i++) {
        pairs[i] = (struct pair){.lock = PTHREAD_MUTEX_INITIALIZER, .hops = *(uint64_t *)arg};
        tasks[2 * i] = weft_spawn(pair_ping, &pairs[i]);
        tasks[2 * i + 1] = weft_spawn(pair_pong, &pairs[i]);
    }
    for (unsigned i = 0; i < 2 * PAIRS; i++) {
        CHECK_EQ(0, weft_join(tasks[i], &result));
        CHECK_EQ(0, result);
    }
    return 0;
}

struct reliever {
    weft_runtime *rt;
    struct wf_atomic_u32 done;
    uint64_t relieved;
};

static void *relieve_all_the_time(void *arg)
{
    struct reliever *r = arg;

    while (!wf_load_u32(&r->done, WF_ACQUIRE))
        for (unsigned i = 0; i < r->rt->workers; i++)
            r->relieved += relieve_now(&r->rt->worker[i]);
    return NULL;
}

TEST(reliefs_at_any_moment_lose_and_double_nothing)
{
    uint64_t hops = test_scaled(5000);

    if (no_membarrier())
        TEST_SKIP("no membarrier");
    for (size_t i = 1; i < test_flavour_count; i++) {
        struct reliever r = {.rt = test_runtime_new(&test_flavours[i])};
        pthread_t thread;
        int result = -1;

        CHECK_EQ(0, pthread_create(&thread, NULL, relieve_all_the_time, &r));
        CHECK_EQ(0, weft_block_on(r.rt, pair_all, &hops, &result));
        CHECK_EQ(0, result);
        wf_store_u32(&r.done, 1, WF_RELEASE);
        CHECK_EQ(0, pthread_join(thread, NULL));
        test_runtime_free(r.rt);
    }
}

END_TEST

TEST_MAIN("seat", a_seat_is_taken_once_and_not_while_its_holder_is_inside,
          holder_and_taker_are_never_inside_together,
          a_task_behind_a_stuck_poll_is_moved_and_runs_elsewhere,
          reliefs_at_any_moment_lose_and_double_nothing)
