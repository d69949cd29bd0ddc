/* SPDX-License-Identifier: MIT */
/*
 * test_fanout_misuse.c - broadcast and watch with arguments that are NULL or out of range, from where a call does not
 * belong, and with handles that are closed too early: the code that is documented, and no crash.
 */
#include "waiting.h"

#include <fcntl.h>
#include <unistd.h>

/* A debug library explains each misuse on stderr: not here. Claims do not go there. */
static void hush(void)
{
    int fd = open("/dev/null", O_WRONLY);

    CHECK(fd >= 0);
    CHECK(dup2(fd, STDERR_FILENO) >= 0);
    (void)close(fd);
}

static void destroy_nothing(void *value)
{
    (void)value;
}

static int copy_nothing(void *to, const void *from)
{
    (void)to, (void)from;
    return 0;
}

static bool never(const void *value, void *arg)
{
    (void)value, (void)arg;
    return false;
}

static void change(void *value, void *arg)
{
    (void)value, (void)arg;
}

static bool change_perhaps(void *value, void *arg)
{
    (void)value, (void)arg;
    return true;
}

static void look(const void *value, void *arg)
{
    (void)value, (void)arg;
}

static ssize_t polled(weft_future f)
{
    weft_context cx = weft_context_of(NULL);

    CHECK_EQ(WEFT_READY, weft_future_poll(&f, &cx));
    return f.result;
}

/* --- the same everywhere -------------------------------------------------------------- */

static const weft_channel_options bad_options[] = {{.max_items = 1},
                                                   {.max_bytes = 1},
                                                   {.warn_at = 1},
                                                   {.destroy = destroy_nothing}};

