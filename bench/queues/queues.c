/* SPDX-License-Identifier: MIT */
/*
 * queues.c - weft-queues: three run queues on their own, outside of any runtime.
 *
 *   growing   src/sched/deque.c, the library's: a ring that doubles; the owner takes by one
 *             compare-and-swap. `growing_single` is the same without thieves, where the owner
 *             takes by a plain store: what the compare-and-swap costs.
 *   bounded   a ring of 256; when it is full, half of it and the new task go to a locked list,
 *             which is looked at every 61 takes and when the ring is empty (after Tokio).
 *   blocks    linked blocks of 64 slots. Owner and thieves are never in the same block, so the
 *             owner puts and takes by plain loads and stores, and claims a block by one
 *             compare-and-swap; thieves take whole blocks (after BWoS, OSDI 2023).
 *
 * It isolates what the queue adds to a poll, and in what order tasks come out of it. It must not
 * be read as the speed of a scheduler: there, a poll's cache misses are many times a push and a
 * take; a thief here is always awake, so nothing of the cost of waking one is seen; and the
 * library's other queue, the backlog of new tasks, is not here.
 *
 * Metrics, each the median of five rounds in which the queues take turns:
 *   alone_QUEUE_N    ns to take the oldest of N tasks and push it again, without a thief
 *   thief_QUEUE_N    ns for each task pushed, while a thief on another processor steals whenever
 *                    it has nothing, and works 100 ns on each task
 *   fed_QUEUE_N      % of that time for which the thief had work
 *   reach_QUEUE_N    how many of N tasks thieves can get in all when the owner, stuck in a poll,
 *                    does nothing
 *   gap_QUEUE_*      with 1,000 tasks, each pushed again when it is taken: how many takes of
 *                    others pass between two takes of the same task
 *
 * Every task is counted in and out: one that is lost, or taken twice, ends the program.
 */
#include "base/clock.h"
#include "base/lock.h"
#include "sched/deque.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS        5
#define LENGTHS       4
#define STEAL_MAX     128 /* tasks for a thief at once: the library's figure */
#define THIEF_WORK_NS 100
#define TOP_UP_EVERY  64 /* takes between looks at how much was stolen */
#define GAP_TASKS     1000

static const unsigned bench_lengths[LENGTHS] = {1, 100, 1000, 10000};

/* Stands for a task. A line each, so that owner and thief do not share any. */
struct item {
    struct item *next;           /* while on the bounded queue's list */
    struct wf_atomic_u32 queued; /* 1 from its push until it is taken for good */
    uint64_t taken_at;           /* owner only: number of the last take, for the gaps */
} WF_ALIGNED(WF_CACHE_LINE);

WF_COLD __attribute__((noreturn)) static void bench_fail(const char *what)
{
    (void)fprintf(stderr, "weft-queues: %s\n", what);
    exit(1);
}

static void *bench_alloc(size_t size)
{
    void *memory = aligned_alloc(WF_CACHE_LINE,
                                 (size + WF_CACHE_LINE - 1) / WF_CACHE_LINE * WF_CACHE_LINE);

    if (!memory)
        bench_fail("out of memory");
    return memory;
}

/* ---- the bounded ring ------------------------------------------------------------------------ */

#define BOUNDED_SLOTS   256
#define BOUNDED_HALF    (BOUNDED_SLOTS / 2)
#define BOUNDED_LOOK    61 /* takes between looks at the overflow list */
#define BOUNDED_WORKERS 2  /* an empty ring's owner takes its share of the list */

/*
 * head holds two counters: `real` is where the next take is, and `steal` lags behind it while a
 * thief copies the slots between them, which are not to be refilled until then.
 */
struct bounded {
    /* owner only */
    uint32_t takes;
    /* owner writes, thieves read */
    struct wf_atomic_u32 tail;
    /* everyone writes */
    struct wf_atomic_u64 head WF_ALIGNED(WF_CACHE_LINE); /* steal << 32 | real */
    struct wf_atomic_ptr slots[BOUNDED_SLOTS];
    /* under lock; len is read by anyone, as a hint */
    struct wf_lock lock WF_ALIGNED(WF_CACHE_LINE);
    struct item *first, *last;
    struct wf_atomic_u64 len;
};

static uint64_t bounded_head(uint32_t steal, uint32_t real)
{
    return (uint64_t)steal << 32 | real;
}

