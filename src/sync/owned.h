/* SPDX-License-Identifier: MIT */
/*
 * owned.h - who holds a lock, and who waits for it.
 *
 * IDEA     A lock that one alone may hold knows who that is: a task or a plain thread, by a number that fits the upper
 *          bits of a word, whose lower ones are the lock's own. From it follows who may unlock, who would wait
 *          for himself, whom a deadlock consists of, and what is to happen when the holder ends.
 * OWNS     The number is no reference. It is valid for as long as the holder is: who ends unlocks or abandons
 *          first (task/hold.h), and where somebody waits that needs the lock of the lock. So under that lock, while
 *          somebody waits, the holder may be looked at, and retained.
 * WHO      The fields of struct wf_owned: the holder; word and site may be read by anyone.
 */
#ifndef WF_SYNC_OWNED_H
#define WF_SYNC_OWNED_H

#include "sync/waitq.h"
#include "task/hold.h"

#define WF_OWNER_FLAGS UINT64_C(7) /* the lock's own, below the owner */
#define WF_OWNER_THREAD \
 UINT64_C(8) /* a plain thread: its number is above; else the address of a task */
#define WF_OWNER_SHIFT 4

/* Who runs here. */
struct wf_self {
    uint64_t owner;         /* as in the word, without flags */
    struct weft_task *task; /* NULL: a plain thread */
    struct wf_fiber *fiber; /* NULL: a plain thread, or a stackless task */
};

WF_INLINE struct wf_self wf_self_of(struct wf_fiber *f)
{
    return (struct wf_self){.owner = (uintptr_t)f->task, .task = f->task, .fiber = f};
}

WF_INLINE struct wf_self wf_self_now(void)
{
    struct wf_thread *th = wf_thread_self();

    if (wf_likely(th && th->fiber))
        return wf_self_of(th->fiber);
    if (th && th->task)
        return (struct wf_self){.owner = (uintptr_t)th->task, .task = th->task};
    return (struct wf_self){.owner = (uint64_t)wf_thread_number() << WF_OWNER_SHIFT |
                                     WF_OWNER_THREAD};
}

/* The task that an owner is; NULL: a thread, or nobody. */
WF_INLINE struct weft_task *wf_owner_task(uint64_t owner)
{
    return owner & WF_OWNER_THREAD
               ? NULL
               : (struct weft_task *)(uintptr_t)owner; /* NOLINT(performance-no-int-to-ptr) */
}

/* The first part of a lock. */
struct wf_owned {
    struct wf_atomic_u64 word; /* owner and flags */
    struct wf_atomic_ptr site; /* const char *: where it was locked */
    const char *name;          /* set once; NULL: none */
    struct wf_hold hold;       /* the owner's, while it is one */
};

/* Where it was locked. "?": its caller has not said, or nobody holds it. */
WF_INLINE const char *wf_owned_site(const struct wf_owned *o)
{
    /* relaxed: for reports */
    const char *site = wf_load_ptr(&o->site, WF_RELAXED);

    return site ? site : "?";
}

WF_INLINE uint64_t wf_owned_by(const struct wf_owned *o)
{
    /* relaxed: only one's own number says something for sure, and one has written that oneself; else a glance, or
     * by a lock */
    return wf_load_u64(&o->word, WF_RELAXED) & ~WF_OWNER_FLAGS;
}

/* The caller has just got the lock, and its word says so. */
WF_INLINE void wf_owned_begin(struct wf_owned *o, struct wf_self self, const char *site,
                              wf_hold_fn *abandon)
{
    /* relaxed: for reports */
    wf_store_ptr(&o->site, (void *)(uintptr_t)site, WF_RELAXED); /* NOLINT */
    if (self.fiber)
        wf_hold_link(self.fiber, &o->hold, abandon);
    else if (self.task)
        wf_hold_link_stackless(self.task, &o->hold, abandon);
}

/* And is about to give it back. */
WF_INLINE void wf_owned_end(struct wf_owned *o, struct wf_self self)
{
    if (wf_likely(self.fiber != NULL))
        wf_hold_unlink(&o->hold);
    else if (self.task)
        wf_hold_unlink_stackless(&o->hold);
}

/*
 * The words of a future that waits for a lock or for permits. Its aux_ is the type's own; while it is not ready its
 * result is the place that waits.
 */
struct wf_lock_wait {
    void *object;            /* what it waits for */
    struct wf_waiter waiter; /* under the object's lock */

    union {
        struct wf_lock_wait *next; /* with WF_WAIT_EDGE: deadlock.c */
        uint64_t task_id;          /* without WF_WAIT_SOLE: of who waits, for reports */
    };

    uint64_t self; /* who waits; and bits */
};

#define WF_WAIT_SOLE UINT64_C(1) /* who waits does not wait for anything else besides */
#define WF_WAIT_EDGE UINT64_C(2) /* known to deadlock.c */

_Static_assert(sizeof(struct wf_lock_wait) <= sizeof(((weft_future *)0)->words) ||
                   sizeof(uintptr_t) < 8,
               "a wait for a lock lives inside a future");

WF_INLINE struct wf_lock_wait *wf_lock_wait_of(weft_future *f)
{
    return (struct wf_lock_wait *)(void *)f->words;
}

WF_INLINE weft_future *wf_lock_wait_future(struct wf_lock_wait *w)
{
    return (weft_future *)(void *)((char *)w - offsetof(weft_future, words));
}

WF_INLINE struct wf_lock_wait *wf_lock_wait_of_waiter(struct wf_waiter *w)
{
    return wf_container_of(w, struct wf_lock_wait, waiter);
}

WF_INLINE const char *wf_lock_wait_site(struct wf_lock_wait *w)
{
    const char *site = (const char *)(uintptr_t)wf_lock_wait_future(w)->result; /* NOLINT */

    return site ? site : "?";
}

WF_INLINE weft_future wf_lock_wait_new(const weft_future_type *type, void *object, uint32_t aux,
                                       const char *site)
{
    weft_future f = {.type = type, .aux_ = aux, .result = (ssize_t)(uintptr_t)site};

    wf_lock_wait_of(&f)->object = object;
    return f;
}

/* Under the lock, before it lines up for the first time: who waits. From then on nothing of it changes. */
WF_INLINE void wf_lock_wait_by(struct wf_lock_wait *w, const struct wf_self *self)
{
    w->self = self->owner | (w->self & WF_OWNER_FLAGS);
    if (!(w->self & WF_WAIT_SOLE))
        w->task_id = self->task ? self->task->id : 0;
}

/* A future of this kind is polled for the first time: a stackless task that awaits it waits for nothing besides. That
 * the straight-line calls do not is known from their making it. */
void wf_lock_wait_alone(weft_future *f, const struct wf_self *self);

/* A fiber that handed this lock to a waiter comes back for it at once: lets others run first. 0, or what the wait is
 * answered instead. */
WF_SUSPENDS int wf_lock_give_way(struct wf_fiber *f);

#endif
