/* SPDX-License-Identifier: MIT */
/*
 * test_scope.c - blocks of code that their tasks cannot outlive: leaving them, and failures inside.
 */
#include "children.h"

#include <string.h>

/* Ends after some yields, and counts. */
static int dawdles(void *arg)
{
    for (int i = 0; i < 5; i++)
        CHECK_EQ(0, weft_yield());
    atomic_fetch_add((atomic_int *)arg, 1);
    return 0;
}

/* --- leaving ---------------------------------------------------------------------- */

static int leaves_by_return(atomic_int *ended, int *rc)
{
    WEFT_SCOPE(s, rc)
    {
        CHECK(weft_scope_spawn(s, dawdles, ended) > 0);
        return 5;
    }
    return 0;
}

static int each_way_out(void *arg)
{
    atomic_int ended = 0;
    int rc = 99;

    (void)arg;
    WEFT_SCOPE(s, &rc)
    {
        CHECK_EQ(0, weft_scope_len(s));
    }
    CHECK_EQ(0, rc);
    WEFT_SCOPE(s, &rc)
    {
        for (int i = 0; i < 3; i++)
            CHECK(weft_scope_spawn(s, dawdles, &ended) > 0);
        CHECK(weft_scope_len(s) <= 3);
    }
    CHECK(rc == 0 && atomic_load(&ended) == 3);
    WEFT_SCOPE(s, NULL)
    {
        CHECK(weft_scope_spawn(s, dawdles, &ended) > 0);
        break;
    }
    CHECK_EQ(4, atomic_load(&ended));
    WEFT_SCOPE(s, &rc)
    {
        CHECK(weft_scope_spawn(s, dawdles, &ended) > 0);
        continue;
    }
    CHECK_EQ(5, atomic_load(&ended));
    WEFT_SCOPE(s, &rc)
    {
        CHECK(weft_scope_spawn(s, dawdles, &ended) > 0);
        goto out;
    }
    CHECK(false);
out:
    CHECK_EQ(6, atomic_load(&ended));
    CHECK_EQ(5, leaves_by_return(&ended, &rc));
    CHECK_EQ(7, atomic_load(&ended));
    return 0;
}

TEST(each_way_out_waits_for_all_tasks)
{
    test_run(each_way_out, NULL);
}

END_TEST

static int doubles(void *arg)
{
    *(int *)arg *= 2;
    return 0;
}

static int sums_copy(void *arg)
{
    const intptr_t *v = arg;

    atomic_fetch_add((atomic_int *)v[0], (int)v[1]);
    return 0;
}

static int adds_one(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
    return 0;
}

struct adder {
    weft_async async;
    atomic_int *sum;
};

static weft_poll adder_poll(void *self, weft_context *cx)
{
    struct adder *a = self;

    (void)cx;
    atomic_fetch_add(a->sum, 1);
    return weft_async_return(&a->async, 0);
}

static const weft_async_type adder_type = {.poll = adder_poll,
                                           .size = sizeof(struct adder),
                                           .name = "adder"};

struct sower {
    weft_scope *scope;
    atomic_int count;
};

static int sows(void *arg)
{
    struct sower *w = arg;

    if (atomic_fetch_add(&w->count, 1) < 200) {
        CHECK(weft_scope_spawn(w->scope, sows, w) > 0);
        CHECK(weft_scope_spawn(w->scope, sows, w) > 0);
    }
    return 0;
}

static int all_ways(void *arg)
{
    const weft_task_options small = {.stack_size = 64 << 10};
    struct sower sower = {0};
    atomic_int sum = 0;
    int numbers[4] = {1, 2, 3, 4}, rc;

    (void)arg;
    WEFT_SCOPE(s, &rc)
    {
        intptr_t v[2] = {(intptr_t)&sum, 10};

        for (int i = 0; i < 4; i++)
            CHECK(weft_scope_spawn(s, doubles, &numbers[i]) > 0);
        CHECK(weft_scope_spawn_copy(s, sums_copy, v, sizeof(v)) > 0);
        CHECK(weft_scope_spawn_with(s, &small, adds_one, &sum) > 0);
        CHECK(weft_scope_spawn_copy_with(s, &small, sums_copy, v, sizeof(v)) > 0);
        CHECK(weft_scope_spawn_async(s, &adder_type, &(struct adder){.sum = &sum}) > 0);
        CHECK(weft_scope_spawn_blocking(s, NULL, adds_one, &sum) > 0);
        CHECK((weft_scope_spawn)(s, adds_one, &sum) > 0);
        sower.scope = s;
        CHECK(weft_scope_spawn(s, sows, &sower) > 0);
    }
    CHECK_EQ(0, rc);
    CHECK_EQ(24, atomic_load(&sum));
    CHECK(atomic_load(&sower.count) > 200);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(2 * (i + 1), numbers[i]);
    return 0;
}

