/* SPDX-License-Identifier: MIT */
/*
 * soak.h - the soak: random mixes of everything that the library does, in rounds of a few seconds,
 * for as long as one likes.
 *
 * IDEA     A round is a play. Its plan (plan.c) derives wholly from a seed and the round's number: the
 *          runtimes side by side and their configurations, how each ends, and the weights of the
 *          acts. On every runtime a root (round.c) lets actors begin; an actor (actor.c) is a task
 *          that carries its own random numbers and does a few acts, one after another; most acts
 *          spawn, wait, cancel or transfer something and claim that it went as the headers
 *          say. Around them plain threads deliver, wake, spawn and make further runtimes.
 * OWNS     The stage is everything that the acts of a round share; round.c sets it up and
 *          takes it down.
 * CLAIMS   In an act: the answers that are documented, and the values that were sent. At the end of a round: the
 *          ledger balances (ledger.c), and nothing is left in the process (gauge.c). At all times:
 *          something moves (watch.c).
 *
 *     main.c      arguments, a supervisor and its child, the log, the summary
 *     plan.c      what a round is                      round.c     playing it
 *     actor.c     actors, and the table of acts        tree.c      acts: tasks and their children
 *     wait.c      acts: futures and combinators        timer.c     acts: clocks and deadlines
 *     hand.c      acts: futures polled by hand         machine.c   acts: the stack, the processor, fork
 *     sets.c      acts: sets of futures, and loops     budget.c    acts: the budget, taken by polls
 *     group.c     acts: sets and maps of tasks, and scopes
 *     delay.c     acts: ticks, delay queues, and a runtime whose clock stands still
 *     channel.c   acts: channels, and requests with answers
 *     flow.c      verified byte streams                net.c       acts: connections
 *     server.c    what they connect to                 lives.c     threads that make and end runtimes
 *     lock.c      acts: locks that all share
 *     slot.c      one-shot hand-overs, the office      queue.c     bounded hand-overs
 *     party.c     an act: notifying, meeting, waiting for tokens and conditions
 *     attic.c     wakers that are kept                 stackless.c tasks without a stack
 *     cast.c      acts: one value to many
 *     ledger.c    what began and what ended            gauge.c     descriptors, threads, memory
 *     watch.c     the watchdog and the verdict
 */
#ifndef TEST_SOAK_H
#define TEST_SOAK_H

#include "support.h"

#include <pthread.h>
#include <weft/metrics.h>

/* --- chance ----------------------------------------------------------------------------- */

/* Below n, which is not 0. */
static inline uint64_t soak_roll(uint64_t *rand, uint64_t n)
{
    return (test_rand(rand) >> 11) % n;
}

static inline bool soak_one_in(uint64_t *rand, uint64_t n)
{
    return soak_roll(rand, n) == 0;
}

/* --- the ledger -------------------------------------------------------------------------- */

/* What begins must end, exactly once, before the round is over. */
enum soak_kind {
    SOAK_TASK,      /* by the runtimes' hooks */
    SOAK_BODY,      /* a fiber's function entered; its first deferred call run */
    SOAK_STACKLESS, /* spawned; dropped */
    SOAK_DEFER,
    SOAK_LOCAL,  /* a value set or inherited; destroyed */
    SOAK_SLOT,   /* slot.c */
    SOAK_ITEM,   /* pushed; popped or left over: queue.c. Sent; destroyed: cast.c */
    SOAK_DELAY,  /* an entry inserted; out, or destroyed: delay.c */
    SOAK_VALUE,  /* in a channel: channel.c */
    SOAK_HAND,   /* hand.c */
    SOAK_MEMBER, /* of a party: came; went */
    SOAK_STREAM, /* opened; closed */
    SOAK_SERVED, /* accepted; its task ended */
    SOAK_WORKER, /* a worker's thread */
    SOAK_SLEEP,  /* a worker's */
    SOAK_KINDS
};

void soak_begin(enum soak_kind kind);
void soak_end(enum soak_kind kind);

/* Who: a number that the beginning and the end of the same thing share. */
void soak_begin_id(enum soak_kind kind, uint64_t id);
void soak_end_id(enum soak_kind kind, uint64_t id);

uint64_t soak_count(enum soak_kind kind); /* begun in this round */
uint64_t soak_open(enum soak_kind kind);  /* begun and not ended */

/* Something moved: for the watchdog. */
void soak_moved(void);
uint64_t soak_moves(void);

void soak_ledger_clear(void);
void soak_ledger_claim(void);

/* --- the plan ---------------------------------------------------------------------------- */

#define SOAK_RUNTIMES 3
#define SOAK_ACTS     64

