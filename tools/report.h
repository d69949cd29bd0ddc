/* SPDX-License-Identifier: MIT */
/* report.h - what a run of the load generator found, and the forms in which it is printed. */
#ifndef TOOLS_REPORT_H
#define TOOLS_REPORT_H

#include <stddef.h>
#include <stdint.h>

enum report_form {
    REPORT_TEXT,  /* for people */
    REPORT_LINES, /* "key value unit" */
    REPORT_JSON   /* one object on one line */
};

struct report {
    /* what was asked for */
    const char *target;
    unsigned connections, in_flight, threads;
    size_t size;

    /* what came of it */
    uint64_t requests, errors;
    double seconds;                      /* that were measured */
    double rate;                         /* requests per second */
    double p50, p99, p999, max;          /* latency in ns */
    double server_cpu, load_cpu;         /* ns per request; 0: unknown */
    double server_share, load_share;     /* of one processor */
    uint64_t memory_before, memory_peak; /* the server's, in bytes; 0: unknown */
    double memory_each;                  /* bytes per connection */
};

void report_print(const struct report *r, enum report_form form);

#endif
