/* SPDX-License-Identifier: MIT */
/*
 * tree.c - acts about tasks and their children: spawning of every kind, joining, cancelling, handles,
 * panics, deferred calls, task-locals, shields and the budget.
 */
#include "soak.h"

#include <errno.h>
#include <stdlib.h>

/* --- children ---------------------------------------------------------------------------- */

static const size_t tree_stacks[] = {0, 0, (size_t)128 << 10, (size_t)512 << 10, (size_t)1 << 20};

/* A child by one of the many ways; its result will be soak_value(*seed). */
static weft_task *tree_spawn(struct soak_actor *a, uint64_t *seed)
{
    weft_task_options o = {.name = one_in(a, 2) ? "a child with a name" : NULL};

    *seed = soak_child_seed(a);
    o.stack_size = tree_stacks[roll(a, sizeof(tree_stacks) / sizeof(tree_stacks[0]))];
    switch (roll(a, 4)) {
    case 0:
        return weft_spawn(soak_actor_run, soak_seed_pointer(*seed));
    case 1:
        return weft_spawn_with(&o, soak_actor_run, soak_seed_pointer(*seed));
    case 2:
        return weft_spawn_copy_with(&o, soak_actor_run_copy, seed, sizeof(*seed));
    default:
        return weft_spawn_copy(soak_actor_run_copy, seed, sizeof(*seed));
    }
}

void soak_act_join(struct soak_actor *a)
{
    uint64_t seed;
    weft_task *t = tree_spawn(a, &seed);

    soak_join_value(t, soak_value(seed), false);
}

void soak_act_cancel(struct soak_actor *a)
{
    uint64_t seed;
    weft_task *t = tree_spawn(a, &seed);

    CHECK(t);
    for (uint64_t n = roll(a, 4); n; n--)
        soak_nap(a, 200);
    weft_cancel(t);
    if (one_in(a, 3))
        weft_cancel(t);
    if (one_in(a, 4))
        weft_detach(t);
    else
        soak_join_value(t, soak_value(seed), true);
}

void soak_act_detach(struct soak_actor *a)
{
    uint64_t seed = soak_child_seed(a);

    switch (roll(a, 4)) {
    case 0:
        CHECK_EQ(0, weft_go(soak_actor_run, soak_seed_pointer(seed)));
        break;
    case 1:
        CHECK_EQ(0, weft_go_copy(soak_actor_run_copy, &seed, sizeof(seed)));
        break;
    default:
        weft_detach(tree_spawn(a, &seed));
        break;
    }
}

/* Many at once, of which some are cancelled, then all are joined; or one waits for all of them first. */
void soak_act_storm(struct soak_actor *a)
{
    enum { MOST = 48 };

    unsigned n = 2 + (unsigned)roll(a, MOST / test_slow() + 1);
    weft_task *t[MOST + 2];
    int value[MOST + 2];
    bool cancelled[MOST + 2] = {false};
    uint64_t seed;

    for (unsigned i = 0; i < n; i++) {
        if (one_in(a, 3)) {
            t[i] = soak_stackless_spawn(a, &value[i]);
        } else {
            t[i] = tree_spawn(a, &seed);
            value[i] = soak_value(seed);
        }
        CHECK(t[i]);
    }
    if (one_in(a, 3))
        soak_nap(a, 500);
    for (unsigned i = 0; i < n; i++)
        if (one_in(a, 4)) {
            cancelled[i] = true;
            weft_cancel(t[i]);
        }
    if (one_in(a, 2)) {
        weft_future f[MOST + 2], *list[MOST + 2];

        for (unsigned i = 0; i < n; i++) {
            f[i] = weft_join_future(t[i]);
            list[i] = &f[i];
        }
        if (one_in(a, 2))
            (void)soak_expect(0, weft_join_all_n(list, n), "join_all of tasks");
        else
            (void)soak_expect(0, weft_try_join_all_n(list, n), "try_join_all of tasks");
    }
    for (unsigned i = n; i-- > 0;)
        soak_join_value(t[i], value[i], cancelled[i]);
}

