/* SPDX-License-Identifier: MIT */
/*
 * sweep.h - running a scenario against every failure: each kind of call, each of its errors, once and
 * from then on, at the first use, the second, and so on until a run in which nothing failed.
 *
 * IDEA     A scenario builds its own runtimes and puts all away. It passes each result that may be an error
 *          through MAY, with the errors that the header documents for the call. After each run
 *          nothing may be left: no descriptor, no allocation, no mapping, no task, no
 *          registration. A run that hangs is named, with its tasks, and aborts.
 */
#ifndef TEST_SWEEP_H
#define TEST_SWEEP_H

#include "fault.h"
#include "support.h"

#include <errno.h>

typedef void fault_scenario(const struct test_flavour *flavour);

/* On the flavours that are worth it here: all of them with WEFT_FAULT_FULL in the environment. */
void fault_sweep(fault_scenario *run);

/* The same for one kind only, and on one flavour. */
void fault_sweep_kind(fault_scenario *run, const struct test_flavour *flavour,
                      enum wf_fault_kind kind);

/* So many runs in which any call fails by chance; the seed is printed. */
void fault_chaos(fault_scenario *run, uint64_t runs);

/* What a run takes for granted: once in a test's process, before the first run. */
void fault_prepare(void);

/* A run by hand, in a shortage that the test has made itself; at the end nothing may be left. Returns how many
 * calls have answered with an error. */
void fault_run_begin(const char *what);
uint64_t fault_run_end(void);

/* Claim, in a program's last test, that its sweeps have made each of these kinds fail: none is left out in
 * silence. Not when that test runs alone. */
#define MET(...) fault_met((const enum wf_fault_kind[]){__VA_ARGS__, WF_FAULT_KINDS})
void fault_met(const enum wf_fault_kind *kinds);

/* What is mapped once the pool of stacks is empty. */
int64_t fault_left_mapped(void);

/* A result: no error, or one of those listed while something was made to fail. */
#define MAY(rc, ...) fault_may((rc), (const int[]){__VA_ARGS__, 0}, #rc, __FILE__, __LINE__)
ssize_t fault_may(ssize_t rc, const int *errors, const char *what, const char *file, int line);

/* What any call may meet that needs memory, and one that needs a descriptor. */
#define NO_MEMORY ENOMEM
#define NO_FILES  ENOMEM, EMFILE, ENFILE

/* A handle, or NULL while something was made to fail. */
#define MAY_NULL(t) fault_may_null((t), #t, __FILE__, __LINE__)
weft_task *fault_may_null(weft_task *t, const char *what, const char *file, int line);

/* A runtime, watched while it lives; NULL: it could not be built, for a documented reason. */
weft_runtime *fault_runtime_new(const struct test_flavour *flavour, weft_switch signal_reports);
void fault_runtime_free(weft_runtime *rt);

/* fn(arg) as the first task of a runtime of its own. */
void fault_run_root(const struct test_flavour *flavour, weft_fn *fn, void *arg);

bool fault_full(void);

#endif
