/* SPDX-License-Identifier: MIT */
/*
 * test_mutex.c - mutexes: one at a time, first come first served, and nothing lost by who gives up.
 */
#include "lock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* --- one at a time ----------------------------------------------------------------- */

#define CROWD 20

struct crowd {
    weft_mutex mutex;
    unsigned value, inside; /* under the mutex */
    uint64_t rounds;
};

static int crowd_member(void *arg)
{
    struct crowd *c = arg;

    for (uint64_t i = 0; i < c->rounds; i++) {
        CHECK_EQ(0, weft_mutex_lock(&c->mutex));
        CHECK_EQ(0, c->inside++);
        CHECK(weft_mutex_is_held(&c->mutex));
        if (i % 7 == 0)
            CHECK_EQ(0, weft_yield());
        c->value++;
        CHECK_EQ(1, c->inside--);
        CHECK_EQ(0, weft_mutex_unlock(&c->mutex));
        CHECK(!weft_mutex_is_held(&c->mutex));
    }
    return 0;
}

static int crowd_root(void *arg)
{
    struct crowd c = {.mutex = WEFT_MUTEX_INIT, .rounds = test_scaled(500)};
    weft_task *t[CROWD];

    (void)arg;
    for (unsigned i = 0; i < CROWD; i++)
        t[i] = weft_spawn(crowd_member, &c);
    for (unsigned i = 0; i < CROWD; i++)
        CHECK_EQ(0, result_of(t[i]));
    CHECK_EQ(CROWD * c.rounds, c.value);
    return 0;
}

TEST(one_task_at_a_time_is_inside)
{
    test_run(crowd_root, NULL);
}

