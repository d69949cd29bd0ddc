/* SPDX-License-Identifier: MIT */
/*
 * test_switch.c - the switch against the ABI of the processor, register by register: what a call
 * preserves, how an entry finds its stack, what an unwinder and a debugger see.
 *
 * IDEA     A few lines of assembly for each processor put known values into every register that a
 *          called function must preserve, call something that switches away, and store what
 *          they find afterwards. Meanwhile the other side does the same with other values.
 *          docs/design/010-switch-abi.md lists what is claimed.
 * LIMITS   The switch is called bare, without what the sanitizers would have to be told, so they
 *          are left out.
 */
#include "fiber/switch.h"

#include "support.h"

#include <fenv.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unwind.h>

#define STACK_SIZE ((size_t)256 << 10)

static _Alignas(16) char stack[STACK_SIZE];

/* Frames begin below something that an unwinder would take for more of them. */
static void *stack_top(void)
{
    return stack + STACK_SIZE - 512;
}

WF_OPAQUE static int frame_1(int n);

/* A first frame on a stack that others have used: nothing on it is 0 by chance. */
static void *prepare(void (*entry)(void *value, void *top))
{
    uintptr_t code = (uintptr_t)(void (*)(void))frame_1 + 8;

    for (size_t i = 0; i < STACK_SIZE; i += sizeof(code))
        memcpy(stack + i, &code, sizeof(code));
    return wf_switch_prepare(stack_top(), entry);
}

typedef void *switch_function(void **save, void *to, void *value);

/* Laid into a function that does nothing else, so that the caller's registers are the same claim. */
WF_OPAQUE static void *switch_inline(void **save, void *to, void *value)
{
    return wf_switch_inline(save, to, value);
}

/* One side parked, the other running. */
static struct {
    switch_function *how;
    void *thread, *fiber;
} sides;

static void *to_fiber(void *value)
{
    return sides.how(&sides.thread, sides.fiber, value);
}

static void *to_thread(void *value)
{
    return sides.how(&sides.fiber, sides.thread, value);
}

/* --- registers ---------------------------------------------------------------- */

#if defined(__x86_64__)
# define CANARIES 6
static const char *const canary_names[CANARIES] = {"rbx", "rbp", "r12", "r13", "r14", "r15"};

# define CANARY_CODE                            \
  ".irp r, rbx, rbp, r12, r13, r14, r15, rdi\n" \
  "    pushq %\\r\n"                            \
  ".endr\n"                                     \
  "    movq 0(%rdi), %rbx\n"                    \
  "    movq 8(%rdi), %rbp\n"                    \
  ".irp r, 12, 13, 14, 15\n"                    \
  "    movq 8*(\\r-10)(%rdi), %r\\r\n"          \
  ".endr\n"                                     \
  "    movq %rsi, %rax\n"                       \
  "    movq %rdx, %rdi\n"                       \
  "    movq %rcx, %rsi\n"                       \
  "    movq %r8, %rdx\n"                        \
  "    callq *%rax\n"                           \
  "    popq %rdi\n"                             \
  "    movq %rbx, 48+0(%rdi)\n"                 \
  "    movq %rbp, 48+8(%rdi)\n"                 \
  ".irp r, 12, 13, 14, 15\n"                    \
  "    movq %r\\r, 48+8*(\\r-10)(%rdi)\n"       \
  ".endr\n"                                     \
  ".irp r, r15, r14, r13, r12, rbp, rbx\n"      \
  "    popq %\\r\n"                             \
  ".endr\n"                                     \
  "    retq\n"
# define PROBE_CODE                   \
  "    leaq probe_seen(%rip), %rax\n" \
  "    movq %rsp, 0(%rax)\n"          \
  "    movq %rbp, 8(%rax)\n"          \
  "    jmp probe_entered\n"
# define ENTRY_MISALIGNED 8 /* by the return address */
#elif defined(__aarch64__)
# define CANARIES 19
static const char *const canary_names[CANARIES] = {"x19", "x20", "x21", "x22", "x23", "x24", "x25",
                                                   "x26", "x27", "x28", "x29", "d8",  "d9",  "d10",
                                                   "d11", "d12", "d13", "d14", "d15"};

