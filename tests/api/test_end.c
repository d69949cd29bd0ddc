/* SPDX-License-Identifier: MIT */
/*
 * test_end.c - how a task ends and what it leaves behind: panics, deferred calls, task-locals,
 * the hooks that watch it.
 */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
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

static int return_zero(void *arg)
{
    (void)arg;
    return 0;
}

/* --- panic ------------------------------------------------------------------ */

/* A future that stays pending and counts its drops. */
static weft_poll tally_poll(weft_future *f, weft_context *cx)
{
    (void)f;
    (void)cx;
    return WEFT_PENDING;
}

static void tally_drop(weft_future *f)
{
    atomic_fetch_add((atomic_int *)f->words[0], 1);
}

static const weft_future_type tally_type = {tally_poll, tally_drop, "tally"};

static weft_future tally_future(atomic_int *drops)
{
    weft_future f = weft_future_of(&tally_type);

    f.words[0] = (uintptr_t)drops;
    return f;
}

static void note(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

struct panic {
    atomic_int deferred, dropped, after;
};

/* Leave the first one pending. */
static void keep(weft_future *kept, weft_future *ready)
{
    weft_future *const list[] = {kept, ready};

    CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP));
}

static void panic_inner(struct panic *p)
{
    weft_future kept = tally_future(&p->dropped), ready = weft_ready_future(0);

    keep(&kept, &ready);
    weft_panic("on purpose, %d", 42);
}

static void panic_outer(struct panic *p)
{
    weft_future kept = tally_future(&p->dropped), ready = weft_ready_future(0);

    keep(&kept, &ready);
    panic_inner(p);
    atomic_fetch_add(&p->after, 1);
    weft_future_drop(&kept);
}

static int panics(void *arg)
{
    struct panic *p = arg;

    CHECK_EQ(0, weft_defer(note, &p->deferred));
    CHECK_EQ(0, weft_sleep(WEFT_US(100)));
    panic_outer(p);
    return 0;
}

static int panic_alone(void *arg)
{
    struct panic p = {0};
    weft_task *other = weft_spawn(return_zero, NULL), *t = weft_spawn(panics, &p);
    int result;

    (void)arg;
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-EOWNERDEAD, result);
    CHECK_EQ(1, atomic_load(&p.deferred));
    CHECK_EQ(2, atomic_load(&p.dropped));
    CHECK_EQ(0, atomic_load(&p.after));
    CHECK_EQ(0, weft_join(other, &result));
    CHECK_EQ(0, result);
    return 0;
}

TEST(a_panic_ends_one_task_drops_its_futures_and_runs_its_deferred_calls)
{
    test_run(panic_alone, NULL);
}

END_TEST

static int panics_with(void *arg)
{
    CHECK_EQ(0, weft_yield());
    weft_panic("%s, %d", (const char *)arg, 42);
}

static void claim_last_words(const weft_task_options *options, char *words)
{
    char all[400], want[256];
    weft_task *t = weft_spawn_with(options, panics_with, words), *same = weft_task_ref(t);
    weft_future end = weft_join_future(t);
    int result = 0;

    (void)snprintf(all, sizeof(all), "%s, 42", words);
    (void)snprintf(want, sizeof(want), "%.255s", all);
    CHECK_EQ(0, weft_await(&end));
    CHECK_STR(want, weft_task_panic_message(t));
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-EOWNERDEAD, result);
    CHECK_STR(want, weft_task_panic_message(same));
    CHECK_STR(options && options->name ? options->name : "", weft_task_name(same));
    weft_detach(same);
}

static int last_words(void *arg)
{
    static const weft_task_options named = {.name = "brief"};
    weft_task *t;
    char text[300] = "on purpose";

    (void)arg;
    claim_last_words(NULL, text);
    claim_last_words(&named, text);
    memset(text, 'x', sizeof(text));
    text[299] = '\0';
    claim_last_words(NULL, text);
    text[0] = '\0';
    claim_last_words(NULL, text);
    t = weft_spawn(return_zero, NULL);
    CHECK_STR("", weft_task_panic_message(t));
    CHECK_STR("", weft_task_panic_message(weft_task_self()));
    CHECK_STR("", weft_task_panic_message(NULL));
    CHECK_EQ(0, weft_join(t, NULL));
    return 0;
}

