/* SPDX-License-Identifier: MIT */
/*
 * test_mpsc_hand.c - a fiber that waits in weft_recv, on a whole current-thread runtime: values that are laid into its
 * hand while others wake it, cancel it, send by other ways, or end the channel.
 *
 * A value is a pointer to something plain, which whoever carries the value carries, too. Each that was sent is
 * received, once, and by one sender in order, whatever becomes of the call in between.
 */
#include "model/live.h"
#include "sync/mpsc.h"
#include "task/await.h"

#include <weft/channel.h>

#define VALUES 3

static weft_sender *tx;
static weft_receiver *rx;
static unsigned letters[VALUES]; /* plain: written by who sends it */
static bool got[VALUES];
static bool with_permit; /* the second sender does */

enum { GIVEN, QUEUED, WAS_CANCELLED, GIVEN_AND_MORE, DESTROYED };

static void receive_as(int rc, unsigned *letter)
{
    unsigned i = (unsigned)(letter - letters);

    CHECK_EQ(1, rc);
    CHECK(i < VALUES && !got[i]);
    CHECK_EQ(42 + i, *letter);
    CHECK(i != 0 || !got[1]);
    got[i] = true;
}

/* Was it laid into a hand? Then the queue has never counted it. */
static bool was_queued(void)
{
    return wf_load_u64(&tx->tail, WF_RELAXED) != VALUES;
}

static void open_channel(void)
{
    unsigned *letter = NULL;

    CHECK_EQ(0, weft_mpsc_new(&tx, &rx, sizeof(unsigned *), VALUES));
    /* It has been full: from here on a send looks at room alone. */
    for (int i = 0; i < VALUES; i++)
        CHECK_EQ(0, weft_try_send(tx, &letter));
    for (int i = 0; i < VALUES; i++)
        CHECK_EQ(1, weft_try_recv(rx, &letter));
    runtime_open(WEFT_CURRENT_THREAD, 1);
}

static void leave_waker(void)
{
    struct wf_fiber *f;

    CHECK_EQ(0, wf_await_enter(&f, "model"));
    waker = weft_waker_clone(&(weft_waker){&f->task->wakeable});
    wf_store_u32(&waker_is_there, 1, WF_RELEASE);
}

static void send_letter(weft_sender *sender, unsigned i)
{
    unsigned *letter = &letters[i];

    letters[i] = 42 + i;
    CHECK_EQ(0, weft_try_send(sender, &letter));
}

static int receive_all(void *arg)
{
    unsigned *letter = NULL;
    int rc;

    leave_waker();
    while ((rc = weft_recv(rx, &letter)) == 1) {
        receive_as(rc, letter);
        model_reached(was_queued() ? QUEUED : GIVEN);
    }
    CHECK_EQ(0, rc);
    return arg == NULL ? 7 : 8;
}

static void block_to_receive(void)
{
    int result = 0;

    CHECK_EQ(0, weft_block_on(rt, receive_all, NULL, &result));
    CHECK_EQ(7, result);
}

static void sends_one_and_ends(void)
{
    send_letter(tx, 0);
    weft_sender_close(tx);
}

static void sends_one(void)
{
    send_letter(tx, 0);
}

static void only_ends(void)
{
    weft_sender_close(tx);
}

static void wakes_for_nothing(void)
{
    wait_for_waker();
    weft_waker_wake(&waker);
}

static void all_is_received(unsigned count)
{
    unsigned *letter;

    while (weft_try_recv(rx, &letter) == 1)
        receive_as(1, letter);
    for (unsigned i = 0; i < VALUES; i++)
        CHECK_EQ(i < count, got[i]);
    weft_receiver_close(rx);
    weft_runtime_free(rt);
    CHECK_EQ(1, model_live()); /* the records of a slab of stacks, which the process keeps */
}

static void none_is_received(void)
{
    all_is_received(0);
}

static void one_is_received(void)
{
    all_is_received(1);
}

static void three_are_received(void)
{
    all_is_received(3);
}

/* --- several who send ------------------------------------------------------------------ */

