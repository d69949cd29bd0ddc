/* SPDX-License-Identifier: MIT */
/*
 * channels.h - what the models of broadcast and watch share: values that show when they are torn, values that own
 * memory, and bells to poll futures with.
 */
#ifndef MODEL_CHANNELS_H
#define MODEL_CHANNELS_H

#include "model/model.h"
#include "task/waker.h"

#include <errno.h>
#include <weft/channel.h>

/* A value of two words, which are the same. */
struct pair {
    uint64_t a, b;
};

static inline struct pair pair_of(uint64_t n)
{
    return (struct pair){n, n};
}

static inline uint64_t pair_number(const struct pair *p)
{
    CHECK_EQ(p->a, p->b);
    return p->a;
}

/* --- values that own something ------------------------------------------------ */

/* The memory is freed with the last count: who comes too late uses it after its end, and what is never given up is a
 * leak, which the explorer reports. */
struct page {
    struct wf_atomic_u32 count;
    unsigned number; /* plain: written before it is sent */
};

static struct wf_atomic_u32 pages; /* that live */

static inline struct page *page_new(unsigned number)
{
    struct page *p = model_alloc(sizeof(*p), 8);

    wf_add_u32(&pages, 1, WF_RELAXED);
    wf_store_u32(&p->count, 1, WF_RELAXED);
    p->number = number;
    return p;
}

static inline void page_put(struct page *p)
{
    uint32_t before = wf_sub_u32(&p->count, 1, WF_ACQ_REL);

    CHECK(before > 0);
    if (before > 1)
        return;
    wf_sub_u32(&pages, 1, WF_RELAXED);
    model_free(p);
}

static inline int page_copy(void *to, const void *from)
{
    struct page *p = *(struct page *const *)from;

    CHECK(wf_add_u32(&p->count, 1, WF_RELAXED) > 0);
    *(struct page **)to = p;
    return 0;
}

static inline void page_destroy(void *value)
{
    page_put(*(struct page **)value);
}

static const weft_channel_options page_options = {.destroy = page_destroy, .copy = page_copy};

/* The number of a page that was received, which is given up. */
static inline unsigned page_read(struct page *p)
{
    unsigned number = p->number;

    page_put(p);
    return number;
}

/* --- bells -------------------------------------------------------------------- */

/* A wakeable that is counted, and rung at most as often as it waits. */
struct bell {
    weft_wakeable wakeable;
    struct wf_atomic_u32 refs, rings;
};

static inline void bell_retain(weft_wakeable *w)
{
    wf_add_u32(&wf_container_of(w, struct bell, wakeable)->refs, 1, WF_RELAXED);
}

static inline void bell_wake(weft_wakeable *w)
{
    /* release: pairs with bell_rung */
    wf_add_u32(&wf_container_of(w, struct bell, wakeable)->rings, 1, WF_RELEASE);
}

static inline void bell_release(weft_wakeable *w)
{
    CHECK(wf_sub_u32(&wf_container_of(w, struct bell, wakeable)->refs, 1, WF_ACQ_REL) > 0);
}

static const weft_wakeable_type bell_type = {bell_retain, bell_wake, bell_release};

#define BELL_INIT            \
 {                           \
  .wakeable = { &bell_type } \
 }

static inline weft_poll bell_poll(struct bell *b, weft_future *f)
{
    weft_context cx = {{&b->wakeable}};

    return weft_future_poll(f, &cx);
}

static inline uint32_t bell_rung(struct bell *b)
{
    return wf_load_u32(&b->rings, WF_ACQUIRE);
}

/* Nobody knows it any more. */
static inline void bell_check(struct bell *b)
{
    CHECK_EQ(0, wf_load_u32(&b->refs, WF_ACQUIRE));
}

#endif
