/* SPDX-License-Identifier: MIT */
/*
 * test_futures.c - sets of futures: wakes from several threads against polls, the end of a future, its drop, the end
 * of the set, pushes, and those who wait for the next result.
 *
 * A cell is a future that is ready when it has seen the words of all who wake it. A wake that is lost, or that does
 * not carry its word, leaves the driver waiting for ever. Nodes are not from the slab: one that was freed is gone, so
 * whoever comes too late uses memory after its end.
 */
#include "base/sys.h"
#include "model/model.h"
#include "task/futures.h"
#include "task/slab.h"
#include "task/waker.h"

#include <errno.h>

/* What can happen, must. */
enum {
    WAITED,       /* the driver was woken out of the head */
    FOUND,        /* it came by without having waited */
    ENDED_QUEUED, /* a future ended, or was dropped, with a wake of it under way */
    BUSY,
    EMPTY,
    TOOK,
    KEPT, /* a dropped wait left the result to the next one */
    COUNTED,
    EVENTS_END
};

#define BIT(event) (1u << (event))

void *wf_slab_alloc(struct wf_slab_cache *c, size_t size)
{
    (void)c;
    return model_alloc(size, 64);
}

void wf_slab_free(struct wf_slab_cache *c, void *p)
{
    (void)c;
    model_free(p);
}

/* --- who waits ---------------------------------------------------------------------------- */

/* Unlike those of model/bell.h it carries to who waits what came before the wake, as the wake of a task does. */

struct bell {
    weft_wakeable wakeable;
    struct wf_atomic_u32 refs;
    struct wf_atomic_u32 rings;
    uint32_t heard;
};

static void bell_retain(weft_wakeable *w)
{
    wf_add_u32(&wf_container_of(w, struct bell, wakeable)->refs, 1, WF_RELAXED);
}

static void bell_wake(weft_wakeable *w)
{
    wf_add_u32(&wf_container_of(w, struct bell, wakeable)->rings, 1, WF_RELEASE);
}

static void bell_release(weft_wakeable *w)
{
    CHECK(wf_sub_u32(&wf_container_of(w, struct bell, wakeable)->refs, 1, WF_ACQ_REL) > 0);
}

static const weft_wakeable_type bell_type = {bell_retain, bell_wake, bell_release};

/* The second one is made by who waits at it, so that the set must carry it to who rings. */
static struct bell bells[2] = {{.wakeable = {&bell_type}}};

__attribute__((no_sanitize("thread"))) static bool bell_rang(void *arg)
{
    struct bell *b = arg;

    return b->rings.raw != b->heard;
}

static void bell_wait(struct bell *b)
{
    uint32_t rings;

    do
        model_block(bell_rang, b, UINT64_MAX);
    while ((rings = wf_load_u32(&b->rings, WF_ACQUIRE)) == b->heard);
    b->heard = rings;
}

/* --- what is in the set --------------------------------------------------------------------- */

#define CELLS  2
#define WAKERS 2

static struct cell {
    unsigned wakers_of; /* who wakes it: bits */
    bool yields;        /* wakes itself, too, in its first poll of the driver */
    struct wf_atomic_u32 word[WAKERS];
    weft_waker waker[WAKERS];
    unsigned polls, drops;
    bool ended;
} cells[CELLS];

static weft_futures *set;

static weft_poll cell_poll(weft_future *f, weft_context *cx)
{
    struct cell *c = &cells[f->words[0]];
    bool all = true;

    for (unsigned i = 0; i < WAKERS; i++) {
        if (!(c->wakers_of & BIT(i)))
            continue;
        if (c->polls == 0)
            c->waker[i] = weft_context_waker(cx);
        /* relaxed: the wake carries it */
        all = all && wf_load_u32(&c->word[i], WF_RELAXED);
    }
    c->polls++;
    if (c->yields && c->polls == 2) {
        weft_waker_wake_by_ref(&cx->waker_);
        return WEFT_PENDING;
    }
    f->result = (ssize_t)f->words[0] + 10;
    c->ended = all;
    return all ? WEFT_READY : WEFT_PENDING;
}

static void cell_drop(weft_future *f)
{
    cells[f->words[0]].drops++;
}

static const weft_future_type cell_type = {cell_poll, cell_drop, "cell"};

static weft_future cell_future(unsigned i)
{
    weft_future f = weft_future_of(&cell_type);

    f.words[0] = i;
    return f;
}

