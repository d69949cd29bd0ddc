/* SPDX-License-Identifier: MIT */
/* embed.c - the README on runtimes inside a program that has its own threads. */
#include <support.h>

static int job(void *arg)
{
    int rc = weft_sleep(WEFT_MS(1));

    return rc < 0 ? rc : *(const int *)arg + 1;
}

static int embed(void)
{
    weft_config config = {.worker_threads = 2, .thread_name = "my-worker"};
    int number = 1, result = 0, rc;
    weft_runtime *rt;
    weft_task *t;

    rc = weft_runtime_new(&rt, &config);
    if (rc < 0)
        return rc;
    rc = weft_spawn_on(rt, &t, NULL, job, &number); /* returns at once */
    if (rc == 0)
        rc = weft_join_blocking(t, &result); /* blocks this thread */
    if (rc == 0 && result == 2)
        rc = weft_block_on(rt, job, &result, &result); /* both in one call */
    weft_runtime_shutdown(rt, WEFT_SECS(1));
    weft_runtime_free(rt);
    return rc < 0 ? rc : result;
}

TEST(a_plain_thread_uses_a_runtime)
{
    CHECK_EQ(3, embed());
}

TEST_MAIN("embed", a_plain_thread_uses_a_runtime)