TEST(what_a_task_said_in_its_panic_is_kept_with_its_handle)
{
    test_run(last_words, NULL);
}

/* Scopes and shields that a panic leaves behind: their timers must not outlive the stack. */
static int panic_in_scopes(void *arg)
{
    (void)arg;
    WEFT_DEADLINE(WEFT_MS(3))
    {
        (void)weft_sleep(WEFT_US(100)); /* arms the deadline */
        WEFT_SHIELD
        {
            WEFT_DEADLINE(WEFT_MS(2))
            {
                (void)weft_sleep(WEFT_US(100));
                WEFT_SHIELD
                {
                    weft_panic("within scopes");
                }
            }
        }
    }
    return 0;
}

static int panic_scoped(void *arg)
{
    weft_metrics m;
    int result;

    (void)arg;
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(0, weft_join(weft_spawn(panic_in_scopes, NULL), &result));
        CHECK_EQ(-EOWNERDEAD, result);
    }
    CHECK_EQ(0, weft_metrics_snapshot(weft_runtime_current(), &m));
    CHECK_EQ(0, m.timers_armed);
    CHECK_EQ(0, weft_sleep(WEFT_MS(4)));
    return 0;
}

TEST(a_panic_within_deadlines_and_shields_leaves_no_timer)
{
    test_run(panic_scoped, NULL);
}

/* --- defer ------------------------------------------------------------------ */

struct order {
    int at[8];
    int count;
    int sleeps;
};

static struct order *order_now;

static void order_note(void *arg)
{
    order_now->at[order_now->count++] = (int)(intptr_t)arg;
}

static void order_nested(void *arg)
{
    order_note(arg);
    CHECK_EQ(0, weft_defer(order_note, (void *)8)); /* the newest: runs next */
}

/* Deferred calls may await, masked from cancel, and are on the task's stack. */
static void order_sleeps(void *arg)
{
    order_note(arg);
    CHECK(!weft_is_cancelled());
    CHECK_EQ(0, weft_sleep(WEFT_US(200)));
    CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, weft_join(weft_spawn(return_zero, NULL), NULL));
    order_now->sleeps++;
}

static int defers(void *arg)
{
    weft_future f = weft_pending_future();

    (void)arg;
    CHECK_EQ(0, weft_defer(order_note, (void *)1));
    CHECK_EQ(0, weft_defer(order_sleeps, (void *)2));
    CHECK_EQ(0, weft_defer(order_nested, (void *)3));
    CHECK_EQ(-EINVAL, weft_defer(NULL, NULL));
    return (int)weft_await(&f);
}

static int defer_order(void *arg)
{
    static const int want[] = {3, 8, 2, 1};
    struct order order = {0};
    weft_task *t;
    int result;

    (void)arg;
    order_now = &order;
    t = weft_spawn(defers, NULL);
    until_waiting(t);
    CHECK_EQ(0, order.count);
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-ECANCELED, result);
    CHECK_EQ(4, order.count);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(want[i], order.at[i]);
    CHECK_EQ(1, order.sleeps);
    return 0;
}

TEST(deferred_calls_run_in_reverse_and_may_await)
{
    CHECK_EQ(-EPERM, weft_defer(note, NULL));
    test_run(defer_order, NULL);
}

/* --- task-locals ------------------------------------------------------------ */

static weft_local_key *local_plain, *local_shared, *local_copied;
static atomic_int local_alive; /* values made and not destroyed */

static void *local_new(int n)
{
    int *p = malloc(sizeof(*p));

    CHECK(p);
    *p = n;
    atomic_fetch_add(&local_alive, 1);
    return p;
}

