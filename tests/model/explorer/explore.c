/* SPDX-License-Identifier: MIT */
/*
 * explore.c - runs a test once for every way in which it can go.
 *
 * IDEA     An execution is the list of its decisions. The next one repeats it up to the last decision that
 *          has an alternative left, takes that, and goes on with the first alternative everywhere:
 *          a depth-first walk without saved states. A state that was reached before, with as
 *          many preemptions left, need not be walked again.
 * STATES   A thread's place is determined by what it has read and decided so far; memory by
 *          the list of stores of each location; the views by both. So a hash of these stands for
 *          the state, and two orders of independent steps lead to the same one. (64 bits: with a
 *          million states the odds of a false match are one in 30 million.)
 * SHARED   Only accesses to locations that several threads use, and somebody writes, need a decision before
 *          them. Which these are is found out on the way: when one is discovered, the walk begins
 *          again with that knowledge, until nothing new turns up.
 */
#include "model/explorer/explore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BOUND_DEFAULT 2
#define STALE_DEFAULT 2

struct visited {
    uint64_t key;
    uint32_t left; /* preemptions, plus one; 0: free */
};

struct model *model_state;

/* --- decisions --- */

unsigned model_decide(unsigned of)
{
    struct model *m = model_state;
    struct decision *d;

    if (of <= 1)
        return 0;
    if (m->at == m->depth) {
        if (m->depth == m->depth_room) {
            m->depth_room *= 2;
            m->decisions = realloc(m->decisions, m->depth_room * sizeof(*m->decisions));
            if (!m->decisions)
                abort();
        }
        m->decisions[m->depth++] = (struct decision){.taken = 0, .of = (uint16_t)of};
    }
    d = &m->decisions[m->at++];
    if (d->of == 0)
        d->of = (uint16_t)of;
    if (d->of != of || d->taken >= of)
        model_report("the test does not repeat itself: %u alternatives where there were %u", of,
                     d->of);
    return d->taken;
}

void model_reached(unsigned bit)
{
    model_state->came_by |= 1u << bit;
}

unsigned model_choose(unsigned n)
{
    struct model *m = model_state;
    unsigned taken = model_decide(n);

    m->running->history = model_mix(m->running->history, taken);
    return taken;
}

/* The next execution's decisions. False: there is none. */
static bool decisions_advance(void)
{
    struct model *m = model_state;

    while (m->depth && m->decisions[m->depth - 1].taken + 1u >= m->decisions[m->depth - 1].of)
        m->depth--;
    if (m->depth == 0)
        return false;
    m->decisions[m->depth - 1].taken++;
    return true;
}

/* --- states met before --- */

static void visited_clear(struct visited_set *set, size_t room)
{
    free(set->slots);
    *set = (struct visited_set){.slots = calloc(room, sizeof(*set->slots)), .room = room};
    if (!set->slots)
        abort();
}

static struct visited *visited_slot(const struct visited_set *set, uint64_t key)
{
    size_t i = key & (set->room - 1);

    while (set->slots[i].left && set->slots[i].key != key)
        i = (i + 1) & (set->room - 1);
    return &set->slots[i];
}

static void visited_grow(struct visited_set *set)
{
    struct visited_set old = *set;

    set->slots = NULL;
    visited_clear(set, 2 * old.room);
    for (size_t i = 0; i < old.room; i++)
        if (old.slots[i].left)
            *visited_slot(set, old.slots[i].key) = old.slots[i];
    set->count = old.count;
    free(old.slots);
}

/* Returns whether it was there already, with no less left. */
static bool visited_note(struct visited_set *set, uint64_t key, uint32_t left)
{
    struct visited *v = visited_slot(set, key);

    if (v->left >= left)
        return true;
    set->count += !v->left;
    *v = (struct visited){key, left};
    if (set->count > set->room / 2)
        visited_grow(set);
    return false;
}

static uint64_t state_key(void)
{
    const struct model *m = model_state;
    uint64_t h = model_mix(m->memory_hash, m->stale_left);

    h = model_mix(h, (uint64_t)(m->running - m->threads));
    h = model_mix(h, m->clock);
    for (unsigned i = 0; i < m->thread_count; i++) {
        const struct thread *t = &m->threads[i];

        h = model_mix(h, t->history ^ ((uint64_t)t->status << 60) ^ ((uint64_t)t->fresh << 59) ^
                             ((uint64_t)t->in_time << 58) ^ t->now.clock[i]);
    }
    for (unsigned i = 0; i < m->shared_count; i++)
        if (m->sc.seen[i])
            h = model_mix(h, ((uint64_t)i << 16) + m->sc.seen[i]);
    return h;
}

