/* SPDX-License-Identifier: MIT */
/*
 * test_oneshot.c - the two ends of a channel for one value, in every order.
 *
 * Whatever happens, a value that was accepted is received or destroyed, once; and every waker and the memory comes
 * back. Memory is not from the slab here but the explorer's, so whoever comes too late is found.
 */
#include "model/bell.h"
#include "sync/oneshot.h"

#include <errno.h>
#include <string.h>

#define BIT(n) (1u << (n))

static weft_oneshot_sender *tx;
static weft_oneshot_receiver *rx;
static struct bell bells[3];
static unsigned sent, refused, received, destroyed;
static unsigned payload, note; /* what the sender and the receiver did before, in plain memory */

/* --- the slab ---------------------------------------------------------------------------- */

void *wf_slab_alloc(struct wf_slab_cache *c, size_t size)
{
    void *p = model_alloc(size, 64);

    (void)c;
    memset(p, 0xee, size);
    memset((char *)p + WF_SLAB_STATE, 0, sizeof(uint64_t));
    return p;
}

void wf_slab_free(struct wf_slab_cache *c, void *p)
{
    (void)c;
    CHECK_EQ(0, ((struct wf_oneshot *)p)->free.raw);
    model_free(p);
}

/* A waker for this thread, which makes it as it goes: nobody may look into it who has not got it by the word. */
static struct bell *my_bell(unsigned i)
{
    bells[i].wakeable.type = &bell_type;
    return &bells[i];
}

/* --- what the ends do ----------------------------------------------------------------------- */

static void destroy(void *value)
{
    CHECK_EQ(42, *(unsigned *)value);
    destroyed++;
}

static void begin(void)
{
    static const weft_channel_options options = {.destroy = destroy};

    CHECK_EQ(0, weft_oneshot_new_with(&tx, &rx, sizeof(unsigned), &options));
}

static void send(void)
{
    unsigned v = 42;
    int rc;

    payload = 7;
    rc = weft_oneshot_send(tx, &v);
    CHECK(rc == 0 || rc == -EPIPE);
    if (rc == 0) {
        sent++;
    } else {
        CHECK_EQ(8, note);
        refused++;
    }
}

static void got(int rc, unsigned v)
{
    CHECK(rc == 0 || rc == 1);
    if (rc == 1) {
        CHECK_EQ(42, v);
        CHECK_EQ(7, payload);
        received++;
    }
}

static void receive(void)
{
    unsigned v = 0;
    weft_future f = weft_oneshot_recv_future(rx, &v);
    int rc = (int)bell_await_carried(my_bell(0), &f);

    got(rc, v);
}

enum { WAS_SENT, WAS_REFUSED, WAS_RECEIVED, WAS_DESTROYED, WAS_NEITHER };

static void end(void)
{
    CHECK_EQ(sent, received + destroyed);
    for (unsigned i = 0; i < sizeof(bells) / sizeof(bells[0]); i++)
        CHECK_EQ(0, bells[i].refs.raw);
    model_reached(sent ? WAS_SENT : refused ? WAS_REFUSED : WAS_NEITHER);
    if (received)
        model_reached(WAS_RECEIVED);
    if (destroyed)
        model_reached(WAS_DESTROYED);
}

/* --- a value ------------------------------------------------------------------------------------ */

static void receives(void)
{
    receive();
    CHECK_EQ(1, received);
    weft_oneshot_receiver_close(rx);
}

static void closes_sender(void)
{
    weft_oneshot_sender_close(tx);
}

static void receives_nothing(void)
{
    receive();
    CHECK_EQ(0, received);
    weft_oneshot_receiver_close(rx);
}

static void closes_receiver(void)
{
    note = 8;
    weft_oneshot_receiver_close(rx);
}

/* What was sent before is there, what was not is refused. */
static void shuts_down_and_receives(void)
{
    note = 8;
    weft_oneshot_receiver_shutdown(rx);
    receive();
    weft_oneshot_receiver_close(rx);
}

static void end_shut(void)
{
    CHECK_EQ(sent, received);
    end();
}

