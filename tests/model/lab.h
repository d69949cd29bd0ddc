/* SPDX-License-Identifier: MIT */
/*
 * lab.h - one task without a runtime, for models of what happens to it.
 *
 * IDEA     The test is the scheduler. Its run queue has room for one task, for a task may be queued only
 *          once. Its one header is not from the slab: that of a task that was freed is written all over, or
 *          gone, so whoever comes too late is in a race, or uses memory after its end.
 * TASK     Each poll reads the words that wakers set before they woke, and notes what it has seen. A wake
 *          that is lost, or that does not carry its word, leaves a word that was never seen.
 */
#ifndef MODEL_LAB_H
#define MODEL_LAB_H

#include "model/model.h"
#include "task/task.h"
#include "task/waker.h"

#include <errno.h>
#include <string.h>

#define LAB_WORDS  3 /* one for each who wakes */
#define LAB_RESULT 42

/* How the task behaves. */
enum lab_body {
    LAB_WAITS,  /* in each poll, until it is cancelled */
    LAB_YIELDS, /* first, and then waits */
    LAB_ENDS    /* in its first poll */
};

#define LAB_BODIES 3

/* The queue: what is in it, and how many threads may still push. */
enum { LAB_WOKEN = 1, LAB_YIELDED = 2, LAB_QUEUED = 3, LAB_USER = 4 };

struct lab {
    struct wf_scheduler sched;
    weft_task *task;
    void *header;
    bool walked; /* somebody may look at the header after its end */
    enum lab_body body;
    unsigned words_used; /* bit sets */
    unsigned cancel_words;

    struct wf_atomic_u32 queue;
    struct wf_atomic_u32 runners; /* that have not left */
    struct wf_atomic_u32 words[LAB_WORDS];
    struct wf_atomic_u32 freed;
    unsigned freer; /* the thread */

    /* the task's own: by its polls only */
    uint32_t seen[LAB_WORDS];
    unsigned polls, yields;
    /* written by its last poll, for who joins */
    uint64_t output;
};

static struct lab lab;

/* --- the header ----------------------------------------------------------- */

#define LAB_HEADER 256

void *wf_slab_alloc(struct wf_slab_cache *c, size_t size)
{
    (void)c;
    CHECK(size <= LAB_HEADER && !lab.header);
    return lab.header = model_alloc(LAB_HEADER, 64);
}

void wf_slab_free(struct wf_slab_cache *c, void *p)
{
    char *bytes = p;

    (void)c;
    CHECK(p == lab.header);
    CHECK_EQ(0, wf_add_u32(&lab.freed, 1, WF_RELAXED));
    lab.freer = model_thread_self();
    if (lab.walked) {
        memset(bytes, 0xdd, WF_SLAB_STATE);
        memset(bytes + WF_SLAB_STATE + 8, 0xdd, LAB_HEADER - WF_SLAB_STATE - 8);
    } else {
        model_free(p);
    }
}

/* --- the run queue -------------------------------------------------------- */

static inline void lab_push(struct weft_task *t, uint32_t why)
{
    /* As in the injection queue: the link is the pusher's, and the queue carries it. */
    t->next = NULL;
    CHECK_EQ(0, wf_or_u32(&lab.queue, why, WF_RELEASE) & LAB_QUEUED);
}

static inline void lab_woken(struct wf_scheduler *s, struct weft_task *t)
{
    CHECK(s == &lab.sched && t == lab.task);
    lab_push(t, LAB_WOKEN);
}

static inline void lab_spawned(struct wf_scheduler *s, struct wf_thread *th, struct weft_task *t)
{
    (void)s, (void)th;
    lab_push(t, LAB_WOKEN);
}

static inline weft_poll lab_never_polled(void *self, weft_context *cx)
{
    (void)self, (void)cx;
    model_fail(__FILE__, __LINE__, "polled by somebody else");
}

static const struct wf_scheduler_ops lab_ops = {.woken = lab_woken, .spawned = lab_spawned};
static const weft_async_type lab_type = {.poll = lab_never_polled,
                                         .size = sizeof(weft_async),
                                         .name = "lab"};

/* handles: references besides the life reference. users: threads that may push, each of which says lab_leave
 * when it will not do so any more. */
static inline void lab_begin(enum lab_body body, unsigned handles, unsigned users, unsigned runners)
{
    weft_async state = {0};

    lab.sched.ops = &lab_ops;
    lab.body = body;
    wf_store_u32(&lab.queue, users * LAB_USER, WF_RELAXED);
    wf_store_u32(&lab.runners, runners, WF_RELAXED);
    CHECK_EQ(0, wf_spawn_async_on(&lab.sched, handles ? &lab.task : NULL, NULL, &lab_type, &state));
    lab.task = lab.header;
    for (unsigned i = 1; i < handles; i++)
        wf_task_retain(lab.task);
}

static inline void lab_leave(void)
{
    wf_sub_u32(&lab.queue, LAB_USER, WF_RELAXED);
}

/* --- the runner ----------------------------------------------------------- */