static void refuse_broadcast(void)
{
    weft_channel_options fine = {.destroy = destroy_nothing, .copy = copy_nothing};
    weft_broadcast_receiver *rx = NULL, *more = NULL;
    weft_broadcast_sender *tx = NULL;
    weft_channel_info info;
    int value = 0;

    CHECK_EQ(-EINVAL, weft_broadcast_new(NULL, &rx, 1, 1));
    CHECK_EQ(-EINVAL, weft_broadcast_new(&tx, &rx, 1, 0));
    CHECK_EQ(-ENOMEM, weft_broadcast_new(&tx, &rx, SIZE_MAX, 1));
    CHECK_EQ(-ENOMEM, weft_broadcast_new(&tx, &rx, 8, SIZE_MAX));
    CHECK_EQ(-ENOMEM, weft_broadcast_new(&tx, &rx, SIZE_MAX / 4, 8));
    for (size_t i = 0; i < sizeof(bad_options) / sizeof(bad_options[0]); i++)
        CHECK_EQ(-EINVAL, weft_broadcast_new_with(&tx, &rx, 1, 1, &bad_options[i]));
    CHECK(tx == NULL && rx == NULL);
    CHECK_EQ(0, weft_broadcast_new_with(&tx, &rx, sizeof(value), 1, &fine));

    CHECK_EQ(-EINVAL, weft_broadcast_send(NULL, &value));
    CHECK_EQ(-EINVAL, weft_broadcast_send(tx, NULL));
    CHECK_EQ(-EINVAL, weft_broadcast_recv(NULL, &value));
    CHECK_EQ(-EINVAL, weft_broadcast_recv(rx, NULL));
    CHECK_EQ(-EINVAL, weft_broadcast_try_recv(NULL, &value));
    CHECK_EQ(-EINVAL, weft_broadcast_try_recv(rx, NULL));
    CHECK_EQ(-EINVAL, weft_broadcast_recv_blocking(NULL, &value));
    CHECK_EQ(-EINVAL, weft_broadcast_recv_blocking(rx, NULL));
    CHECK_EQ(-EINVAL, polled(weft_broadcast_recv_future(NULL, &value)));
    CHECK_EQ(-EINVAL, polled(weft_broadcast_recv_future(rx, NULL)));
    CHECK_EQ(0, weft_broadcast_missed(NULL));
    CHECK_EQ(-EINVAL, weft_broadcast_subscribe(NULL, &more));
    CHECK_EQ(-EINVAL, weft_broadcast_subscribe(tx, NULL));
    CHECK_EQ(-EINVAL, weft_broadcast_resubscribe(NULL, &more));
    CHECK_EQ(-EINVAL, weft_broadcast_resubscribe(rx, NULL));
    CHECK_EQ(-EINVAL, weft_broadcast_closed(NULL));
    CHECK_EQ(-EINVAL, weft_broadcast_closed_blocking(NULL));
    CHECK_EQ(-EINVAL, polled(weft_broadcast_closed_future(NULL)));
    CHECK(!weft_broadcast_sender_clone(NULL));
    CHECK(!weft_broadcast_weak_sender_clone(NULL));
    CHECK(!weft_broadcast_sender_downgrade(NULL));
    CHECK(!weft_broadcast_weak_sender_upgrade(NULL));
    weft_broadcast_sender_close(NULL);
    weft_broadcast_weak_sender_close(NULL);
    weft_broadcast_receiver_close(NULL);
    CHECK_EQ(0, weft_broadcast_sender_len(NULL));
    CHECK(weft_broadcast_sender_is_empty(NULL));
    CHECK_EQ(0, weft_broadcast_receiver_len(NULL));
    CHECK(weft_broadcast_receiver_is_empty(NULL) && weft_broadcast_receiver_is_closed(NULL));
    CHECK_EQ(0, weft_broadcast_receiver_count(NULL) + weft_broadcast_sender_strong_count(NULL) +
                    weft_broadcast_sender_weak_count(NULL) +
                    weft_broadcast_receiver_strong_count(NULL) +
                    weft_broadcast_receiver_weak_count(NULL) +
                    weft_broadcast_weak_sender_strong_count(NULL) +
                    weft_broadcast_weak_sender_weak_count(NULL));
    CHECK(!weft_broadcast_sender_same_channel(NULL, NULL));
    CHECK(!weft_broadcast_sender_same_channel(tx, NULL));
    CHECK(!weft_broadcast_receiver_same_channel(NULL, NULL));
    CHECK(!weft_broadcast_receiver_same_channel(rx, NULL));
    CHECK_EQ(-EINVAL, weft_broadcast_sender_get_info(NULL, &info));
    CHECK_EQ(-EINVAL, weft_broadcast_sender_get_info(tx, NULL));
    CHECK_EQ(-EINVAL, weft_broadcast_receiver_get_info(NULL, &info));
    CHECK_EQ(-EINVAL, weft_broadcast_receiver_get_info(rx, NULL));
    weft_broadcast_receiver_close(rx);
    weft_broadcast_sender_close(tx);
}

