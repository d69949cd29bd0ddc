/* SPDX-License-Identifier: MIT */
/*
 * party.c - an act: a few members that notify each other, meet at a barrier, initialise once, wait for a condition
 * and watch a token, until the host ends it.
 *
 * OWNS     All of it lies on the host's stack: the host stays, shielded, until the tracker says that every member
 *          has ended, whether it ran or not.
 * CLAIMS   What is cancelled reaches what is below. What is done once is done. Nobody is left behind.
 */
#include "soak.h"

#include <errno.h>

#define MEMBERS_MAX 4

struct party {
    weft_task_tracker *members;
    weft_cancel_token *over;
    weft_notify told;
    weft_barrier pairs;
    weft_once once;
    weft_mutex mutex;
    weft_condvar changed;
    unsigned changes;    /* under the mutex */
    unsigned made, runs; /* the initialiser's */
    uint64_t seed;       /* atomic */
};

/* A member's answer, which the token, its own task or a notification may give. */
static bool party_is_over(const struct party *p, ssize_t rc)
{
    if (rc >= 0)
        return weft_cancel_token_is_cancelled(p->over);
    CHECK(soak_is_soft(rc) || (rc == -ECANCELED && weft_cancel_token_is_cancelled(p->over)));
    return true;
}

/* Fails at times; the next one tries again. */
static int party_initialises(void *arg)
{
    struct party *p = arg;
    int rc = weft_yield();

    if (rc < 0)
        return rc;
    if (p->runs++ % 3 == 1)
        return -EIO;
    CHECK_EQ(0, p->made);
    p->made++;
    return 0;
}

static bool member_waits(struct party *p, uint64_t *rand)
{
    weft_future told = weft_notify_wait_future(&p->told);
    weft_future over = weft_cancel_token_cancelled_future(p->over);
    ssize_t rc;

    if (soak_one_in(rand, 2)) {
        rc = weft_cancel_token_run(p->over, &told);
        CHECK(rc <= 0);
    } else {
        if (soak_one_in(rand, 2))
            (void)weft_notify_enable(&told);
        rc = weft_select(&told, &over);
        CHECK(rc != 1 || weft_cancel_token_is_cancelled(p->over));
    }
    return party_is_over(p, rc);
}

static bool member_meets(struct party *p)
{
    weft_future met = weft_barrier_wait_future(&p->pairs);
    ssize_t rc = weft_cancel_token_run(p->over, &met);

    CHECK(rc <= 1);
    return party_is_over(p, rc);
}

static bool member_initialises(struct party *p)
{
    int rc = weft_once_run(&p->once, party_initialises, p);

    if (rc == -EIO)
        return false;
    CHECK(rc < 0 || (p->made == 1 && weft_once_is_done(&p->once)));
    return party_is_over(p, rc);
}

/* A token of its own below the party's. */
static bool member_begins_something(struct party *p, uint64_t *rand)
{
    weft_cancel_token *mine = weft_cancel_token_new(p->over), *part;
    int rc = 0;

    CHECK(mine);
    part = weft_cancel_token_new(mine);
    CHECK(part);
    WEFT_CANCEL_SCOPE(guard, mine)
    {
        rc = weft_yield();
        if (soak_one_in(rand, 2))
            weft_cancel_scope_disarm(guard);
        else
            weft_cancel_token_free(weft_cancel_token_clone(part));
    }
    if (weft_cancel_token_is_cancelled(mine)) {
        weft_cancel_token_cancel(mine); /* another one may be on its way down */
        CHECK(weft_cancel_token_is_cancelled(part));
    }
    weft_cancel_token_free(mine);
    weft_cancel_token_free(part);
    return party_is_over(p, rc);
}

static bool member_changes(struct party *p, uint64_t *rand)
{
    int rc = weft_mutex_lock(&p->mutex);

    if (rc < 0)
        return party_is_over(p, rc);
    p->changes++;
    if (soak_one_in(rand, 2))
        weft_condvar_signal(&p->changed);
    else
        weft_condvar_broadcast(&p->changed);
    /* The host changes it at the end, too. */
    if (soak_one_in(rand, 3) && !weft_cancel_token_is_cancelled(p->over))
        rc = weft_condvar_wait(&p->changed, &p->mutex);
    CHECK(weft_mutex_is_held(&p->mutex));
    CHECK_EQ(0, weft_mutex_unlock(&p->mutex));
    return party_is_over(p, rc);
}

static int party_member(void *arg)
{
    struct party *p = arg;
    uint64_t rand = __atomic_add_fetch(&p->seed, 0x9e3779b97f4a7c15, __ATOMIC_RELAXED) | 1;
    bool over = false;

    soak_begin_id(SOAK_MEMBER, (uintptr_t)p);
    for (unsigned steps = (unsigned)soak_roll(&rand, 6); steps && !over; steps--) {
        switch (soak_roll(&rand, 6)) {
        case 0:
            over = member_waits(p, &rand);
            break;
        case 1:
            over = member_meets(p);
            break;
        case 2:
            over = member_initialises(p);
            break;
        case 3:
            over = member_begins_something(p, &rand);
            break;
        case 4:
            over = member_changes(p, &rand);
            break;
        default:
            weft_notify_one(&p->told);
            break;
        }
        soak_moved();
    }
    soak_end_id(SOAK_MEMBER, (uintptr_t)p);
    return 0;
}

static void host_stirs(struct soak_actor *a, struct party *p)
{
    switch (roll(a, 4)) {
    case 0:
        weft_notify_one(&p->told);
        break;
    case 1:
        weft_notify_last(&p->told);
        break;
    case 2:
        weft_notify_waiters(&p->told);
        break;
    default:
        weft_condvar_broadcast(&p->changed);
        break;
    }
    soak_nap(a, 200);
}

/* Whoever waits for the condition has begun to before the token was cancelled, or not at all. */
static void host_ends(struct party *p)
{
    weft_cancel_token_cancel(p->over);
    CHECK(weft_task_tracker_close(p->members));
    WEFT_SHIELD
    {
        CHECK_EQ(0, weft_mutex_lock(&p->mutex));
        weft_condvar_broadcast(&p->changed);
        CHECK_EQ(0, weft_mutex_unlock(&p->mutex));
        CHECK_EQ(0, weft_task_tracker_wait(p->members));
    }
    CHECK(weft_task_tracker_is_empty(p->members));
}

void soak_act_party(struct soak_actor *a)
{
    struct party p = {.members = weft_task_tracker_new(),
                      .over = weft_cancel_token_new(NULL),
                      .pairs = WEFT_BARRIER_INIT(2),
                      .seed = test_rand(&a->rand)};
    unsigned n = 1 + (unsigned)roll(a, MEMBERS_MAX);
    weft_task *t[MEMBERS_MAX];

    CHECK(p.members && p.over);
    for (unsigned i = 0; i < n; i++) {
        t[i] = weft_task_tracker_spawn(p.members, party_member, &p);
        CHECK(t[i]);
    }
    for (uint64_t stirs = roll(a, 5); stirs; stirs--)
        host_stirs(a, &p);
    if (one_in(a, 4))
        weft_cancel(t[roll(a, n)]);
    host_ends(&p);
    for (unsigned i = 0; i < n; i++) {
        CHECK(weft_is_finished(t[i]));
        weft_detach(t[i]);
    }
    CHECK_EQ(p.made, weft_once_is_done(&p.once));
    weft_task_tracker_free(p.members);
    weft_cancel_token_free(p.over);
}
