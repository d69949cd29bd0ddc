/* SPDX-License-Identifier: MIT */
/*
 * test_broadcast.c - a broadcast channel between a few threads: no value is torn, out of order or unaccounted for; who
 * waits is woken; and the ends may go in any order.
 */
#include "model/channels.h"

#include <weft/broadcast.h>

enum { MISSED, WHOLE, CROWDED, WAITED, LEFT, UPGRADED, TOO_LATE };

static weft_broadcast_sender *tx;
static weft_broadcast_weak_sender *weak;
static weft_broadcast_receiver *rx[2];
static weft_future waiting;
static struct bell bell = BELL_INIT;
static struct pair got_waiting;

/* What each receiver has had so far. */
static struct {
    uint64_t last, received, missed;
} had[2];

static void make(size_t capacity, unsigned receivers)
{
    CHECK_EQ(0, weft_broadcast_new(&tx, &rx[0], sizeof(struct pair), capacity));
    if (receivers > 1)
        CHECK_EQ(0, weft_broadcast_subscribe(tx, &rx[1]));
}

static void send_number(uint64_t n)
{
    struct pair p = pair_of(n);

    CHECK(weft_broadcast_send(tx, &p) > 0);
}

/* An answer of a receive. False: there was nothing. */
static bool take(unsigned i, int rc, const struct pair *p)
{
    if (rc == -EAGAIN || rc == 0)
        return false;
    if (rc == -EOVERFLOW) {
        had[i].missed += weft_broadcast_missed(rx[i]);
        model_reached(MISSED);
        return true;
    }
    CHECK_EQ(1, rc);
    CHECK_EQ(++had[i].received + had[i].missed, pair_number(p));
    had[i].last = p->a;
    return true;
}

static bool receive(unsigned i)
{
    struct pair p;

    return take(i, weft_broadcast_try_recv(rx[i], &p), &p);
}

static void drain(unsigned i, uint64_t sent)
{
    while (receive(i))
        continue;
    CHECK_EQ(sent, had[i].received + had[i].missed);
    weft_broadcast_receiver_close(rx[i]);
}

/* --- plain values ----------------------------------------------------------------- */

#define SENT 3

static void begin_small(void)
{
    make(1, 1);
}

static void begin_two(void)
{
    make(2, 2);
}

static void sends(void)
{
    for (uint64_t n = 1; n <= SENT; n++)
        send_number(n);
}

static void receives(unsigned i)
{
    for (int n = 0; n < 2; n++)
        if (receive(i))
            model_reached(WHOLE);
}

static void receives_first(void)
{
    receives(0);
}

static void receives_second(void)
{
    receives(1);
}

static void end_one(void)
{
    drain(0, SENT);
    weft_broadcast_sender_close(tx);
}

static void end_two(void)
{
    drain(0, SENT);
    drain(1, SENT);
    weft_broadcast_sender_close(tx);
}

/* Two senders: all values come to the receiver, each whole. */
static void begin_open(void)
{
    make(4, 1);
}

static void sends_low(void)
{
    send_number(1);
}

static void sends_high(void)
{
    send_number(2);
}

static void end_sum(void)
{
    struct pair p;
    uint64_t sum = had[0].last;

    while (weft_broadcast_try_recv(rx[0], &p) == 1)
        sum += pair_number(&p);
    CHECK_EQ(3, sum);
    weft_broadcast_receiver_close(rx[0]);
    weft_broadcast_sender_close(tx);
}

static void looks(void)
{
    struct pair p;

    if (weft_broadcast_try_recv(rx[0], &p) == 1)
        had[0].last = pair_number(&p);
}

/* Two with one receiver: one of them is told, and the values come to the other, or one after the other. */
static void crowds(void)
{
    struct pair p;
    int rc = weft_broadcast_try_recv(rx[0], &p);

    if (rc == -EBUSY)
        model_reached(CROWDED);
    else if (rc == 1)
        wf_add_u32(&bell.rings, 1u << (8 * (pair_number(&p) - 1)), WF_RELAXED);
    else
        CHECK_EQ(-EAGAIN, rc);
}

static void begin_crowd(void)
{
    make(2, 1);
    send_number(1);
    send_number(2);
}

static void end_crowd(void)
{
    struct pair p;

    while (weft_broadcast_try_recv(rx[0], &p) == 1)
        bell.rings.raw += 1u << (8 * (pair_number(&p) - 1));
    CHECK_EQ(0x101, bell.rings.raw); /* each once */
    weft_broadcast_receiver_close(rx[0]);
    weft_broadcast_sender_close(tx);
}

