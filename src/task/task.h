/* SPDX-License-Identifier: MIT */
/*
 * task.h - the task header, and the two kinds of task behind it.
 *
 * IDEA     A task is a future that the scheduler owns. The header is small and apart from the
 *          fiber's stack: the stack goes back the moment the fiber ends, however many handles
 *          and wakers are still alive. Nothing above this layer asks which kind a task is.
 * OWNS     See state.c for references. The link `next` belongs to whoever may push the task:
 *          its notifier, its runner, the queue it is in.
 * WHO      The counters are written by the task's runner alone (wakes: by its notifier, who
 *          is alone too), and read by anyone.
 */
#ifndef WF_TASK_TASK_H
#define WF_TASK_TASK_H

#include "base/assert.h"
#include "base/atomic.h"
#include "fiber/fiber.h"
#include "fiber/stack.h"
#include "task/slab.h"
#include "task/state.h"

#include <weft/metrics.h>
#include <weft/task.h>

struct wf_thread;
struct wf_fiber;
struct wf_scheduler;
struct wf_locals;
struct wf_on_end;
struct wf_virtual;

/* What a poll says to the worker. */
enum wf_poll_result {
    WF_POLL_PENDING, /* idle until woken */
    WF_POLL_YIELD,   /* still ready: queue it again */
    WF_POLL_CALL,    /* a fiber's only: call a function on the thread's own stack, and go on */
    WF_POLL_DONE     /* has ended; result is set */
};

struct wf_task_type {
    weft_wakeable_type wakeable; /* first: found from a task's wakeable */
    bool stackless;
    bool blocking; /* for the blocking pool: never polled, never pushed by a waker */
};

/* What few tasks have, so that the header stays small. */
struct wf_task_extra {
    char name[64];
    size_t stack_size;        /* 0: the runtime's */
    struct wf_locals *locals; /* inherited or set; owned by the task */
    char *panic;              /* its last words; NULL: none. Published by COMPLETE */
};

struct weft_task {
    weft_wakeable wakeable;     /* first: a waker is a pointer to it. type is a wf_task_type */
    struct wf_atomic_u64 state; /* state.c; at WF_SLAB_STATE */

    union {                     /* whoever may push */
        struct weft_task *next; /* in the injection queue */
        void *hint;             /* in a deque: where a fiber's stack was left, to be prefetched */
    };
    struct wf_scheduler *sched; /* set once before publish; valid until the task has ended */
    /* counters: see WHO; in ticks */
    struct wf_atomic_u64 ready_at; /* when it became ready */
    struct wf_atomic_u64 polls;

    union {
        struct wf_atomic_u64 poll_time; /* once polled */
        void *arg;                      /* a fiber's, before its first poll */
    };
    struct wf_atomic_u64 delay;
    struct wf_atomic_u64 wakes;
    struct wf_atomic_u32 poll_max;  /* in units of 64 ticks */
    struct wf_atomic_u32 delay_max; /* the same */
    /* set once before publish */
    uint64_t id;
    const char *site;

    union {                                 /* NULL for most */
        struct wf_task_extra *extra;        /* task only */
        struct wf_atomic_ptr extra_to_read; /* anyone, for the name and the size */
    };

    union {
        weft_wakeable *joiner;    /* by the JOIN bits of state */
        struct wf_on_end *on_end; /* by ON_END of state: on_end.h */
    };

    int32_t result;             /* published by COMPLETE */
    struct wf_atomic_u32 flags; /* WF_TASK_F_...; written by its runner, read by anyone. The upper
                                   half is a seat's index, from 1: see sched/pins.h and
                                   sched/migrate.h */

    union {
        weft_fn *fn;                  /* a fiber's, before its first poll */
        struct wf_fiber *fiber;       /* a fiber's, while WF_TASK_F_BEGUN */
        const weft_async_type *async; /* a stackless task's */
    };
};

#define WF_TASK_F_YIELDED 1u /* queued by a yield: RUNNING was kept */
#define WF_TASK_F_BEGUN   2u /* a fiber that has its stack */
#define WF_TASK_F_HELD    4u /* a stackless one that has held something: see hold.h */
#define WF_TASK_F_PINNED  8u /* one worker alone polls it; set once before publish */

