/* SPDX-License-Identifier: MIT */
/* test_leave.c - a fiber that ends is led out of what it is inside of, in order, wherever the records lie. */
#include "task/leave.h"

#include "support.h"

#include <string.h>

/* What happened, in order: letters. */
struct trace {
    char text[16];
    size_t len;
};

static void note(struct trace *t, char c)
{
    CHECK(t->len < sizeof(t->text) - 1);
    t->text[t->len++] = c;
}

struct thing {
    struct wf_leave leave;
    struct trace *trace;
    char name;
};

static void thing_leave(struct wf_leave *l)
{
    struct thing *t = wf_container_of(l, struct thing, leave);

    wf_leave_remove(l);
    CHECK(!wf_leave_inside(l));
    /* It may give the thread back; and is shielded. */
    CHECK_EQ(0, weft_yield());
    note(t->trace, t->name);
}

static void enter(struct thing *t, struct trace *trace, char name, enum wf_leave_when when)
{
    t->trace = trace;
    t->name = name;
    wf_leave_push(wf_fiber_self(), when, &t->leave, thing_leave);
    CHECK(wf_leave_inside(&t->leave));
}

static void deferred(void *arg)
{
    note(arg, 'd');
}

struct job {
    struct trace trace;
    bool panics, removes;
};

/* In a frame of its own. The things are left behind on purpose. */
static WF_NOINLINE void enter_all(struct job *j)
{
    struct thing things[4];

    enter(&things[0], &j->trace, '1', WF_LEAVE_LAST);
    enter(&things[1], &j->trace, '2', WF_LEAVE_FIRST);
    enter(&things[2], &j->trace, '3', WF_LEAVE_LAST);
    enter(&things[3], &j->trace, '4', WF_LEAVE_FIRST);
    if (j->removes) {
        /* Not in the order of entering. */
        wf_leave_remove(&things[1].leave);
        wf_leave_remove(&things[2].leave);
    }
    if (j->panics)
        weft_panic("inside of four things");
    if (j->removes) {
        wf_leave_remove(&things[3].leave);
        wf_leave_remove(&things[0].leave);
    }
}

static int enters(void *arg)
{
    struct job *j = arg;

    CHECK_EQ(0, weft_defer(deferred, &j->trace));
    if (j->panics || j->removes) {
        enter_all(j);
        return 0;
    }
    {
        struct thing a, b;

        enter(&a, &j->trace, 'a', WF_LEAVE_FIRST);
        enter(&b, &j->trace, 'b', WF_LEAVE_LAST);
        return 0;
    }
}

static int trace_of(void *arg)
{
    struct job *j = arg;
    int result;

    CHECK_EQ(0, weft_join(weft_spawn(enters, j), &result));
    CHECK_EQ(j->panics ? -EOWNERDEAD : 0, result);
    return 0;
}

static void claim(const char *want, bool panics, bool removes)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        struct job j = {.panics = panics, .removes = removes};

        test_run_on(&test_flavours[i], trace_of, &j);
        CHECK_STR(want, j.trace.text);
    }
}

TEST(a_panic_leads_out_the_newest_first_around_the_deferred_calls)
{
    claim("42d31", true, false);
}

END_TEST

TEST(what_was_left_is_not_left_again)
{
    claim("d", false, true);
    claim("4d1", true, true);
}

END_TEST

TEST(a_function_that_returns_inside_is_led_out_though_its_frame_is_dead)
{
    claim("adb", false, false);
}

END_TEST

TEST_MAIN("leave", a_panic_leads_out_the_newest_first_around_the_deferred_calls,
          what_was_left_is_not_left_again,
          a_function_that_returns_inside_is_led_out_though_its_frame_is_dead)