static void *bounded_new(void)
{
    struct bounded *q = bench_alloc(sizeof(*q));

    *q = (struct bounded){.lock = WF_LOCK_INIT(WF_RANK_LEAF)};
    return q;
}

/* A chain of n items to the list's end. */
static void bounded_overflow(struct bounded *q, struct item *first, struct item *last, uint64_t n)
{
    last->next = NULL;
    wf_lock(&q->lock);
    if (q->last)
        q->last->next = first;
    else
        q->first = first;
    q->last = last;
    wf_count_u64(&q->len, n);
    wf_unlock(&q->lock);
}

static unsigned bounded_take_list(struct bounded *q, struct item **out, unsigned max)
{
    unsigned n = 0;

    /* relaxed: a hint, so that an empty list needs no lock */
    if (wf_load_u64(&q->len, WF_RELAXED) == 0)
        return 0;
    wf_lock(&q->lock);
    while (n < max && q->first) {
        out[n++] = q->first;
        q->first = q->first->next;
    }
    if (!q->first)
        q->last = NULL;
    wf_store_u64(&q->len, wf_load_u64(&q->len, WF_RELAXED) - n, WF_RELAXED);
    wf_unlock(&q->lock);
    return n;
}

static struct item *bounded_get(struct bounded *q, uint32_t at)
{
    return wf_load_ptr(&q->slots[at % BOUNDED_SLOTS], WF_RELAXED);
}

/* Move the older half and t to the list. False: a thief was faster, and there is room now. */
WF_COLD static bool bounded_spill(struct bounded *q, uint64_t head, struct item *t)
{
    uint32_t from = (uint32_t)head, to = from + BOUNDED_HALF;
    struct item *first, *last;

    /* release: the slots were read by nobody else, and the next push sees the room */
    if (!wf_cas_u64(&q->head, &head, bounded_head(to, to), WF_ACQ_REL, WF_RELAXED))
        return false;
    first = last = bounded_get(q, from);
    while (++from != to) {
        last->next = bounded_get(q, from);
        last = last->next;
    }
    last->next = t;
    bounded_overflow(q, first, t, BOUNDED_HALF + 1);
    return true;
}

static bool bounded_push(void *queue, struct item *t)
{
    struct bounded *q = queue;
    uint32_t tail = wf_load_u32(&q->tail, WF_RELAXED); /* relaxed: only the owner writes it */

    for (;;) {
        /* acquire: pairs with the takers, whose reads of a slot end before it is refilled */
        uint64_t head = wf_load_u64(&q->head, WF_ACQUIRE);
        uint32_t steal = (uint32_t)(head >> 32);

        if (wf_likely(tail - steal < BOUNDED_SLOTS)) {
            wf_store_ptr(&q->slots[tail % BOUNDED_SLOTS], t, WF_RELAXED);
            /* release: pairs with bounded_steal; carries slot and item */
            wf_store_u32(&q->tail, tail + 1, WF_RELEASE);
            return true;
        }
        if (steal != (uint32_t)head) {
            /* A thief is about to make room: only this one goes to the list. */
            bounded_overflow(q, t, t, 1);
            return true;
        }
        if (bounded_spill(q, head, t))
            return true;
    }
}

static struct item *bounded_take_ring(struct bounded *q)
{
    uint32_t tail = wf_load_u32(&q->tail, WF_RELAXED);
    uint64_t head = wf_load_u64(&q->head, WF_ACQUIRE);

    while ((uint32_t)head != tail) {
        uint32_t real = (uint32_t)head, steal = (uint32_t)(head >> 32);
        uint64_t new = bounded_head(steal == real ? real + 1 : steal, real + 1);
        struct item *t = bounded_get(q, real);

        /* release: pairs with the acquire in bounded_push */
        if (wf_cas_weak_u64(&q->head, &head, new, WF_ACQ_REL, WF_ACQUIRE))
            return t;
    }
    return NULL;
}

static struct item *bounded_take(void *queue)
{
    struct bounded *q = queue;
    struct item *batch[BOUNDED_HALF], *t;
    uint64_t share;
    unsigned n;

