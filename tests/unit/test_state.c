/* SPDX-License-Identifier: MIT */
/*
 * test_state.c - the transitions of a task's state word: each function from each state that can be
 * reached, against a model; then all of them at once from threads.
 *
 * There is no runtime here: the test is the scheduler, and its run queue has room for one task, for
 * a task may be queued only once.
 */
#include "task/state.h"

#include "base/rand.h"
#include "support.h"
#include "task/on_end.h"
#include "task/waker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

/* --- a scheduler of one task ------------------------------------------------------ */

struct lab {
    struct wf_scheduler sched; /* first */
    struct wf_atomic_u32 queued;
    struct wf_atomic_u32 pushes;
};

static void lab_push(struct lab *lab)
{
    /* acq_rel: the task moves with it. Queued twice would be two runners. */
    CHECK_EQ(0, wf_swap_u32(&lab->queued, 1, WF_ACQ_REL));
    wf_add_u32(&lab->pushes, 1, WF_RELAXED);
}

static bool lab_pop(struct lab *lab)
{
    return wf_swap_u32(&lab->queued, 0, WF_ACQ_REL) == 1;
}

static void lab_woken(struct wf_scheduler *s, struct weft_task *t)
{
    (void)t;
    lab_push(wf_container_of(s, struct lab, sched));
}

static void lab_spawned(struct wf_scheduler *s, struct wf_thread *th, struct weft_task *t)
{
    (void)th;
    lab_woken(s, t);
}

static const struct wf_scheduler_ops lab_ops = {.woken = lab_woken, .spawned = lab_spawned};

static weft_poll lab_never_polled(void *self, weft_context *cx)
{
    (void)self;
    (void)cx;
    test_failed(__FILE__, __LINE__, "the user's function was called");
}

static const weft_async_type lab_type = {.poll = lab_never_polled,
                                         .size = sizeof(weft_async),
                                         .name = "lab"};

static struct weft_task *lab_task(struct lab *lab, unsigned handles)
{
    weft_async state = {0};
    struct weft_task *t;

    *lab = (struct lab){.sched = {.ops = &lab_ops}};
    CHECK_EQ(0, wf_spawn_async_on(&lab->sched, &t, NULL, &lab_type, &state));
    while (--handles)
        wf_task_retain(t);
    return t;
}

/* --- the table ---------------------------------------------------------------------- */

struct word {
    bool running, notified, complete, cancelled, claim, waker, on_end, interrupted;
    unsigned refs;
};

enum op {
    NOTIFY,
    NOTIFY_PUT,
    CANCEL,
    INTERRUPT,
    UNINTERRUPT,
    START,
    PARK,
    RESUME,
    COMPLETE,
    RETAIN,
    RELEASE,
    CLAIM,
    ARM,
    DISARM,
    UNWATCH,
    OPS
};

static const char *const op_names[OPS] = {
    "notify",   "notify_put", "cancel",  "interrupt", "uninterrupt", "start",  "park",   "resume",
    "complete", "retain",     "release", "claim",     "arm",         "disarm", "unwatch"};

#define REFS_MAX 4

static uint64_t word_pack(const struct word *w)
{
    return (w->running ? WF_TASK_RUNNING : 0) | (w->notified ? WF_TASK_NOTIFIED : 0) |
           (w->complete ? WF_TASK_COMPLETE : 0) | (w->cancelled ? WF_TASK_CANCELLED : 0) |
           (w->claim ? WF_TASK_JOIN_CLAIM : 0) | (w->waker ? WF_TASK_JOIN_WAKER : 0) |
           (w->on_end ? WF_TASK_ON_END : 0) | (w->interrupted ? WF_TASK_INTERRUPTED : 0) |
           w->refs * WF_TASK_REF;
}

/* References besides the life reference, and besides what became of it. */
static unsigned word_handles(const struct word *w)
{
    return w->refs - (!w->complete || w->on_end);
}

static bool op_legal(const struct word *w, enum op op)
{
    switch (op) {
    case NOTIFY:
    case CANCEL:
    case INTERRUPT:
        return word_handles(w) > 0;
    case UNINTERRUPT:
        return w->running && w->interrupted;
    case CLAIM:
        return word_handles(w) > 0;
    case RETAIN:
        return w->refs < REFS_MAX;
    case NOTIFY_PUT:
    case RELEASE:
        /* The joiner keeps its handle. */
        return word_handles(w) > (w->claim && !w->complete ? 1u : 0u);
    case START:
        return w->notified && !w->running;
    case PARK:
    case RESUME:
    case COMPLETE:
        return w->running;
    case ARM:
        return w->claim && !w->waker && !w->on_end;
    case DISARM:
        return w->claim && w->waker;
    case UNWATCH:
        return w->on_end;
    case OPS:
        break;
    }
    return false;
}

