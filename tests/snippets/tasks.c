/* SPDX-License-Identifier: MIT */
/* tasks.c - the README on tasks: spawning with arguments, joining. */
#include <support.h>

struct range {
    int from, to;
};

static int sum(void *arg)
{
    const struct range *r = arg;
    int total = 0;

    for (int i = r->from; i < r->to; i++)
        total += i;
    return total;
}

static int sum_in_halves(void *arg)
{
    struct range low = {0, 500}, high = {500, 1000};
    weft_task *a = weft_spawn_copy(sum, &low, sizeof(low));
    weft_task *b = weft_spawn_copy(sum, &high, sizeof(high));
    int x, y, rc;

    (void)arg;
    rc = weft_join(a, &x);
    if (rc < 0)
        return rc;
    rc = weft_join(b, &y);
    if (rc < 0)
        return rc;
    return x + y; /* 499500 */
}

static int app(void *arg)
{
    CHECK_EQ(499500, sum_in_halves(arg));
    return 0;
}

TEST(two_tasks_add_up)
{
    test_run(app, NULL);
}

TEST_MAIN("tasks", two_tasks_add_up)