bool model_met_before(void)
{
    struct model *m = model_state;

    if (m->at < m->depth || m->replaying)
        return false;
    if (!visited_note(&m->visited, state_key(), m->preemptions_left + 1) || m->forgetful)
        return false;
    m->pruned++;
    return true;
}

/* How an execution ended, as the program sees it: the count of these must not depend on what was left
 * out because it was met before. */
static void end_note(void)
{
    struct model *m = model_state;
    uint64_t h = state_key(), word;

    for (const char *at = &__data_start; at + sizeof(word) <= &_end; at += sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        h = model_mix(h, word);
    }
    (void)visited_note(&m->ends, h, 1);
}

/* --- the report --- */

void model_trace(const struct step *s)
{
    struct model *m = model_state;
    bool preempted = m->trace[m->steps % TRACE_MAX].preempted;
    struct step *slot = &m->trace[m->steps % TRACE_MAX];

    *slot = *s;
    slot->preempted = preempted;
    if (++m->steps > STEPS_MAX)
        model_report("no end after %d steps", STEPS_MAX);
    m->trace[m->steps % TRACE_MAX].preempted = false;
}

static void use(const struct model_site *site, const char *what, const void *object)
{
    if (!model_state->active)
        return;
    (void)model_rmw(site, (void *)(uintptr_t)object, 1);
    /* What the call does may depend on the time. */
    model_state->running->history = model_mix(model_state->running->history, model_state->clock);
    model_state->trace[(model_state->steps - 1) % TRACE_MAX].what = what;
    model_state->trace[(model_state->steps - 1) % TRACE_MAX].site = NULL;
}

void model_use(const char *what, const void *object)
{
    static const struct model_site site = {"", "", 0, MODEL_ADD, __ATOMIC_ACQ_REL, 0, 8};

    use(&site, what, object);
}

void model_use_unordered(const char *what, const void *object)
{
    static const struct model_site site = {"", "", 0, MODEL_ADD, __ATOMIC_RELAXED, 0, 8};

    use(&site, what, object);
}

const char *const model_op_names[] = {"load", "store", "add", "sub",      "or",
                                      "and",  "swap",  "cas", "cas_weak", "fence"};
static const char *const order_names[] = {[__ATOMIC_RELAXED] = "relaxed",
                                          [__ATOMIC_ACQUIRE] = "acquire",
                                          [__ATOMIC_RELEASE] = "release",
                                          [__ATOMIC_ACQ_REL] = "acq_rel",
                                          [__ATOMIC_SEQ_CST] = "seq_cst"};

static void print_step(const struct step *s)
{
    fprintf(stderr, "  %s T%u  ", s->preempted ? ">" : " ", s->thread);
    if (!s->site) {
        fprintf(stderr, "%s\n", s->what);
        return;
    }
    fprintf(stderr, "%s:%d  %s %s %s", s->site->file, s->site->line, model_op_names[s->site->op],
            s->site->what, order_names[s->order]);
    if (s->site->op == MODEL_STORE)
        fprintf(stderr, "  := %#llx", (unsigned long long)s->new);
    else if (s->failed)
        fprintf(stderr, "  is %#llx: fails", (unsigned long long)s->old);
    else if (s->site->op == MODEL_LOAD)
        fprintf(stderr, "  is %#llx", (unsigned long long)s->old);
    else if (s->site->op != MODEL_FENCE)
        fprintf(stderr, "  %#llx -> %#llx", (unsigned long long)s->old, (unsigned long long)s->new);
    if (s->behind)
        fprintf(stderr, "  (older by %u)", s->behind);
    fprintf(stderr, "\n");
}

static void print_trace(void)
{
    const struct model *m = model_state;
    uint64_t first = m->steps > TRACE_MAX / 2 ? m->steps - TRACE_MAX / 2 : 0;

    for (uint64_t i = first; i < m->steps; i++)
        print_step(&m->trace[i % TRACE_MAX]);
}

