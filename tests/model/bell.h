/* SPDX-License-Identifier: MIT */
/*
 * bell.h - futures driven by hand, for models of what waits in a queue: no task, and no thread that sleeps.
 *
 * A bell is what their wakers ring. Who waits for a future polls it whenever its bell has rung, so a wake that is lost
 * is a thread that never goes on. At the end nobody refers to a bell any more: a reference that is lost, or given up
 * twice, is noticed.
 */
#ifndef MODEL_BELL_H
#define MODEL_BELL_H

#include "model/model.h"
#include "task/waker.h"

struct bell {
    weft_wakeable wakeable;
    struct wf_atomic_u32 refs, rung;
};

static inline struct bell *bell_of(weft_wakeable *w)
{
    return wf_container_of(w, struct bell, wakeable);
}

static inline void bell_retain(weft_wakeable *w)
{
    wf_add_u32(&bell_of(w)->refs, 1, WF_RELAXED);
}

static inline void bell_wake(weft_wakeable *w)
{
    wf_store_u32(&bell_of(w)->rung, 1, WF_RELEASE);
}

static inline void bell_release(weft_wakeable *w)
{
    CHECK(wf_sub_u32(&bell_of(w)->refs, 1, WF_ACQ_REL) > 0);
}

static const weft_wakeable_type bell_type = {bell_retain, bell_wake, bell_release};

#define BELL                 \
 {                           \
  .wakeable = { &bell_type } \
 }

__attribute__((no_sanitize("thread"))) static inline bool bell_has_rung(void *bell)
{
    return ((struct bell *)bell)->rung.raw != 0;
}

static inline weft_poll bell_poll(struct bell *b, weft_future *f)
{
    weft_context cx = {{&b->wakeable}};

    return weft_future_poll(f, &cx);
}

/* Until it is ready; its result. It may have been polled before. What is told is not carried by the wake: an object
 * with a lock carries it by that. */
static inline ssize_t bell_await(struct bell *b, weft_future *f)
{
    while (bell_poll(b, f) == WEFT_PENDING) {
        model_block(bell_has_rung, b, UINT64_MAX);
        wf_store_u32(&b->rung, 0, WF_RELAXED);
    }
    return f->result;
}

/* The same where it is. */
static inline ssize_t bell_await_carried(struct bell *b, weft_future *f)
{
    while (bell_poll(b, f) == WEFT_PENDING) {
        do
            model_block(bell_has_rung, b, UINT64_MAX);
        while (!wf_swap_u32(&b->rung, 0, WF_ACQUIRE));
    }
    return f->result;
}

#endif
