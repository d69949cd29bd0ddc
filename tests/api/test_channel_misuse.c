/* SPDX-License-Identifier: MIT */
/*
 * test_channel_misuse.c - mpsc and oneshot channels used as they should not be: the answer that is documented, no
 * crash, and nothing left behind.
 */
#include "channel.h"

#include <pthread.h>
#include <stdatomic.h>

/* Their malloc does not return when it is asked for so much. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(SANITIZED)
# define CHECKED_MALLOC true
#else
# define CHECKED_MALLOC ON_VALGRIND
#endif

/* --- arguments ---------------------------------------------------------------------------- */

static void refuse_making(void)
{
    const weft_channel_options items = {.max_items = 1}, bytes = {.max_bytes = 1},
                               warn = {.warn_at = 1};
    weft_oneshot_receiver *one_rx;
    weft_oneshot_sender *one_tx;
    weft_receiver *rx;
    weft_sender *tx;

    CHECK_EQ(-EINVAL, weft_mpsc_new(NULL, &rx, 1, 1));
    CHECK_EQ(-EINVAL, weft_mpsc_new(&tx, NULL, 1, 1));
    CHECK_EQ(-EINVAL, weft_mpsc_new(&tx, &rx, 1, 0));
    CHECK_EQ(-EINVAL, weft_mpsc_new(&tx, &rx, 1, WEFT_MPSC_CAPACITY_MAX + 1));
    CHECK_EQ(-EINVAL, weft_mpsc_new(&tx, &rx, SIZE_MAX, 1));
    CHECK_EQ(-EINVAL, weft_mpsc_new(&tx, &rx, (size_t)UINT32_MAX + 1, 1));
    if (!CHECKED_MALLOC)
        CHECK_EQ(-ENOMEM, weft_mpsc_new(&tx, &rx, UINT32_MAX, WEFT_MPSC_CAPACITY_MAX));
    CHECK_EQ(-EINVAL, weft_mpsc_new_with(&tx, &rx, 1, 1, &items));
    CHECK_EQ(-EINVAL, weft_mpsc_new_with(&tx, &rx, 1, 1, &bytes));
    CHECK_EQ(-EINVAL, weft_mpsc_unbounded(NULL, &rx, 1));
    CHECK_EQ(-EINVAL, weft_mpsc_unbounded(&tx, NULL, 1));
    CHECK_EQ(-EINVAL, weft_mpsc_unbounded_with(&tx, &rx, SIZE_MAX, NULL));
    CHECK_EQ(-EINVAL, weft_oneshot_new(NULL, &one_rx, 1));
    CHECK_EQ(-EINVAL, weft_oneshot_new(&one_tx, NULL, 1));
    CHECK_EQ(-EINVAL, weft_oneshot_new(&one_tx, &one_rx, SIZE_MAX));
    CHECK_EQ(-EINVAL, weft_oneshot_new_with(&one_tx, &one_rx, 1, &items));
    CHECK_EQ(-EINVAL, weft_oneshot_new_with(&one_tx, &one_rx, 1, &bytes));
    CHECK_EQ(-EINVAL, weft_oneshot_new_with(&one_tx, &one_rx, 1, &warn));
}

