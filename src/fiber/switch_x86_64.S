/* SPDX-License-Identifier: MIT */
/*
 * switch_x86_64.S - the switch for the System V ABI of x86-64. The promises are in switch.h.
 *
 * FRAME    0 mxcsr, 4 x87 control word, 8 r12, 16 r13, 24 r14, 32 r15, 40 rbx, 48 rbp,
 *          56 return address
 * JUMP     The last instruction jumps instead of returning: the processor predicts a return
 *          by the calls made on the stack that was left, which is always wrong here. No return
 *          site begins with endbr64, hence notrack.
 */
#if defined(__x86_64__) && defined(__LP64__) && !(defined(WF_FIBER_UCONTEXT) && WF_FIBER_UCONTEXT)

#if defined(__CET__) && (__CET__ & 1)
# define LANDING endbr64
#else
# define LANDING
#endif

/* The bits of mxcsr that a function must preserve: all but the sticky flags. */
#define MXCSR_CONTROL 0xffc0

    .text

/* void *wf_switch(void **save rdi, void *to rsi, void *value rdx) */
    .globl wf_switch
    .hidden wf_switch
    .type wf_switch, @function
    .balign 64
wf_switch:
    .cfi_startproc
    LANDING
    leaq -56(%rsp), %rsp
    .cfi_def_cfa_offset 64
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movq %r12, 8(%rsp)
    .cfi_offset %r12, -56
    movq %r13, 16(%rsp)
    .cfi_offset %r13, -48
    movq %r14, 24(%rsp)
    .cfi_offset %r14, -40
    movq %r15, 32(%rsp)
    .cfi_offset %r15, -32
    movq %rbx, 40(%rsp)
    .cfi_offset %rbx, -24
    movq %rbp, 48(%rsp)
    .cfi_offset %rbp, -16
    movq %rsp, (%rdi)

    /* Two loads as wide as the two stores, so that they are served from the store buffer. */
    movl (%rsp), %eax
    movzwl 4(%rsp), %ecx
    xorl (%rsi), %eax
    xorw 4(%rsi), %cx
    andl $MXCSR_CONTROL, %eax
    orl %ecx, %eax
    jnz 2f

1:  movq %rsi, %rsp /* the other stack, laid out alike */
    movq 56(%rsp), %rcx
    movq 8(%rsp), %r12
    movq 16(%rsp), %r13
    movq 24(%rsp), %r14
    movq 32(%rsp), %r15
    movq 40(%rsp), %rbx
    movq 48(%rsp), %rbp
    movq %rdx, %rax
    /* The copies below sp stay true in the red zone: only the distance to them changes. */
    .cfi_remember_state
    leaq 64(%rsp), %rsp
    .cfi_def_cfa_offset 0
    notrack jmp *%rcx

    .cfi_restore_state
2:  ldmxcsr (%rsi)
    fldcw 4(%rsi)
    jmp 1b
    .cfi_endproc
    .size wf_switch, . - wf_switch

/*
 * The caller of every entry: r12 holds the entry, rax the first value. Unwinders look
 * up a return address minus one, so the unwind information starts a byte early for the
 * sake of a stack that has not run yet.
 */
    .type switch_start, @function
    .balign 16
    .cfi_startproc
    .cfi_undefined %rip
    nop
switch_start:
    LANDING
    movq %rax, %rdi
    movq %rsp, %rsi
    call *%r12
    ud2
    .cfi_endproc
    .size switch_start, . - switch_start

/* void *wf_switch_prepare(void *top rdi, void (*entry)(void *, void *) rsi) */
    .globl wf_switch_prepare
    .hidden wf_switch_prepare
    .type wf_switch_prepare, @function
    .balign 16
wf_switch_prepare:
    .cfi_startproc
    LANDING
    leaq -64(%rdi), %rax
    leaq switch_start(%rip), %rcx
    xorl %edx, %edx
    stmxcsr (%rax)
    fnstcw 4(%rax)
    movq %rsi, 8(%rax)
    movq %rdx, 48(%rax) /* ends a walk along frame pointers */
    movq %rcx, 56(%rax)
    ret
    .cfi_endproc
    .size wf_switch_prepare, . - wf_switch_prepare

#if defined(__CET__) && (__CET__ & 1)
/* x86 feature 1: branch tracking, and not shadow stacks. */
    .section .note.gnu.property, "a", @note
    .balign 8
    .long 4, 16, 5
    .asciz "GNU"
    .long 0xc0000002, 4, 1, 0
#endif

#endif

    .section .note.GNU-stack, "", @progbits
