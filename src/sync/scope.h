/* SPDX-License-Identifier: MIT */
/* scope.h - what is inside of a weft_scope, for tests. */
#ifndef WF_SYNC_SCOPE_H
#define WF_SYNC_SCOPE_H

#include "sync/group.h"

#include <weft/scope.h>

struct wf_group *wf_scope_group(weft_scope *scope);

#endif
