/* SPDX-License-Identifier: MIT */
/*
 * kernel.c - the system calls of src/base/sys.h and the clocks, as far as the models use them.
 *
 * IDEA     A call is one step, and all calls on one object happen in one order and each sees what the ones
 *          before did, as they would under a lock of the kernel. What the models do
 *          not use ends the test.
 */
#include "base/clock.h"
#include "base/sys.h"
#include "model/explorer/explore.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- memory --- */

/* By thread: whether an allocation fails must not depend on what others did without a step. */
static unsigned failing[THREADS_MAX];

unsigned model_alloc_fails(unsigned n)
{
    unsigned *mine = &failing[model_thread_self()], left = *mine;

    *mine = n;
    return left;
}

static bool alloc_refused(void)
{
    unsigned *mine = &failing[model_state->running ? model_thread_self() : 0];

    if (*mine == 0)
        return false;
    --*mine;
    return true;
}

void *wf_sys_malloc(size_t size)
{
    return alloc_refused() ? NULL : model_alloc(size, 16);
}

void *wf_sys_calloc(size_t count, size_t size)
{
    /* Its zeros are stores like others: who gets the memory from this thread must be ordered behind them. */
    return alloc_refused() ? NULL : model_memset(model_alloc(count * size, 16), 0, count * size);
}

void *wf_sys_aligned_alloc(size_t alignment, size_t size)
{
    return alloc_refused() ? NULL : model_alloc(size, alignment);
}

void wf_sys_free(void *p)
{
    model_free(p);
}

int wf_sys_mmap(void **out, size_t size, int prot, int flags)
{
    (void)prot, (void)flags;
    *out = model_map(size);
    return 0;
}

int wf_sys_munmap(void *p, size_t size)
{
    model_unmap(p, size);
    return 0;
}

int wf_sys_madvise(void *p, size_t size, int advice)
{
    /* Guards are refused, so that mprotect is asked for them; what is given back reads as zero. */
    if (advice == MADV_DONTNEED)
        model_discard(p, size);
    return advice > MADV_WIPEONFORK ? -EINVAL : 0;
}

int wf_sys_mprotect(void *p, size_t size, int prot)
{
    (void)p, (void)size, (void)prot;
    return 0;
}

size_t wf_sys_page_size(void)
{
    return 4096;
}

/* --- futexes --- */

struct futex_wait {
    const struct wf_atomic_u32 *word;
    bool woken;
    struct futex_wait *next;
};

/* All waits, in one queue: `uses` numbers them. The kernel promises no order of what is in memory besides the word:
 * who was woken, or found another value, learns nothing but that. */
static struct {
    uint64_t uses;
    struct futex_wait *first;
} futexes;

static bool futex_woken(void *arg)
{
    return ((struct futex_wait *)arg)->woken;
}

int wf_sys_futex_wait(struct wf_atomic_u32 *word, uint32_t expected, uint64_t timeout_ns)
{
    struct futex_wait w = {.word = word}, **at;
    bool woken;

    model_use_unordered("futex wait", &futexes.uses);
    /* The kernel's own read: the newest value. */
    if (word->raw != expected)
        return -EAGAIN;
    w.next = futexes.first;
    futexes.first = &w;
    model_state->running->waits = "a futex";
    woken = model_block(futex_woken, &w,
                        timeout_ns == WF_NO_TIMEOUT ? UINT64_MAX : model_clock() + timeout_ns);
    for (at = &futexes.first; *at && *at != &w; at = &(*at)->next)
        ;
    if (*at)
        *at = w.next;
    if (woken)
        model_use_unordered("futex woken", &futexes.uses);
    return woken ? 0 : -ETIMEDOUT;
}

int wf_sys_futex_wake(struct wf_atomic_u32 *word, int count)
{
    int n = 0;

    model_use_unordered("futex wake", &futexes.uses);
    /* Oldest first: from the end of the list. */
    for (;;) {
        struct futex_wait *oldest = NULL;

        for (struct futex_wait *w = futexes.first; w; w = w->next)
            if (w->word == word && !w->woken)
                oldest = w;
        if (!oldest || n == count)
            return n;
        oldest->woken = true;
        n++;
    }
}

/* --- the rest --- */

int wf_sys_membarrier_register(void)
{
    return 0;
}

static int membarrier_answer;

void model_membarrier_fails(int rc)
{
    membarrier_answer = rc;
}

int wf_sys_membarrier(void)
{
    if (membarrier_answer == 0)
        model_barrier_all();
    return membarrier_answer;
}

void wf_sys_thread_yield(void)
{
    model_pause();
}

uint64_t wf_clock_now(void)
{
    return model_state->active ? model_clock() : 1000000;
}

uint64_t wf_ticks(void)
{
    return wf_clock_now();
}

uint64_t wf_ticks_to_ns(uint64_t ticks)
{
    return ticks;
}

uint64_t wf_ns_to_ticks(uint64_t ns)
{
    return ns;
}

void wf_ticks_calibrate(void)
{
}

uint32_t wf_sys_thread_id(void)
{
    return model_thread_self();
}

bool wf_sys_thread_is_blocked(uint32_t id, struct wf_sys_call *in)
{
    (void)id, (void)in;
    return false;
}

/* Who has not ended computes all the time. */
bool wf_clock_of_thread(uint32_t id, uint64_t *ns)
{
    (void)id;
    *ns = model_clock();
    return true;
}

int wf_sys_thread_signal(uint32_t id, int number, void *value)
{
    (void)id, (void)number, (void)value;
    return 0;
}

unsigned wf_sys_file_mode(int fd)
{
    (void)fd;
    return 0;
}

int wf_sys_timer_slack(uint64_t ns)
{
    (void)ns;
    return 0;
}

int wf_sys_random(void *buffer, size_t size)
{
    memset(buffer, 1, size);
    return 0;
}

unsigned wf_sys_cpu_count(void)
{
    return 2;
}

int wf_sys_sigaction(int number, const struct sigaction *set, struct sigaction *old)
{
    (void)number, (void)set;
    if (old)
        memset(old, 0, sizeof(*old));
    return 0;
}

int wf_sys_sigaltstack(const stack_t *set, stack_t *old)
{
    (void)set;
    if (old)
        *old = (stack_t){.ss_flags = SS_DISABLE};
    return 0;
}

void wf_sys_signal_discard(const sigset_t *set)
{
    (void)set;
}

static bool kernel_hushed;

void model_hush(void)
{
    kernel_hushed = true;
}

ssize_t wf_sys_write(int fd, const void *data, size_t size)
{
    return kernel_hushed ? (ssize_t)size : write(fd, data, size);
}

int wf_sys_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    (void)value, (void)size;
    model_report("getsockopt(%d, %d, %d) is not modelled", fd, level, name);
}

int wf_sys_shutdown(int fd, int how)
{
    model_report("shutdown(%d, %d) is not modelled", fd, how);
}
