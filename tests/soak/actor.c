/* SPDX-License-Identifier: MIT */
/*
 * actor.c - actors: tasks that do a few acts drawn by the round's weights; and what acts share.
 *
 * IDEA     An actor's seed is 64 bits and fits a pointer, so that spawning one needs no memory that would be
 *          lost if it never runs. Its low byte says depth, steps and home.
 * CLAIMS   A body that was entered is left once: by its return, with the value that its seed tells. Its
 *          first deferred call runs last of all.
 */
#include "acts.h"

#include <errno.h>
#include <stdio.h>

#define DEPTH_MAX 3

/* --- the table --------------------------------------------------------------------------- */

#define ACT(name, flags)        \
 {                              \
#  name, soak_act_##name, flags \
 }

const struct soak_act_entry soak_acts[] = {
    ACT(join, SOAK_SPAWNS),
    ACT(cancel, SOAK_SPAWNS),
    ACT(detach, SOAK_SPAWNS),
    ACT(storm, SOAK_SPAWNS),
    ACT(handles, SOAK_SPAWNS),
    ACT(abroad, SOAK_SPAWNS),
    ACT(stackless, SOAK_SPAWNS),
    ACT(panic, SOAK_SPAWNS | SOAK_DEAR),
    ACT(defer, 0),
    ACT(shield, 0),
    ACT(budget, 0),
    ACT(take, 0),
    ACT(misuse, SOAK_DEAR),
    ACT(locals, 0),
    ACT(swap, 0),
    ACT(yield, SOAK_WAITS),
    ACT(slot, SOAK_WAITS),
    ACT(select, SOAK_WAITS),
    ACT(keep, SOAK_WAITS),
    ACT(join_all, SOAK_WAITS),
    ACT(try_join_all, SOAK_WAITS),
    ACT(nested, SOAK_WAITS | SOAK_TIMES),
    ACT(queue, SOAK_SPAWNS),
    ACT(haunted, SOAK_WAITS),
    ACT(channel, SOAK_SPAWNS),
    ACT(oneshot, SOAK_SPAWNS),
    ACT(set, SOAK_WAITS),
    ACT(fan_out, SOAK_SPAWNS),
    ACT(loop, SOAK_WAITS),
    ACT(task_loop, SOAK_SPAWNS),
    ACT(task_set, SOAK_SPAWNS),
    ACT(task_map, SOAK_SPAWNS),
    ACT(scope, SOAK_SPAWNS),
    ACT(sleep, SOAK_WAITS | SOAK_TIMES),
    ACT(timeout, SOAK_WAITS | SOAK_TIMES),
    ACT(deadline, SOAK_TIMES),
    ACT(tick, SOAK_SPAWNS | SOAK_TIMES),
    ACT(reset, SOAK_WAITS | SOAK_TIMES),
    ACT(far, SOAK_SPAWNS),
    ACT(party, SOAK_SPAWNS),
    ACT(interval, SOAK_WAITS | SOAK_TIMES),
    ACT(delay, SOAK_SPAWNS | SOAK_TIMES),
    ACT(clock, SOAK_DEAR | SOAK_DEARER),
    ACT(hand, 0),
    ACT(broadcast, SOAK_SPAWNS),
    ACT(watch, SOAK_SPAWNS),
    ACT(mutex, SOAK_SPAWNS),
    ACT(rwlock, 0),
    ACT(permits, 0),
    ACT(hog, SOAK_DEAR),
    ACT(block, SOAK_DEAR),
    ACT(deep, SOAK_SPAWNS | SOAK_DEAR),
    ACT(large, SOAK_SPAWNS | SOAK_DEAR),
    ACT(exec, SOAK_DEAR | SOAK_DEARER),
    ACT(net, SOAK_SPAWNS | SOAK_NET),
    ACT(refused, SOAK_NET | SOAK_DEAR),
    ACT(listener, SOAK_SPAWNS | SOAK_NET | SOAK_DEAR),
    ACT(crowd, SOAK_SPAWNS | SOAK_NET | SOAK_DEAR | SOAK_DEARER),
    ACT(pair, SOAK_SPAWNS | SOAK_NET),
};

const unsigned soak_act_count = sizeof(soak_acts) / sizeof(soak_acts[0]);

_Static_assert(sizeof(soak_acts) / sizeof(soak_acts[0]) <= SOAK_ACTS, "the plan has room for all");

/* One by the weights, of those without the flags; NULL: none has any weight. */
static const struct soak_act_entry *act_draw(struct soak_actor *a, unsigned without)
{
    const uint8_t *weights = soak_stage.plan.weights;
    uint64_t sum = 0, at;

    for (unsigned i = 0; i < soak_act_count; i++)
        sum += soak_acts[i].flags & without ? 0 : weights[i];
    if (!sum)
        return NULL;
    at = roll(a, sum);
    for (unsigned i = 0; i < soak_act_count; i++) {
        uint64_t w = soak_acts[i].flags & without ? 0 : weights[i];

        if (at < w)
            return &soak_acts[i];
        at -= w;
    }
    return NULL;
}

