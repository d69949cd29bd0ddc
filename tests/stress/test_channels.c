/* SPDX-License-Identifier: MIT */
/*
 * test_channels.c - many senders in tasks and in plain threads, receivers that close in the middle, requests with
 * answers, waits that are given up: every value has one owner at each moment, and one end.
 *
 * A value is a block of memory that says who made it. It is freed by who receives it, by the channel's destroy
 * function, or by its sender when it was refused; so a value that is lost is a leak, and one that comes twice is freed
 * twice. A round that stands still is shown by the watchdog of the tests.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_long owned; /* values that exist */

struct value {
    uint64_t sender, number;
};

static struct value *value_new(uint64_t sender, uint64_t number)
{
    struct value *v = malloc(sizeof(*v));

    CHECK(v != NULL);
    *v = (struct value){sender, number};
    atomic_fetch_add(&owned, 1);
    return v;
}

static void value_free(struct value *v)
{
    free(v);
    atomic_fetch_sub(&owned, 1);
}

static void destroy(void *slot)
{
    value_free(*(struct value **)slot);
}

static const weft_channel_options owning = {.destroy = destroy};

/* --- a queue ------------------------------------------------------------------------------ */

#define SENDERS 12 /* tasks */
#define THREADS 3

struct queue {
    weft_sender *tx;
    weft_receiver *rx;
    uint64_t each;       /* values of a sender */
    uint64_t stop_after; /* the receiver closes then */
    bool shutdown;       /* first it shuts down, and drains */
    uint64_t seed;
    atomic_ullong sent, received;
};

struct sender {
    struct queue *q;
    weft_sender *tx; /* its own */
    uint64_t number, rand;
};

/* Rolls below n. */
static uint64_t roll(uint64_t *rand, uint64_t n)
{
    return (test_rand(rand) >> 11) % n;
}

/* By a future that is given up now and then. 0, -EPIPE, -ECANCELED. */
static int send_or_give_up(struct sender *s, struct value **v)
{
    weft_future send = weft_send_future(s->tx, v), yield = weft_yield_future();
    ssize_t first = weft_select(&send, &yield);

    CHECK(first == 0 || first == 1);
    return (int)send.result;
}

/* A few at once, of which some room may go back. */
static int send_reserved(struct sender *s, uint64_t *number)
{
    size_t n = 1 + roll(&s->rand, 3);
    weft_permit p;
    int rc = roll(&s->rand, 4) == 0 ? weft_try_reserve_many(s->tx, n, &p)
                                    : weft_reserve_many(s->tx, n, &p);

    if (rc < 0)
        return rc;
    for (n = roll(&s->rand, n + 1); n; n--) {
        struct value *v = value_new(s->number, (*number)++);

        CHECK_EQ(0, weft_permit_send(&p, &v));
        atomic_fetch_add(&s->q->sent, 1);
    }
    weft_permit_release(&p);
    return 0;
}

static int send_some_way(struct sender *s, uint64_t *number)
{
    struct value *v;
    int rc;

    if (roll(&s->rand, 4) == 0)
        return send_reserved(s, number);
    v = value_new(s->number, *number);
    switch (roll(&s->rand, 4)) {
    case 0:
        rc = weft_try_send(s->tx, &v);
        break;
    case 1:
        rc = send_or_give_up(s, &v);
        break;
    default:
        rc = weft_send(s->tx, &v);
        break;
    }
    if (rc == 0) {
        ++*number;
        atomic_fetch_add(&s->q->sent, 1);
    } else {
        value_free(v);
    }
    return rc;
}

static int sender_task(void *arg)
{
    struct sender *s = arg;
    uint64_t number = 0;
    int rc = 0;

    while (number < s->q->each && rc != -EPIPE) {
        rc = send_some_way(s, &number);
        CHECK(rc == 0 || rc == -EPIPE || rc == -EAGAIN || rc == -ECANCELED);
        if (rc == -EAGAIN || roll(&s->rand, 20) == 0)
            CHECK_EQ(0, weft_yield());
        if (roll(&s->rand, 50) == 0) {
            weft_weak_sender *weak = weft_sender_downgrade(s->tx);

            weft_sender_close(s->tx);
            s->tx = weft_weak_sender_upgrade(weak); /* the queue holds one, too */
            CHECK(s->tx != NULL);
            weft_weak_sender_close(weak);
        }
    }
    weft_sender_close(s->tx);
    return 0;
}

static void *sender_thread(void *arg)
{
    struct sender *s = arg;
    int rc = 0;

    for (uint64_t number = 0; number < s->q->each && rc == 0; number++) {
        struct value *v = value_new(s->number, number);

        rc = weft_send_blocking(s->tx, &v);
        CHECK(rc == 0 || rc == -EPIPE);
        if (rc == 0)
            atomic_fetch_add(&s->q->sent, 1);
        else
            value_free(v);
    }
    weft_sender_close(s->tx);
    return NULL;
}

