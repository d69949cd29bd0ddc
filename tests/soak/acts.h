/* SPDX-License-Identifier: MIT */
/* acts.h - the table of acts: what an actor can do, and what the plan must know of it. */
#ifndef TEST_SOAK_ACTS_H
#define TEST_SOAK_ACTS_H

#include "soak.h"

#define SOAK_SPAWNS 1u  /* tasks */
#define SOAK_WAITS  2u  /* does nothing but wait: fit for a shield or a deadline */
#define SOAK_TIMES  4u  /* only with timers */
#define SOAK_NET    8u  /* only with a server */
#define SOAK_DEAR   16u /* drawn more rarely than its weight says */
#define SOAK_DEARER 32u

struct soak_act_entry {
    const char *name;
    soak_act *fn;
    unsigned flags;
};

extern const struct soak_act_entry soak_acts[];
extern const unsigned soak_act_count;

#endif
