/* SPDX-License-Identifier: MIT */
/*
 * slab.h - memory for task headers: process-wide, quick for its owner, safe to give back from
 * any thread.
 */
#ifndef WF_TASK_SLAB_H
#define WF_TASK_SLAB_H

#include "base/list.h"
#include "base/lock.h"

#define WF_SLAB_CLASSES 14

struct wf_slab_chunk;

/* One per seat, touched by its holder only; lives inside the seat. */
struct wf_slab_cache {
    struct wf_slab_chunk *current[WF_SLAB_CLASSES]; /* allocated from; NULL at first */
    struct wf_list chunks[WF_SLAB_CLASSES];         /* all that this cache owns, by class */
};

void wf_slab_cache_init(struct wf_slab_cache *c);

/* Give every chunk up. Headers that are still alive stay valid; whoever frees the last one of a chunk
 * frees the chunk. */
void wf_slab_cache_release(struct wf_slab_cache *c);

/*
 * size bytes, aligned to 64 and with unspecified contents but for the word at
 * WF_SLAB_STATE, which is 0. c may be NULL: a plain thread. NULL when memory is out.
 */
void *wf_slab_alloc(struct wf_slab_cache *c, size_t size);

/* From any thread; c is the calling thread's cache or NULL. The word at WF_SLAB_STATE must be 0 or hold
 * no reference. */
void wf_slab_free(struct wf_slab_cache *c, void *p);

/* Call visit for every slot that was ever handed out; it looks at the word at WF_SLAB_STATE to tell
 * which are alive. No chunk goes away meanwhile. visit must not call into the slab. */
void wf_slab_walk(void (*visit)(void *slot, void *arg), void *arg);

/* Give idle chunks beyond a small reserve back to the kernel. Cheap when there are none. */
void wf_slab_trim(void);

/* Where a slot keeps its state word: bytes from its start. */
#define WF_SLAB_STATE 8

#endif