static void act_do(struct soak_actor *a, unsigned without)
{
    const struct soak_act_entry *act = act_draw(a, without);

    (act ? act->fn : soak_act_yield)(a);
    __atomic_fetch_add(&soak_stage.acts, 1, __ATOMIC_RELAXED);
    soak_moved();
}

void soak_act_waiting(struct soak_actor *a)
{
    const uint8_t *weights = soak_stage.plan.weights;
    uint64_t at = roll(a, soak_act_count);

    for (unsigned i = 0; i < soak_act_count; i++, at++)
        if (soak_acts[at % soak_act_count].flags & SOAK_WAITS && weights[at % soak_act_count]) {
            soak_acts[at % soak_act_count].fn(a);
            return;
        }
    soak_act_yield(a);
}

/* --- actors ------------------------------------------------------------------------------ */

uint64_t soak_actor_seed(uint64_t *rand, unsigned depth, unsigned steps, unsigned home)
{
    return (test_rand(rand) & ~UINT64_C(0xff)) | (home & 7) << 5 | (steps & 7) << 2 | (depth & 3);
}

uint64_t soak_child_seed(struct soak_actor *a)
{
    return soak_actor_seed(&a->rand, a->depth + 1, (unsigned)roll(a, 5), a->home);
}

int soak_value(uint64_t seed)
{
    seed ^= seed >> 29;
    seed *= UINT64_C(0xbf58476d1ce4e5b9);
    return (int)(seed >> 33);
}

bool soak_has_room(void)
{
    return soak_open(SOAK_TASK) < soak_stage.plan.actors_max && !soak_is_over();
}

static void actor_left(void *seed)
{
    soak_end_id(SOAK_BODY, (uintptr_t)seed);
}

int soak_actor_run(void *seed)
{
    struct soak_actor a = {.rand = (uintptr_t)seed | 1,
                           .depth = (uintptr_t)seed & 3,
                           .steps = (uintptr_t)seed >> 2 & 7,
                           .home = (uintptr_t)seed >> 5 & 7};

    soak_begin_id(SOAK_BODY, (uintptr_t)seed);
    CHECK_EQ(0, weft_defer(actor_left, seed));
    if (one_in(&a, 4))
        soak_locals_set(&a);
    for (unsigned i = 0; i < a.steps; i++) {
        bool alone = a.depth >= DEPTH_MAX || !soak_has_room();

        if (weft_is_cancelled() && one_in(&a, 2))
            return -ECANCELED;
        act_do(&a, (alone ? SOAK_SPAWNS : 0) | (one_in(&a, 4) ? 0 : SOAK_DEAR) |
                       (one_in(&a, 8) ? 0 : SOAK_DEARER));
    }
    return soak_value((uintptr_t)seed);
}

int soak_actor_run_copy(void *seed)
{
    return soak_actor_run(soak_seed_pointer(*(uint64_t *)seed));
}

/* --- what acts share --------------------------------------------------------------------- */

bool soak_is_soft(ssize_t rc)
{
    return (rc == -ECANCELED && weft_is_cancelled()) ||
           (rc == -ETIMEDOUT && weft_deadline_passed());
}

bool soak_expect(ssize_t want, ssize_t rc, const char *what)
{
    if (rc == want)
        return true;
    if (!soak_is_soft(rc))
        test_failed(__FILE__, __LINE__, "%s: %zd (%s), not %zd", what, rc,
                    rc < 0 ? weft_strerror(rc) : "a value", want);
    return false;
}

int soak_join(weft_task *t)
{
    int result = 1, rc = weft_join(t, &result);

    if (rc < 0) {
        CHECK(t && soak_is_soft(rc));
        weft_cancel(t);
        WEFT_SHIELD
        {
            rc = weft_join(t, &result);
        }
    }
    CHECK_EQ(0, rc);
    return result;
}

void soak_join_value(weft_task *t, int value, bool cancelled)
{
    int result = soak_join(t);

    if (result == value)
        return;
    CHECK_EQ(-ECANCELED, result);
    /* By whom? soak_join cancels it only when the caller must hurry. */
    CHECK(cancelled || soak_is_cut() || weft_is_cancelled() || weft_deadline_passed());
}

void soak_nap(struct soak_actor *a, uint64_t us)
{
    if (soak_stage.plan.quiet || one_in(a, 3))
        (void)soak_expect(0, weft_yield(), "yield");
    else
        (void)soak_expect(0, weft_sleep(WEFT_US(roll(a, us))), "nap");
}
