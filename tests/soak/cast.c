/* SPDX-License-Identifier: MIT */
/*
 * cast.c - acts: one value to many. Broadcasts whose receivers give up, are cancelled or go; watches whose watchers
 * borrow.
 *
 * CLAIMS   What a receiver that stays has had and has missed is what was sent. A value that was sent is destroyed once,
 *          by the ledger. A watcher never sees an older value than before.
 */
#include "soak.h"

#include <errno.h>

/* --- broadcast --------------------------------------------------------------------------- */

static int item_copy(void *to, const void *from)
{
    *(uint64_t *)to = *(const uint64_t *)from;
    return 0;
}

static void item_destroy(void *value)
{
    soak_end_id(SOAK_ITEM, *(uint64_t *)value);
}

struct listener {
    weft_broadcast_receiver *rx;
    uint64_t rand, received, missed;
};

static int listen_once(struct listener *l)
{
    weft_future turn = weft_yield_future(), f;
    uint64_t item;
    ssize_t rc;

    if (!soak_one_in(&l->rand, 3)) {
        rc = weft_broadcast_recv(l->rx, &item);
    } else {
        f = weft_broadcast_recv_future(l->rx, &item);
        rc = weft_select(&f, &turn);
        rc = rc == 0 ? f.result : rc == 1 ? -EAGAIN : rc;
    }
    if (rc == 1)
        l->received++;
    else if (rc == -EOVERFLOW)
        l->missed += weft_broadcast_missed(l->rx);
    else if (rc != -EAGAIN)
        return (int)rc;
    soak_moved();
    return 1;
}

static int listener_run(void *arg)
{
    struct listener *l = arg;
    int rc;

    do
        rc = listen_once(l);
    while (rc == 1);
    CHECK(rc == 0 || soak_is_soft(rc));
    return rc;
}

#define LISTENERS 4

void soak_act_broadcast(struct soak_actor *a)
{
    weft_channel_options options = {.copy = item_copy, .destroy = item_destroy};
    unsigned count = 1 + (unsigned)roll(a, LISTENERS), cancelled = LISTENERS;
    weft_broadcast_sender *tx;
    struct listener l[LISTENERS];
    weft_task *t[LISTENERS];
    uint64_t sent = 0;

    CHECK_EQ(0, weft_broadcast_new_with(&tx, NULL, sizeof(uint64_t), 1 + roll(a, 16), &options));
    for (unsigned i = 0; i < count; i++) {
        l[i] = (struct listener){.rand = test_rand(&a->rand) | 1};
        CHECK_EQ(0, weft_broadcast_subscribe(tx, &l[i].rx));
        t[i] = weft_spawn(listener_run, &l[i]);
        CHECK(t[i]);
    }
    for (uint64_t n = roll(a, 60); n; n--) {
        uint64_t item = test_rand(&a->rand);

        soak_begin_id(SOAK_ITEM, item);
        CHECK_EQ(count, weft_broadcast_send(tx, &item));
        sent++;
        if (one_in(a, 8))
            (void)weft_yield();
        if (one_in(a, 50) && cancelled == LISTENERS) {
            cancelled = (unsigned)roll(a, count);
            weft_cancel(t[cancelled]);
        }
    }
    weft_broadcast_sender_close(tx);
    for (unsigned i = 0; i < count; i++) {
        int rc = soak_join(t[i]);

        if (rc == 0)
            CHECK_EQ(sent, l[i].received + l[i].missed);
        else
            CHECK(i == cancelled || weft_is_cancelled() || weft_deadline_passed() || soak_is_cut());
        weft_broadcast_receiver_close(l[i].rx);
    }
}

/* --- watch ------------------------------------------------------------------------------- */

struct watcher {
    weft_watch_receiver *rx;
    uint64_t rand, last;
};

static uint64_t watch_look(struct watcher *w)
{
    uint64_t value;

    if (soak_one_in(&w->rand, 2)) {
        CHECK_EQ(0, weft_watch_get(w->rx, &value));
    } else {
        const uint64_t *lent = weft_watch_borrow(w->rx);

        value = *lent;
        (void)weft_yield(); /* others may send, or this task be cancelled */
        CHECK_EQ(value, *lent);
        weft_watch_return(lent);
    }
    return value;
}

static int watcher_run(void *arg)
{
    struct watcher *w = arg;
    int rc;

    while ((rc = weft_watch_changed(w->rx)) == 1) {
        uint64_t value = watch_look(w);

        CHECK(value >= w->last);
        w->last = value;
        soak_moved();
    }
    CHECK(rc == 0 || soak_is_soft(rc));
    return rc;
}

static void watch_advance(void *value, void *by)
{
    *(uint64_t *)value += *(uint64_t *)by;
}

void soak_act_watch(struct soak_actor *a)
{
    unsigned count = 1 + (unsigned)roll(a, LISTENERS);
    uint64_t value = 0, expected = 0;
    struct watcher w[LISTENERS];
    weft_watch_sender *tx;
    weft_task *t[LISTENERS];

    CHECK_EQ(0, weft_watch_new(&tx, NULL, sizeof(value), &value));
    for (unsigned i = 0; i < count; i++) {
        w[i] = (struct watcher){.rand = test_rand(&a->rand) | 1};
        CHECK_EQ(0, weft_watch_subscribe(tx, &w[i].rx));
        t[i] = weft_spawn(watcher_run, &w[i]);
        CHECK(t[i]);
    }
    for (uint64_t n = roll(a, 40); n; n--) {
        uint64_t by = 1 + roll(a, 5);

        CHECK_EQ(0, weft_watch_send_modify(tx, watch_advance, &by));
        expected += by;
        if (one_in(a, 3))
            (void)weft_yield();
    }
    CHECK_EQ(0, weft_watch_sender_get(tx, &value));
    CHECK_EQ(expected, value);
    weft_watch_sender_close(tx);
    for (unsigned i = 0; i < count; i++) {
        int rc = soak_join(t[i]);

        if (rc == 0)
            CHECK_EQ(expected, w[i].last);
        else
            CHECK(weft_is_cancelled() || weft_deadline_passed() || soak_is_cut());
        weft_watch_receiver_close(w[i].rx);
    }
}
