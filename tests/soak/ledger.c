/* SPDX-License-Identifier: MIT */
/*
 * ledger.c - what has begun and what has ended, by kind: at the end of a round the two are the same.
 *
 * IDEA     Besides the counts there is a sum of identities, so that one end too many does not make up for
 *          one too few.
 * WHO      Any thread. The counts are exact when all that counts has stopped.
 */
#include "soak.h"

#include <stdio.h>

static const char *const ledger_names[SOAK_KINDS] = {
    [SOAK_TASK] = "tasks",
    [SOAK_BODY] = "fibers' bodies",
    [SOAK_STACKLESS] = "stackless tasks",
    [SOAK_DEFER] = "deferred calls",
    [SOAK_LOCAL] = "task-local values",
    [SOAK_SLOT] = "slots",
    [SOAK_ITEM] = "items of queues",
    [SOAK_DELAY] = "entries of delay queues",
    [SOAK_VALUE] = "values in channels",
    [SOAK_HAND] = "futures polled by hand",
    [SOAK_MEMBER] = "members of parties",
    [SOAK_STREAM] = "streams",
    [SOAK_SERVED] = "served connections",
    [SOAK_WORKER] = "workers' threads",
    [SOAK_SLEEP] = "workers' sleeps",
};

static struct {
    uint64_t begun, ended; /* atomic */
    uint64_t ids;          /* atomic: a sum of those open */
} __attribute__((aligned(64))) ledger[SOAK_KINDS];

static uint64_t ledger_moves __attribute__((aligned(64))); /* atomic */

void soak_begin_id(enum soak_kind kind, uint64_t id)
{
    __atomic_fetch_add(&ledger[kind].begun, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&ledger[kind].ids, id, __ATOMIC_RELAXED);
}

void soak_end_id(enum soak_kind kind, uint64_t id)
{
    __atomic_fetch_sub(&ledger[kind].ids, id, __ATOMIC_RELAXED);
    /* release: pairs with soak_open, so that who sees it sees what was done before */
    __atomic_fetch_add(&ledger[kind].ended, 1, __ATOMIC_RELEASE);
}

void soak_begin(enum soak_kind kind)
{
    soak_begin_id(kind, 0);
}

void soak_end(enum soak_kind kind)
{
    soak_end_id(kind, 0);
}

uint64_t soak_count(enum soak_kind kind)
{
    return __atomic_load_n(&ledger[kind].begun, __ATOMIC_RELAXED);
}

uint64_t soak_open(enum soak_kind kind)
{
    /* ended first: what it misses counts as open */
    uint64_t ended = __atomic_load_n(&ledger[kind].ended, __ATOMIC_ACQUIRE);

    return __atomic_load_n(&ledger[kind].begun, __ATOMIC_ACQUIRE) - ended;
}

void soak_moved(void)
{
    __atomic_fetch_add(&ledger_moves, 1, __ATOMIC_RELAXED);
}

uint64_t soak_moves(void)
{
    uint64_t n = __atomic_load_n(&ledger_moves, __ATOMIC_RELAXED);

    /* Workers fall asleep also when nothing else happens. */
    for (int k = 0; k < SOAK_SLEEP; k++)
        n += __atomic_load_n(&ledger[k].ended, __ATOMIC_RELAXED);
    return n;
}

void soak_ledger_clear(void)
{
    for (int k = 0; k < SOAK_KINDS; k++) {
        uint64_t ended = __atomic_exchange_n(&ledger[k].ended, 0, __ATOMIC_RELAXED);

        /* The watchdog looks: what is taken off here is added there, and more. */
        __atomic_fetch_add(&ledger_moves, ended + 1, __ATOMIC_RELAXED);
        __atomic_store_n(&ledger[k].begun, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&ledger[k].ids, 0, __ATOMIC_RELAXED);
    }
}

void soak_ledger_claim(void)
{
    bool even = true;

    for (int k = 0; k < SOAK_KINDS; k++) {
        uint64_t begun = __atomic_load_n(&ledger[k].begun, __ATOMIC_ACQUIRE);
        uint64_t ended = __atomic_load_n(&ledger[k].ended, __ATOMIC_ACQUIRE);

        if (begun == ended && __atomic_load_n(&ledger[k].ids, __ATOMIC_RELAXED) == 0)
            continue;
        (void)fprintf(stderr, "soak: of the %s %llu began and %llu ended%s\n", ledger_names[k],
                      (unsigned long long)begun, (unsigned long long)ended,
                      begun == ended ? ", but not the same ones" : "");
        even = false;
    }
    if (!even)
        test_failed(__FILE__, __LINE__, "what began and what ended differ");
}
