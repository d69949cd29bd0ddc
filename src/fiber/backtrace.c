/* SPDX-License-Identifier: MIT */
/* backtrace.c - the handler that unwinds, the question and the answer, the chain to an earlier handler. */
#include "fiber/backtrace.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/sys.h"

#include <string.h>
#include <unwind.h>

#define BACKTRACE_SIGNAL  SIGURG
#define BACKTRACE_SERIALS 256   /* questions until a serial number returns */
#define BACKTRACE_LOOK_NS 20000 /* between two looks for the answer: the handler cannot wake */

/* The word: the question's serial number, and how far it is. */
enum backtrace_state { BACKTRACE_IDLE, BACKTRACE_ASKED, BACKTRACE_WRITING, BACKTRACE_WRITTEN };

#define BACKTRACE_WORD(serial, state) ((uint32_t)(serial) << 2 | (uint32_t)(state))

static struct {
    struct wf_lock lock;
    /* under lock */
    unsigned installs;
    bool linked;              /* our handler is in the chain, at its end or below */
    struct sigaction earlier; /* written before our handler is first reachable, then constant */

    struct wf_atomic_u32 asking; /* 1: somebody does */
    struct wf_atomic_u32 word;
    uint32_t serial; /* who asks */
    /* by the handler while WRITING, by who asks when WRITTEN */
    void *frames[WF_BACKTRACE_MAX];
    unsigned count;
    /* A signal's value points into this: so it is known as ours, and by its serial number. */
    char serials[BACKTRACE_SERIALS];
} backtrace = {.lock = WF_LOCK_INIT(WF_RANK_LEAF)};

/* ---- The handler ---- */

struct backtrace_walk {
    void **frames;
    unsigned count;
    bool found; /* past the handler's own frames */
};

static _Unwind_Reason_Code backtrace_frame(struct _Unwind_Context *cx, void *arg)
{
    struct backtrace_walk *walk = arg;
    int interrupted = 0;
    uintptr_t pc = _Unwind_GetIPInfo(cx, &interrupted);

    walk->found = walk->found || interrupted;
    if (!walk->found)
        return _URC_NO_REASON;
    if (pc == 0)
        return _URC_END_OF_STACK;
    walk->frames[walk->count++] = (void *)pc; /* NOLINT(performance-no-int-to-ptr) */
    return walk->count == WF_BACKTRACE_MAX ? _URC_END_OF_STACK : _URC_NO_REASON;
}

static void backtrace_answer(uint32_t serial)
{
    struct backtrace_walk walk = {.frames = backtrace.frames};
    uint32_t asked = BACKTRACE_WORD(serial, BACKTRACE_ASKED);

    /* T2. acquire: the buffer is free, pairs with backtrace_ask */
    if (!wf_cas_u32(&backtrace.word, &asked, BACKTRACE_WORD(serial, BACKTRACE_WRITING), WF_ACQUIRE,
                    WF_RELAXED))
        return;
    (void)_Unwind_Backtrace(backtrace_frame, &walk);
    backtrace.count = walk.count;
    /* release: the frames, for backtrace_take */
    wf_store_u32(&backtrace.word, BACKTRACE_WORD(serial, BACKTRACE_WRITTEN), WF_RELEASE);
}

static void backtrace_handler(int number, siginfo_t *info, void *context)
{
    const struct sigaction *earlier = &backtrace.earlier;
    uintptr_t serial = (uintptr_t)info->si_value.sival_ptr - (uintptr_t)backtrace.serials;

    if (info->si_code == SI_QUEUE && serial < sizeof(backtrace.serials))
        backtrace_answer((uint32_t)serial);
    else if (earlier->sa_flags & SA_SIGINFO)
        earlier->sa_sigaction(number, info, context);
    else if (earlier->sa_handler != SIG_DFL && earlier->sa_handler != SIG_IGN)
        earlier->sa_handler(number);
}

/* ---- The chain ---- */

static _Unwind_Reason_Code backtrace_prime(struct _Unwind_Context *cx, void *unused)
{
    (void)cx, (void)unused;
    return _URC_END_OF_STACK;
}