static void receive(struct queue *q, struct value *v, uint64_t *next)
{
    CHECK(v->sender < SENDERS + THREADS);
    CHECK(v->number >= next[v->sender]); /* those of one sender in order */
    next[v->sender] = v->number + 1;
    value_free(v);
    atomic_fetch_add(&q->received, 1);
}

/* One or many, awaited or not, or given up. 0: the channel has ended. */
static ssize_t receive_some_way(struct queue *q, uint64_t *next, uint64_t *rand)
{
    struct value *v[8];
    ssize_t n;

    if (roll(rand, 5) == 0) {
        weft_future recv = weft_recv_future(q->rx, v), yield = weft_yield_future();

        CHECK(weft_select(&recv, &yield) >= 0);
        n = recv.result == -ECANCELED ? -EAGAIN : recv.result;
    } else if (roll(rand, 3) == 0) {
        n = weft_try_recv_many(q->rx, v, 1 + roll(rand, 8));
    } else {
        n = roll(rand, 2) ? weft_recv_many(q->rx, v, 1 + roll(rand, 8)) : weft_recv(q->rx, v);
    }
    CHECK(n >= 0 || n == -EAGAIN);
    for (ssize_t i = 0; i < n; i++)
        receive(q, v[i], next);
    if (n == -EAGAIN)
        CHECK_EQ(0, weft_yield());
    return n;
}

static int receiver_task(void *arg)
{
    uint64_t next[SENDERS + THREADS] = {0};
    struct queue *q = arg;
    uint64_t rand = q->seed;

    while (atomic_load(&q->received) < q->stop_after && receive_some_way(q, next, &rand) != 0)
        continue;
    if (q->shutdown) {
        weft_receiver_shutdown(q->rx);
        while (receive_some_way(q, next, &rand) != 0)
            continue;
    }
    weft_receiver_close(q->rx);
    return 0;
}

static void queue_round(uint64_t *rand)
{
    struct queue q = {.each = 200 + roll(rand, 300), .seed = test_rand(rand)};
    struct sender s[SENDERS + THREADS];
    weft_task *t[SENDERS + 1];
    pthread_t threads[THREADS];
    uint64_t capacity = roll(rand, 3) ? 3 + roll(rand, 30) : 0;

    if (capacity)
        CHECK_EQ(0, weft_mpsc_new_with(&q.tx, &q.rx, sizeof(void *), capacity, &owning));
    else
        CHECK_EQ(0, weft_mpsc_unbounded_with(&q.tx, &q.rx, sizeof(void *), &owning));
    /* Mostly in the middle; sometimes never. */
    q.stop_after = roll(rand, 3) ? roll(rand, q.each * (SENDERS + THREADS)) : UINT64_MAX;
    q.shutdown = roll(rand, 2);
    for (uint64_t i = 0; i < SENDERS + THREADS; i++)
        s[i] = (struct sender){&q, weft_sender_clone(q.tx), i, test_rand(rand)};
    t[SENDERS] = weft_spawn(receiver_task, &q);
    for (int i = 0; i < SENDERS; i++)
        t[i] = weft_spawn(sender_task, &s[i]);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(0, pthread_create(&threads[i], NULL, sender_thread, &s[SENDERS + i]));
    for (int i = 0; i < SENDERS; i++)
        CHECK_EQ(0, weft_join(t[i], NULL));
    weft_sender_close(q.tx);
    CHECK_EQ(0, weft_join(t[SENDERS], NULL));
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(0, pthread_join(threads[i], NULL));
    if (q.stop_after == UINT64_MAX)
        CHECK_EQ(atomic_load(&q.sent), atomic_load(&q.received));
    CHECK_EQ(0, atomic_load(&owned));
}

static int queue_root(void *arg)
{
    uint64_t rand = *(uint64_t *)arg;
    weft_instant end = weft_now() + test_stress_time(WEFT_MS(2800)) / test_flavour_count;

    do
        queue_round(&rand);
    while (weft_now() < end);
    return 0;
}

TEST(values_of_a_queue_have_one_end_each)
{
    uint64_t seed = test_seed();

    test_run(queue_root, &seed);
}

/* --- requests and answers ------------------------------------------------------------------- */

#define CLIENTS 10

struct request {
    weft_oneshot_sender *answer;
    uint64_t x;
};

static void drop_request(void *slot)
{
    weft_oneshot_sender_close(((struct request *)slot)->answer);
}

