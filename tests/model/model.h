/* SPDX-License-Identifier: MIT */
/*
 * model.h - tests that run under the explorer: every interleaving of a few threads, up to a bound.
 *
 * IDEA     A test is a few short functions, each a thread. The explorer runs them again and again on one
 *          processor, and at every step (an atomic access, a system call) decides who goes on and, when a
 *          load may see more than one value, which. It backtracks over these decisions until none
 *          is left. A failure prints the steps and a line that repeats them.
 *
 *              static struct wf_deque d;
 *              static void begin(void)   { CHECK(wf_deque_init(&d, true) == 0); }
 *              static void owner(void)   { CHECK(wf_deque_push(&d, &task[0])); ... }
 *              static void thief(void)   { ... }
 *              static void end(void)     { ...; wf_deque_release(&d); }
 *
 *              const struct model_test model_tests[] = {
 *                  {.name = "one is taken once", .begin = begin, .thread = {owner, thief}, .end = end},
 *                  {0}};
 *
 * WHO      begin and end run alone, before and after the threads. Static data of the program is put back to
 *          what it was before each execution; memory comes from wf_sys_malloc and must be
 *          given back by the end.
 * BOUNDS   preemptions: how often a thread that could go on is interrupted. stale: how many loads in
 *          one execution see an older value than the newest (or fail as a weak
 *          compare-and-swap may). WEFT_MODEL_BOUND and WEFT_MODEL_STALE replace both. See
 *          explorer/program.c for more of these, and
 *          docs/design/011-explorer.md for what this covers and what not.
 */
#ifndef MODEL_H
#define MODEL_H

#include "base/atomic.h"

#include <stdarg.h>

#define MODEL_THREADS 5 /* of a test, besides the first, which runs begin and end */
#define MODEL_DEFAULT 0
#define MODEL_NONE    255 /* as a bound: none at all */

struct model_test {
    const char *name; /* a claim */
    void (*begin)(void);
    void (*thread[MODEL_THREADS])(void);
    void (*end)(void);
    uint8_t preemptions; /* at most; MODEL_DEFAULT: 2 */
    uint8_t stale;       /* at most; MODEL_DEFAULT: 2 */
    bool deep;           /* only in the full run, and whenever it is chosen by name */
    bool leaks;          /* memory need not be given back */
    bool late_clock;     /* time passes only when nobody can go on, not at any moment */
    const char *expect;  /* words of the failure that must be reported; NULL: none may */
    uint32_t must_reach; /* bits: each of these some execution must come by; see model_reached */
};

/* The tests of the program, ended by one without a name. The explorer has main(). */
extern const struct model_test model_tests[];

#define CHECK(x) ((x) ? (void)0 : model_fail(__FILE__, __LINE__, "%s", #x))
#define CHECK_EQ(want, got) \
 model_check_eq((long long)(want), (long long)(got), #got, __FILE__, __LINE__)

__attribute__((noreturn, format(printf, 3, 4))) void model_fail(const char *file, int line,
                                                                const char *format, ...);
void model_check_eq(long long want, long long got, const char *what, const char *file, int line);

/* This execution came by here: bit 0 to 31, see must_reach. So a test claims what can happen, too. */
void model_reached(unsigned bit);

/* Any of 0 .. n-1: each is tried. */
unsigned model_choose(unsigned n);

/* Goes on when ready(arg) is true: whoever makes it true must happen before, or the reads race. at: the virtual
 * clock at which it goes on in any case; UINT64_MAX: never. Returns whether it is true. */
bool model_block(bool (*ready)(void *arg), void *arg, uint64_t at);

/* Threads made by a thread; a number above 0. Joined or not, all have ended before `end` runs. */
unsigned model_thread_start(void (*fn)(void *arg), void *arg);
void model_thread_join(unsigned thread);
unsigned model_thread_self(void);

/* An object that is not memory (a descriptor, a futex queue) was used: a step of its own, ordered
 * with all other uses. `object` is any address that stands for it. */
void model_use(const char *what, const void *object);
/* The same, but what the thread did before is not seen by who uses it next. */
void model_use_unordered(const char *what, const void *object);

/* Everything that every thread has done so far is seen by all, as after membarrier(2). */
void model_barrier_all(void);

/* What the library has to say in this execution nobody wants to read: it is misused on purpose. */
void model_hush(void);

/* From here on membarrier(2) does nothing but to return this. */
void model_membarrier_fails(int rc);

/* A descriptor whose readiness (EPOLLIN, ...) the test sets: each call is an edge. */
int model_file_open(void);
bool model_file_set(int fd, uint32_t events); /* false: it is closed */
/* A call that takes all there is: is it ready for any of these? It is not any more. */
bool model_file_take(int fd, uint32_t events);
/* Somebody connects to a listening socket. */
void model_connection(int fd);
/* The next EPOLL_CTL_ADD fails with this. */
void model_epoll_add_fails(int rc);

/* ns; moves only when every thread waits, or one waits with a limit. */
uint64_t model_clock(void);

/* Memory of this execution: zeroed, never reused in it. alignment: a power of two. */
void *model_alloc(size_t size, size_t alignment);
void model_free(void *p);
size_t model_live(void); /* blocks not given back */
/* The next n allocations of the library in this thread find no memory; UINT_MAX: all. Returns how many such were
 * left of the call before. Mappings do not count. */
unsigned model_alloc_fails(unsigned n);
/* Mappings: aligned to 64 KiB, given back in any part, not counted as live. */
void *model_map(size_t size);
void model_unmap(void *p, size_t size);
void model_discard(void *p, size_t size); /* reads as zero from here on */

#endif
