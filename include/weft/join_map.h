/* SPDX-License-Identifier: MIT */
/*
 * weft/join_map.h - tasks that somebody started and waits for together, each found by a key.
 *
 *     weft_join_map *map = weft_join_map_new();
 *
 *     weft_join_map_spawn(map, weft_key_string(name), follow, feed);
 *     ...
 *     weft_join_map_cancel(map, weft_key_string(name));
 *
 * As a join set (weft/join_set.h), whose rules hold here too; and there is one task for each key. Spawning with a key
 * that is there cancels the task that has it and puts the new one in its place; the result of the old one is dropped,
 * also if it had ended.
 *
 * The table of keys grows in small steps as tasks are spawned, and keeps its memory until the map is freed; a task's
 * own record goes with the task. So there is nothing to reserve, and little to shrink.
 */
#ifndef WEFT_JOIN_MAP_H
#define WEFT_JOIN_MAP_H

#include <weft/join_set.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_join_map weft_join_map;

/* A key: a number, or bytes, which are copied by a spawn. A number is never the same key as bytes. */
typedef struct weft_key {
    const void *bytes; /* NULL: a number */
    uint64_t number;   /* or how many bytes */
} weft_key;

#define WEFT_KEY_MAX 1024 /* bytes */

WEFT_API weft_key weft_key_number(uint64_t n);
WEFT_API weft_key weft_key_bytes(const void *bytes, size_t size);
WEFT_API weft_key weft_key_string(const char *s); /* without the terminating 0 */
WEFT_API bool weft_key_equal(weft_key a, weft_key b);

/* A task of the map that has ended. */
typedef struct weft_join_map_done {
    /* Its bytes are the map's, and valid until the next task is taken from it, or it is freed. */
    weft_key key;
    uint64_t id;
    uint64_t tag; /* as in weft_join_done */
    int result;
    uintptr_t spare_[2];
} weft_join_map_done;

/* As weft_join_set_new, _new_with. An ordered map there is not: -EINVAL. */
WEFT_API weft_join_map *weft_join_map_new(void);
WEFT_API WEFT_MUST_CHECK int weft_join_map_new_with(weft_join_map **map,
                                                    const weft_join_set_options *options);

/*
 * weft_join_map_spawn - start a task with this key; who has it is cancelled and no part of the map any more.
 * Returns as weft_join_set_spawn; -EINVAL also for a key that is too long. On failure who has the key keeps it.
 */
WEFT_API ssize_t weft_join_map_spawn(weft_join_map *map, weft_key key, weft_fn *fn, void *arg);
WEFT_API ssize_t weft_join_map_spawn_copy(weft_join_map *map, weft_key key, weft_fn *fn,
                                          const void *args, size_t size);
WEFT_API ssize_t weft_join_map_spawn_with(weft_join_map *map, weft_key key,
                                          const weft_task_options *options, weft_fn *fn, void *arg);
WEFT_API ssize_t weft_join_map_spawn_copy_with(weft_join_map *map, weft_key key,
                                               const weft_task_options *options, weft_fn *fn,
                                               const void *args, size_t size);
/* Its state and its key together may take 256 bytes less than a stackless task's state elsewhere. */
WEFT_API ssize_t weft_join_map_spawn_async(weft_join_map *map, weft_key key,
                                           const weft_async_type *type, const void *state);
WEFT_API ssize_t weft_join_map_spawn_blocking(weft_join_map *map, weft_key key,
                                              const weft_task_options *options, weft_fn *fn,
                                              void *arg);

/* As weft_join_set_spawn_on and its forms. */
WEFT_API ssize_t weft_join_map_spawn_on(weft_join_map *map, weft_key key, weft_runtime *rt,
                                        const weft_task_options *options, weft_fn *fn, void *arg);
WEFT_API ssize_t weft_join_map_spawn_async_on(weft_join_map *map, weft_key key, weft_runtime *rt,
                                              const weft_task_options *options,
                                              const weft_async_type *type, const void *state);
WEFT_API ssize_t weft_join_map_spawn_blocking_on(weft_join_map *map, weft_key key, weft_runtime *rt,
                                                 const weft_task_options *options, weft_fn *fn,
                                                 void *arg);

/* As weft_join_set_next and its forms: 1, 0 (the map is empty), -EAGAIN, -EBUSY, -ESHUTDOWN, ... Cancel-safe. */
WEFT_API WEFT_MUST_CHECK int weft_join_map_next(weft_join_map *map, weft_join_map_done *done);
WEFT_API WEFT_MUST_CHECK int weft_join_map_try_next(weft_join_map *map, weft_join_map_done *done);
WEFT_API WEFT_MUST_CHECK int weft_join_map_next_blocking(weft_join_map *map,
                                                         weft_join_map_done *done);
WEFT_API weft_future weft_join_map_next_future(weft_join_map *map, weft_join_map_done *done);

/* Cancel the task with this key; it stays in the map until it was taken. 0; -ENOENT: there is none. From any thread, as
 * everything below. */