/* Two handles, and a select that the join may lose. */
void soak_act_handles(struct soak_actor *a)
{
    uint64_t seed;
    weft_task *t = tree_spawn(a, &seed), *other;
    struct soak_slot *s = soak_order(a);
    weft_future ended, slot = soak_slot_future(s);
    weft_task_info info;
    bool cancel = one_in(a, 2);
    ssize_t rc;

    CHECK(t);
    other = weft_task_ref(t);
    ended = weft_join_future(t);
    rc = one_in(a, 2) ? weft_select(&ended, &slot) : weft_select_keep(&ended, &slot);
    CHECK(rc == 0 || rc == 1 || soak_is_soft(rc));
    CHECK(rc != 0 || (ended.result == 0 && weft_is_finished(t)));
    CHECK_EQ(0, weft_task_get_info(other, &info));
    CHECK(info.id == weft_task_id(t));
    weft_future_drop(&ended);
    weft_future_drop(&slot);
    soak_slot_put(s);
    if (cancel)
        weft_cancel(other);
    weft_detach(other);
    soak_join_value(t, soak_value(seed), cancel);
}

/* In another runtime of the stage, or in this one by the way from outside. */
void soak_act_abroad(struct soak_actor *a)
{
    unsigned there = (unsigned)roll(a, soak_stage.plan.runtimes);
    uint64_t seed = soak_actor_seed(&a->rand, a->depth + 1, (unsigned)roll(a, 5), there);
    bool cancel = one_in(a, 3);
    weft_task *t = NULL;
    int rc;

    if (one_in(a, 3)) {
        rc = weft_spawn_on(soak_stage.rt[there], NULL, NULL, soak_actor_run,
                           soak_seed_pointer(seed));
        CHECK(rc == 0 || (rc == -ESHUTDOWN && soak_is_cut()));
        return;
    }
    rc = weft_spawn_on(soak_stage.rt[there], &t, NULL, soak_actor_run, soak_seed_pointer(seed));
    if (rc < 0) {
        CHECK(rc == -ESHUTDOWN && soak_is_cut());
        return;
    }
    if (one_in(a, 2))
        soak_nap(a, 200);
    if (cancel)
        weft_cancel(t);
    soak_join_value(t, soak_value(seed), cancel);
}

void soak_act_stackless(struct soak_actor *a)
{
    bool cancel = one_in(a, 3);
    int value;
    weft_task *t = soak_stackless_spawn(a, &value);

    CHECK(t);
    if (one_in(a, 2))
        soak_nap(a, 200);
    if (cancel)
        weft_cancel(t);
    if (one_in(a, 3))
        weft_detach(t);
    else
        soak_join_value(t, value, cancel);
}

/* --- panics ------------------------------------------------------------------------------ */

static void panic_put_slot(void *slot)
{
    soak_slot_put(slot);
}

static void panic_left(void *seed)
{
    soak_end_id(SOAK_BODY, (uintptr_t)seed);
}

static void panic_deeply(struct soak_actor *a, unsigned depth)
{
    WEFT_DEADLINE(WEFT_SECS(1000))
    {
        if (depth)
            panic_deeply(a, depth - 1);
        WEFT_SHIELD
        {
            weft_panic("meant: the soak tries panics");
        }
    }
}

/* Panics with everything pending that may be. */
static int panic_run(void *seed)
{
    struct soak_actor a = {.rand = (uintptr_t)seed | 1};
    struct soak_slot *s;
    weft_future slot, never = weft_pending_future(), turn = weft_yield_future();

    soak_begin_id(SOAK_BODY, (uintptr_t)seed);
    CHECK_EQ(0, weft_defer(panic_left, seed));
    soak_locals_set(&a);
    s = soak_order(&a);
    CHECK_EQ(0, weft_defer(panic_put_slot, s));
    slot = soak_slot_future(s);
    (void)weft_select_keep(&slot, &never, &turn);
    panic_deeply(&a, (unsigned)roll(&a, 4));
    return 0;
}

