/* SPDX-License-Identifier: MIT */
/*
 * test_watch_wait.c - waiting on a watch channel: for another version, for a value of which something holds, and until
 * no receiver is left; being woken, giving up, closing meanwhile.
 */
#include "waiting.h"

#include <pthread.h>

static void make(weft_watch_sender **tx, weft_watch_receiver **rx, int value)
{
    CHECK_EQ(0, weft_watch_new(tx, rx, sizeof(value), &value));
}

static int latest(const weft_watch_receiver *rx)
{
    int got = -1;

    CHECK_EQ(0, weft_watch_get(rx, &got));
    return got;
}

static void finish(weft_watch_sender *tx, weft_watch_receiver *rx)
{
    weft_watch_receiver_close(rx);
    weft_watch_sender_close(tx);
}

/* --- for another version -------------------------------------------------------------- */

static int waits_changed(void *arg)
{
    return weft_watch_changed(arg);
}

static int changed(void *arg)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    weft_task *t;

    (void)arg;
    make(&tx, &rx, 0);
    CHECK_EQ(0, weft_watch_send(tx, &(int){1}));
    CHECK_EQ(1, weft_watch_changed(rx)); /* at once */
    t = weft_spawn(waits_changed, rx);
    until_idle(t);
    CHECK_EQ(0, weft_watch_send(tx, &(int){2}));
    CHECK_EQ(1, joined(t));
    CHECK_EQ(2, latest(rx));
    t = weft_spawn(waits_changed, rx);
    until_idle(t);
    weft_watch_sender_close(tx);
    CHECK_EQ(0, joined(t));
    weft_watch_receiver_close(rx);
    return 0;
}

TEST(a_new_version_or_the_end_wakes_who_waits)
{
    test_run(changed, NULL);
}

END_TEST

/* Each change made by a watcher is seen by the next: a round of them. */
#define ROUND  8
#define ROUNDS 200

struct stage {
    weft_watch_receiver *rx;
    weft_watch_sender *tx;
};

static int passes_on(void *arg)
{
    struct stage *s = arg;
    int got = 0;

    while (got < ROUNDS) {
        CHECK_EQ(1, weft_watch_changed(s->rx));
        CHECK_EQ(0, weft_watch_get_and_update(s->rx, &got));
        CHECK_EQ(0, weft_watch_send(s->tx, &got));
    }
    return 0;
}

static int relay(void *arg)
{
    weft_watch_sender *tx[ROUND + 1];
    weft_watch_receiver *rx[ROUND + 1];
    struct stage s[ROUND];
    weft_task *t[ROUND];
    int got;

    (void)arg;
    for (int i = 0; i <= ROUND; i++)
        make(&tx[i], &rx[i], 0);
    for (int i = 0; i < ROUND; i++) {
        s[i] = (struct stage){rx[i], tx[i + 1]};
        t[i] = weft_spawn(passes_on, &s[i]);
    }
    for (int n = 1; n <= ROUNDS; n++) {
        CHECK_EQ(0, weft_watch_send(tx[0], &n));
        CHECK_EQ(1, weft_watch_changed(rx[ROUND]));
        CHECK_EQ(0, weft_watch_get_and_update(rx[ROUND], &got));
        CHECK_EQ(n, got);
    }
    for (int i = 0; i < ROUND; i++)
        CHECK_EQ(0, joined(t[i]));
    for (int i = 0; i <= ROUND; i++)
        finish(tx[i], rx[i]);
    return 0;
}

TEST(a_value_goes_through_many_watchers)
{
    test_run(relay, NULL);
}

END_TEST

static int shares(void *arg)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    weft_task *t[2];

    (void)arg;
    make(&tx, &rx, 0);
    for (int i = 0; i < 2; i++) {
        t[i] = weft_spawn(waits_changed, rx);
        until_idle(t[i]);
    }
    /* One mark for both: either may be the one that sees it, and the other sees the end. */
    CHECK_EQ(0, weft_watch_send(tx, &(int){1}));
    while (!weft_is_finished(t[0]) && !weft_is_finished(t[1]))
        CHECK_EQ(0, weft_yield());
    weft_watch_sender_close(tx);
    CHECK(joined(t[0]) + joined(t[1]) >= 1);
    weft_watch_receiver_close(rx);
    return 0;
}

