/* SPDX-License-Identifier: MIT */
/*
 * test_stall_channels.c - tasks that exchange values go on beside one that is stuck, and get what it sent or unlocked
 * just before: channels, mutexes and semaphores, as test_stall.c has it for timers, sockets and tasks.
 */
#include "stage.h"

#include <errno.h>

/* --- tasks that were at it before ----------------------------------------------------------- */

#define ASKERS 3

struct question {
    unsigned number;
    weft_oneshot_sender *reply;
};

struct exchange {
    weft_sender *tx;
    weft_receiver *rx;
    weft_mutex mutex;
    unsigned counted; /* under the mutex */
    atomic_uint rounds;
    atomic_bool over;

    struct asker {
        struct exchange *exchange;
        weft_sender *tx; /* its own */
    } askers[ASKERS];
};

static void count_under_mutex(struct exchange *x)
{
    CHECK_EQ(0, weft_mutex_lock(&x->mutex));
    x->counted++;
    CHECK_EQ(0, weft_mutex_unlock(&x->mutex));
}

/* A question by a queue, its answer by a oneshot, and what both have counted under a mutex. */
static int asks(void *arg)
{
    struct asker *a = arg;
    struct exchange *x = a->exchange;

    for (struct question q = {0}; !atomic_load(&x->over); q.number++) {
        weft_oneshot_receiver *reply;
        unsigned answer = 0;

        CHECK_EQ(0, weft_oneshot_new(&q.reply, &reply, sizeof(answer)));
        CHECK_EQ(0, weft_send(a->tx, &q));
        CHECK_EQ(1, weft_oneshot_recv(reply, &answer));
        CHECK_EQ(q.number + 1, answer);
        weft_oneshot_receiver_close(reply);
        count_under_mutex(x);
        atomic_fetch_add(&x->rounds, 1);
    }
    weft_sender_close(a->tx);
    return 0;
}

static int answers(void *arg)
{
    struct exchange *x = arg;
    struct question q;
    int rc;

    while ((rc = weft_recv(x->rx, &q)) == 1) {
        unsigned answer = q.number + 1;

        count_under_mutex(x);
        CHECK_EQ(0, weft_oneshot_send(q.reply, &answer));
    }
    return rc;
}

static void exchange_start(struct exchange *x, struct stage *s, weft_task *t[ASKERS + 1])
{
    *x = (struct exchange){.mutex = WEFT_MUTEX_INIT};
    CHECK_EQ(0, weft_mpsc_new(&x->tx, &x->rx, sizeof(struct question), 1));
    CHECK_EQ(0, weft_spawn_on(s->rt, &t[0], NULL, answers, x));
    for (int i = 0; i < ASKERS; i++) {
        x->askers[i] = (struct asker){x, weft_sender_clone(x->tx)};
        CHECK_EQ(0, weft_spawn_on(s->rt, &t[1 + i], NULL, asks, &x->askers[i]));
    }
    weft_sender_close(x->tx);
    stage_wait(&x->rounds, 1);
}

static void exchange_end(struct exchange *x, weft_task *t[ASKERS + 1])
{
    atomic_store(&x->over, true);
    for (int i = 0; i <= ASKERS; i++) {
        int result = 1;

        CHECK_EQ(0, weft_join_blocking(t[i], &result));
        CHECK_EQ(0, result);
    }
    CHECK_EQ(2 * atomic_load(&x->rounds), x->counted);
    weft_receiver_close(x->rx);
}

TEST(tasks_go_on_exchanging_values)
{
    struct stage s;

    EACH_STAGE(&s)
    {
        weft_task *t[ASKERS + 1];
        struct exchange x;

        exchange_start(&x, &s, t);
        stage_stick(&s, stuck_task);
        stage_wait(&s.stuck, s.count);
        stage_wait(&x.rounds, atomic_load(&x.rounds) + (unsigned)test_scaled(50));
        stage_release(&s);
        exchange_end(&x, t);
    }
}

/* --- from outside ------------------------------------------------------------------------------ */

static int echoes(void *arg)
{
    struct exchange *x = arg;
    struct question q;
    int rc;

    while ((rc = weft_recv(x->rx, &q)) == 1)
        CHECK_EQ(0, weft_oneshot_send(q.reply, &q.number));
    return rc;
}

