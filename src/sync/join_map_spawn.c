/* SPDX-License-Identifier: MIT */
/* join_map_spawn.c - all ways to spawn into a join map: each says what, and join_map.c spawns it. */
#include "base/log.h"
#include "sync/join_map.h"

#include <errno.h>

ssize_t weft_join_map_spawn_at(const char *site, weft_join_map *map, weft_key key, weft_fn *fn,
                               void *arg)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .arg = arg}};

    return wf_join_map_spawn("weft_join_map_spawn", map, key, site, NULL, &what);
}

ssize_t weft_join_map_spawn_copy_at(const char *site, weft_join_map *map, weft_key key, weft_fn *fn,
                                    const void *args, size_t size)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .copy = args, .copy_size = size}};

    return wf_join_map_spawn("weft_join_map_spawn_copy", map, key, site, NULL, &what);
}

ssize_t weft_join_map_spawn_with_at(const char *site, weft_join_map *map, weft_key key,
                                    const weft_task_options *options, weft_fn *fn, void *arg)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .arg = arg}};

    return wf_join_map_spawn("weft_join_map_spawn_with", map, key, site, options, &what);
}

/* NOLINTNEXTLINE(readability-function-size): what is asked for, and from where */
ssize_t weft_join_map_spawn_copy_with_at(const char *site, weft_join_map *map, weft_key key,
                                         const weft_task_options *options, weft_fn *fn,
                                         const void *args, size_t size)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .copy = args, .copy_size = size}};

    return wf_join_map_spawn("weft_join_map_spawn_copy_with", map, key, site, options, &what);
}

ssize_t weft_join_map_spawn_async_at(const char *site, weft_join_map *map, weft_key key,
                                     const weft_async_type *type, const void *state)
{
    struct wf_group_spawn what = {.task = wf_spawn_of_async(type, state)};

    return wf_join_map_spawn("weft_join_map_spawn_async", map, key, site, NULL, &what);
}

ssize_t weft_join_map_spawn_blocking_at(const char *site, weft_join_map *map, weft_key key,
                                        const weft_task_options *options, weft_fn *fn, void *arg)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .arg = arg}, .blocking = true};

    return wf_join_map_spawn("weft_join_map_spawn_blocking", map, key, site, options, &what);
}

/* NOLINTNEXTLINE(readability-function-size): what is asked for, and from where */
ssize_t weft_join_map_spawn_on_at(const char *site, weft_join_map *map, weft_key key,
                                  weft_runtime *rt, const weft_task_options *options, weft_fn *fn,
                                  void *arg)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .arg = arg}, .rt = rt};

    if (!rt)
        return wf_misuse(-EINVAL, "weft_join_map_spawn_on: the runtime is NULL");
    return wf_join_map_spawn("weft_join_map_spawn_on", map, key, site, options, &what);
}

/* NOLINTNEXTLINE(readability-function-size): what is asked for, and from where */
ssize_t weft_join_map_spawn_async_on_at(const char *site, weft_join_map *map, weft_key key,
                                        weft_runtime *rt, const weft_task_options *options,
                                        const weft_async_type *type, const void *state)
{
    struct wf_group_spawn what = {.task = wf_spawn_of_async(type, state), .rt = rt};

    if (!rt)
        return wf_misuse(-EINVAL, "weft_join_map_spawn_async_on: the runtime is NULL");
    return wf_join_map_spawn("weft_join_map_spawn_async_on", map, key, site, options, &what);
}

/* NOLINTNEXTLINE(readability-function-size): what is asked for, and from where */
ssize_t weft_join_map_spawn_blocking_on_at(const char *site, weft_join_map *map, weft_key key,
                                           weft_runtime *rt, const weft_task_options *options,
                                           weft_fn *fn, void *arg)
{
    struct wf_group_spawn what = {.task = {.fn = fn, .arg = arg}, .rt = rt, .blocking = true};

    if (!rt)
        return wf_misuse(-EINVAL, "weft_join_map_spawn_blocking_on: the runtime is NULL");
    return wf_join_map_spawn("weft_join_map_spawn_blocking_on", map, key, site, options, &what);
}

/* The functions behind the macros of the same name. */
ssize_t(weft_join_map_spawn)(weft_join_map *map, weft_key key, weft_fn *fn, void *arg)
{
    return weft_join_map_spawn_at(NULL, map, key, fn, arg);
}

ssize_t(weft_join_map_spawn_copy)(weft_join_map *map, weft_key key, weft_fn *fn, const void *args,
                                  size_t size)
{
    return weft_join_map_spawn_copy_at(NULL, map, key, fn, args, size);
}

ssize_t(weft_join_map_spawn_with)(weft_join_map *map, weft_key key,
                                  const weft_task_options *options, weft_fn *fn, void *arg)
{
    return weft_join_map_spawn_with_at(NULL, map, key, options, fn, arg);
}

ssize_t(weft_join_map_spawn_copy_with)(weft_join_map *map, weft_key key,
                                       const weft_task_options *options, weft_fn *fn,
                                       const void *args, size_t size)
{
    return weft_join_map_spawn_copy_with_at(NULL, map, key, options, fn, args, size);
}

ssize_t(weft_join_map_spawn_async)(weft_join_map *map, weft_key key, const weft_async_type *type,
                                   const void *state)
{
    return weft_join_map_spawn_async_at(NULL, map, key, type, state);
}

ssize_t(weft_join_map_spawn_blocking)(weft_join_map *map, weft_key key,
                                      const weft_task_options *options, weft_fn *fn, void *arg)
{
    return weft_join_map_spawn_blocking_at(NULL, map, key, options, fn, arg);
}

ssize_t(weft_join_map_spawn_on)(weft_join_map *map, weft_key key, weft_runtime *rt,
                                const weft_task_options *options, weft_fn *fn, void *arg)
{
    return weft_join_map_spawn_on_at(NULL, map, key, rt, options, fn, arg);
}

ssize_t(weft_join_map_spawn_async_on)(weft_join_map *map, weft_key key, weft_runtime *rt,
                                      const weft_task_options *options, const weft_async_type *type,
                                      const void *state)
{
    return weft_join_map_spawn_async_on_at(NULL, map, key, rt, options, type, state);
}

ssize_t(weft_join_map_spawn_blocking_on)(weft_join_map *map, weft_key key, weft_runtime *rt,
                                         const weft_task_options *options, weft_fn *fn, void *arg)
{
    return weft_join_map_spawn_blocking_on_at(NULL, map, key, rt, options, fn, arg);
}