#define WF_TASK_SEAT_SHIFT 16

_Static_assert(sizeof(struct weft_task) == 128, "the task header grew");
_Static_assert(offsetof(struct weft_task, state) == WF_SLAB_STATE, "the slab looks for it there");

extern const struct wf_task_type wf_fiber_type;
extern const struct wf_task_type wf_async_kind;
extern const struct wf_task_type wf_blocking_kind;

/* What follows the header in the same slot: a stackless task's state, a fiber's copied arguments. */
WF_INLINE void *wf_task_tail(struct weft_task *t)
{
    return t + 1;
}

/* Where behind that what its spawner keeps of it begins. */
#define WF_TASK_ALIGN 16

WF_INLINE size_t wf_task_tail_size(size_t copy_size)
{
    return (copy_size + WF_TASK_ALIGN - 1) & ~(size_t)(WF_TASK_ALIGN - 1);
}

WF_INLINE void *wf_task_behind(struct weft_task *t, size_t copy_size)
{
    return (char *)wf_task_tail(t) + wf_task_tail_size(copy_size);
}

WF_INLINE const struct wf_task_type *wf_task_type_of(const struct weft_task *t)
{
    return wf_container_of((weft_wakeable_type *)wf_unconst(t->wakeable.type), struct wf_task_type,
                           wakeable);
}

WF_INLINE struct weft_task *wf_task_of_wakeable(weft_wakeable *w)
{
    return wf_container_of(w, struct weft_task, wakeable);
}

WF_INLINE bool wf_task_flag(const struct weft_task *t, uint32_t flag)
{
    /* relaxed: its runner's own, or a statistic */
    return (wf_load_u32(&t->flags, WF_RELAXED) & flag) != 0;
}

WF_INLINE void wf_task_set_flag(struct weft_task *t, uint32_t flag, bool on)
{
    uint32_t flags = wf_load_u32(&t->flags, WF_RELAXED);

    /* relaxed: one writer; the queue or the state word carries it to the next runner */
    wf_store_u32(&t->flags, on ? flags | flag : flags & ~flag, WF_RELAXED);
}

WF_INLINE bool wf_task_is_complete(const struct weft_task *t)
{
    /* acquire: pairs with wf_task_state_complete; carries the result */
    return (wf_load_u64(&t->state, WF_ACQUIRE) & WF_TASK_COMPLETE) != 0;
}

/* For good, or within a scope. */
WF_INLINE bool wf_task_is_cancelled(const struct weft_task *t)
{
    /* relaxed: a request, not a message; seen at the latest by the next await */
    return (wf_load_u64(&t->state, WF_RELAXED) & (WF_TASK_CANCELLED | WF_TASK_INTERRUPTED)) != 0;
}

/*
 * The scheduler as tasks see it: the only calls that go up.
 */
struct wf_scheduler_ops {
    /* A task was notified: put it where a worker finds it. From any thread. */
    void (*woken)(struct wf_scheduler *s, struct weft_task *t);
    /* A new task. From any thread; th is the calling one's, or NULL. */
    void (*spawned)(struct wf_scheduler *s, struct wf_thread *th, struct weft_task *t);
    /* The flags that a new task is pinned by which th, or another thread if it is NULL, spawns: to th's worker, if it
     * has one, else to any. 0: all tasks are on one thread anyway. */
    uint32_t (*pin)(struct wf_scheduler *s, struct wf_thread *th);
    /* The same for the blocking pool, with a reference for its queue; and one there was cancelled, and claimed by the
     * caller. */
    void (*spawned_blocking)(struct wf_scheduler *s, struct wf_thread *th, struct weft_task *t);
    void (*cancelled_blocking)(struct wf_scheduler *s, struct weft_task *t);
};

struct wf_scheduler {
    const struct wf_scheduler_ops *ops; /* set once */
    size_t stack_size;                  /* set once */
    struct wf_virtual *clock;           /* set once: one that can be stopped; NULL: it has none */
    struct wf_atomic_u32 closing;       /* shutdown has begun: new tasks are born cancelled */
    weft_task_hook *on_spawn, *on_end;  /* set once; NULL: none */
    void *hook_user;
};

