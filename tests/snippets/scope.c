/* SPDX-License-Identifier: MIT */
/* scope.c - the README on structured concurrency: tasks that a block of code waits for. */
#include <support.h>

static int twice(void *arg)
{
    int *value = arg;
    int rc = weft_sleep(WEFT_MS(1));

    if (rc < 0)
        return rc;
    if (*value < 0)
        return -EDOM;
    *value *= 2;
    return 0;
}

static int both(int *a, int *b)
{
    int rc;

    WEFT_SCOPE(s, &rc)
    {
        weft_scope_spawn(s, twice, a);
        weft_scope_spawn(s, twice, b);
    }
    return rc; /* both have ended; the first failure has cancelled the other one */
}

static int app(void *arg)
{
    int one = 1, two = 2, bad = -1;

    (void)arg;
    CHECK_EQ(0, both(&one, &two));
    CHECK_EQ(2, one);
    CHECK_EQ(4, two);
    CHECK_EQ(-EDOM, both(&one, &bad));
    return 0;
}

TEST(a_block_waits_for_its_tasks)
{
    test_run(app, NULL);
}

TEST_MAIN("scope", a_block_waits_for_its_tasks)
