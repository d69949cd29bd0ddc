/* SPDX-License-Identifier: MIT */
/*
 * test_once.c - initialisers that run once, whatever becomes of those that run them; and values that are set once.
 */
#include "giveup.h"
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

#define TASKS 50 /* more than are woken at a time */

struct shop {
    weft_once once;
    weft_notify go_on; /* what initialisers wait for */
    atomic_uint runs, got;
    int plain; /* written by the initialiser */
    int outcome;
};

static int makes(void *arg)
{
    struct shop *s = arg;

    atomic_fetch_add(&s->runs, 1);
    CHECK_EQ(0, weft_yield());
    s->plain++;
    return 0;
}

static int asks(void *arg)
{
    struct shop *s = arg;

    CHECK_EQ(0, weft_once_run(&s->once, makes, s));
    CHECK_EQ(1, s->plain);
    CHECK(weft_once_is_done(&s->once));
    atomic_fetch_add(&s->got, 1);
    return 0;
}

static int many_ask(void *arg)
{
    struct shop s = {.once = WEFT_ONCE_INIT};
    weft_task *t[TASKS];

    (void)arg;
    CHECK(!weft_once_is_done(&s.once));
    for (int i = 0; i < TASKS; i++)
        t[i] = weft_spawn(asks, &s);
    for (int i = 0; i < TASKS; i++)
        CHECK_EQ(0, weft_join(t[i], NULL));
    CHECK_EQ(1, atomic_load(&s.runs));
    CHECK_EQ(TASKS, atomic_load(&s.got));
    return asks(&s);
}

TEST(an_initialiser_runs_once_and_all_see_its_work)
{
    test_run(many_ask, NULL);
}

END_TEST

/* --- initialisers that fail ------------------------------------------------------------------- */

static int holds_and_fails(void *arg)
{
    struct shop *s = arg;
    int rc;

    atomic_fetch_add(&s->runs, 1);
    rc = weft_notify_wait(&s->go_on);
    if (rc < 0)
        return rc;
    if (s->outcome == -EOWNERDEAD)
        weft_panic("on purpose");
    return s->outcome;
}

static int runs_and_fails(void *arg)
{
    struct shop *s = arg;

    return weft_once_run(&s->once, holds_and_fails, s);
}

/* One runs, and fails by that; of two that wait the first runs next. */
static void hand_over(int outcome, bool cancel)
{
    struct shop s = {.outcome = outcome};
    weft_task *first = weft_spawn(runs_and_fails, &s), *t[2];
    int result = 0;

    until_idle(first);
    for (int i = 0; i < 2; i++) {
        t[i] = weft_spawn(asks, &s);
        until_idle(t[i]);
    }
    CHECK_EQ(-EAGAIN, weft_once_try_begin(&s.once));
    if (cancel)
        weft_cancel(first);
    else
        weft_notify_one(&s.go_on);
    CHECK_EQ(0, weft_join(first, &result));
    CHECK_EQ(outcome, result);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(0, weft_join(t[i], &result));
        CHECK_EQ(0, result);
    }
    CHECK_EQ(2, atomic_load(&s.runs));
    CHECK_EQ(2, atomic_load(&s.got));
    CHECK_EQ(0, weft_once_begin(&s.once));
}

static int fails(void *arg)
{
    (void)arg;
    hand_over(-EIO, false);
    hand_over(-ECANCELED, true);
    hand_over(-EOWNERDEAD, false);
    return 0;
}

TEST(after_a_failure_a_cancel_or_a_panic_the_next_one_runs_its_own)
{
    test_run(fails, NULL);
}

END_TEST

static int fails_alone(void *arg)
{
    struct shop s = {.outcome = -EIO};

    (void)arg;
    weft_notify_one(&s.go_on);
    CHECK_EQ(-EIO, runs_and_fails(&s));
    CHECK(!weft_once_is_done(&s.once));
    CHECK_EQ(0, asks(&s));
    CHECK_EQ(2, atomic_load(&s.runs));
    return 0;
}

TEST(a_failure_that_nobody_waits_for_leaves_it_undone)
{
    test_run(fails_alone, NULL);
}