static struct wf_atomic_u32 over;

static void shuts_down(void)
{
    note = 8;
    weft_oneshot_receiver_shutdown(rx);
    wf_store_u32(&over, 1, WF_RELEASE);
}

static void receives_whatever(void)
{
    receive();
    while (!wf_load_u32(&over, WF_ACQUIRE))
        wf_spin_pause();
    weft_oneshot_receiver_close(rx);
}

/* Looks, gives up, comes back by another waker. */
static void receives_twice(void)
{
    unsigned v = 0;
    weft_future f = weft_oneshot_recv_future(rx, &v);

    if (bell_poll(my_bell(1), &f) == WEFT_READY) {
        got((int)f.result, v);
    } else if (model_choose(2)) {
        uint64_t word;

        weft_future_drop(&f);
        word = wf_load_u64(&wf_oneshot_of_rx(rx)->word, WF_RELAXED);
        CHECK(word & WF_ONESHOT_DONE || !(word & ~(uint64_t)WF_ONESHOT_FLAGS));
        CHECK_EQ(0, v);
        receive();
    } else {
        (void)bell_await_carried(my_bell(2), &f);
        got((int)f.result, v);
    }
    CHECK_EQ(1, received);
    weft_oneshot_receiver_close(rx);
}

static void tries_until_there(void)
{
    unsigned v = 0;
    int rc;

    while ((rc = weft_oneshot_try_recv(rx, &v)) == -EAGAIN)
        wf_spin_pause();
    got(rc, v);
    CHECK_EQ(1, received);
    weft_oneshot_receiver_close(rx);
}

/* Closes the handle under its own receive, which then has to put away the rest. */
static void closes_under_a_receive(void)
{
    unsigned v = 0;
    weft_future f = weft_oneshot_recv_future(rx, &v);

    note = 8;
    if (bell_poll(my_bell(0), &f) == WEFT_READY) {
        got((int)f.result, v);
        weft_oneshot_receiver_close(rx);
        return;
    }
    model_hush();
    weft_oneshot_receiver_close(rx);
    if (model_choose(2))
        weft_future_drop(&f);
    else
        CHECK_EQ(-ESHUTDOWN, bell_await_carried(my_bell(1), &f));
    CHECK_EQ(0, v);
}

/* --- the sender waits for the receiver's end ------------------------------------------------------- */

static void watches_and_closes(void)
{
    weft_future f = weft_oneshot_sender_closed_future(tx);

    CHECK_EQ(0, bell_await_carried(my_bell(1), &f));
    CHECK_EQ(8, note);
    CHECK(weft_oneshot_sender_is_closed(tx));
    weft_oneshot_sender_close(tx);
}

/* The receiver stays until the sender has been told. */
static void watches_and_says_so(void)
{
    weft_future f = weft_oneshot_sender_closed_future(tx);

    CHECK_EQ(0, bell_await_carried(my_bell(1), &f));
    CHECK_EQ(8, note);
    wf_store_u32(&over, 1, WF_RELEASE);
    weft_oneshot_sender_close(tx);
}

static void shuts_down_and_stays(void)
{
    note = 8;
    weft_oneshot_receiver_shutdown(rx);
    while (!wf_load_u32(&over, WF_ACQUIRE))
        wf_spin_pause();
    weft_oneshot_receiver_close(rx);
}

/* For a moment, and then it sends. */
static void watches_and_sends(void)
{
    weft_future f = weft_oneshot_sender_closed_future(tx);

    if (bell_poll(my_bell(1), &f) == WEFT_PENDING)
        weft_future_drop(&f);
    send();
}

/* It is still pending when the sender is consumed. */
static void sends_while_it_watches(void)
{
    weft_future f = weft_oneshot_sender_closed_future(tx);
    weft_poll poll = bell_poll(my_bell(1), &f);

    send();
    if (poll == WEFT_PENDING) {
        CHECK_EQ(0, bell_await_carried(my_bell(2), &f));
        CHECK_EQ(8, note);
    }
}