    if (wf_unlikely(++q->takes % BOUNDED_LOOK == 0) && bounded_take_list(q, &t, 1))
        return t;
    t = bounded_take_ring(q);
    if (t)
        return t;
    share = wf_load_u64(&q->len, WF_RELAXED) / BOUNDED_WORKERS + 1;
    n = bounded_take_list(q, batch, share < BOUNDED_HALF ? (unsigned)share : BOUNDED_HALF);
    for (unsigned i = 1; i < n; i++)
        (void)bounded_push(q, batch[i]);
    return n ? batch[0] : NULL;
}

static unsigned bounded_steal(void *queue, struct item **out, unsigned max)
{
    struct bounded *q = queue;
    uint64_t head = wf_load_u64(&q->head, WF_ACQUIRE);
    uint32_t real, n;

    do {
        /* acquire: pairs with bounded_push */
        uint32_t tail = wf_load_u32(&q->tail, WF_ACQUIRE);

        real = (uint32_t)head;
        n = tail - real;
        n -= n / 2;
        /* An n of more than a ring is a head that was read before it moved past tail. */
        if (real != (uint32_t)(head >> 32) || n > BOUNDED_SLOTS)
            return 0;
        if (n == 0)
            return bounded_take_list(q, out, max);
        if (n > max)
            n = max;
        /* The claim: steal stays, so the owner does not refill what is copied now. */
    } while (
        !wf_cas_weak_u64(&q->head, &head, bounded_head(real, real + n), WF_ACQ_REL, WF_ACQUIRE));
    for (uint32_t i = 0; i < n; i++)
        out[i] = bounded_get(q, real + i);
    head = bounded_head(real, real + n);
    /* release: pairs with the acquire in bounded_push: the copying is over */
    while (!wf_cas_weak_u64(&q->head, &head, bounded_head((uint32_t)head, (uint32_t)head),
                            WF_ACQ_REL, WF_RELAXED))
        ;
    return n;
}