static void refuse_nothing(void)
{
    weft_channel_info info;
    weft_permit p = {0};
    int v = 0;

    CHECK_EQ(-EINVAL, weft_send(NULL, &v));
    CHECK_EQ(-EINVAL, weft_try_send(NULL, &v));
    CHECK_EQ(-EINVAL, weft_send_blocking(NULL, &v));
    CHECK_EQ(-EINVAL, weft_recv(NULL, &v));
    CHECK_EQ(-EINVAL, weft_try_recv(NULL, &v));
    CHECK_EQ(-EINVAL, weft_recv_blocking(NULL, &v));
    CHECK_EQ(-EINVAL, weft_recv_many(NULL, &v, 1));
    CHECK_EQ(-EINVAL, weft_try_recv_many(NULL, &v, 1));
    CHECK_EQ(-EINVAL, weft_recv_many_blocking(NULL, &v, 1));
    CHECK_EQ(-EINVAL, weft_reserve(NULL, &p));
    CHECK_EQ(-EINVAL, weft_reserve_many(NULL, 1, &p));
    CHECK_EQ(-EINVAL, weft_reserve_owned(NULL, &p));
    CHECK_EQ(-EINVAL, weft_try_reserve(NULL, &p));
    CHECK_EQ(-EINVAL, weft_try_reserve_many(NULL, 1, &p));
    CHECK_EQ(-EINVAL, weft_try_reserve_owned(NULL, &p));
    CHECK_EQ(-EINVAL, weft_reserve_blocking(NULL, &p));
    CHECK_EQ(-EINVAL, weft_reserve_many_blocking(NULL, 1, &p));
    CHECK_EQ(-EINVAL, weft_reserve_owned_blocking(NULL, &p));
    CHECK_EQ(-EINVAL, weft_permit_send(NULL, &v));
    CHECK_EQ(-EINVAL, weft_permit_send(&p, &v));
    CHECK_EQ(0, weft_permit_count(NULL));
    CHECK_EQ(0, weft_permit_count(&p));
    CHECK(!weft_permit_same_channel(NULL, NULL));
    CHECK(!weft_permit_same_channel_as_receiver(NULL, NULL));
    CHECK(!weft_permit_same_channel_as_weak_sender(NULL, NULL));
    weft_permit_release(NULL);
    weft_permit_release(&p);
    CHECK_EQ(-EINVAL, weft_sender_closed(NULL));
    CHECK_EQ(-EINVAL, weft_sender_closed_blocking(NULL));
    CHECK(weft_sender_clone(NULL) == NULL);
    CHECK(weft_sender_downgrade(NULL) == NULL);
    CHECK(weft_weak_sender_upgrade(NULL) == NULL);
    CHECK(weft_weak_sender_clone(NULL) == NULL);
    weft_sender_close(NULL);
    weft_weak_sender_close(NULL);
    weft_receiver_close(NULL);
    weft_receiver_shutdown(NULL);
    CHECK(weft_sender_is_closed(NULL));
    CHECK(weft_receiver_is_closed(NULL));
    CHECK(weft_receiver_is_empty(NULL));
    CHECK_EQ(0, weft_receiver_len(NULL));
    CHECK_EQ(0, weft_sender_capacity(NULL) + weft_receiver_capacity(NULL));
    CHECK_EQ(0, weft_sender_max_capacity(NULL) + weft_receiver_max_capacity(NULL));
    CHECK_EQ(0, weft_sender_strong_count(NULL) + weft_sender_weak_count(NULL));
    CHECK_EQ(0, weft_receiver_strong_count(NULL) + weft_receiver_weak_count(NULL));
    CHECK_EQ(0, weft_weak_sender_strong_count(NULL) + weft_weak_sender_weak_count(NULL));
    CHECK_EQ(-EINVAL, weft_sender_get_info(NULL, &info));
    CHECK_EQ(-EINVAL, weft_receiver_get_info(NULL, &info));

    CHECK_EQ(-EINVAL, weft_oneshot_send(NULL, &v));
    CHECK_EQ(-EINVAL, weft_oneshot_recv(NULL, &v));
    CHECK_EQ(-EINVAL, weft_oneshot_try_recv(NULL, &v));
    CHECK_EQ(-EINVAL, weft_oneshot_recv_blocking(NULL, &v));
    CHECK_EQ(-EINVAL, weft_oneshot_sender_closed(NULL));
    CHECK_EQ(-EINVAL, weft_oneshot_sender_closed_blocking(NULL));
    weft_oneshot_sender_close(NULL);
    weft_oneshot_receiver_close(NULL);
    weft_oneshot_receiver_shutdown(NULL);
    CHECK(weft_oneshot_sender_is_closed(NULL));
    CHECK(weft_oneshot_receiver_is_empty(NULL));
    CHECK(weft_oneshot_receiver_is_terminated(NULL));
    CHECK_EQ(-EINVAL, weft_oneshot_sender_get_info(NULL, &info));
    CHECK_EQ(-EINVAL, weft_oneshot_receiver_get_info(NULL, &info));
}

