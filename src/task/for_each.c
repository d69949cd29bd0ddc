/* SPDX-License-Identifier: MIT */
/*
 * for_each.c - operations from a source, a few at a time, and their results into a sink.
 *
 * IDEA     A futures set is filled from the source up to the limit, then its next result is passed on, and so on.
 *          Awaited straight, source and sink are called between the polls, and may await; as a future, within its
 *          poll.
 * OWNS     The set. Its futures end with it. A fiber that ends within source or sink, by a panic, is led out.
 */
#include "base/log.h"
#include "task/await.h"
#include "task/future.h"
#include "task/futures.h"
#include "task/leave.h"

#include <errno.h>

/* What was asked for, and how far it has come. Fits the words of a future. */
struct for_each {
    size_t limit; /* SIZE_MAX: none */
    weft_futures_source *source;
    weft_futures_sink *sink;
    void *arg;
    weft_futures *set; /* NULL before the first poll */
    size_t running;    /* in the set */
    uint32_t flags;
    uint32_t ended; /* the source has */
};

_Static_assert(sizeof(struct for_each) <= sizeof(((weft_future *)0)->words), "for_each must fit");

static int for_each_init(struct for_each *e, size_t limit, unsigned flags,
                         weft_futures_source *source, weft_futures_sink *sink, void *arg)
{
    if (!source)
        return wf_misuse(-EINVAL, "weft_for_each_concurrent: source is NULL");
    if (flags & ~WEFT_FUTURES_ORDERED)
        return wf_misuse(-EINVAL, "weft_for_each_concurrent: no such flags: %#x", flags);
    *e = (struct for_each){.limit = limit ? limit : SIZE_MAX,
                           .source = source,
                           .sink = sink,
                           .arg = arg,
                           .flags = flags};
    return 0;
}

static bool for_each_has_room(const struct for_each *e)
{
    return !e->ended && e->running < e->limit;
}

/* Ask for one more operation. */
static int for_each_pull(struct for_each *e)
{
    weft_future f = {0};
    uint64_t tag = 0;
    int rc = e->source(e->arg, &f, &tag);

    if (rc <= 0) {
        e->ended = true;
        return rc;
    }
    rc = weft_futures_push(e->set, f, tag);
    if (rc >= 0)
        e->running++;
    else if (!wf_future_pending(&f)) /* else it is polled elsewhere, and was not ours */
        weft_future_drop(&f);
    return rc;
}

static int for_each_pass(struct for_each *e, uint64_t tag, ssize_t result)
{
    e->running--;
    if (e->sink)
        return e->sink(e->arg, tag, result);
    return result < 0 ? (int)result : 0;
}

static int for_each_run(struct for_each *e)
{
    ssize_t result = 0;
    uint64_t tag = 0;
    int rc = 0;

    for (;;) {
        while (rc >= 0 && for_each_has_room(e)) {
            rc = for_each_pull(e);
            if (rc >= 0)
                rc = weft_consume_budget();
        }
        if (rc < 0)
            return rc;
        rc = weft_futures_next(e->set, &tag, &result);
        if (rc <= 0)
            return rc;
        rc = for_each_pass(e, tag, result);
    }
}

/* A fiber while it is between the polls. */
struct for_each_visit {
    struct wf_leave leave;
    weft_futures *set;
};

static void for_each_panicked(struct wf_leave *l)
{
    wf_leave_remove(l);
    weft_futures_free(wf_container_of(l, struct for_each_visit, leave)->set);
}

int weft_for_each_concurrent(size_t limit, unsigned flags, weft_futures_source *source,
                             weft_futures_sink *sink, void *arg)
{
    struct wf_fiber *f = wf_fiber_self();
    struct for_each_visit visit;
    struct for_each e = {0};
    int rc = for_each_init(&e, limit, flags, source, sink, arg);

    if (rc < 0)
        return rc;
    if (!f)
        return wf_misuse(-EPERM, "weft_for_each_concurrent: called outside a fiber");
    rc = wf_await_verdict(f);
    if (rc < 0)
        return rc;
    e.set = weft_futures_new_with(flags);
    if (!e.set)
        return -ENOMEM;
    visit.set = e.set;
    wf_leave_push(f, WF_LEAVE_FIRST, &visit.leave, for_each_panicked);
    rc = for_each_run(&e);
    wf_leave_remove(&visit.leave);
    weft_futures_free(e.set);
    return rc;
}

/* --- as a future ------------------------------------------------------------------------------ */

static struct for_each *for_each_of(weft_future *f)
{
    return (struct for_each *)(void *)f->words;
}

/* As many new operations as there is room for, and one result. True: it is over, with *rc. False: go on, or wait: cx
 * will be woken. */
static bool for_each_step(struct for_each *e, weft_context *cx, bool *wait, int *rc)
{
    ssize_t result = 0;
    uint64_t tag = 0;

    while (for_each_has_room(e)) {
        *wait = !wf_coop_proceed(cx);
        if (*wait)
            return false;
        *rc = for_each_pull(e);
        if (*rc < 0)
            return true;
    }
    *rc = wf_futures_poll(e->set, cx, &tag, &result);
    *wait = *rc == -EAGAIN;
    if (*rc <= 0)
        return !*wait;
    *rc = for_each_pass(e, tag, result);
    return *rc < 0;
}

static weft_poll for_each_poll(weft_future *f, weft_context *cx)
{
    struct for_each *e = for_each_of(f);
    bool wait = false;
    int rc = -ENOMEM;

    if (!e->set)
        e->set = weft_futures_new_with(e->flags);
    while (e->set && !for_each_step(e, cx, &wait, &rc))
        if (wait)
            return WEFT_PENDING;
    weft_futures_free(e->set);
    f->result = rc;
    return WEFT_READY;
}

static void for_each_drop(weft_future *f)
{
    weft_futures_free(for_each_of(f)->set);
}

static const weft_future_type for_each_type = {for_each_poll, for_each_drop, "for_each"};

weft_future weft_for_each_concurrent_future(size_t limit, unsigned flags,
                                            weft_futures_source *source, weft_futures_sink *sink,
                                            void *arg)
{
    weft_future f = {.type = &for_each_type};
    int rc = for_each_init(for_each_of(&f), limit, flags, source, sink, arg);

    return rc < 0 ? weft_ready_future(rc) : f;
}
