/* SPDX-License-Identifier: MIT */
/*
 * futures_spawn.c - tasks that a set spawns, and waits for.
 *
 * Room in the set comes first, so that no task runs that could not be pushed.
 */
#include "task/futures.h"

#include "base/log.h"
#include "task/task.h"

#include <errno.h>

static int futures_spawn(struct weft_futures *set, const struct wf_spawn *p, uint64_t tag)
{
    struct wf_futures_node *n;
    struct weft_task *t;
    weft_future f;
    int rc;

    if (wf_unlikely(!set))
        return wf_misuse(-EINVAL, "weft_futures_spawn: set is NULL");
    n = wf_futures_reserve(set, tag);
    if (wf_unlikely(!n))
        return -ENOMEM;
    rc = wf_spawn_fiber("weft_futures_spawn", &t, p);
    if (wf_unlikely(rc < 0)) {
        wf_futures_give_back(n);
        return rc;
    }
    f = weft_task_future(t);
    wf_futures_fill(n, &f);
    return 0;
}

int weft_futures_spawn_at(const char *site, weft_futures *set, weft_fn *fn, void *arg, uint64_t tag)
{
    weft_task_options o = {.site = site};

    return futures_spawn(set, &(struct wf_spawn){.options = &o, .fn = fn, .arg = arg}, tag);
}

int weft_futures_spawn_copy_at(const char *site, weft_futures *set, weft_fn *fn, const void *args,
                               size_t size, uint64_t tag)
{
    weft_task_options o = {.site = site};

    return futures_spawn(
        set, &(struct wf_spawn){.options = &o, .fn = fn, .copy = args, .copy_size = size}, tag);
}

int(weft_futures_spawn)(weft_futures *set, weft_fn *fn, void *arg, uint64_t tag)
{
    return weft_futures_spawn_at(NULL, set, fn, arg, tag);
}

int(weft_futures_spawn_copy)(weft_futures *set, weft_fn *fn, const void *args, size_t size,
                             uint64_t tag)
{
    return weft_futures_spawn_copy_at(NULL, set, fn, args, size, tag);
}