/* Channels that are there, and nothing to put into them. */
static void refuse_missing(void)
{
    weft_oneshot_receiver *one_rx;
    weft_oneshot_sender *one_tx;
    weft_receiver *rx;
    weft_sender *tx;
    weft_permit p;

    CHECK_EQ(0, weft_mpsc_new(&tx, &rx, sizeof(int), 1));
    CHECK_EQ(-EINVAL, weft_send(tx, NULL));
    CHECK_EQ(-EINVAL, weft_try_send(tx, NULL));
    CHECK_EQ(-EINVAL, weft_send_blocking(tx, NULL));
    CHECK_EQ(-EINVAL, weft_recv(rx, NULL));
    CHECK_EQ(-EINVAL, weft_try_recv(rx, NULL));
    CHECK_EQ(-EINVAL, weft_recv_many(rx, NULL, 2));
    CHECK_EQ(-EINVAL, weft_recv_blocking(rx, NULL));
    CHECK_EQ(-EINVAL, weft_try_reserve(tx, NULL));
    CHECK_EQ(-EINVAL, weft_sender_get_info(tx, NULL));
    CHECK_EQ(-EINVAL, weft_receiver_get_info(rx, NULL));
    CHECK_EQ(0, weft_try_reserve(tx, &p));
    CHECK_EQ(-EINVAL, weft_permit_send(&p, NULL));
    CHECK_EQ(1, weft_permit_count(&p));
    weft_permit_release(&p);
    weft_sender_close(tx);
    weft_receiver_close(rx);
    CHECK_EQ(0, weft_oneshot_new(&one_tx, &one_rx, sizeof(int)));
    CHECK_EQ(-EINVAL, weft_oneshot_send(one_tx, NULL)); /* not consumed */
    CHECK_EQ(-EINVAL, weft_oneshot_try_recv(one_rx, NULL));
    CHECK_EQ(-EINVAL, weft_oneshot_sender_get_info(one_tx, NULL));
    weft_oneshot_sender_close(one_tx);
    weft_oneshot_receiver_close(one_rx);
    /* A mere signal needs no memory. */
    CHECK_EQ(0, weft_mpsc_new(&tx, &rx, 0, 1));
    CHECK_EQ(0, weft_try_send(tx, NULL));
    CHECK_EQ(1, weft_try_recv(rx, NULL));
    weft_sender_close(tx);
    weft_receiver_close(rx);
    CHECK_EQ(0, weft_oneshot_new(&one_tx, &one_rx, 0));
    CHECK_EQ(0, weft_oneshot_send(one_tx, NULL));
    CHECK_EQ(1, weft_oneshot_try_recv(one_rx, NULL));
    weft_oneshot_receiver_close(one_rx);
}

static void refuse_futures(void)
{
    weft_future list[] = {
        weft_send_future(NULL, ""),
        weft_recv_future(NULL, NULL),
        weft_recv_many_future(NULL, NULL, 1),
        weft_reserve_future(NULL, NULL),
        weft_reserve_many_future(NULL, 1, NULL),
        weft_reserve_owned_future(NULL, NULL),
        weft_sender_closed_future(NULL),
        weft_oneshot_recv_future(NULL, NULL),
        weft_oneshot_sender_closed_future(NULL),
    };
    weft_context cx = weft_context_of(NULL);

    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        CHECK_EQ(WEFT_READY, weft_future_poll(&list[i], &cx));
        CHECK_EQ(-EINVAL, list[i].result);
    }
}

static void refuse_all(void)
{
    refuse_making();
    refuse_nothing();
    refuse_missing();
    refuse_futures();
}

/* --- places -------------------------------------------------------------------------------- */

struct ends {
    weft_sender *tx;
    weft_receiver *rx;
    weft_oneshot_sender *one_tx;
    weft_oneshot_receiver *one_rx;
};

static void ends_open(struct ends *e)
{
    CHECK_EQ(0, weft_mpsc_new(&e->tx, &e->rx, sizeof(int), 2));
    CHECK_EQ(0, weft_oneshot_new(&e->one_tx, &e->one_rx, sizeof(int)));
}

static void ends_close(struct ends *e)
{
    weft_sender_close(e->tx);
    weft_receiver_close(e->rx);
    weft_oneshot_sender_close(e->one_tx);
    weft_oneshot_receiver_close(e->one_rx);
}

/* Always, not only where they would have to wait. */
static void refuse_awaits(struct ends *e)
{
    weft_permit p;
    int v = 0;

    CHECK_EQ(-EPERM, weft_send(e->tx, &v));
    CHECK_EQ(-EPERM, weft_recv(e->rx, &v));
    CHECK_EQ(-EPERM, weft_recv_many(e->rx, &v, 1));
    CHECK_EQ(-EPERM, weft_recv_many(e->rx, &v, 0));
    CHECK_EQ(-EPERM, weft_reserve(e->tx, &p));
    CHECK_EQ(-EPERM, weft_reserve_many(e->tx, 0, &p));
    CHECK_EQ(-EPERM, weft_reserve_owned(e->tx, &p));
    CHECK_EQ(-EPERM, weft_sender_closed(e->tx));
    CHECK_EQ(-EPERM, weft_oneshot_recv(e->one_rx, &v));
    CHECK_EQ(-EPERM, weft_oneshot_sender_closed(e->one_tx));
}