TEST(values_from_outside_are_received_and_answered)
{
    struct stage s;

    EACH_STAGE(&s)
    {
        struct exchange x = {0};
        weft_task *t;

        CHECK_EQ(0, weft_mpsc_new(&x.tx, &x.rx, sizeof(struct question), 1));
        CHECK_EQ(0, weft_spawn_on(s.rt, &t, NULL, echoes, &x));
        stage_stick(&s, stuck_task);
        stage_wait(&s.stuck, s.count);
        for (unsigned i = 1; i <= test_scaled(20); i++) {
            struct question q = {.number = i};
            weft_oneshot_receiver *reply;
            unsigned answer = 0;

            CHECK_EQ(0, weft_oneshot_new(&q.reply, &reply, sizeof(answer)));
            CHECK_EQ(0, weft_send_blocking(x.tx, &q));
            CHECK_EQ(1, weft_oneshot_recv_blocking(reply, &answer));
            CHECK_EQ(i, answer);
            weft_oneshot_receiver_close(reply);
        }
        stage_release(&s);
        weft_sender_close(x.tx);
        CHECK_EQ(0, weft_join_blocking(t, NULL));
        weft_receiver_close(x.rx);
    }
}

/* --- what they let go themselves, just before ----------------------------------------------------- */

/* Each gets stuck having let one go on, in one of these ways. */
enum ways { SENDS, ANSWERS, UNLOCKS, RELEASES, TELLS, WAYS };

struct parting {
    struct stage *stage;
    enum ways way;
    weft_sender *tx;
    weft_receiver *rx;
    weft_oneshot_sender *oneshot_tx;
    weft_oneshot_receiver *oneshot_rx;
    weft_mutex mutex;
    weft_semaphore semaphore;
    weft_watch_sender *watch_tx;
    weft_watch_receiver *watch_rx;
    atomic_bool held;
};

static int let_go_and_get_stuck(void *arg)
{
    struct parting *p = arg;
    int value = 7;

    if (p->way == UNLOCKS) {
        CHECK_EQ(0, weft_mutex_lock(&p->mutex));
        atomic_store(&p->held, true);
    }
    while (p->way == UNLOCKS && !atomic_load(&p->stage->armed))
        CHECK_EQ(0, weft_yield());
    switch (p->way) {
    case SENDS:
        CHECK_EQ(0, weft_send(p->tx, &value));
        break;
    case ANSWERS:
        CHECK_EQ(0, weft_oneshot_send(p->oneshot_tx, &value));
        break;
    case UNLOCKS:
        CHECK_EQ(0, weft_mutex_unlock(&p->mutex));
        break;
    case RELEASES:
        CHECK_EQ(0, weft_semaphore_release(&p->semaphore, 1));
        break;
    case TELLS:
        CHECK_EQ(0, weft_watch_send(p->watch_tx, &value));
        break;
    case WAYS:
        break;
    }
    get_stuck(p->stage);
    return 0;
}

static int goes_on(void *arg)
{
    struct parting *p = arg;
    int value = 7;

    switch (p->way) {
    case SENDS:
        CHECK_EQ(1, weft_recv(p->rx, &value));
        break;
    case ANSWERS:
        CHECK_EQ(1, weft_oneshot_recv(p->oneshot_rx, &value));
        break;
    case UNLOCKS:
        CHECK_EQ(0, weft_mutex_lock(&p->mutex));
        CHECK_EQ(0, weft_mutex_unlock(&p->mutex));
        break;
    case RELEASES:
        CHECK_EQ(0, weft_semaphore_acquire(&p->semaphore));
        break;
    case TELLS:
        CHECK_EQ(1, weft_watch_changed(p->watch_rx));
        CHECK_EQ(0, weft_watch_get(p->watch_rx, &value));
        break;
    case WAYS:
        break;
    }
    CHECK_EQ(7, value);
    atomic_fetch_add(&p->stage->done, 1);
    return 0;
}

static void parting_open(struct parting *p, struct stage *s, enum ways way)
{
    int first = 0;

    *p = (struct parting){.stage = s, .way = way, .mutex = WEFT_MUTEX_INIT};
    CHECK_EQ(0, weft_mpsc_new(&p->tx, &p->rx, sizeof(int), 1));
    CHECK_EQ(0, weft_oneshot_new(&p->oneshot_tx, &p->oneshot_rx, sizeof(int)));
    CHECK_EQ(0, weft_watch_new(&p->watch_tx, &p->watch_rx, sizeof(int), &first));
    CHECK_EQ(0, weft_semaphore_init(&p->semaphore, 0));
}