/* Answers, refuses, or finds that nobody waits any more. */
static int server(void *arg)
{
    weft_receiver *rx = arg;
    struct request r;
    int n = 0;

    while (weft_recv(rx, &r) == 1) {
        struct value *v;

        if (++n % 7 == 0) {
            weft_oneshot_sender_close(r.answer);
            continue;
        }
        if (n % 5 == 0 && weft_oneshot_sender_is_closed(r.answer)) {
            CHECK_EQ(0, weft_oneshot_sender_closed(r.answer));
            weft_oneshot_sender_close(r.answer);
            continue;
        }
        if (n % 11 == 0) {
            weft_future closed = weft_oneshot_sender_closed_future(r.answer);
            weft_future yield = weft_yield_future();

            CHECK(weft_select(&closed, &yield) >= 0);
        }
        v = value_new(0, r.x * 2);
        if (weft_oneshot_send(r.answer, &v) < 0)
            value_free(v);
    }
    weft_receiver_close(rx);
    return 0;
}

struct client {
    weft_sender *tx;
    uint64_t rand, requests;
};

static bool ask(struct client *c, weft_oneshot_receiver **rx, uint64_t x)
{
    struct request r = {.x = x};

    CHECK_EQ(0, weft_oneshot_new_with(&r.answer, rx, sizeof(void *), &owning));
    if (weft_send(c->tx, &r) == 0)
        return true;
    weft_oneshot_sender_close(r.answer);
    return false;
}

/* v is looked at when rc is known. */
static void take_answer(int rc, struct value *const *v, uint64_t x)
{
    CHECK(rc == 0 || rc == 1);
    if (rc == 1) {
        CHECK_EQ(x * 2, (*v)->number);
        value_free(*v);
    }
}

static int client_task(void *arg)
{
    struct client *c = arg;

    for (uint64_t i = 0; i < c->requests; i++) {
        weft_oneshot_receiver *rx;
        struct value *v = NULL;
        bool asked = ask(c, &rx, i);

        if (asked && roll(&c->rand, 4) == 0) {
            weft_future f = weft_oneshot_recv_future(rx, &v), yield = weft_yield_future();

            /* It loses patience; the answer may come all the same. */
            if (weft_select(&f, &yield) == 0)
                take_answer((int)f.result, &v, i);
        } else if (asked && roll(&c->rand, 3) != 0) {
            take_answer(weft_oneshot_recv(rx, &v), &v, i);
        } else if (roll(&c->rand, 2)) {
            weft_oneshot_receiver_shutdown(rx);
            take_answer(weft_oneshot_recv(rx, &v), &v, i);
        }
        weft_oneshot_receiver_close(rx);
    }
    weft_sender_close(c->tx);
    return 0;
}

static void *client_thread(void *arg)
{
    struct client *c = arg;

    for (uint64_t i = 0; i < c->requests; i++) {
        weft_oneshot_receiver *rx;
        struct request r = {.x = i};
        struct value *v = NULL;

        CHECK_EQ(0, weft_oneshot_new_with(&r.answer, &rx, sizeof(void *), &owning));
        CHECK_EQ(0, weft_send_blocking(c->tx, &r));
        take_answer(weft_oneshot_recv_blocking(rx, &v), &v, i);
        weft_oneshot_receiver_close(rx);
    }
    weft_sender_close(c->tx);
    return NULL;
}

static void answer_round(uint64_t *rand)
{
    static const weft_channel_options dropping = {.destroy = drop_request};
    struct client c[CLIENTS + 1];
    weft_task *t[CLIENTS + 1];
    pthread_t thread;
    weft_receiver *rx;
    weft_sender *tx;

    CHECK_EQ(0, weft_mpsc_new_with(&tx, &rx, sizeof(struct request), 1 + roll(rand, 8), &dropping));
    for (int i = 0; i <= CLIENTS; i++)
        c[i] = (struct client){weft_sender_clone(tx), test_rand(rand), 100 + roll(rand, 200)};
    weft_sender_close(tx);
    t[CLIENTS] = weft_spawn(server, rx);
    for (int i = 0; i < CLIENTS; i++)
        t[i] = weft_spawn(client_task, &c[i]);
    CHECK_EQ(0, pthread_create(&thread, NULL, client_thread, &c[CLIENTS]));
    for (int i = 0; i <= CLIENTS; i++)
        CHECK_EQ(0, weft_join(t[i], NULL));
    CHECK_EQ(0, pthread_join(thread, NULL));
    CHECK_EQ(0, atomic_load(&owned));
}

static int answer_root(void *arg)
{
    uint64_t rand = *(uint64_t *)arg;
    weft_instant end = weft_now() + test_stress_time(WEFT_MS(2800)) / test_flavour_count;

    do
        answer_round(&rand);
    while (weft_now() < end);
    return 0;
}

TEST(requests_are_answered_once_or_not_at_all)
{
    uint64_t seed = test_seed();

    test_run(answer_root, &seed);
}

TEST_MAIN("stress.channels", values_of_a_queue_have_one_end_each,
          requests_are_answered_once_or_not_at_all)
