/* SPDX-License-Identifier: MIT */
/*
 * shadow.c - every plain access of the program: races, use after free, out of bounds, leaks.
 *
 * IDEA     The library and the tests are compiled as for ThreadSanitizer, but the functions that its calls go
 *          to are these. For each eight bytes that were touched, and each set of bytes
 *          among them that is used as one, it is known by whom and when they were last read and
 *          written. Two accesses, one of them a plain write or one plain and the other a write, of which
 *          neither happens before the other, are a race. Freeing is a write of all bytes.
 *          So an ordering that is too weak is noticed by what it fails to protect.
 * MEMORY   Each thread allocates from a slice of its own, so that addresses do not depend on the
 *          interleaving. Nothing is reused within an execution.
 */
#include "model/explorer/explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CELLS_MAX  16384
#define TABLE_SIZE 65536
#define MASKS_MAX  8
#define SLICE_SIZE (8u << 20)
#define GRAIN      16

#define MAP_ALIGNMENT 65536u
#define PAGE          4096
#define PAGES         (THREADS_MAX * (SLICE_SIZE / PAGE))

enum { WRITE, READ, ATOMIC_WRITE, ATOMIC_READ, KINDS };

/* Accesses to one set of bytes of the eight. clock 0: never. */
struct access {
    uint8_t mask;
    uint32_t clock[KINDS][THREADS_MAX];
    const void *where[KINDS][THREADS_MAX];
};

struct cell {
    uintptr_t granule;
    unsigned count;
    struct access access[MASKS_MAX];
};

enum { BYTE_OUTSIDE, BYTE_LIVE, BYTE_FREED };

struct block {
    uintptr_t at;
    size_t size;
};

struct shadow {
    char *arena;
    uint8_t *bytes; /* state of each grain of the arena, where its page has none */
    uint8_t pages[PAGES];
    uint8_t written[PAGES]; /* to be cleared before the next execution */
    uint16_t dirty[PAGES];
    unsigned dirty_count;
    size_t used[THREADS_MAX];
    size_t live;
    uint32_t execution; /* of the table's entries */

    struct {
        uint32_t execution, cell;
    } table[TABLE_SIZE];

    uint32_t cell_count;
    struct cell cells[CELLS_MAX];
};

static struct shadow *shadow_self(void)
{
    return model_state->shadow;
}

static void *shadow_map(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);

    if (p == MAP_FAILED)
        abort();
    return p;
}

void shadow_init(void)
{
    struct shadow *s = shadow_map(sizeof(*s));

    model_state->shadow = s;
    /* Aligned, so that an alignment within a slice is one in memory. */
    s->arena = shadow_map((THREADS_MAX + 1) * (size_t)SLICE_SIZE);
    s->arena += SLICE_SIZE - (uintptr_t)s->arena % SLICE_SIZE;
    s->bytes = shadow_map(THREADS_MAX * (size_t)SLICE_SIZE / GRAIN);
}

uintptr_t shadow_arena(void)
{
    return (uintptr_t)shadow_self()->arena;
}

void shadow_begin(void)
{
    struct shadow *s = shadow_self();

    for (unsigned i = 0; i < s->dirty_count; i++) {
        memset(s->arena + (size_t)s->dirty[i] * PAGE, 0, PAGE);
        memset(s->bytes + (size_t)s->dirty[i] * (PAGE / GRAIN), BYTE_OUTSIDE, PAGE / GRAIN);
        s->written[s->dirty[i]] = 0;
    }
    s->dirty_count = 0;
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        memset(s->pages + (size_t)i * (SLICE_SIZE / PAGE), 0, (s->used[i] + PAGE - 1) / PAGE);
        s->used[i] = 0;
    }
    s->live = 0;
    s->cell_count = 0;
    s->execution++;
}

/* Memory of the arena is about to change. */
static void shadow_dirty(uintptr_t at, size_t size)
{
    struct shadow *s = shadow_self();
    size_t from = at - (uintptr_t)s->arena;

    if (from >= THREADS_MAX * (size_t)SLICE_SIZE)
        return;
    for (size_t page = from / PAGE; page <= (from + size - 1) / PAGE; page++)
        if (!s->written[page]) {
            s->written[page] = 1;
            s->dirty[s->dirty_count++] = (uint16_t)page;
        }
}