static void refuse_blocking(struct ends *e)
{
    weft_permit p;
    int v = 0;

    CHECK_EQ(-EDEADLK, weft_send_blocking(e->tx, &v));
    CHECK_EQ(-EDEADLK, weft_recv_blocking(e->rx, &v));
    CHECK_EQ(-EDEADLK, weft_recv_many_blocking(e->rx, &v, 1));
    CHECK_EQ(-EDEADLK, weft_recv_many_blocking(e->rx, &v, 0));
    CHECK_EQ(-EDEADLK, weft_reserve_blocking(e->tx, &p));
    CHECK_EQ(-EDEADLK, weft_reserve_many_blocking(e->tx, 0, &p));
    CHECK_EQ(-EDEADLK, weft_reserve_owned_blocking(e->tx, &p));
    CHECK_EQ(-EDEADLK, weft_sender_closed_blocking(e->tx));
    CHECK_EQ(-EDEADLK, weft_oneshot_recv_blocking(e->one_rx, &v));
    CHECK_EQ(-EDEADLK, weft_oneshot_sender_closed_blocking(e->one_tx));
}

static int in_fiber(void *arg)
{
    struct ends e;

    (void)arg;
    ends_open(&e);
    refuse_all();
    refuse_blocking(&e);
    CHECK_EQ(0, weft_receiver_len(e.rx));
    ends_close(&e);
    return 0;
}

struct stackless {
    weft_async async;
};

static weft_poll in_stackless(void *self, weft_context *cx)
{
    struct stackless *s = self;
    struct ends e;

    (void)cx;
    WEFT_ASYNC_BEGIN(s);
    ends_open(&e);
    refuse_all();
    refuse_awaits(&e);
    refuse_blocking(&e);
    ends_close(&e);
    WEFT_RETURN(s, 0);
    WEFT_ASYNC_END(s);
}

static const weft_async_type stackless_type = {.poll = in_stackless,
                                               .size = sizeof(struct stackless)};

static int spawn_stackless(void *arg)
{
    struct stackless state = {{0}};

    (void)arg;
    return join(weft_spawn_async(&stackless_type, &state));
}

TEST(a_plain_thread_gets_codes_not_crashes)
{
    struct ends e;

    hush();
    ends_open(&e);
    refuse_all();
    refuse_awaits(&e);
    ends_close(&e);
}

END_TEST

TEST(a_fiber_gets_codes_not_crashes)
{
    hush();
    test_run(in_fiber, NULL);
}

TEST(a_stackless_task_gets_codes_not_crashes)
{
    hush();
    test_run(spawn_stackless, NULL);
}

/* --- ends closed under those who wait by them --------------------------------------------------- */

static int send_by(void *tx)
{
    return weft_send(tx, &(int){2});
}

static int wait_closed(void *tx)
{
    return weft_sender_closed(tx);
}

static int receive_by(void *rx)
{
    int got;

    return weft_recv(rx, &got);
}

static int sender_closed_early(void *arg)
{
    weft_task *sends, *watches;
    struct ends e;
    int got;

    (void)arg;
    ends_open(&e);
    CHECK_EQ(0, weft_send(e.tx, &(int){1}));
    CHECK_EQ(0, weft_send(e.tx, &(int){1}));
    sends = spawn_waiting(send_by, e.tx);
    watches = spawn_waiting(wait_closed, e.tx);
    weft_sender_close(e.tx);
    CHECK_EQ(-ESHUTDOWN, join(sends));
    CHECK_EQ(-ESHUTDOWN, join(watches));
    CHECK_EQ(1, weft_recv(e.rx, &got));
    CHECK_EQ(1, weft_recv(e.rx, &got));
    CHECK_EQ(0, weft_recv(e.rx, &got)); /* 2 was not sent */
    e.tx = NULL;
    ends_close(&e);
    return 0;
}

TEST(who_waits_by_the_last_sender_is_told_when_it_is_closed)
{
    hush();
    test_run(sender_closed_early, NULL);
}