TEST(all_ways_to_spawn_lead_into_the_scope_and_use_what_is_around_it)
{
    test_run(all_ways, NULL);
}

END_TEST

static int waits_inside(void *arg)
{
    atomic_int ended = 0, never = 0;
    int rc;

    (void)arg;
    WEFT_SCOPE(s, &rc)
    {
        CHECK_EQ(0, weft_scope_wait(s));
        for (int round = 1; round < 4; round++) {
            for (int i = 0; i < 10; i++)
                CHECK(weft_scope_spawn(s, dawdles, &ended) > 0);
            CHECK_EQ(0, weft_scope_wait(s));
            CHECK_EQ(10 * round, atomic_load(&ended));
        }
        CHECK(weft_scope_spawn(s, until_set, &never) > 0);
        WEFT_DEADLINE(WEFT_MS(1))
        CHECK_EQ(-ETIMEDOUT, weft_scope_wait(s));
        CHECK_EQ(1, weft_scope_len(s));
        atomic_store(&never, 1);
    }
    CHECK_EQ(0, rc);
    return 0;
}

TEST(a_block_waits_for_its_tasks_and_goes_on)
{
    test_run(waits_inside, NULL);
}

END_TEST

/* --- failures -------------------------------------------------------------------- */

static int fails(void *arg)
{
    return -(int)(intptr_t)arg;
}

static int first_failure(void *arg)
{
    atomic_int alive = 0;
    int rc;

    (void)arg;
    WEFT_SCOPE(s, &rc)
    {
        for (int i = 0; i < 20; i++)
            CHECK(weft_scope_spawn(s, counted, &alive) > 0);
        YIELD_UNTIL(atomic_load(&alive) == 20);
        CHECK_EQ(0, weft_scope_failure(s));
        CHECK(weft_scope_spawn(s, fails, as_arg(EIO)) > 0);
    }
    CHECK_EQ(-EIO, rc);
    CHECK_EQ(0, atomic_load(&alive));
    WEFT_SCOPE(s, &rc)
    {
        CHECK(weft_scope_spawn(s, panics, NULL) > 0);
        CHECK(weft_scope_spawn(s, waits, NULL) > 0);
    }
    CHECK_EQ(-EOWNERDEAD, rc);
    /* Results that are no failures. */
    WEFT_SCOPE(s, &rc)
    {
        CHECK(weft_scope_spawn(s, returns_it, as_arg(7)) > 0);
    }
    CHECK_EQ(0, rc);
    return 0;
}

TEST(the_first_failure_cancels_the_others_and_is_told)
{
    test_run(first_failure, NULL);
}

END_TEST

/* A task that fails once it is told to. */
struct fuse {
    atomic_int lit;
    int result;
};

static int burns(void *arg)
{
    struct fuse *f = arg;

    while (!atomic_load(&f->lit)) {
        int rc = weft_yield();

        if (rc < 0)
            return rc;
    }
    return f->result;
}

static int interrupts(void *arg)
{
    struct fuse fuse = {.result = -EPROTO};
    weft_future never = weft_pending_future();
    int rc;

    (void)arg;
    WEFT_SCOPE(s, &rc)
    {
        CHECK(weft_scope_spawn(s, burns, &fuse) > 0);
        CHECK(!weft_is_cancelled());
        atomic_store(&fuse.lit, 1);
        CHECK_EQ(-ECANCELED, weft_await(&never));
        CHECK(weft_is_cancelled());
        CHECK_EQ(-EPROTO, weft_scope_failure(s));
        CHECK_EQ(-ECANCELED, weft_sleep(WEFT_SECS(100)));
        WEFT_SHIELD
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(-ECANCELED, weft_yield());
        /* What is spawned now never runs. */
        CHECK(weft_scope_spawn(s, panics, NULL) > 0);
    }
    CHECK_EQ(-EPROTO, rc);
    /* It was for the block alone. */
    CHECK(!weft_is_cancelled());
    CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, weft_sleep(WEFT_US(10)));
    return 0;
}

