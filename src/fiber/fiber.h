/* SPDX-License-Identifier: MIT */
/*
 * fiber.h - one side of a switch: a stack with something to continue on it, and what the
 * sanitizers must be told when it is left and entered.
 *
 * IDEA     Everything that runs is a coroutine: a thread on its native stack, and a fiber on a
 *          stack of ours. A switch goes from the running one to a parked one; plain builds
 *          add nothing to wf_switch.
 * WHO      The running side calls wf_coro_switch. A parked side may be continued by any
 *          thread, except a thread's own stack, which belongs to that thread.
 * INVARIANTS
 *     C1   `from` is what runs on the calling thread.
 *     C2   A fiber ends by wf_coro_exit and is released from the other side, before its stack is
 *          put: nobody frees the stack that he stands on.
 * SANITIZERS
 *          The address sanitizer learns the bounds of the stack that is entered, and that a fiber's
 *          fake frames die with it. The thread sanitizer has a context per fiber; the
 *          call that changes it and wf_switch must be in one function, so that each context sees
 *          balanced entries and exits: hence all is inline.
 */
#ifndef WF_FIBER_FIBER_H
#define WF_FIBER_FIBER_H

#include "base/assert.h"
#include "fiber/stack.h"
#include "fiber/switch.h"

#if WF_ASAN
# include <sanitizer/common_interface_defs.h>
#endif
#if WF_TSAN
# include <sanitizer/tsan_interface.h>
#endif

struct wf_coro {
    void *sp;               /* valid while parked */
    struct wf_stack *stack; /* NULL: a thread's own stack */
#if WF_ASAN
    void *fake_stack; /* valid while parked */
    const void *bottom;
    size_t size;
#endif
#if WF_TSAN
    void *context;
#endif
};

/* The calling thread, on its native stack. */
void wf_coro_init_thread(struct wf_coro *c);
void wf_coro_release_thread(struct wf_coro *c);

/*
 * A fiber on s that calls entry(arg) when first switched to; the value of that switch is
 * dropped. entry must end by wf_coro_exit. Does not fail.
 */
void wf_coro_init(struct wf_coro *c, struct wf_stack *s, void (*entry)(void *arg), void *arg);

/* The same with frames beginning at top, 16-aligned, below what the caller keeps on the stack. */
void wf_coro_init_at(struct wf_coro *c, struct wf_stack *s, void *top, void (*entry)(void *arg),
                     void *arg);

/* After wf_coro_exit, from the other side. The stack may be put afterwards. */
void wf_coro_release(struct wf_coro *c);

/* The last switch out of a fiber. */
__attribute__((noreturn)) void wf_coro_exit(struct wf_coro *from, struct wf_coro *to, void *value);

#if WF_ASAN
/* fake_stack: where to keep the frames of the side that is left; NULL when it ends. */
WF_INLINE void wf_coro_asan_leave(void **fake_stack, const struct wf_coro *to)
{
    __sanitizer_start_switch_fiber(fake_stack, to->bottom, to->size);
}

WF_INLINE void wf_coro_asan_enter(void *fake_stack)
{
    __sanitizer_finish_switch_fiber(fake_stack, NULL, NULL);
}

# define wf_coro_fake_stack(c) ((c)->fake_stack)
# define wf_coro_fake_slot(c)  (&(c)->fake_stack)
#else
# define wf_coro_asan_leave(fake_stack, to) ((void)0)
# define wf_coro_asan_enter(fake_stack)     ((void)0)
#endif

#if WF_TSAN
/* Flags 0: what this thread did before the switch happens before what it does after it. */
WF_INLINE void wf_coro_tsan_enter(const struct wf_coro *to)
{
    __tsan_switch_to_fiber(to->context, 0);
}
#else
# define wf_coro_tsan_enter(to) ((void)0)
#endif

/*
 * Park `from`, which runs, and continue `to`. Returns when somebody switches to `from`,
 * with the value that he passes; perhaps on another thread.
 */
WF_INLINE void *wf_coro_switch(struct wf_coro *from, struct wf_coro *to, void *value)
{
    wf_coro_asan_leave(wf_coro_fake_slot(from), to);
    wf_coro_tsan_enter(to);
    value = wf_switch_inline(&from->sp, to->sp, value);
    wf_coro_asan_enter(wf_coro_fake_stack(from));
    return value;
}

#endif