static weft_poll poll_with(weft_future *f, struct bell *b)
{
    weft_context cx = {{&b->wakeable}};

    return weft_future_poll(f, &cx);
}

/* A set of so many cells, each polled once, so that the wakers are there. Who waits for the next result: the future,
 * or nobody. */
static void begin_with(unsigned count, weft_future *next)
{
    weft_future f;

    set = weft_futures_new();
    CHECK(set);
    for (unsigned i = 0; i < count; i++)
        CHECK_EQ(0, weft_futures_push(set, cell_future(i), i));
    if (!next) {
        next = &f;
        f = weft_futures_next_future(set, NULL, NULL);
        CHECK_EQ(WEFT_PENDING, poll_with(next, &bells[0]));
        weft_future_drop(next);
        CHECK_EQ(0, bells[0].refs.raw);
        return;
    }
    CHECK_EQ(WEFT_PENDING, poll_with(next, &bells[0]));
}

/* --- threads ---------------------------------------------------------------------------------- */

static struct wf_atomic_u32 pushes; /* that have ended */

/* So many results. The set may be empty before something was pushed. */
static void drive(unsigned want, struct bell *b)
{
    unsigned seen = 0;

    while (want) {
        uint64_t tag = 99;
        ssize_t result = 0;
        /* acquire: what was pushed before is found */
        uint32_t before = wf_load_u32(&pushes, WF_ACQUIRE);
        weft_future next = weft_futures_next_future(set, &tag, &result);
        bool waited = false;

        while (poll_with(&next, b) == WEFT_PENDING) {
            bell_wait(b);
            waited = true;
        }
        if (next.result == 0) {
            model_reached(EMPTY);
            while (wf_load_u32(&pushes, WF_RELAXED) == before)
                wf_spin_pause();
            continue;
        }
        CHECK_EQ(1, next.result);
        CHECK(tag < CELLS && result == (ssize_t)tag + 10);
        CHECK(!(seen & BIT(tag)));
        seen |= BIT(tag);
        want--;
        model_reached(waited ? WAITED : FOUND);
    }
}

static void drive_one(void)
{
    drive(1, &bells[0]);
    if (wf_load_u32(&bells[0].refs, WF_RELAXED) == 0)
        model_reached(ENDED_QUEUED);
}

static void drive_two(void)
{
    drive(2, &bells[0]);
}

static void tell(unsigned me, bool by_ref)
{
    for (unsigned i = 0; i < CELLS; i++) {
        struct cell *c = &cells[i];

        if (!(c->wakers_of & BIT(me)))
            continue;
        /* relaxed: the wake carries it */
        wf_store_u32(&c->word[me], 1, WF_RELAXED);
        if (by_ref)
            weft_waker_wake_by_ref(&c->waker[me]);
        else
            weft_waker_wake(&c->waker[me]);
        weft_waker_drop(&c->waker[me]);
    }
}

static void wakes(void)
{
    tell(0, false);
}

static void wakes_and_drops(void)
{
    tell(1, true);
}

static void frees(void)
{
    weft_futures_free(set);
    set = NULL;
}

static void clears(void)
{
    int rc = weft_futures_clear(set);

    CHECK(rc == 0 || rc == -EBUSY);
    if (rc < 0)
        model_reached(BUSY);
}

/* --- wakes against polls ---------------------------------------------------------------------- */

/* Two cells, each woken by one; or one that both wake; or one that also wakes itself. */
static void begin_wakes(void)
{
    cells[0].wakers_of = 1;
    cells[1].wakers_of = 2;
    begin_with(2, NULL);
}

static void begin_both(void)
{
    cells[0].wakers_of = 3;
    cells[0].yields = model_choose(2);
    begin_with(1, NULL);
}

static void end_empty(void)
{
    uint64_t tag;
    ssize_t result;

    CHECK_EQ(0, weft_futures_try_next(set, &tag, &result));
    CHECK_EQ(0, weft_futures_len(set));
    weft_futures_free(set);
    for (unsigned i = 0; i < CELLS; i++)
        CHECK_EQ(0, cells[i].drops);
    CHECK_EQ(0, bells[0].refs.raw);
    CHECK_EQ(0, bells[1].refs.raw);
}

/* --- a second wake while the future ends ------------------------------------------------------- */

/* Ready when the first has told; the second one's wake is under way then, or comes too late. */
static void begin_late(void)
{
    cells[0].wakers_of = 3;
    begin_with(1, NULL);
    wf_store_u32(&cells[0].word[1], 1, WF_RELAXED);
}

