/* SPDX-License-Identifier: MIT */
/*
 * switch.h - leave one stack and continue on another: the dozen instructions that each processor
 * needs its own version of.
 *
 * IDEA     A parked stack is one pointer, its sp. What a called function must preserve is stored in
 *          a frame at sp; everything else is dead at a call, so the compiler has saved it already.
 *          The value handed over travels in registers.
 * WHO      Any thread may continue a stack that any other thread parked, if the parking happens
 *          before it. A stack runs on one thread at a time.
 * INVARIANTS
 *     W1   The frame has one layout and one size on every stack of a processor. So the unwind
 *          information of wf_switch is true before and after sp moves, and a debugger
 *          or a profiler's signal sees a whole stack at every instruction.
 *     W2   The caller of an entry has no return address: unwinding ends there.
 * FLOATING POINT
 *          The control bits (rounding, traps, flush to zero) belong to the fiber, as the
 *          ABI says. Reading them is cheap and writing them is not, so they are written only where
 *          both sides differ. The sticky exception flags are not kept.
 * SHADOW STACKS
 *          The x86-64 object says that it knows branch tracking but not shadow stacks, so
 *          the loader leaves those off for the process.
 * REJECTED setjmp and longjmp: glibc's checked longjmp aborts on a jump between stacks. ucontext:
 *          two system calls a switch; kept as the fallback for other processors, and by
 *          -DWF_FIBER_UCONTEXT=1 for any.
 * TESTS    tests/unit/test_fiber.c
 */
#ifndef WF_FIBER_SWITCH_H
#define WF_FIBER_SWITCH_H

#include "base/compiler.h"

#ifndef WF_FIBER_UCONTEXT
# if defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__) || defined(__riscv))
#  define WF_FIBER_UCONTEXT 0
# else
#  define WF_FIBER_UCONTEXT 1
# endif
#endif

/*
 * Save the state of the caller on the current stack and its sp in *save; continue on
 * the stack parked at `to`. Returns the value that whoever switches back passes, perhaps
 * on another thread.
 */
void *wf_switch(void **save, void *to, void *value);

/*
 * Lay a first frame below top (16-aligned), so that the first wf_switch to the returned sp
 * calls entry(value, top). The entry never returns. It begins with the floating-point control
 * bits of whoever prepares it.
 */
void *wf_switch_prepare(void *top, void (*entry)(void *value, void *top));

/* Where a parked frame keeps the address at which it continues and the caller's frame pointer:
 * what a backtrace of a parked stack begins with. 0: not known. */
#if WF_FIBER_UCONTEXT
# define WF_SWITCH_FRAME_SIZE 0
# define WF_SWITCH_FRAME_PC   0
# define WF_SWITCH_FRAME_FP   0
#elif defined(__x86_64__)
# define WF_SWITCH_FRAME_SIZE 64
# define WF_SWITCH_FRAME_PC   56
# define WF_SWITCH_FRAME_FP   48
#elif defined(__aarch64__)
# define WF_SWITCH_FRAME_SIZE 176
# define WF_SWITCH_FRAME_PC   88
# define WF_SWITCH_FRAME_FP   80
#else
# define WF_SWITCH_FRAME_SIZE 208
# define WF_SWITCH_FRAME_PC   0
# define WF_SWITCH_FRAME_FP   8
#endif

#endif