TEST(two_may_wait_with_one_receiver)
{
    test_run(shares, NULL);
}

END_TEST

/* More than are woken in one go; each of them waits again the moment it is woken. */
#define CROWD 100

static struct watcher {
    struct poller poller; /* first */
    weft_watch_receiver *rx;
    weft_future f;
    int seen;
} crowd[CROWD];

static void watcher_on_wake(struct poller *p)
{
    struct watcher *w = (struct watcher *)p;

    CHECK_EQ(WEFT_READY, poller_poll(&w->poller, &w->f));
    CHECK_EQ(1, w->f.result);
    w->seen++;
    w->f = weft_watch_changed_future(w->rx);
    CHECK_EQ(WEFT_PENDING, poller_poll(&w->poller, &w->f));
}

TEST(a_send_wakes_each_who_waits_once)
{
    weft_watch_sender *tx;

    make(&tx, NULL, 0);
    for (int i = 0; i < CROWD; i++) {
        poller_init(&crowd[i].poller);
        crowd[i].poller.on_wake = watcher_on_wake;
        CHECK_EQ(0, weft_watch_subscribe(tx, &crowd[i].rx));
        crowd[i].f = weft_watch_changed_future(crowd[i].rx);
        CHECK_EQ(WEFT_PENDING, poller_poll(&crowd[i].poller, &crowd[i].f));
    }
    for (int n = 1; n <= 10; n++) {
        CHECK_EQ(0, weft_watch_send(tx, &n));
        for (int i = 0; i < CROWD; i++)
            CHECK(atomic_load(&crowd[i].poller.wakes) == n && crowd[i].seen == n);
    }
    for (int i = 0; i < CROWD; i++) {
        weft_future_drop(&crowd[i].f);
        CHECK_EQ(0, atomic_load(&crowd[i].poller.refs));
        weft_watch_receiver_close(crowd[i].rx);
    }
    weft_watch_sender_close(tx);
}

END_TEST

TEST(who_polls_last_is_woken)
{
    struct poller first = {0}, second = {0};
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    weft_future f;

    poller_init(&first);
    poller_init(&second);
    make(&tx, &rx, 0);
    f = weft_watch_changed_future(rx);
    CHECK_EQ(WEFT_PENDING, poller_poll(&first, &f));
    CHECK_EQ(WEFT_PENDING, poller_poll(&second, &f));
    CHECK_EQ(0, atomic_load(&first.refs));
    CHECK_EQ(0, weft_watch_send(tx, &(int){1}));
    CHECK(atomic_load(&first.wakes) == 0 && atomic_load(&second.wakes) == 1 &&
          atomic_load(&second.refs) == 0);
    /* Somebody else has marked it: this one goes on waiting, and is woken by the next. */
    weft_watch_mark_unchanged(rx);
    CHECK_EQ(WEFT_PENDING, poller_poll(&first, &f));
    CHECK_EQ(0, weft_watch_send(tx, &(int){2}));
    CHECK_EQ(1, atomic_load(&first.wakes));
    CHECK_EQ(WEFT_READY, poller_poll(&first, &f));
    CHECK(f.result == 1 && atomic_load(&first.refs) == 0);
    finish(tx, rx);
}

END_TEST

/* --- for a value of which something holds ------------------------------------------------ */

struct threshold {
    int at_least;
    atomic_int asked;
};

static bool reached(const void *value, void *arg)
{
    struct threshold *t = arg;

    atomic_fetch_add(&t->asked, 1);
    return *(const int *)value >= t->at_least;
}

struct waiting_for {
    weft_watch_receiver *rx;
    struct threshold threshold;
    int got;
};

static int waits_for(void *arg)
{
    struct waiting_for *w = arg;

    return weft_watch_wait_for(w->rx, reached, &w->threshold, &w->got);
}