/* --- the end of the set ------------------------------------------------------------------------ */

static void begin_freed(void)
{
    cells[0].wakers_of = 3;
    begin_with(1, NULL);
}

static void end_freed(void)
{
    CHECK_EQ(1, cells[0].drops);
    CHECK_EQ(0, bells[0].refs.raw);
}

/* The driver takes a result, if there is one, and frees the set at once. */
static void tries_and_frees(void)
{
    ssize_t result = 0;
    uint64_t tag = 0;
    int rc = weft_futures_try_next(set, &tag, &result);

    CHECK(rc == -EAGAIN || (rc == 1 && result == 10));
    model_reached(rc == 1 ? TOOK : KEPT);
    weft_futures_free(set);
}

static void end_tried(void)
{
    CHECK_EQ(1, cells[0].drops + cells[0].ended);
}

/* --- the end of a wait ------------------------------------------------------------------------- */

static weft_future waiting;
static uint64_t waiting_tag;
static ssize_t waiting_result;

static void begin_waiting(void)
{
    cells[0].wakers_of = 1;
    waiting = (weft_future){0};
    set = weft_futures_new();
    CHECK(set);
    CHECK_EQ(0, weft_futures_push(set, cell_future(0), 0));
    waiting = weft_futures_next_future(set, &waiting_tag, &waiting_result);
    CHECK_EQ(WEFT_PENDING, poll_with(&waiting, &bells[0]));
    CHECK_EQ(1, bells[0].refs.raw);
}

/* Gives up, and another one takes the result. */
static void drops_and_another_waits(void)
{
    weft_future_drop(&waiting);
    CHECK_EQ(-ECANCELED, waiting.result);
    bells[1].wakeable.type = &bell_type;
    drive(1, &bells[1]);
}

static void polls_until_ready(void)
{
    while (poll_with(&waiting, &bells[0]) == WEFT_PENDING)
        bell_wait(&bells[0]);
}

/* The set may only be freed while no call on it runs: whoever waits is asleep, until that wakes him. */
static void sleeps_until_shut(void)
{
    bell_wait(&bells[0]);
    CHECK_EQ(WEFT_READY, poll_with(&waiting, &bells[0]));
    CHECK_EQ(-ESHUTDOWN, waiting.result);
}

static void drops(void)
{
    weft_future_drop(&waiting);
    CHECK_EQ(-ECANCELED, waiting.result);
}

static void end_shut(void)
{
    weft_waker_drop(&cells[0].waker[0]);
    CHECK_EQ(0, bells[0].refs.raw);
    CHECK_EQ(1, cells[0].drops);
}

static void polls_until_empty(void)
{
    polls_until_ready();
    if (waiting.result == 0) {
        model_reached(EMPTY);
        CHECK_EQ(1, cells[0].drops);
    } else {
        CHECK_EQ(1, waiting.result);
        CHECK_EQ(10, waiting_result);
        model_reached(TOOK);
    }
}

static void end_cleared(void)
{
    CHECK_EQ(1, cells[0].drops + cells[0].ended);
    CHECK_EQ(0, weft_futures_len(set));
    weft_futures_free(set);
    CHECK_EQ(0, bells[0].refs.raw);
}

/* --- pushes -------------------------------------------------------------------------------------- */

static void begin_pushes(void)
{
    cells[0].wakers_of = 0;
    set = weft_futures_new();
    CHECK(set);
}

static void push_one(unsigned i)
{
    CHECK_EQ(0, weft_futures_push(set, cell_future(i), i));
    wf_add_u32(&pushes, 1, WF_RELEASE);
}

static void pushes_first(void)
{
    push_one(0);
}

static void pushes_second(void)
{
    push_one(1);
}

/* A future that waits keeps the driver waiting, and one that is pushed ends the wait. */
static void begin_push_to_waiting(void)
{
    begin_waiting();
    cells[1].wakers_of = 0;
}

static void polls_both(void)
{
    polls_until_ready();
    CHECK_EQ(1, waiting.result);
    model_reached(waiting_tag == 0 ? TOOK : KEPT);
    bells[1].wakeable.type = &bell_type;
    drive(1, &bells[1]);
}

/* --- two who drive ------------------------------------------------------------------------------ */

static struct wf_atomic_u32 taken;

