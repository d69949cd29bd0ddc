/* SPDX-License-Identifier: MIT */
/*
 * test_futures.c - sets of futures: in which order results come, who is polled, what may be pushed and by whom, and
 * where sets may be driven.
 */
#include "set.h"

/* --- order ------------------------------------------------------------------------------------ */

static int by_end(void *arg)
{
    struct bell *b = bells_new();
    weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, b, BELLS);

    (void)arg;
    CHECK_EQ(BELLS, weft_futures_len(set));
    CHECK_EQ(-EAGAIN, weft_futures_try_next(set, NULL, NULL));
    for (size_t i = BELLS; i-- > 0;)
        bell_ring(&b[i], (ssize_t)i);
    for (size_t i = BELLS; i-- > 0;) {
        CHECK_EQ(i + 1, weft_futures_len(set));
        expect_next(set, 100 + i, (ssize_t)i);
    }
    CHECK(weft_futures_is_empty(set));
    CHECK_EQ(0, weft_futures_next(set, NULL, NULL));
    weft_futures_free(set);
    free(b);
    return 0;
}

TEST(results_come_as_the_futures_end)
{
    test_run(by_end, NULL);
}

static int by_push(void *arg)
{
    struct bell *b = bells_new();
    weft_futures *set = set_of(WEFT_FUTURES_ORDERED, b, BELLS);

    (void)arg;
    CHECK_EQ(-EAGAIN, weft_futures_try_next(set, NULL, NULL));
    for (size_t i = BELLS; i-- > 1;) {
        bell_ring(&b[i], (ssize_t)i);
        CHECK_EQ(-EAGAIN, weft_futures_try_next(set, NULL, NULL)); /* the oldest has not ended */
    }
    CHECK_EQ(BELLS, weft_futures_len(set));
    bell_ring(&b[0], 0);
    for (size_t i = 0; i < BELLS; i++) {
        expect_next(set, 100 + i, (ssize_t)i);
        CHECK_EQ(2, atomic_load(&b[i].polls)); /* when new, and when rung */
    }
    CHECK_EQ(0, weft_futures_next(set, NULL, NULL));
    CHECK_EQ(0, weft_futures_push(set, weft_ready_future(-EIO), 7));
    expect_next(set, 7, -EIO);
    weft_futures_free(set);
    free(b);
    return 0;
}

TEST(results_of_an_ordered_set_come_as_they_were_pushed)
{
    test_run(by_push, NULL);
}

static int naps(void *arg)
{
    weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, NULL, 0);
    weft_instant began = weft_now();
    uint64_t tag;
    int n = 0;

    (void)arg;
    for (uint64_t i = 0; i < 200; i++) {
        uint64_t ms = 1 + i * 7919 % 20;

        CHECK_EQ(0, weft_futures_push(set, weft_sleep_until_future(began + WEFT_MS(ms)), ms));
    }
    while (weft_futures_next(set, &tag, NULL) == 1) {
        CHECK(weft_now() >= began + WEFT_MS(tag));
        n++;
    }
    CHECK_EQ(200, n);
    weft_futures_free(set);
    return 0;
}

TEST(timers_in_a_set_all_end_and_none_is_early)
{
    test_run(naps, NULL);
}

/* --- who is polled ---------------------------------------------------------------------------- */

static int polls(void *arg)
{
    struct bell *b = bells_new();
    weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, b, BELLS);
    weft_waker w;

    (void)arg;
    CHECK_EQ(-EAGAIN, weft_futures_try_next(set, NULL, NULL));
    w = bell_waker(&b[5]);
    for (int i = 0; i < 50; i++)
        weft_waker_wake_by_ref(&w); /* one poll for all of them */
    CHECK_EQ(-EAGAIN, weft_futures_try_next(set, NULL, NULL));
    bell_ring(&b[3], 3);
    expect_next(set, 103, 3);
    for (size_t i = 0; i < BELLS; i++)
        CHECK_EQ(i == 5 || i == 3 ? 2 : 1, atomic_load(&b[i].polls));
    weft_futures_free(set);
    weft_waker_wake(&w); /* of nobody now */
    free(b);
    return 0;
}

