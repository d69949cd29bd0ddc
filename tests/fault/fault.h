/* SPDX-License-Identifier: MIT */
/*
 * fault.h - telling the seam of base/fault.h which calls are to fail, and what it has counted.
 *
 * IDEA     One plan at a time, for the whole process: a kind of call, the first use that fails and
 *          how many do. Uses are counted from the moment that the plan is armed, over all threads.
 * WHO      The test's own thread arms and disarms, while nobody else is in the library.
 */
#ifndef TEST_FAULT_H
#define TEST_FAULT_H

#include "base/fault.h"

#include <stdint.h>

#define FAULT_LASTING UINT64_MAX

struct fault_plan {
    enum wf_fault_kind kind;
    int rc;         /* negative errno */
    uint64_t first; /* from 1 */
    uint64_t count; /* FAULT_LASTING: from then on */
};

void fault_arm(const struct fault_plan *plan);

/* Every call fails with this chance, by an error out of its kind's list, which ends with 0. */
void fault_arm_chance(uint64_t seed, unsigned one_in, const int *const errors[WF_FAULT_KINDS]);

/* From now on nothing fails. Returns how many calls have. */
uint64_t fault_disarm(void);

uint64_t fault_fired(void);

/* How often the armed kind was used. */
uint64_t fault_uses(void);

/* A transfer moves at most so many bytes; 0: as many as it likes. Not for TCP, where a short count is
 * the kernel's word that there is no more. */
void fault_limit_transfers(size_t bytes);

/* What the library holds at this moment. */
struct fault_live {
    int64_t allocations;
    int64_t mapped_bytes;
};

struct fault_live fault_live(void);

/* Since the last plan was armed: how much could not be unmapped, or taken off its thread. */
int64_t fault_refused_bytes(void);

#endif