static void local_destroy(void *value)
{
    CHECK(value);
    atomic_fetch_sub(&local_alive, 1);
    free(value);
}

static void *local_copy(void *value)
{
    return local_new(*(int *)value + 1);
}

static int local_child(void *arg)
{
    CHECK(weft_task_local_get(local_plain) == NULL);
    CHECK(weft_task_local_get(local_shared) == arg);
    CHECK_EQ(11, *(int *)weft_task_local_get(local_copied));
    CHECK_EQ(0, weft_task_local_set(local_plain, local_new(2)));
    CHECK_EQ(0, weft_task_local_set(local_shared, &local_alive)); /* the parent's stays */
    CHECK_EQ(0, weft_yield());
    CHECK_EQ(2, *(int *)weft_task_local_get(local_plain));
    return 0;
}

struct local_async {
    weft_async async;
    void *shared;
    weft_future pause;
};

static weft_poll local_async_poll(void *self, weft_context *cx)
{
    struct local_async *a = self;

    WEFT_ASYNC_BEGIN(a);
    a->pause = weft_yield_future();
    WEFT_AWAIT(a, cx, &a->pause);
    CHECK(weft_task_local_get(local_shared) == a->shared);
    CHECK_EQ(11, *(int *)weft_task_local_get(local_copied));
    CHECK_EQ(0, weft_task_local_set(local_plain, local_new(3)));
    WEFT_RETURN(a, 0);
    WEFT_ASYNC_END(a);
}

static const weft_async_type local_async_type = {.poll = local_async_poll,
                                                 .size = sizeof(struct local_async),
                                                 .name = "locals"};

static int local_parent(void *arg)
{
    int here = 0;
    weft_task *t;

    (void)arg;
    CHECK(weft_task_local_get(local_plain) == NULL);
    CHECK_EQ(0, weft_task_local_set(local_plain, local_new(1)));
    CHECK_EQ(0, weft_task_local_set(local_shared, &here));
    CHECK_EQ(0, weft_task_local_set(local_copied, local_new(10)));
    CHECK_EQ(0, weft_join(weft_spawn(local_child, &here), NULL));
    CHECK_EQ(0,
             weft_join(weft_spawn_async(&local_async_type, &(struct local_async){.shared = &here}),
                       NULL));
    /* Inherited, but never run: destroyed all the same. */
    t = weft_spawn(return_zero, NULL);
    weft_cancel(t);
    CHECK_EQ(0, weft_join(t, NULL));
    CHECK_EQ(1, *(int *)weft_task_local_get(local_plain));
    CHECK(weft_task_local_get(local_shared) == &here);
    CHECK_EQ(0, weft_task_local_set(local_shared, NULL));
    CHECK(weft_task_local_get(local_shared) == NULL);
    return 0;
}

static int local_panics(void *arg)
{
    (void)arg;
    CHECK_EQ(0, weft_task_local_set(local_plain, local_new(5)));
    weft_panic("with a local");
}

static int locals(void *arg)
{
    (void)arg;
    CHECK_EQ(0, weft_join(weft_spawn(local_parent, NULL), NULL));
    CHECK_EQ(0, atomic_load(&local_alive));
    CHECK_EQ(0, weft_join(weft_spawn(local_panics, NULL), NULL));
    CHECK_EQ(0, atomic_load(&local_alive));
    return 0;
}

