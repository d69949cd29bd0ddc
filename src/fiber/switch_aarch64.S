/* SPDX-License-Identifier: MIT */
/*
 * switch_aarch64.S - the switch for AAPCS64. The promises are in switch.h.
 *
 * FRAME    0 x19 to x30 in pairs (80 x29, 88 x30), 96 d8 to d15 in pairs, 160 fpcr, 168 unused
 * RETURN   By ret, not br: a return site is no landing pad for an indirect branch. A build with
 *          pointer authentication signs the return address with the sp of its own
 *          stack, so a frame copied to another stack does not authenticate there.
 */
#if defined(__aarch64__) && defined(__LP64__) && !(defined(WF_FIBER_UCONTEXT) && WF_FIBER_UCONTEXT)

/* The hint numbers of bti c, bti jc, pacia1716, paciasp and autiasp: no-ops on processors
 * and assemblers that do not know them. paciasp is a landing pad too. */
#if defined(__ARM_FEATURE_PAC_DEFAULT)
# define LANDING        hint 25; .cfi_negate_ra_state
# define AUTHENTICATE   hint 29; .cfi_negate_ra_state
# define SIGN_X17_BY_X16 hint 8
# define FEATURE_PAC    2
#else
# define LANDING        hint 34
# define AUTHENTICATE
# define SIGN_X17_BY_X16
# define FEATURE_PAC    0
#endif
#if defined(__ARM_FEATURE_BTI_DEFAULT)
# define FEATURE_BTI 1
#else
# define FEATURE_BTI 0
#endif

#define FRAME 176

    .text

/* void *wf_switch(void **save x0, void *to x1, void *value x2) */
    .globl wf_switch
    .hidden wf_switch
    .type wf_switch, %function
    .balign 64
wf_switch:
    .cfi_startproc
    LANDING
    sub sp, sp, #FRAME
    .cfi_def_cfa_offset FRAME
    stp x19, x20, [sp, #0]
    .cfi_offset x19, 0 - FRAME
    .cfi_offset x20, 8 - FRAME
    stp x21, x22, [sp, #16]
    .cfi_offset x21, 16 - FRAME
    .cfi_offset x22, 24 - FRAME
    stp x23, x24, [sp, #32]
    .cfi_offset x23, 32 - FRAME
    .cfi_offset x24, 40 - FRAME
    stp x25, x26, [sp, #48]
    .cfi_offset x25, 48 - FRAME
    .cfi_offset x26, 56 - FRAME
    stp x27, x28, [sp, #64]
    .cfi_offset x27, 64 - FRAME
    .cfi_offset x28, 72 - FRAME
    stp x29, x30, [sp, #80]
    .cfi_offset x29, 80 - FRAME
    .cfi_offset x30, 88 - FRAME
    stp d8, d9, [sp, #96]
    .cfi_offset b8, 96 - FRAME
    .cfi_offset b9, 104 - FRAME
    stp d10, d11, [sp, #112]
    .cfi_offset b10, 112 - FRAME
    .cfi_offset b11, 120 - FRAME
    stp d12, d13, [sp, #128]
    .cfi_offset b12, 128 - FRAME
    .cfi_offset b13, 136 - FRAME
    stp d14, d15, [sp, #144]
    .cfi_offset b14, 144 - FRAME
    .cfi_offset b15, 152 - FRAME
    mrs x3, fpcr
    mov x4, sp
    str x3, [sp, #160]
    str x4, [x0]

    ldr x5, [x1, #160]
    cmp x3, x5
    b.eq 1f
    msr fpcr, x5

1:  mov sp, x1 /* the other stack, laid out alike */
    ldp d14, d15, [sp, #144]
    ldp d12, d13, [sp, #128]
    ldp d10, d11, [sp, #112]
    ldp d8, d9, [sp, #96]
    ldp x29, x30, [sp, #80]
    ldp x27, x28, [sp, #64]
    ldp x25, x26, [sp, #48]
    ldp x23, x24, [sp, #32]
    ldp x21, x22, [sp, #16]
    ldp x19, x20, [sp, #0]
    mov x0, x2
    add sp, sp, #FRAME
    .cfi_def_cfa_offset 0
    .cfi_restore x19
    .cfi_restore x20
    .cfi_restore x21
    .cfi_restore x22
    .cfi_restore x23
    .cfi_restore x24
    .cfi_restore x25
    .cfi_restore x26
    .cfi_restore x27
    .cfi_restore x28
    .cfi_restore x29
    .cfi_restore x30
    .cfi_restore b8
    .cfi_restore b9
    .cfi_restore b10
    .cfi_restore b11
    .cfi_restore b12
    .cfi_restore b13
    .cfi_restore b14
    .cfi_restore b15
    AUTHENTICATE
    ret
    .cfi_endproc
    .size wf_switch, . - wf_switch

/*
 * The caller of every entry: x19 holds the entry, x0 the first value. Unwinders look up a
 * return address minus one, so the unwind information starts an instruction early for
 * the sake of a stack that has not run yet.
 */
    .type switch_start, %function
    .balign 16
    .cfi_startproc
    .cfi_undefined x30
    nop
switch_start:
    hint 38
    mov x1, sp
    blr x19
    brk #1
    .cfi_endproc
    .size switch_start, . - switch_start

/* void *wf_switch_prepare(void *top x0, void (*entry)(void *, void *) x1) */
    .globl wf_switch_prepare
    .hidden wf_switch_prepare
    .type wf_switch_prepare, %function
    .balign 16
wf_switch_prepare:
    .cfi_startproc
    hint 34
    mov x16, x0
    adrp x17, switch_start
    add x17, x17, #:lo12:switch_start
    SIGN_X17_BY_X16
    sub x0, x0, #FRAME
    mrs x3, fpcr
    str x1, [x0, #0]
    stp xzr, x17, [x0, #80] /* a null frame pointer ends a walk along them */
    str x3, [x0, #160]
    ret
    .cfi_endproc
    .size wf_switch_prepare, . - wf_switch_prepare

#if FEATURE_BTI || FEATURE_PAC
    .section .note.gnu.property, "a", %note
    .balign 8
    .long 4, 16, 5
    .asciz "GNU"
    .long 0xc0000000, 4, FEATURE_BTI | FEATURE_PAC, 0
#endif

#endif

    .section .note.GNU-stack, "", %progbits