TEST(only_those_are_polled_that_were_woken_and_once_for_many_wakes)
{
    test_run(polls, NULL);
}

/* Wakes itself at each poll, until it is told to end; and pushes to its own set, once, if it is given one. */
struct spinner {
    atomic_bool over;
    atomic_int polls;
    weft_futures *set;
    bool pushed;
};

static weft_poll spinner_poll(weft_future *f, weft_context *cx)
{
    struct spinner *s = (struct spinner *)f->words[0];

    atomic_fetch_add(&s->polls, 1);
    f->result = 5;
    if (s->set && !s->pushed) {
        uint64_t tag;

        s->pushed = true;
        CHECK_EQ(0, weft_futures_push(s->set, weft_ready_future(6), 6));
        CHECK_EQ(-EBUSY, weft_futures_try_next(s->set, &tag, NULL));
        CHECK_EQ(-EBUSY, weft_futures_clear(s->set));
        CHECK(weft_futures_len(s->set) >= 2);
    }
    if (atomic_load(&s->over))
        return WEFT_READY;
    weft_waker_wake_by_ref(&cx->waker_);
    return WEFT_PENDING;
}

static const weft_future_type spinner_type = {.poll = spinner_poll, .name = "spinner"};

static weft_future spinner_future(struct spinner *s)
{
    weft_future f = weft_future_of(&spinner_type);

    f.words[0] = (uintptr_t)s;
    return f;
}

/* Another task of the same worker; in its turns, how often the set was polled since the turn before. */
struct neighbour {
    struct spinner *s;
    size_t n;
    int most;
};

static int takes_turns(void *arg)
{
    struct neighbour *nb = arg;
    int before = 0, now;

    for (int turn = 0; turn < 20; turn++, before = now) {
        CHECK_EQ(0, weft_yield());
        now = 0;
        for (size_t i = 0; i < nb->n; i++)
            now += atomic_load(&nb->s[i].polls);
        if (turn > 0 && now - before > nb->most)
            nb->most = now - before;
    }
    for (size_t i = 0; i < nb->n; i++)
        atomic_store(&nb->s[i].over, true);
    return 0;
}

static int spins(void *arg)
{
    struct spinner s[10] = {0};
    struct neighbour nb = {s, 10, 0};
    weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, NULL, 0);
    weft_task *t = weft_spawn(takes_turns, &nb);

    (void)arg;
    for (uint64_t i = 0; i < 10; i++)
        CHECK_EQ(0, weft_futures_push(set, spinner_future(&s[i]), i));
    for (int i = 0; i < 10; i++) {
        ssize_t result = 0;

        CHECK_EQ(1, weft_futures_next(set, NULL, &result));
        CHECK_EQ(5, result);
    }
    CHECK_EQ(0, joined(t));
    CHECK(nb.most > 0 &&
          nb.most <= 2 * 128); /* a turn and, after a wake, what was left of another */
    weft_futures_free(set);
    return 0;
}

/* Where there are workers, one that is preempted is relieved: then the two run side by side. */
TEST(a_set_that_is_always_busy_leaves_its_neighbours_their_turns)
{
    test_run_on(&test_flavours[0], spins, NULL);
}

static int shares(void *arg)
{
    struct spinner s[7] = {0};
    struct bell *b = bells_new();
    weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, b, 1);

    (void)arg;
    for (uint64_t i = 0; i < 7; i++)
        CHECK_EQ(0, weft_futures_push(set, spinner_future(&s[i]), i));
    for (int round = 0; round < 50; round++) {
        CHECK_EQ(-EAGAIN, weft_futures_try_next(set, NULL, NULL));
        CHECK_EQ(0, weft_yield());
        for (int i = 1; i < 7; i++) {
            int ahead = atomic_load(&s[0].polls) - atomic_load(&s[i].polls);

            CHECK(ahead == 0 || ahead == 1);
        }
    }
    bell_ring(&b[0], 1); /* behind them all, and still soon */
    expect_next(set, 100, 1);
    weft_futures_free(set);
    free(b);
    return 0;
}

