/* SPDX-License-Identifier: MIT */
/*
 * test_channel_starved.c - futures of channels and sets whose first poll found no budget: they are pending, and so they
 * outlast what they were made of, and lose nothing.
 */
#include "channel.h"

#include <stdatomic.h>

static atomic_int destroyed;

/* Both ends of one of each, and a future of every kind that a handle is needed for. */
struct ends {
    weft_sender *tx;
    weft_receiver *rx;
    weft_oneshot_sender *otx;
    weft_oneshot_receiver *orx;
    weft_broadcast_sender *btx, *ctx; /* ctx: values that own something */
    weft_broadcast_receiver *brx, *crx;
    weft_watch_sender *wtx;
    weft_watch_receiver *wrx;
    weft_join_set *set;
    weft_permit permit;
    int got[2];
};

static const int seven_sent = 7;

enum starved {
    RECV,
    RECV_MANY,
    SEND,
    RESERVE,
    ONESHOT,
    BROADCAST,
    COPIED,
    CHANGED,
    WAIT_FOR,
    NEXT
};

static bool is_seven(const void *value, void *arg)
{
    (void)arg;
    return *(const int *)value == 7;
}

static void count(void *value)
{
    (void)value;
    atomic_fetch_add(&destroyed, 1);
}

static int copy_int(void *to, const void *from)
{
    *(int *)to = *(const int *)from;
    return 0;
}

static void ends_open(struct ends *e)
{
    const weft_channel_options owning = {.copy = copy_int, .destroy = count};

    *e = (struct ends){0};
    CHECK_EQ(0, weft_mpsc_new(&e->tx, &e->rx, sizeof(int), 1));
    CHECK_EQ(0, weft_oneshot_new(&e->otx, &e->orx, sizeof(int)));
    CHECK_EQ(0, weft_broadcast_new(&e->btx, &e->brx, sizeof(int), 1));
    CHECK_EQ(0, weft_broadcast_new_with(&e->ctx, &e->crx, sizeof(int), 1, &owning));
    CHECK_EQ(0, weft_watch_new(&e->wtx, &e->wrx, sizeof(int), &(int){1}));
    e->set = weft_join_set_new();
    CHECK(e->set);
}

static weft_future ends_future(struct ends *e, enum starved kind)
{
    static const weft_watch_condition seven = {.holds = is_seven};

    switch (kind) {
    case RECV:
        return weft_recv_future(e->rx, e->got);
    case RECV_MANY:
        return weft_recv_many_future(e->rx, e->got, 2);
    case SEND:
        return weft_send_future(e->tx, &seven_sent);
    case RESERVE:
        return weft_reserve_future(e->tx, &e->permit);
    case ONESHOT:
        return weft_oneshot_recv_future(e->orx, e->got);
    case BROADCAST:
        return weft_broadcast_recv_future(e->brx, e->got);
    case COPIED:
        return weft_broadcast_recv_future(e->crx, e->got);
    case CHANGED:
        return weft_watch_changed_future(e->wrx);
    case WAIT_FOR:
        return weft_watch_wait_for_future(e->wrx, &seven);
    case NEXT:
    default:
        return weft_join_set_next_future(e->set, NULL);
    }
}

static int returns_seven(void *arg)
{
    (void)arg;
    return 7;
}

/* What each of them waits for, but for the senders. */
static void ends_give(struct ends *e)
{
    CHECK_EQ(0, weft_oneshot_send(e->otx, &(int){7}));
    e->otx = NULL;
    CHECK_EQ(1, weft_broadcast_send(e->btx, &(int){7}));
    CHECK_EQ(1, weft_broadcast_send(e->ctx, &(int){7}));
    CHECK_EQ(0, weft_watch_send(e->wtx, &(int){7}));
    CHECK(weft_join_set_spawn(e->set, returns_seven, NULL) > 0);
    CHECK_EQ(0, weft_try_send(e->tx, &(int){7}));
}

static void ends_close(struct ends *e)
{
    weft_sender_close(e->tx);
    weft_receiver_close(e->rx);
    weft_oneshot_sender_close(e->otx);
    weft_oneshot_receiver_close(e->orx);
    weft_broadcast_sender_close(e->btx);
    weft_broadcast_receiver_close(e->brx);
    weft_broadcast_sender_close(e->ctx);
    weft_broadcast_receiver_close(e->crx);
    weft_watch_sender_close(e->wtx);
    weft_watch_receiver_close(e->wrx);
    weft_join_set_free(e->set);
}

/* Its first poll finds no budget. */
static void starve(weft_future *f)
{
    weft_context cx = weft_context_of(NULL);

    spend_the_budget();
    CHECK(weft_future_poll(f, &cx) == WEFT_PENDING);
}

