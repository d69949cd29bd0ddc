/* SPDX-License-Identifier: MIT */
/*
 * group.c - acts about tasks that belong together: sets and maps of them, taken to the end, emptied or freed half way;
 * some sets are local, and their tasks stay on a thread; and scopes, which are failed, cancelled, timed, nested and
 * left.
 */
#include "soak.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST 12

/* --- sets ------------------------------------------------------------------------------------ */

struct brood {
    struct soak_actor *a;
    unsigned n, taken;
    bool ordered, timed, cancelled, local;
    uint64_t id[MOST];
    int value[MOST];
    bool seen[MOST];
};

/* Whatever it does. A current-thread runtime's thread is whichever drives it. */
static int stays_on_its_thread(void *arg)
{
    unsigned home = (uintptr_t)arg >> 5 & 7;
    bool pinned = home < soak_stage.plan.runtimes &&
                  soak_stage.plan.runtime[home].config.flavor != WEFT_CURRENT_THREAD;
    long thread = syscall(SYS_gettid);
    int result = soak_actor_run(arg);

    CHECK(!pinned || thread == syscall(SYS_gettid));
    return result;
}

static int stays_on_its_thread_copy(void *seed)
{
    return stays_on_its_thread(soak_seed_pointer(*(uint64_t *)seed));
}

static void brood_spawn(struct brood *b, weft_join_set *set)
{
    weft_fn *run = b->local ? stays_on_its_thread : soak_actor_run;
    weft_fn *run_copy = b->local ? stays_on_its_thread_copy : soak_actor_run_copy;

    for (; b->n < MOST && (b->n == 0 || !one_in(b->a, 6)); b->n++) {
        uint64_t seed = soak_child_seed(b->a);
        weft_task_options o = {.tag = b->n, .name = one_in(b->a, 4) ? "one of many" : NULL};
        ssize_t id;

        b->value[b->n] = soak_value(seed);
        id = one_in(b->a, 2)
                 ? weft_join_set_spawn_with(set, &o, run, soak_seed_pointer(seed))
                 : weft_join_set_spawn_copy_with(set, &o, run_copy, &seed, sizeof(seed));
        CHECK(id > 0);
        b->id[b->n] = (uint64_t)id;
    }
}

/* Each comes once, with its value; in order, if they are to. */
static void brood_claim(struct brood *b, const weft_join_done *done)
{
    CHECK(done->tag < b->n && !b->seen[done->tag] && done->id == b->id[done->tag]);
    CHECK(!b->ordered || done->tag == b->taken);
    b->seen[done->tag] = true;
    b->taken++;
    if (done->result != b->value[done->tag]) {
        CHECK_EQ(-ECANCELED, done->result);
        CHECK(b->cancelled || b->timed || soak_is_cut());
    }
}

static int brood_next(struct brood *b, weft_join_set *set, weft_join_done *done)
{
    weft_future next, turn = weft_yield_future();

    switch (roll(b->a, 5)) {
    case 0:
        return weft_join_set_try_next(set, done);
    case 1:
        next = weft_join_set_next_future(set, done);
        if (weft_select(&next, &turn) != 0)
            return -EAGAIN;
        return (int)next.result;
    default:
        return weft_join_set_next(set, done);
    }
}

/* Something happens to all of them. True: that was all. */
static bool brood_disturb(struct brood *b, weft_join_set *set)
{
    switch (roll(b->a, 12)) {
    case 0:
        b->cancelled = true;
        weft_join_set_cancel(set);
        return false;
    case 1:
        b->cancelled = true;
        (void)weft_join_set_cancel_one(set, b->id[roll(b->a, b->n)]);
        return false;
    case 2:
        weft_join_set_detach_all(set);
        CHECK(weft_join_set_is_empty(set));
        CHECK_EQ(0, weft_join_set_try_next(set, NULL));
        return true;
    case 3:
        return true;
    default:
        return false;
    }
}

static void brood_drive(struct brood *b, weft_join_set *set)
{
    while (b->taken < b->n) {
        weft_join_done done;
        int rc = brood_next(b, set, &done);

        if (rc == 1) {
            brood_claim(b, &done);
        } else if (rc == -EAGAIN) {
            soak_act_yield(b->a);
            if (weft_is_cancelled() || weft_deadline_passed())
                return;
        } else {
            CHECK(soak_is_soft(rc));
            return;
        }
        CHECK_EQ(b->n - b->taken, weft_join_set_len(set));
        if (b->taken < b->n && brood_disturb(b, set))
            return;
    }
    CHECK_EQ(0, weft_join_set_try_next(set, NULL));
}

void soak_act_task_set(struct soak_actor *a)
{
    struct brood b = {.a = a,
                      .ordered = one_in(a, 2),
                      .timed = !soak_stage.plan.quiet && one_in(a, 4),
                      .local = one_in(a, 2)};
    weft_join_set_options o = {.ordered = b.ordered};
    weft_join_set *set;

    if (b.timed)
        o.deadline = weft_now() + WEFT_US(roll(a, 3000));
    CHECK_EQ(0, b.local ? weft_local_set_new_with(&set, &o) : weft_join_set_new_with(&set, &o));
    brood_spawn(&b, set);
    brood_drive(&b, set);
    if (one_in(a, 3))
        (void)weft_join_set_free_after(set, WEFT_US(roll(a, 500)));
    else
        weft_join_set_free(set);
}