# define CANARY_CODE                                     \
  "    sub sp, sp, #176\n"                               \
  "    str x30, [sp, #0]\n"                              \
  "    str x0, [sp, #8]\n"                               \
  ".irp r, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29\n" \
  "    str x\\r, [sp, #16+8*(\\r-19)]\n"                 \
  "    ldr x\\r, [x0, #8*(\\r-19)]\n"                    \
  ".endr\n"                                              \
  ".irp r, 8, 9, 10, 11, 12, 13, 14, 15\n"               \
  "    str d\\r, [sp, #104+8*(\\r-8)]\n"                 \
  "    ldr d\\r, [x0, #88+8*(\\r-8)]\n"                  \
  ".endr\n"                                              \
  "    mov x9, x1\n"                                     \
  "    mov x0, x2\n"                                     \
  "    mov x1, x3\n"                                     \
  "    mov x2, x4\n"                                     \
  "    blr x9\n"                                         \
  "    ldr x9, [sp, #8]\n"                               \
  ".irp r, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29\n" \
  "    str x\\r, [x9, #152+8*(\\r-19)]\n"                \
  "    ldr x\\r, [sp, #16+8*(\\r-19)]\n"                 \
  ".endr\n"                                              \
  ".irp r, 8, 9, 10, 11, 12, 13, 14, 15\n"               \
  "    str d\\r, [x9, #152+88+8*(\\r-8)]\n"              \
  "    ldr d\\r, [sp, #104+8*(\\r-8)]\n"                 \
  ".endr\n"                                              \
  "    ldr x30, [sp, #0]\n"                              \
  "    add sp, sp, #176\n"                               \
  "    ret\n"
# define PROBE_CODE                     \
  "    hint 34\n"                       \
  "    adrp x9, probe_seen\n"           \
  "    add x9, x9, #:lo12:probe_seen\n" \
  "    mov x10, sp\n"                   \
  "    str x10, [x9, #0]\n"             \
  "    str x29, [x9, #8]\n"             \
  "    b probe_entered\n"