static uint8_t shadow_state(size_t from)
{
    const struct shadow *s = shadow_self();
    uint8_t page = s->pages[from / PAGE];

    return page ? page : s->bytes[from / GRAIN];
}

/* --- the report --- */

static void say_where(const char *what, unsigned thread, const void *where)
{
    extern const char __executable_start; /* NOLINT(bugprone-reserved-identifier) */
    const struct model *m = model_state;
    const struct model_site *site = where;
    char command[512], path[256];
    ssize_t n;

    if (site >= m->sites && site < m->sites + m->site_count) {
        fprintf(stderr, "  %s by T%u at %s:%d (%s)\n", what, thread, site->file, site->line,
                site->what);
        return;
    }
    n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = 0;
    (void)snprintf(command, sizeof(command), "addr2line -e '%s' -f -p -s %#zx 1>&2", path,
                   (size_t)((uintptr_t)where - (uintptr_t)&__executable_start) - 1);
    fprintf(stderr, "  %s by T%u at ", what, thread);
    fflush(stderr);
    if (system(command) != 0) /* NOLINT: a test's own report */
        fprintf(stderr, "%p\n", where);
}

static const char *const kind_names[] = {"plain write", "plain read", "atomic write",
                                         "atomic read"};

static void shadow_race(uintptr_t at, int kind, const void *where, const struct access *a,
                        int other_kind, unsigned other)
{
    fprintf(stderr, "\na race for %#zx:\n", (size_t)at);
    say_where(kind_names[kind], model_state->running->id, where);
    say_where(kind_names[other_kind], other, a->where[other_kind][other]);
    model_report("a race between T%u and T%u", model_state->running->id, other);
}

/* --- accesses --- */

static struct cell *cell_of(uintptr_t granule)
{
    struct shadow *s = shadow_self();
    size_t i = (size_t)(model_mix(2, granule) % TABLE_SIZE);
    struct cell *c;

    while (s->table[i].execution == s->execution) {
        c = &s->cells[s->table[i].cell];
        if (c->granule == granule)
            return c;
        i = (i + 1) % TABLE_SIZE;
    }
    if (s->cell_count == CELLS_MAX)
        model_report("more than %d words touched", CELLS_MAX);
    s->table[i].execution = s->execution;
    s->table[i].cell = s->cell_count;
    c = &s->cells[s->cell_count++];
    c->granule = granule;
    c->count = 0;
    return c;
}

static bool kinds_conflict(int a, int b)
{
    static const bool conflict[KINDS][KINDS] = {
        [WRITE] = {true, true, true, true},
        [READ] = {true, false, true, false},
        [ATOMIC_WRITE] = {true, true, false, false},
        [ATOMIC_READ] = {true, false, false, false},
    };

    return conflict[a][b];
}

static void cell_check(const struct cell *c, uint8_t mask, int kind, const void *where)
{
    const struct thread *t = model_state->running;
    unsigned threads = model_state->thread_count;

    for (unsigned i = 0; i < c->count; i++) {
        const struct access *a = &c->access[i];

        if (!(a->mask & mask))
            continue;
        for (int k = 0; k < KINDS; k++)
            for (unsigned other = 0; kinds_conflict(kind, k) && other < threads; other++)
                if (other != t->id && a->clock[k][other] > t->now.clock[other])
                    shadow_race(c->granule, kind, where, a, k, other);
    }
}

static void cell_record(struct cell *c, uint8_t mask, int kind, const void *where)
{
    const struct thread *t = model_state->running;
    struct access *a = NULL;

    for (unsigned i = 0; i < c->count && !a; i++)
        if (c->access[i].mask == mask)
            a = &c->access[i];
    if (!a) {
        if (c->count == MASKS_MAX)
            model_report("one word used in more than %d ways", MASKS_MAX);
        a = &c->access[c->count++];
        memset(a, 0, sizeof(*a));
        a->mask = mask;
    }
    a->clock[kind][t->id] = t->now.clock[t->id];
    a->where[kind][t->id] = where;
}

