/* SPDX-License-Identifier: MIT */
/*
 * thread.c - the threads of a test as coroutines of one, and who makes the next step.
 *
 * IDEA     A thread stops before each step that others could notice. There the explorer decides who goes
 *          on: the thread itself, or, for one preemption, any other that can; when it cannot go on
 *          the choice is free. A wait is a condition that is looked at there. Time is virtual:
 *          it moves to the next limit when nobody can go on, or, for one preemption, at any step.
 *          Thread-locals of the program are kept per thread, by copying.
 */
#include "fiber/switch.h"
#include "model/explorer/explore.h"

#include <string.h>

static void tls_swap(struct thread *from, struct thread *to)
{
    struct model *m = model_state;

    if (from)
        memcpy(from->tls, m->tls_at, m->tls_size);
    memcpy(m->tls_at, to ? to->tls : m->tls_first, m->tls_size);
}

static void thread_resume(struct thread *t)
{
    struct model *m = model_state;
    struct thread *me = m->running;

    if (me == t)
        return;
    tls_swap(me, t);
    m->running = t;
    (void)wf_switch(&me->sp, t->sp, NULL);
}

void model_leave(void)
{
    struct model *m = model_state;
    void *here;

    m->over = true;
    m->active = false;
    tls_swap(m->running, NULL);
    (void)wf_switch(&here, m->host_sp, NULL);
    __builtin_unreachable();
}

/* The explorer looks, not the thread that runs: it has read nothing by that. */
static bool thread_wait_over(struct thread *t)
{
    struct model *m = model_state;
    bool ready;

    m->active = false;
    ready = t->ready && t->ready(t->ready_arg);
    m->active = true;
    return ready;
}

static bool thread_can_run(struct thread *t)
{
    if (t->status == THREAD_BLOCKED)
        return t->in_time || thread_wait_over(t);
    return t->status == THREAD_READY;
}

static bool thread_can_time_out(const struct thread *t)
{
    return t->status == THREAD_BLOCKED && t->until != UINT64_MAX;
}

static void thread_time_out(struct thread *t)
{
    struct model *m = model_state;

    if (t->until > m->clock)
        m->clock = t->until;
    t->in_time = true;
}

/* Nobody can go on: the next limit passes, for all who have it. */
static struct thread *threads_let_time_pass(void)
{
    struct model *m = model_state;
    struct thread *first = NULL;

    for (unsigned i = 0; i < m->thread_count; i++) {
        struct thread *t = &m->threads[i];

        if (thread_can_time_out(t) && (!first || t->until < first->until))
            first = t;
    }
    if (!first)
        model_report("nobody can go on: a wake-up was lost, or threads wait for each other");
    for (unsigned i = 0; i < m->thread_count; i++)
        if (thread_can_time_out(&m->threads[i]) && m->threads[i].until <= first->until)
            thread_time_out(&m->threads[i]);
    return first;
}

/* The next to make a step; the running thread may be blocked or finished. */
static void threads_schedule(void)
{
    struct model *m = model_state;
    struct thread *me = m->running, *options[2 * THREADS_MAX], *next;
    bool can = thread_can_run(me);
    unsigned n = 0, ready;

    if (can)
        options[n++] = me;
    for (unsigned i = 0; i < m->thread_count && (!can || m->preemptions_left); i++)
        if (&m->threads[i] != me && thread_can_run(&m->threads[i]))
            options[n++] = &m->threads[i];
    ready = n;
    /* Time may pass at any moment: as good as a preemption. */
    for (unsigned i = 0;
         i < m->thread_count && n > 0 && m->preemptions_left && !m->test->late_clock; i++)
        if (thread_can_time_out(&m->threads[i]) && !thread_can_run(&m->threads[i]))
            options[n++] = &m->threads[i];
    if (n == 0) {
        options[0] = threads_let_time_pass();
        n = ready = 1;
    }
    if (n > 1 && model_met_before())
        model_leave();
    if (n > 1) {
        unsigned taken = model_decide(n);

        next = options[taken];
        if (taken >= ready)
            thread_time_out(next);
        if (taken >= ready || (can && next != me))
            m->preemptions_left--;
        if (can && next != me)
            m->trace[m->steps % TRACE_MAX].preempted = true;
    } else {
        next = options[0];
    }
    thread_resume(next);
}

void thread_step(bool visible)
{
    struct model *m = model_state;

    if (visible && m->alive > 1)
        threads_schedule();
}

void thread_tick(struct thread *t)
{
    t->now.clock[t->id]++;
}

