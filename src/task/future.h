/* SPDX-License-Identifier: MIT */
/* future.h - futures from inside. */
#ifndef WF_TASK_FUTURE_H
#define WF_TASK_FUTURE_H

#include "base/compiler.h"

#include <weft/future.h>

/* A combinator leaves f pending beyond its own end: link it to the running fiber, which drops it at
 * its own end. Nothing outside fibers. */
void wf_future_keep(weft_future *f);

bool wf_future_pending(const weft_future *f);

/* A new future that owns something: the drop of its type, which it must have, is called also if it was never polled. */
void wf_future_laden(weft_future *f);
/* One that is finished, dropped or new, of a type that can begin again, is new. */
void wf_future_renew(weft_future *f);

_Static_assert(sizeof(weft_future) <= 96, "a future is at most 96 bytes");

#endif
