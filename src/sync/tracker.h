/* SPDX-License-Identifier: MIT */
/* tracker.h - task trackers from inside: what spawning into one needs of the count. */
#ifndef WF_SYNC_TRACKER_H
#define WF_SYNC_TRACKER_H

#include <weft/task_tracker.h>

/* One more is counted, by somebody who has a handle; and one less. After the last one the tracker may be gone. */
void wf_tracker_enter(weft_task_tracker *tr);
void wf_tracker_leave(weft_task_tracker *tr);

#endif
