/* SPDX-License-Identifier: MIT */
/*
 * stackless.c - tasks without a stack: a state, a function that is called again after each wait,
 * and macros that make it read as straight code.
 *
 *     stackless [COUNT]      default 10000
 *
 * Each of them sleeps a few times, all at once. Such a task is one block of a few hundred bytes,
 * where a fiber holds a page of stack besides. To everyone else it is the same weft_task.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft.h>

#define NAPS 3

/* What must survive a wait is in the state: local variables do not. */
struct napper {
    weft_async async; /* first */
    weft_future nap;
    int naps;
    int length_ms;
};

static weft_poll napper_poll(void *self, weft_context *cx)
{
    struct napper *n = self;

    WEFT_ASYNC_BEGIN(n);
    for (n->naps = 0; n->naps < NAPS; n->naps++) {
        n->nap = weft_sleep_future(WEFT_MS(n->length_ms));
        WEFT_AWAIT(n, cx, &n->nap);
    }
    WEFT_RETURN(n, n->naps);
    WEFT_ASYNC_END(n);
}

static const weft_async_type napper_type = {
    .poll = napper_poll,
    .size = sizeof(struct napper),
    .name = "napper",
};

static int app(void *arg)
{
    size_t count = *(const size_t *)arg;
    weft_task **tasks = calloc(count, sizeof(weft_task *));
    weft_instant start = weft_now();
    unsigned long long naps = 0;

    if (!tasks)
        return -ENOMEM;
    /* The state is copied into the task. */
    for (size_t i = 0; i < count; i++)
        tasks[i] = weft_spawn_async(&napper_type,
                                    &(struct napper){.length_ms = 10 + (int)(i % 10)});
    for (size_t i = 0; i < count; i++) {
        int result;

        if (weft_join(tasks[i], &result) == 0 && result > 0)
            naps += (unsigned)result;
    }
    free(tasks);

    (void)printf("%zu tasks napped %llu times\n", count, naps);
    (void)printf("in %llu ms, with %zu bytes of state each\n",
                 (unsigned long long)((weft_now() - start) / WEFT_MS(1)), sizeof(struct napper));
    return naps == (unsigned long long)count * NAPS ? 0 : 1;
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;

    return weft_run(app, &count);
}
