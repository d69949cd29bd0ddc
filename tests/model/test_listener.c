/* SPDX-License-Identifier: MIT */
/*
 * test_listener.c - accepts that wait in line, under all interleavings of connections, drops and a close: the turn is
 * never lost, and the listener goes once, with the last of those that use it.
 *
 * A task is a thread with a wakeable. All accepts have begun before the threads do: the first has the turn and
 * waits for a connection, the others are in line. The peer is also who drives: the descriptor was
 * registered in begin.
 */
#include "base/sys.h"
#include "io/poller.h"
#include "model/model.h"
#include "net/net.h"
#include "net/stream.h"
#include "task/current.h"
#include "task/future.h"

#include <errno.h>
#include <weft/net.h>

#define ACCEPTS 3

/* What can happen, must. */
enum { ACCEPTED, REFUSED, DROPPED_IN_LINE, DROPPED_WITH_TURN };

#define BIT(event) (1u << (event))

struct acceptor {
    weft_wakeable wakeable;
    struct wf_atomic_u32 refs, due;
    struct wf_thread thread;
    weft_future future;
    weft_stream *stream;
};

static struct acceptor acceptors[ACCEPTS];
static struct wf_thread driver;
static struct wf_hub hub;
static struct wf_poller poller;
static weft_listener *listener;
static int fd;
static size_t live; /* before there was a listener, but with room for registrations */

/* --- what listening takes besides --- */

int wf_net_parse_url(weft_addr *a, const char *text)
{
    (void)a, (void)text;
    return -EINVAL;
}

bool wf_net_buffers_valid(int receive, int send)
{
    return receive == 0 && send == 0;
}

bool wf_net_switch_valid(weft_switch value)
{
    return value == WEFT_DEFAULT;
}

bool wf_net_spare_valid(const uintptr_t *words, size_t count)
{
    return words && count;
}

int wf_net_set_int(int socket, int level, int name, int value, bool wanted)
{
    (void)socket, (void)level, (void)name, (void)value, (void)wanted;
    return 0;
}

/* --- tasks --- */

static void acceptor_retain(weft_wakeable *w)
{
    (void)wf_add_u32(&wf_container_of(w, struct acceptor, wakeable)->refs, 1, WF_RELAXED);
}

static void acceptor_release(weft_wakeable *w)
{
    CHECK(wf_sub_u32(&wf_container_of(w, struct acceptor, wakeable)->refs, 1, WF_ACQ_REL) > 0);
}

static void acceptor_wake(weft_wakeable *w)
{
    /* release: what happened before a wake is seen by the poll that it makes */
    wf_store_u32(&wf_container_of(w, struct acceptor, wakeable)->due, 1, WF_RELEASE);
}

static const weft_wakeable_type acceptor_type = {acceptor_retain, acceptor_wake, acceptor_release};

static weft_poll acceptor_poll(struct acceptor *a)
{
    weft_context cx = {{&a->wakeable}};

    return weft_future_poll(&a->future, &cx);
}

__attribute__((no_sanitize("thread"))) static bool acceptor_due(void *arg)
{
    return ((const struct acceptor *)arg)->due.raw != 0;
}

static void acceptor_ends(struct acceptor *a, bool refused)
{
    CHECK_EQ(refused ? -ESHUTDOWN : 0, a->future.result);
    CHECK_EQ(refused, !a->stream);
    model_reached(refused ? REFUSED : ACCEPTED);
}

static void accepts(unsigned i, bool refused)
{
    struct acceptor *a = &acceptors[i];

    wf_thread_set_self(&a->thread);
    do {
        (void)model_block(acceptor_due, a, UINT64_MAX);
        CHECK(wf_swap_u32(&a->due, 0, WF_ACQUIRE));
    } while (acceptor_poll(a) == WEFT_PENDING);
    acceptor_ends(a, refused);
}

static void first_accepts(void)
{
    accepts(0, false);
}

static void second_accepts(void)
{
    accepts(1, false);
}

static void third_accepts(void)
{
    accepts(2, false);
}

static void first_is_refused(void)
{
    accepts(0, true);
}