static void parting_close(struct parting *p)
{
    weft_sender_close(p->tx);
    weft_receiver_close(p->rx);
    if (p->way != ANSWERS)
        weft_oneshot_sender_close(p->oneshot_tx);
    weft_oneshot_receiver_close(p->oneshot_rx);
    weft_watch_sender_close(p->watch_tx);
    weft_watch_receiver_close(p->watch_rx);
}

static void until_it_waits(const weft_task *t)
{
    weft_task_info info = {.state = WEFT_TASK_READY};

    while (info.state != WEFT_TASK_IDLE) {
        usleep(50);
        CHECK_EQ(0, weft_task_get_info(t, &info));
    }
}

/* So it is in the LIFO slot of a worker that does not come back. */
static void let_one_go(struct stage *s, enum ways way)
{
    struct parting p;
    weft_task *t;

    parting_open(&p, s, way);
    if (way == UNLOCKS) {
        CHECK_EQ(0, weft_spawn_on(s->rt, &s->stuck_tasks[0], NULL, let_go_and_get_stuck, &p));
        while (!atomic_load(&p.held))
            usleep(50);
    }
    CHECK_EQ(0, weft_spawn_on(s->rt, &t, NULL, goes_on, &p));
    until_it_waits(t);
    atomic_store(&s->armed, 1);
    if (way != UNLOCKS)
        CHECK_EQ(0, weft_spawn_on(s->rt, &s->stuck_tasks[0], NULL, let_go_and_get_stuck, &p));
    stage_wait(&s->stuck, 1);
    stage_wait(&s->done, 1);
    stage_release(s);
    CHECK_EQ(0, weft_join_blocking(t, NULL));
    parting_close(&p);
}

TEST(who_was_let_go_last_is_not_stranded)
{
    for (enum ways way = SENDS; way < WAYS; way++)
        for (enum how how = BLOCKED; how <= SPAWNING; how++)
            for (unsigned workers = 1; workers <= 2; workers++) {
                struct stage s;

                stage_open(&s, how, workers, 1);
                let_one_go(&s, way);
                stage_close(&s);
            }
}

/* While it computes it goes on to send and to receive, with its seat taken from it. */
static int compute_and_exchange(void *arg)
{
    struct exchange *x = arg;

    for (unsigned i = 1; i <= test_scaled(2000); i++) {
        struct question q = {.number = i};
        weft_oneshot_receiver *reply;
        unsigned answer = 0;
        int rc;

        CHECK_EQ(0, weft_oneshot_new(&q.reply, &reply, sizeof(answer)));
        CHECK_EQ(0, weft_try_send(x->tx, &q));
        do
            rc = weft_oneshot_try_recv(reply, &answer);
        while (rc == -EAGAIN);
        CHECK_EQ(1, rc);
        CHECK_EQ(i, answer);
        weft_oneshot_receiver_close(reply);
    }
    weft_sender_close(x->tx);
    return 0;
}

TEST(a_relieved_task_still_sends_and_receives)
{
    for (unsigned workers = 1; workers <= 2; workers++) {
        struct stage s;
        struct exchange x = {0};
        weft_task *t, *echo;

        stage_open(&s, COMPUTING, workers, 0);
        CHECK_EQ(0, weft_mpsc_new(&x.tx, &x.rx, sizeof(struct question), 1));
        CHECK_EQ(0, weft_spawn_on(s.rt, &echo, NULL, echoes, &x));
        until_it_waits(echo);
        CHECK_EQ(0, weft_spawn_on(s.rt, &t, NULL, compute_and_exchange, &x));
        CHECK_EQ(0, weft_join_blocking(t, NULL));
        CHECK_EQ(0, weft_join_blocking(echo, NULL));
        weft_receiver_close(x.rx);
        stage_close(&s);
    }
}

TEST_MAIN("stall_channels", tasks_go_on_exchanging_values,
          values_from_outside_are_received_and_answered, who_was_let_go_last_is_not_stranded,
          a_relieved_task_still_sends_and_receives)
