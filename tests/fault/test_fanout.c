/* SPDX-License-Identifier: MIT */
/* Broadcast and watch while memory is short: what was not made leaves nothing behind, what was not sent is the
 * caller's. */
#include "party.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Text on the heap: a copy of it may find no memory either. */
static atomic_int texts;

static char *text_new(const char *text)
{
    char *copy = strdup(text); /* the test's own: it does not fail */

    CHECK(copy);
    atomic_fetch_add(&texts, 1);
    return copy;
}

static void text_free(char *text)
{
    free(text);
    atomic_fetch_sub(&texts, 1);
}

static int text_copy(void *to, const void *from)
{
    int rc = wf_fault(WF_FAULT_ALLOC);

    if (rc < 0)
        return rc;
    *(char **)to = text_new(*(char *const *)from);
    return 0;
}

static void text_destroy(void *value)
{
    text_free(*(char **)value);
}

static const weft_channel_options owned = {.name = "texts",
                                           .copy = text_copy,
                                           .destroy = text_destroy};

/* --- broadcast ---------------------------------------------------------------------- */

#define SENT 12

struct reader {
    weft_broadcast_receiver *rx;
    bool owned;
    unsigned received, failed;
    uint64_t missed;
};

static int reads(void *arg)
{
    struct reader *r = arg;

    union {
        char *text;
        int number;
    } value;

    int rc;

    while ((rc = weft_broadcast_recv(r->rx, &value)) != 0) {
        if (rc == 1 && r->owned)
            text_free(value.text);
        if (rc == 1)
            r->received++;
        else if (rc == -EOVERFLOW)
            r->missed += weft_broadcast_missed(r->rx);
        else
            r->failed += MAY(rc, ENOMEM) < 0;
        /* A copy that fails for good: without this it would be tried for ever. */
        if (r->failed > 20)
            break;
    }
    weft_broadcast_receiver_close(r->rx);
    return 0;
}

static bool sends(weft_broadcast_sender *tx, bool own, int number)
{
    char *text = own ? text_new("a line") : NULL;
    /* EPIPE: the last reader may have given up just now. */
    ssize_t rc = own ? MAY(weft_broadcast_send(tx, &text), ENOMEM, EPIPE)
                     : weft_broadcast_send(tx, &number);

    if (rc < 0 && own)
        text_free(text);
    return rc > 0;
}

static int broadcasts(void *arg)
{
    bool own = arg != NULL;
    struct reader r[3] = {{.owned = own}, {.owned = own}, {.owned = own}};
    weft_broadcast_sender *tx = NULL;
    struct party p[3] = {0};
    unsigned sent = 0;

    if (MAY(weft_broadcast_new_with(&tx, &r[0].rx, own ? sizeof(char *) : sizeof(int), 4,
                                    own ? &owned : NULL),
            ENOMEM) < 0)
        return 0;
    for (int i = 1; i < 3; i++)
        if (MAY(i % 2 ? weft_broadcast_subscribe(tx, &r[i].rx)
                      : weft_broadcast_resubscribe(r[0].rx, &r[i].rx),
                ENOMEM) < 0)
            r[i].rx = NULL;
    for (int i = 0; i < 3; i++)
        if (r[i].rx && !party_begin(&p[i], reads, &r[i]))
            weft_broadcast_receiver_close(r[i].rx);
    for (int i = 0; i < SENT; i++) {
        if (weft_broadcast_receiver_count(tx) > 0)
            sent += sends(tx, own, i);
        CHECK_EQ(0, weft_yield());
    }
    weft_broadcast_sender_close(tx);
    for (int i = 0; i < 3; i++) {
        int result;

        if (!p[i].task)
            continue;
        CHECK_EQ(0, weft_join(p[i].task, &result));
        MAY(result, ENOMEM);
        if (!p[i].began)
            weft_broadcast_receiver_close(r[i].rx);
        else if (r[i].failed <= 20)
            CHECK_EQ(sent, r[i].received + r[i].missed);
    }
    CHECK_EQ(0, atomic_load(&texts));
    return 0;
}

static void plain_broadcast(const struct test_flavour *flavour)
{
    fault_run_root(flavour, broadcasts, NULL);
}

static void owned_broadcast(const struct test_flavour *flavour)
{
    fault_run_root(flavour, broadcasts, (void *)1);
}

TEST(a_broadcast_bears_a_lack_of_memory)
{
    fault_sweep(plain_broadcast);
    fault_sweep(owned_broadcast);
}

/* --- watch -------------------------------------------------------------------------- */

static void rewrite(void *value, void *arg)
{
    char **text = value;

    (void)arg;
    text_free(*text);
    *text = text_new("rewritten");
}