# define ENTRY_MISALIGNED 0
#elif defined(__riscv_float_abi_double)
# define CANARIES 24
static const char *const canary_names[CANARIES] = {
    "s0",  "s1",  "s2",  "s3",  "s4",  "s5",  "s6",  "s7",  "s8",  "s9",  "s10",  "s11",
    "fs0", "fs1", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11"};

# define CANARY_CODE                               \
  "    addi sp, sp, -208\n"                        \
  "    sd ra, 0(sp)\n"                             \
  "    sd a0, 8(sp)\n"                             \
  ".irp r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n" \
  "    sd s\\r, 16+8*\\r(sp)\n"                    \
  "    ld s\\r, 8*\\r(a0)\n"                       \
  "    fsd fs\\r, 112+8*\\r(sp)\n"                 \
  "    fld fs\\r, 96+8*\\r(a0)\n"                  \
  ".endr\n"                                        \
  "    mv t0, a1\n"                                \
  "    mv a0, a2\n"                                \
  "    mv a1, a3\n"                                \
  "    mv a2, a4\n"                                \
  "    jalr t0\n"                                  \
  "    ld t0, 8(sp)\n"                             \
  ".irp r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n" \
  "    sd s\\r, 192+8*\\r(t0)\n"                   \
  "    ld s\\r, 16+8*\\r(sp)\n"                    \
  "    fsd fs\\r, 192+96+8*\\r(t0)\n"              \
  "    fld fs\\r, 112+8*\\r(sp)\n"                 \
  ".endr\n"                                        \
  "    ld ra, 0(sp)\n"                             \
  "    addi sp, sp, 208\n"                         \
  "    ret\n"
# define PROBE_CODE         \
  "    la t0, probe_seen\n" \
  "    sd sp, 0(t0)\n"      \
  "    sd s0, 8(t0)\n"      \
  "    tail probe_entered\n"
# define ENTRY_MISALIGNED 0
#else
# define CANARIES 0
#endif

#if CANARIES

struct canary {
    uint64_t before[CANARIES], after[CANARIES];
};

/* Calls how(save, to, value) with `before` in the registers; stores them to `after`. */
void canary_call(struct canary *c, switch_function *how, void **save, void *to, void *value);

/* An entry: stores its first sp and frame pointer, and goes on in probe_entered. */
void probe_entry(void *value, void *top);

struct probe {
    uintptr_t sp, fp;
};

extern struct probe probe_seen;
void probe_entered(void *value, void *top);

__asm__(".text\n"
        ".globl canary_call\n"
        "canary_call:\n" CANARY_CODE ".globl probe_entry\n"
        "probe_entry:\n" PROBE_CODE);

static void canary_fill(struct canary *c, uint64_t seed)
{
    for (size_t i = 0; i < CANARIES; i++)
        c->before[i] = seed * 0x0101010101010101u + i;
}

static void canary_check(const struct canary *c, const char *where)
{
    for (size_t i = 0; i < CANARIES; i++)
        if (c->after[i] != c->before[i])
            test_failed(__FILE__, __LINE__, "%s: %s was %llx and is %llx", where, canary_names[i],
                        (unsigned long long)c->before[i], (unsigned long long)c->after[i]);
}

static void canaries_inside(void *value, void *top)
{
    struct canary c;

    (void)value, (void)top;
    for (uint64_t i = 0;; i++) {
        canary_fill(&c, 0x80 + i);
        canary_call(&c, sides.how, &sides.fiber, sides.thread, NULL);
        canary_check(&c, "inside");
    }
}

static void check_canaries(switch_function *how)
{
    struct canary c;

    sides.how = how;
    sides.fiber = prepare(canaries_inside);
    for (uint64_t i = 0; i < 20; i++) {
        canary_fill(&c, 0x40 + i);
        canary_call(&c, how, &sides.thread, sides.fiber, NULL);
        canary_check(&c, "outside");
    }
}

TEST(every_register_that_a_call_preserves_is_preserved)
{
    if (WF_SANITIZED)
        TEST_SKIP("the sanitizers are not told of these switches");
    check_canaries(wf_switch);
    check_canaries(switch_inline);
}

END_TEST

/* --- the entry ------------------------------------------------------------------ */

struct probe probe_seen __attribute__((used));

__attribute__((used, noinline)) void probe_entered(void *value, void *top)
{
    CHECK(value == &sides);
    CHECK(top == stack_top());
    for (;;)
        to_thread(NULL);
}

static void check_entry(switch_function *how)
{
    probe_seen = (struct probe){1, 1};
    sides.how = how;
    sides.fiber = prepare(probe_entry);
    to_fiber(&sides);
    CHECK_EQ(ENTRY_MISALIGNED, probe_seen.sp % 16);
    CHECK(probe_seen.sp <= (uintptr_t)stack_top());
    CHECK(probe_seen.sp > (uintptr_t)stack_top() - (WF_FIBER_UCONTEXT ? 8192 : 64));
    if (!WF_FIBER_UCONTEXT) /* a walk along frame pointers ends here */
        CHECK_EQ(0, probe_seen.fp);
}

TEST(an_entry_is_called_as_the_abi_says)
{
    if (WF_SANITIZED)
        TEST_SKIP("the sanitizers are not told of these switches");
    check_entry(wf_switch);
    check_entry(switch_inline);
}

END_TEST

/* --- floating-point control ----------------------------------------------------- */

/* What belongs to the fiber: all control bits, no sticky flags. */
# if defined(__x86_64__)
static const uint64_t controls[] = {
    0x037f00001f80u, /* as a process begins */
    0x027f00001f80u, /* the x87 to doubles, and nothing else */
    0x0c7f00007f80u, /* both units round to zero; the x87 to single precision */
    0x027f00009fc0u, /* denormals are zero, results too; the x87 to doubles */
    0x037e00001f00u, /* one exception unmasked in each */
};

static uint64_t control(void)
{
    uint32_t mxcsr;
    uint16_t x87;

    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(x87));
    return (uint64_t)x87 << 32 | (mxcsr & 0xffc0u);
}

static void control_set(uint64_t c)
{
    uint32_t mxcsr = (uint32_t)c;
    uint16_t x87 = (uint16_t)(c >> 32);

    __asm__ volatile("fnclex\n\tldmxcsr %0\n\tfldcw %1" ::"m"(mxcsr), "m"(x87));
}
# elif defined(__aarch64__)
/* The rounding mode, flush to zero, default NaN. Traps need not exist. */
static const uint64_t controls[] = {0, 1u << 22, 3u << 22, 1u << 24, 1u << 25, 0xfu << 22};

static uint64_t control(void)
{
    uint64_t c;

    __asm__ volatile("mrs %0, fpcr" : "=r"(c));
    return c;
}

static void control_set(uint64_t c)
{
    __asm__ volatile("msr fpcr, %0" ::"r"(c));
}
# else
static const uint64_t controls[] = {0, 1, 2, 3, 4};

static uint64_t control(void)
{
    uint64_t c;

    __asm__ volatile("frrm %0" : "=r"(c));
    return c;
}

