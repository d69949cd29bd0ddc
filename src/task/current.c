/* SPDX-License-Identifier: MIT */
/* current.c - what the library keeps for each thread: what it works on, and whom it belongs to. */
#include "task/current.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"

#include <unistd.h>

#define ID_BLOCK 4096

/* initial-exec: one load, and eight bytes of the space that the C library keeps for plug-ins */
static __thread struct wf_thread *current_thread __attribute__((tls_model("initial-exec")));

static __thread const struct wf_scheduler *owner __attribute__((tls_model("initial-exec")));

static __thread uint32_t number __attribute__((tls_model("initial-exec")));

static struct wf_atomic_u64 ids_given = {1};

struct wf_atomic_u32 wf_fork_generation;

WF_OPAQUE struct wf_thread *wf_thread_self(void)
{
    return current_thread;
}

WF_OPAQUE void wf_thread_set_self(struct wf_thread *th)
{
    current_thread = th;
}

WF_OPAQUE const struct wf_scheduler *wf_thread_owner(void)
{
    return owner;
}

WF_OPAQUE const struct wf_scheduler *wf_thread_lend(const struct wf_scheduler *s)
{
    const struct wf_scheduler *before = owner;

    owner = s;
    return before;
}

WF_OPAQUE uint32_t wf_thread_number(void)
{
    if (wf_unlikely(!number))
        number = wf_sys_thread_id();
    return number;
}

void wf_forked_child_returned(void)
{
    wf_log("a forked child returned from its task: a child may only exec or _exit");
    _exit(1);
}

uint64_t wf_task_id_next(struct wf_thread *th)
{
    if (!th)
        /* relaxed: only uniqueness matters */
        return wf_add_u64(&ids_given, 1, WF_RELAXED);
    if (th->next_id == th->end_id) {
        th->next_id = wf_add_u64(&ids_given, ID_BLOCK, WF_RELAXED);
        th->end_id = th->next_id + ID_BLOCK;
    }
    return th->next_id++;
}

uint64_t wf_thread_stamp(const struct wf_thread *th)
{
    return !th || th->exact_clock ? wf_ticks() : wf_thread_poll_from(th);
}
