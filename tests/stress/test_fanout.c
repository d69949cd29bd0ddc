/* SPDX-License-Identifier: MIT */
/*
 * test_fanout.c - broadcast and watch channels under senders and receivers of all kinds at once: tasks on every worker
 * and plain threads; receivers that are quick, that lag, that give up and come back, that come and go.
 *
 * Every value is accounted for: what a receiver has had and what it was told to have missed is what was sent while it
 * was there, each value whole, each sender's in order. A watch never shows an older value than before.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SENDERS  4 /* the last one is a plain thread */
#define FOREVERS 5 /* receivers that stay to the end; the last one is a plain thread */
#define PASSING  3

#define WORDS 6

/* All that can be told of a value can be told of each of its words. */
struct value {
    uint64_t word[WORDS];
};

static struct value value_of(unsigned sender, uint64_t n)
{
    struct value v = {{0}};

    for (unsigned i = 0; i < WORDS; i++)
        v.word[i] = (uint64_t)sender << 56 | n << 8 | i;
    return v;
}

static uint64_t value_number(const struct value *v, unsigned *sender)
{
    uint64_t n = v->word[0] << 8 >> 16;

    *sender = (unsigned)(v->word[0] >> 56);
    CHECK(*sender < SENDERS);
    for (unsigned i = 0; i < WORDS; i++)
        CHECK_EQ((uint64_t)*sender << 56 | n << 8 | i, v->word[i]);
    return n;
}

/* --- values on the heap ------------------------------------------------------------- */

struct page {
    atomic_int count;
    struct value value;
};

static atomic_int pages;

static int page_copy(void *to, const void *from)
{
    struct page *p = *(struct page *const *)from;

    CHECK(atomic_fetch_add(&p->count, 1) > 0);
    *(struct page **)to = p;
    return 0;
}

static void page_destroy(void *value)
{
    struct page *p = *(struct page **)value;

    if (atomic_fetch_sub(&p->count, 1) > 1)
        return;
    memset(&p->value, 0xff, sizeof(p->value));
    free(p);
    atomic_fetch_sub(&pages, 1);
}

/* --- a broadcast ------------------------------------------------------------------------ */

static struct play {
    weft_broadcast_sender *tx;
    uint64_t rand;
    bool owned;
    pthread_mutex_t order; /* one send at a time; who comes and goes counts by it */
    uint64_t numbered;     /* under order: sent, ever */
    uint64_t sent[SENDERS];
    weft_instant until;
} play;

/* One receiver: what it has had. */
struct receiver {
    weft_broadcast_receiver *rx;
    uint64_t received, missed, last[SENDERS];
    uint64_t rand;
    unsigned kind;
};

static int take(struct receiver *r, int rc, void *slot)
{
    struct value v;
    unsigned sender;
    uint64_t n;

    if (rc == -EOVERFLOW) {
        CHECK(weft_broadcast_missed(r->rx) > 0);
        r->missed += weft_broadcast_missed(r->rx);
        return rc;
    }
    if (rc != 1)
        return rc;
    if (play.owned) {
        v = (*(struct page **)slot)->value;
        page_destroy(slot);
    } else {
        memcpy(&v, slot, sizeof(v));
    }
    n = value_number(&v, &sender);
    CHECK(n > r->last[sender]);
    r->last[sender] = n;
    r->received++;
    return rc;
}

static int receive(struct receiver *r)
{
    union {
        struct value v;
        struct page *p;
    } slot;

    weft_future f;

    switch (r->kind == 2 ? test_rand(&r->rand) % 2 * 2 : r->kind) {
    case 0:
        return take(r, weft_broadcast_recv(r->rx, &slot), &slot);
    case 1:
        return take(r, weft_broadcast_recv_blocking(r->rx, &slot), &slot);
    default:
        f = weft_broadcast_recv_future(r->rx, &slot);
        return take(r, (int)weft_timeout(WEFT_US(test_rand(&r->rand) % 50), &f), &slot);
    }
}

/* kind 0: as it comes; 2: gives up again and again; 3: lags. */
static int stays(void *arg)
{
    struct receiver *r = arg;
    bool lags = r->kind == 3;
    int rc;

    if (lags)
        r->kind = 0;
    do {
        rc = receive(r);
        if (lags && test_rand(&r->rand) % 16 == 0)
            CHECK_EQ(0, weft_sleep(WEFT_US(test_rand(&r->rand) % 300)));
    } while (rc == 1 || rc == -EOVERFLOW || rc == -ETIMEDOUT);
    CHECK_EQ(0, rc);
    return 0;
}