static void bounded_free(void *queue)
{
    free(queue);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

#define BLOCK_SLOTS 64

/*
 * A block belongs to its owner until it is full and neither filled nor emptied by it: then it is
 * granted to whoever claims it first, the owner or a thief. The word counts a block's uses, so a
 * claim succeeds only for the use that was looked at; the memory is never given back before the
 * queue is, so a late look is harmless.
 */
enum block_state { BLOCK_OWNED, BLOCK_GRANTED, BLOCK_STOLEN, BLOCK_COPIED };

struct block {
    struct wf_atomic_u64 word; /* number of the use << 2 | enum block_state */
    struct wf_atomic_ptr next; /* the block filled after this one */
    struct block *spare;       /* owner only: next of those not in use, or lent to thieves */
    struct block *older;       /* owner only: all blocks there are */
    struct item *slots[BLOCK_SLOTS];
} WF_ALIGNED(WF_CACHE_LINE);

struct blocks {
    /* owner only */
    struct block *put, *get; /* where the newest and the oldest tasks are */
    unsigned put_at, get_at;
    struct block *spare; /* free for use */
    struct block *lent;  /* passed by, when a thief was still copying */
    struct block *all;
    uint64_t uses;
    /* owner writes, thieves read */
    struct wf_atomic_ptr first WF_ALIGNED(WF_CACHE_LINE); /* get */
};

static enum block_state block_state(uint64_t word)
{
    return (enum block_state)(word & 3);
}

/* Blocks that thieves have finished with are free again. */
static void blocks_recover(struct blocks *q)
{
    struct block **at = &q->lent, *b;

    while ((b = *at) != NULL) {
        /* acquire: pairs with blocks_claim, whose reads end before the block is refilled */
        if (block_state(wf_load_u64(&b->word, WF_ACQUIRE)) == BLOCK_COPIED) {
            *at = b->spare;
            b->spare = q->spare;
            q->spare = b;
        } else {
            at = &b->spare;
        }
    }
}

static struct block *blocks_fresh(struct blocks *q)
{
    struct block *b;

    if (!q->spare)
        blocks_recover(q);
    b = q->spare;
    if (b) {
        q->spare = b->spare;
    } else {
        b = bench_alloc(sizeof(*b));
        b->older = q->all;
        q->all = b;
    }
    /* relaxed: published by the link to it. A late thief finds a use that it does not know. */
    wf_store_ptr(&b->next, NULL, WF_RELAXED);
    wf_store_u64(&b->word, ++q->uses << 2 | BLOCK_OWNED, WF_RELAXED);
    return b;
}

static void *blocks_new(void)
{
    struct blocks *q = bench_alloc(sizeof(*q));

    *q = (struct blocks){.uses = 0};
    q->put = q->get = blocks_fresh(q);
    wf_store_ptr(&q->first, q->get, WF_RELEASE);
    return q;
}

static void blocks_next_put(struct blocks *q)
{
    struct block *full = q->put, *b = blocks_fresh(q);

    if (full != q->get)
        /* release: pairs with blocks_claim; carries slots and items. Nobody else
         * writes the word before. */
        wf_store_u64(&full->word, wf_load_u64(&full->word, WF_RELAXED) | BLOCK_GRANTED, WF_RELEASE);
    /* release: pairs with blocks_steal */
    wf_store_ptr(&full->next, b, WF_RELEASE);
    q->put = b;
    q->put_at = 0;
}

/* The oldest block is done with: go on to the next, and take it over unless it was stolen. */
static void blocks_next_get(struct blocks *q)
{
    /* relaxed: only the owner writes it */
    struct block *done = q->get, *b = wf_load_ptr(&done->next, WF_RELAXED);
    uint64_t word;

    q->get = b;
    q->get_at = 0;
    /* release: pairs with blocks_steal */
    wf_store_ptr(&q->first, b, WF_RELEASE);
    if (b != q->put) {
        word = wf_load_u64(&b->word, WF_RELAXED);
        /* relaxed: thieves write nothing into a block that they did not claim */
        if (block_state(word) != BLOCK_GRANTED ||
            !wf_cas_u64(&b->word, &word, word & ~(uint64_t)3, WF_RELAXED, WF_RELAXED))
            q->get_at = BLOCK_SLOTS;
    }
    /* acquire: pairs with blocks_claim: a thief's reads end before the block is refilled */
    if (block_state(wf_load_u64(&done->word, WF_ACQUIRE)) == BLOCK_STOLEN) {
        done->spare = q->lent;
        q->lent = done;
    } else {
        done->spare = q->spare;
        q->spare = done;
    }
}

static bool blocks_push(void *queue, struct item *t)
{
    struct blocks *q = queue;

    if (wf_unlikely(q->put_at == BLOCK_SLOTS))
        blocks_next_put(q);
    q->put->slots[q->put_at++] = t;
    return true;
}

static struct item *blocks_take(void *queue)
{
    struct blocks *q = queue;

    for (;;) {
        if (q->get_at < (q->get == q->put ? q->put_at : BLOCK_SLOTS))
            return q->get->slots[q->get_at++];
        if (q->get == q->put)
            return NULL;
        blocks_next_get(q);
    }
}

static bool blocks_claim(struct block *b, struct item **out)
{
    /* acquire, also below: pairs with blocks_next_put */
    uint64_t word = wf_load_u64(&b->word, WF_ACQUIRE),
             stolen = (word & ~(uint64_t)3) | BLOCK_STOLEN;

    if (block_state(word) != BLOCK_GRANTED ||
        !wf_cas_u64(&b->word, &word, stolen, WF_ACQUIRE, WF_RELAXED))
        return false;
    for (unsigned i = 0; i < BLOCK_SLOTS; i++)
        out[i] = b->slots[i];
    /* release: pairs with blocks_recover and blocks_next_get: the copying is over */
    wf_store_u64(&b->word, stolen | BLOCK_COPIED, WF_RELEASE);
    return true;
}

/* The oldest blocks that can be had. Those in which the owner is cannot, full or not. */
static unsigned blocks_steal(void *queue, struct item **out, unsigned max)
{
    struct blocks *q = queue;
    struct block *b = wf_load_ptr(&q->first, WF_ACQUIRE);
    unsigned n = 0;

    while (b && n + BLOCK_SLOTS <= max) {
        if (blocks_claim(b, out + n))
            n += BLOCK_SLOTS;
        /* acquire: pairs with blocks_next_put. Of a block in a later use it leads to later ones. */
        b = wf_load_ptr(&b->next, WF_ACQUIRE);
    }
    return n;
}

static void blocks_free(void *queue)
{
    struct blocks *q = queue;

    while (q->all) {
        struct block *b = q->all;

        q->all = b->older;
        free(b);
    }
    free(q);
}

/* ---- the library's --------------------------------------------------------------------------- */

/* A deque never looks into what it holds, so an item may pass for a task. */
static void *growing_make(bool shared)
{
    struct wf_deque *q = bench_alloc(sizeof(*q));

    if (wf_deque_init(q, shared) < 0)
        bench_fail("out of memory");
    return q;
}

static void *growing_new(void)
{
    return growing_make(true);
}

static void *growing_single_new(void)
{
    return growing_make(false);
}

static bool growing_push(void *queue, struct item *t)
{
    return wf_deque_push(queue, (struct weft_task *)t);
}

static struct item *growing_take(void *queue)
{
    return (struct item *)wf_deque_take_oldest(queue);
}

static unsigned growing_steal(void *queue, struct item **out, unsigned max)
{
    return wf_deque_steal_half(queue, (struct weft_task **)out, max);
}

static void growing_free(void *queue)
{
    wf_deque_release(queue);
    free(queue);
}

/* ---- workloads ------------------------------------------------------------------------------- */

/* All are called through here, so that none is compiled into the loop that measures it. */
struct queue_kind {
    const char *name;
    void *(*new)(void);
    bool (*push)(void *queue, struct item *t);
    struct item *(*take)(void *queue);
    unsigned (*steal)(void *queue, struct item **out, unsigned max); /* NULL: not with thieves */
    void (*free)(void *queue);                                       /* must be empty */
};

static const struct queue_kind bench_kinds[] = {
    {"growing", growing_new, growing_push, growing_take, growing_steal, growing_free},
    {"growing_single", growing_single_new, growing_push, growing_take, NULL, growing_free},
    {"bounded", bounded_new, bounded_push, bounded_take, bounded_steal, bounded_free},
    {"blocks", blocks_new, blocks_push, blocks_take, blocks_steal, blocks_free},
};

#define KINDS wf_array_count(bench_kinds)

static struct item *bench_items(size_t count)
{
    struct item *items = bench_alloc(count * sizeof(*items));

    for (size_t i = 0; i < count; i++)
        items[i] = (struct item){.next = NULL};
    return items;
}

/* relaxed, in the two below: the queue carries the item from who pushes to who takes it */
static void bench_push(const struct queue_kind *kind, void *queue, struct item *t)
{
    wf_store_u32(&t->queued, 1, WF_RELAXED);
    if (!kind->push(queue, t))
        bench_fail("out of memory");
}

static void bench_expect_queued(const struct item *t)
{
    if (wf_load_u32(&t->queued, WF_RELAXED) != 1)
        bench_fail("a task was taken twice");
}

/* Take what is left; returns how many that was. */
static uint64_t bench_drain(const struct queue_kind *kind, void *queue)
{
    struct item *t;
    uint64_t n = 0;

    while ((t = kind->take(queue)) != NULL) {
        bench_expect_queued(t);
        wf_store_u32(&t->queued, 0, WF_RELAXED);
        n++;
    }
    return n;
}

static void bench_expect(uint64_t pushed, uint64_t taken)
{
    if (pushed != taken)
        bench_fail(taken < pushed ? "a task was lost" : "a task was taken twice");
}

static double alone_run(const struct queue_kind *kind, unsigned length, uint64_t takes)
{
    struct item *items = bench_items(length);
    void *queue = kind->new ();
    uint64_t start, elapsed;

    for (unsigned i = 0; i < length; i++)
        bench_push(kind, queue, &items[i]);
    /* Until the queue has found its shape and its memory is warm. */
    for (uint64_t i = 0; i < takes / 8; i++)
        (void)kind->push(queue, kind->take(queue));
    start = wf_clock_now();
    for (uint64_t i = 0; i < takes; i++)
        (void)kind->push(queue, kind->take(queue));
    elapsed = wf_clock_now() - start;
    bench_expect(length, bench_drain(kind, queue));
    kind->free(queue);
    free(items);
    return (double)elapsed / (double)takes;
}

/* A queue with its owner, who keeps it at a length, and a thief. */
struct theft {
    const struct queue_kind *kind; /* set once */
    void *queue;
    /* owner only */
    struct item *items;
    size_t count, at; /* of items; where to look for one that is not queued */
    uint64_t pushed, taken;
    pthread_t thread;
    /* the thief writes */
    struct wf_atomic_u64 stolen WF_ALIGNED(WF_CACHE_LINE);
    struct wf_atomic_u32 started;
    /* the owner writes */
    struct wf_atomic_u32 stop WF_ALIGNED(WF_CACHE_LINE);
};

static void thief_work(void)
{
    uint64_t until = wf_ticks() + wf_ns_to_ticks(THIEF_WORK_NS);

    while (wf_ticks() < until)
        ;
}

static cpu_set_t bench_processors; /* set once by main: those that the program may use */

/* Run on the n-th of them, if there is one. */
static void bench_pin(unsigned n)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &bench_processors) && n-- == 0) {
            CPU_SET(cpu, &one);
            (void)pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
            return;
        }
    }
}