TEST(futures_of_a_set_take_turns)
{
    test_run(shares, NULL);
}

static int from_within(void *arg)
{
    struct spinner s = {0};
    weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, NULL, 0);

    (void)arg;
    s.set = set;
    CHECK_EQ(0, weft_futures_push(set, spinner_future(&s), 1));
    expect_next(set, 6, 6);
    atomic_store(&s.over, true);
    expect_next(set, 1, 5);
    CHECK_EQ(0, weft_futures_next(set, NULL, NULL));
    weft_futures_free(set);
    return 0;
}

TEST(a_future_may_push_to_its_own_set_but_not_drive_it)
{
    test_run(from_within, NULL);
}

/* --- what may be pushed ----------------------------------------------------------------------- */

static int moves(void *arg)
{
    struct bell *b = bells_new();
    weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, NULL, 0);
    weft_future done = weft_ready_future(4), pending = bell_future(&b[0]);
    weft_future none = {0};

    (void)arg;
    CHECK_EQ(4, weft_await(&done));
    CHECK_EQ(0, weft_futures_push(set, done, 1)); /* one that has ended still has its result */
    expect_next(set, 1, 4);
    keep_pending(&pending);
    CHECK_EQ(-EINVAL, weft_futures_push(set, pending, 2));
    CHECK_EQ(-EINVAL, weft_futures_push(set, none, 2));
    CHECK_EQ(-EINVAL, weft_futures_push(NULL, done, 2));
    weft_future_drop(&pending); /* it was still ours */
    CHECK_EQ(1, atomic_load(&b[0].drops));
    CHECK_EQ(0, weft_futures_push(set, pending, 3)); /* dropped is finished, too */
    expect_next(set, 3, -ECANCELED);
    CHECK(weft_futures_is_empty(set));
    weft_futures_free(set);
    free(b);
    return 0;
}

TEST(what_is_pushed_is_new_or_finished_but_not_pending)
{
    test_run(moves, NULL);
}

static void *pushes_from_a_thread(void *arg)
{
    CHECK_EQ(0, weft_futures_push(arg, weft_ready_future(8), 8));
    return NULL;
}

static int pushes_from_a_task(void *arg)
{
    return weft_futures_push(arg, weft_ready_future(9), 9);
}

static int pushed_to(void *arg)
{
    struct bell *b = bells_new();
    weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, b, 1);
    weft_task *t = waits_for(set);
    pthread_t thread;

    (void)arg;
    CHECK_EQ(0, pthread_create(&thread, NULL, pushes_from_a_thread, set));
    CHECK_EQ(8, joined(t)); /* no bell was rung */
    CHECK_EQ(0, pthread_join(thread, NULL));
    t = waits_for(set);
    CHECK_EQ(0, joined(weft_spawn(pushes_from_a_task, set)));
    CHECK_EQ(9, joined(t));
    weft_futures_free(set);
    free(b);
    return 0;
}

TEST(a_push_from_elsewhere_reaches_who_waits)
{
    test_run(pushed_to, NULL);
}

/* --- inside each other, and outside of fibers ------------------------------------------------------ */

static int nested(void *arg)
{
    struct bell *b = bells_new();
    weft_futures *inner = set_of(WEFT_FUTURES_UNORDERED, b, 2);
    weft_futures *outer = set_of(WEFT_FUTURES_UNORDERED, b + 2, 1);
    uint64_t tag = 0;
    ssize_t result = 0;

    (void)arg;
    CHECK_EQ(0, weft_futures_push(outer, weft_futures_next_future(inner, &tag, &result), 1));
    CHECK_EQ(-EAGAIN, weft_futures_try_next(outer, NULL, NULL));
    bell_ring(&b[1], 11);
    expect_next(outer, 1, 1);
    CHECK_EQ(101, tag);
    CHECK_EQ(11, result);
    CHECK_EQ(0, weft_futures_push(outer, weft_futures_next_future(inner, &tag, &result), 2));
    CHECK_EQ(-EAGAIN, weft_futures_try_next(outer, NULL, NULL));
    weft_futures_free(outer); /* gives up the inner wait, which loses nothing */
    bell_ring(&b[0], 10);
    expect_next(inner, 100, 10);
    weft_futures_free(inner);
    free(b);
    return 0;
}