/* What op makes of w, and what it answers (0 where it answers nothing). */
static int op_expect(struct word *w, enum op op)
{
    bool idle = !w->running && !w->notified && !w->complete;

    switch (op) {
    case NOTIFY:
        if (!w->complete)
            w->notified = true;
        return idle;
    case NOTIFY_PUT:
        if (!w->complete)
            w->notified = true;
        w->refs--;
        return idle;
    case CANCEL:
        if (w->complete || w->cancelled)
            return 0;
        w->notified = w->cancelled = true;
        return idle;
    case INTERRUPT:
        if (w->complete)
            return 0;
        w->notified = w->interrupted = true;
        return idle;
    case UNINTERRUPT:
        w->interrupted = false;
        return 0;
    case START:
        w->notified = false;
        w->running = true;
        return 0;
    case PARK:
        w->running = false;
        return w->notified;
    case RESUME:
        w->notified = false;
        return 0;
    case COMPLETE:
        w->running = w->notified = false;
        w->complete = true;
        w->refs -= !w->on_end;
        return w->waker || w->on_end; /* the joiner is woken, the record told */
    case RETAIN:
        w->refs++;
        return 0;
    case RELEASE:
        w->refs--;
        return 0;
    case CLAIM:
        if (w->claim)
            return 0;
        w->claim = true;
        return 1;
    case ARM:
        if (w->complete)
            return 0;
        w->waker = true;
        return 1;
    case DISARM:
        if (w->complete)
            return 0;
        w->waker = w->claim = false;
        return 1;
    case UNWATCH:
        if (w->complete)
            return 0;
        w->on_end = w->claim = false;
        return 1;
    case OPS:
        break;
    }
    return -1;
}

/* A joiner that counts, and a record. */
struct bell {
    weft_wakeable wakeable;
    struct wf_on_end on_end;
    unsigned wakes, releases;
};

static void bell_ended(struct wf_on_end *e)
{
    struct bell *b = wf_container_of(e, struct bell, on_end);

    b->wakes++;
    b->releases++;
}

static void bell_retain(weft_wakeable *w)
{
    (void)w;
}

static void bell_wake(weft_wakeable *w)
{
    wf_container_of(w, struct bell, wakeable)->wakes++;
}

static void bell_release(weft_wakeable *w)
{
    wf_container_of(w, struct bell, wakeable)->releases++;
}

static const weft_wakeable_type bell_type = {bell_retain, bell_wake, bell_release};

static int op_run(struct weft_task *t, enum op op, struct bell *bell)
{
    switch (op) {
    case NOTIFY:
        return wf_task_notify(t);
    case NOTIFY_PUT:
        return wf_task_notify_put(t);
    case CANCEL:
        return wf_task_state_cancel(t);
    case INTERRUPT:
        return wf_task_state_interrupt(t);
    case UNINTERRUPT:
        wf_task_state_uninterrupt(t);
        return 0;
    case START:
        wf_task_state_start(t);
        return 0;
    case PARK:
        return wf_task_state_park(t);
    case RESUME:
        wf_task_state_resume(t);
        return 0;
    case COMPLETE:
        wf_task_state_complete(t);
        CHECK_EQ(bell->wakes, bell->releases);
        return (int)bell->wakes;
    case RETAIN:
        CHECK(wf_task_try_retain(t));
        return 0;
    case RELEASE:
        wf_task_release(t);
        return 0;
    case CLAIM:
        return wf_task_join_claim(t);
    case ARM:
        return wf_task_join_arm(t);
    case DISARM:
        return wf_task_join_disarm(t);
    case UNWATCH:
        return wf_task_state_unwatch(t);
    case OPS:
        break;
    }
    return -1;
}

static void table_check(const struct word *from, enum op op, const struct word *to, int answer)
{
    struct bell bell = {.wakeable = {&bell_type}};
    struct lab lab;
    struct weft_task *t = lab_task(&lab, 1);
    uint64_t want = to->refs ? word_pack(to) : 0, got;
    int said;

    t->joiner = from->waker && !from->complete ? &bell.wakeable : NULL;
    bell.on_end = (struct wf_on_end){.task = t, .ended = bell_ended};
    if (from->on_end)
        t->on_end = &bell.on_end;
    wf_store_u64(&t->state, word_pack(from), WF_RELAXED);
    said = op_run(t, op, &bell);
    /* Also of a freed one: the slab keeps a state word without references in it. */
    got = wf_load_u64(&t->state, WF_RELAXED);
    if (want != got || said != answer)
        test_failed(__FILE__, __LINE__, "%s from 0x%llx: 0x%llx and %d, not 0x%llx and %d",
                    op_names[op], (unsigned long long)word_pack(from), (unsigned long long)got,
                    said, (unsigned long long)want, answer);
    if (to->refs == 0) {
        CHECK(!wf_task_try_retain(t));
        return;
    }
    t->joiner = NULL;
    wf_store_u64(&t->state, WF_TASK_COMPLETE | WF_TASK_REF, WF_RELAXED);
    wf_task_release(t);
}

