/* SPDX-License-Identifier: MIT */
/*
 * test_cancel.c - trees of tokens that many tasks and threads grow, wait in, cancel and free at the same time.
 *
 * What must hold at every moment: whoever has been told of a token, or finds it cancelled, finds cancelled all that was
 * made below it; and a cancel does not reach what is not below. Leaks and late uses are the sanitizers' to find.
 */
#include "base/rand.h"
#include "support.h"

#include <errno.h>
#include <pthread.h>

#define TASKS   8
#define THREADS 2
#define HELD    16

/* Tokens that anybody may clone; each has a parent that is another of them, the root, or freed by now. */
struct forest {
    pthread_mutex_t lock;
    weft_cancel_token *shared[HELD]; /* under the lock */
    weft_cancel_token *root, *apart; /* apart: never cancelled */
    uint64_t rounds, seed;
};

struct gardener {
    struct forest *forest;
    struct wf_rand rand;
    bool task;
};

static weft_cancel_token *pick(struct gardener *g)
{
    struct forest *f = g->forest;
    weft_cancel_token *t;

    (void)pthread_mutex_lock(&f->lock);
    t = weft_cancel_token_clone(f->shared[wf_rand_below(&g->rand, HELD)]);
    (void)pthread_mutex_unlock(&f->lock);
    return t;
}

/* Put a handle in the place of another, which is the caller's then. */
static weft_cancel_token *exchange(struct gardener *g, weft_cancel_token *t)
{
    struct forest *f = g->forest;
    uint32_t i = wf_rand_below(&g->rand, HELD);
    weft_cancel_token *old;

    (void)pthread_mutex_lock(&f->lock);
    old = f->shared[i];
    f->shared[i] = t;
    (void)pthread_mutex_unlock(&f->lock);
    return old;
}

static weft_cancel_token *child_of(weft_cancel_token *parent)
{
    weft_cancel_token *t = weft_cancel_token_new(parent);

    CHECK(t);
    return t;
}

static void wait_for(struct gardener *g, weft_cancel_token *t, weft_cancel_token *below)
{
    weft_future f = weft_cancel_token_cancelled_future(t);
    ssize_t rc = 0;

    if (!g->task)
        rc = weft_timeout_blocking(WEFT_US(wf_rand_below(&g->rand, 200)), &f);
    else if (wf_rand_below(&g->rand, 2))
        rc = weft_timeout(WEFT_US(wf_rand_below(&g->rand, 200)), &f);
    else {
        weft_future never = weft_pending_future();

        WEFT_DEADLINE(WEFT_US(wf_rand_below(&g->rand, 200)))
        {
            rc = weft_cancel_token_run(t, &never);
        }
        CHECK(rc == -ECANCELED || rc == -ETIMEDOUT);
        rc = rc == -ECANCELED ? 0 : rc;
    }
    CHECK(rc == 0 || rc == -ETIMEDOUT);
    CHECK(rc < 0 || weft_cancel_token_is_cancelled(t));
    /* The cancel that told us may still be on its way down: another one of the same token is not over before it. */
    if (rc == 0) {
        weft_cancel_token_cancel(t);
        CHECK(weft_cancel_token_is_cancelled(below));
    }
}

static void garden(struct gardener *g)
{
    struct forest *f = g->forest;

    for (uint64_t i = 0; i < f->rounds; i++) {
        weft_cancel_token *parent = wf_rand_below(&g->rand, 4) ? pick(g) : NULL;
        weft_cancel_token *t = child_of(parent ? parent : f->root), *leaf = child_of(t);
        weft_cancel_token *other = child_of(f->apart);

        weft_cancel_token_free(parent);
        switch (wf_rand_below(&g->rand, 8)) {
        case 0:
            weft_cancel_token_cancel(t);
            CHECK(weft_cancel_token_is_cancelled(leaf));
            break;
        case 1:
        case 2:
            wait_for(g, t, leaf);
            break;
        case 3:
            WEFT_CANCEL_SCOPE(guard, leaf)
            {
                if (wf_rand_below(&g->rand, 2))
                    weft_cancel_scope_disarm(guard);
            }
            break;
        default:
            break;
        }
        CHECK(!weft_cancel_token_is_cancelled(other));
        weft_cancel_token_free(other);
        weft_cancel_token_free(exchange(g, t));
        weft_cancel_token_free(leaf);
    }
}

static int task_gardens(void *arg)
{
    garden(arg);
    return 0;
}

static void *thread_gardens(void *arg)
{
    garden(arg);
    return NULL;
}

static int forest(void *arg)
{
    struct forest *f = arg;
    struct gardener g[TASKS + THREADS];
    pthread_t thread[THREADS];
    weft_task *task[TASKS];

    for (int i = 0; i < TASKS + THREADS; i++) {
        g[i] = (struct gardener){.forest = f, .task = i < TASKS};
        wf_rand_init(&g[i].rand, f->seed + (uint64_t)i);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(0, pthread_create(&thread[i], NULL, thread_gardens, &g[TASKS + i]));
    for (int i = 0; i < TASKS; i++)
        task[i] = weft_spawn(task_gardens, &g[i]);
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(0, weft_join(task[i], NULL));
        if (i == TASKS / 2)
            weft_cancel_token_cancel(f->root);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(0, pthread_join(thread[i], NULL));
    for (int i = 0; i < HELD; i++) {
        CHECK(weft_cancel_token_is_cancelled(f->shared[i]));
        weft_cancel_token_free(f->shared[i]);
    }
    return 0;
}

TEST(trees_bear_everything_at_once)
{
    weft_instant end = weft_now() + test_stress_time(WEFT_SECS(2));
    uint64_t seed = test_seed();

    do {
        for (size_t i = 0; i < test_flavour_count; i++) {
            struct forest f = {.lock = PTHREAD_MUTEX_INITIALIZER, .rounds = test_scaled(400)};

            f.seed = test_rand(&seed);
            f.root = child_of(NULL);
            f.apart = child_of(NULL);
            for (int n = 0; n < HELD; n++)
                f.shared[n] = child_of(n ? f.shared[n - 1] : f.root);
            test_run_on(&test_flavours[i], forest, &f);
            CHECK(!weft_cancel_token_is_cancelled(f.apart));
            weft_cancel_token_free(f.root);
            weft_cancel_token_free(f.apart);
        }
    } while (weft_now() < end);
}

END_TEST

TEST_MAIN("cancel", trees_bear_everything_at_once)