WEFT_API int weft_join_map_cancel(weft_join_map *map, weft_key key);

/* Cancel those for which match answers true: called for each task that is there, in the order of spawning, under no
 * lock. Returns how many. */
typedef bool weft_key_match_fn(void *arg, weft_key key, uint64_t id);
WEFT_API size_t weft_join_map_cancel_matching(weft_join_map *map, weft_key_match_fn *match,
                                              void *arg);
WEFT_API void weft_join_map_cancel_all(weft_join_map *map);

/* Call visit for each key that is there, in the order of spawning, until it answers false. Tasks that come or are taken
 * meanwhile may be left out. */
WEFT_API void weft_join_map_keys(weft_join_map *map, weft_key_match_fn *visit, void *arg);

/* Is there a task with this key, which runs, or has ended and was not taken? */
WEFT_API bool weft_join_map_contains(const weft_join_map *map, weft_key key);

/* The same of the task with this id, as the spawn returned it. Looks through the map. */
WEFT_API bool weft_join_map_contains_task(const weft_join_map *map, uint64_t id);
WEFT_API size_t weft_join_map_len(const weft_join_map *map);
WEFT_API bool weft_join_map_is_empty(const weft_join_map *map);

/* As of a set; a task that was replaced counts as spawned, and as nothing else. 0, -EINVAL. */
WEFT_API int weft_join_map_get_info(const weft_join_map *map, weft_join_set_info *info);
WEFT_API int weft_join_map_get_info_sized(const weft_join_map *map, weft_join_set_info *info,
                                          size_t size);
#define weft_join_map_get_info(...) \
 weft_join_map_get_info_sized(__VA_ARGS__, sizeof(weft_join_set_info))

/* As of a set. */
WEFT_API WEFT_MUST_CHECK int weft_join_map_shutdown(weft_join_map *map);
WEFT_API weft_future weft_join_map_shutdown_future(weft_join_map *map);
WEFT_API void weft_join_map_detach_all(weft_join_map *map);
WEFT_API WEFT_MUST_CHECK int weft_join_map_set_deadline(weft_join_map *map, weft_instant at);
WEFT_API void weft_join_map_free(weft_join_map *map);
WEFT_API int weft_join_map_free_after(weft_join_map *map, weft_duration grace);

/* What the macros below call: the same with the place of the call. */
WEFT_API ssize_t weft_join_map_spawn_at(const char *site, weft_join_map *map, weft_key key,
                                        weft_fn *fn, void *arg);
WEFT_API ssize_t weft_join_map_spawn_copy_at(const char *site, weft_join_map *map, weft_key key,
                                             weft_fn *fn, const void *args, size_t size);
WEFT_API ssize_t weft_join_map_spawn_with_at(const char *site, weft_join_map *map, weft_key key,
                                             const weft_task_options *options, weft_fn *fn,
                                             void *arg);
WEFT_API ssize_t weft_join_map_spawn_copy_with_at(const char *site, weft_join_map *map,
                                                  weft_key key, const weft_task_options *options,
                                                  weft_fn *fn, const void *args, size_t size);
WEFT_API ssize_t weft_join_map_spawn_async_at(const char *site, weft_join_map *map, weft_key key,
                                              const weft_async_type *type, const void *state);
WEFT_API ssize_t weft_join_map_spawn_blocking_at(const char *site, weft_join_map *map, weft_key key,
                                                 const weft_task_options *options, weft_fn *fn,
                                                 void *arg);
WEFT_API ssize_t weft_join_map_spawn_on_at(const char *site, weft_join_map *map, weft_key key,
                                           weft_runtime *rt, const weft_task_options *options,
                                           weft_fn *fn, void *arg);
WEFT_API ssize_t weft_join_map_spawn_async_on_at(const char *site, weft_join_map *map, weft_key key,
                                                 weft_runtime *rt, const weft_task_options *options,
                                                 const weft_async_type *type, const void *state);
WEFT_API ssize_t weft_join_map_spawn_blocking_on_at(const char *site, weft_join_map *map,
                                                    weft_key key, weft_runtime *rt,
                                                    const weft_task_options *options, weft_fn *fn,
                                                    void *arg);

#define weft_join_map_spawn(...)           weft_join_map_spawn_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_map_spawn_copy(...)      weft_join_map_spawn_copy_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_map_spawn_with(...)      weft_join_map_spawn_with_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_map_spawn_copy_with(...) weft_join_map_spawn_copy_with_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_map_spawn_async(...)     weft_join_map_spawn_async_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_map_spawn_blocking(...)  weft_join_map_spawn_blocking_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_map_spawn_on(...)        weft_join_map_spawn_on_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_map_spawn_async_on(...)  weft_join_map_spawn_async_on_at(WEFT_SITE, __VA_ARGS__)
#define weft_join_map_spawn_blocking_on(...) \
 weft_join_map_spawn_blocking_on_at(WEFT_SITE, __VA_ARGS__)

#ifdef __cplusplus
}
#endif

#endif
