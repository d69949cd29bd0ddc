/* SPDX-License-Identifier: MIT */
/*
 * hello.c - tasks: three of them run at once, each with its own arguments, and each hands a result
 * to who joins it.
 */
#include <stdio.h>
#include <weft.h>

struct greeting {
    const char *name;
    int times;
};

/* A task is a plain function. While it sleeps its thread runs the others. */
static int greet(void *arg)
{
    const struct greeting *g = arg;

    for (int i = 1; i <= g->times; i++) {
        int rc = weft_sleep(WEFT_MS(10));

        if (rc < 0)
            return rc; /* this task was cancelled */
        (void)printf("hello, %s (%d of %d)\n", g->name, i, g->times);
    }
    return g->times;
}

static int app(void *arg)
{
    static const struct greeting who[] = {{"world", 3}, {"weft", 2}, {"reader", 1}};
    weft_task *tasks[3];
    int total = 0;

    (void)arg;
    /* The arguments are copied into the task: nothing to allocate, nothing to keep alive. */
    for (int i = 0; i < 3; i++)
        tasks[i] = weft_spawn_copy(greet, &who[i], sizeof(who[i]));

    /* No check was needed above: joining a task that could not be made returns -ENOMEM. */
    for (int i = 0; i < 3; i++) {
        int said, rc = weft_join(tasks[i], &said);

        if (rc < 0 || said < 0)
            return rc < 0 ? rc : said;
        total += said;
    }
    (void)printf("%d greetings\n", total);
    return 0;
}

int main(void)
{
    return weft_run(app, NULL);
}
