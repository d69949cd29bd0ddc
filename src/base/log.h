/* SPDX-License-Identifier: MIT */
/*
 * log.h - messages to the person who runs the program: nothing is printed unless
 * something is wrong.
 */
#ifndef WF_BASE_LOG_H
#define WF_BASE_LOG_H

#include "base/compiler.h"

#include <stdarg.h>

/* One line on stderr, "weft: " first, by one write(2): usable from any thread, on a
 * fiber's small stack. */
WF_COLD void wf_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
WF_COLD void wf_log_va(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

/* A misuse by the caller: said in debug builds only. Returns rc. */
WF_COLD int wf_misuse(int rc, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Text built without the C library's formatted output, for signal handlers: appends to a
 * buffer of fixed size, cutting what does not fit.
 */
struct wf_text {
    char *at, *end;
};

void wf_text_str(struct wf_text *t, const char *s);
void wf_text_u64(struct wf_text *t, uint64_t n);
void wf_text_hex(struct wf_text *t, uint64_t n);

#endif