/* What a task is made of. */
struct wf_spawn {
    const weft_task_options *options; /* NULL: none */
    weft_fn *fn;
    void *arg;
    const void *copy; /* of copy_size bytes, in place of arg; 0: none */
    size_t copy_size;
    const weft_async_type *async; /* a stackless task: in place of fn. copy is its state */
    size_t behind;                /* more bytes in the same slot: wf_task_behind. 0: none */
    uint32_t
        pin; /* if it is to be pinned: to whom, by flags of wf_scheduler_ops.pin. 0: the caller's */
};

/* A stackless one, of which no more is said yet. type NULL: wf_spawn_check says so. */
WF_INLINE struct wf_spawn wf_spawn_of_async(const weft_async_type *type, const void *state)
{
    static const weft_async_type none;
    const weft_async_type *t = type ? type : &none;

    return (struct wf_spawn){.async = t, .copy = state, .copy_size = t->size};
}

/* Is it right to spawn? 0, or -EINVAL with a message. */
int wf_spawn_check(const char *call, const struct wf_spawn *p);

/* Can a task of s be pinned to the calling worker, if it is to be? And it cannot be on the blocking pool. The same. */
int wf_spawn_check_pin(const char *call, const struct wf_scheduler *s, const struct wf_spawn *p);
int wf_spawn_check_blocking(const char *call, const struct wf_spawn *p);

/* The options of a spawn: a copy, with the place of the call unless they have one. options may be NULL. */
weft_task_options wf_spawn_sited(const char *site, const weft_task_options *options);

/* Make a task in memory; it does not run before wf_task_publish. th: the calling thread's, or NULL. NULL when
 * memory is out. */
struct weft_task *wf_task_new_fiber(struct wf_thread *th, struct wf_scheduler *s,
                                    const struct wf_spawn *p);

/* The same for the blocking pool. */
struct weft_task *wf_task_new_blocking(struct wf_thread *th, struct wf_scheduler *s,
                                       const struct wf_spawn *p);

/* And a stackless one. */
struct weft_task *wf_task_new_async(struct wf_thread *th, struct wf_scheduler *s,
                                    const struct wf_spawn *p);

/* Poll a stackless task. Fibers: wf_fiber_poll. */
enum wf_poll_result wf_async_poll(struct weft_task *t, bool cancelled);

/* Let it run. handles: references besides the life reference. Its two halves: from the first on it is a task that
 * can be found and cancelled, with these bits in its state; with the second one it runs, and may be gone. */
void wf_task_publish(struct wf_thread *th, struct weft_task *t, unsigned handles);
void wf_task_expose(struct wf_thread *th, struct weft_task *t, unsigned handles, uint64_t bits);
void wf_task_start(struct wf_thread *th, struct weft_task *t);

/* Checked, made and published: what spawning a fiber from a task comes down to. call: who says what was wrong; out
 * NULL: detached. 0, -ENOMEM, -EPERM, -EINVAL. */
int wf_spawn_fiber(const char *call, struct weft_task **out, const struct wf_spawn *p);

/* The same from outside a task. */
int wf_spawn_fiber_on(struct wf_scheduler *s, weft_task **out, const weft_task_options *options,
                      weft_fn *fn, void *arg);
int wf_spawn_async_on(struct wf_scheduler *s, weft_task **out, const weft_task_options *options,
                      const weft_async_type *type, const void *state);

/* From any thread that keeps the task: its awaits are cancelled, until it takes that back itself. */
void wf_task_interrupt(struct weft_task *t);

/* By the task itself: its extra part, made if there is none. NULL when memory is out. */
struct wf_task_extra *wf_task_make_extra(struct weft_task *t);

/* With the last reference: free the header. */
void wf_task_destroy(struct weft_task *t);

/* Debug builds: a thread that leaves frees the headers that it kept back. */
void wf_task_free_graves(struct wf_thread *th);

/* The task's result is set and its poll is over: let the world know. t may be gone afterwards. */
void wf_task_end(struct weft_task *t);

const char *wf_task_name(const struct weft_task *t);
void wf_task_fill_info(const struct weft_task *t, weft_task_info *info);

/* Is it a live handle? In debug builds a message and false when not; else only NULL is caught. */
bool wf_task_check(const struct weft_task *t, const char *call);

#endif