END_TEST

static int calls_itself(void *arg)
{
    struct shop *s = arg;

    CHECK_EQ(-EDEADLK, weft_once_run(&s->once, makes, s));
    return 7;
}

static int nested(void *arg)
{
    struct shop s = {.once = WEFT_ONCE_INIT};

    (void)arg;
    CHECK_EQ(0, weft_once_run(&s.once, calls_itself, &s));
    CHECK(weft_once_is_done(&s.once));
    return 0;
}

/* --- initialisers that are futures -------------------------------------------------------------- */

/* An initialiser of the test's own: it waits for `go_on`, and ends as the shop says. */
struct making {
    weft_future wait;
    struct shop *shop;
    bool begun, dropped;
};

static struct making *making_of(const weft_future *f)
{
    return (struct making *)f->words[0];
}

static weft_poll making_poll(weft_future *f, weft_context *cx)
{
    struct making *m = making_of(f);
    struct shop *s = m->shop;

    if (!m->begun) {
        m->wait = weft_notify_wait_future(&s->go_on);
        m->begun = true;
    }
    if (weft_future_poll(&m->wait, cx) == WEFT_PENDING)
        return WEFT_PENDING;
    atomic_fetch_add(&s->runs, 1);
    if (s->outcome == -EOWNERDEAD)
        weft_panic("on purpose");
    s->plain += s->outcome >= 0;
    f->result = s->outcome;
    return WEFT_READY;
}

static void making_drop(weft_future *f)
{
    making_of(f)->dropped = true;
    weft_future_drop(&making_of(f)->wait);
}

static weft_future making_future(struct making *m, struct shop *s)
{
    static const weft_future_type type = {making_poll, making_drop, "making"};
    weft_future f = weft_future_of(&type);

    *m = (struct making){.shop = s};
    f.words[0] = (uintptr_t)m;
    return f;
}

static int asks_by_a_future(void *arg)
{
    struct shop *s = arg;
    struct making m;
    weft_future initialiser = making_future(&m, s);
    weft_future f = weft_once_run_future(&s->once, &initialiser);
    int rc = (int)weft_await(&f);

    if (rc == 0)
        CHECK_EQ(1, s->plain);
    /* Whose own one did not run need not drop it. */
    CHECK(!m.begun || weft_future_is_ready(&initialiser));
    return rc;
}

/* One polls its initialiser, which ends in that way; another one waits, and does it. */
static void hand_on_by_futures(int outcome, bool cancel)
{
    struct shop s = {.outcome = outcome};
    weft_task *first = weft_spawn(asks_by_a_future, &s), *second;
    int result = 0;

    until_idle(first);
    second = weft_spawn(asks_by_a_future, &s);
    until_idle(second);
    CHECK_EQ(-EAGAIN, weft_once_try_begin(&s.once));
    if (cancel)
        weft_cancel(first);
    else
        weft_notify_one(&s.go_on);
    CHECK_EQ(0, weft_join(first, &result));
    CHECK_EQ(outcome, result);
    CHECK(!weft_once_is_done(&s.once));
    until_idle(second);
    s.outcome = 1;
    weft_notify_one(&s.go_on);
    CHECK_EQ(0, weft_join(second, &result));
    CHECK_EQ(0, result);
    CHECK(weft_once_is_done(&s.once));
    CHECK_EQ(0, asks_by_a_future(&s));
    CHECK_EQ(cancel ? 1 : 2, atomic_load(&s.runs));
}

static int futures_initialise(void *arg)
{
    (void)arg;
    hand_on_by_futures(-EIO, false);
    hand_on_by_futures(-ECANCELED, true);
    hand_on_by_futures(-EOWNERDEAD, false);
    return 0;
}

TEST(an_initialiser_may_be_a_future_and_the_next_one_polls_its_own)
{
    test_run(futures_initialise, NULL);
}

END_TEST

