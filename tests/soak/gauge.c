/* SPDX-License-Identifier: MIT */
/*
 * gauge.c - what the process holds between two rounds: nothing that was not there before the first.
 *
 * IDEA     Descriptors, threads, task headers that somebody refers to, and stacks out of the pool are
 *          counted, and must come back to what they were: one too many is a leak. Memory is measured,
 *          and must stay near the most that the first rounds left: tables that only grow, and what
 *          malloc keeps, are not leaks.
 * SLACK    HEAP_SLACK of malloc's memory, RSS_SLACK of resident memory, after trimming. Not measured
 *          under sanitizers and Valgrind, which have their own idea of memory and look for
 *          leaks themselves.
 */
#include "fiber/stack.h"
#include "soak.h"
#include "task/slab.h"
#include "task/task.h"

#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define FIRST_ROUNDS 8
#define HEAP_SLACK   ((size_t)512 << 10)
#define RSS_SLACK    ((size_t)32 << 20)

/* A thread that was joined may still be seen by the kernel for a moment. */
#define SETTLE_MS 5000u

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(SANITIZED)
# define GAUGE_MEMORY false
#else
# define GAUGE_MEMORY (!ON_VALGRIND)
#endif

static struct {
    struct soak_gauge begin;  /* and what was forgiven since */
    size_t heap_max, rss_max; /* of the first rounds */
    unsigned rounds;
} gauge;

static size_t gauge_count(const char *folder)
{
    DIR *dir = opendir(folder);
    size_t n = 0;

    CHECK(dir);
    while (readdir(dir))
        n++;
    CHECK_EQ(0, closedir(dir));
    return n - 2;
}

static size_t gauge_rss(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    size_t pages = 0, resident = 0;

    CHECK(f);
    CHECK_EQ(2, fscanf(f, "%zu %zu", &pages, &resident));
    CHECK_EQ(0, fclose(f));
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static bool gauge_visit(void *slot, void *arg)
{
    const struct weft_task *t = slot;

    /* relaxed: nothing else is running */
    if (wf_task_refs(wf_load_u64(&t->state, WF_RELAXED)) > 0)
        ++*(size_t *)arg;
    return true;
}

struct soak_gauge soak_gauge_read(void)
{
    struct soak_gauge g = {0};
    struct wf_slab_cursor cursor = {0};
    struct wf_stack_stats stacks;

    wf_stack_pool_trim();
    (void)malloc_trim(0);
    (void)wf_slab_walk(&cursor, gauge_visit, &g.headers);
    wf_stack_pool_stats(&stacks);
    g.stacks = stacks.out;
    g.mapped = stacks.mapped_bytes;
    g.descriptors = gauge_count("/proc/self/fd");
    g.threads = gauge_count("/proc/self/task");
    g.rss = gauge_rss();
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    g.heap = mallinfo2().uordblks + mallinfo2().hblkhd;
#endif
    return g;
}

void soak_gauge_open(void)
{
    gauge.begin = soak_gauge_read();
}

void soak_gauge_forgive(const struct soak_gauge *before, const struct soak_gauge *after)
{
    gauge.begin.descriptors += after->descriptors - before->descriptors;
    gauge.begin.headers += after->headers - before->headers;
    gauge.begin.stacks += after->stacks - before->stacks;
    gauge.heap_max += after->heap - before->heap;
    gauge.rss_max += after->rss > before->rss ? after->rss - before->rss : 0;
}

static void gauge_list_descriptors(void)
{
    for (int fd = 0; fd < 4096; fd++) {
        char path[64], target[256];
        ssize_t n;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        n = readlink(path, target, sizeof(target) - 1);
        if (n > 0)
            (void)fprintf(stderr, "soak: descriptor %d is %.*s\n", fd, (int)n, target);
    }
}

static void gauge_claim_memory(const struct soak_gauge *g)
{
    if (gauge.rounds++ < FIRST_ROUNDS) {
        gauge.heap_max = g->heap > gauge.heap_max ? g->heap : gauge.heap_max;
        gauge.rss_max = g->rss > gauge.rss_max ? g->rss : gauge.rss_max;
        return;
    }
    if (g->heap > gauge.heap_max + HEAP_SLACK)
        test_failed(__FILE__, __LINE__,
                    "%zu bytes of malloc's memory are in use, after at most %zu", g->heap,
                    gauge.heap_max);
    if (g->rss > gauge.rss_max + RSS_SLACK)
        test_failed(__FILE__, __LINE__, "%zu bytes are resident, after at most %zu", g->rss,
                    gauge.rss_max);
}

struct soak_gauge soak_gauge_claim(void)
{
    struct timespec ms = {.tv_nsec = 1000000};
    struct soak_gauge g = soak_gauge_read();

    for (unsigned i = 0; i < SETTLE_MS * test_slow() && g.threads > gauge.begin.threads; i++) {
        (void)nanosleep(&ms, NULL);
        g = soak_gauge_read();
    }
    if (g.descriptors != gauge.begin.descriptors)
        gauge_list_descriptors();
    CHECK_EQ(gauge.begin.threads, g.threads);
    CHECK_EQ(gauge.begin.descriptors, g.descriptors);
    CHECK_EQ(gauge.begin.headers, g.headers);
    CHECK_EQ(gauge.begin.stacks, g.stacks);
    if (gauge.begin.stacks == 0)
        CHECK_EQ(0, g.mapped);
    if (GAUGE_MEMORY)
        gauge_claim_memory(&g);
    return g;
}