static weft_sender *second;

static void open_for_two(void)
{
    open_channel();
    second = weft_sender_clone(tx);
    CHECK(second);
}

static void open_for_permit(void)
{
    with_permit = true;
    open_for_two();
}

static void sends_two_and_ends(void)
{
    send_letter(tx, 0);
    send_letter(tx, 1);
    weft_sender_close(tx);
}

static void sends_third_and_ends(void)
{
    weft_permit permit = {0};
    unsigned *letter = &letters[2];

    if (!with_permit) {
        send_letter(second, 2);
    } else {
        *letter = 42 + 2;
        CHECK_EQ(0, weft_try_reserve(second, &permit));
        CHECK_EQ(0, weft_permit_send(&permit, &letter));
        weft_permit_release(&permit);
    }
    weft_sender_close(second);
}

/* --- a call that is given up ------------------------------------------------------------- */

static int receive_until_cancelled(void *arg)
{
    unsigned *letter = NULL;
    int rc;

    leave_waker();
    rc = weft_recv(rx, &letter);
    if (rc == 1) {
        receive_as(rc, letter);
        model_reached(was_queued() ? QUEUED : GIVEN);
    } else {
        CHECK_EQ(-ECANCELED, rc);
        model_reached(WAS_CANCELLED);
    }
    return arg == NULL ? 7 : 8;
}

static void block_until_cancelled(void)
{
    int result = 0;

    CHECK_EQ(0, weft_block_on(rt, receive_until_cancelled, NULL, &result));
    CHECK_EQ(7, result);
}

/* By the task's own handle, which nobody joins. */
static void cancels(void)
{
    struct weft_task *t;

    wait_for_waker();
    t = wf_task_of_wakeable(waker.target_);
    if (wf_task_state_cancel(t))
        t->sched->ops->woken(t->sched, t);
    weft_waker_drop(&waker);
}

/* --- several values at once ------------------------------------------------------------ */

static int receive_many(void *arg)
{
    unsigned *letter[VALUES];
    ssize_t rc;

    leave_waker();
    while ((rc = weft_recv_many(rx, letter, VALUES)) > 0) {
        if (rc > 1 && wf_load_u64(&tx->tail, WF_RELAXED) < VALUES + (uint64_t)rc)
            model_reached(GIVEN_AND_MORE);
        for (ssize_t i = 0; i < rc; i++)
            receive_as(1, letter[i]);
    }
    CHECK_EQ(0, rc);
    return arg == NULL ? 7 : 8;
}

static void block_to_receive_many(void)
{
    int result = 0;

    CHECK_EQ(0, weft_block_on(rt, receive_many, NULL, &result));
    CHECK_EQ(7, result);
}

static void drop_waker_and_three(void)
{
    weft_waker_drop(&waker);
    three_are_received();
}

static void drop_waker_and_one(void)
{
    weft_waker_drop(&waker);
    one_is_received();
}

static void cancelled_one_is_received(void)
{
    weft_sender_close(tx);
    one_is_received();
}

static void drop_waker_and_none(void)
{
    weft_waker_drop(&waker);
    none_is_received();
}

/* --- a fiber that is left behind ---------------------------------------------------------- */

static weft_task *stubborn;
static unsigned *place;
static unsigned destroyed;

static void destroys(void *value)
{
    CHECK_EQ(42, **(unsigned **)value);
    destroyed++;
}

static int receive_stubbornly(void *arg)
{
    weft_shield shield;

    (void)arg;
    weft_shield_enter(&shield);
    return weft_recv(rx, &place);
}

static int lets_it_wait(void *arg)
{
    CHECK_EQ(0, weft_yield());
    return arg == NULL ? 7 : 8;
}

/* It waits in a runtime that nobody drives any more. */
static void open_stopped(void)
{
    int result;

    model_hush();
    open_channel();
    wf_mpsc_of_tx(tx)->destroy = destroys;
    CHECK_EQ(0, weft_spawn_on(rt, &stubborn, NULL, receive_stubbornly, NULL));
    CHECK_EQ(0, weft_block_on(rt, lets_it_wait, NULL, &result));
    CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, 0));
}