TEST(every_transition_is_that_of_the_table)
{
    static struct word found[4096];
    static bool seen[(REFS_MAX + 1) << 8];
    size_t count = 2, cases = 0;

    found[0] = (struct word){.notified = true, .refs = 3};
    found[1] = (struct word){.notified = true, .refs = 3, .claim = true, .on_end = true};
    for (size_t at = 0; at < count; at++) {
        for (enum op op = 0; op < OPS; op++) {
            struct word to = found[at];
            uint64_t key;
            int answer;

            if (!op_legal(&found[at], op))
                continue;
            answer = op_expect(&to, op);
            table_check(&found[at], op, &to, answer);
            cases++;
            key = (word_pack(&to) & 63) | (uint64_t)to.on_end << 6 | (uint64_t)to.interrupted << 7 |
                  (uint64_t)to.refs << 8;
            if (to.refs == 0 || seen[key])
                continue;
            seen[key] = true;
            found[count++] = to;
        }
    }
    /* Guards against a model that is wrong about what is legal: it would end early. */
    CHECK(count > 240 && cases > 1700);
}

END_TEST

TEST(many_wakes_before_a_poll_make_one_poll)
{
    struct lab lab;
    struct weft_task *t = lab_task(&lab, 1);

    for (int i = 0; i < 100; i++)
        wf_task_wake(&t->wakeable);
    CHECK_EQ(1, wf_load_u32(&lab.pushes, WF_RELAXED));
    CHECK(lab_pop(&lab));
    wf_task_state_start(t);
    CHECK(!wf_task_state_park(t));
    CHECK(!lab_pop(&lab));
    for (int i = 0; i < 100; i++)
        wf_task_wake(&t->wakeable);
    CHECK(lab_pop(&lab));
    CHECK_EQ(2, wf_load_u32(&lab.pushes, WF_RELAXED));
    wf_task_state_start(t);
    wf_task_end(t);
    wf_task_release(t);
}

END_TEST

TEST(a_wake_during_a_poll_makes_exactly_one_more)
{
    struct lab lab;
    struct weft_task *t = lab_task(&lab, 1);

    CHECK(lab_pop(&lab));
    wf_task_state_start(t);
    for (int i = 0; i < 100; i++)
        wf_task_wake(&t->wakeable);
    CHECK_EQ(1, wf_load_u32(&lab.pushes, WF_RELAXED)); /* its runner pushes it, not the wakers */
    CHECK(wf_task_state_park(t));
    wf_task_state_start(t);
    CHECK(!wf_task_state_park(t));
    wf_task_wake(&t->wakeable);
    CHECK(lab_pop(&lab));
    wf_task_state_start(t);
    wf_task_end(t);
    CHECK_EQ(1, wf_task_refs(wf_load_u64(&t->state, WF_RELAXED)));
    wf_task_release(t);
}

END_TEST

TEST(a_wake_while_yielded_is_met_by_the_next_poll)
{
    struct lab lab;
    struct weft_task *t = lab_task(&lab, 1);

    CHECK(lab_pop(&lab));
    wf_task_state_start(t);
    lab_push(&lab); /* yields: RUNNING is kept */
    wf_task_wake(&t->wakeable);
    CHECK(lab_pop(&lab));
    wf_task_state_resume(t);
    CHECK(!wf_task_state_park(t));
    CHECK(!lab_pop(&lab));
    weft_cancel(t);
    CHECK(lab_pop(&lab));
    CHECK(wf_task_state_start(t) & WF_TASK_CANCELLED);
    wf_task_end(t);
    wf_task_release(t);
}

END_TEST

/* --- threads -------------------------------------------------------------------------- */

#define WAKERS 3

struct storm {
    struct lab lab;
    struct weft_task *task;
    uint64_t wakes; /* by each waker */
    struct wf_atomic_u64 words[WAKERS], turn;
    struct wf_atomic_u32 live, cancelled; /* wakers that go on */
    uint64_t seed;
    uint64_t polls, yields; /* runner only */
};

static void storm_linger(struct wf_rand *r)
{
    if (wf_rand_below(r, 64) == 0)
        sched_yield();
    for (uint32_t i = wf_rand_below(r, 64); i; i--)
        wf_spin_pause();
}