/* Addresses that are the same in another process: of static data, of memory, of the threads' stacks. */
static void print_place(uintptr_t at)
{
    const struct model *m = model_state;

    if (at >= (uintptr_t)&__data_start && at < (uintptr_t)&_end) {
        fprintf(stderr, "s%zx,", (size_t)(at - (uintptr_t)&__data_start));
        return;
    }
    for (unsigned i = 0; i < THREADS_MAX; i++)
        if (at - (uintptr_t)m->threads[i].stack < STACK_SIZE) {
            fprintf(stderr, "%u_%zx,", i, (size_t)(at - (uintptr_t)m->threads[i].stack));
            return;
        }
    fprintf(stderr, "m%zx,", (size_t)(at - shadow_arena()));
}

static uintptr_t parse_place(char **text)
{
    const struct model *m = model_state;
    char kind = **text;
    uintptr_t base;

    if (kind == 's')
        base = (uintptr_t)&__data_start;
    else if (kind == 'm')
        base = shadow_arena();
    else
        base = (uintptr_t)m->threads[(kind - '0') & (THREADS_MAX - 1)].stack;
    *text += kind == 's' || kind == 'm' ? 1 : 2;
    base += strtoul(*text, text, 16);
    if (**text == ',')
        ++*text;
    return base;
}

/* What was known to be shared, then the decisions; "0" n times as "n*". */
static void print_decisions(void)
{
    const struct model *m = model_state;
    size_t zeros = 0, last = m->at;

    for (unsigned i = 0; i < m->shared_at_begin; i++)
        print_place(m->shared[i]);
    fprintf(stderr, ":");

    while (last && m->decisions[last - 1].taken == 0)
        last--;
    for (size_t i = 0; i < last; i++) {
        if (m->decisions[i].taken == 0) {
            zeros++;
            continue;
        }
        if (zeros)
            fprintf(stderr, "%zu*", zeros);
        zeros = 0;
        fprintf(stderr, "%u.", m->decisions[i].taken);
    }
}

__attribute__((format(printf, 1, 0))) static void report_vfail(const char *format,
                                                               va_list arguments)
{
    struct model *m = model_state;

    m->active = false;
    fprintf(stderr, "\n%s: FAILED in execution %llu: ", m->test->name,
            (unsigned long long)m->executions);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\nthe steps (> marks a preemption):\n");
    print_trace();
    for (unsigned i = 0; i < m->thread_count; i++) {
        const struct thread *t = &m->threads[i];

        if (t->status == THREAD_BLOCKED)
            fprintf(stderr, "    T%u  waits for %s\n", i, t->waits ? t->waits : "something");
    }
    fprintf(stderr, "to repeat it: WEFT_MODEL_REPLAY='");
    print_decisions();
    fprintf(stderr, "' WEFT_MODEL_BOUND=%u WEFT_MODEL_STALE=%u ", m->bound, m->stale_bound);
    if (m->weak_file)
        fprintf(stderr, "WEFT_MODEL_MUTATE='%s' ", getenv("WEFT_MODEL_MUTATE"));
    fprintf(stderr, "%s '%s'\n", program_invocation_name, m->test->name);
    fflush(NULL);
    _exit(1);
}

void model_report(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    report_vfail(format, arguments);
    va_end(arguments);
    _exit(1);
}

void model_fail(const char *file, int line, const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    model_report("%s:%d: %s", file, line, text);
}

void model_check_eq(long long want, long long got, const char *what, const char *file, int line)
{
    if (want != got)
        model_fail(file, line, "%s is %lld, not %lld", what, got, want);
}

/* --- one test --- */

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

unsigned model_setting(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);

    return text && *text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static unsigned bound_of(uint8_t chosen, unsigned usual)
{
    return chosen == MODEL_NONE ? 0 : chosen == MODEL_DEFAULT ? usual : chosen;
}

/* What the environment makes of a test's bound: another one, or no less than that. */
static unsigned bound_in_use(const char *instead, const char *least, unsigned bound)
{
    unsigned floor = model_setting(least, 0);

    return model_setting(instead, bound > floor ? bound : floor);
}