static void drive_once(struct bell *b)
{
    uint64_t tag = 0;
    ssize_t result = 0;
    weft_future next = weft_futures_next_future(set, &tag, &result);

    while (poll_with(&next, b) == WEFT_PENDING)
        bell_wait(b);
    if (next.result == 1) {
        CHECK_EQ(10, result);
        wf_add_u32(&taken, 1, WF_RELAXED);
        model_reached(TOOK);
    } else if (next.result == -EBUSY) {
        model_reached(BUSY);
    } else {
        CHECK_EQ(0, next.result);
        model_reached(EMPTY);
    }
}

static void drives_first(void)
{
    drive_once(&bells[0]);
}

static void drives_second(void)
{
    bells[1].wakeable.type = &bell_type;
    drive_once(&bells[1]);
}

static void begin_two_drivers(void)
{
    cells[0].wakers_of = 1;
    begin_with(1, NULL);
}

static void end_two_drivers(void)
{
    CHECK_EQ(1, taken.raw);
    end_empty();
}

/* Whoever counts never finds more gone than were pushed. */
static void counts(void)
{
    size_t n = weft_futures_len(set);

    CHECK(n <= 2);
    model_reached(n == 0 ? EMPTY : n == 2 ? COUNTED : FOUND);
}

const struct model_test model_tests[] = {
    {.name = "two futures, each woken by another thread",
     .begin = begin_wakes,
     .thread = {drive_two, wakes, wakes_and_drops},
     .end = end_empty,
     .stale = 1,
     .must_reach = BIT(WAITED) | BIT(FOUND)},
    {.name = "a future that two threads wake, and that wakes itself",
     .begin = begin_both,
     .thread = {drive_one, wakes, wakes_and_drops},
     .end = end_empty,
     .stale = 1,
     .must_reach = BIT(WAITED) | BIT(FOUND)},
    {.name = "a wake while the future ends",
     .begin = begin_late,
     .thread = {drive_one, wakes, wakes_and_drops},
     .end = end_empty,
     .stale = 1,
     .must_reach = BIT(WAITED) | BIT(FOUND) | BIT(ENDED_QUEUED)},
    {.name = "wakes while the set is freed",
     .begin = begin_freed,
     .thread = {frees, wakes, wakes_and_drops},
     .end = end_freed},
    {.name = "wakes while a result is taken and the set is freed",
     .begin = begin_late,
     .thread = {tries_and_frees, wakes, wakes_and_drops},
     .end = end_tried,
     .stale = 1,
     .must_reach = BIT(TOOK) | BIT(KEPT)},
    {.name = "a wait that is dropped leaves the result to the next one",
     .begin = begin_waiting,
     .thread = {drops_and_another_waits, wakes},
     .end = end_empty,
     .must_reach = BIT(WAITED) | BIT(FOUND)},
    {.name = "a set is freed while somebody waits",
     .begin = begin_waiting,
     .thread = {sleeps_until_shut, frees},
     .end = end_shut},
    {.name = "a set is freed while a wait is dropped",
     .begin = begin_waiting,
     .thread = {drops, frees, wakes},
     .end = end_shut},
    {.name = "a set is cleared while somebody waits",
     .begin = begin_waiting,
     .thread = {polls_until_empty, clears, wakes},
     .end = end_cleared,
     .must_reach = BIT(TOOK) | BIT(EMPTY) | BIT(BUSY)},
    {.name = "two threads push while a third one drives",
     .begin = begin_pushes,
     .thread = {drive_two, pushes_first, pushes_second},
     .end = end_empty,
     .must_reach = BIT(EMPTY)},
    {.name = "a push ends a wait",
     .begin = begin_push_to_waiting,
     .thread = {polls_both, pushes_second, wakes},
     .end = end_empty,
     .stale = 1,
     .must_reach = BIT(TOOK) | BIT(KEPT)},
    {.name = "one drives at a time, and a set moves between them",
     .begin = begin_two_drivers,
     .thread = {drives_first, drives_second, wakes},
     .end = end_two_drivers,
     .must_reach = BIT(TOOK) | BIT(BUSY) | BIT(EMPTY)},
    {.name = "who counts finds no more gone than were pushed",
     .begin = begin_pushes,
     .thread = {drive_two, pushes_first, pushes_second, counts},
     .end = end_empty,
     .preemptions = 1,
     .must_reach = BIT(EMPTY) | BIT(FOUND) | BIT(COUNTED)},
    {0},
};
