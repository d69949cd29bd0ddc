/* SPDX-License-Identifier: MIT */
/*
 * test_mpsc.c - senders and a receiver of one channel, in every order: values, room, waits that are given up, and the
 * end of either side.
 *
 * Values are numbers that say who sent them. Whatever happens, each is received, destroyed or refused, once;
 * those of one sender arrive in order; and every waker and all memory comes back.
 */
#include "model/bell.h"
#include "sync/mpsc.h"

#include <errno.h>

#define BIT(n)  (1u << (n))
#define SENDERS 3
#define VALUES  4 /* of one sender, at most */

static weft_sender *tx;
static weft_receiver *rx;
static struct bell bells[] = {BELL, BELL, BELL, BELL, BELL};
static bool received[SENDERS][VALUES], destroyed[SENDERS][VALUES], sent[SENDERS][VALUES];
static uint32_t next_of[SENDERS]; /* the receiver's */

static uint32_t value_of(unsigned sender, unsigned i)
{
    return sender * VALUES + i;
}

static void destroy(void *value)
{
    uint32_t v = *(uint32_t *)value;

    CHECK(v < SENDERS * VALUES && !destroyed[v / VALUES][v % VALUES]);
    destroyed[v / VALUES][v % VALUES] = true;
}

static void begin_bounded(size_t capacity)
{
    static const weft_channel_options options = {.destroy = destroy};

    uint32_t v = UINT32_MAX;

    CHECK_EQ(0, weft_mpsc_new_with(&tx, &rx, sizeof(uint32_t), capacity, &options));
    /* It has been full: from here on sends look at room alone, not at each new depth. */
    for (size_t i = 0; i < capacity; i++)
        CHECK_EQ(0, weft_try_send(tx, &v));
    for (size_t i = 0; i < capacity; i++)
        CHECK_EQ(1, weft_try_recv(rx, &v));
}

static void begin_one(void)
{
    begin_bounded(1);
}

static void begin_two(void)
{
    begin_bounded(2);
}

static void begin_unbounded(void)
{
    static const weft_channel_options options = {.destroy = destroy};

    CHECK_EQ(0, weft_mpsc_unbounded_with(&tx, &rx, sizeof(uint32_t), &options));
}

static void got(uint32_t v)
{
    unsigned sender = v / VALUES, i = v % VALUES;

    CHECK(sender < SENDERS && !received[sender][i]);
    CHECK(i >= next_of[sender]); /* in order; some may be refused in between */
    received[sender][i] = true;
    next_of[sender] = i + 1;
}

/* 0, -EPIPE. The second sender tries first, as weft_send does. */
static int send_value(unsigned sender, unsigned i)
{
    uint32_t v = value_of(sender, i);
    weft_future f = weft_send_future(tx, &v);
    int rc = sender == 1 ? weft_try_send(tx, &v) : -EAGAIN;

    if (rc == -EAGAIN)
        rc = (int)bell_await(&bells[sender], &f);
    CHECK(rc == 0 || rc == -EPIPE);
    sent[sender][i] = rc == 0;
    return rc;
}

/* Nobody holds a waker for the receiver. */
static void not_registered(void)
{
    wf_lock(&tx->lock);
    CHECK(!wf_load_ptr(&tx->receiver, WF_RELAXED));
    wf_unlock(&tx->lock);
}

static int receive_value(struct bell *b)
{
    uint32_t v = UINT32_MAX;
    weft_future f = weft_recv_future(rx, &v);
    int rc = (int)bell_await(b, &f);

    CHECK(rc == 0 || rc == 1);
    if (rc == 1)
        got(v);
    return rc;
}

static void receive_rest(void)
{
    while (receive_value(&bells[SENDERS]) == 1)
        continue;
}

/* In `end`: nothing was lost, doubled or made up. */
static void claim_all(void)
{
    for (unsigned s = 0; s < SENDERS; s++)
        for (unsigned i = 0; i < VALUES; i++)
            CHECK_EQ(sent[s][i], received[s][i] + destroyed[s][i]);
    for (unsigned i = 0; i < sizeof(bells) / sizeof(bells[0]); i++)
        CHECK_EQ(0, bells[i].refs.raw);
}

