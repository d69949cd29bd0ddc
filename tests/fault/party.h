/* SPDX-License-Identifier: MIT */
/*
 * party.h - tasks that must be told apart when a shortage ends them before they begin.
 *
 * A fiber that gets no stack ends with -ENOMEM, and its function never runs: then what its argument owns
 * is still the spawner's. So a party says that it has begun, and whoever waits for it looks.
 */
#ifndef TEST_PARTY_H
#define TEST_PARTY_H

#include "sweep.h"

#define PARTIES_MAX 16

struct party {
    weft_fn *fn;
    void *arg;
    bool began;
    weft_task *task; /* NULL: not spawned, or has ended */
};

static inline int party_main(void *arg)
{
    struct party *p = arg;

    p->began = true;
    return p->fn(p->arg);
}

/* False: it could not even be spawned. */
static inline bool party_begin(struct party *p, weft_fn *fn, void *arg)
{
    *p = (struct party){.fn = fn, .arg = arg};
    p->task = MAY_NULL(weft_spawn(party_main, p));
    return p->task != NULL;
}

/*
 * Wait until one of them has ended, or the other future is ready, which may be NULL and is dropped
 * otherwise. Returns the index of the party, count for the future, -1 when there is nothing to
 * wait for.
 */
static inline int party_next(struct party *p, size_t count, weft_future *other)
{
    weft_future ends[PARTIES_MAX], *list[PARTIES_MAX + 1] = {NULL};
    int result = 0, n = other != NULL, i;

    CHECK(count <= PARTIES_MAX);
    for (size_t at = 0; at < count; at++) {
        if (!p[at].task)
            continue;
        ends[at] = weft_join_future(p[at].task);
        list[at] = &ends[at];
        n++;
    }
    list[count] = other;
    if (n == 0)
        return -1;
    i = (int)weft_select_n(list, count + 1, WEFT_SELECT_RANDOM);
    CHECK(i >= 0 && i <= (int)count);
    if (i < (int)count) {
        CHECK_EQ(0, weft_join(p[i].task, &result));
        p[i].task = NULL;
        MAY(result, ENOMEM);
        CHECK(p[i].began || result == -ENOMEM);
    }
    return i;
}

/* A listener's tasks, one for each connection, until the listener is aborted and the last one has ended. */
static inline int party_serve(weft_listener *l, weft_fn *conn)
{
    struct party p[PARTIES_MAX] = {0};
    bool open = true;
    int i = 0;

    while (i >= 0) {
        weft_stream *s = NULL;
        weft_future next = weft_accept_future(l, &s);

        i = party_next(p, PARTIES_MAX, open ? &next : NULL);
        if (i >= 0 && i < PARTIES_MAX && !p[i].began)
            CHECK_EQ(0, weft_close(p[i].arg));
        if (i < PARTIES_MAX)
            continue;
        if (next.result < 0) {
            if (next.result != -ESHUTDOWN)
                MAY(next.result, ENOMEM);
            open = false;
            continue;
        }
        for (i = 0; i < PARTIES_MAX && p[i].task; i++)
            continue;
        CHECK(i < PARTIES_MAX);
        if (!party_begin(&p[i], conn, s))
            CHECK_EQ(0, weft_close(s));
    }
    return 0;
}

/* Servers on one listener and clients, until all clients have ended; the first `servers` are the servers. Clients
 * are not left alone: when a server does not even begin, nobody is served. */
static inline void party_meet(struct party *p, size_t servers, size_t count, weft_listener *l)
{
    size_t clients = 0;
    int i;

    for (size_t at = servers; at < count; at++)
        clients += p[at].task != NULL;
    for (size_t at = 0; at < servers; at++)
        if (!p[at].task)
            clients = 0;
    if (clients == 0)
        weft_listener_abort(l);
    while ((i = party_next(p, count, NULL)) >= 0)
        if ((i >= (int)servers && --clients == 0) || !p[i].began)
            weft_listener_abort(l);
}

#endif
