/* SPDX-License-Identifier: MIT */
/*
 * test_watch.c - a watch channel between a few threads: no reader gets a torn value, or an older one than before; no
 * change is lost; what is lent stays; and who waits is woken.
 */
#include "model/channels.h"

#include <weft/watch.h>

enum { FRESH, STALE, LENT_LONG, CALLED, UNCALLED, WAITED, REFUSED };

static weft_watch_sender *tx;
static weft_watch_receiver *rx[2];
static weft_future waiting;
static struct bell bell = BELL_INIT;

static void begin(void)
{
    struct pair p = pair_of(0);

    CHECK_EQ(0, weft_watch_new(&tx, &rx[0], sizeof(p), &p));
}

static void begin_two(void)
{
    begin();
    CHECK_EQ(0, weft_watch_receiver_clone(rx[0], &rx[1]));
}

static void send_number(uint64_t n)
{
    struct pair p = pair_of(n);

    CHECK_EQ(0, weft_watch_send(tx, &p));
}

static uint64_t read_number(const weft_watch_receiver *from)
{
    struct pair p;

    CHECK_EQ(0, weft_watch_get(from, &p));
    return pair_number(&p);
}

static void end(void)
{
    weft_watch_receiver_close(rx[0]);
    weft_watch_receiver_close(rx[1]);
    weft_watch_sender_close(tx);
}

/* --- reading ------------------------------------------------------------------------- */

static void sends(void)
{
    for (uint64_t n = 1; n <= 3; n++)
        send_number(n);
}

static void reads(void)
{
    uint64_t before = 0, now;

    for (int i = 0; i < 2; i++, before = now) {
        now = read_number(rx[0]);
        CHECK(now >= before);
        model_reached(now == 3 ? FRESH : STALE);
    }
}

/* A value of a word and a half. */
struct triple {
    uint32_t n[3];
};

static void begin_triple(void)
{
    struct triple t = {{0}};

    CHECK_EQ(0, weft_watch_new(&tx, &rx[0], sizeof(t), &t));
}

static void sends_triples(void)
{
    for (uint32_t n = 1; n <= 3; n++)
        CHECK_EQ(0, weft_watch_send(tx, &(struct triple){{n, n, n}}));
}

static void reads_triple(void)
{
    struct triple t;

    CHECK_EQ(0, weft_watch_get(rx[0], &t));
    CHECK_EQ(t.n[0], t.n[1]);
    CHECK_EQ(t.n[0], t.n[2]);
}

/* Who has learnt of a version finds it. */
static bool is_told(void)
{
    weft_future f = weft_watch_changed_future(rx[0]);

    if (bell_poll(&bell, &f) == WEFT_READY)
        return true;
    weft_future_drop(&f);
    return false;
}

static void learns(void)
{
    struct pair p;

    if (is_told())
        CHECK(read_number(rx[0]) >= 1);
    CHECK_EQ(0, weft_watch_get_and_update(rx[0], &p));
    if (is_told())
        CHECK(read_number(rx[0]) > pair_number(&p)); /* it is another one than that */
    else
        model_reached(FRESH);
}

static void end_three(void)
{
    CHECK_EQ(3, read_number(rx[0]));
    end();
}

static void borrows(void)
{
    const struct pair *lent = weft_watch_borrow(rx[0]);
    uint64_t n = pair_number(lent);

    if (read_number(rx[0]) > n + 1)
        model_reached(LENT_LONG);
    CHECK_EQ(n, pair_number(lent));
    weft_watch_return(lent);
}

/* The last that knows the channel is a value that was lent. */
static void borrows_to_the_end(void)
{
    const struct pair *lent = weft_watch_borrow(rx[0]);

    weft_watch_receiver_close(rx[0]);
    (void)pair_number(lent);
    weft_watch_return(lent);
}

static void sends_and_ends(void)
{
    struct pair p = pair_of(1);

    if (weft_watch_send(tx, &p) == -EPIPE)
        model_reached(REFUSED);
    weft_watch_sender_close(tx);
}

/* --- changing ------------------------------------------------------------------------ */

static void increment(void *value, void *arg)
{
    struct pair *p = value;

    (void)arg;
    *p = pair_of(pair_number(p) + 1);
}

static bool increment_perhaps(void *value, void *arg)
{
    increment(value, arg);
    return *(bool *)arg;
}

static void changes(void)
{
    CHECK_EQ(0, weft_watch_send_modify(tx, increment, NULL));
}

