/* SPDX-License-Identifier: MIT */
/* clock.c - the README on time in tests: an hour that takes no time. */
#include <support.h>

static int poll_every_minute(void *arg)
{
    int *polls = arg, rc;
    weft_interval minute;

    rc = weft_interval_init(&minute, WEFT_SECS(60));
    while (rc == 0) {
        rc = weft_interval_tick(&minute, NULL);
        *polls += rc == 0;
    }
    return rc;
}

static int test(void *arg)
{
    weft_task *t;
    int polls = 0, rc;

    (void)arg;
    t = weft_spawn(poll_every_minute, &polls);
    weft_sleep(WEFT_SECS(3599)); /* over at once: nobody has anything to do meanwhile */
    weft_cancel(t);
    rc = weft_join(t, NULL);
    return rc < 0 ? rc : polls; /* 60 */
}

static int run_test(void)
{
    weft_config config = {.flavor = WEFT_CURRENT_THREAD, .start_paused = WEFT_ON};
    weft_runtime *rt;
    int polls, rc;

    rc = weft_runtime_new(&rt, &config);
    if (rc < 0)
        return rc;
    rc = weft_block_on(rt, test, NULL, &polls);
    weft_runtime_free(rt);
    return rc < 0 ? rc : polls;
}

TEST(an_hour_takes_no_time)
{
    weft_instant before = weft_now();

    CHECK_EQ(60, run_test());
    CHECK(weft_now() - before < WEFT_SECS(60));
}

TEST_MAIN("clock", an_hour_takes_no_time)