static void *thief_main(void *arg)
{
    struct theft *x = arg;
    struct item *got[STEAL_MAX];

    bench_pin(1);
    wf_store_u32(&x->started, 1, WF_RELAXED);
    while (!wf_load_u32(&x->stop, WF_RELAXED)) {
        unsigned n = x->kind->steal(x->queue, got, STEAL_MAX);

        wf_count_u64(&x->stolen, n);
        if (n == 0)
            wf_spin_pause();
        for (unsigned i = 0; i < n; i++) {
            bench_expect_queued(got[i]);
            thief_work();
            /* release: pairs with theft_top_up, which pushes it again */
            wf_store_u32(&got[i]->queued, 0, WF_RELEASE);
        }
    }
    return NULL;
}

static void theft_begin(struct theft *x, const struct queue_kind *kind, unsigned length)
{
    /* Enough for the queue, for the thief's hands, and for a look in between. */
    size_t count = (size_t)2 * length + (size_t)8 * STEAL_MAX;

    *x = (struct theft){
        .kind = kind, .queue = kind->new (), .items = bench_items(count), .count = count};
    if (pthread_create(&x->thread, NULL, thief_main, x) != 0)
        bench_fail("cannot start a thread");
    while (!wf_load_u32(&x->started, WF_RELAXED))
        (void)sched_yield();
}