static void does_not_change(void)
{
    bool keep = false;

    CHECK_EQ(0, weft_watch_send_if_modified(tx, increment_perhaps, &keep));
}

static void end_changed(void)
{
    CHECK_EQ(2, read_number(rx[0]));
    end();
}

static void end_changed_once(void)
{
    CHECK_EQ(1, read_number(rx[0]));
    end();
}

/* One sets it to ten, the other adds one: in either order, but not both at once. */
static void replaces(void)
{
    struct pair p = pair_of(10), old;

    CHECK_EQ(0, weft_watch_send_replace(tx, &p, &old));
    CHECK(pair_number(&old) <= 1);
    model_reached(old.a ? FRESH : STALE);
}

static void sends_ten(void)
{
    send_number(10);
}

static void end_replaced(void)
{
    uint64_t n = read_number(rx[0]);

    CHECK(n == 10 || n == 11);
    end();
}

/* --- waiting ------------------------------------------------------------------------- */

static void waits(unsigned i)
{
    uint64_t before = 0, now;
    int rc;

    while ((rc = weft_watch_changed_blocking(rx[i])) == 1) {
        now = read_number(rx[i]);
        CHECK(now >= before && now > 0);
        before = now;
    }
    CHECK_EQ(0, rc);
    CHECK_EQ(2, read_number(rx[i])); /* the last one is not missed */
    weft_watch_receiver_close(rx[i]);
}

static void waits_first(void)
{
    waits(0);
}

static void waits_second(void)
{
    waits(1);
}

static void sends_two_and_closes(void)
{
    send_number(1);
    send_number(2);
    weft_watch_sender_close(tx);
}

/* Nothing comes behind it that would make up for a wake that was lost. */
static void waits_once(void)
{
    CHECK_EQ(1, weft_watch_changed_blocking(rx[0]));
    CHECK_EQ(1, read_number(rx[0]));
}

static bool is_two(const void *value, void *arg)
{
    (void)arg;
    return pair_number(value) == 2;
}

static void waits_for_two(void)
{
    struct pair p = pair_of(0);

    CHECK_EQ(1, weft_watch_wait_for_blocking(rx[0], is_two, NULL, &p));
    CHECK_EQ(2, pair_number(&p));
    model_reached(WAITED);
    weft_watch_receiver_close(rx[0]);
}

static void begin_waiting(void)
{
    begin_two();
    waiting = weft_watch_changed_future(rx[0]);
    CHECK_EQ(WEFT_PENDING, bell_poll(&bell, &waiting));
}

static void sends_one(void)
{
    send_number(1);
}

static void drops(void)
{
    weft_future_drop(&waiting);
    model_reached(wf_load_u32(&bell.rings, WF_ACQUIRE) ? CALLED : UNCALLED);
    waiting = (weft_future){0}; /* nobody touches it any more */
}

static void polls_again(void)
{
    if (bell_poll(&bell, &waiting) == WEFT_READY) {
        CHECK_EQ(1, waiting.result);
        CHECK_EQ(1, read_number(rx[0]));
        model_reached(CALLED);
    }
}

static void end_waiting(void)
{
    if (waiting.type && !weft_future_is_ready(&waiting)) {
        CHECK_EQ(1, wf_load_u32(&bell.rings, WF_ACQUIRE));
        polls_again();
        CHECK(weft_future_is_ready(&waiting));
    }
    CHECK_EQ(0, wf_load_u32(&bell.refs, WF_ACQUIRE));
    end();
}

/* --- the ends ------------------------------------------------------------------------- */

static void waits_closed(void)
{
    CHECK_EQ(0, weft_watch_closed_blocking(tx));
    model_reached(WAITED);
    weft_watch_sender_close(tx);
}

static void closes_first(void)
{
    weft_watch_receiver_close(rx[0]);
}

static void closes_second(void)
{
    weft_watch_receiver_close(rx[1]);
}

/* --- values that own something -------------------------------------------------------- */

static void begin_owned(void)
{
    struct page *p = page_new(1);

    CHECK_EQ(0, weft_watch_new_with(&tx, &rx[0], sizeof(p), &p, &page_options));
    CHECK_EQ(0, weft_watch_receiver_clone(rx[0], &rx[1]));
}

static void send_page(unsigned number)
{
    struct page *p = page_new(number);

    if (weft_watch_send(tx, &p) < 0)
        page_put(p);
}

static void sends_pages(void)
{
    send_page(2);
    send_page(3);
}

