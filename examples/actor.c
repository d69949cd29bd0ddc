/* SPDX-License-Identifier: MIT */
/*
 * actor.c - a task that owns its data, and others that ask it.
 *
 * The accounts below need no lock: one task reads and writes them, message by message. Whoever wants an answer
 * puts the sending end of a oneshot channel into the message. A question that nobody will handle any more is destroyed
 * with its channel, and who waits for the answer is told so.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <weft.h>

#define ACCOUNTS 8
#define GIFTS    100

enum verb { DEPOSIT, TRANSFER, BALANCE };

struct request {
    enum verb verb;
    unsigned from, to;
    int64_t amount;
    weft_oneshot_sender *reply; /* for a struct answer; goes along with the message */
};

struct answer {
    int rc;
    int64_t balance; /* of `from` */
};

/* --- the actor ----------------------------------------------------------------------------- */

struct bank {
    weft_receiver *requests;
    unsigned handled;
};

static struct answer bank_handle(int64_t balance[], const struct request *r)
{
    if (r->from >= ACCOUNTS || r->to >= ACCOUNTS)
        return (struct answer){.rc = -ENOENT};
    if (r->amount < 0)
        return (struct answer){.rc = -EINVAL};
    switch (r->verb) {
    case DEPOSIT:
        balance[r->to] += r->amount;
        break;
    case TRANSFER:
        if (balance[r->from] < r->amount)
            return (struct answer){.rc = -EDQUOT, .balance = balance[r->from]};
        balance[r->from] -= r->amount;
        balance[r->to] += r->amount;
        break;
    case BALANCE:
        break;
    }
    return (struct answer){.balance = balance[r->from]};
}

/* Until the last sender is closed and the queue is drained. */
static int bank_run(void *arg)
{
    struct bank *bank = arg;
    int64_t balance[ACCOUNTS] = {0};
    struct request r;
    int rc;

    while ((rc = weft_recv(bank->requests, &r)) > 0) {
        struct answer a = bank_handle(balance, &r);

        bank->handled++;
        (void)weft_oneshot_send(r.reply, &a); /* -EPIPE: whoever asked does not wait any more */
    }
    return rc;
}

/* The channel's destroy function. */
static void request_destroy(void *value)
{
    const struct request *r = value;

    weft_oneshot_sender_close(r->reply);
}

/* --- who asks it ---------------------------------------------------------------------------- */

/* Send a request and await the answer: 0, what the bank said, or what went wrong on the way. */
static int ask(weft_sender *to_bank, struct request r, int64_t *balance)
{
    weft_oneshot_receiver *reply;
    struct answer a = {0};
    int rc = weft_oneshot_new(&r.reply, &reply, sizeof(a));

    if (rc < 0)
        return rc;
    rc = weft_send(to_bank, &r);
    if (rc < 0) {
        weft_oneshot_sender_close(r.reply); /* not sent, so still ours */
    } else {
        rc = weft_oneshot_recv(reply, &a);
        if (rc == 0)
            rc = -EPIPE; /* destroyed unanswered */
    }
    weft_oneshot_receiver_close(reply);
    if (rc < 0)
        return rc;
    *balance = a.balance;
    return a.rc;
}

struct customer {
    weft_sender *to_bank; /* borrowed: any number of tasks may send by one handle */
    unsigned account;
};

/* Gives one to the next in the row, again and again; when it has none, the bank says so, and that is all. */
static int customer_run(void *arg)
{
    const struct customer *c = arg;
    const struct request gift = {
        .verb = TRANSFER, .from = c->account, .to = (c->account + 1) % ACCOUNTS, .amount = 1};
    int64_t left;
    int rc = 0;

    for (int i = 0; i < GIFTS && (rc == 0 || rc == -EDQUOT); i++)
        rc = ask(c->to_bank, gift, &left);
    return rc == -EDQUOT ? 0 : rc;
}

static int audit(weft_sender *to_bank)
{
    int64_t sum = 0, balance;

    for (unsigned i = 0; i < ACCOUNTS; i++) {
        int rc = ask(to_bank, (struct request){.verb = BALANCE, .from = i}, &balance);

        if (rc < 0)
            return rc;
        sum += balance;
    }
    (void)printf("all accounts together hold %" PRId64 "\n", sum);
    return 0;
}

static int business(weft_sender *to_bank)
{
    ssize_t id = 1;
    int64_t balance;
    int rc = 0;

    for (unsigned i = 0; i < ACCOUNTS && rc == 0; i++)
        rc = ask(to_bank, (struct request){.verb = DEPOSIT, .to = i, .amount = 50}, &balance);
    if (rc < 0)
        return rc;
    WEFT_SCOPE(customers, &rc)
    {
        for (unsigned i = 0; i < ACCOUNTS && id > 0; i++) {
            struct customer c = {.to_bank = to_bank, .account = i};

            id = weft_scope_spawn_copy(customers, customer_run, &c, sizeof(c));
        }
    }
    if (rc == 0)
        rc = id < 0 ? (int)id : audit(to_bank);
    return rc;
}

static int app(void *arg)
{
    weft_channel_options options = {.name = "bank", .destroy = request_destroy};
    struct bank bank = {0};
    weft_sender *to_bank;
    int rc, done = 0;

    (void)arg;
    rc = weft_mpsc_new_with(&to_bank, &bank.requests, sizeof(struct request), 16, &options);
    if (rc < 0)
        return rc;
    /* Should the bank fail, the scope cancels what goes on in it: nobody waits for an answer for ever. */
    WEFT_SCOPE(s, &rc)
    {
        ssize_t id = weft_scope_spawn(s, bank_run, &bank);

        done = id < 0 ? (int)id : business(to_bank);
        weft_sender_close(to_bank); /* the only one: the bank drains its queue and ends */
    }
    weft_receiver_close(bank.requests);
    (void)printf("the bank handled %u requests\n", bank.handled);
    return rc < 0 ? rc : done;
}

int main(void)
{
    return weft_run(app, NULL);
}