static void execution_run(void)
{
    struct model *m = model_state;

    memcpy(&__data_start, m->statics_first, (size_t)(&_end - &__data_start));
    m->executions++;
    m->execution++;
    m->at = 0;
    m->steps = 0;
    m->trace[0].preempted = false;
    m->over = false;
    m->preemptions_left = m->bound;
    m->stale_left = m->stale_bound;
    m->shared_at_begin = m->shared_count;
    threads_begin();
    memory_begin();
    shadow_begin();
    threads_run();
    if (m->at > m->depth_max)
        m->depth_max = m->at;
    if (m->count_ends && m->threads[0].status == THREAD_FINISHED)
        end_note();
}

static void test_reset(const struct model_test *test)
{
    struct model *m = model_state;

    m->test = test;
    m->bound = bound_in_use("WEFT_MODEL_BOUND", "WEFT_MODEL_LEAST",
                            bound_of(test->preemptions, BOUND_DEFAULT));
    m->stale_bound = bound_in_use("WEFT_MODEL_STALE", "WEFT_MODEL_LEAST_STALE",
                                  bound_of(test->stale, STALE_DEFAULT));
    m->executions = m->pruned = m->restarts = 0;
    m->depth = m->depth_max = 0;
    m->came_by = 0;
    m->shared_count = 0;
    m->discovered = false;
    m->forgetful = model_setting("WEFT_MODEL_FORGET", 0) != 0;
    for (size_t i = 0; i < LOCATIONS_MAX; i++)
        free(m->locations[i].messages);
    memset(m->locations, 0, LOCATIONS_MAX * sizeof(*m->locations));
    memset(m->atomic_lines, 0, sizeof(m->atomic_lines));
    m->count_ends = model_setting("WEFT_MODEL_ENDS", 0) != 0;
    visited_clear(&m->visited, 1 << 16);
    visited_clear(&m->ends, 1 << 10);
}

static void decisions_parse(char *text)
{
    struct model *m = model_state;

    while (*text && *text != ':')
        memory_share(parse_place(&text));
    text += *text == ':';
    while (*text) {
        char *end;
        unsigned long n = strtoul(text, &end, 10);
        unsigned long count = *end == '*' ? n : 1, taken = *end == '*' ? 0 : n;

        while (count--) {
            if (m->depth == m->depth_room) {
                m->depth_room *= 2;
                m->decisions = realloc(m->decisions, m->depth_room * sizeof(*m->decisions));
                if (!m->decisions)
                    abort();
            }
            m->decisions[m->depth++] = (struct decision){.taken = (uint16_t)taken};
        }
        text = *end ? end + 1 : end;
    }
}

void model_replay(const struct model_test *test, char *text)
{
    struct model *m = model_state;

    test_reset(test);
    m->replaying = true;
    decisions_parse(text);
    execution_run();
    fprintf(stderr, "%s: repeated without a failure:\n", m->test->name);
    print_trace();
}

/* What it has not come by yet is no failure: it may lie in what was not walked through. */
static void report_stopped(unsigned limit)
{
    const struct model *m = model_state;
    uint32_t missing = m->test->must_reach & ~m->came_by;

    printf("%-58s stopped after %u s: %llu executions, %zu states, bound %u/%u", m->test->name,
           limit, (unsigned long long)m->executions, m->visited.count, m->bound, m->stale_bound);
    if (missing)
        printf(", not come by yet: %#x", missing);
    printf("\n");
}

enum model_outcome model_explore(const struct model_test *test)
{
    struct model *m = model_state;
    unsigned limit = model_setting("WEFT_MODEL_SECONDS", 0);
    double from = now();

    test_reset(test);
    do {
        execution_run();
        if (m->discovered) {
            m->discovered = false;
            m->restarts++;
            m->depth = 0;
            visited_clear(&m->visited, 1 << 16);
            visited_clear(&m->ends, 1 << 10);
            continue;
        }
        if (limit && (m->executions & 255) == 0 && now() - from > limit) {
            report_stopped(limit);
            return MODEL_STOPPED;
        }
        if (!decisions_advance())
            break;
    } while (true);
    if (m->count_ends)
        printf("%-58s %9zu ends\n", test->name, m->ends.count);
    if (test->must_reach & ~m->came_by) {
        printf("%-58s FAILED: no execution came by %#x\n", test->name,
               test->must_reach & ~m->came_by);
        return MODEL_FAILED;
    }
    printf("%-58s %9llu executions, %8zu states, bound %u/%u, %5.2f s\n", test->name,
           (unsigned long long)m->executions, m->visited.count, m->bound, m->stale_bound,
           now() - from);
    return MODEL_PASSED;
}
