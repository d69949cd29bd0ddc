/* SPDX-License-Identifier: MIT */
/*
 * fiber_task.c - the fiber kind of task: its poll switches to its own stack, and its pending
 * switches back.
 *
 * IDEA     The stack is taken at the first poll and returned when the function has ended, by the
 *          worker, after the last switch out of it. A task that cannot get one ends with -ENOMEM
 *          without having run.
 * OWNS     While the fiber runs, its worker holds it. The struct wf_fiber is on the fiber's stack: it is
 *          gone with the stack, so nobody but the fiber and its worker may hold a
 *          pointer to it. Wakers point at the header.
 */
#include "task/fiber_task.h"

#include "base/log.h"
#include "base/sys.h"
#include "task/deadline.h"
#include "task/defer.h"
#include "task/leave.h"
#include "task/locals.h"
#include "task/waker.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct wf_thread *wf_fiber_suspend(struct wf_fiber *f, enum wf_poll_result why)
{
    struct wf_thread *th = wf_thread_self();

    /* The worker passes itself: the fiber may go on on another one. */
    return wf_coro_switch(&f->coro, &th->native, (void *)(uintptr_t)why); /* NOLINT */
}

static void fiber_drop_kept(struct wf_fiber *f)
{
    weft_future *kept;

    while ((kept = f->kept)) {
        if (WF_DEBUG)
            wf_log("task %llu \"%s\" ended with a %s future left pending; it is dropped",
                   (unsigned long long)f->task->id, wf_task_name(f->task), kept->type->name);
        weft_future_drop(kept);
        wf_assert(f->kept != kept);
    }
}

WF_INLINE void fiber_leave(struct wf_fiber *f, enum wf_leave_when when)
{
    struct wf_leave *l;

    while (wf_unlikely((l = f->leaves[when]) != NULL)) {
        l->leave(l);
        wf_assert(f->leaves[when] != l);
    }
}

void wf_fiber_end(struct wf_fiber *f, int result)
{
    struct weft_task *t = f->task;

    if (wf_unlikely(!wf_thread_self()))
        wf_forked_child_returned();
    wf_assert(!f->ending);
    f->ending = true;
    /* Clean-up may await: it is shielded, and the scopes that a panic left behind do not count, nor
     * may their timers outlive the stack: also those that shields mask. */
    do {
        while (f->deadline)
            wf_deadline_pop(f->deadline);
    } while (wf_shield_unwind(f));
    f->shield++;
    fiber_drop_kept(f);
    fiber_leave(f, WF_LEAVE_FIRST);
    wf_defer_run(f);
    /* Also what a deferred call has left open. */
    fiber_leave(f, WF_LEAVE_FIRST);
    if (t->extra && t->extra->locals)
        wf_locals_free(t);
    fiber_leave(f, WF_LEAVE_LAST);
    t->result = result;
    wf_coro_exit(&f->coro, &wf_thread_self()->native, (void *)(uintptr_t)WF_POLL_DONE); /* NOLINT */
}

WF_INLINE const char *fiber_lower(const struct wf_fiber *f, const char *low, const void *p)
{
    return (const char *)p < low && (const char *)p >= f->stack->low ? p : low;
}

/* The lowest on this stack below p of what the fiber has left behind: futures pending, things that it is inside of; p
 * if there is none. Without a call: see fiber_main. */
WF_INLINE const char *fiber_lowest_left(const struct wf_fiber *f, const char *p)
{
    const char *low = p;

    for (const weft_future *k = f->kept; k; k = k->kept_next_)
        low = fiber_lower(f, low, k);
    for (int when = 0; when < WF_LEAVE_TIMES; when++)
        for (const struct wf_leave *l = f->leaves[when]; l; l = l->next)
            low = fiber_lower(f, low, l);
    return low;
}

/*
 * The function has returned, and its frame is dead: the next call would overwrite it. But futures that it left
 * pending are still registered, and are to be dropped where they lie; so are scopes to be left. So the stack
 * is lowered past them first.
 */
#if defined(__GNUC__) && !defined(__clang__)
# pragma GCC diagnostic push
# pragma GCC diagnostic ignored "-Walloca"
# pragma GCC diagnostic ignored "-Wstack-usage="
#endif
static void fiber_main(void *arg)
{
    struct wf_fiber *f = arg;
    int result = f->fn(f->arg);

    if (wf_unlikely(f->kept || f->leaves[WF_LEAVE_FIRST] || f->leaves[WF_LEAVE_LAST])) {
        const char *here = __builtin_frame_address(0);
        const char *low = fiber_lowest_left(f, here);
        /* NOLINTNEXTLINE(clang-analyzer-*) */
        void *skipped = __builtin_alloca((size_t)(here - low) + 64);

        __asm__ volatile("" ::"r"(skipped) : "memory");
        f->returned = true;
    }
    wf_fiber_end(f, result);
}
#if defined(__GNUC__) && !defined(__clang__)
# pragma GCC diagnostic pop
#endif

static size_t fiber_stack_size(const struct weft_task *t)
{
    return t->extra && t->extra->stack_size ? t->extra->stack_size : t->sched->stack_size;
}