TEST(a_failure_interrupts_the_block_until_it_is_left)
{
    test_run(interrupts, NULL);
}

END_TEST

static int nested(void *arg)
{
    atomic_int alive = 0;
    struct fuse fuse = {.result = -EPIPE};
    weft_future never;
    int outer, inner;

    (void)arg;
    /* The inner one fails: the outer one goes on. */
    WEFT_SCOPE(s, &outer)
    {
        CHECK(weft_scope_spawn(s, dawdles, &alive) > 0);
        WEFT_SCOPE(t, &inner)
        {
            CHECK(weft_scope_spawn(t, fails, as_arg(EIO)) > 0);
            CHECK(weft_scope_spawn(t, waits, NULL) > 0);
        }
        CHECK_EQ(-EIO, inner);
        CHECK_EQ(0, weft_yield());
    }
    CHECK(outer == 0 && atomic_load(&alive) == 1);
    atomic_store(&alive, 0);
    /* The outer one fails: everything inside is cancelled, and stays so until it is left. */
    WEFT_SCOPE(s, &outer)
    {
        CHECK(weft_scope_spawn(s, burns, &fuse) > 0);
        WEFT_SCOPE(t, &inner)
        {
            CHECK(weft_scope_spawn(t, counted, &alive) > 0);
            YIELD_UNTIL(atomic_load(&alive) == 1);
            atomic_store(&fuse.lit, 1);
        }
        CHECK_EQ(-ECANCELED, inner);
        CHECK_EQ(0, atomic_load(&alive));
        CHECK_EQ(-ECANCELED, weft_yield());
    }
    CHECK_EQ(-EPIPE, outer);
    CHECK_EQ(0, weft_yield());
    /* Both fail. */
    atomic_store(&fuse.lit, 0);
    WEFT_SCOPE(s, &outer)
    {
        CHECK(weft_scope_spawn(s, burns, &fuse) > 0);
        WEFT_SCOPE(t, &inner)
        {
            CHECK(weft_scope_spawn(t, fails, as_arg(EIO)) > 0);
            never = weft_pending_future();
            CHECK_EQ(-ECANCELED, weft_await(&never));
            atomic_store(&fuse.lit, 1);
            WEFT_SHIELD
            YIELD_UNTIL(weft_scope_failure(s));
        }
        CHECK_EQ(-EIO, inner);
        never = weft_pending_future();
        CHECK_EQ(-ECANCELED, weft_await(&never));
    }
    CHECK_EQ(-EPIPE, outer);
    CHECK_EQ(0, weft_yield());
    return 0;
}

TEST(scopes_nest)
{
    test_run(nested, NULL);
}

END_TEST

static int cancels(void *arg)
{
    atomic_int alive = 0;
    int rc;

    (void)arg;
    WEFT_SCOPE(s, &rc)
    {
        for (int i = 0; i < 10; i++)
            CHECK(weft_scope_spawn(s, counted, &alive) > 0);
        YIELD_UNTIL(atomic_load(&alive) == 10);
        weft_scope_cancel(s);
        CHECK_EQ(-ECANCELED, weft_yield());
    }
    /* That is no failure. */
    CHECK_EQ(0, rc);
    CHECK_EQ(0, atomic_load(&alive));
    /* Nothing runs that is spawned afterwards. */
    WEFT_SCOPE(s, &rc)
    {
        weft_scope_cancel(s);
        weft_scope_cancel(s);
        CHECK(weft_scope_spawn(s, fails, as_arg(EIO)) > 0);
    }
    CHECK_EQ(0, rc);
    return 0;
}

static int cancels_scope(void *arg)
{
    weft_scope_cancel(arg);
    return 0;
}

static int cancelled_by_child(void *arg)
{
    weft_future never = weft_pending_future();
    int rc;

    (void)arg;
    WEFT_SCOPE(s, &rc)
    {
        CHECK(weft_scope_spawn(s, waits, NULL) > 0);
        CHECK(weft_scope_spawn(s, cancels_scope, s) > 0);
        CHECK_EQ(-ECANCELED, weft_await(&never));
    }
    CHECK_EQ(0, rc);
    return 0;
}

TEST(cancelling_a_scope_is_no_failure)
{
    test_run(cancels, NULL);
    test_run(cancelled_by_child, NULL);
}

END_TEST

/* --- the task around it ------------------------------------------------------------ */

