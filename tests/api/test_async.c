/* SPDX-License-Identifier: MIT */
/*
 * test_async.c - stackless tasks: a state, a poll function, and the macros that make it read as
 * straight code.
 */
#include "support.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static void until_waiting(const weft_task *t)
{
    weft_task_info info;

    do {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_task_get_info(t, &info));
    } while (info.state != WEFT_TASK_IDLE);
}

/* --- the macros ------------------------------------------------------------------ */

struct ticker {
    weft_async async; /* comes first */
    int i, rounds;
    ssize_t sum;
    weft_future nap;
    weft_task *child;
    atomic_int *drops;
};

static int child_value(void *arg)
{
    return (int)(intptr_t)arg;
}

static weft_poll ticker_poll(void *self, weft_context *cx)
{
    struct ticker *t = self;

    WEFT_ASYNC_BEGIN(t);
    CHECK(weft_task_self() != NULL);
    for (t->i = 0; t->i < t->rounds; t->i++) {
        t->nap = weft_sleep_future(WEFT_US(50));
        WEFT_AWAIT(t, cx, &t->nap);
        t->sum += t->nap.result + 1;
        t->nap = weft_yield_future();
        WEFT_AWAIT(t, cx, &t->nap);
        t->nap = weft_ready_future(t->i);
        WEFT_AWAIT(t, cx, &t->nap);
        t->sum += t->nap.result;
    }
    t->child = weft_spawn(child_value, (void *)1000);
    t->nap = weft_join_future(t->child);
    WEFT_AWAIT(t, cx, &t->nap);
    weft_detach(t->child);
    if (t->rounds == 3)
        WEFT_RETURN(t, (int)t->sum);
    WEFT_ASYNC_END(t);
}

static void ticker_drop(void *self)
{
    struct ticker *t = self;

    if (t->drops)
        atomic_fetch_add(t->drops, 1);
}

static const weft_async_type ticker_type = {.poll = ticker_poll,
                                            .drop = ticker_drop,
                                            .size = sizeof(struct ticker),
                                            .name = "ticker"};

static int macros(void *arg)
{
    struct ticker state = {.rounds = 3};
    atomic_int drops = 0;
    weft_task_info info;
    weft_task *t;
    int result;

    (void)arg;
    state.drops = &drops;
    t = weft_spawn_async(&ticker_type, &state);
    memset(&state, 0xee, sizeof(state)); /* it was copied */
    CHECK_EQ(0, weft_task_get_info(t, &info));
    CHECK(info.stackless);
    CHECK_EQ(0, info.stack_size);
    CHECK(strstr(info.site, "test_async.c:"));
    CHECK(weft_task_id(t) != 0);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(3 + 0 + 1 + 2, result);
    CHECK_EQ(1, atomic_load(&drops)); /* also at a plain end */

    state = (struct ticker){.rounds = 2, .drops = &drops};
    CHECK_EQ(0, weft_join((weft_spawn_async)(&ticker_type, &state), &result));
    CHECK_EQ(0, result); /* fell off the end */
    state.rounds = 0;
    CHECK_EQ(0, weft_go_async(&ticker_type, &state));
    CHECK_EQ(0, (weft_go_async)(&ticker_type, &state));
    while (atomic_load(&drops) < 4)
        CHECK_EQ(0, weft_yield());
    return 0;
}

TEST(a_stackless_task_reads_as_straight_code)
{
    test_run(macros, NULL);
}

/* --- without the macros ------------------------------------------------------------- */

struct by_hand {
    weft_async async;
    int polls;
};

/* Wakes itself: the waker is used while the task runs. */
static weft_poll by_hand_poll(void *self, weft_context *cx)
{
    struct by_hand *b = self;
    weft_waker waker = weft_context_waker(cx);

    b->polls++;
    if (b->polls == 50) {
        weft_waker_drop(&waker);
        return weft_async_return(&b->async, -b->polls);
    }
    weft_waker_wake_by_ref(&waker);
    weft_waker_wake(&waker);
    return WEFT_PENDING;
}

static const weft_async_type by_hand_type = {.poll = by_hand_poll, .size = sizeof(struct by_hand)};

static int self_wake(void *arg)
{
    weft_task *t = weft_spawn_async(&by_hand_type, &(struct by_hand){.polls = 0});
    weft_task_info info;
    int result;

    (void)arg;
    while (!weft_is_finished(t))
        CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, weft_task_get_info(t, &info));
    CHECK_EQ(50, info.polls); /* two wakes in one poll make one more */
    CHECK_EQ(WEFT_TASK_FINISHED, info.state);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-50, result);
    return 0;
}

TEST(a_stackless_task_may_wake_itself)
{
    test_run(self_wake, NULL);
}

/* --- cancel --------------------------------------------------------------------------- */

struct traced {
    atomic_int future_dropped, state_dropped, in_order, polls;
};