/* Items that are not queued: none were, or the thief is done with them. */
static void theft_top_up(struct theft *x, uint64_t missing)
{
    while (missing) {
        struct item *t = &x->items[x->at];

        x->at = (x->at + 1) % x->count;
        /* acquire: pairs with thief_main */
        if (wf_load_u32(&t->queued, WF_ACQUIRE))
            continue;
        bench_push(x->kind, x->queue, t);
        x->pushed++;
        missing--;
    }
}

/* The owner, until so many were pushed in all: a task that it takes is ready again at once. */
static void theft_feed(struct theft *x, unsigned length, uint64_t pushes)
{
    while (x->pushed < pushes) {
        /* relaxed: those that will not come back by themselves */
        uint64_t here = x->pushed - x->taken - wf_load_u64(&x->stolen, WF_RELAXED);

        if (here < length)
            theft_top_up(x, length - here);
        for (unsigned i = 0; i < TOP_UP_EVERY; i++) {
            struct item *t = x->kind->take(x->queue);

            if (!t)
                break;
            bench_expect_queued(t);
            bench_push(x->kind, x->queue, t);
            x->taken++;
            x->pushed++;
        }
    }
}

/* Count all tasks. */
static void theft_end(struct theft *x)
{
    uint64_t stolen;

    wf_store_u32(&x->stop, 1, WF_RELAXED);
    (void)pthread_join(x->thread, NULL);
    stolen = wf_load_u64(&x->stolen, WF_RELAXED);
    bench_expect(x->pushed, x->taken + stolen + bench_drain(x->kind, x->queue));
    for (size_t i = 0; i < x->count; i++)
        if (wf_load_u32(&x->items[i].queued, WF_RELAXED))
            bench_fail("a task was lost");
    x->kind->free(x->queue);
    free(x->items);
}

/* ns for each push; *fed: for which part of the time the thief had work, in %. */
static double thief_run(const struct queue_kind *kind, unsigned length, uint64_t pushes,
                        double *fed)
{
    struct theft *x = bench_alloc(sizeof(*x));
    uint64_t before, stolen, start, elapsed;
    double per_push;

    theft_begin(x, kind, length);
    theft_feed(x, length, pushes / 8);
    before = x->pushed;
    stolen = wf_load_u64(&x->stolen, WF_RELAXED);
    start = wf_clock_now();
    theft_feed(x, length, before + pushes);
    elapsed = wf_clock_now() - start;
    stolen = wf_load_u64(&x->stolen, WF_RELAXED) - stolen;
    per_push = (double)elapsed / (double)(x->pushed - before);
    *fed = 100.0 * THIEF_WORK_NS * (double)stolen / (double)elapsed;
    theft_end(x);
    free(x);
    return per_push;
}

