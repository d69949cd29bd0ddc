/* SPDX-License-Identifier: MIT */
/* join_set_spawn.c - all ways to spawn into a join set: each says what, and join_set.c spawns it. */
#include "base/log.h"
#include "sync/gather.h"

#include <errno.h>

ssize_t weft_join_set_spawn_at(const char *site, weft_join_set *set, weft_fn *fn, void *arg)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .arg = arg}};

    return wf_join_set_spawn("weft_join_set_spawn", set, site, NULL, &what);
}

ssize_t weft_join_set_spawn_copy_at(const char *site, weft_join_set *set, weft_fn *fn,
                                    const void *args, size_t size)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .copy = args, .copy_size = size}};

    return wf_join_set_spawn("weft_join_set_spawn_copy", set, site, NULL, &what);
}

ssize_t weft_join_set_spawn_with_at(const char *site, weft_join_set *set,
                                    const weft_task_options *options, weft_fn *fn, void *arg)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .arg = arg}};

    return wf_join_set_spawn("weft_join_set_spawn_with", set, site, options, &what);
}

ssize_t weft_join_set_spawn_copy_with_at(const char *site, weft_join_set *set,
                                         const weft_task_options *options, weft_fn *fn,
                                         const void *args, size_t size)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .copy = args, .copy_size = size}};

    return wf_join_set_spawn("weft_join_set_spawn_copy_with", set, site, options, &what);
}

ssize_t weft_join_set_spawn_async_at(const char *site, weft_join_set *set,
                                     const weft_async_type *type, const void *state)
{
    struct wf_group_spawn what = {.task = wf_spawn_of_async(type, state)};

    return wf_join_set_spawn("weft_join_set_spawn_async", set, site, NULL, &what);
}

ssize_t weft_join_set_spawn_blocking_at(const char *site, weft_join_set *set,
                                        const weft_task_options *options, weft_fn *fn, void *arg)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .arg = arg}, .blocking = true};

    return wf_join_set_spawn("weft_join_set_spawn_blocking", set, site, options, &what);
}

ssize_t weft_join_set_spawn_on_at(const char *site, weft_join_set *set, weft_runtime *rt,
                                  const weft_task_options *options, weft_fn *fn, void *arg)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .arg = arg}, .rt = rt};

    if (!rt)
        return wf_misuse(-EINVAL, "weft_join_set_spawn_on: the runtime is NULL");
    return wf_join_set_spawn("weft_join_set_spawn_on", set, site, options, &what);
}

ssize_t weft_join_set_spawn_async_on_at(const char *site, weft_join_set *set, weft_runtime *rt,
                                        const weft_task_options *options,
                                        const weft_async_type *type, const void *state)
{
    struct wf_group_spawn what = {.task = wf_spawn_of_async(type, state), .rt = rt};

    if (!rt)
        return wf_misuse(-EINVAL, "weft_join_set_spawn_async_on: the runtime is NULL");
    return wf_join_set_spawn("weft_join_set_spawn_async_on", set, site, options, &what);
}

ssize_t weft_join_set_spawn_blocking_on_at(const char *site, weft_join_set *set, weft_runtime *rt,
                                           const weft_task_options *options, weft_fn *fn, void *arg)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .arg = arg}, .rt = rt, .blocking = true};

    if (!rt)
        return wf_misuse(-EINVAL, "weft_join_set_spawn_blocking_on: the runtime is NULL");
    return wf_join_set_spawn("weft_join_set_spawn_blocking_on", set, site, options, &what);
}

/* The functions behind the macros of the same name. */
ssize_t(weft_join_set_spawn)(weft_join_set *set, weft_fn *fn, void *arg)
{
    return weft_join_set_spawn_at(NULL, set, fn, arg);
}

ssize_t(weft_join_set_spawn_copy)(weft_join_set *set, weft_fn *fn, const void *args, size_t size)
{
    return weft_join_set_spawn_copy_at(NULL, set, fn, args, size);
}

ssize_t(weft_join_set_spawn_with)(weft_join_set *set, const weft_task_options *options, weft_fn *fn,
                                  void *arg)
{
    return weft_join_set_spawn_with_at(NULL, set, options, fn, arg);
}

ssize_t(weft_join_set_spawn_copy_with)(weft_join_set *set, const weft_task_options *options,
                                       weft_fn *fn, const void *args, size_t size)
{
    return weft_join_set_spawn_copy_with_at(NULL, set, options, fn, args, size);
}

ssize_t(weft_join_set_spawn_async)(weft_join_set *set, const weft_async_type *type,
                                   const void *state)
{
    return weft_join_set_spawn_async_at(NULL, set, type, state);
}

ssize_t(weft_join_set_spawn_blocking)(weft_join_set *set, const weft_task_options *options,
                                      weft_fn *fn, void *arg)
{
    return weft_join_set_spawn_blocking_at(NULL, set, options, fn, arg);
}

ssize_t(weft_join_set_spawn_on)(weft_join_set *set, weft_runtime *rt,
                                const weft_task_options *options, weft_fn *fn, void *arg)
{
    return weft_join_set_spawn_on_at(NULL, set, rt, options, fn, arg);
}

ssize_t(weft_join_set_spawn_async_on)(weft_join_set *set, weft_runtime *rt,
                                      const weft_task_options *options, const weft_async_type *type,
                                      const void *state)
{
    return weft_join_set_spawn_async_on_at(NULL, set, rt, options, type, state);
}

ssize_t(weft_join_set_spawn_blocking_on)(weft_join_set *set, weft_runtime *rt,
                                         const weft_task_options *options, weft_fn *fn, void *arg)
{
    return weft_join_set_spawn_blocking_on_at(NULL, set, rt, options, fn, arg);
}