struct victim {
    atomic_int alive;
    int rc, after;
    bool in_body;
};

static int inside(void *arg)
{
    struct victim *v = arg;
    weft_future never = weft_pending_future();

    WEFT_SCOPE(s, &v->rc)
    {
        for (int i = 0; i < 5; i++)
            CHECK(weft_scope_spawn(s, counted, &v->alive) > 0);
        if (v->in_body)
            CHECK_EQ(-ECANCELED, weft_await(&never));
    }
    CHECK_EQ(0, atomic_load(&v->alive));
    v->after = weft_yield();
    return 0;
}

static int cancelled_around(void *arg)
{
    (void)arg;
    for (int in_body = 0; in_body < 2; in_body++) {
        struct victim v = {.in_body = in_body};
        weft_task *t = weft_spawn(inside, &v);
        int result;

        YIELD_UNTIL(atomic_load(&v.alive) == 5 && is_waiting(t));
        weft_cancel(t);
        CHECK_EQ(0, weft_join(t, &result));
        CHECK_EQ(0, result);
        CHECK_EQ(-ECANCELED, v.rc);
        CHECK_EQ(-ECANCELED, v.after);
    }
    return 0;
}

TEST(who_is_cancelled_while_it_waits_cancels_the_tasks_and_waits_on)
{
    test_run(cancelled_around, NULL);
}

END_TEST

static int timed_around(void *arg)
{
    atomic_int alive = 0;
    int rc = 0;

    (void)arg;
    WEFT_DEADLINE(WEFT_MS(2))
    WEFT_SCOPE(s, &rc)
    {
        CHECK(weft_scope_spawn(s, counted, &alive) > 0);
    }
    CHECK_EQ(-ETIMEDOUT, rc);
    CHECK_EQ(0, atomic_load(&alive));
    CHECK_EQ(0, weft_yield());
    /* Shielded from it there is no limit. */
    WEFT_DEADLINE(0)
    WEFT_SHIELD
    WEFT_SCOPE(s, &rc)
    {
        CHECK(weft_scope_spawn(s, dawdles, &alive) > 0);
    }
    CHECK(rc == 0 && atomic_load(&alive) == 1);
    return 0;
}

TEST(a_deadline_around_a_scope_cancels_its_tasks)
{
    test_run(timed_around, NULL);
}

END_TEST

struct ruin {
    atomic_int alive;
    atomic_int alive_when_deferred;
    bool forgets;
};

static void sees(void *arg)
{
    struct ruin *r = arg;

    atomic_store(&r->alive_when_deferred, atomic_load(&r->alive));
}

/* Forgets to leave. */
static void enters(struct ruin *r, weft_scope *scope)
{
    weft_scope *s = weft_scope_enter(scope, NULL);

    for (int i = 0; i < 5; i++)
        CHECK(weft_scope_spawn(s, counted, &r->alive) > 0);
    YIELD_UNTIL(atomic_load(&r->alive) == 5);
}

static int comes_to_ruin(void *arg)
{
    struct ruin *r = arg;
    weft_scope outer, inner;

    atomic_store(&r->alive_when_deferred, -1);
    CHECK_EQ(0, weft_defer(sees, r));
    enters(r, &outer);
    if (r->forgets)
        return 3;
    atomic_store(&r->alive, 0);
    enters(r, &inner);
    weft_panic("in the middle of two scopes");
}

/* Counts to below zero where the count was begun anew. */
static int ruined_by_panic(void *arg)
{
    struct ruin r = {0};
    int result;

    (void)arg;
    CHECK_EQ(0, weft_join(weft_spawn(comes_to_ruin, &r), &result));
    CHECK_EQ(-EOWNERDEAD, result);
    CHECK_EQ(-5, atomic_load(&r.alive));
    CHECK_EQ(-5, atomic_load(&r.alive_when_deferred));
    return 0;
}

static int ruined_by_forgetting(void *arg)
{
    struct ruin r = {.forgets = true};
    int result;

    (void)arg;
    CHECK_EQ(0, weft_join(weft_spawn(comes_to_ruin, &r), &result));
    CHECK_EQ(3, result);
    CHECK_EQ(0, atomic_load(&r.alive_when_deferred));
    return 0;
}

/* The place of rc is in the frame that is left, below the scope. */
static int forgets_rc(void *arg)
{
    struct {
        int rc;
        char between[512];
        weft_scope scope;
    } frame;

    weft_scope *s = weft_scope_enter(&frame.scope, &frame.rc);

    (void)arg;
    CHECK(weft_scope_spawn(s, panics, NULL) > 0);
    return 4;
}

