/* SPDX-License-Identifier: MIT */
/*
 * test_permits.c - permits between threads: none is lost and none is made, whoever gives up, closes or frees; and what
 * read-write locks make of them.
 */
#include "base/sys.h"
#include "model/hand.h"
#include "sync/permits.h"
#include "task/current.h"

#include <errno.h>
#include <weft/rwlock.h>
#include <weft/semaphore.h>

/* What can happen, must. */
enum {
    HANDED,
    GAVE_UP,
    TRIED_IN_VAIN,
    TRIED_WELL,
    REFUSED,
    HAD_BEFORE,
    LEFT_OUT,
    FREED,
    OVERFLOWED
};

enum { READ_TOGETHER = 16, READ_AFTER, WROTE, TOLD };

#define BIT(event) (1u << (event))

bool wf_lock_report_may(uint64_t key)
{
    CHECK(key != 0);
    return false;
}

void wf_lock_report_end(const char *kind, const struct wf_owned *o, const struct weft_task *t)
{
    CHECK(kind && o && t);
}

const char *wf_someone_text(const struct wf_someone *s, char text[WF_SOMEONE_SIZE])
{
    (void)s;
    return text;
}

#define HANDS 4

static struct hand hands[HANDS];
static weft_semaphore semaphore = WEFT_SEMAPHORE_INIT(0);
static struct wf_atomic_u32 given, taken; /* by the threads */
static unsigned note;                     /* plain: who releases writes it before */

static void end(void)
{
    CHECK_EQ(given.raw, weft_semaphore_available(&semaphore) + taken.raw);
    CHECK(weft_semaphore_is_closed(&semaphore) || !(semaphore.word_ & 7));
    CHECK(!((struct wf_permits *)(void *)&semaphore)->handed.first);
    for (unsigned i = 0; i < HANDS; i++)
        CHECK_EQ(0, hands[i].refs.raw);
}

/* --- giving ---------------------------------------------------------------------------------- */

static void begin_one(void)
{
    CHECK_EQ(0, weft_semaphore_release(&semaphore, 1));
    given.raw = 1;
}

static void gives(unsigned n)
{
    CHECK_EQ(0, weft_semaphore_release(&semaphore, n));
    wf_add_u32(&given, n, WF_RELAXED);
}

static void gives_one(void)
{
    gives(1);
}

static void gives_two(void)
{
    note = 42;
    gives(2);
}

/* --- taking ------------------------------------------------------------------------------------ */

static void takes(unsigned hand, unsigned n)
{
    struct hand *h = &hands[hand];

    h->future = weft_semaphore_acquire_many_future(&semaphore, n);
    if (hand_await(h, &h->future))
        model_reached(HANDED);
    CHECK_EQ(0, h->future.result);
    wf_add_u32(&taken, n, WF_RELAXED);
}

static void takes_two(void)
{
    takes(0, 2);
}

static void takes_one(void)
{
    takes(1, 1);
}

static void takes_another(void)
{
    takes(2, 1);
}

static void reads_note(void)
{
    takes(1, 1);
    CHECK_EQ(42, note);
}

static void tries(void)
{
    int rc = weft_semaphore_try_acquire(&semaphore);

    model_reached(rc == 0 ? TRIED_WELL : TRIED_IN_VAIN);
    CHECK(rc == 0 || rc == -EAGAIN);
    if (rc == 0)
        wf_add_u32(&taken, 1, WF_RELAXED);
}

static void tries_and_reads_note(void)
{
    if (weft_semaphore_try_acquire(&semaphore) < 0) {
        model_reached(TRIED_IN_VAIN);
        return;
    }
    wf_add_u32(&taken, 1, WF_RELAXED);
    CHECK_EQ(42, note);
    model_reached(TRIED_WELL);
}

/* Polls once, and gives up; else it has two. */
static void gives_up_two(void)
{
    struct hand *h = &hands[3];

    h->future = weft_semaphore_acquire_many_future(&semaphore, 2);
    if (hand_poll(h, &h->future) == WEFT_READY) {
        CHECK_EQ(0, weft_semaphore_release(&semaphore, 2));
        return;
    }
    weft_future_drop(&h->future);
    model_reached(GAVE_UP);
}

static void forgets_one(void)
{
    uint64_t n = weft_semaphore_forget(&semaphore, 1);

    model_reached(n ? LEFT_OUT : TRIED_IN_VAIN);
    wf_add_u32(&taken, (uint32_t)n, WF_RELAXED);
}