static void reads_page(unsigned i)
{
    struct page *p;

    CHECK_EQ(0, weft_watch_get(rx[i], &p));
    (void)page_read(p);
}

static void reads_page_first(void)
{
    reads_page(0);
}

static void borrows_page_second(void)
{
    struct page *const *p = weft_watch_borrow(rx[1]);

    CHECK((*p)->number >= 1);
    weft_watch_return(p);
}

static void turn_page(void *value, void *arg)
{
    struct page **p = value;
    unsigned number = (*p)->number;

    (void)arg;
    page_put(*p);
    *p = page_new(number + 1);
}

static void changes_page(void)
{
    CHECK_EQ(0, weft_watch_send_modify(tx, turn_page, NULL));
}

static bool turn_page_in_vain(void *value, void *arg)
{
    turn_page(value, arg);
    return false;
}

static void changes_no_page(void)
{
    CHECK_EQ(0, weft_watch_send_if_modified(tx, turn_page_in_vain, NULL));
}

static void end_page_three(void)
{
    struct page *p;

    CHECK_EQ(0, weft_watch_get(rx[0], &p));
    CHECK_EQ(3, page_read(p));
    CHECK_EQ(1, pages.raw); /* the others are gone */
    end();
}

const struct model_test model_tests[] = {
    {.name = "a reader gets whole values, and never an older one",
     .begin = begin,
     .thread = {sends, reads},
     .end = end_three,
     .must_reach = 1u << FRESH | 1u << STALE},
    {.name = "a value that does not fill its words is whole too",
     .begin = begin_triple,
     .thread = {sends_triples, reads_triple},
     .end = end},
    {.name = "who has learnt of a version finds it",
     .begin = begin,
     .thread = {sends, learns},
     .end = end_three,
     .must_reach = 1u << FRESH},
    {.name = "what is lent stays as it is",
     .begin = begin,
     .thread = {sends, borrows, borrows},
     .end = end_three,
     .preemptions = 1,
     .must_reach = 1u << LENT_LONG},
    {.name = "what is lent outlives the ends",
     .begin = begin,
     .thread = {borrows_to_the_end, sends_and_ends},
     .must_reach = 1u << REFUSED},
    {.name = "no change is lost", .begin = begin, .thread = {changes, changes}, .end = end_changed},
    {.name = "a change and one that is none, and a reader",
     .begin = begin,
     .thread = {changes, does_not_change, reads},
     .end = end_changed_once,
     .preemptions = 1},
    {.name = "a change and a value that replaces it",
     .begin = begin,
     .thread = {changes, replaces},
     .end = end_replaced,
     .must_reach = 1u << FRESH | 1u << STALE},
    {.name = "a change and a send",
     .begin = begin,
     .thread = {changes, sends_ten},
     .end = end_replaced},
    {.name = "the only version is not missed",
     .begin = begin,
     .thread = {waits_once, sends_one},
     .end = end},
    {.name = "one waits for all versions and the end",
     .begin = begin,
     .thread = {waits_first, sends_two_and_closes}},
    {.name = "two wait for all versions and the end",
     .begin = begin_two,
     .thread = {waits_first, waits_second, sends_two_and_closes},
     .preemptions = 1,
     .stale = 1},
    {.name = "a condition is asked of the last value",
     .begin = begin,
     .thread = {waits_for_two, sends_two_and_closes},
     .must_reach = 1u << WAITED},
    {.name = "a wait is given up while a value comes",
     .begin = begin_waiting,
     .thread = {sends_one, drops},
     .end = end_waiting,
     .must_reach = 1u << CALLED | 1u << UNCALLED},
    {.name = "one that waits is polled again while a value comes",
     .begin = begin_waiting,
     .thread = {sends_one, polls_again},
     .end = end_waiting,
     .must_reach = 1u << CALLED},
    {.name = "the sender learns that the last receiver has gone",
     .begin = begin_two,
     .thread = {waits_closed, closes_first, closes_second},
     .preemptions = 1,
     .must_reach = 1u << WAITED},
    {.name = "pages: each is destroyed once, and read by nobody after that",
     .begin = begin_owned,
     .thread = {sends_pages, reads_page_first, borrows_page_second},
     .end = end_page_three,
     .preemptions = 1},
    {.name = "pages: no change is lost",
     .begin = begin_owned,
     .thread = {changes_page, changes_page, changes_no_page},
     .end = end_page_three,
     .preemptions = 1,
     .stale = 1},
    {0},
};
