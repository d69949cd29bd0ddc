/* SPDX-License-Identifier: MIT */
/*
 * switch_riscv64.S - the switch for RISC-V, LP64 with and without floating-point registers. The
 * promises are in switch.h.
 *
 * FRAME    0 ra, 8 s0 (the frame pointer) to 96 s11, 104 fs0 to 192 fs11, 200 frm
 * JUMP     Through t2: a jump through ra or t0 counts as a return, which the processor
 *          predicts by the calls made on the stack that was left; one through another
 *          register must arrive at a landing pad where those are enforced.
 */
#if defined(__riscv) && defined(__LP64__) && !(defined(WF_FIBER_UCONTEXT) && WF_FIBER_UCONTEXT)

/* As wide as the registers are, up to doubles: no ABI preserves more. */
#if defined(__riscv_flen) && __riscv_flen >= 64
# define FLOATS 1
# define FSTORE fsd
# define FLOAD  fld
#elif defined(__riscv_flen)
# define FLOATS 1
# define FSTORE fsw
# define FLOAD  flw
#else
# define FLOATS 0
#endif

#define FRAME 208

    .text

/* void *wf_switch(void **save a0, void *to a1, void *value a2) */
    .globl wf_switch
    .hidden wf_switch
    .type wf_switch, @function
    .balign 64
wf_switch:
    .cfi_startproc
    addi sp, sp, -FRAME
    .cfi_def_cfa_offset FRAME
    sd ra, 0(sp)
    .cfi_offset ra, 0 - FRAME
    sd s0, 8(sp)
    .cfi_offset s0, 8 - FRAME
    sd s1, 16(sp)
    .cfi_offset s1, 16 - FRAME
    sd s2, 24(sp)
    .cfi_offset s2, 24 - FRAME
    sd s3, 32(sp)
    .cfi_offset s3, 32 - FRAME
    sd s4, 40(sp)
    .cfi_offset s4, 40 - FRAME
    sd s5, 48(sp)
    .cfi_offset s5, 48 - FRAME
    sd s6, 56(sp)
    .cfi_offset s6, 56 - FRAME
    sd s7, 64(sp)
    .cfi_offset s7, 64 - FRAME
    sd s8, 72(sp)
    .cfi_offset s8, 72 - FRAME
    sd s9, 80(sp)
    .cfi_offset s9, 80 - FRAME
    sd s10, 88(sp)
    .cfi_offset s10, 88 - FRAME
    sd s11, 96(sp)
    .cfi_offset s11, 96 - FRAME
#if FLOATS
    FSTORE fs0, 104(sp)
    .cfi_offset fs0, 104 - FRAME
    FSTORE fs1, 112(sp)
    .cfi_offset fs1, 112 - FRAME
    FSTORE fs2, 120(sp)
    .cfi_offset fs2, 120 - FRAME
    FSTORE fs3, 128(sp)
    .cfi_offset fs3, 128 - FRAME
    FSTORE fs4, 136(sp)
    .cfi_offset fs4, 136 - FRAME
    FSTORE fs5, 144(sp)
    .cfi_offset fs5, 144 - FRAME
    FSTORE fs6, 152(sp)
    .cfi_offset fs6, 152 - FRAME
    FSTORE fs7, 160(sp)
    .cfi_offset fs7, 160 - FRAME
    FSTORE fs8, 168(sp)
    .cfi_offset fs8, 168 - FRAME
    FSTORE fs9, 176(sp)
    .cfi_offset fs9, 176 - FRAME
    FSTORE fs10, 184(sp)
    .cfi_offset fs10, 184 - FRAME
    FSTORE fs11, 192(sp)
    .cfi_offset fs11, 192 - FRAME
    frrm t0
    sd t0, 200(sp)
    ld t1, 200(a1)
    sd sp, 0(a0)
    beq t0, t1, 1f
    fsrm t1
1:
#else
    sd sp, 0(a0)
#endif

    mv sp, a1 /* the other stack, laid out alike */
#if FLOATS
    FLOAD fs0, 104(sp)
    FLOAD fs1, 112(sp)
    FLOAD fs2, 120(sp)
    FLOAD fs3, 128(sp)
    FLOAD fs4, 136(sp)
    FLOAD fs5, 144(sp)
    FLOAD fs6, 152(sp)
    FLOAD fs7, 160(sp)
    FLOAD fs8, 168(sp)
    FLOAD fs9, 176(sp)
    FLOAD fs10, 184(sp)
    FLOAD fs11, 192(sp)
#endif
    ld ra, 0(sp)
    ld s0, 8(sp)
    ld s1, 16(sp)
    ld s2, 24(sp)
    ld s3, 32(sp)
    ld s4, 40(sp)
    ld s5, 48(sp)
    ld s6, 56(sp)
    ld s7, 64(sp)
    ld s8, 72(sp)
    ld s9, 80(sp)
    ld s10, 88(sp)
    ld s11, 96(sp)
    mv t2, ra
    mv a0, a2
    addi sp, sp, FRAME
    .cfi_def_cfa_offset 0
    .cfi_restore ra
    .cfi_restore s0
    .cfi_restore s1
    .cfi_restore s2
    .cfi_restore s3
    .cfi_restore s4
    .cfi_restore s5
    .cfi_restore s6
    .cfi_restore s7
    .cfi_restore s8
    .cfi_restore s9
    .cfi_restore s10
    .cfi_restore s11
#if FLOATS
    .cfi_restore fs0
    .cfi_restore fs1
    .cfi_restore fs2
    .cfi_restore fs3
    .cfi_restore fs4
    .cfi_restore fs5
    .cfi_restore fs6
    .cfi_restore fs7
    .cfi_restore fs8
    .cfi_restore fs9
    .cfi_restore fs10
    .cfi_restore fs11
#endif
    jr t2
    .cfi_endproc
    .size wf_switch, . - wf_switch

/*
 * The caller of every entry: s1 holds the entry, a0 the first value. Unwinders look up a
 * return address minus one, so the unwind information starts an instruction early for
 * the sake of a stack that has not run yet.
 */
    .type switch_start, @function
    .balign 16
    .cfi_startproc
    .cfi_undefined ra
    nop
switch_start:
    mv a1, sp
    jalr s1
    ebreak
    .cfi_endproc
    .size switch_start, . - switch_start

/* void *wf_switch_prepare(void *top a0, void (*entry)(void *, void *) a1) */
    .globl wf_switch_prepare
    .hidden wf_switch_prepare
    .type wf_switch_prepare, @function
    .balign 16
wf_switch_prepare:
    .cfi_startproc
    addi a0, a0, -FRAME
    lla t0, switch_start
    sd t0, 0(a0)
    sd zero, 8(a0) /* a null frame pointer ends a walk along them */
    sd a1, 16(a0)
#if FLOATS
    frrm t0
    sd t0, 200(a0)
#endif
    ret
    .cfi_endproc
    .size wf_switch_prepare, . - wf_switch_prepare

#endif

    .section .note.GNU-stack, "", @progbits