/* --- closing ------------------------------------------------------------------------------------- */

static void closes(void)
{
    weft_semaphore_close(&semaphore);
}

static void takes_until_closed(unsigned hand, unsigned n)
{
    struct hand *h = &hands[hand];

    h->future = weft_semaphore_acquire_many_future(&semaphore, n);
    (void)hand_await(h, &h->future);
    if (h->future.result == 0) {
        wf_add_u32(&taken, n, WF_RELAXED);
        model_reached(HAD_BEFORE);
    } else {
        CHECK_EQ(-ESHUTDOWN, h->future.result);
        model_reached(REFUSED);
    }
}

static void takes_two_until_closed(void)
{
    takes_until_closed(0, 2);
}

static void takes_one_until_closed(void)
{
    takes_until_closed(1, 1);
}

/* --- a line longer than what is woken at a time ------------------------------------------------------- */

static void begin_line(void)
{
    for (unsigned i = 0; i < 3; i++) {
        hands[i].future = weft_semaphore_acquire_future(&semaphore);
        CHECK_EQ(WEFT_PENDING, hand_poll(&hands[i], &hands[i].future));
    }
}

static void gives_three(void)
{
    gives(3);
}

static void has_lined_up(unsigned hand)
{
    struct hand *h = &hands[hand];

    hand_wait(h);
    CHECK_EQ(WEFT_READY, hand_poll(h, &h->future));
    if (h->future.result == 0)
        wf_add_u32(&taken, 1, WF_RELAXED);
    else
        CHECK_EQ(-ESHUTDOWN, h->future.result);
}

static void is_first(void)
{
    has_lined_up(0);
}

static void is_second(void)
{
    has_lined_up(1);
}

static void is_third(void)
{
    has_lined_up(2);
}

/* --- the memory of a semaphore --------------------------------------------------------------------- */

static weft_semaphore *shared;

static void begin_shared(void)
{
    shared = wf_sys_calloc(1, sizeof(*shared));
    CHECK(shared);
}

static void gives_shared(void)
{
    CHECK_EQ(0, weft_semaphore_release(shared, 2));
}

/* Who has got both frees it. */
static void takes_shared(unsigned hand)
{
    struct hand *h = &hands[hand];

    h->future = weft_semaphore_acquire_future(shared);
    (void)hand_await(h, &h->future);
    if (wf_add_u32(&taken, 1, WF_ACQ_REL) == 1) {
        wf_sys_free(shared);
        model_reached(FREED);
    }
}

static void takes_first_shared(void)
{
    takes_shared(0);
}

static void takes_second_shared(void)
{
    takes_shared(1);
}

/* --- limits ------------------------------------------------------------------------------------------ */

static void begin_full(void)
{
    CHECK_EQ(0, weft_semaphore_release(&semaphore, WEFT_SEMAPHORE_MAX - 1));
}

static void gives_one_too_many(void)
{
    /* What weft_semaphore_release calls, without the message. */
    bool passed = false;
    int rc = wf_permits_add((struct wf_permits *)(void *)&semaphore, 1, WEFT_SEMAPHORE_MAX,
                            &passed);

    CHECK(rc == 0 || rc == -EOVERFLOW);
    model_reached(rc == 0 ? HAD_BEFORE : OVERFLOWED);
    if (rc == 0)
        wf_add_u32(&taken, 1, WF_RELAXED);
}

static void end_full(void)
{
    CHECK_EQ(1, taken.raw);
    CHECK_EQ(WEFT_SEMAPHORE_MAX, weft_semaphore_available(&semaphore));
}

/* --- locks made of them -------------------------------------------------------------------------------- */

static weft_rwlock lock = WEFT_RWLOCK_INIT;
static struct wf_atomic_u32 readers;
static unsigned value; /* plain: written by writers only */

static ssize_t lock_by_hand(unsigned hand, bool write)
{
    struct hand *h = &hands[hand];

    h->future = write ? weft_rwlock_write_lock_future(&lock) : weft_rwlock_read_lock_future(&lock);
    (void)hand_await(h, &h->future);
    return h->future.result;
}

static void be_reading(void)
{
    unsigned seen = value;

    if (wf_add_u32(&readers, 1, WF_RELAXED))
        model_reached(READ_TOGETHER);
    model_reached(value ? READ_AFTER : WROTE);
    CHECK_EQ(seen, value);
    wf_sub_u32(&readers, 1, WF_RELAXED);
}