void soak_act_panic(struct soak_actor *a)
{
    weft_task *t = weft_spawn(panic_run, soak_seed_pointer(test_rand(&a->rand)));
    bool cancel = one_in(a, 4);

    CHECK(t);
    if (cancel)
        weft_cancel(t);
    soak_join_value(t, -EOWNERDEAD, cancel);
}

/* --- deferred calls and locals ----------------------------------------------------------- */

static weft_local_key *key_own, *key_inherited;

struct local {
    uint64_t magic;
};

#define LOCAL_MAGIC UINT64_C(0x6c6f63616c6c6f63)

static struct local *local_new(void)
{
    struct local *v = malloc(sizeof(*v));

    CHECK(v);
    v->magic = LOCAL_MAGIC;
    soak_begin_id(SOAK_LOCAL, (uintptr_t)v);
    return v;
}

static void local_destroy(void *value)
{
    struct local *v = value;

    CHECK(v->magic == LOCAL_MAGIC);
    v->magic = 0;
    soak_end_id(SOAK_LOCAL, (uintptr_t)v);
    free(v);
}

static void *local_inherit(void *value)
{
    CHECK(((struct local *)value)->magic == LOCAL_MAGIC);
    return local_new();
}

void soak_locals_open(void)
{
    CHECK_EQ(0, weft_local_key_new(&key_own, local_destroy, 0, NULL));
    CHECK_EQ(0,
             weft_local_key_new(&key_inherited, local_destroy, WEFT_LOCAL_INHERIT, local_inherit));
}

void soak_locals_close(void)
{
    weft_local_key_free(key_own);
    weft_local_key_free(key_inherited);
}

void soak_locals_set(struct soak_actor *a)
{
    weft_local_key *key = one_in(a, 2) ? key_own : key_inherited;

    if (!weft_task_local_get(key))
        CHECK_EQ(0, weft_task_local_set(key, local_new()));
    CHECK(((struct local *)weft_task_local_get(key))->magic == LOCAL_MAGIC);
}

void soak_act_locals(struct soak_actor *a)
{
    struct local *own;

    soak_locals_set(a);
    own = weft_task_local_get(key_own);
    soak_act_waiting(a);
    CHECK(weft_task_local_get(key_own) == own);
}

/* Does this task have a value of the one that spawned it? */
static int heir(void *has)
{
    CHECK_EQ(has != NULL, weft_task_local_get(key_inherited) != NULL);
    return 4;
}

/* Another value, or none, for a part of the code, wherever that goes on; what comes out is what went in. */
void soak_act_swap(struct soak_actor *a)
{
    weft_local_key *key = one_in(a, 2) ? key_own : key_inherited;
    void *outside = weft_task_local_get(key), *old = NULL, *back = NULL;
    struct local *inside = one_in(a, 4) ? NULL : local_new();

    CHECK_EQ(0, weft_task_local_swap(key, inside, &old));
    CHECK(old == outside && weft_task_local_get(key) == inside);
    if (key == key_inherited && soak_has_room())
        soak_join_value(weft_spawn(heir, inside), 4, false);
    soak_act_waiting(a);
    CHECK(weft_task_local_get(key) == inside);
    if (one_in(a, 3)) { /* the task keeps what it has now */
        if (old)
            local_destroy(old);
        return;
    }
    CHECK_EQ(0, weft_task_local_swap(key, old, &back));
    CHECK(back == inside && weft_task_local_get(key) == outside);
    if (inside)
        local_destroy(inside);
}

/* Waits, which no cancellation reaches here. */
static void defer_wait(void *unused)
{
    (void)unused;
    CHECK(!weft_is_cancelled());
    CHECK_EQ(0, weft_yield());
    soak_end(SOAK_DEFER);
}