static int forgotten_rc(void *arg)
{
    int result;

    (void)arg;
    CHECK_EQ(0, weft_join(weft_spawn(forgets_rc, NULL), &result));
    CHECK_EQ(4, result);
    return 0;
}

TEST(a_panic_leaves_all_scopes_before_deferred_calls_run)
{
    test_run(ruined_by_panic, NULL);
}

END_TEST

TEST(a_function_that_forgets_to_leave_is_led_out)
{
    if (ON_VALGRIND) /* to which a frame that was left is lost */
        return;
    test_run(ruined_by_forgetting, NULL);
    test_run(forgotten_rc, NULL);
}

END_TEST

/* --- time ---------------------------------------------------------------------------- */

static int deadline(void *arg)
{
    weft_future never = weft_pending_future();
    atomic_int alive = 0;
    weft_instant at = 0;
    int rc;

    (void)arg;
    WEFT_SCOPE(s, &rc)
    {
        at = weft_now() + WEFT_MS(3);
        CHECK_EQ(0, weft_scope_set_deadline(s, at));
        CHECK(weft_scope_spawn(s, counted, &alive) > 0);
    }
    CHECK(weft_now() >= at);
    CHECK_EQ(-ETIMEDOUT, rc);
    CHECK_EQ(0, atomic_load(&alive));
    /* It reaches the block, too; and can be moved. */
    WEFT_SCOPE(s, &rc)
    {
        CHECK_EQ(0, weft_scope_set_deadline(s, weft_now() + WEFT_SECS(1000)));
        CHECK_EQ(0, weft_scope_set_deadline(s, 1));
        CHECK_EQ(-ECANCELED, weft_await(&never));
    }
    CHECK_EQ(-ETIMEDOUT, rc);
    /* One that does not pass costs nothing. */
    WEFT_SCOPE(s, &rc)
    {
        CHECK_EQ(0, weft_scope_set_deadline(s, weft_now() + WEFT_SECS(1000)));
        CHECK(weft_scope_spawn(s, dawdles, &alive) > 0);
    }
    CHECK_EQ(0, rc);
    WEFT_SCOPE(s, &rc)
    {
        CHECK_EQ(0, weft_scope_set_deadline(s, weft_now() + WEFT_SECS(1000)));
        CHECK_EQ(0, weft_scope_set_deadline(s, WEFT_FOREVER));
    }
    CHECK_EQ(0, rc);
    return 0;
}

TEST(a_deadline_of_the_scope_cancels_everything_inside)
{
    test_run(deadline, NULL);
}

END_TEST

static int grace(void *arg)
{
    struct fuse fuse = {.result = 0};
    atomic_int alive = 0, flag = 0;
    weft_instant from;
    int rc;

    (void)arg;
    /* The block has ended: those that end in time are not cancelled. */
    WEFT_SCOPE(s, &rc)
    {
        CHECK_EQ(0, weft_scope_set_grace(s, WEFT_SECS(100)));
        CHECK(weft_scope_spawn(s, dawdles, &flag) > 0);
    }
    CHECK_EQ(0, rc);
    from = weft_now();
    WEFT_SCOPE(s, &rc)
    {
        CHECK_EQ(0, weft_scope_set_grace(s, WEFT_MS(3)));
        CHECK(weft_scope_spawn(s, counted, &alive) > 0);
    }
    CHECK(weft_now() - from >= WEFT_MS(3));
    CHECK_EQ(-ETIMEDOUT, rc);
    CHECK_EQ(0, atomic_load(&alive));
    /* One has failed: the others have their time. */
    WEFT_SCOPE(s, &rc)
    {
        CHECK_EQ(0, weft_scope_set_grace(s, WEFT_SECS(100)));
        CHECK(weft_scope_spawn(s, burns, &fuse) > 0);
        CHECK(weft_scope_spawn(s, fails, as_arg(EIO)) > 0);
        YIELD_UNTIL(weft_scope_failure(s));
        CHECK_EQ(0, weft_yield());
        atomic_store(&fuse.lit, 1);
    }
    CHECK_EQ(-EIO, rc);
    from = weft_now();
    WEFT_SCOPE(s, &rc)
    {
        CHECK_EQ(0, weft_scope_set_grace(s, WEFT_MS(3)));
        CHECK(weft_scope_spawn(s, counted, &alive) > 0);
        CHECK(weft_scope_spawn(s, fails, as_arg(EIO)) > 0);
    }
    CHECK(weft_now() - from >= WEFT_MS(3));
    CHECK_EQ(-EIO, rc);
    CHECK_EQ(0, atomic_load(&alive));
    return 0;
}