static void reads(unsigned hand)
{
    CHECK_EQ(0, lock_by_hand(hand, false));
    be_reading();
    CHECK_EQ(0, weft_rwlock_read_unlock(&lock));
}

static void reads_first(void)
{
    reads(0);
}

static void reads_second(void)
{
    reads(1);
}

static void writes(void)
{
    CHECK_EQ(0, lock_by_hand(2, true));
    value++;
    CHECK_EQ(0, weft_rwlock_write_unlock(&lock));
}

static void writes_and_reads(void)
{
    unsigned seen;

    CHECK_EQ(0, lock_by_hand(3, true));
    seen = ++value;
    CHECK_EQ(0, weft_rwlock_downgrade(&lock));
    CHECK_EQ(seen, value);
    be_reading();
    CHECK_EQ(0, weft_rwlock_read_unlock(&lock));
}

/* Either kind of lock, and it is not waited for. */
static void wants_no_lock(void)
{
    bool write = model_choose(2);
    struct hand *h = &hands[3];

    h->future = write ? weft_rwlock_write_lock_future(&lock) : weft_rwlock_read_lock_future(&lock);
    if (hand_poll(h, &h->future) == WEFT_PENDING) {
        weft_future_drop(&h->future);
        model_reached(GAVE_UP);
    } else if (write) {
        CHECK_EQ(0, weft_rwlock_write_unlock(&lock));
    } else {
        CHECK_EQ(0, weft_rwlock_read_unlock(&lock));
    }
}

/* All permits are there; and who is known as the writer may not lock again, nor unlock what it has not. */
static void end_lock(void)
{
    model_hush();
    CHECK_EQ(-EPERM, weft_rwlock_write_unlock(&lock));
    CHECK_EQ(-EPERM, weft_rwlock_read_unlock(&lock));
    CHECK_EQ(0, weft_rwlock_try_write_lock(&lock));
    CHECK_EQ(-EDEADLK, lock_by_hand(0, false));
    CHECK_EQ(-EDEADLK, lock_by_hand(0, true));
    CHECK_EQ(-EPERM, weft_rwlock_read_unlock(&lock));
    CHECK_EQ(-EAGAIN, weft_rwlock_try_read_lock(&lock));
    CHECK_EQ(0, weft_rwlock_write_unlock(&lock));
    CHECK_EQ(0, weft_rwlock_try_read_lock(&lock));
    CHECK_EQ(-EAGAIN, weft_rwlock_try_write_lock(&lock));
    CHECK_EQ(0, weft_rwlock_read_unlock(&lock));
    CHECK_EQ(0, weft_rwlock_try_write_lock(&lock));
    CHECK_EQ(0, weft_rwlock_write_unlock(&lock));
    for (unsigned i = 0; i < HANDS; i++)
        CHECK_EQ(0, hands[i].refs.raw);
}

/* A writer that ends with it: readers are told until a writer has had it. */
static struct weft_task task WF_ALIGNED(64);
static struct wf_fiber fiber = {.task = &task};
static struct wf_thread thread;

static void writes_and_ends(void)
{
    thread = (struct wf_thread){.fiber = &fiber, .budget = 100};
    thread.task = &task;
    wf_thread_set_self(&thread);
    (void)lock_by_hand(0, true);
    wf_store_u32(&readers, 1, WF_RELAXED);
    value = 1;
    wf_holds_abandon(&fiber);
    wf_thread_set_self(NULL);
}

static void reads_and_is_told(void)
{
    ssize_t rc = lock_by_hand(1, false);

    CHECK(rc == 0 || rc == -EOWNERDEAD);
    if (rc)
        model_reached(TOLD);
    /* Nobody repairs it here. */
    CHECK_EQ(rc != 0, value);
    CHECK_EQ(0, weft_rwlock_read_unlock(&lock));
}

static void end_told(void)
{
    CHECK_EQ(-EOWNERDEAD, weft_rwlock_try_read_lock(&lock));
    CHECK_EQ(0, weft_rwlock_read_unlock(&lock));
    CHECK_EQ(-EOWNERDEAD, weft_rwlock_try_write_lock(&lock));
    CHECK_EQ(0, weft_rwlock_write_unlock(&lock));
    CHECK_EQ(0, weft_rwlock_try_read_lock(&lock));
    CHECK_EQ(0, weft_rwlock_read_unlock(&lock));
}

