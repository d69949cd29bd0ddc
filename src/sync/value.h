/* SPDX-License-Identifier: MIT */
/*
 * value.h - copying a channel's values: the small sizes that most have, in place.
 */
#ifndef WF_SYNC_VALUE_H
#define WF_SYNC_VALUE_H

#include "base/compiler.h"

#include <string.h>

/* Neither pointer need be valid when size is 0. Each caller has looked whether a value is there that has one. */
/* NOLINTBEGIN(clang-analyzer-core.NonNullParamChecker) */
WF_INLINE void wf_value_copy(void *to, const void *from, size_t size)
{
    if (wf_likely(size == 8))
        memcpy(to, from, 8);
    else if (size == 16)
        memcpy(to, from, 16);
    else if (size == 4)
        memcpy(to, from, 4);
    else if (size)
        memcpy(to, from, size);
}

/* NOLINTEND(clang-analyzer-core.NonNullParamChecker) */

#endif