TEST(sets_nest)
{
    test_run(nested, NULL);
}

struct collector {
    weft_async async;
    weft_futures *set;
    weft_future next;
    ssize_t result;
    int sum;
};

static weft_poll collector_poll(void *self, weft_context *cx)
{
    struct collector *c = self;

    WEFT_ASYNC_BEGIN(c);
    for (;;) {
        c->next = weft_futures_next_future(c->set, NULL, &c->result);
        WEFT_AWAIT(c, cx, &c->next);
        if (c->next.result != 1)
            break;
        c->sum += (int)c->result;
    }
    WEFT_RETURN(c, c->next.result < 0 ? (int)c->next.result : c->sum);
    WEFT_ASYNC_END(c);
}

static const weft_async_type collector_type = {.poll = collector_poll,
                                               .size = sizeof(struct collector),
                                               .name = "collector"};

static int stackless(void *arg)
{
    struct bell *b = bells_new();
    struct collector c = {.set = set_of(WEFT_FUTURES_UNORDERED, b, BELLS)};
    weft_task *t = weft_spawn_async(&collector_type, &c);

    (void)arg;
    until_waiting(t);
    for (int i = 0; i < BELLS; i++)
        bell_ring(&b[i], i);
    CHECK_EQ(BELLS * (BELLS - 1) / 2, joined(t));

    CHECK_EQ(0, weft_futures_push(c.set, weft_pending_future(), 0));
    t = weft_spawn_async(&collector_type, &c);
    until_waiting(t);
    weft_cancel(t);
    CHECK_EQ(-ECANCELED, joined(t));
    CHECK_EQ(1, weft_futures_len(c.set));
    weft_futures_free(c.set);
    free(b);
    return 0;
}

TEST(a_stackless_task_drives_a_set)
{
    test_run(stackless, NULL);
}

TEST(a_plain_thread_drives_a_set_by_hand)
{
    struct bell *b = bells_new();
    weft_futures *set = set_of(WEFT_FUTURES_UNORDERED, b, 2);
    weft_context cx = weft_context_of(NULL);
    uint64_t tag = 0;
    weft_future next = weft_futures_next_future(set, &tag, NULL);

    CHECK_EQ(-EPERM, weft_futures_next(set, NULL, NULL));
    CHECK_EQ(WEFT_PENDING, weft_future_poll(&next, &cx));
    CHECK_EQ(WEFT_PENDING, weft_future_poll(&next, &cx));
    bell_ring(&b[1], 1);
    CHECK_EQ(WEFT_READY, weft_future_poll(&next, &cx));
    CHECK_EQ(1, next.result);
    CHECK_EQ(101, tag);
    CHECK_EQ(-EAGAIN, weft_futures_try_next(set, NULL, NULL));
    bell_ring(&b[0], 0);
    CHECK_EQ(1, weft_futures_try_next(set, &tag, NULL));
    CHECK_EQ(0, weft_futures_try_next(set, NULL, NULL));
    weft_futures_free(set);
    free(b);
}

TEST_MAIN("futures", results_come_as_the_futures_end,
          results_of_an_ordered_set_come_as_they_were_pushed,
          timers_in_a_set_all_end_and_none_is_early,
          only_those_are_polled_that_were_woken_and_once_for_many_wakes,
          a_set_that_is_always_busy_leaves_its_neighbours_their_turns, futures_of_a_set_take_turns,
          a_future_may_push_to_its_own_set_but_not_drive_it,
          what_is_pushed_is_new_or_finished_but_not_pending,
          a_push_from_elsewhere_reaches_who_waits, sets_nest, a_stackless_task_drives_a_set,
          a_plain_thread_drives_a_set_by_hand)
