/* SPDX-License-Identifier: MIT */
/* assert.c - the end of a program whose invariant broke. */
#include "base/assert.h"

#include "base/log.h"

#include <stdlib.h>

void wf_assert_failed(const char *expression, const char *file, int line)
{
    wf_log("%s:%d: this should never happen: %s", file, line, expression);
    abort();
}
