/* SPDX-License-Identifier: MIT */
/* test_virtual.c - a clock that is stopped, started and moved, and how many such there are. */
#include "base/clock.h"
#include "support.h"
#include "time/virtual.h"

TEST(it_is_the_monotonic_clock_until_it_is_stopped)
{
    struct wf_virtual v;
    uint64_t before = wf_clock_now(), now;

    wf_virtual_init(&v);
    now = wf_virtual_now(&v);
    CHECK(now >= before && now <= wf_clock_now());
    CHECK(!wf_virtual_is_stopped(&v));
    CHECK(!wf_virtual_any());
    CHECK(!wf_virtual_start(&v));
    wf_virtual_release(&v);
    CHECK(!wf_virtual_any());
}

TEST(it_never_goes_backwards)
{
    struct wf_virtual v;
    uint64_t last, stopped;

    wf_virtual_init(&v);
    last = wf_virtual_now(&v);
    for (uint64_t i = 0; i < 1000; i++) {
        CHECK(wf_virtual_stop(&v));
        CHECK(!wf_virtual_stop(&v));
        stopped = wf_virtual_now(&v);
        CHECK(stopped >= last);
        CHECK(wf_virtual_jump(&v, stopped - 5)); /* an earlier moment changes nothing */
        CHECK_EQ(stopped, wf_virtual_now(&v));
        CHECK(wf_virtual_jump(&v, stopped + i * 1000));
        CHECK_EQ(stopped + i * 1000, wf_virtual_now(&v));
        CHECK(wf_virtual_start(&v));
        last = wf_virtual_now(&v);
        CHECK(last >= stopped + i * 1000);
    }
    CHECK(last > wf_clock_now());
    wf_virtual_release(&v);
}

TEST(it_is_not_moved_beyond_its_end)
{
    struct wf_virtual v;

    wf_virtual_init(&v);
    CHECK(wf_virtual_stop(&v));
    CHECK(!wf_virtual_jump(&v, WEFT_FOREVER));
    CHECK(!wf_virtual_jump(&v, WF_VIRTUAL_MAX + 1));
    CHECK(wf_virtual_jump(&v, WF_VIRTUAL_MAX));
    CHECK(wf_virtual_now(&v) == WF_VIRTUAL_MAX);
    wf_virtual_release(&v);
}

TEST(a_moment_on_it_is_one_of_the_monotonic_clock_too)
{
    struct wf_virtual v;
    uint64_t real, before = wf_clock_now();

    wf_virtual_init(&v);
    CHECK(wf_virtual_stop(&v));
    CHECK(wf_virtual_jump(&v, before + WEFT_SECS(1000)));
    CHECK(wf_virtual_start(&v));
    real = wf_virtual_to_real(&v, wf_virtual_now(&v) + WEFT_SECS(5));
    CHECK(real <= wf_clock_now() + WEFT_SECS(5) && real >= before + WEFT_SECS(5) - WEFT_MS(1));
    CHECK(wf_virtual_to_real(&v, before) <= wf_clock_now()); /* past */
    CHECK(wf_virtual_to_real(&v, WEFT_FOREVER) == WEFT_FOREVER);
    CHECK(wf_virtual_to_real(&v, WEFT_FOREVER - 1) > WF_VIRTUAL_MAX);
    wf_virtual_release(&v);
}

TEST(clocks_that_were_stopped_are_counted_until_they_go)
{
    struct wf_virtual a, b;

    wf_virtual_init(&a);
    wf_virtual_init(&b);
    (void)wf_virtual_stop(&a);
    (void)wf_virtual_start(&a);
    (void)wf_virtual_stop(&a);
    CHECK(wf_virtual_any());
    (void)wf_virtual_stop(&b);
    wf_virtual_release(&a);
    CHECK(wf_virtual_any());
    wf_virtual_release(&b);
    CHECK(!wf_virtual_any());
}

TEST_MAIN("virtual", it_is_the_monotonic_clock_until_it_is_stopped, it_never_goes_backwards,
          it_is_not_moved_beyond_its_end, a_moment_on_it_is_one_of_the_monotonic_clock_too,
          clocks_that_were_stopped_are_counted_until_they_go)
