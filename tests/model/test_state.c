/* SPDX-License-Identifier: MIT */
/*
 * test_state.c - a task's state word under everybody who may change it, any two of them at a time.
 *
 * Each test tries all pairs of users (or each alone, with two runners) against one behaviour of
 * the task. What must hold is the same for all, see lab.h: the task is queued once for each
 * notification that finds it idle, polled after each, ends once, and its header goes once, after everyone.
 */
#include "model/lab.h"

enum role {
    WAKES,
    BECKONS, /* wakes, and keeps its waker */
    DROPS,   /* its waker, and wakes nobody */
    CANCELS,
    JOINS,  /* with the slot, until woken */
    LEAVES, /* takes the slot, and takes its waker out again */
    LOOKS,  /* whether it has ended */
    WALKS,  /* as a walk over all headers does, without a reference; and wakes it */
    ROLES
};

/* What can happen, must. */
enum {
    ENDED_BY_ITSELF,
    ENDED_CANCELLED,
    CANCELLED_BEFORE_POLL,
    FREED_BY_RUNNER,
    FREED_BY_USER,
    FREED_BY_DROP,
    JOIN_WOKEN,
    JOIN_TOO_LATE,
    JOIN_REFUSED,
    JOIN_TAKEN_BACK,
    JOIN_LEFT_TOO_LATE,
    LOOKED_AND_ENDED,
    WALKED_ALIVE,
    WALKED_FREE,
    POLLED_AGAIN,
    EVENTS_END
};

#define BIT(event) (1u << (event))
#define EVENTS     (BIT(EVENTS_END) - 1)

static struct {
    enum role role;
    struct lab_bell bell;
} users[2];

static unsigned runner_count; /* the first threads; users come behind */

/* May it make the task ready? */
static bool role_pushes(enum role role)
{
    return role == WAKES || role == BECKONS || role == CANCELS || role == WALKS;
}

static void check_result(const struct weft_task *t)
{
    CHECK(t->result == (lab.body == LAB_ENDS ? LAB_RESULT : -ECANCELED) ||
          (lab.body == LAB_ENDS && t->result == -ECANCELED));
    CHECK_EQ(t->result, (int64_t)lab.output - 1);
}

/* Consumes a reference. */
static void wakes(unsigned me, struct weft_task *t)
{
    weft_waker w = {&t->wakeable};

    /* relaxed: the wake carries it */
    wf_store_u32(&lab.words[me], 1, WF_RELAXED);
    weft_waker_wake(&w);
}

/* Its waker is in the slot. */
static void joins_armed(struct lab_bell *b, struct weft_task *t, bool wait)
{
    if (wait)
        model_block(lab_bell_settled, b, UINT64_MAX);
    if (!wait || wf_load_u32(&b->refs, WF_ACQUIRE)) {
        if (wf_task_join_disarm(t)) {
            model_reached(JOIN_TAKEN_BACK);
            wf_wakeable_release(&b->wakeable);
            CHECK_EQ(0, b->wakes);
            return;
        }
        /* The slot is its last runner's; nobody waits for that. */
        model_reached(JOIN_LEFT_TOO_LATE);
    } else {
        model_reached(JOIN_WOKEN);
        CHECK_EQ(1, b->wakes);
        CHECK(wf_task_is_complete(t));
    }
    check_result(t);
}

static void joins(unsigned me, struct weft_task *t, bool wait)
{
    struct lab_bell *b = &users[me].bell;

    if (!wf_task_join_claim(t)) {
        model_reached(JOIN_REFUSED);
        return;
    }
    b->wakeable.type = &lab_bell_type;
    t->joiner = wf_wakeable_retain(&b->wakeable);
    if (wf_task_join_arm(t)) {
        joins_armed(b, t, wait);
        return;
    }
    model_reached(JOIN_TOO_LATE);
    CHECK(t->joiner == &b->wakeable);
    wf_wakeable_release(t->joiner);
    t->joiner = NULL;
    check_result(t);
}

static void walks(unsigned me, struct weft_task *t)
{
    if (!wf_task_try_retain(t)) {
        model_reached(WALKED_FREE);
        return;
    }
    model_reached(WALKED_ALIVE);
    CHECK(t->sched == &lab.sched && t->extra == NULL);
    wakes(me, t);
}