const struct model_test model_tests[] = {
    {.name = "one is given twice to who wants two",
     .thread = {gives_one, gives_one, takes_two},
     .end = end,
     .stale = 1,
     .must_reach = BIT(HANDED)},
    {.name = "some are given to three, of whom one only tries",
     .thread = {gives_two, gives_one, takes_one, takes_another, tries},
     .end = end,
     .preemptions = 1,
     .stale = 1,
     .deep = true,
     .must_reach = BIT(HANDED) | BIT(TRIED_IN_VAIN) | BIT(TRIED_WELL)},
    {.name = "two are given at once, and carry what was written",
     .thread = {gives_two, reads_note, takes_another},
     .end = end,
     .stale = 1,
     .must_reach = BIT(HANDED)},
    {.name = "what is had by trying carries it, too",
     .thread = {gives_two, tries_and_reads_note},
     .end = end,
     .must_reach = BIT(TRIED_IN_VAIN) | BIT(TRIED_WELL)},
    {.name = "trying overtakes nobody",
     .begin = begin_one,
     .thread = {gives_two, takes_two, tries},
     .end = end,
     .stale = 1,
     .must_reach = BIT(HANDED) | BIT(TRIED_IN_VAIN) | BIT(TRIED_WELL)},
    {.name = "who gives up returns what it has collected",
     .begin = begin_one,
     .thread = {gives_one, gives_up_two, takes_one},
     .end = end,
     .stale = 1,
     .must_reach = BIT(GAVE_UP) | BIT(HANDED)},
    {.name = "what is forgotten is nobody's",
     .begin = begin_one,
     .thread = {gives_one, gives_up_two, forgets_one},
     .end = end,
     .stale = 1,
     .must_reach = BIT(GAVE_UP) | BIT(LEFT_OUT) | BIT(TRIED_IN_VAIN)},
    {.name = "a close against those that wait, and who gives",
     .begin = begin_one,
     .thread = {gives_one, closes, takes_two_until_closed},
     .end = end,
     .stale = 1,
     .must_reach = BIT(REFUSED) | BIT(HAD_BEFORE)},
    {.name = "a close against a line",
     .begin = begin_one,
     .thread = {closes, takes_two_until_closed, takes_one_until_closed},
     .end = end,
     .preemptions = 1,
     .stale = 1,
     .must_reach = BIT(REFUSED) | BIT(HAD_BEFORE)},
    {.name = "a long line is served",
     .begin = begin_line,
     .thread = {gives_three, is_first, is_second, is_third},
     .end = end,
     .preemptions = 1,
     .stale = 1},
    {.name = "a long line is sent away",
     .begin = begin_line,
     .thread = {closes, is_first, is_second, is_third},
     .end = end,
     .preemptions = 1,
     .stale = 1},
    {.name = "who gets the last one frees it",
     .begin = begin_shared,
     .thread = {gives_shared, takes_first_shared, takes_second_shared},
     .stale = 1,
     .must_reach = BIT(FREED)},
    {.name = "no more than the limit",
     .begin = begin_full,
     .thread = {gives_one_too_many, gives_one_too_many},
     .end = end_full,
     .must_reach = BIT(HAD_BEFORE) | BIT(OVERFLOWED)},
    {.name = "readers and a writer",
     .thread = {reads_first, reads_second, writes},
     .end = end_lock,
     .preemptions = 1,
     .stale = 1,
     .must_reach = BIT(READ_TOGETHER) | BIT(READ_AFTER) | BIT(WROTE)},
    {.name = "a writer becomes a reader",
     .thread = {reads_first, writes, writes_and_reads},
     .end = end_lock,
     .preemptions = 1,
     .stale = 1,
     .must_reach = BIT(READ_TOGETHER) | BIT(READ_AFTER) | BIT(WROTE)},
    {.name = "a writer, a reader, and one who gives up",
     .thread = {reads_first, writes, wants_no_lock},
     .end = end_lock,
     .preemptions = 1,
     .stale = 1,
     .must_reach = BIT(GAVE_UP)},
    {.name = "a writer's end is told until one has written",
     .thread = {writes_and_ends, reads_and_is_told},
     .end = end_told,
     .must_reach = BIT(TOLD)},
    {0},
};
