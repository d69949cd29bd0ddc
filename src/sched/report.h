/* SPDX-License-Identifier: MIT */
/*
 * report.h - telling of tasks that keep their thread.
 */
#ifndef WF_SCHED_REPORT_H
#define WF_SCHED_REPORT_H

#include "base/sys.h"
#include "sched/worker.h"

struct wf_report;

/* What the monitor keeps of a runtime's stalls. NULL: no memory. */
struct wf_report *wf_report_new(void);
void wf_report_free(struct wf_report *r);

/* Has a task from where the one on this worker was spawned stalled before? A glance. */
bool wf_report_known_site(const struct wf_report *r, const struct wf_worker *w);

/*
 * A worker was relieved, after its poll had lasted for held_ns. blocked: it waited in the kernel, in what
 * `in` says. Tells the program's hook, or prints, or only counts. No lock is held.
 */
void wf_report_stall(struct wf_report *r, struct wf_worker *w, uint64_t held_ns, bool blocked,
                     const struct wf_sys_call *in);

/* How long a backtrace may take. For tests: what is slow under them. */
#define WF_REPORT_WAIT_NS 5000000u

#endif