static void control_set(uint64_t c)
{
    __asm__ volatile("fsrm %0" ::"r"(c));
}
# endif

# define CONTROLS (sizeof(controls) / sizeof(controls[0]))

/* Begins with the control bits of whoever prepared it, and goes through all others. */
static void control_inside(void *value, void *top)
{
    (void)value, (void)top;
    CHECK_EQ(controls[CONTROLS - 1], control());
    for (size_t i = 0;; i++) {
        control_set(controls[i % CONTROLS]);
        to_thread(NULL);
        CHECK_EQ(controls[i % CONTROLS], control());
    }
}

static void check_control(switch_function *how)
{
    sides.how = how;
    control_set(controls[CONTROLS - 1]);
    sides.fiber = prepare(control_inside);
    for (size_t i = 0; i < CONTROLS * CONTROLS; i++) {
        size_t mine = i / CONTROLS;

        control_set(controls[mine]);
        to_fiber(NULL);
        CHECK_EQ(controls[mine], control());
    }
    control_set(controls[0]);
}

TEST(floating_point_control_belongs_to_the_fiber)
{
    if (WF_SANITIZED)
        TEST_SKIP("the sanitizers are not told of these switches");
    if (ON_VALGRIND)
        TEST_SKIP("Valgrind computes in one mode only");
    check_control(wf_switch);
    check_control(switch_inline);
}

END_TEST

#else /* a processor without canaries of its own: what test_fiber.c claims must do */

TEST(every_register_that_a_call_preserves_is_preserved)
{
    TEST_SKIP("nothing is known about this processor's registers");
}

END_TEST

TEST(an_entry_is_called_as_the_abi_says)
{
    TEST_SKIP("nothing is known about this processor's registers");
}

END_TEST

TEST(floating_point_control_belongs_to_the_fiber)
{
    TEST_SKIP("nothing is known about this processor's registers");
}

END_TEST

#endif

/* --- unwinding ------------------------------------------------------------------ */

#define TRAIL_MAX 64

/* The functions whose frames an unwinder finds, innermost first, and why it stopped. */
struct trail {
    uintptr_t functions[TRAIL_MAX];
    size_t count;
    _Unwind_Reason_Code end;
};

static _Unwind_Reason_Code trail_step(struct _Unwind_Context *context, void *arg)
{
    struct trail *t = arg;

    if (_Unwind_GetIP(context) == 0) /* reported once more, behind the last frame */
        return _URC_NO_REASON;
    if (t->count == TRAIL_MAX)
        return _URC_NORMAL_STOP;
    t->functions[t->count++] = _Unwind_GetRegionStart(context);
    return _URC_NO_REASON;
}

static struct trail trail_here(void)
{
    struct trail t = {.count = 0};

    t.end = _Unwind_Backtrace(trail_step, &t);
    return t;
}

/* Where a fresh stack continues, which is in the caller of all entries. */
static uintptr_t root_pc(const void *fresh)
{
    uintptr_t pc = 0;

    if (WF_SWITCH_FRAME_SIZE)
        memcpy(&pc, (const char *)fresh + WF_SWITCH_FRAME_PC, sizeof(pc));
    return pc & (((uintptr_t)1 << 47) - 1); /* without the signature of a protected build */
}

static struct trail trail_inside;

/* Four frames in a known order. What follows each call keeps it from being a jump. */
WF_OPAQUE static int frame_3(int n)
{
    trail_inside = trail_here();
    return n + 3;
}

WF_OPAQUE static int frame_2(int n)
{
    return frame_3(n) + 2;
}

WF_OPAQUE static int frame_1(int n)
{
    return frame_2(n) + 1;
}

WF_OPAQUE static void frame_entry(void *value, void *top)
{
    (void)value, (void)top;
    for (int n = 0;; n++) {
        CHECK_EQ(n + 6, frame_1(n));
        to_thread(NULL);
    }
}

static void check_trail_inside(uintptr_t root)
{
    static const struct {
        void (*function)(void);
    } want[] = {{(void (*)(void))frame_3},
                {(void (*)(void))frame_2},
                {(void (*)(void))frame_1},
                {(void (*)(void))frame_entry}};
    const struct trail *t = &trail_inside;
    size_t at = 0;

    while (at < t->count && t->functions[at] != (uintptr_t)want[0].function)
        at++;
    for (size_t i = 0; i < 4; i++, at++) {
        CHECK(at < t->count);
        CHECK(t->functions[at] == (uintptr_t)want[i].function);
    }
    /* It stops because there is no caller, not because it is lost. */
    CHECK_EQ(_URC_END_OF_STACK, t->end);
    if (!root)
        return; /* ucontext: the C library's business */
    CHECK_EQ(at + 1, t->count);
    CHECK(root - t->functions[at] <= 4); /* the information begins one instruction before */
}