bool model_block(bool (*ready)(void *arg), void *arg, uint64_t at)
{
    struct thread *t = model_state->running;
    bool is;

    t->status = THREAD_BLOCKED;
    t->ready = ready;
    t->ready_arg = arg;
    t->until = at;
    t->in_time = false;
    threads_schedule();
    is = ready(arg);
    t->status = THREAD_READY;
    t->history = model_mix(model_mix(t->history, is), model_state->clock);
    return is;
}

static bool pause_over(void *arg)
{
    const struct thread *t = arg;

    return t->last->count - 1 != t->last_message || t->last->dirty;
}

void model_pause(void)
{
    struct model *m = model_state;
    struct thread *t;

    if (!m->active)
        return;
    t = m->running;
    if (!t->last)
        model_report("a pause with nothing read before it");
    /* What was read may be old: it is not next time, or the loop would have no end. */
    t->fresh = true;
    t->waits = "a pause: for a change of what it read last";
    (void)model_block(pause_over, t, UINT64_MAX);
}

static void thread_entry(void *value, void *top)
{
    struct thread *t = value;
    struct model *m = model_state;

    (void)top;
    t = m->running;
    t->fn(t->arg);
    t->status = THREAD_FINISHED;
    m->alive--;
    if (t->id == 0)
        model_leave();
    threads_schedule();
    __builtin_unreachable();
}

static unsigned thread_new(void (*fn)(void *arg), void *arg)
{
    struct model *m = model_state;
    struct thread *t;
    char *stack, *tls;

    if (m->thread_count == THREADS_MAX)
        model_report("more than %d threads", THREADS_MAX);
    t = &m->threads[m->thread_count];
    stack = t->stack;
    tls = t->tls;
    *t = (struct thread){.id = m->thread_count,
                         .status = THREAD_READY,
                         .stack = stack,
                         .tls = tls,
                         .fn = fn,
                         .arg = arg,
                         .until = UINT64_MAX};
    memcpy(tls, m->tls_first, m->tls_size);
    if (m->running) {
        t->now = m->running->now;
        t->acquire = m->running->acquire;
        thread_tick(m->running);
    }
    t->now.clock[t->id] = 1;
    t->sp = wf_switch_prepare(stack + STACK_SIZE, thread_entry);
    m->thread_count++;
    m->alive++;
    return t->id;
}

unsigned model_thread_start(void (*fn)(void *arg), void *arg)
{
    struct model *m = model_state;

    unsigned id;

    thread_step(m->alive > 1);
    id = thread_new(fn, arg);
    m->running->history = model_mix(m->running->history, id);
    return id;
}

static bool thread_over(void *arg)
{
    return ((struct thread *)arg)->status == THREAD_FINISHED;
}

void model_thread_join(unsigned thread)
{
    struct model *m = model_state;
    struct thread *t = &m->threads[thread];

    m->running->waits = "the end of a thread";
    (void)model_block(thread_over, t, UINT64_MAX);
    view_join(&m->running->now, &t->now);
    view_join(&m->running->acquire, &t->now);
}

unsigned model_thread_self(void)
{
    return model_state->running->id;
}

uint64_t model_clock(void)
{
    struct model *m = model_state;

    if (m->active)
        m->running->history = model_mix(m->running->history, m->clock);
    return m->clock;
}

static void thread_of_test(void *arg)
{
    ((void (*)(void))(uintptr_t)arg)();
}

/* The first thread. */
static void threads_first(void *arg)
{
    struct model *m = model_state;
    const struct model_test *test = m->test;

    (void)arg;
    if (test->begin)
        test->begin();
    for (unsigned i = 0; i < MODEL_THREADS && test->thread[i]; i++)
        (void)thread_new(thread_of_test, (void *)(uintptr_t)test->thread[i]);
    for (unsigned i = 1; i < m->thread_count; i++)
        model_thread_join(i);
    if (test->end)
        test->end();
    if (!test->leaks && shadow_leaked())
        model_report("memory was not given back");
}

void threads_begin(void)
{
    struct model *m = model_state;

    for (unsigned i = 0; i < THREADS_MAX; i++)
        m->threads[i].status = THREAD_UNUSED;
    m->thread_count = 0;
    m->alive = 0;
    m->running = NULL;
    m->clock = 1000000;
}

void threads_run(void)
{
    struct model *m = model_state;

    (void)thread_new(threads_first, NULL);
    m->running = &m->threads[0];
    memcpy(m->tls_at, m->threads[0].tls, m->tls_size);
    m->active = true;
    (void)wf_switch(&m->host_sp, m->running->sp, NULL);
}