static int conditions(void *arg)
{
    struct waiting_for w = {.threshold.at_least = 0};
    weft_watch_sender *tx;
    weft_task *t;

    (void)arg;
    make(&tx, &w.rx, 0);
    CHECK_EQ(1, waits_for(&w)); /* also of what was seen */
    CHECK_EQ(1, atomic_load(&w.threshold.asked));
    w = (struct waiting_for){.rx = w.rx, .threshold.at_least = 3, .got = -1};
    t = weft_spawn(waits_for, &w);
    for (int i = 1; i <= 3; i++) {
        until_idle(t);
        CHECK_EQ(i, atomic_load(&w.threshold.asked)); /* once of each */
        CHECK_EQ(0, weft_watch_has_changed(w.rx));
        CHECK_EQ(0, weft_watch_send(tx, &i));
    }
    CHECK_EQ(1, joined(t));
    CHECK_EQ(3, w.got);
    CHECK_EQ(0, weft_watch_has_changed(w.rx));
    CHECK_EQ(1, weft_watch_wait_for(w.rx, reached, &w.threshold, NULL));
    w = (struct waiting_for){.rx = w.rx, .threshold.at_least = 100, .got = -1};
    t = weft_spawn(waits_for, &w);
    until_idle(t);
    weft_watch_sender_close(tx);
    CHECK_EQ(0, joined(t));
    CHECK_EQ(-1, w.got);
    /* Of a closed channel: what there is, and no more. */
    CHECK_EQ(0, waits_for(&w));
    w.threshold.at_least = 3;
    CHECK_EQ(1, waits_for(&w));
    weft_watch_receiver_close(w.rx);
    return 0;
}

TEST(a_condition_is_asked_of_each_value_that_is_seen)
{
    test_run(conditions, NULL);
}

END_TEST

static int two_conditions(void *arg)
{
    struct waiting_for w[2] = {{.threshold.at_least = 1}, {.threshold.at_least = 2}};
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    weft_task *t[2];

    (void)arg;
    make(&tx, &rx, 0);
    for (int i = 0; i < 2; i++) {
        w[i].rx = rx;
        t[i] = weft_spawn(waits_for, &w[i]);
        until_idle(t[i]);
    }
    CHECK_EQ(0, weft_watch_send(tx, &(int){2}));
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(1, joined(t[i])); /* neither misses what the other has marked */
        CHECK_EQ(2, w[i].got);
    }
    finish(tx, rx);
    return 0;
}

TEST(two_conditions_may_wait_with_one_receiver)
{
    test_run(two_conditions, NULL);
}

END_TEST

/* One that never holds, of a value that changes all the time, lets others run. */
static struct {
    weft_watch_sender *tx;
} restless;

static bool never_but_makes_it_change(const void *value, void *arg)
{
    int n = *(const int *)value;

    CHECK_EQ(0, weft_watch_send(restless.tx, &(int){n + 1}));
    return atomic_load((atomic_bool *)arg);
}

static int sets(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
    return 0;
}

static int restless_condition(void *arg)
{
    atomic_bool enough = false;
    weft_watch_receiver *rx;
    weft_task *t;

    (void)arg;
    make(&restless.tx, &rx, 0);
    t = weft_spawn(sets, &enough);
    CHECK_EQ(1, weft_watch_wait_for(rx, never_but_makes_it_change, &enough, NULL));
    CHECK_EQ(0, joined(t));
    finish(restless.tx, rx);
    return 0;
}

TEST(asking_again_and_again_gives_way_to_others)
{
    test_run(restless_condition, NULL);
}

END_TEST

/* --- giving up ------------------------------------------------------------------------ */

static weft_future changed_future(void *rx)
{
    return weft_watch_changed_future(rx);
}

static struct threshold unreached = {.at_least = 1000};

static int wait_unreached(void *rx)
{
    return weft_watch_wait_for(rx, reached, &unreached, NULL);
}

static weft_future wait_unreached_future(void *rx)
{
    static const weft_watch_condition condition = {.holds = reached, .arg = &unreached};

    return weft_watch_wait_for_future(rx, &condition);
}