static weft_poll traced_poll(weft_future *f, weft_context *cx)
{
    (void)f;
    (void)cx;
    return WEFT_PENDING;
}

static void traced_drop(weft_future *f)
{
    struct traced *t = (struct traced *)f->words[0];

    atomic_store(&t->in_order, atomic_load(&t->state_dropped) == 0);
    atomic_fetch_add(&t->future_dropped, 1);
}

static const weft_future_type traced_type = {traced_poll, traced_drop, "traced"};

struct holder {
    weft_async async;
    struct traced *traced;
    weft_future wait;
};

static weft_poll holder_poll(void *self, weft_context *cx)
{
    struct holder *h = self;

    atomic_fetch_add(&h->traced->polls, 1);
    WEFT_ASYNC_BEGIN(h);
    h->wait = weft_future_of(&traced_type);
    h->wait.words[0] = (uintptr_t)h->traced;
    WEFT_AWAIT(h, cx, &h->wait);
    WEFT_ASYNC_END(h);
}

static void holder_drop(void *self)
{
    atomic_fetch_add(&((struct holder *)self)->traced->state_dropped, 1);
}

static const weft_async_type holder_type = {holder_poll, holder_drop, sizeof(struct holder),
                                            "holder"};

static int cancel_waiting(void *arg)
{
    (void)arg;
    for (int early = 0; early < 2; early++) {
        struct traced traced = {0};
        struct holder state = {.traced = &traced};
        weft_task *t = weft_spawn_async(&holder_type, &state);
        int result;

        if (!early)
            until_waiting(t);
        weft_cancel(t);
        CHECK_EQ(0, weft_join(t, &result));
        CHECK_EQ(-ECANCELED, result);
        CHECK_EQ(1, atomic_load(&traced.state_dropped));
        /* When it was cancelled early it may have been polled, elsewhere; else never. */
        CHECK_EQ(atomic_load(&traced.polls), atomic_load(&traced.future_dropped));
        CHECK(atomic_load(&traced.polls) <= 1 && (early || atomic_load(&traced.polls) == 1));
        CHECK(atomic_load(&traced.polls) == 0 || atomic_load(&traced.in_order));
    }
    return 0;
}

TEST(cancel_drops_what_is_awaited_and_then_the_state_once)
{
    test_run(cancel_waiting, NULL);
}

static int leave_waiting(void *arg)
{
    struct holder state = {.traced = arg};
    weft_task *t = weft_spawn_async(&holder_type, &state);

    until_waiting(t);
    weft_detach(t);
    return 0;
}

TEST(a_shutdown_drops_stackless_tasks_too)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct traced traced = {0};

        test_run_on(&test_flavours[i], leave_waiting, &traced);
        CHECK_EQ(1, atomic_load(&traced.future_dropped));
        CHECK_EQ(1, atomic_load(&traced.state_dropped));
    }
}

/* Nobody can cancel between two polls that do not wait: the flag is seen from inside. */
struct stubborn {
    weft_async async;
};

static weft_poll stubborn_poll(void *self, weft_context *cx)
{
    struct stubborn *s = self;

    (void)cx;
    weft_cancel(weft_task_self());
    CHECK(weft_is_cancelled());
    return weft_async_return(&s->async, 5);
}

static const weft_async_type stubborn_type = {.poll = stubborn_poll,
                                              .size = sizeof(struct stubborn)};

static int ends_first(void *arg)
{
    int result;

    (void)arg;
    CHECK_EQ(
        0, weft_join(weft_spawn_async(&stubborn_type, &(struct stubborn){.async = {0}}), &result));
    CHECK_EQ(5, result);
    return 0;
}

TEST(a_stackless_task_that_ends_in_the_poll_that_cancels_it_keeps_its_value)
{
    test_run(ends_first, NULL);
}

/* --- combinators ------------------------------------------------------------------------ */

struct combined {
    weft_async async;
    weft_future a, b, c, all, limit, first;
    weft_future *pair[2], *race[2];
};

static weft_poll combined_poll(void *self, weft_context *cx)
{
    struct combined *s = self;

    WEFT_ASYNC_BEGIN(s);
    s->a = weft_sleep_future(WEFT_US(100));
    s->b = weft_ready_future(4);
    s->pair[0] = &s->a;
    s->pair[1] = &s->b;
    s->all = weft_join_all_future(s->pair, 2);
    WEFT_AWAIT(s, cx, &s->all);
    CHECK_EQ(0, s->a.result);
    CHECK_EQ(4, s->b.result);

    s->a = weft_pending_future();
    s->limit = weft_timeout_future(WEFT_US(100), &s->a);
    WEFT_AWAIT(s, cx, &s->limit);
    CHECK_EQ(-ETIMEDOUT, s->limit.result);

    s->a = weft_sleep_future(WEFT_SECS(100));
    s->b = weft_sleep_future(WEFT_US(100));
    s->race[0] = &s->a;
    s->race[1] = &s->b;
    s->first = weft_select_future(s->race, 2, WEFT_SELECT_RANDOM);
    WEFT_AWAIT(s, cx, &s->first);
    CHECK_EQ(1, s->first.result);
    CHECK(weft_future_is_ready(&s->a)); /* the loser is dropped */

    s->a = weft_ready_future(-EIO);
    s->b = weft_pending_future();
    s->all = weft_try_join_all_future(s->pair, 2);
    WEFT_AWAIT(s, cx, &s->all);
    WEFT_RETURN(s, (int)s->all.result);
    WEFT_ASYNC_END(s);
}