/* --- waiting ------------------------------------------------------------------------ */

static void waits_for_all(unsigned i, uint64_t sent)
{
    struct pair p;
    int rc;

    while ((rc = weft_broadcast_recv_blocking(rx[i], &p)) != 0)
        (void)take(i, rc, &p);
    CHECK_EQ(sent, had[i].received + had[i].missed);
    weft_broadcast_receiver_close(rx[i]);
}

static void waits_first(void)
{
    waits_for_all(0, 2);
}

static void waits_second(void)
{
    waits_for_all(1, 2);
}

static void sends_and_closes(void)
{
    send_number(1);
    send_number(2);
    weft_broadcast_sender_close(tx);
}

/* A future that waits, and is given up by another thread while it is being woken. */
static void begin_waiting(void)
{
    make(2, 2);
    waiting = weft_broadcast_recv_future(rx[0], &got_waiting);
    CHECK_EQ(WEFT_PENDING, bell_poll(&bell, &waiting));
}

static void sends_one(void)
{
    send_number(1);
}

static void drops(void)
{
    weft_future_drop(&waiting);
    if (bell_rung(&bell))
        model_reached(TOO_LATE);
    else
        model_reached(LEFT);
    waiting = (weft_future){0}; /* nobody touches it any more */
}

static void polls_again(void)
{
    if (bell_poll(&bell, &waiting) == WEFT_READY) {
        CHECK_EQ(1, waiting.result);
        CHECK_EQ(1, pair_number(&got_waiting));
        model_reached(WHOLE);
        had[0].received = 1;
    }
}

static void end_waiting(void)
{
    /* Who still waits has been called: the value is there. */
    if (waiting.type && !weft_future_is_ready(&waiting)) {
        CHECK_EQ(1, bell_rung(&bell));
        polls_again();
        CHECK(weft_future_is_ready(&waiting));
    }
    bell_check(&bell);
    drain(0, 1);
    drain(1, 1);
    weft_broadcast_sender_close(tx);
}

/* --- the ends ----------------------------------------------------------------------- */

static void closes_first(void)
{
    weft_broadcast_receiver_close(rx[0]);
}

static void closes_second(void)
{
    weft_broadcast_receiver_close(rx[1]);
}

static void closes_sender(void)
{
    weft_broadcast_sender_close(tx);
}

/* The sender waits until both receivers have gone. */
static void waits_closed(void)
{
    CHECK_EQ(0, weft_broadcast_closed_blocking(tx));
    CHECK_EQ(0, weft_broadcast_receiver_count(tx));
    model_reached(WAITED);
    weft_broadcast_sender_close(tx);
}

static void begin_weak(void)
{
    make(1, 1);
    weak = weft_broadcast_sender_downgrade(tx);
}

static void upgrades(void)
{
    weft_broadcast_sender *up = weft_broadcast_weak_sender_upgrade(weak);
    struct pair p = pair_of(1);

    weft_broadcast_weak_sender_close(weak);
    if (!up) {
        model_reached(TOO_LATE);
        return;
    }
    model_reached(UPGRADED);
    CHECK_EQ(1, weft_broadcast_send(up, &p));
    weft_broadcast_sender_close(up);
}

static void waits_for_the_end(void)
{
    struct pair p;
    int rc = weft_broadcast_recv_blocking(rx[0], &p);

    if (rc == 1) {
        CHECK_EQ(1, pair_number(&p));
        rc = weft_broadcast_recv_blocking(rx[0], &p);
    }
    CHECK_EQ(0, rc);
    weft_broadcast_receiver_close(rx[0]);
}

/* --- values that own something -------------------------------------------------------- */

static void make_owned(size_t capacity, unsigned receivers)
{
    CHECK_EQ(0,
             weft_broadcast_new_with(&tx, &rx[0], sizeof(struct page *), capacity, &page_options));
    if (receivers > 1)
        CHECK_EQ(0, weft_broadcast_subscribe(tx, &rx[1]));
}

static void begin_owned(void)
{
    make_owned(1, 2);
}

static void send_page(unsigned number)
{
    struct page *p = page_new(number);

    if (weft_broadcast_send(tx, &p) < 0)
        page_put(p);
}

static void sends_pages(void)
{
    send_page(1);
    send_page(2);
}