/* The explorer's own looks, while a thread waits. */
#define LAB_UNWATCHED __attribute__((no_sanitize("thread"))) static inline

LAB_UNWATCHED bool lab_has_work(void *arg)
{
    (void)arg;
    return (lab.queue.raw & LAB_QUEUED) || lab.queue.raw < LAB_USER;
}

static inline void lab_end_task(struct weft_task *t, int result)
{
    t->result = result;
    lab.output = (uint64_t)result + 1;
    wf_task_end(t);
}

/* True: it goes on. */
static inline bool lab_poll(struct weft_task *t, uint32_t why)
{
    unsigned cancelled = 0;
    uint64_t from = 0;

    if (why == LAB_YIELDED)
        wf_task_state_resume(t);
    else
        from = wf_task_state_start(t);
    lab.polls++;
    for (unsigned i = 0; i < LAB_WORDS; i++)
        if (lab.words_used & (1u << i))
            /* relaxed: the wake carries it */
            lab.seen[i] = wf_load_u32(&lab.words[i], WF_RELAXED);
    for (unsigned i = 0; i < LAB_WORDS; i++)
        cancelled |= lab.seen[i] << i;
    /* Whoever cancelled it first has released his word with that. */
    CHECK(!(from & WF_TASK_CANCELLED) || (cancelled & lab.cancel_words));
    if (wf_task_is_cancelled(t)) {
        lab_end_task(t, -ECANCELED);
        return false;
    }
    if (lab.body == LAB_ENDS) {
        lab_end_task(t, LAB_RESULT);
        return false;
    }
    if (lab.body == LAB_YIELDS && lab.yields == 0) {
        lab.yields++;
        lab_push(t, LAB_YIELDED);
    } else if (wf_task_state_park(t)) {
        lab_push(t, LAB_WOKEN);
    }
    return true;
}

/* A worker. It leaves when the task has ended, or when nothing can come any more. */
static inline void lab_runner(void)
{
    uint32_t got;

    do {
        model_block(lab_has_work, NULL, UINT64_MAX);
        /* acquire: pairs with lab_push */
        got = wf_and_u32(&lab.queue, ~(uint32_t)LAB_QUEUED, WF_ACQUIRE);
        CHECK(!(got & LAB_QUEUED) || lab.task->next == NULL);
    } while (got & LAB_QUEUED ? lab_poll(lab.task, got & LAB_QUEUED) : got >= LAB_USER);
    wf_sub_u32(&lab.runners, 1, WF_RELAXED);
}

/* --- the end -------------------------------------------------------------- */

/* In `end`, when every thread has given up its references: nothing is lost, and nothing is left. */
static inline void lab_end(void)
{
    struct weft_task *t = lab.task;

    CHECK_EQ(0, lab.queue.raw);
    if (!lab.freed.raw) {
        /* Idle: only its life reference is left. */
        CHECK_EQ(WF_TASK_REF, wf_load_u64(&t->state, WF_RELAXED));
        for (unsigned i = 0; i < LAB_WORDS; i++)
            CHECK_EQ(lab.words[i].raw, lab.seen[i]);
        wf_task_wake(&t->wakeable);
        CHECK_EQ(LAB_WOKEN, wf_and_u32(&lab.queue, ~(uint32_t)LAB_QUEUED, WF_ACQUIRE));
        (void)wf_task_state_start(t);
        lab_end_task(t, LAB_RESULT);
    }
    CHECK_EQ(1, lab.freed.raw);
    if (lab.walked)
        model_free(lab.header);
}

/* --- who waits for its end ------------------------------------------------ */

/* Counted like any wakeable, and woken at most once for each time that it is armed. */
struct lab_bell {
    weft_wakeable wakeable;
    struct wf_atomic_u32 refs;
    unsigned wakes; /* whoever wakes is the only one */
};

static inline void lab_bell_retain(weft_wakeable *w)
{
    wf_add_u32(&wf_container_of(w, struct lab_bell, wakeable)->refs, 1, WF_RELAXED);
}

static inline void lab_bell_wake(weft_wakeable *w)
{
    wf_container_of(w, struct lab_bell, wakeable)->wakes++;
}

static inline void lab_bell_release(weft_wakeable *w)
{
    CHECK(wf_sub_u32(&wf_container_of(w, struct lab_bell, wakeable)->refs, 1, WF_ACQ_REL) > 0);
}

static const weft_wakeable_type lab_bell_type = {lab_bell_retain, lab_bell_wake, lab_bell_release};

LAB_UNWATCHED bool lab_bell_free(void *arg)
{
    return ((struct lab_bell *)arg)->refs.raw == 0;
}

LAB_UNWATCHED bool lab_bell_settled(void *arg)
{
    return lab_bell_free(arg) || lab.runners.raw == 0;
}

/* Until it was released as often as retained. */
static inline void lab_bell_wait(struct lab_bell *b)
{
    do
        model_block(lab_bell_free, b, UINT64_MAX);
    while (wf_load_u32(&b->refs, WF_ACQUIRE));
}

#endif