static void *thread_stays(void *arg)
{
    struct receiver *r = arg;
    int rc;

    r->kind = 1;
    do
        rc = receive(r);
    while (rc == 1 || rc == -EOVERFLOW);
    CHECK_EQ(0, rc);
    return NULL;
}

/* Comes, takes a few, sees how many there were since, and goes: or goes as it is. */
static int passes(void *arg)
{
    uint64_t rand = (uint64_t)(uintptr_t)arg;
    int rc;

    while (weft_now() < play.until) {
        struct receiver r = {.rand = test_rand(&rand), .kind = 4}; /* waits for a moment only */

        union {
            struct value v;
            struct page *p;
        } slot;

        uint64_t from;

        CHECK_EQ(0, pthread_mutex_lock(&play.order));
        from = play.numbered;
        CHECK_EQ(0, weft_broadcast_subscribe(play.tx, &r.rx));
        CHECK_EQ(0, pthread_mutex_unlock(&play.order));
        for (uint64_t n = test_rand(&rand) % 20; n; n--) {
            rc = receive(&r);
            CHECK(rc == 1 || rc == -EOVERFLOW || rc == -ETIMEDOUT);
        }
        if (test_rand(&rand) % 2) {
            CHECK_EQ(0, pthread_mutex_lock(&play.order));
            do
                rc = take(&r, weft_broadcast_try_recv(r.rx, &slot), &slot);
            while (rc == 1 || rc == -EOVERFLOW);
            CHECK_EQ(play.numbered - from, r.received + r.missed);
            CHECK_EQ(0, pthread_mutex_unlock(&play.order));
        }
        weft_broadcast_receiver_close(r.rx);
    }
    return 0;
}

static void send_one(unsigned sender)
{
    struct value v;
    struct page *p;

    CHECK_EQ(0, pthread_mutex_lock(&play.order));
    v = value_of(sender, ++play.sent[sender]);
    play.numbered++;
    if (play.owned) {
        p = malloc(sizeof(*p));
        CHECK(p);
        atomic_init(&p->count, 1);
        p->value = v;
        atomic_fetch_add(&pages, 1);
        CHECK(weft_broadcast_send(play.tx, &p) >= FOREVERS);
    } else {
        CHECK(weft_broadcast_send(play.tx, &v) >= FOREVERS);
    }
    CHECK_EQ(0, pthread_mutex_unlock(&play.order));
}

/* The same without the order: senders meet in the channel. */
static void send_freely(unsigned sender)
{
    struct value v = value_of(sender, ++play.sent[sender]);

    CHECK(weft_broadcast_send(play.tx, &v) >= FOREVERS);
}

static bool free_for_all;

static int sends(void *arg)
{
    unsigned sender = (unsigned)(uintptr_t)arg;
    uint64_t rand = play.rand + sender + 1;

    while (weft_now() < play.until) {
        for (uint64_t burst = test_rand(&rand) % 30; burst; burst--)
            free_for_all ? send_freely(sender) : send_one(sender);
        CHECK_EQ(0, test_rand(&rand) % 2 ? weft_yield() : weft_sleep(WEFT_US(20)));
    }
    return 0;
}

static void *thread_sends(void *arg)
{
    unsigned sender = (unsigned)(uintptr_t)arg;

    while (weft_now() < play.until) {
        free_for_all ? send_freely(sender) : send_one(sender);
        (void)sched_yield();
    }
    return NULL;
}

static void check_all(struct receiver *r, uint64_t sent)
{
    for (int i = 0; i < FOREVERS; i++) {
        CHECK_EQ(sent, r[i].received + r[i].missed);
        weft_broadcast_receiver_close(r[i].rx);
    }
}

static int joined(weft_task *t)
{
    int result = -1;

    CHECK(t);
    CHECK_EQ(0, weft_join(t, &result));
    return result;
}