static int many_futures(void *arg)
{
    struct shop s = {.once = WEFT_ONCE_INIT};
    weft_task *t[TASKS];
    int result = -1;

    (void)arg;
    for (int i = 0; i < TASKS; i++)
        t[i] = weft_spawn(i % 2 ? asks_by_a_future : asks, &s);
    weft_notify_one(&s.go_on);
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(0, weft_join(t[i], &result));
        CHECK_EQ(0, result);
    }
    CHECK_EQ(1, atomic_load(&s.runs));
    CHECK_EQ(1, s.plain);
    return 0;
}

TEST(futures_and_functions_initialise_the_same_once)
{
    test_run(many_futures, NULL);
}

END_TEST

static int kept_and_panics(void *arg)
{
    struct shop *s = arg;
    struct making m;
    weft_future initialiser = making_future(&m, s), tick = weft_ready_future(0);
    weft_future f = weft_once_run_future(&s->once, &initialiser);
    weft_future *const list[] = {&f, &tick};

    s->outcome = -EOWNERDEAD;
    CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP));
    CHECK(m.begun);
    weft_notify_one(&s->go_on);
    return (int)weft_await(&f);
}

/* It is dropped before its fiber is led out. */
static int panics_with_a_kept_one(void *arg)
{
    struct shop s = {.once = WEFT_ONCE_INIT};
    int result = 0;

    (void)arg;
    CHECK_EQ(0, weft_join(weft_spawn(kept_and_panics, &s), &result));
    CHECK_EQ(-EOWNERDEAD, result);
    CHECK_EQ(1, weft_once_try_begin(&s.once));
    CHECK_EQ(0, weft_once_end(&s.once, true));
    return 0;
}

TEST(a_panic_in_an_initialiser_that_was_kept_gives_the_right_back_once)
{
    test_run(panics_with_a_kept_one, NULL);
}

END_TEST

struct own {
    weft_once *once;
    weft_future inner, inner_run;
};

static weft_poll asks_for_itself(weft_future *f, weft_context *cx)
{
    struct own *own = (struct own *)f->words[0];

    CHECK_EQ(-EDEADLK, weft_once_run(own->once, makes, NULL));
    own->inner = weft_ready_future(0);
    own->inner_run = weft_once_run_future(own->once, &own->inner);
    CHECK_EQ(WEFT_READY, weft_future_poll(&own->inner_run, cx));
    CHECK_EQ(-EDEADLK, own->inner_run.result);
    f->result = 7;
    return WEFT_READY;
}

static int nested_futures(void *arg)
{
    static const weft_future_type type = {asks_for_itself, NULL, "asks for itself"};
    weft_future initialiser = weft_future_of(&type), f;
    weft_once once = WEFT_ONCE_INIT;
    struct own own = {.once = &once};

    (void)arg;
    initialiser.words[0] = (uintptr_t)&own;
    f = weft_once_run_future(&once, &initialiser);
    CHECK_EQ(0, weft_await(&f));
    CHECK(weft_once_is_done(&once));
    return 0;
}

TEST(an_initialiser_that_is_a_future_may_not_ask_for_itself)
{
    test_run(nested_futures, NULL);
}

END_TEST

static int is_dropped(void *arg)
{
    struct shop s = {.once = WEFT_ONCE_INIT};
    weft_future tick = weft_ready_future(0), ready = weft_ready_future(0), f;
    struct making m;
    weft_future initialiser = making_future(&m, &s);

    (void)arg;
    f = weft_once_run_future(&s.once, &initialiser);
    CHECK_EQ(1, weft_select_biased(&f, &tick));
    CHECK(m.begun && m.dropped);
    f = weft_once_run_future(&s.once, &ready);
    CHECK_EQ(0, weft_await(&f));
    CHECK(weft_once_is_done(&s.once));
    return 0;
}

TEST(dropping_it_drops_its_initialiser)
{
    test_run(is_dropped, NULL);
}

END_TEST

TEST(an_initialiser_may_not_ask_for_itself)
{
    test_run(nested, NULL);
}

END_TEST

/* --- waiting for it ---------------------------------------------------------------------------- */

static int asks_plainly(void *arg)
{
    struct shop *s = arg;

    return weft_once_run(&s->once, makes, s);
}