static void reach_run(const struct queue_kind *kind, unsigned length)
{
    struct item *items = bench_items(length), *got[STEAL_MAX];
    void *queue = kind->new ();
    uint64_t reached = 0;
    unsigned n;

    for (unsigned i = 0; i < length; i++)
        bench_push(kind, queue, &items[i]);
    while ((n = kind->steal(queue, got, STEAL_MAX)) != 0)
        reached += n;
    bench_expect(length, reached + bench_drain(kind, queue));
    (void)printf("reach_%s_%u %llu tasks\n", kind->name, length, (unsigned long long)reached);
    kind->free(queue);
    free(items);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* No clock in it, so one round says all. */
static void gap_run(const struct queue_kind *kind, uint64_t takes)
{
    struct item *items = bench_items(GAP_TASKS);
    uint64_t *gaps = bench_alloc(takes * sizeof(*gaps));
    void *queue = kind->new ();
    size_t n = 0;

    for (unsigned i = 0; i < GAP_TASKS; i++)
        bench_push(kind, queue, &items[i]);
    for (uint64_t i = 1; i <= takes; i++) {
        struct item *t = kind->take(queue);

        if (t->taken_at)
            gaps[n++] = i - t->taken_at - 1;
        t->taken_at = i;
        (void)kind->push(queue, t);
    }
    bench_expect(GAP_TASKS, bench_drain(kind, queue));
    qsort(gaps, n, sizeof(gaps[0]), compare_u64);
    (void)printf("gap_%s_min %llu takes\n", kind->name, (unsigned long long)gaps[0]);
    (void)printf("gap_%s_p50 %llu takes\n", kind->name, (unsigned long long)gaps[n / 2]);
    (void)printf("gap_%s_p99 %llu takes\n", kind->name, (unsigned long long)gaps[n / 100 * 99]);
    (void)printf("gap_%s_max %llu takes\n", kind->name, (unsigned long long)gaps[n - 1]);
    kind->free(queue);
    free(gaps);
    free(items);
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void bench_report(const char *workload, const struct queue_kind *kind, unsigned length,
                         double *rounds, const char *unit)
{
    qsort(rounds, ROUNDS, sizeof(rounds[0]), compare_double);
    (void)printf("%s_%s_%u %.1f %s\n", workload, kind->name, length, rounds[ROUNDS / 2], unit);
}

static void bench_length(unsigned length, uint64_t takes)
{
    double alone[KINDS][ROUNDS], thief[KINDS][ROUNDS], fed[KINDS][ROUNDS];

    for (unsigned round = 0; round < ROUNDS; round++) {
        for (size_t k = 0; k < KINDS; k++) {
            alone[k][round] = alone_run(&bench_kinds[k], length, takes);
            if (bench_kinds[k].steal)
                thief[k][round] = thief_run(&bench_kinds[k], length, takes, &fed[k][round]);
        }
    }
    for (size_t k = 0; k < KINDS; k++) {
        bench_report("alone", &bench_kinds[k], length, alone[k], "ns");
        if (bench_kinds[k].steal) {
            bench_report("thief", &bench_kinds[k], length, thief[k], "ns");
            bench_report("fed", &bench_kinds[k], length, fed[k], "%");
            reach_run(&bench_kinds[k], length);
        }
    }
}

int main(int argc, char **argv)
{
    unsigned long long takes = argc > 1 ? strtoull(argv[1], NULL, 10) : 2000000;

    if (argc > 2 || takes < 100000) {
        (void)fputs("usage: weft-queues [TAKES]   for each figure; 2000000, at least 100000\n",
                    stderr);
        return 2;
    }
    if (sched_getaffinity(0, sizeof(bench_processors), &bench_processors) < 0)
        bench_fail("cannot ask for the processors");
    bench_pin(0);
    wf_ticks_calibrate();
    for (size_t i = 0; i < LENGTHS; i++)
        bench_length(bench_lengths[i], takes);
    for (size_t k = 0; k < KINDS; k++)
        if (bench_kinds[k].steal)
            gap_run(&bench_kinds[k], takes);
    return 0;
}