static int backtrace_link(void)
{
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    int rc;

    if (backtrace.linked)
        return 0;
    /* What the unwinder loads and sets up at its first use it does here. */
    (void)_Unwind_Backtrace(backtrace_prime, NULL);
    rc = wf_sys_sigaction(BACKTRACE_SIGNAL, NULL, &backtrace.earlier);
    if (rc < 0)
        return rc;
    ours.sa_sigaction = backtrace_handler;
    rc = wf_sys_sigaction(BACKTRACE_SIGNAL, &ours, NULL);
    backtrace.linked = rc == 0;
    return rc;
}

static void backtrace_unlink(void)
{
    struct sigaction now;

    if (!backtrace.linked || wf_sys_sigaction(BACKTRACE_SIGNAL, NULL, &now) < 0)
        return;
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == backtrace_handler &&
        wf_sys_sigaction(BACKTRACE_SIGNAL, &backtrace.earlier, NULL) == 0)
        backtrace.linked = false;
}

int wf_backtrace_install(void)
{
    int rc;

    wf_lock(&backtrace.lock);
    rc = backtrace_link();
    if (rc == 0)
        backtrace.installs++;
    wf_unlock(&backtrace.lock);
    return rc;
}

void wf_backtrace_uninstall(void)
{
    wf_lock(&backtrace.lock);
    wf_assert(backtrace.installs > 0);
    if (--backtrace.installs == 0)
        backtrace_unlink();
    wf_unlock(&backtrace.lock);
}

/* ---- The question ---- */

/* False: a handler that came too late is still at it. */
static bool backtrace_ask(uint32_t id)
{
    uint32_t serial = (backtrace.serial + 1) % BACKTRACE_SERIALS;

    /* relaxed: only its end matters, which who asked before has waited for in vain */
    if ((wf_load_u32(&backtrace.word, WF_RELAXED) & 3) == BACKTRACE_WRITING)
        return false;
    backtrace.serial = serial;
    /* release: what was read from the buffer; pairs with backtrace_answer */
    wf_store_u32(&backtrace.word, BACKTRACE_WORD(serial, BACKTRACE_ASKED), WF_RELEASE);
    return wf_sys_thread_signal(id, BACKTRACE_SIGNAL, &backtrace.serials[serial]) == 0;
}

static unsigned backtrace_take(void *frames[WF_BACKTRACE_MAX], uint64_t limit_ns)
{
    uint64_t until = wf_clock_now() + limit_ns;
    uint32_t asked = BACKTRACE_WORD(backtrace.serial, BACKTRACE_ASKED);
    uint32_t word;

    /* acquire: pairs with backtrace_answer */
    while (word = wf_load_u32(&backtrace.word, WF_ACQUIRE),
           (word & 3) != BACKTRACE_WRITTEN && wf_clock_now() < until)
        wf_sys_futex_wait(&backtrace.word, word, BACKTRACE_LOOK_NS);
    if ((word & 3) == BACKTRACE_WRITTEN) {
        memcpy(frames, backtrace.frames, backtrace.count * sizeof(*frames));
        return backtrace.count;
    }
    /* T2. relaxed: nothing was written */
    (void)wf_cas_u32(&backtrace.word, &asked, BACKTRACE_IDLE, WF_RELAXED, WF_RELAXED);
    return 0;
}

unsigned wf_backtrace_of_thread(uint32_t id, void *frames[WF_BACKTRACE_MAX], uint64_t limit_ns)
{
    uint32_t nobody = 0;
    unsigned count = 0;

    /* The handler would come at the next call of the sanitizer's run time, and not where the thread is. */
    if (WF_TSAN)
        return 0;
    /* acquire, release: who asked last is done with the buffer */
    if (!wf_cas_u32(&backtrace.asking, &nobody, 1, WF_ACQUIRE, WF_RELAXED))
        return 0;
    if (backtrace_ask(id))
        count = backtrace_take(frames, limit_ns);
    wf_store_u32(&backtrace.asking, 0, WF_RELEASE);
    return count;
}