bool wf_fiber_begin(struct weft_task *t, struct wf_thread *th, bool cancelled)
{
    struct wf_stack *stack = NULL;
    void *arg = t->arg;
    struct wf_fiber *f;
    char *top;
    int rc;

    /* relaxed: the first poll is the first to count; see the union */
    wf_store_u64(&t->poll_time, 0, WF_RELAXED);
    rc = cancelled ? -ECANCELED : wf_stack_get(th->stacks, fiber_stack_size(t), &stack);
    if (wf_unlikely(rc < 0)) {
        t->result = rc;
        if (t->extra && t->extra->locals)
            wf_locals_free(t);
        return false;
    }
    top = (char *)wf_stack_top(stack) - sizeof(struct wf_fiber);
    top -= (uintptr_t)top & 15u;
    f = (struct wf_fiber *)(void *)top;
    *f = (struct wf_fiber){
        .stack = stack, .task = t, .fn = t->fn, .arg = arg, .cx = {{&t->wakeable}}};
    wf_coro_init_at(&f->coro, stack, top, fiber_main, f);
    t->fiber = f;
    wf_task_set_flag(t, WF_TASK_F_BEGUN, true);
    return true;
}

void wf_fiber_finish(struct weft_task *t, struct wf_thread *th)
{
    struct wf_fiber *f = t->fiber;
    struct wf_stack *stack = f->stack;

    t->fiber = NULL;
    wf_coro_release(&f->coro);
    wf_stack_put(th->stacks, stack);
}

#if WF_DEBUG
/* A future that was kept must not lie in a frame that was left: the fiber is about to reuse it. */
void wf_fiber_check_kept(const struct wf_fiber *f)
{
    for (const weft_future *k = f->kept; k; k = k->kept_next_) {
        if (wf_stack_contains(f->stack, k) && (const char *)k < (const char *)f->coro.sp) {
            wf_log("task %llu: a future was forgotten while pending: the function that held it has "
                   "returned without dropping it",
                   (unsigned long long)f->task->id);
            wf_unreachable("a pending future was forgotten");
        }
    }
}
#endif

static void fiber_retain(weft_wakeable *w)
{
    wf_task_retain(wf_task_of_wakeable(w));
}

static void fiber_release(weft_wakeable *w)
{
    wf_task_release(wf_task_of_wakeable(w));
}

void wf_task_wake_put(weft_wakeable *w)
{
    struct weft_task *t = wf_task_of_wakeable(w);

    if (wf_task_notify_put(t))
        t->sched->ops->woken(t->sched, t);
}

void wf_task_wake(weft_wakeable *w)
{
    struct weft_task *t = wf_task_of_wakeable(w);

    if (wf_task_notify(t))
        t->sched->ops->woken(t->sched, t);
}

void wf_task_interrupt(struct weft_task *t)
{
    if (wf_task_state_interrupt(t))
        t->sched->ops->woken(t->sched, t);
}

/* A function of its own, so that tests/structure/tls.py finds it. */
WF_NOINLINE int wf_thread_call(struct wf_thread *th, weft_fn *fn, void *arg)
{
    const struct wf_scheduler *before = wf_thread_lend(th->sched);
    int result;

    /* To what it calls this is a plain thread: it may not await. */
    wf_thread_set_self(NULL);
    /* relaxed: a glance of the monitor's */
    wf_store_u32(&th->blocking, 1, WF_RELAXED);
    result = fn(arg);
    /* In a forked child it remains one: see runtime_forked. */
    if (wf_unlikely(!wf_thread_owner()))
        return result;
    wf_store_u32(&th->blocking, 0, WF_RELAXED);
    (void)wf_thread_lend(before);
    wf_thread_set_self(th);
    return result;
}

void wf_fiber_call(struct wf_fiber *f, struct wf_thread *th)
{
    f->call->result = wf_thread_call(th, f->call->fn, f->call->arg);
}

const struct wf_task_type wf_fiber_type = {
    .wakeable = {.retain = fiber_retain, .wake = wf_task_wake, .release = fiber_release},
    .stackless = false,
};

/* Nothing wakes it: it runs once. */
const struct wf_task_type wf_blocking_kind = {
    .wakeable = {.retain = fiber_retain, .wake = wf_task_wake, .release = fiber_release},
    .blocking = true,
};

/* For weft_task_panic_message; without memory there is none. */
static void panic_keep(struct weft_task *t, const char *text)
{
    struct wf_task_extra *extra = wf_task_make_extra(t);
    size_t size = strlen(text) + 1;

    if (!extra)
        return;
    extra->panic = wf_sys_malloc(size);
    if (extra->panic)
        memcpy(extra->panic, text, size);
}

void weft_panic(const char *format, ...)
{
    struct wf_fiber *f = wf_fiber_self();
    char text[256];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n < 0)
        text[0] = '\0';
    if (!f || f->ending) {
        wf_log("panic outside a fiber's function: %s", text);
        wf_unreachable("panic");
    }
    wf_log("task %llu \"%s\" (spawned at %s) panicked: %s", (unsigned long long)f->task->id,
           wf_task_name(f->task), f->task->site ? f->task->site : "?", text);
    panic_keep(f->task, text);
    wf_fiber_end(f, -EOWNERDEAD);
}