static void increment(void *value, void *arg)
{
    (void)arg;
    ++*(int *)value;
}

static int watches(void *arg)
{
    int rc = 1;

    while (rc == 1)
        rc = weft_watch_changed(arg);
    weft_watch_receiver_close(arg);
    return rc;
}

static void watch_texts(void)
{
    char *first = text_new("first"), *next, *old = NULL;
    weft_watch_receiver *rx = NULL, *more = NULL;
    weft_watch_sender *tx = NULL;
    const void *lent[3];

    if (MAY(weft_watch_new_with(&tx, &rx, sizeof(first), &first, &owned), ENOMEM) < 0) {
        text_free(first);
        return;
    }
    if (MAY(weft_watch_receiver_clone(rx, &more), ENOMEM) == 0)
        weft_watch_receiver_close(more);
    for (int i = 0; i < 3; i++) {
        lent[i] = weft_watch_borrow(rx);
        next = text_new("next");
        if (MAY(weft_watch_send(tx, &next), ENOMEM) < 0)
            text_free(next);
    }
    next = text_new("another");
    if (MAY(weft_watch_send_replace(tx, &next, &old), ENOMEM) < 0)
        text_free(next);
    else
        text_free(old);
    MAY(weft_watch_send_modify(tx, rewrite, NULL), ENOMEM);
    if (MAY(weft_watch_get_and_update(rx, &next), ENOMEM) == 0)
        text_free(next);
    weft_watch_receiver_close(rx);
    weft_watch_sender_close(tx);
    for (int i = 0; i < 3; i++)
        weft_watch_return(lent[i]);
}

static int watch_root(void *arg)
{
    weft_watch_receiver *rx = NULL, *mine = NULL;
    weft_watch_sender *tx = NULL;
    int value = 0, expected = 0, result;
    struct party p;

    (void)arg;
    watch_texts();
    CHECK_EQ(0, atomic_load(&texts));
    if (MAY(weft_watch_new(&tx, &rx, sizeof(value), &value), ENOMEM) < 0)
        return 0;
    if (MAY(weft_watch_subscribe(tx, &mine), ENOMEM) < 0)
        mine = NULL;
    if (!party_begin(&p, watches, rx))
        weft_watch_receiver_close(rx);
    for (int i = 0; i < SENT; i++) {
        expected += MAY(weft_watch_send_modify(tx, increment, NULL), ENOMEM) == 0;
        CHECK_EQ(0, weft_yield());
    }
    if (mine) {
        CHECK_EQ(0, weft_watch_get(mine, &value)); /* needs no memory */
        CHECK_EQ(expected, value);
        weft_watch_receiver_close(mine);
    }
    weft_watch_sender_close(tx);
    if (!p.task)
        return 0;
    CHECK_EQ(0, weft_join(p.task, &result));
    MAY(result, ENOMEM);
    if (!p.began)
        weft_watch_receiver_close(rx);
    return 0;
}

static void watch(const struct test_flavour *flavour)
{
    fault_run_root(flavour, watch_root, NULL);
}

TEST(a_watch_bears_a_lack_of_memory)
{
    fault_sweep(watch);
}

/* From plain threads there is no memory needed but for the ends. */
static void outside(const struct test_flavour *flavour)
{
    weft_broadcast_receiver *rx = NULL;
    weft_broadcast_sender *tx = NULL;
    int got = 0;

    (void)flavour;
    if (MAY(weft_broadcast_new(&tx, &rx, sizeof(int), 2), ENOMEM) < 0)
        return;
    for (int i = 1; i <= 2; i++)
        CHECK_EQ(1, weft_broadcast_send(tx, &i));
    for (int i = 1; i <= 2; i++) {
        CHECK_EQ(1, weft_broadcast_recv_blocking(rx, &got));
        CHECK_EQ(i, got);
    }
    weft_broadcast_receiver_close(rx);
    CHECK_EQ(0, weft_broadcast_closed_blocking(tx));
    weft_broadcast_sender_close(tx);
}

TEST(plain_threads_bear_a_lack_of_memory)
{
    fault_sweep(outside);
}

TEST(all_of_it_bears_any_mixture_of_failures)
{
    fault_scenario *const runs[] = {plain_broadcast, owned_broadcast, watch};

    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
        fault_chaos(runs[i], fault_full() ? 2000 : test_scaled(150));
}

TEST(memory_was_short)
{
    MET(WF_FAULT_ALLOC);
}

TEST_MAIN("fault.fanout", a_broadcast_bears_a_lack_of_memory, a_watch_bears_a_lack_of_memory,
          plain_threads_bear_a_lack_of_memory, all_of_it_bears_any_mixture_of_failures,
          memory_was_short)