static void third_is_refused(void)
{
    accepts(2, true);
}

static void second_gives_up(void)
{
    struct acceptor *a = &acceptors[1];

    wf_thread_set_self(&a->thread);
    model_reached(wf_load_u32(&a->due, WF_ACQUIRE) ? DROPPED_WITH_TURN : DROPPED_IN_LINE);
    weft_future_drop(&a->future);
    CHECK(!a->stream);
}

static void second_does_either(void)
{
    if (model_choose(2))
        second_gives_up();
    else
        second_accepts();
}

/* --- who makes it happen --- */

static void connections(unsigned count)
{
    wf_thread_set_self(&driver);
    while (count--) {
        model_connection(fd);
        (void)wf_poller_harvest(&poller, false);
    }
}

static void two_connections(void)
{
    connections(2);
}

static void three_connections(void)
{
    connections(3);
}

static void closes(void)
{
    wf_thread_set_self(&driver);
    CHECK_EQ(0, weft_listener_close(listener));
    listener = NULL;
}

/* --- before and after --- */

static void begin_with(unsigned count)
{
    const weft_addr nowhere = {0};

    CHECK_EQ(0, wf_hub_open(&hub, WF_HUB_SOLE));
    CHECK_EQ(0, wf_poller_open(&poller, &hub));
    wf_io_close(wf_io_new(model_file_open(), true));
    live = model_live();
    CHECK_EQ(0, weft_tcp_listen(&listener, &nowhere, NULL));
    fd = weft_listener_fd(listener);
    driver.poller = &poller;
    for (unsigned i = 0; i < count; i++) {
        struct acceptor *a = &acceptors[i];

        a->wakeable.type = &acceptor_type;
        a->thread.poller = &poller;
        wf_thread_set_self(&a->thread);
        a->future = weft_accept_future(listener, &a->stream);
        CHECK_EQ(WEFT_PENDING, acceptor_poll(a));
    }
    wf_thread_set_self(&driver);
}

static void begin_two(void)
{
    begin_with(2);
}

static void begin_three(void)
{
    begin_with(3);
}

/* The descriptor goes with the last use, and every waker has come back. */
static void end(void)
{
    int before = -1;

    wf_thread_set_self(&driver);
    (void)weft_listener_close(listener);
    CHECK_EQ(-EBADF, wf_sys_close(fd));
    for (unsigned i = 0; i < ACCEPTS; i++) {
        CHECK_EQ(0, acceptors[i].refs.raw);
        if (!acceptors[i].stream)
            continue;
        /* Who came first is served first: descriptors are numbered upwards. */
        CHECK(before < acceptors[i].stream->io.fd);
        before = acceptors[i].stream->io.fd;
        wf_io_close(&acceptors[i].stream->io);
    }
    CHECK_EQ(0, wf_io_in_use());
    CHECK_EQ(live, model_live());
    wf_poller_close(&poller);
    wf_hub_close(&hub);
}

/* Memory of registrations is never given back. */
const struct model_test model_tests[] = {
    {.name = "two accepts in line, two connections",
     .leaks = true,
     .begin = begin_two,
     .thread = {first_accepts, second_accepts, two_connections},
     .end = end,
     .stale = 1,
     .must_reach = BIT(ACCEPTED)},
    {.name = "one in line may give up: the next has its turn",
     .leaks = true,
     .begin = begin_three,
     .thread = {first_accepts, second_does_either, third_accepts, three_connections},
     .end = end,
     .preemptions = 1,
     .stale = MODEL_NONE,
     .must_reach = BIT(ACCEPTED) | BIT(DROPPED_IN_LINE) | BIT(DROPPED_WITH_TURN)},
    {.name = "closed while one waits, one gives up, and one is in line",
     .leaks = true,
     .begin = begin_three,
     .thread = {first_is_refused, second_gives_up, third_is_refused, closes},
     .end = end,
     .stale = MODEL_NONE,
     .must_reach = BIT(REFUSED) | BIT(DROPPED_IN_LINE) | BIT(DROPPED_WITH_TURN)},
    {0},
};
