/* SPDX-License-Identifier: MIT */
/* channels.c - the README on channels: a task that owns a counter, and answers who asks it. */
#include <support.h>

struct add {
    int amount;
    weft_oneshot_sender *answer; /* gets the new total */
};

WEFT_CHANNEL(struct add, adds)

/* It alone has the total, so nothing has to be locked. */
static int counter(void *arg)
{
    adds_receiver rx = *(adds_receiver *)arg;
    struct add a;
    int total = 0;

    while (adds_recv(rx, &a) == 1) { /* 0: no sender is left */
        total += a.amount;
        weft_oneshot_send(a.answer, &total);
    }
    adds_receiver_close(rx);
    return total;
}

static int add(adds_sender tx, int amount, int *total)
{
    weft_oneshot_receiver *answer;
    struct add a = {.amount = amount};
    int rc = weft_oneshot_new(&a.answer, &answer, sizeof(*total));

    if (rc < 0)
        return rc;
    rc = adds_send(tx, &a); /* waits while 16 others are queued */
    if (rc < 0)
        weft_oneshot_sender_close(a.answer); /* it was not sent, and is still ours */
    else
        rc = weft_oneshot_recv(answer, total); /* 1; 0 if the counter has gone */
    weft_oneshot_receiver_close(answer);
    return rc;
}

static int app(void *arg)
{
    adds_receiver rx;
    adds_sender tx;
    weft_task *t;
    int total = 0;

    (void)arg;
    CHECK_EQ(0, adds_new(&tx, &rx, 16));
    t = weft_spawn_copy(counter, &rx, sizeof(rx));
    CHECK_EQ(1, add(tx, 40, &total));
    CHECK_EQ(40, total);
    CHECK_EQ(1, add(tx, 2, &total));
    CHECK_EQ(42, total);
    adds_sender_close(tx);
    CHECK_EQ(0, weft_join(t, &total));
    CHECK_EQ(42, total);
    return 0;
}

TEST(a_task_that_owns_a_counter_is_asked)
{
    test_run(app, NULL);
}

TEST_MAIN("channels", a_task_that_owns_a_counter_is_asked)
