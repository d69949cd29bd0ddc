/* SPDX-License-Identifier: MIT */
/*
 * channel.c - acts: a few tasks send to their host through a channel, in every way that there is, until it has enough
 * or gives up; and requests whose answers come, do not, or are not waited for.
 *
 * OWNS     All of it lies on the host's stack: the host stays, shielded, until every task has ended. What a task was
 *          given that never ran is the host's again.
 * CLAIMS   Each value has one end: received, destroyed, or still its sender's. Those of one sender come in order.
 */
#include "soak.h"

#include <errno.h>

#define SENDERS_MAX 4
#define VALUES_MAX  40 /* of one sender */

struct chat;

struct chat_sender {
    struct chat *chat;
    weft_sender *tx; /* its own, once it runs */
    uint64_t rand;
    bool began;
    weft_task *task; /* NULL: joined */
};

struct chat {
    struct soak_actor *a;
    weft_receiver *rx;
    unsigned senders;
    struct chat_sender sender[SENDERS_MAX];
    uint64_t next[SENDERS_MAX];
};

/* Who, and the how manieth. */
static uint64_t chat_value(const struct chat_sender *s, uint64_t n)
{
    return (uint64_t)(s - s->chat->sender) << 32 | (n + 1);
}

static void chat_destroy(void *value)
{
    soak_end_id(SOAK_VALUE, *(uint64_t *)value);
}

/* --- sending ------------------------------------------------------------------------------ */

static int chat_send_reserved(struct chat_sender *s, const uint64_t *v)
{
    weft_permit p;
    int rc = soak_one_in(&s->rand, 2) ? weft_reserve(s->tx, &p) : weft_reserve_owned(s->tx, &p);

    if (rc < 0)
        return rc;
    if (soak_one_in(&s->rand, 3))
        (void)soak_expect(0, weft_yield(), "yield");
    rc = soak_one_in(&s->rand, 4) ? -EAGAIN : weft_permit_send(&p, v);
    weft_permit_release(&p);
    return rc;
}

/* Given up if it is not done at once. */
static int chat_send_impatiently(struct chat_sender *s, const uint64_t *v)
{
    weft_future send = weft_send_future(s->tx, v), yield = weft_yield_future();
    ssize_t which = weft_select(&send, &yield);

    if (which < 0)
        return (int)which;
    return send.result == -ECANCELED ? -EAGAIN : (int)send.result;
}

static int chat_send(struct chat_sender *s, const uint64_t *v)
{
    switch (soak_roll(&s->rand, 6)) {
    case 0:
        return weft_try_send(s->tx, v);
    case 1:
        return chat_send_reserved(s, v);
    case 2:
        return chat_send_impatiently(s, v);
    default:
        return weft_send(s->tx, v);
    }
}

static int chat_sends(void *arg)
{
    struct chat_sender *s = arg;
    uint64_t values = soak_roll(&s->rand, VALUES_MAX);
    int rc = 0;

    s->began = true;
    for (uint64_t n = 0; n < values && (rc == 0 || rc == -EAGAIN); n++) {
        uint64_t v = chat_value(s, n);

        soak_begin_id(SOAK_VALUE, v);
        rc = chat_send(s, &v);
        if (rc != 0)
            soak_end_id(SOAK_VALUE, v);
        if (rc == -EAGAIN)
            (void)soak_expect(0, weft_yield(), "yield");
    }
    CHECK(rc == 0 || rc == -EAGAIN || rc == -EPIPE || soak_is_soft(rc));
    weft_sender_close(s->tx);
    return 0;
}

/* --- receiving ------------------------------------------------------------------------------ */

static void chat_take(struct chat *c, uint64_t v)
{
    uint64_t who = v >> 32, n = v & UINT32_MAX;

    CHECK(who < c->senders && n > c->next[who]);
    c->next[who] = n;
    soak_end_id(SOAK_VALUE, v);
}

/* Its handle is the host's if it never ran. */
static void chat_ended(struct chat_sender *s, int result)
{
    CHECK(result == 0 || (result == -ECANCELED && !s->began));
    if (!s->began)
        weft_sender_close(s->tx);
    s->task = NULL;
}

/* A value, or the end of the first sender that has not ended. False: the host is told to stop. */
static bool chat_step(struct chat *c, struct chat_sender *s)
{
    uint64_t v[3];
    weft_future recv = weft_recv_many_future(c->rx, v, 1 + roll(c->a, 3));
    weft_future end = weft_join_future(s->task);
    ssize_t which = weft_select(&recv, &end);

    if (which < 0) {
        CHECK(soak_is_soft(which));
        return false;
    }
    for (ssize_t i = 0; which == 0 && i < recv.result; i++)
        chat_take(c, v[i]);
    if (which == 1 || recv.result == 0)
        chat_ended(s, soak_join(s->task));
    return true;
}