static void asks_until_closed(void)
{
    while (!weft_oneshot_sender_is_closed(tx))
        wf_spin_pause();
    CHECK_EQ(8, note);
    weft_oneshot_sender_close(tx);
}

static void receives_and_closes(void)
{
    receive();
    note = 8;
    weft_oneshot_receiver_close(rx);
}

const struct model_test model_tests[] = {
    {.name = "a value is received, awaited or not",
     .begin = begin,
     .thread = {send, receives},
     .end = end,
     .must_reach = BIT(WAS_SENT) | BIT(WAS_RECEIVED)},
    {.name = "a sender that is closed ends the wait",
     .begin = begin,
     .thread = {closes_sender, receives_nothing},
     .end = end,
     .must_reach = BIT(WAS_NEITHER)},
    {.name = "a value meets a receiver that closes",
     .begin = begin,
     .thread = {send, closes_receiver},
     .end = end,
     .must_reach = BIT(WAS_SENT) | BIT(WAS_REFUSED) | BIT(WAS_DESTROYED)},
    {.name = "both ends close",
     .begin = begin,
     .thread = {closes_sender, closes_receiver},
     .end = end,
     .must_reach = BIT(WAS_NEITHER)},
    {.name = "a value meets a receiver that is shut down",
     .begin = begin,
     .thread = {send, shuts_down_and_receives},
     .end = end_shut,
     .must_reach = BIT(WAS_SENT) | BIT(WAS_REFUSED) | BIT(WAS_RECEIVED)},
    {.name = "the receiver is shut down by a third thread",
     .begin = begin,
     .thread = {send, receives_whatever, shuts_down},
     .end = end_shut,
     .must_reach = BIT(WAS_SENT) | BIT(WAS_REFUSED) | BIT(WAS_RECEIVED)},
    {.name = "a receive gives up, or changes its waker",
     .begin = begin,
     .thread = {send, receives_twice},
     .end = end,
     .must_reach = BIT(WAS_RECEIVED)},
    {.name = "a receiver looks again and again",
     .begin = begin,
     .thread = {send, tries_until_there},
     .end = end,
     .must_reach = BIT(WAS_RECEIVED)},
    {.name = "the receiver closes the handle under its own receive",
     .begin = begin,
     .thread = {send, closes_under_a_receive},
     .end = end,
     .must_reach = BIT(WAS_SENT) | BIT(WAS_REFUSED) | BIT(WAS_RECEIVED) | BIT(WAS_DESTROYED)},
    {.name = "a sender waits for the receiver's end",
     .begin = begin,
     .thread = {watches_and_closes, closes_receiver},
     .end = end,
     .must_reach = BIT(WAS_NEITHER)},
    {.name = "a sender waits for the receiver to be shut down",
     .begin = begin,
     .thread = {watches_and_says_so, shuts_down_and_stays},
     .end = end,
     .must_reach = BIT(WAS_NEITHER)},
    {.name = "a sender waits for the receiver's end, which comes in two steps",
     .begin = begin,
     .thread = {watches_and_closes, shuts_down_and_receives},
     .end = end,
     .must_reach = BIT(WAS_NEITHER)},
    {.name = "a sender waits for a moment and sends, to one that receives",
     .begin = begin,
     .thread = {watches_and_sends, receives_and_closes},
     .end = end,
     .must_reach = BIT(WAS_RECEIVED)},
    {.name = "a sender waits for a moment and sends, to one that closes",
     .begin = begin,
     .thread = {watches_and_sends, closes_receiver},
     .end = end,
     .must_reach = BIT(WAS_SENT) | BIT(WAS_REFUSED) | BIT(WAS_DESTROYED)},
    {.name = "a sender asks for the receiver's end again and again",
     .begin = begin,
     .thread = {asks_until_closed, closes_receiver},
     .end = end,
     .must_reach = BIT(WAS_NEITHER)},
    {.name = "a sender sends while it waits for the receiver's end",
     .begin = begin,
     .thread = {sends_while_it_watches, receives_and_closes},
     .end = end,
     .must_reach = BIT(WAS_RECEIVED)},
    {0},
};