static int wait_closed(void *tx)
{
    return weft_watch_closed(tx);
}

static weft_future wait_closed_future(void *tx)
{
    return weft_watch_closed_future(tx);
}

static int gives_up(void *arg)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx;

    (void)arg;
    make(&tx, &rx, 0);
    give_up(&(struct giveup){waits_changed, changed_future, rx});
    give_up(&(struct giveup){wait_closed, wait_closed_future, tx});
    CHECK_EQ(0, weft_watch_send(tx, &(int){1}));
    CHECK_EQ(1, weft_watch_changed(rx)); /* what nobody was told of is still new */
    give_up(&(struct giveup){wait_unreached, wait_unreached_future, rx});
    CHECK_EQ(0, weft_watch_send(tx, &(int){2}));
    CHECK_EQ(1, weft_watch_changed(rx));
    CHECK_EQ(2, latest(rx));
    finish(tx, rx);
    return 0;
}

TEST(every_wait_may_be_given_up)
{
    test_run(gives_up, NULL);
}

END_TEST

TEST(a_version_is_not_seen_by_who_was_called_and_gave_up)
{
    struct poller poller = {0};
    weft_watch_sender *tx;
    weft_watch_receiver *rx;
    weft_future f;

    poller_init(&poller);
    make(&tx, &rx, 0);
    f = weft_watch_changed_future(rx);
    CHECK_EQ(WEFT_PENDING, poller_poll(&poller, &f));
    CHECK_EQ(0, weft_watch_send(tx, &(int){1}));
    weft_future_drop(&f);
    CHECK(atomic_load(&poller.wakes) == 1 && atomic_load(&poller.refs) == 0);
    CHECK_EQ(1, weft_watch_has_changed(rx));
    finish(tx, rx);
}

END_TEST

/* --- plain threads -------------------------------------------------------------------- */

static void *thread_watches(void *arg)
{
    struct threshold threshold = {.at_least = 1000};
    int before = 0, got;

    while (before < 500) {
        CHECK_EQ(1, weft_watch_changed_blocking(arg));
        CHECK_EQ(0, weft_watch_get(arg, &got));
        CHECK(got > before); /* never an older one, and each change is another value */
        CHECK_EQ(0, weft_watch_get_and_update(arg, &before));
        CHECK(before >= got);
    }
    CHECK_EQ(1, weft_watch_wait_for_blocking(arg, reached, &threshold, &got));
    CHECK_EQ(1000, got);
    CHECK_EQ(0, weft_watch_changed_blocking(arg));
    threshold.at_least = 1001;
    CHECK_EQ(0, weft_watch_wait_for_blocking(arg, reached, &threshold, &got));
    weft_watch_receiver_close(arg);
    return NULL;
}

static int sends_all(void *arg)
{
    for (int i = 1; i <= 1000; i++) {
        CHECK_EQ(0, weft_watch_send(arg, &i));
        CHECK_EQ(0, weft_yield());
    }
    return 0;
}

TEST(plain_threads_watch_what_tasks_send)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_watch_sender *tx;
        weft_watch_receiver *rx[2];
        pthread_t thread[2];

        make(&tx, &rx[0], 0);
        CHECK_EQ(0, weft_watch_subscribe(tx, &rx[1]));
        for (int k = 0; k < 2; k++)
            CHECK_EQ(0, pthread_create(&thread[k], NULL, thread_watches, rx[k]));
        test_run_on(&test_flavours[i], sends_all, tx);
        weft_watch_sender_close(tx);
        for (int k = 0; k < 2; k++)
            CHECK_EQ(0, pthread_join(thread[k], NULL));
    }
}

END_TEST

/* --- until no receiver is left ----------------------------------------------------------- */

