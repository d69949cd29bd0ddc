/* SPDX-License-Identifier: MIT */
/* debugger.c - the table that a debugger reads. */
#include "sched/debugger.h"

#include "sched/relieve.h"
#include "task/fiber_task.h"

/* clang-format off */
#define ENTRY_FIELD(struct_name, type, field) {struct_name "." #field, offsetof(type, field)}
#define TASK(field)    ENTRY_FIELD("task", struct weft_task, field)
#define RUNTIME(field) ENTRY_FIELD("runtime", struct weft_runtime, field)
#define SEAT(field)    ENTRY_FIELD("seat", struct wf_seat, field)
#define COUNTER(field) {"counter." #field, offsetof(struct wf_seat_counters, field)}

static const struct wf_debug_entry debugger_entries[] = {
    /* the values of bits and fields */
    {"state.running", WF_TASK_RUNNING},
    {"state.notified", WF_TASK_NOTIFIED},
    {"state.complete", WF_TASK_COMPLETE},
    {"state.cancelled", WF_TASK_CANCELLED},
    {"state.reference", WF_TASK_REF},
    {"flag.yielded", WF_TASK_F_YIELDED},
    {"flag.begun", WF_TASK_F_BEGUN},
    {"flag.pinned", WF_TASK_F_PINNED},
    {"flag.seat_shift", WF_TASK_SEAT_SHIFT},
    {"taken.relieved", WF_SEAT_RELIEVED},
    {"phase.closing", WF_PHASE_CLOSING},
    {"phase.stopped", WF_PHASE_STOPPED},
    {"flavor.current_thread", WEFT_CURRENT_THREAD},

    /* a parked frame, see fiber/switch.h; size 0: not known */
    {"frame.size", WF_SWITCH_FRAME_SIZE},
    {"frame.pc", WF_SWITCH_FRAME_PC},
    {"frame.fp", WF_SWITCH_FRAME_FP},

    TASK(wakeable), TASK(state), TASK(sched), TASK(polls), TASK(wakes), TASK(id), TASK(site),
    TASK(extra), TASK(result), TASK(flags), TASK(fiber), TASK(fn), TASK(async),
    {"task.size", sizeof(struct weft_task)},
    {"extra.name", offsetof(struct wf_task_extra, name)},
    {"extra.name_size", sizeof(((struct wf_task_extra *)NULL)->name)},
    {"fiber.sp", offsetof(struct wf_fiber, coro) + offsetof(struct wf_coro, sp)},
    {"fiber.stack", offsetof(struct wf_fiber, stack)},
    {"fiber.fn", offsetof(struct wf_fiber, fn)},
    {"stack.low", offsetof(struct wf_stack, low)},
    {"stack.size", offsetof(struct wf_stack, size)},
    {"async.line", offsetof(weft_async, line_)},
    {"async_type.poll", offsetof(weft_async_type, poll)},

    RUNTIME(sched), RUNTIME(workers), RUNTIME(seats), RUNTIME(phase), RUNTIME(spawned_outside),
    {"runtime.stuck", offsetof(struct weft_runtime, relief) + offsetof(struct wf_relief, stuck)},
    {"runtime.standins", offsetof(struct weft_runtime, relief) + offsetof(struct wf_relief, active)},
    {"runtime.standin", offsetof(struct weft_runtime, relief) + offsetof(struct wf_relief, standin)},
    {"runtime.standin_count",
     offsetof(struct weft_runtime, relief) + offsetof(struct wf_relief, made)},
    {"standin.seat", offsetof(struct wf_standin, seat)},
    {"runtime.inject_len", offsetof(struct weft_runtime, inject) + offsetof(struct wf_inject, len)},
    {"runtime.flavor", offsetof(struct weft_runtime, set) + offsetof(struct wf_settings, config) +
                           offsetof(weft_config, flavor)},
    SEAT(rt), SEAT(taken), SEAT(lifo), SEAT(ready), SEAT(backlog), SEAT(slab), SEAT(counters),
    {"seat.size", sizeof(struct wf_seat)},
    {"deque.head", offsetof(struct wf_deque, head)},
    {"deque.tail", offsetof(struct wf_deque, tail)},
    {"counter.spawned", offsetof(struct wf_task_counters, spawned)},
    {"counter.finished", offsetof(struct wf_task_counters, finished)},
    COUNTER(polls), COUNTER(steals), COUNTER(parks), COUNTER(parked_at),
};
/* clang-format on */

const struct wf_debug_table weft_debug_table = {
    .magic = WF_DEBUG_MAGIC,
    .count = wf_array_count(debugger_entries),
    .entries = debugger_entries,
    .slab = &wf_slab_shape,
    .fiber_kind = &wf_fiber_type,
    .async_kind = &wf_async_kind,
};
