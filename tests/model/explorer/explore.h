/* SPDX-License-Identifier: MIT */
/*
 * explore.h - the explorer from inside: what its files share.
 *
 *     program.c   main: what is asked for, a process for each test
 *     explore.c   decisions, backtracking, states met before, the report
 *     thread.c    threads, and who runs next
 *     memory.c    atomics: messages, views, fences
 *     shadow.c    plain accesses and allocations: races, use after free
 *     kernel.c    the system calls of src/base/sys.h, and of these in
 *     events.c    epoll, eventfd, timerfd, threads
 *
 * All state is in one mapping behind model_state, because the program's static data is put back before
 * each execution.
 */
#ifndef MODEL_EXPLORE_H
#define MODEL_EXPLORE_H

#include "model/model.h"

#define THREADS_MAX   8
#define LOCATIONS_MAX 4096 /* atomics that an execution may use */
#define SHARED_MAX    256  /* of those, ones that several threads use and somebody writes */
#define TRACE_MAX     8192
#define STEPS_MAX     20000
#define VIEWS_MAX     8192         /* releasing stores of an execution */
#define STACK_SIZE    (256 * 1024) /* of a thread */
#define MESSAGE_NONE  UINT32_MAX
#define ATOMIC_LINES  4096

/* What a thread has seen: of each thread, up to which of its steps; of each shared location, up to
 * which of its messages. */
struct view {
    uint32_t clock[THREADS_MAX];
    uint16_t seen[SHARED_MAX];
};

/* One store. */
struct message {
    uint64_t value;
    const struct view *view; /* what an acquiring reader learns; NULL: nothing */
    uint32_t thread;
    uint32_t clock;
};

struct location {
    uintptr_t at; /* 0: free slot */
    uint32_t size;
    int index; /* into view.seen; -1: not shared */
    /* of this execution */
    uint32_t execution;
    uint32_t count, room; /* messages; the last is the newest */
    uint32_t floor;       /* older ones are gone: a plain write came after them */
    uint32_t users;       /* threads, as a bit set */
    bool written;         /* by an atomic access while several threads lived */
    bool dirty;           /* a plain write is not yet a message */
    uint32_t dirty_thread, dirty_clock;
    uint64_t hash; /* of the messages */
    struct message *messages;
};

enum thread_status { THREAD_UNUSED, THREAD_READY, THREAD_BLOCKED, THREAD_FINISHED };

struct thread {
    uint32_t id;
    enum thread_status status;
    void *sp;
    char *stack;
    char *tls;
    void (*fn)(void *arg);
    void *arg;
    /* while blocked */
    bool (*ready)(void *arg);
    void *ready_arg;
    uint64_t until;
    bool in_time;
    const char *waits;    /* what for, for the report */
    const void *limit_of; /* what `until` was taken from: events.c */
    /* what it knows */
    struct view now;       /* has seen */
    struct view acquire;   /* will have seen after a fence */
    struct view released;  /* carried by its relaxed stores: up to its last fence */
    struct location *last; /* read last, and what: for pauses */
    uint32_t last_message;
    bool fresh;       /* no older values until it has stored something */
    uint64_t history; /* hash of all that it has read and decided */
};

struct visited_set {
    struct visited *slots;
    size_t room, count;
};

struct decision {
    uint16_t taken, of;
};

struct step {
    uint32_t thread;
    const struct model_site *site; /* or: */
    const char *what;
    uintptr_t at;
    uint64_t old, new;
    uint8_t order;
    uint8_t behind; /* how many messages older than the newest */
    bool failed;
    bool preempted; /* somebody else could have gone on */
};

struct model {
    /* set once per program */
    const struct model_site *sites;
    size_t site_count;
    const char *weak_file; /* a mutation: the site whose ordering is replaced; NULL: none */
    int weak_line, weak_op, weak_from, weak_to;
    int weak_which;   /* 0 the ordering of success, 1 of failure, -1 either */
    uint8_t *reached; /* by site */
    size_t tls_size;
    void *tls_at;
    char *tls_first;
    char *statics_first; /* a copy */
    void *host_sp;

    /* of this test */
    const struct model_test *test;
    unsigned bound, stale_bound;
    struct decision *decisions;
    size_t depth, depth_room;
    bool replaying;
    bool forgetful;  /* walk through states met before as well */
    bool discovered; /* a location turned out to be shared: begin again */
    struct visited_set visited, ends;
    bool count_ends;
    uint64_t executions, pruned, restarts;
    size_t depth_max;
    uint32_t came_by;   /* model_reached, in all executions */
    uint32_t execution; /* its number; never 0 */

    /* of this execution */
    bool active;
    bool over; /* pruned or done */
    size_t at; /* decisions made */
    uint32_t preemptions_left, stale_left;
    struct thread threads[THREADS_MAX];
    uint32_t thread_count, alive;
    struct thread *running;
    uint64_t clock;
    uint64_t steps;
    struct view sc; /* seq_cst fences and accesses */
    uint64_t memory_hash;
    struct view *views;
    size_t view_count, view_room;
    struct step *trace;

    /* locations last for the test, so that shared ones stay known */
    struct location *locations;
    uint8_t atomic_lines[ATOMIC_LINES]; /* by hash of a line's address: may it hold one? */
    uint32_t shared_count, shared_at_begin;
    uintptr_t shared[SHARED_MAX];
    struct shadow *shadow;
};

extern struct model *model_state;

/* Where the program's static data lies, by the linker. NOLINTNEXTLINE(bugprone-reserved-identifier) */
extern char __data_start, _end;

enum model_outcome { MODEL_PASSED, MODEL_FAILED, MODEL_STOPPED };

/* explore.c */
extern const char *const model_op_names[];
unsigned model_setting(const char *name, unsigned otherwise); /* a number of the environment */
enum model_outcome model_explore(const struct model_test *test);
void model_replay(const struct model_test *test, char *decisions);
unsigned model_decide(unsigned of);
bool model_met_before(void); /* has this state been explored already, with as much left? */
__attribute__((noreturn)) void model_leave(void); /* end this execution from inside a thread */
void model_trace(const struct step *s);
__attribute__((noreturn, format(printf, 1, 2))) void model_report(const char *format, ...);

/* thread.c */
void threads_begin(void);
void threads_run(void); /* one execution of the test */
void thread_step(bool visible);
void thread_tick(struct thread *t); /* a step was made: what follows is a new epoch */

/* memory.c */
void memory_begin(void);
void memory_share(uintptr_t at);                    /* as known from an earlier execution */
void memory_plain_write(uintptr_t at, size_t size); /* memory that may hold atomics */
void view_join(struct view *to, const struct view *from);

/* shadow.c */
void shadow_init(void);
void shadow_begin(void);
void shadow_atomic(uintptr_t at, size_t size, bool write, const struct model_site *site);
bool shadow_leaked(void); /* with a message */
/* What memcpy and memset of the watched code are. */
void *model_memcpy(void *to, const void *from, size_t size);
void *model_memset(void *to, int byte, size_t size);
/* Where memory of an execution lies, for addresses that are the same in another process. */
uintptr_t shadow_arena(void);

static inline uint64_t model_mix(uint64_t h, uint64_t v)
{
    h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    h ^= h >> 29;
    return h;
}

#endif