/* --- values and room ------------------------------------------------------------------ */

enum { FOUND_FULL, FOUND_EMPTY };

static void note_waits(void)
{
    struct wf_mpsc *c = wf_mpsc_of_tx(tx);

    if (c->waits)
        model_reached(FOUND_FULL);
}

static void sends_two(void)
{
    CHECK_EQ(0, send_value(0, 0));
    CHECK_EQ(0, send_value(0, 1));
}

static void sends_one(void)
{
    CHECK_EQ(0, send_value(1, 0));
}

static void receives_two(void)
{
    uint32_t v;

    for (int i = 0; i < 2; i++) {
        int rc = weft_try_recv(rx, &v);

        if (rc == -EAGAIN)
            model_reached(FOUND_EMPTY);
        if (rc == 1)
            got(v);
        else
            CHECK_EQ(1, receive_value(&bells[SENDERS]));
    }
}

static void receives_three(void)
{
    for (int i = 0; i < 3; i++)
        CHECK_EQ(1, receive_value(&bells[SENDERS]));
}

static void end_received(void)
{
    note_waits();
    weft_sender_close(tx);
    CHECK_EQ(0, receive_value(&bells[SENDERS]));
    weft_receiver_close(rx);
    claim_all();
    for (unsigned s = 0; s < SENDERS; s++)
        for (unsigned i = 0; i < VALUES; i++)
            CHECK(!destroyed[s][i]);
}

/* A chain of blocks of two values each. */
static void sends_four(void)
{
    for (unsigned i = 0; i < 4; i++) {
        uint32_t v = value_of(0, i);

        CHECK_EQ(0, weft_try_send(tx, &v));
        sent[0][i] = true;
    }
}

static void sends_one_more(void)
{
    uint32_t v = value_of(1, 0);

    CHECK_EQ(0, weft_try_send(tx, &v));
    sent[1][0] = true;
}

static void receives_five(void)
{
    uint32_t many[3];
    ssize_t n = weft_try_recv_many(rx, many, 3);
    int left = 5;

    for (ssize_t i = 0; i < n; i++, left--)
        got(many[i]);
    while (left--)
        CHECK_EQ(1, receive_value(&bells[SENDERS]));
}

/* --- waits that are given up ------------------------------------------------------------ */

enum { DROPPED_QUEUED, DROPPED_GRANTED, SENT_AFTER_ALL };

static void begin_full(void)
{
    uint32_t v = value_of(2, 0);

    begin_one();
    CHECK_EQ(0, weft_try_send(tx, &v));
    sent[2][0] = true;
}

/* Waits for room, and does not want it any more. */
static void gives_up(void)
{
    uint32_t v = value_of(0, 0);
    weft_future f = weft_send_future(tx, &v);
    const struct wf_waiter *w = (const struct wf_waiter *)&f.words[1];

    if (bell_poll(&bells[0], &f) == WEFT_READY) {
        CHECK_EQ(0, f.result);
        sent[0][0] = true;
        model_reached(SENT_AFTER_ALL);
        return;
    }
    wf_lock(&tx->lock);
    model_reached(w->state == WF_WAITER_QUEUED ? DROPPED_QUEUED : DROPPED_GRANTED);
    wf_unlock(&tx->lock);
    weft_future_drop(&f);
}

static void receives_until_second(void)
{
    while (!received[1][0])
        CHECK_EQ(1, receive_value(&bells[SENDERS]));
}

static void end_drained(void)
{
    weft_sender_close(tx);
    receive_rest();
    weft_receiver_close(rx);
    claim_all();
}

enum { RECEIVE_DROPPED, RECEIVED };

/* Waits for a value, gives up, and comes back. */
static void receives_twice(void)
{
    uint32_t v = UINT32_MAX;
    weft_future f = weft_recv_future(rx, &v);

    if (bell_poll(&bells[3], &f) == WEFT_READY) {
        CHECK_EQ(1, f.result);
        got(v);
        model_reached(RECEIVED);
    } else {
        weft_future_drop(&f);
        not_registered();
        CHECK_EQ(UINT32_MAX, v);
        model_reached(RECEIVE_DROPPED);
        CHECK_EQ(1, receive_value(&bells[4]));
    }
}