static const weft_async_type combined_type = {.poll = combined_poll,
                                              .size = sizeof(struct combined)};

static int combinators(void *arg)
{
    struct combined *state = calloc(1, sizeof(*state));
    weft_metrics m;
    int result;

    (void)arg;
    CHECK(state);
    CHECK_EQ(0, weft_join(weft_spawn_async(&combined_type, state), &result));
    CHECK_EQ(-EIO, result);
    free(state);
    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    CHECK_EQ(0, m.timers_armed);
    return 0;
}

TEST(combinators_work_in_stackless_tasks)
{
    test_run(combinators, NULL);
}

/* --- many ----------------------------------------------------------------------------------- */

#define MANY 1000

static int many(void *arg)
{
    weft_task **t = malloc(MANY * sizeof(*t));
    atomic_int drops = 0;
    struct ticker state = {.rounds = 3, .drops = &drops};
    int result;

    (void)arg;
    CHECK(t);
    for (int i = 0; i < MANY; i++)
        CHECK((t[i] = weft_spawn_async(&ticker_type, &state)) != NULL);
    for (int i = 0; i < MANY; i += 3)
        weft_cancel(t[i]);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(0, weft_join(t[i], &result));
        CHECK(result == 6 || (i % 3 == 0 && result == -ECANCELED));
    }
    CHECK_EQ(MANY, atomic_load(&drops));
    free(t);
    return 0;
}

TEST(a_thousand_of_them_end_each_once)
{
    test_run(many, NULL);
}

/* --- from a plain thread, and what cannot be ------------------------------------------------- */

TEST(a_plain_thread_spawns_stackless_tasks)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_runtime *rt = test_runtime_new(&test_flavours[i]);
        weft_task_options options = {.name = "async"};
        atomic_int drops = 0;
        struct ticker state = {.rounds = 3, .drops = &drops};
        weft_task *t;
        int result = 0;

        CHECK_EQ(0, weft_spawn_async_on(rt, &t, &options, &ticker_type, &state));
        CHECK_EQ(0, weft_spawn_async_on(rt, NULL, NULL, &ticker_type, &state));
        CHECK_STR("async", weft_task_name(t));
        if (test_flavours[i].flavor == WEFT_MULTI_THREAD) {
            CHECK_EQ(0, weft_join_blocking(t, &result));
            CHECK_EQ(6, result);
        } else {
            weft_detach(t); /* nobody drives it: dropped by the shutdown */
        }
        test_runtime_free(rt);
        CHECK_EQ(2, atomic_load(&drops));
    }
}

static int refused(void *arg)
{
    weft_async_type tiny = ticker_type, huge = ticker_type, dull = ticker_type;
    struct ticker state = {.rounds = 0};

    (void)arg;
    tiny.size = sizeof(weft_async) - 1;
    huge.size = 1 << 20;
    dull.poll = NULL;
    CHECK(weft_spawn_async(NULL, &state) == NULL);
    CHECK(weft_spawn_async(&ticker_type, NULL) == NULL);
    CHECK(weft_spawn_async(&tiny, &state) == NULL);
    CHECK(weft_spawn_async(&huge, &state) == NULL);
    CHECK(weft_spawn_async(&dull, &state) == NULL);
    CHECK_EQ(-EINVAL, weft_go_async(NULL, &state));
    return 0;
}

TEST(a_stackless_task_without_type_or_state_is_refused)
{
    struct ticker state = {.rounds = 0};

    CHECK(weft_spawn_async(&ticker_type, &state) == NULL);
    CHECK_EQ(-EPERM, weft_go_async(&ticker_type, &state));
    test_run(refused, NULL);
}

TEST_MAIN("async", a_stackless_task_reads_as_straight_code, a_stackless_task_may_wake_itself,
          cancel_drops_what_is_awaited_and_then_the_state_once,
          a_shutdown_drops_stackless_tasks_too,
          a_stackless_task_that_ends_in_the_poll_that_cancels_it_keeps_its_value,
          combinators_work_in_stackless_tasks, a_thousand_of_them_end_each_once,
          a_plain_thread_spawns_stackless_tasks, a_stackless_task_without_type_or_state_is_refused)