static void refuse_watch(void)
{
    weft_channel_options fine = {.destroy = destroy_nothing, .copy = copy_nothing};
    weft_watch_condition none = {0};
    weft_watch_receiver *rx = NULL, *more = NULL;
    weft_watch_sender *tx = NULL;
    weft_channel_info info;
    int value = 0;

    CHECK_EQ(-EINVAL, weft_watch_new(NULL, &rx, sizeof(value), &value));
    CHECK_EQ(-EINVAL, weft_watch_new(&tx, &rx, sizeof(value), NULL));
    CHECK_EQ(-ENOMEM, weft_watch_new(&tx, &rx, SIZE_MAX, &value));
    for (size_t i = 0; i < sizeof(bad_options) / sizeof(bad_options[0]); i++)
        CHECK_EQ(-EINVAL, weft_watch_new_with(&tx, &rx, sizeof(value), &value, &bad_options[i]));
    CHECK(tx == NULL && rx == NULL);
    CHECK_EQ(0, weft_watch_new_with(&tx, &rx, sizeof(value), &value, &fine));

    CHECK_EQ(-EINVAL, weft_watch_send(NULL, &value));
    CHECK_EQ(-EINVAL, weft_watch_send(tx, NULL));
    CHECK_EQ(-EINVAL, weft_watch_send_replace(NULL, &value, NULL));
    CHECK_EQ(-EINVAL, weft_watch_send_replace(tx, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_watch_send_modify(NULL, change, NULL));
    CHECK_EQ(-EINVAL, weft_watch_send_modify(tx, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_watch_send_if_modified(NULL, change_perhaps, NULL));
    CHECK_EQ(-EINVAL, weft_watch_send_if_modified(tx, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_watch_get(NULL, &value));
    CHECK_EQ(-EINVAL, weft_watch_get(rx, NULL));
    CHECK_EQ(-EINVAL, weft_watch_get_and_update(NULL, &value));
    CHECK_EQ(-EINVAL, weft_watch_get_and_update(rx, NULL));
    CHECK_EQ(-EINVAL, weft_watch_sender_get(NULL, &value));
    CHECK_EQ(-EINVAL, weft_watch_sender_get(tx, NULL));
    CHECK(!weft_watch_borrow(NULL) && !weft_watch_borrow_and_update(NULL));
    CHECK(!weft_watch_borrow_changed(NULL, NULL));
    CHECK(!weft_watch_borrow_and_update_changed(NULL, NULL));
    CHECK(!weft_watch_sender_borrow(NULL));
    weft_watch_return(NULL);
    CHECK_EQ(-EINVAL, weft_watch_with(NULL, look, NULL));
    CHECK_EQ(-EINVAL, weft_watch_with(rx, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_watch_changed(NULL));
    CHECK_EQ(-EINVAL, weft_watch_changed_blocking(NULL));
    CHECK_EQ(-EINVAL, polled(weft_watch_changed_future(NULL)));
    CHECK_EQ(-EINVAL, weft_watch_wait_for(NULL, never, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_watch_wait_for(rx, NULL, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_watch_wait_for_blocking(NULL, never, NULL, NULL));
    CHECK_EQ(-EINVAL, weft_watch_wait_for_blocking(rx, NULL, NULL, NULL));
    CHECK_EQ(-EINVAL, polled(weft_watch_wait_for_future(NULL, &none)));
    CHECK_EQ(-EINVAL, polled(weft_watch_wait_for_future(rx, NULL)));
    CHECK_EQ(-EINVAL, polled(weft_watch_wait_for_future(rx, &none)));
    CHECK_EQ(-EINVAL, weft_watch_has_changed(NULL));
    weft_watch_mark_changed(NULL);
    weft_watch_mark_unchanged(NULL);
    CHECK_EQ(-EINVAL, weft_watch_subscribe(NULL, &more));
    CHECK_EQ(-EINVAL, weft_watch_subscribe(tx, NULL));
    CHECK_EQ(-EINVAL, weft_watch_receiver_clone(NULL, &more));
    CHECK_EQ(-EINVAL, weft_watch_receiver_clone(rx, NULL));
    CHECK(!weft_watch_sender_clone(NULL));
    weft_watch_sender_close(NULL);
    weft_watch_receiver_close(NULL);
    CHECK_EQ(-EINVAL, weft_watch_closed(NULL));
    CHECK_EQ(-EINVAL, weft_watch_closed_blocking(NULL));
    CHECK_EQ(-EINVAL, polled(weft_watch_closed_future(NULL)));
    CHECK(weft_watch_is_closed(NULL));
    CHECK_EQ(0, weft_watch_receiver_count(NULL) + weft_watch_sender_count(NULL));
    CHECK(!weft_watch_sender_same_channel(NULL, NULL));
    CHECK(!weft_watch_sender_same_channel(tx, NULL));
    CHECK(!weft_watch_receiver_same_channel(NULL, NULL));
    CHECK(!weft_watch_receiver_same_channel(rx, NULL));
    CHECK_EQ(-EINVAL, weft_watch_sender_get_info(NULL, &info));
    CHECK_EQ(-EINVAL, weft_watch_sender_get_info(tx, NULL));
    CHECK_EQ(-EINVAL, weft_watch_receiver_get_info(NULL, &info));
    CHECK_EQ(-EINVAL, weft_watch_receiver_get_info(rx, NULL));
    weft_watch_receiver_close(rx);
    weft_watch_sender_close(tx);
}

/* --- where a call does not belong -------------------------------------------------------- */

static struct ends {
    weft_broadcast_sender *btx;
    weft_broadcast_receiver *brx;
    weft_watch_sender *wtx;
    weft_watch_receiver *wrx;
} ends;

static void ends_open(void)
{
    int value = 0;

    CHECK_EQ(0, weft_broadcast_new(&ends.btx, &ends.brx, sizeof(value), 4));
    CHECK_EQ(0, weft_watch_new(&ends.wtx, &ends.wrx, sizeof(value), &value));
    CHECK_EQ(1, weft_broadcast_send(ends.btx, &value));
    CHECK_EQ(0, weft_watch_send(ends.wtx, &value));
}

static void ends_close(void)
{
    weft_broadcast_receiver_close(ends.brx);
    weft_broadcast_sender_close(ends.btx);
    weft_watch_receiver_close(ends.wrx);
    weft_watch_sender_close(ends.wtx);
}

/* Also where they need not wait: there is a value, and a new version. */
static void refuse_awaits(void)
{
    int value = 7;

    CHECK_EQ(-EPERM, weft_broadcast_recv(ends.brx, &value));
    CHECK_EQ(-EPERM, weft_broadcast_closed(ends.btx));
    CHECK_EQ(-EPERM, weft_watch_changed(ends.wrx));
    CHECK_EQ(-EPERM, weft_watch_wait_for(ends.wrx, never, NULL, NULL));
    CHECK_EQ(-EPERM, weft_watch_closed(ends.wtx));
    CHECK_EQ(7, value);
    CHECK_EQ(1, weft_watch_has_changed(ends.wrx));
    CHECK_EQ(1, weft_broadcast_receiver_len(ends.brx));
}

static void refuse_blocking(void)
{
    int value = 7;

    CHECK_EQ(-EDEADLK, weft_broadcast_recv_blocking(ends.brx, &value));
    CHECK_EQ(-EDEADLK, weft_broadcast_closed_blocking(ends.btx));
    CHECK_EQ(-EDEADLK, weft_watch_changed_blocking(ends.wrx));
    CHECK_EQ(-EDEADLK, weft_watch_wait_for_blocking(ends.wrx, never, NULL, NULL));
    CHECK_EQ(-EDEADLK, weft_watch_closed_blocking(ends.wtx));
    CHECK_EQ(7, value);
    CHECK_EQ(1, weft_watch_has_changed(ends.wrx));
    CHECK_EQ(1, weft_broadcast_receiver_len(ends.brx));
}

TEST(a_plain_thread_gets_codes_not_crashes)
{
    hush();
    refuse_broadcast();
    refuse_watch();
    ends_open();
    refuse_awaits();
    ends_close();
}

END_TEST

static int in_fiber(void *arg)
{
    (void)arg;
    refuse_broadcast();
    refuse_watch();
    ends_open();
    refuse_blocking();
    ends_close();
    return 0;
}

TEST(a_fiber_gets_codes_not_crashes)
{
    hush();
    test_run(in_fiber, NULL);
}

END_TEST

static weft_poll stackless_poll(void *self, weft_context *cx)
{
    (void)cx;
    refuse_broadcast();
    refuse_watch();
    ends_open();
    refuse_awaits();
    refuse_blocking();
    ends_close();
    return weft_async_return(self, 0);
}

static const weft_async_type stackless_type = {.poll = stackless_poll,
                                               .size = sizeof(weft_async),
                                               .name = "misuse"};

static int stackless(void *arg)
{
    weft_async state = {0};

    (void)arg;
    return joined(weft_spawn_async(&stackless_type, &state));
}

TEST(a_stackless_task_gets_codes_not_crashes)
{
    hush();
    test_run(stackless, NULL);
}

END_TEST

/* --- closed while somebody waits ------------------------------------------------------------ */

static int receives(void *arg)
{
    int value;

    return weft_broadcast_recv(arg, &value);
}

static int watches(void *arg)
{
    return weft_watch_changed(arg);
}

static int watches_for(void *arg)
{
    return weft_watch_wait_for(arg, never, NULL, NULL);
}

static int waits_for_receivers(void *arg)
{
    return weft_broadcast_closed(arg);
}

static int waits_for_watchers(void *arg)
{
    return weft_watch_closed(arg);
}

static int closed_too_early(void *arg)
{
    weft_fn *const waits[] = {receives, watches, watches_for, waits_for_receivers,
                              waits_for_watchers};
    weft_broadcast_receiver *brx;
    weft_watch_receiver *wrx;
    weft_task *t[5];
    int value;

    (void)arg;
    ends_open();
    CHECK_EQ(0, weft_broadcast_resubscribe(ends.brx, &brx));
    CHECK_EQ(0, weft_watch_receiver_clone(ends.wrx, &wrx));
    CHECK_EQ(1, weft_watch_changed(ends.wrx));
    CHECK_EQ(1, weft_broadcast_try_recv(ends.brx, &value));
    for (int i = 0; i < 5; i++) {
        void *const handles[] = {ends.brx, ends.wrx, ends.wrx, ends.btx, ends.wtx};

        t[i] = weft_spawn(waits[i], handles[i]);
        until_idle(t[i]);
    }
    ends_close();
    for (int i = 0; i < 5; i++)
        CHECK_EQ(-ESHUTDOWN, joined(t[i]));
    CHECK_EQ(0, weft_broadcast_recv(brx, &value)); /* for the others it is an end like any */
    weft_broadcast_receiver_close(brx);
    CHECK_EQ(1, weft_watch_changed(wrx));
    CHECK_EQ(0, weft_watch_changed(wrx));
    weft_watch_receiver_close(wrx);
    return 0;
}

TEST(a_handle_closed_too_early_ends_the_waits)
{
    hush();
    test_run(closed_too_early, NULL);
}

END_TEST

/* Also one that had been called already, and is polled, or dropped, when the handle is gone. */
TEST(a_wait_may_end_after_its_handle)
{
    for (int drop = 0; drop < 2; drop++) {
        struct poller poller = {0};
        weft_future f[3];
        int value;

        hush();
        poller_init(&poller);
        ends_open();
        CHECK_EQ(1, weft_broadcast_try_recv(ends.brx, &value));
        weft_watch_mark_unchanged(ends.wrx);
        f[0] = weft_broadcast_recv_future(ends.brx, &value);
        f[1] = weft_watch_changed_future(ends.wrx);
        f[2] = weft_broadcast_closed_future(ends.btx);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(WEFT_PENDING, poller_poll(&poller, &f[i]));
        CHECK_EQ(1, weft_broadcast_send(ends.btx, &value));
        CHECK_EQ(0, weft_watch_send(ends.wtx, &value));
        CHECK_EQ(2, atomic_load(&poller.wakes));
        ends_close();
        CHECK_EQ(3, atomic_load(&poller.wakes));
        for (int i = 0; i < 3; i++) {
            if (drop)
                weft_future_drop(&f[i]);
            else
                CHECK_EQ(WEFT_READY, poller_poll(&poller, &f[i]));
        }
        /* What came before the end is there; the last receiver went before the last sender. */
        for (int i = 0; i < 2 && !drop; i++)
            CHECK_EQ(1, f[i].result);
        if (!drop)
            CHECK_EQ(0, f[2].result);
        CHECK_EQ(0, atomic_load(&poller.refs));
    }
}

END_TEST

TEST_MAIN("fanout_misuse", a_plain_thread_gets_codes_not_crashes, a_fiber_gets_codes_not_crashes,
          a_stackless_task_gets_codes_not_crashes, a_handle_closed_too_early_ends_the_waits,
          a_wait_may_end_after_its_handle)