/* --- maps ------------------------------------------------------------------------------------ */

/* Few keys for many tasks. */
void soak_act_task_map(struct soak_actor *a)
{
    static const char *const names[] = {"one", "two", "three"};
    weft_join_map *map = weft_join_map_new();
    int value[3] = {0};
    bool there[3] = {false}, cancelled[3] = {false};
    weft_join_map_done done;
    unsigned k, n = 0;
    int rc = 1;

    CHECK(map);
    for (unsigned i = 0; i < MOST; i++) {
        uint64_t seed = soak_child_seed(a);

        k = (unsigned)roll(a, 3);
        value[k] = soak_value(seed);
        CHECK(weft_join_map_spawn(map, weft_key_string(names[k]), soak_actor_run,
                                  soak_seed_pointer(seed)) > 0);
        n += !there[k];
        there[k] = true;
        cancelled[k] = one_in(a, 6);
        if (cancelled[k])
            CHECK_EQ(0, weft_join_map_cancel(map, weft_key_string(names[k])));
        CHECK_EQ(n, weft_join_map_len(map));
    }
    while (n > 0 && !one_in(a, 8)) {
        rc = weft_join_map_next(map, &done);
        if (rc != 1)
            break;
        for (k = 0; !weft_key_equal(done.key, weft_key_string(names[k])); k++)
            CHECK(k < 2);
        CHECK(there[k]);
        there[k] = false;
        n--;
        if (done.result != value[k]) {
            CHECK_EQ(-ECANCELED, done.result);
            CHECK(cancelled[k] || soak_is_cut());
        }
    }
    CHECK(rc == 1 || soak_is_soft(rc));
    weft_join_map_free(map);
}

/* --- scopes ---------------------------------------------------------------------------------- */

/* On the stack of the block: all its tasks have left it when the scope is over. */
struct nest {
    unsigned in, out; /* atomic */
};

struct chick {
    struct nest *nest;
    uint64_t seed;
};

static int chick_run(void *arg)
{
    struct chick c = *(struct chick *)arg;
    int result;

    __atomic_fetch_add(&c.nest->in, 1, __ATOMIC_RELAXED);
    result = soak_actor_run(soak_seed_pointer(c.seed));
    __atomic_fetch_add(&c.nest->out, 1, __ATOMIC_RELAXED);
    return result;
}

static int chick_fails(void *unused)
{
    (void)unused;
    (void)weft_yield();
    return -EXDEV;
}

/* What may become of a scope. */
struct omen {
    bool fails, cancelled, timed;
};

static void nest_fill(struct soak_actor *a, weft_scope *s, struct nest *nest, struct omen *omen)
{
    for (uint64_t n = roll(a, 5); n; n--) {
        struct chick c = {nest, soak_child_seed(a)};

        CHECK(weft_scope_spawn_copy(s, chick_run, &c, sizeof(c)) > 0);
    }
    if (one_in(a, 4)) {
        omen->fails = true;
        CHECK(weft_scope_spawn(s, chick_fails, NULL) > 0);
    }
    if (!soak_stage.plan.quiet && one_in(a, 6)) {
        omen->timed = true;
        CHECK_EQ(0, weft_scope_set_deadline(s, weft_now() + WEFT_US(roll(a, 3000))));
    }
    if (!soak_stage.plan.quiet && one_in(a, 6)) {
        omen->timed = true;
        CHECK_EQ(0, weft_scope_set_grace(s, WEFT_US(roll(a, 1000))));
    }
}

static void nest_check(const struct omen *omen, const struct nest *nest, int rc)
{
    CHECK_EQ(nest->in, nest->out);
    if (rc == -EXDEV)
        CHECK(omen->fails);
    else if (rc == -ETIMEDOUT)
        CHECK(omen->timed || weft_deadline_passed());
    else if (rc == -ECANCELED)
        CHECK(weft_is_cancelled() || soak_is_cut());
    else
        CHECK_EQ(0, rc);
}

static void nest_build(struct soak_actor *a, unsigned depth)
{
    struct nest nest = {0};
    struct omen omen = {0};
    int rc = 1;

    WEFT_SCOPE(s, &rc)
    {
        nest_fill(a, s, &nest, &omen);
        if (one_in(a, 2))
            soak_act_waiting(a);
        if (depth && one_in(a, 2))
            nest_build(a, depth - 1); /* NOLINT(misc-no-recursion) */
        if (one_in(a, 6)) {
            omen.cancelled = true;
            weft_scope_cancel(s);
            CHECK(weft_is_cancelled());
            break;
        }
        if (one_in(a, 4)) {
            int done = weft_scope_wait(s);

            CHECK(done == 0 || done == weft_scope_failure(s) || soak_is_soft(done));
        }
    }
    nest_check(&omen, &nest, rc);
}

void soak_act_scope(struct soak_actor *a)
{
    nest_build(a, 2);
}