enum soak_ending {
    SOAK_DRAIN,      /* every task ends by itself */
    SOAK_CUT,        /* shut down in the middle, from outside */
    SOAK_CUT_INSIDE, /* by one of its own tasks */
    SOAK_CUT_LIMIT,  /* with a limit, while some tasks resist for a while */
    SOAK_ENDINGS
};

struct soak_runtime_plan {
    weft_config config;
    enum soak_ending ending;
    weft_duration cut_after; /* for the endings that cut */
    unsigned acceptors;      /* 0: no server */
};

struct soak_plan {
    uint64_t seed;
    unsigned round;
    weft_duration length;
    unsigned runtimes;
    struct soak_runtime_plan runtime[SOAK_RUNTIMES];
    unsigned clerks, ghosts, spawners, lives; /* plain threads of each kind */
    unsigned actors_max;                      /* alive at a time, about */
    bool quiet;                               /* no timers: only a wake ends a wait */
    bool heavy_guards;                        /* by mprotect */
    bool abandon;                             /* a runtime, at the end */
    uint8_t weights[SOAK_ACTS];
    uint64_t rand; /* where everything else starts */
};

/* length 0: as the plan likes. */
void soak_plan_make(struct soak_plan *p, uint64_t seed, unsigned round, weft_duration length);

/* Who counts as alive, where a config's hooks are given one as hook_user. All atomic. */
struct soak_living {
    unsigned alive;    /* tasks and threads; the workers' from the beginning */
    int not_yet_begun; /* threads that were counted before they began */
    unsigned taken;    /* by a life that is not over */
};

weft_config soak_plan_config(uint64_t *rand);

/* In one line. */
void soak_plan_print(const struct soak_plan *p, char *text, size_t size);

/* --- the stage --------------------------------------------------------------------------- */

struct soak_server {
    unsigned open; /* atomic: addr is valid */
    weft_addr addr;
    weft_listener *listener; /* its runtime's root only */
};

struct soak_stage {
    struct soak_plan plan;
    weft_runtime *rt[SOAK_RUNTIMES];
    struct soak_server server[SOAK_RUNTIMES];
    weft_addr closed_port; /* nobody listens there */
    unsigned over;         /* atomic: nothing new begins */
    unsigned cut;          /* atomic: some runtime is being shut down while it has tasks */
    uint64_t acts;         /* atomic */
};

extern struct soak_stage soak_stage;

bool soak_is_over(void);
bool soak_is_cut(void);

/* --- actors ------------------------------------------------------------------------------ */

#define SOAK_SIDE 7 /* the home of an actor in a runtime of lives.c */

/* All that an actor is derives from the seed that it was spawned with, which fits a pointer. */
struct soak_actor {
    uint64_t rand;
    unsigned depth; /* 0: begun by a root */
    unsigned steps;
    unsigned home; /* an index in the stage's runtimes, or SOAK_SIDE */
};

uint64_t soak_actor_seed(uint64_t *rand, unsigned depth, unsigned steps, unsigned home);
uint64_t soak_child_seed(struct soak_actor *a); /* one deeper, a few steps */

/* Bodies for spawning: the seed in the pointer, and behind it. Result: soak_value(seed), or -ECANCELED. */
int soak_actor_run(void *seed);
int soak_actor_run_copy(void *seed);

/* As an argument for soak_actor_run. */
static inline void *soak_seed_pointer(uint64_t seed)
{
    return (void *)(uintptr_t)seed; /* NOLINT(performance-no-int-to-ptr) */
}

/* What somebody with this seed hands over or returns: not negative. */
int soak_value(uint64_t seed);

/* May one more begin? */
bool soak_has_room(void);

/* Any one act that only waits. */
void soak_act_waiting(struct soak_actor *a);

/* --- what acts share --------------------------------------------------------------------- */

static inline uint64_t roll(struct soak_actor *a, uint64_t n)
{
    return soak_roll(&a->rand, n);
}

static inline bool one_in(struct soak_actor *a, uint64_t n)
{
    return soak_one_in(&a->rand, n);
}

/* May any wait of this task answer that now? */
bool soak_is_soft(ssize_t rc);

/* Claim that rc is want, or soft. True: it is want. */
bool soak_expect(ssize_t want, ssize_t rc, const char *what);

/* Join to the end, whatever happens to the caller meanwhile; if it is cancelled, so is t. */
int soak_join(weft_task *t);

/* The same, and claim that the result is value; or -ECANCELED, if the task was cancelled. */
void soak_join_value(weft_task *t, int value, bool cancelled);

/* Up to n microseconds, in a round with timers; else a yield. */
void soak_nap(struct soak_actor *a, uint64_t us);

/* --- slots and the office: slot.c -------------------------------------------------------- */