/* The first is in its hand. */
static void open_stopped_and_closed(void)
{
    open_stopped();
    send_letter(tx, 0);
    send_letter(tx, 0);
    weft_receiver_close(rx);
    rx = NULL;
}

/* Who is told that it has ended may do with its place what he likes. */
static void leaves_it_behind(void)
{
    int result = 0;

    weft_runtime_free(rt);
    CHECK_EQ(0, weft_join_blocking(stubborn, &result));
    CHECK_EQ(-ECANCELED, result);
    place = NULL;
}

static void one_is_received_or_destroyed(void)
{
    unsigned *letter = NULL;

    CHECK_EQ(1 - destroyed, weft_try_recv(rx, &letter) == 1);
    model_reached(destroyed ? DESTROYED : QUEUED);
    weft_sender_close(tx);
    weft_receiver_close(rx);
}

/* The receiver's end went with the fiber, and what was left with it. */
static void is_refused(void)
{
    unsigned *letter = &letters[0];

    CHECK_EQ(-EPIPE, weft_try_send(tx, &letter));
    weft_sender_close(tx);
}

static void receiver_has_gone(void)
{
    CHECK_EQ(2, destroyed);
}

const struct model_test model_tests[] = {
    {.name = "a value reaches a fiber that waits, or is about to, and then the end",
     .leaks = true,
     .begin = open_channel,
     .thread = {block_to_receive, sends_one_and_ends},
     .end = drop_waker_and_one,
     .must_reach = 1u << GIVEN | 1u << QUEUED,
     .stale = 1},
    {.name = "a value reaches a fiber that somebody else wakes",
     .leaks = true,
     .begin = open_channel,
     .thread = {block_to_receive, sends_one_and_ends, wakes_for_nothing},
     .end = one_is_received,
     .must_reach = 1u << GIVEN | 1u << QUEUED,
     .preemptions = 1,
     .stale = 1},
    {.name = "the end reaches a fiber that waits",
     .leaks = true,
     .begin = open_channel,
     .thread = {block_to_receive, only_ends},
     .end = drop_waker_and_none},
    {.name = "a value is received by a fiber that is cancelled, or stays in the queue",
     .leaks = true,
     .begin = open_channel,
     .thread = {block_until_cancelled, cancels, sends_one},
     .end = cancelled_one_is_received,
     .must_reach = 1u << GIVEN | 1u << QUEUED | 1u << WAS_CANCELLED,
     .preemptions = 1,
     .stale = 1},
    {.name = "values of two reach a fiber, some laid into its hand",
     .leaks = true,
     .begin = open_for_two,
     .thread = {block_to_receive, sends_two_and_ends, sends_third_and_ends},
     .end = drop_waker_and_three,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "values of two reach a fiber, one by a permit",
     .leaks = true,
     .begin = open_for_permit,
     .thread = {block_to_receive, sends_two_and_ends, sends_third_and_ends},
     .end = drop_waker_and_three,
     .preemptions = 1,
     .stale = MODEL_NONE},
    {.name = "several values are received by one call, the one in the hand first",
     .leaks = true,
     .begin = open_for_two,
     .thread = {block_to_receive_many, sends_two_and_ends, sends_third_and_ends},
     .end = drop_waker_and_three,
     .must_reach = 1u << GIVEN_AND_MORE,
     .stale = MODEL_NONE},
    {.name = "a value is sent to a fiber that is left behind",
     .leaks = true,
     .begin = open_stopped,
     .thread = {leaves_it_behind, sends_one},
     .end = one_is_received_or_destroyed,
     .must_reach = 1u << QUEUED | 1u << DESTROYED},
    {.name = "the last sender goes while a fiber is left behind whose receiver was closed",
     .leaks = true,
     .begin = open_stopped_and_closed,
     .thread = {leaves_it_behind, is_refused},
     .end = receiver_has_gone},
    {0},
};