static void *storm_waker(void *arg)
{
    struct storm *s = arg;
    uint64_t me = wf_add_u64(&s->turn, 1, WF_RELAXED);
    struct wf_rand r;

    wf_rand_init(&r, s->seed + me);
    for (uint64_t i = 1; i <= s->wakes; i++) {
        /* relaxed: the wake carries it */
        wf_store_u64(&s->words[me], i, WF_RELAXED);
        wf_task_wake(&s->task->wakeable);
        storm_linger(&r);
    }
    wf_task_release(s->task);
    return NULL;
}

static void *storm_canceller(void *arg)
{
    struct storm *s = arg;
    struct wf_rand r;

    wf_rand_init(&r, s->seed + 100);
    for (uint32_t i = wf_rand_below(&r, (uint32_t)s->wakes * 2); i; i--)
        storm_linger(&r);
    wf_store_u32(&s->cancelled, 1, WF_RELAXED);
    weft_cancel(s->task);
    weft_detach(s->task);
    return NULL;
}

/* One poll. True: the task has ended. */
static bool storm_poll(struct storm *s, bool *yielded, struct wf_rand *r)
{
    struct weft_task *t = s->task;
    bool cancelled, all = true;

    s->polls++;
    if (*yielded)
        wf_task_state_resume(t);
    else
        wf_task_state_start(t);
    *yielded = false;
    cancelled = wf_task_is_cancelled(t);
    storm_linger(r);
    for (unsigned i = 0; i < WAKERS; i++)
        all &= wf_load_u64(&s->words[i], WF_RELAXED) == s->wakes;
    storm_linger(r);
    if (cancelled || all) {
        t->result = cancelled ? -ECANCELED : 7;
        wf_task_end(t);
        return true;
    }
    if (wf_rand_below(r, 4) == 0) {
        s->yields++;
        *yielded = true;
        lab_push(&s->lab);
    } else if (wf_task_state_park(t)) {
        lab_push(&s->lab);
    }
    return false;
}

static void *storm_runner(void *arg)
{
    struct storm *s = arg;
    struct wf_rand r;
    bool yielded = false, ended = false;

    wf_rand_init(&r, s->seed + 200);
    while (!ended) {
        /* A lost wake-up ends here, by the time limit of the test. */
        while (!lab_pop(&s->lab))
            sched_yield();
        ended = storm_poll(s, &yielded, &r);
    }
    return NULL;
}

static void storm_run(uint64_t seed, uint64_t wakes, bool cancel, bool join)
{
    struct storm s = {.wakes = wakes, .seed = seed};
    pthread_t threads[WAKERS + 2];
    unsigned count = 0;
    int result = 0;

    s.task = lab_task(&s.lab, 1 + WAKERS + cancel);
    CHECK_EQ(0, pthread_create(&threads[count++], NULL, storm_runner, &s));
    for (unsigned i = 0; i < WAKERS; i++)
        CHECK_EQ(0, pthread_create(&threads[count++], NULL, storm_waker, &s));
    if (cancel)
        CHECK_EQ(0, pthread_create(&threads[count++], NULL, storm_canceller, &s));
    if (join) {
        CHECK_EQ(0, weft_join_blocking(s.task, &result));
        CHECK(result == 7 || (cancel && result == -ECANCELED));
    } else {
        weft_detach(s.task);
    }
    while (count)
        CHECK_EQ(0, pthread_join(threads[--count], NULL));
    CHECK_EQ(0, wf_load_u64(&s.task->state, WF_RELAXED)); /* freed */
    CHECK_EQ(0, wf_load_u32(&s.lab.queued, WF_RELAXED));
    CHECK_EQ(s.polls, wf_load_u32(&s.lab.pushes, WF_RELAXED));
    CHECK(s.polls <= 1 + WAKERS * wakes + cancel + s.yields);
}

TEST(wakes_yields_cancels_and_joins_at_once)
{
    uint64_t seed = test_seed(), rounds = test_scaled(1500);

    for (uint64_t i = 0; i < rounds; i++)
        storm_run(seed + i * 1000, 1 + i % 40, i % 4 == 1, i % 3 != 0);
}

END_TEST

TEST(no_wake_is_lost_in_a_long_run)
{
    uint64_t seed = test_seed();

    for (uint64_t i = 0; i < 4; i++)
        storm_run(seed + i, test_scaled(50000), false, true);
}

END_TEST

TEST_MAIN("state", every_transition_is_that_of_the_table, many_wakes_before_a_poll_make_one_poll,
          a_wake_during_a_poll_makes_exactly_one_more, a_wake_while_yielded_is_met_by_the_next_poll,
          wakes_yields_cancels_and_joins_at_once, no_wake_is_lost_in_a_long_run)
