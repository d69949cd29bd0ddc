/* SPDX-License-Identifier: MIT */
/*
 * future.c - polling and dropping, whatever the kind.
 *
 * State: new (0) -> pending -> done, or new -> done. While pending, the upper bits hold a mark of the
 * future's address, so that debug builds notice one that was moved. A new one that owns something is
 * laden in place of new: its type's drop is called although it was never polled.
 */
#include "task/future.h"

#include "base/log.h"
#include "task/fiber_task.h"

#include <errno.h>

enum { FUTURE_NEW = 0, FUTURE_PENDING = 1, FUTURE_DONE = 2, FUTURE_LADEN = 3, FUTURE_BITS = 3 };

static uint32_t future_mark(const weft_future *f)
{
    return (uint32_t)((uintptr_t)f >> 3) << 2;
}

static void future_check_place(const weft_future *f, const char *call)
{
    if (WF_DEBUG && f->state_ != (FUTURE_PENDING | future_mark(f))) {
        wf_log("%s: the %s future was moved, or overwritten, while pending", call,
               f->type && f->type->name ? f->type->name : "?");
        wf_unreachable("a pending future was moved");
    }
}

static void future_unlink(weft_future *f)
{
    if (wf_likely(!f->kept_link_))
        return;
    if (WF_DEBUG)
        wf_assert(*f->kept_link_ == f);
    *f->kept_link_ = f->kept_next_;
    if (f->kept_next_)
        f->kept_next_->kept_link_ = f->kept_link_;
    f->kept_link_ = NULL;
    f->kept_next_ = NULL;
}

void wf_future_keep(weft_future *f)
{
    struct wf_fiber *fiber = wf_fiber_self();

    if (!fiber || f->kept_link_)
        return;
    f->kept_next_ = fiber->kept;
    f->kept_link_ = &fiber->kept;
    if (fiber->kept)
        fiber->kept->kept_link_ = &f->kept_next_;
    fiber->kept = f;
}

bool wf_future_pending(const weft_future *f)
{
    return (f->state_ & FUTURE_BITS) == FUTURE_PENDING;
}

void wf_future_laden(weft_future *f)
{
    f->state_ = FUTURE_LADEN;
}

void wf_future_renew(weft_future *f)
{
    wf_debug_assert(!wf_future_pending(f) && !f->kept_link_);
    f->state_ = FUTURE_NEW;
    f->result = 0;
}

weft_future weft_future_of(const weft_future_type *type)
{
    return (weft_future){.type = type};
}

weft_poll weft_future_poll(weft_future *f, weft_context *cx)
{
    uint32_t state;

    if (wf_unlikely(!f || !f->type || !cx)) {
        (void)wf_misuse(-EINVAL, "weft_future_poll: NULL, or a future without a type");
        return WEFT_READY;
    }
    if (wf_unlikely(!cx->waker_.target_))
        *cx = weft_context_of(NULL);
    state = f->state_ & FUTURE_BITS;
    if (state == FUTURE_DONE)
        return WEFT_READY;
    if (state == FUTURE_PENDING)
        future_check_place(f, "poll");
    if (f->type->poll(f, cx) == WEFT_PENDING) {
        f->state_ = FUTURE_PENDING | future_mark(f);
        return WEFT_PENDING;
    }
    f->state_ = FUTURE_DONE;
    future_unlink(f);
    return WEFT_READY;
}

void weft_future_drop(weft_future *f)
{
    if (!f || !f->type)
        return;
    if (wf_future_pending(f)) {
        future_check_place(f, "drop");
        if (f->type->drop)
            f->type->drop(f);
        future_unlink(f);
    } else if (wf_unlikely(f->state_ == FUTURE_LADEN)) {
        f->type->drop(f);
    }
    if (f->state_ != FUTURE_DONE) {
        f->state_ = FUTURE_DONE;
        f->result = -ECANCELED;
    }
}

bool weft_future_is_ready(const weft_future *f)
{
    return f && (f->state_ & FUTURE_BITS) == FUTURE_DONE;
}

static weft_poll future_poll_ready(weft_future *f, weft_context *cx)
{
    (void)cx;
    f->result = (ssize_t)f->words[0];
    return WEFT_READY;
}

static weft_poll future_poll_never(weft_future *f, weft_context *cx)
{
    (void)f;
    (void)cx;
    return WEFT_PENDING;
}

static const weft_future_type future_ready = {.poll = future_poll_ready, .name = "ready"};
static const weft_future_type future_never = {.poll = future_poll_never, .name = "pending"};

weft_future weft_ready_future(ssize_t result)
{
    return (weft_future){.type = &future_ready, .words = {(uintptr_t)result}};
}

weft_future weft_pending_future(void)
{
    return (weft_future){.type = &future_never};
}