static void end_one_received(void)
{
    CHECK(received[1][0]);
    end_drained();
}

/* A second waker for a receive, and a third: the last one counts. Polled unwoken it may find a value, too. */
static void receives_with_another_waker(void)
{
    uint32_t v;
    weft_future f = weft_recv_future(rx, &v);

    if (bell_poll(&bells[3], &f) == WEFT_PENDING && bell_poll(&bells[4], &f) == WEFT_PENDING)
        CHECK_EQ(1, bell_await(&bells[2], &f));
    CHECK_EQ(1, f.result);
    not_registered();
    got(v);
}

static void sends_with_another_waker(void)
{
    uint32_t v = value_of(1, 0);
    weft_future f = weft_send_future(tx, &v);

    if (bell_poll(&bells[1], &f) == WEFT_PENDING)
        CHECK_EQ(0, bell_await(&bells[0], &f));
    CHECK_EQ(0, f.result);
    sent[1][0] = true;
}

static void receives_both(void)
{
    CHECK_EQ(1, receive_value(&bells[3]));
    CHECK_EQ(1, receive_value(&bells[3]));
}

/* --- the ends ---------------------------------------------------------------------------- */

enum { ALL_REFUSED, ALL_SENT, SOME_SENT, ORPHANED };

static void sends_until_refused(void)
{
    if (send_value(0, 0) == 0)
        (void)send_value(0, 1);
    weft_sender_close(tx);
}

static void sends_one_then_closes(void)
{
    (void)send_value(1, 0);
    weft_sender_close(tx);
}

static void begin_two_senders(void)
{
    begin_one();
    CHECK(weft_sender_clone(tx) == tx);
}

static void closes_receiver(void)
{
    weft_receiver_close(rx);
}

static void receives_one_and_closes(void)
{
    (void)receive_value(&bells[SENDERS]);
    weft_receiver_close(rx);
}

static void end_closed(void)
{
    int n = sent[0][0] + sent[0][1] + sent[1][0];

    model_reached(n == 0 ? ALL_REFUSED : n == 3 ? ALL_SENT : SOME_SENT);
    claim_all();
}

/* From another thread than the receiver's. */
static void shuts_down(void)
{
    weft_receiver_shutdown(rx);
}

static void receives_to_the_end(void)
{
    receive_rest();
    weft_receiver_close(rx);
}

static void begin_shutdown(void)
{
    /* the thread that shuts down must not outlive the receiver */
    begin_two_senders();
}

static struct wf_atomic_u32 shut;

static void shuts_down_and_says_so(void)
{
    shuts_down();
    wf_store_u32(&shut, 1, WF_RELEASE);
}

static void receives_to_the_end_of_two(void)
{
    receive_rest();
    while (!wf_load_u32(&shut, WF_ACQUIRE))
        wf_spin_pause();
    weft_receiver_close(rx);
}

/* Closes the handle under its own receive, which then has to put away the rest. */
static void closes_under_a_receive(void)
{
    uint32_t v = UINT32_MAX;
    weft_future f = weft_recv_future(rx, &v);

    if (bell_poll(&bells[3], &f) == WEFT_READY) {
        if (f.result == 1)
            got(v);
        weft_receiver_close(rx);
        return;
    }
    model_hush();
    weft_receiver_close(rx);
    if (model_choose(2))
        weft_future_drop(&f);
    else
        CHECK_EQ(-ESHUTDOWN, bell_await_carried(&bells[4], &f));
    CHECK_EQ(UINT32_MAX, v);
    model_reached(ORPHANED);
}

/* The last sender goes while the receiver comes to wait. */
static void closes_sender(void)
{
    weft_sender_close(tx);
}

/* --- permits ------------------------------------------------------------------------------ */

static weft_permit permit;

static void begin_permit(void)
{
    begin_one();
    CHECK_EQ(0, weft_try_reserve(tx, &permit));
}

static void releases_permit(void)
{
    weft_permit_release(&permit);
}