/* Before it has been polled again everything is closed. */
static int closed_while_starved(void *arg)
{
    bool drop = arg != NULL;

    for (int given = 0; given < 2; given++) {
        for (enum starved kind = RECV; kind <= NEXT; kind++) {
            struct ends e;
            weft_future f;
            int rc;

            ends_open(&e);
            f = ends_future(&e, kind);
            starve(&f);
            if (given && kind != SEND && kind != RESERVE)
                ends_give(&e);
            ends_close(&e);
            if (drop) {
                weft_future_drop(&f);
                continue;
            }
            rc = (int)weft_await(&f);
            /* A sender is told of the receiver's end rather than of its own. */
            CHECK_EQ(kind == SEND || kind == RESERVE ? -EPIPE : -ESHUTDOWN, rc);
        }
    }
    return 0;
}

TEST(what_gave_way_before_its_handle_was_closed_is_told_or_can_be_dropped)
{
    hush();
    test_run(closed_while_starved, NULL);
    test_run(closed_while_starved, &destroyed);
}

static int sender_closed_while_starved(void *arg)
{
    (void)arg;
    for (enum starved kind = SEND; kind <= RESERVE; kind++) {
        struct ends e;
        weft_future f;

        ends_open(&e);
        f = ends_future(&e, kind);
        starve(&f);
        weft_sender_close(e.tx);
        e.tx = NULL;
        CHECK_EQ(-ESHUTDOWN, weft_await(&f));
        CHECK_EQ(0, weft_recv(e.rx, e.got));
        ends_close(&e);
    }
    return 0;
}

TEST(a_send_that_gave_way_before_the_last_sender_was_closed_is_told)
{
    hush();
    test_run(sender_closed_while_starved, NULL);
}

/* And it is lost to nobody: it comes to what is there, or waits for it. */
static int goes_on_after_it_starved(void *arg)
{
    (void)arg;
    for (int late = 0; late < 2; late++) {
        /* A set that is empty is not waited for. */
        for (enum starved kind = RECV; kind <= (late ? WAIT_FOR : NEXT); kind++) {
            struct ends e;
            weft_future f;
            int rc;

            ends_open(&e);
            f = ends_future(&e, kind);
            starve(&f);
            if (!late)
                ends_give(&e);
            if (kind == SEND || kind == RESERVE) {
                if (!late)
                    CHECK_EQ(1, weft_recv(e.rx, e.got));
                CHECK_EQ(0, weft_await(&f));
                weft_permit_release(&e.permit);
            } else {
                weft_future tick = weft_ready_future(0);
                weft_future *const list[] = {&f, &tick};

                CHECK_EQ(0, weft_yield());
                if (late) {
                    CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP));
                    ends_give(&e);
                }
                rc = (int)weft_await(&f);
                CHECK_EQ(1, rc);
                if (kind != CHANGED && kind != WAIT_FOR && kind != NEXT)
                    CHECK_EQ(7, e.got[0]);
            }
            ends_close(&e);
        }
    }
    return 0;
}

TEST(what_gave_way_comes_to_what_is_there_or_waits_for_it)
{
    test_run(goes_on_after_it_starved, NULL);
}

/* A condition that is asked for so long that its receiver is closed meanwhile. */
struct asking {
    weft_watch_receiver *rx;
    atomic_bool asked, closed;
    bool holds;
};

static bool asks_until_closed(const void *value, void *arg)
{
    struct asking *a = arg;

    (void)value;
    atomic_store(&a->asked, true);
    while (!atomic_load(&a->closed))
        CHECK_EQ(0, weft_yield());
    return a->holds;
}

static int closes_when_asked(void *arg)
{
    struct asking *a = arg;

    while (!atomic_load(&a->asked))
        CHECK_EQ(0, weft_yield());
    weft_watch_receiver_close(a->rx);
    atomic_store(&a->closed, true);
    return 0;
}

static int closed_while_asked(void *arg)
{
    (void)arg;
    for (int holds = 0; holds < 2; holds++) {
        struct asking a = {.holds = holds};
        weft_watch_condition condition = {.holds = asks_until_closed, .arg = &a};
        weft_watch_sender *tx;
        weft_task *closer;
        weft_future f;

        CHECK_EQ(0, weft_watch_new(&tx, &a.rx, sizeof(int), &(int){1}));
        f = weft_watch_wait_for_future(a.rx, &condition);
        starve(&f);
        closer = weft_spawn(closes_when_asked, &a);
        CHECK_EQ(holds ? 1 : -ESHUTDOWN, weft_await(&f));
        CHECK_EQ(0, join(closer));
        weft_watch_sender_close(tx);
    }
    return 0;
}

TEST(a_condition_that_gave_way_may_be_asked_of_while_its_receiver_is_closed)
{
    hush();
    test_run(closed_while_asked, NULL);
}

TEST_MAIN("channel_starved", what_gave_way_before_its_handle_was_closed_is_told_or_can_be_dropped,
          a_send_that_gave_way_before_the_last_sender_was_closed_is_told,
          what_gave_way_comes_to_what_is_there_or_waits_for_it,
          a_condition_that_gave_way_may_be_asked_of_while_its_receiver_is_closed)
