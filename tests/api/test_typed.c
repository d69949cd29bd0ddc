/* SPDX-License-Identifier: MIT */
/*
 * test_typed.c - channels whose values have a type: the wrappers do what the calls behind them do.
 *
 * That a value of another type is refused is the compiler's to say; compile/api.sh would not see it.
 */
#include "channel.h"

#include <pthread.h>

struct job {
    int number;
    double weight;
};

WEFT_CHANNEL(struct job, jobs)
WEFT_CHANNEL(struct job *, job_pointers)
WEFT_ONESHOT(double, sum)

static int take_all(void *arg)
{
    jobs_receiver rx = *(jobs_receiver *)arg;
    struct job j[4];
    int n = 0;
    ssize_t rc;

    CHECK_EQ(1, jobs_recv(rx, &j[0]));
    CHECK_EQ(n++, j[0].number);
    while ((rc = jobs_recv_many(rx, j, 4)) > 0)
        for (ssize_t i = 0; i < rc; i++)
            CHECK_EQ(n++, j[i].number);
    jobs_receiver_close(rx);
    return n;
}

static int queues(void *arg)
{
    struct job j = {0, 0.5}, *p = &j, *got = NULL;
    job_pointers_receiver from;
    job_pointers_sender to;
    jobs_receiver rx;
    weft_permit permit;
    jobs_sender tx;
    weft_future f;
    weft_task *t;

    (void)arg;
    CHECK_EQ(0, jobs_new(&tx, &rx, 2));
    t = weft_spawn(take_all, &rx);
    for (; j.number < 10; j.number++)
        CHECK_EQ(0, jobs_send(tx, &j));
    f = jobs_send_future(tx, &j);
    CHECK_EQ(0, weft_await(&f));
    j.number++;
    CHECK_EQ(0, weft_reserve(tx.raw, &permit));
    CHECK_EQ(0, jobs_permit_send(&permit, &j));
    weft_permit_release(&permit);
    jobs_sender_close(tx);
    CHECK_EQ(12, join(t));

    CHECK_EQ(0, job_pointers_unbounded(&to, &from));
    CHECK_EQ(-EAGAIN, job_pointers_try_recv(from, &got));
    CHECK_EQ(0, job_pointers_try_send(to, &p));
    f = job_pointers_recv_future(from, &got);
    CHECK_EQ(1, weft_await(&f));
    CHECK(got == &j);
    job_pointers_sender_close(to);
    job_pointers_receiver_close(from);
    return 0;
}

TEST(a_channel_may_have_a_type)
{
    test_run(queues, NULL);
}

struct summing {
    jobs_receiver rx;
    sum_sender tx;
};

static void *thread_sums(void *arg)
{
    const struct summing *c = arg;
    double all = 0;
    struct job j;

    while (jobs_recv_blocking(c->rx, &j) == 1)
        all += j.weight;
    jobs_receiver_close(c->rx);
    CHECK_EQ(0, sum_send(c->tx, &all));
    return NULL;
}

TEST(threads_may_use_one_too)
{
    struct summing c;
    sum_receiver rx;
    jobs_sender tx;
    pthread_t thread;
    weft_future f;
    double all = 0;

    CHECK_EQ(0, jobs_new(&tx, &c.rx, 1));
    CHECK_EQ(0, sum_new(&c.tx, &rx));
    CHECK_EQ(-EAGAIN, sum_try_recv(rx, &all));
    CHECK_EQ(0, pthread_create(&thread, NULL, thread_sums, &c));
    for (int i = 0; i < 4; i++)
        CHECK_EQ(0, jobs_send_blocking(tx, &(struct job){i, i * 0.25}));
    jobs_sender_close(tx);
    CHECK_EQ(1, sum_recv_blocking(rx, &all));
    CHECK(all == 1.5);
    f = sum_recv_future(rx, &all);
    CHECK_EQ(0, weft_await_blocking(&f)); /* once only */
    sum_receiver_close(rx);
    CHECK_EQ(0, pthread_join(thread, NULL));

    CHECK_EQ(0, sum_new(&c.tx, &rx));
    sum_sender_close(c.tx);
    CHECK_EQ(0, sum_try_recv(rx, &all));
    sum_receiver_close(rx);
}

END_TEST

static int await_sum(void *arg)
{
    sum_receiver rx;
    sum_sender tx;
    double v = 0;

    (void)arg;
    CHECK_EQ(0, sum_new(&tx, &rx));
    CHECK_EQ(0, sum_send(tx, &(double){2.5}));
    CHECK_EQ(1, sum_recv(rx, &v));
    CHECK(v == 2.5);
    sum_receiver_close(rx);
    return 0;
}

TEST(a_oneshot_may_have_a_type)
{
    test_run(await_sum, NULL);
}

TEST_MAIN("typed", a_channel_may_have_a_type, threads_may_use_one_too, a_oneshot_may_have_a_type)