static void uses_permit(void)
{
    uint32_t v = value_of(1, 0);

    CHECK_EQ(0, weft_permit_send(&permit, &v));
    sent[1][0] = true;
    weft_permit_release(&permit);
}

/* Reserves what another one gives back. */
static void reserves_and_sends(void)
{
    uint32_t v = value_of(0, 0);
    weft_permit p;
    weft_future f = weft_reserve_owned_future(tx, &p);

    CHECK_EQ(0, bell_await(&bells[0], &f));
    weft_sender_close(tx);
    CHECK_EQ(0, weft_permit_send(&p, &v));
    sent[0][0] = true;
    weft_permit_release(&p);
}

/* One waits for room for two, and there is room for one: a newcomer does not take it. */
static struct wf_atomic_u32 stands;

static void begin_large(void)
{
    begin_two();
    CHECK_EQ(0, weft_try_reserve(tx, &permit));
}

static void reserves_two(void)
{
    weft_permit p;
    weft_future f = weft_reserve_many_future(tx, 2, &p);

    CHECK_EQ(WEFT_PENDING, bell_poll(&bells[0], &f));
    wf_store_u32(&stands, 1, WF_RELEASE);
    CHECK_EQ(0, bell_await(&bells[0], &f));
    weft_permit_release(&p);
}

static void comes_new(void)
{
    uint32_t v = value_of(1, 0);

    while (!wf_load_u32(&stands, WF_ACQUIRE))
        wf_spin_pause();
    CHECK_EQ(-EAGAIN, weft_try_send(tx, &v));
    weft_permit_release(&permit);
    sends_one();
}

/* A permit leaves room for one only. */
static void fills_up(void)
{
    uint32_t v = value_of(0, 0);

    CHECK_EQ(0, weft_try_send(tx, &v));
    sent[0][0] = true;
    CHECK_EQ(-EAGAIN, weft_try_send(tx, &v));
    CHECK_EQ(0, weft_permit_send(&permit, &(uint32_t){value_of(0, 1)}));
    sent[0][1] = true;
    weft_permit_release(&permit);
}

/* --- who waits for the receiver's end ------------------------------------------------------ */

static void watches(void)
{
    weft_future f = weft_sender_closed_future(tx);

    CHECK_EQ(0, bell_await(&bells[0], &f));
    CHECK(weft_sender_is_closed(tx));
}

static void watches_for_a_while(void)
{
    weft_future f = weft_sender_closed_future(tx);

    if (bell_poll(&bells[1], &f) == WEFT_PENDING)
        weft_future_drop(&f);
    else
        CHECK_EQ(0, f.result);
}

static void end_watched(void)
{
    weft_sender_close(tx);
    claim_all();
}

/* --- weak senders ---------------------------------------------------------------------------- */

enum { UPGRADED, TOO_LATE };

static weft_weak_sender *weak;

static void begin_weak(void)
{
    begin_one();
    weak = weft_sender_downgrade(tx);
}

static void upgrades(void)
{
    uint32_t v = value_of(0, 0);
    weft_sender *strong = weft_weak_sender_upgrade(weak);

    model_reached(strong ? UPGRADED : TOO_LATE);
    weft_weak_sender_close(weak);
    if (!strong)
        return;
    CHECK_EQ(0, weft_try_send(strong, &v));
    sent[0][0] = true;
    weft_sender_close(strong);
}

static void end_all_closed(void)
{
    claim_all();
}

static void end_permit_received(void)
{
    CHECK(received[1][0]);
    claim_all();
}

