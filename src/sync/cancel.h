/* SPDX-License-Identifier: MIT */
/* cancel.h - waiting for a token from inside: for futures that do so beside something else. */
#ifndef WF_SYNC_CANCEL_H
#define WF_SYNC_CANCEL_H

#include "sync/wait.h"

#include <weft/cancel.h>

/* The object of the future's wait is a token: is it cancelled (0), or its last handle freed (-ESHUTDOWN)? Without a
 * look at the budget. Once it is ready the token is not touched any more. */
weft_poll wf_cancelled_ask(weft_future *f, weft_context *cx);

/* Take the wait back, if the token has been asked. The token may go with it. */
void wf_cancelled_leave(weft_future *f);

#endif