static bool receive_page(unsigned i)
{
    struct page *p;
    int rc = weft_broadcast_try_recv(rx[i], &p);

    if (rc == -EAGAIN)
        return false;
    if (rc == -EOVERFLOW) {
        had[i].missed += weft_broadcast_missed(rx[i]);
        model_reached(MISSED);
        return true;
    }
    CHECK_EQ(1, rc);
    CHECK_EQ(++had[i].received + had[i].missed, page_read(p));
    model_reached(WHOLE);
    return true;
}

static void receives_pages_first(void)
{
    (void)receive_page(0);
    (void)receive_page(0);
}

static void receives_pages_second(void)
{
    (void)receive_page(1);
}

static void end_owned(void)
{
    for (unsigned i = 0; i < 2; i++) {
        while (receive_page(i))
            continue;
        CHECK_EQ(2, had[i].received + had[i].missed);
    }
    CHECK_EQ(0, pages.raw); /* all have had all that is left of them */
    weft_broadcast_receiver_close(rx[0]);
    weft_broadcast_receiver_close(rx[1]);
    weft_broadcast_sender_close(tx);
}

/* A receiver with values that it has not seen goes, while more are sent; the other one stays. */
static void begin_leaving(void)
{
    make_owned(2, 2);
    sends_pages();
}

static void sends_third(void)
{
    send_page(3);
}

static void end_leaving(void)
{
    while (receive_page(1))
        continue;
    CHECK_EQ(3, had[1].received + had[1].missed);
    CHECK_EQ(0, pages.raw);
    weft_broadcast_receiver_close(rx[1]);
    weft_broadcast_sender_close(tx);
}

const struct model_test model_tests[] = {
    {.name = "a receiver that is overtaken: nothing is torn, and all is accounted for",
     .begin = begin_small,
     .thread = {sends, receives_first},
     .end = end_one,
     .must_reach = 1u << MISSED | 1u << WHOLE},
    {.name = "two receivers",
     .begin = begin_two,
     .thread = {sends, receives_first, receives_second},
     .end = end_two,
     .preemptions = 1,
     .must_reach = 1u << MISSED | 1u << WHOLE},
    {.name = "two senders: no value is lost",
     .begin = begin_open,
     .thread = {sends_low, sends_high, looks},
     .end = end_sum},
    {.name = "two at a time with one receiver are told, and lose nothing",
     .begin = begin_crowd,
     .thread = {crowds, crowds},
     .end = end_crowd,
     .must_reach = 1u << CROWDED},
    {.name = "two wait for all values and the end",
     .begin = begin_two,
     .thread = {waits_first, waits_second, sends_and_closes},
     .preemptions = 1,
     .stale = 1},
    {.name = "one waits for all values and the end",
     .begin = begin_small,
     .thread = {waits_first, sends_and_closes},
     .must_reach = 1u << MISSED},
    {.name = "a wait is given up while a value comes",
     .begin = begin_waiting,
     .thread = {sends_one, drops},
     .end = end_waiting,
     .must_reach = 1u << LEFT | 1u << TOO_LATE},
    {.name = "one that waits is polled again while a value comes",
     .begin = begin_waiting,
     .thread = {sends_one, polls_again},
     .end = end_waiting,
     .must_reach = 1u << WHOLE},
    {.name = "the sender learns that the last receiver has gone",
     .begin = begin_two,
     .thread = {waits_closed, closes_first, closes_second},
     .preemptions = 1,
     .must_reach = 1u << WAITED},
    {.name = "the last sender goes while a weak one becomes a sender",
     .begin = begin_weak,
     .thread = {upgrades, closes_sender, waits_for_the_end},
     .preemptions = 1,
     .must_reach = 1u << UPGRADED | 1u << TOO_LATE},
    {.name = "the ends go in any order",
     .begin = begin_two,
     .thread = {closes_first, closes_second, closes_sender},
     .preemptions = 1},
    {.name = "pages: each is destroyed once, and read by nobody after that",
     .begin = begin_owned,
     .thread = {sends_pages, receives_pages_first, receives_pages_second},
     .end = end_owned,
     .preemptions = 1,
     .must_reach = 1u << MISSED | 1u << WHOLE},
    {.name = "pages: a receiver goes while they are sent",
     .begin = begin_leaving,
     .thread = {sends_third, closes_first},
     .end = end_leaving},
    {.name = "pages: a receiver goes while they are received",
     .begin = begin_leaving,
     .thread = {receives_pages_second, closes_first, sends_third},
     .end = end_leaving,
     .preemptions = 1},
    {0},
};