static atomic_int destroyed;

static void destroy_int(void *value)
{
    atomic_fetch_add(&destroyed, *(int *)value);
}

static int receiver_closed_early(void *arg)
{
    static const weft_channel_options options = {.destroy = destroy_int};
    weft_task *receives;
    weft_receiver *rx;
    weft_sender *tx;
    weft_permit p;

    (void)arg;
    atomic_store(&destroyed, 0);
    CHECK_EQ(0, weft_mpsc_new_with(&tx, &rx, sizeof(int), 2, &options));
    CHECK_EQ(0, weft_reserve(tx, &p));
    receives = spawn_waiting(receive_by, rx);
    weft_receiver_close(rx);
    CHECK_EQ(-EPIPE, weft_send(tx, &(int){1}));
    CHECK_EQ(-ESHUTDOWN, join(receives));
    CHECK_EQ(0, weft_permit_send(&p, &(int){10}));
    CHECK_EQ(10, atomic_load(&destroyed));
    weft_permit_release(&p);
    weft_sender_close(tx);
    return 0;
}

TEST(who_waits_by_a_receiver_is_told_when_it_is_closed)
{
    hush();
    test_run(receiver_closed_early, NULL);
}

/* The future outlives the handle: dropped, or polled, it puts away what is left. */
static int orphans(void *arg)
{
    static const weft_channel_options options = {.destroy = destroy_int};
    bool drop = arg != NULL;
    weft_receiver *rx;
    weft_sender *tx;
    int got;

    for (int with_value = 0; with_value < 2; with_value++) {
        weft_future f;

        atomic_store(&destroyed, 0);
        CHECK_EQ(0, weft_mpsc_new_with(&tx, &rx, sizeof(int), 2, &options));
        f = weft_recv_future(rx, &got);
        keep_pending(&f);
        if (with_value)
            CHECK_EQ(0, weft_send(tx, &(int){3}));
        weft_receiver_close(rx);
        weft_sender_close(tx);
        if (drop)
            weft_future_drop(&f);
        else
            CHECK_EQ(-ESHUTDOWN, weft_await(&f));
        CHECK_EQ(3 * with_value, atomic_load(&destroyed));
    }
    return 0;
}

TEST(a_receive_that_is_pending_when_the_receiver_is_closed_puts_away_the_rest)
{
    hush();
    test_run(orphans, NULL);
    test_run(orphans, &destroyed);
}

static int receive_answer(void *rx)
{
    int got;

    return weft_oneshot_recv(rx, &got);
}

static int oneshot_closed_early(void *arg)
{
    static const weft_channel_options options = {.destroy = destroy_int};
    bool drop = arg != NULL;
    weft_oneshot_receiver *rx;
    weft_oneshot_sender *tx;
    weft_task *t;
    int got;

    CHECK_EQ(0, weft_oneshot_new(&tx, &rx, sizeof(int)));
    t = spawn_waiting(receive_answer, rx);
    weft_oneshot_receiver_close(rx);
    CHECK_EQ(-ESHUTDOWN, join(t));
    CHECK_EQ(-EPIPE, weft_oneshot_send(tx, &(int){1}));
    for (int with_value = 0; with_value < 2; with_value++) {
        weft_future f;

        atomic_store(&destroyed, 0);
        CHECK_EQ(0, weft_oneshot_new_with(&tx, &rx, sizeof(int), &options));
        f = weft_oneshot_recv_future(rx, &got);
        keep_pending(&f);
        if (with_value)
            CHECK_EQ(0, weft_oneshot_send(tx, &(int){3}));
        weft_oneshot_receiver_close(rx);
        if (drop)
            weft_future_drop(&f);
        else
            CHECK_EQ(-ESHUTDOWN, weft_await(&f));
        CHECK_EQ(3 * with_value, atomic_load(&destroyed));
        if (!with_value)
            CHECK_EQ(-EPIPE, weft_oneshot_send(tx, &(int){3}));
    }
    return 0;
}

TEST(the_same_holds_for_a_oneshot)
{
    hush();
    test_run(oneshot_closed_early, NULL);
    test_run(oneshot_closed_early, &destroyed);
}