static void defer_count(void *unused)
{
    (void)unused;
    soak_end(SOAK_DEFER);
}

void soak_act_defer(struct soak_actor *a)
{
    for (uint64_t n = roll(a, 4); n; n--) {
        soak_begin(SOAK_DEFER);
        CHECK_EQ(0, weft_defer(one_in(a, 2) ? defer_wait : defer_count, NULL));
    }
}

/* --- within a task ----------------------------------------------------------------------- */

void soak_act_shield(struct soak_actor *a)
{
    struct soak_slot *s = soak_order(a);
    weft_future f = soak_slot_future(s);

    WEFT_SHIELD
    {
        CHECK(!weft_is_cancelled() && !weft_deadline_passed());
        CHECK_EQ(soak_slot_value(s), weft_await(&f));
        if (one_in(a, 2))
            soak_act_waiting(a);
        CHECK(!weft_is_cancelled() && !weft_deadline_passed());
    }
    soak_slot_put(s);
}

static int budget_loop(void *arg)
{
    weft_future done = weft_ready_future(7);

    for (uint64_t n = *(uint64_t *)arg; n; n--) {
        weft_future f = done;

        if (!soak_expect(7, weft_await(&f), "a ready future"))
            break;
        if (weft_should_yield() && !soak_expect(0, weft_yield(), "yield"))
            break;
    }
    return 5;
}

void soak_act_budget(struct soak_actor *a)
{
    uint64_t n = roll(a, 400);

    switch (roll(a, 3)) {
    case 0:
        CHECK_EQ(5, weft_unconstrained(budget_loop, &n));
        break;
    case 1:
        for (; n; n--)
            if (!soak_expect(0, weft_consume_budget(), "budget"))
                break;
        break;
    default:
        CHECK_EQ(5, budget_loop(&n));
        break;
    }
}

/* The second of two joiners; on its parent's stack. */
struct rival {
    weft_task *t;
    bool joined;
};

static int misuse_join(void *arg)
{
    struct rival *r = arg;
    int result, rc = weft_join(r->t, &result);

    /* Each may come when the other is done. */
    r->joined = rc == 0;
    CHECK(rc == 0 || rc == -EBUSY || soak_is_soft(rc));
    return 0;
}

/* What is wrong gets its documented answer, and changes nothing. */
void soak_act_misuse(struct soak_actor *a)
{
    weft_task *self = weft_task_self();
    uint64_t seed = soak_child_seed(a);
    weft_future empty = {0};
    struct rival rival = {0};
    weft_task *t, *second;
    int result = 3, rc;

    CHECK_EQ(-EDEADLK, weft_join_blocking(self, &result));
    CHECK_EQ(-EDEADLK, weft_block_on(weft_runtime_current(), soak_actor_run,
                                     soak_seed_pointer(seed), &result));
    rc = weft_join(self, &result);
    CHECK(rc == -EDEADLK || soak_is_soft(rc));
    rc = weft_join(NULL, &result);
    CHECK(rc == -ENOMEM || soak_is_soft(rc));
    CHECK_EQ(3, result);
    CHECK_EQ(-EINVAL, weft_await(&empty));
    if (!soak_has_room())
        return;
    t = weft_spawn(soak_actor_run, soak_seed_pointer(seed));
    CHECK(t);
    rival.t = weft_task_ref(t);
    second = weft_spawn(misuse_join, &rival);
    rc = weft_join(t, &result);
    if (rc < 0) {
        CHECK(rc == -EBUSY || soak_is_soft(rc));
        weft_detach(t);
    }
    CHECK(rc < 0 || result == soak_value(seed) || (result == -ECANCELED && soak_is_cut()));
    rc = soak_join(second);
    CHECK(rc == 0 || rc == -ECANCELED);
    if (!rival.joined)
        weft_detach(rival.t);
}
