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

/*
 * wf_switch_inline - the same, laid into the caller.
 *
 * A processor predicts where a return goes by the call it saw last. Behind a call of wf_switch that is
 * the wrong one on both sides, and each miss costs as much as the switch itself. Laid in,
 * a switch is neither a call nor a return: calls and returns pair up again as long as both sides
 * switch at the same depth, as a worker and its fibers do.
 *
 * What a call would have preserved is given up (the compiler saves what it needs), but for the frame pointer and
 * the floating-point control bits, which go into a frame like wf_switch's. So wf_switch may continue what
 * was parked here, and this may continue a fresh stack, but not what wf_switch parked: it
 * restores less. The frame is built below sp, which does not move: the library is compiled
 * without a red zone.
 */
#if defined(__x86_64__) && !WF_FIBER_UCONTEXT && !WF_ASAN && !WF_TSAN
# define WF_SWITCH_INLINE 1
# if defined(__AVX512F__)
#  define WF_SWITCH_CLOBBERS_512                                                                 \
   , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25",   \
       "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k0", "k1", "k2", "k3", "k4", "k5", \
       "k6", "k7"
# else
#  define WF_SWITCH_CLOBBERS_512
# endif
/*
 * W1 here, where the two sides stand in functions with different frames: from the moment that
 * registers of the other side come in, unwinding goes on from the frame at `to`. The compiler has
 * saved all that is called undefined. The nop is never run: unwinders look up a return
 * address minus one, and there the compiler's own description must hold.
 */
# if defined(__GCC_HAVE_DWARF2_CFI_ASM)
#  define WF_SWITCH_CFI_ENTER   \
   ".cfi_remember_state\n\t"    \
   ".cfi_def_cfa %%rsi, 64\n\t" \
   ".cfi_offset %%rbp, -16\n\t" \
   ".cfi_undefined %%rbx\n\t"   \
   ".cfi_undefined %%r12\n\t"   \
   ".cfi_undefined %%r13\n\t"   \
   ".cfi_undefined %%r14\n\t"   \
   ".cfi_undefined %%r15\n\t"
#  define WF_SWITCH_CFI_LEAVE ".cfi_restore_state\n\tnop\n"
# else
#  define WF_SWITCH_CFI_ENTER
#  define WF_SWITCH_CFI_LEAVE "\n"
# endif
WF_INLINE void *wf_switch_inline(void **save, void *to, void *value)
{
    void *result;

    __asm__ volatile("leaq 1f(%%rip), %%rcx\n\t"
                     "stmxcsr -64(%%rsp)\n\t"
                     "fnstcw -60(%%rsp)\n\t"
                     "movq %%rbp, -16(%%rsp)\n\t"
                     "movq %%rcx, -8(%%rsp)\n\t"
                     "leaq -64(%%rsp), %%rcx\n\t"
                     "movl -64(%%rsp), %%eax\n\t"
                     "movq %%rcx, (%%rdi)\n\t"
                     "movzwl -60(%%rsp), %%ecx\n\t"
                     "xorl (%%rsi), %%eax\n\t"
                     "xorw 4(%%rsi), %%cx\n\t"
                     "andl $0xffc0, %%eax\n\t"
                     "orl %%ecx, %%eax\n\t"
                     "jz 2f\n\t"
                     "ldmxcsr (%%rsi)\n\t"
                     "fldcw 4(%%rsi)\n"
                     "2:\n\t" WF_SWITCH_CFI_ENTER "movq 56(%%rsi), %%rcx\n\t"
                     "movq 8(%%rsi), %%r12\n\t"
                     "movq 48(%%rsi), %%rbp\n\t"
                     "leaq 64(%%rsi), %%rsp\n\t"
                     "movq %%rdx, %%rax\n\t"
                     "notrack jmp *%%rcx\n\t" WF_SWITCH_CFI_LEAVE "1:\n\t"
                     : "=a"(result), "+D"(save), "+S"(to), "+d"(value)
                     :
                     : "rbx", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0",
                       "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15" WF_SWITCH_CLOBBERS_512,
                       "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)",
                       "memory", "cc");
    return result;
}
#else
# define WF_SWITCH_INLINE 0
# define wf_switch_inline wf_switch
#endif

#endif