const struct model_test model_tests[] = {
    {.name = "two senders and a receiver, room for one",
     .begin = begin_one,
     .thread = {sends_two, sends_one, receives_three},
     .end = end_received,
     .preemptions = 1,
     .stale = 1,
     .must_reach = BIT(FOUND_FULL)},
    {.name = "a sender and a receiver, room for one",
     .begin = begin_one,
     .thread = {sends_two, receives_two},
     .end = end_received,
     .must_reach = BIT(FOUND_FULL) | BIT(FOUND_EMPTY)},
    {.name = "a sender and a receiver, room for two",
     .begin = begin_two,
     .thread = {sends_two, receives_two},
     .end = end_received,
     .must_reach = BIT(FOUND_EMPTY)},
    {.name = "a chain of blocks",
     .begin = begin_unbounded,
     .thread = {sends_four, sends_one_more, receives_five},
     .end = end_received,
     .preemptions = 1,
     .stale = 1},
    {.name = "a send gives up its wait, another goes on",
     .begin = begin_full,
     .thread = {gives_up, sends_one, receives_until_second},
     .end = end_drained,
     .preemptions = 1,
     .stale = 1,
     .must_reach = BIT(DROPPED_QUEUED) | BIT(DROPPED_GRANTED) | BIT(SENT_AFTER_ALL)},
    {.name = "a receive gives up its wait and comes back",
     .begin = begin_one,
     .thread = {receives_twice, sends_one},
     .end = end_one_received,
     .must_reach = BIT(RECEIVED) | BIT(RECEIVE_DROPPED)},
    {.name = "a receive is polled with other wakers",
     .begin = begin_one,
     .thread = {receives_with_another_waker, sends_one},
     .end = end_one_received},
    {.name = "a send is polled with other wakers",
     .begin = begin_full,
     .thread = {sends_with_another_waker, receives_both},
     .end = end_one_received},
    {.name = "the receiver closes while senders wait",
     .begin = begin_two_senders,
     .thread = {sends_until_refused, sends_one_then_closes, closes_receiver},
     .end = end_closed,
     .preemptions = 1,
     .stale = 1,
     .must_reach = BIT(ALL_REFUSED) | BIT(SOME_SENT)},
    {.name = "the receiver takes one and closes",
     .begin = begin_one,
     .thread = {sends_until_refused, receives_one_and_closes},
     .end = end_closed,
     .must_reach = BIT(SOME_SENT)},
    {.name = "the receiver closes the handle under its own receive",
     .begin = begin_one,
     .thread = {sends_until_refused, closes_under_a_receive},
     .end = end_closed,
     .must_reach = BIT(ORPHANED) | BIT(SOME_SENT) | BIT(ALL_REFUSED)},
    {.name = "the receiver is shut down by another thread",
     .begin = begin_shutdown,
     .thread = {sends_until_refused, sends_one_then_closes, receives_to_the_end_of_two,
                shuts_down_and_says_so},
     .end = end_closed,
     .preemptions = 1,
     .stale = 1,
     .deep = true,
     .must_reach = BIT(ALL_REFUSED) | BIT(ALL_SENT) | BIT(SOME_SENT)},
    {.name = "the last sender closes while the receiver waits",
     .begin = begin_one,
     .thread = {closes_sender, receives_to_the_end},
     .end = end_all_closed},
    {.name = "a permit is released to who waits, and the channel ends with it",
     .begin = begin_permit,
     .thread = {releases_permit, reserves_and_sends, receives_to_the_end},
     .end = end_all_closed,
     .preemptions = 1,
     .stale = 1},
    {.name = "a permit is used after the last sender has gone",
     .begin = begin_permit,
     .thread = {uses_permit, closes_sender, receives_to_the_end},
     .end = end_permit_received,
     .preemptions = 1,
     .stale = 1},
    {.name = "a newcomer does not take the room that is too small for who waits",
     .begin = begin_large,
     .thread = {reserves_two, comes_new},
     .end = end_drained},
    {.name = "a permit keeps its room when another sends",
     .begin = begin_large,
     .thread = {fills_up},
     .end = end_drained},
    {.name = "senders wait for the receiver's end",
     .begin = begin_one,
     .thread = {watches, watches_for_a_while, closes_receiver},
     .end = end_watched,
     .preemptions = 1,
     .stale = 1},
    {.name = "a weak sender is upgraded while the last strong one closes",
     .begin = begin_weak,
     .thread = {upgrades, closes_sender, receives_to_the_end},
     .end = end_all_closed,
     .preemptions = 1,
     .stale = 1,
     .must_reach = BIT(UPGRADED) | BIT(TOO_LATE)},
    {0},
};