TEST(grace_lets_tasks_end_by_themselves)
{
    test_run(grace, NULL);
}

END_TEST

/* --- the rest --------------------------------------------------------------------------- */

static int left_at_shutdown(void *arg)
{
    int rc;

    WEFT_SCOPE(s, &rc)
    {
        for (int i = 0; i < 5; i++)
            CHECK(weft_scope_spawn(s, counted, arg) > 0);
        while (weft_yield() == 0)
            continue;
    }
    CHECK_EQ(-ECANCELED, rc);
    CHECK_EQ(0, atomic_load((atomic_int *)arg));
    return 0;
}

static int leaves_one_behind(void *arg)
{
    weft_detach(weft_spawn(left_at_shutdown, arg));
    YIELD_UNTIL(atomic_load((atomic_int *)arg) == 5);
    return 0;
}

TEST(a_shutdown_ends_what_is_in_a_scope)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        atomic_int alive = 0;

        test_run_on(&test_flavours[i], leaves_one_behind, &alive);
        CHECK_EQ(0, atomic_load(&alive));
    }
}

END_TEST

static void refuses_all(weft_scope *s, int want)
{
    CHECK_EQ(want, weft_scope_spawn(s, returns_it, NULL));
    CHECK_EQ(want, weft_scope_spawn_blocking(s, NULL, returns_it, NULL));
    CHECK_EQ(want, weft_scope_spawn_async(s, NULL, NULL));
    CHECK_EQ(want, weft_scope_wait(s));
    CHECK_EQ(want, weft_scope_set_deadline(s, 1));
    CHECK_EQ(want, weft_scope_set_grace(s, 1));
    CHECK_EQ(want, weft_scope_failure(s));
    CHECK_EQ(0, weft_scope_len(s));
    weft_scope_cancel(s);
    weft_scope_leave(s);
}

static int waits_for_it(void *arg)
{
    CHECK_EQ(-EPERM, weft_scope_wait(arg));
    return 0;
}

static int misuses(void *arg)
{
    weft_scope scope;
    int rc = 5;

    (void)arg;
    WEFT_SCOPE(s, &rc)
    {
        CHECK_EQ(-EINVAL, weft_scope_spawn(s, NULL, NULL));
        CHECK_EQ(-EINVAL, weft_scope_spawn_async(s, NULL, NULL));
        CHECK(weft_scope_spawn(s, waits_for_it, s) > 0);
    }
    CHECK_EQ(0, rc);
    CHECK(weft_scope_enter(&scope, &rc) == &scope);
    weft_scope_leave(&scope);
    refuses_all(&scope, -EPERM);
    refuses_all(NULL, -EINVAL);
    CHECK(weft_scope_enter(NULL, &rc) == NULL);
    return 0;
}

TEST(bad_use_gets_an_answer)
{
    int rc = 0;

    WEFT_SCOPE(s, &rc)
    {
        refuses_all(s, -EPERM);
    }
    CHECK_EQ(-EPERM, rc);
    WEFT_SCOPE(s, NULL)
    {
        refuses_all(s, -EPERM);
    }
    test_run(misuses, NULL);
}

END_TEST

TEST_MAIN("scope", each_way_out_waits_for_all_tasks,
          all_ways_to_spawn_lead_into_the_scope_and_use_what_is_around_it,
          a_block_waits_for_its_tasks_and_goes_on, the_first_failure_cancels_the_others_and_is_told,
          a_failure_interrupts_the_block_until_it_is_left, scopes_nest,
          cancelling_a_scope_is_no_failure,
          who_is_cancelled_while_it_waits_cancels_the_tasks_and_waits_on,
          a_deadline_around_a_scope_cancels_its_tasks,
          a_panic_leaves_all_scopes_before_deferred_calls_run,
          a_function_that_forgets_to_leave_is_led_out,
          a_deadline_of_the_scope_cancels_everything_inside, grace_lets_tasks_end_by_themselves,
          a_shutdown_ends_what_is_in_a_scope, bad_use_gets_an_answer)