static int last_receiver(void *arg)
{
    weft_watch_sender *tx;
    weft_watch_receiver *rx, *more;
    weft_task *t;

    (void)arg;
    make(&tx, NULL, 1);
    CHECK_EQ(0, weft_watch_closed(tx));
    CHECK_EQ(0, weft_watch_subscribe(tx, &rx));
    CHECK_EQ(0, weft_watch_receiver_clone(rx, &more));
    t = weft_spawn(wait_closed, tx);
    until_idle(t);
    weft_watch_receiver_close(rx);
    until_idle(t);
    CHECK(!weft_is_finished(t));
    weft_watch_receiver_close(more);
    CHECK_EQ(0, weft_watch_subscribe(tx, &rx));
    CHECK_EQ(0, joined(t));
    weft_watch_receiver_close(rx);
    weft_watch_sender_close(tx);
    return 0;
}

TEST(a_sender_learns_that_the_last_receiver_is_gone)
{
    test_run(last_receiver, NULL);
}

END_TEST

static void *closes(void *arg)
{
    weft_watch_receiver_close(arg);
    return NULL;
}

TEST(a_plain_thread_waits_for_the_last_receiver)
{
    for (uint64_t i = test_scaled(300); i; i--) {
        weft_watch_sender *tx;
        weft_watch_receiver *rx;
        pthread_t thread;

        make(&tx, &rx, 1);
        CHECK_EQ(0, pthread_create(&thread, NULL, closes, rx));
        CHECK_EQ(0, weft_watch_closed_blocking(tx));
        weft_watch_sender_close(tx);
        CHECK_EQ(0, pthread_join(thread, NULL));
    }
}

END_TEST

/* --- panics ------------------------------------------------------------------------------ */

static atomic_int values_destroyed;

static void destroy_value(void *value)
{
    (void)value;
    atomic_fetch_add(&values_destroyed, 1);
}

static int copy_value(void *to, const void *from)
{
    *(int *)to = *(const int *)from;
    return 0;
}

static void sees_and_panics(const void *value, void *arg)
{
    (void)value;
    (void)arg;
    weft_panic("with a value");
}

static bool panics_at_two(const void *value, void *arg)
{
    (void)arg;
    if (*(const int *)value == 2)
        weft_panic("when asked");
    return false;
}

static int panics_with(void *arg)
{
    return weft_watch_with(arg, sees_and_panics, NULL);
}

static int panics_when_asked(void *arg)
{
    return weft_watch_wait_for(arg, panics_at_two, NULL, NULL);
}

static int panicked(void *arg)
{
    static const weft_channel_options options = {.destroy = destroy_value, .copy = copy_value};
    weft_watch_receiver *rx;
    weft_watch_sender *tx;
    int result = 0;
    weft_task *t;

    (void)arg;
    atomic_store(&values_destroyed, 0);
    CHECK_EQ(0, weft_watch_new_with(&tx, &rx, sizeof(int), &(int){1}, &options));
    CHECK_EQ(0, weft_join(weft_spawn(panics_with, rx), &result));
    CHECK_EQ(-EOWNERDEAD, result);
    t = weft_spawn(panics_when_asked, rx);
    until_idle(t);
    CHECK_EQ(0, weft_watch_send(tx, &(int){2}));
    CHECK_EQ(0, weft_join(t, &result));
    CHECK_EQ(-EOWNERDEAD, result);
    CHECK_EQ(1, atomic_load(&values_destroyed));
    finish(tx, rx);
    CHECK_EQ(2, atomic_load(&values_destroyed)); /* nobody has one, or waits, any more */
    return 0;
}

TEST(a_panic_gives_a_value_back)
{
    test_run(panicked, NULL);
}

END_TEST

TEST_MAIN("watch_wait", a_new_version_or_the_end_wakes_who_waits,
          a_value_goes_through_many_watchers, two_may_wait_with_one_receiver,
          a_send_wakes_each_who_waits_once, who_polls_last_is_woken,
          a_condition_is_asked_of_each_value_that_is_seen,
          two_conditions_may_wait_with_one_receiver, asking_again_and_again_gives_way_to_others,
          every_wait_may_be_given_up, a_version_is_not_seen_by_who_was_called_and_gave_up,
          plain_threads_watch_what_tasks_send, a_sender_learns_that_the_last_receiver_is_gone,
          a_plain_thread_waits_for_the_last_receiver, a_panic_gives_a_value_back)
