/* SPDX-License-Identifier: MIT */
/* notify.h - notifications from inside: for what is a notify with a little more, or less. */
#ifndef WF_SYNC_NOTIFY_H
#define WF_SYNC_NOTIFY_H

#include "base/compiler.h"

#include <weft/notify.h>

/* Who is chosen, and what becomes of a notification that nobody waits for. */
#define WF_NOTIFY_LAST   1u /* the newest waiter, not the oldest */
#define WF_NOTIFY_FORGET 2u /* it is forgotten, not stored */

/* Give one notification. Passed on, it is given by the same flags again. */
void wf_notify_signal(weft_notify *n, uint32_t flags);

/* weft_notify_wait_future, of a notify that is there. */
weft_future wf_notify_future(weft_notify *n);

/* Take its place in line, with the waker of the context and whatever is left of the budget. */
void wf_notify_place(weft_future *f, weft_context *cx);

#endif