TEST(task_locals_are_inherited_as_asked_and_destroyed_at_the_end)
{
    weft_local_key *bad = NULL;

    CHECK_EQ(-EINVAL, weft_local_key_new(&bad, local_destroy, WEFT_LOCAL_INHERIT, NULL));
    CHECK_EQ(-EINVAL, weft_local_key_new(&bad, NULL, 0x80, NULL));
    CHECK_EQ(-EINVAL, weft_local_key_new(NULL, NULL, 0, NULL));
    CHECK(bad == NULL);
    CHECK_EQ(0, weft_local_key_new(&local_plain, local_destroy, 0, NULL));
    CHECK_EQ(0, weft_local_key_new(&local_shared, NULL, WEFT_LOCAL_INHERIT, NULL));
    CHECK_EQ(0, weft_local_key_new(&local_copied, local_destroy, WEFT_LOCAL_INHERIT, local_copy));
    CHECK_EQ(-EPERM, weft_task_local_set(local_plain, NULL));
    CHECK_EQ(-EINVAL, weft_task_local_set(NULL, NULL));
    CHECK(weft_task_local_get(local_plain) == NULL);
    CHECK(weft_task_local_get(NULL) == NULL);
    test_run(locals, NULL);
    weft_local_key_free(local_plain);
    weft_local_key_free(local_shared);
    weft_local_key_free(local_copied);
    weft_local_key_free(NULL);
}

static int local_swaps(void *arg)
{
    void *outer = local_new(1), *old = &outer;

    (void)arg;
    CHECK_EQ(0, weft_task_local_swap(local_plain, NULL, &old));
    CHECK(old == NULL);
    CHECK_EQ(0, weft_task_local_swap(local_plain, outer, &old));
    CHECK(old == NULL);
    CHECK_EQ(0, weft_task_local_swap(local_plain, local_new(2), &old)); /* for a while */
    CHECK(old == outer);
    CHECK_EQ(2, *(int *)weft_task_local_get(local_plain));
    CHECK_EQ(2, atomic_load(&local_alive));
    CHECK_EQ(0, weft_task_local_set(local_plain, old)); /* the inner one is destroyed */
    CHECK_EQ(1, atomic_load(&local_alive));
    CHECK_EQ(0, weft_task_local_set(local_plain, old)); /* what is there stays */
    CHECK_EQ(1, *(int *)weft_task_local_get(local_plain));
    CHECK_EQ(0, weft_task_local_swap(local_plain, NULL, &old));
    CHECK(old == outer && weft_task_local_get(local_plain) == NULL);
    local_destroy(old);
    return 0;
}

static int local_swap_alone(void *arg)
{
    (void)arg;
    CHECK_EQ(0, weft_join(weft_spawn(local_swaps, NULL), NULL));
    CHECK_EQ(0, atomic_load(&local_alive));
    CHECK_EQ(-EINVAL, weft_task_local_swap(local_plain, NULL, NULL));
    return 0;
}

TEST(a_local_may_be_set_for_a_while_and_taken_out)
{
    void *old;

    CHECK_EQ(0, weft_local_key_new(&local_plain, local_destroy, 0, NULL));
    CHECK_EQ(-EPERM, weft_task_local_swap(local_plain, NULL, &old));
    CHECK_EQ(-EINVAL, weft_task_local_swap(NULL, NULL, &old));
    test_run(local_swap_alone, NULL);
    weft_local_key_free(local_plain);
}

static int local_set_later(void *arg)
{
    (void)arg;
    CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, weft_task_local_set(local_shared, &local_alive));
    return weft_yield();
}

static int local_watched(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++) {
        weft_task *t = weft_spawn(local_set_later, NULL);
        weft_task_info info;

        while (!weft_is_finished(t)) {
            CHECK_EQ(0, weft_task_get_info(t, &info));
            CHECK_STR("", weft_task_name(t));
            CHECK_EQ(0, weft_yield());
        }
        CHECK_EQ(0, weft_join(t, NULL));
    }
    return 0;
}

TEST(a_task_may_be_looked_at_while_it_sets_its_first_local)
{
    CHECK_EQ(0, weft_local_key_new(&local_shared, NULL, 0, NULL));
    test_run(local_watched, NULL);
    weft_local_key_free(local_shared);
}

static int local_key_gone(void *arg)
{
    weft_local_key *key;

    CHECK_EQ(0, weft_local_key_new(&key, note, 0, NULL));
    CHECK_EQ(0, weft_task_local_set(key, arg));
    weft_local_key_free(key);
    return 0;
}