static int broadcast(void *arg)
{
    static const unsigned kinds[FOREVERS - 1] = {0, 2, 3, 0};
    weft_channel_options options = {.copy = page_copy, .destroy = page_destroy};
    size_t capacity = 1 + test_rand(&play.rand) % 40;
    struct receiver r[FOREVERS] = {{0}};
    weft_task *receivers[FOREVERS - 1], *senders[SENDERS - 1], *passing[PASSING];
    pthread_t sender, receiver;
    uint64_t sent = 0;

    (void)arg;
    CHECK_EQ(0, weft_broadcast_new_with(&play.tx, NULL,
                                        play.owned ? sizeof(struct page *) : sizeof(struct value),
                                        capacity, play.owned ? &options : NULL));
    for (int i = 0; i < FOREVERS; i++) {
        CHECK_EQ(0, weft_broadcast_subscribe(play.tx, &r[i].rx));
        r[i].rand = test_rand(&play.rand);
        if (i < FOREVERS - 1) {
            r[i].kind = kinds[i];
            receivers[i] = weft_spawn(stays, &r[i]);
        }
    }
    CHECK_EQ(0, pthread_create(&receiver, NULL, thread_stays, &r[FOREVERS - 1]));
    for (uintptr_t i = 0; i < PASSING && !free_for_all; i++)
        passing[i] = weft_spawn(passes, (void *)(test_rand(&play.rand) | 1));
    for (uintptr_t i = 0; i < SENDERS - 1; i++)
        senders[i] = weft_spawn(sends, (void *)i);
    CHECK_EQ(0, pthread_create(&sender, NULL, thread_sends, (void *)(uintptr_t)(SENDERS - 1)));
    for (int i = 0; i < SENDERS - 1; i++)
        CHECK_EQ(0, joined(senders[i]));
    CHECK_EQ(0, pthread_join(sender, NULL));
    for (int i = 0; i < PASSING && !free_for_all; i++)
        CHECK_EQ(0, joined(passing[i]));
    weft_broadcast_sender_close(play.tx);
    for (int i = 0; i < FOREVERS - 1; i++)
        CHECK_EQ(0, joined(receivers[i]));
    CHECK_EQ(0, pthread_join(receiver, NULL));
    for (int i = 0; i < SENDERS; i++)
        sent += play.sent[i];
    check_all(r, sent);
    CHECK_EQ(0, atomic_load(&pages));
    return 0;
}

static void broadcasts(bool owned, bool freely)
{
    weft_duration each = test_stress_time(WEFT_SECS(2)) / test_flavour_count;
    uint64_t rand = test_seed(), received = 0;
    char text[64];

    free_for_all = freely;
    for (size_t i = 0; i < test_flavour_count; i++) {
        play = (struct play){.rand = test_rand(&rand),
                             .owned = owned,
                             .order = PTHREAD_MUTEX_INITIALIZER,
                             .until = weft_now() + each};
        test_run_on(&test_flavours[i], broadcast, NULL);
        for (int k = 0; k < SENDERS; k++)
            received += play.sent[k];
    }
    (void)snprintf(text, sizeof(text), "%llu values", (unsigned long long)received);
    test_say(text);
}

TEST(every_value_is_accounted_for_by_every_receiver)
{
    broadcasts(false, false);
}

END_TEST

TEST(so_it_is_with_senders_that_do_not_wait_for_each_other)
{
    broadcasts(false, true);
}

END_TEST

TEST(so_it_is_with_values_that_own_something)
{
    broadcasts(true, false);
}

END_TEST

/* --- a watch -------------------------------------------------------------------------------- */

static struct {
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    weft_instant until;
    atomic_ullong changes;
} view;

static void advance(void *value, void *arg)
{
    unsigned sender;

    (void)arg;
    *(struct value *)value = value_of(0, value_number(value, &sender) + 1);
}

static bool advance_in_vain(void *value, void *arg)
{
    advance(value, arg);
    return false;
}

static void change(uint64_t *rand)
{
    if (test_rand(rand) % 4 == 0) {
        CHECK_EQ(0, weft_watch_send_if_modified(view.tx, advance_in_vain, NULL));
        return;
    }
    CHECK_EQ(0, weft_watch_send_modify(view.tx, advance, NULL));
    atomic_fetch_add(&view.changes, 1);
}

static int changes(void *arg)
{
    uint64_t rand = (uint64_t)(uintptr_t)arg;

    while (weft_now() < view.until) {
        for (uint64_t burst = test_rand(&rand) % 10; burst; burst--)
            change(&rand);
        CHECK_EQ(0, test_rand(&rand) % 2 ? weft_yield() : weft_sleep(WEFT_US(20)));
    }
    return 0;
}

static void *thread_changes(void *arg)
{
    uint64_t rand = (uint64_t)(uintptr_t)arg;

    while (weft_now() < view.until)
        change(&rand);
    return NULL;
}

static bool is_beyond(const void *value, void *arg)
{
    unsigned sender;

    return value_number(value, &sender) > *(uint64_t *)arg;
}