static int zero_root(void *arg)
{
    static weft_mutex named = WEFT_MUTEX_NAMED("named");
    weft_mutex m;

    (void)arg;
    memset(&m, 0, sizeof(m));
    CHECK_EQ(0, weft_mutex_lock(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    memset(&m, 0xa5, sizeof(m));
    CHECK_EQ(0, weft_mutex_init(&m, "name"));
    CHECK_EQ(0, weft_mutex_lock(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(0, weft_mutex_lock(&named));
    CHECK_EQ(0, weft_mutex_unlock(&named));
    return 0;
}

TEST(zeros_are_a_mutex)
{
    test_run(zero_root, NULL);
}

/* --- who is served ----------------------------------------------------------------- */

#define LINE 8

struct line {
    weft_mutex mutex;
    unsigned served[LINE], count; /* under the mutex */
};

struct place {
    struct line *line;
    unsigned number;
};

static int line_member(void *arg)
{
    struct place *p = arg;
    struct line *l = p->line;

    CHECK_EQ(0, weft_mutex_lock(&l->mutex));
    l->served[l->count++] = p->number;
    CHECK_EQ(0, weft_yield());
    CHECK_EQ(0, weft_mutex_unlock(&l->mutex));
    return 0;
}

static int line_root(void *arg)
{
    struct line l = {.mutex = WEFT_MUTEX_INIT};
    weft_task *t[LINE];

    (void)arg;
    CHECK_EQ(0, weft_mutex_lock(&l.mutex));
    for (unsigned i = 0; i < LINE; i++) {
        struct place p = {&l, i};

        t[i] = weft_spawn_copy(line_member, &p, sizeof(p));
        until_waiting(t[i]);
    }
    CHECK_EQ(0, weft_mutex_unlock(&l.mutex));
    /* Whoever comes now is behind all of them. */
    CHECK_EQ(-EAGAIN, weft_mutex_try_lock(&l.mutex));
    CHECK_EQ(0, weft_mutex_lock(&l.mutex));
    CHECK_EQ(LINE, l.count);
    CHECK_EQ(0, weft_mutex_unlock(&l.mutex));
    for (unsigned i = 0; i < LINE; i++) {
        CHECK_EQ(0, result_of(t[i]));
        CHECK_EQ(i, l.served[i]);
    }
    return 0;
}

TEST(who_waits_longest_is_served_first)
{
    test_run(line_root, NULL);
}

/* While it holds the mutex for long stretches, each of the others gets its turn. */
static int greedy(void *arg)
{
    struct crowd *c = arg;

    while (c->inside == 0) {
        CHECK_EQ(0, weft_mutex_lock(&c->mutex));
        c->value++;
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_mutex_unlock(&c->mutex));
    }
    return 0;
}

static int greedy_root(void *arg)
{
    struct crowd c = {.mutex = WEFT_MUTEX_INIT};
    weft_task *t = weft_spawn(greedy, &c);
    unsigned at_first, turns = 0;

    (void)arg;
    do {
        CHECK_EQ(0, weft_mutex_lock(&c.mutex));
        at_first = c.value;
        CHECK_EQ(0, weft_mutex_unlock(&c.mutex));
        CHECK_EQ(0, weft_yield());
    } while (at_first == 0);
    for (; turns < 100; turns++) {
        CHECK_EQ(0, weft_mutex_lock(&c.mutex));
        /* At most the one that it was about to have. */
        CHECK(c.value <= at_first + 2 * (turns + 1));
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_mutex_unlock(&c.mutex));
    }
    CHECK_EQ(0, weft_mutex_lock(&c.mutex));
    c.inside = 1;
    CHECK_EQ(0, weft_mutex_unlock(&c.mutex));
    return result_of(t);
}

TEST(who_locks_again_and_again_keeps_nobody_out)
{
    test_run_on(&test_flavours[0], greedy_root, NULL);
    test_run_on(&test_flavours[1], greedy_root, NULL);
}

/* Nobody gets more turns than the others, although all come back at once. */
#define TURNS 100

static struct turns {
    weft_mutex mutex;
    unsigned had[LINE], done; /* under the mutex */
} turns;

static int takes_turns(void *arg)
{
    unsigned me = *(unsigned *)arg;

    for (unsigned i = 0; i < TURNS; i++) {
        CHECK_EQ(0, weft_mutex_lock(&turns.mutex));
        turns.had[me]++;
        for (unsigned other = 0; other < LINE && !turns.done; other++)
            CHECK(turns.had[me] <= turns.had[other] + 3);
        if (i % 2)
            CHECK_EQ(0, weft_yield());
        turns.done += i == TURNS - 1;
        CHECK_EQ(0, weft_mutex_unlock(&turns.mutex));
    }
    return 0;
}

static int turns_root(void *arg)
{
    weft_task *t[LINE];

    (void)arg;
    turns = (struct turns){.mutex = WEFT_MUTEX_INIT};
    CHECK_EQ(0, weft_mutex_lock(&turns.mutex));
    for (unsigned i = 0; i < LINE; i++) {
        t[i] = weft_spawn_copy(takes_turns, &i, sizeof(i));
        until_waiting(t[i]);
    }
    CHECK_EQ(0, weft_mutex_unlock(&turns.mutex));
    for (unsigned i = 0; i < LINE; i++)
        CHECK_EQ(0, result_of(t[i]));
    return 0;
}

TEST(all_who_come_back_get_as_many_turns)
{
    test_run_on(&test_flavours[0], turns_root, NULL);
}

/* --- who gives up ------------------------------------------------------------------ */

static int cancel_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_task *first, *second;

    (void)arg;
    CHECK_EQ(0, weft_mutex_lock(&m));
    first = weft_spawn(lock_and_unlock, &m);
    until_waiting(first);
    second = weft_spawn(lock_and_unlock, &m);
    until_waiting(second);
    weft_cancel(first);
    CHECK_EQ(-ECANCELED, result_of(first));
    CHECK(!weft_is_finished(second));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(0, result_of(second));
    /* And alone in the queue. */
    CHECK_EQ(0, weft_mutex_lock(&m));
    first = weft_spawn(lock_and_unlock, &m);
    until_waiting(first);
    weft_cancel(first);
    CHECK_EQ(-ECANCELED, result_of(first));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(0, weft_mutex_try_lock(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    return 0;
}

TEST(a_cancelled_waiter_loses_its_place_only)
{
    test_run(cancel_root, NULL);
}

static int times_out(void *arg)
{
    int rc = 0;

    WEFT_DEADLINE(WEFT_MS(2))
    {
        rc = weft_mutex_lock(arg);
    }
    return rc;
}

static int is_timed(void *arg)
{
    weft_future f = weft_mutex_lock_future(arg);

    return (int)weft_timeout(WEFT_MS(2), &f);
}

static int loses_select(void *arg)
{
    weft_future lock = weft_mutex_lock_future(arg), nap = weft_sleep_future(WEFT_MS(2));

    return (int)weft_select(&lock, &nap);
}

static int timeout_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_task *t[3], *last;

    (void)arg;
    CHECK_EQ(0, weft_mutex_lock(&m));
    t[0] = weft_spawn(times_out, &m);
    t[1] = weft_spawn(is_timed, &m);
    t[2] = weft_spawn(loses_select, &m);
    CHECK_EQ(-ETIMEDOUT, result_of(t[0]));
    CHECK_EQ(-ETIMEDOUT, result_of(t[1]));
    CHECK_EQ(1, result_of(t[2]));
    last = weft_spawn(lock_and_unlock, &m);
    until_waiting(last);
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(0, result_of(last));
    CHECK_EQ(0, weft_mutex_try_lock(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    return 0;
}

TEST(deadlines_timeouts_and_selects_give_up_the_place)
{
    test_run(timeout_root, NULL);
}

static int shielded(void *arg)
{
    int rc = 0;

    WEFT_SHIELD
    {
        rc = lock_and_unlock(arg);
    }
    return rc;
}

static int shield_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, weft_mutex_lock(&m));
    t = weft_spawn(shielded, &m);
    until_waiting(t);
    weft_cancel(t);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(0, weft_yield());
    CHECK(!weft_is_finished(t));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(0, result_of(t));
    return 0;
}

TEST(a_shielded_lock_is_waited_for_in_spite_of_a_cancel)
{
    test_run(shield_root, NULL);
}

static int pass_on_root(void *arg)
{
    bool dies = *(bool *)arg;
    weft_mutex m = WEFT_MUTEX_INIT;
    struct holder h;
    weft_task *t = holder_start(&h, &m, dies), *next;
    weft_future lock;

    keep_waiting(&lock, &m);
    holder_end(&h, t);
    /* It is this future's now, although nobody has polled it since: nobody else gets it. */
    CHECK_EQ(-EAGAIN, weft_mutex_try_lock(&m));
    CHECK(!weft_mutex_is_held(&m));
    next = weft_spawn(lock_and_unlock, &m);
    until_waiting(next);
    weft_future_drop(&lock);
    CHECK_EQ(dies ? -EOWNERDEAD : 0, result_of(next));
    /* The same with nobody behind it. */
    t = holder_start(&h, &m, dies);
    keep_waiting(&lock, &m);
    holder_end(&h, t);
    weft_future_drop(&lock);
    CHECK_EQ(dies ? -EOWNERDEAD : 0, weft_mutex_try_lock(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    /* And polled to its end. */
    t = holder_start(&h, &m, dies);
    keep_waiting(&lock, &m);
    holder_end(&h, t);
    CHECK_EQ(dies ? -EOWNERDEAD : 0, weft_await(&lock));
    CHECK(weft_mutex_is_held(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    return 0;
}

TEST(a_future_that_is_dropped_passes_on_what_it_was_handed)
{
    bool dies = false;

    test_run(pass_on_root, &dies);
}

TEST(it_passes_on_an_owners_death_too)
{
    bool dies = true;

    hush();
    test_run(pass_on_root, &dies);
}

/* Keeps a future that was handed the mutex, and returns. */
static int ends_with_future(void *arg)
{
    weft_mutex *m = arg;
    weft_future lock;
    struct holder h;
    weft_task *t = holder_start(&h, m, false);

    keep_waiting(&lock, m);
    holder_end(&h, t);
    if (ON_VALGRIND) /* to which a frame that was left is lost */
        weft_future_drop(&lock);
    return 0;
}

static int kept_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_INIT;

    (void)arg;
    CHECK_EQ(0, result_of(weft_spawn(ends_with_future, &m)));
    CHECK_EQ(0, weft_mutex_try_lock(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    return 0;
}

TEST(a_task_that_ends_passes_on_what_its_future_was_handed)
{
    hush();
    test_run(kept_root, NULL);
}

/* --- plain threads ----------------------------------------------------------------- */

#define THREADS 4

static void *crowd_thread(void *arg)
{
    struct crowd *c = arg;

    for (uint64_t i = 0; i < c->rounds; i++) {
        CHECK_EQ(0, weft_mutex_lock_blocking(&c->mutex));
        CHECK_EQ(0, c->inside++);
        CHECK(weft_mutex_is_held(&c->mutex));
        c->value++;
        CHECK_EQ(1, c->inside--);
        CHECK_EQ(0, weft_mutex_unlock(&c->mutex));
    }
    return NULL;
}

static int crowd_both_root(void *arg)
{
    struct crowd *c = arg;
    weft_task *t[CROWD];

    for (unsigned i = 0; i < CROWD; i++)
        t[i] = weft_spawn(crowd_member, c);
    for (unsigned i = 0; i < CROWD; i++)
        CHECK_EQ(0, result_of(t[i]));
    return 0;
}

TEST(tasks_and_plain_threads_take_turns)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct crowd c = {.mutex = WEFT_MUTEX_INIT, .rounds = test_scaled(200)};
        pthread_t thread[THREADS];

        for (unsigned n = 0; n < THREADS; n++)
            CHECK_EQ(0, pthread_create(&thread[n], NULL, crowd_thread, &c));
        test_run_on(&test_flavours[i], crowd_both_root, &c);
        for (unsigned n = 0; n < THREADS; n++)
            CHECK_EQ(0, pthread_join(thread[n], NULL));
        CHECK_EQ((THREADS + CROWD) * c.rounds, c.value);
    }
}

TEST(a_plain_thread_locks_without_any_runtime)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_future f = weft_mutex_lock_future(&m);

    hush();
    CHECK_EQ(-EPERM, weft_mutex_lock(&m));
    CHECK_EQ(-EPERM, weft_mutex_unlock(&m));
    CHECK_EQ(0, weft_mutex_lock_blocking(&m));
    CHECK_EQ(-EDEADLK, weft_mutex_lock_blocking(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(0, weft_mutex_try_lock(&m));
    CHECK(weft_mutex_is_held(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(0, weft_await_blocking(&f));
    CHECK(weft_mutex_is_held(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
}

static void *thread_gives_up(void *arg)
{
    weft_future f = weft_mutex_lock_future(arg);

    CHECK_EQ(-ETIMEDOUT, weft_timeout_blocking(WEFT_MS(2), &f));
    return NULL;
}

TEST(a_plain_thread_may_give_up)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    pthread_t thread;

    CHECK_EQ(0, weft_mutex_lock_blocking(&m));
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_gives_up, &m));
    CHECK_EQ(0, pthread_join(thread, NULL));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(0, weft_mutex_try_lock(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
}

/* --- lives ------------------------------------------------------------------------- */

/* Each takes the object's mutex once; the last of them frees it at once. */
struct counted {
    weft_mutex mutex;
    unsigned left; /* under the mutex */
};

static int counted_user(void *arg)
{
    struct counted *c = *(struct counted **)arg;
    bool last;

    CHECK_EQ(0, weft_mutex_lock(&c->mutex));
    last = --c->left == 0;
    CHECK_EQ(0, weft_mutex_unlock(&c->mutex));
    if (last) {
        memset(c, 0x5a, sizeof(*c));
        free(c);
    }
    return 0;
}

static int counted_root(void *arg)
{
    weft_task *t[6];

    (void)arg;
    for (uint64_t round = test_scaled(500); round > 0; round--) {
        struct counted *c = calloc(1, sizeof(*c));

        CHECK(c);
        c->left = 6;
        for (unsigned i = 0; i < 6; i++)
            t[i] = weft_spawn_copy(counted_user, &c, sizeof(struct counted *));
        for (unsigned i = 0; i < 6; i++)
            CHECK_EQ(0, result_of(t[i]));
    }
    return 0;
}

TEST(the_next_owner_may_free_it)
{
    test_run(counted_root, NULL);
}

static int guest(void *arg)
{
    struct crowd *c = arg;

    return crowd_member(c);
}

TEST(tasks_of_two_runtimes_share_one)
{
    struct crowd c = {.mutex = WEFT_MUTEX_INIT, .rounds = test_scaled(200)};
    weft_runtime *a = test_runtime_new(&test_flavours[2]), *b = test_runtime_new(&test_flavours[3]);
    weft_task *t[CROWD];

    for (unsigned i = 0; i < CROWD; i++)
        CHECK_EQ(0, weft_spawn_on(i % 2 ? a : b, &t[i], NULL, guest, &c));
    for (unsigned i = 0; i < CROWD; i++)
        CHECK_EQ(0, weft_join_blocking(t[i], NULL));
    CHECK_EQ(CROWD * c.rounds, c.value);
    test_runtime_free(a);
    test_runtime_free(b);
}

/* One that never waits gives way all the same. */
static int busy(void *arg)
{
    struct crowd *c = arg;
    weft_mutex own = WEFT_MUTEX_INIT;

    while (!c->inside) {
        CHECK_EQ(0, weft_mutex_lock(&own));
        CHECK_EQ(0, weft_mutex_unlock(&own));
    }
    return 0;
}

static int budget_root(void *arg)
{
    struct crowd c = {.mutex = WEFT_MUTEX_INIT};
    weft_task *t = weft_spawn(busy, &c);

    (void)arg;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(0, weft_yield());
    c.inside = 1;
    return result_of(t);
}

TEST(locking_what_is_free_spends_the_budget)
{
    test_run_on(&test_flavours[0], budget_root, NULL);
}

TEST_MAIN("mutex", one_task_at_a_time_is_inside, zeros_are_a_mutex,
          who_waits_longest_is_served_first, who_locks_again_and_again_keeps_nobody_out,
          all_who_come_back_get_as_many_turns, a_cancelled_waiter_loses_its_place_only,
          deadlines_timeouts_and_selects_give_up_the_place,
          a_shielded_lock_is_waited_for_in_spite_of_a_cancel,
          a_future_that_is_dropped_passes_on_what_it_was_handed, it_passes_on_an_owners_death_too,
          a_task_that_ends_passes_on_what_its_future_was_handed, tasks_and_plain_threads_take_turns,
          a_plain_thread_locks_without_any_runtime, a_plain_thread_may_give_up,
          the_next_owner_may_free_it, tasks_of_two_runtimes_share_one,
          locking_what_is_free_spends_the_budget)
