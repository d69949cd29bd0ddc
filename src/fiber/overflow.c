/* SPDX-License-Identifier: MIT */
/* overflow.c - the handler of a guard hit, the chain to earlier handlers, the alternate stacks. */
#include "fiber/overflow.h"

#include "base/assert.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/sys.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * For one signal frame (11 KiB with the largest x86-64 registers) and for the handlers that come
 * after ours in the chain, which may want to print a backtrace. Touched only when used.
 */
#define OVERFLOW_STACK_SIZE ((size_t)64 << 10)

#define OVERFLOW_LINE_MAX 512

static const int overflow_signals[] = {SIGSEGV, SIGBUS};

/* What a handler of ours finds when it is done. */
struct overflow_chain {
    struct sigaction earlier; /* written before our handler is first reachable, then constant */
    bool linked;              /* under lock: our handler is in the chain, at its end or below */
};

static struct {
    struct wf_lock lock;
    /* under lock */
    unsigned installs;
    struct overflow_chain chains[wf_array_count(overflow_signals)];
    void *spares; /* alternate stacks that could not be unmapped; each begins with the next one */
    /* set once, before the first fiber runs */
    wf_overflow_describe *describe;
} overflow = {.lock = WF_LOCK_INIT(WF_RANK_LEAF)};

/* Owner thread only. */
struct overflow_thread {
    unsigned enters;
    void *memory;    /* our alternate stack, while it is on; NULL: the thread's own is used */
    stack_t earlier; /* what to put back */
};

static __thread struct overflow_thread overflow_thread __attribute__((tls_model("initial-exec")));

WF_OPAQUE static struct overflow_thread *overflow_thread_self(void)
{
    struct overflow_thread *self = &overflow_thread;

    wf_launder(self);
    return self;
}

/* ---- The handler ---- */

static void overflow_print(const struct wf_overflow_report *r)
{
    char line[OVERFLOW_LINE_MAX];
    struct wf_text t = {.at = line, .end = line + sizeof(line)};

    wf_text_str(&t, "weft: stack overflow in task ");
    wf_text_u64(&t, r->task_id);
    if (r->task_name) {
        wf_text_str(&t, " \"");
        wf_text_str(&t, r->task_name);
        wf_text_str(&t, "\"");
    }
    if (r->site) {
        wf_text_str(&t, " (spawned at ");
        wf_text_str(&t, r->site);
        wf_text_str(&t, ")");
    }
    wf_text_str(&t, ": its stack of ");
    wf_text_u64(&t, r->stack_size);
    wf_text_str(&t, " bytes is full; give it more with weft_task_options.stack_size or "
                    "WEFT_STACK_SIZE\n");
    (void)wf_sys_write(STDERR_FILENO, line, (size_t)(t.at - line));
}

static struct overflow_chain *overflow_chain_of(int signal_number)
{
    return &overflow.chains[signal_number == overflow_signals[0] ? 0 : 1];
}

/* Let the signal do what it would do without us. */
static void overflow_pass_on(int signal_number, siginfo_t *info, void *context)
{
    const struct sigaction *earlier = &overflow_chain_of(signal_number)->earlier;
    bool sent = info->si_code <= 0; /* by kill() or the like: it will not repeat by itself */

    if (earlier->sa_flags & SA_SIGINFO) {
        earlier->sa_sigaction(signal_number, info, context);
    } else if (earlier->sa_handler == SIG_DFL || (earlier->sa_handler == SIG_IGN && !sent)) {
        /* On return the faulting instruction runs again, and a fault cannot be ignored. */
        struct sigaction standard = {.sa_handler = SIG_DFL};

        (void)wf_sys_sigaction(signal_number, &standard, NULL);
        if (sent)
            (void)raise(signal_number);
    } else if (earlier->sa_handler != SIG_IGN) {
        earlier->sa_handler(signal_number);
    }
}

static void overflow_handler(int signal_number, siginfo_t *info, void *context)
{
    struct wf_overflow_report report = {0};

    if (info->si_code > 0 && overflow.describe && overflow.describe(info->si_addr, &report)) {
        overflow_print(&report);
        abort();
    }
    overflow_pass_on(signal_number, info, context);
}

/* ---- The chain ---- */

void wf_overflow_set_describe(wf_overflow_describe *describe)
{
    wf_lock(&overflow.lock);
    wf_assert(!overflow.describe || overflow.describe == describe);
    if (!overflow.describe)
        overflow.describe = describe;
    wf_unlock(&overflow.lock);
}