static int local_gone(void *arg)
{
    atomic_int destroyed = 0;

    (void)arg;
    CHECK_EQ(0, weft_join(weft_spawn(local_key_gone, &destroyed), NULL));
    CHECK_EQ(0, atomic_load(&destroyed));
    return 0;
}

TEST(values_of_a_freed_key_are_not_destroyed)
{
    test_run(local_gone, NULL);
}

/* --- hooks ------------------------------------------------------------------ */

struct hooks {
    atomic_int spawned, started, stopped, ended, extra;
};

static int hook_extra(void *arg)
{
    atomic_fetch_add(&((struct hooks *)arg)->extra, 1);
    return 0;
}

static void hook_spawn(void *user, const weft_task *t)
{
    CHECK(weft_task_id(t) != 0);
    atomic_fetch_add(&((struct hooks *)user)->spawned, 1);
}

static void hook_start(void *user, const weft_task *t)
{
    CHECK(weft_task_id(t) != 0);
    atomic_fetch_add(&((struct hooks *)user)->started, 1);
}

static void hook_stop(void *user, const weft_task *t)
{
    CHECK(weft_task_id(t) != 0);
    atomic_fetch_add(&((struct hooks *)user)->stopped, 1);
}

static void hook_end(void *user, const weft_task *t)
{
    struct hooks *h = user;

    atomic_fetch_add(&h->ended, 1);
    if (strcmp(weft_task_name(t), "last") == 0)
        weft_detach(weft_spawn(hook_extra, h)); /* the one thing that a hook may do */
}

#define HOOKED 20

static int hooked(void *arg)
{
    struct hooks *h = arg;
    weft_task *t[HOOKED];

    for (int i = 0; i < HOOKED; i++)
        t[i] = weft_spawn(i % 2 ? return_zero : hook_extra, h);
    for (int i = 0; i < HOOKED; i++)
        CHECK_EQ(0, weft_join(t[i], NULL));
    CHECK_EQ(0, weft_join(weft_spawn_with(&(weft_task_options){.name = "last"}, return_zero, NULL),
                          NULL));
    while (atomic_load(&h->extra) < HOOKED / 2 + 1)
        CHECK_EQ(0, weft_yield());
    return 0;
}

TEST(hooks_see_each_task_and_each_poll)
{
    test_watchdog(20);
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct hooks h = {0};
        weft_config config = {
            .flavor = test_flavours[i].flavor,
            .worker_threads = test_flavours[i].workers,
            .ignore_env = WEFT_ON,
            .on_task_spawn = hook_spawn,
            .on_task_poll_start = hook_start,
            .on_task_poll_stop = hook_stop,
            .on_task_end = hook_end,
            .hook_user = &h,
        };
        weft_runtime *rt;

        CHECK_EQ(0, weft_runtime_new(&rt, &config));
        CHECK_EQ(0, weft_block_on(rt, hooked, &h, NULL));
        weft_runtime_free(rt);
        CHECK_EQ(HOOKED + 3, atomic_load(&h.spawned)); /* and the root, "last", and its own */
        CHECK_EQ(HOOKED + 3, atomic_load(&h.ended));
        CHECK(atomic_load(&h.started) >= HOOKED + 3);
        CHECK_EQ(atomic_load(&h.started), atomic_load(&h.stopped));
    }
}

TEST_MAIN("end", a_panic_ends_one_task_drops_its_futures_and_runs_its_deferred_calls,
          what_a_task_said_in_its_panic_is_kept_with_its_handle,
          a_panic_within_deadlines_and_shields_leaves_no_timer,
          deferred_calls_run_in_reverse_and_may_await,
          task_locals_are_inherited_as_asked_and_destroyed_at_the_end,
          a_local_may_be_set_for_a_while_and_taken_out,
          a_task_may_be_looked_at_while_it_sets_its_first_local,
          values_of_a_freed_key_are_not_destroyed, hooks_see_each_task_and_each_poll)
