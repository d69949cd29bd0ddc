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

/*
 * Call visit for every slot that was ever handed out, from where the cursor stands, until visit answers
 * false: then it returns true, and the next walk with that cursor goes on behind that slot. False:
 * all were visited. visit looks at the word at WF_SLAB_STATE to tell which are alive. No chunk
 * goes away during a call; between two some may, and what is handed out meanwhile may be
 * missed. visit must not call into the slab. Zero is the beginning.
 */
struct wf_slab_cursor {
    struct wf_slab_chunk *chunk; /* a hint: only the chunk of that serial number */
    uint64_t serial;
    uint32_t index;
};

bool wf_slab_walk(struct wf_slab_cursor *at, bool (*visit)(void *slot, void *arg), void *arg);

/*
 * Between these two no chunk goes away. So what is seen in use then stays a slot of its size: for who looks into one
 * that may be given back at any moment, and its chunk serve another size. Nothing else of the slab may be called in
 * between.
 */
void wf_slab_hold(void);
void wf_slab_let_go(void);

/* Give idle chunks beyond a small reserve back to the kernel. Cheap when there are none. */
void wf_slab_trim(void);

/* Where a slot keeps its state word: bytes from its start. */
#define WF_SLAB_STATE 8

/* For a debugger, which walks without calling: all but the first two are bytes from a chunk's start. */
struct wf_slab_shape {
    const struct wf_list *chunks; /* those in use; zero before the first */
    const uint32_t *class_size;   /* bytes of a slot, by class */
    uint32_t link;                /* the chunk's place in that list */
    uint32_t owner, class_index, fresh;
    uint32_t first_slot;
};

extern const struct wf_slab_shape wf_slab_shape;

#endif