static weft_future asks_future(void *arg)
{
    struct shop *s = arg;

    return weft_once_begin_future(&s->once);
}

static int gives_up(void *arg)
{
    struct shop s = {.once = WEFT_ONCE_INIT};
    struct giveup g = {asks_plainly, asks_future, &s};
    weft_context cx = weft_context_of(NULL);
    weft_future first, second;

    (void)arg;
    CHECK_EQ(1, weft_once_try_begin(&s.once));
    give_up(&g);
    /* The right was given to somebody who does not want it any more: the next one has it. */
    first = weft_once_begin_future(&s.once);
    second = weft_once_begin_future(&s.once);
    CHECK(weft_future_poll(&first, &cx) == WEFT_PENDING);
    CHECK(weft_future_poll(&second, &cx) == WEFT_PENDING);
    CHECK_EQ(0, weft_once_end(&s.once, false));
    weft_future_drop(&first);
    CHECK_EQ(1, weft_await(&second));
    CHECK_EQ(-EAGAIN, weft_once_try_begin(&s.once));
    CHECK_EQ(0, weft_once_end(&s.once, false));
    /* And with nobody left it is as it was. */
    CHECK_EQ(1, weft_once_begin(&s.once));
    first = weft_once_begin_future(&s.once);
    CHECK(weft_future_poll(&first, &cx) == WEFT_PENDING);
    CHECK_EQ(0, weft_once_end(&s.once, false));
    weft_future_drop(&first);
    CHECK_EQ(0, asks(&s));
    CHECK_EQ(1, atomic_load(&s.runs));
    CHECK_EQ(0, weft_once_try_begin(&s.once));
    first = weft_once_begin_future(&s.once);
    CHECK_EQ(0, weft_await(&first));
    return 0;
}

TEST(who_gives_up_hands_the_right_on)
{
    test_run(gives_up, NULL);
}

END_TEST

static int two_steps(void *arg)
{
    weft_once o = WEFT_ONCE_INIT;

    (void)arg;
    CHECK_EQ(-EINVAL, weft_once_end(&o, true));
    CHECK_EQ(1, weft_once_begin(&o));
    CHECK_EQ(0, weft_once_end(&o, false));
    CHECK_EQ(-EINVAL, weft_once_end(&o, false));
    CHECK_EQ(1, weft_once_begin(&o));
    CHECK_EQ(0, weft_once_end(&o, true));
    CHECK_EQ(0, weft_once_begin(&o));
    CHECK_EQ(-EINVAL, weft_once_end(&o, true));
    return 0;
}

TEST(it_can_be_done_in_two_steps)
{
    test_run(two_steps, NULL);
}

END_TEST

static int thread_makes(void *arg)
{
    struct shop *s = arg;

    CHECK_EQ(-EDEADLK, weft_once_run_blocking(&s->once, thread_makes, s));
    atomic_fetch_add(&s->runs, 1);
    s->plain++;
    return 0;
}

static void *thread_asks(void *arg)
{
    struct shop *s = arg;

    CHECK_EQ(0, weft_once_run_blocking(&s->once, thread_makes, s));
    CHECK_EQ(1, s->plain);
    CHECK_EQ(0, weft_once_begin_blocking(&s->once));
    return NULL;
}

static int threads_ask(void *arg)
{
    struct shop s = {.once = WEFT_ONCE_INIT};
    pthread_t thread[3];

    (void)arg;
    CHECK_EQ(-EDEADLK, weft_once_run_blocking(&s.once, makes, &s));
    CHECK_EQ(-EDEADLK, weft_once_begin_blocking(&s.once));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(0, pthread_create(&thread[i], NULL, thread_asks, &s));
    CHECK_EQ(0, asks(&s));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(0, pthread_join(thread[i], NULL));
    CHECK_EQ(1, atomic_load(&s.runs));
    return 0;
}

TEST(tasks_and_threads_ask_for_the_same)
{
    test_run(threads_ask, NULL);
}

END_TEST

/* --- a value that is set once --------------------------------------------------------------------- */

