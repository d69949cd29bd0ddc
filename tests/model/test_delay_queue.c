/* SPDX-License-Identifier: MIT */
/*
 * test_delay_queue.c - one task waits for the next entry while others insert, remove, reset, take and clear: it is
 * told of all that concerns it, and each entry comes out once.
 *
 * Time passes only when nobody can go on. So a task that was not told of an earlier entry sleeps until its own, and a
 * moment too late is seen.
 */
#include "model/worker.h"

enum { WAITED, DUE, EMPTY, BUSY, TOOK, LATE, CLEARED };

static weft_delay_queue *q;
static weft_delay_key key[5];
static uint64_t base;
static struct wf_atomic_u32 taken[5];

static uint64_t at(unsigned ticks)
{
    return base + ticks * TICK;
}

static void insert(int value, unsigned ticks)
{
    CHECK_EQ(0, weft_delay_queue_insert_at(q, &value, at(ticks), &key[value]));
}

static void begin(void)
{
    worker_begin();
    base = (model_clock() >> WF_WHEEL_TICK_SHIFT) << WF_WHEEL_TICK_SHIFT;
    CHECK_EQ(0, weft_delay_queue_new(&q, sizeof(int), NULL));
}

static void begin_one(void)
{
    begin();
    insert(0, 9);
}

static void begin_two(void)
{
    begin_one();
    insert(1, 9);
}

static void took(int value)
{
    /* relaxed: counted only */
    CHECK_EQ(0, wf_add_u32(&taken[value], 1, WF_RELAXED));
}

static void end(void)
{
    int value;

    /* What nobody took is still there, and comes out once. */
    while (weft_delay_queue_len(q) > 0) {
        weft_delay_key next;

        CHECK_EQ(1, weft_delay_queue_peek(q, &next));
        CHECK_EQ(0, weft_delay_queue_remove(q, next, &value));
        took(value);
    }
    weft_delay_queue_free(q);
    worker_end();
}

/* The worker's task: takes one, by a certain time. */
static int take_one(uint64_t until)
{
    struct wf_thread th;
    weft_delay_expired e;
    weft_future f;
    int value = -1;
    ssize_t rc;

    worker_enter(&th);
    f = weft_delay_queue_next_future(q, &value, &e);
    rc = worker_await(&f);
    wf_thread_set_self(NULL);
    if (worker_polls > 1)
        model_reached(WAITED);
    CHECK(model_clock() <= until);
    if (rc == 0) {
        model_reached(EMPTY);
        return -1;
    }
    CHECK_EQ(1, rc);
    CHECK(model_clock() >= e.deadline); /* never early */
    model_reached(DUE);
    took(value);
    return value;
}

/* --- who waits --- */

static void takes_the_earlier(void)
{
    CHECK_EQ(1, take_one(at(3)));
}

static void inserts_earlier(void)
{
    insert(1, 3);
}

static void resets_earlier(void)
{
    CHECK_EQ(0, weft_delay_queue_reset_at(q, key[1], at(3)));
}

static void is_told_that_it_is_empty(void)
{
    CHECK_EQ(-1, take_one(base + TICK)); /* no time has passed */
}

static void removes(void)
{
    int value;

    CHECK_EQ(0, weft_delay_queue_remove(q, key[0], &value));
    took(value);
}

static void clears(void)
{
    weft_delay_queue_clear(q);
    model_reached(CLEARED);
}

static void nothing_is_left(void)
{
    CHECK_EQ(0, weft_delay_queue_len(q));
    CHECK_EQ(-ENOENT, weft_delay_queue_remove(q, key[0], NULL));
    end();
}

/* At any moment: it may find the entry expired, gone, or not yet there. */
static void takes_what_comes(void)
{
    (void)take_one(UINT64_MAX);
}

static void resets_at_the_end(void)
{
    int rc = weft_delay_queue_reset_at(q, key[0], at(12));

    CHECK(rc == 0 || rc == -ENOENT);
    if (rc < 0)
        model_reached(LATE);
}

static void removes_at_the_end(void)
{
    int value, rc = weft_delay_queue_remove(q, key[0], &value);

    CHECK(rc == 0 || rc == -ENOENT);
    if (rc == 0) {
        model_reached(TOOK);
        took(value);
    } else {
        model_reached(LATE);
    }
}

/* Another worker looks after the timers, too. */
static void fires(void)
{
    (void)wf_wheel_advance(&wheel, model_clock());
}

__attribute__((no_sanitize("thread"))) static bool never(void *arg)
{
    (void)arg;
    return false;
}

/* As in a select that something else has woken: polled when the time has come, before the timer has fired. */
static void polls_by_chance(void)
{
    struct wf_thread th;
    weft_future f;
    int value = -1;

    worker_enter(&th);
    f = weft_delay_queue_next_future(q, &value, NULL);
    if (worker_poll_once(&f) == WEFT_PENDING) {
        (void)model_block(never, NULL, at(9));
        while (worker_poll_once(&f) == WEFT_PENDING)
            model_fail(__FILE__, __LINE__, "it is due");
        model_reached(WAITED);
    }
    CHECK(f.result >= 0);
    if (f.result == 1)
        took(value);
    wf_thread_set_self(NULL);
}

/* --- who gives up --- */

