/* SPDX-License-Identifier: MIT */
/* report.c - printing what a run of the load generator found. */
#include "report.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

struct text {
    char s[32];
};

/* 1234567 as "1,234,567". */
static struct text text_count(uint64_t n)
{
    char digits[24];
    int length = snprintf(digits, sizeof(digits), "%" PRIu64, n);
    struct text t = {""};
    size_t at = 0;

    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            t.s[at++] = ',';
        t.s[at++] = digits[i];
    }
    return t;
}

static struct text text_time(double ns)
{
    struct text t;

    if (ns < 1e6)
        (void)snprintf(t.s, sizeof(t.s), "%.1f us", ns / 1e3);
    else if (ns < 1e9)
        (void)snprintf(t.s, sizeof(t.s), "%.2f ms", ns / 1e6);
    else
        (void)snprintf(t.s, sizeof(t.s), "%.2f s", ns / 1e9);
    return t;
}

/* "1 message", "2 messages". */
static struct text text_number(unsigned n, const char *thing)
{
    struct text t;

    (void)snprintf(t.s, sizeof(t.s), "%u %s%s", n, thing, n == 1 ? "" : "s");
    return t;
}

static void report_text(const struct report *r)
{
    printf("%s: %s, %s of %zu bytes in flight on each, %s\n", r->target,
           text_number(r->connections, "connection").s, text_number(r->in_flight, "message").s,
           r->size, text_number(r->threads, "thread").s);
    printf("  throughput     %s requests per second (%s in %.2f s)\n",
           text_count((uint64_t)r->rate).s, text_count(r->requests).s, r->seconds);
    printf("  latency        p50 %s, p99 %s, p99.9 %s, max %s\n", text_time(r->p50).s,
           text_time(r->p99).s, text_time(r->p999).s, text_time(r->max).s);
    printf("  errors         %s%s\n", text_count(r->errors).s,
           r->errors ? "" : " (every byte came back as it was sent)");
    if (r->server_cpu > 0)
        printf("  server CPU     %.2f us per request (%.0f %% of one processor)\n",
               r->server_cpu / 1e3, r->server_share * 100);
    if (r->memory_peak > 0)
        printf("  server memory  %.1f KiB per connection (%.1f MiB before, %.1f MiB at the peak)\n",
               r->memory_each / 1024, (double)r->memory_before / 1048576,
               (double)r->memory_peak / 1048576);
    printf("  load CPU       %.2f us per request (%.0f %% of one processor)\n", r->load_cpu / 1e3,
           r->load_share * 100);
}

static void report_values(const struct report *r, bool json)
{
    const struct {
        const char *key;
        double value;
        const char *unit;
    } values[] = {
        {"connections", r->connections, "n"},
        {"size", (double)r->size, "B"},
        {"in_flight", r->in_flight, "n"},
        {"seconds", r->seconds, "s"},
        {"requests", (double)r->requests, "n"},
        {"errors", (double)r->errors, "n"},
        {"rps", r->rate, "req/s"},
        {"p50", r->p50 / 1e3, "us"},
        {"p99", r->p99 / 1e3, "us"},
        {"p999", r->p999 / 1e3, "us"},
        {"max", r->max / 1e3, "us"},
        {"server_cpu", r->server_cpu / 1e3, "us/req"},
        {"server_share", r->server_share * 100, "%"},
        {"server_memory", r->memory_each, "B/connection"},
        {"load_cpu", r->load_cpu / 1e3, "us/req"},
        {"load_share", r->load_share * 100, "%"},
    };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (json)
            printf("%s\"%s\": %.3f", i ? ", " : "{", values[i].key, values[i].value);
        else
            printf("%s %.3f %s\n", values[i].key, values[i].value, values[i].unit);
    }
    if (json)
        printf("}\n");
}

void report_print(const struct report *r, enum report_form form)
{
    if (form == REPORT_TEXT)
        report_text(r);
    else
        report_values(r, form == REPORT_JSON);
}