static void check_memory(uintptr_t at, size_t size, int kind, const void *where)
{
    const struct shadow *s = shadow_self();
    uintptr_t from = at - (uintptr_t)s->arena;
    uint8_t state;

    if (from >= THREADS_MAX * (size_t)SLICE_SIZE)
        return;
    state = shadow_state(from);
    if (state == BYTE_LIVE)
        state = shadow_state(from + size - 1);
    if (state == BYTE_LIVE)
        return;
    fprintf(stderr, "\n");
    say_where(kind_names[kind], model_state->running->id, where);
    model_report("%s of %zu bytes at %#zx",
                 state == BYTE_FREED ? "use after free" : "out of bounds", size, (size_t)at);
}

static void shadow_access(uintptr_t at, size_t size, int kind, const void *where)
{
    const struct model *m = model_state;

    if (!m || !m->active || size == 0 || at - (uintptr_t)m->tls_at < m->tls_size)
        return; /* a thread-local has one address here, and a copy for each thread */
    check_memory(at, size, kind, where);
    if (kind == WRITE || kind == ATOMIC_WRITE)
        shadow_dirty(at, size);
    if (m->alive < 2)
        return;
    while (size) {
        unsigned first = at & 7, n = 8 - first < size ? 8 - first : (unsigned)size;
        uint8_t mask = (uint8_t)(((1u << n) - 1) << first);
        struct cell *c = cell_of(at & ~(uintptr_t)7);

        cell_check(c, mask, kind, where);
        cell_record(c, mask, kind, where);
        at += n;
        size -= n;
    }
}

void shadow_atomic(uintptr_t at, size_t size, bool write, const struct model_site *site)
{
    shadow_access(at, size, write ? ATOMIC_WRITE : ATOMIC_READ, site);
}

static void plain(const void *at, size_t size, bool write, const void *where)
{
    const struct model *m = model_state;

    if (!m || !m->active)
        return;
    shadow_access((uintptr_t)at, size, write ? WRITE : READ, where);
    if (write)
        memory_plain_write((uintptr_t)at, size);
}

/* What the compiler calls. NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming) */
#define HOOK(name, size, write)                        \
 void name(void *at);                                  \
 void name(void *at)                                   \
 {                                                     \
  plain(at, size, write, __builtin_return_address(0)); \
 }
HOOK(__tsan_read1, 1, false)
HOOK(__tsan_read2, 2, false)
HOOK(__tsan_read4, 4, false)
HOOK(__tsan_read8, 8, false)
HOOK(__tsan_read16, 16, false)
HOOK(__tsan_write1, 1, true)
HOOK(__tsan_write2, 2, true)
HOOK(__tsan_write4, 4, true)
HOOK(__tsan_write8, 8, true)
HOOK(__tsan_write16, 16, true)
HOOK(__tsan_unaligned_read2, 2, false)
HOOK(__tsan_unaligned_read4, 4, false)
HOOK(__tsan_unaligned_read8, 8, false)
HOOK(__tsan_unaligned_read16, 16, false)
HOOK(__tsan_unaligned_write2, 2, true)
HOOK(__tsan_unaligned_write4, 4, true)
HOOK(__tsan_unaligned_write8, 8, true)
HOOK(__tsan_unaligned_write16, 16, true)

void __tsan_read_range(void *at, unsigned long size);

void __tsan_read_range(void *at, unsigned long size)
{
    plain(at, size, false, __builtin_return_address(0));
}

void __tsan_write_range(void *at, unsigned long size);

void __tsan_write_range(void *at, unsigned long size)
{
    plain(at, size, true, __builtin_return_address(0));
}

void __tsan_init(void);

void __tsan_init(void)
{
}

void __tsan_func_entry(void *pc);

void __tsan_func_entry(void *pc)
{
    (void)pc;
}

void __tsan_func_exit(void);

void __tsan_func_exit(void)
{
}

/* NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming) */

void *model_memcpy(void *to, const void *from, size_t size)
{
    plain(from, size, false, __builtin_return_address(0));
    plain(to, size, true, __builtin_return_address(0));
    return memcpy(to, from, size);
}

void *model_memset(void *to, int byte, size_t size)
{
    plain(to, size, true, __builtin_return_address(0));
    return memset(to, byte, size);
}

/* --- memory --- */