static void use(unsigned me)
{
    struct weft_task *t = lab.task;
    enum role role = users[me].role;

    switch (role) {
    case WAKES:
        wakes(me, t);
        break;
    case BECKONS:
        /* relaxed: the wake carries it */
        wf_store_u32(&lab.words[me], 1, WF_RELAXED);
        weft_waker_wake_by_ref(&(weft_waker){&t->wakeable});
        break;
    case DROPS:
        weft_waker_drop(&(weft_waker){&t->wakeable});
        break;
    case CANCELS:
        /* relaxed: the first to cancel carries it */
        wf_store_u32(&lab.words[me], 1, WF_RELAXED);
        weft_cancel(t);
        break;
    case JOINS:
    case LEAVES:
        joins(me, t, role == JOINS);
        break;
    case LOOKS:
        if (weft_is_finished(t)) {
            model_reached(LOOKED_AND_ENDED);
            check_result(t);
        }
        break;
    case WALKS:
        walks(me, t);
        break;
    case ROLES:
        break;
    }
    if (role != WAKES && role != DROPS && role != WALKS)
        weft_detach(t);
    if (role_pushes(role))
        lab_leave();
}

static void first(void)
{
    use(0);
}

static void second(void)
{
    use(1);
}

static void begin(enum lab_body body, unsigned count, unsigned runners)
{
    unsigned handles = 0, pushers = 0;

    for (unsigned i = 0; i < count; i++) {
        /* Each set of roles once. */
        unsigned from = i ? users[i - 1].role : 0;

        users[i].role = from + model_choose(ROLES - from);
        handles += users[i].role != WALKS;
        pushers += role_pushes(users[i].role);
        lab.walked |= users[i].role == WALKS;
        if (role_pushes(users[i].role))
            lab.words_used |= 1u << i;
        if (users[i].role == CANCELS)
            lab.cancel_words |= 1u << i;
    }
    runner_count = runners;
    lab_begin(body, handles, pushers, runners);
}

static void begin_waits(void)
{
    begin(LAB_WAITS, 2, 1);
}

static void begin_yields(void)
{
    begin(LAB_YIELDS, 2, 1);
}

static void begin_ends(void)
{
    begin(LAB_ENDS, 2, 1);
}

static void begin_alone(void)
{
    begin((enum lab_body)model_choose(LAB_BODIES), 1, 1);
}

static void begin_two_runners(void)
{
    begin((enum lab_body)model_choose(LAB_BODIES), 1, 2);
}

static void begin_all(void)
{
    begin((enum lab_body)model_choose(LAB_BODIES), 2, 2);
}

static void end(void)
{
    if (lab.polls > 1)
        model_reached(POLLED_AGAIN);
    if (lab.output)
        model_reached(lab.output == LAB_RESULT + 1 ? ENDED_BY_ITSELF : ENDED_CANCELLED);
    if (lab.output && lab.polls == 1 && lab.body != LAB_ENDS)
        model_reached(CANCELLED_BEFORE_POLL);
    if (lab.freed.raw && lab.freer <= runner_count)
        model_reached(FREED_BY_RUNNER);
    else if (lab.freed.raw)
        model_reached(users[lab.freer - runner_count - 1].role == DROPS ? FREED_BY_DROP
                                                                        : FREED_BY_USER);
    lab_end();
    for (unsigned i = 0; i < wf_array_count(users); i++)
        CHECK(users[i].bell.refs.raw == 0 && users[i].bell.wakes <= 1);
}

const struct model_test model_tests[] = {
    {.name = "any task and any user",
     .begin = begin_alone,
     .thread = {lab_runner, first},
     .end = end,
     .stale = 1,
     .must_reach = EVENTS & ~BIT(JOIN_REFUSED)},
    {.name = "a task that waits, and any two users",
     .begin = begin_waits,
     .thread = {lab_runner, first, second},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = EVENTS & ~BIT(ENDED_BY_ITSELF)},
    {.name = "a task that yields, and any two users",
     .begin = begin_yields,
     .thread = {lab_runner, first, second},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = EVENTS & ~BIT(ENDED_BY_ITSELF)},
    {.name = "a task that ends, and any two users",
     .begin = begin_ends,
     .thread = {lab_runner, first, second},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = EVENTS & ~(BIT(POLLED_AGAIN) | BIT(CANCELLED_BEFORE_POLL))},
    {.name = "a task that moves between two runners, and any user",
     .begin = begin_two_runners,
     .thread = {lab_runner, lab_runner, first},
     .end = end,
     .preemptions = 1,
     .stale = 1,
     .must_reach = EVENTS & ~BIT(JOIN_REFUSED)},
    {.name = "a task that moves between two runners, and any two users",
     .begin = begin_all,
     .thread = {lab_runner, lab_runner, first, second},
     .end = end,
     .deep = true,
     .must_reach = EVENTS},
    {0},
};