/* A sender that waits for the receiver's end is consumed meanwhile. */
static int consumed_while_it_watches(void *arg)
{
    weft_oneshot_receiver *rx;
    weft_oneshot_sender *tx;
    int got;

    (void)arg;
    for (int way = 0; way < 4; way++) {
        weft_future f;

        CHECK_EQ(0, weft_oneshot_new(&tx, &rx, sizeof(int)));
        f = weft_oneshot_sender_closed_future(tx);
        keep_pending(&f);
        if (way & 1)
            CHECK_EQ(0, weft_oneshot_send(tx, &(int){3}));
        else
            weft_oneshot_sender_close(tx);
        CHECK_EQ(way & 1, weft_oneshot_recv(rx, &got));
        if (way & 2) {
            weft_oneshot_receiver_close(rx);
            CHECK_EQ(0, weft_await(&f));
        } else {
            weft_future_drop(&f);
            weft_oneshot_receiver_close(rx);
        }
    }
    return 0;
}

TEST(a_oneshots_sender_may_be_consumed_while_it_waits_for_the_receivers_end)
{
    hush();
    test_run(consumed_while_it_watches, NULL);
}

/* The same where the first poll finds the budget spent. */
static int poll_without_budget(weft_future f, bool drop, void (*close)(void *tx), void *tx)
{
    weft_context cx = weft_context_of(NULL);

    spend_the_budget();
    CHECK(weft_future_poll(&f, &cx) == WEFT_PENDING);
    close(tx);
    if (!drop)
        return (int)weft_await(&f);
    weft_future_drop(&f);
    return -ESHUTDOWN;
}

static void close_sender(void *tx)
{
    weft_sender_close(tx);
}

static void close_broadcast(void *tx)
{
    weft_broadcast_sender_close(tx);
}

static void close_watch(void *tx)
{
    weft_watch_sender_close(tx);
}

struct oneshot_ends {
    weft_oneshot_sender *tx;
    weft_oneshot_receiver *rx;
};

static void close_oneshot(void *arg)
{
    struct oneshot_ends *ends = arg;

    weft_oneshot_sender_close(ends->tx);
    weft_oneshot_receiver_close(ends->rx);
}

static int closed_without_budget(void *arg)
{
    bool drop = arg != NULL;
    struct oneshot_ends ends;
    weft_broadcast_sender *btx;
    weft_broadcast_receiver *brx;
    weft_watch_sender *wtx;
    weft_watch_receiver *wrx;
    weft_receiver *rx;
    weft_sender *tx;

    CHECK_EQ(0, weft_mpsc_new(&tx, &rx, sizeof(int), 1));
    CHECK_EQ(-ESHUTDOWN,
             poll_without_budget(weft_sender_closed_future(tx), drop, close_sender, tx));
    weft_receiver_close(rx);
    CHECK_EQ(0, weft_broadcast_new(&btx, &brx, sizeof(int), 1));
    CHECK_EQ(-ESHUTDOWN,
             poll_without_budget(weft_broadcast_closed_future(btx), drop, close_broadcast, btx));
    weft_broadcast_receiver_close(brx);
    CHECK_EQ(0, weft_watch_new(&wtx, &wrx, sizeof(int), &(int){1}));
    CHECK_EQ(-ESHUTDOWN,
             poll_without_budget(weft_watch_closed_future(wtx), drop, close_watch, wtx));
    weft_watch_receiver_close(wrx);
    CHECK_EQ(0, weft_oneshot_new(&ends.tx, &ends.rx, sizeof(int)));
    CHECK_EQ(drop ? -ESHUTDOWN : 0, poll_without_budget(weft_oneshot_sender_closed_future(ends.tx),
                                                        drop, close_oneshot, &ends));
    return 0;
}

TEST(who_waits_for_the_receivers_end_is_known_from_the_first_poll_whatever_the_budget)
{
    hush();
    test_run(closed_without_budget, NULL);
    test_run(closed_without_budget, &destroyed);
}

TEST_MAIN("channel_misuse", a_plain_thread_gets_codes_not_crashes, a_fiber_gets_codes_not_crashes,
          a_stackless_task_gets_codes_not_crashes,
          who_waits_by_the_last_sender_is_told_when_it_is_closed,
          who_waits_by_a_receiver_is_told_when_it_is_closed,
          a_receive_that_is_pending_when_the_receiver_is_closed_puts_away_the_rest,
          the_same_holds_for_a_oneshot,
          a_oneshots_sender_may_be_consumed_while_it_waits_for_the_receivers_end,
          who_waits_for_the_receivers_end_is_known_from_the_first_poll_whatever_the_budget)