static void drops(void)
{
    struct wf_thread th;
    weft_future f;
    int value = -1;

    worker_enter(&th);
    f = weft_delay_queue_next_future(q, &value, NULL);
    if (worker_poll_once(&f) == WEFT_PENDING) {
        model_reached(WAITED);
        wf_thread_set_self(NULL);
        weft_future_drop(&f);
        /* Somebody may have taken it to be woken; afterwards nobody will any more. */
        CHECK_EQ(-1, value);
    } else {
        wf_thread_set_self(NULL);
    }
}

/* --- two that wait --- */

static void is_first_or_refused(void)
{
    struct wf_thread th;
    weft_future f;
    int value = -1;
    ssize_t rc;

    worker_enter(&th);
    f = weft_delay_queue_next_future(q, &value, NULL);
    if (worker_poll_once(&f) == WEFT_PENDING) {
        weft_future_drop(&f);
        model_reached(TOOK);
        rc = -ECANCELED;
    } else {
        rc = f.result;
        CHECK_EQ(-EBUSY, rc);
        model_reached(BUSY);
    }
    wf_thread_set_self(NULL);
    CHECK_EQ(-1, value);
}

/* --- who does not wait --- */

static void tries(void)
{
    int value, rc = weft_delay_queue_try_next(q, &value, NULL);

    if (rc == 1) {
        model_reached(TOOK);
        took(value);
    } else {
        CHECK_EQ(0, rc);
        model_reached(EMPTY);
    }
}

static void begin_due(void)
{
    begin();
    insert(0, 0);
}

static void inserts_three(void)
{
    for (int i = 0; i < 3; i++)
        insert(i, 5);
}

static void inserts_two(void)
{
    for (int i = 3; i < 5; i++)
        insert(i, 4);
}

static void five_are_there(void)
{
    CHECK_EQ(5, weft_delay_queue_len(q));
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(0, weft_delay_queue_deadline(q, key[i], NULL));
    end();
}

const struct model_test model_tests[] = {
    {.name = "who waits is told of an earlier entry",
     .begin = begin_one,
     .thread = {takes_the_earlier, inserts_earlier},
     .end = end,
     .preemptions = 3,
     .late_clock = true,
     .must_reach = 1u << WAITED | 1u << DUE},
    {.name = "who waits is told of an entry that was made earlier",
     .begin = begin_two,
     .thread = {takes_the_earlier, resets_earlier},
     .end = end,
     .preemptions = 3,
     .late_clock = true,
     .must_reach = 1u << WAITED | 1u << DUE},
    {.name = "who waits is told that the last entry was removed",
     .begin = begin_one,
     .thread = {is_told_that_it_is_empty, removes},
     .end = end,
     .preemptions = 3,
     .late_clock = true,
     .must_reach = 1u << WAITED | 1u << EMPTY},
    {.name = "who waits is told that all entries were destroyed",
     .begin = begin_two,
     .thread = {is_told_that_it_is_empty, clears},
     .end = nothing_is_left,
     .late_clock = true,
     .must_reach = 1u << WAITED | 1u << EMPTY | 1u << CLEARED},
    {.name = "two change what one waits for",
     .begin = begin_one,
     .thread = {takes_what_comes, inserts_earlier, removes_at_the_end},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = 1u << WAITED | 1u << DUE | 1u << TOOK},
    {.name = "an entry expires or is removed",
     .begin = begin_one,
     .thread = {takes_what_comes, removes_at_the_end},
     .end = end,
     .must_reach = 1u << WAITED | 1u << DUE | 1u << EMPTY | 1u << TOOK | 1u << LATE},
    {.name = "an entry expires or is put off",
     .begin = begin_one,
     .thread = {takes_what_comes, resets_at_the_end},
     .end = end,
     .must_reach = 1u << WAITED | 1u << DUE | 1u << LATE},
    {.name = "another worker fires the timer meanwhile",
     .begin = begin_one,
     .thread = {takes_what_comes, fires, resets_at_the_end},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = 1u << WAITED | 1u << DUE},
    {.name = "a wait is over before its timer has fired",
     .begin = begin_one,
     .thread = {polls_by_chance, fires},
     .end = end,
     .must_reach = 1u << WAITED},
    {.name = "a wait is given up while an earlier entry comes",
     .begin = begin_one,
     .thread = {drops, inserts_earlier},
     .end = end,
     .preemptions = 3,
     .must_reach = 1u << WAITED},
    {.name = "a wait is given up while the last entry goes",
     .begin = begin_one,
     .thread = {drops, removes},
     .end = end,
     .preemptions = 3,
     .must_reach = 1u << WAITED},
    {.name = "of two that wait one is refused",
     .begin = begin_one,
     .thread = {is_first_or_refused, is_first_or_refused},
     .end = end,
     .preemptions = 3,
     .must_reach = 1u << TOOK | 1u << BUSY},
    {.name = "what is due is taken once",
     .begin = begin_due,
     .thread = {tries, tries, removes_at_the_end},
     .end = end,
     .stale = 1,
     .must_reach = 1u << TOOK | 1u << EMPTY},
    {.name = "two insert into no memory, which grows",
     .begin = begin,
     .thread = {inserts_three, inserts_two},
     .end = five_are_there},
    {.name = "an entry is inserted while all are destroyed",
     .begin = begin_one,
     .thread = {clears, inserts_earlier},
     .end = end,
     .must_reach = 1u << CLEARED},
    {0},
};
