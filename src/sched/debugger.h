/* SPDX-License-Identifier: MIT */
/*
 * debugger.h - where a debugger finds tasks, fibers and workers, also in a core file and without
 * type information: for tools/gdb/weft-gdb.py.
 *
 * IDEA     A debugger that looks at a core file can call nothing, and an installed library seldom
 *          has its types with it. So the layout of what it must read is data: addresses, and
 *          numbers by name, filled in by the compiler. The name of the table is exported, so that even
 *          a stripped library shows it.
 */
#ifndef WF_SCHED_DEBUGGER_H
#define WF_SCHED_DEBUGGER_H

#include "task/task.h"

#include <weft/base.h>

#define WF_DEBUG_MAGIC "weft-1" /* the layout of the table itself */

struct wf_debug_entry {
    char name[24];
    uint64_t value;
};

struct wf_debug_table {
    char magic[8];
    uint64_t count;
    const struct wf_debug_entry *entries;
    const struct wf_slab_shape *slab;
    const struct wf_task_type *fiber_kind; /* what a task's wakeable points at */
    const struct wf_task_type *async_kind;
};

WEFT_API extern const struct wf_debug_table weft_debug_table;

#endif
