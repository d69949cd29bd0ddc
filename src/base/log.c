/* SPDX-License-Identifier: MIT */
/* log.c - one message, one write. */
#include "base/log.h"

#include "base/sys.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_LINE_MAX 512

void wf_log_va(const char *format, va_list args)
{
    char line[LOG_LINE_MAX] = "weft: ";
    size_t used = strlen(line);
    int n = vsnprintf(line + used, sizeof(line) - used - 1, format, args);

    if (n < 0)
        return;
    used += (size_t)n;
    if (used > sizeof(line) - 2)
        used = sizeof(line) - 2;
    line[used++] = '\n';
    (void)wf_sys_write(STDERR_FILENO, line, used); /* nowhere left to complain to */
}

void wf_log(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    wf_log_va(format, args);
    va_end(args);
}

int wf_misuse(int rc, const char *format, ...)
{
    if (WF_DEBUG) {
        va_list args;

        va_start(args, format);
        wf_log_va(format, args);
        va_end(args);
    }
    return rc;
}

void wf_text_str(struct wf_text *t, const char *s)
{
    while (*s && t->at < t->end)
        *t->at++ = *s++;
}

static void text_number(struct wf_text *t, uint64_t n, unsigned base)
{
    char digits[24];
    size_t i = sizeof(digits);

    digits[--i] = '\0';
    do {
        digits[--i] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n);
    wf_text_str(t, digits + i);
}

void wf_text_u64(struct wf_text *t, uint64_t n)
{
    text_number(t, n, 10);
}

void wf_text_hex(struct wf_text *t, uint64_t n)
{
    wf_text_str(t, "0x");
    text_number(t, n, 16);
}
