/* SPDX-License-Identifier: MIT */
/*
 * main.c - weft-bench: the command line, and one process for each workload.
 *
 * `weft-bench WORKLOAD` builds a runtime and runs the workload as its root task, on a
 * worker, as often as --reps asks; only the first round meets cold memory. `weft-bench all`
 * does this in a process for each workload, so that what one leaves behind (a grown heap, page
 * tables, a warm pool of stacks) does not colour the next.
 */
#include "bench.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct options {
    const char *name;
    weft_config config;
    uint64_t count; /* 0: the workload's own */
    uint64_t reps;
    bool stackless;
    uint16_t port;
    size_t buffer_size;
};

static const struct bench_workload *const main_tables[] = {
    bench_spawn_workloads,    bench_skynet_workloads,    bench_yield_workloads,
    bench_timer_workloads,    bench_timeout_workloads,   bench_futures_workloads,
    bench_blocking_workloads, bench_thread_workloads,    bench_lock_workloads,
    bench_notify_workloads,   bench_memory_workloads,    bench_echo_workloads,
    bench_delay_workloads,    bench_broadcast_workloads, bench_channel_workloads,
};

#define MAIN_TABLES (sizeof(main_tables) / sizeof(main_tables[0]))

static const char main_usage[] =
    "usage: weft-bench WORKLOAD|all|list [options]\n"
    "  --workers N|ct   worker threads, or the current-thread runtime (default: the library's)\n"
    "  --n COUNT        how much of it (default: see list)\n"
    "  --reps R         rounds in one process (default 1)\n"
    "  --stackless      stackless tasks in place of fibers; metrics get the suffix _s\n"
    "  --port P         echo: the port (default 0: any free one, printed)\n"
    "  --bufsize B      echo: bytes of buffer for each connection (default 2048)\n"
    "Prints lines `metric value unit`.\n";

static void main_list(void)
{
    for (size_t i = 0; i < MAIN_TABLES; i++) {
        for (const struct bench_workload *w = main_tables[i]; w->name != NULL; w++) {
            printf("%-15s %s", w->name, w->what);
            if (w->count != 1)
                printf("; --n %llu", (unsigned long long)w->count);
            printf("%s\n", w->flags & BENCH_TWIN ? "; --stackless" : "");
        }
    }
}

static const struct bench_workload *main_find(const char *name)
{
    for (size_t i = 0; i < MAIN_TABLES; i++) {
        for (const struct bench_workload *w = main_tables[i]; w->name != NULL; w++) {
            if (strcmp(w->name, name) == 0)
                return w;
        }
    }
    return NULL;
}

WEFT_NORETURN static void main_misuse(const char *what, const char *text)
{
    fprintf(stderr, "weft-bench: %s%s\n%s", what, text, main_usage);
    exit(2);
}

/* A whole number from 1, or from 0 where that means something, to max. */
static uint64_t main_number(const char *option, const char *text, bool zero, uint64_t max)
{
    unsigned long long value = 0;
    char *end;

    if (text[0] < '0' || text[0] > '9')
        main_misuse("not a number: ", option);
    value = strtoull(text, &end, 10);
    if (*end != '\0' || value > max || (value == 0 && !zero))
        main_misuse("out of range: ", option);
    return value;
}

static void main_parse(struct options *o, int argc, char **argv)
{
    static const struct option known[] = {
        {"workers", required_argument, NULL, 'w'}, {"n", required_argument, NULL, 'n'},
        {"reps", required_argument, NULL, 'r'},    {"stackless", no_argument, NULL, 's'},
        {"port", required_argument, NULL, 'p'},    {"bufsize", required_argument, NULL, 'b'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (c) {
        case 'w':
            if (strcmp(optarg, "ct") == 0)
                o->config.flavor = WEFT_CURRENT_THREAD;
            else
                o->config.worker_threads = (unsigned)main_number("--workers", optarg, false, 1024);
            break;
        case 'n':
            /* No more than 2^40, so that products with it cannot overflow. */
            o->count = main_number("--n", optarg, false, (uint64_t)1 << 40);
            break;
        case 'r':
            o->reps = main_number("--reps", optarg, false, 1000000);
            break;
        case 's':
            o->stackless = true;
            break;
        case 'p':
            o->port = (uint16_t)main_number("--port", optarg, true, UINT16_MAX);
            break;
        case 'b':
            o->buffer_size = main_number("--bufsize", optarg, false, 1u << 30);
            break;
        case 'h':
            fputs(main_usage, stdout);
            exit(0);
        default:
            fputs(main_usage, stderr);
            exit(2);
        }
    }
    if (optind != argc - 1)
        main_misuse("one workload is needed", "");
    o->name = argv[optind];
}

static int main_root(void *arg)
{
    const struct bench_job *job = arg;

    job->workload->run(job);
    return 0;
}

/* Run one workload in this process. */
static void main_run(const struct options *o, const struct bench_workload *w)
{
    uint64_t reps = w->flags & BENCH_FINAL ? 1 : o->reps;
    struct bench_job job = {
        .workload = w,
        .count = o->count != 0 ? o->count : w->count,
        .stackless = o->stackless,
        .port = o->port,
        .buffer_size = o->buffer_size,
    };
    weft_runtime *rt;
    int result;

    bench_check(weft_runtime_new(&rt, &o->config), "runtime");
    for (uint64_t i = 0; i < reps; i++) {
        bench_check(weft_block_on(rt, main_root, &job, &result), "block_on");
        bench_check(result, "the root task");
    }
    weft_runtime_free(rt);
}

/* Run one workload in a process of its own; this one has no threads. Returns its success. */
static bool main_run_apart(const struct options *o, const struct bench_workload *w)
{
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid < 0)
        bench_fail("cannot fork");
    if (pid == 0) {
        main_run(o, w);
        exit(0);
    }
    if (waitpid(pid, &status, 0) != pid)
        bench_fail("cannot wait for a child");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    fprintf(stderr, "weft-bench: %s failed\n", w->name);
    return false;
}

static int main_run_all(const struct options *o)
{
    int failed = 0;

    for (size_t i = 0; i < MAIN_TABLES; i++) {
        for (const struct bench_workload *w = main_tables[i]; w->name != NULL; w++) {
            if (w->flags & BENCH_ENDLESS || (o->stackless && !(w->flags & BENCH_TWIN)))
                continue;
            failed |= !main_run_apart(o, w);
        }
    }
    return failed;
}

int main(int argc, char **argv)
{
    struct options o = {.reps = 1, .buffer_size = 2048};
    const struct bench_workload *w;

    main_parse(&o, argc, argv);
    if (strcmp(o.name, "list") == 0) {
        main_list();
        return 0;
    }
    if (strcmp(o.name, "all") == 0)
        return main_run_all(&o);

    w = main_find(o.name);
    if (w == NULL)
        main_misuse("no such workload: ", o.name);
    if (o.stackless && !(w->flags & BENCH_TWIN))
        main_misuse("has no stackless form: ", o.name);
    main_run(&o, w);
    return 0;
}
