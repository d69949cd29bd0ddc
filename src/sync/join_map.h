/* SPDX-License-Identifier: MIT */
/* join_map.h - join maps from inside: what the ways to spawn into one need. */
#ifndef WF_SYNC_JOIN_MAP_H
#define WF_SYNC_JOIN_MAP_H

#include "sync/gather.h"

#include <weft/join_map.h>

/* What each way to spawn comes down to; options NULL: the map's defaults. */
WF_SUSPENDS ssize_t wf_join_map_spawn(const char *call, weft_join_map *map, weft_key key,
                                      const char *site, const weft_task_options *options,
                                      struct wf_group_spawn *what);

#endif