/* A value that comes once, from elsewhere. Counted: the receiver holds one reference, who delivers another. */
struct soak_slot;

struct soak_slot *soak_slot_new(uint64_t *rand); /* both references are the caller's */
void soak_slot_put(struct soak_slot *s);
void soak_slot_deliver(struct soak_slot *s); /* and give the reference up */
weft_future soak_slot_future(struct soak_slot *s);
int soak_slot_value(const struct soak_slot *s); /* what it delivers */
void soak_slot_wait_blocking(struct soak_slot *s);

/* To be delivered by anybody, some time soon. */
void soak_office_open(uint64_t rand);
void soak_office_post(struct soak_slot *s);
void soak_office_close(void); /* what is left is delivered by the clerks */
void *soak_clerk(void *unused);

/* A slot that is on its way; the caller has the receiver's reference. */
struct soak_slot *soak_order(struct soak_actor *a);

/* --- the others -------------------------------------------------------------------------- */

void soak_attic_open(uint64_t rand);
void soak_attic_put(weft_waker waker); /* consumed; used at some later time */
void soak_attic_close(void);
void soak_attic_clear(void); /* wakes all that are left */
void *soak_ghost(void *unused);

/* Drop a future that somebody polled by hand, on another thread. The slot is delivered afterwards. */
void soak_attic_drop(weft_future *f, struct soak_slot *done);

void soak_locals_open(void);
void soak_locals_close(void);
void soak_locals_set(struct soak_actor *a);

/* A stackless task with a life of its own: nap, hand-over, combinators. NULL: memory is out. */
weft_task *soak_stackless_spawn(struct soak_actor *a, int *value);
weft_task *soak_stackless_until(weft_instant at);

void soak_locks_open(void);
void soak_locks_close(void); /* all actors have ended: claims that all are free */

int soak_serve_all(void *index);       /* the task that runs a server, until it is cancelled */
void soak_server_clear(unsigned home); /* shut down: closes what nobody served */

void *soak_life(void *seed);

/* A runtime with a task that never ends, given up by a shutdown with a limit. Nothing else may be running. */
void soak_life_abandon(uint64_t rand);
void soak_machine_open(void);

/* Runtimes that the watchdog shows. */
void soak_watch_add(weft_runtime *rt);
void soak_watch_remove(weft_runtime *rt);
void soak_watch_open(void);
void soak_watch_round(uint64_t seed, unsigned round);

/* What the process holds. */
struct soak_gauge {
    size_t descriptors, threads;
    size_t headers;   /* task headers that somebody refers to */
    size_t stacks;    /* out of the pool */
    size_t mapped;    /* bytes of stacks */
    size_t heap, rss; /* bytes */
};

struct soak_gauge soak_gauge_read(void);
void soak_gauge_open(void);

/* Nothing is left of the round; memory is as in the first rounds. */
struct soak_gauge soak_gauge_claim(void);

/* What has come since before stays for good, and rightly so. */
void soak_gauge_forgive(const struct soak_gauge *before, const struct soak_gauge *after);

/* One round, from the plan to the last claim. Writes what it counted. */
void soak_round_play(uint64_t seed, unsigned round, weft_duration length, char *text, size_t size);

/* --- the acts ---------------------------------------------------------------------------- */

typedef void soak_act(struct soak_actor *a);

soak_act soak_act_join, soak_act_cancel, soak_act_detach, soak_act_storm, soak_act_handles,
    soak_act_abroad, soak_act_stackless, soak_act_panic, soak_act_defer, soak_act_shield,
    soak_act_budget, soak_act_misuse, soak_act_locals, soak_act_swap;
soak_act soak_act_take;
soak_act soak_act_yield, soak_act_slot, soak_act_select, soak_act_keep, soak_act_join_all,
    soak_act_try_join_all, soak_act_nested, soak_act_queue, soak_act_haunted;
soak_act soak_act_channel, soak_act_oneshot;
soak_act soak_act_task_set, soak_act_task_map, soak_act_scope;
soak_act soak_act_set, soak_act_fan_out, soak_act_loop, soak_act_task_loop;
soak_act soak_act_sleep, soak_act_timeout, soak_act_deadline, soak_act_tick, soak_act_reset,
    soak_act_far;
soak_act soak_act_party;
soak_act soak_act_interval, soak_act_delay, soak_act_clock;
soak_act soak_act_hand;
soak_act soak_act_broadcast, soak_act_watch;
soak_act soak_act_mutex, soak_act_rwlock, soak_act_permits;
soak_act soak_act_hog, soak_act_block, soak_act_deep, soak_act_large, soak_act_exec;
soak_act soak_act_net, soak_act_refused, soak_act_listener, soak_act_crowd, soak_act_pair;

#endif