/* Each way of looking; what is seen never goes back. */
static uint64_t look(weft_watch_receiver *rx, uint64_t before, uint64_t *rand)
{
    const struct value *lent;
    weft_future f;
    struct value v;
    unsigned sender;
    uint64_t n;

    switch (test_rand(rand) % 5) {
    case 0:
        CHECK_EQ(0, weft_watch_get(rx, &v));
        break;
    case 1:
        CHECK(weft_watch_changed(rx) >= 0);
        CHECK_EQ(0, weft_watch_get_and_update(rx, &v));
        break;
    case 2:
        lent = weft_watch_borrow(rx);
        n = value_number(lent, &sender);
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(n, value_number(lent, &sender));
        v = *lent;
        weft_watch_return(lent);
        break;
    case 3:
        f = weft_watch_changed_future(rx);
        CHECK(weft_timeout(WEFT_US(test_rand(rand) % 50), &f) != -ECANCELED);
        CHECK_EQ(0, weft_watch_get(rx, &v));
        break;
    default:
        if (weft_watch_wait_for(rx, is_beyond, &before, &v) == 0)
            CHECK_EQ(0, weft_watch_get(rx, &v)); /* that was the last one */
        break;
    }
    n = value_number(&v, &sender);
    CHECK(n >= before);
    return n;
}

static int looks(void *arg)
{
    uint64_t rand = (uint64_t)(uintptr_t)arg, seen = 0;
    weft_watch_receiver *rx, *next;

    CHECK_EQ(0, weft_watch_receiver_clone(view.rx, &rx));
    while (weft_now() < view.until) {
        seen = look(rx, seen, &rand);
        if (test_rand(&rand) % 8 == 0) {
            CHECK_EQ(0, weft_watch_receiver_clone(rx, &next));
            weft_watch_receiver_close(rx);
            rx = next;
        }
    }
    weft_watch_receiver_close(rx);
    return 0;
}

static void *thread_looks(void *arg)
{
    weft_watch_receiver *rx = arg;
    uint64_t before = 0, n;
    struct value v;
    unsigned sender;

    while (weft_watch_changed_blocking(rx) == 1) {
        CHECK_EQ(0, weft_watch_get_and_update(rx, &v));
        n = value_number(&v, &sender);
        CHECK(n > before); /* a change each time */
        before = n;
    }
    CHECK_EQ(0, weft_watch_get(rx, &v));
    CHECK_EQ(atomic_load(&view.changes), value_number(&v, &sender));
    weft_watch_receiver_close(rx);
    return NULL;
}

static int watch(void *arg)
{
    struct value first = value_of(0, 0);
    weft_task *t[6];
    weft_watch_receiver *rx;
    pthread_t changer, looker;
    uint64_t rand = (uint64_t)(uintptr_t)arg;

    CHECK_EQ(0, weft_watch_new(&view.tx, &view.rx, sizeof(first), &first));
    CHECK_EQ(0, weft_watch_receiver_clone(view.rx, &rx));
    CHECK_EQ(0, pthread_create(&looker, NULL, thread_looks, rx));
    for (int i = 0; i < 6; i++)
        t[i] = weft_spawn(i < 2 ? changes : looks, (void *)(test_rand(&rand) | 1));
    CHECK_EQ(0, pthread_create(&changer, NULL, thread_changes, (void *)(test_rand(&rand) | 1)));
    for (int i = 0; i < 2; i++)
        CHECK_EQ(0, joined(t[i]));
    CHECK_EQ(0, pthread_join(changer, NULL));
    weft_watch_sender_close(view.tx); /* ends the waits */
    for (int i = 2; i < 6; i++)
        CHECK_EQ(0, joined(t[i]));
    CHECK_EQ(0, pthread_join(looker, NULL));
    weft_watch_receiver_close(view.rx);
    return 0;
}

TEST(a_watch_never_goes_back_and_loses_no_change)
{
    weft_duration each = test_stress_time(WEFT_SECS(2)) / test_flavour_count;
    uint64_t rand = test_seed();

    for (size_t i = 0; i < test_flavour_count; i++) {
        view.until = weft_now() + each;
        atomic_store(&view.changes, 0);
        test_run_on(&test_flavours[i], watch, (void *)(test_rand(&rand) | 1));
    }
}

END_TEST

TEST_MAIN("stress.fanout", every_value_is_accounted_for_by_every_receiver,
          so_it_is_with_senders_that_do_not_wait_for_each_other,
          so_it_is_with_values_that_own_something, a_watch_never_goes_back_and_loses_no_change)