/* A block begins with its size, one grain before it; another grain behind it stays free. */
void *model_alloc(size_t size, size_t alignment)
{
    struct shadow *s = shadow_self();
    unsigned slice = model_state->running ? model_state->running->id : 0;
    size_t base = (size_t)slice * SLICE_SIZE, at;

    if (alignment < GRAIN)
        alignment = GRAIN;
    at = (s->used[slice] + GRAIN + alignment - 1) / alignment * alignment;
    size = (size + (size == 0) + GRAIN - 1) / GRAIN * GRAIN;
    if (at + size + 2 * GRAIN > SLICE_SIZE)
        model_report("one thread allocated more than %u bytes", SLICE_SIZE);
    s->used[slice] = at + size + GRAIN;
    shadow_dirty((uintptr_t)s->arena + base + at - GRAIN, size + GRAIN);
    memset(s->bytes + (base + at) / GRAIN, BYTE_LIVE, size / GRAIN);
    memcpy(s->arena + base + at - sizeof(size), &size, sizeof(size));
    s->live++;
    return s->arena + base + at;
}

/* Giving memory back must be ordered behind all that anyone did with it. */
static void shadow_gone(uintptr_t at, size_t size, const void *where)
{
    const struct shadow *s = shadow_self();

    if (model_state->active && model_state->alive > 1)
        for (uint32_t i = 0; i < s->cell_count; i++)
            if (s->cells[i].granule - at < size)
                cell_check(&s->cells[i], 0xff, WRITE, where);
}

void model_free(void *p)
{
    struct shadow *s = shadow_self();
    const void *where = __builtin_return_address(0);
    uintptr_t at = (uintptr_t)p, from = at - (uintptr_t)s->arena;
    size_t size;

    if (!p)
        return;
    if (from >= THREADS_MAX * (size_t)SLICE_SIZE || s->bytes[from / GRAIN] != BYTE_LIVE ||
        s->bytes[from / GRAIN - 1] == BYTE_LIVE)
        model_report("%p is freed and was not allocated, or freed before", p);
    memcpy(&size, (char *)p - sizeof(size), sizeof(size));
    shadow_gone(at, size, where);
    memset(s->bytes + from / GRAIN, BYTE_FREED, size / GRAIN);
    s->live--;
}

void *model_map(size_t size)
{
    struct shadow *s = shadow_self();
    unsigned slice = model_state->running ? model_state->running->id : 0;
    size_t base = (size_t)slice * SLICE_SIZE, at;

    at = (s->used[slice] + MAP_ALIGNMENT - 1) / MAP_ALIGNMENT * MAP_ALIGNMENT;
    if (at + size > SLICE_SIZE)
        model_report("one thread mapped more than %u bytes", SLICE_SIZE);
    s->used[slice] = at + (size + PAGE - 1) / PAGE * PAGE;
    memset(s->pages + (base + at) / PAGE, BYTE_LIVE, (size + PAGE - 1) / PAGE);
    return s->arena + base + at;
}

void model_unmap(void *p, size_t size)
{
    struct shadow *s = shadow_self();
    uintptr_t at = (uintptr_t)p;

    size_t from = at - (uintptr_t)s->arena, page, part;

    shadow_gone(at, size, __builtin_return_address(0));
    for (; size; from += part, size -= part) {
        page = from / PAGE;
        part = PAGE - from % PAGE < size ? PAGE - from % PAGE : size;
        if (part == PAGE) {
            s->pages[page] = BYTE_FREED;
            continue;
        }
        /* Sizes are small here: parts of pages go, too. */
        shadow_dirty((uintptr_t)s->arena + page * PAGE, PAGE);
        if (s->pages[page])
            memset(s->bytes + page * (PAGE / GRAIN), s->pages[page], PAGE / GRAIN);
        s->pages[page] = 0;
        memset(s->bytes + from / GRAIN, BYTE_FREED, part / GRAIN);
    }
}

/* A write of all that anyone has used so far: to touch every word would take longer than the rest. */
void model_discard(void *p, size_t size)
{
    const struct shadow *s = shadow_self();
    uintptr_t at = (uintptr_t)p;

    for (uint32_t i = 0; i < s->cell_count; i++)
        if (s->cells[i].granule - at < size)
            plain((void *)s->cells[i].granule, 8, true, __builtin_return_address(0)); /* NOLINT */
    memset(p, 0, size);
}

size_t model_live(void)
{
    return shadow_self()->live;
}

bool shadow_leaked(void)
{
    if (model_live())
        fprintf(stderr, "\n%zu blocks of memory were not given back\n", model_live());
    return model_live() != 0;
}