struct wanted {
    weft_set_once value;
    int plain; /* written before it is set */
};

static int wants(void *arg)
{
    struct wanted *w = arg;
    void *value = NULL;
    int rc = weft_set_once_wait(&w->value, &value);

    if (rc == 0) {
        CHECK(value == &w->plain);
        CHECK_EQ(3, w->plain);
    }
    return rc;
}

static weft_future wants_future(void *arg)
{
    struct wanted *w = arg;

    return weft_set_once_wait_future(&w->value);
}

static void *thread_wants(void *arg)
{
    struct wanted *w = arg;
    void *value = NULL;

    CHECK_EQ(0, weft_set_once_wait_blocking(&w->value, &value));
    CHECK(value == &w->plain);
    CHECK_EQ(3, w->plain);
    return NULL;
}

static int set_once(void *arg)
{
    struct wanted w = {.value = WEFT_SET_ONCE_INIT};
    struct giveup g = {wants, wants_future, &w};
    weft_task *t[TASKS];
    pthread_t thread;
    weft_future f;
    int result = 1;

    (void)arg;
    give_up(&g);
    CHECK_EQ(-EDEADLK, weft_set_once_wait_blocking(&w.value, NULL));
    for (int i = 0; i < TASKS; i++) {
        t[i] = weft_spawn(wants, &w);
        if (i % 2)
            until_idle(t[i]);
    }
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_wants, &w));
    CHECK(!weft_set_once_is_set(&w.value));
    CHECK(weft_set_once_get(&w.value) == NULL);
    w.plain = 3;
    CHECK_EQ(0, weft_set_once_set(&w.value, &w.plain));
    CHECK_EQ(-EALREADY, weft_set_once_set(&w.value, &w));
    CHECK(weft_set_once_is_set(&w.value));
    CHECK(weft_set_once_get(&w.value) == &w.plain);
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(0, weft_join(t[i], &result));
        CHECK_EQ(0, result);
    }
    CHECK_EQ(0, pthread_join(thread, NULL));
    f = weft_set_once_wait_future(&w.value);
    CHECK_EQ(0, weft_await(&f));
    CHECK_EQ(0, weft_set_once_wait(&w.value, NULL));
    return wants(&w);
}

static int begins_anew(void *arg)
{
    struct shop s = {.once = WEFT_ONCE_INIT};
    weft_set_once value = WEFT_SET_ONCE_INIT;

    (void)arg;
    for (int round = 1; round < 4; round++) {
        CHECK_EQ(0, weft_once_run(&s.once, makes, &s));
        CHECK_EQ(round, s.plain);
        CHECK_EQ(0, weft_set_once_set(&value, &s));
        CHECK_EQ(-EALREADY, weft_set_once_set(&value, &value));
        s.once = (weft_once)WEFT_ONCE_INIT;
        value = (weft_set_once)WEFT_SET_ONCE_INIT;
        CHECK(!weft_once_is_done(&s.once) && !weft_set_once_is_set(&value));
    }
    return 0;
}

TEST(who_owns_one_alone_may_begin_anew)
{
    test_run(begins_anew, NULL);
}

END_TEST

TEST(a_value_is_set_once_and_lets_all_go_on)
{
    test_run(set_once, NULL);
}

END_TEST

TEST_MAIN("once", an_initialiser_runs_once_and_all_see_its_work,
          after_a_failure_a_cancel_or_a_panic_the_next_one_runs_its_own,
          a_failure_that_nobody_waits_for_leaves_it_undone,
          an_initialiser_may_be_a_future_and_the_next_one_polls_its_own,
          futures_and_functions_initialise_the_same_once,
          a_panic_in_an_initialiser_that_was_kept_gives_the_right_back_once,
          an_initialiser_that_is_a_future_may_not_ask_for_itself, dropping_it_drops_its_initialiser,
          an_initialiser_may_not_ask_for_itself, who_gives_up_hands_the_right_on,
          it_can_be_done_in_two_steps, tasks_and_threads_ask_for_the_same,
          who_owns_one_alone_may_begin_anew, a_value_is_set_once_and_lets_all_go_on)
