/* SPDX-License-Identifier: MIT */
/*
 * switch_ucontext.c - the portable switch: the C library's ucontext, for processors
 * without a switch of their own. The promises are in switch.h.
 *
 * A parked stack's sp is the address of a frame with its ucontext. Each switch is two system calls,
 * since ucontext keeps the signal mask too: the mask then belongs to the fiber.
 */
#include "fiber/switch.h"

#if WF_FIBER_UCONTEXT

# include "base/assert.h"

# include <ucontext.h>

/* makecontext wants to know a size, but only the end of the stack is used. */
# define SWITCH_STACK_SIZE 4096

struct switch_frame {
    ucontext_t context;
    void *value; /* left here by whoever switches to this frame */
    void (*entry)(void *value, void *top);
    void *top;
};

/* makecontext passes ints: the two halves of the frame's address. */
static void switch_start(unsigned high, unsigned low)
{
    struct switch_frame *f;
    uint64_t address = (uint64_t)high << 32 | low;

    f = (struct switch_frame *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr) */
    f->entry(f->value, f->top);
    wf_unreachable("a fiber's entry returned");
}

/*
 * Not instrumented: the frame of a fiber's last switch is never left, and its red zones
 * would wait for the next fiber. For the same tool uc_stack is empty: it takes what it
 * finds there for a stack to be cleared.
 */
__attribute__((no_sanitize_address)) void *wf_switch(void **save, void *to, void *value)
{
    struct switch_frame self, *other = to;
    int rc;

    self.context.uc_stack = (stack_t){0};
    *save = &self; /* cppcheck-suppress autoVariables ; the frame is parked, not left */
    other->value = value;
    rc = swapcontext(&self.context, &other->context);
    wf_assert(rc == 0);
    return self.value;
}

void *wf_switch_prepare(void *top, void (*entry)(void *value, void *top))
{
    struct switch_frame *f = top;
    uint64_t address;
    int rc;

    f = (struct switch_frame *)(void *)((char *)top - ((sizeof(*f) + 15) & ~(size_t)15));
    address = (uint64_t)(uintptr_t)f;
    rc = getcontext(&f->context);
    wf_assert(rc == 0);
    f->context.uc_stack.ss_sp = (char *)f - SWITCH_STACK_SIZE;
    f->context.uc_stack.ss_size = SWITCH_STACK_SIZE;
    f->context.uc_link = NULL;
    f->value = NULL;
    f->entry = entry;
    f->top = top;
    /* the cast is the calling convention that makecontext prescribes */
    makecontext(&f->context, (void (*)(void))switch_start, 2, (unsigned)(address >> 32),
                (unsigned)address);
    return f;
}

#endif
