/* SPDX-License-Identifier: MIT */
/* test_stall.c - what repeated looks at a poll say: does it wait, compute, make tasks, or only wait for a processor? */
#include "sched/stall.h"

#include "support.h"

#define US 1000u
#define MS 1000000u

/* A poll that is looked at again and again; what happens between two looks is said by the test. */
struct watched {
    struct wf_stall stall;
    struct wf_look look;
};

static struct watched begin(void)
{
    return (struct watched){.look = {.poll = 7, .at_ns = 1000 * (uint64_t)MS, .clocked = true}};
}

/* So long later: it has computed for cpu_ns, made tasks, and waits in the kernel now, or not. */
static bool later(struct watched *w, uint64_t ns, uint64_t cpu_ns, uint64_t made, bool waits)
{
    w->look.at_ns += ns;
    w->look.cpu_ns += cpu_ns;
    w->look.queued += made;
    w->look.waits = waits;
    return wf_stall_look(&w->stall, &w->look);
}

TEST(the_first_look_says_only_whether_it_waits)
{
    struct watched w = begin();

    w.look.cpu_ns = 5 * (uint64_t)MS;
    w.look.queued = 1000;
    CHECK(!later(&w, 0, 0, 0, true));
    CHECK(w.stall.blocked);
    CHECK(!w.stall.produces);
    CHECK_EQ(0, w.stall.computed_ns);
    CHECK(later(&w, MS, 0, 0, true));

    w.look.poll = 8; /* another poll: all is forgotten */
    CHECK(!later(&w, MS, MS, 5000, false));
    CHECK(!w.stall.blocked && !w.stall.produces);
    CHECK_EQ(0, w.stall.computed_ns);
}

END_TEST

/* Of what waits in the injection queue, that is its own. */
TEST(what_it_has_to_inject_is_made_too)
{
    struct watched w = begin();

    w.look.injected = 10;
    (void)later(&w, 0, 0, 0, false);
    CHECK_EQ(0, w.stall.injected);
    w.look.injected = 1000;
    (void)later(&w, MS, MS, 0, false);
    CHECK_EQ(990, w.stall.injected);
    CHECK(w.stall.produces);
    w.look.injected = 1001;
    (void)later(&w, MS, MS, 5000, false);
    CHECK_EQ(991, w.stall.injected);
    w.look.poll = 8;
    (void)later(&w, MS, MS, 0, false);
    CHECK_EQ(0, w.stall.injected);
}

END_TEST

TEST(what_its_thread_computes_is_summed)
{
    struct watched w = begin();

    (void)later(&w, 0, 0, 0, false);
    (void)later(&w, MS, MS, 0, false);
    (void)later(&w, 3 * MS, 2 * MS, 0, true);
    (void)later(&w, 9 * MS, 0, 0, false);
    CHECK_EQ(3 * MS, w.stall.computed_ns);
}

END_TEST

/* It is off its processor, and not in the kernel by its own will. */
TEST(a_thread_that_waits_for_a_processor_neither_computes_nor_blocks)
{
    struct watched w = begin();

    (void)later(&w, 0, 0, 0, false);
    for (int i = 0; i < 100; i++)
        (void)later(&w, 10 * MS, 0, 0, false);
    CHECK_EQ(0, w.stall.computed_ns);
    CHECK(!w.stall.blocked);
}

END_TEST

TEST(who_waits_at_a_look_is_blocked_only_if_it_hardly_computed_before)
{
    struct watched w = begin();

    (void)later(&w, 0, 0, 0, false);
    (void)later(&w, MS, MS - 10 * US, 0, true); /* a short wait, for a lock perhaps */
    CHECK(!w.stall.blocked);
    (void)later(&w, MS, 100 * US, 0, true); /* many waits, with a little work between them */
    CHECK(w.stall.blocked);
    (void)later(&w, MS, 0, 0, false);
    CHECK(!w.stall.blocked);
}

END_TEST

TEST(a_clock_that_cannot_be_read_has_passed_any_limit)
{
    struct watched w = begin();

    w.look.clocked = false;
    (void)later(&w, 0, 0, 0, false);
    (void)later(&w, MS, 0, 0, true);
    CHECK_EQ(UINT64_MAX, w.stall.computed_ns);
    CHECK(w.stall.blocked);
    w.look.clocked = true; /* what it was before is not known */
    (void)later(&w, MS, 500 * (uint64_t)MS, 0, true);
    CHECK_EQ(UINT64_MAX, w.stall.computed_ns);
    CHECK(w.stall.blocked);
}

END_TEST

TEST(who_makes_a_task_every_other_microsecond_produces)
{
    struct watched w = begin();

    (void)later(&w, 0, 0, 0, false);
    (void)later(&w, 10 * MS, 10 * MS, 5000, false);
    CHECK(w.stall.produces);
    (void)later(&w, 10 * MS, 10 * MS, 4999, false);
    CHECK(!w.stall.produces);
    (void)later(&w, 90 * MS, 10 * MS, 5000, false); /* by its own clock */
    CHECK(w.stall.produces);
    (void)later(&w, 10 * MS, 10 * MS, 5000, true); /* a short wait */
    CHECK(w.stall.produces);
}

END_TEST

TEST(who_has_no_processor_goes_on_to_do_what_it_did)
{
    struct watched w = begin();

    (void)later(&w, 0, 0, 0, false);
    (void)later(&w, MS, MS, 1000, false);
    (void)later(&w, 9 * MS, 50 * US, 0, false);
    CHECK(w.stall.produces);
    (void)later(&w, MS, 100 * US, 0, false); /* it had one, and made nothing */
    CHECK(!w.stall.produces);

    (void)later(&w, MS, MS, 1000, false);
    CHECK(w.stall.produces);
    (void)later(&w, MS, 0, 0, true);
    CHECK(!w.stall.produces);
}

END_TEST

TEST(who_leaves_a_task_in_the_slot_does_not_produce)
{
    struct watched w = begin();
    char one, other;

    w.look.slot = (struct weft_task *)(void *)&one;
    (void)later(&w, 0, 0, 0, false);
    (void)later(&w, MS, MS, 1000, false);
    CHECK(!w.stall.produces); /* it is out of others' reach */
    w.look.slot = (struct weft_task *)(void *)&other;
    (void)later(&w, MS, MS, 1000, false);
    CHECK(w.stall.produces); /* the slot goes on */
    w.look.slot = NULL;
    (void)later(&w, MS, MS, 1000, false);
    CHECK(w.stall.produces);
}

END_TEST

TEST_MAIN("stall", the_first_look_says_only_whether_it_waits, what_it_has_to_inject_is_made_too,
          what_its_thread_computes_is_summed,
          a_thread_that_waits_for_a_processor_neither_computes_nor_blocks,
          who_waits_at_a_look_is_blocked_only_if_it_hardly_computed_before,
          a_clock_that_cannot_be_read_has_passed_any_limit,
          who_makes_a_task_every_other_microsecond_produces,
          who_has_no_processor_goes_on_to_do_what_it_did,
          who_leaves_a_task_in_the_slot_does_not_produce)