/* What is left when all senders have ended, or when no more can be sent. */
static void chat_drain(struct chat *c)
{
    uint64_t v;
    int rc;

    while ((rc = weft_try_recv(c->rx, &v)) == 1)
        chat_take(c, v);
    CHECK(rc == 0 || rc == -EAGAIN);
}

static void chat_open(struct chat *c, struct soak_actor *a)
{
    static const weft_channel_options options = {.name = "chat", .destroy = chat_destroy};
    weft_sender *tx;

    *c = (struct chat){.a = a, .senders = 1 + (unsigned)roll(a, SENDERS_MAX)};
    if (one_in(a, 4))
        CHECK_EQ(0, weft_mpsc_unbounded_with(&tx, &c->rx, sizeof(uint64_t), &options));
    else
        CHECK_EQ(0, weft_mpsc_new_with(&tx, &c->rx, sizeof(uint64_t), 1 + roll(a, 6), &options));
    for (unsigned i = 0; i < c->senders; i++) {
        struct chat_sender *s = &c->sender[i];

        *s = (struct chat_sender){
            .chat = c, .tx = weft_sender_clone(tx), .rand = test_rand(&a->rand) | 1};
        s->task = weft_spawn(chat_sends, s);
        CHECK(s->task != NULL);
    }
    weft_sender_close(tx);
}

void soak_act_channel(struct soak_actor *a)
{
    bool enough = false;
    struct chat c;

    chat_open(&c, a);
    for (unsigned i = 0; i < c.senders && !enough; i++)
        while (c.sender[i].task && !enough)
            enough = one_in(a, 200) || !chat_step(&c, &c.sender[i]);
    if (one_in(a, 2)) {
        weft_receiver_shutdown(c.rx);
        chat_drain(&c);
    }
    weft_receiver_close(c.rx);
    for (unsigned i = 0; i < c.senders; i++)
        if (c.sender[i].task)
            chat_ended(&c.sender[i], soak_join(c.sender[i].task));
}

/* --- one value ---------------------------------------------------------------------------------- */

struct question {
    weft_oneshot_sender *answer;
    uint64_t rand, value;
    bool began;
};

/* An answer, or none; or it finds that nobody waits any more. */
static int question_answer(void *arg)
{
    struct question *q = arg;
    weft_future yield = weft_yield_future(), closed;

    q->began = true;
    if (soak_one_in(&q->rand, 2))
        (void)soak_expect(0, weft_yield(), "yield");
    if (soak_one_in(&q->rand, 3)) {
        closed = weft_oneshot_sender_closed_future(q->answer);
        (void)weft_select(&closed, &yield);
    }
    if (soak_one_in(&q->rand, 5)) {
        weft_oneshot_sender_close(q->answer);
        return 0;
    }
    soak_begin_id(SOAK_VALUE, q->value);
    if (weft_oneshot_send(q->answer, &q->value) < 0)
        soak_end_id(SOAK_VALUE, q->value);
    return 0;
}

void soak_act_oneshot(struct soak_actor *a)
{
    static const weft_channel_options options = {.destroy = chat_destroy};
    struct question q = {.rand = test_rand(&a->rand) | 1, .value = test_rand(&a->rand)};
    weft_oneshot_receiver *rx;
    weft_future recv, end;
    uint64_t got = 0;
    weft_task *t;
    int result;

    CHECK_EQ(0, weft_oneshot_new_with(&q.answer, &rx, sizeof(uint64_t), &options));
    t = weft_spawn(question_answer, &q);
    CHECK(t != NULL);
    if (!one_in(a, 4)) {
        recv = weft_oneshot_recv_future(rx, &got);
        end = weft_join_future(t);
        if (weft_select(&recv, &end) != 0 || recv.result != 1)
            recv.result = weft_oneshot_try_recv(rx, &got);
        if (recv.result == 1) {
            CHECK(got == q.value);
            soak_end_id(SOAK_VALUE, got);
        }
    }
    if (one_in(a, 2)) {
        weft_oneshot_receiver_shutdown(rx);
        soak_act_yield(a);
    }
    weft_oneshot_receiver_close(rx);
    result = soak_join(t);
    CHECK(result == 0 || (result == -ECANCELED && !q.began));
    if (!q.began)
        weft_oneshot_sender_close(q.answer);
}