static void check_unwinding(switch_function *how)
{
    uintptr_t root;

    sides.how = how;
    sides.fiber = prepare(frame_entry);
    root = root_pc(sides.fiber);
    for (int i = 0; i < 3; i++) {
        trail_inside = (struct trail){.count = 0};
        to_fiber(NULL);
        check_trail_inside(root);
    }
}

TEST(unwinding_ends_at_the_root_of_the_fiber)
{
    if (WF_SANITIZED)
        TEST_SKIP("the sanitizers are not told of these switches");
    check_unwinding(wf_switch);
    check_unwinding(switch_inline);
}

END_TEST

/*
 * The processor stops after every instruction of a round trip, and the handler unwinds from there. Each
 * time it must come to the root of one of the two stacks.
 */
#if defined(__x86_64__) && !WF_SANITIZED && !WF_FIBER_UCONTEXT

# define STEP_FLAG 0x100

static struct {
    uintptr_t root;          /* of the fiber */
    uintptr_t marker;        /* on the thread's stack */
    volatile unsigned steps; /* taken on both stacks */
    volatile unsigned on_fiber;
    volatile bool over;
    volatile uintptr_t lost; /* where an unwinder went astray */
} stepping;

static bool trail_has(const struct trail *t, uintptr_t function)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->functions[i] == function)
            return true;
    return false;
}

static void step_handler(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    struct trail t;
    bool fiber, thread;

    (void)number, (void)info;
    if (stepping.over) {
        uc->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)STEP_FLAG;
        return;
    }
    t = trail_here();
    fiber = t.count > 0 && stepping.root - t.functions[t.count - 1] <= 4;
    thread = trail_has(&t, stepping.marker);
    stepping.steps++;
    stepping.on_fiber += fiber;
    if ((fiber == thread || t.end != _URC_END_OF_STACK) && !stepping.lost)
        stepping.lost = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
}

static void step_inside(void *value, void *top)
{
    (void)value, (void)top;
    for (;;)
        to_thread(NULL);
}

/* Built without a red zone, as the library is, so that flags may be pushed. */
WF_OPAQUE static void step_rounds(int rounds)
{
    /* The first trap comes one instruction later, when the stack is as the compiler believes. */
    __asm__ volatile("pushfq\n\torq %0, (%%rsp)\n\tpopfq" ::"i"(STEP_FLAG) : "memory", "cc");
    for (int i = 0; i < rounds; i++)
        to_fiber(NULL);
    stepping.over = true;
}

static void check_steps(switch_function *how)
{
    stepping.over = false;
    stepping.steps = stepping.on_fiber = 0;
    stepping.lost = 0;
    stepping.marker = (uintptr_t)(void (*)(void))step_rounds;
    sides.how = how;
    sides.fiber = prepare(step_inside);
    stepping.root = root_pc(sides.fiber);
    step_rounds(3);
    if (stepping.lost)
        test_failed(__FILE__, __LINE__, "an unwinder is lost at %s + %#lx",
                    how == wf_switch ? "wf_switch" : "switch_inline",
                    (unsigned long)(stepping.lost - (uintptr_t)(void (*)(void))how));
    CHECK(stepping.steps > 100);
    CHECK(stepping.on_fiber > 20);
    CHECK(stepping.steps - stepping.on_fiber > 20);
}

TEST(unwinding_works_at_every_instruction_of_a_switch)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO};

    if (ON_VALGRIND)
        TEST_SKIP("Valgrind does not step");
    action.sa_sigaction = step_handler;
    CHECK_EQ(0, sigaction(SIGTRAP, &action, NULL));
    check_steps(wf_switch);
    check_steps(switch_inline);
}

END_TEST

#else

TEST(unwinding_works_at_every_instruction_of_a_switch)
{
    TEST_SKIP("a process cannot step through itself here");
}

END_TEST

#endif

TEST_MAIN("switch", every_register_that_a_call_preserves_is_preserved,
          an_entry_is_called_as_the_abi_says, floating_point_control_belongs_to_the_fiber,
          unwinding_ends_at_the_root_of_the_fiber, unwinding_works_at_every_instruction_of_a_switch)