static bool overflow_is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == overflow_handler;
}

static int overflow_link(int signal_number)
{
    struct overflow_chain *chain = overflow_chain_of(signal_number);
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    int rc;

    /* Still there below a handler that came later (V2): to go on top of that one would make
     * a ring of the chain. */
    if (chain->linked)
        return 0;
    /* Read first: the handler may run as soon as it is set, and then wants to know. */
    rc = wf_sys_sigaction(signal_number, NULL, &chain->earlier);
    if (rc < 0)
        return rc;
    ours.sa_sigaction = overflow_handler;
    rc = wf_sys_sigaction(signal_number, &ours, NULL);
    if (rc < 0)
        return rc;
    chain->linked = true;
    return 0;
}

static void overflow_unlink(int signal_number)
{
    struct overflow_chain *chain = overflow_chain_of(signal_number);
    struct sigaction now;

    if (!chain->linked || wf_sys_sigaction(signal_number, NULL, &now) < 0)
        return;
    if (overflow_is_ours(&now) && wf_sys_sigaction(signal_number, &chain->earlier, NULL) == 0)
        chain->linked = false;
}

int wf_overflow_install(void)
{
    int rc = 0;

    wf_lock(&overflow.lock);
    for (size_t i = 0; i < wf_array_count(overflow_signals) && rc == 0; i++)
        rc = overflow_link(overflow_signals[i]);
    if (rc == 0)
        overflow.installs++;
    else if (overflow.installs == 0)
        overflow_unlink(overflow_signals[0]);
    wf_unlock(&overflow.lock);
    return rc;
}

void wf_overflow_uninstall(void)
{
    wf_lock(&overflow.lock);
    wf_assert(overflow.installs > 0);
    if (--overflow.installs == 0)
        for (size_t i = wf_array_count(overflow_signals); i-- > 0;)
            overflow_unlink(overflow_signals[i]);
    wf_unlock(&overflow.lock);
}

/* ---- Alternate stacks ---- */

static int overflow_stack_take(void **out)
{
    wf_lock(&overflow.lock);
    *out = overflow.spares;
    if (*out)
        overflow.spares = *(void **)*out;
    wf_unlock(&overflow.lock);
    if (*out)
        return 0;
    return wf_sys_mmap(out, OVERFLOW_STACK_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK);
}

/* The kernel may refuse to unmap it, if that would split a mapping and there are too many: then the next thread
 * has it. */
static void overflow_stack_give(void *memory)
{
    if (wf_sys_munmap(memory, OVERFLOW_STACK_SIZE) == 0)
        return;
    wf_lock(&overflow.lock);
    *(void **)memory = overflow.spares;
    overflow.spares = memory;
    wf_unlock(&overflow.lock);
}

int wf_overflow_thread_enter(void)
{
    struct overflow_thread *self = overflow_thread_self();
    stack_t alternate = {.ss_size = OVERFLOW_STACK_SIZE};
    int rc;

    if (self->enters > 0 || self->memory)
        goto entered;
    rc = wf_sys_sigaltstack(NULL, &self->earlier);
    if (rc < 0)
        return rc;
    if (!(self->earlier.ss_flags & SS_DISABLE) && self->earlier.ss_size >= OVERFLOW_STACK_SIZE)
        goto entered;
    rc = overflow_stack_take(&alternate.ss_sp);
    if (rc < 0)
        return rc;
    rc = wf_sys_sigaltstack(&alternate, NULL);
    if (rc < 0) {
        overflow_stack_give(alternate.ss_sp);
        return rc;
    }
    self->memory = alternate.ss_sp;

entered:
    self->enters++;
    return 0;
}

/* True: the kernel runs no handler of this thread on our stack any more. If somebody else set one since, theirs
 * stays. */
static bool overflow_stack_off(const struct overflow_thread *self)
{
    stack_t now;

    if (wf_sys_sigaltstack(NULL, &now) < 0)
        return false;
    return now.ss_sp != self->memory || wf_sys_sigaltstack(&self->earlier, NULL) == 0;
}

void wf_overflow_thread_leave(void)
{
    struct overflow_thread *self = overflow_thread_self();

    wf_assert(self->enters > 0);
    if (--self->enters > 0 || !self->memory)
        return;
    /* Nobody else's while it is on: it waits for this thread's next entry, or is lost with the thread. */
    if (!overflow_stack_off(self))
        return;
    overflow_stack_give(self->memory);
    self->memory = NULL;
}
